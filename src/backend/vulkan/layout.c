/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/vulkan/layout.h"

#include <string.h>

static const em_vk_layout layouts[EM_N_TYPES] = {
    [EM_TYPE_F32] = {EM_VK_FORMAT_F32, 4, 32},
    [EM_TYPE_F16] = {EM_VK_FORMAT_F16, 8, 32},
    [EM_TYPE_BF16] = {EM_VK_FORMAT_BF16, 8, 32},
    [EM_TYPE_Q8_0] = {EM_VK_FORMAT_Q8_0, 32, 68},
    [EM_TYPE_Q4_0] = {EM_VK_FORMAT_Q4_0, 32, 36},
    [EM_TYPE_Q4_K] = {EM_VK_FORMAT_Q4_K, 256, 288},
    [EM_TYPE_Q6_K] = {EM_VK_FORMAT_Q6_K, 256, 420},
    [EM_TYPE_Q4_1] = {EM_VK_FORMAT_Q4_1, 32, 40},
    [EM_TYPE_Q5_0] = {EM_VK_FORMAT_Q5_0, 32, 44},
    [EM_TYPE_Q5_1] = {EM_VK_FORMAT_Q5_1, 32, 48},
    [EM_TYPE_IQ4_NL] = {EM_VK_FORMAT_IQ4_NL, 32, 36},
    [EM_TYPE_MXFP4] = {EM_VK_FORMAT_MXFP4, 32, 34},
    [EM_TYPE_NVFP4] = {EM_VK_FORMAT_NVFP4, 64, 72},
    [EM_TYPE_Q5_K] = {EM_VK_FORMAT_Q5_K, 256, 352},
    [EM_TYPE_IQ4_XS] = {EM_VK_FORMAT_IQ4_XS, 256, 272},
    [EM_TYPE_Q2_0] = {EM_VK_FORMAT_Q2_0, 64, 36},
    [EM_TYPE_Q2_K] = {EM_VK_FORMAT_Q2_K, 256, 168},
    [EM_TYPE_Q3_K] = {EM_VK_FORMAT_Q3_K, 256, 220},
    [EM_TYPE_TQ2_0] = {EM_VK_FORMAT_TQ2_0, 256, 132},
    [EM_TYPE_Q1_0] = {EM_VK_FORMAT_Q1_0, 128, 36},
    [EM_TYPE_TQ1_0] = {EM_VK_FORMAT_TQ1_0, 256, 108},
    [EM_TYPE_IQ2_XXS] = {EM_VK_FORMAT_IQ2_XXS, 256, 132},
    [EM_TYPE_IQ2_XS] = {EM_VK_FORMAT_IQ2_XS, 256, 148},
    [EM_TYPE_IQ2_S] = {EM_VK_FORMAT_IQ2_S, 256, 164},
    [EM_TYPE_IQ3_XXS] = {EM_VK_FORMAT_IQ3_XXS, 256, 196},
    [EM_TYPE_IQ3_S] = {EM_VK_FORMAT_IQ3_S, 256, 220},
    [EM_TYPE_IQ1_S] = {EM_VK_FORMAT_IQ1_S, 256, 100},
    [EM_TYPE_IQ1_M] = {EM_VK_FORMAT_IQ1_M, 256, 112},
};

const em_vk_layout *em_vk_layout_get(em_type type) {
  if ((unsigned)type >= EM_N_TYPES || layouts[type].chunk_values == 0)
    return NULL;
  return &layouts[type];
}

