/* SPDX-License-Identifier: GPL-3.0-or-later */
/* olmo2: OLMo 2 and 3. Norms stand behind attention and feed-forward part and not before them.
 *
 * Has caused bugs:
 * - All heads of the query are normed as one row, and so are those of the key.
 * - Three of four layers of OLMo 3 have a sliding window; they rotate without the scaling of the others. */
#include "model/internal.h"

static const em_tensor_rule own_rules[] = {
    {EM_SLOT_ATTN_Q_NORM, "attn_q_norm.weight", EM_DIM_Q, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_ATTN_K_NORM, "attn_k_norm.weight", EM_DIM_K, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
};
static const em_rule_group own = {EM_RULES(own_rules)};
static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {&em_rules_qkv,        &own, &em_rules_attn_output, &em_rules_ffn,
                                             &em_rules_post_norms, NULL};

static const em_key_rule window_rules[] = {
    {"attention.sliding_window", EM_KEY_U32, false, EM_KEY_FIELD(window), 0, EM_MODEL_MAX_CONTEXT},
};
static const em_key_group own_keys = EM_KEYS(window_rules);
static const em_key_group *const keys[] = {&own_keys, NULL};

static em_status shape(em_keys *names, em_hparams *hparams, em_error *error) {
  em_status status = em_window_shape(names, hparams, 4, error);
  for (uint32_t i = 0; i < hparams->n_layers; i++)
    if (hparams->layers[i].window > 0)
      hparams->layers[i].rope = em_hparams_rope(hparams, hparams->n_rot, hparams->rope_base, false);
  return status;
}

const em_family em_family_olmo2 = {
    .name = "olmo2",
    .rope = EM_ROPE_NEOX,
    .keys = keys,
    .globals = globals,
    .layer = layer,
    .shape = shape,
    .build = em_build_transformer,
};
