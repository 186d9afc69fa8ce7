/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One model of each kind - dense, with experts, with recurrent layers, with latent attention, with sliding windows - on
 * every device here that can run it: how tokens are cut into steps and what else runs changes no bit, and a decoded
 * token reads what the facts say, to the byte. */
#include "engine-fixture.h"

#include "base/log.h"
#include "model/model.h"

#define N_TOKENS 48
#define N_DECODED 12

static void on_log(void *user, em_log_level level, const char *text) {
  fprintf(stderr, "%s\n", text);
  CHECK(level < EM_LOG_WARNING);
}

typedef struct rows {
  float *values;
  uint32_t n_vocab;
} rows;

static em_status keep_row(void *user, uint32_t row, const float *logits, em_error *error) {
  const rows *r = user;
  memcpy(r->values + (size_t)row * r->n_vocab, logits, r->n_vocab * sizeof *logits);
  return EM_OK;
}

static void check_batches(em_engine *engine) {
  static const uint32_t batches[] = {48, 1, 7};
  static float values[N_TOKENS * 512], first[N_TOKENS * 512];
  int32_t tokens[N_TOKENS];
  em_error error = {0};
  rows r = {values, em_engine_get_facts(engine)->n_vocab};
  CHECK_INT(r.n_vocab, 512);
  make_prompt(tokens, N_TOKENS, 3);
  for (int b = 0; b < 3; b++) {
    if (em_engine_logits(engine, tokens, N_TOKENS, batches[b], keep_row, &r, &error) != EM_OK)
      fprintf(stderr, "%s\n", error.text);
    CHECK_INT(error.code, EM_OK);
    if (b == 0)
      memcpy(first, values, sizeof first);
    CHECK(memcmp(first, values, sizeof first) == 0);
  }
  bool finite = true;
  for (size_t i = 0; i < N_TOKENS * 512; i++)
    finite = finite && values[i] - values[i] == 0;
  CHECK(finite);
  CHECK(memcmp(first, first + 512, 512 * sizeof *first) != 0);
}

static void check_counters(em_engine *engine, const em_model *model) {
  static int32_t prompt[20];
  static answer a;
  const em_model_facts *facts = em_model_get_facts(model);
  make_prompt(prompt, 20, 1);
  memset(&a, 0, sizeof a);
  em_request_params request = answer_params(&a, prompt, 20, N_DECODED + 1);
  answer_submit(engine, &a, &request);
  while (a.n == 0)
    em_engine_step(engine);
  em_step_counters sum = {0};
  uint64_t kv_bytes = 0;
  while (a.n_finished == 0) {
    em_engine_step(engine);
    em_step_counters counters = em_engine_counters(engine);
    sum.weights_bytes += counters.weights_bytes;
    sum.expert_bytes += counters.expert_bytes;
    sum.kv_bytes += counters.kv_bytes;
    sum.state_bytes += counters.state_bytes;
  }
  for (uint32_t i = 0; i < N_DECODED; i++)
    kv_bytes += em_model_kv_read_bytes(model, EM_TYPE_F16, 21 + i);
  CHECK_INT(a.n, N_DECODED + 1);
  CHECK_INT(sum.weights_bytes, N_DECODED * facts->weights_bytes_per_token);
  CHECK_INT(sum.kv_bytes, kv_bytes);
  CHECK_INT(sum.state_bytes, N_DECODED * 2 * facts->state_bytes);
  CHECK((sum.expert_bytes > 0) == (facts->n_experts > 0));
  CHECK((facts->n_parameters_active < facts->n_parameters) == (facts->n_experts > 0));
}

/* Two answers at once are those that each has alone. */
static void check_company(em_engine *engine) {
  static answer alone[2], together[2];
  static int32_t prompts[2][30];
  memset(alone, 0, sizeof alone);
  memset(together, 0, sizeof together);
  for (uint32_t i = 0; i < 2; i++) {
    make_prompt(prompts[i], 30, 5 + i);
    ask(engine, &alone[i], prompts[i], 30 - 11 * i, 16);
  }
  for (uint32_t i = 0; i < 2; i++) {
    em_request_params params = answer_params(&together[i], prompts[i], 30 - 11 * i, 16);
    answer_submit(engine, &together[i], &params);
  }
  run_all(engine);
  CHECK_INT(alone[0].n, 16);
  CHECK(same_answer(&alone[0], &together[0]) && same_answer(&alone[1], &together[1]));
  CHECK(!same_answer(&alone[0], &alone[1]));
}

static void check_model(const em_backend_params *device, bool is_software, const tiny_model *model) {
  fixture f = {0};
  em_model *opened = NULL;
  em_error error = {0};
  em_engine_params params = fixture_params();
  params.backend = *device;
  size_t bytes;
  f.file = tiny_model_make(model, &bytes);
  CHECK_INT(em_gguf_open_memory(f.file, bytes, bytes, &f.gguf, &error), EM_OK);
  CHECK_INT(em_model_open(f.gguf, &opened, &error), EM_OK);
  em_status status = em_engine_open(f.gguf, &params, NULL, NULL, &f.engine, &error);
  if (status != EM_OK) {
    fprintf(stderr, "%s: %s\n", model->architecture, error.text);
    CHECK_INT(status, EM_OK);
  } else {
    if (is_software)
      check_batches(f.engine);
    check_counters(f.engine, opened);
    if (is_software)
      check_company(f.engine);
  }
  em_model_close(opened);
  fixture_close(&f);
}

int main(void) {
  static const char *const families[] = {"llama", "qwen3moe", "qwen35", "deepseek2", "gemma3"};
  em_vulkan_device found[8];
  uint32_t n_found = 0;
  setenv("VK_LOADER_LAYERS_ENABLE", "*validation*", 0);
  em_log_set(on_log, NULL);
  bool has_vulkan = em_vulkan_list(found, 8, &n_found, NULL) == EM_OK && n_found > 0;
  if (!has_vulkan)
    printf("without a Vulkan device\n");
  for (uint32_t i = 0; i < sizeof families / sizeof families[0]; i++) {
    tiny_model model = {
        .architecture = families[i], .n_layers = 4, .n_embd = 256, .n_ff = 256, .context_tokens = 512, .seed = i + 1};
    em_backend_params cpu = fixture_params().backend, vulkan = {.kind = EM_DEVICE_VULKAN};
    check_model(&cpu, true, &model);
    model.type = EM_TYPE_Q8_0;
    check_model(&cpu, true, &model);
    if (has_vulkan)
      check_model(&vulkan, found[0].kind == EM_VULKAN_SOFTWARE, &model);
  }
  return check_done();
}
