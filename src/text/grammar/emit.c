/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Expressions become states back to front: each is made for the state that follows it. */
#include "text/grammar/emit.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

/* Up to so many copies of something are made; what is repeated more often becomes a loop. */
#define MAX_CHAIN 16u
/* An equal class is looked for among this many of those before it. */
#define MAX_LOOK_BACK 64u
#define MAX_EXPR_DEPTH 512u
#define N_KNOWN_BYTES 1024u

typedef struct known_class {
  const em_range *ranges;
  size_t n;
  uint32_t rule;
} known_class;

struct em_emitter {
  em_state *states;
  em_byte_set *sets;
  em_loop *loops;
  uint32_t n_states, capacity_states, n_sets, capacity_sets, n_loops, capacity_loops;
  uint32_t known_bytes[N_KNOWN_BYTES]; /* states that read a byte, by a hash of what they are; 0: none */
  uint64_t next_counted;               /* the first number that no loop has */
  known_class known[MAX_LOOK_BACK];
  uint32_t n_known;
};

em_emitter *em_emitter_new(void) {
  em_emitter *e = em_calloc(1, sizeof *e);
  if (e)
    e->next_counted = EM_FIRST_COUNTED;
  return e;
}

void em_emitter_free(em_emitter *e) {
  if (!e)
    return;
  free(e->states);
  free(e->sets);
  free(e->loops);
  free(e);
}

/* Makes room for one more; false with a failure latched. */
static bool grow(em_rules *b, void *array, uint32_t n, uint32_t *capacity, size_t bytes) {
  void *old, *grown;
  memcpy(&old, array, sizeof old);
  if (n < *capacity)
    return true;
  uint32_t wanted = *capacity ? 2 * *capacity : 256;
  grown = em_realloc_array(old, wanted, bytes);
  if (!grown) {
    em_rules_fail(b, EM_ERR_NO_MEMORY, "no memory for the grammar");
    return false;
  }
  memcpy(array, &grown, sizeof grown);
  *capacity = wanted;
  return true;
}

/* After a failure every state is 0: what is made of it is thrown away. */
static uint32_t add_state(em_rules *b, em_state state) {
  em_emitter *e = b->emitter;
  if (!em_rules_work(b, 1))
    return 0;
  if (e->n_states == EM_GRAMMAR_MAX_STATES) {
    em_rules_fail(b, EM_ERR_LIMIT, "the grammar has more than %u states", EM_GRAMMAR_MAX_STATES);
    return 0;
  }
  if (!grow(b, &e->states, e->n_states, &e->capacity_states, sizeof *e->states))
    return 0;
  e->states[e->n_states] = state;
  return e->n_states++;
}

static uint32_t add_split(em_rules *b, uint32_t next, uint32_t other) {
  return add_state(b, (em_state){.kind = EM_STATE_SPLIT, .next = next, .other = other});
}

/* States that are the same are one, as far as they are remembered: what many strings end with is found out once. */
static uint32_t add_byte(em_rules *b, unsigned low, unsigned high, uint32_t next) {
  em_emitter *e = b->emitter;
  em_state state = {.kind = EM_STATE_BYTE, .low = (uint8_t)low, .high = (uint8_t)high, .next = next};
  uint32_t *known = &e->known_bytes[(low * 31 + high * 17 + next * 2654435761u) >> 7 & (N_KNOWN_BYTES - 1)];
  if (*known && memcmp(&e->states[*known], &state, sizeof state) == 0)
    return *known;
  uint32_t at = add_state(b, state);
  *known = at;
  return at;
}

static uint32_t add_set(em_rules *b, const em_byte_set *set, uint32_t next) {
  em_emitter *e = b->emitter;
  uint32_t at = e->n_sets, oldest = e->n_sets > MAX_LOOK_BACK ? e->n_sets - MAX_LOOK_BACK : 0;
  while (at > oldest && memcmp(&e->sets[at - 1], set, sizeof *set) != 0)
    at--;
  if (at > oldest) {
    at--;
  } else {
    at = e->n_sets;
    if (!grow(b, &e->sets, e->n_sets, &e->capacity_sets, sizeof *e->sets))
      return 0;
    e->sets[e->n_sets++] = *set;
  }
  return add_state(b, (em_state){.kind = EM_STATE_SET, .other = at, .next = next});
}

