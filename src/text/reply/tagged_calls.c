/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Calls whose parameters stand between marks, each with its name: TAGGED and NESTED. Values have no quotes, so that the
 * function's schema decides what they are; a text streams, anything else is converted at its end. */
#include <string.h>

#include "text/reply/splitter.h"

static const char cdata_start[] = "<![CDATA[", cdata_end[] = "]]>";

static em_step section_step(em_splitter *splitter) {
  bool has_calls = splitter->n_calls > splitter->n_calls_section;
  size_t end, start;
  em_splitter_skip_space(splitter);
  if (em_splitter_left(splitter) == 0)
    return EM_STEP_MORE;
  end = em_splitter_match(splitter, splitter->style.section_end);
  start = em_splitter_match(splitter, splitter->style.call_start);
  if (end == SIZE_MAX || start == SIZE_MAX)
    return EM_STEP_MORE;
  if (start > 0 && splitter->n_calls < EM_REPLY_MAX_CALLS) {
    if (has_calls)
      em_splitter_begin_call(splitter);
    em_splitter_consume(splitter, start);
    splitter->mode = EM_MODE_NAME;
  } else if (has_calls) {
    em_splitter_consume(splitter, end);
    em_splitter_end_calls(splitter);
  } else {
    return EM_STEP_FAIL;
  }
  return EM_STEP_ON;
}

static void give(em_splitter *splitter, const char *json) {
  em_splitter_give_arguments(splitter, json, strlen(json));
}

static void give_scratch(em_splitter *splitter) {
  em_splitter_give_arguments(splitter, splitter->scratch.data, splitter->scratch.bytes);
  splitter->scratch.bytes = 0;
}

static void give_key(em_splitter *splitter, bool first) {
  em_buffer_append_text(&splitter->scratch, first ? "\"" : ", \"");
  em_value_escape(&splitter->scratch, splitter->key.data, splitter->key.bytes);
  em_buffer_append_text(&splitter->scratch, "\": ");
  give_scratch(splitter);
}

/* Cuts white space off both ends; false: nothing or more than one word is left. */
static bool trim_word(em_buffer *word) {
  size_t from = 0, to = word->bytes;
  while (to > 0 && em_is_space(word->data[to - 1]))
    to--;
  while (from < to && em_is_space(word->data[from]))
    from++;
  if (from == to)
    return false;
  memmove(word->data, word->data + from, to - from);
  word->bytes = to - from;
  word->data[word->bytes] = 0;
  for (size_t i = 0; i < word->bytes; i++)
    if (em_is_space(word->data[i]))
      return false;
  return true;
}

static em_step name_step(em_splitter *splitter) {
  const em_reply_style *style = &splitter->style;
  const char *marks[] = {style->name_end, style->key_start, style->call_end};
  size_t which, bytes;
  em_step result =
      em_splitter_until(splitter, marks, 3, "\"{}=", EM_REPLY_MAX_NAME_BYTES, &splitter->name, &which, &bytes);
  if (result != EM_STEP_ON)
    return result;
  if (!trim_word(&splitter->name))
    return EM_STEP_FAIL;
  if (which == 0)
    em_splitter_consume(splitter, bytes);
  splitter->schema = em_schema_of_function(splitter->params.tools, splitter->name.data);
  splitter->levels[0].schema = splitter->schema;
  splitter->levels[0].list = false;
  splitter->levels[0].first = true;
  splitter->n_levels = 1;
  em_splitter_open_call(splitter);
  give(splitter, "{");
  splitter->mode = EM_MODE_BEHIND;
  return EM_STEP_ON;
}

static void begin_value(em_splitter *splitter) {
  splitter->mode = EM_MODE_TAG_VALUE;
  splitter->parameter.bytes = 0;
  splitter->in_cdata = false;
  splitter->stage = 0;
}

static void end_value(em_splitter *splitter) {
  if (splitter->types == EM_TYPE_IS_TEXT)
    em_buffer_append_text(&splitter->scratch, "\"");
  else
    em_schema_convert(splitter->types, splitter->parameter.data ? splitter->parameter.data : "",
                      splitter->parameter.bytes, &splitter->scratch);
  give_scratch(splitter);
}

/* Appends the text up to the first of the marks to the value. */
static em_step value_until(em_splitter *splitter, const char *const *marks, size_t n, size_t *which, size_t *bytes) {
  size_t before = splitter->parameter.bytes;
  em_step result = em_splitter_until(splitter, marks, n, "", SIZE_MAX, &splitter->parameter, which, bytes);
  if (splitter->types == EM_TYPE_IS_TEXT) {
    em_value_escape(&splitter->scratch, splitter->parameter.data ? splitter->parameter.data + before : "",
                    splitter->parameter.bytes - before);
    give_scratch(splitter);
    splitter->parameter.bytes = 0;
  }
  return result;
}

/* --- TAGGED ------------------------------------------------------------------------------------------------------- */

