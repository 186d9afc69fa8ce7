/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth-library"

#include "library/hearth-model-entry.h"

#include <glib/gi18n.h>

struct _HearthModelEntry {
  GObject parent_instance;

  GFile *file;
  HearthModelInfo info;
  gboolean missing, untried;
};

enum { PROP_0, PROP_MISSING, PROP_NAME, PROP_SUBTITLE, N_PROPS };

static GParamSpec *properties[N_PROPS];

G_DEFINE_FINAL_TYPE(HearthModelEntry, hearth_model_entry, G_TYPE_OBJECT)

void hearth_model_info_clear(HearthModelInfo *info) {
  g_clear_pointer(&info->name, g_free);
  g_clear_pointer(&info->architecture, g_free);
}

/* --- GObject overrides ----------------------------------------------------------------------------------------------- */

static void hearth_model_entry_get_property(GObject *object, guint id, GValue *value, GParamSpec *pspec) {
  HearthModelEntry *self = HEARTH_MODEL_ENTRY(object);

  switch (id) {
  case PROP_MISSING:
    g_value_set_boolean(value, hearth_model_entry_get_missing(self));
    break;
  case PROP_NAME:
    g_value_set_string(value, hearth_model_entry_get_name(self));
    break;
  case PROP_SUBTITLE:
    g_value_take_string(value, hearth_model_entry_dup_subtitle(self));
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, pspec);
  }
}

static void hearth_model_entry_finalize(GObject *object) {
  HearthModelEntry *self = HEARTH_MODEL_ENTRY(object);

  g_clear_object(&self->file);
  hearth_model_info_clear(&self->info);
  G_OBJECT_CLASS(hearth_model_entry_parent_class)->finalize(object);
}

static void hearth_model_entry_class_init(HearthModelEntryClass *klass) {
  GObjectClass *object_class = G_OBJECT_CLASS(klass);
  GParamFlags flags = G_PARAM_READABLE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY;

  object_class->get_property = hearth_model_entry_get_property;
  object_class->finalize = hearth_model_entry_finalize;
  properties[PROP_MISSING] = g_param_spec_boolean("missing", NULL, NULL, FALSE, flags);
  properties[PROP_NAME] = g_param_spec_string("name", NULL, NULL, NULL, flags);
  properties[PROP_SUBTITLE] = g_param_spec_string("subtitle", NULL, NULL, NULL, flags);
  g_object_class_install_properties(object_class, N_PROPS, properties);
}

static void hearth_model_entry_init(HearthModelEntry *self) {
}

/* --- Public API ------------------------------------------------------------------------------------------------------ */

HearthModelEntry *hearth_model_entry_new(GFile *file, const HearthModelInfo *info) {
  g_return_val_if_fail(G_IS_FILE(file), NULL);
  g_return_val_if_fail(info != NULL, NULL);

  HearthModelEntry *self = g_object_new(HEARTH_TYPE_MODEL_ENTRY, NULL);
  self->file = g_object_ref(file);
  self->info = *info;
  self->info.name = info->name ? g_strdup(info->name) : g_file_get_basename(file);
  self->info.architecture = g_strdup(info->architecture);
  return self;
}

GFile *hearth_model_entry_get_file(HearthModelEntry *self) {
  g_return_val_if_fail(HEARTH_IS_MODEL_ENTRY(self), NULL);

  return self->file;
}

const HearthModelInfo *hearth_model_entry_get_info(HearthModelEntry *self) {
  g_return_val_if_fail(HEARTH_IS_MODEL_ENTRY(self), NULL);

  return &self->info;
}

const char *hearth_model_entry_get_name(HearthModelEntry *self) {
  g_return_val_if_fail(HEARTH_IS_MODEL_ENTRY(self), NULL);

  return self->info.name;
}

const char *hearth_model_entry_get_quality(HearthModelEntry *self) {
  double bits;

  g_return_val_if_fail(HEARTH_IS_MODEL_ENTRY(self), NULL);

  /* The borders lie between what the usual 16, 8, 6, 5, 4, 3 and 2 bit files weigh, mixed types included. */
  bits = self->info.bits_per_weight;
  if (bits >= 12)
    return _("Full quality");
  if (bits >= 7.5)
    return _("Very high quality");
  if (bits >= 5.3)
    return _("High quality");
  if (bits >= 4)
    return _("Good quality");
  if (bits >= 3)
    return _("Reduced quality");
  return bits > 0 ? _("Low quality") : "";
}

char *hearth_model_entry_dup_subtitle(HearthModelEntry *self) {
  const char *quality;

  g_return_val_if_fail(HEARTH_IS_MODEL_ENTRY(self), NULL);

  if (self->missing)
    return g_strdup(_("The file is not there any more"));
  g_autofree char *size = g_format_size(self->info.size_bytes);
  quality = hearth_model_entry_get_quality(self);
  if (!*quality)
    return g_steal_pointer(&size);
  /* Translators: a model's quality and its size, e.g. "Good quality, 4.9 GB". */
  return g_strdup_printf(_("%s, %s"), quality, size);
}

gboolean hearth_model_entry_get_missing(HearthModelEntry *self) {
  g_return_val_if_fail(HEARTH_IS_MODEL_ENTRY(self), FALSE);

  return self->missing;
}

void hearth_model_entry_set_missing(HearthModelEntry *self, gboolean missing) {
  g_return_if_fail(HEARTH_IS_MODEL_ENTRY(self));

  missing = !!missing;
  if (self->missing == missing)
    return;
  self->missing = missing;
  g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_MISSING]);
  g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_SUBTITLE]);
}

gboolean hearth_model_entry_get_untried(HearthModelEntry *self) {
  g_return_val_if_fail(HEARTH_IS_MODEL_ENTRY(self), FALSE);

  return self->untried;
}

void hearth_model_entry_set_untried(HearthModelEntry *self, gboolean untried) {
  g_return_if_fail(HEARTH_IS_MODEL_ENTRY(self));

  self->untried = !!untried;
}
