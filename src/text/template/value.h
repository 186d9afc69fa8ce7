/* The values of a template and the state of one render.
 *
 * Everything a render makes lives in the run's arena. Strings are immutable views that share bytes; each knows which of its
 * bytes come from the template's own text. Functions that can fail return false (or NULL) after latching the error in the run,
 * and spend fuel for what they copy or look at.
 */
#pragma once

#include "base/arena.h"
#include "base/json.h"
#include "text/template/template.h"

typedef enum em_tpl_kind {
  EM_TPL_UNDEFINED,
  EM_TPL_NONE,
  EM_TPL_BOOL,
  EM_TPL_INT,
  EM_TPL_REAL,
  EM_TPL_STRING,
  EM_TPL_LIST,
  EM_TPL_TUPLE,
  EM_TPL_DICT,
  EM_TPL_NAMESPACE,
  EM_TPL_FUNCTION, /* a global or a bound method */
  EM_TPL_MACRO,
  EM_TPL_LOOP
} em_tpl_kind;

typedef struct em_tpl_string em_tpl_string;
typedef struct em_tpl_list em_tpl_list;
typedef struct em_tpl_dict em_tpl_dict;
typedef struct em_tpl_function em_tpl_function;
typedef struct em_tpl_macro em_tpl_macro;
typedef struct em_tpl_loop em_tpl_loop;

typedef struct em_tpl_value {
  em_tpl_kind kind;
  union {
    bool boolean;
    int64_t integer;
    double real;
    const char *name; /* of what is undefined, NUL-terminated, or NULL */
    const em_tpl_string *string;
    em_tpl_list *list; /* lists and tuples */
    em_tpl_dict *dict; /* dicts and namespaces */
    const em_tpl_function *function;
    const em_tpl_macro *macro;
    em_tpl_loop *loop;
  };
} em_tpl_value;

/* A run of one provenance: from the end of the one before it to `end`. */
typedef struct em_tpl_part {
  size_t end;
  bool from_template;
} em_tpl_part;

typedef struct em_tpl_builder em_tpl_builder;

struct em_tpl_string {
  const char *text; /* UTF-8, not NUL-terminated */
  size_t bytes;
  const em_tpl_part *parts; /* NULL: all of it is from_template or not. The last end may lie past bytes */
  size_t n_parts;
  em_tpl_builder *builder; /* whose tail this string may be, so that adding to it need not copy it; or NULL */
  bool from_template;      /* where parts is NULL */
  bool safe;               /* `safe` was applied: only the test `escaped` asks */
};

/* Text that grows, with its provenance. */
struct em_tpl_builder {
  char *text;
  size_t bytes, capacity;
  em_tpl_part *parts;
  size_t n_parts, parts_capacity;
};

struct em_tpl_list {
  em_tpl_value *items;
  size_t n, capacity;
};

typedef struct em_tpl_entry {
  em_tpl_value key, value;
} em_tpl_entry;

/* In the order of insertion. Small ones are searched, larger ones have an open-addressed index of entry numbers plus 1. */
struct em_tpl_dict {
  em_tpl_entry *entries;
  size_t n, capacity;
  uint32_t *index;
  size_t index_slots; /* a power of two, or 0 */
};

typedef struct em_tpl_scope em_tpl_scope;

typedef enum em_tpl_flow { EM_TPL_NORMAL, EM_TPL_BREAK, EM_TPL_CONTINUE } em_tpl_flow;

typedef struct em_tpl_run {
  em_arena *arena;
  const em_template *template_;
  em_error *error;
  em_status status;        /* the first failure */
  uint64_t fuel;           /* what is left */
  uint64_t next_look;      /* the clock is read when fuel falls to this */
  uint64_t end_ns;         /* of the thread's processor time */
  unsigned depth;          /* of the interpreter's own recursion */
  unsigned calls;          /* nested macro calls */
  size_t offset;           /* in the source: where the evaluator is, for messages */
  size_t max_output_bytes;
  em_tpl_builder *out;     /* where output goes at the moment */
  em_tpl_scope *scope;
  em_tpl_dict *context;
  em_tpl_flow flow;
  int64_t now_unix_s;
} em_tpl_run;

#define EM_TPL_MAX_ARENA_BYTES (32u << 20)
#define EM_TPL_MAX_RUN_DEPTH 700u /* of the evaluator: blocks, expressions and calls together */
#define EM_TPL_MAX_RANGE 100000   /* as Jinja's sandbox has it */

/* --- Failing and spending -------------------------------------------------------------------------------------------- */

