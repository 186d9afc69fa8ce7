/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The hyper-parameters of a family: the keys that all share, those of the family, then the relations between them. */
#include "model/hparams.h"

#include <math.h>
#include <stdlib.h>

#include "base/checked.h"
#include "model/family.h"

#define FIELD EM_KEY_FIELD

/* The keys on which the defaults of others depend. */
static const em_key_rule base_rules[] = {
    {"context_length", EM_KEY_U32, true, FIELD(n_context), 1, EM_MODEL_MAX_CONTEXT},
    {"embedding_length", EM_KEY_U32, true, FIELD(n_embd), 1, EM_MODEL_MAX_EMBD},
    {"block_count", EM_KEY_U32, true, FIELD(n_layers), 1, EM_MODEL_MAX_LAYERS},
    {"rope.freq_base", EM_KEY_F32, false, FIELD(rope_base), 1, 1e12},
    {"nextn_predict_layers", EM_KEY_U32, false, FIELD(n_nextn), 0, EM_MODEL_MAX_LAYERS},
};

/* The keys whose defaults come from those. */
static const em_key_rule head_rules[] = {
    {"attention.key_length", EM_KEY_U32, false, FIELD(k_dim), 2, EM_MODEL_MAX_HEAD_DIM},
    {"attention.value_length", EM_KEY_U32, false, FIELD(v_dim), 1, EM_MODEL_MAX_HEAD_DIM},
    {"attention.scale", EM_KEY_F32, false, FIELD(attention_scale), 0, 1e3},
};

static const em_key_rule rope_rules[] = {
    {"rope.dimension_count", EM_KEY_U32, false, FIELD(n_rot), 2, EM_MODEL_MAX_HEAD_DIM},
};

static const em_key_rule vocab_rules[] = {
    {"vocab_size", EM_KEY_U32, true, FIELD(n_vocab), 1, EM_MODEL_MAX_VOCAB},
};

/* The vocabulary is as long as the tokenizer's list; only a file without one says the number itself. */
static em_status read_vocab(em_keys *keys, em_hparams *out, em_error *error) {
  em_gguf_entry entry;
  if (!em_gguf_find_key(keys->gguf, "tokenizer.ggml.tokens", &entry))
    return em_keys_read(keys, (em_key_group)EM_KEYS(vocab_rules), out, error);
  if (entry.type != EM_GGUF_ARRAY || entry.n < 1 || entry.n > EM_MODEL_MAX_VOCAB)
    return em_fail(error, EM_ERR_FORMAT, "the model's vocabulary is no list of 1 to %u tokens", EM_MODEL_MAX_VOCAB);
  out->n_vocab = (uint32_t)entry.n;
  return EM_OK;
}

static em_status check_dim(em_keys *keys, const char *key, uint32_t value, uint32_t min, em_error *error) {
  if (value < min || value > EM_MODEL_MAX_HEAD_DIM)
    return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is %u, outside %u to %u", em_keys_name(keys, key), value,
                   min, EM_MODEL_MAX_HEAD_DIM);
  return EM_OK;
}

static em_status read_head_counts(em_keys *keys, em_hparams *out, em_error *error) {
  em_status status = EM_OK;
  EM_TRY(em_keys_per_layer(keys, "feed_forward_length", offsetof(em_layer, n_ff), true, EM_MODEL_MAX_FF, out, error));
  if (!em_keys_has(keys, "attention.head_count"))
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the model has no '%s'", keys->name));
  EM_TRY(em_keys_per_layer(keys, "attention.head_count", offsetof(em_layer, n_heads), false, EM_MODEL_MAX_HEADS, out,
                           error));
  for (uint32_t i = 0; i < out->n_layers; i++)
    out->layers[i].n_kv_heads = out->layers[i].n_heads;
  EM_TRY(em_keys_per_layer(keys, "attention.head_count_kv", offsetof(em_layer, n_kv_heads), false, EM_MODEL_MAX_HEADS,
                           out, error));
  for (uint32_t i = 0; i < out->n_layers; i++) {
    const em_layer *layer = &out->layers[i];
    if (layer->n_heads % layer->n_kv_heads != 0)
      EM_TRY(em_fail(error, EM_ERR_FORMAT, "the model's '%s' (%u) is no multiple of '%s_kv' (%u)",
                     em_keys_name(keys, "attention.head_count"), layer->n_heads, keys->name, layer->n_kv_heads));
  }
fail:
  return status;
}

