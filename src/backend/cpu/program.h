/* A program of the processor backend and what its stages share. Included only by program.c, linear.c and attention.c.
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

/* What one thread has for itself. */
typedef struct em_cpu_thread {
  uint8_t *q8;       /* EM_FEW_ROWS quantised rows */
  float *normed;     /* EM_FEW_ROWS rows of float32 */
  uint8_t *unpacked; /* two panels of EM_UNPACK_K */
  float *tile;       /* [max(max_rows, max_outputs)][2 * EM_PANEL] */
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
  float *normed;   /* [max rows][widest input] */
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

/* One stage's part of one thread. What they read was written before a barrier; each leaves its output to be read after one. */
void em_cpu_linear(em_cpu_program *program, const em_stage_linear *stage, unsigned thread);
void em_cpu_attention(em_cpu_program *program, const em_stage_attention *stage, unsigned thread);

static inline float *em_cpu_value(const em_cpu_program *program, em_value value, size_t row) {
  const em_value_desc *desc = &program->common.desc.values[value];
  return program->scratch + desc->offset + row * desc->width;
}

/* The part of n that belongs to a thread: first .. *end. */
static inline size_t em_cpu_share(size_t n, unsigned thread, unsigned n_threads, size_t *end) {
  *end = n * (thread + 1) / n_threads;
  return n * thread / n_threads;
}
