/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Plain values, lists and dicts. */
#include <math.h>
#include <string.h>

#include "base/checked.h"
#include "text/template/value.h"

#define DICT_SEARCHED 8u /* entries up to which a dict is searched */

em_tpl_value em_tpl_undefined(const char *name) {
  return (em_tpl_value){.kind = EM_TPL_UNDEFINED, .name = name};
}

em_tpl_value em_tpl_none(void) {
  return (em_tpl_value){.kind = EM_TPL_NONE};
}

em_tpl_value em_tpl_bool(bool value) {
  return (em_tpl_value){.kind = EM_TPL_BOOL, .boolean = value};
}

em_tpl_value em_tpl_int(int64_t value) {
  return (em_tpl_value){.kind = EM_TPL_INT, .integer = value};
}

em_tpl_value em_tpl_real(double value) {
  return (em_tpl_value){.kind = EM_TPL_REAL, .real = value};
}

/* --- Lists --------------------------------------------------------------------------------------------------------------- */

bool em_tpl_list_new(em_tpl_run *run, em_tpl_kind list_or_tuple, size_t capacity, em_tpl_value *out) {
  em_tpl_list *list = em_tpl_alloc(run, 1, sizeof *list);
  if (!list)
    return false;
  if (capacity > 0) {
    list->items = em_tpl_alloc(run, capacity, sizeof *list->items);
    if (!list->items)
      return false;
    list->capacity = capacity;
  }
  *out = (em_tpl_value){.kind = list_or_tuple, .list = list};
  return true;
}

bool em_tpl_list_insert(em_tpl_run *run, em_tpl_list *list, size_t place, em_tpl_value item) {
  if (!em_tpl_spend(run, 1 + (list->n - place) / 8))
    return false;
  if (list->n == list->capacity) {
    size_t capacity = list->capacity ? list->capacity * 2 : 4;
    em_tpl_value *items = em_tpl_alloc(run, capacity, sizeof *items);
    if (!items)
      return false;
    if (list->n > 0)
      memcpy(items, list->items, list->n * sizeof *items);
    list->items = items;
    list->capacity = capacity;
  }
  memmove(list->items + place + 1, list->items + place, (list->n - place) * sizeof *list->items);
  list->items[place] = item;
  list->n++;
  return true;
}

bool em_tpl_list_add(em_tpl_run *run, em_tpl_list *list, em_tpl_value item) {
  return em_tpl_list_insert(run, list, list->n, item);
}

void em_tpl_list_remove(em_tpl_list *list, size_t place) {
  list->n--;
  memmove(list->items + place, list->items + place + 1, (list->n - place) * sizeof *list->items);
}

/* --- Dicts --------------------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9E3779B97F4A7C15u;
  return hash ^ hash >> 29;
}

/* Equal keys have equal hashes: numbers of any kind hash by their value. */
static bool hash_key(em_tpl_run *run, em_tpl_value key, uint64_t *hash) {
  switch (key.kind) {
  case EM_TPL_NONE:
    *hash = mix(*hash, 1);
    return true;
  case EM_TPL_BOOL:
    *hash = mix(*hash, key.boolean);
    return true;
  case EM_TPL_INT:
    *hash = mix(*hash, (uint64_t)key.integer);
    return true;
  case EM_TPL_REAL:
    if (key.real == trunc(key.real) && fabs(key.real) < 0x1p63) {
      *hash = mix(*hash, (uint64_t)(int64_t)key.real);
    } else {
      uint64_t bits;
      memcpy(&bits, &key.real, sizeof bits);
      *hash = mix(*hash, bits);
    }
    return true;
  case EM_TPL_STRING:
    for (size_t i = 0; i < key.string->bytes; i++)
      *hash = (*hash ^ (unsigned char)key.string->text[i]) * 1099511628211u;
    *hash = mix(*hash, key.string->bytes);
    return em_tpl_spend(run, 1 + key.string->bytes / 16);
  case EM_TPL_TUPLE: {
    if (!em_tpl_enter(run))
      return false;
    bool fits = em_tpl_spend(run, key.list->n);
    *hash = mix(*hash, 7);
    for (size_t i = 0; i < key.list->n && fits; i++)
      fits = hash_key(run, key.list->items[i], hash);
    em_tpl_leave(run);
    return fits;
  }
  default:
    return em_tpl_fail(run, EM_ERR_FORMAT, "unhashable type: '%s'", em_tpl_kind_name(key.kind));
  }
}

