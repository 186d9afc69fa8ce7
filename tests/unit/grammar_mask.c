/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which tokens a grammar allows, compared with trying each token; how long that takes; going back and copying. */
#include "check.h"

#include "base/buffer.h"
#include "base/clock.h"
#include "base/file.h"
#include "gguf/gguf.h"
#include "text/dialog.h"
#include "text/grammar/grammar.h"

typedef struct vocabulary {
  em_grammar_token *tokens;
  size_t n;
  em_token_trie *trie;
} vocabulary;

static uint64_t random_state = 88172645463325252u;

static size_t random_below(size_t n) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (size_t)(random_state % n);
}

static void make_trie(vocabulary *v) {
  em_error error = {0};
  CHECK_INT(em_token_trie_new(v->tokens, v->n, &v->trie, &error), EM_OK);
  CHECK_INT(em_token_trie_n_tokens(v->trie), v->n);
}

static void clear(vocabulary *v) {
  for (size_t i = 0; i < v->n; i++)
    free((char *)(uintptr_t)v->tokens[i].text);
  free(v->tokens);
  em_token_trie_free(v->trie);
}

/* All bytes, and random pieces of what grammars are about; some twice, one long, one empty, two that end. */
static vocabulary small_vocabulary(void) {
  static const char *const parts[] = {"\"",       "\\",       "{",   "}",   "[",        "]",    ",",    ":",
                                      " ",        "\n",       "a",   "b",   "true",     "nu",   "ll",   "1",
                                      "0",        ".",        "-",   "e",   "\xC3\xA9", "\xC3", "\xA9", "\xE4\xB8\xAD",
                                      "\xF0\x9F", "\xA6\x99", "u00", "name"};
  vocabulary v = {calloc(1500, sizeof *v.tokens), 0, NULL};
  for (; v.n < 1500; v.n++) {
    char text[80] = {0};
    size_t bytes = 1;
    if (v.n < 256)
      text[0] = (char)v.n;
    else
      for (size_t n = 1 + random_below(5); n > 0; n--)
        strcat(text, parts[random_below(sizeof parts / sizeof parts[0])]);
    if (v.n >= 256)
      bytes = v.n == 700 ? 0 : strlen(text);
    char *copy = malloc(bytes + 1);
    memcpy(copy, text, bytes + 1);
    v.tokens[v.n] = (em_grammar_token){copy, bytes, v.n == 1000 || v.n == 1001};
  }
  make_trie(&v);
  return v;
}

/* The vocabulary of a file; false where it is not there. */
static bool file_vocabulary(const char *name, vocabulary *v) {
  const char *shared = getenv("HEARTH_SHARED");
  char path[4096];
  em_gguf *gguf = NULL;
  em_dialog *dialog = NULL;
  snprintf(path, sizeof path, "%s/data/vocab/%s", shared ? shared : "", name);
  if (em_gguf_open(path, &gguf, NULL) != EM_OK)
    return false;
  CHECK_INT(em_dialog_new(gguf, &dialog, NULL), EM_OK);
  const em_tokenizer *tokenizer = em_dialog_tokenizer(dialog);
  *v =
      (vocabulary){calloc(em_tokenizer_n_tokens(tokenizer), sizeof *v->tokens), em_tokenizer_n_tokens(tokenizer), NULL};
  for (size_t i = 0; i < v->n; i++) {
    em_buffer bytes = {0};
    em_token_bytes(tokenizer, (int32_t)i, false, &bytes);
    v->tokens[i] = (em_grammar_token){.bytes = bytes.bytes, .ends = em_tokenizer_is_end(tokenizer, (int32_t)i)};
    v->tokens[i].text = em_buffer_steal(&bytes);
  }
  em_dialog_free(dialog);
  em_gguf_close(gguf);
  make_trie(v);
  return true;
}

