/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/threads.h"

#include "base/checked.h"
#include "base/clock.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* How long a waiting thread spins before it sleeps. On a quiet computer the longest time bridges the gaps between the stages
 * of a step, where sleeping would cost many times the gap. Where another program has taken a core, what is waited for takes
 * milliseconds, and each core that spins meanwhile is kept from the very thread that is late: on two cores beside one busy
 * program, stages of 25 us took 2 ms while waiting threads spun for up to 1 ms, 0.2 ms at 30 us, and 0.15 ms this way. So
 * the time is halved whenever it was not enough and grows again by a little when it was. After a number of misses in a row
 * the longest time is tried once, because waits that are all a little too long would otherwise keep it short for good. */
#define LONGEST_SPIN_NS 50000u
#define SHORTEST_SPIN_NS 2000u
#define SPIN_GROWTH_NS 4000u
#define MISSES_BEFORE_TRIAL 15u
/* Pauses between two looks at the clock. */
#define SPIN_PAUSES 16u

#define CACHE_LINE 64

/* A number that some threads wait on until it changes. */
typedef struct event {
  alignas(CACHE_LINE) _Atomic uint32_t value;
  _Atomic uint32_t n_sleepers;
} event;

typedef struct worker {
  em_pool *pool;
  unsigned index;
  pthread_t thread;
} worker;

struct em_pool {
  event job;     /* its value is the number of jobs started so far */
  event done;    /* the number of jobs finished by all workers */
  event barrier; /* the number of barriers passed */
  alignas(CACHE_LINE) _Atomic uint32_t n_running; /* workers still inside the job */
  alignas(CACHE_LINE) _Atomic uint32_t n_arrived; /* threads waiting at the barrier */
  alignas(CACHE_LINE) _Atomic size_t next;        /* the shared counter of em_pool_next */
  alignas(CACHE_LINE) _Atomic uint32_t spin_ns;   /* how long to spin, a guess that all threads share and correct */
  _Atomic uint32_t n_misses;                      /* in a row, over all threads */
  alignas(CACHE_LINE) em_pool_fn fn;              /* NULL tells the workers to end */
  void *user;
  unsigned n_threads;
  unsigned n_workers; /* threads made, all of which are joined at the end */
  worker *workers;
};

static inline void pause_briefly(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ __volatile__("isb" ::: "memory");
#endif
}

