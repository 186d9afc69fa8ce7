/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Binding: every rule of the family finds its tensor with just the expected shape, and every tensor of the file its
 * rules. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "model/family.h"

static uint64_t latent_dim(const em_hparams *hparams, const em_layer *layer, em_dim dim) {
  uint32_t n_rot = hparams->n_rot;
  switch (dim) {
  case EM_DIM_Q_RANK:
    return hparams->q_rank;
  case EM_DIM_KV_RANK:
    return hparams->kv_rank;
  case EM_DIM_KV_A:
    return hparams->kv_rank + n_rot;
  case EM_DIM_LATENT_K:
    return hparams->latent_k_dim;
  case EM_DIM_LATENT_Q:
    return (uint64_t)layer->n_heads * hparams->latent_k_dim;
  case EM_DIM_NOPE:
    return hparams->latent_k_dim - n_rot;
  case EM_DIM_ROT:
    return n_rot;
  case EM_DIM_LATENT_V:
    return hparams->latent_v_dim;
  case EM_DIM_LATENT_KV:
    return hparams->latent_k_dim - n_rot + hparams->latent_v_dim;
  case EM_DIM_LATENT_ALL_KV:
    return (uint64_t)layer->n_heads * (hparams->latent_k_dim - n_rot + hparams->latent_v_dim);
  case EM_DIM_LATENT_O:
    return (uint64_t)layer->n_heads * hparams->latent_v_dim;
  default:
    return 0;
  }
}

static uint64_t recurrent_dim(const em_hparams *hparams, em_dim dim) {
  if (hparams->ssm_n_v == 0)
    return 0;
  uint64_t ratio = hparams->ssm_n_v / hparams->ssm_n_k, v_dim = hparams->ssm_inner / hparams->ssm_n_v;
  uint64_t k_dim = hparams->ssm_k_dim, channels = 2ull * hparams->ssm_n_k * k_dim + hparams->ssm_inner;
  switch (dim) {
  case EM_DIM_CONV:
    return hparams->n_conv;
  case EM_DIM_SSM_K:
    return k_dim;
  case EM_DIM_SSM_TWO_K:
    return 2 * k_dim;
  case EM_DIM_SSM_V:
    return v_dim;
  case EM_DIM_SSM_N_V:
    return hparams->ssm_n_v;
  case EM_DIM_SSM_TWO_N_V:
    return 2ull * hparams->ssm_n_v;
  case EM_DIM_SSM_RATIO:
    return ratio;
  case EM_DIM_SSM_TWO_RATIO:
    return 2 * ratio;
  case EM_DIM_SSM_INNER:
    return hparams->ssm_inner;
  case EM_DIM_SSM_CHANNELS:
    return channels;
  case EM_DIM_SSM_IN:
    return channels + hparams->ssm_inner;
  case EM_DIM_SSM_GROUP:
    return 2 * k_dim + 2 * ratio * v_dim;
  case EM_DIM_SSM_GROUP_V:
    return ratio * v_dim;
  case EM_DIM_SSM_GROUP_Z:
    return 2 * k_dim + ratio * v_dim;
  default:
    return 0;
  }
}

