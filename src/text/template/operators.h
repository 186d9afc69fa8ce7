/* Arithmetic, concatenation and slices, by Python's rules. */
#pragma once

#include "text/template/value.h"

/* op: an operator token: + - * / % ~, EM_TPL_OP_FLOOR, EM_TPL_OP_POW. Whole numbers past 64 bits are EM_ERR_LIMIT. */
bool em_tpl_arithmetic(em_tpl_run *run, uint8_t op, em_tpl_value a, em_tpl_value b, em_tpl_value *out);

typedef struct em_tpl_slice {
  bool has_start, has_stop, has_step;
  int64_t start, stop, step;
} em_tpl_slice;

/* object[start:stop:step] of a string, list or tuple. */
bool em_tpl_get_slice(em_tpl_run *run, em_tpl_value object, const em_tpl_slice *slice, em_tpl_value *out);

/* string % values, and what `format` does. */
bool em_tpl_format_percent(em_tpl_run *run, const em_tpl_string *format, em_tpl_value values, em_tpl_value *out);
