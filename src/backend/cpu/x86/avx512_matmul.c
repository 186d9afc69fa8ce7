/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Products with AVX-512 and VNNI. This file is compiled for those instructions; only a processor that has them may call it.
 *
 * One zmm register holds 16 rows times 4 values of k, so vpdpbusd adds four products to each row's own lane and no sum ever
 * crosses lanes. Weights are the unsigned operand; where they have an offset the accumulators start from the offset times the
 * sum of the activations.
 *
 * The inline functions take the number of columns as a constant: they are unrolled completely and their arrays are registers. */
#include <immintrin.h>

#include "backend/cpu/x86/x86.h"

#define MAX_COLS 6

INLINE __m512i load(const uint8_t *p) {
  return _mm512_loadu_si512(p);
}

INLINE __m512 load_f32(const uint8_t *p) {
  return _mm512_loadu_ps(p);
}

INLINE __m512 load_f16(const uint8_t *p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

INLINE __m512 load_bf16(const uint8_t *p) {
  __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)p);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

INLINE __m512 load_u8(const uint8_t *p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

INLINE __m512 load_i8(const uint8_t *p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

/* Asks for the cache lines that lie AHEAD of p: all of a block's bytes are asked for in equal shares, its scales included,
 * because the first group already waits for them. */
INLINE void look_ahead(const uint8_t *p, const size_t bytes) {
  UNROLL
  for (size_t i = 0; i < bytes; i += 64)
    _mm_prefetch((const char *)p + AHEAD + i, _MM_HINT_T0);
}

/* Four consecutive activations in every lane. */
INLINE __m512i quad(const em_q8_block *x, int j) {
  int32_t bits;
  __builtin_memcpy(&bits, x->q + 4 * j, sizeof bits);
  return _mm512_set1_epi32(bits);
}

INLINE const em_q8_block *block_at(const uint8_t *x, size_t stride, int c, size_t b) {
  return (const em_q8_block *)(const void *)(x + (size_t)c * stride) + b;
}

/* --- The eight quads of a group, by layout -------------------------------------------------------------------------------- */

INLINE void quads_q8(const uint8_t *group, __m512i w[8]) {
  UNROLL
  for (int j = 0; j < 8; j++)
    w[j] = load(group + 64 * j);
}

INLINE void quads_q4(const uint8_t *group, __m512i w[8]) {
  const __m512i low = _mm512_set1_epi8(15);
  UNROLL
  for (int l = 0; l < 4; l++) {
    __m512i both = load(group + 64 * l);
    w[2 * l] = _mm512_and_si512(both, low);
    w[2 * l + 1] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
  }
}

INLINE void quads_q5(const uint8_t *group, __m512i w[8]) {
  const __m512i sixteen = _mm512_set1_epi8(16);
  __m512i fifth = load(group + 256);
  quads_q4(group, w);
  UNROLL
  for (int j = 0; j < 8; j++) {
    __m512i bit = j < 4 ? _mm512_slli_epi16(fifth, (unsigned)(4 - j)) : _mm512_srli_epi16(fifth, (unsigned)(j - 4));
    w[j] = _mm512_ternarylogic_epi32(bit, sixteen, w[j], 0xEA); /* bit & 16 | w */
  }
}

INLINE void quads_q6(const uint8_t *group, __m512i w[8]) {
  const __m512i pair = _mm512_set1_epi8(0x30);
  quads_q4(group, w);
  UNROLL
  for (int j = 0; j < 8; j++) {
    __m512i pairs = load(group + 256 + 64 * (j / 4));
    int i = j % 4;
    __m512i bits = i < 2 ? _mm512_slli_epi16(pairs, (unsigned)(4 - 2 * i)) : _mm512_srli_epi16(pairs, (unsigned)(2 * i - 4));
    w[j] = _mm512_ternarylogic_epi32(bits, pair, w[j], 0xEA);
  }
}

/* acc + dot * (scale * d): the one place where an integer sum meets its scales, so that all kernels round alike. */
INLINE __m512 scaled(__m512i dot, __m512 scale, float d, __m512 acc) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), _mm512_mul_ps(scale, _mm512_set1_ps(d)), acc);
}

/* acc - minimum * sum */
INLINE __m512 minus(__m512 minimum, float sum, __m512 acc) {
  return _mm512_fnmadd_ps(minimum, _mm512_set1_ps(sum), acc);
}

/* --- Straight from the packed panel: some columns ------------------------------------------------------------------------- */

