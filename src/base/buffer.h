/* A growing byte buffer: the one string builder of the core. Not thread-safe. */
#pragma once

#include "base/status.h"

typedef struct em_buffer {
  char *data;       /* NUL-terminated once anything was appended; NULL while empty. Freed by em_buffer_clear */
  size_t bytes;     /* without the NUL */
  size_t capacity;
  size_t max_bytes; /* 0: no limit */
  bool failed;      /* an append failed (memory or limit); later appends do nothing. Check once at the end */
} em_buffer;

/* Each returns false (and latches failed) when memory is out or max_bytes would be passed. */
bool em_buffer_append(em_buffer *buffer, const void *data, size_t bytes);
bool em_buffer_append_text(em_buffer *buffer, const char *text);
bool em_buffer_appendf(em_buffer *buffer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Frees the data and zeroes everything but max_bytes. */
void em_buffer_clear(em_buffer *buffer);

/* Hands the NUL-terminated data over to the caller, who frees it; "" for an empty buffer. NULL when failed. */
char *em_buffer_steal(em_buffer *buffer);
