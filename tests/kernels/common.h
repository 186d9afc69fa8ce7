/* What the kernel tests share: random numbers, guarded memory, errors against a float64 reference, and the one table of
 * tolerances. */
#pragma once

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"
#include "tests/check.h"

/* The largest error of a kernel, relative to the sum of the magnitudes that it adds (products), to the value (rows), or as
 * the sum of squares of the errors over that of the values (stages). */
typedef struct tolerance {
  double product;   /* the same quantised operands, other order of float32 sums */
  double row;       /* norm, rotation, merge: a few roundings */
  double exponent;  /* exp and what is made of it */
  double attention; /* float32 sums over up to 256 positions */
  double stage_float, stage_quantised; /* NMSE of a whole linear stage: float weights; activations rounded to 8 bits */
  double stage_attention[3];           /* NMSE by KV type: F32, F16, Q8_0 */

  /* NMSE of a row on a graphics device beside the processor's scalar kernels. */
  double device_embed;        /* decoding: the same products, one rounding more or less where a block has a minimum */
  double device_rope;         /* a head's norm and rotation: a sum in another order, a few roundings, sine and cosine the same */
  double device_norm;         /* a norm and a float product: sums in another order */
  double device_linear;       /* float products: sums in another order, exp */
  double device_rounded;      /* products of activations rounded to 8 bits, or of halves */
  double device_attention[3]; /* by KV type: exp, sums in another order, now and then a stored value that rounds the other way */
  double device_halves[3];    /* the same where the driver rounds halves as it likes: any stored value may be either neighbour,
                                 and a scale that is another half makes one in sixteen of its 8-bit values another */
} tolerance;

static const tolerance tolerances = {
    .product = 2e-6,
    .row = 1e-6,
    .exponent = 2e-6,
    .attention = 5e-6,
    .stage_float = 1e-11,
    .stage_quantised = 1e-4,
    .stage_attention = {1e-11, 1e-6, 2e-4},
    .device_embed = 1e-13,
    .device_rope = 1e-12,
    .device_norm = 1e-11,
    .device_linear = 1e-11,
    .device_rounded = 5e-4,
    .device_attention = {1e-11, 1e-9, 1e-7},
    .device_halves = {1e-11, 2e-7, 5e-5},
};

static uint64_t random_state = 88172645463325252u;

static inline uint32_t random_bits(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (uint32_t)(random_state >> 32);
}

/* Uniform in -1 .. 1. */
static inline float random_float(void) {
  return (float)((double)random_bits() / 2147483648.0 - 1.0);
}

static inline void random_floats(float *x, size_t n) {
  for (size_t i = 0; i < n; i++)
    x[i] = random_float();
}

/* Memory of n bytes, 64-byte aligned, between two guards; what lies inside is `fill` at first. */
#define GUARD_BYTES 256u
#define GUARD_BYTE 0xA5

static inline void *guarded_new(size_t n, int fill) {
  uint8_t *memory = aligned_alloc(64, (n + 2 * GUARD_BYTES + 63) / 64 * 64);
  if (!memory)
    abort();
  memset(memory, GUARD_BYTE, (n + 2 * GUARD_BYTES + 63) / 64 * 64);
  memset(memory + GUARD_BYTES, fill, n);
  return memory + GUARD_BYTES;
}

/* Whether both guards are untouched. */
static inline int guarded_whole(const void *memory, size_t n) {
  const uint8_t *p = memory;
  for (size_t i = 1; i <= GUARD_BYTES; i++) {
    if (p[-(ptrdiff_t)i] != GUARD_BYTE || p[n + i - 1] != GUARD_BYTE)
      return 0;
  }
  return 1;
}

static inline void guarded_free(void *memory) {
  if (memory)
    free((uint8_t *)memory - GUARD_BYTES);
}

/* Random blocks of a type, with values in about -1 .. 1; types without an encoder get random bits and tame scales. */
static inline void random_blocks(em_type type, uint8_t *dst, size_t n_values) {
  const em_type_info *info = em_type_get(type);
  size_t n_blocks = n_values / info->block_len;
  float *values = malloc(n_values * sizeof *values);
  if (!values)
    abort();
  random_floats(values, n_values);
  if (info->encode) {
    info->encode(values, dst, n_blocks);
    free(values);
    return;
  }
  for (size_t i = 0; i < n_blocks * info->block_bytes; i++)
    dst[i] = (uint8_t)random_bits();
  for (size_t b = 0; b < n_blocks; b++, dst += info->block_bytes) {
    switch (type) {
    case EM_TYPE_MXFP4:
      dst[0] = (uint8_t)(120 + random_bits() % 6);
      break;
    case EM_TYPE_NVFP4:
      break; /* whatever stands there is at most 448 */
    case EM_TYPE_IQ1_M:
      /* 0.0078 has its bits in the top nibbles of four words. */
      for (int i = 0; i < 4; i++)
        dst[49 + 2 * i] = (uint8_t)((dst[49 + 2 * i] & 15) | (i == 3 ? 0x20 : 0));
      break;
    default: {
      /* One or two halves, 0.0078 and 0.0156, at the start or (after scales and quants) at the end. */
      bool last = type == EM_TYPE_Q2_K || type == EM_TYPE_Q3_K || type == EM_TYPE_TQ1_0 || type == EM_TYPE_TQ2_0;
      size_t n = type == EM_TYPE_Q4_1 || type == EM_TYPE_Q5_1 || type == EM_TYPE_Q5_K || type == EM_TYPE_Q2_K ? 4 : 2;
      memcpy(dst + (last ? info->block_bytes - n : 0), "\x00\x20\x00\x24", n);
    }
    }
  }
  free(values);
}
