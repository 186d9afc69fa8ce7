/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What can be asked of values: truth, equality, order, length, members. */
#include <string.h>

#include "text/template/chars.h"
#include "text/template/eval.h"

const char *em_tpl_kind_name(em_tpl_kind kind) {
  static const char *const names[] = {"undefined", "NoneType",  "bool",     "int",   "float",  "str",        "list",
                                      "tuple",     "dict",      "namespace", "function", "macro", "loop"};
  return names[kind];
}

bool em_tpl_is_text(em_tpl_value value, const char *text) {
  return value.kind == EM_TPL_STRING && value.string->bytes == strlen(text) &&
         memcmp(value.string->text, text, value.string->bytes) == 0;
}

bool em_tpl_truth(em_tpl_value value) {
  switch (value.kind) {
  case EM_TPL_UNDEFINED:
  case EM_TPL_NONE:
    return false;
  case EM_TPL_BOOL:
    return value.boolean;
  case EM_TPL_INT:
    return value.integer != 0;
  case EM_TPL_REAL:
    return value.real != 0;
  case EM_TPL_STRING:
    return value.string->bytes > 0;
  case EM_TPL_LIST:
  case EM_TPL_TUPLE:
    return value.list->n > 0;
  case EM_TPL_DICT:
    return value.dict->n > 0;
  default:
    return true;
  }
}

bool em_tpl_is_number(em_tpl_value value) {
  return value.kind == EM_TPL_BOOL || value.kind == EM_TPL_INT || value.kind == EM_TPL_REAL;
}

double em_tpl_number(em_tpl_value value) {
  return value.kind == EM_TPL_REAL ? value.real : value.kind == EM_TPL_INT ? (double)value.integer : value.boolean;
}

static int64_t whole(em_tpl_value value) {
  return value.kind == EM_TPL_INT ? value.integer : value.boolean;
}

static int compare_numbers(em_tpl_value a, em_tpl_value b) {
  if (a.kind != EM_TPL_REAL && b.kind != EM_TPL_REAL)
    return (whole(a) > whole(b)) - (whole(a) < whole(b));
  return (em_tpl_number(a) > em_tpl_number(b)) - (em_tpl_number(a) < em_tpl_number(b));
}

static bool equal_numbers(em_tpl_value a, em_tpl_value b) {
  if (a.kind != EM_TPL_REAL && b.kind != EM_TPL_REAL)
    return whole(a) == whole(b);
  return em_tpl_number(a) == em_tpl_number(b);
}

static bool equal_lists(em_tpl_run *run, const em_tpl_list *a, const em_tpl_list *b, bool *out) {
  *out = a->n == b->n;
  for (size_t i = 0; i < a->n && *out && i < b->n; i++)
    if (!em_tpl_equal(run, a->items[i], b->items[i], out))
      return false;
  return true;
}

static bool equal_dicts(em_tpl_run *run, const em_tpl_dict *a, const em_tpl_dict *b, bool *out) {
  *out = a->n == b->n;
  for (size_t i = 0; i < a->n && *out; i++) {
    em_tpl_value *other;
    if (!em_tpl_dict_find(run, b, a->entries[i].key, &other))
      return false;
    *out = other != NULL;
    if (other && !em_tpl_equal(run, a->entries[i].value, *other, out))
      return false;
  }
  return true;
}

bool em_tpl_equal(em_tpl_run *run, em_tpl_value a, em_tpl_value b, bool *out) {
  if (em_tpl_is_number(a) && em_tpl_is_number(b))
    return *out = equal_numbers(a, b), true;
  *out = false;
  if (a.kind != b.kind)
    return true;
  switch (a.kind) {
  case EM_TPL_STRING:
    *out = a.string->bytes == b.string->bytes;
    if (*out && a.string->bytes > 0) {
      *out = memcmp(a.string->text, b.string->text, a.string->bytes) == 0;
      return em_tpl_spend(run, a.string->bytes / 16);
    }
    return true;
  case EM_TPL_LIST:
  case EM_TPL_TUPLE:
  case EM_TPL_DICT: {
    if (!em_tpl_spend(run, 1) || !em_tpl_enter(run))
      return false;
    bool fits = a.kind == EM_TPL_DICT ? equal_dicts(run, a.dict, b.dict, out) : equal_lists(run, a.list, b.list, out);
    em_tpl_leave(run);
    return fits;
  }
  case EM_TPL_NAMESPACE:
    *out = a.dict == b.dict;
    return true;
  case EM_TPL_FUNCTION:
    *out = a.function == b.function;
    return true;
  case EM_TPL_MACRO:
    *out = a.macro == b.macro;
    return true;
  case EM_TPL_LOOP:
    *out = a.loop == b.loop;
    return true;
  default: /* undefined, none */
    *out = true;
    return true;
  }
}

