/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/file.h"

#include "base/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

em_status em_file_read(const char *path, size_t max_bytes, char **out, size_t *out_bytes, em_error *error) {
  em_status status = EM_OK;
  char *data = NULL;
  size_t bytes = 0, capacity;
  /* O_NONBLOCK: opening a FIFO must not wait for its writer; on a regular file it means nothing. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    bool absent = errno == ENOENT || errno == ENOTDIR;
    return em_fail(error, absent ? EM_ERR_NOT_FOUND : EM_ERR_IO, "%s cannot be opened: %s", path, strerror(errno));
  }
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    status = em_fail(error, EM_ERR_IO, "%s is not a regular file", path);
    goto fail;
  }
  /* The size is only a hint: files in /proc and /sys say 0 or a page whatever they hold, so reading goes on to the end. */
  capacity = info.st_size > 0 && (uint64_t)info.st_size <= max_bytes ? (size_t)info.st_size : 4096;
  for (;;) {
    /* One byte more than the limit is asked for, so that a file past it shows, and one is for the NUL. */
    if (capacity > max_bytes)
      capacity = max_bytes;
    size_t room;
    char *grown = em_add_size(capacity, 2, &room) ? em_realloc_array(data, room, 1) : NULL;
    if (!grown) {
      status = em_fail(error, EM_ERR_NO_MEMORY, "no memory for %s", path);
      goto fail;
    }
    data = grown;
    ssize_t n = 0;
    while (bytes <= capacity) {
      n = read(fd, data + bytes, capacity + 1 - bytes);
      if (n < 0 && errno == EINTR)
        continue;
      if (n <= 0)
        break;
      bytes += (size_t)n;
    }
    if (bytes <= capacity) {
      if (n < 0) {
        status = em_fail(error, EM_ERR_IO, "%s cannot be read: %s", path, strerror(errno));
        goto fail;
      }
      break;
    }
    if (bytes > max_bytes) {
      status = em_fail(error, EM_ERR_LIMIT, "%s is larger than %zu bytes", path, max_bytes);
      goto fail;
    }
    if (!em_mul_size(capacity, 2, &capacity))
      capacity = max_bytes;
  }
  data[bytes] = 0;
  *out = data;
  if (out_bytes)
    *out_bytes = bytes;
  data = NULL;
fail:
  free(data);
  close(fd);
  return status;
}

bool em_file_cache_dir(char *out, size_t out_bytes) {
  const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  int n = -1;
  /* A relative path is invalid by the specification and ignored. */
  if (cache && cache[0] == '/')
    n = snprintf(out, out_bytes, "%s/hearth", cache);
  else if (home && home[0] == '/')
    n = snprintf(out, out_bytes, "%s/.cache/hearth", home);
  if (n >= 0 && (size_t)n < out_bytes)
    return true;
  out[0] = '\0';
  return false;
}

em_status em_file_read_at(int fd, uint64_t offset, void *dst, size_t bytes, em_error *error) {
  char *to = dst;
  uint64_t end;
  if (!em_add_u64(offset, bytes, &end) || end > INT64_MAX)
    return em_fail(error, EM_ERR_ARGUMENT, "a read past the largest file offset was asked for");
  while (bytes) {
    ssize_t n = pread(fd, to, bytes, (off_t)offset);
    if (n < 0) {
      if (errno == EINTR)
        continue;
      return em_fail_at(error, EM_ERR_IO, offset, "reading failed: %s", strerror(errno));
    }
    if (n == 0)
      return em_fail_at(error, EM_ERR_CHANGED, offset, "the file ends before byte %llu: it has been cut short",
                        (unsigned long long)end);
    to += n;
    bytes -= (size_t)n;
    offset += (uint64_t)n;
  }
  return EM_OK;
}
