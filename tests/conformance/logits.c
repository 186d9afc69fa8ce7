/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whole models against what others computed: the logits of tiny random models, and a trained model's greedy text.
 *
 * For every instruction set of this processor, for every Vulkan device (with the validation layer, whose every message
 * fails the test), and for several ways to cut the tokens into steps. */
#include "../check.h"

#include <stdint.h>

#include "base/file.h"
#include "base/log.h"
#include "base/json.h"
#include "engine/engine.h"

#define N_TOKENS 48
#define N_VOCAB 96

static char *shared_path(const char *name) {
  const char *shared = getenv("HEARTH_SHARED");
  char *path = NULL;
  if (asprintf(&path, "%s/data/%s", shared ? shared : ".", name) < 0)
    exit(1);
  return path;
}

/* What the models run on. */
static em_backend_params devices[8];
static char device_names[8][24];
static bool one_order[8]; /* steps of many rows sum as small ones do: all but graphics cards, see backend.h */
static int n_devices;

static void list_devices(void) {
  em_vulkan_device found[4];
  uint32_t n_found = 0;
  em_error error = {0};
  for (int isa = 0; isa <= (int)em_cpu_best_isa(); isa++) {
    snprintf(device_names[n_devices], sizeof device_names[0], "%s", em_cpu_isa_name((em_cpu_isa)isa));
    one_order[n_devices] = true;
    devices[n_devices++] = (em_backend_params){.kind = EM_DEVICE_CPU, .max_isa = (em_cpu_isa)isa};
  }
  if (em_vulkan_list(found, 4, &n_found, &error) != EM_OK)
    printf("without Vulkan: %s\n", error.text);
  for (uint32_t i = 0; i < n_found; i++) {
    snprintf(device_names[n_devices], sizeof device_names[0], "vulkan:%u", i);
    one_order[n_devices] = found[i].kind == EM_VULKAN_SOFTWARE;
    devices[n_devices++] = (em_backend_params){.kind = EM_DEVICE_VULKAN, .device_index = i};
  }
}

static void on_log(void *user, em_log_level level, const char *text) {
  if (level >= EM_LOG_WARNING)
    fprintf(stderr, "%s\n", text);
  CHECK(level < EM_LOG_WARNING);
}

/* gpu_layers: on the graphics device, and the others on the processor; -1: not said. Every device runs every model. */
static em_engine *open_engine(const em_gguf *gguf, const em_backend_params *device, int gpu_layers, em_type kv_type,
                              uint32_t batch) {
  em_engine_params params = {
      .backend = *device,
      .says_gpu_layers = gpu_layers >= 0,
      .n_gpu_layers = gpu_layers >= 0 ? (uint32_t)gpu_layers : 0,
      .n_slots = 1,
      .batch_rows = batch,
      .kv_type = kv_type,
  };
  em_engine *engine = NULL;
  em_error error = {0};
  em_status status = em_engine_open(gguf, &params, NULL, NULL, &engine, &error);
  if (status != EM_OK)
    fprintf(stderr, "%s\n", error.text);
  CHECK(engine != NULL);
  return engine;
}

typedef struct rows {
  float *values;
  uint32_t width, n;
} rows;

static em_status keep_row(void *user, uint32_t row, const float *logits, em_error *error) {
  rows *r = user;
  memcpy(r->values + (size_t)row * r->width, logits, r->width * sizeof *logits);
  r->n++;
  return EM_OK;
}

static double nmse(const float *values, const float *expected, size_t n) {
  double difference = 0, power = 0;
  for (size_t i = 0; i < n; i++) {
    double d = (double)values[i] - (double)expected[i];
    difference += d * d;
    power += (double)expected[i] * (double)expected[i];
  }
  return difference / power;
}

/* --- Answers ------------------------------------------------------------------------------------------------------ */

typedef struct story {
  int32_t tokens[256];
  uint32_t n;
  bool finished;
  em_finish finish;
} story;

static bool on_token(void *user, int32_t token) {
  story *s = user;
  s->tokens[s->n++] = token;
  return true;
}

static void on_finish(void *user, em_finish finish, const em_request_stats *stats, const em_error *error) {
  story *s = user;
  s->finished = true;
  s->finish = finish;
}

static bool allow_all(void *user, uint64_t *allowed) {
  memset(allowed, 0xff, (N_VOCAB + 63) / 64 * sizeof *allowed);
  return true;
}

/* A greedy answer is the same whether the device picks the tokens and goes ahead with them, or the host looks at all
 * logits after every step, as it does for a request with a mask. */
