/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Packing rows of a file's blocks to panels, and reading single rows back. */
#include <math.h>
#include <string.h>

#include "backend/cpu/layout.h"

static uint16_t load_u16(const uint8_t *p) {
  return (uint16_t)(p[0] | p[1] << 8);
}

static void store_u16(uint8_t *p, uint16_t value) {
  p[0] = (uint8_t)value;
  p[1] = (uint8_t)(value >> 8);
}

static uint32_t load_u32(const uint8_t *p) {
  uint32_t value;
  memcpy(&value, p, sizeof value);
  return value;
}

bool em_layout_of_type(em_type type, em_layout *out) {
  const em_type_info *info = em_type_get(type);
  switch (type) {
  case EM_TYPE_F32:
    *out = EM_LAYOUT_F32;
    return true;
  case EM_TYPE_F16:
    *out = EM_LAYOUT_F16;
    return true;
  case EM_TYPE_BF16:
    *out = EM_LAYOUT_BF16;
    return true;
  case EM_TYPE_Q4_0:
    *out = EM_LAYOUT_Q4_0;
    return true;
  case EM_TYPE_Q4_K:
    *out = EM_LAYOUT_Q4_K;
    return true;
  case EM_TYPE_Q5_K:
    *out = EM_LAYOUT_Q5_K;
    return true;
  case EM_TYPE_Q6_K:
    *out = EM_LAYOUT_Q6_K;
    return true;
  default:
    /* Block types are weights; plain numbers of one value a block are not. */
    *out = EM_LAYOUT_Q8;
    return info && info->decode && info->block_len % EM_GROUP == 0;
  }
}

uint64_t em_panel_bytes(em_layout layout, uint64_t n_in) {
  switch (layout) {
  case EM_LAYOUT_F32:
    return n_in * EM_PANEL * 4;
  case EM_LAYOUT_F16:
  case EM_LAYOUT_BF16:
    return n_in * EM_PANEL * 2;
  case EM_LAYOUT_Q8:
    return n_in / EM_GROUP * EM_Q8_BLOCK_BYTES;
  case EM_LAYOUT_Q4_0:
    return n_in / EM_GROUP * EM_Q4_0_BLOCK_BYTES;
  case EM_LAYOUT_Q4_K:
    return n_in / EM_SUPER * EM_Q4_K_BLOCK_BYTES;
  case EM_LAYOUT_Q5_K:
    return n_in / EM_SUPER * EM_Q5_K_BLOCK_BYTES;
  case EM_LAYOUT_Q6_K:
    return n_in / EM_SUPER * EM_Q6_K_BLOCK_BYTES;
  case EM_N_LAYOUTS:
    break;
  }
  return 0;
}

/* --- The quads of one row -------------------------------------------------------------------------------------------- */

/* Four bytes at a time: what is done to a word is done to each of its bytes. */
#define NIBBLES 0x0f0f0f0fu

static void store_u32(uint8_t *p, uint32_t value) {
  memcpy(p, &value, sizeof value);
}

/* Of 8 bytes with two values each: the low ones to one place of row r, the high ones to another. */
static void put_nibbles(const uint8_t *src, unsigned r, uint8_t *low, uint8_t *high) {
  uint32_t a = load_u32(src), b = load_u32(src + 4);
  store_u32(low + 4 * r, (a & NIBBLES) | (b & NIBBLES) << 4);
  store_u32(high + 4 * r, (a >> 4 & NIBBLES) | (b & ~NIBBLES));
}

/* The same of 32 bytes, which hold two groups. */
static void put_two_groups(const uint8_t *src, unsigned r, uint8_t *low, uint8_t *high) {
  for (unsigned l = 0; l < 4; l++)
    put_nibbles(src + 8 * l, r, low + 64 * l, high + 64 * l);
}

static unsigned get_nibble(const uint8_t *group, unsigned r, unsigned k) {
  uint8_t byte = group[64 * (k / 8) + 4 * r + k % 4];
  return k % 8 < 4 ? byte & 15u : byte >> 4;
}

