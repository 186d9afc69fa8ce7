/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth"

#include "app/hearth-load-strip.h"

#include "app/hearth-sentences.h"

#include <glib/gi18n.h>

struct _HearthLoadStrip {
  GtkWidget parent_instance;

  GtkRevealer *revealer;
  GtkLabel *title, *detail;
  GtkProgressBar *bar;

  HearthModelLoader *loader;
};

G_DEFINE_FINAL_TYPE(HearthLoadStrip, hearth_load_strip, GTK_TYPE_WIDGET)

static void show_progress(HearthLoadStrip *self) {
  double fraction = hearth_model_loader_get_fraction(self->loader);
  gint64 seconds = hearth_model_loader_get_seconds_left(self->loader);
  g_autofree char *text = NULL;

  if (hearth_model_loader_get_state(self->loader) != HEARTH_LOADER_LOADING)
    return;
  gtk_progress_bar_set_fraction(self->bar, MAX(fraction, 0));
  if (fraction < 0) {
    gtk_label_set_text(self->detail, _("Starting"));
    return;
  }
  if (fraction >= 1) {
    gtk_label_set_text(self->detail, _("Almost done"));
    return;
  }
  if (seconds >= 0) {
    g_autofree char *left = hearth_sentence_for_time_left(seconds);

    /* Translators: a percentage, then e.g. "About 3 seconds left". */
    text = g_strdup_printf(_("%d %% · %s"), (int)(100 * fraction), left);
  } else {
    text = g_strdup_printf(_("%d %%"), (int)(100 * fraction));
  }
  gtk_label_set_text(self->detail, text);
}

static void show_state(HearthLoadStrip *self) {
  HearthModelEntry *entry = hearth_model_loader_get_entry(self->loader);
  gboolean is_loading = hearth_model_loader_get_state(self->loader) == HEARTH_LOADER_LOADING;

  if (is_loading && entry) {
    /* Translators: %s is the name of a model. */
    g_autofree char *title = g_strdup_printf(_("Getting %s Ready"), hearth_model_entry_get_name(entry));

    gtk_label_set_text(self->title, title);
    show_progress(self);
  }
  gtk_revealer_set_reveal_child(self->revealer, is_loading);
}

static void cancel_clicked_cb(HearthLoadStrip *self) {
  hearth_model_loader_cancel(self->loader);
}

static void hearth_load_strip_dispose(GObject *object) {
  g_clear_object(&HEARTH_LOAD_STRIP(object)->loader);
  gtk_widget_dispose_template(GTK_WIDGET(object), HEARTH_TYPE_LOAD_STRIP);
  G_OBJECT_CLASS(hearth_load_strip_parent_class)->dispose(object);
}

static void hearth_load_strip_class_init(HearthLoadStripClass *klass) {
  GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(klass);

  G_OBJECT_CLASS(klass)->dispose = hearth_load_strip_dispose;
  gtk_widget_class_set_template_from_resource(widget_class, "/dev/hearth/Hearth/hearth-load-strip.ui");
  gtk_widget_class_bind_template_child(widget_class, HearthLoadStrip, revealer);
  gtk_widget_class_bind_template_child(widget_class, HearthLoadStrip, title);
  gtk_widget_class_bind_template_child(widget_class, HearthLoadStrip, detail);
  gtk_widget_class_bind_template_child(widget_class, HearthLoadStrip, bar);
  gtk_widget_class_bind_template_callback(widget_class, cancel_clicked_cb);
}

static void hearth_load_strip_init(HearthLoadStrip *self) {
  gtk_widget_init_template(GTK_WIDGET(self));
}

void hearth_load_strip_set_loader(HearthLoadStrip *self, HearthModelLoader *loader) {
  g_return_if_fail(HEARTH_IS_LOAD_STRIP(self));
  g_return_if_fail(!self->loader);

  self->loader = g_object_ref(loader);
  g_signal_connect_object(loader, "notify::state", G_CALLBACK(show_state), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(loader, "notify::entry", G_CALLBACK(show_state), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(loader, "notify::fraction", G_CALLBACK(show_progress), self, G_CONNECT_SWAPPED);
  show_state(self);
}