/* --- Classes ------------------------------------------------------------------------------------------------------ */

typedef struct utf8_form {
  uint32_t low, high; /* code points */
  unsigned bytes;
} utf8_form;

static const utf8_form utf8_forms[] = {
    {0x80, 0x7FF, 2}, {0x800, 0xD7FF, 3}, {0xE000, 0xFFFF, 3}, {0x10000, 0x10FFFF, 4}};

static unsigned utf8_byte(uint32_t c, unsigned n, unsigned i) {
  if (i > 0)
    return 0x80 | (c >> (6 * (n - 1 - i)) & 0x3F);
  return (n == 2 ? 0xC0 : n == 3 ? 0xE0 : 0xF0) | c >> (6 * (n - 1));
}

/* The characters low..high of n bytes each, as an alternative to `others` (0: there are none). They are cut into pieces
 * in which every byte has a range of its own. */
static uint32_t add_characters(em_rules *b, uint32_t low, uint32_t high, unsigned n, uint32_t next, uint32_t others) {
  while (low <= high && b->status == EM_OK) {
    uint32_t end = high;
    for (unsigned i = 1; i < n; i++) {
      uint32_t below = (1u << (6 * i)) - 1;
      if ((low | below) >= end)
        break; /* the bytes above are the same */
      if (low & below)
        end = low | below;
      else if ((end & below) != below)
        end = (end & ~below) - 1;
    }
    uint32_t at = next;
    for (unsigned i = n; i-- > 0;)
      at = add_byte(b, utf8_byte(low, n, i), utf8_byte(end, n, i), at);
    others = others ? add_split(b, at, others) : at;
    low = end + 1;
  }
  return others;
}

static bool is_ascii(const em_expr *expr) {
  return expr->set.n == 0 || expr->set.ranges[expr->set.n - 1].high < 0x80;
}

static uint32_t add_ascii(em_rules *b, const em_expr *expr, uint32_t next) {
  em_byte_set set = {0};
  for (size_t i = 0; i < expr->set.n; i++)
    for (uint32_t c = expr->set.ranges[i].low; c <= expr->set.ranges[i].high && c < 0x80; c++)
      set.bits[c >> 6] |= 1ull << (c & 63);
  if (expr->set.n == 1 && is_ascii(expr))
    return add_byte(b, expr->set.ranges[0].low, expr->set.ranges[0].high, next);
  return add_set(b, &set, next);
}

/* A class with characters of several bytes. */
static uint32_t add_wide_class(em_rules *b, const em_expr *expr, uint32_t next) {
  uint32_t at = 0;
  for (size_t i = 0; i < expr->set.n; i++)
    for (size_t f = 0; f < sizeof utf8_forms / sizeof utf8_forms[0]; f++) {
      uint32_t low = expr->set.ranges[i].low, high = expr->set.ranges[i].high;
      low = low > utf8_forms[f].low ? low : utf8_forms[f].low;
      high = high < utf8_forms[f].high ? high : utf8_forms[f].high;
      at = add_characters(b, low, high, utf8_forms[f].bytes, next, at);
    }
  if (expr->set.ranges[0].low < 0x80) {
    uint32_t ascii = add_ascii(b, expr, next);
    at = at ? add_split(b, ascii, at) : ascii;
  }
  if (at)
    return at;
  em_byte_set nothing = {0}; /* nothing but surrogates */
  return add_set(b, &nothing, next);
}

