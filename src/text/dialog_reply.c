/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One answer: tokens in, text that is certain out, through the stop strings and then the splitter. All stop strings are
 * searched at once, one byte at a time, each with its own border table (Knuth, Morris and Pratt), so that the cost of a
 * token does not depend on how much text is held back. */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"
#include "text/dialog-private.h"

typedef struct stop_string {
  size_t bytes;
  size_t matched; /* how many of its bytes the text so far ends with */
  char text[EM_REPLY_MAX_STOP_BYTES];
  uint16_t border[EM_REPLY_MAX_STOP_BYTES]; /* [i]: the longest proper border of text[0..i] */
} stop_string;

struct em_reply {
  const em_tokenizer *tokenizer;
  em_detok detok;
  const em_reply_style *style;
  em_splitter *splitter;
  em_buffer *content; /* where content goes while a token is taken, without a sink of the caller's */
  em_delta_sink sink;
  void *user;
  em_reply_state state;
  em_buffer fresh;   /* what the detokenizer gave for the latest token */
  em_buffer certain; /* what passed the stop strings */
  em_buffer held;    /* text that may be the start of a stop string */
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

/* There is room for one more. An empty one ends nothing. */
static void add_stop(em_reply *reply, const char *text) {
  stop_string *stop = &reply->stops[reply->n_stops];
  stop->bytes = strlen(text);
  if (stop->bytes == 0)
    return;
  memcpy(stop->text, text, stop->bytes);
  find_borders(stop);
  reply->n_stops++;
}

static bool take_delta(void *user, const em_delta *delta) {
  em_reply *reply = user;
  if (reply->sink)
    return reply->sink(reply->user, delta);
  return delta->kind != EM_DELTA_CONTENT || em_buffer_append(reply->content, delta->text, delta->bytes);
}

em_status em_reply_open(const em_dialog *dialog, const em_reply_params *params, em_reply **out, em_error *error) {
  static const em_reply_style plain = {.syntax = EM_CALLS_NONE};
  em_status status = EM_OK;
  size_t n_stops = params->n_stops;
  em_reply *reply = NULL;
  if (n_stops > EM_REPLY_MAX_STOPS)
    return em_fail(error, EM_ERR_LIMIT, "%zu stop strings are more than %u", n_stops, EM_REPLY_MAX_STOPS);
  for (size_t i = 0; i < n_stops; i++) {
    size_t bytes = strlen(params->stops[i]);
    if (bytes > EM_REPLY_MAX_STOP_BYTES)
      return em_fail(error, EM_ERR_LIMIT, "a stop string of %zu bytes is longer than %u", bytes,
                     EM_REPLY_MAX_STOP_BYTES);
    if (!em_utf8_valid(params->stops[i], bytes))
      return em_fail(error, EM_ERR_ARGUMENT, "a stop string is not valid UTF-8");
  }
  const char *own_stop = params->continues || params->plain ? NULL : em_dialog_own_stop(dialog);
  reply = em_calloc(1, sizeof *reply + (n_stops + 1) * sizeof reply->stops[0]);
  if (!reply)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the answer");
  reply->tokenizer = em_dialog_tokenizer(dialog);
  reply->style = params->continues || params->plain ? &plain : em_dialog_style(dialog, params->thinking);
  reply->sink = params->sink;
  reply->user = params->user;
  em_detok_init(&reply->detok, reply->tokenizer, false, !params->continues);
  for (size_t i = 0; i < n_stops; i++)
    add_stop(reply, params->stops[i]);
  if (own_stop)
    add_stop(reply, own_stop);
  em_splitter_params splitting = {.style = reply->style,
                                  .sink = take_delta,
                                  .user = reply,
                                  .finds_calls = params->tools != NULL,
                                  .keeps_thinking = params->keeps_thinking,
                                  .tools = params->tools};
  if (params->thinking == EM_THINK_OFF && reply->style->syntax == EM_CALLS_CHANNELS)
    splitting.start = EM_REPLY_IN_CONTENT;
  EM_TRY(em_splitter_new(&splitting, &reply->splitter, error));
  *out = reply;
  return EM_OK;
fail:
  em_reply_free(reply);
  return status;
}

em_status em_reply_new(const em_dialog *dialog, const char *const *stops, size_t n_stops, bool continues,
                       em_reply **out, em_error *error) {
  em_reply_params params = {.stops = stops, .n_stops = n_stops, .continues = continues};
  return em_reply_open(dialog, &params, out, error);
}

void em_reply_free(em_reply *reply) {
  if (!reply)
    return;
  em_splitter_free(reply->splitter);
  em_buffer_clear(&reply->fresh);
  em_buffer_clear(&reply->certain);
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

/* Sends the fresh text through the stop strings. Matches begin at the first byte of a character, because stop strings
 * do: so what is given out are whole characters. */
static em_reply_state take_fresh(em_reply *reply) {
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
  bool fits = em_buffer_append(&reply->certain, reply->held.data, from_held) &&
              em_buffer_append(&reply->certain, reply->fresh.data, certain - from_held);
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

/* Sends what is certain through the splitter, and with `ends` all that is still held back. */
static bool split(em_reply *reply, bool ends, em_buffer *delta) {
  bool fits;
  reply->content = delta;
  fits = em_splitter_feed(reply->splitter, reply->certain.data, reply->certain.bytes, NULL) == EM_OK &&
         (!ends || em_splitter_finish(reply->splitter, NULL) == EM_OK);
  reply->certain.bytes = 0;
  return fits;
}

/* Control tokens have no text, except those that mark thinking and calls. */
static bool detokenize(em_reply *reply, int32_t token) {
  bool fits;
  if (em_tokenizer_type(reply->tokenizer, token) == EM_TOKEN_CONTROL) {
    em_piece piece = em_tokenizer_piece(reply->tokenizer, token);
    reply->detok.with_special = em_reply_style_has(reply->style, piece.text, piece.bytes);
  }
  fits = em_detok_push(&reply->detok, token, &reply->fresh);
  reply->detok.with_special = false;
  return fits;
}

em_reply_state em_reply_push(em_reply *reply, int32_t token, em_buffer *delta) {
  em_reply_state state;
  if (reply->state != EM_REPLY_GOES_ON)
    return reply->state;
  if (em_tokenizer_is_end(reply->tokenizer, token)) {
    reply->state = em_reply_flush(reply, delta) ? EM_REPLY_ENDED : EM_REPLY_FAILED;
    return reply->state;
  }
  state = detokenize(reply, token) ? take_fresh(reply) : EM_REPLY_FAILED;
  if (state != EM_REPLY_FAILED && !split(reply, state == EM_REPLY_STOPPED, delta))
    state = EM_REPLY_FAILED;
  reply->state = state;
  return state;
}

bool em_reply_flush(em_reply *reply, em_buffer *delta) {
  if (reply->state != EM_REPLY_GOES_ON)
    return reply->state != EM_REPLY_FAILED;
  if (!em_detok_flush(&reply->detok, &reply->fresh))
    return false;
  bool fits =
      take_fresh(reply) != EM_REPLY_FAILED && em_buffer_append(&reply->certain, reply->held.data, reply->held.bytes);
  reply->held.bytes = 0;
  return fits && split(reply, true, delta);
}
