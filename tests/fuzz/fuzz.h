/* What the fuzz targets share. A target is a file fuzz_NAME.c that defines LLVMFuzzerTestOneInput; it is built with libFuzzer
 * where the option `fuzz` is set, and otherwise with replay.c, which feeds it every file of tests/fuzz/corpus/NAME. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* A promise of the code under test. */
#define REQUIRE(condition)                                                     \
  do {                                                                         \
    if (!(condition)) {                                                        \
      fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);  \
      abort();                                                                 \
    }                                                                          \
  } while (0)
