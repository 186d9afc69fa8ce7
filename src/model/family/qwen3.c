/* SPDX-License-Identifier: GPL-3.0-or-later */
/* qwen3: dense Qwen 3. Each head of query and key is normed before it rotates; the halves of a head rotate.
 *
 * Has caused bugs:
 * - A head's length is 128 whatever embedding_length / head_count says: key_length decides.
 * - The norm comes before the rotation and works on each head alone, not on the whole row. */
#include "model/internal.h"

static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {
    &em_rules_attn_norm, &em_rules_qkv, &em_rules_head_norms, &em_rules_attn_output, &em_rules_ffn_norm,
    &em_rules_ffn,       NULL};

const em_family em_family_qwen3 = {
    .name = "qwen3",
    .rope = EM_ROPE_NEOX,
    .globals = globals,
    .layer = layer,
    .build = em_build_transformer,
};
