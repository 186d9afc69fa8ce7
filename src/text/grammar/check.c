/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What must hold for a grammar before a text is matched: no rule comes back to itself without reading a byte, and every
 * state that is kept leads to the end of some text. Each check visits every state and every arrow a fixed number of
 * times. */
#include "text/grammar/emit.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

/* A chain of numbers for each index: who waits for it, or who leads to it. */
typedef struct chains {
  uint32_t *head; /* [n] */
  struct {
    uint32_t who, next;
  } *links;
  uint32_t n_links;
} chains;

static bool chains_init(chains *c, size_t n, size_t max_links) {
  c->head = em_calloc(n, sizeof *c->head);
  c->links = em_calloc(max_links + 1, sizeof *c->links);
  if (!c->head || !c->links)
    return false;
  memset(c->head, 0xFF, n * sizeof *c->head);
  return true;
}

static void chains_add(chains *c, uint32_t at, uint32_t who) {
  c->links[c->n_links].who = who;
  c->links[c->n_links].next = c->head[at];
  c->head[at] = c->n_links++;
}

static void chains_clear(chains *c) {
  free(c->head);
  free(c->links);
}

typedef struct checker {
  em_grammar *grammar;
  bool *seen;      /* [n_states] */
  uint32_t *stack; /* [2 * n_states + n_rules] */
  uint32_t n_stack;
  uint32_t *rule_of; /* [n_states] the rule from whose beginning a state is reached without a byte */
  bool *nullable;    /* [n_rules] */
  uint8_t *colour;   /* [n_rules] */
  chains chains;
} checker;

/* --- Left recursion ----------------------------------------------------------------------------------------------- */

static void reach(checker *c, uint32_t state, uint32_t rule) {
  if (state != 0 && c->seen[state])
    return;
  if (state == 0) {
    if (c->nullable[rule])
      return;
    c->nullable[rule] = true;
    /* Calls that waited for it go on behind it. */
    for (uint32_t i = c->chains.head[rule]; i != NONE; i = c->chains.links[i].next)
      c->stack[c->n_stack++] = c->chains.links[i].who;
    return;
  }
  c->seen[state] = true;
  c->rule_of[state] = rule;
  c->stack[c->n_stack++] = state;
}

/* The rule that a call or a loop calls. */
static uint32_t called_by(const em_grammar *g, const em_state *state) {
  return state->kind == EM_STATE_CALL ? state->other : g->loops[state->other].rule;
}

/* Follows the states that are reached from the beginnings of rules without a byte. A call goes on behind its rule as
 * soon as that is known to accept nothing at all. On the stack a state stands for itself, and a second time when its
 * call goes on. */
static void reach_all(checker *c) {
  const em_grammar *g = c->grammar;
  for (uint32_t rule = 0; rule < g->n_rules; rule++) {
    reach(c, g->rules[rule], rule);
    while (c->n_stack > 0) {
      uint32_t at = c->stack[--c->n_stack], from = c->rule_of[at];
      const em_state *state = &g->states[at];
      if (state->kind == EM_STATE_SPLIT) {
        reach(c, state->next, from);
        reach(c, state->other, from);
      } else if (state->kind == EM_STATE_CALL || state->kind == EM_STATE_LOOP) {
        uint32_t callee = called_by(g, state);
        bool may_skip = state->kind == EM_STATE_LOOP && g->loops[state->other].min == 0;
        if (may_skip || c->nullable[callee])
          reach(c, state->next, from);
        else
          chains_add(&c->chains, callee, at);
      }
    }
  }
}

