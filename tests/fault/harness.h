/* Driving the engine process from a test through the app's own client. Everything waits with a limit, so that a test
 * fails instead of hanging. The program is $HEARTH_ENGINE. */
#pragma once

#include "client/hearth-engine-client.h"

/* Iterates the main context until the expression holds or so many seconds have passed; its value at the end. */
#define WAIT_FOR(condition, seconds)                                                 \
  ({                                                                                 \
    gint64 wait_end = g_get_monotonic_time() + (gint64)((seconds) * G_USEC_PER_SEC); \
    g_autoptr(GSource) wait_source = g_timeout_source_new(5);                        \
    g_source_set_callback(wait_source, G_SOURCE_FUNC(wait_tick), NULL, NULL);        \
    g_source_attach(wait_source, NULL);                                              \
    while (!(condition) && g_get_monotonic_time() < wait_end)                        \
      g_main_context_iteration(NULL, TRUE);                                          \
    g_source_destroy(wait_source);                                                   \
    (condition);                                                                     \
  })

static inline gboolean wait_tick(gpointer data) {
  return G_SOURCE_CONTINUE;
}

/* One load, and how it ended. */
typedef struct {
  gboolean done;
  HearthModelFacts *facts;
  GError *error;
  guint n_progress;
  guint64 done_bytes, total_bytes;
  void (*on_progress)(gpointer data); /* called with the first one */
  gpointer data;
} Loading;
void loading_start(Loading *loading, HearthEngineClient *client, const char *path, GCancellable *cancellable);
void loading_clear(Loading *loading);

/* Loads and waits; TRUE when it succeeded. *code receives the error's code in HEARTH_ENGINE_ERROR, -1 for another
 * domain. */
gboolean load_model(HearthEngineClient *client, const char *path, int *code, char **message);

/* One answer, and how it ended. */
typedef struct {
  HearthAnswer *answer;
  GString *text;
  guint n_texts, n_finished;
  gint64 first_text_us, last_text_us;
} Asked;
void asked_start(Asked *asked, HearthEngineClient *client, const char *question, guint max_tokens, guint64 seed);
void asked_clear(Asked *asked);
