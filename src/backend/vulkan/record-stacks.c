/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Recording the stages that read stacks of matrices, and recurrent layers. */
#include "backend/vulkan/record.h"

/* The push constants of each shader, laid out as the shaders declare them. */
typedef struct push_experts {
  VkDeviceAddress w[2], scales[2], bias[2], x, y, groups, step;
  uint32_t n_in, n_rows, segment_tiles[2], n_used;
  float clamp;
  uint32_t x_width, gap, y_width;
  VkDeviceAddress books;
} push_experts;

typedef struct push_sort {
  VkDeviceAddress routes, groups, chosen, step;
  uint32_t n_used, n_experts, columns;
} push_sort;

typedef struct push_combine {
  VkDeviceAddress x, routes, residual, y, step;
  uint32_t n_used, width;
} push_combine;

typedef struct push_choose {
  VkDeviceAddress logits, bias, select_bias, routes, step;
  uint32_t n_experts, n_used, n_groups, n_groups_used, normalise;
  float logit_scale, scale;
} push_choose;

typedef struct push_join {
  VkDeviceAddress append, tail, y, step;
  uint32_t n_heads, n_rows, n_append, n_tail;
} push_join;

typedef struct push_delta {
  VkDeviceAddress u, mixed, y, states, conv, a_log, dt_bias, norm, step;
  uint32_t width, n_k, n_v, k_dim, v_dim, n_conv, tiled, segment_states, state_floats;
  float eps;
} push_delta;

/* Pairs, or rows, of a workgroup. */
static const uint32_t columns_of[EM_VK_N_FAMILIES] = {1, 4, 4, 4, 8};

static em_value routes_of(const em_stage *stage) {
  return stage->kind == EM_STAGE_EXPERTS       ? stage->experts.routes
         : stage->kind == EM_STAGE_EXPERTS_SUM ? stage->experts_sum.routes
                                               : EM_NO_VALUE;
}

bool em_vk_sorts(const em_program_desc *desc, uint32_t stage) {
  const em_value routes = routes_of(&desc->stages[stage]);
  if (routes == EM_NO_VALUE)
    return false;
  for (uint32_t i = stage; i-- > 0;) {
    if (routes_of(&desc->stages[i]) != EM_NO_VALUE)
      return routes_of(&desc->stages[i]) != routes;
    if (desc->stages[i].kind == EM_STAGE_ROUTER)
      return true;
  }
  return true;
}

em_status em_vk_record_router(em_vk_recorder *r, const em_stage_router *s, em_error *error) {
  em_status status = EM_OK;
  em_vulkan_program *program = r->program;
  const em_stage_linear product = {.x = s->x,
                                   .norm = s->norm,
                                   .norm_eps = s->norm_eps,
                                   .n_parts = 1,
                                   .w = {s->w},
                                   .residual = EM_NO_VALUE,
                                   .out = EM_NO_VALUE};
  em_vk_variant variant = {EM_VK_SHADER_CHOOSE, 1, {s->gating}};
  push_choose push = {.logits = program->work.address,
                      .bias = em_vk_vector_of(s->bias),
                      .select_bias = em_vk_vector_of(s->select_bias),
                      .routes = em_vk_address_of(program, s->routes),
                      .step = r->step->words.address,
                      .n_experts = (uint32_t)s->w->n_rows,
                      .n_used = s->n_used,
                      .n_groups = s->n_groups,
                      .n_groups_used = s->n_groups_used,
                      .normalise = s->normalise,
                      .logit_scale = s->logit_scale != 0 ? s->logit_scale : 1.0f,
                      .scale = s->scale != 0 ? s->scale : 1.0f};
  EM_TRY(em_vk_record_linear_to(r, &product, program->work.address, push.n_experts, error));
  em_vk_barrier(r);
  EM_TRY(em_vk_add(r, &variant, &push, sizeof push, EM_VK_GRID_ROWS, 1, error));
fail:
  return status;
}

