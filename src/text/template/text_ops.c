/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Text operations that filters and methods share. */
#include <string.h>

#include "base/utf8.h"
#include "text/template/chars.h"
#include "text/template/methods.h"

/* --- Stripping --------------------------------------------------------------------------------------------------------------- */

static bool is_stripped(const char *text, size_t bytes, const em_tpl_string *chars) {
  uint32_t c;
  em_utf8_decode(text, bytes, &c, NULL);
  return chars ? memmem(chars->text, chars->bytes, text, bytes) != NULL : em_tpl_is_space(c);
}

bool em_tpl_strip(em_tpl_run *run, const em_tpl_string *string, const em_tpl_string *chars, unsigned sides,
                  em_tpl_value *out) {
  size_t start = 0, end = string->bytes, per_char = 1 + (chars ? chars->bytes / 16 : 0);
  bool more = sides & 1;
  while (more && start < end) {
    size_t bytes = em_tpl_char_offset(string->text + start, end - start, 1);
    more = is_stripped(string->text + start, bytes, chars) && em_tpl_spend(run, per_char);
    start += more ? bytes : 0;
  }
  more = sides & 2;
  while (more && end > start) {
    size_t before = em_tpl_char_before(string->text, end);
    more = is_stripped(string->text + before, end - before, chars) && em_tpl_spend(run, per_char);
    end = more ? before : end;
  }
  return run->status == EM_OK && em_tpl_string_slice(run, string, start, end - start, out);
}

/* --- Case -------------------------------------------------------------------------------------------------------------------- */

static bool begins_word(uint32_t before, em_tpl_case to) {
  if (to == EM_TPL_CASE_TITLE)
    return em_tpl_upper(before) == before && em_tpl_lower(before) == before;
  return em_tpl_is_space(before) || before == '-' || before == '(' || before == '{' || before == '[' || before == '<';
}

static uint32_t map_case(uint32_t c, uint32_t before, bool first, em_tpl_case to) {
  switch (to) {
  case EM_TPL_CASE_UPPER:
    return em_tpl_upper(c);
  case EM_TPL_CASE_LOWER:
    return em_tpl_lower(c);
  case EM_TPL_CASE_SWAP:
    return em_tpl_upper(c) != c ? em_tpl_upper(c) : em_tpl_lower(c);
  case EM_TPL_CASE_CAPITALIZE:
    return first ? em_tpl_upper(c) : em_tpl_lower(c);
  default:
    return first || begins_word(before, to) ? em_tpl_upper(c) : em_tpl_lower(c);
  }
}

bool em_tpl_change_case(em_tpl_run *run, const em_tpl_string *string, em_tpl_case to, em_tpl_value *out) {
  em_tpl_builder *builder = em_tpl_builder_new(run);
  bool fits = builder != NULL;
  uint32_t before = 0;
  for (size_t i = 0, step; i < string->bytes && fits; i += step) {
    uint32_t c;
    bool valid;
    char mapped[4];
    step = em_utf8_decode(string->text + i, string->bytes - i, &c, &valid);
    if (valid) {
      size_t n = em_utf8_encode(map_case(c, before, i == 0, to), mapped);
      /* The one letter of these scripts that becomes two. */
      if (c == 0xDF && to == EM_TPL_CASE_UPPER)
        fits = em_tpl_put(run, builder, "SS", 2, em_tpl_origin_at(string, i));
      else
        fits = em_tpl_put(run, builder, mapped, n, em_tpl_origin_at(string, i));
    } else {
      fits = em_tpl_put_slice(run, builder, string, i, step);
    }
    before = c;
  }
  return fits && em_tpl_built(run, builder, out);
}

/* --- Replacing and lines ----------------------------------------------------------------------------------------------------- */

bool em_tpl_replace(em_tpl_run *run, const em_tpl_string *string, const em_tpl_string *from, const em_tpl_string *to,
                    int64_t count, em_tpl_value *out) {
  em_tpl_builder *builder = em_tpl_builder_new(run);
  bool fits = builder && em_tpl_spend(run, string->bytes / 16);
  size_t done = 0;
  for (size_t at = 0; fits && count != 0 && at <= string->bytes; count--) {
    const char *found = from->bytes == 0 ? string->text + at
                                         : memmem(string->text + at, string->bytes - at, from->text, from->bytes);
    if (!found)
      break;
    size_t place = (size_t)(found - string->text);
    fits = em_tpl_spend(run, 1) && em_tpl_put_slice(run, builder, string, done, place - done) &&
           em_tpl_put_string(run, builder, to);
    done = place + from->bytes;
    at = done;
    /* Nothing is found between all characters. */
    if (from->bytes == 0)
      at += at < string->bytes ? em_tpl_char_offset(string->text + at, string->bytes - at, 1) : 1;
  }
  return fits && em_tpl_put_slice(run, builder, string, done, string->bytes - done) && em_tpl_built(run, builder, out);
}

size_t em_tpl_line_at(const em_tpl_string *string, size_t place, size_t *next) {
  const char *text = string->text;
  for (size_t i = place; i < string->bytes;) {
    uint32_t c;
    size_t step = em_utf8_decode(text + i, string->bytes - i, &c, NULL);
    if ((c >= '\n' && c <= '\r') || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029) {
      *next = i + step + (c == '\r' && i + 1 < string->bytes && text[i + 1] == '\n');
      return i - place;
    }
    i += step;
  }
  *next = string->bytes;
  return string->bytes - place;
}
