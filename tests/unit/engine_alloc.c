/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Steps allocate nothing: the allocator's functions are wrapped at link time and counted. */
#include "engine-fixture.h"

#include <stdatomic.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
int __real_posix_memalign(void **out, size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes);

static atomic_uint allocations;

void *__wrap_malloc(size_t bytes) {
  atomic_fetch_add(&allocations, 1);
  return __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes) {
  atomic_fetch_add(&allocations, 1);
  return __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes) {
  atomic_fetch_add(&allocations, 1);
  return __real_realloc(old, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
  atomic_fetch_add(&allocations, 1);
  return __real_aligned_alloc(alignment, bytes);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes) {
  atomic_fetch_add(&allocations, 1);
  return __real_posix_memalign(out, alignment, bytes);
}

static bool allow_some(void *user, uint64_t *allowed) {
  for (int i = 0; i < 8; i++)
    allowed[i] = UINT64_C(0x5555555555555555);
  return true;
}

int main(void) {
  static const tiny_model model = {.type = EM_TYPE_Q8_0, .context_tokens = 1024};
  static answer answers[6];
  static int32_t prompts[6][700];
  fixture f;
  em_engine_params params = fixture_params();
  params.backend.n_threads = 2;
  fixture_open(&f, &model, &params);
  CHECK(atomic_load(&allocations) > 10); /* the wrapping works */
  for (int warm = 0; warm < 2; warm++) {
    memset(answers, 0, sizeof answers);
    for (uint32_t i = 0; i < 6; i++) {
      make_prompt(prompts[i], 700, i / 2);
      em_request_params request = answer_params(&answers[i], prompts[i], 100 * i + 1, 60);
      if (i % 2)
        request.sampling = (em_sampling){
            .temperature = 1, .top_k = 200, .top_p = 0.9f, .min_p = 0.01f, .repetition_penalty = 1.2f, .seed = i};
      if (i % 3 == 2)
        request.mask = allow_some;
      answer_submit(f.engine, &answers[i], &request);
    }
    unsigned before = atomic_load(&allocations);
    run_all(f.engine);
    CHECK_INT(atomic_load(&allocations) - before, 0);
    for (uint32_t i = 0; i < 6; i++)
      CHECK_INT(answers[i].n, 60);
  }
  fixture_close(&f);
  return check_done();
}
