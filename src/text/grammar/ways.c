/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/grammar/ways.h"

#include "base/checked.h"
#include "text/grammar/trie.h"

#include <stdlib.h>
#include <string.h>

/* Together these keep a matcher within EM_MATCHER_MAX_BYTES: a set with its steps takes about 1100 bytes. */
#define MAX_SETS 10000u
#define MAX_NODES (1u << 17)
#define MAX_WAYS (1u << 20)
#define MAX_VISITED (4u * EM_MATCHER_MAX_CONFIGS)
#define FIRST_VISITED 128u

static em_status no_memory(em_error *error) {
  return em_fail(error, EM_ERR_NO_MEMORY, "no memory for following the grammar");
}

static em_status too_many(em_error *error) {
  return em_fail(error, EM_ERR_LIMIT, "the grammar can read the text in too many ways");
}

static em_status tables_full(em_ways *w, em_error *error) {
  w->full = true;
  return too_many(error);
}

em_status em_ways_count_work(em_ways *w, uint64_t n, em_error *error) {
  w->work += n;
  return w->work <= EM_MATCHER_MAX_WORK ? EM_OK : too_many(error);
}

static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 31)) * 0x9E3779B97F4A7C15u;
  return x ^ (x >> 29);
}

static uint32_t visited_slot(const em_ways *w, uint64_t key) {
  uint32_t n_slots = 2 * w->capacity_visited, slot = (uint32_t)mix(key) & (n_slots - 1);
  while (w->visited[slot] && w->visited[slot] != key)
    slot = (slot + 1) & (n_slots - 1);
  return slot;
}

/* Makes room for four times as many ways at once; the visited ones stay visited. */
static bool grow_visited(em_ways *w) {
  uint32_t capacity = w->capacity_visited ? 4 * w->capacity_visited : FIRST_VISITED;
  em_way *work_list = em_realloc_array(w->work_list, capacity, sizeof *work_list);
  w->work_list = work_list ? work_list : w->work_list;
  em_way *result = em_realloc_array(w->result, capacity, sizeof *result);
  w->result = result ? result : w->result;
  uint32_t *slots = em_realloc_array(w->visited_slots, capacity, sizeof *slots);
  w->visited_slots = slots ? slots : w->visited_slots;
  uint64_t *visited = em_calloc(capacity, 2 * sizeof *visited), *old = w->visited;
  if (!work_list || !result || !slots || !visited) {
    free(visited);
    return false;
  }
  w->visited = visited;
  w->capacity_visited = capacity;
  for (uint32_t i = 0; i < w->n_visited; i++) {
    uint64_t key = old[slots[i]];
    slots[i] = visited_slot(w, key);
    visited[slots[i]] = key;
  }
  free(old);
  return true;
}

em_status em_ways_init(em_ways *w, const em_grammar *grammar, em_error *error) {
  *w = (em_ways){.grammar = grammar, .n_node_slots = 256, .n_set_slots = 256};
  w->node_table = em_calloc(w->n_node_slots, sizeof *w->node_table);
  w->set_table = em_calloc(w->n_set_slots, sizeof *w->set_table);
  w->nodes = em_calloc(64, sizeof *w->nodes);
  w->sets = em_calloc(64, sizeof *w->sets);
  if (!w->node_table || !w->set_table || !w->nodes || !w->sets || !grow_visited(w))
    return no_memory(error);
  w->capacity_nodes = w->capacity_sets = 64;
  w->n_nodes = 1; /* the empty stack */
  w->n_sets = 1;  /* the set without ways */
  w->sets[0].closed = true;
  return EM_OK;
}

void em_ways_clear(em_ways *w) {
  for (uint32_t i = 0; i < w->n_sets; i++)
    free(w->sets[i].next);
  free(w->nodes);
  free(w->node_table);
  free(w->sets);
  free(w->set_table);
  free(w->ways);
  free(w->work_list);
  free(w->result);
  free(w->visited);
  free(w->visited_slots);
  *w = (em_ways){0};
}

static bool grow(void *array, uint32_t n, uint32_t more, uint32_t *capacity, size_t bytes) {
  void *old, *grown;
  if (n + more <= *capacity)
    return true;
  uint32_t wanted = *capacity ? *capacity : 256;
  while (wanted < n + more)
    wanted *= 2;
  memcpy(&old, array, sizeof old);
  grown = em_realloc_array(old, wanted, bytes);
  if (!grown)
    return false;
  memcpy(array, &grown, sizeof grown);
  *capacity = wanted;
  return true;
}

/* --- Stacks ------------------------------------------------------------------------------------------------------- */

static uint64_t node_hash(uint32_t state, uint32_t parent) {
  return mix((uint64_t)state << 32 | parent);
}

