/* SPDX-License-Identifier: GPL-3.0-or-later */
/* glm4moe: GLM-4.5, 4.6 and 4.7. The first layers are dense, the others have experts and a shared one without a gate.
 *
 * Has caused bugs:
 * - post_attention_norm is the norm before the feed-forward part, other than in glm4.
 * - exp_probs_b only chooses experts and is no part of their weights.
 * - Some sizes norm the heads of query and key, some do not.
 * - block_count counts the blocks that predict further tokens. */
#include "model/internal.h"

static const em_tensor_rule own_rules[] = {
    {EM_SLOT_ATTN_Q_NORM, "attn_q_norm.weight", EM_DIM_HEAD, EM_DIM_ONE, EM_OPTIONAL, EM_USE_VECTOR},
    {EM_SLOT_ATTN_K_NORM, "attn_k_norm.weight", EM_DIM_HEAD, EM_DIM_ONE, EM_OPTIONAL, EM_USE_VECTOR},
};
static const em_rule_group own = {EM_RULES(own_rules)};
static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {&em_rules_attn_norm,
                                             &em_rules_qkv,
                                             &own,
                                             &em_rules_attn_output,
                                             &em_rules_attn_post_as_ffn_norm,
                                             &em_rules_ffn,
                                             &em_rules_experts,
                                             &em_rules_shared_expert,
                                             NULL};

static em_status shape(em_keys *keys, em_hparams *hparams, em_error *error) {
  em_model_mark_shared(hparams);
  return EM_OK;
}

const em_family em_family_glm4moe = {
    .name = "glm4moe",
    .has = EM_HAS_EXPERTS | EM_HAS_NEXTN,
    .rope = EM_ROPE_NEOX,
    .gating = EM_GATING_SIGMOID,
    .globals = globals,
    .layer = layer,
    .shape = shape,
    .build = em_build_transformer,
};