uint64_t em_dim_value(const em_hparams *hparams, int32_t number, em_dim dim) {
  const em_layer *layer = &hparams->layers[number < 0 ? 0 : number];
  uint64_t q = (uint64_t)layer->n_heads * layer->k_dim;
  uint64_t k = (uint64_t)layer->n_kv_heads * layer->k_dim;
  uint64_t v = (uint64_t)layer->n_kv_heads * layer->v_dim;
  switch (dim) {
  case EM_DIM_NONE:
    return 0;
  case EM_DIM_ONE:
    return 1;
  case EM_DIM_EMBD:
    return hparams->n_embd;
  case EM_DIM_VOCAB:
    return hparams->n_vocab;
  case EM_DIM_HEADS:
    return layer->n_heads;
  case EM_DIM_HEAD:
    return layer->k_dim;
  case EM_DIM_TWO_HEAD:
    return 2ull * layer->k_dim;
  case EM_DIM_Q:
    return q;
  case EM_DIM_TWO_Q:
    return 2 * q;
  case EM_DIM_K:
    return k;
  case EM_DIM_V:
    return v;
  case EM_DIM_QKV:
    return q + k + v;
  case EM_DIM_O:
    return (uint64_t)layer->n_heads * layer->v_dim;
  case EM_DIM_HALF_ROT:
    return hparams->n_rot / 2;
  case EM_DIM_FF:
    return layer->n_ff;
  case EM_DIM_TWO_FF:
    return 2ull * layer->n_ff;
  case EM_DIM_EXPERTS:
    return hparams->n_experts;
  case EM_DIM_EXPERT_FF:
    return hparams->n_ff_expert;
  case EM_DIM_TWO_EXPERT_FF:
    return 2ull * hparams->n_ff_expert;
  case EM_DIM_SHARED_FF:
    return hparams->n_ff_shared;
  case EM_DIM_Q_RANK:
  case EM_DIM_KV_RANK:
  case EM_DIM_KV_A:
  case EM_DIM_LATENT_K:
  case EM_DIM_LATENT_Q:
  case EM_DIM_NOPE:
  case EM_DIM_ROT:
  case EM_DIM_LATENT_V:
  case EM_DIM_LATENT_KV:
  case EM_DIM_LATENT_ALL_KV:
  case EM_DIM_LATENT_O:
    return latent_dim(hparams, layer, dim);
  case EM_DIM_CONV:
  case EM_DIM_SSM_K:
  case EM_DIM_SSM_TWO_K:
  case EM_DIM_SSM_V:
  case EM_DIM_SSM_N_V:
  case EM_DIM_SSM_TWO_N_V:
  case EM_DIM_SSM_RATIO:
  case EM_DIM_SSM_TWO_RATIO:
  case EM_DIM_SSM_INNER:
  case EM_DIM_SSM_CHANNELS:
  case EM_DIM_SSM_IN:
  case EM_DIM_SSM_GROUP:
  case EM_DIM_SSM_GROUP_V:
  case EM_DIM_SSM_GROUP_Z:
    return recurrent_dim(hparams, dim);
  case EM_DIM_LAYER_EMBD:
    return hparams->n_embd_layer;
  case EM_DIM_ALL_LAYER_EMBD:
    return (uint64_t)hparams->n_embd_layer * hparams->n_layers;
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

static em_status check_shape(const em_gguf_tensor *tensor, const uint64_t dims[3], em_error *error) {
  if (tensor->dims[0] == dims[0] && tensor->dims[1] == dims[1] && tensor->dims[2] == dims[2] && tensor->dims[3] == 1)
    return EM_OK;
  return em_fail(error, EM_ERR_FORMAT,
                 "the tensor '%s' has the shape [%llu, %llu, %llu, %llu] where [%llu, %llu, %llu, 1] is expected",
                 tensor->name.text, (unsigned long long)tensor->dims[0], (unsigned long long)tensor->dims[1],
                 (unsigned long long)tensor->dims[2], (unsigned long long)tensor->dims[3], (unsigned long long)dims[0],
                 (unsigned long long)dims[1], (unsigned long long)dims[2]);
}

static em_status add_tensor(em_model *model, em_model_tensor tensor, em_error *error) {
  if (model->n_tensors == model->max_tensors) {
    size_t max = model->max_tensors ? 2 * model->max_tensors : 256;
    em_model_tensor *tensors = em_realloc_array(model->tensors, max, sizeof *tensors);
    if (!tensors)
      return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
    model->tensors = tensors;
    model->max_tensors = max;
  }
  model->tensors[model->n_tensors++] = tensor;
  return EM_OK;
}

static int32_t *slot_of(int32_t *bound, int32_t layer, em_tensor_slot slot) {
  return &bound[(size_t)(layer + 1) * EM_N_SLOTS + slot];
}

int32_t em_model_bound(const em_model *model, int32_t layer, em_tensor_slot slot) {
  return *slot_of(model->bound, layer, slot);
}

int32_t em_model_bound_scale(const em_model *model, int32_t layer, em_tensor_slot slot) {
  return *slot_of(model->scales, layer, slot);
}

static const em_gguf_tensor *find_tensor(const em_model *model, int32_t layer, const char *name) {
  char whole[EM_GGUF_MAX_TENSOR_NAME_BYTES + 1];
  if (layer < 0)
    snprintf(whole, sizeof whole, "%s", name);
  else
    snprintf(whole, sizeof whole, "blk.%d.%s", layer, name);
  return em_gguf_find_tensor(model->gguf, whole);
}

static em_status fail_missing(int32_t layer, const char *name, em_error *error) {
  if (layer < 0)
    return em_fail(error, EM_ERR_FORMAT, "the model has no tensor '%s'", name);
  return em_fail(error, EM_ERR_FORMAT, "the model has no tensor 'blk.%d.%s'", layer, name);
}

/* A factor for all products with a tensor, or for those with each matrix of a stack. The stages of routers and heads
 * take none. */
static em_status bind_scale(em_model *model, int32_t layer, const em_tensor_rule *rule, uint32_t n_matrices,
                            em_error *error) {
  static const char weight[] = ".weight";
  size_t length = strlen(rule->name), tail = sizeof weight - 1;
  char name[EM_GGUF_MAX_TENSOR_NAME_BYTES + 1];
  bool has_factor = rule->slot != EM_SLOT_ROUTER && rule->slot != EM_SLOT_K_B && rule->slot != EM_SLOT_V_B;
  if (!(rule->use & (EM_USE_MATRIX | EM_USE_STACK)) || !has_factor || length < tail ||
      strcmp(rule->name + length - tail, weight) != 0)
    return EM_OK;
  snprintf(name, sizeof name, "%.*s.scale", (int)(length - tail), rule->name);
  const em_gguf_tensor *tensor = find_tensor(model, layer, name);
  if (!tensor)
    return EM_OK;
  const uint64_t dims[3] = {n_matrices > 0 ? n_matrices : 1, 1, 1};
  em_status status = check_shape(tensor, dims, error);
  if (status == EM_OK)
    status = check_type(tensor, EM_USE_VECTOR, error);
  if (status != EM_OK)
    return status;
  /* Parts of one tensor have one factor. */
  int32_t number = (int32_t)model->n_tensors;
  for (int32_t i = number - 1; i >= 0 && model->tensors[i].layer == layer; i--)
    if (model->tensors[i].file == tensor)
      number = i;
  *slot_of(model->scales, layer, rule->slot) = number;
  if (number < (int32_t)model->n_tensors)
    return EM_OK;
  return add_tensor(model,
                    (em_model_tensor){.file = tensor,
                                      .use = EM_USE_VECTOR,
                                      .layer = layer,
                                      .n_in = dims[0],
                                      .n_rows = 1,
                                      .n_matrices = n_matrices,
                                      .n_read = n_matrices > 0 ? model->hparams.n_experts_used : 0,
                                      .file_rows = 1,
                                      .bytes = tensor->bytes},
                    error);
}

/* The rows of the file's tensor that a view has. */
static em_model_view make_view(const em_model *model, int32_t layer, const em_view_rule *rule) {
  const em_hparams *hparams = &model->hparams;
  em_model_view view = {.group_rows = em_dim_value(hparams, layer, rule->group)};
  for (; view.n_parts < EM_VIEW_MAX_PARTS && rule->count[view.n_parts] != EM_DIM_NONE; view.n_parts++) {
    view.first[view.n_parts] = em_dim_value(hparams, layer, rule->first[view.n_parts]);
    view.count[view.n_parts] = em_dim_value(hparams, layer, rule->count[view.n_parts]);
    view.group_count += view.count[view.n_parts];
  }
  return view;
}

static em_status bind_rule(em_model *model, int32_t layer, const em_tensor_rule *rule, em_error *error) {
  const em_hparams *hparams = &model->hparams;
  const em_gguf_tensor *tensor = find_tensor(model, layer, rule->name);
  if (!tensor)
    return rule->need == EM_NEEDED ? fail_missing(layer, rule->name, error) : EM_OK;
  uint64_t n_matrices = rule->n_matrices != EM_DIM_NONE ? em_dim_value(hparams, layer, rule->n_matrices) : 0;
  const uint64_t dims[3] = {em_dim_value(hparams, layer, rule->n_in), em_dim_value(hparams, layer, rule->n_rows),
                            n_matrices > 0 && !rule->flat ? n_matrices : 1};
  em_model_tensor bound = {.file = tensor,
                           .use = rule->use,
                           .layer = layer,
                           .n_in = dims[0],
                           .n_rows = dims[1],
                           .n_matrices = (uint32_t)n_matrices,
                           .n_read = (uint32_t)n_matrices,
                           .file_rows = tensor->n_rows,
                           .bytes = tensor->bytes};
  if (rule->need == EM_UNUSED) {
    bound.use = 0;
    bound.bytes = 0;
    return add_tensor(model, bound, error);
  }
  em_status status = check_shape(tensor, dims, error);
  if (status == EM_OK)
    status = check_type(tensor, rule->use, error);
  if (status != EM_OK)
    return status;
  int32_t *slot = slot_of(model->bound, layer, rule->slot);
  if (*slot >= 0)
    return em_fail(error, EM_ERR_FORMAT, "the model has both '%s' and '%s'", model->tensors[*slot].file->name.text,
                   tensor->name.text);

  if (rule->use == EM_USE_VECTOR) {
    /* The limits of the keys keep the product small. */
    bound.n_in = dims[0] * dims[1] * dims[2];
    bound.n_rows = 1;
    bound.n_matrices = rule->n_rows == EM_DIM_EXPERTS ? hparams->n_experts : 0;
  }
  if (rule->n_matrices == EM_DIM_EXPERTS || rule->n_rows == EM_DIM_EXPERTS)
    bound.n_read = hparams->n_experts_used;
  if (rule->view.group != EM_DIM_NONE) {
    bound.view = make_view(model, layer, &rule->view);
    bound.file_rows = tensor->n_rows / bound.view.group_rows * bound.view.group_count;
    bound.n_rows = bound.file_rows / (n_matrices > 0 ? n_matrices : 1);
    bound.bytes = bound.file_rows * tensor->row_bytes;
  }
  if (rule->transposed) {
    bound.is_transposed = true;
    bound.n_in = bound.n_rows;
    bound.n_rows = dims[0];
  }
  *slot = (int32_t)model->n_tensors;
  status = add_tensor(model, bound, error);
  return status == EM_OK ? bind_scale(model, layer, rule, (uint32_t)n_matrices, error) : status;
}

static em_status bind_groups(em_model *model, int32_t layer, const em_rule_group *const *groups, em_error *error) {
  unsigned parts = layer < 0 ? 0 : model->hparams.layers[layer].parts;
  for (uint32_t i = 0; i < model->hparams.n_layers && layer < 0; i++)
    parts |= model->hparams.layers[i].parts;
  for (; *groups; groups++) {
    const em_rule_group *group = *groups;
    em_status status = EM_OK;
    if ((parts & group->needs) != group->needs || (parts & group->lacks) != 0)
      continue;
    for (size_t i = 0; i < group->n && status == EM_OK; i++)
      status = bind_rule(model, layer, &group->rules[i], error);
    for (size_t i = 0; i < group->n && status == EM_OK; i++)
      if (group->rules[i].need == EM_ALTERNATIVE && em_model_bound(model, layer, group->rules[i].slot) < 0)
        status = fail_missing(layer, group->rules[i].name, error);
    if (status == EM_OK && group->check)
      status = group->check(model, layer, error);
    if (status != EM_OK)
      return status;
  }
  return EM_OK;
}

/* --- Every tensor ------------------------------------------------------------------------------------------------- */

static bool ends_with(em_text text, const char *end) {
  size_t n = strlen(end);
  return text.bytes >= n && memcmp(text.text + text.bytes - n, end, n) == 0;
}

/* Whether a tensor is of a block behind the layers, which predicts further tokens. */
static bool is_nextn(const em_model *model, const em_gguf_tensor *tensor) {
  const em_hparams *hparams = &model->hparams;
  unsigned block;
  char dot;
  return hparams->n_nextn > 0 && sscanf(tensor->name.text, "blk.%5u%c", &block, &dot) == 2 && dot == '.' &&
         block >= hparams->n_layers && block < hparams->n_layers + hparams->n_nextn;
}

typedef struct use {
  const em_gguf_tensor *file;
  uint64_t rows;
} use;

static int compare_uses(const void *a, const void *b) {
  const use *x = a, *y = b;
  return (x->file > y->file) - (x->file < y->file);
}

/* A tensor that no rule asked for would change what the model computes: such a file is of another kind than it says. */
static em_status check_all_bound(em_model *model, em_error *error) {
  use *uses = em_calloc(model->n_tensors + 1, sizeof *uses);
  if (!uses)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  for (size_t i = 0; i < model->n_tensors; i++)
    uses[i] = (use){model->tensors[i].file, model->tensors[i].file_rows};
  qsort(uses, model->n_tensors, sizeof *uses, compare_uses);
  size_t n = 0;
  for (size_t i = 0; i < model->n_tensors; i++) {
    if (n > 0 && uses[n - 1].file == uses[i].file)
      uses[n - 1].rows += uses[i].rows;
    else
      uses[n++] = uses[i];
  }

  em_status status = EM_OK;
  for (size_t i = 0; i < em_gguf_n_tensors(model->gguf) && status == EM_OK; i++) {
    const em_gguf_tensor *tensor = em_gguf_tensor_at(model->gguf, i);
    const use key = {tensor, 0}, *found = bsearch(&key, uses, n, sizeof *uses, compare_uses);
    if (found) {
      if (found->rows != tensor->n_rows)
        status = em_fail(error, EM_ERR_FORMAT, "of the %llu rows of the tensor '%s' %llu are used",
                         (unsigned long long)tensor->n_rows, tensor->name.text, (unsigned long long)found->rows);
    } else if (is_nextn(model, tensor)) {
      model->facts.nextn_bytes += tensor->bytes;
    } else if (!ends_with(tensor->name, ".input_scale")) {
      /* The exception is a quantiser's note on the activations it saw; it describes and does not change the values. */
      status = em_fail(error, EM_ERR_UNSUPPORTED, "the tensor '%s' does not belong in a model of the family '%s'",
                       tensor->name.text, model->family->name);
    }
  }
  free(uses);
  return status;
}

em_status em_model_bind(em_model *model, em_error *error) {
  em_status status = EM_OK;
  size_t n_bound = ((size_t)model->hparams.n_layers + 1) * EM_N_SLOTS;
  model->bound = em_calloc(n_bound, sizeof *model->bound);
  model->scales = em_calloc(n_bound, sizeof *model->scales);
  if (!model->bound || !model->scales)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
  for (size_t i = 0; i < n_bound; i++)
    model->bound[i] = model->scales[i] = -1;

  EM_TRY(bind_groups(model, -1, model->family->globals, error));
  for (int32_t layer = 0; layer < (int32_t)model->hparams.n_layers; layer++)
    EM_TRY(bind_groups(model, layer, model->family->layer, error));
  EM_TRY(check_all_bound(model, error));

  /* Of the factors for long and short contexts a program has the one or the other. */
  if (em_model_bound(model, -1, EM_SLOT_ROPE_LONG) >= 0 && em_model_bound(model, -1, EM_SLOT_ROPE_SHORT) >= 0)
    model->tensors[em_model_bound(model, -1, EM_SLOT_ROPE_SHORT)].is_spare = true;
  /* Without a head of its own the embedding table is the head. */
  if (em_model_bound(model, -1, EM_SLOT_OUTPUT) < 0) {
    int32_t table = em_model_bound(model, -1, EM_SLOT_TOKEN_EMBD);
    *slot_of(model->bound, -1, EM_SLOT_OUTPUT) = table;
    model->tensors[table].use |= EM_USE_MATRIX;
  }
fail:
  return status;
}
