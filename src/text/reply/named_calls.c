/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Calls whose name stands before their arguments, and whose arguments are one value: NAMED, KEYED and PYTHON. */
#include <string.h>

#include "text/reply/splitter.h"

static bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static em_step section_step(em_splitter *splitter) {
  const em_reply_style *style = &splitter->style;
  bool has_calls = splitter->n_calls > splitter->n_calls_section, python = style->syntax == EM_CALLS_PYTHON;
  bool full = splitter->n_calls >= EM_REPLY_MAX_CALLS;
  size_t end, start;
  char c;
  em_splitter_skip_space(splitter);
  if (em_splitter_left(splitter) == 0)
    return EM_STEP_MORE;
  end = em_splitter_match(splitter, style->section_end);
  start = em_splitter_match(splitter, style->call_start);
  if (end == SIZE_MAX || start == SIZE_MAX)
    return EM_STEP_MORE;
  c = em_splitter_text(splitter)[0];
  if (start > 0 && !full) {
    if (has_calls)
      em_splitter_begin_call(splitter);
    em_splitter_consume(splitter, start);
    splitter->mode = EM_MODE_NAME;
  } else if (end > 0 && has_calls) {
    em_splitter_consume(splitter, end);
    em_splitter_end_calls(splitter);
  } else if (python && c == '[' && !splitter->in_list && !has_calls) {
    em_splitter_consume(splitter, 1);
    splitter->in_list = true;
  } else if (has_calls && (c == ',' || (python && c == ']'))) {
    em_splitter_consume(splitter, 1);
  } else if (python && is_name_start(c) && !full) {
    if (has_calls)
      em_splitter_begin_call(splitter);
    splitter->mode = EM_MODE_NAME;
  } else if (has_calls) {
    em_splitter_end_calls(splitter);
  } else {
    return EM_STEP_FAIL;
  }
  return EM_STEP_ON;
}

static void trim(em_buffer *buffer) {
  size_t from = 0, to = buffer->bytes;
  while (to > 0 && em_is_space(buffer->data[to - 1]))
    to--;
  while (from < to && em_is_space(buffer->data[from]))
    from++;
  if (buffer->data) {
    memmove(buffer->data, buffer->data + from, to - from);
    buffer->data[to - from] = 0;
  }
  buffer->bytes = to - from;
}

/* A numbered name is the id as it stands; the function's name is what remains without the number and the common prefix.
 */
static void take_number(em_splitter *splitter) {
  static const char prefix[] = "functions.";
  em_buffer *name = &splitter->name;
  size_t digits = name->bytes, n = sizeof prefix - 1;
  splitter->id.bytes = 0;
  em_buffer_append(&splitter->id, name->data, name->bytes);
  while (digits > 0 && name->data[digits - 1] >= '0' && name->data[digits - 1] <= '9')
    digits--;
  if (digits > 1 && digits < name->bytes && name->data[digits - 1] == ':')
    name->bytes = digits - 1;
  if (name->bytes > n && memcmp(name->data, prefix, n) == 0) {
    name->bytes -= n;
    memmove(name->data, name->data + n, name->bytes);
  }
  name->data[name->bytes] = 0;
}

static em_step end_name(em_splitter *splitter) {
  trim(&splitter->name);
  trim(&splitter->id);
  if (splitter->name.bytes == 0 || splitter->name.failed)
    return EM_STEP_FAIL;
  for (size_t i = 0; i < splitter->name.bytes; i++)
    if (em_is_space(splitter->name.data[i]))
      return EM_STEP_FAIL;
  if (splitter->style.numbered)
    take_number(splitter);
  em_value_init(&splitter->value,
                splitter->style.syntax == EM_CALLS_KEYED    ? EM_NOTATION_KEYED
                : splitter->style.syntax == EM_CALLS_PYTHON ? EM_NOTATION_ARGUMENTS
                                                            : EM_NOTATION_JSON,
                splitter->style.text_mark);
  splitter->mode = EM_MODE_ARGUMENTS;
  if (splitter->style.syntax != EM_CALLS_PYTHON)
    return EM_STEP_ON;
  em_splitter_open_call(splitter);
  em_splitter_give_arguments(splitter, "{", 1);
  return EM_STEP_ON;
}

/* The id, where it stands before the name. */
static em_step leading_id_step(em_splitter *splitter) {
  const char *marks[] = {splitter->style.id_end};
  size_t which, bytes;
  em_step result =
      em_splitter_until(splitter, marks, 1, "\n\"{}", EM_REPLY_MAX_NAME_BYTES, &splitter->id, &which, &bytes);
  if (result == EM_STEP_ON) {
    em_splitter_consume(splitter, bytes);
    splitter->stage = 1;
  }
  return result;
}

static em_step name_step(em_splitter *splitter) {
  const em_reply_style *style = &splitter->style;
  bool python = style->syntax == EM_CALLS_PYTHON;
  /* What the name ends with; a brace or parenthesis where it ends with nothing else. */
  const char *marks[] = {python                                                  ? "("
                         : style->name_end[0] && style->syntax == EM_CALLS_NAMED ? style->name_end
                                                                                 : "{",
                         style->id_follows ? style->id_end : ""};
  size_t which = 0, bytes;
  em_step result;
  if (style->id_end[0] && !style->id_follows && splitter->stage == 0)
    return leading_id_step(splitter);
  result = em_splitter_until(splitter, marks, 2, python ? "\"'[]{}\n=" : "\"}<>[]", EM_REPLY_MAX_NAME_BYTES,
                             &splitter->name, &which, &bytes);
  if (result != EM_STEP_ON)
    return result;
  if (marks[which][0] != '{')
    em_splitter_consume(splitter, bytes);
  splitter->stage = 0;
  if (which == 0 && style->id_follows) {
    splitter->mode = EM_MODE_ID;
    return EM_STEP_ON;
  }
  return end_name(splitter);
}

static em_step id_step(em_splitter *splitter) {
  const char *marks[] = {splitter->style.id_end};
  size_t which, bytes;
  em_step result =
      em_splitter_until(splitter, marks, 1, "\n\"{}", EM_REPLY_MAX_NAME_BYTES, &splitter->id, &which, &bytes);
  if (result != EM_STEP_ON)
    return result;
  em_splitter_consume(splitter, bytes);
  return end_name(splitter);
}

static em_step arguments_step(em_splitter *splitter) {
  em_step result = em_splitter_read_arguments(splitter);
  if (result == EM_STEP_ON)
    splitter->mode = EM_MODE_BEHIND;
  return result;
}

static em_step behind_step(em_splitter *splitter) {
  size_t n;
  em_splitter_skip_space(splitter);
  if (em_splitter_left(splitter) == 0)
    return EM_STEP_MORE;
  n = em_splitter_match(splitter, splitter->style.call_end);
  if (n == SIZE_MAX)
    return EM_STEP_MORE;
  em_splitter_consume(splitter, n);
  splitter->mode = EM_MODE_SECTION;
  return EM_STEP_ON;
}

em_step em_splitter_named_step(em_splitter *splitter) {
  switch (splitter->mode) {
  case EM_MODE_SECTION:
    return section_step(splitter);
  case EM_MODE_NAME:
    return name_step(splitter);
  case EM_MODE_ID:
    return id_step(splitter);
  case EM_MODE_ARGUMENTS:
    return arguments_step(splitter);
  default:
    return behind_step(splitter);
  }
}
