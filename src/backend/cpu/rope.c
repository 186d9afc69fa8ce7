/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The stage between projections and attention: norms and rotation of heads, and storing keys and values. */
#include <math.h>
#include <string.h>

#include "backend/cpu/program.h"

/* The heads of q or k in one row. */
typedef struct heads {
  float *x;
  size_t n, dim;
  const float *norm; /* or NULL */
  size_t n_norm;
} heads;

static heads heads_of(float *x, size_t n, size_t dim, const em_weights *norm) {
  return (heads){x, n, dim, em_cpu_vector(norm), norm ? (size_t)norm->n_in : 0};
}

/* Whether all heads are normed as one row; then no head can be worked on alone. */
static bool is_whole(const em_weights *norm, size_t dim) {
  return norm && norm->n_in > dim;
}

/* Norms all heads as one row where the norm is so long, else heads first .. end - 1 each by itself. */
static void norm_heads(const em_cpu_kernels *kernels, const heads *h, float eps, size_t first, size_t end) {
  if (h->norm && h->n_norm > h->dim) {
    kernels->rms_norm(h->x, h->norm, eps, h->n_norm, h->x);
    return;
  }
  for (size_t i = first; h->norm && i < end; i++)
    kernels->rms_norm(h->x + i * h->dim, h->norm, eps, h->n_norm, h->x + i * h->dim);
}

/* x / sqrt(mean(x^2) + eps) */
static void norm_unweighted(float *x, float eps, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += (double)x[i] * (double)x[i];
  float scale = (float)(1.0 / sqrt(sum / (double)n + (double)eps));
  for (size_t i = 0; i < n; i++)
    x[i] *= scale;
}

/* Stores one KV head of a row. k is normed and rotated; v is where it is read from, or NULL when it is in k. */
static void store(em_cpu_program *program, const em_stage_rope_store *stage, size_t r, uint32_t head, const float *k,
                  const float *v) {
  const em_cpu_kernels *kernels = &program->cpu->kernels;
  const em_step *step = program->step;
  const em_cpu_kv *kv = (const em_cpu_kv *)program->common.desc.kv;
  const em_kv_layer *layer = &kv->common.layers[stage->kv_layer];
  uint32_t position = step->positions[r];
  uint32_t page =
      step->page_tables[(size_t)step->slots[r] * program->common.desc.max_pages + position / EM_KV_PAGE_TOKENS];
  position %= EM_KV_PAGE_TOKENS;
  em_cpu_kv_store_k(kernels, kv->kind, em_cpu_kv_k(kv, stage->kv_layer, page, head), layer->k_dim, position, k);
  if (v)
    em_cpu_kv_store_v(kernels, kv->kind, em_cpu_kv_v(kv, stage->kv_layer, page, head), layer->v_dim, position, v);
}

/* Norms and rotates KV heads first .. end of a row with the query heads that read them, and stores them. */
static void run_heads(em_cpu_program *program, const em_stage_rope_store *stage, const em_cpu_rope *rope, size_t r,
                      uint32_t first, uint32_t end, float *own) {
  const em_cpu_kernels *kernels = &program->cpu->kernels;
  const em_kv_layer *layer = &program->common.desc.kv->layers[stage->kv_layer];
  uint32_t ratio = stage->n_heads / layer->n_heads, position = program->step->positions[r];
  bool stores = stage->source != EM_KV_FROM_NONE, has_v = stores && !layer->v_in_k;
  heads q = heads_of(em_cpu_value(program, stage->qkv, r), stage->n_heads, layer->k_dim, stage->q_norm);
  heads k = heads_of(q.x + q.n * q.dim, layer->n_heads, layer->k_dim, stage->k_norm);
  const float *v = stage->source == EM_KV_FROM_ROW ? k.x + k.n * k.dim : k.x;
  /* Values that are changed, or whose keys are, stand in memory of the thread's own. */
  bool copies = has_v && (stage->norm_v || stage->source == EM_KV_FROM_K);
  for (uint32_t h = first; copies && h < end; h++) {
    memcpy(own + (size_t)h * layer->v_dim, v + (size_t)h * layer->v_dim, layer->v_dim * sizeof *own);
    if (stage->norm_v)
      norm_unweighted(own + (size_t)h * layer->v_dim, stage->norm_eps, layer->v_dim);
  }
  v = copies ? own : v;
  norm_heads(kernels, &q, stage->norm_eps, (size_t)first * ratio, (size_t)end * ratio);
  if (stores)
    norm_heads(kernels, &k, stage->norm_eps, first, end);
  size_t half = stage->rope.n_rot / 2;
  bool neox = stage->rope.kind == EM_ROPE_NEOX;
  for (size_t h = (size_t)first * ratio; rope && h < (size_t)end * ratio; h++)
    kernels->rope(q.x + h * q.dim + stage->rope.offset, rope->cos_sin + r * 2 * half, half, neox);
  for (size_t h = first; rope && stores && h < end; h++)
    kernels->rope(k.x + h * k.dim + stage->rope.offset, rope->cos_sin + r * 2 * half, half, neox);
  if (stage->q_log_scale != 0) {
    float scale = 1.0f + stage->q_log_scale * logf(1.0f + (float)(position / stage->q_log_period));
    for (size_t i = (size_t)first * ratio * q.dim; i < (size_t)end * ratio * q.dim; i++)
      q.x[i] *= scale;
  }
  for (uint32_t h = first; stores && h < end; h++)
    store(program, stage, r, h, k.x + h * k.dim, has_v ? v + (size_t)h * layer->v_dim : NULL);
}

void em_cpu_rope_store(em_cpu_program *program, const em_stage_rope_store *stage, uint32_t rope_index,
                       unsigned thread) {
  const em_kv_layer *layer = &program->common.desc.kv->layers[stage->kv_layer];
  const em_cpu_rope *rope = rope_index < program->n_ropes ? &program->ropes[rope_index] : NULL;
  /* A unit is one KV head of one row, with the query heads that read it; or a row. */
  bool whole = is_whole(stage->q_norm, layer->k_dim) || is_whole(stage->k_norm, layer->k_dim);
  uint32_t n = whole ? 1 : layer->n_heads;
  size_t end, unit = em_cpu_share((size_t)program->step->n_rows * n, thread, program->cpu->n_threads, &end);
  for (; unit < end; unit++) {
    uint32_t h = (uint32_t)(unit % n);
    run_heads(program, stage, rope, unit / n, h, whole ? layer->n_heads : h + 1, program->threads[thread].row);
  }
}
