/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/template/lexer.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "text/template/chars.h"

typedef struct lexer {
  const char *source;
  size_t bytes, place;
  em_tpl_token *tokens;
  size_t n, capacity;
  em_error *error;
} lexer;

size_t em_tpl_line(const char *source, size_t offset) {
  size_t line = 1;
  for (size_t i = 0; i < offset; i++)
    line += source[i] == '\n';
  return line;
}

static em_status fail_at(lexer *lex, size_t offset, const char *what) {
  return em_fail_at(lex->error, EM_ERR_FORMAT, offset, "line %zu: %s", em_tpl_line(lex->source, offset), what);
}

static em_status add(lexer *lex, em_tpl_token_kind kind, uint8_t op, size_t offset, size_t bytes) {
  if (lex->n == lex->capacity) {
    size_t capacity = lex->capacity ? lex->capacity * 2 : 256;
    em_tpl_token *tokens = em_realloc_array(lex->tokens, capacity, sizeof *tokens);
    if (!tokens)
      return em_fail(lex->error, EM_ERR_NO_MEMORY, "no memory for the template");
    lex->tokens = tokens;
    lex->capacity = capacity;
  }
  lex->tokens[lex->n++] =
      (em_tpl_token){.kind = (uint8_t)kind, .op = op, .offset = (uint32_t)offset, .bytes = (uint32_t)bytes};
  return EM_OK;
}

static bool has(const lexer *lex, size_t place, const char *text) {
  size_t bytes = strlen(text);
  return bytes <= lex->bytes - place && memcmp(lex->source + place, text, bytes) == 0;
}

static size_t skip_space(const lexer *lex, size_t place) {
  return place + em_tpl_leading_space(lex->source + place, lex->bytes - place);
}

static bool is_name_byte(char c, bool first) {
  return c == '_' || (unsigned char)c >= 0x80 || ((c | 32) >= 'a' && (c | 32) <= 'z') || (!first && c >= '0' && c <= '9');
}

/* --- Text between tags ------------------------------------------------------------------------------------------------ */

/* Adds the text [start, end) that stands before a tag. sign is the tag's first character if it is '-' or '+'. */
static em_status add_text(lexer *lex, size_t start, size_t end, char sign, bool block) {
  const char *source = lex->source;
  if (sign == '-') {
    end -= em_tpl_trailing_space(source + start, end - start);
  } else if (sign != '+' && block) {
    size_t line = end;
    while (line > start && source[line - 1] != '\n')
      line--;
    /* The text before this one ends where it starts: only a newline there lets the line begin here. */
    bool begins = line > start || start == 0 || source[start - 1] == '\n';
    if (begins && em_tpl_leading_space(source + line, end - line) == end - line)
      end = line;
  }
  return end > start ? add(lex, EM_TPL_T_TEXT, 0, start, end - start) : EM_OK;
}

/* The end of a block tag or comment at place (its two closing characters are `close`), with the newline or the blanks it
 * takes with it; false when there is none. */
static bool tag_end(const lexer *lex, size_t place, const char *close, bool trims_newline, size_t *end) {
  char sign = lex->source[place];
  size_t at = place + (sign == '-' || sign == '+');
  if (!has(lex, at, close) || (sign == '+' && !trims_newline))
    return false;
  at += 2;
  if (sign == '-')
    at = skip_space(lex, at);
  else if (sign != '+' && trims_newline && at < lex->bytes && lex->source[at] == '\n')
    at++;
  *end = at;
  return true;
}

static em_status lex_comment(lexer *lex, size_t start) {
  for (size_t i = lex->place; i + 1 < lex->bytes; i++)
    if ((lex->source[i] == '#' || lex->source[i] == '-' || lex->source[i] == '+') &&
        tag_end(lex, i, "#}", true, &lex->place))
      return EM_OK;
  return fail_at(lex, start, "a comment is not closed");
}

/* Whether the block tag whose inside begins at place is just this word; *end is behind the tag. */
static bool is_word_tag(const lexer *lex, size_t place, const char *word, bool trims_newline, size_t *end) {
  size_t at = skip_space(lex, place), bytes = strlen(word);
  if (!has(lex, at, word))
    return false;
  at = skip_space(lex, at + bytes);
  return at < lex->bytes && tag_end(lex, at, "%}", trims_newline, end);
}

/* Everything up to the endraw tag is text. */
static em_status lex_raw(lexer *lex, size_t start) {
  size_t text = lex->place;
  for (size_t i = text; i + 1 < lex->bytes; i++) {
    if (lex->source[i] != '{' || lex->source[i + 1] != '%')
      continue;
    char sign = i + 2 < lex->bytes ? lex->source[i + 2] : 0;
    if (is_word_tag(lex, i + 2 + (sign == '-' || sign == '+'), "endraw", true, &lex->place))
      return add_text(lex, text, i, sign, true);
  }
  return fail_at(lex, start, "a raw block is not closed");
}

/* --- Inside tags ------------------------------------------------------------------------------------------------------- */

static em_status lex_string(lexer *lex) {
  size_t start = lex->place;
  char quote = lex->source[lex->place++];
  while (lex->place < lex->bytes && lex->source[lex->place] != quote)
    lex->place += lex->source[lex->place] == '\\' ? 2 : 1;
  if (lex->place >= lex->bytes)
    return fail_at(lex, start, "a string is not closed");
  lex->place++;
  return add(lex, EM_TPL_T_STRING, 0, start, lex->place - start);
}

static bool is_digit(const lexer *lex, size_t place) {
  return place < lex->bytes && lex->source[place] >= '0' && lex->source[place] <= '9';
}

