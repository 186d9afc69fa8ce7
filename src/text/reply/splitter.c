/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Content and thinking: the text between marks, what is held back of it, and where calls begin and end. */
#include "text/reply/splitter.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"

#define KEPT_BYTES 4096u /* consumed text that may stay before what is left of the input */

/* --- Giving ------------------------------------------------------------------------------------------------------- */

typedef struct queued {
  em_delta_kind kind;
  size_t call, bytes;
} queued;

static void pass(em_splitter *splitter, em_delta_kind kind, size_t call, const char *text, size_t bytes) {
  em_delta delta = {.kind = kind, .call = call, .text = text, .bytes = bytes};
  if (!splitter->failed && !splitter->params.sink(splitter->params.user, &delta))
    splitter->failed = true;
}

void em_splitter_give(em_splitter *splitter, em_delta_kind kind, const char *text, size_t bytes) {
  bool of_call = kind != EM_DELTA_CONTENT && kind != EM_DELTA_THINKING;
  queued entry = {.kind = kind, .call = of_call ? splitter->n_calls - 1 : 0, .bytes = bytes};
  if (bytes == 0 && kind != EM_DELTA_CALL)
    return;
  if (!splitter->on_trial) {
    pass(splitter, kind, entry.call, text, bytes);
    return;
  }
  em_buffer_append(&splitter->queue, &entry, sizeof entry);
  em_buffer_append(&splitter->queue, text, bytes);
}

static em_delta_kind text_kind(const em_splitter *splitter) {
  return splitter->mode == EM_MODE_THINKING && !splitter->params.keeps_thinking ? EM_DELTA_THINKING : EM_DELTA_CONTENT;
}

static void drop_held(em_splitter *splitter) {
  splitter->held.bytes = 0;
  splitter->held_mark = false;
}

static void give_held(em_splitter *splitter) {
  em_splitter_give(splitter, text_kind(splitter), splitter->held.data, splitter->held.bytes);
  drop_held(splitter);
}

void em_splitter_give_text(em_splitter *splitter, const char *text, size_t bytes) {
  if (bytes == 0)
    return;
  give_held(splitter);
  em_splitter_give(splitter, text_kind(splitter), text, bytes);
  splitter->skip_space = false;
  if (splitter->mode != EM_MODE_THINKING) {
    splitter->began = true;
    splitter->after_call = false;
  }
}

/* --- Reading ------------------------------------------------------------------------------------------------------ */

bool em_is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

void em_splitter_consume(em_splitter *splitter, size_t bytes) {
  if (splitter->keeps_raw && bytes > 0)
    em_buffer_append(&splitter->raw, em_splitter_text(splitter), bytes);
  splitter->at += bytes;
}

void em_splitter_skip_space(em_splitter *splitter) {
  const char *text = em_splitter_text(splitter);
  size_t n = 0, left = em_splitter_left(splitter);
  while (n < left && em_is_space(text[n]))
    n++;
  em_splitter_consume(splitter, n);
}

size_t em_splitter_match(const em_splitter *splitter, const char *mark) {
  return em_mark_at(mark, em_splitter_text(splitter), em_splitter_left(splitter), splitter->at_end);
}

em_step em_splitter_until(em_splitter *splitter, const char *const *marks, size_t n, const char *stops,
                          size_t max_bytes, em_buffer *out, size_t *which, size_t *mark_bytes) {
  const char *text = em_splitter_text(splitter);
  size_t left = em_splitter_left(splitter), i;
  em_step result = EM_STEP_MORE;
  *mark_bytes = 0;
  for (i = 0; i < left; i++) {
    bool waits = false;
    for (size_t k = 0; k < n; k++) {
      size_t found = em_mark_at(marks[k], text + i, left - i, splitter->at_end);
      waits = waits || found == SIZE_MAX;
      if (found != SIZE_MAX && found > *mark_bytes) {
        *mark_bytes = found;
        *which = k;
      }
    }
    if (waits)
      break;
    if (*mark_bytes > 0) {
      result = EM_STEP_ON;
      break;
    }
    if ((stops[0] && memchr(stops, text[i], strlen(stops) + 1)) || out->bytes + i >= max_bytes) {
      result = EM_STEP_FAIL;
      break;
    }
  }
  em_buffer_append(out, text, i);
  em_splitter_consume(splitter, i);
  return result;
}

