/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/json.h"
#include "check.h"

#include <locale.h>
#include <stdint.h>

/* Parses text and writes it again; the caller frees. NULL: refused with *status. */
static char *rewrite(const char *text, size_t bytes, em_status *status) {
  em_arena *arena = em_arena_new(0);
  const em_json *json = NULL;
  em_error error = { 0 };
  /* A copy of just the right size, so that a sanitizer sees a read past the end. */
  char *copy = malloc(bytes ? bytes : 1);
  memcpy(copy, text, bytes);
  *status = em_json_parse(arena, copy, bytes, 0, &json, &error);
  free(copy);
  char *out = NULL;
  if (*status == EM_OK) {
    em_buffer buffer = { 0 };
    CHECK(em_json_write(&buffer, json));
    out = em_buffer_steal(&buffer);
  } else {
    CHECK(error.text[0] && !strchr(error.text, '\n') && error.has_offset && error.offset <= bytes);
  }
  em_arena_free(arena);
  return out;
}

static void check_good(void) {
  static const char *const cases[][2] = {
    { "null", "null" },
    { " [ 1 , true,false ,null ] ", "[1,true,false,null]" },
    { "{\"a\":{\"b\":[]},\"c\":{}}", "{\"a\":{\"b\":[]},\"c\":{}}" },
    { "{\"a\":1,\"a\":2}", "{\"a\":1,\"a\":2}" },
    { "[9223372036854775807,-9223372036854775808]", "[9223372036854775807,-9223372036854775808]" },
    { "[0,-0,1.0,0.1,1e2,1E+2,12.5e-1]", "[0,-0.0,1.0,0.1,100.0,100.0,1.25]" },
    { "[5e-324,1.7976931348623157e308]", "[4.94065645841247e-324,1.7976931348623157e+308]" },
    { "\"\\u0041\\n\\\"\\\\\\/\\b\\f\\r\\t\"", "\"A\\n\\\"\\\\/\\u0008\\u000c\\u000d\\u0009\"" },
    { "\"\\ud83d\\ude00 \xf0\x9f\x98\x80\"", "\"\xf0\x9f\x98\x80 \xf0\x9f\x98\x80\"" },
    { "\"\\u0000\"", "\"\\u0000\"" },
    { "[[[[[[]]]]]]", "[[[[[[]]]]]]" },
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    em_status status;
    char *out = rewrite(cases[i][0], strlen(cases[i][0]), &status);
    CHECK_TEXT(out, cases[i][1]);
    /* What was written reads back as the same. */
    char *again = out ? rewrite(out, strlen(out), &status) : NULL;
    CHECK_TEXT(again, cases[i][1]);
    free(again);
    free(out);
  }
}

