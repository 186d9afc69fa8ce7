/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Requests submitted, cancelled and awaited from several threads while one steps. Meant for the thread sanitizer as
 * well. */
#include "engine-fixture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define N_THREADS 4
#define N_REQUESTS 12

static fixture f;
static atomic_bool done;
static answer answers[N_THREADS][N_REQUESTS];
static int32_t prompt[64];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t finished = PTHREAD_COND_INITIALIZER;
static unsigned n_finished;

/* The stepping thread writes an answer; its owner reads it after this. */
static void note_finish(void *user, em_finish finish, const em_request_stats *stats, const em_error *error) {
  answer_finish(user, finish, stats, error);
  pthread_mutex_lock(&lock);
  n_finished++;
  pthread_cond_broadcast(&finished);
  pthread_mutex_unlock(&lock);
}

static void *step(void *user) {
  while (!atomic_load(&done)) {
    em_engine_wait(f.engine);
    while (em_engine_step(f.engine))
      ;
  }
  return NULL;
}

static void *submit(void *user) {
  answer *own = user;
  uint32_t seed = (uint32_t)(own - answers[0]);
  for (uint32_t i = 0; i < N_REQUESTS; i++) {
    em_request_params params = answer_params(&own[i], prompt, 10 + (i * 7 + seed) % 50, 1 + i);
    params.on_finish = note_finish;
    em_request_id id;
    while (em_engine_submit(f.engine, &params, &id, NULL) == EM_ERR_BUSY)
      usleep(200);
    if (i % 3 == 0)
      em_engine_cancel(f.engine, id);
    if (i % 4 == 0)
      em_engine_wake(f.engine);
    if (i % 5 == 0)
      usleep(1000);
  }
  return NULL;
}

int main(void) {
  static const tiny_model model = {.context_tokens = 256};
  em_engine_params params = fixture_params();
  params.backend.n_threads = 2;
  fixture_open(&f, &model, &params);
  make_prompt(prompt, 64, 1);
  pthread_t stepper, submitters[N_THREADS];
  CHECK_INT(pthread_create(&stepper, NULL, step, NULL), 0);
  for (int i = 0; i < N_THREADS; i++)
    CHECK_INT(pthread_create(&submitters[i], NULL, submit, answers[i]), 0);
  for (int i = 0; i < N_THREADS; i++)
    pthread_join(submitters[i], NULL);
  pthread_mutex_lock(&lock);
  while (n_finished < N_THREADS * N_REQUESTS)
    pthread_cond_wait(&finished, &lock);
  pthread_mutex_unlock(&lock);
  atomic_store(&done, true);
  em_engine_wake(f.engine);
  pthread_join(stepper, NULL);
  for (int i = 0; i < N_THREADS; i++) {
    for (uint32_t j = 0; j < N_REQUESTS; j++) {
      const answer *a = &answers[i][j];
      CHECK_INT(a->n_finished, 1);
      CHECK(a->finish == EM_FINISH_LENGTH ? a->n == 1 + j : a->finish == EM_FINISH_CANCELLED && j % 3 == 0);
    }
  }
  fixture_close(&f);
  return check_done();
}
