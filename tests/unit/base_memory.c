/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Arena, buffer and reading files. */
#include "base/arena.h"
#include "base/buffer.h"
#include "base/file.h"
#include "check.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

static void check_arena(void) {
  em_arena *arena = em_arena_new(0);
  unsigned char *all[400];
  /* Sizes around every block's end, large ones between: none overlaps another, all are zeroed and aligned. */
  for (size_t i = 0; i < 400; i++) {
    size_t bytes = i % 7 == 0 ? 70000 : i * 13 % 5000;
    all[i] = em_arena_alloc(arena, bytes);
    CHECK(all[i] && (uintptr_t)all[i] % 16 == 0);
    for (size_t j = 0; j < bytes; j++)
      if (all[i][j])
        CHECK(!"arena memory is not zeroed");
    memset(all[i], (int)(i & 0xff), bytes);
  }
  for (size_t i = 0; i < 400; i++) {
    size_t bytes = i % 7 == 0 ? 70000 : i * 13 % 5000;
    for (size_t j = 0; j < bytes; j++)
      if (all[i][j] != (i & 0xff)) {
        CHECK(!"two allocations overlap");
        break;
      }
  }
  CHECK(em_arena_alloc(arena, 0));
  CHECK_TEXT(em_arena_text(arena, "hello", 4), "hell");
  CHECK(!em_arena_alloc(arena, SIZE_MAX));
  CHECK(!em_arena_alloc(arena, SIZE_MAX - 100));
  CHECK(!em_arena_array(arena, SIZE_MAX / 2, 4));
  em_arena_free(arena);
  em_arena_free(NULL);

  arena = em_arena_new(100);
  CHECK(em_arena_alloc(arena, 60));
  CHECK(!em_arena_alloc(arena, 41));
  CHECK_INT(em_arena_used_bytes(arena), 60);
  CHECK(em_arena_alloc(arena, 40));
  CHECK(!em_arena_alloc(arena, 1));
  em_arena_free(arena);
}

static void check_buffer(void) {
  em_buffer buffer = { 0 };
  CHECK(em_buffer_append_text(&buffer, "one") && em_buffer_append(&buffer, "\0two", 4));
  CHECK_INT(buffer.bytes, 7);
  CHECK(memcmp(buffer.data, "one\0two", 8) == 0);
  em_buffer_clear(&buffer);
  CHECK(!buffer.data && !buffer.bytes);

  for (int i = 0; i < 1000; i++)
    em_buffer_appendf(&buffer, "%d,", i);
  CHECK_INT(buffer.bytes, 10 * 2 + 90 * 3 + 900 * 4);
  em_buffer_clear(&buffer);
  char wide[1001];
  memset(wide, 'x', 1000);
  wide[1000] = 0;
  CHECK(em_buffer_appendf(&buffer, "<%s>", wide));
  CHECK_INT(buffer.bytes, 1002);
  CHECK(buffer.data[1001] == '>' && buffer.data[1002] == 0);
  em_buffer_clear(&buffer);

  buffer.max_bytes = 5;
  CHECK(em_buffer_append_text(&buffer, "12345"));
  CHECK(!em_buffer_append_text(&buffer, "6"));
  CHECK(buffer.failed && !em_buffer_append(&buffer, "", 0));
  CHECK(!em_buffer_steal(&buffer));
  CHECK(!buffer.failed && buffer.max_bytes == 5);

  char *text = em_buffer_steal(&buffer);
  CHECK_TEXT(text, "");
  free(text);
}

static void check_files(void) {
  char path[] = "/tmp/hearth-base-XXXXXX";
  int fd = mkstemp(path);
  CHECK(fd >= 0);
  char block[10000];
  for (size_t i = 0; i < sizeof block; i++)
    block[i] = (char)(i % 251);
  CHECK(write(fd, block, sizeof block) == (ssize_t)sizeof block);
  em_error error = { 0 };
  char *data;
  size_t bytes;
  CHECK_INT(em_file_read(path, sizeof block, &data, &bytes, &error), EM_OK);
  CHECK_INT(bytes, sizeof block);
  CHECK(memcmp(data, block, bytes) == 0 && data[bytes] == 0);
  free(data);
  CHECK_INT(em_file_read(path, sizeof block - 1, &data, &bytes, &error), EM_ERR_LIMIT);
  error = (em_error){ 0 };
  CHECK_INT(em_file_read("/nonexistent/file", 10, &data, &bytes, &error), EM_ERR_NOT_FOUND);
  CHECK_INT(em_file_read("/tmp", 10, &data, &bytes, NULL), EM_ERR_IO);
  /* A file whose size is not told in advance. */
  CHECK_INT(em_file_read("/proc/self/status", 1 << 20, &data, &bytes, NULL), EM_OK);
  CHECK(bytes > 100 && bytes == strlen(data));
  free(data);
  CHECK_INT(em_file_read("/proc/self/status", 100, &data, &bytes, NULL), EM_ERR_LIMIT);

  char back[100];
  CHECK_INT(em_file_read_at(fd, 500, back, sizeof back, NULL), EM_OK);
  CHECK(memcmp(back, block + 500, sizeof back) == 0);
  error = (em_error){ 0 };
  CHECK_INT(em_file_read_at(fd, sizeof block - 99, back, sizeof back, &error), EM_ERR_CHANGED);
  CHECK_INT(em_file_read_at(fd, UINT64_MAX, back, sizeof back, NULL), EM_ERR_ARGUMENT);
  CHECK_INT(em_file_read_at(-1, 0, back, sizeof back, NULL), EM_ERR_IO);
  close(fd);
  unlink(path);
}

int main(void) {
  check_arena();
  check_buffer();
  check_files();
  return check_done();
}
