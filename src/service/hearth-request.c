/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "service/hearth-host-private.h"

#define FLUSH_US 16000

HearthHostQuestion *hearth_host_question_new(gsize n_messages) {
  HearthHostQuestion *question = g_new0(HearthHostQuestion, 1);

  question->messages = g_new0(HearthHostMessage, n_messages);
  question->n_messages = n_messages;
  return question;
}

void hearth_host_question_free(HearthHostQuestion *question) {
  for (gsize i = 0; i < question->n_messages; i++) {
    g_free(question->messages[i].role);
    g_free(question->messages[i].text);
  }
  g_free(question->messages);
  g_strfreev(question->stop);
  g_free(question->schema);
  g_free(question->grammar);
  g_free(question);
}

HearthRequest *hearth_request_new(HearthHost *host, guint64 id, HearthHostQuestion *question,
                                  const HearthHostListener *listener, gpointer user_data) {
  HearthRequest *self = g_new0(HearthRequest, 1);

  g_atomic_ref_count_init(&self->refs);
  self->host = host;
  self->id = id;
  self->question = question;
  self->listener = listener;
  self->user_data = user_data;
  self->text = g_string_new(NULL);
  return self;
}

HearthRequest *hearth_request_ref(HearthRequest *self) {
  g_atomic_ref_count_inc(&self->refs);
  return self;
}

void hearth_request_unref(HearthRequest *self) {
  if (!g_atomic_ref_count_dec(&self->refs))
    return;
  hearth_host_question_free(self->question);
  em_reply_free(self->reply);
  em_constraint_free(self->constraint);
  em_buffer_clear(&self->delta);
  g_string_free(self->text, TRUE);
  g_clear_error(&self->error);
  g_free(self);
}

/* --- Towards the listener ---------------------------------------------------------------------------------------- */

static gboolean flush(gpointer data) {
  HearthRequest *self = data;
  HearthHost *host = self->host;
  g_autoptr(GString) text = g_string_new(NULL);
  gboolean has_reading, ended;
  guint done_tokens, total_tokens;

  g_mutex_lock(&host->mutex);
  GString *filled = self->text;
  self->text = g_steal_pointer(&text);
  text = filled;
  has_reading = self->has_reading;
  done_tokens = self->done_tokens;
  total_tokens = self->total_tokens;
  ended = self->ended;
  self->has_reading = FALSE;
  self->scheduled = FALSE;
  self->flushed_us = g_get_monotonic_time();
  g_mutex_unlock(&host->mutex);

  if (has_reading)
    self->listener->reading(self->user_data, self->id, done_tokens, total_tokens);
  if (text->len > 0)
    self->listener->text(self->user_data, self->id, text->str);
  if (ended) {
    self->listener->finished(self->user_data, self->id, self->finish, &self->stats, self->error);
    g_hash_table_remove(host->requests, &self->id);
  }
  return G_SOURCE_REMOVE;
}

/* With the mutex held. The source holds a reference. An idle request has no source. */
static void schedule(HearthRequest *self) {
  gint64 wait_us;
  g_autoptr(GSource) source = NULL;

  if (self->scheduled)
    return;
  wait_us = self->flushed_us + FLUSH_US - g_get_monotonic_time();
  if (wait_us <= 0 || (self->ended && self->text->len == 0 && !self->has_reading))
    source = g_idle_source_new();
  else
    source = g_timeout_source_new((guint)((wait_us + 999) / 1000));
  g_source_set_priority(source, G_PRIORITY_DEFAULT);
  g_source_set_callback(source, flush, hearth_request_ref(self), (GDestroyNotify)hearth_request_unref);
  g_source_attach(source, self->host->context);
  self->scheduled = TRUE;
}

/* Moves the delta to what waits for the listener. NUL, which no message can carry, is left out. */
static void take_delta(HearthRequest *self) {
  const char *at = self->delta.data, *end = at + self->delta.bytes;

  if (self->delta.bytes == 0)
    return;
  g_mutex_lock(&self->host->mutex);
  while (at < end) {
    gsize bytes = strnlen(at, (gsize)(end - at));
    g_string_append_len(self->text, at, (gssize)bytes);
    at += bytes + 1;
  }
  schedule(self);
  g_mutex_unlock(&self->host->mutex);
  self->delta.bytes = 0;
}

void hearth_request_end(HearthRequest *self, em_finish finish, const em_request_stats *stats, GError *error) {
  g_mutex_lock(&self->host->mutex);
  self->ended = TRUE;
  self->finish = finish;
  if (stats)
    self->stats = *stats;
  self->error = error;
  schedule(self);
  g_mutex_unlock(&self->host->mutex);
}

/* --- On the engine thread ---------------------------------------------------------------------------------------- */

static bool on_token(void *user, int32_t token) {
  HearthRequest *self = user;
  em_reply_state state;

  if (self->constraint && !em_constraint_push(self->constraint, token))
    return false;
  state = em_reply_push(self->reply, token, &self->delta);
  if (state == EM_REPLY_FAILED || self->delta.failed)
    self->out_of_memory = TRUE;
  take_delta(self);
  return state == EM_REPLY_GOES_ON && !self->out_of_memory;
}

static bool mask(void *user, uint64_t *allowed) {
  HearthRequest *self = user;

  return em_constraint_mask(self->constraint, allowed);
}

static void on_prefill(void *user, uint32_t done_tokens, uint32_t total_tokens) {
  HearthRequest *self = user;

  g_mutex_lock(&self->host->mutex);
  self->has_reading = TRUE;
  self->done_tokens = done_tokens;
  self->total_tokens = total_tokens;
  schedule(self);
  g_mutex_unlock(&self->host->mutex);
}

