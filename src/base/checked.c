/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/checked.h"

#include <stdlib.h>

void *em_calloc(size_t n, size_t bytes) {
  size_t total;
  if (!em_mul_size(n, bytes, &total))
    return NULL;
  /* calloc(0) may return NULL, which callers read as a failure. */
  return calloc(1, total ? total : 1);
}

void *em_realloc_array(void *old, size_t n, size_t bytes) {
  size_t total;
  if (!em_mul_size(n, bytes, &total))
    return NULL;
  return realloc(old, total ? total : 1);
}