/* The tokens of a file with one in base64 on each line, and one that ends; false where the file is not there. */
static bool tiktoken_vocabulary(const char *name, vocabulary *v) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *shared = getenv("HEARTH_SHARED");
  char path[4096], *text;
  size_t bytes;
  snprintf(path, sizeof path, "%s/data/tokenizers/%s", shared ? shared : "", name);
  if (em_file_read(path, 64u << 20, &text, &bytes, NULL) != EM_OK)
    return false;
  *v = (vocabulary){calloc(bytes / 4, sizeof *v->tokens), 0, NULL};
  for (const char *at = text; *at; at += *at != 0) {
    unsigned value = 0, n_bits = 0;
    char *token = calloc(1, strcspn(at, " \n") + 1);
    size_t n = 0;
    for (const char *found; *at != '=' && *at != ' ' && (found = strchr(digits, *at)); at++) {
      value = value << 6 | (unsigned)(found - digits);
      n_bits += 6;
      if (n_bits >= 8)
        token[n++] = (char)(value >> (n_bits -= 8));
    }
    v->tokens[v->n++] = (em_grammar_token){.text = token, .bytes = n};
    at += strcspn(at, "\n");
  }
  free(text);
  char *end = calloc(1, 1);
  v->tokens[v->n++] = (em_grammar_token){.text = end, .ends = true};
  make_trie(v);
  return true;
}

static bool is_set(const uint64_t *mask, size_t i) {
  return mask[i / 64] >> (i % 64) & 1;
}

/* The mask of a matcher beside the tokens that it accepts one by one. Returns how many are allowed. */
static size_t compare(em_matcher *matcher, const vocabulary *v, uint64_t *mask) {
  size_t n_allowed = 0, n_wrong = 0;
  bool any;
  CHECK_INT(em_matcher_mask(matcher, mask, v->n, &any, NULL), EM_OK);
  for (size_t i = 0; i < v->n; i++) {
    bool accepted = em_matcher_accept(matcher, (int32_t)i, NULL) == EM_OK;
    if (accepted)
      CHECK(em_matcher_rollback(matcher, 1));
    if (accepted != is_set(mask, i) && n_wrong++ < 3)
      fprintf(stderr, "token %zu \"%.*s\" is %s\n", i, (int)v->tokens[i].bytes, v->tokens[i].text,
              accepted ? "accepted but not allowed" : "allowed but not accepted");
    n_allowed += accepted;
  }
  CHECK_INT(n_wrong, 0);
  CHECK_INT(any, n_allowed > 0);
  return n_allowed;
}

static const char *const grammars[] = {
    "root ::= \"a\"* \"b\"",
    "root ::= [^\"\\\\]{3,70} \"\\\"\" | \"na\" root",
    "root ::= item (\",\" ws item)*\nitem ::= \"[\" root? \"]\" | [0-9]+ (\".\" [0-9]+)? | \"nu\" \"ll\"\nws ::= [ "
    "\\n]{0,3}",
    "root ::= [\\u00e0-\\u00ff\\u4e00-\\u9fff\\U0001F900-\\U0001FAFF]{0,200} (\"a\" | \"b\")",
    "root ::= (.{2} \"a\"){2,5}",
    /* More ways at once than are looked at one by one. */
    "root ::= \"a\" [a]{1} \"0\" | \"a\" [a]{2} \"1\" | \"a\" [a]{3} \"0\" | \"a\" [a]{4} \"1\" | \"a\" [a]{5} \"0\" |"
    "\"a\" [a]{6} \"1\" | \"a\" [a]{7} \"0\" | \"a\" [a]{8} \"1\" | \"a\" [a]{9} \"0\" | \"a\" [a]{10} \"1\" |"
    "\"a\" [b]{1} \"0\" | \"a\" [b]{2} \"1\" | \"a\" [b]{3} \"0\" | \"a\" [b]{4} \"1\" | \"a\" [b]{5} \"0\" |"
    "\"a\" [b]{6} \"1\" | \"a\" [b]{7} \"0\" | \"a\" [b]{8} \"1\" | \"a\" [b]{9} \"0\" | \"a\" [b]{10} \"1\" |"
    "\"a\" [ab]{1} \"0\" | \"a\" [ab]{2} \"1\" | \"a\" [ab]{3} \"0\" | \"a\" [ab]{4} \"1\" | \"a\" [ab]{5} \"0\" |"
    "\"a\" [ab]{6} \"1\" | \"a\" [ab]{7} \"0\" | \"a\" [ab]{8} \"1\" | \"a\" [ab]{9} \"0\" | \"a\" [ab]{10} \"1\" |"
    "\"a\" [:]{1} \"0\" | \"a\" [:]{2} \"1\" | \"a\" [:]{3} \"0\" | \"a\" [:]{4} \"1\" | \"a\" [:]{5} \"0\"",
    /* Loops whose tokens can be counted in two ways, that end with their rule, and inside one another. */
    "root ::= ([a]{1,20} [ab]{0,20}){1,30} \"b\"",
    "root ::= x \"1\" | y \"b\" \nx ::= [ab]{0,20}\ny ::= ([a] [b]?){17,40}",
    "root ::= (([ab]{17,18} \",\"){17,30} \" \")*",
};

