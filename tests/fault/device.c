/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which device answers, through the app's own client: the graphics card where there is one, the processor where that
 * cannot, with a sentence that says why; and answers that go on when the card fails. The engine is this program itself,
 * started by the client with --service, in which Vulkan fails as the environment asks. The software device plays the
 * card. */
#include "harness.h"
#include "vulkan-hook.h"

#include "app/hearth-model-loader.h"
#include "service/hearth-service.h"
#include "tiny-model.h"

#include <glib/gstdio.h>

#define ANSWER_TOKENS 40

static char *model;

/* --- The engine --------------------------------------------------------------------------------------------------- */

/* What Vulkan has to complain about ends the engine, and with it the test. */
static void on_message(const char *domain, GLogLevelFlags level, const char *text, gpointer data) {
  g_printerr("%s\n", text);
  if (g_str_has_prefix(text, "vulkan: "))
    abort();
}

static int be_engine(int fd) {
  static const struct {
    const char *name;
    hook_wish wish;
  } wishes[] = {
      {"", {0}},
      {"lost once", {.only = "QueueSubmit", .fail_at = 15, .failure = VK_ERROR_DEVICE_LOST}},
      {"lost again and again",
       {.only = "QueueSubmit", .fail_at = 15, .fail_on = true, .failure = VK_ERROR_DEVICE_LOST}},
      {"full", {.only = "AllocateMemory", .fail_at = 2, .fail_on = true, .failure = VK_ERROR_OUT_OF_DEVICE_MEMORY}},
      {"lacking", {.lacks = "scalar block layouts"}},
      {"crashing at once", {.only = "CreateDevice", .fail_at = 1, .crash = true}},
      {"crashing later", {.only = "QueueSubmit", .fail_at = 15, .crash = true}},
      {"broken", {.only = "CreateDevice", .fail_at = 1, .fail_on = true, .failure = VK_ERROR_DEVICE_LOST}},
  };
  const char *wanted = g_getenv("TEST_VULKAN");

  setenv("VK_LOADER_LAYERS_ENABLE", "*validation*", 0);
  g_log_set_handler("hearth-engine", G_LOG_LEVEL_MESSAGE, on_message, NULL);
  for (guint i = 0; i < G_N_ELEMENTS(wishes); i++)
    if (g_str_equal(wishes[i].name, wanted ? wanted : ""))
      hook_start(&wishes[i].wish);
  return hearth_service_run(fd);
}

/* --- The app ------------------------------------------------------------------------------------------------------ */

typedef struct {
  HearthEngineClient *client;
  guint n_changes;
  char *device, *sentence; /* of the last change */
} App;

static void on_device_changed(HearthEngineClient *client, const char *device, const char *sentence, App *app) {
  app->n_changes++;
  g_set_str(&app->device, device);
  g_set_str(&app->sentence, sentence);
}

static void app_start(App *app, const char *wish) {
  g_setenv("TEST_VULKAN", wish, TRUE);
  *app = (App){.client = hearth_engine_client_new("/proc/self/exe")};
  g_signal_connect(app->client, "device-changed", G_CALLBACK(on_device_changed), app);
  CHECK(WAIT_FOR(hearth_engine_client_get_running(app->client), 20));
}

static void app_end(App *app) {
  g_clear_object(&app->client);
  g_clear_pointer(&app->device, g_free);
  g_clear_pointer(&app->sentence, g_free);
}

/* Loads the model and checks what is said of the device: the beginning of its name, a word of the notice ("" for none)
 * and one of the reason. */
static void check_load(App *app, const char *device, const char *notice, const char *reason) {
  Loading loading = {0};

  loading_start(&loading, app->client, model, NULL);
  CHECK(WAIT_FOR(loading.done, 60));
  CHECK(loading.facts != NULL);
  if (loading.facts) {
    printf("%s | %s | %s\n", loading.facts->device, loading.facts->device_notice, loading.facts->device_reason);
    CHECK(g_str_has_prefix(loading.facts->device, device));
    CHECK(*notice ? strstr(loading.facts->device_notice, notice) != NULL : *loading.facts->device_notice == '\0');
    CHECK(*reason ? strstr(loading.facts->device_reason, reason) != NULL : *loading.facts->device_reason == '\0');
  } else {
    g_printerr("%s\n", loading.error->message);
  }
  loading_clear(&loading);
}

