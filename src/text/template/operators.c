/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/template/operators.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/template/chars.h"
#include "text/template/lexer.h"

/* --- Arithmetic -------------------------------------------------------------------------------------------------------------- */

static bool too_large(em_tpl_run *run) {
  return em_tpl_fail(run, EM_ERR_LIMIT, "a number is too large");
}

static bool power(em_tpl_run *run, int64_t base, int64_t exponent, int64_t *out) {
  int64_t result = 1;
  while (exponent > 0) {
    if (exponent & 1 && __builtin_mul_overflow(result, base, &result))
      return too_large(run);
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base))
      return too_large(run);
  }
  *out = result;
  return true;
}

/* Rounds towards minus infinity, and the remainder has the divisor's sign. */
static bool divide_whole(em_tpl_run *run, int64_t a, int64_t b, int64_t *quotient, int64_t *remainder) {
  if (b == 0)
    return em_tpl_fail(run, EM_ERR_FORMAT, "division by zero");
  if (b == -1) {
    *remainder = 0;
    return !__builtin_sub_overflow((int64_t)0, a, quotient) || too_large(run);
  }
  *quotient = a / b;
  *remainder = a % b;
  if (*remainder != 0 && (*remainder < 0) != (b < 0)) {
    --*quotient;
    *remainder += b;
  }
  return true;
}

static bool whole_arithmetic(em_tpl_run *run, uint8_t op, int64_t a, int64_t b, em_tpl_value *out) {
  int64_t result = 0, other;
  bool overflow = false, fits = true;
  switch (op) {
  case '+':
    overflow = __builtin_add_overflow(a, b, &result);
    break;
  case '-':
    overflow = __builtin_sub_overflow(a, b, &result);
    break;
  case '*':
    overflow = __builtin_mul_overflow(a, b, &result);
    break;
  case EM_TPL_OP_FLOOR:
    fits = divide_whole(run, a, b, &result, &other);
    break;
  case '%':
    fits = divide_whole(run, a, b, &other, &result);
    break;
  default:
    fits = power(run, a, b, &result);
  }
  *out = em_tpl_int(result);
  return overflow ? too_large(run) : fits;
}

static bool real_arithmetic(em_tpl_run *run, uint8_t op, double a, double b, em_tpl_value *out) {
  double result;
  if ((op == '/' || op == '%' || op == EM_TPL_OP_FLOOR) && b == 0)
    return em_tpl_fail(run, EM_ERR_FORMAT, "division by zero");
  switch (op) {
  case '+':
    result = a + b;
    break;
  case '-':
    result = a - b;
    break;
  case '*':
    result = a * b;
    break;
  case '/':
    result = a / b;
    break;
  case EM_TPL_OP_FLOOR:
    result = floor(a / b);
    break;
  case '%':
    result = fmod(a, b);
    if (result == 0)
      result = copysign(0, b);
    else if ((result < 0) != (b < 0))
      result += b;
    break;
  default:
    result = pow(a, b);
  }
  *out = em_tpl_real(result);
  return true;
}

/* --- Sequences --------------------------------------------------------------------------------------------------------------- */

static bool repeat(em_tpl_run *run, em_tpl_value value, em_tpl_value times, em_tpl_value *out) {
  int64_t n = times.kind == EM_TPL_INT ? times.integer : times.boolean;
  if (value.kind == EM_TPL_STRING) {
    em_tpl_builder *builder = em_tpl_builder_new(run);
    bool fits = builder != NULL;
    for (int64_t i = 0; i < n && fits && value.string->bytes > 0; i++)
      fits = em_tpl_put_string(run, builder, value.string);
    return fits && em_tpl_built(run, builder, out);
  }
  em_tpl_value list;
  if (!em_tpl_list_new(run, value.kind, 0, &list))
    return false;
  for (int64_t i = 0; i < n && value.list->n > 0; i++)
    for (size_t k = 0; k < value.list->n; k++)
      if (!em_tpl_list_add(run, list.list, value.list->items[k]))
        return false;
  *out = list;
  return true;
}

static bool join_lists(em_tpl_run *run, em_tpl_value a, em_tpl_value b, em_tpl_value *out) {
  em_tpl_value list;
  if (!em_tpl_list_new(run, a.kind, a.list->n + b.list->n, &list))
    return false;
  for (size_t i = 0; i < a.list->n + b.list->n; i++)
    if (!em_tpl_list_add(run, list.list, i < a.list->n ? a.list->items[i] : b.list->items[i - a.list->n]))
      return false;
  *out = list;
  return true;
}

static bool concatenate(em_tpl_run *run, em_tpl_value a, em_tpl_value b, em_tpl_value *out) {
  return em_tpl_to_string(run, a, &a) && em_tpl_to_string(run, b, &b) &&
         em_tpl_string_concat(run, a.string, b.string, out);
}

static bool is_sequence(em_tpl_value value) {
  return value.kind == EM_TPL_STRING || value.kind == EM_TPL_LIST || value.kind == EM_TPL_TUPLE;
}