/* Groups the pairs of a step by their experts, where that has not been done for these routes. */
static em_status sort(em_vk_recorder *r, em_value routes, uint32_t n_experts, em_error *error) {
  em_status status = EM_OK;
  em_vulkan_program *program = r->program;
  r->n_used = program->base.desc.values[routes].width / 2;
  r->n_experts = n_experts;
  if (r->sorts) {
    em_vk_variant variant = {EM_VK_SHADER_SORT, 0, {0}};
    const uint32_t step = (uint32_t)(r->step - program->steps);
    push_sort push = {.routes = em_vk_address_of(program, routes),
                      .groups = program->groups.address,
                      .chosen = program->chosen.address + 4ull * (step * program->n_sorts + r->n_sorted++),
                      .step = r->step->words.address,
                      .n_used = r->n_used,
                      .n_experts = n_experts,
                      .columns = columns_of[r->family]};
    EM_TRY(em_vk_add(r, &variant, &push, sizeof push, EM_VK_GRID_ONE, 1, error));
    em_vk_barrier(r);
  }
  r->columns = columns_of[r->family];
fail:
  return status;
}

static uint32_t format_of(const em_weights *w) {
  return w ? ((const em_vulkan_weights *)w)->layout->format : 0;
}

static void set_stack(push_experts *push, uint32_t i, const em_weights *w) {
  const em_vk_segments *tiles = &((const em_vulkan_weights *)w)->tiles;
  push->w[i] = tiles->addresses.address;
  push->segment_tiles[i] = (uint32_t)tiles->units_per_segment;
  push->n_in = (uint32_t)w->n_in;
  push->n_rows = (uint32_t)w->n_rows;
  push->books = ((em_vulkan *)w->backend)->books.address;
}

static uint32_t tiles_of(const em_weights *w) {
  return ((uint32_t)w->n_rows + EM_VK_TILE_ROWS - 1) / EM_VK_TILE_ROWS;
}

em_status em_vk_record_experts(em_vk_recorder *r, const em_stage_experts *s, em_error *error) {
  em_status status = EM_OK;
  em_vulkan_program *program = r->program;
  VkDeviceAddress x = em_vk_address_of(program, s->x);
  if (s->norm) {
    EM_TRY(em_vk_record_normed(r, x, s->norm, s->norm_eps, error));
    x = program->normed.address;
  }
  EM_TRY(sort(r, s->routes, s->w[0]->n_matrices, error));
  em_vk_variant variant = {
      EM_VK_SHADER_EXPERTS,
      5,
      {format_of(s->w[0]), s->n_parts > 1 ? format_of(s->w[1]) : 0, s->activation, columns_of[r->family], false}};
  push_experts push = {.x = x,
                       .y = em_vk_address_of(program, s->out),
                       .groups = program->groups.address,
                       .step = r->step->words.address,
                       .n_used = r->n_used,
                       .clamp = s->clamp};
  for (uint32_t p = 0; p < s->n_parts; p++) {
    set_stack(&push, p, s->w[p]);
    push.scales[p] = em_vk_vector_of(s->w_scale[p]);
    push.bias[p] = em_vk_vector_of(s->bias[p]);
  }
  EM_TRY(em_vk_add(r, &variant, &push, sizeof push, EM_VK_GRID_PAIRS, tiles_of(s->w[0]), error));
fail:
  return status;
}

em_status em_vk_record_experts_sum(em_vk_recorder *r, const em_stage_experts_sum *s, em_error *error) {
  em_status status = EM_OK;
  em_vulkan_program *program = r->program;
  EM_TRY(sort(r, s->routes, s->w->n_matrices, error));
  em_vk_variant variant = {EM_VK_SHADER_EXPERTS, 5, {format_of(s->w), 0, EM_ACT_NONE, columns_of[r->family], false}};
  push_experts push = {.scales = {em_vk_vector_of(s->w_scale)},
                       .bias = {em_vk_vector_of(s->bias)},
                       .x = em_vk_address_of(program, s->x),
                       .y = program->work.address,
                       .groups = program->groups.address,
                       .step = r->step->words.address,
                       .n_used = r->n_used,
                       .x_width = 1};
  set_stack(&push, 0, s->w);
  EM_TRY(em_vk_add(r, &variant, &push, sizeof push, EM_VK_GRID_PAIRS, tiles_of(s->w), error));
  em_vk_barrier(r);
  em_vk_variant combine = {EM_VK_SHADER_COMBINE, 0, {0}};
  push_combine sum = {.x = program->work.address,
                      .routes = em_vk_address_of(program, s->routes),
                      .residual = s->residual == EM_NO_VALUE ? 0 : em_vk_address_of(program, s->residual),
                      .y = em_vk_address_of(program, s->out),
                      .step = r->step->words.address,
                      .n_used = r->n_used,
                      .width = (uint32_t)s->w->n_rows};
  EM_TRY(em_vk_add(r, &combine, &sum, sizeof sum, EM_VK_GRID_ROWS, (sum.width + 127) / 128, error));
fail:
  return status;
}