/* The text of an answer that is as long as was asked for, or NULL. */
static char *answer(App *app) {
  Asked asked;
  char *text = NULL;

  asked_start(&asked, app->client, "the little house", ANSWER_TOKENS, 7);
  CHECK(WAIT_FOR(asked.n_finished == 1, 120));
  if (hearth_answer_get_finish(asked.answer) == HEARTH_FINISH_LENGTH &&
      hearth_answer_get_stats(asked.answer)->generated_tokens == ANSWER_TOKENS)
    text = g_strdup(asked.text->str);
  else if (hearth_answer_get_error(asked.answer))
    g_printerr("%s\n", hearth_answer_get_error(asked.answer)->message);
  asked_clear(&asked);
  return text;
}

static char *normal;

static void test_software_is_not_chosen(void) {
  App app;
  em_vulkan_device found[8];
  uint32_t n = 0;

  app_start(&app, "");
  if (em_vulkan_list(found, 8, &n, NULL) == EM_OK && n > 0 && found[0].kind != EM_VULKAN_SOFTWARE)
    check_load(&app, "vulkan:0", "", "");
  else
    check_load(&app, "cpu", "", "");
  app_end(&app);
}

static void test_card_answers(const char *name) {
  App app;

  app_start(&app, "");
  check_load(&app, name, "", "");
  normal = answer(&app);
  CHECK(normal != NULL);
  CHECK_INT(app.n_changes, 0);

  /* A device that is named is used, and not left for another one. */
  hearth_engine_client_set_device(app.client, "cpu");
  check_load(&app, "cpu", "", "");
  hearth_engine_client_set_device(app.client, "vulkan:99");
  {
    g_autofree char *message = NULL;
    int code = -1;

    CHECK(!load_model(app.client, model, &code, &message));
    CHECK_INT(code, HEARTH_ENGINE_ERROR_UNSUPPORTED);
  }
  hearth_engine_client_set_device(app.client, NULL);
  check_load(&app, name, "", "");
  app_end(&app);
}

static void test_lost_once(const char *name) {
  App app;
  g_autofree char *text = NULL;

  app_start(&app, "lost once");
  check_load(&app, name, "", "");
  text = answer(&app);
  CHECK_TEXT(text, normal ? normal : "");
  CHECK_INT(app.n_changes, 0);
  app_end(&app);
}

static void count_cb(HearthModelLoader *loader, GParamSpec *pspec, guint *n) {
  ++*n;
}

static void test_lost_again(const char *name) {
  App app;
  g_autoptr(GFile) file = g_file_new_for_path(model);
  HearthModelInfo info = {.name = (char *)"small"};
  g_autoptr(HearthModelEntry) entry = hearth_model_entry_new(file, &info);
  g_autoptr(HearthModelLoader) loader = NULL;
  g_autofree char *text = NULL, *second = NULL;
  guint n_notified = 0;

  app_start(&app, "lost again and again");
  loader = hearth_model_loader_new(app.client);
  g_signal_connect(loader, "notify::device-notice", G_CALLBACK(count_cb), &n_notified);
  hearth_model_loader_load(loader, entry);
  CHECK(WAIT_FOR(hearth_model_loader_get_state(loader) == HEARTH_LOADER_READY, 60));
  CHECK(g_str_has_prefix(hearth_model_loader_get_facts(loader)->device, name));
  CHECK(hearth_model_loader_get_device_notice(loader) == NULL);
  text = answer(&app);
  CHECK(text != NULL);
  CHECK_INT(app.n_changes, 1);
  CHECK(app.device && g_str_has_prefix(app.device, "cpu"));
  CHECK(app.sentence && strstr(app.sentence, "processor"));
  CHECK_INT(n_notified, 1);
  CHECK_TEXT(hearth_model_loader_get_facts(loader)->device, app.device);
  CHECK_TEXT(hearth_model_loader_get_device_notice(loader), app.sentence);
  printf("%s | %s\n", app.device, app.sentence);
  second = answer(&app);
  CHECK(second != NULL);
  CHECK_INT(app.n_changes, 1);
  g_clear_object(&loader);
  app_end(&app);
}

