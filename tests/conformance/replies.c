/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Replies of many models as they wrote them, with the message each stands for. The style is found from the template
 * alone. Each reply is fed whole, byte by byte, and cut in two at every place, with the same result. And what each
 * template renders for a call is read back as that call. */
#include "check.h"

#include <dirent.h>

#include "base/file.h"
#include "text/style.h"

#define MAX_DATA_BYTES (16u << 20)

/* Cases whose expected message is not what this project wants. */
static const struct {
  const char *input, *reason;
} wanted_otherwise[] = {
    {"to=container.exec", "a message to a function that is not on offer is shown as text; the case drops it"},
};

static const char *text_of(const em_json *value) {
  return value && value->kind == EM_JSON_STRING ? value->string.text : "";
}

static int64_t number_of(const em_json *value) {
  return value && value->kind == EM_JSON_INTEGER ? value->integer : 0;
}

static const em_json *last_of(const em_json *list) {
  const em_json *last = NULL;
  for (const em_json *one = list ? list->first : NULL; one; one = one->next)
    last = one;
  return last;
}

/* The functions on offer with their schemas, which the data has as texts. */
static const em_json *read_tools(em_arena *arena, const em_json *list) {
  em_buffer text = {0};
  const em_json *tools = NULL;
  if (!list || !list->first)
    return NULL;
  em_buffer_append_text(&text, "[");
  for (const em_json *tool = list->first; tool; tool = tool->next)
    em_buffer_appendf(&text, "%s{\"name\":\"%s\",\"parameters\":%s}", tool == list->first ? "" : ",",
                      text_of(em_json_get(tool, "name")), text_of(em_json_get(tool, "parameters")));
  em_buffer_append_text(&text, "]");
  CHECK_INT(em_json_parse(arena, text.data, text.bytes, 0, &tools, NULL), EM_OK);
  em_buffer_clear(&text);
  return tools;
}

static bool find_style(const char *folder, const em_json *test, em_reply_style *out) {
  const char *name = strrchr(text_of(em_json_get(test, "template")), '/');
  const em_json *thinks = em_json_get(em_json_get(test, "params"), "enable_thinking");
  char path[4096], *source = NULL;
  size_t bytes;
  em_template *template_ = NULL;
  em_error error = {0};
  bool found = false;
  snprintf(path, sizeof path, "%s/data/templates/%s", folder, name ? name + 1 : "");
  if (em_file_read(path, EM_TEMPLATE_MAX_BYTES, &source, &bytes, &error) == EM_OK &&
      em_template_new(source, bytes, &template_, &error) == EM_OK) {
    em_style_params params = {.template_ = template_, .source = source, .source_bytes = bytes, .bos = "", .eos = ""};
    params.has_thinking = thinks != NULL;
    params.thinking = thinks && thinks->boolean;
    found = em_style_find(&params, out, &error) == EM_OK;
  }
  if (!found)
    fprintf(stderr, "%s: %s\n", path, error.text);
  em_template_free(template_);
  free(source);
  return found;
}

/* Splits a case's reply, fed in pieces: 0: byte by byte; else cut in two behind so many bytes. */
static void split(const em_json *test, const em_reply_style *style, const em_json *tools, size_t cut,
                  em_reply_message *out) {
  static const em_reply_start starts[] = {EM_REPLY_FRESH, EM_REPLY_FRESH, EM_REPLY_IN_THINKING, EM_REPLY_IN_CONTENT};
  const em_json *params = em_json_get(test, "params"), *input = em_json_get(test, "input");
  const em_json *before = last_of(em_json_get(params, "messages"));
  const em_json *partial = em_json_get(test, "is_partial");
  size_t continues = (size_t)number_of(em_json_get(params, "continue_final_message")) & 3, bytes = input->string.bytes;
  em_splitter *splitter = NULL;
  em_splitter_params splitting = {.style = style, .sink = em_reply_message_take, .user = out, .tools = tools};
  splitting.finds_calls = tools != NULL;
  splitting.keeps_thinking = number_of(em_json_get(params, "reasoning_format")) == 0;
  splitting.is_json = text_of(em_json_get(params, "json_schema"))[0] != 0;
  splitting.start = starts[continues];
  if (splitting.start != EM_REPLY_FRESH) {
    em_buffer_append_text(&out->content, text_of(em_json_get(before, "content")));
    if (!splitting.keeps_thinking)
      em_buffer_append_text(&out->thinking, text_of(em_json_get(before, "reasoning_content")));
  }
  CHECK_INT(em_splitter_new(&splitting, &splitter, NULL), EM_OK);
  if (cut > 0) {
    CHECK_INT(em_splitter_feed(splitter, input->string.text, cut, NULL), EM_OK);
    CHECK_INT(em_splitter_feed(splitter, input->string.text + cut, bytes - cut, NULL), EM_OK);
  }
  for (size_t i = 0; i < bytes && cut == 0; i++)
    CHECK_INT(em_splitter_feed(splitter, input->string.text + i, 1, NULL), EM_OK);
  if (!partial->boolean)
    CHECK_INT(em_splitter_finish(splitter, NULL), EM_OK);
  em_splitter_free(splitter);
}

