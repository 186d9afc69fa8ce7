/* Reading whole small files and positioned reads. */
#pragma once

#include "base/status.h"

/* Reads a regular file of at most max_bytes into a new NUL-terminated buffer that the caller frees. Errors: EM_ERR_NOT_FOUND,
 * EM_ERR_IO, EM_ERR_LIMIT, EM_ERR_NO_MEMORY. */
em_status em_file_read(const char *path, size_t max_bytes, char **out, size_t *out_bytes, em_error *error) EM_MUST_USE;

/* Writes the path of Hearth's folder for what can be made again: $XDG_CACHE_HOME/hearth, or ~/.cache/hearth. false when
 * there is none or it does not fit; out is "" then. The folder may not be there yet. */
bool em_file_cache_dir(char *out, size_t out_bytes);

/* Reads exactly bytes at offset, through interruptions and partial reads. EM_ERR_CHANGED when the file ends early,
 * EM_ERR_IO otherwise. Thread-safe. */
em_status em_file_read_at(int fd, uint64_t offset, void *dst, size_t bytes, em_error *error) EM_MUST_USE;
