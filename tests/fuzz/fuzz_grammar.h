/* What both grammar targets do with a grammar: they write a text of allowed tokens, chosen by the input, and hold the
 * masks against what is accepted. */
#pragma once

#include "fuzz.h"
#include "text/grammar/grammar.h"

#include <string.h>

enum {
  N_BYTES = 256,
  N_PIECES = 63,
  N_TOKENS = N_BYTES + N_PIECES + 1,
  END = N_TOKENS - 1,
  MAX_STEPS = 96,
  MAX_TEXT = 4096
};

/* The input up to a NUL byte is a grammar; behind it there may be a text to match, which also chooses what is written.
 */
typedef struct fuzz_input {
  const char *source;
  size_t source_bytes;
  const char *text; /* NULL: there is none */
  size_t text_bytes;
} fuzz_input;

static inline fuzz_input fuzz_split(const uint8_t *data, size_t bytes) {
  fuzz_input input = {.source = (const char *)data, .source_bytes = bytes};
  const char *end = memchr(data, 0, bytes);
  if (end) {
    input.source_bytes = (size_t)(end - input.source);
    input.text = end + 1;
    input.text_bytes = bytes - input.source_bytes - 1;
  }
  return input;
}

/* What must hold of a source that was read, or refused in words. Returns whether there is a grammar. */
static inline bool fuzz_is_read(em_status status, const em_grammar *grammar, const em_error *error, size_t bytes) {
  REQUIRE((status == EM_OK) == (grammar != NULL));
  if (status != EM_OK)
    REQUIRE(error->code == status && error->text[0] && !strchr(error->text, '\n') && error->offset <= bytes);
  return status == EM_OK;
}

