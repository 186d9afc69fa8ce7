/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The splitter on styles written by hand: every notation, replies that are cut or malformed, and the limits. Every
 * reply is fed whole and byte by byte, with the same result. */
#include "check.h"

#include "base/clock.h"
#include "text/reply/reply.h"

static const em_reply_style thinking = {.think_start = "<think>", .think_end = "</think>", .turn_end = "<|end|>"};
static const em_reply_style opened = {
    .think_start = "<think>", .think_end = "</think>", .opens_thinking = true, .opened = "<think>\n"};
static const em_reply_style unmarked = {.think_end = "[FINAL]", .opens_thinking = true, .opened = "My steps:\n"};
static const em_reply_style special = {
    .think_start = "<|channel>thought", .think_end = "<channel|>", .stray = "<|channel>", .thinks_anywhere = true};
static const em_reply_style wrapped = {
    .content_start = "<|TEXT|>", .content_end = "<|END_TEXT|>", .turn_start = "<|BOT|>"};
static const em_reply_style json = {.think_start = "<think>",
                                    .think_end = "</think>",
                                    .syntax = EM_CALLS_JSON,
                                    .section_start = "<tool_call>",
                                    .section_end = "</tool_call>",
                                    .name_key = "name",
                                    .arguments_key = "arguments"};
static const em_reply_style keyed_by_name = {
    .syntax = EM_CALLS_JSON, .section_start = "<tools>", .section_end = "</tools>", .name_is_key = true};
static const em_reply_style bare = {
    .syntax = EM_CALLS_JSON, .call_start = "<|code|>", .name_key = "name", .arguments_key = "parameters"};
static const em_reply_style named = {.syntax = EM_CALLS_NAMED,
                                     .section_start = "<calls>",
                                     .section_end = "</calls>",
                                     .call_start = "<call>",
                                     .name_end = "<sep>",
                                     .call_end = "</call>"};
static const em_reply_style numbered = {
    .syntax = EM_CALLS_NAMED, .call_start = "<call>", .name_end = "<args>", .call_end = "</call>", .numbered = true};
static const em_reply_style with_id = {
    .syntax = EM_CALLS_NAMED, .call_start = "[CALL]", .name_end = "[ID]", .id_end = "[ARGS]", .id_follows = true};
static const em_reply_style after_id = {
    .syntax = EM_CALLS_NAMED, .call_start = "<call>", .id_end = "<name>", .name_end = "<args>", .call_end = "</call>"};
static const em_reply_style prompted = {
    .syntax = EM_CALLS_NAMED, .call_start = ">>>", .opens_call = true, .content_start = "all\n"};
static const em_reply_style tagged = {.think_start = "<think>",
                                      .think_end = "</think>",
                                      .syntax = EM_CALLS_TAGGED,
                                      .section_start = "<tool_call>",
                                      .section_end = "</tool_call>",
                                      .call_start = "<function=",
                                      .name_end = ">",
                                      .call_end = "</function>",
                                      .key_start = "<parameter=",
                                      .key_end = ">",
                                      .value_lead = "\n",
                                      .value_tail = "\n",
                                      .value_end = "</parameter>"};
static const em_reply_style pairs = {.syntax = EM_CALLS_TAGGED,
                                     .call_start = "<tool_call>",
                                     .call_end = "</tool_call>",
                                     .key_start = "<k>",
                                     .key_end = "</k>",
                                     .value_start = "<v>",
                                     .value_end = "</v>"};
static const em_reply_style typed = {.syntax = EM_CALLS_TAGGED,
                                     .call_start = "<invoke name=\"",
                                     .name_end = "\">",
                                     .call_end = "</invoke>",
                                     .key_start = "<p name=\"",
                                     .key_end = "\" text>",
                                     .key_end_other = "\" json>",
                                     .value_end = "</p>",
                                     .has_cdata = true};
static const em_reply_style nested = {.syntax = EM_CALLS_NESTED,
                                      .section_start = "]!<calls>",
                                      .section_end = "]!</calls>",
                                      .call_start = "]!<invoke name=\"",
                                      .name_end = "\">",
                                      .call_end = "]!</invoke>",
                                      .key_start = "]!"};
