/* Tensors: the slots that a model's parts take their weights from, and the rules by which a file's tensors are bound to
 * them. A rule names a tensor and the shape it must have, computed from the hyper-parameters; the shape is compared
 * exactly. A rule may bind a slot to some of a tensor's rows (a view); the rules that match a tensor must use each of
 * its rows once. */
#pragma once

#include "model/hparams.h"
#include "model/model.h"

typedef enum em_tensor_slot {
  /* Of the whole model; they are bound in place of a layer -1. */
  EM_SLOT_TOKEN_EMBD,
  EM_SLOT_OUTPUT_NORM,
  EM_SLOT_OUTPUT,
  EM_SLOT_ROPE_FREQS,
  EM_SLOT_ROPE_LONG,
  EM_SLOT_ROPE_SHORT,
  EM_SLOT_LAYER_EMBD,
  EM_SLOT_LAYER_EMBD_PROJ,
  EM_SLOT_LAYER_EMBD_NORM,
  /* Of a layer's attention. */
  EM_SLOT_ATTN_NORM,
  EM_SLOT_ATTN_QKV,
  EM_SLOT_ATTN_Q,
  EM_SLOT_ATTN_K,
  EM_SLOT_ATTN_V,
  EM_SLOT_ATTN_GATE,
  EM_SLOT_ATTN_QKV_BIAS,
  EM_SLOT_ATTN_Q_BIAS,
  EM_SLOT_ATTN_K_BIAS,
  EM_SLOT_ATTN_V_BIAS,
  EM_SLOT_ATTN_Q_NORM,
  EM_SLOT_ATTN_K_NORM,
  EM_SLOT_ATTN_SINKS,
  EM_SLOT_ATTN_OUTPUT,
  EM_SLOT_ATTN_OUTPUT_BIAS,
  EM_SLOT_ATTN_POST_NORM,
  /* Of latent attention. */
  EM_SLOT_Q_A,
  EM_SLOT_Q_A_NORM,
  EM_SLOT_Q_NOPE,
  EM_SLOT_Q_ROPE,
  EM_SLOT_KV_A,
  EM_SLOT_KV_A_NORM,
  EM_SLOT_K_B,
  EM_SLOT_V_B,
  /* Of a gated delta net. */
  EM_SLOT_SSM_QKV,
  EM_SLOT_SSM_Z,
  EM_SLOT_SSM_BETA,
  EM_SLOT_SSM_ALPHA,
  EM_SLOT_SSM_CONV,
  EM_SLOT_SSM_A,
  EM_SLOT_SSM_DT,
  EM_SLOT_SSM_NORM,
  EM_SLOT_SSM_OUT,
  /* Of the feed-forward part. */
  EM_SLOT_FFN_NORM,
  EM_SLOT_FFN_GATE,
  EM_SLOT_FFN_UP,
  EM_SLOT_FFN_DOWN,
  EM_SLOT_FFN_POST_NORM,
  EM_SLOT_ROUTER,
  EM_SLOT_ROUTER_NORM,
  EM_SLOT_ROUTER_BIAS,
  EM_SLOT_ROUTER_SELECT_BIAS,
  EM_SLOT_GATE_EXPS,
  EM_SLOT_UP_EXPS,
  EM_SLOT_DOWN_EXPS,
  EM_SLOT_GATE_EXPS_BIAS,
  EM_SLOT_UP_EXPS_BIAS,
  EM_SLOT_DOWN_EXPS_BIAS,
  EM_SLOT_EXPS_NORM,
  EM_SLOT_EXPS_POST_NORM,
  EM_SLOT_DENSE_POST_NORM,
  EM_SLOT_SHARED_GATE_INP,
  EM_SLOT_SHARED_GATE,
  EM_SLOT_SHARED_UP,
  EM_SLOT_SHARED_DOWN,
  /* Of a layer's own embeddings. */
  EM_SLOT_ROW_EMBD_GATE,
  EM_SLOT_ROW_EMBD_PROJ,
  EM_SLOT_ROW_EMBD_NORM,
  EM_SLOT_LAYER_SCALE,
  EM_N_SLOTS
} em_tensor_slot;

