/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/tokenizer/vocab.h"

#include "base/checked.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

/* Eight bytes a step: pieces reach a kilobyte, and merging asks for one at every step. */
static uint32_t hash_text(uint64_t seed, const char *text, size_t bytes) {
  uint64_t hash = seed ^ bytes;
  while (bytes > 0) {
    uint64_t word = 0;
    size_t n = bytes < 8 ? bytes : 8;
    memcpy(&word, text, n);
    hash = (hash ^ word) * 0xD6E8FEB86659FD93u;
    hash ^= hash >> 32;
    text += n;
    bytes -= n;
  }
  return (uint32_t)(hash ^ (hash >> 29));
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9')
    return c - '0';
  if (c >= 'A' && c <= 'F')
    return c - 'A' + 10;
  if (c >= 'a' && c <= 'f')
    return c - 'a' + 10;
  return -1;
}

int em_vocab_byte_of(em_piece piece) {
  if (piece.bytes != 6 || memcmp(piece.text, "<0x", 3) != 0 || piece.text[5] != '>')
    return -1;
  int high = hex_digit(piece.text[3]), low = hex_digit(piece.text[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

em_piece em_vocab_piece(const em_vocab *vocab, int32_t id) {
  if (id < 0 || (size_t)id >= vocab->n)
    return (em_piece){"", 0};
  size_t start = vocab->offsets[id];
  return (em_piece){vocab->text + start, vocab->offsets[(size_t)id + 1] - start};
}

int32_t em_vocab_find(const em_vocab *vocab, const char *text, size_t bytes) {
  if (bytes > vocab->longest)
    return EM_NO_TOKEN;
  uint32_t hash = hash_text(vocab->seed, text, bytes);
  for (size_t i = hash & (vocab->n_slots - 1);; i = (i + 1) & (vocab->n_slots - 1)) {
    const em_vocab_slot *slot = &vocab->slots[i];
    if (slot->id == EM_NO_TOKEN)
      return EM_NO_TOKEN;
    if (slot->hash != hash)
      continue;
    em_piece piece = em_vocab_piece(vocab, slot->id);
    if (piece.bytes == bytes && memcmp(piece.text, text, bytes) == 0)
      return slot->id;
  }
}

int32_t em_vocab_find_ordinary(const em_vocab *vocab, const char *text, size_t bytes) {
  int32_t id = em_vocab_find(vocab, text, bytes);
  if (id == EM_NO_TOKEN)
    return EM_NO_TOKEN;
  uint8_t type = vocab->types[id];
  return type == EM_TOKEN_CONTROL || type == EM_TOKEN_UNKNOWN || type == EM_TOKEN_BYTE ? EM_NO_TOKEN : id;
}

static void insert(em_vocab *vocab, int32_t id) {
  em_piece piece = em_vocab_piece(vocab, id);
  if (piece.bytes == 0 || em_vocab_find(vocab, piece.text, piece.bytes) != EM_NO_TOKEN)
    return;
  uint32_t hash = hash_text(vocab->seed, piece.text, piece.bytes);
  size_t i = hash & (vocab->n_slots - 1);
  while (vocab->slots[i].id != EM_NO_TOKEN)
    i = (i + 1) & (vocab->n_slots - 1);
  vocab->slots[i] = (em_vocab_slot){hash, id};
}

/* A type that GGUF does not number means an ordinary piece. */
static uint8_t type_of(const em_tokenizer_params *params, bool marks_bytes, size_t i) {
  if (!params->types)
    return marks_bytes && em_vocab_byte_of(params->pieces[i]) >= 0 ? EM_TOKEN_BYTE : EM_TOKEN_NORMAL;
  int32_t type = params->types[i];
  return type >= EM_TOKEN_NORMAL && type <= EM_TOKEN_BYTE ? (uint8_t)type : EM_TOKEN_NORMAL;
}

em_status em_vocab_init(em_vocab *vocab, const em_tokenizer_params *params, bool marks_bytes, em_error *error) {
  *vocab = (em_vocab){0};
  size_t n = params->n_tokens, total = 0;
  if (n == 0)
    return em_fail(error, EM_ERR_FORMAT, "the vocabulary is empty");
  if (n > EM_TOKENIZER_MAX_TOKENS)
    return em_fail(error, EM_ERR_LIMIT, "the vocabulary has %zu tokens; at most %u are read", n,
                   EM_TOKENIZER_MAX_TOKENS);
  for (size_t i = 0; i < n; i++) {
    size_t bytes = params->pieces[i].bytes;
    if (bytes > EM_TOKENIZER_MAX_PIECE_BYTES)
      return em_fail(error, EM_ERR_FORMAT, "token %zu has %zu bytes; at most %u are allowed", i, bytes,
                     EM_TOKENIZER_MAX_PIECE_BYTES);
    if (!em_add_size(total, bytes, &total))
      return em_fail(error, EM_ERR_LIMIT, "the vocabulary's text is too long");
    if (bytes > vocab->longest)
      vocab->longest = bytes;
  }
  vocab->n = n;
  /* No file can be written so that all its pieces fall into one place of the table. */
  vocab->seed = em_now_ns() * 0x9E3779B97F4A7C15u;
  vocab->n_slots = 16;
  while (vocab->n_slots < 2 * n)
    vocab->n_slots *= 2;
  vocab->text = em_calloc(total + 1, 1);
  vocab->offsets = em_calloc(n + 1, sizeof *vocab->offsets);
  vocab->types = em_calloc(n, sizeof *vocab->types);
  vocab->slots = em_calloc(vocab->n_slots, sizeof *vocab->slots);
  if (!vocab->text || !vocab->offsets || !vocab->types || !vocab->slots)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for a vocabulary of %zu tokens", n);
  for (size_t i = 0; i < vocab->n_slots; i++)
    vocab->slots[i].id = EM_NO_TOKEN;
  for (size_t i = 0; i < 256; i++)
    vocab->byte_ids[i] = EM_NO_TOKEN;
  size_t at = 0;
  for (size_t i = 0; i < n; i++) {
    em_piece piece = params->pieces[i];
    vocab->offsets[i] = at;
    if (piece.bytes > 0)
      memcpy(vocab->text + at, piece.text, piece.bytes);
    at += piece.bytes;
    vocab->types[i] = type_of(params, marks_bytes, i);
    int byte = em_vocab_byte_of(piece);
    if (byte >= 0 && vocab->byte_ids[byte] == EM_NO_TOKEN && vocab->types[i] == EM_TOKEN_BYTE)
      vocab->byte_ids[byte] = (int32_t)i;
  }
  vocab->offsets[n] = at;
  for (size_t i = 0; i < n; i++)
    insert(vocab, (int32_t)i);
  return EM_OK;
}

void em_vocab_clear(em_vocab *vocab) {
  free(vocab->text);
  free(vocab->offsets);
  free(vocab->types);
  free(vocab->slots);
  *vocab = (em_vocab){0};
}
