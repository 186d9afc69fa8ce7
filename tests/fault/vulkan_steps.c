/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Steps on a device: each is submitted once, and nothing is made or recorded for it. Tokens that the device picks, and
 * steps that it runs before the host has seen their tokens, give the same answers as choosing from all logits, one by
 * one; and when an answer ends among them, what was computed too much is not taken for the conversation. With the
 * validation layer, whose every message fails the test. */
#include "vulkan-hook.h"

#include "engine/engine.h"
#include "tiny-model.h"

#define N_PROMPT 40
#define N_TOKENS 200

static em_gguf *gguf;
static uint32_t device_index; /* of the software device */

typedef struct answer {
  int32_t tokens[N_TOKENS + 400];
  uint32_t n, stop_at, cancel_at, n_finished;
  em_engine *engine;
  em_request_id id;
  em_finish finish;
  em_request_stats stats;
} answer;

static bool on_token(void *user, int32_t token) {
  answer *a = user;
  CHECK(a->n < sizeof a->tokens / sizeof a->tokens[0] && a->n_finished == 0);
  a->tokens[a->n++] = token;
  if (a->n == a->cancel_at)
    em_engine_cancel(a->engine, a->id);
  return a->n != a->stop_at;
}

static void on_finish(void *user, em_finish finish, const em_request_stats *stats, const em_error *error) {
  answer *a = user;
  a->n_finished++;
  a->finish = finish;
  a->stats = *stats;
  if (error->text[0])
    fprintf(stderr, "%s\n", error->text);
}

/* Lets every token be; a request with a mask is given all logits, one step after the other. */
static bool allow_all(void *user, uint64_t *allowed) {
  memset(allowed, 0xff, 8 * ((512 + 63) / 64));
  return true;
}

static const em_gguf *draft; /* of the engines that are opened, or NULL */

static em_engine *open_engine(void) {
  em_engine_params params = {.backend = {.kind = EM_DEVICE_VULKAN, .device_index = device_index, .n_threads = 1},
                             .n_slots = 2,
                             .context_tokens = 300,
                             .batch_rows = 64,
                             .kv_type = EM_TYPE_F16,
                             .draft = draft};
  em_engine *engine = NULL;
  em_error error = {0};
  if (em_engine_open(gguf, &params, NULL, NULL, &engine, &error) != EM_OK) {
    fprintf(stderr, "%s\n", error.text);
    exit(1);
  }
  return engine;
}

static void submit(em_engine *engine, answer *a, const int32_t *prompt, uint32_t n, uint32_t max_tokens,
                   const em_sampling *sampling, bool all) {
  em_request_params request = {.tokens = prompt,
                               .n_tokens = n,
                               .max_tokens = max_tokens,
                               .sampling = *sampling,
                               .on_token = on_token,
                               .on_finish = on_finish,
                               .mask = all ? allow_all : NULL,
                               .user = a};
  a->engine = engine;
  CHECK(em_engine_submit(engine, &request, &a->id, NULL) == EM_OK);
}

/* Runs what was submitted to its end; returns the most steps that a submit had. */
static uint32_t run(em_engine *engine) {
  uint32_t most = 0;
  while (em_engine_step(engine)) {
    uint32_t n = em_engine_counters(engine).n_steps;
    most = n > most ? n : most;
  }
  return most;
}

static bool starts_as(const answer *a, const answer *b, uint32_t n) {
  return a->n >= n && b->n >= n && memcmp(a->tokens, b->tokens, n * sizeof a->tokens[0]) == 0;
}

static void make_prompt(int32_t *prompt, int seed) {
  for (int i = 0; i < N_PROMPT; i++)
    prompt[i] = 260 + (i * 31 + seed * 57 + i * i) % 250;
}

