/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/tokenizer/special.h"

#include "base/checked.h"

#include <stdlib.h>

static size_t slot_of(const em_specials *specials, uint32_t parent, uint8_t byte) {
  uint64_t key = ((uint64_t)parent << 8 | byte) * 0x9E3779B97F4A7C15u;
  return (size_t)(key >> 32) & (specials->n_slots - 1);
}

/* The child of a node by a byte, or 0. */
static uint32_t child_of(const em_specials *specials, uint32_t parent, uint8_t byte) {
  if (parent == 0)
    return specials->roots[byte];
  for (size_t i = slot_of(specials, parent, byte);; i = (i + 1) & (specials->n_slots - 1)) {
    uint32_t node = specials->slots[i];
    if (node == 0 || (specials->nodes[node].parent == parent && specials->nodes[node].byte == byte))
      return node;
  }
}

static uint32_t add_child(em_specials *specials, uint32_t parent, uint8_t byte) {
  uint32_t node = (uint32_t)specials->n++;
  specials->nodes[node] = (em_special_node){.parent = parent, .byte = byte, .any = EM_NO_TOKEN, .defined = EM_NO_TOKEN};
  if (parent == 0) {
    specials->roots[byte] = node;
    return node;
  }
  size_t i = slot_of(specials, parent, byte);
  while (specials->slots[i] != 0)
    i = (i + 1) & (specials->n_slots - 1);
  specials->slots[i] = node;
  return node;
}

static bool is_special(uint8_t type) {
  return type == EM_TOKEN_CONTROL || type == EM_TOKEN_UNKNOWN || type == EM_TOKEN_USER_DEFINED;
}

/* Where a byte leads from a node: down the trie from it or from the longest suffix of it that goes on with this byte.
 */
static uint32_t step(const em_specials *specials, uint32_t node, uint8_t byte) {
  uint32_t next;
  while ((next = child_of(specials, node, byte)) == 0 && node != 0)
    node = specials->nodes[node].fail;
  return next;
}

/* Fills the fail links level by level, and hands down the longest piece from the suffix where a node ends none itself.
 */
static bool link_nodes(em_specials *specials) {
  size_t n = specials->n;
  uint16_t *depth = em_calloc(n, sizeof *depth);
  uint32_t *order = em_calloc(n, sizeof *order);
  size_t starts[EM_TOKENIZER_MAX_PIECE_BYTES + 2] = {0};
  bool done = false;
  if (!depth || !order)
    goto fail;
  for (size_t i = 1; i < n; i++) { /* a parent's number is below its children's */
    depth[i] = (uint16_t)(depth[specials->nodes[i].parent] + 1);
    starts[depth[i] + 1]++;
  }
  for (size_t i = 1; i < sizeof starts / sizeof starts[0]; i++)
    starts[i] += starts[i - 1];
  for (size_t i = 1; i < n; i++)
    order[starts[depth[i]]++] = (uint32_t)i;
  for (size_t i = 0; i + 1 < n; i++) {
    em_special_node *node = &specials->nodes[order[i]];
    if (node->parent != 0)
      node->fail = step(specials, specials->nodes[node->parent].fail, node->byte);
    const em_special_node *suffix = &specials->nodes[node->fail];
    if (node->any == EM_NO_TOKEN)
      node->any = suffix->any;
    if (node->defined == EM_NO_TOKEN)
      node->defined = suffix->defined;
  }
  done = true;
fail:
  free(depth);
  free(order);
  return done;
}

em_status em_specials_init(em_specials *specials, const em_vocab *vocab, em_error *error) {
  *specials = (em_specials){0};
  size_t total = 1;
  for (size_t i = 0; i < vocab->n; i++)
    if (is_special(vocab->types[i]))
      total += em_vocab_piece(vocab, (int32_t)i).bytes;
  /* Most of this total is shared beginnings, but it bounds the nodes before any is made. */
  size_t capacity = total < EM_SPECIALS_MAX_NODES ? total : EM_SPECIALS_MAX_NODES;
  specials->capacity = capacity;
  specials->n_slots = 16;
  while (specials->n_slots < 2 * capacity)
    specials->n_slots *= 2;
  specials->nodes = em_calloc(capacity, sizeof *specials->nodes);
  specials->slots = em_calloc(specials->n_slots, sizeof *specials->slots);
  if (!specials->nodes || !specials->slots)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the vocabulary's special tokens");
  specials->nodes[0] = (em_special_node){.any = EM_NO_TOKEN, .defined = EM_NO_TOKEN};
  specials->n = 1;
  for (size_t i = 0; i < vocab->n; i++) {
    em_piece piece = em_vocab_piece(vocab, (int32_t)i);
    if (!is_special(vocab->types[i]) || piece.bytes == 0)
      continue;
    uint32_t node = 0;
    for (size_t k = piece.bytes; k-- > 0;) {
      uint32_t child = child_of(specials, node, (uint8_t)piece.text[k]);
      if (child == 0) {
        if (specials->n == capacity)
          return em_fail(error, EM_ERR_LIMIT, "the vocabulary's special tokens are too long together");
        child = add_child(specials, node, (uint8_t)piece.text[k]);
      }
      node = child;
    }
    if (specials->nodes[node].any == EM_NO_TOKEN)
      specials->nodes[node].any = (int32_t)i;
    if (vocab->types[i] == EM_TOKEN_USER_DEFINED && specials->nodes[node].defined == EM_NO_TOKEN)
      specials->nodes[node].defined = (int32_t)i;
  }
  if (!link_nodes(specials))
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the vocabulary's special tokens");
  return EM_OK;
}

