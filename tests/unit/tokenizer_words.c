/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Where each pre-tokenizer cuts. The expected cuts were made with the families' own regular expressions. */
#include "check.h"
#include "text/tokenizer/pretokenize.h"
#include "text/tokenizer/unicode.h"

static const char *cut(const em_pretokenizer *pretokenizer, const char *text) {
  static char joined[1024];
  size_t n = 0, start, bytes, at = 0;
  em_words words;
  em_words_start(&words, pretokenizer, text, strlen(text));
  while (em_words_next(&words, &start, &bytes)) {
    CHECK(start == at && bytes > 0);
    at = start + bytes;
    n += (size_t)snprintf(joined + n, sizeof joined - n, "%s%.*s", n ? "|" : "", (int)bytes, text + start);
  }
  CHECK(at == strlen(text));
  joined[n] = '\0';
  return joined;
}

static void check_cut(const char *name, const char *text, const char *expected) {
  const em_pretokenizer *pretokenizer = em_pretokenizer_find(name);
  CHECK(pretokenizer != NULL);
  if (pretokenizer) {
    const char *got = cut(pretokenizer, text);
    if (strcmp(got, expected) != 0)
      fprintf(stderr, "%s:\n", name);
    CHECK_TEXT(got, expected);
  }
}

static const char *const texts[] = {
    "Hello  world, I'll DON'T we'VE\n\n  x",
    "abc123456 7\t8",
    "caf\xC3\xA9 \xC3\x89"
    "COLE nai\xCC\x88ve \xE0\xA4\x95\xE0\xA4\xBF 3.14!?\n",
    "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8"
    "apple\xE5\xB7\xA5\xE4\xBD\x9C"
    "1314\xE5\xA4\xA9\xEF\xBD\x9E \xE3\x81\x82\xE3\x82\xA2 \xEA\xB0\x80",
    "HTTPServer getURL iPhone/x //\n path",
    "  \t\r\n \n end   ",
    "$5+`a` <b>=~ (x)...[y]",
    "\xE3\x80\x80\xE3\x80\x80\xE2\x80\xA6 it\xE2\x80\x99s \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
};

