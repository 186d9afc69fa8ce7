/* What a template can call: filters, tests, methods and global functions, all looked up by name in tables. */
#pragma once

#include "text/template/value.h"

typedef struct em_tpl_named {
  const char *name; /* NUL-terminated */
  em_tpl_value value;
} em_tpl_named;

typedef struct em_tpl_args {
  const em_tpl_value *items;
  size_t n;
  const em_tpl_named *named;
  size_t n_named;
} em_tpl_args;

/* self: what a filter is applied to, or a method's object. */
typedef bool (*em_tpl_call_fn)(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out);
typedef bool (*em_tpl_test_fn)(em_tpl_run *run, em_tpl_value value, const em_tpl_args *args, bool *out);

typedef struct em_tpl_builtin {
  const char *name; /* NULL ends a table */
  em_tpl_call_fn call;
} em_tpl_builtin;

typedef struct em_tpl_test {
  const char *name;
  em_tpl_test_fn test;
} em_tpl_test;

struct em_tpl_function {
  const em_tpl_builtin *builtin;
  em_tpl_value self;
};

/* Each NULL when there is none. */
const em_tpl_builtin *em_tpl_find_filter(const char *name);
const em_tpl_test *em_tpl_find_test(const char *name);
const em_tpl_builtin *em_tpl_find_method(em_tpl_kind kind, const char *name, size_t bytes);
const em_tpl_builtin *em_tpl_find_global(const char *name);

/* The tables behind them. */
extern const em_tpl_builtin em_tpl_text_filters[], em_tpl_value_filters[], em_tpl_list_filters[];
extern const em_tpl_builtin em_tpl_string_methods[], em_tpl_list_methods[], em_tpl_dict_methods[], em_tpl_loop_methods[];
extern const em_tpl_builtin em_tpl_globals[];

/* The argument at `place` or called `name`, or NULL. */
const em_tpl_value *em_tpl_arg(const em_tpl_args *args, size_t place, const char *name);
/* The same, with a default; false (latched) where the argument is of another kind. None counts as absent. */
bool em_tpl_arg_int(em_tpl_run *run, const em_tpl_args *args, size_t place, const char *name, int64_t *value);
bool em_tpl_arg_string(em_tpl_run *run, const em_tpl_args *args, size_t place, const char *name,
                       const em_tpl_string **value);
/* Any value counts, by its truth. */
bool em_tpl_arg_bool(const em_tpl_args *args, size_t place, const char *name, bool otherwise);

/* Calls a function, macro or anything else that can be called. */
bool em_tpl_call(em_tpl_run *run, em_tpl_value callee, const em_tpl_args *args, em_tpl_value *out);
