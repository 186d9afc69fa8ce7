/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Programs: each step is one of three command buffers, recorded once and replayed. All that changes between steps is in
 * the step buffer: the rows, the page tables, the rotations and the sizes of the dispatches, which the host computes.
 */
#include "backend/vulkan/vulkan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

/* Words of the step buffer; the same numbers stand in shaders/common/common.glsl. */
enum {
  STEP_N_ROWS,
  STEP_N_OUTPUTS,
  STEP_TOKENS,
  STEP_POSITIONS,
  STEP_SLOTS,
  STEP_OUTPUTS,
  STEP_PAGES,
  STEP_ROTATIONS,
  STEP_HEADER
};

/* The kernels' families by the number of rows. */
typedef enum row_family { FAMILY_ONE, FAMILY_FEW, FAMILY_MANY, N_FAMILIES } row_family;
#define FEW_ROWS 16u
static const uint32_t family_columns[N_FAMILIES] = {1, 4, 8};

/* How a dispatch's size follows from the step; what is not said is fixed. */
typedef enum grid {
  GRID_ROWS,           /* y: rows */
  GRID_ROW_COLUMNS,    /* y: rows, several to a workgroup */
  GRID_OUTPUT_COLUMNS, /* y: outputs, several to a workgroup */
  GRID_X_ROWS,         /* x: rows */
  GRID_X_OUTPUTS,      /* x: outputs */
  GRID_PAGES           /* y: rows, z: pages of the longest row */
} grid;

typedef struct dispatch {
  grid shape;
  uint32_t x;
} dispatch;

typedef struct rotation {
  em_rope rope;
  double *inverse; /* [n_rot / 2] */
} rotation;

typedef struct em_vulkan_program {
  em_program base;
  em_vk_buffer scratch, step, logits, normed, partial;
  VkCommandBuffer commands[N_FAMILIES];
  dispatch *dispatches[N_FAMILIES]; /* in the order of recording; their sizes stand behind the step's words */
  uint32_t n_dispatches[N_FAMILIES];
  rotation *rotations;
  uint32_t n_rotations;
  uint64_t step_words;     /* without the dispatches' sizes */
  uint64_t rotation_words; /* of all tables */
  uint64_t row_bytes;      /* weights read by each row looked up */
  uint64_t fixed_bytes;    /* weights read once a step */
  uint64_t output_bytes;   /* weights read once a step with outputs */
} em_vulkan_program;

/* --- Sizes
 * ------------------------------------------------------------------------------------------------------------- */

typedef struct sizes {
  uint64_t scratch, step_words, rotation_words, logits, normed, partial;
  uint32_t n_rotations, max_dispatches;
} sizes;

static bool same_rope(const em_rope *a, const em_rope *b) {
  return a->n_rot == b->n_rot && a->base == b->base && a->freq_scale == b->freq_scale && a->magnitude == b->magnitude &&
         a->factors == b->factors;
}

