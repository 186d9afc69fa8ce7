/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where memory is short the slots share fewer pages, down to what one slot can use; then layers move to the processor;
 * then the context shrinks, if the caller left it open. */
#include "engine/plan.h"

#include <stdarg.h>
#include <stdio.h>

#include "advisor/advisor.h"
#include "engine/sizes.h"
#include "hardware/bandwidth.h"

#define DEFAULT_SLOTS 4u
#define DEFAULT_BATCH 256u
#define DEFAULT_CONTEXT 8192u
#define MEASURED_BYTES (256ull << 20) /* of a graphics device's memory, to learn how fast it is read */
#define LEAST_CONTEXT 512u            /* below this a conversation is not worth loading a model for */

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
  desc.state_layers = em_model_state_layers(model, blocks, &desc.n_state_layers);
  desc.n_states = desc.n_state_layers > 0 ? plan->n_states : 0;
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
      .max_outputs = plan->max_outputs,
      .max_slots = plan->n_slots,
      .max_pages = plan->max_pages,
      .kv = kv,
      .result = emitted->result,
  };
}

em_backend_params em_plan_device(const em_engine_params *params) {
  em_backend_params device = params->backend;
  if (params->says_gpu_layers && params->n_gpu_layers == 0)
    device.kind = EM_DEVICE_CPU;
  return device;
}

uint32_t em_plan_pages_for(uint32_t tokens) {
  return tokens / EM_KV_PAGE_TOKENS + (tokens % EM_KV_PAGE_TOKENS != 0);
}

/* --- Pages and context -------------------------------------------------------------------------------------------- */

/* Where not even one slot's pages fit, the longest context of whole pages that does; memory grows with the context. */
static em_status shrink_context(em_sizer *p, uint32_t most, em_error *error) {
  uint32_t good = 0, bad = em_plan_pages_for(most);
  while (bad - good > 1) {
    uint32_t middle = good + (bad - good) / 2;
    em_status status = em_sizer_compute(p, middle * EM_KV_PAGE_TOKENS, middle, error);
    if (status != EM_OK)
      return status;
    if (em_sizer_fits(p))
      good = middle;
    else
      bad = middle;
  }
  uint32_t chosen = good * EM_KV_PAGE_TOKENS, least = most < LEAST_CONTEXT ? most : LEAST_CONTEXT;
  chosen = chosen > least ? chosen : least;
  return em_sizer_compute(p, chosen, em_plan_pages_for(chosen), error);
}

static uint32_t wanted_context(const em_sizer *p) {
  uint32_t trained = em_model_get_facts(p->model)->train_context_tokens;
  uint32_t context = p->params->context_tokens > 0 ? p->params->context_tokens : DEFAULT_CONTEXT;
  return context < trained ? context : trained;
}

/* Every slot's pages, or as many as fit, but one slot's at least: those are chosen when they do not fit either. */
static em_status choose_pages(em_sizer *p, em_error *error) {
  uint32_t context = wanted_context(p), a_slot = em_plan_pages_for(context), all = p->plan->n_slots * a_slot;
  em_status status = em_sizer_compute(p, context, all, error);
  if (status != EM_OK || em_sizer_fits(p))
    return status;
  status = em_sizer_compute(p, context, a_slot, error);
  if (status != EM_OK || !em_sizer_fits(p))
    return status;

  uint32_t good = a_slot, bad = all;
  while (bad - good > 1) {
    uint32_t middle = good + (bad - good) / 2;
    status = em_sizer_compute(p, context, middle, error);
    if (status != EM_OK)
      return status;
    if (em_sizer_fits(p))
      good = middle;
    else
      bad = middle;
  }
  return em_sizer_compute(p, context, good, error);
}

static em_status choose_sizes(em_sizer *p, em_error *error) {
  em_status status = choose_pages(p, error);
  if (status != EM_OK || em_sizer_fits(p) || p->params->context_tokens > 0)
    return status;
  return shrink_context(p, wanted_context(p), error);
}

