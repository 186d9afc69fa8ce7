/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/file.h"
#include "text/grammar/grammar.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define USUAL_CONTEXT_TOKENS 8192u /* the engine's own choice; a longer prompt or answer is given what it needs */

typedef struct {
  em_reply *reply;
  em_constraint *constraint;   /* or NULL */
  bool shows_thinking, thinks; /* whether someone sees it; whether standard error is dimmed now */
  uint64_t first_token_ns;
  char last;       /* byte written */
  int write_error; /* errno, or 0 */
  bool out_of_memory, finished;
  em_finish finish;
  em_request_stats stats;
  em_error error;
} answer;

static void show_thinking(answer *a, const char *text, size_t bytes) {
  if (!a->thinks && bytes > 0)
    fputs("\033[2m", stderr);
  if (a->thinks && bytes == 0)
    fputs("\033[0m\n\n", stderr);
  a->thinks = bytes > 0;
  fwrite(text, 1, bytes, stderr);
}

static bool on_delta(void *user, const em_delta *delta) {
  answer *a = user;

  if (delta->bytes == 0)
    return true;
  if (delta->kind == EM_DELTA_THINKING) {
    if (a->shows_thinking)
      show_thinking(a, delta->text, delta->bytes);
    return true;
  }
  show_thinking(a, "", 0);
  a->last = delta->text[delta->bytes - 1];
  if (a->write_error == 0 && (fwrite(delta->text, 1, delta->bytes, stdout) != delta->bytes || fflush(stdout) != 0))
    a->write_error = errno;
  return true;
}

static bool on_token(void *user, int32_t token) {
  answer *a = user;
  em_reply_state state;

  /* What was not allowed, or could not be taken, is said at the end. */
  if (a->constraint && !em_constraint_push(a->constraint, token))
    return false;
  state = em_reply_push(a->reply, token, NULL);

  if (a->first_token_ns == 0)
    a->first_token_ns = em_now_ns();
  if (state == EM_REPLY_FAILED)
    a->out_of_memory = true;
  return state == EM_REPLY_GOES_ON && a->write_error == 0 && !a->out_of_memory;
}

static bool mask(void *user, uint64_t *allowed) {
  answer *a = user;

  return em_constraint_mask(a->constraint, allowed);
}

static void on_finish(void *user, em_finish finish, const em_request_stats *stats, const em_error *error) {
  answer *a = user;

  if (finish != EM_FINISH_STOP && !em_reply_flush(a->reply, NULL))
    a->out_of_memory = true;
  show_thinking(a, "", 0);
  a->finished = true;
  a->finish = finish;
  a->stats = *stats;
  if (finish == EM_FINISH_ERROR)
    a->error = *error;
}

/* Reads the schema or grammar and makes what holds the answer to it. */
static em_status make_constraint(const em_dialog *dialog, const char *path, em_constraint_params params,
                                 em_constraint **out, em_error *error) {
  char *text = NULL;
  em_status status = EM_OK;

  EM_TRY(em_file_read(path, EM_GRAMMAR_MAX_TEXT_BYTES, &text, &params.bytes, error));
  params.text = text;
  EM_TRY(em_constraint_new(dialog, &params, out, error));
fail:
  free(text);
  return status;
}

static em_status make_prompt(const em_dialog *dialog, const char *text, bool raw, em_thinking thinking, em_tokens *out,
                             em_error *error) {
  const em_tokenizer *tokenizer = em_dialog_tokenizer(dialog);
  em_message message = {"user", text, strlen(text)};
  em_status status = EM_OK;

  if (!raw)
    return em_dialog_prompt(dialog, &message, 1, &(em_prompt_settings){(int64_t)time(NULL), thinking}, out, error);
  if (em_tokenizer_adds_bos(tokenizer) && !em_tokens_append(out, em_tokenizer_bos(tokenizer)))
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "there is not enough memory for the prompt"));
  /* Someone who writes the whole prompt may write special tokens; an end token would only end the text. */
  EM_TRY(em_tokenize(tokenizer, text, message.bytes, EM_TOKENIZE_SPECIAL, out, error));
  if (out->n == 0)
    EM_TRY(em_fail(error, EM_ERR_ARGUMENT, "the prompt is empty, and this model has no token to begin with"));
