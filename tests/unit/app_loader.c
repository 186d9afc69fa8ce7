/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Loading a model with an engine that never starts: the person is told after some tries, and may try again. */
#include "app/hearth-model-loader.h"
#include "check.h"

#define PATIENCE_S 60

static gboolean out_of_patience_cb(gpointer user_data) {
  *(gboolean *)user_data = TRUE;
  return G_SOURCE_REMOVE;
}

static void wait_for_failure(HearthModelLoader *loader) {
  gboolean is_late = FALSE;
  guint source = g_timeout_add_seconds(PATIENCE_S, out_of_patience_cb, &is_late);

  while (!is_late && hearth_model_loader_get_state(loader) == HEARTH_LOADER_LOADING)
    g_main_context_iteration(NULL, TRUE);
  CHECK(!is_late);
  if (!is_late)
    g_source_remove(source);
  CHECK_INT(hearth_model_loader_get_state(loader), HEARTH_LOADER_FAILED);
  CHECK(g_error_matches(hearth_model_loader_get_error(loader), HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_FAILED));
}

static void count_cb(HearthModelLoader *loader, const GError *error, guint *n) {
  ++*n;
}

/* program: one that ends before it answers, and one that is not there. */
static void test_never_starts(const char *program) {
  g_autoptr(HearthEngineClient) client = hearth_engine_client_new(program);
  g_autoptr(HearthModelLoader) loader = hearth_model_loader_new(client);
  g_autoptr(GFile) file = g_file_new_for_path("/nowhere/model.gguf");
  HearthModelInfo info = {.name = (char *)"A model"};
  g_autoptr(HearthModelEntry) entry = hearth_model_entry_new(file, &info);
  guint n_told = 0;

  g_signal_connect(loader, "failed", G_CALLBACK(count_cb), &n_told);
  hearth_model_loader_load(loader, entry);
  CHECK_INT(hearth_model_loader_get_state(loader), HEARTH_LOADER_LOADING);
  wait_for_failure(loader);
  CHECK_INT(n_told, 1);

  CHECK(hearth_model_loader_ensure(loader));
  CHECK_INT(hearth_model_loader_get_state(loader), HEARTH_LOADER_LOADING);
  wait_for_failure(loader);
  CHECK_INT(n_told, 1);
}

int main(void) {
  test_never_starts("/bin/false");
  test_never_starts("/nowhere/hearth-engine");
  return check_done();
}
