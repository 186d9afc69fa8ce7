/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reads any bytes as GBNF. Behind a NUL byte the input may have a text to match, which also chooses what is written. */
#include "fuzz_grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  const char *source = (const char *)data, *end = memchr(source, 0, bytes);
  size_t source_bytes = end ? (size_t)(end - source) : bytes, rest = end ? bytes - source_bytes - 1 : 0;
  em_grammar *grammar = NULL;
  em_error error = {0};
  char text[MAX_TEXT];
  em_status status = em_grammar_from_gbnf(source, source_bytes, &grammar, &error);
  REQUIRE((status == EM_OK) == (grammar != NULL));
  if (status != EM_OK) {
    REQUIRE(error.code == status && error.text[0] && !strchr(error.text, '\n') && error.offset <= bytes);
    return 0;
  }
  if (end)
    fuzz_match(grammar, end + 1, rest);
  size_t written = fuzz_write(grammar, end ? data + source_bytes + 1 : data, end ? rest : bytes, text);
  if (written != SIZE_MAX)
    fuzz_match(grammar, text, written);
  em_grammar_free(grammar);
  return 0;
}