/* dots[c] += the products of quads from .. to - 1. */
INLINE void add_quads(const __m512i w[8], int from, int to, const uint8_t *x, size_t stride, size_t b, const int C,
                      __m512i dots[MAX_COLS]) {
  UNROLL
  for (int j = 0; j < 8; j++) {
    if (j < from || j >= to)
      continue;
    UNROLL
    for (int c = 0; c < C; c++)
      dots[c] = _mm512_dpbusd_epi32(dots[c], w[j], quad(block_at(x, stride, c, b), j));
  }
}

INLINE void clear(__m512 acc[MAX_COLS], const int C) {
  UNROLL
  for (int c = 0; c < C; c++)
    acc[c] = _mm512_setzero_ps();
}

INLINE void store(const __m512 acc[MAX_COLS], const int C, float *y) {
  UNROLL
  for (int c = 0; c < C; c++)
    _mm512_storeu_ps(y + c * 16, acc[c]);
}

/* Q8 and Q4_0: one group a block, one f16 scale, an offset of 128 >> shift. */
INLINE void dot_simple(const uint8_t *w, size_t n_in, const uint8_t *x, size_t stride, const int C, float *y,
                       const bool eight) {
  __m512 acc[MAX_COLS];
  clear(acc, C);
  for (size_t b = 0; b < n_in / EM_GROUP; b++) {
    __m512i quads[8], dots[MAX_COLS];
    look_ahead(w, eight ? EM_Q8_BLOCK_BYTES : EM_Q4_0_BLOCK_BYTES);
    if (eight)
      quads_q8(w, quads);
    else
      quads_q4(w, quads);
    UNROLL
    for (int c = 0; c < C; c++)
      dots[c] = _mm512_set1_epi32(block_at(x, stride, c, b)->n32 >> (eight ? 0 : 4));
    add_quads(quads, 0, 8, x, stride, b, C, dots);
    __m512 scale = load_f16(w + (eight ? 512 : 256));
    UNROLL
    for (int c = 0; c < C; c++)
      acc[c] = scaled(dots[c], scale, block_at(x, stride, c, b)->d, acc[c]);
    w += eight ? EM_Q8_BLOCK_BYTES : EM_Q4_0_BLOCK_BYTES;
  }
  store(acc, C, y);
}

INLINE void dot_q45_k(const uint8_t *w, size_t n_in, const uint8_t *x, size_t stride, const int C, float *y,
                      const bool five) {
  const size_t group_bytes = five ? 320 : 256, share = (five ? EM_Q5_K_BLOCK_BYTES : EM_Q4_K_BLOCK_BYTES) / 8;
  __m512 acc[MAX_COLS];
  clear(acc, C);
  for (size_t b = 0; b < n_in / EM_GROUP; b += 8) {
    const uint8_t *tail = w + 8 * group_bytes;
    __m512 d = load_f16(tail + 256), dmin = load_f16(tail + 288);
    for (size_t g = 0; g < 8; g++) {
      __m512i quads[8], dots[MAX_COLS];
      look_ahead(w + g * share, share);
      if (five)
        quads_q5(w + g * group_bytes, quads);
      else
        quads_q4(w + g * group_bytes, quads);
      UNROLL
      for (int c = 0; c < C; c++)
        dots[c] = _mm512_setzero_si512();
      add_quads(quads, 0, 8, x, stride, b + g, C, dots);
      __m512 scale = _mm512_mul_ps(d, load_u8(tail + 16 * g)), minimum = _mm512_mul_ps(dmin, load_u8(tail + 128 + 16 * g));
      UNROLL
      for (int c = 0; c < C; c++) {
        const em_q8_block *block = block_at(x, stride, c, b + g);
        acc[c] = minus(minimum, block->sum, scaled(dots[c], scale, block->d, acc[c]));
      }
    }
    w += five ? EM_Q5_K_BLOCK_BYTES : EM_Q4_K_BLOCK_BYTES;
  }
  store(acc, C, y);
}

