/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth"

#include "app/hearth-application.h"

#include "app/hearth-window.h"

#include <errno.h>
#include <glib/gi18n.h>
#include <glib/gstdio.h>

#define APP_ID "dev.hearth.Hearth"

struct _HearthApplication {
  AdwApplication parent_instance;

  GSettings *settings;
  HearthEngineClient *client;
  HearthLibrary *library;
  HearthModelLoader *loader;
  HearthChatStore *store;
  HearthHistory *history;
  HearthWindow *window;

  char *trouble; /* what went wrong at the start, to be told once there is a window */
};

G_DEFINE_FINAL_TYPE(HearthApplication, hearth_application, ADW_TYPE_APPLICATION)

/* --- Adding files ---------------------------------------------------------------------------------------------------- */

typedef struct {
  HearthApplication *self;
  GPtrArray *files;
  guint next;
  HearthModelEntry *first; /* the first that is a model */
  GString *refusals;       /* paragraphs, one for each file */
  guint n_refused;
  char *refused_name;
  char *unsaved; /* what to tell when a model was added, but the list of models could not be saved */
} Addition;

static void add_next(Addition *addition);

static void addition_free(Addition *addition) {
  g_application_release(G_APPLICATION(addition->self));
  g_object_unref(addition->self);
  g_ptr_array_unref(addition->files);
  g_clear_object(&addition->first);
  g_string_free(addition->refusals, TRUE);
  g_free(addition->refused_name);
  g_free(addition->unsaved);
  g_free(addition);
}

static char *dup_shown_name(GFile *file) {
  g_autofree char *base = g_file_get_basename(file);

  return base ? g_filename_display_name(base) : g_file_get_uri(file);
}

static void added_cb(GObject *source, GAsyncResult *result, gpointer user_data) {
  Addition *addition = user_data;
  GFile *file = g_ptr_array_index(addition->files, addition->next);
  g_autoptr(GError) error = NULL;
  g_autoptr(HearthModelEntry) entry = hearth_library_add_finish(HEARTH_LIBRARY(source), result, &error);

  if (g_error_matches(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_SAVE)) {
    HearthModelEntry *unsaved = hearth_library_find(HEARTH_LIBRARY(source), file);

    g_set_str(&addition->unsaved, error->message);
    if (unsaved)
      entry = g_object_ref(unsaved);
  } else if (!entry) {
    g_autofree char *name = dup_shown_name(file);

    addition->n_refused++;
    if (addition->files->len > 1)
      g_string_append_printf(addition->refusals, _("%s“%s”: %s"), addition->refusals->len > 0 ? "\n\n" : "", name,
                             error->message);
    else
      g_string_append(addition->refusals, error->message);
    g_free(addition->refused_name);
    addition->refused_name = g_steal_pointer(&name);
  }
  if (entry && !addition->first)
    addition->first = g_steal_pointer(&entry);
  addition->next++;
  add_next(addition);
}

static void finish_addition(Addition *addition) {
  HearthApplication *self = addition->self;

  if (self->window && addition->first) {
    hearth_window_begin_conversation(self->window);
    hearth_model_loader_load(self->loader, addition->first);
  }
  if (self->window && addition->n_refused > 0) {
    g_autofree char *heading = NULL;

    if (addition->n_refused == 1)
      heading = g_strdup_printf(_("“%s” Was Not Added"), addition->refused_name);
    else
      heading = g_strdup_printf(ngettext("%u File Was Not Added", "%u Files Were Not Added", addition->n_refused),
                                addition->n_refused);
    hearth_window_tell(self->window, heading, addition->refusals->str);
  }
  if (self->window && addition->unsaved)
    hearth_window_tell(self->window, _("The List of Models Was Not Saved"), addition->unsaved);
  addition_free(addition);
}

static void add_next(Addition *addition) {
  if (addition->next >= addition->files->len) {
    finish_addition(addition);
    return;
  }
  hearth_library_add_async(addition->self->library, g_ptr_array_index(addition->files, addition->next), NULL, added_cb,
                           addition);
}

void hearth_application_add_files(HearthApplication *self, GFile **files, guint n_files) {
  g_return_if_fail(HEARTH_IS_APPLICATION(self));

  if (n_files == 0)
    return;
  Addition *addition = g_new0(Addition, 1);
  addition->self = g_object_ref(self);
  addition->files = g_ptr_array_new_with_free_func(g_object_unref);
  addition->refusals = g_string_new(NULL);
  for (guint i = 0; i < n_files; i++)
    g_ptr_array_add(addition->files, g_object_ref(files[i]));
  g_application_hold(G_APPLICATION(self));
  add_next(addition);
}

