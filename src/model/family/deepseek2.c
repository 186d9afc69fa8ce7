/* SPDX-License-Identifier: GPL-3.0-or-later */
/* deepseek2: DeepSeek V2, V3 and R1, Kimi K2, GLM-4.7-Flash. Latent attention, then dense layers and layers with
 * experts.
 *
 * Has caused bugs:
 * - Scores are scaled by the length of a whole head, not of the cached vector, and by the square of YaRN's magnitude,
 *   while cos and sin have none. yarn_log_multiplier is stored as a tenth of itself.
 * - Only the last values of a head rotate, by neighbouring pairs.
 * - The norm of the cached vector covers its first kv_lora_rank values and not the rotated ones.
 * - exp_probs_b only chooses experts; the groups are chosen by it too.
 * - Files from before the absorbed form have attn_kv_b in place of attn_k_b and attn_v_b, the lengths of whole heads in
 *   key_length and value_length, and as many KV heads as heads. */
#include <math.h>

#include "model/internal.h"

static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {&em_rules_attn_norm, &em_rules_latent_low_rank_q, &em_rules_latent_q,
                                             &em_rules_latent,    &em_rules_ffn_norm,          &em_rules_ffn,
                                             &em_rules_experts,   &em_rules_shared_expert,     NULL};

static const em_key_rule own_rules[] = {
    {"attention.q_lora_rank", EM_KEY_U32, false, EM_KEY_FIELD(q_rank), 0, EM_MODEL_MAX_EMBD},
    {"attention.kv_lora_rank", EM_KEY_U32, true, EM_KEY_FIELD(kv_rank), 1, EM_MODEL_MAX_HEAD_DIM},
    {"attention.key_length_mla", EM_KEY_U32, false, EM_KEY_FIELD(latent_k_dim), 1, EM_MODEL_MAX_HEAD_DIM},
    {"attention.value_length_mla", EM_KEY_U32, false, EM_KEY_FIELD(latent_v_dim), 1, EM_MODEL_MAX_HEAD_DIM},
};
static const em_key_group own_keys = EM_KEYS(own_rules);
static const em_key_group *const keys[] = {&own_keys, NULL};

static em_status shape(em_keys *names, em_hparams *hparams, em_error *error) {
  if (hparams->latent_k_dim == 0 && hparams->latent_v_dim == 0) {
    /* An older file: its keys give the lengths of heads as they are made, and as many KV heads. */
    hparams->latent_k_dim = hparams->k_dim;
    hparams->latent_v_dim = hparams->v_dim;
    hparams->k_dim = hparams->kv_rank + hparams->n_rot;
    hparams->v_dim = hparams->kv_rank;
    for (uint32_t i = 0; i < hparams->n_layers; i++) {
      hparams->layers[i].n_kv_heads = 1;
      hparams->layers[i].k_dim = hparams->k_dim;
      hparams->layers[i].v_dim = hparams->v_dim;
    }
  }
  if (hparams->latent_k_dim <= hparams->n_rot || hparams->latent_v_dim == 0 ||
      hparams->k_dim != hparams->kv_rank + hparams->n_rot || hparams->v_dim != hparams->kv_rank)
    return em_fail(error, EM_ERR_FORMAT,
                   "the model's heads of %u values, %u of them rotated, do not fit the %u and %u that are cached",
                   hparams->latent_k_dim, hparams->n_rot, hparams->k_dim, hparams->v_dim);
  float magnitude = 1;
  if (hparams->rope.ext_factor != 0)
    magnitude += hparams->rope_log_multiplier * logf(hparams->rope_factor);
  for (uint32_t i = 0; i < hparams->n_layers; i++) {
    em_layer *l = &hparams->layers[i];
    if (l->n_kv_heads != 1)
      return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is %u where 1 is needed",
                     em_keys_name(names, "attention.head_count_kv"), l->n_kv_heads);
    l->parts ^= EM_LAYER_ATTENTION | EM_LAYER_LATENT | (hparams->q_rank > 0 ? EM_LAYER_LOW_RANK_Q : 0);
    l->rope.offset = hparams->kv_rank;
    l->rope.magnitude = 1;
    l->scale = magnitude * magnitude / sqrtf((float)hparams->latent_k_dim);
  }
  em_model_mark_shared(hparams);
  return EM_OK;
}

const em_family em_family_deepseek2 = {
    .name = "deepseek2",
    .has = EM_HAS_EXPERTS | EM_HAS_NEXTN,
    .rope = EM_ROPE_NORM,
    .keys = keys,
    .globals = globals,
    .layer = layer,
    .shape = shape,
    .build = em_build_transformer,
};