static const char *const schemas[] = {
    "{}",
    "{\"type\":\"array\",\"items\":{\"type\":[\"number\",\"null\",\"boolean\"]},\"maxItems\":300}",
    "{\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":100},\"n\":{\"type\":\"integer\",\"minimum\":-5,"
    "\"maximum\":1234},"
    "\"e\":{\"enum\":[\"a\",\"\\u00e9\",null,1.5]}},\"required\":[\"name\"],\"additionalProperties\":true}",
    "{\"type\":\"string\",\"pattern\":\"^[^a]+@[\\\\w.]+$\"}",
};

/* Walks through a text of random allowed tokens and compares the masks at each step. */
static void follow(const em_grammar *grammar, const vocabulary *v, bool drops_space, size_t n_steps) {
  em_matcher *matcher = NULL;
  uint64_t *mask = calloc((v->n + 63) / 64, sizeof *mask);
  CHECK_INT(em_matcher_new(grammar, v->trie, drops_space, &matcher, NULL), EM_OK);
  for (size_t step = 0; step < n_steps; step++) {
    size_t n = compare(matcher, v, mask);
    /* Something always leads on or ends: no prefix is a dead end. */
    CHECK(n > 0);
    if (n == 0)
      break;
    size_t chosen = random_below(n), i = 0;
    for (;; i++)
      if (is_set(mask, i) && chosen-- == 0)
        break;
    CHECK_INT(em_matcher_accept(matcher, (int32_t)i, NULL), EM_OK);
    if (v->tokens[i].ends) {
      CHECK(em_matcher_may_end(matcher));
      CHECK_INT(compare(matcher, v, mask), 0);
      break;
    }
  }
  em_matcher_free(matcher);
  free(mask);
}

static void test_masks(const vocabulary *v, size_t n_rounds, size_t n_steps) {
  for (size_t i = 0; i < sizeof grammars / sizeof grammars[0] + sizeof schemas / sizeof schemas[0]; i++) {
    size_t n_grammars = sizeof grammars / sizeof grammars[0];
    const char *text = i < n_grammars ? grammars[i] : schemas[i - n_grammars];
    em_grammar *grammar = NULL;
    em_error error = {0};
    em_status status = i < n_grammars ? em_grammar_from_gbnf(text, strlen(text), &grammar, &error)
                                      : em_grammar_from_schema(text, strlen(text), &grammar, &error);
    CHECK_TEXT(error.text, "");
    CHECK_INT(status, EM_OK);
    for (size_t round = 0; grammar && round < n_rounds; round++)
      follow(grammar, v, round % 4 == 3, n_steps);
    em_grammar_free(grammar);
  }
}

