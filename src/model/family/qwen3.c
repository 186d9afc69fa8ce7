/* SPDX-License-Identifier: GPL-3.0-or-later */
/* qwen3: dense Qwen 3. Each head of query and key is normed before it rotates; the halves of a head rotate.
 *
 * Has caused bugs:
 * - A head's length is 128 whatever embedding_length / head_count says: key_length decides.
 * - The norm comes before the rotation and works on each head alone, not on the whole row. */
#include "model/internal.h"

static const em_tensor_rule own_layer[] = {
    {EM_SLOT_ATTN_Q_NORM, "attn_q_norm.weight", EM_DIM_HEAD, EM_DIM_ONE, false, EM_USE_VECTOR},
    {EM_SLOT_ATTN_K_NORM, "attn_k_norm.weight", EM_DIM_HEAD, EM_DIM_ONE, false, EM_USE_VECTOR},
};

static const em_rule_group own_layer_group = EM_RULES(own_layer);
static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {&em_rules_attention, &em_rules_ffn, &own_layer_group, NULL};

static em_value build(const em_model *model, em_builder *builder) {
  return em_build_dense(model, builder, EM_ROPE_NEOX);
}

const em_family em_family_qwen3 = {
    .name = "qwen3",
    .globals = globals,
    .layer = layer,
    .build = build,
};
