/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/tokenizer/bpe.h"

#include "base/checked.h"
#include "base/utf8.h"
#include "text/tokenizer/spm.h"

#include <stdlib.h>
#include <string.h>

/* --- The byte-level alphabet ------------------------------------------------------------------------------------ */

/* 0x21-0x7E, 0xA1-0xAC and 0xAE-0xFF spell themselves; the other 68 bytes are U+0100 and on, in their order. */
enum { N_SPELLED_LOW = 0x21, N_SPELLED_MIDDLE = 0x22, SPELLED_AD = 0x100 + N_SPELLED_LOW + N_SPELLED_MIDDLE };

uint32_t em_byte_level_char(uint8_t byte) {
  if (byte < 0x21)
    return 0x100u + byte;
  if (byte >= 0x7F && byte <= 0xA0)
    return 0x100u + N_SPELLED_LOW + (byte - 0x7Fu);
  return byte == 0xAD ? SPELLED_AD : byte;
}

int em_byte_level_byte(uint32_t code_point) {
  if (code_point >= 0x100)
    return code_point < 0x100 + N_SPELLED_LOW ? (int)code_point - 0x100
           : code_point < SPELLED_AD          ? (int)code_point - 0x100 - N_SPELLED_LOW + 0x7F
           : code_point == SPELLED_AD         ? 0xAD
                                              : -1;
  return em_byte_level_char((uint8_t)code_point) == code_point ? (int)code_point : -1;
}

/* --- The merges ------------------------------------------------------------------------------------------------- */

/* What byte-level text may become: no user-defined piece, because those are spelled as they are and were taken out of
 * the text before. */
static int32_t find(const em_bpe *bpe, const em_vocab *vocab, const char *text, size_t bytes) {
  int32_t id = em_vocab_find_ordinary(vocab, text, bytes);
  return id != EM_NO_TOKEN && bpe->byte_level && vocab->types[id] == EM_TOKEN_USER_DEFINED ? EM_NO_TOKEN : id;
}

static size_t slot_of(const em_bpe *bpe, int32_t left, int32_t right) {
  uint64_t key = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9E3779B97F4A7C15u;
  return (size_t)((key ^ key >> 29) * 0xD6E8FEB86659FD93u >> 32) & (bpe->n_slots - 1);
}

/* The slot of a pair, or the empty one where it would be. */
static size_t look_up(const em_bpe *bpe, int32_t left, int32_t right) {
  size_t i = slot_of(bpe, left, right);
  for (uint32_t rank; (rank = bpe->slots[i]) != 0; i = (i + 1) & (bpe->n_slots - 1))
    if (bpe->merges[rank - 1].left == left && bpe->merges[rank - 1].right == right)
      break;
  return i;
}

static void add_merge(em_bpe *bpe, const em_vocab *vocab, size_t rank, em_piece left, em_piece right) {
  em_bpe_merge *merge = &bpe->merges[rank];
  *merge = (em_bpe_merge){EM_NO_TOKEN, EM_NO_TOKEN, EM_NO_TOKEN};
  char joined[EM_TOKENIZER_MAX_PIECE_BYTES];
  if (left.bytes + right.bytes > vocab->longest)
    return;
  memcpy(joined, left.text, left.bytes);
  memcpy(joined + left.bytes, right.text, right.bytes);
  em_bpe_merge found = {find(bpe, vocab, left.text, left.bytes), find(bpe, vocab, right.text, right.bytes),
                        find(bpe, vocab, joined, left.bytes + right.bytes)};
  if (found.left == EM_NO_TOKEN || found.right == EM_NO_TOKEN || found.result == EM_NO_TOKEN)
    return;
  size_t slot = look_up(bpe, found.left, found.right);
  if (bpe->slots[slot] != 0)
    return; /* the pair's first merge counts */
  *merge = found;
  bpe->slots[slot] = (uint32_t)rank + 1;
}

em_status em_bpe_init(em_bpe *bpe, const em_vocab *vocab, const em_tokenizer_params *params,
                      const em_pretokenizer *pretokenizer, int32_t unknown, bool byte_level, em_error *error) {
  *bpe = (em_bpe){.byte_level = byte_level, .pretokenizer = pretokenizer, .unknown = unknown};
  size_t n = params->n_merges;
  if (!params->merges)
    return em_fail(error, EM_ERR_FORMAT, "the vocabulary has no merges");
  if (n > EM_BPE_MAX_MERGES)
    return em_fail(error, EM_ERR_LIMIT, "the vocabulary has %zu merges; at most %u are read", n, EM_BPE_MAX_MERGES);
  bpe->n_slots = 16;
  while (bpe->n_slots < 2 * n)
    bpe->n_slots *= 2;
  bpe->merges = em_calloc(n + 1, sizeof *bpe->merges);
  bpe->slots = em_calloc(bpe->n_slots, sizeof *bpe->slots);
  if (!bpe->merges || !bpe->slots)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for %zu merges", n);
  for (size_t i = 0; i < n; i++) {
    em_piece merge = params->merges[i];
    /* A space at the start belongs to the left piece. */
    const char *space = merge.bytes < 2 ? NULL : memchr(merge.text + 1, ' ', merge.bytes - 1);
    if (!space)
      return em_fail(error, EM_ERR_FORMAT, "merge %zu has no space between two pieces", i);
    size_t left_bytes = (size_t)(space - merge.text);
    add_merge(bpe, vocab, i, (em_piece){merge.text, left_bytes}, (em_piece){space + 1, merge.bytes - left_bytes - 1});
  }
  for (unsigned byte = 0; byte < 256; byte++) {
    char spelled[4];
    size_t bytes = em_utf8_encode(em_byte_level_char((uint8_t)byte), spelled);
    bpe->byte_ids[byte] = find(bpe, vocab, spelled, bytes);
  }
  bpe->splits_at_space = !byte_level && em_vocab_splits_at_space(vocab);
  return EM_OK;
}

