/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/vulkan/program.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"

/* What is submitted at once of a step of many rows is about this much work: the desktop is drawn between two submits,
 * and drivers give up on one that takes seconds. */
#define SUBMIT_NS 50000000ull

/* Writes all but the sizes of dispatches. */
static void write_step(em_vulkan_program *program, em_vk_step *to, const em_step *step) {
  const em_program_desc *desc = &program->base.desc;
  uint32_t *words = to->words.mapped;
  uint32_t at = EM_VK_STEP_HEADER;
  words[EM_VK_STEP_N_ROWS] = step->n_rows;
  words[EM_VK_STEP_N_OUTPUTS] = step->n_outputs;
  words[EM_VK_STEP_TOP] = step->n_top;
  words[EM_VK_STEP_TOKENS] = at;
  memcpy(words + at, step->tokens, step->n_rows * 4ull);
  at += to->max_rows;
  words[EM_VK_STEP_POSITIONS] = at;
  memcpy(words + at, step->positions, step->n_rows * 4ull);
  at += to->max_rows;
  words[EM_VK_STEP_SLOTS] = at;
  memcpy(words + at, step->slots, step->n_rows * 4ull);
  at += to->max_rows;
  words[EM_VK_STEP_OUTPUTS] = at;
  if (step->n_outputs > 0)
    memcpy(words + at, step->outputs, step->n_outputs * 4ull);
  at += to->max_outputs;
  words[EM_VK_STEP_PAGES] = at;
  if (desc->kv && desc->kv->n_layers > 0) /* else there may be no tables */
    memcpy(words + at, step->page_tables, 4ull * step->n_slots * desc->max_pages);
  at += to->max_slots * desc->max_pages;
  words[EM_VK_STEP_N_SLOTS] = step->n_slots;
  words[EM_VK_STEP_STATES] = at;
  if (desc->kv && desc->kv->n_state_layers > 0 && step->states)
    memcpy(words + at, step->states, step->n_slots * 4ull);
  at += to->max_slots;
  words[EM_VK_STEP_ROTATIONS] = at;
  for (uint32_t t = 0; t < program->n_rotations; t++) {
    const em_vk_rotation *table = &program->rotations[t];
    for (uint32_t r = 0; r < step->n_rows; r++) {
      float *out = (float *)(words + at) + (uint64_t)r * table->rope.n_rot;
      for (uint32_t k = 0; k < table->rope.n_rot / 2; k++) {
        double theta = step->positions[r] * table->inverse[k];
        out[2 * k] = (float)cos(theta) * table->rope.magnitude;
        out[2 * k + 1] = (float)sin(theta) * table->rope.magnitude;
      }
    }
    at += table->rope.n_rot * to->max_rows;
  }
}

/* The most blocks that n pairs fall into: of each expert at most one is not full. */
static uint32_t max_blocks(uint32_t n, uint32_t n_experts, uint32_t columns) {
  uint32_t most = n / columns + (n_experts < n ? n_experts : n);
  return most < n ? most : n;
}

/* Bytes in the file of the experts that the last n steps chose. */
static uint64_t expert_bytes(const em_vulkan_program *program, uint32_t n) {
  const em_program_desc *desc = &program->base.desc;
  const uint32_t *chosen = program->chosen.mapped;
  uint64_t bytes = 0;
  uint32_t sort = 0;
  for (uint32_t i = 0; program->n_sorts > 0 && i < desc->n_stages; i++) {
    const em_stage *stage = &desc->stages[i];
    if (stage->kind != EM_STAGE_EXPERTS && stage->kind != EM_STAGE_EXPERTS_SUM)
      continue;
    sort += em_vk_sorts(desc, i);
    for (uint32_t k = 0; k < n; k++)
      bytes += em_expert_bytes(stage) * chosen[k * program->n_sorts + sort - 1];
  }
  return bytes;
}

/* Writes the sizes of a part's dispatches and counts them. */
static void write_sizes(em_vulkan_program *program, em_vk_step *to, const em_step *step, uint32_t part) {
  const em_vk_recording *recording = &to->parts[part];
  uint32_t last = 0, *size = (uint32_t *)to->words.mapped + recording->first_size;
  for (uint32_t r = 0; r < step->n_rows; r++)
    last = step->positions[r] > last ? step->positions[r] : last;
  for (uint32_t i = 0; i < recording->n_dispatches; i++, size += 3) {
    const em_vk_dispatch *d = &recording->dispatches[i];
    size[0] = d->fixed;
    size[1] = size[2] = 1;
    switch (d->shape) {
    case EM_VK_GRID_ROWS:
      size[1] = step->n_rows;
      break;
    case EM_VK_GRID_SLOTS:
      size[1] = step->n_slots;
      break;
    case EM_VK_GRID_PAIRS:
      size[0] = max_blocks(step->n_rows * d->n_used, d->n_experts, d->columns);
      size[1] = d->fixed;
      break;
    case EM_VK_GRID_ONE:
      break;
    case EM_VK_GRID_ROW_TILES:
      size[1] = (step->n_rows + d->columns - 1) / d->columns;
      break;
    case EM_VK_GRID_ROW_COLUMNS:
      size[0] = (step->n_rows + d->columns - 1) / d->columns;
      size[1] = d->fixed;
      break;
    case EM_VK_GRID_OUTPUT_COLUMNS:
      size[0] = (step->n_outputs + d->columns - 1) / d->columns;
      size[1] = d->fixed;
      break;
    case EM_VK_GRID_X_ROWS:
      size[0] = step->n_rows;
      break;
    case EM_VK_GRID_X_OUTPUTS:
      size[0] = step->n_outputs;
      break;
    case EM_VK_GRID_OUTPUTS:
      size[1] = step->n_outputs;
      break;
    case EM_VK_GRID_PAGES:
      size[1] = step->n_rows;
      size[2] = last / EM_KV_PAGE_TOKENS + 1;
      break;
    }
  }
  program->base.counters.n_dispatches += recording->n_dispatches;
}

