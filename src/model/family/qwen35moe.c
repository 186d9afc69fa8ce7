/* SPDX-License-Identifier: GPL-3.0-or-later */
/* qwen35moe: Qwen 3.5 with experts. Layers as in qwen35, experts as in qwen3next.
 *
 * Has caused bugs: those of qwen35 and qwen3next. */
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
  hparams->has_tiled_heads = true;
}

static em_status shape(em_keys *names, em_hparams *hparams, em_error *error) {
  em_model_mark_shared(hparams);
  return em_recurrent_shape(names, hparams, error);
}

const em_family em_family_qwen35moe = {
    .name = "qwen35moe",
    .has = EM_HAS_EXPERTS | EM_HAS_ONLY_EXPERTS | EM_HAS_NORMED_ROUTES | EM_HAS_NEXTN,
    .rope = EM_ROPE_NEOX,
    .keys = keys,
    .globals = globals,
    .layer = layer,
    .defaults = defaults,
    .shape = shape,
    .build = em_build_transformer,
};
