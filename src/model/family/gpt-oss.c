/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gpt-oss: every second layer has a sliding window, the heads have sinks, and there are biases everywhere.
 *
 * Has caused bugs:
 * - A sink is one more score in the softmax; it is not scaled and has no value.
 * - The best experts are chosen by their logits, and the softmax goes over those chosen only.
 * - Gate and up are clamped before they are joined, and 1 is added to up.
 * - The first layer has the window, the second has none; YaRN holds for both.
 * - post_attention_norm is the norm before the experts. */
#include "model/internal.h"

static const em_tensor_rule own_rules[] = {
    {EM_SLOT_ATTN_SINKS, "attn_sinks.weight", EM_DIM_HEADS, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_ROUTER_BIAS, "ffn_gate_inp.bias", EM_DIM_EXPERTS, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_GATE_EXPS_BIAS, "ffn_gate_exps.bias", EM_DIM_EXPERT_FF, EM_DIM_EXPERTS, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_UP_EXPS_BIAS, "ffn_up_exps.bias", EM_DIM_EXPERT_FF, EM_DIM_EXPERTS, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_DOWN_EXPS_BIAS, "ffn_down_exps.bias", EM_DIM_EMBD, EM_DIM_EXPERTS, EM_NEEDED, EM_USE_VECTOR},
};
static const em_rule_group own = {EM_RULES(own_rules)};
static const em_rule_group *const globals[] = {&em_rules_own_head, NULL};
static const em_rule_group *const layer[] = {&em_rules_attn_norm,
                                             &em_rules_qkv,
                                             &em_rules_attn_output,
                                             &em_rules_attn_post_as_ffn_norm,
                                             &em_rules_experts,
                                             &own,
                                             NULL};

static const em_key_group *const keys[] = {&em_keys_window, NULL};

static em_status shape(em_keys *names, em_hparams *hparams, em_error *error) {
  return em_window_shape(names, hparams, 2, error);
}

const em_family em_family_gpt_oss = {
    .name = "gpt-oss",
    .has = EM_HAS_EXPERTS | EM_HAS_ONLY_EXPERTS | EM_HAS_WIDE_EXPERTS,
    .rope = EM_ROPE_NEOX,
    .activation = EM_ACT_SWIGLU_OAI,
    .gating = EM_GATING_SOFTMAX_SELECTED,
    .keys = keys,
    .globals = globals,
    .layer = layer,
    .shape = shape,
    .build = em_build_transformer,
};
