/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sizes before loading: the context that fits, the refusal in words, and the arithmetic of advisor and hardware. */
#include "engine-fixture.h"

#include <sys/stat.h>
#include <unistd.h>

#include "advisor/advisor.h"

static const tiny_model model = {.n_layers = 4, .n_embd = 128, .n_heads = 4, .n_kv_heads = 4, .context_tokens = 16384};

static void check_plan(void) {
  size_t bytes;
  char *file = tiny_model_make(&model, &bytes);
  em_gguf *gguf = NULL;
  em_error error = {0};
  CHECK_INT(em_gguf_open_memory(file, bytes, bytes, &gguf, &error), EM_OK);
  em_engine_params params = {.backend = {.kind = EM_DEVICE_CPU, .n_threads = 1}, .kv_type = EM_TYPE_F16};
  em_memory_plan plan;

  /* Plenty of memory: the house's 8192 tokens for each of four slots; 4 layers x 4 heads x (32 + 32) values of 2 bytes.
   */
  params.memory_limit_bytes = UINT64_C(1) << 40;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_OK);
  CHECK_INT(plan.context_tokens, 8192);
  CHECK_INT(plan.kv_bytes, 4ull * 8192 * 2048);
  CHECK_INT(plan.total_bytes, plan.weights_bytes + plan.kv_bytes + plan.working_bytes);
  CHECK_INT(plan.available_bytes, UINT64_C(1) << 40);
  uint64_t full = plan.total_bytes;

  /* Exactly enough, and one byte less. */
  params.memory_limit_bytes = full;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_OK);
  CHECK_INT(plan.context_tokens, 8192);
  /* Then the slots share fewer pages, until one slot's are left; then the context shrinks. */
  params.memory_limit_bytes = full - 1;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_OK);
  CHECK_INT(plan.context_tokens, 8192);
  CHECK_INT(plan.kv_bytes, 4ull * 8192 * 2048 - 256 * 2048);
  params.memory_limit_bytes = full / 2;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_OK);
  CHECK_INT(plan.context_tokens, 8192);
  CHECK(plan.total_bytes <= full / 2 && plan.total_bytes + 256 * 2048 + 4096 > full / 2);
  params.n_slots = 1;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_OK);
  uint64_t single = plan.total_bytes;
  params.memory_limit_bytes = single - 1;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_OK);
  CHECK_INT(plan.context_tokens, 8192 - 256);
  params.memory_limit_bytes = single / 2;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_OK);
  CHECK(plan.context_tokens % 256 == 0 && plan.context_tokens >= 512 && plan.context_tokens < 4096);
  CHECK(plan.total_bytes <= single / 2);

  /* A context that was asked for is not cut; the plan still says what it would take. */
  params.context_tokens = 8192;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_ERR_TOO_BIG);
  CHECK_INT(plan.total_bytes, single);
  CHECK(strstr(error.text, "of memory and") && strstr(error.text, "are free"));
  em_engine *engine = NULL;
  CHECK_INT(em_engine_open(gguf, &params, NULL, NULL, &engine, NULL), EM_ERR_TOO_BIG);
  params.context_tokens = 0;
  params.memory_limit_bytes = 1000;
  error = (em_error){0};
  CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_ERR_TOO_BIG);
  CHECK_INT(plan.context_tokens, 512);
  CHECK(engine == NULL);

  /* More than the model was trained for is not given; slots and rows have limits. */
  params =
      (em_engine_params){.backend = {.kind = EM_DEVICE_CPU, .n_threads = 1}, .context_tokens = 100000, .n_slots = 1};
  CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_OK);
  CHECK_INT(plan.context_tokens, 16384);
  params.n_slots = 65;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, NULL), EM_ERR_ARGUMENT);
  params.n_slots = 1;
  params.batch_rows = 4097;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, NULL), EM_ERR_ARGUMENT);

  /* The plan is what the engine says of itself after loading. */
  params = fixture_params();
  CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_OK);
  CHECK_INT(em_engine_open(gguf, &params, NULL, NULL, &engine, &error), EM_OK);
  const em_engine_facts *facts = em_engine_get_facts(engine);
  CHECK_INT(facts->memory.total_bytes, plan.total_bytes);
  CHECK_INT(facts->context_tokens, 1024);
  CHECK_INT(facts->train_context_tokens, 16384);
  CHECK_INT(facts->kv_bytes_per_token, 2048);
  CHECK_INT(facts->n_slots, 3);
  CHECK_TEXT(facts->architecture, "llama");
  em_engine_close(engine);
  em_gguf_close(gguf);
  free(file);
}

