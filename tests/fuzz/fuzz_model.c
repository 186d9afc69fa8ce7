/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Takes any bytes for the header of a model whose weights are zeros: opens it, plans it, loads it and generates a few
 * tokens. Everything a file can say about a model passes through here. */
#include "fuzz.h"

#include <string.h>

#include "engine/engine.h"

#define FILE_BYTES (512u << 10)

typedef struct answer {
  uint32_t n_tokens, n_vocab;
  bool finished;
} answer;

static bool on_token(void *user, int32_t token) {
  answer *a = user;
  REQUIRE(token >= 0 && (uint32_t)token < a->n_vocab);
  a->n_tokens++;
  return true;
}

static void on_finish(void *user, em_finish finish, const em_request_stats *stats, const em_error *error) {
  answer *a = user;
  a->finished = true;
  REQUIRE((finish == EM_FINISH_ERROR) == (error->code != EM_OK));
}

static void check_answer(em_engine *engine) {
  const em_engine_facts *facts = em_engine_get_facts(engine);
  answer a = {.n_vocab = facts->n_vocab};
  int32_t prompt[3] = {0, (int32_t)facts->n_vocab - 1, 0};
  em_request_params request = {
      .tokens = prompt, .n_tokens = 3, .max_tokens = 2, .on_token = on_token, .on_finish = on_finish, .user = &a};
  em_request_id id;
  if (em_engine_submit(engine, &request, &id, NULL) != EM_OK) {
    REQUIRE(facts->context_tokens < 3);
    return;
  }
  while (em_engine_step(engine))
    ;
  REQUIRE(a.finished);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  static uint8_t file[FILE_BYTES];
  if (bytes > FILE_BYTES)
    return 0;
  memset(file, 0, sizeof file);
  memcpy(file, data, bytes);
  em_gguf *gguf = NULL;
  if (em_gguf_open_memory(file, sizeof file, sizeof file, &gguf, NULL) != EM_OK)
    return 0;
  em_engine_params params = {
      .backend = {.kind = EM_DEVICE_CPU, .n_threads = 1, .max_isa = EM_N_ISAS - 1},
      .n_slots = 1,
      .batch_rows = 2,
      .kv_type = EM_TYPE_F16,
      .memory_limit_bytes = 16 << 20,
  };
  em_memory_plan plan = {0};
  em_engine *engine = NULL;
  em_error error = {0};
  em_status planned = em_engine_plan(gguf, &params, &plan, &error);
  REQUIRE((planned == EM_OK) == (error.code == EM_OK) && !strchr(error.text, '\n'));
  REQUIRE(planned != EM_OK || plan.total_bytes <= 16 << 20);
  em_status opened = em_engine_open(gguf, &params, NULL, NULL, &engine, NULL);
  REQUIRE(opened == planned || (planned == EM_OK && opened == EM_ERR_NO_MEMORY));
  if (engine) {
    REQUIRE(em_engine_get_facts(engine)->memory.total_bytes == plan.total_bytes);
    check_answer(engine);
  }
  em_engine_close(engine);
  em_gguf_close(gguf);
  return 0;
}
