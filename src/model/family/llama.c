/* SPDX-License-Identifier: GPL-3.0-or-later */
/* llama: Llama 2 and 3, Mistral, SmolLM, TinyLlama. Dense layers, neighbouring pairs rotate.
 *
 * Has caused bugs:
 * - The converters permute the rows of Q and K so that neighbouring pairs rotate; rotating halves gives fluent
 * nonsense.
 * - Llama 3's long-context scaling is a table in the file (rope_freqs) that divides the angles; without it short
 * prompts look right and long ones fall apart.
 * - Mixtral has this family's name too: it is told by expert_count, which em_hparams_read refuses. */
#include "model/internal.h"

static const em_tensor_rule own_globals[] = {
    {EM_SLOT_ROPE_FREQS, "rope_freqs.weight", EM_DIM_HALF_ROT, EM_DIM_ONE, true, EM_USE_VECTOR},
};

static const em_tensor_rule own_layer[] = {
    {EM_SLOT_ATTN_OUTPUT_BIAS, "attn_output.bias", EM_DIM_EMBD, EM_DIM_ONE, true, EM_USE_VECTOR},
};

static const em_rule_group own_global_group = EM_RULES(own_globals);
static const em_rule_group own_layer_group = EM_RULES(own_layer);
static const em_rule_group *const globals[] = {&em_rules_ends, &own_global_group, NULL};
static const em_rule_group *const layer[] = {&em_rules_attention, &em_rules_ffn, &own_layer_group, NULL};

static em_status check(const em_hparams *hparams, em_error *error) {
  if (hparams->n_rot != hparams->k_dim)
    return em_fail(error, EM_ERR_FORMAT,
                   "the model's 'llama.rope.dimension_count' is %u where the head's length, %u, is needed",
                   hparams->n_rot, hparams->k_dim);
  return EM_OK;
}

static em_value build(const em_model *model, em_builder *builder) {
  return em_build_dense(model, builder, EM_ROPE_NORM);
}

const em_family em_family_llama = {
    .name = "llama",
    .globals = globals,
    .layer = layer,
    .check = check,
    .build = build,
};
