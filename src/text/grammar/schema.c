/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A JSON schema becomes a grammar. */
#include "text/grammar/schema-private.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

#define N_TABLE (4u * EM_GRAMMAR_MAX_RULES)

/* --- Reading schemas ---------------------------------------------------------------------------------------------- */

const em_json *em_schema_get(em_schemas *s, const em_json *schema, const char *key) {
  if (!schema || schema->kind != EM_JSON_OBJECT || !em_rules_work(&s->b, schema->n_children + 1))
    return NULL;
  return em_json_get(schema, key);
}

bool em_schema_is(const em_json *schema, bool value) {
  return schema && schema->kind == EM_JSON_BOOL && schema->boolean == value;
}

bool em_schema_count(em_schemas *s, const em_json *schema, const char *key, uint32_t *out) {
  const em_json *value = em_schema_get(s, schema, key);
  int64_t n = 0;
  if (!value)
    return s->b.status == EM_OK;
  if (value->kind == EM_JSON_INTEGER)
    n = value->integer;
  else if (value->kind == EM_JSON_REAL && value->real >= 0 && value->real < 1e15)
    n = (int64_t)value->real;
  if ((value->kind != EM_JSON_INTEGER && (value->kind != EM_JSON_REAL || (double)n != value->real)) || n < 0) {
    em_rules_fail(&s->b, EM_ERR_FORMAT, "the schema's %s is not a count", key);
    return false;
  }
  if (n > EM_GRAMMAR_MAX_REPEAT) {
    em_rules_fail(&s->b, EM_ERR_LIMIT, "the schema's %s is above %u", key, EM_GRAMMAR_MAX_REPEAT);
    return false;
  }
  *out = (uint32_t)n;
  return true;
}

/* --- Rules that are shared ---------------------------------------------------------------------------------------- */

/* One space, or one or two line ends with the blanks of the next line: as much as people and models write. */
static em_expr *white_space(em_rules *b) {
  static const em_range blanks[] = {{' ', ' '}, {'\t', '\t'}};
  em_expr *line_end =
      em_expr_sequence(b, em_expr_repeat(b, em_expr_text(b, "\r"), 0, 1), em_expr_text(b, "\n"), EM_EXPR_END);
  em_expr *lines = em_expr_sequence(b, em_expr_repeat(b, line_end, 1, 2),
                                    em_expr_repeat(b, em_expr_class(b, blanks, 2, false), 0, 40), EM_EXPR_END);
  return em_expr_repeat(b, em_expr_choice(b, em_expr_text(b, " "), lines, EM_EXPR_END), 0, 1);
}

em_expr *em_schema_mark(em_schemas *s, const char *mark) {
  return em_expr_sequence(&s->b, em_schema_basic(s, EM_SCHEMA_WS), em_expr_text(&s->b, mark),
                          em_schema_basic(s, EM_SCHEMA_WS), EM_EXPR_END);
}

static em_expr *any_value(em_schemas *s) {
  em_rules *b = &s->b;
  return em_expr_choice(b, em_schema_basic(s, EM_SCHEMA_OBJECT), em_schema_basic(s, EM_SCHEMA_ARRAY),
                        em_schema_basic(s, EM_SCHEMA_STRING), em_schema_basic(s, EM_SCHEMA_NUMBER),
                        em_expr_text(b, "true"), em_expr_text(b, "false"), em_expr_text(b, "null"), EM_EXPR_END);
}

static em_expr *basic_body(em_schemas *s, em_schema_basic_kind kind) {
  static const em_json any_object = {.kind = EM_JSON_OBJECT};
  em_rules *b = &s->b;
  switch (kind) {
  case EM_SCHEMA_WS:
    return white_space(b);
  case EM_SCHEMA_CHAR:
    return em_schema_basic_char(s);
  case EM_SCHEMA_STRING:
    return em_expr_sequence(b, em_expr_text(b, "\""),
                            em_expr_repeat(b, em_schema_basic(s, EM_SCHEMA_CHAR), 0, EM_NO_MAXIMUM),
                            em_expr_text(b, "\""), EM_EXPR_END);
  case EM_SCHEMA_NUMBER:
  case EM_SCHEMA_INTEGER:
    return em_schema_basic_number(s, kind == EM_SCHEMA_INTEGER);
  case EM_SCHEMA_OBJECT:
    return em_schema_object(s, &any_object);
  case EM_SCHEMA_ARRAY:
    return em_schema_array(s, &any_object);
  case EM_SCHEMA_VALUE:
  case EM_N_SCHEMA_BASICS:
    break;
  }
  return any_value(s);
}

