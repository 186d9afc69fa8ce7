/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Loading on devices of all kinds: memory that the host cannot write, a queue for transfers, budgets, many tensors, and
 * what is kept of pipelines between runs. The software device plays them all. With the validation layer, whose every
 * message fails the test. */
#include "alloc.h"

#include "vulkan-hook.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/vulkan/vulkan.h"
#include "base/file.h"
#include "engine/engine.h"
#include "tiny-model.h"

#define N_TOKENS 24
#define N_VOCAB 512

static uint32_t device_index; /* of the software device */

/* --- The same logits ---------------------------------------------------------------------------------------------- */

static em_status keep_row(void *user, uint32_t row, const float *logits, em_error *error) {
  memcpy((float *)user + (size_t)row * N_VOCAB, logits, N_VOCAB * sizeof *logits);
  return EM_OK;
}

static em_engine_params make_params(void) {
  return (em_engine_params){.backend = {.kind = EM_DEVICE_VULKAN, .device_index = device_index},
                            .n_slots = 1,
                            .context_tokens = 256,
                            .batch_rows = 8,
                            .kv_type = EM_TYPE_F16};
}

/* shared: some layers must be on the device and some on the processor; else all must be on the device. */
static void compute(const em_gguf *gguf, const em_engine_params *params, const hook_wish *wish, bool shared,
                    float *logits) {
  em_engine *engine = NULL;
  em_error error = {0};
  int32_t tokens[N_TOKENS];
  for (int32_t i = 0; i < N_TOKENS; i++)
    tokens[i] = (i * 37 + 11) % N_VOCAB;
  hook_start(wish);
  if (em_engine_open(gguf, params, NULL, NULL, &engine, &error) != EM_OK ||
      em_engine_logits(engine, tokens, N_TOKENS, 8, keep_row, logits, &error) != EM_OK)
    fprintf(stderr, "%s\n", error.text);
  CHECK_INT(error.code, EM_OK);
  if (engine) {
    const em_engine_facts *facts = em_engine_get_facts(engine);
    CHECK(facts->n_gpu_layers > 0 && (facts->n_gpu_layers < facts->n_layers) == shared);
  }
  em_engine_close(engine);
  CHECK_INT(hook_n_live(), 0);
}

static void test_same_logits(void) {
  static const struct {
    const char *name;
    hook_wish wish;
  } cases[] = {{"staged", {.hides_memory = true}},
               {"a queue for transfers", {.hides_memory = true, .has_transfers = true}},
               {"memory that is not coherent", {.hides_memory = true, .incoherent = true}},
               {"a window to all of the memory", {.discrete = true, .hides_memory = true, .has_bar = true}},
               {"a device of another kind", {.other_type = true}},
               {"small chunks", {.hides_memory = true, .max_allocation_bytes = 64 << 10}},
               {"without extensions", {.no_extensions = true}}};
  static const tiny_model model = {
      .architecture = "qwen2", .n_embd = 256, .n_ff = 512, .n_vocab = N_VOCAB, .type = EM_TYPE_Q4_K, .seed = 7};
  static float expected[N_TOKENS * N_VOCAB], logits[N_TOKENS * N_VOCAB];
  size_t bytes;
  em_gguf *gguf = NULL;
  char *file = tiny_model_make(&model, &bytes);
  CHECK(em_gguf_open_memory(file, bytes, bytes, &gguf, NULL) == EM_OK);
  em_engine_params params = make_params();
  compute(gguf, &params, &(hook_wish){0}, false, expected);
  CHECK(isfinite(expected[0]) && expected[0] != 0);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    memset(logits, 0, sizeof logits);
    compute(gguf, &params, &cases[i].wish, false, logits);
    /* Devices that are no processors have other kernels. */
    double difference = 0, power = 0;
    for (size_t j = 0; j < N_TOKENS * N_VOCAB; j++) {
      difference += ((double)logits[j] - (double)expected[j]) * ((double)logits[j] - (double)expected[j]);
      power += (double)expected[j] * (double)expected[j];
    }
    bool is_card = cases[i].wish.discrete || cases[i].wish.other_type;
    bool same = is_card ? difference <= 1e-6 * power : memcmp(logits, expected, sizeof logits) == 0;
    if (!same)
      fprintf(stderr, "%s: other logits\n", cases[i].name);
    CHECK(same);
    if (cases[i].wish.has_transfers)
      CHECK(hook_n_transfer_pools > 0);
    /* What the host must not write as it is comes through the ring; what it can write takes no other memory of it than
     * a block to read from. */
    if (cases[i].wish.incoherent)
      CHECK(hook_most_host_bytes > 16 << 20);
    if (cases[i].wish.has_bar)
      CHECK(hook_most_host_bytes > 0 && hook_most_host_bytes <= 2 << 20);
  }
  em_gguf_close(gguf);
  free(file);
}

