/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Packing rows of a file's blocks to panels. */
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

/* Writes a group's codes, one a byte, with that many bits. */
static void put_codes(const uint8_t codes[EM_GROUP], unsigned bits, unsigned r, uint8_t *group) {
  uint32_t words[8], plane = 0;
  memcpy(words, codes, sizeof words);
  group += 4 * r;
  if (bits == 4 || bits == 5) {
    for (unsigned l = 0; l < 4; l++)
      store_u32(group + 64 * l, (words[2 * l] & NIBBLES) | (words[2 * l + 1] & NIBBLES) << 4);
    group += 256;
  }
  if (bits == 2 || bits == 3) {
    for (unsigned h = 0; h < 2; h++) {
      uint32_t pairs = 0;
      for (unsigned i = 0; i < 4; i++)
        pairs |= (words[4 * h + i] & 0x03030303u) << (2 * i);
      store_u32(group + 64 * h, pairs);
    }
    group += 128;
  }
  if (bits % 2 == 1) {
    for (unsigned j = 0; j < 8; j++)
      plane |= (words[j] >> (bits - 1) & 0x01010101u) << j;
    store_u32(group, plane);
  }
}

/* --- One block of one row, by type ------------------------------------------------------------------------------------ */

static void pack_q8_0(const uint8_t *src, unsigned r, uint8_t *dst) {
  for (unsigned j = 0; j < 8; j++) /* q + 128 turns the sign's bit over */
    store_u32(dst + 64 * j + 4 * r, load_u32(src + 2 + 4 * j) ^ 0x80808080u);
  store_u16(dst + 512 + 2 * r, load_u16(src));
}

/* 16 bytes whose low nibbles are the first half of a group and whose high nibbles are the second. */
static void put_halves(const uint8_t *src, unsigned r, uint8_t *group) {
  for (unsigned l = 0; l < 2; l++)
    put_nibbles(src + 8 * l, r, group + 64 * l, group + 64 * (l + 2));
}

/* Q4_0, Q4_1 and IQ4_NL: one or two halves, then nibbles. */
static void pack_nibbles(const uint8_t *src, unsigned n_halves, unsigned r, uint8_t *dst) {
  put_halves(src + 2 * n_halves, r, dst);
  for (unsigned i = 0; i < n_halves; i++)
    store_u16(dst + 256 + 32 * i + 2 * r, load_u16(src + 2 * i));
}

static void pack_mxfp4(const uint8_t *src, unsigned r, uint8_t *dst) {
  put_halves(src + 1, r, dst);
  dst[256 + r] = src[0];
}

/* Two groups. A scale of 0x7F stands for no value and counts 0; the eighth bit means nothing. */
static void pack_nvfp4(const uint8_t *src, unsigned r, uint8_t *dst) {
  for (unsigned g = 0; g < 2; g++, dst += em_block_bytes(EM_LAYOUT_NVFP4)) {
    uint8_t codes[EM_GROUP];
    for (unsigned k = 0; k < EM_GROUP; k++)
      codes[k] = src[4 + 16 * g + k / 16 * 8 + k % 8] >> (k % 16 < 8 ? 0 : 4) & 15;
    put_codes(codes, 4, r, dst);
    for (unsigned h = 0; h < 2; h++)
      dst[256 + 16 * h + r] = src[2 * g + h] == 0x7F ? 0 : src[2 * g + h] & 0x7F;
  }
}

/* Q5_0 and Q5_1: one or two halves, 32 fifth bits, nibbles. */
static void pack_fives(const uint8_t *src, unsigned n_halves, unsigned r, uint8_t *dst) {
  const uint8_t *low = src + 2 * n_halves + 4;
  uint32_t fifths = load_u32(src + 2 * n_halves);
  uint8_t codes[EM_GROUP];
  for (unsigned k = 0; k < EM_GROUP; k++)
    codes[k] = (uint8_t)((low[k % 16] >> (k < 16 ? 0 : 4) & 15) | (fifths >> k & 1) << 4);
  put_codes(codes, 5, r, dst);
  for (unsigned i = 0; i < n_halves; i++)
    store_u16(dst + 320 + 32 * i + 2 * r, load_u16(src + 2 * i));
}

