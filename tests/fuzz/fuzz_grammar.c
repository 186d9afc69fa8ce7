/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reads any bytes as GBNF. */
#include "fuzz_grammar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  fuzz_input input = fuzz_split(data, bytes);
  em_grammar *grammar = NULL;
  em_error error = {0};
  char text[MAX_TEXT];
  em_status status = em_grammar_from_gbnf(input.source, input.source_bytes, &grammar, &error);
  if (fuzz_is_read(status, grammar, &error, bytes))
    (void)fuzz_use(grammar, &input, text);
  em_grammar_free(grammar);
  return 0;
}
