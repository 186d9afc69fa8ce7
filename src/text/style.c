/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "text/style-private.h"

/* --- Parts of text ------------------------------------------------------------------------------------------------ */

static bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

em_part em_part_of(const char *text) {
  return (em_part){text, strlen(text)};
}

em_part em_part_between(const char *from, const char *to) {
  return (em_part){from, (size_t)(to - from)};
}

em_part em_part_trim(em_part part) {
  while (part.bytes > 0 && is_space(part.text[0]))
    part = em_part_behind(part, 1);
  while (part.bytes > 0 && is_space(part.text[part.bytes - 1]))
    part.bytes--;
  return part;
}

em_part em_part_behind(em_part part, size_t bytes) {
  return (em_part){part.text + bytes, part.bytes - bytes};
}

const char *em_part_find(em_part part, const char *word) {
  return memmem(part.text, part.bytes, word, strlen(word));
}

const char *em_part_find_last(em_part part, const char *word) {
  const char *last = NULL;
  size_t n = strlen(word);
  for (const char *at = em_part_find(part, word); at && n > 0; at = em_part_find(part, word)) {
    last = at;
    part = em_part_between(at + 1, part.text + part.bytes);
  }
  return last;
}

bool em_part_starts(em_part part, em_part start) {
  return part.bytes >= start.bytes && memcmp(part.text, start.text, start.bytes) == 0;
}

size_t em_part_tag(em_part part) {
  char end;
  if (part.bytes < 2 || (part.text[0] != '<' && part.text[0] != '['))
    return 0;
  end = part.text[0] == '<' ? '>' : ']';
  for (size_t i = 1; i < part.bytes && part.text[i] != '\n'; i++)
    if (part.text[i] == end)
      return i + 1;
  return 0;
}

size_t em_part_common_start(em_part a, em_part b) {
  size_t n = 0;
  while (n < a.bytes && n < b.bytes && a.text[n] == b.text[n])
    n++;
  for (size_t i = n; i > 0 && a.text[i - 1] != '>' && a.text[i - 1] != ']'; i--)
    if (a.text[i - 1] == '<' || a.text[i - 1] == '[')
      return i - 1;
  return n;
}

size_t em_part_common_end(em_part a, em_part b) {
  size_t n = 0;
  while (n < a.bytes && n < b.bytes && a.text[a.bytes - n - 1] == b.text[b.bytes - n - 1])
    n++;
  return n;
}

void em_mark_set(char *mark, em_part part) {
  if (part.bytes >= EM_REPLY_MARK_BYTES || memchr(part.text, 0, part.bytes))
    part.bytes = 0;
  memcpy(mark, part.text, part.bytes);
  mark[part.bytes] = 0;
}

/* --- Rendering ---------------------------------------------------------------------------------------------------- */

#define FUNCTION(id, arguments)                                                                                       \
  "{\"id\":\"" id "\",\"type\":\"function\",\"function\":{\"name\":\"" EM_WORD_FUNCTION "\",\"arguments\":" arguments \
  "}}"
#define MAPPING "{\"" EM_WORD_KEY "\":\"" EM_WORD_VALUE "\",\"" EM_WORD_KEY_2 "\":" EM_WORD_VALUE_2 "}"
#define STRING \
  "\"{\\\"" EM_WORD_KEY "\\\": \\\"" EM_WORD_VALUE "\\\", \\\"" EM_WORD_KEY_2 "\\\": " EM_WORD_VALUE_2 "}\""
#define ANSWER(content, more) ",{\"role\":\"assistant\",\"content\":" content more "}"
#define THOUGHT                                                                     \
  ",\"reasoning_content\":\"" EM_WORD_THOUGHT "\",\"reasoning\":\"" EM_WORD_THOUGHT \
  "\",\"thinking\":\"" EM_WORD_THOUGHT "\""
#define CALLS(content, calls) ANSWER(content, ",\"tool_calls\":[" calls "]")

