/* What the tests of GBNF and of JSON schemas share: how what is refused is refused, and how soon. */
#pragma once

#include "check.h"

#include "text/grammar/grammar.h"

#include <time.h>

/* Of the processor's time, so that a busy computer does not fail the test; sanitizers take several times as much. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MAX_MS 1000
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MAX_MS 1000
#endif
#endif
#ifndef MAX_MS
#define MAX_MS 100
#endif

/* em_grammar_from_gbnf or em_grammar_from_schema. */
typedef em_status (*grammar_maker)(const char *source, size_t bytes, em_grammar **out, em_error *error);

static inline void check_refused_by(grammar_maker make, const char *source, size_t bytes, em_status expected,
                                    const char *reason) {
  em_grammar *grammar = NULL;
  em_error error = {0};
  clock_t start = clock();
  em_status status = make(source, bytes, &grammar, &error);
  double ms = (double)(clock() - start) * 1e3 / CLOCKS_PER_SEC;
  CHECK_INT(status, expected);
  CHECK(!grammar);
  CHECK(strstr(error.text, reason) != NULL);
  CHECK(!strchr(error.text, '\n'));
  if (status != expected || !strstr(error.text, reason))
    fprintf(stderr, "%.100s: %s\n", source, error.text);
  if (ms > 20)
    printf("%.40s: %.0f ms\n", source, ms);
  CHECK(ms < MAX_MS);
  em_grammar_free(grammar);
}
