/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Encoding of tensors, for tests and tools. The aim is a small squared error by plain means: each group's scale (and minimum)
 * is found by trying a few candidates and fitting the best one to its rounded values by least squares. */
#include "gguf/blocks.h"
#include "gguf/format.h"

#include <math.h>
#include <string.h>

static void write_u16(uint8_t *dst, uint16_t value) {
  memcpy(dst, &value, sizeof value);
}

/* Rounds to the nearest whole number within low..high. A NaN gives low. */
static int round_within(float value, int low, int high) {
  if (!(value > (float)low))
    return low;
  if (value >= (float)high)
    return high;
  return (int)lrintf(value);
}

void em_encode_f32(const float *src, void *dst, size_t n_blocks) {
  memcpy(dst, src, n_blocks * sizeof *src);
}

void em_encode_f16(const float *src, void *dst, size_t n_blocks) {
  uint8_t *d = dst;
  for (size_t i = 0; i < n_blocks; i++)
    write_u16(d + i * 2, em_f32_to_f16(src[i]));
}

void em_encode_bf16(const float *src, void *dst, size_t n_blocks) {
  uint8_t *d = dst;
  for (size_t i = 0; i < n_blocks; i++)
    write_u16(d + i * 2, em_f32_to_bf16(src[i]));
}

/* The value of the largest magnitude, with its sign. */
static float extreme(const float *x, int n) {
  float best = 0;
  for (int i = 0; i < n; i++)
    if (fabsf(x[i]) > fabsf(best))
      best = x[i];
  return best;
}

/* The scale d that makes d * round(x / d), rounded within low..high, come nearest to x in squares. */
static float fit_scale(const float *x, int n, int low, int high) {
  float top = extreme(x, n), best_scale = 0;
  double best_gain = 0;
  if (top == 0)
    return 0;
  /* The extreme value falls on `low`, whose magnitude is one more than that of `high`; scales a little off it are tried
   * as well. For each, least squares gives the scale that suits the rounded values, and the gain is what the fit takes off
   * the sum of squares. */
  for (int step = -8; step <= 8; step++) {
    float inverse = ((float)low + 0.1f * (float)step) / top;
    double xq = 0, qq = 0;
    for (int i = 0; i < n; i++) {
      int q = round_within(x[i] * inverse, low, high);
      xq += (double)x[i] * q;
      qq += (double)q * q;
    }
    if (qq > 0 && xq * xq > best_gain * qq) {
      best_gain = xq * xq / qq;
      best_scale = (float)(xq / qq);
    }
  }
  return best_scale;
}

void em_encode_q8_0(const float *src, void *dst, size_t n_blocks) {
  uint8_t *to = dst;
  for (size_t b = 0; b < n_blocks; b++, to += 34, src += 32) {
    uint16_t half = em_f32_to_f16(fabsf(extreme(src, 32)) / 127);
    float d = em_f16_to_f32(half), inverse = d != 0 ? 1 / d : 0;
    write_u16(to, half);
    for (int j = 0; j < 32; j++)
      to[2 + j] = (uint8_t)round_within(src[j] * inverse, -127, 127);
  }
}

void em_encode_q4_0(const float *src, void *dst, size_t n_blocks) {
  uint8_t *to = dst;
  for (size_t b = 0; b < n_blocks; b++, to += 18, src += 32) {
    uint16_t half = em_f32_to_f16(fit_scale(src, 32, -8, 7));
    float d = em_f16_to_f32(half), inverse = d != 0 ? 1 / d : 0;
    write_u16(to, half);
    for (int j = 0; j < 16; j++) {
      int low = round_within(src[j] * inverse, -8, 7) + 8, high = round_within(src[j + 16] * inverse, -8, 7) + 8;
      to[2 + j] = (uint8_t)(low | high << 4);
    }
  }
}