/* Bodies that call other basic rules find this one's number already there: the recursion is as deep as there are kinds.
 */
em_expr *em_schema_basic(em_schemas *s, em_schema_basic_kind kind) {
  if (s->basics[kind] == UINT32_MAX) {
    uint32_t rule = em_rules_add(&s->b);
    if (rule == UINT32_MAX)
      return NULL;
    s->basics[kind] = rule;
    em_expr *body = basic_body(s, kind);
    s->b.rules[rule] = body;
  }
  return em_expr_call(&s->b, s->basics[kind]);
}

/* --- Types -------------------------------------------------------------------------------------------------------- */

enum { OBJECT = 1, ARRAY = 2, STRING = 4, NUMBER = 8, INTEGER = 16, BOOLEAN = 32, NONE = 64, ALL_TYPES = 127 };

static const struct {
  const char *name;
  unsigned type;
} type_names[] = {{"object", OBJECT},   {"array", ARRAY},     {"string", STRING}, {"number", NUMBER},
                  {"integer", INTEGER}, {"boolean", BOOLEAN}, {"null", NONE}};
#define N_TYPES (sizeof type_names / sizeof type_names[0])

/* The type that a keyword speaks of. */
static const struct {
  const char *keyword;
  unsigned type;
} speaks_of[] = {{"properties", OBJECT},
                 {"required", OBJECT},
                 {"additionalProperties", OBJECT},
                 {"unevaluatedProperties", OBJECT},
                 {"propertyNames", OBJECT},
                 {"minProperties", OBJECT},
                 {"maxProperties", OBJECT},
                 {"items", ARRAY},
                 {"prefixItems", ARRAY},
                 {"additionalItems", ARRAY},
                 {"minItems", ARRAY},
                 {"maxItems", ARRAY},
                 {"pattern", STRING},
                 {"minLength", STRING},
                 {"maxLength", STRING},
                 {"minimum", NUMBER},
                 {"maximum", NUMBER},
                 {"exclusiveMinimum", NUMBER},
                 {"exclusiveMaximum", NUMBER},
                 {"multipleOf", NUMBER}};
#define N_SPEAKS_OF (sizeof speaks_of / sizeof speaks_of[0])

static unsigned type_named(em_schemas *s, const em_json *name) {
  if (name->kind == EM_JSON_STRING)
    for (size_t i = 0; i < N_TYPES; i++)
      if (strcmp(type_names[i].name, name->string.text) == 0)
        return type_names[i].type;
  em_rules_fail(&s->b, EM_ERR_FORMAT, "the schema has a type that does not exist: %.40s",
                name->kind == EM_JSON_STRING ? name->string.text : "no name");
  return 0;
}

/* The types that a schema allows, as bits; 0 where it speaks of none. */
static unsigned types_of(em_schemas *s, const em_json *schema) {
  const em_json *type = em_schema_get(s, schema, "type"), *format = em_schema_get(s, schema, "format");
  unsigned types = 0;
  if (type && type->kind == EM_JSON_ARRAY) {
    for (const em_json *one = type->first; one && s->b.status == EM_OK; one = one->next)
      types |= type_named(s, one);
  } else if (type) {
    types = type_named(s, type);
  } else {
    for (size_t i = 0; i < N_SPEAKS_OF; i++)
      if (em_schema_get(s, schema, speaks_of[i].keyword))
        types |= speaks_of[i].type;
    if (format && format->kind == EM_JSON_STRING && em_schema_format(format->string.text))
      types |= STRING;
  }
  if (types != 0 && em_schema_is(em_schema_get(s, schema, "nullable"), true))
    types |= NONE;
  return types;
}