static const struct {
  const char *name;
  const char *cuts[sizeof texts / sizeof texts[0]];
} cases[] = {
    {"bailingmoe",
     {
         "Hello| | world|,| I|'ll| DON|'T| we|'VE|\n\n| | x",
         "abc|1|2|3|4|5|6| |7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai|\xCC\x88ve| \xE0\xA4\x95|\xE0\xA4\xBF| |3|.|1|4|!?\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8"
         "apple\xE5\xB7\xA5\xE4\xBD\x9C|1|3|1|4|\xE5\xA4\xA9|\xEF\xBD\x9E| \xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| getURL| iPhone|/x| //\n| path",
         "  \t\r\n \n| end|   ",
         "$|5|+`|a|`| <|b|>=~| (|x|)...[|y|]",
         "\xE3\x80\x80|\xE3\x80\x80|\xE2\x80\xA6| it|\xE2\x80\x99s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
     }},
    {"bloom",
     {
         "Hello| | world|,| I'll| DON'T| we'VE|\n\n | x",
         "abc123456| 7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai\xCC\x88ve| \xE0\xA4\x95\xE0\xA4\xBF| 3|.|14|!?\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8"
         "apple\xE5\xB7\xA5\xE4\xBD\x9C"
         "1314\xE5\xA4\xA9\xEF\xBD\x9E| \xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| getURL| iPhone/x| //|\n| path",
         "  \t\r\n \n| end|   ",
         "$5+`a`| <b>=~| (|x|)...|[y]",
         "\xE3\x80\x80\xE3\x80\x80\xE2\x80\xA6| it\xE2\x80\x99s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
     }},
    {"deepseek-coder",
     {
         "Hello| | world|,| I|'|ll| DON|'|T| we|'|VE|\n|\n| | x",
         "abc|1|2|3|4|5|6| |7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai|\xCC\x88|ve| |\xE0\xA4\x95|\xE0\xA4\xBF| |3|.|1|4|!?|\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8|apple|\xE5\xB7\xA5\xE4\xBD\x9C|1|3|1|4|\xE5\xA4\xA9|\xEF\xBD\x9E| "
         "|\xE3\x81\x82\xE3\x82\xA2| |\xEA\xB0\x80",
         "HTTPServer| getURL| iPhone|/|x| //|\n| path",
         "  \t|\r|\n| |\n| end|   ",
         "$|5|+`|a|` <|b|>=~| (|x|)...[|y|]",
         "\xE3\x80\x80|\xE3\x80\x80\xE2\x80\xA6| it|\xE2\x80\x99|s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99|\xE2\x80\x8D",
     }},
    {"deepseek-llm",
     {
         "Hello| | world|,| I|'|ll| DON|'|T| we|'|VE|\n|\n| | x",
         "abc|123456| |7|\t|8",
         "caf|\xC3\xA9| \xC3\x89|COLE| nai|\xCC\x88|ve| |\xE0\xA4\x95\xE0\xA4\xBF| |3|.|14|!?|\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8|apple|\xE5\xB7\xA5\xE4\xBD\x9C|1314|\xE5\xA4\xA9|\xEF\xBD\x9E| "
         "|\xE3\x81\x82\xE3\x82\xA2| |\xEA\xB0\x80",
         "HTTPServer| getURL| iPhone|/|x| //|\n| path",
         "  \t|\r|\n| |\n| end|   ",
         "$|5|+`|a|`| <|b|>=~| (|x|)...[|y|]",
         "\xE3\x80\x80\xE3\x80\x80|\xE2\x80\xA6| it|\xE2\x80\x99|s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99|\xE2\x80\x8D",
     }},
    {"deepseek-v3",
     {
         "Hello| | world|,| I|'ll| DON|'T| we|'VE|\n\n| | x",
         "abc|123|456| |7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai\xCC\x88ve| \xE0\xA4\x95\xE0\xA4\xBF| |3|.|14|!?\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8|apple|\xE5\xB7\xA5\xE4\xBD\x9C|131|4|\xE5\xA4\xA9|\xEF\xBD\x9E| "
         "|\xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| getURL| iPhone|/x| //\n| path",
         "  \t\r\n \n| end|   ",
         "$|5|+`|a|`| <|b|>=~| (|x|)...[|y|]",
         "\xE3\x80\x80|\xE3\x80\x80|\xE2\x80\xA6| it|\xE2\x80\x99|s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99|\xE2\x80\x8D",
     }},
    {"default",
     {
         "Hello| | world|,| I|'|ll| DON|'|T| we|'|VE|\n\n | x",
         "abc|123|456| |7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai|\xCC\x88|ve| \xE0\xA4\x95|\xE0\xA4\xBF| |3|.|14|!?|\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8"
         "apple\xE5\xB7\xA5\xE4\xBD\x9C|131|4|\xE5\xA4\xA9|\xEF\xBD\x9E| \xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| getURL| iPhone|/|x| |//|\n| path",
         "  \t\r\n \n| end|   ",
         "$|5|+|`|a|`| |<|b|>=~| |(|x|)...[|y|]",
         "\xE3\x80\x80\xE3\x80\x80|\xE2\x80\xA6| it|\xE2\x80\x99|s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
     }},
    {"falcon",
     {
         "Hello| | world|,| I|'|ll| DON|'|T| we|'|VE|\n\n | x",
         "abc|123|456| 7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai|\xCC\x88|ve| \xE0\xA4\x95|\xE0\xA4\xBF| 3|.|14|!?|\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8"
         "apple\xE5\xB7\xA5\xE4\xBD\x9C|131|4|\xE5\xA4\xA9|\xEF\xBD\x9E| \xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| getURL| iPhone|/|x| |//|\n| path",
         "  \t\r\n \n| end|   ",
         "$|5|+`|a|`| |<|b|>=~| |(|x|)...[|y|]",
         "\xE3\x80\x80\xE3\x80\x80|\xE2\x80\xA6| it|\xE2\x80\x99|s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
     }},
    {"gpt-2",
     {
         "Hello| | world|,| I|'ll| DON|'|T| we|'|VE|\n\n | x",
         "abc|123456| 7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai|\xCC\x88|ve| \xE0\xA4\x95|\xE0\xA4\xBF| 3|.|14|!?|\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8"
         "apple\xE5\xB7\xA5\xE4\xBD\x9C|1314|\xE5\xA4\xA9|\xEF\xBD\x9E| \xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| getURL| iPhone|/|x| //|\n| path",
         "  \t\r\n \n| end|   ",
         "$|5|+`|a|`| <|b|>=~| (|x|)...[|y|]",
         "\xE3\x80\x80|\xE3\x80\x80|\xE2\x80\xA6| it|\xE2\x80\x99|s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
     }},
    {"gpt-4o",
     {
         "Hello| | world|,| I'll| DON'T| we'VE|\n\n| | x",
         "abc|123|456| |7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai\xCC\x88ve| \xE0\xA4\x95\xE0\xA4\xBF| |3|.|14|!?\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8"
         "apple\xE5\xB7\xA5\xE4\xBD\x9C|131|4|\xE5\xA4\xA9|\xEF\xBD\x9E| \xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| get|URL| i|Phone|/x| //\n| path",
         "  \t\r\n \n| end|   ",
         "$|5|+`|a|`| <|b|>=~| (|x|)...[|y|]",
         "\xE3\x80\x80|\xE3\x80\x80|\xE2\x80\xA6| it|\xE2\x80\x99s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
     }},
    {"kimi-k2",
     {
         "Hello| | world|,| I'll| DON'T| we'VE|\n\n| | x",
         "abc|123|456| |7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai\xCC\x88ve| \xE0\xA4\x95\xE0\xA4\xBF| |3|.|14|!?\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8|apple|\xE5\xB7\xA5\xE4\xBD\x9C|131|4|\xE5\xA4\xA9|\xEF\xBD\x9E| "
         "\xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| get|URL| i|Phone|/x| //\n| path",
         "  \t\r\n \n| end|   ",
         "$|5|+`|a|`| <|b|>=~| (|x|)...[|y|]",
         "\xE3\x80\x80|\xE3\x80\x80|\xE2\x80\xA6| it|\xE2\x80\x99s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
     }},
    {"llama-bpe",
     {
         "Hello| | world|,| I|'ll| DON|'T| we|'VE|\n\n| | x",
         "abc|123|456| |7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai|\xCC\x88ve| \xE0\xA4\x95|\xE0\xA4\xBF| |3|.|14|!?\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8"
         "apple\xE5\xB7\xA5\xE4\xBD\x9C|131|4|\xE5\xA4\xA9|\xEF\xBD\x9E| \xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| getURL| iPhone|/x| //\n| path",
         "  \t\r\n \n| end|   ",
         "$|5|+`|a|`| <|b|>=~| (|x|)...[|y|]",
         "\xE3\x80\x80|\xE3\x80\x80|\xE2\x80\xA6| it|\xE2\x80\x99s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
     }},
    {"qwen2",
     {
         "Hello| | world|,| I|'ll| DON|'T| we|'VE|\n\n| | x",
         "abc|1|2|3|4|5|6| |7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai|\xCC\x88ve| \xE0\xA4\x95|\xE0\xA4\xBF| |3|.|1|4|!?\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8"
         "apple\xE5\xB7\xA5\xE4\xBD\x9C|1|3|1|4|\xE5\xA4\xA9|\xEF\xBD\x9E| \xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| getURL| iPhone|/x| //\n| path",
         "  \t\r\n \n| end|   ",
         "$|5|+`|a|`| <|b|>=~| (|x|)...[|y|]",
         "\xE3\x80\x80|\xE3\x80\x80|\xE2\x80\xA6| it|\xE2\x80\x99s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
     }},
    {"qwen35",
     {
         "Hello| | world|,| I|'ll| DON|'T| we|'VE|\n\n| | x",
         "abc|1|2|3|4|5|6| |7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai\xCC\x88ve| \xE0\xA4\x95\xE0\xA4\xBF| |3|.|1|4|!?\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8"
         "apple\xE5\xB7\xA5\xE4\xBD\x9C|1|3|1|4|\xE5\xA4\xA9|\xEF\xBD\x9E| \xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| getURL| iPhone|/x| //\n| path",
         "  \t\r\n \n| end|   ",
         "$|5|+`|a|`| <|b|>=~| (|x|)...[|y|]",
         "\xE3\x80\x80|\xE3\x80\x80|\xE2\x80\xA6| it|\xE2\x80\x99s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
     }},
    {"seed-coder",
     {
         "Hello| | world|,| I|'ll| DON|'T| we|'VE|\n\n| | x",
         "abc|1|2|3|4|5|6| |7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai|\xCC\x88ve| \xE0\xA4\x95|\xE0\xA4\xBF| |3|.|1|4|!?|\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8"
         "apple\xE5\xB7\xA5\xE4\xBD\x9C|1|3|1|4|\xE5\xA4\xA9|\xEF\xBD\x9E| \xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| getURL| iPhone|/x| //|\n| path",
         "  \t\r\n \n| end|   ",
         "$|5|+`|a|`| <|b|>=~| (|x|)...[|y|]",
         "\xE3\x80\x80|\xE3\x80\x80|\xE2\x80\xA6| it|\xE2\x80\x99s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
     }},
    {"starcoder",
     {
         "Hello| | world|,| I|'ll| DON|'|T| we|'|VE|\n\n | x",
         "abc|1|2|3|4|5|6| |7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai|\xCC\x88|ve| \xE0\xA4\x95|\xE0\xA4\xBF| |3|.|1|4|!?|\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8"
         "apple\xE5\xB7\xA5\xE4\xBD\x9C|1|3|1|4|\xE5\xA4\xA9|\xEF\xBD\x9E| \xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| getURL| iPhone|/|x| //|\n| path",
         "  \t\r\n \n| end|   ",
         "$|5|+`|a|`| <|b|>=~| (|x|)...[|y|]",
         "\xE3\x80\x80|\xE3\x80\x80|\xE2\x80\xA6| it|\xE2\x80\x99|s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
     }},
    {"tekken",
     {
         "Hello| | world|,| I|'ll| DON|'T| we|'VE|\n\n| | x",
         "abc|1|2|3|4|5|6| |7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai\xCC\x88ve| \xE0\xA4\x95\xE0\xA4\xBF| |3|.|1|4|!?\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8"
         "apple\xE5\xB7\xA5\xE4\xBD\x9C|1|3|1|4|\xE5\xA4\xA9|\xEF\xBD\x9E| \xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| get|URL| i|Phone|/x| //\n| path",
         "  \t\r\n \n| end|   ",
         "$|5|+`|a|`| <|b|>=~| (|x|)...[|y|]",
         "\xE3\x80\x80|\xE3\x80\x80|\xE2\x80\xA6| it|\xE2\x80\x99s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
     }},
    {"viking",
     {
         "Hello| | world|,| I'll| DON'T| we'VE|\n\n | x",
         "abc|1|2|3|4|5|6| |7|\t|8",
         "caf\xC3\xA9| \xC3\x89"
         "COLE| nai\xCC\x88ve| \xE0\xA4\x95\xE0\xA4\xBF| |3|.|1|4|!?\n",
         "\xE6\x88\x91\xE6\x83\xB3\xE5\x9C\xA8"
         "apple\xE5\xB7\xA5\xE4\xBD\x9C|1|3|1|4|\xE5\xA4\xA9\xEF\xBD\x9E| \xE3\x81\x82\xE3\x82\xA2| \xEA\xB0\x80",
         "HTTPServer| getURL| iPhone/x| //|\n| path",
         "  \t\r\n \n| end|   ",
         "$|5|+`a`| <b>=~| (|x|)...|[y]",
         "\xE3\x80\x80\xE3\x80\x80\xE2\x80\xA6| it\xE2\x80\x99s| \xF0\x9F\xA6\x99\xF0\x9F\xA6\x99\xE2\x80\x8D",
     }},
};

