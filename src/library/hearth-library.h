/* The models on this computer that the person has added: a GListModel of HearthModelEntry.
 *
 * Files stay where they are; the list remembers where. It is written to models.ini in its folder at every change, whole or not
 * at all. All calls come from one thread; what blocks on the disk runs in another.
 */
#pragma once

#include "library/hearth-model-check.h"
#include "library/hearth-model-entry.h"

G_BEGIN_DECLS

#define HEARTH_TYPE_LIBRARY (hearth_library_get_type())
G_DECLARE_FINAL_TYPE(HearthLibrary, hearth_library, HEARTH, LIBRARY, GObject)

/* folder: where models.ini lies; it is made when something is saved. A list that cannot be read is set aside, not
 * overwritten, and the library is empty. */
HearthLibrary *hearth_library_new(const char *folder);

/* Checks the file's header and adds it, untried. A file that is in the list already gives its entry, read again, and as tried
 * as it was. Errors: HEARTH_LIBRARY_ERROR, with a sentence for people. When only the list could not be saved
 * (HEARTH_LIBRARY_ERROR_SAVE) the model is in the library all the same until the app ends. */
void hearth_library_add_async(HearthLibrary *self, GFile *file, GCancellable *cancellable, GAsyncReadyCallback callback,
                              gpointer user_data);
HearthModelEntry *hearth_library_add_finish(HearthLibrary *self, GAsyncResult *result, GError **error);

/* Takes a model off the list; its file is not touched. */
void hearth_library_remove(HearthLibrary *self, HearthModelEntry *entry);

/* The entry of a file, or NULL (borrowed). */
HearthModelEntry *hearth_library_find(HearthLibrary *self, GFile *file);

/* Looks in a thread which files are still there and sets "missing" of the entries. */
void hearth_library_refresh(HearthLibrary *self);

G_END_DECLS
