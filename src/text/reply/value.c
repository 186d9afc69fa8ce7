/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/reply/value.h"

#include <string.h>

#include "base/utf8.h"

enum {
  AT_VALUE,   /* a value must come */
  AT_ELEMENT, /* a value or the end of the list */
  AT_KEY,     /* a key or the end of the object */
  AT_COLON,   /* what stands between key and value */
  AT_NEXT,    /* a comma or the end of the container */
  IN_TEXT,
  IN_BARE_KEY,
  IN_WORD,
  IN_NUMBER,
  AT_END
};

enum { NUMBER_SIGN, NUMBER_ZERO, NUMBER_WHOLE, NUMBER_POINT, NUMBER_FRACTION, NUMBER_E, NUMBER_E_SIGN, NUMBER_POWER };

void em_value_init(em_value *value, em_notation notation, const char *text_mark) {
  *value = (em_value){.notation = notation, .text_mark = text_mark ? text_mark : ""};
  if (notation == EM_NOTATION_ARGUMENTS) {
    value->state = AT_KEY;
    value->depth = 1;
    value->objects = 1;
  }
}

size_t em_mark_at(const char *mark, const char *text, size_t bytes, bool final) {
  size_t n = strlen(mark), m = n < bytes ? n : bytes;
  if (n == 0 || memcmp(mark, text, m) != 0)
    return 0;
  if (m == n)
    return n;
  return final ? 0 : SIZE_MAX;
}

bool em_value_escape(em_buffer *out, const char *text, size_t bytes) {
  size_t from = 0;
  for (size_t i = 0; i < bytes; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c >= 0x20 && c != '"' && c != '\\')
      continue;
    em_buffer_append(out, text + from, i - from);
    from = i + 1;
    if (c == '"' || c == '\\')
      em_buffer_appendf(out, "\\%c", c);
    else if (c == '\n')
      em_buffer_append_text(out, "\\n");
    else if (c == '\t')
      em_buffer_append_text(out, "\\t");
    else if (c == '\r')
      em_buffer_append_text(out, "\\r");
    else
      em_buffer_appendf(out, "\\u%04x", c);
  }
  return em_buffer_append(out, text + from, bytes - from);
}

static bool is_space(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '-' || c == '.';
}

/* --- Texts -------------------------------------------------------------------------------------------------------- */

static void put_text(em_value *value, em_buffer *out, const char *text, size_t bytes) {
  if (value->decodes)
    em_buffer_append(out, text, bytes);
  else
    em_value_escape(out, text, bytes);
}

static void put_code_point(em_value *value, em_buffer *out, uint32_t code_point) {
  char text[4];
  put_text(value, out, text, em_utf8_encode(code_point, text));
}

/* The value of n hexadecimal digits at text, or -1. */
static long hexadecimal(const char *text, size_t n) {
  long sum = 0;
  for (size_t i = 0; i < n; i++) {
    char c = text[i];
    int digit = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0)
      return -1;
    sum = sum * 16 + digit;
  }
  return sum;
}

/* A character written as \uXXXX or, above U+FFFF, as two of them. Returns the bytes read, 0: more are needed. */
static size_t read_unicode(em_value *value, const char *text, size_t bytes, bool final, em_buffer *out) {
  long high, low;
  if (bytes < 6 && !final)
    return 0;
  high = bytes >= 6 ? hexadecimal(text + 2, 4) : -1;
  if (high < 0) {
    put_text(value, out, "\\u", 2);
    return 2;
  }
  if (high < 0xD800 || high > 0xDBFF) {
    put_code_point(value, out, (uint32_t)high);
    return 6;
  }
  if (bytes < 12 && !final)
    return 0;
  low = bytes >= 12 && text[6] == '\\' && text[7] == 'u' ? hexadecimal(text + 8, 4) : -1;
  if (low < 0xDC00 || low > 0xDFFF) {
    put_code_point(value, out, EM_UTF8_REPLACEMENT);
    return 6;
  }
  put_code_point(value, out, 0x10000u + ((uint32_t)(high - 0xD800) << 10) + (uint32_t)(low - 0xDC00));
  return 12;
}

