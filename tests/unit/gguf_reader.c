/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The reader on files the writer made: everything comes back, from a path, a descriptor and memory, and a file that changes
 * while it is open is an error. Bad files are the fuzz suite's. */
#include "base/buffer.h"
#include "base/clock.h"
#include "check.h"
#include "gguf/writer.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

static const em_text words[] = { { "", 0 }, { "two", 3 }, { "nul\0in", 6 }, { "\xff\xfe", 2 } };
static const float reals[] = { 0.1f, -1e30f, 1e-5f };
static const int32_t numbers[] = { 1, -2, INT32_MAX, INT32_MIN };

/* One of every metadata type, as a value and as an array, and tensors of every type. */
static em_gguf_writer *make_writer(uint32_t version, uint32_t alignment) {
  em_gguf_writer *writer = em_gguf_writer_new(version);
  if (alignment)
    em_gguf_put_u32(writer, "general.alignment", alignment);
  em_gguf_put_text(writer, "general.architecture", "llama");
  em_gguf_put_bool(writer, "yes", true);
  em_gguf_put_bool(writer, "no", false);
  em_gguf_put_u32(writer, "u32", 4000000000u);
  em_gguf_put_i32(writer, "i32", -5);
  em_gguf_put_u64(writer, "u64", UINT64_MAX);
  em_gguf_put_f32(writer, "f32", 1e-5f);
  em_gguf_put_raw(writer, "u8", 2, EM_GGUF_U8, "\xfe", 1);
  em_gguf_put_raw(writer, "i8", 2, EM_GGUF_I8, "\xfe", 1);
  em_gguf_put_raw(writer, "u16", 3, EM_GGUF_U16, "\xfe\xff", 2);
  em_gguf_put_raw(writer, "i16", 3, EM_GGUF_I16, "\xfe\xff", 2);
  em_gguf_put_raw(writer, "i64", 3, EM_GGUF_I64, "\xfe\xff\xff\xff\xff\xff\xff\xff", 8);
  em_gguf_put_raw(writer, "f64", 3, EM_GGUF_F64, "\0\0\0\0\0\0\xf8\x3f", 8);
  em_gguf_put_texts(writer, "texts", words, 4);
  em_gguf_put_f32s(writer, "f32s", reals, 3);
  em_gguf_put_i32s(writer, "i32s", numbers, 4);
  static const uint8_t bools[12 + 3] = { EM_GGUF_BOOL, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1 };
  em_gguf_put_raw(writer, "bools", 5, EM_GGUF_ARRAY, bools, sizeof bools);
  static const uint8_t u32s[12 + 8] = { EM_GGUF_U32, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 255, 255, 255, 127 };
  em_gguf_put_raw(writer, "u32s", 4, EM_GGUF_ARRAY, u32s, sizeof u32s);
  static const uint8_t large_u32s[12 + 4] = { EM_GGUF_U32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 128 };
  em_gguf_put_raw(writer, "large_u32s", 10, EM_GGUF_ARRAY, large_u32s, sizeof large_u32s);
  static const uint8_t none[12] = { EM_GGUF_STRING };
  em_gguf_put_raw(writer, "none", 4, EM_GGUF_ARRAY, none, sizeof none);

  for (uint32_t type = 0; type < EM_N_TYPES; type++) {
    const em_type_info *info = em_type_get(type);
    if (!info)
      continue;
    uint64_t dims[2] = { info->block_len, 3 }, bytes = 3ull * info->block_bytes;
    unsigned char *data = malloc(bytes);
    for (uint64_t i = 0; i < bytes; i++)
      data[i] = (unsigned char)(i + type);
    em_gguf_put_tensor(writer, info->name, type, 2, dims, data);
    free(data);
  }
  return writer;
}