static bool compare_strings(em_tpl_run *run, const em_tpl_string *a, const em_tpl_string *b, int *out) {
  size_t common = a->bytes < b->bytes ? a->bytes : b->bytes;
  /* The order of UTF-8's bytes is that of the characters. */
  int order = common > 0 ? memcmp(a->text, b->text, common) : 0;
  *out = order != 0 ? order : (a->bytes > b->bytes) - (a->bytes < b->bytes);
  return em_tpl_spend(run, common / 16);
}

bool em_tpl_compare(em_tpl_run *run, em_tpl_value a, em_tpl_value b, int *out) {
  if (em_tpl_is_number(a) && em_tpl_is_number(b))
    return *out = compare_numbers(a, b), true;
  if (a.kind == EM_TPL_STRING && b.kind == EM_TPL_STRING)
    return compare_strings(run, a.string, b.string, out);
  *out = 0;
  if (a.kind == EM_TPL_NONE && b.kind == EM_TPL_NONE)
    return true;
  if (a.kind != b.kind || (a.kind != EM_TPL_LIST && a.kind != EM_TPL_TUPLE))
    return em_tpl_fail(run, EM_ERR_FORMAT, "'%s' and '%s' cannot be compared", em_tpl_kind_name(a.kind),
                       em_tpl_kind_name(b.kind));
  if (!em_tpl_enter(run))
    return false;
  bool fits = true;
  for (size_t i = 0; fits && *out == 0 && i < a.list->n && i < b.list->n; i++)
    fits = em_tpl_spend(run, 1) && em_tpl_compare(run, a.list->items[i], b.list->items[i], out);
  if (fits && *out == 0)
    *out = (a.list->n > b.list->n) - (a.list->n < b.list->n);
  em_tpl_leave(run);
  return fits;
}

bool em_tpl_contains(em_tpl_run *run, em_tpl_value container, em_tpl_value item, bool *out) {
  *out = false;
  switch (container.kind) {
  case EM_TPL_UNDEFINED:
    return true;
  case EM_TPL_STRING:
    if (item.kind == EM_TPL_UNDEFINED)
      return true;
    if (item.kind != EM_TPL_STRING)
      return em_tpl_fail(run, EM_ERR_FORMAT, "'in' asks a string for '%s'", em_tpl_kind_name(item.kind));
    *out = item.string->bytes == 0 || memmem(container.string->text, container.string->bytes, item.string->text,
                                             item.string->bytes) != NULL;
    return em_tpl_spend(run, container.string->bytes / 16);
  case EM_TPL_LIST:
  case EM_TPL_TUPLE:
    for (size_t i = 0; i < container.list->n && !*out; i++)
      if (!em_tpl_spend(run, 1) || !em_tpl_equal(run, container.list->items[i], item, out))
        return false;
    return true;
  case EM_TPL_DICT:
  case EM_TPL_NAMESPACE: {
    em_tpl_value *value;
    if (!em_tpl_dict_find(run, container.dict, item, &value))
      return false;
    *out = value != NULL;
    return true;
  }
  default:
    return em_tpl_fail(run, EM_ERR_FORMAT, "'in' cannot ask '%s'", em_tpl_kind_name(container.kind));
  }
}

bool em_tpl_length(em_tpl_run *run, em_tpl_value value, size_t *out) {
  switch (value.kind) {
  case EM_TPL_UNDEFINED:
    *out = 0;
    return true;
  case EM_TPL_STRING:
    *out = em_tpl_count_chars(value.string->text, value.string->bytes);
    return em_tpl_spend(run, value.string->bytes / 16);
  case EM_TPL_LIST:
  case EM_TPL_TUPLE:
    *out = value.list->n;
    return true;
  case EM_TPL_DICT:
    *out = value.dict->n;
    return true;
  default:
    return em_tpl_fail(run, EM_ERR_FORMAT, "'%s' has no length", em_tpl_kind_name(value.kind));
  }
}

bool em_tpl_items(em_tpl_run *run, em_tpl_value value, em_tpl_list **out) {
  em_tpl_value list;
  if (value.kind == EM_TPL_LIST || value.kind == EM_TPL_TUPLE)
    return *out = value.list, true;
  if (value.kind != EM_TPL_UNDEFINED && value.kind != EM_TPL_STRING && value.kind != EM_TPL_DICT)
    return em_tpl_fail(run, EM_ERR_FORMAT, "'%s' cannot be gone through", em_tpl_kind_name(value.kind));
  if (!em_tpl_list_new(run, EM_TPL_LIST, value.kind == EM_TPL_DICT ? value.dict->n : 0, &list))
    return false;
  *out = list.list;
  if (value.kind == EM_TPL_DICT)
    for (size_t i = 0; i < value.dict->n; i++)
      if (!em_tpl_list_add(run, *out, value.dict->entries[i].key))
        return false;
  if (value.kind == EM_TPL_STRING)
    for (size_t place = 0, bytes; place < value.string->bytes; place += bytes) {
      em_tpl_value item;
      bytes = em_tpl_char_offset(value.string->text + place, value.string->bytes - place, 1);
      if (!em_tpl_string_slice(run, value.string, place, bytes, &item) || !em_tpl_list_add(run, *out, item))
        return false;
    }
  return true;
}

