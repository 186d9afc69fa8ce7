/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The template cases of three other projects, rendered whole and compared byte for byte. */
#include "check.h"

#include "base/file.h"
#include "base/json.h"
#include "text/template/template.h"

static const int64_t now = 1752148800; /* 10 July 2025, the day one of the cases was made */

/* Cases of hf-jinja-templates.json whose text is what its own JavaScript prints: true, null and ["a"] where Python's Jinja, for
 * which chat templates are written and which the other two files follow, prints True, None and ['a']. Here is what that
 * prints, version 3.1.6, for the same templates. */
static const struct {
  const char *name, *text;
} python_prints[] = {
    {"BOOLEAN_LITERALS", "|True|False|True|False|"},
    {"LOGICAL_AND", "TrueFalseFalseFalse"},
    {"LOGICAL_OR", "TrueTrueTrueFalse"},
    {"LOGICAL_NOT", "FalseTrue"},
    {"LOGICAL_COMBINED", "FalseTrue"},
    {"BINOP_EXPR", "1TrueFalseFalseTrueTrueTrue5"},
    {"BINOP_EXPR_1", "1+2=3 is True"},
    {"PROPERTIES_1", "|[['zero-zero-zero', 'zero-zero-one'], ['zero-one-zero', 'zero-one-one']]|['zero-one-zero', 'zero-one-one']|zero-one-one|mixed-indexing|"},
    {"MEMBERSHIP_NEGATION_1", "|False|False|False|False|False|True|"},
    {"MEMBERSHIP_NEGATION_2", "|False|False|False|False|False|True|"},
    {"MEMBERSHIP_UNDEFINED", "|False|False|False|False|False|False|"},
    {"UNARY_SIGN_EXPRESSIONS", "|yes|True|True|True|True|1|True|-1|1|2|-2|-1.5|-0.0|1|-1|0|"},
    {"SUBSTRING_INCLUSION", "|True|True|False|True|False|True|False|"},
    {"FILTER_OPERATOR_16", "|hello|False|hello|hello|"},
    {"SORT_BASIC_STRINGS", "['Apple', 'banana', 'cherry']"},
    {"SORT_CASE_SENSITIVE", "['Apple', 'banana', 'cherry']"},
    {"SORT_CASE_INSENSITIVE", "['Apple', 'banana', 'cherry']"},
    {"SORT_CHAINED", "['Bob', 'Alice', 'Charlie', 'David']"},
    {"SORT_STABLE", "['apple', 'banana', 'carrot', 'broccoli']"},
    {"SORT_POSITIONAL_REVERSE_CASE", "['Apple', 'banana', 'cherry']"},
    {"SORT_POSITIONAL_ALL", "['Alice', 'Bob', 'Charlie']"},
    {"SORT_NULL_VALUES", "[None, None]"},
    {"SORT_MIXED_BOOL_NUM", "[0, False, 0.5, True, 1]"},
    {"BOOLEAN_NUMERICAL", "|2|0|0|0|1|1|1|0|False|True|"},
    {"BOOLEAN_STRINGS", "|b||||a|a|a||False|True|"},
    {"BOOLEAN_MIXED", "|1|0|False|False|True|True|1|0|"},
    {"BOOLEAN_MIXED_2", "||a||a||True|False|a|"},
    {"IS_OPERATOR_2", "|True|False|False|True|True|False|"},
    {"IS_OPERATOR_3", "|True|False|False|True|True|False|True|False|"},
    {"IS_OPERATOR_5", "|True|False|False|True|"},
    {"IS_OPERATOR_6", "|False|False|False|True|"},
    {"SHORT_CIRCUIT_1", "True"},
    {"NAMESPACE_1", "False"},
    {"NAMESPACE_2", "|False|2|"},
    {"OBJECT_OPERATORS_1", "|True|True|True|"},
    {"SCOPE_1", "found=False"},
};

static const char *text_of(const em_json *object, const char *key) {
  const em_json *value = em_json_get(object, key);
  return value && value->kind == EM_JSON_STRING ? value->string.text : "";
}

static const char *expected_of(const em_json *item, bool javascript) {
  const char *name = text_of(item, "name");
  for (size_t i = 0; javascript && i < sizeof python_prints / sizeof python_prints[0]; i++)
    if (strcmp(python_prints[i].name, name) == 0)
      return python_prints[i].text;
  return text_of(item, "expected");
}

static bool run_case(const em_json *item, bool javascript) {
  em_error error = {0};
  em_template *template_ = NULL;
  em_rendered rendered = {0};
  const em_json *source = em_json_get(item, "template");
  const char *expected = expected_of(item, javascript);
  em_status status = em_template_new(source->string.text, source->string.bytes, &template_, &error);
  if (status == EM_OK)
    status = em_template_render(template_, em_json_get(item, "context"), now, &rendered, &error);
  bool same = status == EM_OK && rendered.bytes == strlen(expected) &&
              memcmp(rendered.text, expected, rendered.bytes) == 0;
  if (!same)
    fprintf(stderr, "## %s\n  expected \"%s\"\n  is       \"%s\"\n", text_of(item, "name"), expected,
            status == EM_OK ? rendered.text : error.text);
  em_rendered_clear(&rendered);
  em_template_free(template_);
  return same;
}

static void run_file(const char *folder, const char *name) {
  char path[4096], *text;
  size_t bytes;
  em_error error = {0};
  const em_json *cases;
  snprintf(path, sizeof path, "%s/data/jinja/%s", folder, name);
  if (em_file_read(path, 16u << 20, &text, &bytes, &error) != EM_OK)
    SKIP("%s", error.text);
  em_arena *arena = em_arena_new(0);
  CHECK(em_json_parse(arena, text, bytes, 0, &cases, &error) == EM_OK);
  size_t n = 0, good = 0;
  for (const em_json *item = cases->first; item; item = item->next, n++)
    good += run_case(item, strcmp(name, "hf-jinja-templates.json") == 0);
  printf("%s: %zu of %zu\n", name, good, n);
  CHECK_INT(good, n);
  em_arena_free(arena);
  free(text);
}

int main(void) {
  const char *folder = getenv("HEARTH_SHARED");
  if (!folder)
    SKIP("HEARTH_SHARED names no folder of cases");
  run_file(folder, "llamacpp-jinja.json");
  run_file(folder, "hf-jinja-e2e.json");
  run_file(folder, "hf-jinja-templates.json");
  return check_done();
}
