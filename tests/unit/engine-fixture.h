/* What the engine's tests share: an engine on a tiny model in memory, and requests that keep their tokens. */
#pragma once

#include "check.h"

#include "engine/engine.h"
#include "tiny-model.h"

typedef struct fixture {
  char *file;
  em_gguf *gguf;
  em_engine *engine;
} fixture;

static inline void fixture_open(fixture *f, const tiny_model *model, const em_engine_params *params) {
  size_t bytes;
  em_error error = {0};
  f->file = tiny_model_make(model, &bytes);
  if (em_gguf_open_memory(f->file, bytes, bytes, &f->gguf, &error) != EM_OK ||
      em_engine_open(f->gguf, params, NULL, NULL, &f->engine, &error) != EM_OK) {
    fprintf(stderr, "%s\n", error.text);
    exit(1);
  }
}

static inline void fixture_close(fixture *f) {
  em_engine_close(f->engine);
  em_gguf_close(f->gguf);
  free(f->file);
  *f = (fixture){0};
}

static inline em_engine_params fixture_params(void) {
  return (em_engine_params){
      .backend = {.kind = EM_DEVICE_CPU, .n_threads = 1, .max_isa = EM_N_ISAS - 1},
      .n_slots = 3,
      .context_tokens = 1024,
      .batch_rows = 64,
      .kv_type = EM_TYPE_F16,
  };
}

/* One request and what came of it. */
typedef struct answer {
  int32_t tokens[2048];
  uint32_t n, n_finished, n_prefills, last_prefill;
  uint32_t stop_after; /* 0: go on */
  em_finish finish;
  em_request_stats stats;
  em_error error;
  em_request_id id;
  em_engine *cancel_in; /* cancels itself when it has cancel_after tokens */
  uint32_t cancel_after;
} answer;

static bool answer_token(void *user, int32_t token) {
  answer *a = user;
  if (a->n < 2048)
    a->tokens[a->n++] = token;
  if (a->cancel_in && a->n == a->cancel_after)
    em_engine_cancel(a->cancel_in, a->id);
  return a->stop_after == 0 || a->n < a->stop_after;
}

static void answer_finish(void *user, em_finish finish, const em_request_stats *stats, const em_error *error) {
  answer *a = user;
  a->n_finished++;
  a->finish = finish;
  a->stats = *stats;
  a->error = *error;
}

static void answer_prefill(void *user, uint32_t done, uint32_t total) {
  answer *a = user;
  a->n_prefills++;
  a->last_prefill = done;
}

static inline em_request_params answer_params(answer *a, const int32_t *prompt, uint32_t n, uint32_t max_tokens) {
  return (em_request_params){
      .tokens = prompt,
      .n_tokens = n,
      .max_tokens = max_tokens,
      .on_token = answer_token,
      .on_finish = answer_finish,
      .on_prefill = answer_prefill,
      .user = a,
  };
}

static inline void answer_submit(em_engine *engine, answer *a, const em_request_params *params) {
  em_error error = {0};
  em_status status = em_engine_submit(engine, params, &a->id, &error);
  if (status != EM_OK)
    fprintf(stderr, "%s\n", error.text);
  CHECK_INT(status, EM_OK);
}

static inline void run_all(em_engine *engine) {
  while (em_engine_step(engine))
    ;
}

/* Submits and runs to the end. */
static inline void ask(em_engine *engine, answer *a, const int32_t *prompt, uint32_t n, uint32_t max_tokens) {
  em_request_params params = answer_params(a, prompt, n, max_tokens);
  answer_submit(engine, a, &params);
  run_all(engine);
}

/* A prompt that differs with its seed from the first token on. */
static inline void make_prompt(int32_t *tokens, uint32_t n, uint32_t seed) {
  for (uint32_t i = 0; i < n; i++)
    tokens[i] = (int32_t)(260 + (i * 31 + seed * 57 + i * i * (seed + 1)) % 250);
}

static inline bool same_answer(const answer *a, const answer *b) {
  return a->n == b->n && memcmp(a->tokens, b->tokens, a->n * sizeof a->tokens[0]) == 0;
}
