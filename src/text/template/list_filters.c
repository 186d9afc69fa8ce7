/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Filters on lists and everything else that can be gone through. */
#include <string.h>

#include "text/template/call.h"
#include "text/template/lexer.h"
#include "text/template/methods.h"
#include "text/template/operators.h"
#include "text/template/sort.h"

/* --- Keys ----------------------------------------------------------------------------------------------------------------------- */

/* The member of item that `attribute` names: a number, or names and numbers with dots between them. NULL: item itself. */
static bool get_member(em_tpl_run *run, em_tpl_value item, const em_tpl_value *attribute, em_tpl_value *out) {
  *out = item;
  if (!attribute || attribute->kind == EM_TPL_NONE)
    return true;
  if (attribute->kind != EM_TPL_STRING)
    return em_tpl_get_item(run, item, *attribute, out);
  const em_tpl_string *path = attribute->string;
  for (size_t start = 0; start <= path->bytes;) {
    const char *dot = memchr(path->text + start, '.', path->bytes - start);
    size_t bytes = dot ? (size_t)(dot - path->text) - start : path->bytes - start;
    em_tpl_value key;
    int64_t number = 0;
    bool numeric = bytes > 0 && bytes < 10;
    for (size_t i = 0; i < bytes && numeric; i++) {
      numeric = path->text[start + i] >= '0' && path->text[start + i] <= '9';
      number = number * 10 + (path->text[start + i] - '0');
    }
    if (numeric)
      key = em_tpl_int(number);
    else if (!em_tpl_string_slice(run, path, start, bytes, &key))
      return false;
    if (!em_tpl_spend(run, 1) || !em_tpl_get_item(run, *out, key, out))
      return false;
    start += bytes + 1;
  }
  return true;
}

/* What an item is compared by: its member, in lower case unless case counts. */
static bool get_key(em_tpl_run *run, em_tpl_value item, const em_tpl_value *attribute, bool case_sensitive,
                    em_tpl_value *out) {
  if (!get_member(run, item, attribute, out))
    return false;
  return case_sensitive || out->kind != EM_TPL_STRING || em_tpl_change_case(run, out->string, EM_TPL_CASE_LOWER, out);
}

static bool get_keys(em_tpl_run *run, const em_tpl_list *items, const em_tpl_value *attribute, bool case_sensitive,
                     em_tpl_value **out) {
  em_tpl_value *keys = em_tpl_alloc(run, items->n, sizeof *keys);
  for (size_t i = 0; keys && i < items->n; i++)
    if (!em_tpl_spend(run, 1) || !get_key(run, items->items[i], attribute, case_sensitive, &keys[i]))
      return false;
  *out = keys;
  return keys != NULL;
}

/* --- Order ------------------------------------------------------------------------------------------------------------------------ */

static bool sorted(em_tpl_run *run, const em_tpl_list *items, const em_tpl_value *attribute, bool case_sensitive,
                   bool descending, em_tpl_value *out) {
  em_tpl_value *keys;
  size_t *order;
  if (!get_keys(run, items, attribute, case_sensitive, &keys) || !em_tpl_sort(run, keys, items->n, descending, &order) ||
      !em_tpl_list_new(run, EM_TPL_LIST, items->n, out))
    return false;
  for (size_t i = 0; i < items->n; i++)
    if (!em_tpl_list_add(run, out->list, items->items[order[i]]))
      return false;
  return true;
}

static bool filter_sort(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  em_tpl_list *items;
  return em_tpl_items(run, self, &items) &&
         sorted(run, items, em_tpl_arg(args, 2, "attribute"), em_tpl_arg_bool(args, 1, "case_sensitive", false),
                em_tpl_arg_bool(args, 0, "reverse", false), out);
}

static bool filter_dictsort(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_value *by = em_tpl_arg(args, 1, "by");
  em_tpl_value pairs, place = em_tpl_int(by && em_tpl_is_text(*by, "value"));
  if (self.kind != EM_TPL_DICT)
    return em_tpl_fail(run, EM_ERR_FORMAT, "dictsort needs a dict, not '%s'", em_tpl_kind_name(self.kind));
  return em_tpl_find_method(EM_TPL_DICT, "items", strlen("items"))->call(run, self, &(em_tpl_args){0}, &pairs) &&
         sorted(run, pairs.list, &place, em_tpl_arg_bool(args, 0, "case_sensitive", false),
                em_tpl_arg_bool(args, 2, "reverse", false), out);
}

