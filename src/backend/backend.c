/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The front of all backends: every argument is checked here, once, and nowhere below. */
#include "backend/impl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

#define MAX_STAGES 65536u
#define MAX_VALUES 65536u
#define MAX_ROWS 65536u
#define MAX_SLOTS 65536u
#define MAX_PAGES (1u << 24)
#define MAX_HEADS 65536u
#define MAX_HEAD_DIM 65536u
#define MAX_DIM (uint64_t)INT32_MAX

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

static em_status check_weights(const em_weights_desc *desc, em_error *error) {
  const char *name = desc->name ? desc->name : "a tensor";
  uint64_t row_bytes, bytes;
  if (desc->use == 0 || (desc->use & ~(unsigned)(EM_USE_VECTOR | EM_USE_MATRIX | EM_USE_TABLE)) != 0 ||
      ((desc->use & EM_USE_VECTOR) != 0 && desc->use != EM_USE_VECTOR))
    return em_fail(error, EM_ERR_ARGUMENT, "%s has no legal use", name);
  if (desc->n_in == 0 || desc->n_rows == 0 || desc->n_in > MAX_DIM || desc->n_rows > MAX_DIM)
    return em_fail(error, EM_ERR_ARGUMENT, "%s has no legal shape", name);
  if (desc->use == EM_USE_VECTOR && desc->n_rows != 1)
    return em_fail(error, EM_ERR_ARGUMENT, "%s is no vector", name);
  if (!em_type_row_bytes(desc->type, desc->n_in, &row_bytes) || !em_mul_u64(row_bytes, desc->n_rows, &bytes))
    return em_fail(error, EM_ERR_ARGUMENT, "%s has rows that are no whole number of blocks", name);
  return EM_OK;
}

