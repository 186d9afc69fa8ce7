/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/vulkan/program.h"

#include <math.h>
#include <string.h>

static void write_step(em_vulkan_program *program, const em_step *step, em_vk_family family) {
  const em_program_desc *desc = &program->base.desc;
  uint32_t *words = program->step.mapped;
  uint32_t at = EM_VK_STEP_HEADER;
  words[EM_VK_STEP_N_ROWS] = step->n_rows;
  words[EM_VK_STEP_N_OUTPUTS] = step->n_outputs;
  words[EM_VK_STEP_TOKENS] = at;
  memcpy(words + at, step->tokens, step->n_rows * 4ull);
  at += desc->max_rows;
  words[EM_VK_STEP_POSITIONS] = at;
  memcpy(words + at, step->positions, step->n_rows * 4ull);
  at += desc->max_rows;
  words[EM_VK_STEP_SLOTS] = at;
  memcpy(words + at, step->slots, step->n_rows * 4ull);
  at += desc->max_rows;
  words[EM_VK_STEP_OUTPUTS] = at;
  if (step->n_outputs > 0)
    memcpy(words + at, step->outputs, step->n_outputs * 4ull);
  at += desc->max_outputs;
  words[EM_VK_STEP_PAGES] = at;
  memcpy(words + at, step->page_tables, 4ull * step->n_slots * desc->max_pages);
  at += desc->max_slots * desc->max_pages;
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
    at += table->rope.n_rot * desc->max_rows;
  }

  uint32_t last = 0;
  for (uint32_t r = 0; r < step->n_rows; r++)
    last = step->positions[r] > last ? step->positions[r] : last;
  const uint32_t columns = em_vk_family_columns[family];
  uint32_t *size = words + program->step_words;
  for (unsigned f = 0; f < family; f++)
    size += 3 * program->n_dispatches[f];
  for (uint32_t i = 0; i < program->n_dispatches[family]; i++, size += 3) {
    const em_vk_dispatch *d = &program->dispatches[family][i];
    size[0] = d->x;
    size[1] = size[2] = 1;
    switch (d->shape) {
    case EM_VK_GRID_ROWS:
      size[1] = step->n_rows;
      break;
    case EM_VK_GRID_ROW_COLUMNS:
      size[1] = (step->n_rows + columns - 1) / columns;
      break;
    case EM_VK_GRID_OUTPUT_COLUMNS:
      size[1] = (step->n_outputs + columns - 1) / columns;
      break;
    case EM_VK_GRID_X_ROWS:
      size[0] = step->n_rows;
      break;
    case EM_VK_GRID_X_OUTPUTS:
      size[0] = step->n_outputs;
      break;
    case EM_VK_GRID_PAGES:
      size[1] = step->n_rows;
      size[2] = last / EM_KV_PAGE_TOKENS + 1;
      break;
    }
  }
}

em_status em_vulkan_run(em_program *base, const em_step *step, em_error *error) {
  em_vulkan_program *program = (em_vulkan_program *)base;
  em_vulkan *vulkan = (em_vulkan *)base->backend;
  em_vk_family family = step->n_rows == 1                ? EM_VK_FAMILY_ONE
                        : step->n_rows <= EM_VK_FEW_ROWS ? EM_VK_FAMILY_FEW
                                                         : EM_VK_FAMILY_MANY;
  if (vulkan->vk.failed) /* and may still read the step that failed */
    return em_fail(error, EM_ERR_DEVICE, "the graphics device failed earlier");
  const uint64_t submitted = vulkan->vk.submitted, made = vulkan->vk.n_made;
  write_step(program, step, family);
  if (base->has_input)
    memcpy(program->input.mapped, step->input,
           (size_t)step->n_rows * base->desc.values[base->desc.stages[0].input.out].width * sizeof(float));
  em_status status = em_vk_submit(&vulkan->vk, program->commands[family], "running a step", error);
  if (status != EM_OK)
    return status;
  base->counters.n_dispatches = program->n_dispatches[family];
  base->counters.n_submits = (uint32_t)(vulkan->vk.submitted - submitted);
  base->counters.n_made = (uint32_t)(vulkan->vk.n_made - made);
  return EM_OK;
}

const float *em_vulkan_result(const em_program *base, uint32_t row) {
  const em_vulkan_program *program = (const em_vulkan_program *)base;
  return (const float *)program->result.mapped + (uint64_t)row * base->desc.values[base->desc.result].width;
}