INLINE void dot_q6_k(const uint8_t *w, size_t n_in, const uint8_t *x, size_t stride, const int C, float *y) {
  __m512 acc[MAX_COLS];
  clear(acc, C);
  for (size_t b = 0; b < n_in / EM_GROUP; b += 8) {
    const uint8_t *tail = w + 8 * 384;
    __m512 d = load_f16(tail + 256);
    for (size_t g = 0; g < 8; g++) {
      __m512i quads[8], dots[MAX_COLS];
      look_ahead(w + g * (EM_Q6_K_BLOCK_BYTES / 8), EM_Q6_K_BLOCK_BYTES / 8);
      quads_q6(w + g * 384, quads);
      UNROLL
      for (int h = 0; h < 2; h++) {
        UNROLL
        for (int c = 0; c < C; c++)
          dots[c] = _mm512_set1_epi32(block_at(x, stride, c, b + g)->n16[h] >> 2);
        add_quads(quads, 4 * h, 4 * h + 4, x, stride, b + g, C, dots);
        __m512 scale = _mm512_mul_ps(d, load_i8(tail + 16 * (2 * g + (size_t)h)));
        UNROLL
        for (int c = 0; c < C; c++)
          acc[c] = scaled(dots[c], scale, block_at(x, stride, c, b + g)->d, acc[c]);
      }
    }
    w += EM_Q6_K_BLOCK_BYTES;
  }
  store(acc, C, y);
}

INLINE __m512 row_of(const uint8_t *w, size_t k, const em_layout layout) {
  return layout == EM_LAYOUT_F32 ? load_f32(w + k * 64) : layout == EM_LAYOUT_F16 ? load_f16(w + k * 32) : load_bf16(w + k * 32);
}

INLINE void add_row(__m512 row, const uint8_t *x, size_t stride, size_t k, const int C, __m512 acc[MAX_COLS]) {
  UNROLL
  for (int c = 0; c < C; c++)
    acc[c] = _mm512_fmadd_ps(row, _mm512_set1_ps(((const float *)(const void *)(x + (size_t)c * stride))[k]), acc[c]);
}

/* The float layouts. Even and odd k are summed apart, because one row's sums would wait for each other. */
INLINE void dot_float(const uint8_t *w, size_t n_in, const uint8_t *x, size_t stride, const int C, float *y,
                      const em_layout layout) {
  __m512 even[MAX_COLS], odd[MAX_COLS];
  size_t k = 0;
  clear(even, C);
  clear(odd, C);
  for (; k + 2 <= n_in; k += 2) {
    look_ahead(w + k * (layout == EM_LAYOUT_F32 ? 64 : 32), layout == EM_LAYOUT_F32 ? 128 : 64);
    add_row(row_of(w, k, layout), x, stride, k, C, even);
    add_row(row_of(w, k + 1, layout), x, stride, k + 1, C, odd);
  }
  if (k < n_in)
    add_row(row_of(w, k, layout), x, stride, k, C, even);
  UNROLL
  for (int c = 0; c < C; c++)
    even[c] = _mm512_add_ps(even[c], odd[c]);
  store(even, C, y);
}

/* Any number of columns, as many at once as there are registers for. The order of a column's sums is the same in all. */
#define DOT(name, call)                                                                                                \
  static void name(const uint8_t *w, size_t n_in, const uint8_t *x, size_t stride, size_t n_cols, float *y) {          \
    for (; n_cols >= 6; n_cols -= 6, x += 6 * stride, y += 96) {                                                       \
      enum { C = 6 };                                                                                                  \
      call;                                                                                                            \
    }                                                                                                                  \
    if (n_cols >= 3) {                                                                                                 \
      enum { C = 3 };                                                                                                  \
      call;                                                                                                            \
      n_cols -= 3, x += 3 * stride, y += 48;                                                                           \
    }                                                                                                                  \
    if (n_cols == 2) {                                                                                                 \
      enum { C = 2 };                                                                                                  \
      call;                                                                                                            \
    } else if (n_cols == 1) {                                                                                          \
      enum { C = 1 };                                                                                                  \
      call;                                                                                                            \
    }                                                                                                                  \
  }

DOT(dot_cols_q8, dot_simple(w, n_in, x, stride, C, y, true))
DOT(dot_cols_q4_0, dot_simple(w, n_in, x, stride, C, y, false))
DOT(dot_cols_q4_k, dot_q45_k(w, n_in, x, stride, C, y, false))
DOT(dot_cols_q5_k, dot_q45_k(w, n_in, x, stride, C, y, true))
DOT(dot_cols_q6_k, dot_q6_k(w, n_in, x, stride, C, y))
DOT(dot_cols_f32, dot_float(w, n_in, x, stride, C, y, EM_LAYOUT_F32))
DOT(dot_cols_f16, dot_float(w, n_in, x, stride, C, y, EM_LAYOUT_F16))
DOT(dot_cols_bf16, dot_float(w, n_in, x, stride, C, y, EM_LAYOUT_BF16))

/* --- Unpacking: many columns ------------------------------------------------------------------------------------------------ */

