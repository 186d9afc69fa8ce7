/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Byte pair encoding: byte-level with its merges, and on characters as gemma4 does it. */
#include "tokenizer-fixture.h"

static void add_merges(fixture *f) {
  static const char *const pieces[] = {"he", "ll", "hell", "hello", "\xC4\xA0h", "\xC4\xA0hello",
                                       "lo", "ab", "bc",   "aa",    "aaaa"};
  for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
    fixture_add(f, pieces[i], EM_TOKEN_NORMAL, 0);
  static const char *const merges[] = {"h e", "l l", "he ll", "hell o", "b c", "a b", "a a", "aa aa"};
  for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++)
    fixture_merge(f, merges[i]);
}

static void test_merges(void) {
  static fixture f;
  fixture_init(&f, "gpt2", "gpt-2");
  fixture_add_alphabet(&f);
  add_merges(&f);
  em_tokenizer *t = fixture_make(&f);
  CHECK_PIECES(t, "", 0, "");
  CHECK_PIECES(t, "hello", 0, "hello");
  CHECK_PIECES(t, " hello", 0, "\xC4\xA0|hello"); /* no merge makes the longer piece */
  CHECK_PIECES(t, "helo", 0, "he|l|o");
  CHECK_PIECES(t, "hellll", 0, "hell|ll");
  CHECK_PIECES(t, "abc", 0, "a|bc"); /* the lower rank first */
  CHECK_PIECES(t, "aaaaa", 0, "aaaa|a");
  CHECK_PIECES(t, "aaa", 0, "aa|a"); /* the left pair first */
  CHECK_PIECES(t, "hello\n", 0, "hello|\xC4\x8A");
  check_back(t, "\xFF\x80\x00x", 4, 0, "\xEF\xBF\xBD\xEF\xBF\xBD\x00x", 8);
  em_tokenizer_free(t);
}

/* Llama 3's vocabulary is used with whole words first: a word that is a piece needs no merges. */
static void test_ignore_merges(void) {
  static fixture f;
  fixture_init(&f, "gpt2", "llama-bpe");
  fixture_add_alphabet(&f);
  add_merges(&f);
  f.params.bos = fixture_add(&f, "<|begin|>", EM_TOKEN_CONTROL, 0);
  em_tokenizer *t = fixture_make(&f);
  CHECK_PIECES(t, " hello", 0, "\xC4\xA0hello");
  CHECK_PIECES(t, "hello", EM_TOKENIZE_ADD_BOS_EOS, "<|begin|>|hello");
  CHECK(em_tokenizer_adds_bos(t));
  em_tokenizer_free(t);
  f.params.add_bos = 0;
  t = fixture_make(&f);
  CHECK_PIECES(t, "hello", EM_TOKENIZE_ADD_BOS_EOS, "hello");
  CHECK(!em_tokenizer_adds_bos(t));
  em_tokenizer_free(t);
}

/* A control token cannot be spelled by ordinary text, neither as a whole word nor by merging. */
static void test_control_is_not_text(void) {
  for (int whole = 0; whole < 2; whole++) {
    static fixture f;
    fixture_init(&f, "gpt2", whole ? "llama-bpe" : "gpt-2");
    fixture_add_alphabet(&f);
    fixture_add(&f, "end", EM_TOKEN_CONTROL, 0);
    fixture_add(&f, "en", EM_TOKEN_NORMAL, 0);
    fixture_merge(&f, "e n");
    fixture_merge(&f, "en d");
    em_tokenizer *t = fixture_make(&f);
    CHECK_PIECES(t, "end", 0, "en|d");
    CHECK_PIECES(t, "end", EM_TOKENIZE_SPECIAL, "end");
    em_tokenizer_free(t);
  }
}

