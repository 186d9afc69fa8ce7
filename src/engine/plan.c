/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sizes are asked of the backend with weights and a cache that hold no data, so that they are exact while nothing is
 * allocated. Where memory is short the slots share fewer pages, down to what one slot can use; then the context
 * shrinks, if the caller left it open. */
#include "engine/plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "advisor/advisor.h"
#include "base/checked.h"
#include "engine/kv.h"
#include "engine/sampler.h"
#include "hardware/hardware.h"

#define DEFAULT_SLOTS 4u
#define DEFAULT_BATCH 256u
#define DEFAULT_CONTEXT 8192u
#define LEAST_CONTEXT 512u /* below this a conversation is not worth loading a model for */

typedef struct planner {
  const em_model *model;
  em_backend *backend;
  em_model_weights *weights; /* without data */
  em_model_program parts;
  em_plan *plan;
} planner;

em_status em_devices_open(const em_backend_params *params, em_devices *out, em_error *error) {
  *out = (em_devices){.params = *params};
  return em_backend_open(params, &out->chosen, error);
}

em_status em_devices_open_processor(em_devices *devices, em_error *error) {
  em_backend_params params = devices->params;
  params.kind = EM_DEVICE_CPU;
  return devices->processor ? EM_OK : em_backend_open(&params, &devices->processor, error);
}

void em_devices_close(em_devices *devices) {
  em_backend_close(devices->chosen);
  em_backend_close(devices->processor);
  devices->chosen = devices->processor = NULL;
}

em_backend *em_plan_backend(const em_plan *plan, const em_devices *devices, uint32_t i) {
  return i + 1 < plan->n_parts ? devices->processor : devices->chosen;
}

em_kv_desc em_plan_kv(const em_plan *plan, const em_model *model, em_model_blocks blocks) {
  em_kv_desc desc = {.type = plan->kv_type, .n_pages = plan->n_pages};
  desc.layers = em_model_kv_layers(model, blocks, &desc.n_layers);
  return desc;
}

em_program_desc em_plan_program(const em_plan *plan, const em_model_program *emitted, em_kv *kv) {
  return (em_program_desc){
      .stages = emitted->stages,
      .n_stages = emitted->n_stages,
      .values = emitted->values,
      .n_values = emitted->n_values,
      .scratch_floats = emitted->scratch_floats,
      .max_rows = plan->batch_rows,
      .max_outputs = plan->n_slots,
      .max_slots = plan->n_slots,
      .max_pages = plan->max_pages,
      .kv = kv,
      .result = emitted->result,
  };
}

static uint32_t pages_for(uint32_t tokens) {
  return tokens / EM_KV_PAGE_TOKENS + (tokens % EM_KV_PAGE_TOKENS != 0);
}

/* Computes every size for a context and a number of pages, and stores them in the plan. */
static em_status size_for(planner *p, uint32_t context_tokens, uint32_t n_pages, em_error *error) {
  em_status status = EM_OK;
  em_plan *plan = p->plan;
  em_memory_plan *memory = &plan->memory;
  em_kv *kv = NULL;
  memory->context_tokens = context_tokens;
  plan->max_pages = pages_for(context_tokens);
  plan->n_pages = n_pages;

  em_kv_desc kv_desc = em_plan_kv(plan, p->model, em_model_all_blocks(p->model));
  EM_TRY(em_kv_bytes(p->backend, &kv_desc, &memory->kv_bytes, error));
  kv_desc.n_pages = 0;
  EM_TRY(em_kv_new(p->backend, &kv_desc, &kv, error));
  em_program_desc program = em_plan_program(plan, &p->parts, kv);
  EM_TRY(em_program_bytes(p->backend, &program, &memory->working_bytes, error));

  /* The engine's own: page tables and tokens of the slots, the pages' tokens, the sampler, the rows of a step. */
  uint32_t n_vocab = em_model_get_facts(p->model)->n_vocab;
  uint64_t own = em_pages_bytes(plan->n_pages) + em_sampler_bytes(n_vocab) + n_vocab / 8 + 16ull * plan->batch_rows +
                 4ull * plan->n_slots * (plan->max_pages + (uint64_t)context_tokens + 1);
  if (!em_add_u64(memory->working_bytes, own, &memory->working_bytes) ||
      !em_add_u64(memory->weights_bytes, memory->kv_bytes, &memory->total_bytes) ||
      !em_add_u64(memory->total_bytes, memory->working_bytes, &memory->total_bytes))
    EM_TRY(em_fail(error, EM_ERR_TOO_BIG, "this model's size overflows"));
fail:
  em_kv_free(kv);
  return status;
}

static bool fits(const planner *p) {
  return p->plan->memory.total_bytes <= p->plan->memory.available_bytes;
}

/* Where not even one slot's pages fit, the longest context of whole pages that does; memory grows with the context. */
static em_status shrink_context(planner *p, uint32_t most, em_error *error) {
  uint32_t good = 0, bad = pages_for(most);
  while (bad - good > 1) {
    uint32_t middle = good + (bad - good) / 2;
    em_status status = size_for(p, middle * EM_KV_PAGE_TOKENS, middle, error);
    if (status != EM_OK)
      return status;
    if (fits(p))
      good = middle;
    else
      bad = middle;
  }
  uint32_t chosen = good * EM_KV_PAGE_TOKENS, least = most < LEAST_CONTEXT ? most : LEAST_CONTEXT;
  chosen = chosen > least ? chosen : least;
  return size_for(p, chosen, pages_for(chosen), error);
}

