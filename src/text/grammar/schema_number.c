/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Numbers between bounds, digit by digit. A bound is a whole part and the digits behind its point; numbers within
 * bounds are written without an exponent. */
#include "text/grammar/schema-private.h"

#include "base/buffer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DIGITS 16u                  /* before the point, and behind it */
#define MOST_WHOLE 9999999999999999ull  /* MAX_DIGITS digits */
#define MOST_BOUND 999999999999999999ll /* an integer's bound past this is cut to it */
#define BOUND_DIGITS 15                 /* behind the point of a bound */

static em_expr *digit(em_schemas *s, unsigned low, unsigned high) {
  em_range range = {'0' + low, '0' + high};
  return em_expr_class(&s->b, &range, 1, false);
}

/* min..max digits of any kind. */
static em_expr *digits(em_schemas *s, uint32_t min, uint32_t max) {
  return em_expr_repeat(&s->b, digit(s, 0, 9), min, max);
}

/* --- Whole numbers ------------------------------------------------------------------------------------------------ */

/* Numbers of n digits, at least `low` (NULL: any) and at most `high` (NULL: any). The recursion is as deep as there are
 * digits; where both bounds are set and differ it splits, once. */
static em_expr *same_length(em_schemas *s, const char *low, const char *high, uint32_t n) {
  em_rules *b = &s->b;
  if (!low && !high)
    return digits(s, n, n);
  if (n == 0)
    return em_expr_text(b, "");
  unsigned a = low ? (unsigned)(*low - '0') : 0, z = high ? (unsigned)(*high - '0') : 9;
  const char *low_rest = low ? low + 1 : NULL, *high_rest = high ? high + 1 : NULL;
  if (low && high && a == z)
    return em_expr_sequence(b, digit(s, a, a), same_length(s, low_rest, high_rest, n - 1), EM_EXPR_END);
  em_expr *choice = em_expr_group(b, EM_EXPR_CHOICE);
  unsigned first = low ? a + 1 : a,
           last = high ? z : z + 1; /* of the digits after which anything goes, last excluded */
  if (low)
    em_expr_add(choice, em_expr_sequence(b, digit(s, a, a), same_length(s, low_rest, NULL, n - 1), EM_EXPR_END));
  if (first < last)
    em_expr_add(choice, em_expr_sequence(b, digit(s, first, last - 1), digits(s, n - 1, n - 1), EM_EXPR_END));
  if (high)
    em_expr_add(choice, em_expr_sequence(b, digit(s, z, z), same_length(s, NULL, high_rest, n - 1), EM_EXPR_END));
  return choice;
}

/* The numbers low..high without a sign. */
static em_expr *whole(em_schemas *s, uint64_t low, uint64_t high) {
  em_expr *choice = em_expr_group(&s->b, EM_EXPR_CHOICE);
  uint64_t first = 0; /* of those with n digits */
  for (uint32_t n = 1; n <= 19 && first <= high && s->b.status == EM_OK; n++) {
    uint64_t last = first == 0 ? 9 : first * 10 - 1;
    char from[24], to[24];
    if (low <= last && low <= high) {
      snprintf(from, sizeof from, "%llu", (unsigned long long)(low > first ? low : first));
      snprintf(to, sizeof to, "%llu", (unsigned long long)(high < last ? high : last));
      em_expr_add(choice, same_length(s, from, to, n));
    }
    first = last + 1;
  }
  return choice;
}

static em_expr *integer_between(em_schemas *s, int64_t low, int64_t high) {
  em_rules *b = &s->b;
  em_expr *choice = em_expr_group(b, EM_EXPR_CHOICE);
  if (low < 0 && low <= high)
    em_expr_add(choice, em_expr_sequence(b, em_expr_text(b, "-"),
                                         whole(s, high < 0 ? (uint64_t)-high : 1, (uint64_t)-low), EM_EXPR_END));
  if (high >= 0 && low <= high)
    em_expr_add(choice, whole(s, low > 0 ? (uint64_t)low : 0, (uint64_t)high));
  return choice;
}

