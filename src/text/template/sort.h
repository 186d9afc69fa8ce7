/* Stable sorting, for the filters and for JSON with sorted keys. */
#pragma once

#include "text/template/value.h"

/* Fills order[0..n) with the numbers of the keys in ascending (or descending) order; equal ones stay in their order. Fails where
 * keys cannot be compared. */
bool em_tpl_sort(em_tpl_run *run, const em_tpl_value *keys, size_t n, bool descending, size_t **order);