static bool grow_node_table(em_ways *w) {
  uint32_t n_slots = 4 * w->n_node_slots;
  uint32_t *table = em_calloc(n_slots, sizeof *table);
  if (!table)
    return false;
  for (uint32_t i = 1; i < w->n_nodes; i++) {
    uint32_t slot = (uint32_t)node_hash(w->nodes[i].state, w->nodes[i].parent) & (n_slots - 1);
    while (table[slot])
      slot = (slot + 1) & (n_slots - 1);
    table[slot] = i;
  }
  free(w->node_table);
  w->node_table = table;
  w->n_node_slots = n_slots;
  return true;
}

/* The stack with one more state on it. */
static em_status push(em_ways *w, uint32_t state, uint32_t parent, uint32_t *out, em_error *error) {
  uint32_t slot = (uint32_t)node_hash(state, parent) & (w->n_node_slots - 1);
  for (uint32_t i; (i = w->node_table[slot]); slot = (slot + 1) & (w->n_node_slots - 1))
    if (w->nodes[i].state == state && w->nodes[i].parent == parent) {
      *out = i;
      return EM_OK;
    }
  if (w->n_nodes >= MAX_NODES)
    return tables_full(w, error);
  if (!grow(&w->nodes, w->n_nodes, 1, &w->capacity_nodes, sizeof *w->nodes))
    return no_memory(error);
  w->nodes[w->n_nodes] = (em_way_node){state, parent, w->nodes[parent].depth + 1};
  w->node_table[slot] = *out = w->n_nodes++;
  if (w->n_nodes > w->n_node_slots / 2 && !grow_node_table(w))
    return no_memory(error);
  return EM_OK;
}

/* Returns from rules that are over. */
static em_way settle(const em_ways *w, em_way way) {
  while (way.state == 0 && way.node != EM_WAYS_BOTTOM)
    way = (em_way){w->nodes[way.node].state, w->nodes[way.node].parent};
  return way;
}

/* --- Sets --------------------------------------------------------------------------------------------------------- */

static int by_way(const void *a, const void *b) {
  const em_way *x = a, *y = b;
  if (x->state != y->state)
    return x->state < y->state ? -1 : 1;
  return (x->node > y->node) - (x->node < y->node);
}

static uint64_t set_hash(const em_way *list, uint32_t n) {
  uint64_t hash = n;
  for (uint32_t i = 0; i < n; i++)
    hash = mix(hash ^ ((uint64_t)list[i].state << 32 | list[i].node));
  return hash;
}

static bool grow_set_table(em_ways *w) {
  uint32_t n_slots = 4 * w->n_set_slots;
  uint32_t *table = em_calloc(n_slots, sizeof *table);
  if (!table)
    return false;
  for (uint32_t i = 1; i < w->n_sets; i++) {
    uint32_t slot = (uint32_t)set_hash(w->ways + w->sets[i].first, w->sets[i].n) & (n_slots - 1);
    while (table[slot])
      slot = (slot + 1) & (n_slots - 1);
    table[slot] = i;
  }
  free(w->set_table);
  w->set_table = table;
  w->n_set_slots = n_slots;
  return true;
}

/* Appends ways to the common array. */
static em_status keep_ways(em_ways *w, const em_way *list, uint32_t n, uint32_t *first, em_error *error) {
  if (n > MAX_WAYS - w->n_ways)
    return tables_full(w, error);
  if (!grow(&w->ways, w->n_ways, n, &w->capacity_ways, sizeof *w->ways))
    return no_memory(error);
  if (n > 0)
    memcpy(w->ways + w->n_ways, list, n * sizeof *list);
  *first = w->n_ways;
  w->n_ways += n;
  return EM_OK;
}

em_status em_ways_set(em_ways *w, em_way *list, uint32_t n, uint32_t *out, em_error *error) {
  em_status status = EM_OK;
  uint32_t n_different = 0, first;
  if (n > 1)
    qsort(list, n, sizeof *list, by_way);
  for (uint32_t i = 0; i < n; i++)
    if (i == 0 || by_way(&list[i], &list[n_different - 1]) != 0)
      list[n_different++] = list[i];
  n = n_different;
  *out = EM_WAYS_DEAD;
  if (n == 0)
    return EM_OK;
  uint32_t slot = (uint32_t)set_hash(list, n) & (w->n_set_slots - 1);
  for (uint32_t i; (i = w->set_table[slot]); slot = (slot + 1) & (w->n_set_slots - 1))
    if (w->sets[i].n == n && memcmp(w->ways + w->sets[i].first, list, n * sizeof *list) == 0) {
      *out = i;
      return EM_OK;
    }
  if (w->n_sets >= MAX_SETS)
    return tables_full(w, error);
  if (!grow(&w->sets, w->n_sets, 1, &w->capacity_sets, sizeof *w->sets))
    return no_memory(error);
  EM_TRY(keep_ways(w, list, n, &first, error));
  w->sets[w->n_sets] = (em_way_set){.first = first, .n = n};
  w->set_table[slot] = *out = w->n_sets++;
  if (w->n_sets > w->n_set_slots / 2 && !grow_set_table(w))
    EM_TRY(no_memory(error));
fail:
  return status;
}