/* Chooses the model of last time, or any: it is loaded when it is needed. */
static void choose_some_model(HearthApplication *self) {
  g_autofree char *uri = g_settings_get_string(self->settings, "last-model");
  g_autoptr(GFile) file = g_file_new_for_uri(uri);
  HearthModelEntry *last = *uri ? hearth_library_find(self->library, file) : NULL;
  g_autoptr(HearthModelEntry) entry = last ? g_object_ref(last) : g_list_model_get_item(G_LIST_MODEL(self->library), 0);

  if (entry)
    hearth_model_loader_choose(self->loader, entry);
}

/* --- The loader ------------------------------------------------------------------------------------------------------ */

static void load_failed_cb(HearthApplication *self, const GError *error) {
  HearthModelEntry *entry = hearth_model_loader_get_entry(self->loader);
  HearthModelEntry *listed = hearth_library_find(self->library, hearth_model_entry_get_file(entry));
  g_autofree char *sentence = hearth_sentence_for_error(error, NULL);
  g_autofree char *heading = NULL;

  /* Translators: %s is the name of a model. */
  heading = g_strdup_printf(_("%s Could Not Be Loaded"), hearth_model_entry_get_name(entry));
  if (self->window)
    hearth_window_tell(self->window, heading, sentence);

  /* A file that can never run does not stay among the models. */
  if (listed && hearth_model_entry_get_untried(listed) &&
      (g_error_matches(error, HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_UNSUPPORTED) ||
       g_error_matches(error, HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_FORMAT) ||
       g_error_matches(error, HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_LIMIT))) {
    g_autoptr(HearthModelEntry) unusable = g_object_ref(entry);

    hearth_model_loader_forget(self->loader, unusable);
    hearth_library_remove(self->library, unusable);
    choose_some_model(self);
  }
}

static void loader_state_cb(HearthApplication *self) {
  HearthModelEntry *entry = hearth_model_loader_get_entry(self->loader);
  HearthModelEntry *listed; /* another object where the file was added once more meanwhile */

  if (hearth_model_loader_get_state(self->loader) != HEARTH_LOADER_READY || !entry)
    return;
  g_autofree char *uri = g_file_get_uri(hearth_model_entry_get_file(entry));
  g_settings_set_string(self->settings, "last-model", uri);
  listed = hearth_library_find(self->library, hearth_model_entry_get_file(entry));
  if (listed)
    hearth_model_entry_set_untried(listed, FALSE);
}

/* --- Actions --------------------------------------------------------------------------------------------------------- */

static void add_model_action(GSimpleAction *action, GVariant *parameter, gpointer user_data) {
  HearthApplication *self = user_data;
  g_autoptr(GFile) file = g_file_new_for_path(g_variant_get_string(parameter, NULL));

  g_application_activate(G_APPLICATION(self));
  hearth_application_add_files(self, &file, 1);
}

static void models_chosen_cb(GObject *source, GAsyncResult *result, gpointer user_data) {
  g_autoptr(HearthApplication) self = user_data;
  g_autoptr(GError) error = NULL;
  g_autoptr(GListModel) chosen = gtk_file_dialog_open_multiple_finish(GTK_FILE_DIALOG(source), result, &error);
  g_autoptr(GPtrArray) files = g_ptr_array_new_with_free_func(g_object_unref);

  if (!chosen) {
    if (!g_error_matches(error, GTK_DIALOG_ERROR, GTK_DIALOG_ERROR_DISMISSED) && self->window)
      hearth_window_tell(self->window, _("No File Was Chosen"), error->message);
    return;
  }
  for (guint i = 0; i < g_list_model_get_n_items(chosen); i++)
    g_ptr_array_add(files, g_list_model_get_item(chosen, i));
  hearth_application_add_files(self, (GFile **)files->pdata, files->len);
}

