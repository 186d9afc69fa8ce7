/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The text of values: numbers, str and repr as Python writes them. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/template/chars.h"
#include "text/template/value.h"

/* --- Numbers -------------------------------------------------------------------------------------------------------------- */

/* Digits and exponent of the shortest decimal that reads back as value (finite, positive). The C library is asked without
 * trusting its decimal point, which depends on the locale. */
static int shortest_digits(double value, char digits[24]) {
  char text[64];
  for (int precision = 0; precision <= 17; precision++) {
    snprintf(text, sizeof text, "%.*e", precision, value);
    size_t n = 0;
    const char *at = text;
    for (; *at && *at != 'e'; at++)
      if (*at >= '0' && *at <= '9' && n < 23)
        digits[n++] = *at;
    digits[n] = 0;
    int exponent = atoi(*at ? at + 1 : at);
    char again[64];
    snprintf(again, sizeof again, "%se%d", digits, exponent - (int)n + 1);
    if (precision == 17 || strtod(again, NULL) == value) {
      while (n > 1 && digits[n - 1] == '0')
        digits[--n] = 0;
      return exponent;
    }
  }
  return 0;
}

void em_tpl_format_real(double value, char out[48]) {
  if (isnan(value) || isinf(value)) {
    snprintf(out, 48, "%s", isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
    return;
  }
  const char *sign = signbit(value) ? "-" : "";
  char digits[24] = "0";
  int exponent = value == 0 ? 0 : shortest_digits(fabs(value), digits), n = (int)strlen(digits);
  if (exponent < -4 || exponent >= 16)
    snprintf(out, 48, "%s%c%s%se%+03d", sign, digits[0], n > 1 ? "." : "", digits + 1, exponent);
  else if (exponent < 0)
    snprintf(out, 48, "%s0.%.*s%s", sign, -exponent - 1, "0000", digits);
  else if (n <= exponent + 1)
    snprintf(out, 48, "%s%s%.*s.0", sign, digits, exponent + 1 - n, "0000000000000000");
  else
    snprintf(out, 48, "%s%.*s.%s", sign, exponent + 1, digits, digits + exponent + 1);
}

static bool is_word(const char *text, size_t bytes, const char *word) {
  if (strlen(word) != bytes)
    return false;
  for (size_t i = 0; i < bytes; i++)
    if ((text[i] | 32) != word[i])
      return false;
  return true;
}

bool em_tpl_parse_real(const char *text, size_t bytes, double *out) {
  char digits[512];
  size_t n = 0, i = em_tpl_leading_space(text, bytes);
  bytes -= em_tpl_trailing_space(text + i, bytes - i);
  bool negative = i < bytes && text[i] == '-', any = false, point = false;
  i += i < bytes && (text[i] == '-' || text[i] == '+');
  if (is_word(text + i, bytes - i, "inf") || is_word(text + i, bytes - i, "infinity") ||
      is_word(text + i, bytes - i, "nan"))
    return *out = (text[i] | 32) == 'n' ? NAN : negative ? -INFINITY : INFINITY, true;
  int64_t exponent = 0, power = 0;
  for (; i < bytes; i++) {
    char c = text[i];
    if (c == '_' && any && i + 1 < bytes && text[i + 1] >= '0' && text[i + 1] <= '9')
      continue;
    if (c == '.' && !point) {
      point = true;
      continue;
    }
    if (c < '0' || c > '9')
      break;
    any = true;
    exponent -= point;
    /* Digits past the first 500 cannot change a double. */
    if (n < 500)
      digits[n++] = c;
    else
      exponent++;
  }
  if (any && i + 1 < bytes && (text[i] | 32) == 'e') {
    bool down = text[++i] == '-';
    i += down || text[i] == '+';
    any = i < bytes;
    for (; i < bytes && text[i] >= '0' && text[i] <= '9'; i++)
      power = power < 100000 ? power * 10 + (text[i] - '0') : power;
    exponent += down ? -power : power;
  }
  if (!any || i < bytes)
    return false;
  if (exponent > 100000 || exponent < -100000)
    exponent = exponent > 0 ? 100000 : -100000;
  snprintf(digits + n, sizeof digits - n, "e%d", (int)exponent);
  double value = strtod(digits, NULL);
  *out = negative ? -value : value;
  return true;
}

/* --- str and repr ---------------------------------------------------------------------------------------------------------- */

static bool is_printable(uint32_t c) {
  return c >= 0x20 && c != 0x7F && !(c >= 0x80 && c <= 0xA0) && c != 0xAD && c != 0x1680 &&
         !(c >= 0x2000 && c <= 0x200F) && !(c >= 0x2028 && c <= 0x202F) && !(c >= 0x205F && c <= 0x206F) &&
         c != 0x3000 && c != 0xFEFF && !(c >= 0xE000 && c <= 0xF8FF) && !(c >= 0xFFF0 && c <= 0xFFFB);
}

static bool put_repr_string(em_tpl_run *run, em_tpl_builder *builder, const em_tpl_string *string) {
  const char *text = string->text;
  size_t bytes = string->bytes;
  char quote = bytes > 0 && memchr(text, '\'', bytes) && !memchr(text, '"', bytes) ? '"' : '\'';
  bool fits = em_tpl_put(run, builder, &quote, 1, false);
  for (size_t i = 0, step; i < bytes && fits; i += step) {
    uint32_t c;
    bool valid;
    char escape[16] = "";
    step = em_utf8_decode(text + i, bytes - i, &c, &valid);
    if (c == '\n' || c == '\r' || c == '\t')
      snprintf(escape, sizeof escape, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else if (c == '\\' || c == (uint32_t)quote)
      snprintf(escape, sizeof escape, "\\%c", (char)c);
    else if (valid && !is_printable(c))
      snprintf(escape, sizeof escape, c < 0x100 ? "\\x%02x" : "\\u%04x", c);
    fits = *escape ? em_tpl_put_text(run, builder, escape) : em_tpl_put(run, builder, text + i, step, false);
  }
  return fits && em_tpl_put(run, builder, &quote, 1, false);
}

static bool put_repr(em_tpl_run *run, em_tpl_builder *builder, em_tpl_value value);

static bool put_items(em_tpl_run *run, em_tpl_builder *builder, const em_tpl_list *list, bool tuple) {
  bool fits = em_tpl_put_text(run, builder, tuple ? "(" : "[");
  for (size_t i = 0; i < list->n && fits; i++)
    fits = (i == 0 || em_tpl_put_text(run, builder, ", ")) && put_repr(run, builder, list->items[i]);
  return fits && em_tpl_put_text(run, builder, !tuple ? "]" : list->n == 1 ? ",)" : ")");
}

static bool put_entries(em_tpl_run *run, em_tpl_builder *builder, const em_tpl_dict *dict) {
  bool fits = em_tpl_put_text(run, builder, "{");
  for (size_t i = 0; i < dict->n && fits; i++)
    fits = (i == 0 || em_tpl_put_text(run, builder, ", ")) && put_repr(run, builder, dict->entries[i].key) &&
           em_tpl_put_text(run, builder, ": ") && put_repr(run, builder, dict->entries[i].value);
  return fits && em_tpl_put_text(run, builder, "}");
}

static bool put_repr(em_tpl_run *run, em_tpl_builder *builder, em_tpl_value value) {
  char number[48];
  bool fits = em_tpl_spend(run, 1);
  switch (value.kind) {
  case EM_TPL_UNDEFINED:
    return fits && em_tpl_put_text(run, builder, "Undefined");
  case EM_TPL_NONE:
    return fits && em_tpl_put_text(run, builder, "None");
  case EM_TPL_BOOL:
    return fits && em_tpl_put_text(run, builder, value.boolean ? "True" : "False");
  case EM_TPL_INT:
    snprintf(number, sizeof number, "%lld", (long long)value.integer);
    return fits && em_tpl_put_text(run, builder, number);
  case EM_TPL_REAL:
    em_tpl_format_real(value.real, number);
    return fits && em_tpl_put_text(run, builder, number);
  case EM_TPL_STRING:
    return fits && put_repr_string(run, builder, value.string);
  case EM_TPL_LIST:
  case EM_TPL_TUPLE:
  case EM_TPL_DICT:
  case EM_TPL_NAMESPACE:
    if (!fits || !em_tpl_enter(run))
      return false;
    fits = value.kind == EM_TPL_DICT        ? put_entries(run, builder, value.dict)
           : value.kind == EM_TPL_NAMESPACE ? em_tpl_put_text(run, builder, "<Namespace ") &&
                                                  put_entries(run, builder, value.dict) &&
                                                  em_tpl_put_text(run, builder, ">")
                                            : put_items(run, builder, value.list, value.kind == EM_TPL_TUPLE);
    em_tpl_leave(run);
    return fits;
  default:
    return fits && em_tpl_put_text(run, builder, "<") &&
           em_tpl_put_text(run, builder, em_tpl_kind_name(value.kind)) && em_tpl_put_text(run, builder, ">");
  }
}

bool em_tpl_put_value(em_tpl_run *run, em_tpl_builder *builder, em_tpl_value value) {
  if (value.kind == EM_TPL_STRING)
    return em_tpl_put_string(run, builder, value.string);
  return value.kind == EM_TPL_UNDEFINED || put_repr(run, builder, value);
}

bool em_tpl_to_string(em_tpl_run *run, em_tpl_value value, em_tpl_value *out) {
  if (value.kind == EM_TPL_STRING)
    return *out = value, true;
  if (value.kind == EM_TPL_UNDEFINED)
    return em_tpl_string_view(run, "", 0, true, out);
  em_tpl_builder *builder = em_tpl_builder_new(run);
  return builder && put_repr(run, builder, value) && em_tpl_built(run, builder, out);
}
