/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth"

#include "app/hearth-window-private.h"

#include "app/hearth-sidebar-row.h"

#include <glib/gi18n.h>
#include <string.h>

G_DEFINE_FINAL_TYPE(HearthWindow, hearth_window, ADW_TYPE_APPLICATION_WINDOW)

/* --- Auxiliary ------------------------------------------------------------------------------------------------------- */

static gboolean is_empty_draft(HearthConversation *conversation) {
  return conversation && hearth_conversation_get_id(conversation) == 0 &&
         g_list_model_get_n_items(hearth_conversation_get_messages(conversation)) == 0;
}

/* The row of a conversation, NULL when it has none. */
static GtkListBoxRow *find_row(HearthWindow *self, HearthConversation *conversation) {
  for (int i = 0; gtk_list_box_get_row_at_index(self->list, i); i++) {
    GtkListBoxRow *row = gtk_list_box_get_row_at_index(self->list, i);

    if (hearth_sidebar_row_get_conversation(HEARTH_SIDEBAR_ROW(row)) == conversation)
      return row;
  }
  return NULL;
}

static void show_sidebar(HearthWindow *self) {
  const char *name = "list";

  if (g_list_model_get_n_items(G_LIST_MODEL(self->history)) == 0)
    name = "empty";
  else if (g_list_model_get_n_items(G_LIST_MODEL(self->found)) == 0)
    name = "not-found";
  gtk_stack_set_visible_child_name(self->sidebar_stack, name);
}

static void show_content(HearthWindow *self) {
  gboolean has_models = g_list_model_get_n_items(G_LIST_MODEL(self->library)) > 0;
  gboolean shows_welcome = !has_models && is_empty_draft(self->conversation);

  gtk_stack_set_visible_child_name(self->content_stack, shows_welcome ? "no-model" : "conversation");
}

static void select_current_row(HearthWindow *self) {
  gtk_list_box_select_row(self->list, find_row(self, self->conversation));
}

static void show_busy(HearthWindow *self) {
  gboolean is_busy = self->conversation && hearth_conversation_get_busy(self->conversation);

  gtk_widget_action_set_enabled(GTK_WIDGET(self), "win.stop", is_busy);
}

static void show_conversation(HearthWindow *self, HearthConversation *conversation) {
  if (self->conversation != conversation) {
    if (self->conversation)
      g_signal_handlers_disconnect_by_func(self->conversation, show_busy, self);
    g_set_object(&self->conversation, conversation);
    g_signal_connect_object(conversation, "notify::busy", G_CALLBACK(show_busy), self, G_CONNECT_SWAPPED);
    hearth_conversation_page_set_conversation(self->page, conversation);
  }
  select_current_row(self);
  show_busy(self);
  show_content(self);
}

static void focus_content(HearthWindow *self) {
  gboolean shows_welcome = g_strcmp0(gtk_stack_get_visible_child_name(self->content_stack), "no-model") == 0;

  gtk_widget_grab_focus(shows_welcome ? self->choose_button : GTK_WIDGET(self->page));
}

/* --- Callbacks ------------------------------------------------------------------------------------------------------- */

static void row_activated_cb(HearthWindow *self, GtkListBoxRow *row) {
  show_conversation(self, hearth_sidebar_row_get_conversation(HEARTH_SIDEBAR_ROW(row)));
  adw_navigation_split_view_set_show_content(self->split_view, TRUE);
  focus_content(self);
}

static void history_changed_cb(HearthWindow *self) {
  select_current_row(self);
  show_sidebar(self);
}

static GtkWidget *create_row(gpointer item, gpointer user_data) {
  return hearth_sidebar_row_new(item);
}

static gboolean filter_conversation(gpointer item, gpointer user_data) {
  HearthWindow *self = user_data;
  g_autofree char *title = NULL;

  if (!self->search_words)
    return TRUE;
  title = g_utf8_casefold(hearth_conversation_get_title(item), -1);
  return strstr(title, self->search_words) != NULL;
}

