/* SPDX-License-Identifier: GPL-3.0-or-later */
/* JSON schemas: what they accept, what is refused and why, and how long hostile ones take. */
#include "grammar-refused.h"

#include "base/buffer.h"

static em_grammar *grammar_of(const char *schema) {
  em_grammar *grammar = NULL;
  em_error error = {0};
  if (em_grammar_from_schema(schema, strlen(schema), &grammar, &error) != EM_OK)
    fprintf(stderr, "%s: %s\n", schema, error.text);
  CHECK(grammar != NULL);
  return grammar;
}

static bool accepts(const em_grammar *grammar, const char *text) {
  em_matcher *matcher = NULL;
  CHECK_INT(em_matcher_new(grammar, NULL, false, &matcher, NULL), EM_OK);
  bool accepted = em_matcher_feed(matcher, text, strlen(text), NULL) == EM_OK && em_matcher_may_end(matcher);
  em_matcher_free(matcher);
  return accepted;
}

/* Texts end with a NULL each; first those that are accepted. */
typedef struct schema_case {
  const char *schema;
  const char *good[10], *bad[10];
} schema_case;

static void run(const schema_case *cases, size_t n) {
  for (size_t i = 0; i < n; i++) {
    em_grammar *grammar = grammar_of(cases[i].schema);
    for (int k = 0; grammar && k < 10; k++) {
      if (cases[i].good[k] && !accepts(grammar, cases[i].good[k])) {
        fprintf(stderr, "%s does not accept %s\n", cases[i].schema, cases[i].good[k]);
        CHECK(!"accepted");
      }
      if (cases[i].bad[k] && accepts(grammar, cases[i].bad[k])) {
        fprintf(stderr, "%s accepts %s\n", cases[i].schema, cases[i].bad[k]);
        CHECK(!"refused");
      }
      check_count += (cases[i].good[k] != NULL) + (cases[i].bad[k] != NULL);
    }
    em_grammar_free(grammar);
  }
}
#define RUN(cases) run(cases, sizeof cases / sizeof cases[0])

static void test_values(void) {
  static const schema_case cases[] = {
      {"true", {"1", "null", "\"x\"", "[1, {\"a\": []}]", "{}"}, {"", "x", " 1", "1 ", "01", "[1,]", "{a:1}"}},
      {"{\"description\":\"d\",\"title\":\"t\"}", {"{}", "{\"a\":1}"}, {"1"}},
      {"{\"items\":{}}", {"[]", "[1, \"a\", null, {}]"}, {"{}"}},
      {"{\"type\":\"string\"}",
       {"\"\"", "\"a\\n\\u00e9\\\\ \\/\"", "\"\xC3\xA9\xF0\x9F\xA6\x99\"", "\"\\uD83E\\uDD99\""},
       {"\"", "\"\n\"", "\"\\x\"", "\"\\u12\"", "\"\\uD83E\"", "\"\\uDD99\"", "\"\xC3\"", "\"\xED\xA0\x80\"", "'a'"}},
      {"{\"type\":\"string\",\"minLength\":2,\"maxLength\":3}",
       {"\"ab\"", "\"abc\"", "\"\xC3\xA9\xE4\xB8\xAD\"", "\"\\n\\uD83E\\uDD99\""},
       {"\"a\"", "\"abcd\"", "\"\\n\""}},
      {"{\"type\":\"number\"}",
       {"0", "-0", "1.5", "-12.25e-3", "1E5", "1234567890123456"},
       {".5", "1.", "+1", "1e", "--1", "0x1", "NaN", "1e1000", "00"}},
      {"{\"type\":\"boolean\"}", {"true", "false"}, {"null", "True", "0"}},
      {"{\"type\":\"null\"}", {"null"}, {"nul", "\"null\""}},
      {"{\"type\":[\"string\",\"null\"],\"maxLength\":2}", {"null", "\"ab\""}, {"\"abc\"", "1"}},
      {"{\"type\":\"string\",\"nullable\":true}", {"null", "\"ab\""}, {"1"}},
      {"{\"enum\":[\"a\",1,1.5,null,true,[1,\"b\"],{\"c\":\"\\u00e9\\n\"}]}",
       {"\"a\"", "1", "1.5", "null", "true", "[1,\"b\"]", "{\"c\":\"\xC3\xA9\\n\"}"},
       {"\"b\"", "2", "11", "[]"}},
      {"{\"enum\":[\"abc\",\"ab\",\"abd\",\"\",\"abc\",\"x\"]}",
       {"\"abc\"", "\"ab\"", "\"abd\"", "\"\"", "\"x\""},
       {"\"a\"", "\"abcd\"", "\"abx\"", "\"xx\""}},
      {"{\"enum\":[1,10,100,12]}", {"1", "10", "100", "12"}, {"11", "1000", "2", ""}},
      {"{\"type\":\"string\",\"enum\":[\"a\",null]}", {"\"a\""}, {"null"}},
      {"{\"const\":\"x\\\"y\"}", {"\"x\\\"y\""}, {"\"x\"", "x"}},
      {"{\"const\":null}", {"null"}, {"0", ""}},
  };
  RUN(cases);
}

