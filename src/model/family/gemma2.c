/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gemma2: Gemma 2. Norms before and behind attention and feed-forward part; every second layer has a sliding window.
 *
 * Has caused bugs:
 * - Embeddings are multiplied with the square root of their length.
 * - Scores and logits are capped; without the caps long prompts drift.
 * - The first layer has the window, the second has none.
 * - The 27B size scales scores by its row's share of a head and not by the head's length; it is told by its 46 layers.
 * - Norm weights are stored with the 1 that other formats add. */
#include <math.h>

#include "model/internal.h"

#define LAYERS_OF_27B 46u

static const em_rule_group *const globals[] = {&em_rules_ends, NULL};
static const em_rule_group *const layer[] = {
    &em_rules_attn_norm,  &em_rules_qkv, &em_rules_attn_output, &em_rules_ffn_norm, &em_rules_ffn,
    &em_rules_post_norms, NULL};

static const em_key_rule own_rules[] = {
    {"attention.sliding_window", EM_KEY_U32, false, EM_KEY_FIELD(window), 1, EM_MODEL_MAX_CONTEXT},
};
static const em_key_group own_keys = EM_KEYS(own_rules);
static const em_key_group *const keys[] = {&own_keys, &em_keys_softcaps, NULL};

static void defaults(em_hparams *hparams) {
  hparams->window = 4096;
  hparams->attention_softcap = 50;
  hparams->output_softcap = 30;
}

static em_status shape(em_keys *names, em_hparams *hparams, em_error *error) {
  hparams->embedding_scale = sqrtf((float)hparams->n_embd);
  if (!em_keys_has(names, "attention.scale") && hparams->n_layers == LAYERS_OF_27B)
    for (uint32_t i = 0; i < hparams->n_layers; i++)
      hparams->layers[i].scale = 1.0f / sqrtf((float)hparams->n_embd / (float)hparams->layers[i].n_heads);
  return em_window_shape(names, hparams, 2, error);
}

const em_family em_family_gemma2 = {
    .name = "gemma2",
    .rope = EM_ROPE_NEOX,
    .activation = EM_ACT_GEGLU,
    .keys = keys,
    .globals = globals,
    .layer = layer,
    .defaults = defaults,
    .shape = shape,
    .build = em_build_transformer,
};
