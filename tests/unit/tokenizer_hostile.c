/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Vocabularies that no honest file has. */
#include "tokenizer-fixture.h"

static fixture f;

static void check_refused(em_status expected, const char *reason) {
  em_tokenizer *t = NULL;
  em_error error = {0};
  em_status status = em_tokenizer_new(&f.params, &t, &error);
  CHECK_INT(status, expected);
  CHECK(t == NULL);
  if (!strstr(error.text, reason))
    CHECK_TEXT(error.text, reason);
  em_tokenizer_free(t);
}

static void start(const char *model) {
  fixture_init(&f, model, "gpt-2");
  fixture_add(&f, "a", EM_TOKEN_NORMAL, 0);
}

static void test_refused(void) {
  static const char *const models[] = {"llama", "gpt2", "bert", "gemma4"};
  for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
    start(models[i]);
    f.params.n_tokens = 0;
    check_refused(EM_ERR_FORMAT, "empty");
    f.params.n_tokens = EM_TOKENIZER_MAX_TOKENS + 1u;
    check_refused(EM_ERR_LIMIT, "tokens");
    int32_t *const ids[] = {&f.params.bos, &f.params.eos, &f.params.unk, &f.params.eot, &f.params.eom};
    static const int32_t bad[] = {1, 2, INT32_MAX, -2, INT32_MIN};
    for (size_t k = 0; k < 5; k++)
      for (size_t b = 0; b < 5; b++) {
        start(models[i]);
        *ids[k] = bad[b];
        check_refused(EM_ERR_FORMAT, "not in the vocabulary");
      }
    start(models[i]);
    f.pieces[0].bytes = EM_TOKENIZER_MAX_PIECE_BYTES + 1u;
    check_refused(EM_ERR_FORMAT, "token 0 has 1025 bytes");
  }
  start("llama");
  f.params.scores = NULL;
  check_refused(EM_ERR_FORMAT, "no scores");
  start("gpt2");
  f.params.merges = NULL;
  check_refused(EM_ERR_FORMAT, "no merges");
  static const char *const merges[] = {"", "a", "ab", " a", " "};
  for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++) {
    start("gpt2");
    fixture_merge(&f, merges[i]);
    check_refused(EM_ERR_FORMAT, "merge 0 has no space");
  }
  start("gpt2");
  f.params.n_merges = SIZE_MAX;
  check_refused(EM_ERR_LIMIT, "merges");
  start("gpt2");
  f.params.pre = "never heard of";
  check_refused(EM_ERR_UNSUPPORTED, "\"never heard of\"");
  start("no_vocab");
  check_refused(EM_ERR_UNSUPPORTED, "\"no_vocab\"");
  start("gpt2");
  f.params.model = NULL;
  check_refused(EM_ERR_FORMAT, "names no tokenizer");
}

