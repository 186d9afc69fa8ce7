/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Objects and arrays. */
#include "text/grammar/schema-private.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

/* --- Names that are taken ----------------------------------------------------------------------------------------- */

typedef struct taken_name {
  const char *text;
  size_t bytes;
} taken_name;

static int by_name(const void *a, const void *b) {
  const taken_name *x = a, *y = b;
  int order = memcmp(x->text, y->text, x->bytes < y->bytes ? x->bytes : y->bytes);
  return order ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* A node of the tree of taken names, made of characters. */
typedef struct name_node {
  uint32_t first, last; /* the names that begin with it */
  size_t depth;         /* bytes */
} name_node;

/* Adds the arrows of one node of the graph: to the nodes of longer beginnings (pushed on *n_nodes), to the free rest of
 * a name that is none of the taken ones, and to the end. A character written as \u is not accepted as long as the name
 * could become one of them. */
static bool add_name_arrows(em_schemas *s, const taken_name *names, name_node *nodes, uint32_t *n_nodes, uint32_t at,
                            em_arrow *arrows, uint32_t *n_arrows, em_range *ranges) {
  em_rules *b = &s->b;
  name_node node = nodes[at];
  size_t n_ranges = 0;
  uint32_t i = node.first;
  bool is_name = false;
  for (; i < node.last && names[i].bytes == node.depth; i++)
    is_name = true;
  while (i < node.last) {
    uint32_t c, other, j = i + 1;
    size_t taken = em_utf8_decode(names[i].text + node.depth, names[i].bytes - node.depth, &c, NULL);
    while (j < node.last &&
           (em_utf8_decode(names[j].text + node.depth, names[j].bytes - node.depth, &other, NULL), other == c))
      j++;
    if (!em_rules_work(b, j - i))
      return false;
    ranges[n_ranges] = (em_range){c, c};
    nodes[*n_nodes] = (name_node){i, j, node.depth + taken};
    arrows[(*n_arrows)++] = (em_arrow){at, *n_nodes, em_schema_class(s, &ranges[n_ranges], 1, false)};
    (*n_nodes)++;
    n_ranges++;
    i = j;
  }
  em_expr *rest =
      em_expr_sequence(b, em_schema_class(s, ranges, n_ranges, true),
                       em_expr_repeat(b, em_schema_basic(s, EM_SCHEMA_CHAR), 0, EM_NO_MAXIMUM), EM_EXPR_END);
  arrows[(*n_arrows)++] = (em_arrow){at, EM_GRAPH_END, rest};
  if (!is_name)
    arrows[(*n_arrows)++] = (em_arrow){at, EM_GRAPH_END, em_expr_text(b, "")};
  return b->status == EM_OK;
}

/* The inside of a string that is none of the names of an object's properties. */
static em_expr *other_name(em_schemas *s, const em_json *properties) {
  em_rules *b = &s->b;
  size_t n_bytes = 0, n_names = properties->n_children;
  uint32_t n = 0, n_nodes = 1, n_arrows = 0;
  for (const em_json *member = properties->first; member; member = member->next)
    n_bytes += member->key_bytes;
  taken_name *names = em_rules_alloc(b, n_names + 1, sizeof *names);
  name_node *nodes = em_rules_alloc(b, n_bytes + 2, sizeof *nodes);
  em_arrow *arrows = em_rules_alloc(b, 3 * n_bytes + 4, sizeof *arrows);
  em_range *ranges = em_rules_alloc(b, n_names + 1, sizeof *ranges);
  em_expr *graph = em_expr_group(b, EM_EXPR_GRAPH);
  if (!names || !nodes || !arrows || !ranges || !graph || !em_rules_work(b, n_bytes))
    return NULL;
  for (const em_json *member = properties->first; member; member = member->next)
    names[n++] = (taken_name){member->key, member->key_bytes};
  qsort(names, n, sizeof *names, by_name);
  nodes[0] = (name_node){0, n, 0};
  for (uint32_t i = 0; i < n_nodes; i++)
    if (!add_name_arrows(s, names, nodes, &n_nodes, i, arrows, &n_arrows, ranges))
      return NULL;
  graph->graph.arrows = arrows;
  graph->graph.n_arrows = n_arrows;
  graph->graph.n_nodes = n_nodes;
  return graph;
}

/* --- Objects ------------------------------------------------------------------------------------------------------ */

static em_expr *quoted(em_schemas *s, em_expr *inside) {
  em_rules *b = &s->b;
  return em_expr_sequence(b, em_expr_text(b, "\""), inside, em_expr_text(b, "\""), EM_EXPR_END);
}

/* The string that names a member beyond the properties. */
static em_expr *additional_name(em_schemas *s, const em_json *schema, const em_json *properties) {
  const em_json *names = em_schema_get(s, schema, "propertyNames");
  bool plain = !names || em_schema_is(names, true);
  if (names && names->kind == EM_JSON_OBJECT) {
    plain = true;
    for (const em_json *member = names->first; member; member = member->next)
      if (em_schema_restricts(member->key) && strcmp(member->key, "type") != 0)
        plain = false;
  }
  if (plain)
    return properties && properties->first ? quoted(s, other_name(s, properties))
                                           : em_schema_basic(s, EM_SCHEMA_STRING);
  if (properties && properties->first)
    return em_rules_fail(&s->b, EM_ERR_UNSUPPORTED,
                         "the schema uses \"propertyNames\" beside properties, which is not supported");
  if (names->kind == EM_JSON_OBJECT && !em_schema_get(s, names, "type") && !em_schema_get(s, names, "$ref")) {
    /* Names are strings, said or not. */
    static const em_json string = {.kind = EM_JSON_STRING, .string = {"string", 6}, .key = "type", .key_bytes = 4};
    static const em_json is_string = {.kind = EM_JSON_OBJECT, .first = &string, .n_children = 1};
    names = em_schema_both(s, names, &is_string);
  }
  return em_schema_call(s, names);
}

static em_expr *member_of(em_schemas *s, em_expr *name, const em_json *value) {
  return em_expr_sequence(&s->b, name, em_schema_mark(s, ":"), em_schema_call(s, value), EM_EXPR_END);
}

static bool is_required(em_schemas *s, const em_json *required, const char *key, size_t bytes) {
  if (!required || !em_rules_work(&s->b, required->n_children))
    return false;
  for (const em_json *name = required->first; name; name = name->next)
    if (name->kind == EM_JSON_STRING && name->string.bytes == bytes && memcmp(name->string.text, key, bytes) == 0)
      return true;
  return false;
}

static bool has_member(em_schemas *s, const em_json *object, const char *key, size_t bytes) {
  if (!object || !em_rules_work(&s->b, object->n_children))
    return false;
  for (const em_json *member = object->first; member; member = member->next)
    if (member->key_bytes == bytes && memcmp(member->key, key, bytes) == 0)
      return true;
  return false;
}

static em_expr *key_of(em_schemas *s, const char *key, size_t bytes) {
  em_json name = {.kind = EM_JSON_STRING, .string = {key, bytes}};
  return em_schema_json(s, &name);
}

static em_expr *braces(em_schemas *s, const char *open, em_expr *inside, const char *close) {
  em_rules *b = &s->b;
  return em_expr_sequence(b, em_expr_text(b, open), em_schema_basic(s, EM_SCHEMA_WS), inside,
                          em_schema_basic(s, EM_SCHEMA_WS), em_expr_text(b, close), EM_EXPR_END);
}

/* Properties in their order, each with whether it is required; then required names that are no properties. Returns
 * their number. A property that nothing satisfies is left out. */
static uint32_t add_properties(em_schemas *s, em_expr *list, const em_json *properties, const em_json *required,
                               const em_json *additional, uint32_t *n_required) {
  static const em_json any = {.kind = EM_JSON_BOOL, .boolean = true};
  uint32_t n = 0;
  for (const em_json *member = properties ? properties->first : NULL; member && s->b.status == EM_OK;
       member = member->next) {
    bool needed = is_required(s, required, member->key, member->key_bytes);
    if (em_schema_is(member, false) && !needed)
      continue;
    em_expr *item = member_of(s, key_of(s, member->key, member->key_bytes), member);
    if (item)
      item->optional = !needed;
    em_expr_add(list, item);
    *n_required += needed;
    n++;
  }
  for (const em_json *name = required ? required->first : NULL; name && s->b.status == EM_OK; name = name->next) {
    if (name->kind != EM_JSON_STRING || has_member(s, properties, name->string.text, name->string.bytes))
      continue;
    if (em_schema_is(additional, false))
      em_rules_fail(&s->b, EM_ERR_FORMAT, "the schema requires \"%.60s\" and does not allow it", name->string.text);
    em_expr_add(list, member_of(s, key_of(s, name->string.text, name->string.bytes), additional ? additional : &any));
    (*n_required)++;
    n++;
  }
  return n;
}

/* All names that additional members must not have: those of the properties, and those that are required beside them. */
static const em_json *all_names(em_schemas *s, const em_json *properties, const em_json *required) {
  size_t n = 0;
  em_json *names = em_rules_alloc(
      &s->b, (properties ? properties->n_children : 0) + (required ? required->n_children : 0) + 1, sizeof *names);
  if (!names)
    return NULL;
  for (const em_json *member = properties ? properties->first : NULL; member; member = member->next)
    names[n++] = (em_json){.key = member->key, .key_bytes = member->key_bytes};
  for (const em_json *name = required ? required->first : NULL; name; name = name->next)
    if (name->kind == EM_JSON_STRING && !has_member(s, properties, name->string.text, name->string.bytes))
      names[n++] = (em_json){.key = name->string.text, .key_bytes = name->string.bytes};
  for (size_t i = 1; i < n; i++)
    names[i - 1].next = &names[i];
  em_json *object = em_rules_alloc(&s->b, 1, sizeof *object);
  if (object)
    *object = (em_json){.kind = EM_JSON_OBJECT, .first = n ? names : NULL, .n_children = n};
  return object;
}

em_expr *em_schema_object(em_schemas *s, const em_json *schema) {
  static const em_json any = {.kind = EM_JSON_BOOL, .boolean = true}, none = {.kind = EM_JSON_BOOL};
  em_rules *b = &s->b;
  const em_json *properties = em_schema_get(s, schema, "properties"), *required = em_schema_get(s, schema, "required");
  const em_json *additional = em_schema_get(s, schema, "additionalProperties");
  uint32_t min = 0, max = EM_NO_MAXIMUM, n_required = 0;
  if (properties && properties->kind != EM_JSON_OBJECT)
    return em_rules_fail(b, EM_ERR_FORMAT, "the schema's properties are not an object");
  if (required && required->kind != EM_JSON_ARRAY)
    return em_rules_fail(b, EM_ERR_FORMAT, "the schema's required is not a list of names");
  if (!em_schema_count(s, schema, "minProperties", &min) || !em_schema_count(s, schema, "maxProperties", &max))
    return NULL;
  if (!additional && em_schema_is(em_schema_get(s, schema, "unevaluatedProperties"), false))
    additional = &none;
  em_expr *list = em_expr_list(b, em_schema_mark(s, ","));
  uint32_t n = add_properties(s, list, properties, required, additional, &n_required);
  if (b->status != EM_OK)
    return NULL;
  /* Without a word about other members there are none beside known ones. */
  bool open = additional ? !em_schema_is(additional, false) : !properties || !properties->first;
  if (open) {
    em_expr *name = additional_name(s, schema, n > 0 ? all_names(s, properties, required) : NULL);
    list->list.rest = member_of(s, name, additional ? additional : &any);
    list->list.rest_max = EM_NO_MAXIMUM;
  }
  if (n == 0 && open) {
    list->list.rest_min = min;
    list->list.rest_max = max;
  } else if (n == n_required && open && (max == EM_NO_MAXIMUM || max >= n)) {
    list->list.rest_min = min > n ? min - n : 0;
    list->list.rest_max = max == EM_NO_MAXIMUM ? max : max - n;
  } else if (min == 1 && n_required == 0 && (max == EM_NO_MAXIMUM || (!open && max >= n))) {
    list->list.not_empty = true;
  } else if (min > n_required || (max != EM_NO_MAXIMUM && (open || max < n))) {
    return em_rules_fail(b, EM_ERR_UNSUPPORTED,
                         "the schema counts members of an object with optional properties, which is not supported");
  }
  if (max < min)
    return em_rules_fail(b, EM_ERR_FORMAT, "the schema's maxProperties is below its minProperties");
  return braces(s, "{", list, "}");
}

/* --- Arrays ------------------------------------------------------------------------------------------------------- */

em_expr *em_schema_array(em_schemas *s, const em_json *schema) {
  static const em_json any = {.kind = EM_JSON_BOOL, .boolean = true};
  em_rules *b = &s->b;
  const em_json *items = em_schema_get(s, schema, "items"), *prefix = em_schema_get(s, schema, "prefixItems");
  uint32_t min = 0, max = EM_NO_MAXIMUM, n = 0;
  bool has_min = em_schema_get(s, schema, "minItems") != NULL;
  if (!em_schema_count(s, schema, "minItems", &min) || !em_schema_count(s, schema, "maxItems", &max))
    return NULL;
  if (items && items->kind == EM_JSON_ARRAY) { /* draft-07 */
    prefix = items;
    items = em_schema_get(s, schema, "additionalItems");
  }
  if (prefix && prefix->kind != EM_JSON_ARRAY)
    return em_rules_fail(b, EM_ERR_FORMAT, "the schema's prefixItems is not a list");
  em_expr *list = em_expr_list(b, em_schema_mark(s, ","));
  for (const em_json *item = prefix ? prefix->first : NULL; item && n < max && b->status == EM_OK;
       item = item->next, n++) {
    /* An item is a child of this list alone, so it may be called directly. */
    em_expr_add(list, em_schema_call(s, item));
  }
  if (b->status != EM_OK)
    return NULL;
  if (max < min)
    return em_rules_fail(b, EM_ERR_FORMAT, "the schema's maxItems is below its minItems");
  if (n > 0)
    list->list.n_before_end = has_min ? min : n;
  /* As with objects: behind known items there are others only where the schema speaks of them, or asks for more. */
  if (!items && (n == 0 || min > n))
    items = &any;
  if (items && !em_schema_is(items, false) && max > n) {
    list->list.rest = em_schema_call(s, items);
    list->list.rest_min = min > n ? min - n : 0;
    list->list.rest_max = max == EM_NO_MAXIMUM ? max : max - n;
  } else if (min > n) {
    return em_rules_fail(b, EM_ERR_FORMAT, "the schema asks for more items than it allows");
  }
  return braces(s, "[", list, "]");
}