static em_status read_heads(em_keys *keys, em_hparams *out, em_error *error) {
  em_status status = EM_OK;
  bool same = true;
  EM_TRY(read_head_counts(keys, out, error));
  for (uint32_t i = 1; i < out->n_layers; i++)
    same = same && out->layers[i].n_heads == out->layers[0].n_heads;

  /* Without a length of its own a head is its share of the row. 0 marks that there is no such share. */
  uint32_t share = same && out->n_embd % out->layers[0].n_heads == 0 ? out->n_embd / out->layers[0].n_heads : 0;
  out->k_dim = out->v_dim = share;
  EM_TRY(em_keys_read(keys, (em_key_group)EM_KEYS(head_rules), out, error));
  EM_TRY(check_dim(keys, "attention.key_length", out->k_dim, 2, error));
  EM_TRY(check_dim(keys, "attention.value_length", out->v_dim, 1, error));
  out->n_rot = out->k_dim;
  EM_TRY(em_keys_read(keys, (em_key_group)EM_KEYS(rope_rules), out, error));
  if (out->n_rot % 2 != 0 || out->n_rot > out->k_dim)
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the model's '%s' is %u; it must be even and at most the head's length, %u",
                   em_keys_name(keys, "rope.dimension_count"), out->n_rot, out->k_dim));
  out->k_dim_window = out->k_dim;
  out->v_dim_window = out->v_dim;
  out->n_rot_window = out->n_rot;
fail:
  return status;
}

static em_status check_causal(em_keys *keys, em_error *error) {
  bool causal = true;
  if (em_gguf_get_bool(keys->gguf, em_keys_name(keys, "attention.causal"), &causal) && !causal)
    return em_fail(error, EM_ERR_UNSUPPORTED,
                   "this model makes embeddings instead of text, which Hearth cannot run yet");
  return EM_OK;
}

/* What every layer is unless the family knows better. */
static void shape_layers(const em_family *family, em_hparams *out) {
  out->rope.kind = family->rope;
  out->rope = em_hparams_rope(out, out->n_rot, out->rope_base, true);
  float scale = out->attention_scale > 0 ? out->attention_scale : (float)(1.0 / sqrt((double)out->k_dim));
  for (uint32_t i = 0; i < out->n_layers; i++) {
    em_layer *layer = &out->layers[i];
    bool experts = out->n_experts > 0 && i >= out->n_dense_layers;
    layer->parts = EM_LAYER_ATTENTION | EM_LAYER_ROPE_FACTORS | (experts ? EM_LAYER_EXPERTS : EM_LAYER_FEED_FORWARD);
    layer->k_dim = out->k_dim;
    layer->v_dim = out->v_dim;
    layer->scale = scale;
    layer->rope = out->rope;
    layer->kv_layer = i;
  }
}

