/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opening a model: its family, its hyper-parameters, and every tensor bound to a slot with just the expected shape. */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"
#include "model/internal.h"

static const em_family *const families[] = {&em_family_llama, &em_family_qwen2, &em_family_qwen3};

#define N_FAMILIES (sizeof families / sizeof families[0])

/* Copies a text of the file into a field; one that is no UTF-8 is left out, a long one is cut at a character. */
static void copy_text(char *dst, size_t dst_bytes, em_text text) {
  size_t n = text.bytes < dst_bytes ? text.bytes : dst_bytes - 1;
  n -= em_utf8_incomplete_tail(text.text, n);
  if (!em_utf8_valid(text.text, n) || memchr(text.text, 0, n))
    n = 0;
  memcpy(dst, text.text, n);
  dst[n] = 0;
}

static em_status find_family(em_model *model, em_error *error) {
  em_text name;
  if (!em_gguf_get_text(model->gguf, "general.architecture", &name) || name.bytes == 0)
    return em_fail(error, EM_ERR_FORMAT, "the file does not name its model family (general.architecture)");
  for (size_t i = 0; i < N_FAMILIES; i++) {
    if (strlen(families[i]->name) == name.bytes && memcmp(families[i]->name, name.text, name.bytes) == 0) {
      model->family = families[i];
      copy_text(model->facts.architecture, sizeof model->facts.architecture, name);
      return EM_OK;
    }
  }
  return em_fail(error, EM_ERR_UNSUPPORTED, "this model is of the family '%.64s', which Hearth cannot run yet",
                 name.text);
}

static uint64_t dim_value(const em_hparams *hparams, int32_t layer, em_dim dim) {
  const em_layer_shape *shape = &hparams->layers[layer < 0 ? 0 : layer];
  uint64_t q = (uint64_t)shape->n_heads * hparams->k_dim;
  uint64_t k = (uint64_t)shape->n_kv_heads * hparams->k_dim;
  uint64_t v = (uint64_t)shape->n_kv_heads * hparams->v_dim;
  switch (dim) {
  case EM_DIM_ONE:
    return 1;
  case EM_DIM_EMBD:
    return hparams->n_embd;
  case EM_DIM_VOCAB:
    return hparams->n_vocab;
  case EM_DIM_Q:
    return q;
  case EM_DIM_K:
    return k;
  case EM_DIM_V:
    return v;
  case EM_DIM_QKV:
    return q + k + v;
  case EM_DIM_O:
    return (uint64_t)shape->n_heads * hparams->v_dim;
  case EM_DIM_HEAD:
    return hparams->k_dim;
  case EM_DIM_FF:
    return shape->n_ff;
  case EM_DIM_HALF_ROT:
    return hparams->n_rot / 2;
  }
  return 0;
}

/* The type must be one whose values the rules of this slot can use; whether the backend holds it is the backend's
 * answer. */
static em_status check_type(const em_gguf_tensor *tensor, unsigned use, em_error *error) {
  const em_type_info *type = em_type_get(tensor->type);
  const char *type_name = type && type->name ? type->name : "?";
  bool whole = tensor->type == EM_TYPE_F64 || (tensor->type >= EM_TYPE_I8 && tensor->type <= EM_TYPE_I64);
  if (!type || !type->decode || whole)
    return em_fail(error, EM_ERR_UNSUPPORTED, "the tensor '%s' has the type %s, which Hearth cannot run yet",
                   tensor->name.text, type_name);
  if (use == EM_USE_VECTOR && tensor->type != EM_TYPE_F32)
    return em_fail(error, EM_ERR_UNSUPPORTED, "the tensor '%s' has the type %s where F32 is needed", tensor->name.text,
                   type_name);
  return EM_OK;
}

static em_status bind_rule(em_model *model, int32_t layer, const em_tensor_rule *rule, em_error *error) {
  char name[EM_GGUF_MAX_TENSOR_NAME_BYTES + 1];
  if (layer < 0)
    snprintf(name, sizeof name, "%s", rule->name);
  else
    snprintf(name, sizeof name, "blk.%d.%s", layer, rule->name);
  const em_gguf_tensor *tensor = em_gguf_find_tensor(model->gguf, name);
  if (!tensor)
    return rule->optional ? EM_OK : em_fail(error, EM_ERR_FORMAT, "the model has no tensor '%s'", name);

  uint64_t n_in = dim_value(&model->hparams, layer, rule->n_in),
           n_rows = dim_value(&model->hparams, layer, rule->n_rows);
  if (tensor->dims[0] != n_in || tensor->dims[1] != n_rows || tensor->dims[2] != 1 || tensor->dims[3] != 1)
    return em_fail(error, EM_ERR_FORMAT,
                   "the tensor '%s' has the shape [%llu, %llu, %llu, %llu] where [%llu, %llu, 1, 1] is expected", name,
                   (unsigned long long)tensor->dims[0], (unsigned long long)tensor->dims[1],
                   (unsigned long long)tensor->dims[2], (unsigned long long)tensor->dims[3], (unsigned long long)n_in,
                   (unsigned long long)n_rows);
  em_status status = check_type(tensor, rule->use, error);
  if (status != EM_OK)
    return status;
  model->bound[(size_t)(layer + 1) * EM_N_SLOTS + rule->slot] = (int32_t)model->n_tensors;
  model->tensors[model->n_tensors++] = (em_model_tensor){tensor, rule->use, layer};
  return EM_OK;
}

