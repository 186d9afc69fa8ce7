/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which tokens may come next. The tree of the vocabulary is walked with the set of ways that each node leads to: whole
 * parts of it fall away with the first byte that no way reads, and whole parts are taken where all of their bytes lead
 * back to the same set, as letters do inside a string.
 *
 * What a state allows does not depend on where its rule was called from, except for tokens that reach beyond the end of
 * the rule. So it is found once for each state; each time only those tokens are walked, from where the rule ends, with
 * the real stack. */
#include "text/grammar/matcher-private.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

static size_t n_words(const em_matcher *m) {
  return (m->trie->n_tokens + 63) / 64;
}

static em_status no_memory(em_error *error) {
  return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the tokens that a grammar allows");
}

/* --- Walking ------------------------------------------------------------------------------------------------------ */

static em_status add_exit(em_mask_cache *cache, uint32_t node, em_error *error) {
  if (cache->n_exits == cache->capacity_exits) {
    uint32_t capacity = cache->capacity_exits ? 2 * cache->capacity_exits : 256;
    uint32_t *grown = em_realloc_array(cache->exits, capacity, sizeof *grown);
    if (!grown)
      return no_memory(error);
    cache->exits = grown;
    cache->capacity_exits = capacity;
  }
  cache->exits[cache->n_exits++] = node;
  return EM_OK;
}

/* Whether every byte below the node leads from set back to it. */
static em_status is_short_cut(em_matcher *m, uint32_t node, uint32_t set, bool *out, em_error *error) {
  em_status status = EM_OK;
  EM_TRY(em_ways_find_loops(&m->ways, set, error));
  *out = (m->trie->below[node] & ~m->ways.sets[set].loops) == 0;
fail:
  return status;
}

em_status em_mask_walk(em_matcher *m, uint32_t first, uint32_t end, uint32_t set, const em_mask_target *to,
                       em_error *error) {
  em_status status = EM_OK;
  const em_token_trie *trie = m->trie;
  em_ways *ways = &m->ways;
  uint32_t sets[EM_TOKEN_TRIE_MAX_TOKEN_BYTES + 1]; /* [depth] of the nodes above the present one */
  if (first >= end)
    return EM_OK;
  sets[trie->nodes[first].depth - 1] = set;
  for (uint32_t i = first; i < end;) {
    const em_trie_node *node = &trie->nodes[i];
    uint32_t next, n_below = node->end - i;
    EM_TRY(em_ways_step(ways, sets[node->depth - 1], node->byte, &next, error));
    ways->work++;
    if (next == EM_WAYS_DEAD) {
      i = node->end;
      continue;
    }
    uint32_t n_taken = i + 1; /* the node whose first token is the first that is not taken here */
    if (n_below >= EM_MIN_SHORT_CUT) {
      bool cut;
      EM_TRY(em_ways_count_work(ways, 0, error));
      EM_TRY(is_short_cut(m, i, next, &cut, error));
      n_taken = cut ? node->end : n_taken;
    }
    for (uint32_t token = node->first, last = trie->nodes[n_taken].first; token < last; token++)
      em_mask_allow(to, trie->sorted[token]);
    if (n_taken > i + 1) {
      i = node->end;
      continue;
    }
    if (to->exits && n_below > 1) {
      if (!ways->sets[next].closed)
        EM_TRY(em_ways_close(ways, next, error));
      if (ways->sets[next].accepts)
        EM_TRY(add_exit(to->exits, i, error));
    }
    sets[node->depth] = next;
    i++;
  }
fail:
  return status;
}

/* --- Masks of states ---------------------------------------------------------------------------------------------- */

static void forget_masks(em_mask_cache *cache) {
  for (uint32_t i = 0; i < cache->n_masks; i++) {
    free(cache->masks[i].ids);
    free(cache->masks[i].bits);
    free(cache->masks[i].exits);
  }
  for (uint32_t i = 0; i < cache->n_loops; i++) {
    free(cache->loops[i].inside);
    free(cache->loops[i].bits);
    free(cache->loops[i].behind);
    free(cache->loops[i].exits);
  }
  if (cache->table)
    memset(cache->table, 0, EM_STATE_MASK_SLOTS * sizeof *cache->table);
  cache->n_masks = 0;
  cache->n_loops = 0;
  cache->bytes = 0;
}

void em_mask_make_room(em_mask_cache *cache, size_t bytes) {
  if (cache->n_masks == EM_STATE_MASK_SLOTS / 2 || cache->n_loops == EM_MAX_LOOP_MASKS ||
      cache->bytes + bytes > EM_MAX_MASK_BYTES)
    forget_masks(cache);
}

void em_mask_cache_clear(em_mask_cache *cache) {
  forget_masks(cache);
  free(cache->masks);
  free(cache->table);
  free(cache->bits);
  free(cache->exits);
  *cache = (em_mask_cache){0};
}

