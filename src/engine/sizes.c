/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "engine/sizes.h"

#include <stdio.h>

#include "advisor/advisor.h"
#include "base/checked.h"
#include "engine/kv.h"
#include "engine/sampler.h"

/* Whether the device that was asked for has memory of its own, beside the computer's. */
static bool has_own_memory(const em_sizer *sizer) {
  return em_backend_own_memory(sizer->devices->chosen) > 0 ||
         (sizer->params->device_memory_limit_bytes > 0 && em_backend_kind(sizer->devices->chosen) != EM_DEVICE_CPU);
}

/* Of a device with memory of its own what it has left; else of the computer's what the device may use of it too. */
static em_status find_available(const em_sizer *sizer, bool on_chosen, uint64_t *out, em_error *error) {
  const em_engine_params *params = sizer->params;
  uint64_t most = on_chosen ? em_backend_available_memory(sizer->devices->chosen) : UINT64_MAX;
  /* The driver counts a loaded model as used, in whosever memory it is. */
  if (!em_add_u64(most, params->device_freed_bytes, &most))
    most = UINT64_MAX;
  if (on_chosen && has_own_memory(sizer)) {
    *out = params->device_memory_limit_bytes > 0 ? params->device_memory_limit_bytes : most;
    return EM_OK;
  }
  *out = params->memory_limit_bytes;
  if (*out == 0) {
    em_memory_state state;
    em_status status = em_hardware_memory(NULL, &state, error);
    if (status != EM_OK)
      return status;
    *out = em_advisor_fit(0, &state, em_advisor_reserve(&state)).usable_bytes;
  }
  *out = *out < most ? *out : most;
  return EM_OK;
}

void em_sizer_clear(em_sizer *sizer) {
  for (uint32_t i = 0; i < EM_MAX_PARTS; i++) {
    em_model_program_clear(&sizer->emitted[i]);
    em_model_weights_free(sizer->weights[i]);
    sizer->weights[i] = NULL;
  }
}

em_status em_sizer_place(em_sizer *sizer, uint32_t cut, em_error *error) {
  em_status status = EM_OK;
  em_plan *plan = sizer->plan;
  em_memory_plan *memory = &plan->memory;
  const em_model_blocks all = em_model_all_blocks(sizer->model);
  em_sizer_clear(sizer);
  if (cut > 0)
    EM_TRY(em_devices_open_processor(sizer->devices, error));
  plan->n_parts = memory->n_parts = cut > 0 ? 2 : 1;
  plan->blocks[0] = plan->blocks[plan->n_parts - 1] = all;
  if (cut > 0)
    plan->blocks[0].end = plan->blocks[1].first = cut;
  memory->weights_bytes = memory->available_bytes = 0;
  for (uint32_t i = 0; i < plan->n_parts; i++) {
    em_backend *backend = em_plan_backend(plan, sizer->devices, i);
    em_part_plan *part = &memory->parts[i];
    *part = (em_part_plan){.has_embedding = plan->blocks[i].first == 0, .has_head = plan->blocks[i].end == all.end};
    part->kind = em_backend_kind(backend);
    part->has_own_memory = em_backend_own_memory(backend) > 0;
    snprintf(part->device, sizeof part->device, "%s", em_backend_name(backend));
    em_model_layers_of(sizer->model, plan->blocks[i], &part->first_layer, &part->n_layers);
    EM_TRY(find_available(sizer, i + 1 == plan->n_parts, &part->available_bytes, error));
    EM_TRY(em_model_weights_bytes(sizer->model, plan->blocks[i], backend, &part->weights_bytes,
                                  &part->weights_bytes_per_token, error));
    EM_TRY(em_model_describe(sizer->model, plan->blocks[i], backend, &sizer->weights[i], error));
    EM_TRY(em_model_build(sizer->model, sizer->weights[i], plan->memory.context_tokens, plan->batch_rows,
                          plan->max_outputs, &sizer->emitted[i], error));
    if ((i == 0 || has_own_memory(sizer)) &&
        !em_add_u64(memory->available_bytes, part->available_bytes, &memory->available_bytes))
      memory->available_bytes = UINT64_MAX;
  }
fail:
  return status;
}

