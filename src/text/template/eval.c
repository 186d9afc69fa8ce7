/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Expressions. The offset of the node at work is kept in the run, so that errors can say where they arose. */
#include "text/template/eval.h"

#include <math.h>
#include <string.h>

#include "text/template/lexer.h"
#include "text/template/operators.h"

/* --- Variables ------------------------------------------------------------------------------------------------------------- */

bool em_tpl_scope_push(em_tpl_run *run, em_tpl_scope *parent) {
  em_tpl_scope *scope = em_tpl_alloc(run, 1, sizeof *scope);
  if (!scope)
    return false;
  scope->parent = parent;
  run->scope = scope;
  return true;
}

bool em_tpl_scope_set(em_tpl_run *run, em_tpl_scope *scope, const char *name, em_tpl_value value) {
  if (!em_tpl_spend(run, 1 + scope->n / 16))
    return false;
  for (size_t i = 0; i < scope->n; i++)
    if (scope->variables[i].name == name) {
      scope->variables[i].value = value;
      return true;
    }
  if (scope->n == scope->capacity) {
    size_t capacity = scope->capacity ? scope->capacity * 2 : 4;
    em_tpl_variable *variables = em_tpl_alloc(run, capacity, sizeof *variables);
    if (!variables)
      return false;
    if (scope->n > 0)
      memcpy(variables, scope->variables, scope->n * sizeof *variables);
    scope->variables = variables;
    scope->capacity = capacity;
  }
  scope->variables[scope->n++] = (em_tpl_variable){name, value};
  return true;
}

bool em_tpl_lookup(em_tpl_run *run, const char *name, em_tpl_value *out) {
  for (const em_tpl_scope *scope = run->scope; scope; scope = scope->parent) {
    if (!em_tpl_spend(run, 1 + scope->n / 16))
      return false;
    for (size_t i = 0; i < scope->n; i++)
      if (scope->variables[i].name == name)
        return *out = scope->variables[i].value, true;
  }
  const em_tpl_value *value = em_tpl_dict_get(run, run->context, name, strlen(name));
  if (value)
    return *out = *value, true;
  const em_tpl_builtin *builtin = em_tpl_find_global(name);
  if (builtin) {
    em_tpl_function *function = em_tpl_alloc(run, 1, sizeof *function);
    if (!function)
      return false;
    *function = (em_tpl_function){.builtin = builtin, .self = em_tpl_none()};
    return *out = (em_tpl_value){.kind = EM_TPL_FUNCTION, .function = function}, true;
  }
  *out = em_tpl_undefined(name);
  return run->status == EM_OK;
}

/* --- Calls ------------------------------------------------------------------------------------------------------------------ */

typedef struct arg_lists {
  em_tpl_value *items;
  em_tpl_named *named;
  size_t n, n_named, capacity;
} arg_lists;

/* Room for one more of each kind. */
static bool reserve_args(em_tpl_run *run, arg_lists *args) {
  size_t used = args->n > args->n_named ? args->n : args->n_named;
  if (used < args->capacity)
    return true;
  size_t capacity = args->capacity ? args->capacity * 2 : 4;
  em_tpl_value *items = em_tpl_alloc(run, capacity, sizeof *items);
  em_tpl_named *named = em_tpl_alloc(run, capacity, sizeof *named);
  if (!items || !named)
    return false;
  if (args->n > 0)
    memcpy(items, args->items, args->n * sizeof *items);
  if (args->n_named > 0)
    memcpy(named, args->named, args->n_named * sizeof *named);
  args->items = items;
  args->named = named;
  args->capacity = capacity;
  return true;
}

static bool add_item(em_tpl_run *run, arg_lists *args, em_tpl_value value) {
  if (!em_tpl_spend(run, 1) || !reserve_args(run, args))
    return false;
  args->items[args->n++] = value;
  return true;
}

static bool add_named(em_tpl_run *run, arg_lists *args, const char *name, em_tpl_value value) {
  if (!em_tpl_spend(run, 1) || !reserve_args(run, args))
    return false;
  args->named[args->n_named++] = (em_tpl_named){name, value};
  return true;
}

static bool add_star(em_tpl_run *run, arg_lists *args, em_tpl_value value) {
  em_tpl_list *list;
  if (!em_tpl_items(run, value, &list))
    return false;
  for (size_t i = 0; i < list->n; i++)
    if (!add_item(run, args, list->items[i]))
      return false;
  return true;
}

