/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a loop allows. A string of at most 500 characters has 500 states, and what they allow differs only for tokens
 * that reach the end of the count. So the tree is walked once as if there were no bounds, and each token is kept with
 * the count that it needs. */
#include "text/grammar/matcher-private.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

static em_status no_memory(em_error *error) {
  return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the tokens that a grammar allows");
}

/* A mask that is being made. */
typedef struct maker {
  em_matcher *matcher;
  const em_loop *loop;
  em_loop_mask mask;
  uint32_t capacity_behind, capacity_exits;
  uint64_t plain; /* the kinds of bytes that are one call of the loop's rule each */
} maker;

static em_status append(struct em_counted **list, uint32_t *n, uint32_t *capacity, uint32_t index, uint32_t count,
                        em_error *error) {
  if (*n == *capacity) {
    uint32_t wanted = *capacity ? 2 * *capacity : 256;
    struct em_counted *grown = em_realloc_array(*list, wanted, sizeof *grown);
    if (!grown)
      return no_memory(error);
    *list = grown;
    *capacity = wanted;
  }
  (*list)[(*n)++] = (struct em_counted){index, count};
  return EM_OK;
}

/* --- Counts ------------------------------------------------------------------------------------------------------- */

/* Stores a count that a set has in one row; false when it had another. */
static bool put_count(uint16_t *to, uint32_t count) {
  if (*to != EM_NO_COUNT && *to != count)
    return false;
  *to = (uint16_t)count;
  return true;
}

/* How often the loop was called in the ways of a set: those inside it, and those behind it. false: they differ. */
static bool find_counts(em_ways *ways, uint32_t number) {
  em_way_set *set = &ways->sets[number];
  if (set->has_counts)
    return true;
  set->inside = set->behind = EM_NO_COUNT;
  for (uint32_t i = 0; i < set->n; i++) {
    em_way way = ways->ways[set->first + i];
    uint32_t state = way.state, count;
    em_loop_row row;
    for (uint32_t node = way.node; node != EM_WAYS_BOTTOM; node = ways->nodes[node].parent)
      state = ways->nodes[node].state;
    if (!em_ways_loop(ways, state, &row, &count) || row == EM_ROW_COUNTED ||
        !put_count(row == EM_ROW_LEFT ? &set->behind : &set->inside, count))
      return false;
  }
  set->has_counts = true;
  return true;
}

/* Whether the set is the loop between two calls, and nothing else. */
static bool is_between(const em_ways *ways, uint32_t number, const em_loop *loop) {
  const em_way_set *set = &ways->sets[number];
  em_way way = ways->ways[set->first];
  return set->n == 1 && way.node == EM_WAYS_BOTTOM && way.state >= loop->relative && way.state < loop->left;
}

static em_status find_plain(maker *k, em_error *error) {
  em_status status = EM_OK;
  em_ways *ways = &k->matcher->ways;
  uint64_t good = 0, bad = 0;
  uint32_t from, to, next;
  EM_TRY(em_ways_single(ways, (em_way){k->loop->relative, EM_WAYS_BOTTOM}, &from, error));
  EM_TRY(em_ways_single(ways, (em_way){k->loop->relative + 1, EM_WAYS_BOTTOM}, &to, error));
  for (unsigned byte = 0; byte < 256; byte++) {
    EM_TRY(em_ways_step(ways, from, byte, &next, error));
    if (next == to)
      good |= 1ull << em_byte_kind(byte);
    else
      bad |= 1ull << em_byte_kind(byte);
  }
  k->plain = good & ~bad;
fail:
  return status;
}

/* --- The walk ----------------------------------------------------------------------------------------------------- */

static void put_inside(maker *k, uint32_t id, uint32_t count) {
  k->mask.inside[id] = (uint16_t)count;
  k->mask.bits[id >> 6] |= 1ull << (id & 63);
  if (count > k->mask.most_inside)
    k->mask.most_inside = count;
}

