/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Block formats: sizes, small vectors worked out by hand, and the encoders against the decoders. */
#include "check.h"
#include "gguf/format.h"

#include <stdint.h>

static void check_table(void) {
  static const struct {
    uint32_t type, len, bytes;
    const char *name;
  } sizes[] = {
    { 0, 1, 4, "F32" },      { 1, 1, 2, "F16" },        { 2, 32, 18, "Q4_0" },      { 3, 32, 20, "Q4_1" },
    { 6, 32, 22, "Q5_0" },   { 7, 32, 24, "Q5_1" },     { 8, 32, 34, "Q8_0" },      { 10, 256, 84, "Q2_K" },
    { 11, 256, 110, "Q3_K" }, { 12, 256, 144, "Q4_K" }, { 13, 256, 176, "Q5_K" },   { 14, 256, 210, "Q6_K" },
    { 16, 256, 66, "IQ2_XXS" }, { 17, 256, 74, "IQ2_XS" }, { 18, 256, 98, "IQ3_XXS" }, { 19, 256, 50, "IQ1_S" },
    { 20, 32, 18, "IQ4_NL" }, { 21, 256, 110, "IQ3_S" }, { 22, 256, 82, "IQ2_S" },  { 23, 256, 136, "IQ4_XS" },
    { 24, 1, 1, "I8" },      { 25, 1, 2, "I16" },       { 26, 1, 4, "I32" },        { 27, 1, 8, "I64" },
    { 28, 1, 8, "F64" },     { 29, 256, 56, "IQ1_M" },  { 30, 1, 2, "BF16" },       { 34, 256, 54, "TQ1_0" },
    { 35, 256, 66, "TQ2_0" }, { 39, 32, 17, "MXFP4" },  { 40, 64, 36, "NVFP4" },    { 41, 128, 18, "Q1_0" },
    { 42, 64, 18, "Q2_0" },
  };
  uint32_t n_known = 0;
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    const em_type_info *info = em_type_get(sizes[i].type);
    CHECK(info);
    if (!info)
      continue;
    CHECK_TEXT(info->name, sizes[i].name);
    CHECK_INT(info->block_len, sizes[i].len);
    CHECK_INT(info->block_bytes, sizes[i].bytes);
  }
  for (uint32_t type = 0; type < 100; type++)
    n_known += em_type_get(type) != NULL;
  CHECK_INT(n_known, sizeof sizes / sizeof *sizes);
  CHECK(!em_type_get(UINT32_MAX));

  uint64_t bytes = 1;
  CHECK(em_type_row_bytes(EM_TYPE_Q4_K, 512, &bytes) && bytes == 288);
  CHECK(!em_type_row_bytes(EM_TYPE_Q4_K, 511, &bytes));
  CHECK(!em_type_row_bytes(4, 32, &bytes));
  CHECK(!em_type_row_bytes(EM_TYPE_F32, UINT64_MAX / 2, &bytes) && bytes == 288);
}

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

static float of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

