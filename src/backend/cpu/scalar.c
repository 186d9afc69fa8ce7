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

/* The quantised layouts, by what layout.c says of a block. A row's numbers are looked up once for all columns. */
static void dot_quantised(em_layout layout, const uint8_t *w, size_t n_in, const uint8_t *x, size_t x_stride,
                          size_t n_cols, float *y) {
  unsigned n_groups = em_layout_infos[layout].n_groups;
  em_scales scales = em_layout_infos[layout].scales;
  memset(y, 0, n_cols * EM_PANEL * sizeof *y);
  for (size_t b = 0; b < n_in / EM_GROUP; b++) {
    const uint8_t *block = w + b / n_groups * em_block_bytes(layout);
    for (unsigned r = 0; r < EM_PANEL; r++) {
      int8_t numbers[EM_GROUP];
      float scale[2], minimum[2];
      em_block_numbers(layout, block, b % n_groups, r, numbers);
      em_block_scales(layout, block, b % n_groups, r, scale, minimum);
      for (size_t c = 0; c < n_cols; c++) {
        const em_q8_block *v = blocks_of(x + c * x_stride) + b;
        float *sum = &y[c * EM_PANEL + r];
        int dots[2] = {0, 0};
        for (unsigned k = 0; k < EM_GROUP; k++)
          dots[k / 16] += numbers[k] * v->q[k];
        if (em_scales_halved(scales)) {
          *sum += (float)dots[0] * (scale[0] * v->d);
          *sum += (float)dots[1] * (scale[1] * v->d);
          *sum -= minimum[0] * v->sum16[0];
          *sum -= minimum[1] * v->sum16[1];
        } else {
          *sum += (float)(dots[0] + dots[1]) * (scale[0] * v->d);
          *sum -= minimum[0] * v->sum;
        }
      }
    }
  }
}

#define DOT(name)                                                                                                     \
  static void dot_##name(const uint8_t *w, size_t n_in, const uint8_t *x, size_t x_stride, size_t n_cols, float *y) { \
    dot_quantised(EM_LAYOUT_##name, w, n_in, x, x_stride, n_cols, y);                                                 \
  }
EM_QUANTISED_LAYOUTS(DOT)

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
    row->sum16[0] = row->d * (float)sums[0];
    row->sum16[1] = row->d * (float)sums[1];
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

static float value_of(const em_finish *f, unsigned part, size_t i, size_t r) {
  float y = f->y[part][i * f->y_stride + r];
  if (f->w_scale[part])
    y *= f->w_scale[part][0];
  return f->bias[part] ? y + f->bias[part][r] : y;
}

static void finish(const em_finish *f) {
  for (size_t i = 0; i < f->n_rows; i++) {
    for (size_t r = 0; r < f->n; r++) {
      float y = value_of(f, 0, i, r);
      if (f->scale != 0)
        y *= f->scale;
      if (f->softcap != 0)
        y = f->softcap * tanhf(y / f->softcap);
      if (f->residual)
        y += f->residual[i * f->residual_stride + r];
      f->out[i * f->out_stride + r] = y;
    }
  }
}

/* u is 1 for an activation of one part. */
static float act(em_activation activation, float g, float u, float clamp) {
  switch (activation) {
  case EM_ACT_SWIGLU:
  case EM_ACT_SILU:
    g = g / (1.0f + expf(-g));
    if (clamp > 0)
      return fminf(g, clamp) * fmaxf(fminf(u, clamp), -clamp);
    return g * u;
  case EM_ACT_GEGLU:
  case EM_ACT_GELU:
    return 0.5f * g * (1.0f + tanhf(0.7978845608f * (g + 0.044715f * g * g * g))) * u;
  case EM_ACT_SWIGLU_OAI:
    g = fminf(g, 7.0f);
    return g / (1.0f + expf(-1.702f * g)) * (fmaxf(fminf(u, 7.0f), -7.0f) + 1.0f);
  case EM_ACT_SIGMOID:
    return 1.0f / (1.0f + expf(-g));
  case EM_ACT_NONE:
    break;
  }
  return g;
}

static void finish_act(const em_finish *f) {
  bool gated = em_act_is_gated(f->activation);
  for (size_t i = 0; i < f->n_rows; i++) {
    for (size_t r = 0; r < f->n; r++)
      f->out[i * f->out_stride + r] =
          act(f->activation, value_of(f, 0, i, r), gated ? value_of(f, 1, i, r) : 1.0f, f->clamp);
  }
}