/* The rule of a wide class. One that equals a recent one shares its rule. */
static uint32_t class_rule(em_rules *b, const em_expr *expr) {
  em_emitter *e = b->emitter;
  for (uint32_t i = 0; i < e->n_known && i < MAX_LOOK_BACK; i++)
    if (e->known[i].n == expr->set.n &&
        memcmp(e->known[i].ranges, expr->set.ranges, expr->set.n * sizeof(em_range)) == 0)
      return e->known[i].rule;
  em_expr *copy = em_rules_alloc(b, 1, sizeof *copy);
  uint32_t rule = em_rules_add(b);
  if (!copy || rule == UINT32_MAX)
    return 0;
  *copy = *expr;
  b->rules[rule] = copy;
  e->known[e->n_known++ % MAX_LOOK_BACK] = (known_class){expr->set.ranges, expr->set.n, rule};
  return rule;
}

/* --- Expressions -------------------------------------------------------------------------------------------------- */

static uint32_t emit(em_rules *b, const em_expr *expr, uint32_t next, unsigned depth);

static uint32_t add_call(em_rules *b, uint32_t rule, uint32_t next) {
  return add_state(b, (em_state){.kind = EM_STATE_CALL, .other = rule, .next = next});
}

/* Whether each copy costs one state. */
static bool is_unit(const em_expr *expr) {
  return expr->kind == EM_EXPR_CALL || expr->kind == EM_EXPR_CLASS ||
         (expr->kind == EM_EXPR_LITERAL && expr->literal.bytes == 1);
}

/* A call of a new rule for the expression. */
static em_expr *rule_for(em_rules *b, const em_expr *expr) {
  uint32_t rule = em_rules_add(b);
  em_expr *body = em_rules_alloc(b, 1, sizeof *body);
  if (rule == UINT32_MAX || !body)
    return NULL;
  *body = *expr;
  body->sibling = NULL;
  b->rules[rule] = body;
  return em_expr_call(b, rule);
}

/* min..max calls of a rule. */
static uint32_t add_loop(em_rules *b, uint32_t rule, uint32_t min, uint32_t max, uint32_t next) {
  em_emitter *e = b->emitter;
  uint64_t n_counts = max == EM_NO_MAXIMUM ? min : max, counted = e->next_counted, relative = counted + n_counts + 1;
  uint64_t left = relative + EM_MAX_RELATIVE + 1;
  e->next_counted = left + EM_MAX_RELATIVE + 1;
  if (e->next_counted >= UINT32_MAX) {
    em_rules_fail(b, EM_ERR_LIMIT, "the grammar has too many repetitions");
    return 0;
  }
  if (!grow(b, &e->loops, e->n_loops, &e->capacity_loops, sizeof *e->loops))
    return 0;
  e->loops[e->n_loops] = (em_loop){.rule = rule,
                                   .min = min,
                                   .max = max,
                                   .next = next,
                                   .counted = (uint32_t)counted,
                                   .relative = (uint32_t)relative,
                                   .left = (uint32_t)left};
  return add_state(b, (em_state){.kind = EM_STATE_LOOP, .other = e->n_loops++, .next = next});
}

static uint32_t emit_exactly(em_rules *b, const em_expr *unit, uint32_t n, uint32_t next, unsigned depth) {
  for (; n > 0 && b->status == EM_OK; n--)
    next = emit(b, unit, next, depth);
  return next;
}

static uint32_t emit_up_to(em_rules *b, const em_expr *unit, uint32_t n, uint32_t next, unsigned depth) {
  uint32_t at = next;
  for (; n > 0 && b->status == EM_OK; n--)
    at = add_split(b, emit(b, unit, at, depth), next);
  return at;
}

static uint32_t emit_repeat(em_rules *b, const em_expr *child, uint32_t min, uint32_t max, uint32_t next,
                            unsigned depth) {
  /* Copies of copies of copies would be too many: what is copied is small, or a rule. */
  uint32_t n_copies = max == EM_NO_MAXIMUM ? min : max;
  bool loops = n_copies > MAX_CHAIN;
  if (max == 0)
    return next;
  if ((n_copies > 1 && !is_unit(child)) || (loops && child->kind != EM_EXPR_CALL)) {
    child = rule_for(b, child);
    if (!child)
      return 0;
  }
  if (loops)
    return add_loop(b, child->rule, min, max, next);
  if (max != EM_NO_MAXIMUM)
    return emit_exactly(b, child, min, emit_up_to(b, child, max - min, next, depth), depth);
  uint32_t loop = add_split(b, 0, next), body = emit(b, child, loop, depth);
  if (b->status != EM_OK)
    return 0;
  b->emitter->states[loop].next = body;
  return min == 0 ? loop : emit_exactly(b, child, min - 1, body, depth);
}