static void choose_model_action(GSimpleAction *action, GVariant *parameter, gpointer user_data) {
  HearthApplication *self = user_data;
  g_autoptr(GtkFileDialog) dialog = gtk_file_dialog_new();
  g_autoptr(GtkFileFilter) models = gtk_file_filter_new();
  g_autoptr(GtkFileFilter) all = gtk_file_filter_new();
  g_autoptr(GListStore) filters = g_list_store_new(GTK_TYPE_FILE_FILTER);

  gtk_file_filter_set_name(models, _("Models"));
  gtk_file_filter_add_suffix(models, "gguf");
  gtk_file_filter_add_mime_type(models, "application/x-gguf");
  gtk_file_filter_set_name(all, _("All Files"));
  gtk_file_filter_add_pattern(all, "*");
  g_list_store_append(filters, models);
  g_list_store_append(filters, all);
  gtk_file_dialog_set_title(dialog, _("Add a Model"));
  gtk_file_dialog_set_accept_label(dialog, _("_Add"));
  gtk_file_dialog_set_filters(dialog, G_LIST_MODEL(filters));
  g_application_activate(G_APPLICATION(self));
  gtk_file_dialog_open_multiple(dialog, GTK_WINDOW(self->window), NULL, models_chosen_cb, g_object_ref(self));
}

static void new_conversation_action(GSimpleAction *action, GVariant *parameter, gpointer user_data) {
  HearthApplication *self = user_data;

  g_application_activate(G_APPLICATION(self));
  hearth_window_begin_conversation(self->window);
}

static void about_action(GSimpleAction *action, GVariant *parameter, gpointer user_data) {
  HearthApplication *self = user_data;

  g_application_activate(G_APPLICATION(self));
  adw_show_about_dialog(GTK_WIDGET(self->window), "application-name", _("Hearth"), "application-icon", APP_ID, "version",
                        HEARTH_VERSION, "developer-name", _("The Hearth Developers"), "comments",
                        _("An AI that lives on your own computer. What you write never leaves it."), "license-type",
                        GTK_LICENSE_GPL_3_0, "copyright", "© 2025 The Hearth Developers", NULL);
}

static void quit_action(GSimpleAction *action, GVariant *parameter, gpointer user_data) {
  HearthApplication *self = user_data;

  /* Closing saves the window's size. */
  if (self->window)
    gtk_window_close(GTK_WINDOW(self->window));
  else
    g_application_quit(G_APPLICATION(self));
}

static const GActionEntry actions[] = {
    {.name = "add-model", .activate = add_model_action, .parameter_type = "s"},
    {.name = "choose-model", .activate = choose_model_action},
    {.name = "new-conversation", .activate = new_conversation_action},
    {.name = "about", .activate = about_action},
    {.name = "quit", .activate = quit_action},
};

static const struct {
  const char *action, *keys[3];
} accelerators[] = {
    {"app.new-conversation", {"<Control>n"}},
    {"app.choose-model", {"<Control>o"}},
    {"app.quit", {"<Control>q"}},
    {"win.search", {"<Control>f", "<Control>k"}},
    {"win.sidebar", {"F9"}},
    {"win.stop", {"Escape"}},
    {"win.rename-this", {"F2"}},
    {"window.close", {"<Control>w"}},
};

/* --- Starting and ending --------------------------------------------------------------------------------------------- */

/* The conversations in their file, or, where that cannot be, in memory: people can talk all the same, and are told. */
static HearthChatStore *open_store(HearthApplication *self, const char *folder) {
  g_autofree char *path = g_build_filename(folder, "conversations.db", NULL);
  g_autofree char *moved_to = NULL;
  g_autoptr(GError) error = NULL;
  HearthChatStore *store = NULL;

  if (g_mkdir_with_parents(folder, 0700) != 0)
    error = g_error_new_literal(G_IO_ERROR, g_io_error_from_errno(errno), g_strerror(errno));
  else
    store = hearth_chat_store_open(path, &moved_to, &error);
  if (moved_to) {
    g_autofree char *shown = g_filename_display_name(moved_to);

    self->trouble = g_strdup_printf(_("Your earlier conversations were damaged on the disk. The damaged file was kept as “%s”, "
                                      "and a new one was begun."),
                                    shown);
  }
  if (store)
    return store;
  g_autofree char *sentence = hearth_sentence_for_error(error, NULL);
  g_free(self->trouble);
  self->trouble = g_strdup_printf(_("Conversations cannot be saved now and will be lost when Hearth is closed. %s"), sentence);
  return hearth_chat_store_open(":memory:", NULL, NULL);
}