/* --- What lives where --------------------------------------------------------------------------------------------- */

static bool is_on_graphics(const em_sizer *p) {
  return em_backend_kind(p->devices->chosen) != EM_DEVICE_CPU;
}

static void write_placement(em_plan *plan, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(plan->memory.placement, sizeof plan->memory.placement, format, args);
  va_end(args);
}

/* Where the processor alone has room for all of it too, the ceilings of what is placed and of the processor, from the
 * bandwidths that are given or measured. */
static em_status predict(em_sizer *p, bool *fits_alone, em_error *error) {
  em_memory_plan *memory = &p->plan->memory;
  uint64_t bytes, alone;
  em_status status =
      em_model_weights_bytes(p->model, em_model_all_blocks(p->model), p->devices->processor, &bytes, &alone, error);
  if (status != EM_OK)
    return status;
  /* What is no weights takes about as much there as it does here. */
  *fits_alone = bytes + memory->kv_bytes + memory->working_bytes <= memory->parts[0].available_bytes;
  if (!*fits_alone)
    return EM_OK;
  memory->processor_bytes_per_s = p->params->processor_bytes_per_s;
  memory->device_bytes_per_s = p->params->device_bytes_per_s;
  /* What cannot be measured is not known; the null device stands for one that is elsewhere. */
  bool is_here = em_backend_kind(p->devices->chosen) != EM_DEVICE_NULL;
  if (memory->processor_bytes_per_s == 0 && is_here)
    (void)!em_hardware_read_bandwidth(p->params->backend.n_threads, &memory->processor_bytes_per_s, NULL);
  if (memory->device_bytes_per_s == 0 && is_here) {
    em_backend_speed speed;
    if (em_backend_measure(p->devices->chosen, MEASURED_BYTES, &speed, NULL) == EM_OK)
      memory->device_bytes_per_s = speed.read_bytes_per_s;
  }
  em_advisor_share shares[EM_MAX_PARTS] = {{memory->parts[0].weights_bytes_per_token, memory->processor_bytes_per_s},
                                           {memory->parts[1].weights_bytes_per_token, memory->device_bytes_per_s}};
  memory->shared_tokens_per_s = em_advisor_shared_ceiling(shares, 2);
  memory->processor_tokens_per_s = em_advisor_ceiling((double)memory->processor_bytes_per_s, alone);
  return EM_OK;
}

/* Finds the fewest blocks on the processor with which the rest and one slot's context fit the graphics device. *cut 0:
 * there is no such number that leaves a layer there and fits the processor. */
static em_status find_cut(em_sizer *p, uint32_t *cut, em_error *error) {
  em_status status = EM_OK;
  uint32_t context = wanted_context(p), n_pages = em_plan_pages_for(context);
  uint32_t most = em_model_get_facts(p->model)->n_layers, bad = 0, good = most + 1;
  *cut = 0;
  while (good - bad > 1) {
    uint32_t middle = bad + (good - bad) / 2;
    EM_TRY(em_sizer_place(p, middle, error));
    EM_TRY(em_sizer_compute(p, context, n_pages, error));
    if (em_sizer_part_fits(p, 1))
      good = middle;
    else
      bad = middle;
  }
  if (good > most)
    return EM_OK;
  EM_TRY(em_sizer_place(p, good, error));
  EM_TRY(em_sizer_compute(p, context, n_pages, error));
  if (em_sizer_fits(p))
    *cut = good;
fail:
  return status;
}

/* Shares the layers between the processor and a graphics device that has not room for all of them, where that is
 * predicted to be faster than the processor alone. *done: it is so planned. */