static void search_changed_cb(HearthWindow *self) {
  const char *text = gtk_editable_get_text(GTK_EDITABLE(self->search_entry));

  g_clear_pointer(&self->search_words, g_free);
  if (*text)
    self->search_words = g_utf8_casefold(text, -1);
  gtk_filter_changed(GTK_FILTER(self->filter), GTK_FILTER_CHANGE_DIFFERENT);
}

static void search_activated_cb(HearthWindow *self) {
  GtkListBoxRow *row = gtk_list_box_get_row_at_index(self->list, 0);

  if (row)
    row_activated_cb(self, row);
}

static void remove_missing_cb(HearthWindow *self, const char *response, AdwAlertDialog *dialog) {
  HearthModelEntry *entry = g_object_get_data(G_OBJECT(dialog), "entry");

  if (g_strcmp0(response, "remove") != 0)
    return;
  hearth_model_loader_forget(self->loader, entry);
  hearth_library_remove(self->library, entry);
}

static void model_missing_cb(HearthWindow *self, HearthModelEntry *entry) {
  g_autofree char *path = g_file_get_parse_name(hearth_model_entry_get_file(entry));
  AdwDialog *dialog = adw_alert_dialog_new(_("The Model Is Not There Any More"), NULL);

  adw_alert_dialog_format_body(ADW_ALERT_DIALOG(dialog),
                               _("Its file was moved, renamed or deleted:\n%s\n\nIf it is somewhere else now, drop it on this "
                                 "window again."),
                               path);
  adw_alert_dialog_add_responses(ADW_ALERT_DIALOG(dialog), "close", _("_Close"), "remove", _("_Remove From List"), NULL);
  g_object_set_data_full(G_OBJECT(dialog), "entry", g_object_ref(entry), g_object_unref);
  g_signal_connect_object(dialog, "response", G_CALLBACK(remove_missing_cb), self, G_CONNECT_SWAPPED);
  adw_dialog_present(dialog, GTK_WIDGET(self));
}

static void remedy_cb(HearthWindow *self, int remedy) {
  if (remedy == HEARTH_REMEDY_ADD_MODEL)
    gtk_widget_activate_action(GTK_WIDGET(self), "app.choose-model", NULL);
  else if (remedy == HEARTH_REMEDY_NEW_CONVERSATION)
    hearth_window_begin_conversation(self);
}

static void undo_delete_cb(HearthWindow *self, AdwToast *toast) {
  HearthConversation *conversation = g_object_get_data(G_OBJECT(toast), "conversation");
  g_autoptr(GError) error = NULL;

  if (!hearth_history_restore(self->history, conversation, &error)) {
    g_autofree char *sentence = hearth_sentence_for_error(error, NULL);

    hearth_window_tell(self, _("The Conversation Was Not Restored"), sentence);
    return;
  }
  show_conversation(self, conversation);
}

/* --- Actions --------------------------------------------------------------------------------------------------------- */

static void delete_action(GtkWidget *widget, const char *name, GVariant *parameter) {
  HearthWindow *self = HEARTH_WINDOW(widget);
  HearthConversation *found = hearth_history_find(self->history, g_variant_get_int64(parameter));
  g_autoptr(HearthConversation) conversation = found ? g_object_ref(found) : NULL;
  g_autoptr(GError) error = NULL;
  AdwToast *toast;

  if (!conversation)
    return;
  if (!hearth_history_delete(self->history, conversation, &error)) {
    g_autofree char *sentence = hearth_sentence_for_error(error, NULL);

    hearth_window_tell(self, _("The Conversation Was Not Deleted"), sentence);
    return;
  }
  if (conversation == self->conversation) {
    g_autoptr(HearthConversation) draft = hearth_history_new_draft(self->history);

    show_conversation(self, draft);
  }
  /* Translators: %s is the title of a conversation. */
  toast = adw_toast_new_format(_("“%s” deleted"), hearth_conversation_get_title(conversation));
  adw_toast_set_use_markup(toast, FALSE);
  adw_toast_set_button_label(toast, _("_Undo"));
  g_object_set_data_full(G_OBJECT(toast), "conversation", g_object_ref(conversation), g_object_unref);
  g_signal_connect_object(toast, "button-clicked", G_CALLBACK(undo_delete_cb), self, G_CONNECT_SWAPPED);
  adw_toast_overlay_add_toast(self->toast_overlay, toast);
}

