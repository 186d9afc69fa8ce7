/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The IQ1, IQ2 and IQ3 types: 256 values a block in eight groups of 32, each four runs of 8 values that are entries of
 * a codebook (or two entries of 4), with signs or a shift, times the group's scale. */
#include <string.h>

#include "gguf/blocks.h"
#include "gguf/format.h"
#include "gguf/grids.h"

const int8_t em_iq1_numbers[16] = {-9, -1, 7, 0, -7, 1, 9, 0};
const int8_t em_iq2_numbers[16] = {8, 25, 43, 0, -8, -25, -43, 0};
const int8_t em_iq3_xxs_numbers[16] = {4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62};
const int8_t em_iq3_s_numbers[16] = {1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15};

static uint32_t read_u16(const uint8_t *src) {
  return (uint32_t)src[0] | (uint32_t)src[1] << 8;
}

static uint32_t read_u32(const uint8_t *src) {
  return read_u16(src) | read_u16(src + 2) << 16;
}

/* Seven sign bits stand for eight: the last makes their number even. */
static unsigned eighth_sign(unsigned signs) {
  return signs | (unsigned)__builtin_parity(signs) << 7;
}

/* Four codes in a word: from 2 bits each, from 3 bits each, and from 1 bit each. */
static uint32_t spread2(uint32_t x) {
  x = (x | x << 12) & 0x000f000fu;
  return (x | x << 6) & 0x03030303u;
}

static uint32_t spread3(uint32_t x) {
  x = (x | x << 10) & 0x003f003fu;
  return (x | x << 5) & 0x07070707u;
}

static uint32_t spread1(uint32_t x) {
  return (x & 15) * 0x00204081u & 0x01010101u;
}

static void run8(uint8_t *codes, uint32_t entry, unsigned signs) {
  uint32_t words[2] = {spread2(entry & 255) | spread1(signs) << 2, spread2(entry >> 8) | spread1(signs >> 4) << 2};
  memcpy(codes, words, sizeof words);
}

static void run4(uint8_t *codes, uint32_t entry, unsigned signs) {
  uint32_t word = spread3(entry) | spread1(signs) << 3;
  memcpy(codes, &word, sizeof word);
}

/* d, then for each group four index bytes and 32 bits: four times seven signs and, on top, the scale. */
static void split_iq2_xxs(const uint8_t *s, em_iq_block *out) {
  out->d = (uint16_t)read_u16(s);
  out->numbers = em_iq2_numbers;
  out->factor = 0.125f;
  for (int group = 0; group < 8; group++) {
    const uint8_t *index = s + 2 + group * 8;
    uint32_t bits = read_u32(index + 4);
    out->scale[2 * group] = out->scale[2 * group + 1] = (uint8_t)(2 * (bits >> 28) + 1);
    for (int l = 0; l < 4; l++)
      run8(out->codes + 32 * group + 8 * l, em_grid_iq2_xxs[index[l]], eighth_sign(bits >> (7 * l) & 127));
  }
}

/* A nibble of scale for each half group. */
static void half_group_scales(uint8_t nibbles, uint8_t scale[2]) {
  scale[0] = (uint8_t)(2 * (nibbles & 15) + 1);
  scale[1] = (uint8_t)(2 * (nibbles >> 4) + 1);
}

/* d, qs[32] of 16 bits (nine of index, seven signs), scales[8]. */
static void split_iq2_xs(const uint8_t *s, em_iq_block *out) {
  out->d = (uint16_t)read_u16(s);
  out->numbers = em_iq2_numbers;
  out->factor = 0.125f;
  for (int group = 0; group < 8; group++) {
    half_group_scales(s[66 + group], out->scale + 2 * group);
    for (int l = 0; l < 4; l++) {
      uint32_t q = read_u16(s + 2 + (group * 4 + l) * 2);
      run8(out->codes + 32 * group + 8 * l, em_grid_iq2_xs[q & 511], eighth_sign(q >> 9));
    }
  }
}

