/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rows and attention with AVX2, FMA and F16C. This file is compiled for those instructions; only a processor that has them may
 * call it. */
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "backend/cpu/x86/x86.h"

/* Lanes i .. of n as a mask for masked loads and stores. */
INLINE __m256i lanes(size_t n, size_t i) {
  int left = n - i >= 8 ? 8 : (int)(n - i);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

INLINE __m256 load_lanes(const float *x, __m256i mask) {
  return _mm256_maskload_ps(x, mask);
}

INLINE double sum_pd(__m256d v) {
  __m128d pair = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(pair, _mm_unpackhi_pd(pair, pair)));
}

INLINE float sum_ps(__m256 v) {
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_movehdup_ps(four)));
}

INLINE float max_ps(__m256 v) {
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}

/* The lanes of a vector that starts at i which are at or behind `first`. */
INLINE __m256i lanes_from(size_t first, size_t i) {
  int before = first <= i ? 0 : first - i >= 8 ? 8 : (int)(first - i);
  return _mm256_cmpgt_epi32(_mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 8), _mm256_set1_epi32(before));
}

/* --- Rows ---------------------------------------------------------------------------------------------------------------- */

/* em_expf for 8 values, which may also be positive up to 88. */
INLINE __m256 exp8(__m256 x) {
  __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), x);
  r = _mm256_fmadd_ps(n, _mm256_set1_ps(2.12194440e-4f), r);
  __m256 p = _mm256_set1_ps(1.0f / 720);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  /* n is -126 .. 127 where the result is used; 2^n by its exponent. */
  __m256i power = _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
  __m256 y = _mm256_mul_ps(p, _mm256_castsi256_ps(power));
  y = _mm256_andnot_ps(_mm256_cmp_ps(x, _mm256_set1_ps(-87.0f), _CMP_LE_OQ), y);
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}

static void rms_norm(const float *x, const float *norm, float eps, size_t n, float *y) {
  __m256d sum0 = _mm256_setzero_pd(), sum1 = _mm256_setzero_pd();
  for (size_t i = 0; i < n; i += 8) {
    __m256 v = load_lanes(x + i, lanes(n, i));
    __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(v)), high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
    sum0 = _mm256_fmadd_pd(low, low, sum0);
    sum1 = _mm256_fmadd_pd(high, high, sum1);
  }
  double mean = sum_pd(_mm256_add_pd(sum0, sum1)) / (double)n;
  __m256 scale = _mm256_set1_ps((float)(1.0 / sqrt(mean + (double)eps)));
  for (size_t i = 0; i < n; i += 8) {
    __m256i mask = lanes(n, i);
    _mm256_maskstore_ps(y + i, mask,
                        _mm256_mul_ps(_mm256_mul_ps(load_lanes(x + i, mask), scale), load_lanes(norm + i, mask)));
  }
}

static void quantise(const float *x, size_t n, em_q8_block *row) {
  const __m256i magnitude = _mm256_set1_epi32(0x7FFFFFFF);
  for (size_t g = 0; g < n / EM_GROUP; g++, x += EM_GROUP, row++) {
    __m256 v[4];
    __m256i most = _mm256_setzero_si256(), words[4];
    for (int i = 0; i < 4; i++) {
      v[i] = _mm256_loadu_ps(x + 8 * i);
      /* As integers, magnitudes have the order of their values, with infinity and NaN above all. */
      most = _mm256_max_epu32(most, _mm256_and_si256(_mm256_castps_si256(v[i]), magnitude));
    }
    __m128i four = _mm_max_epu32(_mm256_castsi256_si128(most), _mm256_extracti128_si256(most, 1));
    four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4E));
    four = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0xB1));
    uint32_t bits = (uint32_t)_mm_cvtsi128_si32(four);
    float max, inverse, d;
    memcpy(&max, &bits, sizeof max);
    bool finite = bits < 0x7F800000u;
    d = finite ? max / 127.0f : NAN;
    inverse = max > 0 ? 127.0f / max : 0.0f;
    /* The inverse of a denormal maximum is infinite; such values count as zero. */
    if (!finite || isinf(inverse))
      inverse = 0.0f;
    int sums[2];
    for (int i = 0; i < 4; i++)
      words[i] = finite ? _mm256_cvtps_epi32(_mm256_mul_ps(v[i], _mm256_set1_ps(inverse))) : _mm256_setzero_si256();
    for (int h = 0; h < 2; h++) {
      __m256i both = _mm256_add_epi32(words[2 * h], words[2 * h + 1]);
      __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
      sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4E));
      sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xB1));
      sums[h] = _mm_cvtsi128_si32(sum);
    }
    __m256i q = _mm256_packs_epi16(_mm256_packs_epi32(words[0], words[1]), _mm256_packs_epi32(words[2], words[3]));
    q = _mm256_permutevar8x32_epi32(q, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256((__m256i *)(void *)row->q, q);
    row->d = d;
    row->sum = d * (float)(sums[0] + sums[1]);
    row->n16[0] = -128 * sums[0];
    row->n16[1] = -128 * sums[1];
    row->n32 = -128 * (sums[0] + sums[1]);
    row->sum16[0] = d * (float)sums[0];
    row->sum16[1] = d * (float)sums[1];
  }
}