em_status em_ways_single(em_ways *w, em_way way, uint32_t *out, em_error *error) {
  way = settle(w, way);
  return em_ways_set(w, &way, 1, out, error);
}

/* Puts a way on the work list unless it was there before. */
static em_status visit(em_ways *w, em_way way, uint32_t *n_work, em_error *error) {
  uint64_t key = ((uint64_t)way.state << 32 | way.node) + 1;
  if (w->visited[visited_slot(w, key)])
    return EM_OK;
  if (w->n_visited == MAX_VISITED)
    return too_many(error);
  if (w->n_visited == w->capacity_visited && !grow_visited(w))
    return no_memory(error);
  uint32_t slot = visited_slot(w, key);
  w->visited[slot] = key;
  w->visited_slots[w->n_visited++] = slot;
  w->work_list[(*n_work)++] = way;
  return EM_OK;
}

const em_loop *em_ways_loop(const em_ways *w, uint32_t state, em_loop_row *row, uint32_t *count) {
  const em_grammar *g = w->grammar;
  *row = EM_ROW_COUNTED;
  *count = 0;
  if (state < EM_FIRST_COUNTED)
    return g->states[state].kind == EM_STATE_LOOP ? &g->loops[g->states[state].other] : NULL;
  uint32_t low = 0, high = g->n_loops;
  while (high - low > 1) {
    uint32_t middle = low + (high - low) / 2;
    if (g->loops[middle].counted <= state)
      low = middle;
    else
      high = middle;
  }
  const em_loop *loop = &g->loops[low];
  *row = state < loop->relative ? EM_ROW_COUNTED : state < loop->left ? EM_ROW_RELATIVE : EM_ROW_LEFT;
  *count = state - (*row == EM_ROW_COUNTED ? loop->counted : *row == EM_ROW_RELATIVE ? loop->relative : loop->left);
  return loop;
}

/* Follows a way into the rule of its loop once more, and out of the loop. */
static em_status follow_loop(em_ways *w, em_way way, bool *accepts, uint32_t *n_work, em_error *error) {
  em_status status = EM_OK;
  em_loop_row row;
  uint32_t count, node = way.node;
  const em_loop *loop = em_ways_loop(w, way.state, &row, &count);
  if (row == EM_ROW_LEFT) {
    *accepts = true;
    return EM_OK;
  }
  if (row == EM_ROW_RELATIVE) {
    EM_TRY(push(w, loop->left + count, EM_WAYS_BOTTOM, &node, error));
    EM_TRY(visit(w, (em_way){loop->next, node}, n_work, error));
    if (count == EM_MAX_RELATIVE)
      return EM_OK;
    EM_TRY(push(w, loop->relative + count + 1, EM_WAYS_BOTTOM, &node, error));
    return visit(w, (em_way){w->grammar->rules[loop->rule], node}, n_work, error);
  }
  if (count >= loop->min)
    EM_TRY(visit(w, (em_way){loop->next, node}, n_work, error));
  if (count >= loop->max || w->nodes[node].depth == EM_MATCHER_MAX_DEPTH)
    return EM_OK;
  /* Without a maximum, what is past the minimum need not be counted. */
  count += loop->max != EM_NO_MAXIMUM || count < loop->min;
  EM_TRY(push(w, loop->counted + count, node, &node, error));
  EM_TRY(visit(w, (em_way){w->grammar->rules[loop->rule], node}, n_work, error));
fail:
  return status;
}

/* Follows a way one step without reading: into rules, out of them, and along both branches. */
static em_status follow(em_ways *w, em_way way, bool *accepts, uint32_t *n_readers, uint32_t *n_work, em_error *error) {
  em_status status = EM_OK;
  if (way.state >= EM_FIRST_COUNTED)
    return follow_loop(w, way, accepts, n_work, error);
  const em_state *state = &w->grammar->states[way.state];
  uint32_t node = way.node;
  switch ((em_state_kind)state->kind) {
  case EM_STATE_LOOP:
    return follow_loop(w, way, accepts, n_work, error);
  case EM_STATE_RETURN:
    if (node == EM_WAYS_BOTTOM)
      *accepts = true;
    else
      EM_TRY(visit(w, (em_way){w->nodes[node].state, w->nodes[node].parent}, n_work, error));
    break;
  case EM_STATE_BYTE:
  case EM_STATE_SET:
    if (*n_readers == EM_MATCHER_MAX_CONFIGS)
      EM_TRY(too_many(error));
    w->result[(*n_readers)++] = way;
    break;
  case EM_STATE_SPLIT:
    EM_TRY(visit(w, (em_way){state->next, node}, n_work, error));
    EM_TRY(visit(w, (em_way){state->other, node}, n_work, error));
    break;
  case EM_STATE_CALL:
    /* A rule that ends with a call needs nothing to return to. */
    if (state->next != 0) {
      if (w->nodes[node].depth == EM_MATCHER_MAX_DEPTH)
        break;
      EM_TRY(push(w, state->next, node, &node, error));
    }
    EM_TRY(visit(w, (em_way){w->grammar->rules[state->other], node}, n_work, error));
    break;
  case EM_STATE_DEAD:
    break;
  }
fail:
  return status;
}