static bool is_bound(const em_model *model, int32_t layer, em_tensor_slot slot) {
  return model->bound[(size_t)(layer + 1) * EM_N_SLOTS + slot] >= 0;
}

/* Query, key and value come as three tensors or as one, and so do their biases. */
static em_status check_qkv(const em_model *model, int32_t layer, em_error *error) {
  static const em_tensor_slot parts[3] = {EM_SLOT_ATTN_Q, EM_SLOT_ATTN_K, EM_SLOT_ATTN_V};
  static const em_tensor_slot biases[3] = {EM_SLOT_ATTN_Q_BIAS, EM_SLOT_ATTN_K_BIAS, EM_SLOT_ATTN_V_BIAS};
  static const char letters[3] = {'q', 'k', 'v'};
  unsigned n_parts = 0, n_biases = 0;
  for (int i = 0; i < 3; i++) {
    n_parts += is_bound(model, layer, parts[i]);
    n_biases += is_bound(model, layer, biases[i]);
  }
  bool fused = is_bound(model, layer, EM_SLOT_ATTN_QKV), fused_bias = is_bound(model, layer, EM_SLOT_ATTN_QKV_BIAS);
  if (fused ? n_parts + n_biases > 0 : fused_bias)
    return em_fail(error, EM_ERR_FORMAT, "layer %d has query, key and value both as one tensor and as three", layer);
  for (int i = 0; i < 3 && !fused; i++) {
    if (!is_bound(model, layer, parts[i]))
      return em_fail(error, EM_ERR_FORMAT, "the model has no tensor 'blk.%d.attn_%c.weight'", layer, letters[i]);
    if (n_biases > 0 && !is_bound(model, layer, biases[i]))
      return em_fail(error, EM_ERR_FORMAT, "the model has no tensor 'blk.%d.attn_%c.bias'", layer, letters[i]);
  }
  return EM_OK;
}

static bool ends_with(em_text text, const char *end) {
  size_t n = strlen(end);
  return text.bytes >= n && memcmp(text.text + text.bytes - n, end, n) == 0;
}

static int compare_pointers(const void *a, const void *b) {
  const em_gguf_tensor *x = *(const em_gguf_tensor *const *)a, *y = *(const em_gguf_tensor *const *)b;
  return (x > y) - (x < y);
}

/* A tensor that no rule asked for would change what the model computes: such a file is of another kind than it says. */
static em_status check_all_bound(const em_model *model, em_error *error) {
  const em_gguf_tensor **bound = em_calloc(model->n_tensors, sizeof *bound);
  if (!bound)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  for (size_t i = 0; i < model->n_tensors; i++)
    bound[i] = model->tensors[i].file;
  qsort(bound, model->n_tensors, sizeof *bound, compare_pointers);

  em_status status = EM_OK;
  for (size_t i = 0; i < em_gguf_n_tensors(model->gguf) && status == EM_OK; i++) {
    const em_gguf_tensor *tensor = em_gguf_tensor_at(model->gguf, i);
    /* A quantiser's note on the activations it saw; it describes and does not change the values. */
    if (ends_with(tensor->name, ".input_scale") ||
        bsearch(&tensor, bound, model->n_tensors, sizeof *bound, compare_pointers))
      continue;
    status = em_fail(error, EM_ERR_UNSUPPORTED, "the tensor '%s' does not belong in a model of the family '%s'",
                     tensor->name.text, model->family->name);
  }
  free(bound);
  return status;
}

static em_status bind_groups(em_model *model, int32_t layer, const em_rule_group *const *groups, em_error *error) {
  for (; *groups; groups++) {
    for (size_t i = 0; i < (*groups)->n; i++) {
      em_status status = bind_rule(model, layer, &(*groups)->rules[i], error);
      if (status != EM_OK)
        return status;
    }
  }
  return EM_OK;
}

static em_status bind_tensors(em_model *model, em_error *error) {
  em_status status = EM_OK;
  size_t n_bound = ((size_t)model->hparams.n_layers + 1) * EM_N_SLOTS;
  model->tensors = em_calloc(em_gguf_n_tensors(model->gguf) + 1, sizeof *model->tensors);
  model->bound = em_calloc(n_bound, sizeof *model->bound);
  if (!model->tensors || !model->bound)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
  for (size_t i = 0; i < n_bound; i++)
    model->bound[i] = -1;

  EM_TRY(bind_groups(model, -1, model->family->globals, error));
  for (int32_t layer = 0; layer < (int32_t)model->hparams.n_layers; layer++) {
    EM_TRY(bind_groups(model, layer, model->family->layer, error));
    EM_TRY(check_qkv(model, layer, error));
  }
  EM_TRY(check_all_bound(model, error));

  /* Without a head of its own the embedding table is the head. */
  if (!is_bound(model, -1, EM_SLOT_OUTPUT)) {
    int32_t table = model->bound[EM_SLOT_TOKEN_EMBD];
    model->bound[EM_SLOT_OUTPUT] = table;
    model->tensors[table].use |= EM_USE_MATRIX;
  }
fail:
  return status;
}