static void pack_iq4_xs(const uint8_t *src, unsigned r, uint8_t *dst) {
  uint8_t *tail = dst + 8 * 256;
  for (unsigned g = 0; g < 8; g++) {
    put_halves(src + 8 + 16 * g, r, dst + 256 * g);
    unsigned scale = (src[4 + g / 2] >> (4 * (g % 2)) & 15u) | (load_u16(src + 2) >> (2 * g) & 3u) << 4;
    tail[16 * g + r] = (uint8_t)(scale - 32);
  }
  store_u16(tail + 128 + 2 * r, load_u16(src));
}

/* The two bits of Q2_K and Q3_K: byte l of a half holds four groups. */
static void pairs_of(const uint8_t *qs, unsigned g, uint8_t codes[EM_GROUP]) {
  for (unsigned l = 0; l < EM_GROUP; l++)
    codes[l] = qs[32 * (g / 4) + l] >> (2 * (g % 4)) & 3;
}

static void pack_q2_k(const uint8_t *src, unsigned r, uint8_t *dst) {
  uint8_t codes[EM_GROUP], *tail = dst + 8 * 128;
  for (unsigned g = 0; g < 8; g++) {
    pairs_of(src + 16, g, codes);
    put_codes(codes, 2, r, dst + 128 * g);
  }
  for (unsigned s = 0; s < 16; s++)
    tail[16 * s + r] = src[s];
  store_u16(tail + 256 + 2 * r, load_u16(src + 80));
  store_u16(tail + 288 + 2 * r, load_u16(src + 82));
}

static void pack_q3_k(const uint8_t *src, unsigned r, uint8_t *dst) {
  const uint8_t *scales = src + 96;
  uint8_t codes[EM_GROUP], *tail = dst + 8 * 192;
  for (unsigned g = 0; g < 8; g++) {
    pairs_of(src + 32, g, codes);
    for (unsigned l = 0; l < EM_GROUP; l++)
      codes[l] |= (uint8_t)((src[l] >> g & 1) << 2);
    put_codes(codes, 3, r, dst + 192 * g);
  }
  for (unsigned s = 0; s < 16; s++) {
    unsigned low = s < 8 ? scales[s] & 15u : scales[s - 8] >> 4;
    tail[16 * s + r] = (uint8_t)((low | (scales[8 + s % 4] >> (2 * (s / 4)) & 3u) << 4) - 32);
  }
  store_u16(tail + 256 + 2 * r, load_u16(src + 108));
}

/* The codebook types. IQ1 keeps the third bit of eight codes once. */
static void pack_iq(em_type type, em_layout layout, const uint8_t *src, unsigned r, uint8_t *dst) {
  const em_layout_info *info = &em_layout_infos[layout];
  uint8_t *tail = dst + 8 * em_group_bytes(layout);
  em_iq_block block;
  em_iq_split(type, src, &block);
  for (unsigned g = 0; g < 8; g++) {
    put_codes(block.codes + EM_GROUP * g, info->bits, r, dst + g * em_group_bytes(layout));
    unsigned first = block.scale[2 * g], second = block.scale[2 * g + 1];
    tail[16 * g + r] = (uint8_t)(info->scales == EM_SCALES_K ? first : first >> 1 | second >> 1 << 4);
  }
  for (unsigned i = 0; layout == EM_LAYOUT_IQ1 && i < 4; i++) {
    unsigned thirds = 0;
    for (unsigned l = 0; l < 8; l++)
      thirds |= (block.codes[64 * i + 8 * l] >> 2 & 1u) << l;
    tail[128 + 16 * i + r] = (uint8_t)thirds;
  }
  store_u16(tail + em_scales_d_at(info->scales) + 2 * r, block.d);
}

static void pack_q1_0(const uint8_t *src, unsigned r, uint8_t *dst) {
  for (unsigned g = 0; g < 4; g++) {
    uint8_t codes[EM_GROUP];
    for (unsigned k = 0; k < EM_GROUP; k++)
      codes[k] = src[2 + 4 * g + k / 8] >> (k % 8) & 1;
    put_codes(codes, 1, r, dst + 64 * g);
  }
  store_u16(dst + 256 + 2 * r, load_u16(src));
}

static void pack_q2_0(const uint8_t *src, unsigned r, uint8_t *dst) {
  for (unsigned g = 0; g < 2; g++) {
    uint8_t codes[EM_GROUP];
    for (unsigned k = 0; k < EM_GROUP; k++)
      codes[k] = src[2 + 8 * g + k / 4] >> (2 * (k % 4)) & 3;
    put_codes(codes, 2, r, dst + 128 * g);
  }
  store_u16(dst + 256 + 2 * r, load_u16(src));
}

