/* Requests: the queue that any thread fills, the slots in which they run, and which rows the next step computes.
 *
 * Which rows share a step does not change what they compute. Where a device rounds steps of more than a few rows
 * otherwise than smaller ones (em_backend_few_rows), this takes two kinds of steps, one after the other: those that
 * compute nothing but whole blocks of EM_PROMPT_BLOCK tokens of prompts, counted from a prompt's first token, and have
 * more than a few rows; and those of at most that few rows, for all else: what is left of a prompt behind its last
 * whole block, and what is decoded. So a row's kind follows from its position and its prompt's length alone. An
 * engine whose steps have less than EM_PROMPT_BLOCK rows takes only the second kind.
 *
 * em_scheduler_submit, _cancel, _wait and _wake may be called from any thread. Everything else belongs to the stepping
 * thread. A slot's fields are the stepping thread's own. */
#pragma once

#include <pthread.h>

#include "engine/engine.h"
#include "engine/kv.h"
#include "engine/plan.h"

typedef struct em_request {
  em_request_id id;
  em_request_params params; /* tokens and biases are copies that belong to the request */
  bool cancelled;           /* guarded by the scheduler's lock */
  uint64_t submit_ns;
} em_request;

void em_request_free(em_request *request); /* NULL is legal */

typedef struct em_slot {
  em_request *request; /* NULL: free. Written by the stepping thread under the lock */
  int32_t *tokens;     /* prompt and answer; room for the context and one token more */
  uint32_t n_tokens;   /* known */
  uint32_t n_computed; /* whose keys and values are in the cache */
  em_page_list pages;
  em_request_stats stats;
  uint64_t start_ns, first_token_ns, last_token_ns;
  uint32_t reserved_pages; /* that the request may come to need */
  uint32_t n_rows;         /* in the step at hand */
  uint32_t output;         /* index of its logits in that step, or EM_NO_OUTPUT */
} em_slot;

#define EM_NO_OUTPUT UINT32_MAX

typedef struct em_scheduler {
  em_slot *slots;
  uint32_t n_slots, batch_rows, n_pages, context_tokens;
  uint32_t reserved_pages; /* of all slots */
  uint32_t few_rows;       /* as em_backend_few_rows says of the device; the engine sets it */
  bool blocks_next;        /* of the two kinds of steps, where there is work for both */
  uint32_t paced_rows;     /* rows of a step that prefills, so that it stays short */
  uint32_t turn;           /* the slot whose prefill comes first in the next step */
  uint32_t n_alive;        /* slots in use; guarded by lock */
  pthread_mutex_t lock;
  pthread_cond_t changed;
  /* Guarded by lock. */
  em_request *queue[EM_ENGINE_MAX_QUEUE]; /* the oldest first */
  uint32_t n_queued;
  em_request_id last_id;
  bool woken;
} em_scheduler;

#define EM_PROMPT_BLOCK 32u /* a page of the cache has a whole number of them */

/* slots are zeroed but for their tokens and page lists. */
void em_scheduler_init(em_scheduler *scheduler, em_slot *slots, const em_plan *plan);
void em_scheduler_clear(em_scheduler *scheduler); /* frees the requests that are left */

/* Takes the request over when it succeeds. EM_ERR_BUSY when the queue is full. */
em_status em_scheduler_submit(em_scheduler *scheduler, em_request *request, em_request_id *out,
                              em_error *error) EM_MUST_USE;
void em_scheduler_cancel(em_scheduler *scheduler, em_request_id id);
void em_scheduler_wait(em_scheduler *scheduler);
void em_scheduler_wake(em_scheduler *scheduler);

/* Whether any request is queued or runs. */
bool em_scheduler_busy(em_scheduler *scheduler);

/* Whether one request runs and none waits. */
bool em_scheduler_is_lone(em_scheduler *scheduler);

/* Whether any request is queued or runs that was not cancelled. */
bool em_scheduler_wants_more(em_scheduler *scheduler);

/* Removes one cancelled request from the queue, or returns NULL. The caller ends it. */
em_request *em_scheduler_next_cancelled(em_scheduler *scheduler);

/* Puts the oldest queued request into a free slot and returns the slot, or NULL when there is no such pair or too few
 * pages of the cache are left for what the request may come to need: a request that has begun never runs out of them.
 */
em_slot *em_scheduler_admit(em_scheduler *scheduler);

/* Whether the slot's request was cancelled. */
bool em_scheduler_is_cancelled(em_scheduler *scheduler, const em_slot *slot);

/* Makes the slot free and returns its request. */
em_request *em_scheduler_leave(em_scheduler *scheduler, em_slot *slot);

/* Learns from a step of n_rows rows that took ns how many rows a step that prefills may have: about EM_STEP_NS of work,
 * so that a request that is stopped ends soon. A graphics device is given such a step in pieces of about 50 ms, between
 * which a desktop is drawn (backend/vulkan/step.c). */
#define EM_STEP_NS 150000000ull
void em_scheduler_pace(em_scheduler *scheduler, uint32_t n_rows, uint64_t ns);

/* Decides n_rows of every slot: one row for each that decodes, the rest shared among those that prefill. While others
 * decode, prefill gets a quarter of the step, so that their words keep coming. Returns the rows in total. */
uint32_t em_scheduler_share(em_scheduler *scheduler);
