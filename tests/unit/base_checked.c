/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/checked.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/utf8.h"
#include "check.h"

static void check_arithmetic(void) {
  uint64_t u = 7;
  size_t s = 7;
  CHECK(em_add_u64(1, 2, &u) && u == 3);
  CHECK(!em_add_u64(UINT64_MAX, 1, &u) && u == 3);
  CHECK(em_mul_u64(1ull << 32, (1ull << 32) - 1, &u) && u == 0xffffffff00000000ull);
  CHECK(!em_mul_u64(1ull << 32, 1ull << 32, &u) && u == 0xffffffff00000000ull);
  CHECK(em_add_size(SIZE_MAX - 1, 1, &s) && s == SIZE_MAX);
  CHECK(!em_add_size(SIZE_MAX, 1, &s));
  CHECK(em_mul_size(0, SIZE_MAX, &s) && s == 0);
  CHECK(!em_mul_size(SIZE_MAX / 2 + 1, 2, &s) && s == 0);
  CHECK(em_align_up_u64(33, 32, &u) && u == 64);
  CHECK(em_align_up_u64(64, 32, &u) && u == 64);
  CHECK(em_align_up_u64(0, 65536, &u) && u == 0);
  CHECK(!em_align_up_u64(UINT64_MAX - 30, 32, &u));
  CHECK(em_to_size(5, &s) && s == 5);
}

static void check_allocation(void) {
  unsigned char *data = em_calloc(3, 5);
  CHECK(data && data[0] == 0 && data[14] == 0);
  void *grown = em_realloc_array(data, 100, 10);
  CHECK(grown);
  CHECK(!em_realloc_array(grown, SIZE_MAX / 4, 8));
  free(grown);
  CHECK(!em_calloc(SIZE_MAX / 2, 3));
  void *nothing = em_calloc(0, 8);
  CHECK(nothing);
  free(nothing);
}

static void check_errors(void) {
  em_error error = { 0 };
  CHECK_INT(em_fail_at(&error, EM_ERR_FORMAT, 12, "bad %s", "thing"), EM_ERR_FORMAT);
  CHECK_INT(em_fail(&error, EM_ERR_IO, "later"), EM_ERR_IO);
  CHECK_INT(error.code, EM_ERR_FORMAT);
  CHECK_TEXT(error.text, "bad thing");
  CHECK(error.has_offset && error.offset == 12);
  CHECK_INT(em_fail(NULL, EM_ERR_LIMIT, "nobody listens"), EM_ERR_LIMIT);

  /* Whatever a name holds, the sentence is one printable line. */
  error = (em_error){ 0 };
  em_fail(&error, EM_ERR_FORMAT, "%s", "a\nb\tc\x1b[31m\xff\xc3)\xe2\x80\xae" "d");
  CHECK_TEXT(error.text, "a?b?c?[31m?\?)???d");

  /* Long text is cut between characters. */
  char text[EM_ERROR_TEXT_BYTES * 2];
  for (size_t i = 0; i + 2 < sizeof text; i += 2)
    memcpy(text + i, "\xc3\xa9", 3);
  error = (em_error){ 0 };
  em_fail(&error, EM_ERR_FORMAT, "%s", text);
  CHECK_INT(strlen(error.text), EM_ERROR_TEXT_BYTES - 2);
  CHECK(em_utf8_valid(error.text, strlen(error.text)));

  for (int i = 0; i < EM_N_STATUS; i++)
    for (int j = 0; j < i; j++)
      CHECK(strcmp(em_status_word((em_status)i), em_status_word((em_status)j)) != 0);
  CHECK_TEXT(em_status_word(EM_ERR_TOO_BIG), "too-big");
  CHECK_TEXT(em_status_word((em_status)99), "unknown");
}

int main(void) {
  check_arithmetic();
  check_allocation();
  check_errors();
  uint64_t before = em_now_ns();
  CHECK(em_now_ns() >= before);
  return check_done();
}
