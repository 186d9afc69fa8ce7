/* Reading whole small files and positioned reads. */
#pragma once

#include "base/status.h"

/* Reads a regular file of at most max_bytes into a new NUL-terminated buffer that the caller frees. Errors: EM_ERR_NOT_FOUND,
 * EM_ERR_IO, EM_ERR_LIMIT, EM_ERR_NO_MEMORY. */
em_status em_file_read(const char *path, size_t max_bytes, char **out, size_t *out_bytes, em_error *error) EM_MUST_USE;

/* Reads exactly bytes at offset, through interruptions and partial reads. EM_ERR_CHANGED when the file ends early,
 * EM_ERR_IO otherwise. Thread-safe. */
em_status em_file_read_at(int fd, uint64_t offset, void *dst, size_t bytes, em_error *error) EM_MUST_USE;