/* The function on offer is another one, so that the words of the call stand only in the call. */
static const char offer[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"hearthother\",\"description\":\"d\",\"parameters\":{\"type\":"
    "\"object\","
    "\"properties\":{\"x\":{\"type\":\"string\",\"description\":\"x\"}},\"required\":[\"x\"]}}}]";

/* Processor time that one render may take for others to be tried: a good template needs far less. */
#define MAX_RENDER_NS 30000000

static int64_t processor_ns(void) {
  struct timespec now;
  return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0 ? now.tv_sec * INT64_C(1000000000) + now.tv_nsec : 0;
}

/* Renders the question and what follows it. *out stays NULL where the template does not want it. */
static em_status render_with(const em_style_params *params, const char *tools, const char *answer, char **out,
                             bool *gave_up, em_error *error) {
  em_status status = EM_OK;
  em_buffer text = {0};
  em_rendered rendered = {0};
  em_arena *arena = em_arena_new(0);
  const em_json *context;
  const char *question;
  int64_t began_ns;
  if (*gave_up)
    goto fail;
  em_buffer_appendf(&text, "{\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}%s],\"tools\":%s", EM_WORD_QUESTION,
                    answer, tools);
  em_buffer_append_text(&text, ",\"functions\":\"[]\",\"datetime\":\"\",\"documents\":null");
  em_buffer_appendf(&text, ",\"add_generation_prompt\":%s,\"bos_token\":", answer[0] ? "false" : "true");
  em_json_write_string(&text, params->bos, strlen(params->bos));
  em_buffer_append_text(&text, ",\"eos_token\":");
  em_json_write_string(&text, params->eos, strlen(params->eos));
  if (params->has_thinking || answer[0])
    em_buffer_appendf(&text, ",\"enable_thinking\":%s", params->thinking || answer[0] ? "true" : "false");
  if (params->thinking_key && (params->has_thinking || answer[0]))
    em_buffer_appendf(&text, ",\"%s\":%s", params->thinking_key, params->thinking || answer[0] ? "true" : "false");
  em_buffer_append_text(&text, "}");
  if (!arena || text.failed)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the chat template"));
  EM_TRY(em_json_parse(arena, text.data, text.bytes, 0, &context, error));
  began_ns = processor_ns();
  status = em_template_render(params->template_, context, params->now_unix_s, &rendered, NULL);
  if (status == EM_ERR_NO_MEMORY)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the chat template"));
  *gave_up = status == EM_ERR_LIMIT || processor_ns() - began_ns > MAX_RENDER_NS;
  if (status == EM_OK) {
    question = em_part_find_last((em_part){rendered.text, rendered.bytes}, EM_WORD_QUESTION);
    if (question && !(*out = strdup(question + strlen(EM_WORD_QUESTION))))
      EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the chat template"));
  }
  status = EM_OK;
fail:
  em_rendered_clear(&rendered);
  em_buffer_clear(&text);
  em_arena_free(arena);
  return status;
}

/* The same, with no function on offer where the template fails over them. */
static em_status render(const em_style_params *params, const char *answer, char **out, bool *gave_up, em_error *error) {
  em_status status = render_with(params, offer, answer, out, gave_up, error);
  return status != EM_OK || *out ? status : render_with(params, "null", answer, out, gave_up, error);
}

/* Templates differ in how they want a call; the first way that shows its words is taken. */
static em_status render_calls(const em_style_params *params, em_renders *out, em_error *error) {
  static const char *const ways[][2] = {
      {CALLS("\"\"", FUNCTION(EM_WORD_ID, MAPPING)),
       CALLS("\"\"", FUNCTION(EM_WORD_ID, MAPPING) "," FUNCTION(EM_WORD_ID_2, MAPPING))},
      {CALLS("null", FUNCTION(EM_WORD_ID, MAPPING)),
       CALLS("null", FUNCTION(EM_WORD_ID, MAPPING) "," FUNCTION(EM_WORD_ID_2, MAPPING))},
      {CALLS("\"\"", FUNCTION(EM_WORD_ID, STRING)),
       CALLS("\"\"", FUNCTION(EM_WORD_ID, STRING) "," FUNCTION(EM_WORD_ID_2, STRING))},
      {CALLS("null", FUNCTION(EM_WORD_ID, STRING)),
       CALLS("null", FUNCTION(EM_WORD_ID, STRING) "," FUNCTION(EM_WORD_ID_2, STRING))},
  };
  em_status status = EM_OK;
  for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
    free(out->call);
    out->call = NULL;
    EM_TRY(render(params, ways[i][0], &out->call, &out->gave_up, error));
    if (out->call && strstr(out->call, EM_WORD_FUNCTION) && strstr(out->call, EM_WORD_KEY)) {
      EM_TRY(render(params, ways[i][1], &out->calls, &out->gave_up, error));
      return EM_OK;
    }
  }
fail:
  free(out->call);
  out->call = NULL;
  return status;
}

