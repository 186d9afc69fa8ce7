/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gguf/header.h"

#include "base/checked.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- Opening ------------------------------------------------------------------------------------------------------ */

em_status em_gguf_read_at(const em_gguf *gguf, uint64_t offset, void *dst, size_t bytes, em_error *error) {
  if (gguf->fd >= 0)
    return em_file_read_at(gguf->fd, offset, dst, bytes, error);
  if (offset > gguf->memory_bytes || bytes > gguf->memory_bytes - offset)
    return em_fail_at(error, EM_ERR_CHANGED, offset, "the file has been cut short");
  if (bytes)
    memcpy(dst, gguf->memory + offset, bytes);
  return EM_OK;
}

/* An em_gguf without a source. */
static em_gguf *new_gguf(em_error *error) {
  em_gguf *gguf = em_calloc(1, sizeof *gguf);
  em_arena *arena = em_arena_new(0);
  if (!gguf || !arena) {
    free(gguf);
    em_arena_free(arena);
    em_fail(error, EM_ERR_NO_MEMORY, "no memory for the file's header");
    return NULL;
  }
  gguf->arena = arena;
  gguf->fd = -1;
  gguf->n_files = 1;
  return gguf;
}

static em_status open_source(em_gguf *gguf, em_gguf **out, em_error *error) {
  em_status status = em_gguf_read_header(gguf, error);
  if (status == EM_OK)
    *out = gguf;
  else
    em_gguf_close(gguf);
  return status;
}

em_status em_gguf_open(const char *path, em_gguf **out, em_error *error) {
  char found[PATH_MAX];
  struct stat info;
  em_gguf *gguf;
  uint64_t n_parts;
  if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
    em_status status = em_gguf_find_in_folder(path, found, sizeof found, error);
    if (status != EM_OK)
      return status;
    path = found;
  }
  em_status status = em_gguf_open_file(path, &gguf, error);
  if (status != EM_OK)
    return status;
  if (em_gguf_is_part(gguf, &n_parts))
    return em_gguf_join(path, gguf, out, error);
  *out = gguf;
  return EM_OK;
}

em_status em_gguf_open_file(const char *path, em_gguf **out, em_error *error) {
  /* O_NONBLOCK: opening a FIFO must not wait for a writer; on a regular file it means nothing. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    bool absent = errno == ENOENT || errno == ENOTDIR;
    return em_fail(error, absent ? EM_ERR_NOT_FOUND : EM_ERR_IO, "%s cannot be opened: %s", path, strerror(errno));
  }
  em_status status = em_gguf_open_fd(fd, out, error);
  close(fd);
  return status;
}

em_status em_gguf_open_fd(int fd, em_gguf **out, em_error *error) {
  struct stat info;
  if (fstat(fd, &info) != 0)
    return em_fail(error, EM_ERR_IO, "the file cannot be examined: %s", strerror(errno));
  if (!S_ISREG(info.st_mode))
    return em_fail(error, EM_ERR_FORMAT, "this is not a regular file");
  em_gguf *gguf = new_gguf(error);
  if (!gguf)
    return EM_ERR_NO_MEMORY;
  gguf->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (gguf->fd < 0) {
    em_gguf_close(gguf);
    return em_fail(error, EM_ERR_IO, "the file cannot be kept open: %s", strerror(errno));
  }
  gguf->file_bytes = (uint64_t)info.st_size;
  gguf->modified = info.st_mtim;
  return open_source(gguf, out, error);
}

em_status em_gguf_open_memory(const void *data, size_t bytes, uint64_t file_bytes, em_gguf **out, em_error *error) {
  if (!data || file_bytes < bytes)
    return em_fail(error, EM_ERR_ARGUMENT, "a file in memory cannot be shorter than its bytes");
  em_gguf *gguf = new_gguf(error);
  if (!gguf)
    return EM_ERR_NO_MEMORY;
  gguf->memory = data;
  gguf->memory_bytes = bytes;
  gguf->file_bytes = file_bytes;
  return open_source(gguf, out, error);
}

void em_gguf_close(em_gguf *gguf) {
  if (!gguf)
    return;
  for (uint32_t i = 0; gguf->others && i + 1 < gguf->n_files; i++)
    em_gguf_close(gguf->others[i]);
  free(gguf->others);
  if (gguf->fd >= 0)
    close(gguf->fd);
  em_arena_free(gguf->arena);
  free(gguf);
}

uint32_t em_gguf_version(const em_gguf *gguf) {
  return gguf->version;
}

uint32_t em_gguf_alignment(const em_gguf *gguf) {
  return gguf->alignment;
}

uint32_t em_gguf_n_files(const em_gguf *gguf) {
  return gguf->n_files;
}

/* File i of a split model. */
static const em_gguf *file_at(const em_gguf *gguf, uint32_t i) {
  return i == 0 ? gguf : gguf->others[i - 1];
}

uint64_t em_gguf_file_bytes(const em_gguf *gguf) {
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < gguf->n_files; i++)
    bytes += file_at(gguf, i)->file_bytes;
  return bytes;
}