/* A card that has not room for all layers, or may not use so much of the computer's memory, shares them with the
 * processor, from which its rows come to memory that the host cannot write. */
static void test_shared_layers(void) {
  static const tiny_model model = {.n_layers = 4, .n_vocab = N_VOCAB, .type = EM_TYPE_F16, .seed = 5};
  static float expected[N_TOKENS * N_VOCAB], logits[N_TOKENS * N_VOCAB];
  size_t bytes;
  em_gguf *gguf = NULL;
  em_memory_plan plan = {0};
  em_engine_params params = make_params();
  char *file = tiny_model_make(&model, &bytes);
  CHECK(em_gguf_open_memory(file, bytes, bytes, &gguf, NULL) == EM_OK);
  compute(gguf, &params, &(hook_wish){0}, false, expected);
  CHECK(em_engine_plan(gguf, &params, &plan, NULL) == EM_OK);
  params.processor_bytes_per_s = 1000;
  params.device_bytes_per_s = 2000;
  for (int discrete = 0; discrete < 2; discrete++) {
    hook_wish wish = {.discrete = discrete != 0, .hides_memory = discrete != 0};
    hook_start(&(hook_wish){.discrete = discrete != 0, .hides_memory = discrete != 0});
    em_memory_plan whole = {0};
    CHECK(em_engine_plan(gguf, &params, &whole, NULL) == EM_OK);
    wish.budget_bytes = HOOK_USED_BYTES + whole.total_bytes - plan.total_bytes / 2;
    memset(logits, 0, sizeof logits);
    compute(gguf, &params, &wish, true, logits);
    double difference = 0, power = 0;
    for (size_t i = 0; i < N_TOKENS * N_VOCAB; i++) {
      difference += ((double)logits[i] - (double)expected[i]) * ((double)logits[i] - (double)expected[i]);
      power += (double)expected[i] * (double)expected[i];
    }
    CHECK(power > 0 && difference / power <= 1e-6);
  }
  em_gguf_close(gguf);
  free(file);
}

/* --- One large tensor --------------------------------------------------------------------------------------------- */

typedef struct reader {
  _Atomic uint64_t bytes;
  uint64_t fail_at; /* bytes read before one fails; 0: none */
} reader;

static em_status read_bytes(void *user, uint64_t offset, void *dst, size_t bytes, em_error *error) {
  reader *r = user;
  r->bytes += bytes;
  if (r->fail_at && r->bytes > r->fail_at)
    return em_fail(error, EM_ERR_CANCELLED, "loading was cancelled");
  memset(dst, (int)(offset >> 10), bytes);
  return EM_OK;
}

static em_status load_tensor(const hook_wish *wish, uint64_t n_in, uint64_t n_rows, reader *r, em_error *error) {
  em_status status = EM_OK;
  em_backend *backend = NULL;
  em_weights *weights = NULL;
  em_backend_params params = {.kind = EM_DEVICE_VULKAN, .device_index = device_index};
  em_weights_desc desc = {.type = EM_TYPE_F16, .n_in = n_in, .n_rows = n_rows, .use = EM_USE_MATRIX, .name = "large"};
  hook_start(wish);
  EM_TRY(em_backend_open(&params, &backend, error));
  EM_TRY(em_weights_new(backend, &desc, read_bytes, r, &weights, error));
fail:
  em_weights_free(weights);
  em_backend_close(backend);
  return status;
}

