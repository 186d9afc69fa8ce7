/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/tokenizer/unicode.h"

#include "base/utf8.h"

uint32_t em_char_at(const char *text, size_t bytes, size_t *taken) {
  unsigned char first = (unsigned char)text[0];
  if (first < 0x80) {
    *taken = 1;
    return em_char_flags(first);
  }
  uint32_t code_point;
  bool valid;
  size_t n = em_utf8_decode(text, bytes, &code_point, &valid);
  *taken = valid ? n : 1;
  return em_char_flags(code_point);
}

/* Hangul syllables decompose by arithmetic (Unicode, section 3.12). */
enum {
  HANGUL_BASE = 0xAC00,
  HANGUL_N = 11172,
  LEAD_BASE = 0x1100,
  VOWEL_BASE = 0x1161,
  TAIL_BASE = 0x11A7,
  N_VOWELS = 21,
  N_TAILS = 28
};

unsigned em_char_fold(uint32_t code_point, uint32_t out[EM_FOLD_MAX]) {
  if (code_point >= HANGUL_BASE && code_point < HANGUL_BASE + HANGUL_N) {
    uint32_t syllable = code_point - HANGUL_BASE;
    out[0] = LEAD_BASE + syllable / (N_VOWELS * N_TAILS);
    out[1] = VOWEL_BASE + syllable / N_TAILS % N_VOWELS;
    out[2] = TAIL_BASE + syllable % N_TAILS;
    return out[2] == TAIL_BASE ? 2 : 3;
  }
  if (code_point <= 0x10FFFFu) {
    size_t block = em_unicode_fold_index[code_point >> EM_UNICODE_FOLD_SHIFT];
    size_t within = code_point & ((1u << EM_UNICODE_FOLD_SHIFT) - 1);
    const uint32_t *entry = em_unicode_fold_pool + em_unicode_fold_blocks[(block << EM_UNICODE_FOLD_SHIFT) + within];
    /* The pool's first entry stands for "the character itself". */
    if (entry != em_unicode_fold_pool) {
      for (uint32_t i = 0; i < entry[0]; i++)
        out[i] = entry[1 + i];
      return entry[0];
    }
  }
  out[0] = code_point;
  return 1;
}
