/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The front of all backends: every argument is checked here and in check.c, once, and nowhere below. */
#include "backend/impl.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

#define MAX_HEADS 65536u
#define MAX_HEAD_DIM 65536u
#define MAX_DIM (uint64_t)INT32_MAX
#define MAX_MATRICES 65536u
#define MAX_STATES 65536u

/* --- Devices -------------------------------------------------------------------------------------------------------
 */

em_status em_backend_open(const em_backend_params *params, em_backend **out, em_error *error) {
  *out = NULL;
  if ((unsigned)params->max_isa >= EM_N_ISAS)
    return em_fail(error, EM_ERR_ARGUMENT, "there is no instruction set %u", (unsigned)params->max_isa);
  switch (params->kind) {
  case EM_DEVICE_NULL:
    return em_null_open(params, out, error);
  case EM_DEVICE_CPU:
    return em_cpu_open(params, out, error);
  case EM_DEVICE_VULKAN:
    return em_vulkan_open(params, out, error);
  }
  return em_fail(error, EM_ERR_UNSUPPORTED, "this build has no backend for that device");
}

void em_backend_close(em_backend *backend) {
  if (backend)
    backend->fns->close(backend);
}

em_device_kind em_backend_kind(const em_backend *backend) {
  return backend->kind;
}

const char *em_backend_name(const em_backend *backend) {
  return backend->name;
}

uint64_t em_backend_reserve(const em_backend *backend) {
  return backend->reserve_bytes;
}

uint64_t em_backend_own_memory(const em_backend *backend) {
  return backend->own_memory_bytes;
}

uint32_t em_backend_few_rows(const em_backend *backend) {
  return backend->few_rows;
}

uint64_t em_backend_available_memory(const em_backend *backend) {
  return backend->fns->available_memory ? backend->fns->available_memory(backend) : UINT64_MAX;
}

em_status em_backend_measure(em_backend *backend, uint64_t bytes, em_backend_speed *out, em_error *error) {
  *out = (em_backend_speed){0};
  if (!backend->fns->measure)
    return em_fail(error, EM_ERR_UNSUPPORTED, "%s cannot be measured as a device", backend->name);
  return backend->fns->measure(backend, bytes, out, error);
}

/* --- Weights -------------------------------------------------------------------------------------------------------
 */

static em_status check_weights(const em_backend *backend, const em_weights_desc *desc, em_error *error) {
  const char *name = desc->name ? desc->name : "a tensor";
  uint64_t row_bytes, bytes;
  bool is_stack = desc->use == EM_USE_STACK;
  if (!is_stack && (desc->use == 0 || (desc->use & ~(unsigned)(EM_USE_VECTOR | EM_USE_MATRIX | EM_USE_TABLE)) != 0 ||
                    ((desc->use & EM_USE_VECTOR) != 0 && desc->use != EM_USE_VECTOR)))
    return em_fail(error, EM_ERR_ARGUMENT, "%s has no legal use", name);
  if (desc->n_in == 0 || desc->n_rows == 0 || desc->n_in > MAX_DIM || desc->n_rows > MAX_DIM)
    return em_fail(error, EM_ERR_ARGUMENT, "%s has no legal shape", name);
  if ((desc->n_matrices != 0) != is_stack || desc->n_matrices > MAX_MATRICES)
    return em_fail(error, EM_ERR_ARGUMENT, "%s has no legal number of matrices", name);
  if (desc->use == EM_USE_VECTOR && desc->n_rows != 1)
    return em_fail(error, EM_ERR_ARGUMENT, "%s is no vector", name);
  if (!em_type_row_bytes(desc->type, desc->n_in, &row_bytes) || !em_mul_u64(row_bytes, desc->n_rows, &bytes) ||
      !em_mul_u64(bytes, is_stack ? desc->n_matrices : 1, &bytes))
    return em_fail(error, EM_ERR_ARGUMENT, "%s has rows that are no whole number of blocks", name);
  if (is_stack && !(backend->fns->runs & EM_RUNS_STACKS))
    return em_fail(error, EM_ERR_UNSUPPORTED, "%s cannot hold %s yet", backend->name, name);
  return EM_OK;
}

em_status em_weights_bytes(const em_backend *backend, const em_weights_desc *desc, uint64_t *out, em_error *error) {
  em_status status = check_weights(backend, desc, error);
  return status == EM_OK ? backend->fns->weights_bytes(backend, desc, out, error) : status;
}

