/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The thread pool. Meant to run under ThreadSanitizer as well: what the jobs share is plain memory, ordered by the pool alone. */
#include "base/clock.h"
#include "base/threads.h"
#include "check.h"

#include <time.h>
#include <unistd.h>

enum { N_PHASES = 200, N_ITEMS = 1000, MAX_THREADS = 1024 };

typedef struct shared {
  em_pool *pool;
  unsigned n_threads;
  unsigned ran[MAX_THREADS];
  long cells[MAX_THREADS]; /* one a thread, read by all behind a barrier */
  long sums[MAX_THREADS];
  unsigned char taken[N_ITEMS];
  bool wrong[MAX_THREADS];
  bool slow; /* sleep now and then, so that the others give up spinning */
} shared;

static void count_job(void *user, unsigned thread, unsigned n_threads) {
  shared *s = user;
  s->ran[thread]++;
  if (n_threads != s->n_threads)
    s->wrong[thread] = true;
}

/* Every phase, each thread writes its cell and then adds up all cells. */
static void barrier_job(void *user, unsigned thread, unsigned n_threads) {
  shared *s = user;
  s->sums[thread] = 0;
  for (int phase = 0; phase < N_PHASES; phase++) {
    s->cells[thread] = phase + (long)thread;
    if (s->slow && phase % 50 == (int)(thread * 7 % 50))
      nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
    em_pool_barrier(s->pool);
    for (unsigned i = 0; i < n_threads; i++)
      s->sums[thread] += s->cells[i];
    em_pool_barrier(s->pool);
  }
}

/* Every item is taken by just one thread, in each phase anew. */
static void next_job(void *user, unsigned thread, unsigned n_threads) {
  shared *s = user;
  (void)n_threads;
  for (int phase = 0; phase < 20; phase++) {
    size_t chunk = (size_t)(phase % 9 + 1);
    for (size_t first; (first = em_pool_next(s->pool, chunk, N_ITEMS)) < N_ITEMS;)
      for (size_t i = first; i < first + chunk && i < N_ITEMS; i++)
        s->taken[i]++;
    if (em_pool_next(s->pool, chunk, N_ITEMS) != N_ITEMS)
      s->wrong[thread] = true;
    em_pool_barrier(s->pool);
    for (size_t i = thread; i < N_ITEMS; i += n_threads)
      if (s->taken[i] != phase + 1)
        s->wrong[thread] = true;
    em_pool_barrier(s->pool);
  }
}

static void check_pool(unsigned asked) {
  em_pool *pool = NULL;
  em_error error = { 0 };
  CHECK_INT(em_pool_new(asked, &pool, &error), EM_OK);
  if (!pool)
    return;
  unsigned n = em_pool_n_threads(pool), cores = em_physical_cores();
  CHECK(n >= 1 && n <= cores && (asked == 0 || n <= asked));
  CHECK(n == (asked == 0 || asked > cores ? cores : asked));
  if (n > MAX_THREADS)
    SKIP("base_threads: more than %d cores", MAX_THREADS);
  static shared s;
  memset(&s, 0, sizeof s);
  s.pool = pool;
  s.n_threads = n;
  for (int i = 0; i < 2000; i++)
    em_pool_run(pool, count_job, &s);
  for (unsigned i = 0; i < n; i++)
    CHECK_INT(s.ran[i], 2000);
  /* Jobs with gaps between them find the workers asleep. */
  for (int i = 0; i < 20; i++) {
    nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    em_pool_run(pool, count_job, &s);
  }
  for (unsigned i = 0; i < n; i++)
    CHECK_INT(s.ran[i], 2020);

  for (int slow = 0; slow < 2; slow++) {
    s.slow = slow;
    em_pool_run(pool, barrier_job, &s);
    long expected = (long)n * N_PHASES * (N_PHASES - 1) / 2 + (long)N_PHASES * n * (n - 1) / 2;
    for (unsigned i = 0; i < n; i++)
      CHECK_INT(s.sums[i], expected);
  }
  em_pool_run(pool, next_job, &s);
  for (unsigned i = 0; i < n; i++)
    CHECK(!s.wrong[i]);

  /* An idle pool uses no processor time. */
  nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
  struct timespec before, after;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  double used = (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) * 1e-9;
  CHECK(used < 0.02);
  em_pool_free(pool);
}

int main(void) {
  CHECK(em_physical_cores() >= 1);
  CHECK(em_physical_cores() <= (unsigned)sysconf(_SC_NPROCESSORS_CONF));
  check_pool(1);
  check_pool(2);
  check_pool(3);
  check_pool(0);
  check_pool(100000);
  em_pool_free(NULL);
  return check_done();
}
