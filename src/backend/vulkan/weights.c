/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "backend/vulkan/vulkan.h"
#include "base/checked.h"

#define READ_BYTES (8u << 20)

static em_status check(const em_weights_desc *desc, const em_vk_layout **layout, em_error *error) {
  *layout = NULL;
  if (desc->use == EM_USE_VECTOR) {
    if (!em_type_get(desc->type)->decode)
      return em_fail(error, EM_ERR_UNSUPPORTED, "%s: vectors of type %s are not supported", desc->name,
                     em_type_get(desc->type)->name);
    return EM_OK;
  }
  *layout = em_vk_layout_get(desc->type);
  if (!*layout)
    return em_fail(error, EM_ERR_UNSUPPORTED, "%s: the type %s has no shaders yet", desc->name,
                   em_type_get(desc->type)->name);
  if (desc->n_in % 4 != 0)
    return em_fail(error, EM_ERR_UNSUPPORTED, "%s: rows of %llu values are no multiple of 4", desc->name,
                   (unsigned long long)desc->n_in);
  return EM_OK;
}

/* Of one matrix. */
static uint64_t n_tiles(uint64_t n_rows) {
  return (n_rows + EM_VK_TILE_ROWS - 1) / EM_VK_TILE_ROWS;
}

static uint64_t n_all_tiles(const em_weights_desc *desc) {
  return n_tiles(desc->n_rows) * (desc->n_matrices ? desc->n_matrices : 1);
}

em_status em_vulkan_weights_bytes(const em_backend *backend, const em_weights_desc *desc, uint64_t *out,
                                  em_error *error) {
  (void)backend;
  const em_vk_layout *layout;
  em_status status = check(desc, &layout, error);
  if (status != EM_OK)
    return status;
  if (!em_mul_u64(layout ? n_all_tiles(desc) : desc->n_in, layout ? em_vk_tile_bytes(layout, desc->n_in) : 4, out))
    return em_fail(error, EM_ERR_TOO_BIG, "%s is too large", desc->name);
  return EM_OK;
}

static em_status load_vector(em_vulkan *vulkan, em_vulkan_weights *weights, const em_weights_desc *desc,
                             em_read_fn read, void *user, em_error *error) {
  em_status status = EM_OK;
  const em_type_info *type = em_type_get(desc->type);
  uint64_t bytes;
  void *file = NULL;
  if (!em_type_row_bytes(desc->type, desc->n_in, &bytes))
    return em_fail(error, EM_ERR_ARGUMENT, "%s has no whole number of blocks", desc->name);
  file = em_calloc(1, bytes);
  weights->host = em_calloc(desc->n_in, sizeof(float));
  if (!file || !weights->host) {
    status = em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
    goto fail;
  }
  EM_TRY(read(user, 0, file, bytes, error));
  type->decode(file, weights->host, desc->n_in / type->block_len);
  EM_TRY(em_vk_buffer_new(&vulkan->vk, EM_VK_WEIGHTS, desc->n_in * 4, desc->name, &weights->vector, error));
  EM_TRY(em_vk_write(&vulkan->vk, &weights->vector, 0, weights->host, desc->n_in * 4, error));
fail:
  free(file);
  return status;
}

/* --- Tiles, read and packed by all threads --- */

/* Read and packed at once: what stays in a core's own cache. */
#define STEP_BYTES (256u << 10)
/* Of all threads together. Rows so long that more would be needed are left to fewer threads. */
#define MAX_SCRATCH_BYTES (24u << 20)
#define MAX_READERS 8u

typedef struct load_job {
  em_vulkan *vulkan;
  em_vulkan_weights *weights;
  const em_weights_desc *desc;
  em_read_fn read;
  void *user;
  uint64_t row_bytes, tile_bytes, tiles;
  uint64_t piece_tiles, pieces_per_segment, n_pieces; /* a piece is what a thread takes at once */
  uint64_t step_tiles;                                /* of a piece, read and packed at once */
  uint64_t scratch_bytes;                             /* of each thread */
  unsigned n_readers;
  _Atomic bool failed;
  em_status status; /* of the first that failed */
  em_error error;
} load_job;

/* Reads rows, which may be longer than one read. */
static em_status read_rows(const load_job *job, uint64_t first_row, uint64_t n_rows, uint8_t *rows, em_error *error) {
  for (uint64_t done = 0; done < n_rows * job->row_bytes;) {
    uint64_t part = n_rows * job->row_bytes - done < READ_BYTES ? n_rows * job->row_bytes - done : READ_BYTES;
    em_status status = job->read(job->user, first_row * job->row_bytes + done, rows + done, part, error);
    if (status != EM_OK)
      return status;
    done += part;
  }
  return EM_OK;
}

