/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gguf/writer.h"

#include "base/buffer.h"
#include "base/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct written_tensor {
  char *name;
  uint32_t type, n_dims;
  uint64_t dims[EM_GGUF_MAX_DIMS];
  uint64_t bytes;
  uint64_t offset; /* from the start of the data */
  void *data;      /* NULL: zeros */
} written_tensor;

struct em_gguf_writer {
  uint32_t version, alignment;
  em_buffer metadata;
  uint64_t n_pairs;
  written_tensor *tensors;
  size_t n_tensors, tensors_capacity;
  em_error error; /* the first failure */
};

em_gguf_writer *em_gguf_writer_new(uint32_t version) {
  em_gguf_writer *writer = em_calloc(1, sizeof *writer);
  if (writer) {
    writer->version = version;
    writer->alignment = EM_GGUF_DEFAULT_ALIGNMENT;
  }
  return writer;
}

void em_gguf_writer_free(em_gguf_writer *writer) {
  if (!writer)
    return;
  for (size_t i = 0; i < writer->n_tensors; i++) {
    free(writer->tensors[i].name);
    free(writer->tensors[i].data);
  }
  free(writer->tensors);
  em_buffer_clear(&writer->metadata);
  free(writer);
}

/* --- Metadata ----------------------------------------------------------------------------------------------------- */

static void append_u32(em_buffer *buffer, uint32_t value) {
  em_buffer_append(buffer, &value, sizeof value);
}

static void append_u64(em_buffer *buffer, uint64_t value) {
  em_buffer_append(buffer, &value, sizeof value);
}

static void append_text(em_buffer *buffer, const char *text, size_t bytes) {
  append_u64(buffer, bytes);
  em_buffer_append(buffer, text, bytes);
}

static void begin_pair(em_gguf_writer *writer, const char *key, size_t key_bytes, uint32_t type) {
  append_text(&writer->metadata, key, key_bytes);
  append_u32(&writer->metadata, type);
  writer->n_pairs++;
}

static void begin_array(em_gguf_writer *writer, const char *key, em_gguf_type item_type, size_t n) {
  begin_pair(writer, key, strlen(key), EM_GGUF_ARRAY);
  append_u32(&writer->metadata, item_type);
  append_u64(&writer->metadata, n);
}

void em_gguf_put_raw(em_gguf_writer *writer, const char *key, size_t key_bytes, uint32_t type, const void *value,
                     size_t bytes) {
  begin_pair(writer, key, key_bytes, type);
  em_buffer_append(&writer->metadata, value, bytes);
}

void em_gguf_put_bool(em_gguf_writer *writer, const char *key, bool value) {
  uint8_t byte = value;
  em_gguf_put_raw(writer, key, strlen(key), EM_GGUF_BOOL, &byte, 1);
}

void em_gguf_put_u32(em_gguf_writer *writer, const char *key, uint32_t value) {
  em_gguf_put_raw(writer, key, strlen(key), EM_GGUF_U32, &value, sizeof value);
  /* An alignment that is none is for a wrong file, whose data then lies as if nothing had been said. */
  if (strcmp(key, "general.alignment") == 0 && value && !(value & (value - 1)))
    writer->alignment = value;
}

void em_gguf_put_u64(em_gguf_writer *writer, const char *key, uint64_t value) {
  em_gguf_put_raw(writer, key, strlen(key), EM_GGUF_U64, &value, sizeof value);
}

void em_gguf_put_i32(em_gguf_writer *writer, const char *key, int32_t value) {
  em_gguf_put_raw(writer, key, strlen(key), EM_GGUF_I32, &value, sizeof value);
}

void em_gguf_put_f32(em_gguf_writer *writer, const char *key, float value) {
  em_gguf_put_raw(writer, key, strlen(key), EM_GGUF_F32, &value, sizeof value);
}

void em_gguf_put_text(em_gguf_writer *writer, const char *key, const char *text) {
  begin_pair(writer, key, strlen(key), EM_GGUF_STRING);
  append_text(&writer->metadata, text, strlen(text));
}