static const char *buffer_text(const em_buffer *buffer) {
  return buffer->data && buffer->bytes ? buffer->data : "";
}

/* One line that says all of a message; arguments that are JSON are written anew, so that only what they say counts. */
static char *describe(const char *content, const char *thinking, const em_reply_message *calls) {
  em_buffer text = {0};
  em_json_write_string(&text, content, strlen(content));
  em_buffer_append_text(&text, " thinking ");
  em_json_write_string(&text, thinking, strlen(thinking));
  for (size_t i = 0; i < calls->n_calls; i++) {
    const em_reply_call *call = &calls->calls[i];
    em_arena *arena = em_arena_new(0);
    const em_json *json;
    em_buffer_appendf(&text, " call %s id %s ", buffer_text(&call->name), buffer_text(&call->id));
    if (em_json_parse(arena, buffer_text(&call->arguments), call->arguments.bytes, 0, &json, NULL) == EM_OK)
      em_json_write(&text, json);
    else
      em_buffer_append_text(&text, buffer_text(&call->arguments));
    em_arena_free(arena);
  }
  return em_buffer_steal(&text);
}

/* Without white space at both ends, which the expected messages keep or drop as it came. */
static char *trimmed(const char *text) {
  size_t n = strspn(text, " \n"), end = strlen(text);
  while (end > n && strchr(" \n", text[end - 1]))
    end--;
  return strndup(text + n, end - n);
}

static char *describe_expected(const em_json *expect) {
  em_reply_message message = {0};
  const em_json *calls = em_json_get(expect, "tool_calls");
  char *content = trimmed(text_of(em_json_get(expect, "content")));
  char *thinking = trimmed(text_of(em_json_get(expect, "reasoning_content"))), *text;
  size_t i = 0;
  for (const em_json *call = calls ? calls->first : NULL; call; call = call->next, i++) {
    static const struct {
      const char *key;
      em_delta_kind kind;
    } parts[] = {{"name", EM_DELTA_CALL}, {"id", EM_DELTA_CALL_ID}, {"arguments", EM_DELTA_ARGUMENTS}};
    for (size_t k = 0; k < 3; k++) {
      const char *part = text_of(em_json_get(call, parts[k].key));
      em_delta delta = {.kind = parts[k].kind, .call = i, .text = part, .bytes = strlen(part)};
      CHECK(em_reply_message_take(&message, &delta));
    }
  }
  text = describe(content, thinking, &message);
  free(content);
  free(thinking);
  em_reply_message_clear(&message);
  return text;
}

static char *describe_split(const em_json *test, const em_reply_style *style, const em_json *tools, size_t cut,
                            bool trims) {
  em_reply_message message = {0};
  split(test, style, tools, cut, &message);
  char *content = trims ? trimmed(buffer_text(&message.content)) : strdup(buffer_text(&message.content));
  char *thinking = trims ? trimmed(buffer_text(&message.thinking)) : strdup(buffer_text(&message.thinking));
  char *text = describe(content, thinking, &message);
  free(content);
  free(thinking);
  em_reply_message_clear(&message);
  return text;
}

static const char *reason_for(const char *input) {
  for (size_t i = 0; i < sizeof wanted_otherwise / sizeof wanted_otherwise[0]; i++)
    if (strstr(input, wanted_otherwise[i].input))
      return wanted_otherwise[i].reason;
  return NULL;
}