/* The rest behind something: each with a separator before it. */
static uint32_t emit_rest(em_rules *b, const em_expr *list, uint32_t min, uint32_t max, uint32_t next, unsigned depth) {
  em_expr *parts = em_rules_alloc(b, 2, sizeof *parts);
  em_expr *more = em_expr_group(b, EM_EXPR_SEQUENCE);
  if (!parts || !more)
    return 0;
  parts[0] = *list->list.separator;
  parts[1] = *list->list.rest;
  parts[0].sibling = parts[1].sibling = NULL;
  em_expr_add(more, &parts[0]);
  em_expr_add(more, &parts[1]);
  return emit_repeat(b, more, min, max, next, depth);
}

/* A list has two states before each item: whether something stands before it (a separator is due) or nothing. */
static uint32_t emit_list(em_rules *b, const em_expr *list, uint32_t next, unsigned depth) {
  uint32_t n = 0, min = list->list.rest_min, max = list->list.rest_max;
  for (const em_expr *item = list->first; item; item = item->sibling)
    n++;
  const em_expr **items = em_rules_alloc(b, n ? n : 1, sizeof *items);
  if (!items)
    return 0;
  n = 0;
  for (const em_expr *item = list->first; item; item = item->sibling)
    items[n++] = item;
  em_byte_set nothing = {0};
  uint32_t after = next, fresh = list->list.not_empty ? add_set(b, &nothing, next) : next;
  if (list->list.rest && max > 0) {
    after = emit_rest(b, list, min, max, next, depth);
    fresh = emit_rest(b, list, min > 0 ? min - 1 : 0, max == EM_NO_MAXIMUM ? max : max - 1, next, depth);
    fresh = emit(b, list->list.rest, fresh, depth);
    if (min == 0 && !list->list.not_empty)
      fresh = add_split(b, fresh, next);
  }
  for (uint32_t i = n; i-- > 0 && b->status == EM_OK;) {
    uint32_t item = emit(b, items[i], after, depth);
    uint32_t later = emit(b, list->list.separator, item, depth);
    if (items[i]->optional) {
      item = add_split(b, item, fresh);
      later = add_split(b, later, after);
    }
    if (i >= list->list.n_before_end) {
      item = add_split(b, item, next);
      later = add_split(b, later, next);
    }
    fresh = item;
    after = later;
  }
  return fresh;
}

static uint32_t emit_choice(em_rules *b, const em_expr *expr, uint32_t next, unsigned depth) {
  uint32_t at = 0;
  bool any = false;
  for (const em_expr *child = expr->first; child && b->status == EM_OK; child = child->sibling) {
    uint32_t state = emit(b, child, next, depth);
    at = any ? add_split(b, at, state) : state;
    any = true;
  }
  if (any)
    return at;
  em_byte_set nothing = {0};
  return add_set(b, &nothing, next);
}

/* Arrows lead to later nodes only: the last node is made first. */
static uint32_t emit_graph(em_rules *b, const em_expr *expr, uint32_t next, unsigned depth) {
  uint32_t *states = em_rules_alloc(b, (size_t)expr->graph.n_nodes + 1, sizeof *states), at = expr->graph.n_arrows;
  em_byte_set nothing = {0};
  if (!states)
    return 0;
  for (uint32_t node = expr->graph.n_nodes; node-- > 0 && b->status == EM_OK;) {
    bool any = false;
    while (at > 0 && expr->graph.arrows[at - 1].from == node && b->status == EM_OK) {
      const em_arrow *arrow = &expr->graph.arrows[--at];
      uint32_t state = emit(b, arrow->over, arrow->to == EM_GRAPH_END ? next : states[arrow->to], depth);
      states[node] = any ? add_split(b, state, states[node]) : state;
      any = true;
    }
    if (!any)
      states[node] = add_set(b, &nothing, next);
  }
  return states[0];
}

