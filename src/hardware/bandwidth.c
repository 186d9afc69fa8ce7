/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "hardware/bandwidth.h"

#include "base/clock.h"
#include "base/threads.h"
#include "hardware/devices.h"
#include "hardware/hardware.h"

#include <string.h>
#include <sys/mman.h>

#define LARGEST_BYTES (UINT64_C(1) << 30)
#define SMALLEST_BYTES (UINT64_C(64) << 20)
#define SOFTWARE_BYTES (UINT64_C(256) << 20) /* a processor takes long over more */
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

/* A quarter of the memory that is free is enough: measuring must not push out what other programs hold. */
static uint64_t probe_bytes(void) {
  em_memory_state memory;
  uint64_t bytes = LARGEST_BYTES;

  if (em_hardware_memory(NULL, &memory, NULL) == EM_OK && memory.available_bytes / 4 < bytes)
    bytes = memory.available_bytes / 4;
  return bytes < SMALLEST_BYTES ? SMALLEST_BYTES : bytes;
}

em_status em_hardware_read_bandwidth(unsigned n_threads, uint64_t *bytes_per_s, em_error *error) {
  em_pool *pool = NULL;
  probe p = {.data = MAP_FAILED};
  uint64_t bytes = probe_bytes(), best_ns = UINT64_MAX, began;
  em_status status = EM_OK;

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

static bool is_software(uint32_t device_index) {
  em_vulkan_device found[EM_MAX_DEVICES];
  uint32_t n;

  return em_vulkan_list(found, EM_MAX_DEVICES, &n, NULL) == EM_OK && device_index < n &&
         found[device_index].kind == EM_VULKAN_SOFTWARE;
}

em_status em_hardware_measure(const em_backend_params *params, em_backend_speed *out, em_error *error) {
  em_backend *backend = NULL;
  bool software = params->kind == EM_DEVICE_VULKAN && is_software(params->device_index);
  uint64_t bytes, processor = 0;
  em_status status = EM_OK;

  *out = (em_backend_speed){0};
  if (params->kind == EM_DEVICE_CPU || software)
    EM_TRY(em_hardware_read_bandwidth(0, &processor, error));
  if (params->kind != EM_DEVICE_CPU) {
    EM_TRY(em_backend_open(params, &backend, error));
    bytes = software ? SOFTWARE_BYTES : probe_bytes();
    if (em_backend_own_memory(backend) > 0)
      bytes = em_backend_own_memory(backend) / 8;
    EM_TRY(em_backend_measure(backend, bytes, out, error));
  }
  if (processor > out->read_bytes_per_s)
    out->read_bytes_per_s = processor;
fail:
  em_backend_close(backend);
  return status;
}