/* Returns whether the reply is split as expected. */
static bool check_case(const char *folder, const em_json *test, size_t number, em_arena *arena) {
  const em_json *tools = read_tools(arena, em_json_get(em_json_get(test, "params"), "tools"));
  const em_json *input = em_json_get(test, "input");
  em_reply_style style;
  if (!find_style(folder, test, &style))
    return false;
  char *expected = describe_expected(em_json_get(test, "expect"));
  char *actual = describe_split(test, &style, tools, input->string.bytes, true);
  char *whole = describe_split(test, &style, tools, input->string.bytes, false);
  bool good = strcmp(expected, actual) == 0;
  const char *reason = reason_for(input->string.text);
  if (!good) {
    printf("case %zu (%s):\n  %s\n  expected %s\n", number, text_of(em_json_get(test, "template")), actual, expected);
    printf("  %s\n", reason ? reason : "not explained");
    CHECK(reason != NULL);
  }
  for (size_t cut = 0; cut < input->string.bytes; cut++) {
    char *pieces = describe_split(test, &style, tools, cut, false);
    CHECK_TEXT(pieces, whole);
    free(pieces);
  }
  free(expected);
  free(actual);
  free(whole);
  return good;
}

/* --- What templates write themselves ---------------------------------------------------------------------------------
 */

#define ARGUMENTS "{\"city\":\"Bad \\\"Aibling\\\" <b>\\nx\",\"days\":-3}"
#define ARGUMENTS_TEXT "\"{\\\"city\\\": \\\"Bad \\\\\\\"Aibling\\\\\\\" <b>\\\\nx\\\", \\\"days\\\": -3}\""
#define ASK "{\"role\":\"user\",\"content\":\"Weather?\"}"
#define TOOLS                                                                                                       \
  "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"description\":\"d\",\"parameters\":{\"type\":"  \
  "\"object\",\"properties\":{\"city\":{\"type\":\"string\",\"description\":\"c\"},\"days\":{\"type\":\"integer\"," \
  "\"description\":\"n\"}},\"required\":[\"city\"]}}}]"

/* Templates that write no call: the model learned how from its training, or not at all. */
static const char *const without_calls[] = {"HuggingFaceTB-SmolLM3-3B", "LFM2-8B-A1B",
                                            "LFM2.5-Instruct",          "fireworks-ai-llama-3-firefunction-v2",
                                            "google-gemma-2-2b-it",     "ibm-granite-granite-3.3-2B-Instruct",
                                            "llama-cpp-rwkv-world",     "microsoft-Phi-3.5-mini-instruct"};

static char *render(const em_template *template_, const char *answer) {
  em_buffer text = {0};
  em_arena *arena = em_arena_new(0);
  em_rendered rendered = {0};
  const em_json *context;
  em_buffer_appendf(&text,
                    "{\"messages\":[" ASK "%s],\"tools\":" TOOLS
                    ",\"add_generation_prompt\":%s,\"enable_thinking\":true,"
                    "\"bos_token\":\"\",\"eos_token\":\"\",\"documents\":null}",
                    answer, answer[0] ? "false" : "true");
  CHECK_INT(em_json_parse(arena, text.data, text.bytes, 0, &context, NULL), EM_OK);
  bool done = em_template_render(template_, context, 1732060800, &rendered, NULL) == EM_OK;
  char *result = done ? strdup(rendered.text) : NULL;
  em_rendered_clear(&rendered);
  em_arena_free(arena);
  em_buffer_clear(&text);
  return result;
}

/* The call as the template writes it, in the ways templates want it. */
static char *render_call(const em_template *template_) {
#define CALL(content, arguments)                                                                                  \
  ",{\"role\":\"assistant\",\"content\":" content ",\"tool_calls\":[{\"id\":\"abcdefghi\",\"type\":\"function\"," \
  "\"function\":{\"name\":\"get_weather\",\"arguments\":" arguments "}}]}"
  static const char *const ways[] = {CALL("\"\"", ARGUMENTS), CALL("null", ARGUMENTS), CALL("\"\"", ARGUMENTS_TEXT),
                                     CALL("null", ARGUMENTS_TEXT)};
  for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
    char *text = render(template_, ways[i]);
    char *question = text ? strstr(text, "Weather?") : NULL;
    if (question && strstr(question, "Aibling"))
      return text;
    free(text);
  }
  return NULL;
}