em_status em_weights_new(em_backend *backend, const em_weights_desc *desc, em_read_fn read, void *user,
                         em_weights **out, em_error *error) {
  em_status status = EM_OK;
  uint64_t bytes;
  em_weights *weights;
  *out = NULL;
  EM_TRY(em_weights_bytes(backend, desc, &bytes, error));
  EM_TRY(backend->fns->weights_new(backend, desc, read, user, &weights, error));
  weights->backend = backend;
  weights->type = desc->type;
  weights->n_in = desc->n_in;
  weights->n_rows = desc->n_rows;
  weights->n_matrices = desc->n_matrices;
  weights->use = desc->use;
  weights->stored_bytes = bytes;
  weights->without_data = !read;
  *out = weights;
fail:
  return status;
}

void em_weights_free(em_weights *weights) {
  if (weights)
    weights->backend->fns->weights_free(weights);
}

/* --- The KV cache ---------------------------------------------------------------------------------------------------
 */

static em_status check_kv(const em_backend *backend, const em_kv_desc *desc, em_error *error) {
  if (desc->type != EM_TYPE_F32 && desc->type != EM_TYPE_F16 && desc->type != EM_TYPE_Q8_0)
    return em_fail(error, EM_ERR_UNSUPPORTED, "a KV cache of this type is not supported");
  if (desc->n_pages > EM_KV_MAX_PAGES)
    return em_fail(error, EM_ERR_ARGUMENT, "a KV cache cannot have %u pages", desc->n_pages);
  for (uint32_t i = 0; i < desc->n_layers; i++) {
    const em_kv_layer *layer = &desc->layers[i];
    if (layer->n_heads == 0 || layer->n_heads > MAX_HEADS || layer->k_dim == 0 || layer->k_dim > MAX_HEAD_DIM ||
        layer->v_dim == 0 || layer->v_dim > MAX_HEAD_DIM)
      return em_fail(error, EM_ERR_ARGUMENT, "layer %u of the KV cache has no legal shape", i);
    if (desc->type == EM_TYPE_Q8_0 && (layer->k_dim % 32 != 0 || layer->v_dim % 32 != 0))
      return em_fail(error, EM_ERR_UNSUPPORTED, "a Q8_0 KV cache needs heads of a multiple of 32 values");
    if (layer->v_in_k && layer->v_dim > layer->k_dim)
      return em_fail(error, EM_ERR_ARGUMENT, "layer %u of the KV cache has values longer than its keys", i);
    if (layer->v_in_k && !(backend->fns->runs & EM_RUNS_V_IN_K))
      return em_fail(error, EM_ERR_UNSUPPORTED, "%s cannot hold a cache of latent attention yet", backend->name);
  }
  if (desc->n_states > MAX_STATES)
    return em_fail(error, EM_ERR_ARGUMENT, "a cache cannot have %u states", desc->n_states);
  for (uint32_t i = 0; i < desc->n_state_layers; i++) {
    if (desc->state_layers[i].n_conv > MAX_DIM || desc->state_layers[i].n_inner > MAX_DIM)
      return em_fail(error, EM_ERR_ARGUMENT, "recurrent layer %u has no legal shape", i);
  }
  if (desc->n_state_layers > 0 && !(backend->fns->runs & EM_RUNS_STATES))
    return em_fail(error, EM_ERR_UNSUPPORTED, "%s cannot hold the states of recurrent layers yet", backend->name);
  return EM_OK;
}

em_status em_kv_bytes(const em_backend *backend, const em_kv_desc *desc, uint64_t *out, em_error *error) {
  em_status status = check_kv(backend, desc, error);
  return status == EM_OK ? backend->fns->kv_bytes(backend, desc, out, error) : status;
}

