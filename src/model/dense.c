/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The stages of a dense transformer, six a layer:
 *   h = x + Wo attention(rope(q), rope(k), v of norm(x)),  x = h + Wdown (silu(Wgate norm(h)) * (Wup norm(h)))
 * The residual row x is one value for the whole step; everything else lives for a stage or two. */
#include "model/internal.h"

static const em_tensor_rule ends[] = {
    {EM_SLOT_TOKEN_EMBD, "token_embd.weight", EM_DIM_EMBD, EM_DIM_VOCAB, false, EM_USE_TABLE},
    {EM_SLOT_OUTPUT_NORM, "output_norm.weight", EM_DIM_EMBD, EM_DIM_ONE, false, EM_USE_VECTOR},
    {EM_SLOT_OUTPUT, "output.weight", EM_DIM_EMBD, EM_DIM_VOCAB, true, EM_USE_MATRIX},
};
const em_rule_group em_rules_ends = EM_RULES(ends);

static const em_tensor_rule attention_rules[] = {
    {EM_SLOT_ATTN_NORM, "attn_norm.weight", EM_DIM_EMBD, EM_DIM_ONE, false, EM_USE_VECTOR},
    {EM_SLOT_ATTN_QKV, "attn_qkv.weight", EM_DIM_EMBD, EM_DIM_QKV, true, EM_USE_MATRIX},
    {EM_SLOT_ATTN_QKV_BIAS, "attn_qkv.bias", EM_DIM_QKV, EM_DIM_ONE, true, EM_USE_VECTOR},
    {EM_SLOT_ATTN_Q, "attn_q.weight", EM_DIM_EMBD, EM_DIM_Q, true, EM_USE_MATRIX},
    {EM_SLOT_ATTN_K, "attn_k.weight", EM_DIM_EMBD, EM_DIM_K, true, EM_USE_MATRIX},
    {EM_SLOT_ATTN_V, "attn_v.weight", EM_DIM_EMBD, EM_DIM_V, true, EM_USE_MATRIX},
    {EM_SLOT_ATTN_Q_BIAS, "attn_q.bias", EM_DIM_Q, EM_DIM_ONE, true, EM_USE_VECTOR},
    {EM_SLOT_ATTN_K_BIAS, "attn_k.bias", EM_DIM_K, EM_DIM_ONE, true, EM_USE_VECTOR},
    {EM_SLOT_ATTN_V_BIAS, "attn_v.bias", EM_DIM_V, EM_DIM_ONE, true, EM_USE_VECTOR},
    {EM_SLOT_ATTN_OUTPUT, "attn_output.weight", EM_DIM_O, EM_DIM_EMBD, false, EM_USE_MATRIX},
};
const em_rule_group em_rules_attention = EM_RULES(attention_rules);

static const em_tensor_rule ffn_rules[] = {
    {EM_SLOT_FFN_NORM, "ffn_norm.weight", EM_DIM_EMBD, EM_DIM_ONE, false, EM_USE_VECTOR},
    {EM_SLOT_FFN_GATE, "ffn_gate.weight", EM_DIM_EMBD, EM_DIM_FF, false, EM_USE_MATRIX},
    {EM_SLOT_FFN_UP, "ffn_up.weight", EM_DIM_EMBD, EM_DIM_FF, false, EM_USE_MATRIX},
    {EM_SLOT_FFN_DOWN, "ffn_down.weight", EM_DIM_FF, EM_DIM_EMBD, false, EM_USE_MATRIX},
};
const em_rule_group em_rules_ffn = EM_RULES(ffn_rules);