/* What a template renders for a call is read back as that call. */
static bool check_own_call(const char *path, const char *name) {
  char *source, *prompt = NULL, *call = NULL, *written = NULL;
  size_t bytes, common = 0;
  em_template *template_ = NULL;
  em_reply_style style;
  em_reply_message message = {0};
  em_arena *arena = em_arena_new(0);
  const em_json *tools, *arguments;
  em_error error = {0};
  bool writes = true, good = false;
  CHECK_INT(em_file_read(path, EM_TEMPLATE_MAX_BYTES, &source, &bytes, &error), EM_OK);
  CHECK_INT(em_template_new(source, bytes, &template_, &error), EM_OK);
  em_style_params params = {.template_ = template_,
                            .source = source,
                            .source_bytes = bytes,
                            .bos = "",
                            .eos = "",
                            .has_thinking = true,
                            .thinking = true};
  CHECK_INT(em_style_find(&params, &style, &error), EM_OK);
  CHECK_INT(em_json_parse(arena, TOOLS, sizeof TOOLS - 1, 0, &tools, NULL), EM_OK);
  for (size_t i = 0; i < sizeof without_calls / sizeof without_calls[0]; i++)
    writes = writes && strncmp(name, without_calls[i], strlen(without_calls[i])) != 0;
  prompt = render(template_, "");
  call = render_call(template_);
  if (!writes) {
    good = call == NULL;
  } else if (prompt && call) {
    em_splitter *splitter = NULL;
    em_splitter_params splitting = {
        .style = &style, .finds_calls = true, .tools = tools, .sink = em_reply_message_take, .user = &message};
    while (prompt[common] && prompt[common] == call[common])
      common++;
    while (common > 0 && strchr(">]\n", prompt[common - 1]) == NULL && prompt[common] != 0)
      common--;
    style.opens_thinking = false;
    CHECK_INT(em_splitter_new(&splitting, &splitter, NULL), EM_OK);
    CHECK_INT(em_splitter_feed(splitter, call + common, strlen(call + common), NULL), EM_OK);
    CHECK_INT(em_splitter_finish(splitter, NULL), EM_OK);
    em_splitter_free(splitter);
    if (message.n_calls == 1 && em_json_parse(arena, buffer_text(&message.calls[0].arguments),
                                              message.calls[0].arguments.bytes, 0, &arguments, NULL) == EM_OK) {
      em_buffer text = {0};
      em_json_write(&text, arguments);
      written = em_buffer_steal(&text);
      good = strcmp(written, ARGUMENTS) == 0 && strcmp(message.calls[0].name.data, "get_weather") == 0;
    }
  }
  if (!good)
    printf("%s: syntax %d, %zu calls: %s\n  %s\n  %s\n", name, style.syntax, message.n_calls, written ? written : "",
           message.n_calls ? buffer_text(&message.calls[0].arguments) : "", call ? call + common : "no call");
  CHECK(good);
  em_reply_message_clear(&message);
  em_template_free(template_);
  em_arena_free(arena);
  free(written);
  free(prompt);
  free(call);
  free(source);
  return good;
}

static void check_own_calls(const char *folder) {
  char path[4096];
  size_t n = 0, good = 0;
  struct dirent *entry;
  snprintf(path, sizeof path, "%s/data/templates", folder);
  DIR *dir = opendir(path);
  if (!dir)
    SKIP("there are no templates");
  while ((entry = readdir(dir))) {
    if (!strstr(entry->d_name, ".jinja"))
      continue;
    snprintf(path, sizeof path, "%s/data/templates/%s", folder, entry->d_name);
    good += check_own_call(path, entry->d_name);
    n++;
  }
  closedir(dir);
  printf("%zu of %zu templates' own calls\n", good, n);
}

int main(void) {
  const char *folder = getenv("HEARTH_SHARED");
  char path[4096], *data;
  size_t bytes, n = 0, good = 0;
  em_error error = {0};
  const em_json *tests;
  if (!folder)
    SKIP("HEARTH_SHARED names no folder of replies");
  snprintf(path, sizeof path, "%s/data/chat/llamacpp-chat-parse.json", folder);
  if (em_file_read(path, MAX_DATA_BYTES, &data, &bytes, &error) != EM_OK)
    SKIP("%s", error.text);
  em_arena *arena = em_arena_new(0);
  CHECK_INT(em_json_parse(arena, data, bytes, 0, &tests, &error), EM_OK);
  for (const em_json *test = tests->first; test; test = test->next, n++)
    good += check_case(folder, test, n, arena);
  printf("%zu of %zu replies\n", good, n);
  CHECK(n > 0 && good * 100 >= n * 98);
  em_arena_free(arena);
  free(data);
  check_own_calls(folder);
  return check_done();
}
