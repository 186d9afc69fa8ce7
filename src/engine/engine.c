/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The engine: opening, the step, and the end of requests. What a step needs is allocated when the engine opens. */
#include "engine/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/log.h"
#include "engine/kv.h"
#include "engine/plan.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "model/model.h"

/* A graphics device that fails again within this time is not trusted any more. */
#define STEADY_NS (10ull * 60 * 1000000000)

struct em_engine {
  em_engine_params params;
  em_model *model;
  /* What lives on the device; program NULL: it failed, and no other could take over. */
  em_backend *backend;
  em_model_weights *weights;
  em_kv *kv;
  em_program *program;
  em_pages *pages;
  em_sampler *sampler;
  em_plan plan;
  em_engine_facts facts;
  em_scheduler scheduler;
  bool has_scheduler;
  em_slot *slots;
  /* One step. */
  uint32_t *page_tables;           /* [n_slots][max_pages] */
  int32_t *tokens;                 /* [batch_rows] */
  uint32_t *positions, *row_slots; /* [batch_rows] */
  uint32_t *outputs;               /* [n_slots] */
  uint64_t *allowed;               /* a mask's bits */
  em_step_counters counters;
  uint64_t reopened_ns; /* when the device was last opened again; 0: never */
};

/* --- Opening ------------------------------------------------------------------------------------------------------ */

/* The buffers of the engine itself; plan.c counts them. */
static em_status allocate(em_engine *engine, em_error *error) {
  const em_plan *plan = &engine->plan;
  uint32_t n_slots = plan->n_slots, n_vocab = engine->facts.n_vocab;
  engine->slots = em_calloc(n_slots, sizeof *engine->slots);
  engine->page_tables = em_calloc((size_t)n_slots * plan->max_pages, sizeof *engine->page_tables);
  engine->tokens = em_calloc(plan->batch_rows, sizeof *engine->tokens);
  engine->positions = em_calloc(plan->batch_rows, sizeof *engine->positions);
  engine->row_slots = em_calloc(plan->batch_rows, sizeof *engine->row_slots);
  engine->outputs = em_calloc(n_slots, sizeof *engine->outputs);
  engine->allowed = em_calloc(((size_t)n_vocab + 63) / 64, sizeof *engine->allowed);
  bool ok = engine->slots && engine->page_tables && engine->tokens && engine->positions && engine->row_slots &&
            engine->outputs && engine->allowed;
  for (uint32_t i = 0; ok && i < n_slots; i++) {
    engine->slots[i].tokens = em_calloc((size_t)plan->memory.context_tokens + 1, sizeof(int32_t));
    engine->slots[i].pages.ids = engine->page_tables + (size_t)i * plan->max_pages;
    ok = engine->slots[i].tokens;
  }
  if (!ok)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  em_status status = em_sampler_new(n_vocab, &engine->sampler, error);
  return status == EM_OK ? em_pages_new(NULL, plan->n_pages, &engine->pages, error) : status;
}

static em_status make_program(em_engine *engine, em_error *error) {
  em_status status = EM_OK;
  em_model_program parts = {0};
  EM_TRY(em_model_build(engine->model, engine->weights, engine->plan.batch_rows, engine->plan.n_slots, &parts, error));
  em_program_desc desc = em_plan_program(&engine->plan, &parts, engine->kv);
  EM_TRY(em_program_new(engine->backend, &desc, &engine->program, error));
fail:
  em_model_program_clear(&parts);
  return status;
}

static void fill_facts(em_engine *engine) {
  const em_model_facts *model = em_model_get_facts(engine->model);
  em_engine_facts *facts = &engine->facts;
  snprintf(facts->architecture, sizeof facts->architecture, "%s", model->architecture);
  snprintf(facts->device, sizeof facts->device, "%s", em_backend_name(engine->backend));
  facts->n_vocab = model->n_vocab;
  facts->n_layers = model->n_layers;
  facts->context_tokens = engine->plan.memory.context_tokens;
  facts->train_context_tokens = model->train_context_tokens;
  facts->n_slots = engine->plan.n_slots;
  facts->n_parameters = model->n_parameters;
  facts->memory = engine->plan.memory;
  facts->weights_bytes_per_token = model->weights_bytes_per_token;
  facts->kv_bytes_per_token = engine->plan.kv_bytes_per_token;
}