/* 96 MiB pass through less than 64 MiB of the host's memory, staging included. */
static void test_peak(void) {
  static const uint64_t widths[] = {4096, 1u << 20};
  for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
    reader r = {0};
    size_t before = alloc_bytes;
    alloc_peak = alloc_bytes;
    CHECK_INT(load_tensor(&(hook_wish){.hides_memory = true}, widths[i], (48u << 20) / widths[i], &r, NULL), EM_OK);
    CHECK_INT(r.bytes, 96 << 20);
    CHECK_INT(hook_n_live(), 0);
    uint64_t most = alloc_peak - before + hook_most_host_bytes;
    printf("96 MiB in rows of %llu values took %.1f MiB of the host, %.1f of them for staging\n",
           (unsigned long long)widths[i], (double)most / (1 << 20), (double)hook_most_host_bytes / (1 << 20));
    CHECK(hook_most_host_bytes > 0);
    if (widths[i] <= 65536)
      CHECK(most <= 64 << 20);
  }
}

static void test_cancelled(void) {
  static const hook_wish wishes[] = {{0}, {.hides_memory = true, .has_transfers = true}};
  for (size_t i = 0; i < 2; i++) {
    reader r = {.fail_at = 5 << 20};
    em_error error = {0};
    CHECK_INT(load_tensor(&wishes[i], 4096, 4096, &r, &error), EM_ERR_CANCELLED);
    CHECK(strstr(error.text, "cancelled"));
    CHECK(r.bytes < 16 << 20);
    CHECK_INT(hook_n_live(), 0);
  }
}

/* Of every four calls of a staged load the first three fail, each in a way of its own, and every fifth wait times out;
 * one a load. */
static void test_failures(void) {
  static const VkResult failures[] = {VK_ERROR_OUT_OF_HOST_MEMORY, VK_ERROR_OUT_OF_DEVICE_MEMORY, VK_ERROR_DEVICE_LOST,
                                      VK_TIMEOUT};
  hook_wish wish = {.hides_memory = true, .has_transfers = true};
  reader normal = {0};
  CHECK_INT(load_tensor(&wish, 4096, 16384, &normal, NULL), EM_OK);
  uint32_t n_calls = hook_n_calls, n_waits = hook_n_waits, n_failed = 0, n_went_on = 0;
  CHECK(n_calls > 50 && n_waits > 8);
  for (size_t f = 0; f < sizeof failures / sizeof failures[0]; f++) {
    uint32_t n = failures[f] == VK_TIMEOUT ? n_waits : n_calls;
    for (uint32_t at = 1 + (uint32_t)f; at <= n; at += f == 3 ? 5 : 4) {
      reader r = {0};
      em_error error = {0};
      wish.failure = failures[f];
      wish.fail_at = at;
      em_status status = load_tensor(&wish, 4096, 16384, &r, &error);
      if (status == EM_OK) {
        n_went_on++;
        CHECK_INT(r.bytes, normal.bytes);
      } else {
        n_failed++;
        CHECK(status == EM_ERR_NO_MEMORY || status == EM_ERR_DEVICE);
        CHECK(error.text[0] != '\0');
      }
      if (hook_n_live() != 0)
        fprintf(stderr, "result %d of call %u: %d objects left, %s\n", (int)failures[f], at, hook_n_live(), error.text);
      CHECK_INT(hook_n_live(), 0);
      hook_forget();
    }
  }
  printf("%u calls, %u of them waits: %u failures were told, %u did not matter\n", n_calls, n_waits, n_failed,
         n_went_on);
  CHECK(n_failed > n_went_on);
}

