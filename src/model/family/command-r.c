/* SPDX-License-Identifier: GPL-3.0-or-later */
/* command-r: Command R; and cohere2: Command R7B and A. Attention and feed-forward part stand side by side: both take
 * the row as it is before either adds to it, and there is one norm for both.
 *
 * Has caused bugs:
 * - The norm subtracts the mean, and has weights without a bias.
 * - Logits are multiplied with logit_scale, other than in granite.
 * - Three of four layers of cohere2 have a sliding window; only these rotate.
 * - Command R+ (64 layers) norms its heads by such a norm too, and is refused for its attn_q_norm. */
#include "model/internal.h"

static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {&em_rules_attn_norm, &em_rules_qkv, &em_rules_attn_output, &em_rules_ffn,
                                             NULL};

static const em_key_rule own_rules[] = {
    {"logit_scale", EM_KEY_F32, true, EM_KEY_FIELD(logit_scale), 1e-6, 1e6},
};
static const em_key_group own_keys = EM_KEYS(own_rules);
static const em_key_group *const keys[] = {&own_keys, NULL};
static const em_key_group *const window_keys[] = {&own_keys, &em_keys_window, NULL};

static em_status shape_windows(em_keys *names, em_hparams *hparams, em_error *error) {
  em_status status = em_window_shape(names, hparams, 4, error);
  for (uint32_t i = 0; i < hparams->n_layers; i++)
    if (hparams->layers[i].window == 0)
      hparams->layers[i].rope.kind = EM_ROPE_NONE;
  return status;
}

const em_family em_family_command_r = {
    .name = "command-r",
    .has = EM_HAS_PARALLEL,
    .rope = EM_ROPE_NORM,
    .norm = EM_NORM_LAYER,
    .keys = keys,
    .globals = globals,
    .layer = layer,
    .build = em_build_transformer,
};

const em_family em_family_cohere2 = {
    .name = "cohere2",
    .has = EM_HAS_PARALLEL,
    .rope = EM_ROPE_NORM,
    .norm = EM_NORM_LAYER,
    .keys = window_keys,
    .globals = globals,
    .layer = layer,
    .shape = shape_windows,
    .build = em_build_transformer,
};
