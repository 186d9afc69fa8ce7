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

/* The same for a loop without its bounds: each token with how often the loop's rule is called on the way. What a count
 * leaves over of the bounds says which of them are allowed. */
typedef struct em_loop_mask {
  uint32_t rule, next;  /* loops that call the same and go on alike share one */
  bool unusable;        /* a token can be read with different counts: nothing can be said ahead */
  uint16_t *inside;     /* [n_tokens] the count of a token that ends inside the loop, or EM_NO_COUNT */
  uint64_t *bits;       /* [(n_tokens + 63) / 64] all of those */
  uint32_t most_inside; /* the largest of the counts */
  struct em_counted {
    uint32_t index; /* of a token, or of a node */
    uint32_t count;
  } *behind, *exits; /* [n_behind] tokens that end behind the loop; [n_exits] nodes where its caller's rule is over */
  uint32_t n_behind, n_exits;
} em_loop_mask;

#define EM_NO_COUNT UINT16_MAX
#define EM_MAX_LOOP_MASKS 64u

#define EM_STATE_MASK_SLOTS 2048u

typedef struct em_mask_cache {
  em_state_mask *masks; /* [EM_STATE_MASK_SLOTS / 2] */
  uint16_t *table;      /* [EM_STATE_MASK_SLOTS] index + 1 into masks; 0: free */
  uint32_t n_masks;
  em_loop_mask loops[EM_MAX_LOOP_MASKS];
  uint32_t n_loops;
  size_t bytes;    /* of all masks; at most EM_MAX_MASK_BYTES, or one mask's */
  uint64_t *bits;  /* [(n_tokens + 63) / 64] while a mask is made */
  uint32_t *exits; /* [n_exits] the same */
  uint32_t n_exits, capacity_exits;
} em_mask_cache;

#define EM_MAX_MASK_BYTES (EM_MATCHER_MAX_BYTES / 4)

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

/* --- Making masks (mask.c; mask_loop.c for loops) ----------------------------------------------------------------- */

/* Where a walk writes: bits of tokens, and, in a walk for the cache, the nodes at which a rule ends. */
typedef struct em_mask_target {
  uint64_t *bits;
  size_t n_bits;
  em_mask_cache *exits; /* or NULL */
} em_mask_target;

/* Parts of the tree with fewer nodes are walked without looking for short cuts. */
#define EM_MIN_SHORT_CUT 64u

/* Ways whose tokens are still to be added: with more, the whole tree is walked with all of them together. */
#define EM_MAX_WAYS_APART 32u
typedef struct em_way_list {
  em_way ways[EM_MAX_WAYS_APART];
  uint32_t n;
  bool full; /* one more did not fit */
} em_way_list;
void em_way_list_add(em_way_list *list, em_way way); /* unless it is there */

/* Drops all masks where those and `bytes` more would be too many. */
void em_mask_make_room(em_mask_cache *cache, size_t bytes);

/* Walks the nodes first..end - 1, all of which are below a node that set belongs to. */
em_status em_mask_walk(em_matcher *matcher, uint32_t first, uint32_t end, uint32_t set, const em_mask_target *to,
                       em_error *error) EM_MUST_USE;

/* Adds the tokens of a way at a loop that was called `count` times; the caller it returns to goes on the list where the
 * loop's rule may be over at once. */
em_status em_mask_allow_loop(em_matcher *matcher, em_way way, const em_loop *loop, uint32_t count, em_way_list *list,
                             const em_mask_target *to, em_error *error) EM_MUST_USE;

static inline void em_mask_allow(const em_mask_target *to, uint32_t id) {
  if (id < to->n_bits)
    to->bits[id >> 6] |= 1ull << (id & 63);
}
