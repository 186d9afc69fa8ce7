/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How a template writes tool calls, read off what it renders for one call and for two. */
#include <string.h>

#include "base/json.h"
#include "text/style-private.h"

/* Where the words of a call stand in a rendered answer. */
typedef struct places {
  em_part call;   /* the whole answer with one call, without what follows the turn */
  em_part before; /* what the model writes before the name */
  const char *name, *name_end, *key, *key_end, *value, *value_end, *key_2, *key_2_end, *value_2, *value_2_end;
} places;

/* The part without white space at its end, or at its start. */
static em_part trim_end(em_part part) {
  em_part inner = em_part_trim(part);
  return inner.bytes ? em_part_between(part.text, inner.text + inner.bytes) : (em_part){part.text, 0};
}

static em_part trim_start(em_part part) {
  em_part inner = em_part_trim(part);
  return inner.bytes ? em_part_between(inner.text, part.text + part.bytes) : (em_part){part.text, 0};
}

static em_part space_before(em_part part) {
  em_part inner = em_part_trim(part);
  return inner.bytes ? em_part_between(part.text, inner.text) : (em_part){part.text, 0};
}

/* The part from the first tag in it on; all of it where there is none. */
static em_part from_tag(em_part part) {
  for (size_t i = 0; i < part.bytes; i++)
    if (part.text[i] == '<' || part.text[i] == '[')
      return em_part_behind(part, i);
  return part;
}

/* The text from `from` to the word, and behind it; false: it is not there. */
static bool find(const char *from, em_part in, const char *word, const char **start, const char **end) {
  *start = em_part_find(em_part_between(from, in.text + in.bytes), word);
  if (!*start)
    return false;
  *end = *start + strlen(word);
  return true;
}

/* What stands behind the turn in an answer without calls is no part of a call either. */
static em_part without_turn_end(const char *call, const char *content) {
  em_part whole = em_part_of(call), end;
  size_t common;
  if (!content)
    return whole;
  common = em_part_common_end(whole, em_part_of(content));
  end = em_part_behind(whole, whole.bytes - common);
  for (size_t i = 0; i < end.bytes && end.text[i] != '<' && end.text[i] != '['; i++)
    if (end.text[i] == '>' || end.text[i] == ']') {
      end = from_tag(em_part_behind(end, i));
      break;
    }
  return em_part_between(whole.text, end.text);
}

static em_part before_name(const em_renders *renders, em_part call, const char *name, const em_reply_style *style) {
  em_part before = em_part_between(call.text, name);
  const char *thought;
  if (renders->content)
    before = em_part_behind(before, em_part_common_start(before, em_part_of(renders->content)));
  thought = style->think_end[0] ? em_part_find_last(before, style->think_end) : NULL;
  return thought ? em_part_between(thought + strlen(style->think_end), name) : before;
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

/* The bytes of the JSON value that begins at part, by its brackets; 0: none. */
static size_t json_bytes(em_part part) {
  size_t depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < part.bytes; i++) {
    char c = part.text[i];
    if (quoted) {
      if (c == '\\')
        i++;
      else if (c == '"')
        quoted = false;
      continue;
    }
    quoted = c == '"';
    depth += c == '{' || c == '[';
    if ((c == '}' || c == ']') && --depth == 0)
      return i + 1;
  }
  return 0;
}

static bool holds(const em_json *json, const char *word) {
  return json->kind == EM_JSON_STRING ? strstr(json->string.text, word) != NULL
                                      : json->kind == EM_JSON_OBJECT && em_json_get(json, word);
}

/* Which member of the call is what. */
static bool read_members(const em_json *call, em_reply_style *out) {
  const em_json *function = em_json_get(call, "function");
  if (call->kind == EM_JSON_ARRAY)
    return call->first && call->first->kind == EM_JSON_OBJECT && read_members(call->first, out);
  if (function && function->kind == EM_JSON_OBJECT)
    call = function;
  for (const em_json *member = call->first; member; member = member->next) {
    bool is_id = member->key_bytes >= 2 && strcmp(member->key + member->key_bytes - 2, "id") == 0;
    if (strcmp(member->key, EM_WORD_FUNCTION) == 0)
      out->name_is_key = true;
    else if (member->kind == EM_JSON_STRING && strcmp(member->string.text, EM_WORD_FUNCTION) == 0)
      em_mark_set(out->name_key, (em_part){member->key, member->key_bytes});
    else if (holds(member, EM_WORD_KEY))
      em_mark_set(out->arguments_key, (em_part){member->key, member->key_bytes});
    else if (is_id)
      em_mark_set(out->id_key, (em_part){member->key, member->key_bytes});
  }
  return out->name_is_key || (out->name_key[0] && out->arguments_key[0]);
}

