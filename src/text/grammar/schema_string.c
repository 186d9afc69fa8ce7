/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Strings: their characters, their lengths, and formats, which are written as patterns. */
#include "text/grammar/schema-private.h"

#include "base/buffer.h"

#include <stdlib.h>
#include <string.h>

/* Dates of RFC 3339 without a look at the length of the month; addresses as most are written. */
#define DATE "[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
#define TIME "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
#define BYTE "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define HEX4 "[0-9A-Fa-f]{1,4}"

static const struct {
  const char *name, *pattern;
} formats[] = {
    {"date", "^" DATE "$"},
    {"time", "^" TIME "$"},
    {"date-time", "^" DATE "T" TIME "$"},
    {"duration",
     "^P(?:[0-9]{1,4}W|(?:[0-9]{1,4}Y(?:[0-9]{1,4}M)?(?:[0-9]{1,4}D)?|[0-9]{1,4}M(?:[0-9]{1,4}D)?|[0-9]{1,4}D)"
     "(?:T(?:[0-9]{1,4}H(?:[0-9]{1,4}M)?(?:[0-9]{1,4}S)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|[0-9]{1,4}S))?|"
     "T(?:[0-9]{1,4}H(?:[0-9]{1,4}M)?(?:[0-9]{1,4}S)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|[0-9]{1,4}S))$"},
    {"uuid", "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"},
    {"email", "^[A-Za-z0-9_+-]+(?:\\.[A-Za-z0-9_+-]+)*@(?:" LABEL "\\.)+[A-Za-z]{2,63}$"},
    {"hostname", "^" LABEL "(?:\\." LABEL ")*$"},
    {"ipv4", "^" BYTE "(?:\\." BYTE "){3}$"},
    {"ipv6",
     "^(?:(?:" HEX4 ":){7}" HEX4 "|::|(?:" HEX4 ":){1,6}:" HEX4 "|::(?:" HEX4 ":){0,5}" HEX4 "|(?:" HEX4 ":){1,7}:)$"},
    {"uri", "^[A-Za-z][A-Za-z0-9+.-]{0,31}:(?://)?[A-Za-z0-9._~:/?#@!$&'()*+,;=-]+$"},
};

const char *em_schema_format(const char *name) {
  for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
    if (strcmp(formats[i].name, name) == 0)
      return formats[i].pattern;
  return NULL;
}

/* --- Characters --------------------------------------------------------------------------------------------------- */

/* The escapes of one letter, and what they stand for. */
static const char escape_letters[] = "bfnrt\"\\", escape_values[] = "\b\f\n\r\t\"\\";

static bool in_ranges(const em_range *ranges, size_t n, bool negated, uint32_t c) {
  for (size_t i = 0; i < n; i++)
    if (c >= ranges[i].low && c <= ranges[i].high)
      return !negated;
  return negated;
}

/* The class without what must be escaped, and behind it the escapes of what is in the class. */
em_expr *em_schema_class(em_schemas *s, const em_range *ranges, size_t n, bool negated) {
  em_rules *b = &s->b;
  em_range letters[7], low[32];
  size_t n_letters = 0, n_low[2] = {0, 0};
  em_expr *choice = em_expr_group(b, EM_EXPR_CHOICE);
  for (size_t i = 0; i < 7; i++)
    if (in_ranges(ranges, n, negated, (unsigned char)escape_values[i]))
      letters[n_letters++] = (em_range){(unsigned char)escape_letters[i], (unsigned char)escape_letters[i]};
  /* What is left of the controls is written as \u00 and two digits. */
  for (uint32_t c = 0; c < 0x20; c++)
    if (in_ranges(ranges, n, negated, c) && (c == 0 || !strchr(escape_values, (int)c)))
      low[16 * (c >> 4) + n_low[c >> 4]++] = (c & 15) < 10 ? (em_range){'0' + (c & 15), '0' + (c & 15)}
                                                           : (em_range){'a' + (c & 15) - 10, 'a' + (c & 15) - 10};
  /* The raw part: the complement of the complement and of what is escaped. */
  static const em_range escaped[] = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}};
  em_range *out = em_rules_alloc(b, 2 * n + 8, sizeof *out);
  if (!out || !choice)
    return NULL;
  if (negated) {
    if (n > 0)
      memcpy(out, ranges, n * sizeof *out);
    memcpy(out + n, escaped, sizeof escaped);
  } else {
    em_expr *others = em_expr_class(b, ranges, n, true);
    em_range *grown = others ? em_rules_alloc(b, others->set.n + 3, sizeof *grown) : NULL;
    if (!grown)
      return NULL;
    memcpy(grown, others->set.ranges, others->set.n * sizeof *grown);
    memcpy(grown + others->set.n, escaped, sizeof escaped);
    n = others->set.n;
    out = grown;
  }
  em_expr *raw = em_expr_class(b, out, n + 3, true);
  if (raw && raw->set.n > 0)
    em_expr_add(choice, raw);
  if (n_letters > 0)
    em_expr_add(choice,
                em_expr_sequence(b, em_expr_text(b, "\\"), em_expr_class(b, letters, n_letters, false), EM_EXPR_END));
  for (int i = 0; i < 2; i++)
    if (n_low[i] > 0)
      em_expr_add(choice, em_expr_sequence(b, em_expr_text(b, i ? "\\u001" : "\\u000"),
                                           em_expr_class(b, low + 16 * i, n_low[i], false), EM_EXPR_END));
  return choice->first && !choice->first->sibling ? choice->first : choice;
}

