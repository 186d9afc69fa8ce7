/* A draft: a smaller model of the same vocabulary that guesses ahead of another one. A step of the other one over the
 * guesses tells which of them it would have chosen itself; what comes out is the same with and without a draft.
 *
 * It follows one sequence at a time and lives on one device, that of the other model's head. Not thread-safe: it
 * belongs to the stepping thread. After opening, nothing allocates. */
#pragma once

#include "engine/part.h"

typedef struct em_draft em_draft;

/* Errors: EM_ERR_UNSUPPORTED (another vocabulary, or layers whose state cannot be taken back, in either model), those
 * of em_model_open. Reads no tensor data; gguf must outlive the draft. context_tokens: of the other model's plan. */
em_status em_draft_new(const em_gguf *gguf, const em_gguf *other_gguf, const em_model *other, uint32_t context_tokens,
                       em_draft **out, em_error *error) EM_MUST_USE;
void em_draft_free(em_draft *draft); /* NULL is legal; after em_draft_leave */

/* Bytes it takes on the device. */
em_status em_draft_bytes(em_draft *draft, em_devices *devices, uint64_t *out, em_error *error) EM_MUST_USE;

/* Loads it on a device, and takes it away again; the device is closed after that. */
em_status em_draft_occupy(em_draft *draft, em_devices *devices, em_error *error) EM_MUST_USE;
void em_draft_leave(em_draft *draft);

/* Guesses at most n tokens (at most EM_DRAFT_MAX) that follow tokens[0..n_tokens), the likeliest each time. *n_out 0:
 * it has not read all of the tokens yet; a call reads as many as a step holds. Errors: those of em_backend_run. */
em_status em_draft_guess(em_draft *draft, const int32_t *tokens, uint32_t n_tokens, uint32_t n, int32_t *out,
                         uint32_t *n_out, em_error *error) EM_MUST_USE;