static void check_metadata(const em_gguf *gguf) {
  em_gguf_entry entry;
  em_text text;
  bool b = false;
  uint32_t u32 = 0;
  int32_t i32 = 0;
  uint64_t u64 = 0;
  float f32 = 0;
  CHECK(em_gguf_get_text(gguf, "general.architecture", &text));
  CHECK_TEXT(text.text, "llama");
  CHECK(em_gguf_get_bool(gguf, "yes", &b) && b);
  CHECK(em_gguf_get_bool(gguf, "no", &b) && !b);
  CHECK(em_gguf_get_u32(gguf, "u32", &u32) && u32 == 4000000000u);
  CHECK(em_gguf_get_u64(gguf, "u32", &u64) && u64 == 4000000000u);
  CHECK(em_gguf_get_u64(gguf, "u64", &u64) && u64 == UINT64_MAX);
  CHECK(em_gguf_get_u32(gguf, "u8", &u32) && u32 == 254);
  CHECK(em_gguf_get_u32(gguf, "u16", &u32) && u32 == 65534);
  CHECK(em_gguf_get_i32(gguf, "u16", &i32) && i32 == 65534);
  CHECK(em_gguf_get_i32(gguf, "i32", &i32) && i32 == -5);
  CHECK(em_gguf_get_i32(gguf, "i8", &i32) && i32 == -2);
  CHECK(em_gguf_get_i32(gguf, "i16", &i32) && i32 == -2);
  CHECK(em_gguf_get_i32(gguf, "i64", &i32) && i32 == -2);
  CHECK(em_gguf_get_f32(gguf, "f32", &f32) && f32 == 1e-5f);
  CHECK(em_gguf_get_f32(gguf, "f64", &f32) && f32 == 1.5f);

  /* What does not fit leaves the result alone. */
  u32 = 77, i32 = 77, u64 = 77, f32 = 77, b = true;
  CHECK(!em_gguf_get_u32(gguf, "u64", &u32) && !em_gguf_get_u32(gguf, "i32", &u32) && !em_gguf_get_u32(gguf, "f32", &u32));
  CHECK(!em_gguf_get_u32(gguf, "absent", &u32) && !em_gguf_get_u32(gguf, "yes", &u32) && !em_gguf_get_u32(gguf, "u32s", &u32));
  CHECK(!em_gguf_get_i32(gguf, "u32", &i32) && !em_gguf_get_i32(gguf, "u64", &i32));
  CHECK(!em_gguf_get_u64(gguf, "i64", &u64) && !em_gguf_get_f32(gguf, "u32", &f32) && !em_gguf_get_bool(gguf, "u8", &b));
  CHECK(!em_gguf_get_text(gguf, "texts", &text) && !em_gguf_get_text(gguf, "u8", &text));
  CHECK(u32 == 77 && i32 == 77 && u64 == 77 && f32 == 77 && b);

  const em_text *texts;
  const float *f32s;
  const int32_t *i32s;
  const uint8_t *bools;
  size_t n;
  CHECK(em_gguf_get_texts(gguf, "texts", &texts, &n) && n == 4);
  for (size_t i = 0; i < 4; i++)
    CHECK(texts[i].bytes == words[i].bytes && memcmp(texts[i].text, words[i].text, words[i].bytes) == 0 &&
          texts[i].text[texts[i].bytes] == 0);
  CHECK(em_gguf_get_f32s(gguf, "f32s", &f32s, &n) && n == 3 && memcmp(f32s, reals, sizeof reals) == 0);
  CHECK(em_gguf_get_i32s(gguf, "i32s", &i32s, &n) && n == 4 && memcmp(i32s, numbers, sizeof numbers) == 0);
  CHECK(em_gguf_get_i32s(gguf, "u32s", &i32s, &n) && n == 2 && i32s[1] == INT32_MAX);
  CHECK(!em_gguf_get_i32s(gguf, "large_u32s", &i32s, &n) && !em_gguf_get_i32s(gguf, "f32s", &i32s, &n));
  CHECK(!em_gguf_get_f32s(gguf, "i32s", &f32s, &n) && !em_gguf_get_texts(gguf, "f32s", &texts, &n));
  CHECK(em_gguf_get_bools(gguf, "bools", &bools, &n) && n == 3 && bools[0] == 1 && bools[1] == 0);
  CHECK(em_gguf_get_texts(gguf, "none", &texts, &n) && n == 0);

  CHECK(em_gguf_find_key(gguf, "texts", &entry) && entry.type == EM_GGUF_ARRAY && entry.item_type == EM_GGUF_STRING);
  CHECK_INT(entry.n, 4);
  CHECK(em_gguf_find_key(gguf, "general.architecture", &entry) && entry.type == EM_GGUF_STRING && entry.n == 1);
  CHECK(!em_gguf_find_key(gguf, "", &entry) && !em_gguf_find_key(gguf, "text", &entry));
}

