/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Requests through the whole engine on a tiny model: what a request says depends on itself alone. */
#include "engine-fixture.h"
#include "engine/internal.h"

#include <math.h>

static const tiny_model model = {.architecture = "qwen3", .n_embd = 64, .context_tokens = 1024};
static const tiny_model model_q8 = {.architecture = "llama", .type = EM_TYPE_Q8_0, .context_tokens = 1024};

#define N_PROMPTS 6

static const uint32_t prompt_lengths[N_PROMPTS] = {1, 300, 17, 64, 256, 513};

static void make_prompts(int32_t prompts[N_PROMPTS][600]) {
  for (uint32_t i = 0; i < N_PROMPTS; i++)
    make_prompt(prompts[i], prompt_lengths[i], i);
}

/* Every second request samples, so that seeds and positions are tested too. */
static em_request_params nth_params(answer *a, int32_t prompts[N_PROMPTS][600], uint32_t i) {
  em_request_params params = answer_params(a, prompts[i], prompt_lengths[i], 40 + 3 * i);
  if (i % 2) {
    params.sampling = (em_sampling){.temperature = 0.9f, .top_k = 50, .top_p = 0.95f, .min_p = 0.02f, .seed = i};
    params.sampling.repetition_penalty = 1.1f;
  }
  return params;
}

/* The same requests one by one, all at once, with other chunks, slots and threads, and again with a warm cache. */
static void check_independence(const tiny_model *tiny) {
  static int32_t prompts[N_PROMPTS][600];
  static answer alone[N_PROMPTS], together[N_PROMPTS];
  make_prompts(prompts);
  memset(alone, 0, sizeof alone);
  for (uint32_t i = 0; i < N_PROMPTS; i++) {
    fixture f;
    em_engine_params params = fixture_params();
    params.n_slots = 1;
    fixture_open(&f, tiny, &params);
    em_request_params request = nth_params(&alone[i], prompts, i);
    answer_submit(f.engine, &alone[i], &request);
    run_all(f.engine);
    CHECK_INT(alone[i].n, 40 + 3 * i);
    CHECK_INT(alone[i].finish, EM_FINISH_LENGTH);
    CHECK_INT(alone[i].n_finished, 1);
    CHECK_INT(alone[i].stats.n_prompt, prompt_lengths[i]);
    CHECK_INT(alone[i].stats.n_generated, alone[i].n);
    CHECK_INT(alone[i].stats.n_reused, 0);
    CHECK_INT(alone[i].last_prefill, prompt_lengths[i]);
    fixture_close(&f);
  }

  static const struct {
    uint32_t n_slots, batch_rows, n_threads;
  } cases[] = {{3, 64, 1}, {6, 256, 2}, {4, 7, 1}, {2, 2, 2}, {6, 6, 1}};
  for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    fixture f;
    em_engine_params params = fixture_params();
    params.n_slots = cases[c].n_slots;
    params.batch_rows = cases[c].batch_rows;
    params.backend.n_threads = cases[c].n_threads;
    fixture_open(&f, tiny, &params);
    for (int warm = 0; warm < 2; warm++) {
      memset(together, 0, sizeof together);
      for (uint32_t i = 0; i < N_PROMPTS; i++) {
        em_request_params request = nth_params(&together[i], prompts, i);
        answer_submit(f.engine, &together[i], &request);
      }
      run_all(f.engine);
      for (uint32_t i = 0; i < N_PROMPTS; i++) {
        CHECK(same_answer(&alone[i], &together[i]));
        CHECK_INT(together[i].n_finished, 1);
        if (warm && prompt_lengths[i] > 1 && cases[c].n_slots == 6)
          CHECK_INT(together[i].stats.n_reused, prompt_lengths[i] - 1);
      }
    }
    fixture_close(&f);
  }
}