static void check_halves(void) {
  CHECK(em_f16_to_f32(0x3c00) == 1.0f && em_f16_to_f32(0xc000) == -2.0f && em_f16_to_f32(0x7bff) == 65504.0f);
  CHECK(em_f16_to_f32(0x0001) == 0x1p-24f && em_f16_to_f32(0x03ff) == 0x1.ff8p-15f && em_f16_to_f32(0x0400) == 0x1p-14f);
  CHECK(isinf(em_f16_to_f32(0x7c00)) && em_f16_to_f32(0xfc00) < 0 && isnan(em_f16_to_f32(0x7e00)));
  CHECK(bits_of(em_f16_to_f32(0x8000)) == 0x80000000u);
  /* Every half comes back, and what lies between two neighbours goes to the nearer, in the middle to the even one. */
  int wrong = 0;
  for (uint32_t h = 0; h < 0x7c00; h++) {
    float here = em_f16_to_f32((uint16_t)h), next = h == 0x7bff ? 65536.0f : em_f16_to_f32((uint16_t)(h + 1));
    float middle = here + (next - here) / 2;
    uint32_t even = h & 1 ? h + 1 : h;
    wrong += em_f32_to_f16(here) != h || em_f32_to_f16(-here) != (h | 0x8000);
    wrong += em_f32_to_f16(middle) != even;
    wrong += em_f32_to_f16(of_bits(bits_of(middle) - 1)) != h || em_f32_to_f16(of_bits(bits_of(middle) + 1)) != h + 1;
  }
  CHECK_INT(wrong, 0);
  CHECK_INT(em_f32_to_f16(INFINITY), 0x7c00);
  CHECK_INT(em_f32_to_f16(-1e30f), 0xfc00);
  CHECK(isnan(em_f16_to_f32(em_f32_to_f16(NAN))));
  CHECK(isnan(em_f16_to_f32(em_f32_to_f16(of_bits(0x7f800001)))));

  CHECK(em_bf16_to_f32(0x3f80) == 1.0f);
  CHECK_INT(em_f32_to_bf16(of_bits(0x3f808000)), 0x3f80);
  CHECK_INT(em_f32_to_bf16(of_bits(0x3f818000)), 0x3f82);
  CHECK_INT(em_f32_to_bf16(of_bits(0x3f808001)), 0x3f81);
  CHECK_INT(em_f32_to_bf16(of_bits(0x7f7fffff)), 0x7f80);
  CHECK(isnan(em_bf16_to_f32(em_f32_to_bf16(of_bits(0x7f800001)))));
}

/* Decodes one block from an odd address. */
static void decode(em_type type, const uint8_t *block, float *out) {
  const em_type_info *info = em_type_get(type);
  uint8_t *copy = malloc(info->block_bytes + 1u);
  memcpy(copy + 1, block, info->block_bytes);
  info->decode(copy + 1, out, 1);
  free(copy);
}

static void check_by_hand(void) {
  float out[256];
  uint8_t q4_0[18] = { 0x00, 0x40, 0x0f, 0x80 }; /* d = 2 */
  decode(EM_TYPE_Q4_0, q4_0, out);
  CHECK(out[0] == 14 && out[16] == -16 && out[1] == -16 && out[17] == 0 && out[2] == -16);

  uint8_t q4_1[20] = { 0x00, 0x3c, 0x00, 0xbc, 0x5f }; /* d = 1, m = -1 */
  decode(EM_TYPE_Q4_1, q4_1, out);
  CHECK(out[0] == 14 && out[16] == 4 && out[1] == -1);

  uint8_t q5_0[22] = { 0x00, 0x3c, 0x01, 0x00, 0x01, 0x00, 0x21 }; /* fifth bits of values 0 and 16 */
  decode(EM_TYPE_Q5_0, q5_0, out);
  CHECK(out[0] == 1 && out[16] == 2 && out[1] == -16 && out[17] == -16);

  uint8_t q5_1[24] = { 0x00, 0x3c, 0x00, 0x38, 0x00, 0x00, 0x00, 0x80, [23] = 0x30 }; /* m = 0.5; fifth bit of value 31 */
  decode(EM_TYPE_Q5_1, q5_1, out);
  CHECK(out[31] == 19.5f && out[15] == 0.5f);

  uint8_t q8_0[34] = { 0x00, 0x38, 0x80, 0x7f };
  decode(EM_TYPE_Q8_0, q8_0, out);
  CHECK(out[0] == -64 && out[1] == 63.5f && out[2] == 0);

  uint8_t mxfp4[17] = { 127, 0x71 }; /* 2^0; 0.5 and 6 */
  decode(EM_TYPE_MXFP4, mxfp4, out);
  CHECK(out[0] == 0.5f && out[16] == 6);

  uint8_t q1_0[18] = { 0x00, 0x3c, 0x05 };
  decode(EM_TYPE_Q1_0, q1_0, out);
  CHECK(out[0] == 1 && out[1] == -1 && out[2] == 1 && out[127] == -1);

  uint8_t q2_0[18] = { 0x00, 0x3c, 0x1b };
  decode(EM_TYPE_Q2_0, q2_0, out);
  CHECK(out[0] == 2 && out[1] == 1 && out[2] == 0 && out[3] == -1 && out[4] == -1);

  uint8_t q6_k[210] = { [0] = 0x2f, [128] = 0x03, [192] = 2, [192 + 4] = 0xff, [209] = 0x3c }; /* d = 1 */
  decode(EM_TYPE_Q6_K, q6_k, out);
  CHECK(out[0] == 2 * (0x3f - 32) && out[64] == -(2 - 32) && out[1] == 2 * -32 && out[16] == 0);

  uint8_t bf16[2] = { 0x80, 0x3f };
  decode(EM_TYPE_BF16, bf16, out);
  CHECK(out[0] == 1);
  double one_third = 1.0 / 3;
  uint8_t f64[8];
  memcpy(f64, &one_third, 8);
  decode(EM_TYPE_F64, f64, out);
  CHECK(out[0] == 1.0f / 3);
}

