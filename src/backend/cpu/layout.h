/* How matrices and caches lie in memory: the one description that packing, unpacking and every kernel agree on.
 *
 * Matrices. Rows stand in panels of EM_PANEL = 16; the last panel is filled up with rows of zeros. A panel is contiguous, its
 * blocks follow each other in rising k, and inside a block the 16 rows are interleaved so that one 64-byte load holds 16 rows
 * times 4 consecutive k of one byte each (a "quad"). Quad j of a group of 32 k covers k = 4j .. 4j + 3; byte 4 r + b of a
 * quad belongs to row r and k = 4j + b.
 *
 *   EM_LAYOUT_F32, _F16, _BF16   [k][row]
 *
 * The others are quantised: a block is n_groups groups of 32 k of codes, then its scales. How a group holds its codes, by
 * their bits (a group is 64 bytes for each bit):
 *
 *   8   8 quads
 *   4   4 x 64 bytes: byte i of load l holds quad 2l in its low and quad 2l + 1 in its high nibble
 *   2   2 x 64 bytes: bits 2i of byte n of load h belong to quad 4h + i
 *   1   64 bytes: bit j of byte n belongs to quad j; a set bit is a code of 2
 *   6   as 4, then as 2 the upper two bits
 *   5   as 4, then as 1 the fifth bits
 *   3   as 2, then as 1 the third bits
 *
 * A code's number is the code less the layout's offset, or the entry of the layout's table (em_layout_infos). The value is
 * scale * number - minimum, with, for one row, g the group in its block and h the half of the group:
 *
 *   EM_SCALES_F16           f16 d [16]
 *                             scale = d
 *   EM_SCALES_F16_ADD       f16 d [16], f16 m [16]
 *                             scale = d, minimum = -m
 *   EM_SCALES_E8M0          u8 e [16]
 *                             scale = 2^(e - 128), and 0 where that is below the smallest normal float32 (e < 2)
 *   EM_SCALES_E4M3          u8 e [2][16]
 *                             scale = e[h] / 2, e an unsigned float of four exponent bits (bias 7) and three mantissa bits
 *   EM_SCALES_K             i8 s [8][16], f16 d [16]
 *                             scale = d * factor * s[g]
 *   EM_SCALES_K_MIN         u8 s [8][16], u8 m [8][16], f16 d [16], f16 dmin [16]
 *                             scale = d * s[g], minimum = dmin * m[g]
 *   EM_SCALES_K_HALVES      i8 s [8][2][16], f16 d [16]
 *                             scale = d * s[g][h]
 *   EM_SCALES_K_HALVES_MIN  u8 b [8][2][16], f16 d [16], f16 dmin [16]
 *                             scale = d * (low nibble of b[g][h]), minimum = dmin * (high nibble)
 *   EM_SCALES_ODD_HALVES    u8 b [8][16], f16 d [16]
 *                             scale = d * factor * (2 * (nibble h of b[g]) + 1)
 *   EM_SCALES_ODD_RUNS      u8 b [8][16], u8 t [4][16], f16 d [16]
 *                             the same; bit l of nibble g % 2 of t[g / 2] is the third bit of the eight codes 8l .. 8l + 7
 *
 * Every value of a file is held exactly. What that costs, in bits a weight, where it is not what the file has:
 *
 *   whole bytes of scales   Q5_K 5.625 (file: 5.5), Q4_K 4.625 (4.5), IQ4_XS 4.3125 (4.25), Q3_K 3.5625 (3.4375)
 *   codebooks written out   IQ3_S 4.3125 (3.4375), IQ3_XXS 4.3125 (3.0625), IQ2_S 3.3125 (2.5625), IQ2_XS 3.3125 (2.3125),
 *                           IQ2_XXS 3.3125 (2.0625), IQ1_M 2.4375 (1.75), IQ1_S 2.4375 (1.5625)
 *   trits as two bits       TQ1_0 2.0625 (1.6875)
 *
 * Codebooks are written out because looking up the entries of 16 rows takes longer than reading the bits that it would save.
 *
 * Unpacked panels (many rows of activations) have one byte a value and float32 scales; how, is between the unpack and mul
 * functions of one instruction set.
 *
 * Activations. A row of n values is em_q8_block [n / 32].
 *
 * Caches. One KV head of one page (256 positions):
 *   K: blocks of 16 positions; in a block [dim][position]; for Q8_0: per 32 dims int8 [32][16], then f16 scale [16].
 *   V, where it is not in K: [position][dim], the dims filled up with zeros to a multiple of 16; for Q8_0: int8 [dim], then
 *   f16 scale [dim / 32].
 */
#pragma once

#include "backend/backend.h"

#define EM_PANEL 16u
#define EM_GROUP 32u

