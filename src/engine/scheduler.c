/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "engine/scheduler.h"

#include <stdlib.h>
#include <string.h>

#define LEAST_PREFILL_ROWS 16u /* beside decoding: fewer would read all weights for too little */
#define FIRST_PREFILL_ROWS 64u /* before anything is known of this model's speed here */

void em_request_free(em_request *request) {
  if (!request)
    return;
  free((void *)request->params.tokens);
  free((void *)request->params.sampling.biases);
  free(request);
}

void em_scheduler_init(em_scheduler *scheduler, em_slot *slots, const em_plan *plan) {
  *scheduler = (em_scheduler){
      .slots = slots,
      .n_slots = plan->n_slots,
      .batch_rows = plan->batch_rows,
      .paced_rows = FIRST_PREFILL_ROWS,
      .n_pages = plan->n_pages,
      .context_tokens = plan->memory.context_tokens,
  };
  pthread_mutex_init(&scheduler->lock, NULL);
  pthread_cond_init(&scheduler->changed, NULL);
}

void em_scheduler_clear(em_scheduler *scheduler) {
  for (uint32_t i = 0; i < scheduler->n_queued; i++)
    em_request_free(scheduler->queue[i]);
  for (uint32_t i = 0; i < scheduler->n_slots; i++)
    em_request_free(scheduler->slots[i].request);
  pthread_mutex_destroy(&scheduler->lock);
  pthread_cond_destroy(&scheduler->changed);
}

em_status em_scheduler_submit(em_scheduler *scheduler, em_request *request, em_request_id *out, em_error *error) {
  em_status status = EM_OK;
  pthread_mutex_lock(&scheduler->lock);
  if (scheduler->n_queued == EM_ENGINE_MAX_QUEUE) {
    status = em_fail(error, EM_ERR_BUSY, "%u requests are waiting already", EM_ENGINE_MAX_QUEUE);
  } else {
    /* The id is stored before the stepping thread can see the request and call back. */
    *out = request->id = ++scheduler->last_id;
    scheduler->queue[scheduler->n_queued++] = request;
    pthread_cond_signal(&scheduler->changed);
  }
  pthread_mutex_unlock(&scheduler->lock);
  return status;
}

void em_scheduler_cancel(em_scheduler *scheduler, em_request_id id) {
  pthread_mutex_lock(&scheduler->lock);
  for (uint32_t i = 0; i < scheduler->n_queued; i++)
    if (scheduler->queue[i]->id == id)
      scheduler->queue[i]->cancelled = true;
  for (uint32_t i = 0; i < scheduler->n_slots; i++)
    if (scheduler->slots[i].request && scheduler->slots[i].request->id == id)
      scheduler->slots[i].request->cancelled = true;
  pthread_mutex_unlock(&scheduler->lock);
}

static bool is_busy(const em_scheduler *scheduler) {
  return scheduler->n_queued > 0 || scheduler->n_alive > 0;
}

void em_scheduler_wait(em_scheduler *scheduler) {
  pthread_mutex_lock(&scheduler->lock);
  while (!scheduler->woken && !is_busy(scheduler))
    pthread_cond_wait(&scheduler->changed, &scheduler->lock);
  scheduler->woken = false;
  pthread_mutex_unlock(&scheduler->lock);
}

void em_scheduler_wake(em_scheduler *scheduler) {
  pthread_mutex_lock(&scheduler->lock);
  scheduler->woken = true;
  pthread_cond_signal(&scheduler->changed);
  pthread_mutex_unlock(&scheduler->lock);
}

bool em_scheduler_busy(em_scheduler *scheduler) {
  pthread_mutex_lock(&scheduler->lock);
  bool busy = is_busy(scheduler);
  pthread_mutex_unlock(&scheduler->lock);
  return busy;
}

bool em_scheduler_wants_more(em_scheduler *scheduler) {
  bool wants = false;
  pthread_mutex_lock(&scheduler->lock);
  for (uint32_t i = 0; i < scheduler->n_queued; i++)
    wants |= !scheduler->queue[i]->cancelled;
  for (uint32_t i = 0; i < scheduler->n_slots; i++)
    wants |= scheduler->slots[i].request && !scheduler->slots[i].request->cancelled;
  pthread_mutex_unlock(&scheduler->lock);
  return wants;
}

bool em_scheduler_is_lone(em_scheduler *scheduler) {
  pthread_mutex_lock(&scheduler->lock);
  bool lone = scheduler->n_queued == 0 && scheduler->n_alive == 1;
  pthread_mutex_unlock(&scheduler->lock);
  return lone;
}