static void clear(em_renders *renders) {
  free(renders->prompt);
  free(renders->content);
  free(renders->thinking);
  free(renders->call);
  free(renders->calls);
}

/* --- Thinking ----------------------------------------------------------------------------------------------------- */

/* Whether b can be the end of what a begins: </x> for <x>, [/X] for [X], END for START. */
static bool is_pair(em_part a, em_part b) {
  const char *start = em_part_find(a, "START"), *end = em_part_find(b, "END");
  if (b.bytes == a.bytes + 1 && b.text[0] == a.text[0] && b.text[1] == '/' &&
      memcmp(a.text + 1, b.text + 2, a.bytes - 1) == 0)
    return true;
  return start && end && a.bytes == b.bytes + 2 && start - a.text == end - b.text;
}

/* The tag a part ends with, but for white space. */
static em_part last_tag(em_part part) {
  part = em_part_trim(part);
  for (size_t i = part.bytes; i > 0; i--)
    if (part.text[i - 1] == '<' || part.text[i - 1] == '[') {
      em_part tag = em_part_behind(part, i - 1);
      return em_part_tag(tag) == tag.bytes ? tag : (em_part){"", 0};
    }
  return (em_part){"", 0};
}

static em_part first_tag(em_part part) {
  part = em_part_trim(part);
  part.bytes = em_part_tag(part);
  return part;
}

/* Marks around thinking that stands in a rendered answer. */
static void find_rendered_thinking(const em_renders *renders, em_reply_style *out) {
  em_part whole, start, end;
  const char *thought, *answer;
  if (!renders->thinking || !(thought = strstr(renders->thinking, EM_WORD_THOUGHT)) ||
      !(answer = strstr(thought, EM_WORD_ANSWER)))
    return;
  whole = em_part_of(renders->thinking);
  start = last_tag(em_part_between(whole.text, thought));
  end = first_tag(em_part_between(thought + strlen(EM_WORD_THOUGHT), answer));
  if (end.bytes == 0)
    return;
  if (start.bytes > 0 && is_pair(start, end)) {
    em_mark_set(out->think_start, start);
    em_mark_set(out->think_end, end);
  } else if (renders->prompt && renders->content && !strstr(renders->content, EM_WORD_THOUGHT)) {
    /* Nothing marks the start: the prompt itself writes the first words. */
    em_part prompt = em_part_of(renders->prompt);
    size_t common = em_part_common_start(prompt, em_part_between(whole.text, thought));
    em_part opened = em_part_behind(prompt, common);
    if (common != (size_t)(thought - whole.text) || em_part_trim(opened).bytes == 0)
      return;
    em_mark_set(out->think_end, end);
    em_mark_set(out->opened, opened);
    out->opens_thinking = out->opened[0] != 0;
  }
}

