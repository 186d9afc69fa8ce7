/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Several schemas that hold at once become one. */
#include "text/grammar/schema-private.h"

#include "base/buffer.h"

#include <stdlib.h>
#include <string.h>

/* Schemas that one may consist of, through $ref and allOf. */
#define MAX_PARTS 256u
/* Schemas that are made of two others. One that refers to itself through anyOf or its properties makes ever new ones.
 */
#define MAX_JOINED 1000u

/* --- Making JSON -------------------------------------------------------------------------------------------------- */

static em_json *new_value(em_schemas *s, em_json_kind kind) {
  em_json *value = em_rules_alloc(&s->b, 1, sizeof *value);
  if (value)
    value->kind = kind;
  return value;
}

/* An object or array that grows at its end. */
typedef struct growing {
  em_json *json, *last;
} growing;

static void append(em_schemas *s, growing *to, const em_json *value, const char *key, size_t key_bytes) {
  em_json *copy = em_rules_alloc(&s->b, 1, sizeof *copy);
  if (!copy || !to->json)
    return;
  *copy = *value;
  copy->next = NULL;
  copy->key = key;
  copy->key_bytes = key_bytes;
  if (to->last)
    to->last->next = copy;
  else
    to->json->first = copy;
  to->last = copy;
  to->json->n_children++;
}

const em_json *em_schema_without(em_schemas *s, const em_json *schema, const char *key) {
  growing out = {new_value(s, EM_JSON_OBJECT), NULL};
  em_rules_work(&s->b, schema->n_children);
  for (const em_json *member = schema->first; member && s->b.status == EM_OK; member = member->next)
    if (strcmp(member->key, key) != 0)
      append(s, &out, member, member->key, member->key_bytes);
  return s->b.status == EM_OK ? out.json : NULL;
}

const em_json *em_schema_both(em_schemas *s, const em_json *a, const em_json *b) {
  growing list = {new_value(s, EM_JSON_ARRAY), NULL}, out = {new_value(s, EM_JSON_OBJECT), NULL};
  if (!a || !b || !list.json || !out.json)
    return NULL;
  if (++s->n_joined > MAX_JOINED)
    return em_rules_fail(&s->b, EM_ERR_LIMIT, "the schema joins too many others, or refers to itself");
  append(s, &list, a, NULL, 0);
  append(s, &list, b, NULL, 0);
  append(s, &out, list.json, "allOf", 5);
  return s->b.status == EM_OK ? out.json : NULL;
}

bool em_json_same(em_schemas *s, const em_json *a, const em_json *b) {
  em_buffer x = {0}, y = {0};
  bool same = false;
  if (!em_json_write(&x, a) || !em_json_write(&y, b))
    em_rules_fail(&s->b, EM_ERR_NO_MEMORY, "no memory for the schema");
  else if (em_rules_work(&s->b, x.bytes + y.bytes))
    same = x.bytes == y.bytes && memcmp(x.data, y.data, x.bytes) == 0;
  em_buffer_clear(&x);
  em_buffer_clear(&y);
  return same;
}

/* --- References --------------------------------------------------------------------------------------------------- */

/* One part of a JSON pointer, as it stands in a URI: %HH, ~0 and ~1 are decoded. Returns its length, or SIZE_MAX. */
static size_t decode_part(const char *text, size_t bytes, char *out) {
  size_t n = 0;
  for (size_t i = 0; i < bytes; i++) {
    char c = text[i];
    if (c == '%') {
      char digits[3] = {i + 1 < bytes ? text[i + 1] : 0, i + 2 < bytes ? text[i + 2] : 0, 0}, *end;
      c = (char)strtoul(digits, &end, 16);
      if (end != digits + 2)
        return SIZE_MAX;
      i += 2;
    }
    if (n > 0 && out[n - 1] == '~' && (c == '0' || c == '1'))
      out[n - 1] = c == '0' ? '\1' : '/'; /* a decoded ~ must not begin an escape again */
    else
      out[n++] = c;
  }
  for (size_t i = 0; i < n; i++)
    if (out[i] == '\1')
      out[i] = '~';
  out[n] = 0;
  return n;
}

