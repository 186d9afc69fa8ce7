/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "engine/draft.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

#define BATCH_ROWS 256u

struct em_draft {
  em_model *model;
  em_plan plan;
  em_parts parts; /* n 0: it is on no device */
  em_chain chain;
  int32_t *computed; /* [context_tokens]: the sequence whose keys and values are in the cache */
  uint32_t n_computed;
  uint32_t *pages; /* [max_pages]: page i is the i-th */
  uint32_t positions[BATCH_ROWS], slots[BATCH_ROWS];
};

/* Token i must mean the same words in both. */
static em_status check_vocabulary(const em_gguf *one, const em_gguf *other, em_error *error) {
  const em_text *a = NULL, *b = NULL;
  size_t n_a = 0, n_b = 0;
  bool same = em_gguf_get_texts(one, "tokenizer.ggml.tokens", &a, &n_a) ==
                  em_gguf_get_texts(other, "tokenizer.ggml.tokens", &b, &n_b) &&
              n_a == n_b;
  for (size_t i = 0; same && i < n_a; i++)
    same = a[i].bytes == b[i].bytes && memcmp(a[i].text, b[i].text, a[i].bytes) == 0;
  return same ? EM_OK : em_fail(error, EM_ERR_UNSUPPORTED, "the draft has another vocabulary than the model");
}

static em_status check_states(const em_model *model, em_error *error) {
  uint32_t n;
  (void)em_model_state_layers(model, em_model_all_blocks(model), &n);
  return n == 0 ? EM_OK
                : em_fail(error, EM_ERR_UNSUPPORTED,
                          "a draft cannot be used with recurrent layers, whose state cannot be taken back");
}

em_status em_draft_new(const em_gguf *gguf, const em_gguf *other_gguf, const em_model *other, uint32_t context_tokens,
                       em_draft **out, em_error *error) {
  em_status status = EM_OK;
  em_draft *draft = em_calloc(1, sizeof *draft);
  if (!draft)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  EM_TRY(em_model_open(gguf, &draft->model, error));
  if (em_model_get_facts(draft->model)->n_vocab != em_model_get_facts(other)->n_vocab)
    EM_TRY(em_fail(error, EM_ERR_UNSUPPORTED, "the draft has another vocabulary than the model"));
  EM_TRY(check_vocabulary(gguf, other_gguf, error));
  EM_TRY(check_states(draft->model, error));
  EM_TRY(check_states(other, error));

  uint32_t trained = em_model_get_facts(draft->model)->train_context_tokens;
  em_plan *plan = &draft->plan;
  *plan = (em_plan){.kv_type = EM_TYPE_F16, .n_slots = 1, .max_outputs = 1, .batch_rows = BATCH_ROWS, .n_parts = 1};
  plan->memory.context_tokens = context_tokens < trained ? context_tokens : trained;
  plan->max_pages = plan->n_pages = em_plan_pages_for(plan->memory.context_tokens);
  plan->blocks[0] = em_model_all_blocks(draft->model);
  draft->computed = em_calloc(plan->memory.context_tokens, sizeof *draft->computed);
  draft->pages = em_calloc(plan->max_pages, sizeof *draft->pages);
  if (!draft->computed || !draft->pages)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "memory is out"));
  for (uint32_t i = 0; i < plan->max_pages; i++)
    draft->pages[i] = i;
  *out = draft;
  return EM_OK;
fail:
  em_draft_free(draft);
  return status;
}

void em_draft_free(em_draft *draft) {
  if (!draft)
    return;
  em_draft_leave(draft);
  em_model_close(draft->model);
  free(draft->computed);
  free(draft->pages);
  free(draft);
}

