/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The dense feed-forward part: down(act(gate(x), up(x))). */
#include "model/builder.h"

static const em_tensor_rule norm_rules[] = {
    {EM_SLOT_FFN_NORM, "ffn_norm.weight", EM_DIM_EMBD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
};
const em_rule_group em_rules_ffn_norm = {EM_RULES(norm_rules)};

static const em_tensor_rule attn_post_rules[] = {
    {EM_SLOT_FFN_NORM, "post_attention_norm.weight", EM_DIM_EMBD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
};
const em_rule_group em_rules_attn_post_as_ffn_norm = {EM_RULES(attn_post_rules)};

static const em_tensor_rule rules[] = {
    {EM_SLOT_FFN_GATE, "ffn_gate.weight", EM_DIM_EMBD, EM_DIM_FF, EM_NEEDED, EM_USE_MATRIX},
    {EM_SLOT_FFN_UP, "ffn_up.weight", EM_DIM_EMBD, EM_DIM_FF, EM_NEEDED, EM_USE_MATRIX},
    {EM_SLOT_FFN_DOWN, "ffn_down.weight", EM_DIM_FF, EM_DIM_EMBD, EM_NEEDED, EM_USE_MATRIX},
};
const em_rule_group em_rules_ffn = {EM_RULES(rules), .needs = EM_LAYER_FEED_FORWARD};

#define GATE_UP "ffn_up.weight", EM_DIM_EMBD, EM_DIM_TWO_FF, EM_NEEDED, EM_USE_MATRIX

static const em_tensor_rule fused_rules[] = {
    {EM_SLOT_FFN_GATE, GATE_UP, .view = {EM_DIM_TWO_FF, {EM_DIM_NONE}, {EM_DIM_FF}}},
    {EM_SLOT_FFN_UP, GATE_UP, .view = {EM_DIM_TWO_FF, {EM_DIM_FF}, {EM_DIM_FF}}},
    {EM_SLOT_FFN_DOWN, "ffn_down.weight", EM_DIM_FF, EM_DIM_EMBD, EM_NEEDED, EM_USE_MATRIX},
};
const em_rule_group em_rules_ffn_fused = {EM_RULES(fused_rules), .needs = EM_LAYER_FEED_FORWARD};

const em_output_slots em_ffn_output_slots = {EM_SLOT_FFN_DOWN, EM_N_SLOTS, EM_SLOT_FFN_POST_NORM, EM_N_SLOTS};

em_activation em_model_activation(const em_model *model) {
  return model->family->activation == EM_ACT_NONE ? EM_ACT_SWIGLU : model->family->activation;
}

em_value em_build_hidden(const em_model *model, em_builder *builder, int32_t layer, em_value x) {
  /* Where attention stands beside this part both take the same row, by the same norm. */
  bool parallel = model->family->has & EM_HAS_PARALLEL;
  em_stage_linear linear = {
      .x = x,
      .norm = em_builder_weights(builder, layer, parallel ? EM_SLOT_ATTN_NORM : EM_SLOT_FFN_NORM),
      .norm_kind = model->family->norm,
      .norm_eps = model->hparams.norm_eps,
      .activation = em_model_activation(model),
      .residual = EM_NO_VALUE,
      .out = em_builder_value(builder, model->hparams.layers[layer].n_ff, false),
  };
  em_builder_part(builder, &linear, layer, EM_SLOT_FFN_GATE, EM_N_SLOTS);
  em_builder_part(builder, &linear, layer, EM_SLOT_FFN_UP, EM_N_SLOTS);
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_LINEAR, .layer = layer, .label = "gate-up", .linear = linear});
  return linear.out;
}