em_status em_kv_new(em_backend *backend, const em_kv_desc *desc, em_kv **out, em_error *error) {
  em_status status = EM_OK;
  em_kv_layer *layers = NULL;
  em_state_layer *state_layers = NULL;
  em_kv *kv;
  *out = NULL;
  EM_TRY(check_kv(backend, desc, error));
  layers = em_calloc(desc->n_layers ? desc->n_layers : 1, sizeof *layers);
  state_layers = em_calloc(desc->n_state_layers ? desc->n_state_layers : 1, sizeof *state_layers);
  if (!layers || !state_layers)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the KV cache"));
  if (desc->n_layers > 0)
    memcpy(layers, desc->layers, desc->n_layers * sizeof *layers);
  if (desc->n_state_layers > 0)
    memcpy(state_layers, desc->state_layers, desc->n_state_layers * sizeof *state_layers);
  EM_TRY(backend->fns->kv_new(backend, desc, &kv, error));
  kv->backend = backend;
  kv->type = desc->type;
  kv->layers = layers;
  kv->n_layers = desc->n_layers;
  kv->n_pages = desc->n_pages;
  kv->state_layers = state_layers;
  kv->n_state_layers = desc->n_state_layers;
  kv->n_states = desc->n_states;
  *out = kv;
  return EM_OK;
fail:
  free(layers);
  free(state_layers);
  return status;
}

void em_kv_free(em_kv *kv) {
  if (!kv)
    return;
  em_kv_layer *layers = kv->layers;
  em_state_layer *state_layers = kv->state_layers;
  kv->backend->fns->kv_free(kv);
  free(layers);
  free(state_layers);
}

em_status em_kv_copy(em_kv *kv, uint32_t from, uint32_t to, uint32_t n_tokens, em_error *error) {
  if (from >= kv->n_pages || to >= kv->n_pages || n_tokens > EM_KV_PAGE_TOKENS)
    return em_fail(error, EM_ERR_ARGUMENT, "no such page of the KV cache");
  return from != to && n_tokens > 0 ? kv->backend->fns->kv_copy(kv, from, to, n_tokens, error) : EM_OK;
}

em_status em_kv_copy_state(em_kv *kv, uint32_t from, uint32_t to, em_error *error) {
  if (kv->n_state_layers == 0)
    return EM_OK; /* of a part whose layers have none there are no places either */
  if (from >= kv->n_states || to >= kv->n_states)
    return em_fail(error, EM_ERR_ARGUMENT, "no such state of the cache");
  return from != to ? kv->backend->fns->kv_copy_state(kv, from, to, error) : EM_OK;
}

/* --- Programs -------------------------------------------------------------------------------------------------------
 */

em_status em_program_bytes(const em_backend *backend, const em_program_desc *desc, uint64_t *out, em_error *error) {
  em_status status = em_check_program(backend, desc, error);
  return status == EM_OK ? backend->fns->program_bytes(backend, desc, out, error) : status;
}

em_status em_program_prepare(em_backend *backend, const em_program_desc *desc, em_error *error) {
  em_status status = em_check_program(backend, desc, error);
  return status == EM_OK && backend->fns->program_prepare ? backend->fns->program_prepare(backend, desc, error)
                                                          : status;
}

em_prepare_times em_backend_prepare_times(em_backend *backend) {
  return backend->fns->prepare_times ? backend->fns->prepare_times(backend) : (em_prepare_times){0};
}

/* What a stage reads of weights, and how much of them. */
typedef enum reading {
  READ_ROWS,    /* a row of the table for each row of the step */
  READ_ROW,     /* one row, once a step */
  READ_ONCE,    /* all of it, once a step */
  READ_FACTORS, /* the same, however many stages do */
  READ_CHOSEN   /* the shares of the experts that a row chose */
} reading;

typedef struct weights_read {
  const em_weights *weights; /* or NULL */
  reading reading;
} weights_read;

#define MAX_READ (2u + 3u * EM_LINEAR_MAX_PARTS)