bool em_tpl_dict_new(em_tpl_run *run, em_tpl_kind dict_or_namespace, em_tpl_value *out) {
  em_tpl_dict *dict = em_tpl_alloc(run, 1, sizeof *dict);
  if (!dict)
    return false;
  *out = (em_tpl_value){.kind = dict_or_namespace, .dict = dict};
  return true;
}

static void place_entry(em_tpl_dict *dict, uint64_t hash, size_t entry) {
  size_t slot = (size_t)hash & (dict->index_slots - 1);
  while (dict->index[slot])
    slot = (slot + 1) & (dict->index_slots - 1);
  dict->index[slot] = (uint32_t)(entry + 1);
}

/* Makes the index anew, with at least two slots an entry. */
static bool make_index(em_tpl_run *run, em_tpl_dict *dict) {
  size_t slots = 32;
  while (slots < dict->capacity * 2)
    slots *= 2;
  dict->index_slots = 0;
  if (dict->n <= DICT_SEARCHED)
    return true;
  dict->index = em_tpl_spend(run, dict->n) ? em_tpl_alloc(run, slots, sizeof *dict->index) : NULL;
  if (!dict->index)
    return false;
  dict->index_slots = slots;
  for (size_t i = 0; i < dict->n; i++) {
    uint64_t hash = 0;
    if (!hash_key(run, dict->entries[i].key, &hash))
      return false;
    place_entry(dict, hash, i);
  }
  return true;
}

/* Finds key's entry number, or n. */
static bool find(em_tpl_run *run, const em_tpl_dict *dict, em_tpl_value key, uint64_t *hash, size_t *out) {
  bool equal = false;
  *hash = 0;
  *out = dict->n;
  if (!hash_key(run, key, hash))
    return false;
  if (dict->index_slots == 0) {
    for (size_t i = 0; i < dict->n && !equal; i++) {
      if (!em_tpl_equal(run, dict->entries[i].key, key, &equal))
        return false;
      if (equal)
        *out = i;
    }
    return true;
  }
  for (size_t slot = (size_t)*hash & (dict->index_slots - 1); dict->index[slot] && !equal;
       slot = (slot + 1) & (dict->index_slots - 1)) {
    if (!em_tpl_spend(run, 1) || !em_tpl_equal(run, dict->entries[dict->index[slot] - 1].key, key, &equal))
      return false;
    if (equal)
      *out = dict->index[slot] - 1;
  }
  return true;
}

bool em_tpl_dict_set(em_tpl_run *run, em_tpl_dict *dict, em_tpl_value key, em_tpl_value value) {
  uint64_t hash;
  size_t entry;
  if (!em_tpl_spend(run, 1) || !find(run, dict, key, &hash, &entry))
    return false;
  if (entry < dict->n) {
    dict->entries[entry].value = value;
    return true;
  }
  bool grows = dict->n == dict->capacity;
  if (grows) {
    size_t capacity = dict->capacity ? dict->capacity * 2 : 4;
    em_tpl_entry *entries = em_tpl_alloc(run, capacity, sizeof *entries);
    if (!entries)
      return false;
    if (dict->n > 0)
      memcpy(entries, dict->entries, dict->n * sizeof *entries);
    dict->entries = entries;
    dict->capacity = capacity;
  }
  dict->entries[dict->n++] = (em_tpl_entry){key, value};
  if (grows || (dict->index_slots == 0 && dict->n > DICT_SEARCHED))
    return make_index(run, dict);
  if (dict->index_slots > 0)
    place_entry(dict, hash, entry);
  return true;
}