typedef enum em_layout {
  EM_LAYOUT_F32,
  EM_LAYOUT_F16,
  EM_LAYOUT_BF16,
  EM_LAYOUT_Q8,
  EM_LAYOUT_Q4_0,
  EM_LAYOUT_Q4_1,
  EM_LAYOUT_Q5_0,
  EM_LAYOUT_Q5_1,
  EM_LAYOUT_Q2_K,
  EM_LAYOUT_Q3_K,
  EM_LAYOUT_Q4_K,
  EM_LAYOUT_Q5_K,
  EM_LAYOUT_Q6_K,
  EM_LAYOUT_IQ4_NL,
  EM_LAYOUT_IQ4_XS,
  EM_LAYOUT_MXFP4,
  EM_LAYOUT_NVFP4,
  EM_LAYOUT_IQ3_XXS,
  EM_LAYOUT_IQ3_S,
  EM_LAYOUT_IQ2, /* IQ2_XXS, IQ2_XS and IQ2_S */
  EM_LAYOUT_IQ1, /* IQ1_S and IQ1_M */
  EM_LAYOUT_Q1_0,
  EM_LAYOUT_Q2_0,
  EM_LAYOUT_TQ2_0, /* and TQ1_0 */
  EM_N_LAYOUTS
} em_layout;

typedef enum em_scales {
  EM_SCALES_F16,
  EM_SCALES_F16_ADD,
  EM_SCALES_E8M0,
  EM_SCALES_E4M3,
  EM_SCALES_K_MIN,
  EM_SCALES_K_HALVES_MIN,
  EM_SCALES_K,
  EM_SCALES_K_HALVES,
  EM_SCALES_ODD_HALVES,
  EM_SCALES_ODD_RUNS,
} em_scales;

typedef struct em_layout_info {
  uint8_t n_groups; /* a block */
  uint8_t bits;     /* a code */
  uint8_t offset;   /* number + offset is never negative */
  uint8_t most;     /* and at most this */
  em_scales scales;
  float factor;          /* of the scales, where they name one */
  const int8_t *numbers; /* by code, [16]; NULL: the code - offset */
} em_layout_info;

static const em_layout_info em_layout_infos[EM_N_LAYOUTS] = {
    [EM_LAYOUT_Q8] = {1, 8, 128, 255, EM_SCALES_F16, 1, NULL},
    [EM_LAYOUT_Q4_0] = {1, 4, 8, 15, EM_SCALES_F16, 1, NULL},
    [EM_LAYOUT_Q4_1] = {1, 4, 0, 15, EM_SCALES_F16_ADD, 1, NULL},
    [EM_LAYOUT_Q5_0] = {1, 5, 16, 31, EM_SCALES_F16, 1, NULL},
    [EM_LAYOUT_Q5_1] = {1, 5, 0, 31, EM_SCALES_F16_ADD, 1, NULL},
    [EM_LAYOUT_Q2_K] = {8, 2, 0, 3, EM_SCALES_K_HALVES_MIN, 1, NULL},
    [EM_LAYOUT_Q3_K] = {8, 3, 4, 7, EM_SCALES_K_HALVES, 1, NULL},
    [EM_LAYOUT_Q4_K] = {8, 4, 0, 15, EM_SCALES_K_MIN, 1, NULL},
    [EM_LAYOUT_Q5_K] = {8, 5, 0, 31, EM_SCALES_K_MIN, 1, NULL},
    [EM_LAYOUT_Q6_K] = {8, 6, 32, 63, EM_SCALES_K_HALVES, 1, NULL},
    [EM_LAYOUT_IQ4_NL] = {1, 4, 127, 240, EM_SCALES_F16, 1, em_iq4_numbers},
    [EM_LAYOUT_IQ4_XS] = {8, 4, 127, 240, EM_SCALES_K, 1, em_iq4_numbers},
    [EM_LAYOUT_MXFP4] = {1, 4, 12, 24, EM_SCALES_E8M0, 1, em_fp4_numbers},
    [EM_LAYOUT_NVFP4] = {1, 4, 12, 24, EM_SCALES_E4M3, 1, em_fp4_numbers},
    [EM_LAYOUT_IQ3_XXS] = {8, 4, 62, 124, EM_SCALES_K, 0.25f, em_iq3_xxs_numbers},
    [EM_LAYOUT_IQ3_S] = {8, 4, 15, 30, EM_SCALES_K, 1, em_iq3_s_numbers},
    [EM_LAYOUT_IQ2] = {8, 3, 43, 86, EM_SCALES_ODD_HALVES, 0.125f, em_iq2_numbers},
    [EM_LAYOUT_IQ1] = {8, 2, 9, 18, EM_SCALES_ODD_RUNS, 0.125f, em_iq1_numbers},
    [EM_LAYOUT_Q1_0] = {4, 1, 1, 2, EM_SCALES_F16, 1, NULL},
    [EM_LAYOUT_Q2_0] = {2, 2, 1, 3, EM_SCALES_F16, 1, NULL},
    [EM_LAYOUT_TQ2_0] = {8, 2, 1, 3, EM_SCALES_F16, 1, NULL},
};

