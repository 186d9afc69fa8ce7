/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/tokenizer/wordpiece.h"

#include "base/utf8.h"
#include "text/tokenizer/spm.h"
#include "text/tokenizer/unicode.h"

#include <string.h>

typedef struct word_text {
  char text[EM_SPACE_MARK_BYTES + EM_WORDPIECE_MAX_CHARS * 4]; /* begins with a space mark */
  size_t bytes;
  size_t n_chars; /* may pass the maximum; text then holds the first ones */
} word_text;

static void start(word_text *word) {
  memcpy(word->text, EM_SPACE_MARK, EM_SPACE_MARK_BYTES);
  word->bytes = EM_SPACE_MARK_BYTES;
  word->n_chars = 0;
}

static void add(word_text *word, uint32_t code_point) {
  if (word->n_chars++ < EM_WORDPIECE_MAX_CHARS)
    word->bytes += em_utf8_encode(code_point, word->text + word->bytes);
}

/* The longest piece at the beginning of text, or EM_NO_TOKEN. */
static int32_t longest_piece(const em_vocab *vocab, const char *text, size_t bytes, size_t *taken) {
  for (size_t n = bytes < vocab->longest ? bytes : vocab->longest; n > 0; n--) {
    if (n < bytes && ((uint8_t)text[n] & 0xC0) == 0x80)
      continue; /* inside a character */
    int32_t id = em_vocab_find_ordinary(vocab, text, n);
    if (id != EM_NO_TOKEN) {
      *taken = n;
      return id;
    }
  }
  return EM_NO_TOKEN;
}

static bool finish(const em_vocab *vocab, int32_t unknown, word_text *word, em_tokens *out) {
  if (word->n_chars == 0)
    return true;
  size_t n_before = out->n;
  bool known = word->n_chars <= EM_WORDPIECE_MAX_CHARS;
  for (size_t at = 0, taken; known && at < word->bytes; at += taken) {
    int32_t id = longest_piece(vocab, word->text + at, word->bytes - at, &taken);
    known = id != EM_NO_TOKEN;
    if (known && !em_tokens_append(out, id))
      return false;
  }
  start(word);
  if (known)
    return true;
  out->n = n_before;
  return unknown == EM_NO_TOKEN || em_tokens_append(out, unknown);
}

bool em_wordpiece_tokenize(const em_vocab *vocab, int32_t unknown, const char *text, size_t bytes, em_tokens *out) {
  word_text word;
  start(&word);
  for (size_t at = 0; at < bytes;) {
    uint32_t code_point;
    bool valid;
    at += em_utf8_decode(text + at, bytes - at, &code_point, &valid);
    uint32_t flags = em_char_flags(code_point);
    if (!valid || code_point == EM_UTF8_REPLACEMENT || (flags & EM_CHAR_C))
      continue;
    if (flags & EM_CHAR_SPACE) {
      if (!finish(vocab, unknown, &word, out))
        return false;
      continue;
    }
    uint32_t folded[EM_FOLD_MAX];
    unsigned n = em_char_fold(code_point, folded);
    for (unsigned i = 0; i < n; i++) {
      bool alone = (flags & EM_CHAR_IDEOGRAPH) || (em_char_flags(folded[i]) & (EM_CHAR_P | EM_CHAR_ASCII_PUNCT));
      if (alone && !finish(vocab, unknown, &word, out))
        return false;
      add(&word, folded[i]);
      if (alone && !finish(vocab, unknown, &word, out))
        return false;
    }
  }
  return finish(vocab, unknown, &word, out);
}
