/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/template/parser.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

/* --- What both halves use ----------------------------------------------------------------------------------------------- */

em_status em_tpl_parse_fail(em_tpl_parser *parser, em_status code, const char *format, ...) {
  char text[EM_ERROR_TEXT_BYTES];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  size_t offset = parser->token->offset;
  return em_fail_at(parser->error, code, offset, "line %zu: %s", em_tpl_line(parser->template_->source, offset), text);
}

em_status em_tpl_new_node(em_tpl_parser *parser, em_tpl_node_kind kind, em_tpl_node **out) {
  em_tpl_node *node = em_arena_alloc(parser->template_->arena, sizeof *node);
  if (!node)
    return em_tpl_parse_fail(parser, EM_ERR_NO_MEMORY, "no memory for the template");
  node->kind = (uint8_t)kind;
  node->offset = parser->token->offset;
  *out = node;
  return EM_OK;
}

static size_t hash_text(const char *text, size_t bytes) {
  uint64_t hash = 14695981039346656037u;
  for (size_t i = 0; i < bytes; i++)
    hash = (hash ^ (unsigned char)text[i]) * 1099511628211u;
  return (size_t)(hash ^ hash >> 32);
}

static em_status grow_names(em_tpl_parser *parser) {
  size_t slots = parser->names_slots ? parser->names_slots * 2 : 128;
  const char **names = em_calloc(slots, sizeof *names);
  if (!names)
    return em_tpl_parse_fail(parser, EM_ERR_NO_MEMORY, "no memory for the template");
  for (size_t i = 0; i < parser->names_slots; i++) {
    if (!parser->names[i])
      continue;
    size_t slot = hash_text(parser->names[i], strlen(parser->names[i])) & (slots - 1);
    while (names[slot])
      slot = (slot + 1) & (slots - 1);
    names[slot] = parser->names[i];
  }
  free(parser->names);
  parser->names = names;
  parser->names_slots = slots;
  return EM_OK;
}

static em_status intern(em_tpl_parser *parser, const char *text, size_t bytes, const char **out) {
  em_status status = EM_OK;
  if (parser->n_names * 2 >= parser->names_slots)
    EM_TRY(grow_names(parser));
  size_t slot = hash_text(text, bytes) & (parser->names_slots - 1);
  while (parser->names[slot]) {
    if (strncmp(parser->names[slot], text, bytes) == 0 && parser->names[slot][bytes] == 0) {
      *out = parser->names[slot];
      return EM_OK;
    }
    slot = (slot + 1) & (parser->names_slots - 1);
  }
  const char *name = em_arena_text(parser->template_->arena, text, bytes);
  if (!name)
    EM_TRY(em_tpl_parse_fail(parser, EM_ERR_NO_MEMORY, "no memory for the template"));
  parser->names[slot] = *out = name;
  parser->n_names++;
fail:
  return status;
}

em_status em_tpl_intern(em_tpl_parser *parser, const em_tpl_token *token, const char **out) {
  return intern(parser, parser->template_->source + token->offset, token->bytes, out);
}

em_status em_tpl_parse_enter(em_tpl_parser *parser) {
  if (parser->depth >= EM_TEMPLATE_MAX_DEPTH)
    return em_tpl_parse_fail(parser, EM_ERR_LIMIT, "nested deeper than %u", EM_TEMPLATE_MAX_DEPTH);
  parser->depth++;
  return EM_OK;
}

bool em_tpl_at_operator(const em_tpl_parser *parser, uint8_t op) {
  return parser->token->kind == EM_TPL_T_OPERATOR && parser->token->op == op;
}

bool em_tpl_at_name(const em_tpl_parser *parser, const char *name) {
  return parser->token->kind == EM_TPL_T_NAME && parser->token->bytes == strlen(name) &&
         memcmp(parser->template_->source + parser->token->offset, name, parser->token->bytes) == 0;
}

bool em_tpl_skip_operator(em_tpl_parser *parser, uint8_t op) {
  bool at = em_tpl_at_operator(parser, op);
  parser->token += at;
  return at;
}

bool em_tpl_skip_name(em_tpl_parser *parser, const char *name) {
  bool at = em_tpl_at_name(parser, name);
  parser->token += at;
  return at;
}

em_status em_tpl_expect_operator(em_tpl_parser *parser, uint8_t op) {
  if (em_tpl_skip_operator(parser, op))
    return EM_OK;
  return em_tpl_parse_fail(parser, EM_ERR_FORMAT, "\"%c\" is expected", op);
}

