/* What matcher.c and mask.c share. */
#pragma once

#include "text/grammar/trie.h"
#include "text/grammar/ways.h"

/* What a state of the grammar allows whatever it was called from, found once: the tokens that it and what it calls read
 * from end to end, and the nodes of the tree behind which its rule is over, so that the rest of a token is for the
 * caller. */
typedef struct em_state_mask {
  uint32_t state;
  uint32_t n_ids, n_exits;
  uint32_t *ids;   /* [n_ids], or NULL where bits are fewer bytes */
  uint64_t *bits;  /* [(n_tokens + 63) / 64] or NULL */
  uint32_t *exits; /* [n_exits] nodes with others below them; the root too */
} em_state_mask;

#define EM_STATE_MASK_SLOTS 2048u

typedef struct em_mask_cache {
  em_state_mask *masks; /* [EM_STATE_MASK_SLOTS / 2] */
  uint16_t *table;      /* [EM_STATE_MASK_SLOTS] index + 1 into masks; 0: free */
  uint32_t n_masks;
  size_t bytes;
  uint64_t *bits;  /* [(n_tokens + 63) / 64] while a mask is made */
  uint32_t *exits; /* [n_exits] the same */
  uint32_t n_exits, capacity_exits;
} em_mask_cache;

/* Where a matcher is, or was. */
typedef struct em_place {
  uint32_t set;
  bool ended; /* an ending token was accepted */
  bool fresh; /* nothing was read yet */
} em_place;

struct em_matcher {
  em_ways ways;
  const em_token_trie *trie; /* or NULL */
  bool drops_space;
  uint32_t n_places; /* at least 1; the last one is the present one */
  em_place places[EM_MATCHER_MAX_ROLLBACK + 1];
  em_mask_cache cache;
};

/* Moves the sets that are still needed, those of all places and *extra (NULL: none), to new tables. */
em_status em_matcher_tidy(em_matcher *matcher, uint32_t *extra, em_error *error) EM_MUST_USE;

void em_mask_cache_clear(em_mask_cache *cache);