/* The index of a stage's rotation table among the distinct ones of the stages before it and itself. */
static uint32_t rotation_index(const em_program_desc *desc, uint32_t stage, bool *is_new) {
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

static uint32_t n_segments(const em_weights *weights) {
  uint32_t n = ((const em_vulkan_weights *)weights)->tiles.n;
  return n ? n : 1;
}

static em_status measure(const em_program_desc *desc, sizes *out, em_error *error) {
  *out = (sizes){0};
  uint64_t width_normed = 0, rows_normed = 0, rotation_values = 0;
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    const em_stage *stage = &desc->stages[i];
    out->max_dispatches += 2;
    if (stage->kind == EM_STAGE_LINEAR) {
      const em_stage_linear *l = &stage->linear;
      for (uint32_t p = 0; p < l->n_parts; p++)
        out->max_dispatches += 2 * n_segments(l->w[p]);
      if (l->outputs_only && l->residual != EM_NO_VALUE)
        return em_fail(error, EM_ERR_UNSUPPORTED, "a residual of output rows has no shader yet");
      if (l->norm || l->outputs_only) {
        uint64_t rows = l->outputs_only ? desc->max_outputs : desc->max_rows;
        width_normed = l->w[0]->n_in > width_normed ? l->w[0]->n_in : width_normed;
        rows_normed = rows > rows_normed ? rows : rows_normed;
      }
    } else if (stage->kind == EM_STAGE_ROPE_STORE) {
      bool is_new;
      rotation_index(desc, i, &is_new);
      if (is_new) {
        out->n_rotations++;
        rotation_values += stage->rope_store.rope.n_rot;
      }
    } else if (stage->kind == EM_STAGE_ATTENTION) {
      const em_kv_layer *l = &desc->kv->layers[stage->attention.kv_layer];
      uint64_t rows = desc->max_rows < FEW_ROWS ? desc->max_rows : FEW_ROWS;
      uint64_t floats = rows * stage->attention.n_heads * (2u + l->v_dim);
      if (!em_mul_u64(floats, desc->max_pages, &floats) || floats > UINT32_MAX)
        return em_fail(error, EM_ERR_TOO_BIG, "the context is too long for the attention's working memory");
      if (floats > out->partial)
        out->partial = floats;
    }
  }
  for (uint32_t i = 0; i < desc->n_values; i++) {
    if ((em_value)i == desc->logits)
      continue;
    const em_value_desc *value = &desc->values[i];
    uint64_t end = value->offset + (uint64_t)em_value_max_rows(desc, (em_value)i) * value->width;
    out->scratch = end > out->scratch ? end : out->scratch;
  }
  out->normed = width_normed * rows_normed;
  out->logits = (uint64_t)desc->max_outputs * desc->values[desc->logits].width;
  out->rotation_words = rotation_values * desc->max_rows;
  out->step_words = STEP_HEADER + 3ull * desc->max_rows + desc->max_outputs +
                    (uint64_t)desc->max_slots * desc->max_pages + out->rotation_words;
  return EM_OK;
}

em_status em_vulkan_program_bytes(const em_backend *backend, const em_program_desc *desc, uint64_t *out,
                                  em_error *error) {
  (void)backend;
  sizes s;
  em_status status = measure(desc, &s, error);
  if (status == EM_OK)
    *out = 4 * (s.scratch + s.step_words + s.logits + s.normed + s.partial) + 12ull * N_FAMILIES * s.max_dispatches;
  return status;
}

/* --- Recording
 * --------------------------------------------------------------------------------------------------------- */

/* The push constants of each shader, laid out as the shaders declare them. */
typedef struct push_embed {
  VkDeviceAddress segments, y, step;
  uint32_t n_in, segment_tiles;
  float scale;
} push_embed;

typedef struct push_norm {
  VkDeviceAddress x, w, y, step;
  uint32_t n;
  float eps;
  uint32_t outputs_only;
} push_norm;

typedef struct push_linear {
  VkDeviceAddress w[3], bias[3], x, y, residual, step;
  uint32_t n_in, rows[3], y_width, first_row, outputs_only;
} push_linear;

typedef struct push_store {
  VkDeviceAddress qkv, q_norm, k_norm, keys, values, step;
  uint32_t n_heads, n_kv_heads, k_dim, v_dim, n_rot, rotation_table, max_pages, segment_pages;
  float eps;
} push_store;

typedef struct push_attend {
  VkDeviceAddress qkv, y, keys, values, step;
  uint32_t n_heads, n_kv_heads, k_dim, v_dim, width, max_pages, segment_pages;
  float scale;
} push_attend;

typedef struct push_reduce {
  VkDeviceAddress partial, y, step;
  uint32_t n_heads, v_dim, max_pages;
} push_reduce;