em_status em_draft_bytes(em_draft *draft, em_devices *devices, uint64_t *out, em_error *error) {
  em_status status = EM_OK;
  em_backend *backend = devices->chosen;
  em_model_weights *weights = NULL;
  em_model_program emitted = {0};
  em_kv *kv = NULL;
  em_kv_desc cache = em_plan_kv(&draft->plan, draft->model, draft->plan.blocks[0]);
  uint64_t weights_bytes, kv_bytes, program_bytes;
  EM_TRY(em_model_weights_bytes(draft->model, draft->plan.blocks[0], backend, &weights_bytes, NULL, error));
  EM_TRY(em_kv_bytes(backend, &cache, &kv_bytes, error));
  cache.n_pages = 0;
  EM_TRY(em_kv_new(backend, &cache, &kv, error));
  EM_TRY(em_model_describe(draft->model, draft->plan.blocks[0], backend, &weights, error));
  EM_TRY(em_model_build(draft->model, weights, draft->plan.memory.context_tokens, BATCH_ROWS, 1, &emitted, error));
  em_program_desc program = em_plan_program(&draft->plan, &emitted, kv);
  EM_TRY(em_program_bytes(backend, &program, &program_bytes, error));
  if (!em_add_u64(weights_bytes, kv_bytes, out) || !em_add_u64(*out, program_bytes, out))
    EM_TRY(em_fail(error, EM_ERR_TOO_BIG, "the draft's size overflows"));
fail:
  em_model_program_clear(&emitted);
  em_model_weights_free(weights);
  em_kv_free(kv);
  return status;
}

em_status em_draft_occupy(em_draft *draft, em_devices *devices, em_error *error) {
  em_status status = EM_OK;
  draft->n_computed = 0;
  EM_TRY(em_parts_load(draft->model, &draft->plan, devices, NULL, NULL, &draft->parts, error));
  EM_TRY(em_chain_new(&draft->parts, draft->model, &draft->plan, BATCH_ROWS, 1, &draft->chain, error));
  return EM_OK;
fail:
  em_draft_leave(draft);
  return status;
}

void em_draft_leave(em_draft *draft) {
  em_chain_free(&draft->chain);
  em_parts_free(&draft->parts);
}

static int32_t best_of(const float *logits, uint32_t n) {
  uint32_t best = 0;
  for (uint32_t i = 1; i < n; i++)
    best = logits[i] > logits[best] ? i : best;
  return (int32_t)best;
}

/* Computes tokens[n_computed .. n) of the sequence, at most a step of them; *best is the token after the last of them.
 */
static em_status compute(em_draft *draft, uint32_t n, int32_t *best, em_error *error) {
  uint32_t first = draft->n_computed, n_rows = n - first < BATCH_ROWS ? n - first : BATCH_ROWS, last = n_rows - 1;
  em_step step = {
      .n_rows = n_rows,
      .tokens = draft->computed + first,
      .positions = draft->positions,
      .slots = draft->slots,
      .n_slots = 1,
      .page_tables = draft->pages,
      .n_outputs = first + n_rows == n,
      .outputs = &last,
  };
  step.n_top = step.n_outputs > 0 && em_chain_max_top(&draft->chain) > 0;
  for (uint32_t i = 0; i < n_rows; i++)
    draft->positions[i] = first + i;
  em_status status = em_chain_run(&draft->chain, &step, error);
  if (status != EM_OK)
    return status;
  draft->n_computed += n_rows;
  if (step.n_outputs > 0)
    *best = step.n_top > 0 ? em_chain_top(&draft->chain, 0)[0].token
                           : best_of(em_chain_logits(&draft->chain, 0), em_model_get_facts(draft->model)->n_vocab);
  return EM_OK;
}

em_status em_draft_guess(em_draft *draft, const int32_t *tokens, uint32_t n_tokens, uint32_t n, int32_t *out,
                         uint32_t *n_out, em_error *error) {
  uint32_t room = draft->plan.memory.context_tokens, same = 0;
  int32_t best = 0;
  *n_out = 0;
  if (draft->chain.n == 0 || n_tokens >= room)
    return EM_OK;
  n = n < room - n_tokens ? n : room - n_tokens;
  /* What stands behind the last token that both have is overwritten; the last token of all is always computed, for the
   * guess is made from it. */
  while (same < draft->n_computed && same + 1 < n_tokens && draft->computed[same] == tokens[same])
    same++;
  memcpy(draft->computed + same, tokens + same, (n_tokens - same) * sizeof *tokens);
  draft->n_computed = same;
  for (uint32_t known = n_tokens; *n_out < n; known++) {
    em_status status = compute(draft, known, &best, error);
    if (status != EM_OK)
      return status;
    if (draft->n_computed < known)
      return EM_OK;
    out[(*n_out)++] = best;
    draft->computed[known] = best;
  }
  return EM_OK;
}