static const em_reply_style keyed = {
    .syntax = EM_CALLS_KEYED, .call_start = "<|call>call:", .call_end = "<call|>", .text_mark = "<|\"|>"};
static const em_reply_style python = {
    .syntax = EM_CALLS_PYTHON, .section_start = "<|start|>", .section_end = "<|end|>"};
static const em_reply_style channels = {.syntax = EM_CALLS_CHANNELS};

static const char tools_text[] =
    "[{\"name\":\"f\",\"parameters\":{\"properties\":{\"s\":{\"type\":\"string\"},\"n\":{\"type\":\"integer\"},"
    "\"u\":{\"type\":[\"string\",\"null\"]},\"e\":{\"enum\":[\"a\",\"b\"]},\"c\":{\"anyOf\":[{\"type\":\"string\"},{"
    "\"type\":"
    "\"integer\"}]},\"o\":{\"properties\":{\"s\":{\"type\":\"string\"}}},\"l\":{\"items\":{\"type\":\"string\"}}}}},"
    "{\"type\":\"function\",\"function\":{\"name\":\"g.h\",\"parameters\":{}}}]";
static const em_json *tools;

/* All of a message in one line: content|thinking|name id arguments|... */
static char *describe(const em_reply_message *message) {
  em_buffer text = {0};
  em_buffer_append(&text, message->content.data, message->content.bytes);
  em_buffer_append_text(&text, "|");
  em_buffer_append(&text, message->thinking.data, message->thinking.bytes);
  for (size_t i = 0; i < message->n_calls; i++) {
    const em_reply_call *call = &message->calls[i];
    em_buffer_append_text(&text, "|");
    em_buffer_append(&text, call->name.data, call->name.bytes);
    em_buffer_append_text(&text, " ");
    em_buffer_append(&text, call->id.data, call->id.bytes);
    em_buffer_append_text(&text, " ");
    em_buffer_append(&text, call->arguments.data, call->arguments.bytes);
  }
  return em_buffer_steal(&text);
}

static char *run(em_splitter_params params, const char *reply, size_t bytes, size_t piece, bool finishes) {
  em_reply_message message = {0};
  em_splitter *splitter = NULL;
  params.sink = em_reply_message_take;
  params.user = &message;
  CHECK_INT(em_splitter_new(&params, &splitter, NULL), EM_OK);
  for (size_t i = 0; i < bytes; i += piece)
    CHECK_INT(em_splitter_feed(splitter, reply + i, bytes - i < piece ? bytes - i : piece, NULL), EM_OK);
  if (finishes)
    CHECK_INT(em_splitter_finish(splitter, NULL), EM_OK);
  char *text = describe(&message);
  em_splitter_free(splitter);
  em_reply_message_clear(&message);
  return text;
}

static void check_with(em_splitter_params params, const char *reply, bool finishes, const char *expected) {
  size_t bytes = strlen(reply);
  for (size_t piece = bytes > 0 ? bytes : 1;; piece = piece / 2) {
    char *text = run(params, reply, bytes, piece, finishes);
    CHECK_TEXT(text, expected);
    free(text);
    if (piece == 1)
      break;
  }
}

static void check(const em_reply_style *style, const char *reply, const char *expected) {
  check_with((em_splitter_params){.style = style, .finds_calls = true, .tools = tools}, reply, true, expected);
}

static void check_cut(const em_reply_style *style, const char *reply, const char *expected) {
  check_with((em_splitter_params){.style = style, .finds_calls = true, .tools = tools}, reply, false, expected);
}

