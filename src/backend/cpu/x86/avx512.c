/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows and attention with AVX-512. This file is compiled for those instructions; only a processor that has them may call it. */
#include <immintrin.h>
#include <math.h>

#include "backend/cpu/x86/x86.h"

INLINE __m512 tail_load(const float *x, __mmask16 mask) {
  return _mm512_maskz_loadu_ps(mask, x);
}

/* The lanes of a vector that starts at i of n. */
INLINE __mmask16 lanes(size_t n, size_t i) {
  return n - i >= 16 ? (__mmask16)0xFFFF : (__mmask16)((1u << (n - i)) - 1);
}

/* The lanes of a vector that starts at i which are at or behind `first`. */
INLINE __mmask16 lanes_from(size_t first, size_t i) {
  return first <= i ? (__mmask16)0xFFFF : first - i >= 16 ? (__mmask16)0 : (__mmask16)(0xFFFFu << (first - i));
}

/* --- Rows ---------------------------------------------------------------------------------------------------------------- */

/* em_expf for 16 values, which may also be positive up to 88. */
INLINE __m512 exp16(__m512 x) {
  __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.0f / 720);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
  /* Zero below -87; a NaN stays one. */
  return _mm512_mask_mov_ps(_mm512_scalef_ps(p, n), _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.0f), _CMP_LE_OQ),
                            _mm512_setzero_ps());
}

static void rms_norm(const float *x, const float *norm, float eps, size_t n, float *y) {
  __m512d sum0 = _mm512_setzero_pd(), sum1 = _mm512_setzero_pd();
  for (size_t i = 0; i < n; i += 16) {
    __m512 v = tail_load(x + i, lanes(n, i));
    __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v)), high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
    sum0 = _mm512_fmadd_pd(low, low, sum0);
    sum1 = _mm512_fmadd_pd(high, high, sum1);
  }
  double mean = _mm512_reduce_add_pd(_mm512_add_pd(sum0, sum1)) / (double)n;
  __m512 scale = _mm512_set1_ps((float)(1.0 / sqrt(mean + (double)eps)));
  for (size_t i = 0; i < n; i += 16) {
    __mmask16 mask = lanes(n, i);
    _mm512_mask_storeu_ps(y + i, mask,
                          _mm512_mul_ps(_mm512_mul_ps(tail_load(x + i, mask), scale), tail_load(norm + i, mask)));
  }
}

static void quantise(const float *x, size_t n, em_q8_block *row) {
  const __m512i magnitude = _mm512_set1_epi32(0x7FFFFFFF);
  const __m256i ones = _mm256_set1_epi8(1);
  for (size_t g = 0; g < n / EM_GROUP; g++, x += EM_GROUP, row++) {
    __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
    /* As integers, magnitudes have the order of their values, with infinity and NaN above all. */
    __m512i most = _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), magnitude),
                                    _mm512_and_si512(_mm512_castps_si512(b), magnitude));
    uint32_t bits = _mm512_reduce_max_epu32(most);
    float max, inverse, d;
    __builtin_memcpy(&max, &bits, sizeof max);
    bool finite = bits < 0x7F800000u;
    d = finite ? max / 127.0f : NAN;
    inverse = max > 0 ? 127.0f / max : 0.0f;
    /* The inverse of a denormal maximum is infinite; such values count as zero. */
    if (!finite || isinf(inverse))
      inverse = 0.0f;
    __m512 factor = _mm512_set1_ps(inverse);
    __m128i low = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(a, factor)));
    __m128i high = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(b, factor)));
    __m256i q = _mm256_set_m128i(high, low);
    _mm256_store_si256((__m256i *)(void *)row->q, q);
    /* The sums of four, then of each half. */
    __m256i sums = _mm256_dpbusd_epi32(_mm256_setzero_si256(), ones, q);
    sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0x4E));
    sums = _mm256_add_epi32(sums, _mm256_shuffle_epi32(sums, 0xB1));
    int sum0 = _mm256_extract_epi32(sums, 0), sum1 = _mm256_extract_epi32(sums, 4);
    row->d = d;
    row->sum = d * (float)(sum0 + sum1);
    row->n16[0] = -128 * sum0;
    row->n16[1] = -128 * sum1;
    row->n32 = -128 * (sum0 + sum1);
    row->sum16[0] = d * (float)sum0;
    row->sum16[1] = d * (float)sum1;
  }
}

