/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gguf/gguf.h"

#include <stdio.h>
#include <string.h>

/* The tail "-00001-of-00004.gguf". */
#define TAIL_BYTES 20u

/* Five digits as a number; false when one of them is none. */
static bool read_digits(const char *text, uint32_t *out) {
  uint32_t value = 0;
  for (int i = 0; i < 5; i++) {
    if (text[i] < '0' || text[i] > '9')
      return false;
    value = value * 10 + (uint32_t)(text[i] - '0');
  }
  *out = value;
  return true;
}

bool em_gguf_parse_split(const char *path, em_gguf_split *out) {
  size_t bytes = strlen(path);
  if (bytes <= TAIL_BYTES)
    return false;
  const char *tail = path + bytes - TAIL_BYTES;
  uint32_t number, count;
  if (tail[-1] == '/' || tail[0] != '-' || !read_digits(tail + 1, &number) || memcmp(tail + 6, "-of-", 4) != 0 ||
      !read_digits(tail + 10, &count) || memcmp(tail + 15, ".gguf", 5) != 0 || number < 1 || number > count)
    return false;
  *out = (em_gguf_split){ .index = number - 1, .count = count, .prefix_bytes = bytes - TAIL_BYTES };
  return true;
}

bool em_gguf_format_split(const char *path, const em_gguf_split *split, uint32_t index, char *out, size_t out_bytes) {
  if (index >= split->count || split->count > 99999 || split->prefix_bytes > strlen(path) ||
      out_bytes <= TAIL_BYTES || split->prefix_bytes >= out_bytes - TAIL_BYTES)
    return false;
  memmove(out, path, split->prefix_bytes);
  snprintf(out + split->prefix_bytes, TAIL_BYTES + 1, "-%05u-of-%05u.gguf", (index + 1) % 100000u, split->count % 100000u);
  return true;
}
