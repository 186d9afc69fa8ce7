/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Expressions: making them. emit.c makes states of them. */
#include "text/grammar/build.h"

#include "base/checked.h"
#include "text/grammar/emit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ARENA_BYTES (128u << 20)
#define MAX_CODE_POINT 0x10FFFFu

const em_expr em_expr_end_mark = {0};

em_status em_rules_init(em_rules *b, em_error *error) {
  *b = (em_rules){.error = error};
  b->arena = em_arena_new(MAX_ARENA_BYTES);
  b->emitter = em_emitter_new();
  if (!b->arena || !b->emitter)
    em_rules_fail(b, EM_ERR_NO_MEMORY, "no memory for the grammar");
  return b->status;
}

void em_rules_clear(em_rules *b) {
  em_arena_free(b->arena);
  em_emitter_free(b->emitter);
  free(b->rules);
}

void *em_rules_fail(em_rules *b, em_status status, const char *format, ...) {
  if (b->status != EM_OK)
    return NULL;
  char text[EM_ERROR_TEXT_BYTES];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  b->status = em_fail(b->error, status, "%s", text);
  return NULL;
}

bool em_rules_work(em_rules *b, uint64_t n) {
  b->work += n;
  if (b->work > EM_GRAMMAR_MAX_WORK)
    em_rules_fail(b, EM_ERR_LIMIT, "the grammar takes too much work to read");
  return b->status == EM_OK;
}

void *em_rules_alloc(em_rules *b, size_t n, size_t bytes) {
  if (b->status != EM_OK)
    return NULL;
  void *data = em_arena_array(b->arena, n, bytes);
  if (data)
    return data;
  if (em_arena_used_bytes(b->arena) > MAX_ARENA_BYTES / 2)
    return em_rules_fail(b, EM_ERR_LIMIT, "the grammar is too large");
  return em_rules_fail(b, EM_ERR_NO_MEMORY, "no memory for the grammar");
}

uint32_t em_rules_add(em_rules *b) {
  if (b->status != EM_OK)
    return UINT32_MAX;
  if (b->n_rules == EM_GRAMMAR_MAX_RULES) {
    em_rules_fail(b, EM_ERR_LIMIT, "the grammar has more than %u rules", EM_GRAMMAR_MAX_RULES);
    return UINT32_MAX;
  }
  if (b->n_rules == b->capacity_rules) {
    uint32_t capacity = b->capacity_rules ? 2 * b->capacity_rules : 32;
    em_expr **grown = em_realloc_array(b->rules, capacity, sizeof *grown);
    if (!grown) {
      em_rules_fail(b, EM_ERR_NO_MEMORY, "no memory for the grammar");
      return UINT32_MAX;
    }
    b->rules = grown;
    b->capacity_rules = capacity;
  }
  b->rules[b->n_rules] = NULL;
  return b->n_rules++;
}

/* --- Expressions -------------------------------------------------------------------------------------------------- */

static em_expr *new_expr(em_rules *b, em_expr_kind kind) {
  em_expr *expr = em_rules_alloc(b, 1, sizeof *expr);
  if (expr)
    expr->kind = kind;
  return expr;
}

em_expr *em_expr_literal(em_rules *b, const char *text, size_t bytes) {
  em_expr *expr = new_expr(b, EM_EXPR_LITERAL);
  if (!expr)
    return NULL;
  expr->literal.text = em_arena_text(b->arena, text, bytes);
  expr->literal.bytes = bytes;
  return expr->literal.text ? expr : em_rules_fail(b, EM_ERR_NO_MEMORY, "no memory for the grammar");
}

em_expr *em_expr_text(em_rules *b, const char *text) {
  em_expr *expr = new_expr(b, EM_EXPR_LITERAL);
  if (expr) {
    expr->literal.text = text;
    expr->literal.bytes = strlen(text);
  }
  return expr;
}

static int by_low(const void *a, const void *b) {
  const em_range *x = a, *y = b;
  return (x->low > y->low) - (x->low < y->low);
}

em_expr *em_expr_class(em_rules *b, const em_range *ranges, size_t n, bool negated) {
  em_expr *expr = new_expr(b, EM_EXPR_CLASS);
  /* Room for the ranges, or for the gaps between them. */
  em_range *sorted = em_rules_alloc(b, n + 1, sizeof *sorted);
  size_t n_joined = 0;
  if (!expr || !sorted)
    return NULL;
  if (n > 0)
    memcpy(sorted, ranges, n * sizeof *ranges);
  qsort(sorted, n, sizeof *sorted, by_low);
  for (size_t i = 0; i < n; i++) {
    if (n_joined > 0 && sorted[i].low <= sorted[n_joined - 1].high + 1) {
      if (sorted[i].high > sorted[n_joined - 1].high)
        sorted[n_joined - 1].high = sorted[i].high;
    } else {
      sorted[n_joined++] = sorted[i];
    }
  }
  if (negated) {
    uint32_t low = 0;
    size_t n_gaps = 0;
    for (size_t i = 0; i < n_joined; i++) {
      em_range taken = sorted[i];
      if (taken.low > low)
        sorted[n_gaps++] = (em_range){low, taken.low - 1};
      low = taken.high + 1;
    }
    if (low <= MAX_CODE_POINT)
      sorted[n_gaps++] = (em_range){low, MAX_CODE_POINT};
    n_joined = n_gaps;
  }
  expr->set.ranges = sorted;
  expr->set.n = n_joined;
  return expr;
}