/* Between parameters. */
static em_step behind_step(em_splitter *splitter) {
  const em_reply_style *style = &splitter->style;
  const char *const marks[] = {style->key_start, style->call_end, style->section_end, style->call_start,
                               style->section_start};
  size_t found = 0, n = sizeof marks / sizeof marks[0], i;
  em_splitter_skip_space(splitter);
  if (em_splitter_left(splitter) == 0)
    return EM_STEP_MORE;
  for (i = 0; i < n && found == 0; i++)
    found = em_splitter_match(splitter, marks[i]);
  if (found == SIZE_MAX)
    return EM_STEP_MORE;
  if (found == 0)
    return EM_STEP_FAIL;
  if (i == 1) {
    em_splitter_consume(splitter, found);
    splitter->key.bytes = 0;
    splitter->mode = EM_MODE_TAG_KEY;
    return EM_STEP_ON;
  }
  /* The call has ended, whether or not its own mark says so. */
  if (i == 2)
    em_splitter_consume(splitter, found);
  give(splitter, "}");
  splitter->mode = EM_MODE_SECTION;
  return EM_STEP_ON;
}

static em_step key_step(em_splitter *splitter) {
  const em_reply_style *style = &splitter->style;
  const char *marks[] = {style->key_end, style->key_end_other};
  size_t which, bytes;
  em_step result = em_splitter_until(splitter, marks, 2, "\n", EM_REPLY_MAX_NAME_BYTES, &splitter->key, &which, &bytes);
  if (result != EM_STEP_ON)
    return result;
  if (!trim_word(&splitter->key))
    return EM_STEP_FAIL;
  em_splitter_consume(splitter, bytes);
  splitter->types = em_schema_types(em_schema_child(splitter->schema, splitter->key.data));
  if (style->key_end_other[0])
    splitter->types = which == 0 ? EM_TYPE_IS_TEXT : EM_TYPE_IS_OTHER | EM_TYPE_IS_NULL;
  give_key(splitter, splitter->levels[0].first);
  splitter->levels[0].first = false;
  begin_value(splitter);
  return EM_STEP_ON;
}

/* What stands before a value: its mark, white space that is not part of it, the start of a section that is taken as it
 * is. */
static em_step before_value_step(em_splitter *splitter) {
  const em_reply_style *style = &splitter->style;
  size_t n;
  if (splitter->stage == 0 && style->value_start[0]) {
    em_splitter_skip_space(splitter);
    if (em_splitter_left(splitter) == 0)
      return EM_STEP_MORE;
  }
  n = em_splitter_match(splitter, splitter->stage == 0   ? style->value_start
                                  : splitter->stage == 1 ? style->value_lead
                                                         : (style->has_cdata ? cdata_start : ""));
  if (n == SIZE_MAX)
    return EM_STEP_MORE;
  if (n == 0 && splitter->stage == 0 && style->value_start[0])
    return EM_STEP_FAIL;
  em_splitter_consume(splitter, n);
  splitter->in_cdata = splitter->stage == 2 && n > 0;
  splitter->stage++;
  if (splitter->stage == 3 && splitter->types == EM_TYPE_IS_TEXT)
    give(splitter, "\"");
  return EM_STEP_ON;
}

static em_step value_step(em_splitter *splitter) {
  const char *ends[] = {splitter->in_cdata ? cdata_end : splitter->tailed_end,
                        splitter->in_cdata ? "" : splitter->style.value_end};
  size_t which, bytes;
  em_step result;
  if (splitter->stage < 3)
    return before_value_step(splitter);
  result = value_until(splitter, ends, 2, &which, &bytes);
  if (result != EM_STEP_ON)
    return result;
  em_splitter_consume(splitter, bytes);
  if (splitter->in_cdata) {
    splitter->in_cdata = false;
    return EM_STEP_ON;
  }
  end_value(splitter);
  splitter->mode = EM_MODE_BEHIND;
  return EM_STEP_ON;
}

/* --- NESTED ------------------------------------------------------------------------------------------------------- */

/* What follows the mark that all tags share. */
enum { TAG_NONE, TAG_OPENS, TAG_CLOSES, TAG_WAITS };

static int next_tag(const em_splitter *splitter) {
  const char *mark = splitter->style.key_start;
  size_t n = em_splitter_match(splitter, mark), left = em_splitter_left(splitter);
  const char *text = em_splitter_text(splitter);
  if (n == SIZE_MAX)
    return TAG_WAITS;
  if (n == 0)
    return TAG_NONE;
  if (left < n + 2)
    return splitter->at_end ? TAG_NONE : TAG_WAITS;
  return text[n] != '<' ? TAG_NONE : text[n + 1] == '/' ? TAG_CLOSES : TAG_OPENS;
}

