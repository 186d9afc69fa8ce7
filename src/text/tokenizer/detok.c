/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/tokenizer/tokenizer-private.h"

#include "base/utf8.h"

#include <string.h>

#define REPLACEMENT "\xEF\xBF\xBD"

/* The three ways from a piece to its bytes. None makes it longer, so a piece's bytes fit EM_TOKENIZER_MAX_PIECE_BYTES.
 */

static size_t copy_plain(em_piece piece, char *out) {
  memcpy(out, piece.text, piece.bytes);
  return piece.bytes;
}

/* U+2581 becomes a space, all else stays. */
static size_t copy_marked(em_piece piece, char *out) {
  size_t n = 0;
  for (size_t at = 0; at < piece.bytes;) {
    if (piece.bytes - at >= EM_SPACE_MARK_BYTES && memcmp(piece.text + at, EM_SPACE_MARK, EM_SPACE_MARK_BYTES) == 0) {
      out[n++] = ' ';
      at += EM_SPACE_MARK_BYTES;
    } else {
      out[n++] = piece.text[at++];
    }
  }
  return n;
}

/* Each character becomes the byte that it spells; one that spells none stays as it is. */
static size_t copy_spelled(em_piece piece, char *out) {
  size_t n = 0;
  for (size_t at = 0, taken; at < piece.bytes; at += taken) {
    uint32_t code_point;
    bool valid;
    taken = em_utf8_decode(piece.text + at, piece.bytes - at, &code_point, &valid);
    int byte = valid ? em_byte_level_byte(code_point) : -1;
    if (byte >= 0)
      out[n++] = (char)byte;
    else
      n += copy_plain((em_piece){piece.text + at, taken}, out + n);
  }
  return n;
}

static size_t token_bytes(const em_tokenizer *tokenizer, int32_t id, bool with_special,
                          char out[EM_TOKENIZER_MAX_PIECE_BYTES]) {
  if (id < 0 || (size_t)id >= tokenizer->vocab.n)
    return 0;
  em_piece piece = em_vocab_piece(&tokenizer->vocab, id);
  bool byte_level = tokenizer->kind == EM_TOKENIZER_BYTE_BPE;
  switch (tokenizer->vocab.types[id]) {
  case EM_TOKEN_CONTROL:
  case EM_TOKEN_UNKNOWN:
    return with_special ? copy_plain(piece, out) : 0;
  case EM_TOKEN_BYTE: {
    int byte = em_vocab_byte_of(piece);
    if (byte < 0)
      break;
    out[0] = (char)byte;
    return 1;
  }
  case EM_TOKEN_USER_DEFINED:
    if (byte_level)
      return copy_plain(piece, out);
    break;
  default:
    break;
  }
  return byte_level ? copy_spelled(piece, out) : copy_marked(piece, out);
}

bool em_token_bytes(const em_tokenizer *tokenizer, int32_t id, bool with_special, em_buffer *out) {
  char bytes[EM_TOKENIZER_MAX_PIECE_BYTES];
  return em_buffer_append(out, bytes, token_bytes(tokenizer, id, with_special, bytes));
}

void em_detok_init(em_detok *detok, const em_tokenizer *tokenizer, bool with_special, bool at_start) {
  bool strips = tokenizer->add_space_prefix || tokenizer->kind == EM_TOKENIZER_WORDPIECE;
  *detok = (em_detok){.tokenizer = tokenizer, .with_special = with_special, .at_start = at_start && strips};
}

/* Gives what is certain of the pending bytes: whole characters, and U+FFFD for what can no longer become one. */
static bool settle(em_detok *detok, bool all, em_buffer *out) {
  while (detok->n_pending > 0) {
    size_t n = detok->n_pending;
    if (!all && em_utf8_incomplete_tail(detok->pending, n) == n)
      return true;
    uint32_t code_point;
    bool valid;
    size_t taken = em_utf8_decode(detok->pending, n, &code_point, &valid);
    if (!(valid ? em_buffer_append(out, detok->pending, taken) : em_buffer_append_text(out, REPLACEMENT)))
      return false;
    detok->n_pending = (unsigned)(n - taken);
    memmove(detok->pending, detok->pending + taken, detok->n_pending);
  }
  return true;
}

/* Passes bytes on through the pending ones. */
static bool push_bytes(em_detok *detok, const char *text, size_t bytes, em_buffer *out) {
  for (size_t at = 0; at < bytes;) {
    if (detok->n_pending == 0) {
      /* Whole characters need not wait. */
      size_t start = at, taken;
      bool valid = true;
      for (uint32_t code_point; at < bytes; at += taken) {
        taken = em_utf8_decode(text + at, bytes - at, &code_point, &valid);
        if (!valid)
          break;
      }
      if (at > start && !em_buffer_append(out, text + start, at - start))
        return false;
      if (at == bytes)
        return true;
    }
    detok->pending[detok->n_pending++] = text[at++];
    if (!settle(detok, false, out))
      return false;
  }
  return true;
}

bool em_detok_push(em_detok *detok, int32_t id, em_buffer *out) {
  char bytes[EM_TOKENIZER_MAX_PIECE_BYTES];
  size_t n = token_bytes(detok->tokenizer, id, detok->with_special, bytes), skip = 0;
  em_token_type type = em_tokenizer_type(detok->tokenizer, id);
  /* A special token written out is not the first word. */
  if (n > 0 && detok->at_start && type != EM_TOKEN_CONTROL && type != EM_TOKEN_UNKNOWN) {
    detok->at_start = false;
    skip = bytes[0] == ' ';
  }
  return push_bytes(detok, bytes + skip, n - skip, out);
}

bool em_detok_flush(em_detok *detok, em_buffer *out) {
  return settle(detok, true, out);
}

em_status em_detokenize(const em_tokenizer *tokenizer, const int32_t *tokens, size_t n, bool with_special,
                        em_buffer *out, em_error *error) {
  em_detok detok;
  em_detok_init(&detok, tokenizer, with_special, true);
  bool done = true;
  for (size_t i = 0; done && i < n; i++)
    done = em_detok_push(&detok, tokens[i], out);
  if (!done || !em_detok_flush(&detok, out))
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the text of %zu tokens", n);
  return EM_OK;
}
