/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gemma4: Gemma 4, dense (31B), with an embedding of each token for each layer (E2B, E4B), and with experts (26B).
 *
 * Has caused bugs:
 * - Layers with a sliding window have heads of another length, other KV heads, another base and no frequency factors.
 * - Scores are not scaled: the norms of query and key do it.
 * - Values are normed too, without weights; where a layer has no attn_v they are the keys before norm and rotation.
 * - The last layers store nothing and attend to the last layer before them of their own kind.
 * - Experts stand beside a dense feed-forward part and not in its place. The router norms the row without weights, then
 *   scales it by ffn_gate_inp.scale and by the root of its length.
 * - Logits are capped at 30 where no key says otherwise.
 * - The embeddings of the layers come from the token and from its embedding, both scaled by roots of lengths. */
#include <math.h>

#include "model/internal.h"

static const em_tensor_rule layer_embd_rules[] = {
    {EM_SLOT_LAYER_EMBD, "per_layer_token_embd.weight", EM_DIM_ALL_LAYER_EMBD, EM_DIM_VOCAB, EM_NEEDED, EM_USE_TABLE},
    {EM_SLOT_LAYER_EMBD_PROJ, "per_layer_model_proj.weight", EM_DIM_EMBD, EM_DIM_ALL_LAYER_EMBD, EM_NEEDED,
     EM_USE_MATRIX},
    {EM_SLOT_LAYER_EMBD_NORM, "per_layer_proj_norm.weight", EM_DIM_LAYER_EMBD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
};
static const em_rule_group layer_embd = {EM_RULES(layer_embd_rules), .needs = EM_LAYER_ROW_EMBD};

static const em_tensor_rule factor_rules[] = {
    {EM_SLOT_ROPE_FREQS, "rope_freqs.weight", EM_DIM_HALF_ROT, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
};
static const em_rule_group factors = {EM_RULES(factor_rules), .needs = EM_LAYER_ROPE_FACTORS};

static const em_tensor_rule query_rules[] = {
    {EM_SLOT_ATTN_Q, "attn_q.weight", EM_DIM_EMBD, EM_DIM_Q, EM_NEEDED, EM_USE_MATRIX},
    {EM_SLOT_ATTN_Q_NORM, "attn_q_norm.weight", EM_DIM_HEAD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_LAYER_SCALE, "layer_output_scale.weight", EM_DIM_ONE, EM_DIM_ONE, EM_OPTIONAL, EM_USE_VECTOR},
};
static const em_rule_group query = {EM_RULES(query_rules)};

static const em_tensor_rule own_kv_rules[] = {
    {EM_SLOT_ATTN_K, "attn_k.weight", EM_DIM_EMBD, EM_DIM_K, EM_NEEDED, EM_USE_MATRIX},
    {EM_SLOT_ATTN_V, "attn_v.weight", EM_DIM_EMBD, EM_DIM_V, EM_OPTIONAL, EM_USE_MATRIX},
    {EM_SLOT_ATTN_K_NORM, "attn_k_norm.weight", EM_DIM_HEAD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
};
static const em_rule_group own_kv = {EM_RULES(own_kv_rules), .lacks = EM_LAYER_BORROWS_KV};

static const em_tensor_rule idle_kv_rules[] = {
    {EM_SLOT_ATTN_K, "attn_k.weight", EM_DIM_EMBD, EM_DIM_K, EM_UNUSED, EM_USE_MATRIX},
    {EM_SLOT_ATTN_V, "attn_v.weight", EM_DIM_EMBD, EM_DIM_V, EM_UNUSED, EM_USE_MATRIX},
    {EM_SLOT_ATTN_K_NORM, "attn_k_norm.weight", EM_DIM_HEAD, EM_DIM_ONE, EM_UNUSED, EM_USE_VECTOR},
};
static const em_rule_group idle_kv = {EM_RULES(idle_kv_rules), .needs = EM_LAYER_BORROWS_KV};

static const em_tensor_rule expert_rules[] = {
    {EM_SLOT_ROUTER_NORM, "ffn_gate_inp.scale", EM_DIM_EMBD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_EXPS_NORM, "pre_ffw_norm_2.weight", EM_DIM_EMBD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_DENSE_POST_NORM, "post_ffw_norm_1.weight", EM_DIM_EMBD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_EXPS_POST_NORM, "post_ffw_norm_2.weight", EM_DIM_EMBD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
};
static const em_rule_group experts = {EM_RULES(expert_rules), .needs = EM_LAYER_EXPERTS};

static const em_tensor_rule row_embd_rules[] = {
    {EM_SLOT_ROW_EMBD_GATE, "inp_gate.weight", EM_DIM_EMBD, EM_DIM_LAYER_EMBD, EM_NEEDED, EM_USE_MATRIX},
    {EM_SLOT_ROW_EMBD_PROJ, "proj.weight", EM_DIM_LAYER_EMBD, EM_DIM_EMBD, EM_NEEDED, EM_USE_MATRIX},
    {EM_SLOT_ROW_EMBD_NORM, "post_norm.weight", EM_DIM_EMBD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
};
static const em_rule_group row_embd = {EM_RULES(row_embd_rules), .needs = EM_LAYER_ROW_EMBD};

static const em_rule_group *const globals[] = {&em_rules_ends, &layer_embd, &factors, NULL};
static const em_rule_group *const layer[] = {&em_rules_attn_norm,
                                             &query,
                                             &own_kv,
                                             &idle_kv,
                                             &em_rules_attn_output,
                                             &em_rules_post_norms,
                                             &em_rules_ffn_norm,
                                             &em_rules_ffn,
                                             &em_rules_experts,
                                             &experts,
                                             &row_embd,
                                             NULL};

static const em_key_rule own_rules[] = {
    {"attention.shared_kv_layers", EM_KEY_U32, false, EM_KEY_FIELD(n_kv_borrowers), 0, EM_MODEL_MAX_LAYERS},
    {"embedding_length_per_layer_input", EM_KEY_U32, false, EM_KEY_FIELD(n_embd_layer), 0, EM_MODEL_MAX_EMBD},
};
static const em_key_group own_keys = EM_KEYS(own_rules);
static const em_key_group *const keys[] = {&em_keys_window, &em_keys_window_dims, &em_keys_softcaps, &own_keys, NULL};

static void defaults(em_hparams *hparams) {
  hparams->output_softcap = 30;
  hparams->norms_values = true;
}

/* The last layer with a cache of its own that is of the same kind as layer i. */
static em_status find_lender(em_keys *names, em_hparams *hparams, uint32_t i, em_error *error) {
  uint32_t n_own = hparams->n_layers - hparams->n_kv_borrowers;
  bool has_window = hparams->layers[i].window > 0;
  uint32_t back = has_window ? 2 : 1;
  if (n_own < back || (hparams->layers[n_own - back].window > 0) != has_window ||
      hparams->layers[n_own - back].n_kv_heads != hparams->layers[i].n_kv_heads)
    return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is %u, with which layer %u has no keys and values",
                   em_keys_name(names, "attention.shared_kv_layers"), hparams->n_kv_borrowers, i);
  hparams->layers[i].kv_layer = n_own - back;
  hparams->layers[i].parts |= EM_LAYER_BORROWS_KV;
  return EM_OK;
}

static em_status shape(em_keys *names, em_hparams *hparams, em_error *error) {
  em_status status = EM_OK;
  hparams->embedding_scale = sqrtf((float)hparams->n_embd);
  if (hparams->n_rot_window % 2 != 0 || hparams->n_rot_window > hparams->k_dim_window)
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the model's '%s' is %u; it must be even and at most the head's length, %u",
                   em_keys_name(names, "rope.dimension_count_swa"), hparams->n_rot_window, hparams->k_dim_window));
  EM_TRY(em_window_shape(names, hparams, 0, error));
  for (uint32_t i = 0; i < hparams->n_layers; i++) {
    em_layer *l = &hparams->layers[i];
    l->scale = 1;
    l->parts |= EM_LAYER_FEED_FORWARD | (hparams->n_embd_layer > 0 ? EM_LAYER_ROW_EMBD : 0);
    if (l->window > 0) {
      l->parts ^= EM_LAYER_ROPE_FACTORS;
      l->k_dim = hparams->k_dim_window;
      l->v_dim = hparams->v_dim_window;
      l->rope = em_hparams_rope(hparams, hparams->n_rot_window, hparams->rope_base_window, true);
    }
    if (l->k_dim != l->v_dim)
      EM_TRY(em_fail(error, EM_ERR_FORMAT, "the keys and values of layer %u have %u and %u values", i, l->k_dim,
                     l->v_dim));
  }
  if (hparams->n_kv_borrowers >= hparams->n_layers)
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the model's '%s' is %u of %u layers",
                   em_keys_name(names, "attention.shared_kv_layers"), hparams->n_kv_borrowers, hparams->n_layers));
  for (uint32_t i = hparams->n_layers - hparams->n_kv_borrowers; i < hparams->n_layers; i++)
    EM_TRY(find_lender(names, hparams, i, error));
fail:
  return status;
}