/* Takes the i-th request out of the queue. Under the lock. */
static em_request *unqueue(em_scheduler *scheduler, uint32_t i) {
  em_request *request = scheduler->queue[i];
  scheduler->n_queued--;
  memmove(&scheduler->queue[i], &scheduler->queue[i + 1], (scheduler->n_queued - i) * sizeof scheduler->queue[0]);
  return request;
}

em_request *em_scheduler_next_cancelled(em_scheduler *scheduler) {
  em_request *request = NULL;
  pthread_mutex_lock(&scheduler->lock);
  for (uint32_t i = 0; i < scheduler->n_queued && !request; i++)
    if (scheduler->queue[i]->cancelled)
      request = unqueue(scheduler, i);
  pthread_mutex_unlock(&scheduler->lock);
  return request;
}

/* The pages that a request's prompt and longest answer take. */
static uint32_t pages_needed(const em_scheduler *scheduler, const em_request *request) {
  uint64_t n = (uint64_t)request->params.n_tokens + request->params.max_tokens;
  if (request->params.max_tokens == 0 || n > scheduler->context_tokens)
    n = scheduler->context_tokens;
  return (uint32_t)((n + EM_KV_PAGE_TOKENS - 1) / EM_KV_PAGE_TOKENS);
}

em_slot *em_scheduler_admit(em_scheduler *scheduler) {
  em_slot *slot = NULL;
  for (uint32_t i = 0; i < scheduler->n_slots && !slot; i++)
    if (!scheduler->slots[i].request)
      slot = &scheduler->slots[i];
  if (!slot)
    return NULL;
  pthread_mutex_lock(&scheduler->lock);
  uint32_t needed = scheduler->n_queued > 0 ? pages_needed(scheduler, scheduler->queue[0]) : UINT32_MAX;
  if (needed <= scheduler->n_pages - scheduler->reserved_pages) {
    slot->request = unqueue(scheduler, 0);
    slot->reserved_pages = needed;
    scheduler->reserved_pages += needed;
    scheduler->n_alive++;
  } else {
    slot = NULL;
  }
  pthread_mutex_unlock(&scheduler->lock);
  return slot;
}

bool em_scheduler_is_cancelled(em_scheduler *scheduler, const em_slot *slot) {
  pthread_mutex_lock(&scheduler->lock);
  bool cancelled = slot->request->cancelled;
  pthread_mutex_unlock(&scheduler->lock);
  return cancelled;
}

em_request *em_scheduler_leave(em_scheduler *scheduler, em_slot *slot) {
  pthread_mutex_lock(&scheduler->lock);
  em_request *request = slot->request;
  slot->request = NULL;
  scheduler->reserved_pages -= slot->reserved_pages;
  scheduler->n_alive--;
  pthread_mutex_unlock(&scheduler->lock);
  return request;
}

static bool is_prefilling(const em_slot *slot) {
  return slot->request && slot->n_tokens - slot->n_computed > 1;
}

void em_scheduler_pace(em_scheduler *scheduler, uint32_t n_rows, uint64_t ns) {
  if (n_rows < LEAST_PREFILL_ROWS || n_rows <= scheduler->few_rows || ns == 0)
    return;
  uint64_t fit = EM_STEP_NS * n_rows / ns;
  /* At most twice as many as have been seen to be quick. */
  uint64_t most = 2ull * n_rows > scheduler->paced_rows ? 2ull * n_rows : scheduler->paced_rows;
  fit = fit < most ? fit : most;
  fit = fit < scheduler->batch_rows ? fit : scheduler->batch_rows;
  scheduler->paced_rows = fit > LEAST_PREFILL_ROWS ? (uint32_t)fit : LEAST_PREFILL_ROWS;
}

/* The rows that a slot has in whole blocks of its prompt. */
static uint32_t block_rows(const em_scheduler *scheduler, const em_slot *slot) {
  if (!slot->request || scheduler->batch_rows < EM_PROMPT_BLOCK)
    return 0;
  uint32_t end = slot->stats.n_prompt - slot->stats.n_prompt % EM_PROMPT_BLOCK;
  return end > slot->n_computed ? end - slot->n_computed : 0;
}