/* d, 32 index bytes, 32 sign bytes, qh[8] with two more bits of each index, scales[8]. */
static void split_iq2_s(const uint8_t *s, em_iq_block *out) {
  out->d = (uint16_t)read_u16(s);
  out->numbers = em_iq2_numbers;
  out->factor = 0.125f;
  for (int group = 0; group < 8; group++) {
    half_group_scales(s[74 + group], out->scale + 2 * group);
    for (int l = 0; l < 4; l++) {
      uint32_t index = s[2 + group * 4 + l] | ((uint32_t)s[66 + group] << (8 - 2 * l) & 0x300);
      run8(out->codes + 32 * group + 8 * l, em_grid_iq2_s[index], s[34 + group * 4 + l]);
    }
  }
}

/* d, 64 index bytes, then for each group 32 bits: signs and scale as in IQ2_XXS. */
static void split_iq3_xxs(const uint8_t *s, em_iq_block *out) {
  out->d = (uint16_t)read_u16(s);
  out->numbers = em_iq3_xxs_numbers;
  out->factor = 0.25f;
  for (int group = 0; group < 8; group++) {
    uint32_t bits = read_u32(s + 66 + group * 4);
    out->scale[2 * group] = out->scale[2 * group + 1] = (uint8_t)(2 * (bits >> 28) + 1);
    for (int l = 0; l < 4; l++) {
      const uint8_t *index = s + 2 + group * 8 + l * 2;
      unsigned signs = eighth_sign(bits >> (7 * l) & 127);
      uint8_t *codes = out->codes + 32 * group + 8 * l;
      run4(codes, em_grid_iq3_xxs[index[0]], signs);
      run4(codes + 4, em_grid_iq3_xxs[index[1]], signs >> 4);
    }
  }
}

/* d, 64 index bytes, qh[8] with the ninth bits, 32 sign bytes, scales[4] of two nibbles. */
static void split_iq3_s(const uint8_t *s, em_iq_block *out) {
  out->d = (uint16_t)read_u16(s);
  out->numbers = em_iq3_s_numbers;
  out->factor = 1;
  for (int group = 0; group < 8; group++) {
    unsigned nibble = s[106 + group / 2] >> (group % 2 * 4) & 15;
    uint32_t high = s[66 + group];
    out->scale[2 * group] = out->scale[2 * group + 1] = (uint8_t)(2 * nibble + 1);
    for (int l = 0; l < 4; l++) {
      const uint8_t *index = s + 2 + group * 8 + l * 2;
      unsigned signs = s[74 + group * 4 + l];
      uint8_t *codes = out->codes + 32 * group + 8 * l;
      run4(codes, em_grid_iq3_s[index[0] | (high << (8 - 2 * l) & 256)], signs);
      run4(codes + 4, em_grid_iq3_s[index[1] | (high << (7 - 2 * l) & 256)], signs >> 4);
    }
  }
}

static void run_iq1(uint8_t *codes, uint32_t entry, bool is_below) {
  run8(codes, entry, is_below ? 0 : 255);
}

/* d, 32 index bytes, qh[8] of 16 bits: four times three more bits of index, the scale, and the shift's sign on top. */
static void split_iq1_s(const uint8_t *s, em_iq_block *out) {
  out->d = (uint16_t)read_u16(s);
  out->numbers = em_iq1_numbers;
  out->factor = 0.125f;
  for (int group = 0; group < 8; group++) {
    uint32_t high = read_u16(s + 34 + group * 2);
    out->scale[2 * group] = out->scale[2 * group + 1] = (uint8_t)(2 * (high >> 12 & 7) + 1);
    for (int l = 0; l < 4; l++) {
      uint32_t index = s[2 + group * 4 + l] | (high >> (3 * l) & 7) << 8;
      run_iq1(out->codes + 32 * group + 8 * l, em_grid_iq1[index], high >> 15);
    }
  }
}

/* 32 index bytes, qh[16] with a nibble for each run (three more bits of index and the shift's sign), four 16-bit words
 * of four 3-bit scales each, in whose top nibbles stands d. */