static em_status prepare_cache(em_matcher *m, em_error *error) {
  em_mask_cache *cache = &m->cache;
  if (!cache->masks)
    cache->masks = em_calloc(EM_STATE_MASK_SLOTS / 2, sizeof *cache->masks);
  if (!cache->table)
    cache->table = em_calloc(EM_STATE_MASK_SLOTS, sizeof *cache->table);
  if (!cache->bits)
    cache->bits = em_calloc(n_words(m) + 1, sizeof *cache->bits);
  return cache->masks && cache->table && cache->bits ? EM_OK : no_memory(error);
}

static uint16_t *slot_of(em_mask_cache *cache, uint32_t state) {
  uint32_t slot = (uint32_t)(state * 2654435761u) >> 21;
  while (cache->table[slot] && cache->masks[cache->table[slot] - 1].state != state)
    slot = (slot + 1) % EM_STATE_MASK_SLOTS;
  return &cache->table[slot];
}

/* Keeps what cache->bits and cache->exits hold. */
static em_status keep_mask(em_matcher *m, uint32_t state, const em_state_mask **out, em_error *error) {
  em_mask_cache *cache = &m->cache;
  em_state_mask mask = {.state = state, .n_exits = cache->n_exits};
  size_t bits_bytes = n_words(m) * sizeof *mask.bits, bytes = cache->n_exits * sizeof *mask.exits;
  for (size_t i = 0; i < n_words(m); i++)
    mask.n_ids += (uint32_t)__builtin_popcountll(cache->bits[i]);
  bool as_ids = mask.n_ids < bits_bytes / sizeof *mask.ids;
  bytes += as_ids ? mask.n_ids * sizeof *mask.ids : bits_bytes;
  em_mask_make_room(cache, bytes);
  mask.exits = em_calloc(cache->n_exits + 1, sizeof *mask.exits);
  if (as_ids)
    mask.ids = em_calloc(mask.n_ids + 1, sizeof *mask.ids);
  else
    mask.bits = em_calloc(n_words(m), sizeof *mask.bits);
  if (!mask.exits || !(as_ids ? (void *)mask.ids : (void *)mask.bits)) {
    free(mask.exits);
    free(mask.ids);
    free(mask.bits);
    return no_memory(error);
  }
  if (cache->n_exits > 0)
    memcpy(mask.exits, cache->exits, cache->n_exits * sizeof *mask.exits);
  if (as_ids) {
    uint32_t n = 0;
    for (size_t i = 0; i < n_words(m); i++)
      for (uint64_t word = cache->bits[i]; word; word &= word - 1)
        mask.ids[n++] = (uint32_t)(64 * i) + (uint32_t)__builtin_ctzll(word);
  } else {
    memcpy(mask.bits, cache->bits, bits_bytes);
  }
  uint16_t *slot = slot_of(cache, state);
  cache->masks[cache->n_masks] = mask;
  *slot = (uint16_t)++cache->n_masks;
  cache->bytes += bytes;
  *out = &cache->masks[cache->n_masks - 1];
  return EM_OK;
}

/* What the state allows; *out is valid until the next call. */
static em_status mask_of(em_matcher *m, uint32_t state, const em_state_mask **out, em_error *error) {
  em_status status = EM_OK;
  em_mask_cache *cache = &m->cache;
  uint32_t set;
  EM_TRY(prepare_cache(m, error));
  uint16_t known = *slot_of(cache, state);
  if (known) {
    *out = &cache->masks[known - 1];
    return EM_OK;
  }
  /* On the empty stack: the end of the rule looks like the end of the text. */
  EM_TRY(em_ways_single(&m->ways, (em_way){state, EM_WAYS_BOTTOM}, &set, error));
  EM_TRY(em_ways_close(&m->ways, set, error));
  memset(cache->bits, 0, n_words(m) * sizeof *cache->bits);
  cache->n_exits = 0;
  em_mask_target to = {.bits = cache->bits, .n_bits = m->trie->n_tokens, .exits = cache};
  if (m->ways.sets[set].accepts)
    EM_TRY(add_exit(cache, 0, error));
  EM_TRY(em_mask_walk(m, 1, m->trie->n_nodes, set, &to, error));
  EM_TRY(keep_mask(m, state, out, error));
fail:
  return status;
}

/* --- Masks of places ---------------------------------------------------------------------------------------------- */

static void allow_mask(const em_mask_target *to, const em_state_mask *mask) {
  for (uint32_t i = 0; mask->ids && i < mask->n_ids; i++)
    em_mask_allow(to, mask->ids[i]);
  if (!mask->bits)
    return;
  size_t n = to->n_bits / 64;
  for (size_t i = 0; i < n; i++)
    to->bits[i] |= mask->bits[i];
  if (to->n_bits % 64 != 0)
    to->bits[n] |= mask->bits[n] & ((1ull << (to->n_bits % 64)) - 1);
}

