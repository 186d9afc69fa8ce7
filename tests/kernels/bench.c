/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Times the processor's kernels: what one or all threads read a second from memory, how near products of one row come to
 * that, and what products of many rows do. Each figure is the best of many short slices, because other programs may use the
 * processor between them.
 *
 *   hearth-kernels-bench [ISA]      scalar, avx2 or avx512; all there are otherwise */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/clock.h"

#define K 1024u
#define MATRIX_BYTES (192u << 20) /* past every cache */
#define SLICE_BYTES (4u << 20)
#define ROWS 128u
#define SECONDS 0.25

typedef struct bench {
  em_pool *pool;
  const em_cpu_kernels *kernels;
  em_layout layout;
  uint8_t *matrix;
  size_t panel_bytes, n_panels, n_slice; /* panels of a thread's slice */
  size_t at;
  uint8_t *x;
  size_t x_stride;
  float *y;
  volatile uint64_t sink;
} bench;

static const em_type layout_types[EM_N_LAYOUTS] = {
    [EM_LAYOUT_F32] = EM_TYPE_F32,     [EM_LAYOUT_F16] = EM_TYPE_F16,       [EM_LAYOUT_BF16] = EM_TYPE_BF16,
    [EM_LAYOUT_Q8] = EM_TYPE_Q8_0,     [EM_LAYOUT_Q4_0] = EM_TYPE_Q4_0,     [EM_LAYOUT_Q4_1] = EM_TYPE_Q4_1,
    [EM_LAYOUT_Q5_0] = EM_TYPE_Q5_0,   [EM_LAYOUT_Q5_1] = EM_TYPE_Q5_1,     [EM_LAYOUT_Q2_K] = EM_TYPE_Q2_K,
    [EM_LAYOUT_Q3_K] = EM_TYPE_Q3_K,   [EM_LAYOUT_Q4_K] = EM_TYPE_Q4_K,     [EM_LAYOUT_Q5_K] = EM_TYPE_Q5_K,
    [EM_LAYOUT_Q6_K] = EM_TYPE_Q6_K,   [EM_LAYOUT_IQ4_NL] = EM_TYPE_IQ4_NL, [EM_LAYOUT_IQ4_XS] = EM_TYPE_IQ4_XS,
    [EM_LAYOUT_MXFP4] = EM_TYPE_MXFP4, [EM_LAYOUT_NVFP4] = EM_TYPE_NVFP4,   [EM_LAYOUT_IQ3_XXS] = EM_TYPE_IQ3_XXS,
    [EM_LAYOUT_IQ3_S] = EM_TYPE_IQ3_S, [EM_LAYOUT_IQ2] = EM_TYPE_IQ2_XXS,   [EM_LAYOUT_IQ1] = EM_TYPE_IQ1_S,
    [EM_LAYOUT_Q1_0] = EM_TYPE_Q1_0,   [EM_LAYOUT_Q2_0] = EM_TYPE_Q2_0,     [EM_LAYOUT_TQ2_0] = EM_TYPE_TQ2_0};

static const uint8_t *slice_of(const bench *b, unsigned thread, size_t *n) {
  size_t panel = (b->at + thread * b->n_slice) % (b->n_panels - b->n_slice);
  *n = b->n_slice;
  return b->matrix + panel * b->panel_bytes;
}

static void read_part(void *user, unsigned thread, unsigned n_threads) {
  bench *b = user;
  size_t n;
  const uint64_t *p = (const uint64_t *)(const void *)slice_of(b, thread, &n);
  uint64_t sum[8] = {0};
  for (size_t i = 0; i + 8 <= n * b->panel_bytes / 8; i += 8) {
    for (unsigned j = 0; j < 8; j++)
      sum[j] += p[i + j];
  }
  b->sink = sum[0] + sum[1] + sum[2] + sum[3] + sum[4] + sum[5] + sum[6] + sum[7];
}

static void dot_part(void *user, unsigned thread, unsigned n_threads) {
  bench *b = user;
  size_t n;
  const uint8_t *w = slice_of(b, thread, &n);
  for (size_t i = 0; i < n; i++)
    b->kernels->dot[b->layout](w + i * b->panel_bytes, K, b->x, b->x_stride, 1, b->y + thread * ROWS * 32);
}

static void mul_part(void *user, unsigned thread, unsigned n_threads) {
  bench *b = user;
  const uint8_t *w = b->matrix + thread * 2 * b->panel_bytes;
  float *y = b->y + thread * ROWS * 32;
  if (!b->kernels->mul[b->layout]) {
    for (unsigned p = 0; p < 2; p++)
      b->kernels->dot[b->layout](w + p * b->panel_bytes, K, b->x, b->x_stride, ROWS, y);
    return;
  }
  static _Thread_local _Alignas(64) uint8_t unpacked[2][K / EM_GROUP * EM_UNPACKED_GROUP_BYTES];
  for (unsigned p = 0; p < 2; p++)
    b->kernels->unpack[b->layout](w + p * b->panel_bytes, 0, K, unpacked[p]);
  b->kernels->mul[b->layout](unpacked[0], unpacked[1], K, b->x, b->x_stride, ROWS, false, y);
}

