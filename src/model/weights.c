/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The weights of a model on a backend: sizes, upload with progress, and handles without data for planning. */
#include "model/family.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/checked.h"
#include "base/clock.h"

#define PROGRESS_NS 10000000u
/* How far ahead of what is read the disk is kept busy. Tensors stand in the file about in the order of loading. */
#define READ_AHEAD_BYTES (16u << 20)

static em_weights_desc describe(em_model_tensor tensor) {
  return (em_weights_desc){
      .type = em_model_tensor_type(&tensor),
      .n_in = tensor.n_in,
      .n_rows = tensor.n_rows,
      .n_matrices = tensor.use & EM_USE_STACK ? tensor.n_matrices : 0,
      .use = tensor.use,
      .name = tensor.file->name.text,
  };
}

static bool has_block(em_model_blocks blocks, uint32_t block) {
  return blocks.first <= block && block < blocks.end;
}

/* Tensor i with those of its uses that the blocks have; use 0: none of them needs it. A table that is the head too may
 * be needed at both ends of the model, and what all layers share is needed wherever there are layers. */
static em_model_tensor tensor_of(const em_model *model, em_model_blocks blocks, size_t i) {
  em_model_tensor tensor = model->tensors[i];
  int32_t index = (int32_t)i;
  bool has_embedding = has_block(blocks, 0), has_head = has_block(blocks, model->hparams.n_layers + 1);
  uint32_t first, n_layers;
  em_model_layers_of(model, blocks, &first, &n_layers);
  if (tensor.layer >= 0)
    tensor.use = has_block(blocks, (uint32_t)tensor.layer + 1) ? tensor.use : 0;
  else if (index == model->bound[EM_SLOT_TOKEN_EMBD])
    tensor.use &= (has_embedding ? EM_USE_TABLE : 0u) | (has_head ? EM_USE_MATRIX : 0u);
  else if (index == model->bound[EM_SLOT_OUTPUT] || index == model->bound[EM_SLOT_OUTPUT_NORM])
    tensor.use = has_head ? tensor.use : 0;
  else
    tensor.use = n_layers > 0 ? tensor.use : 0;
  return tensor;
}

em_status em_model_weights_bytes(const em_model *model, em_model_blocks blocks, const em_backend *backend,
                                 uint64_t *out, uint64_t *step_bytes, em_error *error) {
  uint64_t total = 0, step = 0;
  for (size_t i = 0; i < model->n_tensors; i++) {
    em_model_tensor tensor = tensor_of(model, blocks, i);
    em_weights_desc desc = describe(tensor);
    if (tensor.use == 0)
      continue;
    uint64_t bytes;
    em_status status = em_weights_bytes(backend, &desc, &bytes, error);
    if (status != EM_OK)
      return status;
    if (!em_add_u64(total, bytes, &total))
      return em_fail(error, EM_ERR_TOO_BIG, "the model's weights overflow");
    step += em_model_tensor_step_bytes(tensor, bytes);
  }
  *out = total;
  if (step_bytes)
    *step_bytes = step;
  return EM_OK;
}

typedef struct loader {
  const em_model *model;
  const em_model_tensor *tensor; /* the one being read */
  em_model_progress_fn progress;
  void *user;
  pthread_t thread; /* that called em_model_load, and alone calls progress */
  _Atomic uint64_t done_bytes;
  _Atomic bool cancelled;
  uint64_t total_bytes;
  uint64_t told_ns;
} loader;

/* The row of the file that holds a view's row, and how many rows of the view follow it there. */
static uint64_t file_row(const em_model_tensor *tensor, uint64_t row, uint64_t *n_run) {
  const em_model_view *view = &tensor->view;
  if (view->group_rows == 0) {
    *n_run = tensor->file_rows - row;
    return row;
  }
  uint64_t n_groups = tensor->file->n_rows / view->group_rows;
  uint32_t part = 0;
  while (part + 1 < view->n_parts && row >= n_groups * view->count[part])
    row -= n_groups * view->count[part++];
  *n_run = view->count[part] - row % view->count[part];
  return row / view->count[part] * view->group_rows + view->first[part] + row % view->count[part];
}

/* Reads bytes of a tensor from an offset inside its own rows. */
static em_status read_rows(const em_model *model, const em_model_tensor *tensor, uint64_t offset, uint8_t *dst,
                           size_t bytes, em_error *error) {
  const uint64_t row_bytes = tensor->file->row_bytes;
  em_status status = EM_OK;
  while (bytes > 0 && status == EM_OK) {
    uint64_t n_run, row = file_row(tensor, offset / row_bytes, &n_run), inside = offset % row_bytes;
    uint64_t run_bytes = n_run * row_bytes - inside;
    size_t n = bytes < run_bytes ? bytes : (size_t)run_bytes;
    em_gguf_read_ahead(model->gguf, tensor->file, row * row_bytes + inside + READ_AHEAD_BYTES, n);
    status = em_gguf_read_tensor(model->gguf, tensor->file, row * row_bytes + inside, dst, n, error);
    dst += n;
    offset += n;
    bytes -= n;
  }
  return status;
}

/* The same of a tensor that is transposed: each matrix is decoded, and the part that is asked for is written column by
 * column. */