/* The high pairs of half `h` of four groups of Q6_K, which share the bytes of src. A byte has a pair for each group, and is
 * wanted to have one for each of four values: words are exchanged like rows for columns. */
static void put_pairs(const uint8_t *src, unsigned r, unsigned h, uint8_t *groups) {
  uint32_t w[4], t;
  memcpy(w, src + 16 * h, sizeof w);
  for (unsigned i = 0; i < 4; i += 2) {
    t = (w[i] >> 2 ^ w[i + 1]) & 0x33333333u;
    w[i + 1] ^= t;
    w[i] ^= t << 2;
  }
  for (unsigned i = 0; i < 2; i++) {
    t = (w[i] >> 4 ^ w[i + 2]) & NIBBLES;
    w[i + 2] ^= t;
    w[i] ^= t << 4;
  }
  for (unsigned g = 0; g < 4; g++)
    store_u32(groups + 384 * g + 256 + 64 * h + 4 * r, w[g]);
}

/* The fifth bits of group g of Q5_K: one plane of 64 bytes. */
static void put_fifths(const uint8_t *high, unsigned g, unsigned r, uint8_t *plane) {
  uint32_t bits = 0;
  for (unsigned j = 0; j < 8; j++)
    bits |= (load_u32(high + 4 * j) >> g & 0x01010101u) << j;
  store_u32(plane + 4 * r, bits);
}

/* --- One block of one row, by type ------------------------------------------------------------------------------------ */

static void pack_q8_values(const int8_t q[EM_GROUP], uint16_t d, unsigned r, uint8_t *dst) {
  for (unsigned j = 0; j < 8; j++) /* q + 128 turns the sign's bit over */
    store_u32(dst + 64 * j + 4 * r, load_u32((const uint8_t *)q + 4 * j) ^ 0x80808080u);
  store_u16(dst + 512 + 2 * r, d);
}

static void pack_q8_0(const uint8_t *src, unsigned r, uint8_t *dst) {
  int8_t q[EM_GROUP];
  memcpy(q, src + 2, sizeof q);
  pack_q8_values(q, load_u16(src), r, dst);
}

static void pack_requantised(const float *x, unsigned r, uint8_t *dst) {
  int8_t q[EM_GROUP] = {0};
  float max = 0;
  for (unsigned k = 0; k < EM_GROUP; k++)
    max = fabsf(x[k]) > max ? fabsf(x[k]) : max;
  /* The scale is rounded first and the values are divided by what is stored. Past the range of f16 they are cut. */
  uint16_t d = em_f32_to_f16(fminf(max / 127.0f, 65504.0f));
  float scale = em_f16_to_f32(d);
  for (unsigned k = 0; k < EM_GROUP && scale > 0; k++)
    q[k] = (int8_t)fmaxf(fminf(rintf(x[k] / scale), 127.0f), -127.0f);
  pack_q8_values(q, d, r, dst);
}

static void pack_q4_0(const uint8_t *src, unsigned r, uint8_t *dst) {
  for (unsigned l = 0; l < 2; l++)
    put_nibbles(src + 2 + 8 * l, r, dst + 64 * l, dst + 64 * (l + 2));
  store_u16(dst + 256 + 2 * r, load_u16(src));
}

/* Q4_K and Q5_K differ by the fifth bits. */
static void pack_q45_k(const uint8_t *src, bool five, unsigned r, uint8_t *dst) {
  const uint8_t *scales = src + 4, *high = src + 16, *low = five ? src + 48 : src + 16;
  size_t group_bytes = five ? 320 : 256;
  uint8_t *tail = dst + 8 * group_bytes;
  for (unsigned g = 0; g < 8; g += 2)
    put_two_groups(low + 16 * g, r, dst + g * group_bytes, dst + (g + 1) * group_bytes);
  for (unsigned g = 0; g < 8; g++) {
    if (five)
      put_fifths(high, g, r, dst + g * group_bytes + 256);
    tail[16 * g + r] = g < 4 ? scales[g] & 63 : (uint8_t)((scales[g + 4] & 15) | scales[g - 4] >> 6 << 4);
    tail[128 + 16 * g + r] = g < 4 ? scales[g + 4] & 63 : (uint8_t)(scales[g + 4] >> 4 | scales[g] >> 6 << 4);
  }
  store_u16(tail + 256 + 2 * r, load_u16(src));
  store_u16(tail + 288 + 2 * r, load_u16(src + 2));
}

