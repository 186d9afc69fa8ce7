/* Properties of characters, from tables that make-unicode.py makes while building.
 *
 * A character's properties are one word of bits: general categories, and the sets that pre-tokenizers name. A set of a
 * pre-tokenizer is then a mask, and a lookup is two table reads. Thread-safe; nothing allocates.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* make-unicode.py reads the numbers from these lines; what each set holds is written there. */
typedef enum em_char_flag {
  EM_CHAR_ANY = 1u << 0, /* every character, assigned or not */
  EM_CHAR_LU = 1u << 1,
  EM_CHAR_LL = 1u << 2,
  EM_CHAR_LT = 1u << 3,
  EM_CHAR_LM = 1u << 4,
  EM_CHAR_LO = 1u << 5,
  EM_CHAR_M = 1u << 6,
  EM_CHAR_N = 1u << 7,
  EM_CHAR_P = 1u << 8,
  EM_CHAR_S = 1u << 9,
  EM_CHAR_C = 1u << 10,              /* control, format, unassigned and the like, but not tab, LF, CR */
  EM_CHAR_SPACE = 1u << 11,          /* White_Space */
  EM_CHAR_HAN = 1u << 12,            /* script Han */
  EM_CHAR_BLANK = 1u << 13,          /* U+0020 alone */
  EM_CHAR_NEWLINE = 1u << 14,        /* CR, LF */
  EM_CHAR_LINEFEED = 1u << 15,       /* LF alone */
  EM_CHAR_SLASH = 1u << 16,
  EM_CHAR_ASCII_PUNCT = 1u << 17,
  EM_CHAR_ASCII_LETTER = 1u << 18,
  EM_CHAR_ASCII_DIGIT = 1u << 19,
  EM_CHAR_CHINESE_KANA = 1u << 20,   /* deepseek-v3's third set */
  EM_CHAR_CHINESE_HANGUL = 1u << 21, /* deepseek-llm's and deepseek-coder's */
  EM_CHAR_BICAMERAL = 1u << 22,      /* deepseek-llm's letters */
  EM_CHAR_HALF_FULL_PUNCT = 1u << 23, /* deepseek-llm's punctuation */
  EM_CHAR_FALCON_SYMBOL = 1u << 24,
  EM_CHAR_BACKTICK = 1u << 25,
  EM_CHAR_BLOOM_STOP = 1u << 26,     /* what ends a word of bloom, poro and viking */
  EM_CHAR_IDEOGRAPH = 1u << 27,      /* WordPiece takes each as a word */
} em_char_flag;

#define EM_CHAR_L ((uint32_t)(EM_CHAR_LU | EM_CHAR_LL | EM_CHAR_LT | EM_CHAR_LM | EM_CHAR_LO))

/* Block sizes of the two tables; make-unicode.py reads them too. */
#define EM_UNICODE_CLASS_SHIFT 7
#define EM_UNICODE_FOLD_SHIFT 6

extern const uint8_t em_unicode_class_blocks[];
extern const uint16_t em_unicode_class_index[0x110000 >> EM_UNICODE_CLASS_SHIFT];
extern const uint32_t em_unicode_class_flags[];
extern const uint16_t em_unicode_fold_blocks[];
extern const uint16_t em_unicode_fold_index[0x110000 >> EM_UNICODE_FOLD_SHIFT];
extern const uint32_t em_unicode_fold_pool[];

/* The bits of a code point; those of an unassigned character past U+10FFFF. */
static inline uint32_t em_char_flags(uint32_t code_point) {
  if (code_point > 0x10FFFFu)
    return EM_CHAR_ANY | EM_CHAR_C;
  size_t block = em_unicode_class_index[code_point >> EM_UNICODE_CLASS_SHIFT];
  size_t within = code_point & ((1u << EM_UNICODE_CLASS_SHIFT) - 1);
  return em_unicode_class_flags[em_unicode_class_blocks[(block << EM_UNICODE_CLASS_SHIFT) + within]];
}

/* The properties of the character at text[0..bytes) (bytes >= 1); *taken is how many bytes it has. A malformed byte
 * counts as one U+FFFD. */
uint32_t em_char_at(const char *text, size_t bytes, size_t *taken);

#define EM_FOLD_MAX 4

/* Lower case without accents, as uncased BERT models read text: lower(), canonical decomposition, nonspacing marks left
 * out. Stores up to EM_FOLD_MAX code points and returns how many: 0 for a mark. */
unsigned em_char_fold(uint32_t code_point, uint32_t out[EM_FOLD_MAX]);