static bool add_star_star(em_tpl_run *run, arg_lists *args, em_tpl_value value) {
  if (value.kind != EM_TPL_DICT)
    return em_tpl_fail(run, EM_ERR_FORMAT, "arguments behind ** must be a dict");
  for (size_t i = 0; i < value.dict->n; i++) {
    em_tpl_value key = value.dict->entries[i].key;
    if (key.kind != EM_TPL_STRING)
      return em_tpl_fail(run, EM_ERR_FORMAT, "arguments behind ** must have names");
    char *name = em_tpl_alloc(run, key.string->bytes + 1, 1);
    if (!name)
      return false;
    if (key.string->bytes > 0)
      memcpy(name, key.string->text, key.string->bytes);
    if (!add_named(run, args, name, value.dict->entries[i].value))
      return false;
  }
  return true;
}

bool em_tpl_eval_args(em_tpl_run *run, const em_tpl_node *first, const em_tpl_named *extra, em_tpl_args *out) {
  arg_lists args = {0};
  bool fits = true;
  for (const em_tpl_node *node = first; node && fits; node = node->next) {
    em_tpl_value value;
    fits = em_tpl_eval(run, node->a, &value);
    if (!fits)
      break;
    if (node->kind == EM_TPL_A_NAMED)
      fits = add_named(run, &args, node->name, value);
    else if (node->kind == EM_TPL_A_STAR)
      fits = add_star(run, &args, value);
    else if (node->kind == EM_TPL_A_STAR_STAR)
      fits = add_star_star(run, &args, value);
    else
      fits = add_item(run, &args, value);
  }
  if (fits && extra)
    fits = add_named(run, &args, extra->name, extra->value);
  *out = (em_tpl_args){args.items, args.n, args.named, args.n_named};
  return fits;
}

bool em_tpl_call(em_tpl_run *run, em_tpl_value callee, const em_tpl_args *args, em_tpl_value *out) {
  if (callee.kind == EM_TPL_FUNCTION)
    return em_tpl_spend(run, 1) && callee.function->builtin->call(run, callee.function->self, args, out);
  if (callee.kind == EM_TPL_MACRO)
    return em_tpl_call_macro(run, callee.macro, args, out);
  if (callee.kind == EM_TPL_UNDEFINED)
    return em_tpl_fail(run, EM_ERR_FORMAT, "'%s' is undefined and cannot be called", callee.name ? callee.name : "?");
  return em_tpl_fail(run, EM_ERR_FORMAT, "'%s' cannot be called", em_tpl_kind_name(callee.kind));
}

/* --- Postfix operations ------------------------------------------------------------------------------------------------------ */

/* A slice's bound: absent and none stay absent. */
static bool eval_bound(em_tpl_run *run, const em_tpl_node *node, bool *given, int64_t *out) {
  em_tpl_value value = em_tpl_none();
  if (node && !em_tpl_eval(run, node, &value))
    return false;
  *given = value.kind == EM_TPL_INT || value.kind == EM_TPL_BOOL;
  if (!*given && value.kind != EM_TPL_NONE)
    return em_tpl_fail(run, EM_ERR_FORMAT, "a slice needs whole numbers, not '%s'", em_tpl_kind_name(value.kind));
  *out = value.kind == EM_TPL_INT ? value.integer : value.kind == EM_TPL_BOOL && value.boolean;
  return true;
}

static bool eval_slice(em_tpl_run *run, const em_tpl_node *node, em_tpl_value object, em_tpl_value *out) {
  em_tpl_slice slice;
  return eval_bound(run, node->a, &slice.has_start, &slice.start) &&
         eval_bound(run, node->b, &slice.has_stop, &slice.stop) &&
         eval_bound(run, node->c, &slice.has_step, &slice.step) && em_tpl_get_slice(run, object, &slice, out);
}