static void test_steps(const vocabulary *v) {
  em_grammar *grammar = NULL;
  em_matcher *matcher = NULL, *copy = NULL;
  em_error error = {0};
  uint64_t mask[(1500 + 63) / 64], other[(1500 + 63) / 64];
  bool any;
  static const char text[] = "root ::= \"ab\" root | \"a\" [0-9]{80}";
  CHECK_INT(em_grammar_from_gbnf(text, sizeof text - 1, &grammar, &error), EM_OK);
  CHECK_INT(em_matcher_new(grammar, v->trie, false, &matcher, &error), EM_OK);
  CHECK_INT(em_matcher_accept(matcher, -1, NULL), EM_ERR_ARGUMENT);
  CHECK_INT(em_matcher_accept(matcher, (int32_t)v->n, NULL), EM_ERR_ARGUMENT);
  CHECK_INT(em_matcher_accept(matcher, 700, NULL), EM_ERR_FORMAT);
  CHECK_INT(em_matcher_accept(matcher, 1000, NULL), EM_ERR_FORMAT);
  CHECK_INT(em_matcher_feed(matcher, "abax", 4, &error), EM_ERR_FORMAT);
  CHECK(error.has_offset && error.offset == 3);
  CHECK(!em_matcher_rollback(matcher, 1)); /* nothing was done */
  CHECK_INT(em_matcher_feed(matcher, "aba", 3, NULL), EM_OK);
  CHECK_INT(em_matcher_mask(matcher, mask, 1500, &any, NULL), EM_OK);
  CHECK_INT(em_matcher_copy(matcher, &copy, NULL), EM_OK);
  for (int i = 0; i < 80; i++)
    CHECK_INT(em_matcher_accept(matcher, '0' + i % 10, NULL), EM_OK);
  CHECK(em_matcher_may_end(matcher));
  CHECK(!em_matcher_rollback(matcher, EM_MATCHER_MAX_ROLLBACK + 1));
  CHECK(em_matcher_rollback(matcher, EM_MATCHER_MAX_ROLLBACK));
  CHECK(!em_matcher_may_end(matcher));
  for (int i = 0; i < (int)EM_MATCHER_MAX_ROLLBACK; i++)
    CHECK_INT(em_matcher_accept(matcher, '0', NULL), EM_OK);
  CHECK(em_matcher_may_end(matcher));
  CHECK_INT(em_matcher_accept(matcher, 1001, NULL), EM_OK);
  CHECK_INT(em_matcher_feed(matcher, "0", 1, NULL), EM_ERR_FORMAT);
  CHECK(em_matcher_rollback(matcher, 1));
  CHECK(em_matcher_may_end(matcher));
  /* The copy is where the matcher was, and can go back as far. */
  CHECK_INT(em_matcher_mask(copy, other, 1500, &any, NULL), EM_OK);
  CHECK(memcmp(mask, other, sizeof mask) == 0);
  CHECK(em_matcher_rollback(copy, 1));
  CHECK_INT(em_matcher_feed(copy, "abab", 4, NULL), EM_OK);
  /* Fewer bits than tokens: those behind stay clear. */
  memset(other, 0xFF, sizeof other);
  CHECK_INT(em_matcher_mask(copy, other, 70, &any, NULL), EM_OK);
  CHECK(!any && other[1] == 0 && other[2] == UINT64_MAX);
  em_matcher_free(copy);
  em_matcher_free(matcher);
  em_grammar_free(grammar);
}

/* A text with more different places than the tables hold: what is needed moves to new ones on the way. */
static void test_long(const vocabulary *v) {
  static const char schema[] = "{\"type\":\"string\",\"maxLength\":60000}";
  em_grammar *grammar = NULL;
  em_matcher *matcher = NULL;
  uint64_t mask[(1500 + 63) / 64];
  char text[1000];
  bool any;
  memset(text, 'a', sizeof text);
  CHECK_INT(em_grammar_from_schema(schema, sizeof schema - 1, &grammar, NULL), EM_OK);
  CHECK_INT(em_matcher_new(grammar, v->trie, false, &matcher, NULL), EM_OK);
  CHECK_INT(em_matcher_mask(matcher, mask, 1500, &any, NULL), EM_OK);
  CHECK_INT(em_matcher_feed(matcher, "\"", 1, NULL), EM_OK);
  for (int i = 0; i < 59; i++) {
    CHECK_INT(em_matcher_feed(matcher, text, sizeof text, NULL), EM_OK);
    CHECK_INT(em_matcher_mask(matcher, mask, 1500, &any, NULL), EM_OK);
    CHECK(is_set(mask, 'a') && is_set(mask, '"') && !is_set(mask, '\n'));
  }
  CHECK_INT(em_matcher_feed(matcher, text, sizeof text, NULL), EM_OK);
  compare(matcher, v, mask);
  CHECK(!is_set(mask, 'a') && is_set(mask, '"'));
  CHECK(em_matcher_rollback(matcher, 1));
  compare(matcher, v, mask);
  CHECK(is_set(mask, 'a'));
  for (int i = 0; i < 998; i++)
    CHECK_INT(em_matcher_accept(matcher, 'a', NULL), EM_OK);
  compare(matcher, v, mask);
  CHECK(is_set(mask, 'a'));
  CHECK_INT(em_matcher_feed(matcher, "aa\"", 3, NULL), EM_OK);
  CHECK(em_matcher_may_end(matcher));
  em_matcher_free(matcher);
  CHECK_INT(em_matcher_new(grammar, NULL, false, &matcher, NULL), EM_OK);
  CHECK_INT(em_matcher_mask(matcher, mask, 1500, &any, NULL), EM_ERR_ARGUMENT);
  em_matcher_free(matcher);
  em_grammar_free(grammar);
}

