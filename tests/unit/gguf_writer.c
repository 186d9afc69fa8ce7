/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The writer where it differs from the reader's tests: encoded tensors, failures, and the names of split files. */
#include "check.h"
#include "gguf/writer.h"

#include <unistd.h>

static void check_encoded(void) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  float values[512];
  for (int i = 0; i < 512; i++)
    values[i] = (float)((i * 37) % 255 - 127);
  em_gguf_put_tensor_f32(writer, "q", EM_TYPE_Q8_0, 2, (const uint64_t[]){ 256, 2 }, values);
  em_gguf_put_tensor_f32(writer, "f", EM_TYPE_F32, 2, (const uint64_t[]){ 256, 2 }, values);
  em_gguf_put_tensor(writer, "zero", EM_TYPE_F32, 3, (const uint64_t[]){ 3, 2, 5 }, NULL);
  char *file = NULL;
  size_t bytes;
  em_error error = { 0 };
  CHECK_INT(em_gguf_writer_finish(writer, NULL, &file, &bytes, &error), EM_OK);
  em_gguf_writer_free(writer);
  em_gguf *gguf = NULL;
  CHECK_INT(em_gguf_open_memory(file, bytes, bytes, &gguf, &error), EM_OK);
  const em_gguf_tensor *tensor = em_gguf_find_tensor(gguf, "q");
  unsigned char blocks[16 * 34];
  float back[512];
  CHECK_INT(em_gguf_read_tensor(gguf, tensor, 0, blocks, sizeof blocks, NULL), EM_OK);
  em_type_get(EM_TYPE_Q8_0)->decode(blocks, back, 16);
  for (int i = 0; i < 512; i++)
    if (fabsf(back[i] - values[i]) > 0.51f)
      CHECK(!"an encoded value is off by more than half a step");
  tensor = em_gguf_find_tensor(gguf, "f");
  CHECK_INT(em_gguf_read_tensor(gguf, tensor, 0, back, sizeof back, NULL), EM_OK);
  CHECK(memcmp(back, values, sizeof back) == 0);
  tensor = em_gguf_find_tensor(gguf, "zero");
  CHECK(tensor->n_rows == 10 && tensor->bytes == 120);
  CHECK_INT(em_gguf_read_tensor(gguf, tensor, 0, back, 120, NULL), EM_OK);
  for (int i = 0; i < 30; i++)
    CHECK(back[i] == 0);
  em_gguf_close(gguf);
  free(file);
}

/* What cannot be written is told at the end, and the first failure wins. */
static void check_refusals(void) {
  static const struct {
    uint32_t type, n_dims;
    uint64_t dims[4];
  } cases[] = {
    { EM_TYPE_F32, 0, { 0 } },
    { EM_TYPE_F32, 5, { 1, 1, 1, 1 } },
    { EM_TYPE_Q8_0, 1, { 33 } },
    { 4, 1, { 32 } },
    { EM_TYPE_F32, 2, { 1ull << 40, 1ull << 40 } },
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    em_gguf_writer *writer = em_gguf_writer_new(3);
    em_gguf_put_tensor(writer, "t", cases[i].type, cases[i].n_dims, cases[i].dims, NULL);
    em_gguf_put_u32(writer, "later", 1);
    char *file = NULL;
    size_t bytes;
    em_error error = { 0 };
    CHECK_INT(em_gguf_writer_finish(writer, NULL, &file, &bytes, &error), EM_ERR_ARGUMENT);
    CHECK(!file && error.text[0]);
    em_gguf_writer_free(writer);
  }
  em_gguf_writer *writer = em_gguf_writer_new(3);
  float zero[256] = { 0 };
  em_gguf_put_tensor_f32(writer, "t", EM_TYPE_IQ2_S, 1, (const uint64_t[]){ 256 }, zero);
  CHECK_INT(em_gguf_writer_save(writer, "/tmp/hearth-never-written", NULL), EM_ERR_UNSUPPORTED);
  CHECK(access("/tmp/hearth-never-written", F_OK) != 0);
  em_gguf_writer_free(writer);
  writer = em_gguf_writer_new(3);
  CHECK_INT(em_gguf_writer_save(writer, "/nonexistent/folder/file", NULL), EM_ERR_IO);
  em_gguf_writer_free(writer);
  em_gguf_writer_free(NULL);
}

static void check_split(void) {
  em_gguf_split split;
  CHECK(em_gguf_parse_split("/models/big-00002-of-00004.gguf", &split));
  CHECK(split.index == 1 && split.count == 4 && split.prefix_bytes == strlen("/models/big"));
  char out[64];
  CHECK(em_gguf_format_split("/models/big-00002-of-00004.gguf", &split, 3, out, sizeof out));
  CHECK_TEXT(out, "/models/big-00004-of-00004.gguf");
  CHECK(em_gguf_format_split("/models/big-00002-of-00004.gguf", &split, 0, out, 32));
  CHECK_TEXT(out, "/models/big-00001-of-00004.gguf");
  CHECK(!em_gguf_format_split("/models/big-00002-of-00004.gguf", &split, 0, out, 31));
  CHECK(!em_gguf_format_split("/models/big-00002-of-00004.gguf", &split, 4, out, sizeof out));
  static const char *const none[] = {
    "", "a.gguf", "-00001-of-00004.gguf", "/-00001-of-00004.gguf", "a-00000-of-00004.gguf", "a-00005-of-00004.gguf",
    "a-0001-of-00004.gguf", "a-00001-of-0004.gguf", "a-00001-of-00004.ggu", "a-0000x-of-00004.gguf", "a-00001-fo-00004.gguf",
    "a-00001-of-00004.gguf.part", "a_00001-of-00004.gguf", "a-00001-of-00000.gguf",
  };
  for (size_t i = 0; i < sizeof none / sizeof *none; i++)
    CHECK(!em_gguf_parse_split(none[i], &split));
  CHECK(em_gguf_parse_split("a-99999-of-99999.gguf", &split) && split.index == 99998);
  CHECK(em_gguf_format_split("a-99999-of-99999.gguf", &split, 99998, out, sizeof out));
  CHECK_TEXT(out, "a-99999-of-99999.gguf");
}

int main(void) {
  check_encoded();
  check_refusals();
  check_split();
  return check_done();
}