em_step em_splitter_read_value(em_splitter *splitter, em_buffer *out, size_t max_bytes) {
  em_progress progress;
  size_t used, n = max_bytes == SIZE_MAX ? em_splitter_left(splitter) : 1;
  /* With a limit by the smallest steps, so that it is met at the same byte however the text came. */
  for (;;) {
    size_t left = em_splitter_left(splitter);
    n = n < left ? n : left;
    progress =
        em_value_read(&splitter->value, em_splitter_text(splitter), n, splitter->at_end && n == left, out, &used);
    em_splitter_consume(splitter, used);
    if (out->bytes > max_bytes)
      return EM_STEP_FAIL;
    if (progress != EM_PROGRESS_MORE)
      return progress == EM_PROGRESS_DONE ? EM_STEP_ON : EM_STEP_FAIL;
    if (em_splitter_left(splitter) == 0 || (used == 0 && n == left) || max_bytes == SIZE_MAX)
      return EM_STEP_MORE;
    n = used > 0 ? 1 : n + 1;
  }
}

/* --- Calls -------------------------------------------------------------------------------------------------------- */

void em_splitter_begin_call(em_splitter *splitter) {
  if (!splitter->on_trial)
    splitter->raw.bytes = 0;
  splitter->raw_from = splitter->raw.bytes;
  splitter->keeps_raw = true;
  splitter->stage = 0;
  splitter->call_open = splitter->has_arguments = false;
  splitter->name.bytes = splitter->id.bytes = splitter->early.bytes = splitter->key.bytes = 0;
}

void em_splitter_open_call(em_splitter *splitter) {
  /* What was held before the first call of a reply is white space and marks. */
  if (!splitter->on_trial) {
    drop_held(splitter);
    splitter->keeps_raw = false;
    splitter->raw.bytes = 0;
  }
  splitter->raw_from = splitter->raw.bytes;
  splitter->n_calls++;
  splitter->call_open = true;
  em_splitter_give(splitter, EM_DELTA_CALL, splitter->name.data ? splitter->name.data : "", splitter->name.bytes);
  em_splitter_give(splitter, EM_DELTA_CALL_ID, splitter->id.data, splitter->id.bytes);
  em_splitter_give_arguments(splitter, splitter->early.data, splitter->early.bytes);
}

void em_splitter_give_arguments(em_splitter *splitter, const char *text, size_t bytes) {
  em_splitter_give(splitter, EM_DELTA_ARGUMENTS, text, bytes);
}

em_step em_splitter_read_arguments(em_splitter *splitter) {
  em_step result;
  if (!splitter->call_open) {
    em_splitter_skip_space(splitter);
    if (em_splitter_left(splitter) == 0)
      return EM_STEP_MORE;
    if (em_splitter_text(splitter)[0] != '{')
      return EM_STEP_FAIL;
    em_splitter_open_call(splitter);
  }
  result = em_splitter_read_value(splitter, &splitter->scratch, SIZE_MAX);
  em_splitter_give_arguments(splitter, splitter->scratch.data, splitter->scratch.bytes);
  splitter->scratch.bytes = 0;
  return result;
}

void em_splitter_end_calls(em_splitter *splitter) {
  splitter->mode = splitter->on_trial ? EM_MODE_AFTER : EM_MODE_CONTENT;
  splitter->in_list = false;
  if (splitter->on_trial)
    return;
  splitter->keeps_raw = false;
  splitter->after_call = splitter->skip_space = true;
}

bool em_splitter_is_tool(const em_splitter *splitter, const char *name) {
  return !splitter->params.tools || em_schema_of_function(splitter->params.tools, name);
}