/* Memory that is slow to write in small pieces gets whole tiles; what the host cannot write goes through a chunk of the
 * staging memory, or through several when a tile is larger than one. */
static em_status load_piece(const load_job *job, uint64_t piece, uint8_t *scratch, em_error *error) {
  em_status status = EM_OK;
  em_vk *vk = &job->vulkan->vk;
  em_vulkan_weights *weights = job->weights;
  const uint64_t segment = piece / job->pieces_per_segment, tile_bytes = job->tile_bytes;
  const uint64_t inside = piece % job->pieces_per_segment * job->piece_tiles;
  const uint64_t first_tile = segment * weights->tiles.units_per_segment + inside;
  em_vk_buffer *buffer = &weights->tiles.buffers[segment];
  uint8_t *packed = scratch + job->step_tiles * EM_VK_TILE_ROWS * job->row_bytes;
  em_vk_chunk *chunk = NULL;
  uint64_t n = weights->tiles.units_per_segment - inside;
  n = n < job->piece_tiles ? n : job->piece_tiles;
  n = n < job->tiles - first_tile ? n : job->tiles - first_tile;
  if (!buffer->mapped && tile_bytes <= vk->uploads.chunk_bytes)
    EM_TRY(em_vk_chunk_take(vk, &chunk, error));
  uint8_t *to = chunk            ? (uint8_t *)chunk->mapped
                : buffer->mapped ? (uint8_t *)buffer->mapped + inside * tile_bytes
                                 : NULL;
  const bool direct = to && (chunk ? vk->uploads.staging.cached : buffer->cached);
  for (uint64_t i = 0, n_step; i < n; i += n_step) {
    /* Of a stack the tiles of one matrix at a time. */
    const uint64_t matrix_tiles = n_tiles(job->desc->n_rows);
    const uint64_t matrix = (first_tile + i) / matrix_tiles, tile = (first_tile + i) % matrix_tiles;
    n_step = n - i < job->step_tiles ? n - i : job->step_tiles;
    n_step = n_step < matrix_tiles - tile ? n_step : matrix_tiles - tile;
    uint64_t first_row = matrix * job->desc->n_rows + tile * EM_VK_TILE_ROWS, n_rows = n_step * EM_VK_TILE_ROWS;
    uint64_t left_rows = job->desc->n_rows - tile * EM_VK_TILE_ROWS;
    n_rows = n_rows < left_rows ? n_rows : left_rows;
    EM_TRY(read_rows(job, first_row, n_rows, scratch, error));
    for (uint64_t t = 0; t < n_step; t++) {
      uint64_t left = n_rows - t * EM_VK_TILE_ROWS;
      em_vk_pack_tile(weights->layout, job->desc->n_in, scratch + t * EM_VK_TILE_ROWS * job->row_bytes, job->row_bytes,
                      (uint32_t)(left < EM_VK_TILE_ROWS ? left : EM_VK_TILE_ROWS),
                      direct ? to + (i + t) * tile_bytes : packed);
      if (!direct && to)
        memcpy(to + (i + t) * tile_bytes, packed, tile_bytes);
      else if (!to)
        EM_TRY(em_vk_write(vk, buffer, (inside + i + t) * tile_bytes, packed, tile_bytes, error));
    }
  }
  if (chunk)
    return em_vk_chunk_send(vk, chunk, buffer, inside * tile_bytes, n * tile_bytes, error);
fail:
  if (chunk)
    em_vk_chunk_return(vk, chunk);
  return status;
}

static void load_part(void *user, unsigned thread, unsigned n_threads) {
  load_job *job = user;
  (void)n_threads;
  em_error error = {0};
  while (thread < job->n_readers && !job->failed) {
    uint64_t piece = em_pool_next(job->vulkan->readers, 1, job->n_pieces);
    if (piece >= job->n_pieces)
      return;
    em_status status = load_piece(job, piece, job->vulkan->scratch + thread * job->scratch_bytes, &error);
    if (status != EM_OK && !atomic_exchange(&job->failed, true)) {
      job->status = status;
      job->error = error;
    }
  }
}

static uint64_t at_most(uint64_t value, uint64_t most) {
  return value < most ? value : most;
}