/* --- Stages ------------------------------------------------------------------------------------------------------- */

static void build_norm(const em_model *model, em_builder *builder, int32_t number, em_tensor_slot slot,
                       em_stage_norm norm) {
  norm.norm = em_builder_weights(builder, number, slot);
  norm.eps = model->hparams.norm_eps;
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_NORM, .layer = number, .label = "post-norm", .norm = norm});
}

/* A linear stage of one matrix, without a norm. */
static em_value project(em_builder *builder, int32_t number, const char *label, em_tensor_slot slot, em_value x,
                        em_activation activation, float scale, uint64_t width) {
  em_stage_linear linear = {.x = x,
                            .activation = activation,
                            .scale = scale,
                            .residual = EM_NO_VALUE,
                            .out = em_builder_value(builder, width, false)};
  em_builder_part(builder, &linear, number, slot, EM_N_SLOTS);
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_LINEAR, .layer = number, .label = label, .linear = linear});
  return linear.out;
}

/* The token's embeddings for all layers, side by side. */
static em_value build_layer_embd(const em_model *model, em_builder *builder, em_value x) {
  const em_hparams *hparams = &model->hparams;
  uint64_t width = em_dim_value(hparams, -1, EM_DIM_ALL_LAYER_EMBD);
  em_stage_embed embed = {
      .table = em_builder_weights(builder, -1, EM_SLOT_LAYER_EMBD),
      .scale = sqrtf((float)hparams->n_embd_layer),
      .out = em_builder_value(builder, width, false),
  };
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_EMBED, .layer = -1, .label = "layer-embed", .embed = embed});
  em_value projected = project(builder, -1, "layer-project", EM_SLOT_LAYER_EMBD_PROJ, x, EM_ACT_NONE,
                               1.0f / sqrtf((float)hparams->n_embd), width);
  build_norm(model, builder, -1, EM_SLOT_LAYER_EMBD_NORM,
             (em_stage_norm){.x = projected, .residual = embed.out, .scale = sqrtf(0.5f), .out = projected});
  return projected;
}

