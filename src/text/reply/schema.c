/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the schemas of functions say about values that a model wrote without quotes. */
#include <string.h>

#include "text/reply/splitter.h"

#define ALL_TYPES (EM_TYPE_IS_TEXT | EM_TYPE_IS_NULL | EM_TYPE_IS_OTHER)

static bool is_text(const em_json *json, const char *text) {
  return json && json->kind == EM_JSON_STRING && strcmp(json->string.text, text) == 0;
}

const em_json *em_schema_of_function(const em_json *tools, const char *name) {
  if (!tools || tools->kind != EM_JSON_ARRAY)
    return NULL;
  for (const em_json *tool = tools->first; tool; tool = tool->next) {
    const em_json *function = em_json_get(tool, "function"), *found = function ? function : tool;
    const em_json *parameters = em_json_get(found, "parameters");
    if (is_text(em_json_get(found, "name"), name))
      return parameters ? parameters : found;
  }
  return NULL;
}

static const em_json *choices(const em_json *schema) {
  static const char *const names[] = {"anyOf", "oneOf", "allOf"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    const em_json *list = em_json_get(schema, names[i]);
    if (list && list->kind == EM_JSON_ARRAY && list->first)
      return list;
  }
  return NULL;
}

const em_json *em_schema_child(const em_json *schema, const char *key) {
  const em_json *child = key ? em_json_get(em_json_get(schema, "properties"), key) : em_json_get(schema, "items");
  const em_json *list = choices(schema);
  for (const em_json *choice = list ? list->first : NULL; choice && !child; choice = choice->next)
    child = key ? em_json_get(em_json_get(choice, "properties"), key) : em_json_get(choice, "items");
  return child;
}

static unsigned type_of_name(const em_json *name) {
  if (is_text(name, "string"))
    return EM_TYPE_IS_TEXT;
  return is_text(name, "null") ? EM_TYPE_IS_NULL : EM_TYPE_IS_OTHER;
}

static unsigned type_of_value(const em_json *value) {
  return value->kind == EM_JSON_STRING ? EM_TYPE_IS_TEXT
         : value->kind == EM_JSON_NULL ? EM_TYPE_IS_NULL
                                       : EM_TYPE_IS_OTHER;
}

/* What a schema itself says, without its choices; 0: nothing. */
static unsigned own_types(const em_json *schema) {
  const em_json *type = em_json_get(schema, "type"), *values = em_json_get(schema, "enum"),
                *value = em_json_get(schema, "const");
  unsigned types = 0;
  if (type && type->kind == EM_JSON_STRING)
    return type_of_name(type);
  if (type && type->kind == EM_JSON_ARRAY) {
    for (const em_json *name = type->first; name; name = name->next)
      types |= type_of_name(name);
    return types;
  }
  if (value)
    return type_of_value(value);
  if (values && values->kind == EM_JSON_ARRAY)
    for (const em_json *one = values->first; one; one = one->next)
      types |= type_of_value(one);
  return types;
}

unsigned em_schema_types(const em_json *schema) {
  unsigned types = own_types(schema);
  const em_json *list = choices(schema), *inner;
  if (types == 0 && list) {
    for (const em_json *choice = list->first; choice; choice = choice->next) {
      unsigned own = own_types(choice);
      if (own == 0 && (inner = choices(choice)))
        for (const em_json *one = inner->first; one; one = one->next)
          own |= own_types(one) ? own_types(one) : ALL_TYPES;
      types |= own ? own : ALL_TYPES;
    }
  }
  return types ? types : ALL_TYPES;
}

/* The value as JSON, if it is JSON. */
static bool convert_json(const char *text, size_t bytes, em_buffer *out) {
  size_t before = out->bytes, used;
  em_value value;
  em_value_init(&value, EM_NOTATION_JSON, NULL);
  while (bytes > 0 && em_is_space(text[bytes - 1]))
    bytes--;
  if (bytes > 0 && em_value_read(&value, text, bytes, true, out, &used) == EM_PROGRESS_DONE && used == bytes)
    return true;
  out->bytes = before;
  return false;
}

void em_schema_convert(unsigned types, const char *text, size_t bytes, em_buffer *out) {
  bool quoted = bytes > 0 && text[0] == '"';
  bool null_only = !(types & EM_TYPE_IS_OTHER) && !(bytes == 4 && memcmp(text, "null", 4) == 0);
  if (types != EM_TYPE_IS_TEXT && !null_only && !(quoted && types == (EM_TYPE_IS_TEXT | EM_TYPE_IS_NULL)) &&
      convert_json(text, bytes, out))
    return;
  em_buffer_append_text(out, "\"");
  em_value_escape(out, text, bytes);
  em_buffer_append_text(out, "\"");
}