static bool is_whole(em_tpl_value value) {
  return value.kind == EM_TPL_INT || value.kind == EM_TPL_BOOL;
}

bool em_tpl_arithmetic(em_tpl_run *run, uint8_t op, em_tpl_value a, em_tpl_value b, em_tpl_value *out) {
  if (op == '~')
    return concatenate(run, a, b, out);
  if (is_whole(a) && is_whole(b) && op != '/') {
    int64_t x = a.kind == EM_TPL_INT ? a.integer : a.boolean, y = b.kind == EM_TPL_INT ? b.integer : b.boolean;
    if (op != EM_TPL_OP_POW || y >= 0)
      return whole_arithmetic(run, op, x, y, out);
  }
  if (em_tpl_is_number(a) && em_tpl_is_number(b))
    return real_arithmetic(run, op, em_tpl_number(a), em_tpl_number(b), out);
  if (op == '+') {
    if ((a.kind == EM_TPL_LIST || a.kind == EM_TPL_TUPLE) && a.kind == b.kind)
      return join_lists(run, a, b, out);
    /* Python refuses to add a number to a string. Templates tried only elsewhere do it, and what they mean is plain. */
    if ((a.kind == EM_TPL_STRING && (b.kind == EM_TPL_STRING || em_tpl_is_number(b))) ||
        (b.kind == EM_TPL_STRING && em_tpl_is_number(a)))
      return concatenate(run, a, b, out);
  }
  if (op == '*' && is_sequence(a) && is_whole(b))
    return repeat(run, a, b, out);
  if (op == '*' && is_sequence(b) && is_whole(a))
    return repeat(run, b, a, out);
  if (op == '%' && a.kind == EM_TPL_STRING)
    return em_tpl_format_percent(run, a.string, b, out);
  if (a.kind == EM_TPL_UNDEFINED || b.kind == EM_TPL_UNDEFINED) {
    const char *name = a.kind == EM_TPL_UNDEFINED ? a.name : b.name;
    return em_tpl_fail(run, EM_ERR_FORMAT, "'%s' is undefined", name ? name : "an operand");
  }
  const char *sign = op == EM_TPL_OP_FLOOR ? "//" : op == EM_TPL_OP_POW ? "**" : (const char[]){(char)op, 0};
  return em_tpl_fail(run, EM_ERR_FORMAT, "'%s' does not go between '%s' and '%s'", sign, em_tpl_kind_name(a.kind),
                     em_tpl_kind_name(b.kind));
}

/* --- Slices ------------------------------------------------------------------------------------------------------------------- */

static int64_t clamp(int64_t place, int64_t n, int64_t low, int64_t high) {
  if (place < 0)
    place = place < -n ? low : place + n;
  return place < low ? low : place > high ? high : place;
}

bool em_tpl_get_slice(em_tpl_run *run, em_tpl_value object, const em_tpl_slice *slice, em_tpl_value *out) {
  size_t length;
  if (!is_sequence(object)) {
    if (object.kind != EM_TPL_UNDEFINED)
      return em_tpl_fail(run, EM_ERR_FORMAT, "'%s' cannot be sliced", em_tpl_kind_name(object.kind));
    return em_tpl_fail(run, EM_ERR_FORMAT, "'%s' is undefined", object.name ? object.name : "a value");
  }
  if (!em_tpl_length(run, object, &length))
    return false;
  int64_t n = (int64_t)length, step = slice->has_step ? slice->step : 1;
  if (step == 0)
    return em_tpl_fail(run, EM_ERR_FORMAT, "a slice cannot have the step 0");
  int64_t low = step > 0 ? 0 : -1, high = step > 0 ? n : n - 1;
  int64_t start = slice->has_start ? clamp(slice->start, n, low, high) : step > 0 ? low : high;
  int64_t stop = slice->has_stop ? clamp(slice->stop, n, low, high) : step > 0 ? high : low;
  if (object.kind == EM_TPL_STRING && step == 1) {
    const em_tpl_string *string = object.string;
    size_t from = em_tpl_char_offset(string->text, string->bytes, (size_t)start);
    size_t bytes = stop > start
                       ? em_tpl_char_offset(string->text + from, string->bytes - from, (size_t)(stop - start))
                       : 0;
    return em_tpl_spend(run, string->bytes / 16) && em_tpl_string_slice(run, string, from, bytes, out);
  }
  em_tpl_list *items;
  em_tpl_value list;
  if (!em_tpl_items(run, object, &items) || !em_tpl_list_new(run, EM_TPL_LIST, 0, &list))
    return false;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (!em_tpl_list_add(run, list.list, items->items[i]))
      return false;
    if (__builtin_add_overflow(i, step, &i))
      break;
  }
  list.kind = object.kind;
  if (object.kind != EM_TPL_STRING)
    return *out = list, true;
  em_tpl_builder *builder = em_tpl_builder_new(run);
  bool fits = builder != NULL;
  for (size_t i = 0; i < list.list->n && fits; i++)
    fits = em_tpl_put_string(run, builder, list.list->items[i].string);
  return fits && em_tpl_built(run, builder, out);
}
