/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gguf/format.h"

#include "base/checked.h"
#include "gguf/blocks.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "blocks and metadata are used in the byte order of the file");

/* --- Half and brain floats ---------------------------------------------------------------------------------------- */

static float f32_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static uint32_t bits_of_f32(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

float em_f16_to_f32(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 0x1f, mantissa = half & 0x3ff;
  if (exponent == 0x1f)
    return f32_of_bits(sign | 0x7f800000u | mantissa << 13);
  if (exponent)
    return f32_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
  /* A subnormal is a count of 2^-24, which float32 holds exactly. */
  float magnitude = (float)mantissa * 0x1p-24f;
  return sign ? -magnitude : magnitude;
}

uint16_t em_f32_to_f16(float value) {
  uint32_t bits = bits_of_f32(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) /* NaN: stays quiet, keeps the upper payload */
    return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
  if (magnitude >= 0x477ff000) /* 65520 and more round to infinity */
    return (uint16_t)(sign | 0x7c00);
  if (magnitude < 0x38800000) {
    /* Below 2^-14 the result counts 2^-24. Adding 0.5 puts that bit at the end of the mantissa, so that the processor's own
     * rounding to nearest even does the work. */
    float shifted = f32_of_bits(magnitude) + 0.5f;
    return (uint16_t)(sign | (bits_of_f32(shifted) - 0x3f000000u));
  }
  uint32_t odd = magnitude >> 13 & 1;
  return (uint16_t)(sign | ((magnitude - (112u << 23) + 0xfff + odd) >> 13));
}

float em_bf16_to_f32(uint16_t value) {
  return f32_of_bits((uint32_t)value << 16);
}

uint16_t em_f32_to_bf16(float value) {
  uint32_t bits = bits_of_f32(value);
  if ((bits & 0x7fffffff) > 0x7f800000)
    return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* --- Decoding ----------------------------------------------------------------------------------------------------- */

static float read_f16(const uint8_t *src) {
  uint16_t half;
  memcpy(&half, src, sizeof half);
  return em_f16_to_f32(half);
}

static void decode_f32(const void *src, float *dst, size_t n_blocks) {
  memcpy(dst, src, n_blocks * sizeof *dst);
}

static void decode_f64(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t i = 0; i < n_blocks; i++, s += 8) {
    double value;
    memcpy(&value, s, sizeof value);
    dst[i] = (float)value;
  }
}

static void decode_f16(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t i = 0; i < n_blocks; i++, s += 2)
    dst[i] = read_f16(s);
}

static void decode_bf16(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t i = 0; i < n_blocks; i++, s += 2) {
    uint16_t value;
    memcpy(&value, s, sizeof value);
    dst[i] = em_bf16_to_f32(value);
  }
}

/* 32 values in two halves: the low nibbles, then the high nibbles. Q4_0: d, qs[16]; value (q - 8) d. */
static void decode_q4_0(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 18, dst += 32) {
    float d = read_f16(s);
    for (int j = 0; j < 16; j++) {
      dst[j] = (float)((s[2 + j] & 15) - 8) * d;
      dst[j + 16] = (float)((s[2 + j] >> 4) - 8) * d;
    }
  }
}

/* d, m, qs[16]; value q d + m. */
static void decode_q4_1(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 20, dst += 32) {
    float d = read_f16(s), m = read_f16(s + 2);
    for (int j = 0; j < 16; j++) {
      dst[j] = (float)(s[4 + j] & 15) * d + m;
      dst[j + 16] = (float)(s[4 + j] >> 4) * d + m;
    }
  }
}

/* The fifth bits: bit j of a 32-bit number belongs to value j. */
static int fifth_bit(const uint8_t *high, int j) {
  return (high[j / 8] >> (j % 8) & 1) << 4;
}

/* d, qh[4], qs[16]; value (q - 16) d. */
static void decode_q5_0(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 22, dst += 32) {
    float d = read_f16(s);
    for (int j = 0; j < 16; j++) {
      dst[j] = (float)(((s[6 + j] & 15) | fifth_bit(s + 2, j)) - 16) * d;
      dst[j + 16] = (float)((s[6 + j] >> 4 | fifth_bit(s + 2, j + 16)) - 16) * d;
    }
  }
}

/* d, m, qh[4], qs[16]; value q d + m. */
static void decode_q5_1(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 24, dst += 32) {
    float d = read_f16(s), m = read_f16(s + 2);
    for (int j = 0; j < 16; j++) {
      dst[j] = (float)((s[8 + j] & 15) | fifth_bit(s + 4, j)) * d + m;
      dst[j + 16] = (float)(s[8 + j] >> 4 | fifth_bit(s + 4, j + 16)) * d + m;
    }
  }
}

