/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any bytes as a reply: split whole and in pieces it gives the same message, within the limits, and what the style has
 * no marks for comes out as it went in.
 *
 * The first byte says how the style is made: a letter takes one of those below; '*' takes marks from the lines that
 * follow, up to an empty one; 'T' takes a template up to a NUL byte, in which the style is looked for. The second byte
 * has flags and how the reply is cut. The rest is the reply. */
#include "fuzz.h"
#include "text/style.h"

#include <string.h>

#define THINKING .think_start = "<think>", .think_end = "</think>"

static const em_reply_style styles[] = {
    {THINKING, .turn_end = "<|end|>", .content_start = "<|TEXT|>", .content_end = "<|END_TEXT|>"},
    {THINKING, .syntax = EM_CALLS_JSON, .section_start = "<tool_call>", .section_end = "</tool_call>",
     .section_lead = "\n", .name_key = "name", .arguments_key = "arguments", .id_key = "id"},
    {.syntax = EM_CALLS_JSON, .name_key = "name", .arguments_key = "parameters"},
    {THINKING, .syntax = EM_CALLS_JSON, .section_start = "[CALLS]", .name_is_key = true},
    {THINKING, .syntax = EM_CALLS_NAMED, .section_start = "<calls>", .section_end = "</calls>", .call_start = "<call>",
     .name_end = "<sep>", .call_end = "</call>", .numbered = true},
    {.syntax = EM_CALLS_NAMED, .call_start = "[CALL]", .name_end = "[ID]", .id_end = "[ARGS]", .id_follows = true},
    {.syntax = EM_CALLS_NAMED, .call_start = "<call>", .id_end = "<name>", .name_end = "<args>", .call_end = "</call>"},
    {.syntax = EM_CALLS_NAMED, .call_start = ">>>", .opens_call = true, .content_start = "all\n"},
    {THINKING, .opens_thinking = true, .opened = "<think>\n", .syntax = EM_CALLS_TAGGED, .section_start = "<tool_call>",
     .section_end = "</tool_call>", .call_start = "<function=", .name_end = ">", .call_end = "</function>",
     .key_start = "<parameter=", .key_end = ">", .value_lead = "\n", .value_tail = "\n", .value_end = "</parameter>"},
    {THINKING, .syntax = EM_CALLS_TAGGED, .call_start = "<tool_call>", .call_end = "</tool_call>", .key_start = "<k>",
     .key_end = "</k>", .value_start = "<v>", .value_end = "</v>"},
    {.syntax = EM_CALLS_TAGGED,
     .call_start = "<invoke name=\"",
     .name_end = "\">",
     .call_end = "</invoke>",
     .key_start = "<p name=\"",
     .key_end = "\" text>",
     .key_end_other = "\" json>",
     .value_end = "</p>",
     .has_cdata = true},
    {THINKING, .syntax = EM_CALLS_NESTED, .section_start = "]!<calls>", .section_end = "]!</calls>",
     .call_start = "]!<invoke name=\"", .name_end = "\">", .call_end = "]!</invoke>", .key_start = "]!"},
    {.think_start = "<|channel>thought",
     .think_end = "<channel|>",
     .stray = "<|channel>",
     .thinks_anywhere = true,
     .syntax = EM_CALLS_KEYED,
     .call_start = "<|call>call:",
     .call_end = "<call|>",
     .text_mark = "<|\"|>"},
    {THINKING, .syntax = EM_CALLS_PYTHON, .section_start = "<|start|>", .section_end = "<|end|>"},
    {.syntax = EM_CALLS_CHANNELS},
    {.syntax = EM_CALLS_NONE},
};
enum { N_STYLES = sizeof styles / sizeof styles[0] };

static const char tools_text[] =
    "[{\"name\":\"f\",\"parameters\":{\"properties\":{\"s\":{\"type\":\"string\"},\"n\":{\"type\":"
    "\"integer\"},\"o\":{\"properties\":{\"s\":{\"type\":\"string\"}}},\"l\":{\"items\":{\"type\":"
    "\"string\"}}}}}]";

typedef struct input {
  const char *text;
  size_t bytes;
} input;

static void take_mark(input *in, char *mark) {
  const char *end = memchr(in->text, '\n', in->bytes);
  size_t bytes = end ? (size_t)(end - in->text) : in->bytes,
         n = bytes < EM_REPLY_MARK_BYTES - 1 ? bytes : EM_REPLY_MARK_BYTES - 1;
  memcpy(mark, in->text, n);
  mark[n] = 0;
  in->text += bytes + (end != NULL);
  in->bytes -= bytes + (end != NULL);
}