/* Stores a group's quads with an offset of 128 and its scales. */
INLINE void put(uint8_t *dst, const __m512i quads[8], int add) {
  const __m512i more = _mm512_set1_epi8((char)add);
  UNROLL
  for (int j = 0; j < 8; j++)
    _mm512_store_si512(dst + 64 * j, add ? _mm512_add_epi8(quads[j], more) : quads[j]);
}

static void unpack_q8(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst) {
  w += k0 / EM_GROUP * EM_Q8_BLOCK_BYTES;
  for (size_t b = 0; b < n_k / EM_GROUP; b++, w += EM_Q8_BLOCK_BYTES, dst += 576) {
    __m512i quads[8];
    quads_q8(w, quads);
    put(dst, quads, 0);
    _mm512_store_ps(dst + 512, load_f16(w + 512));
  }
}

static void unpack_q4_0(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst) {
  w += k0 / EM_GROUP * EM_Q4_0_BLOCK_BYTES;
  for (size_t b = 0; b < n_k / EM_GROUP; b++, w += EM_Q4_0_BLOCK_BYTES, dst += 576) {
    __m512i quads[8];
    quads_q4(w, quads);
    put(dst, quads, 120);
    _mm512_store_ps(dst + 512, load_f16(w + 256));
  }
}

INLINE void unpack_q45_k(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst, const bool five) {
  const size_t group_bytes = five ? 320 : 256, block_bytes = five ? EM_Q5_K_BLOCK_BYTES : EM_Q4_K_BLOCK_BYTES;
  w += k0 / EM_SUPER * block_bytes;
  for (size_t b = 0; b < n_k / EM_SUPER; b++, w += block_bytes) {
    const uint8_t *tail = w + 8 * group_bytes;
    __m512 d = load_f16(tail + 256), dmin = load_f16(tail + 288);
    for (size_t g = 0; g < 8; g++, dst += 640) {
      __m512i quads[8];
      if (five)
        quads_q5(w + g * group_bytes, quads);
      else
        quads_q4(w + g * group_bytes, quads);
      put(dst, quads, 128);
      _mm512_store_ps(dst + 512, _mm512_mul_ps(d, load_u8(tail + 16 * g)));
      _mm512_store_ps(dst + 576, _mm512_mul_ps(dmin, load_u8(tail + 128 + 16 * g)));
    }
  }
}

static void unpack_q4_k(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst) {
  unpack_q45_k(w, k0, n_k, dst, false);
}

static void unpack_q5_k(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst) {
  unpack_q45_k(w, k0, n_k, dst, true);
}

static void unpack_q6_k(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst) {
  w += k0 / EM_SUPER * EM_Q6_K_BLOCK_BYTES;
  for (size_t b = 0; b < n_k / EM_SUPER; b++, w += EM_Q6_K_BLOCK_BYTES) {
    const uint8_t *tail = w + 8 * 384;
    __m512 d = load_f16(tail + 256);
    for (size_t g = 0; g < 8; g++, dst += 640) {
      __m512i quads[8];
      quads_q6(w + g * 384, quads);
      put(dst, quads, 96);
      _mm512_store_ps(dst + 512, _mm512_mul_ps(d, load_i8(tail + 32 * g)));
      _mm512_store_ps(dst + 576, _mm512_mul_ps(d, load_i8(tail + 32 * g + 16)));
    }
  }
}

/* What an unpacked group has behind its quads. */
typedef enum scales { ONE_SCALE, SCALE_AND_MINIMUM, TWO_SCALES } scales;

