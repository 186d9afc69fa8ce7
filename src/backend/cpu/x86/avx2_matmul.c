/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Products with AVX2, FMA and F16C. This file is compiled for those instructions; only a processor that has them may
 * call it.
 *
 * A quad is two ymm registers of 8 rows times 4 values of k. vpmaddubsw adds pairs of products to 16 bits with
 * saturation, so numbers keep their layout's own small offset (or their sign, where they are large): 2 * 128 * 127
 * still fits, and sums of four bits stay in 16 bits over a whole group.
 *
 * The inline functions take the number of columns as a constant: they are unrolled completely and their arrays are
 * registers. */
#include <immintrin.h>

#include "backend/cpu/x86/x86.h"

#define MAX_COLS 4

INLINE __m256i load(const uint8_t *p) {
  return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

INLINE __m256 load_f16(const uint8_t *p) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

INLINE __m256 load_f32(const uint8_t *p) {
  return _mm256_loadu_ps((const float *)(const void *)p);
}

INLINE __m256 load_bf16(const uint8_t *p) {
  __m128i half = _mm_loadu_si128((const __m128i *)(const void *)p);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

INLINE __m256i load_u8_i32(const uint8_t *p) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

INLINE __m256 load_u8(const uint8_t *p) {
  return _mm256_cvtepi32_ps(load_u8_i32(p));
}

INLINE __m256 load_i8(const uint8_t *p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

/* Asks for the cache lines that lie AHEAD of p: all of a block's bytes are asked for in equal shares, its scales included,
 * because the first group already waits for them. */
INLINE void look_ahead(const uint8_t *p, const size_t bytes) {
  UNROLL
  for (size_t i = 0; i < bytes; i += 64)
    _mm_prefetch((const char *)p + AHEAD + i, _MM_HINT_T0);
}

/* Four consecutive activations in every lane. */
INLINE __m256i quad(const em_q8_block *x, int j) {
  int32_t bits;
  __builtin_memcpy(&bits, x->q + 4 * j, sizeof bits);
  return _mm256_set1_epi32(bits);
}

INLINE const em_q8_block *block_at(const uint8_t *x, size_t stride, int c, size_t b) {
  return (const em_q8_block *)(const void *)(x + (size_t)c * stride) + b;
}

/* --- A quad of half a panel, by layout -------------------------------------------------------------------------------------- */

/* Whether numbers are multiplied with their sign; the others have their layout's offset, which keeps them small. */
INLINE bool is_signed(const em_layout layout) {
  return em_layout_infos[layout].most > 128;
}

/* How many products fit into 16 bits. */
INLINE int quads_a_sum(const em_layout layout) {
  const int most = em_layout_infos[layout].most;
  return most <= 16 ? 8 : most <= 32 ? 4 : most <= 64 ? 2 : 1;
}

/* Shifts words so that bit `from` of a byte comes to `to`; what crosses into other bytes is for the caller to mask. */
INLINE __m256i moved(__m256i v, const int from, const int to) {
  if (from == to)
    return v;
  return from < to ? _mm256_slli_epi16(v, to - from) : _mm256_srli_epi16(v, from - to);
}

INLINE __m256i masked(__m256i v, const int mask) {
  return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

/* Numbers with their sign or plus the layout's offset, as above. */
INLINE __m256i quad_of(const uint8_t *block, size_t g, int half, int j, const em_layout layout) {
  const em_layout_info info = em_layout_infos[layout];
  const int bits = info.bits;
  const uint8_t *group = block + g * em_group_bytes(layout) + 32 * half;
  const uint8_t *rest = group + (bits >= 4 ? 256 : bits == 3 ? 128 : 0);
  __m256i q;
  if (bits == 8)
    return _mm256_xor_si256(load(group + 64 * j), _mm256_set1_epi8((char)0x80));
  if (bits >= 4)
    q = masked(moved(load(group + 64 * (j / 2)), j % 2 * 4, 0), 15);
  else if (bits >= 2)
    q = masked(moved(load(group + 64 * (j / 4)), j % 4 * 2, 0), 3);
  else
    q = masked(moved(load(group), j, 1), 2);
  if (bits == 6)
    q = _mm256_or_si256(q, masked(moved(load(rest + 64 * (j / 4)), j % 4 * 2, 4), 0x30));
  if (bits == 5 || bits == 3)
    q = _mm256_or_si256(q, masked(moved(load(rest), j, bits - 1), 1 << (bits - 1)));
  if (info.scales == EM_SCALES_ODD_RUNS) {
    /* Four bits a row, one for every two quads, in all bytes of the row. */
    const __m256i bytes =
        _mm256_set_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0, 0x0C0C0C0C, 0x08080808, 0x04040404, 0);
    __m256i runs = load_u8_i32(block + 8 * em_group_bytes(layout) + 128 + g / 2 * 16 + 8 * (size_t)half);
    runs = _mm256_shuffle_epi8(_mm256_srl_epi32(runs, _mm_cvtsi32_si128((int)(g % 2 * 4))), bytes);
    q = _mm256_or_si256(q, masked(moved(runs, j / 2, 2), 4));
  }
  if (info.numbers) {
    __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)info.numbers));
    if (!is_signed(layout))
      table = _mm256_add_epi8(table, _mm256_set1_epi8((char)info.offset));
    q = _mm256_shuffle_epi8(table, q);
  }
  return q;
}