void em_gguf_put_texts(em_gguf_writer *writer, const char *key, const em_text *texts, size_t n) {
  begin_array(writer, key, EM_GGUF_STRING, n);
  for (size_t i = 0; i < n; i++)
    append_text(&writer->metadata, texts[i].text, texts[i].bytes);
}

void em_gguf_put_f32s(em_gguf_writer *writer, const char *key, const float *values, size_t n) {
  begin_array(writer, key, EM_GGUF_F32, n);
  em_buffer_append(&writer->metadata, values, n * sizeof *values);
}

void em_gguf_put_i32s(em_gguf_writer *writer, const char *key, const int32_t *values, size_t n) {
  begin_array(writer, key, EM_GGUF_I32, n);
  em_buffer_append(&writer->metadata, values, n * sizeof *values);
}

/* --- Tensors ------------------------------------------------------------------------------------------------------ */

/* Adds a tensor without data; NULL (and the failure latched) when it cannot be. */
static written_tensor *add_tensor(em_gguf_writer *writer, const char *name, uint32_t type, uint32_t n_dims,
                                  const uint64_t *dims) {
  written_tensor tensor = { .type = type, .n_dims = n_dims };
  if (n_dims < 1 || n_dims > EM_GGUF_MAX_DIMS) {
    em_fail(&writer->error, EM_ERR_ARGUMENT, "tensor %s cannot have %u dimensions", name, n_dims);
    return NULL;
  }
  bool ok = em_type_row_bytes(type, dims[0], &tensor.bytes);
  for (uint32_t i = 0; i < n_dims; i++) {
    tensor.dims[i] = dims[i];
    ok = ok && (i == 0 || em_mul_u64(tensor.bytes, dims[i], &tensor.bytes));
  }
  if (!ok) {
    em_fail(&writer->error, EM_ERR_ARGUMENT, "tensor %s has no size with its type and dimensions", name);
    return NULL;
  }
  if (writer->n_tensors == writer->tensors_capacity) {
    size_t capacity = writer->tensors_capacity ? writer->tensors_capacity * 2 : 64;
    written_tensor *grown = em_realloc_array(writer->tensors, capacity, sizeof *grown);
    if (grown) {
      writer->tensors = grown;
      writer->tensors_capacity = capacity;
    }
  }
  tensor.name = writer->n_tensors < writer->tensors_capacity ? strdup(name) : NULL;
  if (!tensor.name) {
    em_fail(&writer->error, EM_ERR_NO_MEMORY, "no memory for tensor %s", name);
    return NULL;
  }
  writer->tensors[writer->n_tensors] = tensor;
  return &writer->tensors[writer->n_tensors++];
}

/* Memory for a tensor's data; NULL (and the failure latched) when there is none. */
static void *add_data(em_gguf_writer *writer, written_tensor *tensor) {
  size_t bytes;
  if (em_to_size(tensor->bytes, &bytes))
    tensor->data = em_calloc(bytes, 1);
  if (!tensor->data)
    em_fail(&writer->error, EM_ERR_NO_MEMORY, "no memory for tensor %s", tensor->name);
  return tensor->data;
}

void em_gguf_put_tensor(em_gguf_writer *writer, const char *name, uint32_t type, uint32_t n_dims, const uint64_t *dims,
                        const void *data) {
  written_tensor *tensor = add_tensor(writer, name, type, n_dims, dims);
  if (tensor && data && add_data(writer, tensor))
    memcpy(tensor->data, data, (size_t)tensor->bytes);
}

void em_gguf_put_tensor_f32(em_gguf_writer *writer, const char *name, em_type type, uint32_t n_dims, const uint64_t *dims,
                            const float *values) {
  const em_type_info *info = em_type_get(type);
  if (!info || !info->encode) {
    em_fail(&writer->error, EM_ERR_UNSUPPORTED, "tensor %s cannot be encoded to type %u", name, type);
    return;
  }
  written_tensor *tensor = add_tensor(writer, name, type, n_dims, dims);
  if (tensor && add_data(writer, tensor))
    info->encode(values, tensor->data, (size_t)tensor->bytes / info->block_bytes);
}

