/* SPDX-License-Identifier: GPL-3.0-or-later */
/* qwen2: Qwen 2 and 2.5. The llama layout with biases on query, key and value; the halves of a head rotate.
 *
 * Has caused bugs:
 * - The biases of Q and K are large; a build that drops them loads and talks nonsense.
 * - Small sizes have no head of their own (tied to token_embd), large ones have.
 * - A key attention.sliding_window may stand in the file; the models do not use it. */
#include "model/internal.h"

static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {&em_rules_attn_norm, &em_rules_qkv, &em_rules_attn_output,
                                             &em_rules_ffn_norm,  &em_rules_ffn, NULL};

const em_family em_family_qwen2 = {
    .name = "qwen2",
    .rope = EM_ROPE_NEOX,
    .globals = globals,
    .layer = layer,
    .build = em_build_transformer,
};
