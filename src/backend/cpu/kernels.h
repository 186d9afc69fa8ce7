/* The kernels of the processor backend: one table, filled from scalar C upwards by the instruction sets there are.
 *
 * The scalar functions are the specification: every other one computes the same formula on the same layouts (layout.h) with
 * the tolerance that tests/kernels names. Inside one table all functions that compute a product of the same layout add in the
 * same order, with the same roundings, so that 1 row, some rows and many rows give equal bits.
 *
 * Unless said otherwise pointers need no alignment, nothing aliases, and nothing is read or written outside the ranges named.
 */
#pragma once

#include "backend/cpu/layout.h"

/* y[c][r] = sum over k of w[r][k] * x[c][k], r < 16, c < n_cols.
 *   w: one panel; x: rows x_stride bytes apart, quantised (64-byte aligned) or float32 by the layout; y: float32 [n_cols][16].
 *   Quantised: for rising groups, acc += (float)dot * (scale * x.d), then acc -= minimum * x.sum; where halves have scales
 *   of their own, acc += dot for both, then acc -= minimum * x.sum16 for both. Floats:
 *   acc += w * x for rising k, or even and odd k apart and then added. */
typedef void (*em_dot_fn)(const uint8_t *w, size_t n_in, const uint8_t *x, size_t x_stride, size_t n_cols, float *y);

/* Unpacks k0 .. k0 + n_k of a panel (multiples of the layout's block) for em_mul_fn. dst is 64-byte aligned. */
typedef void (*em_unpack_fn)(const uint8_t *w, size_t k0, size_t n_k, uint8_t *dst);

/* The product of em_dot_fn for two unpacked panels and n_k of k, adding to y (or starting from 0).
 *   w0, w1: unpacked panels, 64-byte aligned; x: the blocks of these k, rows x_stride bytes apart;
 *   y: float32 [n_cols][32], 64-byte aligned: panel 0's rows, then panel 1's. */
typedef void (*em_mul_fn)(const uint8_t *w0, const uint8_t *w1, size_t n_k, const uint8_t *x, size_t x_stride,
                          size_t n_cols, bool add, float *y);

/* What becomes of one panel's products, r < n <= 16, row i < n_rows, z_p = y[p][i][r] * w_scale[p] + bias[p][r]:
 *   finish:     out[i][r] = cap(scale * z_0) + residual[i][r]; cap(z) = softcap * tanh(z / softcap), or z where softcap is 0
 *   finish_act: out[i][r] = act(z_0) or act(z_0, z_1); with clamp > 0 silu(z_0) is at most clamp and z_1 in -clamp .. clamp
 * Strides in floats. out may be residual. The relative error of exp is at most 3e-7 between -87 and 88; silu(g) is 0 below. */
typedef struct em_finish {
  const float *y[2];
  size_t y_stride;
  const float *w_scale[2]; /* one value; NULL: 1 */
  const float *bias[2];  /* NULL: none */
  float scale, softcap;  /* 0: none */
  em_activation activation;
  float clamp;           /* 0: none */
  const float *residual; /* NULL: none */
  size_t residual_stride;
  float *out;
  size_t out_stride;
  size_t n_rows, n;
} em_finish;

static inline bool em_act_is_gated(em_activation activation) {
  return activation == EM_ACT_SWIGLU || activation == EM_ACT_GEGLU || activation == EM_ACT_SWIGLU_OAI;
}

#define EM_ATTEND_COLS 32u /* query columns of one call at most */

/* One page of one KV head for some queries: for each column c, over the positions t from first[c] to n_tokens[c] - 1,
 *   s_t = cap(scale * sum over rising dims of q[c][d] * K[t][d]);  m = max s;  p_t = exp(s_t - m);  l = sum of p;
 *   o[d] = sum over rising t of p_t * V[t][d]; cap(s) = softcap * tanh(s / softcap), or s where softcap is 0.
 * With v_in_k V[t][d] is K[t][d], and positions that are equal modulo the width of a vector are added first.
 * Of a column with n_tokens 0, m, l and o mean nothing. What is stored at other positions is never used in a sum, whatever its bits. */
