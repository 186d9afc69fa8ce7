/* The parts of a model on devices: an engine has one, or two that run one after the other in every step. Each has the
 * weights, the KV cache and the program of a run of the model's blocks. The first of two lives on the processor and the
 * second on a graphics device, which so has the head and what is done with the logits; the rows of the residual stream
 * go from one to the next as float32. Page i of the one cache and page i of the other hold the same positions. */
#pragma once

#include "engine/plan.h"

typedef struct em_part {
  em_backend *backend; /* borrowed */
  em_model_weights *weights;
  em_kv *kv; /* NULL where the part has no layers */
} em_part;

typedef struct em_parts {
  em_part items[EM_MAX_PARTS];
  uint32_t n;
  uint64_t weights_ns; /* that reading and storing the weights took */
} em_parts;

/* Loads a model as planned. Errors: those of em_kv_new and em_model_load; *out is empty then. progress counts the bytes
 * of all parts. */
em_status em_parts_load(const em_model *model, const em_plan *plan, const em_devices *devices,
                        em_model_progress_fn progress, void *user, em_parts *out, em_error *error) EM_MUST_USE;
void em_parts_free(em_parts *parts); /* empties it; before its devices are closed */

/* The caches of the parts, for em_pages_restart. Returns how many. */
uint32_t em_parts_caches(const em_parts *parts, em_kv *out[EM_MAX_PARTS]);

/* Programs that compute a step together, one for each part. n 0: none. */
typedef struct em_chain {
  em_program *programs[EM_MAX_PARTS];
  uint32_t n;
} em_chain;

em_status em_chain_new(const em_parts *parts, const em_model *model, const em_plan *plan, uint32_t max_rows,
                       uint32_t max_outputs, em_chain *out, em_error *error) EM_MUST_USE;
void em_chain_free(em_chain *chain); /* empties it */

/* Runs the step; its input is set on the way. Errors: those of em_backend_run. */
em_status em_chain_run(const em_chain *chain, em_step *step, em_error *error) EM_MUST_USE;

/* The last step's logits of an output: float32 [n_vocab], valid until the next run. */
const float *em_chain_logits(const em_chain *chain, uint32_t output);

/* Picking tokens and going ahead, as em_program_max_top, em_program_max_ahead and em_program_top say. */
uint32_t em_chain_max_top(const em_chain *chain);
uint32_t em_chain_max_ahead(const em_chain *chain);
const em_top *em_chain_top(const em_chain *chain, uint32_t output);

/* Of the last step, of all programs together. */
em_step_counters em_chain_counters(const em_chain *chain);
