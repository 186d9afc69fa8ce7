/* SPDX-License-Identifier: GPL-3.0-or-later */
/* smollm3: SmolLM 3. The llama layout.
 *
 * Has caused bugs:
 * - Every fourth layer does not rotate at all, and no key says so; it sees the order of tokens through the others. */
#include "model/internal.h"

static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {&em_rules_attn_norm, &em_rules_qkv, &em_rules_attn_output,
                                             &em_rules_ffn_norm,  &em_rules_ffn, NULL};

#define PERIOD 4u

static em_status shape(em_keys *keys, em_hparams *hparams, em_error *error) {
  for (uint32_t i = PERIOD - 1; i < hparams->n_layers; i += PERIOD)
    hparams->layers[i].rope.kind = EM_ROPE_NONE;
  return EM_OK;
}

const em_family em_family_smollm3 = {
    .name = "smollm3",
    .rope = EM_ROPE_NORM,
    .globals = globals,
    .layer = layer,
    .shape = shape,
    .build = em_build_transformer,
};