/* Waits until the event's value is no longer `old`. What was written before the change is visible afterwards. */
static void event_wait(em_pool *pool, event *e, uint32_t old) {
  if (atomic_load_explicit(&e->value, memory_order_acquire) != old)
    return;
  uint32_t n_misses = atomic_load_explicit(&pool->n_misses, memory_order_relaxed);
  uint32_t spin_ns = atomic_load_explicit(&pool->spin_ns, memory_order_relaxed);
  bool trial = n_misses >= MISSES_BEFORE_TRIAL;
  uint64_t end = em_now_ns() + (trial ? LONGEST_SPIN_NS : spin_ns);
  do {
    for (unsigned i = 0; i < SPIN_PAUSES; i++) {
      pause_briefly();
      if (atomic_load_explicit(&e->value, memory_order_acquire) != old) {
        if (spin_ns < LONGEST_SPIN_NS)
          atomic_store_explicit(&pool->spin_ns, trial ? LONGEST_SPIN_NS : spin_ns + SPIN_GROWTH_NS, memory_order_relaxed);
        if (n_misses)
          atomic_store_explicit(&pool->n_misses, 0, memory_order_relaxed);
        return;
      }
    }
  } while (em_now_ns() < end);
  if (spin_ns > SHORTEST_SPIN_NS && !trial)
    atomic_store_explicit(&pool->spin_ns, spin_ns / 2, memory_order_relaxed);
  atomic_store_explicit(&pool->n_misses, trial ? 0 : n_misses + 1, memory_order_relaxed);
  /* The count of sleepers is raised before the value is looked at again, and event_advance changes the value before it looks
   * at the count. In the one order of sequentially consistent operations, either this thread sees the new value or the other
   * sees a sleeper, so that no wake-up is lost. */
  atomic_fetch_add(&e->n_sleepers, 1);
  while (atomic_load(&e->value) == old)
    syscall(SYS_futex, &e->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
  atomic_fetch_sub_explicit(&e->n_sleepers, 1, memory_order_relaxed);
}

static void event_advance(event *e) {
  atomic_fetch_add(&e->value, 1);
  if (atomic_load(&e->n_sleepers))
    syscall(SYS_futex, &e->value, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* Reads one small number from a file of the CPU's topology; false where it is absent. */
static bool read_topology(unsigned cpu, const char *name, int *out) {
  char path[96], text[16];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/%s", cpu, name);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return false;
  ssize_t n = read(fd, text, sizeof text - 1);
  close(fd);
  if (n <= 0)
    return false;
  text[n] = 0;
  *out = atoi(text);
  return true;
}

unsigned em_physical_cores(void) {
  unsigned n_cores = 0, n_cpus = 1024;
  cpu_set_t *set = NULL;
  size_t set_bytes;
  struct {
    int package, core;
  } *seen = NULL;
  /* The kernel refuses a mask smaller than its own, so the size is doubled until it fits. */
  for (;; n_cpus *= 2) {
    set = CPU_ALLOC(n_cpus);
    set_bytes = CPU_ALLOC_SIZE(n_cpus);
    if (set && sched_getaffinity(0, set_bytes, set) == 0)
      break;
    CPU_FREE(set);
    set = NULL;
    if (n_cpus >= 1u << 18)
      return 1;
  }
  unsigned mask_count = (unsigned)CPU_COUNT_S(set_bytes, set);
  seen = em_calloc(mask_count, sizeof *seen);
  if (!seen)
    goto done;
  for (unsigned cpu = 0; cpu < n_cpus; cpu++) {
    int package, core;
    if (!CPU_ISSET_S(cpu, set_bytes, set))
      continue;
    if (!read_topology(cpu, "physical_package_id", &package) || !read_topology(cpu, "core_id", &core)) {
      n_cores = mask_count;
      break;
    }
    unsigned i = 0;
    while (i < n_cores && (seen[i].package != package || seen[i].core != core))
      i++;
    if (i == n_cores) {
      seen[n_cores].package = package;
      seen[n_cores].core = core;
      n_cores++;
    }
  }
done:
  free(seen);
  CPU_FREE(set);
  return n_cores ? n_cores : 1;
}

static void *worker_main(void *data) {
  const worker *self = data;
  em_pool *pool = self->pool;
  for (uint32_t job = 0;; job++) {
    event_wait(pool, &pool->job, job);
    if (!pool->fn)
      return NULL;
    pool->fn(pool->user, self->index, pool->n_threads);
    /* Each worker's decrement carries its writes to the last one, which carries them all to the caller. */
    if (atomic_fetch_sub_explicit(&pool->n_running, 1, memory_order_acq_rel) == 1)
      event_advance(&pool->done);
  }
}

em_status em_pool_new(unsigned n_threads, em_pool **out, em_error *error) {
  unsigned n_cores = em_physical_cores();
  if (n_threads == 0 || n_threads > n_cores)
    n_threads = n_cores;
  em_pool *pool = aligned_alloc(CACHE_LINE, sizeof *pool);
  worker *workers = em_calloc(n_threads, sizeof *workers);
  if (!pool || !workers) {
    free(pool);
    free(workers);
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for %u threads", n_threads);
  }
  memset(pool, 0, sizeof *pool);
  atomic_init(&pool->spin_ns, LONGEST_SPIN_NS);
  pool->workers = workers;
  pool->n_threads = n_threads;
  /* The workers take no signals: those are the business of the program's own threads. */
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  while (pool->n_workers + 1 < n_threads) {
    worker *w = &workers[pool->n_workers];
    w->pool = pool;
    w->index = pool->n_workers + 1;
    if (pthread_create(&w->thread, NULL, worker_main, w) != 0)
      break;
    char name[16];
    snprintf(name, sizeof name, "ember-%u", w->index % 1000000u);
    pthread_setname_np(w->thread, name);
    pool->n_workers++;
  }
  pthread_sigmask(SIG_SETMASK, &old, NULL);
  if (pool->n_workers + 1 < n_threads) {
    unsigned n_got = pool->n_workers + 1;
    em_pool_free(pool);
    return em_fail(error, EM_ERR_NO_MEMORY, "the system gives no more than %u of %u threads", n_got, n_threads);
  }
  *out = pool;
  return EM_OK;
}

void em_pool_free(em_pool *pool) {
  if (!pool)
    return;
  pool->fn = NULL;
  event_advance(&pool->job);
  for (unsigned i = 0; i < pool->n_workers; i++)
    pthread_join(pool->workers[i].thread, NULL);
  free(pool->workers);
  free(pool);
}

unsigned em_pool_n_threads(const em_pool *pool) {
  return pool->n_threads;
}

void em_pool_run(em_pool *pool, em_pool_fn fn, void *user) {
  atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
  if (pool->n_threads == 1) {
    fn(user, 0, 1);
    return;
  }
  uint32_t done = atomic_load_explicit(&pool->done.value, memory_order_relaxed);
  pool->fn = fn;
  pool->user = user;
  atomic_store_explicit(&pool->n_running, pool->n_workers, memory_order_relaxed);
  event_advance(&pool->job);
  fn(user, 0, pool->n_threads);
  event_wait(pool, &pool->done, done);
}

void em_pool_barrier(em_pool *pool) {
  uint32_t passed = atomic_load_explicit(&pool->barrier.value, memory_order_relaxed);
  if (atomic_fetch_add_explicit(&pool->n_arrived, 1, memory_order_acq_rel) + 1 < pool->n_threads) {
    event_wait(pool, &pool->barrier, passed);
    return;
  }
  /* The last to arrive resets everything before it lets the others go. */
  atomic_store_explicit(&pool->n_arrived, 0, memory_order_relaxed);
  atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
  event_advance(&pool->barrier);
}

size_t em_pool_next(em_pool *pool, size_t chunk, size_t total) {
  size_t first = atomic_fetch_add_explicit(&pool->next, chunk, memory_order_relaxed);
  return first < total ? first : total;
}
