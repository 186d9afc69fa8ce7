/* SPDX-License-Identifier: GPL-3.0-or-later */
/* SentencePiece-style vocabularies and WordPiece. */
#include "tokenizer-fixture.h"

#define MARK "\xE2\x96\x81"

static void add_pieces(fixture *f) {
  fixture_add(f, "<unk>", EM_TOKEN_UNKNOWN, 0);
  f->params.bos = fixture_add(f, "<s>", EM_TOKEN_CONTROL, 0);
  f->params.eos = fixture_add(f, "</s>", EM_TOKEN_CONTROL, 0);
  fixture_add(f, MARK "h", EM_TOKEN_NORMAL, -1);
  fixture_add(f, "el", EM_TOKEN_NORMAL, -2);
  fixture_add(f, "lo", EM_TOKEN_NORMAL, -3);
  fixture_add(f, "hel", EM_TOKEN_NORMAL, -4);
  fixture_add(f, MARK "hel", EM_TOKEN_NORMAL, -5);
  fixture_add(f, MARK "hello", EM_TOKEN_NORMAL, -6);
  fixture_add(f, MARK MARK, EM_TOKEN_NORMAL, -7);
  fixture_add(f, "<s", EM_TOKEN_NORMAL, -8);
  static const char *const singles[] = {MARK, "h", "e", "l", "o", "<", "s", ">", "/"};
  for (size_t i = 0; i < sizeof singles / sizeof singles[0]; i++)
    fixture_add(f, singles[i], EM_TOKEN_NORMAL, -20);
}

static void test_scores(void) {
  static fixture f;
  fixture_init(&f, "llama", "default");
  add_pieces(&f);
  fixture_add_bytes(&f);
  em_tokenizer *t = fixture_make(&f);
  CHECK_PIECES(t, "", 0, "");
  CHECK_PIECES(t, "hello", 0, MARK "hello");
  CHECK_PIECES(t, "hello", EM_TOKENIZE_ADD_BOS_EOS, "<s>|" MARK "hello");
  CHECK_PIECES(t, "hello", EM_TOKENIZE_CONTINUE, "hel|lo");
  CHECK_PIECES(t, " hello", 0, MARK "|" MARK "hello");
  CHECK_PIECES(t, "   hel", 0, MARK MARK "|" MARK "|" MARK "hel");
  CHECK_PIECES(t, "helhel", 0, MARK "hel|hel");
  CHECK_PIECES(t, "\xC3\xA9", 0, MARK "|<0xC3>|<0xA9>");
  CHECK_PIECES(t, "\xFFl\x80", 0, MARK "|<0xFF>|l|<0x80>");
  /* What looks like a control token is text, and merging does not make it one. */
  CHECK_PIECES(t, "<s>", 0, MARK "|<s|>");
  CHECK_PIECES(t, "<s>hel", EM_TOKENIZE_SPECIAL, "<s>|" MARK "hel");
  CHECK_PIECES(t, "hel</s>", EM_TOKENIZE_SPECIAL | EM_TOKENIZE_CONTINUE, "hel|</s>");
  CHECK_PIECES(t, "<0x41>", 0, MARK "|<|<0x30>|<0x78>|<0x34>|<0x31>|>");
  check_back(t, "hello  \xF0\x9F\xA6\x99 lol", 15, EM_TOKENIZE_PLAIN, "hello  \xF0\x9F\xA6\x99 lol", 15);
  check_back(t, " hello", 6, EM_TOKENIZE_ADD_BOS_EOS, "<s> hello", 9);
  CHECK(em_tokenizer_is_end(t, f.params.eos));
  CHECK(!em_tokenizer_is_end(t, f.params.bos));
  CHECK(!em_tokenizer_is_end(t, EM_NO_TOKEN));
  em_tokenizer_free(t);

  f.params.add_space_prefix = 0;
  f.params.add_bos = 0;
  f.params.add_eos = 1;
  t = fixture_make(&f);
  CHECK_PIECES(t, "hello", EM_TOKENIZE_ADD_BOS_EOS, "hel|lo|</s>");
  check_back(t, " hello", 6, EM_TOKENIZE_PLAIN, " hello", 6); /* nothing was added, nothing is taken off */
  em_tokenizer_free(t);
}

