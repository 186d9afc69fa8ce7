/* What GBNF and schemas have in common: expressions that become the states of an em_grammar.
 *
 * A state reads one byte and goes on, goes on in two ways, or calls a rule. Characters become the bytes of their UTF-8
 * form, so that a token may end inside one. Expressions are trees: each belongs to one parent. All functions take NULL
 * expressions and return NULL once something has failed; the first failure is kept in the builder.
 */
#pragma once

#include "base/arena.h"
#include "text/grammar/grammar.h"

#include <stdarg.h>

#define EM_NO_MAXIMUM UINT32_MAX

/* --- The finished grammar ----------------------------------------------------------------------------------------- */

typedef enum {
  EM_STATE_RETURN, /* the rule is done; only state 0 */
  EM_STATE_BYTE,   /* a byte low..high, then next */
  EM_STATE_SET,    /* a byte of sets[other], then next */
  EM_STATE_SPLIT,  /* next or other */
  EM_STATE_CALL,   /* rules[other], then next */
  EM_STATE_LOOP,   /* loops[other], none of it done yet */
  EM_STATE_DEAD    /* no way leads from here to the end of a text */
} em_state_kind;

typedef struct em_state {
  uint8_t kind; /* em_state_kind */
  uint8_t low, high;
  uint32_t next, other;
} em_state;

typedef struct em_byte_set {
  uint64_t bits[4];
} em_byte_set;

/* A rule that is called a bounded number of times. How often it was called already is counted in the number of the
 * state: behind the real states, from EM_FIRST_COUNTED on, each loop has a number for each count, and two more rows of
 * them that masks are made with (ways.h). */
typedef struct em_loop {
  uint32_t rule, min;
  uint32_t max;      /* or EM_NO_MAXIMUM */
  uint32_t next;     /* the state behind it */
  uint32_t counted;  /* the number of count 0; counts end at max, or at min where there is no maximum */
  uint32_t relative; /* that of count 0 of a loop without bounds, whose counts end at EM_MAX_RELATIVE */
  uint32_t left;     /* that of a loop without bounds that was left at count 0 */
} em_loop;

#define EM_FIRST_COUNTED (1u << 31)
#define EM_MAX_RELATIVE (EM_TOKEN_TRIE_MAX_TOKEN_BYTES + 1)

struct em_grammar {
  em_state *states;
  em_byte_set *sets;
  uint32_t *rules; /* the first state of each; rule 0 is the root */
  em_loop *loops;  /* by ascending numbers */
  uint32_t n_states, n_sets, n_rules, n_loops;
};

static inline bool em_byte_set_has(const em_byte_set *set, unsigned byte) {
  return set->bits[byte >> 6] >> (byte & 63) & 1;
}

/* --- Expressions -------------------------------------------------------------------------------------------------- */

typedef struct em_range {
  uint32_t low, high; /* code points, both included */
} em_range;

typedef enum {
  EM_EXPR_LITERAL,
  EM_EXPR_CLASS,
  EM_EXPR_CALL,
  EM_EXPR_SEQUENCE,
  EM_EXPR_CHOICE, /* without children: nothing is accepted */
  EM_EXPR_REPEAT,
  EM_EXPR_LIST,
  EM_EXPR_GRAPH
} em_expr_kind;

typedef struct em_expr em_expr;

/* An arrow of a graph: from a node, over an expression, to a later node or behind the graph. */
typedef struct em_arrow {
  uint32_t from, to;
  em_expr *over;
} em_arrow;

#define EM_GRAPH_END UINT32_MAX

struct em_expr {
  em_expr_kind kind;
  bool optional;    /* as an item of a list: it may be left out */
  em_expr *sibling; /* the next child of the same parent */
  em_expr *first, *last;
  union {
    struct {
      const char *text;
      size_t bytes;
    } literal;
    struct {
      const em_range *ranges; /* ascending, apart from one another */
      size_t n;
    } set;
    uint32_t rule;
    struct {
      uint32_t min, max;
    } repeat;
    struct {
      em_expr *separator;
      em_expr *rest;         /* what follows any number of times, or NULL */
      uint32_t n_before_end; /* items that must be over before the list may end */
      uint32_t rest_min, rest_max;
      bool not_empty; /* something must stand in it */
    } list;
    struct {
      const em_arrow *arrows; /* by ascending from */
      uint32_t n_arrows, n_nodes;
    } graph; /* begins at node 0 */
  };
};

typedef struct em_rules {
  em_arena *arena;
  em_error *error;
  em_status status; /* the first failure */
  uint64_t work;
  em_expr **rules; /* [n_rules] NULL while a rule is only named */
  uint32_t n_rules, capacity_rules;
  struct em_emitter *emitter;
} em_rules;

em_status em_rules_init(em_rules *b, em_error *error) EM_MUST_USE;
void em_rules_clear(em_rules *b);

/* Latches a failure. Returns NULL. */
void *em_rules_fail(em_rules *b, em_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Counts work; false, with a failure latched, when there was too much. */
bool em_rules_work(em_rules *b, uint64_t n);
/* Memory of the arena, or NULL with a failure latched. */
void *em_rules_alloc(em_rules *b, size_t n, size_t bytes);

/* A rule without an expression; UINT32_MAX with a failure latched. The first rule is the root. */
uint32_t em_rules_add(em_rules *b);

em_expr *em_expr_literal(em_rules *b, const char *text, size_t bytes); /* copied */
em_expr *em_expr_text(em_rules *b, const char *text);                  /* a literal of ours, borrowed */
/* Ranges in any order, copied; negated: every character but those. */
em_expr *em_expr_class(em_rules *b, const em_range *ranges, size_t n, bool negated);
em_expr *em_expr_call(em_rules *b, uint32_t rule);
em_expr *em_expr_group(em_rules *b, em_expr_kind kind); /* an empty sequence or choice */
void em_expr_add(em_expr *parent, em_expr *child);      /* NULLs do nothing */
/* The children end with EM_EXPR_END. */
em_expr *em_expr_sequence(em_rules *b, ...);
em_expr *em_expr_choice(em_rules *b, ...);
/* A choice of literals as a tree of their beginnings: each text is read in one way only, however many there are. */
em_expr *em_expr_one_of(em_rules *b, const em_expr *choice);
#define EM_EXPR_END ((em_expr *)&em_expr_end_mark)
extern const em_expr em_expr_end_mark;
em_expr *em_expr_repeat(em_rules *b, em_expr *child, uint32_t min, uint32_t max);
/* Items between separators: first those that are added (each in order, the optional ones or not), then
 * rest_min..rest_max times rest. The list may end as soon as n_before_end items are over; with n_before_end past their
 * number, when all are. */
em_expr *em_expr_list(em_rules *b, em_expr *separator);

/* Makes the states and checks the whole: left recursion, and whether any text is accepted at all. The builder has
 * failed or *out is made. who: "grammar" or "schema", for errors. */
em_status em_rules_finish(em_rules *b, const char *who, em_grammar **out);
