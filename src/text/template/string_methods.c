/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Methods of strings, as Python has them. */
#include <string.h>

#include "base/utf8.h"
#include "text/template/chars.h"
#include "text/template/methods.h"

/* --- Stripping and case ------------------------------------------------------------------------------------------------------------ */

static bool strip_sides(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, unsigned sides, em_tpl_value *out) {
  const em_tpl_string *chars = NULL;
  return em_tpl_arg_string(run, args, 0, "chars", &chars) && em_tpl_strip(run, self.string, chars, sides, out);
}

static bool method_strip(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return strip_sides(run, self, args, 3, out);
}

static bool method_lstrip(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return strip_sides(run, self, args, 1, out);
}

static bool method_rstrip(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return strip_sides(run, self, args, 2, out);
}

static bool method_upper(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return em_tpl_change_case(run, self.string, EM_TPL_CASE_UPPER, out);
}

static bool method_lower(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return em_tpl_change_case(run, self.string, EM_TPL_CASE_LOWER, out);
}

static bool method_swapcase(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return em_tpl_change_case(run, self.string, EM_TPL_CASE_SWAP, out);
}

static bool method_capitalize(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return em_tpl_change_case(run, self.string, EM_TPL_CASE_CAPITALIZE, out);
}

static bool method_title(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return em_tpl_change_case(run, self.string, EM_TPL_CASE_TITLE, out);
}

/* --- Asking ------------------------------------------------------------------------------------------------------------------------- */

static bool ends_with(const em_tpl_string *text, const em_tpl_string *end, bool at_start) {
  return end->bytes <= text->bytes &&
         (end->bytes == 0 || memcmp(text->text + (at_start ? 0 : text->bytes - end->bytes), end->text, end->bytes) == 0);
}

/* startswith and endswith: the argument is a string or a tuple of them. */
static bool has_end(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, bool at_start, em_tpl_value *out) {
  const em_tpl_value *ends = args->n > 0 ? &args->items[0] : NULL;
  bool tuple = ends && ends->kind == EM_TPL_TUPLE, found = false;
  for (size_t i = 0; ends && i < (tuple ? ends->list->n : 1); i++) {
    em_tpl_value end = tuple ? ends->list->items[i] : *ends;
    if (end.kind != EM_TPL_STRING)
      ends = NULL;
    else
      found |= ends_with(self.string, end.string, at_start);
  }
  if (!ends)
    return em_tpl_fail(run, EM_ERR_FORMAT, "a string or a tuple of strings is expected");
  return *out = em_tpl_bool(found), em_tpl_spend(run, tuple ? ends->list->n : 1);
}

static bool method_startswith(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return has_end(run, self, args, true, out);
}

static bool method_endswith(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return has_end(run, self, args, false, out);
}

static bool needed_string(em_tpl_run *run, const em_tpl_args *args, size_t place, const em_tpl_string **out) {
  *out = NULL;
  return em_tpl_arg_string(run, args, place, "", out) &&
         (*out || em_tpl_fail(run, EM_ERR_FORMAT, "a string is expected"));
}

/* The place of the last `part` in text[0..bytes), or NULL. */
static const char *find_last(em_tpl_run *run, const char *text, size_t bytes, const em_tpl_string *part) {
  for (size_t end = bytes; end >= part->bytes; end--) {
    if (memcmp(text + end - part->bytes, part->text, part->bytes) == 0)
      return text + end - part->bytes;
    if (!em_tpl_spend(run, 1) || end == 0)
      return NULL;
  }
  return NULL;
}

static bool find_part(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, bool last, bool must, em_tpl_value *out) {
  const em_tpl_string *part, *text = self.string;
  if (!needed_string(run, args, 0, &part) || !em_tpl_spend(run, text->bytes / 8))
    return false;
  const char *found = part->bytes == 0 ? text->text + (last ? text->bytes : 0)
                      : last           ? find_last(run, text->text, text->bytes, part)
                                       : memmem(text->text, text->bytes, part->text, part->bytes);
  if (run->status != EM_OK)
    return false;
  if (!found && must)
    return em_tpl_fail(run, EM_ERR_FORMAT, "substring not found");
  *out = em_tpl_int(found ? (int64_t)em_tpl_count_chars(text->text, (size_t)(found - text->text)) : -1);
  return true;
}

static bool method_find(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return find_part(run, self, args, false, false, out);
}

static bool method_rfind(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return find_part(run, self, args, true, false, out);
}