/* Looks for a cycle of rules that begin with one another, depth first. */
static bool has_cycle(checker *c) {
  const em_grammar *g = c->grammar;
  /* What each rule can begin with. */
  memset(c->chains.head, 0xFF, g->n_rules * sizeof *c->chains.head);
  c->chains.n_links = 0;
  for (uint32_t i = 0; i < g->n_states; i++)
    if (c->seen[i] && (g->states[i].kind == EM_STATE_CALL || g->states[i].kind == EM_STATE_LOOP))
      chains_add(&c->chains, c->rule_of[i], called_by(g, &g->states[i]));
  for (uint32_t first = 0; first < g->n_rules; first++) {
    if (c->colour[first] == 0) {
      c->colour[first] = 1;
      c->stack[c->n_stack++] = first;
    }
    while (c->n_stack > 0) {
      uint32_t rule = c->stack[c->n_stack - 1], link = c->chains.head[rule];
      if (link == NONE) {
        c->colour[rule] = 2;
        c->n_stack--;
        continue;
      }
      c->chains.head[rule] = c->chains.links[link].next;
      uint32_t callee = c->chains.links[link].who;
      if (c->colour[callee] == 1)
        return true;
      if (c->colour[callee] == 0) {
        c->colour[callee] = 1;
        c->stack[c->n_stack++] = callee;
      }
    }
  }
  return false;
}

/* --- Dead ends ---------------------------------------------------------------------------------------------------- */

static void mark_good(checker *c, uint32_t state) {
  if (!c->seen[state]) {
    c->seen[state] = true;
    c->stack[c->n_stack++] = state;
  }
}

static const em_byte_set nothing;

/* A state is good when the end of its rule can be reached from it; found from the ends backwards. A call is good when
 * both what it calls and what follows it are: it hangs in the chains of both. */
static void find_good(checker *c) {
  em_grammar *g = c->grammar;
  memset(c->seen, 0, g->n_states * sizeof *c->seen);
  memset(c->chains.head, 0xFF, g->n_states * sizeof *c->chains.head);
  c->chains.n_links = 0;
  for (uint32_t i = 1; i < g->n_states; i++) {
    const em_state *state = &g->states[i];
    chains_add(&c->chains, state->next, i);
    if (state->kind == EM_STATE_SPLIT)
      chains_add(&c->chains, state->other, i);
    else if (state->kind == EM_STATE_CALL || state->kind == EM_STATE_LOOP)
      chains_add(&c->chains, g->rules[called_by(g, state)], i);
  }
  mark_good(c, 0);
  while (c->n_stack > 0) {
    uint32_t at = c->stack[--c->n_stack];
    for (uint32_t i = c->chains.head[at]; i != NONE; i = c->chains.links[i].next) {
      uint32_t who = c->chains.links[i].who;
      const em_state *state = &g->states[who];
      if (state->kind == EM_STATE_CALL && !(c->seen[state->next] && c->seen[g->rules[state->other]]))
        continue;
      if (state->kind == EM_STATE_LOOP && !(c->seen[state->next] && (g->loops[state->other].min == 0 ||
                                                                     c->seen[g->rules[g->loops[state->other].rule]])))
        continue;
      if (state->kind == EM_STATE_SET && memcmp(&g->sets[state->other], &nothing, sizeof nothing) == 0)
        continue;
      mark_good(c, who);
    }
  }
  for (uint32_t i = 1; i < g->n_states; i++)
    if (!c->seen[i])
      g->states[i].kind = EM_STATE_DEAD;
}

em_status em_grammar_check(em_grammar *grammar, const char *who, em_error *error) {
  em_status status = EM_OK;
  size_t n = grammar->n_states, n_most = n > grammar->n_rules ? n : grammar->n_rules;
  checker c = {.grammar = grammar};
  c.seen = em_calloc(n, sizeof *c.seen);
  c.stack = em_calloc(2 * n + grammar->n_rules, sizeof *c.stack);
  c.rule_of = em_calloc(n, sizeof *c.rule_of);
  c.nullable = em_calloc(grammar->n_rules, sizeof *c.nullable);
  c.colour = em_calloc(grammar->n_rules, sizeof *c.colour);
  if (!c.seen || !c.stack || !c.rule_of || !c.nullable || !c.colour || !chains_init(&c.chains, n_most, 2 * n))
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the grammar"));
  reach_all(&c);
  if (has_cycle(&c))
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the %s leads back to itself without any text between (left recursion)", who));
  find_good(&c);
  if (!c.seen[grammar->rules[0]])
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the %s accepts no text at all", who));
fail:
  free(c.seen);
  free(c.stack);
  free(c.rule_of);
  free(c.nullable);
  free(c.colour);
  chains_clear(&c.chains);
  return status;
}
