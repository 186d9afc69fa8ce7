/* The exact sizes of a model on the devices of an engine, before anything is allocated: asked of the backends with
 * weights and caches that hold no data. Private to the plan. */
#pragma once

#include "engine/plan.h"

typedef struct em_sizer {
  const em_model *model;
  em_devices *devices;
  const em_engine_params *params;
  em_plan *plan;                           /* whose sizes are filled */
  em_model_weights *weights[EM_MAX_PARTS]; /* without data */
  em_model_program emitted[EM_MAX_PARTS];
  em_error too_long; /* why a device has no room for the context, however much memory it has; else its code is EM_OK */
} em_sizer;

/* Puts the model's first `cut` blocks on the processor and the others on the device that was asked for; cut 0: all of
 * them there. Opens the processor where it is needed. Sizes are those of the last em_sizer_compute until the next. */
em_status em_sizer_place(em_sizer *sizer, uint32_t cut, em_error *error) EM_MUST_USE;

/* Computes every size for a context and a number of pages, and stores them in the plan. */
em_status em_sizer_compute(em_sizer *sizer, uint32_t context_tokens, uint32_t n_pages, em_error *error) EM_MUST_USE;

/* Whether part i has room on its device, and whether all parts have. */
bool em_sizer_part_fits(const em_sizer *sizer, uint32_t i);
bool em_sizer_fits(const em_sizer *sizer);

void em_sizer_clear(em_sizer *sizer);