/* The node's own tokens, and the node where a rule may be over. */
static em_status take_node(maker *k, uint32_t at, uint32_t set, em_error *error) {
  em_status status = EM_OK;
  const em_token_trie *trie = k->matcher->trie;
  em_ways *ways = &k->matcher->ways;
  EM_TRY(em_ways_close(ways, set, error));
  const em_way_set *s = &ways->sets[set];
  for (uint32_t token = trie->nodes[at].first; token < trie->nodes[at + 1].first; token++) {
    if (s->inside != EM_NO_COUNT)
      put_inside(k, trie->sorted[token], s->inside);
    if (s->behind != EM_NO_COUNT)
      EM_TRY(append(&k->mask.behind, &k->mask.n_behind, &k->capacity_behind, trie->sorted[token], s->behind, error));
  }
  if (s->accepts && trie->nodes[at].end > at + 1) {
    /* With both, it is not known which of them may be over. */
    k->mask.unusable = k->mask.unusable || (s->inside != EM_NO_COUNT && s->behind != EM_NO_COUNT);
    EM_TRY(append(&k->mask.exits, &k->mask.n_exits, &k->capacity_exits, at,
                  s->behind != EM_NO_COUNT ? s->behind : s->inside, error));
  }
fail:
  return status;
}

/* All tokens below a node, where every byte is one call: as many more as they are deeper. */
static void take_below(maker *k, uint32_t at, uint32_t count) {
  const em_token_trie *trie = k->matcher->trie;
  for (uint32_t i = at + 1; i < trie->nodes[at].end; i++)
    for (uint32_t token = trie->nodes[i].first; token < trie->nodes[i + 1].first; token++)
      put_inside(k, trie->sorted[token], count + trie->nodes[i].depth - trie->nodes[at].depth);
}

static em_status walk(maker *k, em_error *error) {
  em_status status = EM_OK;
  const em_token_trie *trie = k->matcher->trie;
  em_ways *ways = &k->matcher->ways;
  uint32_t sets[EM_TOKEN_TRIE_MAX_TOKEN_BYTES + 1];
  EM_TRY(em_ways_single(ways, (em_way){k->loop->relative, EM_WAYS_BOTTOM}, &sets[0], error));
  k->mask.unusable = !find_counts(ways, sets[0]);
  if (!k->mask.unusable)
    EM_TRY(take_node(k, 0, sets[0], error));
  for (uint32_t i = 1; i < trie->n_nodes && !k->mask.unusable;) {
    const em_trie_node *node = &trie->nodes[i];
    uint32_t next;
    EM_TRY(em_ways_step(ways, sets[node->depth - 1], node->byte, &next, error));
    EM_TRY(em_ways_count_work(ways, 1, error));
    if (next == EM_WAYS_DEAD) {
      i = node->end;
      continue;
    }
    if (!find_counts(ways, next)) {
      k->mask.unusable = true;
      break;
    }
    bool cut =
        node->end - i >= EM_MIN_SHORT_CUT && (trie->below[i] & ~k->plain) == 0 && is_between(ways, next, k->loop);
    /* Behind a loop whose rule ends with it, every place in it is an exit: there are no short cuts. */
    EM_TRY(take_node(k, i, next, error));
    cut = cut && !ways->sets[next].accepts;
    if (cut)
      take_below(k, i, ways->sets[next].inside);
    sets[node->depth] = next;
    i = cut ? node->end : i + 1;
  }
fail:
  return status;
}

/* --- Masks -------------------------------------------------------------------------------------------------------- */

