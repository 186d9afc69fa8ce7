/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/file.h"
#include "text/style.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_INPUT_BYTES (64u << 20)

typedef struct {
  const char *text;
  size_t bytes;
} text_part;

static bool is_true(const em_json *value) {
  return value && value->kind == EM_JSON_BOOL && value->boolean;
}

static int64_t number(const em_json *value) {
  return value && value->kind == EM_JSON_INTEGER ? value->integer : 0;
}

static text_part text_of(const em_json *value) {
  return value && value->kind == EM_JSON_STRING ? (text_part){value->string.text, value->string.bytes}
                                                : (text_part){"", 0};
}

/* A schema may be given as its text, as the data of the conformance tests does. */
static em_status read_tools(em_arena *arena, const em_json *given, const em_json **out, em_error *error) {
  em_buffer text = {0};
  em_status status = EM_OK;

  *out = NULL;
  if (!given || given->kind != EM_JSON_ARRAY || !given->first)
    return EM_OK;
  em_buffer_append_text(&text, "[");
  for (const em_json *tool = given->first; tool; tool = tool->next) {
    const em_json *function = em_json_get(tool, "function") ? em_json_get(tool, "function") : tool;
    text_part name = text_of(em_json_get(function, "name"));
    const em_json *parameters = em_json_get(function, "parameters");

    em_buffer_append_text(&text, tool == given->first ? "{\"name\":" : ",{\"name\":");
    em_json_write_string(&text, name.text, name.bytes);
    em_buffer_append_text(&text, ",\"parameters\":");
    if (parameters && parameters->kind == EM_JSON_STRING)
      em_buffer_append(&text, parameters->string.text, parameters->string.bytes);
    else if (parameters)
      em_json_write(&text, parameters);
    else
      em_buffer_append_text(&text, "{}");
    em_buffer_append_text(&text, "}");
  }
  em_buffer_append_text(&text, "]");
  if (text.failed)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "there is not enough memory for the tools"));
  EM_TRY(em_json_parse(arena, text.data, text.bytes, 0, out, error));
fail:
  em_buffer_clear(&text);
  return status;
}

static void write_member(em_buffer *out, const char *key, const em_buffer *value) {
  em_buffer_appendf(out, "\"%s\":", key);
  em_json_write_string(out, value->data ? value->data : "", value->bytes);
}

static void write_message(em_buffer *out, const em_reply_message *message) {
  em_buffer_append_text(out, "{");
  write_member(out, "content", &message->content);
  em_buffer_append_text(out, ",");
  write_member(out, "reasoning_content", &message->thinking);
  em_buffer_append_text(out, ",\"tool_calls\":[");
  for (size_t i = 0; i < message->n_calls; i++) {
    em_buffer_append_text(out, i > 0 ? ",{" : "{");
    write_member(out, "name", &message->calls[i].name);
    em_buffer_append_text(out, ",");
    write_member(out, "arguments", &message->calls[i].arguments);
    em_buffer_append_text(out, ",");
    write_member(out, "id", &message->calls[i].id);
    em_buffer_append_text(out, "}");
  }
  em_buffer_append_text(out, "]}\n");
}

static bool is_word(const em_json *value, const char *word) {
  return strcmp(text_of(value).text, word) == 0;
}

/* What the model's own message has already, where the reply continues one: 1: where that ends, 2: in its thinking, 3:
 * in its content. */
static em_reply_start take_beginning(const em_json *params, bool keeps_thinking, em_reply_message *message) {
  int64_t where = number(em_json_get(params, "continue_final_message"));
  const em_json *messages = em_json_get(params, "messages"), *last = NULL;
  text_part content, thinking;

  if (where < 1 || where > 3 || !messages || messages->kind != EM_JSON_ARRAY)
    return EM_REPLY_FRESH;
  for (const em_json *one = messages->first; one; one = one->next)
    last = one;
  content = text_of(em_json_get(last, "content"));
  thinking = text_of(em_json_get(last, "reasoning_content"));
  em_buffer_append(&message->content, content.text, content.bytes);
  if (!keeps_thinking)
    em_buffer_append(&message->thinking, thinking.text, thinking.bytes);
  return where == 3 || (where == 1 && content.bytes > 0) ? EM_REPLY_IN_CONTENT : EM_REPLY_IN_THINKING;
}

