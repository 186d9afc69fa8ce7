/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tokens back to text, all at once and one by one. */
#include "tokenizer-fixture.h"

#include "base/utf8.h"

#define MARK "\xE2\x96\x81"
#define REPLACEMENT "\xEF\xBF\xBD"

/* Byte tokens for every byte, in the kinds that have them; ids are the bytes. */
static em_tokenizer *make_bytes(const char *model) {
  static fixture f;
  fixture_init(&f, model, strcmp(model, "gpt2") == 0 ? "gpt-2" : NULL);
  if (strcmp(model, "gpt2") == 0)
    fixture_add_alphabet(&f);
  else
    fixture_add_bytes(&f);
  fixture_add(&f, "<s>", EM_TOKEN_CONTROL, 0);
  f.params.add_space_prefix = 0;
  return fixture_make(&f);
}

/* Streams bytes as tokens; every delta must be whole characters, and the whole must be as expected. */
static void check_stream(const em_tokenizer *t, const char *bytes, size_t n, const char *expected) {
  em_detok detok;
  em_buffer out = {0};
  size_t seen = 0;
  em_detok_init(&detok, t, false, true);
  for (size_t i = 0; i < n; i++) {
    CHECK(em_detok_push(&detok, (unsigned char)bytes[i], &out));
    CHECK(em_detok_push(&detok, 256, &out)); /* a control token changes nothing */
    if (out.bytes > seen)
      CHECK(em_utf8_valid(out.data + seen, out.bytes - seen));
    seen = out.bytes;
  }
  CHECK(em_detok_flush(&detok, &out));
  CHECK_INT(detok.n_pending, 0);
  CHECK_TEXT(out.data ? out.data : "", expected);
  em_buffer_clear(&out);
}

static void test_characters_wait(void) {
  static const char *const models[] = {"llama", "gpt2", "gemma4"};
  for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
    em_tokenizer *t = make_bytes(models[m]);
    static const char text[] = "a\xC3\xA9\xE4\xB8\xAD\xF0\x9F\xA6\x99z";
    check_stream(t, text, strlen(text), text);
    check_stream(t, "\xF0\x9F\xA6", 3, REPLACEMENT);                 /* cut short: one character is missing */
    check_stream(t, "\xF0\x9F" "x", 3, REPLACEMENT "x");
    check_stream(t, "\x80\xFF" "a", 3, REPLACEMENT REPLACEMENT "a");
    check_stream(t, "\xC3\xC3\xA9", 3, REPLACEMENT "\xC3\xA9");
    check_stream(t, "\xE0\x80\x80", 3, REPLACEMENT REPLACEMENT REPLACEMENT); /* overlong */
    check_stream(t, "\xED\xA0\x80", 3, REPLACEMENT REPLACEMENT REPLACEMENT); /* a surrogate */
    check_stream(t, "\xF4\x90\x80\x80", 4, REPLACEMENT REPLACEMENT REPLACEMENT REPLACEMENT);
    check_stream(t, "\xE4\xB8\xF0\x9F\xA6\x99", 6, REPLACEMENT "\xF0\x9F\xA6\x99");
    em_tokenizer_free(t);
  }
}

/* However random bytes are cut into pieces, the text is the same, and no delta ends inside a character. */
static void test_every_split(void) {
  static fixture f;
  static char pieces[1024][4];
  fixture_init(&f, "llama", NULL);
  fixture_add_bytes(&f);
  f.params.add_space_prefix = 0;
  static const char text[] = "x\xF0\x9F\xA6\x99\xE4\xB8\xAD\xC3\xA9\xF0\x9F\xC3\xE4\xB8 y\x80\xF4\x8F\xBF\xBF";
  size_t n = strlen(text);
  /* Pieces of two and three bytes at every place of the text. */
  int32_t ids[64][4];
  for (size_t at = 0; at < n; at++) {
    ids[at][1] = (unsigned char)text[at];
    for (size_t k = 2; k <= 3 && at + k <= n; k++) {
      char *piece = pieces[at * 4 + k];
      memcpy(piece, text + at, k);
      ids[at][k] = fixture_add(&f, piece, EM_TOKEN_NORMAL, 0);
    }
  }
  em_tokenizer *t = fixture_make(&f);
  em_buffer whole = {0};
  em_detok detok;
  em_detok_init(&detok, t, false, true);
  for (size_t at = 0; at < n; at++)
    CHECK(em_detok_push(&detok, ids[at][1], &whole));
  CHECK(em_detok_flush(&detok, &whole));
  CHECK(em_utf8_valid(whole.data, whole.bytes));
  uint32_t random = 99;
  for (int round = 0; round < 2000; round++) {
    em_buffer out = {0};
    size_t seen = 0;
    em_detok_init(&detok, t, false, true);
    for (size_t at = 0, k; at < n; at += k) {
      k = 1 + next_random(&random) % 3;
      if (k > n - at)
        k = n - at;
      CHECK(em_detok_push(&detok, ids[at][k], &out));
      if (!em_utf8_valid(out.data + seen, out.bytes - seen))
        CHECK(!"a delta is whole characters");
      seen = out.bytes;
    }
    CHECK(em_detok_flush(&detok, &out));
    CHECK_TEXT(out.data, whole.data);
    em_buffer_clear(&out);
  }
  em_buffer_clear(&whole);
  em_tokenizer_free(t);
}

