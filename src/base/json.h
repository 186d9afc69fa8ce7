/* Strict JSON (RFC 8259) for the core: a reader into an arena and a writer into an em_buffer.
 *
 * Refused: depth above the limit, more than max_values values, duplicate keys are kept in order (the last one wins in
 * em_json_get), invalid UTF-8, lone surrogates in escapes, trailing text, numbers that are not JSON, NUL in strings is legal
 * (strings carry their length). No recursion on input.
 */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"

typedef enum em_json_kind {
  EM_JSON_NULL,
  EM_JSON_BOOL,
  EM_JSON_INTEGER, /* no fraction, no exponent, fits int64 */
  EM_JSON_REAL,
  EM_JSON_STRING,
  EM_JSON_ARRAY,
  EM_JSON_OBJECT
} em_json_kind;

typedef struct em_json em_json;
struct em_json {
  em_json_kind kind;
  union {
    bool boolean;
    int64_t integer;
    double real;
    struct {
      const char *text; /* UTF-8, NUL-terminated behind its length */
      size_t bytes;
    } string;
  };
  /* Arrays and objects: the children in order. */
  const em_json *first; /* first child or NULL */
  const em_json *next;  /* next sibling or NULL */
  size_t n_children;
  const char *key; /* in an object: this member's name, NUL-terminated */
  size_t key_bytes;
};

#define EM_JSON_MAX_DEPTH 64
#define EM_JSON_MAX_VALUES (1u << 20)

/* Parses text into arena. max_depth 0 means EM_JSON_MAX_DEPTH. The result lives as long as the arena. Errors:
 * EM_ERR_FORMAT or EM_ERR_LIMIT with the byte offset, EM_ERR_NO_MEMORY. */
em_status em_json_parse(em_arena *arena, const char *text, size_t bytes, unsigned max_depth, const em_json **out,
                        em_error *error) EM_MUST_USE;

/* The member of an object by name, or NULL (also when json is NULL or no object). */
const em_json *em_json_get(const em_json *json, const char *key);

/* Appends text as a JSON string with quotes; malformed UTF-8 becomes U+FFFD. Controls are escaped, those of terminals and of text
 * direction too, so that the result can be shown anywhere. */
bool em_json_write_string(em_buffer *buffer, const char *text, size_t bytes);

/* Appends a number that reads back as the same double; NaN and infinities become null. */
bool em_json_write_real(em_buffer *buffer, double value);

/* Appends a whole value, compact. */
bool em_json_write(em_buffer *buffer, const em_json *json);
