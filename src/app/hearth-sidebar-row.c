/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth"

#include "app/hearth-sidebar-row.h"

#include <glib/gi18n.h>

struct _HearthSidebarRow {
  GtkListBoxRow parent_instance;

  GtkLabel *title;
  GtkWidget *spinner;
  GtkMenuButton *menu_button;

  HearthConversation *conversation;
};

G_DEFINE_FINAL_TYPE(HearthSidebarRow, hearth_sidebar_row, GTK_TYPE_LIST_BOX_ROW)

static void show_conversation(HearthSidebarRow *self) {
  const char *title = hearth_conversation_get_title(self->conversation);
  gboolean is_busy = hearth_conversation_get_busy(self->conversation);

  gtk_label_set_text(self->title, title);
  gtk_widget_set_visible(self->spinner, is_busy);
  gtk_accessible_update_property(GTK_ACCESSIBLE(self), GTK_ACCESSIBLE_PROPERTY_LABEL, title,
                                 GTK_ACCESSIBLE_PROPERTY_DESCRIPTION, is_busy ? _("Answering") : "", -1);
}

/* Made when it is opened: a list of a thousand conversations has no thousand menus. */
static void create_menu(GtkMenuButton *button, gpointer user_data) {
  HearthSidebarRow *self = HEARTH_SIDEBAR_ROW(user_data);
  gint64 id = hearth_conversation_get_id(self->conversation);
  g_autoptr(GMenu) menu = g_menu_new();
  g_autoptr(GMenuItem) rename = g_menu_item_new(_("_Rename…"), NULL);
  g_autoptr(GMenuItem) delete = g_menu_item_new(_("_Delete"), NULL);

  g_menu_item_set_action_and_target(rename, "win.rename", "x", id);
  g_menu_item_set_action_and_target(delete, "win.delete", "x", id);
  g_menu_append_item(menu, rename);
  g_menu_append_item(menu, delete);
  gtk_menu_button_set_popover(button, gtk_popover_menu_new_from_model(G_MENU_MODEL(menu)));
}

static void pressed_cb(HearthSidebarRow *self) {
  gtk_menu_button_popup(self->menu_button);
}

static void long_pressed_cb(HearthSidebarRow *self) {
  gtk_menu_button_popup(self->menu_button);
}

static void hearth_sidebar_row_dispose(GObject *object) {
  g_clear_object(&HEARTH_SIDEBAR_ROW(object)->conversation);
  gtk_widget_dispose_template(GTK_WIDGET(object), HEARTH_TYPE_SIDEBAR_ROW);
  G_OBJECT_CLASS(hearth_sidebar_row_parent_class)->dispose(object);
}

static void hearth_sidebar_row_class_init(HearthSidebarRowClass *klass) {
  GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(klass);

  G_OBJECT_CLASS(klass)->dispose = hearth_sidebar_row_dispose;
  gtk_widget_class_set_template_from_resource(widget_class, "/dev/hearth/Hearth/hearth-sidebar-row.ui");
  gtk_widget_class_bind_template_child(widget_class, HearthSidebarRow, title);
  gtk_widget_class_bind_template_child(widget_class, HearthSidebarRow, spinner);
  gtk_widget_class_bind_template_child(widget_class, HearthSidebarRow, menu_button);
  gtk_widget_class_bind_template_callback(widget_class, pressed_cb);
  gtk_widget_class_bind_template_callback(widget_class, long_pressed_cb);
}

static void hearth_sidebar_row_init(HearthSidebarRow *self) {
  gtk_widget_init_template(GTK_WIDGET(self));
  gtk_menu_button_set_create_popup_func(self->menu_button, create_menu, self, NULL);
}

GtkWidget *hearth_sidebar_row_new(HearthConversation *conversation) {
  g_return_val_if_fail(HEARTH_IS_CONVERSATION(conversation), NULL);

  HearthSidebarRow *self = g_object_new(HEARTH_TYPE_SIDEBAR_ROW, NULL);
  self->conversation = g_object_ref(conversation);
  g_signal_connect_object(conversation, "notify::title", G_CALLBACK(show_conversation), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(conversation, "notify::busy", G_CALLBACK(show_conversation), self, G_CONNECT_SWAPPED);
  show_conversation(self);
  return GTK_WIDGET(self);
}

HearthConversation *hearth_sidebar_row_get_conversation(HearthSidebarRow *self) {
  g_return_val_if_fail(HEARTH_IS_SIDEBAR_ROW(self), NULL);

  return self->conversation;
}