static void check_text(const em_tokenizer *t, const int32_t *ids, size_t n, bool special, bool at_start,
                       const char *expected) {
  em_buffer out = {0};
  em_detok detok;
  em_detok_init(&detok, t, special, at_start);
  for (size_t i = 0; i < n; i++)
    CHECK(em_detok_push(&detok, ids[i], &out));
  CHECK(em_detok_flush(&detok, &out));
  CHECK_TEXT(out.data ? out.data : "", expected);
  em_buffer_clear(&out);
}

static void test_first_space(void) {
  static fixture f;
  fixture_init(&f, "llama", NULL);
  fixture_add(&f, "<s>", EM_TOKEN_CONTROL, 0);
  fixture_add(&f, MARK "a", EM_TOKEN_NORMAL, 0);
  fixture_add(&f, MARK, EM_TOKEN_NORMAL, 0);
  fixture_add(&f, "b" MARK MARK "c", EM_TOKEN_NORMAL, 0);
  fixture_add(&f, "d", EM_TOKEN_USER_DEFINED, 0);
  em_tokenizer *t = fixture_make(&f);
  check_text(t, (int32_t[]){0, 1, 1}, 3, false, true, "a a");
  check_text(t, (int32_t[]){0, 1, 1}, 3, true, true, "<s>a a");
  check_text(t, (int32_t[]){1, 1}, 2, false, false, " a a"); /* it goes on after other text */
  check_text(t, (int32_t[]){2, 1}, 2, false, true, " a");
  check_text(t, (int32_t[]){3, 1}, 2, false, true, "b  c a");
  check_text(t, (int32_t[]){4, 1}, 2, false, true, "d a");
  check_text(t, (int32_t[]){-1, 5, 1000000, INT32_MIN, INT32_MAX, 1}, 6, true, true, "a"); /* ids that are none */
  em_tokenizer_free(t);
}

static void test_token_bytes(void) {
  static fixture f;
  fixture_init(&f, "gpt2", "gpt-2");
  fixture_add_alphabet(&f);
  int32_t control = fixture_add(&f, "<|x|>", EM_TOKEN_CONTROL, 0);
  int32_t odd = fixture_add(&f, "a\xE4\xB8\xAD\xFF" MARK, EM_TOKEN_NORMAL, 0); /* characters that spell no byte */
  em_tokenizer *t = fixture_make(&f);
  for (int32_t id = 0; id < 256; id++) {
    em_buffer out = {0};
    CHECK(em_token_bytes(t, id, false, &out));
    CHECK(out.bytes == 1 && (unsigned char)out.data[0] == id);
    em_buffer_clear(&out);
  }
  em_buffer out = {0};
  CHECK(em_token_bytes(t, control, false, &out) && out.bytes == 0);
  CHECK(em_token_bytes(t, control, true, &out));
  CHECK_TEXT(out.data, "<|x|>");
  out.bytes = 0;
  CHECK(em_token_bytes(t, odd, false, &out));
  CHECK_TEXT(out.data, "a\xE4\xB8\xAD\xFF" MARK);
  out.bytes = 0;
  CHECK(em_token_bytes(t, -1, true, &out) && em_token_bytes(t, 1 << 30, true, &out) && out.bytes == 0);
  em_buffer_clear(&out);
  /* A buffer that takes no more says so. */
  em_buffer full = {.max_bytes = 1};
  CHECK(!em_token_bytes(t, control, true, &full));
  em_buffer_clear(&full);
  em_tokenizer_free(t);
}

int main(void) {
  test_characters_wait();
  test_every_split();
  test_first_space();
  test_token_bytes();
  return check_done();
}