static bool filter_reverse(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  em_tpl_list *items;
  if (self.kind == EM_TPL_STRING)
    return em_tpl_get_slice(run, self, &(em_tpl_slice){.has_step = true, .step = -1}, out);
  if (!em_tpl_items(run, self, &items) || !em_tpl_list_new(run, EM_TPL_LIST, items->n, out))
    return false;
  for (size_t i = items->n; i > 0; i--)
    if (!em_tpl_list_add(run, out->list, items->items[i - 1]))
      return false;
  return true;
}

static bool filter_unique(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  em_tpl_list *items;
  em_tpl_value seen, key, *before;
  bool case_sensitive = em_tpl_arg_bool(args, 0, "case_sensitive", false);
  if (!em_tpl_items(run, self, &items) || !em_tpl_list_new(run, EM_TPL_LIST, 0, out) ||
      !em_tpl_dict_new(run, EM_TPL_DICT, &seen))
    return false;
  for (size_t i = 0; i < items->n; i++) {
    if (!get_key(run, items->items[i], em_tpl_arg(args, 1, "attribute"), case_sensitive, &key) ||
        !em_tpl_dict_find(run, seen.dict, key, &before))
      return false;
    if (!before && (!em_tpl_dict_set(run, seen.dict, key, em_tpl_none()) ||
                    !em_tpl_list_add(run, out->list, items->items[i])))
      return false;
  }
  return true;
}

static bool extreme(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, int sign, em_tpl_value *out) {
  em_tpl_list *items;
  em_tpl_value *keys;
  size_t best = 0;
  if (!em_tpl_items(run, self, &items) ||
      !get_keys(run, items, em_tpl_arg(args, 1, "attribute"), em_tpl_arg_bool(args, 0, "case_sensitive", false), &keys))
    return false;
  for (size_t i = 1; i < items->n; i++) {
    int order;
    if (!em_tpl_compare(run, keys[i], keys[best], &order))
      return false;
    if (order * sign > 0)
      best = i;
  }
  *out = items->n > 0 ? items->items[best] : em_tpl_undefined(NULL);
  return true;
}

static bool filter_min(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return extreme(run, self, args, -1, out);
}

static bool filter_max(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return extreme(run, self, args, 1, out);
}

/* --- Parts -------------------------------------------------------------------------------------------------------------------------- */

static bool filter_list(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  em_tpl_list *items;
  if (!em_tpl_items(run, self, &items) || !em_tpl_list_new(run, EM_TPL_LIST, items->n, out))
    return false;
  for (size_t i = 0; i < items->n; i++)
    if (!em_tpl_list_add(run, out->list, items->items[i]))
      return false;
  return true;
}

static bool filter_first(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  em_tpl_list *items;
  if (self.kind == EM_TPL_STRING)
    return em_tpl_get_item(run, self, em_tpl_int(0), out);
  if (!em_tpl_items(run, self, &items))
    return false;
  *out = items->n > 0 ? items->items[0] : em_tpl_undefined(NULL);
  return true;
}

static bool filter_last(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  em_tpl_list *items;
  if (self.kind == EM_TPL_STRING)
    return em_tpl_get_item(run, self, em_tpl_int(-1), out);
  if (!em_tpl_items(run, self, &items))
    return false;
  *out = items->n > 0 ? items->items[items->n - 1] : em_tpl_undefined(NULL);
  return true;
}

static bool filter_join(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_value *separator = em_tpl_arg(args, 0, "d"), *attribute = em_tpl_arg(args, 1, "attribute");
  em_tpl_list *items;
  em_tpl_builder *builder = em_tpl_builder_new(run);
  if (!builder || !em_tpl_items(run, self, &items))
    return false;
  for (size_t i = 0; i < items->n; i++) {
    em_tpl_value item;
    if (!em_tpl_spend(run, 1) || !get_member(run, items->items[i], attribute, &item) ||
        (i > 0 && separator && !em_tpl_put_value(run, builder, *separator)) || !em_tpl_put_value(run, builder, item))
      return false;
  }
  return em_tpl_built(run, builder, out);
}

static bool filter_sum(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_value *attribute = em_tpl_arg(args, 0, "attribute"), *start = em_tpl_arg(args, 1, "start");
  em_tpl_list *items;
  em_tpl_value item;
  if (!em_tpl_items(run, self, &items))
    return false;
  *out = start ? *start : em_tpl_int(0);
  for (size_t i = 0; i < items->n; i++)
    if (!em_tpl_spend(run, 1) || !get_member(run, items->items[i], attribute, &item) ||
        !em_tpl_arithmetic(run, '+', *out, item, out))
      return false;
  return true;
}

/* --- Choosing and mapping ------------------------------------------------------------------------------------------------------------ */

