/* Backends: where tensors live and stages run. The interface that null, cpu and vulkan implement.
 *
 * A backend knows weights, values and stages; it knows no model, no token text and no file. One em_backend is one device. A
 * program is a list of fused stages with buffers of fixed size, made once and run once a step. A step is a ragged batch of
 * rows; each row is one token of one slot at one position. The same program serves prefill, decode and several slots; a
 * backend chooses kernels by the number of rows.
 *
 * Arguments are checked once, in backend.c; implementations may rely on what is written here. Every call may fail and says so;
 * after em_backend_run has failed the contents of values and of the rows' KV positions are undefined.
 *
 * Threads: calls on one backend come from one thread at a time. A backend may use threads of its own inside a call, and for
 * what em_program_prepare begins also between calls; the only function of the caller's that they call is an em_read_fn.
 *
 * Order of sums: for one backend and instruction set, the values of a row depend neither on which other rows share its step nor
 * on how a prompt was cut into steps: all kernels of a backend sum in one order. A graphics card with instructions for products
 * of integers or of matrices is the exception (vulkan/variants.h): there the values depend on whether a step has more than
 * em_backend_few_rows rows too, and on nothing else.
 */
#pragma once

#include "base/status.h"
#include "gguf/format.h"

typedef struct em_backend em_backend;
typedef struct em_weights em_weights;
typedef struct em_kv em_kv;
typedef struct em_program em_program;

/* --- Devices ------------------------------------------------------------------------------------------------------- */

typedef enum em_device_kind { EM_DEVICE_NULL, EM_DEVICE_CPU, EM_DEVICE_VULKAN } em_device_kind;

/* Instruction sets of the processor backend, each including the ones before it. A mask of what tests may use. */
typedef enum em_cpu_isa {
  EM_ISA_SCALAR = 0,
  EM_ISA_AVX2 = 1,   /* AVX2, FMA, F16C */
  EM_ISA_AVX512 = 2, /* AVX-512 F, BW, VL, DQ and VNNI */
  EM_N_ISAS
} em_cpu_isa;

/* The best set this processor has. Scalar on other architectures. */
em_cpu_isa em_cpu_best_isa(void);
const char *em_cpu_isa_name(em_cpu_isa isa); /* "scalar", "avx2", "avx512" */

typedef struct em_backend_params {
  em_device_kind kind;
  uint32_t device_index; /* of vulkan */
  uint32_t n_threads;    /* that compute (cpu) and that load weights, of these at most 8 (vulkan); 0: all physical cores */
  em_cpu_isa max_isa;    /* of cpu; use EM_N_ISAS - 1 for the best there is */
  char cache_dir[256];   /* where vulkan keeps made kernels between runs, in a file for each device; "": nowhere */
} em_backend_params;

/* EM_ERR_UNSUPPORTED when there is no such device, EM_ERR_NO_MEMORY. */
em_status em_backend_open(const em_backend_params *params, em_backend **out, em_error *error) EM_MUST_USE;
void em_backend_close(em_backend *backend); /* NULL is legal; everything made from it must be freed before */

em_device_kind em_backend_kind(const em_backend *backend);
const char *em_backend_name(const em_backend *backend); /* "null", "cpu (avx512, 2 threads)" */

/* Bytes of memory that belong to the device alone; 0: it uses the computer's. */
uint64_t em_backend_own_memory(const em_backend *backend);

/* Bytes of memory that the device would still give this process now, by what its driver says; a sixteenth is left to the
 * desktop where the driver says nothing. Of a device that uses the computer's memory this is a limit beside the
 * computer's own. UINT64_MAX: there is no other limit than the computer's. */
uint64_t em_backend_available_memory(const em_backend *backend);

/* Steps of more rows than this round otherwise than smaller ones; less than 32. 0: all steps round alike. */
uint32_t em_backend_few_rows(const em_backend *backend);

/* What a device can do at best, found by trying. */
typedef struct em_backend_speed {
  uint64_t read_bytes_per_s; /* of a kernel that only reads a buffer much larger than the caches: the ceiling of decoding */
  uint64_t copy_bytes_per_s; /* read and written, counted together, in a copy inside the device's memory */
  uint64_t barrier_ns;       /* of an empty dispatch and the barrier behind it, in a chain of them */
  uint64_t submit_ns;        /* of submitting one empty dispatch and waiting for it */
} em_backend_speed;

/* Measures with a buffer of at most `bytes` bytes (a MiB to a GiB; less where memory is short); the best of several tries,
 * in about a second. EM_ERR_UNSUPPORTED for a device that is not Vulkan's, EM_ERR_NO_MEMORY, EM_ERR_DEVICE. */
em_status em_backend_measure(em_backend *backend, uint64_t bytes, em_backend_speed *out, em_error *error) EM_MUST_USE;

