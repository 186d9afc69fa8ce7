/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/vulkan/layout.h"

#include <string.h>

enum { FORMAT_F32, FORMAT_F16, FORMAT_BF16, FORMAT_Q8_0, FORMAT_Q4_0, FORMAT_Q4_K, FORMAT_Q6_K };

static const em_vk_layout layouts[EM_N_TYPES] = {
    [EM_TYPE_F32] = {FORMAT_F32, 4, 32},      [EM_TYPE_F16] = {FORMAT_F16, 8, 32},
    [EM_TYPE_BF16] = {FORMAT_BF16, 8, 32},    [EM_TYPE_Q8_0] = {FORMAT_Q8_0, 32, 68},
    [EM_TYPE_Q4_0] = {FORMAT_Q4_0, 32, 36},   [EM_TYPE_Q4_K] = {FORMAT_Q4_K, 256, 288},
    [EM_TYPE_Q6_K] = {FORMAT_Q6_K, 256, 420},
};

const em_vk_layout *em_vk_layout_get(em_type type) {
  if ((unsigned)type >= EM_N_TYPES || layouts[type].chunk_values == 0)
    return NULL;
  return &layouts[type];
}

uint64_t em_vk_tile_bytes(const em_vk_layout *layout, uint64_t n_in) {
  uint64_t chunks = (n_in + layout->chunk_values - 1) / layout->chunk_values;
  return chunks * layout->chunk_vectors * 16;
}

/* Sixteen bytes of nibbles from 32 values of 0..15: byte i of word w holds value 8 w + i low and value 8 w + 4 + i
 * high. */
static void pack_nibbles(const uint8_t values[32], uint8_t out[16]) {
  for (unsigned w = 0; w < 4; w++)
    for (unsigned i = 0; i < 4; i++)
      out[w * 4 + i] = (uint8_t)(values[w * 8 + i] | (values[w * 8 + 4 + i] << 4));
}

static void pack_q4_0(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  uint8_t values[32];
  for (unsigned j = 0; j < 16; j++) {
    values[j] = block[2 + j] & 15;
    values[j + 16] = block[2 + j] >> 4;
  }
  pack_nibbles(values, chunk + r * 16);
  memcpy(chunk + 32 * 16 + r * 2, block, 2);
}

static void pack_q8_0(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  memcpy(chunk + r * 16, block + 2, 16);
  memcpy(chunk + (32 + r) * 16, block + 18, 16);
  memcpy(chunk + 64 * 16 + r * 2, block, 2);
}

static void pack_q4_k(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  memcpy(chunk + r * 16, block, 16);
  for (unsigned j = 0; j < 8; j++) {
    const uint8_t *bytes = block + 16 + (j / 2) * 32;
    uint8_t values[32];
    for (unsigned l = 0; l < 32; l++)
      values[l] = (j & 1) ? bytes[l] >> 4 : bytes[l] & 15;
    pack_nibbles(values, chunk + (32 + j * 32 + r) * 16);
  }
}

static void pack_q6_k(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  const uint8_t *low = block, *high = block + 128;
  uint8_t values[256];
  for (unsigned n = 0; n < 2; n++)
    for (unsigned l = 0; l < 32; l++) {
      uint8_t h = high[32 * n + l], a = low[64 * n + l], b = low[64 * n + l + 32];
      values[128 * n + l] = (uint8_t)((a & 15) | ((h & 3) << 4));
      values[128 * n + l + 32] = (uint8_t)((b & 15) | (((h >> 2) & 3) << 4));
      values[128 * n + l + 64] = (uint8_t)((a >> 4) | (((h >> 4) & 3) << 4));
      values[128 * n + l + 96] = (uint8_t)((b >> 4) | ((h >> 6) << 4));
    }
  for (unsigned j = 0; j < 8; j++) {
    uint8_t nibbles[32];
    for (unsigned l = 0; l < 32; l++)
      nibbles[l] = values[j * 32 + l] & 15;
    pack_nibbles(nibbles, chunk + (j * 32 + r) * 16);
    /* Two words of bit pairs: bits 2 s .. 2 s + 1 of byte i of word v hold value 16 v + 4 s + i. */
    uint8_t *pairs = chunk + (256 + (j / 2) * 32 + r) * 16 + (j & 1) * 8;
    for (unsigned v = 0; v < 2; v++)
      for (unsigned i = 0; i < 4; i++) {
        unsigned byte = 0;
        for (unsigned s = 0; s < 4; s++)
          byte |= (unsigned)(values[j * 32 + v * 16 + s * 4 + i] >> 4) << (2 * s);
        pairs[v * 4 + i] = (uint8_t)byte;
      }
  }
  memcpy(chunk + (384 + r) * 16, block + 192, 16);
  memcpy(chunk + 416 * 16 + r * 2, block + 208, 2);
}

void em_vk_pack_tile(const em_vk_layout *layout, uint64_t n_in, const uint8_t *rows, uint64_t row_bytes,
                     uint32_t n_rows, uint8_t *tile) {
  uint64_t chunk_bytes = (uint64_t)layout->chunk_vectors * 16;
  uint64_t chunks = (n_in + layout->chunk_values - 1) / layout->chunk_values;
  memset(tile, 0, chunks * chunk_bytes);
  for (uint32_t r = 0; r < n_rows; r++) {
    const uint8_t *row = rows + r * row_bytes;
    for (uint64_t c = 0; c < chunks; c++) {
      uint8_t *chunk = tile + c * chunk_bytes;
      switch (layout->format) {
      case FORMAT_Q8_0:
        pack_q8_0(row + c * 34, r, chunk);
        break;
      case FORMAT_Q4_0:
        pack_q4_0(row + c * 18, r, chunk);
        break;
      case FORMAT_Q4_K:
        pack_q4_k(row + c * 144, r, chunk);
        break;
      case FORMAT_Q6_K:
        pack_q6_k(row + c * 210, r, chunk);
        break;
      default: { /* plain values, 16 bytes at a time */
        uint64_t left = row_bytes - c * 16;
        memcpy(chunk + r * 16, row + c * 16, left < 16 ? left : 16);
      }
      }
    }
  }
}