/* Seconds of the fastest of the calls that fit into SECONDS. */
static double best(bench *b, em_pool_fn fn) {
  double best_seconds = 1e9;
  uint64_t end = em_now_ns() + (uint64_t)(SECONDS * 1e9);
  b->at = 0;
  do {
    uint64_t start = em_now_ns();
    em_pool_run(b->pool, fn, b);
    double seconds = (double)(em_now_ns() - start) * 1e-9;
    best_seconds = seconds < best_seconds ? seconds : best_seconds;
    b->at += b->n_slice * em_pool_n_threads(b->pool);
  } while (em_now_ns() < end);
  return best_seconds;
}

static void fill(bench *b, em_layout layout) {
  const em_type_info *info = em_type_get(layout_types[layout]);
  uint64_t row_bytes = K / info->block_len * info->block_bytes;
  static float values[K];
  static uint8_t row[K * 4];
  const uint8_t *rows[EM_PANEL];
  for (unsigned i = 0; i < K; i++)
    values[i] = (float)((double)rand() / RAND_MAX - 0.5);
  if (info->encode) {
    info->encode(values, row, K / info->block_len);
  } else {
    /* Types without an encoder: any bytes do, with ordinary scales at the start of each block. */
    memset(row, 0x31, row_bytes);
  }
  for (unsigned r = 0; r < EM_PANEL; r++)
    rows[r] = row;
  b->layout = layout;
  b->panel_bytes = em_panel_bytes(layout, K);
  b->n_panels = MATRIX_BYTES / b->panel_bytes;
  b->n_slice = SLICE_BYTES / b->panel_bytes;
  em_pack_panel(layout_types[layout], K, rows, b->matrix);
  for (size_t i = 1; i < b->n_panels; i++)
    memcpy(b->matrix + i * b->panel_bytes, b->matrix, b->panel_bytes);
  for (unsigned r = 0; r < ROWS; r++) {
    if (em_layout_is_quantised(layout))
      b->kernels->quantise(values, K, (em_q8_block *)(void *)(b->x + r * em_q8_row_bytes(K)));
    else
      memcpy(b->x + r * K * 4, values, sizeof values);
  }
  b->x_stride = em_layout_is_quantised(layout) ? em_q8_row_bytes(K) : K * 4;
}

int main(int argc, char **argv) {
  em_pool *pools[2] = {NULL, NULL};
  em_error error = {0};
  bench b = {.matrix = em_cpu_alloc(MATRIX_BYTES), .x = em_cpu_alloc(ROWS * K * 4)};
  if (em_pool_new(1, &pools[0], &error) != EM_OK || em_pool_new(0, &pools[1], &error) != EM_OK) {
    fprintf(stderr, "%s\n", error.text);
    return 1;
  }
  unsigned n_threads = em_pool_n_threads(pools[1]);
  b.y = em_cpu_alloc((uint64_t)n_threads * ROWS * 32 * sizeof(float));
  if (!b.matrix || !b.x || !b.y)
    return 1;
  for (int isa = 0; isa <= (int)em_cpu_best_isa(); isa++) {
    em_cpu_kernels kernels;
    if (argc > 1 && strcmp(argv[1], em_cpu_isa_name((em_cpu_isa)isa)) != 0)
      continue;
    em_kernels_get((em_cpu_isa)isa, &kernels);
    b.kernels = &kernels;
    printf("%s             1 row: GB/s, 1 and %u threads    %u rows: GMAC/s, 1 and %u threads\n",
           em_cpu_isa_name((em_cpu_isa)isa), n_threads, ROWS, n_threads);
    for (int layout = 0; layout < EM_N_LAYOUTS; layout++) {
      fill(&b, (em_layout)layout);
      printf("  %-7s", em_type_get(layout_types[layout])->name);
      for (unsigned p = 0; p < 2; p++) {
        b.pool = pools[p];
        double n = p ? n_threads : 1, bytes = (double)(b.n_slice * b.panel_bytes) * n;
        printf("   read %6.2f  dot %6.2f", bytes / best(&b, read_part) * 1e-9, bytes / best(&b, dot_part) * 1e-9);
      }
      for (unsigned p = 0; p < 2; p++) {
        b.pool = pools[p];
        printf("   mul %7.2f", (p ? n_threads : 1) * 2.0 * EM_PANEL * K * ROWS / best(&b, mul_part) * 1e-9);
      }
      printf("\n");
      fflush(stdout);
    }
  }
  free(b.matrix);
  free(b.x);
  free(b.y);
  em_pool_free(pools[0]);
  em_pool_free(pools[1]);
  return 0;
}
