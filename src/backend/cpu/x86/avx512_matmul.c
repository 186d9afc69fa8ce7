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

INLINE __m512i load_u8_i32(const uint8_t *p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

INLINE __m512 load_u8(const uint8_t *p) {
  return _mm512_cvtepi32_ps(load_u8_i32(p));
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

/* Shifts words so that bit `from` of a byte comes to `to`; what crosses into other bytes is for the caller to mask. */
INLINE __m512i moved(__m512i v, const int from, const int to) {
  if (from == to)
    return v;
  return from < to ? _mm512_slli_epi16(v, (unsigned)(to - from)) : _mm512_srli_epi16(v, (unsigned)(from - to));
}

/* w | (v & mask) */
INLINE __m512i with(__m512i w, __m512i v, int mask) {
  return _mm512_ternarylogic_epi32(v, _mm512_set1_epi8((char)mask), w, 0xEA);
}

/* The numbers plus the layout's offset. */
INLINE void quads_of(const uint8_t *block, size_t g, __m512i w[8], const em_layout layout) {
  const em_layout_info info = em_layout_infos[layout];
  const int bits = info.bits;
  const uint8_t *group = block + g * em_group_bytes(layout), *rest = group + (bits >= 4 ? 256 : bits == 3 ? 128 : 0);
  if (bits == 8) {
    UNROLL
    for (int j = 0; j < 8; j++)
      w[j] = load(group + 64 * j);
    return;
  }
  UNROLL
  for (int j = 0; j < 8; j++) {
    if (bits >= 4)
      w[j] = _mm512_and_si512(moved(load(group + 64 * (j / 2)), j % 2 * 4, 0), _mm512_set1_epi8(15));
    else if (bits >= 2)
      w[j] = _mm512_and_si512(moved(load(group + 64 * (j / 4)), j % 4 * 2, 0), _mm512_set1_epi8(3));
    else
      w[j] = _mm512_and_si512(moved(load(group), j, 1), _mm512_set1_epi8(2));
    if (bits == 6)
      w[j] = with(w[j], moved(load(rest + 64 * (j / 4)), j % 4 * 2, 4), 0x30);
    if (bits == 5 || bits == 3)
      w[j] = with(w[j], moved(load(rest), j, bits - 1), 1 << (bits - 1));
  }
  if (info.scales == EM_SCALES_ODD_RUNS) {
    /* Four bits a row, one for every two quads, in all bytes of the row. */
    const __m512i bytes = _mm512_set4_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0);
    __m512i runs = load_u8_i32(block + 8 * em_group_bytes(layout) + 128 + g / 2 * 16);
    runs = _mm512_shuffle_epi8(_mm512_srl_epi32(runs, _mm_cvtsi32_si128((int)(g % 2 * 4))), bytes);
    UNROLL
    for (int j = 0; j < 8; j++)
      w[j] = with(w[j], moved(runs, j / 2, 2), 4);
  }
  if (info.numbers) {
    __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)info.numbers));
    table = _mm512_add_epi8(table, _mm512_set1_epi8((char)info.offset));
    UNROLL
    for (int j = 0; j < 8; j++)
      w[j] = _mm512_shuffle_epi8(table, w[j]);
  }
}

/* --- Scales, by layout ------------------------------------------------------------------------------------------------------ */

/* What all groups of a block share: d, and m or dmin. */
INLINE void head_of(const uint8_t *tail, __m512 head[2], const em_layout layout) {
  const em_layout_info info = em_layout_infos[layout];
  if (info.scales == EM_SCALES_E8M0 || info.scales == EM_SCALES_E4M3)
    return;
  head[0] = load_f16(tail + em_scales_d_at(info.scales));
  if (info.factor != 1)
    head[0] = _mm512_mul_ps(head[0], _mm512_set1_ps(info.factor));
  if (em_scales_have_minimum(info.scales))
    head[1] = load_f16(tail + em_scales_d_at(info.scales) + 32);
}

