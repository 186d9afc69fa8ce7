/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory: large pieces on huge pages, and weights side by side in slabs. */
#include <stdlib.h>
#include <sys/mman.h>

#include "backend/cpu/cpu.h"
#include "base/checked.h"

#define HUGE_PAGE_BYTES ((size_t)2 << 20)
/* Address space of a slab. Only what is written becomes memory. */
#define SLAB_BYTES ((size_t)256 << 20)

void *em_cpu_alloc(uint64_t bytes) {
  size_t alignment = bytes >= 4 * HUGE_PAGE_BYTES ? HUGE_PAGE_BYTES : 64, size;
  uint64_t rounded;
  if (!em_align_up_u64(bytes ? bytes : 1, 64, &rounded) || !em_to_size(rounded, &size))
    return NULL;
  void *memory = aligned_alloc(alignment, size);
  /* Only advice: a system without huge pages works as well, with more TLB misses. */
  if (memory && alignment == HUGE_PAGE_BYTES)
    (void)madvise(memory, size, MADV_HUGEPAGE);
  return memory;
}

struct em_cpu_slab {
  uint8_t *mapping, *memory; /* memory: the first huge page's start inside the mapping */
  size_t mapping_bytes, bytes, used;
  size_t n_users;
};

static em_cpu_slab *slab_new(size_t bytes) {
  em_cpu_slab *slab = em_calloc(1, sizeof *slab);
  if (!slab || !em_add_size(bytes, HUGE_PAGE_BYTES, &slab->mapping_bytes))
    goto fail;
  void *mapping = mmap(NULL, slab->mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED)
    goto fail;
  slab->mapping = mapping;
  slab->memory = (uint8_t *)(((uintptr_t)mapping + HUGE_PAGE_BYTES - 1) & ~(uintptr_t)(HUGE_PAGE_BYTES - 1));
  slab->bytes = bytes;
  (void)madvise(slab->memory, bytes, MADV_HUGEPAGE);
  return slab;
fail:
  free(slab);
  return NULL;
}

static void slab_free(em_cpu_slab *slab) {
  if (!slab)
    return;
  munmap(slab->mapping, slab->mapping_bytes);
  free(slab);
}

void *em_cpu_slab_take(em_cpu *cpu, uint64_t bytes, em_cpu_slab **out) {
  em_cpu_slab *slab = cpu->slab;
  uint64_t rounded;
  size_t size;
  if (!em_align_up_u64(bytes ? bytes : 1, 64, &rounded) || !em_to_size(rounded, &size))
    return NULL;
  if (!slab || slab->bytes - slab->used < size) {
    em_cpu_slab *fresh = slab_new(size > SLAB_BYTES ? size : SLAB_BYTES);
    if (!fresh && size < SLAB_BYTES)
      fresh = slab_new(size); /* where the address space is limited */
    if (!fresh)
      return NULL;
    if (slab && slab->n_users == 0)
      slab_free(slab);
    cpu->slab = slab = fresh;
  }
  void *memory = slab->memory + slab->used;
  slab->used += size;
  slab->n_users++;
  *out = slab;
  return memory;
}

void em_cpu_slab_release(em_cpu *cpu, em_cpu_slab *slab) {
  if (!slab || --slab->n_users > 0)
    return;
  if (cpu->slab == slab)
    cpu->slab = NULL;
  slab_free(slab);
}
