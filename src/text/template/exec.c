/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Statements, macros and scopes. */
#include <string.h>

#include "text/template/eval.h"

#define MAX_CALLS EM_TEMPLATE_MAX_DEPTH

/* --- Assignments ----------------------------------------------------------------------------------------------------------- */

static bool assign_member(em_tpl_run *run, const em_tpl_node *target, em_tpl_value value) {
  em_tpl_value object;
  if (!em_tpl_lookup(run, target->name, &object))
    return false;
  if (object.kind != EM_TPL_NAMESPACE)
    return em_tpl_fail(run, EM_ERR_FORMAT, "'%s' is no namespace", target->name);
  return em_tpl_dict_set(run, object.dict, target->value, value);
}

static bool assign_one(em_tpl_run *run, const em_tpl_node *target, em_tpl_value value) {
  run->offset = target->offset;
  if (target->kind == EM_TPL_P_ATTRIBUTE)
    return assign_member(run, target, value);
  return em_tpl_scope_set(run, run->scope, target->name, value);
}

static bool assign(em_tpl_run *run, const em_tpl_node *target, em_tpl_value value) {
  if (target->kind != EM_TPL_X_TUPLE)
    return assign_one(run, target, value);
  em_tpl_list *items;
  size_t i = 0;
  run->offset = target->offset;
  if (!em_tpl_items(run, value, &items))
    return false;
  for (const em_tpl_node *node = target->first; node; node = node->next, i++)
    if (i < items->n && !assign_one(run, node, items->items[i]))
      return false;
  return i == items->n || em_tpl_fail(run, EM_ERR_FORMAT, "%zu values cannot be unpacked to %zu names", items->n, i);
}

/* --- Text that is caught ------------------------------------------------------------------------------------------------------ */

/* Runs a body in a scope of its own, its output going to a new string. */
static bool catch_text(em_tpl_run *run, const em_tpl_node *body, em_tpl_value *out) {
  em_tpl_builder *builder = em_tpl_builder_new(run), *outer = run->out;
  em_tpl_scope *scope = run->scope;
  if (!builder || !em_tpl_scope_push(run, scope))
    return false;
  run->out = builder;
  bool fits = em_tpl_exec(run, body) && em_tpl_built(run, builder, out);
  run->out = outer;
  run->scope = scope;
  return fits;
}

static bool exec_set_block(em_tpl_run *run, const em_tpl_node *node) {
  em_tpl_value text;
  return catch_text(run, node->first, &text) && em_tpl_eval_postfix(run, text, node->second, NULL, &text) &&
         assign(run, node->a, text);
}

static bool exec_filter(em_tpl_run *run, const em_tpl_node *node) {
  em_tpl_value text;
  return catch_text(run, node->first, &text) && em_tpl_eval_postfix(run, text, node->second, NULL, &text) &&
         em_tpl_put_value(run, run->out, text);
}

/* --- Macros ---------------------------------------------------------------------------------------------------------------------- */

static bool exec_macro(em_tpl_run *run, const em_tpl_node *node, em_tpl_value *out) {
  em_tpl_macro *macro = em_tpl_alloc(run, 1, sizeof *macro);
  if (!macro)
    return false;
  *macro = (em_tpl_macro){.name = node->name, .parameters = node->second, .body = node->first, .scope = run->scope};
  *out = (em_tpl_value){.kind = EM_TPL_MACRO, .macro = macro};
  return true;
}

static const em_tpl_value *find_named(const em_tpl_args *args, const char *name) {
  for (size_t i = 0; i < args->n_named; i++)
    if (strcmp(args->named[i].name, name) == 0)
      return &args->named[i].value;
  return NULL;
}

static bool bind_parameters(em_tpl_run *run, const em_tpl_macro *macro, const em_tpl_args *args) {
  size_t place = 0;
  for (const em_tpl_node *node = macro->parameters; node; node = node->next, place++) {
    const em_tpl_value *given = place < args->n ? &args->items[place] : find_named(args, node->name);
    em_tpl_value value = em_tpl_undefined(node->name);
    if (given)
      value = *given;
    else if (node->a && !em_tpl_eval(run, node->a, &value))
      return false;
    if (!em_tpl_scope_set(run, run->scope, node->name, value))
      return false;
  }
  if (args->n > place)
    return em_tpl_fail(run, EM_ERR_FORMAT, "macro '%s' takes at most %zu arguments", macro->name ? macro->name : "caller",
                       place);
  const char *caller = run->template_->caller;
  const em_tpl_value *given = find_named(args, caller);
  return !given || em_tpl_scope_set(run, run->scope, caller, *given);
}

bool em_tpl_call_macro(em_tpl_run *run, const em_tpl_macro *macro, const em_tpl_args *args, em_tpl_value *out) {
  em_tpl_builder *builder = em_tpl_builder_new(run), *outer = run->out;
  em_tpl_scope *scope = run->scope;
  if (run->calls >= MAX_CALLS)
    return em_tpl_fail(run, EM_ERR_LIMIT, "macros call one another deeper than %u", MAX_CALLS);
  if (!builder || !em_tpl_enter(run))
    return false;
  run->calls++;
  run->out = builder;
  bool fits = em_tpl_scope_push(run, macro->scope) && bind_parameters(run, macro, args) &&
              em_tpl_exec(run, macro->body) && em_tpl_built(run, builder, out);
  run->calls--;
  run->out = outer;
  run->scope = scope;
  em_tpl_leave(run);
  return fits;
}

