/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The kernels in plain C: the specification of all others, and what runs where no instruction set is known. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "backend/cpu/kernels.h"

static uint16_t load_u16(const uint8_t *p) {
  uint16_t value;
  memcpy(&value, p, sizeof value);
  return value;
}

static float load_f16(const uint8_t *p) {
  return em_f16_to_f32(load_u16(p));
}

static const em_q8_block *blocks_of(const uint8_t *row) {
  return (const em_q8_block *)(const void *)row;
}

/* --- Products ----------------------------------------------------------------------------------------------------------- */

static void dot_f32(const uint8_t *w, size_t n_in, const uint8_t *x, size_t x_stride, size_t n_cols, float *y) {
  for (size_t c = 0; c < n_cols; c++, x += x_stride, y += EM_PANEL) {
    const float *v = (const float *)(const void *)x;
    memset(y, 0, EM_PANEL * sizeof *y);
    for (size_t k = 0; k < n_in; k++) {
      for (size_t r = 0; r < EM_PANEL; r++) {
        float value;
        memcpy(&value, w + (k * EM_PANEL + r) * 4, sizeof value);
        y[r] += value * v[k];
      }
    }
  }
}

static void dot_f16(const uint8_t *w, size_t n_in, const uint8_t *x, size_t x_stride, size_t n_cols, float *y) {
  for (size_t c = 0; c < n_cols; c++, x += x_stride, y += EM_PANEL) {
    const float *v = (const float *)(const void *)x;
    memset(y, 0, EM_PANEL * sizeof *y);
    for (size_t k = 0; k < n_in; k++) {
      for (size_t r = 0; r < EM_PANEL; r++)
        y[r] += load_f16(w + (k * EM_PANEL + r) * 2) * v[k];
    }
  }
}

static void dot_bf16(const uint8_t *w, size_t n_in, const uint8_t *x, size_t x_stride, size_t n_cols, float *y) {
  for (size_t c = 0; c < n_cols; c++, x += x_stride, y += EM_PANEL) {
    const float *v = (const float *)(const void *)x;
    memset(y, 0, EM_PANEL * sizeof *y);
    for (size_t k = 0; k < n_in; k++) {
      for (size_t r = 0; r < EM_PANEL; r++)
        y[r] += em_bf16_to_f32(load_u16(w + (k * EM_PANEL + r) * 2)) * v[k];
    }
  }
}

static int dot_q8_part(const uint8_t *group, unsigned r, const int8_t *q, unsigned from, unsigned to) {
  int sum = 0;
  for (unsigned k = from; k < to; k++)
    sum += (group[64 * (k / 4) + 4 * r + k % 4] - 128) * q[k];
  return sum;
}

static int dot_nibbles(const uint8_t *group, unsigned r, const int8_t *q) {
  int sum = 0;
  for (unsigned k = 0; k < EM_GROUP; k++)
    sum += (group[64 * (k / 8) + 4 * r + k % 4] >> (k % 8 < 4 ? 0 : 4) & 15) * q[k];
  return sum;
}

static void dot_q8(const uint8_t *w, size_t n_in, const uint8_t *x, size_t x_stride, size_t n_cols, float *y) {
  for (size_t c = 0; c < n_cols; c++, x += x_stride, y += EM_PANEL) {
    const em_q8_block *blocks = blocks_of(x);
    memset(y, 0, EM_PANEL * sizeof *y);
    for (size_t b = 0; b < n_in / EM_GROUP; b++) {
      const uint8_t *block = w + b * EM_Q8_BLOCK_BYTES;
      for (unsigned r = 0; r < EM_PANEL; r++) {
        int dot = dot_q8_part(block, r, blocks[b].q, 0, EM_GROUP);
        y[r] += (float)dot * (load_f16(block + 512 + 2 * r) * blocks[b].d);
      }
    }
  }
}

static void dot_q4_0(const uint8_t *w, size_t n_in, const uint8_t *x, size_t x_stride, size_t n_cols, float *y) {
  for (size_t c = 0; c < n_cols; c++, x += x_stride, y += EM_PANEL) {
    const em_q8_block *blocks = blocks_of(x);
    memset(y, 0, EM_PANEL * sizeof *y);
    for (size_t b = 0; b < n_in / EM_GROUP; b++) {
      const uint8_t *block = w + b * EM_Q4_0_BLOCK_BYTES;
      for (unsigned r = 0; r < EM_PANEL; r++) {
        int dot = dot_nibbles(block, r, blocks[b].q) + blocks[b].n32 / 16;
        y[r] += (float)dot * (load_f16(block + 256 + 2 * r) * blocks[b].d);
      }
    }
  }
}

