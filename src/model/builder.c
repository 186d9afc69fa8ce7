/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The program builder: collects stages and values, then gives each value its place in the scratch memory.
 *
 * A value lives from the first stage that writes it to the last that touches it. Two values whose lives do not meet may
 * lie on top of each other; a stage that reads one value and writes another counts as a meeting. */
#include <stdlib.h>

#include "base/checked.h"
#include "model/builder.h"

#define PLACE_FLOATS 16u /* em_value_desc.offset is a multiple of it */

typedef struct life {
  uint32_t birth, death; /* stages */
  bool used;
  uint64_t floats;
} life;

struct em_builder {
  const em_model_weights *weights;
  uint32_t context_tokens;
  em_stage *stages;
  uint32_t n_stages, max_stages;
  em_value_desc *values;
  uint32_t n_values, max_values;
  bool failed; /* memory was out, or a value is too wide */
};

em_builder *em_builder_new(const em_model_weights *weights, uint32_t context_tokens) {
  em_builder *builder = em_calloc(1, sizeof *builder);
  if (builder) {
    builder->weights = weights;
    builder->context_tokens = context_tokens;
  }
  return builder;
}

void em_builder_free(em_builder *builder) {
  if (!builder)
    return;
  free(builder->stages);
  free(builder->values);
  free(builder);
}

em_model_blocks em_builder_blocks(const em_builder *builder) {
  return builder->weights->blocks;
}

uint32_t em_builder_context(const em_builder *builder) {
  return builder->context_tokens;
}

const em_weights *em_builder_weights(const em_builder *builder, int32_t layer, em_tensor_slot slot) {
  int32_t i = slot == EM_N_SLOTS ? -1 : em_model_bound(builder->weights->model, layer, slot);
  return i < 0 ? NULL : builder->weights->items[i];
}

const em_weights *em_builder_scale(const em_builder *builder, int32_t layer, em_tensor_slot slot) {
  int32_t i = em_model_bound_scale(builder->weights->model, layer, slot);
  return i < 0 ? NULL : builder->weights->items[i];
}

void em_builder_part(const em_builder *builder, em_stage_linear *linear, int32_t layer, em_tensor_slot slot,
                     em_tensor_slot bias) {
  uint32_t i = linear->n_parts++;
  linear->w[i] = em_builder_weights(builder, layer, slot);
  linear->w_scale[i] = em_builder_scale(builder, layer, slot);
  linear->bias[i] = em_builder_weights(builder, layer, bias);
}

em_value em_builder_value(em_builder *builder, uint64_t width, bool outputs_only) {
  if (width > UINT32_MAX) {
    builder->failed = true;
    return 0;
  }
  if (builder->n_values == builder->max_values) {
    uint32_t max = builder->max_values ? 2 * builder->max_values : 64;
    em_value_desc *values = em_realloc_array(builder->values, max, sizeof *values);
    if (!values) {
      builder->failed = true;
      return 0;
    }
    builder->values = values;
    builder->max_values = max;
  }
  builder->values[builder->n_values] = (em_value_desc){.width = (uint32_t)width, .outputs_only = outputs_only};
  return (em_value)builder->n_values++;
}

void em_builder_emit(em_builder *builder, em_stage stage) {
  if (builder->n_stages == builder->max_stages) {
    uint32_t max = builder->max_stages ? 2 * builder->max_stages : 64;
    em_stage *stages = em_realloc_array(builder->stages, max, sizeof *stages);
    if (!stages) {
      builder->failed = true;
      return;
    }
    builder->stages = stages;
    builder->max_stages = max;
  }
  builder->stages[builder->n_stages++] = stage;
}

static void touch(life *lives, em_value value, uint32_t stage) {
  if (value == EM_NO_VALUE)
    return;
  life *l = &lives[value];
  if (!l->used)
    l->birth = stage;
  l->used = true;
  l->death = stage;
}