typedef struct recorder {
  em_vulkan *vulkan;
  em_vulkan_program *program;
  row_family family;
  VkCommandBuffer commands;
  uint64_t first_size; /* byte offset of the family's dispatch sizes in the step buffer */
} recorder;

static VkDeviceAddress address_of(const em_vulkan_program *program, em_value value) {
  if (value == program->base.desc.logits)
    return program->logits.address;
  return program->scratch.address + 4 * program->base.desc.values[value].offset;
}

static VkDeviceAddress vector_of(const em_weights *weights) {
  return weights ? ((const em_vulkan_weights *)weights)->vector.address : 0;
}

static em_status add(recorder *r, const em_vk_variant *variant, const void *push, uint32_t push_bytes, grid shape,
                     uint32_t x, em_error *error) {
  em_vk *vk = &r->vulkan->vk;
  VkPipeline pipeline;
  em_status status = em_vk_pipeline(r->vulkan, variant, &pipeline, error);
  if (status != EM_OK)
    return status;
  uint32_t i = r->program->n_dispatches[r->family]++;
  r->program->dispatches[r->family][i] = (dispatch){shape, x};
  vk->fn.CmdBindPipeline(r->commands, VK_PIPELINE_BIND_POINT_COMPUTE, pipeline);
  vk->fn.CmdPushConstants(r->commands, r->vulkan->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, push_bytes, push);
  vk->fn.CmdDispatchIndirect(r->commands, r->program->step.buffer, r->first_size + 12ull * i);
  return EM_OK;
}

static void barrier(recorder *r) {
  VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                            .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                            .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
  r->vulkan->vk.fn.CmdPipelineBarrier(r->commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT,
                                      VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &memory, 0, NULL, 0, NULL);
}

static em_status record_embed(recorder *r, const em_stage_embed *embed, em_error *error) {
  const em_vulkan_weights *table = (const em_vulkan_weights *)embed->table;
  em_vk_variant variant = {EM_VK_SHADER_EMBED, 1, {table->layout->format}};
  push_embed push = {
      .segments = table->tiles.addresses.address,
      .y = address_of(r->program, embed->out),
      .step = r->program->step.address,
      .n_in = (uint32_t)table->base.n_in,
      .segment_tiles = (uint32_t)table->tiles.units_per_segment,
      .scale = embed->scale,
  };
  return add(r, &variant, &push, sizeof push, GRID_ROWS, ((uint32_t)table->base.n_in + 511) / 512, error);
}

/* Where tile `tile` of a matrix lies, and how many tiles its segment goes on for. */
static VkDeviceAddress tile_address(const em_weights *weights, uint64_t tile, uint64_t *n_left) {
  const em_vk_segments *tiles = &((const em_vulkan_weights *)weights)->tiles;
  uint64_t segment = tile / tiles->units_per_segment, inside = tile % tiles->units_per_segment;
  *n_left = tiles->units_per_segment - inside;
  return tiles->buffers[segment].address + inside * tiles->unit_bytes;
}