uint64_t em_gguf_data_offset(const em_gguf *gguf) {
  return gguf->data_offset;
}

em_status em_gguf_check_unchanged(const em_gguf *gguf, em_error *error) {
  struct stat info;
  for (uint32_t i = 0; i < gguf->n_files; i++) {
    const em_gguf *file = file_at(gguf, i);
    if (file->fd < 0)
      continue;
    if (fstat(file->fd, &info) != 0)
      return em_fail(error, EM_ERR_IO, "the file cannot be examined: %s", strerror(errno));
    if ((uint64_t)info.st_size != file->file_bytes || info.st_mtim.tv_sec != file->modified.tv_sec ||
        info.st_mtim.tv_nsec != file->modified.tv_nsec)
      return em_fail(error, EM_ERR_CHANGED, "the file was changed while it was in use");
  }
  return EM_OK;
}

/* --- Metadata ----------------------------------------------------------------------------------------------------- */

size_t em_gguf_n_keys(const em_gguf *gguf) {
  return gguf->n_pairs;
}

em_gguf_entry em_gguf_key_at(const em_gguf *gguf, size_t i) {
  const em_gguf_pair *pair = &gguf->pairs[i];
  return (em_gguf_entry){
    .key = pair->key,
    .type = (em_gguf_type)pair->type,
    .item_type = (em_gguf_type)pair->item_type,
    .n = pair->type == EM_GGUF_ARRAY ? pair->n : 1,
  };
}

static const em_gguf_pair *find_pair(const em_gguf *gguf, const char *key) {
  return em_names_find(&gguf->pair_names, key, strlen(key));
}

bool em_gguf_find_key(const em_gguf *gguf, const char *key, em_gguf_entry *out) {
  const em_gguf_pair *pair = find_pair(gguf, key);
  if (pair && out)
    *out = em_gguf_key_at(gguf, (size_t)(pair - gguf->pairs));
  return pair;
}

bool em_gguf_get_bool(const em_gguf *gguf, const char *key, bool *out) {
  const em_gguf_pair *pair = find_pair(gguf, key);
  if (!pair || pair->type != EM_GGUF_BOOL)
    return false;
  *out = pair->value.u != 0;
  return true;
}

/* The value as a 64-bit number and whether it is below zero; false when the key is absent or no integer. */
static bool get_integer(const em_gguf *gguf, const char *key, uint64_t *out, bool *negative) {
  const em_gguf_pair *pair = find_pair(gguf, key);
  if (!pair)
    return false;
  switch ((em_gguf_type)pair->type) {
  case EM_GGUF_U8:
  case EM_GGUF_U16:
  case EM_GGUF_U32:
  case EM_GGUF_U64:
    *negative = false;
    break;
  case EM_GGUF_I8:
  case EM_GGUF_I16:
  case EM_GGUF_I32:
  case EM_GGUF_I64:
    *negative = pair->value.i < 0;
    break;
  default:
    return false;
  }
  *out = pair->value.u;
  return true;
}

bool em_gguf_get_u64(const em_gguf *gguf, const char *key, uint64_t *out) {
  uint64_t value;
  bool negative;
  if (!get_integer(gguf, key, &value, &negative) || negative)
    return false;
  *out = value;
  return true;
}

bool em_gguf_get_u32(const em_gguf *gguf, const char *key, uint32_t *out) {
  uint64_t value;
  if (!em_gguf_get_u64(gguf, key, &value) || value > UINT32_MAX)
    return false;
  *out = (uint32_t)value;
  return true;
}

