/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Filters on single values: numbers, defaults, members, JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/template/call.h"
#include "text/template/chars.h"

static bool filter_default(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_value *otherwise = em_tpl_arg(args, 0, "default_value");
  bool falsy = em_tpl_arg_bool(args, 1, "boolean", false);
  if (self.kind != EM_TPL_UNDEFINED && (!falsy || em_tpl_truth(self)))
    return *out = self, true;
  if (otherwise)
    return *out = *otherwise, true;
  return em_tpl_string_view(run, "", 0, true, out);
}

static bool filter_length(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  size_t n;
  if (!em_tpl_length(run, self, &n))
    return false;
  return *out = em_tpl_int((int64_t)n), true;
}

static bool filter_attr(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_value *name = em_tpl_arg(args, 0, "name");
  if (!name || name->kind != EM_TPL_STRING)
    return em_tpl_fail(run, EM_ERR_FORMAT, "attr needs a name");
  return em_tpl_get_attribute(run, self, *name, out);
}

/* --- Numbers ------------------------------------------------------------------------------------------------------------------ */

static bool filter_abs(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  if (self.kind == EM_TPL_REAL)
    return *out = em_tpl_real(fabs(self.real)), true;
  if (self.kind == EM_TPL_BOOL)
    return *out = em_tpl_int(self.boolean), true;
  if (self.kind != EM_TPL_INT)
    return em_tpl_fail(run, EM_ERR_FORMAT, "'%s' has no absolute value", em_tpl_kind_name(self.kind));
  if (self.integer == INT64_MIN)
    return em_tpl_fail(run, EM_ERR_LIMIT, "a number is too large");
  return *out = em_tpl_int(self.integer < 0 ? -self.integer : self.integer), true;
}

static int digit_of(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  c |= 32;
  return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

/* Reads a whole number of base 2 to 36; false where text is none. */
static bool parse_whole(const char *text, size_t bytes, int64_t base, int64_t *out) {
  size_t i = em_tpl_leading_space(text, bytes);
  bytes -= em_tpl_trailing_space(text + i, bytes - i);
  bool negative = i < bytes && text[i] == '-', any = false;
  i += i < bytes && (text[i] == '-' || text[i] == '+');
  if (bytes - i > 2 && text[i] == '0' &&
      ((base == 16 && (text[i + 1] | 32) == 'x') || (base == 8 && (text[i + 1] | 32) == 'o') ||
       (base == 2 && (text[i + 1] | 32) == 'b')))
    i += 2;
  int64_t value = 0;
  for (; i < bytes; i++) {
    if (text[i] == '_' && any && i + 1 < bytes && text[i + 1] != '_')
      continue;
    int64_t digit = digit_of(text[i]);
    if (digit >= base || __builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value))
      return false;
    any = true;
  }
  *out = negative ? -value : value;
  return any;
}

static bool real_to_int(double value, int64_t *out) {
  if (!(value > -0x1p63 && value < 0x1p63))
    return false;
  *out = (int64_t)value;
  return true;
}

static bool filter_int(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_value *otherwise = em_tpl_arg(args, 0, "default");
  int64_t base = 10, value;
  double real;
  if (!em_tpl_arg_int(run, args, 1, "base", &base))
    return false;
  if (base < 2 || base > 36)
    return em_tpl_fail(run, EM_ERR_FORMAT, "int knows bases from 2 to 36");
  bool is;
  if (self.kind == EM_TPL_STRING)
    is = parse_whole(self.string->text, self.string->bytes, base, &value) ||
         (em_tpl_parse_real(self.string->text, self.string->bytes, &real) && real_to_int(real, &value));
  else
    is = em_tpl_is_number(self) &&
         (self.kind == EM_TPL_INT ? (value = self.integer, true) : real_to_int(em_tpl_number(self), &value));
  *out = is ? em_tpl_int(value) : otherwise ? *otherwise : em_tpl_int(0);
  return true;
}

static bool filter_float(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_value *otherwise = em_tpl_arg(args, 0, "default");
  double value;
  if (em_tpl_is_number(self))
    *out = em_tpl_real(em_tpl_number(self));
  else if (self.kind == EM_TPL_STRING && em_tpl_parse_real(self.string->text, self.string->bytes, &value))
    *out = em_tpl_real(value);
  else
    *out = otherwise ? *otherwise : em_tpl_real(0);
  return true;
}

/* value rounded to so many decimals as its decimal digits say, which is what Python does. */
static double round_decimals(double value, int precision) {
  char text[400];
  if (precision < 0) {
    double scale = pow(10, -precision);
    return rint(value / scale) * scale;
  }
  int n = snprintf(text, sizeof text, "%.*f", precision, value);
  if (precision > 0 && n > precision)
    text[n - precision - 1] = '.';
  double rounded = value;
  return em_tpl_parse_real(text, (size_t)n, &rounded) ? rounded : value;
}

