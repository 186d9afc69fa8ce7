/* Hyper-parameters: what the metadata says about a model's shape, inside limits.
 *
 * These values become divisors, counts and sizes. A key is read by a rule with a least and a greatest value, and
 * nothing outside of them gets any further. */
#pragma once

#include "backend/backend.h"
#include "gguf/gguf.h"

#define EM_MODEL_MAX_LAYERS 1024u
#define EM_MODEL_MAX_EMBD 65536u
#define EM_MODEL_MAX_HEADS 1024u
#define EM_MODEL_MAX_HEAD_DIM 1024u
#define EM_MODEL_MAX_FF (1u << 20)
#define EM_MODEL_MAX_VOCAB (1u << 24)
#define EM_MODEL_MAX_CONTEXT (1u << 27)
#define EM_MODEL_MAX_EXPERTS 4096u
#define EM_MODEL_MAX_EXPERTS_USED 256u
#define EM_MODEL_MAX_CONV 64u

/* What a layer consists of. */
enum {
  EM_LAYER_ATTENTION = 1,     /* over a KV cache */
  EM_LAYER_LATENT = 2,        /* the attention's keys and values are made from one short vector, which is cached */
  EM_LAYER_RECURRENT = 4,     /* a gated delta net instead of attention */
  EM_LAYER_FEED_FORWARD = 8,  /* dense */
  EM_LAYER_EXPERTS = 16,      /* may stand beside a dense one */
  EM_LAYER_SHARED = 32,       /* one expert that every token takes */
  EM_LAYER_LOW_RANK_Q = 64,   /* the query is made by two matrices */
  EM_LAYER_ROW_EMBD = 128,    /* an embedding of its own for each token */
  EM_LAYER_BORROWS_KV = 256,  /* attends to the keys and values of an earlier layer */
  EM_LAYER_ROPE_FACTORS = 512 /* the file's frequency factors hold here */
};

typedef struct em_layer {
  unsigned parts; /* of EM_LAYER_... */
  uint32_t n_heads, n_kv_heads;
  uint32_t k_dim, v_dim; /* of a head, as cached */
  uint32_t n_ff;         /* 0: there was no such key */
  uint32_t window;       /* 0: none */
  float scale;           /* of the scores */
  em_rope rope;          /* without its factors */
  uint32_t kv_layer;     /* whose cache it attends to: its own number, or an earlier layer's */
} em_layer;

typedef struct em_hparams {
  uint32_t n_context, n_embd, n_layers, n_vocab;
  uint32_t n_nextn; /* blocks behind the layers that predict further tokens; they are not computed */
  float norm_eps;
  /* Heads and rotation where a layer has no others. */
  uint32_t k_dim, v_dim, n_rot;
  float rope_base;
  em_rope rope;             /* with scaling, for n_rot and rope_base */
  uint32_t rope_n_original; /* positions that the model was first trained on */
  float rope_log_multiplier, rope_factor;
  bool has_longrope;
  float attention_scale; /* 0: 1 / sqrt(k_dim) */
  float q_log_scale;     /* of em_stage_rope_store */
  bool norms_values;     /* norm_v of em_stage_rope_store */
  float attention_softcap, output_softcap, embedding_scale, residual_scale, logit_scale;
  uint32_t window; /* of layers that have one */
  uint32_t k_dim_window, v_dim_window, n_rot_window;
  float rope_base_window;
  /* Experts. */
  uint32_t n_experts, n_experts_used, n_ff_expert, n_ff_shared, n_shared_experts, n_dense_layers;
  uint32_t n_expert_groups, n_expert_groups_used;
  float expert_weights_scale;
  bool expert_weights_norm;
  uint32_t expert_gating; /* the file's number; 0: the family's */
  em_gating gating;
  /* Latent attention. */
  uint32_t q_rank, kv_rank, latent_k_dim, latent_v_dim;
  /* Gated delta nets. */
  uint32_t n_conv, ssm_k_dim, ssm_n_k, ssm_n_v, ssm_inner, recurrent_period;
  bool has_tiled_heads; /* of em_stage_delta_net */
  /* Embeddings of each layer, and the layers at the end that have no KV cache of their own. */
  uint32_t n_embd_layer, n_kv_borrowers;
  em_layer *layers; /* [n_layers], of malloc */
} em_hparams;