static em_status read_experts(em_keys *keys, const em_family *family, em_hparams *out, em_error *error) {
  em_status status = EM_OK;
  static const em_gating gatings[] = {EM_GATING_SOFTMAX, EM_GATING_SOFTMAX, EM_GATING_SIGMOID,
                                      EM_GATING_SOFTMAX_SELECTED, EM_GATING_SQRT_SOFTPLUS};
  out->expert_weights_norm = family->has & EM_HAS_NORMED_ROUTES;
  EM_TRY(em_keys_read(keys, em_keys_experts, out, error));
  if ((family->has & EM_HAS_ONLY_EXPERTS) && (out->n_experts == 0 || out->n_dense_layers > 0))
    EM_TRY(em_fail(error, EM_ERR_FORMAT,
                   "every layer of a model of the family '%s' has experts, and this one has '%s' %u", family->name,
                   em_keys_name(keys, out->n_experts == 0 ? "expert_count" : "leading_dense_block_count"),
                   out->n_experts == 0 ? 0 : out->n_dense_layers));
  if (out->n_experts == 0)
    return EM_OK;
  if (!(family->has & EM_HAS_EXPERTS))
    EM_TRY(em_fail(error, EM_ERR_UNSUPPORTED,
                   "this model is a mixture of %u experts of the family '%s', which Hearth cannot run yet",
                   out->n_experts, family->name));
  if (out->n_experts_used < 1 || out->n_experts_used > out->n_experts)
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the model's '%s' is %u, outside 1 to %u",
                   em_keys_name(keys, "expert_used_count"), out->n_experts_used, out->n_experts));
  if (out->n_expert_groups > 1) {
    uint32_t n = out->n_expert_groups_used;
    if (out->n_experts % out->n_expert_groups != 0 || n < 1 || n > out->n_expert_groups ||
        out->n_experts_used > n * (out->n_experts / out->n_expert_groups))
      EM_TRY(em_fail(error, EM_ERR_FORMAT, "the model's %u experts cannot be routed in %u groups of which %u are used",
                     out->n_experts, out->n_expert_groups, n));
  }
  out->gating = out->expert_gating > 0 ? gatings[out->expert_gating] : family->gating;
  out->n_ff_expert = out->layers[0].n_ff / (family->has & EM_HAS_WIDE_EXPERTS ? 1 : out->n_experts_used);
  EM_TRY(em_keys_read(keys, em_keys_expert_ff, out, error));
  if (out->n_ff_expert == 0)
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the model has no '%s'", em_keys_name(keys, "expert_feed_forward_length")));
  out->n_ff_shared = out->n_shared_experts * out->n_ff_expert;
fail:
  return status;
}

static em_status check_layers(em_keys *keys, const em_hparams *hparams, em_error *error) {
  for (uint32_t i = 0; i < hparams->n_layers; i++)
    if (hparams->layers[i].n_ff == 0 && (hparams->layers[i].parts & EM_LAYER_FEED_FORWARD))
      return em_fail(error, EM_ERR_FORMAT,
                     em_keys_has(keys, "feed_forward_length") ? "the model's '%s' is 0" : "the model has no '%s'",
                     em_keys_name(keys, "feed_forward_length"));
  return EM_OK;
}

em_status em_hparams_read(const em_gguf *gguf, const em_family *family, em_hparams *out, em_error *error) {
  em_status status = EM_OK;
  em_keys keys = {.gguf = gguf, .arch = family->name};
  *out = (em_hparams){
      .rope_base = 10000, .rope_base_window = 10000, .embedding_scale = 1, .residual_scale = 1, .logit_scale = 1};
  if (family->defaults)
    family->defaults(out);
  EM_TRY(em_keys_read(&keys, (em_key_group)EM_KEYS(base_rules), out, error));
  EM_TRY(em_keys_read(&keys, family->norm == EM_NORM_RMS ? em_keys_rms_norm : em_keys_layer_norm, out, error));
  keys.n_blocks = out->n_layers;
  if (out->n_nextn > 0 && !(family->has & EM_HAS_NEXTN))
    EM_TRY(em_fail(error, EM_ERR_UNSUPPORTED, "this model has '%s.nextn_predict_layers', which Hearth cannot run yet",
                   family->name));
  if (out->n_nextn >= out->n_layers)
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the model's '%s.nextn_predict_layers' leaves none of its %u blocks",
                   family->name, out->n_layers));
  out->n_layers -= out->n_nextn;
  EM_TRY(read_vocab(&keys, out, error));
  EM_TRY(em_hparams_read_scaling(&keys, family->has & EM_HAS_LONGROPE, out, error));
  out->layers = em_calloc(out->n_layers, sizeof *out->layers);
  if (!out->layers)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
  EM_TRY(read_heads(&keys, out, error));
  EM_TRY(check_causal(&keys, error));
  EM_TRY(read_experts(&keys, family, out, error));
  for (size_t i = 0; family->keys && family->keys[i]; i++)
    EM_TRY(em_keys_read(&keys, *family->keys[i], out, error));
  shape_layers(family, out);
  if (family->shape)
    EM_TRY(family->shape(&keys, out, error));
  EM_TRY(check_layers(&keys, out, error));
  return EM_OK;
fail:
  em_hparams_clear(out);
  return status;
}

void em_hparams_clear(em_hparams *hparams) {
  free(hparams->layers);
  *hparams = (em_hparams){0};
}