static void hearth_application_startup(GApplication *application) {
  HearthApplication *self = HEARTH_APPLICATION(application);
  g_autofree char *folder = g_build_filename(g_get_user_data_dir(), "hearth", NULL);
  g_autoptr(GError) error = NULL;

  G_APPLICATION_CLASS(hearth_application_parent_class)->startup(application);

  gtk_window_set_default_icon_name(APP_ID);
  g_action_map_add_action_entries(G_ACTION_MAP(self), actions, G_N_ELEMENTS(actions), self);
  for (guint i = 0; i < G_N_ELEMENTS(accelerators); i++)
    gtk_application_set_accels_for_action(GTK_APPLICATION(self), accelerators[i].action, accelerators[i].keys);

  self->settings = g_settings_new(APP_ID);
  self->client = hearth_engine_client_new(NULL);
  self->library = hearth_library_new(folder);
  self->loader = hearth_model_loader_new(self->client);
  g_signal_connect_object(self->loader, "failed", G_CALLBACK(load_failed_cb), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(self->loader, "notify::state", G_CALLBACK(loader_state_cb), self, G_CONNECT_SWAPPED);
  self->store = open_store(self, folder);
  self->history = hearth_history_new(self->store, self->loader, self->client, &error);
  if (error && !self->trouble)
    self->trouble = hearth_sentence_for_error(error, NULL);

  choose_some_model(self);
  hearth_library_refresh(self->library);
}

static void hearth_application_activate(GApplication *application) {
  HearthApplication *self = HEARTH_APPLICATION(application);

  if (!self->window) {
    self->window = hearth_window_new(self);
    g_object_add_weak_pointer(G_OBJECT(self->window), (gpointer *)&self->window);
  }
  gtk_window_present(GTK_WINDOW(self->window));
  if (self->trouble) {
    hearth_window_tell(self->window, _("Conversations"), self->trouble);
    g_clear_pointer(&self->trouble, g_free);
  }
}

static void hearth_application_open(GApplication *application, GFile **files, int n_files, const char *hint) {
  g_application_activate(application);
  hearth_application_add_files(HEARTH_APPLICATION(application), files, (guint)n_files);
}

static void hearth_application_shutdown(GApplication *application) {
  HearthApplication *self = HEARTH_APPLICATION(application);

  if (self->history)
    hearth_history_save(self->history);
  G_APPLICATION_CLASS(hearth_application_parent_class)->shutdown(application);
}

static void hearth_application_dispose(GObject *object) {
  HearthApplication *self = HEARTH_APPLICATION(object);

  g_clear_weak_pointer(&self->window);
  g_clear_object(&self->history);
  g_clear_object(&self->store);
  g_clear_object(&self->loader);
  g_clear_object(&self->library);
  g_clear_object(&self->client);
  g_clear_object(&self->settings);
  g_clear_pointer(&self->trouble, g_free);
  G_OBJECT_CLASS(hearth_application_parent_class)->dispose(object);
}

static void hearth_application_class_init(HearthApplicationClass *klass) {
  GApplicationClass *application_class = G_APPLICATION_CLASS(klass);

  G_OBJECT_CLASS(klass)->dispose = hearth_application_dispose;
  application_class->startup = hearth_application_startup;
  application_class->activate = hearth_application_activate;
  application_class->open = hearth_application_open;
  application_class->shutdown = hearth_application_shutdown;
}

static void hearth_application_init(HearthApplication *self) {
}

/* --- Public API ------------------------------------------------------------------------------------------------------ */

HearthApplication *hearth_application_new(void) {
  return g_object_new(HEARTH_TYPE_APPLICATION, "application-id", APP_ID, "flags", G_APPLICATION_HANDLES_OPEN,
                      "resource-base-path", "/dev/hearth/Hearth", NULL);
}

HearthLibrary *hearth_application_get_library(HearthApplication *self) {
  g_return_val_if_fail(HEARTH_IS_APPLICATION(self), NULL);

  return self->library;
}

HearthModelLoader *hearth_application_get_loader(HearthApplication *self) {
  g_return_val_if_fail(HEARTH_IS_APPLICATION(self), NULL);

  return self->loader;
}

HearthHistory *hearth_application_get_history(HearthApplication *self) {
  g_return_val_if_fail(HEARTH_IS_APPLICATION(self), NULL);

  return self->history;
}

GSettings *hearth_application_get_settings(HearthApplication *self) {
  g_return_val_if_fail(HEARTH_IS_APPLICATION(self), NULL);

  return self->settings;
}
