/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Failing allocations while a model is planned, loaded and asked. */
#include "alloc.h"

#include "engine/engine.h"
#include "tiny-model.h"

static char *file;
static size_t file_bytes;
static em_engine_params params = {
    .backend = {.kind = EM_DEVICE_CPU, .n_threads = 1, .max_isa = EM_N_ISAS - 1},
    .n_slots = 2,
    .context_tokens = 512,
    .batch_rows = 16,
    .kv_type = EM_TYPE_F16,
    .memory_limit_bytes = 64 << 20,
};

static em_memory_plan plan;

static em_status scenario_plan(void) {
  em_gguf *gguf = NULL;
  em_status status = em_gguf_open_memory(file, file_bytes, file_bytes, &gguf, NULL);
  if (status == EM_OK)
    status = em_engine_plan(gguf, &params, &plan, NULL);
  em_gguf_close(gguf);
  return status;
}

static bool on_token(void *user, int32_t token) {
  ++*(uint32_t *)user;
  return true;
}

static void on_finish(void *user, em_finish finish, const em_request_stats *stats, const em_error *error) {
  CHECK_INT(finish, EM_FINISH_LENGTH);
}

static em_status scenario_answer(void) {
  em_gguf *gguf = NULL;
  em_engine *engine = NULL;
  em_error error = {0};
  em_status status = em_gguf_open_memory(file, file_bytes, file_bytes, &gguf, &error);
  if (status == EM_OK)
    status = em_engine_open(gguf, &params, NULL, NULL, &engine, &error);
  int32_t prompt[20];
  uint32_t n_tokens = 0, n_submitted = 0;
  for (int i = 0; i < 20; i++)
    prompt[i] = 300 + i;
  em_logit_bias bias = {400, 2};
  em_request_params request = {.tokens = prompt,
                               .n_tokens = 20,
                               .max_tokens = 4,
                               .on_token = on_token,
                               .on_finish = on_finish,
                               .user = &n_tokens,
                               .sampling = {.temperature = 1, .biases = &bias, .n_biases = 1}};
  em_request_id id;
  for (int i = 0; i < 2 && status == EM_OK; i++) {
    status = em_engine_submit(engine, &request, &id, &error);
    n_submitted += status == EM_OK;
  }
  /* What was accepted is answered, whatever failed after it. */
  while (engine && em_engine_step(engine))
    ;
  CHECK_INT(n_tokens, 4 * n_submitted);
  CHECK_INT(error.code, status);
  em_engine_close(engine);
  em_gguf_close(gguf);
  return status;
}

int main(void) {
  static const tiny_model model = {.architecture = "qwen3",
                                   .n_layers = 1,
                                   .n_embd = 32,
                                   .n_heads = 2,
                                   .n_kv_heads = 1,
                                   .n_ff = 64,
                                   .context_tokens = 512,
                                   .type = EM_TYPE_Q8_0};
  file = tiny_model_make(&model, &file_bytes);
  check_scenario("plan", scenario_plan);
  check_scenario("answer", scenario_answer);
  free(file);

  /* A device that computes nothing has the second of two layers. */
  tiny_model two = model;
  two.n_layers = 2;
  file = tiny_model_make(&two, &file_bytes);
  params.backend.kind = EM_DEVICE_NULL;
  params.says_gpu_layers = true;
  params.n_gpu_layers = 1;
  check_scenario("answer of two devices", scenario_answer);
  params.says_gpu_layers = false;
  params.processor_bytes_per_s = 1;
  params.device_bytes_per_s = 2;
  CHECK_INT(scenario_plan(), EM_OK);
  params.device_memory_limit_bytes = plan.total_bytes / 2;
  check_scenario("plan for two devices", scenario_plan);
  CHECK_INT(plan.n_parts, 2);
  free(file);
  return check_done();
}