static em_status choose_sizes(planner *p, uint32_t wanted_context, em_error *error) {
  uint32_t trained = em_model_get_facts(p->model)->train_context_tokens;
  uint32_t context = wanted_context > 0 ? wanted_context : DEFAULT_CONTEXT;
  if (context > trained)
    context = trained;
  uint32_t a_slot = pages_for(context), all = p->plan->n_slots * a_slot;
  em_status status = size_for(p, context, all, error);
  if (status != EM_OK || fits(p))
    return status;
  status = size_for(p, context, a_slot, error);
  if (status != EM_OK)
    return status;
  if (!fits(p))
    return wanted_context > 0 ? EM_OK : shrink_context(p, context, error);

  uint32_t good = a_slot, bad = all;
  while (bad - good > 1) {
    uint32_t middle = good + (bad - good) / 2;
    status = size_for(p, context, middle, error);
    if (status != EM_OK)
      return status;
    if (fits(p))
      good = middle;
    else
      bad = middle;
  }
  return size_for(p, context, good, error);
}

static void write_size(char *out, size_t out_bytes, uint64_t bytes) {
  if (bytes >= 100000000)
    snprintf(out, out_bytes, "%.1f GB", (double)bytes / 1e9);
  else
    snprintf(out, out_bytes, "%.1f MB", (double)bytes / 1e6);
}

/* What the desktop shows lies in a graphics card's memory too; a sixteenth is left to it. */
static em_status find_available(const em_backend *backend, const em_engine_params *params, em_memory_plan *memory,
                                em_error *error) {
  uint64_t own = em_backend_own_memory(backend);
  if (own > 0) {
    memory->available_bytes = own - own / 16;
    return EM_OK;
  }
  if (params->memory_limit_bytes > 0) {
    memory->available_bytes = params->memory_limit_bytes;
    return EM_OK;
  }
  em_memory_state state;
  em_status status = em_hardware_memory(NULL, &state, error);
  if (status == EM_OK)
    memory->available_bytes = em_advisor_fit(0, &state, em_advisor_reserve(&state)).usable_bytes;
  return status;
}

em_status em_plan_make(const em_model *model, em_devices *devices, const em_engine_params *params, em_plan *out,
                       em_error *error) {
  em_status status = EM_OK;
  em_backend *backend = devices->chosen;
  planner p = {.model = model, .backend = backend, .plan = out};
  *out = (em_plan){
      .kv_type = params->kv_type,
      .n_slots = params->n_slots > 0 ? params->n_slots : DEFAULT_SLOTS,
      .batch_rows = params->batch_rows > 0 ? params->batch_rows : DEFAULT_BATCH,
      .n_parts = 1,
      .blocks = {em_model_all_blocks(model)},
  };
  if (out->n_slots > EM_ENGINE_MAX_SLOTS || out->batch_rows > EM_ENGINE_MAX_BATCH)
    EM_TRY(em_fail(error, EM_ERR_ARGUMENT, "%u slots and %u rows a step were asked for; %u and %u are the most",
                   out->n_slots, out->batch_rows, EM_ENGINE_MAX_SLOTS, EM_ENGINE_MAX_BATCH));
  /* Every slot that decodes has a row in every step. */
  if (out->batch_rows < out->n_slots)
    out->batch_rows = out->n_slots;
  out->kv_bytes_per_token = em_model_kv_token_bytes(model, params->kv_type);

  EM_TRY(find_available(backend, params, &out->memory, error));
  EM_TRY(em_model_weights_bytes(model, em_model_all_blocks(model), backend, &out->memory.weights_bytes, NULL,
                                error));
  EM_TRY(em_model_describe(model, em_model_all_blocks(model), backend, &p.weights, error));
  EM_TRY(em_model_build(model, p.weights, out->batch_rows, out->n_slots, &p.parts, error));
  EM_TRY(choose_sizes(&p, params->context_tokens, error));
  if (!fits(&p)) {
    char needed[32], available[32];
    write_size(needed, sizeof needed, out->memory.total_bytes);
    write_size(available, sizeof available, out->memory.available_bytes);
    EM_TRY(em_fail(error, EM_ERR_TOO_BIG, "this model needs %s of memory and %s are free", needed, available));
  }
fail:
  em_model_program_clear(&p.parts);
  em_model_weights_free(p.weights);
  return status;
}

em_status em_engine_plan(const em_gguf *gguf, const em_engine_params *params, em_memory_plan *out, em_error *error) {
  em_status status = EM_OK;
  em_model *model = NULL;
  em_devices devices = {0};
  em_plan plan;
  EM_TRY(em_model_open(gguf, &model, error));
  EM_TRY(em_devices_open(&params->backend, &devices, error));
  status = em_plan_make(model, &devices, params, &plan, error);
  if (status == EM_OK || status == EM_ERR_TOO_BIG)
    *out = plan.memory;
fail:
  em_devices_close(&devices);
  em_model_close(model);
  return status;
}
