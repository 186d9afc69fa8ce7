/* SPDX-License-Identifier: GPL-3.0-or-later */
/* minimax-m2: experts in every layer, chosen by sigmoids with a bias that only chooses.
 *
 * Has caused bugs:
 * - All heads of the query are normed as one row, and so are those of the key.
 * - feed_forward_length is the width of one expert.
 * - Half of a head rotates. */
#include "model/internal.h"

static const em_tensor_rule own_rules[] = {
    {EM_SLOT_ATTN_Q_NORM, "attn_q_norm.weight", EM_DIM_Q, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_ATTN_K_NORM, "attn_k_norm.weight", EM_DIM_K, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
};
static const em_rule_group own = {EM_RULES(own_rules)};
static const em_rule_group *const globals[] = {&em_rules_own_head, NULL};
static const em_rule_group *const layer[] = {
    &em_rules_attn_norm, &em_rules_qkv,     &own, &em_rules_attn_output, &em_rules_ffn_norm,
    &em_rules_ffn,       &em_rules_experts, NULL};

const em_family em_family_minimax_m2 = {
    .name = "minimax-m2",
    .has = EM_HAS_EXPERTS | EM_HAS_NORMED_ROUTES | EM_HAS_WIDE_EXPERTS,
    .rope = EM_ROPE_NEOX,
    .gating = EM_GATING_SIGMOID,
    .globals = globals,
    .layer = layer,
    .build = em_build_transformer,
};