static void renamed_cb(HearthWindow *self, const char *response, AdwAlertDialog *dialog) {
  HearthConversation *conversation = g_object_get_data(G_OBJECT(dialog), "conversation");
  g_autofree char *title = g_strdup(gtk_editable_get_text(g_object_get_data(G_OBJECT(dialog), "entry")));
  g_autoptr(GError) error = NULL;

  g_strstrip(title);
  if (g_strcmp0(response, "rename") != 0 || !*title)
    return;
  if (!hearth_conversation_rename(conversation, title, &error)) {
    g_autofree char *sentence = hearth_sentence_for_error(error, NULL);

    hearth_window_tell(self, _("The Conversation Was Not Renamed"), sentence);
  }
}

static void ask_for_title(HearthWindow *self, HearthConversation *conversation) {
  AdwDialog *dialog = adw_alert_dialog_new(_("Rename Conversation"), NULL);
  GtkWidget *entry = gtk_entry_new();

  gtk_editable_set_text(GTK_EDITABLE(entry), hearth_conversation_get_title(conversation));
  gtk_entry_set_activates_default(GTK_ENTRY(entry), TRUE);
  gtk_accessible_update_property(GTK_ACCESSIBLE(entry), GTK_ACCESSIBLE_PROPERTY_LABEL, _("Title"), -1);
  adw_alert_dialog_add_responses(ADW_ALERT_DIALOG(dialog), "cancel", _("_Cancel"), "rename", _("_Rename"), NULL);
  adw_alert_dialog_set_response_appearance(ADW_ALERT_DIALOG(dialog), "rename", ADW_RESPONSE_SUGGESTED);
  adw_alert_dialog_set_default_response(ADW_ALERT_DIALOG(dialog), "rename");
  adw_alert_dialog_set_close_response(ADW_ALERT_DIALOG(dialog), "cancel");
  adw_alert_dialog_set_extra_child(ADW_ALERT_DIALOG(dialog), entry);
  g_object_set_data(G_OBJECT(dialog), "entry", entry);
  g_object_set_data_full(G_OBJECT(dialog), "conversation", g_object_ref(conversation), g_object_unref);
  g_signal_connect_object(dialog, "response", G_CALLBACK(renamed_cb), self, G_CONNECT_SWAPPED);
  adw_dialog_present(dialog, GTK_WIDGET(self));
  gtk_widget_grab_focus(entry);
}

static void rename_action(GtkWidget *widget, const char *name, GVariant *parameter) {
  HearthWindow *self = HEARTH_WINDOW(widget);
  HearthConversation *conversation = hearth_history_find(self->history, g_variant_get_int64(parameter));

  if (conversation)
    ask_for_title(self, conversation);
}

static void rename_this_action(GtkWidget *widget, const char *name, GVariant *parameter) {
  HearthWindow *self = HEARTH_WINDOW(widget);

  if (hearth_conversation_get_id(self->conversation) != 0)
    ask_for_title(self, self->conversation);
}

static void stop_action(GtkWidget *widget, const char *name, GVariant *parameter) {
  hearth_conversation_stop(HEARTH_WINDOW(widget)->conversation);
}

static void search_action(GtkWidget *widget, const char *name, GVariant *parameter) {
  HearthWindow *self = HEARTH_WINDOW(widget);

  adw_navigation_split_view_set_show_content(self->split_view, FALSE);
  gtk_search_bar_set_search_mode(self->search_bar, TRUE);
  gtk_widget_grab_focus(GTK_WIDGET(self->search_entry));
}