/* --- What a loaded model will give back --------------------------------------------------------------------------- */

static uint64_t driver_bytes; /* that a device's driver says are left; 0: what the device says */

uint64_t __real_em_backend_available_memory(const em_backend *backend);
uint64_t __wrap_em_backend_available_memory(const em_backend *backend);

uint64_t __wrap_em_backend_available_memory(const em_backend *backend) {
  return driver_bytes > 0 ? driver_bytes : __real_em_backend_available_memory(backend);
}

static void check_freed_sizes(void) {
  em_memory_plan plan = {.n_parts = 1, .parts = {{.kind = EM_DEVICE_CPU, .total_bytes = 5000}}};
  em_freed freed = em_engine_freed(&plan, 9000);
  CHECK(freed.computer_bytes == 5000 && freed.device_bytes == 0);
  plan.draft_bytes = 600;
  CHECK_INT(em_engine_freed(&plan, 9000).computer_bytes, 5600);
  plan.draft_bytes = 0;
  freed = em_engine_freed(&plan, 3000); /* part of the cache was never written */
  CHECK(freed.computer_bytes == 3000 && freed.device_bytes == 0);

  plan.parts[0] = (em_part_plan){.kind = EM_DEVICE_VULKAN, .total_bytes = 5000};
  freed = em_engine_freed(&plan, 100); /* the driver's buffers are not resident memory of the process */
  CHECK(freed.computer_bytes == 5000 && freed.device_bytes == 5000);
  freed = em_engine_freed(&plan, 9000); /* or they are */
  CHECK(freed.computer_bytes == 5000 && freed.device_bytes == 5000);
  plan.parts[0].has_own_memory = true;
  freed = em_engine_freed(&plan, 9000);
  CHECK(freed.computer_bytes == 0 && freed.device_bytes == 5000);

  plan = (em_memory_plan){
      .n_parts = 2,
      .parts = {{.kind = EM_DEVICE_CPU, .total_bytes = 700}, {.kind = EM_DEVICE_VULKAN, .total_bytes = 5000}}};
  freed = em_engine_freed(&plan, 600);
  CHECK(freed.computer_bytes == 5600 && freed.device_bytes == 5000);
  freed = em_engine_freed(&plan, 5700);
  CHECK(freed.computer_bytes == 5700 && freed.device_bytes == 5000);
  plan.parts[1].has_own_memory = true;
  freed = em_engine_freed(&plan, 5700);
  CHECK(freed.computer_bytes == 700 && freed.device_bytes == 5000);
  plan.draft_bytes = 600;
  freed = em_engine_freed(&plan, 5700);
  CHECK(freed.computer_bytes == 700 && freed.device_bytes == 5600);
}

/* A device that uses the computer's memory, most of which a loaded model has: the driver's limit and the computer's
 * each grow by what that model gives back, and the smaller one counts. */
static void check_swap(void) {
  size_t bytes;
  char *file = tiny_model_make(&model, &bytes);
  em_gguf *gguf = NULL;
  CHECK_INT(em_gguf_open_memory(file, bytes, bytes, &gguf, NULL), EM_OK);
  em_engine_params params = {.backend = {.kind = EM_DEVICE_CPU, .n_threads = 1},
                             .memory_limit_bytes = UINT64_C(1) << 40,
                             .n_slots = 1,
                             .context_tokens = 8192};
  em_memory_plan plan = {0};
  CHECK_INT(em_engine_plan(gguf, &params, &plan, NULL), EM_OK);
  const uint64_t needed = plan.total_bytes;
  driver_bytes = needed - 1000;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, NULL), EM_ERR_TOO_BIG);
  params.device_freed_bytes = 999;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, NULL), EM_ERR_TOO_BIG);
  params.device_freed_bytes = 1000;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, NULL), EM_OK);
  CHECK_INT(plan.available_bytes, needed);
  params.memory_limit_bytes = needed - 1;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, NULL), EM_ERR_TOO_BIG);
  params.memory_limit_bytes = needed;
  params.device_freed_bytes = UINT64_MAX;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, NULL), EM_OK);
  driver_bytes = 0;
  em_gguf_close(gguf);
  free(file);
}

