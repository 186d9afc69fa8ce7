/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "harness.h"

static void on_progress(guint64 done_bytes, guint64 total_bytes, gpointer user_data) {
  Loading *loading = user_data;

  loading->done_bytes = done_bytes;
  loading->total_bytes = total_bytes;
  if (loading->n_progress++ == 0 && loading->on_progress)
    loading->on_progress(loading->data);
}

static void on_loaded(GObject *source, GAsyncResult *result, gpointer user_data) {
  Loading *loading = user_data;

  loading->facts = hearth_engine_client_load_finish(HEARTH_ENGINE_CLIENT(source), result, &loading->error);
  loading->done = TRUE;
}

void loading_start(Loading *loading, HearthEngineClient *client, const char *path, GCancellable *cancellable) {
  g_autoptr(GFile) file = g_file_new_for_path(path);

  hearth_engine_client_load_async(client, file, on_progress, loading, cancellable, on_loaded, loading);
}

void loading_clear(Loading *loading) {
  g_clear_pointer(&loading->facts, hearth_model_facts_free);
  g_clear_error(&loading->error);
}

gboolean load_model(HearthEngineClient *client, const char *path, int *code, char **message) {
  Loading loading = {0};
  gboolean loaded;

  loading_start(&loading, client, path, NULL);
  if (!WAIT_FOR(loading.done, 60)) {
    g_printerr("a load did not end: %s\n", path);
    exit(1);
  }
  loaded = loading.facts != NULL;
  if (code)
    *code = !loading.error ? -1 : loading.error->domain == HEARTH_ENGINE_ERROR ? loading.error->code : -1;
  if (message)
    *message = g_strdup(loading.error ? loading.error->message : "");
  loading_clear(&loading);
  return loaded;
}

static void on_text(HearthAnswer *answer, const char *text, Asked *asked) {
  asked->last_text_us = g_get_monotonic_time();
  if (asked->n_texts++ == 0)
    asked->first_text_us = asked->last_text_us;
  g_string_append(asked->text, text);
}

static void on_finished(HearthAnswer *answer, Asked *asked) {
  asked->n_finished++;
}

void asked_start(Asked *asked, HearthEngineClient *client, const char *question, guint max_tokens, guint64 seed) {
  const char *role = "user";
  const HearthGenerateOptions options = {.temperature = -1, .max_tokens = max_tokens, .seed = seed};

  *asked = (Asked){.text = g_string_new(NULL)};
  asked->answer = hearth_engine_client_generate(client, &role, &question, 1, &options);
  g_signal_connect(asked->answer, "text", G_CALLBACK(on_text), asked);
  g_signal_connect(asked->answer, "finished", G_CALLBACK(on_finished), asked);
}

void asked_clear(Asked *asked) {
  g_signal_handlers_disconnect_by_data(asked->answer, asked);
  g_clear_object(&asked->answer);
  g_string_free(asked->text, TRUE);
}
