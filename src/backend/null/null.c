/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The null backend: it holds no tensors, counts what a step would read, and answers zeros. Plans, the scheduler and the
 * paging of the KV cache are tested with it in milliseconds, and plans for devices that are elsewhere are made with it:
 * its sizes are those of the file. */
#include <stdio.h>
#include <stdlib.h>

#include "backend/impl.h"
#include "base/checked.h"

typedef struct null_program {
  em_program common;
  float *result; /* zeros */
} null_program;

static void null_close(em_backend *backend) {
  free(backend);
}

static em_status null_weights_bytes(const em_backend *backend, const em_weights_desc *desc, uint64_t *out,
                                    em_error *error) {
  uint64_t row_bytes = 0;
  (void)em_type_row_bytes(desc->type, desc->n_in, &row_bytes); /* the front has checked it */
  *out = row_bytes * desc->n_rows * (desc->n_matrices ? desc->n_matrices : 1);
  return EM_OK;
}

static em_status null_weights_new(em_backend *backend, const em_weights_desc *desc, em_read_fn read, void *user,
                                  em_weights **out, em_error *error) {
  *out = em_calloc(1, sizeof **out);
  return *out ? EM_OK : em_fail(error, EM_ERR_NO_MEMORY, "no memory for weights");
}

static void null_weights_free(em_weights *weights) {
  free(weights);
}

static uint64_t token_bytes(em_type type, const em_kv_layer *layer) {
  const em_type_info *info = em_type_get(type);
  uint64_t values = (uint64_t)layer->n_heads * (layer->k_dim + (layer->v_in_k ? 0 : layer->v_dim));
  return values / info->block_len * info->block_bytes;
}

static em_status null_kv_bytes(const em_backend *backend, const em_kv_desc *desc, uint64_t *out, em_error *error) {
  uint64_t sum = 0, states = 0;
  for (uint32_t i = 0; i < desc->n_layers; i++)
    sum += token_bytes(desc->type, &desc->layers[i]) * EM_KV_PAGE_TOKENS;
  for (uint32_t i = 0; i < desc->n_state_layers; i++)
    states += ((uint64_t)desc->state_layers[i].n_conv + desc->state_layers[i].n_inner) * sizeof(float);
  if (!em_mul_u64(sum, desc->n_pages, &sum) || !em_mul_u64(states, desc->n_states, &states) ||
      !em_add_u64(sum, states, out))
    return em_fail(error, EM_ERR_TOO_BIG, "the KV cache is too big");
  return EM_OK;
}

static em_status null_kv_new(em_backend *backend, const em_kv_desc *desc, em_kv **out, em_error *error) {
  *out = em_calloc(1, sizeof **out);
  return *out ? EM_OK : em_fail(error, EM_ERR_NO_MEMORY, "no memory for the KV cache");
}

static void null_kv_free(em_kv *kv) {
  free(kv);
}

static em_status null_kv_copy(em_kv *kv, uint32_t from, uint32_t to, uint32_t n_tokens, em_error *error) {
  return EM_OK;
}

static em_status null_kv_copy_state(em_kv *kv, uint32_t from, uint32_t to, em_error *error) {
  return EM_OK;
}

/* What a device would take at least: plans for devices that are elsewhere ask this one. */
static em_status null_program_bytes(const em_backend *backend, const em_program_desc *desc, uint64_t *out,
                                    em_error *error) {
  uint64_t scratch;
  *out = (uint64_t)em_value_max_rows(desc, desc->result) * desc->values[desc->result].width * sizeof(float);
  if (!em_mul_u64(desc->scratch_floats, sizeof(float), &scratch) || !em_add_u64(*out, scratch, out))
    return em_fail(error, EM_ERR_TOO_BIG, "the program is too big");
  return EM_OK;
}

static em_status null_program_new(em_backend *backend, const em_program *common, em_program **out, em_error *error) {
  null_program *program = em_calloc(1, sizeof *program);
  size_t width = common->desc.values[common->desc.result].width;
  float *result = em_calloc(em_value_max_rows(&common->desc, common->desc.result) * width, sizeof *result);
  if (!program || !result) {
    free(program);
    free(result);
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for a program");
  }
  program->common = *common;
  program->result = result;
  *out = &program->common;
  return EM_OK;
}

static void null_program_free(em_program *base) {
  null_program *program = (null_program *)base;
  free(program->result);
  free(program);
}

static em_status null_run(em_program *program, const em_step *step, em_error *error) {
  program->counters.n_dispatches = program->desc.n_stages;
  /* As if all rows chose the same experts. */
  for (uint32_t i = 0; i < program->desc.n_stages; i++) {
    const em_stage *stage = &program->desc.stages[i];
    if (stage->kind == EM_STAGE_EXPERTS)
      program->counters.expert_bytes +=
          em_expert_bytes(stage) * (program->desc.values[stage->experts.routes].width / 2);
    else if (stage->kind == EM_STAGE_EXPERTS_SUM)
      program->counters.expert_bytes +=
          em_expert_bytes(stage) * (program->desc.values[stage->experts_sum.routes].width / 2);
  }
  return EM_OK;
}

static const float *null_result(const em_program *program, uint32_t row) {
  return ((const null_program *)program)->result + (size_t)row * program->desc.values[program->desc.result].width;
}

static const em_backend_fns null_fns = {
    .runs = EM_RUNS_ALL,
    .close = null_close,
    .weights_bytes = null_weights_bytes,
    .weights_new = null_weights_new,
    .weights_free = null_weights_free,
    .kv_bytes = null_kv_bytes,
    .kv_new = null_kv_new,
    .kv_free = null_kv_free,
    .kv_copy = null_kv_copy,
    .kv_copy_state = null_kv_copy_state,
    .program_bytes = null_program_bytes,
    .program_new = null_program_new,
    .program_free = null_program_free,
    .run = null_run,
    .result = null_result,
};

em_status em_null_open(const em_backend_params *params, em_backend **out, em_error *error) {
  em_backend *backend = em_calloc(1, sizeof *backend);
  if (!backend)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for a backend");
  backend->fns = &null_fns;
  backend->kind = EM_DEVICE_NULL;
  snprintf(backend->name, sizeof backend->name, "null");
  *out = backend;
  return EM_OK;
}
