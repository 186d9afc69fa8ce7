/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Styles read off templates written for this test: what is found is what the template does, whatever its marks are
 * called. */
#include "check.h"

#include "text/style.h"

#define TURNS(answer)                                                                                            \
  "{% for m in messages %}{% if m.role == 'user' %}<U>{{ m.content }}</U>{% else %}<A>" answer "</A>{% endif %}" \
  "{% endfor %}{% if add_generation_prompt %}<A>{% endif %}"
#define THOUGHT "{% if m.reasoning_content %}<ponder>\n{{ m.reasoning_content }}\n</ponder>\n\n{% endif %}"
#define CALLS(call) "{{ m.content }}{% for t in m.tool_calls %}" call "{% endfor %}"

static em_reply_style find(const char *source, bool thinks) {
  em_style_params params = {.source = source, .source_bytes = strlen(source), .bos = "", .eos = "</A>"};
  em_template *template_ = NULL;
  em_reply_style style;
  em_error error = {0};
  CHECK_INT(em_template_new(source, strlen(source), &template_, &error), EM_OK);
  params.template_ = template_;
  params.has_thinking = true;
  params.thinking = thinks;
  CHECK_INT(em_style_find(&params, &style, &error), EM_OK);
  em_template_free(template_);
  return style;
}

static void check_thinking(void) {
  em_reply_style style = find(TURNS(THOUGHT "{{ m.content }}"), true);
  CHECK_TEXT(style.think_start, "<ponder>");
  CHECK_TEXT(style.think_end, "</ponder>");
  CHECK(!style.opens_thinking && style.syntax == EM_CALLS_NONE);
  CHECK_TEXT(style.content_end, "</A>");
  style = find(
      TURNS(THOUGHT "{{ m.content }}") "{% if add_generation_prompt and enable_thinking %}<ponder>\n{% endif %}", true);
  CHECK(style.opens_thinking);
  CHECK_TEXT(style.opened, "<ponder>\n");
  style =
      find(TURNS(THOUGHT "{{ m.content }}") "{% if add_generation_prompt and enable_thinking %}<ponder>\n{% endif %}",
           false);
  CHECK(!style.opens_thinking);
  /* Marks the template only speaks of. */
  style = find(TURNS("{{ m.content.split('</think>')[-1] }}") "{# <think> #}{{ '<think>' if false }}", true);
  CHECK_TEXT(style.think_start, "<think>");
  style = find(TURNS("<SAY>{{ m.content }}</SAY>"), true);
  CHECK_TEXT(style.content_start, "<SAY>");
  CHECK_TEXT(style.content_end, "</SAY>");
  CHECK_TEXT(style.turn_end, "</A>");
}