/* The arguments from `skip` on. */
static em_tpl_args rest_of(const em_tpl_args *args, size_t skip) {
  em_tpl_args rest = *args;
  size_t taken = skip < rest.n ? skip : rest.n;
  rest.items = taken > 0 ? rest.items + taken : rest.items;
  rest.n -= taken;
  return rest;
}

static bool name_argument(em_tpl_run *run, em_tpl_value value, char name[32]) {
  if (value.kind != EM_TPL_STRING || value.string->bytes >= 32)
    return em_tpl_fail(run, EM_ERR_FORMAT, "the name of a filter or test is expected");
  memcpy(name, value.string->text, value.string->bytes);
  name[value.string->bytes] = 0;
  return true;
}

/* The filters that follow take whatever is false, none above all, for something without items. */
static bool items_or_none(em_tpl_run *run, em_tpl_value self, em_tpl_list **out) {
  return em_tpl_items(run, em_tpl_truth(self) ? self : em_tpl_undefined(NULL), out);
}

/* The items whose member (of any: the item itself) passes the test that stands at `place`, or is true where none is named. */
static bool choose(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, bool by_member, bool wanted,
                   em_tpl_value *out) {
  size_t place = by_member;
  em_tpl_list *items;
  const em_tpl_test *test = NULL;
  char name[32];
  if (by_member && args->n == 0)
    return em_tpl_fail(run, EM_ERR_FORMAT, "the name of a member is expected");
  if (args->n > place) {
    if (!name_argument(run, args->items[place], name))
      return false;
    test = em_tpl_find_test(name);
    if (!test)
      return em_tpl_fail(run, EM_ERR_UNSUPPORTED, "the test \"%s\" is not known", name);
  }
  em_tpl_args rest = rest_of(args, place + 1);
  if (!items_or_none(run, self, &items) || !em_tpl_list_new(run, EM_TPL_LIST, 0, out))
    return false;
  for (size_t i = 0; i < items->n; i++) {
    em_tpl_value item;
    if (!em_tpl_spend(run, 1) || !get_member(run, items->items[i], by_member ? &args->items[0] : NULL, &item))
      return false;
    bool holds = em_tpl_truth(item);
    if ((test && !test->test(run, item, &rest, &holds)) ||
        (holds == wanted && !em_tpl_list_add(run, out->list, items->items[i])))
      return false;
  }
  return true;
}

static bool filter_select(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return choose(run, self, args, false, true, out);
}

static bool filter_reject(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return choose(run, self, args, false, false, out);
}

static bool filter_selectattr(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return choose(run, self, args, true, true, out);
}

static bool filter_rejectattr(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return choose(run, self, args, true, false, out);
}

static bool filter_map(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_value *attribute = args->n == 0 ? em_tpl_arg(args, 0, "attribute") : NULL;
  const em_tpl_value *otherwise = em_tpl_arg(&(em_tpl_args){.named = args->named, .n_named = args->n_named}, 0, "default");
  const em_tpl_builtin *filter = NULL;
  em_tpl_list *items;
  char name[32];
  if (!attribute) {
    if (!name_argument(run, args->n > 0 ? args->items[0] : em_tpl_none(), name))
      return false;
    filter = em_tpl_find_filter(name);
    if (!filter)
      return em_tpl_fail(run, EM_ERR_UNSUPPORTED, "the filter \"%s\" is not known", name);
  }
  em_tpl_args rest = rest_of(args, 1);
  if (!items_or_none(run, self, &items) || !em_tpl_list_new(run, EM_TPL_LIST, items->n, out))
    return false;
  /* A filter may be map again: this is the one way in which filters nest. */
  if (!em_tpl_enter(run))
    return false;
  bool fits = true;
  for (size_t i = 0; i < items->n && fits; i++) {
    em_tpl_value item;
    fits = em_tpl_spend(run, 1) && (attribute ? get_member(run, items->items[i], attribute, &item)
                                              : filter->call(run, items->items[i], &rest, &item));
    if (fits && attribute && item.kind == EM_TPL_UNDEFINED && otherwise)
      item = *otherwise;
    fits = fits && em_tpl_list_add(run, out->list, item);
  }
  em_tpl_leave(run);
  return fits;
}

const em_tpl_builtin em_tpl_list_filters[] = {
    {"list", filter_list},       {"first", filter_first},           {"last", filter_last},
    {"join", filter_join},       {"sum", filter_sum},               {"sort", filter_sort},
    {"unique", filter_unique},   {"dictsort", filter_dictsort},     {"reverse", filter_reverse},
    {"min", filter_min},         {"max", filter_max},               {"map", filter_map},
    {"select", filter_select},   {"reject", filter_reject},         {"selectattr", filter_selectattr},
    {"rejectattr", filter_rejectattr}, {NULL, NULL},
};