static void check_prefix_reuse(void) {
  static int32_t prompt[1024];
  static answer cold, first, longer, branch, again;
  make_prompt(prompt, 700, 3);
  fixture f;
  em_engine_params params = fixture_params();
  fixture_open(&f, &model, &params);
  ask(f.engine, &first, prompt, 600, 30);
  CHECK_INT(first.stats.n_reused, 0);
  /* The next turn of the conversation: prompt, answer and more. Only the answer's last token was never computed. */
  memcpy(prompt + 600, first.tokens, 30 * sizeof *prompt);
  prompt[630] = 300;
  ask(f.engine, &longer, prompt, 631, 30);
  CHECK_INT(longer.stats.n_reused, 629);
  /* A branch inside the second page. */
  int32_t other = prompt[400];
  prompt[400] = other == 270 ? 271 : 270;
  ask(f.engine, &branch, prompt, 631, 30);
  CHECK_INT(branch.stats.n_reused, 400);
  prompt[400] = other;
  ask(f.engine, &again, prompt, 631, 30);
  CHECK_INT(again.stats.n_reused, 630);
  CHECK(same_answer(&longer, &again));
  fixture_close(&f);

  /* All of it says the same as an engine that has computed nothing before. */
  fixture_open(&f, &model, &params);
  ask(f.engine, &cold, prompt, 631, 30);
  CHECK(same_answer(&cold, &longer));
  fixture_close(&f);
  cold = (answer){0};
  prompt[400] = other == 270 ? 271 : 270;
  fixture_open(&f, &model, &params);
  ask(f.engine, &cold, prompt, 631, 30);
  CHECK(same_answer(&cold, &branch));
  fixture_close(&f);
}

static void check_endings(void) {
  static int32_t prompt[2048];
  static answer full, exact, stopped, cancelled, queued, after;
  make_prompt(prompt, 1024, 1);
  fixture f;
  em_engine_params params = fixture_params();
  params.n_slots = 1;
  fixture_open(&f, &model, &params);

  ask(f.engine, &full, prompt, 1000, 0);
  CHECK_INT(full.finish, EM_FINISH_CONTEXT);
  CHECK_INT(full.n, 25); /* the last one needs no place of its own */
  ask(f.engine, &exact, prompt, 1024, 0);
  CHECK_INT(exact.finish, EM_FINISH_CONTEXT);
  CHECK_INT(exact.n, 1);
  CHECK(exact.tokens[0] == full.tokens[24] || memcmp(prompt + 1000, full.tokens, 24 * sizeof *prompt) != 0);

  stopped.stop_after = 5;
  ask(f.engine, &stopped, prompt, 20, 0);
  CHECK_INT(stopped.finish, EM_FINISH_STOP);
  CHECK_INT(stopped.n, 5);

  /* Cancelled from its own callback: not one token more. */
  cancelled.cancel_in = f.engine;
  cancelled.cancel_after = 3;
  ask(f.engine, &cancelled, prompt, 20, 0);
  CHECK_INT(cancelled.finish, EM_FINISH_CANCELLED);
  CHECK_INT(cancelled.n, 3);
  CHECK(memcmp(cancelled.tokens, stopped.tokens, 3 * sizeof *prompt) == 0);

  /* Cancelled while it waits, and in the middle of its prompt. */
  cancelled = (answer){0};
  em_request_params request = answer_params(&cancelled, prompt, 900, 5);
  answer_submit(f.engine, &cancelled, &request);
  request = answer_params(&queued, prompt, 10, 5);
  answer_submit(f.engine, &queued, &request);
  CHECK(em_engine_step(f.engine));
  em_engine_cancel(f.engine, queued.id);
  CHECK(em_engine_step(f.engine));
  CHECK_INT(queued.n_finished, 1);
  CHECK_INT(queued.finish, EM_FINISH_CANCELLED);
  CHECK_INT(cancelled.n_finished, 0);
  em_engine_cancel(f.engine, cancelled.id);
  em_engine_cancel(f.engine, 123456789);
  CHECK(em_engine_step(f.engine));
  CHECK_INT(cancelled.n_finished, 1);
  CHECK_INT(cancelled.finish, EM_FINISH_CANCELLED);
  CHECK_INT(cancelled.n, 0);
  CHECK(!em_engine_step(f.engine));

  stopped.stop_after = 0;
  ask(f.engine, &after, prompt, 20, 5);
  CHECK(memcmp(after.tokens, stopped.tokens, 5 * sizeof *prompt) == 0);
  fixture_close(&f);
}

