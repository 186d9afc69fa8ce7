/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Calls that are JSON as a whole: one object, several, or a list of them. */
#include <string.h>

#include "text/reply/splitter.h"

static bool is_key(const em_splitter *splitter, const char *key) {
  return key[0] && splitter->key.data && strcmp(splitter->key.data, key) == 0;
}

/* Where only the content's shape says that it is a call, the name must be one on offer. */
static bool may_open(const em_splitter *splitter) {
  if (splitter->name.bytes == 0 || splitter->name.bytes > EM_REPLY_MAX_NAME_BYTES)
    return false;
  return splitter->style.section_start[0] || em_splitter_is_tool(splitter, splitter->name.data);
}

static em_step section_step(em_splitter *splitter) {
  bool has_calls = splitter->n_calls > splitter->n_calls_section;
  size_t n;
  em_splitter_skip_space(splitter);
  if (em_splitter_left(splitter) == 0)
    return EM_STEP_MORE;
  n = em_splitter_match(splitter, splitter->style.section_end);
  if (n == SIZE_MAX)
    return EM_STEP_MORE;
  if (n > 0 && has_calls) {
    em_splitter_consume(splitter, n);
    em_splitter_end_calls(splitter);
    return EM_STEP_ON;
  }
  switch (em_splitter_text(splitter)[0]) {
  case '{':
    if (splitter->n_calls >= EM_REPLY_MAX_CALLS)
      break;
    if (has_calls)
      em_splitter_begin_call(splitter);
    em_splitter_consume(splitter, 1);
    splitter->nesting = 1;
    splitter->mode = EM_MODE_MEMBER;
    return EM_STEP_ON;
  case '[':
    if (splitter->in_list || has_calls)
      break;
    splitter->in_list = true;
    em_splitter_consume(splitter, 1);
    return EM_STEP_ON;
  case ']':
  case ',':
  case ';':
    if (!has_calls)
      break;
    em_splitter_consume(splitter, 1);
    return EM_STEP_ON;
  default:
    break;
  }
  if (!has_calls)
    return EM_STEP_FAIL;
  em_splitter_end_calls(splitter);
  return EM_STEP_ON;
}

static em_step end_object(em_splitter *splitter) {
  if (!splitter->call_open) {
    if (!may_open(splitter))
      return EM_STEP_FAIL;
    em_splitter_open_call(splitter);
  }
  if (!splitter->has_arguments)
    em_splitter_give_arguments(splitter, "{}", 2);
  splitter->mode = EM_MODE_SECTION;
  return EM_STEP_ON;
}

static em_step member_step(em_splitter *splitter) {
  em_splitter_skip_space(splitter);
  if (em_splitter_left(splitter) == 0)
    return EM_STEP_MORE;
  switch (em_splitter_text(splitter)[0]) {
  case '"':
    splitter->key.bytes = 0;
    em_value_init(&splitter->value, EM_NOTATION_JSON, NULL);
    splitter->value.decodes = true;
    splitter->mode = EM_MODE_KEY;
    return EM_STEP_ON;
  case ',':
    em_splitter_consume(splitter, 1);
    return EM_STEP_ON;
  case '}':
    em_splitter_consume(splitter, 1);
    return --splitter->nesting > 0 ? EM_STEP_ON : end_object(splitter);
  default:
    return EM_STEP_FAIL;
  }
}

static em_step key_step(em_splitter *splitter) {
  em_step result = em_splitter_read_value(splitter, &splitter->key, EM_REPLY_MAX_NAME_BYTES);
  if (result == EM_STEP_ON) {
    splitter->mode = EM_MODE_COLON;
    splitter->stage = 0;
  }
  return result;
}