/* The scale of group g or, of layouts that have one for each half, of half h of it. */
INLINE __m512 scale_of(const uint8_t *tail, size_t g, int h, const __m512 head[2], const em_layout layout) {
  __m512i byte;
  switch (em_layout_infos[layout].scales) {
  case EM_SCALES_E8M0:
    byte = _mm512_max_epi32(load_u8_i32(tail), _mm512_set1_epi32(1));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_sub_epi32(byte, _mm512_set1_epi32(1)), 23));
  case EM_SCALES_E4M3: {
    /* The bits of an f16 of 1/256 of the value. */
    __m256i word = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(tail + 16 * h)));
    return _mm512_mul_ps(_mm512_cvtph_ps(_mm256_slli_epi16(word, 7)), _mm512_set1_ps(128));
  }
  case EM_SCALES_K_MIN:
    return _mm512_mul_ps(head[0], load_u8(tail + 16 * g));
  case EM_SCALES_K_HALVES_MIN:
    byte = _mm512_and_si512(load_u8_i32(tail + 32 * g + 16 * (size_t)h), _mm512_set1_epi32(15));
    return _mm512_mul_ps(head[0], _mm512_cvtepi32_ps(byte));
  case EM_SCALES_K:
    return _mm512_mul_ps(head[0], load_i8(tail + 16 * g));
  case EM_SCALES_K_HALVES:
    return _mm512_mul_ps(head[0], load_i8(tail + 32 * g + 16 * (size_t)h));
  case EM_SCALES_ODD_HALVES:
  case EM_SCALES_ODD_RUNS:
    byte = load_u8_i32(tail + 16 * g);
    byte = h == 0 ? _mm512_slli_epi32(byte, 1) : _mm512_srli_epi32(byte, 3);
    byte = _mm512_or_si512(_mm512_and_si512(byte, _mm512_set1_epi32(30)), _mm512_set1_epi32(1));
    return _mm512_mul_ps(head[0], _mm512_cvtepi32_ps(byte));
  default:
    return head[0];
  }
}

/* The same of the minima of those that have them. */
INLINE __m512 minimum_of(const uint8_t *tail, size_t g, int h, const __m512 head[2], const em_layout layout) {
  switch (em_layout_infos[layout].scales) {
  case EM_SCALES_K_MIN:
    return _mm512_mul_ps(head[1], load_u8(tail + 128 + 16 * g));
  case EM_SCALES_K_HALVES_MIN:
    return _mm512_mul_ps(head[1],
                         _mm512_cvtepi32_ps(_mm512_srli_epi32(load_u8_i32(tail + 32 * g + 16 * (size_t)h), 4)));
  default:
    return _mm512_sub_ps(_mm512_setzero_ps(), head[1]);
  }
}

