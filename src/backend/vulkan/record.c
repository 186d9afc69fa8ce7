/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/vulkan/record.h"

/* The push constants of each shader, laid out as the shaders declare them. */
typedef struct push_embed {
  VkDeviceAddress segments, y, step;
  uint32_t n_in, segment_tiles;
  float scale;
  uint32_t n_rows;
  VkDeviceAddress books;
} push_embed;

typedef struct push_norm {
  VkDeviceAddress x, w, y, step;
  uint32_t n;
  float eps;
  uint32_t outputs_only;
  VkDeviceAddress bias;
} push_norm;

typedef struct push_post {
  VkDeviceAddress x, w, bias, residual, by, y, step;
  uint32_t n, width, outputs;
  float eps, scale;
} push_post;

typedef struct push_gate {
  VkDeviceAddress x, gate, y, step;
  uint32_t width, gate_width, is_scalar, outputs;
} push_gate;

typedef struct push_linear {
  VkDeviceAddress w[3], bias[3], x, y, residual, step;
  uint32_t n_in, rows[3], y_width, first_row, outputs_only;
  float scales[2], softcap;
  VkDeviceAddress books;
} push_linear;

typedef struct push_store {
  VkDeviceAddress qkv, q_norm, k_norm, keys, values, step;
  uint32_t n_heads, n_kv_heads, k_dim, v_dim, n_rot, rotation_table, max_pages, k_segment_pages, v_segment_pages;
  float eps;
  uint32_t width, offset, norms, v_at;
  float q_log_scale;
  uint32_t q_log_period;
} push_store;

typedef struct push_attend {
  VkDeviceAddress qkv, y, keys, values, sinks, step;
  uint32_t n_heads, n_kv_heads, width, max_pages, k_segment_pages, v_segment_pages;
  float scale, softcap;
  uint32_t window, both_ways;
} push_attend;

typedef struct push_reduce {
  VkDeviceAddress partial, y, sinks, step;
  uint32_t n_heads, v_dim, max_pages, window, both_ways;
} push_reduce;

typedef struct push_classes {
  VkDeviceAddress x, keys, step;
  uint32_t width, n_classes;
} push_classes;

typedef struct push_top {
  VkDeviceAddress x, keys, top, next, step;
  uint32_t width, n_classes;
} push_top;

typedef struct push_copy {
  VkDeviceAddress x, y, step;
  uint32_t width, outputs_only;
} push_copy;

VkDeviceAddress em_vk_address_of(const em_vulkan_program *program, em_value value) {
  if (value == program->base.desc.result)
    return program->result.address;
  return program->scratch.address + 4 * program->base.desc.values[value].offset;
}

VkDeviceAddress em_vk_vector_of(const em_weights *weights) {
  return weights ? ((const em_vulkan_weights *)weights)->vector.address : 0;
}

