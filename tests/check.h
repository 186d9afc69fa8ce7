/* The test macros. A test program is a main() of checks; it exits 0, 1 when a check failed, or 77 when it skipped itself.
 * A failed check prints its place and goes on, so that one run shows all that is wrong.
 */
#pragma once

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failures, check_count;

#define CHECK(condition)                                                          \
  do {                                                                            \
    check_count++;                                                                \
    if (!(condition)) {                                                           \
      check_failures++;                                                           \
      fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);     \
    }                                                                             \
  } while (0)

#define CHECK_INT(actual, expected)                                                                          \
  do {                                                                                                       \
    long long check_a = (long long)(actual), check_b = (long long)(expected);                                \
    check_count++;                                                                                           \
    if (check_a != check_b) {                                                                                \
      check_failures++;                                                                                      \
      fprintf(stderr, "%s:%d: %s is %lld, expected %lld\n", __FILE__, __LINE__, #actual, check_a, check_b);  \
    }                                                                                                        \
  } while (0)

#define CHECK_TEXT(actual, expected)                                                                             \
  do {                                                                                                           \
    const char *check_a = (actual), *check_b = (expected);                                                       \
    check_count++;                                                                                               \
    if (!check_a || strcmp(check_a, check_b) != 0) {                                                             \
      check_failures++;                                                                                          \
      fprintf(stderr, "%s:%d: %s is \"%s\", expected \"%s\"\n", __FILE__, __LINE__, #actual,                     \
              check_a ? check_a : "(null)", check_b);                                                            \
    }                                                                                                            \
  } while (0)

#define SKIP(...)                          \
  do {                                     \
    printf("SKIP: " __VA_ARGS__);          \
    printf("\n");                          \
    exit(77);                              \
  } while (0)

/* The end of main(): a program that checked nothing has failed. */
static inline int check_done(void) {
  if (check_count == 0)
    fprintf(stderr, "no check ran\n");
  else
    printf("%d checks, %d failed\n", check_count, check_failures);
  return check_failures || check_count == 0 ? 1 : 0;
}
