/* The evaluator's own structures and the door between expressions (eval.c) and statements (exec.c). */
#pragma once

#include "text/template/ast.h"

/* Variables of one scope; names are compared as pointers. */
typedef struct em_tpl_variable {
  const char *name;
  em_tpl_value value;
} em_tpl_variable;

struct em_tpl_scope {
  em_tpl_scope *parent;
  em_tpl_variable *variables;
  size_t n, capacity;
};

/* A macro, or the body of a call block, with the scope it was written in. */
struct em_tpl_macro {
  const char *name;
  const em_tpl_node *parameters, *body;
  em_tpl_scope *scope;
};

struct em_tpl_loop {
  const em_tpl_list *items;
  size_t index; /* from 0 */
  em_tpl_value seen; /* what loop.changed() was given last */
  bool has_seen;
};

bool em_tpl_scope_push(em_tpl_run *run, em_tpl_scope *parent);
bool em_tpl_scope_set(em_tpl_run *run, em_tpl_scope *scope, const char *name, em_tpl_value value);
/* A variable of the scopes, the context or the globals; else undefined. */
bool em_tpl_lookup(em_tpl_run *run, const char *name, em_tpl_value *out);

bool em_tpl_eval(em_tpl_run *run, const em_tpl_node *node, em_tpl_value *out);
/* Works postfix operations off on value, up to (not including) `stop`. */
bool em_tpl_eval_postfix(em_tpl_run *run, em_tpl_value value, const em_tpl_node *first, const em_tpl_node *stop,
                         em_tpl_value *out);
/* The arguments of a call; extra (or NULL) is one more named one. */
bool em_tpl_eval_args(em_tpl_run *run, const em_tpl_node *first, const em_tpl_named *extra, em_tpl_args *out);

/* Runs statements; stops early when run->flow says so. */
bool em_tpl_exec(em_tpl_run *run, const em_tpl_node *first);
/* Runs a macro's body and gives its text. */
bool em_tpl_call_macro(em_tpl_run *run, const em_tpl_macro *macro, const em_tpl_args *args, em_tpl_value *out);
