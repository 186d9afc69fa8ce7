/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/utf8.h"

size_t em_utf8_decode(const char *text, size_t bytes, uint32_t *code_point, bool *valid) {
  const unsigned char *s = (const unsigned char *)text;
  unsigned lead = s[0];
  if (lead < 0x80) {
    *code_point = lead;
    if (valid)
      *valid = true;
    return 1;
  }
  /* The second byte's range is narrower after some leads: this is what excludes overlong forms, surrogates and values
   * past U+10FFFF (Unicode, table 3-7). */
  unsigned low = 0x80, high = 0xbf;
  size_t n;
  uint32_t c;
  if (lead >= 0xc2 && lead <= 0xdf) {
    n = 2;
    c = lead & 0x1f;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    n = 3;
    c = lead & 0x0f;
    if (lead == 0xe0)
      low = 0xa0;
    else if (lead == 0xed)
      high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    n = 4;
    c = lead & 0x07;
    if (lead == 0xf0)
      low = 0x90;
    else if (lead == 0xf4)
      high = 0x8f;
  } else {
    n = 1;
    c = 0;
  }
  size_t i = 1;
  for (; i < n && i < bytes && s[i] >= low && s[i] <= high; i++) {
    c = c << 6 | (s[i] & 0x3f);
    low = 0x80;
    high = 0xbf;
  }
  bool whole = n > 1 && i == n;
  *code_point = whole ? c : EM_UTF8_REPLACEMENT;
  if (valid)
    *valid = whole;
  return i;
}

size_t em_utf8_encode(uint32_t code_point, char out[4]) {
  uint32_t c = code_point;
  if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
    c = EM_UTF8_REPLACEMENT;
  if (c < 0x80) {
    out[0] = (char)c;
    return 1;
  }
  if (c < 0x800) {
    out[0] = (char)(0xc0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3f));
    return 2;
  }
  if (c < 0x10000) {
    out[0] = (char)(0xe0 | c >> 12);
    out[1] = (char)(0x80 | (c >> 6 & 0x3f));
    out[2] = (char)(0x80 | (c & 0x3f));
    return 3;
  }
  out[0] = (char)(0xf0 | c >> 18);
  out[1] = (char)(0x80 | (c >> 12 & 0x3f));
  out[2] = (char)(0x80 | (c >> 6 & 0x3f));
  out[3] = (char)(0x80 | (c & 0x3f));
  return 4;
}

bool em_utf8_valid(const char *text, size_t bytes) {
  for (size_t i = 0; i < bytes;) {
    if ((unsigned char)text[i] < 0x80) {
      i++;
      continue;
    }
    uint32_t c;
    bool valid;
    i += em_utf8_decode(text + i, bytes - i, &c, &valid);
    if (!valid)
      return false;
  }
  return true;
}

size_t em_utf8_incomplete_tail(const char *text, size_t bytes) {
  for (size_t back = 1; back <= 3 && back <= bytes; back++) {
    unsigned char c = (unsigned char)text[bytes - back];
    if ((c & 0xc0) == 0x80)
      continue;
    size_t need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 1;
    if (c > 0xf4 || need <= back)
      return 0;
    /* The bytes so far must be a possible beginning: decoding takes them all as one ill-formed part. */
    uint32_t code_point;
    return em_utf8_decode(text + bytes - back, back, &code_point, NULL) == back ? back : 0;
  }
  return 0;
}