/* The name stands within JSON: what stands around that is all there is. */
static em_status find_json(const places *p, em_reply_style *out, bool *found, em_error *error) {
  em_status status = EM_OK;
  em_arena *arena = em_arena_new(0);
  const char *end = p->call.text + p->call.bytes;
  if (!arena)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the chat template"));
  for (const char *at = p->before.text; at < p->name && !*found; at++) {
    const em_json *json;
    size_t bytes = *at == '{' || *at == '[' ? json_bytes(em_part_between(at, end)) : 0;
    if (bytes == 0 || at + bytes < p->name_end)
      continue;
    status = em_json_parse(arena, at, bytes, 0, &json, NULL);
    if (status == EM_ERR_NO_MEMORY)
      EM_TRY(em_fail(error, status, "no memory for the chat template"));
    if (status != EM_OK || !read_members(json, out))
      continue;
    em_part before = em_part_between(p->before.text, at), behind = trim_start(em_part_between(at + bytes, end));
    size_t tag = em_part_tag(behind);
    *found = true;
    out->syntax = EM_CALLS_JSON;
    em_mark_set(out->section_start, em_part_trim(before));
    em_mark_set(out->section_lead, space_before(before));
    if (tag == 0)
      while (tag < behind.bytes && behind.text[tag] != '<' && behind.text[tag] != '\n')
        tag++;
    em_mark_set(out->section_end, (em_part){behind.text, tag});
  }
  status = EM_OK;
fail:
  em_arena_free(arena);
  return status;
}

/* --- Names and values between marks ------------------------------------------------------------------------------- */

/* What stands between two calls in the answer with two, behind the arguments' end (the last place of `behind`). */
static em_part between_calls(const em_renders *renders, const char *behind) {
  const char *first, *start, *second, *end;
  em_part calls = em_part_of(renders->calls ? renders->calls : "");
  if (!find(calls.text, calls, EM_WORD_FUNCTION, &first, &end) || !find(end, calls, EM_WORD_FUNCTION, &second, &end))
    return (em_part){"", 0};
  start = em_part_find_last(em_part_between(first, second), behind);
  return start ? em_part_between(start + strlen(behind), second) : (em_part){"", 0};
}

/* Divides what stands before a name into the start of the section and that of each call. */
static void find_starts(const places *p, em_part between, em_reply_style *out) {
  em_part before = p->before, start = before;
  size_t common = em_part_common_end(before, between);
  if (out->syntax == EM_CALLS_NESTED) {
    const char *last = em_part_find_last(before, out->key_start);
    start = last ? em_part_between(last, p->name) : before;
  } else if (common > 0) {
    start = from_tag(em_part_behind(before, before.bytes - common));
  } else if (before.bytes == 0 && between.bytes > 0) {
    em_mark_set(out->call_start, em_part_trim(between)); /* the prompt itself began the call */
    return;
  }
  /* Of two tags with white space between them, the first is the section's. */
  start = trim_start(start);
  for (size_t i = start.bytes; i > 1; i--)
    if ((start.text[i - 1] == '<' || start.text[i - 1] == '[') && strchr(" \n", start.text[i - 2]) &&
        out->syntax != EM_CALLS_NESTED) {
      start = em_part_behind(start, i - 1);
      break;
    }
  em_mark_set(out->call_start, trim_end(start));
  before = em_part_between(before.text, start.text);
  em_mark_set(out->section_start, em_part_trim(before));
  em_mark_set(out->section_lead, space_before(em_part_between(p->before.text, p->name)));
}