/* What the trial read was thinking after all. The white space at its end may yet be trimmed. */
static void end_trial_as_thinking(em_splitter *splitter) {
  size_t n = splitter->raw.bytes;
  splitter->on_trial = splitter->keeps_raw = splitter->call_open = splitter->in_list = false;
  splitter->queue.bytes = 0;
  splitter->n_calls = splitter->n_calls_before;
  splitter->mode = EM_MODE_THINKING;
  splitter->limit = splitter->in.bytes;
  while (n > 0 && !splitter->params.keeps_thinking && em_is_space(splitter->raw.data[n - 1]))
    n--;
  em_splitter_give_text(splitter, splitter->raw.data, n);
  em_buffer_append(&splitter->held, splitter->raw.data + n, splitter->raw.bytes - n);
  splitter->raw.bytes = 0;
}

static void end_trial_as_calls(em_splitter *splitter) {
  const char *at = splitter->queue.data, *end = at + splitter->queue.bytes;
  size_t kept = splitter->raw.bytes - splitter->raw_from;
  splitter->on_trial = splitter->keeps_raw = false;
  drop_held(splitter);
  while (at < end) {
    queued entry;
    memcpy(&entry, at, sizeof entry);
    at += sizeof entry;
    pass(splitter, entry.kind, entry.call, at, entry.bytes);
    at += entry.bytes;
  }
  splitter->queue.bytes = 0;
  splitter->mode = EM_MODE_CONTENT;
  /* A further call that did not get as far as its name. */
  if (!splitter->call_open)
    em_splitter_give_text(splitter, splitter->raw.data + splitter->raw_from, kept);
}

/* The text is no call, or no longer one. */
static void fail_call(em_splitter *splitter) {
  if (splitter->on_trial) {
    end_trial_as_thinking(splitter);
    return;
  }
  bool in_key = splitter->mode == EM_MODE_TAG_KEY;
  splitter->mode = EM_MODE_CONTENT;
  splitter->keeps_raw = splitter->in_list = false;
  splitter->began = true;
  if (!splitter->call_open) {
    em_splitter_give_text(splitter, splitter->raw.data, splitter->raw.bytes);
  } else if (in_key) {
    /* The name of a parameter that is none. */
    em_splitter_give_text(splitter, splitter->style.key_start, strlen(splitter->style.key_start));
    em_splitter_give_text(splitter, splitter->key.data, splitter->key.bytes);
  }
  splitter->raw.bytes = 0;
  splitter->call_open = false;
}

/* On trial the steps see the text up to the end of thinking, or to what may be its start. */
static void limit_trial(em_splitter *splitter) {
  const char *mark = splitter->style.think_end, *found;
  size_t n = strlen(mark), from = splitter->scanned > splitter->at ? splitter->scanned : splitter->at;
  splitter->limit = splitter->in.bytes;
  splitter->at_end = splitter->finishing;
  splitter->ends_trial = false;
  if (n == 0)
    return;
  found = from < splitter->in.bytes ? memmem(splitter->in.data + from, splitter->in.bytes - from, mark, n) : NULL;
  if (found) {
    splitter->limit = (size_t)(found - splitter->in.data);
    splitter->ends_trial = splitter->at_end = true;
  } else if (!splitter->finishing) {
    size_t k = splitter->in.bytes - from < n - 1 ? splitter->in.bytes - from : n - 1;
    while (k > 0 && memcmp(splitter->in.data + splitter->in.bytes - k, mark, k) != 0)
      k--;
    splitter->limit -= k;
  }
  splitter->scanned = splitter->limit;
}

/* --- Marks in text ------------------------------------------------------------------------------------------------ */

static void add_mark(em_marks *marks, const char *text, em_mark_means means) {
  if (!text[0] || marks->n == EM_MAX_MARKS)
    return;
  marks->texts[marks->n] = text;
  marks->means[marks->n] = means;
  marks->first[(unsigned char)text[0]] = true;
  marks->n++;
}