/* 1 / (1 + exp(-x)) */
INLINE __m512 sigmoid16(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f);
  __m512 e = exp16(_mm512_min_ps(_mm512_sub_ps(_mm512_setzero_ps(), x), _mm512_set1_ps(88.0f)));
  return _mm512_div_ps(one, _mm512_add_ps(one, e));
}

/* x / (1 + exp(-t)), which is every gate: t is x (silu), 1.702 x, or twice the argument of gelu's tanh. */
INLINE __m512 gate16(__m512 x, __m512 t) {
  __m512 e = exp16(_mm512_min_ps(_mm512_sub_ps(_mm512_setzero_ps(), t), _mm512_set1_ps(88.0f)));
  return _mm512_div_ps(x, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

INLINE __m512 gelu16(__m512 x) {
  __m512 cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
  return gate16(x, _mm512_mul_ps(_mm512_set1_ps(1.5957691216f), _mm512_fmadd_ps(_mm512_set1_ps(0.044715f), cube, x)));
}

/* cap * tanh(x / cap); tanh(z) = 1 - 2 / (1 + exp(2 z)). */
INLINE __m512 softcap16(__m512 x, float cap) {
  const __m512 one = _mm512_set1_ps(1.0f), two = _mm512_set1_ps(2.0f);
  __m512 e = exp16(_mm512_min_ps(_mm512_mul_ps(x, _mm512_set1_ps(2.0f / cap)), _mm512_set1_ps(88.0f)));
  return _mm512_mul_ps(_mm512_set1_ps(cap), _mm512_sub_ps(one, _mm512_div_ps(two, _mm512_add_ps(one, e))));
}

/* u is not looked at by an activation of one part. */
INLINE __m512 act16(em_activation activation, __m512 g, __m512 u, float clamp) {
  switch (activation) {
  case EM_ACT_SWIGLU: {
    __m512 most = _mm512_set1_ps(clamp), silu = gate16(g, g);
    if (clamp > 0)
      return _mm512_mul_ps(_mm512_min_ps(silu, most),
                           _mm512_max_ps(_mm512_min_ps(u, most), _mm512_sub_ps(_mm512_setzero_ps(), most)));
    return _mm512_mul_ps(silu, u);
  }
  case EM_ACT_GEGLU:
    return _mm512_mul_ps(gelu16(g), u);
  case EM_ACT_SWIGLU_OAI: {
    const __m512 seven = _mm512_set1_ps(7.0f);
    g = _mm512_min_ps(g, seven);
    u = _mm512_max_ps(_mm512_min_ps(u, seven), _mm512_set1_ps(-7.0f));
    return _mm512_mul_ps(gate16(g, _mm512_mul_ps(_mm512_set1_ps(1.702f), g)), _mm512_add_ps(u, _mm512_set1_ps(1.0f)));
  }
  case EM_ACT_GELU:
    return gelu16(g);
  case EM_ACT_SILU:
    return gate16(g, g);
  case EM_ACT_SIGMOID:
    return sigmoid16(g);
  case EM_ACT_NONE:
    break;
  }
  return g;
}

/* One part's products of a row from r on, scaled and with their bias. */
INLINE __m512 finish_value(const em_finish *f, unsigned part, size_t i, size_t r, __mmask16 mask) {
  __m512 y = tail_load(f->y[part] + i * f->y_stride + r, mask);
  if (f->w_scale[part])
    y = _mm512_mul_ps(y, _mm512_set1_ps(f->w_scale[part][0]));
  return f->bias[part] ? _mm512_add_ps(y, tail_load(f->bias[part] + r, mask)) : y;
}

static void finish(const em_finish *f) {
  for (size_t r = 0; r < f->n; r += 16) {
    __mmask16 mask = lanes(f->n, r);
    for (size_t i = 0; i < f->n_rows; i++) {
      __m512 y = finish_value(f, 0, i, r, mask);
      if (f->scale != 0)
        y = _mm512_mul_ps(y, _mm512_set1_ps(f->scale));
      if (f->softcap != 0)
        y = softcap16(y, f->softcap);
      if (f->residual)
        y = _mm512_add_ps(y, tail_load(f->residual + i * f->residual_stride + r, mask));
      _mm512_mask_storeu_ps(f->out + i * f->out_stride + r, mask, y);
    }
  }
}

static void finish_act(const em_finish *f) {
  bool gated = em_act_is_gated(f->activation);
  for (size_t r = 0; r < f->n; r += 16) {
    __mmask16 mask = lanes(f->n, r);
    for (size_t i = 0; i < f->n_rows; i++) {
      __m512 g = finish_value(f, 0, i, r, mask), u = gated ? finish_value(f, 1, i, r, mask) : g;
      __m512 y = act16(f->activation, g, u, f->clamp);
      _mm512_mask_storeu_ps(f->out + i * f->out_stride + r, mask, y);
    }
  }
}

static void activate(em_activation activation, const float *x, size_t n, float *y) {
  for (size_t i = 0; i < n; i += 16) {
    __mmask16 mask = lanes(n, i);
    __m512 g = tail_load(x + i, mask);
    _mm512_mask_storeu_ps(y + i, mask, act16(activation, g, g, 0.0f));
  }
}

static void rope(float *x, const float *cos_sin, size_t n, bool neox) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
  for (size_t k = 0; k < n; k += 16) {
    __mmask16 mask = lanes(n, k), mask0 = lanes(2 * n, 2 * k);
    __mmask16 mask1 = 2 * n - 2 * k > 16 ? lanes(2 * n, 2 * k + 16) : 0;
    __m512 c = tail_load(cos_sin + k, mask), s = tail_load(cos_sin + n + k, mask), a, b;
    if (neox) {
      a = tail_load(x + k, mask);
      b = tail_load(x + n + k, mask);
    } else {
      __m512 v0 = tail_load(x + 2 * k, mask0), v1 = tail_load(x + 2 * k + 16, mask1);
      a = _mm512_permutex2var_ps(v0, even, v1);
      b = _mm512_permutex2var_ps(v0, odd, v1);
    }
    __m512 a1 = _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)), b1 = _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c));
    if (neox) {
      _mm512_mask_storeu_ps(x + k, mask, a1);
      _mm512_mask_storeu_ps(x + n + k, mask, b1);
    } else {
      _mm512_mask_storeu_ps(x + 2 * k, mask0, _mm512_permutex2var_ps(a1, first, b1));
      _mm512_mask_storeu_ps(x + 2 * k + 16, mask1, _mm512_permutex2var_ps(a1, second, b1));
    }
  }
}

