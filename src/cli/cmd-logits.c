/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TOKENS_FILE_BYTES (64u << 20)
#define DEFAULT_BATCH 256u

typedef struct {
  FILE *file;
  uint32_t n_vocab;
} sink;

static em_status write_row(void *user, uint32_t row, const float *logits, em_error *error) {
  const sink *s = user;

  if (fwrite(logits, sizeof *logits, s->n_vocab, s->file) != s->n_vocab)
    return em_fail(error, EM_ERR_IO, "the logits cannot be written: %s", strerror(errno));
  return EM_OK;
}

static em_status read_tokens(const char *words, em_tokens *out, em_error *error) {
  char *text = NULL;
  size_t bytes = 0;
  em_status status = EM_OK;

  if (words[0] != '@') {
    status = hearth_cli_parse_tokens(words, strlen(words), out, error);
  } else {
    EM_TRY(em_file_read(words + 1, MAX_TOKENS_FILE_BYTES, &text, &bytes, error));
    EM_TRY(hearth_cli_parse_tokens(text, bytes, out, error));
  }
  if (status == EM_OK && out->n == 0)
    status = em_fail(error, EM_ERR_ARGUMENT, "there are no tokens");
fail:
  free(text);
  return status;
}

/* The index of word in words, or n. */
static size_t find_word(const char *word, const char *const *words, size_t n) {
  size_t i = 0;

  while (i < n && strcmp(word, words[i]) != 0)
    i++;
  return i;
}

int hearth_cli_logits(const hearth_cli_command *command, int argc, char **argv) {
  static const char *const kv_words[] = {"f32", "f16", "q8_0"};
  static const em_type kv_types[] = {EM_TYPE_F32, EM_TYPE_F16, EM_TYPE_Q8_0};
  const char *isa_words[EM_N_ISAS];
  const char *path, *words = NULL, *out = NULL, *device = "cpu", *kv = "f16", *isa = NULL;
  uint32_t batch = 0, n_threads = 0, gpu_layers = 0;
  bool says_gpu_layers = false;
  const hearth_cli_option options[] = {
      {"--tokens", HEARTH_CLI_TEXT, &words, NULL},  {"--out", HEARTH_CLI_TEXT, &out, NULL},
      {"--device", HEARTH_CLI_TEXT, &device, NULL}, {"--threads", HEARTH_CLI_COUNT, &n_threads, NULL},
      {"--batch", HEARTH_CLI_COUNT, &batch, NULL},  {"--kv", HEARTH_CLI_TEXT, &kv, NULL},
      {"--isa", HEARTH_CLI_TEXT, &isa, NULL},       {"--gpu-layers", HEARTH_CLI_COUNT, &gpu_layers, &says_gpu_layers},
  };
  em_engine_params params;
  em_gguf *gguf = NULL;
  em_engine *engine = NULL;
  em_tokens tokens = {0};
  sink s = {0};
  em_error error = {0};
  em_status status = EM_OK;
  size_t kv_index, isa_index = EM_N_ISAS - 1;
  int code = 0;

  if (hearth_cli_parse(command, argc, argv, options, sizeof options / sizeof *options, &path, 1, &code))
    return code;
  if (!words || !out)
    return hearth_cli_wrong(command, "%s is missing", words ? "--out" : "--tokens");
  kv_index = find_word(kv, kv_words, 3);
  if (kv_index == 3)
    return hearth_cli_wrong(command, "\"%s\" is no value for --kv", kv);
  for (size_t i = 0; i < EM_N_ISAS; i++)
    isa_words[i] = em_cpu_isa_name((em_cpu_isa)i);
  if (isa)
    isa_index = find_word(isa, isa_words, EM_N_ISAS);
  if (isa_index == EM_N_ISAS)
    return hearth_cli_wrong(command, "\"%s\" is no value for --isa", isa);

  EM_TRY(hearth_cli_engine_params(device, n_threads, &params, &error));
  if (isa && isa_index > em_cpu_best_isa())
    EM_TRY(em_fail(&error, EM_ERR_UNSUPPORTED, "this processor has no %s", isa));
  EM_TRY(read_tokens(words, &tokens, &error));
  if (tokens.n > UINT32_MAX)
    EM_TRY(em_fail(&error, EM_ERR_LIMIT, "there are too many tokens"));
  params.backend.max_isa = (em_cpu_isa)isa_index;
  params.kv_type = kv_types[kv_index];
  params.n_slots = 1;
  params.says_gpu_layers = says_gpu_layers;
  params.n_gpu_layers = gpu_layers;
  params.context_tokens = (uint32_t)tokens.n;
  params.batch_rows = batch ? batch : DEFAULT_BATCH;
  EM_TRY(em_gguf_open(path, &gguf, &error));
  EM_TRY(em_engine_open(gguf, &params, NULL, NULL, &engine, &error));
  s.n_vocab = em_engine_get_facts(engine)->n_vocab;
  s.file = fopen(out, "we");
  if (!s.file)
    EM_TRY(em_fail(&error, EM_ERR_IO, "%s cannot be written: %s", out, strerror(errno)));
  EM_TRY(em_engine_logits(engine, tokens.ids, (uint32_t)tokens.n, params.batch_rows, write_row, &s, &error));
  code = fclose(s.file);
  s.file = NULL;
  if (code != 0)
    EM_TRY(em_fail(&error, EM_ERR_IO, "%s cannot be written: %s", out, strerror(errno)));

fail:
  if (s.file)
    fclose(s.file);
  em_tokens_clear(&tokens);
  em_engine_close(engine);
  em_gguf_close(gguf);
  return status == EM_OK ? 0 : hearth_cli_fail(&error);
}