/* Lists what a stage reads; returns how many there are. */
static uint32_t weights_of(const em_stage *stage, weights_read out[MAX_READ]) {
  uint32_t n = 0;
  switch (stage->kind) {
  case EM_STAGE_EMBED:
    out[n++] = (weights_read){stage->embed.table, READ_ROWS};
    out[n++] = (weights_read){stage->embed.positions, READ_ROWS};
    out[n++] = (weights_read){stage->embed.types, READ_ROW};
    break;
  case EM_STAGE_LINEAR:
    out[n++] = (weights_read){stage->linear.norm, READ_ONCE};
    out[n++] = (weights_read){stage->linear.norm_bias, READ_ONCE};
    for (uint32_t p = 0; p < stage->linear.n_parts; p++) {
      out[n++] = (weights_read){stage->linear.w[p], READ_ONCE};
      out[n++] = (weights_read){stage->linear.w_scale[p], READ_ONCE};
      out[n++] = (weights_read){stage->linear.bias[p], READ_ONCE};
    }
    break;
  case EM_STAGE_ROPE_STORE:
    out[n++] = (weights_read){stage->rope_store.q_norm, READ_ONCE};
    out[n++] = (weights_read){stage->rope_store.k_norm, READ_ONCE};
    if (stage->rope_store.rope.kind != EM_ROPE_NONE)
      out[n++] = (weights_read){stage->rope_store.rope.factors, READ_FACTORS};
    break;
  case EM_STAGE_ATTENTION:
    out[n++] = (weights_read){stage->attention.sinks, READ_ONCE};
    break;
  case EM_STAGE_NORM:
    out[n++] = (weights_read){stage->norm.norm, READ_ONCE};
    out[n++] = (weights_read){stage->norm.bias, READ_ONCE};
    out[n++] = (weights_read){stage->norm.scale_by, READ_ONCE};
    break;
  case EM_STAGE_HEADS:
    out[n++] = (weights_read){stage->heads.w, READ_ONCE};
    break;
  case EM_STAGE_ROUTER:
    out[n++] = (weights_read){stage->router.norm, READ_ONCE};
    out[n++] = (weights_read){stage->router.w, READ_ONCE};
    out[n++] = (weights_read){stage->router.bias, READ_ONCE};
    out[n++] = (weights_read){stage->router.select_bias, READ_ONCE};
    break;
  case EM_STAGE_EXPERTS:
    out[n++] = (weights_read){stage->experts.norm, READ_ONCE};
    for (uint32_t p = 0; p < stage->experts.n_parts; p++) {
      out[n++] = (weights_read){stage->experts.w[p], READ_CHOSEN};
      out[n++] = (weights_read){stage->experts.w_scale[p], READ_CHOSEN};
      out[n++] = (weights_read){stage->experts.bias[p], READ_CHOSEN};
    }
    break;
  case EM_STAGE_EXPERTS_SUM:
    out[n++] = (weights_read){stage->experts_sum.w, READ_CHOSEN};
    out[n++] = (weights_read){stage->experts_sum.w_scale, READ_CHOSEN};
    out[n++] = (weights_read){stage->experts_sum.bias, READ_CHOSEN};
    break;
  case EM_STAGE_DELTA_NET:
    out[n++] = (weights_read){stage->delta_net.conv, READ_ONCE};
    out[n++] = (weights_read){stage->delta_net.a_log, READ_ONCE};
    out[n++] = (weights_read){stage->delta_net.dt_bias, READ_ONCE};
    out[n++] = (weights_read){stage->delta_net.norm, READ_ONCE};
    break;
  case EM_STAGE_INPUT:
  case EM_STAGE_GATE:
  case EM_N_STAGE_KINDS:
    break;
  }
  return n;
}

/* Whether everything the stages read is really there; weights and caches without data serve em_program_bytes alone. */
static bool has_data(const em_program_desc *desc) {
  bool lacks = desc->kv && ((desc->kv->n_layers > 0 && desc->kv->n_pages == 0) ||
                            (desc->kv->n_state_layers > 0 && desc->kv->n_states == 0));
  for (uint32_t i = 0; i < desc->n_stages && !lacks; i++) {
    weights_read read[MAX_READ];
    for (uint32_t j = weights_of(&desc->stages[i], read); j-- > 0;)
      lacks = lacks || (read[j].weights && read[j].weights->without_data);
  }
  return !lacks;
}

static uint64_t file_bytes(const em_weights *weights) {
  uint64_t row_bytes = 0;
  if (weights)
    (void)em_type_row_bytes(weights->type, weights->n_in, &row_bytes); /* checked when they were made */
  return weights ? row_bytes * weights->n_rows * (weights->n_matrices ? weights->n_matrices : 1) : 0;
}

uint64_t em_expert_bytes(const em_stage *stage) {
  const em_weights *stack = stage->kind == EM_STAGE_EXPERTS ? stage->experts.w[0] : stage->experts_sum.w;
  weights_read read[MAX_READ];
  uint64_t bytes = 0;
  for (uint32_t i = weights_of(stage, read); i-- > 0;) {
    if (read[i].reading == READ_CHOSEN)
      bytes += file_bytes(read[i].weights) / stack->n_matrices;
  }
  return bytes;
}

