/* SPDX-License-Identifier: GPL-3.0-or-later */
/* JSON as Python's json.dumps writes it, which is what chat templates expect of `tojson`. */
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "text/template/sort.h"
#include "text/template/value.h"

typedef struct writer {
  em_tpl_run *run;
  em_tpl_builder *builder;
  const em_tpl_json_style *style;
  size_t level;
} writer;

static bool put(writer *to, const char *text) {
  return em_tpl_put_text(to->run, to->builder, text);
}

/* The escape of a character, or "" when it stands for itself. */
static void find_escape(uint32_t c, bool ensure_ascii, char escape[16]) {
  static const char letters[][2] = {{'"', '"'}, {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'}, {'\t', 't'}, {'\f', 'f'}, {'\b', 'b'}};
  escape[0] = 0;
  for (size_t i = 0; i < sizeof letters / sizeof letters[0]; i++)
    if (c == (unsigned char)letters[i][0]) {
      snprintf(escape, 16, "\\%c", letters[i][1]);
      return;
    }
  if (c >= 0x10000 && ensure_ascii)
    snprintf(escape, 16, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10), 0xDC00 + ((c - 0x10000) & 0x3FF));
  else if (c < 0x20 || (ensure_ascii && c >= 0x7F))
    snprintf(escape, 16, "\\u%04x", c);
}

static bool write_string(writer *to, const em_tpl_string *string) {
  bool fits = put(to, "\"");
  size_t done = 0, i = 0;
  while (i < string->bytes && fits) {
    uint32_t c;
    char escape[16];
    size_t step = em_utf8_decode(string->text + i, string->bytes - i, &c, NULL);
    find_escape(c, to->style->ensure_ascii, escape);
    if (*escape) {
      fits = em_tpl_put(to->run, to->builder, string->text + done, i - done, false) && put(to, escape);
      done = i + step;
    }
    i += step;
  }
  return fits && em_tpl_put(to->run, to->builder, string->text + done, i - done, false) && put(to, "\"");
}

static bool write_break(writer *to) {
  if (!to->style->indented)
    return true;
  bool fits = put(to, "\n");
  for (size_t i = 0; i < to->level && fits; i++)
    fits = em_tpl_put_value(to->run, to->builder, to->style->indent);
  return fits;
}

static bool write_separator(writer *to, const em_tpl_string *separator, const char *otherwise) {
  return separator ? em_tpl_put(to->run, to->builder, separator->text, separator->bytes, false) : put(to, otherwise);
}

static bool write_between(writer *to, size_t i) {
  return (i == 0 || write_separator(to, to->style->item, to->style->indented ? "," : ", ")) && write_break(to);
}

static bool write_value(writer *to, em_tpl_value value);

static bool write_key(writer *to, em_tpl_value key) {
  if (key.kind == EM_TPL_STRING)
    return write_string(to, key.string);
  if (key.kind == EM_TPL_TUPLE)
    return em_tpl_fail(to->run, EM_ERR_FORMAT, "a tuple cannot be a key in JSON");
  return put(to, "\"") && write_value(to, key) && put(to, "\"");
}

static bool write_list(writer *to, const em_tpl_list *list) {
  if (list->n == 0)
    return put(to, "[]");
  bool fits = put(to, "[");
  to->level++;
  for (size_t i = 0; i < list->n && fits; i++)
    fits = write_between(to, i) && write_value(to, list->items[i]);
  to->level--;
  return fits && write_break(to) && put(to, "]");
}

static bool write_dict(writer *to, const em_tpl_dict *dict) {
  if (dict->n == 0)
    return put(to, "{}");
  size_t *order = NULL;
  if (to->style->sort_keys) {
    em_tpl_value *keys = em_tpl_alloc(to->run, dict->n, sizeof *keys);
    if (!keys)
      return false;
    for (size_t i = 0; i < dict->n; i++)
      keys[i] = dict->entries[i].key;
    if (!em_tpl_sort(to->run, keys, dict->n, false, &order))
      return false;
  }
  bool fits = put(to, "{");
  to->level++;
  for (size_t i = 0; i < dict->n && fits; i++) {
    const em_tpl_entry *entry = &dict->entries[order ? order[i] : i];
    fits = write_between(to, i) && write_key(to, entry->key) && write_separator(to, to->style->key, ": ") &&
           write_value(to, entry->value);
  }
  to->level--;
  return fits && write_break(to) && put(to, "}");
}

static bool write_value(writer *to, em_tpl_value value) {
  char number[48];
  if (!em_tpl_spend(to->run, 1))
    return false;
  switch (value.kind) {
  case EM_TPL_UNDEFINED:
  case EM_TPL_NONE:
    return put(to, "null");
  case EM_TPL_BOOL:
    return put(to, value.boolean ? "true" : "false");
  case EM_TPL_INT:
    snprintf(number, sizeof number, "%lld", (long long)value.integer);
    return put(to, number);
  case EM_TPL_REAL:
    em_tpl_format_real(value.real, number);
    return put(to, strcmp(number, "nan") == 0    ? "NaN"
                   : strcmp(number, "inf") == 0  ? "Infinity"
                   : strcmp(number, "-inf") == 0 ? "-Infinity"
                                                 : number);
  case EM_TPL_STRING:
    return write_string(to, value.string);
  case EM_TPL_LIST:
  case EM_TPL_TUPLE:
  case EM_TPL_DICT: {
    if (!em_tpl_enter(to->run))
      return false;
    bool fits = value.kind == EM_TPL_DICT ? write_dict(to, value.dict) : write_list(to, value.list);
    em_tpl_leave(to->run);
    return fits;
  }
  default:
    return em_tpl_fail(to->run, EM_ERR_FORMAT, "'%s' cannot be written as JSON", em_tpl_kind_name(value.kind));
  }
}

bool em_tpl_to_json(em_tpl_run *run, em_tpl_value value, const em_tpl_json_style *style, em_tpl_value *out) {
  writer to = {.run = run, .builder = em_tpl_builder_new(run), .style = style};
  return to.builder && write_value(&to, value) && em_tpl_built(run, to.builder, out);
}
