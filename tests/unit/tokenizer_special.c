/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Special and user-defined tokens in text, and which tokens end an answer. */
#include "tokenizer-fixture.h"

static void test_longest_first(void) {
  static fixture f;
  fixture_init(&f, "gpt2", "gpt-2");
  fixture_add_alphabet(&f);
  fixture_add(&f, "<|a|>", EM_TOKEN_CONTROL, 0);
  fixture_add(&f, "<|a|>b", EM_TOKEN_USER_DEFINED, 0);
  fixture_add(&f, "xyz", EM_TOKEN_USER_DEFINED, 0);
  fixture_add(&f, "zz", EM_TOKEN_USER_DEFINED, 0);
  fixture_add(&f, "xy", EM_TOKEN_USER_DEFINED, 0);
  fixture_add(&f, "<unk>", EM_TOKEN_UNKNOWN, 0);
  fixture_add(&f, "zz", EM_TOKEN_CONTROL, 0); /* the same text again */
  fixture_add(&f, "", EM_TOKEN_USER_DEFINED, 0);
  em_tokenizer *t = fixture_make(&f);
  CHECK_PIECES(t, "xyzzz", 0, "xyz|zz");
  CHECK_PIECES(t, "xxyy", 0, "x|xy|y");
  CHECK_PIECES(t, "xyxyxyz", 0, "xy|xy|xyz");
  CHECK_PIECES(t, "<|a|>", 0, "<|||a|||>"); /* five pieces: < | a | > */
  CHECK_PIECES(t, "<|a|>", EM_TOKENIZE_SPECIAL, "<|a|>");
  CHECK_PIECES(t, "<|a|>b", 0, "<|a|>b");
  CHECK_PIECES(t, "<|a|>b<|a|>c", EM_TOKENIZE_SPECIAL, "<|a|>b|<|a|>|c");
  CHECK_PIECES(t, "<unk>", EM_TOKENIZE_SPECIAL, "<unk>");
  CHECK_PIECES(t, "<unk>", 0, "<|u|n|k|>");
  em_tokenizer_free(t);
}

/* The matcher against the plain way to do it, on texts where pieces overlap as much as they can. */
static void test_against_plain_search(void) {
  uint32_t random = 777;
  for (int round = 0; round < 300; round++) {
    static fixture f;
    static char texts[40][8];
    fixture_init(&f, "gpt2", "gpt-2");
    fixture_add_alphabet(&f);
    size_t first = f.params.n_tokens;
    for (int i = 0; i < 12; i++) {
      size_t n = 1 + next_random(&random) % 6;
      memset(texts[i], 0, sizeof texts[i]);
      for (size_t k = 0; k < n; k++)
        texts[i][k] = (char)('a' + next_random(&random) % 2);
      fixture_add(&f, texts[i], next_random(&random) % 2 ? EM_TOKEN_USER_DEFINED : EM_TOKEN_CONTROL, 0);
    }
    em_tokenizer *t = fixture_make(&f);
    char text[64];
    for (size_t i = 0; i < sizeof text; i++)
      text[i] = (char)('a' + next_random(&random) % 3);
    for (int special = 0; special < 2; special++) {
      em_tokens ids = {0}, expected = {0};
      for (size_t at = 0; at < sizeof text;) {
        size_t longest = 0;
        int32_t id = text[at]; /* the alphabet is in the order of the bytes */
        for (size_t i = first; i < f.params.n_tokens; i++) {
          size_t n = f.pieces[i].bytes;
          if (n > longest && n <= sizeof text - at && memcmp(text + at, f.pieces[i].text, n) == 0 &&
              (special || f.types[i] == EM_TOKEN_USER_DEFINED)) {
            longest = n;
            id = (int32_t)i;
          }
        }
        CHECK(em_tokens_append(&expected, id));
        at += longest ? longest : 1;
      }
      CHECK_INT(em_tokenize(t, text, sizeof text, special ? EM_TOKENIZE_SPECIAL : EM_TOKENIZE_PLAIN, &ids, NULL),
                EM_OK);
      CHECK(ids.n == expected.n && memcmp(ids.ids, expected.ids, ids.n * sizeof *ids.ids) == 0);
      em_tokens_clear(&ids);
      em_tokens_clear(&expected);
    }
    em_tokenizer_free(t);
  }
}