/* The scale and minimum (both >= 0) that make scale * q - minimum, q in 0..15, come nearest to the 32 values of x. */
static void fit_scale_and_minimum(const float *x, float *scale, float *minimum) {
  float low = 0, high = 0;
  for (int i = 0; i < 32; i++) {
    low = fminf(low, x[i]);
    high = fmaxf(high, x[i]);
  }
  *scale = 0;
  *minimum = -low;
  if (!(high > low))
    return;
  double best_error = HUGE_VAL;
  for (int step = -8; step <= 12; step++) {
    float inverse = (15 + 0.125f * (float)step) / (high - low);
    double sq = 0, sqq = 0, sx = 0, sxq = 0, sxx = 0;
    for (int i = 0; i < 32; i++) {
      double q = round_within((x[i] - low) * inverse, 0, 15), v = x[i];
      sq += q;
      sqq += q * q;
      sx += v;
      sxq += v * q;
      sxx += v * v;
    }
    /* Least squares for x = a q - m over the 32 values. m may not be negative: where it would be, and where all q are equal,
     * the line goes through 0. */
    double det = 32 * sqq - sq * sq, a = 0, m = -1;
    if (det > 0) {
      a = (32 * sxq - sq * sx) / det;
      m = (a * sq - sx) / 32;
    }
    if (m < 0) {
      m = 0;
      a = sqq > 0 ? sxq / sqq : 0;
    }
    double error = sxx + a * a * sqq + 32 * m * m - 2 * a * sxq + 2 * m * sx - 2 * a * m * sq;
    if (a > 0 && error < best_error) {
      best_error = error;
      *scale = (float)a;
      *minimum = (float)m;
    }
  }
}

void em_encode_q4_k(const float *src, void *dst, size_t n_blocks) {
  uint8_t *to = dst;
  for (size_t b = 0; b < n_blocks; b++, to += 144, src += 256) {
    float scales[8], minima[8];
    for (int group = 0; group < 8; group++)
      fit_scale_and_minimum(src + group * 32, &scales[group], &minima[group]);
    uint16_t half = em_f32_to_f16(extreme(scales, 8) / 63), half_min = em_f32_to_f16(extreme(minima, 8) / 63);
    float d = em_f16_to_f32(half), dmin = em_f16_to_f32(half_min);
    float inverse = d != 0 ? 1 / d : 0, inverse_min = dmin != 0 ? 1 / dmin : 0;
    memset(to, 0, 144);
    write_u16(to, half);
    write_u16(to + 2, half_min);
    uint8_t *packed = to + 4;
    for (int group = 0; group < 8; group++) {
      int scale = round_within(scales[group] * inverse, 0, 63), minimum = round_within(minima[group] * inverse_min, 0, 63);
      if (group < 4) {
        packed[group] |= (uint8_t)scale;
        packed[group + 4] |= (uint8_t)minimum;
      } else {
        packed[group + 4] |= (uint8_t)((scale & 15) | (minimum & 15) << 4);
        packed[group - 4] |= (uint8_t)(scale >> 4 << 6);
        packed[group] |= (uint8_t)(minimum >> 4 << 6);
      }
      float ds = d * (float)scale, m = dmin * (float)minimum;
      for (int l = 0; l < 32; l++) {
        int q = ds != 0 ? round_within((src[group * 32 + l] + m) / ds, 0, 15) : 0;
        to[16 + group / 2 * 32 + l] |= (uint8_t)(q << (group % 2 * 4));
      }
    }
  }
}

void em_encode_q6_k(const float *src, void *dst, size_t n_blocks) {
  uint8_t *to = dst;
  for (size_t b = 0; b < n_blocks; b++, to += 210, src += 256) {
    float scales[16];
    for (int group = 0; group < 16; group++)
      scales[group] = fit_scale(src + group * 16, 16, -32, 31);
    /* The extreme scale takes -128, the end of the range with the larger magnitude. */
    uint16_t half = em_f32_to_f16(extreme(scales, 16) / -128);
    float d = em_f16_to_f32(half), inverse = d != 0 ? 1 / d : 0;
    memset(to, 0, 210);
    write_u16(to + 208, half);
    for (int i = 0; i < 256; i++) {
      int scale = round_within(scales[i / 16] * inverse, -128, 127);
      float ds = d * (float)scale;
      int q = (ds != 0 ? round_within(src[i] / ds, -32, 31) : 0) + 32;
      int part = i / 128, quarter = i % 128 / 32, l = i % 32;
      to[192 + i / 16] = (uint8_t)(int8_t)scale;
      to[part * 64 + quarter % 2 * 32 + l] |= (uint8_t)((q & 15) << (quarter / 2 * 4));
      to[128 + part * 32 + l] |= (uint8_t)(q >> 4 << (quarter * 2));
    }
  }
}