/* A copy that could not be recorded leaves nothing behind that the next ones trip over. */
static void test_upload_again(void) {
  static const char data[64];
  em_vk vk;
  em_vk_buffer buffer = {0};
  hook_start(&(hook_wish){
      .hides_memory = true, .has_transfers = true, .only = "EndCommandBuffer", .failure = VK_ERROR_OUT_OF_HOST_MEMORY});
  CHECK_INT(em_vk_open(device_index, &vk, NULL), EM_OK);
  CHECK_INT(em_vk_buffer_new(&vk, EM_VK_WEIGHTS, sizeof data, "written again", &buffer, NULL), EM_OK);
  CHECK_INT(em_vk_uploads_open(&vk, NULL), EM_OK);
  hook.fail_at = hook_n_calls + 1;
  CHECK_INT(em_vk_write(&vk, &buffer, 0, data, sizeof data, NULL), EM_ERR_NO_MEMORY);
  for (unsigned i = 0; i < 2 * EM_VK_N_CHUNKS; i++)
    CHECK_INT(em_vk_write(&vk, &buffer, 0, data, sizeof data, NULL), EM_OK);
  CHECK_INT(hook_n_failed, 1);
  em_vk_finish_uploads(&vk);
  em_vk_buffer_free(&vk, &buffer);
  em_vk_close(&vk);
  CHECK_INT(hook_n_live(), 0);
}

/* --- Many tensors ------------------------------------------------------------------------------------------------- */

static void test_many_tensors(void) {
  static const hook_wish wishes[] = {{0}, {.hides_memory = true}};
  for (size_t i = 0; i < 2; i++) {
    em_backend *backend = NULL;
    em_weights *weights[1000] = {0};
    em_backend_params params = {.kind = EM_DEVICE_VULKAN, .device_index = device_index};
    em_weights_desc desc = {.type = EM_TYPE_F16, .n_in = 256, .name = "one of many"};
    reader r = {0};
    hook_start(&wishes[i]);
    CHECK(em_backend_open(&params, &backend, NULL) == EM_OK);
    for (size_t j = 0; backend && j < 1000; j++) {
      desc.n_rows = j % 2 ? 1 : 100;
      desc.use = j % 2 ? EM_USE_VECTOR : EM_USE_MATRIX;
      CHECK(em_weights_new(backend, &desc, read_bytes, &r, &weights[j], NULL) == EM_OK);
    }
    printf("1000 tensors lie in %d pieces of memory\n", hook_most_memory);
    CHECK(hook_most_memory <= 8);
    for (size_t j = 0; j < 1000; j++)
      em_weights_free(weights[j]);
    em_backend_close(backend);
    CHECK_INT(hook_n_live(), 0);
  }
}

/* --- Budgets ------------------------------------------------------------------------------------------------------ */

static uint64_t available(const hook_wish *wish, uint64_t *own) {
  em_backend *backend = NULL;
  em_backend_params params = {.kind = EM_DEVICE_VULKAN, .device_index = device_index};
  hook_start(wish);
  CHECK(em_backend_open(&params, &backend, NULL) == EM_OK);
  uint64_t bytes = backend ? em_backend_available_memory(backend) : 0;
  *own = backend ? em_backend_own_memory(backend) : 0;
  em_backend_close(backend);
  return bytes;
}

static void test_budget(void) {
  const uint64_t budget = 100 << 20;
  uint64_t own;
  CHECK_INT(available(&(hook_wish){.budget_bytes = budget}, &own), budget - HOOK_USED_BYTES);
  CHECK_INT(own, 0);
  CHECK_INT(available(&(hook_wish){.discrete = true, .budget_bytes = budget}, &own), budget - HOOK_USED_BYTES);
  CHECK(own > budget);
  CHECK_INT(available(&(hook_wish){.discrete = true, .budget_bytes = HOOK_USED_BYTES / 2}, &own), 0);
  uint64_t bytes = available(&(hook_wish){.discrete = true, .no_extensions = true}, &own);
  CHECK_INT(bytes, own - own / 16);

  /* The plan keeps to it, on a card and where the memory is the computer's. */
  static const tiny_model model = {.type = EM_TYPE_F16, .seed = 3};
  em_memory_plan plan = {0};
  em_gguf *gguf = NULL;
  em_engine_params params = make_params();
  size_t file_bytes;
  char *file = tiny_model_make(&model, &file_bytes);
  CHECK(em_gguf_open_memory(file, file_bytes, file_bytes, &gguf, NULL) == EM_OK);
  for (int discrete = 0; discrete < 2; discrete++) {
    hook_start(&(hook_wish){.budget_bytes = budget, .discrete = discrete != 0});
    CHECK(em_engine_plan(gguf, &params, &plan, NULL) == EM_OK);
    CHECK_INT(plan.available_bytes, budget - HOOK_USED_BYTES);
  }
  em_gguf_close(gguf);
  free(file);
}