static void check_thinking(void) {
  check(&thinking, "Hello\n", "Hello\n|");
  check(&thinking, "\n<think>\nwhy\n</think>\n\nHello  there ", "Hello  there |why");
  check(&thinking, "<think></think>Hello", "Hello|");
  check(&thinking, "</think>Hello", "Hello|");
  check(&thinking, "Say <think> and </think> aloud", "Say <think> and </think> aloud|");
  check(&thinking, "<think>a < b\n\n<think> c</thin", "|a < b\n\n<think> c</thin");
  check(&thinking, "<thin", "<thin|");
  check(&thinking, "Hello<|end|>\n", "Hello|");
  check(&thinking, "In <|end|> of", "In <|end|> of|");
  check(&thinking, "", "|");
  check(&opened, "why</think>Hello", "Hello|why");
  check(&opened, "why", "|why");
  check(&unmarked, "one\n[FINAL]\nHello", "Hello|My steps:\none");
  check(&special, "<|channel><|channel>thought\nwhy<channel|>Hello<|channel>thought\nmore<channel|><channel|> there",
        "Hellothere|whymore");
  check(&wrapped, "<|BOT|><|TEXT|>Hello<|END_TEXT|>", "Hello|");
  check(&wrapped, "Hello <|END_TEXT|> there", "Hello <|END_TEXT|> there|");
  check_with((em_splitter_params){.style = &opened, .keeps_thinking = true}, "why\n</think>\nHello", true,
             "<think>\nwhy\n</think>\nHello|");
  check_with((em_splitter_params){.style = &thinking, .keeps_thinking = true}, " <think> why </think> Hello", true,
             " <think> why </think> Hello|");
  check_with((em_splitter_params){.style = &thinking, .start = EM_REPLY_IN_THINKING}, " so</think> Hello", true,
             "Hello| so");
  check_with((em_splitter_params){.style = &thinking, .start = EM_REPLY_IN_CONTENT}, " there", true, " there|");
  check_with((em_splitter_params){.style = &thinking, .is_json = true}, "{\"a\": 1}\n\n", true, "{\"a\": 1}|");
}

static void check_json(void) {
  check(&json, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"s\":\"x\", \"n\" :[1,2.5e3,true,null]}}\n</tool_call>",
        "||f  {\"s\": \"x\", \"n\": [1, 2.5e3, true, null]}");
  check(&json,
        "Well.\n<tool_call>{\"arguments\":{},\"id\":\"7\",\"name\":\"f\"}</tool_call>\n<tool_call>{\"name\":\"f\"}",
        "Well.\n||f 7 {}|f  {}");
  check(
      &json,
      "<tool_call>[{\"name\":\"f\",\"arguments\":{}}, {\"name\":\"g\",\"arguments\":{},\"id\":\"b\"}]</tool_call> Done",
      "Done||f  {}|g b {}");
  check(
      &json,
      "<tool_call>{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"s\\\": \\\"\\u00e9\\\"}\"}}",
      "||f  {\"s\": \"\xC3\xA9\"}");
  /* A line break in a text, an escape nobody knows, half of a pair. */
  check(&json, "<tool_call>{\"name\":\"f\",\"arguments\":{\"s\":\"a\nb\\d\\ud83d\\ud83d\\ude00\"}}",
        "||f  {\"s\": \"a\\nb\\\\d\xEF\xBF\xBD\xF0\x9F\x98\x80\"}");
  /* No calls. */
  check(&json, "<tool_call> is a mark", "<tool_call> is a mark|");
  check(&json, "<tool_call>\n{\"no\": \"name\"}\n</tool_call> x", "<tool_call>\n{\"no\": \"name\"}\n</tool_call> x|");
  check(&json, "<tool_call>[]</tool_call>", "<tool_call>[]</tool_call>|");
  check(&json, "<tool_call>{\"name\": \"", "<tool_call>{\"name\": \"|");
  check(&json, "<tool_call><tool_call>{\"name\":\"f\"}", "<tool_call>||f  {}");
  check_with((em_splitter_params){.style = &json}, "<tool_call>{\"name\":\"f\"}", true, "<tool_call>{\"name\":\"f\"}|");
  /* Arguments that break keep what they had. */
  check(&json, "<tool_call>{\"name\":\"f\",\"arguments\":{\"s\":1,nonsense}}", "nonsense}}||f  {\"s\": 1");
  check_cut(&json, "<tool_call>{\"name\":\"f\",\"arguments\":{\"s\":", "||f  {\"s\": ");
  check_cut(&json, "<tool_call>{\"name\":\"f\",\"arguments\":{\"s", "||f  {\"s");
  /* In thinking a call counts if only calls follow. */
  check(&json, "<think>so <tool_call>{\"name\":\"f\"}</tool_call>\n", "|so|f  {}");
  check(&json, "<think>so <tool_call>{\"name\":\"f\"}</tool_call>\n<tool_call>{\"name\":\"g\"}</tool_call>",
        "|so|f  {}|g  {}");
  check(&json, "<think>so <tool_call>{\"name\":\"f\"}</tool_call> hm\n</think>Yes",
        "Yes|so <tool_call>{\"name\":\"f\"}</tool_call> hm");
  check(&json, "<think>so <tool_call>{\"name\":\"f\",\"arguments\":{\"s\":\"</think>Yes",
        "Yes|so <tool_call>{\"name\":\"f\",\"arguments\":{\"s\":\"");
  check(&json, "<think>so <tool_call> no</think>Yes", "Yes|so <tool_call> no");
  check(&keyed_by_name, "<tools>[{\"f\": {\"s\": \"x\"}}, {\"g\": {}}]</tools>", "||f  {\"s\": \"x\"}|g  {}");
  check(&bare, " {\"name\": \"f\", \"parameters\": {\"s\": \"x\"}}", "||f  {\"s\": \"x\"}");
  check(&bare, "{\"name\": \"unknown\", \"parameters\": {}}", "{\"name\": \"unknown\", \"parameters\": {}}|");
  check(&bare, "<|code|>{\"name\": \"f\", \"parameters\": {}}", "||f  {}");
  check(&bare, "<|code|>print(1)", "<|code|>print(1)|");
  check(&bare, "[1, 2]", "[1, 2]|");
  check(&bare, "See {\"name\": \"f\"}", "See {\"name\": \"f\"}|");
}