static void dot_q45_k(const uint8_t *w, bool five, size_t n_in, const uint8_t *x, float *y) {
  const em_q8_block *blocks = blocks_of(x);
  size_t group_bytes = five ? 320 : 256;
  memset(y, 0, EM_PANEL * sizeof *y);
  for (size_t b = 0; b < n_in / EM_GROUP; b++) {
    const uint8_t *super = w + b / 8 * (five ? EM_Q5_K_BLOCK_BYTES : EM_Q4_K_BLOCK_BYTES);
    const uint8_t *group = super + b % 8 * group_bytes, *tail = super + 8 * group_bytes;
    const int8_t *q = blocks[b].q;
    for (unsigned r = 0; r < EM_PANEL; r++) {
      int dot = dot_nibbles(group, r, q);
      for (unsigned k = 0; five && k < EM_GROUP; k++)
        dot += (group[256 + 4 * r + k % 4] >> (k / 4) & 1) * 16 * q[k];
      float scale = load_f16(tail + 256 + 2 * r) * (float)tail[b % 8 * 16 + r];
      float minimum = load_f16(tail + 288 + 2 * r) * (float)tail[128 + b % 8 * 16 + r];
      y[r] += (float)dot * (scale * blocks[b].d);
      y[r] -= minimum * blocks[b].sum;
    }
  }
}

static void dot_q4_k(const uint8_t *w, size_t n_in, const uint8_t *x, size_t x_stride, size_t n_cols, float *y) {
  for (size_t c = 0; c < n_cols; c++)
    dot_q45_k(w, false, n_in, x + c * x_stride, y + c * EM_PANEL);
}

static void dot_q5_k(const uint8_t *w, size_t n_in, const uint8_t *x, size_t x_stride, size_t n_cols, float *y) {
  for (size_t c = 0; c < n_cols; c++)
    dot_q45_k(w, true, n_in, x + c * x_stride, y + c * EM_PANEL);
}

static void dot_q6_k(const uint8_t *w, size_t n_in, const uint8_t *x, size_t x_stride, size_t n_cols, float *y) {
  for (size_t c = 0; c < n_cols; c++, x += x_stride, y += EM_PANEL) {
    const em_q8_block *blocks = blocks_of(x);
    memset(y, 0, EM_PANEL * sizeof *y);
    for (size_t b = 0; b < n_in / EM_GROUP; b++) {
      const uint8_t *super = w + b / 8 * EM_Q6_K_BLOCK_BYTES, *group = super + b % 8 * 384, *tail = super + 8 * 384;
      const int8_t *q = blocks[b].q;
      for (unsigned r = 0; r < EM_PANEL; r++) {
        float d = load_f16(tail + 256 + 2 * r);
        for (unsigned h = 0; h < 2; h++) {
          int dot = blocks[b].n16[h] / 4;
          for (unsigned k = 16 * h; k < 16 * h + 16; k++) {
            int low = group[64 * (k / 8) + 4 * r + k % 4] >> (k % 8 < 4 ? 0 : 4) & 15;
            int high = group[256 + 64 * h + 4 * r + k % 4] >> (2 * (k % 16 / 4)) & 3;
            dot += (low | high << 4) * q[k];
          }
          float scale = d * (float)(int8_t)tail[16 * (b % 8 * 2 + h) + r];
          y[r] += (float)dot * (scale * blocks[b].d);
        }
      }
    }
  }
}

/* --- Rows ---------------------------------------------------------------------------------------------------------------- */

static void rms_norm(const float *x, const float *norm, float eps, size_t n, float *y) {
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += (double)x[i] * (double)x[i];
  float scale = (float)(1.0 / sqrt(sum / (double)n + (double)eps));
  for (size_t i = 0; i < n; i++)
    y[i] = x[i] * scale * norm[i];
}

