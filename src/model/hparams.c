/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The hyper-parameters: one table of keys with their limits, then the relations between them.
 *
 * These values become divisors, counts and sizes, so nothing outside the table's limits gets any further. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "model/internal.h"

typedef enum key_kind { KEY_U32, KEY_F32 } key_kind;

typedef struct key_rule {
  const char *key; /* behind "<architecture>." */
  key_kind kind;
  bool required; /* else the field keeps the default it has */
  size_t offset; /* in em_hparams */
  double min, max;
} key_rule;

#define FIELD(name) offsetof(em_hparams, name)

/* The keys on which the defaults of others depend. */
static const key_rule base_rules[] = {
    {"context_length", KEY_U32, true, FIELD(n_context), 1, EM_MODEL_MAX_CONTEXT},
    {"embedding_length", KEY_U32, true, FIELD(n_embd), 1, EM_MODEL_MAX_EMBD},
    {"block_count", KEY_U32, true, FIELD(n_layers), 1, EM_MODEL_MAX_LAYERS},
    {"attention.layer_norm_rms_epsilon", KEY_F32, true, FIELD(norm_eps), 1e-12, 0.1},
    {"rope.freq_base", KEY_F32, false, FIELD(rope_base), 1, 1e12},
    {"rope.scaling.attn_factor", KEY_F32, false, FIELD(rope_magnitude), 1e-3, 1e3},
    {"expert_count", KEY_U32, false, FIELD(n_experts), 0, 65536},
    {"nextn_predict_layers", KEY_U32, false, FIELD(n_nextn), 0, EM_MODEL_MAX_LAYERS},
};

/* The keys whose defaults come from those. */
static const key_rule head_rules[] = {
    {"attention.key_length", KEY_U32, false, FIELD(k_dim), 2, EM_MODEL_MAX_HEAD_DIM},
    {"attention.value_length", KEY_U32, false, FIELD(v_dim), 1, EM_MODEL_MAX_HEAD_DIM},
};

static const key_rule rope_rules[] = {
    {"rope.dimension_count", KEY_U32, false, FIELD(n_rot), 2, EM_MODEL_MAX_HEAD_DIM},
};

typedef struct key_reader {
  const em_gguf *gguf;
  const char *arch;
  char name[192];
} key_reader;

static const char *key_name(key_reader *reader, const char *key) {
  snprintf(reader->name, sizeof reader->name, "%s.%s", reader->arch, key);
  return reader->name;
}

static em_status check_range(key_reader *reader, double value, double min, double max, em_error *error) {
  if (!(value >= min && value <= max))
    return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is %.10g, outside %.10g to %.10g", reader->name, value, min,
                   max);
  return EM_OK;
}

static em_status read_rules(key_reader *reader, const key_rule *rules, size_t n, em_hparams *out, em_error *error) {
  for (size_t i = 0; i < n; i++) {
    const key_rule *rule = &rules[i];
    const char *name = key_name(reader, rule->key);
    em_gguf_entry entry;
    if (!em_gguf_find_key(reader->gguf, name, &entry)) {
      if (rule->required)
        return em_fail(error, EM_ERR_FORMAT, "the model has no '%s'", name);
      continue;
    }
    double value;
    void *field = (char *)out + rule->offset;
    if (rule->kind == KEY_U32) {
      uint32_t whole;
      if (!em_gguf_get_u32(reader->gguf, name, &whole))
        return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no whole number that fits 32 bits", name);
      memcpy(field, &whole, sizeof whole);
      value = whole;
    } else {
      float real;
      if (!em_gguf_get_f32(reader->gguf, name, &real))
        return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no real number", name);
      memcpy(field, &real, sizeof real);
      value = (double)real;
    }
    em_status status = check_range(reader, value, rule->min, rule->max, error);
    if (status != EM_OK)
      return status;
  }
  return EM_OK;
}

