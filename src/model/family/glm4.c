/* SPDX-License-Identifier: GPL-3.0-or-later */
/* glm4: GLM-4 0414. Norms before and behind attention and feed-forward part; gate and up are one tensor.
 *
 * Has caused bugs:
 * - ffn_up holds the rows of the gate and then those of up.
 * - Half of a head rotates, by neighbouring pairs; in the variants that see images (rope.dimension_sections) by halves.
 * - The sums of ffn_down overflow float16. */
#include "model/internal.h"

static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {
    &em_rules_attn_norm,  &em_rules_qkv, &em_rules_attn_output, &em_rules_ffn_norm, &em_rules_ffn_fused,
    &em_rules_post_norms, NULL};

static em_status shape(em_keys *keys, em_hparams *hparams, em_error *error) {
  if (em_keys_has(keys, "rope.dimension_sections"))
    for (uint32_t i = 0; i < hparams->n_layers; i++)
      hparams->layers[i].rope.kind = EM_ROPE_NEOX;
  return EM_OK;
}

const em_family em_family_glm4 = {
    .name = "glm4",
    .rope = EM_ROPE_NORM,
    .globals = globals,
    .layer = layer,
    .shape = shape,
    .build = em_build_transformer,
};