static void test_numbers(void) {
  static const schema_case cases[] = {
      {"{\"type\":\"integer\",\"minimum\":0,\"exclusiveMaximum\":150}",
       {"0", "9", "10", "149"},
       {"150", "-1", "-0", "1.0", "999"}},
      {"{\"type\":\"integer\",\"exclusiveMinimum\":9,\"maximum\":1000}", {"10", "99", "1000"}, {"9", "1001"}},
      {"{\"type\":\"integer\",\"minimum\":1.5,\"maximum\":3.9}", {"2", "3"}, {"1", "4"}},
      {"{\"type\":\"integer\",\"minimum\":-9007199254740991,\"maximum\":9007199254740991}",
       {"-9007199254740991", "0", "9007199254740991", "-1"},
       {"9007199254740992", "-9007199254740992"}},
      {"{\"type\":\"integer\",\"minimum\":20000000000000000}",
       {"20000000000000000", "999999999999999999"},
       {"19999999999999999"}},
      {"{\"type\":\"number\",\"multipleOf\":1,\"minimum\":-3}", {"-3", "0", "12"}, {"1.5", "-4"}},
      {"{\"type\":[\"integer\",\"null\"],\"multipleOf\":1.0}", {"5", "null"}, {"1.5"}},
      {"{\"type\":\"integer\",\"minimum\":0,\"exclusiveMinimum\":true}", {"1"}, {"0"}}, /* draft-04 */
      {"{\"type\":\"number\",\"minimum\":0,\"maximum\":1}",
       {"0", "1", "0.5", "1.0", "0.999"},
       {"1.01", "-0.1", "2", "1e0", "10"}},
      {"{\"type\":\"number\",\"exclusiveMinimum\":0,\"exclusiveMaximum\":1}",
       {"0.1", "0.999", "0.001"},
       {"0", "0.0", "1", "1.0"}},
      {"{\"type\":\"number\",\"minimum\":-1.25,\"maximum\":12.5}",
       {"-1.25", "-1", "-1.2", "0", "12.5", "12.49", "7.123", "-1.250", "10"},
       {"-1.26", "-1.3", "12.51", "12.6", "-2", "13"}},
      {"{\"type\":\"number\",\"minimum\":0.1}", {"0.1", "0.11", "1", "123.5"}, {"0", "0.09", "0.0999", "-1"}},
      {"{\"type\":\"number\",\"maximum\":-3}", {"-3", "-3.5", "-100", "-3.0"}, {"-2.9", "3", "0", "-2"}},
      {"{\"type\":\"number\",\"exclusiveMaximum\":-3.5}", {"-3.51", "-4"}, {"-3.5", "-3.50", "-3"}},
      {"{\"type\":\"number\",\"minimum\":1.25,\"maximum\":1.75}",
       {"1.25", "1.3", "1.75", "1.5000"},
       {"1.2", "1.76", "1", "1.8", "2"}},
      {"{\"type\":\"number\",\"minimum\":1.25,\"exclusiveMinimum\":1.25,\"maximum\":1e300}",
       {"1.251", "9999999999999999"},
       {"1.25", "1.2"}},
      {"{\"type\":\"number\",\"minimum\":0.125,\"exclusiveMinimum\":0.1}", {"0.125", "0.2"}, {"0.124", "0.1"}},
      {"{\"type\":\"integer\",\"exclusiveMinimum\":2.0,\"maximum\":5.0}", {"3", "5"}, {"2", "6"}},
      {"{\"type\":\"integer\",\"maximum\":-20000000000000000}", {"-20000000000000000"}, {"-1"}},
      {"{\"type\":\"number\",\"minimum\":2,\"maximum\":2}", {"2", "2.0"}, {"2.1", "1.9"}},
  };
  RUN(cases);
}

