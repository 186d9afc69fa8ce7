/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading keys by rules, with limits; and the groups of keys that several families share. */
#include <stdio.h>
#include <string.h>

#include "model/hparams.h"

#define FIELD EM_KEY_FIELD

static const em_key_rule expert_rules[] = {
    {"expert_count", EM_KEY_U32, false, FIELD(n_experts), 0, EM_MODEL_MAX_EXPERTS},
    {"expert_used_count", EM_KEY_U32, false, FIELD(n_experts_used), 0, EM_MODEL_MAX_EXPERTS_USED},
    {"expert_shared_count", EM_KEY_U32, false, FIELD(n_shared_experts), 0, 64},
    {"expert_group_count", EM_KEY_U32, false, FIELD(n_expert_groups), 0, EM_MODEL_MAX_EXPERTS},
    {"expert_group_used_count", EM_KEY_U32, false, FIELD(n_expert_groups_used), 0, EM_MODEL_MAX_EXPERTS},
    {"expert_weights_scale", EM_KEY_F32, false, FIELD(expert_weights_scale), 0, 1e3},
    {"expert_weights_norm", EM_KEY_BOOL, false, FIELD(expert_weights_norm), 0, 1},
    {"expert_gating_func", EM_KEY_U32, false, FIELD(expert_gating), 0, 4},
    {"leading_dense_block_count", EM_KEY_U32, false, FIELD(n_dense_layers), 0, EM_MODEL_MAX_LAYERS},
};
const em_key_group em_keys_experts = EM_KEYS(expert_rules);

static const em_key_rule expert_ff_rules[] = {
    {"expert_feed_forward_length", EM_KEY_U32, false, FIELD(n_ff_expert), 1, EM_MODEL_MAX_FF},
};
const em_key_group em_keys_expert_ff = EM_KEYS(expert_ff_rules);

static const em_key_rule shared_ff_rules[] = {
    {"expert_shared_feed_forward_length", EM_KEY_U32, false, FIELD(n_ff_shared), 0, EM_MODEL_MAX_FF},
};
const em_key_group em_keys_shared_ff = EM_KEYS(shared_ff_rules);

static const em_key_rule window_rules[] = {
    {"attention.sliding_window", EM_KEY_U32, true, FIELD(window), 1, EM_MODEL_MAX_CONTEXT},
};
const em_key_group em_keys_window = EM_KEYS(window_rules);

static const em_key_rule window_dims_rules[] = {
    {"attention.key_length_swa", EM_KEY_U32, false, FIELD(k_dim_window), 2, EM_MODEL_MAX_HEAD_DIM},
    {"attention.value_length_swa", EM_KEY_U32, false, FIELD(v_dim_window), 1, EM_MODEL_MAX_HEAD_DIM},
    {"rope.dimension_count_swa", EM_KEY_U32, false, FIELD(n_rot_window), 2, EM_MODEL_MAX_HEAD_DIM},
    {"rope.freq_base_swa", EM_KEY_F32, false, FIELD(rope_base_window), 1, 1e12},
};
const em_key_group em_keys_window_dims = EM_KEYS(window_dims_rules);

static const em_key_rule softcap_rules[] = {
    {"attn_logit_softcapping", EM_KEY_F32, false, FIELD(attention_softcap), 0, 1e6},
    {"final_logit_softcapping", EM_KEY_F32, false, FIELD(output_softcap), 0, 1e6},
};
const em_key_group em_keys_softcaps = EM_KEYS(softcap_rules);

static const em_key_rule layer_norm_rules[] = {
    {"attention.layer_norm_epsilon", EM_KEY_F32, true, FIELD(norm_eps), 1e-12, 0.1},
};
const em_key_group em_keys_layer_norm = EM_KEYS(layer_norm_rules);

static const em_key_rule rms_norm_rules[] = {
    {"attention.layer_norm_rms_epsilon", EM_KEY_F32, true, FIELD(norm_eps), 1e-12, 0.1},
};
const em_key_group em_keys_rms_norm = EM_KEYS(rms_norm_rules);

static const em_key_rule recurrent_rules[] = {
    {"ssm.conv_kernel", EM_KEY_U32, true, FIELD(n_conv), 2, EM_MODEL_MAX_CONV},
    {"ssm.state_size", EM_KEY_U32, true, FIELD(ssm_k_dim), 1, EM_MODEL_MAX_HEAD_DIM},
    {"ssm.group_count", EM_KEY_U32, true, FIELD(ssm_n_k), 1, EM_MODEL_MAX_HEADS},
    {"ssm.time_step_rank", EM_KEY_U32, true, FIELD(ssm_n_v), 1, EM_MODEL_MAX_HEADS},
    {"ssm.inner_size", EM_KEY_U32, true, FIELD(ssm_inner), 1, EM_MODEL_MAX_HEADS *EM_MODEL_MAX_HEAD_DIM},
    {"full_attention_interval", EM_KEY_U32, false, FIELD(recurrent_period), 1, EM_MODEL_MAX_LAYERS},
};
const em_key_group em_keys_recurrent = EM_KEYS(recurrent_rules);

