/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Models with recurrent layers: what is taken over from an earlier request ends where states were kept, and answers are
 * then the same, token for token, as without; whatever else runs beside them. */
#include "engine-fixture.h"

#define PAGE 256u

static const tiny_model model = {.architecture = "qwen35", .n_layers = 4, .seed = 5};

/* Answers to the first n tokens of a prompt by an engine that has seen nothing else. */
static void ask_alone(answer *a, const int32_t *prompt, uint32_t n, uint32_t max_tokens) {
  fixture f;
  em_engine_params params = fixture_params();
  params.batch_rows = 48;
  fixture_open(&f, &model, &params);
  *a = (answer){0};
  ask(f.engine, a, prompt, n, max_tokens);
  CHECK_INT(a->stats.n_reused, 0);
  fixture_close(&f);
}

static void check(em_engine *engine, const int32_t *prompt, uint32_t n, uint32_t n_reused) {
  static answer alone, other;
  ask_alone(&alone, prompt, n, 12);
  other = (answer){0};
  ask(engine, &other, prompt, n, 12);
  CHECK_INT(other.stats.n_reused, n_reused);
  CHECK(same_answer(&alone, &other));
  CHECK(other.n > 0);
}

/* Shared between the processor and a graphics device, whose only layer has no state. */
static void check_shared(void) {
  em_vulkan_device found[8];
  uint32_t n_found = 0;
  if (em_vulkan_list(found, 8, &n_found, NULL) != EM_OK || n_found == 0) {
    printf("without a Vulkan device\n");
    return;
  }
  static answer answers[2];
  int32_t prompt[PAGE + 20];
  fixture f;
  em_engine_params params = fixture_params();
  params.backend.kind = EM_DEVICE_VULKAN;
  params.n_slots = params.batch_rows = 1;
  params.says_gpu_layers = true;
  params.n_gpu_layers = 1;
  fixture_open(&f, &model, &params);
  CHECK_INT(em_engine_get_facts(f.engine)->memory.n_parts, 2);
  CHECK_INT(em_engine_get_facts(f.engine)->n_gpu_layers, 1);
  make_prompt(prompt, PAGE + 20, 1);
  for (int i = 0; i < 2; i++) {
    ask(f.engine, &answers[i], prompt, PAGE + 20, 12);
    CHECK_INT(answers[i].stats.n_reused, i * PAGE);
  }
  CHECK(answers[0].n == 12 && same_answer(&answers[0], &answers[1]));
  fixture_close(&f);
}

int main(void) {
  static int32_t prompt[1000], branch[1000], other[1000];
  static answer first, beside[2], alone[2];
  make_prompt(prompt, 1000, 1);
  make_prompt(other, 1000, 2);
  memcpy(branch, prompt, sizeof branch);
  for (uint32_t i = 600; i < 1000; i++)
    branch[i] = other[i];
  fixture f;
  em_engine_params params = fixture_params();
  params.batch_rows = 64;
  fixture_open(&f, &model, &params);

  check(f.engine, prompt, 700, 0);
  /* The same again; longer; and a branch behind the second page's end. */
  check(f.engine, prompt, 700, 2 * PAGE);
  check(f.engine, prompt, 900, 2 * PAGE);
  check(f.engine, branch, 800, 2 * PAGE);
  check(f.engine, prompt, 900, 3 * PAGE);
  check(f.engine, branch, 1000, 3 * PAGE);
  /* No whole page of it: all is computed. */
  check(f.engine, prompt, 200, 0);
  check(f.engine, prompt, PAGE, 0);
  check(f.engine, prompt, PAGE + 1, PAGE);

  /* The states at the end of an answer's page serve the next turn. */
  first = (answer){0};
  ask(f.engine, &first, other, 480, 60);
  memcpy(other + 480, first.tokens, first.n * sizeof *other);
  CHECK_INT(first.n, 60);
  check(f.engine, other, 600, 2 * PAGE);

  /* Two at once, one of them with states that were kept. */
  ask_alone(&alone[0], prompt, 850, 40);
  ask_alone(&alone[1], branch + 3, 700, 40);
  for (int i = 0; i < 2; i++) {
    em_request_params request = answer_params(&beside[i], i ? branch + 3 : prompt, i ? 700 : 850, 40);
    answer_submit(f.engine, &beside[i], &request);
  }
  run_all(f.engine);
  CHECK_INT(beside[0].stats.n_reused, 3 * PAGE);
  CHECK_INT(beside[1].stats.n_reused, 0);
  for (int i = 0; i < 2; i++)
    CHECK(same_answer(&alone[i], &beside[i]));

  /* More prompts than states can be kept of: each is answered as it would be alone. */
  for (uint32_t seed = 10; seed < 24; seed++) {
    make_prompt(other, 1000, seed);
    first = (answer){0};
    ask(f.engine, &first, other, 530, 2);
    CHECK_INT(first.stats.n_reused, 0);
  }
  check(f.engine, other, 540, 2 * PAGE);
  check(f.engine, prompt, 700, 0);
  fixture_close(&f);
  check_shared();
  return check_done();
}
