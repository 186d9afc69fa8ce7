/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/json.h"

#include "base/checked.h"
#include "base/utf8.h"

#include <float.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- Reading ------------------------------------------------------------------------------------------------------ */

/* One array or object that is not closed yet. Frames are kept in a chain and used again at the same depth. */
typedef struct frame frame;
struct frame {
  frame *outer, *inner;
  em_json *container;
  em_json *last; /* its last child so far */
};

typedef struct reader {
  em_arena *arena;
  const char *text;
  size_t bytes, at;
  size_t n_values;
  unsigned depth, max_depth;
  frame *top; /* the innermost open one; the outermost frame holds no container */
  em_error *error;
} reader;

static em_status malformed(const reader *r, size_t at, const char *what) {
  return em_fail_at(r->error, EM_ERR_FORMAT, at, "the JSON text is malformed: %s", what);
}

static em_status no_memory(const reader *r) {
  return em_fail_at(r->error, EM_ERR_NO_MEMORY, r->at, "no memory for the JSON text");
}

static void skip_space(reader *r) {
  while (r->at < r->bytes && (r->text[r->at] == ' ' || r->text[r->at] == '\n' || r->text[r->at] == '\r' || r->text[r->at] == '\t'))
    r->at++;
}

/* The next character, or 0 at the end (a NUL in the text is not legal anywhere outside a string either). */
static char peek(const reader *r) {
  return r->at < r->bytes ? r->text[r->at] : 0;
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* Four hexadecimal digits at text[at..]. */
static bool read_hex4(const reader *r, size_t at, uint32_t *out) {
  if (r->bytes - at < 4)
    return false;
  uint32_t value = 0;
  for (size_t i = at; i < at + 4; i++) {
    char c = r->text[i];
    uint32_t digit;
    if (is_digit(c))
      digit = (uint32_t)(c - '0');
    else if ((c | 32) >= 'a' && (c | 32) <= 'f')
      digit = (uint32_t)((c | 32) - 'a' + 10);
    else
      return false;
    value = value << 4 | digit;
  }
  *out = value;
  return true;
}

/* Reads one escape at the backslash; stores its character's bytes at *to. */
static em_status read_escape(reader *r, char **to) {
  static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
  size_t start = r->at++;
  char c = peek(r);
  const char *found = c ? strchr(from, c) : NULL;
  if (found) {
    *(*to)++ = into[found - from];
    r->at++;
    return EM_OK;
  }
  uint32_t code_point, low;
  if (c != 'u' || !read_hex4(r, r->at + 1, &code_point))
    return malformed(r, start, "an escape that does not exist");
  r->at += 5;
  if (code_point >= 0xdc00 && code_point <= 0xdfff)
    return malformed(r, start, "half of a surrogate pair");
  if (code_point >= 0xd800 && code_point <= 0xdbff) {
    if (r->bytes - r->at < 6 || r->text[r->at] != '\\' || r->text[r->at + 1] != 'u' || !read_hex4(r, r->at + 2, &low) ||
        low < 0xdc00 || low > 0xdfff)
      return malformed(r, start, "half of a surrogate pair");
    code_point = 0x10000 + ((code_point - 0xd800) << 10) + (low - 0xdc00);
    r->at += 6;
  }
  *to += em_utf8_encode(code_point, *to);
  return EM_OK;
}

/* Reads a string at its opening quote. */
static em_status read_string(reader *r, const char **out, size_t *out_bytes) {
  size_t start = ++r->at, end = start;
  while (end < r->bytes && r->text[end] != '"')
    end += r->text[end] == '\\' ? 2 : 1;
  if (end >= r->bytes)
    return malformed(r, start - 1, "a string without an end");
  /* No escape is shorter than the character it stands for, so the decoded string fits the room of the written one. */
  char *text = em_arena_alloc(r->arena, end - start + 1), *to = text;
  if (!text)
    return no_memory(r);
  while (r->at < end) {
    unsigned char c = (unsigned char)r->text[r->at];
    if (c == '\\') {
      em_status status = read_escape(r, &to);
      if (status != EM_OK)
        return status;
    } else if (c < 0x20) {
      return malformed(r, r->at, "a control character in a string");
    } else if (c < 0x80) {
      *to++ = (char)c;
      r->at++;
    } else {
      uint32_t code_point;
      bool valid;
      size_t n = em_utf8_decode(r->text + r->at, end - r->at, &code_point, &valid);
      if (!valid)
        return malformed(r, r->at, "invalid UTF-8");
      memcpy(to, r->text + r->at, n);
      to += n;
      r->at += n;
    }
  }
  *to = 0;
  r->at = end + 1;
  *out = text;
  *out_bytes = (size_t)(to - text);
  return EM_OK;
}

/* The locale in which numbers have a point. glibc hands out its built-in one, so that this neither allocates nor fails. */
static locale_t c_locale(void) {
  return newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static em_status read_number(reader *r, em_json *value) {
  size_t start = r->at;
  bool negative = peek(r) == '-', whole = true;
  if (negative)
    r->at++;
  size_t digits = r->at;
  while (is_digit(peek(r)))
    r->at++;
  if (r->at == digits || (r->text[digits] == '0' && r->at - digits > 1))
    return malformed(r, start, "not a number");
  size_t digits_end = r->at;
  if (peek(r) == '.') {
    whole = false;
    r->at++;
    if (!is_digit(peek(r)))
      return malformed(r, start, "a number without digits behind its point");
    while (is_digit(peek(r)))
      r->at++;
  }
  if (peek(r) == 'e' || peek(r) == 'E') {
    whole = false;
    r->at++;
    if (peek(r) == '+' || peek(r) == '-')
      r->at++;
    if (!is_digit(peek(r)))
      return malformed(r, start, "a number without digits in its exponent");
    while (is_digit(peek(r)))
      r->at++;
  }
  if (whole) {
    /* Counted below zero, where the range reaches one further. -0 stays a real, which keeps its sign. */
    int64_t n = 0;
    for (size_t i = digits; i < digits_end && whole; i++)
      whole = !__builtin_mul_overflow(n, (int64_t)10, &n) && !__builtin_sub_overflow(n, (int64_t)(r->text[i] - '0'), &n);
    if (whole && (negative ? n != 0 : n != INT64_MIN)) {
      value->kind = EM_JSON_INTEGER;
      value->integer = negative ? n : -n;
      return EM_OK;
    }
  }
  /* strtod wants an end; the text need not have one. */
  size_t length = r->at - start;
  char small[64], *copy = small;
  if (length >= sizeof small) {
    copy = em_calloc(length + 1, 1);
    if (!copy)
      return no_memory(r);
  }
  memcpy(copy, r->text + start, length);
  copy[length] = 0;
  value->kind = EM_JSON_REAL;
  value->real = strtod_l(copy, NULL, c_locale());
  if (copy != small)
    free(copy);
  if (value->real > DBL_MAX || value->real < -DBL_MAX)
    return em_fail_at(r->error, EM_ERR_LIMIT, start, "the JSON text has a number that is too large");
  return EM_OK;
}

static bool take_word(reader *r, const char *word) {
  size_t n = strlen(word);
  if (r->bytes - r->at < n || memcmp(r->text + r->at, word, n) != 0)
    return false;
  r->at += n;
  return true;
}

/* Makes the container the innermost open one. */
static em_status open_container(reader *r, em_json *container) {
  if (r->depth >= r->max_depth)
    return em_fail_at(r->error, EM_ERR_LIMIT, r->at, "the JSON text is nested deeper than %u levels", r->max_depth);
  if (!r->top->inner) {
    r->top->inner = em_arena_alloc(r->arena, sizeof(frame));
    if (!r->top->inner)
      return no_memory(r);
    r->top->inner->outer = r->top;
  }
  r->top = r->top->inner;
  r->top->container = container;
  r->top->last = NULL;
  r->depth++;
  r->at++;
  return EM_OK;
}

/* Reads the beginning of a value and hangs it into the innermost open container. Arrays and objects are left open. */
static em_status read_value(reader *r, const char *key, size_t key_bytes, em_json **out) {
  if (++r->n_values > EM_JSON_MAX_VALUES)
    return em_fail_at(r->error, EM_ERR_LIMIT, r->at, "the JSON text has more than %u values", EM_JSON_MAX_VALUES);
  em_json *value = em_arena_alloc(r->arena, sizeof *value);
  if (!value)
    return no_memory(r);
  value->key = key;
  value->key_bytes = key_bytes;
  if (r->top->container) {
    r->top->container->n_children++;
    if (r->top->last)
      r->top->last->next = value;
    else
      r->top->container->first = value;
    r->top->last = value;
  }
  *out = value;
  char c = peek(r);
  if (c == '{' || c == '[') {
    value->kind = c == '{' ? EM_JSON_OBJECT : EM_JSON_ARRAY;
    return open_container(r, value);
  }
  if (c == '"') {
    value->kind = EM_JSON_STRING;
    return read_string(r, &value->string.text, &value->string.bytes);
  }
  if (c == '-' || is_digit(c))
    return read_number(r, value);
  if (take_word(r, "true")) {
    value->kind = EM_JSON_BOOL;
    value->boolean = true;
  } else if (take_word(r, "false")) {
    value->kind = EM_JSON_BOOL;
  } else if (!take_word(r, "null")) {
    return malformed(r, r->at, r->at < r->bytes ? "not a value" : "it ends too early");
  }
  return EM_OK;
}

/* Closes what can be closed behind a value and steps over the comma to the next one. *more: whether there is a next one. */
static em_status read_separator(reader *r, bool *more) {
  *more = false;
  while (r->depth) {
    const em_json *container = r->top->container;
    bool empty = !r->top->last;
    skip_space(r);
    char c = peek(r);
    if (c == (container->kind == EM_JSON_OBJECT ? '}' : ']')) {
      r->at++;
      r->top = r->top->outer;
      r->depth--;
      continue;
    }
    *more = true;
    if (empty)
      return EM_OK;
    if (c != ',')
      return malformed(r, r->at, r->at < r->bytes ? "a comma or a closing bracket is missing" : "it ends too early");
    r->at++;
    skip_space(r);
    return EM_OK;
  }
  return EM_OK;
}

em_status em_json_parse(em_arena *arena, const char *text, size_t bytes, unsigned max_depth, const em_json **out,
                        em_error *error) {
  em_status status = EM_OK;
  frame outermost = { 0 };
  reader r = { .arena = arena, .text = text, .bytes = bytes, .max_depth = max_depth ? max_depth : EM_JSON_MAX_DEPTH,
               .top = &outermost, .error = error };
  em_json *root = NULL, *value = NULL;
  const char *key = NULL;
  size_t key_bytes = 0;
  bool more = true;
  skip_space(&r);
  while (more) {
    EM_TRY(read_value(&r, key, key_bytes, &value));
    if (!root)
      root = value;
    EM_TRY(read_separator(&r, &more));
    if (!more)
      break;
    key = NULL;
    if (r.top->container->kind == EM_JSON_OBJECT) {
      if (peek(&r) != '"') {
        status = malformed(&r, r.at, r.at < r.bytes ? "a member's name is missing" : "it ends too early");
        goto fail;
      }
      EM_TRY(read_string(&r, &key, &key_bytes));
      skip_space(&r);
      if (peek(&r) != ':') {
        status = malformed(&r, r.at, "a colon is missing");
        goto fail;
      }
      r.at++;
      skip_space(&r);
    }
  }
  skip_space(&r);
  if (r.at < bytes) {
    status = malformed(&r, r.at, "there is text behind its end");
    goto fail;
  }
  *out = root;
fail:
  return status;
}

const em_json *em_json_get(const em_json *json, const char *key) {
  const em_json *found = NULL;
  if (!json || json->kind != EM_JSON_OBJECT)
    return NULL;
  size_t bytes = strlen(key);
  for (const em_json *child = json->first; child; child = child->next)
    if (child->key_bytes == bytes && memcmp(child->key, key, bytes) == 0)
      found = child;
  return found;
}

/* --- Writing ------------------------------------------------------------------------------------------------------ */

/* Controls that a terminal or a text view obeys without showing them: C1, line separators, and marks that turn the direction
 * of the text around them. */
static bool is_unseen_control(uint32_t c) {
  return (c >= 0x80 && c <= 0x9f) || c == 0x200e || c == 0x200f || (c >= 0x2028 && c <= 0x202e) ||
         (c >= 0x2066 && c <= 0x2069);
}

bool em_json_write_string(em_buffer *buffer, const char *text, size_t bytes) {
  em_buffer_append(buffer, "\"", 1);
  size_t done = 0;
  for (size_t i = 0; i < bytes;) {
    unsigned char c = (unsigned char)text[i];
    size_t n = 1;
    char escape[8];
    int escape_bytes = 0;
    if (c == '"' || c == '\\') {
      escape_bytes = snprintf(escape, sizeof escape, "\\%c", c);
    } else if (c == '\n') {
      escape_bytes = snprintf(escape, sizeof escape, "\\n");
    } else if (c < 0x20 || c == 0x7f) {
      escape_bytes = snprintf(escape, sizeof escape, "\\u%04x", c);
    } else if (c >= 0x80) {
      uint32_t code_point;
      bool valid;
      n = em_utf8_decode(text + i, bytes - i, &code_point, &valid);
      if (!valid)
        escape_bytes = (int)em_utf8_encode(EM_UTF8_REPLACEMENT, escape);
      else if (is_unseen_control(code_point))
        escape_bytes = snprintf(escape, sizeof escape, "\\u%04x", code_point);
    }
    /* What needs no escape is appended in runs. */
    if (escape_bytes) {
      em_buffer_append(buffer, text + done, i - done);
      em_buffer_append(buffer, escape, (size_t)escape_bytes);
      done = i + n;
    }
    i += n;
  }
  em_buffer_append(buffer, text + done, bytes - done);
  return em_buffer_append(buffer, "\"", 1);
}

bool em_json_write_real(em_buffer *buffer, double value) {
  if (!(value >= -DBL_MAX && value <= DBL_MAX))
    return em_buffer_append_text(buffer, "null");
  char text[40];
  locale_t old = uselocale(c_locale());
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, value);
    if (strtod(text, NULL) == value)
      break;
  }
  uselocale(old);
  em_buffer_append_text(buffer, text);
  /* A whole number keeps a point, so that it reads back as the real it is. */
  return strpbrk(text, ".e") ? !buffer->failed : em_buffer_append_text(buffer, ".0");
}