/* Whether no stage before this one has the same frequency factors. */
static bool has_new_factors(const em_program_desc *desc, uint32_t stage) {
  const em_weights *factors = desc->stages[stage].rope_store.rope.factors;
  bool is_new = true;
  for (uint32_t i = 0; i < stage && is_new; i++)
    is_new = desc->stages[i].kind != EM_STAGE_ROPE_STORE || desc->stages[i].rope_store.rope.kind == EM_ROPE_NONE ||
             desc->stages[i].rope_store.rope.factors != factors;
  return is_new;
}

/* Whether an earlier stage of the same layer, or an earlier part of this stage, reads the same weights: the norm before
 * parts that stand side by side, the factor of a tensor that is used in parts. */
static bool is_read_before(const em_program_desc *desc, uint32_t stage, uint32_t n_read, const weights_read *read) {
  for (uint32_t i = 0; i < n_read; i++)
    if (read[i].weights == read[n_read].weights)
      return true;
  for (uint32_t i = stage; i-- > 0 && desc->stages[i].layer == desc->stages[stage].layer;) {
    weights_read before[MAX_READ];
    for (uint32_t j = weights_of(&desc->stages[i], before); j-- > 0;)
      if (before[j].weights == read[n_read].weights && before[j].reading == READ_ONCE)
        return true;
  }
  return false;
}

/* Whether a stage runs for output rows only. */
static bool is_of_outputs(const em_program_desc *desc, const em_stage *stage) {
  return (stage->kind == EM_STAGE_LINEAR && stage->linear.outputs_only) ||
         (stage->kind == EM_STAGE_NORM && desc->values[stage->norm.out].outputs_only);
}

/* Bytes of one position in the layer that an attention stage reads. */
static uint64_t position_bytes(const em_program_desc *desc, const em_stage_attention *stage) {
  const em_kv_layer *layer = &desc->kv->layers[stage->kv_layer];
  uint64_t k = 0, v = 0;
  (void)em_type_row_bytes(desc->kv->type, layer->k_dim, &k);
  if (!layer->v_in_k)
    (void)em_type_row_bytes(desc->kv->type, layer->v_dim, &v);
  return layer->n_heads * (k + v);
}

/* What the stages with a window read of the cache for a row at the position behind n_seen - 1 others. */
static uint64_t window_bytes(const em_program_desc *desc, uint64_t n_seen) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    const em_stage_attention *stage = &desc->stages[i].attention;
    if (desc->stages[i].kind == EM_STAGE_ATTENTION && stage->window != 0)
      bytes += position_bytes(desc, stage) * (n_seen < stage->window ? n_seen : stage->window);
  }
  return bytes;
}

/* What the stages read, in bytes of the file. */
static void count_bytes(em_program *program) {
  const em_program_desc *desc = &program->desc;
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    const em_stage *stage = &desc->stages[i];
    weights_read read[MAX_READ];
    for (uint32_t j = weights_of(stage, read); j-- > 0;) {
      uint64_t bytes = file_bytes(read[j].weights);
      if (bytes == 0 || read[j].reading == READ_CHOSEN ||
          (read[j].reading == READ_FACTORS && !has_new_factors(desc, i)) ||
          (read[j].reading == READ_ONCE && is_read_before(desc, i, j, read)))
        continue;
      if (read[j].reading == READ_ROWS)
        program->row_bytes += bytes / read[j].weights->n_rows;
      else if (read[j].reading == READ_ROW)
        program->step_bytes += bytes / read[j].weights->n_rows;
      else
        *(is_of_outputs(desc, stage) ? &program->output_bytes : &program->step_bytes) += bytes;
    }
    if (stage->kind == EM_STAGE_ATTENTION && stage->attention.window == 0)
      program->kv_bytes += position_bytes(desc, &stage->attention);
    else if (stage->kind == EM_STAGE_ATTENTION)
      program->has_windows = true;
    else if (stage->kind == EM_STAGE_DELTA_NET) {
      const em_state_layer *layer = &desc->kv->state_layers[stage->delta_net.state_layer];
      program->state_bytes += ((uint64_t)layer->n_conv + layer->n_inner) * sizeof(float);
    }
  }
}

