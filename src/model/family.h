/* Families: a table for each general.architecture that can be run, and the model that is made by it. */
#pragma once

#include "model/rules.h"

struct em_builder;

/* What a family's files may have beside what all may. */
enum {
  EM_HAS_EXPERTS = 1,
  EM_HAS_NEXTN = 2,
  EM_HAS_LONGROPE = 4,
  EM_HAS_PARALLEL = 8,       /* attention and feed-forward part take the same row */
  EM_HAS_ONLY_EXPERTS = 16,  /* every layer has experts */
  EM_HAS_NORMED_ROUTES = 32, /* the weights of a token's experts are divided by their sum unless a key says otherwise */
  EM_HAS_WIDE_EXPERTS = 64   /* without a width of their own experts are as wide as a dense part, else all together */
};

typedef struct em_family {
  const char *name; /* general.architecture */
  unsigned has;     /* of EM_HAS_... */
  em_rope_kind rope;
  em_norm_kind norm;
  em_activation activation;                           /* of feed-forward parts; EM_ACT_NONE counts as EM_ACT_SWIGLU */
  em_gating gating;                                   /* of experts, unless a key says otherwise */
  const em_key_group *const *keys;                    /* ends with NULL; NULL: none */
  const em_rule_group *const *globals, *const *layer; /* each list ends with NULL */
  /* Defaults before the family's keys are read. NULL: none. */
  void (*defaults)(em_hparams *hparams);
  /* After all keys: the shapes of the layers, and relations that only this family has. NULL: nothing. */
  em_status (*shape)(em_keys *keys, em_hparams *hparams, em_error *error);
  /* Emits the stages of the builder's blocks; returns the value of the result. */
  em_value (*build)(const em_model *model, struct em_builder *builder);
} em_family;

/* Every family there is. A new one stands here and in families.c's table. */
extern const em_family em_family_chatglm, em_family_cohere2, em_family_command_r, em_family_deepseek2, em_family_gemma2,
    em_family_gemma3, em_family_gemma4, em_family_glm4, em_family_glm4moe, em_family_gpt_oss, em_family_granite,
    em_family_granitemoe, em_family_llama, em_family_minimax_m2, em_family_mistral3, em_family_olmo2, em_family_phi3,
    em_family_qwen2, em_family_qwen2moe, em_family_qwen3, em_family_qwen35, em_family_qwen35moe, em_family_qwen3moe,
    em_family_qwen3next, em_family_smollm3;

/* The family of a name, or NULL. */
const em_family *em_family_find(em_text name);

struct em_model {
  const em_gguf *gguf;
  const em_family *family;
  em_hparams hparams;
  em_model_facts facts;
  em_model_tensor *tensors; /* those that are used */
  size_t n_tensors, max_tensors;
  int32_t *bound;  /* [n_layers + 1][EM_N_SLOTS]: number of a tensor, or -1; the first row is the whole model's */
  int32_t *scales; /* the same for the factors of weights (".scale") */
  em_kv_layer *kv_layers;       /* of the layers that have a cache, in their order */
  em_state_layer *state_layers; /* of those that have a state */
  uint32_t *kv_index;           /* [n_layers + 1]: how many before a layer have a cache */
  uint32_t *state_index;        /* [n_layers + 1] */
};

struct em_model_weights {
  const em_model *model;
  em_model_blocks blocks;
  em_weights **items; /* [n_tensors]; NULL where no block needs the tensor */
};