static void find_thinking(const em_style_params *params, const em_renders *renders, em_reply_style *out) {
  /* In common use, the more special first. The end shows: a template takes old thinking out by it. */
  static const char *const pairs[][2] = {{"<|channel>thought", "<channel|>"},
                                         {"<|START_THINKING|>", "<|END_THINKING|>"},
                                         {"<seed:think>", "</seed:think>"},
                                         {"<mm:think>", "</mm:think>"},
                                         {"[THINK]", "[/THINK]"},
                                         {"<think>", "</think>"},
                                         {"<thinking>", "</thinking>"},
                                         {"<thought>", "</thought>"}};
  em_part source = {params->source, params->source_bytes}, prompt = em_part_of(renders->prompt ? renders->prompt : "");
  const char *start;
  size_t tag;
  find_rendered_thinking(renders, out);
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0] && !out->think_end[0]; i++)
    if (em_part_find(source, pairs[i][1])) {
      em_mark_set(out->think_start, em_part_of(pairs[i][0]));
      em_mark_set(out->think_end, em_part_of(pairs[i][1]));
    }
  if (!out->think_start[0])
    return;
  out->thinks_anywhere = strchr(out->think_start, '|') != NULL;
  tag = em_part_tag(em_part_of(out->think_start));
  if (tag > 0 && out->think_start[tag])
    em_mark_set(out->stray, (em_part){out->think_start, tag});
  start = em_part_find_last(prompt, out->think_start);
  if (start &&
      em_part_trim(em_part_behind(prompt, (size_t)(start - prompt.text) + strlen(out->think_start))).bytes == 0) {
    out->opens_thinking = true;
    em_mark_set(out->opened, em_part_of(start));
  }
}

/* --- Content ------------------------------------------------------------------------------------------------------ */

static void find_content(const em_renders *renders, em_reply_style *out) {
  em_part prompt = em_part_of(renders->prompt ? renders->prompt : ""), content, before, behind, tag;
  const char *answer, *thought;
  if (!renders->content || !(answer = strstr(renders->content, EM_WORD_ANSWER)))
    return;
  content = em_part_of(renders->content);
  before = em_part_between(content.text, answer);
  before = em_part_behind(before, em_part_common_start(prompt, before));
  thought = em_part_find_last(before, out->think_end);
  if (thought)
    before = em_part_between(thought + strlen(out->think_end), answer);
  if (em_part_tag(em_part_trim(before)) == em_part_trim(before).bytes)
    em_mark_set(out->content_start, em_part_trim(before));
  else if (out->opens_call)
    em_mark_set(out->content_start, before);
  tag = last_tag(prompt);
  if (tag.bytes == em_part_tag(tag) && !em_part_find(em_part_of(out->opened), ">"))
    em_mark_set(out->turn_start, tag);
  if (strcmp(out->turn_start, out->think_start) == 0 || strcmp(out->turn_start, out->think_end) == 0)
    out->turn_start[0] = 0;
  behind = em_part_between(answer + strlen(EM_WORD_ANSWER), content.text + content.bytes);
  tag = first_tag(behind);
  em_mark_set(out->content_end, tag);
  if (tag.bytes > 0)
    em_mark_set(out->turn_end, first_tag(em_part_between(tag.text + tag.bytes, content.text + content.bytes)));
}

em_status em_style_find(const em_style_params *params, em_reply_style *out, em_error *error) {
  em_status status = EM_OK;
  em_renders renders = {0};
  em_part source = {params->source, params->source_bytes};
  *out = (em_reply_style){0};
  if (em_part_find(source, "<|channel|>") && em_part_find(source, "<|message|>") && em_part_find(source, "<|start|>")) {
    out->syntax = EM_CALLS_CHANNELS;
    return EM_OK;
  }
  EM_TRY(render(params, "", &renders.prompt, &renders.gave_up, error));
  EM_TRY(render(params, ANSWER("\"" EM_WORD_ANSWER "\"", ""), &renders.content, &renders.gave_up, error));
  EM_TRY(render(params, ANSWER("\"" EM_WORD_ANSWER "\"", THOUGHT), &renders.thinking, &renders.gave_up, error));
  EM_TRY(render_calls(params, &renders, error));
  find_thinking(params, &renders, out);
  EM_TRY(em_style_find_calls(params, &renders, out, error));
  find_content(&renders, out);
fail:
  clear(&renders);
  return status;
}