static bool eval_operation(em_tpl_run *run, const em_tpl_node *node, em_tpl_value object, em_tpl_value *out) {
  em_tpl_value key;
  em_tpl_args args;
  run->offset = node->offset;
  switch (node->kind) {
  case EM_TPL_P_ATTRIBUTE:
    if (!em_tpl_get_attribute(run, object, node->value, out))
      return false;
    if (out->kind == EM_TPL_UNDEFINED && !out->name)
      out->name = node->name;
    return true;
  case EM_TPL_P_ITEM:
    return em_tpl_eval(run, node->a, &key) && em_tpl_get_item(run, object, key, out);
  case EM_TPL_P_SLICE:
    return eval_slice(run, node, object, out);
  default:
    break;
  }
  if (!em_tpl_eval_args(run, node->first, NULL, &args))
    return false;
  run->offset = node->offset;
  if (node->kind == EM_TPL_P_CALL)
    return em_tpl_call(run, object, &args, out);
  if (node->kind == EM_TPL_P_FILTER) {
    if (!node->builtin)
      return em_tpl_fail(run, EM_ERR_UNSUPPORTED, "the filter \"%s\" is not known", node->name);
    return node->builtin->call(run, object, &args, out);
  }
  bool holds;
  if (!node->test)
    return em_tpl_fail(run, EM_ERR_UNSUPPORTED, "the test \"%s\" is not known", node->name);
  if (!node->test->test(run, object, &args, &holds))
    return false;
  *out = em_tpl_bool(holds != node->negated);
  return true;
}

bool em_tpl_eval_postfix(em_tpl_run *run, em_tpl_value value, const em_tpl_node *first, const em_tpl_node *stop,
                         em_tpl_value *out) {
  for (const em_tpl_node *node = first; node != stop; node = node->next)
    if (!em_tpl_spend(run, 1) || !eval_operation(run, node, value, &value))
      return false;
  *out = value;
  return true;
}

/* --- Expressions -------------------------------------------------------------------------------------------------------------- */

static bool eval_items(em_tpl_run *run, const em_tpl_node *node, em_tpl_value *out) {
  em_tpl_value list, item;
  if (!em_tpl_list_new(run, node->kind == EM_TPL_X_LIST ? EM_TPL_LIST : EM_TPL_TUPLE, 0, &list))
    return false;
  for (const em_tpl_node *child = node->first; child; child = child->next)
    if (!em_tpl_eval(run, child, &item) || !em_tpl_list_add(run, list.list, item))
      return false;
  *out = list;
  return true;
}

static bool eval_dict(em_tpl_run *run, const em_tpl_node *node, em_tpl_value *out) {
  em_tpl_value dict, key, value;
  if (!em_tpl_dict_new(run, EM_TPL_DICT, &dict))
    return false;
  for (const em_tpl_node *child = node->first; child; child = child->next->next)
    if (!em_tpl_eval(run, child, &key) || !em_tpl_eval(run, child->next, &value) ||
        !em_tpl_dict_set(run, dict.dict, key, value))
      return false;
  *out = dict;
  return true;
}

static bool eval_chain(em_tpl_run *run, const em_tpl_node *node, em_tpl_value *out) {
  em_tpl_value left, right;
  if (!em_tpl_eval(run, node->a, &left))
    return false;
  for (const em_tpl_node *link = node->first; link; link = link->next) {
    if (!em_tpl_eval(run, link->a, &right))
      return false;
    run->offset = link->offset;
    if (!em_tpl_arithmetic(run, link->op, left, right, &left))
      return false;
  }
  *out = left;
  return true;
}

/* The first operand that decides, or the last. */
static bool eval_logic(em_tpl_run *run, const em_tpl_node *node, em_tpl_value *out) {
  bool decides = node->kind == EM_TPL_X_OR;
  if (!em_tpl_eval(run, node->a, out))
    return false;
  for (const em_tpl_node *link = node->first; link && em_tpl_truth(*out) != decides; link = link->next)
    if (!em_tpl_eval(run, link->a, out))
      return false;
  return true;
}

static bool compare(em_tpl_run *run, uint8_t op, em_tpl_value a, em_tpl_value b, bool *out) {
  int order;
  if (op == EM_TPL_OP_EQ || op == EM_TPL_OP_NE) {
    if (!em_tpl_equal(run, a, b, out))
      return false;
    *out = *out == (op == EM_TPL_OP_EQ);
    return true;
  }
  if (op == EM_TPL_OP_IN || op == EM_TPL_OP_NOT_IN) {
    if (!em_tpl_contains(run, b, a, out))
      return false;
    *out = *out == (op == EM_TPL_OP_IN);
    return true;
  }
  /* Nothing orders NaN, which the order of two numbers cannot say. */
  bool ordered = !(a.kind == EM_TPL_REAL && isnan(a.real)) && !(b.kind == EM_TPL_REAL && isnan(b.real));
  if (!em_tpl_compare(run, a, b, &order))
    return false;
  *out = ordered && (op == '<'              ? order < 0
                     : op == '>'            ? order > 0
                     : op == EM_TPL_OP_LE   ? order <= 0
                                            : order >= 0);
  return true;
}