static em_status record_linear(recorder *r, const em_stage_linear *l, em_error *error) {
  em_status status = EM_OK;
  em_vulkan_program *program = r->program;
  const em_program_desc *desc = &program->base.desc;
  const uint64_t n_in = l->w[0]->n_in;
  const bool gated = l->activation == EM_ACT_SWIGLU;
  VkDeviceAddress x = address_of(program, l->x);
  bool gather = l->outputs_only && !desc->values[l->x].outputs_only;
  if (l->norm || gather) {
    em_vk_variant variant = {EM_VK_SHADER_NORM, 0, {0}};
    push_norm push = {.x = x,
                      .w = vector_of(l->norm),
                      .y = program->normed.address,
                      .step = program->step.address,
                      .n = (uint32_t)n_in,
                      .eps = l->norm_eps,
                      .outputs_only = gather};
    EM_TRY(add(r, &variant, &push, sizeof push, l->outputs_only ? GRID_X_OUTPUTS : GRID_X_ROWS, 0, error));
    barrier(r);
    x = program->normed.address;
  }
  push_linear push = {.x = x,
                      .y = address_of(program, l->out),
                      .residual = l->residual == EM_NO_VALUE ? 0 : address_of(program, l->residual),
                      .step = program->step.address,
                      .n_in = (uint32_t)n_in,
                      .y_width = desc->values[l->out].width,
                      .outputs_only = l->outputs_only};
  const grid shape = l->outputs_only ? GRID_OUTPUT_COLUMNS : GRID_ROW_COLUMNS;
  em_vk_variant variant = {EM_VK_SHADER_LINEAR, 8, {family_columns[r->family], r->vulkan->vk.split}};
  bool whole = true; /* every matrix in one segment */
  for (uint32_t p = 0; p < l->n_parts; p++)
    whole &= n_segments(l->w[p]) == 1;
  variant.constants[6] = gated;
  variant.constants[7] = r->vulkan->vk.broadcast;
  if (whole || gated) {
    /* One dispatch computes all parts. Of a gated pair in several segments it takes the tiles up to the next border. */
    uint64_t n_tiles = 0;
    variant.constants[5] = l->n_parts;
    for (uint32_t p = 0; p < l->n_parts; p++) {
      variant.constants[2 + p] = ((const em_vulkan_weights *)l->w[p])->layout->format;
      push.bias[p] = vector_of(l->bias[p]);
      push.rows[p] = (uint32_t)l->w[p]->n_rows;
      n_tiles += gated && p > 0 ? 0 : (l->w[p]->n_rows + EM_VK_TILE_ROWS - 1) / EM_VK_TILE_ROWS;
    }
    if (!gated) {
      uint64_t left;
      for (uint32_t p = 0; p < l->n_parts; p++)
        push.w[p] = tile_address(l->w[p], 0, &left);
      EM_TRY(add(r, &variant, &push, sizeof push, shape, (uint32_t)n_tiles, error));
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
        push.bias[p] = l->bias[p] ? vector_of(l->bias[p]) + 4ull * push.first_row : 0;
      EM_TRY(add(r, &variant, &push, sizeof push, shape, (uint32_t)n, error));
      tile += n;
    }
    return EM_OK;
  }
  uint32_t first_row = 0;
  variant.constants[5] = 1;
  for (uint32_t p = 0; p < l->n_parts; p++) {
    uint64_t n_tiles = (l->w[p]->n_rows + EM_VK_TILE_ROWS - 1) / EM_VK_TILE_ROWS;
    variant.constants[2] = ((const em_vulkan_weights *)l->w[p])->layout->format;
    for (uint64_t tile = 0; tile < n_tiles;) {
      uint64_t left;
      push.w[0] = tile_address(l->w[p], tile, &left);
      uint64_t n = n_tiles - tile < left ? n_tiles - tile : left;
      uint32_t row = (uint32_t)(tile * EM_VK_TILE_ROWS);
      push.first_row = first_row + row;
      push.rows[0] = (uint32_t)l->w[p]->n_rows - row;
      push.bias[0] = l->bias[p] ? vector_of(l->bias[p]) + 4ull * row : 0;
      EM_TRY(add(r, &variant, &push, sizeof push, shape, (uint32_t)n, error));
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

static em_status record_store(recorder *r, uint32_t index, em_error *error) {
  em_vulkan_program *program = r->program;
  const em_program_desc *desc = &program->base.desc;
  const em_stage_rope_store *s = &desc->stages[index].rope_store;
  em_vulkan_kv *kv = (em_vulkan_kv *)desc->kv;
  const em_kv_layer *layer = &kv->base.layers[s->kv_layer];
  bool is_new;
  uint64_t table = 0;
  if (s->rope.kind != EM_ROPE_NONE)
    for (uint32_t i = 0; i < rotation_index(desc, index, &is_new); i++)
      table += (uint64_t)program->rotations[i].rope.n_rot * desc->max_rows;
  em_vk_variant variant = {EM_VK_SHADER_STORE,
                           2,
                           {kv_constant(kv->base.type), s->rope.kind == EM_ROPE_NONE   ? 0
                                                        : s->rope.kind == EM_ROPE_NORM ? 1
                                                                                       : 2}};
  push_store push = {
      .qkv = address_of(program, s->qkv),
      .q_norm = vector_of(s->q_norm),
      .k_norm = vector_of(s->k_norm),
      .keys = kv->keys[s->kv_layer].addresses.address,
      .values = kv->values[s->kv_layer].addresses.address,
      .step = program->step.address,
      .n_heads = s->n_heads,
      .n_kv_heads = layer->n_heads,
      .k_dim = layer->k_dim,
      .v_dim = layer->v_dim,
      .n_rot = s->rope.kind == EM_ROPE_NONE ? 0 : s->rope.n_rot,
      .rotation_table = (uint32_t)table,
      .max_pages = desc->max_pages,
      .segment_pages = (uint32_t)kv->keys[s->kv_layer].units_per_segment,
      .eps = s->norm_eps,
  };
  return add(r, &variant, &push, sizeof push, GRID_ROWS, s->n_heads + 2 * layer->n_heads, error);
}

static em_status record_attention(recorder *r, const em_stage_attention *a, em_error *error) {
  em_status status = EM_OK;
  em_vulkan_program *program = r->program;
  const em_program_desc *desc = &program->base.desc;
  em_vulkan_kv *kv = (em_vulkan_kv *)desc->kv;
  const em_kv_layer *layer = &kv->base.layers[a->kv_layer];
  const bool partial = r->family != FAMILY_MANY;
  em_vk_variant variant = {EM_VK_SHADER_ATTEND, 2, {kv_constant(kv->base.type), partial}};
  push_attend push = {
      .qkv = address_of(program, a->qkv),
      .y = partial ? program->partial.address : address_of(program, a->out),
      .keys = kv->keys[a->kv_layer].addresses.address,
      .values = kv->values[a->kv_layer].addresses.address,
      .step = program->step.address,
      .n_heads = a->n_heads,
      .n_kv_heads = layer->n_heads,
      .k_dim = layer->k_dim,
      .v_dim = layer->v_dim,
      .width = desc->values[a->qkv].width,
      .max_pages = desc->max_pages,
      .segment_pages = (uint32_t)kv->keys[a->kv_layer].units_per_segment,
      .scale = a->scale,
  };
  EM_TRY(add(r, &variant, &push, sizeof push, partial ? GRID_PAGES : GRID_ROWS, a->n_heads, error));
  if (partial) {
    barrier(r);
    em_vk_variant reduce = {EM_VK_SHADER_REDUCE, 0, {0}};
    push_reduce merge = {.partial = program->partial.address,
                         .y = address_of(program, a->out),
                         .step = program->step.address,
                         .n_heads = a->n_heads,
                         .v_dim = layer->v_dim,
                         .max_pages = desc->max_pages};
    EM_TRY(add(r, &reduce, &merge, sizeof merge, GRID_ROWS, a->n_heads, error));
  }
fail:
  return status;
}

static em_status record(em_vulkan *vulkan, em_vulkan_program *program, row_family family, uint64_t first_size,
                        em_error *error) {
  em_status status = EM_OK;
  em_vk *vk = &vulkan->vk;
  const em_program_desc *desc = &program->base.desc;
  recorder r = {vulkan, program, family, VK_NULL_HANDLE, first_size};
  VkCommandBufferAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                          .commandPool = vk->commands,
                                          .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                          .commandBufferCount = 1};
  VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO};
  EM_TRY(em_vk_result(vk, vk->fn.AllocateCommandBuffers(vk->device, &allocate, &r.commands), "recording", error));
  program->commands[family] = r.commands;
  EM_TRY(em_vk_result(vk, vk->fn.BeginCommandBuffer(r.commands, &begin), "recording", error));
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    const em_stage *stage = &desc->stages[i];
    VkDebugUtilsLabelEXT label = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_LABEL_EXT, .pLabelName = stage->label};
    if (vk->fn.CmdBeginDebugUtilsLabelEXT && stage->label)
      vk->fn.CmdBeginDebugUtilsLabelEXT(r.commands, &label);
    switch (stage->kind) {
    case EM_STAGE_EMBED:
      EM_TRY(record_embed(&r, &stage->embed, error));
      break;
    case EM_STAGE_LINEAR:
      EM_TRY(record_linear(&r, &stage->linear, error));
      break;
    case EM_STAGE_ROPE_STORE:
      EM_TRY(record_store(&r, i, error));
      break;
    case EM_STAGE_ATTENTION:
      EM_TRY(record_attention(&r, &stage->attention, error));
      break;
    case EM_N_STAGE_KINDS:
      break;
    }
    if (vk->fn.CmdEndDebugUtilsLabelEXT && stage->label)
      vk->fn.CmdEndDebugUtilsLabelEXT(r.commands);
    if (i + 1 < desc->n_stages)
      barrier(&r);
  }
  VkMemoryBarrier to_host = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                             .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT,
                             .dstAccessMask = VK_ACCESS_HOST_READ_BIT};
  vk->fn.CmdPipelineBarrier(r.commands, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, VK_PIPELINE_STAGE_HOST_BIT, 0, 1,
                            &to_host, 0, NULL, 0, NULL);
  EM_TRY(em_vk_result(vk, vk->fn.EndCommandBuffer(r.commands), "recording", error));
