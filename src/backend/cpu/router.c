/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The router stage: which experts a row takes, and with what weights. */
#include <math.h>

#include "backend/cpu/program.h"

/* The lowest number that can be chosen: what is no number comes last. */
static float order_of(float score) {
  return score == score ? score : -INFINITY;
}

/* p of the gating, in place of the logits. */
static void open_gates(em_gating gating, float *p, size_t n) {
  float most = -INFINITY, sum = 0;
  switch (gating) {
  case EM_GATING_SOFTMAX:
    for (size_t e = 0; e < n; e++)
      most = p[e] > most ? p[e] : most;
    for (size_t e = 0; e < n; e++)
      sum += p[e] = em_expf(p[e] - most);
    for (size_t e = 0; e < n; e++)
      p[e] /= sum;
    break;
  case EM_GATING_SIGMOID:
    for (size_t e = 0; e < n; e++)
      p[e] = 1.0f / (1.0f + expf(-p[e]));
    break;
  case EM_GATING_SQRT_SOFTPLUS:
    for (size_t e = 0; e < n; e++)
      p[e] = sqrtf(p[e] > 20.0f ? p[e] : log1pf(expf(p[e])));
    break;
  case EM_GATING_SOFTMAX_SELECTED:
    break;
  }
}

/* Puts (number, score) into a list of the best, best first; equal scores keep their order. */
static void insert(float *numbers, float *scores, uint32_t *n, uint32_t most, uint32_t number, float score) {
  if (*n == most && !(score > scores[most - 1]))
    return;
  uint32_t i = *n < most ? (*n)++ : most - 1;
  for (; i > 0 && score > scores[i - 1]; i--) {
    numbers[i] = numbers[i - 1];
    scores[i] = scores[i - 1];
  }
  numbers[i] = (float)number;
  scores[i] = score;
}

/* Marks in looked_at [n_groups] the groups whose two best scores have the largest sums. */
static void choose_groups(const em_stage_router *stage, const float *p, const float *bias, size_t n_experts,
                          float *looked_at) {
  size_t n = n_experts / stage->n_groups;
  float *sums = looked_at + stage->n_groups;
  for (size_t g = 0; g < stage->n_groups; g++) {
    float best = -INFINITY, second = -INFINITY;
    for (size_t e = g * n; e < (g + 1) * n; e++) {
      float score = order_of(p[e] + (bias ? bias[e] : 0.0f));
      if (score > best) {
        second = best;
        best = score;
      } else if (score > second) {
        second = score;
      }
    }
    sums[g] = n > 1 ? best + second : best;
    looked_at[g] = 0;
  }
  for (uint32_t used = 0; used < stage->n_groups_used; used++) {
    size_t best = stage->n_groups;
    for (size_t g = 0; g < stage->n_groups; g++) {
      if (looked_at[g] == 0 && (best == stage->n_groups || sums[g] > sums[best]))
        best = g;
    }
    looked_at[best] = 1;
  }
}

/* Makes a row's routes from its logits. groups: scratch of 2 * n_groups. */
static void choose(const em_stage_router *stage, float *p, size_t n_experts, float *groups, float *routes) {
  const float *bias = em_cpu_vector(stage->bias), *select_bias = em_cpu_vector(stage->select_bias);
  float *weights = routes + stage->n_used, scores[64], sum = 0, scale = stage->scale != 0 ? stage->scale : 1.0f;
  uint32_t n = 0;
  for (size_t e = 0; e < n_experts; e++)
    p[e] = p[e] * (stage->logit_scale != 0 ? stage->logit_scale : 1.0f) + (bias ? bias[e] : 0.0f);
  open_gates(stage->gating, p, n_experts);
  if (stage->n_groups > 1)
    choose_groups(stage, p, select_bias, n_experts, groups);
  for (size_t e = 0; e < n_experts; e++) {
    if (stage->n_groups <= 1 || groups[e / (n_experts / stage->n_groups)] != 0)
      insert(routes, scores, &n, stage->n_used, (uint32_t)e, order_of(p[e] + (select_bias ? select_bias[e] : 0.0f)));
  }
  for (uint32_t j = 0; j < stage->n_used; j++)
    weights[j] = p[(uint32_t)routes[j]];
  if (stage->gating == EM_GATING_SOFTMAX_SELECTED)
    open_gates(EM_GATING_SOFTMAX, weights, stage->n_used);
  for (uint32_t j = 0; j < stage->n_used; j++)
    sum += weights[j];
  for (uint32_t j = 0; j < stage->n_used; j++)
    weights[j] = weights[j] / (stage->normalise ? fmaxf(sum, 0x1p-14f) : 1.0f) * scale;
}

void em_cpu_router(em_cpu_program *program, const em_stage_router *stage, unsigned thread) {
  size_t n_experts = (size_t)stage->w->n_rows;
  em_stage_linear product = {.x = stage->x,
                             .norm = stage->norm,
                             .norm_eps = stage->norm_eps,
                             .n_parts = 1,
                             .w = {stage->w},
                             .residual = EM_NO_VALUE,
                             .out = EM_NO_VALUE};
  em_cpu_linear_to(program, &product, program->logits, n_experts, thread);
  em_pool_barrier(program->cpu->pool);
  size_t end, r = em_cpu_share(program->step->n_rows, thread, program->cpu->n_threads, &end);
  for (; r < end; r++)
    choose(stage, program->logits + r * n_experts, n_experts, program->threads[thread].scores,
           em_cpu_value(program, stage->routes, r));
}