static void check_refusals(void) {
  static answer many[EM_ENGINE_MAX_QUEUE + 4];
  int32_t prompt[4] = {300, 301, 302, 303};
  static int32_t too_long[2000];
  make_prompt(too_long, 2000, 0);
  fixture f;
  em_engine_params params = fixture_params();
  params.n_slots = 1;
  fixture_open(&f, &model, &params);
  em_request_id id;
  em_error error = {0};

  em_request_params request = answer_params(&many[0], too_long, 1025, 4);
  CHECK_INT(em_engine_submit(f.engine, &request, &id, &error), EM_ERR_CONTEXT);
  CHECK_TEXT(error.text, "the text has 1025 tokens and the context holds 1024");
  request = answer_params(&many[0], prompt, 0, 4);
  CHECK_INT(em_engine_submit(f.engine, &request, &id, NULL), EM_ERR_ARGUMENT);
  request = answer_params(&many[0], prompt, 4, 4);
  prompt[2] = 512;
  CHECK_INT(em_engine_submit(f.engine, &request, &id, NULL), EM_ERR_ARGUMENT);
  prompt[2] = -1;
  CHECK_INT(em_engine_submit(f.engine, &request, &id, NULL), EM_ERR_ARGUMENT);
  prompt[2] = 302;
  em_logit_bias bias = {512, 1};
  const em_sampling wrong[] = {
      {.temperature = -1},
      {.temperature = NAN},
      {.temperature = 101},
      {.top_p = 1.5f},
      {.top_p = NAN},
      {.min_p = -0.1f},
      {.repetition_penalty = -1},
      {.frequency_penalty = 2.5f},
      {.presence_penalty = -3},
      {.n_biases = 1},
      {.n_biases = 1, .biases = &bias},
      {.n_biases = 1025, .biases = &bias},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    request.sampling = wrong[i];
    CHECK_INT(em_engine_submit(f.engine, &request, &id, NULL), EM_ERR_ARGUMENT);
  }
  request.sampling = (em_sampling){0};
  request.on_token = NULL;
  CHECK_INT(em_engine_submit(f.engine, &request, &id, NULL), EM_ERR_ARGUMENT);

  for (uint32_t i = 0; i < EM_ENGINE_MAX_QUEUE; i++) {
    request = answer_params(&many[i], prompt, 4, 3);
    answer_submit(f.engine, &many[i], &request);
  }
  CHECK_INT(em_engine_submit(f.engine, &request, &id, NULL), EM_ERR_BUSY);
  /* One is admitted, so one place is free again. */
  CHECK(em_engine_step(f.engine));
  request = answer_params(&many[EM_ENGINE_MAX_QUEUE], prompt, 4, 3);
  answer_submit(f.engine, &many[EM_ENGINE_MAX_QUEUE], &request);
  run_all(f.engine);
  for (uint32_t i = 0; i <= EM_ENGINE_MAX_QUEUE; i++) {
    CHECK_INT(many[i].n_finished, 1);
    CHECK(same_answer(&many[i], &many[0]));
    CHECK(i == 0 || many[i].id > many[i - 1].id);
  }

  /* Requests that are alive at closing end without a callback. */
  many[0] = many[1] = (answer){0};
  request = answer_params(&many[0], prompt, 4, 0);
  answer_submit(f.engine, &many[0], &request);
  request = answer_params(&many[1], prompt, 4, 0);
  answer_submit(f.engine, &many[1], &request);
  CHECK(em_engine_step(f.engine));
  fixture_close(&f);
  CHECK_INT(many[0].n_finished + many[1].n_finished, 0);
}

/* --- Masks -------------------------------------------------------------------------------------------------------- */

typedef struct masked {
  answer answer; /* the first member: the callbacks' user is both */
  uint32_t calls, allow_calls;
  int32_t only[2]; /* the tokens allowed */
} masked;

static bool mask_two(void *user, uint64_t *allowed) {
  masked *m = user;
  if (m->calls++ == m->allow_calls)
    return false;
  for (int i = 0; i < 2; i++)
    if (m->only[i] >= 0)
      allowed[m->only[i] / 64] |= UINT64_C(1) << (m->only[i] % 64);
  return true;
}