/* Any marks at all, even ones that are part of each other. */
static em_reply_style made_style(input *in) {
  em_reply_style style = {0};
  char *marks[] = {style.think_start, style.think_end,     style.section_start, style.section_end, style.call_start,
                   style.name_end,    style.call_end,      style.key_start,     style.key_end,     style.value_start,
                   style.value_end,   style.content_start, style.content_end,   style.text_mark,   style.id_end,
                   style.stray,       style.value_tail,    style.name_key};
  if (in->bytes > 0) {
    style.syntax = (em_call_syntax)((unsigned char)in->text[0] % (EM_CALLS_CHANNELS + 1));
    style.opens_thinking = in->text[0] & 64;
    in->text++;
    in->bytes--;
  }
  for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
    take_mark(in, marks[i]);
  return style;
}

static em_reply_style found_style(input *in) {
  const char *end = memchr(in->text, 0, in->bytes);
  size_t bytes = end ? (size_t)(end - in->text) : in->bytes;
  em_reply_style style = {0};
  em_template *template_ = NULL;
  em_style_params params = {.source = in->text, .source_bytes = bytes, .bos = "<s>", .eos = "</s>"};
  if (em_template_new(in->text, bytes, &template_, NULL) == EM_OK) {
    params.template_ = template_;
    REQUIRE(em_style_find(&params, &style, NULL) == EM_OK);
    em_template_free(template_);
  }
  in->text += bytes + (end != NULL);
  in->bytes -= bytes + (end != NULL);
  return style;
}

static void split(em_splitter_params params, input in, size_t piece, em_reply_message *out) {
  em_splitter *splitter = NULL;
  params.sink = em_reply_message_take;
  params.user = out;
  REQUIRE(em_splitter_new(&params, &splitter, NULL) == EM_OK);
  for (size_t i = 0; i < in.bytes; i += piece) {
    /* A copy of its own, so that reading past its end is seen. */
    size_t n = in.bytes - i < piece ? in.bytes - i : piece;
    char *copy = malloc(n);
    memcpy(copy, in.text + i, n);
    REQUIRE(em_splitter_feed(splitter, copy, n, NULL) == EM_OK);
    free(copy);
  }
  REQUIRE(em_splitter_finish(splitter, NULL) == EM_OK);
  em_splitter_free(splitter);
}

static void require_same(const em_buffer *a, const em_buffer *b) {
  REQUIRE(a->bytes == b->bytes && (a->bytes == 0 || memcmp(a->data, b->data, a->bytes) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  input in = {(const char *)data, bytes};
  if (bytes < 2)
    return 0;
  unsigned flags = data[1];
  em_reply_style style = {0};
  in.text += 2;
  in.bytes -= 2;
  if (data[0] == '*')
    style = made_style(&in);
  else if (data[0] == 'T')
    style = found_style(&in);
  else
    style = styles[data[0] % N_STYLES];
  em_arena *arena = em_arena_new(0);
  const em_json *tools = NULL;
  REQUIRE(em_json_parse(arena, tools_text, sizeof tools_text - 1, 0, &tools, NULL) == EM_OK);
  em_splitter_params params = {.style = &style,
                               .finds_calls = !(flags & 1),
                               .keeps_thinking = flags & 2,
                               .is_json = (flags & 12) == 12,
                               .tools = flags & 16 ? tools : NULL,
                               .start = (em_reply_start)((flags >> 5) % 3)};
  em_reply_message whole = {0}, pieces = {0};
  split(params, in, in.bytes + 1, &whole);
  split(params, in, 1 + bytes % 7 * (flags & 1), &pieces);
  require_same(&whole.content, &pieces.content);
  require_same(&whole.thinking, &pieces.thinking);
  REQUIRE(whole.n_calls == pieces.n_calls && whole.n_calls <= EM_REPLY_MAX_CALLS);
  size_t total = whole.content.bytes + whole.thinking.bytes;
  for (size_t i = 0; i < whole.n_calls; i++) {
    require_same(&whole.calls[i].name, &pieces.calls[i].name);
    require_same(&whole.calls[i].id, &pieces.calls[i].id);
    require_same(&whole.calls[i].arguments, &pieces.calls[i].arguments);
    REQUIRE(whole.calls[i].name.bytes <= EM_REPLY_MAX_NAME_BYTES && whole.calls[i].id.bytes <= EM_REPLY_MAX_NAME_BYTES);
    total += whole.calls[i].name.bytes + whole.calls[i].id.bytes + whole.calls[i].arguments.bytes;
  }
  REQUIRE(total <= 12 * bytes + 4 * EM_REPLY_MARK_BYTES);
  if (memcmp(&style, &styles[N_STYLES - 1], sizeof style) == 0 && !params.is_json &&
      params.start != EM_REPLY_IN_THINKING)
    REQUIRE(whole.content.bytes == in.bytes && (in.bytes == 0 || memcmp(whole.content.data, in.text, in.bytes) == 0));
  em_reply_message_clear(&whole);
  em_reply_message_clear(&pieces);
  em_arena_free(arena);
  return 0;
}
