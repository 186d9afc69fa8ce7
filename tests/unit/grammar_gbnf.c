/* SPDX-License-Identifier: GPL-3.0-or-later */
/* GBNF: what it accepts, what is refused and why, and how long hostile grammars take. */
#include "grammar-refused.h"

#include "base/buffer.h"
#include "base/clock.h"

static bool accepts(const em_grammar *grammar, const char *text, size_t bytes) {
  em_matcher *matcher = NULL;
  CHECK_INT(em_matcher_new(grammar, NULL, false, &matcher, NULL), EM_OK);
  bool accepted = em_matcher_feed(matcher, text, bytes, NULL) == EM_OK && em_matcher_may_end(matcher);
  em_matcher_free(matcher);
  return accepted;
}

static void check_text(const char *source, const char *text, bool expected) {
  em_grammar *grammar = NULL;
  em_error error = {0};
  CHECK_INT(em_grammar_from_gbnf(source, strlen(source), &grammar, &error), EM_OK);
  if (!grammar) {
    fprintf(stderr, "%s: %s\n", source, error.text);
    return;
  }
  if (accepts(grammar, text, strlen(text)) != expected)
    fprintf(stderr, "%s: \"%s\"\n", source, text);
  CHECK_INT(accepts(grammar, text, strlen(text)), expected);
  em_grammar_free(grammar);
}

