/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/log.h"
#ifdef HEARTH_HAVE_SERVICE
#include "service/hearth-service.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const hearth_cli_command commands[] = {
    {"run",
     "MODEL -p TEXT [-n N] [--temperature T] [--seed S] [--raw] [--schema FILE | --grammar FILE] [--think "
     "on|off|auto] [--draft MODEL] [--device D] [--gpu-layers N] [--threads N] [--stats]",
     "answer a text, or continue it with --raw; what the model thinks first is shown dimmed on standard error where "
     "that is "
     "a terminal, and left out elsewhere",
     hearth_cli_run},
    {"logits",
     "MODEL --tokens 1,2,3|@FILE --out FILE [--device D] [--gpu-layers N] [--threads N] [--batch B] [--kv "
     "f32|f16|q8_0] "
     "[--isa scalar|avx2|avx512]",
     "write the logits after each token as float32", hearth_cli_logits},
    {"tokenize", "MODEL [--special]", "text on standard input -> JSON array of token ids", hearth_cli_tokenize},
    {"detokenize", "MODEL", "JSON array of token ids on standard input -> text", hearth_cli_detokenize},
    {"render", "(MODEL | --template FILE) [--context]",
     "{\"messages\":[...],\"tools\":[...],\"now\":...} (with --context, the template's bare context) on standard input "
     "-> prompt text",
     hearth_cli_render},
    {"match", "(--schema FILE | --grammar FILE)",
     "whether the text on standard input follows a JSON schema or a GBNF grammar: exit code 0 yes, 1 no, 2 no usable "
     "grammar",
     hearth_cli_match},
    {"parse-reply", "--template FILE",
     "{\"input\":...,\"is_partial\":...,\"params\":{...}} on standard input, a reply as the model wrote it -> "
     "{\"content\",\"reasoning_content\",\"tool_calls\"}",
     hearth_cli_parse_reply},
    {"inspect",
     "MODEL [--json] [--context N] [--gpu-layers N] [--device D | --memory GB [--unified] | --card GB [--memory GB]]",
     "what a model file holds and what it costs to run, here or on hardware that is stated: a computer's memory, which "
     "--unified lets graphics use too, and a graphics card with memory of its own",
     hearth_cli_inspect},
    {"bench",
     "(MODEL | --ops) [-p 512] [-n 128] [-r 5] [--depth N] [--slots N] [--device D] [--gpu-layers N] [--threads N] "
     "[--json]",
     "measure reading and writing speed, or with --ops each kernel", hearth_cli_bench},
    {"devices", "[--measure] [--json]", "what models can run on here", hearth_cli_devices},
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static void print_usage(FILE *file) {
  fputs("usage: hearth-engine COMMAND ...\n\n", file);
  for (size_t i = 0; i < N_COMMANDS; i++)
    fprintf(file, "  %s %s\n      %s\n", commands[i].name, commands[i].arguments, commands[i].summary);
  fputs("\nA device is cpu, vulkan (the best graphics card) or vulkan:N.\n", file);
}

static void on_log(void *user, em_log_level level, const char *text) {
  if (level >= EM_LOG_WARNING)
    fprintf(stderr, "hearth-engine: %s\n", text);
}

int main(int argc, char **argv) {
  const char *word = argc > 1 ? argv[1] : "";

#ifdef HEARTH_HAVE_SERVICE
  if (strcmp(word, "--service") == 0 && argc == 3)
    return hearth_service_run(atoi(argv[2]));
#endif
  if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
    print_usage(stdout);
    return 0;
  }
  em_log_set(on_log, NULL);
  for (size_t i = 0; i < N_COMMANDS; i++) {
    if (strcmp(word, commands[i].name) == 0)
      return commands[i].run(&commands[i], argc - 1, argv + 1);
  }
  if (argc > 1)
    fprintf(stderr, "hearth-engine: there is no command named \"%s\"\n", word);
  print_usage(stderr);
  return HEARTH_CLI_USAGE;
}