static void pack_q6_k(const uint8_t *src, unsigned r, uint8_t *dst) {
  for (unsigned half = 0; half < 2; half++) {
    uint8_t *groups = dst + 4 * 384 * half;
    for (unsigned part = 0; part < 2; part++)
      put_two_groups(src + 64 * half + 32 * part, r, groups + 384 * part, groups + 384 * (part + 2));
    for (unsigned h = 0; h < 2; h++)
      put_pairs(src + 128 + 32 * half, r, h, groups);
  }
  for (unsigned s = 0; s < 16; s++)
    dst[8 * 384 + 16 * s + r] = src[192 + s];
  store_u16(dst + 8 * 384 + 256 + 2 * r, load_u16(src + 208));
}

/* --- Panels ------------------------------------------------------------------------------------------------------------ */

static void pack_row(em_type type, em_layout layout, size_t n_in, const uint8_t *src, unsigned r, uint8_t *dst,
                     float *scratch) {
  const em_type_info *info = em_type_get(type);
  size_t n_blocks = n_in / info->block_len;
  switch (layout) {
  case EM_LAYOUT_F32:
    for (size_t k = 0; k < n_in; k++)
      memcpy(dst + (k * EM_PANEL + r) * 4, src + 4 * k, 4);
    break;
  case EM_LAYOUT_F16:
  case EM_LAYOUT_BF16:
    for (size_t k = 0; k < n_in; k++)
      memcpy(dst + (k * EM_PANEL + r) * 2, src + 2 * k, 2);
    break;
  case EM_LAYOUT_Q8:
    if (type == EM_TYPE_Q8_0) {
      for (size_t b = 0; b < n_blocks; b++)
        pack_q8_0(src + b * info->block_bytes, r, dst + b * EM_Q8_BLOCK_BYTES);
    } else {
      info->decode(src, scratch, n_blocks);
      for (size_t b = 0; b < n_in / EM_GROUP; b++)
        pack_requantised(scratch + b * EM_GROUP, r, dst + b * EM_Q8_BLOCK_BYTES);
    }
    break;
  case EM_LAYOUT_Q4_0:
    for (size_t b = 0; b < n_blocks; b++)
      pack_q4_0(src + b * info->block_bytes, r, dst + b * EM_Q4_0_BLOCK_BYTES);
    break;
  case EM_LAYOUT_Q4_K:
    for (size_t b = 0; b < n_blocks; b++)
      pack_q45_k(src + b * info->block_bytes, false, r, dst + b * EM_Q4_K_BLOCK_BYTES);
    break;
  case EM_LAYOUT_Q5_K:
    for (size_t b = 0; b < n_blocks; b++)
      pack_q45_k(src + b * info->block_bytes, true, r, dst + b * EM_Q5_K_BLOCK_BYTES);
    break;
  case EM_LAYOUT_Q6_K:
    for (size_t b = 0; b < n_blocks; b++)
      pack_q6_k(src + b * info->block_bytes, r, dst + b * EM_Q6_K_BLOCK_BYTES);
    break;
  case EM_N_LAYOUTS:
    break;
  }
}

void em_pack_panel(em_type type, size_t n_in, const uint8_t *const rows[EM_PANEL], uint8_t *dst, float *scratch) {
  em_layout layout;
  if (!em_layout_of_type(type, &layout))
    return;
  for (unsigned r = 0; r < EM_PANEL; r++) {
    if (!rows[r]) {
      /* Quants of a missing row do not matter once its scales are zero; zero bytes everywhere are simplest. */
      memset(dst, 0, em_panel_bytes(layout, n_in));
      break;
    }
  }
  for (unsigned r = 0; r < EM_PANEL; r++) {
    if (rows[r])
      pack_row(type, layout, n_in, rows[r], r, dst, scratch);
  }
}