/* Digits, single underscores between them. */
static size_t skip_digits(const lexer *lex, size_t place) {
  while (is_digit(lex, place) || (place < lex->bytes && lex->source[place] == '_' && is_digit(lex, place + 1)))
    place++;
  return place;
}

static em_status lex_number(lexer *lex) {
  const char *source = lex->source;
  size_t start = lex->place, at = start;
  em_tpl_token_kind kind = EM_TPL_T_INT;
  char letter = at + 1 < lex->bytes ? (char)(source[at + 1] | 32) : 0;
  if (source[at] == '0' && (letter == 'x' || letter == 'o' || letter == 'b')) {
    at += 2;
    while (at < lex->bytes && (is_name_byte(source[at], false)))
      at++;
  } else {
    /* Behind a dot stands an index, as in `matrix.0.1`: no fraction is read there. */
    bool may_be_real = start == 0 || source[start - 1] != '.';
    at = skip_digits(lex, at);
    if (may_be_real && at < lex->bytes && source[at] == '.' && is_digit(lex, at + 1)) {
      at = skip_digits(lex, at + 1);
      kind = EM_TPL_T_REAL;
    }
    if (may_be_real && at < lex->bytes && (source[at] | 32) == 'e') {
      size_t exponent = at + 1;
      if (exponent < lex->bytes && (source[exponent] == '-' || source[exponent] == '+'))
        exponent++;
      if (is_digit(lex, exponent)) {
        at = skip_digits(lex, exponent);
        kind = EM_TPL_T_REAL;
      }
    }
  }
  lex->place = at;
  return add(lex, kind, 0, start, at - start);
}

static em_status lex_operator(lexer *lex, unsigned *brackets) {
  static const struct {
    char text[3];
    uint8_t op;
  } doubles[] = {{"**", EM_TPL_OP_POW}, {"//", EM_TPL_OP_FLOOR}, {"==", EM_TPL_OP_EQ},
                 {"!=", EM_TPL_OP_NE},  {"<=", EM_TPL_OP_LE},    {">=", EM_TPL_OP_GE}};
  size_t start = lex->place;
  char c = lex->source[start];
  for (size_t i = 0; i < sizeof doubles / sizeof doubles[0]; i++)
    if (has(lex, start, doubles[i].text)) {
      lex->place += 2;
      return add(lex, EM_TPL_T_OPERATOR, doubles[i].op, start, 2);
    }
  if (c == 0 || !strchr("+-/*%~[](){}<>=.:|,;", c))
    return fail_at(lex, start, "a character that has no meaning here");
  if (c == '(' || c == '[' || c == '{')
    ++*brackets;
  if (c == ')' || c == ']' || c == '}') {
    if (*brackets == 0)
      return fail_at(lex, start, "a bracket is closed that was not opened");
    --*brackets;
  }
  lex->place++;
  return add(lex, EM_TPL_T_OPERATOR, (uint8_t)c, start, 1);
}

/* The inside of {{ }} or {% %} and its end. */
static em_status lex_tag(lexer *lex, bool block, size_t start) {
  em_status status = EM_OK;
  unsigned brackets = 0;
  EM_TRY(add(lex, block ? EM_TPL_T_BLOCK_BEGIN : EM_TPL_T_PRINT_BEGIN, 0, start, 2));
  while ((lex->place = skip_space(lex, lex->place)) < lex->bytes) {
    size_t end;
    char c = lex->source[lex->place];
    if (brackets == 0 && tag_end(lex, lex->place, block ? "%}" : "}}", block, &end)) {
      EM_TRY(add(lex, block ? EM_TPL_T_BLOCK_END : EM_TPL_T_PRINT_END, 0, lex->place, 2));
      lex->place = end;
      return EM_OK;
    }
    if (c == '"' || c == '\'') {
      EM_TRY(lex_string(lex));
    } else if (c >= '0' && c <= '9') {
      EM_TRY(lex_number(lex));
    } else if (is_name_byte(c, true)) {
      size_t name = lex->place;
      while (lex->place < lex->bytes && is_name_byte(lex->source[lex->place], false))
        lex->place++;
      EM_TRY(add(lex, EM_TPL_T_NAME, 0, name, lex->place - name));
    } else {
      EM_TRY(lex_operator(lex, &brackets));
    }
  }
  EM_TRY(fail_at(lex, start, "a tag is not closed"));
fail:
  return status;
}

em_status em_tpl_lex(const char *source, size_t bytes, em_tpl_token **out, em_error *error) {
  em_status status = EM_OK;
  lexer lex = {.source = source, .bytes = bytes, .error = error};
  size_t text = 0;
  for (size_t i = 0; i + 1 < bytes;) {
    char kind = source[i] == '{' ? source[i + 1] : 0;
    if (kind != '{' && kind != '%' && kind != '#') {
      i++;
      continue;
    }
    char sign = i + 2 < bytes ? source[i + 2] : 0;
    lex.place = i + 2 + (sign == '-' || sign == '+');
    EM_TRY(add_text(&lex, text, i, sign, kind != '{'));
    size_t end;
    if (kind == '#') {
      EM_TRY(lex_comment(&lex, i));
    } else if (kind == '%' && is_word_tag(&lex, lex.place, "raw", false, &end)) {
      lex.place = end;
      EM_TRY(lex_raw(&lex, i));
    } else {
      EM_TRY(lex_tag(&lex, kind == '%', i));
    }
    text = i = lex.place;
  }
  if (text < bytes)
    EM_TRY(add(&lex, EM_TPL_T_TEXT, 0, text, bytes - text));
  EM_TRY(add(&lex, EM_TPL_T_END, 0, bytes, 0));
  *out = lex.tokens;
  return EM_OK;
fail:
  free(lex.tokens);
  return status;
}
