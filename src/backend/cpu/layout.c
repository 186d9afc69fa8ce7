/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the layouts hold: the tables, sizes, and reading values back. */
#include "backend/cpu/layout.h"

#include <string.h>

static float load_f16(const uint8_t *p) {
  return em_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static uint32_t load_u32(const uint8_t *p) {
  uint32_t value;
  memcpy(&value, p, sizeof value);
  return value;
}

bool em_layout_of_type(em_type type, em_layout *out) {
  static const uint8_t layouts[EM_N_TYPES] = {
      [EM_TYPE_F16] = EM_LAYOUT_F16,       [EM_TYPE_BF16] = EM_LAYOUT_BF16,       [EM_TYPE_Q8_0] = EM_LAYOUT_Q8,
      [EM_TYPE_Q4_0] = EM_LAYOUT_Q4_0,     [EM_TYPE_Q4_1] = EM_LAYOUT_Q4_1,       [EM_TYPE_Q5_0] = EM_LAYOUT_Q5_0,
      [EM_TYPE_Q5_1] = EM_LAYOUT_Q5_1,     [EM_TYPE_Q2_K] = EM_LAYOUT_Q2_K,       [EM_TYPE_Q3_K] = EM_LAYOUT_Q3_K,
      [EM_TYPE_Q4_K] = EM_LAYOUT_Q4_K,     [EM_TYPE_Q5_K] = EM_LAYOUT_Q5_K,       [EM_TYPE_Q6_K] = EM_LAYOUT_Q6_K,
      [EM_TYPE_IQ4_NL] = EM_LAYOUT_IQ4_NL, [EM_TYPE_IQ4_XS] = EM_LAYOUT_IQ4_XS,   [EM_TYPE_MXFP4] = EM_LAYOUT_MXFP4,
      [EM_TYPE_NVFP4] = EM_LAYOUT_NVFP4,   [EM_TYPE_IQ3_XXS] = EM_LAYOUT_IQ3_XXS, [EM_TYPE_IQ3_S] = EM_LAYOUT_IQ3_S,
      [EM_TYPE_IQ2_XXS] = EM_LAYOUT_IQ2,   [EM_TYPE_IQ2_XS] = EM_LAYOUT_IQ2,      [EM_TYPE_IQ2_S] = EM_LAYOUT_IQ2,
      [EM_TYPE_IQ1_S] = EM_LAYOUT_IQ1,     [EM_TYPE_IQ1_M] = EM_LAYOUT_IQ1,       [EM_TYPE_Q1_0] = EM_LAYOUT_Q1_0,
      [EM_TYPE_Q2_0] = EM_LAYOUT_Q2_0,     [EM_TYPE_TQ1_0] = EM_LAYOUT_TQ2_0,     [EM_TYPE_TQ2_0] = EM_LAYOUT_TQ2_0};
  *out = (unsigned)type < EM_N_TYPES ? (em_layout)layouts[type] : EM_LAYOUT_F32;
  return *out != EM_LAYOUT_F32 || type == EM_TYPE_F32;
}

uint64_t em_panel_bytes(em_layout layout, uint64_t n_in) {
  if (!em_layout_is_quantised(layout))
    return n_in * EM_PANEL * (layout == EM_LAYOUT_F32 ? 4 : 2);
  return n_in / EM_GROUP / em_layout_infos[layout].n_groups * em_block_bytes(layout);
}

/* Four bytes at a time: what is done to a word is done to each of its bytes. */
static uint32_t each(uint8_t byte) {
  return byte * 0x01010101u;
}

/* The codes of quad j. A set bit of one counts 2. */
static uint32_t codes_of(const uint8_t *group, unsigned bits, unsigned j, unsigned r) {
  uint32_t nibbles = 0, pairs = 0, plane = 0;
  if (bits == 8)
    return load_u32(group + 64 * j + 4 * r);
  if (bits >= 4) {
    nibbles = load_u32(group + 64 * (j / 2) + 4 * r) >> (4 * (j % 2)) & each(15);
    group += 256;
  }
  if (bits == 2 || bits == 3 || bits == 6) {
    pairs = load_u32(group + 64 * (j / 4) + 4 * r) >> (2 * (j % 4)) & each(3);
    group += 128;
  }
  if (bits == 1 || bits == 3 || bits == 5)
    plane = load_u32(group + 4 * r) >> j & each(1);
  return nibbles | pairs << (bits == 6 ? 4 : 0) | plane << (bits == 1 ? 1 : bits - 1);
}

void em_block_numbers(em_layout layout, const uint8_t *block, size_t g, unsigned r, int8_t numbers[EM_GROUP]) {
  const em_layout_info *info = &em_layout_infos[layout];
  const uint8_t *tail = block + info->n_groups * em_group_bytes(layout);
  unsigned thirds = info->scales == EM_SCALES_ODD_RUNS ? tail[128 + 16 * (g / 2) + r] >> (4 * (g % 2)) & 15u : 0;
  for (unsigned j = 0; j < 8; j++) {
    uint32_t codes =
        codes_of(block + g * em_group_bytes(layout), info->bits, j, r) | each((thirds >> (j / 2) & 1) << 2);
    for (unsigned i = 0; i < 4; i++) {
      unsigned code = codes >> (8 * i) & 255u;
      numbers[4 * j + i] = info->numbers ? info->numbers[code] : (int8_t)((int)code - info->offset);
    }
  }
}

/* An unsigned 8-bit float: four bits of exponent with bias 7, three of mantissa. */
static float load_e4m3(uint8_t bits) {
  return em_f16_to_f32((uint16_t)(bits << 7)) * 256.0f;
}

static float load_e8m0(uint8_t e) {
  uint32_t bits = e < 2 ? 0 : (uint32_t)(e - 1) << 23;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

void em_block_scales(em_layout layout, const uint8_t *block, size_t g, unsigned r, float scale[2], float minimum[2]) {
  const em_layout_info *info = &em_layout_infos[layout];
  const uint8_t *tail = block + info->n_groups * em_group_bytes(layout), *at = tail + em_scales_d_at(info->scales);
  bool bytes_only = info->scales == EM_SCALES_E8M0 || info->scales == EM_SCALES_E4M3;
  float d = bytes_only ? 0 : load_f16(at + 2 * r) * info->factor;
  float second = em_scales_have_minimum(info->scales) ? load_f16(at + 32 + 2 * r) : 0;
  for (unsigned h = 0; h < 2; h++) {
    unsigned byte = 0;
    minimum[h] = 0;
    switch (info->scales) {
    case EM_SCALES_F16:
      scale[h] = d;
      break;
    case EM_SCALES_F16_ADD:
      scale[h] = d;
      minimum[h] = -second;
      break;
    case EM_SCALES_E8M0:
      scale[h] = load_e8m0(tail[r]);
      break;
    case EM_SCALES_E4M3:
      scale[h] = load_e4m3(tail[16 * h + r]) / 2;
      break;
    case EM_SCALES_K_MIN:
      scale[h] = d * (float)tail[16 * g + r];
      minimum[h] = second * (float)tail[128 + 16 * g + r];
      break;
    case EM_SCALES_K_HALVES_MIN:
      byte = tail[16 * (2 * g + h) + r];
      scale[h] = d * (float)(byte & 15);
      minimum[h] = second * (float)(byte >> 4);
      break;
    case EM_SCALES_K:
      scale[h] = d * (float)(int8_t)tail[16 * g + r];
      break;
    case EM_SCALES_K_HALVES:
      scale[h] = d * (float)(int8_t)tail[16 * (2 * g + h) + r];
      break;
    case EM_SCALES_ODD_HALVES:
    case EM_SCALES_ODD_RUNS:
      byte = tail[16 * g + r] >> (4 * h) & 15u;
      scale[h] = d * (float)(2 * byte + 1);
      break;
    }
  }
}

void em_unpack_row(em_layout layout, const uint8_t *panel, unsigned row, size_t n_in, float *dst) {
  if (!em_layout_is_quantised(layout)) {
    for (size_t k = 0; k < n_in; k++) {
      const uint8_t *at = panel + (k * EM_PANEL + row) * (layout == EM_LAYOUT_F32 ? 4 : 2);
      uint32_t bits = layout == EM_LAYOUT_F32 ? load_u32(at) : (uint32_t)(at[0] | at[1] << 8) << 16;
      if (layout == EM_LAYOUT_F16)
        dst[k] = load_f16(at);
      else
        memcpy(&dst[k], &bits, sizeof bits);
    }
    return;
  }
  unsigned n_groups = em_layout_infos[layout].n_groups;
  for (size_t b = 0; b < n_in / EM_GROUP; b++) {
    const uint8_t *block = panel + b / n_groups * em_block_bytes(layout);
    int8_t numbers[EM_GROUP];
    float scale[2], minimum[2];
    em_block_numbers(layout, block, b % n_groups, row, numbers);
    em_block_scales(layout, block, b % n_groups, row, scale, minimum);
    for (unsigned k = 0; k < EM_GROUP; k++)
      dst[b * EM_GROUP + k] = scale[k / 16] * (float)numbers[k] - minimum[k / 16];
  }
}
