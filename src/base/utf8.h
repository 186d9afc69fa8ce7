/* UTF-8. Malformed means: overlong, surrogate, past U+10FFFF, or cut short. */
#pragma once

#include "base/status.h"

#define EM_UTF8_REPLACEMENT 0xFFFDu

/* Decodes the character at text[0..bytes) (bytes >= 1). Returns how many bytes it takes (1-4) and stores the code point;
 * for a malformed sequence returns the number of bytes of the maximal ill-formed part (at least 1) and stores
 * EM_UTF8_REPLACEMENT with *valid = false. valid may be NULL. */
size_t em_utf8_decode(const char *text, size_t bytes, uint32_t *code_point, bool *valid);

/* Encodes code_point (<= 0x10FFFF, no surrogate; others become U+FFFD) to out, returns 1-4. */
size_t em_utf8_encode(uint32_t code_point, char out[4]);

bool em_utf8_valid(const char *text, size_t bytes);

/* How many trailing bytes of text form the start of a character that is not complete yet (0-3): what a streaming writer
 * must keep back. */
size_t em_utf8_incomplete_tail(const char *text, size_t bytes);