/* What follows the stages of step k, or EM_VK_N_PARTS. */
static uint32_t part_behind(const em_vulkan_program *program, const em_step *step) {
  if (step->n_outputs > 0 && step->n_top > 0)
    return EM_VK_PART_TOP;
  return program->steps[0].parts[EM_VK_PART_COPY].n_commands > 0 ? EM_VK_PART_COPY : EM_VK_N_PARTS;
}

/* Puts what step k runs into commands. */
static uint32_t gather(em_vulkan_program *program, uint32_t k, const em_step *step, em_vk_family family,
                       VkCommandBuffer *commands) {
  em_vk_step *to = &program->steps[k];
  const em_vk_recording *stages = &to->parts[family];
  uint32_t n = stages->n_commands, behind = part_behind(program, step);
  write_step(program, to, step);
  write_sizes(program, to, step, family);
  if (commands != stages->commands)
    memcpy(commands, stages->commands, n * sizeof commands[0]);
  if (behind < EM_VK_N_PARTS) {
    write_sizes(program, to, step, behind);
    commands[n++] = to->parts[behind].commands[0];
  }
  return n;
}

/* Submits n command buffers, at most `at_once` at a time, and waits for all of them. */
static em_status run_commands(em_vk *vk, const VkCommandBuffer *commands, uint32_t n, uint32_t at_once,
                              em_error *error) {
  em_status status = EM_OK;
  uint64_t value = vk->submitted;
  for (uint32_t i = 0; i < n && status == EM_OK; i += at_once)
    status = em_vk_push(vk, commands + i, n - i < at_once ? n - i : at_once, "running a step", error);
  /* One after the other, so that the limit of a wait is that of a submit; also for those before one that failed. */
  for (value++; value <= vk->submitted && !vk->failed; value++) {
    em_error waiting = {0};
    if (em_vk_wait(vk, value, "running a step", &waiting) != EM_OK) {
      status = waiting.code;
      if (error)
        *error = waiting;
    }
  }
  return status;
}

/* How many slices of a step of many rows are submitted at once; one while nothing is known of their time. */
static uint32_t slices_at_once(const em_vulkan_program *program, uint32_t n_slices, uint32_t n_rows) {
  uint64_t ns = program->ns_per_row * n_rows;
  uint64_t fit = ns == 0 ? 1 : SUBMIT_NS * n_slices / ns;
  return fit < 1 ? 1 : fit < n_slices ? (uint32_t)fit : n_slices + 1;
}

em_status em_vulkan_run(em_program *base, const em_step *step, em_error *error) {
  em_status status = EM_OK;
  em_vulkan_program *program = (em_vulkan_program *)base;
  em_vk *vk = &((em_vulkan *)base->backend)->vk;
  const em_vk_family family = em_vk_family_of(step->n_rows);
  if (vk->failed) /* and may still read the step that failed */
    return em_fail(error, EM_ERR_DEVICE, "the graphics device failed earlier");
  const uint64_t submitted = vk->submitted, made = vk->n_made;
  if (base->has_input)
    memcpy(program->input.mapped, step->input,
           (size_t)step->n_rows * base->desc.values[base->desc.stages[0].input.out].width * sizeof(float));
  if (family == EM_VK_FAMILY_MANY) {
    VkCommandBuffer *commands = program->steps[0].parts[family].commands;
    uint32_t n = gather(program, 0, step, family, commands);
    uint64_t start_ns = em_now_ns();
    EM_TRY(run_commands(vk, commands, n, slices_at_once(program, n, step->n_rows), error));
    program->ns_per_row = (em_now_ns() - start_ns) / step->n_rows + 1;
  } else {
    VkCommandBuffer commands[2 * EM_VK_MAX_AHEAD];
    uint32_t n = gather(program, 0, step, family, commands);
    for (uint32_t k = 1; k < step->n_ahead; k++) {
      const uint32_t position = step->positions[0] + k, first = 0;
      em_step next = *step;
      next.positions = &position;
      next.slots = next.outputs = &first;
      next.n_slots = 1;
      next.states = step->states ? step->states + step->slots[0] : NULL;
      next.page_tables = step->page_tables + (uint64_t)step->slots[0] * base->desc.max_pages;
      n += gather(program, k, &next, family, commands + n);
    }
    EM_TRY(run_commands(vk, commands, n, n, error));
  }
  program->went_ahead = step->n_ahead > 1;
  base->counters.expert_bytes = expert_bytes(program, step->n_ahead > 1 ? step->n_ahead : 1);
  base->counters.n_submits = (uint32_t)(vk->submitted - submitted);
  base->counters.n_made = (uint32_t)(vk->n_made - made);
fail:
  return status;
}

const float *em_vulkan_result(const em_program *base, uint32_t row) {
  const em_vulkan_program *program = (const em_vulkan_program *)base;
  const em_vk_buffer *from = program->readback.buffer ? &program->readback : &program->result;
  return (const float *)from->mapped + (uint64_t)row * base->desc.values[base->desc.result].width;
}

const em_top *em_vulkan_top(const em_program *base, uint32_t output) {
  const em_vulkan_program *program = (const em_vulkan_program *)base;
  /* Behind those of the outputs of any step stand those of the steps ahead. */
  uint32_t list = program->went_ahead && output > 0 ? base->desc.max_outputs + output - 1 : output;
  return (const em_top *)program->top.mapped + (uint64_t)list * EM_MAX_TOP;
}