/* Latches an error at the place being evaluated; always returns false. */
bool em_tpl_fail(em_tpl_run *run, em_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Takes fuel; false when it, or the time, has run out. */
bool em_tpl_spend(em_tpl_run *run, uint64_t fuel);

/* Memory of the run, zeroed. NULL after latching EM_ERR_LIMIT or EM_ERR_NO_MEMORY. */
void *em_tpl_alloc(em_tpl_run *run, size_t n, size_t bytes);

/* Counts one level of recursion; every true is paired with em_tpl_leave. */
bool em_tpl_enter(em_tpl_run *run);
void em_tpl_leave(em_tpl_run *run);

/* --- Making values --------------------------------------------------------------------------------------------------- */

em_tpl_value em_tpl_undefined(const char *name);
em_tpl_value em_tpl_none(void);
em_tpl_value em_tpl_bool(bool value);
em_tpl_value em_tpl_int(int64_t value);
em_tpl_value em_tpl_real(double value);

/* text is taken over as it is: it must live as long as the run. */
bool em_tpl_string_view(em_tpl_run *run, const char *text, size_t bytes, bool from_template, em_tpl_value *out);
/* A copy of text, as data. */
bool em_tpl_string_copy(em_tpl_run *run, const char *text, size_t bytes, em_tpl_value *out);
/* Bytes [start, start + bytes) of a string, with their provenance. */
bool em_tpl_string_slice(em_tpl_run *run, const em_tpl_string *string, size_t start, size_t bytes, em_tpl_value *out);
/* a and b one after the other. */
bool em_tpl_string_concat(em_tpl_run *run, const em_tpl_string *a, const em_tpl_string *b, em_tpl_value *out);

bool em_tpl_list_new(em_tpl_run *run, em_tpl_kind list_or_tuple, size_t capacity, em_tpl_value *out);
bool em_tpl_list_add(em_tpl_run *run, em_tpl_list *list, em_tpl_value item);
/* Inserts before place (<= n). */
bool em_tpl_list_insert(em_tpl_run *run, em_tpl_list *list, size_t place, em_tpl_value item);
void em_tpl_list_remove(em_tpl_list *list, size_t place);

bool em_tpl_dict_new(em_tpl_run *run, em_tpl_kind dict_or_namespace, em_tpl_value *out);
/* Fails for keys that cannot be hashed. A key that is there keeps its place. */
bool em_tpl_dict_set(em_tpl_run *run, em_tpl_dict *dict, em_tpl_value key, em_tpl_value value);
/* *out is NULL where the key is absent. */
bool em_tpl_dict_find(em_tpl_run *run, const em_tpl_dict *dict, em_tpl_value key, em_tpl_value **out);
/* The same for a text key, without failing: NULL where it is absent or fuel has run out. */
em_tpl_value *em_tpl_dict_get(em_tpl_run *run, const em_tpl_dict *dict, const char *key, size_t bytes);
bool em_tpl_dict_remove(em_tpl_run *run, em_tpl_dict *dict, em_tpl_value key, bool *removed);

/* A JSON value as a template's value; its texts are shared and are data. */
bool em_tpl_from_json(em_tpl_run *run, const em_json *json, em_tpl_value *out);

/* --- Building text ---------------------------------------------------------------------------------------------------- */

em_tpl_builder *em_tpl_builder_new(em_tpl_run *run);
bool em_tpl_put(em_tpl_run *run, em_tpl_builder *builder, const char *text, size_t bytes, bool from_template);
bool em_tpl_put_text(em_tpl_run *run, em_tpl_builder *builder, const char *text); /* NUL-terminated, as data */
bool em_tpl_put_string(em_tpl_run *run, em_tpl_builder *builder, const em_tpl_string *string);
bool em_tpl_put_slice(em_tpl_run *run, em_tpl_builder *builder, const em_tpl_string *string, size_t start, size_t bytes);
/* What was built; the builder may go on growing behind it. */
bool em_tpl_built(em_tpl_run *run, em_tpl_builder *builder, em_tpl_value *out);
/* Whether the byte at `place` of a string comes from the template. */
bool em_tpl_origin_at(const em_tpl_string *string, size_t place);

/* --- Asking values ---------------------------------------------------------------------------------------------------- */

const char *em_tpl_kind_name(em_tpl_kind kind); /* as Python names it */
bool em_tpl_is_text(em_tpl_value value, const char *text);
bool em_tpl_truth(em_tpl_value value);
bool em_tpl_is_number(em_tpl_value value); /* booleans are numbers */
double em_tpl_number(em_tpl_value value);

/* Python's ==. Fails only for depth and fuel. */
bool em_tpl_equal(em_tpl_run *run, em_tpl_value a, em_tpl_value b, bool *out);
/* Python's ordering: *out is negative, 0 or positive. Fails for kinds that cannot be compared. */
bool em_tpl_compare(em_tpl_run *run, em_tpl_value a, em_tpl_value b, int *out);
bool em_tpl_contains(em_tpl_run *run, em_tpl_value container, em_tpl_value item, bool *out);

/* The number of items or characters; fails for values without a length. */
bool em_tpl_length(em_tpl_run *run, em_tpl_value value, size_t *out);
/* The items of anything that can be gone through (a list is returned itself, not copied). */
bool em_tpl_items(em_tpl_run *run, em_tpl_value value, em_tpl_list **out);

/* object.name and object[key] as Jinja looks them up; what is absent is undefined. */
bool em_tpl_get_attribute(em_tpl_run *run, em_tpl_value object, em_tpl_value name, em_tpl_value *out);
bool em_tpl_get_item(em_tpl_run *run, em_tpl_value object, em_tpl_value key, em_tpl_value *out);

/* --- Text of values ---------------------------------------------------------------------------------------------------- */

/* str(value): strings are themselves, undefined is empty. */
bool em_tpl_to_string(em_tpl_run *run, em_tpl_value value, em_tpl_value *out);
/* Appends str(value). */
bool em_tpl_put_value(em_tpl_run *run, em_tpl_builder *builder, em_tpl_value value);

typedef struct em_tpl_json_style {
  bool ensure_ascii, sort_keys, indented;
  em_tpl_value indent;                     /* a string, where indented */
  const em_tpl_string *item, *key; /* separators; NULL: json.dumps's own */
} em_tpl_json_style;
bool em_tpl_to_json(em_tpl_run *run, em_tpl_value value, const em_tpl_json_style *style, em_tpl_value *out);

/* Python's repr of a float, NUL-terminated. */
void em_tpl_format_real(double value, char out[48]);

/* Reads a decimal number as Python's float() does, without looking at the locale; false when it is none. */
bool em_tpl_parse_real(const char *text, size_t bytes, double *out);