typedef enum em_vulkan_kind {
  EM_VULKAN_DISCRETE,
  EM_VULKAN_INTEGRATED,
  EM_VULKAN_VIRTUAL,
  EM_VULKAN_SOFTWARE /* a processor pretending to be a GPU: used only when named */
} em_vulkan_kind;

/* A Vulkan device, as lists for people and the choice of one need it. */
typedef struct em_vulkan_device {
  char name[256];
  char driver[512];
  char pci[16]; /* "0000:c1:00.0", or "" */
  uint32_t vendor_id, device_id;
  em_vulkan_kind kind;
  uint64_t memory_bytes; /* all device-local heaps of an integrated device, the largest of another */
  uint64_t budget_bytes; /* of it, what this process may have now (VK_EXT_memory_budget); 0: the driver does not say */
} em_vulkan_device;

/* Lists at most max Vulkan devices in the order of their numbers (vulkan:0, vulkan:1, ...): discrete, integrated, virtual, software.
 * Without a loader, a driver or Vulkan in this build *n_out is 0 and the status says why. */
em_status em_vulkan_list(em_vulkan_device *out, uint32_t max, uint32_t *n_out, em_error *error) EM_MUST_USE;

/* --- Weights ------------------------------------------------------------------------------------------------------- */

typedef enum em_weights_use {
  EM_USE_VECTOR = 1, /* norm weights, biases, frequency factors: float32 [n_in], n_rows 1 */
  EM_USE_MATRIX = 2, /* the right side of a linear stage: n_rows rows of n_in values */
  EM_USE_TABLE = 4   /* an embedding table: single rows are looked up. May be combined with EM_USE_MATRIX (tied heads) */
} em_weights_use;

/* Fills dst with `bytes` bytes of the tensor's file data from byte `offset` on. Called by several threads at once, of
 * which one is the thread that called em_weights_new. */
typedef em_status (*em_read_fn)(void *user, uint64_t offset, void *dst, size_t bytes, em_error *error);

typedef struct em_weights_desc {
  em_type type;
  uint64_t n_in;   /* values a row; a multiple of the type's block length */
  uint64_t n_rows;
  unsigned use;    /* of em_weights_use */
  const char *name; /* for messages and labels; borrowed for the call */
} em_weights_desc;

/* Whether this backend can hold such weights, and how many bytes it would allocate. EM_ERR_UNSUPPORTED names the type. */
em_status em_weights_bytes(const em_backend *backend, const em_weights_desc *desc, uint64_t *out, em_error *error) EM_MUST_USE;

/* Allocates and fills weights, repacked as the backend likes, reading the file's bytes through `read` in pieces of at most
 * 8 MiB. Errors: those of read, EM_ERR_NO_MEMORY, EM_ERR_UNSUPPORTED.
 * read NULL: makes weights that know their shape and hold no data, so that a program can be sized (em_program_bytes) before
 * anything is loaded; a program that shall run must not use them. */
em_status em_weights_new(em_backend *backend, const em_weights_desc *desc, em_read_fn read, void *user, em_weights **out,
                         em_error *error) EM_MUST_USE;
void em_weights_free(em_weights *weights);

/* --- The KV cache --------------------------------------------------------------------------------------------------- */

#define EM_KV_PAGE_TOKENS 256u

typedef struct em_kv_layer {
  uint32_t n_heads; /* KV heads */
  uint32_t k_dim, v_dim; /* values a head; multiples of 32 for EM_TYPE_Q8_0 */
} em_kv_layer;

/* A pool of pages. A page holds EM_KV_PAGE_TOKENS positions of one sequence in every layer, laid out
 * [layer][page][kv head][token][dim], K and V apart. */
typedef struct em_kv_desc {
  em_type type; /* EM_TYPE_F32, EM_TYPE_F16 or EM_TYPE_Q8_0 */
  const em_kv_layer *layers;
  uint32_t n_layers;
  uint32_t n_pages; /* 0: a cache that knows its shapes and holds no data, for em_program_bytes only */
} em_kv_desc;

em_status em_kv_bytes(const em_backend *backend, const em_kv_desc *desc, uint64_t *out, em_error *error) EM_MUST_USE;
em_status em_kv_new(em_backend *backend, const em_kv_desc *desc, em_kv **out, em_error *error) EM_MUST_USE;
void em_kv_free(em_kv *kv);

/* Copies the first n_tokens positions of page `from` to page `to`, in all layers. */
em_status em_kv_copy(em_kv *kv, uint32_t from, uint32_t to, uint32_t n_tokens, em_error *error) EM_MUST_USE;

/* --- Stages --------------------------------------------------------------------------------------------------------- */

/* An index into em_program_desc.values: float32 [rows, width]. */
typedef int32_t em_value;
#define EM_NO_VALUE (-1)