static bool method_index(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return find_part(run, self, args, false, true, out);
}

static bool method_count(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_string *part, *text = self.string;
  size_t n;
  if (!needed_string(run, args, 0, &part) || !em_tpl_length(run, self, &n))
    return false;
  if (part->bytes == 0)
    return *out = em_tpl_int((int64_t)n + 1), true;
  int64_t found = 0;
  for (size_t i = 0; i < text->bytes; found++) {
    const char *at = memmem(text->text + i, text->bytes - i, part->text, part->bytes);
    if (!at)
      break;
    i = (size_t)(at - text->text) + part->bytes;
    if (!em_tpl_spend(run, 1))
      return false;
  }
  return *out = em_tpl_int(found), true;
}

typedef bool (*char_test)(uint32_t c);

static bool is_digit(uint32_t c) {
  return c >= '0' && c <= '9';
}

static bool is_alnum(uint32_t c) {
  return is_digit(c) || em_tpl_is_letter(c);
}

static bool is_uncased_or_lower(uint32_t c) {
  return em_tpl_lower(c) == c;
}

static bool is_uncased_or_upper(uint32_t c) {
  return em_tpl_upper(c) == c;
}

/* Whether there are characters and all pass. */
static bool all_chars(em_tpl_run *run, em_tpl_value self, char_test passes, em_tpl_value *out) {
  const em_tpl_string *text = self.string;
  bool all = text->bytes > 0;
  for (size_t i = 0; i < text->bytes && all;) {
    uint32_t c;
    i += em_utf8_decode(text->text + i, text->bytes - i, &c, NULL);
    all = passes(c);
  }
  return *out = em_tpl_bool(all), em_tpl_spend(run, text->bytes / 8);
}

static bool method_isdigit(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return all_chars(run, self, is_digit, out);
}

static bool method_isalpha(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return all_chars(run, self, em_tpl_is_letter, out);
}

static bool method_isalnum(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return all_chars(run, self, is_alnum, out);
}

static bool method_isspace(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return all_chars(run, self, em_tpl_is_space, out);
}

/* Text without any letter that has case is neither. */
static bool has_case(em_tpl_run *run, em_tpl_value self, char_test passes, char_test other, em_tpl_value *out) {
  em_tpl_value caseless;
  if (!all_chars(run, self, passes, out) || !all_chars(run, self, other, &caseless))
    return false;
  out->boolean = out->boolean && !caseless.boolean;
  return true;
}

static bool method_islower(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return has_case(run, self, is_uncased_or_lower, is_uncased_or_upper, out);
}

static bool method_isupper(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return has_case(run, self, is_uncased_or_upper, is_uncased_or_lower, out);
}

/* --- Cutting and joining -------------------------------------------------------------------------------------------------------------- */

static bool add_slice(em_tpl_run *run, em_tpl_list *list, const em_tpl_string *text, size_t start, size_t end) {
  em_tpl_value piece;
  return em_tpl_string_slice(run, text, start, end - start, &piece) && em_tpl_list_add(run, list, piece);
}

static bool split_at(em_tpl_run *run, const em_tpl_string *text, const em_tpl_string *separator, int64_t most,
                     em_tpl_list *list) {
  size_t start = 0;
  for (; most != 0 && start <= text->bytes; most--) {
    const char *found = memmem(text->text + start, text->bytes - start, separator->text, separator->bytes);
    if (!found)
      break;
    size_t place = (size_t)(found - text->text);
    if (!add_slice(run, list, text, start, place))
      return false;
    start = place + separator->bytes;
  }
  return add_slice(run, list, text, start, text->bytes);
}

static bool split_at_end(em_tpl_run *run, const em_tpl_string *text, const em_tpl_string *separator, int64_t most,
                         em_tpl_list *list) {
  size_t end = text->bytes;
  for (; most != 0; most--) {
    const char *found = find_last(run, text->text, end, separator);
    if (!found)
      break;
    size_t place = (size_t)(found - text->text);
    if (!add_slice(run, list, text, place + separator->bytes, end))
      return false;
    end = place;
  }
  return run->status == EM_OK && add_slice(run, list, text, 0, end);
}

static size_t next_space(const em_tpl_string *text, size_t place) {
  while (place < text->bytes) {
    size_t step = em_tpl_char_offset(text->text + place, text->bytes - place, 1);
    if (em_tpl_leading_space(text->text + place, step) > 0)
      break;
    place += step;
  }
  return place;
}