static const em_json *child_named(em_schemas *s, const em_json *at, const char *name) {
  if (at->kind == EM_JSON_OBJECT)
    return em_schema_get(s, at, name);
  if (at->kind != EM_JSON_ARRAY || !em_rules_work(&s->b, at->n_children))
    return NULL;
  char *end;
  unsigned long index = strtoul(name, &end, 10);
  const em_json *child = *name && !*end ? at->first : NULL;
  for (; child && index > 0; index--)
    child = child->next;
  return child;
}

const em_json *em_schema_resolve(em_schemas *s, const em_json *ref) {
  if (!ref || ref->kind != EM_JSON_STRING)
    return em_rules_fail(&s->b, EM_ERR_FORMAT, "the schema's $ref is not a string");
  const char *text = ref->string.text, *end = text + ref->string.bytes;
  const em_json *at = s->root;
  if (*text != '#' || (text[1] != '/' && text[1] != 0))
    return em_rules_fail(&s->b, EM_ERR_UNSUPPORTED, "the schema refers to \"%.80s\", which is not in it by a path",
                         text);
  char *part = em_rules_alloc(&s->b, ref->string.bytes + 1, 1);
  if (!part)
    return NULL;
  for (text++; text < end && at && s->b.status == EM_OK;) {
    const char *start = ++text;
    while (text < end && *text != '/')
      text++;
    at = decode_part(start, (size_t)(text - start), part) == SIZE_MAX ? NULL : child_named(s, at, part);
  }
  if (!at)
    return em_rules_fail(&s->b, EM_ERR_FORMAT, "the schema refers to \"%.80s\", which is not there", ref->string.text);
  return at;
}

/* --- Keywords ----------------------------------------------------------------------------------------------------- */

/* How two values of a keyword become one. */
typedef enum { HIGHEST, LOWEST, UNION, JOINED, TYPES, VALUES, BOTH, EITHER, EQUAL, ALONE } merging;

static const struct {
  const char *name;
  merging how;
} keywords[] = {
    {"type", TYPES},
    {"enum", VALUES},
    {"const", EQUAL},
    {"properties", UNION},
    {"required", JOINED},
    {"additionalProperties", BOTH},
    {"unevaluatedProperties", BOTH},
    {"propertyNames", BOTH},
    {"minProperties", HIGHEST},
    {"maxProperties", LOWEST},
    {"items", BOTH},
    {"additionalItems", EQUAL},
    {"prefixItems", EQUAL},
    {"minItems", HIGHEST},
    {"maxItems", LOWEST},
    {"uniqueItems", EITHER},
    {"pattern", EQUAL},
    {"format", EQUAL},
    {"minLength", HIGHEST},
    {"maxLength", LOWEST},
    {"minimum", HIGHEST},
    {"maximum", LOWEST},
    {"exclusiveMinimum", HIGHEST},
    {"exclusiveMaximum", LOWEST},
    {"multipleOf", EQUAL},
    {"nullable", EQUAL},
    {"anyOf", ALONE},
    {"oneOf", ALONE},
    {"allOf", ALONE},
    {"$ref", ALONE},
    {"not", ALONE},
    {"if", ALONE},
    {"patternProperties", ALONE},
    {"dependencies", ALONE},
    {"dependentRequired", ALONE},
    {"dependentSchemas", ALONE},
    {"contains", ALONE},
    {"unevaluatedItems", ALONE},
    {"$dynamicRef", ALONE},
    {"$recursiveRef", ALONE},
};
#define N_KEYWORDS (sizeof keywords / sizeof keywords[0])

static size_t keyword_index(const char *name) {
  size_t i = 0;
  while (i < N_KEYWORDS && strcmp(keywords[i].name, name) != 0)
    i++;
  return i;
}

bool em_schema_restricts(const char *keyword) {
  return keyword_index(keyword) < N_KEYWORDS;
}

static double number_of(const em_json *value) {
  return value->kind == EM_JSON_INTEGER ? (double)value->integer : value->kind == EM_JSON_REAL ? value->real : 0;
}

static const em_json *find(em_schemas *s, const em_json *object, const char *key, size_t bytes) {
  if (!em_rules_work(&s->b, object->n_children + 1))
    return NULL;
  for (const em_json *member = object->first; member; member = member->next)
    if (member->key_bytes == bytes && memcmp(member->key, key, bytes) == 0)
      return member;
  return NULL;
}