static void build_feed_forward(const em_model *model, em_builder *builder, int32_t number, em_tensor_slot scale_by,
                               em_value x) {
  const em_hparams *hparams = &model->hparams;
  em_value hidden = em_build_hidden(model, builder, number, x);
  if (!(hparams->layers[number].parts & EM_LAYER_EXPERTS)) {
    em_output_slots slots = em_ffn_output_slots;
    slots.scale_by = scale_by;
    em_build_output(model, builder, number, "down", slots, hidden, x);
    return;
  }
  em_value dense = project(builder, number, "down", EM_SLOT_FFN_DOWN, hidden, EM_ACT_NONE, 1, hparams->n_embd);
  build_norm(model, builder, number, EM_SLOT_DENSE_POST_NORM,
             (em_stage_norm){.x = dense, .residual = EM_NO_VALUE, .out = dense});
  em_routed routed = {
      .x = x,
      .norm = EM_SLOT_EXPS_NORM,
      .router_norm = EM_SLOT_ROUTER_NORM,
      .logit_scale = 1.0f / sqrtf((float)hparams->n_embd),
      .residual = EM_NO_VALUE,
      .out = em_builder_value(builder, hparams->n_embd, false),
  };
  em_build_routed(model, builder, number, routed);
  build_norm(model, builder, number, EM_SLOT_EXPS_POST_NORM,
             (em_stage_norm){.x = routed.out, .residual = dense, .out = routed.out});
  build_norm(model, builder, number, EM_SLOT_FFN_POST_NORM,
             (em_stage_norm){
                 .x = routed.out, .residual = x, .scale_by = em_builder_weights(builder, number, scale_by), .out = x});
}

static void build_row_embd(const em_model *model, em_builder *builder, int32_t number, em_value layer_embd_row,
                           em_value x) {
  const uint32_t width = model->hparams.n_embd_layer;
  em_value gated = project(builder, number, "embed-gate", EM_SLOT_ROW_EMBD_GATE, x, EM_ACT_GELU, 1, width);
  em_stage_gate gate = {.x = gated,
                        .gate = layer_embd_row,
                        .gate_offset = (uint32_t)number * width,
                        .activation = EM_ACT_NONE,
                        .out = gated};
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_GATE, .layer = number, .label = "embed-gated", .gate = gate});
  em_output_slots slots = {EM_SLOT_ROW_EMBD_PROJ, EM_N_SLOTS, EM_SLOT_ROW_EMBD_NORM, EM_SLOT_LAYER_SCALE};
  em_build_output(model, builder, number, "embed-project", slots, gated, x);
}

static em_value build(const em_model *model, em_builder *builder) {
  em_value x = em_build_start(model, builder);
  bool has_layer_embd = model->hparams.n_embd_layer > 0;
  em_value rows = has_layer_embd ? build_layer_embd(model, builder, x) : EM_NO_VALUE;
  uint32_t first, n;
  em_model_layers_of(model, em_builder_blocks(builder), &first, &n);
  for (int32_t i = (int32_t)first; i < (int32_t)(first + n); i++) {
    em_value heads = em_build_heads(model, builder, i, x);
    em_build_output(model, builder, i, "attn-output", em_attn_output_slots, heads, x);
    build_feed_forward(model, builder, i, has_layer_embd ? EM_N_SLOTS : EM_SLOT_LAYER_SCALE, x);
    if (has_layer_embd)
      build_row_embd(model, builder, i, rows, x);
  }
  return em_build_end(model, builder, x);
}

const em_family em_family_gemma4 = {
    .name = "gemma4",
    .has = EM_HAS_EXPERTS | EM_HAS_NORMED_ROUTES,
    .rope = EM_ROPE_NEOX,
    .activation = EM_ACT_GEGLU,
    .keys = keys,
    .globals = globals,
    .layer = layer,
    .defaults = defaults,
    .shape = shape,
    .build = build,
};
