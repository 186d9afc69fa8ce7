/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Patterns: the part of ECMA's regular expressions that says what characters follow one another. Anchors stand only
 * where an alternative of the whole begins and ends; without one, anything may stand before or behind. Groups are kept
 * on a stack. */
#include "text/grammar/schema-private.h"

#include "base/checked.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

#define MAX_RANGES 512u

/* An expression and how many characters it can match; UINT32_MAX and above: without bound. */
typedef struct piece {
  em_expr *expr;
  uint64_t min, max;
} piece;

typedef struct level {
  piece choice;        /* of the alternatives that are over */
  piece sequence;      /* the alternative that is being read */
  bool any_choice;     /* whether one is over */
  bool begins, ends;   /* at the outermost level: ^ and $ of this alternative */
  uint32_t n_variable; /* parts of this alternative without a fixed length */
  em_expr *variable;   /* the last of them, where it repeats one character */
} level;

typedef struct regex {
  em_schemas *s;
  const char *text;
  size_t bytes, at;
  level levels[EM_GRAMMAR_MAX_DEPTH + 1];
  unsigned n_levels;
  unsigned n_alternatives; /* at the outermost level */
} regex;

static piece fail(regex *r, em_status status, const char *what) {
  em_rules_fail(&r->s->b, status, "the schema's pattern %s", what);
  return (piece){0};
}

static char peek(const regex *r) {
  return r->at < r->bytes ? r->text[r->at] : 0;
}

static char peek_at(const regex *r, size_t ahead) {
  return r->bytes - r->at > ahead ? r->text[r->at + ahead] : 0;
}

static uint64_t add_length(uint64_t a, uint64_t b) {
  return a + b < EM_NO_MAXIMUM ? a + b : EM_NO_MAXIMUM;
}

static uint64_t multiply_length(uint64_t a, uint64_t n) {
  if (a == 0 || n == 0)
    return 0;
  return a >= EM_NO_MAXIMUM || n >= EM_NO_MAXIMUM || a * n >= EM_NO_MAXIMUM ? EM_NO_MAXIMUM : a * n;
}

/* --- Characters --------------------------------------------------------------------------------------------------- */

typedef struct class_ranges {
  em_range ranges[MAX_RANGES];
  size_t n;
} class_ranges;

static void add_range(regex *r, class_ranges *to, uint32_t low, uint32_t high) {
  if (to->n == MAX_RANGES)
    fail(r, EM_ERR_LIMIT, "has a class of too many characters");
  else
    to->ranges[to->n++] = (em_range){low, high};
}