static void check_calls(void) {
  em_reply_style style = find(
      TURNS(THOUGHT CALLS(
          "{{ '\n' }}<do>\n{\"fn\": \"{{ t.function.name }}\", \"with\": {{ t.function.arguments | tojson }}}\n</do>")),
      true);
  CHECK_INT(style.syntax, EM_CALLS_JSON);
  CHECK_TEXT(style.section_start, "<do>");
  CHECK_TEXT(style.section_end, "</do>");
  CHECK_TEXT(style.section_lead, "\n");
  CHECK_TEXT(style.name_key, "fn");
  CHECK_TEXT(style.arguments_key, "with");
  CHECK_TEXT(style.think_start, "<ponder>");
  style =
      find(TURNS("{% if m.tool_calls %}<all>{% endif %}" CALLS(
               "<one>{{ t.id }}<f>{{ t.function.name }}<with>{{ t.function.arguments | tojson }}</one>") "{% if "
                                                                                                         "m.tool_calls "
                                                                                                         "%}</all>{% "
                                                                                                         "endif %}"),
           true);
  CHECK_INT(style.syntax, EM_CALLS_NAMED);
  CHECK_TEXT(style.section_start, "<all>");
  CHECK_TEXT(style.section_end, "</all>");
  CHECK_TEXT(style.call_start, "<one>");
  CHECK_TEXT(style.id_end, "<f>");
  CHECK_TEXT(style.name_end, "<with>");
  CHECK_TEXT(style.call_end, "</one>");
  CHECK(!style.id_follows && !style.numbered);
  style =
      find(TURNS(CALLS(
               "<call>\n<f={{ t.function.name }}>\n{% for k, v in t.function.arguments.items() %}<p={{ k }}>\n{{ v }}\n"
               "</p>\n{% endfor %}</f>\n</call>")),
           true);
  CHECK_INT(style.syntax, EM_CALLS_TAGGED);
  CHECK_TEXT(style.section_start, "<call>");
  CHECK_TEXT(style.call_start, "<f=");
  CHECK_TEXT(style.name_end, ">");
  CHECK_TEXT(style.key_start, "<p=");
  CHECK_TEXT(style.key_end, ">");
  CHECK_TEXT(style.value_lead, "\n");
  CHECK_TEXT(style.value_tail, "\n");
  CHECK_TEXT(style.value_end, "</p>");
  CHECK_TEXT(style.call_end, "</f>");
  CHECK_TEXT(style.section_end, "</call>");
  style =
      find(TURNS(CALLS(
               "<call>{{ t.function.name }}\n{% for k, v in t.function.arguments.items() %}<k>{{ k }}</k>\n<v>{{ v }}"
               "</v>\n{% endfor %}</call>")),
           true);
  CHECK_INT(style.syntax, EM_CALLS_TAGGED);
  CHECK_TEXT(style.call_start, "<call>");
  CHECK_TEXT(style.key_end, "</k>");
  CHECK_TEXT(style.value_start, "<v>");
  CHECK_TEXT(style.value_end, "</v>");
  CHECK_TEXT(style.call_end, "</call>");
  style =
      find(TURNS(CALLS(
               "~!<i={{ t.function.name }}>{% for k, v in t.function.arguments.items() %}~!<{{ k }}>{{ v }}~!</{{ k }}>"
               "{% endfor %}~!</i>")),
           true);
  CHECK_INT(style.syntax, EM_CALLS_NESTED);
  CHECK_TEXT(style.key_start, "~!");
  CHECK_TEXT(style.call_start, "~!<i=");
  CHECK_TEXT(style.call_end, "~!</i>");
  style = find(
      TURNS(CALLS(
          "<c>{{ t.function.name }}{{ '{' }}{% for k, v in t.function.arguments.items() %}{{ k }}:{{ '^^' + v + '^^' "
          "if v is string else v }}{% if not loop.last %},{% endif %}{% endfor %}{{ '}' }}</c>")),
      true);
  CHECK_INT(style.syntax, EM_CALLS_KEYED);
  CHECK_TEXT(style.text_mark, "^^");
  CHECK_TEXT(style.call_start, "<c>");
  CHECK_TEXT(style.call_end, "</c>");
  style = find(TURNS("{% if m.tool_calls %}<py>[{% for t in m.tool_calls %}{{ t.function.name }}({% for k, v in "
                     "t.function.arguments.items() %}{{ k }}={{ v | tojson }}{% if not loop.last %}, {% endif %}{% "
                     "endfor %}){% if not "
                     "loop.last %}, {% endif %}{% endfor %}]</py>{% else %}{{ m.content }}{% endif %}"),
               true);
  CHECK_INT(style.syntax, EM_CALLS_PYTHON);
  CHECK_TEXT(style.section_start, "<py>");
  CHECK_TEXT(style.section_end, "</py>");
  /* Arguments as a text only, content none, one call at most. */
  style = find(
      TURNS(
          "{% if m.content is none %}{% if m.tool_calls | length > 1 %}{{ raise_exception('one') }}{% endif %}[F] "
          "{{ m.tool_calls[0].function.name }} [A] {{ m.tool_calls[0].function.arguments + '' }}{% else %}{{ m.content "
          "}}{% endif %}"),
      true);
  CHECK_INT(style.syntax, EM_CALLS_NAMED);
  CHECK_TEXT(style.call_start, "[F]");
  CHECK_TEXT(style.name_end, "[A]");
  style = find(TURNS("{{ m.content }}") "{# #}{{ '<tool_call>' if false }}", true);
  CHECK_INT(style.syntax, EM_CALLS_JSON);
  style = find(TURNS("{{ m.content }}") "{{ '<|start|><|channel|><|message|>' if false }}", true);
  CHECK_INT(style.syntax, EM_CALLS_CHANNELS);
}

/* A call without marks, and what may stand before it; which control tokens a splitter must see. */
static void check_bare(void) {
  em_reply_style style = find(TURNS(CALLS("{\"name\": \"{{ t.function.name }}\", \"parameters\": {{ "
                                          "t.function.arguments | tojson }}}")) "{{ '<|python_tag|>' if false }}",
                              true);
  CHECK_INT(style.syntax, EM_CALLS_JSON);
  CHECK_TEXT(style.section_start, "");
  CHECK_TEXT(style.call_start, "<|python_tag|>");
  CHECK_TEXT(style.arguments_key, "parameters");
  CHECK(em_reply_style_has(&style, "<|python_tag|>", 14));
  CHECK(!em_reply_style_has(&style, "</A>", 4) && !em_reply_style_has(&style, "", 0));
  CHECK(em_reply_style_has(&(em_reply_style){.syntax = EM_CALLS_CHANNELS}, "<|channel|>", 11));
}

/* Templates that are of no use give a style that leaves everything as it is. */
static void check_useless(void) {
  static const char *const sources[] = {"",
                                        "Hello",
                                        "{{ raise_exception('no') }}",
                                        "{% for i in range(1000000000) %}x{% endfor %}",
                                        "{{ messages[0].content * 99 }}",
                                        "{{ messages }}{{ tools }}",
                                        "hearthaskhearthfnhearthkeyhearthvaluehearthmore907413",
                                        "hearthask hearthfn({'hearthkey': hearthvalue, 'hearthmore': 907413",
                                        "hearthask[{hearthfnhearthkey:hearthvaluehearthmore907413}"};
  for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
    em_reply_style style = find(sources[i], true);
    CHECK(!style.opens_thinking && style.think_start[0] == 0);
  }
}

int main(void) {
  check_thinking();
  check_calls();
  check_bare();
  check_useless();
  return check_done();
}
