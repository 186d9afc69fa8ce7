/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Guessing ahead: with a draft of any quality the text is the one without, and a good one saves steps. */
#include "engine-fixture.h"

#define N_PROMPT 300u
#define N_ANSWER 120u

static const tiny_model target = {.architecture = "qwen3", .n_layers = 3, .seed = 5};
static em_backend_params device; /* on which everything is done */

typedef struct drafted {
  fixture f;
  char *file;
  em_gguf *gguf;
} drafted;

static void drafted_open(drafted *d, const tiny_model *draft, uint32_t n_slots) {
  em_engine_params params = fixture_params();
  params.backend = device;
  em_error error = {0};
  size_t bytes;
  d->file = tiny_model_make(draft, &bytes);
  if (em_gguf_open_memory(d->file, bytes, bytes, &d->gguf, &error) != EM_OK)
    exit(1);
  params.n_slots = n_slots;
  params.draft = d->gguf;
  fixture_open(&d->f, &target, &params);
}

static void drafted_close(drafted *d) {
  fixture_close(&d->f);
  em_gguf_close(d->gguf);
  free(d->file);
}

static em_request_params request_of(answer *a, const int32_t *prompt, float temperature) {
  em_request_params request = answer_params(a, prompt, N_PROMPT, N_ANSWER);
  request.sampling.temperature = temperature;
  request.sampling.seed = 9;
  request.sampling.repetition_penalty = temperature > 0 ? 1.1f : 0;
  return request;
}

/* With every stride-th of four prompts. */
static void check_same_text(const tiny_model *draft, bool is_good, uint32_t stride) {
  fixture plain;
  drafted d;
  int32_t prompt[N_PROMPT];
  em_engine_params params = fixture_params();
  params.backend = device;
  fixture_open(&plain, &target, &params);
  drafted_open(&d, draft, 3);
  CHECK(em_engine_get_facts(d.f.engine)->memory.draft_bytes > 0);
  for (uint32_t seed = 0; seed < 4; seed += stride) {
    answer a = {0}, b = {0};
    /* The last ones share a beginning with those before, of which the draft has read more than the request has. */
    make_prompt(prompt, N_PROMPT, seed / 2);
    if (seed % 2)
      make_prompt(prompt + N_PROMPT / 2, N_PROMPT / 2, seed + 10);
    em_request_params one = request_of(&a, prompt, seed < 2 ? 0 : 0.8f),
                      other = request_of(&b, prompt, seed < 2 ? 0 : 0.8f);
    answer_submit(plain.engine, &a, &one);
    run_all(plain.engine);
    answer_submit(d.f.engine, &b, &other);
    run_all(d.f.engine);
    CHECK_INT(a.n, N_ANSWER);
    CHECK(same_answer(&a, &b));
    CHECK_INT(b.finish, EM_FINISH_LENGTH);
    CHECK_INT(a.stats.n_guessed, 0);
    CHECK(b.stats.n_guessed > 0 && b.stats.n_taken <= b.stats.n_guessed);
    if (is_good && seed < 2)
      CHECK_INT(b.stats.n_taken, b.stats.n_guessed);
  }
  drafted_close(&d);
  fixture_close(&plain);
}

static void check_steps_saved(void) {
  drafted d;
  int32_t prompt[N_PROMPT];
  answer a = {0};
  uint32_t n_steps = 0;
  drafted_open(&d, &target, 1);
  make_prompt(prompt, N_PROMPT, 3);
  em_request_params request = request_of(&a, prompt, 0);
  answer_submit(d.f.engine, &a, &request);
  while (em_engine_step(d.f.engine))
    n_steps++;
  CHECK_INT(a.n, N_ANSWER);
  CHECK(n_steps < N_ANSWER / 4);
  drafted_close(&d);
}

/* Two requests at once are computed without guesses, and each as if it were alone; so is one that ends in the middle of
 * right guesses. */
