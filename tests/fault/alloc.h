/* Failing allocations. A program that includes this is linked with -Wl,--wrap=malloc,--wrap=calloc,... (see meson.build), so that
 * every allocation of the code under test comes through here; libc's own do not. One thread at a time may allocate.
 *
 * A scenario is a function that does something whole with the core and cleans up behind itself. It is run with the 1st, 2nd,
 * 3rd ... allocation failing, once and from there on, until it needs no more; it may succeed or report EM_ERR_NO_MEMORY, must
 * not leak, and must work as before afterwards.
 */
#pragma once

#include "base/status.h"
#include "check.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static size_t alloc_count, alloc_fail_at, alloc_live, alloc_bytes, alloc_peak;
static bool alloc_fail_on;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
char *__real_strdup(const char *text);
void __real_free(void *data);

void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
char *__wrap_strdup(const char *text);
void __wrap_free(void *data);

static bool alloc_fails(void) {
  alloc_count++;
  return alloc_fail_at && (alloc_fail_on ? alloc_count >= alloc_fail_at : alloc_count == alloc_fail_at);
}

static void *alloc_note(void *data) {
  if (data) {
    alloc_live++;
    alloc_bytes += malloc_usable_size(data);
    alloc_peak = alloc_bytes > alloc_peak ? alloc_bytes : alloc_peak;
  }
  return data;
}

void *__wrap_malloc(size_t bytes) {
  return alloc_fails() ? NULL : alloc_note(__real_malloc(bytes));
}

void *__wrap_calloc(size_t n, size_t bytes) {
  return alloc_fails() ? NULL : alloc_note(__real_calloc(n, bytes));
}

void *__wrap_realloc(void *old, size_t bytes) {
  if (alloc_fails())
    return NULL;
  size_t old_bytes = malloc_usable_size(old);
  void *data = __real_realloc(old, bytes);
  if (data && old) {
    alloc_live--;
    alloc_bytes -= old_bytes;
  }
  return alloc_note(data);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
  return alloc_fails() ? NULL : alloc_note(__real_aligned_alloc(alignment, bytes));
}

char *__wrap_strdup(const char *text) {
  return alloc_fails() ? NULL : alloc_note(__real_strdup(text));
}

void __wrap_free(void *data) {
  if (data) {
    alloc_live--;
    alloc_bytes -= malloc_usable_size(data);
  }
  __real_free(data);
}

static inline void check_scenario(const char *name, em_status (*scenario)(void)) {
  CHECK_INT(scenario(), EM_OK);
  size_t live = alloc_live;
  for (int on = 0; on < 2; on++) {
    size_t n_failed = 0;
    for (size_t at = 1;; at++) {
      alloc_count = 0;
      alloc_fail_at = at;
      alloc_fail_on = on;
      em_status status = scenario();
      bool reached = alloc_count >= at;
      alloc_fail_at = 0;
      if (alloc_live != live) {
        printf("%s: allocation %zu: %zu allocations left behind\n", name, at, alloc_live - live);
        CHECK(!"leaked");
        live = alloc_live;
      }
      if (!reached) {
        CHECK_INT(status, EM_OK);
        break;
      }
      n_failed += status != EM_OK;
      CHECK(status == EM_ERR_NO_MEMORY || (status == EM_OK && !on));
      CHECK_INT(scenario(), EM_OK);
    }
    printf("%s: %zu failed %s\n", name, n_failed, on ? "from one allocation on" : "with one allocation");
    CHECK(n_failed > 0);
  }
}
