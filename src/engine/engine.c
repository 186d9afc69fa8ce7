/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The engine: opening, the step, and the end of requests. What a step needs is allocated when the engine opens. */
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/internal.h"

/* What is submitted at once of a request that is alone: short enough to be stopped in. */
#define AHEAD_NS 50000000ull

/* --- Opening ------------------------------------------------------------------------------------------------------ */

/* The buffers of the engine itself; plan.c counts them. */
static em_status allocate(em_engine *engine, em_error *error) {
  const em_plan *plan = &engine->plan;
  uint32_t n_slots = plan->n_slots, n_vocab = engine->facts.n_vocab;
  engine->slots = em_calloc(n_slots, sizeof *engine->slots);
  engine->page_tables = em_calloc((size_t)n_slots * plan->max_pages, sizeof *engine->page_tables);
  engine->states = em_calloc(n_slots, sizeof *engine->states);
  engine->tokens = em_calloc(plan->batch_rows, sizeof *engine->tokens);
  engine->positions = em_calloc(plan->batch_rows, sizeof *engine->positions);
  engine->row_slots = em_calloc(plan->batch_rows, sizeof *engine->row_slots);
  engine->outputs = em_calloc(plan->max_outputs, sizeof *engine->outputs);
  engine->allowed = em_calloc(((size_t)n_vocab + 63) / 64, sizeof *engine->allowed);
  bool ok = engine->slots && engine->page_tables && engine->states && engine->tokens && engine->positions &&
            engine->row_slots && engine->outputs && engine->allowed;
  for (uint32_t i = 0; ok && i < n_slots; i++) {
    engine->slots[i].tokens = em_calloc((size_t)plan->memory.context_tokens + 1, sizeof(int32_t));
    engine->states[i] = i;
    engine->slots[i].pages.ids = engine->page_tables + (size_t)i * plan->max_pages;
    ok = engine->slots[i].tokens;
  }
  if (!ok)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  em_status status = em_sampler_new(n_vocab, &engine->sampler, error);
  return status == EM_OK ? em_pages_new(plan->n_pages, &engine->pages, error) : status;
}

/* What does not change while the engine is open; any thread may read it. */
static void fill_facts(em_engine *engine) {
  const em_model_facts *model = em_model_get_facts(engine->model);
  em_engine_facts *facts = &engine->facts;
  snprintf(facts->architecture, sizeof facts->architecture, "%s", model->architecture);
  facts->n_vocab = model->n_vocab;
  facts->n_layers = model->n_layers;
  facts->context_tokens = engine->plan.memory.context_tokens;
  facts->train_context_tokens = model->train_context_tokens;
  facts->n_slots = engine->plan.n_slots;
  facts->n_parameters = model->n_parameters;
  facts->weights_bytes_per_token = model->weights_bytes_per_token;
  facts->kv_bytes_per_token = engine->plan.kv_bytes_per_token;
}

void em_engine_fill_device_facts(em_engine *engine) {
  em_engine_facts *facts = &engine->facts;
  snprintf(facts->device, sizeof facts->device, "%s", em_backend_name(engine->devices.chosen));
  facts->n_gpu_layers = em_backend_kind(engine->devices.chosen) == EM_DEVICE_CPU
                            ? 0
                            : engine->plan.memory.parts[engine->plan.n_parts - 1].n_layers;
  facts->memory = engine->plan.memory;
}

em_status em_engine_occupy(em_engine *engine, em_progress_fn progress, void *user, em_error *error) {
  em_status status = EM_OK;
  const em_plan *plan = &engine->plan;
  em_kv *caches[EM_MAX_PARTS];
  EM_TRY(em_parts_load(engine->model, plan, &engine->devices, progress, user, &engine->parts, error));
  EM_TRY(em_chain_new(&engine->parts, engine->model, plan, plan->batch_rows, plan->max_outputs, &engine->chain, error));
  engine->facts.weights_ns = engine->parts.weights_ns;
  engine->facts.prepare = em_backend_prepare_times(engine->devices.chosen);
  uint32_t n = em_parts_caches(&engine->parts, caches);
  em_pages_restart(engine->pages, caches, n, plan->n_pages, plan->n_slots,
                   plan->n_states > 0 ? plan->n_states - plan->n_slots : 0);
  engine->scheduler.few_rows = em_backend_few_rows(engine->devices.chosen);
fail:
  return status;
}