/* Special tokens count within trusted ranges, user-defined ones everywhere but where they are guarded. */
static void check_trusted(const em_tokenizer *t, const char *text, const em_trust *trust, const char *expected) {
  em_tokens ids = {0};
  char joined[256] = "";
  CHECK_INT(em_tokenize_trusted(t, text, strlen(text), trust, EM_TOKENIZE_PLAIN, &ids, NULL), EM_OK);
  for (size_t i = 0, n = 0; i < ids.n; i++) {
    em_piece piece = em_tokenizer_piece(t, ids.ids[i]);
    n += (size_t)snprintf(joined + n, sizeof joined - n, "%s%.*s", i ? "|" : "", (int)piece.bytes, piece.text);
  }
  CHECK_TEXT(joined, expected);
  em_tokens_clear(&ids);
}

static void test_trusted(void) {
  static fixture f;
  fixture_init(&f, "gpt2", "gpt-2");
  fixture_add_alphabet(&f);
  fixture_add(&f, "<s>", EM_TOKEN_CONTROL, 0);
  fixture_add(&f, "<s>x", EM_TOKEN_CONTROL, 0);
  fixture_add(&f, "uu", EM_TOKEN_USER_DEFINED, 0);
  int32_t guarded = fixture_add(&f, "uuu", EM_TOKEN_USER_DEFINED, 0);
  em_tokenizer *t = fixture_make(&f);
  struct em_trust_range ranges[] = {{0, 3}, {6, 4}};
  em_trust trust = {.ranges = ranges, .n_ranges = 2};
  check_trusted(t, "<s><s><s>x", &trust, "<s>|<|s|>|<s>x");
  check_trusted(t, "<s>x", &trust, "<s>|x"); /* the longer one is not within the range, the shorter one is */
  check_trusted(t, "a<s>", &trust, "a|<|s|>");
  check_trusted(t, "uuu", &trust, "uuu");
  trust.guarded = &guarded;
  trust.n_guarded = 1;
  check_trusted(t, "uuu uuu", &trust, "uuu|\xC4\xA0|uu|u");
  check_trusted(t, "<s>", &(em_trust){0}, "<|s|>");
  em_tokenizer_free(t);
}

static bool ends(const em_tokenizer *t, const char *name) {
  return em_tokenizer_is_end(t, em_tokenizer_find(t, name, strlen(name)));
}

static void test_ends(void) {
  static fixture f;
  fixture_init(&f, "gpt2", "gpt-2");
  fixture_add_alphabet(&f);
  f.params.eos = fixture_add(&f, "stop", EM_TOKEN_CONTROL, 0);
  f.params.eot = fixture_add(&f, "turn", EM_TOKEN_CONTROL, 0);
  f.params.eom = fixture_add(&f, "message", EM_TOKEN_CONTROL, 0);
  fixture_add(&f, "<|im_end|>", EM_TOKEN_NORMAL, 0);
  fixture_add(&f, "</s>", EM_TOKEN_NORMAL, 0);
  fixture_add(&f, "<|end|>", EM_TOKEN_CONTROL, 0);
  fixture_add(&f, "<|im_start|>", EM_TOKEN_CONTROL, 0);
  em_tokenizer *t = fixture_make(&f);
  CHECK(ends(t, "stop") && ends(t, "turn") && ends(t, "message") && ends(t, "<|im_end|>") && ends(t, "<|end|>"));
  CHECK(!ends(t, "</s>")); /* an ordinary piece: HTML */
  CHECK(!ends(t, "<|im_start|>"));
  CHECK_INT(em_tokenizer_type(t, em_tokenizer_find(t, "<|im_end|>", 10)), EM_TOKEN_CONTROL);
  em_tokenizer_free(t);

  /* Where a call and a return are marked, <|end|> only closes a part of the answer. */
  fixture_add(&f, "<|call|>", EM_TOKEN_CONTROL, 0);
  fixture_add(&f, "<|return|>", EM_TOKEN_CONTROL, 0);
  t = fixture_make(&f);
  CHECK(!ends(t, "<|end|>") && ends(t, "<|call|>") && ends(t, "<|return|>"));
  em_tokenizer_free(t);

  fixture_init(&f, "gpt2", "gpt-2");
  fixture_add(&f, "</s>", EM_TOKEN_CONTROL, 0);
  t = fixture_make(&f);
  CHECK(ends(t, "</s>"));
  em_tokenizer_free(t);
  fixture_add(&f, "<|tool_response>", EM_TOKEN_CONTROL, 0);
  t = fixture_make(&f);
  CHECK(!ends(t, "</s>") && ends(t, "<|tool_response>"));
  em_tokenizer_free(t);
}

int main(void) {
  test_longest_first();
  test_against_plain_search();
  test_trusted();
  test_ends();
  return check_done();
}