em_status em_weights_bytes(const em_backend *backend, const em_weights_desc *desc, uint64_t *out, em_error *error) {
  em_status status = check_weights(desc, error);
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

static em_status check_kv(const em_kv_desc *desc, em_error *error) {
  if (desc->type != EM_TYPE_F32 && desc->type != EM_TYPE_F16 && desc->type != EM_TYPE_Q8_0)
    return em_fail(error, EM_ERR_UNSUPPORTED, "a KV cache of this type is not supported");
  if (desc->n_pages > MAX_PAGES)
    return em_fail(error, EM_ERR_ARGUMENT, "a KV cache cannot have %u pages", desc->n_pages);
  for (uint32_t i = 0; i < desc->n_layers; i++) {
    const em_kv_layer *layer = &desc->layers[i];
    if (layer->n_heads == 0 || layer->n_heads > MAX_HEADS || layer->k_dim == 0 || layer->k_dim > MAX_HEAD_DIM ||
        layer->v_dim == 0 || layer->v_dim > MAX_HEAD_DIM)
      return em_fail(error, EM_ERR_ARGUMENT, "layer %u of the KV cache has no legal shape", i);
    if (desc->type == EM_TYPE_Q8_0 && (layer->k_dim % 32 != 0 || layer->v_dim % 32 != 0))
      return em_fail(error, EM_ERR_UNSUPPORTED, "a Q8_0 KV cache needs heads of a multiple of 32 values");
  }
  return EM_OK;
}

em_status em_kv_bytes(const em_backend *backend, const em_kv_desc *desc, uint64_t *out, em_error *error) {
  em_status status = check_kv(desc, error);
  return status == EM_OK ? backend->fns->kv_bytes(backend, desc, out, error) : status;
}

em_status em_kv_new(em_backend *backend, const em_kv_desc *desc, em_kv **out, em_error *error) {
  em_status status = EM_OK;
  em_kv_layer *layers = NULL;
  em_kv *kv;
  *out = NULL;
  EM_TRY(check_kv(desc, error));
  layers = em_calloc(desc->n_layers ? desc->n_layers : 1, sizeof *layers);
  if (!layers)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the KV cache"));
  if (desc->n_layers > 0)
    memcpy(layers, desc->layers, desc->n_layers * sizeof *layers);
  EM_TRY(backend->fns->kv_new(backend, desc, &kv, error));
  kv->backend = backend;
  kv->type = desc->type;
  kv->layers = layers;
  kv->n_layers = desc->n_layers;
  kv->n_pages = desc->n_pages;
  *out = kv;
  return EM_OK;
fail:
  free(layers);
  return status;
}

void em_kv_free(em_kv *kv) {
  if (!kv)
    return;
  em_kv_layer *layers = kv->layers;
  kv->backend->fns->kv_free(kv);
  free(layers);
}

em_status em_kv_copy(em_kv *kv, uint32_t from, uint32_t to, uint32_t n_tokens, em_error *error) {
  if (from >= kv->n_pages || to >= kv->n_pages || n_tokens > EM_KV_PAGE_TOKENS)
    return em_fail(error, EM_ERR_ARGUMENT, "no such page of the KV cache");
  return from != to && n_tokens > 0 ? kv->backend->fns->kv_copy(kv, from, to, n_tokens, error) : EM_OK;
}

/* --- Programs -------------------------------------------------------------------------------------------------------
 */

static em_status stage_fail(const em_stage *stage, em_error *error, const char *what) {
  return em_fail(error, EM_ERR_ARGUMENT, "stage %s of layer %d: %s", stage->label ? stage->label : "?",
                 (int)stage->layer, what);
}

static bool is_value(const em_program_desc *desc, em_value value) {
  return value >= 0 && (uint32_t)value < desc->n_values;
}

/* Whether two values' memory meets. */
static bool values_meet(const em_program_desc *desc, em_value a, em_value b) {
  const em_value_desc *x = &desc->values[a], *y = &desc->values[b];
  uint64_t x_end = x->offset + (uint64_t)em_value_max_rows(desc, a) * x->width;
  uint64_t y_end = y->offset + (uint64_t)em_value_max_rows(desc, b) * y->width;
  return x->offset < y_end && y->offset < x_end;
}

static bool is_vector(const em_backend *backend, const em_weights *weights, uint64_t n) {
  return weights->backend == backend && weights->use == EM_USE_VECTOR && weights->n_in == n;
}

static em_status check_input(const em_program_desc *desc, const em_stage *stage, em_error *error) {
  if (stage != desc->stages)
    return stage_fail(stage, error, "an input is not the first stage");
  if (!is_value(desc, stage->input.out) || desc->values[stage->input.out].outputs_only)
    return stage_fail(stage, error, "no such value");
  return EM_OK;
}

static em_status check_embed(const em_backend *backend, const em_program_desc *desc, const em_stage *stage,
                             em_error *error) {
  const em_stage_embed *embed = &stage->embed;
  if (!embed->table || embed->table->backend != backend || !(embed->table->use & EM_USE_TABLE))
    return stage_fail(stage, error, "no table");
  if (!is_value(desc, embed->out) || desc->values[embed->out].width != embed->table->n_in ||
      desc->values[embed->out].outputs_only)
    return stage_fail(stage, error, "the output has another shape than the table's rows");
  return EM_OK;
}

static em_status check_linear(const em_backend *backend, const em_program_desc *desc, const em_stage *stage,
                              em_error *error) {
  const em_stage_linear *linear = &stage->linear;
  uint64_t width = 0;
  if (!is_value(desc, linear->x) || !is_value(desc, linear->out))
    return stage_fail(stage, error, "no such value");
  if (linear->n_parts == 0 || linear->n_parts > EM_LINEAR_MAX_PARTS)
    return stage_fail(stage, error, "too many or no matrices");
  for (uint32_t i = 0; i < linear->n_parts; i++) {
    const em_weights *w = linear->w[i];
    if (!w || w->backend != backend || !(w->use & EM_USE_MATRIX) || w->n_in != desc->values[linear->x].width)
      return stage_fail(stage, error, "a matrix does not fit the input");
    if (linear->bias[i] && !is_vector(backend, linear->bias[i], w->n_rows))
      return stage_fail(stage, error, "a bias does not fit its matrix");
    width += w->n_rows;
  }
  if (linear->activation == EM_ACT_SWIGLU) {
    if (linear->n_parts != 2 || linear->w[0]->n_rows != linear->w[1]->n_rows || linear->residual != EM_NO_VALUE)
      return stage_fail(stage, error, "a gated activation needs two equal matrices and no residual");
    width = linear->w[0]->n_rows;
  } else if (linear->activation != EM_ACT_NONE) {
    return stage_fail(stage, error, "no such activation");
  }
  if (width != desc->values[linear->out].width)
    return stage_fail(stage, error, "the output has another width than the matrices' rows");
  if (linear->norm && !is_vector(backend, linear->norm, desc->values[linear->x].width))
    return stage_fail(stage, error, "the norm does not fit the input");
  if (linear->outputs_only != desc->values[linear->out].outputs_only ||
      (desc->values[linear->x].outputs_only && !linear->outputs_only))
    return stage_fail(stage, error, "rows for outputs only are mixed with all rows");
  if (values_meet(desc, linear->x, linear->out))
    return stage_fail(stage, error, "the output overlaps the input");
  if (linear->residual != EM_NO_VALUE) {
    if (!is_value(desc, linear->residual) || desc->values[linear->residual].width != width ||
        (desc->values[linear->residual].outputs_only && !linear->outputs_only))
      return stage_fail(stage, error, "the residual has another shape than the output");
    if (linear->residual != linear->out && values_meet(desc, linear->residual, linear->out))
      return stage_fail(stage, error, "the output overlaps the residual");
  }
  return EM_OK;
}

/* Checks what rope_store and attention share: the KV layer, the heads and the width of q | k | v. */
static em_status check_heads(const em_program_desc *desc, const em_stage *stage, em_value qkv, uint32_t kv_layer,
                             uint32_t n_heads, em_error *error) {
  if (!desc->kv || kv_layer >= desc->kv->n_layers)
    return stage_fail(stage, error, "no such layer of the KV cache");
  const em_kv_layer *layer = &desc->kv->layers[kv_layer];
  if (n_heads == 0 || n_heads > MAX_HEADS || n_heads % layer->n_heads != 0)
    return stage_fail(stage, error, "the heads are no multiple of the KV heads");
  uint64_t width = (uint64_t)n_heads * layer->k_dim + (uint64_t)layer->n_heads * (layer->k_dim + layer->v_dim);
  if (!is_value(desc, qkv) || desc->values[qkv].width != width || desc->values[qkv].outputs_only)
    return stage_fail(stage, error, "q, k and v have another width than the heads");
  return EM_OK;
}

static em_status check_rope_store(const em_backend *backend, const em_program_desc *desc, const em_stage *stage,
                                  em_error *error) {
  em_status status = EM_OK;
  const em_stage_rope_store *s = &stage->rope_store;
  EM_TRY(check_heads(desc, stage, s->qkv, s->kv_layer, s->n_heads, error));
  uint32_t k_dim = desc->kv->layers[s->kv_layer].k_dim;
  if ((s->q_norm && !is_vector(backend, s->q_norm, k_dim)) || (s->k_norm && !is_vector(backend, s->k_norm, k_dim)))
    EM_TRY(stage_fail(stage, error, "a norm does not fit the heads"));
  if (s->rope.kind != EM_ROPE_NONE) {
    if (s->rope.kind != EM_ROPE_NORM && s->rope.kind != EM_ROPE_NEOX)
      EM_TRY(stage_fail(stage, error, "no such rotation"));
    if (s->rope.n_rot == 0 || s->rope.n_rot % 2 != 0 || s->rope.n_rot > k_dim || !(s->rope.base > 0))
      EM_TRY(stage_fail(stage, error, "the rotation does not fit the heads"));
    if (s->rope.factors && !is_vector(backend, s->rope.factors, s->rope.n_rot / 2))
      EM_TRY(stage_fail(stage, error, "the frequency factors do not fit the rotation"));
  }
fail:
  return status;
}

static em_status check_attention(const em_program_desc *desc, const em_stage *stage, em_error *error) {
  em_status status = EM_OK;
  const em_stage_attention *s = &stage->attention;
  EM_TRY(check_heads(desc, stage, s->qkv, s->kv_layer, s->n_heads, error));
  if (!is_value(desc, s->out) || desc->values[s->out].outputs_only ||
      desc->values[s->out].width != (uint64_t)s->n_heads * desc->kv->layers[s->kv_layer].v_dim)
    EM_TRY(stage_fail(stage, error, "the output has another width than the heads"));
  if (values_meet(desc, s->qkv, s->out))
    EM_TRY(stage_fail(stage, error, "the output overlaps q"));
fail:
  return status;
}

static em_status check_program(const em_backend *backend, const em_program_desc *desc, em_error *error) {
  if (desc->n_stages == 0 || desc->n_stages > MAX_STAGES || desc->n_values == 0 || desc->n_values > MAX_VALUES ||
      desc->max_rows == 0 || desc->max_rows > MAX_ROWS || desc->max_outputs == 0 || desc->max_outputs > MAX_ROWS ||
      desc->max_slots == 0 || desc->max_slots > MAX_SLOTS || desc->max_pages > MAX_PAGES)
    return em_fail(error, EM_ERR_ARGUMENT, "a program's counts are out of their range");
  if (desc->kv && desc->kv->backend != backend)
    return em_fail(error, EM_ERR_ARGUMENT, "the KV cache belongs to another backend");
  for (uint32_t i = 0; i < desc->n_values; i++) {
    const em_value_desc *value = &desc->values[i];
    uint64_t floats, end;
    if (value->width == 0 || value->offset % 16 != 0 ||
        !em_mul_u64(em_value_max_rows(desc, (em_value)i), value->width, &floats) ||
        !em_add_u64(value->offset, floats, &end) || end > desc->scratch_floats)
      return em_fail(error, EM_ERR_ARGUMENT, "value %u does not lie in the program's scratch", i);
  }
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    const em_stage *stage = &desc->stages[i];
    em_status status;
    switch (stage->kind) {
    case EM_STAGE_INPUT:
      status = check_input(desc, stage, error);
      break;
    case EM_STAGE_EMBED:
      status = check_embed(backend, desc, stage, error);
      break;
    case EM_STAGE_LINEAR:
      status = check_linear(backend, desc, stage, error);
      break;
    case EM_STAGE_ROPE_STORE:
      status = check_rope_store(backend, desc, stage, error);
      break;
    case EM_STAGE_ATTENTION:
      status = check_attention(desc, stage, error);
      break;
    case EM_STAGE_NORM:
    case EM_STAGE_GATE:
    case EM_STAGE_HEADS:
    case EM_STAGE_ROUTER:
    case EM_STAGE_EXPERTS:
    case EM_STAGE_EXPERTS_SUM:
    case EM_STAGE_DELTA_NET:
      status = em_fail(error, EM_ERR_UNSUPPORTED, "no backend can run the stage %s yet", stage->label);
      break;
    case EM_N_STAGE_KINDS:
    default:
      status = stage_fail(stage, error, "no such kind of stage");
    }
    if (status != EM_OK)
      return status;
  }
  if (!is_value(desc, desc->result))
    return em_fail(error, EM_ERR_ARGUMENT, "the program has no value for its result");
  return EM_OK;
}