bool em_vk_has_book(const em_vk_layout *layout) {
  return layout->format >= EM_VK_FORMAT_IQ2_XXS;
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

/* The same of 16 bytes whose low nibbles are values 0 to 15, the high ones 16 to 31. */
static void pack_halves(const uint8_t *bytes, uint8_t *to) {
  const words4 a = load4(bytes);
  const words4 low = a & 0x0f0f0f0f, high = a >> 4 & 0x0f0f0f0f;
  const words4 even = __builtin_shufflevector(low, high, 0, 2, 4, 6);
  const words4 odd = __builtin_shufflevector(low, high, 1, 3, 5, 7);
  store4(to, even | odd << 4);
}

static void pack_q4_0(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  pack_halves(block + 2, chunk + r * 16);
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

/* n vectors, words or halves of a block to planes of them from `plane` on. */
static void put16(const uint8_t *from, uint32_t n, uint32_t plane, uint32_t r, uint8_t *chunk) {
  for (uint32_t i = 0; i < n; i++)
    memcpy(chunk + (plane + i * 32 + r) * 16, from + i * 16, 16);
}

static void put4(const uint8_t *from, uint32_t n, uint32_t plane, uint32_t r, uint8_t *chunk) {
  for (uint32_t i = 0; i < n; i++)
    memcpy(chunk + (plane + i * 8) * 16 + r * 4, from + i * 4, 4);
}

static void put2(const uint8_t *from, uint32_t plane, uint32_t r, uint8_t *chunk) {
  memcpy(chunk + plane * 16 + r * 2, from, 2);
}

/* Of 32 bits, the first of them value 0, a word whose byte i has value 4 k + i as bit k. */
static uint32_t part_bits(const uint8_t *from) {
  uint32_t bits, word = 0;
  memcpy(&bits, from, 4);
  for (unsigned k = 0; k < 8; k++)
    word |= ((bits >> (4 * k) & 15) * 0x00204081 & 0x01010101) << k;
  return word;
}

/* The same for 8 groups, of which each has a bit in every one of 32 bytes. */
static void pack_bits(const uint8_t *from, uint32_t plane, uint32_t r, uint8_t *chunk) {
  uint32_t in[8], out[8] = {0};
  memcpy(in, from, sizeof in);
  for (unsigned g = 0; g < 8; g++)
    for (unsigned k = 0; k < 8; k++)
      out[g] |= (in[k] >> g & 0x01010101) << k;
  put16((const uint8_t *)out, 2, plane, r, chunk);
}

static void pack_all_pairs(const uint8_t *from, uint32_t r, uint8_t *chunk) {
  for (uint32_t n = 0; n < 2; n++) {
    uint8_t *pairs = chunk + (2 * n * 32 + r) * 16;
    pack_pairs(from + 32 * n, pairs, pairs + 32 * 16);
  }
}

static void pack_q4_1(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  pack_halves(block + 4, chunk + r * 16);
  put4(block, 1, 32, r, chunk);
}

static void pack_q5_0(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  const uint32_t high = part_bits(block + 2);
  pack_halves(block + 6, chunk + r * 16);
  put4((const uint8_t *)&high, 1, 32, r, chunk);
  put2(block, 40, r, chunk);
}

static void pack_q5_1(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  const uint32_t high = part_bits(block + 4);
  pack_halves(block + 8, chunk + r * 16);
  put4((const uint8_t *)&high, 1, 32, r, chunk);
  put4(block, 1, 40, r, chunk);
}

static void pack_mxfp4(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  pack_halves(block + 1, chunk + r * 16);
  chunk[32 * 16 + r] = block[0];
}

/* Four times 16 values: the low nibbles of 8 bytes, then the high ones. */
static void pack_nvfp4(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  for (unsigned group = 0; group < 2; group++) {
    uint32_t q[4], out[4];
    memcpy(q, block + 4 + group * 16, sizeof q);
    for (unsigned i = 0; i < 4; i += 2) {
      out[i] = (q[i] & 0x0f0f0f0f) | (q[i + 1] & 0x0f0f0f0f) << 4;
      out[i + 1] = (q[i] >> 4 & 0x0f0f0f0f) | (q[i + 1] & 0xf0f0f0f0);
    }
    put16((const uint8_t *)out, 1, group * 32, r, chunk);
  }
  put4(block, 1, 64, r, chunk);
}

static void pack_q5_k(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  put16(block, 1, 0, r, chunk);
  for (unsigned j = 0; j < 8; j += 2) {
    uint8_t *to = chunk + (32 + j * 32 + r) * 16;
    pack_nibbles(block + 48 + j * 16, to, to + 32 * 16);
  }
  pack_bits(block + 16, 288, r, chunk);
}

static void pack_iq4_xs(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  for (unsigned j = 0; j < 8; j++)
    pack_halves(block + 8 + j * 16, chunk + (j * 32 + r) * 16);
  put4(block, 2, 256, r, chunk);
}

/* Four values a byte, one behind the other. */
static void pack_q2_0(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  uint32_t out[4] = {0};
  for (unsigned i = 0; i < 64; i++)
    out[i / 16] |= (uint32_t)(block[2 + i / 4] >> (2 * (i % 4)) & 3) << (8 * (i % 4) + 2 * (i / 4 % 4));
  put16((const uint8_t *)out, 1, 0, r, chunk);
  put2(block, 32, r, chunk);
}

static void pack_q2_k(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  pack_all_pairs(block + 16, r, chunk);
  put16(block, 1, 128, r, chunk);
  put4(block + 80, 1, 160, r, chunk);
}

static void pack_q3_k(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  pack_all_pairs(block + 32, r, chunk);
  pack_bits(block, 128, r, chunk);
  put4(block + 96, 3, 192, r, chunk);
  put2(block + 108, 216, r, chunk);
}

static void pack_tq2_0(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  pack_all_pairs(block, r, chunk);
  put2(block + 64, 128, r, chunk);
}

static void pack_q1_0(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  uint32_t out[4];
  for (unsigned i = 0; i < 4; i++)
    out[i] = part_bits(block + 2 + 4 * i);
  put16((const uint8_t *)out, 1, 0, r, chunk);
  put2(block, 32, r, chunk);
}

static void pack_tq1_0(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  put16(block, 3, 0, r, chunk);
  put4(block + 48, 1, 96, r, chunk);
  put2(block + 52, 104, r, chunk);
}

static void pack_iq2_xxs(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  put16(block + 2, 4, 0, r, chunk);
  put2(block, 128, r, chunk);
}

static void pack_iq2_xs(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  put16(block + 2, 4, 0, r, chunk);
  put4(block + 66, 2, 128, r, chunk);
  put2(block, 144, r, chunk);
}

static void pack_iq2_s(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  put16(block + 2, 4, 0, r, chunk);
  put4(block + 66, 4, 128, r, chunk);
  put2(block, 160, r, chunk);
}

static void pack_iq3_xxs(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  put16(block + 2, 6, 0, r, chunk);
  put2(block, 192, r, chunk);
}

static void pack_iq3_s(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  put16(block + 2, 4, 0, r, chunk);
  put16(block + 74, 2, 128, r, chunk);
  put4(block + 66, 2, 192, r, chunk);
  put4(block + 106, 1, 208, r, chunk);
  put2(block, 216, r, chunk);
}

static void pack_iq1_s(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  put16(block + 2, 3, 0, r, chunk);
  put2(block, 96, r, chunk);
}

static void pack_iq1_m(const uint8_t *block, uint32_t r, uint8_t *chunk) {
  put16(block, 3, 0, r, chunk);
  put4(block + 48, 2, 96, r, chunk);
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
    case EM_VK_FORMAT_Q4_1:
      EACH_ROW(pack_q4_1, 20);
      break;
    case EM_VK_FORMAT_Q5_0:
      EACH_ROW(pack_q5_0, 22);
      break;
    case EM_VK_FORMAT_Q5_1:
      EACH_ROW(pack_q5_1, 24);
      break;
    case EM_VK_FORMAT_IQ4_NL:
      EACH_ROW(pack_q4_0, 18);
      break;
    case EM_VK_FORMAT_MXFP4:
      EACH_ROW(pack_mxfp4, 17);
      break;
    case EM_VK_FORMAT_NVFP4:
      EACH_ROW(pack_nvfp4, 36);
      break;
    case EM_VK_FORMAT_Q5_K:
      EACH_ROW(pack_q5_k, 176);
      break;
    case EM_VK_FORMAT_IQ4_XS:
      EACH_ROW(pack_iq4_xs, 136);
      break;
    case EM_VK_FORMAT_Q2_0:
      EACH_ROW(pack_q2_0, 18);
      break;
    case EM_VK_FORMAT_Q2_K:
      EACH_ROW(pack_q2_k, 84);
      break;
    case EM_VK_FORMAT_Q3_K:
      EACH_ROW(pack_q3_k, 110);
      break;
    case EM_VK_FORMAT_TQ2_0:
      EACH_ROW(pack_tq2_0, 66);
      break;
    case EM_VK_FORMAT_Q1_0:
      EACH_ROW(pack_q1_0, 18);
      break;
    case EM_VK_FORMAT_TQ1_0:
      EACH_ROW(pack_tq1_0, 54);
      break;
    case EM_VK_FORMAT_IQ2_XXS:
      EACH_ROW(pack_iq2_xxs, 66);
      break;
    case EM_VK_FORMAT_IQ2_XS:
      EACH_ROW(pack_iq2_xs, 74);
      break;
    case EM_VK_FORMAT_IQ2_S:
      EACH_ROW(pack_iq2_s, 82);
      break;
    case EM_VK_FORMAT_IQ3_XXS:
      EACH_ROW(pack_iq3_xxs, 98);
      break;
    case EM_VK_FORMAT_IQ3_S:
      EACH_ROW(pack_iq3_s, 110);
      break;
    case EM_VK_FORMAT_IQ1_S:
      EACH_ROW(pack_iq1_s, 50);
      break;
    case EM_VK_FORMAT_IQ1_M:
      EACH_ROW(pack_iq1_m, 56);
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