static void test_cuts(void) {
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++)
      check_cut(cases[i].name, texts[k], cases[i].cuts[k]);
  static const char *const same[][2] = {
      {"llama3", "llama-bpe"},  {"dbrx", "llama-bpe"},         {"smaug-bpe", "llama-bpe"},
      {"glm4", "llama-bpe"},    {"chatglm-bpe", "llama-bpe"},  {"llama4", "gpt-4o"},
      {"minimax-m2", "gpt-4o"}, {"deepseek-r1-qwen", "qwen2"}, {"mpt", "gpt-2"},
      {"olmo", "gpt-2"},        {"refact", "starcoder"},       {"command-r", "starcoder"},
      {"smollm", "starcoder"},
  };
  for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
    for (size_t k = 0; k < sizeof texts / sizeof texts[0]; k++) {
      char expected[1024];
      snprintf(expected, sizeof expected, "%s", cut(em_pretokenizer_find(same[i][1]), texts[k]));
      check_cut(same[i][0], texts[k], expected);
    }
  CHECK_TEXT(cut(em_pretokenizer_newlines(), "a b\r\n\nc\n"), "a b\r|\n\n|c|\n");
}

static void test_flags(void) {
  static const struct {
    uint32_t code_point, flags;
  } known[] = {
      {'A', EM_CHAR_ANY | EM_CHAR_LU | EM_CHAR_ASCII_LETTER | EM_CHAR_BICAMERAL | EM_CHAR_HALF_FULL_PUNCT},
      {' ', EM_CHAR_ANY | EM_CHAR_SPACE | EM_CHAR_BLANK | EM_CHAR_BLOOM_STOP},
      {0x3B1, EM_CHAR_ANY | EM_CHAR_LL | EM_CHAR_BICAMERAL},
      {0x1C5, EM_CHAR_ANY | EM_CHAR_LT | EM_CHAR_BICAMERAL},
      {0x301, EM_CHAR_ANY | EM_CHAR_M},
      {0xBD, EM_CHAR_ANY | EM_CHAR_N},
      {0x20AC, EM_CHAR_ANY | EM_CHAR_S | EM_CHAR_CHINESE_HANGUL},
      {0x3005, EM_CHAR_ANY | EM_CHAR_LM | EM_CHAR_HAN | EM_CHAR_CHINESE_HANGUL},
      {0x20000, EM_CHAR_ANY | EM_CHAR_LO | EM_CHAR_HAN | EM_CHAR_IDEOGRAPH},
      {0x10FFFF, EM_CHAR_ANY | EM_CHAR_C},
      {0x110000, EM_CHAR_ANY | EM_CHAR_C},
  };
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    CHECK_INT(em_char_flags(known[i].code_point), known[i].flags);
  uint32_t out[EM_FOLD_MAX];
  CHECK(em_char_fold('Q', out) == 1 && out[0] == 'q');
  CHECK(em_char_fold(0xC9, out) == 1 && out[0] == 'e');
  CHECK(em_char_fold(0x301, out) == 0);
  CHECK(em_char_fold(0xAC01, out) == 3 && out[0] == 0x1100 && out[1] == 0x1161 && out[2] == 0x11A8);
  CHECK(em_char_fold(0x4E2D, out) == 1 && out[0] == 0x4E2D);
  for (uint32_t c = 0; c < 0x110000; c++)
    if (em_char_fold(c, out) > EM_FOLD_MAX || !(em_char_flags(c) & EM_CHAR_ANY))
      CHECK_INT(c, -1);
}

int main(void) {
  test_cuts();
  test_flags();
  CHECK(em_pretokenizer_find("no such") == NULL);
  CHECK(em_pretokenizer_find("") == NULL);
  return check_done();
}