void em_engine_leave(em_engine *engine) {
  if (engine->draft)
    em_draft_leave(engine->draft);
  em_chain_free(&engine->chain);
  em_parts_free(&engine->parts);
  em_devices_close(&engine->devices);
}

em_status em_engine_plan_draft(em_engine *engine, em_error *error) {
  em_status status = EM_OK;
  em_memory_plan *memory = &engine->plan.memory;
  const em_part_plan *part = &memory->parts[engine->plan.n_parts - 1];
  /* Two parts may share one memory. */
  const uint64_t all = memory->available_bytes - memory->total_bytes, here = part->available_bytes - part->total_bytes;
  const uint64_t left = here < all ? here : all;
  EM_TRY(em_draft_bytes(engine->draft, &engine->devices, &memory->draft_bytes, error));
  if (memory->draft_bytes > left)
    EM_TRY(em_fail(error, EM_ERR_TOO_BIG, "the draft needs %.1f MB beside the model, and %.1f MB are free",
                   (double)memory->draft_bytes / 1e6, (double)left / 1e6));
fail:
  return status;
}

static em_status add_draft(em_engine *engine, const em_gguf *gguf, em_error *error) {
  em_status status = EM_OK;
  EM_TRY(em_draft_new(engine->params.draft, gguf, engine->model, engine->plan.memory.context_tokens, &engine->draft,
                      error));
  EM_TRY(em_engine_plan_draft(engine, error));
  engine->n_guesses = EM_DRAFT_MAX / 2;
fail:
  return status;
}

em_status em_engine_open(const em_gguf *gguf, const em_engine_params *params, em_progress_fn progress, void *user,
                         em_engine **out, em_error *error) {
  em_status status = EM_OK;
  uint64_t start_ns = em_now_ns();
  em_engine *engine = em_calloc(1, sizeof *engine);
  if (!engine)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  engine->params = *params;
  EM_TRY(em_model_open(gguf, &engine->model, error));
  engine->params.backend = em_plan_device(params);
  EM_TRY(em_devices_open(&engine->params.backend, &engine->devices, error));
  EM_TRY(em_plan_make(engine->model, &engine->devices, params, &engine->plan, error));
  if (params->draft)
    EM_TRY(add_draft(engine, gguf, error));
  fill_facts(engine);
  em_engine_fill_device_facts(engine);
  EM_TRY(allocate(engine, error));
  em_scheduler_init(&engine->scheduler, engine->slots, &engine->plan);
  engine->has_scheduler = true;
  EM_TRY(em_engine_occupy(engine, progress, user, error));
  if (engine->draft)
    EM_TRY(em_draft_occupy(engine->draft, &engine->devices, error));
  engine->facts.load_ns = em_now_ns() - start_ns;
  *out = engine;
  return EM_OK;
fail:
  em_engine_close(engine);
  return status;
}

void em_engine_close(em_engine *engine) {
  if (!engine)
    return;
  if (engine->has_scheduler)
    em_scheduler_clear(&engine->scheduler);
  for (uint32_t i = 0; engine->slots && i < engine->plan.n_slots; i++)
    free(engine->slots[i].tokens);
  free(engine->slots);
  free(engine->page_tables);
  free(engine->states);
  free(engine->tokens);
  free(engine->positions);
  free(engine->row_slots);
  free(engine->outputs);
  free(engine->allowed);
  em_sampler_free(engine->sampler);
  em_pages_free(engine->pages);
  em_engine_leave(engine);
  em_draft_free(engine->draft);
  em_model_close(engine->model);
  free(engine);
}

const em_engine_facts *em_engine_get_facts(const em_engine *engine) {
  return &engine->facts;
}

em_step_counters em_engine_counters(const em_engine *engine) {
  return engine->counters;
}

/* --- Submitting --------------------------------------------------------------------------------------------------- */