em_status em_ways_close(em_ways *w, uint32_t set, em_error *error) {
  em_status status = EM_OK;
  uint32_t n_work = 0, n_readers = 0, first;
  bool accepts = false;
  if (w->sets[set].closed)
    return EM_OK;
  while (w->n_visited > 0)
    w->visited[w->visited_slots[--w->n_visited]] = 0;
  for (uint32_t i = 0; i < w->sets[set].n; i++)
    EM_TRY(visit(w, w->ways[w->sets[set].first + i], &n_work, error));
  while (n_work > 0)
    EM_TRY(follow(w, w->work_list[--n_work], &accepts, &n_readers, &n_work, error));
  EM_TRY(em_ways_count_work(w, w->n_visited + 16, error));
  EM_TRY(keep_ways(w, w->result, n_readers, &first, error));
  w->sets[set].readers = first;
  w->sets[set].n_readers = n_readers;
  w->sets[set].accepts = accepts;
  w->sets[set].closed = true;
fail:
  return status;
}

static bool reads(const em_grammar *grammar, const em_state *state, unsigned byte) {
  if (state->kind == EM_STATE_SET)
    return em_byte_set_has(&grammar->sets[state->other], byte);
  return byte >= state->low && byte <= state->high;
}

em_status em_ways_find_step(em_ways *w, uint32_t set, unsigned byte, uint32_t *out, em_error *error) {
  em_status status = EM_OK;
  uint32_t n = 0;
  EM_TRY(em_ways_close(w, set, error));
  EM_TRY(em_ways_count_work(w, w->sets[set].n_readers + 1, error));
  if (!w->sets[set].next) {
    uint32_t *next = em_calloc(256, sizeof *next);
    if (!next)
      EM_TRY(no_memory(error));
    memset(next, 0xFF, 256 * sizeof *next);
    w->sets[set].next = next;
  }
  for (uint32_t i = 0; i < w->sets[set].n_readers; i++) {
    em_way way = w->ways[w->sets[set].readers + i];
    const em_state *state = &w->grammar->states[way.state];
    if (!reads(w->grammar, state, byte))
      continue;
    way = settle(w, (em_way){state->next, way.node});
    if (way.state >= EM_FIRST_COUNTED || w->grammar->states[way.state].kind != EM_STATE_DEAD)
      w->result[n++] = way;
  }
  EM_TRY(em_ways_set(w, w->result, n, out, error));
  w->sets[set].next[byte] = *out;
fail:
  return status;
}

em_status em_ways_find_loops(em_ways *w, uint32_t set, em_error *error) {
  em_status status = EM_OK;
  uint64_t leaves = 0, back = 0;
  if (w->sets[set].has_loops)
    return EM_OK;
  for (unsigned byte = 0; byte < 256; byte++) {
    uint32_t next;
    EM_TRY(em_ways_step(w, set, byte, &next, error));
    if (next == set)
      back |= 1ull << em_byte_kind(byte);
    else
      leaves |= 1ull << em_byte_kind(byte);
  }
  w->sets[set].loops = back & ~leaves;
  w->sets[set].has_loops = true;
fail:
  return status;
}

em_status em_ways_move(em_ways *to, const em_ways *from, uint32_t set, uint32_t *out, em_error *error) {
  em_status status = EM_OK;
  const em_way_set *old = &from->sets[set];
  uint32_t chain[EM_MATCHER_MAX_DEPTH];
  while (to->capacity_visited < old->n)
    if (!grow_visited(to))
      EM_TRY(no_memory(error));
  for (uint32_t i = 0; i < old->n; i++) {
    em_way way = from->ways[old->first + i];
    uint32_t n = 0, node = EM_WAYS_BOTTOM;
    for (uint32_t at = way.node; at != EM_WAYS_BOTTOM; at = from->nodes[at].parent)
      chain[n++] = from->nodes[at].state;
    while (n > 0)
      EM_TRY(push(to, chain[--n], node, &node, error));
    to->result[i] = (em_way){way.state, node};
  }
  EM_TRY(em_ways_set(to, to->result, old->n, out, error));
fail:
  return status;
}
