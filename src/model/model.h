/* A model: the meaning of a GGUF file. It checks the hyper-parameters and binds every tensor, says what the model
 * costs, uploads the weights to a backend and emits the stages of a step.
 *
 * em_model_open reads no tensor data. After EM_OK every hyper-parameter is inside its limits, the relations between
 * them hold, and every tensor has exactly the shape they ask for; what is not understood was refused by name, so that
 * no file runs wrongly in silence.
 *
 * An em_model is immutable after opening: reading it from several threads is safe. The em_gguf must outlive it.
 */
#pragma once

#include "backend/backend.h"
#include "gguf/gguf.h"

typedef struct em_model em_model;
typedef struct em_model_weights em_model_weights;

/* Errors: EM_ERR_UNSUPPORTED (a family, tensor type or feature that cannot be run, named), EM_ERR_FORMAT (a key or
 * tensor that is missing, out of its range or of the wrong shape, named), EM_ERR_NO_MEMORY. */
em_status em_model_open(const em_gguf *gguf, em_model **out, em_error *error) EM_MUST_USE;
void em_model_close(em_model *model); /* NULL is legal */

/* --- Facts -------------------------------------------------------------------------------------------------------- */

typedef struct em_model_facts {
  char architecture[64]; /* the file's own word: "llama" */
  char name[128];        /* general.name, or "" */
  uint32_t n_layers, n_embd, n_vocab;
  uint32_t train_context_tokens;
  uint32_t n_experts, n_experts_used;   /* in each layer that has any, and those that a token is sent to; 0: dense */
  uint32_t n_kv_layers, n_state_layers; /* that keep keys and values, and that are recurrent */
  uint64_t n_parameters;                /* values of all tensors that are used; a tied head counts once */
  uint64_t n_parameters_active;         /* of them without the experts that a token is not sent to */
  uint64_t weights_bytes;               /* of these tensors in the file */
  uint64_t weights_bytes_per_token; /* of them, what the decoding of one token reads: every matrix and vector once, of
                                       experts those that are chosen, and one row of an embedding table. The same on
                                       every backend; see em_step_counters */
  uint64_t state_bytes;             /* of the recurrent layers, for each sequence; 0: no layer is recurrent */
  uint32_t n_nextn;                 /* blocks of the file that predict further tokens, which are not used, */
  uint64_t nextn_bytes;             /* and the size of their tensors */
  bool is_divisible;                /* its layers can be shared between devices; else all blocks are one part */
} em_model_facts;
const em_model_facts *em_model_get_facts(const em_model *model);

/* Some of a tensor's rows: of each group of group_rows rows those from first on, count of them. With several parts
 * those of all groups' first part, then those of the second and so on. */
#define EM_VIEW_MAX_PARTS 3
typedef struct em_model_view {
  uint64_t group_rows;  /* 0: all rows */
  uint64_t group_count; /* rows of a group that belong to it, in all parts */
  uint32_t n_parts;
  uint64_t first[EM_VIEW_MAX_PARTS], count[EM_VIEW_MAX_PARTS];
} em_model_view;

/* A tensor that is used, or a part of one that is used for several things. */
typedef struct em_model_tensor {
  const em_gguf_tensor *file; /* name, type and the whole tensor's shape and bytes */
  unsigned use;               /* of em_weights_use; 0: it is there and not needed */
  int32_t layer;              /* that it is of, or -1 */
  uint64_t n_in, n_rows;      /* of the weights made of it; of a stack, of one matrix */
  uint32_t n_matrices;        /* of a stack, or those that a vector has equal shares for; else 0 */
  uint32_t n_read;            /* of them, those that one token reads */
  bool is_spare;              /* another one is read in its place */
  uint64_t file_rows, bytes;  /* rows of the file and their bytes */
  em_model_view view;
  bool is_transposed; /* a stack whose matrices' columns are rows of the file; the weights made of it are F32 */
} em_model_tensor;

size_t em_model_n_tensors(const em_model *model);
em_model_tensor em_model_tensor_at(const em_model *model, size_t i); /* i < em_model_n_tensors */

/* What decoding one token reads of weights whose stored size is bytes: all of a matrix or vector, a row of a table, the
 * chosen matrices of a stack. */
uint64_t em_model_tensor_step_bytes(em_model_tensor tensor, uint64_t bytes);

/* The type and the bytes of what a backend is given of a tensor: those of the file, but for what is transposed. */
em_type em_model_tensor_type(const em_model_tensor *tensor);
uint64_t em_model_tensor_bytes(const em_model_tensor *tensor);