/* Reads a tag's name and its end. */
static em_step read_tag(em_splitter *splitter) {
  const char *marks[] = {">"};
  size_t which, bytes;
  em_step result =
      em_splitter_until(splitter, marks, 1, "\n<\"", EM_REPLY_MAX_NAME_BYTES, &splitter->key, &which, &bytes);
  if (result == EM_STEP_ON)
    em_splitter_consume(splitter, bytes);
  return result;
}

static em_step open_level(em_splitter *splitter, const em_json *schema) {
  if (splitter->n_levels == EM_REPLY_MAX_DEPTH)
    return EM_STEP_FAIL;
  splitter->levels[splitter->n_levels++] = (struct em_level){.schema = schema, .first = true};
  return EM_STEP_ON;
}

/* A tag opened inside the innermost container: for a list's first one its name says what the container is. */
static em_step open_parameter(em_splitter *splitter) {
  struct em_level *level = &splitter->levels[splitter->n_levels - 1];
  if (splitter->key.bytes == 0)
    return EM_STEP_FAIL;
  if (level->first && splitter->n_levels > 1) {
    level->list = strcmp(splitter->key.data, "item") == 0 && !em_schema_child(level->schema, "item");
    give(splitter, level->list ? "[" : "{");
  }
  if (level->list) {
    if (!level->first)
      give(splitter, ", ");
  } else {
    give_key(splitter, level->first);
  }
  level->first = false;
  splitter->schema = em_schema_child(level->schema, level->list ? NULL : splitter->key.data);
  splitter->types = em_schema_types(splitter->schema);
  begin_value(splitter);
  if (splitter->types == EM_TYPE_IS_TEXT)
    give(splitter, "\"");
  return EM_STEP_ON;
}

static em_step nested_behind_step(em_splitter *splitter) {
  const em_reply_style *style = &splitter->style;
  struct em_level *level;
  size_t end;
  int tag;
  em_splitter_skip_space(splitter);
  if (em_splitter_left(splitter) == 0)
    return EM_STEP_MORE;
  end = splitter->n_levels == 1 ? em_splitter_match(splitter, style->call_end) : 0;
  tag = next_tag(splitter);
  if (end == SIZE_MAX || tag == TAG_WAITS)
    return EM_STEP_MORE;
  if (end > 0) {
    em_splitter_consume(splitter, end);
    give(splitter, "}");
    splitter->mode = EM_MODE_SECTION;
    return EM_STEP_ON;
  }
  if (tag == TAG_NONE || (tag == TAG_CLOSES && splitter->n_levels == 1))
    return EM_STEP_FAIL;
  splitter->key.bytes = 0;
  if (tag == TAG_CLOSES) {
    level = &splitter->levels[--splitter->n_levels];
    give(splitter, level->list ? "]" : "}");
  }
  em_splitter_consume(splitter, strlen(style->key_start) + (tag == TAG_CLOSES ? 2 : 1));
  splitter->stage = tag;
  splitter->mode = EM_MODE_TAG_KEY;
  return EM_STEP_ON;
}

static em_step nested_key_step(em_splitter *splitter) {
  em_step result = read_tag(splitter);
  if (result != EM_STEP_ON)
    return result;
  if (splitter->stage == TAG_OPENS)
    return open_parameter(splitter);
  splitter->mode = EM_MODE_BEHIND;
  return EM_STEP_ON;
}

static em_step nested_value_step(em_splitter *splitter) {
  const char *marks[] = {splitter->style.key_start};
  size_t which, bytes;
  bool blank = true;
  int tag;
  em_step result = value_until(splitter, marks, 1, &which, &bytes);
  if (result != EM_STEP_ON)
    return result;
  tag = next_tag(splitter);
  if (tag == TAG_WAITS)
    return EM_STEP_MORE;
  for (size_t i = 0; i < splitter->parameter.bytes; i++)
    blank = blank && em_is_space(splitter->parameter.data[i]);
  if (tag == TAG_OPENS && blank && splitter->types != EM_TYPE_IS_TEXT) {
    splitter->mode = EM_MODE_BEHIND;
    return open_level(splitter, splitter->schema);
  }
  if (tag != TAG_CLOSES)
    return EM_STEP_FAIL;
  end_value(splitter);
  em_splitter_consume(splitter, bytes + 2);
  splitter->key.bytes = 0;
  splitter->stage = TAG_CLOSES;
  splitter->mode = EM_MODE_TAG_KEY;
  return EM_STEP_ON;
}

em_step em_splitter_tagged_step(em_splitter *splitter) {
  bool nested = splitter->style.syntax == EM_CALLS_NESTED;
  switch (splitter->mode) {
  case EM_MODE_SECTION:
    return section_step(splitter);
  case EM_MODE_NAME:
    return name_step(splitter);
  case EM_MODE_TAG_KEY:
    return nested ? nested_key_step(splitter) : key_step(splitter);
  case EM_MODE_TAG_VALUE:
    return nested ? nested_value_step(splitter) : value_step(splitter);
  default:
    return nested ? nested_behind_step(splitter) : behind_step(splitter);
  }
}
