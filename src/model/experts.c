/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A mixture of experts: a router chooses some of many feed-forward parts for each token and weights what they give; a
 * shared expert beside them takes every token. */
#include "model/builder.h"

#define GATE_UP "ffn_gate_up_exps.weight", EM_DIM_EMBD, EM_DIM_TWO_EXPERT_FF, EM_OPTIONAL, EM_USE_STACK, EM_DIM_EXPERTS

static const em_tensor_rule rules[] = {
    {EM_SLOT_ROUTER, "ffn_gate_inp.weight", EM_DIM_EMBD, EM_DIM_EXPERTS, EM_NEEDED, EM_USE_MATRIX},
    {EM_SLOT_ROUTER_SELECT_BIAS, "exp_probs_b.bias", EM_DIM_EXPERTS, EM_DIM_ONE, EM_OPTIONAL, EM_USE_VECTOR},
    {EM_SLOT_GATE_EXPS, "ffn_gate_exps.weight", EM_DIM_EMBD, EM_DIM_EXPERT_FF, EM_ALTERNATIVE, EM_USE_STACK,
     EM_DIM_EXPERTS},
    {EM_SLOT_UP_EXPS, "ffn_up_exps.weight", EM_DIM_EMBD, EM_DIM_EXPERT_FF, EM_ALTERNATIVE, EM_USE_STACK,
     EM_DIM_EXPERTS},
    {EM_SLOT_GATE_EXPS, GATE_UP, .view = {EM_DIM_TWO_EXPERT_FF, {EM_DIM_NONE}, {EM_DIM_EXPERT_FF}}},
    {EM_SLOT_UP_EXPS, GATE_UP, .view = {EM_DIM_TWO_EXPERT_FF, {EM_DIM_EXPERT_FF}, {EM_DIM_EXPERT_FF}}},
    {EM_SLOT_DOWN_EXPS, "ffn_down_exps.weight", EM_DIM_EXPERT_FF, EM_DIM_EMBD, EM_NEEDED, EM_USE_STACK, EM_DIM_EXPERTS},
};
const em_rule_group em_rules_experts = {EM_RULES(rules), .needs = EM_LAYER_EXPERTS};

static const em_tensor_rule shared_rules[] = {
    {EM_SLOT_SHARED_GATE, "ffn_gate_shexp.weight", EM_DIM_EMBD, EM_DIM_SHARED_FF, EM_NEEDED, EM_USE_MATRIX},
    {EM_SLOT_SHARED_UP, "ffn_up_shexp.weight", EM_DIM_EMBD, EM_DIM_SHARED_FF, EM_NEEDED, EM_USE_MATRIX},
    {EM_SLOT_SHARED_DOWN, "ffn_down_shexp.weight", EM_DIM_SHARED_FF, EM_DIM_EMBD, EM_NEEDED, EM_USE_MATRIX},
};
const em_rule_group em_rules_shared_expert = {EM_RULES(shared_rules), .needs = EM_LAYER_SHARED};

static const em_tensor_rule shared_gate_rules[] = {
    {EM_SLOT_SHARED_GATE_INP, "ffn_gate_inp_shexp.weight", EM_DIM_EMBD, EM_DIM_ONE, EM_NEEDED, EM_USE_MATRIX},
};
const em_rule_group em_rules_shared_expert_gate = {EM_RULES(shared_gate_rules), .needs = EM_LAYER_SHARED};

void em_model_mark_shared(em_hparams *hparams) {
  for (uint32_t i = 0; i < hparams->n_layers; i++)
    if (hparams->n_ff_shared > 0 && (hparams->layers[i].parts & EM_LAYER_EXPERTS))
      hparams->layers[i].parts |= EM_LAYER_SHARED;
}