static void check_advisor(void) {
  CHECK_INT(em_advisor_token_bytes(1000, 10, 0), 1010);
  CHECK_INT(em_advisor_token_bytes(1000, 10, 99), 2000);
  CHECK(em_advisor_token_bytes(1000, UINT64_MAX / 2, 10) == UINT64_MAX);
  CHECK(em_advisor_token_bytes(1, 1, UINT64_MAX) == UINT64_MAX);
  CHECK(em_advisor_ceiling(256e9, 8000000000) == 32);
  CHECK(em_advisor_ceiling(0, 8) == 0 && em_advisor_ceiling(8, 0) == 0);
  em_memory_state memory = {.total_bytes = 1000, .available_bytes = 600};
  em_fit fit = em_advisor_fit(500, &memory, 100);
  CHECK(fit.fits && fit.missing_bytes == 0 && fit.usable_bytes == 500);
  fit = em_advisor_fit(501, &memory, 100);
  CHECK(!fit.fits && fit.missing_bytes == 1);
  fit = em_advisor_fit(1, &memory, 700);
  CHECK(!fit.fits && fit.usable_bytes == 0);
  memory.available_bytes = UINT64_C(8) << 30;
  CHECK_INT(em_advisor_reserve(&memory), UINT64_C(1) << 30);
  memory.available_bytes = UINT64_C(64) << 30;
  CHECK_INT(em_advisor_reserve(&memory), UINT64_C(2) << 30);
  memory.available_bytes = 0;
  CHECK_INT(em_advisor_reserve(&memory), UINT64_C(256) << 20);
}

/* --- Memory of another computer's files --------------------------------------------------------------------------- */

static char root[] = "/tmp/hearth-root-XXXXXX";

static void put_file(const char *name, const char *text) {
  char path[256];
  snprintf(path, sizeof path, "%s%s", root, name);
  for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
    *slash = 0;
    mkdir(path, 0700);
    *slash = '/';
  }
  FILE *file = fopen(path, "w");
  CHECK(file != NULL);
  if (file) {
    fputs(text, file);
    fclose(file);
  }
}

static void check_memory(uint64_t total_mib, uint64_t available_mib) {
  em_memory_state memory = {0};
  em_error error = {0};
  CHECK_INT(em_hardware_memory(root, &memory, &error), EM_OK);
  CHECK_INT(memory.total_bytes >> 20, total_mib);
  CHECK_INT(memory.available_bytes >> 20, available_mib);
}

static void check_hardware(void) {
  em_memory_state memory = {0};
  CHECK_INT(em_hardware_memory(NULL, &memory, NULL), EM_OK);
  CHECK(memory.total_bytes > 1 << 20 && memory.available_bytes <= memory.total_bytes);

  CHECK(mkdtemp(root) != NULL);
  CHECK_INT(em_hardware_memory(root, &memory, NULL), EM_ERR_NOT_FOUND);
  put_file("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1048576 kB\n");
  CHECK_INT(em_hardware_memory(root, &memory, NULL), EM_ERR_FORMAT);
  put_file("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1048576 kB\nMemAvailable:    8388608 kB\n");
  check_memory(16384, 8192);

  /* Version 2: the nearest limit is of the parent; caches that can be dropped do not count as used. */
  put_file("/proc/self/cgroup", "0::/user.slice/app.scope\n");
  put_file("/sys/fs/cgroup/user.slice/app.scope/memory.max", "max\n");
  put_file("/sys/fs/cgroup/user.slice/app.scope/memory.current", "1048576\n");
  check_memory(16384, 8192);
  put_file("/sys/fs/cgroup/user.slice/memory.max", "4294967296\n");
  put_file("/sys/fs/cgroup/user.slice/memory.current", "3221225472\n");
  put_file("/sys/fs/cgroup/user.slice/memory.stat", "anon 5\ninactive_file 1073741824\nactive_file 7\n");
  check_memory(4096, 2048);
  put_file("/sys/fs/cgroup/user.slice/memory.current", "6442450944\n");
  check_memory(4096, 0);

  /* Version 1, in a container that sees only its own group at the mount. */
  put_file("/proc/self/cgroup", "9:name=systemd:/x\n4:cpu,memory:/docker/abc\n");
  put_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n");
  put_file("/sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n");
  put_file("/sys/fs/cgroup/memory/memory.stat", "total_inactive_file 536870912\n");
  check_memory(2048, 1536);
  put_file("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  check_memory(16384, 8192);
  put_file("/proc/self/cgroup", "nonsense\n\n::\n4:memory\n");
  check_memory(16384, 8192);

  char command[300];
  snprintf(command, sizeof command, "rm -r '%s'", root);
  CHECK_INT(system(command), 0);
}

int main(void) {
  check_plan();
  check_freed_sizes();
  check_swap();
  check_advisor();
  check_hardware();
  return check_done();
}