/* All pairs as one JSON text. */
static void check_json(const em_gguf *gguf) {
  em_buffer json = { 0 };
  for (size_t i = 0; i < em_gguf_n_keys(gguf); i++) {
    em_gguf_entry entry = em_gguf_key_at(gguf, i);
    if (strcmp(entry.key.text, "general.alignment") == 0)
      continue;
    em_buffer_appendf(&json, "%s=", entry.key.text);
    CHECK(em_gguf_write_value_json(gguf, i, 3, &json));
    em_buffer_append_text(&json, "\n");
  }
  CHECK_TEXT(json.data,
             "general.architecture=\"llama\"\nyes=true\nno=false\nu32=4000000000\ni32=-5\nu64=18446744073709551615\nf32=1e-05\n"
             "u8=254\ni8=-2\nu16=65534\ni16=-2\ni64=-2\nf64=1.5\n"
             "texts=[\"\",\"two\",\"nul\\u0000in\",\"... 1 more\"]\nf32s=[0.1,-1e+30,1e-05]\n"
             "i32s=[1,-2,2147483647,\"... 1 more\"]\nbools=[true,false,true]\nu32s=[7,2147483647]\nlarge_u32s=[2147483648]\n"
             "none=[]\n");
  em_buffer_clear(&json);
}

static void check_tensors(const em_gguf *gguf) {
  size_t n = 0;
  uint64_t end = em_gguf_data_offset(gguf);
  for (uint32_t type = 0; type < EM_N_TYPES; type++) {
    const em_type_info *info = em_type_get(type);
    if (!info)
      continue;
    const em_gguf_tensor *tensor = em_gguf_tensor_at(gguf, n++);
    CHECK(tensor == em_gguf_find_tensor(gguf, info->name));
    CHECK_TEXT(tensor->name.text, info->name);
    CHECK(tensor->type == type && tensor->n_dims == 2 && tensor->dims[0] == info->block_len && tensor->dims[1] == 3);
    CHECK(tensor->dims[2] == 1 && tensor->dims[3] == 1 && tensor->n_rows == 3 && tensor->row_bytes == info->block_bytes);
    CHECK(tensor->bytes == 3ull * info->block_bytes && tensor->offset >= end);
    CHECK_INT(tensor->offset % em_gguf_alignment(gguf), 0);
    end = tensor->offset + tensor->bytes;
    unsigned char data[1024];
    CHECK_INT(em_gguf_read_tensor(gguf, tensor, 0, data, tensor->bytes, NULL), EM_OK);
    for (uint64_t i = 0; i < tensor->bytes; i++)
      if (data[i] != (unsigned char)(i + type)) {
        CHECK(!"a tensor came back otherwise");
        break;
      }
    CHECK_INT(em_gguf_read_tensor(gguf, tensor, tensor->bytes - 1, data, 1, NULL), EM_OK);
    CHECK_INT(data[0], (unsigned char)(tensor->bytes - 1 + type));
    CHECK_INT(em_gguf_read_tensor(gguf, tensor, tensor->bytes, data, 0, NULL), EM_OK);
    CHECK_INT(em_gguf_read_tensor(gguf, tensor, tensor->bytes, data, 1, NULL), EM_ERR_ARGUMENT);
    CHECK_INT(em_gguf_read_tensor(gguf, tensor, UINT64_MAX, data, 2, NULL), EM_ERR_ARGUMENT);
  }
  CHECK_INT(em_gguf_n_tensors(gguf), n);
  CHECK(end <= em_gguf_file_bytes(gguf));
  CHECK(!em_gguf_find_tensor(gguf, "absent"));
}