/* Divides what stands behind the arguments likewise. behind_last: behind those of the last call. */
static void find_ends(em_part between, em_part behind_last, em_reply_style *out) {
  em_part end, rest = trim_start(behind_last), own = between;
  const char *next = out->section_start[0] ? em_part_find(between, out->section_start) : NULL;
  const char *call = out->call_start[0] ? em_part_find(between, out->call_start) : NULL;
  next = next && (!call || next < call) ? next : call;
  if (next)
    own = em_part_between(between.text, next);
  end = em_part_trim(between.bytes > 0 && next ? own : trim_end(rest));
  /* Of two tags with white space between them, the second is the section's. */
  for (size_t i = 1; i < end.bytes; i++)
    if (end.text[i] == '\n' && i + 1 < end.bytes && end.text[i + 1] == '<' && out->syntax != EM_CALLS_NESTED) {
      end.bytes = i;
      break;
    }
  if (!em_part_starts(rest, end))
    end = (em_part){rest.text, em_part_tag(rest)};
  em_mark_set(out->call_end, end);
  rest = em_part_trim(em_part_behind(rest, end.bytes));
  em_mark_set(out->section_end,
              em_part_tag(rest) > 0 && out->syntax != EM_CALLS_NESTED ? (em_part){rest.text, em_part_tag(rest)} : rest);
}

/* The arguments are JSON, KEYED or PYTHON: one value behind the name. Returns its end, or NULL. */
static const char *find_named(const places *p, em_reply_style *out) {
  em_part between = em_part_between(p->name_end, p->key), gap = between;
  const char *open = em_part_find_last(between, "{"), *end = p->call.text + p->call.bytes, *id;
  size_t bytes;
  if (em_part_trim(between).bytes == 1 && p->key_end[0] == '=' && em_part_trim(between).text[0] == '(') {
    out->syntax = EM_CALLS_PYTHON;
    open = em_part_find(em_part_between(p->value_2_end, end), ")");
    return open ? open + 1 : NULL;
  }
  if (!open)
    return NULL;
  if (p->key_end[0] == ':' && open + 1 == p->key) {
    out->syntax = EM_CALLS_KEYED;
    em_mark_set(out->text_mark, em_part_trim(em_part_between(p->key_end + 1, p->value)));
    open = em_part_find(em_part_between(p->value_2_end, end), "}");
    return open && out->text_mark[0] ? open + 1 : NULL;
  }
  bytes = json_bytes(em_part_between(open, end));
  if (p->key[-1] != '"' || p->key_end[0] != '"' || bytes == 0)
    return NULL;
  out->syntax = EM_CALLS_NAMED;
  gap = em_part_between(p->name_end, open);
  if (gap.bytes > 2 && gap.text[0] == ':' && gap.text[1] == '0') {
    out->numbered = true;
    gap = em_part_behind(gap, 2);
  }
  id = em_part_find(gap, EM_WORD_ID);
  if (id) {
    out->id_follows = true;
    em_mark_set(out->name_end, em_part_trim(em_part_between(gap.text, id)));
    em_mark_set(out->id_end, em_part_trim(em_part_between(id + strlen(EM_WORD_ID), open)));
  } else {
    em_mark_set(out->name_end, em_part_trim(gap));
  }
  return open + bytes;
}

