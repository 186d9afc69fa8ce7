/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/vulkan/variants.h"

#include <math.h>
#include <stdlib.h>

#include "base/checked.h"

typedef struct sizes {
  uint64_t scratch, input, result, normed, partial, keys, top, work, groups, chosen;
  uint64_t step_words[EM_VK_MAX_AHEAD]; /* with the dispatches' sizes */
  uint32_t n_steps, n_rotations, max_dispatches, n_slices, n_sorts;
} sizes;

static bool same_rope(const em_rope *a, const em_rope *b) {
  return a->n_rot == b->n_rot && a->base == b->base && a->freq_scale == b->freq_scale && a->magnitude == b->magnitude &&
         a->factors == b->factors && a->ext_factor == b->ext_factor && a->ramp_low == b->ramp_low &&
         a->ramp_high == b->ramp_high;
}

uint32_t em_vk_rotation_index(const em_program_desc *desc, uint32_t stage, bool *is_new) {
  uint32_t n = 0;
  *is_new = false;
  for (uint32_t i = 0; i <= stage; i++) {
    if (desc->stages[i].kind != EM_STAGE_ROPE_STORE || desc->stages[i].rope_store.rope.kind == EM_ROPE_NONE)
      continue;
    bool first = true;
    for (uint32_t j = 0; j < i && first; j++)
      first = desc->stages[j].kind != EM_STAGE_ROPE_STORE || desc->stages[j].rope_store.rope.kind == EM_ROPE_NONE ||
              !same_rope(&desc->stages[i].rope_store.rope, &desc->stages[j].rope_store.rope);
    if (first)
      n++;
    if (same_rope(&desc->stages[i].rope_store.rope, &desc->stages[stage].rope_store.rope)) {
      *is_new = first && i == stage;
      return n - 1;
    }
  }
  return 0;
}

uint32_t em_vk_n_segments(const em_weights *weights) {
  uint32_t n = ((const em_vulkan_weights *)weights)->tiles.n;
  return n ? n : 1;
}

static uint64_t larger(uint64_t a, uint64_t b) {
  return a > b ? a : b;
}

/* The memory of stages with experts and of recurrent ones. */
static em_status measure_stacks(const em_program_desc *desc, uint32_t index, sizes *out, em_error *error) {
  const em_stage *stage = &desc->stages[index];
  const uint64_t rows = desc->max_rows;
  em_value routes = EM_NO_VALUE;
  uint64_t n_experts = 0;
  if (stage->kind == EM_STAGE_ROUTER) {
    const em_stage_router *s = &stage->router;
    out->work = larger(out->work, rows * s->w->n_rows);
    if (s->w->n_rows > 1024 || s->n_used > 64 || s->n_groups > 64)
      return em_fail(error, EM_ERR_UNSUPPORTED, "a choice of %u of so many experts has no shader", s->n_used);
  } else if (stage->kind == EM_STAGE_EXPERTS) {
    routes = stage->experts.routes;
    n_experts = stage->experts.w[0]->n_matrices;
  } else if (stage->kind == EM_STAGE_EXPERTS_SUM) {
    routes = stage->experts_sum.routes;
    n_experts = stage->experts_sum.w->n_matrices;
    out->work = larger(out->work, rows * (desc->values[routes].width / 2) * stage->experts_sum.w->n_rows);
  } else if (stage->kind == EM_STAGE_DELTA_NET) {
    const em_stage_delta_net *s = &stage->delta_net;
    out->work = larger(out->work, rows * (2ull * s->n_k * s->k_dim + (uint64_t)s->n_v * s->v_dim));
    if (s->k_dim > 256)
      return em_fail(error, EM_ERR_UNSUPPORTED, "recurrent heads of %u values have no shader", s->k_dim);
  }
  if (routes != EM_NO_VALUE) {
    uint64_t pairs = rows * (desc->values[routes].width / 2);
    if (pairs > EM_VK_MAX_GROUPS || n_experts > 1024)
      return em_fail(error, EM_ERR_UNSUPPORTED, "so many experts for so many rows have no shader");
    /* Blocks of three words, in the worst case one a pair, and the pairs. */
    out->groups = larger(out->groups, 2 + 4 * pairs);
    out->n_sorts += em_vk_sorts(desc, index);
  }
  if (out->work > UINT32_MAX)
    return em_fail(error, EM_ERR_TOO_BIG, "a stage's working memory is too large");
  return EM_OK;
}

