/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/file.h"
#include "text/grammar/grammar.h"

#include <stdlib.h>

#define MAX_INPUT_BYTES (64u << 20)
#define NOT_USABLE 2

static em_status open_grammar(const char *schema, const char *grammar, em_grammar **out, em_error *error) {
  char *text = NULL;
  size_t bytes;
  em_status status = EM_OK;

  EM_TRY(em_file_read(schema ? schema : grammar, EM_GRAMMAR_MAX_TEXT_BYTES, &text, &bytes, error));
  EM_TRY(schema ? em_grammar_from_schema(text, bytes, out, error) : em_grammar_from_gbnf(text, bytes, out, error));
fail:
  free(text);
  return status;
}

int hearth_cli_match(const hearth_cli_command *command, int argc, char **argv) {
  const char *schema = NULL, *file = NULL;
  const hearth_cli_option options[] = {{"--schema", HEARTH_CLI_TEXT, &schema, NULL},
                                       {"--grammar", HEARTH_CLI_TEXT, &file, NULL}};
  em_grammar *grammar = NULL;
  em_matcher *matcher = NULL;
  em_buffer text = {0};
  em_error error = {0};
  em_status status = EM_OK;
  int code = 0;

  if (hearth_cli_parse(command, argc, argv, options, 2, NULL, 0, &code))
    return code;
  if (!schema == !file)
    return hearth_cli_wrong(command, "either --schema or --grammar is needed");
  /* A grammar that begins in too many ways is no usable one. */
  if (open_grammar(schema, file, &grammar, &error) != EM_OK ||
      em_matcher_new(grammar, NULL, false, &matcher, &error) != EM_OK) {
    hearth_cli_fail(&error);
    em_grammar_free(grammar);
    return NOT_USABLE;
  }
  EM_TRY(hearth_cli_read_input(MAX_INPUT_BYTES, &text, &error));
  EM_TRY(em_matcher_feed(matcher, text.data ? text.data : "", text.bytes, &error));
  if (!em_matcher_may_end(matcher))
    EM_TRY(em_fail_at(&error, EM_ERR_FORMAT, text.bytes, "the text ends before the grammar does"));
fail:
  em_buffer_clear(&text);
  em_matcher_free(matcher);
  em_grammar_free(grammar);
  return status == EM_OK ? 0 : hearth_cli_fail(&error);
}