static void check_greedy(em_engine *engine, const int32_t *prompt, uint32_t n, bool goes_ahead) {
  static story stories[2];
  uint32_t most_steps[2] = {0, 0};
  for (int i = 0; i < 2; i++) {
    stories[i] = (story){0};
    em_request_params params = {.tokens = prompt,
                                .n_tokens = n,
                                .max_tokens = 200,
                                .on_token = on_token,
                                .on_finish = on_finish,
                                .mask = i == 1 ? allow_all : NULL,
                                .user = &stories[i]};
    em_request_id id;
    CHECK(em_engine_submit(engine, &params, &id, NULL) == EM_OK);
    while (em_engine_step(engine)) {
      uint32_t n_steps = em_engine_counters(engine).n_steps;
      most_steps[i] = n_steps > most_steps[i] ? n_steps : most_steps[i];
    }
    CHECK_INT(stories[i].n, 200);
  }
  CHECK((most_steps[0] > 1) == goes_ahead && most_steps[1] == 1);
  CHECK(memcmp(stories[0].tokens, stories[1].tokens, 200 * sizeof stories[0].tokens[0]) == 0);
}

/* --- The families ------------------------------------------------------------------------------------------------- */

/* shared_layers: of the model, those on a graphics device where it is shared with the processor; -1: a graphics device
 * has all of it, with one kind of cache (its kernels take long to make). limit: of the error where steps of many rows
 * sum as small ones do. */
static void check_arch(const char *name, int shared_layers, double limit) {
  em_error error = {0};
  char file[64];
  snprintf(file, sizeof file, "arch-tiny/%s.gguf", name);
  char *path = shared_path(file);
  snprintf(file, sizeof file, "arch-tiny/%s.gguf.logits.f32", name);
  char *logits_path = shared_path(file), *expected = NULL;
  size_t bytes = 0;
  em_gguf *gguf = NULL;
  CHECK(em_gguf_open(path, &gguf, &error) == EM_OK);
  CHECK(em_file_read(logits_path, 1 << 20, &expected, &bytes, &error) == EM_OK);
  CHECK_INT(bytes, N_TOKENS * N_VOCAB * sizeof(float));
  int32_t tokens[N_TOKENS];
  for (int i = 0; i < N_TOKENS; i++)
    tokens[i] = (37 * i + 11) % N_VOCAB;

  static const uint32_t batches[] = {48, 1, 7};
  static float values[N_TOKENS * N_VOCAB], first[N_TOKENS * N_VOCAB];
  for (int d = 0; gguf && expected && d < n_devices; d++) {
    /* With both kinds of cache, then shared with the processor. */
    int n_runs = devices[d].kind != EM_DEVICE_VULKAN ? 2 : shared_layers >= 0 ? 3 : 1;
    for (int run = 0; run < n_runs; run++) {
      int kv = run == 1, gpu_layers = run < 2 ? -1 : shared_layers;
      em_engine *engine = open_engine(gguf, &devices[d], gpu_layers, kv == 0 ? EM_TYPE_F32 : EM_TYPE_F16, 48);
      if (engine && gpu_layers >= 0)
        CHECK_INT(em_engine_get_facts(engine)->n_gpu_layers, gpu_layers);
      for (int b = 0; engine && b < 3; b++) {
        rows r = {values, N_VOCAB, 0};
        error = (em_error){0};
        if (em_engine_logits(engine, tokens, N_TOKENS, batches[b], keep_row, &r, &error) != EM_OK)
          fprintf(stderr, "%s\n", error.text);
        CHECK_INT(r.n, N_TOKENS);
        double e = nmse(values, (const float *)expected, N_TOKENS * N_VOCAB);
        printf("%-11s %-8s layers %2d kv %s batch %2u: NMSE %.2e\n", name, device_names[d], gpu_layers,
               kv == 0 ? "f32" : "f16", batches[b], e);
        CHECK(e <= (kv == 1 ? 1e-5 : one_order[d] ? limit : fmax(limit, 1e-6)));
        /* How the tokens are cut into steps must not change a bit. */
        if (b == 0)
          memcpy(first, values, sizeof first);
        CHECK(!one_order[d] || memcmp(first, values, sizeof first) == 0);
      }
      if (engine && devices[d].kind == EM_DEVICE_VULKAN && run == 1)
        /* Recurrent states could not be taken back behind an answer's end. */
        check_greedy(engine, tokens, 20, strcmp(name, "qwen3next") != 0 && strncmp(name, "qwen35", 6) != 0);
      em_engine_close(engine);
    }
  }
  em_gguf_close(gguf);
  free(expected);
  free(path);
  free(logits_path);
}

