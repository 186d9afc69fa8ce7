/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Failing allocations while a tokenizer is made, text becomes tokens and tokens become text. */
#include "alloc.h"
#include "text/tokenizer/tokenizer.h"

#define MARK "\xE2\x96\x81"

static em_status use(const char *model) {
  static const em_piece pieces[] = {{"<unk>", 5}, {"<s>", 3}, {"a", 1},       {"b", 1},
                                    {MARK, 3},    {"ab", 2},  {MARK "ab", 5}, {"c", 1}};
  static const float scores[] = {0, 0, -5, -5, -5, -1, -2, -5};
  static const int32_t types[] = {2, 3, 1, 1, 1, 1, 1, 4};
  static const em_piece merges[] = {{"a b", 3}, {MARK " ab", 6}};
  em_tokenizer_params params = {.model = model,
                                .pre = "falcon",
                                .pieces = pieces,
                                .n_tokens = 8,
                                .scores = scores,
                                .types = types,
                                .merges = merges,
                                .n_merges = 2,
                                .bos = 1,
                                .eos = 1,
                                .unk = 0,
                                .eot = EM_NO_TOKEN,
                                .eom = EM_NO_TOKEN,
                                .add_bos = 1,
                                .add_eos = 1,
                                .add_space_prefix = -1};
  static const char text[] =
      "ab ab<s>cab abababababababababababababababababababababababababababababababababababababababababab b b a";
  em_tokenizer *tokenizer = NULL;
  em_tokens ids = {0};
  em_buffer out = {0};
  em_error error = {0};
  em_status status = em_tokenizer_new(&params, &tokenizer, &error);
  CHECK((status == EM_OK) == (tokenizer != NULL));
  if (status == EM_OK) {
    status = em_tokenize(tokenizer, text, sizeof text - 1, EM_TOKENIZE_SPECIAL | EM_TOKENIZE_ADD_BOS_EOS, &ids, &error);
    CHECK((status == EM_OK) == (ids.n > 0)); /* a call that fails leaves no part of its tokens */
  }
  if (status == EM_OK)
    status = em_detokenize(tokenizer, ids.ids, ids.n, true, &out, &error);
  CHECK(error.code == status);
  em_buffer_clear(&out);
  em_tokens_clear(&ids);
  em_tokenizer_free(tokenizer);
  return status;
}

static em_status scenario_llama(void) {
  return use("llama");
}

static em_status scenario_gpt2(void) {
  return use("gpt2");
}

static em_status scenario_gemma4(void) {
  return use("gemma4");
}

static em_status scenario_bert(void) {
  return use("bert");
}

int main(void) {
  check_scenario("llama", scenario_llama);
  check_scenario("gpt2", scenario_gpt2);
  check_scenario("gemma4", scenario_gemma4);
  check_scenario("bert", scenario_bert);
  return check_done();
}
