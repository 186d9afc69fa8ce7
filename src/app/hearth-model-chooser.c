/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth"

#include "app/hearth-model-chooser.h"

#include <glib/gi18n.h>

struct _HearthModelChooser {
  GtkWidget parent_instance;

  GtkWidget *button, *separator, *scroller, *device_box;
  GtkPopover *popover;
  GtkLabel *label, *device_label, *device_detail;
  GtkListBox *list;

  HearthLibrary *library;
  HearthModelLoader *loader;
};

enum { SIGNAL_MISSING, N_SIGNALS };

static guint signals[N_SIGNALS];

G_DEFINE_FINAL_TYPE(HearthModelChooser, hearth_model_chooser, GTK_TYPE_WIDGET)

/* --- Auxiliary ------------------------------------------------------------------------------------------------------- */

static gboolean is_chosen(HearthModelChooser *self, HearthModelEntry *entry) {
  HearthModelEntry *chosen = hearth_model_loader_get_entry(self->loader);

  return chosen && g_file_equal(hearth_model_entry_get_file(chosen), hearth_model_entry_get_file(entry));
}

static void show_chosen(HearthModelChooser *self) {
  HearthModelEntry *entry = hearth_model_loader_get_entry(self->loader);
  gboolean has_models = g_list_model_get_n_items(G_LIST_MODEL(self->library)) > 0;
  g_autofree char *name = NULL;

  gtk_label_set_text(self->label, entry        ? hearth_model_entry_get_name(entry)
                                  : has_models ? _("Choose a Model")
                                               : _("No Model Yet"));
  /* Translators: for screen readers; %s is the name of the model that answers. */
  name = entry ? g_strdup_printf(_("Model: %s"), hearth_model_entry_get_name(entry)) : g_strdup(_("Choose a Model"));
  gtk_accessible_update_property(GTK_ACCESSIBLE(self->button), GTK_ACCESSIBLE_PROPERTY_LABEL, name, -1);
  gtk_widget_set_visible(self->scroller, has_models);
  gtk_widget_set_visible(self->separator, has_models);
  for (int i = 0; gtk_list_box_get_row_at_index(self->list, i); i++) {
    GtkListBoxRow *row = gtk_list_box_get_row_at_index(self->list, i);

    gtk_widget_set_opacity(g_object_get_data(G_OBJECT(row), "check"),
                           is_chosen(self, g_object_get_data(G_OBJECT(row), "entry")) ? 1 : 0);
  }
}

/* Which device answers, with what the engine calls it below, and with how the layers are shared. */
static void show_device(HearthModelChooser *self) {
  const HearthModelFacts *facts = hearth_model_loader_get_facts(self->loader);

  gtk_widget_set_visible(self->device_box, facts != NULL);
  if (!facts)
    return;
  if (facts->gpu_layers > 0 && facts->gpu_layers < facts->layers) {
    /* Translators: of a model, whose other layers are on the processor; then the engine's name for the card. */
    g_autofree char *detail = g_strdup_printf(_("%u of %u layers on the graphics card\n%s"), facts->gpu_layers,
                                              facts->layers, facts->device);

    gtk_label_set_text(self->device_label, _("The graphics card and the processor answer"));
    gtk_label_set_text(self->device_detail, detail);
    return;
  }
  gtk_label_set_text(self->device_label, g_str_has_prefix(facts->device, "vulkan") ? _("The graphics card answers")
                                                                                   : _("The processor answers"));
  gtk_label_set_text(self->device_detail, facts->device);
}

static GtkWidget *create_row(gpointer item, gpointer user_data) {
  HearthModelChooser *self = user_data;
  HearthModelEntry *entry = item;
  const char *name = hearth_model_entry_get_name(entry);
  GtkWidget *row = gtk_list_box_row_new();
  GtkWidget *box = gtk_box_new(GTK_ORIENTATION_HORIZONTAL, 12);
  GtkWidget *texts = gtk_box_new(GTK_ORIENTATION_VERTICAL, 2);
  GtkWidget *title = g_object_new(GTK_TYPE_LABEL, "label", name, "xalign", 0.0, "ellipsize", PANGO_ELLIPSIZE_END,
                                  "max-width-chars", 32, "tooltip-text", name, NULL);
  GtkWidget *subtitle = g_object_new(GTK_TYPE_LABEL, "xalign", 0.0, "ellipsize", PANGO_ELLIPSIZE_END, NULL);
  GtkWidget *check = gtk_image_new_from_icon_name("object-select-symbolic");

  gtk_widget_add_css_class(subtitle, "caption");
  gtk_widget_add_css_class(subtitle, "dimmed");
  g_object_bind_property(entry, "subtitle", subtitle, "label", G_BINDING_SYNC_CREATE);
  gtk_widget_set_hexpand(texts, TRUE);
  gtk_box_append(GTK_BOX(texts), title);
  gtk_box_append(GTK_BOX(texts), subtitle);
  gtk_box_append(GTK_BOX(box), texts);
  gtk_box_append(GTK_BOX(box), check);
  gtk_list_box_row_set_child(GTK_LIST_BOX_ROW(row), box);
  gtk_widget_set_opacity(check, is_chosen(self, entry) ? 1 : 0);
  g_object_set_data(G_OBJECT(row), "check", check);
  g_object_set_data_full(G_OBJECT(row), "entry", g_object_ref(entry), g_object_unref);
  gtk_accessible_update_property(GTK_ACCESSIBLE(row), GTK_ACCESSIBLE_PROPERTY_LABEL, name, -1);
  return row;
}

