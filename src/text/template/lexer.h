/* The words of a template: its text between tags, and the tokens inside tags. Whitespace control is done here, with the two
 * switches that chat templates are written for: a newline behind a block tag is dropped (trim_blocks), and so are blanks
 * before a block tag that begins its line (lstrip_blocks). */
#pragma once

#include "base/status.h"

typedef enum em_tpl_token_kind {
  EM_TPL_T_END,
  EM_TPL_T_TEXT,
  EM_TPL_T_PRINT_BEGIN, /* {{ */
  EM_TPL_T_PRINT_END,
  EM_TPL_T_BLOCK_BEGIN, /* {% */
  EM_TPL_T_BLOCK_END,
  EM_TPL_T_NAME,
  EM_TPL_T_STRING, /* with its quotes */
  EM_TPL_T_INT,
  EM_TPL_T_REAL,
  EM_TPL_T_OPERATOR
} em_tpl_token_kind;

/* Operators of one character are that character. */
enum {
  EM_TPL_OP_POW = 1, /* ** */
  EM_TPL_OP_FLOOR,   /* // */
  EM_TPL_OP_EQ,
  EM_TPL_OP_NE,
  EM_TPL_OP_LE,
  EM_TPL_OP_GE,
  EM_TPL_OP_AND, /* the words, for the parser's use */
  EM_TPL_OP_OR,
  EM_TPL_OP_IN,
  EM_TPL_OP_NOT_IN
};

typedef struct em_tpl_token {
  uint8_t kind; /* em_tpl_token_kind */
  uint8_t op;
  uint32_t offset, bytes; /* in the source */
} em_tpl_token;

/* Cuts source into tokens, the last one EM_TPL_T_END; the caller frees *out. source has Unix line ends. Errors: EM_ERR_FORMAT with
 * offset and line, EM_ERR_NO_MEMORY. */
em_status em_tpl_lex(const char *source, size_t bytes, em_tpl_token **out, em_error *error) EM_MUST_USE;

/* The line (from 1) of a byte. */
size_t em_tpl_line(const char *source, size_t offset);
