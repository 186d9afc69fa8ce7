/* SPDX-License-Identifier: GPL-3.0-or-later */
/* chatglm: ChatGLM 3 and GLM-4 9B chat. Query, key and value are one tensor with a bias, and gate and up are one
 * tensor.
 *
 * Has caused bugs:
 * - Half of a head rotates, by neighbouring pairs. */
#include "model/internal.h"

static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {&em_rules_attn_norm, &em_rules_qkv,       &em_rules_attn_output,
                                             &em_rules_ffn_norm,  &em_rules_ffn_fused, NULL};

const em_family em_family_chatglm = {
    .name = "chatglm",
    .rope = EM_ROPE_NORM,
    .globals = globals,
    .layer = layer,
    .build = em_build_transformer,
};