/* Says what the member is for. */
static em_step begin_member(em_splitter *splitter) {
  const em_reply_style *style = &splitter->style;
  em_value_init(&splitter->value, EM_NOTATION_JSON, NULL);
  splitter->value.decodes = true;
  splitter->mode = EM_MODE_SKIP;
  splitter->member = EM_MEMBER_OTHER;
  if (style->name_is_key && splitter->name.bytes == 0) {
    em_buffer_append(&splitter->name, splitter->key.data, splitter->key.bytes);
    splitter->member = EM_MEMBER_ARGUMENTS;
  } else if (is_key(splitter, style->name_key) || is_key(splitter, "name")) {
    splitter->member = splitter->call_open || splitter->name.bytes > 0 ? EM_MEMBER_OTHER : EM_MEMBER_NAME;
  } else if (is_key(splitter, style->id_key) || is_key(splitter, "id")) {
    splitter->member = splitter->id.bytes > 0 ? EM_MEMBER_OTHER : EM_MEMBER_ID;
  } else if (is_key(splitter, style->arguments_key) || is_key(splitter, "arguments") ||
             is_key(splitter, "parameters")) {
    splitter->member = splitter->has_arguments ? EM_MEMBER_OTHER : EM_MEMBER_ARGUMENTS;
  }
  if (splitter->member == EM_MEMBER_NAME && em_splitter_text(splitter)[0] != '"')
    return EM_STEP_FAIL;
  if (splitter->member != EM_MEMBER_ARGUMENTS)
    return EM_STEP_ON;
  splitter->mode = EM_MODE_ARGUMENTS;
  if (splitter->name.bytes > 0) {
    if (!may_open(splitter))
      return EM_STEP_FAIL;
    em_splitter_open_call(splitter);
  }
  return EM_STEP_ON;
}

static em_step colon_step(em_splitter *splitter) {
  const char *text;
  size_t n = 1, left;
  em_splitter_skip_space(splitter);
  text = em_splitter_text(splitter);
  left = em_splitter_left(splitter);
  if (left == 0)
    return EM_STEP_MORE;
  if (splitter->stage == 0 && text[0] == ':') {
    while (n < left && em_is_space(text[n]))
      n++;
    em_splitter_consume(splitter, n);
    splitter->stage = 1;
    return EM_STEP_ON;
  }
  if (splitter->stage == 0)
    return EM_STEP_FAIL;
  splitter->stage = 0;
  if (text[0] == '{' && is_key(splitter, "function") && splitter->nesting == 1) {
    em_splitter_consume(splitter, 1);
    splitter->nesting++;
    splitter->mode = EM_MODE_MEMBER;
    return EM_STEP_ON;
  }
  return begin_member(splitter);
}

/* The value of a member that is not the arguments. */
static em_step skip_step(em_splitter *splitter) {
  em_buffer *out = splitter->member == EM_MEMBER_NAME ? &splitter->name
                   : splitter->member == EM_MEMBER_ID ? &splitter->id
                                                      : &splitter->scratch;
  bool matters = out != &splitter->scratch;
  em_step result = em_splitter_read_value(splitter, out, matters ? EM_REPLY_MAX_NAME_BYTES : SIZE_MAX);
  if (!matters)
    out->bytes = 0;
  if (result != EM_STEP_ON)
    return result;
  splitter->mode = EM_MODE_MEMBER;
  if (splitter->member == EM_MEMBER_ID && splitter->call_open)
    em_splitter_give(splitter, EM_DELTA_CALL_ID, splitter->id.data, splitter->id.bytes);
  if (splitter->member == EM_MEMBER_NAME && splitter->has_arguments) {
    if (!may_open(splitter))
      return EM_STEP_FAIL;
    em_splitter_open_call(splitter);
  }
  return EM_STEP_ON;
}

/* Arguments stream once the name is known, and wait for it until then. */
static em_step arguments_step(em_splitter *splitter) {
  em_buffer *out = splitter->call_open ? &splitter->scratch : &splitter->early;
  em_step result = em_splitter_read_value(splitter, out, SIZE_MAX);
  if (splitter->call_open) {
    em_splitter_give_arguments(splitter, out->data, out->bytes);
    out->bytes = 0;
  }
  if (result == EM_STEP_ON) {
    splitter->has_arguments = true;
    splitter->mode = EM_MODE_MEMBER;
  }
  return result;
}

em_step em_splitter_json_step(em_splitter *splitter) {
  switch (splitter->mode) {
  case EM_MODE_SECTION:
    return section_step(splitter);
  case EM_MODE_MEMBER:
    return member_step(splitter);
  case EM_MODE_KEY:
    return key_step(splitter);
  case EM_MODE_COLON:
    return colon_step(splitter);
  case EM_MODE_SKIP:
    return skip_step(splitter);
  default:
    return arguments_step(splitter);
  }
}