static void on_finish(void *user, em_finish finish, const em_request_stats *stats, const em_error *error) {
  HearthRequest *self = user;
  GError *reason = NULL;

  if (self->out_of_memory) {
    finish = EM_FINISH_ERROR;
    reason = hearth_host_error_new(EM_ERR_NO_MEMORY, NULL);
  } else if (finish == EM_FINISH_ERROR) {
    reason = hearth_host_error_new(error->code, error);
  } else if (self->constraint && em_constraint_error(self->constraint)->code != EM_OK) {
    const em_error *broken = em_constraint_error(self->constraint);

    finish = EM_FINISH_ERROR;
    reason = hearth_host_error_new(broken->code, broken);
  }
  if (finish != EM_FINISH_STOP && em_reply_flush(self->reply, &self->delta))
    take_delta(self);
  self->engine_id = 0;
  hearth_request_end(self, finish, stats, reason);
  g_queue_remove(&self->host->active, self);
  hearth_request_unref(self);
}

static void fill_sampling(HearthRequest *self, em_sampling *out) {
  const HearthHostQuestion *question = self->question;
  const em_sampling *wanted = &question->sampling;

  em_default_sampling(self->host->gguf, out);
  if (question->has_temperature)
    out->temperature = wanted->temperature;
  if (question->has_top_k)
    out->top_k = wanted->top_k;
  if (question->has_top_p)
    out->top_p = wanted->top_p;
  if (question->has_min_p)
    out->min_p = wanted->min_p;
  if (question->has_repetition_penalty)
    out->repetition_penalty = wanted->repetition_penalty;
  out->frequency_penalty = wanted->frequency_penalty;
  out->presence_penalty = wanted->presence_penalty;
  out->seed = question->has_seed ? wanted->seed : (guint64)g_random_int() << 32 | g_random_int();
}

/* What holds the answer to its schema or grammar. One that cannot be used is a wrong setting, whatever is wrong with
 * it. */
static em_status make_constraint(HearthRequest *self, em_error *error) {
  HearthHost *host = self->host;
  const HearthHostQuestion *question = self->question;
  const char *text = question->schema ? question->schema : question->grammar;
  em_constraint_params params = {.text = text,
                                 .bytes = strlen(text),
                                 .is_gbnf = question->grammar != NULL,
                                 .continues = !em_dialog_has_template(host->dialog),
                                 .n_vocab = em_engine_get_facts(host->engine)->n_vocab};
  em_status status = em_constraint_new(host->dialog, &params, &self->constraint, error);

  return status == EM_OK || status == EM_ERR_NO_MEMORY ? status : EM_ERR_ARGUMENT;
}

void hearth_request_start(HearthRequest *self) {
  HearthHost *host = self->host;
  const HearthHostQuestion *question = self->question;
  g_autofree em_message *messages = g_new0(em_message, question->n_messages);
  em_request_params params = {.max_tokens = question->max_tokens,
                              .on_token = on_token,
                              .on_finish = on_finish,
                              .on_prefill = on_prefill,
                              .user = self};
  gsize n_stops = question->stop ? g_strv_length(question->stop) : 0;
  gboolean is_bound = question->schema || question->grammar;
  em_prompt_settings settings = {.now_unix_s = g_get_real_time() / G_USEC_PER_SEC,
                                 .thinking = is_bound               ? EM_THINK_OFF
                                             : !question->has_think ? EM_THINK_AUTO
                                             : question->think      ? EM_THINK_ON
                                                                    : EM_THINK_OFF};
  em_tokens tokens = {0};
  em_error error = {0};
  em_status status = EM_OK;

  if (!host->engine) {
    hearth_request_end(self, EM_FINISH_ERROR, NULL, hearth_host_error_new(HEARTH_HOST_ERROR_NO_MODEL, NULL));
    return;
  }
  for (gsize i = 0; i < question->n_messages; i++) {
    messages[i].role = question->messages[i].role;
    messages[i].text = question->messages[i].text;
    messages[i].bytes = strlen(question->messages[i].text);
  }
  status = em_dialog_prompt(host->dialog, messages, question->n_messages, &settings, &tokens, &error);
  if (status == EM_ERR_FORMAT || status == EM_ERR_UNSUPPORTED || status == EM_ERR_LIMIT) {
    /* Not the file is at fault but what it was asked: its format refuses the conversation, or gives up over its length.
     */
    em_tokens_clear(&tokens);
    hearth_request_end(self, EM_FINISH_ERROR, NULL,
                       hearth_host_error_new(
                           (em_status)(status == EM_ERR_LIMIT ? EM_ERR_CONTEXT : HEARTH_HOST_ERROR_REFUSED), &error));
    return;
  }
  EM_TRY(status);
  EM_TRY(em_reply_open(host->dialog,
                       &(em_reply_params){.stops = (const char *const *)question->stop,
                                          .n_stops = n_stops,
                                          .continues = !em_dialog_has_template(host->dialog),
                                          .thinking = settings.thinking,
                                          .plain = is_bound},
                       &self->reply, &error));
  if (is_bound) {
    EM_TRY(make_constraint(self, &error));
    params.mask = mask;
  }
  fill_sampling(self, &params.sampling);
  params.tokens = tokens.ids;
  params.n_tokens = (uint32_t)MIN(tokens.n, UINT32_MAX);
  EM_TRY(em_engine_submit(host->engine, &params, &self->engine_id, &error));
  em_tokens_clear(&tokens);
  g_queue_push_tail(&host->active, hearth_request_ref(self));
  return;

fail:
  em_tokens_clear(&tokens);
  hearth_request_end(self, EM_FINISH_ERROR, NULL, hearth_host_error_new(status, &error));
}
