/* The program builder: collects stages and values for the blocks of a model that a device computes, and places the
 * values. Failures latch and are reported by em_builder_finish. */
#pragma once

#include "model/family.h"

typedef struct em_builder em_builder;

em_builder *em_builder_new(const em_model_weights *weights, uint32_t context_tokens);
void em_builder_free(em_builder *builder);

/* The blocks that are built. */
em_model_blocks em_builder_blocks(const em_builder *builder);

/* The longest sequence that is planned for. */
uint32_t em_builder_context(const em_builder *builder);

/* The weights bound to a slot of a layer (-1: of the whole model), or NULL where the model has none. */
const em_weights *em_builder_weights(const em_builder *builder, int32_t layer, em_tensor_slot slot);

/* The factor that all products with these weights are multiplied with, or NULL. */
const em_weights *em_builder_scale(const em_builder *builder, int32_t layer, em_tensor_slot slot);

/* Adds a part to a linear stage: matrix, factor and bias. bias EM_N_SLOTS: none. */
void em_builder_part(const em_builder *builder, em_stage_linear *linear, int32_t layer, em_tensor_slot slot,
                     em_tensor_slot bias);

em_value em_builder_value(em_builder *builder, uint64_t width, bool outputs_only);
void em_builder_emit(em_builder *builder, em_stage stage);

/* Places the values by their lives and hands the program over. */
em_status em_builder_finish(em_builder *builder, uint32_t max_rows, uint32_t max_outputs, em_value result,
                            em_model_program *out, em_error *error) EM_MUST_USE;

/* --- Parts that families share ------------------------------------------------------------------------------------ */

/* transformer.c. Embedding, final norm and a head that may be missing (the embedding table is the head then). */
extern const em_rule_group em_rules_ends, em_rules_own_head; /* the second needs its head */
extern const em_rule_group em_rules_rope_freqs;              /* frequency factors that a file may have */
/* The embedding, or the input of blocks without it. */
em_value em_build_start(const em_model *model, em_builder *builder);
/* The head of x, or x itself for blocks without it. */
em_value em_build_end(const em_model *model, em_builder *builder, em_value x);
/* Start, layers and end: attention, latent attention or a delta net, then a dense feed-forward part or experts. */
em_value em_build_transformer(const em_model *model, em_builder *builder);
/* x = x + residual_scale * (W in + bias), with a norm of the second summand where post_norm is bound and then a
 * multiplication by scale_by of the sum. EM_N_SLOTS: none. */
typedef struct em_output_slots {
  em_tensor_slot w, bias, post_norm, scale_by;
} em_output_slots;
void em_build_output(const em_model *model, em_builder *builder, int32_t layer, const char *label,
                     em_output_slots slots, em_value in, em_value x);

/* attention.c. Query, key and value as one tensor or three, with or without biases. */
extern const em_rule_group em_rules_attn_norm, em_rules_qkv, em_rules_attn_output;
extern const em_rule_group em_rules_head_norms; /* of each head of query and key */
extern const em_rule_group em_rules_post_norms; /* of what attention and feed-forward part add to the row */
extern const em_rule_group em_rules_gated_qkv;  /* queries that bring a gate for each value */
/* Sets the window of the layers that have one, by attention.sliding_window_pattern or a period: for em_family.shape. */
em_status em_window_shape(em_keys *keys, em_hparams *hparams, uint32_t period, em_error *error) EM_MUST_USE;
/* The stages up to the heads' values, which it returns: qkv, rope-store, attention and the heads' gates. */
em_value em_build_heads(const em_model *model, em_builder *builder, int32_t layer, em_value x);
extern const em_output_slots em_attn_output_slots;
/* Only rope-store and attention. */
typedef struct em_rope_attention {
  em_value qkv, out;
  em_kv_source source;
  em_tensor_slot k_norm;
  bool norm_v;
} em_rope_attention;
void em_build_rope_attention(const em_model *model, em_builder *builder, int32_t layer, em_rope_attention what);

/* latent.c */
extern const em_rule_group em_rules_latent, em_rules_latent_q, em_rules_latent_low_rank_q;
em_value em_build_latent_heads(const em_model *model, em_builder *builder, int32_t layer, em_value x);

/* recurrent.c */
extern const em_rule_group em_rules_recurrent;
/* Which layers are recurrent, and the relations between their keys: for em_family.shape. */
em_status em_recurrent_shape(em_keys *keys, em_hparams *hparams, em_error *error) EM_MUST_USE;
void em_build_recurrent(const em_model *model, em_builder *builder, int32_t layer, em_value x);

/* feed_forward.c. Gate and up as two tensors or as one. */
extern const em_rule_group em_rules_ffn_norm, em_rules_ffn, em_rules_ffn_fused;
extern const em_rule_group em_rules_attn_post_as_ffn_norm; /* post_attention_norm is the norm before this part */
extern const em_output_slots em_ffn_output_slots;
/* The hidden row of x. */
em_value em_build_hidden(const em_model *model, em_builder *builder, int32_t layer, em_value x);

/* What joins gate and up in feed-forward parts and experts. */
em_activation em_model_activation(const em_model *model);

/* experts.c. Router and stacks; the shared expert, with or without a gate. */
extern const em_rule_group em_rules_experts, em_rules_shared_expert, em_rules_shared_expert_gate;
/* The layers with experts have a shared one too, where its width is known: for em_family.shape. */
void em_model_mark_shared(em_hparams *hparams);
/* x = x + experts(norm(x)) + shared expert(norm(x)) */
void em_build_experts(const em_model *model, em_builder *builder, int32_t layer, em_value x);
/* The router and the chosen experts: out = their sum (+ residual). */
typedef struct em_routed {
  em_value x;
  em_tensor_slot norm, router_norm; /* of what the experts take, and of what the router takes */
  float logit_scale;                /* of the router; 0 counts as 1 */
  em_value residual;                /* or EM_NO_VALUE */
  em_value out;
} em_routed;
void em_build_routed(const em_model *model, em_builder *builder, int32_t layer, em_routed what);