/* What quad_of gives, from an unpacked group. */
INLINE __m256i unpacked_quad(const uint8_t *group, int half, int j, const em_layout layout) {
  __m256i q = load(group + 64 * j + 32 * half);
  return is_signed(layout) ? _mm256_xor_si256(q, _mm256_set1_epi8((char)0x80)) : q;
}

/* dots[c] += the products of quads from .. to - 1 of half a panel: of group g of a block, or of an unpacked group. */
INLINE void add_quads(const uint8_t *block, size_t g, const bool packed, int half, const int from, const int to,
                      const uint8_t *x, size_t stride, size_t b, const int C, __m256i dots[MAX_COLS],
                      const em_layout layout) {
  const __m256i ones = _mm256_set1_epi16(1);
  const int n = quads_a_sum(layout);
  UNROLL
  for (int j = from; j < to; j += n) {
    __m256i sums[MAX_COLS];
    UNROLL
    for (int i = 0; i < n && j + i < to; i++) {
      __m256i w = packed ? quad_of(block, g, half, j + i, layout) : unpacked_quad(block, half, j + i, layout);
      __m256i size = is_signed(layout) ? _mm256_abs_epi8(w) : w;
      UNROLL
      for (int c = 0; c < C; c++) {
        __m256i v = quad(block_at(x, stride, c, b), j + i);
        __m256i pairs = _mm256_maddubs_epi16(size, is_signed(layout) ? _mm256_sign_epi8(v, w) : v);
        sums[c] = i == 0 ? pairs : _mm256_add_epi16(sums[c], pairs);
      }
    }
    UNROLL
    for (int c = 0; c < C; c++)
      dots[c] = _mm256_add_epi32(dots[c], _mm256_madd_epi16(sums[c], ones));
  }
}

/* acc + dot * (scale * d): the one place where an integer sum meets its scales, so that all kernels round alike. */
INLINE __m256 scaled(__m256i dot, __m256 scale, float d, __m256 acc) {
  return _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot), _mm256_mul_ps(scale, _mm256_set1_ps(d)), acc);
}

/* acc - minimum * sum */
INLINE __m256 minus(__m256 minimum, float sum, __m256 acc) {
  return _mm256_fnmadd_ps(minimum, _mm256_set1_ps(sum), acc);
}

INLINE void clear(__m256 acc[2][MAX_COLS], const int C) {
  UNROLL
  for (int c = 0; c < C; c++)
    acc[0][c] = acc[1][c] = _mm256_setzero_ps();
}

INLINE void store(__m256 acc[2][MAX_COLS], const int C, float *y, size_t y_stride) {
  UNROLL
  for (int c = 0; c < C; c++) {
    _mm256_storeu_ps(y + (size_t)c * y_stride, acc[0][c]);
    _mm256_storeu_ps(y + (size_t)c * y_stride + 8, acc[1][c]);
  }
}

/* --- Scales, by layout ------------------------------------------------------------------------------------------------------ */