/* 1 / (1 + exp(-x)) */
INLINE __m256 sigmoid8(__m256 x) {
  const __m256 one = _mm256_set1_ps(1.0f);
  __m256 e = exp8(_mm256_min_ps(_mm256_sub_ps(_mm256_setzero_ps(), x), _mm256_set1_ps(88.0f)));
  return _mm256_div_ps(one, _mm256_add_ps(one, e));
}

/* x / (1 + exp(-t)), which is every gate: t is x (silu), 1.702 x, or twice the argument of gelu's tanh. */
INLINE __m256 gate8(__m256 x, __m256 t) {
  __m256 e = exp8(_mm256_min_ps(_mm256_sub_ps(_mm256_setzero_ps(), t), _mm256_set1_ps(88.0f)));
  return _mm256_div_ps(x, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

INLINE __m256 gelu8(__m256 x) {
  __m256 cube = _mm256_mul_ps(_mm256_mul_ps(x, x), x);
  return gate8(x, _mm256_mul_ps(_mm256_set1_ps(1.5957691216f), _mm256_fmadd_ps(_mm256_set1_ps(0.044715f), cube, x)));
}

/* cap * tanh(x / cap); tanh(z) = 1 - 2 / (1 + exp(2 z)). */
INLINE __m256 softcap8(__m256 x, float cap) {
  const __m256 one = _mm256_set1_ps(1.0f), two = _mm256_set1_ps(2.0f);
  __m256 e = exp8(_mm256_min_ps(_mm256_mul_ps(x, _mm256_set1_ps(2.0f / cap)), _mm256_set1_ps(88.0f)));
  return _mm256_mul_ps(_mm256_set1_ps(cap), _mm256_sub_ps(one, _mm256_div_ps(two, _mm256_add_ps(one, e))));
}

/* u is not looked at by an activation of one part. */
INLINE __m256 act8(em_activation activation, __m256 g, __m256 u, float clamp) {
  switch (activation) {
  case EM_ACT_SWIGLU: {
    __m256 most = _mm256_set1_ps(clamp), silu = gate8(g, g);
    if (clamp > 0)
      return _mm256_mul_ps(_mm256_min_ps(silu, most),
                           _mm256_max_ps(_mm256_min_ps(u, most), _mm256_sub_ps(_mm256_setzero_ps(), most)));
    return _mm256_mul_ps(silu, u);
  }
  case EM_ACT_GEGLU:
    return _mm256_mul_ps(gelu8(g), u);
  case EM_ACT_SWIGLU_OAI: {
    const __m256 seven = _mm256_set1_ps(7.0f);
    g = _mm256_min_ps(g, seven);
    u = _mm256_max_ps(_mm256_min_ps(u, seven), _mm256_set1_ps(-7.0f));
    return _mm256_mul_ps(gate8(g, _mm256_mul_ps(_mm256_set1_ps(1.702f), g)), _mm256_add_ps(u, _mm256_set1_ps(1.0f)));
  }
  case EM_ACT_GELU:
    return gelu8(g);
  case EM_ACT_SILU:
    return gate8(g, g);
  case EM_ACT_SIGMOID:
    return sigmoid8(g);
  case EM_ACT_NONE:
    break;
  }
  return g;
}

/* One part's products of a row from r on, scaled and with their bias. */
INLINE __m256 finish_value(const em_finish *f, unsigned part, size_t i, size_t r, __m256i mask) {
  __m256 y = load_lanes(f->y[part] + i * f->y_stride + r, mask);
  if (f->w_scale[part])
    y = _mm256_mul_ps(y, _mm256_set1_ps(f->w_scale[part][0]));
  return f->bias[part] ? _mm256_add_ps(y, load_lanes(f->bias[part] + r, mask)) : y;
}

static void finish(const em_finish *f) {
  for (size_t r = 0; r < f->n; r += 8) {
    __m256i mask = lanes(f->n, r);
    for (size_t i = 0; i < f->n_rows; i++) {
      __m256 y = finish_value(f, 0, i, r, mask);
      if (f->scale != 0)
        y = _mm256_mul_ps(y, _mm256_set1_ps(f->scale));
      if (f->softcap != 0)
        y = softcap8(y, f->softcap);
      if (f->residual)
        y = _mm256_add_ps(y, load_lanes(f->residual + i * f->residual_stride + r, mask));
      _mm256_maskstore_ps(f->out + i * f->out_stride + r, mask, y);
    }
  }
}

static void finish_act(const em_finish *f) {
  bool gated = em_act_is_gated(f->activation);
  for (size_t r = 0; r < f->n; r += 8) {
    __m256i mask = lanes(f->n, r);
    for (size_t i = 0; i < f->n_rows; i++) {
      __m256 g = finish_value(f, 0, i, r, mask), u = gated ? finish_value(f, 1, i, r, mask) : g;
      __m256 y = act8(f->activation, g, u, f->clamp);
      _mm256_maskstore_ps(f->out + i * f->out_stride + r, mask, y);
    }
  }
}

static void activate(em_activation activation, const float *x, size_t n, float *y) {
  for (size_t i = 0; i < n; i += 8) {
    __m256i mask = lanes(n, i);
    __m256 g = load_lanes(x + i, mask);
    _mm256_maskstore_ps(y + i, mask, act8(activation, g, g, 0.0f));
  }
}

static void rope(float *x, const float *cos_sin, size_t n, bool neox) {
  size_t k = 0;
  if (neox) {
    for (; k < n; k += 8) {
      __m256i mask = lanes(n, k);
      __m256 c = load_lanes(cos_sin + k, mask), s = load_lanes(cos_sin + n + k, mask);
      __m256 a = load_lanes(x + k, mask), b = load_lanes(x + n + k, mask);
      _mm256_maskstore_ps(x + k, mask, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
      _mm256_maskstore_ps(x + n + k, mask, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
    }
    return;
  }
  for (; k < n; k += 4) {
    /* Four pairs: cos and sin doubled, the partner swapped in, and the sine's sign alternating. */
    size_t left = n - k < 4 ? n - k : 4;
    float c4[4] = {0}, s4[4] = {0};
    memcpy(c4, cos_sin + k, left * sizeof *c4);
    memcpy(s4, cos_sin + n + k, left * sizeof *s4);
    __m256i mask = lanes(2 * n, 2 * k);
    __m256 v = load_lanes(x + 2 * k, mask);
    __m256 c = _mm256_set_m128(_mm_unpackhi_ps(_mm_loadu_ps(c4), _mm_loadu_ps(c4)), _mm_unpacklo_ps(_mm_loadu_ps(c4), _mm_loadu_ps(c4)));
    __m256 s = _mm256_set_m128(_mm_unpackhi_ps(_mm_loadu_ps(s4), _mm_loadu_ps(s4)), _mm_unpacklo_ps(_mm_loadu_ps(s4), _mm_loadu_ps(s4)));
    __m256 other = _mm256_mul_ps(_mm256_permute_ps(v, 0xB1), s);
    _mm256_maskstore_ps(x + 2 * k, mask, _mm256_fmaddsub_ps(v, c, other));
  }
}

static void to_f16(const float *x, size_t n, uint16_t *y) {
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    __m128i half = _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128((__m128i *)(void *)(y + i), half);
  }
  for (; i < n; i++)
    y[i] = _cvtss_sh(x[i], _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

static void merge(float *a, float fa, const float *b, float fb, size_t n) {
  __m256 va = _mm256_set1_ps(fa), vb = _mm256_set1_ps(fb);
  for (size_t i = 0; i < n; i += 8) {
    __m256i mask = lanes(n, i);
    __m256 sum = _mm256_fmadd_ps(load_lanes(a + i, mask), va, _mm256_mul_ps(load_lanes(b + i, mask), vb));
    _mm256_maskstore_ps(a + i, mask, sum);
  }
}

/* Columns from i on, T vectors of them at once. */
INLINE void delta_columns(const em_delta *a, size_t i, const int T) {
  __m256 sum[4], o[4], d[4], decay = _mm256_set1_ps(a->decay), beta = _mm256_set1_ps(a->beta);
  __m256i mask[4];
  UNROLL
  for (int t = 0; t < T; t++) {
    mask[t] = lanes(a->n, i + (size_t)t * 8);
    sum[t] = o[t] = _mm256_setzero_ps();
  }
  for (size_t k = 0; k < a->k_dim; k++) {
    __m256 key = _mm256_set1_ps(a->k[k]);
    UNROLL
    for (int t = 0; t < T; t++)
      sum[t] = _mm256_fmadd_ps(load_lanes(a->s + k * a->stride + i + (size_t)t * 8, mask[t]), key, sum[t]);
  }
  UNROLL
  for (int t = 0; t < T; t++) {
    __m256 v = load_lanes(a->v + i + (size_t)t * 8, mask[t]);
    d[t] = _mm256_mul_ps(beta, _mm256_fnmadd_ps(decay, sum[t], v));
  }
  for (size_t k = 0; k < a->k_dim; k++) {
    __m256 key = _mm256_set1_ps(a->k[k]), query = _mm256_set1_ps(a->q[k]);
    UNROLL
    for (int t = 0; t < T; t++) {
      float *at = a->s + k * a->stride + i + (size_t)t * 8;
      __m256 s = _mm256_fmadd_ps(key, d[t], _mm256_mul_ps(decay, load_lanes(at, mask[t])));
      _mm256_maskstore_ps(at, mask[t], s);
      o[t] = _mm256_fmadd_ps(s, query, o[t]);
    }
  }
  UNROLL
  for (int t = 0; t < T; t++)
    _mm256_maskstore_ps(a->o + i + (size_t)t * 8, mask[t], o[t]);
}

static void delta(const em_delta *a) {
  size_t i = 0;
  for (; i + 4 * 8 <= a->n; i += 4 * 8)
    delta_columns(a, i, 4);
  for (; i < a->n; i += 8)
    delta_columns(a, i, 1);
}

/* --- Attention ------------------------------------------------------------------------------------------------------------- */

#define BLOCK 16       /* positions of a K block: two vectors */
#define V_POSITIONS 64 /* of V worked on at once */

/* 8 values of a K block's row of one dim, or of V. */
INLINE __m256 load_values(const uint8_t *p, const int kind) {
  if (kind == EM_KV_F32)
    return _mm256_loadu_ps((const float *)(const void *)p);
  if (kind == EM_KV_F16)
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

INLINE size_t value_bytes(const int kind) {
  return kind == EM_KV_F32 ? 4 : kind == EM_KV_F16 ? 2 : 1;
}

/* The sums of C columns over the dims of one K block (kind Q8: of one group of 32 dims, without its scale). */
INLINE void score_dims(const uint8_t *k, size_t n_dims, const float *q, size_t n_cols, const int C, const int kind,
                       __m256 acc[2][4]) {
  for (size_t d = 0; d < n_dims; d++, q += n_cols, k += BLOCK * value_bytes(kind)) {
    UNROLL
    for (int h = 0; h < 2; h++) {
      __m256 values = load_values(k + (size_t)(8 * h) * value_bytes(kind), kind);
      UNROLL
      for (int c = 0; c < C; c++)
        acc[h][c] = _mm256_fmadd_ps(values, _mm256_set1_ps(q[c]), acc[h][c]);
    }
  }
}

INLINE void score_block(const em_attend *a, size_t block, size_t column, const int C, const int kind) {
  size_t k_dim = a->k_dim, n_cols = a->n_cols;
  size_t block_bytes = kind == EM_KV_Q8 ? k_dim / 32 * 544 : k_dim * BLOCK * value_bytes(kind);
  const uint8_t *k = a->k + block * block_bytes;
  const float *q = a->packed + column;
  __m256 acc[2][4];
  UNROLL
  for (int c = 0; c < C; c++)
    acc[0][c] = acc[1][c] = _mm256_setzero_ps();
  if (kind == EM_KV_Q8) {
    for (size_t g = 0; g < k_dim / 32; g++, k += 544, q += 32 * n_cols) {
      __m256 part[2][4];
      UNROLL
      for (int c = 0; c < C; c++)
        part[0][c] = part[1][c] = _mm256_setzero_ps();
      score_dims(k, 32, q, n_cols, C, kind, part);
      UNROLL
      for (int h = 0; h < 2; h++) {
        UNROLL
        for (int c = 0; c < C; c++)
          acc[h][c] = _mm256_fmadd_ps(part[h][c], load_values(k + 512 + 16 * h, EM_KV_F16), acc[h][c]);
      }
    }
  } else {
    score_dims(k, k_dim, q, n_cols, C, kind, acc);
  }
  float *scores = a->scores + column * EM_KV_PAGE_TOKENS + block * BLOCK;
  UNROLL
  for (int c = 0; c < C; c++) {
    _mm256_store_ps(scores + (size_t)c * EM_KV_PAGE_TOKENS, acc[0][c]);
    _mm256_store_ps(scores + (size_t)c * EM_KV_PAGE_TOKENS + 8, acc[1][c]);
  }
}

/* Turns one column's sums into p, and returns their maximum and sum. */
INLINE void soften(em_attend *a, size_t column) {
  size_t first = a->first[column], n = a->n_tokens[column], begin = first / 8 * 8;
  float *scores = a->scores + column * EM_KV_PAGE_TOKENS;
  const __m256 none = _mm256_set1_ps(-INFINITY);
  __m256 most = none, sum = _mm256_setzero_ps(), factor = _mm256_set1_ps(a->scale);
  for (size_t t = begin; t < n; t += 8) {
    __m256 s = _mm256_mul_ps(_mm256_load_ps(scores + t), factor);
    if (a->softcap != 0)
      s = softcap8(s, a->softcap);
    s = _mm256_blendv_ps(none, s, _mm256_castsi256_ps(_mm256_and_si256(lanes(n, t), lanes_from(first, t))));
    most = _mm256_max_ps(most, s);
    _mm256_store_ps(scores + t, s);
  }
  a->m[column] = max_ps(most);
  __m256 shift = _mm256_set1_ps(a->m[column]);
  for (size_t t = begin; t < n; t += 8) {
    __m256 p = exp8(_mm256_sub_ps(_mm256_load_ps(scores + t), shift));
    sum = _mm256_add_ps(sum, p);
    _mm256_store_ps(scores + t, p);
  }
  a->l[column] = sum_ps(sum);
}

/* o += sum over t in from .. to of p * V for C columns and D vectors of 8 dims. */
INLINE void weigh_tile(const em_attend *a, size_t dim, size_t from, size_t to, size_t column, const int C, const int D,
                       const int kind) {
  size_t o_stride = (a->v_dim + 15u) / 16 * 16;
  size_t row_bytes = kind == EM_KV_Q8 ? a->v_dim / 32u * 34 : o_stride * value_bytes(kind);
  const uint8_t *v = a->v + from * row_bytes + dim * value_bytes(kind);
  const uint8_t *scales = a->v + from * row_bytes + a->v_dim + dim / 32 * 2;
  const float *p = a->scores + column * EM_KV_PAGE_TOKENS;
  float *o = a->o + column * o_stride + dim;
  __m256 acc[2][4];
  UNROLL
  for (int c = 0; c < C; c++) {
    UNROLL
    for (int i = 0; i < D; i++)
      acc[c][i] = _mm256_load_ps(o + (size_t)c * o_stride + 8 * i);
  }
  for (size_t t = from; t < to; t++, v += row_bytes, scales += row_bytes) {
    __m256 scale = _mm256_setzero_ps();
    if (kind == EM_KV_Q8) {
      /* D vectors of 8 are at most one group of 32. */
      uint16_t half;
      memcpy(&half, scales, sizeof half);
      scale = _mm256_cvtph_ps(_mm_set1_epi16((short)half));
    }
    UNROLL
    for (int i = 0; i < D; i++) {
      __m256 values = load_values(v + (size_t)(8 * i) * value_bytes(kind), kind);
      if (kind == EM_KV_Q8)
        values = _mm256_mul_ps(values, scale);
      UNROLL
      for (int c = 0; c < C; c++)
        acc[c][i] = _mm256_fmadd_ps(_mm256_set1_ps(p[(size_t)c * EM_KV_PAGE_TOKENS + t]), values, acc[c][i]);
    }
  }
  UNROLL
  for (int c = 0; c < C; c++) {
    UNROLL
    for (int i = 0; i < D; i++)
      _mm256_store_ps(o + (size_t)c * o_stride + 8 * i, acc[c][i]);
  }
}

INLINE void weigh_dims(const em_attend *a, size_t from, size_t to, size_t column, const int C, const int kind) {
  size_t n = (a->v_dim + 15u) / 16 * 16, dim = 0;
  if (from >= to)
    return;
  for (; dim + 32 <= n; dim += 32)
    weigh_tile(a, dim, from, to, column, C, 4, kind);
  if (dim < n)
    weigh_tile(a, dim, from, to, column, C, 2, kind);
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
  __m256 acc[2][4];
  UNROLL
  for (int c = 0; c < C; c++) {
    first = a->first[column + (size_t)c] < first ? a->first[column + (size_t)c] : first;
    end = a->n_tokens[column + (size_t)c] > end ? a->n_tokens[column + (size_t)c] : end;
    UNROLL
    for (int i = 0; i < 4; i++)
      acc[c][i] = _mm256_setzero_ps();
  }
  for (size_t t = first / 8 * 8; t < end; t += 8) {
    const uint8_t *k = a->k + t / BLOCK * block_bytes + at + t % BLOCK * value_bytes(kind);
    __m256 values[4];
    UNROLL
    for (int i = 0; i < 4; i++)
      values[i] = load_values(k + (size_t)i * BLOCK * value_bytes(kind), kind);
    if (kind == EM_KV_Q8) {
      __m256 scales = load_values(k - dim % 32 * BLOCK + 512 + t % BLOCK, EM_KV_F16);
      UNROLL
      for (int i = 0; i < 4; i++)
        values[i] = _mm256_mul_ps(values[i], scales);
    }
    UNROLL
    for (int c = 0; c < C; c++) {
      size_t n = column + (size_t)c;
      __m256 p = _mm256_load_ps(a->scores + n * EM_KV_PAGE_TOKENS + t);
      __m256i seen = t < a->n_tokens[n] ? lanes(a->n_tokens[n], t) : _mm256_setzero_si256();
      __m256 mask = _mm256_castsi256_ps(_mm256_and_si256(seen, lanes_from(a->first[n], t)));
      UNROLL
      for (int i = 0; i < 4; i++)
        acc[c][i] = _mm256_fmadd_ps(_mm256_and_ps(p, mask), _mm256_and_ps(values[i], mask), acc[c][i]);
    }
  }
  UNROLL
  for (int c = 0; c < C; c++) {
    UNROLL
    for (int i = 0; i < 4; i++)
      a->o[(column + (size_t)c) * o_stride + dim + (size_t)i] = sum_ps(acc[c][i]);
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
    for (; c + 2 <= a->n_cols; c += 2)
      weigh_keys(a, dim, c, 2, kind);
    for (; c < a->n_cols; c++)
      weigh_keys(a, dim, c, 1, kind);
  }
  for (; dim < a->v_dim; dim++) {
    for (size_t c = 0; c < a->n_cols; c++)
      weigh_key(a, dim, c, kind);
  }
}

INLINE void attend(em_attend *a, const int kind) {
  size_t n_cols = a->n_cols, most = 0, least = EM_KV_PAGE_TOKENS;
  for (size_t i = 0; i < n_cols; i++) {
    most = a->n_tokens[i] > most ? a->n_tokens[i] : most;
    least = a->n_tokens[i] > 0 && a->first[i] < least ? a->first[i] : least;
  }
  for (size_t d = 0; !a->is_packed && d < a->k_dim; d++) {
    for (size_t i = 0; i < n_cols; i++)
      a->packed[d * n_cols + i] = a->q[i][d];
  }
  for (size_t block = least / BLOCK; block < (most + BLOCK - 1) / BLOCK; block++) {
    size_t c = 0;
    for (; c + 4 <= n_cols; c += 4)
      score_block(a, block, c, 4, kind);
    for (; c < n_cols; c++)
      score_block(a, block, c, 1, kind);
  }
  for (size_t c = 0; c < n_cols; c++) {
    if (a->n_tokens[c] > 0)
      soften(a, c);
  }
  memset(a->o, 0, n_cols * ((a->v_dim + 15u) / 16 * 16) * sizeof *a->o);
  if (a->v_in_k) {
    weigh_all_keys(a, kind);
    return;
  }
  /* Some positions of V at once, so that they stay in the L1 cache for all columns; few columns read them once anyway. */
  size_t step = n_cols <= 2 ? EM_KV_PAGE_TOKENS : V_POSITIONS;
  for (size_t t = least / step * step; t < most; t += step) {
    size_t to = most - t < step ? most : t + step, c = 0;
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

void em_kernels_avx2(em_cpu_kernels *kernels) {
  em_kernels_avx2_matmul(kernels);
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
