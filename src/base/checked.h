/* Checked arithmetic: the only way a size, count or offset that comes from a file or a request is computed.
 *
 * Each function stores its result and returns true, or returns false on overflow and leaves *out alone.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool em_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
  uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum))
    return false;
  *out = sum;
  return true;
}

static inline bool em_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
  uint64_t product;
  if (__builtin_mul_overflow(a, b, &product))
    return false;
  *out = product;
  return true;
}

static inline bool em_add_size(size_t a, size_t b, size_t *out) {
  size_t sum;
  if (__builtin_add_overflow(a, b, &sum))
    return false;
  *out = sum;
  return true;
}

static inline bool em_mul_size(size_t a, size_t b, size_t *out) {
  size_t product;
  if (__builtin_mul_overflow(a, b, &product))
    return false;
  *out = product;
  return true;
}

/* Rounds value up to a multiple of alignment (a power of two, not 0). */
static inline bool em_align_up_u64(uint64_t value, uint64_t alignment, uint64_t *out) {
  uint64_t sum;
  if (__builtin_add_overflow(value, alignment - 1, &sum))
    return false;
  *out = sum & ~(alignment - 1);
  return true;
}

/* Narrows a 64-bit count to size_t. */
static inline bool em_to_size(uint64_t value, size_t *out) {
#if SIZE_MAX < UINT64_MAX
  if (value > SIZE_MAX)
    return false;
#endif
  *out = (size_t)value;
  return true;
}

/* Zeroed memory for n elements of `bytes` each, or NULL when the product overflows or memory is out. Free with free(). */
void *em_calloc(size_t n, size_t bytes);

/* Grows an array to hold n elements of `bytes` each; on failure returns NULL and the old array stays valid. */
void *em_realloc_array(void *old, size_t n, size_t bytes);

/* How often the two functions above have been called, by all threads: what nothing should be added to while a model
 * decodes. */
uint64_t em_n_allocations(void);
