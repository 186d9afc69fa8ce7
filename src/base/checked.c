/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/checked.h"

#include <stdatomic.h>
#include <stdlib.h>

static _Atomic uint64_t n_allocations;

uint64_t em_n_allocations(void) {
  return atomic_load_explicit(&n_allocations, memory_order_relaxed);
}

static void count_one(void) {
  atomic_fetch_add_explicit(&n_allocations, 1, memory_order_relaxed);
}

void *em_calloc(size_t n, size_t bytes) {
  size_t total;
  if (!em_mul_size(n, bytes, &total))
    return NULL;
  count_one();
  /* calloc(0) may return NULL, which callers read as a failure. */
  return calloc(1, total ? total : 1);
}

void *em_realloc_array(void *old, size_t n, size_t bytes) {
  size_t total;
  if (!em_mul_size(n, bytes, &total))
    return NULL;
  count_one();
  return realloc(old, total ? total : 1);
}
