/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Filters on text. What they are applied to is turned into text first, as Jinja does. */
#include <string.h>

#include "base/utf8.h"
#include "text/template/chars.h"
#include "text/template/methods.h"
#include "text/template/operators.h"

static bool filter_upper(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return em_tpl_to_string(run, self, &self) && em_tpl_change_case(run, self.string, EM_TPL_CASE_UPPER, out);
}

static bool filter_lower(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return em_tpl_to_string(run, self, &self) && em_tpl_change_case(run, self.string, EM_TPL_CASE_LOWER, out);
}

static bool filter_capitalize(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return em_tpl_to_string(run, self, &self) && em_tpl_change_case(run, self.string, EM_TPL_CASE_CAPITALIZE, out);
}

static bool filter_title(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return em_tpl_to_string(run, self, &self) && em_tpl_change_case(run, self.string, EM_TPL_CASE_TITLE_WORDS, out);
}

static bool filter_trim(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_string *chars = NULL;
  return em_tpl_to_string(run, self, &self) && em_tpl_arg_string(run, args, 0, "chars", &chars) &&
         em_tpl_strip(run, self.string, chars, 3, out);
}

static bool filter_string(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return em_tpl_to_string(run, self, out);
}

static bool filter_replace(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_string *from = NULL, *to = NULL;
  int64_t count = -1;
  if (!em_tpl_to_string(run, self, &self) || !em_tpl_arg_string(run, args, 0, "old", &from) ||
      !em_tpl_arg_string(run, args, 1, "new", &to) || !em_tpl_arg_int(run, args, 2, "count", &count))
    return false;
  if (!from || !to)
    return em_tpl_fail(run, EM_ERR_FORMAT, "replace needs what is replaced and what by");
  return em_tpl_replace(run, self.string, from, to, count, out);
}

/* The indentation: so many blanks, or a string. */
static bool indentation(em_tpl_run *run, const em_tpl_args *args, const em_tpl_string **out) {
  const em_tpl_value *given = em_tpl_arg(args, 0, "width");
  int64_t width = 4;
  if (given && given->kind == EM_TPL_STRING)
    return *out = given->string, true;
  if (!em_tpl_arg_int(run, args, 0, "width", &width))
    return false;
  em_tpl_builder *builder = em_tpl_builder_new(run);
  em_tpl_value value;
  bool fits = builder != NULL;
  for (int64_t i = 0; i < width && fits; i++)
    fits = em_tpl_put_text(run, builder, " ");
  if (!fits || !em_tpl_built(run, builder, &value))
    return false;
  return *out = value.string, true;
}

static bool filter_indent(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_string *indent;
  bool first = em_tpl_arg_bool(args, 1, "first", false), blank = em_tpl_arg_bool(args, 2, "blank", false);
  em_tpl_builder *builder = em_tpl_builder_new(run);
  if (!builder || !em_tpl_to_string(run, self, &self) || !indentation(run, args, &indent))
    return false;
  const em_tpl_string *text = self.string;
  bool fits = !first || em_tpl_put_string(run, builder, indent);
  bool again = true;
  for (size_t place = 0, next; again && fits; place = next) {
    size_t bytes = em_tpl_line_at(text, place, &next);
    if (place > 0)
      fits = em_tpl_put_text(run, builder, "\n") &&
             ((bytes == 0 && !blank) || em_tpl_put_string(run, builder, indent));
    fits = fits && em_tpl_put_slice(run, builder, text, place, bytes);
    /* Text that ends with a line break has one more line, an empty one. */
    again = place + bytes < next;
  }
  return fits && em_tpl_built(run, builder, out);
}

