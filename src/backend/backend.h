/* Backends: where tensors live and stages run. The interface that null, cpu and vulkan implement.
 *
 * A backend knows weights, values and stages; it knows no model, no token text and no file. One em_backend is one device. A
 * program is a list of fused stages with buffers of fixed size, made once and run once a step. A step is a ragged batch of
 * rows; each row is one token of one slot at one position. The same program serves prefill, decode and several slots; a
 * backend chooses kernels by the number of rows.
 *
 * Arguments are checked once, by the front (backend.c, check.c); implementations may rely on what is written here. Every
 * call may fail and says so; after em_backend_run has failed the contents of values and of the rows' KV positions and states
 * are undefined.
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

/* What a model may take on the device beyond the sizes of its weights, cache and programs, because memory comes in
 * blocks. */
uint64_t em_backend_reserve(const em_backend *backend);

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
  EM_VULKAN_OTHER,   /* the driver does not say what it is */
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

/* Lists at most max Vulkan devices in the order of their numbers (vulkan:0, vulkan:1, ...): discrete, integrated, virtual, other, software.
 * Without a loader, a driver or Vulkan in this build *n_out is 0 and the status says why. */
em_status em_vulkan_list(em_vulkan_device *out, uint32_t max, uint32_t *n_out, em_error *error) EM_MUST_USE;

/* --- Weights ------------------------------------------------------------------------------------------------------- */

typedef enum em_weights_use {
  EM_USE_VECTOR = 1, /* norm weights, biases, frequency factors: float32 [n_in], n_rows 1 */
  EM_USE_MATRIX = 2, /* the right side of a linear stage: n_rows rows of n_in values */
  EM_USE_TABLE = 4,  /* an embedding table: single rows are looked up. May be combined with EM_USE_MATRIX (tied heads) */
  EM_USE_STACK = 8   /* n_matrices matrices of equal shape, of which a stage chooses by number: experts, heads */
} em_weights_use;

/* Fills dst with `bytes` bytes of the tensor's file data from byte `offset` on. Called by several threads at once, of
 * which one is the thread that called em_weights_new. */
typedef em_status (*em_read_fn)(void *user, uint64_t offset, void *dst, size_t bytes, em_error *error);

typedef struct em_weights_desc {
  em_type type;
  uint64_t n_in;   /* values a row; a multiple of the type's block length */
  uint64_t n_rows;     /* of a stack: of one matrix */
  uint32_t n_matrices; /* of a stack, which stand one behind the other in the file; else 0 */
  unsigned use;        /* of em_weights_use */
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
  bool v_in_k; /* V is the first v_dim values of K (latent attention): only K is stored */
} em_kv_layer;

/* Recurrent layers have a state instead of keys and values: float32, of one sequence after one position. */
typedef struct em_state_layer {
  uint32_t n_conv;  /* values of its convolution: the last inputs, oldest first */
  uint32_t n_inner; /* values of its matrices */
} em_state_layer;

/* A pool of pages. A page holds EM_KV_PAGE_TOKENS positions of one sequence in every layer, laid out
 * [layer][page][kv head][token][dim], K and V apart. */
typedef struct em_kv_desc {
  em_type type; /* EM_TYPE_F32, EM_TYPE_F16 or EM_TYPE_Q8_0 */
  const em_kv_layer *layers;
  uint32_t n_layers;
  uint32_t n_pages; /* 0: a cache that knows its shapes and holds no data, for em_program_bytes only */
  const em_state_layer *state_layers;
  uint32_t n_state_layers; /* 0: no layer is recurrent */
  uint32_t n_states; /* places, each for the states of one sequence in all recurrent layers */
} em_kv_desc;

em_status em_kv_bytes(const em_backend *backend, const em_kv_desc *desc, uint64_t *out, em_error *error) EM_MUST_USE;
em_status em_kv_new(em_backend *backend, const em_kv_desc *desc, em_kv **out, em_error *error) EM_MUST_USE;
void em_kv_free(em_kv *kv);

/* Copies the first n_tokens positions of page `from` to page `to`, in all layers. */
em_status em_kv_copy(em_kv *kv, uint32_t from, uint32_t to, uint32_t n_tokens, em_error *error) EM_MUST_USE;

/* Copies the states of one place to another, in all recurrent layers. */
em_status em_kv_copy_state(em_kv *kv, uint32_t from, uint32_t to, em_error *error) EM_MUST_USE;

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
  EM_STAGE_NORM,
  EM_STAGE_GATE,
  EM_STAGE_HEADS,
  EM_STAGE_ROUTER,
  EM_STAGE_EXPERTS,
  EM_STAGE_EXPERTS_SUM,
  EM_STAGE_DELTA_NET,
  EM_N_STAGE_KINDS
} em_stage_kind;