static em_status read_transposed(const em_model *model, const em_model_tensor *tensor, uint64_t offset, uint8_t *dst,
                                 size_t bytes, em_error *error) {
  em_status status = EM_OK;
  const em_type_info *type = em_type_get(tensor->file->type);
  const size_t n_columns = (size_t)tensor->n_in, n_rows = (size_t)tensor->n_rows, n = n_columns * n_rows;
  const size_t row_bytes = (size_t)tensor->file->row_bytes;
  uint8_t *stored = em_calloc(n_columns, row_bytes);
  float *values = em_calloc(n, sizeof *values);
  if (!stored || !values)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
  while (bytes > 0) {
    uint64_t matrix = offset / (n * sizeof(float));
    size_t at = (size_t)(offset % (n * sizeof(float))),
           run = n * sizeof(float) - at < bytes ? n * sizeof(float) - at : bytes;
    EM_TRY(read_rows(model, tensor, matrix * n_columns * row_bytes, stored, n_columns * row_bytes, error));
    type->decode(stored, values, n / type->block_len);
    for (size_t i = 0; i < run; i++) {
      size_t value = (at + i) / sizeof(float), row = value / n_columns, column = value % n_columns;
      dst[i] = ((const uint8_t *)&values[column * n_rows + row])[(at + i) % sizeof(float)];
    }
    dst += run;
    offset += run;
    bytes -= run;
  }
fail:
  free(stored);
  free(values);
  return status;
}

/* For any thread of the backend. */
static em_status read_piece(void *user, uint64_t offset, void *dst, size_t bytes, em_error *error) {
  loader *load = user;
  const em_model_tensor *tensor = load->tensor;
  em_status status = tensor->is_transposed ? read_transposed(load->model, tensor, offset, dst, bytes, error)
                                           : read_rows(load->model, tensor, offset, dst, bytes, error);
  if (status != EM_OK)
    return status;
  load->done_bytes += tensor->is_transposed ? bytes * tensor->bytes / em_model_tensor_bytes(tensor) : bytes;
  if (load->progress && pthread_equal(load->thread, pthread_self())) {
    uint64_t now = em_now_ns();
    if (now - load->told_ns >= PROGRESS_NS) {
      load->told_ns = now;
      if (!load->progress(load->user, load->done_bytes, load->total_bytes))
        load->cancelled = true;
    }
  }
  return load->cancelled ? em_fail(error, EM_ERR_CANCELLED, "loading was cancelled") : EM_OK;
}

/* load NULL: handles without data. */
static em_status make_weights(const em_model *model, em_model_blocks blocks, em_backend *backend, loader *load,
                              em_model_weights **out, em_error *error) {
  em_status status = EM_OK;
  em_model_weights *weights = em_calloc(1, sizeof *weights);
  if (!weights)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  weights->model = model;
  weights->blocks = blocks;
  weights->items = em_calloc(model->n_tensors, sizeof(em_weights *));
  if (!weights->items)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
  for (size_t i = 0; i < model->n_tensors; i++) {
    em_model_tensor tensor = tensor_of(model, blocks, i);
    em_weights_desc desc = describe(tensor);
    if (tensor.use == 0)
      continue;
    if (load)
      load->tensor = &model->tensors[i];
    EM_TRY(em_weights_new(backend, &desc, load ? read_piece : NULL, load, &weights->items[i], error));
  }
  *out = weights;
  return EM_OK;
fail:
  em_model_weights_free(weights);
  return status;
}

uint64_t em_model_file_bytes(const em_model *model, em_model_blocks blocks) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < model->n_tensors; i++)
    bytes += tensor_of(model, blocks, i).use != 0 ? model->tensors[i].bytes : 0;
  return bytes;
}

em_status em_model_load(const em_model *model, em_model_blocks blocks, em_backend *backend,
                        em_model_progress_fn progress, void *user, em_model_weights **out, em_error *error) {
  em_status status = EM_OK;
  em_model_weights *weights = NULL;
  loader load = {.model = model, .progress = progress, .user = user, .thread = pthread_self(), .told_ns = em_now_ns()};
  load.total_bytes = em_model_file_bytes(model, blocks);
  EM_TRY(make_weights(model, blocks, backend, &load, &weights, error));
  /* A file that was overwritten while it was read would make a model that is half one and half the other. */
  EM_TRY(em_gguf_check_unchanged(model->gguf, error));
  if (progress && !progress(user, load.total_bytes, load.total_bytes))
    EM_TRY(em_fail(error, EM_ERR_CANCELLED, "loading was cancelled"));
  *out = weights;
  return EM_OK;
fail:
  em_model_weights_free(weights);
  return status;
}

em_status em_model_describe(const em_model *model, em_model_blocks blocks, em_backend *backend, em_model_weights **out,
                            em_error *error) {
  return make_weights(model, blocks, backend, NULL, out, error);
}

void em_model_weights_free(em_model_weights *weights) {
  if (!weights)
    return;
  for (size_t i = 0; weights->items && i < weights->model->n_tensors; i++)
    em_weights_free(weights->items[i]);
  free(weights->items);
  free(weights);
}