em_status em_vk_add(em_vk_recorder *r, const em_vk_variant *variant, const void *push, uint32_t push_bytes,
                    em_vk_grid shape, uint32_t fixed, em_error *error) {
  em_vk *vk = &r->vulkan->vk;
  VkPipeline pipeline;
  if (!r->commands)
    return em_vk_pipeline_want(r->vulkan, variant, error);
  em_status status = em_vk_pipeline(r->vulkan, variant, &pipeline, error);
  if (status != EM_OK)
    return status;
  uint32_t i = r->recording->n_dispatches++;
  r->recording->dispatches[i] = (em_vk_dispatch){shape, fixed, r->columns, r->n_used, r->n_experts};
  vk->fn.CmdBindPipeline(r->commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
  vk->fn.CmdPushConstants(r->commands, r->vulkan->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, push_bytes, push);
  vk->fn.CmdDispatchIndirect(r->commands, r->step->words.buffer, 4 * r->recording->first_size + 12ull * i);
  return EM_OK;
}

void em_vk_barrier(em_vk_recorder *r) {
  if (!r->commands)
    return;
  VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                            .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                            .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
  r->vulkan->vk.fn.CmdPipelineBarrier(r->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                      VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &memory, 0, NULL, 0, NULL);
}

/* Copies as many rows as the family may have: how many the step has is not known yet. */
static void record_input(em_vk_recorder *r, const em_stage_input *input) {
  if (!r->commands)
    return;
  em_vulkan_program *program = r->program;
  const em_program_desc *desc = &program->base.desc;
  const em_value_desc *value = &desc->values[input->out];
  const em_vk_functions *fn = &r->vulkan->vk.fn;
  const uint32_t most = em_vk_family_rows(r->family);
  uint64_t rows = desc->max_rows < most ? desc->max_rows : most;
  bool is_result = input->out == desc->result;
  VkBufferCopy region = {.dstOffset = is_result ? 0 : 4 * value->offset, .size = 4 * rows * value->width};
  VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                            .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
                            .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
  fn->CmdCopyBuffer(r->commands, program->input.buffer, is_result ? program->result.buffer : program->scratch.buffer, 1,
                    &region);
  fn->CmdPipelineBarrier(r->commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1,
                         &memory, 0, NULL, 0, NULL);
}

static em_status record_embed(em_vk_recorder *r, const em_stage_embed *embed, em_error *error) {
  em_status status = EM_OK;
  const em_weights *tables[] = {embed->table, embed->positions, embed->types};
  for (uint32_t i = 0; i < 3; i++) {
    const em_vulkan_weights *table = (const em_vulkan_weights *)tables[i];
    if (!table)
      continue;
    em_vk_variant variant = {EM_VK_SHADER_EMBED, 2, {table->layout->format, i}};
    push_embed push = {
        .segments = table->tiles.addresses.address,
        .y = em_vk_address_of(r->program, embed->out),
        .step = r->step->words.address,
        .n_in = (uint32_t)table->base.n_in,
        .segment_tiles = (uint32_t)table->tiles.units_per_segment,
        .scale = i == 0 ? embed->scale : 1.0f,
        .n_rows = (uint32_t)table->base.n_rows,
        .books = r->vulkan->books.address,
    };
    if (i > 0)
      em_vk_barrier(r);
    EM_TRY(
        em_vk_add(r, &variant, &push, sizeof push, EM_VK_GRID_ROWS, ((uint32_t)table->base.n_in + 511) / 512, error));
  }
fail:
  return status;
}

/* Where tile `tile` of a matrix lies, and how many tiles its segment goes on for. */
static VkDeviceAddress tile_address(const em_weights *weights, uint64_t tile, uint64_t *n_left) {
  const em_vk_segments *tiles = &((const em_vulkan_weights *)weights)->tiles;
  uint64_t segment = tile / tiles->units_per_segment, inside = tile % tiles->units_per_segment;
  *n_left = tiles->units_per_segment - inside;
  return tiles->buffers ? tiles->buffers[segment].address + inside * tiles->unit_bytes : 0;
}

/* The number in a vector of one; 1 where there is none, or only its shape is known. */
static float number_of(const em_weights *weights) {
  return weights && ((const em_vulkan_weights *)weights)->host ? ((const em_vulkan_weights *)weights)->host[0] : 1.0f;
}

/* Whether there is more to do to a linear stage's sums than adding. */
static bool has_scales(const em_stage_linear *l) {
  bool scaled = (l->scale != 0 && l->scale != 1.0f) || l->softcap != 0;
  for (uint32_t p = 0; p < l->n_parts; p++)
    scaled |= l->w_scale[p] != NULL;
  return scaled;
}

em_status em_vk_record_normed(em_vk_recorder *r, VkDeviceAddress x, const em_weights *norm, float eps,
                              em_error *error) {
  em_vk_variant variant = {EM_VK_SHADER_NORM, 2, {EM_VK_X_FLOATS, false}};
  push_norm push = {.x = x,
                    .w = em_vk_vector_of(norm),
                    .y = r->program->normed.address,
                    .step = r->step->words.address,
                    .n = (uint32_t)norm->n_in,
                    .eps = eps};
  em_status status = em_vk_add(r, &variant, &push, sizeof push, EM_VK_GRID_X_ROWS, 0, error);
  em_vk_barrier(r);
  return status;
}

static uint32_t format_of(const em_weights *weights) {
  return ((const em_vulkan_weights *)weights)->layout->format;
}

/* Whether one dispatch may read matrices of all these formats. Each combination is a kernel of its own, and a file may
 * have as many as it has layers: those that files often have are enough. */
static bool is_common_mix(const em_stage_linear *l) {
  bool same = true;
  for (uint32_t p = 1; p < l->n_parts; p++)
    same &= format_of(l->w[p]) == format_of(l->w[0]);
  return same || (l->n_parts == 3 && format_of(l->w[0]) == EM_VK_FORMAT_Q4_K &&
                  format_of(l->w[1]) == EM_VK_FORMAT_Q4_K && format_of(l->w[2]) == EM_VK_FORMAT_Q6_K);
}

em_status em_vk_record_linear_to(em_vk_recorder *r, const em_stage_linear *l, VkDeviceAddress y, uint32_t y_width,
                                 em_error *error) {
  em_status status = EM_OK;
  em_vulkan_program *program = r->program;
  const em_program_desc *desc = &program->base.desc;
  const uint64_t n_in = l->w[0]->n_in;
  const bool gated = l->activation != EM_ACT_NONE && l->n_parts == 2;
  const bool scaled = has_scales(l);
  VkDeviceAddress x = em_vk_address_of(program, l->x);
  bool gather = l->outputs_only && !desc->values[l->x].outputs_only;
  const em_vk_kernel *kernel = em_vk_choose(&r->vulkan->vk, r->family, l);
  if (l->norm || gather || kernel->x != EM_VK_X_FLOATS) {
    em_vk_variant variant = {EM_VK_SHADER_NORM, 2, {kernel->x, l->norm && l->norm_kind == EM_NORM_LAYER}};
    push_norm push = {.x = x,
                      .w = em_vk_vector_of(l->norm),
                      .y = program->normed.address,
                      .step = r->step->words.address,
                      .n = (uint32_t)n_in,
                      .eps = l->norm_eps,
                      .outputs_only = gather,
                      .bias = em_vk_vector_of(l->norm_bias)};
    EM_TRY(em_vk_add(r, &variant, &push, sizeof push, l->outputs_only ? EM_VK_GRID_X_OUTPUTS : EM_VK_GRID_X_ROWS, 0,
                     error));
    em_vk_barrier(r);
    x = program->normed.address;
  }
  push_linear push = {.x = x,
                      .y = y,
                      .residual = l->residual == EM_NO_VALUE ? 0 : em_vk_address_of(program, l->residual),
                      .step = r->step->words.address,
                      .n_in = (uint32_t)n_in,
                      .y_width = y_width,
                      .outputs_only = l->outputs_only,
                      .books = r->vulkan->books.address};
  const em_vk_grid shape = l->outputs_only ? EM_VK_GRID_OUTPUT_COLUMNS : EM_VK_GRID_ROW_COLUMNS;
  em_vk_variant variant = {
      kernel->shader, 11, {kernel->columns[r->family], kernel->subgroups ? 1 : r->vulkan->vk.split}};
  r->columns = kernel->columns[r->family];
  variant.constants[10] = scaled;
  push.scales[0] = number_of(l->w_scale[0]);
  push.scales[1] = gated ? number_of(l->w_scale[1]) : l->scale != 0 ? l->scale : 1.0f;
  push.softcap = l->softcap;
  const bool is_fused = is_common_mix(l);
  bool whole = is_fused && l->n_parts <= 3; /* every matrix in one segment, and all of them in one dispatch */
  uint64_t n_all = 0;
  for (uint32_t p = 0; p < l->n_parts; p++) {
    n_all += (l->w[p]->n_rows + EM_VK_TILE_ROWS - 1) / EM_VK_TILE_ROWS;
    whole &= em_vk_n_segments(l->w[p]) == 1 && n_all <= EM_VK_MAX_GROUPS && (l->n_parts == 1 || !l->w_scale[p]);
  }
  variant.constants[6] = l->activation;
  variant.constants[7] = r->vulkan->vk.broadcast;
  variant.constants[8] = kernel->subgroups         ? kernel->subgroups * r->vulkan->vk.subgroup_size
                         : r->vulkan->vk.broadcast ? r->vulkan->vk.broadcast
                                                   : EM_VK_TILE_ROWS / kernel->rows_shared;
  variant.constants[9] = kernel->subgroups ? r->vulkan->vk.matrix_size : r->vulkan->vk.software;
  if (whole || (gated && is_fused)) {
    /* One dispatch computes all parts. Of a gated pair in several segments it takes the tiles up to the next border. */
    uint64_t n_tiles = 0;
    variant.constants[5] = l->n_parts;
    for (uint32_t p = 0; p < l->n_parts; p++) {
      variant.constants[2 + p] = format_of(l->w[p]);
      push.bias[p] = em_vk_vector_of(l->bias[p]);
      push.rows[p] = (uint32_t)l->w[p]->n_rows;
      n_tiles += gated && p > 0 ? 0 : (l->w[p]->n_rows + EM_VK_TILE_ROWS - 1) / EM_VK_TILE_ROWS;
    }
    if (!gated) {
      uint64_t left;
      for (uint32_t p = 0; p < l->n_parts; p++)
        push.w[p] = tile_address(l->w[p], 0, &left);
      EM_TRY(em_vk_add(r, &variant, &push, sizeof push, shape, (uint32_t)n_tiles, error));
    }
    for (uint64_t tile = 0; gated && tile < n_tiles;) {
      uint64_t left0, left1, n = n_tiles - tile;
      push.w[0] = tile_address(l->w[0], tile, &left0);
      push.w[1] = tile_address(l->w[1], tile, &left1);
      n = left0 < n ? left0 : n;
      n = left1 < n ? left1 : n;
      push.first_row = (uint32_t)(tile * EM_VK_TILE_ROWS);
      push.rows[0] = push.rows[1] = (uint32_t)(l->w[0]->n_rows - push.first_row);
      for (uint32_t p = 0; p < 2; p++)
        push.bias[p] = l->bias[p] ? em_vk_vector_of(l->bias[p]) + 4ull * push.first_row : 0;
      EM_TRY(em_vk_add(r, &variant, &push, sizeof push, shape, (uint32_t)n, error));
      tile += n;
    }
    return EM_OK;
  }
  uint32_t first_row = 0;
  variant.constants[5] = 1;
  for (uint32_t p = 0; p < l->n_parts; p++) {
    uint64_t n_tiles = (l->w[p]->n_rows + EM_VK_TILE_ROWS - 1) / EM_VK_TILE_ROWS;
    variant.constants[2] = format_of(l->w[p]);
    push.scales[0] = number_of(l->w_scale[p]);
    if (gated) {
      /* The gate is left where the result belongs, and the second matrix's sums find it there. */
      variant.constants[6] = p == 0 ? EM_ACT_NONE : l->activation;
      push.scales[1] = 1.0f;
      first_row = 0;
      if (p > 0)
        em_vk_barrier(r);
    }
    for (uint64_t tile = 0; tile < n_tiles;) {
      uint64_t left;
      push.w[0] = tile_address(l->w[p], tile, &left);
      uint64_t n = n_tiles - tile < left ? n_tiles - tile : left;
      uint32_t row = (uint32_t)(tile * EM_VK_TILE_ROWS);
      push.first_row = first_row + row;
      push.rows[0] = (uint32_t)l->w[p]->n_rows - row;
      push.bias[0] = l->bias[p] ? em_vk_vector_of(l->bias[p]) + 4ull * row : 0;
      EM_TRY(em_vk_add(r, &variant, &push, sizeof push, shape, (uint32_t)n, error));
      tile += n;
    }
    first_row += (uint32_t)l->w[p]->n_rows;
  }
fail:
  return status;
}

static uint32_t kv_constant(em_type type) {
  return type == EM_TYPE_F32 ? 0 : type == EM_TYPE_F16 ? 1 : 2;
}

/* Norms a piece of each row in place, all of it as one. */
static em_status record_row_norm(em_vk_recorder *r, VkDeviceAddress at, uint32_t width, const em_weights *norm,
                                 float eps, em_error *error) {
  em_vk_variant variant = {EM_VK_SHADER_POST, 1, {0}};
  push_post push = {.x = at,
                    .w = em_vk_vector_of(norm),
                    .y = at,
                    .step = r->step->words.address,
                    .n = (uint32_t)norm->n_in,
                    .width = width,
                    .eps = eps,
                    .scale = 1.0f};
  em_status status = em_vk_add(r, &variant, &push, sizeof push, EM_VK_GRID_ROWS, 1, error);
  em_vk_barrier(r);
  return status;
}

static em_status record_store(em_vk_recorder *r, uint32_t index, em_error *error) {
  em_status status = EM_OK;
  em_vulkan_program *program = r->program;
  const em_program_desc *desc = &program->base.desc;
  const em_stage_rope_store *s = &desc->stages[index].rope_store;
  em_vulkan_kv *kv = (em_vulkan_kv *)desc->kv;
  const em_kv_layer *layer = &kv->base.layers[s->kv_layer];
  const uint32_t width = desc->values[s->qkv].width, k_at = s->n_heads * layer->k_dim;
  const VkDeviceAddress row = em_vk_address_of(program, s->qkv);
  const em_weights *q_norm = s->q_norm, *k_norm = s->k_norm;
  bool is_new;
  uint64_t table = 0;
  if (s->rope.kind != EM_ROPE_NONE)
    for (uint32_t i = 0; i < em_vk_rotation_index(desc, index, &is_new); i++)
      table += (uint64_t)program->rotations[i].rope.n_rot * r->step->max_rows;
  if (q_norm && q_norm->n_in > layer->k_dim) {
    EM_TRY(record_row_norm(r, row, width, q_norm, s->norm_eps, error));
    q_norm = NULL;
  }
  if (k_norm && k_norm->n_in > layer->k_dim) {
    if (s->source == EM_KV_FROM_K)
      return em_fail(error, EM_ERR_UNSUPPORTED, "values from keys that are normed as one row have no shader");
    EM_TRY(record_row_norm(r, row + 4ull * k_at, width, k_norm, s->norm_eps, error));
    k_norm = NULL;
  }
  em_vk_variant variant = {EM_VK_SHADER_STORE,
                           2,
                           {kv_constant(kv->base.type), s->rope.kind == EM_ROPE_NONE   ? 0
                                                        : s->rope.kind == EM_ROPE_NORM ? 1
                                                                                       : 2}};
  push_store push = {
      .qkv = row,
      .q_norm = em_vk_vector_of(q_norm),
      .k_norm = em_vk_vector_of(k_norm),
      .keys = kv->keys[s->kv_layer].addresses.address,
      .values = kv->values[s->kv_layer].addresses.address,
      .step = r->step->words.address,
      .n_heads = s->n_heads,
      .n_kv_heads = layer->n_heads,
      .k_dim = layer->k_dim,
      .v_dim = layer->v_dim,
      .n_rot = s->rope.kind == EM_ROPE_NONE ? 0 : s->rope.n_rot,
      .rotation_table = (uint32_t)table,
      .max_pages = desc->max_pages,
      .k_segment_pages = (uint32_t)kv->keys[s->kv_layer].units_per_segment,
      .v_segment_pages = (uint32_t)kv->values[s->kv_layer].units_per_segment,
      .eps = s->norm_eps,
      .width = width,
      .offset = s->rope.offset,
      .norms = (q_norm ? (uint32_t)q_norm->n_in : 0) | (k_norm ? (uint32_t)k_norm->n_in << 15 : 0) |
               (uint32_t)s->norm_v << 30,
      .v_at = s->source == EM_KV_FROM_K ? k_at : k_at + layer->n_heads * layer->k_dim,
      .q_log_scale = s->q_log_scale,
      .q_log_period = s->q_log_period,
  };
  uint32_t n = s->n_heads;
  if (s->source != EM_KV_FROM_NONE)
    n += layer->v_in_k ? layer->n_heads : 2 * layer->n_heads;
  EM_TRY(em_vk_add(r, &variant, &push, sizeof push, EM_VK_GRID_ROWS, n, error));
fail:
  return status;
}

/* How many query heads of one KV head and how many rows a workgroup takes: what attend.comp calls columns, of which its
 * shared memory holds eight of short heads and fewer of long ones. */
static void attention_tile(const em_vk *vk, const em_kv_layer *layer, uint32_t n_heads, bool partial, uint32_t *heads,
                           uint32_t *rows) {
  const uint32_t ratio = n_heads / layer->n_heads;
  uint32_t most = EM_VK_ATTEND_COLUMNS;
  while (most > 1 &&
         most * (layer->k_dim + EM_KV_PAGE_TOKENS + 20) * 4 + 2048 > vk->properties.limits.maxComputeSharedMemorySize)
    most--;
  *heads = most;
  while (ratio % *heads != 0)
    --*heads;
  *rows = partial ? 1 : most / *heads;
}

static em_status record_attention(em_vk_recorder *r, const em_stage_attention *a, em_error *error) {
  em_status status = EM_OK;
  em_vulkan_program *program = r->program;
  const em_program_desc *desc = &program->base.desc;
  em_vulkan_kv *kv = (em_vulkan_kv *)desc->kv;
  const em_kv_layer *layer = &kv->base.layers[a->kv_layer];
  const em_vk_segments *keys = &kv->keys[a->kv_layer];
  const em_vk_segments *values = layer->v_in_k ? keys : &kv->values[a->kv_layer];
  const bool partial = r->family != EM_VK_FAMILY_MANY;
  uint32_t heads, rows;
  attention_tile(&r->vulkan->vk, layer, a->n_heads, partial, &heads, &rows);
  em_vk_variant variant = {EM_VK_SHADER_ATTEND,
                           9,
                           {kv_constant(kv->base.type), partial, layer->k_dim, layer->v_dim, heads, rows,
                            r->vulkan->vk.broadcast, layer->v_in_k, a->softcap != 0}};
  push_attend push = {
      .qkv = em_vk_address_of(program, a->qkv),
      .y = partial ? program->partial.address : em_vk_address_of(program, a->out),
      .keys = keys->addresses.address,
      .values = values->addresses.address,
      .sinks = em_vk_vector_of(a->sinks),
      .step = r->step->words.address,
      .n_heads = a->n_heads,
      .n_kv_heads = layer->n_heads,
      .width = desc->values[a->qkv].width,
      .max_pages = desc->max_pages,
      .k_segment_pages = (uint32_t)keys->units_per_segment,
      .v_segment_pages = (uint32_t)values->units_per_segment,
      .scale = a->scale,
      .softcap = a->softcap,
      .window = a->window,
      .both_ways = a->both_ways,
  };
  r->columns = rows;
  EM_TRY(em_vk_add(r, &variant, &push, sizeof push, partial ? EM_VK_GRID_PAGES : EM_VK_GRID_ROW_TILES,
                   a->n_heads / heads, error));
  if (partial) {
    em_vk_barrier(r);
    em_vk_variant reduce = {EM_VK_SHADER_REDUCE, 0, {0}};
    push_reduce merge = {.partial = program->partial.address,
                         .y = em_vk_address_of(program, a->out),
                         .sinks = em_vk_vector_of(a->sinks),
                         .step = r->step->words.address,
                         .n_heads = a->n_heads,
                         .v_dim = layer->v_dim,
                         .max_pages = desc->max_pages,
                         .window = a->window,
                         .both_ways = a->both_ways};
    EM_TRY(em_vk_add(r, &reduce, &merge, sizeof merge, EM_VK_GRID_ROWS, a->n_heads, error));
  }
fail:
  return status;
}

static em_status record_norm(em_vk_recorder *r, const em_stage_norm *n, em_error *error) {
  em_vulkan_program *program = r->program;
  const em_value_desc *out = &program->base.desc.values[n->out];
  bool gathers = out->outputs_only && !program->base.desc.values[n->x].outputs_only;
  em_vk_variant variant = {EM_VK_SHADER_POST, 1, {n->kind == EM_NORM_LAYER}};
  push_post push = {.x = em_vk_address_of(program, n->x),
                    .w = em_vk_vector_of(n->norm),
                    .bias = em_vk_vector_of(n->bias),
                    .residual = n->residual == EM_NO_VALUE ? 0 : em_vk_address_of(program, n->residual),
                    .by = em_vk_vector_of(n->scale_by),
                    .y = em_vk_address_of(program, n->out),
                    .step = r->step->words.address,
                    .n = (uint32_t)n->norm->n_in,
                    .width = out->width,
                    .outputs = gathers ? 2 : out->outputs_only,
                    .eps = n->eps,
                    .scale = n->scale != 0 ? n->scale : 1.0f};
  return em_vk_add(r, &variant, &push, sizeof push, out->outputs_only ? EM_VK_GRID_OUTPUTS : EM_VK_GRID_ROWS,
                   out->width / push.n, error);
}

static em_status record_gate(em_vk_recorder *r, const em_stage_gate *g, em_error *error) {
  em_vulkan_program *program = r->program;
  const em_value_desc *out = &program->base.desc.values[g->out];
  em_vk_variant variant = {EM_VK_SHADER_GATE, 1, {g->activation}};
  push_gate push = {.x = em_vk_address_of(program, g->x),
                    .gate = em_vk_address_of(program, g->gate) + 4ull * g->gate_offset,
                    .y = em_vk_address_of(program, g->out),
                    .step = r->step->words.address,
                    .width = out->width,
                    .gate_width = program->base.desc.values[g->gate].width,
                    .is_scalar = g->is_scalar,
                    .outputs = out->outputs_only};
  return em_vk_add(r, &variant, &push, sizeof push, out->outputs_only ? EM_VK_GRID_OUTPUTS : EM_VK_GRID_ROWS,
                   (out->width + 127) / 128, error);
}

/* text may be NULL: no label. */
static void begin_label(em_vk_recorder *r, const char *text) {
  em_vk *vk = &r->vulkan->vk;
  VkDebugUtilsLabelEXT label = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT, .pLabelName = text};
  if (r->commands && vk->fn.CmdBeginDebugUtilsLabelEXT && text)
    vk->fn.CmdBeginDebugUtilsLabelEXT(r->commands, &label);
}