/* --- The file ----------------------------------------------------------------------------------------------------- */

/* Appends the header, padded to where the data begins, and sets each tensor's offset. *total: bytes of the whole file. */
static em_status layout(em_gguf_writer *writer, const em_gguf_lies *lies, em_buffer *header, uint64_t *total,
                        em_error *error) {
  static const em_gguf_lies honest = { .tensor = -1 };
  if (!lies)
    lies = &honest;
  if (writer->error.code != EM_OK)
    return em_fail(error, writer->error.code, "%s", writer->error.text);
  em_buffer_append(header, lies->magic ? (const char *)&lies->magic : "GGUF", 4);
  append_u32(header, lies->version ? lies->version : writer->version);
  append_u64(header, lies->n_tensors ? lies->n_tensors : writer->n_tensors);
  append_u64(header, lies->n_keys ? lies->n_keys : writer->n_pairs);
  if (writer->metadata.bytes)
    em_buffer_append(header, writer->metadata.data, writer->metadata.bytes);
  uint32_t alignment = lies->alignment ? lies->alignment : writer->alignment;
  uint64_t offset = 0;
  for (size_t i = 0; i < writer->n_tensors; i++) {
    written_tensor *tensor = &writer->tensors[i];
    bool lie = lies->tensor >= 0 && (size_t)lies->tensor == i;
    uint32_t n_dims = lie && lies->tensor_n_dims ? lies->tensor_n_dims : tensor->n_dims;
    append_text(header, tensor->name, strlen(tensor->name));
    append_u32(header, n_dims);
    for (uint32_t d = 0; d < n_dims; d++) {
      uint64_t dim = d < tensor->n_dims ? tensor->dims[d] : 1;
      append_u64(header, lie && d < EM_GGUF_MAX_DIMS && lies->tensor_dims[d] ? lies->tensor_dims[d] : dim);
    }
    append_u32(header, lie && lies->tensor_type ? lies->tensor_type : tensor->type);
    append_u64(header, lie && lies->tensor_offset ? lies->tensor_offset : offset);
    tensor->offset = offset;
    if (!em_add_u64(offset, tensor->bytes, &offset) || !em_align_up_u64(offset, alignment, &offset))
      return em_fail(error, EM_ERR_ARGUMENT, "the tensors are too large together");
  }
  /* The data begins, and each tensor's data ends, at a multiple of the alignment. */
  if (writer->n_tensors)
    while (header->bytes % alignment && !header->failed)
      em_buffer_append(header, "", 1);
  if (header->failed || writer->metadata.failed)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the file's header");
  if (!em_add_u64(offset, header->bytes, total) || *total > INT64_MAX)
    return em_fail(error, EM_ERR_ARGUMENT, "the tensors are too large together");
  return EM_OK;
}

em_status em_gguf_writer_finish(em_gguf_writer *writer, const em_gguf_lies *lies, char **out, size_t *out_bytes,
                                em_error *error) {
  em_status status;
  em_buffer header = { 0 };
  uint64_t total;
  size_t bytes;
  char *file;
  EM_TRY(layout(writer, lies, &header, &total, error));
  file = em_to_size(total, &bytes) ? em_calloc(bytes, 1) : NULL;
  if (!file) {
    status = em_fail(error, EM_ERR_NO_MEMORY, "no memory for a file of %llu bytes", (unsigned long long)total);
    goto fail;
  }
  memcpy(file, header.data, header.bytes);
  for (size_t i = 0; i < writer->n_tensors; i++)
    if (writer->tensors[i].data)
      memcpy(file + header.bytes + writer->tensors[i].offset, writer->tensors[i].data, (size_t)writer->tensors[i].bytes);
  *out = file;
  *out_bytes = bytes;
fail:
  em_buffer_clear(&header);
  return status;
}