/* All quantised layouts: X is called with the name of each. */
/* clang-format off */
#define EM_QUANTISED_LAYOUTS(X) \
  X(Q8) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_NL) X(IQ4_XS) X(MXFP4) X(NVFP4) \
  X(IQ3_XXS) X(IQ3_S) X(IQ2) X(IQ1) X(Q1_0) X(Q2_0) X(TQ2_0)
/* clang-format on */

/* Whether each half of a group has a scale (and minimum, if any) of its own. */
static inline bool em_scales_halved(em_scales scales) {
  return scales == EM_SCALES_E4M3 || scales == EM_SCALES_K_HALVES_MIN || scales == EM_SCALES_K_HALVES ||
         scales == EM_SCALES_ODD_HALVES || scales == EM_SCALES_ODD_RUNS;
}

static inline bool em_scales_have_minimum(em_scales scales) {
  return scales == EM_SCALES_F16_ADD || scales == EM_SCALES_K_MIN || scales == EM_SCALES_K_HALVES_MIN;
}

/* Where in a block's scales d stands (and m or dmin behind it); 0 for those without. */
static inline size_t em_scales_d_at(em_scales scales) {
  switch (scales) {
  case EM_SCALES_F16:
  case EM_SCALES_F16_ADD:
  case EM_SCALES_E8M0:
  case EM_SCALES_E4M3:
    break;
  case EM_SCALES_K:
  case EM_SCALES_ODD_HALVES:
    return 8 * EM_PANEL;
  case EM_SCALES_ODD_RUNS:
    return 12 * EM_PANEL;
  case EM_SCALES_K_MIN:
  case EM_SCALES_K_HALVES_MIN:
  case EM_SCALES_K_HALVES:
    return 16 * EM_PANEL;
  }
  return 0;
}

static inline size_t em_scales_bytes(em_scales scales) {
  if (scales == EM_SCALES_E8M0)
    return EM_PANEL;
  return em_scales_d_at(scales) + (em_scales_have_minimum(scales) ? 4 : 2) * EM_PANEL;
}

/* Of the quantised layouts. */
static inline size_t em_group_bytes(em_layout layout) {
  return 64u * em_layout_infos[layout].bits;
}

static inline size_t em_block_bytes(em_layout layout) {
  return em_layout_infos[layout].n_groups * em_group_bytes(layout) + em_scales_bytes(em_layout_infos[layout].scales);
}
/* Bytes of a group of 32 k of an unpacked panel at most: 8 quads and four vectors of float32. */
#define EM_UNPACKED_GROUP_BYTES (512u + 256u)

/* 32 quantised activations: x = d * q, |q| <= 127, d = max|x| / 127. One cache line. */
typedef struct em_q8_block {
  int8_t q[EM_GROUP];
  float d;
  float sum;      /* d * sum of q: what a minimum is multiplied with */
  int32_t n32;    /* -128 * sum of q: takes back the offset of unsigned weights */
  int32_t n16[2]; /* the same for each half */
  float sum16[2]; /* sum, for each half */
  int32_t unused;
} em_q8_block;

static inline size_t em_q8_row_bytes(size_t n) {
  return n / EM_GROUP * sizeof(em_q8_block);
}

/* Whether the layout's products are made with quantised activations; the others take float32. */
static inline bool em_layout_is_quantised(em_layout layout) {
  return layout >= EM_LAYOUT_Q8;
}

/* --- Layouts (layout.c) -------------------------------------------------------------------------------------------------- */

/* The layout in which a type is stored. False when there is none (integers, or a type that cannot be decoded yet). */
bool em_layout_of_type(em_type type, em_layout *out);

/* Bytes of one panel of n_in values; n_in is a multiple of the type's block length. */
uint64_t em_panel_bytes(em_layout layout, uint64_t n_in);

/* What a quantised layout's block says of group g of row r: the whole numbers, and the scale and the minimum of each
 * half. */
void em_block_numbers(em_layout layout, const uint8_t *block, size_t g, unsigned r, int8_t numbers[EM_GROUP]);
void em_block_scales(em_layout layout, const uint8_t *block, size_t g, unsigned r, float scale[2], float minimum[2]);

/* Row `row` (< 16) of a panel as float32 [n_in], exactly the stored values. */
void em_unpack_row(em_layout layout, const uint8_t *panel, unsigned row, size_t n_in, float *dst);

/* --- Packing (pack.c). Scalar: it runs once a load. --------------------------------------------------------------------- */

/* Packs 16 rows of a file's blocks to one panel. rows[r] == NULL: a row of zeros. dst is 64-byte aligned only when
 * panels are. */
void em_pack_panel(em_type type, size_t n_in, const uint8_t *const rows[EM_PANEL], uint8_t *dst);