static void test_answers(em_engine *engine) {
  static const em_sampling settings[] = {
      {0},
      {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f, .seed = 3},
      {.temperature = 1.5f, .top_k = 64, .seed = 4},
      {.temperature = 1.5f, .top_k = 1},
      {.temperature = 1.5f, .top_k = 65, .seed = 5},
      {.temperature = 0, .repetition_penalty = 1.3f},
  };
  static const uint32_t most_steps[] = {4, 1, 1, 4, 1, 1};
  static answer plain, fast, both[2];
  int32_t prompt[N_PROMPT];
  for (int i = 0; i < 6; i++) {
    const uint32_t n = i == 0 ? N_TOKENS : N_TOKENS / 5;
    make_prompt(prompt, i);
    plain = fast = both[0] = both[1] = (answer){0};
    submit(engine, &plain, prompt, N_PROMPT, n, &settings[i], true);
    CHECK_INT(run(engine), 1);
    submit(engine, &fast, prompt, N_PROMPT, n, &settings[i], false);
    uint32_t most = run(engine);
    CHECK(most <= most_steps[i] && (most > 1) == (most_steps[i] > 1));
    CHECK_INT(plain.n, n);
    CHECK_INT(fast.n, n);
    CHECK(starts_as(&plain, &fast, n));
    /* Beside another request, whose settings are others. */
    submit(engine, &both[0], prompt, N_PROMPT, n, &settings[i], false);
    submit(engine, &both[1], prompt, N_PROMPT - 1, n / 2, &settings[(i + 1) % 6], false);
    (void)run(engine);
    CHECK(both[0].n == n && starts_as(&plain, &both[0], n));
    CHECK_INT(both[1].n, n / 2);
  }
}

/* An answer ends where it should, though the device was ahead; and what follows builds on what was said, not on more.
 */
static void test_ends(em_engine *engine) {
  static answer plain, first, second;
  static int32_t longer[N_PROMPT + 64];
  const em_sampling greedy = {0};
  make_prompt(longer, 9);
  plain = (answer){0};
  submit(engine, &plain, longer, N_PROMPT, 80, &greedy, true);
  (void)run(engine);
  for (uint32_t n = 20; n < 24; n++) {
    for (int how = 0; how < 3; how++) {
      first = (answer){.stop_at = how == 1 ? n : 0, .cancel_at = how == 2 ? n : 0};
      submit(engine, &first, longer, N_PROMPT, how == 0 ? n : 80, &greedy, false);
      CHECK(run(engine) > 1);
      CHECK_INT(first.n, n);
      CHECK_INT(first.stats.n_generated, n);
      CHECK_INT(first.finish, how == 0 ? EM_FINISH_LENGTH : how == 1 ? EM_FINISH_STOP : EM_FINISH_CANCELLED);
      CHECK(starts_as(&plain, &first, n));
      /* Another turn of the words that the device had computed ahead, and of others in their place. */
      second = (answer){0};
      memcpy(longer + N_PROMPT, plain.tokens, 40 * sizeof longer[0]);
      longer[N_PROMPT + n] = how == 2 ? longer[N_PROMPT + n] : 301;
      submit(engine, &second, longer, N_PROMPT + 40, 8, &greedy, false);
      (void)run(engine);
      static answer again;
      again = (answer){0};
      em_engine *fresh = how == 1 && n == 22 ? open_engine() : NULL;
      if (fresh) {
        submit(fresh, &again, longer, N_PROMPT + 40, 8, &greedy, true);
        (void)run(fresh);
        em_engine_close(fresh);
        CHECK(second.n == 8 && starts_as(&second, &again, 8));
      } else if (how == 2) {
        CHECK(second.n == 8 && memcmp(second.tokens, plain.tokens + 40, 8 * sizeof second.tokens[0]) == 0);
      }
    }
  }
  /* To the end of the context. */
  plain = first = (answer){0};
  submit(engine, &plain, longer, N_PROMPT, 0, &greedy, true);
  (void)run(engine);
  submit(engine, &first, longer, N_PROMPT, 0, &greedy, false);
  CHECK(run(engine) > 1);
  CHECK_INT(first.finish, EM_FINISH_CONTEXT);
  CHECK_INT(first.n, 301 - N_PROMPT);
  CHECK(first.n == plain.n && starts_as(&plain, &first, plain.n));
}