em_status em_tpl_expect_name(em_tpl_parser *parser, const char **out) {
  if (parser->token->kind != EM_TPL_T_NAME)
    return em_tpl_parse_fail(parser, EM_ERR_FORMAT, "a name is expected");
  return em_tpl_intern(parser, parser->token++, out);
}

/* --- Statements ---------------------------------------------------------------------------------------------------------- */

static em_status expect_tag_end(em_tpl_parser *parser) {
  if (parser->token->kind != EM_TPL_T_BLOCK_END)
    return em_tpl_parse_fail(parser, EM_ERR_FORMAT, "the end of the tag is expected");
  parser->token++;
  return EM_OK;
}

static em_status parse_body(em_tpl_parser *parser, const char *const *ends, em_tpl_node **out);

/* A body up to the one tag that ends it, which is skipped. */
static em_status parse_body_to(em_tpl_parser *parser, const char *end, em_tpl_node **out) {
  em_status status = EM_OK;
  EM_TRY(parse_body(parser, (const char *const[]){end, NULL}, out));
  parser->token += 2;
  EM_TRY(expect_tag_end(parser));
fail:
  return status;
}

static em_status parse_if(em_tpl_parser *parser, em_tpl_node *node) {
  static const char *const ends[] = {"elif", "else", "endif", NULL};
  em_status status = EM_OK;
  em_tpl_node *branch = NULL, **tail = &node->first;
  bool condition = true;
  parser->conditions++;
  for (;;) {
    EM_TRY(em_tpl_new_node(parser, EM_TPL_S_BRANCH, &branch));
    if (condition)
      EM_TRY(em_tpl_parse_tuple(parser, false, &branch->a));
    EM_TRY(expect_tag_end(parser));
    EM_TRY(parse_body(parser, condition ? ends : ends + 2, &branch->first));
    *tail = branch;
    tail = &branch->next;
    parser->token++;
    if (em_tpl_skip_name(parser, "endif"))
      break;
    condition = em_tpl_at_name(parser, "elif");
    parser->token++;
  }
  EM_TRY(expect_tag_end(parser));
  parser->conditions--;
fail:
  return status;
}

static em_status parse_for(em_tpl_parser *parser, em_tpl_node *node) {
  static const char *const ends[] = {"else", "endfor", NULL};
  em_status status = EM_OK;
  EM_TRY(em_tpl_parse_target(parser, false, &node->a));
  if (!em_tpl_skip_name(parser, "in"))
    EM_TRY(em_tpl_parse_fail(parser, EM_ERR_FORMAT, "\"in\" is expected"));
  EM_TRY(em_tpl_parse_tuple(parser, false, &node->b));
  if (em_tpl_skip_name(parser, "if"))
    EM_TRY(em_tpl_parse_expression(parser, true, &node->c));
  if (em_tpl_at_name(parser, "recursive"))
    EM_TRY(em_tpl_parse_fail(parser, EM_ERR_UNSUPPORTED, "recursive loops are not known"));
  EM_TRY(expect_tag_end(parser));
  parser->loops++;
  EM_TRY(parse_body(parser, ends, &node->first));
  parser->loops--;
  parser->token++;
  if (em_tpl_skip_name(parser, "else")) {
    EM_TRY(expect_tag_end(parser));
    return parse_body_to(parser, "endfor", &node->second);
  }
  parser->token++;
  EM_TRY(expect_tag_end(parser));
fail:
  return status;
}

static em_status parse_set(em_tpl_parser *parser, em_tpl_node *node) {
  em_status status = EM_OK;
  EM_TRY(em_tpl_parse_target(parser, true, &node->a));
  if (em_tpl_skip_operator(parser, '=')) {
    EM_TRY(em_tpl_parse_tuple(parser, true, &node->b));
    return expect_tag_end(parser);
  }
  node->kind = EM_TPL_S_SET_BLOCK;
  if (em_tpl_skip_operator(parser, '|'))
    EM_TRY(em_tpl_parse_filters(parser, &node->second));
  EM_TRY(expect_tag_end(parser));
  EM_TRY(parse_body_to(parser, "endset", &node->first));
fail:
  return status;
}

