/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Parses and renders any bytes as a template. Behind a NUL byte the input may have its context as JSON. What renders does so
 * twice alike, within its limit, and its spans cover it without gaps. */
#include "fuzz.h"
#include "text/template/template.h"

#include <string.h>

static const char usual[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"h\\u00e9llo <|im_end|> \\n\"},"
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"a1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
    "\"arguments\":{\"x\":[1,2.5,true,null],\"y\":{\"z\":\"w\"}}}}]},{\"role\":\"tool\",\"content\":\"{\\\"a\\\": 1}\"}],"
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"description\":\"d\",\"parameters\":{\"type\":\"object\","
    "\"properties\":{\"x\":{\"type\":\"array\",\"items\":{\"type\":\"number\"}}},\"required\":[\"x\"]}}}],"
    "\"add_generation_prompt\":true,\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"enable_thinking\":false,\"n\":-7,\"r\":0.5}";

static void check_spans(const em_rendered *rendered) {
  size_t next = 0;
  for (size_t i = 0; i < rendered->n_spans; i++) {
    REQUIRE(rendered->spans[i].start == next && rendered->spans[i].bytes > 0);
    next += rendered->spans[i].bytes;
  }
  REQUIRE(next == rendered->bytes && rendered->text[rendered->bytes] == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  const char *source = (const char *)data, *end = memchr(source, 0, bytes);
  size_t source_bytes = end ? (size_t)(end - source) : bytes;
  em_error error = {0};
  em_template *template_ = NULL;
  em_status status = em_template_new(source, source_bytes, &template_, &error);
  if (status != EM_OK) {
    REQUIRE(!template_ && error.code == status && error.text[0]);
    return 0;
  }
  em_arena *arena = em_arena_new(0);
  const em_json *context = NULL;
  if (!end || em_json_parse(arena, end + 1, bytes - source_bytes - 1, 0, &context, NULL) != EM_OK ||
      context->kind != EM_JSON_OBJECT)
    REQUIRE(em_json_parse(arena, usual, strlen(usual), 0, &context, NULL) == EM_OK);
  em_rendered first = {0}, second = {0};
  status = em_template_render(template_, context, 1732060800, &first, &error);
  if (status == EM_OK) {
    check_spans(&first);
    REQUIRE(first.bytes <= 4 * (bytes + sizeof usual) * 10 + (1u << 20));
    /* The time is not the same twice, so a render near its limit may fail once. */
    if (em_template_render(template_, context, 1732060800, &second, NULL) == EM_OK)
      REQUIRE(first.bytes == second.bytes && first.n_spans == second.n_spans &&
              memcmp(first.text, second.text, first.bytes) == 0);
  } else {
    REQUIRE(!first.text && error.code == status);
  }
  em_rendered_clear(&first);
  em_rendered_clear(&second);
  em_template_free(template_);
  em_arena_free(arena);
  return 0;
}