/* What follows a backslash. An escape no notation knows stands for itself. Returns the bytes read, 0: more are needed.
 */
static size_t read_escape(em_value *value, const char *text, size_t bytes, bool final, em_buffer *out) {
  static const char from[] = "nrtbf", to[] = "\n\r\t\b\f";
  const char *simple;
  long code;
  if (bytes < 2 && !final)
    return 0;
  if (bytes < 2) {
    put_text(value, out, text, 1);
    return 1;
  }
  if (text[1] == 'u')
    return read_unicode(value, text, bytes, final, out);
  simple = text[1] ? strchr(from, text[1]) : NULL;
  if (simple) {
    put_text(value, out, &to[simple - from], 1);
    return 2;
  }
  if (text[1] == '"' || text[1] == '\\' || text[1] == '/' || text[1] == '\'') {
    put_text(value, out, text + 1, 1);
    return 2;
  }
  if (text[1] == 'x' && value->notation == EM_NOTATION_ARGUMENTS) {
    if (bytes < 4 && !final)
      return 0;
    code = bytes >= 4 ? hexadecimal(text + 2, 2) : -1;
    if (code >= 0) {
      put_code_point(value, out, (uint32_t)code);
      return 4;
    }
  }
  put_text(value, out, text, 1);
  return 1;
}

/* Where an element ends: at the top the value is done. */
static void end_element(em_value *value) {
  value->comma = true;
  value->state = value->depth == 0 ? AT_END : AT_NEXT;
}

static void end_text(em_value *value, em_buffer *out) {
  if (!value->decodes)
    em_buffer_append_text(out, "\"");
  value->decodes = false;
  if (value->is_key)
    value->state = AT_COLON;
  else
    end_element(value);
}

/* Returns the bytes read, 0: more are needed. */
static size_t read_text(em_value *value, const char *text, size_t bytes, bool final, em_buffer *out) {
  size_t n = 0;
  if (value->quote) {
    while (n < bytes && text[n] != value->quote && text[n] != '\\')
      n++;
  } else {
    while (n < bytes && text[n] != value->text_mark[0])
      n++;
  }
  put_text(value, out, text, n);
  if (n == bytes || n > 0)
    return n;
  if (!value->quote) {
    n = em_mark_at(value->text_mark, text, bytes, final);
    if (n == SIZE_MAX)
      return 0;
    if (n > 0)
      end_text(value, out);
    else
      put_text(value, out, text, n = 1);
    return n;
  }
  if (text[0] == '\\')
    return read_escape(value, text, bytes, final, out);
  end_text(value, out);
  return 1;
}

static void begin_text(em_value *value, char quote, bool is_key, em_buffer *out) {
  value->state = IN_TEXT;
  value->quote = quote;
  value->is_key = is_key;
  value->decodes = value->decodes && value->depth == 0;
  if (!value->decodes)
    em_buffer_append_text(out, "\"");
}

/* --- Numbers and words -------------------------------------------------------------------------------------------- */

/* Moves on by one character of a number; false: it is none. */
static bool number_goes_on(int *at, char c) {
  switch (*at) {
  case NUMBER_SIGN:
    if (!is_digit(c))
      return false;
    *at = c == '0' ? NUMBER_ZERO : NUMBER_WHOLE;
    return true;
  case NUMBER_ZERO:
  case NUMBER_WHOLE:
    if (is_digit(c))
      return *at == NUMBER_WHOLE;
    if (c != '.' && c != 'e' && c != 'E')
      return false;
    *at = c == '.' ? NUMBER_POINT : NUMBER_E;
    return true;
  case NUMBER_POINT:
  case NUMBER_FRACTION:
    if (is_digit(c))
      *at = NUMBER_FRACTION;
    else if ((c == 'e' || c == 'E') && *at == NUMBER_FRACTION)
      *at = NUMBER_E;
    else
      return false;
    return true;
  default:
    if (is_digit(c))
      *at = NUMBER_POWER;
    else if ((c == '+' || c == '-') && *at == NUMBER_E)
      *at = NUMBER_E_SIGN;
    else
      return false;
    return true;
  }
}