static em_status share_layers(em_sizer *p, bool *done, em_error *error) {
  em_status status = EM_OK;
  em_memory_plan *memory = &p->plan->memory;
  uint32_t cut;
  bool fits_alone;
  char room[96];
  *done = false;
  EM_TRY(find_cut(p, &cut, error));
  if (cut == 0)
    return EM_OK;
  EM_TRY(predict(p, &fits_alone, error));
  uint32_t n = memory->parts[1].n_layers, n_layers = em_model_get_facts(p->model)->n_layers;
  if (n < n_layers)
    snprintf(room, sizeof room, "The graphics card's memory has room for %u of the %u layers", n, n_layers);
  else
    snprintf(room, sizeof room, "The graphics card's memory has room for every layer, but not for the embedding");
  if (!fits_alone)
    write_placement(p->plan, "%s, and the computer's has not for all.", room);
  else if (memory->shared_tokens_per_s == 0)
    write_placement(
        p->plan, "%s; how fast the memories are is not known, and a graphics card's is taken to be the faster.", room);
  else if (memory->shared_tokens_per_s > memory->processor_tokens_per_s)
    write_placement(p->plan,
                    "%s; shared with the processor the model can reach %.3g tokens a second, on the processor alone "
                    "%.3g.",
                    room, memory->shared_tokens_per_s, memory->processor_tokens_per_s);
  else
    EM_TRY(
        em_fail(error, EM_ERR_TOO_BIG,
                "this model does not fit on the graphics card; shared with the processor it could reach %.3g tokens a "
                "second, on the processor alone %.3g",
                memory->shared_tokens_per_s, memory->processor_tokens_per_s));
  EM_TRY(choose_pages(p, error));
  *done = true;
fail:
  return status;
}

static em_status choose_placement(em_sizer *p, em_error *error) {
  em_status status = EM_OK;
  uint32_t n_layers = em_model_get_facts(p->model)->n_layers;
  bool done = false, is_divisible = em_model_get_facts(p->model)->is_divisible;
  if (p->params->says_gpu_layers && is_on_graphics(p)) {
    uint32_t n = is_divisible ? p->params->n_gpu_layers : n_layers;
    EM_TRY(em_sizer_place(p, n < n_layers ? 1 + n_layers - n : 0, error));
    if (n < n_layers)
      write_placement(p->plan, "On the graphics card, as asked for: %u of the %u layers.", n, n_layers);
    else if (p->params->n_gpu_layers < n_layers)
      write_placement(p->plan, "Everything is on the graphics card: this model's layers cannot be shared.");
    else
      write_placement(p->plan, "Everything is on the graphics card, as asked for.");
    return choose_sizes(p, error);
  }
  EM_TRY(em_sizer_place(p, 0, error));
  EM_TRY(choose_pages(p, error));
  if (!em_sizer_fits(p)) {
    if (is_on_graphics(p) && is_divisible && p->too_long.code == EM_OK)
      EM_TRY(share_layers(p, &done, error));
    if (done)
      return EM_OK;
    EM_TRY(em_sizer_place(p, 0, error));
    EM_TRY(choose_sizes(p, error));
  }
  write_placement(p->plan,
                  is_on_graphics(p) ? "Everything is on the graphics card." : "Everything is on the processor.");
fail:
  return status;
}

/* --- The plan ----------------------------------------------------------------------------------------------------- */

static void write_size(char *out, size_t out_bytes, uint64_t bytes) {
  if (bytes >= 100000000)
    snprintf(out, out_bytes, "%.1f GB", (double)bytes / 1e9);
  else
    snprintf(out, out_bytes, "%.1f MB", (double)bytes / 1e6);
}

static em_status fail_too_big(const em_sizer *p, em_error *error) {
  const em_memory_plan *memory = &p->plan->memory;
  char needed[32], available[32];
  if (p->too_long.code != EM_OK)
    return em_fail(error, EM_ERR_TOO_BIG, "%s", p->too_long.text);
  for (uint32_t i = 0; i < memory->n_parts && memory->n_parts > 1; i++) {
    const em_part_plan *part = &memory->parts[i];
    write_size(needed, sizeof needed, part->total_bytes);
    write_size(available, sizeof available, part->available_bytes);
    if (!em_sizer_part_fits(p, i))
      return em_fail(error, EM_ERR_TOO_BIG, "%u layers of this model need %s of the %s's memory and %s are free",
                     part->n_layers, needed, i == 0 ? "processor" : "graphics card", available);
  }
  write_size(needed, sizeof needed, memory->total_bytes);
  write_size(available, sizeof available, memory->available_bytes);
  return em_fail(error, EM_ERR_TOO_BIG, "this model needs %s of memory and %s are free", needed, available);
}

