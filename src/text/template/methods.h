/* Text operations that filters and methods share. self is always a string. */
#pragma once

#include "text/template/call.h"

/* Takes characters off both ends (sides: 1 start, 2 end, 3 both): blanks, or those of chars (NULL: blanks). */
bool em_tpl_strip(em_tpl_run *run, const em_tpl_string *string, const em_tpl_string *chars, unsigned sides,
                  em_tpl_value *out);

typedef enum em_tpl_case {
  EM_TPL_CASE_UPPER,
  EM_TPL_CASE_LOWER,
  EM_TPL_CASE_SWAP,
  EM_TPL_CASE_CAPITALIZE,
  EM_TPL_CASE_TITLE,      /* the method: a letter behind anything without case is upper case */
  EM_TPL_CASE_TITLE_WORDS /* the filter: a letter behind a blank, a hyphen or an opening bracket */
} em_tpl_case;
bool em_tpl_change_case(em_tpl_run *run, const em_tpl_string *string, em_tpl_case to, em_tpl_value *out);

/* The first `count` (negative: all) of `from` become `to`. */
bool em_tpl_replace(em_tpl_run *run, const em_tpl_string *string, const em_tpl_string *from, const em_tpl_string *to,
                    int64_t count, em_tpl_value *out);

/* The line that begins at place: its bytes without and *next with its line break. */
size_t em_tpl_line_at(const em_tpl_string *string, size_t place, size_t *next);

/* "{}".format(...) */
bool em_tpl_format_braces(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out);
