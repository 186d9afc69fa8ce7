/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Failing allocations while a style is looked for and replies of every notation are split. */
#include "alloc.h"
#include "text/style.h"

static const char source[] =
    "{% for m in messages %}<A>{% if m.reasoning_content %}<t>{{ m.reasoning_content }}</t>{% endif %}{{ m.content }}"
    "{% for t in m.tool_calls or [] %}\n<c>{\"name\": \"{{ t.function.name }}\", \"arguments\": {{ "
    "t.function.arguments | "
    "tojson }}}</c>{% endfor %}</A>{% endfor %}{% if add_generation_prompt %}<A><t>{% endif %}";

static em_status scenario_style(void) {
  em_template *template_ = NULL;
  em_style_params params = {.source = source, .source_bytes = sizeof source - 1, .bos = "", .eos = "</A>"};
  em_reply_style style;
  em_error error = {0};
  em_status status = em_template_new(source, sizeof source - 1, &template_, &error);
  params.template_ = template_;
  if (status == EM_OK)
    status = em_style_find(&params, &style, &error);
  if (status == EM_OK) {
    CHECK_INT(style.syntax, EM_CALLS_JSON);
    CHECK_TEXT(style.think_end, "</t>");
  }
  em_template_free(template_);
  return status;
}

static const struct {
  em_reply_style style;
  const char *reply;
  size_t n_calls;
} replies[] = {
    {{.think_start = "<t>",
      .think_end = "</t>",
      .syntax = EM_CALLS_JSON,
      .section_start = "<c>",
      .section_end = "</c>"},
     "<t>why <c>{\"name\":\"f\"}</c> not\n\n</t>Hello "
     "<c>{\"id\":\"1\",\"arguments\":{\"a\":[1,\"b\"]},\"name\":\"f\"}</c> <c>no",
     1},
    {{.think_start = "<t>",
      .think_end = "</t>",
      .syntax = EM_CALLS_JSON,
      .section_start = "<c>",
      .section_end = "</c>"},
     "<t>why <c>{\"name\":\"f\",\"arguments\":{\"a\":\"b\"}}</c>",
     1},
    {{.syntax = EM_CALLS_NAMED, .call_start = "<c>", .name_end = "<a>", .call_end = "</c>", .numbered = true},
     "So<c>functions.f:0<a>{\"a\":1}</c><c>functions.f:1<a>{}</c>",
     2},
    {{.syntax = EM_CALLS_TAGGED,
      .call_start = "<f=",
      .name_end = ">",
      .call_end = "</f>",
      .key_start = "<p=",
      .key_end = ">",
      .value_end = "</p>"},
     "<f=f><p=a>text and more</p><p=b>[1, 2]</p></f><f=",
     1},
    {{.syntax = EM_CALLS_NESTED, .call_start = "!<f=", .name_end = ">", .call_end = "!</f>", .key_start = "!"},
     "!<f=f>!<a>!<b>1!</b>!<c>text!</c>!</a>!</f>",
     1},
    {{.syntax = EM_CALLS_KEYED, .call_start = "<c>", .call_end = "</c>", .text_mark = "^"}, "<c>f{a:^b^,c:[1]}</c>", 1},
    {{.syntax = EM_CALLS_PYTHON, .section_start = "<c>", .section_end = "</c>"}, "<c>[f(a='b'), g(c=True)]</c>", 2},
    {{.syntax = EM_CALLS_CHANNELS},
     "<|channel|>analysis<|message|>why<|end|><|start|>assistant "
     "to=functions.f<|channel|>commentary<|message|>{\"a\":1}<|call|>",
     1},
};

static em_status split(const em_reply_style *style, const char *reply, size_t n_calls) {
  em_reply_message message = {0};
  em_splitter *splitter = NULL;
  em_splitter_params params = {.style = style, .finds_calls = true, .sink = em_reply_message_take, .user = &message};
  em_error error = {0};
  em_status status = em_splitter_new(&params, &splitter, &error);
  CHECK((status == EM_OK) == (splitter != NULL));
  for (size_t i = 0, n = strlen(reply); i < n && status == EM_OK; i += 3)
    status = em_splitter_feed(splitter, reply + i, n - i < 3 ? n - i : 3, &error);
  if (status == EM_OK)
    status = em_splitter_finish(splitter, &error);
  if (status == EM_OK)
    CHECK_INT(message.n_calls, n_calls);
  CHECK_INT(error.code, status);
  em_splitter_free(splitter);
  em_reply_message_clear(&message);
  return status;
}

static em_status scenario_split(void) {
  em_status status = EM_OK;
  for (size_t i = 0; i < sizeof replies / sizeof replies[0] && status == EM_OK; i++)
    status = split(&replies[i].style, replies[i].reply, replies[i].n_calls);
  return status;
}

int main(void) {
  check_scenario("style", scenario_style);
  check_scenario("split", scenario_split);
  return check_done();
}