/* --- Callbacks ------------------------------------------------------------------------------------------------------- */

static void popover_visible_cb(HearthModelChooser *self) {
  if (self->library && gtk_widget_get_visible(GTK_WIDGET(self->popover)))
    hearth_library_refresh(self->library);
}

static void row_activated_cb(HearthModelChooser *self, GtkListBoxRow *row) {
  HearthModelEntry *entry = g_object_get_data(G_OBJECT(row), "entry");

  gtk_popover_popdown(self->popover);
  if (hearth_model_entry_get_missing(entry)) {
    g_signal_emit(self, signals[SIGNAL_MISSING], 0, entry);
    return;
  }
  if (!is_chosen(self, entry) || hearth_model_loader_get_state(self->loader) != HEARTH_LOADER_READY)
    hearth_model_loader_load(self->loader, entry);
}

static void add_clicked_cb(HearthModelChooser *self) {
  gtk_popover_popdown(self->popover);
}

/* --- GObject overrides ----------------------------------------------------------------------------------------------- */

static void hearth_model_chooser_dispose(GObject *object) {
  HearthModelChooser *self = HEARTH_MODEL_CHOOSER(object);

  gtk_widget_dispose_template(GTK_WIDGET(self), HEARTH_TYPE_MODEL_CHOOSER);
  g_clear_object(&self->library);
  g_clear_object(&self->loader);
  G_OBJECT_CLASS(hearth_model_chooser_parent_class)->dispose(object);
}

static void hearth_model_chooser_class_init(HearthModelChooserClass *klass) {
  GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(klass);

  G_OBJECT_CLASS(klass)->dispose = hearth_model_chooser_dispose;
  signals[SIGNAL_MISSING] = g_signal_new("missing", HEARTH_TYPE_MODEL_CHOOSER, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                                         G_TYPE_NONE, 1, HEARTH_TYPE_MODEL_ENTRY);
  gtk_widget_class_set_template_from_resource(widget_class, "/dev/hearth/Hearth/hearth-model-chooser.ui");
  gtk_widget_class_bind_template_child(widget_class, HearthModelChooser, button);
  gtk_widget_class_bind_template_child(widget_class, HearthModelChooser, separator);
  gtk_widget_class_bind_template_child(widget_class, HearthModelChooser, scroller);
  gtk_widget_class_bind_template_child(widget_class, HearthModelChooser, popover);
  gtk_widget_class_bind_template_child(widget_class, HearthModelChooser, label);
  gtk_widget_class_bind_template_child(widget_class, HearthModelChooser, device_box);
  gtk_widget_class_bind_template_child(widget_class, HearthModelChooser, device_label);
  gtk_widget_class_bind_template_child(widget_class, HearthModelChooser, device_detail);
  gtk_widget_class_bind_template_child(widget_class, HearthModelChooser, list);
  gtk_widget_class_bind_template_callback(widget_class, popover_visible_cb);
  gtk_widget_class_bind_template_callback(widget_class, row_activated_cb);
  gtk_widget_class_bind_template_callback(widget_class, add_clicked_cb);
}

static void hearth_model_chooser_init(HearthModelChooser *self) {
  gtk_widget_init_template(GTK_WIDGET(self));
}

/* --- Public API ------------------------------------------------------------------------------------------------------ */

void hearth_model_chooser_set_models(HearthModelChooser *self, HearthLibrary *library, HearthModelLoader *loader) {
  g_return_if_fail(HEARTH_IS_MODEL_CHOOSER(self));
  g_return_if_fail(!self->library);

  self->library = g_object_ref(library);
  self->loader = g_object_ref(loader);
  gtk_list_box_bind_model(self->list, G_LIST_MODEL(library), create_row, self, NULL);
  g_signal_connect_object(loader, "notify::entry", G_CALLBACK(show_chosen), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(library, "items-changed", G_CALLBACK(show_chosen), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(loader, "notify::state", G_CALLBACK(show_device), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(loader, "notify::device-notice", G_CALLBACK(show_device), self, G_CONNECT_SWAPPED);
  show_chosen(self);
  show_device(self);
}
