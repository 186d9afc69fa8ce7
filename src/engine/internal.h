/* What the files of an engine share: engine.c opens it and steps, recovery.c goes on after a device has failed. */
#pragma once

#include "engine/draft.h"
#include "engine/part.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"

struct em_engine {
  em_engine_params params;
  em_model *model;
  /* What lives on the devices; an empty chain: they failed, and no other could take over. */
  em_devices devices;
  em_parts parts;
  em_chain chain;
  em_draft *draft;           /* NULL: none */
  uint32_t n_guesses;        /* that it makes next time; 0: it rests for n_rest tokens */
  uint32_t n_rest, n_misses; /* misses: guesses in a row of which none was right */
  em_pages *pages;
  em_sampler *sampler;
  em_plan plan;
  em_engine_facts facts;
  em_scheduler scheduler;
  bool has_scheduler;
  em_slot *slots;
  /* One step. */
  uint32_t *page_tables;           /* [n_slots][max_pages] */
  uint32_t *states;                /* [n_slots]: slot i has the i-th place of the recurrent layers' states */
  int32_t *tokens;                 /* [batch_rows] */
  uint32_t *positions, *row_slots; /* [batch_rows] */
  uint32_t *outputs;               /* [plan.max_outputs] */
  uint64_t *allowed;               /* a mask's bits */
  uint64_t row_ns;                 /* that a step of a single row takes; 0: not known */
  em_step_counters counters;
  uint64_t reopened_ns; /* when the device was last opened again; 0: never */
};

/* Fills those facts that change with the devices, from them and the plan. */
void em_engine_fill_device_facts(em_engine *engine);

/* Puts the model on the opened devices, as planned; and takes it away and closes them. */
em_status em_engine_occupy(em_engine *engine, em_progress_fn progress, void *user, em_error *error) EM_MUST_USE;
void em_engine_leave(em_engine *engine);

/* Plans what the draft takes, beside the planned model and where that one's head is. It gets what the model leaves: it
 * is refused where that is too little, for a model on less memory would be slower than one without a draft. */
em_status em_engine_plan_draft(em_engine *engine, em_error *error) EM_MUST_USE;

/* Ends a slot's request and tells it. */
void em_engine_finish(em_engine *engine, em_slot *slot, em_finish how, const em_error *error);

/* Goes on after a device has failed: on the same ones, opened again, or on the processor alone. Requests are computed
 * again from their tokens. When there is nothing to go on with they end, and the next one tries again. Loading stops
 * when all requests have been cancelled; the next one begins it anew. */
void em_engine_recover(em_engine *engine);
