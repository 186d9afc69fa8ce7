/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include <stdlib.h>

static em_status open_dialog(const char *path, em_dialog **out, em_error *error) {
  em_gguf *gguf = NULL;
  em_status status = EM_OK;

  EM_TRY(em_gguf_open(path, &gguf, error));
  EM_TRY(em_dialog_new(gguf, out, error));
fail:
  em_gguf_close(gguf);
  return status;
}

int hearth_cli_tokenize(const hearth_cli_command *command, int argc, char **argv) {
  const char *path;
  bool special = false;
  const hearth_cli_option options[] = {{"--special", HEARTH_CLI_FLAG, &special, NULL}};
  em_dialog *dialog = NULL;
  em_buffer input = {0}, output = {0};
  em_tokens tokens = {0};
  em_error error = {0};
  em_status status = EM_OK;
  int code = 0;

  if (hearth_cli_parse(command, argc, argv, options, 1, &path, 1, &code))
    return code;
  EM_TRY(open_dialog(path, &dialog, &error));
  EM_TRY(hearth_cli_read_input(EM_TOKENIZER_MAX_TEXT_BYTES, &input, &error));
  EM_TRY(em_tokenize(em_dialog_tokenizer(dialog), input.data ? input.data : "", input.bytes,
                     special ? EM_TOKENIZE_SPECIAL : EM_TOKENIZE_PLAIN, &tokens, &error));
  em_buffer_append_text(&output, "[");
  for (size_t i = 0; i < tokens.n; i++)
    em_buffer_appendf(&output, i == 0 ? "%d" : ",%d", (int)tokens.ids[i]);
  em_buffer_append_text(&output, "]\n");
  EM_TRY(hearth_cli_print(&output, &error));

fail:
  em_tokens_clear(&tokens);
  em_buffer_clear(&input);
  em_buffer_clear(&output);
  em_dialog_free(dialog);
  return status == EM_OK ? 0 : hearth_cli_fail(&error);
}

int hearth_cli_detokenize(const hearth_cli_command *command, int argc, char **argv) {
  const char *path;
  em_dialog *dialog = NULL;
  em_buffer input = {0}, output = {0};
  em_tokens tokens = {0};
  em_error error = {0};
  em_status status = EM_OK;
  int code = 0;

  if (hearth_cli_parse(command, argc, argv, NULL, 0, &path, 1, &code))
    return code;
  EM_TRY(open_dialog(path, &dialog, &error));
  EM_TRY(hearth_cli_read_input(EM_TOKENIZER_MAX_TEXT_BYTES, &input, &error));
  EM_TRY(hearth_cli_parse_tokens(input.data ? input.data : "", input.bytes, &tokens, &error));
  for (size_t i = 0; i < tokens.n; i++) {
    if ((size_t)tokens.ids[i] >= em_tokenizer_n_tokens(em_dialog_tokenizer(dialog)))
      EM_TRY(em_fail(&error, EM_ERR_ARGUMENT, "token %d is outside the vocabulary of %zu", (int)tokens.ids[i],
                     em_tokenizer_n_tokens(em_dialog_tokenizer(dialog))));
  }
  EM_TRY(em_detokenize(em_dialog_tokenizer(dialog), tokens.ids, tokens.n, true, &output, &error));
  EM_TRY(hearth_cli_print(&output, &error));

fail:
  em_tokens_clear(&tokens);
  em_buffer_clear(&input);
  em_buffer_clear(&output);
  em_dialog_free(dialog);
  return status == EM_OK ? 0 : hearth_cli_fail(&error);
}