static em_status write_at(int fd, const void *data, uint64_t bytes, uint64_t offset, em_error *error) {
  const char *from = data;
  while (bytes) {
    ssize_t n = pwrite(fd, from, bytes < (1u << 30) ? (size_t)bytes : 1u << 30, (off_t)offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return em_fail(error, EM_ERR_IO, "writing failed: %s", strerror(n < 0 ? errno : EIO));
    from += n;
    bytes -= (uint64_t)n;
    offset += (uint64_t)n;
  }
  return EM_OK;
}

em_status em_gguf_writer_save(em_gguf_writer *writer, const char *path, em_error *error) {
  em_status status;
  em_buffer header = { 0 };
  uint64_t total;
  int fd = -1;
  EM_TRY(layout(writer, NULL, &header, &total, error));
  fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0 || ftruncate(fd, (off_t)total) != 0) {
    status = em_fail(error, EM_ERR_IO, "%s cannot be written: %s", path, strerror(errno));
    goto fail;
  }
  EM_TRY(write_at(fd, header.data, header.bytes, 0, error));
  for (size_t i = 0; i < writer->n_tensors; i++) {
    const written_tensor *tensor = &writer->tensors[i];
    if (tensor->data)
      EM_TRY(write_at(fd, tensor->data, tensor->bytes, header.bytes + tensor->offset, error));
  }
fail:
  if (fd >= 0 && close(fd) != 0 && status == EM_OK)
    status = em_fail(error, EM_ERR_IO, "%s cannot be written: %s", path, strerror(errno));
  em_buffer_clear(&header);
  return status;
}

em_status em_gguf_writer_save_split(em_gguf_writer *writer, const char *prefix, uint32_t n_files, em_error *error) {
  em_status status = EM_OK;
  uint64_t total = 0, done = 0;
  size_t next = 0;
  em_gguf_writer part = {0};
  if (writer->error.code != EM_OK)
    return em_fail(error, writer->error.code, "%s", writer->error.text);
  if (writer->metadata.failed)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the file's header");
  for (size_t i = 0; i < writer->n_tensors; i++)
    if (!em_add_u64(total, writer->tensors[i].bytes, &total))
      return em_fail(error, EM_ERR_ARGUMENT, "the tensors are too large together");
  for (uint32_t i = 0; i < n_files; i++) {
    const uint16_t number = (uint16_t)i, count = (uint16_t)n_files;
    const int32_t n_tensors = (int32_t)writer->n_tensors;
    char path[PATH_MAX];
    size_t first = next;
    while (next < writer->n_tensors && (i + 1 == n_files || done < total / n_files * (i + 1)))
      done += writer->tensors[next++].bytes;
    part = (em_gguf_writer){
        .version = writer->version,
        .alignment = writer->alignment,
        .tensors = writer->tensors + first,
        .n_tensors = next - first,
    };
    if (i == 0) {
      em_buffer_append(&part.metadata, writer->metadata.data, writer->metadata.bytes);
      part.n_pairs = writer->n_pairs;
    } else if (writer->alignment != EM_GGUF_DEFAULT_ALIGNMENT) {
      em_gguf_put_u32(&part, "general.alignment", writer->alignment);
    }
    em_gguf_put_raw(&part, "split.no", strlen("split.no"), EM_GGUF_U16, &number, sizeof number);
    em_gguf_put_raw(&part, "split.count", strlen("split.count"), EM_GGUF_U16, &count, sizeof count);
    em_gguf_put_raw(&part, "split.tensors.count", strlen("split.tensors.count"), EM_GGUF_I32, &n_tensors,
                    sizeof n_tensors);
    int n = snprintf(path, sizeof path, "%s-%05u-of-%05u.gguf", prefix, i + 1, n_files);
    if (n < 0 || (size_t)n >= sizeof path)
      EM_TRY(em_fail(error, EM_ERR_ARGUMENT, "the name is too long"));
    EM_TRY(em_gguf_writer_save(&part, path, error));
    em_buffer_clear(&part.metadata);
  }
fail:
  em_buffer_clear(&part.metadata);
  return status;
}
