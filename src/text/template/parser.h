/* Shared by the two halves of the parser: statements (parser.c) and expressions (expression.c). */
#pragma once

#include "text/template/ast.h"
#include "text/template/lexer.h"

struct em_tpl_parser {
  em_template *template_;
  const em_tpl_token *token; /* the current one */
  unsigned depth;
  unsigned conditions; /* if-blocks around: an unknown filter there may never be reached */
  unsigned loops;
  const char **names; /* interned, open addressing */
  size_t n_names, names_slots;
  em_error *error;
};

/* All fail with EM_ERR_FORMAT, EM_ERR_LIMIT (nesting), EM_ERR_UNSUPPORTED or EM_ERR_NO_MEMORY. */
em_status em_tpl_parse_fail(em_tpl_parser *parser, em_status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
em_status em_tpl_new_node(em_tpl_parser *parser, em_tpl_node_kind kind, em_tpl_node **out);
em_status em_tpl_intern(em_tpl_parser *parser, const em_tpl_token *token, const char **out);

/* Every EM_OK is paired with parser->depth--. */
em_status em_tpl_parse_enter(em_tpl_parser *parser);

bool em_tpl_at_operator(const em_tpl_parser *parser, uint8_t op);
bool em_tpl_at_name(const em_tpl_parser *parser, const char *name);
bool em_tpl_skip_operator(em_tpl_parser *parser, uint8_t op);
bool em_tpl_skip_name(em_tpl_parser *parser, const char *name);
em_status em_tpl_expect_operator(em_tpl_parser *parser, uint8_t op);
em_status em_tpl_expect_name(em_tpl_parser *parser, const char **out);

/* An expression; conditional: `x if y else z` is taken as part of it. */
em_status em_tpl_parse_expression(em_tpl_parser *parser, bool conditional, em_tpl_node **out);
/* The same, or several with commas between them: a tuple. */
em_status em_tpl_parse_tuple(em_tpl_parser *parser, bool conditional, em_tpl_node **out);
/* What is assigned to: names with commas between them, or `name.attribute`. */
em_status em_tpl_parse_target(em_tpl_parser *parser, bool with_attribute, em_tpl_node **out);
/* Arguments from "(" to ")" as a list. */
em_status em_tpl_parse_arguments(em_tpl_parser *parser, em_tpl_node **out);
/* Filters: `a(1) | b`. The parser stands at the first name. */
em_status em_tpl_parse_filters(em_tpl_parser *parser, em_tpl_node **out);
