/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Products with AVX2, FMA and F16C. This file is compiled for those instructions; only a processor that has them may call it.
 *
 * A quad is two ymm registers of 8 rows times 4 values of k. vpmaddubsw adds pairs of products to 16 bits with saturation, so
 * weights keep their own small offset (or their sign, for 8 bits): 2 * 63 * 127 and 2 * 128 * 127 still fit, and sums of four
 * bits stay in 16 bits over a whole group.
 *
 * The inline functions take the number of columns as a constant: they are unrolled completely and their arrays are registers. */
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

INLINE __m256 load_u8(const uint8_t *p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
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

typedef enum source {
  PACKED_Q4,
  PACKED_Q5,
  PACKED_Q6,
  BYTES_Q4, /* unpacked: quads of bytes that hold the same values */
  BYTES_Q5,
  BYTES_Q6,
  BYTES_Q8 /* q + 128, packed or not */
} source;

/* How many bits a value has decides how many products fit into 16 bits. */
INLINE int quads_a_sum(const source s) {
  return s == PACKED_Q4 || s == BYTES_Q4 ? 8 : s == PACKED_Q5 || s == BYTES_Q5 ? 4 : s == BYTES_Q8 ? 1 : 2;
}

INLINE __m256i quad_of(const uint8_t *group, int half, int j, const source s) {
  if (s >= BYTES_Q4)
    return load(group + 64 * j + 32 * half);
  const __m256i low = _mm256_set1_epi8(15);
  __m256i both = load(group + 64 * (j / 2) + 32 * half);
  __m256i q = _mm256_and_si256(j % 2 ? _mm256_srli_epi16(both, 4) : both, low);
  if (s == PACKED_Q5) {
    __m256i fifth = load(group + 256 + 32 * half);
    fifth = j < 4 ? _mm256_slli_epi16(fifth, 4 - j) : _mm256_srli_epi16(fifth, j - 4);
    q = _mm256_or_si256(q, _mm256_and_si256(fifth, _mm256_set1_epi8(16)));
  }
  if (s == PACKED_Q6) {
    __m256i pairs = load(group + 256 + 64 * (j / 4) + 32 * half);
    pairs = j % 4 < 2 ? _mm256_slli_epi16(pairs, 4 - 2 * (j % 4)) : _mm256_srli_epi16(pairs, 2 * (j % 4) - 4);
    q = _mm256_or_si256(q, _mm256_and_si256(pairs, _mm256_set1_epi8(0x30)));
  }
  return q;
}

/* dots[c] += the products of quads from .. to - 1 of half a panel. */
INLINE void add_quads(const uint8_t *group, int half, const int from, const int to, const uint8_t *x, size_t stride,
                      size_t b, const int C, __m256i dots[MAX_COLS], const source s) {
  const __m256i ones = _mm256_set1_epi16(1);
  const int n = quads_a_sum(s);
  UNROLL
  for (int j = from; j < to; j += n) {
    __m256i sums[MAX_COLS];
    UNROLL
    for (int i = 0; i < n && j + i < to; i++) {
      __m256i w = quad_of(group, half, j + i, s), size = w;
      if (s == BYTES_Q8) {
        w = _mm256_xor_si256(w, _mm256_set1_epi8((char)0x80));
        size = _mm256_abs_epi8(w);
      }
      UNROLL
      for (int c = 0; c < C; c++) {
        __m256i v = quad(block_at(x, stride, c, b), j + i);
        __m256i pairs = _mm256_maddubs_epi16(size, s == BYTES_Q8 ? _mm256_sign_epi8(v, w) : v);
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

/* --- One group ---------------------------------------------------------------------------------------------------------------- */

/* One scale for 32: the accumulators start from the offset times the sum. shift 0: signed bytes, 4: an offset of 8, 8: none. */
INLINE void group_one(const uint8_t *group, int half, __m256 scale, const uint8_t *x, size_t stride, size_t b, const int C,
                      __m256 acc[2][MAX_COLS], const source s, const int shift) {
  __m256i dots[MAX_COLS];
  UNROLL
  for (int c = 0; c < C; c++)
    dots[c] = shift == 4 ? _mm256_set1_epi32(block_at(x, stride, c, b)->n32 >> 4) : _mm256_setzero_si256();
  add_quads(group, half, 0, 8, x, stride, b, C, dots, s);
  UNROLL
  for (int c = 0; c < C; c++)
    acc[half][c] = scaled(dots[c], scale, block_at(x, stride, c, b)->d, acc[half][c]);
}

INLINE void group_minimum(__m256 minimum, int half, const uint8_t *x, size_t stride, size_t b, const int C,
                          __m256 acc[2][MAX_COLS]) {
  UNROLL
  for (int c = 0; c < C; c++)
    acc[half][c] = minus(minimum, block_at(x, stride, c, b)->sum, acc[half][c]);
}

/* One scale for 16: half of the quads. */
INLINE void group_two(const uint8_t *group, int half, __m256 scale, int which, const uint8_t *x, size_t stride, size_t b,
                      const int C, __m256 acc[2][MAX_COLS], const source s) {
  __m256i dots[MAX_COLS];
  UNROLL
  for (int c = 0; c < C; c++)
    dots[c] = _mm256_set1_epi32(block_at(x, stride, c, b)->n16[which] >> 2);
  add_quads(group, half, 4 * which, 4 * which + 4, x, stride, b, C, dots, s);
  UNROLL
  for (int c = 0; c < C; c++)
    acc[half][c] = scaled(dots[c], scale, block_at(x, stride, c, b)->d, acc[half][c]);
}

/* --- Straight from the packed panel: some columns --------------------------------------------------------------------------- */

INLINE void dot_simple(const uint8_t *w, size_t n_in, const uint8_t *x, size_t stride, const int C, float *y,
                       const bool eight) {
  __m256 acc[2][MAX_COLS];
  clear(acc, C);
  for (size_t b = 0; b < n_in / EM_GROUP; b++) {
    look_ahead(w, eight ? EM_Q8_BLOCK_BYTES : EM_Q4_0_BLOCK_BYTES);
    UNROLL
    for (int half = 0; half < 2; half++)
      group_one(w, half, load_f16(w + (eight ? 512 : 256) + 16 * half), x, stride, b, C, acc,
                eight ? BYTES_Q8 : PACKED_Q4, eight ? 0 : 4);
    w += eight ? EM_Q8_BLOCK_BYTES : EM_Q4_0_BLOCK_BYTES;
  }
  store(acc, C, y, 16);
}

INLINE void dot_q45_k(const uint8_t *w, size_t n_in, const uint8_t *x, size_t stride, const int C, float *y,
                      const bool five) {
  const size_t group_bytes = five ? 320 : 256, share = (five ? EM_Q5_K_BLOCK_BYTES : EM_Q4_K_BLOCK_BYTES) / 8;
  __m256 acc[2][MAX_COLS];
  clear(acc, C);
  for (size_t b = 0; b < n_in / EM_GROUP; b++) {
    const uint8_t *tail = w + 8 * group_bytes, *group = w + b % 8 * group_bytes;
    look_ahead(w + b % 8 * share, share);
    UNROLL
    for (int half = 0; half < 2; half++) {
      const uint8_t *at = tail + b % 8 * 16 + 8 * half;
      __m256 scale = _mm256_mul_ps(load_f16(tail + 256 + 16 * half), load_u8(at));
      group_one(group, half, scale, x, stride, b, C, acc, five ? PACKED_Q5 : PACKED_Q4, 8);
      group_minimum(_mm256_mul_ps(load_f16(tail + 288 + 16 * half), load_u8(at + 128)), half, x, stride, b, C, acc);
    }
    if (b % 8 == 7)
      w += five ? EM_Q5_K_BLOCK_BYTES : EM_Q4_K_BLOCK_BYTES;
  }
  store(acc, C, y, 16);
}

INLINE void dot_q6_k(const uint8_t *w, size_t n_in, const uint8_t *x, size_t stride, const int C, float *y) {
  __m256 acc[2][MAX_COLS];
  clear(acc, C);
  for (size_t b = 0; b < n_in / EM_GROUP; b++) {
    const uint8_t *tail = w + 8 * 384, *group = w + b % 8 * 384;
    look_ahead(w + b % 8 * (EM_Q6_K_BLOCK_BYTES / 8), EM_Q6_K_BLOCK_BYTES / 8);
    UNROLL
    for (int half = 0; half < 2; half++) {
      __m256 d = load_f16(tail + 256 + 16 * half);
      UNROLL
      for (int i = 0; i < 2; i++) {
        __m256 scale = _mm256_mul_ps(d, load_i8(tail + b % 8 * 32 + 16 * i + 8 * half));
        group_two(group, half, scale, i, x, stride, b, C, acc, PACKED_Q6);
      }
    }
    if (b % 8 == 7)
      w += EM_Q6_K_BLOCK_BYTES;
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
#define DOT(name, call)                                                                                                \
  static void name(const uint8_t *w, size_t n_in, const uint8_t *x, size_t stride, size_t n_cols, float *y) {          \
    for (; n_cols >= 4; n_cols -= 4, x += 4 * stride, y += 64) {                                                       \
      enum { C = 4 };                                                                                                  \
      call;                                                                                                            \
    }                                                                                                                  \
    if (n_cols >= 2) {                                                                                                 \
      enum { C = 2 };                                                                                                  \
      call;                                                                                                            \
      n_cols -= 2, x += 2 * stride, y += 32;                                                                           \
    }                                                                                                                  \
    if (n_cols == 1) {                                                                                                 \
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

/* An unpacked group: 512 bytes of quads with the layout's own offset, then one or two vectors of float32. */
INLINE void put_quads(const uint8_t *group, uint8_t *dst, const source s) {
  UNROLL
  for (int j = 0; j < 8; j++) {
    _mm256_store_si256((__m256i *)(void *)(dst + 64 * j), quad_of(group, 0, j, s));
    _mm256_store_si256((__m256i *)(void *)(dst + 64 * j + 32), quad_of(group, 1, j, s));
  }
}

INLINE void put_floats(uint8_t *dst, __m256 first, __m256 second) {
  _mm256_store_ps((float *)(void *)dst, first);
  _mm256_store_ps((float *)(void *)(dst + 32), second);
}

INLINE void unpack_simple(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst, const bool eight) {
  const size_t block_bytes = eight ? EM_Q8_BLOCK_BYTES : EM_Q4_0_BLOCK_BYTES, at = eight ? 512 : 256;
  w += k0 / EM_GROUP * block_bytes;
  for (size_t b = 0; b < n_k / EM_GROUP; b++, w += block_bytes, dst += 576) {
    put_quads(w, dst, eight ? BYTES_Q8 : PACKED_Q4);
    put_floats(dst + 512, load_f16(w + at), load_f16(w + at + 16));
  }
}

static void unpack_q8(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst) {
  unpack_simple(w, k0, n_k, dst, true);
}

static void unpack_q4_0(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst) {
  unpack_simple(w, k0, n_k, dst, false);
}

INLINE void unpack_q45_k(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst, const bool five) {
  const size_t group_bytes = five ? 320 : 256, block_bytes = five ? EM_Q5_K_BLOCK_BYTES : EM_Q4_K_BLOCK_BYTES;
  w += k0 / EM_SUPER * block_bytes;
  for (size_t b = 0; b < n_k / EM_GROUP; b++, dst += 640) {
    const uint8_t *tail = w + 8 * group_bytes, *at = tail + b % 8 * 16;
    put_quads(w + b % 8 * group_bytes, dst, five ? PACKED_Q5 : PACKED_Q4);
    put_floats(dst + 512, _mm256_mul_ps(load_f16(tail + 256), load_u8(at)),
               _mm256_mul_ps(load_f16(tail + 272), load_u8(at + 8)));
    put_floats(dst + 576, _mm256_mul_ps(load_f16(tail + 288), load_u8(at + 128)),
               _mm256_mul_ps(load_f16(tail + 304), load_u8(at + 136)));
    if (b % 8 == 7)
      w += block_bytes;
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
  for (size_t b = 0; b < n_k / EM_GROUP; b++, dst += 640) {
    const uint8_t *tail = w + 8 * 384, *at = tail + b % 8 * 32;
    __m256 d0 = load_f16(tail + 256), d1 = load_f16(tail + 272);
    put_quads(w + b % 8 * 384, dst, PACKED_Q6);
    put_floats(dst + 512, _mm256_mul_ps(d0, load_i8(at)), _mm256_mul_ps(d1, load_i8(at + 8)));
    put_floats(dst + 576, _mm256_mul_ps(d0, load_i8(at + 16)), _mm256_mul_ps(d1, load_i8(at + 24)));
    if (b % 8 == 7)
      w += EM_Q6_K_BLOCK_BYTES;
  }
}

/* One panel times C columns for n groups; rows of y are 32 floats apart. */
INLINE void mul_tile(const uint8_t *w, size_t n, const uint8_t *x, size_t stride, const int C, bool add, float *y,
                     const source s, const int shift) {
  const bool minimum = s == BYTES_Q5 || (s == BYTES_Q4 && shift == 8), two = s == BYTES_Q6;
  const size_t group_bytes = minimum || two ? 640 : 576;
  __m256 acc[2][MAX_COLS];
  UNROLL
  for (int c = 0; c < C; c++) {
    acc[0][c] = add ? _mm256_loadu_ps(y + 32 * c) : _mm256_setzero_ps();
    acc[1][c] = add ? _mm256_loadu_ps(y + 32 * c + 8) : _mm256_setzero_ps();
  }
  for (size_t b = 0; b < n; b++, w += group_bytes) {
    UNROLL
    for (int half = 0; half < 2; half++) {
      __m256 first = load_f32(w + 512 + 32 * half);
      if (two) {
        group_two(w, half, first, 0, x, stride, b, C, acc, s);
        group_two(w, half, load_f32(w + 576 + 32 * half), 1, x, stride, b, C, acc, s);
      } else {
        group_one(w, half, first, x, stride, b, C, acc, s, shift);
      }
      if (minimum)
        group_minimum(load_f32(w + 576 + 32 * half), half, x, stride, b, C, acc);
    }
  }
  store(acc, C, y, 32);
}

#define MUL(name, s, shift)                                                                                      \
  static void name(const uint8_t *w0, const uint8_t *w1, size_t n_k, const uint8_t *x, size_t stride,            \
                   size_t n_cols, bool add, float *y) {                                                          \
    const uint8_t *w[2] = {w0, w1};                                                                              \
    size_t n = n_k / EM_GROUP;                                                                                   \
    for (int p = 0; p < 2; p++) {                                                                                \
      const uint8_t *at = x;                                                                                     \
      float *out = y + 16 * p;                                                                                   \
      size_t left = n_cols;                                                                                      \
      for (; left >= 4; left -= 4, at += 4 * stride, out += 128)                                                 \
        mul_tile(w[p], n, at, stride, 4, add, out, s, shift);                                                    \
      if (left >= 2) {                                                                                           \
        mul_tile(w[p], n, at, stride, 2, add, out, s, shift);                                                    \
        left -= 2, at += 2 * stride, out += 64;                                                                  \
      }                                                                                                          \
      if (left == 1)                                                                                             \
        mul_tile(w[p], n, at, stride, 1, add, out, s, shift);                                                    \
    }                                                                                                            \
  }

MUL(mul_q8, BYTES_Q8, 0)
MUL(mul_q4_0, BYTES_Q4, 4)
MUL(mul_q4_k, BYTES_Q4, 8)
MUL(mul_q5_k, BYTES_Q5, 8)
MUL(mul_q6_k, BYTES_Q6, 0)

void em_kernels_avx2_matmul(em_cpu_kernels *kernels) {
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
  kernels->mul[EM_LAYOUT_Q8] = mul_q8;
  kernels->mul[EM_LAYOUT_Q4_0] = mul_q4_0;
  kernels->mul[EM_LAYOUT_Q4_K] = mul_q4_k;
  kernels->mul[EM_LAYOUT_Q5_K] = mul_q5_k;
  kernels->mul[EM_LAYOUT_Q6_K] = mul_q6_k;
}