em_expr *em_expr_call(em_rules *b, uint32_t rule) {
  em_expr *expr = new_expr(b, EM_EXPR_CALL);
  if (expr)
    expr->rule = rule;
  return expr;
}

em_expr *em_expr_group(em_rules *b, em_expr_kind kind) {
  return new_expr(b, kind);
}

void em_expr_add(em_expr *parent, em_expr *child) {
  if (!parent || !child)
    return;
  if (parent->last)
    parent->last->sibling = child;
  else
    parent->first = child;
  parent->last = child;
}

static em_expr *group_of(em_rules *b, em_expr_kind kind, va_list children) {
  em_expr *group = new_expr(b, kind);
  for (em_expr *child; (child = va_arg(children, em_expr *)) != EM_EXPR_END;)
    em_expr_add(group, child);
  return b->status == EM_OK ? group : NULL;
}

em_expr *em_expr_sequence(em_rules *b, ...) {
  va_list children;
  va_start(children, b);
  em_expr *expr = group_of(b, EM_EXPR_SEQUENCE, children);
  va_end(children);
  return expr;
}

em_expr *em_expr_choice(em_rules *b, ...) {
  va_list children;
  va_start(children, b);
  em_expr *expr = group_of(b, EM_EXPR_CHOICE, children);
  va_end(children);
  return expr;
}

em_expr *em_expr_repeat(em_rules *b, em_expr *child, uint32_t min, uint32_t max) {
  em_expr *expr = new_expr(b, EM_EXPR_REPEAT);
  if (!expr || !child)
    return NULL;
  em_expr_add(expr, child);
  expr->repeat.min = min;
  expr->repeat.max = max;
  return expr;
}

em_expr *em_expr_list(em_rules *b, em_expr *separator) {
  em_expr *expr = new_expr(b, EM_EXPR_LIST);
  if (!expr || !separator)
    return NULL;
  expr->list.separator = separator;
  expr->list.n_before_end = UINT32_MAX;
  return expr;
}

/* --- Many literals ------------------------------------------------------------------------------------------------ */

typedef struct literal_text {
  const char *text;
  size_t bytes;
} literal_text;

static int by_text(const void *a, const void *b) {
  const literal_text *x = a, *y = b;
  int order = memcmp(x->text, y->text, x->bytes < y->bytes ? x->bytes : y->bytes);
  return order ? order : (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* A node of the tree: the literals first..last - 1 share their first `depth` bytes. */
typedef struct literal_node {
  uint32_t first, last;
  size_t depth;
} literal_node;

static size_t shared_bytes(literal_text a, literal_text b) {
  size_t n = 0;
  while (n < a.bytes && n < b.bytes && a.text[n] == b.text[n])
    n++;
  return n;
}

em_expr *em_expr_one_of(em_rules *b, const em_expr *choice) {
  uint32_t n = 0, n_nodes = 1, n_arrows = 0;
  for (const em_expr *child = choice ? choice->first : NULL; child; child = child->sibling)
    n++;
  literal_text *texts = em_rules_alloc(b, (size_t)n + 1, sizeof *texts);
  /* Each node but the root splits its literals. */
  literal_node *nodes = em_rules_alloc(b, (size_t)n + 2, sizeof *nodes);
  em_arrow *arrows = em_rules_alloc(b, 2 * (size_t)n + 2, sizeof *arrows);
  em_expr *graph = em_expr_group(b, EM_EXPR_GRAPH);
  if (!texts || !nodes || !arrows || !graph)
    return NULL;
  n = 0;
  for (const em_expr *child = choice->first; child; child = child->sibling)
    texts[n++] = (literal_text){child->literal.text, child->literal.bytes};
  qsort(texts, n, sizeof *texts, by_text);
  uint32_t n_different = 0;
  for (uint32_t i = 0; i < n; i++)
    if (i == 0 || by_text(&texts[i], &texts[n_different - 1]) != 0)
      texts[n_different++] = texts[i];
  nodes[0] = (literal_node){0, n_different, 0};
  for (uint32_t at = 0; at < n_nodes && b->status == EM_OK; at++) {
    literal_node node = nodes[at];
    for (uint32_t i = node.first, j; i < node.last && em_rules_work(b, 1); i = j) {
      const char *rest = texts[i].text + node.depth;
      for (j = i + 1; j < node.last && texts[i].bytes > node.depth && texts[j].text[node.depth] == *rest; j++)
        ;
      size_t depth = j == i + 1 ? texts[i].bytes : shared_bytes(texts[i], texts[j - 1]);
      uint32_t to = j == i + 1 ? EM_GRAPH_END : n_nodes;
      if (to != EM_GRAPH_END)
        nodes[n_nodes++] = (literal_node){i, j, depth};
      arrows[n_arrows++] = (em_arrow){at, to, em_expr_literal(b, rest, depth - node.depth)};
    }
  }
  graph->graph.arrows = arrows;
  graph->graph.n_arrows = n_arrows;
  graph->graph.n_nodes = n_nodes;
  return b->status == EM_OK ? graph : NULL;
}