/* Without byte pieces the unknown token stands for what has no piece, once for a run of it. */
static void test_unknown(void) {
  static fixture f;
  fixture_init(&f, "llama", NULL);
  add_pieces(&f);
  em_tokenizer *t = fixture_make(&f);
  CHECK_PIECES(t, "h\xC3\xA9\xC3\xA8" "el", 0, MARK "h|<unk>|el");
  em_tokenizer_free(t);
}

/* Where a piece has a space inside, words are not merged one by one. */
static void test_space_inside(void) {
  static fixture f;
  fixture_init(&f, "llama", NULL);
  add_pieces(&f);
  fixture_add(&f, "o" MARK "h", EM_TOKEN_NORMAL, -0.5f);
  fixture_add(&f, "o" MARK, EM_TOKEN_NORMAL, -0.4f);
  em_tokenizer *t = fixture_make(&f);
  CHECK_PIECES(t, "o hel", 0, MARK "|o" MARK "h|el");
  em_tokenizer_free(t);
}

static void test_scores_that_are_no_numbers(void) {
  static fixture f;
  fixture_init(&f, "llama", NULL);
  add_pieces(&f);
  for (size_t i = 0; i < f.params.n_tokens; i += 2)
    f.scores[i] = i % 4 ? NAN : INFINITY;
  em_tokenizer *t = fixture_make(&f);
  check_back(t, "hello hello", 11, EM_TOKENIZE_PLAIN, "hello hello", 11);
  em_tokenizer_free(t);
}

static void test_wordpiece(void) {
  static fixture f;
  fixture_init(&f, "bert", NULL);
  f.params.unk = fixture_add(&f, "[UNK]", EM_TOKEN_CONTROL, 0);
  f.params.bos = fixture_add(&f, "[CLS]", EM_TOKEN_CONTROL, 0);
  f.params.eos = fixture_add(&f, "[SEP]", EM_TOKEN_CONTROL, 0);
  static const char *const pieces[] = {
      MARK "run",          "ning",        "n", MARK "a", "a", MARK "cafe", MARK "!", MARK "\xE4\xB8\xAD", MARK "i",
      MARK "\xE1\x84\x80", "\xE1\x85\xA1"};
  for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++)
    fixture_add(&f, pieces[i], EM_TOKEN_NORMAL, 0);
  em_tokenizer *t = fixture_make(&f);
  CHECK_PIECES(t, "running", 0, MARK "run|ning");
  CHECK_PIECES(t, "Running\tRUN\n", EM_TOKENIZE_ADD_BOS_EOS, "[CLS]|" MARK "run|ning|" MARK "run|[SEP]");
  CHECK_PIECES(t, "CAF\xC3\x89 cafe\xCC\x81", 0, MARK "cafe|" MARK "cafe");
  CHECK_PIECES(t, "run!!a", 0, MARK "run|" MARK "!|" MARK "!|" MARK "a");
  CHECK_PIECES(t, "a\xE4\xB8\xAD" "a", 0, MARK "a|" MARK "\xE4\xB8\xAD|" MARK "a");
  CHECK_PIECES(t, "runx a", 0, "[UNK]|" MARK "a"); /* the whole word is unknown */
  CHECK_PIECES(t, "a\xFF\x01\xEF\xBF\xBD" "a", 0, MARK "a|a"); /* what is no text is left out */
  CHECK_PIECES(t, "\xC4\xB0", 0, MARK "i"); /* a capital with a dot: small i, its dot above left out */
  CHECK_PIECES(t, "\xEA\xB0\x80", 0, MARK "\xE1\x84\x80|\xE1\x85\xA1"); /* a Hangul syllable comes apart */
  CHECK_PIECES(t, "[CLS]", 0, "[UNK]|[UNK]|[UNK]");
  CHECK_PIECES(t, "[CLS]a", EM_TOKENIZE_SPECIAL, "[CLS]|" MARK "a");
  char word[201];
  memset(word, 'a', 200);
  word[100] = '\0';
  CHECK(strncmp(pieces_of(t, word, 100, 0), MARK "a|a|a", 7) == 0);
  word[100] = 'a';
  CHECK_TEXT(pieces_of(t, word, 101, 0), "[UNK]");
  check_back(t, "Running  run!", 13, EM_TOKENIZE_PLAIN, "running run !", 13);
  em_tokenizer_free(t);
}

int main(void) {
  test_scores();
  test_unknown();
  test_space_inside();
  test_scores_that_are_no_numbers();
  test_wordpiece();
  return check_done();
}
