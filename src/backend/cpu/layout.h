/* How matrices and caches lie in memory: the one description that packing, unpacking and every kernel agree on.
 *
 * Matrices. Rows stand in panels of EM_PANEL = 16; the last panel is filled up with rows of zeros. A panel is contiguous, its
 * blocks follow each other in rising k, and inside a block the 16 rows are interleaved so that one 64-byte load holds 16 rows
 * times 4 consecutive k of one byte each (a "quad"). Quad j of a group of 32 k covers k = 4j .. 4j + 3; byte 4 r + b of a
 * quad belongs to row r and k = 4j + b.
 *
 *   EM_LAYOUT_F32, _F16, _BF16   [k][row]
 *   EM_LAYOUT_Q8     per 32 k: 8 quads of (q + 128), f16 scale [16]                              value = d * q
 *   EM_LAYOUT_Q4_0   per 32 k: 4 x 64 bytes, byte i of load l holds quad 2l in its low and quad 2l + 1 in its high nibble;
 *                    f16 scale [16]                                                              value = d * (q - 8)
 *   EM_LAYOUT_Q4_K   per 256 k: 8 groups of 4 x 64 bytes as Q4_0, u8 scale [8][16], u8 minimum [8][16], f16 d [16],
 *                    f16 dmin [16]                                                   value = d * sc * q - dmin * m
 *   EM_LAYOUT_Q6_K   per 256 k: 8 groups of (4 x 64 bytes of low nibbles as Q4_0, 2 x 64 bytes of high pairs: bits 2i of
 *                    byte n of load h belong to quad 4h + i), i8 scale [16][16], f16 d [16]   value = d * sc * (q - 32)
 *   EM_LAYOUT_Q5_K   as Q4_K with 64 bytes of fifth bits behind each group's 256: bit j of byte n belongs to quad j
 *
 * Every other type is stored as EM_LAYOUT_Q8 with scales of its own: the error against the file's values is at most 1/254 of
 * the largest of 32 values.
 *
 * Unpacked panels (many rows of activations) have one byte a value and float32 scales; how, is between the unpack and mul
 * functions of one instruction set.
 *
 * Activations. A row of n values is em_q8_block [n / 32].
 *
 * Caches. One KV head of one page (256 positions):
 *   K: blocks of 16 positions; in a block [dim][position]; for Q8_0: per 32 dims int8 [32][16], then f16 scale [16].
 *   V: [position][dim], the dims filled up with zeros to a multiple of 16; for Q8_0: int8 [dim], then f16 scale [dim / 32].
 */
#pragma once

#include "backend/backend.h"

#define EM_PANEL 16u
#define EM_GROUP 32u
#define EM_SUPER 256u

typedef enum em_layout {
  EM_LAYOUT_F32,
  EM_LAYOUT_F16,
  EM_LAYOUT_BF16,
  EM_LAYOUT_Q8,
  EM_LAYOUT_Q4_0,
  EM_LAYOUT_Q4_K,
  EM_LAYOUT_Q5_K,
  EM_LAYOUT_Q6_K,
  EM_N_LAYOUTS
} em_layout;

#define EM_Q8_BLOCK_BYTES (512u + 32u)
#define EM_Q4_0_BLOCK_BYTES (256u + 32u)
#define EM_Q4_K_BLOCK_BYTES (8u * 256u + 2u * 128u + 2u * 32u)
#define EM_Q5_K_BLOCK_BYTES (8u * 320u + 2u * 128u + 2u * 32u)
#define EM_Q6_K_BLOCK_BYTES (8u * 384u + 256u + 32u)

/* Bytes of a group of 32 k of an unpacked panel at most: 8 quads and two vectors of float32. */
#define EM_UNPACKED_GROUP_BYTES (512u + 128u)

/* 32 quantised activations: x = d * q, |q| <= 127, d = max|x| / 127. One cache line. */
typedef struct em_q8_block {
  int8_t q[EM_GROUP];
  float d;
  float sum;      /* d * sum of q: what a minimum is multiplied with */
  int32_t n32;    /* -128 * sum of q: takes back the offset of unsigned weights */
  int32_t n16[2]; /* the same for each half */
  int32_t unused[3];
} em_q8_block;

static inline size_t em_q8_row_bytes(size_t n) {
  return n / EM_GROUP * sizeof(em_q8_block);
}

/* Whether the layout's products are made with quantised activations; the others take float32. */
static inline bool em_layout_is_quantised(em_layout layout) {
  return layout >= EM_LAYOUT_Q8;
}

/* --- Packing (pack.c). Scalar: it runs once a load. --------------------------------------------------------------------- */

/* The layout in which a type is stored. False when there is none (integers, or a type that cannot be decoded yet). */
bool em_layout_of_type(em_type type, em_layout *out);

/* Bytes of one panel of n_in values; n_in is a multiple of the type's block length. */
uint64_t em_panel_bytes(em_layout layout, uint64_t n_in);

/* Packs 16 rows of a file's blocks to one panel. rows[r] == NULL: a row of zeros. scratch: float32 [n_in], for types that are
 * stored as another one. dst is 64-byte aligned only when panels are. */
void em_pack_panel(em_type type, size_t n_in, const uint8_t *const rows[EM_PANEL], uint8_t *dst, float *scratch);

/* Row `row` (< 16) of a panel as float32 [n_in], exactly the stored values. */
void em_unpack_row(em_layout layout, const uint8_t *panel, unsigned row, size_t n_in, float *dst);
