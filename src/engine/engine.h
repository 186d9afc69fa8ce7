/* Ember: one loaded model that generates tokens. Tokens in, tokens out: the engine knows no text.
 *
 * em_engine_open checks the file, makes a plan whose sizes are known before anything is allocated, refuses what does
 * not fit, and loads. Requests may be submitted and cancelled from any thread; their steps run on the one thread that
 * calls em_engine_step, on which the callbacks run too. Several requests share steps (continuous batching): prompts are
 * prefilled in chunks beside the decoding of others. KV pages whose tokens are a prefix of a new prompt are reused.
 *
 * The text of a request depends on the device, the model, its tokens, its sampling settings and its seed, never on what
 * else runs. On graphics cards that round big steps otherwise than small ones (em_backend_few_rows) it depends also on
 * what is reused of earlier requests: keys and values that were computed at the end of another prompt or in an answer
 * are rounded otherwise than those that the same tokens would get inside a prompt.
 * After opening, the decode loop allocates nothing.
 */
#pragma once

#include "backend/backend.h"
#include "gguf/gguf.h"

typedef struct em_engine em_engine;

/* --- Opening ------------------------------------------------------------------------------------------------------ */

/* Called on the stepping thread when another device has taken over (facts.device names it); sentence says why, for
 * people. Both live until the call returns. */
typedef void (*em_notice_fn)(void *user, const char *device, const char *sentence);

typedef struct em_engine_params {
  em_backend_params backend;
  uint32_t n_slots;        /* requests that decode at once; 0: 4 */
  uint32_t context_tokens; /* positions a slot may use, at most the model's; 0: the model's, at most 8192, less where
                              memory is short */
  uint32_t batch_rows;     /* rows of a step; 0: 256 */
  em_type kv_type;         /* EM_TYPE_F16 (the value 0, EM_TYPE_F32, means float32: set it) */
  uint64_t memory_limit_bytes; /* what the engine may allocate of the computer's memory; 0: what this computer has
                                  available now, less a reserve for everything else */
  uint64_t device_memory_limit_bytes; /* the same of a graphics device's memory, which then counts as its own; 0: what
                                         it has */
  uint64_t device_freed_bytes; /* beside what the driver says is free on the graphics device, what will be when the
                                  model is opened: another model's that goes before (em_engine_freed). Where the device
                                  uses the computer's memory, memory_limit_bytes is a limit beside it, and must contain
                                  the same bytes */
  bool says_gpu_layers; /* whether n_gpu_layers says how many of the model's layers, the last ones, and its head live on
                           the graphics device; 0: nothing does, all of them or more: everything. Otherwise the engine
                           decides: everything where it fits */
  uint32_t n_gpu_layers;
  /* How fast memory is read, for that decision, in bytes a second; 0: it is measured when it matters, which takes about
   * a second. */
  uint64_t processor_bytes_per_s, device_bytes_per_s;
  /* A smaller model of the same vocabulary that guesses ahead, so that several tokens of a request that is alone are
   * computed in one step; the text is the same with and without it. NULL: none. It must outlive the engine. */
  const em_gguf *draft;
  em_notice_fn notice; /* or NULL */
  void *notice_user;
} em_engine_params;

/* Called on the loading thread about every 10 ms of reading; returning false cancels. */
typedef bool (*em_progress_fn)(void *user, uint64_t done_bytes, uint64_t total_bytes);

/* What one device holds of a model. */
#define EM_MAX_PARTS 2u
typedef struct em_part_plan {
  char device[64]; /* em_backend_name */
  em_device_kind kind;
  bool has_own_memory; /* the device; else it uses the computer's */
  uint32_t first_layer, n_layers;
  bool has_embedding, has_head;
  uint64_t weights_bytes, kv_bytes, working_bytes, total_bytes;
  uint64_t available_bytes; /* of the memory it is in; both parts' where a graphics device uses the computer's */
  uint64_t weights_bytes_per_token; /* that one decoded token reads, as stored there */
} em_part_plan;

/* What a plan needs, before anything is allocated. Bytes. Where memory is short the slots share a smaller KV cache, so
 * that requests that may grow long wait for one another. Where a model with a single slot's context does not fit what
 * a graphics device has or may use, its first layers live on the processor, if that is predicted to be faster
 * than the processor alone. Only when neither helps is the context cut. */