/* The threads, and the memory that they read into, which the next tensors use again. */
static em_status prepare_readers(load_job *job, em_error *error) {
  em_vulkan *vulkan = job->vulkan;
  if (!vulkan->readers) {
    unsigned n = vulkan->n_threads > 0 && vulkan->n_threads < MAX_READERS ? vulkan->n_threads : MAX_READERS;
    em_status status = em_pool_new(n, &vulkan->readers, error);
    if (status != EM_OK)
      return status;
  }
  job->n_readers = (unsigned)at_most(em_pool_n_threads(vulkan->readers), MAX_SCRATCH_BYTES / job->scratch_bytes);
  if (job->n_readers == 0)
    job->n_readers = 1;
  uint64_t needed;
  if (!em_mul_u64(job->scratch_bytes, job->n_readers, &needed))
    return em_fail(error, EM_ERR_TOO_BIG, "%s is too large", job->desc->name);
  if (vulkan->scratch_bytes >= needed)
    return EM_OK;
  free(vulkan->scratch);
  vulkan->scratch_bytes = 0;
  vulkan->scratch = em_calloc(1, (size_t)needed);
  if (!vulkan->scratch)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  vulkan->scratch_bytes = needed;
  return EM_OK;
}

static em_status load_tiles(em_vulkan *vulkan, em_vulkan_weights *weights, const em_weights_desc *desc, em_read_fn read,
                            void *user, em_error *error) {
  em_status status = EM_OK;
  em_vk *vk = &vulkan->vk;
  load_job job = {.vulkan = vulkan, .weights = weights, .desc = desc, .read = read, .user = user};
  job.tile_bytes = em_vk_tile_bytes(weights->layout, desc->n_in);
  job.tiles = n_all_tiles(desc);
  if (!em_type_row_bytes(desc->type, desc->n_in, &job.row_bytes))
    return em_fail(error, EM_ERR_ARGUMENT, "%s has no whole number of blocks", desc->name);
  EM_TRY(em_vk_segments_new(vk, EM_VK_WEIGHTS, job.tiles, job.tile_bytes,
                            (desc->use & (EM_USE_TABLE | EM_USE_STACK)) != 0, desc->name, &weights->tiles, error));
  bool staged = !weights->tiles.buffers[0].mapped;
  if (staged)
    EM_TRY(em_vk_uploads_open(vk, error));
  job.step_tiles = at_most(STEP_BYTES / (job.row_bytes * EM_VK_TILE_ROWS), job.tiles);
  if (job.step_tiles == 0)
    job.step_tiles = 1;
  job.scratch_bytes = (job.step_tiles * EM_VK_TILE_ROWS * job.row_bytes + job.tile_bytes + 63) & ~63ull;
  EM_TRY(prepare_readers(&job, error));
  /* Every reader has something to do, and a chunk is filled as far as that allows. */
  job.piece_tiles = staged ? vk->uploads.chunk_bytes / job.tile_bytes : job.step_tiles;
  job.piece_tiles = at_most(job.piece_tiles, (job.tiles + job.n_readers - 1) / job.n_readers);
  job.piece_tiles = at_most(job.piece_tiles, weights->tiles.units_per_segment);
  if (job.piece_tiles == 0)
    job.piece_tiles = 1;
  job.step_tiles = at_most(job.step_tiles, job.piece_tiles);
  job.pieces_per_segment = (weights->tiles.units_per_segment + job.piece_tiles - 1) / job.piece_tiles;
  uint64_t last = job.tiles - (weights->tiles.n - 1) * weights->tiles.units_per_segment;
  job.n_pieces = (weights->tiles.n - 1) * job.pieces_per_segment + (last + job.piece_tiles - 1) / job.piece_tiles;
  em_pool_run(vulkan->readers, load_part, &job);
  if (job.failed) {
    status = job.status;
    if (error)
      *error = job.error;
  }
fail:
  return status;
}

/* The codebooks, which the formats of the IQ1, IQ2 and IQ3 types look their values up in. */
static em_status load_books(em_vulkan *vulkan, em_error *error) {
  em_status status = EM_OK;
  uint16_t entries[EM_CODEBOOK_ENTRIES];
  em_codebooks(entries);
  EM_TRY(em_vk_buffer_new(&vulkan->vk, EM_VK_WEIGHTS, sizeof entries, "codebooks", &vulkan->books, error));
  status = em_vk_write(&vulkan->vk, &vulkan->books, 0, entries, sizeof entries, error);
  if (status != EM_OK)
    em_vk_buffer_free(&vulkan->vk, &vulkan->books);
fail:
  return status;
}