/* --- Members -------------------------------------------------------------------------------------------------------------- */

static bool bind_method(em_tpl_run *run, em_tpl_value object, const em_tpl_builtin *builtin, em_tpl_value *out) {
  em_tpl_function *function = em_tpl_alloc(run, 1, sizeof *function);
  if (!function)
    return false;
  *function = (em_tpl_function){.builtin = builtin, .self = object};
  *out = (em_tpl_value){.kind = EM_TPL_FUNCTION, .function = function};
  return true;
}

static em_tpl_value loop_member(const em_tpl_loop *loop, em_tpl_value name) {
  size_t n = loop->items->n;
  /* A body that takes items from its own list can leave fewer than were begun with. */
  size_t rest = n > loop->index ? n - loop->index : 1;
  if (em_tpl_is_text(name, "index"))
    return em_tpl_int((int64_t)loop->index + 1);
  if (em_tpl_is_text(name, "index0"))
    return em_tpl_int((int64_t)loop->index);
  if (em_tpl_is_text(name, "revindex"))
    return em_tpl_int((int64_t)rest);
  if (em_tpl_is_text(name, "revindex0"))
    return em_tpl_int((int64_t)rest - 1);
  if (em_tpl_is_text(name, "first"))
    return em_tpl_bool(loop->index == 0);
  if (em_tpl_is_text(name, "last"))
    return em_tpl_bool(rest == 1);
  if (em_tpl_is_text(name, "length"))
    return em_tpl_int((int64_t)n);
  /* Only recursive loops, which are not known here, have other depths. */
  if (em_tpl_is_text(name, "depth") || em_tpl_is_text(name, "depth0"))
    return em_tpl_int(name.string->bytes == strlen("depth"));
  if (em_tpl_is_text(name, "previtem") && loop->index > 0 && loop->index <= n)
    return loop->items->items[loop->index - 1];
  if (em_tpl_is_text(name, "nextitem") && loop->index + 1 < n)
    return loop->items->items[loop->index + 1];
  return em_tpl_undefined(NULL);
}

static bool fail_undefined(em_tpl_run *run, em_tpl_value object) {
  if (object.name)
    return em_tpl_fail(run, EM_ERR_FORMAT, "'%s' is undefined", object.name);
  return em_tpl_fail(run, EM_ERR_FORMAT, "a member of something undefined is asked for");
}

bool em_tpl_get_attribute(em_tpl_run *run, em_tpl_value object, em_tpl_value name, em_tpl_value *out) {
  if (object.kind == EM_TPL_UNDEFINED)
    return fail_undefined(run, object);
  const em_tpl_builtin *method = em_tpl_find_method(object.kind, name.string->text, name.string->bytes);
  if (method)
    return bind_method(run, object, method, out);
  *out = em_tpl_undefined(NULL);
  if (object.kind == EM_TPL_LOOP) {
    *out = loop_member(object.loop, name);
  } else if (object.kind == EM_TPL_DICT || object.kind == EM_TPL_NAMESPACE) {
    em_tpl_value *value;
    if (!em_tpl_dict_find(run, object.dict, name, &value))
      return false;
    if (value)
      *out = *value;
  }
  return true;
}

bool em_tpl_get_item(em_tpl_run *run, em_tpl_value object, em_tpl_value key, em_tpl_value *out) {
  *out = em_tpl_undefined(NULL);
  if (object.kind == EM_TPL_UNDEFINED)
    return fail_undefined(run, object);
  if (object.kind == EM_TPL_DICT) {
    em_tpl_value *value;
    if (key.kind == EM_TPL_LIST || key.kind == EM_TPL_DICT)
      return true;
    if (!em_tpl_dict_find(run, object.dict, key, &value))
      return false;
    if (value)
      return *out = *value, true;
  }
  if (key.kind == EM_TPL_STRING)
    return em_tpl_get_attribute(run, object, key, out);
  if (key.kind != EM_TPL_INT && key.kind != EM_TPL_BOOL)
    return true;
  int64_t place = whole(key);
  if (object.kind == EM_TPL_LIST || object.kind == EM_TPL_TUPLE) {
    if (place < 0)
      place += (int64_t)object.list->n;
    if (place >= 0 && (uint64_t)place < object.list->n)
      *out = object.list->items[place];
  } else if (object.kind == EM_TPL_STRING) {
    size_t n;
    if (!em_tpl_length(run, object, &n))
      return false;
    if (place < 0)
      place += (int64_t)n;
    if (place < 0 || (uint64_t)place >= n)
      return true;
    const em_tpl_string *string = object.string;
    size_t start = em_tpl_char_offset(string->text, string->bytes, (size_t)place);
    size_t bytes = em_tpl_char_offset(string->text + start, string->bytes - start, 1);
    return em_tpl_string_slice(run, string, start, bytes, out);
  }
  return true;
}