bool em_gguf_get_i32(const em_gguf *gguf, const char *key, int32_t *out) {
  uint64_t value;
  bool negative;
  if (!get_integer(gguf, key, &value, &negative))
    return false;
  if (negative ? (int64_t)value < INT32_MIN : value > INT32_MAX)
    return false;
  *out = (int32_t)(int64_t)value;
  return true;
}

bool em_gguf_get_f32(const em_gguf *gguf, const char *key, float *out) {
  const em_gguf_pair *pair = find_pair(gguf, key);
  if (!pair || (pair->type != EM_GGUF_F32 && pair->type != EM_GGUF_F64))
    return false;
  *out = (float)pair->value.real;
  return true;
}

bool em_gguf_get_text(const em_gguf *gguf, const char *key, em_text *out) {
  const em_gguf_pair *pair = find_pair(gguf, key);
  if (!pair || pair->type != EM_GGUF_STRING)
    return false;
  *out = (em_text){ pair->value.text, (size_t)pair->n };
  return true;
}

/* The array of this key if it has elements of this type. */
static const em_gguf_pair *find_array(const em_gguf *gguf, const char *key, em_gguf_type item_type) {
  const em_gguf_pair *pair = find_pair(gguf, key);
  return pair && pair->type == EM_GGUF_ARRAY && pair->item_type == item_type ? pair : NULL;
}

bool em_gguf_get_texts(const em_gguf *gguf, const char *key, const em_text **out, size_t *n) {
  const em_gguf_pair *pair = find_array(gguf, key, EM_GGUF_STRING);
  if (!pair)
    return false;
  *out = pair->value.items;
  *n = (size_t)pair->n;
  return true;
}

bool em_gguf_get_f32s(const em_gguf *gguf, const char *key, const float **out, size_t *n) {
  const em_gguf_pair *pair = find_array(gguf, key, EM_GGUF_F32);
  if (!pair)
    return false;
  *out = pair->value.items;
  *n = (size_t)pair->n;
  return true;
}

bool em_gguf_get_i32s(const em_gguf *gguf, const char *key, const int32_t **out, size_t *n) {
  const em_gguf_pair *pair = find_array(gguf, key, EM_GGUF_I32);
  if (!pair) {
    pair = find_array(gguf, key, EM_GGUF_U32);
    if (!pair)
      return false;
    const uint32_t *values = pair->value.items;
    for (size_t i = 0; i < (size_t)pair->n; i++)
      if (values[i] > INT32_MAX)
        return false;
  }
  *out = pair->value.items;
  *n = (size_t)pair->n;
  return true;
}

bool em_gguf_get_bools(const em_gguf *gguf, const char *key, const uint8_t **out, size_t *n) {
  const em_gguf_pair *pair = find_array(gguf, key, EM_GGUF_BOOL);
  if (!pair)
    return false;
  *out = pair->value.items;
  *n = (size_t)pair->n;
  return true;
}

/* --- Tensors ------------------------------------------------------------------------------------------------------ */

size_t em_gguf_n_tensors(const em_gguf *gguf) {
  return gguf->n_tensors;
}

const em_gguf_tensor *em_gguf_tensor_at(const em_gguf *gguf, size_t i) {
  return &gguf->tensors[i];
}

const em_gguf_tensor *em_gguf_find_tensor(const em_gguf *gguf, const char *name) {
  return em_names_find(&gguf->tensor_names, name, strlen(name));
}

em_status em_gguf_read_tensor(const em_gguf *gguf, const em_gguf_tensor *tensor, uint64_t offset, void *dst, size_t bytes,
                              em_error *error) {
  if (offset > tensor->bytes || bytes > tensor->bytes - offset)
    return em_fail(error, EM_ERR_ARGUMENT, "a read outside the tensor %s was asked for", tensor->name.text);
  return em_gguf_read_at(file_at(gguf, tensor->file), tensor->offset + offset, dst, bytes, error);
}

void em_gguf_read_ahead(const em_gguf *gguf, const em_gguf_tensor *tensor, uint64_t offset, size_t bytes) {
  int fd = file_at(gguf, tensor->file)->fd;
  uint64_t start;
  if (fd >= 0 && em_add_u64(tensor->offset, offset, &start) && start <= INT64_MAX)
    (void)posix_fadvise(fd, (off_t)start, (off_t)bytes, POSIX_FADV_WILLNEED);
}