static void unpack_row_q45_k(const uint8_t *block, bool five, unsigned r, float *dst) {
  size_t group_bytes = five ? 320 : 256;
  const uint8_t *tail = block + 8 * group_bytes;
  float d = em_f16_to_f32(load_u16(tail + 256 + 2 * r)), dmin = em_f16_to_f32(load_u16(tail + 288 + 2 * r));
  for (unsigned g = 0; g < 8; g++) {
    float scale = d * (float)tail[16 * g + r], minimum = dmin * (float)tail[128 + 16 * g + r];
    for (unsigned k = 0; k < EM_GROUP; k++) {
      const uint8_t *group = block + g * group_bytes;
      unsigned q = get_nibble(group, r, k);
      if (five)
        q |= (group[256 + 4 * r + k % 4] >> (k / 4) & 1u) << 4;
      dst[EM_GROUP * g + k] = scale * (float)q - minimum;
    }
  }
}

static void unpack_row_q6_k(const uint8_t *block, unsigned r, float *dst) {
  float d = em_f16_to_f32(load_u16(block + 8 * 384 + 256 + 2 * r));
  for (unsigned g = 0; g < 8; g++) {
    for (unsigned k = 0; k < EM_GROUP; k++) {
      const uint8_t *group = block + 384 * g;
      unsigned high = group[256 + 64 * (k / 16) + 4 * r + k % 4] >> (2 * (k % 16 / 4)) & 3u;
      int q = (int)(get_nibble(group, r, k) | high << 4) - 32;
      int8_t scale = (int8_t)block[8 * 384 + 16 * (2 * g + k / 16) + r];
      dst[EM_GROUP * g + k] = d * (float)scale * (float)q;
    }
  }
}

void em_unpack_row(em_layout layout, const uint8_t *panel, unsigned row, size_t n_in, float *dst) {
  for (size_t k = 0; layout == EM_LAYOUT_F32 && k < n_in; k++) {
    uint32_t bits = load_u32(panel + (k * EM_PANEL + row) * 4);
    memcpy(&dst[k], &bits, sizeof bits);
  }
  for (size_t k = 0; layout == EM_LAYOUT_F16 && k < n_in; k++)
    dst[k] = em_f16_to_f32(load_u16(panel + (k * EM_PANEL + row) * 2));
  for (size_t k = 0; layout == EM_LAYOUT_BF16 && k < n_in; k++)
    dst[k] = em_bf16_to_f32(load_u16(panel + (k * EM_PANEL + row) * 2));
  for (size_t b = 0; (layout == EM_LAYOUT_Q8 || layout == EM_LAYOUT_Q4_0) && b < n_in / EM_GROUP; b++) {
    bool eight = layout == EM_LAYOUT_Q8;
    const uint8_t *block = panel + b * (eight ? EM_Q8_BLOCK_BYTES : EM_Q4_0_BLOCK_BYTES);
    float d = em_f16_to_f32(load_u16(block + (eight ? 512 : 256) + 2 * row));
    for (unsigned k = 0; k < EM_GROUP; k++) {
      int q = eight ? block[64 * (k / 4) + 4 * row + k % 4] - 128 : (int)get_nibble(block, row, k) - 8;
      dst[b * EM_GROUP + k] = d * (float)q;
    }
  }
  for (size_t b = 0; b < n_in / EM_SUPER; b++) {
    if (layout == EM_LAYOUT_Q4_K)
      unpack_row_q45_k(panel + b * EM_Q4_K_BLOCK_BYTES, false, row, dst + b * EM_SUPER);
    else if (layout == EM_LAYOUT_Q5_K)
      unpack_row_q45_k(panel + b * EM_Q5_K_BLOCK_BYTES, true, row, dst + b * EM_SUPER);
    else if (layout == EM_LAYOUT_Q6_K)
      unpack_row_q6_k(panel + b * EM_Q6_K_BLOCK_BYTES, row, dst + b * EM_SUPER);
  }
}
