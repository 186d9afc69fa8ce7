/* SPDX-License-Identifier: GPL-3.0-or-later */
/* phi3: Phi 3, 3.5 and 4. Query, key and value are one tensor, and gate and up are one tensor.
 *
 * Has caused bugs:
 * - Frequencies have factors for long and for short contexts. What counts is the context that is planned for, not the
 *   length of the text: keys of both kinds in one cache give nonsense.
 * - rope.scaling.attn_factor multiplies cos and sin.
 * - A key attention.sliding_window stands in the file and is not used.
 * - In some sizes only the first values of a head rotate. */
#include "model/internal.h"

static const em_tensor_rule own_globals[] = {
    {EM_SLOT_ROPE_LONG, "rope_factors_long.weight", EM_DIM_HALF_ROT, EM_DIM_ONE, EM_OPTIONAL, EM_USE_VECTOR},
    {EM_SLOT_ROPE_SHORT, "rope_factors_short.weight", EM_DIM_HALF_ROT, EM_DIM_ONE, EM_OPTIONAL, EM_USE_VECTOR},
};

/* There are factors for both contexts or for none. */
static em_status check_factors(const em_model *model, int32_t layer, em_error *error) {
  bool has_long = em_model_bound(model, layer, EM_SLOT_ROPE_LONG) >= 0;
  if (has_long != (em_model_bound(model, layer, EM_SLOT_ROPE_SHORT) >= 0) || (model->hparams.has_longrope && !has_long))
    return em_fail(error, EM_ERR_FORMAT, "the model has no tensor '%s'",
                   has_long ? own_globals[1].name : own_globals[0].name);
  return EM_OK;
}

static const em_rule_group own = {EM_RULES(own_globals), .check = check_factors};
static const em_rule_group *const globals[] = {&em_rules_ends, &own, NULL};
static const em_rule_group *const layer[] = {&em_rules_attn_norm, &em_rules_qkv,       &em_rules_attn_output,
                                             &em_rules_ffn_norm,  &em_rules_ffn_fused, NULL};

const em_family em_family_phi3 = {
    .name = "phi3",
    .has = EM_HAS_LONGROPE,
    .rope = EM_ROPE_NEOX,
    .globals = globals,
    .layer = layer,
    .build = em_build_transformer,
};