em_status em_program_bytes(const em_backend *backend, const em_program_desc *desc, uint64_t *out, em_error *error) {
  em_status status = check_program(backend, desc, error);
  return status == EM_OK ? backend->fns->program_bytes(backend, desc, out, error) : status;
}

em_status em_program_prepare(em_backend *backend, const em_program_desc *desc, em_error *error) {
  em_status status = check_program(backend, desc, error);
  return status == EM_OK && backend->fns->program_prepare ? backend->fns->program_prepare(backend, desc, error)
                                                          : status;
}

em_prepare_times em_backend_prepare_times(em_backend *backend) {
  return backend->fns->prepare_times ? backend->fns->prepare_times(backend) : (em_prepare_times){0};
}

static bool lacks_data(const em_weights *weights) {
  return weights && weights->without_data;
}

/* Whether everything the stages read is really there; weights and caches without data serve em_program_bytes alone. */
static bool has_data(const em_program_desc *desc) {
  bool lacks = desc->kv && desc->kv->n_pages == 0;
  for (uint32_t i = 0; i < desc->n_stages && !lacks; i++) {
    const em_stage *stage = &desc->stages[i];
    if (stage->kind == EM_STAGE_EMBED) {
      lacks = lacks_data(stage->embed.table);
    } else if (stage->kind == EM_STAGE_LINEAR) {
      lacks = lacks_data(stage->linear.norm);
      for (uint32_t p = 0; p < stage->linear.n_parts; p++)
        lacks = lacks || lacks_data(stage->linear.w[p]) || lacks_data(stage->linear.bias[p]);
    } else if (stage->kind == EM_STAGE_ROPE_STORE) {
      lacks = lacks_data(stage->rope_store.q_norm) || lacks_data(stage->rope_store.k_norm) ||
              lacks_data(stage->rope_store.rope.factors);
    }
  }
  return !lacks;
}