void em_way_list_add(em_way_list *list, em_way way) {
  for (uint32_t i = 0; i < list->n; i++)
    if (list->ways[i].state == way.state && list->ways[i].node == way.node)
      return;
  if (list->n == EM_MAX_WAYS_APART)
    list->full = true;
  else
    list->ways[list->n++] = way;
}

/* The tokens of one way; what it returns to where its rule may be over here is put on the list. */
static em_status allow_way(em_matcher *m, em_way way, em_way_list *list, const em_mask_target *to, em_error *error) {
  em_status status = EM_OK;
  const em_state_mask *mask = NULL;
  em_loop_row row;
  uint32_t set, i = 0;
  if (way.state == 0)
    return EM_OK; /* on the empty stack: the end */
  const em_loop *loop = em_ways_loop(&m->ways, way.state, &row, &i);
  if (loop)
    return em_mask_allow_loop(m, way, loop, i, list, to, error);
  EM_TRY(mask_of(m, way.state, &mask, error));
  allow_mask(to, mask);
  if (way.node == EM_WAYS_BOTTOM || mask->n_exits == 0)
    return EM_OK;
  em_way caller = {m->ways.nodes[way.node].state, m->ways.nodes[way.node].parent};
  if (mask->exits[0] == 0) {
    em_way_list_add(list, caller);
    i = 1;
  }
  EM_TRY(em_ways_single(&m->ways, caller, &set, error));
  for (; i < mask->n_exits; i++)
    EM_TRY(em_mask_walk(m, mask->exits[i] + 1, m->trie->nodes[mask->exits[i]].end, set, to, error));
fail:
  return status;
}

/* At the very beginning of a text whose first space is dropped. */
static em_status allow_first(em_matcher *m, uint32_t set, const em_mask_target *to, em_error *error) {
  em_status status = EM_OK;
  const em_token_trie *trie = m->trie;
  for (uint32_t i = 1; i < trie->n_nodes; i = trie->nodes[i].end) {
    bool space = trie->nodes[i].byte == ' ';
    EM_TRY(em_mask_walk(m, space ? i + 1 : i, trie->nodes[i].end, set, to, error));
  }
fail:
  return status;
}

static em_status allow_all(em_matcher *m, const em_mask_target *to, em_error *error) {
  em_status status = EM_OK;
  em_place now = m->places[m->n_places - 1];
  em_way_list list = {.n = 0};
  if (now.fresh && m->drops_space)
    return allow_first(m, now.set, to, error);
  const em_way_set *set = &m->ways.sets[now.set];
  for (uint32_t i = 0; i < set->n && !list.full; i++)
    em_way_list_add(&list, m->ways.ways[set->first + i]);
  for (uint32_t i = 0; i < list.n && !list.full; i++)
    EM_TRY(allow_way(m, list.ways[i], &list, to, error));
  if (list.full)
    EM_TRY(em_mask_walk(m, 1, m->trie->n_nodes, now.set, to, error));
fail:
  return status;
}

em_status em_matcher_mask(em_matcher *m, uint64_t *allowed, size_t n_bits, bool *any, em_error *error) {
  em_status status = EM_OK;
  em_error first = {0};
  size_t n_allowed_words = (n_bits + 63) / 64;
  em_mask_target to = {.bits = allowed, .n_bits = n_bits};
  *any = false;
  if (n_allowed_words > 0)
    memset(allowed, 0, n_allowed_words * sizeof *allowed);
  if (!m->trie)
    return em_fail(error, EM_ERR_ARGUMENT, "the matcher has no vocabulary");
  if (m->places[m->n_places - 1].ended)
    return EM_OK;
  if (n_bits > m->trie->n_tokens)
    to.n_bits = m->trie->n_tokens;
  m->ways.work = 0;
  status = allow_all(m, &to, &first);
  if (status == EM_ERR_LIMIT && m->ways.full) {
    /* Full tables: what is allowed already stays right. */
    EM_TRY(em_matcher_tidy(m, NULL, error));
    EM_TRY(allow_all(m, &to, error));
  } else if (status != EM_OK) {
    EM_TRY(em_fail(error, status, "%s", first.text));
  }
  if (em_matcher_may_end(m))
    for (uint32_t i = 0; i < m->trie->n_ends; i++)
      em_mask_allow(&to, m->trie->ends[i]);
  for (size_t i = 0; i < n_allowed_words && !*any; i++)
    *any = allowed[i] != 0;
  return EM_OK;
fail:
  if (n_allowed_words > 0)
    memset(allowed, 0, n_allowed_words * sizeof *allowed);
  return status;
}