/* Has the device begin what the program needs and no weights are read for, so that it is ready when they are there. */
static em_status prepare_program(em_engine *engine, em_error *error) {
  em_status status = EM_OK;
  em_model_program parts = {0};
  em_model_weights *weights = NULL;
  EM_TRY(em_model_describe(engine->model, em_model_all_blocks(engine->model), engine->backend, &weights, error));
  EM_TRY(em_model_build(engine->model, weights, engine->plan.batch_rows, engine->plan.n_slots, &parts, error));
  em_program_desc desc = em_plan_program(&engine->plan, &parts, engine->kv);
  EM_TRY(em_program_prepare(engine->backend, &desc, error));
fail:
  em_model_program_clear(&parts);
  em_model_weights_free(weights);
  return status;
}

/* Puts the model on the opened device, as planned. */
static em_status occupy_device(em_engine *engine, em_progress_fn progress, void *user, em_error *error) {
  em_status status = EM_OK;
  /* The cache before the weights: if memory runs out nevertheless, it does so before a long read. */
  em_kv_desc kv = em_plan_kv(&engine->plan, engine->model);
  EM_TRY(em_kv_new(engine->backend, &kv, &engine->kv, error));
  EM_TRY(prepare_program(engine, error));
  uint64_t start_ns = em_now_ns();
  EM_TRY(em_model_load(engine->model, em_model_all_blocks(engine->model), engine->backend, progress, user,
                       &engine->weights, error));
  engine->facts.weights_ns = em_now_ns() - start_ns;
  EM_TRY(make_program(engine, error));
  engine->facts.prepare = em_backend_prepare_times(engine->backend);
  em_pages_restart(engine->pages, engine->kv, engine->plan.n_pages);
fail:
  return status;
}

static void leave_device(em_engine *engine) {
  em_program_free(engine->program);
  em_kv_free(engine->kv);
  em_model_weights_free(engine->weights);
  em_backend_close(engine->backend);
  engine->program = NULL;
  engine->kv = NULL;
  engine->weights = NULL;
  engine->backend = NULL;
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
  EM_TRY(em_backend_open(&params->backend, &engine->backend, error));
  EM_TRY(em_plan_make(engine->model, engine->backend, params, &engine->plan, error));
  fill_facts(engine);
  EM_TRY(allocate(engine, error));
  em_scheduler_init(&engine->scheduler, engine->slots, &engine->plan);
  engine->has_scheduler = true;
  EM_TRY(occupy_device(engine, progress, user, error));
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
  free(engine->tokens);
  free(engine->positions);
  free(engine->row_slots);
  free(engine->outputs);
  free(engine->allowed);
  em_sampler_free(engine->sampler);
  em_pages_free(engine->pages);
  leave_device(engine);
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

static void finish(em_engine *engine, em_slot *slot, em_finish how, const em_error *error) {
  em_request_stats *stats = &slot->stats;
  stats->prefill_ns = (slot->first_token_ns ? slot->first_token_ns : em_now_ns()) - slot->start_ns;
  stats->decode_ns = slot->last_token_ns - slot->first_token_ns;
  em_pages_release(engine->pages, &slot->pages);
  tell_finish(em_scheduler_leave(&engine->scheduler, slot), how, stats, error);
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

  /* A page that cannot be copied is computed; a device that has failed says so when it runs. */
  uint32_t n_reused = 0;
  if (em_pages_start(engine->pages, slot->tokens, n - 1, &slot->pages, &n_reused, NULL) == EM_OK)
    slot->n_computed = slot->stats.n_reused = n_reused;
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
      finish(engine, slot, EM_FINISH_CANCELLED, NULL);
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
      finish(engine, slot, EM_FINISH_ERROR, &error);
    }
  }
}