static void check_named(void) {
  check(&named, "Hm<calls><call>f<sep>{\"s\":\"x\"}</call>\n<call>g<sep>{}</call></calls>",
        "Hm||f  {\"s\": \"x\"}|g  {}");
  check(&named, "<call>f<sep>{}", "||f  {}");
  check(&named, "<call>f<sep>no", "<call>f<sep>no|");
  check(&named, "<calls>no", "<calls>no|");
  check(&named, "<call>two words<sep>{}", "<call>two words<sep>{}|");
  check(&numbered, "<call>functions.f:0<args>{}</call><call>functions.f:12<args>{}</call>",
        "||f functions.f:0 {}|f functions.f:12 {}");
  check(&with_id, "[CALL]f[ID]123[ARGS]{\"a\": 1}[CALL]f[ARGS]{}", "||f 123 {\"a\": 1}|f  {}");
  check(&after_id, "<call>i1<name>f<args>{}</call><call>i2<name>f<args>{}</call>", "||f i1 {}|f i2 {}");
  check(&prompted, "all\nHello", "Hello|");
  check(&prompted, "f\n{\"s\": \"x\"}>>>g\n{}", "||f  {\"s\": \"x\"}|g  {}");
  check(&prompted, "all\nHello\n>>>f\n{}", "Hello\n||f  {}");
  check(&keyed,
        "Hi<|call>call:f{s:<|\"|>a \"b\"<|\"|>,n:-7,l:[<|\"|>x<|\"|>,1.5e10],o:{k:null}}<call|><|call>call:g{}<call|>",
        "Hi||f  {\"s\": \"a \\\"b\\\"\", \"n\": -7, \"l\": [\"x\", 1.5e10], \"o\": {\"k\": null}}|g  {}");
  check(&python, "<|start|>[f(s='it''s', n=1), g.h(a=\"x\\n\\x41\", b=[True, None], c={'k': 1})]<|end|>",
        "'s', n=1), g.h(a=\"x\\n\\x41\", b=[True, None], c={'k': 1})]<|end|>||f  {\"s\": \"it\"");
  check(&python, "<|start|>[f(), g.h(a=\"x\\n\\x41\", b=[True, None], c={'k': 1})]<|end|>",
        "||f  {}|g.h  {\"a\": \"x\\nA\", \"b\": [true, null], \"c\": {\"k\": 1}}");
  check(&python, "a [link](url)", "a [link](url)|");
  check_cut(&python, "<|start|>[f(n=", "||f  {\"n\": ");
}

