/* The app: one instance, its window, and what the window shows: library, engine, model and conversations.
 *
 * Files come in by drop, by the file portal, by "open with" and by the action app.add-model (a path as text): all through
 * hearth_application_add_files. */
#pragma once

#include "app/hearth-history.h"

#include <adwaita.h>

G_BEGIN_DECLS

#define HEARTH_TYPE_APPLICATION (hearth_application_get_type())
G_DECLARE_FINAL_TYPE(HearthApplication, hearth_application, HEARTH, APPLICATION, AdwApplication)

HearthApplication *hearth_application_new(void);

/* Adds files to the library where they lie, loads the first one that is a model, and starts a conversation with it. What is
 * refused is told in one dialog. */
void hearth_application_add_files(HearthApplication *self, GFile **files, guint n_files);

HearthLibrary *hearth_application_get_library(HearthApplication *self);
HearthModelLoader *hearth_application_get_loader(HearthApplication *self);
HearthHistory *hearth_application_get_history(HearthApplication *self);
GSettings *hearth_application_get_settings(HearthApplication *self);

G_END_DECLS