static void find_marks(em_splitter *splitter) {
  const em_reply_style *style = &splitter->style;
  em_marks *content = &splitter->content_marks, *thinking = &splitter->thinking_marks;
  if (style->syntax == EM_CALLS_CHANNELS) {
    static const char *const ends[] = {"<|end|>", "<|return|>", "<|call|>"};
    for (size_t i = 0; i < 3; i++) {
      add_mark(content, ends[i], EM_MEANS_MESSAGE_END);
      add_mark(thinking, ends[i], EM_MEANS_MESSAGE_END);
    }
    add_mark(content, "<|start|>", EM_MEANS_MESSAGE);
    add_mark(thinking, "<|start|>", EM_MEANS_MESSAGE);
    add_mark(content, "<|channel|>", EM_MEANS_MESSAGE);
    add_mark(thinking, "<|channel|>", EM_MEANS_MESSAGE);
    return;
  }
  snprintf(splitter->led_start, sizeof splitter->led_start, "%s%s", style->section_lead,
           style->section_start[0] ? style->section_start : style->call_start);
  snprintf(splitter->tailed_end, sizeof splitter->tailed_end, "%s%s", style->value_tail, style->value_end);
  if (style->opens_call)
    snprintf(splitter->switch_start, sizeof splitter->switch_start, "%s%s", style->call_start, style->content_start);
  add_mark(content, style->think_start, EM_MEANS_THINK_START);
  add_mark(content, style->think_end, EM_MEANS_THINK_END);
  add_mark(thinking, style->think_end, EM_MEANS_THINK_END);
  add_mark(content, style->stray, EM_MEANS_STRAY);
  add_mark(content, style->content_start, EM_MEANS_CONTENT_START);
  add_mark(content, style->turn_start, EM_MEANS_CONTENT_START);
  add_mark(content, splitter->switch_start, EM_MEANS_CONTENT_START);
  add_mark(content, style->content_end, EM_MEANS_END);
  add_mark(content, style->turn_end, EM_MEANS_END);
  if (!splitter->params.finds_calls)
    return;
  if (style->section_lead[0])
    add_mark(content, splitter->led_start, style->section_start[0] ? EM_MEANS_SECTION : EM_MEANS_CALL);
  add_mark(content, style->section_start, EM_MEANS_SECTION);
  add_mark(thinking, style->section_start, EM_MEANS_SECTION);
  add_mark(content, style->call_start, EM_MEANS_CALL);
  add_mark(thinking, style->call_start, EM_MEANS_CALL);
  add_mark(content, style->section_end, EM_MEANS_CALL_REST);
  add_mark(content, style->call_end, EM_MEANS_CALL_REST);
}

bool em_reply_style_has(const em_reply_style *style, const char *text, size_t bytes) {
  const char *marks[] = {style->think_start, style->think_end,     style->section_start, style->section_end,
                         style->call_start,  style->name_end,      style->call_end,      style->id_end,
                         style->key_start,   style->key_end,       style->value_end,     style->text_mark,
                         style->value_start, style->key_end_other, style->stray};
  static const char channels[] = "<|start|><|channel|><|message|><|constrain|><|end|><|call|><|return|>";
  if (bytes == 0)
    return false;
  for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
    if (memmem(marks[i], strlen(marks[i]), text, bytes))
      return true;
  return style->syntax == EM_CALLS_CHANNELS && memmem(channels, sizeof channels - 1, text, bytes);
}

static bool is_special(const char *mark) {
  return strchr(mark, '|') || strstr(mark, "｜");
}

/* Whether a mark means anything where the text is. */
static bool counts(const em_splitter *splitter, em_mark_means means) {
  const em_reply_style *style = &splitter->style;
  switch (means) {
  case EM_MEANS_THINK_START:
    return !splitter->began || style->thinks_anywhere;
  case EM_MEANS_THINK_END:
    return splitter->mode == EM_MODE_THINKING ||
           (!splitter->params.keeps_thinking && (!splitter->began || is_special(style->think_end)));
  case EM_MEANS_CONTENT_START:
    return !splitter->began || style->opens_call;
  case EM_MEANS_CALL_REST:
    return splitter->after_call;
  case EM_MEANS_SECTION:
  case EM_MEANS_CALL:
    return splitter->n_calls < EM_REPLY_MAX_CALLS;
  default:
    return true;
  }
}

static void begin_thinking(em_splitter *splitter) {
  splitter->mode = EM_MODE_THINKING;
  splitter->thought = true;
  splitter->skip_space = !splitter->params.keeps_thinking;
}