/* Each is a buffer, and none may be larger than one allocation: better said now than after the weights were read. */
static em_status check_buffers(const em_vk *vk, const sizes *s, em_error *error) {
  const uint64_t floats[] = {s->scratch, s->input, s->result, s->normed, s->partial,
                             s->keys,    s->top,   s->work,   s->groups, s->step_words[0]};
  for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++)
    if (floats[i] > vk->max_allocation_bytes / 4)
      return em_fail(error, EM_ERR_UNSUPPORTED,
                     "the model's steps need %llu bytes in one piece; the graphics device allows %llu",
                     (unsigned long long)floats[i] * 4, (unsigned long long)vk->max_allocation_bytes);
  return EM_OK;
}

static em_status measure(const em_vk *vk, const em_program_desc *desc, sizes *out, em_error *error) {
  const bool converts = em_vk_may_convert(vk);
  *out = (sizes){0};
  uint64_t width_normed = 0, rows_normed = 0, rotation_values = 0;
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    const em_stage *stage = &desc->stages[i];
    out->max_dispatches += 4;
    em_status status = measure_stacks(desc, i, out, error);
    if (status != EM_OK)
      return status;
    const em_weights *norm = stage->kind == EM_STAGE_ROUTER    ? stage->router.norm
                             : stage->kind == EM_STAGE_EXPERTS ? stage->experts.norm
                                                               : NULL;
    if (norm || (stage->kind == EM_STAGE_ROUTER && converts)) {
      const em_weights *w = stage->kind == EM_STAGE_ROUTER ? stage->router.w : stage->experts.w[0];
      width_normed = larger(width_normed, w->n_in);
      rows_normed = larger(rows_normed, desc->max_rows);
    }
    if (stage->kind == EM_STAGE_INPUT)
      out->input = (uint64_t)desc->max_rows * desc->values[stage->input.out].width;
    if (stage->kind == EM_STAGE_LINEAR) {
      const em_stage_linear *l = &stage->linear;
      for (uint32_t p = 0; p < l->n_parts; p++)
        out->max_dispatches += 2 * em_vk_n_segments(l->w[p]);
      if (l->outputs_only && l->residual != EM_NO_VALUE)
        return em_fail(error, EM_ERR_UNSUPPORTED, "a residual of output rows has no shader yet");
      if (l->norm || l->outputs_only || converts) {
        uint64_t rows = l->outputs_only ? desc->max_outputs : desc->max_rows;
        /* No form is longer than float32 but for the group of 32 values that it is rounded up to. */
        uint64_t width = converts ? (l->w[0]->n_in + 31) / 32 * 32 : l->w[0]->n_in;
        width_normed = width > width_normed ? width : width_normed;
        rows_normed = rows > rows_normed ? rows : rows_normed;
      }
    } else if (stage->kind == EM_STAGE_ROPE_STORE) {
      bool is_new;
      em_vk_rotation_index(desc, i, &is_new);
      if (is_new) {
        out->n_rotations++;
        rotation_values += stage->rope_store.rope.n_rot;
      }
    } else if (stage->kind == EM_STAGE_ATTENTION) {
      const em_kv_layer *l = &desc->kv->layers[stage->attention.kv_layer];
      uint64_t rows = desc->max_rows < EM_VK_FEW_ROWS ? desc->max_rows : EM_VK_FEW_ROWS;
      uint64_t floats = rows * stage->attention.n_heads * (2u + l->v_dim);
      /* Of all buffers only this one grows with the context, which may be cut; the others are checked below. */
      if (!em_mul_u64(floats, desc->max_pages, &floats) || floats > UINT32_MAX || floats > vk->max_allocation_bytes / 4)
        return em_fail(error, EM_ERR_TOO_BIG,
                       "the context is too long: attention's working memory must be one piece, and the graphics device "
                       "allows %llu bytes",
                       (unsigned long long)vk->max_allocation_bytes);
      if (floats > out->partial)
        out->partial = floats;
    }
  }
  for (uint32_t i = 0; i < desc->n_values; i++) {
    if ((em_value)i == desc->result)
      continue;
    const em_value_desc *value = &desc->values[i];
    uint64_t end = value->offset + (uint64_t)em_value_max_rows(desc, (em_value)i) * value->width;
    out->scratch = end > out->scratch ? end : out->scratch;
  }
  out->normed = width_normed * rows_normed;
  out->result = (uint64_t)em_value_max_rows(desc, desc->result) * desc->values[desc->result].width;
  const em_value_desc *result = &desc->values[desc->result];
  uint64_t n_classes = (result->width + EM_VK_TOP_FOLD - 1) / EM_VK_TOP_FOLD;
  out->n_steps = 1;
  if (result->outputs_only && n_classes <= EM_VK_TOP_FOLD * EM_VK_TOP_MAX_LIST) {
    /* A state that has taken tokens behind an answer's end could not be taken back. */
    const bool recurs = desc->kv && desc->kv->n_state_layers > 0;
    if (desc->stages[0].kind == EM_STAGE_EMBED && desc->stages[0].embed.table->n_rows >= result->width && !recurs)
      out->n_steps = EM_VK_MAX_AHEAD;
    out->keys = 2ull * n_classes * desc->max_outputs;
    out->top = 2ull * EM_MAX_TOP * (desc->max_outputs + out->n_steps - 1);
  }
  out->n_slices = 1;
  for (uint32_t i = 1; i < desc->n_stages; i++)
    out->n_slices += desc->stages[i].layer != desc->stages[i - 1].layer;
  out->chosen = (uint64_t)out->n_steps * out->n_sorts;
  out->step_words[0] = EM_VK_STEP_HEADER + desc->max_slots + (3ull + rotation_values) * desc->max_rows +
                       desc->max_outputs + (uint64_t)desc->max_slots * desc->max_pages +
                       3ull * EM_VK_N_PARTS * out->max_dispatches;
  for (uint32_t k = 1; k < out->n_steps; k++)
    out->step_words[k] =
        EM_VK_STEP_HEADER + 4ull + rotation_values + 1 + desc->max_pages + 3ull * EM_VK_N_PARTS * out->max_dispatches;
  return check_buffers(vk, out, error);
}