typedef struct em_memory_plan {
  uint64_t weights_bytes, kv_bytes, working_bytes, total_bytes;
  uint64_t draft_bytes;     /* that a draft takes beside the total; 0: there is none */
  uint64_t available_bytes; /* what the engine may use of this computer, or of a device with memory of its own, now (or
                               the limit given); of two parts with memories of their own, both */
  uint32_t context_tokens;  /* a slot's, as planned */
  uint32_t n_parts;         /* devices that share the model's layers */
  em_part_plan parts[EM_MAX_PARTS]; /* in the order in which they run: the processor, then the graphics device */
  char placement[256];              /* what lives where and why, a sentence for people */
  uint64_t processor_bytes_per_s, device_bytes_per_s; /* where they mattered and are known, else 0 */
  double shared_tokens_per_s, processor_tokens_per_s; /* the ceilings, shared and on the processor alone, as far as they
                                                         were compared and are known, else 0 */
} em_memory_plan;

/* The plan em_engine_open would follow; it allocates no weights. EM_ERR_UNSUPPORTED names an unknown family or type. */
em_status em_engine_plan(const em_gguf *gguf, const em_engine_params *params, em_memory_plan *out,
                         em_error *error) EM_MUST_USE;

/* What will be free again once a model with this plan is closed, its draft included. Of its parts in the computer's
 * memory those of the processor count at most what the process has resident, for pages that were never written take
 * none. Those of a graphics device count in full: it has all of them from the beginning, and most drivers do not count
 * them as resident memory of the process. A driver that does (a software device's) changes nothing: no part is counted
 * twice, for none counts more than its own size. */
typedef struct em_freed {
  uint64_t computer_bytes; /* of the computer's memory, a graphics device's that uses it included */
  uint64_t device_bytes;   /* as the graphics device's driver counts, in whosever memory */
} em_freed;
em_freed em_engine_freed(const em_memory_plan *loaded, uint64_t resident_bytes);

/* Loads. gguf must outlive the engine. EM_ERR_TOO_BIG says needed and available bytes in words; EM_ERR_CANCELLED;
 * EM_ERR_UNSUPPORTED also names what is wrong with the draft. */
em_status em_engine_open(const em_gguf *gguf, const em_engine_params *params, em_progress_fn progress, void *user,
                         em_engine **out, em_error *error) EM_MUST_USE;
void em_engine_close(em_engine *engine); /* requests still alive end with EM_FINISH_CANCELLED, without a callback */

typedef struct em_engine_facts {
  char architecture[64];
  char device[64];
  uint32_t n_vocab, n_layers, context_tokens, train_context_tokens, n_slots;
  uint32_t n_gpu_layers; /* of n_layers, on a graphics device; the others are on the processor */
  uint64_t n_parameters;
  em_memory_plan memory;
  uint64_t weights_bytes_per_token; /* that one decoded token reads, in bytes of the file */
  uint64_t kv_bytes_per_token;      /* that one position takes */
  uint64_t load_ns;                 /* all of em_engine_open */
  uint64_t weights_ns;              /* of it, reading and storing the weights */
  em_prepare_times prepare;         /* the kernels, which are made meanwhile */
} em_engine_facts;
/* Any thread may read the facts that follow from the file and the parameters. `device`, `n_gpu_layers`, `memory`,
 * `weights_ns` and `prepare` change when another device takes over: only the stepping thread may read them, and who
 * keeps that one from stepping. */
const em_engine_facts *em_engine_get_facts(const em_engine *engine);

/* --- Requests ----------------------------------------------------------------------------------------------------- */

typedef struct em_logit_bias {
  int32_t token;
  float bias; /* added to the logit; -INFINITY forbids */
} em_logit_bias;

/* Order: bias, penalties, mask, temperature, top-k, top-p, min-p, draw. temperature 0 is greedy: the highest logit, the
 * lowest id among equals. Zero is "off" for every field but temperature. */
typedef struct em_sampling {
  float temperature;        /* 0..100 */
  uint32_t top_k;           /* 0: off */
  float top_p;              /* (0, 1]; 0 or 1: off */
  float min_p;              /* [0, 1] */
  float repetition_penalty; /* > 0; 0 or 1: off. Divides positive, multiplies negative logits of tokens seen */
  float frequency_penalty, presence_penalty; /* -2..2 */
  uint32_t penalty_window;                   /* tokens looked back at; 0: 64 */
  uint64_t seed;
  const em_logit_bias *biases; /* copied */
  uint32_t n_biases;           /* at most 1024 */
} em_sampling;