/* Parameters between marks. */
static bool find_tagged(const places *p, em_reply_style *out) {
  em_part a = em_part_between(p->name_end, p->key), v = em_part_between(p->value_end, p->key_2), start, k, k_2, end;
  const char *again = em_part_find(v, EM_WORD_KEY), *tag;
  if (again) {
    /* ...</key>...<key_2>: the part that all tags share stands before the slash. */
    if (again - v.text < 2 || again[-1] != '/' || again[-2] != '<')
      return false;
    out->syntax = EM_CALLS_NESTED;
    em_mark_set(out->key_start, em_part_between(v.text, again - 2));
    tag = out->key_start[0] ? em_part_find_last(a, out->key_start) : NULL;
    if (!tag)
      return false;
    em_mark_set(out->name_end, em_part_trim(em_part_between(p->name_end, tag)));
    return true;
  }
  out->syntax = EM_CALLS_TAGGED;
  start = em_part_behind(a, a.bytes - em_part_common_end(a, v));
  tag = em_part_find_last(start, "<");
  tag = tag ? tag : em_part_find_last(start, "[");
  if (!tag)
    return false;
  start = em_part_between(tag, p->key);
  em_mark_set(out->key_start, start);
  em_mark_set(out->name_end, em_part_trim(em_part_between(p->name_end, tag)));
  end = em_part_between(v.text, v.text + v.bytes - start.bytes);
  em_mark_set(out->value_tail, space_before(end));
  em_mark_set(out->value_end, em_part_trim(end));
  k = em_part_between(p->key_end, p->value);
  k_2 = em_part_between(p->key_2_end, p->value_2);
  tag = k.bytes > 1 ? em_part_find(em_part_behind(k, 1), "<") : NULL;
  if (k.bytes != k_2.bytes || memcmp(k.text, k_2.text, k.bytes) != 0) {
    em_mark_set(out->key_end, trim_end(k));
    em_mark_set(out->key_end_other, trim_end(k_2));
  } else if (tag) {
    em_mark_set(out->key_end, em_part_trim(em_part_between(k.text, tag)));
    em_mark_set(out->value_start, em_part_trim(em_part_between(tag, p->value)));
  } else {
    em_mark_set(out->key_end, trim_end(k));
    em_mark_set(out->value_lead, em_part_behind(k, trim_end(k).bytes));
  }
  return out->key_end[0] && out->value_end[0];
}

/* --- Together ----------------------------------------------------------------------------------------------------- */

