/* The pieces of a vocabulary: their texts, types and ids, found by text through a hash table.
 *
 * Immutable after em_vocab_init, so safe from several threads. Where two pieces have the same text, the first one is
 * found.
 */
#pragma once

#include "text/tokenizer/tokenizer.h"

typedef struct em_vocab_slot {
  uint32_t hash;
  int32_t id; /* EM_NO_TOKEN: an empty slot */
} em_vocab_slot;

typedef struct em_vocab {
  char *text;        /* all pieces, one behind the other */
  size_t *offsets;   /* [n + 1] */
  uint8_t *types;    /* [n] of em_token_type */
  em_vocab_slot *slots;
  size_t n_slots;    /* a power of two */
  uint64_t seed;     /* of the hash */
  size_t n;
  size_t longest;    /* bytes of the longest piece */
  int32_t byte_ids[256]; /* the tokens spelled <0xXX>, or EM_NO_TOKEN */
} em_vocab;

/* Copies the pieces and types of params. Where params has no types, all are normal, but with marks_bytes pieces spelled
 * <0xXX> are bytes. Errors as em_tokenizer_new; after one, em_vocab_clear is still to be called. */
em_status em_vocab_init(em_vocab *vocab, const em_tokenizer_params *params, bool marks_bytes,
                        em_error *error) EM_MUST_USE;
void em_vocab_clear(em_vocab *vocab);

em_piece em_vocab_piece(const em_vocab *vocab, int32_t id);

/* The first piece with this text, or EM_NO_TOKEN. */
int32_t em_vocab_find(const em_vocab *vocab, const char *text, size_t bytes);

/* The same, but only a piece that ordinary text may become: not a control token, not the unknown one, not a byte, so
 * that no message can spell what only a template may write. */
int32_t em_vocab_find_ordinary(const em_vocab *vocab, const char *text, size_t bytes);

/* The byte a piece spelled <0xXX> stands for, or -1. */
int em_vocab_byte_of(em_piece piece);