static size_t space_before(const em_tpl_string *text, size_t end) {
  while (end > 0) {
    size_t start = em_tpl_char_before(text->text, end);
    if (em_tpl_leading_space(text->text + start, end - start) > 0)
      break;
    end = start;
  }
  return end;
}

/* Words between blanks. */
static bool split_words(em_tpl_run *run, const em_tpl_string *text, int64_t most, em_tpl_list *list) {
  size_t start = em_tpl_leading_space(text->text, text->bytes);
  for (; start < text->bytes; most--) {
    size_t end = most == 0 ? text->bytes : next_space(text, start);
    if (!add_slice(run, list, text, start, end))
      return false;
    start = end + em_tpl_leading_space(text->text + end, text->bytes - end);
  }
  return true;
}

static bool split_words_at_end(em_tpl_run *run, const em_tpl_string *text, int64_t most, em_tpl_list *list) {
  size_t end = text->bytes - em_tpl_trailing_space(text->text, text->bytes);
  for (; end > 0; most--) {
    size_t start = most == 0 ? 0 : space_before(text, end);
    if (!add_slice(run, list, text, start, end))
      return false;
    end = start - em_tpl_trailing_space(text->text, start);
  }
  return true;
}

static bool split(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, bool from_end, em_tpl_value *out) {
  const em_tpl_string *separator = NULL;
  int64_t most = -1;
  if (!em_tpl_arg_string(run, args, 0, "sep", &separator) || !em_tpl_arg_int(run, args, 1, "maxsplit", &most) ||
      !em_tpl_list_new(run, EM_TPL_LIST, 0, out) || !em_tpl_spend(run, self.string->bytes / 8))
    return false;
  if (separator && separator->bytes == 0)
    return em_tpl_fail(run, EM_ERR_FORMAT, "empty separator");
  if (!from_end)
    return separator ? split_at(run, self.string, separator, most, out->list)
                     : split_words(run, self.string, most, out->list);
  if (!(separator ? split_at_end(run, self.string, separator, most, out->list)
                  : split_words_at_end(run, self.string, most, out->list)))
    return false;
  em_tpl_list *list = out->list;
  for (size_t i = 0; i < list->n / 2; i++) {
    em_tpl_value item = list->items[i];
    list->items[i] = list->items[list->n - 1 - i];
    list->items[list->n - 1 - i] = item;
  }
  return true;
}

static bool method_split(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return split(run, self, args, false, out);
}

static bool method_rsplit(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return split(run, self, args, true, out);
}

static bool method_splitlines(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  bool keep = em_tpl_arg_bool(args, 0, "keepends", false);
  if (!em_tpl_list_new(run, EM_TPL_LIST, 0, out) || !em_tpl_spend(run, self.string->bytes / 8))
    return false;
  for (size_t place = 0, next; place < self.string->bytes; place = next) {
    size_t bytes = em_tpl_line_at(self.string, place, &next);
    if (!add_slice(run, out->list, self.string, place, keep ? next : place + bytes))
      return false;
  }
  return true;
}

static bool partition(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, bool last, em_tpl_value *out) {
  const em_tpl_string *separator, *text = self.string;
  if (!needed_string(run, args, 0, &separator) || !em_tpl_list_new(run, EM_TPL_TUPLE, 3, out))
    return false;
  if (separator->bytes == 0)
    return em_tpl_fail(run, EM_ERR_FORMAT, "empty separator");
  const char *found = last ? find_last(run, text->text, text->bytes, separator)
                           : memmem(text->text, text->bytes, separator->text, separator->bytes);
  if (!em_tpl_spend(run, text->bytes / 8))
    return false;
  size_t start = found ? (size_t)(found - text->text) : last ? 0 : text->bytes;
  size_t end = found ? start + separator->bytes : start;
  return add_slice(run, out->list, text, 0, start) && add_slice(run, out->list, text, start, end) &&
         add_slice(run, out->list, text, end, text->bytes);
}

static bool method_partition(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return partition(run, self, args, false, out);
}

static bool method_rpartition(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return partition(run, self, args, true, out);
}

static bool remove_end(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, bool at_start, em_tpl_value *out) {
  const em_tpl_string *end, *text = self.string;
  if (!needed_string(run, args, 0, &end))
    return false;
  size_t cut = ends_with(text, end, at_start) ? end->bytes : 0;
  return em_tpl_string_slice(run, text, at_start ? cut : 0, text->bytes - cut, out);
}