static void check_good(uint32_t version, uint32_t alignment, const char *path) {
  em_gguf_writer *writer = make_writer(version, alignment);
  em_error error = { 0 };
  char *file;
  size_t bytes;
  CHECK_INT(em_gguf_writer_save(writer, path, &error), EM_OK);
  CHECK_INT(em_gguf_writer_finish(writer, NULL, &file, &bytes, &error), EM_OK);
  em_gguf_writer_free(writer);
  for (int way = 0; way < 3; way++) {
    em_gguf *gguf = NULL;
    if (way == 0) {
      CHECK_INT(em_gguf_open(path, &gguf, &error), EM_OK);
    } else if (way == 1) {
      int fd = open(path, O_RDONLY);
      CHECK_INT(em_gguf_open_fd(fd, &gguf, &error), EM_OK);
      close(fd);
    } else {
      CHECK_INT(em_gguf_open_memory(file, bytes, bytes, &gguf, &error), EM_OK);
    }
    if (!gguf) {
      printf("%s\n", error.text);
      continue;
    }
    CHECK_INT(em_gguf_version(gguf), version);
    CHECK_INT(em_gguf_alignment(gguf), alignment ? alignment : 32);
    CHECK_INT(em_gguf_file_bytes(gguf), bytes);
    check_metadata(gguf);
    check_json(gguf);
    check_tensors(gguf);
    CHECK_INT(em_gguf_check_unchanged(gguf, &error), EM_OK);
    em_gguf_close(gguf);
  }
  free(file);
}

/* The header alone in memory: it is checked against the size the whole is said to have, and its data is not there. */
static void check_header_alone(void) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  em_gguf_put_tensor(writer, "w", EM_TYPE_F32, 1, (const uint64_t[]){ 1024 }, NULL);
  char *file;
  size_t bytes;
  CHECK_INT(em_gguf_writer_finish(writer, NULL, &file, &bytes, NULL), EM_OK);
  em_gguf_writer_free(writer);
  size_t header = bytes - 4096;
  em_gguf *gguf;
  CHECK_INT(em_gguf_open_memory(file, header, bytes - 1, &gguf, NULL), EM_ERR_FORMAT);
  CHECK_INT(em_gguf_open_memory(file, header, header - 1, &gguf, NULL), EM_ERR_ARGUMENT);
  CHECK_INT(em_gguf_open_memory(file, header, bytes, &gguf, NULL), EM_OK);
  char byte;
  CHECK_INT(em_gguf_read_tensor(gguf, em_gguf_tensor_at(gguf, 0), 0, &byte, 1, NULL), EM_ERR_CHANGED);
  em_gguf_close(gguf);
  free(file);
}

static void check_changes(const char *path) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  em_gguf_put_tensor(writer, "w", EM_TYPE_F32, 1, (const uint64_t[]){ 4096 }, NULL);
  CHECK_INT(em_gguf_writer_save(writer, path, NULL), EM_OK);
  em_gguf *gguf;
  em_error error = { 0 };
  char data[16384];
  CHECK_INT(em_gguf_open(path, &gguf, &error), EM_OK);
  const em_gguf_tensor *tensor = em_gguf_tensor_at(gguf, 0);
  CHECK_INT(em_gguf_read_tensor(gguf, tensor, 0, data, sizeof data, &error), EM_OK);
  CHECK_INT(em_gguf_check_unchanged(gguf, &error), EM_OK);
  CHECK(truncate(path, 1000) == 0);
  CHECK_INT(em_gguf_read_tensor(gguf, tensor, 0, data, sizeof data, &error), EM_ERR_CHANGED);
  CHECK(error.text[0]);
  CHECK_INT(em_gguf_check_unchanged(gguf, NULL), EM_ERR_CHANGED);
  em_gguf_close(gguf);

  /* Written to without a change of size. */
  CHECK_INT(em_gguf_writer_save(writer, path, NULL), EM_OK);
  CHECK_INT(em_gguf_open(path, &gguf, NULL), EM_OK);
  CHECK(utimensat(AT_FDCWD, path, (const struct timespec[]){ { .tv_sec = 1 }, { .tv_sec = 1 } }, 0) == 0);
  CHECK_INT(em_gguf_check_unchanged(gguf, NULL), EM_ERR_CHANGED);
  em_gguf_close(gguf);

  /* Deleted: the descriptor keeps it. */
  CHECK_INT(em_gguf_open(path, &gguf, NULL), EM_OK);
  CHECK(unlink(path) == 0);
  CHECK_INT(em_gguf_check_unchanged(gguf, NULL), EM_OK);
  CHECK_INT(em_gguf_read_tensor(gguf, em_gguf_tensor_at(gguf, 0), 0, data, sizeof data, NULL), EM_OK);
  em_gguf_close(gguf);
  em_gguf_close(NULL);
  em_gguf_writer_free(writer);
}

