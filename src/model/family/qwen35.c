/* SPDX-License-Identifier: GPL-3.0-or-later */
/* qwen35: dense Qwen 3.5 and 3.6. As qwen3next, with a dense feed-forward part and beta and alpha in tensors of their
 * own.
 *
 * Has caused bugs:
 * - Value head h takes key head h mod (key heads): the converter has put the value heads into another order.
 * - The rotation has sections for images (rope.dimension_sections). In text all of them have the same position, and it
 *   is the rotation of halves.
 * - Only a quarter of a head rotates. */
#include "model/internal.h"

static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {&em_rules_attn_norm,  &em_rules_gated_qkv,
                                             &em_rules_head_norms, &em_rules_attn_output,
                                             &em_rules_recurrent,  &em_rules_attn_post_as_ffn_norm,
                                             &em_rules_ffn,        NULL};

static const em_key_group *const keys[] = {&em_keys_recurrent, NULL};

static void defaults(em_hparams *hparams) {
  hparams->recurrent_period = 4;
  hparams->has_tiled_heads = true;
}

const em_family em_family_qwen35 = {
    .name = "qwen35",
    .has = EM_HAS_NEXTN,
    .rope = EM_ROPE_NEOX,
    .keys = keys,
    .globals = globals,
    .layer = layer,
    .defaults = defaults,
    .shape = em_recurrent_shape,
    .build = em_build_transformer,
};