/* Two panels times C columns for n groups. */
INLINE void mul_tile(const uint8_t *w0, const uint8_t *w1, size_t n, const uint8_t *x, size_t stride, const int C,
                     bool add, float *y, const scales kind) {
  const size_t group_bytes = kind == ONE_SCALE ? 576 : 640;
  const uint8_t *w[2] = {w0, w1};
  __m512 acc[2][MAX_COLS];
  UNROLL
  for (int c = 0; c < C; c++) {
    UNROLL
    for (int p = 0; p < 2; p++)
      acc[p][c] = add ? _mm512_load_ps(y + 32 * c + 16 * p) : _mm512_setzero_ps();
  }
  for (size_t b = 0; b < n; b++) {
    __m512i dots[2][MAX_COLS];
    UNROLL
    for (int h = 0; h < (kind == TWO_SCALES ? 2 : 1); h++) {
      UNROLL
      for (int c = 0; c < C; c++) {
        const em_q8_block *block = block_at(x, stride, c, b);
        dots[0][c] = dots[1][c] = _mm512_set1_epi32(kind == TWO_SCALES ? block->n16[h] : block->n32);
      }
      UNROLL
      for (int j = 0; j < (kind == TWO_SCALES ? 4 : 8); j++) {
        __m512i q0 = _mm512_load_si512(w[0] + 64 * (4 * h + j)), q1 = _mm512_load_si512(w[1] + 64 * (4 * h + j));
        UNROLL
        for (int c = 0; c < C; c++) {
          __m512i four = quad(block_at(x, stride, c, b), 4 * h + j);
          dots[0][c] = _mm512_dpbusd_epi32(dots[0][c], q0, four);
          dots[1][c] = _mm512_dpbusd_epi32(dots[1][c], q1, four);
        }
      }
      UNROLL
      for (int p = 0; p < 2; p++) {
        __m512 scale = _mm512_load_ps(w[p] + 512 + 64 * h);
        UNROLL
        for (int c = 0; c < C; c++)
          acc[p][c] = scaled(dots[p][c], scale, block_at(x, stride, c, b)->d, acc[p][c]);
      }
    }
    UNROLL
    for (int p = 0; p < 2; p++) {
      UNROLL
      for (int c = 0; kind == SCALE_AND_MINIMUM && c < C; c++)
        acc[p][c] = minus(_mm512_load_ps(w[p] + 576), block_at(x, stride, c, b)->sum, acc[p][c]);
      w[p] += group_bytes;
    }
  }
  UNROLL
  for (int c = 0; c < C; c++) {
    UNROLL
    for (int p = 0; p < 2; p++)
      _mm512_store_ps(y + 32 * c + 16 * p, acc[p][c]);
  }
}

#define MUL(name, kind)                                                                                          \
  static void name(const uint8_t *w0, const uint8_t *w1, size_t n_k, const uint8_t *x, size_t stride,            \
                   size_t n_cols, bool add, float *y) {                                                          \
    size_t n = n_k / EM_GROUP;                                                                                   \
    for (; n_cols >= 6; n_cols -= 6, x += 6 * stride, y += 192)                                                  \
      mul_tile(w0, w1, n, x, stride, 6, add, y, kind);                                                           \
    if (n_cols >= 3) {                                                                                           \
      mul_tile(w0, w1, n, x, stride, 3, add, y, kind);                                                           \
      n_cols -= 3, x += 3 * stride, y += 96;                                                                     \
    }                                                                                                            \
    if (n_cols == 2)                                                                                             \
      mul_tile(w0, w1, n, x, stride, 2, add, y, kind);                                                           \
    else if (n_cols == 1)                                                                                        \
      mul_tile(w0, w1, n, x, stride, 1, add, y, kind);                                                           \
  }

MUL(mul_one_scale, ONE_SCALE)
MUL(mul_minimum, SCALE_AND_MINIMUM)
MUL(mul_two_scales, TWO_SCALES)

void em_kernels_avx512_matmul(em_cpu_kernels *kernels) {
  em_dot_fn *dot = kernels->dot;
  dot[EM_LAYOUT_F32] = dot_cols_f32;
  dot[EM_LAYOUT_F16] = dot_cols_f16;
  dot[EM_LAYOUT_BF16] = dot_cols_bf16;
  dot[EM_LAYOUT_Q8] = dot_cols_q8;
  dot[EM_LAYOUT_Q4_0] = dot_cols_q4_0;
  dot[EM_LAYOUT_Q4_K] = dot_cols_q4_k;
  dot[EM_LAYOUT_Q5_K] = dot_cols_q5_k;
  dot[EM_LAYOUT_Q6_K] = dot_cols_q6_k;
  kernels->unpack[EM_LAYOUT_Q8] = unpack_q8;
  kernels->unpack[EM_LAYOUT_Q4_0] = unpack_q4_0;
  kernels->unpack[EM_LAYOUT_Q4_K] = unpack_q4_k;
  kernels->unpack[EM_LAYOUT_Q5_K] = unpack_q5_k;
  kernels->unpack[EM_LAYOUT_Q6_K] = unpack_q6_k;
  kernels->mul[EM_LAYOUT_Q8] = mul_one_scale;
  kernels->mul[EM_LAYOUT_Q4_0] = mul_one_scale;
  kernels->mul[EM_LAYOUT_Q4_K] = mul_minimum;
  kernels->mul[EM_LAYOUT_Q5_K] = mul_minimum;
  kernels->mul[EM_LAYOUT_Q6_K] = mul_two_scales;
}