static void end_thinking(em_splitter *splitter) {
  splitter->mode = EM_MODE_CONTENT;
  splitter->skip_space = !splitter->params.keeps_thinking;
  splitter->began = false;
}

static void begin_calls(em_splitter *splitter, em_mark_means means) {
  bool json = splitter->style.syntax == EM_CALLS_JSON || splitter->style.syntax == EM_CALLS_PYTHON;
  if (splitter->mode == EM_MODE_THINKING) {
    splitter->on_trial = true;
    splitter->raw.bytes = splitter->queue.bytes = 0;
    splitter->n_calls_before = splitter->n_calls;
  }
  splitter->n_calls_section = splitter->n_calls;
  splitter->in_list = false;
  em_splitter_begin_call(splitter);
  splitter->mode = means == EM_MEANS_CALL && !json ? EM_MODE_NAME : EM_MODE_SECTION;
}

/* Takes the mark of that many bytes at the reading position. */
static void take_mark(em_splitter *splitter, em_mark_means means, size_t bytes) {
  const char *text = em_splitter_text(splitter);
  bool raw = splitter->params.keeps_thinking;
  switch (means) {
  case EM_MEANS_THINK_START:
    if (raw)
      em_splitter_give_text(splitter, text, bytes);
    else
      drop_held(splitter);
    begin_thinking(splitter);
    break;
  case EM_MEANS_THINK_END:
    if (raw)
      em_splitter_give_text(splitter, text, bytes);
    else
      drop_held(splitter);
    if (splitter->mode == EM_MODE_THINKING || !splitter->began)
      end_thinking(splitter);
    break;
  case EM_MEANS_STRAY:
    break;
  case EM_MEANS_CONTENT_START:
    drop_held(splitter);
    break;
  case EM_MEANS_END:
    em_buffer_append(&splitter->held, text, bytes);
    splitter->held_mark = true;
    break;
  case EM_MEANS_SECTION:
  case EM_MEANS_CALL:
    begin_calls(splitter, means);
    break;
  case EM_MEANS_CALL_REST:
    splitter->skip_space = true;
    break;
  case EM_MEANS_MESSAGE_END:
    if (raw && splitter->mode == EM_MODE_THINKING)
      em_splitter_give_text(splitter, text, bytes);
    else
      drop_held(splitter);
    splitter->mode = EM_MODE_HEADER;
    em_splitter_begin_call(splitter);
    break;
  case EM_MEANS_MESSAGE:
    drop_held(splitter);
    splitter->mode = EM_MODE_HEADER;
    em_splitter_begin_call(splitter);
    return; /* the header begins with it */
  }
  em_splitter_consume(splitter, bytes);
}

/* Whether a call may begin without a mark. */
static bool is_bare(const em_splitter *splitter) {
  return splitter->params.finds_calls && splitter->style.syntax == EM_CALLS_JSON && !splitter->style.section_start[0] &&
         !splitter->params.is_json;
}

/* Whether white space waits for what follows it. */
static bool holds_space(const em_splitter *splitter) {
  if (splitter->mode == EM_MODE_THINKING)
    return !splitter->params.keeps_thinking;
  return splitter->held_mark || splitter->params.is_json ||
         (!splitter->began && (splitter->content_marks.n > 0 || is_bare(splitter)));
}