fail:
  return status;
}

/* --- Making and freeing
 * ------------------------------------------------------------------------------------------------ */

static em_status make_rotations(em_vulkan_program *program, em_error *error) {
  const em_program_desc *desc = &program->base.desc;
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    bool is_new;
    if (desc->stages[i].kind != EM_STAGE_ROPE_STORE)
      continue;
    const em_rope *rope = &desc->stages[i].rope_store.rope;
    rotation_index(desc, i, &is_new);
    if (!is_new)
      continue;
    rotation *table = &program->rotations[program->n_rotations];
    table->rope = *rope;
    table->inverse = em_calloc(rope->n_rot / 2, sizeof *table->inverse);
    if (!table->inverse)
      return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
    program->n_rotations++;
    const float *factors = rope->factors ? ((const em_vulkan_weights *)rope->factors)->host : NULL;
    for (uint32_t k = 0; k < rope->n_rot / 2; k++)
      table->inverse[k] = (double)rope->freq_scale * pow((double)rope->base, -2.0 * k / rope->n_rot) /
                          (factors ? (double)factors[k] : 1.0);
  }
  return EM_OK;
}

static void count_weights(em_vulkan_program *program) {
  const em_program_desc *desc = &program->base.desc;
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    const em_stage *stage = &desc->stages[i];
    if (stage->kind == EM_STAGE_EMBED) {
      program->row_bytes += stage->embed.table->stored_bytes / stage->embed.table->n_rows;
    } else if (stage->kind == EM_STAGE_LINEAR) {
      uint64_t bytes = stage->linear.norm ? stage->linear.norm->stored_bytes : 0;
      for (uint32_t p = 0; p < stage->linear.n_parts; p++)
        bytes += stage->linear.w[p]->stored_bytes + (stage->linear.bias[p] ? stage->linear.bias[p]->stored_bytes : 0);
      *(stage->linear.outputs_only ? &program->output_bytes : &program->fixed_bytes) += bytes;
    } else if (stage->kind == EM_STAGE_ROPE_STORE) {
      program->fixed_bytes += (stage->rope_store.q_norm ? stage->rope_store.q_norm->stored_bytes : 0) +
                              (stage->rope_store.k_norm ? stage->rope_store.k_norm->stored_bytes : 0);
    }
  }
}

