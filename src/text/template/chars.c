/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/template/chars.h"

#include "base/utf8.h"

bool em_tpl_is_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* How a range of letters maps. */
typedef enum case_rule {
  UPPER_THEN_LOWER, /* the lower-case letter of c is c + step */
  PAIRS_EVEN,       /* even is upper case, the next one its lower case */
  PAIRS_ODD
} case_rule;

static const struct {
  uint32_t first, last; /* of the upper-case letters, or of all for pairs */
  case_rule rule;
  uint32_t step;
} case_ranges[] = {
    {'A', 'Z', UPPER_THEN_LOWER, 32},         {0xC0, 0xD6, UPPER_THEN_LOWER, 32},
    {0xD8, 0xDE, UPPER_THEN_LOWER, 32},       {0x100, 0x12F, PAIRS_EVEN, 0},
    {0x132, 0x137, PAIRS_EVEN, 0},            {0x139, 0x148, PAIRS_ODD, 0},
    {0x14A, 0x177, PAIRS_EVEN, 0},            {0x179, 0x17E, PAIRS_ODD, 0},
    {0x1CD, 0x1DC, PAIRS_ODD, 0},             {0x1DE, 0x1EF, PAIRS_EVEN, 0},
    {0x1F8, 0x21F, PAIRS_EVEN, 0},            {0x222, 0x233, PAIRS_EVEN, 0},
    {0x388, 0x38A, UPPER_THEN_LOWER, 37},     {0x391, 0x3A1, UPPER_THEN_LOWER, 32},
    {0x3A3, 0x3AB, UPPER_THEN_LOWER, 32},     {0x386, 0x386, UPPER_THEN_LOWER, 38},
    {0x38C, 0x38C, UPPER_THEN_LOWER, 64},     {0x38E, 0x38F, UPPER_THEN_LOWER, 63},
    {0x400, 0x40F, UPPER_THEN_LOWER, 80},     {0x410, 0x42F, UPPER_THEN_LOWER, 32},
    {0x460, 0x481, PAIRS_EVEN, 0},            {0x48A, 0x4BF, PAIRS_EVEN, 0},
    {0x4C1, 0x4CE, PAIRS_ODD, 0},             {0x4D0, 0x52F, PAIRS_EVEN, 0},
    {0x531, 0x556, UPPER_THEN_LOWER, 48},     {0x1E00, 0x1E95, PAIRS_EVEN, 0},
    {0x1EA0, 0x1EFF, PAIRS_EVEN, 0},          {0xFF21, 0xFF3A, UPPER_THEN_LOWER, 32},
};

uint32_t em_tpl_lower(uint32_t c) {
  if (c == 0x178)
    return 0xFF;
  for (size_t i = 0; i < sizeof case_ranges / sizeof case_ranges[0]; i++)
    if (c >= case_ranges[i].first && c <= case_ranges[i].last)
      switch (case_ranges[i].rule) {
      case UPPER_THEN_LOWER:
        return c + case_ranges[i].step;
      case PAIRS_EVEN:
        return c | 1;
      case PAIRS_ODD:
        return c & 1 ? c + 1 : c;
      }
  return c;
}

uint32_t em_tpl_upper(uint32_t c) {
  if (c == 0xFF)
    return 0x178;
  if (c == 0xB5)
    return 0x39C;
  if (c == 0x3C2)
    return 0x3A3;
  for (size_t i = 0; i < sizeof case_ranges / sizeof case_ranges[0]; i++) {
    uint32_t step = case_ranges[i].step;
    switch (case_ranges[i].rule) {
    case UPPER_THEN_LOWER:
      if (c >= case_ranges[i].first + step && c <= case_ranges[i].last + step)
        return c - step;
      break;
    case PAIRS_EVEN:
      if (c >= case_ranges[i].first && c <= case_ranges[i].last)
        return c & ~1u;
      break;
    case PAIRS_ODD:
      if (c >= case_ranges[i].first && c <= case_ranges[i].last)
        return c & 1 ? c : c - 1;
      break;
    }
  }
  return c;
}

bool em_tpl_is_letter(uint32_t c) {
  if (c < 0x80)
    return (c | 32) >= 'a' && (c | 32) <= 'z';
  return c >= 0xAA && !em_tpl_is_space(c) && c != 0xD7 && c != 0xF7 && (c >= 0xC0 || c == 0xAA || c == 0xB5 || c == 0xBA) &&
         !(c >= 0x2000 && c <= 0x2BFF) && !(c >= 0x3000 && c <= 0x3004) && !(c >= 0x3008 && c <= 0x3020) &&
         !(c >= 0xFF00 && c <= 0xFF20) && c < 0x1F000;
}

size_t em_tpl_leading_space(const char *text, size_t bytes) {
  size_t place = 0;
  while (place < bytes) {
    uint32_t c;
    size_t step = em_utf8_decode(text + place, bytes - place, &c, NULL);
    if (!em_tpl_is_space(c))
      break;
    place += step;
  }
  return place;
}

size_t em_tpl_char_before(const char *text, size_t offset) {
  size_t place = offset - 1;
  while (place > 0 && offset - place < 4 && ((unsigned char)text[place] & 0xC0) == 0x80)
    place--;
  uint32_t c;
  return place + em_utf8_decode(text + place, offset - place, &c, NULL) == offset ? place : offset - 1;
}

size_t em_tpl_trailing_space(const char *text, size_t bytes) {
  size_t end = bytes;
  while (end > 0) {
    size_t start = em_tpl_char_before(text, end);
    uint32_t c;
    em_utf8_decode(text + start, end - start, &c, NULL);
    if (!em_tpl_is_space(c))
      break;
    end = start;
  }
  return bytes - end;
}

size_t em_tpl_count_chars(const char *text, size_t bytes) {
  size_t n = 0;
  for (size_t place = 0; place < bytes; n++)
    if ((unsigned char)text[place] < 0x80) {
      place++;
    } else {
      uint32_t c;
      place += em_utf8_decode(text + place, bytes - place, &c, NULL);
    }
  return n;
}

size_t em_tpl_char_offset(const char *text, size_t bytes, size_t n) {
  size_t place = 0;
  for (; n > 0 && place < bytes; n--)
    if ((unsigned char)text[place] < 0x80) {
      place++;
    } else {
      uint32_t c;
      place += em_utf8_decode(text + place, bytes - place, &c, NULL);
    }
  return place;
}
