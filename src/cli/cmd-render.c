/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/file.h"
#include "text/fallback.h"
#include "text/template/template.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_INPUT_BYTES (64u << 20)

typedef struct {
  em_template *template_;
  char *bos, *eos; /* texts of these tokens, or NULL */
} source;

static void source_clear(source *s) {
  em_template_free(s->template_);
  free(s->bos);
  free(s->eos);
}

static char *token_text(const em_tokenizer *tokenizer, int32_t id) {
  em_piece piece = {"", 0};

  if (id != EM_NO_TOKEN)
    piece = em_tokenizer_piece(tokenizer, id);
  return strndup(piece.text, piece.bytes);
}

static em_status open_model(const char *path, source *out, em_error *error) {
  em_gguf *gguf = NULL;
  em_dialog *dialog = NULL;
  const em_tokenizer *tokenizer;
  em_text text;
  em_status status = EM_OK;

  EM_TRY(em_gguf_open(path, &gguf, error));
  EM_TRY(em_dialog_new(gguf, &dialog, error));
  tokenizer = em_dialog_tokenizer(dialog);
  if (!em_gguf_get_text(gguf, "tokenizer.chat_template", &text)) {
    const em_fallback *fallback = em_fallback_find(tokenizer);

    if (!fallback)
      EM_TRY(em_fail(error, EM_ERR_NOT_FOUND, "the model has no chat template"));
    fprintf(stderr,
            "hearth-engine: the model has no chat template; the format of %s is used, which its vocabulary suggests\n",
            fallback->name);
    text = (em_text){fallback->template_, strlen(fallback->template_)};
  }
  EM_TRY(em_template_new(text.text, text.bytes, &out->template_, error));
  out->bos = token_text(tokenizer, em_tokenizer_bos(tokenizer));
  out->eos = token_text(tokenizer, em_tokenizer_eos(tokenizer));
  if (!out->bos || !out->eos)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "there is not enough memory for the template"));
fail:
  em_dialog_free(dialog);
  em_gguf_close(gguf);
  return status;
}

static em_status open_file(const char *path, source *out, em_error *error) {
  char *text = NULL;
  size_t bytes;
  em_status status = EM_OK;

  EM_TRY(em_file_read(path, EM_TEMPLATE_MAX_BYTES, &text, &bytes, error));
  EM_TRY(em_template_new(text, bytes, &out->template_, error));
fail:
  free(text);
  return status;
}

static void add_member(em_buffer *out, const char *key, size_t key_bytes) {
  em_buffer_append_text(out, out->bytes > 1 ? "," : "");
  em_json_write_string(out, key, key_bytes);
  em_buffer_append_text(out, ":");
}

static void add_literal(em_buffer *out, const em_json *input, const char *key, const char *literal) {
  if (em_json_get(input, key))
    return;
  add_member(out, key, strlen(key));
  em_buffer_append_text(out, literal);
}

static void add_text(em_buffer *out, const em_json *input, const char *key, const char *text) {
  if (!text || em_json_get(input, key))
    return;
  add_member(out, key, strlen(key));
  em_json_write_string(out, text, strlen(text));
}

/* The context that templates expect, as JSON: what the input has, and what every chat has beside it. */
static em_status write_context(const em_json *input, const source *s, em_buffer *out, em_error *error) {
  em_buffer_append_text(out, "{");
  for (const em_json *member = input->first; member; member = member->next) {
    if (strcmp(member->key, "now") == 0)
      continue;
    add_member(out, member->key, member->key_bytes);
    em_json_write(out, member);
  }
  add_literal(out, input, "add_generation_prompt", "true");
  add_literal(out, input, "tools", "null");
  add_literal(out, input, "documents", "null");
  add_text(out, input, "bos_token", s->bos);
  add_text(out, input, "eos_token", s->eos);
  em_buffer_append_text(out, "}");
  return out->failed ? em_fail(error, EM_ERR_NO_MEMORY, "there is not enough memory for the context") : EM_OK;
}

static em_status read_now(const em_json *input, int64_t *out, em_error *error) {
  const em_json *now = em_json_get(input, "now");

  *out = (int64_t)time(NULL);
  if (!now || now->kind == EM_JSON_NULL)
    return EM_OK;
  if (now->kind == EM_JSON_INTEGER)
    *out = now->integer;
  else if (now->kind == EM_JSON_REAL && now->real > -1e15 && now->real < 1e15)
    *out = (int64_t)now->real;
  else
    return em_fail(error, EM_ERR_FORMAT, "\"now\" is not a number of seconds since 1970");
  return EM_OK;
}

int hearth_cli_render(const hearth_cli_command *command, int argc, char **argv) {
  const char *path = NULL, *file = NULL;
  bool bare = false;
  const hearth_cli_option options[] = {{"--template", HEARTH_CLI_TEXT, &file, NULL},
                                       {"--context", HEARTH_CLI_FLAG, &bare, NULL}};
  source s = {0};
  em_arena *arena = em_arena_new(0);
  em_buffer text = {0}, context_text = {0}, output = {0};
  const em_json *input, *context;
  em_rendered rendered = {0};
  em_error error = {0};
  em_status status = EM_OK;
  int64_t now;
  int code = 0;
  bool has_file = false;

  /* The model's place is free when a template is named. */
  for (int i = 1; i < argc; i++)
    has_file = has_file || strncmp(argv[i], "--template", strlen("--template")) == 0;
  if (hearth_cli_parse(command, argc, argv, options, 2, &path, has_file ? 0 : 1, &code)) {
    em_arena_free(arena);
    return code;
  }
  if (!arena)
    EM_TRY(em_fail(&error, EM_ERR_NO_MEMORY, "there is not enough memory"));
  EM_TRY(file ? open_file(file, &s, &error) : open_model(path, &s, &error));
  EM_TRY(hearth_cli_read_input(MAX_INPUT_BYTES, &text, &error));
  EM_TRY(em_json_parse(arena, text.data ? text.data : "", text.bytes, 0, &input, &error));
  if (input->kind != EM_JSON_OBJECT)
    EM_TRY(em_fail(&error, EM_ERR_FORMAT, "the input is not a JSON object"));
  EM_TRY(read_now(bare ? NULL : input, &now, &error));
  context = input;
  if (!bare) {
    EM_TRY(write_context(input, &s, &context_text, &error));
    EM_TRY(em_json_parse(arena, context_text.data, context_text.bytes, 0, &context, &error));
  }
  EM_TRY(em_template_render(s.template_, context, now, &rendered, &error));
  em_buffer_append(&output, rendered.text, rendered.bytes);
  EM_TRY(hearth_cli_print(&output, &error));

fail:
  em_rendered_clear(&rendered);
  em_buffer_clear(&output);
  em_buffer_clear(&context_text);
  em_buffer_clear(&text);
  source_clear(&s);
  em_arena_free(arena);
  return status == EM_OK ? 0 : hearth_cli_fail(&error);
}