em_status em_program_new(em_backend *backend, const em_program_desc *desc, em_program **out, em_error *error) {
  em_status status = EM_OK;
  em_stage *stages = NULL;
  em_value_desc *values = NULL;
  uint8_t *slot_seen = NULL, *state_seen = NULL;
  em_program common;
  *out = NULL;
  EM_TRY(em_check_program(backend, desc, error));
  if (!has_data(desc))
    EM_TRY(em_fail(error, EM_ERR_ARGUMENT, "a program that runs needs weights and a cache with data"));
  stages = em_calloc(desc->n_stages, sizeof *stages);
  values = em_calloc(desc->n_values, sizeof *values);
  slot_seen = em_calloc(desc->max_slots, 1);
  state_seen = em_calloc(desc->kv && desc->kv->n_states > 0 ? desc->kv->n_states : 1, 1);
  if (!stages || !values || !slot_seen || !state_seen)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for a program"));
  memcpy(stages, desc->stages, desc->n_stages * sizeof *stages);
  memcpy(values, desc->values, desc->n_values * sizeof *values);
  memset(&common, 0, sizeof common);
  common.backend = backend;
  common.desc = *desc;
  common.desc.stages = stages;
  common.desc.values = values;
  common.slot_seen = slot_seen;
  common.state_seen = state_seen;
  common.min_table_rows = UINT64_MAX;
  common.has_input = stages[0].kind == EM_STAGE_INPUT;
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    if (stages[i].kind == EM_STAGE_EMBED && stages[i].embed.table->n_rows < common.min_table_rows)
      common.min_table_rows = stages[i].embed.table->n_rows;
    common.has_both_ways =
        common.has_both_ways || (stages[i].kind == EM_STAGE_ATTENTION && stages[i].attention.both_ways);
  }
  count_bytes(&common);
  EM_TRY(backend->fns->program_new(backend, &common, out, error));
  return EM_OK;
fail:
  free(stages);
  free(values);
  free(slot_seen);
  free(state_seen);
  return status;
}

void em_program_free(em_program *program) {
  if (!program)
    return;
  void *stages = (void *)program->desc.stages, *values = (void *)program->desc.values, *seen = program->slot_seen,
       *states = program->state_seen;
  program->backend->fns->program_free(program);
  free(stages);
  free(values);
  free(seen);
  free(states);
}

/* Checks the place of a slot's states; two slots with one place would write over each other. */
static em_status check_state(em_program *program, const em_step *step, uint32_t slot, em_error *error) {
  uint32_t n_states = program->desc.kv->n_states;
  if (!step->states || step->states[slot] >= n_states)
    return em_fail(error, EM_ERR_ARGUMENT, "slot %u has no place for its states", slot);
  if (program->state_seen[step->states[slot]])
    return em_fail(error, EM_ERR_ARGUMENT, "two slots share the place %u for their states", step->states[slot]);
  program->state_seen[step->states[slot]] = 1;
  return EM_OK;
}