/* --- Keys --------------------------------------------------------------------------------------------------------- */

typedef enum em_key_kind { EM_KEY_U32, EM_KEY_F32, EM_KEY_BOOL } em_key_kind;

typedef struct em_key_rule {
  const char *key; /* behind "<architecture>." */
  em_key_kind kind;
  bool required; /* else the field keeps the default it has */
  size_t offset; /* in em_hparams */
  double min, max;
} em_key_rule;

typedef struct em_key_group {
  const em_key_rule *rules;
  size_t n;
} em_key_group;

#define EM_KEY_FIELD(name) offsetof(em_hparams, name)
#define EM_KEYS(array) {array, sizeof array / sizeof array[0]}

typedef struct em_keys {
  const em_gguf *gguf;
  const char *arch;  /* the prefix of the keys */
  uint32_t n_blocks; /* the length of arrays: with the blocks that predict further tokens */
  char name[192];
} em_keys;

/* The whole name of a key, until the next call. */
const char *em_keys_name(em_keys *keys, const char *key);
bool em_keys_has(em_keys *keys, const char *key);

/* Reads a group's keys into *out. Errors: EM_ERR_FORMAT, with the key's name. */
em_status em_keys_read(em_keys *keys, em_key_group group, em_hparams *out, em_error *error) EM_MUST_USE;

/* Reads a key that is one number for all layers or an array with one for each, 0 .. max where none_is_legal, else
 * 1 .. max, into the field of em_layer at offset. Without the key the fields stay as they are. */
em_status em_keys_per_layer(em_keys *keys, const char *key, size_t offset, bool none_is_legal, uint32_t max,
                            em_hparams *out, em_error *error) EM_MUST_USE;

/* Which layers are of a kind: an array with a truth for each, or a period n whose last layer of n is not. */
typedef struct em_pattern {
  uint32_t period;      /* 0: no layer */
  const uint8_t *items; /* or NULL */
} em_pattern;

/* *out holds the default before the call and keeps it without the key. */
em_status em_keys_pattern(em_keys *keys, const char *key, em_pattern *out, em_error *error) EM_MUST_USE;
bool em_pattern_at(const em_pattern *pattern, uint32_t layer);

/* Keys that several families share. */
extern const em_key_group em_keys_experts;     /* counts, groups, gating and weights of experts */
extern const em_key_group em_keys_expert_ff;   /* the width of an expert */
extern const em_key_group em_keys_shared_ff;   /* the width of the shared expert */
extern const em_key_group em_keys_window;      /* the length of the sliding window, required */
extern const em_key_group em_keys_window_dims; /* heads and rotation of the layers with a window */
extern const em_key_group em_keys_softcaps;
extern const em_key_group em_keys_layer_norm; /* the epsilon of layer norms, required */
extern const em_key_group em_keys_rms_norm;   /* that of RMS norms, required */
extern const em_key_group em_keys_recurrent;

/* --- Reading ------------------------------------------------------------------------------------------------------ */

struct em_family;

/* Reads and checks all keys for a family: those that all families share, the family's own, then the family's relations
 * between them. */
em_status em_hparams_read(const em_gguf *gguf, const struct em_family *family, em_hparams *out,
                          em_error *error) EM_MUST_USE;
void em_hparams_clear(em_hparams *hparams);

/* The model's rotation for another number of values and another base; without its scaling where is_scaled is false. */
em_rope em_hparams_rope(const em_hparams *hparams, uint32_t n_rot, float base, bool is_scaled);

/* rope.c: reads the keys of the rotation's scaling into rope, rope_factor and rope_n_original. */
em_status em_hparams_read_scaling(em_keys *keys, bool longrope, em_hparams *out, em_error *error) EM_MUST_USE;