static void check_company(void) {
  fixture plain;
  drafted d;
  int32_t prompts[2][N_PROMPT];
  answer alone[2] = {0}, together[2] = {0}, short_one = {.stop_after = 11};
  em_engine_params params = fixture_params();
  params.backend = device;
  fixture_open(&plain, &target, &params);
  drafted_open(&d, &target, 3);
  for (uint32_t i = 0; i < 2; i++) {
    make_prompt(prompts[i], N_PROMPT, i);
    em_request_params one = request_of(&alone[i], prompts[i], 0), other = request_of(&together[i], prompts[i], 0);
    other.max_tokens = i == 0 ? N_ANSWER / 3 : N_ANSWER;
    answer_submit(plain.engine, &alone[i], &one);
    run_all(plain.engine);
    answer_submit(d.f.engine, &together[i], &other);
  }
  run_all(d.f.engine);
  alone[0].n = N_ANSWER / 3;
  CHECK(same_answer(&alone[0], &together[0]));
  CHECK(same_answer(&alone[1], &together[1]));
  CHECK_INT(together[0].stats.n_guessed, 0);
  CHECK(together[1].stats.n_guessed > 0);

  em_request_params request = request_of(&short_one, prompts[1], 0);
  answer_submit(d.f.engine, &short_one, &request);
  run_all(d.f.engine);
  alone[1].n = 11;
  CHECK(same_answer(&alone[1], &short_one));
  CHECK_INT(short_one.finish, EM_FINISH_STOP);
  drafted_close(&d);
  fixture_close(&plain);
}

static void check_refused(void) {
  em_engine_params params = fixture_params();
  params.backend = device;
  em_error error = {0};
  em_engine *engine = NULL;
  em_gguf *gguf = NULL, *draft = NULL;
  size_t bytes, draft_bytes;
  tiny_model other = target;
  other.n_vocab = 600;
  char *file = tiny_model_make(&target, &bytes), *draft_file = tiny_model_make(&other, &draft_bytes);
  CHECK_INT(em_gguf_open_memory(file, bytes, bytes, &gguf, &error), EM_OK);
  CHECK_INT(em_gguf_open_memory(draft_file, draft_bytes, draft_bytes, &draft, &error), EM_OK);
  params.draft = draft;
  CHECK_INT(em_engine_open(gguf, &params, NULL, NULL, &engine, &error), EM_ERR_UNSUPPORTED);
  CHECK(strstr(error.text, "vocabulary"));

  /* Room for the model, and not for its draft. */
  error = (em_error){0};
  em_memory_plan plan;
  em_gguf_close(draft);
  CHECK_INT(em_gguf_open_memory(file, bytes, bytes, &draft, &error), EM_OK);
  params.draft = NULL;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_OK);
  params.memory_limit_bytes = plan.total_bytes + 100000;
  params.draft = draft;
  CHECK_INT(em_engine_open(gguf, &params, NULL, NULL, &engine, &error), EM_ERR_TOO_BIG);
  CHECK(strstr(error.text, "draft"));
  em_gguf_close(draft);
  em_gguf_close(gguf);
  free(draft_file);
  free(file);
}

int main(void) {
  tiny_model worse = target, other = {.architecture = "llama", .n_layers = 1, .seed = 8};
  worse.type = EM_TYPE_Q4_0;
  device = fixture_params().backend;
  check_same_text(&target, true, 1);
  check_same_text(&worse, false, 1);
  check_same_text(&other, false, 1);
  check_steps_saved();
  check_company();
  check_refused();

  em_vulkan_device found[8];
  uint32_t n_found = 0;
  (void)!em_vulkan_list(found, 8, &n_found, NULL);
  for (uint32_t i = 0; i < n_found; i++)
    if (found[i].kind == EM_VULKAN_SOFTWARE) {
      device = (em_backend_params){.kind = EM_DEVICE_VULKAN, .device_index = i, .n_threads = 1};
      check_same_text(&target, true, 3);
      return check_done();
    }
  printf("without a software Vulkan device\n");
  return check_done();
}
