/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A model whose layers are shared between the processor and a graphics device: how many live where, and that answers
 * are those of the processor alone. A device that computes nothing plays the card where only sizes matter. */
#include "engine-fixture.h"

#include <math.h>

#include "advisor/advisor.h"
#include "base/log.h"

#define N_LAYERS 5u

static const tiny_model model = {
    .architecture = "qwen3", .n_layers = N_LAYERS, .n_embd = 128, .context_tokens = 4096, .tied = true};

/* --- What lives where --------------------------------------------------------------------------------------------- */

static em_engine_params plan_params(void) {
  return (em_engine_params){.backend = {.kind = EM_DEVICE_NULL, .n_threads = 1},
                            .n_slots = 2,
                            .context_tokens = 2048,
                            .kv_type = EM_TYPE_F16,
                            .memory_limit_bytes = UINT64_C(1) << 40,
                            .processor_bytes_per_s = 10000000000,
                            .device_bytes_per_s = 100000000000};
}

static em_memory_plan make_plan(const em_gguf *gguf, const em_engine_params *params, em_status expected,
                                em_error *error) {
  em_memory_plan plan = {0};
  *error = (em_error){0};
  CHECK_INT(em_engine_plan(gguf, params, &plan, error), expected);
  return plan;
}

/* The parts lie one behind the other and add up. */
static void check_parts(const em_memory_plan *plan) {
  uint64_t weights = 0, kv = 0, working = 0, total = 0;
  uint32_t next = 0;
  for (uint32_t i = 0; i < plan->n_parts; i++) {
    const em_part_plan *part = &plan->parts[i];
    CHECK_INT(part->first_layer, next);
    CHECK_INT(part->total_bytes, part->weights_bytes + part->kv_bytes + part->working_bytes);
    CHECK(part->has_embedding == (i == 0) && part->has_head == (i + 1 == plan->n_parts));
    CHECK(part->total_bytes <= part->available_bytes);
    next += part->n_layers;
    weights += part->weights_bytes;
    kv += part->kv_bytes;
    working += part->working_bytes;
    total += part->total_bytes;
  }
  CHECK_INT(next, N_LAYERS);
  CHECK_INT(plan->weights_bytes, weights);
  CHECK_INT(plan->kv_bytes, kv);
  CHECK_INT(plan->working_bytes, working);
  CHECK_INT(plan->total_bytes, total);
  CHECK(plan->placement[0] != '\0');
}

static void check_choice(const em_gguf *gguf) {
  em_engine_params params = plan_params();
  em_error error;

  /* Without a memory of its own a device has all of it, and so has one with enough. */
  em_memory_plan whole = make_plan(gguf, &params, EM_OK, &error);
  CHECK_INT(whole.n_parts, 1);
  check_parts(&whole);
  params.device_memory_limit_bytes = whole.total_bytes;
  em_memory_plan plan = make_plan(gguf, &params, EM_OK, &error);
  CHECK_INT(plan.n_parts, 1);
  CHECK_INT(plan.total_bytes, whole.total_bytes);
  CHECK_INT(plan.available_bytes, whole.total_bytes);

  /* First the slots share pages; when one slot's do not fit, the embedding goes, then layer by layer. */
  params.device_memory_limit_bytes--;
  plan = make_plan(gguf, &params, EM_OK, &error);
  CHECK_INT(plan.n_parts, 1);
  CHECK(plan.kv_bytes < whole.kv_bytes && plan.context_tokens == 2048);
  params.device_memory_limit_bytes = whole.total_bytes - whole.kv_bytes / 2 - 65536;
  plan = make_plan(gguf, &params, EM_OK, &error);
  CHECK_INT(plan.n_parts, 2);
  check_parts(&plan);
  CHECK_INT(plan.context_tokens, 2048);
  CHECK(strncmp(plan.parts[0].device, "cpu", 3) == 0 && strcmp(plan.parts[1].device, "null") == 0);
  uint32_t n_before = plan.parts[1].n_layers;
  CHECK(n_before >= N_LAYERS - 1);

  uint32_t n_seen = 0;
  em_memory_plan last = plan;
  for (uint64_t limit = params.device_memory_limit_bytes; limit > whole.total_bytes / 20; limit -= limit / 20) {
    params.device_memory_limit_bytes = limit;
    em_status status = em_engine_plan(gguf, &params, &plan, &error);
    if (status == EM_ERR_TOO_BIG)
      break;
    CHECK_INT(status, EM_OK);
    check_parts(&plan);
    last = plan;
    uint32_t n = plan.parts[1].n_layers;
    CHECK(n <= n_before && n >= 1);
    n_seen += n < n_before;
    n_before = n;
    em_advisor_share shares[2] = {{plan.parts[0].weights_bytes_per_token, params.processor_bytes_per_s},
                                  {plan.parts[1].weights_bytes_per_token, params.device_bytes_per_s}};
    CHECK(fabs(plan.shared_tokens_per_s / em_advisor_shared_ceiling(shares, 2) - 1) < 1e-9);
    CHECK(plan.shared_tokens_per_s > plan.processor_tokens_per_s);
    /* One layer more has no room. */
    if (n < N_LAYERS) {
      em_engine_params more = params;
      em_memory_plan larger;
      more.says_gpu_layers = true;
      more.n_gpu_layers = n + 1;
      error = (em_error){0};
      CHECK_INT(em_engine_plan(gguf, &more, &larger, &error), EM_ERR_TOO_BIG);
      CHECK(larger.parts[larger.n_parts - 1].total_bytes > limit);
      CHECK(strstr(error.text, "graphics card") || larger.n_parts == 1);
    }
  }
  CHECK(n_seen >= 3);
  CHECK_INT(n_before, 1);
  CHECK(strstr(last.placement, "room for 1 of the 5 layers") != NULL);
}

