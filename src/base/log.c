/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

static em_log_fn log_fn;
static void *log_user;

void em_log_set(em_log_fn fn, void *user) {
  log_fn = fn;
  log_user = user;
}

void em_log(em_log_level level, const char *format, ...) {
  if (!log_fn)
    return;
  char text[512];
  va_list args;
  va_start(args, format);
  int length = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (length >= 0)
    log_fn(log_user, level, text);
}
