/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Weights in memory: reading a tensor piece by piece and packing it on all threads. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/checked.h"

#define PIECE_BYTES (8u << 20)

static uint32_t n_matrices_of(const em_weights_desc *desc) {
  return desc->n_matrices ? desc->n_matrices : 1;
}

/* Bytes as stored; false when the type cannot be held for this use. */
static bool stored_bytes(const em_weights_desc *desc, em_layout *layout, uint64_t *out) {
  const em_type_info *info = em_type_get(desc->type);
  if (desc->use == EM_USE_VECTOR)
    return info && info->decode && em_mul_u64(desc->n_in, sizeof(float), out);
  /* n_in and n_rows are below 2^31, so a panel's bytes cannot overflow. */
  return em_layout_of_type(desc->type, layout) &&
         em_mul_u64(em_panel_bytes(*layout, desc->n_in), (desc->n_rows + EM_PANEL - 1) / EM_PANEL, out) &&
         em_mul_u64(*out, n_matrices_of(desc), out);
}

em_status em_cpu_weights_bytes(const em_backend *backend, const em_weights_desc *desc, uint64_t *out, em_error *error) {
  em_layout layout;
  if (!stored_bytes(desc, &layout, out))
    return em_fail(error, EM_ERR_UNSUPPORTED, "%s is of the type %s, which this version cannot use",
                   desc->name ? desc->name : "a tensor", em_type_get(desc->type)->name);
  return EM_OK;
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

/* A matrix, read and packed by all threads, some panels at a time: what stays in a core's own cache. */
#define STEP_BYTES (256u << 10)
/* Of all threads together. Rows so long that more would be needed are left to fewer threads. */
#define MAX_PIECE_BYTES (24u << 20)

typedef struct fill_job {
  em_pool *pool;
  const em_weights_desc *desc;
  em_cpu_weights *weights;
  em_read_fn read;
  void *user;
  size_t n_panels;                       /* of all matrices */
  size_t row_bytes, n_step, piece_bytes; /* n_step: panels of a step, which are piece_bytes in the file */
  unsigned n_threads;                    /* that take part */
  uint8_t *pieces;                       /* [n_threads][piece_bytes] */
  _Atomic bool failed;
  em_status status; /* of the first that failed */
  em_error error;
} fill_job;

/* Rows of the file before a panel, of all matrices; each matrix has panels of its own. */
static uint64_t rows_before(const fill_job *job, size_t panel) {
  uint64_t a_matrix = job->weights->n_panels, rest = panel % a_matrix * EM_PANEL;
  return panel / a_matrix * job->desc->n_rows + (rest < job->desc->n_rows ? rest : job->desc->n_rows);
}

static em_status fill_step(const fill_job *job, size_t panel, unsigned thread, em_error *error) {
  const em_weights_desc *desc = job->desc;
  uint8_t *piece = job->pieces + thread * job->piece_bytes, *dst = job->weights->data;
  size_t n = job->n_panels - panel < job->n_step ? job->n_panels - panel : job->n_step;
  uint64_t first_row = rows_before(job, panel);
  em_status status = read_range(job->read, job->user, first_row * job->row_bytes, piece,
                                (size_t)(rows_before(job, panel + n) - first_row) * job->row_bytes, error);
  for (size_t i = 0; status == EM_OK && i < n; i++) {
    const uint8_t *rows[EM_PANEL];
    size_t first = (size_t)(rows_before(job, panel + i) - first_row);
    size_t n_rows = (size_t)(rows_before(job, panel + i + 1) - first_row) - first;
    for (size_t r = 0; r < EM_PANEL; r++)
      rows[r] = r < n_rows ? piece + (first + r) * job->row_bytes : NULL;
    em_pack_panel(desc->type, (size_t)desc->n_in, rows, dst + (panel + i) * job->weights->panel_bytes);
  }
  return status;
}

static void fill_part(void *user, unsigned thread, unsigned n_threads) {
  fill_job *job = user;
  em_error error = {0};
  (void)n_threads;
  while (thread < job->n_threads && !job->failed) {
    size_t panel = em_pool_next(job->pool, job->n_step, job->n_panels);
    if (panel >= job->n_panels)
      return;
    em_status status = fill_step(job, panel, thread, &error);
    if (status != EM_OK && !atomic_exchange(&job->failed, true)) {
      job->status = status;
      job->error = error;
    }
  }
}

static em_status fill_matrix(em_cpu *cpu, const em_weights_desc *desc, em_cpu_weights *weights, em_read_fn read,
                             void *user, em_error *error) {
  em_status status = EM_OK;
  uint64_t row_bytes = 0;
  size_t panel_in = 0, pieces_bytes = 0;
  (void)em_type_row_bytes(desc->type, desc->n_in, &row_bytes); /* the front has checked it */
  fill_job job = {.pool = cpu->pool, .desc = desc, .weights = weights, .read = read, .user = user};
  job.n_panels = (size_t)weights->n_panels * n_matrices_of(desc);
  if (!em_to_size(row_bytes * EM_PANEL, &panel_in))
    EM_TRY(em_fail(error, EM_ERR_TOO_BIG, "%s is too big", desc->name ? desc->name : "a tensor"));
  /* Every thread has something to do. */
  uint64_t n_step = STEP_BYTES / panel_in, share = (job.n_panels + cpu->n_threads - 1) / cpu->n_threads;
  n_step = n_step < share ? n_step : share;
  job.row_bytes = (size_t)row_bytes;
  job.n_step = n_step > 0 ? (size_t)n_step : 1;
  if (!em_mul_size(panel_in, job.n_step, &job.piece_bytes))
    EM_TRY(em_fail(error, EM_ERR_TOO_BIG, "%s is too big", desc->name ? desc->name : "a tensor"));
  job.n_threads = cpu->n_threads;
  if (job.n_threads > 1 && job.n_threads > MAX_PIECE_BYTES / job.piece_bytes)
    job.n_threads = MAX_PIECE_BYTES / job.piece_bytes > 0 ? (unsigned)(MAX_PIECE_BYTES / job.piece_bytes) : 1;
  if (!em_mul_size(job.piece_bytes, job.n_threads, &pieces_bytes))
    EM_TRY(em_fail(error, EM_ERR_TOO_BIG, "%s is too big", desc->name ? desc->name : "a tensor"));
  job.pieces = malloc(pieces_bytes);
  if (!job.pieces)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for reading %s", desc->name ? desc->name : "a tensor"));
  em_pool_run(cpu->pool, fill_part, &job);
  if (job.failed) {
    status = job.status;
    if (error)
      *error = job.error;
  }
fail:
  free(job.pieces);
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
  if (desc->use != EM_USE_VECTOR) {
    weights->panel_bytes = em_panel_bytes(weights->layout, desc->n_in);
    weights->n_panels = (desc->n_rows + EM_PANEL - 1) / EM_PANEL;
  }
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
