/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth-library"

#include "library/hearth-library.h"

#include <errno.h>
#include <glib/gi18n.h>
#include <glib/gstdio.h>

#define LIST_NAME "models.ini"

struct _HearthLibrary {
  GObject parent_instance;

  char *folder;
  GPtrArray *entries;
};

static void list_model_init(GListModelInterface *interface);

G_DEFINE_FINAL_TYPE_WITH_CODE(HearthLibrary, hearth_library, G_TYPE_OBJECT,
                              G_IMPLEMENT_INTERFACE(G_TYPE_LIST_MODEL, list_model_init))

typedef struct {
  GFile *file; /* the one to check, then the one that stands for the model */
  HearthModelInfo info;
} Check;

static void check_free(Check *check) {
  g_object_unref(check->file);
  hearth_model_info_clear(&check->info);
  g_free(check);
}

/* --- Auxiliary ------------------------------------------------------------------------------------------------------- */

static gboolean save(HearthLibrary *self, GError **error) {
  g_autoptr(GKeyFile) list = g_key_file_new();
  g_autofree char *path = g_build_filename(self->folder, LIST_NAME, NULL);
  g_autofree char *data = NULL;
  gsize bytes = 0;

  for (guint i = 0; i < self->entries->len; i++) {
    HearthModelEntry *entry = g_ptr_array_index(self->entries, i);
    const HearthModelInfo *info = hearth_model_entry_get_info(entry);
    g_autofree char *group = g_strdup_printf("Model %u", i + 1);
    g_autofree char *uri = g_file_get_uri(hearth_model_entry_get_file(entry));

    g_key_file_set_string(list, group, "File", uri);
    g_key_file_set_string(list, group, "Name", info->name);
    g_key_file_set_string(list, group, "Architecture", info->architecture ? info->architecture : "");
    g_key_file_set_uint64(list, group, "SizeBytes", info->size_bytes);
    g_key_file_set_double(list, group, "BitsPerWeight", info->bits_per_weight);
    g_key_file_set_boolean(list, group, "HasTemplate", info->has_template);
  }
  data = g_key_file_to_data(list, &bytes, NULL);
  if (g_mkdir_with_parents(self->folder, 0700) != 0) {
    int saved_errno = errno;

    g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(saved_errno), "%s", g_strerror(saved_errno));
    return FALSE;
  }
  return g_file_set_contents_full(path, data, (gssize)bytes, G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                  0600, error);
}

static void load(HearthLibrary *self) {
  g_autoptr(GKeyFile) list = g_key_file_new();
  g_autoptr(GError) error = NULL;
  g_autofree char *path = g_build_filename(self->folder, LIST_NAME, NULL);
  g_auto(GStrv) groups = NULL;

  if (!g_key_file_load_from_file(list, path, G_KEY_FILE_NONE, &error)) {
    if (!g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT)) {
      g_autofree char *aside = g_strconcat(path, ".damaged", NULL);

      g_warning("The list of models could not be read and was set aside: %s", error->message);
      g_rename(path, aside);
    }
    return;
  }
  groups = g_key_file_get_groups(list, NULL);
  for (guint i = 0; groups[i]; i++) {
    g_autofree char *uri = g_key_file_get_string(list, groups[i], "File", NULL);
    g_auto(HearthModelInfo) info = {0};

    if (!uri)
      continue;
    g_autoptr(GFile) file = g_file_new_for_uri(uri);
    if (hearth_library_find(self, file))
      continue;
    info.name = g_key_file_get_string(list, groups[i], "Name", NULL);
    info.architecture = g_key_file_get_string(list, groups[i], "Architecture", NULL);
    info.size_bytes = g_key_file_get_uint64(list, groups[i], "SizeBytes", NULL);
    info.bits_per_weight = g_key_file_get_double(list, groups[i], "BitsPerWeight", NULL);
    info.has_template = g_key_file_get_boolean(list, groups[i], "HasTemplate", NULL);
    g_ptr_array_add(self->entries, hearth_model_entry_new(file, &info));
  }
}