/* Checks one step against its program: a wrong page id or row would write outside the cache. */
static em_status check_step(em_program *program, const em_step *step, em_error *error) {
  const em_program_desc *desc = &program->desc;
  if (step->n_rows == 0 || step->n_rows > desc->max_rows || step->n_outputs > desc->max_outputs || step->n_slots == 0 ||
      step->n_slots > desc->max_slots)
    return em_fail(error, EM_ERR_ARGUMENT, "a step of %u rows, %u slots and %u outputs does not fit its program",
                   step->n_rows, step->n_slots, step->n_outputs);
  if (program->has_input && !step->input)
    return em_fail(error, EM_ERR_ARGUMENT, "the step brings no input");
  if (step->n_top > program->max_top)
    return em_fail(error, EM_ERR_ARGUMENT, "this program cannot pick %u tokens", step->n_top);
  if (step->n_ahead > 1 && (step->n_ahead > program->max_ahead || step->n_rows != 1 || step->n_outputs != 1 ||
                            step->n_top != 1 || step->positions[0] > UINT32_MAX - step->n_ahead))
    return em_fail(error, EM_ERR_ARGUMENT, "this step cannot be run %u times", step->n_ahead);
  memset(program->slot_seen, 0, step->n_slots);
  if (program->state_bytes > 0)
    memset(program->state_seen, 0, desc->kv->n_states);
  for (uint32_t r = 0; r < step->n_rows; r++) {
    uint32_t slot = step->slots[r], position = step->positions[r];
    if (step->tokens[r] < 0 || (uint64_t)step->tokens[r] >= program->min_table_rows)
      return em_fail(error, EM_ERR_ARGUMENT, "token %d is outside the vocabulary", (int)step->tokens[r]);
    if (slot >= step->n_slots)
      return em_fail(error, EM_ERR_ARGUMENT, "row %u has no slot", r);
    if (r > 0 && slot == step->slots[r - 1]) {
      if (position != step->positions[r - 1] + 1)
        return em_fail(error, EM_ERR_ARGUMENT, "the positions of a slot's rows do not rise one by one");
    } else if (program->slot_seen[slot]) {
      return em_fail(error, EM_ERR_ARGUMENT, "slot %u occurs twice in a step", slot);
    } else if (program->has_both_ways && position != 0) {
      return em_fail(error, EM_ERR_ARGUMENT, "slot %u does not begin at position 0", slot);
    }
    if (program->state_bytes > 0 && !program->slot_seen[slot]) {
      em_status status = check_state(program, step, slot, error);
      if (status != EM_OK)
        return status;
    }
    program->slot_seen[slot] = 1;
    if (!desc->kv || desc->kv->n_layers == 0)
      continue;
    if (step->n_ahead > 1)
      position += step->n_ahead - 1;
    if (position / EM_KV_PAGE_TOKENS >= desc->max_pages)
      return em_fail(error, EM_ERR_CONTEXT, "position %u is past the page table", position);
    /* Only the last row of a slot needs its table looked at: the pages of the others are among its own. */
    if (r + 1 < step->n_rows && step->slots[r + 1] == slot)
      continue;
    const uint32_t *table = step->page_tables + (size_t)slot * desc->max_pages;
    for (uint32_t i = 0; i <= position / EM_KV_PAGE_TOKENS; i++) {
      if (table[i] >= desc->kv->n_pages)
        return em_fail(error, EM_ERR_ARGUMENT, "slot %u names a page that is not there", slot);
    }
  }
  for (uint32_t i = 0; i < step->n_outputs; i++) {
    if (step->outputs[i] >= step->n_rows || (i > 0 && step->outputs[i] <= step->outputs[i - 1]))
      return em_fail(error, EM_ERR_ARGUMENT, "the output rows are not rows in rising order");
  }
  return EM_OK;
}

em_status em_backend_run(em_program *program, const em_step *step, em_error *error) {
  em_status status = EM_OK;
  em_step_counters *counters = &program->counters;
  *counters = (em_step_counters){0};
  program->n_picked = 0;
  EM_TRY(check_step(program, step, error));
  EM_TRY(program->backend->fns->run(program, step, error));
  uint32_t n = step->n_ahead > 1 ? step->n_ahead : 1;
  program->n_picked = step->n_top > 0 ? (n > 1 ? n : step->n_outputs) : 0;
  counters->n_steps = n;
  counters->weights_bytes = n * (program->row_bytes * step->n_rows + program->step_bytes +
                                 (step->n_outputs > 0 ? program->output_bytes : 0)) +
                            counters->expert_bytes;
  for (uint32_t r = 0; r < step->n_rows; r++) {
    if (r + 1 < step->n_rows && step->slots[r + 1] == step->slots[r])
      continue;
    counters->kv_bytes += program->kv_bytes * (n * (step->positions[r] + 1ull) + n * (n - 1ull) / 2);
    for (uint32_t i = 0; program->has_windows && i < n; i++)
      counters->kv_bytes += window_bytes(&program->desc, step->positions[r] + 1ull + i);
    counters->state_bytes += n * 2 * program->state_bytes;
  }
fail:
  return status;
}

const float *em_program_result(const em_program *program, uint32_t row) {
  uint32_t n_rows = em_value_max_rows(&program->desc, program->desc.result);
  return row < n_rows ? program->backend->fns->result(program, row) : NULL;
}

uint32_t em_program_max_top(const em_program *program) {
  return program->max_top;
}

uint32_t em_program_max_ahead(const em_program *program) {
  return program->max_ahead > 1 ? program->max_ahead : 1;
}

const em_top *em_program_top(const em_program *program, uint32_t output) {
  return output < program->n_picked ? program->backend->fns->top(program, output) : NULL;
}

em_step_counters em_program_counters(const em_program *program) {
  return program->counters;
}