/* The scale of group g or, of layouts that have one for each half of k, of part h of it. tail: a block's scales. */
INLINE __m256 scale_of(const uint8_t *tail, size_t g, int h, int half, const em_layout layout) {
  const em_layout_info info = em_layout_infos[layout];
  const uint8_t *rows = tail + 8 * half;
  __m256i byte;
  __m256 d = _mm256_setzero_ps();
  if (info.scales == EM_SCALES_E8M0) {
    byte = _mm256_max_epi32(load_u8_i32(rows), _mm256_set1_epi32(1));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_sub_epi32(byte, _mm256_set1_epi32(1)), 23));
  }
  if (info.scales == EM_SCALES_E4M3) {
    /* The bits of an f16 of 1/256 of the value. */
    __m128i word = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(const void *)(rows + 16 * h)));
    return _mm256_mul_ps(_mm256_cvtph_ps(_mm_slli_epi16(word, 7)), _mm256_set1_ps(128));
  }
  d = load_f16(tail + em_scales_d_at(info.scales) + 16 * half);
  if (info.factor != 1)
    d = _mm256_mul_ps(d, _mm256_set1_ps(info.factor));
  switch (info.scales) {
  case EM_SCALES_K_MIN:
    return _mm256_mul_ps(d, load_u8(rows + 16 * g));
  case EM_SCALES_K_HALVES_MIN:
    byte = _mm256_and_si256(load_u8_i32(rows + 32 * g + 16 * (size_t)h), _mm256_set1_epi32(15));
    return _mm256_mul_ps(d, _mm256_cvtepi32_ps(byte));
  case EM_SCALES_K:
    return _mm256_mul_ps(d, load_i8(rows + 16 * g));
  case EM_SCALES_K_HALVES:
    return _mm256_mul_ps(d, load_i8(rows + 32 * g + 16 * (size_t)h));
  case EM_SCALES_ODD_HALVES:
  case EM_SCALES_ODD_RUNS:
    byte = load_u8_i32(rows + 16 * g);
    byte = h == 0 ? _mm256_slli_epi32(byte, 1) : _mm256_srli_epi32(byte, 3);
    byte = _mm256_or_si256(_mm256_and_si256(byte, _mm256_set1_epi32(30)), _mm256_set1_epi32(1));
    return _mm256_mul_ps(d, _mm256_cvtepi32_ps(byte));
  default:
    return d;
  }
}

/* The same of the minima of those that have them. */
INLINE __m256 minimum_of(const uint8_t *tail, size_t g, int h, int half, const em_layout layout) {
  const em_scales scales = em_layout_infos[layout].scales;
  __m256 second = load_f16(tail + em_scales_d_at(scales) + 32 + 16 * half);
  if (scales == EM_SCALES_K_MIN)
    return _mm256_mul_ps(second, load_u8(tail + 128 + 16 * g + 8 * half));
  if (scales == EM_SCALES_K_HALVES_MIN) {
    __m256i byte = _mm256_srli_epi32(load_u8_i32(tail + 32 * g + 16 * (size_t)h + 8 * (size_t)half), 4);
    return _mm256_mul_ps(second, _mm256_cvtepi32_ps(byte));
  }
  return _mm256_sub_ps(_mm256_setzero_ps(), second);
}

/* Of -128 times a sum of activations: what takes the offset of numbers back. */
INLINE int32_t less_offset(int32_t n, const em_layout layout) {
  const int offset = is_signed(layout) ? 0 : em_layout_infos[layout].offset;
  return offset == 0 ? 0 : 128 % offset == 0 ? n >> __builtin_ctz(128u / (unsigned)offset) : (n >> 7) * offset;
}

/* --- One group ---------------------------------------------------------------------------------------------------------------- */

/* The products of a group, packed with the tail of its block, or unpacked with its scales behind the quads. */
INLINE void add_group(const uint8_t *block, const uint8_t *tail, size_t g, const bool packed, const uint8_t *x,
                      size_t stride, size_t b, const int C, __m256 acc[2][MAX_COLS], const em_layout layout) {
  const bool halved = em_scales_halved(em_layout_infos[layout].scales);
  const bool minima = em_scales_have_minimum(em_layout_infos[layout].scales);
  const int n = halved ? 2 : 1;
  UNROLL
  for (int half = 0; half < 2; half++) {
    UNROLL
    for (int h = 0; h < n; h++) {
      __m256i dots[MAX_COLS];
      UNROLL
      for (int c = 0; c < C; c++) {
        const em_q8_block *v = block_at(x, stride, c, b);
        dots[c] = _mm256_set1_epi32(less_offset(halved ? v->n16[h] : v->n32, layout));
      }
      add_quads(block, g, packed, half, 4 * h, halved ? 4 * h + 4 : 8, x, stride, b, C, dots, layout);
      __m256 scale = packed ? scale_of(tail, g, h, half, layout) : load_f32(tail + 64 * h + 32 * half);
      UNROLL
      for (int c = 0; c < C; c++)
        acc[half][c] = scaled(dots[c], scale, block_at(x, stride, c, b)->d, acc[half][c]);
    }
    UNROLL
    for (int h = 0; minima && h < n; h++) {
      __m256 minimum = packed ? minimum_of(tail, g, h, half, layout) : load_f32(tail + 64 * (n + h) + 32 * half);
      UNROLL
      for (int c = 0; c < C; c++) {
        const em_q8_block *v = block_at(x, stride, c, b);
        acc[half][c] = minus(minimum, halved ? v->sum16[h] : v->sum, acc[half][c]);
      }
    }
  }
}