typedef enum em_stage_kind {
  EM_STAGE_INPUT,
  EM_STAGE_EMBED,
  EM_STAGE_LINEAR,
  EM_STAGE_ROPE_STORE,
  EM_STAGE_ATTENTION,
  EM_N_STAGE_KINDS
} em_stage_kind;

/* out[r, :] = the step's input[r, :]. At most one of a program's stages is of this kind, and it is the first. */
typedef struct em_stage_input {
  em_value out;
} em_stage_input;

/* out[r, :] = scale * table[token[r], :] */
typedef struct em_stage_embed {
  const em_weights *table;
  float scale;
  em_value out;
} em_stage_embed;

typedef enum em_activation {
  EM_ACT_NONE,
  EM_ACT_SWIGLU /* silu(g) * u; silu(g) = g / (1 + exp(-g)) */
} em_activation;

#define EM_LINEAR_MAX_PARTS 3

/* y = norm(x) W^T + bias for one to three matrices with the same x.
 *   norm(x) = norm * x / sqrt(mean(x^2) + norm_eps), over a row; without norm weights: x.
 *   EM_ACT_NONE:   out[r, :] = y_0 | y_1 | y_2 side by side (+ residual[r, :])
 *   EM_ACT_SWIGLU: two parts of equal n_rows; out[r, :] = silu(y_0) * y_1 (no residual)
 * outputs_only: only the step's output rows are computed; row i of out belongs to output i.
 * out may be the same value as residual, and never the same as x. */
typedef struct em_stage_linear {
  em_value x;
  const em_weights *norm; /* [n_in] or NULL */
  float norm_eps;
  uint32_t n_parts;
  const em_weights *w[EM_LINEAR_MAX_PARTS];    /* each n_in x n_rows_i */
  const em_weights *bias[EM_LINEAR_MAX_PARTS]; /* [n_rows_i] or NULL */
  em_activation activation;
  em_value residual; /* or EM_NO_VALUE */
  bool outputs_only;
  em_value out;
} em_stage_linear;

typedef enum em_rope_kind {
  EM_ROPE_NONE,
  EM_ROPE_NORM, /* pairs (x[2k], x[2k + 1]) */
  EM_ROPE_NEOX  /* pairs (x[k], x[k + n_rot / 2]) */
} em_rope_kind;

/* theta_k(pos) = pos * freq_scale * base^(-2k / n_rot) / factors[k], k < n_rot / 2; the first n_rot values of a head rotate,
 * the rest pass. Computed in float32 from a table of float64 inverse frequencies. */
typedef struct em_rope {
  em_rope_kind kind;
  uint32_t n_rot; /* even, at most the head's dim */
  float base, freq_scale, magnitude; /* magnitude multiplies cos and sin */
  const em_weights *factors; /* [n_rot / 2] or NULL */
} em_rope;

/* Takes a row q | k | v as a linear stage made it, applies the per-head norms and the rotation to q and k, leaves q in
 * place and stores k and v in the cache at the row's position.
 *   qkv: width n_heads * k_dim + n_kv_heads * (k_dim + v_dim) */
typedef struct em_stage_rope_store {
  em_value qkv;
  uint32_t kv_layer; /* of em_kv_desc.layers */
  uint32_t n_heads;
  const em_weights *q_norm, *k_norm; /* [k_dim], applied to each head, or NULL */
  float norm_eps;
  em_rope rope;
} em_stage_rope_store;

/* out[r, h, :] = softmax(scale * q_h K^T) V over positions 0..pos of the row's slot; query head h reads KV head
 * h / (n_heads / n_kv_heads). float32 accumulation.
 *   qkv: as above (only q is read); out: width n_heads * v_dim */
typedef struct em_stage_attention {
  em_value qkv, out;
  uint32_t kv_layer;
  uint32_t n_heads;
  float scale;
} em_stage_attention;

typedef struct em_stage {
  em_stage_kind kind;
  int32_t layer;     /* for labels; -1: outside the layers */
  const char *label; /* static text: "qkv", "attention", "gate-up" ... */
  union {
    em_stage_input input;
    em_stage_embed embed;
    em_stage_linear linear;
    em_stage_rope_store rope_store;
    em_stage_attention attention;
  };
} em_stage;

/* --- Programs ------------------------------------------------------------------------------------------------------- */

typedef struct em_value_desc {
  uint32_t width;
  bool outputs_only; /* rows are the step's outputs */
  uint64_t offset;   /* floats from the start of the program's scratch; values whose lives do not meet may overlap.
                        A multiple of 16. Rows are `width` floats apart, without padding */
} em_value_desc;

