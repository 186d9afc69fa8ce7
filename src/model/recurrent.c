/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Gated delta nets (em_stage_delta_net): their tensors and stages. */
#include "model/builder.h"

#define OLD "ssm_in.weight", EM_DIM_EMBD, EM_DIM_SSM_IN, EM_OPTIONAL, EM_USE_MATRIX
#define BA "ssm_ba.weight", EM_DIM_EMBD, EM_DIM_SSM_TWO_N_V, EM_OPTIONAL, EM_USE_MATRIX

static const em_tensor_rule rules[] = {
    {EM_SLOT_SSM_QKV, "attn_qkv.weight", EM_DIM_EMBD, EM_DIM_SSM_CHANNELS, EM_ALTERNATIVE, EM_USE_MATRIX},
    {EM_SLOT_SSM_Z, "attn_gate.weight", EM_DIM_EMBD, EM_DIM_SSM_INNER, EM_ALTERNATIVE, EM_USE_MATRIX},
    /* The first files had both in one tensor, ordered by key heads. */
    {EM_SLOT_SSM_QKV, OLD,
     .view = {EM_DIM_SSM_GROUP,
              {EM_DIM_NONE, EM_DIM_SSM_K, EM_DIM_SSM_TWO_K},
              {EM_DIM_SSM_K, EM_DIM_SSM_K, EM_DIM_SSM_GROUP_V}}},
    {EM_SLOT_SSM_Z, OLD, .view = {EM_DIM_SSM_GROUP, {EM_DIM_SSM_GROUP_Z}, {EM_DIM_SSM_GROUP_V}}},
    {EM_SLOT_SSM_BETA, "ssm_beta.weight", EM_DIM_EMBD, EM_DIM_SSM_N_V, EM_ALTERNATIVE, EM_USE_MATRIX},
    {EM_SLOT_SSM_ALPHA, "ssm_alpha.weight", EM_DIM_EMBD, EM_DIM_SSM_N_V, EM_ALTERNATIVE, EM_USE_MATRIX},
    {EM_SLOT_SSM_BETA, BA, .view = {EM_DIM_SSM_TWO_RATIO, {EM_DIM_NONE}, {EM_DIM_SSM_RATIO}}},
    {EM_SLOT_SSM_ALPHA, BA, .view = {EM_DIM_SSM_TWO_RATIO, {EM_DIM_SSM_RATIO}, {EM_DIM_SSM_RATIO}}},
    {EM_SLOT_SSM_CONV, "ssm_conv1d.weight", EM_DIM_CONV, EM_DIM_SSM_CHANNELS, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_SSM_A, "ssm_a", EM_DIM_SSM_N_V, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_SSM_DT, "ssm_dt.bias", EM_DIM_SSM_N_V, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_SSM_NORM, "ssm_norm.weight", EM_DIM_SSM_V, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_SSM_OUT, "ssm_out.weight", EM_DIM_SSM_INNER, EM_DIM_EMBD, EM_NEEDED, EM_USE_MATRIX},
};
const em_rule_group em_rules_recurrent = {EM_RULES(rules), .needs = EM_LAYER_RECURRENT};

em_status em_recurrent_shape(em_keys *keys, em_hparams *hparams, em_error *error) {
  em_status status = EM_OK;
  em_pattern recurrent = {.period = hparams->recurrent_period};
  EM_TRY(em_keys_pattern(keys, "attention.recurrent_layers", &recurrent, error));
  if (hparams->ssm_n_v % hparams->ssm_n_k != 0 || hparams->ssm_inner % hparams->ssm_n_v != 0 ||
      hparams->ssm_inner / hparams->ssm_n_v != hparams->ssm_k_dim)
    EM_TRY(em_fail(error, EM_ERR_FORMAT,
                   "the model's recurrent layers have %u key heads and %u value heads of %u values in %u values",
                   hparams->ssm_n_k, hparams->ssm_n_v, hparams->ssm_k_dim, hparams->ssm_inner));
  for (uint32_t i = 0; i < hparams->n_layers; i++)
    if (em_pattern_at(&recurrent, i))
      hparams->layers[i].parts ^= EM_LAYER_ATTENTION | EM_LAYER_RECURRENT;
fail:
  return status;
}

void em_build_recurrent(const em_model *model, em_builder *builder, int32_t layer, em_value x) {
  const em_hparams *hparams = &model->hparams;
  const uint64_t channels = 2ull * hparams->ssm_n_k * hparams->ssm_k_dim + hparams->ssm_inner;
  uint32_t first, n;
  em_model_layers_of(model, em_builder_blocks(builder), &first, &n);

  em_stage_linear in = {
      .x = x,
      .norm = em_builder_weights(builder, layer, EM_SLOT_ATTN_NORM),
      .norm_eps = hparams->norm_eps,
      .residual = EM_NO_VALUE,
      .out = em_builder_value(builder, channels + hparams->ssm_inner + 2ull * hparams->ssm_n_v, false),
  };
  static const em_tensor_slot parts[] = {EM_SLOT_SSM_QKV, EM_SLOT_SSM_Z, EM_SLOT_SSM_BETA, EM_SLOT_SSM_ALPHA};
  for (int i = 0; i < 4; i++)
    em_builder_part(builder, &in, layer, parts[i], EM_N_SLOTS);
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_LINEAR, .layer = layer, .label = "delta-in", .linear = in});

  em_stage_delta_net net = {
      .in = in.out,
      .state_layer = model->state_index[layer] - model->state_index[first],
      .n_k = hparams->ssm_n_k,
      .n_v = hparams->ssm_n_v,
      .k_dim = hparams->ssm_k_dim,
      .v_dim = hparams->ssm_inner / hparams->ssm_n_v,
      .n_conv = hparams->n_conv,
      .tiled = hparams->has_tiled_heads,
      .conv = em_builder_weights(builder, layer, EM_SLOT_SSM_CONV),
      .a_log = em_builder_weights(builder, layer, EM_SLOT_SSM_A),
      .dt_bias = em_builder_weights(builder, layer, EM_SLOT_SSM_DT),
      .norm = em_builder_weights(builder, layer, EM_SLOT_SSM_NORM),
      .eps = hparams->norm_eps,
      .out = em_builder_value(builder, hparams->ssm_inner, false),
  };
  em_builder_emit(builder,
                  (em_stage){.kind = EM_STAGE_DELTA_NET, .layer = layer, .label = "delta-net", .delta_net = net});
  em_output_slots slots = {EM_SLOT_SSM_OUT, EM_N_SLOTS, EM_N_SLOTS, EM_N_SLOTS};
  em_build_output(model, builder, layer, "delta-out", slots, net.out, x);
}