/* out[r, :] = the step's input[r, :]. At most one of a program's stages is of this kind, and it is the first. */
typedef struct em_stage_input {
  em_value out;
} em_stage_input;

/* out[r, :] = scale * table[token[r], :] (+ positions[position[r], :]) (+ types[0, :]) */
typedef struct em_stage_embed {
  const em_weights *table;
  float scale;
  em_value out;
  const em_weights *positions, *types; /* tables of rows as long, or NULL; a position past the last row takes the last */
} em_stage_embed;

typedef enum em_norm_kind {
  EM_NORM_RMS,  /* x / sqrt(mean(x^2) + eps) */
  EM_NORM_LAYER /* (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps) */
} em_norm_kind;

/* silu(g) = g / (1 + exp(-g)); gelu(g) = g / 2 * (1 + tanh(0.7978845608 (g + 0.044715 g^3))). With two parts g is the first
 * and u the second. */
typedef enum em_activation {
  EM_ACT_NONE,
  EM_ACT_SWIGLU,     /* silu(g) * u */
  EM_ACT_GEGLU,      /* gelu(g) * u */
  EM_ACT_SWIGLU_OAI, /* g' = min(g, 7), u' = min(max(u, -7), 7): g' / (1 + exp(-1.702 g')) * (u' + 1) */
  EM_ACT_GELU,       /* one part: gelu(y) */
  EM_ACT_SILU,       /* one part: silu(y) */
  EM_ACT_SIGMOID     /* one part: 1 / (1 + exp(-y)) */
} em_activation;

#define EM_LINEAR_MAX_PARTS 4

/* y_i = (norm(x) W_i^T) * w_scale_i + bias_i for one to four matrices with the same x.
 *   norm(x) = norm * n(x) + norm_bias over a row, n as norm_kind says; without norm weights: x.
 *   EM_ACT_NONE:    out[r, :] = cap(scale * (y_0 | y_1 | ... side by side)) (+ residual[r, :])
 *                   cap(y) = softcap * tanh(y / softcap), or y where softcap is 0
 *   one part:       out[r, :] = act(y_0)
 *   two parts:      of equal n_rows; out[r, :] = act(y_0, y_1); no residual, scale or softcap with an activation
 * outputs_only: only the step's output rows are computed; row i of out belongs to output i.
 * out may be the same value as residual, and never the same as x. */
typedef struct em_stage_linear {
  em_value x;
  const em_weights *norm; /* [n_in] or NULL */
  const em_weights *norm_bias; /* [n_in] or NULL */
  em_norm_kind norm_kind;
  float norm_eps;
  uint32_t n_parts;
  const em_weights *w[EM_LINEAR_MAX_PARTS];       /* each n_in x n_rows_i */
  const em_weights *w_scale[EM_LINEAR_MAX_PARTS]; /* [1] or NULL */
  const em_weights *bias[EM_LINEAR_MAX_PARTS];    /* [n_rows_i] or NULL */
  em_activation activation;
  float scale;   /* 0 counts as 1 */
  float softcap; /* 0: none */
  em_value residual; /* or EM_NO_VALUE */
  bool outputs_only;
  em_value out;
} em_stage_linear;

typedef enum em_rope_kind {
  EM_ROPE_NONE,
  EM_ROPE_NORM, /* pairs (x[2k], x[2k + 1]) */
  EM_ROPE_NEOX  /* pairs (x[k], x[k + n_rot / 2]) */
} em_rope_kind;

/* theta_k(pos) = pos * (freq_scale * (1 - r_k) + r_k) * base^(-2k / n_rot) / factors[k], k < n_rot / 2;
 *   r_k = ext_factor * (1 - min(max((k - ramp_low) / max(0.001, ramp_high - ramp_low), 0), 1)), which is 0 without YaRN.
 * The values offset .. offset + n_rot - 1 of a head rotate, the rest pass. Computed in float32 from a table of float64
 * inverse frequencies. */
typedef struct em_rope {
  em_rope_kind kind;
  uint32_t n_rot; /* even */
  float base, freq_scale, magnitude; /* magnitude multiplies cos and sin */
  const em_weights *factors; /* [n_rot / 2] or NULL */
  uint32_t offset; /* offset + n_rot is at most the head's dim */
  float ext_factor, ramp_low, ramp_high; /* of YaRN; ext_factor 0: none */
} em_rope;

/* Where the keys and values of a row come from. */
typedef enum em_kv_source {
  EM_KV_FROM_ROW, /* the row is q | k | v, or q | k where the layer's V is in K */
  EM_KV_FROM_K,   /* the row is q | k; v is k as it stands there, before its norm and rotation (k_dim equals v_dim) */
  EM_KV_FROM_NONE /* the row is q: nothing is stored, another stage has filled this layer */
} em_kv_source;