/* Parameters from "(" to ")", names with or without a default. */
static em_status parse_parameters(em_tpl_parser *parser, em_tpl_node **tail) {
  em_status status = EM_OK;
  EM_TRY(em_tpl_expect_operator(parser, '('));
  while (!em_tpl_skip_operator(parser, ')')) {
    em_tpl_node *node = NULL;
    EM_TRY(em_tpl_new_node(parser, EM_TPL_A_NAMED, &node));
    EM_TRY(em_tpl_expect_name(parser, &node->name));
    if (em_tpl_skip_operator(parser, '='))
      EM_TRY(em_tpl_parse_expression(parser, true, &node->a));
    *tail = node;
    tail = &node->next;
    if (em_tpl_skip_operator(parser, ','))
      continue;
    EM_TRY(em_tpl_expect_operator(parser, ')'));
    break;
  }
fail:
  return status;
}

/* A macro's or caller's body: a loop around it cannot be left from inside. */
static em_status parse_macro_body(em_tpl_parser *parser, const char *end, em_tpl_node **out) {
  unsigned loops = parser->loops;
  parser->loops = 0;
  em_status status = parse_body_to(parser, end, out);
  parser->loops = loops;
  return status;
}

static em_status parse_macro(em_tpl_parser *parser, em_tpl_node *node) {
  em_status status = EM_OK;
  EM_TRY(em_tpl_expect_name(parser, &node->name));
  EM_TRY(parse_parameters(parser, &node->second));
  EM_TRY(expect_tag_end(parser));
  EM_TRY(parse_macro_body(parser, "endmacro", &node->first));
fail:
  return status;
}

static em_status parse_call(em_tpl_parser *parser, em_tpl_node *node) {
  em_status status = EM_OK;
  if (em_tpl_at_operator(parser, '('))
    EM_TRY(parse_parameters(parser, &node->second));
  EM_TRY(em_tpl_parse_expression(parser, true, &node->a));
  const em_tpl_node *last = node->a->kind == EM_TPL_X_POSTFIX ? node->a->first : NULL;
  while (last && last->next)
    last = last->next;
  if (!last || last->kind != EM_TPL_P_CALL)
    EM_TRY(em_tpl_parse_fail(parser, EM_ERR_FORMAT, "a call is expected"));
  EM_TRY(expect_tag_end(parser));
  EM_TRY(parse_macro_body(parser, "endcall", &node->first));
fail:
  return status;
}

static em_status parse_with(em_tpl_parser *parser, em_tpl_node *node) {
  em_status status = EM_OK;
  em_tpl_node **tail = &node->second, *set = NULL;
  while (parser->token->kind != EM_TPL_T_BLOCK_END) {
    if (node->second)
      EM_TRY(em_tpl_expect_operator(parser, ','));
    EM_TRY(em_tpl_new_node(parser, EM_TPL_S_SET, &set));
    EM_TRY(em_tpl_parse_target(parser, false, &set->a));
    EM_TRY(em_tpl_expect_operator(parser, '='));
    EM_TRY(em_tpl_parse_expression(parser, true, &set->b));
    *tail = set;
    tail = &set->next;
  }
  EM_TRY(expect_tag_end(parser));
  EM_TRY(parse_body_to(parser, "endwith", &node->first));
fail:
  return status;
}

static em_status parse_generation(em_tpl_parser *parser, em_tpl_node *node) {
  em_status status = EM_OK;
  EM_TRY(expect_tag_end(parser));
  EM_TRY(parse_body_to(parser, "endgeneration", &node->first));
fail:
  return status;
}

static em_status parse_filter_block(em_tpl_parser *parser, em_tpl_node *node) {
  em_status status = EM_OK;
  EM_TRY(em_tpl_parse_filters(parser, &node->second));
  EM_TRY(expect_tag_end(parser));
  EM_TRY(parse_body_to(parser, "endfilter", &node->first));
fail:
  return status;
}

static em_status parse_jump(em_tpl_parser *parser, em_tpl_node *node) {
  if (parser->loops == 0)
    return em_tpl_parse_fail(parser, EM_ERR_FORMAT, "\"break\" and \"continue\" belong into a loop");
  return expect_tag_end(parser);
}

static const struct {
  const char *name;
  em_tpl_node_kind kind;
  em_status (*parse)(em_tpl_parser *parser, em_tpl_node *node);
} statements[] = {
    {"if", EM_TPL_S_IF, parse_if},
    {"for", EM_TPL_S_FOR, parse_for},
    {"set", EM_TPL_S_SET, parse_set},
    {"macro", EM_TPL_S_MACRO, parse_macro},
    {"call", EM_TPL_S_CALL, parse_call},
    {"with", EM_TPL_S_SCOPE, parse_with},
    {"generation", EM_TPL_S_SCOPE, parse_generation},
    {"filter", EM_TPL_S_FILTER, parse_filter_block},
    {"break", EM_TPL_S_BREAK, parse_jump},
    {"continue", EM_TPL_S_CONTINUE, parse_jump},
};