static bool number_may_end(int at) {
  return at == NUMBER_ZERO || at == NUMBER_WHOLE || at == NUMBER_FRACTION || at == NUMBER_POWER;
}

#define MAX_WORD 8u /* bytes of a literal, and more */

/* The JSON of a literal in any of the notations, or NULL. */
static const char *literal(const char *word, size_t bytes) {
  static const char *const words[][2] = {{"true", "true"},   {"True", "true"}, {"false", "false"},
                                         {"False", "false"}, {"null", "null"}, {"None", "null"}};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
    if (strlen(words[i][0]) == bytes && memcmp(words[i][0], word, bytes) == 0)
      return words[i][1];
  return NULL;
}

/* --- Structure ---------------------------------------------------------------------------------------------------- */

static bool in_object(const em_value *value) {
  return value->depth > 0 && (value->objects >> (value->depth - 1) & 1);
}

static bool open_container(em_value *value, bool object, em_buffer *out) {
  if (value->depth == EM_REPLY_MAX_DEPTH)
    return false;
  value->objects &= ~(1ull << value->depth);
  value->objects |= (uint64_t)object << value->depth;
  value->depth++;
  value->comma = false;
  value->state = object ? AT_KEY : AT_ELEMENT;
  em_buffer_append_text(out, object ? "{" : "[");
  return true;
}

static void close_container(em_value *value, em_buffer *out) {
  em_buffer_append_text(out, in_object(value) ? "}" : "]");
  value->depth--;
  end_element(value);
}

/* Whether c closes the container the value is in. */
static bool closes(const em_value *value, char c) {
  if (!in_object(value))
    return value->depth > 0 && c == ']';
  return c == (value->notation == EM_NOTATION_ARGUMENTS && value->depth == 1 ? ')' : '}');
}

static void separate(em_value *value, em_buffer *out) {
  if (value->comma)
    em_buffer_append_text(out, ", ");
  value->comma = false;
}

/* What a step may say instead of how many bytes it read. Reading none means that only the state changed. */
#define WAITS (SIZE_MAX - 1)
#define BREAKS SIZE_MAX

static size_t begin_value(em_value *value, const char *text, size_t bytes, bool final, em_buffer *out) {
  char c = text[0];
  size_t n = 0;
  if (c == '{' || c == '[') {
    separate(value, out);
    return open_container(value, c == '{', out) ? 1 : BREAKS;
  }
  if (value->notation == EM_NOTATION_KEYED)
    n = em_mark_at(value->text_mark, text, bytes, final);
  if (n == SIZE_MAX)
    return WAITS;
  if (n > 0 || c == '"' || (c == '\'' && value->notation == EM_NOTATION_ARGUMENTS)) {
    separate(value, out);
    begin_text(value, n > 0 ? 0 : c, false, out);
    return n > 0 ? n : 1;
  }
  if (!is_word(c))
    return BREAKS;
  separate(value, out);
  value->number = NUMBER_SIGN;
  value->state = c == '-' || is_digit(c) ? IN_NUMBER : IN_WORD;
  if (c != '-')
    return 0;
  em_buffer_append_text(out, "-");
  return 1;
}

