/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/grammar/trie.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

/* Marks have a kind of their own, because grammars tell them apart; letters and the bytes of longer characters share
 * some. */
unsigned em_byte_kind(unsigned byte) {
  static const char marks[] = " \n\t\r!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
  const char *found;
  if (byte >= 0xF0)
    return 0;
  if (byte >= 0xE0)
    return 1;
  if (byte >= 0xC0)
    return 2;
  if (byte >= 0x80)
    return 3;
  if (byte >= '0' && byte <= '9')
    return byte == '0' ? 4 : byte == '1' ? 5 : 6;
  if (byte >= 'A' && byte <= 'Z')
    return byte <= 'F' ? 7 : 8;
  if (byte >= 'a' && byte <= 'z')
    return byte <= 'f' ? 9 : byte == 'n' ? 10 : byte == 't' ? 11 : byte == 'u' ? 12 : byte == 'r' ? 13 : 14;
  found = byte ? strchr(marks, (int)byte) : NULL;
  return found ? 16 + (unsigned)(found - marks) : 15;
}

static int by_bytes(const void *a, const void *b, void *user) {
  const em_token_trie *trie = user;
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  uint32_t x_bytes = trie->offsets[x + 1] - trie->offsets[x], y_bytes = trie->offsets[y + 1] - trie->offsets[y];
  int order =
      memcmp(trie->text + trie->offsets[x], trie->text + trie->offsets[y], x_bytes < y_bytes ? x_bytes : y_bytes);
  if (order == 0)
    order = (x_bytes > y_bytes) - (x_bytes < y_bytes);
  return order ? order : (x > y) - (x < y);
}

static em_status no_memory(em_error *error) {
  return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the tree of the vocabulary");
}

/* Copies the texts and sorts the tokens. */
static em_status copy_tokens(em_token_trie *trie, const em_grammar_token *tokens, size_t n, em_error *error) {
  uint64_t bytes = 0;
  for (size_t i = 0; i < n; i++) {
    if (tokens[i].bytes > EM_TOKEN_TRIE_MAX_TOKEN_BYTES)
      return em_fail(error, EM_ERR_LIMIT, "a token of %zu bytes is too long", tokens[i].bytes);
    bytes += tokens[i].bytes; /* at most 2^22 * 2^10 */
  }
  if (bytes >= UINT32_MAX / 2)
    return em_fail(error, EM_ERR_LIMIT, "the vocabulary has too many bytes");
  trie->n_tokens = n;
  trie->text = em_calloc((size_t)bytes + 1, 1);
  trie->offsets = em_calloc(n + 1, sizeof *trie->offsets);
  trie->sorted = em_calloc(n + 1, sizeof *trie->sorted);
  trie->ends = em_calloc(n + 1, sizeof *trie->ends);
  if (!trie->text || !trie->offsets || !trie->sorted || !trie->ends)
    return no_memory(error);
  for (size_t i = 0; i < n; i++) {
    uint32_t at = trie->offsets[i];
    if (tokens[i].bytes > 0)
      memcpy(trie->text + at, tokens[i].text, tokens[i].bytes);
    trie->offsets[i + 1] = at + (uint32_t)tokens[i].bytes;
    if (tokens[i].ends)
      trie->ends[trie->n_ends++] = (uint32_t)i;
    else if (tokens[i].bytes > 0)
      trie->sorted[trie->n_sorted++] = (uint32_t)i;
  }
  qsort_r(trie->sorted, trie->n_sorted, sizeof *trie->sorted, by_bytes, trie);
  return EM_OK;
}

static const unsigned char *token_at(const em_token_trie *trie, uint32_t i, uint32_t *bytes) {
  uint32_t id = trie->sorted[i];
  *bytes = trie->offsets[id + 1] - trie->offsets[id];
  return (const unsigned char *)trie->text + trie->offsets[id];
}

/* How many bytes the sorted token i shares with the one before it. */
static uint32_t shared_with_last(const em_token_trie *trie, uint32_t i) {
  uint32_t bytes, last_bytes, n = 0;
  if (i == 0)
    return 0;
  const unsigned char *text = token_at(trie, i, &bytes), *last = token_at(trie, i - 1, &last_bytes);
  while (n < bytes && n < last_bytes && text[n] == last[n])
    n++;
  return n;
}

static void make_nodes(em_token_trie *trie) {
  uint32_t open[EM_TOKEN_TRIE_MAX_TOKEN_BYTES + 1]; /* [depth] the nodes from the root to the last token */
  uint32_t depth = 0, n = 1;
  open[0] = 0;
  for (uint32_t i = 0; i <= trie->n_sorted; i++) {
    uint32_t shared = i < trie->n_sorted ? shared_with_last(trie, i) : 0, bytes = 0;
    const unsigned char *text = i < trie->n_sorted ? token_at(trie, i, &bytes) : NULL;
    for (; depth > shared; depth--) {
      const em_trie_node *node = &trie->nodes[open[depth]];
      trie->nodes[open[depth]].end = n;
      trie->below[open[depth - 1]] |= trie->below[open[depth]] | 1ull << em_byte_kind(node->byte);
    }
    while (depth < bytes) {
      em_trie_node *node = &trie->nodes[n];
      node->byte = text[depth];
      node->depth = (uint16_t)++depth;
      node->first = i;
      open[depth] = n++;
    }
  }
  trie->nodes[0].end = n;
  trie->nodes[n].end = n;
  trie->nodes[n].first = trie->n_sorted;
}

em_status em_token_trie_new(const em_grammar_token *tokens, size_t n_tokens, em_token_trie **out, em_error *error) {
  em_status status = EM_OK;
  em_token_trie *trie = em_calloc(1, sizeof *trie);
  if (!trie)
    EM_TRY(no_memory(error));
  if (n_tokens > EM_TOKEN_TRIE_MAX_TOKENS)
    EM_TRY(em_fail(error, EM_ERR_LIMIT, "the vocabulary has more than %u tokens", EM_TOKEN_TRIE_MAX_TOKENS));
  EM_TRY(copy_tokens(trie, tokens, n_tokens, error));
  trie->n_nodes = 1;
  for (uint32_t i = 0, bytes; i < trie->n_sorted; i++) {
    token_at(trie, i, &bytes);
    trie->n_nodes += bytes - shared_with_last(trie, i);
  }
  trie->nodes = em_calloc((size_t)trie->n_nodes + 1, sizeof *trie->nodes);
  trie->below = em_calloc(trie->n_nodes, sizeof *trie->below);
  if (!trie->nodes || !trie->below)
    EM_TRY(no_memory(error));
  make_nodes(trie);
  *out = trie;
  return EM_OK;
fail:
  em_token_trie_free(trie);
  return status;
}

void em_token_trie_free(em_token_trie *trie) {
  if (!trie)
    return;
  free(trie->text);
  free(trie->offsets);
  free(trie->sorted);
  free(trie->ends);
  free(trie->nodes);
  free(trie->below);
  free(trie);
}

size_t em_token_trie_n_tokens(const em_token_trie *trie) {
  return trie->n_tokens;
}
