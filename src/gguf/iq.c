/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The IQ1, IQ2 and IQ3 types: 256 values a block in eight groups of 32, each four runs of 8 values that are entries of
 * a codebook (or two entries of 4), with signs or a shift, times the group's scale. */
#include <string.h>

#include "gguf/blocks.h"
#include "gguf/format.h"
#include "gguf/grids.h"

static uint32_t read_u16(const uint8_t *src) {
  return (uint32_t)src[0] | (uint32_t)src[1] << 8;
}

static uint32_t read_u32(const uint8_t *src) {
  return read_u16(src) | read_u16(src + 2) << 16;
}

static float read_f16(const uint8_t *src) {
  return em_f16_to_f32((uint16_t)read_u16(src));
}

/* Seven sign bits stand for eight: the last makes their number even. */
static unsigned eighth_sign(unsigned signs) {
  return signs | (unsigned)__builtin_parity(signs) << 7;
}

static float with_sign(float value, unsigned signs, int j) {
  return signs >> j & 1 ? -value : value;
}

static void run8(float *dst, float scale, uint16_t entry, unsigned signs) {
  for (int j = 0; j < 8; j++)
    dst[j] = with_sign(scale * (float)em_grid8(em_letters_iq2, entry, j), signs, j);
}

static void run4(float *dst, float scale, const int8_t letters[8], uint16_t entry, unsigned signs) {
  for (int j = 0; j < 4; j++)
    dst[j] = with_sign(scale * (float)em_grid4(letters, entry, j), signs, j);
}

/* d, then for each group four index bytes and 32 bits: four times seven signs and, on top, the scale. */
void em_decode_iq2_xxs(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 66) {
    float d = read_f16(s);
    for (int group = 0; group < 8; group++) {
      const uint8_t *index = s + 2 + group * 8;
      uint32_t bits = read_u32(index + 4);
      float scale = d * (0.5f + (float)(bits >> 28)) * 0.25f;
      for (int l = 0; l < 4; l++, dst += 8)
        run8(dst, scale, em_grid_iq2_xxs[index[l]], eighth_sign(bits >> (7 * l) & 127));
    }
  }
}

/* A nibble of scale for each half group. */
static float half_group_scale(float d, uint8_t nibbles, int l) {
  return d * (0.5f + (float)(l < 2 ? nibbles & 15 : nibbles >> 4)) * 0.25f;
}

/* d, qs[32] of 16 bits (nine of index, seven signs), scales[8]. */
void em_decode_iq2_xs(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 74) {
    float d = read_f16(s);
    for (int group = 0; group < 8; group++)
      for (int l = 0; l < 4; l++, dst += 8) {
        uint32_t q = read_u16(s + 2 + (group * 4 + l) * 2);
        run8(dst, half_group_scale(d, s[66 + group], l), em_grid_iq2_xs[q & 511], eighth_sign(q >> 9));
      }
  }
}

/* d, 32 index bytes, 32 sign bytes, qh[8] with two more bits of each index, scales[8]. */
void em_decode_iq2_s(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 82) {
    float d = read_f16(s);
    for (int group = 0; group < 8; group++)
      for (int l = 0; l < 4; l++, dst += 8) {
        uint32_t index = s[2 + group * 4 + l] | ((uint32_t)s[66 + group] << (8 - 2 * l) & 0x300);
        run8(dst, half_group_scale(d, s[74 + group], l), em_grid_iq2_s[index], s[34 + group * 4 + l]);
      }
  }
}

/* d, 64 index bytes, then for each group 32 bits: signs and scale as in IQ2_XXS. */
void em_decode_iq3_xxs(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 98) {
    float d = read_f16(s);
    for (int group = 0; group < 8; group++) {
      uint32_t bits = read_u32(s + 66 + group * 4);
      float scale = d * (0.5f + (float)(bits >> 28)) * 0.5f;
      for (int l = 0; l < 4; l++, dst += 8) {
        const uint8_t *index = s + 2 + group * 8 + l * 2;
        unsigned signs = eighth_sign(bits >> (7 * l) & 127);
        run4(dst, scale, em_letters_iq3_xxs, em_grid_iq3_xxs[index[0]], signs);
        run4(dst + 4, scale, em_letters_iq3_xxs, em_grid_iq3_xxs[index[1]], signs >> 4);
      }
    }
  }
}

/* d, 64 index bytes, qh[8] with the ninth bits, 32 sign bytes, scales[4] of two nibbles. */
void em_decode_iq3_s(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 110) {
    float d = read_f16(s);
    for (int group = 0; group < 8; group++) {
      float scale = d * (float)(1 + 2 * (s[106 + group / 2] >> (group % 2 * 4) & 15));
      uint32_t high = s[66 + group];
      for (int l = 0; l < 4; l++, dst += 8) {
        const uint8_t *index = s + 2 + group * 8 + l * 2;
        unsigned signs = s[74 + group * 4 + l];
        run4(dst, scale, em_letters_iq3_s, em_grid_iq3_s[index[0] | (high << (8 - 2 * l) & 256)], signs);
        run4(dst + 4, scale, em_letters_iq3_s, em_grid_iq3_s[index[1] | (high << (7 - 2 * l) & 256)], signs >> 4);
      }
    }
  }
}

static void run_iq1(float *dst, float scale, uint16_t entry, bool is_below) {
  float shift = is_below ? -0.125f : 0.125f;
  for (int j = 0; j < 8; j++)
    dst[j] = scale * ((float)em_grid8(em_letters_iq1, entry, j) + shift);
}

/* d, 32 index bytes, qh[8] of 16 bits: four times three more bits of index, the scale, and the shift's sign on top. */
void em_decode_iq1_s(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 50) {
    float d = read_f16(s);
    for (int group = 0; group < 8; group++) {
      uint32_t high = read_u16(s + 34 + group * 2);
      float scale = d * (float)(2 * (high >> 12 & 7) + 1);
      for (int l = 0; l < 4; l++, dst += 8) {
        uint32_t index = s[2 + group * 4 + l] | (high >> (3 * l) & 7) << 8;
        run_iq1(dst, scale, em_grid_iq1[index], high >> 15);
      }
    }
  }
}

/* 32 index bytes, qh[16] with a nibble for each run (three more bits of index and the shift's sign), four 16-bit words
 * of four 3-bit scales each, in whose top nibbles stands d. */
void em_decode_iq1_m(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 56) {
    uint32_t words[4], half = 0;
    for (int i = 0; i < 4; i++) {
      words[i] = read_u16(s + 48 + i * 2);
      half |= (words[i] >> 12) << (4 * i);
    }
    float d = em_f16_to_f32((uint16_t)half);
    for (int group = 0; group < 8; group++)
      for (int l = 0; l < 4; l++, dst += 8) {
        uint32_t nibble = s[32 + group * 2 + l / 2] >> (l % 2 * 4) & 15;
        uint32_t scale = words[group / 2] >> (6 * (group % 2) + (l < 2 ? 0 : 3)) & 7;
        run_iq1(dst, d * (float)(2 * scale + 1), em_grid_iq1[s[group * 4 + l] | (nibble & 7) << 8], nibble >> 3);
      }
  }
}