static size_t begin_key(em_value *value, const char *text, size_t bytes, bool final, em_buffer *out) {
  bool named = value->notation == EM_NOTATION_ARGUMENTS && value->depth == 1;
  size_t n = value->notation == EM_NOTATION_KEYED ? em_mark_at(value->text_mark, text, bytes, final) : 0;
  char c = text[0];
  if (n == SIZE_MAX)
    return WAITS;
  if (n > 0 || (!named && (c == '"' || (c == '\'' && value->notation == EM_NOTATION_ARGUMENTS)))) {
    separate(value, out);
    begin_text(value, n > 0 ? 0 : c, true, out);
    return n > 0 ? n : 1;
  }
  if ((!named && value->notation != EM_NOTATION_KEYED) || !is_word(c))
    return BREAKS;
  separate(value, out);
  em_buffer_append_text(out, "\"");
  value->state = IN_BARE_KEY;
  return 0;
}

/* A bare key, up to what ends it. */
static size_t read_bare_key(em_value *value, const char *text, size_t bytes, em_buffer *out) {
  static const char ends[] = ":=,()[]{}\n";
  size_t n = 0;
  while (n < bytes && (text[n] == 0 || !strchr(ends, text[n])))
    n++;
  em_value_escape(out, text, n);
  if (n == bytes)
    return n;
  em_buffer_append_text(out, "\"");
  value->state = AT_COLON;
  return n;
}

/* A literal is read as a whole, so that one that is none is left where it stands. */
static size_t read_word(em_value *value, const char *text, size_t bytes, bool final, em_buffer *out) {
  size_t n = 0;
  while (n < bytes && is_word(text[n]) && n < MAX_WORD)
    n++;
  if (n == bytes && !final)
    return WAITS;
  const char *json = literal(text, n);
  if (!json)
    return BREAKS;
  em_buffer_append_text(out, json);
  end_element(value);
  return n;
}

static size_t read_number(em_value *value, const char *text, size_t bytes, em_buffer *out) {
  size_t n = 0;
  while (n < bytes && number_goes_on(&value->number, text[n]))
    n++;
  em_buffer_append(out, text, n);
  if (n > 0)
    return n;
  if (!number_may_end(value->number) || (bytes > 0 && is_word(text[0])))
    return BREAKS;
  end_element(value);
  return 0;
}

static size_t step(em_value *value, const char *text, size_t bytes, bool final, em_buffer *out) {
  char c = bytes > 0 ? text[0] : 0;
  size_t n;
  if (value->state == IN_TEXT) {
    n = read_text(value, text, bytes, final, out);
    return n == 0 ? WAITS : n;
  }
  if (value->state == IN_WORD)
    return read_word(value, text, bytes, final, out);
  if (value->state == IN_NUMBER)
    return read_number(value, text, bytes, out);
  if (value->state == IN_BARE_KEY)
    return read_bare_key(value, text, bytes, out);
  if (is_space(c))
    return 1;
  if ((value->state == AT_ELEMENT || value->state == AT_KEY || value->state == AT_NEXT) && closes(value, c)) {
    close_container(value, out);
    return 1;
  }
  if (value->state == AT_COLON) {
    if (c != (value->notation == EM_NOTATION_ARGUMENTS && value->depth == 1 ? '=' : ':'))
      return BREAKS;
    em_buffer_append_text(out, ": ");
    value->comma = false;
    value->state = AT_VALUE;
    return 1;
  }
  if (value->state == AT_NEXT) {
    if (c != ',')
      return BREAKS;
    value->state = in_object(value) ? AT_KEY : AT_ELEMENT;
    return 1;
  }
  return value->state == AT_KEY ? begin_key(value, text, bytes, final, out)
                                : begin_value(value, text, bytes, final, out);
}

em_progress em_value_read(em_value *value, const char *text, size_t bytes, bool final, em_buffer *out, size_t *used) {
  size_t at = 0, n;
  while (value->state != AT_END && (at < bytes || (final && (value->state == IN_WORD || value->state == IN_NUMBER)))) {
    n = step(value, text + at, bytes - at, final, out);
    if (n >= WAITS) {
      *used = at;
      return n == WAITS ? EM_PROGRESS_MORE : EM_PROGRESS_BROKEN;
    }
    at += n;
  }
  *used = at;
  return value->state == AT_END ? EM_PROGRESS_DONE : EM_PROGRESS_MORE;
}