/* --- stories260K -------------------------------------------------------------------------------------------------- */

static em_status compare_first(void *user, uint32_t row, const float *logits, em_error *error) {
  const em_json *expected = user;
  double worst = 0;
  uint32_t n = 0;
  for (const em_json *item = expected->first; item; item = item->next, n++) {
    double d = fabs((double)logits[n] - (item->kind == EM_JSON_INTEGER ? (double)item->integer : item->real));
    worst = d > worst ? d : worst;
  }
  CHECK_INT(n, 512);
  CHECK(worst <= 1e-4);
  printf("stories260K: the logits at position 0 differ by at most %.2e\n", worst);
  return EM_OK;
}

static void check_story(const em_gguf *gguf, const em_json *golden, const em_backend_params *device, int gpu_layers) {
  em_error error = {0};
  em_engine *engine = open_engine(gguf, device, gpu_layers, EM_TYPE_F32, 32);
  if (!engine)
    return;
  const em_json *expected = em_json_get(golden, "tokens")->first; /* the first one is the prompt */
  int32_t prompt = (int32_t)expected->integer;
  CHECK(em_engine_logits(engine, &prompt, 1, 1, compare_first, (void *)em_json_get(golden, "logits_pos0"), &error) ==
        EM_OK);
  story s = {0};
  em_request_params params = {
      .tokens = &prompt, .n_tokens = 1, .max_tokens = 200, .on_token = on_token, .on_finish = on_finish, .user = &s};
  em_request_id id;
  CHECK(em_engine_submit(engine, &params, &id, &error) == EM_OK);
  while (em_engine_step(engine))
    ;
  CHECK(s.finished && s.finish == EM_FINISH_LENGTH);
  CHECK_INT(s.n, 200);
  uint32_t same = 0;
  for (expected = expected->next; expected && same < s.n && expected->integer == s.tokens[same];
       expected = expected->next)
    same++;
  CHECK_INT(same, 200);
  em_engine_close(engine);
}

static void check_stories(void) {
  em_error error = {0};
  char *path = shared_path("stories260K/stories260K-f32.gguf");
  char *golden_path = shared_path("stories260K/stories260K-greedy-golden.json"), *text = NULL;
  size_t bytes = 0;
  em_gguf *gguf = NULL;
  em_arena *arena = em_arena_new(0);
  const em_json *golden = NULL;
  CHECK(em_gguf_open(path, &gguf, &error) == EM_OK);
  CHECK(em_file_read(golden_path, 1 << 20, &text, &bytes, &error) == EM_OK);
  if (!gguf || !text || em_json_parse(arena, text, bytes, 0, &golden, &error) != EM_OK) {
    fprintf(stderr, "%s\n", error.text);
    CHECK(false);
    return;
  }
  for (int d = 0; d < n_devices; d++) {
    check_story(gguf, golden, &devices[d], -1);
    if (devices[d].kind == EM_DEVICE_VULKAN)
      check_story(gguf, golden, &devices[d], 2);
  }
  em_gguf_close(gguf);
  em_arena_free(arena);
  free(text);
  free(path);
  free(golden_path);
}

int main(void) {
  if (!getenv("HEARTH_SHARED"))
    SKIP("HEARTH_SHARED does not name the folder of cases from other projects");
  char *path = shared_path("arch-tiny/llama.gguf");
  FILE *file = fopen(path, "rb");
  if (!file)
    SKIP("%s is not there", path);
  fclose(file);
  free(path);
  setenv("VK_LOADER_LAYERS_ENABLE", "*validation*", 0);
  em_log_set(on_log, NULL);
  list_devices();
  static const char *const shared[] = {"llama", "qwen2-tied", "qwen3", "qwen35moe", "deepseek2"};
  static const char *const others[] = {"qwen3moe", "qwen3next",  "qwen35",        "glm4",    "glm4moe",
                                       "gpt-oss",  "minimax-m2", "phi3-longrope", "smollm3", "mistral3"};
  for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++)
    check_arch(shared[i], 1 + (int)(i % 2), 1e-9);
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
    check_arch(others[i], -1, 1e-9);
  /* These were computed with a table of 16-bit floats for gelu. */
  check_arch("gemma4-moe", -1, 1e-6);
  check_arch("gemma4-ple", -1, 1e-6);
  check_stories();
  return check_done();
}