/* Any character: as it is, or escaped; those past U+FFFF as two escapes that belong together. */
em_expr *em_schema_basic_char(em_schemas *s) {
  static const em_range escaped[] = {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}},
                        letters[] = {{'"', '"'}, {'\\', '\\'}, {'/', '/'}, {'b', 'b'},
                                     {'f', 'f'}, {'n', 'n'},   {'r', 'r'}, {'t', 't'}},
                        hex[] = {{'0', '9'}, {'A', 'F'}, {'a', 'f'}},
                        no_d[] = {{'0', '9'}, {'A', 'C'}, {'E', 'F'}, {'a', 'c'}, {'e', 'f'}},
                        d[] = {{'D', 'D'}, {'d', 'd'}}, low_half[] = {{'0', '7'}},
                        first_half[] = {{'8', '9'}, {'A', 'B'}, {'a', 'b'}}, second_half[] = {{'C', 'F'}, {'c', 'f'}};
  em_rules *b = &s->b;
#define CLASS(ranges) em_expr_class(b, ranges, sizeof ranges / sizeof ranges[0], false)
#define HEX(n) em_expr_repeat(b, CLASS(hex), n, n)
  em_expr *pair = em_expr_sequence(b, CLASS(d), CLASS(first_half), HEX(2), em_expr_text(b, "\\u"), CLASS(d),
                                   CLASS(second_half), HEX(2), EM_EXPR_END);
  em_expr *code =
      em_expr_choice(b, em_expr_sequence(b, CLASS(no_d), HEX(3), EM_EXPR_END),
                     em_expr_sequence(b, CLASS(d), CLASS(low_half), HEX(2), EM_EXPR_END), pair, EM_EXPR_END);
  em_expr *escape =
      em_expr_choice(b, CLASS(letters), em_expr_sequence(b, em_expr_text(b, "u"), code, EM_EXPR_END), EM_EXPR_END);
  return em_expr_choice(b, em_expr_class(b, escaped, 3, true),
                        em_expr_sequence(b, em_expr_text(b, "\\"), escape, EM_EXPR_END), EM_EXPR_END);
#undef CLASS
#undef HEX
}

/* --- Strings ------------------------------------------------------------------------------------------------------ */

em_expr *em_schema_json(em_schemas *s, const em_json *value) {
  em_buffer text = {0};
  em_expr *expr = NULL;
  if (em_json_write(&text, value) && em_rules_work(&s->b, text.bytes))
    expr = em_expr_literal(&s->b, text.data, text.bytes);
  else
    em_rules_fail(&s->b, EM_ERR_NO_MEMORY, "no memory for the schema");
  em_buffer_clear(&text);
  return expr;
}

em_expr *em_schema_string(em_schemas *s, const em_json *schema) {
  em_rules *b = &s->b;
  const em_json *pattern = em_schema_get(s, schema, "pattern"), *format = em_schema_get(s, schema, "format");
  uint32_t min = 0, max = EM_NO_MAXIMUM;
  em_expr *inside;
  if (!em_schema_count(s, schema, "minLength", &min) || !em_schema_count(s, schema, "maxLength", &max))
    return NULL;
  if (pattern && pattern->kind != EM_JSON_STRING)
    return em_rules_fail(b, EM_ERR_FORMAT, "the schema's pattern is not a string");
  if (max < min)
    return em_rules_fail(b, EM_ERR_FORMAT, "the schema's maxLength is below its minLength");
  const char *written = format && format->kind == EM_JSON_STRING ? em_schema_format(format->string.text) : NULL;
  /* Libraries that send a format often send a pattern for it as well, and some of those look around themselves. */
  if (pattern && !(written && em_schema_pattern_looks_around(pattern->string.text, pattern->string.bytes)))
    inside = em_schema_pattern(s, pattern->string.text, pattern->string.bytes, min, max);
  else if (written)
    inside = em_schema_pattern(s, written, strlen(written), min, max);
  else if (min == 0 && max == EM_NO_MAXIMUM)
    return em_schema_basic(s, EM_SCHEMA_STRING);
  else
    inside = em_expr_repeat(b, em_schema_basic(s, EM_SCHEMA_CHAR), min, max);
  return em_expr_sequence(b, em_expr_text(b, "\""), inside, em_expr_text(b, "\""), EM_EXPR_END);
}