/* Pieces that are empty, repeated or of no known type; merges of what is not there. */
static void test_taken_as_they_are(void) {
  static const char *const models[] = {"llama", "gpt2", "bert", "gemma4"};
  for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
    start(models[m]);
    fixture_add(&f, "", EM_TOKEN_NORMAL, 0);
    fixture_add(&f, "", EM_TOKEN_CONTROL, 0);
    fixture_add(&f, "", EM_TOKEN_USER_DEFINED, 0);
    fixture_add(&f, "", EM_TOKEN_BYTE, 0);
    fixture_add(&f, "a", EM_TOKEN_CONTROL, 0);
    fixture_add(&f, "a", EM_TOKEN_NORMAL, 0);
    fixture_add(&f, "b", (em_token_type)-7, 0);
    fixture_add(&f, "c", (em_token_type)1000, 0);
    fixture_add(&f, "xx", EM_TOKEN_BYTE, 0);
    fixture_add(&f, "<0x4", EM_TOKEN_BYTE, 0);
    fixture_add(&f, "<0xZZ>", EM_TOKEN_BYTE, 0);
    fixture_add(&f, "\xFF\xFE", EM_TOKEN_NORMAL, 0);
    fixture_add(&f, "ab", EM_TOKEN_NORMAL, 0);
    static const char *const merges[] = {"q r", "a q", "a  ", "  a", "a b", "a b", "b a", "a b c", " \x01 \x02"};
    for (size_t i = 0; i < sizeof merges / sizeof merges[0]; i++)
      fixture_merge(&f, merges[i]);
    em_tokenizer *t = fixture_make(&f);
    CHECK_INT(em_tokenizer_find(t, "a", 1), 0);
    CHECK_INT(em_tokenizer_find(t, "", 0), EM_NO_TOKEN);
    CHECK_INT(em_tokenizer_type(t, 7), EM_TOKEN_NORMAL);
    CHECK_INT(em_tokenizer_type(t, -1), EM_TOKEN_UNUSED);
    CHECK_INT(em_tokenizer_piece(t, 99).bytes, 0);
    uint32_t random = 5;
    for (int round = 0; round < 300; round++) {
      char text[64];
      size_t n = next_random(&random) % sizeof text;
      for (size_t i = 0; i < n; i++)
        text[i] = next_random(&random) % 3 ? "abcx <\xFF\xFE"[next_random(&random) % 8] : (char)next_random(&random);
      em_tokens ids = {0};
      em_buffer out = {0};
      CHECK_INT(em_tokenize(t, text, n, next_random(&random) % 8, &ids, NULL), EM_OK);
      for (size_t i = 0; i < ids.n; i++)
        CHECK(ids.ids[i] >= 0 && (size_t)ids.ids[i] < em_tokenizer_n_tokens(t));
      CHECK_INT(em_detokenize(t, ids.ids, ids.n, true, &out, NULL), EM_OK);
      em_tokens_clear(&ids);
      em_buffer_clear(&out);
    }
    em_tokenizer_free(t);
  }
}

static void test_no_types(void) {
  start("llama");
  fixture_add_bytes(&f);
  f.params.types = NULL;
  f.params.add_space_prefix = 0;
  em_tokenizer *t = fixture_make(&f);
  CHECK_INT(em_tokenizer_type(t, 1), EM_TOKEN_BYTE);
  check_back(t, "a\x01z", 3, EM_TOKENIZE_PLAIN, "a\x01z", 3);
  em_tokenizer_free(t);
}

static void test_too_long_a_text(void) {
  start("llama");
  em_tokenizer *t = fixture_make(&f);
  em_tokens ids = {0};
  em_error error = {0};
  CHECK(em_tokens_append(&ids, 7));
  CHECK_INT(em_tokenize(t, "a", EM_TOKENIZER_MAX_TEXT_BYTES + (size_t)1, 0, &ids, &error), EM_ERR_LIMIT);
  CHECK_INT(ids.n, 1);
  em_tokens_clear(&ids);
  em_tokenizer_free(t);
}

/* Special pieces without common endings fill the matcher's memory: past its limit the file is refused. */
static void test_too_many_specials(void) {
  enum { N = 9000 };
  static em_piece pieces[N];
  static int32_t types[N];
  char *text = calloc(N, EM_TOKENIZER_MAX_PIECE_BYTES);
  CHECK(text != NULL);
  for (size_t i = 0; text && i < N; i++) {
    char *piece = text + i * EM_TOKENIZER_MAX_PIECE_BYTES;
    memset(piece, 'x', EM_TOKENIZER_MAX_PIECE_BYTES);
    snprintf(piece + EM_TOKENIZER_MAX_PIECE_BYTES - 8, 8, "%06zu", i);
    pieces[i] = (em_piece){piece, EM_TOKENIZER_MAX_PIECE_BYTES};
    types[i] = EM_TOKEN_CONTROL;
  }
  fixture_init(&f, "bert", NULL);
  f.params.pieces = pieces;
  f.params.types = types;
  f.params.n_tokens = N;
  check_refused(EM_ERR_LIMIT, "special tokens are too long");
  free(text);
}

int main(void) {
  test_refused();
  test_taken_as_they_are();
  test_no_types();
  test_too_long_a_text();
  test_too_many_specials();
  return check_done();
}