/* --- Straight from the packed panel: some columns --------------------------------------------------------------------------- */

INLINE void dot_quantised(const uint8_t *w, size_t n_in, const uint8_t *x, size_t stride, const int C, float *y,
                          const em_layout layout) {
  const size_t n_groups = em_layout_infos[layout].n_groups, share = em_block_bytes(layout) / n_groups;
  __m256 acc[2][MAX_COLS];
  clear(acc, C);
  for (size_t b = 0; b < n_in / EM_GROUP; b += n_groups, w += em_block_bytes(layout)) {
    for (size_t g = 0; g < n_groups; g++) {
      look_ahead(w + g * share, share);
      add_group(w, w + n_groups * em_group_bytes(layout), g, true, x, stride, b + g, C, acc, layout);
    }
  }
  store(acc, C, y, 16);
}

INLINE void dot_float(const uint8_t *w, size_t n_in, const uint8_t *x, size_t stride, const int C, float *y,
                      const em_layout layout) {
  __m256 acc[2][MAX_COLS];
  clear(acc, C);
  for (size_t k = 0; k < n_in; k++) {
    _mm_prefetch((const char *)w + k * (layout == EM_LAYOUT_F32 ? 64 : 32) + AHEAD, _MM_HINT_T0);
    UNROLL
    for (int half = 0; half < 2; half++) {
      __m256 row = layout == EM_LAYOUT_F32   ? load_f32(w + k * 64 + 32 * half)
                   : layout == EM_LAYOUT_F16 ? load_f16(w + k * 32 + 16 * half)
                                             : load_bf16(w + k * 32 + 16 * half);
      UNROLL
      for (int c = 0; c < C; c++) {
        float value = ((const float *)(const void *)(x + (size_t)c * stride))[k];
        acc[half][c] = _mm256_fmadd_ps(row, _mm256_set1_ps(value), acc[half][c]);
      }
    }
  }
  store(acc, C, y, 16);
}

/* Any number of columns, as many at once as there are registers for. The order of a column's sums is the same in all. */
#define DOT(name, call)                                                                                       \
  static void name(const uint8_t *w, size_t n_in, const uint8_t *x, size_t stride, size_t n_cols, float *y) { \
    for (; n_cols >= 4; n_cols -= 4, x += 4 * stride, y += 64) {                                              \
      enum { C = 4 };                                                                                         \
      call;                                                                                                   \
    }                                                                                                         \
    if (n_cols >= 2) {                                                                                        \
      enum { C = 2 };                                                                                         \
      call;                                                                                                   \
      n_cols -= 2, x += 2 * stride, y += 32;                                                                  \
    }                                                                                                         \
    if (n_cols == 1) {                                                                                        \
      enum { C = 1 };                                                                                         \
      call;                                                                                                   \
    }                                                                                                         \
  }

DOT(dot_F32, dot_float(w, n_in, x, stride, C, y, EM_LAYOUT_F32))
DOT(dot_F16, dot_float(w, n_in, x, stride, C, y, EM_LAYOUT_F16))
DOT(dot_BF16, dot_float(w, n_in, x, stride, C, y, EM_LAYOUT_BF16))

/* --- Unpacking: many columns ------------------------------------------------------------------------------------------------ */

/* An unpacked group: 512 bytes of quads with the layout's own offset (128 for those with a sign), its scales, its
 * minima. */
INLINE size_t unpacked_bytes(const em_layout layout) {
  const em_scales scales = em_layout_infos[layout].scales;
  return 512 + (em_scales_halved(scales) ? 128u : 64u) * (em_scales_have_minimum(scales) ? 2 : 1);
}

INLINE void put(uint8_t *dst, __m256 v) {
  _mm256_store_ps((float *)(void *)dst, v);
}

