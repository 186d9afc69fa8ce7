/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One answer that follows a grammar. */
#include "text/dialog-private.h"

#include "base/checked.h"

#include <stdlib.h>

struct em_constraint {
  em_grammar *grammar;
  em_matcher *matcher;
  size_t n_vocab;
  em_error error;
};

em_status em_constraint_new(const em_dialog *dialog, const em_constraint_params *params, em_constraint **out,
                            em_error *error) {
  em_status status = EM_OK;
  const em_token_trie *trie;
  em_detok detok;
  em_constraint *c = em_calloc(1, sizeof *c);
  if (!c)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the answer's grammar"));
  c->n_vocab = params->n_vocab;
  EM_TRY(params->is_gbnf ? em_grammar_from_gbnf(params->text, params->bytes, &c->grammar, error)
                         : em_grammar_from_schema(params->text, params->bytes, &c->grammar, error));
  EM_TRY(em_dialog_trie(dialog, &trie, error));
  em_detok_init(&detok, em_dialog_tokenizer(dialog), false, !params->continues);
  EM_TRY(em_matcher_new(c->grammar, trie, detok.at_start, &c->matcher, error));
  *out = c;
  return EM_OK;
fail:
  em_constraint_free(c);
  return status;
}

void em_constraint_free(em_constraint *c) {
  if (!c)
    return;
  em_matcher_free(c->matcher);
  em_grammar_free(c->grammar);
  free(c);
}

bool em_constraint_mask(em_constraint *c, uint64_t *allowed) {
  bool any;
  return em_matcher_mask(c->matcher, allowed, c->n_vocab, &any, &c->error) == EM_OK && any;
}

bool em_constraint_push(em_constraint *c, int32_t token) {
  return em_matcher_accept(c->matcher, token, &c->error) == EM_OK;
}

bool em_constraint_is_complete(const em_constraint *c) {
  return em_matcher_may_end(c->matcher);
}

const em_error *em_constraint_error(const em_constraint *c) {
  return &c->error;
}