/* d, qs[32] signed; value q d. */
static void decode_q8_0(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 34, dst += 32) {
    float d = read_f16(s);
    for (int j = 0; j < 32; j++)
      dst[j] = (float)(int8_t)s[2 + j] * d;
  }
}

/* scales[16], qs[64], d, dmin. Two bits a value: half n of the block, shift pair j, index l in the run of 32; the group of 16
 * is 8n + 2j + l/16 and its scale and minimum are the low and the high nibble of its scales byte. */
static void decode_q2_k(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 84, dst += 256) {
    float d = read_f16(s + 80), dmin = read_f16(s + 82);
    for (int i = 0; i < 256; i++) {
      int half = i / 128, shift = i % 128 / 32 * 2, scale = s[i / 16];
      int q = s[16 + half * 32 + i % 32] >> shift & 3;
      dst[i] = d * (float)(scale & 15) * (float)q - dmin * (float)(scale >> 4);
    }
  }
}

/* hmask[32], qs[64], scales[12], d. Two low bits as in Q2_K; where the mask's bit is clear, 4 is subtracted. The 6-bit scales
 * have their low four bits in scales[0..8) and their high two bits in scales[8..12). */
static void decode_q3_k(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 110, dst += 256) {
    const uint8_t *scales = s + 96;
    float d = read_f16(s + 108);
    for (int i = 0; i < 256; i++) {
      int half = i / 128, pair = i % 128 / 32, group = i / 16;
      int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
      int scale = low | (scales[8 + group % 4] >> (group / 4 * 2) & 3) << 4;
      int q = s[32 + half * 32 + i % 32] >> (pair * 2) & 3;
      if (!(s[i % 32] >> (half * 4 + pair) & 1))
        q -= 4;
      dst[i] = d * (float)(scale - 32) * (float)q;
    }
  }
}

void em_q4_k_scale(const uint8_t scales[12], int group, int *scale, int *minimum) {
  if (group < 4) {
    *scale = scales[group] & 63;
    *minimum = scales[group + 4] & 63;
  } else {
    *scale = (scales[group + 4] & 15) | scales[group - 4] >> 6 << 4;
    *minimum = scales[group + 4] >> 4 | scales[group] >> 6 << 4;
  }
}

/* d, dmin, scales[12], qs[128]. Each run of 32 bytes holds two groups of 32: low nibbles, then high nibbles. */
static void decode_q4_k(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 144, dst += 256) {
    float d = read_f16(s), dmin = read_f16(s + 2);
    for (int group = 0; group < 8; group++) {
      int scale, minimum;
      em_q4_k_scale(s + 4, group, &scale, &minimum);
      float ds = d * (float)scale, m = dmin * (float)minimum;
      for (int l = 0; l < 32; l++) {
        int q = s[16 + group / 2 * 32 + l] >> (group % 2 * 4) & 15;
        dst[group * 32 + l] = ds * (float)q - m;
      }
    }
  }
}

/* d, dmin, scales[12], qh[32], qs[128]. As Q4_K, with the fifth bit of group g in bit g of qh. */
static void decode_q5_k(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 176, dst += 256) {
    float d = read_f16(s), dmin = read_f16(s + 2);
    for (int group = 0; group < 8; group++) {
      int scale, minimum;
      em_q4_k_scale(s + 4, group, &scale, &minimum);
      float ds = d * (float)scale, m = dmin * (float)minimum;
      for (int l = 0; l < 32; l++) {
        int q = (s[48 + group / 2 * 32 + l] >> (group % 2 * 4) & 15) | (s[16 + l] >> group & 1) << 4;
        dst[group * 32 + l] = ds * (float)q - m;
      }
    }
  }
}

/* ql[128], qh[64], scales[16] signed, d. Quarter k of each half of 128 has its low bits in ql and its high two bits in qh. */
static void decode_q6_k(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 210, dst += 256) {
    float d = read_f16(s + 208);
    for (int i = 0; i < 256; i++) {
      int half = i / 128, quarter = i % 128 / 32, l = i % 32;
      int low = s[half * 64 + quarter % 2 * 32 + l] >> (quarter / 2 * 4) & 15;
      int high = s[128 + half * 32 + l] >> (quarter * 2) & 3;
      dst[i] = d * (float)(int8_t)s[192 + i / 16] * (float)((low | high << 4) - 32);
    }
  }
}

const int8_t em_iq4_numbers[16] = {
  -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
};

/* d, qs[16]; value d T[q], nibbles as in Q4_0. */
static void decode_iq4_nl(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 18, dst += 32) {
    float d = read_f16(s);
    for (int j = 0; j < 16; j++) {
      dst[j] = d * (float)em_iq4_numbers[s[2 + j] & 15];
      dst[j + 16] = d * (float)em_iq4_numbers[s[2 + j] >> 4];
    }
  }
}