static uint64_t file_bytes(const em_weights *weights) {
  uint64_t row_bytes = 0;
  if (weights)
    (void)em_type_row_bytes(weights->type, weights->n_in, &row_bytes); /* checked when they were made */
  return weights ? row_bytes * weights->n_rows : 0;
}

/* Whether no stage before this one has the same frequency factors. */
static bool has_new_factors(const em_program_desc *desc, uint32_t stage) {
  const em_weights *factors = desc->stages[stage].rope_store.rope.factors;
  bool is_new = factors && desc->stages[stage].rope_store.rope.kind != EM_ROPE_NONE;
  for (uint32_t i = 0; i < stage && is_new; i++)
    is_new = desc->stages[i].kind != EM_STAGE_ROPE_STORE || desc->stages[i].rope_store.rope.kind == EM_ROPE_NONE ||
             desc->stages[i].rope_store.rope.factors != factors;
  return is_new;
}

/* What the stages read, in bytes of the file. */
static void count_bytes(em_program *program) {
  const em_program_desc *desc = &program->desc;
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    const em_stage *stage = &desc->stages[i];
    if (stage->kind == EM_STAGE_EMBED) {
      program->row_bytes += file_bytes(stage->embed.table) / stage->embed.table->n_rows;
    } else if (stage->kind == EM_STAGE_LINEAR) {
      uint64_t bytes = file_bytes(stage->linear.norm);
      for (uint32_t p = 0; p < stage->linear.n_parts; p++)
        bytes += file_bytes(stage->linear.w[p]) + file_bytes(stage->linear.bias[p]);
      *(stage->linear.outputs_only ? &program->output_bytes : &program->step_bytes) += bytes;
    } else if (stage->kind == EM_STAGE_ROPE_STORE) {
      program->step_bytes += file_bytes(stage->rope_store.q_norm) + file_bytes(stage->rope_store.k_norm);
      if (has_new_factors(desc, i))
        program->step_bytes += file_bytes(stage->rope_store.rope.factors);
    } else if (stage->kind == EM_STAGE_ATTENTION) {
      const em_kv_layer *layer = &desc->kv->layers[stage->attention.kv_layer];
      uint64_t k = 0, v = 0;
      (void)em_type_row_bytes(desc->kv->type, layer->k_dim, &k);
      (void)em_type_row_bytes(desc->kv->type, layer->v_dim, &v);
      program->kv_bytes += layer->n_heads * (k + v);
    }
  }
}

