/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What bounds a render: errors, fuel, time, memory and depth. */
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "base/checked.h"
#include "text/template/ast.h"
#include "text/template/lexer.h"

#define FUEL_BETWEEN_LOOKS 2000u

bool em_tpl_fail(em_tpl_run *run, em_status code, const char *format, ...) {
  char text[EM_ERROR_TEXT_BYTES];
  if (run->status != EM_OK)
    return false;
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  run->status = em_fail_at(run->error, code, run->offset, "line %zu: %s",
                           em_tpl_line(run->template_->source, run->offset), text);
  return false;
}

/* Processor time, not wall time: a good template must not fail because the computer is busy with something else. */
static uint64_t thread_time_ns(void) {
  struct timespec now;
  if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) != 0)
    return 0;
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool em_tpl_spend(em_tpl_run *run, uint64_t fuel) {
  if (run->status != EM_OK)
    return false;
  if (fuel > run->fuel)
    return em_tpl_fail(run, EM_ERR_LIMIT, "the template does too much work");
  run->fuel -= fuel;
  if (run->fuel > run->next_look)
    return true;
  uint64_t now = thread_time_ns();
  if (run->end_ns == 0)
    run->end_ns = now + EM_TEMPLATE_MAX_MS * (uint64_t)1000000u;
  if (now > run->end_ns)
    return em_tpl_fail(run, EM_ERR_LIMIT, "the template works longer than %u ms", EM_TEMPLATE_MAX_MS);
  run->next_look = run->fuel > FUEL_BETWEEN_LOOKS ? run->fuel - FUEL_BETWEEN_LOOKS : 0;
  return true;
}

void *em_tpl_alloc(em_tpl_run *run, size_t n, size_t bytes) {
  size_t total, sum;
  bool fits = em_mul_size(n, bytes, &total) && em_add_size(em_arena_used_bytes(run->arena), total, &sum) &&
              sum <= EM_TPL_MAX_ARENA_BYTES;
  void *memory = fits ? em_arena_alloc(run->arena, total) : NULL;
  if (!memory)
    em_tpl_fail(run, fits ? EM_ERR_NO_MEMORY : EM_ERR_LIMIT, "the template needs too much memory");
  return memory;
}

bool em_tpl_enter(em_tpl_run *run) {
  if (run->depth >= EM_TPL_MAX_RUN_DEPTH)
    return em_tpl_fail(run, EM_ERR_LIMIT, "nested too deep");
  run->depth++;
  return true;
}

void em_tpl_leave(em_tpl_run *run) {
  run->depth--;
}
