/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Failing allocations in the base room and the GGUF reader, and the reader's promise of how much memory it takes. */
#include "alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/threads.h"
#include "gguf/writer.h"

#include <unistd.h>

static char path[] = "/tmp/hearth-fault-XXXXXX";

static em_gguf_writer *write_model(void) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  if (!writer)
    return NULL;
  em_gguf_put_text(writer, "general.architecture", "llama");
  static const em_text texts[] = { { "one", 3 }, { "", 0 }, { "two", 3 } };
  em_gguf_put_texts(writer, "tokenizer.ggml.tokens", texts, 3);
  em_gguf_put_f32s(writer, "scores", (const float[]){ 1, 2, 3 }, 3);
  float values[256] = { 1, 2, 3 };
  em_gguf_put_tensor_f32(writer, "a", EM_TYPE_Q4_K, 1, (const uint64_t[]){ 256 }, values);
  em_gguf_put_tensor(writer, "b", EM_TYPE_F32, 2, (const uint64_t[]){ 8, 4 }, NULL);
  return writer;
}

static em_status scenario_writer(void) {
  em_gguf_writer *writer = write_model();
  if (!writer)
    return EM_ERR_NO_MEMORY;
  char *file = NULL;
  size_t bytes;
  em_error error = { 0 };
  em_status status = em_gguf_writer_finish(writer, NULL, &file, &bytes, &error);
  free(file);
  if (status == EM_OK)
    status = em_gguf_writer_save(writer, path, &error);
  em_gguf_writer_free(writer);
  return status;
}

static em_status scenario_open(void) {
  em_gguf *gguf = NULL;
  em_error error = { 0 };
  em_status status = em_gguf_open(path, &gguf, &error);
  CHECK((status == EM_OK) == (gguf != NULL) && error.code == status);
  for (size_t i = 0; gguf && i < em_gguf_n_keys(gguf) && status == EM_OK; i++) {
    em_buffer json = { 0 };
    if (!em_gguf_write_value_json(gguf, i, 10, &json))
      status = EM_ERR_NO_MEMORY;
    em_buffer_clear(&json);
  }
  em_gguf_close(gguf);
  return status;
}

/* A model in two files, written and opened. */
static em_status scenario_set(void) {
  char part[sizeof path + 32];
  em_gguf *gguf = NULL;
  em_error error = {0};
  em_gguf_writer *writer = write_model();
  if (!writer)
    return EM_ERR_NO_MEMORY;
  em_status status = em_gguf_writer_save_split(writer, path, 2, &error);
  em_gguf_writer_free(writer);
  snprintf(part, sizeof part, "%s-00002-of-00002.gguf", path);
  if (status == EM_OK)
    status = em_gguf_open(part, &gguf, &error);
  CHECK((status == EM_OK) == (gguf != NULL) && error.code == status);
  em_gguf_close(gguf);
  return status;
}

static void remove_set(void) {
  char part[sizeof path + 32];
  for (int i = 1; i <= 2; i++) {
    snprintf(part, sizeof part, "%s-%05d-of-00002.gguf", path, i);
    unlink(part);
  }
}

static em_status scenario_json(void) {
  static const char text[] = "{\"a\":[1,2.5,\"text\",{\"b\":[[[[]]]]}],\"long\":123456789012345678901234567890"
                             "1234567890123456789012345678901234567890.5,\"c\":null}";
  em_arena *arena = em_arena_new(0);
  if (!arena)
    return EM_ERR_NO_MEMORY;
  const em_json *json;
  em_error error = { 0 };
  em_status status = em_json_parse(arena, text, sizeof text - 1, 0, &json, &error);
  em_buffer buffer = { 0 };
  if (status == EM_OK && !em_json_write(&buffer, json))
    status = EM_ERR_NO_MEMORY;
  char *copy = status == EM_OK ? em_buffer_steal(&buffer) : NULL;
  free(copy);
  em_buffer_clear(&buffer);
  em_arena_free(arena);
  return status;
}

static em_status scenario_file(void) {
  char *data;
  size_t bytes;
  em_error error = { 0 };
  em_status status = em_file_read("/proc/self/status", 1 << 20, &data, &bytes, &error);
  if (status == EM_OK)
    free(data);
  return status;
}

static void nothing(void *user, unsigned thread, unsigned n_threads) {
}

static em_status scenario_pool(void) {
  em_pool *pool;
  em_error error = { 0 };
  em_status status = em_pool_new(0, &pool, &error);
  if (status == EM_OK) {
    em_pool_run(pool, nothing, NULL);
    em_pool_free(pool);
  }
  return status;
}

/* The peak of opening a file whose header is as dense as can be stays within four times the header and a megabyte. */
static void check_peak(bool pairs) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  em_gguf_put_u32(writer, "general.alignment", 8);
  for (unsigned i = 0; i < 65535; i++) {
    char name[8];
    size_t n = 0;
    for (unsigned left = i; n == 0 || left; left /= 94)
      name[n++] = (char)('!' + left % 94);
    name[n] = 0;
    if (pairs)
      em_gguf_put_bool(writer, name, true);
    else
      em_gguf_put_tensor(writer, name, EM_TYPE_I8, 1, (const uint64_t[]){ 1 }, NULL);
  }
  char *file = NULL;
  size_t bytes;
  CHECK_INT(em_gguf_writer_finish(writer, NULL, &file, &bytes, NULL), EM_OK);
  em_gguf_writer_free(writer);
  size_t before = alloc_bytes;
  alloc_peak = alloc_bytes;
  em_gguf *gguf = NULL;
  CHECK_INT(em_gguf_open_memory(file, bytes, bytes, &gguf, NULL), EM_OK);
  printf("peak for a dense header of %llu bytes: %zu bytes\n", (unsigned long long)em_gguf_data_offset(gguf),
         alloc_peak - before);
  CHECK(alloc_peak - before <= 4 * em_gguf_data_offset(gguf) + (1u << 20));
  em_gguf_close(gguf);
  free(file);
}

int main(void) {
  close(mkstemp(path));
  check_scenario("write", scenario_writer);
  check_scenario("open", scenario_open);
  check_scenario("set", scenario_set);
  remove_set();
  check_scenario("json", scenario_json);
  check_scenario("file", scenario_file);
  check_scenario("pool", scenario_pool);
  check_peak(true);
  check_peak(false);
  unlink(path);
  return check_done();
}