static void check_in_thread(GTask *task, gpointer source, gpointer task_data, GCancellable *cancellable) {
  Check *check = task_data;
  g_autoptr(GFile) first = NULL;
  GError *error = NULL;

  if (!hearth_model_check(check->file, &first, &check->info, &error)) {
    g_task_return_error(task, error);
    return;
  }
  g_set_object(&check->file, first);
  g_task_return_boolean(task, TRUE);
}

static gboolean find_index(HearthLibrary *self, GFile *file, guint *index) {
  for (guint i = 0; i < self->entries->len; i++) {
    if (g_file_equal(hearth_model_entry_get_file(g_ptr_array_index(self->entries, i)), file)) {
      *index = i;
      return TRUE;
    }
  }
  return FALSE;
}

/* The list of files to look for, and what was found, in the same order. */
typedef struct {
  GPtrArray *entries, *files;
  GArray *missing; /* of gboolean */
} Refresh;

static void refresh_free(Refresh *refresh) {
  g_ptr_array_unref(refresh->entries);
  g_ptr_array_unref(refresh->files);
  g_array_unref(refresh->missing);
  g_free(refresh);
}

static void refresh_in_thread(GTask *task, gpointer source, gpointer task_data, GCancellable *cancellable) {
  Refresh *refresh = task_data;

  for (guint i = 0; i < refresh->files->len; i++) {
    gboolean missing = !g_file_query_exists(g_ptr_array_index(refresh->files, i), cancellable);

    g_array_append_val(refresh->missing, missing);
  }
  g_task_return_boolean(task, TRUE);
}

static void refreshed_cb(GObject *source, GAsyncResult *result, gpointer user_data) {
  Refresh *refresh = g_task_get_task_data(G_TASK(result));

  for (guint i = 0; i < refresh->missing->len; i++)
    hearth_model_entry_set_missing(g_ptr_array_index(refresh->entries, i), g_array_index(refresh->missing, gboolean, i));
}

/* --- GListModel ------------------------------------------------------------------------------------------------------ */

static GType get_item_type(GListModel *model) {
  return HEARTH_TYPE_MODEL_ENTRY;
}

static guint get_n_items(GListModel *model) {
  return HEARTH_LIBRARY(model)->entries->len;
}

static gpointer get_item(GListModel *model, guint position) {
  HearthLibrary *self = HEARTH_LIBRARY(model);

  return position < self->entries->len ? g_object_ref(g_ptr_array_index(self->entries, position)) : NULL;
}

static void list_model_init(GListModelInterface *interface) {
  interface->get_item_type = get_item_type;
  interface->get_n_items = get_n_items;
  interface->get_item = get_item;
}

/* --- GObject overrides ----------------------------------------------------------------------------------------------- */

static void hearth_library_finalize(GObject *object) {
  HearthLibrary *self = HEARTH_LIBRARY(object);

  g_free(self->folder);
  g_ptr_array_unref(self->entries);
  G_OBJECT_CLASS(hearth_library_parent_class)->finalize(object);
}

static void hearth_library_class_init(HearthLibraryClass *klass) {
  G_OBJECT_CLASS(klass)->finalize = hearth_library_finalize;
}

static void hearth_library_init(HearthLibrary *self) {
  self->entries = g_ptr_array_new_with_free_func(g_object_unref);
}

/* --- Public API ------------------------------------------------------------------------------------------------------ */

HearthLibrary *hearth_library_new(const char *folder) {
  g_return_val_if_fail(folder != NULL, NULL);

  HearthLibrary *self = g_object_new(HEARTH_TYPE_LIBRARY, NULL);
  self->folder = g_strdup(folder);
  load(self);
  return self;
}

