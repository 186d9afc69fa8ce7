/* SentencePiece-style tokenizing: neighbours merge into the piece with the highest score, leftmost first of equals. */
#pragma once

#include "text/tokenizer/merge.h"
#include "text/tokenizer/vocab.h"

/* U+2581, which stands for a space in pieces. */
#define EM_SPACE_MARK "\xE2\x96\x81"
#define EM_SPACE_MARK_BYTES 3u

typedef struct em_spm {
  uint32_t *ranks;      /* [n_tokens] place of each piece's score, highest first; equal scores share one */
  int32_t unknown;      /* for a character without pieces, or EM_NO_TOKEN: left out */
  bool splits_at_space; /* no piece has a space mark behind another character, so words can be merged one by one */
} em_spm;

em_status em_spm_init(em_spm *spm, const em_vocab *vocab, const float *scores, int32_t unknown,
                      em_error *error) EM_MUST_USE;
void em_spm_clear(em_spm *spm);

/* Appends the tokens of text, whose spaces are marks already. False when memory is out. */
bool em_spm_tokenize(const em_spm *spm, const em_vocab *vocab, em_merger *merger, const char *text, size_t bytes,
                     em_tokens *out);

/* Whether no ordinary piece has a space mark behind another character. */
bool em_vocab_splits_at_space(const em_vocab *vocab);

/* The bytes of the first word of text: up to a space mark behind another character. */
size_t em_marked_word(const char *text, size_t bytes);

/* Appends the byte tokens of text, or one `unknown` (unless the last token is one already) where a byte has none. */
bool em_spell_bytes(const em_vocab *vocab, int32_t unknown, const char *text, size_t bytes, em_tokens *out);