static void pack_tq2_0(const uint8_t *src, unsigned r, uint8_t *dst) {
  uint8_t codes[EM_GROUP];
  for (unsigned g = 0; g < 8; g++) {
    pairs_of(src, g, codes);
    put_codes(codes, 2, r, dst + 128 * g);
  }
  store_u16(dst + 8 * 128 + 2 * r, load_u16(src + 64));
}

/* Trits become pairs. */
static void pack_tq1_0(const uint8_t *src, unsigned r, uint8_t *dst) {
  uint8_t codes[EM_GROUP];
  float values[256], d = em_f16_to_f32(load_u16(src + 52));
  em_type_get(EM_TYPE_TQ1_0)->decode(src, values, 1);
  for (unsigned g = 0; g < 8; g++) {
    for (unsigned k = 0; k < EM_GROUP; k++)
      codes[k] = values[EM_GROUP * g + k] == 0 ? 1 : values[EM_GROUP * g + k] == d ? 2 : 0;
    put_codes(codes, 2, r, dst + 128 * g);
  }
  store_u16(dst + 8 * 128 + 2 * r, load_u16(src + 52));
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

static void pack_block(em_type type, const uint8_t *src, unsigned r, uint8_t *dst) {
  em_layout layout;
  switch (type) {
  case EM_TYPE_Q8_0:
    pack_q8_0(src, r, dst);
    break;
  case EM_TYPE_Q4_0:
  case EM_TYPE_IQ4_NL:
    pack_nibbles(src, 1, r, dst);
    break;
  case EM_TYPE_Q4_1:
    pack_nibbles(src, 2, r, dst);
    break;
  case EM_TYPE_Q5_0:
    pack_fives(src, 1, r, dst);
    break;
  case EM_TYPE_Q5_1:
    pack_fives(src, 2, r, dst);
    break;
  case EM_TYPE_Q2_K:
    pack_q2_k(src, r, dst);
    break;
  case EM_TYPE_Q3_K:
    pack_q3_k(src, r, dst);
    break;
  case EM_TYPE_Q4_K:
    pack_q45_k(src, false, r, dst);
    break;
  case EM_TYPE_Q5_K:
    pack_q45_k(src, true, r, dst);
    break;
  case EM_TYPE_Q6_K:
    pack_q6_k(src, r, dst);
    break;
  case EM_TYPE_IQ4_XS:
    pack_iq4_xs(src, r, dst);
    break;
  case EM_TYPE_MXFP4:
    pack_mxfp4(src, r, dst);
    break;
  case EM_TYPE_NVFP4:
    pack_nvfp4(src, r, dst);
    break;
  case EM_TYPE_Q1_0:
    pack_q1_0(src, r, dst);
    break;
  case EM_TYPE_Q2_0:
    pack_q2_0(src, r, dst);
    break;
  case EM_TYPE_TQ1_0:
    pack_tq1_0(src, r, dst);
    break;
  case EM_TYPE_TQ2_0:
    pack_tq2_0(src, r, dst);
    break;
  default:
    if (em_layout_of_type(type, &layout))
      pack_iq(type, layout, src, r, dst);
    break;
  }
}

static void pack_row(em_type type, em_layout layout, size_t n_in, const uint8_t *src, unsigned r, uint8_t *dst) {
  const em_type_info *info = em_type_get(type);
  for (size_t k = 0; layout == EM_LAYOUT_F32 && k < n_in; k++)
    memcpy(dst + (k * EM_PANEL + r) * 4, src + 4 * k, 4);
  for (size_t k = 0; (layout == EM_LAYOUT_F16 || layout == EM_LAYOUT_BF16) && k < n_in; k++)
    memcpy(dst + (k * EM_PANEL + r) * 2, src + 2 * k, 2);
  if (!em_layout_is_quantised(layout))
    return;
  size_t block_bytes = (size_t)em_panel_bytes(layout, info->block_len);
  for (size_t b = 0; b < n_in / info->block_len; b++)
    pack_block(type, src + b * info->block_bytes, r, dst + b * block_bytes);
}

void em_pack_panel(em_type type, size_t n_in, const uint8_t *const rows[EM_PANEL], uint8_t *dst) {
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
      pack_row(type, layout, n_in, rows[r], r, dst);
  }
}
