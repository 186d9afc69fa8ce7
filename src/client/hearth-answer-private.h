/* An answer as the client fills it. Main thread of the client. */
#pragma once

#include "client/hearth-engine-client.h"

G_BEGIN_DECLS

/* stop is called (at most once, before the end) when the answer is asked to stop; its user data must outlive the answer
 * or be taken away with hearth_answer_detach. */
typedef void (*HearthAnswerStop)(HearthAnswer *answer, gpointer user_data);
HearthAnswer *hearth_answer_new(HearthAnswerStop stop, gpointer user_data);
void hearth_answer_detach(HearthAnswer *self);

/* The engine's id of the request; 0 until it is known. */
guint64 hearth_answer_get_request(HearthAnswer *self);
void hearth_answer_set_request(HearthAnswer *self, guint64 request);
gboolean hearth_answer_get_stop_wanted(HearthAnswer *self);

void hearth_answer_add_text(HearthAnswer *self, const char *text);
void hearth_answer_add_reading(HearthAnswer *self, guint done_tokens, guint total_tokens);

/* Ends the answer; further calls do nothing. stats may be NULL. error is copied, for HEARTH_FINISH_ERROR. */
void hearth_answer_end(HearthAnswer *self, HearthFinish finish, const HearthAnswerStats *stats, const GError *error);

G_END_DECLS
