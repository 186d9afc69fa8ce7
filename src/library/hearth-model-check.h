/* Reads a model file's header and says in plain words what is wrong with it. Blocks on the disk: call it in a thread. */
#pragma once

#include "library/hearth-model-entry.h"

G_BEGIN_DECLS

/* Messages are whole sentences for people; they do not repeat the file's name. */
#define HEARTH_LIBRARY_ERROR (hearth_library_error_quark())
typedef enum {
  HEARTH_LIBRARY_ERROR_FAILED,      /* anything else */
  HEARTH_LIBRARY_ERROR_NOT_FOUND,   /* no such file, or a part of a split model is missing */
  HEARTH_LIBRARY_ERROR_NOT_LOCAL,   /* not on a disk of this computer */
  HEARTH_LIBRARY_ERROR_READ,        /* not permitted or not readable */
  HEARTH_LIBRARY_ERROR_NOT_A_MODEL, /* no GGUF file, whatever its name says */
  HEARTH_LIBRARY_ERROR_DAMAGED,     /* cut short, or against the format's rules */
  HEARTH_LIBRARY_ERROR_LIMIT,       /* past a limit of ours */
  HEARTH_LIBRARY_ERROR_UNSUPPORTED, /* of a kind that cannot be used; named */
  HEARTH_LIBRARY_ERROR_SAVE         /* the list of models could not be written */
} HearthLibraryError;
GQuark hearth_library_error_quark(void);

/* Fills *info, and *first with the file that stands for the model (its first part where it is split). file may be a
 * folder with one model in it. Thread-safe. */
gboolean hearth_model_check(GFile *file, GFile **first, HearthModelInfo *info, GError **error);

G_END_DECLS
