/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Latent attention in its absorbed form (DeepSeek V2): what is cached of a token is one short vector c and the rotated
 * part k_pe of its key, which all heads share. With the matrices K_h and V_h that would make the keys and values of
 * head h from c, q_h = [K_h q_nope_h | q_pe_h],  k = [c | k_pe],  v = c,  head h = V_h (probabilities . c) so that keys
 * and values never need to be made. */
#include "model/builder.h"

#define Q_B "attn_q_b.weight", EM_DIM_Q_RANK, EM_DIM_LATENT_Q, EM_NEEDED, EM_USE_MATRIX
#define Q "attn_q.weight", EM_DIM_EMBD, EM_DIM_LATENT_Q, EM_NEEDED, EM_USE_MATRIX

#define KV_B "attn_kv_b.weight", EM_DIM_KV_RANK, EM_DIM_LATENT_ALL_KV, EM_OPTIONAL, EM_USE_STACK, EM_DIM_HEADS

static const em_tensor_rule low_rank_q_rules[] = {
    {EM_SLOT_Q_A, "attn_q_a.weight", EM_DIM_EMBD, EM_DIM_Q_RANK, EM_NEEDED, EM_USE_MATRIX},
    {EM_SLOT_Q_A_NORM, "attn_q_a_norm.weight", EM_DIM_Q_RANK, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_Q_NOPE, Q_B, .view = {EM_DIM_LATENT_K, {EM_DIM_NONE}, {EM_DIM_NOPE}}},
    {EM_SLOT_Q_ROPE, Q_B, .view = {EM_DIM_LATENT_K, {EM_DIM_NOPE}, {EM_DIM_ROT}}},
};
const em_rule_group em_rules_latent_low_rank_q = {EM_RULES(low_rank_q_rules), .needs = EM_LAYER_LOW_RANK_Q};

static const em_tensor_rule q_rules[] = {
    {EM_SLOT_Q_NOPE, Q, .view = {EM_DIM_LATENT_K, {EM_DIM_NONE}, {EM_DIM_NOPE}}},
    {EM_SLOT_Q_ROPE, Q, .view = {EM_DIM_LATENT_K, {EM_DIM_NOPE}, {EM_DIM_ROT}}},
};
const em_rule_group em_rules_latent_q = {EM_RULES(q_rules), .lacks = EM_LAYER_LOW_RANK_Q};

static const em_tensor_rule latent_rules[] = {
    {EM_SLOT_KV_A, "attn_kv_a_mqa.weight", EM_DIM_EMBD, EM_DIM_KV_A, EM_NEEDED, EM_USE_MATRIX},
    {EM_SLOT_KV_A_NORM, "attn_kv_a_norm.weight", EM_DIM_KV_RANK, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_K_B, "attn_k_b.weight", EM_DIM_NOPE, EM_DIM_KV_RANK, EM_ALTERNATIVE, EM_USE_STACK, EM_DIM_HEADS},
    {EM_SLOT_V_B, "attn_v_b.weight", EM_DIM_KV_RANK, EM_DIM_LATENT_V, EM_ALTERNATIVE, EM_USE_STACK, EM_DIM_HEADS},
    /* Older files have both in one tensor: for each head the rows that make a key and then those that make a value. */
    {EM_SLOT_K_B, KV_B, .view = {EM_DIM_LATENT_KV, {EM_DIM_NONE}, {EM_DIM_NOPE}}, .flat = true, .transposed = true},
    {EM_SLOT_V_B, KV_B, .view = {EM_DIM_LATENT_KV, {EM_DIM_NOPE}, {EM_DIM_LATENT_V}}, .flat = true},
    {EM_SLOT_ATTN_OUTPUT, "attn_output.weight", EM_DIM_LATENT_O, EM_DIM_EMBD, EM_NEEDED, EM_USE_MATRIX},
};
const em_rule_group em_rules_latent = {EM_RULES(latent_rules)};

/* A linear stage of one matrix behind a norm. */
static em_value project(const em_model *model, em_builder *builder, int32_t layer, const char *label, em_value x,
                        em_tensor_slot norm, em_tensor_slot w, uint64_t width) {
  em_stage_linear linear = {
      .x = x,
      .norm = em_builder_weights(builder, layer, norm),
      .norm_eps = model->hparams.norm_eps,
      .residual = EM_NO_VALUE,
      .out = em_builder_value(builder, width, false),
  };
  em_builder_part(builder, &linear, layer, w, EM_N_SLOTS);
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_LINEAR, .layer = layer, .label = label, .linear = linear});
  return linear.out;
}

em_value em_build_latent_heads(const em_model *model, em_builder *builder, int32_t number, em_value x) {
  const em_hparams *hparams = &model->hparams;
  const em_layer *layer = &hparams->layers[number];
  const uint64_t n_heads = layer->n_heads, n_rot = hparams->n_rot, rank = hparams->kv_rank;
  em_value q = x;
  em_tensor_slot q_norm = EM_SLOT_ATTN_NORM;
  if (layer->parts & EM_LAYER_LOW_RANK_Q) {
    q = project(model, builder, number, "q-a", x, EM_SLOT_ATTN_NORM, EM_SLOT_Q_A, hparams->q_rank);
    q_norm = EM_SLOT_Q_A_NORM;
  }
  em_value nope =
      project(model, builder, number, "q-nope", q, q_norm, EM_SLOT_Q_NOPE, n_heads * (hparams->latent_k_dim - n_rot));
  em_value rope = project(model, builder, number, "q-rope", q, q_norm, EM_SLOT_Q_ROPE, n_heads * n_rot);
  em_value kv = project(model, builder, number, "kv-a", x, EM_SLOT_ATTN_NORM, EM_SLOT_KV_A, rank + n_rot);

  em_stage_heads absorb = {
      .x = nope,
      .w = em_builder_weights(builder, number, EM_SLOT_K_B),
      .append = rope,
      .tail = kv,
      .out = em_builder_value(builder, (n_heads + 1) * (rank + n_rot), false),
  };
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_HEADS, .layer = number, .label = "absorb", .heads = absorb});
  em_rope_attention what = {
      .qkv = absorb.out,
      .out = em_builder_value(builder, n_heads * rank, false),
      .source = EM_KV_FROM_ROW,
      .k_norm = EM_SLOT_KV_A_NORM,
  };
  em_build_rope_attention(model, builder, number, what);
  em_stage_heads values = {
      .x = what.out,
      .w = em_builder_weights(builder, number, EM_SLOT_V_B),
      .append = EM_NO_VALUE,
      .tail = EM_NO_VALUE,
      .out = em_builder_value(builder, n_heads * hparams->latent_v_dim, false),
  };
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_HEADS, .layer = number, .label = "values", .heads = values});
  return values.out;
}