/* A key that is one number for all layers or an array with one for each. */
static em_status read_per_layer(key_reader *reader, const char *key, bool required, size_t offset, uint32_t max,
                                em_hparams *out, em_error *error) {
  const char *name = key_name(reader, key);
  em_gguf_entry entry;
  if (!em_gguf_find_key(reader->gguf, name, &entry))
    return required ? em_fail(error, EM_ERR_FORMAT, "the model has no '%s'", name) : EM_OK;
  const int32_t *items = NULL;
  size_t n_items = 0;
  uint32_t scalar = 0;
  if (entry.type == EM_GGUF_ARRAY) {
    if (!em_gguf_get_i32s(reader->gguf, name, &items, &n_items))
      return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no array of whole numbers", name);
    if (n_items != out->n_layers)
      return em_fail(error, EM_ERR_FORMAT, "the model's '%s' has %zu items for %u layers", name, n_items,
                     out->n_layers);
  } else if (!em_gguf_get_u32(reader->gguf, name, &scalar)) {
    return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no whole number that fits 32 bits", name);
  }
  for (uint32_t i = 0; i < out->n_layers; i++) {
    double value = items ? (double)items[i] : (double)scalar;
    em_status status = check_range(reader, value, 1, max, error);
    if (status != EM_OK)
      return status;
    uint32_t whole = items ? (uint32_t)items[i] : scalar;
    memcpy((char *)&out->layers[i] + offset, &whole, sizeof whole);
  }
  return EM_OK;
}

/* The vocabulary is as long as the tokenizer's list; only a file without one says the number itself. */
static em_status read_vocab(key_reader *reader, em_hparams *out, em_error *error) {
  const char *name = "tokenizer.ggml.tokens";
  em_gguf_entry entry;
  if (em_gguf_find_key(reader->gguf, name, &entry)) {
    if (entry.type != EM_GGUF_ARRAY || entry.n < 1 || entry.n > EM_MODEL_MAX_VOCAB)
      return em_fail(error, EM_ERR_FORMAT, "the model's vocabulary is no list of 1 to %u tokens", EM_MODEL_MAX_VOCAB);
    out->n_vocab = (uint32_t)entry.n;
    return EM_OK;
  }
  static const key_rule rule[] = {{"vocab_size", KEY_U32, true, FIELD(n_vocab), 1, EM_MODEL_MAX_VOCAB}};
  return read_rules(reader, rule, 1, out, error);
}

static em_status read_rope_scaling(key_reader *reader, em_hparams *out, em_error *error) {
  em_text type = {"linear", 6};
  em_gguf_entry entry;
  const char *name = key_name(reader, "rope.scaling.type");
  if (em_gguf_find_key(reader->gguf, name, &entry) && !em_gguf_get_text(reader->gguf, name, &type))
    return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no text", name);
  bool none = type.bytes == 4 && memcmp(type.text, "none", 4) == 0;
  bool linear = type.bytes == 6 && memcmp(type.text, "linear", 6) == 0;
  if (!none && !linear)
    return em_fail(error, EM_ERR_UNSUPPORTED, "this model scales its context by '%.32s', which Hearth cannot run yet",
                   type.text);

  /* 0 means that there is no scaling, as if the key were absent. */
  float factor = 0;
  static const char *const keys[] = {"rope.scaling.factor", "rope.scale_linear"};
  for (size_t i = 0; i < 2 && !(factor > 0); i++) {
    name = key_name(reader, keys[i]);
    if (!em_gguf_find_key(reader->gguf, name, &entry))
      continue;
    if (!em_gguf_get_f32(reader->gguf, name, &factor))
      return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no real number", name);
    if (factor == 0)
      continue;
    em_status status = check_range(reader, (double)factor, 1e-3, 1e4, error);
    if (status != EM_OK)
      return status;
  }
  out->rope_freq_scale = linear && factor > 0 ? 1.0f / factor : 1.0f;
  return EM_OK;
}