static void test_strings(void) {
  static const schema_case cases[] = {
      {"{\"type\":\"string\",\"format\":\"date\"}",
       {"\"2024-02-29\""},
       {"\"2024-13-01\"", "\"2024-1-1\"", "\"2024-00-10\""}},
      {"{\"type\":\"string\",\"format\":\"time\"}",
       {"\"23:59:59Z\"", "\"00:00:00.5+02:00\""},
       {"\"24:00:00Z\"", "\"10:00:00\""}},
      {"{\"type\":\"string\",\"format\":\"date-time\"}", {"\"2024-02-29T10:11:12Z\""}, {"\"2024-02-29 10:11:12Z\""}},
      {"{\"type\":\"string\",\"format\":\"uuid\"}",
       {"\"01234567-89ab-CDEF-0123-456789abcdef\""},
       {"\"0123\"", "\"g1234567-89ab-cdef-0123-456789abcdef\""}},
      {"{\"type\":\"string\",\"format\":\"email\"}",
       {"\"a.b+c@d-e.org\""},
       {"\"a@b\"", "\"@b.org\"", "\"a..b@c.org\""}},
      {"{\"type\":\"string\",\"format\":\"ipv4\"}",
       {"\"255.0.10.99\""},
       {"\"256.0.0.1\"", "\"1.2.3\"", "\"01.2.3.4\""}},
      {"{\"type\":\"string\",\"format\":\"ipv6\"}",
       {"\"::1\"", "\"2001:db8::8a2e\"", "\"1:2:3:4:5:6:7:8\""},
       {"\"1:2\"", "\"12345::\""}},
      {"{\"type\":\"string\",\"format\":\"uri\"}",
       {"\"https://a.b/c?d=e\"", "\"mailto:a@b\""},
       {"\"a b\"", "\"://x\""}},
      {"{\"type\":\"string\",\"format\":\"duration\"}",
       {"\"P1Y2M3DT4H5M6S\"", "\"PT5M\"", "\"P2W\""},
       {"\"P\"", "\"P1DT\"", "\"1D\""}},
      {"{\"type\":\"string\",\"format\":\"hostname\"}", {"\"a-b.example\""}, {"\"-a\"", "\"a_b\""}},
      {"{\"type\":\"string\",\"format\":\"color\"}", {"\"anything\""}, {"1"}},
      {"{\"type\":\"string\",\"pattern\":\"^[a-z]+\\\\d{2,3}$\"}",
       {"\"ab12\"", "\"z123\""},
       {"\"ab1\"", "\"ab1234\"", "\"12\""}},
      {"{\"type\":\"string\",\"pattern\":\"b+\"}", {"\"abc\"", "\"b\"", "\"xbbby\""}, {"\"ac\"", "\"\""}},
      {"{\"type\":\"string\",\"pattern\":\"^a|b$\"}", {"\"ax\"", "\"xb\"", "\"ab\""}, {"\"xa\"", "\"bx\""}},
      {"{\"type\":\"string\",\"pattern\":\"^(?:a|(?<n>bc)){1,2}?(x)?$\"}",
       {"\"abc\"", "\"bcx\"", "\"aa\""},
       {"\"x\"", "\"abca\""}},
      {"{\"type\":\"string\",\"pattern\":\"^[\\\"\\\\\\\\\\\\n]+$\"}",
       {"\"\\\"\"", "\"\\\\\\n\""},
       {"\"a\"", "\"\\t\""}},
      {"{\"type\":\"string\",\"pattern\":\"^\\\\S+\\\\s\\\\D$\"}",
       {"\"ab c\"", "\"\xC3\xA9\\n!\""},
       {"\"ab 1\"", "\"abc\""}},
      {"{\"type\":\"string\",\"pattern\":\"^\\\\x41\\\\u00e9\\\\u{1F999}\\\\uD83E\\\\uDD99\\\\t\\\\/$\"}",
       {"\"A\xC3\xA9\xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\\t/\""},
       {"\"A\""}},
      {"{\"type\":\"string\",\"pattern\":\"^[\\\\b\\\\x41-\\\\x43\\\\d-x_-]+[^\\\\D]$\"}",
       {"\"\\bABC9-x_1\""},
       {"\"D1\"", "\"A\""}},
      {"{\"type\":\"string\",\"pattern\":\"^[a-z]{2,9}$\",\"maxLength\":20,\"minLength\":4}",
       {"\"abcd\"", "\"abcdefghi\""},
       {"\"abc\"", "\"abcdefghij\""}},
      {"{\"type\":\"string\",\"pattern\":\"^[\\\\u0000-\\\\u001f]+$\"}", {"\"\\u0000\\n\\u001f\""}, {"\"a\""}},
      {"{\"type\":\"string\",\"pattern\":\"^a{2\"}", {"\"a{2\""}, {"\"aa\""}},
      {"{\"type\":\"string\",\"pattern\":\"^id-[a-z]*$\",\"minLength\":5,\"maxLength\":6}",
       {"\"id-ab\"", "\"id-abc\""},
       {"\"id-a\"", "\"id-abcd\""}},
      {"{\"type\":\"string\",\"pattern\":\"^[ab]{2}$\",\"maxLength\":10}", {"\"ab\""}, {"\"a\""}},
      {"{\"type\":\"string\",\"format\":\"email\",\"pattern\":\"^(?!\\\\.)(?!.*\\\\.\\\\.)([A-Za-z0-9]+)@x$\"}",
       {"\"a@b.org\""},
       {"\"a\""}},
  };
  RUN(cases);
}

