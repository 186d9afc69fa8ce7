/* SPDX-License-Identifier: GPL-3.0-or-later */
/* qwen3next: Qwen3-Next and Qwen3-Coder-Next. Three of four layers are gated delta nets, the others attention with
 * gated heads; all have experts with a gated shared one.
 *
 * Has caused bugs:
 * - attn_q is twice as long as the heads: for each head its query and then its gate, not all queries and all gates.
 * - Value head h takes key head h / (value heads / key heads); qwen35 counts otherwise.
 * - ssm_ba holds for each key head the betas and then the alphas of its value heads.
 * - post_attention_norm is the norm before the experts, whatever its name.
 * - The first files have one tensor ssm_in in place of attn_qkv and attn_gate, ordered by key heads. */
#include "model/internal.h"

static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {&em_rules_attn_norm,
                                             &em_rules_gated_qkv,
                                             &em_rules_head_norms,
                                             &em_rules_attn_output,
                                             &em_rules_recurrent,
                                             &em_rules_attn_post_as_ffn_norm,
                                             &em_rules_experts,
                                             &em_rules_shared_expert,
                                             &em_rules_shared_expert_gate,
                                             NULL};

static const em_key_group *const keys[] = {&em_keys_recurrent, &em_keys_shared_ff, NULL};

static void defaults(em_hparams *hparams) {
  hparams->recurrent_period = 4;
}

static em_status shape(em_keys *names, em_hparams *hparams, em_error *error) {
  em_model_mark_shared(hparams);
  return em_recurrent_shape(names, hparams, error);
}

const em_family em_family_qwen3next = {
    .name = "qwen3next",
    .has = EM_HAS_EXPERTS | EM_HAS_ONLY_EXPERTS | EM_HAS_NORMED_ROUTES | EM_HAS_NEXTN,
    .rope = EM_ROPE_NEOX,
    .keys = keys,
    .globals = globals,
    .layer = layer,
    .defaults = defaults,
    .shape = shape,
    .build = em_build_transformer,
};