em_status em_vulkan_program_bytes(const em_backend *backend, const em_program_desc *desc, uint64_t *out,
                                  em_error *error) {
  sizes s;
  em_status status = measure(&((const em_vulkan *)backend)->vk, desc, &s, error);
  if (status != EM_OK)
    return status;
  *out = 4 * (s.scratch + s.input + s.result + s.normed + s.partial + s.keys + s.top + s.work + s.groups + s.chosen);
  if (!((const em_vulkan *)backend)->vk.unified)
    *out += 4 * s.result;
  for (uint32_t k = 0; k < s.n_steps; k++)
    *out += 4 * s.step_words[k];
  return EM_OK;
}

static em_status make_rotations(em_vulkan_program *program, em_error *error) {
  const em_program_desc *desc = &program->base.desc;
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    bool is_new;
    if (desc->stages[i].kind != EM_STAGE_ROPE_STORE)
      continue;
    const em_rope *rope = &desc->stages[i].rope_store.rope;
    em_vk_rotation_index(desc, i, &is_new);
    if (!is_new)
      continue;
    em_vk_rotation *table = &program->rotations[program->n_rotations];
    table->rope = *rope;
    table->inverse = em_calloc(rope->n_rot / 2, sizeof *table->inverse);
    if (!table->inverse)
      return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
    program->n_rotations++;
    const float *factors = rope->factors ? ((const em_vulkan_weights *)rope->factors)->host : NULL;
    for (uint32_t k = 0; k < rope->n_rot / 2; k++) {
      double range = fmax(0.001, (double)rope->ramp_high - (double)rope->ramp_low);
      double ramp = fmin(fmax((k - (double)rope->ramp_low) / range, 0.0), 1.0);
      double kept = (double)rope->ext_factor * (1.0 - ramp), scale = (double)rope->freq_scale;
      table->inverse[k] = (scale * (1.0 - kept) + kept) * pow((double)rope->base, -2.0 * k / rope->n_rot) /
                          (factors ? (double)factors[k] : 1.0);
    }
  }
  return EM_OK;
}

uint32_t em_vk_family_rows(em_vk_family family) {
  static const uint32_t rows[EM_VK_N_FAMILIES] = {1, 4, 8, EM_VK_FEW_ROWS, UINT32_MAX};
  return rows[family];
}

em_vk_family em_vk_family_of(uint32_t n_rows) {
  em_vk_family family = EM_VK_FAMILY_ONE;
  while (n_rows > em_vk_family_rows(family))
    family++;
  return family;
}