void hearth_library_add_async(HearthLibrary *self, GFile *file, GCancellable *cancellable, GAsyncReadyCallback callback,
                              gpointer user_data) {
  g_return_if_fail(HEARTH_IS_LIBRARY(self));
  g_return_if_fail(G_IS_FILE(file));

  g_autoptr(GTask) task = g_task_new(self, cancellable, callback, user_data);
  Check *check = g_new0(Check, 1);
  check->file = g_object_ref(file);
  g_task_set_source_tag(task, hearth_library_add_async);
  g_task_set_task_data(task, check, (GDestroyNotify)check_free);
  g_task_run_in_thread(task, check_in_thread);
}

HearthModelEntry *hearth_library_add_finish(HearthLibrary *self, GAsyncResult *result, GError **error) {
  g_autoptr(HearthModelEntry) entry = NULL;
  g_autoptr(GError) save_error = NULL;
  guint index;

  g_return_val_if_fail(HEARTH_IS_LIBRARY(self), NULL);
  g_return_val_if_fail(g_task_is_valid(result, self), NULL);

  if (!g_task_propagate_boolean(G_TASK(result), error))
    return NULL;

  Check *check = g_task_get_task_data(G_TASK(result));
  entry = hearth_model_entry_new(check->file, &check->info);
  if (find_index(self, check->file, &index)) {
    hearth_model_entry_set_untried(entry, hearth_model_entry_get_untried(self->entries->pdata[index]));
    g_object_unref(self->entries->pdata[index]);
    self->entries->pdata[index] = g_object_ref(entry);
    g_list_model_items_changed(G_LIST_MODEL(self), index, 1, 1);
  } else {
    hearth_model_entry_set_untried(entry, TRUE);
    g_ptr_array_add(self->entries, g_object_ref(entry));
    g_list_model_items_changed(G_LIST_MODEL(self), self->entries->len - 1, 0, 1);
  }
  if (!save(self, &save_error)) {
    g_set_error(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_SAVE,
                _("The list of models could not be saved: %s. This model will have to be added again next time."),
                save_error->message);
    return NULL;
  }
  return g_steal_pointer(&entry);
}

void hearth_library_remove(HearthLibrary *self, HearthModelEntry *entry) {
  g_autoptr(GError) error = NULL;
  guint index;

  g_return_if_fail(HEARTH_IS_LIBRARY(self));
  g_return_if_fail(HEARTH_IS_MODEL_ENTRY(entry));

  if (!find_index(self, hearth_model_entry_get_file(entry), &index))
    return;
  g_ptr_array_remove_index(self->entries, index);
  g_list_model_items_changed(G_LIST_MODEL(self), index, 1, 0);
  if (!save(self, &error))
    g_warning("The list of models could not be saved: %s", error->message);
}

HearthModelEntry *hearth_library_find(HearthLibrary *self, GFile *file) {
  guint index;

  g_return_val_if_fail(HEARTH_IS_LIBRARY(self), NULL);
  g_return_val_if_fail(G_IS_FILE(file), NULL);

  return find_index(self, file, &index) ? g_ptr_array_index(self->entries, index) : NULL;
}

void hearth_library_refresh(HearthLibrary *self) {
  g_return_if_fail(HEARTH_IS_LIBRARY(self));

  g_autoptr(GTask) task = g_task_new(self, NULL, refreshed_cb, NULL);
  Refresh *refresh = g_new0(Refresh, 1);
  refresh->entries = g_ptr_array_new_with_free_func(g_object_unref);
  refresh->files = g_ptr_array_new_with_free_func(g_object_unref);
  refresh->missing = g_array_new(FALSE, FALSE, sizeof(gboolean));
  for (guint i = 0; i < self->entries->len; i++) {
    HearthModelEntry *entry = g_ptr_array_index(self->entries, i);

    g_ptr_array_add(refresh->entries, g_object_ref(entry));
    g_ptr_array_add(refresh->files, g_object_ref(hearth_model_entry_get_file(entry)));
  }
  g_task_set_source_tag(task, hearth_library_refresh);
  g_task_set_task_data(task, refresh, (GDestroyNotify)refresh_free);
  g_task_run_in_thread(task, refresh_in_thread);
}