/* Properties of both; one that is in both must be both. */
static const em_json *merge_properties(em_schemas *s, const em_json *a, const em_json *b) {
  growing out = {new_value(s, EM_JSON_OBJECT), NULL};
  for (const em_json *member = a->first; member && s->b.status == EM_OK; member = member->next) {
    const em_json *other = find(s, b, member->key, member->key_bytes), *both = member;
    if (other && !em_json_same(s, member, other))
      both = em_schema_both(s, member, other);
    if (both)
      append(s, &out, both, member->key, member->key_bytes);
  }
  for (const em_json *member = b->first; member && s->b.status == EM_OK; member = member->next)
    if (!find(s, a, member->key, member->key_bytes))
      append(s, &out, member, member->key, member->key_bytes);
  return out.json;
}

/* Elements of both lists, or of a those that are in b as well. A value that is no list stands for a list of it. */
static const em_json *merge_lists(em_schemas *s, const em_json *a, const em_json *b, bool joined) {
  growing out = {new_value(s, EM_JSON_ARRAY), NULL};
  const em_json one_a = *a, one_b = *b;
  const em_json *first_a = a->kind == EM_JSON_ARRAY ? a->first : &one_a,
                *first_b = b->kind == EM_JSON_ARRAY ? b->first : &one_b;
  for (const em_json *x = first_a; x && s->b.status == EM_OK; x = x == &one_a ? NULL : x->next) {
    bool found = joined;
    for (const em_json *y = first_b; y && !found && s->b.status == EM_OK; y = y == &one_b ? NULL : y->next)
      found = em_json_same(s, x, y);
    if (found)
      append(s, &out, x, NULL, 0);
  }
  for (const em_json *y = joined ? first_b : NULL; y && s->b.status == EM_OK; y = y == &one_b ? NULL : y->next)
    append(s, &out, y, NULL, 0);
  return out.json;
}

static bool has_type(em_schemas *s, const em_json *types, const em_json *type) {
  const em_json *found = merge_lists(s, types, type, false);
  return found && found->first;
}

/* Types of both lists; an integer is a number. */
static const em_json *merge_types(em_schemas *s, const em_json *a, const em_json *b) {
  static const em_json number = {.kind = EM_JSON_STRING, .string = {"number", 6}},
                       integer = {.kind = EM_JSON_STRING, .string = {"integer", 7}};
  const em_json *both = merge_lists(s, a, b, false);
  if (both && !has_type(s, both, &number) && !has_type(s, both, &integer) &&
      ((has_type(s, a, &number) && has_type(s, b, &integer)) || (has_type(s, a, &integer) && has_type(s, b, &number))))
    both = merge_lists(s, both, &integer, true);
  return both;
}

static const em_json *merge_values(em_schemas *s, const char *key, merging how, const em_json *a, const em_json *b) {
  switch (how) {
  case HIGHEST:
    return number_of(a) >= number_of(b) ? a : b;
  case LOWEST:
    return number_of(a) <= number_of(b) ? a : b;
  case UNION:
    return merge_properties(s, a, b);
  case JOINED:
    return merge_lists(s, a, b, true);
  case VALUES:
    return merge_lists(s, a, b, false);
  case TYPES:
    return merge_types(s, a, b);
  case BOTH:
    if (em_schema_is(a, true) || em_schema_is(b, false))
      return b;
    if (em_schema_is(b, true) || em_schema_is(a, false))
      return a;
    return em_json_same(s, a, b) ? a : em_schema_both(s, a, b);
  case EITHER:
    return em_schema_is(a, true) ? a : b;
  case EQUAL:
  case ALONE:
    break;
  }
  if (em_json_same(s, a, b))
    return a;
  return em_rules_fail(&s->b, EM_ERR_UNSUPPORTED, "the schema joins several \"%s\", which is not supported", key);
}