static em_step compose(em_engine *engine) {
  em_step step = {
      .tokens = engine->tokens,
      .positions = engine->positions,
      .slots = engine->row_slots,
      .n_slots = engine->plan.n_slots,
      .page_tables = engine->page_tables,
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

/* Chooses and delivers the next token of a slot whose logits the step computed; ends the request where that is due. */
static void sample(em_engine *engine, em_slot *slot) {
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
        .logits = em_program_result(engine->program, slot->output),
        .sampling = &params->sampling,
        .history = slot->tokens,
        .n_history = slot->n_tokens,
        .allowed = params->mask ? engine->allowed : NULL,
    };
    if (em_sampler_pick(engine->sampler, &input, &token, &error) != EM_OK) {
      finish(engine, slot, EM_FINISH_ERROR, &error);
      return;
    }
  }
  if (token == EM_NO_TOKEN) {
    finish(engine, slot, EM_FINISH_STOP, NULL);
    return;
  }

  slot->tokens[slot->n_tokens++] = token;
  slot->stats.n_generated++;
  slot->last_token_ns = em_now_ns();
  if (slot->stats.n_generated == 1)
    slot->first_token_ns = slot->last_token_ns;
  if (!params->on_token(params->user, token))
    finish(engine, slot, EM_FINISH_STOP, NULL);
  else if (params->max_tokens > 0 && slot->stats.n_generated >= params->max_tokens)
    finish(engine, slot, EM_FINISH_LENGTH, NULL);
  else if (slot->n_tokens > engine->facts.context_tokens)
    finish(engine, slot, EM_FINISH_CONTEXT, NULL);
}

static void advance(em_engine *engine, em_slot *slot) {
  const em_request_params *params = &slot->request->params;
  uint32_t done = slot->n_computed + slot->n_rows;
  em_pages_commit(engine->pages, &slot->pages, slot->tokens, slot->n_computed, done);
  slot->n_computed = done;
  if (em_scheduler_is_cancelled(&engine->scheduler, slot)) {
    finish(engine, slot, EM_FINISH_CANCELLED, NULL);
    return;
  }
  if (params->on_prefill && slot->stats.n_generated == 0)
    params->on_prefill(params->user, done, slot->stats.n_prompt);
  if (slot->output != EM_NO_OUTPUT)
    sample(engine, slot);
}

/* A step that failed ends the requests that took part. */
static void fail_step(em_engine *engine, const em_error *error) {
  for (uint32_t i = 0; i < engine->plan.n_slots; i++)
    if (engine->slots[i].request && engine->slots[i].n_rows > 0)
      finish(engine, &engine->slots[i], EM_FINISH_ERROR, error);
}

/* --- A device that failed ----------------------------------------------------------------------------------------- */

/* Plans anew for the processor what slots, steps and contexts there are; the pages of the cache may become fewer. */
static em_status plan_again(em_engine *engine, em_error *error) {
  em_status status = EM_OK;
  em_engine_params params = engine->params;
  em_plan plan;
  params.n_slots = engine->plan.n_slots;
  params.batch_rows = engine->plan.batch_rows;
  params.context_tokens = engine->plan.memory.context_tokens;
  EM_TRY(em_plan_make(engine->model, engine->backend, &params, &plan, error));
  if (plan.n_pages > engine->plan.n_pages)
    plan.n_pages = engine->plan.n_pages;
  engine->plan = plan;
  fill_facts(engine);
  engine->scheduler.n_pages = plan.n_pages;
fail:
  return status;
}

static em_status change_device(em_engine *engine, em_device_kind kind, em_error *error) {
  em_status status = EM_OK;
  em_backend_params device = engine->params.backend;
  device.kind = kind;
  leave_device(engine);
  EM_TRY(em_backend_open(&device, &engine->backend, error));
  if (kind != engine->params.backend.kind)
    EM_TRY(plan_again(engine, error));
  EM_TRY(occupy_device(engine, NULL, NULL, error));
  engine->params.backend = device;
  return EM_OK;
fail:
  leave_device(engine);
  return status;
}

/* Ends what the new device's cache has no room for, the longest first. */
static void drop_what_does_not_fit(em_engine *engine) {
  em_error error = {0};
  (void)em_fail(&error, EM_ERR_NO_MEMORY, "the graphics card failed and the processor has too little memory for this");
  while (engine->scheduler.reserved_pages > engine->plan.n_pages) {
    em_slot *longest = NULL;
    for (uint32_t i = 0; i < engine->plan.n_slots; i++) {
      em_slot *slot = &engine->slots[i];
      if (slot->request && (!longest || slot->reserved_pages > longest->reserved_pages))
        longest = slot;
    }
    finish(engine, longest, EM_FINISH_ERROR, &error);
  }
}

/* Goes on after the device has failed: on the same one, opened again, or on the processor. Requests are computed again
 * from their tokens. When there is nothing to go on with they end, and the next one tries again. */