em_status em_program_new(em_backend *backend, const em_program_desc *desc, em_program **out, em_error *error) {
  em_status status = EM_OK;
  em_stage *stages = NULL;
  em_value_desc *values = NULL;
  uint8_t *slot_seen = NULL;
  em_program common;
  *out = NULL;
  EM_TRY(check_program(backend, desc, error));
  if (!has_data(desc))
    EM_TRY(em_fail(error, EM_ERR_ARGUMENT, "a program that runs needs weights and a cache with data"));
  stages = em_calloc(desc->n_stages, sizeof *stages);
  values = em_calloc(desc->n_values, sizeof *values);
  slot_seen = em_calloc(desc->max_slots, 1);
  if (!stages || !values || !slot_seen)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for a program"));
  memcpy(stages, desc->stages, desc->n_stages * sizeof *stages);
  memcpy(values, desc->values, desc->n_values * sizeof *values);
  memset(&common, 0, sizeof common);
  common.backend = backend;
  common.desc = *desc;
  common.desc.stages = stages;
  common.desc.values = values;
  common.slot_seen = slot_seen;
  common.min_table_rows = UINT64_MAX;
  common.has_input = stages[0].kind == EM_STAGE_INPUT;
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    if (stages[i].kind == EM_STAGE_EMBED && stages[i].embed.table->n_rows < common.min_table_rows)
      common.min_table_rows = stages[i].embed.table->n_rows;
  }
  count_bytes(&common);
  EM_TRY(backend->fns->program_new(backend, &common, out, error));
  return EM_OK;
fail:
  free(stages);
  free(values);
  free(slot_seen);
  return status;
}

void em_program_free(em_program *program) {
  if (!program)
    return;
  void *stages = (void *)program->desc.stages, *values = (void *)program->desc.values, *seen = program->slot_seen;
  program->backend->fns->program_free(program);
  free(stages);
  free(values);
  free(seen);
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
    }
    program->slot_seen[slot] = 1;
    if (!desc->kv)
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
  counters->weights_bytes =
      n * (program->row_bytes * step->n_rows + program->step_bytes + (step->n_outputs > 0 ? program->output_bytes : 0));
  for (uint32_t r = 0; r < step->n_rows; r++)
    if (r + 1 == step->n_rows || step->slots[r + 1] != step->slots[r])
      counters->kv_bytes += program->kv_bytes * (n * (step->positions[r] + 1ull) + n * (n - 1ull) / 2);
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
