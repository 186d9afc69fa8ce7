/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The ends of a model and the row of its layers:
 *   h = x + attention(norm(x)),  x = h + feed-forward(norm(h))
 * The residual row x is one value for the whole step; everything else lives for a stage or two. */
#include "model/builder.h"

static const em_tensor_rule ends[] = {
    {EM_SLOT_TOKEN_EMBD, "token_embd.weight", EM_DIM_EMBD, EM_DIM_VOCAB, EM_NEEDED, EM_USE_TABLE},
    {EM_SLOT_OUTPUT_NORM, "output_norm.weight", EM_DIM_EMBD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_OUTPUT, "output.weight", EM_DIM_EMBD, EM_DIM_VOCAB, EM_OPTIONAL, EM_USE_MATRIX},
};
const em_rule_group em_rules_ends = {EM_RULES(ends)};

static const em_tensor_rule own_head[] = {
    {EM_SLOT_TOKEN_EMBD, "token_embd.weight", EM_DIM_EMBD, EM_DIM_VOCAB, EM_NEEDED, EM_USE_TABLE},
    {EM_SLOT_OUTPUT_NORM, "output_norm.weight", EM_DIM_EMBD, EM_DIM_ONE, EM_NEEDED, EM_USE_VECTOR},
    {EM_SLOT_OUTPUT, "output.weight", EM_DIM_EMBD, EM_DIM_VOCAB, EM_NEEDED, EM_USE_MATRIX},
};
const em_rule_group em_rules_own_head = {EM_RULES(own_head)};

static const em_tensor_rule factors[] = {
    {EM_SLOT_ROPE_FREQS, "rope_freqs.weight", EM_DIM_HALF_ROT, EM_DIM_ONE, EM_OPTIONAL, EM_USE_VECTOR},
};
const em_rule_group em_rules_rope_freqs = {EM_RULES(factors)};

em_value em_build_start(const em_model *model, em_builder *builder) {
  em_value x = em_builder_value(builder, model->hparams.n_embd, false);
  if (em_builder_blocks(builder).first > 0) {
    em_builder_emit(builder, (em_stage){.kind = EM_STAGE_INPUT, .layer = -1, .label = "input", .input = {x}});
    return x;
  }
  em_stage_embed embed = {
      .table = em_builder_weights(builder, -1, EM_SLOT_TOKEN_EMBD),
      .scale = model->hparams.embedding_scale,
      .out = x,
  };
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_EMBED, .layer = -1, .label = "embed", .embed = embed});
  return x;
}

em_value em_build_end(const em_model *model, em_builder *builder, em_value x) {
  if (em_builder_blocks(builder).end < model->hparams.n_layers + 2)
    return x;
  em_stage_linear head = {
      .x = x,
      .norm = em_builder_weights(builder, -1, EM_SLOT_OUTPUT_NORM),
      .norm_kind = model->family->norm,
      .norm_eps = model->hparams.norm_eps,
      .scale = model->hparams.logit_scale,
      .softcap = model->hparams.output_softcap,
      .residual = EM_NO_VALUE,
      .outputs_only = true,
      .out = em_builder_value(builder, model->hparams.n_vocab, true),
  };
  em_builder_part(builder, &head, -1, EM_SLOT_OUTPUT, EM_N_SLOTS);
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_LINEAR, .layer = -1, .label = "head", .linear = head});
  return head.out;
}

void em_build_output(const em_model *model, em_builder *builder, int32_t layer, const char *label,
                     em_output_slots slots, em_value in, em_value x) {
  const em_weights *post_norm = em_builder_weights(builder, layer, slots.post_norm);
  em_stage_linear linear = {
      .x = in,
      .scale = post_norm ? 1 : model->hparams.residual_scale,
      .residual = post_norm ? EM_NO_VALUE : x,
      .out = post_norm ? em_builder_value(builder, model->hparams.n_embd, false) : x,
  };
  em_builder_part(builder, &linear, layer, slots.w, slots.bias);
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_LINEAR, .layer = layer, .label = label, .linear = linear});
  if (!post_norm)
    return;
  em_stage_norm norm = {
      .x = linear.out,
      .kind = model->family->norm,
      .norm = post_norm,
      .eps = model->hparams.norm_eps,
      .residual = x,
      .scale_by = em_builder_weights(builder, layer, slots.scale_by),
      .out = x,
  };
  em_builder_emit(builder, (em_stage){.kind = EM_STAGE_NORM, .layer = layer, .label = "post-norm", .norm = norm});
}

static void build_layer(const em_model *model, em_builder *builder, int32_t layer, em_value x) {
  const unsigned parts = model->hparams.layers[layer].parts;
  bool parallel = model->family->has & EM_HAS_PARALLEL;
  em_value heads = EM_NO_VALUE, hidden = EM_NO_VALUE;
  if (parts & EM_LAYER_RECURRENT)
    em_build_recurrent(model, builder, layer, x);
  else if (parts & EM_LAYER_LATENT)
    heads = em_build_latent_heads(model, builder, layer, x);
  else
    heads = em_build_heads(model, builder, layer, x);
  if (parallel)
    hidden = em_build_hidden(model, builder, layer, x);
  if (heads != EM_NO_VALUE)
    em_build_output(model, builder, layer, "attn-output", em_attn_output_slots, heads, x);

  if (parts & EM_LAYER_EXPERTS) {
    em_build_experts(model, builder, layer, x);
    return;
  }
  if (!parallel)
    hidden = em_build_hidden(model, builder, layer, x);
  em_build_output(model, builder, layer, "down", em_ffn_output_slots, hidden, x);
}

em_value em_build_transformer(const em_model *model, em_builder *builder) {
  em_value x = em_build_start(model, builder);
  uint32_t first, n;
  em_model_layers_of(model, em_builder_blocks(builder), &first, &n);
  for (uint32_t i = first; i < first + n; i++)
    build_layer(model, builder, (int32_t)i, x);
  return em_build_end(model, builder, x);
}