static void quantise(const float *x, size_t n, em_q8_block *row) {
  for (size_t g = 0; g < n / EM_GROUP; g++, x += EM_GROUP, row++) {
    float max = 0;
    int sums[2] = {0, 0};
    bool finite = true;
    for (unsigned k = 0; k < EM_GROUP; k++) {
      finite = finite && isfinite(x[k]);
      max = fabsf(x[k]) > max ? fabsf(x[k]) : max;
    }
    float inverse = finite && max > 0 ? 127.0f / max : 0.0f;
    for (unsigned k = 0; k < EM_GROUP; k++) {
      /* The inverse of a denormal maximum is infinite; such values count as zero. */
      row->q[k] = isfinite(inverse) && finite ? (int8_t)rintf(x[k] * inverse) : 0;
      sums[k / 16] += row->q[k];
    }
    row->d = finite ? max / 127.0f : NAN;
    row->sum = row->d * (float)(sums[0] + sums[1]);
    row->n16[0] = -128 * sums[0];
    row->n16[1] = -128 * sums[1];
    row->n32 = row->n16[0] + row->n16[1];
  }
}

/* exp(x) = 2^n exp(r), x = n ln2 + r, |r| <= ln2 / 2, with a polynomial of degree 6 for exp(r): the error of the cut series
 * is below 2e-7 relative, which dominates the roundings. The wider kernels do the same steps. */
float em_expf(float x) {
  if (!(x > -87.0f))
    return x != x ? x : 0.0f;
  float n = rintf(x * 1.44269504f);
  float r = x - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return ldexpf(p, (int)n);
}

static void finish(const em_finish *f) {
  for (size_t i = 0; i < f->n_rows; i++) {
    for (size_t r = 0; r < f->n; r++) {
      float y = f->y[0][i * f->y_stride + r];
      if (f->bias[0])
        y += f->bias[0][r];
      if (f->residual)
        y += f->residual[i * f->residual_stride + r];
      f->out[i * f->out_stride + r] = y;
    }
  }
}

static void finish_swiglu(const em_finish *f) {
  for (size_t i = 0; i < f->n_rows; i++) {
    for (size_t r = 0; r < f->n; r++) {
      float g = f->y[0][i * f->y_stride + r], u = f->y[1][i * f->y_stride + r];
      if (f->bias[0])
        g += f->bias[0][r];
      if (f->bias[1])
        u += f->bias[1][r];
      f->out[i * f->out_stride + r] = g / (1.0f + expf(-g)) * u;
    }
  }
}

static void rope(float *x, const float *cos_sin, size_t n, bool neox) {
  size_t step = neox ? 1 : 2, other = neox ? n : 1;
  for (size_t k = 0; k < n; k++) {
    float a = x[k * step], b = x[k * step + other], c = cos_sin[k], s = cos_sin[n + k];
    x[k * step] = a * c - b * s;
    x[k * step + other] = a * s + b * c;
  }
}

static void to_f16(const float *x, size_t n, uint16_t *y) {
  for (size_t i = 0; i < n; i++)
    y[i] = em_f32_to_f16(x[i]);
}

static void merge(float *a, float fa, const float *b, float fb, size_t n) {
  for (size_t i = 0; i < n; i++)
    a[i] = a[i] * fa + b[i] * fb;
}

/* --- Attention ----------------------------------------------------------------------------------------------------------- */

/* Position t of K as float32 [k_dim]. */
static void load_k(int kind, const em_attend *a, uint32_t t, float *dst) {
  const uint8_t *lane = a->k + (size_t)(t / 16) * a->k_dim * 16 * (kind == EM_KV_F32 ? 4 : 2);
  if (kind == EM_KV_Q8) {
    const uint8_t *group = a->k + (size_t)(t / 16) * (a->k_dim / 32) * 544;
    for (uint32_t d = 0; d < a->k_dim; d++)
      dst[d] = load_f16(group + d / 32 * 544 + 512 + 2 * (t % 16)) * (float)(int8_t)group[d / 32 * 544 + d % 32 * 16 + t % 16];
  } else if (kind == EM_KV_F16) {
    for (uint32_t d = 0; d < a->k_dim; d++)
      dst[d] = load_f16(lane + (d * 16 + t % 16) * 2);
  } else {
    for (uint32_t d = 0; d < a->k_dim; d++)
      memcpy(&dst[d], lane + (d * 16 + t % 16) * 4, sizeof *dst);
  }
}

