/* Merging symbols pair by pair, lowest rank first and leftmost among equals, until no pair has a rank: what both
 * SentencePiece and byte pair encoding do. A heap holds the candidates, so n symbols cost O(n log n) looks at a pair.
 *
 * An em_merger is the memory for it; it is used again for the next word. It belongs to one call. */
#pragma once

#include "base/status.h"

#define EM_NO_RANK UINT32_MAX

typedef struct em_symbol {
  size_t start;       /* bytes of the word's text */
  uint32_t bytes;     /* 0: merged into the one before it */
  int32_t id;         /* its token, or EM_NO_TOKEN */
  uint32_t next;      /* the next living symbol; n where there is none */
  uint32_t previous;
  uint32_t pair_rank; /* of merging it with the next one, or EM_NO_RANK */
  int32_t pair_id;    /* the token that gives */
} em_symbol;

typedef struct em_merger {
  em_symbol *symbols;
  size_t n, capacity;
  uint64_t *heap; /* rank << 32 | symbol */
  size_t n_heap, heap_capacity;
  uint64_t n_steps; /* candidates taken off the heap so far: a measure of the work, for tests */
} em_merger;

void em_merger_clear(em_merger *merger); /* frees */

/* Empties it for a new word. */
void em_merger_start(em_merger *merger);

/* Appends a symbol; false when memory is out. A word has fewer than 2^32 symbols. */
bool em_merger_add(em_merger *merger, size_t start, size_t bytes, int32_t id);

/* Looks up the pair of two neighbours: stores the merged token and returns its rank, or returns EM_NO_RANK. */
typedef uint32_t (*em_pair_fn)(const void *user, const em_symbol *left, const em_symbol *right, int32_t *id);

/* Merges all there is to merge. Afterwards symbol 0 starts a list (by next) of what is left. False without memory. */
bool em_merger_run(em_merger *merger, em_pair_fn pair, const void *user);
