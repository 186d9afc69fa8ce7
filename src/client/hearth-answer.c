/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/hearth-answer-private.h"

#define WORDS_PER_TOKEN 0.75
#define FEWEST_TOKENS_FOR_SPEED 4

struct _HearthAnswer {
  GObject parent_instance;
  HearthAnswerStop stop;
  gpointer stop_data;
  guint64 request;
  gboolean stop_wanted, finished;
  HearthFinish finish;
  HearthAnswerStats stats;
  GError *error;
};

enum { TEXT, READING, FINISHED, N_SIGNALS };
static guint signals[N_SIGNALS];

G_DEFINE_FINAL_TYPE(HearthAnswer, hearth_answer, G_TYPE_OBJECT)

static void hearth_answer_finalize(GObject *object) {
  HearthAnswer *self = HEARTH_ANSWER(object);

  g_clear_error(&self->error);
  G_OBJECT_CLASS(hearth_answer_parent_class)->finalize(object);
}

static void hearth_answer_class_init(HearthAnswerClass *klass) {
  GType type = G_TYPE_FROM_CLASS(klass);

  G_OBJECT_CLASS(klass)->finalize = hearth_answer_finalize;
  signals[TEXT] = g_signal_new("text", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 1, G_TYPE_STRING);
  signals[READING] =
      g_signal_new("reading", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 2, G_TYPE_UINT, G_TYPE_UINT);
  signals[FINISHED] = g_signal_new("finished", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 0);
}

static void hearth_answer_init(HearthAnswer *self) {
}

HearthAnswer *hearth_answer_new(HearthAnswerStop stop, gpointer user_data) {
  HearthAnswer *self = g_object_new(HEARTH_TYPE_ANSWER, NULL);

  self->stop = stop;
  self->stop_data = user_data;
  return self;
}

void hearth_answer_detach(HearthAnswer *self) {
  self->stop = NULL;
}

guint64 hearth_answer_get_request(HearthAnswer *self) {
  return self->request;
}

void hearth_answer_set_request(HearthAnswer *self, guint64 request) {
  self->request = request;
}

gboolean hearth_answer_get_stop_wanted(HearthAnswer *self) {
  return self->stop_wanted;
}

void hearth_answer_add_text(HearthAnswer *self, const char *text) {
  if (!self->finished)
    g_signal_emit(self, signals[TEXT], 0, text);
}

void hearth_answer_add_reading(HearthAnswer *self, guint done_tokens, guint total_tokens) {
  if (!self->finished)
    g_signal_emit(self, signals[READING], 0, done_tokens, total_tokens);
}

void hearth_answer_end(HearthAnswer *self, HearthFinish finish, const HearthAnswerStats *stats, const GError *error) {
  if (self->finished)
    return;
  self->finished = TRUE;
  self->finish = finish;
  if (stats)
    self->stats = *stats;
  if (finish == HEARTH_FINISH_ERROR)
    self->error = g_error_copy(error);
  g_signal_emit(self, signals[FINISHED], 0);
}

void hearth_answer_stop(HearthAnswer *self) {
  g_return_if_fail(HEARTH_IS_ANSWER(self));

  if (self->finished || self->stop_wanted)
    return;
  self->stop_wanted = TRUE;
  if (self->stop)
    self->stop(self, self->stop_data);
}

gboolean hearth_answer_get_finished(HearthAnswer *self) {
  g_return_val_if_fail(HEARTH_IS_ANSWER(self), FALSE);
  return self->finished;
}

HearthFinish hearth_answer_get_finish(HearthAnswer *self) {
  g_return_val_if_fail(HEARTH_IS_ANSWER(self), HEARTH_FINISH_ERROR);
  return self->finish;
}

const HearthAnswerStats *hearth_answer_get_stats(HearthAnswer *self) {
  g_return_val_if_fail(HEARTH_IS_ANSWER(self), NULL);
  return &self->stats;
}

const GError *hearth_answer_get_error(HearthAnswer *self) {
  g_return_val_if_fail(HEARTH_IS_ANSWER(self), NULL);
  return self->error;
}

double hearth_answer_get_words_per_second(HearthAnswer *self) {
  g_return_val_if_fail(HEARTH_IS_ANSWER(self), 0);

  /* decode_us runs from the first token to the last: one token fewer than were generated. */
  if (self->stats.generated_tokens < FEWEST_TOKENS_FOR_SPEED || self->stats.decode_us <= 0)
    return 0;
  return WORDS_PER_TOKEN * (self->stats.generated_tokens - 1) * G_USEC_PER_SEC / (double)self->stats.decode_us;
}
