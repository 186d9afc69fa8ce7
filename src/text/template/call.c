/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/template/call.h"

#include <string.h>

/* --- Tables ------------------------------------------------------------------------------------------------------------------ */

static const em_tpl_builtin *find_in(const em_tpl_builtin *table, const char *name, size_t bytes) {
  for (; table->name; table++)
    if (strlen(table->name) == bytes && memcmp(table->name, name, bytes) == 0)
      return table;
  return NULL;
}

const em_tpl_builtin *em_tpl_find_filter(const char *name) {
  const em_tpl_builtin *const tables[] = {em_tpl_text_filters, em_tpl_value_filters, em_tpl_list_filters};
  const em_tpl_builtin *found = NULL;
  for (size_t i = 0; i < sizeof tables / sizeof tables[0] && !found; i++)
    found = find_in(tables[i], name, strlen(name));
  return found;
}

const em_tpl_builtin *em_tpl_find_method(em_tpl_kind kind, const char *name, size_t bytes) {
  switch (kind) {
  case EM_TPL_STRING:
    return find_in(em_tpl_string_methods, name, bytes);
  case EM_TPL_LIST:
    return find_in(em_tpl_list_methods, name, bytes);
  case EM_TPL_DICT:
    return find_in(em_tpl_dict_methods, name, bytes);
  case EM_TPL_LOOP:
    return find_in(em_tpl_loop_methods, name, bytes);
  default:
    return NULL;
  }
}

const em_tpl_builtin *em_tpl_find_global(const char *name) {
  return find_in(em_tpl_globals, name, strlen(name));
}

/* --- Arguments --------------------------------------------------------------------------------------------------------------- */

const em_tpl_value *em_tpl_arg(const em_tpl_args *args, size_t place, const char *name) {
  if (place < args->n)
    return &args->items[place];
  for (size_t i = 0; i < args->n_named; i++)
    if (strcmp(args->named[i].name, name) == 0)
      return &args->named[i].value;
  return NULL;
}

bool em_tpl_arg_int(em_tpl_run *run, const em_tpl_args *args, size_t place, const char *name, int64_t *value) {
  const em_tpl_value *given = em_tpl_arg(args, place, name);
  if (!given || given->kind == EM_TPL_NONE)
    return true;
  if (given->kind != EM_TPL_INT && given->kind != EM_TPL_BOOL)
    return em_tpl_fail(run, EM_ERR_FORMAT, "the argument \"%s\" must be a whole number, not '%s'", name,
                       em_tpl_kind_name(given->kind));
  *value = given->kind == EM_TPL_INT ? given->integer : given->boolean;
  return true;
}

bool em_tpl_arg_string(em_tpl_run *run, const em_tpl_args *args, size_t place, const char *name,
                       const em_tpl_string **value) {
  const em_tpl_value *given = em_tpl_arg(args, place, name);
  if (!given || given->kind == EM_TPL_NONE)
    return true;
  if (given->kind != EM_TPL_STRING)
    return em_tpl_fail(run, EM_ERR_FORMAT, "the argument \"%s\" must be a string, not '%s'", name,
                       em_tpl_kind_name(given->kind));
  *value = given->string;
  return true;
}

bool em_tpl_arg_bool(const em_tpl_args *args, size_t place, const char *name, bool otherwise) {
  const em_tpl_value *given = em_tpl_arg(args, place, name);
  return given ? em_tpl_truth(*given) : otherwise;
}