/* What is recorded for step k. */
static bool has_part(const em_vulkan_program *program, const sizes *s, uint32_t k, uint32_t part) {
  const em_vk *vk = &((const em_vulkan *)program->base.backend)->vk;
  if (part == EM_VK_PART_TOP)
    return s->top > 0;
  /* Steps of so many rows never come. */
  const uint32_t max_rows = program->base.desc.max_rows;
  if (part > EM_VK_FAMILY_ONE && part < EM_VK_N_FAMILIES && max_rows <= em_vk_family_rows((em_vk_family)part - 1))
    return false;
  return k == 0 ? part != EM_VK_PART_COPY || !vk->unified : part == EM_VK_FAMILY_ONE;
}

static em_status record_all(em_vulkan_program *program, const sizes *s, em_error *error) {
  em_status status = EM_OK;
  for (uint32_t k = 0; k < s->n_steps; k++)
    for (uint32_t part = 0; part < EM_VK_N_PARTS; part++)
      if (has_part(program, s, k, part))
        EM_TRY(em_vk_record((em_vulkan *)program->base.backend, program, &program->steps[k], part, error));
fail:
  return status;
}

em_status em_vulkan_program_prepare(em_backend *backend, const em_program_desc *desc, em_error *error) {
  em_status status = EM_OK;
  em_vulkan *vulkan = (em_vulkan *)backend;
  sizes s;
  em_vulkan_program *program = em_calloc(1, sizeof *program);
  if (!program)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  program->base.backend = backend;
  program->base.desc = *desc;
  EM_TRY(measure(&vulkan->vk, desc, &s, error));
  program->rotations = em_calloc(s.n_rotations ? s.n_rotations : 1, sizeof *program->rotations);
  if (!program->rotations)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
  EM_TRY(make_rotations(program, error));
  EM_TRY(record_all(program, &s, error));
  em_vk_pipelines_start(vulkan);
fail:
  em_vulkan_program_free(&program->base);
  return status;
}

static em_status make_buffers(em_vulkan_program *program, const sizes *s, em_error *error) {
  em_status status = EM_OK;
  em_vk *vk = &((em_vulkan *)program->base.backend)->vk;
  EM_TRY(em_vk_buffer_new(vk, EM_VK_DEVICE, 4 * s->scratch, "scratch", &program->scratch, error));
  if (s->input > 0)
    EM_TRY(em_vk_buffer_new(vk, EM_VK_HOST, 4 * s->input, "input", &program->input, error));
  EM_TRY(em_vk_buffer_new(vk, vk->unified ? EM_VK_READBACK : EM_VK_DEVICE, 4 * s->result, "result", &program->result,
                          error));
  if (!vk->unified)
    EM_TRY(em_vk_buffer_new(vk, EM_VK_READBACK, 4 * s->result, "result to read", &program->readback, error));
  EM_TRY(em_vk_buffer_new(vk, EM_VK_DEVICE, 4 * s->normed, "normed", &program->normed, error));
  EM_TRY(em_vk_buffer_new(vk, EM_VK_DEVICE, 4 * s->partial, "partial", &program->partial, error));
  if (s->work > 0)
    EM_TRY(em_vk_buffer_new(vk, EM_VK_DEVICE, 4 * s->work, "work", &program->work, error));
  program->n_sorts = s->n_sorts;
  if (s->n_sorts > 0) {
    EM_TRY(em_vk_buffer_new(vk, EM_VK_DEVICE, 4 * s->groups, "groups", &program->groups, error));
    EM_TRY(em_vk_buffer_new(vk, EM_VK_READBACK, 4 * s->chosen, "chosen experts", &program->chosen, error));
  }
  if (s->top > 0) {
    EM_TRY(em_vk_buffer_new(vk, EM_VK_DEVICE, 4 * s->keys, "keys", &program->keys, error));
    EM_TRY(em_vk_buffer_new(vk, EM_VK_READBACK, 4 * s->top, "best tokens", &program->top, error));
  }
fail:
  return status;
}