void em_specials_clear(em_specials *specials) {
  free(specials->nodes);
  free(specials->slots);
  *specials = (em_specials){0};
}

static bool is_guarded(const em_trust *trust, int32_t id) {
  size_t low = 0, high = trust->n_guarded;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (trust->guarded[middle] < id)
      low = middle + 1;
    else
      high = middle;
  }
  return low < trust->n_guarded && trust->guarded[low] == id;
}

/* The token that counts at text[start] where the automaton stands at node: the longest that lies within a range, else
 * the longest that counts anywhere. *n_ranges: how many ranges start at or before `start`, or more; it only falls,
 * because the text is read backwards. */
static int32_t trusted_id(const em_specials *specials, uint32_t node, const em_vocab *vocab, const em_trust *trust,
                          size_t start, size_t *n_ranges) {
  const em_special_node *nodes = specials->nodes;
  if (nodes[node].any == EM_NO_TOKEN)
    return EM_NO_TOKEN;
  while (*n_ranges > 0 && trust->ranges[*n_ranges - 1].start > start)
    --*n_ranges;
  if (*n_ranges > 0) {
    size_t end = trust->ranges[*n_ranges - 1].start + trust->ranges[*n_ranges - 1].bytes;
    for (uint32_t i = node; start < end && nodes[i].any != EM_NO_TOKEN; i = nodes[i].fail)
      if (em_vocab_piece(vocab, nodes[i].any).bytes <= end - start)
        return nodes[i].any;
  }
  for (uint32_t i = node; nodes[i].defined != EM_NO_TOKEN; i = nodes[i].fail)
    if (!is_guarded(trust, nodes[i].defined))
      return nodes[i].defined;
  return EM_NO_TOKEN;
}

em_status em_specials_find(const em_specials *specials, const em_vocab *vocab, const char *text, size_t bytes,
                           bool with_control, const em_trust *trust, em_special_match **out, size_t *n_out,
                           em_error *error) {
  *out = NULL;
  *n_out = 0;
  if (specials->n <= 1)
    return EM_OK;
  /* Every place where a piece starts, last place first. */
  em_special_match *found = NULL;
  size_t n = 0, capacity = 0, n_ranges = trust ? trust->n_ranges : 0;
  uint32_t node = 0;
  for (size_t i = bytes; i-- > 0;) {
    node = step(specials, node, (uint8_t)text[i]);
    int32_t id = trust          ? trusted_id(specials, node, vocab, trust, i, &n_ranges)
                 : with_control ? specials->nodes[node].any
                                : specials->nodes[node].defined;
    if (id == EM_NO_TOKEN)
      continue;
    if (n == capacity) {
      capacity = capacity ? capacity * 2 : 64;
      em_special_match *grown = em_realloc_array(found, capacity, sizeof *grown);
      if (!grown) {
        free(found);
        return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the special tokens of a text");
      }
      found = grown;
    }
    found[n++] = (em_special_match){i, id};
  }
  /* Turned around, then those kept that start behind the end of the last one kept. */
  for (size_t i = 0; i < n / 2; i++) {
    em_special_match other = found[i];
    found[i] = found[n - 1 - i];
    found[n - 1 - i] = other;
  }
  size_t end = 0, kept = 0;
  for (size_t i = 0; i < n; i++) {
    if (found[i].start < end)
      continue;
    end = found[i].start + em_vocab_piece(vocab, found[i].id).bytes;
    found[kept++] = found[i];
  }
  *out = found;
  *n_out = kept;
  return EM_OK;
}