/* --- Fractions ---------------------------------------------------------------------------------------------------- */

typedef struct bound {
  uint64_t whole;
  char digits[BOUND_DIGITS + 1]; /* behind the point, without zeros at the end */
  bool strict;                   /* the bound itself is not allowed */
} bound;

/* One end of a range of fractions: what is left of its digits; NULL digits: there is no such end any more. */
typedef struct edge {
  const char *digits;
  bool strict;
} edge;

static unsigned edge_digit(edge e) {
  return *e.digits ? (unsigned)(*e.digits - '0') : 0;
}

static edge edge_rest(edge e) {
  return (edge){*e.digits ? e.digits + 1 : e.digits, e.strict};
}

/* The digits of fractions from low to high, n of them at most. With `ends` the fraction may be over here, which makes
 * it 0. The recursion is as deep as n; it splits once, where the two ends part. */
static em_expr *fraction_digits(em_schemas *s, edge low, edge high, unsigned n, bool ends) {
  em_rules *b = &s->b;
  const edge none = {NULL, false};
  em_expr *choice = em_expr_group(b, EM_EXPR_CHOICE);
  if (low.digits && !*low.digits && !low.strict)
    low = none;
  if (!low.digits && !high.digits)
    return digits(s, ends ? 0 : 1, n);
  if (ends && (!low.digits || (!*low.digits && !low.strict)) && (!high.digits || *high.digits || !high.strict))
    em_expr_add(choice, em_expr_text(b, ""));
  if (n == 0 || s->b.status != EM_OK)
    return choice;
  unsigned a = low.digits ? edge_digit(low) : 0, z = high.digits ? edge_digit(high) : 9;
  if (low.digits && high.digits && a == z) {
    em_expr_add(choice,
                em_expr_sequence(b, digit(s, a, a), fraction_digits(s, edge_rest(low), edge_rest(high), n - 1, true),
                                 EM_EXPR_END));
    return choice;
  }
  unsigned first = low.digits ? a + 1 : a, last = high.digits ? z : z + 1;
  if (low.digits && a <= z)
    em_expr_add(choice, em_expr_sequence(b, digit(s, a, a), fraction_digits(s, edge_rest(low), none, n - 1, true),
                                         EM_EXPR_END));
  if (first < last)
    em_expr_add(choice, em_expr_sequence(b, digit(s, first, last - 1), digits(s, 0, n - 1), EM_EXPR_END));
  if (high.digits && a <= z)
    em_expr_add(choice, em_expr_sequence(b, digit(s, z, z), fraction_digits(s, none, edge_rest(high), n - 1, true),
                                         EM_EXPR_END));
  return choice;
}

/* The point and the digits behind it, or nothing. NULL: no bound on that side. */
static em_expr *fraction(em_schemas *s, const bound *low, const bound *high) {
  em_rules *b = &s->b;
  edge from = {low ? low->digits : NULL, low && low->strict}, to = {high ? high->digits : NULL, high && high->strict};
  em_expr *choice = em_expr_group(b, EM_EXPR_CHOICE);
  if ((!low || (!*low->digits && !low->strict)) && (!high || *high->digits || !high->strict))
    em_expr_add(choice, em_expr_text(b, ""));
  em_expr_add(choice,
              em_expr_sequence(b, em_expr_text(b, "."), fraction_digits(s, from, to, MAX_DIGITS, false), EM_EXPR_END));
  return choice;
}

