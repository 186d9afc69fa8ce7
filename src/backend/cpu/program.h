/* A program of the processor backend and what its stages share. Included only in this folder.
 *
 * One job of the thread pool runs a whole step: every thread walks all stages and takes its part of each, with a barrier
 * between two stages. All memory is made with the program.
 */
#pragma once

#include "backend/cpu/cpu.h"

/* Up to this many rows every thread prepares all rows of a linear stage for itself, which is cheaper than a barrier. */
#define EM_FEW_ROWS 4u
/* Values of k that are unpacked at once when there are many rows: two panels of them and the scales stay in the L1 cache. */
#define EM_UNPACK_K 512u

/* The sums of experts are made in units of this many panels at most, when there are at most so many pairs of a row and an expert. */
#define EM_SUM_MAX_PANELS 16u
#define EM_SUM_FEW_PAIRS 64u

/* What one thread has for itself. */
typedef struct em_cpu_thread {
  uint8_t *q8;       /* EM_FEW_ROWS quantised rows */
  float *normed;     /* EM_FEW_ROWS rows of float32 */
  float *row;        /* the widest input */
  uint8_t *unpacked; /* two panels of EM_UNPACK_K */
  float *tile;       /* EM_CPU_TILE_FLOATS of the most rows that are multiplied at once */
  float *sums;       /* of experts: see experts.c */
  uint32_t *order, *starts; /* of experts: [2 * pairs], [2 * n_experts + 1] */
  float *scores;     /* [EM_ATTEND_COLS][256] */
  float *packed;     /* [EM_ATTEND_COLS][largest k_dim] */
  float *o_page;     /* [EM_ATTEND_COLS][o_stride] of one page */
  float *o_sum;      /* the same, merged */
} em_cpu_thread;

typedef struct em_cpu_rope {
  em_rope rope;
  double *inverse; /* [n_rot / 2]: radians a position */
  float *cos_sin;  /* [max_rows][2][n_rot / 2] of the step */
} em_cpu_rope;

/* Rows first .. first + n of a step: one slot's. */
typedef struct em_cpu_span {
  uint32_t first, n;
} em_cpu_span;

typedef struct em_cpu_program {
  em_program common;
  em_cpu *cpu;
  uint8_t *memory; /* all of the following in one piece */
  float *scratch;
  uint8_t *q8;     /* [max rows] quantised rows for steps of many rows */
  float *normed;   /* the same as float32; or what a stage keeps between two barriers */
  float *logits;   /* [max rows][experts] */
  em_cpu_thread *threads;
  em_cpu_rope *ropes;
  uint32_t n_ropes;
  uint32_t *stage_ropes; /* [n_stages]: index of ropes, or UINT32_MAX */
  em_cpu_span *runs;      /* [max_slots] of the step */
  uint32_t n_runs;
  float *partials; /* attention's pages of few rows, see attention.c */
  const em_step *step; /* while a step runs */
} em_cpu_program;

/* Sizes of a program's working memory, in floats or bytes; by attention.c. */
uint64_t em_cpu_partial_floats(const em_program_desc *desc, unsigned n_threads);
uint32_t em_cpu_max_o_stride(const em_program_desc *desc);

/* Rows prepared for products: as float32 and quantised as far as the matrices need it, `stride` bytes apart. */
typedef struct em_cpu_rows {
  size_t n_rows, n_in;
  const uint8_t *f32, *q8;
  size_t f32_stride, q8_stride;
} em_cpu_rows;

/* One or two panels that are multiplied together. */
typedef struct em_cpu_panels {
  em_layout layout[2];
  const uint8_t *data[2];
  unsigned n;
} em_cpu_panels;

/* Products in a thread's memory: y[panel] + row * stride, 16 floats each. */
typedef struct em_cpu_products {
  const float *y[2];
  size_t stride;
} em_cpu_products;

/* Floats that em_cpu_multiply writes for so many rows. */
#define EM_CPU_TILE_FLOATS(n_rows) (2u * EM_PANEL * (size_t)(n_rows))

/* Multiplies panels with all rows. next (or NULL): what this thread multiplies with the same rows' length after it. By linear.c. */
em_cpu_products em_cpu_multiply(const em_cpu_program *program, const em_cpu_rows *in, const em_cpu_panels *now,
                                const em_cpu_panels *next, const em_cpu_thread *own, float *tile);

/* The data of a vector, or NULL. */
static inline const float *em_cpu_vector(const em_weights *weights) {
  return weights ? (const float *)(const void *)((const em_cpu_weights *)weights)->data : NULL;
}

/* y = norm * n(x) + bias over n values; bias may be NULL, y may be x. By norm.c. */
void em_cpu_norm_row(const em_cpu_kernels *kernels, em_norm_kind kind, const float *x, const float *norm, const float *bias,
                     float eps, size_t n, float *y);

/* The products and the end of a linear stage, written to rows of out instead of the stage's own value. */
void em_cpu_linear_to(em_cpu_program *program, const em_stage_linear *stage, float *out, size_t out_stride,
                      unsigned thread);

/* One stage's part of one thread. What they read was written before a barrier; each leaves its output to be read after one. */
void em_cpu_linear(em_cpu_program *program, const em_stage_linear *stage, unsigned thread);
void em_cpu_rope_store(em_cpu_program *program, const em_stage_rope_store *stage, uint32_t rope_index, unsigned thread);
void em_cpu_attention(em_cpu_program *program, const em_stage_attention *stage, unsigned thread);
void em_cpu_norm(em_cpu_program *program, const em_stage_norm *stage, unsigned thread);
void em_cpu_gate(em_cpu_program *program, const em_stage_gate *stage, unsigned thread);
void em_cpu_heads(em_cpu_program *program, const em_stage_heads *stage, unsigned thread);
void em_cpu_router(em_cpu_program *program, const em_stage_router *stage, unsigned thread);
void em_cpu_experts(em_cpu_program *program, const em_stage *stage, unsigned thread);
void em_cpu_experts_sum(em_cpu_program *program, const em_stage *stage, unsigned thread);
void em_cpu_delta_net(em_cpu_program *program, const em_stage_delta_net *stage, unsigned thread);

static inline float *em_cpu_value(const em_cpu_program *program, em_value value, size_t row) {
  const em_value_desc *desc = &program->common.desc.values[value];
  return program->scratch + desc->offset + row * desc->width;
}

/* The part of n that belongs to a thread: first .. *end. */
static inline size_t em_cpu_share(size_t n, unsigned thread, unsigned n_threads, size_t *end) {
  *end = n * (thread + 1) / n_threads;
  return n * thread / n_threads;
}
