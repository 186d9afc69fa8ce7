/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The grammar and schema cases of another project: every text that is to be accepted is accepted in full, every other
 * one is not. */
#include "check.h"

#include "base/file.h"
#include "base/json.h"
#include "text/grammar/grammar.h"

static em_grammar *grammar_of(const em_json *item, em_error *error) {
  const em_json *schema = em_json_get(item, "schema"), *gbnf = em_json_get(item, "grammar");
  em_grammar *grammar = NULL;
  if (schema)
    (void)!em_grammar_from_schema(schema->string.text, schema->string.bytes, &grammar, error);
  else if (gbnf)
    (void)!em_grammar_from_gbnf(gbnf->string.text, gbnf->string.bytes, &grammar, error);
  return grammar;
}

static bool accepts(const em_grammar *grammar, const em_json *text) {
  em_matcher *matcher = NULL;
  bool accepted = em_matcher_new(grammar, NULL, false, &matcher, NULL) == EM_OK &&
                  em_matcher_feed(matcher, text->string.text, text->string.bytes, NULL) == EM_OK &&
                  em_matcher_may_end(matcher);
  em_matcher_free(matcher);
  return accepted;
}

static void run_case(const em_json *item) {
  static const char *const lists[] = {"reject", "accept"};
  const em_json *name = em_json_get(item, "name");
  em_error error = {0};
  em_grammar *grammar = grammar_of(item, &error);
  CHECK(grammar != NULL);
  if (!grammar)
    fprintf(stderr, "## %s: %s\n", name->string.text, error.text);
  for (int i = 0; i < 2 && grammar; i++) {
    const em_json *list = em_json_get(item, lists[i]);
    for (const em_json *text = list ? list->first : NULL; text; text = text->next) {
      CHECK_INT(accepts(grammar, text), i);
      if (accepts(grammar, text) != (i == 1))
        fprintf(stderr, "## %s: \"%s\"\n", name->string.text, text->string.text);
    }
  }
  em_grammar_free(grammar);
}

int main(void) {
  const char *shared = getenv("HEARTH_SHARED");
  char path[4096], *text;
  size_t bytes;
  const em_json *cases;
  em_error error = {0};
  snprintf(path, sizeof path, "%s/data/grammar/llamacpp-grammar-integration.json", shared ? shared : "");
  if (em_file_read(path, 64u << 20, &text, &bytes, &error) != EM_OK)
    SKIP("%s", error.text);
  em_arena *arena = em_arena_new(0);
  CHECK_INT(em_json_parse(arena, text, bytes, 0, &cases, &error), EM_OK);
  CHECK_INT(cases->n_children, 30);
  for (const em_json *item = cases->first; item; item = item->next)
    run_case(item);
  em_arena_free(arena);
  free(text);
  return check_done();
}