/* What is planned is what is allocated, or more, also of a card, whose memory comes in blocks; and what no device could
 * run is refused by the plan, before anything is read. */
static void test_plan(void) {
  static const tiny_model models[] = {
      {.n_layers = 2, .type = EM_TYPE_F16, .seed = 3},
      {.n_layers = 6, .n_embd = 512, .n_ff = 2048, .n_vocab = 4096, .type = EM_TYPE_F16, .seed = 4},
  };
  for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
    em_gguf *gguf = NULL;
    em_engine *engine = NULL;
    em_engine_params params = make_params();
    em_memory_plan plan = {0};
    size_t file_bytes;
    char *file = tiny_model_make(&models[i], &file_bytes);
    CHECK(em_gguf_open_memory(file, file_bytes, file_bytes, &gguf, NULL) == EM_OK);
    hook_start(&(hook_wish){.discrete = true});
    CHECK(em_engine_open(gguf, &params, NULL, NULL, &engine, NULL) == EM_OK);
    if (engine) {
      plan = em_engine_get_facts(engine)->memory;
      printf("planned %llu KiB, allocated %llu KiB\n", (unsigned long long)plan.total_bytes >> 10,
             (unsigned long long)hook_allocated_bytes >> 10);
      CHECK(plan.total_bytes >= hook_allocated_bytes && hook_allocated_bytes > 0);
    }
    em_engine_close(engine);
    CHECK_INT(hook_n_live(), 0);
    em_error error = {0};
    params.batch_rows = 4096;
    hook_start(&(hook_wish){.max_allocation_bytes = 256 << 10});
    CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_ERR_UNSUPPORTED);
    CHECK(strstr(error.text, "in one piece") != NULL);
    em_gguf_close(gguf);
    free(file);
  }
  em_vulkan_device found[4];
  uint32_t n = 0;
  hook_start(&(hook_wish){.other_type = true});
  CHECK(em_vulkan_list(found, 4, &n, NULL) == EM_OK && n > 0);
  CHECK_INT(found[0].kind, EM_VULKAN_OTHER);
}

/* --- Pipelines between runs --------------------------------------------------------------------------------------- */

static char cache_dir[64], cache_path[400];

/* Opens the device and tells how many bytes of the file its pipelines began with; makes one pipeline and saves. */
static size_t open_cache(const hook_wish *wish, bool saves) {
  em_backend *backend = NULL;
  em_backend_params params = {.kind = EM_DEVICE_VULKAN, .device_index = device_index};
  snprintf(params.cache_dir, sizeof params.cache_dir, "%s/below/hearth", cache_dir);
  hook_start(wish);
  CHECK(em_backend_open(&params, &backend, NULL) == EM_OK);
  if (!backend)
    return 0;
  em_vulkan *vulkan = (em_vulkan *)backend;
  VkPipeline pipeline;
  if (vulkan->cache_path[0] != '\0')
    snprintf(cache_path, sizeof cache_path, "%s", vulkan->cache_path);
  if (saves) {
    CHECK(em_vk_pipeline(vulkan, &(em_vk_variant){EM_VK_SHADER_READ, 1, {0}}, &pipeline, NULL) == EM_OK);
    em_vk_cache_save(vulkan);
  }
  em_backend_close(backend);
  CHECK_INT(hook_n_live(), 0);
  return hook_cache_bytes;
}

static void write_file(const char *path, const char *data, size_t bytes) {
  FILE *file = fopen(path, "we");
  CHECK(file && fwrite(data, 1, bytes, file) == bytes);
  CHECK(file && fclose(file) == 0);
}

static uint32_t count_files(void) {
  char path[96];
  uint32_t n = 0;
  snprintf(path, sizeof path, "%s/below/hearth", cache_dir);
  DIR *dir = opendir(path);
  for (struct dirent *entry; dir && (entry = readdir(dir));)
    n += entry->d_name[0] != '.';
  if (dir)
    closedir(dir);
  return n;
}