static bool eval_compare(em_tpl_run *run, const em_tpl_node *node, em_tpl_value *out) {
  em_tpl_value left, right;
  bool holds = true;
  if (!em_tpl_eval(run, node->a, &left))
    return false;
  for (const em_tpl_node *link = node->first; link && holds; link = link->next) {
    if (!em_tpl_eval(run, link->a, &right))
      return false;
    run->offset = link->offset;
    if (!compare(run, link->op, left, right, &holds))
      return false;
    left = right;
  }
  *out = em_tpl_bool(holds);
  return true;
}

static bool eval_sign(em_tpl_run *run, const em_tpl_node *node, em_tpl_value *out) {
  em_tpl_value value;
  if (!em_tpl_eval(run, node->a, &value))
    return false;
  run->offset = node->offset;
  if (!em_tpl_is_number(value))
    return em_tpl_fail(run, EM_ERR_FORMAT, "'%s' has no sign", em_tpl_kind_name(value.kind));
  if (value.kind == EM_TPL_REAL)
    return *out = em_tpl_real(node->kind == EM_TPL_X_MINUS ? -value.real : value.real), true;
  int64_t whole = value.kind == EM_TPL_INT ? value.integer : value.boolean;
  if (node->kind == EM_TPL_X_MINUS && __builtin_sub_overflow((int64_t)0, whole, &whole))
    return em_tpl_fail(run, EM_ERR_LIMIT, "a number is too large");
  *out = em_tpl_int(whole);
  return true;
}

static bool eval_condition(em_tpl_run *run, const em_tpl_node *node, em_tpl_value *out) {
  em_tpl_value condition;
  if (!em_tpl_eval(run, node->a, &condition))
    return false;
  const em_tpl_node *chosen = em_tpl_truth(condition) ? node->b : node->c;
  *out = em_tpl_undefined(NULL);
  return !chosen || em_tpl_eval(run, chosen, out);
}

static bool eval_node(em_tpl_run *run, const em_tpl_node *node, em_tpl_value *out) {
  em_tpl_value value;
  switch (node->kind) {
  case EM_TPL_X_NAME:
    run->offset = node->offset;
    return em_tpl_lookup(run, node->name, out);
  case EM_TPL_X_LIST:
  case EM_TPL_X_TUPLE:
    return eval_items(run, node, out);
  case EM_TPL_X_DICT:
    return eval_dict(run, node, out);
  case EM_TPL_X_CHAIN:
    return eval_chain(run, node, out);
  case EM_TPL_X_AND:
  case EM_TPL_X_OR:
    return eval_logic(run, node, out);
  case EM_TPL_X_COMPARE:
    return eval_compare(run, node, out);
  case EM_TPL_X_NOT:
    if (!em_tpl_eval(run, node->a, &value))
      return false;
    *out = em_tpl_bool(!em_tpl_truth(value));
    return true;
  case EM_TPL_X_MINUS:
  case EM_TPL_X_PLUS:
    return eval_sign(run, node, out);
  case EM_TPL_X_COND:
    return eval_condition(run, node, out);
  case EM_TPL_X_POSTFIX:
    return em_tpl_eval(run, node->a, &value) && em_tpl_eval_postfix(run, value, node->first, NULL, out);
  default:
    return em_tpl_fail(run, EM_ERR_INTERNAL, "a node that is no expression");
  }
}

bool em_tpl_eval(em_tpl_run *run, const em_tpl_node *node, em_tpl_value *out) {
  if (!em_tpl_spend(run, 1))
    return false;
  if (node->kind == EM_TPL_X_CONST)
    return *out = node->value, true;
  if (!em_tpl_enter(run))
    return false;
  bool fits = eval_node(run, node, out);
  em_tpl_leave(run);
  return fits;
}
