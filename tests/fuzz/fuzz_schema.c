/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reads any bytes as a JSON schema. What is written under one is JSON; its numbers may be larger than what is read
 * here. */
#include "base/json.h"
#include "fuzz_grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  fuzz_input input = fuzz_split(data, bytes);
  em_grammar *grammar = NULL;
  em_error error = {0};
  char text[MAX_TEXT];
  em_status status = em_grammar_from_schema(input.source, input.source_bytes, &grammar, &error);
  size_t written = fuzz_is_read(status, grammar, &error, bytes) ? fuzz_use(grammar, &input, text) : SIZE_MAX;
  if (written != SIZE_MAX) {
    em_arena *arena = em_arena_new(0);
    const em_json *json = NULL;
    status = em_json_parse(arena, text, written, 0, &json, &error);
    REQUIRE(status == EM_OK || status == EM_ERR_LIMIT);
    em_arena_free(arena);
  }
  em_grammar_free(grammar);
  return 0;
}
