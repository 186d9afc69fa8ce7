/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One answer: tokens in, text that is certain out. All stop strings are searched at once, one byte at a time, each with its
 * own border table (Knuth, Morris and Pratt), so that the cost of a token does not depend on how much text is held back. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"
#include "text/dialog.h"

typedef struct stop_string {
  size_t bytes;
  size_t matched; /* how many of its bytes the text so far ends with */
  char text[EM_REPLY_MAX_STOP_BYTES];
  uint16_t border[EM_REPLY_MAX_STOP_BYTES]; /* [i]: the longest proper border of text[0..i] */
} stop_string;

struct em_reply {
  const em_tokenizer *tokenizer;
  em_detok detok;
  em_reply_state state;
  em_buffer fresh; /* what the detokenizer gave for the latest token */
  em_buffer held;  /* text that may be the start of a stop string */
  size_t n_stops;
  stop_string stops[];
};

static void find_borders(stop_string *stop) {
  size_t k = 0;
  stop->border[0] = 0;
  for (size_t i = 1; i < stop->bytes; i++) {
    while (k > 0 && stop->text[i] != stop->text[k])
      k = stop->border[k - 1];
    if (stop->text[i] == stop->text[k])
      k++;
    stop->border[i] = (uint16_t)k;
  }
}

em_status em_reply_new(const em_dialog *dialog, const char *const *stops, size_t n_stops, bool continues, em_reply **out,
                       em_error *error) {
  if (n_stops > EM_REPLY_MAX_STOPS)
    return em_fail(error, EM_ERR_LIMIT, "%zu stop strings are more than %u", n_stops, EM_REPLY_MAX_STOPS);
  for (size_t i = 0; i < n_stops; i++) {
    size_t bytes = strlen(stops[i]);
    if (bytes > EM_REPLY_MAX_STOP_BYTES)
      return em_fail(error, EM_ERR_LIMIT, "a stop string of %zu bytes is longer than %u", bytes, EM_REPLY_MAX_STOP_BYTES);
    if (!em_utf8_valid(stops[i], bytes))
      return em_fail(error, EM_ERR_ARGUMENT, "a stop string is not valid UTF-8");
  }
  em_reply *reply = em_calloc(1, sizeof *reply + n_stops * sizeof reply->stops[0]);
  if (!reply)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the answer");
  reply->tokenizer = em_dialog_tokenizer(dialog);
  em_detok_init(&reply->detok, reply->tokenizer, false, !continues);
  for (size_t i = 0; i < n_stops; i++) {
    stop_string *stop = &reply->stops[reply->n_stops];
    stop->bytes = strlen(stops[i]);
    if (stop->bytes == 0)
      continue;
    memcpy(stop->text, stops[i], stop->bytes);
    find_borders(stop);
    reply->n_stops++;
  }
  *out = reply;
  return EM_OK;
}

void em_reply_free(em_reply *reply) {
  if (!reply)
    return;
  em_buffer_clear(&reply->fresh);
  em_buffer_clear(&reply->held);
  free(reply);
}

/* Moves each stop string's match on by one byte. Returns the length of the longest one that is complete now, or 0; stores the
 * longest that is under way. */
static size_t match_byte(em_reply *reply, char byte, size_t *under_way) {
  size_t complete = 0;
  *under_way = 0;
  for (size_t i = 0; i < reply->n_stops; i++) {
    stop_string *stop = &reply->stops[i];
    size_t k = stop->matched;
    while (k > 0 && stop->text[k] != byte)
      k = stop->border[k - 1];
    if (stop->text[k] == byte)
      k++;
    stop->matched = k;
    if (k == stop->bytes && k > complete)
      complete = k;
    if (k > *under_way)
      *under_way = k;
  }
  return complete;
}

/* Sends the fresh text through the stop strings. Matches begin at the first byte of a character, because stop strings do: so
 * what is given out are whole characters. */
static em_reply_state take_fresh(em_reply *reply, em_buffer *delta) {
  em_reply_state state = EM_REPLY_GOES_ON;
  size_t under_way = 0, end = 0, complete = 0;
  if (reply->fresh.bytes == 0)
    return state;
  if (reply->n_stops > 0)
    for (size_t i = 0; i < reply->fresh.bytes && complete == 0; i++) {
      complete = match_byte(reply, reply->fresh.data[i], &under_way);
      end = i + 1;
    }
  /* Everything before the match (or before what may become one) is certain. It is never shorter than what was held before. */
  size_t all = reply->held.bytes + (complete > 0 ? end : reply->fresh.bytes);
  size_t certain = all - (complete > 0 ? complete : under_way);
  size_t from_held = certain < reply->held.bytes ? certain : reply->held.bytes;
  bool fits = em_buffer_append(delta, reply->held.data, from_held) &&
              em_buffer_append(delta, reply->fresh.data, certain - from_held);
  if (complete > 0) {
    reply->held.bytes = 0;
    state = EM_REPLY_STOPPED;
  } else {
    if (from_held > 0)
      memmove(reply->held.data, reply->held.data + from_held, reply->held.bytes - from_held);
    reply->held.bytes -= from_held;
    fits = fits && em_buffer_append(&reply->held, reply->fresh.data + (certain - from_held),
                                    reply->fresh.bytes - (certain - from_held));
  }
  reply->fresh.bytes = 0;
  return fits ? state : EM_REPLY_FAILED;
}

em_reply_state em_reply_push(em_reply *reply, int32_t token, em_buffer *delta) {
  if (reply->state != EM_REPLY_GOES_ON)
    return reply->state;
  if (em_tokenizer_is_end(reply->tokenizer, token))
    reply->state = em_reply_flush(reply, delta) ? EM_REPLY_ENDED : EM_REPLY_FAILED;
  else if (!em_detok_push(&reply->detok, token, &reply->fresh))
    reply->state = EM_REPLY_FAILED;
  else
    reply->state = take_fresh(reply, delta);
  return reply->state;
}

bool em_reply_flush(em_reply *reply, em_buffer *delta) {
  if (reply->state != EM_REPLY_GOES_ON)
    return reply->state != EM_REPLY_FAILED;
  if (!em_detok_flush(&reply->detok, &reply->fresh))
    return false;
  em_reply_state state = take_fresh(reply, delta);
  bool fits = state != EM_REPLY_FAILED && em_buffer_append(delta, reply->held.data, reply->held.bytes);
  reply->held.bytes = 0;
  return fits;
}