static void test_texts(void) {
  static const struct {
    const char *source, *text;
    bool accepted;
  } cases[] = {
      {"root ::= \"a\" | \"b\" \"c\"", "bc", true},
      {"root ::= \"a\" | \"b\" \"c\"", "ac", false},
      {"root ::=", "", true},
      {"root ::= \"\"", "x", false},
      {"root ::= | \"a\"", "", true},
      {"# only a root\nroot ::= x # y\n\nx ::= \"a\" # z", "a", true},
      {"root::=a-b_1\na-b_1::=[0-9]", "7", true},
      {"root ::= (\n  \"a\" # one\n  | \"b\"\n)*\n", "abba", true},
      {"root ::= \"a\" |\n  \"b\"", "b", true},
      {"root ::= \"a\"\n  | \"b\"", "b", true},
      {"root ::= a\r\na ::= \"x\"\r\n", "x", true},
      {"root ::= [a-cx]", "b", true},
      {"root ::= [a-cx]", "w", false},
      {"root ::= [^a-cx]", "w", true},
      {"root ::= [^a-cx]", "b", false},
      {"root ::= [^a-cx]", "\n", true},
      {"root ::= [^a-cx]", "\xF0\x9F\xA6\x99", true},
      {"root ::= [^a-cx]", "\xF0\x9F\xA6", false},
      {"root ::= [^\\u00e0-\\u00ef]", "\xC3\xA9", false},
      {"root ::= [^\\u00e0-\\u00ef]", "\xC3\xB0", true},
      {"root ::= [\\u0100-\\U0001F600]", "\xE0\xA0\x80", true},
      {"root ::= [\\u0100-\\U0001F600]", "\xED\x9F\xBF", true},
      {"root ::= [\\u0100-\\U0001F600]", "\xED\xA0\x80", false}, /* a surrogate */
      {"root ::= [\\u0100-\\U0001F600]", "\xF0\x9F\x98\x80", true},
      {"root ::= [\\u0100-\\U0001F600]", "\xF0\x9F\x98\x81", false},
      {"root ::= [\\u0100-\\U0001F600]", "\xC4\x80", true},
      {"root ::= [\\u0100-\\U0001F600]", "\xC3\xBF", false},
      {"root ::= .", "\xC0\x80", false}, /* overlong */
      {"root ::= .", "\xF4\x8F\xBF\xBF", true},
      {"root ::= .", "\xF4\x90\x80\x80", false},
      {"root ::= . .", "\xE4\xB8\xAD\n", true},
      {"root ::= [-a]", "-", true},
      {"root ::= [a-]", "-", true},
      {"root ::= [\\]\\\\\\^-]+", "]\\^-", true},
      {"root ::= \"\\x41\\u00e9\\U0001F999\\n\\t\\r\\\"\\\\\"", "A\xC3\xA9\xF0\x9F\xA6\x99\n\t\r\"\\", true},
      {"root ::= \"caf\xC3\xA9\"?", "caf\xC3\xA9", true},
      {"root ::= \"ab\"*", "abab", true},
      {"root ::= \"ab\"*", "aba", false},
      {"root ::= \"a\"{3}", "aaa", true},
      {"root ::= \"a\"{3}", "aa", false},
      {"root ::= \"a\"{3}", "aaaa", false},
      {"root ::= \"a\"{2,}", "aaaaaaa", true},
      {"root ::= \"a\"{2,}", "a", false},
      {"root ::= \"a\" { 2 , 3 }", "aaa", true},
      {"root ::= \"a\"{0}", "", true},
      {"root ::= \"a\"{0,0} \"b\"", "b", true},
      {"root ::= \"a\"{0,0} \"b\"", "ab", false},
      {"root ::= (\"ab\"{2}){20,30}",
       "abababababababababababababababababababababababababababababababababababababababab", true},
      {"root ::= (\"ab\"{2}){20,30}", "ababababababababababababababababababababababababababababababababababababababab",
       false},
      {"root ::= [a]{20,30} \"a\"", "aaaaaaaaaaaaaaaaaaaaa", true},
      {"root ::= [a]{20,30} \"a\"", "aaaaaaaaaaaaaaaaaaaa", false},
      {"root ::= [a]{20,30} \"a\"", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", true},
      {"root ::= [a]{20,30} \"a\"", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
      {"root ::= [a]{20,} \"b\"", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", true},
      {"root ::= [a]{20,} \"b\"", "aaaaaaaaaaaaaaaaaaab", false},
      {"root ::= ((\"a\"?){0,30}){0,30} \"b\"", "aaab", true},
      {"root ::= \"a\"*{2}", "aaaa", true},
      {"root ::= \"a\"+?", "", true},
      {"root ::= \"(\" root? \")\"", "((()))", true},
      {"root ::= \"(\" root? \")\"", "(()", false},
      {"root ::= x x\nx ::= \"a\" | \"ab\"", "aba", true},
      {"root ::= \"a\" root | \"b\"", "aaaaaaaaaaaaaaaab", true},
      {"root ::= x | y\nx ::= \"a\" x | \"b\"\ny ::= \"a\" y | \"c\"", "aaaac", true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    check_text(cases[i].source, cases[i].text, cases[i].accepted);
}

static void check_refused(const char *source, size_t bytes, em_status expected, const char *reason) {
  check_refused_by(em_grammar_from_gbnf, source, bytes, expected, reason);
}

static void test_refused(void) {
  static const struct {
    const char *source;
    em_status status;
    const char *reason;
  } cases[] = {
      {"", EM_ERR_FORMAT, "no rule named root"},
      {"a ::= \"x\"", EM_ERR_FORMAT, "no rule named root"},
      {"root ::= missing", EM_ERR_FORMAT, "\"missing\" that is not there"},
      {"root ::= \"a\"\nroot ::= \"b\"", EM_ERR_FORMAT, "defined twice"},
      {"root = \"a\"", EM_ERR_FORMAT, "::="},
      {"root ::= \"a", EM_ERR_FORMAT, "without an end"},
      {"root ::= \"a\nb\"", EM_ERR_FORMAT, "without an end"},
      {"root ::= [a", EM_ERR_FORMAT, "without an end"},
      {"root ::= [z-a]", EM_ERR_FORMAT, "ends before it begins"},
      {"root ::= (\"a\"", EM_ERR_FORMAT, "without an end"},
      {"root ::= \"a\")", EM_ERR_FORMAT, "no meaning"},
      {"root ::= *", EM_ERR_FORMAT, "no meaning"},
      {"root ::= \"\\q\"", EM_ERR_FORMAT, "escape"},
      {"root ::= \"\\u12\"", EM_ERR_FORMAT, "too few digits"},
      {"root ::= \"\\uD800\"", EM_ERR_FORMAT, "no character"},
      {"root ::= \"\\U00110000\"", EM_ERR_FORMAT, "no character"},
      {"root ::= \"\xC3\"", EM_ERR_FORMAT, "UTF-8"},
      {"root ::= \"a\"{", EM_ERR_FORMAT, "number"},
      {"root ::= \"a\"{2", EM_ERR_FORMAT, "brace"},
      {"root ::= \"a\"{3,2}", EM_ERR_FORMAT, "below"},
      {"root ::= \"a\"{1,1000000}", EM_ERR_LIMIT, "more than 65536 times"},
      {"root ::= \"a\"{99999999999999999999}", EM_ERR_LIMIT, "more than 65536 times"},
      {"root ::= root \"a\" | \"b\"", EM_ERR_FORMAT, "left recursion"},
      {"root ::= a\na ::= b? c\nb ::= \"b\"\nc ::= a \"x\" | \"y\"", EM_ERR_FORMAT, "left recursion"},
      {"root ::= root", EM_ERR_FORMAT, "left recursion"},
      {"root ::= x*\nx ::= \"\" root \"a\"", EM_ERR_FORMAT, "left recursion"},
      {"root ::= \"a\" root", EM_ERR_FORMAT, "accepts no text"},
      {"root ::= []", EM_ERR_FORMAT, "accepts no text"},
      {"root ::= (root){20,30} \"a\"", EM_ERR_FORMAT, "left recursion"},
      {"root ::= \"a\" <[12]>", EM_ERR_FORMAT, "no meaning"},
      {"<think> ::= \"a\"", EM_ERR_FORMAT, "name is missing"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    check_refused(cases[i].source, strlen(cases[i].source), cases[i].status, cases[i].reason);
}

/* --- Hostile ones ------------------------------------------------------------------------------------------------- */

static char *repeated(const char *before, const char *text, size_t n, const char *after) {
  em_buffer out = {0};
  em_buffer_append_text(&out, before);
  for (size_t i = 0; i < n; i++)
    em_buffer_append_text(&out, text);
  em_buffer_append_text(&out, after);
  return em_buffer_steal(&out);
}

static void test_hostile(void) {
  char *text = repeated("root ::= ", "(", 60000, "");
  check_refused(text, strlen(text), EM_ERR_LIMIT, "nested deeper than 64");
  free(text);
  text = repeated("root ::= \"a\"", "*", 60000, "");
  check_refused(text, strlen(text), EM_ERR_LIMIT, "repetitions");
  free(text);
  text = repeated("root ::= ", "\"a\"{65000} ", 20000, "");
  check_refused(text, strlen(text), EM_ERR_LIMIT, "");
  free(text);
  em_buffer rules = {0};
  for (int i = 0; i < 11000; i++)
    em_buffer_appendf(&rules, "a%d ::= a%d\n", i, i + 1);
  check_refused(rules.data, rules.bytes, EM_ERR_LIMIT, "more than 10000 rules");
  em_buffer_clear(&rules);
  text = repeated("root ::= ", ".", 300000, "");
  check_refused(text, strlen(text), EM_ERR_LIMIT, "longer than");
  free(text);
  /* Copies of copies. */
  text = repeated("root ::= ", "(", 60, "\"a\"");
  em_buffer nested = {0};
  em_buffer_append_text(&nested, text);
  for (int i = 0; i < 60; i++)
    em_buffer_append_text(&nested, "){10}");
  em_grammar *grammar = NULL;
  clock_t start = clock();
  CHECK_INT(em_grammar_from_gbnf(nested.data, nested.bytes, &grammar, NULL), EM_OK);
  CHECK(!accepts(grammar, "aaaaaaaa", 8));
  CHECK((double)(clock() - start) * 1e3 / CLOCKS_PER_SEC < MAX_MS);
  em_grammar_free(grammar);
  em_buffer_clear(&nested);
  free(text);
}

/* Grammars that are small and can be read in more and more ways: an answer, or an error, but soon. */
static void test_ambiguous(void) {
  static const char *const sources[] = {
      "root ::= x{0,60}\nx ::= \"a\"{0,60}",       "root ::= (\"a\" | \"aa\" | \"aaa\"){0,65536}",
      "root ::= \"a\" root root | \"a\"",          "root ::= x x x x x x x x\nx ::= (\"a\"* \"a\"*){0,50}",
      "root ::= ((\"a\"?){0,1000}){0,1000} \"b\"", "root ::= \"a\" | \"[\" root \"]\" | \"[\" root | \"[\" root \"]]\"",
  };
  for (size_t i = 0; i < sizeof sources / sizeof sources[0]; i++) {
    em_grammar *grammar = NULL;
    em_matcher *matcher = NULL;
    char text[400];
    uint64_t start = em_now_ns();
    memset(text, i == 5 ? '[' : 'a', sizeof text);
    CHECK_INT(em_grammar_from_gbnf(sources[i], strlen(sources[i]), &grammar, NULL), EM_OK);
    em_status status = em_matcher_new(grammar, NULL, false, &matcher, NULL);
    CHECK(status == EM_OK || status == EM_ERR_LIMIT);
    if (matcher)
      status = em_matcher_feed(matcher, text, sizeof text, NULL);
    CHECK(status == EM_OK || status == EM_ERR_LIMIT || status == EM_ERR_FORMAT);
    double ms = (double)(em_now_ns() - start) / 1e6;
    printf("ambiguous grammar %zu: %s after %.0f ms\n", i, em_status_word(status), ms);
    CHECK(ms < 5000);
    em_matcher_free(matcher);
    em_grammar_free(grammar);
  }
}

/* Text nested deeper than the stack goes is not accepted, and nothing worse. */
static void test_deep_text(void) {
  static const char source[] = "root ::= \"(\" root? \")\"";
  em_grammar *grammar = NULL;
  CHECK_INT(em_grammar_from_gbnf(source, sizeof source - 1, &grammar, NULL), EM_OK);
  char *text = repeated("", "(", 900, "");
  char *closed = repeated(text, ")", 900, "");
  CHECK(accepts(grammar, closed, strlen(closed)));
  free(text);
  free(closed);
  text = repeated("", "(", 200000, "");
  CHECK(!accepts(grammar, text, strlen(text)));
  free(text);
  em_grammar_free(grammar);
}

int main(void) {
  test_texts();
  test_refused();
  test_hostile();
  test_ambiguous();
  test_deep_text();
  return check_done();
}