static uint32_t share_blocks(em_scheduler *scheduler, uint32_t n_prefilling, bool others_wait) {
  uint32_t most = others_wait ? scheduler->batch_rows / 4 : scheduler->batch_rows, total = 0;
  most = most < scheduler->paced_rows ? most : scheduler->paced_rows;
  uint32_t left = most > EM_PROMPT_BLOCK ? most / EM_PROMPT_BLOCK : 1;
  for (uint32_t i = 0; i < scheduler->n_slots && n_prefilling > 0; i++) {
    em_slot *slot = &scheduler->slots[(scheduler->turn + i) % scheduler->n_slots];
    uint32_t needed = block_rows(scheduler, slot) / EM_PROMPT_BLOCK;
    if (needed == 0)
      continue;
    uint32_t share = (left + n_prefilling - 1) / n_prefilling, n = needed < share ? needed : share;
    slot->n_rows = n * EM_PROMPT_BLOCK;
    left -= n;
    total += slot->n_rows;
    n_prefilling--;
  }
  return total;
}

/* A row for each slot that decodes, as far as there are as many, and what is left to ends of prompts: one row at least.
 */
static uint32_t share_few(em_scheduler *scheduler, bool has_ends) {
  const uint32_t few = scheduler->few_rows < scheduler->batch_rows ? scheduler->few_rows : scheduler->batch_rows;
  uint32_t total = 0;
  for (int ends = 0; ends < 2; ends++)
    for (uint32_t i = 0; i < scheduler->n_slots; i++) {
      em_slot *slot = &scheduler->slots[(scheduler->turn + i) % scheduler->n_slots];
      uint32_t left = ends || !has_ends ? few - total : few - 1 - total;
      if (!slot->request || block_rows(scheduler, slot) > 0 || is_prefilling(slot) != (ends > 0))
        continue;
      uint32_t needed = slot->n_tokens - slot->n_computed;
      slot->n_rows = needed < left ? needed : left;
      total += slot->n_rows;
    }
  return total;
}

/* Where big steps round otherwise than small ones. */
static uint32_t share_apart(em_scheduler *scheduler) {
  uint32_t n_blocks = 0, n_others = 0;
  bool has_ends = false;
  for (uint32_t i = 0; i < scheduler->n_slots; i++) {
    em_slot *slot = &scheduler->slots[i];
    bool has_blocks = block_rows(scheduler, slot) > 0;
    slot->n_rows = 0;
    n_blocks += has_blocks;
    n_others += slot->request && !has_blocks;
    has_ends |= !has_blocks && is_prefilling(slot);
  }
  bool blocks = n_blocks > 0 && (n_others == 0 || scheduler->blocks_next);
  scheduler->blocks_next = !blocks;
  uint32_t total = blocks ? share_blocks(scheduler, n_blocks, n_others > 0) : share_few(scheduler, has_ends);
  scheduler->turn = (scheduler->turn + 1) % scheduler->n_slots;
  return total;
}

uint32_t em_scheduler_share(em_scheduler *scheduler) {
  if (scheduler->few_rows > 0)
    return share_apart(scheduler);
  uint32_t n_decoding = 0, n_prefilling = 0;
  for (uint32_t i = 0; i < scheduler->n_slots; i++) {
    em_slot *slot = &scheduler->slots[i];
    bool prefilling = is_prefilling(slot);
    slot->n_rows = slot->request && !prefilling;
    n_decoding += slot->n_rows;
    n_prefilling += prefilling;
  }
  uint32_t left = scheduler->batch_rows - n_decoding;
  left = left < scheduler->paced_rows ? left : scheduler->paced_rows;
  if (n_decoding > 0) {
    uint32_t share = scheduler->batch_rows / 4 > LEAST_PREFILL_ROWS ? scheduler->batch_rows / 4 : LEAST_PREFILL_ROWS;
    left = left < share ? left : share;
  }
  uint32_t total = n_decoding;
  for (uint32_t i = 0; i < scheduler->n_slots && n_prefilling > 0; i++) {
    em_slot *slot = &scheduler->slots[(scheduler->turn + i) % scheduler->n_slots];
    if (!is_prefilling(slot))
      continue;
    /* Rounded up, so that the first in turn gets a row even where there are fewer rows than slots. */
    uint32_t share = (left + n_prefilling - 1) / n_prefilling, needed = slot->n_tokens - slot->n_computed;
    slot->n_rows = needed < share ? needed : share;
    left -= slot->n_rows;
    total += slot->n_rows;
    n_prefilling--;
  }
  scheduler->turn = (scheduler->turn + 1) % scheduler->n_slots;
  return total;
}
