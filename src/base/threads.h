/* The thread pool for kernels: the same function on every thread, a barrier between parts.
 *
 * Waiting threads spin briefly and then sleep on a futex, so that a busy computer costs little and an idle engine nothing.
 * The pool never has more threads than the computer has physical cores.
 */
#pragma once

#include "base/status.h"

typedef struct em_pool em_pool;

/* Physical cores this process may run on: counts distinct (package, core) pairs of the CPUs in its affinity mask, at
 * least 1. Reads /sys/devices/system/cpu; where that is absent, the mask's CPU count. */
unsigned em_physical_cores(void);

/* Makes a pool of n_threads threads, the caller's included (0: em_physical_cores(); larger values are cut to that).
 * EM_ERR_NO_MEMORY when threads cannot be made. */
em_status em_pool_new(unsigned n_threads, em_pool **out, em_error *error) EM_MUST_USE;
void em_pool_free(em_pool *pool); /* NULL is legal; no job may be running */

unsigned em_pool_n_threads(const em_pool *pool);

/* Runs fn(user, i, n) for every thread index i in 0..n-1; the caller is thread 0. Returns when all have returned.
 * One job at a time: calls come from one thread. Allocates nothing. */
typedef void (*em_pool_fn)(void *user, unsigned thread, unsigned n_threads);
void em_pool_run(em_pool *pool, em_pool_fn fn, void *user);

/* Inside a job: waits until every thread of the pool has arrived. All memory written before it by any thread is visible
 * after it to all. */
void em_pool_barrier(em_pool *pool);

/* Inside a job: hands out the next chunk of a shared count. The counter is reset by the first barrier after its use or at the
 * start of a job. Returns the first index of `chunk` indices, or total when none are left. */
size_t em_pool_next(em_pool *pool, size_t chunk, size_t total);