/* Dims from .. from + n of position t of V; from is a multiple of 32. */
static void load_v(int kind, const em_attend *a, uint32_t t, uint32_t from, uint32_t n, float *dst) {
  const uint8_t *row = a->v + (size_t)t * ((a->v_dim + 15) / 16 * 16) * (kind == EM_KV_F32 ? 4 : 2);
  if (kind == EM_KV_Q8) {
    row = a->v + (size_t)t * (a->v_dim / 32) * 34;
    for (uint32_t d = 0; d < n; d++)
      dst[d] = load_f16(row + a->v_dim + (from + d) / 32 * 2) * (float)(int8_t)row[from + d];
  } else if (kind == EM_KV_F16) {
    for (uint32_t d = 0; d < n; d++)
      dst[d] = load_f16(row + (from + d) * 2);
  } else {
    memcpy(dst, row + from * 4, n * sizeof *dst);
  }
}

static void attend(em_attend *a, int kind) {
  size_t o_stride = (a->v_dim + 15) / 16 * 16;
  uint32_t most = 0;
  for (uint32_t c = 0; c < a->n_cols; c++)
    most = a->n_tokens[c] > most ? a->n_tokens[c] : most;
  for (uint32_t t = 0; t < most; t++) {
    load_k(kind, a, t, a->packed);
    for (uint32_t c = 0; c < a->n_cols; c++) {
      float s = 0;
      if (t >= a->n_tokens[c])
        continue;
      for (uint32_t d = 0; d < a->k_dim; d++)
        s += a->q[c][d] * a->packed[d];
      a->scores[(size_t)c * EM_KV_PAGE_TOKENS + t] = s * a->scale;
    }
  }
  for (uint32_t c = 0; c < a->n_cols; c++) {
    float *scores = a->scores + (size_t)c * EM_KV_PAGE_TOKENS;
    a->m[c] = -INFINITY;
    a->l[c] = 0;
    for (uint32_t t = 0; t < a->n_tokens[c]; t++)
      a->m[c] = scores[t] > a->m[c] ? scores[t] : a->m[c];
    for (uint32_t t = 0; t < a->n_tokens[c]; t++) {
      scores[t] = em_expf(scores[t] - a->m[c]);
      a->l[c] += scores[t];
    }
  }
  memset(a->o, 0, a->n_cols * o_stride * sizeof *a->o);
  for (uint32_t from = 0; from < a->v_dim; from += 64) {
    uint32_t n = a->v_dim - from < 64 ? a->v_dim - from : 64;
    float v[64];
    for (uint32_t t = 0; t < most; t++) {
      load_v(kind, a, t, from, n, v);
      for (uint32_t c = 0; c < a->n_cols; c++) {
        float p = a->scores[(size_t)c * EM_KV_PAGE_TOKENS + t], *o = a->o + c * o_stride + from;
        for (uint32_t d = 0; t < a->n_tokens[c] && d < n; d++)
          o[d] += p * v[d];
      }
    }
  }
}

static void attend_f32(em_attend *a) {
  attend(a, EM_KV_F32);
}

static void attend_f16(em_attend *a) {
  attend(a, EM_KV_F16);
}

static void attend_q8(em_attend *a) {
  attend(a, EM_KV_Q8);
}

void em_kernels_scalar(em_cpu_kernels *kernels) {
  *kernels = (em_cpu_kernels){
      .dot = {[EM_LAYOUT_F32] = dot_f32,
              [EM_LAYOUT_F16] = dot_f16,
              [EM_LAYOUT_BF16] = dot_bf16,
              [EM_LAYOUT_Q8] = dot_q8,
              [EM_LAYOUT_Q4_0] = dot_q4_0,
              [EM_LAYOUT_Q4_K] = dot_q4_k,
              [EM_LAYOUT_Q5_K] = dot_q5_k,
              [EM_LAYOUT_Q6_K] = dot_q6_k},
      .rms_norm = rms_norm,
      .quantise = quantise,
      .finish = finish,
      .finish_swiglu = finish_swiglu,
      .rope = rope,
      .attend = {[EM_KV_F32] = attend_f32, [EM_KV_F16] = attend_f16, [EM_KV_Q8] = attend_q8},
      .to_f16 = to_f16,
      .merge = merge,
  };
}
