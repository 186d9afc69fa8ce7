/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The tests behind `is`. */
#include <string.h>

#include "base/utf8.h"
#include "text/template/call.h"
#include "text/template/chars.h"
#include "text/template/operators.h"

static bool test_defined(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = value.kind != EM_TPL_UNDEFINED, true;
}

static bool test_undefined(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = value.kind == EM_TPL_UNDEFINED, true;
}

static bool test_none(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = value.kind == EM_TPL_NONE, true;
}

static bool test_boolean(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = value.kind == EM_TPL_BOOL, true;
}

static bool test_true(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = value.kind == EM_TPL_BOOL && value.boolean, true;
}

static bool test_false(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = value.kind == EM_TPL_BOOL && !value.boolean, true;
}

static bool test_integer(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = value.kind == EM_TPL_INT, true;
}

static bool test_float(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = value.kind == EM_TPL_REAL, true;
}

static bool test_number(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = em_tpl_is_number(value), true;
}

static bool test_string(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = value.kind == EM_TPL_STRING, true;
}

static bool test_mapping(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = value.kind == EM_TPL_DICT, true;
}

/* Whatever has items: what is undefined has none, but can be asked. */
static bool test_sequence(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = value.kind == EM_TPL_UNDEFINED || value.kind == EM_TPL_STRING || value.kind == EM_TPL_LIST ||
                value.kind == EM_TPL_TUPLE || value.kind == EM_TPL_DICT,
         true;
}

static bool test_callable(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = value.kind == EM_TPL_FUNCTION || value.kind == EM_TPL_MACRO, true;
}

static bool test_escaped(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = value.kind == EM_TPL_STRING && value.string->safe, true;
}

static bool is_known(em_tpl_value value, bool filter) {
  char name[32];
  if (value.kind != EM_TPL_STRING || value.string->bytes >= sizeof name)
    return false;
  memcpy(name, value.string->text, value.string->bytes);
  name[value.string->bytes] = 0;
  return filter ? em_tpl_find_filter(name) != NULL : em_tpl_find_test(name) != NULL;
}

static bool test_filter(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = is_known(value, true), true;
}

static bool test_test(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return *out = is_known(value, false), true;
}

static bool has_case(em_tpl_run *run, em_tpl_value value, bool upper, bool *out) {
  if (!em_tpl_to_string(run, value, &value) || !em_tpl_spend(run, value.string->bytes / 4))
    return false;
  bool cased = false, other = false;
  for (size_t i = 0; i < value.string->bytes;) {
    uint32_t c;
    i += em_utf8_decode(value.string->text + i, value.string->bytes - i, &c, NULL);
    cased |= upper ? em_tpl_lower(c) != c : em_tpl_upper(c) != c;
    other |= upper ? em_tpl_upper(c) != c : em_tpl_lower(c) != c;
  }
  return *out = cased && !other, true;
}

static bool test_lower(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return has_case(run, value, false, out);
}

static bool test_upper(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return has_case(run, value, true, out);
}

/* --- Tests with an argument ----------------------------------------------------------------------------------------------------- */

static bool get_operand(em_tpl_run *run, const em_tpl_args *args, em_tpl_value *out) {
  if (args->n == 0)
    return em_tpl_fail(run, EM_ERR_FORMAT, "a test needs something to compare with");
  return *out = args->items[0], true;
}

static bool remainder_is(em_tpl_run *run, em_tpl_value value, int64_t divisor, int64_t wanted, bool *out) {
  em_tpl_value rest;
  return em_tpl_arithmetic(run, '%', value, em_tpl_int(divisor), &rest) &&
         em_tpl_equal(run, rest, em_tpl_int(wanted), out);
}

static bool test_even(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return remainder_is(run, value, 2, 0, out);
}

static bool test_odd(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  return remainder_is(run, value, 2, 1, out);
}

static bool test_divisibleby(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  int64_t divisor = 0;
  return em_tpl_arg_int(run, args, 0, "num", &divisor) && remainder_is(run, value, divisor, 0, out);
}

static bool test_eq(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  em_tpl_value other;
  return get_operand(run, args, &other) && em_tpl_equal(run, value, other, out);
}

static bool test_ne(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  bool equal = test_eq(run, value, args, out);
  *out = !*out;
  return equal;
}

static bool test_sameas(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  em_tpl_value other;
  if (!get_operand(run, args, &other))
    return false;
  if (value.kind != other.kind)
    return *out = false, true;
  if (value.kind == EM_TPL_LIST || value.kind == EM_TPL_TUPLE)
    return *out = value.list == other.list, true;
  if (value.kind == EM_TPL_DICT)
    return *out = value.dict == other.dict, true;
  return em_tpl_equal(run, value, other, out);
}

static bool test_in(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  em_tpl_value container;
  return get_operand(run, args, &container) && em_tpl_contains(run, container, value, out);
}

static bool order_of(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, int *out) {
  em_tpl_value other;
  return get_operand(run, args, &other) && em_tpl_compare(run, value, other, out);
}

static bool test_lt(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  int order = 0;
  bool fits = order_of(run, value, args, &order);
  return *out = order < 0, fits;
}

static bool test_le(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  int order = 0;
  bool fits = order_of(run, value, args, &order);
  return *out = order <= 0, fits;
}

static bool test_gt(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  int order = 0;
  bool fits = order_of(run, value, args, &order);
  return *out = order > 0, fits;
}

static bool test_ge(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out) {
  int order = 0;
  bool fits = order_of(run, value, args, &order);
  return *out = order >= 0, fits;
}

static const em_tpl_test tests[] = {
    {"defined", test_defined},   {"undefined", test_undefined}, {"none", test_none},         {"boolean", test_boolean},
    {"true", test_true},         {"false", test_false},         {"integer", test_integer},   {"float", test_float},
    {"number", test_number},     {"string", test_string},       {"mapping", test_mapping},   {"sequence", test_sequence},
    {"iterable", test_sequence}, {"callable", test_callable},   {"escaped", test_escaped},   {"filter", test_filter},
    {"test", test_test},         {"lower", test_lower},         {"upper", test_upper},       {"even", test_even},
    {"odd", test_odd},           {"divisibleby", test_divisibleby}, {"eq", test_eq},         {"equalto", test_eq},
    {"==", test_eq},             {"ne", test_ne},               {"!=", test_ne},             {"sameas", test_sameas},
    {"in", test_in},             {"lt", test_lt},               {"lessthan", test_lt},       {"<", test_lt},
    {"le", test_le},             {"<=", test_le},               {"gt", test_gt},             {"greaterthan", test_gt},
    {">", test_gt},              {"ge", test_ge},               {">=", test_ge},
};

const em_tpl_test *em_tpl_find_test(const char *name) {
  for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++)
    if (strcmp(tests[i].name, name) == 0)
      return &tests[i];
  return NULL;
}