static em_status check_tokens(const em_engine *engine, const int32_t *tokens, uint32_t n, em_error *error) {
  if (n == 0 || !tokens)
    return em_fail(error, EM_ERR_ARGUMENT, "a request needs at least one token");
  if (n > engine->facts.context_tokens)
    return em_fail(error, EM_ERR_CONTEXT, "the text has %u tokens and the context holds %u", n,
                   engine->facts.context_tokens);
  for (uint32_t i = 0; i < n; i++)
    if (tokens[i] < 0 || (uint32_t)tokens[i] >= engine->facts.n_vocab)
      return em_fail(error, EM_ERR_ARGUMENT, "token %d is outside the vocabulary of %u", tokens[i],
                     engine->facts.n_vocab);
  return EM_OK;
}

em_status em_engine_submit(em_engine *engine, const em_request_params *params, em_request_id *out, em_error *error) {
  em_status status = EM_OK;
  em_request *request = NULL;
  if (!params->on_token || !params->on_finish)
    return em_fail(error, EM_ERR_ARGUMENT, "a request needs both of its callbacks");
  EM_TRY(check_tokens(engine, params->tokens, params->n_tokens, error));
  EM_TRY(em_sampling_check(&params->sampling, engine->facts.n_vocab, error));

  request = em_calloc(1, sizeof *request);
  if (!request)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
  request->params = *params;
  request->submit_ns = em_now_ns();
  int32_t *tokens = em_calloc(params->n_tokens, sizeof *tokens);
  em_logit_bias *biases = params->sampling.n_biases > 0 ? em_calloc(params->sampling.n_biases, sizeof *biases) : NULL;
  request->params.tokens = tokens;
  request->params.sampling.biases = biases;
  if (!tokens || (params->sampling.n_biases > 0 && !biases))
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
  memcpy(tokens, params->tokens, params->n_tokens * sizeof *tokens);
  if (biases)
    memcpy(biases, params->sampling.biases, params->sampling.n_biases * sizeof *biases);
  EM_TRY(em_scheduler_submit(&engine->scheduler, request, out, error));
  return EM_OK;
fail:
  em_request_free(request);
  return status;
}

void em_engine_cancel(em_engine *engine, em_request_id id) {
  em_scheduler_cancel(&engine->scheduler, id);
}

void em_engine_wait(em_engine *engine) {
  em_scheduler_wait(&engine->scheduler);
}

void em_engine_wake(em_engine *engine) {
  em_scheduler_wake(&engine->scheduler);
}

/* --- The step ----------------------------------------------------------------------------------------------------- */

static void tell_finish(em_request *request, em_finish finish, const em_request_stats *stats, const em_error *error) {
  static const em_error none;
  request->params.on_finish(request->params.user, finish, stats, error ? error : &none);
  em_request_free(request);
}

void em_engine_finish(em_engine *engine, em_slot *slot, em_finish how, const em_error *error) {
  em_request_stats *stats = &slot->stats;
  stats->prefill_ns = (slot->first_token_ns ? slot->first_token_ns : em_now_ns()) - slot->start_ns;
  stats->decode_ns = slot->last_token_ns - slot->first_token_ns;
  em_pages_release(engine->pages, &slot->pages);
  tell_finish(em_scheduler_leave(&engine->scheduler, slot), how, stats, error);
}

static bool has_states(const em_engine *engine) {
  return em_model_get_facts(engine->model)->n_state_layers > 0;
}

/* Puts an admitted request into its slot: what of its prompt is in the cache need not be computed. The last token is
 * computed in any case, for its logits are where the answer starts. */
static void start(em_engine *engine, em_slot *slot) {
  const em_request *request = slot->request;
  uint32_t n = request->params.n_tokens;
  memcpy(slot->tokens, request->params.tokens, n * sizeof *slot->tokens);
  slot->n_tokens = n;
  slot->n_computed = 0;
  slot->start_ns = em_now_ns();
  slot->first_token_ns = slot->last_token_ns = 0;
  slot->stats = (em_request_stats){.n_prompt = n, .wait_ns = slot->start_ns - request->submit_ns};

  /* A page or state that cannot be copied is computed; a device that has failed says so when it runs. */
  uint32_t n_reused = 0, place = engine->states[slot - engine->slots];
  em_status status = has_states(engine)
                         ? em_pages_resume(engine->pages, slot->tokens, n - 1, place, &slot->pages, &n_reused, NULL)
                         : em_pages_start(engine->pages, slot->tokens, n - 1, &slot->pages, &n_reused, NULL);
  if (status == EM_OK) {
    if (engine->scheduler.few_rows > 0)
      n_reused -= n_reused % EM_PROMPT_BLOCK;
    slot->n_computed = slot->stats.n_reused = n_reused;
  }
}