static em_expr *of_type(em_schemas *s, const em_json *schema, unsigned type) {
  em_rules *b = &s->b;
  switch (type) {
  case OBJECT:
    return em_schema_object(s, schema);
  case ARRAY:
    return em_schema_array(s, schema);
  case STRING:
    return em_schema_string(s, schema);
  case NUMBER:
    return em_schema_number(s, schema, false);
  case INTEGER:
    return em_schema_number(s, schema, true);
  case BOOLEAN:
    return em_expr_choice(b, em_expr_text(b, "true"), em_expr_text(b, "false"), EM_EXPR_END);
  default:
    return em_expr_text(b, "null");
  }
}

static unsigned type_of_value(const em_json *value) {
  switch (value->kind) {
  case EM_JSON_NULL:
    return NONE;
  case EM_JSON_BOOL:
    return BOOLEAN;
  case EM_JSON_INTEGER:
    return INTEGER | NUMBER;
  case EM_JSON_REAL:
    return NUMBER;
  case EM_JSON_STRING:
    return STRING;
  case EM_JSON_ARRAY:
    return ARRAY;
  case EM_JSON_OBJECT:
    return OBJECT;
  }
  return 0;
}

/* The values that enum and const list, as far as the types allow them. */
static em_expr *listed(em_schemas *s, const em_json *schema, unsigned types) {
  const em_json *values = em_schema_get(s, schema, "enum"), *constant = em_schema_get(s, schema, "const");
  em_expr *choice = em_expr_group(&s->b, EM_EXPR_CHOICE);
  if (values && values->kind != EM_JSON_ARRAY)
    return em_rules_fail(&s->b, EM_ERR_FORMAT, "the schema's enum is not a list");
  for (const em_json *value = values ? values->first : constant; value && s->b.status == EM_OK; value = value->next) {
    bool fits = types == 0 || (type_of_value(value) & types);
    if (fits && (!values || !constant || em_json_same(s, value, constant)))
      em_expr_add(choice, em_schema_json(s, value));
    if (!values)
      break;
  }
  return choice && choice->first ? em_expr_one_of(&s->b, choice) : choice;
}

/* --- Schemas ------------------------------------------------------------------------------------------------------ */

static const char *const refused[] = {"not",
                                      "if",
                                      "patternProperties",
                                      "dependencies",
                                      "contains",
                                      "$dynamicRef",
                                      "dependentRequired",
                                      "dependentSchemas",
                                      "$recursiveRef",
                                      "unevaluatedItems"};
#define N_REFUSED (sizeof refused / sizeof refused[0])

static bool is_one(const em_json *value) {
  return value->kind == EM_JSON_INTEGER ? value->integer == 1 : value->kind == EM_JSON_REAL && value->real == 1;
}

static bool check_refused(em_schemas *s, const em_json *schema) {
  for (size_t i = 0; i < N_REFUSED; i++) {
    const em_json *found = em_schema_get(s, schema, refused[i]);
    /* What asks for nothing is no reason to refuse. */
    if (found && !(found->kind == EM_JSON_OBJECT && !found->first && strcmp(refused[i], "not") != 0))
      em_rules_fail(&s->b, EM_ERR_UNSUPPORTED, "the schema uses \"%s\", which is not supported", refused[i]);
  }
  if (em_schema_is(em_schema_get(s, schema, "uniqueItems"), true))
    em_rules_fail(&s->b, EM_ERR_UNSUPPORTED, "the schema uses \"uniqueItems\", which is not supported");
  const em_json *step = em_schema_get(s, schema, "multipleOf");
  if (step && !is_one(step))
    em_rules_fail(&s->b, EM_ERR_UNSUPPORTED, "the schema uses \"multipleOf\", which is supported for 1 alone");
  return s->b.status == EM_OK;
}

