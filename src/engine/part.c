/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "engine/part.h"

#include "base/clock.h"

/* --- Loading ------------------------------------------------------------------------------------------------------ */

/* Turns the progress of one part into that of all. */
typedef struct loading {
  em_model_progress_fn progress;
  void *user;
  uint64_t before_bytes, total_bytes;
} loading;

static bool on_progress(void *user, uint64_t done_bytes, uint64_t total_bytes) {
  const loading *load = user;
  return load->progress(load->user, load->before_bytes + done_bytes, load->total_bytes);
}

/* Has the device begin what the part's program needs and no weights are read for, so that it is ready when they are
 * there. */
static em_status prepare(const em_part *part, const em_model *model, const em_plan *plan, em_model_blocks blocks,
                         em_error *error) {
  em_status status = EM_OK;
  em_model_program emitted = {0};
  em_model_weights *weights = NULL;
  EM_TRY(em_model_describe(model, blocks, part->backend, &weights, error));
  EM_TRY(em_model_build(model, weights, plan->memory.context_tokens, plan->batch_rows, plan->max_outputs, &emitted,
                        error));
  em_program_desc desc = em_plan_program(plan, &emitted, part->kv);
  EM_TRY(em_program_prepare(part->backend, &desc, error));
fail:
  em_model_program_clear(&emitted);
  em_model_weights_free(weights);
  return status;
}

em_status em_parts_load(const em_model *model, const em_plan *plan, const em_devices *devices,
                        em_model_progress_fn progress, void *user, em_parts *out, em_error *error) {
  em_status status = EM_OK;
  loading load = {.progress = progress, .user = user};
  *out = (em_parts){.n = plan->n_parts};
  for (uint32_t i = 0; i < plan->n_parts; i++) {
    out->items[i].backend = em_plan_backend(plan, devices, i);
    load.total_bytes += em_model_file_bytes(model, plan->blocks[i]);
  }
  /* The caches before the weights: if memory runs out nevertheless, it does so before a long read. */
  for (uint32_t i = 0; i < plan->n_parts; i++) {
    em_kv_desc kv = em_plan_kv(plan, model, plan->blocks[i]);
    if (kv.n_layers + kv.n_state_layers > 0)
      EM_TRY(em_kv_new(out->items[i].backend, &kv, &out->items[i].kv, error));
  }
  for (uint32_t i = 0; i < plan->n_parts; i++)
    EM_TRY(prepare(&out->items[i], model, plan, plan->blocks[i], error));
  uint64_t start_ns = em_now_ns();
  for (uint32_t i = 0; i < plan->n_parts; i++) {
    em_part *part = &out->items[i];
    EM_TRY(em_model_load(model, plan->blocks[i], part->backend, progress ? on_progress : NULL, &load, &part->weights,
                         error));
    load.before_bytes += em_model_file_bytes(model, plan->blocks[i]);
  }
  out->weights_ns = em_now_ns() - start_ns;
  return EM_OK;
fail:
  em_parts_free(out);
  return status;
}

void em_parts_free(em_parts *parts) {
  for (uint32_t i = 0; i < parts->n; i++) {
    em_kv_free(parts->items[i].kv);
    em_model_weights_free(parts->items[i].weights);
  }
  *parts = (em_parts){0};
}

uint32_t em_parts_caches(const em_parts *parts, em_kv *out[EM_MAX_PARTS]) {
  uint32_t n = 0;
  for (uint32_t i = 0; i < parts->n; i++)
    if (parts->items[i].kv)
      out[n++] = parts->items[i].kv;
  return n;
}

/* --- Running ------------------------------------------------------------------------------------------------------ */

em_status em_chain_new(const em_parts *parts, const em_model *model, const em_plan *plan, uint32_t max_rows,
                       uint32_t max_outputs, em_chain *out, em_error *error) {
  em_status status = EM_OK;
  em_model_program emitted = {0};
  *out = (em_chain){0};
  for (uint32_t i = 0; i < parts->n; i++) {
    const em_part *part = &parts->items[i];
    EM_TRY(em_model_build(model, part->weights, plan->memory.context_tokens, max_rows, max_outputs, &emitted, error));
    em_program_desc desc = em_plan_program(plan, &emitted, part->kv);
    desc.max_rows = max_rows;
    desc.max_outputs = max_outputs;
    EM_TRY(em_program_new(part->backend, &desc, &out->programs[i], error));
    out->n = i + 1;
    em_model_program_clear(&emitted);
  }
  return EM_OK;
fail:
  em_model_program_clear(&emitted);
  em_chain_free(out);
  return status;
}

void em_chain_free(em_chain *chain) {
  for (uint32_t i = 0; i < chain->n; i++)
    em_program_free(chain->programs[i]);
  *chain = (em_chain){0};
}

em_status em_chain_run(const em_chain *chain, em_step *step, em_error *error) {
  em_status status = EM_OK;
  const uint32_t n_top = step->n_top;
  for (uint32_t i = 0; i < chain->n && status == EM_OK; i++) {
    step->input = i > 0 ? em_program_result(chain->programs[i - 1], 0) : NULL;
    step->n_top = i + 1 == chain->n ? n_top : 0; /* only the last has tokens to pick */
    status = em_backend_run(chain->programs[i], step, error);
  }
  step->n_top = n_top;
  return status;
}

const float *em_chain_logits(const em_chain *chain, uint32_t output) {
  return em_program_result(chain->programs[chain->n - 1], output);
}

uint32_t em_chain_max_top(const em_chain *chain) {
  return em_program_max_top(chain->programs[chain->n - 1]);
}

uint32_t em_chain_max_ahead(const em_chain *chain) {
  return chain->n == 1 ? em_program_max_ahead(chain->programs[0]) : 1;
}

const em_top *em_chain_top(const em_chain *chain, uint32_t output) {
  return em_program_top(chain->programs[chain->n - 1], output);
}

em_step_counters em_chain_counters(const em_chain *chain) {
  em_step_counters sum = {0};
  for (uint32_t i = 0; i < chain->n; i++) {
    em_step_counters part = em_program_counters(chain->programs[i]);
    sum.n_steps = part.n_steps;
    sum.weights_bytes += part.weights_bytes;
    sum.expert_bytes += part.expert_bytes;
    sum.kv_bytes += part.kv_bytes;
    sum.state_bytes += part.state_bytes;
    sum.n_dispatches += part.n_dispatches;
    sum.n_submits += part.n_submits;
    sum.n_made += part.n_made;
  }
  return sum;
}