static void check_mask(void) {
  int32_t prompt[4] = {300, 301, 302, 303};
  fixture f;
  em_engine_params params = fixture_params();
  fixture_open(&f, &model, &params);
  for (int sampled = 0; sampled < 2; sampled++) {
    masked m = {.allow_calls = 10, .only = {400, 511}};
    em_request_params request = answer_params(&m.answer, prompt, 4, 0);
    request.mask = mask_two;
    request.sampling.temperature = (float)sampled;
    answer_submit(f.engine, &m.answer, &request);
    run_all(f.engine);
    CHECK_INT(m.answer.finish, EM_FINISH_STOP);
    CHECK_INT(m.answer.n, 10);
    for (uint32_t i = 0; i < m.answer.n; i++)
      CHECK(m.answer.tokens[i] == 400 || m.answer.tokens[i] == 511);
  }
  /* A mask without any bit leaves no token: the answer ends. */
  masked m = {.allow_calls = 10, .only = {-1, -1}};
  em_request_params request = answer_params(&m.answer, prompt, 4, 0);
  request.mask = mask_two;
  answer_submit(f.engine, &m.answer, &request);
  run_all(f.engine);
  CHECK_INT(m.answer.finish, EM_FINISH_STOP);
  CHECK_INT(m.answer.n, 0);
  fixture_close(&f);
}

/* --- A request that fails ----------------------------------------------------------------------------------------- */

/* A token whose embedding is no number spoils its own request and no other, neither beside it nor after it. */
static void check_failure(void) {
  static answer good, bad, beside, after;
  int32_t prompt[40], poisoned[40];
  make_prompt(prompt, 40, 5);
  memcpy(poisoned, prompt, sizeof prompt);
  poisoned[20] = 259;
  fixture f;
  em_engine_params params = fixture_params();
  size_t bytes;
  em_error error = {0};
  f.file = tiny_model_make(&model, &bytes);
  CHECK_INT(em_gguf_open_memory(f.file, bytes, bytes, &f.gguf, &error), EM_OK);
  const em_gguf_tensor *table = em_gguf_find_tensor(f.gguf, "token_embd.weight");
  float not_a_number = NAN;
  for (uint64_t i = 0; i < table->dims[0]; i++)
    memcpy(f.file + table->offset + 259 * table->row_bytes + i * sizeof(float), &not_a_number, sizeof(float));
  CHECK_INT(em_engine_open(f.gguf, &params, NULL, NULL, &f.engine, &error), EM_OK);
  for (int i = 0; i < 40; i++)
    CHECK(prompt[i] != 259);

  ask(f.engine, &good, prompt, 40, 20);
  CHECK_INT(good.finish, EM_FINISH_LENGTH);
  em_request_params request = answer_params(&bad, poisoned, 40, 20);
  answer_submit(f.engine, &bad, &request);
  request = answer_params(&beside, prompt, 40, 20);
  answer_submit(f.engine, &beside, &request);
  run_all(f.engine);
  CHECK_INT(bad.finish, EM_FINISH_ERROR);
  CHECK_INT(bad.error.code, EM_ERR_INTERNAL);
  CHECK_INT(bad.n, 0);
  CHECK(same_answer(&good, &beside));
  ask(f.engine, &after, prompt, 40, 20);
  CHECK(same_answer(&good, &after));
  fixture_close(&f);
}

static em_status count_rows(void *user, uint32_t row, const float *logits, em_error *error) {
  uint32_t *n = user;
  CHECK_INT(row, *n);
  CHECK(isfinite(logits[0]));
  return ++*n == 20 ? em_fail(error, EM_ERR_CANCELLED, "enough") : EM_OK;
}