static void build_attention(const em_model *model, em_builder *builder, int32_t layer, uint32_t kv_layer,
                            em_rope_kind rope, em_value x) {
  const em_hparams *hparams = &model->hparams;
  const em_layer_shape *shape = &hparams->layers[layer];
  uint32_t qkv_width = shape->n_heads * hparams->k_dim + shape->n_kv_heads * (hparams->k_dim + hparams->v_dim);
  em_value qkv = em_builder_value(builder, qkv_width, false);

  em_stage_linear linear = {
      .x = x,
      .norm = em_builder_weights(builder, layer, EM_SLOT_ATTN_NORM),
      .norm_eps = hparams->norm_eps,
      .n_parts = 1,
      .residual = EM_NO_VALUE,
      .out = qkv,
  };
  linear.w[0] = em_builder_weights(builder, layer, EM_SLOT_ATTN_QKV);
  linear.bias[0] = em_builder_weights(builder, layer, EM_SLOT_ATTN_QKV_BIAS);
  if (!linear.w[0]) {
    static const em_tensor_slot parts[3] = {EM_SLOT_ATTN_Q, EM_SLOT_ATTN_K, EM_SLOT_ATTN_V};
    static const em_tensor_slot biases[3] = {EM_SLOT_ATTN_Q_BIAS, EM_SLOT_ATTN_K_BIAS, EM_SLOT_ATTN_V_BIAS};
    linear.n_parts = 3;
    for (int i = 0; i < 3; i++) {
      linear.w[i] = em_builder_weights(builder, layer, parts[i]);
      linear.bias[i] = em_builder_weights(builder, layer, biases[i]);
    }
  }
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_LINEAR, .layer = layer, .label = "qkv", .linear = linear});

  em_stage_rope_store store = {
      .qkv = qkv,
      .kv_layer = kv_layer,
      .n_heads = shape->n_heads,
      .q_norm = em_builder_weights(builder, layer, EM_SLOT_ATTN_Q_NORM),
      .k_norm = em_builder_weights(builder, layer, EM_SLOT_ATTN_K_NORM),
      .norm_eps = hparams->norm_eps,
      .rope =
          {
              .kind = rope,
              .n_rot = hparams->n_rot,
              .base = hparams->rope_base,
              .freq_scale = hparams->rope_freq_scale,
              .magnitude = hparams->rope_magnitude,
              .factors = em_builder_weights(builder, -1, EM_SLOT_ROPE_FREQS),
          },
  };
  em_builder_emit(builder,
                  (em_stage){.kind = EM_STAGE_ROPE_STORE, .layer = layer, .label = "rope-store", .rope_store = store});

  em_value heads = em_builder_value(builder, shape->n_heads * hparams->v_dim, false);
  em_stage_attention attention = {
      .qkv = qkv,
      .out = heads,
      .kv_layer = kv_layer,
      .n_heads = shape->n_heads,
      .scale = hparams->attention_scale,
  };
  em_builder_emit(builder,
                  (em_stage){.kind = EM_STAGE_ATTENTION, .layer = layer, .label = "attention", .attention = attention});

  em_stage_linear output = {
      .x = heads,
      .n_parts = 1,
      .w = {em_builder_weights(builder, layer, EM_SLOT_ATTN_OUTPUT)},
      .bias = {em_builder_weights(builder, layer, EM_SLOT_ATTN_OUTPUT_BIAS)},
      .residual = x,
      .out = x,
  };
  em_builder_emit(builder,
                  (em_stage){.kind = EM_STAGE_LINEAR, .layer = layer, .label = "attn-output", .linear = output});
}

static void build_feed_forward(const em_model *model, em_builder *builder, int32_t layer, em_value x) {
  em_value hidden = em_builder_value(builder, model->hparams.layers[layer].n_ff, false);
  em_stage_linear gate_up = {
      .x = x,
      .norm = em_builder_weights(builder, layer, EM_SLOT_FFN_NORM),
      .norm_eps = model->hparams.norm_eps,
      .n_parts = 2,
      .w = {em_builder_weights(builder, layer, EM_SLOT_FFN_GATE), em_builder_weights(builder, layer, EM_SLOT_FFN_UP)},
      .activation = EM_ACT_SWIGLU,
      .residual = EM_NO_VALUE,
      .out = hidden,
  };
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_LINEAR, .layer = layer, .label = "gate-up", .linear = gate_up});

  em_stage_linear down = {
      .x = hidden,
      .n_parts = 1,
      .w = {em_builder_weights(builder, layer, EM_SLOT_FFN_DOWN)},
      .residual = x,
      .out = x,
  };
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_LINEAR, .layer = layer, .label = "down", .linear = down});
}

em_value em_build_dense(const em_model *model, em_builder *builder, em_rope_kind rope) {
  em_model_blocks blocks = em_builder_blocks(builder);
  em_value x = em_builder_value(builder, model->hparams.n_embd, false);
  if (blocks.first == 0) {
    em_stage_embed embed = {.table = em_builder_weights(builder, -1, EM_SLOT_TOKEN_EMBD), .scale = 1, .out = x};
    em_builder_emit(builder, (em_stage){.kind = EM_STAGE_EMBED, .layer = -1, .label = "embed", .embed = embed});
  } else {
    em_builder_emit(builder, (em_stage){.kind = EM_STAGE_INPUT, .layer = -1, .label = "input", .input = {x}});
  }

  uint32_t first, n;
  em_model_layers_of(model, blocks, &first, &n);
  for (uint32_t i = 0; i < n; i++) {
    build_attention(model, builder, (int32_t)(first + i), i, rope, x);
    build_feed_forward(model, builder, (int32_t)(first + i), x);
  }
  if (blocks.end < model->hparams.n_layers + 2)
    return x;

  em_value logits = em_builder_value(builder, model->hparams.n_vocab, true);
  em_stage_linear head = {
      .x = x,
      .norm = em_builder_weights(builder, -1, EM_SLOT_OUTPUT_NORM),
      .norm_eps = model->hparams.norm_eps,
      .n_parts = 1,
      .w = {em_builder_weights(builder, -1, EM_SLOT_OUTPUT)},
      .residual = EM_NO_VALUE,
      .outputs_only = true,
      .out = logits,
  };
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_LINEAR, .layer = -1, .label = "head", .linear = head});
  return logits;
}
