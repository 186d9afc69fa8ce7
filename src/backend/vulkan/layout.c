/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/vulkan/layout.h"

#include <string.h>

static const em_vk_layout layouts[EM_N_TYPES] = {
    [EM_TYPE_F32] = {EM_VK_FORMAT_F32, 4, 32},      [EM_TYPE_F16] = {EM_VK_FORMAT_F16, 8, 32},
    [EM_TYPE_BF16] = {EM_VK_FORMAT_BF16, 8, 32},    [EM_TYPE_Q8_0] = {EM_VK_FORMAT_Q8_0, 32, 68},
    [EM_TYPE_Q4_0] = {EM_VK_FORMAT_Q4_0, 32, 36},   [EM_TYPE_Q4_K] = {EM_VK_FORMAT_Q4_K, 256, 288},
    [EM_TYPE_Q6_K] = {EM_VK_FORMAT_Q6_K, 256, 420},
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

/* Vectors of the compiler: one instruction each on every processor that has any. */
typedef uint32_t words4 __attribute__((vector_size(16)));

static words4 load4(const uint8_t *p) {
  words4 v;
  memcpy(&v, p, sizeof v);
  return v;
}

static void store4(uint8_t *p, words4 v) {
  memcpy(p, &v, sizeof v);
}

/* Of 32 bytes with two values each, the 32 low and the 32 high ones as nibbles: byte i of word w holds value 8 w + i
 * low and value 8 w + 4 + i high. */
static void pack_nibbles(const uint8_t *bytes, uint8_t *low, uint8_t *high) {
  const words4 a = load4(bytes), b = load4(bytes + 16);
  const words4 even = __builtin_shufflevector(a, b, 0, 2, 4, 6), odd = __builtin_shufflevector(a, b, 1, 3, 5, 7);
  store4(low, (even & 0x0f0f0f0f) | (odd & 0x0f0f0f0f) << 4);
  store4(high, (even >> 4 & 0x0f0f0f0f) | (odd & 0xf0f0f0f0));
}

static void pack_q4_0(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  const words4 a = load4(block + 2);
  const words4 low = a & 0x0f0f0f0f, high = a >> 4 & 0x0f0f0f0f;
  /* The low nibbles are values 0 to 15, the high ones 16 to 31. */
  const words4 even = __builtin_shufflevector(low, high, 0, 2, 4, 6);
  const words4 odd = __builtin_shufflevector(low, high, 1, 3, 5, 7);
  store4(chunk + r * 16, even | odd << 4);
  memcpy(chunk + 32 * 16 + r * 2, block, 2);
}

static void pack_q8_0(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  memcpy(chunk + r * 16, block + 2, 16);
  memcpy(chunk + (32 + r) * 16, block + 18, 16);
  memcpy(chunk + 64 * 16 + r * 2, block, 2);
}

static void pack_q4_k(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  memcpy(chunk + r * 16, block, 16);
  for (unsigned j = 0; j < 8; j += 2) {
    uint8_t *to = chunk + (32 + j * 32 + r) * 16;
    pack_nibbles(block + 16 + j * 16, to, to + 32 * 16);
  }
}

/* Two words of bit pairs a group: bits 2 s .. 2 s + 1 of byte i of word v hold value 16 v + 4 s + i. In the file the
 * pairs of one place in four groups share a byte, so four words are exchanged for four, like rows for columns: those of
 * v = 0 and v = 1 side by side. */
static void pack_pairs(const uint8_t *high, uint8_t *groups01, uint8_t *groups23) {
  const words4 a = load4(high), b = load4(high + 16);
  words4 even = __builtin_shufflevector(a, b, 0, 2, 4, 6), odd = __builtin_shufflevector(a, b, 1, 3, 5, 7);
  words4 t = (even >> 2 ^ odd) & 0x33333333;
  odd ^= t;
  even ^= t << 2;
  words4 low = __builtin_shufflevector(even, odd, 0, 2, 4, 6), up = __builtin_shufflevector(even, odd, 1, 3, 5, 7);
  t = (low >> 4 ^ up) & 0x0f0f0f0f;
  store4(groups01, low ^ t << 4);
  store4(groups23, up ^ t);
}

static void pack_q6_k(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  const uint8_t *low = block, *high = block + 128;
  for (unsigned n = 0; n < 2; n++) {
    for (unsigned half = 0; half < 2; half++) {
      uint8_t *to = chunk + ((4 * n + half) * 32 + r) * 16;
      pack_nibbles(low + 64 * n + 32 * half, to, to + 2 * 32 * 16);
    }
    uint8_t *pairs = chunk + (256 + 2 * n * 32 + r) * 16;
    pack_pairs(high + 32 * n, pairs, pairs + 32 * 16);
  }
  memcpy(chunk + (384 + r) * 16, block + 192, 16);
  memcpy(chunk + 416 * 16 + r * 2, block + 208, 2);
}

/* The chunk's rows one after the other, so that it is written while it is in the first cache. */
#define EACH_ROW(pack, block_bytes)     \
  for (uint32_t r = 0; r < n_rows; r++) \
  pack(rows + r * row_bytes + c * (block_bytes), r, chunk)

void em_vk_pack_tile(const em_vk_layout *layout, uint64_t n_in, const uint8_t *rows, uint64_t row_bytes,
                     uint32_t n_rows, uint8_t *tile) {
  uint64_t chunk_bytes = (uint64_t)layout->chunk_vectors * 16;
  uint64_t chunks = (n_in + layout->chunk_values - 1) / layout->chunk_values;
  if (n_rows < EM_VK_TILE_ROWS)
    memset(tile, 0, chunks * chunk_bytes);
  for (uint64_t c = 0; c < chunks; c++) {
    uint8_t *chunk = tile + c * chunk_bytes;
    switch (layout->format) {
    case EM_VK_FORMAT_Q8_0:
      EACH_ROW(pack_q8_0, 34);
      break;
    case EM_VK_FORMAT_Q4_0:
      EACH_ROW(pack_q4_0, 18);
      break;
    case EM_VK_FORMAT_Q4_K:
      EACH_ROW(pack_q4_k, 144);
      break;
    case EM_VK_FORMAT_Q6_K:
      EACH_ROW(pack_q6_k, 210);
      break;
    default: { /* plain values, 16 bytes at a time; the last may be fewer */
      uint64_t left = row_bytes - c * 16, n = left < 16 ? left : 16;
      if (n < 16)
        memset(chunk, 0, chunk_bytes);
      for (uint32_t r = 0; r < n_rows; r++) {
        const uint8_t *from = rows + r * row_bytes + c * 16;
        if (n == 16)
          memcpy(chunk + r * 16, from, 16);
        else
          memcpy(chunk + r * 16, from, n);
      }
    }
    }
  }
}