static void recover(em_engine *engine) {
  em_error graphics = {0}, processor = {0};
  bool again = engine->reopened_ns != 0 && em_now_ns() - engine->reopened_ns < STEADY_NS;
  for (uint32_t i = 0; i < engine->plan.n_slots; i++)
    engine->slots[i].pages.n = engine->slots[i].n_computed = 0;
  em_pages_restart(engine->pages, NULL, engine->plan.n_pages);

  if (!again && change_device(engine, engine->params.backend.kind, &graphics) == EM_OK) {
    engine->reopened_ns = em_now_ns();
    em_log(EM_LOG_INFO, "%s failed and was opened again", engine->facts.device);
    return;
  }
  if (change_device(engine, EM_DEVICE_CPU, &processor) == EM_OK) {
    drop_what_does_not_fit(engine);
    if (engine->params.notice)
      engine->params.notice(engine->params.notice_user, engine->facts.device,
                            again ? "The graphics card failed twice within ten minutes, so the processor answers now."
                                  : "The graphics card failed and could not be started again, so the processor answers "
                                    "now.");
    return;
  }
  em_error error = {0};
  (void)em_fail(&error, EM_ERR_DEVICE, "the graphics card failed, and the processor cannot take over: %s",
                processor.text);
  for (uint32_t i = 0; i < engine->plan.n_slots; i++)
    if (engine->slots[i].request)
      finish(engine, &engine->slots[i], EM_FINISH_ERROR, &error);
}

/* --- Steps -------------------------------------------------------------------------------------------------------- */

bool em_engine_step(em_engine *engine) {
  if (!em_scheduler_busy(&engine->scheduler))
    return false;
  admit(engine);
  if (!engine->program) {
    recover(engine);
    return true;
  }
  em_scheduler_share(&engine->scheduler);
  grow_pages(engine);
  em_step step = compose(engine);
  if (step.n_rows == 0)
    return true;
  em_error error = {0};
  uint64_t start_ns = em_now_ns();
  if (em_backend_run(engine->program, &step, &error) != EM_OK) {
    if (error.code == EM_ERR_DEVICE && engine->params.backend.kind == EM_DEVICE_VULKAN) {
      em_log(EM_LOG_INFO, "%s", error.text);
      recover(engine);
    } else {
      fail_step(engine, &error);
    }
    return true;
  }
  em_scheduler_pace(&engine->scheduler, step.n_rows, em_now_ns() - start_ns);
  engine->counters = em_program_counters(engine->program);
  for (uint32_t i = 0; i < engine->plan.n_slots; i++)
    if (engine->slots[i].n_rows > 0)
      advance(engine, &engine->slots[i]);
  return true;
}

/* --- For measurements --------------------------------------------------------------------------------------------- */

em_status em_engine_logits(em_engine *engine, const int32_t *tokens, uint32_t n, uint32_t batch, em_row_fn on_row,
                           void *user, em_error *error) {
  em_status status = EM_OK;
  em_model_program parts = {0};
  em_program *program = NULL;
  em_page_list *pages = &engine->slots[0].pages;
  uint32_t *rows = NULL;
  if (em_scheduler_busy(&engine->scheduler))
    return em_fail(error, EM_ERR_BUSY, "requests are running");
  if (!engine->program)
    return em_fail(error, EM_ERR_DEVICE, "the graphics card failed");
  if (batch < 1 || batch > engine->plan.batch_rows)
    return em_fail(error, EM_ERR_ARGUMENT, "a step has 1 to %u rows", engine->plan.batch_rows);
  EM_TRY(check_tokens(engine, tokens, n, error));

  rows = em_calloc(batch, sizeof *rows);
  if (!rows)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
  /* A program of its own, in which every row is an output. */
  EM_TRY(em_model_build(engine->model, engine->weights, batch, batch, &parts, error));
  em_program_desc desc = em_plan_program(&engine->plan, &parts, engine->kv);
  desc.max_rows = desc.max_outputs = batch;
  EM_TRY(em_program_new(engine->backend, &desc, &program, error));
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
        .outputs = rows,
    };
    step.n_outputs = step.n_rows;
    for (uint32_t i = 0; i < step.n_rows; i++) {
      engine->positions[i] = first + i;
      engine->row_slots[i] = 0;
      rows[i] = i;
    }
    EM_TRY(em_backend_run(program, &step, error));
    engine->counters = em_program_counters(program);
    for (uint32_t i = 0; i < step.n_rows; i++)
      EM_TRY(on_row(user, first + i, em_program_result(program, i), error));
  }
fail:
  em_pages_release(engine->pages, pages);
  em_program_free(program);
  em_model_program_clear(&parts);
  free(rows);
  return status;
}
