/* SPDX-License-Identifier: GPL-3.0-or-later */
/* CHANNELS: a reply is messages, each with a header that says what it is for:
 * <|channel|>analysis<|message|>thinking<|end|>, then <|start|>assistant and the next header. A header with
 * to=functions.NAME makes the message a call. */
#include <string.h>

#include "text/reply/splitter.h"

#define MAX_HEADER_BYTES 512u

static const char start_mark[] = "<|start|>", channel_mark[] = "<|channel|>", message_mark[] = "<|message|>";
static const char constrain_mark[] = "<|constrain|>", to_mark[] = " to=";

/* Whether a header begins here: 0: no; SIZE_MAX: more is needed. */
static size_t header_begins(const em_splitter *splitter) {
  static const char *const marks[] = {start_mark, channel_mark, message_mark, constrain_mark, to_mark};
  bool waits = false;
  for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
    size_t n = em_splitter_match(splitter, marks[i]);
    if (n > 0 && n != SIZE_MAX)
      return n;
    waits = waits || n == SIZE_MAX;
  }
  return waits ? SIZE_MAX : 0;
}

/* The last place of mark in the header, behind it; NULL: none. */
static const char *behind_last(const char *header, const char *mark) {
  const char *last = NULL;
  for (const char *at = strstr(header, mark); at; at = strstr(at + 1, mark))
    last = at + strlen(mark);
  return last;
}

static size_t word_bytes(const char *text) {
  return strcspn(text, " <\n\t");
}

/* A text of a kind that was there before goes on in a new line. */
static void begin_text(em_splitter *splitter, em_splitter_mode mode) {
  bool again = mode == EM_MODE_THINKING ? splitter->thought : splitter->began;
  splitter->mode = mode;
  splitter->held.bytes = 0;
  if (again && !splitter->params.keeps_thinking)
    em_buffer_append_text(&splitter->held, "\n");
  if (mode == EM_MODE_THINKING)
    splitter->thought = true;
}

/* What the whole header in key means. */
static em_step take_header(em_splitter *splitter) {
  const char *header = splitter->key.data, *channel = behind_last(header, channel_mark);
  const char *to = behind_last(header, to_mark), *functions = to && strncmp(to, "functions.", 10) == 0 ? to + 10 : NULL;
  const char *from = strstr(header, channel_mark);
  bool analysis = channel && word_bytes(channel) == 8 && strncmp(channel, "analysis", 8) == 0;
  size_t n = functions ? word_bytes(functions) : to ? word_bytes(to) : 0;
  bool to_itself = n == 9 && strncmp(to, "assistant", 9) == 0;
  splitter->keeps_raw = false;
  if (n > 0 && n <= EM_REPLY_MAX_NAME_BYTES && splitter->params.finds_calls && splitter->n_calls < EM_REPLY_MAX_CALLS) {
    em_buffer_append(&splitter->name, functions ? functions : to, n);
    if (splitter->name.data &&
        (functions || (splitter->params.tools && em_splitter_is_tool(splitter, splitter->name.data)))) {
      em_value_init(&splitter->value, EM_NOTATION_JSON, NULL);
      splitter->keeps_raw = true;
      splitter->mode = EM_MODE_ARGUMENTS;
      return EM_STEP_ON;
    }
  }
  splitter->raw.bytes = 0;
  begin_text(splitter, analysis && (!to || to_itself) ? EM_MODE_THINKING : EM_MODE_CONTENT);
  if (analysis && splitter->params.keeps_thinking) {
    em_splitter_give_text(splitter, from, strlen(from));
    em_splitter_give_text(splitter, message_mark, sizeof message_mark - 1);
  }
  return EM_STEP_ON;
}

static em_step header_step(em_splitter *splitter) {
  const char *marks[] = {message_mark};
  size_t which, bytes, begins;
  em_step result;
  if (splitter->stage == 0) {
    begins = header_begins(splitter);
    if (begins == SIZE_MAX)
      return EM_STEP_MORE;
    if (begins == 0)
      return EM_STEP_FAIL;
    splitter->stage = 1;
  }
  result = em_splitter_until(splitter, marks, 1, "", MAX_HEADER_BYTES, &splitter->key, &which, &bytes);
  if (result != EM_STEP_ON)
    return result;
  em_splitter_consume(splitter, bytes);
  if (!splitter->key.data && !em_buffer_append_text(&splitter->key, ""))
    return EM_STEP_FAIL;
  splitter->key.data[splitter->key.bytes] = 0;
  return take_header(splitter);
}

em_step em_splitter_channel_step(em_splitter *splitter) {
  em_step result;
  if (splitter->mode == EM_MODE_HEADER)
    return header_step(splitter);
  result = em_splitter_read_arguments(splitter);
  if (result == EM_STEP_ON)
    em_splitter_end_calls(splitter);
  return result;
}