em_status em_vk_record_heads(em_vk_recorder *r, const em_stage_heads *s, em_error *error) {
  em_status status = EM_OK;
  em_vulkan_program *program = r->program;
  const em_value_desc *values = program->base.desc.values;
  const uint32_t n_heads = s->w->n_matrices;
  const uint32_t n_append = s->append == EM_NO_VALUE ? 0 : values[s->append].width / n_heads;
  const uint32_t n_tail = s->tail == EM_NO_VALUE ? 0 : values[s->tail].width;
  r->columns = columns_of[r->family];
  em_vk_variant variant = {EM_VK_SHADER_EXPERTS, 5, {format_of(s->w), 0, EM_ACT_NONE, r->columns, true}};
  push_experts push = {.x = em_vk_address_of(program, s->x),
                       .y = em_vk_address_of(program, s->out),
                       .step = r->step->words.address,
                       .x_width = values[s->x].width,
                       .gap = (uint32_t)s->w->n_rows + n_append,
                       .y_width = values[s->out].width};
  set_stack(&push, 0, s->w);
  EM_TRY(em_vk_add(r, &variant, &push, sizeof push, EM_VK_GRID_ROW_COLUMNS, n_heads * tiles_of(s->w), error));
  if (n_append + n_tail > 0) {
    em_vk_variant join = {EM_VK_SHADER_JOIN, 0, {0}};
    push_join rest = {.append = n_append ? em_vk_address_of(program, s->append) : 0,
                      .tail = n_tail ? em_vk_address_of(program, s->tail) : 0,
                      .y = em_vk_address_of(program, s->out),
                      .step = r->step->words.address,
                      .n_heads = n_heads,
                      .n_rows = (uint32_t)s->w->n_rows,
                      .n_append = n_append,
                      .n_tail = n_tail};
    EM_TRY(em_vk_add(r, &join, &rest, sizeof rest, EM_VK_GRID_ROWS, (n_heads * n_append + n_tail + 127) / 128, error));
  }
fail:
  return status;
}

em_status em_vk_record_delta_net(em_vk_recorder *r, const em_stage_delta_net *s, em_error *error) {
  em_status status = EM_OK;
  em_vulkan_program *program = r->program;
  const em_program_desc *desc = &program->base.desc;
  const em_vk_segments *states = &((em_vulkan_kv *)desc->kv)->states[s->state_layer];
  push_delta push = {.u = em_vk_address_of(program, s->in),
                     .mixed = program->work.address,
                     .y = em_vk_address_of(program, s->out),
                     .states = states->addresses.address,
                     .conv = em_vk_vector_of(s->conv),
                     .a_log = em_vk_vector_of(s->a_log),
                     .dt_bias = em_vk_vector_of(s->dt_bias),
                     .norm = em_vk_vector_of(s->norm),
                     .step = r->step->words.address,
                     .width = desc->values[s->in].width,
                     .n_k = s->n_k,
                     .n_v = s->n_v,
                     .k_dim = s->k_dim,
                     .v_dim = s->v_dim,
                     .n_conv = s->n_conv,
                     .tiled = s->tiled,
                     .segment_states = (uint32_t)states->units_per_segment,
                     .state_floats = (uint32_t)(states->unit_bytes / 4),
                     .eps = s->eps};
  const uint32_t n_channels = 2 * s->n_k * s->k_dim + s->n_v * s->v_dim;
  em_vk_variant mix = {EM_VK_SHADER_MIX, 0, {0}}, recur = {EM_VK_SHADER_RECUR, 0, {0}},
                keep = {EM_VK_SHADER_KEEP, 0, {0}};
  EM_TRY(em_vk_add(r, &mix, &push, sizeof push, EM_VK_GRID_ROWS, 2 * s->n_k + s->n_v, error));
  em_vk_barrier(r);
  EM_TRY(em_vk_add(r, &recur, &push, sizeof push, EM_VK_GRID_SLOTS, s->n_v, error));
  if (s->n_conv > 1)
    EM_TRY(em_vk_add(r, &keep, &push, sizeof push, EM_VK_GRID_SLOTS, (n_channels + 127) / 128, error));
fail:
  return status;
}