void em_bpe_clear(em_bpe *bpe) {
  free(bpe->merges);
  free(bpe->slots);
  *bpe = (em_bpe){0};
}

/* --- Tokenizing ------------------------------------------------------------------------------------------------- */

static uint32_t rank_of_pair(const void *user, const em_symbol *left, const em_symbol *right, int32_t *id) {
  const em_bpe *bpe = user;
  if (left->id == EM_NO_TOKEN || right->id == EM_NO_TOKEN)
    return EM_NO_RANK;
  uint32_t rank = bpe->slots[look_up(bpe, left->id, right->id)];
  if (rank == 0)
    return EM_NO_RANK;
  *id = bpe->merges[rank - 1].result;
  return rank - 1;
}

/* The token that a whole word is, spelled byte by byte, or EM_NO_TOKEN. */
static int32_t find_word(const em_bpe *bpe, const em_vocab *vocab, const char *text, size_t bytes) {
  char spelled[EM_TOKENIZER_MAX_PIECE_BYTES + 4];
  size_t n = 0;
  for (size_t i = 0; i < bytes; i++) {
    n += em_utf8_encode(em_byte_level_char((uint8_t)text[i]), spelled + n);
    if (n > vocab->longest)
      return EM_NO_TOKEN;
  }
  return find(bpe, vocab, spelled, n);
}

static bool tokenize_bytes(const em_bpe *bpe, const em_vocab *vocab, em_merger *merger, const char *text, size_t bytes,
                           em_tokens *out) {
  if (bpe->pretokenizer->ignore_merges) {
    int32_t id = find_word(bpe, vocab, text, bytes);
    if (id != EM_NO_TOKEN)
      return em_tokens_append(out, id);
  }
  em_merger_start(merger);
  for (size_t i = 0; i < bytes; i++)
    if (!em_merger_add(merger, i, 1, bpe->byte_ids[(uint8_t)text[i]]))
      return false;
  if (!em_merger_run(merger, rank_of_pair, bpe))
    return false;
  /* A byte that the vocabulary cannot spell is left out: this kind has no unknown token. */
  for (size_t i = 0; i < merger->n; i = merger->symbols[i].next)
    if (merger->symbols[i].id != EM_NO_TOKEN && !em_tokens_append(out, merger->symbols[i].id))
      return false;
  return true;
}

static bool tokenize_characters(const em_bpe *bpe, const em_vocab *vocab, em_merger *merger, const char *text,
                                size_t bytes, em_tokens *out) {
  if (text[0] == '\n') {
    int32_t id = em_vocab_find_ordinary(vocab, text, bytes);
    if (id != EM_NO_TOKEN)
      return em_tokens_append(out, id);
  }
  em_merger_start(merger);
  for (size_t at = 0; at < bytes;) {
    uint32_t code_point;
    bool valid;
    size_t n = em_utf8_decode(text + at, bytes - at, &code_point, &valid);
    if (!valid)
      n = 1;
    if (!em_merger_add(merger, at, n, em_vocab_find_ordinary(vocab, text + at, n)))
      return false;
    at += n;
  }
  if (!em_merger_run(merger, rank_of_pair, bpe))
    return false;
  for (size_t i = 0; i < merger->n; i = merger->symbols[i].next) {
    const em_symbol *symbol = &merger->symbols[i];
    bool appended = symbol->id != EM_NO_TOKEN
                        ? em_tokens_append(out, symbol->id)
                        : em_spell_bytes(vocab, bpe->unknown, text + symbol->start, symbol->bytes, out);
    if (!appended)
      return false;
  }
  return true;
}

bool em_bpe_tokenize(const em_bpe *bpe, const em_vocab *vocab, em_merger *merger, const char *text, size_t bytes,
                     em_tokens *out) {
  em_words words;
  em_words_start(&words, bpe->pretokenizer, text, bytes);
  for (size_t start, n; em_words_next(&words, &start, &n);) {
    if (bpe->byte_level) {
      if (!tokenize_bytes(bpe, vocab, merger, text + start, n, out))
        return false;
      continue;
    }
    for (size_t at = start, end = start + n; at < end;) {
      size_t word = bpe->splits_at_space ? em_marked_word(text + at, end - at) : end - at;
      if (!tokenize_characters(bpe, vocab, merger, text + at, word, out))
        return false;
      at += word;
    }
  }
  return true;
}
