/* SPDX-License-Identifier: GPL-3.0-or-later */
/* GBNF text becomes expressions. Groups are kept on a stack of their own, so that a text cannot make the parser
 * recurse. */
#include "text/grammar/build.h"

#include "base/buffer.h"
#include "base/checked.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

typedef struct name {
  const char *text;
  size_t bytes;
  uint32_t rule;
} name;

/* A group, or a rule's whole right side, that is being read. */
typedef struct group {
  em_expr *choice;   /* of the alternatives so far */
  em_expr *sequence; /* the alternative that is being read */
  size_t at;         /* of its parenthesis */
} group;

typedef struct parser {
  em_rules builder;
  const char *text;
  size_t bytes, at;
  name *names; /* open addressing by hash; NULL texts are free */
  size_t n_slots;
  group groups[EM_GRAMMAR_MAX_DEPTH + 1];
  unsigned n_groups;
} parser;

static em_status wrong(parser *p, size_t at, const char *what) {
  if (p->builder.status == EM_OK)
    p->builder.status = em_fail_at(p->builder.error, EM_ERR_FORMAT, at, "the grammar is malformed: %s", what);
  return p->builder.status;
}

/* The next byte, or 0 at the end. A NUL is legal nowhere but in a comment. */
static char peek(const parser *p) {
  return p->at < p->bytes ? p->text[p->at] : 0;
}

/* Blanks and comments; line ends too where the line may end. */
static void skip(parser *p, bool line_ends) {
  while (p->at < p->bytes) {
    char c = p->text[p->at];
    if (c == '#') {
      while (p->at < p->bytes && p->text[p->at] != '\n' && p->text[p->at] != '\r')
        p->at++;
    } else if (c == ' ' || c == '\t' || (line_ends && (c == '\n' || c == '\r'))) {
      p->at++;
    } else {
      return;
    }
  }
}

static bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* --- Names -------------------------------------------------------------------------------------------------------- */

/* The rule of the name text[0..bytes). */
static uint32_t rule_named(parser *p, const char *text, size_t bytes) {
  uint64_t hash = 14695981039346656037u;
  for (size_t i = 0; i < bytes; i++)
    hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
  size_t slot = (size_t)(hash >> 20) % p->n_slots;
  while (p->names[slot].text && (p->names[slot].bytes != bytes || memcmp(p->names[slot].text, text, bytes) != 0))
    slot = (slot + 1) % p->n_slots;
  if (!p->names[slot].text) {
    uint32_t rule = em_rules_add(&p->builder);
    if (rule == UINT32_MAX)
      return rule;
    p->names[slot] = (name){text, bytes, rule};
  }
  return p->names[slot].rule;
}

static uint32_t read_name(parser *p) {
  size_t start = p->at;
  while (is_name(peek(p)))
    p->at++;
  if (p->at == start) {
    wrong(p, start, "a rule's name is missing");
    return UINT32_MAX;
  }
  return rule_named(p, p->text + start, p->at - start);
}

/* --- Characters --------------------------------------------------------------------------------------------------- */