/* A user-defined piece is spelled as it is, also where its letters would spell a byte. */
static void test_user_defined(void) {
  static fixture f;
  fixture_init(&f, "gpt2", "gpt-2");
  fixture_add_alphabet(&f);
  fixture_add(&f, "   ", EM_TOKEN_USER_DEFINED, 0);
  fixture_add(&f, "\xC4\xA0x", EM_TOKEN_USER_DEFINED, 0);
  fixture_merge(&f, "\xC4\xA0 x");
  em_tokenizer *t = fixture_make(&f);
  CHECK_PIECES(t, "a   b", 0, "a|   |b");
  CHECK_PIECES(t, " x", 0, "\xC4\xA0|x");
  CHECK_PIECES(t, "\xC4\xA0x", 0, "\xC4\xA0x");
  check_back(t, "a   b x\xC4\xA0x", 10, 0, "a   b x\xC4\xA0x", 10);
  em_tokenizer_free(t);
}

/* Whatever valid text goes in comes out again, for every pre-tokenizer. */
static void test_round_trip(void) {
  static const char *const pres[] = {
      "default",          "llama-bpe",    "dbrx",           "smaug-bpe",  "glm4",   "chatglm-bpe", "qwen2",
      "deepseek-r1-qwen", "qwen35",       "gpt-4o",         "minimax-m2", "llama4", "tekken",      "kimi-k2",
      "deepseek-v3",      "deepseek-llm", "deepseek-coder", "gpt-2",      "mpt",    "olmo",        "starcoder",
      "refact",           "command-r",    "smollm",         "falcon",     "llama3", "stablelm2",   "seed-coder",
      "bailingmoe",       "bloom",        "viking"};
  uint32_t random = 12345;
  for (size_t i = 0; i < sizeof pres / sizeof pres[0]; i++) {
    static fixture f;
    fixture_init(&f, "gpt2", pres[i]);
    fixture_add_alphabet(&f);
    add_merges(&f);
    fixture_add(&f, "<|x|>", EM_TOKEN_CONTROL, 0);
    fixture_add(&f, "  ", EM_TOKEN_USER_DEFINED, 0);
    em_tokenizer *t = fixture_make(&f);
    for (int k = 0; k < 200; k++) {
      char text[256];
      size_t n = 0;
      while (n < sizeof text - 8 && next_random(&random) % 40)
        n += random_char(&random, text + n);
      check_back(t, text, n, k % 2 ? EM_TOKENIZE_SPECIAL : EM_TOKENIZE_PLAIN, text, n);
    }
    em_tokenizer_free(t);
  }
}

#define MARK "\xE2\x96\x81"

static void test_characters(void) {
  static fixture f;
  fixture_init(&f, "gemma4", NULL);
  fixture_add(&f, "<unk>", EM_TOKEN_UNKNOWN, 0);
  f.params.bos = fixture_add(&f, "<bos>", EM_TOKEN_CONTROL, 0);
  fixture_add_bytes(&f);
  static const char *const pieces[] = {"a", "b", MARK, "\n", "\n\n", "\n\n\n", "ab", MARK "a", MARK "ab", "\xC3\xA9"};
  for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
    fixture_add(&f, pieces[i], EM_TOKEN_NORMAL, 0);
  fixture_merge(&f, "a b");
  fixture_merge(&f, MARK " ab");
  fixture_merge(&f, "\n \n");
  f.params.add_bos = 0;
  em_tokenizer *t = fixture_make(&f);
  CHECK(em_tokenizer_adds_bos(t)); /* whatever the file says */
  CHECK_PIECES(t, "ab", 0, "ab");  /* no space before it */
  CHECK_PIECES(t, "ab ab  b", EM_TOKENIZE_ADD_BOS_EOS, "<bos>|ab|" MARK "ab|" MARK "|" MARK "|b");
  CHECK_PIECES(t, "a\n\n\nb", 0, "a|\n\n\n|b"); /* a run of newlines is taken whole where it is a piece */
  CHECK_PIECES(t, "a\n\n\n\nb", 0, "a|\n\n|\n\n|b");
  CHECK_PIECES(t, "\xC3\xA9\xC3\xA8", 0, "\xC3\xA9|<0xC3>|<0xA8>");
  check_back(t, "ab \xF0\x9F\xA6\x99 b\n", 10, EM_TOKENIZE_PLAIN, "ab \xF0\x9F\xA6\x99 b\n", 10);
  em_tokenizer_free(t);
}

int main(void) {
  test_merges();
  test_ignore_merges();
  test_control_is_not_text();
  test_user_defined();
  test_round_trip();
  test_characters();
  return check_done();
}
