/* Chat formats for files that bring no usable template of their own, chosen by their vocabulary: a model whose
 * vocabulary has no piece for the marks of a format has never read it. */
#pragma once

#include "text/tokenizer/tokenizer.h"

typedef struct em_fallback {
  const char *name;      /* for people: "ChatML" */
  const char *template_; /* in the language of chat templates */
  const char *stop;      /* text with which the model goes on to ask itself, or NULL: its end token ends the answer */
} em_fallback;

/* NULL: the vocabulary fits none, and text is only continued. Static. */
const em_fallback *em_fallback_find(const em_tokenizer *tokenizer);