/* Of 32 steps each is one submit and one wait, and no other call that could fail is made. */
static void test_calls(em_engine *engine) {
  static answer a;
  int32_t prompt[N_PROMPT];
  make_prompt(prompt, 11);
  for (int all = 0; all < 2; all++) {
    a = (answer){0};
    submit(engine, &a, prompt, N_PROMPT, N_TOKENS, &(em_sampling){.temperature = 1, .top_k = 40, .seed = 8}, all == 1);
    while (a.n < 3)
      em_engine_step(engine);
    uint32_t calls = hook_n_calls, waits = hook_n_waits, live = (uint32_t)hook_n_live();
    for (int i = 0; i < 32; i++) {
      em_engine_step(engine);
      em_step_counters counters = em_engine_counters(engine);
      CHECK_INT(counters.n_submits, 1);
      CHECK_INT(counters.n_made, 0);
    }
    CHECK_INT(a.n, 35);
    CHECK_INT(hook_n_waits - waits, 32);
    CHECK_INT(hook_n_calls - calls, 64);
    CHECK_INT(hook_n_live(), live);
    em_engine_cancel(engine, a.id);
    (void)run(engine);
  }
}

/* A device that is lost while a draft guesses for an answer: on the device, opened again, the draft goes on, and the
 * text is the same; on the processor as well, and what it takes there is in the plan. */
static void test_draft_lost(void) {
  static answer plain, lost;
  int32_t prompt[N_PROMPT];
  make_prompt(prompt, 5);
  plain = (answer){0};
  hook_start(&(hook_wish){0});
  em_engine *engine = open_engine();
  submit(engine, &plain, prompt, N_PROMPT, 60, &(em_sampling){0}, false);
  (void)run(engine);
  em_engine_close(engine);
  draft = gguf;
  for (int on = 0; on < 2; on++) {
    lost = (answer){0};
    hook_start(&(hook_wish){0});
    engine = open_engine();
    submit(engine, &lost, prompt, N_PROMPT, 60, &(em_sampling){0}, false);
    while (lost.n < 10)
      em_engine_step(engine);
    hook_start(&(hook_wish){.only = "QueueSubmit", .fail_at = 3, .fail_on = on, .failure = VK_ERROR_DEVICE_LOST});
    (void)run(engine);
    const em_engine_facts *facts = em_engine_get_facts(engine);
    CHECK_INT(strncmp(facts->device, "vulkan", 6) == 0, on == 0);
    CHECK(facts->memory.draft_bytes > 0);
    CHECK_INT(lost.finish, EM_FINISH_LENGTH);
    CHECK_INT(lost.n, 60);
    if (on == 0)
      CHECK(starts_as(&plain, &lost, 60));
    CHECK(lost.stats.n_guessed > 10);
    em_engine_close(engine);
    hook_forget();
  }
  draft = NULL;
}

int main(void) {
  em_error error = {0};
  hook_validate();
  device_index = hook_choose_device(NULL, NULL);
  size_t bytes;
  char *file = tiny_model_make(&(tiny_model){.type = EM_TYPE_F16, .context_tokens = 300, .n_layers = 2}, &bytes);
  CHECK(em_gguf_open_memory(file, bytes, bytes, &gguf, &error) == EM_OK);
  /* As it is; and as a card whose memory the host cannot read, for which results are copied. */
  for (int discrete = 0; discrete < 2; discrete++) {
    hook_start(&(hook_wish){.discrete = discrete == 1});
    em_engine *engine = open_engine();
    test_answers(engine);
    if (discrete == 0)
      test_ends(engine);
    test_calls(engine);
    em_engine_close(engine);
    CHECK_INT(hook_n_live(), 0);
  }
  test_draft_lost();
  em_gguf_close(gguf);
  free(file);
  return check_done();
}