em_status em_vulkan_weights_new(em_backend *backend, const em_weights_desc *desc, em_read_fn read, void *user,
                                em_weights **out, em_error *error) {
  em_status status = EM_OK;
  em_vulkan *vulkan = (em_vulkan *)backend;
  em_vulkan_weights *weights = em_calloc(1, sizeof *weights);
  if (!weights)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  weights->base.backend = backend;
  EM_TRY(check(desc, &weights->layout, error));
  if (read) {
    if (weights->layout && em_vk_has_book(weights->layout) && !vulkan->books.buffer)
      EM_TRY(load_books(vulkan, error));
    EM_TRY(weights->layout ? load_tiles(vulkan, weights, desc, read, user, error)
                           : load_vector(vulkan, weights, desc, read, user, error));
    weights->has_data = true;
  } else if (weights->layout) {
    EM_TRY(em_vk_segments_size(&vulkan->vk, n_all_tiles(desc), em_vk_tile_bytes(weights->layout, desc->n_in),
                               desc->name, &weights->tiles, error));
  }
  *out = &weights->base;
  return EM_OK;
fail:
  em_vulkan_weights_free(&weights->base);
  return status;
}

void em_vulkan_weights_free(em_weights *base) {
  em_vulkan_weights *weights = (em_vulkan_weights *)base;
  em_vk *vk = &((em_vulkan *)base->backend)->vk;
  em_vk_segments_free(vk, &weights->tiles);
  em_vk_buffer_free(vk, &weights->vector);
  free(weights->host);
  free(weights);
}

/* --- The cache --- */

uint64_t em_vulkan_kv_head_bytes(em_type type, uint32_t dim) {
  if (type == EM_TYPE_Q8_0)
    return dim / 32u * 36u; /* 32 int8 and a half, padded to whole words */
  return (uint64_t)dim * (type == EM_TYPE_F16 ? 2u : 4u);
}

static uint64_t page_bytes(em_type type, uint32_t n_heads, uint32_t dim) {
  return (uint64_t)n_heads * EM_KV_PAGE_TOKENS * em_vulkan_kv_head_bytes(type, dim);
}

static uint64_t state_bytes(const em_state_layer *layer) {
  return ((uint64_t)layer->n_conv + layer->n_inner) * 4;
}

em_status em_vulkan_kv_bytes(const em_backend *backend, const em_kv_desc *desc, uint64_t *out, em_error *error) {
  (void)backend;
  uint64_t total = 0, layer;
  for (uint32_t i = 0; i < desc->n_layers; i++) {
    const em_kv_layer *l = &desc->layers[i];
    if (l->k_dim > 1024 || l->v_dim > 512 || l->k_dim % 8 != 0 || l->v_dim % 8 != 0)
      return em_fail(error, EM_ERR_UNSUPPORTED, "heads of %u and %u values have no shaders", l->k_dim, l->v_dim);
    uint64_t page = page_bytes(desc->type, l->n_heads, l->k_dim);
    if (!l->v_in_k)
      page += page_bytes(desc->type, l->n_heads, l->v_dim);
    if (!em_mul_u64(desc->n_pages, page, &layer) || !em_add_u64(total, layer, &total))
      return em_fail(error, EM_ERR_TOO_BIG, "the cache is too large");
  }
  for (uint32_t i = 0; i < desc->n_state_layers; i++)
    if (!em_mul_u64(desc->n_states, state_bytes(&desc->state_layers[i]), &layer) || !em_add_u64(total, layer, &total))
      return em_fail(error, EM_ERR_TOO_BIG, "the cache is too large");
  *out = total;
  return EM_OK;
}

em_status em_vulkan_kv_new(em_backend *backend, const em_kv_desc *desc, em_kv **out, em_error *error) {
  em_status status = EM_OK;
  em_vk *vk = &((em_vulkan *)backend)->vk;
  uint64_t bytes;
  em_vulkan_kv *kv = em_calloc(1, sizeof *kv);
  if (!kv)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  kv->base.backend = backend;
  EM_TRY(em_vulkan_kv_bytes(backend, desc, &bytes, error));
  kv->keys = em_calloc(desc->n_layers ? desc->n_layers : 1, sizeof *kv->keys);
  kv->values = em_calloc(desc->n_layers ? desc->n_layers : 1, sizeof *kv->values);
  kv->states = em_calloc(desc->n_state_layers ? desc->n_state_layers : 1, sizeof *kv->states);
  if (!kv->keys || !kv->values || !kv->states) {
    status = em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
    goto fail;
  }
  for (uint32_t i = 0; i < desc->n_layers; i++) {
    const em_kv_layer *l = &desc->layers[i];
    uint64_t k_bytes = page_bytes(desc->type, l->n_heads, l->k_dim),
             v_bytes = page_bytes(desc->type, l->n_heads, l->v_dim);
    kv->base.n_layers = i + 1;
    if (desc->n_pages > 0) {
      EM_TRY(em_vk_segments_new(vk, EM_VK_DEVICE, desc->n_pages, k_bytes, true, "keys", &kv->keys[i], error));
    } else {
      EM_TRY(em_vk_segments_size(vk, 0, k_bytes, "keys", &kv->keys[i], error));
    }
    if (l->v_in_k)
      continue;
    if (desc->n_pages > 0)
      EM_TRY(em_vk_segments_new(vk, EM_VK_DEVICE, desc->n_pages, v_bytes, true, "values", &kv->values[i], error));
    else
      EM_TRY(em_vk_segments_size(vk, 0, v_bytes, "values", &kv->values[i], error));
  }
  for (uint32_t i = 0; i < desc->n_state_layers; i++) {
    kv->base.n_state_layers = i + 1;
    if (desc->n_states > 0)
      EM_TRY(em_vk_segments_new(vk, EM_VK_DEVICE, desc->n_states, state_bytes(&desc->state_layers[i]), true, "states",
                                &kv->states[i], error));
    else
      EM_TRY(em_vk_segments_size(vk, 0, state_bytes(&desc->state_layers[i]), "states", &kv->states[i], error));
  }
  *out = &kv->base;
  return EM_OK;
fail:
  em_vulkan_kv_free(&kv->base);
  return status;
}

