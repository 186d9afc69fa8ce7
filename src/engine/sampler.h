/* Choosing the next token from its logits. The order of the filters is that of em_sampling.
 *
 * All of it is deterministic: the draw depends on the seed and the position alone, and sums run in one order.
 * Tokens whose probability is below e^-46 (1e-20) of the best one's are never drawn.
 *
 * Not thread-safe: one sampler belongs to one thread. After em_sampler_new nothing allocates. */
#pragma once

#include "engine/engine.h"

typedef struct em_sampler em_sampler;

uint64_t em_sampler_bytes(uint32_t n_vocab); /* that em_sampler_new allocates */
em_status em_sampler_new(uint32_t n_vocab, em_sampler **out, em_error *error) EM_MUST_USE;
void em_sampler_free(em_sampler *sampler); /* NULL is legal */

/* Checks the ranges em_sampling names. EM_ERR_ARGUMENT says which setting is wrong. */
em_status em_sampling_check(const em_sampling *sampling, uint32_t n_vocab, em_error *error) EM_MUST_USE;

/* How many of the tokens with the highest logits are enough to pick from; 0: all are needed. A mask always needs all.
 */
uint32_t em_sampler_top(const em_sampling *sampling);

typedef struct em_sampler_input {
  const float *logits;         /* [n_vocab]; not changed */
  const em_sampling *sampling; /* checked */
  const int32_t *history;      /* every token before this one */
  uint32_t n_history;
  const uint64_t *allowed; /* the mask's bits, or NULL */
  /* Or, in place of the logits, the n_top highest of them: the highest first, the lowest id among equals; at least
   * em_sampler_top(sampling) > 0, and without a mask. */
  const em_top *top;
  uint32_t n_top;
} em_sampler_input;

#define EM_NO_TOKEN (-1)

/* Stores the chosen token, the same one from the highest logits as from all of them, or EM_NO_TOKEN when bias and mask
 * leave none. EM_ERR_INTERNAL when the logits hold no usable number. The draw's position is n_history. */
em_status em_sampler_pick(em_sampler *sampler, const em_sampler_input *input, int32_t *out,
                          em_error *error) EM_MUST_USE;

/* The tokens that the last em_sampler_pick drew from, rising, and their probabilities before normalisation (the best
 * one's is 1). Not filled by a greedy pick. */
size_t em_sampler_candidates(const em_sampler *sampler, const int32_t **ids, const float **weights);