/* Takes a row q | k | v as a linear stage made it, applies the norms and the rotation to q and k, leaves q in place and stores
 * k and v in the cache at the row's position. What stands in the row behind that (gates) is left alone.
 *   qkv: width n_heads * k_dim + n_kv_heads * (k_dim + v_dim) or more, or without v or k and v, as source says
 * q_norm, k_norm (RMS, weighted) have n values or are NULL:
 *   n <= k_dim: the first n values of each head are normed by themselves; else n is n_heads * k_dim (n_kv_heads * k_dim), and all
 *   heads are normed as one row. norm_v: each head of v is normed without weights.
 * After the rotation q is multiplied with 1 + q_log_scale * ln(1 + floor(pos / q_log_period)); q_log_scale 0: it is not. */
typedef struct em_stage_rope_store {
  em_value qkv;
  uint32_t kv_layer; /* of em_kv_desc.layers */
  uint32_t n_heads;
  em_kv_source source;
  const em_weights *q_norm, *k_norm;
  bool norm_v;
  float norm_eps;
  em_rope rope;
  float q_log_scale;
  uint32_t q_log_period;
} em_stage_rope_store;

/* out[r, h, :] = sum_t p_t V_t; p = softmax over t of cap(scale * q_h K_t); query head h reads KV head
 * h / (n_heads / n_kv_heads). t goes over the positions 0..pos of the row's slot, and of them only over those with
 * pos - t < window where window is not 0. cap(s) = softcap * tanh(s / softcap), or s where softcap is 0. sinks: one more score
 * a head, neither scaled nor capped, that joins the softmax's maximum and sum and has no value. float32 accumulation.
 *   both_ways: t goes over all of the slot's positions in the step, which must begin at 0 (no window).
 *   qkv: as above (only q is read); out: width n_heads * v_dim */
typedef struct em_stage_attention {
  em_value qkv, out;
  uint32_t kv_layer;
  uint32_t n_heads;
  float scale;
  uint32_t window; /* 0: none */
  float softcap; /* 0: none */
  const em_weights *sinks; /* [n_heads] or NULL */
  bool both_ways;
} em_stage_attention;

/* out[r, :] = (norm * n(x[r, :]) + bias (+ residual[r, :])) * scale * scale_by[0]. Where norm is shorter than x (whose width
 * is a multiple of it), each piece of its length is normed by itself. out may be residual or x. */
typedef struct em_stage_norm {
  em_value x;
  em_norm_kind kind;
  const em_weights *norm; /* [n] */
  const em_weights *bias; /* [n] or NULL */
  float eps;
  em_value residual;          /* or EM_NO_VALUE */
  float scale;                /* 0 counts as 1 */
  const em_weights *scale_by; /* [1] or NULL */
  em_value out;
} em_stage_norm;

/* out[r, i] = act(gate[r, gate_offset + i]) * x[r, i], i < the width of x and out; is_scalar: gate[r, gate_offset] for every i.
 * act takes one part; EM_ACT_NONE: act(g) = g. out may be x. */
typedef struct em_stage_gate {
  em_value x, gate;
  uint32_t gate_offset;
  bool is_scalar;
  em_activation activation;
  em_value out;
} em_stage_gate;

/* A matrix for each head: out[r] = [W_0 x_0 | append_0 | W_1 x_1 | append_1 | ... | tail[r, :]], where x_h and append_h are the
 * equal shares of x[r, :] and append[r, :]. */
typedef struct em_stage_heads {
  em_value x;
  const em_weights *w; /* a stack of n_heads matrices */
  em_value append, tail; /* or EM_NO_VALUE */
  em_value out;
} em_stage_heads;

/* --- Experts. A value of routes [rows, 2 n_used] holds for each row the numbers of its experts, as float32, and then their
 * weights. --- */

typedef enum em_gating {
  EM_GATING_SOFTMAX,          /* p = softmax(logits) */
  EM_GATING_SIGMOID,          /* p = 1 / (1 + exp(-logits)) */
  EM_GATING_SOFTMAX_SELECTED, /* p = logits; the weights are the softmax of those chosen */
  EM_GATING_SQRT_SOFTPLUS     /* p = sqrt(ln(1 + exp(logits))) */
} em_gating;

/* logits = logit_scale * (norm(x) W^T) + bias; the n_used experts with the largest p + select_bias are chosen, the lowest number
 * among equals, largest first; their weights are p. With n_groups > 1 only experts of the n_groups_used groups (equal runs of
 * experts) whose two largest p + select_bias have the largest sum are looked at. normalise: the weights are divided by
 * max(their sum, 2^-14). At last they are multiplied with scale. */