const char *em_keys_name(em_keys *keys, const char *key) {
  snprintf(keys->name, sizeof keys->name, "%s.%s", keys->arch, key);
  return keys->name;
}

bool em_keys_has(em_keys *keys, const char *key) {
  em_gguf_entry entry;
  return em_gguf_find_key(keys->gguf, em_keys_name(keys, key), &entry);
}

static em_status check_range(em_keys *keys, double value, double min, double max, em_error *error) {
  if (!(value >= min && value <= max))
    return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is %.10g, outside %.10g to %.10g", keys->name, value, min,
                   max);
  return EM_OK;
}

static em_status read_rule(em_keys *keys, const em_key_rule *rule, em_hparams *out, em_error *error) {
  const char *name = em_keys_name(keys, rule->key);
  void *field = (char *)out + rule->offset;
  uint32_t whole;
  float real;
  bool truth;
  switch (rule->kind) {
  case EM_KEY_U32:
    if (!em_gguf_get_u32(keys->gguf, name, &whole))
      return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no whole number that fits 32 bits", name);
    memcpy(field, &whole, sizeof whole);
    return check_range(keys, whole, rule->min, rule->max, error);
  case EM_KEY_F32:
    if (!em_gguf_get_f32(keys->gguf, name, &real))
      return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no real number", name);
    memcpy(field, &real, sizeof real);
    return check_range(keys, (double)real, rule->min, rule->max, error);
  case EM_KEY_BOOL:
    if (!em_gguf_get_bool(keys->gguf, name, &truth))
      return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is neither true nor false", name);
    memcpy(field, &truth, sizeof truth);
    return EM_OK;
  }
  return EM_OK;
}

em_status em_keys_read(em_keys *keys, em_key_group group, em_hparams *out, em_error *error) {
  for (size_t i = 0; i < group.n; i++) {
    if (!em_keys_has(keys, group.rules[i].key)) {
      if (group.rules[i].required)
        return em_fail(error, EM_ERR_FORMAT, "the model has no '%s'", keys->name);
      continue;
    }
    em_status status = read_rule(keys, &group.rules[i], out, error);
    if (status != EM_OK)
      return status;
  }
  return EM_OK;
}

em_status em_keys_per_layer(em_keys *keys, const char *key, size_t offset, bool none_is_legal, uint32_t max,
                            em_hparams *out, em_error *error) {
  em_gguf_entry entry;
  const char *name = em_keys_name(keys, key);
  if (!em_gguf_find_key(keys->gguf, name, &entry))
    return EM_OK;
  const int32_t *items = NULL;
  size_t n_items = 0;
  uint32_t scalar = 0;
  if (entry.type == EM_GGUF_ARRAY) {
    if (!em_gguf_get_i32s(keys->gguf, name, &items, &n_items))
      return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no array of whole numbers", name);
    if (n_items != keys->n_blocks)
      return em_fail(error, EM_ERR_FORMAT, "the model's '%s' has %zu items for %u layers", name, n_items,
                     keys->n_blocks);
  } else if (!em_gguf_get_u32(keys->gguf, name, &scalar)) {
    return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no whole number that fits 32 bits", name);
  }
  for (uint32_t i = 0; i < out->n_layers; i++) {
    double value = items ? (double)items[i] : (double)scalar;
    em_status status = check_range(keys, value, none_is_legal ? 0 : 1, max, error);
    if (status != EM_OK)
      return status;
    uint32_t whole = items ? (uint32_t)items[i] : scalar;
    memcpy((char *)&out->layers[i] + offset, &whole, sizeof whole);
  }
  return EM_OK;
}

em_status em_keys_pattern(em_keys *keys, const char *key, em_pattern *out, em_error *error) {
  em_gguf_entry entry;
  size_t n = 0;
  const char *name = em_keys_name(keys, key);
  if (!em_gguf_find_key(keys->gguf, name, &entry))
    return EM_OK;
  if (entry.type == EM_GGUF_ARRAY) {
    if (!em_gguf_get_bools(keys->gguf, name, &out->items, &n))
      return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no array of truths", name);
    if (n != keys->n_blocks)
      return em_fail(error, EM_ERR_FORMAT, "the model's '%s' has %zu items for %u layers", name, n, keys->n_blocks);
    return EM_OK;
  }
  if (!em_gguf_get_u32(keys->gguf, name, &out->period))
    return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is neither a whole number nor an array", name);
  return check_range(keys, out->period, 0, EM_MODEL_MAX_LAYERS, error);
}

bool em_pattern_at(const em_pattern *pattern, uint32_t layer) {
  if (pattern->items)
    return pattern->items[layer] != 0;
  return pattern->period > 0 && layer % pattern->period < pattern->period - 1;
}