/* A model is a row of n_layers + 2 blocks: the embedding (0), the layers (1 .. n_layers) and the head. Some of them,
 * one behind the other, are what a device computes: blocks first .. end - 1. */
typedef struct em_model_blocks {
  uint32_t first, end; /* first < end <= n_layers + 2 */
} em_model_blocks;

em_model_blocks em_model_all_blocks(const em_model *model);

/* The layers among the blocks: numbers *first .. *first + *n - 1 of 0 .. n_layers - 1. */
void em_model_layers_of(const em_model *model, em_model_blocks blocks, uint32_t *first, uint32_t *n);

/* The layers of the blocks' KV cache: em_kv_desc.layers. The array lives as long as the model. */
const em_kv_layer *em_model_kv_layers(const em_model *model, em_model_blocks blocks, uint32_t *n_layers);

/* The blocks' recurrent layers: em_kv_desc.state_layers. The array lives as long as the model. */
const em_state_layer *em_model_state_layers(const em_model *model, em_model_blocks blocks, uint32_t *n_layers);

/* Bytes one position takes in a KV cache of this type; 0 when the type cannot hold the heads (Q8_0 needs multiples of
 * 32). Layers with a sliding window keep every position too. */
uint64_t em_model_kv_token_bytes(const em_model *model, em_type type);

/* Bytes of the cache that decoding a token reads whose sequence has n_tokens positions with it: in layers with a
 * sliding window those inside of it. */
uint64_t em_model_kv_read_bytes(const em_model *model, em_type type, uint32_t n_tokens);

/* --- Weights on a backend ----------------------------------------------------------------------------------------- */

/* Bytes of the blocks' weights as the backend would store them. EM_ERR_UNSUPPORTED names a tensor type it cannot hold.
 * *step_bytes (or NULL): what decoding one token reads of them. */
em_status em_model_weights_bytes(const em_model *model, em_model_blocks blocks, const em_backend *backend,
                                 uint64_t *out, uint64_t *step_bytes, em_error *error) EM_MUST_USE;

/* Called on the loading thread about every 10 ms of reading and at the end, with bytes of the file; returning false
 * cancels. */
typedef bool (*em_model_progress_fn)(void *user, uint64_t done_bytes, uint64_t total_bytes);

/* Bytes of the file that em_model_load reads for the blocks, and counts as progress. */
uint64_t em_model_file_bytes(const em_model *model, em_model_blocks blocks);

/* Reads every tensor of the blocks and uploads it. progress may be NULL. At the end the file must still be the one that
 * was opened. Errors: EM_ERR_CANCELLED, EM_ERR_CHANGED, EM_ERR_IO, EM_ERR_NO_MEMORY, those of the backend. */
em_status em_model_load(const em_model *model, em_model_blocks blocks, em_backend *backend,
                        em_model_progress_fn progress, void *user, em_model_weights **out, em_error *error) EM_MUST_USE;

/* Makes weights without data, which serve only to size a program before loading. */
em_status em_model_describe(const em_model *model, em_model_blocks blocks, em_backend *backend, em_model_weights **out,
                            em_error *error) EM_MUST_USE;
void em_model_weights_free(em_model_weights *weights); /* NULL is legal; before the backend is closed */

/* --- The program -------------------------------------------------------------------------------------------------- */

/* The part of an em_program_desc that a model decides. Owned by the caller, emptied by em_model_program_clear. */
typedef struct em_model_program {
  em_stage *stages;
  uint32_t n_stages;
  em_value_desc *values;
  uint32_t n_values;
  uint64_t scratch_floats;
  em_value result;
} em_model_program;

/* Emits the stages of a step of at most max_rows rows and max_outputs output rows (1 <= max_outputs <= max_rows) for
 * the blocks that the weights are of, and places the values: those whose lives do not meet share memory. Blocks without
 * the embedding begin with an input, the rows [rows, n_embd] that the blocks before them end with; their KV and state
 * layers count from the first among them. context_tokens: the longest sequence that is planned for; some models rotate
 * otherwise in long contexts. The sizes do not depend on it. */
em_status em_model_build(const em_model *model, const em_model_weights *weights, uint32_t context_tokens,
                         uint32_t max_rows, uint32_t max_outputs, em_model_program *out, em_error *error) EM_MUST_USE;
void em_model_program_clear(em_model_program *program);