typedef struct em_stage_router {
  em_value x;
  const em_weights *norm; /* [n_in] or NULL */
  float norm_eps;
  const em_weights *w;           /* n_in x n_experts */
  const em_weights *bias;        /* [n_experts] or NULL */
  const em_weights *select_bias; /* [n_experts] or NULL */
  float logit_scale;             /* 0 counts as 1 */
  em_gating gating;
  uint32_t n_used, n_groups, n_groups_used;
  bool normalise;
  float scale; /* 0 counts as 1 */
  em_value routes;
} em_stage_router;

/* For expert e = the j-th of row r: out[r, j, :] = act(y_0, y_1) or act(y_0), y_i = (norm(x[r, :]) W_ie^T) * w_scale_i[e] +
 * bias_i[e, :]. With clamp > 0: y_0's silu is at most clamp, y_1 between -clamp and clamp (EM_ACT_SWIGLU only). */
typedef struct em_stage_experts {
  em_value x;
  const em_weights *norm; /* [n_in] or NULL */
  float norm_eps;
  em_value routes;
  uint32_t n_parts;             /* 1 or 2 */
  const em_weights *w[2];       /* stacks of n_experts matrices */
  const em_weights *w_scale[2]; /* [n_experts] or NULL */
  const em_weights *bias[2];    /* [n_experts * n_rows] or NULL */
  em_activation activation;
  float clamp; /* 0: none */
  em_value out; /* [rows, n_used * n_rows] */
} em_stage_experts;

/* out[r, :] = sum over j of weight_j * ((x[r, j, :] W_e^T) * w_scale[e] + bias[e, :]) (+ residual[r, :]), e the j-th expert of row
 * r, summed for rising j. out may be residual. */
typedef struct em_stage_experts_sum {
  em_value x, routes;
  const em_weights *w;       /* a stack */
  const em_weights *w_scale; /* [n_experts] or NULL */
  const em_weights *bias;    /* [n_experts * n_rows] or NULL */
  em_value residual;         /* or EM_NO_VALUE */
  em_value out;
} em_stage_experts_sum;

/* --- Recurrence --- */

/* A gated delta net, from its projections to the row its output matrix takes. C = 2 k_dim n_k + v_dim n_v channels;
 *   in: rows u (C: q of all key heads, k of all key heads, v of all value heads) | z (v_dim n_v) | b (n_v) | a (n_v)
 *   y[c] = silu(sum over j < n_conv of conv[c][j] * u_{t - n_conv + 1 + j}[c]); u before the start is 0
 *   q, k = y / max(sqrt(sum y^2), eps) over each head; beta = 1 / (1 + exp(-b)); g = a_log * ln(1 + exp(a + dt_bias))
 *   value head h takes key head h / (n_v / n_k), or h mod n_k where tiled; for each, with S [k_dim, v_dim] of the state:
 *   S = exp(g) S;  d = beta (v - S^T k);  S = S + k d^T;  o = S^T q / sqrt(k_dim)
 *   out[r, h, :] = norm * o / sqrt(mean(o^2) + eps) * silu(z_h)
 * A slot's rows take the state of its place (em_step.states) in turn and leave the new one there; at position 0 it is zero.
 * State: n_conv part: the last n_conv - 1 rows of u [n_conv - 1][C]; inner part: [n_v][k_dim][v_dim]. */
typedef struct em_stage_delta_net {
  em_value in;
  uint32_t state_layer; /* of em_kv_desc.state_layers */
  uint32_t n_k, n_v, k_dim, v_dim, n_conv;
  bool tiled;
  const em_weights *conv;           /* [C * n_conv]: a channel's taps stand together */
  const em_weights *a_log, *dt_bias; /* [n_v] */
  const em_weights *norm;           /* [v_dim] */
  float eps;
  em_value out; /* [rows, v_dim n_v] */
} em_stage_delta_net;

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
    em_stage_norm norm;
    em_stage_gate gate;
    em_stage_heads heads;
    em_stage_router router;
    em_stage_experts experts;
    em_stage_experts_sum experts_sum;
    em_stage_delta_net delta_net;
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
  const uint32_t *states;      /* [n_slots]: places of the slots' states, each another; NULL where nothing is recurrent */
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
  uint64_t expert_bytes;  /* of these, of experts: the matrices, biases and scales of those that at least one row chose */
  uint64_t kv_bytes;      /* of the positions that each slot's last row attends to (inside the window, where there is one);
                             rows of a slot share them */
  uint64_t state_bytes;   /* of the slots' states, which are read once and written once */
  uint32_t n_dispatches;  /* kernels started; on the processor: stages */
  uint32_t n_submits;     /* of work to a device; 0 on the processor */
  uint32_t n_made; /* pieces of device memory, objects and command recordings made on the way; 0 after em_program_new */
} em_step_counters;
em_step_counters em_program_counters(const em_program *program);
