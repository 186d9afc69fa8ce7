/* What the two files that look for a style share. */
#pragma once

#include "text/style.h"

/* A part of a rendered text. */
typedef struct em_part {
  const char *text;
  size_t bytes;
} em_part;

/* The words in the rendered conversations. Ids have nine characters, which one family of templates insists on. */
#define EM_WORD_QUESTION "hearthask"
#define EM_WORD_ANSWER "hearthanswer"
#define EM_WORD_THOUGHT "hearththought"
#define EM_WORD_FUNCTION "hearthfn"
#define EM_WORD_KEY "hearthkey"
#define EM_WORD_VALUE "hearthvalue"
#define EM_WORD_KEY_2 "hearthmore"
#define EM_WORD_VALUE_2 "907413"
#define EM_WORD_ID "hearthid1"
#define EM_WORD_ID_2 "hearthid2"

/* What was rendered behind the question, owned; NULL: the template refuses it. */
typedef struct em_renders {
  char *prompt;       /* the prompt for an answer */
  char *content;      /* an answer */
  char *thinking;     /* an answer with thinking */
  char *call, *calls; /* an answer that is one call, or two */
  bool gave_up;       /* a render reached its limits, or took long: no other is tried */
} em_renders;

em_part em_part_of(const char *text);
em_part em_part_between(const char *from, const char *to);
em_part em_part_trim(em_part part);
em_part em_part_behind(em_part part, size_t bytes); /* without its first bytes */
const char *em_part_find(em_part part, const char *word);
const char *em_part_find_last(em_part part, const char *word);
bool em_part_starts(em_part part, em_part start);

/* How many bytes of a tag stand at the start of part: <...> or [...] without line breaks; 0: none. */
size_t em_part_tag(em_part part);

/* The bytes two texts begin with alike, not ending within a tag. */
size_t em_part_common_start(em_part a, em_part b);
size_t em_part_common_end(em_part a, em_part b);

/* Stores part as a mark; one that is too long is none. */
void em_mark_set(char *mark, em_part part);

/* Fills the part of the style that is about calls. Errors: EM_ERR_NO_MEMORY. */
em_status em_style_find_calls(const em_style_params *params, const em_renders *renders, em_reply_style *out,
                              em_error *error);