typedef struct em_program_desc {
  const em_stage *stages; /* copied */
  uint32_t n_stages;
  const em_value_desc *values; /* copied */
  uint32_t n_values;
  uint64_t scratch_floats; /* every value's last row ends inside */
  uint32_t max_rows;    /* rows a step may have */
  uint32_t max_outputs; /* output rows a step may have */
  uint32_t max_slots;
  uint32_t max_pages;   /* of one slot's page table */
  em_kv *kv;
  em_value result;      /* that the host reads after a step: logits [outputs, n_vocab], or what another program goes on
                           with [rows, width] */
} em_program_desc;

/* Bytes a program allocates: scratch and the backend's own working memory. The weights and the cache may be without data. */
em_status em_program_bytes(const em_backend *backend, const em_program_desc *desc, uint64_t *out,
                           em_error *error) EM_MUST_USE;

/* Begins to make what takes long to make and depends on no data, on threads of the backend: the kernels of a program like
 * this one, whose weights and cache may be without data. Returns at once; em_program_new waits for what is not ready. The
 * description is not needed after the call. Errors: those of em_program_bytes. */
em_status em_program_prepare(em_backend *backend, const em_program_desc *desc, em_error *error) EM_MUST_USE;

/* How the last em_program_prepare that found something to make went. Zeros for a backend that has nothing to prepare. */
typedef struct em_prepare_times {
  uint32_t n_kernels; /* of all programs so far */
  uint64_t ready_ns;  /* from the call to the last kernel made so far */
  uint64_t waited_ns; /* that em_program_new waited for kernels */
} em_prepare_times;
em_prepare_times em_backend_prepare_times(em_backend *backend);

em_status em_program_new(em_backend *backend, const em_program_desc *desc, em_program **out, em_error *error) EM_MUST_USE;
void em_program_free(em_program *program);

/* A program that ends with logits may pick the best tokens itself, so that the host need not look through a vocabulary;
 * one that begins with an embedding too may go on with the best token at once. Which tokens are picked is the same on
 * every backend that can: the highest logits, the lowest id among equals; what is no number comes last. */
#define EM_MAX_TOP 64u

typedef struct em_top {
  float logit;
  int32_t token;
} em_top;

/* The most that may stand in em_step.n_top and em_step.n_ahead; 0 and 1: this program cannot. */
uint32_t em_program_max_top(const em_program *program);
uint32_t em_program_max_ahead(const em_program *program);

/* The rows of one step. Rows of one slot stand together, in rising position without gaps, and slots occur once. */
typedef struct em_step {
  uint32_t n_rows;
  const int32_t *tokens;       /* [n_rows], inside the embedding table */
  const uint32_t *positions;   /* [n_rows] */
  const uint32_t *slots;       /* [n_rows]: row of page_tables */
  uint32_t n_slots;
  const uint32_t *page_tables; /* [n_slots][max_pages]: page ids for positions 0.. */
  uint32_t n_outputs;
  const uint32_t *outputs;     /* [n_outputs]: rows whose logits are wanted, rising */
  const float *input;          /* [n_rows, width] of a program with an input stage, else not looked at */
  uint32_t n_top;              /* 0: the result is wanted; else only so many of the best tokens of each output */
  uint32_t n_ahead; /* 0 or 1: one step. More: so many steps in one run, each with the token that was best in the one
                       before it, at the next position; of one row, with one output and n_top 1 */
} em_step;

/* Runs every stage for the step and returns when the result is there. No allocation, no system call but waking threads. */
em_status em_backend_run(em_program *program, const em_step *step, em_error *error) EM_MUST_USE;

/* Row i of the last step's result, of output i where the result is of outputs only: float32 [width], valid until the
 * next run. The rows lie one behind the other. */
const float *em_program_result(const em_program *program, uint32_t row);

/* The n_top best tokens of output i of the last step, the best first; of n_ahead steps, the best token of step i. Valid
 * until the next run. */
const em_top *em_program_top(const em_program *program, uint32_t output);

/* What the last step read and did.
 *
 * Bytes are those of the file, whatever a backend makes of them when it repacks, pads and widens: they are what people
 * are told before they download a model and what the ceiling is computed from, so a backend that stores more than the
 * file does shows as a smaller share of the ceiling. What one decoded row reads is the model's figure, to the byte. */
typedef struct em_step_counters {
  uint32_t n_steps;       /* that were run at once; all that follows is their sum */
  uint64_t weights_bytes; /* a matrix or vector counts once a step however many rows share it, frequency factors once a
                             step however many layers do; the head counts only when there are outputs; of an embedding
                             table the rows looked up count, beside the whole matrix where it is the head too */
  uint64_t kv_bytes;      /* of the positions that each slot's last row attends to; rows of a slot share them */
  uint32_t n_dispatches;  /* kernels started; on the processor: stages */
  uint32_t n_submits;     /* of work to a device; 0 on the processor */
  uint32_t n_made; /* pieces of device memory, objects and command recordings made on the way; 0 after em_program_new */
} em_step_counters;
em_step_counters em_program_counters(const em_program *program);