static em_status compute_part(em_sizer *sizer, uint32_t i, uint64_t own_bytes, em_error *error) {
  em_status status = EM_OK;
  const em_plan *plan = sizer->plan;
  em_backend *backend = em_plan_backend(plan, sizer->devices, i);
  em_part_plan *part = &sizer->plan->memory.parts[i];
  em_kv *kv = NULL;
  em_kv_desc kv_desc = em_plan_kv(plan, sizer->model, plan->blocks[i]);
  part->kv_bytes = 0;
  if (kv_desc.n_layers + kv_desc.n_state_layers > 0) {
    EM_TRY(em_kv_bytes(backend, &kv_desc, &part->kv_bytes, error));
    kv_desc.n_pages = kv_desc.n_states = 0;
    EM_TRY(em_kv_new(backend, &kv_desc, &kv, error));
  }
  em_program_desc program = em_plan_program(plan, &sizer->emitted[i], kv);
  status = em_program_bytes(backend, &program, &part->working_bytes, &sizer->too_long);
  if (status != EM_OK && status != EM_ERR_TOO_BIG)
    EM_TRY(em_fail(error, status, "%s", sizer->too_long.text));
  status = EM_OK;
  if (sizer->too_long.code != EM_OK)
    part->working_bytes = 0;
  if (!em_add_u64(part->working_bytes, own_bytes, &part->working_bytes) ||
      !em_add_u64(part->working_bytes, em_backend_reserve(backend), &part->working_bytes) ||
      !em_add_u64(part->weights_bytes, part->kv_bytes, &part->total_bytes) ||
      !em_add_u64(part->total_bytes, part->working_bytes, &part->total_bytes))
    EM_TRY(em_fail(error, EM_ERR_TOO_BIG, "this model's size overflows"));
fail:
  em_kv_free(kv);
  return status;
}

#define LEAST_KEPT 2u

/* Places for states: one for each slot, and for kept ones about as much memory as the pages take, but no more than one
 * a page. */
static uint32_t count_states(const em_plan *plan, const em_model *model) {
  uint32_t n;
  const em_state_layer *layers = em_model_state_layers(model, em_model_all_blocks(model), &n);
  uint64_t bytes = 0, pages_bytes = em_model_kv_token_bytes(model, plan->kv_type) * EM_KV_PAGE_TOKENS * plan->n_pages;
  for (uint32_t i = 0; i < n; i++)
    bytes += ((uint64_t)layers[i].n_conv + layers[i].n_inner) * sizeof(float);
  if (bytes == 0)
    return 0;
  uint64_t kept = pages_bytes / bytes > LEAST_KEPT ? pages_bytes / bytes : LEAST_KEPT;
  return plan->n_slots + (uint32_t)(kept < plan->n_pages ? kept : plan->n_pages);
}

em_status em_sizer_compute(em_sizer *sizer, uint32_t context_tokens, uint32_t n_pages, em_error *error) {
  em_status status = EM_OK;
  em_plan *plan = sizer->plan;
  em_memory_plan *memory = &plan->memory;
  memory->context_tokens = context_tokens;
  memory->weights_bytes = memory->kv_bytes = memory->working_bytes = memory->total_bytes = 0;
  plan->max_pages = em_plan_pages_for(context_tokens);
  plan->n_pages = n_pages;
  plan->n_states = count_states(plan, sizer->model);
  sizer->too_long = (em_error){0};

  /* The engine's own: page tables and tokens of the slots, the pages' tokens, the sampler, the rows of a step. */
  uint32_t n_vocab = em_model_get_facts(sizer->model)->n_vocab;
  uint64_t own = em_pages_bytes(plan->n_pages) + em_sampler_bytes(n_vocab) + n_vocab / 8 + 16ull * plan->batch_rows +
                 4ull * plan->n_slots * (plan->max_pages + (uint64_t)context_tokens + 2);
  for (uint32_t i = 0; i < plan->n_parts; i++) {
    const em_part_plan *part = &memory->parts[i];
    EM_TRY(compute_part(sizer, i, i == 0 ? own : 0, error));
    memory->weights_bytes += part->weights_bytes;
    memory->kv_bytes += part->kv_bytes;
    memory->working_bytes += part->working_bytes;
    if (!em_add_u64(memory->total_bytes, part->total_bytes, &memory->total_bytes))
      EM_TRY(em_fail(error, EM_ERR_TOO_BIG, "this model's size overflows"));
  }
fail:
  return status;
}

bool em_sizer_part_fits(const em_sizer *sizer, uint32_t i) {
  const em_part_plan *part = &sizer->plan->memory.parts[i];
  return part->total_bytes <= part->available_bytes && sizer->too_long.code == EM_OK;
}

bool em_sizer_fits(const em_sizer *sizer) {
  const em_memory_plan *memory = &sizer->plan->memory;
  bool fits = memory->total_bytes <= memory->available_bytes && sizer->too_long.code == EM_OK;
  for (uint32_t i = 0; i < memory->n_parts; i++)
    fits = fits && em_sizer_part_fits(sizer, i);
  return fits;
}