/* Numbers without a sign from low to high (NULL: without end). */
static em_expr *magnitude(em_schemas *s, const bound *low, const bound *high) {
  em_rules *b = &s->b;
  em_expr *choice = em_expr_group(b, EM_EXPR_CHOICE);
  uint64_t between = low->whole + 1, last = high ? high->whole : MOST_WHOLE + 1;
  if (high && low->whole > high->whole)
    return choice;
  if (high && low->whole == high->whole) {
    em_expr_add(choice, em_expr_sequence(b, whole(s, low->whole, low->whole), fraction(s, low, high), EM_EXPR_END));
    return choice;
  }
  em_expr_add(choice, em_expr_sequence(b, whole(s, low->whole, low->whole), fraction(s, low, NULL), EM_EXPR_END));
  if (between < last)
    em_expr_add(choice, em_expr_sequence(b, whole(s, between, last - 1), fraction(s, NULL, NULL), EM_EXPR_END));
  if (high)
    em_expr_add(choice, em_expr_sequence(b, whole(s, high->whole, high->whole), fraction(s, NULL, high), EM_EXPR_END));
  return choice;
}

/* --- Bounds ------------------------------------------------------------------------------------------------------- */

typedef struct limit {
  double value;
  bool set, strict;
  bool exact; /* integer is meant */
  int64_t integer;
} limit;

static bool read_limit(em_schemas *s, const em_json *schema, const char *key, const char *strict_key, int sign,
                       limit *out) {
  const char *const keys[] = {key, strict_key};
  bool also_strict = em_schema_is(em_schema_get(s, schema, strict_key), true); /* draft-04 */
  *out = (limit){0};
  for (int i = 0; i < 2; i++) {
    const em_json *value = em_schema_get(s, schema, keys[i]);
    if (!value || (i == 1 && value->kind == EM_JSON_BOOL))
      continue;
    if (value->kind != EM_JSON_INTEGER && value->kind != EM_JSON_REAL) {
      em_rules_fail(&s->b, EM_ERR_FORMAT, "the schema's %s is not a number", keys[i]);
      return false;
    }
    double x = value->kind == EM_JSON_INTEGER ? (double)value->integer : value->real;
    bool strict = i == 1 || also_strict;
    if (out->set && (sign > 0 ? x < out->value : x > out->value))
      continue;
    if (out->set && x == out->value)
      strict = strict || out->strict;
    *out =
        (limit){x, true, strict, value->kind == EM_JSON_INTEGER, value->kind == EM_JSON_INTEGER ? value->integer : 0};
  }
  return s->b.status == EM_OK;
}

/* The smallest (sign 1) or largest (-1) integer that a limit allows. */
static int64_t integer_limit(const limit *l, int sign) {
  if (!l->set)
    return -sign * (int64_t)MOST_WHOLE;
  if (l->exact) {
    int64_t x = l->integer;
    x = x > MOST_BOUND ? MOST_BOUND : x < -MOST_BOUND ? -MOST_BOUND : x;
    return l->strict ? x + sign : x;
  }
  double x = sign > 0 ? ceil(l->value) : floor(l->value);
  if (l->strict && x == l->value)
    x += sign;
  return x > (double)MOST_BOUND ? MOST_BOUND : x < -(double)MOST_BOUND ? -MOST_BOUND : (int64_t)x;
}

/* A limit without its sign as whole part and digits; past MOST_WHOLE it is cut to that. */
static bool to_bound(em_schemas *s, double value, bool strict, bound *out) {
  char text[64];
  *out = (bound){.strict = strict};
  if (value > (double)MOST_WHOLE) {
    out->whole = MOST_WHOLE;
    return true;
  }
  double rest = value - floor(value);
  out->whole = (uint64_t)value;
  snprintf(text, sizeof text, "%.*f", BOUND_DIGITS, rest);
  if (text[0] == '1') { /* rounded up to a whole number */
    em_rules_fail(&s->b, EM_ERR_UNSUPPORTED, "the schema has a bound with more than %d digits behind its point",
                  BOUND_DIGITS);
    return false;
  }
  /* The shortest digits that are the same number. */
  for (int n = 0; n <= BOUND_DIGITS; n++) {
    snprintf(text, sizeof text, "%.*f", n, value);
    if (strtod(text, NULL) == value)
      break;
  }
  if (strtod(text, NULL) != value) {
    em_rules_fail(&s->b, EM_ERR_UNSUPPORTED, "the schema has a bound with more than %d digits behind its point",
                  BOUND_DIGITS);
    return false;
  }
  const char *point = strpbrk(text, ".,");
  size_t n = point ? strlen(point + 1) : 0;
  if (n > 0)
    memcpy(out->digits, point + 1, n);
  while (n > 0 && out->digits[n - 1] == '0')
    out->digits[--n] = 0;
  return true;
}

