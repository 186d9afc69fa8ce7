/* The ways in which a text can be read so far, and what each byte makes of them.
 *
 * A way is a state of the grammar and the states to return to (a stack, shared with other ways as a chain of nodes). A
 * set of ways is found once and has a number from then on; so has each step from one set to another: where texts repeat
 * themselves, a step is one look-up. When the tables are full the caller moves the sets that it still needs to new
 * ones.
 */
#pragma once

#include "text/grammar/build.h"

/* To find out what a loop allows at any count, its ways are followed once without its bounds, from the state numbered
 * `relative` on: its counts begin at 0 there, and a way that has left the loop keeps the count at which it did at the
 * bottom of its stack, as a state numbered from `left` on. */
#define EM_WAYS_DEAD 0u /* the set without ways */
#define EM_WAYS_UNKNOWN UINT32_MAX
#define EM_WAYS_BOTTOM 0u /* the empty stack */

typedef struct em_way {
  uint32_t state;
  uint32_t node; /* of the stack; EM_WAYS_BOTTOM: empty */
} em_way;

typedef struct em_way_node {
  uint32_t state; /* to return to; never a RETURN */
  uint32_t parent;
  uint32_t depth;
} em_way_node;

typedef struct em_way_set {
  uint32_t first, n;           /* its ways in `ways`, ascending. A RETURN on the empty stack: the text is complete */
  uint32_t readers, n_readers; /* the ways that read a byte next, once `closed` */
  uint32_t *next;              /* [256] the set behind a byte, or EM_WAYS_UNKNOWN; NULL: none is known */
  uint64_t loops;              /* the kinds (em_byte_kind) of bytes that lead back to this set, once has_loops */
  uint16_t inside, behind;     /* for a loop's mask, once has_counts */
  bool closed, accepts;        /* accepts: the text may be complete here, once `closed` */
  bool has_loops, has_counts;
} em_way_set;

typedef struct em_ways {
  const em_grammar *grammar;
  em_way_node *nodes;
  uint32_t *node_table; /* open addressing; 0: free */
  em_way_set *sets;
  uint32_t *set_table;
  em_way *ways;
  uint32_t n_nodes, capacity_nodes, n_node_slots;
  uint32_t n_sets, capacity_sets, n_set_slots;
  uint32_t n_ways, capacity_ways;
  em_way *work_list, *result; /* [capacity_visited] */
  uint64_t *visited;          /* [2 * capacity_visited] open addressing of ways */
  uint32_t *visited_slots;    /* [n_visited] those of it that are in use */
  uint32_t n_visited, capacity_visited;
  uint64_t work; /* steps since the caller set it to 0 */
  bool full;     /* an EM_ERR_LIMIT came from full tables: moving may help */
} em_ways;

em_status em_ways_init(em_ways *ways, const em_grammar *grammar, em_error *error) EM_MUST_USE;
void em_ways_clear(em_ways *ways);

/* The number of a set; list is sorted by this. Errors here and below: EM_ERR_LIMIT, EM_ERR_NO_MEMORY. */
em_status em_ways_set(em_ways *ways, em_way *list, uint32_t n, uint32_t *out, em_error *error) EM_MUST_USE;
/* The set of one way, returned from as far as its state is a RETURN. */
em_status em_ways_single(em_ways *ways, em_way way, uint32_t *out, em_error *error) EM_MUST_USE;
em_status em_ways_close(em_ways *ways, uint32_t set, em_error *error) EM_MUST_USE;
em_status em_ways_find_step(em_ways *ways, uint32_t set, unsigned byte, uint32_t *out, em_error *error) EM_MUST_USE;
em_status em_ways_find_loops(em_ways *ways, uint32_t set, em_error *error) EM_MUST_USE;
/* The loop that a state belongs to, or NULL; which row of its numbers it is of, and the count. */
typedef enum { EM_ROW_COUNTED, EM_ROW_RELATIVE, EM_ROW_LEFT } em_loop_row;
const em_loop *em_ways_loop(const em_ways *ways, uint32_t state, em_loop_row *row, uint32_t *count);
em_status em_ways_count_work(em_ways *ways, uint64_t n, em_error *error) EM_MUST_USE;

/* The set of `from` in other tables of the same grammar. */
em_status em_ways_move(em_ways *to, const em_ways *from, uint32_t set, uint32_t *out, em_error *error) EM_MUST_USE;

/* The set behind a byte. */
static inline em_status em_ways_step(em_ways *ways, uint32_t set, unsigned byte, uint32_t *out, em_error *error) {
  const uint32_t *next = ways->sets[set].next;
  if (next && next[byte] != EM_WAYS_UNKNOWN) {
    *out = next[byte];
    return EM_OK;
  }
  return em_ways_find_step(ways, set, byte, out, error);
}
