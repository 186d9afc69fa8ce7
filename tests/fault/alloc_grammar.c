/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Failing allocations while a grammar is made, a text is followed through it and masks are filled. */
#include "alloc.h"
#include "text/grammar/grammar.h"

enum { N_TOKENS = 300 };

static em_status make_trie(em_token_trie **out, em_error *error) {
  static char texts[N_TOKENS][8];
  em_grammar_token tokens[N_TOKENS];
  for (int i = 0; i < N_TOKENS; i++) {
    size_t bytes = 1;
    texts[i][0] = (char)i;
    if (i >= 256)
      bytes = (size_t)snprintf(texts[i], sizeof texts[i], "%c\"%d", 'a' + i % 26, i);
    tokens[i] = (em_grammar_token){texts[i], bytes, i == N_TOKENS - 1};
  }
  return em_token_trie_new(tokens, N_TOKENS, out, error);
}

static em_status follow(const em_grammar *grammar, const char *text, em_error *error) {
  em_status status = EM_OK;
  em_token_trie *trie = NULL;
  em_matcher *matcher = NULL, *copy = NULL;
  uint64_t mask[(N_TOKENS + 63) / 64];
  bool any;
  EM_TRY(make_trie(&trie, error));
  EM_TRY(em_matcher_new(grammar, trie, false, &matcher, error));
  for (size_t i = 0; i < strlen(text); i++) {
    status = em_matcher_mask(matcher, mask, N_TOKENS, &any, error);
    CHECK(status != EM_OK || any);
    if (status == EM_OK) {
      CHECK(mask[(unsigned char)text[i] / 64] >> ((unsigned char)text[i] % 64) & 1);
      status = em_matcher_accept(matcher, (unsigned char)text[i], error);
    }
    /* What failed has not moved, and can be done again. */
    if (status != EM_OK)
      goto fail;
  }
  EM_TRY(em_matcher_copy(matcher, &copy, error));
  CHECK(em_matcher_may_end(copy));
  CHECK(em_matcher_rollback(copy, 1));
  EM_TRY(em_matcher_feed(copy, text + strlen(text) - 1, 1, error));
fail:
  em_matcher_free(copy);
  em_matcher_free(matcher);
  em_token_trie_free(trie);
  return status;
}

static em_status scenario_schema(void) {
  static const char schema[] =
      "{\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":40},\"n\":{\"allOf\":[{\"type\":\"integer\"},"
      "{\"minimum\":-5,\"maximum\":300}]},\"p\":{\"pattern\":\"^[a-z]{1,20}(x|y)*$\"},\"r\":{\"$ref\":\"#/$defs/r\"}},"
      "\"required\":[\"name\"],\"additionalProperties\":true,\"$defs\":{\"r\":{\"enum\":[1,\"\\u00e9\"]}}}";
  em_grammar *grammar = NULL;
  em_error error = {0};
  em_status status = em_grammar_from_schema(schema, strlen(schema), &grammar, &error);
  CHECK((status == EM_OK) == (grammar != NULL));
  if (status == EM_OK)
    status = follow(grammar, "{\"name\": \"b\\n\",\"n\":-4,\"p\":\"abcx\",\"q\":[1.5,null]}", &error);
  CHECK(error.code == status);
  em_grammar_free(grammar);
  return status;
}

static em_status scenario_gbnf(void) {
  static const char gbnf[] =
      "root ::= (item \",\"?){0,30} # text\nitem ::= [^\"\\u00e9,]{2,} | \"\\\"\" root \"\\\"\" | .{17}";
  em_grammar *grammar = NULL;
  em_error error = {0};
  em_status status = em_grammar_from_gbnf(gbnf, strlen(gbnf), &grammar, &error);
  CHECK((status == EM_OK) == (grammar != NULL));
  if (status == EM_OK)
    status = follow(grammar, "ab,\"cd\",ef", &error);
  CHECK(error.code == status);
  em_grammar_free(grammar);
  return status;
}

int main(void) {
  check_scenario("schema", scenario_schema);
  check_scenario("gbnf", scenario_gbnf);
  return check_done();
}