static bool filter_round(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  int64_t precision = 0;
  const em_tpl_value *method = em_tpl_arg(args, 1, "method");
  if (!em_tpl_arg_int(run, args, 0, "precision", &precision))
    return false;
  if (!em_tpl_is_number(self))
    return em_tpl_fail(run, EM_ERR_FORMAT, "'%s' cannot be rounded", em_tpl_kind_name(self.kind));
  if (precision < -30 || precision > 30)
    return em_tpl_fail(run, EM_ERR_LIMIT, "round knows precisions from -30 to 30");
  double value = em_tpl_number(self), scale = pow(10, (double)precision);
  if (method && (em_tpl_is_text(*method, "ceil") || em_tpl_is_text(*method, "floor")))
    return *out = em_tpl_real((em_tpl_is_text(*method, "ceil") ? ceil(value * scale) : floor(value * scale)) / scale), true;
  if (self.kind != EM_TPL_REAL && precision >= 0)
    return *out = self, true;
  if (fabs(value) < 1e300)
    value = round_decimals(value, (int)precision);
  return *out = em_tpl_real(value), true;
}

/* --- JSON ----------------------------------------------------------------------------------------------------------------------- */

static bool json_indent(em_tpl_run *run, const em_tpl_value *given, em_tpl_json_style *style) {
  if (!given || given->kind == EM_TPL_NONE)
    return true;
  style->indented = true;
  style->indent = *given;
  if (given->kind == EM_TPL_STRING)
    return true;
  int64_t width = given->kind == EM_TPL_INT ? given->integer : given->kind == EM_TPL_BOOL && given->boolean;
  if (given->kind != EM_TPL_INT && given->kind != EM_TPL_BOOL)
    return em_tpl_fail(run, EM_ERR_FORMAT, "tojson indents by a number or a string");
  em_tpl_builder *builder = em_tpl_builder_new(run);
  bool fits = builder != NULL;
  for (int64_t i = 0; i < width && fits; i++)
    fits = em_tpl_put_text(run, builder, " ");
  return fits && em_tpl_built(run, builder, &style->indent);
}

static bool filter_tojson(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  em_tpl_json_style style = {.ensure_ascii = em_tpl_arg_bool(args, 0, "ensure_ascii", false),
                             .sort_keys = em_tpl_arg_bool(args, 3, "sort_keys", false)};
  const em_tpl_value *separators = em_tpl_arg(args, 2, "separators");
  if (!json_indent(run, em_tpl_arg(args, 1, "indent"), &style))
    return false;
  if (separators && separators->kind != EM_TPL_NONE) {
    if ((separators->kind != EM_TPL_TUPLE && separators->kind != EM_TPL_LIST) || separators->list->n != 2 ||
        separators->list->items[0].kind != EM_TPL_STRING || separators->list->items[1].kind != EM_TPL_STRING)
      return em_tpl_fail(run, EM_ERR_FORMAT, "tojson takes two strings as separators");
    style.item = separators->list->items[0].string;
    style.key = separators->list->items[1].string;
  }
  return em_tpl_to_json(run, self, &style, out);
}

static bool filter_from_json(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_json *json;
  em_error error = {0};
  if (self.kind != EM_TPL_STRING)
    return em_tpl_fail(run, EM_ERR_FORMAT, "from_json reads strings, not '%s'", em_tpl_kind_name(self.kind));
  /* One value takes at least one byte and about a hundred of memory. */
  if (!em_tpl_spend(run, self.string->bytes))
    return false;
  em_status status = em_json_parse(run->arena, self.string->text, self.string->bytes, 0, &json, &error);
  if (status != EM_OK)
    return em_tpl_fail(run, status, "from_json: %s", error.text);
  return em_tpl_from_json(run, json, out);
}

static bool filter_items(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  if (self.kind == EM_TPL_UNDEFINED)
    return em_tpl_list_new(run, EM_TPL_LIST, 0, out);
  if (self.kind != EM_TPL_DICT)
    return em_tpl_fail(run, EM_ERR_FORMAT, "items needs a dict, not '%s'", em_tpl_kind_name(self.kind));
  return em_tpl_find_method(EM_TPL_DICT, "items", strlen("items"))->call(run, self, args, out);
}

const em_tpl_builtin em_tpl_value_filters[] = {
    {"default", filter_default}, {"d", filter_default},         {"length", filter_length}, {"count", filter_length},
    {"attr", filter_attr},       {"abs", filter_abs},           {"int", filter_int},       {"float", filter_float},
    {"round", filter_round},     {"tojson", filter_tojson},     {"items", filter_items},   {"from_json", filter_from_json},
    {NULL, NULL},
};
