/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/buffer.h"

#include "base/checked.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Makes room for `more` bytes and the NUL behind them. */
static bool reserve(em_buffer *buffer, size_t more) {
  if (buffer->failed)
    return false;
  size_t need, with_nul;
  if (!em_add_size(buffer->bytes, more, &need) || !em_add_size(need, 1, &with_nul) ||
      (buffer->max_bytes && need > buffer->max_bytes))
    goto fail;
  if (with_nul > buffer->capacity) {
    size_t capacity = buffer->capacity < 64 ? 64 : buffer->capacity;
    if (!em_add_size(capacity, capacity / 2, &capacity) || capacity < with_nul)
      capacity = with_nul;
    char *data = em_realloc_array(buffer->data, capacity, 1);
    if (!data)
      goto fail;
    buffer->data = data;
    buffer->capacity = capacity;
  }
  return true;
fail:
  buffer->failed = true;
  return false;
}

bool em_buffer_append(em_buffer *buffer, const void *data, size_t bytes) {
  if (!reserve(buffer, bytes))
    return false;
  if (bytes)
    memcpy(buffer->data + buffer->bytes, data, bytes);
  buffer->bytes += bytes;
  buffer->data[buffer->bytes] = 0;
  return true;
}

bool em_buffer_append_text(em_buffer *buffer, const char *text) {
  return em_buffer_append(buffer, text, strlen(text));
}

bool em_buffer_appendf(em_buffer *buffer, const char *format, ...) {
  char small[256];
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  bool ok = false;
  int length = vsnprintf(small, sizeof small, format, args);
  if (length < 0) {
    buffer->failed = true;
  } else if ((size_t)length < sizeof small) {
    ok = em_buffer_append(buffer, small, (size_t)length);
  } else if (reserve(buffer, (size_t)length)) {
    vsnprintf(buffer->data + buffer->bytes, (size_t)length + 1, format, again);
    buffer->bytes += (size_t)length;
    ok = true;
  }
  va_end(again);
  va_end(args);
  return ok;
}

void em_buffer_clear(em_buffer *buffer) {
  free(buffer->data);
  *buffer = (em_buffer){ .max_bytes = buffer->max_bytes };
}

char *em_buffer_steal(em_buffer *buffer) {
  char *data = NULL;
  if (!buffer->failed && (buffer->data || em_buffer_append(buffer, "", 0))) {
    data = buffer->data;
    buffer->data = NULL;
  }
  em_buffer_clear(buffer);
  return data;
}
