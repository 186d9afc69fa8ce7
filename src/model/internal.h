/* What the files of this room share: hyper-parameters, the table of a family, tensor slots and the program builder. */
#pragma once

#include "model/model.h"

/* --- Hyper-parameters ------------------------------------------------------------------------------------------------
 */

#define EM_MODEL_MAX_LAYERS 1024u
#define EM_MODEL_MAX_EMBD 65536u
#define EM_MODEL_MAX_HEADS 1024u
#define EM_MODEL_MAX_HEAD_DIM 1024u
#define EM_MODEL_MAX_FF (1u << 20)
#define EM_MODEL_MAX_VOCAB (1u << 24)
#define EM_MODEL_MAX_CONTEXT (1u << 27)

typedef struct em_layer_shape {
  uint32_t n_heads, n_kv_heads, n_ff;
} em_layer_shape;

typedef struct em_hparams {
  uint32_t n_context, n_embd, n_layers, n_vocab, n_experts, n_nextn;
  uint32_t k_dim, v_dim, n_rot;
  float norm_eps;
  float rope_base, rope_freq_scale, rope_magnitude;
  float attention_scale;  /* never 0 */
  em_layer_shape *layers; /* [n_layers], of malloc */
} em_hparams;

/* Reads and checks the keys that all families share. arch: the prefix of their names. */
em_status em_hparams_read(const em_gguf *gguf, const char *arch, em_hparams *out, em_error *error) EM_MUST_USE;

/* --- Tensors ------------------------------------------------------------------------------------------------------ */

typedef enum em_tensor_slot {
  /* Of the whole model; they are bound in place of a layer -1. */
  EM_SLOT_TOKEN_EMBD,
  EM_SLOT_OUTPUT_NORM,
  EM_SLOT_OUTPUT,
  EM_SLOT_ROPE_FREQS,
  /* Of a layer. */
  EM_SLOT_ATTN_NORM,
  EM_SLOT_ATTN_QKV,
  EM_SLOT_ATTN_Q,
  EM_SLOT_ATTN_K,
  EM_SLOT_ATTN_V,
  EM_SLOT_ATTN_QKV_BIAS,
  EM_SLOT_ATTN_Q_BIAS,
  EM_SLOT_ATTN_K_BIAS,
  EM_SLOT_ATTN_V_BIAS,
  EM_SLOT_ATTN_Q_NORM,
  EM_SLOT_ATTN_K_NORM,
  EM_SLOT_ATTN_OUTPUT,
  EM_SLOT_ATTN_OUTPUT_BIAS,
  EM_SLOT_FFN_NORM,
  EM_SLOT_FFN_GATE,
  EM_SLOT_FFN_UP,
  EM_SLOT_FFN_DOWN,
  EM_N_SLOTS
} em_tensor_slot;

/* A dimension of an expected shape, computed from the hyper-parameters of the tensor's layer. */
typedef enum em_dim {
  EM_DIM_ONE, /* the second dimension of a vector */
  EM_DIM_EMBD,
  EM_DIM_VOCAB,
  EM_DIM_Q,    /* n_heads * k_dim */
  EM_DIM_K,    /* n_kv_heads * k_dim */
  EM_DIM_V,    /* n_kv_heads * v_dim */
  EM_DIM_QKV,  /* the three together */
  EM_DIM_O,    /* n_heads * v_dim */
  EM_DIM_HEAD, /* k_dim */
  EM_DIM_FF,
  EM_DIM_HALF_ROT /* n_rot / 2 */
} em_dim;

typedef struct em_tensor_rule {
  em_tensor_slot slot;
  const char *name; /* behind "blk.N." in a layer */
  em_dim n_in, n_rows;
  bool optional;
  unsigned use;
} em_tensor_rule;

/* Rules that belong together. */
typedef struct em_rule_group {
  const em_tensor_rule *rules;
  size_t n;
} em_rule_group;

#define EM_RULES(array) {array, sizeof array / sizeof array[0]}

/* --- Families ----------------------------------------------------------------------------------------------------- */

typedef struct em_builder em_builder;

typedef struct em_family {
  const char *name;                                   /* general.architecture */
  const em_rule_group *const *globals, *const *layer; /* each list ends with NULL */
  /* Relations between hyper-parameters that only this family has. NULL: none. */
  em_status (*check)(const em_hparams *hparams, em_error *error);
  /* Emits the stages of the builder's blocks; returns the value of the result. */
  em_value (*build)(const em_model *model, em_builder *builder);
} em_family;

/* Every family there is. A new one stands here and in model.c's table. */
extern const em_family em_family_llama, em_family_qwen2, em_family_qwen3;

struct em_model {
  const em_gguf *gguf;
  const em_family *family;
  em_hparams hparams;
  em_model_facts facts;
  em_model_tensor *tensors; /* those that are used */
  size_t n_tensors;
  int32_t *bound;         /* [n_layers + 1][EM_N_SLOTS]: index of a tensor, or -1; the first row is the whole model's */
  em_kv_layer *kv_layers; /* [n_layers] */
};

struct em_model_weights {
  const em_model *model;
  em_model_blocks blocks;
  em_weights **items; /* [n_tensors]; NULL where no block needs the tensor */
};

/* The weights bound to a slot of a layer (-1: of the whole model), or NULL where the model has none. */
const em_weights *em_model_weights_at(const em_model_weights *weights, int32_t layer, em_tensor_slot slot);

/* --- The builder -------------------------------------------------------------------------------------------------- */

/* Starts with no stage. Failures latch and are reported by em_builder_finish. */
em_builder *em_builder_new(const em_model_weights *weights);
void em_builder_free(em_builder *builder);

/* The blocks that are built. */
em_model_blocks em_builder_blocks(const em_builder *builder);

/* The weights bound to a slot of a layer (-1: of the whole model), or NULL where the model has none. */
const em_weights *em_builder_weights(const em_builder *builder, int32_t layer, em_tensor_slot slot);

em_value em_builder_value(em_builder *builder, uint32_t width, bool outputs_only);
void em_builder_emit(em_builder *builder, em_stage stage);

/* Places the values by their lives and hands the program over. */
em_status em_builder_finish(em_builder *builder, uint32_t max_rows, uint32_t max_outputs, em_value result,
                            em_model_program *out, em_error *error) EM_MUST_USE;

/* --- Parts that families share ------------------------------------------------------------------------------------ */

/* Embedding, final norm and a head that may be missing (the embedding table is the head then). */
extern const em_rule_group em_rules_ends;
/* Of a layer: norms and output projection; query, key and value as one tensor or three, with or without biases; gate,
 * up and down. */
extern const em_rule_group em_rules_attention, em_rules_ffn;

/* The stages of a dense transformer, as far as they are asked for: embedding; for each layer qkv, rope and store,
 * attention, output projection, gate and up, down; the head. Biases, per-head norms, frequency factors and a fused qkv
 * are used where they are bound. */
em_value em_build_dense(const em_model *model, em_builder *builder, em_rope_kind rope);