static void end_label(em_vk_recorder *r, const char *text) {
  em_vk *vk = &r->vulkan->vk;
  if (r->commands && vk->fn.CmdEndDebugUtilsLabelEXT && text)
    vk->fn.CmdEndDebugUtilsLabelEXT(r->commands);
}

static em_status record_stage(em_vk_recorder *r, uint32_t index, em_error *error) {
  em_status status = EM_OK;
  const em_stage *stage = &r->program->base.desc.stages[index];
  begin_label(r, stage->label);
  r->sorts = em_vk_sorts(&r->program->base.desc, index);
  switch (stage->kind) {
  case EM_STAGE_INPUT:
    record_input(r, &stage->input);
    break;
  case EM_STAGE_EMBED:
    EM_TRY(record_embed(r, &stage->embed, error));
    break;
  case EM_STAGE_LINEAR:
    EM_TRY(em_vk_record_linear_to(r, &stage->linear, em_vk_address_of(r->program, stage->linear.out),
                                  r->program->base.desc.values[stage->linear.out].width, error));
    break;
  case EM_STAGE_ROPE_STORE:
    EM_TRY(record_store(r, index, error));
    break;
  case EM_STAGE_ATTENTION:
    EM_TRY(record_attention(r, &stage->attention, error));
    break;
  case EM_STAGE_NORM:
    EM_TRY(record_norm(r, &stage->norm, error));
    break;
  case EM_STAGE_GATE:
    EM_TRY(record_gate(r, &stage->gate, error));
    break;
  case EM_STAGE_ROUTER:
    EM_TRY(em_vk_record_router(r, &stage->router, error));
    break;
  case EM_STAGE_EXPERTS:
    EM_TRY(em_vk_record_experts(r, &stage->experts, error));
    break;
  case EM_STAGE_EXPERTS_SUM:
    EM_TRY(em_vk_record_experts_sum(r, &stage->experts_sum, error));
    break;
  case EM_STAGE_HEADS:
    EM_TRY(em_vk_record_heads(r, &stage->heads, error));
    break;
  case EM_STAGE_DELTA_NET:
    EM_TRY(em_vk_record_delta_net(r, &stage->delta_net, error));
    break;
  case EM_N_STAGE_KINDS:
  default:
    break;
  }
  end_label(r, stage->label);
fail:
  return status;
}