/* Whether anything but the two members is restricted. A NULL name is no member. */
static bool restricts_beside(em_schemas *s, const em_json *schema, const char *name, const char *other) {
  if (!em_rules_work(&s->b, schema->n_children))
    return false;
  for (const em_json *member = schema->first; member; member = member->next)
    if (em_schema_restricts(member->key) && (!name || strcmp(member->key, name) != 0) &&
        (!other || strcmp(member->key, other) != 0))
      return true;
  return false;
}

/* anyOf and oneOf: each alternative together with what stands beside them. */
static em_expr *alternatives(em_schemas *s, const em_json *schema, const char *keyword, const em_json *list) {
  em_expr *choice = em_expr_group(&s->b, EM_EXPR_CHOICE);
  bool alone = !restricts_beside(s, schema, keyword, NULL);
  const em_json *rest = alone ? NULL : em_schema_without(s, schema, keyword);
  if (list->kind != EM_JSON_ARRAY || !list->first)
    return em_rules_fail(&s->b, EM_ERR_FORMAT, "the schema's %s is not a list of schemas", keyword);
  for (const em_json *one = list->first; one && s->b.status == EM_OK; one = one->next)
    em_expr_add(choice, em_schema_call(s, alone ? one : em_schema_both(s, rest, one)));
  return choice;
}

static em_expr *compile(em_schemas *s, const em_json *schema, bool is_root) {
  em_rules *b = &s->b;
  if (schema->kind == EM_JSON_OBJECT && em_schema_get(s, schema, "$ref") && !restricts_beside(s, schema, "$ref", NULL))
    return em_schema_call(s, em_schema_resolve(s, em_schema_get(s, schema, "$ref")));
  schema = em_schema_flatten(s, schema);
  if (!schema)
    return NULL;
  if (schema->kind == EM_JSON_BOOL)
    return schema->boolean ? em_schema_basic(s, EM_SCHEMA_VALUE) : em_expr_group(b, EM_EXPR_CHOICE);
  if (!check_refused(s, schema))
    return NULL;
  const em_json *any_of = em_schema_get(s, schema, "anyOf"), *one_of = em_schema_get(s, schema, "oneOf");
  if (any_of || one_of)
    return any_of ? alternatives(s, schema, "anyOf", any_of) : alternatives(s, schema, "oneOf", one_of);
  const em_json *type = em_schema_get(s, schema, "type");
  if (type && type->kind == EM_JSON_ARRAY && !type->first)
    return em_expr_group(b, EM_EXPR_CHOICE); /* types that exclude one another were joined */
  unsigned types = types_of(s, schema);
  if (em_schema_get(s, schema, "enum") || em_schema_get(s, schema, "const"))
    return listed(s, schema, types);
  if (types == 0)
    return em_schema_basic(s, is_root ? EM_SCHEMA_OBJECT : EM_SCHEMA_VALUE);
  if ((types & NUMBER) && em_schema_get(s, schema, "multipleOf"))
    types = (types & ~(unsigned)NUMBER) | INTEGER; /* of 1 */
  if (types & NUMBER)
    types &= ~(unsigned)INTEGER;
  em_expr *choice = em_expr_group(b, EM_EXPR_CHOICE);
  for (size_t i = 0; i < N_TYPES; i++)
    if (types & type_names[i].type)
      em_expr_add(choice, of_type(s, schema, type_names[i].type));
  return choice;
}

/* A schema that is no more than a type; its basic rule, or NULL. */
static em_expr *plain(em_schemas *s, const em_json *schema) {
  const em_json *type = em_schema_get(s, schema, "type");
  if (em_schema_is(schema, true))
    return em_schema_basic(s, EM_SCHEMA_VALUE);
  if (schema->kind != EM_JSON_OBJECT || restricts_beside(s, schema, "type", NULL))
    return NULL;
  if (!type)
    return em_schema_basic(s, EM_SCHEMA_VALUE);
  if (type->kind != EM_JSON_STRING)
    return NULL;
  switch (type_named(s, type)) {
  case OBJECT:
    return em_schema_basic(s, EM_SCHEMA_OBJECT);
  case ARRAY:
    return em_schema_basic(s, EM_SCHEMA_ARRAY);
  case STRING:
    return em_schema_basic(s, EM_SCHEMA_STRING);
  case NUMBER:
    return em_schema_basic(s, EM_SCHEMA_NUMBER);
  case INTEGER:
    return em_schema_basic(s, EM_SCHEMA_INTEGER);
  default:
    return NULL;
  }
}