static void find_lives(const em_builder *builder, life *lives, em_value result) {
  for (uint32_t i = 0; i < builder->n_stages; i++) {
    const em_stage *stage = &builder->stages[i];
    switch (stage->kind) {
    case EM_STAGE_INPUT:
      touch(lives, stage->input.out, i);
      break;
    case EM_STAGE_EMBED:
      touch(lives, stage->embed.out, i);
      break;
    case EM_STAGE_LINEAR:
      touch(lives, stage->linear.x, i);
      touch(lives, stage->linear.residual, i);
      touch(lives, stage->linear.out, i);
      break;
    case EM_STAGE_ROPE_STORE:
      touch(lives, stage->rope_store.qkv, i);
      break;
    case EM_STAGE_ATTENTION:
      touch(lives, stage->attention.qkv, i);
      touch(lives, stage->attention.out, i);
      break;
    case EM_STAGE_NORM:
      touch(lives, stage->norm.x, i);
      touch(lives, stage->norm.residual, i);
      touch(lives, stage->norm.out, i);
      break;
    case EM_STAGE_GATE:
      touch(lives, stage->gate.x, i);
      touch(lives, stage->gate.gate, i);
      touch(lives, stage->gate.out, i);
      break;
    case EM_STAGE_HEADS:
      touch(lives, stage->heads.x, i);
      touch(lives, stage->heads.append, i);
      touch(lives, stage->heads.tail, i);
      touch(lives, stage->heads.out, i);
      break;
    case EM_STAGE_ROUTER:
      touch(lives, stage->router.x, i);
      touch(lives, stage->router.routes, i);
      break;
    case EM_STAGE_EXPERTS:
      touch(lives, stage->experts.x, i);
      touch(lives, stage->experts.routes, i);
      touch(lives, stage->experts.out, i);
      break;
    case EM_STAGE_EXPERTS_SUM:
      touch(lives, stage->experts_sum.x, i);
      touch(lives, stage->experts_sum.routes, i);
      touch(lives, stage->experts_sum.residual, i);
      touch(lives, stage->experts_sum.out, i);
      break;
    case EM_STAGE_DELTA_NET:
      touch(lives, stage->delta_net.in, i);
      touch(lives, stage->delta_net.out, i);
      break;
    case EM_N_STAGE_KINDS:
      break;
    }
  }
  /* The result is read after the last stage. */
  touch(lives, result, builder->n_stages);
}

/* The lowest place for value v beside all values before it whose lives meet its own. */
static bool place(em_value_desc *values, const life *lives, uint32_t v) {
  uint64_t offset = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (uint32_t other = 0; other < v; other++) {
      if (!lives[other].used || lives[other].death < lives[v].birth || lives[v].death < lives[other].birth)
        continue;
      uint64_t other_end, end;
      if (!em_add_u64(values[other].offset, lives[other].floats, &other_end) ||
          !em_add_u64(offset, lives[v].floats, &end))
        return false;
      if (end <= values[other].offset || other_end <= offset)
        continue;
      offset = other_end;
      moved = true;
    }
  }
  values[v].offset = offset;
  return true;
}

em_status em_builder_finish(em_builder *builder, uint32_t max_rows, uint32_t max_outputs, em_value result,
                            em_model_program *out, em_error *error) {
  em_status status = EM_OK;
  life *lives = em_calloc(builder->n_values + 1u, sizeof *lives);
  if (builder->failed || !lives)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
  find_lives(builder, lives, result);

  uint64_t scratch = 0;
  for (uint32_t v = 0; v < builder->n_values; v++) {
    uint64_t floats, end = 0;
    const em_value_desc *value = &builder->values[v];
    bool fits = em_mul_u64(value->width, value->outputs_only ? max_outputs : max_rows, &floats) &&
                em_align_up_u64(floats, PLACE_FLOATS, &lives[v].floats) && place(builder->values, lives, v) &&
                em_add_u64(builder->values[v].offset, lives[v].floats, &end);
    if (!fits)
      EM_TRY(em_fail(error, EM_ERR_TOO_BIG, "the model's working memory overflows"));
    if (end > scratch)
      scratch = end;
  }
  *out = (em_model_program){
      .stages = builder->stages,
      .n_stages = builder->n_stages,
      .values = builder->values,
      .n_values = builder->n_values,
      .scratch_floats = scratch,
      .result = result,
  };
  builder->stages = NULL;
  builder->values = NULL;
fail:
  free(lives);
  return status;
}

em_status em_model_build(const em_model *model, const em_model_weights *weights, uint32_t context_tokens,
                         uint32_t max_rows, uint32_t max_outputs, em_model_program *out, em_error *error) {
  if (max_outputs < 1 || max_outputs > max_rows)
    return em_fail(error, EM_ERR_ARGUMENT, "a program needs 1 to max_rows outputs");
  em_builder *builder = em_builder_new(weights, context_tokens);
  if (!builder)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  em_value result = model->family->build(model, builder);
  em_status status = em_builder_finish(builder, max_rows, max_outputs, result, out, error);
  em_builder_free(builder);
  return status;
}

void em_model_program_clear(em_model_program *program) {
  free(program->stages);
  free(program->values);
  *program = (em_model_program){0};
}