static bool exec_call(em_tpl_run *run, const em_tpl_node *node) {
  em_tpl_macro *caller = em_tpl_alloc(run, 1, sizeof *caller);
  if (!caller)
    return false;
  *caller = (em_tpl_macro){.parameters = node->second, .body = node->first, .scope = run->scope};
  em_tpl_named extra = {run->template_->caller, {.kind = EM_TPL_MACRO, .macro = caller}};
  const em_tpl_node *last = node->a->first;
  while (last->next)
    last = last->next;
  em_tpl_value callee, text;
  em_tpl_args args;
  if (!em_tpl_eval(run, node->a->a, &callee) || !em_tpl_eval_postfix(run, callee, node->a->first, last, &callee) ||
      !em_tpl_eval_args(run, last->first, &extra, &args))
    return false;
  run->offset = node->offset;
  return em_tpl_call(run, callee, &args, &text) && em_tpl_put_value(run, run->out, text);
}

/* --- Loops ----------------------------------------------------------------------------------------------------------------------- */

/* The items that a loop's condition keeps. */
static bool keep_items(em_tpl_run *run, const em_tpl_node *node, const em_tpl_list *items, em_tpl_list **out) {
  em_tpl_scope *scope = run->scope;
  em_tpl_value kept, holds;
  if (!em_tpl_list_new(run, EM_TPL_LIST, 0, &kept) || !em_tpl_scope_push(run, scope))
    return false;
  bool fits = true;
  for (size_t i = 0; i < items->n && fits; i++) {
    em_tpl_value item = items->items[i];
    fits = em_tpl_spend(run, 1) && assign(run, node->a, item) && em_tpl_eval(run, node->c, &holds);
    if (fits && em_tpl_truth(holds))
      fits = em_tpl_list_add(run, kept.list, item);
  }
  run->scope = scope;
  *out = kept.list;
  return fits;
}

static bool exec_for(em_tpl_run *run, const em_tpl_node *node) {
  em_tpl_scope *scope = run->scope;
  em_tpl_value value;
  em_tpl_list *items;
  if (!em_tpl_eval(run, node->b, &value))
    return false;
  run->offset = node->offset;
  if (!em_tpl_items(run, value, &items) || (node->c && !keep_items(run, node, items, &items)))
    return false;
  if (items->n == 0)
    return em_tpl_exec(run, node->second);
  const char *name = run->template_->loop;
  em_tpl_loop *loop = em_tpl_alloc(run, 1, sizeof *loop);
  if (!loop)
    return false;
  loop->items = items;
  bool fits = true;
  for (size_t i = 0; i < items->n && fits && run->flow != EM_TPL_BREAK; i++) {
    loop->index = i;
    fits = em_tpl_spend(run, 1) && em_tpl_scope_push(run, scope) &&
           em_tpl_scope_set(run, run->scope, name, (em_tpl_value){.kind = EM_TPL_LOOP, .loop = loop}) &&
           assign(run, node->a, items->items[i]) && em_tpl_exec(run, node->first);
    if (run->flow == EM_TPL_CONTINUE)
      run->flow = EM_TPL_NORMAL;
  }
  run->flow = EM_TPL_NORMAL;
  run->scope = scope;
  return fits;
}

/* --- The rest ---------------------------------------------------------------------------------------------------------------------- */

static bool exec_if(em_tpl_run *run, const em_tpl_node *node) {
  for (const em_tpl_node *branch = node->first; branch; branch = branch->next) {
    em_tpl_value condition;
    if (branch->a && !em_tpl_eval(run, branch->a, &condition))
      return false;
    if (!branch->a || em_tpl_truth(condition))
      return em_tpl_exec(run, branch->first);
  }
  return true;
}

static bool exec_scope(em_tpl_run *run, const em_tpl_node *node) {
  em_tpl_scope *scope = run->scope;
  bool fits = em_tpl_scope_push(run, scope) && em_tpl_exec(run, node->second) && em_tpl_exec(run, node->first);
  run->scope = scope;
  return fits;
}

static bool exec_one(em_tpl_run *run, const em_tpl_node *node) {
  em_tpl_value value;
  run->offset = node->offset;
  switch (node->kind) {
  case EM_TPL_S_TEXT:
    return em_tpl_put_string(run, run->out, node->value.string);
  case EM_TPL_S_PRINT:
    return em_tpl_eval(run, node->a, &value) && em_tpl_put_value(run, run->out, value);
  case EM_TPL_S_IF:
    return exec_if(run, node);
  case EM_TPL_S_FOR:
    return exec_for(run, node);
  case EM_TPL_S_SET:
    return em_tpl_eval(run, node->b, &value) && assign(run, node->a, value);
  case EM_TPL_S_SET_BLOCK:
    return exec_set_block(run, node);
  case EM_TPL_S_MACRO:
    return exec_macro(run, node, &value) && em_tpl_scope_set(run, run->scope, node->name, value);
  case EM_TPL_S_CALL:
    return exec_call(run, node);
  case EM_TPL_S_FILTER:
    return exec_filter(run, node);
  case EM_TPL_S_SCOPE:
    return exec_scope(run, node);
  case EM_TPL_S_BREAK:
    run->flow = EM_TPL_BREAK;
    return true;
  case EM_TPL_S_CONTINUE:
    run->flow = EM_TPL_CONTINUE;
    return true;
  default:
    return em_tpl_fail(run, EM_ERR_INTERNAL, "a node that is no statement");
  }
}

bool em_tpl_exec(em_tpl_run *run, const em_tpl_node *first) {
  if (!em_tpl_enter(run))
    return false;
  bool fits = true;
  for (const em_tpl_node *node = first; node && fits && run->flow == EM_TPL_NORMAL; node = node->next)
    fits = em_tpl_spend(run, 1) && exec_one(run, node);
  em_tpl_leave(run);
  return fits;
}