/* Whether a slot's states are kept behind so many tokens: at the ends of all pages of its answer and of the last two of
 * its prompt, which its next turn begins with, and ever more rarely before them, for prompts that begin alike. */
static bool keeps_states(const em_engine *engine, const em_slot *slot, uint32_t n_tokens) {
  uint32_t n_pages = n_tokens / EM_KV_PAGE_TOKENS;
  return has_states(engine) && n_tokens % EM_KV_PAGE_TOKENS == 0 &&
         (n_tokens + 2 * EM_KV_PAGE_TOKENS > slot->stats.n_prompt || (n_pages & (n_pages - 1)) == 0);
}

/* A step goes no further than to where a slot's states are kept. */
static void stop_at_states(em_engine *engine) {
  for (uint32_t i = 0; has_states(engine) && i < engine->plan.n_slots; i++) {
    em_slot *slot = &engine->slots[i];
    uint32_t at = slot->n_computed - slot->n_computed % EM_KV_PAGE_TOKENS + EM_KV_PAGE_TOKENS;
    for (; at < slot->n_computed + slot->n_rows; at += EM_KV_PAGE_TOKENS)
      if (keeps_states(engine, slot, at))
        slot->n_rows = at - slot->n_computed;
  }
}

static void admit(em_engine *engine) {
  em_request *request;
  while ((request = em_scheduler_next_cancelled(&engine->scheduler))) {
    em_request_stats stats = {.n_prompt = request->params.n_tokens, .wait_ns = em_now_ns() - request->submit_ns};
    tell_finish(request, EM_FINISH_CANCELLED, &stats, NULL);
  }
  for (uint32_t i = 0; i < engine->plan.n_slots; i++) {
    em_slot *slot = &engine->slots[i];
    if (slot->request && em_scheduler_is_cancelled(&engine->scheduler, slot))
      em_engine_finish(engine, slot, EM_FINISH_CANCELLED, NULL);
  }
  em_slot *slot;
  while ((slot = em_scheduler_admit(&engine->scheduler)))
    start(engine, slot);
}

/* Gives every slot that has rows in this step the pages for them; a slot that gets none ends. */
static void grow_pages(em_engine *engine) {
  for (uint32_t i = 0; i < engine->plan.n_slots; i++) {
    em_slot *slot = &engine->slots[i];
    em_error error = {0};
    if (slot->n_rows > 0 &&
        em_pages_grow(engine->pages, &slot->pages, slot->n_computed + slot->n_rows, &error) != EM_OK) {
      slot->n_rows = 0;
      em_engine_finish(engine, slot, EM_FINISH_ERROR, &error);
    }
  }
}

static const uint32_t *step_states(const em_engine *engine) {
  return has_states(engine) ? engine->states : NULL;
}

static em_step compose(em_engine *engine) {
  em_step step = {
      .tokens = engine->tokens,
      .positions = engine->positions,
      .slots = engine->row_slots,
      .n_slots = engine->plan.n_slots,
      .page_tables = engine->page_tables,
      .states = step_states(engine),
      .outputs = engine->outputs,
  };
  for (uint32_t i = 0; i < engine->plan.n_slots; i++) {
    em_slot *slot = &engine->slots[i];
    slot->output = EM_NO_OUTPUT;
    for (uint32_t j = 0; j < slot->n_rows; j++) {
      uint32_t position = slot->n_computed + j;
      engine->tokens[step.n_rows] = slot->tokens[position];
      engine->positions[step.n_rows] = position;
      engine->row_slots[step.n_rows] = i;
      step.n_rows++;
    }
    if (slot->n_rows > 0 && slot->n_computed + slot->n_rows == slot->n_tokens) {
      slot->output = step.n_outputs;
      engine->outputs[step.n_outputs++] = step.n_rows - 1;
    }
  }
  return step;
}

