/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gemma3: Gemma 3. As gemma2 without caps; each head of query and key is normed; five of six layers have a sliding
 * window.
 *
 * Has caused bugs:
 * - Layers with a window rotate by a base of their own, 10000, and without the scaling of the others.
 * - The 27B size scales scores by its row's share of a head; it is told by its 62 layers.
 * - Embeddings are multiplied with the square root of their length. */
#include <math.h>

#include "model/internal.h"

#define LAYERS_OF_27B 62u

static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {
    &em_rules_attn_norm, &em_rules_qkv, &em_rules_head_norms, &em_rules_attn_output,
    &em_rules_ffn_norm,  &em_rules_ffn, &em_rules_post_norms, NULL};

static const em_key_rule own_rules[] = {
    {"attention.sliding_window", EM_KEY_U32, false, EM_KEY_FIELD(window), 0, EM_MODEL_MAX_CONTEXT},
    {"rope.freq_base_swa", EM_KEY_F32, false, EM_KEY_FIELD(rope_base_window), 1, 1e12},
};
static const em_key_group own_keys = EM_KEYS(own_rules);
static const em_key_group *const keys[] = {&own_keys, &em_keys_softcaps, NULL};

static em_status shape(em_keys *names, em_hparams *hparams, em_error *error) {
  hparams->embedding_scale = sqrtf((float)hparams->n_embd);
  if (!em_keys_has(names, "attention.scale") && hparams->n_layers == LAYERS_OF_27B)
    for (uint32_t i = 0; i < hparams->n_layers; i++)
      hparams->layers[i].scale = 1.0f / sqrtf((float)hparams->n_embd / (float)hparams->layers[i].n_heads);
  em_status status = em_window_shape(names, hparams, 6, error);
  for (uint32_t i = 0; i < hparams->n_layers; i++)
    if (hparams->layers[i].window > 0)
      hparams->layers[i].rope = em_hparams_rope(hparams, hparams->n_rot, hparams->rope_base_window, false);
  return status;
}

const em_family em_family_gemma3 = {
    .name = "gemma3",
    .rope = EM_ROPE_NEOX,
    .activation = EM_ACT_GEGLU,
    .keys = keys,
    .globals = globals,
    .layer = layer,
    .shape = shape,
    .build = em_build_transformer,
};