static bool is_stray_tag(const char *name) {
  static const char *const tags[] = {"elif",    "else",          "endif",     "endfor", "endset",
                                     "endmacro", "endcall", "endwith", "endgeneration", "endfilter", "endraw"};
  for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++)
    if (strcmp(name, tags[i]) == 0)
      return true;
  return false;
}

static em_status parse_statement(em_tpl_parser *parser, em_tpl_node **out) {
  const char *name;
  em_status status = EM_OK;
  parser->token++;
  for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
    if (em_tpl_skip_name(parser, statements[i].name)) {
      EM_TRY(em_tpl_new_node(parser, statements[i].kind, out));
      return statements[i].parse(parser, *out);
    }
  EM_TRY(em_tpl_expect_name(parser, &name));
  parser->token--;
  if (is_stray_tag(name))
    EM_TRY(em_tpl_parse_fail(parser, EM_ERR_FORMAT, "\"%s\" does not belong here", name));
  EM_TRY(em_tpl_parse_fail(parser, EM_ERR_UNSUPPORTED, "the tag \"%s\" is not known", name));
fail:
  return status;
}

/* Whether the current tag is one of ends. */
static bool at_end_tag(em_tpl_parser *parser, const char *const *ends) {
  if (parser->token->kind != EM_TPL_T_BLOCK_BEGIN)
    return false;
  parser->token++;
  bool found = false;
  for (; *ends && !found; ends++)
    found = em_tpl_at_name(parser, *ends);
  parser->token--;
  return found;
}

/* Statements up to a tag of `ends` (the parser then stands at it), or without any to the end of the template. */
static em_status parse_body(em_tpl_parser *parser, const char *const *ends, em_tpl_node **out) {
  em_status status = EM_OK;
  em_tpl_node **tail = out, *node = NULL;
  EM_TRY(em_tpl_parse_enter(parser));
  while (status == EM_OK && !at_end_tag(parser, ends)) {
    if (parser->token->kind == EM_TPL_T_END) {
      if (*ends)
        status = em_tpl_parse_fail(parser, EM_ERR_FORMAT, "the tag \"%s\" is missing", *ends);
      break;
    }
    if (parser->token->kind == EM_TPL_T_TEXT) {
      status = em_tpl_new_node(parser, EM_TPL_S_TEXT, &node);
      em_tpl_string *text = status == EM_OK ? em_arena_alloc(parser->template_->arena, sizeof *text) : NULL;
      if (text) {
        *text = (em_tpl_string){.text = parser->template_->source + parser->token->offset,
                                .bytes = parser->token->bytes,
                                .from_template = true};
        node->value = (em_tpl_value){.kind = EM_TPL_STRING, .string = text};
        parser->token++;
      } else if (status == EM_OK) {
        status = em_tpl_parse_fail(parser, EM_ERR_NO_MEMORY, "no memory for the template");
      }
    } else if (parser->token->kind == EM_TPL_T_PRINT_BEGIN) {
      parser->token++;
      status = em_tpl_new_node(parser, EM_TPL_S_PRINT, &node);
      if (status == EM_OK)
        status = em_tpl_parse_tuple(parser, true, &node->a);
      if (status == EM_OK && (parser->token++)->kind != EM_TPL_T_PRINT_END) {
        parser->token--;
        status = em_tpl_parse_fail(parser, EM_ERR_FORMAT, "\"}}\" is expected");
      }
    } else {
      status = parse_statement(parser, &node);
    }
    if (status == EM_OK) {
      *tail = node;
      tail = &node->next;
    }
  }
  parser->depth--;
fail:
  return status;
}

em_status em_tpl_parse(em_template *template_, em_error *error) {
  em_status status = EM_OK;
  em_tpl_token *tokens = NULL;
  em_tpl_node *body = NULL;
  em_tpl_parser parser = {.template_ = template_, .error = error};
  EM_TRY(em_tpl_lex(template_->source, template_->bytes, &tokens, error));
  parser.token = tokens;
  EM_TRY(intern(&parser, "caller", strlen("caller"), &template_->caller));
  EM_TRY(intern(&parser, "loop", strlen("loop"), &template_->loop));
  EM_TRY(parse_body(&parser, (const char *const[]){NULL}, &body));
  template_->body = body;
fail:
  free(tokens);
  free(parser.names);
  return status;
}