static void check_logits(void) {
  static answer a;
  int32_t prompt[64];
  make_prompt(prompt, 64, 2);
  fixture f;
  em_engine_params params = fixture_params();
  fixture_open(&f, &model, &params);
  uint32_t n = 0;
  CHECK_INT(em_engine_logits(f.engine, prompt, 18, 5, count_rows, &n, NULL), EM_OK);
  CHECK_INT(n, 18);
  n = 0;
  CHECK_INT(em_engine_logits(f.engine, prompt, 64, 64, count_rows, &n, NULL), EM_ERR_CANCELLED);
  CHECK_INT(em_engine_logits(f.engine, prompt, 64, 0, count_rows, &n, NULL), EM_ERR_ARGUMENT);
  CHECK_INT(em_engine_logits(f.engine, prompt, 64, 65, count_rows, &n, NULL), EM_ERR_ARGUMENT);
  CHECK_INT(em_engine_logits(f.engine, prompt, 0, 1, count_rows, &n, NULL), EM_ERR_ARGUMENT);
  em_request_params request = answer_params(&a, prompt, 4, 2);
  answer_submit(f.engine, &a, &request);
  CHECK_INT(em_engine_logits(f.engine, prompt, 4, 1, count_rows, &n, NULL), EM_ERR_BUSY);
  run_all(f.engine);
  CHECK_INT(a.n, 2);
  em_step_counters counters = em_engine_counters(f.engine);
  const em_engine_facts *facts = em_engine_get_facts(f.engine);
  CHECK(counters.n_dispatches == 2 + 6 * facts->n_layers);
  CHECK_INT(counters.weights_bytes, facts->weights_bytes_per_token);
  fixture_close(&f);
}

/* --- Sharing ------------------------------------------------------------------------------------------------------ */

/* While one request reads a long prompt, another one's words keep coming, and two long prompts advance side by side. */
static void check_fairness(void) {
  static answer talker, reader, second;
  static int32_t prompts[2][600];
  make_prompt(prompts[0], 600, 1);
  make_prompt(prompts[1], 600, 2);
  fixture f;
  em_engine_params params = fixture_params();
  fixture_open(&f, &model, &params);
  em_request_params request = answer_params(&talker, prompts[0], 4, 400);
  answer_submit(f.engine, &talker, &request);
  CHECK(em_engine_step(f.engine));
  CHECK_INT(talker.n, 1);
  request = answer_params(&reader, prompts[0], 600, 4);
  answer_submit(f.engine, &reader, &request);
  request = answer_params(&second, prompts[1], 600, 4);
  answer_submit(f.engine, &second, &request);
  uint32_t n_steps = 0;
  while (reader.n == 0 && n_steps < 200) {
    CHECK(em_engine_step(f.engine));
    CHECK_INT(talker.n, ++n_steps + 1);
  }
  CHECK(n_steps >= 1200 / 16 - 2 && n_steps <= 1200 / 16 + 2);
  CHECK(second.last_prefill + 64 > 600);
  run_all(f.engine);
  CHECK_INT(talker.n, 400);
  CHECK_INT(reader.n + second.n, 8);
  fixture_close(&f);
}

/* Where memory has room for one slot's pages only, requests that may need them all come one after the other, short ones
 * run together, and all say the same as ever. */
static void check_few_pages(void) {
  static answer alone[3], answers[3];
  static int32_t prompts[3][600];
  for (uint32_t i = 0; i < 3; i++)
    make_prompt(prompts[i], 600, i);
  fixture f;
  em_engine_params params = fixture_params();
  for (int few = 0; few < 2; few++) {
    fixture_open(&f, &model, &params);
    const em_memory_plan plan = em_engine_get_facts(f.engine)->memory;
    if (few) {
      CHECK_INT(plan.kv_bytes, 1024 * em_engine_get_facts(f.engine)->kv_bytes_per_token);
      CHECK_INT(plan.context_tokens, 1024);
    }
    for (int round = 0; round < 2; round++) {
      memset(answers, 0, sizeof answers);
      for (uint32_t i = 0; i < 3; i++) {
        em_request_params request = answer_params(&answers[i], prompts[i], 100 + 100 * i, round ? 40 : 0);
        answers[i].stop_after = 40;
        answer_submit(f.engine, &answers[i], &request);
      }
      em_engine_step(f.engine);
      em_engine_step(f.engine);
      CHECK_INT(answers[2].n_prefills > 0, !few || round);
      run_all(f.engine);
      for (uint32_t i = 0; i < 3; i++) {
        CHECK_INT(answers[i].n, 40);
        CHECK_INT(answers[i].n_finished, 1);
        if (few || round)
          CHECK(same_answer(&answers[i], &alone[i]));
        else
          alone[i] = answers[i];
      }
    }
    fixture_close(&f);
    /* For the second engine: what the first took, less two slots' pages. */
    params.memory_limit_bytes = plan.total_bytes - plan.kv_bytes / 3 * 2;
  }
}

