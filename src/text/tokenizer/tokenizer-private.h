/* What an em_tokenizer is made of: for tokenizer.c and detok.c. */
#pragma once

#include "text/tokenizer/bpe.h"
#include "text/tokenizer/special.h"
#include "text/tokenizer/spm.h"
#include "text/tokenizer/tokenizer.h"
#include "text/tokenizer/vocab.h"

typedef enum em_tokenizer_kind {
  EM_TOKENIZER_SPM,        /* "llama" */
  EM_TOKENIZER_BYTE_BPE,   /* "gpt2" */
  EM_TOKENIZER_CHAR_BPE,   /* "gemma4" */
  EM_TOKENIZER_WORDPIECE,  /* "bert" */
} em_tokenizer_kind;

#define EM_TOKENIZER_MAX_ENDS 32

struct em_tokenizer {
  em_tokenizer_kind kind;
  em_vocab vocab;
  em_specials specials;
  em_spm spm; /* EM_TOKENIZER_SPM */
  em_bpe bpe; /* EM_TOKENIZER_BYTE_BPE, EM_TOKENIZER_CHAR_BPE */
  int32_t bos, eos, unknown;
  bool add_bos, add_eos;
  bool add_space_prefix; /* a space before the first word, and behind special tokens */
  int32_t ends[EM_TOKENIZER_MAX_ENDS];
  size_t n_ends;
};