static void split_iq1_m(const uint8_t *s, em_iq_block *out) {
  uint32_t words[4], half = 0;
  for (int i = 0; i < 4; i++) {
    words[i] = read_u16(s + 48 + i * 2);
    half |= (words[i] >> 12) << (4 * i);
  }
  out->d = (uint16_t)half;
  out->numbers = em_iq1_numbers;
  out->factor = 0.125f;
  for (int i = 0; i < 16; i++)
    out->scale[i] = (uint8_t)(2 * (words[i / 4] >> (3 * (i % 4)) & 7) + 1);
  for (int i = 0; i < 32; i++) {
    uint32_t nibble = s[32 + i / 2] >> (i % 2 * 4) & 15;
    run_iq1(out->codes + 8 * i, em_grid_iq1[s[i] | (nibble & 7) << 8], nibble >> 3);
  }
}

bool em_iq_split(em_type type, const void *src, em_iq_block *out) {
  switch (type) {
  case EM_TYPE_IQ1_S:
    split_iq1_s(src, out);
    return true;
  case EM_TYPE_IQ1_M:
    split_iq1_m(src, out);
    return true;
  case EM_TYPE_IQ2_XXS:
    split_iq2_xxs(src, out);
    return true;
  case EM_TYPE_IQ2_XS:
    split_iq2_xs(src, out);
    return true;
  case EM_TYPE_IQ2_S:
    split_iq2_s(src, out);
    return true;
  case EM_TYPE_IQ3_XXS:
    split_iq3_xxs(src, out);
    return true;
  case EM_TYPE_IQ3_S:
    split_iq3_s(src, out);
    return true;
  default:
    return false;
  }
}

/* Every product is exact in float32: 11 bits of d, 5 of the scale, 6 of the number. */
static void decode(em_type type, const uint8_t *src, float *dst, size_t n_blocks) {
  for (size_t b = 0; b < n_blocks; b++, src += em_type_get(type)->block_bytes) {
    em_iq_block block;
    em_iq_split(type, src, &block);
    float d = em_f16_to_f32(block.d) * block.factor;
    for (int i = 0; i < 256; i++)
      *dst++ = d * (float)block.scale[i / 16] * (float)block.numbers[block.codes[i]];
  }
}

void em_decode_iq2_xxs(const void *src, float *dst, size_t n_blocks) {
  decode(EM_TYPE_IQ2_XXS, src, dst, n_blocks);
}

void em_decode_iq2_xs(const void *src, float *dst, size_t n_blocks) {
  decode(EM_TYPE_IQ2_XS, src, dst, n_blocks);
}

void em_decode_iq2_s(const void *src, float *dst, size_t n_blocks) {
  decode(EM_TYPE_IQ2_S, src, dst, n_blocks);
}

void em_decode_iq3_xxs(const void *src, float *dst, size_t n_blocks) {
  decode(EM_TYPE_IQ3_XXS, src, dst, n_blocks);
}

void em_decode_iq3_s(const void *src, float *dst, size_t n_blocks) {
  decode(EM_TYPE_IQ3_S, src, dst, n_blocks);
}

void em_decode_iq1_s(const void *src, float *dst, size_t n_blocks) {
  decode(EM_TYPE_IQ1_S, src, dst, n_blocks);
}

void em_decode_iq1_m(const void *src, float *dst, size_t n_blocks) {
  decode(EM_TYPE_IQ1_M, src, dst, n_blocks);
}

void em_codebooks(uint16_t out[EM_CODEBOOK_ENTRIES]) {
  const struct {
    const uint16_t *entries;
    size_t n;
  } books[] = {{em_grid_iq2_xxs, 256}, {em_grid_iq2_xs, 512},  {em_grid_iq2_s, 1024},
               {em_grid_iq1, 2048},    {em_grid_iq3_xxs, 256}, {em_grid_iq3_s, 512}};
  for (size_t i = 0; i < sizeof books / sizeof books[0]; i++) {
    memcpy(out, books[i].entries, books[i].n * sizeof *out);
    out += books[i].n;
  }
}
