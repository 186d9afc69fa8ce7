/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A model of random weights answers under a schema: whatever it prefers, every answer is whole and valid. */
#include "engine-fixture.h"

#include "base/json.h"
#include "text/dialog.h"

typedef struct bound_answer {
  em_constraint *constraint;
  em_reply *reply;
  em_buffer text;
  bool finished;
  em_finish finish;
} bound_answer;

static bool on_token(void *user, int32_t token) {
  bound_answer *a = user;
  CHECK(em_constraint_push(a->constraint, token));
  return em_reply_push(a->reply, token, &a->text) == EM_REPLY_GOES_ON;
}

static void on_finish(void *user, em_finish finish, const em_request_stats *stats, const em_error *error) {
  bound_answer *a = user;
  a->finished = true;
  a->finish = finish;
}

static bool mask(void *user, uint64_t *allowed) {
  bound_answer *a = user;
  return em_constraint_mask(a->constraint, allowed);
}

static char *answer_under(em_engine *engine, const em_dialog *dialog, const em_constraint_params *constraint,
                          uint64_t seed, bool *complete) {
  bound_answer a = {0};
  em_error error = {0};
  em_request_id id;
  static const int32_t prompt[] = {TINY_BOS, 300, 301};
  CHECK_INT(em_constraint_new(dialog, constraint, &a.constraint, &error), EM_OK);
  CHECK_TEXT(error.text, "");
  CHECK_INT(em_reply_new(dialog, NULL, 0, constraint->continues, &a.reply, NULL), EM_OK);
  em_request_params params = {.tokens = prompt,
                              .n_tokens = 3,
                              .max_tokens = 900,
                              .sampling = {.temperature = 1, .seed = seed},
                              .on_token = on_token,
                              .on_finish = on_finish,
                              .mask = mask,
                              .user = &a};
  CHECK_INT(em_engine_submit(engine, &params, &id, &error), EM_OK);
  while (em_engine_step(engine))
    ;
  CHECK(a.finished);
  CHECK_INT(a.finish, EM_FINISH_STOP);
  CHECK_INT(em_constraint_error(a.constraint)->code, EM_OK);
  *complete = em_constraint_is_complete(a.constraint);
  em_constraint_free(a.constraint);
  em_reply_free(a.reply);
  return em_buffer_steal(&a.text);
}

static const char *const schema =
    "{\"type\":\"object\",\"properties\":{"
    "\"name\":{\"type\":\"string\",\"minLength\":2,\"maxLength\":30},"
    "\"age\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":120},"
    "\"score\":{\"type\":\"number\",\"minimum\":-1.5,\"exclusiveMaximum\":2},"
    "\"when\":{\"type\":\"string\",\"format\":\"date\"},"
    "\"tags\":{\"type\":\"array\",\"items\":{\"enum\":[\"red\",\"green\"]},\"minItems\":1,\"maxItems\":4},"
    "\"next\":{\"anyOf\":[{\"$ref\":\"#/$defs/link\"},{\"type\":\"null\"}]}},"
    "\"required\":[\"name\",\"age\",\"score\",\"when\",\"tags\",\"next\"],\"additionalProperties\":false,"
    "\"$defs\":{\"link\":{\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"string\",\"pattern\":\"^[a-f0-9]{4}$"
    "\"},"
    "\"ok\":{\"type\":\"boolean\"}},\"required\":[\"id\"]}}}";

static double number(const em_json *value) {
  return value->kind == EM_JSON_INTEGER ? (double)value->integer : value->real;
}

/* The answer against the schema above, by hand. */
static void check_valid(const char *text) {
  em_arena *arena = em_arena_new(0);
  const em_json *json = NULL, *next, *tags, *name;
  em_error error = {0};
  bool good = em_json_parse(arena, text, strlen(text), 0, &json, &error) == EM_OK && json->kind == EM_JSON_OBJECT &&
              json->n_children == 6;
  CHECK(good);
  if (!good) {
    fprintf(stderr, "%s: %s\n", error.text, text);
    em_arena_free(arena);
    return;
  }
  name = em_json_get(json, "name");
  CHECK(name->kind == EM_JSON_STRING && name->string.bytes >= 2 && name->string.bytes <= 120);
  CHECK(em_json_get(json, "age")->kind == EM_JSON_INTEGER);
  CHECK(number(em_json_get(json, "age")) >= 0 && number(em_json_get(json, "age")) <= 120);
  CHECK(number(em_json_get(json, "score")) >= -1.5 && number(em_json_get(json, "score")) < 2);
  CHECK_INT(em_json_get(json, "when")->string.bytes, 10);
  tags = em_json_get(json, "tags");
  CHECK(tags->kind == EM_JSON_ARRAY && tags->n_children >= 1 && tags->n_children <= 4);
  next = em_json_get(json, "next");
  CHECK(next->kind == EM_JSON_NULL || em_json_get(next, "id")->string.bytes == 4);
  em_arena_free(arena);
}

int main(void) {
  fixture f;
  em_engine_params params = fixture_params();
  em_dialog *dialog = NULL;
  em_error error = {0};
  bool complete;
  fixture_open(&f, &(tiny_model){.end_logit = 1}, &params);
  CHECK_INT(em_dialog_new(f.gguf, &dialog, &error), EM_OK);
  size_t n_vocab = em_engine_get_facts(f.engine)->n_vocab;
  em_constraint_params constraint = {.text = schema, .bytes = strlen(schema), .n_vocab = n_vocab};
  for (uint64_t seed = 0; seed < 100; seed++) {
    constraint.continues = seed % 2 != 0;
    char *text = answer_under(f.engine, dialog, &constraint, seed, &complete);
    CHECK(complete);
    check_valid(text);
    free(text);
  }
  static const char gbnf[] = "root ::= \"yes\" | \"no\" (\", \" [a-z]{3}){2}";
  constraint = (em_constraint_params){.text = gbnf, .bytes = strlen(gbnf), .is_gbnf = true, .n_vocab = n_vocab};
  for (uint64_t seed = 0; seed < 5; seed++) {
    char *text = answer_under(f.engine, dialog, &constraint, seed, &complete);
    CHECK(complete);
    CHECK(strcmp(text, "yes") == 0 || (strncmp(text, "no, ", 4) == 0 && strlen(text) == 12));
    free(text);
  }
  /* What no grammar can be made of is refused with a reason. */
  em_constraint *none = NULL;
  constraint = (em_constraint_params){.text = "{\"not\":{\"type\":\"null\"}}", .bytes = 23, .n_vocab = n_vocab};
  CHECK_INT(em_constraint_new(dialog, &constraint, &none, &error), EM_ERR_UNSUPPORTED);
  CHECK(!none && strstr(error.text, "\"not\""));
  em_dialog_free(dialog);
  fixture_close(&f);
  return check_done();
}
