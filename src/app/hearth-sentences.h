/* What is said to people when something goes wrong: one plain sentence and at most one thing to do. */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef enum {
  HEARTH_REMEDY_NONE,
  HEARTH_REMEDY_TRY_AGAIN,
  HEARTH_REMEDY_ADD_MODEL,
  HEARTH_REMEDY_NEW_CONVERSATION,
  HEARTH_REMEDY_SAVE_AGAIN
} HearthRemedy;

/* The sentence of an error of any domain the app meets. remedy may be NULL. */
char *hearth_sentence_for_error(const GError *error, HearthRemedy *remedy);

/* The label of the button that offers a remedy; NULL for HEARTH_REMEDY_NONE. */
const char *hearth_remedy_get_label(HearthRemedy remedy);

/* "27 words a second"; NULL when the speed is not known. */
char *hearth_sentence_for_speed(double words_per_second);

/* "About 3 seconds left" */
char *hearth_sentence_for_time_left(gint64 seconds);

G_END_DECLS
