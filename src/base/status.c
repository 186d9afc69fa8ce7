/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/status.h"

#include "base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const words[EM_N_STATUS] = {
  [EM_OK] = "ok",
  [EM_ERR_NO_MEMORY] = "no-memory",
  [EM_ERR_TOO_BIG] = "too-big",
  [EM_ERR_IO] = "io",
  [EM_ERR_NOT_FOUND] = "not-found",
  [EM_ERR_FORMAT] = "format",
  [EM_ERR_LIMIT] = "limit",
  [EM_ERR_UNSUPPORTED] = "unsupported",
  [EM_ERR_CHANGED] = "changed",
  [EM_ERR_ARGUMENT] = "argument",
  [EM_ERR_CANCELLED] = "cancelled",
  [EM_ERR_BUSY] = "busy",
  [EM_ERR_CONTEXT] = "context",
  [EM_ERR_DEVICE] = "device",
  [EM_ERR_INTERNAL] = "internal",
};

/* Makes text printable in place: controls and malformed bytes become '?', so that the sentence is one line of valid UTF-8
 * whatever name from a file went into it. */
static void make_printable(char *text) {
  size_t bytes = strlen(text), tail = em_utf8_incomplete_tail(text, bytes);
  bytes -= tail;
  text[bytes] = 0;
  for (size_t i = 0; i < bytes;) {
    uint32_t c;
    bool valid;
    size_t n = em_utf8_decode(text + i, bytes - i, &c, &valid);
    /* C0 and C1 controls, the line and paragraph separators, and the marks that reorder the text around them. */
    if (!valid || c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069))
      memset(text + i, '?', n);
    i += n;
  }
}

static em_status fail(em_error *error, em_status code, bool has_offset, uint64_t offset, const char *format, va_list args)
    __attribute__((format(printf, 5, 0)));

static em_status fail(em_error *error, em_status code, bool has_offset, uint64_t offset, const char *format, va_list args) {
  if (error && error->code == EM_OK) {
    error->code = code;
    error->has_offset = has_offset;
    error->offset = offset;
    if (vsnprintf(error->text, sizeof error->text, format, args) < 0)
      error->text[0] = 0;
    make_printable(error->text);
  }
  return code;
}

em_status em_fail(em_error *error, em_status code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fail(error, code, false, 0, format, args);
  va_end(args);
  return code;
}

em_status em_fail_at(em_error *error, em_status code, uint64_t offset, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fail(error, code, true, offset, format, args);
  va_end(args);
  return code;
}

const char *em_status_word(em_status code) {
  return (unsigned)code < EM_N_STATUS ? words[code] : "unknown";
}
