/* WordPiece ("bert"): text without case and accents, cut at white space, punctuation and ideographs; each word becomes
 * the longest pieces from left to right, or one unknown token. Pieces that start a word have U+2581 before them. */
#pragma once

#include "text/tokenizer/vocab.h"

/* A longer word is unknown. */
#define EM_WORDPIECE_MAX_CHARS 100u

/* Appends the tokens of text; unknown may be EM_NO_TOKEN. False when memory is out. */
bool em_wordpiece_tokenize(const em_vocab *vocab, int32_t unknown, const char *text, size_t bytes, em_tokens *out);