em_status em_vulkan_program_new(em_backend *backend, const em_program *common, em_program **out, em_error *error) {
  em_status status = EM_OK;
  em_vulkan *vulkan = (em_vulkan *)backend;
  em_vk *vk = &vulkan->vk;
  sizes s;
  em_vulkan_program *program = em_calloc(1, sizeof *program);
  if (!program)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  program->base = *common;
  const em_program_desc *desc = &program->base.desc;
  EM_TRY(measure(desc, &s, error));
  program->step_words = s.step_words;
  program->rotation_words = s.rotation_words;
  program->rotations = em_calloc(s.n_rotations ? s.n_rotations : 1, sizeof *program->rotations);
  for (unsigned f = 0; f < N_FAMILIES; f++)
    program->dispatches[f] = em_calloc(s.max_dispatches, sizeof *program->dispatches[f]);
  if (!program->rotations || !program->dispatches[0] || !program->dispatches[1] || !program->dispatches[2]) {
    status = em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
    goto fail;
  }
  EM_TRY(make_rotations(program, error));
  EM_TRY(em_vk_buffer_new(vk, EM_VK_DEVICE, 4 * s.scratch, "scratch", &program->scratch, error));
  EM_TRY(em_vk_buffer_new(vk, EM_VK_HOST, 4 * s.step_words + 12ull * N_FAMILIES * s.max_dispatches, "step",
                          &program->step, error));
  EM_TRY(em_vk_buffer_new(vk, EM_VK_READBACK, 4 * s.logits, "logits", &program->logits, error));
  EM_TRY(em_vk_buffer_new(vk, EM_VK_DEVICE, 4 * s.normed, "normed", &program->normed, error));
  EM_TRY(em_vk_buffer_new(vk, EM_VK_DEVICE, 4 * s.partial, "partial", &program->partial, error));
  uint64_t size = 4 * s.step_words;
  for (row_family f = FAMILY_ONE; f < N_FAMILIES; f++) {
    EM_TRY(record(vulkan, program, f, size, error));
    size += 12ull * program->n_dispatches[f];
  }
  count_weights(program);
  *out = &program->base;
  return EM_OK;
fail:
  em_vulkan_program_free(&program->base);
  return status;
}

