/* SPDX-License-Identifier: GPL-3.0-or-later */
/* granite: Granite 3, dense and with experts (granitemoe). The llama layout with four factors.
 *
 * Has caused bugs:
 * - Logits are divided by logit_scale, other than in command-r.
 * - residual_scale multiplies what attention and feed-forward part add to the row, and not the row.
 * - attention.scale is not the usual one. */
#include "model/internal.h"

static const em_rule_group *const globals[] = {&em_rules_ends, &em_rules_rope_freqs, NULL};
static const em_rule_group *const layer[] = {&em_rules_attn_norm,     &em_rules_qkv, &em_rules_attn_output,
                                             &em_rules_ffn_norm,      &em_rules_ffn, &em_rules_experts,
                                             &em_rules_shared_expert, NULL};

static const em_key_rule own_rules[] = {
    {"embedding_scale", EM_KEY_F32, false, EM_KEY_FIELD(embedding_scale), 1e-6, 1e6},
    {"residual_scale", EM_KEY_F32, false, EM_KEY_FIELD(residual_scale), 1e-6, 1e6},
    {"logit_scale", EM_KEY_F32, false, EM_KEY_FIELD(logit_scale), 1e-6, 1e6},
};
static const em_key_group own_keys = EM_KEYS(own_rules);
static const em_key_group *const keys[] = {&own_keys, &em_keys_shared_ff, NULL};

static em_status shape(em_keys *names, em_hparams *hparams, em_error *error) {
  hparams->logit_scale = 1.0f / hparams->logit_scale;
  em_model_mark_shared(hparams);
  return EM_OK;
}

const em_family em_family_granite = {
    .name = "granite",
    .rope = EM_ROPE_NORM,
    .keys = keys,
    .globals = globals,
    .layer = layer,
    .shape = shape,
    .build = em_build_transformer,
};

const em_family em_family_granitemoe = {
    .name = "granitemoe",
    .has = EM_HAS_EXPERTS | EM_HAS_NORMED_ROUTES | EM_HAS_WIDE_EXPERTS,
    .rope = EM_ROPE_NORM,
    .keys = keys,
    .globals = globals,
    .layer = layer,
    .shape = shape,
    .build = em_build_transformer,
};