fail:
  return status;
}

static double per_second(uint64_t n, uint64_t ns) {
  return ns ? (double)n * 1e9 / (double)ns : 0;
}

static void print_stats(const answer *a, const em_engine_facts *facts, uint64_t began_ns, uint64_t seed) {
  const em_request_stats *s = &a->stats;

  fprintf(stderr,
          "device: %s\nload: %.3f s\ntime to first token: %.3f s\nprompt: %u tokens, %.1f tokens/s\n"
          "answer: %u tokens, %.2f tokens/s\nseed: %llu\n",
          facts->device, (double)facts->load_ns / 1e9,
          a->first_token_ns ? (double)(a->first_token_ns - began_ns) / 1e9 : 0, s->n_prompt,
          per_second(s->n_prompt - s->n_reused, s->prefill_ns), s->n_generated,
          s->n_generated > 1 ? per_second(s->n_generated - 1, s->decode_ns) : 0, (unsigned long long)seed);
  if (s->n_guessed > 0)
    fprintf(stderr, "draft: %u tokens guessed, %u of them right\n", s->n_guessed, s->n_taken);
  if (facts->memory.n_parts > 1)
    fprintf(stderr, "%s\n", facts->memory.placement);
}

int hearth_cli_run(const hearth_cli_command *command, int argc, char **argv) {
  uint64_t began_ns = em_now_ns();
  const char *path, *text = NULL, *device = "cpu", *schema = NULL, *grammar = NULL, *think = "auto", *draft = NULL;
  uint32_t n_tokens = 0, n_threads = 0, gpu_layers = 0;
  double temperature = 0;
  uint64_t seed = 0, needed;
  bool raw = false, continues = false, stats = false, has_temperature = false, has_seed = false;
  bool says_gpu_layers = false;
  em_thinking thinking = EM_THINK_AUTO;
  const hearth_cli_option options[] = {
      {"-p", HEARTH_CLI_TEXT, &text, NULL},
      {"-n", HEARTH_CLI_COUNT, &n_tokens, NULL},
      {"--temperature", HEARTH_CLI_NUMBER, &temperature, &has_temperature},
      {"--seed", HEARTH_CLI_SEED, &seed, &has_seed},
      {"--raw", HEARTH_CLI_FLAG, &raw, NULL},
      {"--schema", HEARTH_CLI_TEXT, &schema, NULL},
      {"--grammar", HEARTH_CLI_TEXT, &grammar, NULL},
      {"--think", HEARTH_CLI_TEXT, &think, NULL},
      {"--draft", HEARTH_CLI_TEXT, &draft, NULL},
      {"--device", HEARTH_CLI_TEXT, &device, NULL},
      {"--threads", HEARTH_CLI_COUNT, &n_threads, NULL},
      {"--gpu-layers", HEARTH_CLI_COUNT, &gpu_layers, &says_gpu_layers},
      {"--stats", HEARTH_CLI_FLAG, &stats, NULL},
  };
  em_engine_params params;
  em_request_params request = {.on_token = on_token, .on_finish = on_finish};
  em_request_id id;
  em_gguf *gguf = NULL, *draft_gguf = NULL;
  em_dialog *dialog = NULL;
  em_engine *engine = NULL;
  em_tokens tokens = {0};
  answer a = {0};
  em_error error = {0};
  em_status status = EM_OK;
  int code = 0;

  if (hearth_cli_parse(command, argc, argv, options, sizeof options / sizeof *options, &path, 1, &code))
    return code;
  if (!text)
    return hearth_cli_wrong(command, "-p is missing");
  if (schema && grammar)
    return hearth_cli_wrong(command, "an answer follows a schema or a grammar, not both");
  if (strcmp(think, "on") == 0)
    thinking = EM_THINK_ON;
  else if (strcmp(think, "off") == 0)
    thinking = EM_THINK_OFF;
  else if (strcmp(think, "auto") != 0)
    return hearth_cli_wrong(command, "--think is on, off or auto");
  /* What follows a grammar does so from its first token on. */
  if (schema || grammar) {
    if (thinking == EM_THINK_ON)
      return hearth_cli_wrong(command, "an answer that follows a schema or a grammar leaves no room for thinking");
    thinking = EM_THINK_OFF;
  }
  if (!has_seed && getrandom(&seed, sizeof seed, 0) != sizeof seed)
    seed = em_now_ns();

  EM_TRY(hearth_cli_engine_params(device, n_threads, &params, &error));
  params.n_slots = 1;
  params.says_gpu_layers = says_gpu_layers;
  params.n_gpu_layers = gpu_layers;
  EM_TRY(em_gguf_open(path, &gguf, &error));
  if (draft)
    EM_TRY(em_gguf_open(draft, &draft_gguf, &error));
  params.draft = draft_gguf;
  EM_TRY(em_dialog_new(gguf, &dialog, &error));
  continues = !raw && !em_dialog_has_template(dialog);
  raw = raw || continues;
  EM_TRY(make_prompt(dialog, text, raw, thinking, &tokens, &error));
  a.shows_thinking = isatty(STDERR_FILENO);
  EM_TRY(em_reply_open(dialog,
                       &(em_reply_params){.continues = raw && text[0] != '\0',
                                          .thinking = thinking,
                                          .plain = raw || schema || grammar,
                                          .sink = on_delta,
                                          .user = &a},
                       &a.reply, &error));
  needed = (uint64_t)tokens.n + n_tokens;
  if (needed > USUAL_CONTEXT_TOKENS)
    params.context_tokens = (uint32_t)(needed <= UINT32_MAX ? needed : UINT32_MAX);
  EM_TRY(em_engine_open(gguf, &params, NULL, NULL, &engine, &error));

  if (schema || grammar) {
    EM_TRY(make_constraint(dialog, schema ? schema : grammar,
                           (em_constraint_params){.is_gbnf = grammar != NULL,
                                                  .continues = raw && text[0] != '\0',
                                                  .n_vocab = em_engine_get_facts(engine)->n_vocab},
                           &a.constraint, &error));
    request.mask = mask;
  }
  em_default_sampling(gguf, &request.sampling);
  if (has_temperature)
    request.sampling.temperature = (float)temperature;
  request.sampling.seed = seed;
  request.tokens = tokens.ids;
  request.n_tokens = (uint32_t)(tokens.n <= UINT32_MAX ? tokens.n : UINT32_MAX);
  request.max_tokens = n_tokens;
  request.user = &a;
  EM_TRY(em_engine_submit(engine, &request, &id, &error));
  /* What is wrong with a template that cannot be used was said when it was read. */
  if (continues)
    fprintf(stderr, "hearth-engine: %sthe text is continued\n",
            em_dialog_template_problem(dialog) ? "" : "the model has no chat template; ");
  else if (!raw && em_dialog_fallback(dialog))
    fprintf(stderr, "hearth-engine: %sthe format of %s is used, which its vocabulary suggests\n",
            em_dialog_template_problem(dialog) ? "" : "the model has no chat template; ", em_dialog_fallback(dialog));
  while (!a.finished)
    em_engine_step(engine);

  if (isatty(STDOUT_FILENO) && a.last != '\n')
    putchar('\n');
  if (a.write_error != 0)
    EM_TRY(em_fail(&error, EM_ERR_IO, "standard output cannot be written: %s", strerror(a.write_error)));
  if (a.out_of_memory)
    EM_TRY(em_fail(&error, EM_ERR_NO_MEMORY, "there is not enough memory for the answer"));
  if (a.finish == EM_FINISH_ERROR) {
    error = a.error;
    EM_TRY(error.code);
  }
  if (a.constraint && em_constraint_error(a.constraint)->code != EM_OK) {
    error = *em_constraint_error(a.constraint);
    EM_TRY(error.code);
  }
  if (stats)
    print_stats(&a, em_engine_get_facts(engine), began_ns, seed);

fail:
  em_engine_close(engine);
  em_constraint_free(a.constraint);
  em_reply_free(a.reply);
  em_tokens_clear(&tokens);
  em_dialog_free(dialog);
  em_gguf_close(gguf);
  em_gguf_close(draft_gguf);
  return status == EM_OK ? 0 : hearth_cli_fail(&error);
}