void em_vulkan_program_free(em_program *base) {
  em_vulkan_program *program = (em_vulkan_program *)base;
  em_vk *vk = &((em_vulkan *)base->backend)->vk;
  for (unsigned f = 0; f < N_FAMILIES; f++) {
    if (program->commands[f] && !vk->failed)
      vk->fn.FreeCommandBuffers(vk->device, vk->commands, 1, &program->commands[f]);
    free(program->dispatches[f]);
  }
  em_vk_buffer_free(vk, &program->scratch);
  em_vk_buffer_free(vk, &program->step);
  em_vk_buffer_free(vk, &program->logits);
  em_vk_buffer_free(vk, &program->normed);
  em_vk_buffer_free(vk, &program->partial);
  for (uint32_t i = 0; program->rotations && i < program->n_rotations; i++)
    free(program->rotations[i].inverse);
  free(program->rotations);
  free(program);
}

/* --- Running
 * ----------------------------------------------------------------------------------------------------------- */

static void write_step(em_vulkan_program *program, const em_step *step, row_family family) {
  const em_program_desc *desc = &program->base.desc;
  uint32_t *words = program->step.mapped;
  uint32_t at = STEP_HEADER;
  words[STEP_N_ROWS] = step->n_rows;
  words[STEP_N_OUTPUTS] = step->n_outputs;
  words[STEP_TOKENS] = at;
  memcpy(words + at, step->tokens, step->n_rows * 4ull);
  at += desc->max_rows;
  words[STEP_POSITIONS] = at;
  memcpy(words + at, step->positions, step->n_rows * 4ull);
  at += desc->max_rows;
  words[STEP_SLOTS] = at;
  memcpy(words + at, step->slots, step->n_rows * 4ull);
  at += desc->max_rows;
  words[STEP_OUTPUTS] = at;
  if (step->n_outputs > 0)
    memcpy(words + at, step->outputs, step->n_outputs * 4ull);
  at += desc->max_outputs;
  words[STEP_PAGES] = at;
  memcpy(words + at, step->page_tables, 4ull * step->n_slots * desc->max_pages);
  at += desc->max_slots * desc->max_pages;
  words[STEP_ROTATIONS] = at;
  for (uint32_t t = 0; t < program->n_rotations; t++) {
    const rotation *table = &program->rotations[t];
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
  const uint32_t columns = family_columns[family];
  uint32_t *size = words + program->step_words;
  for (unsigned f = 0; f < family; f++)
    size += 3 * program->n_dispatches[f];
  for (uint32_t i = 0; i < program->n_dispatches[family]; i++, size += 3) {
    const dispatch *d = &program->dispatches[family][i];
    size[0] = d->x;
    size[1] = size[2] = 1;
    switch (d->shape) {
    case GRID_ROWS:
      size[1] = step->n_rows;
      break;
    case GRID_ROW_COLUMNS:
      size[1] = (step->n_rows + columns - 1) / columns;
      break;
    case GRID_OUTPUT_COLUMNS:
      size[1] = (step->n_outputs + columns - 1) / columns;
      break;
    case GRID_X_ROWS:
      size[0] = step->n_rows;
      break;
    case GRID_X_OUTPUTS:
      size[0] = step->n_outputs;
      break;
    case GRID_PAGES:
      size[1] = step->n_rows;
      size[2] = last / EM_KV_PAGE_TOKENS + 1;
      break;
    }
  }
}

em_status em_vulkan_run(em_program *base, const em_step *step, em_error *error) {
  em_vulkan_program *program = (em_vulkan_program *)base;
  em_vulkan *vulkan = (em_vulkan *)base->backend;
  row_family family = step->n_rows == 1 ? FAMILY_ONE : step->n_rows <= FEW_ROWS ? FAMILY_FEW : FAMILY_MANY;
  if (vulkan->vk.failed) /* and may still read the step that failed */
    return em_fail(error, EM_ERR_DEVICE, "the graphics device failed earlier");
  write_step(program, step, family);
  em_status status = em_vk_submit(&vulkan->vk, program->commands[family], "running a step", error);
  if (status != EM_OK)
    return status;
  em_step_counters *counters = &base->counters;
  *counters = (em_step_counters){0};
  counters->weights_bytes =
      program->fixed_bytes + program->row_bytes * step->n_rows + (step->n_outputs > 0 ? program->output_bytes : 0);
  counters->n_stages = program->n_dispatches[family];
  for (uint32_t i = 0; i < base->desc.n_stages; i++)
    if (base->desc.stages[i].kind == EM_STAGE_ATTENTION) {
      const em_kv_layer *l = &base->desc.kv->layers[base->desc.stages[i].attention.kv_layer];
      uint64_t bytes = l->n_heads * (em_vulkan_kv_head_bytes(base->desc.kv->type, l->k_dim) +
                                     em_vulkan_kv_head_bytes(base->desc.kv->type, l->v_dim));
      for (uint32_t r = 0; r < step->n_rows; r++)
        counters->kv_bytes += bytes * (step->positions[r] + 1ull);
    }
  return EM_OK;
}

const float *em_vulkan_logits(const em_program *base, uint32_t output) {
  const em_vulkan_program *program = (const em_vulkan_program *)base;
  return (const float *)program->logits.mapped + (uint64_t)output * base->desc.values[base->desc.logits].width;
}