/* d, scales_h (u16), scales_l[4], qs[128]; groups of 32 as IQ4_NL, each with a 6-bit scale. */
static void decode_iq4_xs(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 136, dst += 256) {
    float d = read_f16(s);
    int high = s[2] | s[3] << 8;
    for (int group = 0; group < 8; group++) {
      int scale = (s[4 + group / 2] >> (group % 2 * 4) & 15) | (high >> (group * 2) & 3) << 4;
      float ds = d * (float)(scale - 32);
      for (int j = 0; j < 16; j++) {
        uint8_t q = s[8 + group * 16 + j];
        dst[group * 32 + j] = ds * (float)em_iq4_numbers[q & 15];
        dst[group * 32 + j + 16] = ds * (float)em_iq4_numbers[q >> 4];
      }
    }
  }
}

/* The values of 4-bit floats (two exponent bits, one mantissa bit), doubled so that they are whole. */
const int8_t em_fp4_numbers[16] = { 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12 };

/* e, qs[16]; value 2^(e - 128) T[q], which is the power of two 2^(e - 127) halved for the doubled table. */
static void decode_mxfp4(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 17, dst += 32) {
    uint32_t e = s[0];
    float d = f32_of_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23);
    for (int j = 0; j < 16; j++) {
      dst[j] = d * (float)em_fp4_numbers[s[1 + j] & 15];
      dst[j + 16] = d * (float)em_fp4_numbers[s[1 + j] >> 4];
    }
  }
}

/* An unsigned 8-bit float: four exponent bits with bias 7, three mantissa bits; 0x7F stands for no value and reads as 0. */
static float ue4m3(uint8_t bits) {
  int exponent = bits >> 3 & 15, mantissa = bits & 7;
  if (bits == 0x7f)
    return 0;
  if (exponent == 0)
    return (float)mantissa * 0x1p-9f;
  return (float)(8 + mantissa) * f32_of_bits((uint32_t)(exponent - 10 + 127) << 23);
}

/* d[4], qs[32]; four groups of 16: the low nibbles of 8 bytes, then the high ones; value 0.5 d T[q]. */
static void decode_nvfp4(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 36, dst += 64) {
    for (int group = 0; group < 4; group++) {
      float d = 0.5f * ue4m3(s[group]);
      for (int j = 0; j < 8; j++) {
        uint8_t q = s[4 + group * 8 + j];
        dst[group * 16 + j] = d * (float)em_fp4_numbers[q & 15];
        dst[group * 16 + j + 8] = d * (float)em_fp4_numbers[q >> 4];
      }
    }
  }
}

/* d, qs[16]; 128 values of one bit: d or -d. */
static void decode_q1_0(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 18, dst += 128) {
    float d = read_f16(s);
    for (int j = 0; j < 128; j++)
      dst[j] = s[2 + j / 8] >> (j % 8) & 1 ? d : -d;
  }
}

/* d, qs[16]; 64 values of two bits: (q - 1) d. */
static void decode_q2_0(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 18, dst += 64) {
    float d = read_f16(s);
    for (int j = 0; j < 64; j++)
      dst[j] = (float)((s[2 + j / 4] >> (j % 4 * 2) & 3) - 1) * d;
  }
}

/* Digit n of a byte that holds base-3 digits as a fraction of 256: multiply by 3^n modulo 256, then the top digit is what
 * three times that carries out of the byte. */
static int trit(uint8_t byte, int n) {
  static const uint8_t powers[5] = { 1, 3, 9, 27, 81 };
  uint8_t shifted = (uint8_t)(byte * powers[n]);
  return shifted * 3 >> 8;
}

/* qs[48], qh[4], d; value (trit - 1) d. Five runs of 32 from the first 32 bytes, five of 16 from the next 16, and four of
 * 4 from qh. */
static void decode_tq1_0(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 54) {
    float d = read_f16(s + 52);
    for (int n = 0; n < 5; n++)
      for (int m = 0; m < 32; m++)
        *dst++ = (float)(trit(s[m], n) - 1) * d;
    for (int n = 0; n < 5; n++)
      for (int m = 32; m < 48; m++)
        *dst++ = (float)(trit(s[m], n) - 1) * d;
    for (int n = 0; n < 4; n++)
      for (int m = 48; m < 52; m++)
        *dst++ = (float)(trit(s[m], n) - 1) * d;
  }
}