/* The number of the rule for a schema, which is put in the queue when it is new. */
static uint32_t rule_for(em_schemas *s, const em_json *schema) {
  uint32_t slot = (uint32_t)(((uintptr_t)schema >> 4) * 0x9E3779B97F4A7C15u >> 40) % N_TABLE;
  while (s->table[slot] && s->queue[s->table[slot] - 1].schema != schema)
    slot = (slot + 1) % N_TABLE;
  if (s->table[slot])
    return s->queue[s->table[slot] - 1].rule;
  uint32_t rule = em_rules_add(&s->b);
  if (rule == UINT32_MAX)
    return rule;
  if (s->n_queue == s->capacity_queue) {
    uint32_t capacity = s->capacity_queue ? 2 * s->capacity_queue : 64;
    em_schema_rule *grown = em_realloc_array(s->queue, capacity, sizeof *grown);
    if (!grown) {
      em_rules_fail(&s->b, EM_ERR_NO_MEMORY, "no memory for the schema");
      return UINT32_MAX;
    }
    s->queue = grown;
    s->capacity_queue = capacity;
  }
  s->queue[s->n_queue++] = (em_schema_rule){schema, rule};
  s->table[slot] = s->n_queue;
  return rule;
}

em_expr *em_schema_call(em_schemas *s, const em_json *schema) {
  if (s->b.status != EM_OK || !schema)
    return NULL;
  if (schema->kind != EM_JSON_OBJECT && schema->kind != EM_JSON_BOOL)
    return em_rules_fail(&s->b, EM_ERR_FORMAT, "a schema is neither an object nor true or false");
  em_expr *basic = plain(s, schema);
  if (basic || s->b.status != EM_OK)
    return basic;
  uint32_t rule = rule_for(s, schema);
  return rule == UINT32_MAX ? NULL : em_expr_call(&s->b, rule);
}

/* Fills the rule of the root, and then of each schema that was called on the way. */
static void compile_all(em_schemas *s) {
  uint32_t root = em_rules_add(&s->b), start = rule_for(s, s->root);
  if (s->b.status != EM_OK)
    return;
  if (s->root->kind != EM_JSON_OBJECT && s->root->kind != EM_JSON_BOOL) {
    em_rules_fail(&s->b, EM_ERR_FORMAT, "the schema is neither an object nor true or false");
    return;
  }
  s->b.rules[root] = em_expr_call(&s->b, start);
  for (uint32_t i = 0; i < s->n_queue && s->b.status == EM_OK; i++) {
    em_expr *body = compile(s, s->queue[i].schema, i == 0);
    s->b.rules[s->queue[i].rule] = body;
  }
}

em_status em_grammar_from_schema(const char *text, size_t bytes, em_grammar **out, em_error *error) {
  em_status status = EM_OK;
  if (bytes > EM_GRAMMAR_MAX_TEXT_BYTES)
    return em_fail(error, EM_ERR_LIMIT, "the schema's text is longer than %u bytes", EM_GRAMMAR_MAX_TEXT_BYTES);
  em_schemas *s = em_calloc(1, sizeof *s);
  if (!s)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the schema");
  for (int i = 0; i < EM_N_SCHEMA_BASICS; i++)
    s->basics[i] = UINT32_MAX;
  EM_TRY(em_rules_init(&s->b, error));
  s->table = em_calloc(N_TABLE, sizeof *s->table);
  if (!s->table)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the schema"));
  EM_TRY(em_json_parse(s->b.arena, text, bytes, EM_GRAMMAR_MAX_DEPTH, &s->root, error));
  compile_all(s);
  EM_TRY(em_rules_finish(&s->b, "schema", out));
fail:
  em_rules_clear(&s->b);
  free(s->queue);
  free(s->table);
  free(s);
  return status;
}