static em_status make_mask(em_matcher *m, const em_loop *loop, em_loop_mask *out, em_error *error) {
  em_status status = EM_OK;
  em_error first = {0};
  size_t n = m->trie->n_tokens;
  maker k = {.matcher = m, .loop = loop, .mask = {.rule = loop->rule, .next = loop->next}};
  k.mask.inside = em_calloc(n + 1, sizeof *k.mask.inside);
  k.mask.bits = em_calloc((n + 63) / 64 + 1, sizeof *k.mask.bits);
  if (!k.mask.inside || !k.mask.bits)
    EM_TRY(no_memory(error));
  memset(k.mask.inside, 0xFF, n * sizeof *k.mask.inside);
  status = find_plain(&k, &first);
  if (status == EM_OK)
    status = walk(&k, &first);
  /* Too many ways without bounds are not too many with them. */
  if (status == EM_ERR_LIMIT && !m->ways.full) {
    k.mask.unusable = true;
    status = EM_OK;
  }
  if (status != EM_OK)
    EM_TRY(em_fail(error, status, "%s", first.text));
  *out = k.mask;
  return EM_OK;
fail:
  free(k.mask.inside);
  free(k.mask.bits);
  free(k.mask.behind);
  free(k.mask.exits);
  return status;
}

static em_status mask_of(em_matcher *m, const em_loop *loop, const em_loop_mask **out, em_error *error) {
  em_status status = EM_OK;
  em_mask_cache *cache = &m->cache;
  em_loop_mask mask;
  for (uint32_t i = 0; i < cache->n_loops; i++)
    if (cache->loops[i].rule == loop->rule && cache->loops[i].next == loop->next) {
      *out = &cache->loops[i];
      return EM_OK;
    }
  EM_TRY(make_mask(m, loop, &mask, error));
  size_t bytes = m->trie->n_tokens * (sizeof *mask.inside + 1) + (mask.n_behind + mask.n_exits) * sizeof *mask.exits;
  em_mask_make_room(cache, bytes);
  cache->bytes += bytes;
  cache->loops[cache->n_loops] = mask;
  *out = &cache->loops[cache->n_loops++];
fail:
  return status;
}

/* The tokens that end inside the loop and need no more calls than are left. */
static void allow_inside(const em_mask_target *to, const em_loop_mask *mask, uint32_t left) {
  size_t n_words = (to->n_bits + 63) / 64;
  for (size_t i = 0; i < n_words; i++) {
    uint64_t word = mask->bits[i];
    if (left < mask->most_inside && word) {
      const uint16_t *counts = mask->inside + 64 * i;
      for (uint64_t rest = word; rest; rest &= rest - 1)
        if (counts[__builtin_ctzll(rest)] > left)
          word &= ~(rest & -rest);
    }
    if (64 * (i + 1) > to->n_bits)
      word &= (1ull << (to->n_bits % 64)) - 1;
    to->bits[i] |= word;
  }
}

em_status em_mask_allow_loop(em_matcher *m, em_way way, const em_loop *loop, uint32_t count, em_way_list *list,
                             const em_mask_target *to, em_error *error) {
  em_status status = EM_OK;
  const em_loop_mask *mask = NULL;
  uint32_t set, least = loop->min > count ? loop->min - count : 0;
  uint32_t left = loop->max == EM_NO_MAXIMUM ? EM_NO_MAXIMUM : loop->max - count;
  EM_TRY(mask_of(m, loop, &mask, error));
  if (mask->unusable) {
    EM_TRY(em_ways_single(&m->ways, way, &set, error));
    return em_mask_walk(m, 1, m->trie->n_nodes, set, to, error);
  }
  allow_inside(to, mask, left);
  for (uint32_t i = 0; i < mask->n_behind; i++)
    if (mask->behind[i].count >= least && mask->behind[i].count <= left)
      em_mask_allow(to, mask->behind[i].index);
  if (way.node == EM_WAYS_BOTTOM || mask->n_exits == 0)
    return EM_OK;
  em_way caller = {m->ways.nodes[way.node].state, m->ways.nodes[way.node].parent};
  EM_TRY(em_ways_single(&m->ways, caller, &set, error));
  for (uint32_t i = 0; i < mask->n_exits; i++) {
    struct em_counted at = mask->exits[i];
    if (at.count < least || at.count > left)
      continue;
    if (at.index == 0)
      em_way_list_add(list, caller);
    else
      EM_TRY(em_mask_walk(m, at.index + 1, m->trie->nodes[at.index].end, set, to, error));
  }
fail:
  return status;
}