static em_step text_step(em_splitter *splitter) {
  const em_marks *marks = splitter->mode == EM_MODE_THINKING ? &splitter->thinking_marks : &splitter->content_marks;
  const char *text = em_splitter_text(splitter);
  size_t left = em_splitter_left(splitter), n = 0, longest = 0;
  bool holds = holds_space(splitter) || splitter->skip_space, waits = false;
  em_mark_means means = EM_MEANS_STRAY;
  uint32_t character;
  while (n < left && !marks->first[(unsigned char)text[n]] && !(holds && em_is_space(text[n])))
    n++;
  if (n > 0 && !splitter->began && splitter->mode == EM_MODE_CONTENT && is_bare(splitter) &&
      (text[0] == '{' || text[0] == '[')) {
    begin_calls(splitter, EM_MEANS_SECTION);
    return EM_STEP_ON;
  }
  if (n > 0) {
    em_splitter_give_text(splitter, text, n);
    em_splitter_consume(splitter, n);
    return EM_STEP_ON;
  }
  for (size_t i = 0; i < marks->n; i++) {
    size_t found = counts(splitter, marks->means[i]) ? em_splitter_match(splitter, marks->texts[i]) : 0;
    waits = waits || found == SIZE_MAX;
    if (found != SIZE_MAX && found > longest) {
      longest = found;
      means = marks->means[i];
    }
  }
  if (waits)
    return EM_STEP_MORE;
  if (longest > 0) {
    take_mark(splitter, means, longest);
    return EM_STEP_ON;
  }
  if (holds && em_is_space(text[0])) {
    if (!splitter->skip_space)
      em_buffer_append(&splitter->held, text, 1);
    em_splitter_consume(splitter, 1);
    return EM_STEP_ON;
  }
  n = em_utf8_decode(text, left, &character, NULL);
  em_splitter_give_text(splitter, text, n);
  em_splitter_consume(splitter, n);
  return EM_STEP_ON;
}

/* Behind a section inside thinking. */
static em_step after_step(em_splitter *splitter) {
  const em_reply_style *style = &splitter->style;
  size_t section, call;
  em_splitter_skip_space(splitter);
  if (em_splitter_left(splitter) == 0)
    return EM_STEP_MORE;
  section = em_splitter_match(splitter, style->section_start);
  call = em_splitter_match(splitter, style->call_start);
  if (section == SIZE_MAX || call == SIZE_MAX)
    return EM_STEP_MORE;
  if ((section == 0 && call == 0) || splitter->n_calls >= EM_REPLY_MAX_CALLS)
    return EM_STEP_FAIL;
  begin_calls(splitter, section > 0 ? EM_MEANS_SECTION : EM_MEANS_CALL);
  em_splitter_consume(splitter, section > 0 ? section : call);
  return EM_STEP_ON;
}

/* A prompt that ends where a name may stand leaves it to the reply whether content or a call follows. */
static em_step first_step(em_splitter *splitter) {
  size_t content = em_splitter_match(splitter, splitter->style.content_start);
  if (content == SIZE_MAX)
    return EM_STEP_MORE;
  splitter->is_first = false;
  if (content > 0) {
    em_splitter_consume(splitter, content);
  } else {
    begin_calls(splitter, EM_MEANS_CALL);
  }
  return EM_STEP_ON;
}

static em_step step(em_splitter *splitter) {
  if (splitter->is_first)
    return first_step(splitter);
  switch (splitter->mode) {
  case EM_MODE_CONTENT:
  case EM_MODE_THINKING:
    return text_step(splitter);
  case EM_MODE_AFTER:
    return after_step(splitter);
  default:
    break;
  }
  switch (splitter->style.syntax) {
  case EM_CALLS_JSON:
    return em_splitter_json_step(splitter);
  case EM_CALLS_TAGGED:
  case EM_CALLS_NESTED:
    return em_splitter_tagged_step(splitter);
  case EM_CALLS_CHANNELS:
    return em_splitter_channel_step(splitter);
  default:
    return em_splitter_named_step(splitter);
  }
}

/* --- The splitter ------------------------------------------------------------------------------------------------- */

em_status em_splitter_new(const em_splitter_params *params, em_splitter **out, em_error *error) {
  const em_reply_style *style = params->style;
  em_splitter *splitter = em_calloc(1, sizeof *splitter);
  if (!splitter)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the reply");
  splitter->style = *style;
  splitter->params = *params;
  splitter->params.style = &splitter->style;
  splitter->params.finds_calls = params->finds_calls && style->syntax != EM_CALLS_NONE;
  find_marks(splitter);
  splitter->mode = params->start == EM_REPLY_IN_THINKING ? EM_MODE_THINKING : EM_MODE_CONTENT;
  splitter->began = params->start == EM_REPLY_IN_CONTENT;
  if (params->start == EM_REPLY_FRESH && style->opens_thinking) {
    begin_thinking(splitter);
    splitter->owes_opened = splitter->params.keeps_thinking || !style->think_start[0];
  } else if (params->start == EM_REPLY_FRESH && style->syntax == EM_CALLS_CHANNELS) {
    splitter->mode = EM_MODE_HEADER;
    em_splitter_begin_call(splitter);
  }
  splitter->is_first = params->start == EM_REPLY_FRESH && style->opens_call && splitter->params.finds_calls;
  *out = splitter;
  return EM_OK;
}