static void test_objects(void) {
  static const schema_case cases[] = {
      {"{\"type\":\"object\"}",
       {"{}", "{\"a\":1,\"b\":{\"c\":[]}}", "{ \"a\" : 1 , \"b\" : 2 }", "{\n  \"a\": 1\n}"},
       {"[]", "{\"a\"}"}},
      {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"null\"},\"c\":false},\"required\":[\"b\"]}",
       {"{\"a\":1,\"b\":null}", "{\"b\":null}"},
       {"{\"a\":1}", "{\"b\":null,\"a\":1}", "{\"b\":null,\"c\":1}", "{\"b\":null,\"x\":1}", "{}", "{,\"b\":null}",
        "{\"b\":null,}"}},
      {"{\"properties\":{\"a\":{\"type\":\"integer\"}},\"additionalProperties\":{\"type\":\"null\"}}",
       {"{}", "{\"a\":1}", "{\"a\":1,\"b\":null}", "{\"b\":null}", "{\"\":null}", "{\"aa\":null,\"ab\":null}"},
       {"{\"a\":null}", "{\"b\":null,\"a\":1}", "{\"b\":1}", "{\"\\u0061\":null}"}},
      {"{\"properties\":{\"na\\\"me\":{\"type\":\"integer\"}},\"additionalProperties\":true}",
       {"{\"na\\\"me\":1}", "{\"na\":null}", "{\"na\\\\\":null}"},
       {"{\"na\\\"me\":null}"}},
      {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"},\"minProperties\":1,\"maxProperties\":2}",
       {"{\"a\":1}", "{\"a\":1,\"b\":2}"},
       {"{}", "{\"a\":1,\"b\":2,\"c\":3}", "{\"a\":null}"}},
      {"{\"type\":\"object\",\"required\":[\"a\"],\"additionalProperties\":{\"type\":\"integer\"}}",
       {"{\"a\":1}", "{\"a\":1,\"b\":2}"},
       {"{}", "{\"a\":\"x\"}", "{\"b\":2}"}},
      {"{\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"null\"}},\"minProperties\":1}",
       {"{\"a\":1}", "{\"b\":null}", "{\"a\":1,\"b\":null}"},
       {"{}", "{ }"}},
      {"{\"properties\":{\"a\":{\"type\":\"integer\"}},\"minProperties\":1,\"additionalProperties\":true}",
       {"{\"a\":1}", "{\"b\":null}", "{\"a\":1,\"b\":null}"},
       {"{}"}},
      {"{\"type\":\"object\",\"propertyNames\":{\"pattern\":\"^[ab]$\"},\"additionalProperties\":{\"type\":\"integer\"}"
       "}",
       {"{}", "{\"a\":1,\"b\":2}"},
       {"{\"c\":1}", "{\"ab\":1}"}},
      {"{\"type\":\"object\",\"propertyNames\":{\"enum\":[\"x\",\"y\"]},\"additionalProperties\":true}",
       {"{\"x\":1}"},
       {"{\"z\":1}"}},
      {"{\"type\":\"object\",\"propertyNames\":{\"type\":\"string\"},\"properties\":{\"a\":{}}}",
       {"{\"a\":[1]}", "{}"},
       {"{\"b\":1}"}},
      {"{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false}", {"{}", "{ }"}, {"{\"a\":1}"}},
      {"{\"type\":\"object\",\"unevaluatedProperties\":false}", {"{}"}, {"{\"a\":1}"}},
      {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"minItems\":1,\"maxItems\":3}",
       {"[1]", "[1, 2,3]"},
       {"[]", "[1,2,3,4]", "[null]"}},
      {"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"maxItems\":0}", {"[]"}, {"[1]"}},
      {"{\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"null\"}]}",
       {"[1,null]"},
       {"[1]", "[1,null,2]", "[]", "[null,1]"}},
      {"{\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"null\"}],\"items\":{\"type\":\"boolean\"},\"minItems\":1}",
       {"[1]", "[1,null]", "[1,null,true,false]"},
       {"[]", "[1,true]"}},
      {"{\"items\":[{\"type\":\"integer\"}],\"additionalItems\":{\"type\":\"null\"},\"maxItems\":2}",
       {"[1]", "[1,null]"},
       {"[1,null,null]", "[null]"}},
      {"{\"prefixItems\":[{\"type\":\"integer\"}],\"items\":false}", {"[1]"}, {"[1,1]"}},
  };
  RUN(cases);
}