static void check_not_files(const char *path) {
  em_gguf *gguf = NULL;
  em_error error = { 0 };
  CHECK_INT(em_gguf_open("/nonexistent.gguf", &gguf, &error), EM_ERR_NOT_FOUND);
  CHECK(em_gguf_open("/proc/self", &gguf, NULL) == EM_ERR_NOT_FOUND);
  CHECK(em_gguf_open("/dev/zero", &gguf, NULL) == EM_ERR_FORMAT);
  CHECK(mkfifo(path, 0600) == 0);
  CHECK(em_gguf_open(path, &gguf, NULL) == EM_ERR_FORMAT);
  unlink(path);
  CHECK(!gguf);
}

/* A model of 40 GB whose data is holes: only its header is read, fast and in little memory. */
static void check_sparse(const char *path) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  for (int i = 0; i < 400; i++) {
    char name[32];
    snprintf(name, sizeof name, "blk.%d.weight", i);
    em_gguf_put_tensor(writer, name, EM_TYPE_F16, 2, (const uint64_t[]){ 8192, 6104 }, NULL);
  }
  em_status saved = em_gguf_writer_save(writer, path, NULL);
  em_gguf_writer_free(writer);
  if (saved == EM_ERR_IO) {
    printf("SKIP: a sparse file: the file system holds none this large\n");
    unlink(path);
    return;
  }
  em_gguf *gguf = NULL;
  uint64_t start = em_now_ns();
  CHECK_INT(em_gguf_open(path, &gguf, NULL), EM_OK);
  CHECK(em_now_ns() - start < 100000000u);
  if (gguf) {
    const em_gguf_tensor *last = em_gguf_find_tensor(gguf, "blk.399.weight");
    char data[64];
    CHECK(last && em_gguf_file_bytes(gguf) > 40000000000u);
    CHECK_INT(em_gguf_read_tensor(gguf, last, last->bytes - 64, data, 64, NULL), EM_OK);
    CHECK(data[0] == 0 && data[63] == 0);
  }
  em_gguf_close(gguf);
  unlink(path);
}

/* A file at the limits of what is dense in memory: pairs and tensors with the shortest names there can be. */
static void check_memory(const char *path) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  char name[16];
  for (int i = 0; i < 20000; i++) {
    snprintf(name, sizeof name, "%x", (unsigned)i);
    em_gguf_put_bool(writer, name, true);
    em_gguf_put_tensor(writer, name, EM_TYPE_I8, 1, (const uint64_t[]){ 1 }, NULL);
  }
  CHECK_INT(em_gguf_writer_save(writer, path, NULL), EM_OK);
  em_gguf_writer_free(writer);
  em_gguf *gguf = NULL;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  struct mallinfo2 before = mallinfo2();
#endif
  CHECK_INT(em_gguf_open(path, &gguf, NULL), EM_OK);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  struct mallinfo2 after = mallinfo2();
  uint64_t used = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
  CHECK(used <= 4 * em_gguf_data_offset(gguf) + (1u << 20));
#endif
  CHECK_INT(em_gguf_n_keys(gguf), 20000);
  CHECK_INT(em_gguf_n_tensors(gguf), 20000);
  em_gguf_close(gguf);
  unlink(path);
}

int main(void) {
  char path[] = "/tmp/hearth-gguf-XXXXXX";
  int fd = mkstemp(path);
  CHECK(fd >= 0);
  close(fd);
  check_good(2, 0, path);
  check_good(3, 0, path);
  check_good(3, 8, path);
  check_good(3, 64, path);
  check_good(3, 4096, path);
  check_good(3, 65536, path);
  check_header_alone();
  check_changes(path);
  check_not_files(path);
  check_sparse(path);
  check_memory(path);
  return check_done();
}