static void test_falls_back(const char *wish, const char *notice, const char *reason) {
  App app;
  g_autofree char *text = NULL;

  app_start(&app, wish);
  check_load(&app, "cpu", notice, reason);
  text = answer(&app);
  CHECK(text != NULL);
  CHECK_INT(app.n_changes, 0);
  app_end(&app);
}

/* --- Drivers that crash ------------------------------------------------------------------------------------------- */

static void ask_until_it_ends(App *app) {
  Asked asked;

  asked_start(&asked, app->client, "the little house", ANSWER_TOKENS, 7);
  CHECK(WAIT_FOR(asked.n_finished == 1, 120));
  CHECK_INT(hearth_answer_get_finish(asked.answer), HEARTH_FINISH_ERROR);
  asked_clear(&asked);
}

static void test_crash(const char *wish, const char *name, guint n_crashes) {
  App app;
  g_autoptr(GFile) file = g_file_new_for_path(model);
  HearthModelInfo info = {.name = (char *)"small"};
  g_autoptr(HearthModelEntry) entry = hearth_model_entry_new(file, &info);
  g_autoptr(HearthModelLoader) loader = NULL;
  g_autofree char *text = NULL;

  app_start(&app, wish);
  loader = hearth_model_loader_new(app.client);
  hearth_model_loader_load(loader, entry);
  for (guint i = 0; i < n_crashes; i++) {
    CHECK(WAIT_FOR(hearth_model_loader_get_state(loader) == HEARTH_LOADER_READY, 60));
    CHECK(g_str_has_prefix(hearth_model_loader_get_facts(loader)->device, name));
    CHECK(hearth_model_loader_get_device_notice(loader) == NULL);
    ask_until_it_ends(&app);
    CHECK(WAIT_FOR(hearth_model_loader_get_state(loader) == HEARTH_LOADER_LOADING, 60));
  }
  CHECK(WAIT_FOR(hearth_model_loader_get_state(loader) == HEARTH_LOADER_READY, 60));
  CHECK(g_str_has_prefix(hearth_model_loader_get_facts(loader)->device, "cpu"));
  if (n_crashes > 0)
    CHECK(strstr(hearth_model_loader_get_device_notice(loader), "made the engine stop"));
  text = answer(&app);
  CHECK(text != NULL);
  g_clear_object(&loader);
  app_end(&app);
}

int main(int argc, char **argv) {
  em_vulkan_device found[8];
  uint32_t n = 0, software = UINT32_MAX;
  g_autofree char *folder = NULL, *name = NULL;

  if (argc == 3 && g_str_equal(argv[1], "--service"))
    return be_engine(atoi(argv[2]));
  if (em_vulkan_list(found, 8, &n, NULL) != EM_OK)
    SKIP("there is no Vulkan");
  for (uint32_t i = 0; i < n; i++)
    if (found[i].kind == EM_VULKAN_SOFTWARE)
      software = i;
  if (software == UINT32_MAX)
    SKIP("there is no software Vulkan device");
  folder = g_dir_make_tmp("hearth-device-XXXXXX", NULL);
  model = g_build_filename(folder, "small.gguf", NULL);
  name = g_strdup_printf("vulkan:%u", software);
  tiny_model_save(&(tiny_model){.name = "small", .context_tokens = 1024, .n_layers = 1, .type = EM_TYPE_F16}, model);

  g_unsetenv("HEARTH_DEVICE");
  test_software_is_not_chosen();
  g_setenv("HEARTH_DEVICE", name, TRUE);
  test_card_answers(name);
  test_lost_once(name);
  test_lost_again(name);
  test_falls_back("full", "does not fit", "out of memory");
  test_falls_back("lacking", "cannot run this model", "scalar block layouts");
  test_falls_back("broken", "does not work", "lost");
  test_crash("crashing at once", name, 0);
  test_crash("crashing later", name, 2);

  g_remove(model);
  g_rmdir(folder);
  g_free(model);
  g_free(normal);
  return check_done();
}