static void activate(em_activation activation, const float *x, size_t n, float *y) {
  for (size_t i = 0; i < n; i++)
    y[i] = act(activation, x[i], 1.0f, 0.0f);
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

static void delta(const em_delta *a) {
  for (size_t i = 0; i < a->n; i++) {
    float sum = 0, o = 0, *s = a->s + i;
    for (size_t k = 0; k < a->k_dim; k++)
      sum += s[k * a->stride] * a->k[k];
    float d = a->beta * (a->v[i] - a->decay * sum);
    for (size_t k = 0; k < a->k_dim; k++) {
      s[k * a->stride] = a->decay * s[k * a->stride] + a->k[k] * d;
      o += s[k * a->stride] * a->q[k];
    }
    a->o[i] = o;
  }
}

/* --- Attention ----------------------------------------------------------------------------------------------------------- */

/* Dims from .. from + n of position t of K. */
static void load_k(int kind, const em_attend *a, uint32_t t, uint32_t from, uint32_t n, float *dst) {
  const uint8_t *lane = a->k + (size_t)(t / 16) * a->k_dim * 16 * (kind == EM_KV_F32 ? 4 : 2);
  if (kind == EM_KV_Q8) {
    const uint8_t *group = a->k + (size_t)(t / 16) * (a->k_dim / 32) * 544;
    for (uint32_t d = from; d < from + n; d++)
      *dst++ = load_f16(group + d / 32 * 544 + 512 + 2 * (t % 16)) * (float)(int8_t)group[d / 32 * 544 + d % 32 * 16 + t % 16];
  } else if (kind == EM_KV_F16) {
    for (uint32_t d = from; d < from + n; d++)
      *dst++ = load_f16(lane + (d * 16 + t % 16) * 2);
  } else {
    for (uint32_t d = from; d < from + n; d++)
      memcpy(dst++, lane + (d * 16 + t % 16) * 4, sizeof *dst);
  }
}

/* Dims from .. from + n of position t of V; from is a multiple of 32. */
static void load_v(int kind, const em_attend *a, uint32_t t, uint32_t from, uint32_t n, float *dst) {
  const uint8_t *row = a->v + (size_t)t * ((a->v_dim + 15) / 16 * 16) * (kind == EM_KV_F32 ? 4 : 2);
  if (a->v_in_k) {
    load_k(kind, a, t, from, n, dst);
    return;
  }
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
    load_k(kind, a, t, 0, a->k_dim, a->packed);
    for (uint32_t c = 0; c < a->n_cols; c++) {
      float s = 0;
      if (t >= a->n_tokens[c] || t < a->first[c])
        continue;
      for (uint32_t d = 0; d < a->k_dim; d++)
        s += a->q[c][d] * a->packed[d];
      s *= a->scale;
      a->scores[(size_t)c * EM_KV_PAGE_TOKENS + t] = a->softcap != 0 ? a->softcap * tanhf(s / a->softcap) : s;
    }
  }
  for (uint32_t c = 0; c < a->n_cols; c++) {
    float *scores = a->scores + (size_t)c * EM_KV_PAGE_TOKENS;
    a->m[c] = -INFINITY;
    a->l[c] = 0;
    for (uint32_t t = a->first[c]; t < a->n_tokens[c]; t++)
      a->m[c] = scores[t] > a->m[c] ? scores[t] : a->m[c];
    for (uint32_t t = a->first[c]; t < a->n_tokens[c]; t++) {
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
        for (uint32_t d = 0; t >= a->first[c] && t < a->n_tokens[c] && d < n; d++)
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
#define ENTRY(name) [EM_LAYOUT_##name] = dot_##name,
      .dot = {[EM_LAYOUT_F32] = dot_f32,
              [EM_LAYOUT_F16] = dot_f16,
              [EM_LAYOUT_BF16] = dot_bf16,
              EM_QUANTISED_LAYOUTS(ENTRY)},
      .rms_norm = rms_norm,
      .quantise = quantise,
      .finish = finish,
      .finish_act = finish_act,
      .activate = activate,
      .rope = rope,
      .attend = {[EM_KV_F32] = attend_f32, [EM_KV_F16] = attend_f16, [EM_KV_Q8] = attend_q8},
      .to_f16 = to_f16,
      .merge = merge,
      .delta = delta,
  };
}