static void check_tagged(void) {
  check(&tagged,
        "<tool_call>\n<function=f>\n<parameter=s>\n  "
        "a\n\n</parameter>\n<parameter=n>\n1\n</parameter>\n</function>\n</tool_call>",
        "||f  {\"s\": \"  a\\n\", \"n\": 1}");
  check(&tagged, "Yes.\n<function=f>\n</function>\n</tool_call>\n<tool_call><function=g></function></tool_call> Done",
        "Yes.\nDone||f  {}|g  {}");
  /* What the schema says. */
  check(&tagged, "<function=f><parameter=s>\"1\"</parameter><parameter=n>x</parameter></function>",
        "||f  {\"s\": \"\\\"1\\\"\", \"n\": \"x\"}");
  check(&tagged,
        "<function=f><parameter=u>null</parameter><parameter=e>b</parameter><parameter=c>5</parameter></function>",
        "||f  {\"u\": null, \"e\": \"b\", \"c\": 5}");
  check(
      &tagged,
      "<function=f><parameter=u>12</parameter><parameter=unknown>12</parameter><parameter=c>5 a</parameter></function>",
      "||f  {\"u\": \"12\", \"unknown\": 12, \"c\": \"5 a\"}");
  check(&tagged, "<think>so\n<tool_call>\n<function=f>\n</function>\n</tool_call>", "|so|f  {}");
  check(&tagged, "<function=two words>", "<function=two words>|");
  check(&tagged, "<tool_call>{\"name\": \"f\"}</tool_call>", "<tool_call>{\"name\": \"f\"}</tool_call>|");
  check(&tagged, "<function=f>oh no</function>", "oh no</function>||f  {");
  check(&tagged, "<function=f><parameter=two words></function>", "<parameter=two words></function>||f  {");
  check_cut(&tagged, "<function=f><parameter=s>ab", "||f  {\"s\": \"ab");
  check(&pairs, "<tool_call>f\n<k>s</k>\n<v>x\ny</v>\n<k>n</k><v>2</v></tool_call><tool_call>g</tool_call>",
        "||f  {\"s\": \"x\\ny\", \"n\": 2}|g  {}");
  check(&typed, "<invoke name=\"f\">\n<p name=\"n\" text>5</p><p name=\"s\" json>[1]</p>\n</invoke>",
        "||f  {\"n\": \"5\", \"s\": [1]}");
  check(&typed, "<invoke name=\"f\"><p name=\"s\" text><![CDATA[<p></p>]]></p></invoke>", "||f  {\"s\": \"<p></p>\"}");
  check(&nested,
        "]!<calls>\n]!<invoke "
        "name=\"f\">]!<s>x]!</s>]!<o>]!<s>1]!</s>]!<m>2]!</m>]!</o>]!<l>]!<item>a]!</item>]!<item>b]!</item>]!</l>"
        "]!</invoke>\n]!</calls>",
        "||f  {\"s\": \"x\", \"o\": {\"s\": \"1\", \"m\": 2}, \"l\": [\"a\", \"b\"]}");
}

static void check_channels(void) {
  check(&channels, "<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>Hello",
        "Hello|why");
  check(&channels, " to=functions.f<|channel|>commentary json<|message|>{\"s\":\"x\"}<|call|>", "||f  {\"s\": \"x\"}");
  check(&channels,
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|end|><|start|>assistant<|channel|>final"
        "<|message|>Done<|return|>",
        "Done||f  {}");
  check(&channels, "Hello", "Hello|");
  check(&channels, "<|channel|>commentary to=nobody<|message|>x", "x|");
  check(&channels, "<|channel|>analysis to=f<|message|>not json", "<|channel|>analysis to=f<|message|>not json|");
  check_with((em_splitter_params){.style = &channels, .keeps_thinking = true},
             "<|channel|>analysis<|message|>why<|end|><|start|>assistant<|channel|>final<|message|>Hello", true,
             "<|channel|>analysis<|message|>why<|end|>Hello|");
}