/* Appends a value that is no container, or the bracket that opens one. */
static void write_start(em_buffer *buffer, const em_json *json) {
  switch (json->kind) {
  case EM_JSON_NULL:
    em_buffer_append_text(buffer, "null");
    break;
  case EM_JSON_BOOL:
    em_buffer_append_text(buffer, json->boolean ? "true" : "false");
    break;
  case EM_JSON_INTEGER:
    em_buffer_appendf(buffer, "%lld", (long long)json->integer);
    break;
  case EM_JSON_REAL:
    em_json_write_real(buffer, json->real);
    break;
  case EM_JSON_STRING:
    em_json_write_string(buffer, json->string.text, json->string.bytes);
    break;
  case EM_JSON_ARRAY:
    em_buffer_append(buffer, "[", 1);
    break;
  case EM_JSON_OBJECT:
    em_buffer_append(buffer, "{", 1);
    break;
  }
}

bool em_json_write(em_buffer *buffer, const em_json *json) {
  /* The containers open around the current value, outermost first. */
  const em_json **open = NULL;
  size_t n_open = 0, capacity = 0;
  const em_json *value = json;
  while (!buffer->failed) {
    if (n_open && open[n_open - 1]->kind == EM_JSON_OBJECT) {
      em_json_write_string(buffer, value->key, value->key_bytes);
      em_buffer_append(buffer, ":", 1);
    }
    write_start(buffer, value);
    if (value->kind == EM_JSON_ARRAY || value->kind == EM_JSON_OBJECT) {
      if (value->first) {
        if (n_open == capacity) {
          capacity = capacity ? capacity * 2 : 16;
          const em_json **grown = em_realloc_array(open, capacity, sizeof *open);
          if (!grown) {
            buffer->failed = true;
            break;
          }
          open = grown;
        }
        open[n_open++] = value;
        value = value->first;
        continue;
      }
      em_buffer_append(buffer, value->kind == EM_JSON_ARRAY ? "]" : "}", 1);
    }
    while (n_open && !value->next) {
      value = open[--n_open];
      em_buffer_append(buffer, value->kind == EM_JSON_ARRAY ? "]" : "}", 1);
    }
    if (!n_open)
      break;
    value = value->next;
    em_buffer_append(buffer, ",", 1);
  }
  free(open);
  return !buffer->failed;
}