bool em_tpl_dict_find(em_tpl_run *run, const em_tpl_dict *dict, em_tpl_value key, em_tpl_value **out) {
  uint64_t hash;
  size_t entry;
  if (!find(run, dict, key, &hash, &entry))
    return false;
  *out = entry < dict->n ? &dict->entries[entry].value : NULL;
  return true;
}

em_tpl_value *em_tpl_dict_get(em_tpl_run *run, const em_tpl_dict *dict, const char *key, size_t bytes) {
  em_tpl_string string = {.text = key, .bytes = bytes};
  em_tpl_value *value;
  if (!em_tpl_dict_find(run, dict, (em_tpl_value){.kind = EM_TPL_STRING, .string = &string}, &value))
    return NULL;
  return value;
}

bool em_tpl_dict_remove(em_tpl_run *run, em_tpl_dict *dict, em_tpl_value key, bool *removed) {
  uint64_t hash;
  size_t entry;
  if (!find(run, dict, key, &hash, &entry))
    return false;
  *removed = entry < dict->n;
  if (!*removed)
    return true;
  dict->n--;
  memmove(dict->entries + entry, dict->entries + entry + 1, (dict->n - entry) * sizeof *dict->entries);
  return em_tpl_spend(run, 1 + dict->n / 8) && make_index(run, dict);
}

/* --- From JSON ------------------------------------------------------------------------------------------------------------ */

/* Whether text is the name of a role. Templates put roles between the halves of a special token ("<|" + role + "|>"), so these
 * words may be part of one; they are harmless anywhere. */
static bool is_role(const char *text, size_t bytes) {
  static const char *const roles[] = {"system", "user", "assistant", "tool", "developer", "function", "observation"};
  for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
    if (strlen(roles[i]) == bytes && memcmp(roles[i], text, bytes) == 0)
      return true;
  return false;
}

static bool from_json(em_tpl_run *run, const em_json *json, em_tpl_value *out);

static bool from_members(em_tpl_run *run, const em_json *json, em_tpl_value *out) {
  if (!em_tpl_dict_new(run, EM_TPL_DICT, out))
    return false;
  for (const em_json *child = json->first; child; child = child->next) {
    em_tpl_value key, value;
    if (!em_tpl_string_view(run, child->key, child->key_bytes, false, &key))
      return false;
    if (child->kind == EM_JSON_STRING && strcmp(child->key, "role") == 0 &&
        is_role(child->string.text, child->string.bytes)) {
      if (!em_tpl_string_view(run, child->string.text, child->string.bytes, true, &value))
        return false;
    } else if (!from_json(run, child, &value)) {
      return false;
    }
    if (!em_tpl_dict_set(run, out->dict, key, value))
      return false;
  }
  return true;
}

static bool from_json(em_tpl_run *run, const em_json *json, em_tpl_value *out) {
  bool fits = true;
  switch (json->kind) {
  case EM_JSON_NULL:
    *out = em_tpl_none();
    return true;
  case EM_JSON_BOOL:
    *out = em_tpl_bool(json->boolean);
    return true;
  case EM_JSON_INTEGER:
    *out = em_tpl_int(json->integer);
    return true;
  case EM_JSON_REAL:
    *out = em_tpl_real(json->real);
    return true;
  case EM_JSON_STRING:
    return em_tpl_string_view(run, json->string.text, json->string.bytes, false, out);
  case EM_JSON_ARRAY:
    if (!em_tpl_enter(run))
      return false;
    fits = em_tpl_list_new(run, EM_TPL_LIST, json->n_children, out);
    for (const em_json *child = json->first; child && fits; child = child->next) {
      em_tpl_value item;
      fits = from_json(run, child, &item) && em_tpl_list_add(run, out->list, item);
    }
    em_tpl_leave(run);
    return fits;
  case EM_JSON_OBJECT:
    if (!em_tpl_enter(run))
      return false;
    fits = from_members(run, json, out);
    em_tpl_leave(run);
    return fits;
  }
  return em_tpl_fail(run, EM_ERR_INTERNAL, "an unknown JSON value");
}

bool em_tpl_from_json(em_tpl_run *run, const em_json *json, em_tpl_value *out) {
  return from_json(run, json, out);
}
