/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mistral3: Ministral 3. The llama layout with YaRN.
 *
 * Has caused bugs:
 * - Beyond the original context queries grow with the logarithm of the position (attention.temperature_scale), after
 *   the rotation; without it long prompts fade slowly instead of failing.
 * - yarn_log_multiplier divides the magnitude of cos and sin: with 1 it is 1 and not 0.1 ln(factor) + 1. */
#include "model/internal.h"

static const em_rule_group *const globals[] = {&em_rules_ends, &em_rules_rope_freqs, NULL};
static const em_rule_group *const layer[] = {&em_rules_attn_norm, &em_rules_qkv, &em_rules_attn_output,
                                             &em_rules_ffn_norm,  &em_rules_ffn, NULL};

static const em_key_rule own_rules[] = {
    {"attention.temperature_scale", EM_KEY_F32, false, EM_KEY_FIELD(q_log_scale), 0, 100},
};
static const em_key_group own_keys = EM_KEYS(own_rules);
static const em_key_group *const keys[] = {&own_keys, NULL};

const em_family em_family_mistral3 = {
    .name = "mistral3",
    .rope = EM_ROPE_NORM,
    .keys = keys,
    .globals = globals,
    .layer = layer,
    .build = em_build_transformer,
};