static em_status read_heads(key_reader *reader, em_hparams *out, em_error *error) {
  em_status status = EM_OK;
  EM_TRY(
      read_per_layer(reader, "feed_forward_length", true, offsetof(em_layer_shape, n_ff), EM_MODEL_MAX_FF, out, error));
  EM_TRY(read_per_layer(reader, "attention.head_count", true, offsetof(em_layer_shape, n_heads), EM_MODEL_MAX_HEADS,
                        out, error));
  bool same = true;
  for (uint32_t i = 0; i < out->n_layers; i++) {
    out->layers[i].n_kv_heads = out->layers[i].n_heads;
    same = same && out->layers[i].n_heads == out->layers[0].n_heads;
  }
  EM_TRY(read_per_layer(reader, "attention.head_count_kv", false, offsetof(em_layer_shape, n_kv_heads),
                        EM_MODEL_MAX_HEADS, out, error));
  for (uint32_t i = 0; i < out->n_layers; i++) {
    const em_layer_shape *layer = &out->layers[i];
    if (layer->n_heads % layer->n_kv_heads != 0)
      return em_fail(error, EM_ERR_FORMAT, "the model's '%s' (%u) is no multiple of '%s_kv' (%u)",
                     key_name(reader, "attention.head_count"), layer->n_heads, reader->name, layer->n_kv_heads);
  }

  /* Without a length of its own a head is its share of the row. 0 marks that there is no such share. */
  uint32_t share = same && out->n_embd % out->layers[0].n_heads == 0 ? out->n_embd / out->layers[0].n_heads : 0;
  out->k_dim = out->v_dim = share;
  EM_TRY(read_rules(reader, head_rules, sizeof head_rules / sizeof head_rules[0], out, error));
  key_name(reader, "attention.key_length");
  EM_TRY(check_range(reader, out->k_dim, 2, EM_MODEL_MAX_HEAD_DIM, error));
  key_name(reader, "attention.value_length");
  EM_TRY(check_range(reader, out->v_dim, 1, EM_MODEL_MAX_HEAD_DIM, error));

  out->n_rot = out->k_dim;
  EM_TRY(read_rules(reader, rope_rules, 1, out, error));
  if (out->n_rot % 2 != 0 || out->n_rot > out->k_dim)
    return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is %u; it must be even and at most the head's length, %u",
                   key_name(reader, "rope.dimension_count"), out->n_rot, out->k_dim);
fail:
  return status;
}

static em_status read_attention(key_reader *reader, em_hparams *out, em_error *error) {
  bool causal = true;
  const char *name = key_name(reader, "attention.causal");
  if (em_gguf_get_bool(reader->gguf, name, &causal) && !causal)
    return em_fail(error, EM_ERR_UNSUPPORTED,
                   "this model makes embeddings instead of text, which Hearth cannot run yet");

  float scale = 0;
  em_gguf_entry entry;
  name = key_name(reader, "attention.scale");
  if (em_gguf_find_key(reader->gguf, name, &entry)) {
    if (!em_gguf_get_f32(reader->gguf, name, &scale))
      return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no real number", name);
    em_status status = check_range(reader, (double)scale, 0, 1e3, error);
    if (status != EM_OK)
      return status;
  }
  out->attention_scale = scale > 0 ? scale : (float)(1.0 / sqrt((double)out->k_dim));
  return EM_OK;
}

em_status em_hparams_read(const em_gguf *gguf, const char *arch, em_hparams *out, em_error *error) {
  em_status status = EM_OK;
  key_reader reader = {.gguf = gguf, .arch = arch};
  *out = (em_hparams){.rope_base = 10000, .rope_magnitude = 1};
  EM_TRY(read_rules(&reader, base_rules, sizeof base_rules / sizeof base_rules[0], out, error));
  if (out->n_experts > 0)
    EM_TRY(em_fail(error, EM_ERR_UNSUPPORTED,
                   "this model is a mixture of %u experts of the family '%s', which Hearth cannot run yet",
                   out->n_experts, arch));
  if (out->n_nextn > 0)
    EM_TRY(em_fail(error, EM_ERR_UNSUPPORTED, "this model has '%s.nextn_predict_layers', which Hearth cannot run yet",
                   arch));
  EM_TRY(read_vocab(&reader, out, error));
  EM_TRY(read_rope_scaling(&reader, out, error));
  out->layers = em_calloc(out->n_layers, sizeof *out->layers);
  if (!out->layers)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
  EM_TRY(read_heads(&reader, out, error));
  EM_TRY(read_attention(&reader, out, error));
  return EM_OK;
fail:
  free(out->layers);
  *out = (em_hparams){0};
  return status;
}
