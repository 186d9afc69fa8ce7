/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/tokenizer/spm.h"

#include "base/checked.h"
#include "base/utf8.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct scored {
  float score;
  int32_t id;
} scored;

static int by_score(const void *a, const void *b) {
  float left = ((const scored *)a)->score, right = ((const scored *)b)->score;
  return (left < right) - (left > right);
}

static bool is_mark(const char *text, size_t bytes) {
  return bytes >= EM_SPACE_MARK_BYTES && memcmp(text, EM_SPACE_MARK, EM_SPACE_MARK_BYTES) == 0;
}

size_t em_marked_word(const char *text, size_t bytes) {
  size_t at = 0;
  while (is_mark(text + at, bytes - at))
    at += EM_SPACE_MARK_BYTES;
  while (at < bytes && !is_mark(text + at, bytes - at))
    at++;
  return at;
}

bool em_vocab_splits_at_space(const em_vocab *vocab) {
  for (size_t i = 0; i < vocab->n; i++) {
    uint8_t type = vocab->types[i];
    if (type == EM_TOKEN_CONTROL || type == EM_TOKEN_UNKNOWN || type == EM_TOKEN_BYTE)
      continue;
    em_piece piece = em_vocab_piece(vocab, (int32_t)i);
    if (em_marked_word(piece.text, piece.bytes) < piece.bytes)
      return false;
  }
  return true;
}

em_status em_spm_init(em_spm *spm, const em_vocab *vocab, const float *scores, int32_t unknown, em_error *error) {
  *spm = (em_spm){.unknown = unknown};
  if (!scores)
    return em_fail(error, EM_ERR_FORMAT, "the vocabulary has no scores");
  scored *order = em_calloc(vocab->n, sizeof *order);
  spm->ranks = em_calloc(vocab->n, sizeof *spm->ranks);
  if (!order || !spm->ranks) {
    free(order);
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for a vocabulary of %zu tokens", vocab->n);
  }
  for (size_t i = 0; i < vocab->n; i++)
    order[i] = (scored){isnan(scores[i]) ? -INFINITY : scores[i], (int32_t)i};
  qsort(order, vocab->n, sizeof *order, by_score);
  uint32_t rank = 0;
  for (size_t i = 0; i < vocab->n; i++) {
    if (i > 0 && order[i].score < order[i - 1].score)
      rank++;
    spm->ranks[order[i].id] = rank;
  }
  free(order);
  spm->splits_at_space = em_vocab_splits_at_space(vocab);
  return EM_OK;
}

void em_spm_clear(em_spm *spm) {
  free(spm->ranks);
  *spm = (em_spm){0};
}

typedef struct pair_context {
  const em_spm *spm;
  const em_vocab *vocab;
  const char *text;
} pair_context;

static uint32_t rank_of_pair(const void *user, const em_symbol *left, const em_symbol *right, int32_t *id) {
  const pair_context *context = user;
  *id = em_vocab_find_ordinary(context->vocab, context->text + left->start, (size_t)left->bytes + right->bytes);
  return *id == EM_NO_TOKEN ? EM_NO_RANK : context->spm->ranks[*id];
}

bool em_spell_bytes(const em_vocab *vocab, int32_t unknown, const char *text, size_t bytes, em_tokens *out) {
  for (size_t i = 0; i < bytes; i++) {
    if (vocab->byte_ids[(uint8_t)text[i]] != EM_NO_TOKEN)
      continue;
    if (unknown == EM_NO_TOKEN || (out->n > 0 && out->ids[out->n - 1] == unknown))
      return true;
    return em_tokens_append(out, unknown);
  }
  for (size_t i = 0; i < bytes; i++)
    if (!em_tokens_append(out, vocab->byte_ids[(uint8_t)text[i]]))
      return false;
  return true;
}

static bool tokenize_word(const em_spm *spm, const em_vocab *vocab, em_merger *merger, const char *text, size_t bytes,
                          em_tokens *out) {
  em_merger_start(merger);
  for (size_t at = 0; at < bytes;) {
    uint32_t code_point;
    bool valid;
    size_t n = em_utf8_decode(text + at, bytes - at, &code_point, &valid);
    if (!valid)
      n = 1;
    if (!em_merger_add(merger, at, n, EM_NO_TOKEN))
      return false;
    at += n;
  }
  if (!em_merger_run(merger, rank_of_pair, &(pair_context){spm, vocab, text}))
    return false;
  for (size_t i = 0; i < merger->n; i = merger->symbols[i].next) {
    const em_symbol *symbol = &merger->symbols[i];
    int32_t id = symbol->id;
    if (id == EM_NO_TOKEN)
      id = em_vocab_find_ordinary(vocab, text + symbol->start, symbol->bytes);
    bool appended = id != EM_NO_TOKEN ? em_tokens_append(out, id)
                                      : em_spell_bytes(vocab, spm->unknown, text + symbol->start, symbol->bytes, out);
    if (!appended)
      return false;
  }
  return true;
}

bool em_spm_tokenize(const em_spm *spm, const em_vocab *vocab, em_merger *merger, const char *text, size_t bytes,
                     em_tokens *out) {
  for (size_t at = 0; at < bytes;) {
    size_t n = spm->splits_at_space ? em_marked_word(text + at, bytes - at) : bytes - at;
    if (!tokenize_word(spm, vocab, merger, text + at, n, out))
      return false;
    at += n;
  }
  return true;
}
