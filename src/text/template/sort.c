/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/template/sort.h"

#include <string.h>

/* Merges the neighbouring sorted runs [start, middle) and [middle, end) of from into to. */
static bool merge(em_tpl_run *run, const em_tpl_value *keys, bool descending, const size_t *from, size_t *to,
                  size_t start, size_t middle, size_t end) {
  size_t a = start, b = middle;
  for (size_t i = start; i < end; i++) {
    int order = a >= middle ? 1 : -1;
    if (a < middle && b < end) {
      if (!em_tpl_spend(run, 1) || !em_tpl_compare(run, keys[from[a]], keys[from[b]], &order))
        return false;
      if (descending)
        order = -order;
    }
    to[i] = order <= 0 ? from[a++] : from[b++];
  }
  return true;
}

bool em_tpl_sort(em_tpl_run *run, const em_tpl_value *keys, size_t n, bool descending, size_t **order) {
  size_t *from = em_tpl_alloc(run, n, sizeof *from), *to = em_tpl_alloc(run, n, sizeof *to);
  if (!from || !to)
    return false;
  for (size_t i = 0; i < n; i++)
    from[i] = i;
  for (size_t width = 1; width < n; width *= 2) {
    for (size_t start = 0; start < n; start += 2 * width) {
      size_t middle = n - start < width ? n : start + width;
      size_t end = n - middle < width ? n : middle + width;
      if (!merge(run, keys, descending, from, to, start, middle, end))
        return false;
    }
    size_t *other = from;
    from = to;
    to = other;
  }
  *order = from;
  return true;
}