/* The settings for people who chose none: temperature 0.7, top-k 40, top-p 0.95, min-p 0.05, and where the file has
 * general.sampling.* settings within their ranges, those. The seed is 0. */
void em_default_sampling(const em_gguf *gguf, em_sampling *out);

typedef enum em_finish {
  EM_FINISH_STOP,    /* the callback said so (an end token, a stop string) */
  EM_FINISH_LENGTH,  /* max_tokens reached */
  EM_FINISH_CONTEXT, /* the slot's context is full */
  EM_FINISH_CANCELLED,
  EM_FINISH_ERROR
} em_finish;

typedef struct em_request_stats {
  uint32_t n_prompt, n_reused, n_generated; /* tokens; reused: of the prompt, from the KV cache */
  uint32_t n_guessed, n_taken;              /* tokens that a draft guessed, and those of them that were right */
  uint64_t wait_ns, prefill_ns, decode_ns;  /* decode: from the first generated token to the last */
} em_request_stats;

/* Called for each generated token, on the stepping thread. true: go on; false: the answer ends with this token. It must
 * not call em_engine_close or em_engine_step. */
typedef bool (*em_token_fn)(void *user, int32_t token);

/* Called once when the request ends; error is meaningful with EM_FINISH_ERROR. The request is gone afterwards. */
typedef void (*em_finish_fn)(void *user, em_finish finish, const em_request_stats *stats, const em_error *error);

/* Fills allowed[0..(n_vocab + 63) / 64) with a bit for each token that may come next; false: no token may, the answer
 * ends. */
typedef bool (*em_mask_fn)(void *user, uint64_t *allowed);

/* Called after each prefill chunk (optional). */
typedef void (*em_prefill_fn)(void *user, uint32_t done_tokens, uint32_t total_tokens);

typedef struct em_request_params {
  const int32_t *tokens; /* the prompt, copied; at least one */
  uint32_t n_tokens;
  uint32_t max_tokens; /* 0: until the context is full */
  em_sampling sampling;
  em_token_fn on_token;
  em_finish_fn on_finish;
  em_mask_fn mask;          /* or NULL */
  em_prefill_fn on_prefill; /* or NULL */
  void *user;
} em_request_params;

typedef uint64_t em_request_id; /* never 0, never reused */

/* Queues a request. Thread-safe. Errors: EM_ERR_ARGUMENT (a token outside the vocabulary, a setting out of range),
 * EM_ERR_CONTEXT (the prompt does not fit), EM_ERR_BUSY (EM_ENGINE_MAX_QUEUE are waiting), EM_ERR_NO_MEMORY. */
#define EM_ENGINE_MAX_QUEUE 32u
em_status em_engine_submit(em_engine *engine, const em_request_params *params, em_request_id *out,
                           em_error *error) EM_MUST_USE;

/* Asks a request to end; it ends with EM_FINISH_CANCELLED within what em_engine_step does at once. Unknown ids are
 * ignored. Thread-safe. */
void em_engine_cancel(em_engine *engine, em_request_id id);

/* Runs one step over all requests that are alive; of a single greedy one as many as a device that can go ahead does in
 * 50 ms. Returns whether there was work. A request that fails ends with
 * EM_FINISH_ERROR; the engine goes on.
 *
 * A graphics device that fails is opened again: the weights are loaded once more and every request goes on from its
 * tokens. When that fails too, or when it is not the first time within ten minutes, the processor takes over, if the
 * model fits there, and `notice` is called. Such a step takes as long as loading does, or until all requests are
 * cancelled. */
bool em_engine_step(em_engine *engine);

/* Blocks until there is work or em_engine_wake was called. */
void em_engine_wait(em_engine *engine);
void em_engine_wake(em_engine *engine); /* thread-safe */

/* --- For measurements --------------------------------------------------------------------------------------------- */

/* Computes the logits after each of tokens[0..n) from an empty cache in steps of `batch` rows and calls on_row with
 * float32 [n_vocab] for each. Only while no request is alive. */
typedef em_status (*em_row_fn)(void *user, uint32_t row, const float *logits, em_error *error);
em_status em_engine_logits(em_engine *engine, const int32_t *tokens, uint32_t n, uint32_t batch, em_row_fn on_row,
                           void *user, em_error *error) EM_MUST_USE;

/* Counters of the model's last step, or of its steps that were run at once. What a draft reads and computes to guess is
 * not in them. */
em_step_counters em_engine_counters(const em_engine *engine);
