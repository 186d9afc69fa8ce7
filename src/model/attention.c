/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Attention over a KV cache: the tensors it is made of, and the stages from the row to its heads' values. */
#include "model/builder.h"

static const em_tensor_rule norm_rules[] = {
    {EM_SLOT_ATTN_NORM, "attn_norm.weight", EM_DIM_EMBD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
};
const em_rule_group em_rules_attn_norm = {EM_RULES(norm_rules)};

/* Query, key and value come as three tensors or as one, and so do their biases. */
static em_status check_qkv(const em_model *model, int32_t layer, em_error *error) {
  static const em_tensor_slot parts[3] = {EM_SLOT_ATTN_Q, EM_SLOT_ATTN_K, EM_SLOT_ATTN_V};
  static const em_tensor_slot biases[3] = {EM_SLOT_ATTN_Q_BIAS, EM_SLOT_ATTN_K_BIAS, EM_SLOT_ATTN_V_BIAS};
  static const char letters[3] = {'q', 'k', 'v'};
  unsigned n_parts = 0, n_biases = 0;
  for (int i = 0; i < 3; i++) {
    n_parts += em_model_bound(model, layer, parts[i]) >= 0;
    n_biases += em_model_bound(model, layer, biases[i]) >= 0;
  }
  bool fused = em_model_bound(model, layer, EM_SLOT_ATTN_QKV) >= 0;
  bool fused_bias = em_model_bound(model, layer, EM_SLOT_ATTN_QKV_BIAS) >= 0;
  if (fused ? n_parts + n_biases > 0 : fused_bias)
    return em_fail(error, EM_ERR_FORMAT, "layer %d has query, key and value both as one tensor and as three", layer);
  for (int i = 0; i < 3 && !fused; i++) {
    if (em_model_bound(model, layer, parts[i]) < 0)
      return em_fail(error, EM_ERR_FORMAT, "the model has no tensor 'blk.%d.attn_%c.weight'", layer, letters[i]);
    if (n_biases > 0 && em_model_bound(model, layer, biases[i]) < 0)
      return em_fail(error, EM_ERR_FORMAT, "the model has no tensor 'blk.%d.attn_%c.bias'", layer, letters[i]);
  }
  return EM_OK;
}

static const em_tensor_rule qkv_rules[] = {
    {EM_SLOT_ATTN_QKV, "attn_qkv.weight", EM_DIM_EMBD, EM_DIM_QKV, EM_OPTIONAL, EM_USE_MATRIX},
    {EM_SLOT_ATTN_QKV_BIAS, "attn_qkv.bias", EM_DIM_QKV, EM_DIM_ONE, EM_OPTIONAL, EM_USE_VECTOR},
    {EM_SLOT_ATTN_Q, "attn_q.weight", EM_DIM_EMBD, EM_DIM_Q, EM_OPTIONAL, EM_USE_MATRIX},
    {EM_SLOT_ATTN_K, "attn_k.weight", EM_DIM_EMBD, EM_DIM_K, EM_OPTIONAL, EM_USE_MATRIX},
    {EM_SLOT_ATTN_V, "attn_v.weight", EM_DIM_EMBD, EM_DIM_V, EM_OPTIONAL, EM_USE_MATRIX},
    {EM_SLOT_ATTN_Q_BIAS, "attn_q.bias", EM_DIM_Q, EM_DIM_ONE, EM_OPTIONAL, EM_USE_VECTOR},
    {EM_SLOT_ATTN_K_BIAS, "attn_k.bias", EM_DIM_K, EM_DIM_ONE, EM_OPTIONAL, EM_USE_VECTOR},
    {EM_SLOT_ATTN_V_BIAS, "attn_v.bias", EM_DIM_V, EM_DIM_ONE, EM_OPTIONAL, EM_USE_VECTOR},
};
const em_rule_group em_rules_qkv = {EM_RULES(qkv_rules), .needs = EM_LAYER_ATTENTION, .check = check_qkv};

#define GATED_QUERY "attn_q.weight", EM_DIM_EMBD, EM_DIM_TWO_Q, EM_NEEDED, EM_USE_MATRIX

static const em_tensor_rule gated_qkv_rules[] = {
    {EM_SLOT_ATTN_Q, GATED_QUERY, .view = {EM_DIM_TWO_HEAD, {EM_DIM_NONE}, {EM_DIM_HEAD}}},
    {EM_SLOT_ATTN_GATE, GATED_QUERY, .view = {EM_DIM_TWO_HEAD, {EM_DIM_HEAD}, {EM_DIM_HEAD}}},
    {EM_SLOT_ATTN_K, "attn_k.weight", EM_DIM_EMBD, EM_DIM_K, EM_NEEDED, EM_USE_MATRIX},
    {EM_SLOT_ATTN_V, "attn_v.weight", EM_DIM_EMBD, EM_DIM_V, EM_NEEDED, EM_USE_MATRIX},
};
const em_rule_group em_rules_gated_qkv = {EM_RULES(gated_qkv_rules), .needs = EM_LAYER_ATTENTION};

static const em_tensor_rule head_norm_rules[] = {
    {EM_SLOT_ATTN_Q_NORM, "attn_q_norm.weight", EM_DIM_HEAD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_ATTN_K_NORM, "attn_k_norm.weight", EM_DIM_HEAD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
};
const em_rule_group em_rules_head_norms = {EM_RULES(head_norm_rules), .needs = EM_LAYER_ATTENTION};

static const em_tensor_rule output_rules[] = {
    {EM_SLOT_ATTN_OUTPUT, "attn_output.weight", EM_DIM_O, EM_DIM_EMBD, EM_NEEDED, EM_USE_MATRIX},
    {EM_SLOT_ATTN_OUTPUT_BIAS, "attn_output.bias", EM_DIM_EMBD, EM_DIM_ONE, EM_OPTIONAL, EM_USE_VECTOR},
};
const em_rule_group em_rules_attn_output = {EM_RULES(output_rules), .needs = EM_LAYER_ATTENTION};

static const em_tensor_rule post_norm_rules[] = {
    {EM_SLOT_ATTN_POST_NORM, "post_attention_norm.weight", EM_DIM_EMBD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_FFN_POST_NORM, "post_ffw_norm.weight", EM_DIM_EMBD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
};
const em_rule_group em_rules_post_norms = {EM_RULES(post_norm_rules)};

const em_output_slots em_attn_output_slots = {EM_SLOT_ATTN_OUTPUT, EM_SLOT_ATTN_OUTPUT_BIAS, EM_SLOT_ATTN_POST_NORM,
                                              EM_N_SLOTS};

em_status em_window_shape(em_keys *keys, em_hparams *hparams, uint32_t period, em_error *error) {
  em_pattern pattern = {.period = period};
  em_status status = em_keys_pattern(keys, "attention.sliding_window_pattern", &pattern, error);
  for (uint32_t i = 0; i < hparams->n_layers && status == EM_OK; i++)
    hparams->layers[i].window = em_pattern_at(&pattern, i) ? hparams->window : 0;
  return status;
}

/* The factors of a layer's frequencies: one table for all contexts, or one for long and one for short ones. */
static const em_weights *rope_factors(const em_model *model, const em_builder *builder, const em_layer *layer) {
  if (!(layer->parts & EM_LAYER_ROPE_FACTORS))
    return NULL;
  bool is_long = em_builder_context(builder) > model->hparams.rope_n_original;
  const em_weights *factors = em_builder_weights(builder, -1, is_long ? EM_SLOT_ROPE_LONG : EM_SLOT_ROPE_SHORT);
  return factors ? factors : em_builder_weights(builder, -1, EM_SLOT_ROPE_FREQS);
}

void em_build_rope_attention(const em_model *model, em_builder *builder, int32_t number, em_rope_attention what) {
  const em_hparams *hparams = &model->hparams;
  const em_layer *layer = &hparams->layers[number];
  uint32_t first, n;
  em_model_layers_of(model, em_builder_blocks(builder), &first, &n);
  uint32_t kv_layer = model->kv_index[layer->kv_layer] - model->kv_index[first];
  em_stage_rope_store store = {
      .qkv = what.qkv,
      .kv_layer = kv_layer,
      .n_heads = layer->n_heads,
      .source = what.source,
      .q_norm = em_builder_weights(builder, number, EM_SLOT_ATTN_Q_NORM),
      .k_norm = what.source == EM_KV_FROM_NONE ? NULL : em_builder_weights(builder, number, what.k_norm),
      .norm_v = what.norm_v,
      .norm_eps = hparams->norm_eps,
      .rope = layer->rope,
      .q_log_scale = hparams->q_log_scale,
      .q_log_period = hparams->rope_n_original,
  };
  store.rope.factors = rope_factors(model, builder, layer);
  em_builder_emit(builder,
                  (em_stage){.kind = EM_STAGE_ROPE_STORE, .layer = number, .label = "rope-store", .rope_store = store});
  em_stage_attention attention = {
      .qkv = what.qkv,
      .out = what.out,
      .kv_layer = kv_layer,
      .n_heads = layer->n_heads,
      .scale = layer->scale,
      .window = layer->window,
      .softcap = hparams->attention_softcap,
      .sinks = em_builder_weights(builder, number, EM_SLOT_ATTN_SINKS),
  };
  em_builder_emit(
      builder, (em_stage){.kind = EM_STAGE_ATTENTION, .layer = number, .label = "attention", .attention = attention});
}

em_value em_build_heads(const em_model *model, em_builder *builder, int32_t number, em_value x) {
  const em_hparams *hparams = &model->hparams;
  const em_layer *layer = &hparams->layers[number];
  uint64_t q_width = (uint64_t)layer->n_heads * layer->k_dim, k_width = (uint64_t)layer->n_kv_heads * layer->k_dim;
  uint64_t width = q_width;
  em_rope_attention what = {.k_norm = EM_SLOT_ATTN_K_NORM,
                            .norm_v = hparams->norms_values && !(layer->parts & EM_LAYER_BORROWS_KV)};

  em_stage_linear linear = {
      .x = x,
      .norm = em_builder_weights(builder, number, EM_SLOT_ATTN_NORM),
      .norm_kind = model->family->norm,
      .norm_eps = hparams->norm_eps,
      .residual = EM_NO_VALUE,
  };
  if (em_builder_weights(builder, number, EM_SLOT_ATTN_QKV)) {
    em_builder_part(builder, &linear, number, EM_SLOT_ATTN_QKV, EM_SLOT_ATTN_QKV_BIAS);
    width += k_width + (uint64_t)layer->n_kv_heads * layer->v_dim;
  } else {
    em_builder_part(builder, &linear, number, EM_SLOT_ATTN_Q, EM_SLOT_ATTN_Q_BIAS);
    what.source = EM_KV_FROM_NONE;
    if (!(layer->parts & EM_LAYER_BORROWS_KV)) {
      em_builder_part(builder, &linear, number, EM_SLOT_ATTN_K, EM_SLOT_ATTN_K_BIAS);
      width += k_width;
      what.source = EM_KV_FROM_K;
      if (em_builder_weights(builder, number, EM_SLOT_ATTN_V)) {
        em_builder_part(builder, &linear, number, EM_SLOT_ATTN_V, EM_SLOT_ATTN_V_BIAS);
        width += (uint64_t)layer->n_kv_heads * layer->v_dim;
        what.source = EM_KV_FROM_ROW;
      }
    }
  }
  uint64_t gate_offset = width;
  bool is_gated = em_builder_weights(builder, number, EM_SLOT_ATTN_GATE);
  if (is_gated) {
    em_builder_part(builder, &linear, number, EM_SLOT_ATTN_GATE, EM_N_SLOTS);
    width += q_width;
  }
  what.qkv = linear.out = em_builder_value(builder, width, false);
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_LINEAR, .layer = number, .label = "qkv", .linear = linear});

  what.out = em_builder_value(builder, (uint64_t)layer->n_heads * layer->v_dim, false);
  em_build_rope_attention(model, builder, number, what);
  if (is_gated) {
    em_stage_gate gate = {.x = what.out,
                          .gate = what.qkv,
                          .gate_offset = (uint32_t)gate_offset,
                          .activation = EM_ACT_SIGMOID,
                          .out = what.out};
    em_builder_emit(builder, (em_stage){.kind = EM_STAGE_GATE, .layer = number, .label = "attn-gate", .gate = gate});
  }
  return what.out;
}