static int hex_value(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  c = (char)(c | 32);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static em_status read_hex(parser *p, unsigned n, uint32_t *out) {
  size_t start = p->at - 2;
  *out = 0;
  for (unsigned i = 0; i < n; i++, p->at++) {
    int value = hex_value(peek(p));
    if (value < 0)
      return wrong(p, start, "an escape has too few digits");
    *out = *out << 4 | (uint32_t)value;
  }
  if (*out > 0x10FFFF || (*out >= 0xD800 && *out <= 0xDFFF))
    return wrong(p, start, "an escape is no character");
  return EM_OK;
}

/* One character of a literal or class, escaped or not. */
static em_status read_char(parser *p, uint32_t *out) {
  static const char from[] = "nrt\\\"[]-^", into[] = "\n\r\t\\\"[]-^";
  size_t start = p->at;
  if (p->at >= p->bytes)
    return wrong(p, start, "it ends inside a literal or class");
  if (p->text[p->at] != '\\') {
    bool valid;
    p->at += em_utf8_decode(p->text + p->at, p->bytes - p->at, out, &valid);
    return valid ? EM_OK : wrong(p, start, "invalid UTF-8");
  }
  p->at++;
  char c = peek(p);
  p->at++;
  if (c == 'x' || c == 'u' || c == 'U')
    return read_hex(p, c == 'x' ? 2 : c == 'u' ? 4 : 8, out);
  const char *found = c ? strchr(from, c) : NULL;
  if (!found)
    return wrong(p, start, "an escape that does not exist");
  *out = (unsigned char)into[found - from];
  return EM_OK;
}

/* At the opening quote. */
static em_expr *read_literal(parser *p) {
  em_buffer text = {0};
  size_t start = p->at++;
  while (p->builder.status == EM_OK && peek(p) != '"') {
    uint32_t c;
    char encoded[4];
    if (p->at >= p->bytes || peek(p) == '\n') {
      wrong(p, start, "a literal without an end");
      break;
    }
    if (read_char(p, &c) == EM_OK && !em_buffer_append(&text, encoded, em_utf8_encode(c, encoded)))
      em_rules_fail(&p->builder, EM_ERR_NO_MEMORY, "no memory for the grammar");
  }
  p->at++;
  em_expr *expr = em_expr_literal(&p->builder, text.data ? text.data : "", text.bytes);
  em_buffer_clear(&text);
  return expr;
}

/* At the opening bracket. */
static em_expr *read_class(parser *p) {
  em_range *ranges = NULL;
  size_t n = 0, capacity = 0, start = p->at++;
  bool negated = peek(p) == '^';
  p->at += negated;
  while (p->builder.status == EM_OK && peek(p) != ']') {
    em_range range;
    if (p->at >= p->bytes || peek(p) == '\n') {
      wrong(p, start, "a class without an end");
      break;
    }
    if (read_char(p, &range.low) != EM_OK)
      break;
    range.high = range.low;
    if (peek(p) == '-' && p->at + 1 < p->bytes && p->text[p->at + 1] != ']') {
      p->at++;
      if (read_char(p, &range.high) != EM_OK)
        break;
      if (range.high < range.low)
        wrong(p, start, "a range that ends before it begins");
    }
    if (n == capacity) {
      capacity = capacity ? 2 * capacity : 16;
      em_range *grown = em_realloc_array(ranges, capacity, sizeof *ranges);
      if (!grown) {
        em_rules_fail(&p->builder, EM_ERR_NO_MEMORY, "no memory for the grammar");
        break;
      }
      ranges = grown;
    }
    ranges[n++] = range;
  }
  p->at++;
  em_expr *expr = em_expr_class(&p->builder, ranges, n, negated);
  free(ranges);
  return expr;
}

/* --- Repetition --------------------------------------------------------------------------------------------------- */

static em_status read_count(parser *p, uint32_t *out) {
  size_t start = p->at;
  *out = 0;
  while (peek(p) >= '0' && peek(p) <= '9') {
    *out = *out * 10 + (uint32_t)(peek(p) - '0');
    if (*out > EM_GRAMMAR_MAX_REPEAT) {
      p->builder.status = em_fail_at(p->builder.error, EM_ERR_LIMIT, start,
                                     "the grammar repeats something more than %u times", EM_GRAMMAR_MAX_REPEAT);
      return p->builder.status;
    }
    p->at++;
  }
  return p->at > start ? EM_OK : wrong(p, start, "a number of repetitions is missing");
}

/* Behind the opening brace. */
static em_status read_counts(parser *p, uint32_t *min, uint32_t *max) {
  em_status status = EM_OK;
  size_t start = p->at;
  skip(p, false);
  EM_TRY(read_count(p, min));
  *max = *min;
  skip(p, false);
  if (peek(p) == ',') {
    p->at++;
    skip(p, false);
    *max = EM_NO_MAXIMUM;
    if (peek(p) != '}')
      EM_TRY(read_count(p, max));
    skip(p, false);
  }
  if (peek(p) != '}')
    EM_TRY(wrong(p, start, "a closing brace is missing"));
  p->at++;
  if (*max < *min)
    EM_TRY(wrong(p, start, "a repetition whose maximum is below its minimum"));
fail:
  return status;
}

/* What is written behind the element, if anything, is applied to it. */
static em_expr *read_repetitions(parser *p, em_expr *element) {
  unsigned n = 0;
  while (p->builder.status == EM_OK) {
    uint32_t min = 0, max = EM_NO_MAXIMUM;
    size_t before = p->at;
    skip(p, p->n_groups > 1);
    char c = peek(p);
    if (!c || !strchr("*+?{", c)) {
      p->at = before;
      break;
    }
    if (++n > EM_GRAMMAR_MAX_DEPTH) {
      em_rules_fail(&p->builder, EM_ERR_LIMIT, "the grammar repeats repetitions too often");
      break;
    }
    p->at++;
    if (c == '{' && read_counts(p, &min, &max) != EM_OK)
      break;
    if (c == '+')
      min = 1;
    if (c == '?')
      max = 1;
    element = em_expr_repeat(&p->builder, element, min, max);
  }
  return p->builder.status == EM_OK ? element : NULL;
}

/* --- Rules -------------------------------------------------------------------------------------------------------- */

static void open_group(parser *p) {
  if (p->n_groups > EM_GRAMMAR_MAX_DEPTH) {
    em_rules_fail(&p->builder, EM_ERR_LIMIT, "the grammar is nested deeper than %u groups", EM_GRAMMAR_MAX_DEPTH);
    return;
  }
  group *g = &p->groups[p->n_groups++];
  g->at = p->at;
  g->choice = em_expr_group(&p->builder, EM_EXPR_CHOICE);
  g->sequence = em_expr_group(&p->builder, EM_EXPR_SEQUENCE);
  em_expr_add(g->choice, g->sequence);
}

/* Adds an element to the alternative that is being read. */
static void add_element(parser *p, em_expr *element) {
  element = read_repetitions(p, element);
  em_expr_add(p->groups[p->n_groups - 1].sequence, element);
}

/* Whether a new rule begins here: a name with ::= behind it. */
static bool at_rule(const parser *p) {
  parser ahead = {.text = p->text, .bytes = p->bytes, .at = p->at};
  while (is_name(peek(&ahead)))
    ahead.at++;
  if (ahead.at == p->at)
    return false;
  skip(&ahead, false);
  return ahead.bytes - ahead.at >= 3 && memcmp(ahead.text + ahead.at, "::=", 3) == 0;
}

/* The right side of a rule, up to the end of its last line. */
static void read_alternatives(parser *p) {
  while (p->builder.status == EM_OK) {
    group *g = &p->groups[p->n_groups - 1];
    bool inside = p->n_groups > 1;
    skip(p, inside);
    char c = peek(p);
    if (!inside && (c == '\n' || c == '\r' || p->at >= p->bytes)) {
      skip(p, true);
      if (peek(p) != '|')
        return;
      c = '|';
    }
    if (c == '|') {
      p->at++;
      g->sequence = em_expr_group(&p->builder, EM_EXPR_SEQUENCE);
      em_expr_add(g->choice, g->sequence);
      skip(p, true);
      if (!inside && (p->at >= p->bytes || at_rule(p)))
        return; /* the last alternative is empty */
    } else if (c == '"') {
      add_element(p, read_literal(p));
    } else if (c == '[') {
      add_element(p, read_class(p));
    } else if (c == '.') {
      p->at++;
      add_element(p, em_expr_class(&p->builder, NULL, 0, true));
    } else if (c == '(') {
      open_group(p);
      p->at++;
    } else if (c == ')' && inside) {
      p->at++;
      p->n_groups--;
      add_element(p, g->choice);
    } else if (is_name(c)) {
      uint32_t rule = read_name(p);
      if (rule != UINT32_MAX)
        add_element(p, em_expr_call(&p->builder, rule));
    } else if (p->at >= p->bytes) {
      wrong(p, g->at, "a group without an end");
    } else {
      wrong(p, p->at, "a character that has no meaning here");
    }
  }
}

static void read_rule(parser *p) {
  size_t start = p->at;
  uint32_t rule = read_name(p);
  skip(p, false);
  if (p->builder.status == EM_OK && (p->bytes - p->at < 3 || memcmp(p->text + p->at, "::=", 3) != 0))
    wrong(p, p->at, "\"::=\" is missing behind a rule's name");
  if (p->builder.status != EM_OK)
    return;
  if (p->builder.rules[rule]) {
    wrong(p, start, "a rule is defined twice");
    return;
  }
  p->at += 3;
  skip(p, true);
  p->n_groups = 0;
  open_group(p);
  if (p->builder.status == EM_OK && p->at < p->bytes && !at_rule(p))
    read_alternatives(p);
  if (p->builder.status == EM_OK)
    p->builder.rules[rule] = p->groups[0].choice;
}

/* Each rule that is named must be defined somewhere. */
static void check_names(parser *p) {
  if (p->builder.status == EM_OK && !p->builder.rules[0])
    em_rules_fail(&p->builder, EM_ERR_FORMAT, "the grammar has no rule named root");
  for (size_t i = 0; i < p->n_slots && p->builder.status == EM_OK; i++)
    if (p->names[i].text && !p->builder.rules[p->names[i].rule])
      em_rules_fail(&p->builder, EM_ERR_FORMAT, "the grammar names a rule \"%.*s\" that is not there",
                    (int)(p->names[i].bytes < 64 ? p->names[i].bytes : 64), p->names[i].text);
}

em_status em_grammar_from_gbnf(const char *text, size_t bytes, em_grammar **out, em_error *error) {
  em_status status = EM_OK;
  if (bytes > EM_GRAMMAR_MAX_TEXT_BYTES)
    return em_fail(error, EM_ERR_LIMIT, "the grammar's text is longer than %u bytes", EM_GRAMMAR_MAX_TEXT_BYTES);
  parser *p = em_calloc(1, sizeof *p);
  if (!p)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the grammar");
  p->text = text;
  p->bytes = bytes;
  p->n_slots = 2 * EM_GRAMMAR_MAX_RULES;
  EM_TRY(em_rules_init(&p->builder, error));
  p->names = em_calloc(p->n_slots, sizeof *p->names);
  if (!p->names)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the grammar"));
  rule_named(p, "root", 4);
  skip(p, true);
  while (p->builder.status == EM_OK && p->at < p->bytes) {
    read_rule(p);
    skip(p, true);
  }
  check_names(p);
  EM_TRY(em_rules_finish(&p->builder, "grammar", out));
fail:
  em_rules_clear(&p->builder);
  free(p->names);
  free(p);
  return status;
}
