/* SPDX-License-Identifier: GPL-3.0-or-later */
/* qwen3moe: Qwen 3 with experts. Attention as in qwen3.
 *
 * Has caused bugs:
 * - The softmax goes over all experts and the weights of the chosen ones are then divided by their sum; there is no
 *   shared expert. */
#include "model/internal.h"

static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {
    &em_rules_attn_norm, &em_rules_qkv, &em_rules_head_norms, &em_rules_attn_output,
    &em_rules_ffn_norm,  &em_rules_ffn, &em_rules_experts,    NULL};

const em_family em_family_qwen3moe = {
    .name = "qwen3moe",
    .has = EM_HAS_EXPERTS | EM_HAS_NORMED_ROUTES,
    .rope = EM_ROPE_NEOX,
    .globals = globals,
    .layer = layer,
    .build = em_build_transformer,
};
