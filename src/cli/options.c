/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int hearth_cli_wrong(const hearth_cli_command *command, const char *format, ...) {
  va_list args;

  fputs("hearth-engine: ", stderr);
  va_start(args, format);
  vfprintf(stderr, format, args);
  va_end(args);
  fprintf(stderr, "\nusage: hearth-engine %s %s\n", command->name, command->arguments);
  return HEARTH_CLI_USAGE;
}

static bool read_integer(const char *text, uint64_t max, uint64_t *out) {
  char *end;

  /* strtoull takes signs and spaces. */
  if (*text < '0' || *text > '9')
    return false;
  errno = 0;
  *out = strtoull(text, &end, 10);
  return errno == 0 && *end == '\0' && *out <= max;
}

static bool read_value(const hearth_cli_option *option, const char *text) {
  uint64_t integer;
  double number;
  char *end;

  switch (option->kind) {
  case HEARTH_CLI_FLAG:
    return false;
  case HEARTH_CLI_TEXT:
    *(const char **)option->out = text;
    return true;
  case HEARTH_CLI_COUNT:
    if (!read_integer(text, UINT32_MAX, &integer))
      return false;
    *(uint32_t *)option->out = (uint32_t)integer;
    return true;
  case HEARTH_CLI_SEED:
    if (!read_integer(text, UINT64_MAX, &integer))
      return false;
    *(uint64_t *)option->out = integer;
    return true;
  case HEARTH_CLI_NUMBER:
    number = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(number))
      return false;
    *(double *)option->out = number;
    return true;
  }
  return false;
}

static const hearth_cli_option *find_option(const hearth_cli_option *options, size_t n, const char *word,
                                            size_t bytes) {
  for (size_t i = 0; i < n; i++) {
    if (strlen(options[i].name) == bytes && memcmp(options[i].name, word, bytes) == 0)
      return &options[i];
  }
  return NULL;
}

int hearth_cli_parse(const hearth_cli_command *command, int argc, char **argv, const hearth_cli_option *options,
                     size_t n_options, const char **others, size_t n_others, int *code) {
  size_t n = 0;
  bool options_ended = false;

  for (int i = 1; i < argc; i++) {
    const char *word = argv[i], *value = NULL;
    const hearth_cli_option *option;

    if (options_ended || word[0] != '-' || word[1] == '\0') {
      if (n == n_others)
        return *code = hearth_cli_wrong(command, "\"%s\" is one argument too many", word);
      others[n++] = word;
      continue;
    }
    if (strcmp(word, "--") == 0) {
      options_ended = true;
      continue;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
      printf("usage: hearth-engine %s %s\n  %s\n", command->name, command->arguments, command->summary);
      *code = 0;
      return 1;
    }
    if (word[1] == '-')
      value = strchr(word, '=');
    option = find_option(options, n_options, word, value ? (size_t)(value - word) : strlen(word));
    if (!option)
      return *code = hearth_cli_wrong(command, "there is no option %s", word);
    if (option->given)
      *option->given = true;
    if (option->kind == HEARTH_CLI_FLAG) {
      if (value)
        return *code = hearth_cli_wrong(command, "%s takes no value", option->name);
      *(bool *)option->out = true;
      continue;
    }
    if (value)
      value++;
    else if (++i < argc)
      value = argv[i];
    else
      return *code = hearth_cli_wrong(command, "%s needs a value", option->name);
    if (!read_value(option, value))
      return *code = hearth_cli_wrong(command, "\"%s\" is no value for %s", value, option->name);
  }
  if (n < n_others)
    return *code = hearth_cli_wrong(command, "an argument is missing");
  return 0;
}