/* All bytes, so that every character can be written, and pieces that reach over the borders of values. */
static inline em_token_trie *fuzz_trie(em_grammar_token tokens[N_TOKENS]) {
  static char bytes[N_BYTES][2];
  static const char *const pieces[N_PIECES] = {"\"\"",
                                               "\":",
                                               "\",\"",
                                               "},",
                                               "[{",
                                               "]]",
                                               "}}",
                                               ": ",
                                               ", ",
                                               "true",
                                               "false",
                                               "null",
                                               "12",
                                               "0.5",
                                               "-1",
                                               "e9",
                                               "\\u",
                                               "\\n",
                                               "00",
                                               "\n  ",
                                               "abc",
                                               "name",
                                               "id",
                                               "2024",
                                               "T12:",
                                               "://",
                                               "@a.",
                                               "aaaa",
                                               "a\"",
                                               "\xC3",
                                               "\xA9",
                                               "\xC3\xA9",
                                               "\xE4",
                                               "\xB8\xAD",
                                               "\xF0\x9F",
                                               "\xA6\x99",
                                               "\xED",
                                               "\xED\xA0\x80",
                                               "\xFF",
                                               "a",
                                               "\"a\":1",
                                               "[1,2",
                                               "\"}",
                                               "{\"",
                                               "1}",
                                               "]}",
                                               "a b",
                                               "99999999",
                                               "\\\"",
                                               "\\\\",
                                               "dd",
                                               "D800",
                                               "xyz",
                                               "()",
                                               "b",
                                               "c",
                                               "\t",
                                               "   ",
                                               "[]",
                                               "{}",
                                               "\"\n",
                                               "",
                                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
  em_token_trie *trie = NULL;
  for (int i = 0; i < N_TOKENS; i++) {
    const char *text = i < N_BYTES ? bytes[i] : i < END ? pieces[i - N_BYTES] : "";
    if (i < N_BYTES)
      bytes[i][0] = (char)i;
    tokens[i] = (em_grammar_token){text, i < N_BYTES ? 1 : strlen(text), i == END};
  }
  REQUIRE(em_token_trie_new(tokens, N_TOKENS, &trie, NULL) == EM_OK);
  return trie;
}

static inline bool fuzz_is_set(const uint64_t *mask, int i) {
  return mask[i / 64] >> (i % 64) & 1;
}

/* Every token is allowed exactly when it is accepted. */
static inline void fuzz_compare(em_matcher *matcher, const uint64_t *mask) {
  for (int i = 0; i < N_TOKENS; i++) {
    em_status status = em_matcher_accept(matcher, i, NULL);
    if (status == EM_ERR_LIMIT)
      continue;
    REQUIRE((status == EM_OK) == fuzz_is_set(mask, i));
    if (status == EM_OK)
      REQUIRE(em_matcher_rollback(matcher, 1));
  }
}

/* Writes a text of at most MAX_STEPS tokens. Returns its bytes when the grammar says that it is whole, else SIZE_MAX.
 */
static inline size_t fuzz_write(const em_grammar *grammar, const uint8_t *choices, size_t n_choices,
                                char text[MAX_TEXT]) {
  em_grammar_token tokens[N_TOKENS];
  em_token_trie *trie = fuzz_trie(tokens);
  em_matcher *matcher = NULL;
  size_t bytes = 0;
  bool whole = false;
  if (em_matcher_new(grammar, trie, false, &matcher, NULL) == EM_OK) {
    for (size_t step = 0; step < MAX_STEPS; step++) {
      uint64_t mask[(N_TOKENS + 63) / 64];
      bool any;
      if (em_matcher_mask(matcher, mask, N_TOKENS, &any, NULL) != EM_OK)
        break;
      /* No text that is allowed is a dead end. */
      REQUIRE(any);
      REQUIRE(fuzz_is_set(mask, END) == em_matcher_may_end(matcher));
      if (step % 48 == 0)
        fuzz_compare(matcher, mask);
      int token = n_choices ? choices[step % n_choices] * 37 % N_TOKENS : 0;
      /* Later in the text the end is taken where it may be. */
      if (step > MAX_STEPS / 2 && fuzz_is_set(mask, END))
        token = END;
      while (!fuzz_is_set(mask, token))
        token = (token + 1) % N_TOKENS;
      em_status status = em_matcher_accept(matcher, token, NULL);
      REQUIRE(status == EM_OK || status == EM_ERR_LIMIT);
      if (status != EM_OK)
        break;
      if (token == END) {
        whole = true;
        break;
      }
      if (tokens[token].bytes > MAX_TEXT - bytes)
        break;
      memcpy(text + bytes, tokens[token].text, tokens[token].bytes);
      bytes += tokens[token].bytes;
    }
  }
  em_matcher_free(matcher);
  em_token_trie_free(trie);
  return whole ? bytes : SIZE_MAX;
}

/* A text is accepted alike at once and byte by byte. */
static inline void fuzz_match(const em_grammar *grammar, const char *text, size_t bytes) {
  em_matcher *at_once = NULL, *by_byte = NULL;
  if (em_matcher_new(grammar, NULL, false, &at_once, NULL) == EM_OK &&
      em_matcher_copy(at_once, &by_byte, NULL) == EM_OK) {
    em_status status = EM_OK, first = em_matcher_feed(at_once, text, bytes, NULL);
    for (size_t i = 0; i < bytes && status == EM_OK; i++)
      status = em_matcher_feed(by_byte, text + i, 1, NULL);
    REQUIRE(status == first);
    if (status == EM_OK)
      REQUIRE(em_matcher_may_end(at_once) == em_matcher_may_end(by_byte));
  }
  em_matcher_free(at_once);
  em_matcher_free(by_byte);
}

/* Matches the text of the input, and writes one of the grammar's as its bytes choose, or all bytes where it has none.
 */
static inline size_t fuzz_use(const em_grammar *grammar, const fuzz_input *input, char text[MAX_TEXT]) {
  if (input->text)
    fuzz_match(grammar, input->text, input->text_bytes);
  size_t written = fuzz_write(grammar, (const uint8_t *)(input->text ? input->text : input->source),
                              input->text ? input->text_bytes : input->source_bytes, text);
  if (written != SIZE_MAX)
    fuzz_match(grammar, text, written);
  return written;
}