typedef struct em_attend {
  const uint8_t *k, *v; /* as layout.h says; v is not looked at with v_in_k */
  bool v_in_k;
  uint32_t k_dim, v_dim;
  uint32_t n_cols;
  float scale, softcap;
  const float *q[EM_ATTEND_COLS];      /* float32 [k_dim] each */
  uint32_t first[EM_ATTEND_COLS];      /* less than n_tokens, or any */
  uint32_t n_tokens[EM_ATTEND_COLS];   /* 0 .. 256 */
  float m[EM_ATTEND_COLS], l[EM_ATTEND_COLS];
  float *o;      /* [n_cols][o_stride], 64-byte aligned; o_stride = v_dim up to a multiple of 16 */
  float *scores; /* [n_cols][256] scratch, 64-byte aligned */
  float *packed; /* [k_dim][n_cols] scratch */
  bool is_packed; /* packed is as the last call for the same q left it */
} em_attend;
typedef void (*em_attend_fn)(em_attend *attend);

/* One row's part in a delta net's recurrence, for n columns of one head's matrix S, k_dim rows of them stride floats apart:
 *   d = beta (v - decay S^T k);  S = decay S + k d^T;  o = S^T q, each sum over rising rows. */
typedef struct em_delta {
  float *s;
  size_t stride;
  const float *k, *q; /* [k_dim] */
  const float *v;     /* [n] */
  size_t k_dim, n;
  float beta, decay;
  float *o; /* [n] */
} em_delta;

enum { EM_KV_F32, EM_KV_F16, EM_KV_Q8, EM_N_KV_TYPES };

typedef struct em_cpu_kernels {
  em_dot_fn dot[EM_N_LAYOUTS];

  /* NULL: the layout has no unpacked form in this table, and dot is used for any number of rows. */
  em_unpack_fn unpack[EM_N_LAYOUTS];
  em_mul_fn mul[EM_N_LAYOUTS];

  /* y[i] = x[i] * (1 / sqrt(mean(x^2) + eps)) * norm[i]; y may be x. */
  void (*rms_norm)(const float *x, const float *norm, float eps, size_t n, float *y);

  /* Quantises n values (a multiple of 32). A NaN or infinity among 32 values makes their d NaN. */
  void (*quantise)(const float *x, size_t n, em_q8_block *row);

  /* The last step of a product, for a panel of a linear stage; see em_finish. */
  void (*finish)(const em_finish *f);
  void (*finish_act)(const em_finish *f);

  /* y[i] = act(x[i]), an activation of one part; y may be x. */
  void (*activate)(em_activation activation, const float *x, size_t n, float *y);

  /* Rotates a head in place: pairs (x[k], x[k + n]) when neox, else (x[2k], x[2k + 1]), k < n;
   * a' = a cos - b sin, b' = a sin + b cos. cos_sin: float32 [2][n]. */
  void (*rope)(float *x, const float *cos_sin, size_t n, bool neox);

  em_attend_fn attend[EM_N_KV_TYPES];

  /* Rounds to nearest even. */
  void (*to_f16)(const float *x, size_t n, uint16_t *y);

  void (*delta)(const em_delta *d);

  /* a[i] = a[i] * fa + b[i] * fb */
  void (*merge)(float *a, float fa, const float *b, float fb, size_t n);
} em_cpu_kernels;

/* exp(x) for x <= 0 in float32 as the kernels compute it; 0 below -87. */
float em_expf(float x);

/* Fill the entries they have; each is called after the ones before it. */
void em_kernels_scalar(em_cpu_kernels *kernels);
#if defined(__x86_64__)
void em_kernels_avx2(em_cpu_kernels *kernels);
void em_kernels_avx512(em_cpu_kernels *kernels);
#endif

/* The table for an instruction set, which this processor must have. */
void em_kernels_get(em_cpu_isa isa, em_cpu_kernels *out);