/* The sidebar is the way to other conversations: where it is hidden it comes up, where it stands beside the conversation it
 * gets the keyboard, and back. */
static void sidebar_action(GtkWidget *widget, const char *name, GVariant *parameter) {
  HearthWindow *self = HEARTH_WINDOW(widget);
  GtkWidget *focus = gtk_window_get_focus(GTK_WINDOW(self));
  gboolean is_in_list = focus && (focus == GTK_WIDGET(self->list) || gtk_widget_is_ancestor(focus, GTK_WIDGET(self->list)));
  gboolean goes_to_content = adw_navigation_split_view_get_collapsed(self->split_view)
                                 ? !adw_navigation_split_view_get_show_content(self->split_view)
                                 : is_in_list;

  adw_navigation_split_view_set_show_content(self->split_view, goes_to_content);
  if (goes_to_content)
    focus_content(self);
  else
    gtk_widget_child_focus(GTK_WIDGET(self->list), GTK_DIR_TAB_FORWARD);
}

/* --- GObject overrides ----------------------------------------------------------------------------------------------- */

static gboolean hearth_window_close_request(GtkWindow *window) {
  HearthWindow *self = HEARTH_WINDOW(window);
  int width, height;

  gtk_window_get_default_size(window, &width, &height);
  g_settings_set_int(self->settings, "window-width", width);
  g_settings_set_int(self->settings, "window-height", height);
  g_settings_set_boolean(self->settings, "window-maximized", gtk_window_is_maximized(window));
  return GTK_WINDOW_CLASS(hearth_window_parent_class)->close_request(window);
}

static void hearth_window_dispose(GObject *object) {
  HearthWindow *self = HEARTH_WINDOW(object);

  g_clear_object(&self->conversation);
  gtk_widget_dispose_template(GTK_WIDGET(self), HEARTH_TYPE_WINDOW);
  g_clear_object(&self->found);
  g_clear_object(&self->filter);
  g_clear_object(&self->history);
  g_clear_object(&self->library);
  g_clear_object(&self->loader);
  g_clear_object(&self->settings);
  g_clear_pointer(&self->search_words, g_free);
  G_OBJECT_CLASS(hearth_window_parent_class)->dispose(object);
}

static void hearth_window_class_init(HearthWindowClass *klass) {
  GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(klass);

  G_OBJECT_CLASS(klass)->dispose = hearth_window_dispose;
  GTK_WINDOW_CLASS(klass)->close_request = hearth_window_close_request;

  g_type_ensure(HEARTH_TYPE_CONVERSATION_PAGE);
  g_type_ensure(HEARTH_TYPE_MODEL_CHOOSER);
  g_type_ensure(HEARTH_TYPE_LOAD_STRIP);
  gtk_widget_class_set_template_from_resource(widget_class, "/dev/hearth/Hearth/hearth-window.ui");
  gtk_widget_class_bind_template_child(widget_class, HearthWindow, toast_overlay);
  gtk_widget_class_bind_template_child(widget_class, HearthWindow, split_view);
  gtk_widget_class_bind_template_child(widget_class, HearthWindow, search_bar);
  gtk_widget_class_bind_template_child(widget_class, HearthWindow, search_entry);
  gtk_widget_class_bind_template_child(widget_class, HearthWindow, sidebar_stack);
  gtk_widget_class_bind_template_child(widget_class, HearthWindow, list);
  gtk_widget_class_bind_template_child(widget_class, HearthWindow, chooser);
  gtk_widget_class_bind_template_child(widget_class, HearthWindow, load_strip);
  gtk_widget_class_bind_template_child(widget_class, HearthWindow, content_stack);
  gtk_widget_class_bind_template_child(widget_class, HearthWindow, page);
  gtk_widget_class_bind_template_child(widget_class, HearthWindow, choose_button);
  gtk_widget_class_bind_template_child(widget_class, HearthWindow, drop_revealer);
  gtk_widget_class_bind_template_callback(widget_class, row_activated_cb);
  gtk_widget_class_bind_template_callback(widget_class, search_changed_cb);
  gtk_widget_class_bind_template_callback(widget_class, search_activated_cb);
  gtk_widget_class_bind_template_callback(widget_class, model_missing_cb);
  gtk_widget_class_bind_template_callback(widget_class, remedy_cb);
  gtk_widget_class_install_action(widget_class, "win.delete", "x", delete_action);
  gtk_widget_class_install_action(widget_class, "win.rename", "x", rename_action);
  gtk_widget_class_install_action(widget_class, "win.rename-this", NULL, rename_this_action);
  gtk_widget_class_install_action(widget_class, "win.stop", NULL, stop_action);
  gtk_widget_class_install_action(widget_class, "win.search", NULL, search_action);
  gtk_widget_class_install_action(widget_class, "win.sidebar", NULL, sidebar_action);
}