/* Of -128 times a sum of activations: -offset times it. */
INLINE int32_t less_offset(int32_t n, const int offset) {
  return offset == 0 ? 0 : 128 % offset == 0 ? n >> __builtin_ctz(128u / (unsigned)offset) : (n >> 7) * offset;
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

/* The quantised layouts. */
INLINE void dot_quantised(const uint8_t *w, size_t n_in, const uint8_t *x, size_t stride, const int C, float *y,
                          const em_layout layout) {
  const em_layout_info info = em_layout_infos[layout];
  const size_t n_groups = info.n_groups, share = em_block_bytes(layout) / n_groups;
  const bool halved = em_scales_halved(info.scales);
  __m512 acc[MAX_COLS];
  clear(acc, C);
  for (size_t b = 0; b < n_in / EM_GROUP; b += n_groups) {
    const uint8_t *tail = w + n_groups * em_group_bytes(layout);
    __m512 head[2];
    head_of(tail, head, layout);
    for (size_t g = 0; g < n_groups; g++) {
      __m512i quads[8], dots[MAX_COLS];
      look_ahead(w + g * share, share);
      quads_of(w, g, quads, layout);
      UNROLL
      for (int h = 0; h < (halved ? 2 : 1); h++) {
        UNROLL
        for (int c = 0; c < C; c++) {
          const em_q8_block *block = block_at(x, stride, c, b + g);
          dots[c] = _mm512_set1_epi32(less_offset(halved ? block->n16[h] : block->n32, info.offset));
        }
        add_quads(quads, 4 * h, halved ? 4 * h + 4 : 8, x, stride, b + g, C, dots);
        __m512 scale = scale_of(tail, g, h, head, layout);
        UNROLL
        for (int c = 0; c < C; c++)
          acc[c] = scaled(dots[c], scale, block_at(x, stride, c, b + g)->d, acc[c]);
      }
      UNROLL
      for (int h = 0; em_scales_have_minimum(info.scales) && h < (halved ? 2 : 1); h++) {
        __m512 minimum = minimum_of(tail, g, h, head, layout);
        UNROLL
        for (int c = 0; c < C; c++) {
          const em_q8_block *block = block_at(x, stride, c, b + g);
          acc[c] = minus(minimum, halved ? block->sum16[h] : block->sum, acc[c]);
        }
      }
    }
    w += em_block_bytes(layout);
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
#define DOT(name, call)                                                                                       \
  static void name(const uint8_t *w, size_t n_in, const uint8_t *x, size_t stride, size_t n_cols, float *y) { \
    for (; n_cols >= 6; n_cols -= 6, x += 6 * stride, y += 96) {                                              \
      enum { C = 6 };                                                                                         \
      call;                                                                                                   \
    }                                                                                                         \
    if (n_cols >= 3) {                                                                                        \
      enum { C = 3 };                                                                                         \
      call;                                                                                                   \
      n_cols -= 3, x += 3 * stride, y += 48;                                                                  \
    }                                                                                                         \
    if (n_cols == 2) {                                                                                        \
      enum { C = 2 };                                                                                         \
      call;                                                                                                   \
    } else if (n_cols == 1) {                                                                                 \
      enum { C = 1 };                                                                                         \
      call;                                                                                                   \
    }                                                                                                         \
  }

DOT(dot_F32, dot_float(w, n_in, x, stride, C, y, EM_LAYOUT_F32))
DOT(dot_F16, dot_float(w, n_in, x, stride, C, y, EM_LAYOUT_F16))
DOT(dot_BF16, dot_float(w, n_in, x, stride, C, y, EM_LAYOUT_BF16))

/* --- Unpacking: many columns ------------------------------------------------------------------------------------------------ */

/* A group's numbers with an offset of 128, its scales, its minima. */
INLINE void unpack(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst, const em_layout layout) {
  const em_layout_info info = em_layout_infos[layout];
  const size_t n_groups = info.n_groups;
  const __m512i more = _mm512_set1_epi8((char)(128 - info.offset));
  const int n = em_scales_halved(info.scales) ? 2 : 1;
  w += k0 / EM_GROUP / n_groups * em_block_bytes(layout);
  for (size_t b = 0; b < n_k / EM_GROUP; b += n_groups, w += em_block_bytes(layout)) {
    const uint8_t *tail = w + n_groups * em_group_bytes(layout);
    __m512 head[2];
    head_of(tail, head, layout);
    for (size_t g = 0; g < n_groups; g++) {
      __m512i quads[8];
      quads_of(w, g, quads, layout);
      UNROLL
      for (int j = 0; j < 8; j++)
        _mm512_store_si512(dst + 64 * j, info.offset == 128 ? quads[j] : _mm512_add_epi8(quads[j], more));
      dst += 512;
      UNROLL
      for (int h = 0; h < n; h++, dst += 64)
        _mm512_store_ps(dst, scale_of(tail, g, h, head, layout));
      UNROLL
      for (int h = 0; em_scales_have_minimum(info.scales) && h < n; h++, dst += 64)
        _mm512_store_ps(dst, minimum_of(tail, g, h, head, layout));
    }
  }
}

/* Two panels times C columns for n groups. */
INLINE void mul_tile(const uint8_t *w0, const uint8_t *w1, size_t n, const uint8_t *x, size_t stride, const int C,
                     bool add, float *y, const bool halved, const bool minima) {
  const int n_scales = halved ? 2 : 1;
  const size_t group_bytes = 512 + 64 * (size_t)n_scales * (minima ? 2 : 1);
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
    for (int h = 0; h < n_scales; h++) {
      UNROLL
      for (int c = 0; c < C; c++) {
        const em_q8_block *block = block_at(x, stride, c, b);
        dots[0][c] = dots[1][c] = _mm512_set1_epi32(halved ? block->n16[h] : block->n32);
      }
      UNROLL
      for (int j = 0; j < (halved ? 4 : 8); j++) {
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
      for (int h = 0; minima && h < n_scales; h++) {
        __m512 minimum = _mm512_load_ps(w[p] + 512 + 64 * (n_scales + h));
        UNROLL
        for (int c = 0; c < C; c++) {
          const em_q8_block *block = block_at(x, stride, c, b);
          acc[p][c] = minus(minimum, halved ? block->sum16[h] : block->sum, acc[p][c]);
        }
      }
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

#define MUL(name, halved, minima)                                                                                    \
  static void name(const uint8_t *w0, const uint8_t *w1, size_t n_k, const uint8_t *x, size_t stride, size_t n_cols, \
                   bool add, float *y) {                                                                             \
    size_t n = n_k / EM_GROUP;                                                                                       \
    for (; n_cols >= 6; n_cols -= 6, x += 6 * stride, y += 192)                                                      \
      mul_tile(w0, w1, n, x, stride, 6, add, y, halved, minima);                                                     \
    if (n_cols >= 3) {                                                                                               \
      mul_tile(w0, w1, n, x, stride, 3, add, y, halved, minima);                                                     \
      n_cols -= 3, x += 3 * stride, y += 96;                                                                         \
    }                                                                                                                \
    if (n_cols == 2)                                                                                                 \
      mul_tile(w0, w1, n, x, stride, 2, add, y, halved, minima);                                                     \
    else if (n_cols == 1)                                                                                            \
      mul_tile(w0, w1, n, x, stride, 1, add, y, halved, minima);                                                     \
  }

MUL(mul_one_scale, false, false)
MUL(mul_one_minimum, false, true)
MUL(mul_two_scales, true, false)
MUL(mul_two_minima, true, true)

static em_mul_fn mul_of(em_scales scales) {
  if (em_scales_halved(scales))
    return em_scales_have_minimum(scales) ? mul_two_minima : mul_two_scales;
  return em_scales_have_minimum(scales) ? mul_one_minimum : mul_one_scale;
}

#define LAYOUT(name)                                                                 \
  DOT(dot_##name, dot_quantised(w, n_in, x, stride, C, y, EM_LAYOUT_##name))         \
  static void unpack_##name(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst) { \
    unpack(w, k0, n_k, dst, EM_LAYOUT_##name);                                       \
  }
EM_QUANTISED_LAYOUTS(LAYOUT)

void em_kernels_avx512_matmul(em_cpu_kernels *kernels) {
  kernels->dot[EM_LAYOUT_F32] = dot_F32;
  kernels->dot[EM_LAYOUT_F16] = dot_F16;
  kernels->dot[EM_LAYOUT_BF16] = dot_BF16;
#define ENTRY(name)                                  \
  kernels->dot[EM_LAYOUT_##name] = dot_##name;       \
  kernels->unpack[EM_LAYOUT_##name] = unpack_##name; \
  kernels->mul[EM_LAYOUT_##name] = mul_of(em_layout_infos[EM_LAYOUT_##name].scales);
  EM_QUANTISED_LAYOUTS(ENTRY)
}
