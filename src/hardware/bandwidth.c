/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "hardware/bandwidth.h"

#include "base/clock.h"
#include "base/threads.h"
#include "hardware/hardware.h"

#include <string.h>
#include <sys/mman.h>

#define LARGEST_BYTES (UINT64_C(1) << 30)
#define SMALLEST_BYTES (UINT64_C(64) << 20)
#define LEAST_PASSES 4
#define LEAST_NS UINT64_C(300000000)
#define LINE_BYTES 64

typedef uint64_t vector __attribute__((vector_size(LINE_BYTES)));

typedef struct {
  char *data;
  size_t bytes; /* a multiple of LINE_BYTES */
  volatile uint64_t sink;
} probe;

static void part_of(const probe *p, unsigned thread, unsigned n_threads, size_t *first, size_t *end) {
  size_t lines = p->bytes / LINE_BYTES;

  *first = lines * thread / n_threads;
  *end = lines * (thread + 1) / n_threads;
}

/* Each thread touches its own part first, so that the pages lie in its memory on computers that have several. */
static void fill_part(void *user, unsigned thread, unsigned n_threads) {
  probe *p = user;
  size_t first, end;

  part_of(p, thread, n_threads, &first, &end);
  memset(p->data + first * LINE_BYTES, 1, (end - first) * LINE_BYTES);
}

static void read_part(void *user, unsigned thread, unsigned n_threads) {
  probe *p = user;
  const vector *lines = (const vector *)(const void *)p->data;
  vector sums[4] = {0};
  size_t first, end, i;

  part_of(p, thread, n_threads, &first, &end);
  for (i = first; i + 4 <= end; i += 4) {
    sums[0] += lines[i];
    sums[1] += lines[i + 1];
    sums[2] += lines[i + 2];
    sums[3] += lines[i + 3];
  }
  sums[0] += sums[1] + sums[2] + sums[3];
  p->sink = sums[0][0] + sums[0][7];
}

em_status em_hardware_read_bandwidth(unsigned n_threads, uint64_t *bytes_per_s, em_error *error) {
  em_memory_state memory;
  em_pool *pool = NULL;
  probe p = {.data = MAP_FAILED};
  uint64_t bytes = LARGEST_BYTES, best_ns = UINT64_MAX, began;
  em_status status = EM_OK;

  /* A quarter of what is free is enough: it must not push out what other programs hold. */
  if (em_hardware_memory(NULL, &memory, NULL) == EM_OK && memory.available_bytes / 4 < bytes)
    bytes = memory.available_bytes / 4;
  if (bytes < SMALLEST_BYTES)
    bytes = SMALLEST_BYTES;
  p.bytes = (size_t)(bytes - bytes % LINE_BYTES);
  EM_TRY(em_pool_new(n_threads, &pool, error));
  p.data = mmap(NULL, p.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p.data == MAP_FAILED)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "there is no memory to measure the bandwidth with"));
  madvise(p.data, p.bytes, MADV_HUGEPAGE);
  em_pool_run(pool, fill_part, &p);

  began = em_now_ns();
  for (int pass = 0; pass < LEAST_PASSES || em_now_ns() - began < LEAST_NS; pass++) {
    uint64_t start = em_now_ns(), ns;

    em_pool_run(pool, read_part, &p);
    ns = em_now_ns() - start;
    if (ns < best_ns)
      best_ns = ns ? ns : 1;
  }
  *bytes_per_s = (uint64_t)((double)p.bytes * 1e9 / (double)best_ns);

fail:
  if (p.data != MAP_FAILED)
    munmap(p.data, p.bytes);
  em_pool_free(pool);
  return status;
}
