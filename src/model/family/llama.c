/* SPDX-License-Identifier: GPL-3.0-or-later */
/* llama: Llama 2 and 3, Mistral, SmolLM, TinyLlama, and Mixtral, whose layers have experts. Neighbouring pairs rotate.
 *
 * Has caused bugs:
 * - The converters permute the rows of Q and K so that neighbouring pairs rotate; rotating halves gives fluent
 *   nonsense.
 * - Llama 3's long-context scaling is a table in the file (rope_freqs) that divides the angles; without it short
 *   prompts look right and long ones fall apart.
 * - Mixtral has this family's name too and is told by expert_count. An expert is as wide as feed_forward_length says,
 *   and the weights of the chosen ones are divided by their sum. */
#include "model/internal.h"

static const em_rule_group *const globals[] = {&em_rules_ends, &em_rules_rope_freqs, NULL};
static const em_rule_group *const layer[] = {
    &em_rules_attn_norm, &em_rules_qkv, &em_rules_attn_output, &em_rules_ffn_norm, &em_rules_ffn,
    &em_rules_experts,   NULL};

static em_status shape(em_keys *keys, em_hparams *hparams, em_error *error) {
  if (hparams->n_rot != hparams->k_dim)
    return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is %u where the head's length, %u, is needed",
                   em_keys_name(keys, "rope.dimension_count"), hparams->n_rot, hparams->k_dim);
  return EM_OK;
}

const em_family em_family_llama = {
    .name = "llama",
    .has = EM_HAS_EXPERTS | EM_HAS_NORMED_ROUTES | EM_HAS_WIDE_EXPERTS,
    .rope = EM_ROPE_NORM,
    .globals = globals,
    .layer = layer,
    .shape = shape,
    .build = em_build_transformer,
};