static uint64_t random_state = 1;

static float random_normal(void) {
  float sum = -6;
  for (int i = 0; i < 12; i++) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    sum += (float)(random_state >> 40) * 0x1p-24f;
  }
  return sum;
}

/* The squared error of encoding and decoding, as a share of the sum of squares. */
static double encoding_error(const em_type_info *info, const float *x, size_t n) {
  size_t n_blocks = n / info->block_len;
  uint8_t *blocks = malloc(n_blocks * info->block_bytes);
  float *back = malloc(n * sizeof *back);
  info->encode(x, blocks, n_blocks);
  info->decode(blocks, back, n_blocks);
  double error = 0, total = 0;
  for (size_t i = 0; i < n; i++) {
    error += pow((double)x[i] - (double)back[i], 2);
    total += pow((double)x[i], 2);
  }
  free(blocks);
  free(back);
  return error / total;
}

static void check_encoders(void) {
  /* Bounds on normally distributed values: a little above what uniform steps over their range must lose. */
  static const struct {
    em_type type;
    double bound;
  } cases[] = {
    { EM_TYPE_F32, 0 },         { EM_TYPE_F16, 1e-7 },    { EM_TYPE_BF16, 1e-5 },   { EM_TYPE_Q8_0, 4e-5 },
    { EM_TYPE_Q6_K, 5e-4 },     { EM_TYPE_Q4_K, 7e-3 },   { EM_TYPE_Q4_0, 9e-3 },
  };
  enum { N = 256 * 64 };
  float *x = malloc(N * sizeof *x);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const em_type_info *info = em_type_get(cases[i].type);
    CHECK(info->encode);
    for (int scale = -2; scale <= 2; scale++) {
      for (size_t j = 0; j < N; j++)
        x[j] = random_normal() * powf(10, (float)scale);
      double error = encoding_error(info, x, N);
      if (!(error <= cases[i].bound))
        printf("%s at 1e%d: %g\n", info->name, scale, error);
      CHECK(error <= cases[i].bound);
    }
    /* Zeros stay zeros; constants and values of one sign are kept. */
    float out[256];
    uint8_t block[1024];
    for (int kind = 0; kind < 3; kind++) {
      for (int j = 0; j < 256; j++)
        x[j] = kind == 0 ? 0 : kind == 1 ? 3 : -1 - (float)j / 512;
      info->encode(x, block, 256 / info->block_len);
      info->decode(block, out, 256 / info->block_len);
      for (int j = 0; j < 256; j++)
        if (fabsf(out[j] - x[j]) > 0.07f * fabsf(x[j])) {
          printf("%s: %g became %g\n", info->name, (double)x[j], (double)out[j]);
          CHECK(!"a plain value was not kept");
          break;
        }
    }
    /* What is no number is encoded to something, without harm. */
    for (int j = 0; j < 256; j++)
      x[j] = j % 3 == 0 ? NAN : j % 3 == 1 ? INFINITY : -1e38f;
    info->encode(x, block, 256 / info->block_len);
  }
  free(x);
}

int main(void) {
  check_table();
  check_halves();
  check_by_hand();
  check_encoders();
  return check_done();
}