static void fill(char *text, size_t bytes, const char *pattern) {
  for (size_t i = 0, n = strlen(pattern); i < bytes; i++)
    text[i] = pattern[i % n];
}

/* A quarter of a megabyte of anything is split in a moment, also byte by byte. */
static void check_time(void) {
  enum { BYTES = 256 << 10 };
  static const struct {
    const em_reply_style *style;
    const char *start, *pattern;
  } inputs[] = {
      {&json, "", "<tool_call>"},
      {&json, "<think>", "<tool_call>{\"name\":\"f\"}</tool_call>"},
      {&json, "<think>", "<tool_call>{\"name\":\"f\",\"arguments\":"},
      {&json, "<think>", "\n"},
      {&json, "", "<tool_call>{\"x\":\""},
      {&json, "<tool_call>{\"arguments\":", "[[[["},
      {&json, "<tool_call>{\"arguments\":[", "1,"},
      {&bare, "", "{\"name\":\"f\","},
      {&named, "", "<call>f<sep>"},
      {&tagged, "<function=f>", "<parameter=s>"},
      {&tagged, "<function=f><parameter=x>", "\n"},
      {&nested, "]!<invoke name=\"f\">", "]!<a>"},
      {&keyed, "<|call>call:f{a:", "{a:"},
      {&python, "<|start|>[f(", "a=1,"},
      {&channels, "", "<|start|>"},
      {&channels, "", "<|channel|>analysis<|message|>x<|end|>"},
      {&thinking, "", "<|end|>"},
  };
  char *text = malloc(BYTES);
  for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
    size_t n = strlen(inputs[i].start);
    em_splitter_params params = {.style = inputs[i].style, .finds_calls = true};
    memcpy(text, inputs[i].start, n);
    fill(text + n, BYTES - n, inputs[i].pattern);
    uint64_t began = em_now_ns();
    char *whole = run(params, text, BYTES, BYTES, true), *bytes = run(params, text, BYTES, 1, true);
    double seconds = (double)(em_now_ns() - began) / 1e9;
    CHECK(strcmp(whole, bytes) == 0);
    if (seconds > 3)
      fprintf(stderr, "\"%s%s\": %.1f s\n", inputs[i].start, inputs[i].pattern, seconds);
    CHECK(seconds <= 3);
    free(whole);
    free(bytes);
  }
  free(text);
}

static void check_limits(void) {
  em_buffer text = {0};
  em_reply_message message = {0};
  em_splitter *splitter = NULL;
  em_splitter_params params = {.style = &json, .finds_calls = true, .sink = em_reply_message_take, .user = &message};
  for (size_t i = 0; i < EM_REPLY_MAX_CALLS + 10; i++)
    em_buffer_append_text(&text, "<tool_call>{\"name\":\"f\"}</tool_call>");
  CHECK_INT(em_splitter_new(&params, &splitter, NULL), EM_OK);
  CHECK_INT(em_splitter_feed(splitter, text.data, text.bytes, NULL), EM_OK);
  CHECK_INT(em_splitter_finish(splitter, NULL), EM_OK);
  CHECK_INT(message.n_calls, EM_REPLY_MAX_CALLS);
  CHECK(message.content.bytes > 0);
  em_splitter_free(splitter);
  em_reply_message_clear(&message);
  em_buffer_clear(&text);
}

int main(void) {
  em_arena *arena = em_arena_new(0);
  CHECK_INT(em_json_parse(arena, tools_text, sizeof tools_text - 1, 0, &tools, NULL), EM_OK);
  check_thinking();
  check_json();
  check_named();
  check_tagged();
  check_channels();
  check_limits();
  check_time();
  em_arena_free(arena);
  return check_done();
}
