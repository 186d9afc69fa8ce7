/* The plan of an engine: every size, before anything is allocated. */
#pragma once

#include "engine/engine.h"
#include "model/model.h"

#define EM_ENGINE_MAX_SLOTS 64u
#define EM_ENGINE_MAX_BATCH 4096u
#define EM_DRAFT_MAX 8u /* guesses of a draft at once */

/* The opened devices of an engine. */
typedef struct em_devices {
  em_backend_params params;
  em_backend *chosen;    /* the one that was asked for */
  em_backend *processor; /* beside a graphics device, for the first of two parts; else NULL */
} em_devices;

em_status em_devices_open(const em_backend_params *params, em_devices *out, em_error *error) EM_MUST_USE;
/* Opens the processor beside the graphics device, unless it is open. */
em_status em_devices_open_processor(em_devices *devices, em_error *error) EM_MUST_USE;
void em_devices_close(em_devices *devices);

typedef struct em_plan {
  em_memory_plan memory;
  em_type kv_type;
  uint32_t n_slots, batch_rows;
  uint32_t max_outputs; /* rows of a step whose logits are wanted */
  uint32_t max_pages;   /* of a slot */
  uint32_t n_pages;     /* of all: enough for one slot at least, for every slot where memory allows */
  uint32_t n_states;    /* places for recurrent layers' states: the slots', and behind them those that are kept; 0: none */
  uint64_t kv_bytes_per_token;
  uint32_t n_parts; /* the first of two is on the processor */
  em_model_blocks blocks[EM_MAX_PARTS];
} em_plan;

uint32_t em_plan_pages_for(uint32_t tokens);

/* The device that the engine opens: the one that was asked for, or the processor where no layer shall live on it. */
em_backend_params em_plan_device(const em_engine_params *params);

/* The device of part i. */
em_backend *em_plan_backend(const em_plan *plan, const em_devices *devices, uint32_t i);

/* Decides the sizes that params leaves open and computes all of them. Errors: EM_ERR_TOO_BIG (with needed and free
 * memory in words), EM_ERR_ARGUMENT, EM_ERR_UNSUPPORTED, EM_ERR_NO_MEMORY. *out is filled with EM_ERR_TOO_BIG as well.
 */
em_status em_plan_make(const em_model *model, em_devices *devices, const em_engine_params *params, em_plan *out,
                       em_error *error) EM_MUST_USE;

/* The description of a program of this model; its stages and values are those of *emitted. */
em_program_desc em_plan_program(const em_plan *plan, const em_model_program *emitted, em_kv *kv);

/* The description of the blocks' KV cache. */
em_kv_desc em_plan_kv(const em_plan *plan, const em_model *model, em_model_blocks blocks);
