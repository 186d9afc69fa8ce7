/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "engine/internal.h"

/* A graphics device that fails again within this time is not trusted any more. */
#define STEADY_NS (10ull * 60 * 1000000000)

/* Plans anew for the processor what slots, steps and contexts there are; the pages of the cache may become fewer. */
static em_status plan_again(em_engine *engine, em_error *error) {
  em_status status = EM_OK;
  em_engine_params params = engine->params;
  em_plan plan;
  params.n_slots = engine->plan.n_slots;
  params.batch_rows = engine->plan.batch_rows;
  params.context_tokens = engine->plan.memory.context_tokens;
  params.says_gpu_layers = false;
  EM_TRY(em_plan_make(engine->model, &engine->devices, &params, &plan, error));
  if (plan.n_pages > engine->plan.n_pages)
    plan.n_pages = engine->plan.n_pages;
  if (plan.n_states > plan.n_slots + plan.n_pages)
    plan.n_states = plan.n_slots + plan.n_pages; /* a page has at most one that is kept */
  engine->plan = plan;
  em_engine_fill_device_facts(engine);
  engine->scheduler.n_pages = plan.n_pages;
fail:
  return status;
}

/* Nobody waits for a model that is loaded for requests which were all cancelled. */
static bool is_wanted(void *user, uint64_t done_bytes, uint64_t total_bytes) {
  (void)done_bytes;
  (void)total_bytes;
  return em_scheduler_wants_more(&((em_engine *)user)->scheduler);
}

/* When it fails, the plan and the facts stay those of the device that was: a later try opens that one again. */
static em_status change_device(em_engine *engine, em_device_kind kind, em_error *error) {
  em_status status = EM_OK;
  const em_plan plan = engine->plan;
  const em_engine_facts facts = engine->facts;
  em_backend_params device = engine->params.backend;
  device.kind = kind;
  em_engine_leave(engine);
  EM_TRY(em_devices_open(&device, &engine->devices, error));
  if (kind != engine->params.backend.kind)
    EM_TRY(plan_again(engine, error));
  else if (engine->plan.n_parts > 1)
    EM_TRY(em_devices_open_processor(&engine->devices, error));
  EM_TRY(em_engine_occupy(engine, is_wanted, engine, error));
  /* Answers go on without a draft that has no place any more. */
  if (engine->draft && (em_engine_plan_draft(engine, NULL) != EM_OK ||
                        em_draft_occupy(engine->draft, &engine->devices, NULL) != EM_OK)) {
    em_draft_free(engine->draft);
    engine->draft = NULL;
    engine->plan.memory.draft_bytes = 0;
  }
  em_engine_fill_device_facts(engine);
  engine->params.backend = device;
  return EM_OK;
fail:
  em_engine_leave(engine);
  engine->plan = plan;
  memcpy(engine->facts.device, facts.device, sizeof facts.device);
  engine->facts.n_gpu_layers = facts.n_gpu_layers;
  engine->facts.memory = facts.memory;
  engine->scheduler.n_pages = plan.n_pages;
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
    em_engine_finish(engine, longest, EM_FINISH_ERROR, &error);
  }
}

void em_engine_recover(em_engine *engine) {
  em_error graphics = {0}, processor = {0};
  bool again = engine->reopened_ns != 0 && em_now_ns() - engine->reopened_ns < STEADY_NS;
  for (uint32_t i = 0; i < engine->plan.n_slots; i++)
    engine->slots[i].pages.n = engine->slots[i].n_computed = 0;
  em_pages_restart(engine->pages, NULL, 0, engine->plan.n_pages, 0, 0);

  if (!again && change_device(engine, engine->params.backend.kind, &graphics) == EM_OK) {
    engine->reopened_ns = em_now_ns();
    em_log(EM_LOG_INFO, "%s failed and was opened again", engine->facts.device);
    return;
  }
  /* What was cancelled ends with the next step. */
  if (graphics.code == EM_ERR_CANCELLED)
    return;
  if (change_device(engine, EM_DEVICE_CPU, &processor) == EM_OK) {
    drop_what_does_not_fit(engine);
    if (engine->params.notice)
      engine->params.notice(engine->params.notice_user, engine->facts.device,
                            again ? "The graphics card failed twice within ten minutes, so the processor answers now."
                                  : "The graphics card failed and could not be started again, so the processor answers "
                                    "now.");
    return;
  }
  if (processor.code == EM_ERR_CANCELLED)
    return;
  em_error error = {0};
  (void)em_fail(&error, EM_ERR_DEVICE, "the graphics card failed, and the processor cannot take over: %s",
                processor.text);
  for (uint32_t i = 0; i < engine->plan.n_slots; i++)
    if (engine->slots[i].request)
      em_engine_finish(engine, &engine->slots[i], EM_FINISH_ERROR, &error);
}