static void hearth_window_init(HearthWindow *self) {
  gtk_widget_init_template(GTK_WIDGET(self));
  gtk_search_bar_connect_entry(self->search_bar, GTK_EDITABLE(self->search_entry));
  hearth_window_set_up_drops(self);
}

/* --- Public API ------------------------------------------------------------------------------------------------------ */

HearthWindow *hearth_window_new(HearthApplication *application) {
  HearthWindow *self = g_object_new(HEARTH_TYPE_WINDOW, "application", application, NULL);

  self->settings = g_object_ref(hearth_application_get_settings(application));
  self->library = g_object_ref(hearth_application_get_library(application));
  self->loader = g_object_ref(hearth_application_get_loader(application));
  self->history = g_object_ref(hearth_application_get_history(application));

  gtk_window_set_default_size(GTK_WINDOW(self), g_settings_get_int(self->settings, "window-width"),
                              g_settings_get_int(self->settings, "window-height"));
  if (g_settings_get_boolean(self->settings, "window-maximized"))
    gtk_window_maximize(GTK_WINDOW(self));

  hearth_model_chooser_set_models(self->chooser, self->library, self->loader);
  hearth_load_strip_set_loader(self->load_strip, self->loader);
  hearth_conversation_page_set_loader(self->page, self->loader);
  self->filter = gtk_custom_filter_new(filter_conversation, self, NULL);
  self->found = gtk_filter_list_model_new(G_LIST_MODEL(g_object_ref(self->history)),
                                          GTK_FILTER(g_object_ref(self->filter)));
  gtk_list_box_bind_model(self->list, G_LIST_MODEL(self->found), create_row, NULL, NULL);
  g_signal_connect_object(self->found, "items-changed", G_CALLBACK(history_changed_cb), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(self->library, "items-changed", G_CALLBACK(show_content), self, G_CONNECT_SWAPPED);
  show_sidebar(self);
  hearth_window_begin_conversation(self);
  return self;
}

void hearth_window_begin_conversation(HearthWindow *self) {
  g_return_if_fail(HEARTH_IS_WINDOW(self));

  if (is_empty_draft(self->conversation)) {
    show_conversation(self, self->conversation);
  } else {
    g_autoptr(HearthConversation) draft = hearth_history_new_draft(self->history);

    show_conversation(self, draft);
  }
  adw_navigation_split_view_set_show_content(self->split_view, TRUE);
  focus_content(self);
}

void hearth_window_tell(HearthWindow *self, const char *heading, const char *body) {
  AdwDialog *dialog;

  g_return_if_fail(HEARTH_IS_WINDOW(self));

  dialog = adw_alert_dialog_new(heading, body);
  adw_alert_dialog_add_response(ADW_ALERT_DIALOG(dialog), "close", _("_Close"));
  adw_dialog_present(dialog, GTK_WIDGET(self));
}
