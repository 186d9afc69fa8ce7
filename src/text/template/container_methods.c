/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Methods of lists, dicts and loops. What they change is the render's own copy. */
#include <string.h>

#include "text/template/eval.h"

static const em_tpl_value *needed(em_tpl_run *run, const em_tpl_args *args, size_t place) {
  if (place < args->n)
    return &args->items[place];
  em_tpl_fail(run, EM_ERR_FORMAT, "an argument is missing");
  return NULL;
}

/* --- Lists ---------------------------------------------------------------------------------------------------------------------- */

static bool list_append(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_value *item = needed(run, args, 0);
  *out = em_tpl_none();
  return item && em_tpl_list_add(run, self.list, *item);
}

static bool list_extend(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_value *more = needed(run, args, 0);
  em_tpl_list *items;
  *out = em_tpl_none();
  if (!more || !em_tpl_items(run, *more, &items))
    return false;
  for (size_t i = 0, n = items->n; i < n; i++)
    if (!em_tpl_list_add(run, self.list, items->items[i]))
      return false;
  return true;
}

/* A place counted from either end; *inside: whether it is one of the list's. */
static bool list_place(em_tpl_run *run, const em_tpl_args *args, const em_tpl_list *list, int64_t *place, bool *inside) {
  if (!em_tpl_arg_int(run, args, 0, "index", place))
    return false;
  if (*place < 0)
    *place += (int64_t)list->n;
  *inside = *place >= 0 && (uint64_t)*place < list->n;
  return true;
}

static bool list_insert(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_value *item = needed(run, args, 1);
  int64_t place = 0;
  bool inside;
  *out = em_tpl_none();
  if (!item || !list_place(run, args, self.list, &place, &inside))
    return false;
  return em_tpl_list_insert(run, self.list, inside ? (size_t)place : place < 0 ? 0 : self.list->n, *item);
}

static bool list_pop(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  int64_t place = -1;
  bool inside;
  if (!list_place(run, args, self.list, &place, &inside))
    return false;
  if (!inside)
    return em_tpl_fail(run, EM_ERR_FORMAT, "pop index out of range");
  *out = self.list->items[place];
  em_tpl_list_remove(self.list, (size_t)place);
  return em_tpl_spend(run, 1 + self.list->n / 8);
}

/* The place of the first item equal to the argument, or n. */
static bool find_item(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, size_t *place) {
  const em_tpl_value *item = needed(run, args, 0);
  bool equal = false;
  if (!item)
    return false;
  for (*place = 0; *place < self.list->n; ++*place) {
    if (!em_tpl_spend(run, 1) || !em_tpl_equal(run, self.list->items[*place], *item, &equal))
      return false;
    if (equal)
      break;
  }
  return true;
}

static bool list_index(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  size_t place;
  if (!find_item(run, self, args, &place))
    return false;
  if (place == self.list->n)
    return em_tpl_fail(run, EM_ERR_FORMAT, "the value is not in the list");
  return *out = em_tpl_int((int64_t)place), true;
}

static bool list_remove(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  if (!list_index(run, self, args, out))
    return false;
  em_tpl_list_remove(self.list, (size_t)out->integer);
  *out = em_tpl_none();
  return em_tpl_spend(run, 1 + self.list->n / 8);
}

static bool list_count(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_value *item = needed(run, args, 0);
  int64_t n = 0;
  for (size_t i = 0; item && i < self.list->n; i++) {
    bool equal;
    if (!em_tpl_spend(run, 1) || !em_tpl_equal(run, self.list->items[i], *item, &equal))
      return false;
    n += equal;
  }
  return *out = em_tpl_int(n), item != NULL;
}

static bool list_reverse(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  em_tpl_list *list = self.list;
  for (size_t i = 0; i < list->n / 2; i++) {
    em_tpl_value item = list->items[i];
    list->items[i] = list->items[list->n - 1 - i];
    list->items[list->n - 1 - i] = item;
  }
  return *out = em_tpl_none(), em_tpl_spend(run, 1 + list->n / 8);
}

static bool list_copy(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return em_tpl_list_new(run, EM_TPL_LIST, self.list->n, out) &&
         list_extend(run, *out, &(em_tpl_args){.items = &self, .n = 1}, &(em_tpl_value){0});
}

static bool list_clear(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  self.list->n = 0;
  return *out = em_tpl_none(), true;
}

const em_tpl_builtin em_tpl_list_methods[] = {
    {"append", list_append}, {"extend", list_extend}, {"insert", list_insert},   {"pop", list_pop},
    {"index", list_index},   {"remove", list_remove}, {"count", list_count},     {"reverse", list_reverse},
    {"copy", list_copy},     {"clear", list_clear},   {NULL, NULL},
};

