/* The parsed template: one kind of node for everything, in the template's arena, never changed after parsing.
 *
 * Chains of operators of one rank and chains of postfix operations are lists, so that their length does not nest: how deep
 * nodes nest is bounded by EM_TEMPLATE_MAX_DEPTH, and the evaluator recurses only along that nesting.
 */
#pragma once

#include "text/template/call.h"
#include "text/template/value.h"

typedef enum em_tpl_node_kind {
  /* Expressions. */
  EM_TPL_X_CONST,   /* value */
  EM_TPL_X_NAME,    /* name */
  EM_TPL_X_LIST,    /* first: the items */
  EM_TPL_X_TUPLE,   /* first: the items */
  EM_TPL_X_DICT,    /* first: key, value, key, value, ... */
  EM_TPL_X_CHAIN,   /* a: the first operand; first: links. All operators of one rank, worked off from the left */
  EM_TPL_X_AND,     /* as X_CHAIN */
  EM_TPL_X_OR,      /* as X_CHAIN */
  EM_TPL_X_COMPARE, /* as X_CHAIN: a < b < c */
  EM_TPL_X_LINK,    /* in a chain. op: token operator; a: the right operand */
  EM_TPL_X_NOT,     /* a */
  EM_TPL_X_MINUS,   /* a */
  EM_TPL_X_PLUS,    /* a */
  EM_TPL_X_COND,    /* a: the condition, b: where it holds, c: otherwise, or NULL */
  EM_TPL_X_POSTFIX, /* a: the base; first: operations, worked off from the left */
  /* Postfix operations. */
  EM_TPL_P_ATTRIBUTE, /* value: the name as a string */
  EM_TPL_P_ITEM,      /* a: the key */
  EM_TPL_P_SLICE,     /* a, b, c: start, stop, step, each may be NULL */
  EM_TPL_P_CALL,      /* first: arguments */
  EM_TPL_P_FILTER,    /* builtin (NULL: unknown), name, first: arguments */
  EM_TPL_P_TEST,      /* test (NULL: unknown), name, first: arguments, negated */
  /* Arguments and parameters. */
  EM_TPL_A_ITEM,      /* a */
  EM_TPL_A_NAMED,     /* name, a. As a parameter: a is the default or NULL */
  EM_TPL_A_STAR,      /* a: a list of arguments */
  EM_TPL_A_STAR_STAR, /* a: a dict of arguments */
  /* Statements. */
  EM_TPL_S_TEXT,      /* value: a string */
  EM_TPL_S_PRINT,     /* a */
  EM_TPL_S_IF,        /* first: branches */
  EM_TPL_S_BRANCH,    /* a: the condition, NULL for else; first: the body */
  EM_TPL_S_FOR,       /* a: target, b: what is gone through, c: condition or NULL, first: body, second: else */
  EM_TPL_S_SET,       /* a: target, b: value */
  EM_TPL_S_SET_BLOCK, /* a: target, first: body, second: filters */
  EM_TPL_S_MACRO,     /* name, second: parameters, first: body */
  EM_TPL_S_CALL,      /* a: a postfix chain that ends with a call, second: the caller's parameters, first: its body */
  EM_TPL_S_FILTER,    /* second: filters, first: body */
  EM_TPL_S_SCOPE,     /* second: S_SET nodes, first: body (with, generation) */
  EM_TPL_S_BREAK,
  EM_TPL_S_CONTINUE
} em_tpl_node_kind;

typedef struct em_tpl_node em_tpl_node;
struct em_tpl_node {
  uint8_t kind; /* em_tpl_node_kind */
  uint8_t op;
  bool negated;
  uint32_t offset; /* in the source */
  em_tpl_node *next; /* in the list it stands in */
  em_tpl_node *a, *b, *c, *first, *second;
  const char *name; /* NUL-terminated; equal names of a template are one pointer */
  union {
    em_tpl_value value;
    const em_tpl_builtin *builtin;
    const em_tpl_test *test;
  };
};

struct em_template {
  em_arena *arena;
  const char *source;
  size_t bytes;
  const em_tpl_node *body;
  const char *caller, *loop; /* these names as this template has them */
};

#define EM_TPL_MAX_TREE_BYTES (64u << 20)

typedef struct em_tpl_parser em_tpl_parser;

/* Parses template_->source and sets template_->body. */
em_status em_tpl_parse(em_template *template_, em_error *error) EM_MUST_USE;