em_status em_plan_make(const em_model *model, em_devices *devices, const em_engine_params *params, em_plan *out,
                       em_error *error) {
  em_status status = EM_OK;
  em_sizer sizer = {.model = model, .devices = devices, .params = params, .plan = out};
  *out = (em_plan){
      .kv_type = params->kv_type,
      .n_slots = params->n_slots > 0 ? params->n_slots : DEFAULT_SLOTS,
      .batch_rows = params->batch_rows > 0 ? params->batch_rows : DEFAULT_BATCH,
  };
  if (out->n_slots > EM_ENGINE_MAX_SLOTS || out->batch_rows > EM_ENGINE_MAX_BATCH)
    EM_TRY(em_fail(error, EM_ERR_ARGUMENT, "%u slots and %u rows a step were asked for; %u and %u are the most",
                   out->n_slots, out->batch_rows, EM_ENGINE_MAX_SLOTS, EM_ENGINE_MAX_BATCH));
  if (params->says_gpu_layers && params->n_gpu_layers > 0 && !is_on_graphics(&sizer))
    EM_TRY(em_fail(error, EM_ERR_ARGUMENT, "layers were asked for on the graphics card, and the device is %s",
                   em_backend_name(devices->chosen)));
  /* Every slot that decodes has a row in every step. */
  if (out->batch_rows < out->n_slots)
    out->batch_rows = out->n_slots;
  out->max_outputs = out->n_slots;
  if (params->draft && out->max_outputs <= EM_DRAFT_MAX)
    out->max_outputs = out->batch_rows <= EM_DRAFT_MAX ? out->batch_rows : EM_DRAFT_MAX + 1;
  out->kv_bytes_per_token = em_model_kv_token_bytes(model, params->kv_type);

  EM_TRY(choose_placement(&sizer, error));
  if (!em_sizer_fits(&sizer))
    EM_TRY(fail_too_big(&sizer, error));
fail:
  em_sizer_clear(&sizer);
  if (out->n_parts < 2) {
    em_backend_close(devices->processor);
    devices->processor = NULL;
  }
  return status;
}

em_freed em_engine_freed(const em_memory_plan *loaded, uint64_t resident_bytes) {
  em_freed freed = {0};
  for (uint32_t i = 0; i < loaded->n_parts; i++) {
    const em_part_plan *part = &loaded->parts[i];
    /* A draft is where the last part is. */
    const uint64_t bytes = part->total_bytes + (i + 1 == loaded->n_parts ? loaded->draft_bytes : 0);
    if (part->kind == EM_DEVICE_VULKAN)
      freed.device_bytes += bytes;
    if (part->kind != EM_DEVICE_VULKAN)
      freed.computer_bytes += bytes < resident_bytes ? bytes : resident_bytes;
    else if (!part->has_own_memory)
      freed.computer_bytes += bytes;
  }
  return freed;
}

em_status em_engine_plan(const em_gguf *gguf, const em_engine_params *params, em_memory_plan *out, em_error *error) {
  em_status status = EM_OK;
  em_model *model = NULL;
  em_devices devices = {0};
  em_backend_params device = em_plan_device(params);
  em_plan plan;
  EM_TRY(em_model_open(gguf, &model, error));
  EM_TRY(em_devices_open(&device, &devices, error));
  status = em_plan_make(model, &devices, params, &plan, error);
  if (status == EM_OK || status == EM_ERR_TOO_BIG)
    *out = plan.memory;
fail:
  em_devices_close(&devices);
  em_model_close(model);
  return status;
}
