/* SPDX-License-Identifier: GPL-3.0-or-later */
/* qwen2moe: Qwen 1.5 and 2 with experts. Attention as in qwen2; beside the chosen experts a shared one.
 *
 * Has caused bugs:
 * - The weights of the chosen experts are not divided by their sum, other than in qwen3moe.
 * - The shared expert has a gate, one number a token, and a width of its own: feed_forward_length where no key says it.
 */
#include "model/internal.h"

static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {
    &em_rules_attn_norm, &em_rules_qkv,           &em_rules_attn_output,        &em_rules_ffn_norm,
    &em_rules_experts,   &em_rules_shared_expert, &em_rules_shared_expert_gate, NULL};

static const em_key_group *const keys[] = {&em_keys_shared_ff, NULL};

static em_status shape(em_keys *names, em_hparams *hparams, em_error *error) {
  if (hparams->n_ff_shared == 0)
    hparams->n_ff_shared = hparams->layers[0].n_ff;
  em_model_mark_shared(hparams);
  return EM_OK;
}

const em_family em_family_qwen2moe = {
    .name = "qwen2moe",
    .has = EM_HAS_EXPERTS | EM_HAS_ONLY_EXPERTS,
    .rope = EM_ROPE_NEOX,
    .keys = keys,
    .globals = globals,
    .layer = layer,
    .shape = shape,
    .build = em_build_transformer,
};