static void check_reasons(const em_gguf *gguf) {
  em_engine_params params = plan_params();
  em_error error;
  params.n_slots = 1;
  em_memory_plan whole = make_plan(gguf, &params, EM_OK, &error);
  params.device_memory_limit_bytes = whole.total_bytes / 2;
  em_memory_plan shared = make_plan(gguf, &params, EM_OK, &error);
  CHECK_INT(shared.n_parts, 2);
  CHECK(strstr(shared.placement, "tokens a second") != NULL);

  /* A slow card is worse than the processor alone. */
  params.device_bytes_per_s = 5000000000;
  make_plan(gguf, &params, EM_ERR_TOO_BIG, &error);
  CHECK(strstr(error.text, "on the processor alone") != NULL);
  /* Unless the processor has too little memory for all of it. */
  params.memory_limit_bytes = shared.parts[0].total_bytes;
  em_memory_plan plan = make_plan(gguf, &params, EM_OK, &error);
  CHECK_INT(plan.n_parts, 2);
  check_parts(&plan);
  CHECK(strstr(plan.placement, "has not for all") != NULL);
  /* And when it has too little for its share, the context is cut, if it was left open. */
  params.memory_limit_bytes = 1000;
  make_plan(gguf, &params, EM_ERR_TOO_BIG, &error);
  params.context_tokens = 0;
  params.device_memory_limit_bytes = whole.total_bytes - whole.kv_bytes / 2;
  plan = make_plan(gguf, &params, EM_OK, &error);
  CHECK_INT(plan.n_parts, 1);
  CHECK(plan.context_tokens < 2048);

  /* What is not known is said. */
  params = plan_params();
  params.device_memory_limit_bytes = whole.total_bytes / 2;
  params.device_bytes_per_s = 0;
  plan = make_plan(gguf, &params, EM_OK, &error);
  CHECK_INT(plan.n_parts, 2);
  CHECK(strstr(plan.placement, "not known") != NULL);
  CHECK(plan.shared_tokens_per_s == 0);
}

static void check_said(const em_gguf *gguf) {
  em_engine_params params = plan_params();
  em_error error;
  em_memory_plan plan;
  params.says_gpu_layers = true;
  for (params.n_gpu_layers = 1; params.n_gpu_layers < N_LAYERS; params.n_gpu_layers++) {
    plan = make_plan(gguf, &params, EM_OK, &error);
    CHECK_INT(plan.n_parts, 2);
    check_parts(&plan);
    CHECK_INT(plan.parts[1].n_layers, params.n_gpu_layers);
    CHECK(strstr(plan.placement, "as asked for") != NULL);
  }
  for (; params.n_gpu_layers < 100; params.n_gpu_layers += 94) {
    plan = make_plan(gguf, &params, EM_OK, &error);
    CHECK_INT(plan.n_parts, 1);
    CHECK(strcmp(plan.parts[0].device, "null") == 0);
  }
  params.n_gpu_layers = 0;
  plan = make_plan(gguf, &params, EM_OK, &error);
  CHECK_INT(plan.n_parts, 1);
  CHECK(strncmp(plan.parts[0].device, "cpu", 3) == 0);
  /* The two together have the computer's memory where the device has none of its own. */
  params.n_gpu_layers = 2;
  plan = make_plan(gguf, &params, EM_OK, &error);
  CHECK_INT(plan.available_bytes, params.memory_limit_bytes);
  params.memory_limit_bytes = plan.total_bytes;
  make_plan(gguf, &params, EM_OK, &error);
  params.n_slots = 1;
  plan = make_plan(gguf, &params, EM_OK, &error);
  params.memory_limit_bytes = plan.total_bytes - 1;
  make_plan(gguf, &params, EM_ERR_TOO_BIG, &error);
  params.backend.kind = EM_DEVICE_CPU;
  make_plan(gguf, &params, EM_ERR_ARGUMENT, &error);
}

static void check_arithmetic(void) {
  em_advisor_share shares[2] = {{6000, 1000}, {8000, 2000}};
  CHECK(em_advisor_shared_ceiling(shares, 2) == 0.1);
  CHECK(em_advisor_shared_ceiling(shares, 1) == 1.0 / 6);
  CHECK(em_advisor_shared_ceiling(shares, 0) == 0);
  shares[1].bytes_per_s = 0;
  CHECK(em_advisor_shared_ceiling(shares, 2) == 0);
}

