/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A mebibyte of any text costs O(n log n): the merger's steps are counted, and every kind has to be done in a time that
 * a quadratic way would pass many times over. */
#include "text/tokenizer/merge.h"
#include "tokenizer-fixture.h"

#include <time.h>

enum { N = 1 << 20, LIMIT_S = 10 };

/* Of this thread alone: other programs' load does not count. */
static double processor_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Any two symbols of equal size merge, the smaller ones first: the longest chain of merges there is. */
static uint32_t rank_equal_sizes(const void *user, const em_symbol *left, const em_symbol *right, int32_t *id) {
  *id = 0;
  return left->bytes == right->bytes ? left->bytes : EM_NO_RANK;
}

/* The first symbol eats its neighbours one by one. */
static uint32_t rank_first(const void *user, const em_symbol *left, const em_symbol *right, int32_t *id) {
  *id = 0;
  return left->start == 0 ? 0 : 1 + (uint32_t)(left->start + right->start) % 1000;
}

static void test_steps(void) {
  static const em_pair_fn pairs[] = {rank_equal_sizes, rank_first};
  for (size_t p = 0; p < 2; p++) {
    em_merger merger = {0};
    em_merger_start(&merger);
    for (size_t i = 0; i < N; i++)
      CHECK(em_merger_add(&merger, i, 1, 0));
    CHECK(em_merger_run(&merger, pairs[p], NULL));
    CHECK(merger.n_steps <= 4ull * N);
    CHECK_INT(merger.symbols[0].bytes, N);
    CHECK_INT(merger.symbols[0].next, N);
    em_merger_clear(&merger);
  }
}

static char *repeat(const char *unit) {
  size_t n = strlen(unit);
  char *text = malloc(N + n);
  for (size_t at = 0; at < N; at += n)
    memcpy(text + at, unit, n);
  return text;
}

static void time_text(const char *name, const char *what, const em_tokenizer *t, const char *text) {
  em_tokens ids = {0};
  double began = processor_seconds();
  CHECK_INT(em_tokenize(t, text, N, EM_TOKENIZE_SPECIAL, &ids, NULL), EM_OK);
  double took = processor_seconds() - began;
  printf("%s, %s: %zu tokens, %.0f ms\n", name, what, ids.n, took * 1000);
  CHECK(took < LIMIT_S);
  em_buffer out = {0};
  began = processor_seconds();
  CHECK_INT(em_detokenize(t, ids.ids, ids.n, true, &out, NULL), EM_OK);
  CHECK(processor_seconds() - began < LIMIT_S);
  em_buffer_clear(&out);
  em_tokens_clear(&ids);
}

/* Runs of a letter up to 1024 are pieces, each made of the two halves; and a thousand special tokens, most of which
 * begin like the text without being in it. */
static void make_vocabulary(fixture *f, const char *model, const char *pre) {
  static char runs[11][1025], merges[10][1026], specials[1000][48];
  fixture_init(f, model, pre);
  if (strcmp(model, "gpt2") == 0) {
    fixture_add_alphabet(f);
  } else {
    fixture_add_bytes(f);
    fixture_add(f, "\xE2\x96\x81", EM_TOKEN_NORMAL, -1);
    fixture_add(f, "\xE2\x96\x81" "a", EM_TOKEN_NORMAL, -1);
  }
  for (int i = 0; i < 11; i++) {
    size_t n = (size_t)1 << i;
    memset(runs[i], 'a', n);
    fixture_add(f, runs[i], EM_TOKEN_NORMAL, (float)i);
    if (i == 10)
      break;
    memset(merges[i], 'a', 2 * n + 1);
    merges[i][n] = ' ';
    fixture_merge(f, merges[i]);
  }
  for (int i = 0; i < 1000; i++) {
    snprintf(specials[i], sizeof specials[i], "%.*sb%d", 1 + i % 30, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", i);
    fixture_add(f, specials[i], i % 2 ? EM_TOKEN_CONTROL : EM_TOKEN_USER_DEFINED, 0);
  }
}

int main(void) {
  test_steps();
  static const struct {
    const char *what, *unit;
  } units[] = {
      {"one letter", "a"},
      {"spaces", " "},
      {"newlines", "\n"},
      {"tabs and a letter", "\t\t\t\ta"},
      {"ideographs", "\xE4\xBD\xA0\xE5\xA5\xBD"},
      {"emoji", "\xF0\x9F\xA6\x99"},
      {"marks", "\xCC\x81"},
      {"capitals and a mark", "AAAAAAAAAAAAAAA\xCC\x81"},
      {"digits", "1234567890"},
      {"words", "The quick brown fox jumps over the lazy dog, isn't it? "},
      {"long words", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa "},
      {"almost special", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"},
  };
  static const struct {
    const char *name, *model, *pre;
  } kinds[] = {
      {"llama", "llama", NULL},           {"llama-bpe", "gpt2", "llama-bpe"}, {"gpt-4o", "gpt2", "gpt-4o"},
      {"deepseek-llm", "gpt2", "deepseek-llm"}, {"gemma4", "gemma4", NULL},           {"bert", "bert", NULL},
  };
  char *random_bytes = malloc(N), *random_letters = malloc(N);
  uint32_t random = 1;
  for (size_t i = 0; i < N; i++) {
    random_bytes[i] = (char)(next_random(&random) >> 7);
    random_letters[i] = (char)('a' + (next_random(&random) >> 7) % 3);
  }
  for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
    static fixture f;
    make_vocabulary(&f, kinds[k].model, kinds[k].pre);
    em_tokenizer *t = fixture_make(&f);
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
      char *text = repeat(units[u].unit);
      time_text(kinds[k].name, units[u].what, t, text);
      free(text);
    }
    time_text(kinds[k].name, "random bytes", t, random_bytes);
    time_text(kinds[k].name, "random letters", t, random_letters);
    em_tokenizer_free(t);
  }
  free(random_bytes);
  free(random_letters);
  return check_done();
}