/* How many of the best tokens of each output are enough for all requests; 0: their logits are needed. */
static uint32_t top_wanted(const em_engine *engine) {
  uint32_t most = em_chain_max_top(&engine->chain), wanted = 0;
  for (uint32_t i = 0; i < engine->plan.n_slots; i++) {
    const em_slot *slot = &engine->slots[i];
    if (slot->n_rows == 0 || slot->output == EM_NO_OUTPUT)
      continue;
    uint32_t n = slot->request->params.mask ? 0 : em_sampler_top(&slot->request->params.sampling);
    if (n == 0 || n > most)
      return 0;
    wanted = n > wanted ? n : wanted;
  }
  return wanted;
}

/* How many steps the device may run before the host sees their tokens: more than one only for a request that is alone
 * and takes the best token each time, and only as many as take AHEAD_NS and as it may still come to. Others and a
 * person's Stop are kept waiting no longer than that. */
static uint32_t steps_ahead(em_engine *engine, const em_step *step) {
  if (step->n_rows != 1 || step->n_outputs != 1 || step->n_top != 1 || engine->row_ns == 0 ||
      !em_scheduler_is_lone(&engine->scheduler))
    return 1;
  em_slot *slot = &engine->slots[step->slots[0]];
  uint64_t n = em_chain_max_ahead(&engine->chain), left = engine->facts.context_tokens - slot->n_computed;
  uint32_t max_tokens = slot->request->params.max_tokens;
  if (max_tokens > 0 && max_tokens - slot->stats.n_generated < left)
    left = max_tokens - slot->stats.n_generated;
  n = n < left ? n : left;
  if (has_states(engine) && n > EM_KV_PAGE_TOKENS - slot->n_computed % EM_KV_PAGE_TOKENS)
    n = EM_KV_PAGE_TOKENS - slot->n_computed % EM_KV_PAGE_TOKENS;
  n = n < AHEAD_NS / engine->row_ns ? n : AHEAD_NS / engine->row_ns;
  if (n <= 1 || em_pages_grow(engine->pages, &slot->pages, slot->n_computed + (uint32_t)n, NULL) != EM_OK)
    return 1;
  return (uint32_t)n;
}

#define MAX_MISSES 4u
#define REST_TOKENS 16u

/* Has the draft guess how the answer of a request that is alone goes on, and adds the guesses to the step, each with an
 * output: returns how many. */
static uint32_t guess(em_engine *engine, em_step *step) {
  if (!engine->draft || step->n_rows != 1 || step->n_outputs != 1 || !em_scheduler_is_lone(&engine->scheduler))
    return 0;
  em_slot *slot = &engine->slots[step->slots[0]];
  uint32_t few = engine->scheduler.few_rows, most = engine->plan.max_outputs - 1, n = engine->n_guesses;
  uint32_t left = engine->facts.context_tokens - slot->n_tokens, max_tokens = slot->request->params.max_tokens;
  if (engine->n_rest > 0) {
    engine->n_rest--;
    return 0;
  }
  if (few > 0 && few - 1 < most)
    most = few - 1;
  if (max_tokens > 0 && max_tokens - slot->stats.n_generated - 1 < left)
    left = max_tokens - slot->stats.n_generated - 1;
  n = n < most ? n : most;
  n = n < left ? n : left;
  int32_t *guesses = slot->tokens + slot->n_tokens;
  /* Without a guess, or without room for it, the step is what it would be without a draft. */
  if (n == 0 || em_draft_guess(engine->draft, slot->tokens, slot->n_tokens, n, guesses, &n, NULL) != EM_OK || n == 0 ||
      em_pages_grow(engine->pages, &slot->pages, slot->n_tokens + n, NULL) != EM_OK)
    return 0;
  for (uint32_t i = 1; i <= n; i++) {
    engine->tokens[i] = guesses[i - 1];
    engine->positions[i] = engine->positions[0] + i;
    engine->row_slots[i] = engine->row_slots[0];
    engine->outputs[i] = i;
  }
  step->n_rows = step->n_outputs = 1 + n;
  slot->stats.n_guessed += n;
  return n;
}