static em_status make_steps(em_vulkan_program *program, const sizes *s, em_error *error) {
  em_status status = EM_OK;
  em_vk *vk = &((em_vulkan *)program->base.backend)->vk;
  const em_program_desc *desc = &program->base.desc;
  uint64_t rotation_values = 0;
  for (uint32_t i = 0; i < program->n_rotations; i++)
    rotation_values += program->rotations[i].rope.n_rot;
  program->n_steps = s->n_steps;
  for (uint32_t k = s->n_steps; k-- > 0;) {
    em_vk_step *step = &program->steps[k];
    step->max_rows = k == 0 ? desc->max_rows : 1;
    step->max_outputs = k == 0 ? desc->max_outputs : 1;
    step->max_slots = k == 0 ? desc->max_slots : 1;
    step->n_words = EM_VK_STEP_HEADER + step->max_slots + (3 + rotation_values) * step->max_rows + step->max_outputs +
                    (uint64_t)step->max_slots * desc->max_pages;
    step->top = program->top.address + 8ull * EM_MAX_TOP * (k == 0 ? 0 : desc->max_outputs + k - 1);
    if (k + 1 < s->n_steps)
      step->next = program->steps[k + 1].words.address + 4ull * EM_VK_STEP_HEADER; /* its first token */
    for (uint32_t part = 0; part < EM_VK_N_PARTS; part++) {
      if (!has_part(program, s, k, part))
        continue;
      step->parts[part].commands = em_calloc(s->n_slices + 1, sizeof *step->parts[part].commands);
      step->parts[part].dispatches = em_calloc(s->max_dispatches, sizeof *step->parts[part].dispatches);
      if (!step->parts[part].commands || !step->parts[part].dispatches)
        EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
    }
    EM_TRY(em_vk_buffer_new(vk, EM_VK_HOST, 4 * s->step_words[k], "step", &step->words, error));
  }
fail:
  return status;
}

em_status em_vulkan_program_new(em_backend *backend, const em_program *common, em_program **out, em_error *error) {
  em_status status = EM_OK;
  sizes s;
  em_vulkan_program *program = em_calloc(1, sizeof *program);
  if (!program)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  program->base = *common;
  EM_TRY(measure(&((em_vulkan *)program->base.backend)->vk, &program->base.desc, &s, error));
  program->rotations = em_calloc(s.n_rotations ? s.n_rotations : 1, sizeof *program->rotations);
  if (!program->rotations)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
  EM_TRY(make_rotations(program, error));
  EM_TRY(make_buffers(program, &s, error));
  EM_TRY(make_steps(program, &s, error));
  EM_TRY(record_all(program, &s, error));
  if (s.top > 0) {
    /* A processor that pretends to be a GPU finds the best token soon enough to go ahead with it, and many no sooner
     * than the processor itself. */
    uint32_t width = program->base.desc.values[program->base.desc.result].width;
    bool software = ((const em_vulkan *)backend)->vk.software;
    program->base.max_top = software ? 1 : width < EM_MAX_TOP ? width : EM_MAX_TOP;
    program->base.max_ahead = s.n_steps;
  }
  *out = &program->base;
  return EM_OK;
fail:
  em_vulkan_program_free(&program->base);
  return status;
}

void em_vulkan_program_free(em_program *base) {
  em_vulkan_program *program = (em_vulkan_program *)base;
  em_vk *vk = &((em_vulkan *)base->backend)->vk;
  for (uint32_t k = 0; k < EM_VK_MAX_AHEAD; k++) {
    for (uint32_t part = 0; part < EM_VK_N_PARTS; part++) {
      em_vk_recording *recording = &program->steps[k].parts[part];
      if (recording->n_commands > 0 && !vk->failed)
        vk->fn.FreeCommandBuffers(vk->device, vk->commands, recording->n_commands, recording->commands);
      free(recording->commands);
      free(recording->dispatches);
    }
    em_vk_buffer_free(vk, &program->steps[k].words);
  }
  em_vk_buffer_free(vk, &program->scratch);
  em_vk_buffer_free(vk, &program->input);
  em_vk_buffer_free(vk, &program->result);
  em_vk_buffer_free(vk, &program->readback);
  em_vk_buffer_free(vk, &program->normed);
  em_vk_buffer_free(vk, &program->partial);
  em_vk_buffer_free(vk, &program->work);
  em_vk_buffer_free(vk, &program->groups);
  em_vk_buffer_free(vk, &program->chosen);
  em_vk_buffer_free(vk, &program->keys);
  em_vk_buffer_free(vk, &program->top);
  for (uint32_t i = 0; program->rotations && i < program->n_rotations; i++)
    free(program->rotations[i].inverse);
  free(program->rotations);
  free(program);
}
