/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth"

#include "app/hearth-window-private.h"

static GdkDragAction enter_cb(HearthWindow *self) {
  gtk_revealer_set_reveal_child(self->drop_revealer, TRUE);
  return GDK_ACTION_COPY;
}

static void leave_cb(HearthWindow *self) {
  gtk_revealer_set_reveal_child(self->drop_revealer, FALSE);
}

static gboolean drop_cb(HearthWindow *self, const GValue *value) {
  GtkApplication *application = gtk_window_get_application(GTK_WINDOW(self));
  g_autoptr(GSList) list = NULL;
  g_autoptr(GPtrArray) files = g_ptr_array_new();

  gtk_revealer_set_reveal_child(self->drop_revealer, FALSE);
  if (!G_VALUE_HOLDS(value, GDK_TYPE_FILE_LIST) || !application)
    return FALSE;
  list = gdk_file_list_get_files(g_value_get_boxed(value));
  for (GSList *l = list; l; l = l->next)
    g_ptr_array_add(files, l->data);
  hearth_application_add_files(HEARTH_APPLICATION(application), (GFile **)files->pdata, files->len);
  return TRUE;
}

void hearth_window_set_up_drops(HearthWindow *self) {
  GtkDropTarget *target = gtk_drop_target_new(GDK_TYPE_FILE_LIST, GDK_ACTION_COPY);

  /* Before the composer, which would take the files' names as text. */
  gtk_event_controller_set_propagation_phase(GTK_EVENT_CONTROLLER(target), GTK_PHASE_CAPTURE);
  g_signal_connect_object(target, "enter", G_CALLBACK(enter_cb), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(target, "leave", G_CALLBACK(leave_cb), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(target, "drop", G_CALLBACK(drop_cb), self, G_CONNECT_SWAPPED);
  gtk_widget_add_controller(GTK_WIDGET(self), GTK_EVENT_CONTROLLER(target));
}