/* Steps that prefill grow while they are quick and shrink where they are slow. */
static void check_pace(void) {
  em_request request = {0};
  em_slot slot = {.request = &request, .n_tokens = 1000};
  em_plan plan = {.n_slots = 1, .batch_rows = 256, .n_pages = 8, .memory = {.context_tokens = 2048}};
  em_scheduler scheduler;
  em_scheduler_init(&scheduler, &slot, &plan);
  CHECK_INT(em_scheduler_share(&scheduler), 64);
  em_scheduler_pace(&scheduler, 64, 20000000);
  CHECK_INT(em_scheduler_share(&scheduler), 128);
  em_scheduler_pace(&scheduler, 128, 40000000);
  CHECK_INT(em_scheduler_share(&scheduler), 256);
  em_scheduler_pace(&scheduler, 256, 600000000);
  CHECK_INT(em_scheduler_share(&scheduler), 64);
  em_scheduler_pace(&scheduler, 64, 9000000000);
  CHECK_INT(em_scheduler_share(&scheduler), 16);
  em_scheduler_pace(&scheduler, 1, 1); /* a decoding step says nothing of prefill */
  CHECK_INT(em_scheduler_share(&scheduler), 16);
  slot.request = NULL;
  em_scheduler_clear(&scheduler);
}

/* Where big steps round otherwise than small ones, the kind of a row's step follows from its position and its prompt's
 * length, whatever else runs and however fast; everything gets its turn. */
#define FEW 16u

static void check_kinds_of(uint32_t n_slots, uint32_t batch_rows, uint32_t *seed) {
  static em_request request;
  static em_slot slots[24];
  em_plan plan = {.n_slots = n_slots, .batch_rows = batch_rows, .n_pages = 8, .memory = {.context_tokens = 2048}};
  em_scheduler scheduler;
  uint32_t n_started = 0, n_done = 0, answers[24] = {0}, n_bad = 0, n_steps = 0;
  memset(slots, 0, sizeof slots);
  em_scheduler_init(&scheduler, slots, &plan);
  scheduler.few_rows = FEW;
  while (n_done < 60 && n_steps++ < 20000) {
    for (uint32_t i = 0; i < n_slots; i++) {
      *seed = *seed * 1664525 + 1013904223;
      if (slots[i].request || *seed >> 30 != 0)
        continue;
      n_started++;
      answers[i] = 1 + (*seed >> 8) % 20;
      slots[i] = (em_slot){.request = &request};
      slots[i].n_tokens = slots[i].stats.n_prompt = 1 + (*seed >> 13) % (n_started % 3 ? 300 : 40);
      slots[i].n_computed = (slots[i].n_tokens - 1) / EM_PROMPT_BLOCK * EM_PROMPT_BLOCK * (n_started % 4 == 0);
    }
    uint32_t total = em_scheduler_share(&scheduler), sum = 0, n_alive = 0;
    for (uint32_t i = 0; i < n_slots; i++) {
      em_slot *slot = &slots[i];
      if (!slot->request) {
        n_bad += slot->n_rows != 0;
        continue;
      }
      uint32_t whole = batch_rows < EM_PROMPT_BLOCK ? 0 : slot->stats.n_prompt / EM_PROMPT_BLOCK * EM_PROMPT_BLOCK;
      n_alive++;
      sum += slot->n_rows;
      if (slot->n_rows == 0)
        continue;
      if (slot->n_computed < whole)
        n_bad += total <= FEW || slot->n_rows % EM_PROMPT_BLOCK != 0 || slot->n_computed + slot->n_rows > whole;
      else
        n_bad += total > FEW;
      slot->n_computed += slot->n_rows;
      n_bad += slot->n_computed > slot->n_tokens;
      if (slot->n_computed < slot->n_tokens)
        continue;
      slot->n_tokens++;
      if (--answers[i] == 0) {
        *slot = (em_slot){0};
        n_done++;
      }
    }
    n_bad += total != sum || total > batch_rows || (n_alive > 0 && total == 0);
    em_scheduler_pace(&scheduler, total, 1000000 + (*seed >> 4));
  }
  CHECK_INT(n_bad, 0);
  CHECK(n_done >= 60);
  for (uint32_t i = 0; i < n_slots; i++)
    slots[i].request = NULL;
  em_scheduler_clear(&scheduler);
}