static const em_range digit_ranges[] = {{'0', '9'}};
static const em_range word_ranges[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const em_range space_ranges[] = {{9, 13},          {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680},
                                        {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F},
                                        {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};

/* \d \w \s and their opposites; false when the letter is none of them. */
static bool add_kind(regex *r, class_ranges *to, char letter) {
  const em_range *ranges = letter == 'd' || letter == 'D'   ? digit_ranges
                           : letter == 'w' || letter == 'W' ? word_ranges
                                                            : space_ranges;
  size_t n = ranges == digit_ranges ? 1 : ranges == word_ranges ? 4 : sizeof space_ranges / sizeof space_ranges[0];
  if (!letter || !strchr("dDwWsS", letter))
    return false;
  if (letter >= 'a') {
    for (size_t i = 0; i < n; i++)
      add_range(r, to, ranges[i].low, ranges[i].high);
    return true;
  }
  uint32_t low = 0;
  for (size_t i = 0; i < n; i++) {
    add_range(r, to, low, ranges[i].low - 1);
    low = ranges[i].high + 1;
  }
  add_range(r, to, low, 0x10FFFF);
  return true;
}

/* n hexadecimal digits behind what was read. */
static bool read_hex(regex *r, unsigned n, uint32_t *out) {
  *out = 0;
  for (unsigned i = 0; i < n; i++, r->at++) {
    char c = peek(r), digits[2] = {c, 0};
    if (!c || !strchr("0123456789abcdefABCDEF", c)) {
      fail(r, EM_ERR_FORMAT, "has an escape with too few digits");
      return false;
    }
    *out = *out << 4 | (uint32_t)strtoul(digits, NULL, 16);
  }
  return true;
}

/* Behind the backslash: an escape that stands for one character. */
static bool read_escape(regex *r, uint32_t *out) {
  static const char from[] = "nrtfv0", into[] = "\n\r\t\f\v\0";
  char c = peek(r);
  const char *found = c ? strchr(from, c) : NULL;
  r->at++;
  if (found) {
    *out = (unsigned char)into[found - from];
    return true;
  }
  if (c == 'x')
    return read_hex(r, 2, out);
  if (c == 'u' && peek(r) == '{') {
    size_t n = 0;
    r->at++;
    while (n < 6 && peek_at(r, n) && peek_at(r, n) != '}')
      n++;
    if (!read_hex(r, (unsigned)n, out))
      return false;
    if (n == 0 || peek(r) != '}' || *out > 0x10FFFF)
      fail(r, EM_ERR_FORMAT, "has an escape that is no character");
    r->at++;
    return r->s->b.status == EM_OK;
  }
  if (c == 'u') {
    uint32_t low;
    if (!read_hex(r, 4, out))
      return false;
    if (*out >= 0xD800 && *out < 0xDC00 && peek(r) == '\\' && peek_at(r, 1) == 'u') {
      r->at += 2;
      if (!read_hex(r, 4, &low))
        return false;
      if (low >= 0xDC00 && low < 0xE000)
        *out = 0x10000 + ((*out - 0xD800) << 10) + (low - 0xDC00);
    }
    return true;
  }
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == 0) {
    char what[] = "uses \\?, which is not supported";
    what[6] = c ? c : ' ';
    fail(r, c ? EM_ERR_UNSUPPORTED : EM_ERR_FORMAT, c ? what : "ends with a backslash");
    return false;
  }
  r->at--;
  size_t taken = em_utf8_decode(r->text + r->at, r->bytes - r->at, out, NULL);
  r->at += taken;
  return true;
}

/* One character of a class; *is_kind: it was a whole kind, which was added already. */
static bool read_class_char(regex *r, class_ranges *to, uint32_t *out, bool *is_kind) {
  *is_kind = false;
  if (peek(r) != '\\') {
    r->at += em_utf8_decode(r->text + r->at, r->bytes - r->at, out, NULL);
    return true;
  }
  r->at++;
  if (add_kind(r, to, peek(r))) {
    r->at++;
    *is_kind = true;
    return r->s->b.status == EM_OK;
  }
  if (peek(r) == 'b') {
    r->at++;
    *out = '\b';
    return true;
  }
  return read_escape(r, out);
}

/* Behind the opening bracket. */
static piece read_class(regex *r) {
  class_ranges set = {.n = 0};
  bool negated = peek(r) == '^', is_kind;
  r->at += negated;
  while (r->s->b.status == EM_OK && peek(r) != ']') {
    uint32_t low, high;
    if (r->at >= r->bytes)
      return fail(r, EM_ERR_FORMAT, "has a class without an end");
    if (!read_class_char(r, &set, &low, &is_kind))
      break;
    if (is_kind)
      continue;
    high = low;
    if (peek(r) == '-' && peek_at(r, 1) && peek_at(r, 1) != ']') {
      size_t dash = r->at++;
      if (!read_class_char(r, &set, &high, &is_kind))
        break;
      if (is_kind) { /* [a-\d]: a dash like any other */
        add_range(r, &set, '-', '-');
        high = low;
      } else if (high < low) {
        r->at = dash;
        return fail(r, EM_ERR_FORMAT, "has a range that ends before it begins");
      }
    }
    add_range(r, &set, low, high);
  }
  r->at++;
  return (piece){em_schema_class(r->s, set.ranges, set.n, negated), 1, 1};
}

static piece one_character(regex *r, uint32_t c) {
  em_range range = {c, c};
  return (piece){em_schema_class(r->s, &range, 1, false), 1, 1};
}

/* --- Repetition --------------------------------------------------------------------------------------------------- */

static bool read_count(regex *r, uint32_t *out) {
  size_t start = r->at;
  *out = 0;
  for (; peek(r) >= '0' && peek(r) <= '9'; r->at++)
    *out = *out > EM_GRAMMAR_MAX_REPEAT ? *out : *out * 10 + (uint32_t)(peek(r) - '0');
  return r->at > start;
}

/* The counts of a quantifier, if there is one. A brace that does not begin one is a character, as it is in ECMA's. */
static bool read_quantifier(regex *r, uint32_t *min, uint32_t *max) {
  char c = peek(r);
  size_t start = r->at;
  *min = c == '+' ? 1 : 0;
  *max = c == '?' ? 1 : EM_NO_MAXIMUM;
  if (!c || !strchr("*+?{", c))
    return false;
  r->at++;
  if (c == '{') {
    bool good = read_count(r, min);
    *max = *min;
    if (good && peek(r) == ',') {
      r->at++;
      *max = EM_NO_MAXIMUM;
      if (peek(r) != '}')
        good = read_count(r, max);
    }
    if (!good || peek(r) != '}') {
      r->at = start;
      return false;
    }
    r->at++;
    if (*min > EM_GRAMMAR_MAX_REPEAT || (*max > EM_GRAMMAR_MAX_REPEAT && *max != EM_NO_MAXIMUM))
      fail(r, EM_ERR_LIMIT, "repeats something too often");
    if (*max < *min)
      fail(r, EM_ERR_FORMAT, "has a repetition whose maximum is below its minimum");
  }
  /* As few as possible, or as many: the texts are the same. */
  if (peek(r) == '?')
    r->at++;
  return true;
}

/* Adds a part, with what is written behind it, to the alternative that is being read. */
static void add_part(regex *r, piece part) {
  level *l = &r->levels[r->n_levels - 1];
  uint32_t min, max;
  bool one = part.min == 1 && part.max == 1;
  if (r->s->b.status != EM_OK)
    return;
  if (read_quantifier(r, &min, &max)) {
    part.expr = em_expr_repeat(&r->s->b, part.expr, min, max);
    part.min = multiply_length(part.min, min);
    part.max = multiply_length(part.max, max);
    if (peek(r) && strchr("*+?", peek(r)))
      fail(r, EM_ERR_FORMAT, "repeats a repetition");
    if (part.min != part.max)
      l->variable = one ? part.expr : NULL;
  } else if (part.min != part.max) {
    l->variable = NULL;
  }
  l->n_variable += part.min != part.max;
  em_expr_add(l->sequence.expr, part.expr);
  l->sequence.min = add_length(l->sequence.min, part.min);
  l->sequence.max = add_length(l->sequence.max, part.max);
}

/* --- The whole ---------------------------------------------------------------------------------------------------- */

static void begin_alternative(regex *r) {
  level *l = &r->levels[r->n_levels - 1];
  l->sequence = (piece){em_expr_group(&r->s->b, EM_EXPR_SEQUENCE), 0, 0};
  l->begins = l->ends = false;
  l->n_variable = 0;
  l->variable = NULL;
}

static void begin_level(regex *r) {
  if (r->n_levels > EM_GRAMMAR_MAX_DEPTH) {
    fail(r, EM_ERR_LIMIT, "is nested too deeply");
    return;
  }
  r->levels[r->n_levels++] = (level){.choice = {em_expr_group(&r->s->b, EM_EXPR_CHOICE), 0, 0}};
  begin_alternative(r);
}

static em_expr *anything(regex *r) {
  return em_expr_repeat(&r->s->b, em_schema_basic(r->s, EM_SCHEMA_CHAR), 0, EM_NO_MAXIMUM);
}

static void end_alternative(regex *r) {
  level *l = &r->levels[r->n_levels - 1];
  piece done = l->sequence;
  if (r->n_levels == 1) {
    r->n_alternatives++;
    if (!l->begins || !l->ends) {
      done.expr = em_expr_sequence(&r->s->b, l->begins ? em_expr_text(&r->s->b, "") : anything(r), done.expr,
                                   l->ends ? em_expr_text(&r->s->b, "") : anything(r), EM_EXPR_END);
      done.max = EM_NO_MAXIMUM;
      l->variable = NULL;
      l->n_variable++;
    }
  }
  em_expr_add(l->choice.expr, done.expr);
  if (!l->any_choice || done.min < l->choice.min)
    l->choice.min = done.min;
  if (!l->any_choice || done.max > l->choice.max)
    l->choice.max = done.max;
  l->any_choice = true;
}

/* Behind an opening parenthesis. */
static void open_group(regex *r) {
  if (peek(r) == '?') {
    char kind = peek_at(r, 1), more = peek_at(r, 2);
    if (kind == ':') {
      r->at += 2;
    } else if (kind == '<' && more && more != '=' && more != '!') {
      while (r->at < r->bytes && peek(r) != '>')
        r->at++;
      r->at++;
    } else {
      fail(r, EM_ERR_UNSUPPORTED, "looks ahead or behind, which is not supported");
    }
  }
  begin_level(r);
}

static void read_all(regex *r) {
  begin_level(r);
  while (r->s->b.status == EM_OK && r->at < r->bytes) {
    level *l = &r->levels[r->n_levels - 1];
    char c = r->text[r->at++];
    uint32_t code;
    if (l->ends && c != '|') {
      fail(r, EM_ERR_UNSUPPORTED, "goes on behind $, which is not supported");
    } else if (c == '^') {
      if (r->n_levels > 1 || (l->sequence.expr && l->sequence.expr->first))
        fail(r, EM_ERR_UNSUPPORTED, "has a ^ inside, which is not supported");
      l->begins = true;
    } else if (c == '$') {
      if (r->n_levels > 1)
        fail(r, EM_ERR_UNSUPPORTED, "has a $ inside, which is not supported");
      l->ends = true;
    } else if (c == '|') {
      end_alternative(r);
      begin_alternative(r);
    } else if (c == '(') {
      open_group(r);
    } else if (c == ')') {
      if (r->n_levels == 1) {
        fail(r, EM_ERR_FORMAT, "closes a group that is not open");
        break;
      }
      end_alternative(r);
      piece group = l->choice;
      r->n_levels--;
      add_part(r, group);
    } else if (c == '[') {
      add_part(r, read_class(r));
    } else if (c == '.') {
      static const em_range line_ends[] = {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
      add_part(r, (piece){em_schema_class(r->s, line_ends, 3, true), 1, 1});
    } else if (c == '\\') {
      class_ranges kind = {.n = 0};
      if (add_kind(r, &kind, peek(r))) {
        r->at++;
        add_part(r, (piece){em_schema_class(r->s, kind.ranges, kind.n, false), 1, 1});
      } else if (read_escape(r, &code)) {
        add_part(r, one_character(r, code));
      }
    } else if (strchr("*+?", c)) {
      fail(r, EM_ERR_FORMAT, "repeats nothing");
    } else {
      r->at--;
      r->at += em_utf8_decode(r->text + r->at, r->bytes - r->at, &code, NULL);
      add_part(r, one_character(r, code));
    }
  }
  if (r->s->b.status == EM_OK && r->n_levels > 1)
    fail(r, EM_ERR_FORMAT, "has a group without an end");
  if (r->s->b.status == EM_OK)
    end_alternative(r);
}

/* Narrows the pattern to min..max characters: nothing is to be done where it has no others, and something can be done
 * where all that varies is how often one character stands in one place. */
static void bound_length(regex *r, uint32_t min, uint32_t max) {
  level *l = &r->levels[0];
  if (l->choice.min >= min && l->choice.max <= max)
    return;
  if (r->n_alternatives != 1 || l->n_variable != 1 || !l->variable) {
    fail(r, EM_ERR_UNSUPPORTED, "stands beside minLength or maxLength in a way that is not supported");
    return;
  }
  em_expr *variable = l->variable;
  uint64_t fixed = l->sequence.min - variable->repeat.min;
  uint64_t most = max == EM_NO_MAXIMUM ? EM_NO_MAXIMUM : max >= fixed ? max - fixed : 0;
  uint64_t least = min > fixed ? min - fixed : 0;
  if (least < variable->repeat.min)
    least = variable->repeat.min;
  if (most > variable->repeat.max)
    most = variable->repeat.max;
  if (max < fixed || most < least) {
    fail(r, EM_ERR_FORMAT, "matches no string of the lengths that are allowed");
    return;
  }
  variable->repeat.min = (uint32_t)least;
  variable->repeat.max = (uint32_t)most;
}

em_expr *em_schema_pattern(em_schemas *s, const char *text, size_t bytes, uint32_t min, uint32_t max) {
  regex *r = em_rules_alloc(&s->b, 1, sizeof *r);
  if (!r || !em_rules_work(&s->b, bytes))
    return NULL;
  *r = (regex){.s = s, .text = text, .bytes = bytes};
  read_all(r);
  if (s->b.status == EM_OK)
    bound_length(r, min, max);
  return s->b.status == EM_OK ? r->levels[0].choice.expr : NULL;
}

bool em_schema_pattern_looks_around(const char *text, size_t bytes) {
  static const char *const signs[] = {"(?!", "(?=", "(?<!", "(?<="};
  for (size_t i = 0; i < 4; i++)
    if (memmem(text, bytes, signs[i], strlen(signs[i])))
      return true;
  return false;
}
