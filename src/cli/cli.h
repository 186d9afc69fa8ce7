/* What the subcommands of hearth-engine share. Exit codes: 0 done, 1 failed (one line on standard error says why), 2
 * wrong usage. Standard output carries only what was asked for.
 */
#pragma once

#include "base/buffer.h"
#include "engine/engine.h"
#include "text/dialog.h"

#define HEARTH_CLI_FAILED 1
#define HEARTH_CLI_USAGE 2

typedef struct hearth_cli_command {
  const char *name;
  const char *arguments; /* for the usage line */
  const char *summary;
  /* argv[0] is the command's name. Returns the exit code. */
  int (*run)(const struct hearth_cli_command *command, int argc, char **argv);
} hearth_cli_command;

int hearth_cli_run(const hearth_cli_command *command, int argc, char **argv);
int hearth_cli_logits(const hearth_cli_command *command, int argc, char **argv);
int hearth_cli_tokenize(const hearth_cli_command *command, int argc, char **argv);
int hearth_cli_detokenize(const hearth_cli_command *command, int argc, char **argv);
int hearth_cli_match(const hearth_cli_command *command, int argc, char **argv);
int hearth_cli_render(const hearth_cli_command *command, int argc, char **argv);
int hearth_cli_parse_reply(const hearth_cli_command *command, int argc, char **argv);
int hearth_cli_inspect(const hearth_cli_command *command, int argc, char **argv);
int hearth_cli_bench(const hearth_cli_command *command, int argc, char **argv);
int hearth_cli_bench_ops(const hearth_cli_command *command, int argc, char **argv); /* bench --ops */
int hearth_cli_devices(const hearth_cli_command *command, int argc, char **argv);

/* --- Options ----------------------------------------------------------------------------------------------------- */

typedef enum {
  HEARTH_CLI_FLAG,   /* bool: given */
  HEARTH_CLI_TEXT,   /* const char *: borrowed from argv */
  HEARTH_CLI_COUNT,  /* uint32_t */
  HEARTH_CLI_NUMBER, /* double */
  HEARTH_CLI_SEED    /* uint64_t */
} hearth_cli_kind;

typedef struct hearth_cli_option {
  const char *name; /* "-n" or "--seed" */
  hearth_cli_kind kind;
  void *out;   /* keeps its value when the option is absent */
  bool *given; /* or NULL */
} hearth_cli_option;

/* Reads options (--name VALUE or --name=VALUE, anywhere) and the other arguments, of which there must be n_others.
 * Returns 0; else it has said what is wrong, or printed the help that was asked for, and *code is the exit code. */
int hearth_cli_parse(const hearth_cli_command *command, int argc, char **argv, const hearth_cli_option *options,
                     size_t n_options, const char **others, size_t n_others, int *code);

/* --- Saying what is wrong ---------------------------------------------------------------------------------------- */

/* One line on standard error; returns HEARTH_CLI_FAILED or HEARTH_CLI_USAGE. */
int hearth_cli_fail(const em_error *error);
int hearth_cli_wrong(const hearth_cli_command *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* --- Input and output -------------------------------------------------------------------------------------------- */

/* All of standard input, at most max_bytes, appended. */
em_status hearth_cli_read_input(size_t max_bytes, em_buffer *out, em_error *error) EM_MUST_USE;

/* Writes the buffer to standard output and clears it. Errors: EM_ERR_NO_MEMORY when it had failed, EM_ERR_IO. */
em_status hearth_cli_print(em_buffer *buffer, em_error *error) EM_MUST_USE;

/* Reads token ids separated by commas or white space, with or without brackets, appending. */
em_status hearth_cli_parse_tokens(const char *text, size_t bytes, em_tokens *out, em_error *error) EM_MUST_USE;

/* --- Models ------------------------------------------------------------------------------------------------------ */

/* Parameters with every default of this program, for the named device and number of threads (0: all cores). */
em_status hearth_cli_engine_params(const char *device, uint32_t n_threads, em_engine_params *out,
                                   em_error *error) EM_MUST_USE;

/* "1.5 GB", in powers of ten. out holds at least 32 bytes; returned. */
const char *hearth_cli_format_bytes(uint64_t bytes, char *out);