static em_status record_top(em_vk_recorder *r, em_error *error) {
  em_status status = EM_OK;
  em_vulkan_program *program = r->program;
  const uint32_t width = program->base.desc.values[program->base.desc.result].width;
  const uint32_t n_classes = (width + EM_VK_TOP_FOLD - 1) / EM_VK_TOP_FOLD;
  push_classes classes = {program->result.address, program->keys.address, r->step->words.address, width, n_classes};
  push_top top = {.x = program->result.address,
                  .keys = program->keys.address,
                  .top = r->step->top,
                  .next = r->step->next,
                  .step = r->step->words.address,
                  .width = width,
                  .n_classes = n_classes};
  EM_TRY(em_vk_add(r, &(em_vk_variant){EM_VK_SHADER_CLASSES, 0, {0}}, &classes, sizeof classes, EM_VK_GRID_OUTPUTS,
                   (n_classes + 63) / 64, error));
  em_vk_barrier(r);
  EM_TRY(em_vk_add(r, &(em_vk_variant){EM_VK_SHADER_TOP, 0, {0}}, &top, sizeof top, EM_VK_GRID_OUTPUTS, 1, error));
fail:
  return status;
}

static em_status record_copy(em_vk_recorder *r, em_error *error) {
  em_vulkan_program *program = r->program;
  const em_value_desc *value = &program->base.desc.values[program->base.desc.result];
  push_copy push = {program->result.address, program->readback.address, r->step->words.address, value->width,
                    value->outputs_only};
  return em_vk_add(r, &(em_vk_variant){EM_VK_SHADER_COPY, 0, {0}}, &push, sizeof push,
                   value->outputs_only ? EM_VK_GRID_OUTPUTS : EM_VK_GRID_ROWS, (value->width + 127) / 128, error);
}