/* A dimension of an expected shape, computed from the hyper-parameters of the tensor's layer. */
typedef enum em_dim {
  EM_DIM_NONE, /* what is left out of a rule */
  EM_DIM_ONE,  /* the second dimension of a vector */
  EM_DIM_EMBD,
  EM_DIM_VOCAB,
  EM_DIM_HEADS,
  EM_DIM_HEAD,     /* k_dim */
  EM_DIM_TWO_HEAD, /* 2 k_dim */
  EM_DIM_Q,        /* n_heads * k_dim */
  EM_DIM_TWO_Q,
  EM_DIM_K,        /* n_kv_heads * k_dim */
  EM_DIM_V,        /* n_kv_heads * v_dim */
  EM_DIM_QKV,      /* the three together */
  EM_DIM_O,        /* n_heads * v_dim */
  EM_DIM_HALF_ROT, /* n_rot / 2 */
  EM_DIM_FF,
  EM_DIM_TWO_FF,
  EM_DIM_EXPERTS,
  EM_DIM_EXPERT_FF,
  EM_DIM_TWO_EXPERT_FF,
  EM_DIM_SHARED_FF,
  EM_DIM_Q_RANK,
  EM_DIM_KV_RANK,
  EM_DIM_KV_A,          /* kv_rank + n_rot */
  EM_DIM_LATENT_K,      /* latent_k_dim: of a head's query */
  EM_DIM_LATENT_Q,      /* n_heads * latent_k_dim */
  EM_DIM_NOPE,          /* latent_k_dim - n_rot */
  EM_DIM_ROT,           /* n_rot */
  EM_DIM_LATENT_V,      /* latent_v_dim */
  EM_DIM_LATENT_KV,     /* NOPE + LATENT_V */
  EM_DIM_LATENT_ALL_KV, /* n_heads * LATENT_KV */
  EM_DIM_LATENT_O,      /* n_heads * latent_v_dim */
  EM_DIM_CONV,          /* n_conv */
  EM_DIM_SSM_K,         /* ssm_k_dim */
  EM_DIM_SSM_TWO_K,
  EM_DIM_SSM_V,   /* the length of a value head: ssm_inner / ssm_n_v */
  EM_DIM_SSM_N_V, /* ssm_n_v */
  EM_DIM_SSM_TWO_N_V,
  EM_DIM_SSM_RATIO, /* value heads for each key head: ssm_n_v / ssm_n_k */
  EM_DIM_SSM_TWO_RATIO,
  EM_DIM_SSM_INNER,
  EM_DIM_SSM_CHANNELS,  /* 2 ssm_n_k * ssm_k_dim + ssm_inner */
  EM_DIM_SSM_IN,        /* SSM_CHANNELS + ssm_inner */
  EM_DIM_SSM_GROUP,     /* of SSM_IN, the rows of one key head */
  EM_DIM_SSM_GROUP_V,   /* values of one key head: ratio * length of a value head */
  EM_DIM_SSM_GROUP_Z,   /* where the gates of a key head begin in its group */
  EM_DIM_LAYER_EMBD,    /* n_embd_layer */
  EM_DIM_ALL_LAYER_EMBD /* n_embd_layer * n_layers */
} em_dim;

/* Of each group of `group` rows the rows first .. first + count - 1; with several parts all groups' rows of the first
 * part, then those of the second and so on. */
typedef struct em_view_rule {
  em_dim group;                                              /* EM_DIM_NONE: all rows */
  em_dim first[EM_VIEW_MAX_PARTS], count[EM_VIEW_MAX_PARTS]; /* a first of EM_DIM_NONE is row 0 */
} em_view_rule;

typedef enum em_rule_need {
  EM_NEEDED,
  EM_OPTIONAL,
  EM_ALTERNATIVE, /* of the rules of this slot just one finds its tensor */
  EM_UNUSED       /* the tensor may be there and is not looked at */
} em_rule_need;

typedef struct em_tensor_rule {
  em_tensor_slot slot;
  const char *name;    /* behind "blk.N." in a layer */
  em_dim n_in, n_rows; /* of the file's tensor; of a vector all dimensions together are its length */
  em_rule_need need;
  unsigned use;
  em_dim n_matrices; /* of a stack, the third dimension */
  em_view_rule view;
  bool flat;       /* of a stack: the matrices are groups of rows, and there is no third dimension */
  bool transposed; /* of a stack: the matrices' columns are rows in the file */
} em_tensor_rule;

/* Rules that belong together. */
typedef struct em_rule_group {
  const em_tensor_rule *rules;
  size_t n;
  unsigned needs, lacks; /* EM_LAYER_...: it holds for layers that have all of the one and none of the other */
  /* What the rules cannot say. NULL: nothing. */
  em_status (*check)(const em_model *model, int32_t layer, em_error *error);
} em_rule_group;

#define EM_RULES(array) .rules = array, .n = sizeof array / sizeof array[0]

/* The value of a dimension; layer -1 counts as 0. */
uint64_t em_dim_value(const em_hparams *hparams, int32_t layer, em_dim dim);

/* Binds every tensor of the file for the model's family, and checks that every tensor is asked for. */
em_status em_model_bind(em_model *model, em_error *error) EM_MUST_USE;

/* The number of the tensor bound to a slot of a layer (-1: of the whole model), or -1. */
int32_t em_model_bound(const em_model *model, int32_t layer, em_tensor_slot slot);
/* The same for the factor of what is bound there. */
int32_t em_model_bound_scale(const em_model *model, int32_t layer, em_tensor_slot slot);
