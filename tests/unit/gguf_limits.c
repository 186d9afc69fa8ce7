/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files just within and just past the reader's limits, too large for the corpus of bad files. */
#include "check.h"
#include "gguf/writer.h"

#include <fcntl.h>
#include <unistd.h>

/* Finishes the file, opens it, and gives the status. */
static em_status open_written(em_gguf_writer *writer) {
  char *file = NULL;
  size_t bytes;
  em_error error = { 0 };
  CHECK_INT(em_gguf_writer_finish(writer, NULL, &file, &bytes, &error), EM_OK);
  em_gguf_writer_free(writer);
  em_gguf *gguf = NULL;
  em_status status = em_gguf_open_memory(file, bytes, bytes, &gguf, &error);
  CHECK(status == EM_OK || (error.text[0] && !gguf));
  if (gguf && em_gguf_n_keys(gguf)) {
    em_gguf_entry entry = em_gguf_key_at(gguf, em_gguf_n_keys(gguf) - 1);
    CHECK(em_gguf_find_key(gguf, entry.key.text, NULL));
  }
  em_gguf_close(gguf);
  free(file);
  return status;
}

static em_status with_pairs(unsigned n) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  char key[16];
  for (unsigned i = 0; i < n; i++) {
    snprintf(key, sizeof key, "%u", i);
    em_gguf_put_bool(writer, key, false);
  }
  return open_written(writer);
}

static em_status with_tensors(unsigned n) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  char name[16];
  em_gguf_put_u32(writer, "general.alignment", 8);
  for (unsigned i = 0; i < n; i++) {
    snprintf(name, sizeof name, "%u", i);
    em_gguf_put_tensor(writer, name, EM_TYPE_I8, 1, (const uint64_t[]){ 1 }, NULL);
  }
  return open_written(writer);
}

/* A text of n letters, which the caller frees. */
static char *letters(size_t n) {
  char *text = malloc(n + 1);
  memset(text, 'x', n);
  text[n] = 0;
  return text;
}

static em_status with_key(size_t bytes) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  char *key = letters(bytes);
  em_gguf_put_raw(writer, key, bytes, EM_GGUF_U8, "\1", 1);
  free(key);
  return open_written(writer);
}

static em_status with_tensor_name(size_t bytes) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  char *name = letters(bytes);
  em_gguf_put_tensor(writer, name, EM_TYPE_F32, 1, (const uint64_t[]){ 1 }, NULL);
  free(name);
  return open_written(writer);
}

static em_status with_text(size_t bytes) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  char *text = letters(bytes);
  em_gguf_put_text(writer, "text", text);
  free(text);
  return open_written(writer);
}

static em_status with_texts(const char *key, size_t bytes) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  char *text = letters(bytes);
  em_gguf_put_texts(writer, key, &(em_text){ text, bytes }, 1);
  free(text);
  return open_written(writer);
}

/* An array of n elements of one byte or eight in a file of holes. */
static em_status with_array(const char *path, em_gguf_type type, uint64_t n, uint64_t file_bytes) {
  unsigned char start[24 + 8 + 1 + 4 + 12] = "GGUF\3\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0k\x09";
  start[37] = (unsigned char)type;
  memcpy(start + 41, &n, 8);
  int fd = open(path, O_RDWR | O_TRUNC);
  CHECK(write(fd, start, sizeof start) == (ssize_t)sizeof start);
  CHECK(ftruncate(fd, (off_t)file_bytes) == 0);
  em_gguf *gguf = NULL;
  em_error error = { 0 };
  em_status status = em_gguf_open_fd(fd, &gguf, &error);
  em_gguf_close(gguf);
  close(fd);
  return status;
}

int main(void) {
  CHECK_INT(with_pairs(EM_GGUF_MAX_METADATA), EM_OK);
  CHECK_INT(with_pairs(EM_GGUF_MAX_METADATA + 1), EM_ERR_LIMIT);
  CHECK_INT(with_tensors(EM_GGUF_MAX_TENSORS), EM_OK);
  CHECK_INT(with_tensors(EM_GGUF_MAX_TENSORS + 1), EM_ERR_LIMIT);
  CHECK_INT(with_key(EM_GGUF_MAX_KEY_BYTES), EM_OK);
  CHECK_INT(with_key(EM_GGUF_MAX_KEY_BYTES + 1), EM_ERR_LIMIT);
  CHECK_INT(with_tensor_name(EM_GGUF_MAX_TENSOR_NAME_BYTES), EM_OK);
  CHECK_INT(with_tensor_name(EM_GGUF_MAX_TENSOR_NAME_BYTES + 1), EM_ERR_LIMIT);
  CHECK_INT(with_text(EM_GGUF_MAX_STRING_BYTES), EM_OK);
  CHECK_INT(with_text(EM_GGUF_MAX_STRING_BYTES + 1), EM_ERR_LIMIT);
  CHECK_INT(with_texts("other", EM_GGUF_MAX_TOKEN_BYTES + 1), EM_OK);
  CHECK_INT(with_texts("tokenizer.ggml.tokens", EM_GGUF_MAX_TOKEN_BYTES), EM_OK);
  CHECK_INT(with_texts("tokenizer.ggml.tokens", EM_GGUF_MAX_TOKEN_BYTES + 1), EM_ERR_LIMIT);

  char path[] = "/tmp/hearth-gguf-XXXXXX";
  close(mkstemp(path));
  uint64_t most = EM_GGUF_MAX_METADATA_BYTES - 49;
  CHECK_INT(with_array(path, EM_GGUF_U8, most, 1ull << 30), EM_OK);
  CHECK_INT(with_array(path, EM_GGUF_U8, most + 1, 1ull << 30), EM_ERR_LIMIT);
  CHECK_INT(with_array(path, EM_GGUF_STRING, most / 8, 1ull << 30), EM_OK);
  CHECK_INT(with_array(path, EM_GGUF_STRING, most / 8 + 1, 1ull << 30), EM_ERR_LIMIT);
  CHECK_INT(with_array(path, EM_GGUF_U64, 1ull << 30, 1ull << 40), EM_ERR_LIMIT);
  CHECK_INT(with_array(path, EM_GGUF_U8, EM_GGUF_MAX_ARRAY_LEN + 1, 1ull << 30), EM_ERR_LIMIT);
  CHECK_INT(with_array(path, EM_GGUF_U8, 1000, 1000), EM_ERR_FORMAT);
  unlink(path);
  return check_done();
}