static void check_bad(void) {
  static const char *const cases[] = {
    "", " ", "nul", "nulll", "True", "[", "]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "{", "{\"a\"", "{\"a\":", "{\"a\":1",
    "{\"a\":1,}", "{\"a\" 1}", "{a:1}", "{1:1}", "{\"a\":1]", "[1}", "1 2", "[] []", "01", "-", "+1", ".5", "1.", "1e", "1e+",
    "0x1", "1_0", "NaN", "Infinity", "-Infinity", "1e400", "-1e400", "\"", "\"abc", "\"\\", "\"\\\"", "\"\\x\"", "\"\\u12\"",
    "\"\\u123g\"", "\"\\ud800\"", "\"\\ud800x\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\\ud800\\ud800\"", "\"\n\"", "\"\x01\"",
    "\"\xff\"", "\"\xc3\"", "\"\xed\xa0\x80\"", "\xef\xbb\xbf[]", "'a'", "[1]//", "/**/1", "\f1", "\"a\" \"b\"", "[\"a\" \"b\"]",
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    em_status status;
    char *out = rewrite(cases[i], strlen(cases[i]), &status);
    if (out)
      printf("accepted: %s\n", cases[i]);
    CHECK(!out && (status == EM_ERR_FORMAT || status == EM_ERR_LIMIT));
    free(out);
  }
  em_status status;
  char *out = rewrite("[1\0]", 4, &status);
  CHECK(!out);
  free(out);
}

/* Every beginning of a document, and every document with one byte changed, gives an answer and nothing else. */
static void check_mutations(void) {
  const char *text = "{\"a\":[1,-2.5e3,\"\\u00e9\\ud83d\\ude00\xc3\xa9\"],\"b\":{\"c\":null,\"d\":[true,false,{}]}}";
  size_t bytes = strlen(text);
  em_status status;
  for (size_t n = 0; n < bytes; n++) {
    char *out = rewrite(text, n, &status);
    CHECK(!out);
    free(out);
  }
  char *copy = strdup(text);
  for (size_t i = 0; i < bytes; i++)
    for (int c = 0; c < 256; c += 3) {
      copy[i] = (char)c;
      free(rewrite(copy, bytes, &status));
      copy[i] = text[i];
    }
  free(copy);
}

static void check_limits(void) {
  em_arena *arena = em_arena_new(0);
  const em_json *json;
  char *deep = malloc(200002);
  memset(deep, '[', 100001);
  memset(deep + 100001, ']', 100001);
  CHECK_INT(em_json_parse(arena, deep + 100001 - 64, 128, 0, &json, NULL), EM_OK);
  CHECK_INT(em_json_parse(arena, deep + 100001 - 65, 130, 0, &json, NULL), EM_ERR_LIMIT);
  CHECK_INT(em_json_parse(arena, deep, 200002, 0, &json, NULL), EM_ERR_LIMIT);
  /* With a limit of the caller's choice depth costs memory, never stack. */
  CHECK_INT(em_json_parse(arena, deep, 200002, 200000, &json, NULL), EM_OK);
  em_buffer buffer = { 0 };
  CHECK(em_json_write(&buffer, json));
  CHECK(buffer.bytes == 200002 && memcmp(buffer.data, deep, 200002) == 0);
  em_buffer_clear(&buffer);
  free(deep);

  size_t bytes = EM_JSON_MAX_VALUES * 2 + 2;
  char *many = malloc(bytes);
  for (size_t i = 0; i < bytes; i += 2)
    memcpy(many + i, ",1", 2);
  many[0] = '[';
  many[bytes - 2] = '1';
  many[bytes - 1] = ']';
  /* [1,1,...,11]: one value more than the array and its items may be. */
  CHECK_INT(em_json_parse(arena, many, bytes, 0, &json, NULL), EM_ERR_LIMIT);
  CHECK_INT(em_json_parse(arena, many + 1, 1, 0, &json, NULL), EM_OK);
  free(many);
  em_arena_free(arena);

  /* An arena that is full is an answer, too. */
  for (size_t limit = 1; limit < 1500; limit++) {
    const char *text = "{\"a\":[1,2,{\"b\":\"c\"}]}";
    em_arena *small = em_arena_new(limit);
    em_status status = em_json_parse(small, text, strlen(text), 0, &json, NULL);
    CHECK(status == EM_OK || status == EM_ERR_NO_MEMORY);
    em_arena_free(small);
  }
}

static void check_access(void) {
  em_arena *arena = em_arena_new(0);
  const char *text = "{\"n\":3,\"x\":1.5,\"s\":\"a\\u0000b\",\"t\":true,\"l\":[1,2,3],\"n\":4}";
  const em_json *json, *member;
  CHECK_INT(em_json_parse(arena, text, strlen(text), 0, &json, NULL), EM_OK);
  CHECK(json->kind == EM_JSON_OBJECT && json->n_children == 6);
  member = em_json_get(json, "n");
  CHECK(member && member->kind == EM_JSON_INTEGER && member->integer == 4);
  member = em_json_get(json, "x");
  CHECK(member && member->kind == EM_JSON_REAL && member->real == 1.5);
  member = em_json_get(json, "s");
  CHECK(member && member->kind == EM_JSON_STRING && member->string.bytes == 3 && memcmp(member->string.text, "a\0b", 4) == 0);
  member = em_json_get(json, "l");
  CHECK(member && member->n_children == 3 && member->first->next->integer == 2);
  CHECK(!em_json_get(json, "absent") && !em_json_get(member, "n") && !em_json_get(NULL, "n"));
  em_arena_free(arena);
}

static void check_reals(void) {
  em_buffer buffer = { 0 };
  em_json_write_real(&buffer, NAN);
  em_json_write_real(&buffer, -INFINITY);
  CHECK_TEXT(buffer.data, "nullnull");
  em_buffer_clear(&buffer);
  /* Doubles of all magnitudes come back bit for bit. */
  uint64_t bits = 88172645463325252u;
  for (int i = 0; i < 20000; i++) {
    bits ^= bits << 13;
    bits ^= bits >> 7;
    bits ^= bits << 17;
    double value;
    memcpy(&value, &bits, 8);
    if (!isfinite(value))
      continue;
    em_json_write_real(&buffer, value);
    em_arena *arena = em_arena_new(0);
    const em_json *json = NULL;
    if (em_json_parse(arena, buffer.data, buffer.bytes, 0, &json, NULL) != EM_OK || json->kind != EM_JSON_REAL ||
        memcmp(&json->real, &value, 8) != 0)
      CHECK(!"a double came back otherwise");
    em_arena_free(arena);
    em_buffer_clear(&buffer);
  }
}

/* What a terminal or a text view would obey without showing it is escaped, and reads back as it was. */
static void check_unseen_controls(void) {
  static const char text[] = "a\x7f\xc2\x9b" "2J\xe2\x80\xae" "b\xe2\x81\xa6\xe2\x80\xa8\xc3\xa9";
  em_buffer buffer = {0};
  CHECK(em_json_write_string(&buffer, text, sizeof text - 1));
  CHECK_TEXT(buffer.data, "\"a\\u007f\\u009b2J\\u202eb\\u2066\\u2028\xc3\xa9\"");
  em_arena *arena = em_arena_new(0);
  const em_json *json = NULL;
  CHECK(em_json_parse(arena, buffer.data, buffer.bytes, 0, &json, NULL) == EM_OK);
  CHECK_TEXT(json ? json->string.text : NULL, text);
  em_arena_free(arena);
  em_buffer_clear(&buffer);
}

int main(void) {
  check_unseen_controls();
  check_good();
  check_bad();
  check_mutations();
  check_limits();
  check_access();
  check_reals();
  /* Where numbers have a comma, JSON still has its point. */
  if (setlocale(LC_ALL, "de_DE.UTF-8"))
    check_good();
  em_buffer buffer = { 0 };
  em_json_write_string(&buffer, "a\xff\xe2\x82\n\x7f", 6);
  CHECK_TEXT(buffer.data, "\"a\xef\xbf\xbd\xef\xbf\xbd\\n\\u007f\"");
  em_buffer_clear(&buffer);
  return check_done();
}