static em_expr *number_between(em_schemas *s, const limit *low, const limit *high) {
  em_rules *b = &s->b;
  em_expr *choice = em_expr_group(b, EM_EXPR_CHOICE);
  bound from = {0}, to = {0};
  if (low->set && high->set &&
      (low->value > high->value || (low->value == high->value && (low->strict || high->strict))))
    return choice;
  if (!high->set || high->value > 0 || (high->value == 0 && !high->strict)) {
    bool above = low->set && low->value >= 0;
    if (!to_bound(s, above ? low->value : 0, above && low->strict, &from) ||
        (high->set && !to_bound(s, high->value, high->strict, &to)))
      return NULL;
    em_expr_add(choice, magnitude(s, &from, high->set ? &to : NULL));
  }
  if (!low->set || low->value < 0) {
    bool below = high->set && high->value < 0;
    if (!to_bound(s, below ? -high->value : 0, below ? high->strict : true, &from) ||
        (low->set && !to_bound(s, -low->value, low->strict, &to)))
      return NULL;
    em_expr_add(choice,
                em_expr_sequence(b, em_expr_text(b, "-"), magnitude(s, &from, low->set ? &to : NULL), EM_EXPR_END));
  }
  return choice;
}

em_expr *em_schema_number(em_schemas *s, const em_json *schema, bool integer) {
  limit low, high;
  if (!read_limit(s, schema, "minimum", "exclusiveMinimum", 1, &low) ||
      !read_limit(s, schema, "maximum", "exclusiveMaximum", -1, &high))
    return NULL;
  if (!low.set && !high.set)
    return em_schema_basic(s, integer ? EM_SCHEMA_INTEGER : EM_SCHEMA_NUMBER);
  if (!integer)
    return number_between(s, &low, &high);
  int64_t from = integer_limit(&low, 1), to = integer_limit(&high, -1);
  /* A bound past the usual range moves the other end, which nothing asked for. */
  if (!high.set && from > to)
    to = MOST_BOUND;
  if (!low.set && to < from)
    from = -MOST_BOUND;
  return integer_between(s, from, to);
}

em_expr *em_schema_basic_number(em_schemas *s, bool integer) {
  em_rules *b = &s->b;
  static const em_range e[] = {{'e', 'e'}, {'E', 'E'}}, sign[] = {{'+', '+'}, {'-', '-'}};
  em_expr *number = em_expr_sequence(
      b, em_expr_repeat(b, em_expr_text(b, "-"), 0, 1),
      em_expr_choice(b, em_expr_text(b, "0"),
                     em_expr_sequence(b, digit(s, 1, 9), digits(s, 0, MAX_DIGITS - 1), EM_EXPR_END), EM_EXPR_END),
      EM_EXPR_END);
  if (integer)
    return number;
  em_expr *decimals = em_expr_sequence(b, em_expr_text(b, "."), digits(s, 1, MAX_DIGITS), EM_EXPR_END);
  /* No number that can be written this way is past what readers of JSON hold. */
  em_expr *exponent =
      em_expr_sequence(b, em_expr_class(b, e, 2, false), em_expr_repeat(b, em_expr_class(b, sign, 2, false), 0, 1),
                       em_expr_repeat(b, digit(s, 1, 1), 0, 1), digits(s, 1, 2), EM_EXPR_END);
  em_expr_add(number, em_expr_repeat(b, decimals, 0, 1));
  em_expr_add(number, em_expr_repeat(b, exponent, 0, 1));
  return number;
}
