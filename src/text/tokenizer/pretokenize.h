/* Cutting text into words before byte pair encoding, as each model family's pre-tokenizer does.
 *
 * Each is a table of passes; a pass is a list of patterns tried in order at every place, as the alternatives of a
 * regular expression are. What a pass matches and what it leaves between matches are pieces of their own, which the
 * next pass cuts further. Every pattern is matched in time linear in what it looks at, without recursion and without
 * memory.
 */
#pragma once

#include "base/status.h"

struct em_pretokenizer_pass;

typedef struct em_pretokenizer {
  const char *name; /* tokenizer.ggml.pre */
  const struct em_pretokenizer_pass *passes;
  uint8_t n_passes;
  bool ignore_merges; /* a word that is a piece is taken whole */
  bool add_bos;       /* where the file does not say */
} em_pretokenizer;

/* By tokenizer.ggml.pre, or NULL for an unknown name. */
const em_pretokenizer *em_pretokenizer_find(const char *name);

/* That of model "gemma4": runs of newlines and runs of anything else. */
const em_pretokenizer *em_pretokenizer_newlines(void);

#define EM_PRETOKENIZER_MAX_PASSES 6

/* One text being cut. text is borrowed. */
typedef struct em_words {
  const em_pretokenizer *pretokenizer;
  const char *text;
  struct {
    size_t at, end;        /* what this pass has still to cut */
    size_t match_at, match_end; /* a match found behind unmatched text, or match_at == match_end */
  } passes[EM_PRETOKENIZER_MAX_PASSES];
  unsigned depth; /* the pass that is being asked */
} em_words;

void em_words_start(em_words *words, const em_pretokenizer *pretokenizer, const char *text, size_t bytes);

/* The next word as a range of bytes of the text (never empty); false at the end. */
bool em_words_next(em_words *words, size_t *start, size_t *bytes);