static em_status split(const em_reply_style *style, const em_json *input, const em_json *tools,
                       em_reply_message *message, em_error *error) {
  const em_json *params = em_json_get(input, "params"), *format = em_json_get(params, "reasoning_format");
  const em_json *choice = em_json_get(params, "tool_choice"), *schema = em_json_get(params, "json_schema");
  text_part text = text_of(em_json_get(input, "input"));
  em_splitter_params splitting = {.style = style, .sink = em_reply_message_take, .user = message, .tools = tools};
  em_splitter *splitter = NULL;
  em_status status = EM_OK;

  splitting.finds_calls = tools && number(choice) != 2 && !is_word(choice, "none");
  splitting.keeps_thinking = format && format->kind == EM_JSON_INTEGER ? format->integer == 0 : is_word(format, "none");
  splitting.is_json = schema && (schema->kind == EM_JSON_OBJECT || text_of(schema).bytes > 0);
  splitting.start = take_beginning(params, splitting.keeps_thinking, message);
  EM_TRY(em_splitter_new(&splitting, &splitter, error));
  EM_TRY(em_splitter_feed(splitter, text.text, text.bytes, error));
  if (!is_true(em_json_get(input, "is_partial")))
    EM_TRY(em_splitter_finish(splitter, error));
fail:
  em_splitter_free(splitter);
  return status;
}

int hearth_cli_parse_reply(const hearth_cli_command *command, int argc, char **argv) {
  const char *path = NULL;
  const hearth_cli_option options[] = {{"--template", HEARTH_CLI_TEXT, &path, NULL}};
  em_arena *arena = em_arena_new(0);
  em_buffer text = {0}, output = {0};
  char *source = NULL;
  size_t source_bytes;
  em_template *template_ = NULL;
  const em_json *input, *tools, *thinks;
  em_style_params params = {.bos = "", .eos = "", .now_unix_s = (int64_t)time(NULL)};
  em_reply_style style;
  em_reply_message message = {0};
  em_error error = {0};
  em_status status = EM_OK;
  int code = 0;

  if (hearth_cli_parse(command, argc, argv, options, 1, NULL, 0, &code)) {
    em_arena_free(arena);
    return code;
  }
  if (!path) {
    em_arena_free(arena);
    return hearth_cli_wrong(command, "--template is missing");
  }
  if (!arena)
    EM_TRY(em_fail(&error, EM_ERR_NO_MEMORY, "there is not enough memory"));
  EM_TRY(em_file_read(path, EM_TEMPLATE_MAX_BYTES, &source, &source_bytes, &error));
  EM_TRY(em_template_new(source, source_bytes, &template_, &error));
  EM_TRY(hearth_cli_read_input(MAX_INPUT_BYTES, &text, &error));
  EM_TRY(em_json_parse(arena, text.data ? text.data : "", text.bytes, 0, &input, &error));
  if (!em_json_get(input, "input") || em_json_get(input, "input")->kind != EM_JSON_STRING)
    EM_TRY(em_fail(&error, EM_ERR_FORMAT, "the input is not a JSON object with a text named \"input\""));
  EM_TRY(read_tools(arena, em_json_get(em_json_get(input, "params"), "tools"), &tools, &error));
  thinks = em_json_get(em_json_get(input, "params"), "enable_thinking");
  params.template_ = template_;
  params.source = source;
  params.source_bytes = source_bytes;
  params.has_thinking = thinks != NULL;
  params.thinking = is_true(thinks);
  EM_TRY(em_style_find(&params, &style, &error));
  EM_TRY(split(&style, input, tools, &message, &error));
  write_message(&output, &message);
  EM_TRY(hearth_cli_print(&output, &error));

fail:
  em_reply_message_clear(&message);
  em_template_free(template_);
  free(source);
  em_buffer_clear(&output);
  em_buffer_clear(&text);
  em_arena_free(arena);
  return status == EM_OK ? 0 : hearth_cli_fail(&error);
}