static void test_combinations(void) {
  static const schema_case cases[] = {
      {"{\"anyOf\":[{\"type\":\"integer\"},{\"type\":\"null\"}]}", {"1", "null"}, {"true"}},
      {"{\"oneOf\":[{\"properties\":{\"k\":{\"const\":\"a\"}},\"required\":[\"k\"]},{\"properties\":{\"k\":{\"const\":"
       "\"b\"},\"n\":{\"type\":\"integer\"}},\"required\":[\"k\",\"n\"]}]}",
       {"{\"k\":\"a\"}", "{\"k\":\"b\",\"n\":1}"},
       {"{\"k\":\"b\"}", "{\"k\":\"a\",\"n\":1}"}},
      {"{\"type\":\"string\",\"anyOf\":[{\"maxLength\":1},{\"minLength\":3}]}", {"\"a\"", "\"abc\""}, {"\"ab\"", "1"}},
      {"{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"null\"},\"b\":{\"type\":\"null\"}},"
       "\"additionalProperties\":false,\"anyOf\":[{\"required\":[\"a\"]},{\"required\":[\"b\"]}]}",
       {"{\"a\":null}", "{\"b\":null}", "{\"a\":null,\"b\":null}"},
       {"{}"}},
      {"{\"allOf\":[{\"properties\":{\"a\":{\"type\":\"number\"}},\"required\":[\"a\"]},{\"properties\":{\"b\":{"
       "\"type\":\"null\"},\"a\":{\"type\":\"integer\",\"minimum\":3}}}]}",
       {"{\"a\":3}", "{\"a\":4,\"b\":null}"},
       {"{\"a\":2}", "{\"a\":3.5}", "{\"b\":null}"}},
      {"{\"allOf\":[{\"type\":\"integer\",\"minimum\":1},{\"maximum\":5},{\"minimum\":3}]}", {"3", "5"}, {"2", "6"}},
      {"{\"allOf\":[{\"enum\":[1,2,3]},{\"enum\":[3,2,4]}]}", {"2", "3"}, {"1", "4"}},
      {"{\"allOf\":[{\"type\":[\"number\",\"null\"]},{\"type\":[\"integer\",\"string\"]}]}",
       {"1"},
       {"null", "1.5", "\"\""}},
      {"{\"allOf\":[{\"properties\":{\"a\":{}},\"required\":[\"a\"]},{\"properties\":{\"b\":{\"maxLength\":9}},"
       "\"required\":[\"b\"]},{\"properties\":{\"b\":{\"type\":\"string\",\"maxLength\":2}}}]}",
       {"{\"a\":1,\"b\":\"xy\"}"},
       {"{\"a\":1}", "{\"a\":1,\"b\":\"xyz\"}", "{\"b\":\"x\"}"}},
      {"{\"allOf\":[{\"items\":{\"minimum\":2},\"maxItems\":5},{\"items\":{\"maximum\":4},\"maxItems\":3},{\"items\":"
       "true}]}",
       {"[2,3,4]"},
       {"[1]", "[5]", "[2,2,2,2]"}},
      {"{\"allOf\":[{\"type\":\"object\",\"additionalProperties\":{\"type\":\"number\"}},{\"additionalProperties\":{"
       "\"type\":\"integer\"}}]}",
       {"{\"a\":1}"},
       {"{\"a\":1.5}"}},
      {"{\"allOf\":[{\"type\":\"object\",\"additionalProperties\":false},{\"additionalProperties\":true}]}",
       {"{}"},
       {"{\"a\":1}"}},
      {"{\"allOf\":[{\"uniqueItems\":false,\"items\":{}},{\"uniqueItems\":false,\"format\":\"x\",\"pattern\":\"a\"},{"
       "\"format\":\"x\",\"pattern\":\"a\"}],\"type\":\"array\"}",
       {"[1,1]"},
       {"1"}},
      {"{\"$ref\":\"#/anyOf/1\",\"description\":\"the second "
       "one\",\"anyOf\":[{\"type\":\"string\"},{\"type\":\"null\"}]}",
       {"null"},
       {"1", "\"a\""}},
      {"{\"$ref\":\"#/$defs/a~0b%25\",\"$defs\":{\"a~b%\":{\"type\":\"null\"}}}", {"null"}, {"1"}},
      {"{\"allOf\":[true,{\"type\":\"null\"}]}", {"null"}, {"1"}},
      {"{\"$ref\":\"#/definitions/a~1b/properties/x%20y\",\"definitions\":{\"a/b\":{\"properties\":{\"x "
       "y\":{\"type\":\"null\"}}}}}",
       {"null"},
       {"1"}},
      {"{\"$ref\":\"#/$defs/"
       "n\",\"minimum\":2,\"description\":\"d\",\"$defs\":{\"n\":{\"type\":\"integer\",\"maximum\":3}}}",
       {"2", "3"},
       {"1", "4"}},
      {"{\"$ref\":\"#/$defs/"
       "list\",\"$defs\":{\"list\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":\"integer\"},\"next\":{"
       "\"anyOf\":[{\"$ref\":\"#/$defs/list\"},{\"type\":\"null\"}]}},\"required\":[\"v\",\"next\"]}}}",
       {"{\"v\":1,\"next\":null}", "{\"v\":1,\"next\":{\"v\":2,\"next\":{\"v\":3,\"next\":null}}}"},
       {"{\"v\":1}", "{\"v\":1,\"next\":{}}"}},
      {"{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}", {"[]", "[[],[[]]]"}, {"[1]"}},
      {"{\"allOf\":[{\"$ref\":\"#/$defs/"
       "base\"},{\"properties\":{\"kids\":{\"type\":\"array\",\"items\":{\"$ref\":\"#\"}}}}],\"$defs\":{\"base\":{"
       "\"type\":\"object\",\"properties\":{\"id\":{\"type\":\"integer\"}},\"required\":[\"id\"]}}}",
       {"{\"id\":1}", "{\"id\":1,\"kids\":[{\"id\":2}]}"},
       {"{\"kids\":[]}", "{\"id\":1,\"kids\":[1]}"}},
      {"{\"anyOf\":[{\"type\":\"null\"},false]}", {"null"}, {"1"}},
      {"{\"if\":{},\"type\":\"null\"}", {"null"}, {"1"}},
  };
  RUN(cases);
}