static void test_cache(void) {
  char *file = NULL;
  size_t bytes = 0;
  struct stat info;
  snprintf(cache_dir, sizeof cache_dir, "/tmp/hearth-cache-XXXXXX");
  CHECK(mkdtemp(cache_dir) != NULL);

  /* The folders are made, the file is this user's alone, and the second run begins with it. */
  CHECK_INT(open_cache(&(hook_wish){0}, true), 0);
  CHECK(stat(cache_path, &info) == 0 && (info.st_mode & 0777) == 0600);
  CHECK_INT(count_files(), 1);
  CHECK(em_file_read(cache_path, 1 << 24, &file, &bytes, NULL) == EM_OK);
  size_t data_bytes = open_cache(&(hook_wish){0}, false);
  CHECK(data_bytes >= 32 && data_bytes < bytes);

  /* A byte that is wrong anywhere near the front, a few further behind, and at the end. */
  for (size_t at = 0; file && at < bytes; at += at < 128 || at + 8 > bytes ? 5 : 997) {
    file[at] ^= 0x10;
    write_file(cache_path, file, bytes);
    CHECK_INT(open_cache(&(hook_wish){0}, false), 0);
    file[at] ^= 0x10;
  }
  static const size_t cuts[] = {0, 1, 63, 64, 65, 95};
  for (size_t i = 0; file && i < sizeof cuts / sizeof cuts[0] && cuts[i] < bytes; i++) {
    write_file(cache_path, file, cuts[i]);
    CHECK_INT(open_cache(&(hook_wish){0}, false), 0);
  }
  CHECK(truncate(cache_path, 1ll << 40) == 0);
  CHECK_INT(open_cache(&(hook_wish){0}, false), 0);

  /* Another driver's, and one that others could have written. */
  write_file(cache_path, file, bytes);
  CHECK_INT(open_cache(&(hook_wish){0}, false), data_bytes);
  CHECK_INT(open_cache(&(hook_wish){.other_cache = true}, false), 0);
  CHECK(chmod(cache_path, 0622) == 0);
  CHECK_INT(open_cache(&(hook_wish){0}, false), 0);

  /* Something else in its place is not followed, and a run that has something to keep replaces it. */
  char other[96];
  snprintf(other, sizeof other, "%s/other", cache_dir);
  write_file(other, file, bytes);
  CHECK(unlink(cache_path) == 0 && symlink(other, cache_path) == 0);
  CHECK_INT(open_cache(&(hook_wish){0}, true), 0);
  CHECK(lstat(cache_path, &info) == 0 && S_ISREG(info.st_mode));
  CHECK_INT(open_cache(&(hook_wish){0}, false), data_bytes);
  CHECK_INT(count_files(), 1);

  /* Calls that fail leave the old file as it is. */
  static const char *const calls[] = {"CreatePipelineCache", "GetPipelineCacheData"};
  for (size_t i = 0; i < 2; i++)
    for (uint32_t at = 1; at <= 2; at++) {
      write_file(cache_path, "x", 1);
      CHECK_INT(open_cache(&(hook_wish){.only = calls[i], .fail_at = at, .failure = VK_ERROR_OUT_OF_HOST_MEMORY}, true),
                0);
      CHECK(stat(cache_path, &info) == 0);
      CHECK_INT(info.st_size, i == 0 && at == 2 ? (long long)bytes : 1);
    }
  free(file);
  CHECK(unlink(cache_path) == 0 && unlink(other) == 0);
  snprintf(other, sizeof other, "%s/below/hearth", cache_dir);
  CHECK(rmdir(other) == 0);
  snprintf(other, sizeof other, "%s/below", cache_dir);
  CHECK(rmdir(other) == 0 && rmdir(cache_dir) == 0);
}

int main(void) {
  hook_validate();
  device_index = hook_choose_device(NULL, NULL);
  test_peak();
  test_cancelled();
  test_failures();
  test_upload_again();
  test_many_tensors();
  test_budget();
  test_plan();
  test_cache();
  test_same_logits();
  test_shared_layers();
  return check_done();
}
