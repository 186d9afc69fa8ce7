/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a step says it has read and done, on every device here: a decoded token reads what the file's facts say, to the
 * byte, and nothing is made for it. */
#include "engine-fixture.h"

#include "base/checked.h"
#include "base/log.h"

#define N_DECODED 8

static void on_log(void *user, em_log_level level, const char *text) {
  fprintf(stderr, "%s\n", text);
  CHECK(level < EM_LOG_WARNING);
}

static void check_model(const em_backend_params *device, const tiny_model *model) {
  static int32_t prompt[20];
  static answer a;
  fixture f;
  em_engine_params params = fixture_params();
  params.backend = *device;
  fixture_open(&f, model, &params);
  const em_engine_facts *facts = em_engine_get_facts(f.engine);
  make_prompt(prompt, 20, 1);
  memset(&a, 0, sizeof a);
  em_request_params request = answer_params(&a, prompt, 20, N_DECODED + 1);
  answer_submit(f.engine, &a, &request);
  while (a.n == 0)
    em_engine_step(f.engine);
  uint64_t weights_bytes = 0, kv_bytes = 0, dispatches = 0, submits = 0, made = 0, allocations = em_n_allocations();
  while (a.n_finished == 0) {
    em_engine_step(f.engine);
    em_step_counters counters = em_engine_counters(f.engine);
    weights_bytes += counters.weights_bytes;
    kv_bytes += counters.kv_bytes;
    submits += counters.n_submits;
    made += counters.n_made + em_n_allocations() - allocations;
    allocations = em_n_allocations();
    dispatches += counters.n_dispatches;
  }
  CHECK_INT(a.n, N_DECODED + 1);
  CHECK_INT(weights_bytes, N_DECODED * facts->weights_bytes_per_token);
  /* The token at position p reads p + 1 positions. */
  CHECK_INT(kv_bytes, facts->kv_bytes_per_token * (N_DECODED * 21 + N_DECODED * (N_DECODED - 1) / 2));
  CHECK_INT(made, 0);
  CHECK(dispatches >= N_DECODED * facts->n_layers && dispatches <= N_DECODED * (9ull * facts->n_layers + 6));
  CHECK(device->kind == EM_DEVICE_CPU ? submits == 0 : submits > 0 && submits <= N_DECODED);
  fixture_close(&f);
}

int main(void) {
  static const char *const families[] = {"llama", "qwen2", "qwen3"};
  static const em_type types[] = {EM_TYPE_F32, EM_TYPE_Q8_0, EM_TYPE_Q4_K};
  em_vulkan_device found[8];
  em_backend_params devices[2] = {fixture_params().backend};
  uint32_t n_found = 0, n_devices = 1;
  setenv("VK_LOADER_LAYERS_ENABLE", "*validation*", 0);
  em_log_set(on_log, NULL);
  if (em_vulkan_list(found, 8, &n_found, NULL) == EM_OK && n_found > 0)
    devices[n_devices++] = (em_backend_params){.kind = EM_DEVICE_VULKAN};
  else
    printf("without a Vulkan device\n");
  for (uint32_t d = 0; d < n_devices; d++)
    for (int f = 0; f < 3; f++)
      for (int t = 0; t < 3; t++) {
        if (d > 0 && f != t) /* a device takes its time to make its kernels */
          continue;
        check_model(&devices[d], &(tiny_model){.architecture = families[f],
                                               .tied = f == 1,
                                               .type = types[t],
                                               .n_embd = 256,
                                               .n_ff = 256,
                                               .context_tokens = 512,
                                               .seed = (uint32_t)t + 1});
      }
  return check_done();
}
