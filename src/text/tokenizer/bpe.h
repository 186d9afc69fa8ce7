/* Byte pair encoding: neighbours merge by the order of the vocabulary's merges. Byte-level ("gpt2": every byte is
 * spelled by one printable character) or on characters ("gemma4": U+2581 for a space, bytes as <0xXX>). */
#pragma once

#include "text/tokenizer/merge.h"
#include "text/tokenizer/pretokenize.h"
#include "text/tokenizer/vocab.h"

typedef struct em_bpe_merge {
  int32_t left, right, result; /* left EM_NO_TOKEN: a merge that names a piece the vocabulary lacks */
} em_bpe_merge;

typedef struct em_bpe {
  em_bpe_merge *merges;
  uint32_t *slots;        /* [n_slots] rank + 1 by (left, right); 0: empty */
  size_t n_slots;         /* a power of two */
  int32_t byte_ids[256];  /* byte-level: the piece that spells each byte, or EM_NO_TOKEN */
  int32_t unknown;        /* gemma4: for a character without pieces and bytes */
  bool byte_level;
  bool splits_at_space;   /* gemma4: as in em_spm */
  const em_pretokenizer *pretokenizer;
} em_bpe;

#define EM_BPE_MAX_MERGES (16u << 20)

em_status em_bpe_init(em_bpe *bpe, const em_vocab *vocab, const em_tokenizer_params *params,
                      const em_pretokenizer *pretokenizer, int32_t unknown, bool byte_level,
                      em_error *error) EM_MUST_USE;
void em_bpe_clear(em_bpe *bpe);

/* Appends the tokens of text (gemma4: whose spaces are marks already). False when memory is out. */
bool em_bpe_tokenize(const em_bpe *bpe, const em_vocab *vocab, em_merger *merger, const char *text, size_t bytes,
                     em_tokens *out);

/* The character that spells a byte in byte-level pieces: printable Latin-1 stands for itself, the others for U+0100 on.
 */
uint32_t em_byte_level_char(uint8_t byte);

/* The byte that a character spells, or -1. */
int em_byte_level_byte(uint32_t code_point);