static bool filter_escape(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  static const struct {
    char c;
    const char *text;
  } entities[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'\'', "&#39;"}, {'"', "&#34;"}};
  em_tpl_builder *builder = em_tpl_builder_new(run);
  if (!builder || !em_tpl_to_string(run, self, &self))
    return false;
  const em_tpl_string *text = self.string;
  if (text->safe)
    return *out = self, true;
  bool fits = true;
  for (size_t i = 0; i < text->bytes && fits; i++) {
    const char *entity = NULL;
    for (size_t k = 0; k < sizeof entities / sizeof entities[0]; k++)
      if (entities[k].c == text->text[i])
        entity = entities[k].text;
    fits = entity ? em_tpl_put_text(run, builder, entity) : em_tpl_put_slice(run, builder, text, i, 1);
  }
  return fits && em_tpl_built(run, builder, out);
}

static bool filter_safe(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  if (!em_tpl_to_string(run, self, &self))
    return false;
  em_tpl_string *safe = em_tpl_alloc(run, 1, sizeof *safe);
  if (!safe)
    return false;
  *safe = *self.string;
  safe->safe = true;
  *out = (em_tpl_value){.kind = EM_TPL_STRING, .string = safe};
  return true;
}

static bool filter_format(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  em_tpl_value values;
  if (!em_tpl_to_string(run, self, &self) || !em_tpl_list_new(run, EM_TPL_TUPLE, args->n, &values))
    return false;
  for (size_t i = 0; i < args->n; i++)
    if (!em_tpl_list_add(run, values.list, args->items[i]))
      return false;
  return em_tpl_format_percent(run, self.string, values, out);
}

static bool is_word_char(uint32_t c) {
  return c == '_' || (c >= '0' && c <= '9') || em_tpl_is_letter(c);
}

static bool filter_wordcount(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  if (!em_tpl_to_string(run, self, &self) || !em_tpl_spend(run, self.string->bytes / 16))
    return false;
  const em_tpl_string *text = self.string;
  int64_t n = 0;
  bool inside = false;
  for (size_t i = 0; i < text->bytes;) {
    uint32_t c;
    i += em_utf8_decode(text->text + i, text->bytes - i, &c, NULL);
    n += !inside && is_word_char(c);
    inside = is_word_char(c);
  }
  return *out = em_tpl_int(n), true;
}

static bool filter_truncate(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  int64_t length = 255, leeway = 5;
  em_tpl_value end_value;
  const em_tpl_string *end = NULL;
  size_t n, n_end;
  if (!em_tpl_to_string(run, self, &self) || !em_tpl_arg_int(run, args, 0, "length", &length) ||
      !em_tpl_string_view(run, "...", 3, true, &end_value) || !em_tpl_arg_string(run, args, 2, "end", &end) ||
      !em_tpl_arg_int(run, args, 3, "leeway", &leeway) || !em_tpl_length(run, self, &n))
    return false;
  if (end)
    end_value.string = end;
  if (!em_tpl_length(run, end_value, &n_end))
    return false;
  if (length < 0 || leeway < 0 || (uint64_t)length < n_end)
    return em_tpl_fail(run, EM_ERR_FORMAT, "truncate needs a length of at least the end's");
  if (n <= (uint64_t)length || n - (uint64_t)length <= (uint64_t)leeway)
    return *out = self, true;
  const em_tpl_string *text = self.string;
  size_t bytes = em_tpl_char_offset(text->text, text->bytes, (size_t)length - n_end);
  if (!em_tpl_arg_bool(args, 1, "killwords", false)) {
    const char *blank = memrchr(text->text, ' ', bytes);
    bytes = blank ? (size_t)(blank - text->text) : bytes;
  }
  return em_tpl_string_slice(run, text, 0, bytes, &self) &&
         em_tpl_string_concat(run, self.string, end_value.string, out);
}

const em_tpl_builtin em_tpl_text_filters[] = {
    {"upper", filter_upper},         {"lower", filter_lower},     {"capitalize", filter_capitalize},
    {"title", filter_title},         {"trim", filter_trim},       {"string", filter_string},
    {"replace", filter_replace},     {"indent", filter_indent},   {"escape", filter_escape},
    {"e", filter_escape},            {"safe", filter_safe},       {"format", filter_format},
    {"wordcount", filter_wordcount}, {"truncate", filter_truncate}, {NULL, NULL},
};