static bool method_removeprefix(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return remove_end(run, self, args, true, out);
}

static bool method_removesuffix(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return remove_end(run, self, args, false, out);
}

static bool method_replace(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_string *from, *to;
  int64_t count = -1;
  return needed_string(run, args, 0, &from) && needed_string(run, args, 1, &to) &&
         em_tpl_arg_int(run, args, 2, "count", &count) && em_tpl_replace(run, self.string, from, to, count, out);
}

static bool method_join(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  em_tpl_list *items;
  em_tpl_builder *builder = em_tpl_builder_new(run);
  if (!builder || !em_tpl_items(run, args->n > 0 ? args->items[0] : em_tpl_undefined(NULL), &items))
    return false;
  for (size_t i = 0; i < items->n; i++) {
    if (items->items[i].kind != EM_TPL_STRING)
      return em_tpl_fail(run, EM_ERR_FORMAT, "join takes strings, not '%s'", em_tpl_kind_name(items->items[i].kind));
    if (!em_tpl_spend(run, 1) || (i > 0 && !em_tpl_put_string(run, builder, self.string)) ||
        !em_tpl_put_string(run, builder, items->items[i].string))
      return false;
  }
  return em_tpl_built(run, builder, out);
}

/* Fills up to a width: with blanks behind or before, or with zeros behind the sign. */
static bool fill(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, char kind, em_tpl_value *out) {
  int64_t width = 0;
  const em_tpl_string *text = self.string, *with = NULL;
  size_t n;
  em_tpl_builder *builder = em_tpl_builder_new(run);
  if (!builder || !em_tpl_arg_int(run, args, 0, "width", &width) || !em_tpl_length(run, self, &n) ||
      (kind != 'z' && !em_tpl_arg_string(run, args, 1, "fillchar", &with)))
    return false;
  size_t sign = kind == 'z' && text->bytes > 0 && (text->text[0] == '-' || text->text[0] == '+');
  size_t missing = width > 0 && (uint64_t)width > n ? (size_t)width - n : 0;
  /* Where the middle is between two places, Python's center goes by the width's parity. */
  size_t before = kind == 'l' ? 0 : kind == 'c' ? missing / 2 + (missing & (size_t)width & 1) : missing;
  bool fits = em_tpl_put_slice(run, builder, text, 0, sign);
  for (size_t i = 0; i < missing && fits; i++) {
    if (i == before)
      fits = em_tpl_put_slice(run, builder, text, sign, text->bytes - sign);
    fits = fits && (with ? em_tpl_put_string(run, builder, with)
                         : em_tpl_put_text(run, builder, kind == 'z' ? "0" : " "));
    fits = fits && em_tpl_spend(run, 1);
  }
  if (before == missing)
    fits = fits && em_tpl_put_slice(run, builder, text, sign, text->bytes - sign);
  return fits && em_tpl_built(run, builder, out);
}

static bool method_ljust(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return fill(run, self, args, 'l', out);
}

static bool method_rjust(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return fill(run, self, args, 'r', out);
}

static bool method_center(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return fill(run, self, args, 'c', out);
}

static bool method_zfill(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return fill(run, self, args, 'z', out);
}

const em_tpl_builtin em_tpl_string_methods[] = {
    {"strip", method_strip},           {"lstrip", method_lstrip},       {"rstrip", method_rstrip},
    {"upper", method_upper},           {"lower", method_lower},         {"casefold", method_lower},
    {"swapcase", method_swapcase},     {"capitalize", method_capitalize}, {"title", method_title},
    {"startswith", method_startswith}, {"endswith", method_endswith},   {"find", method_find},
    {"rfind", method_rfind},           {"index", method_index},         {"count", method_count},
    {"isdigit", method_isdigit},       {"isdecimal", method_isdigit},   {"isnumeric", method_isdigit},
    {"isalpha", method_isalpha},       {"isalnum", method_isalnum},     {"isspace", method_isspace},
    {"islower", method_islower},       {"isupper", method_isupper},     {"split", method_split},
    {"rsplit", method_rsplit},         {"splitlines", method_splitlines}, {"partition", method_partition},
    {"rpartition", method_rpartition}, {"removeprefix", method_removeprefix}, {"removesuffix", method_removesuffix},
    {"replace", method_replace},       {"join", method_join},           {"format", em_tpl_format_braces},
    {"ljust", method_ljust},           {"rjust", method_rjust},         {"center", method_center},
    {"zfill", method_zfill},           {NULL, NULL},
};