static void to_f16(const float *x, size_t n, uint16_t *y) {
  for (size_t i = 0; i < n; i += 16) {
    __mmask16 mask = lanes(n, i);
    _mm256_mask_storeu_epi16(y + i, mask, _mm512_cvtps_ph(tail_load(x + i, mask), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
}

static void merge(float *a, float fa, const float *b, float fb, size_t n) {
  __m512 va = _mm512_set1_ps(fa), vb = _mm512_set1_ps(fb);
  for (size_t i = 0; i < n; i += 16) {
    __mmask16 mask = lanes(n, i);
    __m512 sum = _mm512_fmadd_ps(tail_load(a + i, mask), va, _mm512_mul_ps(tail_load(b + i, mask), vb));
    _mm512_mask_storeu_ps(a + i, mask, sum);
  }
}

/* Columns from i on, T vectors of them at once. */
INLINE void delta_columns(const em_delta *a, size_t i, const int T) {
  __m512 sum[4], o[4], d[4], decay = _mm512_set1_ps(a->decay), beta = _mm512_set1_ps(a->beta);
  __mmask16 mask[4];
  UNROLL
  for (int t = 0; t < T; t++) {
    mask[t] = lanes(a->n, i + (size_t)t * 16);
    sum[t] = o[t] = _mm512_setzero_ps();
  }
  for (size_t k = 0; k < a->k_dim; k++) {
    __m512 key = _mm512_set1_ps(a->k[k]);
    UNROLL
    for (int t = 0; t < T; t++)
      sum[t] = _mm512_fmadd_ps(tail_load(a->s + k * a->stride + i + (size_t)t * 16, mask[t]), key, sum[t]);
  }
  UNROLL
  for (int t = 0; t < T; t++) {
    __m512 v = tail_load(a->v + i + (size_t)t * 16, mask[t]);
    d[t] = _mm512_mul_ps(beta, _mm512_fnmadd_ps(decay, sum[t], v));
  }
  for (size_t k = 0; k < a->k_dim; k++) {
    __m512 key = _mm512_set1_ps(a->k[k]), query = _mm512_set1_ps(a->q[k]);
    UNROLL
    for (int t = 0; t < T; t++) {
      float *at = a->s + k * a->stride + i + (size_t)t * 16;
      __m512 s = _mm512_fmadd_ps(key, d[t], _mm512_mul_ps(decay, tail_load(at, mask[t])));
      _mm512_mask_storeu_ps(at, mask[t], s);
      o[t] = _mm512_fmadd_ps(s, query, o[t]);
    }
  }
  UNROLL
  for (int t = 0; t < T; t++)
    _mm512_mask_storeu_ps(a->o + i + (size_t)t * 16, mask[t], o[t]);
}

static void delta(const em_delta *a) {
  size_t i = 0;
  for (; i + 4 * 16 <= a->n; i += 4 * 16)
    delta_columns(a, i, 4);
  for (; i < a->n; i += 16)
    delta_columns(a, i, 1);
}

/* --- Attention ------------------------------------------------------------------------------------------------------------- */

/* 16 values of a K block's row of one dim, or of V. */
INLINE __m512 load_values(const uint8_t *p, const int kind) {
  if (kind == EM_KV_F32)
    return _mm512_loadu_ps(p);
  if (kind == EM_KV_F16)
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

INLINE size_t value_bytes(const int kind) {
  return kind == EM_KV_F32 ? 4 : kind == EM_KV_F16 ? 2 : 1;
}

#define BLOCK 16       /* positions of a K block */
#define V_POSITIONS 64 /* of V worked on at once */
#define V_AHEAD 8      /* positions of V that are asked for ahead */

/* The scores of C columns at B blocks of 16 positions. q: packed [dim][n_cols], at the first column. */
INLINE void score_tile(const em_attend *a, size_t block, const float *q, const int B, const int C, const int kind,
                       float *scores) {
  size_t k_dim = a->k_dim, n_cols = a->n_cols;
  size_t block_bytes = kind == EM_KV_Q8 ? k_dim / 32 * 544 : k_dim * BLOCK * value_bytes(kind);
  const uint8_t *k = a->k + block * block_bytes;
  __m512 acc[2][8];
  UNROLL
  for (int c = 0; c < C; c++)
    acc[0][c] = acc[1][c] = _mm512_setzero_ps();
  if (kind == EM_KV_Q8) {
    for (size_t g = 0; g < k_dim / 32; g++, k += 544, q += 32 * n_cols) {
      __m512 part[2][8];
      UNROLL
      for (int c = 0; c < C; c++)
        part[0][c] = part[1][c] = _mm512_setzero_ps();
      for (size_t d = 0; d < 32; d++) {
        UNROLL
        for (int b = 0; b < B; b++) {
          __m512 values = load_values(k + (size_t)b * block_bytes + d * BLOCK, kind);
          if (d % 4 == 0)
            _mm_prefetch((const char *)k + (size_t)(b + 2) * block_bytes + d * BLOCK, _MM_HINT_T0);
          UNROLL
          for (int c = 0; c < C; c++)
            part[b][c] = _mm512_fmadd_ps(values, _mm512_set1_ps(q[d * n_cols + (size_t)c]), part[b][c]);
        }
      }
      UNROLL
      for (int b = 0; b < B; b++) {
        __m512 scale = load_values(k + (size_t)b * block_bytes + 512, EM_KV_F16);
        UNROLL
        for (int c = 0; c < C; c++)
          acc[b][c] = _mm512_fmadd_ps(part[b][c], scale, acc[b][c]);
      }
    }
  } else {
    for (size_t d = 0; d < k_dim; d++, q += n_cols, k += BLOCK * value_bytes(kind)) {
      UNROLL
      for (int b = 0; b < B; b++) {
        __m512 values = load_values(k + (size_t)b * block_bytes, kind);
        _mm_prefetch((const char *)k + (size_t)(b + 2) * block_bytes, _MM_HINT_T0);
        UNROLL
        for (int c = 0; c < C; c++)
          acc[b][c] = _mm512_fmadd_ps(values, _mm512_set1_ps(q[c]), acc[b][c]);
      }
    }
  }
  UNROLL
  for (int b = 0; b < B; b++) {
    UNROLL
    for (int c = 0; c < C; c++)
      _mm512_store_ps(scores + (size_t)c * EM_KV_PAGE_TOKENS + (block + (size_t)b) * BLOCK, acc[b][c]);
  }
}

/* The scores of all columns at B blocks, which stay in the L1 cache meanwhile. */
INLINE void score_blocks(const em_attend *a, size_t block, const int B, const int kind) {
  size_t c = 0, n = a->n_cols;
  for (; c + 8 <= n; c += 8)
    score_tile(a, block, a->packed + c, B, 8, kind, a->scores + c * EM_KV_PAGE_TOKENS);
  if (c + 4 <= n) {
    score_tile(a, block, a->packed + c, B, 4, kind, a->scores + c * EM_KV_PAGE_TOKENS);
    c += 4;
  }
  if (c + 2 <= n) {
    score_tile(a, block, a->packed + c, B, 2, kind, a->scores + c * EM_KV_PAGE_TOKENS);
    c += 2;
  }
  if (c < n)
    score_tile(a, block, a->packed + c, B, 1, kind, a->scores + c * EM_KV_PAGE_TOKENS);
}

/* Turns one column's sums into p, and returns their maximum and sum. */
INLINE void soften(em_attend *a, size_t column) {
  size_t first = a->first[column], n = a->n_tokens[column], begin = first / 16 * 16;
  float *scores = a->scores + column * EM_KV_PAGE_TOKENS;
  __m512 most = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps(), factor = _mm512_set1_ps(a->scale);
  for (size_t t = begin; t < n; t += 16) {
    __m512 s = _mm512_mul_ps(_mm512_load_ps(scores + t), factor);
    if (a->softcap != 0)
      s = softcap16(s, a->softcap);
    s = _mm512_mask_mov_ps(_mm512_set1_ps(-INFINITY), lanes(n, t) & lanes_from(first, t), s);
    most = _mm512_max_ps(most, s);
    _mm512_store_ps(scores + t, s);
  }
  a->m[column] = _mm512_reduce_max_ps(most);
  __m512 shift = _mm512_set1_ps(a->m[column]);
  for (size_t t = begin; t < n; t += 16) {
    __m512 p = exp16(_mm512_sub_ps(_mm512_load_ps(scores + t), shift));
    sum = _mm512_add_ps(sum, p);
    _mm512_store_ps(scores + t, p);
  }
  a->l[column] = _mm512_reduce_add_ps(sum);
}

/* o += sum over t in from .. to of p * V for C columns and D vectors of 16 dims. */
INLINE void weigh_tile(const em_attend *a, size_t dim, size_t from, size_t to, size_t column, const int C, const int D,
                       const int kind) {
  size_t o_stride = (a->v_dim + 15u) / 16 * 16;
  size_t row_bytes = kind == EM_KV_Q8 ? a->v_dim / 32u * 34 : o_stride * value_bytes(kind);
  const uint8_t *v = a->v + from * row_bytes + dim * value_bytes(kind);
  const uint8_t *scales = a->v + from * row_bytes + a->v_dim + dim / 32 * 2;
  const float *p = a->scores + column * EM_KV_PAGE_TOKENS;
  float *o = a->o + column * o_stride + dim;
  __m512 acc[6][8];
  UNROLL
  for (int c = 0; c < C; c++) {
    UNROLL
    for (int i = 0; i < D; i++)
      acc[c][i] = _mm512_load_ps(o + (size_t)c * o_stride + 16 * i);
  }
  for (size_t t = from; t < to; t++, v += row_bytes, scales += row_bytes) {
    __m512 values[8];
    UNROLL
    for (int i = 0; i < D * (int)value_bytes(kind) / 4; i++)
      _mm_prefetch((const char *)v + V_AHEAD * row_bytes + 64 * i, _MM_HINT_T0);
    UNROLL
    for (int i = 0; i < D; i++) {
      values[i] = load_values(v + (size_t)(16 * i) * value_bytes(kind), kind);
      if (kind == EM_KV_Q8) {
        uint16_t half;
        __builtin_memcpy(&half, scales + i / 2 * 2, sizeof half);
        values[i] = _mm512_mul_ps(values[i], _mm512_cvtph_ps(_mm256_set1_epi16((short)half)));
      }
    }
    UNROLL
    for (int c = 0; c < C; c++) {
      __m512 weight = _mm512_set1_ps(p[(size_t)c * EM_KV_PAGE_TOKENS + t]);
      UNROLL
      for (int i = 0; i < D; i++)
        acc[c][i] = _mm512_fmadd_ps(weight, values[i], acc[c][i]);
    }
  }
  UNROLL
  for (int c = 0; c < C; c++) {
    UNROLL
    for (int i = 0; i < D; i++)
      _mm512_store_ps(o + (size_t)c * o_stride + 16 * i, acc[c][i]);
  }
}

/* All dims; few columns leave registers for more dims at once. */
INLINE void weigh_dims(const em_attend *a, size_t from, size_t to, size_t column, const int C, const int kind) {
  size_t n = (a->v_dim + 15u) / 16 * 16, dim = 0;
  if (from >= to)
    return;
  for (; C <= 2 && dim + 128 <= n; dim += 128)
    weigh_tile(a, dim, from, to, column, C, 8, kind);
  for (; dim + 64 <= n; dim += 64)
    weigh_tile(a, dim, from, to, column, C, 4, kind);
  if (dim + 32 <= n) {
    weigh_tile(a, dim, from, to, column, C, 2, kind);
    dim += 32;
  }
  if (dim < n)
    weigh_tile(a, dim, from, to, column, C, 1, kind);
}

/* Positions from .. to for C columns: those that all of them see together, the others each column alone, so that no column adds
 * a position that it does not see. */
INLINE void weigh_cols(const em_attend *a, size_t from, size_t to, size_t column, const int C, const int kind) {
  size_t begin = from, together = to;
  for (size_t c = column; c < column + (size_t)C; c++) {
    begin = a->first[c] > begin ? a->first[c] : begin;
    together = a->n_tokens[c] < together ? a->n_tokens[c] : together;
  }
  for (size_t c = column; C > 1 && begin > from && c < column + (size_t)C; c++) {
    size_t end = a->n_tokens[c] < to ? a->n_tokens[c] : to;
    weigh_dims(a, a->first[c] > from ? a->first[c] : from, end < begin ? end : begin, c, 1, kind);
  }
  weigh_dims(a, begin, together, column, C, kind);
  together = together < begin ? begin : together;
  for (size_t c = column; C > 1 && c < column + (size_t)C; c++)
    weigh_dims(a, together, a->n_tokens[c] < to ? a->n_tokens[c] : to, c, 1, kind);
}

/* o = sum of p * K for C columns and 4 dims, the lanes of a vector apart: V is in K. */
INLINE void weigh_keys(const em_attend *a, size_t dim, size_t column, const int C, const int kind) {
  size_t o_stride = (a->v_dim + 15u) / 16 * 16, first = EM_KV_PAGE_TOKENS, end = 0;
  size_t block_bytes = kind == EM_KV_Q8 ? a->k_dim / 32u * 544 : a->k_dim * BLOCK * value_bytes(kind);
  size_t at = kind == EM_KV_Q8 ? dim / 32 * 544 + dim % 32 * BLOCK : dim * BLOCK * value_bytes(kind);
  __m512 acc[4][4];
  UNROLL
  for (int c = 0; c < C; c++) {
    first = a->first[column + (size_t)c] < first ? a->first[column + (size_t)c] : first;
    end = a->n_tokens[column + (size_t)c] > end ? a->n_tokens[column + (size_t)c] : end;
    UNROLL
    for (int i = 0; i < 4; i++)
      acc[c][i] = _mm512_setzero_ps();
  }
  for (size_t t = first / BLOCK * BLOCK; t < end; t += BLOCK) {
    const uint8_t *k = a->k + t / BLOCK * block_bytes + at;
    __m512 values[4];
    UNROLL
    for (int i = 0; i < 4; i++)
      values[i] = load_values(k + (size_t)i * BLOCK * value_bytes(kind), kind);
    if (kind == EM_KV_Q8) {
      __m512 scales = load_values(k - dim % 32 * BLOCK + 512, EM_KV_F16);
      UNROLL
      for (int i = 0; i < 4; i++)
        values[i] = _mm512_mul_ps(values[i], scales);
    }
    UNROLL
    for (int c = 0; c < C; c++) {
      size_t n = column + (size_t)c;
      __mmask16 mask = t < a->n_tokens[n] ? lanes(a->n_tokens[n], t) & lanes_from(a->first[n], t) : 0;
      __m512 p = _mm512_load_ps(a->scores + n * EM_KV_PAGE_TOKENS + t);
      UNROLL
      for (int i = 0; i < 4; i++)
        acc[c][i] = _mm512_mask3_fmadd_ps(p, values[i], acc[c][i], mask);
    }
  }
  UNROLL
  for (int c = 0; c < C; c++) {
    UNROLL
    for (int i = 0; i < 4; i++)
      a->o[(column + (size_t)c) * o_stride + dim + (size_t)i] = _mm512_reduce_add_ps(acc[c][i]);
  }
}

/* The last dims of an odd number one by one. */
INLINE void weigh_key(const em_attend *a, size_t dim, size_t column, const int kind) {
  size_t value = value_bytes(kind);
  const uint8_t *k = a->k + dim * BLOCK * value;
  float sum = 0;
  for (size_t t = a->first[column]; t < a->n_tokens[column]; t++) {
    float x = 0;
    const uint8_t *at = k + (t / BLOCK * a->k_dim * BLOCK + t % BLOCK) * value;
    if (kind == EM_KV_F32)
      __builtin_memcpy(&x, at, sizeof x);
    else
      x = _cvtsh_ss((unsigned short)(at[0] | at[1] << 8));
    sum += a->scores[column * EM_KV_PAGE_TOKENS + t] * x;
  }
  a->o[column * ((a->v_dim + 15u) / 16 * 16) + dim] = sum;
}

/* Some dims for all columns before the next, so that they stay in the L1 cache. */
INLINE void weigh_all_keys(const em_attend *a, const int kind) {
  size_t dim = 0;
  for (; dim + 4 <= a->v_dim; dim += 4) {
    size_t c = 0;
    for (; c + 4 <= a->n_cols; c += 4)
      weigh_keys(a, dim, c, 4, kind);
    for (; c < a->n_cols; c++)
      weigh_keys(a, dim, c, 1, kind);
  }
  for (; dim < a->v_dim; dim++) {
    for (size_t c = 0; c < a->n_cols; c++)
      weigh_key(a, dim, c, kind);
  }
}

INLINE void attend(em_attend *a, const int kind) {
  size_t n_cols = a->n_cols, most = 0, least = EM_KV_PAGE_TOKENS, o_stride = (a->v_dim + 15u) / 16 * 16;
  for (size_t i = 0; i < n_cols; i++) {
    most = a->n_tokens[i] > most ? a->n_tokens[i] : most;
    least = a->n_tokens[i] > 0 && a->first[i] < least ? a->first[i] : least;
  }
  for (size_t d = 0; !a->is_packed && d < a->k_dim; d++) {
    for (size_t i = 0; i < n_cols; i++)
      a->packed[d * n_cols + i] = a->q[i][d];
  }
  size_t n_blocks = (most + BLOCK - 1) / BLOCK, block = least / BLOCK;
  for (; block + 2 <= n_blocks; block += 2)
    score_blocks(a, block, 2, kind);
  if (block < n_blocks)
    score_blocks(a, block, 1, kind);
  for (size_t c = 0; c < n_cols; c++) {
    if (a->n_tokens[c] > 0)
      soften(a, c);
  }
  __builtin_memset(a->o, 0, n_cols * o_stride * sizeof *a->o);
  if (a->v_in_k) {
    weigh_all_keys(a, kind);
    return;
  }
  /* Some positions of V at once, so that they stay in the L1 cache for all columns; few columns read them once anyway. */
  size_t step = n_cols <= 2 ? EM_KV_PAGE_TOKENS : V_POSITIONS;
  for (size_t t = least / step * step; t < most; t += step) {
    size_t to = most - t < step ? most : t + step, c = 0;
    for (; c + 6 <= n_cols; c += 6)
      weigh_cols(a, t, to, c, 6, kind);
    for (; c + 2 <= n_cols; c += 2)
      weigh_cols(a, t, to, c, 2, kind);
    if (c < n_cols)
      weigh_cols(a, t, to, c, 1, kind);
  }
}

static void attend_f32(em_attend *a) {
  attend(a, EM_KV_F32);
}

static void attend_f16(em_attend *a) {
  attend(a, EM_KV_F16);
}

static void attend_q8(em_attend *a) {
  attend(a, EM_KV_Q8);
}

void em_kernels_avx512(em_cpu_kernels *kernels) {
  em_kernels_avx512_matmul(kernels);
  kernels->rms_norm = rms_norm;
  kernels->quantise = quantise;
  kernels->finish = finish;
  kernels->finish_act = finish_act;
  kernels->activate = activate;
  kernels->rope = rope;
  kernels->to_f16 = to_f16;
  kernels->merge = merge;
  kernels->delta = delta;
  kernels->attend[EM_KV_F32] = attend_f32;
  kernels->attend[EM_KV_F16] = attend_f16;
  kernels->attend[EM_KV_Q8] = attend_q8;
}