/* Makes as many guesses as were right last time and one more; rests after misses, which cost time. */
static void learn_from_guesses(em_engine *engine, uint32_t n, uint32_t n_right) {
  engine->n_misses = n_right > 0 ? 0 : engine->n_misses + 1;
  engine->n_guesses = n_right < n ? n_right + 1 : n + 2;
  if (engine->n_guesses > EM_DRAFT_MAX)
    engine->n_guesses = EM_DRAFT_MAX;
  if (engine->n_misses >= MAX_MISSES) {
    engine->n_misses = 0;
    engine->n_rest = REST_TOKENS;
  }
}

/* Chooses and delivers the next token of a slot whose logits the step computed, or the n_top highest of them; ends the
 * request where that is due. */
static void sample(em_engine *engine, em_slot *slot, uint32_t n_top) {
  const em_request_params *params = &slot->request->params;
  em_error error = {0};
  int32_t token = EM_NO_TOKEN;
  bool may_go_on = true;
  if (params->mask) {
    memset(engine->allowed, 0, ((size_t)engine->facts.n_vocab + 63) / 64 * sizeof *engine->allowed);
    may_go_on = params->mask(params->user, engine->allowed);
  }
  if (may_go_on) {
    em_sampler_input input = {
        .logits = n_top > 0 ? NULL : em_chain_logits(&engine->chain, slot->output),
        .top = n_top > 0 ? em_chain_top(&engine->chain, slot->output) : NULL,
        .n_top = n_top,
        .sampling = &params->sampling,
        .history = slot->tokens,
        .n_history = slot->n_tokens,
        .allowed = params->mask ? engine->allowed : NULL,
    };
    if (em_sampler_pick(engine->sampler, &input, &token, &error) != EM_OK) {
      em_engine_finish(engine, slot, EM_FINISH_ERROR, &error);
      return;
    }
  }
  if (token == EM_NO_TOKEN) {
    em_engine_finish(engine, slot, EM_FINISH_STOP, NULL);
    return;
  }

  slot->tokens[slot->n_tokens++] = token;
  slot->stats.n_generated++;
  slot->last_token_ns = em_now_ns();
  if (slot->stats.n_generated == 1)
    slot->first_token_ns = slot->last_token_ns;
  if (!params->on_token(params->user, token))
    em_engine_finish(engine, slot, EM_FINISH_STOP, NULL);
  else if (params->max_tokens > 0 && slot->stats.n_generated >= params->max_tokens)
    em_engine_finish(engine, slot, EM_FINISH_LENGTH, NULL);
  else if (slot->n_tokens > engine->facts.context_tokens)
    em_engine_finish(engine, slot, EM_FINISH_CONTEXT, NULL);
}

static void advance(em_engine *engine, em_slot *slot, uint32_t n_top) {
  const em_request_params *params = &slot->request->params;
  uint32_t done = slot->n_computed + slot->n_rows;
  em_pages_commit(engine->pages, &slot->pages, slot->tokens, slot->n_computed, done);
  slot->n_computed = done;
  /* States that cannot be kept are not found later; nothing else depends on them. */
  if (keeps_states(engine, slot, done))
    (void)!em_pages_keep(engine->pages, &slot->pages, done, engine->states[slot - engine->slots], NULL);
  if (em_scheduler_is_cancelled(&engine->scheduler, slot)) {
    em_engine_finish(engine, slot, EM_FINISH_CANCELLED, NULL);
    return;
  }
  if (params->on_prefill && slot->stats.n_generated == 0)
    params->on_prefill(params->user, done, slot->stats.n_prompt);
  if (slot->output != EM_NO_OUTPUT)
    sample(engine, slot, n_top);
}

/* A step that failed ends the requests that took part. */
static void fail_step(em_engine *engine, const em_error *error) {
  for (uint32_t i = 0; i < engine->plan.n_slots; i++)
    if (engine->slots[i].request && engine->slots[i].n_rows > 0)
      em_engine_finish(engine, &engine->slots[i], EM_FINISH_ERROR, error);
}

/* --- Steps -------------------------------------------------------------------------------------------------------- */