static void check_kinds(void) {
  uint32_t seed = 1;
  for (int round = 0; round < 20; round++) {
    check_kinds_of(4, 256, &seed);
    check_kinds_of(3, 64, &seed);
    check_kinds_of(1, 1, &seed);
    check_kinds_of(2, 20, &seed);
    check_kinds_of(24, 100, &seed);
  }
}

/* Small steps that were slow say nothing of big ones. */
static void check_pace_of_kinds(void) {
  em_request request = {0};
  em_slot slot = {.request = &request, .n_tokens = 1000, .stats = {.n_prompt = 1000}};
  em_plan plan = {.n_slots = 1, .batch_rows = 256, .n_pages = 8, .memory = {.context_tokens = 2048}};
  em_scheduler scheduler;
  em_scheduler_init(&scheduler, &slot, &plan);
  scheduler.few_rows = FEW;
  CHECK_INT(em_scheduler_share(&scheduler), 64);
  em_scheduler_pace(&scheduler, FEW, 9000000000);
  CHECK_INT(em_scheduler_share(&scheduler), 64);
  em_scheduler_pace(&scheduler, 64, 100000000);
  CHECK_INT(em_scheduler_share(&scheduler), 96);
  em_scheduler_pace(&scheduler, 96, 9000000000);
  CHECK_INT(em_scheduler_share(&scheduler), EM_PROMPT_BLOCK);
  slot.n_computed = 992;
  CHECK_INT(em_scheduler_share(&scheduler), 8);
  slot.request = NULL;
  em_scheduler_clear(&scheduler);
}

/* An engine on a device that sums alike everywhere says the same in either way of taking turns; what is reused of a
 * prompt ends with a block. */
static void check_kinds_in_engine(void) {
  static answer plain[3], apart[3];
  static int32_t prompts[3][300];
  fixture f;
  em_engine_params params = fixture_params();
  fixture_open(&f, &model, &params);
  CHECK_INT(f.engine->scheduler.few_rows, 0); /* the processor's */
  for (int kinds = 0; kinds < 2; kinds++) {
    answer *answers = kinds ? apart : plain;
    f.engine->scheduler.few_rows = kinds ? FEW : 0;
    em_pages_forget(f.engine->pages);
    for (uint32_t i = 0; i < 3; i++) {
      make_prompt(prompts[i], 300, i);
      em_request_params request = answer_params(&answers[i], prompts[i], 100 + 78 * i, 30);
      answer_submit(f.engine, &answers[i], &request);
    }
    run_all(f.engine);
    for (uint32_t i = 0; i < 3; i++) {
      CHECK_INT(answers[i].n_finished, 1);
      CHECK_INT(answers[i].finish, EM_FINISH_LENGTH);
      CHECK(answers[i].n == 30 && same_answer(&answers[i], &plain[i]));
      CHECK_INT(answers[i].stats.n_reused, 0);
    }
  }
  static answer again;
  ask(f.engine, &again, prompts[0], 100, 30);
  CHECK(same_answer(&again, &plain[0]));
  CHECK_INT(again.stats.n_reused, 96);
  fixture_close(&f);
}

int main(void) {
  check_pace();
  check_kinds();
  check_pace_of_kinds();
  check_kinds_in_engine();
  check_independence(&model);
  check_independence(&model_q8);
  check_prefix_reuse();
  check_endings();
  check_refusals();
  check_mask();
  check_failure();
  check_logits();
  check_fairness();
  check_few_pages();
  return check_done();
}