/* --- Dicts ---------------------------------------------------------------------------------------------------------------------- */

/* The value of the first argument as a key, else the second argument. *found: whether the key is there. */
static bool get_or(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out, bool *found) {
  const em_tpl_value *key = needed(run, args, 0), *otherwise = em_tpl_arg(args, 1, "default");
  em_tpl_value *value;
  if (!key || !em_tpl_dict_find(run, self.dict, *key, &value))
    return false;
  *found = value != NULL;
  *out = value ? *value : otherwise ? *otherwise : em_tpl_none();
  return true;
}

static bool dict_get(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  bool found;
  return get_or(run, self, args, out, &found);
}

static bool dict_setdefault(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  bool found;
  return get_or(run, self, args, out, &found) && (found || em_tpl_dict_set(run, self.dict, args->items[0], *out));
}

static bool dict_pop(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  bool found;
  if (!get_or(run, self, args, out, &found))
    return false;
  if (found)
    return em_tpl_dict_remove(run, self.dict, args->items[0], &found);
  return args->n > 1 || em_tpl_fail(run, EM_ERR_FORMAT, "pop: no such key");
}

/* which: 'k' keys, 'v' values, 'i' pairs. */
static bool dict_list(em_tpl_run *run, em_tpl_value self, char which, em_tpl_value *out) {
  const em_tpl_dict *dict = self.dict;
  if (!em_tpl_list_new(run, EM_TPL_LIST, dict->n, out))
    return false;
  for (size_t i = 0; i < dict->n; i++) {
    em_tpl_value item = which == 'k' ? dict->entries[i].key : dict->entries[i].value;
    if (which == 'i' && (!em_tpl_list_new(run, EM_TPL_TUPLE, 2, &item) ||
                         !em_tpl_list_add(run, item.list, dict->entries[i].key) ||
                         !em_tpl_list_add(run, item.list, dict->entries[i].value)))
      return false;
    if (!em_tpl_list_add(run, out->list, item))
      return false;
  }
  return true;
}

static bool dict_keys(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return dict_list(run, self, 'k', out);
}

static bool dict_values(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return dict_list(run, self, 'v', out);
}

static bool dict_items(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return dict_list(run, self, 'i', out);
}

static bool set_all(em_tpl_run *run, em_tpl_dict *dict, const em_tpl_dict *from) {
  for (size_t i = 0, n = from->n; i < n; i++)
    if (!em_tpl_dict_set(run, dict, from->entries[i].key, from->entries[i].value))
      return false;
  return true;
}

static bool dict_update(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  *out = em_tpl_none();
  if (args->n > 0 && args->items[0].kind != EM_TPL_DICT)
    return em_tpl_fail(run, EM_ERR_FORMAT, "update takes a dict, not '%s'", em_tpl_kind_name(args->items[0].kind));
  if (args->n > 0 && !set_all(run, self.dict, args->items[0].dict))
    return false;
  for (size_t i = 0; i < args->n_named; i++) {
    em_tpl_value key;
    if (!em_tpl_string_view(run, args->named[i].name, strlen(args->named[i].name), true, &key) ||
        !em_tpl_dict_set(run, self.dict, key, args->named[i].value))
      return false;
  }
  return true;
}

static bool dict_copy(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return em_tpl_dict_new(run, EM_TPL_DICT, out) && set_all(run, out->dict, self.dict);
}

const em_tpl_builtin em_tpl_dict_methods[] = {
    {"get", dict_get},       {"keys", dict_keys}, {"values", dict_values},         {"items", dict_items},
    {"update", dict_update}, {"pop", dict_pop},   {"setdefault", dict_setdefault}, {"copy", dict_copy},
    {NULL, NULL},
};

/* --- Loops ---------------------------------------------------------------------------------------------------------------------- */

static bool loop_cycle(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  if (!needed(run, args, 0))
    return false;
  return *out = args->items[self.loop->index % args->n], true;
}

static bool loop_changed(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  em_tpl_value now;
  bool same = false;
  if (!em_tpl_list_new(run, EM_TPL_LIST, args->n, &now))
    return false;
  for (size_t i = 0; i < args->n; i++)
    if (!em_tpl_list_add(run, now.list, args->items[i]))
      return false;
  if (self.loop->has_seen && !em_tpl_equal(run, self.loop->seen, now, &same))
    return false;
  self.loop->seen = now;
  self.loop->has_seen = true;
  return *out = em_tpl_bool(!same), true;
}

const em_tpl_builtin em_tpl_loop_methods[] = {
    {"cycle", loop_cycle},
    {"changed", loop_changed},
    {NULL, NULL},
};