void em_vulkan_kv_free(em_kv *base) {
  em_vulkan_kv *kv = (em_vulkan_kv *)base;
  em_vk *vk = &((em_vulkan *)base->backend)->vk;
  for (uint32_t i = 0; i < base->n_layers; i++) {
    if (kv->keys)
      em_vk_segments_free(vk, &kv->keys[i]);
    if (kv->values)
      em_vk_segments_free(vk, &kv->values[i]);
  }
  for (uint32_t i = 0; kv->states && i < base->n_state_layers; i++)
    em_vk_segments_free(vk, &kv->states[i]);
  free(kv->keys);
  free(kv->values);
  free(kv->states);
  free(kv);
}

/* Copies the same stretch of every head of a page, [kv head][token][dim]. */
static void copy_pages(em_vk *vk, VkCommandBuffer commands, em_vk_segments *segments, uint32_t from, uint32_t to,
                       uint32_t n_heads, uint64_t stretch_bytes) {
  em_vk_buffer *source = &segments->buffers[from / segments->units_per_segment];
  em_vk_buffer *target = &segments->buffers[to / segments->units_per_segment];
  uint64_t source_at = from % segments->units_per_segment * segments->unit_bytes;
  uint64_t target_at = to % segments->units_per_segment * segments->unit_bytes;
  uint64_t head_bytes = segments->unit_bytes / n_heads;
  for (uint32_t h = 0; h < n_heads; h++) {
    VkBufferCopy region = {
        .srcOffset = source_at + h * head_bytes, .dstOffset = target_at + h * head_bytes, .size = stretch_bytes};
    vk->fn.CmdCopyBuffer(commands, source->buffer, target->buffer, 1, &region);
  }
}

em_status em_vulkan_kv_copy(em_kv *base, uint32_t from, uint32_t to, uint32_t n_tokens, em_error *error) {
  em_vulkan_kv *kv = (em_vulkan_kv *)base;
  em_vk *vk = &((em_vulkan *)base->backend)->vk;
  VkCommandBuffer commands;
  em_status status = em_vk_begin(vk, &commands, error);
  if (status != EM_OK)
    return status;
  for (uint32_t i = 0; i < base->n_layers; i++) {
    const em_kv_layer *l = &base->layers[i];
    copy_pages(vk, commands, &kv->keys[i], from, to, l->n_heads,
               n_tokens * em_vulkan_kv_head_bytes(base->type, l->k_dim));
    if (!l->v_in_k)
      copy_pages(vk, commands, &kv->values[i], from, to, l->n_heads,
                 n_tokens * em_vulkan_kv_head_bytes(base->type, l->v_dim));
  }
  return em_vk_finish(vk, commands, "copying a page of the cache", error);
}

em_status em_vulkan_kv_copy_state(em_kv *base, uint32_t from, uint32_t to, em_error *error) {
  em_vulkan_kv *kv = (em_vulkan_kv *)base;
  em_vk *vk = &((em_vulkan *)base->backend)->vk;
  VkCommandBuffer commands;
  em_status status = em_vk_begin(vk, &commands, error);
  if (status != EM_OK)
    return status;
  for (uint32_t i = 0; i < base->n_state_layers; i++)
    copy_pages(vk, commands, &kv->states[i], from, to, 1, kv->states[i].unit_bytes);
  return em_vk_finish(vk, commands, "copying a state of the cache", error);
}
