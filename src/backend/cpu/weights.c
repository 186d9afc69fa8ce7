/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Weights in memory: reading a tensor piece by piece and packing it on all threads. */
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/checked.h"

#define PIECE_BYTES (8u << 20)

/* Bytes as stored; false when the type cannot be held for this use. */
static bool stored_bytes(const em_weights_desc *desc, em_layout *layout, uint64_t *out) {
  const em_type_info *info = em_type_get(desc->type);
  if (desc->use == EM_USE_VECTOR)
    return info && info->decode && em_mul_u64(desc->n_in, sizeof(float), out);
  /* n_in and n_rows are below 2^31, so a panel's bytes cannot overflow. */
  return em_layout_of_type(desc->type, layout) &&
         em_mul_u64(em_panel_bytes(*layout, desc->n_in), (desc->n_rows + EM_PANEL - 1) / EM_PANEL, out);
}

em_status em_cpu_weights_bytes(const em_backend *backend, const em_weights_desc *desc, uint64_t *out, em_error *error) {
  em_layout layout;
  if (!stored_bytes(desc, &layout, out))
    return em_fail(error, EM_ERR_UNSUPPORTED, "%s is of the type %s, which this version cannot use",
                   desc->name ? desc->name : "a tensor", em_type_get(desc->type)->name);
  return EM_OK;
}

/* One piece of a matrix: whole panels that all threads pack. */
typedef struct pack_job {
  em_pool *pool;
  em_type type;
  size_t n_in, row_bytes, panel_bytes;
  size_t n_rows, n_panels; /* of the piece */
  const uint8_t *src;
  uint8_t *dst;
  float *scratch; /* [n_threads][n_in] */
} pack_job;

static void pack_part(void *user, unsigned thread, unsigned n_threads) {
  pack_job *job = user;
  size_t panel;
  while ((panel = em_pool_next(job->pool, 1, job->n_panels)) < job->n_panels) {
    const uint8_t *rows[EM_PANEL];
    for (size_t r = 0; r < EM_PANEL; r++) {
      size_t row = panel * EM_PANEL + r;
      rows[r] = row < job->n_rows ? job->src + row * job->row_bytes : NULL;
    }
    em_pack_panel(job->type, job->n_in, rows, job->dst + panel * job->panel_bytes, job->scratch + thread * job->n_in);
  }
}

/* Reads `bytes` bytes in pieces. */
static em_status read_range(em_read_fn read, void *user, uint64_t offset, uint8_t *dst, size_t bytes, em_error *error) {
  while (bytes > 0) {
    size_t n = bytes < PIECE_BYTES ? bytes : PIECE_BYTES;
    em_status status = read(user, offset, dst, n, error);
    if (status != EM_OK)
      return status;
    offset += n;
    dst += n;
    bytes -= n;
  }
  return EM_OK;
}

static em_status fill_matrix(em_cpu *cpu, const em_weights_desc *desc, em_cpu_weights *weights, em_read_fn read,
                             void *user, em_error *error) {
  em_status status = EM_OK;
  uint64_t row_bytes = 0, scratch_floats;
  size_t panel_in = 0, n_scratch = 0, piece_bytes = 0;
  uint8_t *piece = NULL;
  float *scratch = NULL;
  (void)em_type_row_bytes(desc->type, desc->n_in, &row_bytes); /* the front has checked it */
  size_t n_piece = PIECE_BYTES / (row_bytes * EM_PANEL) ? (size_t)(PIECE_BYTES / (row_bytes * EM_PANEL)) : 1;
  uint64_t n_panels = weights->n_panels;
  n_piece = n_piece < n_panels ? n_piece : (size_t)n_panels;
  if (!em_to_size(row_bytes * EM_PANEL, &panel_in) || !em_mul_size(panel_in, n_piece, &piece_bytes) ||
      !em_mul_u64(desc->n_in, cpu->n_threads, &scratch_floats) || !em_to_size(scratch_floats, &n_scratch))
    EM_TRY(em_fail(error, EM_ERR_TOO_BIG, "%s is too big", desc->name ? desc->name : "a tensor"));
  piece = malloc(piece_bytes);
  scratch = em_calloc(n_scratch, sizeof *scratch);
  if (!piece || !scratch)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for reading %s", desc->name ? desc->name : "a tensor"));
  for (uint64_t panel = 0; panel < n_panels; panel += n_piece) {
    uint64_t first_row = panel * EM_PANEL;
    size_t n = n_panels - panel < n_piece ? (size_t)(n_panels - panel) : n_piece;
    size_t n_rows = desc->n_rows - first_row < n * EM_PANEL ? (size_t)(desc->n_rows - first_row) : n * EM_PANEL;
    pack_job job = {cpu->pool, desc->type, (size_t)desc->n_in, (size_t)row_bytes, (size_t)weights->panel_bytes,
                    n_rows, n, piece, weights->data + panel * weights->panel_bytes, scratch};
    EM_TRY(read_range(read, user, first_row * row_bytes, piece, n_rows * (size_t)row_bytes, error));
    em_pool_run(cpu->pool, pack_part, &job);
  }
fail:
  free(piece);
  free(scratch);
  return status;
}

static em_status fill_vector(const em_weights_desc *desc, em_cpu_weights *weights, em_read_fn read, void *user,
                             em_error *error) {
  em_status status = EM_OK;
  const em_type_info *info = em_type_get(desc->type);
  uint64_t row_bytes = 0;
  (void)em_type_row_bytes(desc->type, desc->n_in, &row_bytes);
  uint8_t *row = malloc(row_bytes);
  if (!row)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for reading %s", desc->name ? desc->name : "a tensor"));
  EM_TRY(read_range(read, user, 0, row, row_bytes, error));
  info->decode(row, (float *)weights->data, (size_t)desc->n_in / info->block_len);
fail:
  free(row);
  return status;
}

em_status em_cpu_weights_new(em_backend *backend, const em_weights_desc *desc, em_read_fn read, void *user,
                             em_weights **out, em_error *error) {
  em_status status = EM_OK;
  em_cpu *cpu = (em_cpu *)backend;
  uint64_t bytes = 0;
  em_cpu_weights *weights = em_calloc(1, sizeof *weights);
  if (!weights)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for weights"));
  (void)stored_bytes(desc, &weights->layout, &bytes); /* em_weights_bytes has succeeded */
  if (!read) {
    *out = &weights->common;
    return EM_OK;
  }
  weights->data = em_cpu_slab_take(cpu, bytes, &weights->slab);
  if (!weights->data)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for %llu MiB of %s", (unsigned long long)(bytes >> 20),
                   desc->name ? desc->name : "weights"));
  if (desc->use == EM_USE_VECTOR) {
    EM_TRY(fill_vector(desc, weights, read, user, error));
  } else {
    weights->panel_bytes = em_panel_bytes(weights->layout, desc->n_in);
    weights->n_panels = (desc->n_rows + EM_PANEL - 1) / EM_PANEL;
    EM_TRY(fill_matrix(cpu, desc, weights, read, user, error));
  }
  *out = &weights->common;
  return EM_OK;
fail:
  if (weights)
    em_cpu_slab_release(cpu, weights->slab);
  free(weights);
  return status;
}

void em_cpu_weights_free(em_weights *base) {
  em_cpu_weights *weights = (em_cpu_weights *)base;
  em_cpu_slab_release((em_cpu *)base->backend, weights->slab);
  free(weights);
}