void em_splitter_free(em_splitter *splitter) {
  if (!splitter)
    return;
  em_buffer *buffers[] = {&splitter->in, &splitter->held, &splitter->raw,   &splitter->queue,   &splitter->name,
                          &splitter->id, &splitter->key,  &splitter->early, &splitter->scratch, &splitter->parameter};
  for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++)
    em_buffer_clear(buffers[i]);
  free(splitter);
}

static bool is_out_of_memory(const em_splitter *splitter) {
  return splitter->failed || splitter->in.failed || splitter->held.failed || splitter->raw.failed ||
         splitter->queue.failed || splitter->name.failed || splitter->id.failed || splitter->key.failed ||
         splitter->early.failed || splitter->scratch.failed || splitter->parameter.failed;
}

static void run(em_splitter *splitter) {
  if (splitter->owes_opened)
    em_splitter_give(splitter, text_kind(splitter), splitter->style.opened, strlen(splitter->style.opened));
  splitter->owes_opened = false;
  while (!is_out_of_memory(splitter)) {
    splitter->limit = splitter->in.bytes;
    splitter->at_end = splitter->finishing;
    if (splitter->on_trial) {
      limit_trial(splitter);
      if (splitter->ends_trial && splitter->at == splitter->limit) {
        end_trial_as_thinking(splitter);
        continue;
      }
    }
    if (splitter->at == splitter->limit)
      break;
    em_step result = step(splitter);
    /* A call that waits for more where nothing follows is none. */
    if (result == EM_STEP_FAIL || (result == EM_STEP_MORE && splitter->at_end && splitter->at < splitter->limit))
      fail_call(splitter);
    else if (result == EM_STEP_MORE && !(splitter->on_trial && splitter->ends_trial))
      break;
  }
}

em_status em_splitter_feed(em_splitter *splitter, const char *text, size_t bytes, em_error *error) {
  if (splitter->at == splitter->in.bytes || splitter->at > KEPT_BYTES) {
    size_t left = splitter->in.bytes - splitter->at;
    if (left > 0)
      memmove(splitter->in.data, splitter->in.data + splitter->at, left);
    splitter->scanned = splitter->scanned > splitter->at ? splitter->scanned - splitter->at : 0;
    splitter->in.bytes = left;
    splitter->at = 0;
  }
  if (!em_buffer_append(&splitter->in, text, bytes))
    splitter->failed = true;
  run(splitter);
  return is_out_of_memory(splitter) ? em_fail(error, EM_ERR_NO_MEMORY, "no memory for the reply") : EM_OK;
}

em_status em_splitter_finish(em_splitter *splitter, em_error *error) {
  splitter->finishing = true;
  run(splitter);
  if (splitter->on_trial) {
    if (splitter->n_calls > splitter->n_calls_before)
      end_trial_as_calls(splitter);
    else
      end_trial_as_thinking(splitter);
  } else if (splitter->mode == EM_MODE_HEADER) {
    splitter->raw.bytes = 0;
  } else if (splitter->keeps_raw && !splitter->call_open) {
    splitter->mode = EM_MODE_CONTENT;
    em_splitter_give_text(splitter, splitter->raw.data, splitter->raw.bytes);
  }
  if (splitter->mode == EM_MODE_CONTENT && !splitter->held_mark && !splitter->params.is_json && !splitter->thought &&
      splitter->n_calls == 0)
    give_held(splitter);
  return is_out_of_memory(splitter) ? em_fail(error, EM_ERR_NO_MEMORY, "no memory for the reply") : EM_OK;
}
