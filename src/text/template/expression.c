/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/template/parser.h"

/* Appends a node to a list whose end is *tail. */
static void push(em_tpl_node ***tail, em_tpl_node *node) {
  **tail = node;
  *tail = &node->next;
}

static em_status new_text(em_tpl_parser *parser, const char *text, size_t bytes, em_tpl_value *out) {
  em_tpl_string *string = em_arena_alloc(parser->template_->arena, sizeof *string);
  if (!string)
    return em_tpl_parse_fail(parser, EM_ERR_NO_MEMORY, "no memory for the template");
  *string = (em_tpl_string){.text = text, .bytes = bytes, .from_template = true};
  *out = (em_tpl_value){.kind = EM_TPL_STRING, .string = string};
  return EM_OK;
}

/* --- Literals ---------------------------------------------------------------------------------------------------------- */

static int hex_digit(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  c |= 32;
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes the escape behind a backslash at text[0..bytes) to out; returns how many bytes it took, 0 where it is none. */
static size_t decode_escape(const char *text, size_t bytes, char out[4], size_t *n_out) {
  static const char letters[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
  for (size_t i = 0; i + 1 < sizeof letters; i += 2)
    if (text[0] == letters[i]) {
      out[0] = letters[i + 1];
      *n_out = 1;
      return 1;
    }
  if (text[0] == '\n') {
    *n_out = 0;
    return 1;
  }
  uint32_t code = 0;
  size_t used = 0, wanted = text[0] == 'x' ? 2 : text[0] == 'u' ? 4 : text[0] == 'U' ? 8 : 0;
  if (wanted > 0) {
    for (used = 1; used <= wanted && used < bytes && hex_digit(text[used]) >= 0; used++)
      code = code << 4 | (uint32_t)hex_digit(text[used]);
    if (used != wanted + 1)
      return 0;
  } else {
    for (; used < 3 && used < bytes && text[used] >= '0' && text[used] <= '7'; used++)
      code = code << 3 | (uint32_t)(text[used] - '0');
    if (used == 0)
      return 0;
  }
  *n_out = em_utf8_encode(code, out);
  return used;
}

/* One or more string literals behind one another. */
static em_status parse_strings(em_tpl_parser *parser, em_tpl_value *out) {
  const char *source = parser->template_->source;
  size_t most = 0;
  const em_tpl_token *end = parser->token;
  for (; end->kind == EM_TPL_T_STRING; end++)
    most += end->bytes - 2;
  if (end == parser->token + 1 && !memchr(source + parser->token->offset, '\\', parser->token->bytes)) {
    const em_tpl_token *token = parser->token++;
    return new_text(parser, source + token->offset + 1, most, out);
  }
  /* An escape is never shorter than what it stands for. */
  char *text = em_arena_alloc(parser->template_->arena, most + 1);
  if (!text)
    return em_tpl_parse_fail(parser, EM_ERR_NO_MEMORY, "no memory for the template");
  size_t bytes = 0;
  for (; parser->token < end; parser->token++) {
    const char *at = source + parser->token->offset + 1, *stop = at + parser->token->bytes - 2;
    while (at < stop) {
      char decoded[4];
      size_t n, used = *at == '\\' && at + 1 < stop ? decode_escape(at + 1, (size_t)(stop - at - 1), decoded, &n) : 0;
      if (used > 0) {
        memcpy(text + bytes, decoded, n);
        bytes += n;
        at += used + 1;
      } else {
        text[bytes++] = *at++;
      }
    }
  }
  return new_text(parser, text, bytes, out);
}

static em_status parse_integer(em_tpl_parser *parser, em_tpl_value *out) {
  const em_tpl_token *token = parser->token;
  const char *text = parser->template_->source + token->offset;
  uint64_t value = 0;
  unsigned base = 10;
  size_t i = 0;
  char letter = token->bytes > 2 && text[0] == '0' ? (char)(text[1] | 32) : 0;
  if (letter == 'x' || letter == 'o' || letter == 'b') {
    base = letter == 'x' ? 16 : letter == 'o' ? 8 : 2;
    i = 2;
  }
  for (; i < token->bytes; i++) {
    if (text[i] == '_')
      continue;
    int digit = hex_digit(text[i]);
    if (digit < 0 || (unsigned)digit >= base)
      return em_tpl_parse_fail(parser, EM_ERR_FORMAT, "a number has a wrong digit");
    if (__builtin_mul_overflow(value, (uint64_t)base, &value) || __builtin_add_overflow(value, (uint64_t)digit, &value) ||
        value > INT64_MAX)
      return em_tpl_parse_fail(parser, EM_ERR_LIMIT, "a number is too large");
  }
  parser->token++;
  *out = em_tpl_int((int64_t)value);
  return EM_OK;
}

static em_status parse_real(em_tpl_parser *parser, em_tpl_value *out) {
  const em_tpl_token *token = parser->token;
  double value;
  if (!em_tpl_parse_real(parser->template_->source + token->offset, token->bytes, &value))
    return em_tpl_parse_fail(parser, EM_ERR_FORMAT, "a number that cannot be read");
  parser->token++;
  *out = em_tpl_real(value);
  return EM_OK;
}

/* --- Primaries --------------------------------------------------------------------------------------------------------- */

/* Items up to the closing bracket, which is skipped. *comma: whether there was one. */
static em_status parse_items(em_tpl_parser *parser, uint8_t close, bool pairs, em_tpl_node **first, bool *comma) {
  em_status status = EM_OK;
  em_tpl_node **tail = first, *item;
  *comma = false;
  while (!em_tpl_skip_operator(parser, close)) {
    EM_TRY(em_tpl_parse_expression(parser, true, &item));
    push(&tail, item);
    if (pairs) {
      EM_TRY(em_tpl_expect_operator(parser, ':'));
      EM_TRY(em_tpl_parse_expression(parser, true, &item));
      push(&tail, item);
    }
    if (em_tpl_skip_operator(parser, ',')) {
      *comma = true;
      continue;
    }
    EM_TRY(em_tpl_expect_operator(parser, close));
    break;
  }
fail:
  return status;
}

static em_status parse_primary(em_tpl_parser *parser, em_tpl_node **out) {
  em_status status = EM_OK;
  const em_tpl_token *token = parser->token;
  bool comma;
  EM_TRY(em_tpl_new_node(parser, EM_TPL_X_CONST, out));
  em_tpl_node *node = *out;
  if (token->kind == EM_TPL_T_STRING) {
    EM_TRY(parse_strings(parser, &node->value));
  } else if (token->kind == EM_TPL_T_INT) {
    EM_TRY(parse_integer(parser, &node->value));
  } else if (token->kind == EM_TPL_T_REAL) {
    EM_TRY(parse_real(parser, &node->value));
  } else if (token->kind == EM_TPL_T_NAME) {
    if (em_tpl_skip_name(parser, "true") || em_tpl_skip_name(parser, "True")) {
      node->value = em_tpl_bool(true);
    } else if (em_tpl_skip_name(parser, "false") || em_tpl_skip_name(parser, "False")) {
      node->value = em_tpl_bool(false);
    } else if (em_tpl_skip_name(parser, "none") || em_tpl_skip_name(parser, "None")) {
      node->value = em_tpl_none();
    } else {
      node->kind = EM_TPL_X_NAME;
      EM_TRY(em_tpl_expect_name(parser, &node->name));
    }
  } else if (em_tpl_skip_operator(parser, '[')) {
    node->kind = EM_TPL_X_LIST;
    EM_TRY(parse_items(parser, ']', false, &node->first, &comma));
  } else if (em_tpl_skip_operator(parser, '{')) {
    node->kind = EM_TPL_X_DICT;
    EM_TRY(parse_items(parser, '}', true, &node->first, &comma));
  } else if (em_tpl_skip_operator(parser, '(')) {
    node->kind = EM_TPL_X_TUPLE;
    EM_TRY(parse_items(parser, ')', false, &node->first, &comma));
    if (node->first && !comma)
      *out = node->first;
  } else {
    EM_TRY(em_tpl_parse_fail(parser, EM_ERR_FORMAT, "an expression is expected"));
  }
fail:
  return status;
}

/* --- Postfix operations ------------------------------------------------------------------------------------------------- */

em_status em_tpl_parse_arguments(em_tpl_parser *parser, em_tpl_node **out) {
  em_status status = EM_OK;
  em_tpl_node **tail = out, *node = NULL;
  EM_TRY(em_tpl_expect_operator(parser, '('));
  while (!em_tpl_skip_operator(parser, ')')) {
    EM_TRY(em_tpl_new_node(parser, EM_TPL_A_ITEM, &node));
    if (em_tpl_skip_operator(parser, '*')) {
      node->kind = EM_TPL_A_STAR;
    } else if (em_tpl_skip_operator(parser, EM_TPL_OP_POW)) {
      node->kind = EM_TPL_A_STAR_STAR;
    } else if (parser->token->kind == EM_TPL_T_NAME && parser->token[1].kind == EM_TPL_T_OPERATOR &&
               parser->token[1].op == '=') {
      node->kind = EM_TPL_A_NAMED;
      EM_TRY(em_tpl_expect_name(parser, &node->name));
      parser->token++;
    }
    EM_TRY(em_tpl_parse_expression(parser, true, &node->a));
    push(&tail, node);
    if (em_tpl_skip_operator(parser, ','))
      continue;
    EM_TRY(em_tpl_expect_operator(parser, ')'));
    break;
  }
fail:
  return status;
}

/* What stands in square brackets: a key, several keys (a tuple), none (an empty tuple) or a slice. */
static em_status parse_subscript(em_tpl_parser *parser, em_tpl_node **out) {
  em_status status = EM_OK;
  em_tpl_node *node, **parts[3];
  EM_TRY(em_tpl_new_node(parser, EM_TPL_P_ITEM, &node));
  *out = node;
  parts[0] = &node->a, parts[1] = &node->b, parts[2] = &node->c;
  if (!em_tpl_at_operator(parser, ':')) {
    em_tpl_node *tuple, **tail;
    bool comma = false;
    EM_TRY(em_tpl_new_node(parser, EM_TPL_X_TUPLE, &tuple));
    tail = &tuple->first;
    while (!em_tpl_at_operator(parser, ']') && !em_tpl_at_operator(parser, ':')) {
      em_tpl_node *item;
      EM_TRY(em_tpl_parse_expression(parser, true, &item));
      push(&tail, item);
      if (!em_tpl_skip_operator(parser, ','))
        break;
      comma = true;
    }
    node->a = tuple->first && !comma ? tuple->first : tuple;
    if (!em_tpl_at_operator(parser, ':')) {
      EM_TRY(em_tpl_expect_operator(parser, ']'));
      return EM_OK;
    }
  }
  node->kind = EM_TPL_P_SLICE;
  for (size_t i = 1; i < 3 && em_tpl_skip_operator(parser, ':'); i++)
    if (!em_tpl_at_operator(parser, ':') && !em_tpl_at_operator(parser, ']'))
      EM_TRY(em_tpl_parse_expression(parser, true, parts[i]));
  EM_TRY(em_tpl_expect_operator(parser, ']'));
fail:
  return status;
}

/* A filter's or test's name, which may have dots in it. */
static em_status parse_dotted_name(em_tpl_parser *parser, const char **out) {
  em_status status = EM_OK;
  em_tpl_token name = *parser->token;
  EM_TRY(em_tpl_expect_name(parser, out));
  bool dotted = false;
  while (em_tpl_at_operator(parser, '.') && parser->token[1].kind == EM_TPL_T_NAME) {
    name.bytes = parser->token[1].offset + parser->token[1].bytes - name.offset;
    parser->token += 2;
    dotted = true;
  }
  if (dotted)
    EM_TRY(em_tpl_intern(parser, &name, out));
fail:
  return status;
}

static em_status parse_filter(em_tpl_parser *parser, em_tpl_node **out) {
  em_status status = EM_OK;
  EM_TRY(em_tpl_new_node(parser, EM_TPL_P_FILTER, out));
  em_tpl_node *node = *out;
  EM_TRY(parse_dotted_name(parser, &node->name));
  node->builtin = em_tpl_find_filter(node->name);
  if (!node->builtin && parser->conditions == 0)
    EM_TRY(em_tpl_parse_fail(parser, EM_ERR_UNSUPPORTED, "the filter \"%s\" is not known", node->name));
  if (em_tpl_at_operator(parser, '('))
    EM_TRY(em_tpl_parse_arguments(parser, &node->first));
fail:
  return status;
}

em_status em_tpl_parse_filters(em_tpl_parser *parser, em_tpl_node **out) {
  em_status status = EM_OK;
  em_tpl_node **tail = out, *node = NULL;
  do {
    EM_TRY(parse_filter(parser, &node));
    push(&tail, node);
  } while (em_tpl_skip_operator(parser, '|'));
fail:
  return status;
}

static em_status parse_postfix(em_tpl_parser *parser, em_tpl_node ***tail, bool with_filters);

/* Whether the current token can be a test's one argument without brackets, as in `x is divisibleby 3`. */
static bool at_test_argument(const em_tpl_parser *parser) {
  static const char *const words[] = {"else", "or", "and", "if", "is", "in", "not", "recursive"};
  const em_tpl_token *token = parser->token;
  if (token->kind == EM_TPL_T_NAME) {
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
      if (em_tpl_at_name(parser, words[i]))
        return false;
    return true;
  }
  return token->kind == EM_TPL_T_STRING || token->kind == EM_TPL_T_INT || token->kind == EM_TPL_T_REAL ||
         em_tpl_at_operator(parser, '[') || em_tpl_at_operator(parser, '{');
}

static em_status parse_test(em_tpl_parser *parser, em_tpl_node **out) {
  em_status status = EM_OK;
  EM_TRY(em_tpl_new_node(parser, EM_TPL_P_TEST, out));
  em_tpl_node *node = *out, *argument, *operand, *chain = NULL, **tail;
  node->negated = em_tpl_skip_name(parser, "not");
  EM_TRY(parse_dotted_name(parser, &node->name));
  node->test = em_tpl_find_test(node->name);
  if (!node->test && parser->conditions == 0)
    EM_TRY(em_tpl_parse_fail(parser, EM_ERR_UNSUPPORTED, "the test \"%s\" is not known", node->name));
  if (em_tpl_at_operator(parser, '(')) {
    EM_TRY(em_tpl_parse_arguments(parser, &node->first));
  } else if (at_test_argument(parser)) {
    EM_TRY(em_tpl_new_node(parser, EM_TPL_A_ITEM, &argument));
    EM_TRY(em_tpl_new_node(parser, EM_TPL_X_POSTFIX, &chain));
    EM_TRY(em_tpl_parse_enter(parser));
    status = parse_primary(parser, &operand);
    parser->depth--;
    EM_TRY(status);
    chain->a = operand;
    tail = &chain->first;
    EM_TRY(parse_postfix(parser, &tail, false));
    argument->a = chain->first ? chain : operand;
    node->first = argument;
  }
fail:
  return status;
}

/* Appends the operations that follow a primary. */
static em_status parse_postfix(em_tpl_parser *parser, em_tpl_node ***tail, bool with_filters) {
  em_status status = EM_OK;
  bool filtered = false;
  for (;;) {
    em_tpl_node *node = NULL;
    const em_tpl_token *token = parser->token;
    if (!filtered && em_tpl_skip_operator(parser, '.')) {
      token = parser->token;
      EM_TRY(em_tpl_new_node(parser, EM_TPL_P_ATTRIBUTE, &node));
      if (token->kind == EM_TPL_T_INT) {
        node->kind = EM_TPL_P_ITEM;
        EM_TRY(em_tpl_new_node(parser, EM_TPL_X_CONST, &node->a));
        EM_TRY(parse_integer(parser, &node->a->value));
      } else {
        EM_TRY(em_tpl_expect_name(parser, &node->name));
        EM_TRY(new_text(parser, node->name, strlen(node->name), &node->value));
      }
    } else if (!filtered && em_tpl_skip_operator(parser, '[')) {
      EM_TRY(parse_subscript(parser, &node));
    } else if (em_tpl_at_operator(parser, '(')) {
      EM_TRY(em_tpl_new_node(parser, EM_TPL_P_CALL, &node));
      EM_TRY(em_tpl_parse_arguments(parser, &node->first));
    } else if (with_filters && em_tpl_skip_operator(parser, '|')) {
      EM_TRY(parse_filter(parser, &node));
      filtered = true;
    } else if (with_filters && em_tpl_skip_name(parser, "is")) {
      EM_TRY(parse_test(parser, &node));
      filtered = true;
    } else {
      break;
    }
    push(tail, node);
  }
fail:
  return status;
}

/* --- Operators ---------------------------------------------------------------------------------------------------------- */

/* `-x|f` is f of -x, but `-x.y` is -(x.y): signs bind between attributes and filters. */
static em_status parse_unary(em_tpl_parser *parser, bool with_filters, em_tpl_node **out) {
  em_status status = EM_OK;
  EM_TRY(em_tpl_parse_enter(parser));
  em_tpl_node *base, *chain, **tail;
  bool minus = em_tpl_at_operator(parser, '-');
  if (minus || em_tpl_at_operator(parser, '+')) {
    status = em_tpl_new_node(parser, minus ? EM_TPL_X_MINUS : EM_TPL_X_PLUS, &base);
    parser->token++;
    if (status == EM_OK)
      status = parse_unary(parser, false, &base->a);
  } else {
    status = parse_primary(parser, &base);
  }
  if (status == EM_OK)
    status = em_tpl_new_node(parser, EM_TPL_X_POSTFIX, &chain);
  if (status == EM_OK) {
    chain->a = base;
    tail = &chain->first;
    status = parse_postfix(parser, &tail, with_filters);
    *out = chain->first ? chain : base;
  }
  parser->depth--;
fail:
  return status;
}

/* The operator of one rank at the current token, skipped, or 0. Ranks bind tighter as they grow. */
typedef enum rank { RANK_OR, RANK_AND, RANK_COMPARE, RANK_SUM, RANK_CONCAT, RANK_PRODUCT, RANK_POWER, RANK_UNARY } rank;

static uint8_t skip_operator_of(em_tpl_parser *parser, rank of) {
  static const struct {
    uint8_t rank, op;
  } operators[] = {
      {RANK_COMPARE, EM_TPL_OP_EQ}, {RANK_COMPARE, EM_TPL_OP_NE}, {RANK_COMPARE, '<'}, {RANK_COMPARE, EM_TPL_OP_LE},
      {RANK_COMPARE, '>'},          {RANK_COMPARE, EM_TPL_OP_GE}, {RANK_SUM, '+'},     {RANK_SUM, '-'},
      {RANK_CONCAT, '~'},           {RANK_PRODUCT, '*'},          {RANK_PRODUCT, '/'}, {RANK_PRODUCT, EM_TPL_OP_FLOOR},
      {RANK_PRODUCT, '%'},          {RANK_POWER, EM_TPL_OP_POW},
  };
  if (of == RANK_OR)
    return em_tpl_skip_name(parser, "or") ? EM_TPL_OP_OR : 0;
  if (of == RANK_AND)
    return em_tpl_skip_name(parser, "and") ? EM_TPL_OP_AND : 0;
  if (of == RANK_COMPARE) {
    if (em_tpl_skip_name(parser, "in"))
      return EM_TPL_OP_IN;
    if (em_tpl_at_name(parser, "not")) {
      parser->token++;
      if (em_tpl_skip_name(parser, "in"))
        return EM_TPL_OP_NOT_IN;
      parser->token--;
    }
  }
  for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++)
    if (operators[i].rank == of && em_tpl_skip_operator(parser, operators[i].op))
      return operators[i].op;
  return 0;
}

static em_status parse_rank(em_tpl_parser *parser, rank of, em_tpl_node **out) {
  static const uint8_t kinds[] = {EM_TPL_X_OR, EM_TPL_X_AND, EM_TPL_X_COMPARE, EM_TPL_X_CHAIN};
  em_status status = EM_OK;
  if (of == RANK_UNARY)
    return parse_unary(parser, true, out);
  if (of == RANK_COMPARE && em_tpl_skip_name(parser, "not")) {
    em_tpl_node *node = NULL;
    EM_TRY(em_tpl_new_node(parser, EM_TPL_X_NOT, &node));
    *out = node;
    EM_TRY(em_tpl_parse_enter(parser));
    status = parse_rank(parser, of, &node->a);
    parser->depth--;
    return status;
  }
  em_tpl_node *chain = NULL, *link, **tail = NULL;
  EM_TRY(parse_rank(parser, of + 1, out));
  uint8_t op;
  while ((op = skip_operator_of(parser, of)) != 0) {
    if (!chain) {
      EM_TRY(em_tpl_new_node(parser, kinds[of < RANK_SUM ? of : RANK_SUM], &chain));
      chain->a = *out;
      tail = &chain->first;
      *out = chain;
    }
    EM_TRY(em_tpl_new_node(parser, EM_TPL_X_LINK, &link));
    link->op = op;
    EM_TRY(parse_rank(parser, of + 1, &link->a));
    push(&tail, link);
  }
fail:
  return status;
}

em_status em_tpl_parse_expression(em_tpl_parser *parser, bool conditional, em_tpl_node **out) {
  em_status status = EM_OK;
  EM_TRY(parse_rank(parser, RANK_OR, out));
  while (conditional && em_tpl_skip_name(parser, "if")) {
    em_tpl_node *node = NULL;
    EM_TRY(em_tpl_new_node(parser, EM_TPL_X_COND, &node));
    node->b = *out;
    *out = node;
    EM_TRY(parse_rank(parser, RANK_OR, &node->a));
    if (!em_tpl_skip_name(parser, "else"))
      continue;
    EM_TRY(em_tpl_parse_enter(parser));
    status = em_tpl_parse_expression(parser, true, &node->c);
    parser->depth--;
    EM_TRY(status);
  }
fail:
  return status;
}

em_status em_tpl_parse_tuple(em_tpl_parser *parser, bool conditional, em_tpl_node **out) {
  em_status status = EM_OK;
  em_tpl_node *tuple, **tail, *item;
  EM_TRY(em_tpl_parse_expression(parser, conditional, &item));
  *out = item;
  if (!em_tpl_at_operator(parser, ','))
    return EM_OK;
  EM_TRY(em_tpl_new_node(parser, EM_TPL_X_TUPLE, &tuple));
  *out = tuple;
  tail = &tuple->first;
  push(&tail, item);
  while (em_tpl_skip_operator(parser, ',')) {
    if (parser->token->kind == EM_TPL_T_BLOCK_END || parser->token->kind == EM_TPL_T_PRINT_END)
      break;
    EM_TRY(em_tpl_parse_expression(parser, conditional, &item));
    push(&tail, item);
  }
fail:
  return status;
}

em_status em_tpl_parse_target(em_tpl_parser *parser, bool with_attribute, em_tpl_node **out) {
  em_status status = EM_OK;
  em_tpl_node *tuple = NULL, **tail = NULL, *node;
  bool bracket = em_tpl_skip_operator(parser, '(');
  do {
    if (tuple && parser->token->kind != EM_TPL_T_NAME)
      break;
    EM_TRY(em_tpl_new_node(parser, EM_TPL_X_NAME, &node));
    EM_TRY(em_tpl_expect_name(parser, &node->name));
    if (with_attribute && em_tpl_skip_operator(parser, '.')) {
      const char *attribute;
      node->kind = EM_TPL_P_ATTRIBUTE;
      EM_TRY(em_tpl_expect_name(parser, &attribute));
      EM_TRY(new_text(parser, attribute, strlen(attribute), &node->value));
    }
    if (!tuple && em_tpl_at_operator(parser, ',')) {
      EM_TRY(em_tpl_new_node(parser, EM_TPL_X_TUPLE, &tuple));
      tail = &tuple->first;
    }
    if (tuple)
      push(&tail, node);
  } while (em_tpl_skip_operator(parser, ','));
  if (bracket)
    EM_TRY(em_tpl_expect_operator(parser, ')'));
  *out = tuple ? tuple : node;
fail:
  return status;
}
