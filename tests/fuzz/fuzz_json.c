/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Parses any bytes as JSON. What parses is written, parsed again and written again: the two texts must be the same. */
#include "base/json.h"
#include "fuzz.h"

#include <string.h>

/* Parses and writes; NULL when refused. The caller frees. */
static char *rewrite(const char *text, size_t bytes) {
  em_arena *arena = em_arena_new(64u << 20);
  const em_json *json = NULL;
  em_error error = { 0 };
  em_status status = em_json_parse(arena, text, bytes, 0, &json, &error);
  char *out = NULL;
  if (status == EM_OK) {
    em_buffer buffer = { 0 };
    REQUIRE(json && em_json_write(&buffer, json));
    out = em_buffer_steal(&buffer);
  } else {
    REQUIRE(!json && error.code == status && error.text[0] && !strchr(error.text, '\n') && error.offset <= bytes);
  }
  em_arena_free(arena);
  return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  char *once = rewrite((const char *)data, bytes);
  if (once) {
    char *twice = rewrite(once, strlen(once));
    REQUIRE(twice && strcmp(once, twice) == 0);
    free(twice);
  }
  free(once);
  return 0;
}