void em_build_routed(const em_model *model, em_builder *builder, int32_t layer, em_routed what) {
  const em_hparams *hparams = &model->hparams;
  em_stage_router router = {
      .x = what.x,
      .norm = em_builder_weights(builder, layer, what.router_norm),
      .norm_eps = hparams->norm_eps,
      .w = em_builder_weights(builder, layer, EM_SLOT_ROUTER),
      .bias = em_builder_weights(builder, layer, EM_SLOT_ROUTER_BIAS),
      .select_bias = em_builder_weights(builder, layer, EM_SLOT_ROUTER_SELECT_BIAS),
      .logit_scale = what.logit_scale,
      .gating = hparams->gating,
      .n_used = hparams->n_experts_used,
      .n_groups = hparams->n_expert_groups,
      .n_groups_used = hparams->n_expert_groups_used,
      .normalise = hparams->expert_weights_norm,
      .scale = (hparams->expert_weights_scale > 0 ? hparams->expert_weights_scale : 1) * hparams->residual_scale,
      .routes = em_builder_value(builder, 2ull * hparams->n_experts_used, false),
  };
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_ROUTER, .layer = layer, .label = "router", .router = router});

  static const em_tensor_slot parts[2] = {EM_SLOT_GATE_EXPS, EM_SLOT_UP_EXPS};
  static const em_tensor_slot biases[2] = {EM_SLOT_GATE_EXPS_BIAS, EM_SLOT_UP_EXPS_BIAS};
  em_stage_experts experts = {
      .x = what.x,
      .norm = em_builder_weights(builder, layer, what.norm),
      .norm_eps = hparams->norm_eps,
      .routes = router.routes,
      .n_parts = 2,
      .activation = em_model_activation(model),
      .out = em_builder_value(builder, (uint64_t)hparams->n_experts_used * hparams->n_ff_expert, false),
  };
  for (int i = 0; i < 2; i++) {
    experts.w[i] = em_builder_weights(builder, layer, parts[i]);
    experts.w_scale[i] = em_builder_scale(builder, layer, parts[i]);
    experts.bias[i] = em_builder_weights(builder, layer, biases[i]);
  }
  em_builder_emit(builder,
                  (em_stage){.kind = EM_STAGE_EXPERTS, .layer = layer, .label = "experts", .experts = experts});

  em_stage_experts_sum sum = {
      .x = experts.out,
      .routes = router.routes,
      .w = em_builder_weights(builder, layer, EM_SLOT_DOWN_EXPS),
      .w_scale = em_builder_scale(builder, layer, EM_SLOT_DOWN_EXPS),
      .bias = em_builder_weights(builder, layer, EM_SLOT_DOWN_EXPS_BIAS),
      .residual = what.residual,
      .out = what.out,
  };
  em_builder_emit(builder,
                  (em_stage){.kind = EM_STAGE_EXPERTS_SUM, .layer = layer, .label = "experts-sum", .experts_sum = sum});
}

/* The hidden row of the shared expert, times its gate where it has one. */
static em_value build_shared(const em_model *model, em_builder *builder, int32_t layer, em_value x) {
  em_stage_linear linear = {
      .x = x,
      .norm = em_builder_weights(builder, layer, EM_SLOT_FFN_NORM),
      .norm_eps = model->hparams.norm_eps,
      .activation = em_model_activation(model),
      .residual = EM_NO_VALUE,
      .out = em_builder_value(builder, model->hparams.n_ff_shared, false),
  };
  em_builder_part(builder, &linear, layer, EM_SLOT_SHARED_GATE, EM_N_SLOTS);
  em_builder_part(builder, &linear, layer, EM_SLOT_SHARED_UP, EM_N_SLOTS);
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_LINEAR, .layer = layer, .label = "shared", .linear = linear});
  if (!em_builder_weights(builder, layer, EM_SLOT_SHARED_GATE_INP))
    return linear.out;

  em_stage_linear gate_inp = {
      .x = x,
      .norm = linear.norm,
      .norm_eps = linear.norm_eps,
      .residual = EM_NO_VALUE,
      .out = em_builder_value(builder, 1, false),
  };
  em_builder_part(builder, &gate_inp, layer, EM_SLOT_SHARED_GATE_INP, EM_N_SLOTS);
  em_builder_emit(builder,
                  (em_stage){.kind = EM_STAGE_LINEAR, .layer = layer, .label = "shared-gate", .linear = gate_inp});
  em_stage_gate gate = {
      .x = linear.out, .gate = gate_inp.out, .is_scalar = true, .activation = EM_ACT_SIGMOID, .out = linear.out};
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_GATE, .layer = layer, .label = "shared-gated", .gate = gate});
  return linear.out;
}

void em_build_experts(const em_model *model, em_builder *builder, int32_t layer, em_value x) {
  bool shared = model->hparams.layers[layer].parts & EM_LAYER_SHARED;
  /* The shared expert takes x as it is before the others have added to it. */
  em_value hidden = shared ? build_shared(model, builder, layer, x) : EM_NO_VALUE;
  em_build_routed(
      model, builder, layer,
      (em_routed){.x = x, .norm = EM_SLOT_FFN_NORM, .router_norm = EM_SLOT_FFN_NORM, .residual = x, .out = x});
  em_output_slots slots = {EM_SLOT_SHARED_DOWN, EM_N_SLOTS, EM_N_SLOTS, EM_N_SLOTS};
  if (shared)
    em_build_output(model, builder, layer, "shared-down", slots, hidden, x);
}
