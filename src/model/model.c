/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opening a model: its family, its hyper-parameters, its tensors, and what they say about its costs. */
#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"
#include "model/family.h"

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
  model->family = em_family_find(name);
  copy_text(model->facts.architecture, sizeof model->facts.architecture, name);
  if (model->family)
    return EM_OK;
  return em_fail(error, EM_ERR_UNSUPPORTED, "this model is of the family '%.64s', which Hearth cannot run yet",
                 name.text);
}

/* The caches and states of the layers, and where those of each begin. */
static em_status fill_caches(em_model *model, em_error *error) {
  const em_hparams *hparams = &model->hparams;
  em_model_facts *facts = &model->facts;
  model->kv_layers = em_calloc(hparams->n_layers, sizeof *model->kv_layers);
  model->state_layers = em_calloc(hparams->n_layers, sizeof *model->state_layers);
  model->kv_index = em_calloc(hparams->n_layers + 1, sizeof *model->kv_index);
  model->state_index = em_calloc(hparams->n_layers + 1, sizeof *model->state_index);
  if (!model->kv_layers || !model->state_layers || !model->kv_index || !model->state_index)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  for (uint32_t i = 0; i < hparams->n_layers; i++) {
    const em_layer *layer = &hparams->layers[i];
    bool latent = layer->parts & EM_LAYER_LATENT;
    model->kv_index[i] = facts->n_kv_layers;
    model->state_index[i] = facts->n_state_layers;
    if (layer->parts & EM_LAYER_RECURRENT) {
      uint32_t channels = 2 * hparams->ssm_n_k * hparams->ssm_k_dim + hparams->ssm_inner;
      em_state_layer *state = &model->state_layers[facts->n_state_layers++];
      *state = (em_state_layer){(hparams->n_conv - 1) * channels, hparams->ssm_k_dim * hparams->ssm_inner};
      facts->state_bytes += sizeof(float) * ((uint64_t)state->n_conv + state->n_inner);
    } else if (!(layer->parts & EM_LAYER_BORROWS_KV)) {
      model->kv_layers[facts->n_kv_layers++] =
          (em_kv_layer){layer->n_kv_heads, layer->k_dim, layer->v_dim, .v_in_k = latent};
    }
  }
  model->kv_index[hparams->n_layers] = facts->n_kv_layers;
  model->state_index[hparams->n_layers] = facts->n_state_layers;
  return EM_OK;
}

static em_status fill_facts(em_model *model, em_error *error) {
  em_model_facts *facts = &model->facts;
  const em_hparams *hparams = &model->hparams;
  em_text name;
  if (em_gguf_get_text(model->gguf, "general.name", &name))
    copy_text(facts->name, sizeof facts->name, name);
  facts->n_layers = hparams->n_layers;
  facts->n_embd = hparams->n_embd;
  facts->n_vocab = hparams->n_vocab;
  facts->train_context_tokens = hparams->n_context;
  facts->n_experts = hparams->n_experts;
  facts->n_experts_used = hparams->n_experts_used;
  facts->n_nextn = hparams->n_nextn;
  facts->is_divisible = hparams->n_embd_layer == 0 && hparams->n_kv_borrowers == 0;
  for (size_t i = 0; i < model->n_tensors; i++) {
    const em_model_tensor *tensor = &model->tensors[i];
    uint64_t n_values;
    if (tensor->use == 0)
      continue;
    /* The reader has checked that the tensors lie beside one another in the file, so their sum cannot overflow. */
    if (!em_mul_u64(tensor->file->dims[0], tensor->file_rows, &n_values) ||
        !em_add_u64(facts->n_parameters, n_values, &facts->n_parameters))
      return em_fail(error, EM_ERR_FORMAT, "the model's size overflows");
    facts->n_parameters_active += tensor->n_matrices > 0 ? n_values / tensor->n_matrices * tensor->n_read : n_values;
    facts->weights_bytes += tensor->bytes;
    facts->weights_bytes_per_token += em_model_tensor_step_bytes(*tensor, em_model_tensor_bytes(tensor));
  }
  return fill_caches(model, error);
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
  EM_TRY(em_hparams_read(gguf, model->family, &model->hparams, error));
  EM_TRY(em_model_bind(model, error));
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
  em_hparams_clear(&model->hparams);
  free(model->tensors);
  free(model->bound);
  free(model->scales);
  free(model->kv_layers);
  free(model->state_layers);
  free(model->kv_index);
  free(model->state_index);
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
  if (tensor.is_spare)
    return 0;
  if (tensor.n_matrices > 0)
    return bytes / tensor.n_matrices * tensor.n_read;
  uint64_t row = (tensor.use & EM_USE_TABLE) ? bytes / tensor.n_rows : 0;
  return row + ((tensor.use & (EM_USE_MATRIX | EM_USE_VECTOR)) ? bytes : 0);
}

em_type em_model_tensor_type(const em_model_tensor *tensor) {
  return tensor->is_transposed ? EM_TYPE_F32 : tensor->file->type;
}

uint64_t em_model_tensor_bytes(const em_model_tensor *tensor) {
  /* The limits of the keys keep the product small. */
  return tensor->is_transposed ? tensor->n_in * tensor->n_rows * tensor->n_matrices * sizeof(float) : tensor->bytes;
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
  uint32_t first, n;
  em_model_layers_of(model, blocks, &first, &n);
  *n_layers = model->kv_index[first + n] - model->kv_index[first];
  return model->kv_layers + model->kv_index[first];
}

const em_state_layer *em_model_state_layers(const em_model *model, em_model_blocks blocks, uint32_t *n_layers) {
  uint32_t first, n;
  em_model_layers_of(model, blocks, &first, &n);
  *n_layers = model->state_index[first + n] - model->state_index[first];
  return model->state_layers + model->state_index[first];
}

/* Of one position in a layer; 0: the type cannot hold it. */
static uint64_t kv_layer_bytes(const em_kv_layer *layer, em_type type) {
  uint64_t k, v;
  if (!em_type_row_bytes(type, layer->k_dim, &k) || !em_type_row_bytes(type, layer->v_dim, &v))
    return 0;
  return layer->n_heads * (k + (layer->v_in_k ? 0 : v));
}

uint64_t em_model_kv_token_bytes(const em_model *model, em_type type) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < model->facts.n_kv_layers; i++) {
    uint64_t bytes = kv_layer_bytes(&model->kv_layers[i], type);
    if (bytes == 0)
      return 0;
    total += bytes;
  }
  return total;
}

uint64_t em_model_kv_read_bytes(const em_model *model, em_type type, uint32_t n_tokens) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < model->hparams.n_layers; i++) {
    const em_layer *layer = &model->hparams.layers[i];
    if (layer->parts & EM_LAYER_RECURRENT)
      continue;
    uint64_t n = layer->window > 0 && layer->window < n_tokens ? layer->window : n_tokens;
    total += n * kv_layer_bytes(&model->kv_layers[model->kv_index[layer->kv_layer]], type);
  }
  return total;
}
