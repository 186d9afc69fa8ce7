/* One model of the library: what its file's header said when it was added, and whether the file is still there.
 *
 * Properties: "missing" (boolean), "name", "subtitle" (strings, for lists).
 */
#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

#define HEARTH_TYPE_MODEL_ENTRY (hearth_model_entry_get_type())
G_DECLARE_FINAL_TYPE(HearthModelEntry, hearth_model_entry, HEARTH, MODEL_ENTRY, GObject)

/* Plain values; NULL and 0 where the header does not tell. */
typedef struct {
  char *name;          /* from the header, else from the file's name; for people, one line */
  char *architecture;  /* the header's word, e.g. "qwen3" */
  guint64 size_bytes;  /* on disk, all parts of a split model together */
  double bits_per_weight;
  gboolean has_template; /* knows how to hold a conversation */
} HearthModelInfo;
void hearth_model_info_clear(HearthModelInfo *info);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(HearthModelInfo, hearth_model_info_clear)

/* info is copied. */
HearthModelEntry *hearth_model_entry_new(GFile *file, const HearthModelInfo *info);

GFile *hearth_model_entry_get_file(HearthModelEntry *self); /* the first part of a split model */
const HearthModelInfo *hearth_model_entry_get_info(HearthModelEntry *self);
const char *hearth_model_entry_get_name(HearthModelEntry *self);
const char *hearth_model_entry_get_quality(HearthModelEntry *self); /* for people: "Good quality" */
char *hearth_model_entry_dup_subtitle(HearthModelEntry *self);      /* "Good quality, 4.9 GB", or that it is missing */
gboolean hearth_model_entry_get_missing(HearthModelEntry *self);
void hearth_model_entry_set_missing(HearthModelEntry *self, gboolean missing);
/* Added in this session and not loaded yet: whether Hearth can run it is not known. */
gboolean hearth_model_entry_get_untried(HearthModelEntry *self);
void hearth_model_entry_set_untried(HearthModelEntry *self, gboolean untried);

G_END_DECLS