bool em_engine_step(em_engine *engine) {
  if (!em_scheduler_busy(&engine->scheduler))
    return false;
  admit(engine);
  if (engine->chain.n == 0) {
    if (em_scheduler_wants_more(&engine->scheduler))
      em_engine_recover(engine);
    return true;
  }
  em_scheduler_share(&engine->scheduler);
  stop_at_states(engine);
  grow_pages(engine);
  em_step step = compose(engine);
  if (step.n_rows == 0)
    return true;
  uint32_t n_guessed = guess(engine, &step), n_right = 0;
  step.n_top = step.n_outputs > 0 ? top_wanted(engine) : 0;
  step.n_ahead = steps_ahead(engine, &step);
  em_error error = {0};
  uint64_t start_ns = em_now_ns();
  if (em_chain_run(&engine->chain, &step, &error) != EM_OK) {
    if (error.code == EM_ERR_DEVICE && engine->params.backend.kind == EM_DEVICE_VULKAN) {
      em_log(EM_LOG_INFO, "%s", error.text);
      em_engine_recover(engine);
    } else {
      fail_step(engine, &error);
    }
    return true;
  }
  uint64_t ns = em_now_ns() - start_ns;
  em_scheduler_pace(&engine->scheduler, step.n_rows, ns);
  if (step.n_rows == 1)
    engine->row_ns = ns / step.n_ahead + 1;
  engine->counters = em_chain_counters(&engine->chain);
  for (uint32_t i = 0; i < engine->plan.n_slots; i++)
    if (engine->slots[i].n_rows > 0)
      advance(engine, &engine->slots[i], step.n_top);
  /* What was computed after the end of an answer, or after a wrong guess, is forgotten: nobody has noted it. */
  em_slot *lone = &engine->slots[step.slots[0]];
  while (n_right < n_guessed && lone->request && lone->tokens[lone->n_tokens - 1] == engine->tokens[n_right + 1]) {
    lone->output = ++n_right;
    lone->stats.n_taken++;
    advance(engine, lone, step.n_top);
  }
  if (n_guessed > 0)
    learn_from_guesses(engine, n_guessed, n_right);
  for (uint32_t k = 1; k < step.n_ahead && lone->request; k++) {
    lone->output = k;
    advance(engine, lone, step.n_top);
  }
  return true;
}

/* --- For measurements --------------------------------------------------------------------------------------------- */

em_status em_engine_logits(em_engine *engine, const int32_t *tokens, uint32_t n, uint32_t batch, em_row_fn on_row,
                           void *user, em_error *error) {
  em_status status = EM_OK;
  em_chain chain = {0};
  em_page_list *pages = &engine->slots[0].pages;
  uint32_t *rows = NULL;
  if (em_scheduler_busy(&engine->scheduler))
    return em_fail(error, EM_ERR_BUSY, "requests are running");
  if (engine->chain.n == 0)
    return em_fail(error, EM_ERR_DEVICE, "the graphics card failed");
  if (batch < 1 || batch > engine->plan.batch_rows)
    return em_fail(error, EM_ERR_ARGUMENT, "a step has 1 to %u rows", engine->plan.batch_rows);
  EM_TRY(check_tokens(engine, tokens, n, error));

  rows = em_calloc(batch, sizeof *rows);
  if (!rows)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
  /* Programs of its own, in which every row is an output. */
  EM_TRY(em_chain_new(&engine->parts, engine->model, &engine->plan, batch, batch, &chain, error));
  em_pages_forget(engine->pages);
  EM_TRY(em_pages_grow(engine->pages, pages, n, error));
  for (uint32_t first = 0; first < n; first += batch) {
    em_step step = {
        .n_rows = n - first < batch ? n - first : batch,
        .tokens = tokens + first,
        .positions = engine->positions,
        .slots = engine->row_slots,
        .n_slots = 1,
        .page_tables = engine->page_tables,
        .states = step_states(engine),
        .outputs = rows,
    };
    step.n_outputs = step.n_rows;
    for (uint32_t i = 0; i < step.n_rows; i++) {
      engine->positions[i] = first + i;
      engine->row_slots[i] = 0;
      rows[i] = i;
    }
    EM_TRY(em_chain_run(&chain, &step, error));
    engine->counters = em_chain_counters(&chain);
    for (uint32_t i = 0; i < step.n_rows; i++)
      EM_TRY(on_row(user, first + i, em_chain_logits(&chain, i), error));
  }
fail:
  em_pages_release(engine->pages, pages);
  em_chain_free(&chain);
  free(rows);
  return status;
}