/* Children come first to last, and are needed last to first. */
static uint32_t emit_sequence(em_rules *b, const em_expr *expr, uint32_t next, unsigned depth) {
  uint32_t n = 0;
  for (const em_expr *child = expr->first; child; child = child->sibling)
    n++;
  const em_expr **children = em_rules_alloc(b, n ? n : 1, sizeof *children);
  if (!children)
    return 0;
  n = 0;
  for (const em_expr *child = expr->first; child; child = child->sibling)
    children[n++] = child;
  while (n-- > 0 && b->status == EM_OK)
    next = emit(b, children[n], next, depth);
  return next;
}

/* The recursion is bounded by the depth of groups, and counted all the same. */
static uint32_t emit(em_rules *b, const em_expr *expr, uint32_t next, unsigned depth) {
  if (b->status != EM_OK)
    return 0;
  if (++depth > MAX_EXPR_DEPTH) {
    em_rules_fail(b, EM_ERR_LIMIT, "the grammar is nested too deeply");
    return 0;
  }
  switch (expr->kind) {
  case EM_EXPR_LITERAL:
    for (size_t i = expr->literal.bytes; i-- > 0 && b->status == EM_OK;)
      next = add_byte(b, (unsigned char)expr->literal.text[i], (unsigned char)expr->literal.text[i], next);
    return next;
  case EM_EXPR_CLASS:
    return is_ascii(expr) ? add_ascii(b, expr, next) : add_call(b, class_rule(b, expr), next);
  case EM_EXPR_CALL:
    return add_call(b, expr->rule, next);
  case EM_EXPR_SEQUENCE:
    return emit_sequence(b, expr, next, depth);
  case EM_EXPR_CHOICE:
    return emit_choice(b, expr, next, depth);
  case EM_EXPR_REPEAT:
    return emit_repeat(b, expr->first, expr->repeat.min, expr->repeat.max, next, depth);
  case EM_EXPR_LIST:
    return emit_list(b, expr, next, depth);
  case EM_EXPR_GRAPH:
    return emit_graph(b, expr, next, depth);
  }
  return 0;
}

em_status em_rules_finish(em_rules *b, const char *who, em_grammar **out) {
  em_emitter *e = b->emitter;
  em_grammar *grammar = NULL;
  if (b->status != EM_OK)
    return b->status;
  add_state(b, (em_state){.kind = EM_STATE_RETURN});
  grammar = em_calloc(1, sizeof *grammar);
  uint32_t *rules = em_calloc(EM_GRAMMAR_MAX_RULES, sizeof *rules);
  if (!grammar || !rules)
    em_rules_fail(b, EM_ERR_NO_MEMORY, "no memory for the grammar");
  /* Rules may be added on the way. */
  for (uint32_t i = 0; i < b->n_rules && b->status == EM_OK; i++) {
    const em_expr *body = b->rules[i];
    bool wide = body->kind == EM_EXPR_CLASS && !is_ascii(body);
    rules[i] = wide ? add_wide_class(b, body, 0) : emit(b, body, 0, 0);
  }
  if (b->status == EM_OK) {
    *grammar = (em_grammar){.states = e->states,
                            .sets = e->sets,
                            .loops = e->loops,
                            .rules = rules,
                            .n_states = e->n_states,
                            .n_sets = e->n_sets,
                            .n_rules = b->n_rules,
                            .n_loops = e->n_loops};
    e->states = NULL;
    e->sets = NULL;
    e->loops = NULL;
    rules = NULL;
    b->status = em_grammar_check(grammar, who, b->error);
  }
  free(rules);
  if (b->status == EM_OK)
    *out = grammar;
  else
    em_grammar_free(grammar);
  return b->status;
}

void em_grammar_free(em_grammar *grammar) {
  if (!grammar)
    return;
  free(grammar->states);
  free(grammar->sets);
  free(grammar->rules);
  free(grammar->loops);
  free(grammar);
}
