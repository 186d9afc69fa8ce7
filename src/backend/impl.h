/* What the front (backend.c) and the implementations share. Included by nothing outside this folder.
 *
 * Each implementation embeds the common structures as the first member of its own and fills one function table. The
 * front has checked every argument before it calls; implementations rely on that. Entries are required that are not
 * said to be optional.
 */
#pragma once

#include "backend/backend.h"

/* What of backend.h a backend runs, for em_backend_fns.runs: kinds of stages, and what not every backend has of them.
 */
#define EM_RUNS_KIND(kind) (1ull << (kind))
#define EM_RUNS_EMBED_SUMS (1ull << 32)    /* embed: positions, types */
#define EM_RUNS_LAYER_NORM (1ull << 33)    /* linear: norm_kind, norm_bias */
#define EM_RUNS_LINEAR_SCALES (1ull << 34) /* linear: w_scale, scale, softcap */
#define EM_RUNS_LINEAR_PARTS (1ull << 35)  /* linear: more than three matrices */
#define EM_RUNS_ACTIVATIONS (1ull << 36)   /* linear: others than EM_ACT_SWIGLU */
#define EM_RUNS_ROPE_RAMP (1ull << 37)     /* rope_store: offset, YaRN, q_log_scale */
#define EM_RUNS_KV_SOURCES \
  (1ull << 38) /* rope_store, attention: sources but EM_KV_FROM_ROW, rows wider than q, k and v */
#define EM_RUNS_HEAD_NORMS (1ull << 39) /* rope_store: norms of another length than a head, norm_v */
#define EM_RUNS_WINDOW (1ull << 40)     /* attention */
#define EM_RUNS_SOFTCAP (1ull << 41)    /* attention */
#define EM_RUNS_SINKS (1ull << 42)      /* attention */
#define EM_RUNS_BOTH_WAYS (1ull << 43)  /* attention */
#define EM_RUNS_STACKS (1ull << 44)     /* weights: EM_USE_STACK */
#define EM_RUNS_V_IN_K (1ull << 45)     /* caches */
#define EM_RUNS_STATES (1ull << 46)     /* caches; then kv_copy_state is required */
#define EM_RUNS_ALL UINT64_MAX

typedef struct em_backend_fns {
  uint64_t runs; /* EM_RUNS_...; the front refuses everything else with EM_ERR_UNSUPPORTED */
  void (*close)(em_backend *backend);
  uint64_t (*available_memory)(const em_backend *backend); /* optional */

  em_status (*weights_bytes)(const em_backend *backend, const em_weights_desc *desc, uint64_t *out, em_error *error);
  /* The front fills the common part of *out after success. read NULL: only what program_bytes looks at is made. */
  em_status (*weights_new)(em_backend *backend, const em_weights_desc *desc, em_read_fn read, void *user,
                           em_weights **out, em_error *error);
  void (*weights_free)(em_weights *weights);

  em_status (*kv_bytes)(const em_backend *backend, const em_kv_desc *desc, uint64_t *out, em_error *error);
  em_status (*kv_new)(em_backend *backend, const em_kv_desc *desc, em_kv **out, em_error *error);
  void (*kv_free)(em_kv *kv);
  em_status (*kv_copy)(em_kv *kv, uint32_t from, uint32_t to, uint32_t n_tokens, em_error *error);
  em_status (*kv_copy_state)(em_kv *kv, uint32_t from, uint32_t to, em_error *error); /* optional, see runs */

  em_status (*program_bytes)(const em_backend *backend, const em_program_desc *desc, uint64_t *out, em_error *error);
  em_status (*program_prepare)(em_backend *backend, const em_program_desc *desc, em_error *error); /* optional */
  em_prepare_times (*prepare_times)(em_backend *backend);                                          /* optional */
  /* Makes the structure with its own parts only; the front has copied the description into `common`, which the
   * implementation moves into the first member of its structure, and owns again only when the call fails. */
  em_status (*program_new)(em_backend *backend, const em_program *common, em_program **out, em_error *error);
  void (*program_free)(em_program *program); /* frees its own parts and the structure, not the common copies */
  em_status (*run)(em_program *program, const em_step *step, em_error *error);
  const float *(*result)(const em_program *program, uint32_t row);
  const em_top *(*top)(const em_program *program, uint32_t output); /* optional, with em_program.max_top */

  em_status (*measure)(em_backend *backend, uint64_t bytes, em_backend_speed *out, em_error *error); /* optional */
} em_backend_fns;

struct em_backend {
  const em_backend_fns *fns;
  em_device_kind kind;
  char name[64];
  uint64_t own_memory_bytes; /* as em_backend_own_memory says */
  uint64_t reserve_bytes;    /* as em_backend_reserve says */
  uint32_t few_rows;         /* as em_backend_few_rows says */
};

struct em_weights {
  em_backend *backend;
  em_type type; /* of the file */
  uint64_t n_in, n_rows;
  uint32_t n_matrices;
  unsigned use;
  uint64_t stored_bytes; /* as em_weights_bytes says */
  bool without_data;     /* made without a reader: for sizes only */
};

struct em_kv {
  em_backend *backend;
  em_type type;
  em_kv_layer *layers; /* a copy that the front owns */
  uint32_t n_layers, n_pages;
  em_state_layer *state_layers; /* a copy that the front owns */
  uint32_t n_state_layers, n_states;
};

struct em_program {
  em_backend *backend;
  em_program_desc desc;    /* its stages and values are copies that the front owns */
  uint8_t *slot_seen;      /* [max_slots], scratch of the step's check */
  uint8_t *state_seen;     /* [kv->n_states], the same */
  uint64_t min_table_rows; /* rows of the smallest embedding table; UINT64_MAX without one */
  bool has_input;          /* its first stage is EM_STAGE_INPUT */
  bool has_both_ways;      /* a stage's attention is */
  bool has_windows;        /* a stage's attention has one */
  uint32_t max_top,
      max_ahead; /* as em_program_max_top and em_program_max_ahead say; set by program_new where they are not 0, 1 */
  uint32_t n_picked;                            /* of the last step: what em_program_top may be asked for */
  uint64_t row_bytes, step_bytes, output_bytes; /* of weights in the file that a step reads: for each row, once, and
                                                   once if it has outputs */
  uint64_t kv_bytes;                            /* that a position takes in the layers read without a window */
  uint64_t state_bytes;                         /* of one slot in the layers read */
  em_step_counters counters; /* of the last step; run fills expert_bytes and what is no bytes, the front the rest */
};

/* The devices. Each opens with checked params. */
em_status em_null_open(const em_backend_params *params, em_backend **out, em_error *error);
em_status em_cpu_open(const em_backend_params *params, em_backend **out, em_error *error);
em_status em_vulkan_open(const em_backend_params *params, em_backend **out, em_error *error);

#define EM_KV_MAX_PAGES (1u << 24)

/* The checks of everything in a description; see em_program_new. */
em_status em_check_program(const em_backend *backend, const em_program_desc *desc, em_error *error);

/* Bytes in the file of what a stage of experts reads for each expert that is chosen: its matrices, biases and scales.
 */
uint64_t em_expert_bytes(const em_stage *stage);

/* What of a value's rows a step uses. */
static inline uint32_t em_value_max_rows(const em_program_desc *desc, em_value value) {
  return desc->values[value].outputs_only ? desc->max_outputs : desc->max_rows;
}