/* --- Answers ------------------------------------------------------------------------------------------------------ */

static void on_log(void *user, em_log_level level, const char *text) {
  if (level >= EM_LOG_WARNING)
    fprintf(stderr, "%s\n", text);
  CHECK(level < EM_LOG_WARNING);
}

#define N_PROMPTS 4
#define N_ANSWER 12

/* Several slots at once, then the same beginning again, and a branch inside a page. */
static void ask_all(const tiny_model *tiny, const em_engine_params *params, answer answers[N_PROMPTS + 2],
                    uint32_t gpu_layers) {
  static int32_t prompts[N_PROMPTS][600];
  static const uint32_t lengths[N_PROMPTS] = {1, 260, 17, 40};
  fixture f;
  fixture_open(&f, tiny, params);
  const em_engine_facts *facts = em_engine_get_facts(f.engine);
  CHECK_INT(facts->n_gpu_layers, gpu_layers);
  CHECK_INT(facts->n_layers, N_LAYERS);
  memset(answers, 0, (N_PROMPTS + 2) * sizeof *answers);
  for (uint32_t i = 0; i < N_PROMPTS; i++) {
    make_prompt(prompts[i], lengths[i], i);
    em_request_params request = answer_params(&answers[i], prompts[i], lengths[i], N_ANSWER);
    answer_submit(f.engine, &answers[i], &request);
  }
  run_all(f.engine);
  for (uint32_t i = 0; i < N_PROMPTS; i++)
    CHECK_INT(answers[i].n, N_ANSWER);
  ask(f.engine, &answers[N_PROMPTS], prompts[1], 258, N_ANSWER);
  CHECK_INT(answers[N_PROMPTS].stats.n_reused, 257);
  prompts[1][100] = prompts[1][100] == 270 ? 271 : 270;
  ask(f.engine, &answers[N_PROMPTS + 1], prompts[1], 120, N_ANSWER);
  CHECK_INT(answers[N_PROMPTS + 1].stats.n_reused, 100);
  fixture_close(&f);
}

static void check_answers(const tiny_model *tiny, em_engine_params params, uint32_t gpu_layers) {
  static answer alone[N_PROMPTS + 2], shared[N_PROMPTS + 2];
  em_engine_params on_processor = fixture_params();
  on_processor.kv_type = params.kv_type;
  ask_all(tiny, &on_processor, alone, 0);
  ask_all(tiny, &params, shared, gpu_layers);
  for (uint32_t i = 0; i < N_PROMPTS + 2; i++)
    CHECK(same_answer(&alone[i], &shared[i]));
}

static void check_device(uint32_t device_index) {
  em_engine_params params = fixture_params();
  em_error error = {0};
  em_gguf *gguf = NULL;
  size_t bytes;
  params.kv_type = EM_TYPE_F32;
  params.backend = (em_backend_params){
      .kind = EM_DEVICE_VULKAN, .device_index = device_index, .n_threads = 1, .max_isa = EM_N_ISAS - 1};
  params.says_gpu_layers = true;
  params.n_gpu_layers = 2;
  check_answers(&model, params, 2);

  /* A card that is only a little too small leaves the embedding to the processor, and no layer. */
  tiny_model untied = model;
  untied.tied = false;
  char *file = tiny_model_make(&untied, &bytes);
  CHECK_INT(em_gguf_open_memory(file, bytes, bytes, &gguf, &error), EM_OK);
  params.says_gpu_layers = false;
  params.processor_bytes_per_s = 1000;
  params.device_bytes_per_s = 2000;
  params.n_slots = 1;
  em_memory_plan plan = make_plan(gguf, &params, EM_OK, &error);
  params.device_memory_limit_bytes = plan.total_bytes - 1000;
  plan = make_plan(gguf, &params, EM_OK, &error);
  CHECK_INT(plan.n_parts, 2);
  CHECK_INT(plan.parts[0].n_layers, 0);
  CHECK_INT(plan.parts[0].kv_bytes, 0);
  check_answers(&untied, params, N_LAYERS);
  em_gguf_close(gguf);
  free(file);
}

int main(void) {
  em_vulkan_device found[8];
  uint32_t n_found = 0;
  size_t bytes;
  em_gguf *gguf = NULL;
  char *file = tiny_model_make(&model, &bytes);
  em_error error = {0};
  setenv("VK_LOADER_LAYERS_ENABLE", "*validation*", 0);
  em_log_set(on_log, NULL);
  CHECK_INT(em_gguf_open_memory(file, bytes, bytes, &gguf, &error), EM_OK);
  check_choice(gguf);
  check_reasons(gguf);
  check_said(gguf);
  check_arithmetic();
  em_gguf_close(gguf);
  free(file);
  if (em_vulkan_list(found, 8, &n_found, &error) != EM_OK || n_found == 0)
    printf("without Vulkan: %s\n", error.text);
  for (uint32_t i = 0; i < n_found; i++)
    check_device(i);
  return check_done();
}