INLINE void unpack(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst, const em_layout layout) {
  const em_layout_info info = em_layout_infos[layout];
  const size_t n_groups = info.n_groups;
  const int n = em_scales_halved(info.scales) ? 2 : 1;
  w += k0 / EM_GROUP / n_groups * em_block_bytes(layout);
  for (size_t b = 0; b < n_k / EM_GROUP; b += n_groups, w += em_block_bytes(layout)) {
    const uint8_t *tail = w + n_groups * em_group_bytes(layout);
    for (size_t g = 0; g < n_groups; g++, dst += unpacked_bytes(layout)) {
      UNROLL
      for (int half = 0; half < 2; half++) {
        UNROLL
        for (int j = 0; j < 8; j++) {
          __m256i q = quad_of(w, g, half, j, layout);
          q = is_signed(layout) ? _mm256_xor_si256(q, _mm256_set1_epi8((char)0x80)) : q;
          _mm256_store_si256((__m256i *)(void *)(dst + 64 * j + 32 * half), q);
        }
        UNROLL
        for (int h = 0; h < n; h++)
          put(dst + 512 + 64 * h + 32 * half, scale_of(tail, g, h, half, layout));
        UNROLL
        for (int h = 0; em_scales_have_minimum(info.scales) && h < n; h++)
          put(dst + 512 + 64 * (n + h) + 32 * half, minimum_of(tail, g, h, half, layout));
      }
    }
  }
}

/* One panel times C columns for n groups; rows of y are 32 floats apart. */
INLINE void mul_tile(const uint8_t *w, size_t n, const uint8_t *x, size_t stride, const int C, bool add, float *y,
                     const em_layout layout) {
  __m256 acc[2][MAX_COLS];
  UNROLL
  for (int c = 0; c < C; c++) {
    acc[0][c] = add ? _mm256_loadu_ps(y + 32 * c) : _mm256_setzero_ps();
    acc[1][c] = add ? _mm256_loadu_ps(y + 32 * c + 8) : _mm256_setzero_ps();
  }
  for (size_t b = 0; b < n; b++, w += unpacked_bytes(layout))
    add_group(w, w + 512, 0, false, x, stride, b, C, acc, layout);
  store(acc, C, y, 32);
}

INLINE void mul(const uint8_t *w0, const uint8_t *w1, size_t n_k, const uint8_t *x, size_t stride, size_t n_cols,
                bool add, float *y, const em_layout layout) {
  const uint8_t *w[2] = {w0, w1};
  size_t n = n_k / EM_GROUP;
  for (int p = 0; p < 2; p++) {
    const uint8_t *at = x;
    float *out = y + 16 * p;
    size_t left = n_cols;
    for (; left >= 4; left -= 4, at += 4 * stride, out += 128)
      mul_tile(w[p], n, at, stride, 4, add, out, layout);
    if (left >= 2) {
      mul_tile(w[p], n, at, stride, 2, add, out, layout);
      left -= 2, at += 2 * stride, out += 64;
    }
    if (left == 1)
      mul_tile(w[p], n, at, stride, 1, add, out, layout);
  }
}

#define LAYOUT(name)                                                                                        \
  DOT(dot_##name, dot_quantised(w, n_in, x, stride, C, y, EM_LAYOUT_##name))                                \
  static void unpack_##name(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst) {                        \
    unpack(w, k0, n_k, dst, EM_LAYOUT_##name);                                                              \
  }                                                                                                         \
  static void mul_##name(const uint8_t *w0, const uint8_t *w1, size_t n_k, const uint8_t *x, size_t stride, \
                         size_t n_cols, bool add, float *y) {                                               \
    mul(w0, w1, n_k, x, stride, n_cols, add, y, EM_LAYOUT_##name);                                          \
  }
EM_QUANTISED_LAYOUTS(LAYOUT)

void em_kernels_avx2_matmul(em_cpu_kernels *kernels) {
  kernels->dot[EM_LAYOUT_F32] = dot_F32;
  kernels->dot[EM_LAYOUT_F16] = dot_F16;
  kernels->dot[EM_LAYOUT_BF16] = dot_BF16;
#define ENTRY(name)                                  \
  kernels->dot[EM_LAYOUT_##name] = dot_##name;       \
  kernels->unpack[EM_LAYOUT_##name] = unpack_##name; \
  kernels->mul[EM_LAYOUT_##name] = mul_##name;
  EM_QUANTISED_LAYOUTS(ENTRY)
}
