/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text with places for values: "%s" % value and "{}".format(value). The literal parts keep where they come from. */
#include <stdio.h>
#include <string.h>

#include "text/template/chars.h"
#include "text/template/methods.h"
#include "text/template/operators.h"

#define MAX_WIDTH 10000

/* [fill][<>^=][0][width][.precision][type], the part that both notations share. */
typedef struct spec {
  char align; /* '<', '>', '^', or 0: the kind's own */
  bool zero;
  int width, precision; /* precision -1: none */
  char type;            /* 0: str() */
} spec;

/* Reads digits at text[*place..bytes). */
static int read_int(const char *text, size_t bytes, size_t *place) {
  int value = 0;
  for (; *place < bytes && text[*place] >= '0' && text[*place] <= '9'; ++*place)
    value = value < MAX_WIDTH ? value * 10 + (text[*place] - '0') : value;
  return value < MAX_WIDTH ? value : MAX_WIDTH;
}

static void read_width(const char *text, size_t bytes, size_t *place, spec *out) {
  if (*place < bytes && text[*place] == '0')
    out->zero = true;
  out->width = read_int(text, bytes, place);
  out->precision = -1;
  if (*place < bytes && text[*place] == '.') {
    ++*place;
    out->precision = read_int(text, bytes, place);
  }
}

/* Digits of a number for type d, f, x or X into text; false for values that have no such form. */
static bool format_number(em_tpl_run *run, em_tpl_value value, const spec *how, char text[400]) {
  if (!em_tpl_is_number(value))
    return em_tpl_fail(run, EM_ERR_FORMAT, "a number is needed, not '%s'", em_tpl_kind_name(value.kind));
  if (how->type == 'f') {
    int precision = how->precision < 0 ? 6 : how->precision > 60 ? 60 : how->precision;
    int n = snprintf(text, 400, "%.*f", precision, em_tpl_number(value));
    /* The decimal point is the locale's: whatever stands before the last digits becomes a point. */
    if (precision > 0 && n > precision && text[n - precision - 1] != 'n' && text[n - precision - 1] != 'i')
      text[n - precision - 1] = '.';
    return true;
  }
  long long whole = value.kind == EM_TPL_REAL  ? (em_tpl_number(value) > -9e18 && em_tpl_number(value) < 9e18)
                                                     ? (long long)value.real
                                                     : 0
                    : value.kind == EM_TPL_INT ? value.integer
                                               : value.boolean;
  unsigned long long size = whole < 0 ? 0 - (unsigned long long)whole : (unsigned long long)whole;
  const char *sign = whole < 0 ? "-" : "";
  if (how->type == 'x')
    snprintf(text, 400, "%s%llx", sign, size);
  else if (how->type == 'X')
    snprintf(text, 400, "%s%llX", sign, size);
  else
    snprintf(text, 400, "%s%llu", sign, size);
  return true;
}

static bool put_fill(em_tpl_run *run, em_tpl_builder *builder, size_t n, bool zero) {
  bool fits = true;
  for (size_t i = 0; i < n && fits; i++)
    fits = em_tpl_put_text(run, builder, zero ? "0" : " ");
  return fits;
}

static bool put_formatted(em_tpl_run *run, em_tpl_builder *builder, em_tpl_value value, const spec *how) {
  char number[400];
  em_tpl_value text;
  bool numeric = how->type != 0;
  if (numeric ? !format_number(run, value, how, number) || !em_tpl_string_copy(run, number, strlen(number), &text)
              : !em_tpl_to_string(run, value, &text))
    return false;
  if (!numeric && how->precision >= 0) {
    size_t end = em_tpl_char_offset(text.string->text, text.string->bytes, (size_t)how->precision);
    if (!em_tpl_string_slice(run, text.string, 0, end, &text))
      return false;
  }
  size_t n;
  if (!em_tpl_length(run, text, &n))
    return false;
  size_t fill = (size_t)how->width > n ? (size_t)how->width - n : 0;
  char align = how->align ? how->align : em_tpl_is_number(value) ? '>' : '<';
  size_t before = align == '>' ? fill : align == '^' ? fill / 2 : 0;
  bool zero = how->zero && numeric && !how->align;
  size_t sign = zero && text.string->bytes > 0 && text.string->text[0] == '-';
  return em_tpl_put_slice(run, builder, text.string, 0, sign) && put_fill(run, builder, before, zero) &&
         em_tpl_put_slice(run, builder, text.string, sign, text.string->bytes - sign) &&
         put_fill(run, builder, fill - before, false);
}

/* --- % ------------------------------------------------------------------------------------------------------------------------ */

/* The value for one place: by name from a dict, or the next of a tuple. */
static bool next_value(em_tpl_run *run, const em_tpl_string *format, size_t *place, em_tpl_value values, size_t *used,
                       em_tpl_value *out) {
  if (*place < format->bytes && format->text[*place] == '(') {
    const char *name = format->text + *place + 1, *end = memchr(name, ')', format->bytes - *place - 1);
    const em_tpl_value *found =
        end && values.kind == EM_TPL_DICT ? em_tpl_dict_get(run, values.dict, name, (size_t)(end - name)) : NULL;
    if (!found)
      return em_tpl_fail(run, EM_ERR_FORMAT, "a value with a name is missing for %%");
    *place += (size_t)(end - name) + 2;
    return *out = *found, true;
  }
  size_t n = values.kind == EM_TPL_TUPLE ? values.list->n : 1;
  if (*used >= n)
    return em_tpl_fail(run, EM_ERR_FORMAT, "not enough values for %%");
  *out = values.kind == EM_TPL_TUPLE ? values.list->items[*used] : values;
  ++*used;
  return true;
}