/* Whether `open` has properties that `closed`, which says what others must be, does not have. */
static bool is_foreign(em_schemas *s, const em_json *closed, const em_json *open) {
  const em_json *rule = em_schema_get(s, closed, "additionalProperties"),
                *known = em_schema_get(s, closed, "properties");
  const em_json *properties = em_schema_get(s, open, "properties");
  if (!rule || em_schema_is(rule, true) || !properties)
    return false;
  for (const em_json *member = properties->first; member && s->b.status == EM_OK; member = member->next)
    if (!known || !find(s, known, member->key, member->key_bytes))
      return true;
  return false;
}

/* Adds a schema without $ref and allOf to those that hold already. */
static const em_json *merge(em_schemas *s, const em_json *a, const em_json *b) {
  growing out = {new_value(s, EM_JSON_OBJECT), NULL};
  if (is_foreign(s, a, b) || is_foreign(s, b, a))
    return em_rules_fail(&s->b, EM_ERR_UNSUPPORTED,
                         "the schema joins additionalProperties with properties beside it, which is not supported");
  for (const em_json *member = a->first; member && s->b.status == EM_OK; member = member->next) {
    const em_json *other = find(s, b, member->key, member->key_bytes), *value = member;
    size_t index = keyword_index(member->key);
    if (other && index < N_KEYWORDS) {
      if (keywords[index].how == UNION && (member->kind != EM_JSON_OBJECT || other->kind != EM_JSON_OBJECT))
        return em_rules_fail(&s->b, EM_ERR_FORMAT, "the schema's properties are not an object");
      value = merge_values(s, member->key, keywords[index].how, member, other);
    }
    if (value)
      append(s, &out, value, member->key, member->key_bytes);
  }
  for (const em_json *member = b->first; member && s->b.status == EM_OK; member = member->next)
    if (!find(s, a, member->key, member->key_bytes))
      append(s, &out, member, member->key, member->key_bytes);
  return s->b.status == EM_OK ? out.json : NULL;
}

const em_json *em_schema_flatten(em_schemas *s, const em_json *schema) {
  static const em_json nothing = {.kind = EM_JSON_OBJECT};
  const em_json *stack[MAX_PARTS], *merged = NULL;
  unsigned n = 1, n_parts = 0;
  if (schema->kind == EM_JSON_BOOL)
    return schema;
  stack[0] = schema;
  while (n > 0 && s->b.status == EM_OK) {
    const em_json *part = stack[--n];
    const em_json *ref = em_schema_get(s, part, "$ref"), *all = em_schema_get(s, part, "allOf");
    if (++n_parts > MAX_PARTS)
      return em_rules_fail(&s->b, EM_ERR_LIMIT, "the schema joins more than %u schemas, or refers to itself",
                           MAX_PARTS);
    if (part->kind != EM_JSON_OBJECT && part->kind != EM_JSON_BOOL)
      return em_rules_fail(&s->b, EM_ERR_FORMAT, "a schema is neither an object nor true or false");
    if (em_schema_is(part, false))
      return part;
    if (part->kind == EM_JSON_BOOL)
      continue;
    if (!ref && !all) {
      merged = merged ? merge(s, merged, part) : part;
      continue;
    }
    /* What stands beside comes last: it is put on the stack first. */
    const em_json *rest = em_schema_without(s, part, ref ? "$ref" : "allOf");
    if (all && !ref) {
      size_t n_all = all->kind == EM_JSON_ARRAY ? all->n_children : 0;
      if (n_all == 0)
        return em_rules_fail(&s->b, EM_ERR_FORMAT, "the schema's allOf is not a list of schemas");
      if (n_all + n + 1 > MAX_PARTS)
        return em_rules_fail(&s->b, EM_ERR_LIMIT, "the schema joins more than %u schemas, or refers to itself",
                             MAX_PARTS);
      if (rest)
        stack[n++] = rest;
      n += (unsigned)n_all;
      for (const em_json *one = all->first, **to = &stack[n]; one; one = one->next)
        *--to = one;
    } else {
      if (n + 2 > MAX_PARTS)
        return em_rules_fail(&s->b, EM_ERR_LIMIT, "the schema joins more than %u schemas, or refers to itself",
                             MAX_PARTS);
      if (rest)
        stack[n++] = rest;
      stack[n] = em_schema_resolve(s, ref);
      n += stack[n] != NULL;
    }
  }
  if (s->b.status != EM_OK)
    return NULL;
  return merged ? merged : &nothing;
}