static em_status fill_facts(em_model *model, em_error *error) {
  em_model_facts *facts = &model->facts;
  em_text name;
  if (em_gguf_get_text(model->gguf, "general.name", &name))
    copy_text(facts->name, sizeof facts->name, name);
  facts->n_layers = model->hparams.n_layers;
  facts->n_embd = model->hparams.n_embd;
  facts->n_vocab = model->hparams.n_vocab;
  facts->train_context_tokens = model->hparams.n_context;
  for (size_t i = 0; i < model->n_tensors; i++) {
    const em_gguf_tensor *file = model->tensors[i].file;
    uint64_t n_values;
    /* The reader has checked that the tensors lie beside one another in the file, so their sum cannot overflow. */
    if (!em_mul_u64(file->dims[0], file->n_rows, &n_values) ||
        !em_add_u64(facts->n_parameters, n_values, &facts->n_parameters))
      return em_fail(error, EM_ERR_FORMAT, "the model's size overflows");
    facts->weights_bytes += file->bytes;
    facts->weights_bytes_per_token += em_model_tensor_step_bytes(model->tensors[i], file->bytes);
  }

  model->kv_layers = em_calloc(facts->n_layers, sizeof *model->kv_layers);
  if (!model->kv_layers)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  for (uint32_t i = 0; i < facts->n_layers; i++)
    model->kv_layers[i] =
        (em_kv_layer){model->hparams.layers[i].n_kv_heads, model->hparams.k_dim, model->hparams.v_dim};
  return EM_OK;
}

em_status em_model_open(const em_gguf *gguf, em_model **out, em_error *error) {
  em_status status = EM_OK;
  em_model *model = em_calloc(1, sizeof *model);
  if (!model)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  model->gguf = gguf;

  uint32_t n_parts;
  if (em_gguf_get_u32(gguf, "split.count", &n_parts) && n_parts > em_gguf_n_files(gguf))
    EM_TRY(
        em_fail(error, EM_ERR_UNSUPPORTED, "this is one file alone of a model that is split into %u files", n_parts));
  EM_TRY(find_family(model, error));
  EM_TRY(em_hparams_read(gguf, model->family->name, &model->hparams, error));
  if (model->family->check)
    EM_TRY(model->family->check(&model->hparams, error));
  EM_TRY(bind_tensors(model, error));
  EM_TRY(fill_facts(model, error));
  *out = model;
  return EM_OK;
fail:
  em_model_close(model);
  return status;
}

void em_model_close(em_model *model) {
  if (!model)
    return;
  free(model->hparams.layers);
  free(model->tensors);
  free(model->bound);
  free(model->kv_layers);
  free(model);
}

const em_model_facts *em_model_get_facts(const em_model *model) {
  return &model->facts;
}

size_t em_model_n_tensors(const em_model *model) {
  return model->n_tensors;
}

em_model_tensor em_model_tensor_at(const em_model *model, size_t i) {
  return model->tensors[i];
}

uint64_t em_model_tensor_step_bytes(em_model_tensor tensor, uint64_t bytes) {
  uint64_t row = (tensor.use & EM_USE_TABLE) ? bytes / tensor.file->n_rows : 0;
  return row + ((tensor.use & (EM_USE_MATRIX | EM_USE_VECTOR)) ? bytes : 0);
}

em_model_blocks em_model_all_blocks(const em_model *model) {
  return (em_model_blocks){0, model->hparams.n_layers + 2};
}

void em_model_layers_of(const em_model *model, em_model_blocks blocks, uint32_t *first, uint32_t *n) {
  uint32_t end = blocks.end > model->hparams.n_layers ? model->hparams.n_layers : blocks.end - 1;
  *first = blocks.first > 0 ? blocks.first - 1 : 0;
  *n = end > *first ? end - *first : 0;
}

const em_kv_layer *em_model_kv_layers(const em_model *model, em_model_blocks blocks, uint32_t *n_layers) {
  uint32_t first;
  em_model_layers_of(model, blocks, &first, n_layers);
  return model->kv_layers + first;
}

uint64_t em_model_kv_token_bytes(const em_model *model, em_type type) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < model->hparams.n_layers; i++) {
    uint64_t k, v;
    if (!em_type_row_bytes(type, model->kv_layers[i].k_dim, &k) ||
        !em_type_row_bytes(type, model->kv_layers[i].v_dim, &v))
      return 0;
    total += model->kv_layers[i].n_heads * (k + v);
  }
  return total;
}