static bool put_percent(em_tpl_run *run, em_tpl_builder *builder, const em_tpl_string *format, size_t *place,
                        em_tpl_value values, size_t *used) {
  em_tpl_value value;
  spec how = {0};
  if (!next_value(run, format, place, values, used, &value))
    return false;
  how.align = *place < format->bytes && format->text[*place] == '-' ? '<' : 0;
  *place += how.align != 0;
  read_width(format->text, format->bytes, place, &how);
  char type = *place < format->bytes ? format->text[*place] : 0;
  ++*place;
  if (!how.align && !how.zero)
    how.align = '>';
  if (type == 's')
    return put_formatted(run, builder, value, &how);
  how.type = type == 'i' || type == 'u' ? 'd' : type;
  if (type == 0 || !strchr("dfxX", how.type))
    return em_tpl_fail(run, EM_ERR_UNSUPPORTED, "a format of %% is not known");
  return put_formatted(run, builder, value, &how);
}

bool em_tpl_format_percent(em_tpl_run *run, const em_tpl_string *format, em_tpl_value values, em_tpl_value *out) {
  em_tpl_builder *builder = em_tpl_builder_new(run);
  size_t used = 0;
  bool fits = builder != NULL;
  for (size_t i = 0; i < format->bytes && fits;) {
    const char *percent = memchr(format->text + i, '%', format->bytes - i);
    size_t literal = percent ? (size_t)(percent - format->text) - i : format->bytes - i;
    fits = em_tpl_put_slice(run, builder, format, i, literal);
    i += literal + 1;
    if (!fits || !percent)
      break;
    if (i < format->bytes && format->text[i] == '%')
      fits = em_tpl_put_slice(run, builder, format, i++, 1);
    else
      fits = put_percent(run, builder, format, &i, values, &used);
  }
  return fits && em_tpl_built(run, builder, out);
}

/* --- format ------------------------------------------------------------------------------------------------------------------- */

static bool find_field(em_tpl_run *run, const char *name, size_t bytes, const em_tpl_args *args, size_t *used,
                       em_tpl_value *out) {
  size_t place = 0, index = *used;
  if (bytes > 0)
    index = (size_t)read_int(name, bytes, &place);
  if (place < bytes) {
    for (size_t i = 0; i < args->n_named; i++)
      if (strlen(args->named[i].name) == bytes && memcmp(args->named[i].name, name, bytes) == 0)
        return *out = args->named[i].value, true;
    return em_tpl_fail(run, EM_ERR_FORMAT, "format has no value of that name");
  }
  *used += bytes == 0;
  if (index >= args->n)
    return em_tpl_fail(run, EM_ERR_FORMAT, "format has not enough values");
  return *out = args->items[index], true;
}

/* One field: what stands between braces. */
static bool put_field(em_tpl_run *run, em_tpl_builder *builder, const char *field, size_t bytes,
                      const em_tpl_args *args, size_t *used) {
  em_tpl_value value;
  spec how = {.precision = -1};
  const char *colon = memchr(field, ':', bytes);
  size_t name = colon ? (size_t)(colon - field) : bytes, place = name + (colon != NULL);
  if (!find_field(run, field, name, args, used, &value))
    return false;
  if (place < bytes && strchr("<>^", field[place]))
    how.align = field[place++];
  if (place < bytes)
    read_width(field, bytes, &place, &how);
  if (place < bytes && strchr("dfxXs", field[place])) {
    how.type = field[place] == 's' ? 0 : field[place];
    place++;
  }
  if (place < bytes)
    return em_tpl_fail(run, EM_ERR_UNSUPPORTED, "a field of format is not known");
  if (how.type == 0 && em_tpl_is_number(value) && (how.zero || how.precision >= 0))
    how.type = how.precision >= 0 ? 'f' : 'd';
  return put_formatted(run, builder, value, &how);
}

bool em_tpl_format_braces(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  em_tpl_builder *builder = em_tpl_builder_new(run);
  const em_tpl_string *format = self.string;
  size_t used = 0;
  bool fits = builder != NULL;
  for (size_t i = 0; i < format->bytes && fits;) {
    char c = format->text[i];
    bool doubled = i + 1 < format->bytes && format->text[i + 1] == c;
    if ((c == '{' || c == '}') && !doubled) {
      const char *end = c == '{' ? memchr(format->text + i, '}', format->bytes - i) : NULL;
      if (!end)
        return em_tpl_fail(run, EM_ERR_FORMAT, "a brace of format stands alone");
      size_t bytes = (size_t)(end - format->text) - i - 1;
      fits = put_field(run, builder, format->text + i + 1, bytes, args, &used);
      i += bytes + 2;
    } else {
      fits = em_tpl_put_slice(run, builder, format, i, 1);
      i += c == '{' || c == '}' ? 2 : 1;
    }
  }
  return fits && em_tpl_built(run, builder, out);
}
