/* What a template needs to know of characters. Case is mapped one to one for the scripts that have case: Latin, Greek,
 * Cyrillic, Armenian and the fullwidth letters. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool em_tpl_is_space(uint32_t code_point); /* as Python's str.isspace */
bool em_tpl_is_letter(uint32_t code_point); /* has case, or is a letter of ASCII or past it that is no blank or sign */
uint32_t em_tpl_upper(uint32_t code_point);
uint32_t em_tpl_lower(uint32_t code_point);

/* Bytes of blanks at the start and at the end of text. */
size_t em_tpl_leading_space(const char *text, size_t bytes);
size_t em_tpl_trailing_space(const char *text, size_t bytes);

/* Characters in text; a malformed byte counts as one. */
size_t em_tpl_count_chars(const char *text, size_t bytes);
/* Where the n-th character begins (bytes when there are fewer). */
size_t em_tpl_char_offset(const char *text, size_t bytes, size_t n);
/* Where the character before `offset` begins (offset > 0). */
size_t em_tpl_char_before(const char *text, size_t offset);