static const char *const part_names[EM_VK_N_PARTS] = {"one row",   "to 4 rows",   "to 8 rows", "to 16 rows",
                                                      "many rows", "best tokens", "result"};

static em_status begin_slice(em_vk_recorder *r, em_error *error) {
  em_vk *vk = &r->vulkan->vk;
  em_status status = EM_OK;
  VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                          .commandPool = vk->commands,
                                          .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                          .commandBufferCount = 1};
  VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  if (!r->step->words.buffer)
    return EM_OK;
  vk->n_made++;
  EM_TRY(em_vk_result(vk, vk->fn.AllocateCommandBuffers(vk->device, &allocate, &r->commands), "recording", error));
  r->recording->commands[r->recording->n_commands++] = r->commands;
  em_vk_name(vk, VK_OBJECT_TYPE_COMMAND_BUFFER, (uint64_t)(uintptr_t)r->commands, "%s %u",
             part_names[r->recording - r->step->parts], r->recording->n_commands);
  EM_TRY(em_vk_result(vk, vk->fn.BeginCommandBuffer(r->commands, &begin), "recording", error));
fail:
  return status;
}

/* What follows, in this step or the next, and the host see all that the slice has written. */
static em_status end_slice(em_vk_recorder *r, em_error *error) {
  em_vk *vk = &r->vulkan->vk;
  if (!r->commands)
    return EM_OK;
  VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                            .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                            .dstAccessMask =
                                VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_HOST_READ_BIT};
  vk->fn.CmdPipelineBarrier(r->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                            VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &memory, 0, NULL,
                            0, NULL);
  return em_vk_result(vk, vk->fn.EndCommandBuffer(r->commands), "recording", error);
}

