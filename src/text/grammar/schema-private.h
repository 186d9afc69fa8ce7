/* What the files of the schema compiler share. Every schema that is more than a plain type becomes a rule; the rules
 * are filled one after the other from a queue, so that neither nesting nor references make the compiler recurse. */
#pragma once

#include "base/json.h"
#include "text/grammar/build.h"

/* Rules that many schemas share; each is made when it is first called. */
typedef enum {
  EM_SCHEMA_WS,
  EM_SCHEMA_CHAR, /* one character of a string, escaped or not */
  EM_SCHEMA_STRING,
  EM_SCHEMA_NUMBER,
  EM_SCHEMA_INTEGER,
  EM_SCHEMA_OBJECT,
  EM_SCHEMA_ARRAY,
  EM_SCHEMA_VALUE,
  EM_N_SCHEMA_BASICS
} em_schema_basic_kind;

typedef struct em_schema_rule {
  const em_json *schema;
  uint32_t rule;
} em_schema_rule;

typedef struct em_schemas {
  em_rules b;
  const em_json *root;
  uint32_t basics[EM_N_SCHEMA_BASICS]; /* rules, or UINT32_MAX */
  em_schema_rule *queue;               /* [n_queue] in the order in which they are filled */
  uint32_t n_queue, capacity_queue;
  uint32_t n_joined; /* schemas made by em_schema_both */
  uint32_t *table;   /* open addressing by the schema's address: index + 1 into queue */
} em_schemas;

/* A call of what the schema accepts. */
em_expr *em_schema_call(em_schemas *s, const em_json *schema);
em_expr *em_schema_basic(em_schemas *s, em_schema_basic_kind kind);

/* The member of a schema, with its work counted. NULL: there is none. */
const em_json *em_schema_get(em_schemas *s, const em_json *schema, const char *key);
/* A count like minItems: *out keeps its value where the keyword is absent. false: a failure is latched. */
bool em_schema_count(em_schemas *s, const em_json *schema, const char *key, uint32_t *out);
bool em_schema_is(const em_json *schema, bool value); /* the schema true, or false */

/* --- Combinations (schema_merge.c) -------------------------------------------------------------------------------- */

/* The schema without $ref and allOf at its top: what they name is merged with what stands beside them. A plain $ref is
 * left to the caller. NULL: a failure is latched. */
const em_json *em_schema_flatten(em_schemas *s, const em_json *schema);
/* What a "$ref" names. */
const em_json *em_schema_resolve(em_schemas *s, const em_json *ref);
/* A copy of an object without one member. */
const em_json *em_schema_without(em_schemas *s, const em_json *schema, const char *key);
/* The schema {"allOf": [a, b]}. */
const em_json *em_schema_both(em_schemas *s, const em_json *a, const em_json *b);
/* Whether a keyword restricts what is accepted (annotations do not). */
bool em_schema_restricts(const char *keyword);
bool em_json_same(em_schemas *s, const em_json *a, const em_json *b);

/* --- Types -------------------------------------------------------------------------------------------------------- */

em_expr *em_schema_object(em_schemas *s, const em_json *schema);
em_expr *em_schema_array(em_schemas *s, const em_json *schema);
em_expr *em_schema_string(em_schemas *s, const em_json *schema);
em_expr *em_schema_number(em_schemas *s, const em_json *schema, bool integer);

em_expr *em_schema_json(em_schemas *s, const em_json *value); /* the value's own text */
/* The bodies of basic rules. */
em_expr *em_schema_basic_number(em_schemas *s, bool integer);
em_expr *em_schema_basic_char(em_schemas *s);
/* A separator in an object or array: a mark with white space around it. */
em_expr *em_schema_mark(em_schemas *s, const char *mark);

/* Whether a format is one that is written out; its pattern, or NULL. */
const char *em_schema_format(const char *name);

/* --- Patterns (regex.c) ------------------------------------------------------------------------------------------- */

/* What the pattern matches, as the inside of a JSON string of min..max characters (EM_NO_MAXIMUM: any number). Errors,
 * latched: EM_ERR_FORMAT, EM_ERR_UNSUPPORTED (also where the lengths cannot be joined with the pattern), EM_ERR_LIMIT.
 */
em_expr *em_schema_pattern(em_schemas *s, const char *text, size_t bytes, uint32_t min, uint32_t max);
/* Whether a pattern looks around itself, which no expression here can. */
bool em_schema_pattern_looks_around(const char *text, size_t bytes);
/* A class of characters as they stand in a JSON string. */
em_expr *em_schema_class(em_schemas *s, const em_range *ranges, size_t n, bool negated);