/* Text for a schema is made from random tokens, and the time of all masks is measured. */
static void measure(const vocabulary *v, const char *what, const char *schema, size_t n_steps) {
  em_grammar *grammar = NULL;
  em_matcher *matcher = NULL;
  uint64_t *mask = calloc((v->n + 63) / 64, sizeof *mask), slowest = 0, all = 0;
  size_t n = 0;
  bool any = true;
  CHECK_INT(em_grammar_from_schema(schema, strlen(schema), &grammar, NULL), EM_OK);
  CHECK_INT(em_matcher_new(grammar, v->trie, false, &matcher, NULL), EM_OK);
  while (n < n_steps) {
    uint64_t start = em_now_ns();
    CHECK_INT(em_matcher_mask(matcher, mask, v->n, &any, NULL), EM_OK);
    uint64_t took = em_now_ns() - start;
    if (!any)
      break;
    n++;
    all += took;
    slowest = took > slowest ? took : slowest;
    size_t i = random_below(v->n), n_tried = 0;
    while (n_tried++ < v->n && (!is_set(mask, i) || v->tokens[i].ends))
      i = (i + 1) % v->n;
    if (v->tokens[i].ends || !is_set(mask, i))
      break; /* it can only end */
    start = em_now_ns();
    CHECK_INT(em_matcher_accept(matcher, (int32_t)i, NULL), EM_OK);
    all += em_now_ns() - start;
  }
  printf("%s, %zu tokens: %.1f us a token, %.1f us at most\n", what, v->n, (double)all / 1e3 / (double)(n ? n : 1),
         (double)slowest / 1e3);
  /* Far above what it takes, so that a busy computer does not fail the test. */
  CHECK(all / (n ? n : 1) < 20000000);
  em_matcher_free(matcher);
  em_grammar_free(grammar);
  free(mask);
}

int main(void) {
  vocabulary small = small_vocabulary(), large;
  test_steps(&small);
  test_long(&small);
  test_masks(&small, 8, 40);
  clear(&small);
  static const char *const files[] = {"qwen/qwen.tiktoken", "ggml-vocab-llama-spm.gguf"};
  for (size_t i = 0; i < 2; i++) {
    uint64_t start = em_now_ns();
    if (!(i == 0 ? tiktoken_vocabulary(files[i], &large) : file_vocabulary(files[i], &large))) {
      printf("%s is not here\n", files[i]);
      continue;
    }
    printf("%s: %zu tokens, opened in %.0f ms\n", files[i], large.n, (double)(em_now_ns() - start) / 1e6);
    test_masks(&large, 1, 4);
    measure(&large, "an object", "{}", 300);
    measure(&large, "a string", "{\"type\":\"string\"}", 300);
    measure(&large, "a bounded string", "{\"type\":\"string\",\"maxLength\":5000}", 300);
    measure(&large, "a record", schemas[2], 100);
    clear(&large);
  }
  return check_done();
}