/* --- Refused ------------------------------------------------------------------------------------------------------ */

static void check_refused(const char *schema, em_status expected, const char *reason) {
  check_refused_by(em_grammar_from_schema, schema, strlen(schema), expected, reason);
}

static void test_refused(void) {
  static const struct {
    const char *schema;
    em_status status;
    const char *reason;
  } cases[] = {
      {"", EM_ERR_FORMAT, "JSON"},
      {"{", EM_ERR_FORMAT, "JSON"},
      {"12", EM_ERR_FORMAT, "neither"},
      {"false", EM_ERR_FORMAT, "accepts no text"},
      {"{\"type\":\"strnig\"}", EM_ERR_FORMAT, "strnig"},
      {"{\"type\":[]}", EM_ERR_FORMAT, "accepts no text"},
      {"{\"type\":3}", EM_ERR_FORMAT, "type"},
      {"{\"enum\":3}", EM_ERR_FORMAT, "enum"},
      {"{\"enum\":[]}", EM_ERR_FORMAT, "accepts no text"},
      {"{\"type\":\"string\",\"enum\":[1]}", EM_ERR_FORMAT, "accepts no text"},
      {"{\"properties\":[]}", EM_ERR_FORMAT, "properties"},
      {"{\"properties\":{\"a\":3}}", EM_ERR_FORMAT, "neither"},
      {"{\"required\":{}}", EM_ERR_FORMAT, "required"},
      {"{\"required\":[\"a\"],\"additionalProperties\":false}", EM_ERR_FORMAT, "requires \"a\""},
      {"{\"properties\":{\"a\":false},\"required\":[\"a\"]}", EM_ERR_FORMAT, "accepts no text"},
      {"{\"anyOf\":[]}", EM_ERR_FORMAT, "anyOf"},
      {"{\"anyOf\":{}}", EM_ERR_FORMAT, "anyOf"},
      {"{\"allOf\":[]}", EM_ERR_FORMAT, "allOf"},
      {"{\"minItems\":-1}", EM_ERR_FORMAT, "minItems"},
      {"{\"minItems\":3,\"maxItems\":2}", EM_ERR_FORMAT, "maxItems"},
      {"{\"minLength\":1.5}", EM_ERR_FORMAT, "minLength"},
      {"{\"maxLength\":1000000}", EM_ERR_LIMIT, "maxLength"},
      {"{\"minLength\":3,\"maxLength\":2}", EM_ERR_FORMAT, "maxLength"},
      {"{\"minimum\":\"1\"}", EM_ERR_FORMAT, "minimum"},
      {"{\"type\":\"integer\",\"minimum\":3,\"maximum\":2}", EM_ERR_FORMAT, "accepts no text"},
      {"{\"type\":\"number\",\"minimum\":3,\"exclusiveMaximum\":3}", EM_ERR_FORMAT, "accepts no text"},
      {"{\"pattern\":3}", EM_ERR_FORMAT, "pattern"},
      {"{\"pattern\":\"(\"}", EM_ERR_FORMAT, "group"},
      {"{\"pattern\":\")\"}", EM_ERR_FORMAT, "group"},
      {"{\"pattern\":\"[a\"}", EM_ERR_FORMAT, "class"},
      {"{\"pattern\":\"[b-a]\"}", EM_ERR_FORMAT, "range"},
      {"{\"pattern\":\"*\"}", EM_ERR_FORMAT, "repeats nothing"},
      {"{\"pattern\":\"a**\"}", EM_ERR_FORMAT, "repeats a repetition"},
      {"{\"pattern\":\"\\\\\"}", EM_ERR_FORMAT, "backslash"},
      {"{\"pattern\":\"\\\\p{L}\"}", EM_ERR_UNSUPPORTED, "\\p"},
      {"{\"pattern\":\"(a)\\\\1\"}", EM_ERR_UNSUPPORTED, "\\1"},
      {"{\"pattern\":\"(?=a)b\"}", EM_ERR_UNSUPPORTED, "looks ahead"},
      {"{\"pattern\":\"a\\\\b\"}", EM_ERR_UNSUPPORTED, "\\b"},
      {"{\"pattern\":\"a^b\"}", EM_ERR_UNSUPPORTED, "^"},
      {"{\"pattern\":\"(a$)b\"}", EM_ERR_UNSUPPORTED, "$"},
      {"{\"pattern\":\"a{1,1000000}\"}", EM_ERR_LIMIT, "too often"},
      {"{\"pattern\":\"^[]$\"}", EM_ERR_FORMAT, "accepts no text"},
      {"{\"pattern\":\"\\\\u{110000}\"}", EM_ERR_FORMAT, "no character"},
      {"{\"pattern\":\"\\\\u12\"}", EM_ERR_FORMAT, "too few digits"},
      {"{\"pattern\":\"a{3,2}\"}", EM_ERR_FORMAT, "below its minimum"},
      {"{\"pattern\":\"^[a-z]{3}$\",\"minLength\":4}", EM_ERR_UNSUPPORTED, "minLength"},
      {"{\"pattern\":\"^[a-z]{3,5}$\",\"minLength\":6}", EM_ERR_FORMAT, "lengths"},
      {"{\"type\":\"number\",\"minimum\":1e-30}", EM_ERR_UNSUPPORTED, "digits behind its point"},
      {"{\"allOf\":[{\"properties\":3},{\"properties\":{}}]}", EM_ERR_FORMAT, "properties"},
      {"{\"pattern\":\"^a*b*$\",\"maxLength\":4}", EM_ERR_UNSUPPORTED, "maxLength"},
      {"{\"pattern\":\"^abc$\",\"maxLength\":2}", EM_ERR_UNSUPPORTED, "maxLength"},
      {"{\"type\":\"array\",\"uniqueItems\":true}", EM_ERR_UNSUPPORTED, "uniqueItems"},
      {"{\"not\":{\"type\":\"null\"}}", EM_ERR_UNSUPPORTED, "\"not\""},
      {"{\"type\":\"object\",\"patternProperties\":{\"^x\":{}}}", EM_ERR_UNSUPPORTED, "patternProperties"},
      {"{\"type\":\"array\",\"contains\":{\"type\":\"null\"}}", EM_ERR_UNSUPPORTED, "contains"},
      {"{\"type\":\"number\",\"multipleOf\":0.5}", EM_ERR_UNSUPPORTED, "multipleOf"},
      {"{\"if\":{\"type\":\"null\"},\"then\":true}", EM_ERR_UNSUPPORTED, "\"if\""},
      {"{\"properties\":{\"a\":{}},\"propertyNames\":{\"maxLength\":3},\"additionalProperties\":true}",
       EM_ERR_UNSUPPORTED, "propertyNames"},
      {"{\"properties\":{\"a\":{},\"b\":{}},\"minProperties\":2}", EM_ERR_UNSUPPORTED, "counts members"},
      {"{\"$ref\":\"https://example.org/schema.json\"}", EM_ERR_UNSUPPORTED, "example.org"},
      {"{\"$ref\":\"#/nowhere\"}", EM_ERR_FORMAT, "not there"},
      {"{\"$ref\":3}", EM_ERR_FORMAT, "$ref"},
      {"{\"$ref\":\"#\"}", EM_ERR_FORMAT, "itself"},
      {"{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"$ref\":\"#/$defs/b\"},\"b\":{\"$ref\":\"#/$defs/a\"}}}",
       EM_ERR_FORMAT, "itself"},
      {"{\"anyOf\":[{\"$ref\":\"#\"}]}", EM_ERR_FORMAT, "itself"},
      {"{\"allOf\":[{\"$ref\":\"#\"},{\"type\":\"null\"}]}", EM_ERR_LIMIT, "itself"},
      {"{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"anyOf\":[{\"$ref\":\"#/$defs/"
       "b\"}]},\"b\":{\"allOf\":[{\"$ref\":\"#/$defs/a\"},{\"type\":\"object\"}]}}}",
       EM_ERR_LIMIT, "itself"},
      {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", EM_ERR_FORMAT,
       "accepts no text"},
      {"{\"allOf\":[{\"type\":\"null\"},{\"type\":\"string\"}]}", EM_ERR_FORMAT, "accepts no text"},
      {"{\"allOf\":[{\"pattern\":\"a\"},{\"pattern\":\"b\"}]}", EM_ERR_UNSUPPORTED, "pattern"},
      {"{\"allOf\":[{\"anyOf\":[true]},{\"anyOf\":[{\"type\":\"null\"}]}]}", EM_ERR_UNSUPPORTED, "anyOf"},
      {"{\"allOf\":[{\"properties\":{\"a\":{}},\"additionalProperties\":false},{\"properties\":{\"b\":{}}}]}",
       EM_ERR_UNSUPPORTED, "additionalProperties"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    check_refused(cases[i].schema, cases[i].status, cases[i].reason);
}

static void append_repeated(em_buffer *out, const char *text, size_t n) {
  for (size_t i = 0; i < n; i++)
    em_buffer_append_text(out, text);
}

static void test_hostile(void) {
  em_buffer text = {0};
  append_repeated(&text, "{\"items\":", 10000);
  append_repeated(&text, "}", 10000);
  check_refused(text.data, EM_ERR_LIMIT, "nested deeper");
  text.bytes = 0;
  append_repeated(&text, "{\"anyOf\":[", 10000);
  check_refused(text.data, EM_ERR_LIMIT, "nested deeper");
  text.bytes = 0;
  em_buffer_append_text(&text, "{\"pattern\":\"");
  append_repeated(&text, "(", 60000);
  em_buffer_append_text(&text, "\"}");
  check_refused(text.data, EM_ERR_LIMIT, "nested too deeply");
  text.bytes = 0;
  em_buffer_append_text(&text, "{\"pattern\":\"^");
  append_repeated(&text, "(", 60);
  em_buffer_append_text(&text, "a");
  append_repeated(&text, "){60000}", 60);
  em_buffer_append_text(&text, "$\"}");
  em_grammar *grammar = grammar_of(text.data);
  CHECK(grammar && !accepts(grammar, "\"aaaa\""));
  em_grammar_free(grammar);
  /* Many names, all required, and many references. */
  text.bytes = 0;
  em_buffer_append_text(&text, "{\"required\":[");
  for (int i = 0; i < 12000; i++)
    em_buffer_appendf(&text, "%s\"p%d\"", i ? "," : "", i);
  em_buffer_append_text(&text, "],\"properties\":{");
  for (int i = 0; i < 12000; i++)
    em_buffer_appendf(&text, "%s\"p%d\":{}", i ? "," : "", i);
  em_buffer_append_text(&text, "}}");
  clock_t start = clock();
  CHECK(em_grammar_from_schema(text.data, text.bytes, &grammar, NULL) == EM_ERR_LIMIT);
  CHECK((double)(clock() - start) * 1e3 / CLOCKS_PER_SEC < MAX_MS);
  /* More values than ways that can be followed. */
  text.bytes = 0;
  em_buffer_append_text(&text, "{\"enum\":[");
  for (int i = 0; i < 12000; i++)
    em_buffer_appendf(&text, "%s\"value %d\"", i ? "," : "", i);
  em_buffer_append_text(&text, "]}");
  grammar = grammar_of(text.data);
  CHECK(grammar && accepts(grammar, "\"value 11999\"") && !accepts(grammar, "\"value 12000\""));
  em_grammar_free(grammar);
  em_buffer_clear(&text);
}

int main(void) {
  test_values();
  test_numbers();
  test_strings();
  test_objects();
  test_combinations();
  test_refused();
  test_hostile();
  return check_done();
}
