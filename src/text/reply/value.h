/* One argument value in the notations models use, rewritten as JSON while it streams. */
#pragma once

#include "base/buffer.h"
#include "text/reply/reply.h"

typedef enum em_notation {
  EM_NOTATION_JSON,
  EM_NOTATION_KEYED,    /* bare keys, texts between a mark */
  EM_NOTATION_ARGUMENTS /* key=value, ... up to a closing parenthesis; the values in Python's notation */
} em_notation;

typedef enum em_progress { EM_PROGRESS_DONE, EM_PROGRESS_MORE, EM_PROGRESS_BROKEN } em_progress;

typedef struct em_value {
  em_notation notation;
  const char *text_mark; /* KEYED */
  bool decodes;          /* a text at the top is written as what it says, not as JSON */
  int state;
  unsigned depth;
  uint64_t objects;   /* bit d: the container at depth d is an object */
  bool is_key, comma; /* the text is a key; an element stood before */
  char quote;         /* 0: text_mark */
  int number;         /* where in a number */
} em_value;

void em_value_init(em_value *value, em_notation notation, const char *text_mark);

/* Reads text[0..bytes) on from where it was; *used says how far. MORE: what is left is too short to tell (fewer than
 * EM_REPLY_MARK_BYTES); never when final. JSON is appended to *out. BROKEN: the byte behind *used cannot stand there. A
 * number at the top is DONE at the byte behind it, or when final. */
em_progress em_value_read(em_value *value, const char *text, size_t bytes, bool final, em_buffer *out, size_t *used);

/* Appends text as the inside of a JSON string. */
bool em_value_escape(em_buffer *out, const char *text, size_t bytes);

/* How many bytes of mark stand at text: strlen(mark) if all; 0 if it is not there; SIZE_MAX if text ends within it. An
 * empty mark is never there. */
size_t em_mark_at(const char *mark, const char *text, size_t bytes, bool final);