/* qs[64], d; value (q - 1) d: for each 32 bytes, four runs of 32 at shifts 0, 2, 4, 6. */
static void decode_tq2_0(const void *src, float *dst, size_t n_blocks) {
  const uint8_t *s = src;
  for (size_t b = 0; b < n_blocks; b++, s += 66) {
    float d = read_f16(s + 64);
    for (int j = 0; j < 64; j += 32)
      for (int shift = 0; shift < 8; shift += 2)
        for (int m = 0; m < 32; m++)
          *dst++ = (float)((s[j + m] >> shift & 3) - 1) * d;
  }
}

/* --- The table ---------------------------------------------------------------------------------------------------- */

static const em_type_info types[EM_N_TYPES] = {
  [EM_TYPE_F32] = { "F32", 1, 4, decode_f32, em_encode_f32 },
  [EM_TYPE_F16] = { "F16", 1, 2, decode_f16, em_encode_f16 },
  [EM_TYPE_Q4_0] = { "Q4_0", 32, 18, decode_q4_0, em_encode_q4_0 },
  [EM_TYPE_Q4_1] = { "Q4_1", 32, 20, decode_q4_1, NULL },
  [EM_TYPE_Q5_0] = { "Q5_0", 32, 22, decode_q5_0, NULL },
  [EM_TYPE_Q5_1] = { "Q5_1", 32, 24, decode_q5_1, NULL },
  [EM_TYPE_Q8_0] = { "Q8_0", 32, 34, decode_q8_0, em_encode_q8_0 },
  [EM_TYPE_Q2_K] = { "Q2_K", 256, 84, decode_q2_k, NULL },
  [EM_TYPE_Q3_K] = { "Q3_K", 256, 110, decode_q3_k, NULL },
  [EM_TYPE_Q4_K] = { "Q4_K", 256, 144, decode_q4_k, em_encode_q4_k },
  [EM_TYPE_Q5_K] = { "Q5_K", 256, 176, decode_q5_k, NULL },
  [EM_TYPE_Q6_K] = { "Q6_K", 256, 210, decode_q6_k, em_encode_q6_k },
  [EM_TYPE_IQ2_XXS] = { "IQ2_XXS", 256, 66, em_decode_iq2_xxs, NULL },
  [EM_TYPE_IQ2_XS] = { "IQ2_XS", 256, 74, em_decode_iq2_xs, NULL },
  [EM_TYPE_IQ3_XXS] = { "IQ3_XXS", 256, 98, em_decode_iq3_xxs, NULL },
  [EM_TYPE_IQ1_S] = { "IQ1_S", 256, 50, em_decode_iq1_s, NULL },
  [EM_TYPE_IQ4_NL] = { "IQ4_NL", 32, 18, decode_iq4_nl, NULL },
  [EM_TYPE_IQ3_S] = { "IQ3_S", 256, 110, em_decode_iq3_s, NULL },
  [EM_TYPE_IQ2_S] = { "IQ2_S", 256, 82, em_decode_iq2_s, NULL },
  [EM_TYPE_IQ4_XS] = { "IQ4_XS", 256, 136, decode_iq4_xs, NULL },
  [EM_TYPE_I8] = { "I8", 1, 1, NULL, NULL },
  [EM_TYPE_I16] = { "I16", 1, 2, NULL, NULL },
  [EM_TYPE_I32] = { "I32", 1, 4, NULL, NULL },
  [EM_TYPE_I64] = { "I64", 1, 8, NULL, NULL },
  [EM_TYPE_F64] = { "F64", 1, 8, decode_f64, NULL },
  [EM_TYPE_IQ1_M] = { "IQ1_M", 256, 56, em_decode_iq1_m, NULL },
  [EM_TYPE_BF16] = { "BF16", 1, 2, decode_bf16, em_encode_bf16 },
  [EM_TYPE_TQ1_0] = { "TQ1_0", 256, 54, decode_tq1_0, NULL },
  [EM_TYPE_TQ2_0] = { "TQ2_0", 256, 66, decode_tq2_0, NULL },
  [EM_TYPE_MXFP4] = { "MXFP4", 32, 17, decode_mxfp4, NULL },
  [EM_TYPE_NVFP4] = { "NVFP4", 64, 36, decode_nvfp4, NULL },
  [EM_TYPE_Q1_0] = { "Q1_0", 128, 18, decode_q1_0, NULL },
  [EM_TYPE_Q2_0] = { "Q2_0", 64, 18, decode_q2_0, NULL },
};

const em_type_info *em_type_get(uint32_t type) {
  return type < EM_N_TYPES && types[type].name ? &types[type] : NULL;
}

bool em_type_row_bytes(uint32_t type, uint64_t n, uint64_t *out) {
  const em_type_info *info = em_type_get(type);
  return info && n % info->block_len == 0 && em_mul_u64(n / info->block_len, info->block_bytes, out);
}