/* Marks in common use, for templates that leave writing calls to the model. */
static void find_in_source(em_part source, em_reply_style *out) {
  static const struct {
    const char *evidence;
    em_call_syntax syntax;
    const char *section_start, *section_end, *call_start, *name_end, *call_end;
  } known[] = {
      {"<|tool_call_start|>", EM_CALLS_PYTHON, "<|tool_call_start|>", "<|tool_call_end|>", "", "", ""},
      {"List of tools: [", EM_CALLS_PYTHON, "<|tool_call_start|>", "<|tool_call_end|>", "", "", ""},
      {"List of tools: <|tool_list_start|>[", EM_CALLS_PYTHON, "<|tool_call_start|>", "<|tool_call_end|>", "", "", ""},
      {"<｜tool▁calls▁begin｜>", EM_CALLS_NAMED, "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>",
       "<｜tool▁call▁begin｜>function<｜tool▁sep｜>", "```json", "```<｜tool▁call▁end｜>"},
      {"<|tool_call|>", EM_CALLS_JSON, "<|tool_call|>", "", "", "", ""},
      {"<tool_call>", EM_CALLS_JSON, "<tool_call>", "</tool_call>", "", "", ""},
      {"functools[", EM_CALLS_JSON, "functools", "", "", "", ""},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (em_part_find(source, known[i].evidence)) {
      out->syntax = known[i].syntax;
      em_mark_set(out->section_start, em_part_of(known[i].section_start));
      em_mark_set(out->section_end, em_part_of(known[i].section_end));
      em_mark_set(out->call_start, em_part_of(known[i].call_start));
      em_mark_set(out->name_end, em_part_of(known[i].name_end));
      em_mark_set(out->call_end, em_part_of(known[i].call_end));
      em_mark_set(out->name_key, em_part_of("name"));
      em_mark_set(out->arguments_key, em_part_of("arguments"));
      return;
    }
}

/* An id before the name belongs to the call's start. */
static void find_leading_id(places *p, em_reply_style *out) {
  const char *id = em_part_find_last(p->before, EM_WORD_ID);
  if (!id)
    return;
  em_mark_set(out->id_end, em_part_trim(em_part_between(id + strlen(EM_WORD_ID), p->name)));
  p->before = em_part_between(p->before.text, id);
}

static void find_between_marks(const em_style_params *params, const em_renders *renders, places *p,
                               em_reply_style *out) {
  em_part between, source = {params->source, params->source_bytes};
  const char *end = p->call.text + p->call.bytes, *behind = find_named(p, out), *prompt_end;
  size_t n;
  if (behind) {
    find_leading_id(p, out);
    between = between_calls(renders, out->syntax == EM_CALLS_PYTHON ? ")" : "}");
    if (out->id_end[0] && !out->id_follows && em_part_find(between, EM_WORD_ID_2))
      between = em_part_between(between.text, em_part_find(between, EM_WORD_ID_2));
  } else if (find_tagged(p, out)) {
    between = between_calls(renders, EM_WORD_VALUE_2);
    behind = p->value_2_end;
    if (out->syntax == EM_CALLS_NESTED) {
      /* The last parameter's own end tag. */
      n = strlen(out->key_start) + strlen("</" EM_WORD_KEY_2 ">");
      between = between.bytes > n ? em_part_behind(between, n) : (em_part){"", 0};
    } else {
      n = strlen(out->value_tail) + strlen(out->value_end);
      between = between.bytes > n ? em_part_behind(between, n) : (em_part){"", 0};
    }
    if ((size_t)(end - behind) < n)
      return;
    behind += n;
    out->has_cdata = em_part_find(source, "CDATA") != NULL;
  } else {
    *out = (em_reply_style){.syntax = EM_CALLS_NONE};
    return;
  }
  if (out->syntax == EM_CALLS_PYTHON) {
    em_part before = p->before;
    const char *list = em_part_find_last(before, "[");
    em_part rest = em_part_between(behind, end);
    before = list ? em_part_between(before.text, list) : before;
    em_mark_set(out->section_start, em_part_trim(before));
    em_mark_set(out->section_lead, space_before(before));
    rest = em_part_trim(rest);
    if (rest.bytes > 0 && rest.text[0] == ']')
      rest = em_part_trim(em_part_behind(rest, 1));
    em_mark_set(out->section_end, (em_part){rest.text, em_part_tag(rest)});
    return;
  }
  find_starts(p, between, out);
  n = strlen(out->call_start);
  if (out->numbered && n > 10 && strcmp(out->call_start + n - 10, "functions.") == 0)
    out->call_start[n - 10] = 0;
  find_ends(between, em_part_between(behind, end), out);
  prompt_end = renders->prompt ? renders->prompt : "";
  between = em_part_trim(em_part_of(prompt_end));
  n = strlen(out->call_start);
  out->opens_call = out->syntax == EM_CALLS_NAMED && p->before.bytes == 0 && n > 0 && between.bytes >= n &&
                    memcmp(between.text + between.bytes - n, out->call_start, n) == 0;
}

em_status em_style_find_calls(const em_style_params *params, const em_renders *renders, em_reply_style *out,
                              em_error *error) {
  em_status status = EM_OK;
  em_reply_style calls = {0}, thinking = *out;
  places p = {0};
  bool found = false;
  if (!renders->call) {
    find_in_source((em_part){params->source, params->source_bytes}, out);
    return EM_OK;
  }
  p.call = without_turn_end(renders->call, renders->content);
  if (!find(p.call.text, p.call, EM_WORD_FUNCTION, &p.name, &p.name_end))
    return EM_OK;
  p.before = before_name(renders, p.call, p.name, out);
  EM_TRY(find_json(&p, &calls, &found, error));
  if (!found && find(p.name_end, p.call, EM_WORD_KEY, &p.key, &p.key_end) &&
      find(p.key_end, p.call, EM_WORD_VALUE, &p.value, &p.value_end) &&
      find(p.value_end, p.call, EM_WORD_KEY_2, &p.key_2, &p.key_2_end) &&
      find(p.key_2_end, p.call, EM_WORD_VALUE_2, &p.value_2, &p.value_2_end))
    find_between_marks(params, renders, &p, &calls);
  *out = calls;
  /* Where nothing marks a call, a mark for code may stand before it. */
  if (out->syntax == EM_CALLS_JSON && !out->section_start[0] &&
      em_part_find((em_part){params->source, params->source_bytes}, "<|python_tag|>"))
    em_mark_set(out->call_start, em_part_of("<|python_tag|>"));
  memcpy(out->think_start, thinking.think_start, sizeof out->think_start);
  memcpy(out->think_end, thinking.think_end, sizeof out->think_end);
  memcpy(out->stray, thinking.stray, sizeof out->stray);
  memcpy(out->opened, thinking.opened, sizeof out->opened);
  out->thinks_anywhere = thinking.thinks_anywhere;
  out->opens_thinking = thinking.opens_thinking;
fail:
  return status;
}