em_status em_vk_record(em_vulkan *vulkan, em_vulkan_program *program, em_vk_step *step, uint32_t part,
                       em_error *error) {
  em_status status = EM_OK;
  const em_program_desc *desc = &program->base.desc;
  em_vk_recorder r = {vulkan, program, step, &step->parts[part], (em_vk_family)part, VK_NULL_HANDLE};
  r.recording->first_size = step->n_words;
  EM_TRY(begin_slice(&r, error));
  if (part == EM_VK_PART_TOP) {
    begin_label(&r, "best tokens");
    EM_TRY(record_top(&r, error));
    end_label(&r, "best tokens");
  } else if (part == EM_VK_PART_COPY) {
    begin_label(&r, "result");
    EM_TRY(record_copy(&r, error));
    end_label(&r, "result");
  } else {
    for (uint32_t i = 0; i < desc->n_stages; i++) {
      EM_TRY(record_stage(&r, i, error));
      if (i + 1 == desc->n_stages)
        break;
      if (part == EM_VK_FAMILY_MANY && desc->stages[i].layer != desc->stages[i + 1].layer) {
        EM_TRY(end_slice(&r, error));
        EM_TRY(begin_slice(&r, error));
      } else {
        em_vk_barrier(&r);
      }
    }
  }
  EM_TRY(end_slice(&r, error));
  step->n_words += 3ull * r.recording->n_dispatches;
fail:
  return status;
}
