/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth"

#include "app/hearth-conversation-page.h"

#include "app/hearth-composer.h"
#include "app/hearth-message-view.h"

#include <adwaita.h>
#include <glib/gi18n.h>

/* Only the newest messages get widgets; earlier ones come in such portions when asked for. */
#define PORTION 30

/* Nearer to the end than this, the view follows what comes. */
#define NEAR_END_PX 48

struct _HearthConversationPage {
  GtkWidget parent_instance;

  AdwToolbarView *toolbar_view;
  AdwBanner *device_banner;
  GtkStack *stack;
  GtkScrolledWindow *scroller;
  GtkWidget *earlier_button, *activity_box, *notice_box, *notice_button, *end_button, *hint_label, *format_label;
  GtkRevealer *end_revealer;
  GtkBox *messages_box;
  GtkLabel *activity_label, *notice_label;
  HearthComposer *composer;

  HearthModelLoader *loader;
  HearthConversation *conversation;
  GSignalGroup *conversation_signals, *messages_signals;
  guint n_shown;       /* message views, those of the newest messages */
  gboolean is_at_end, was_resized;
  double from_end;     /* what to keep when earlier messages come in above; negative: nothing */
  char *hidden_notice; /* of the device, which the person does not want to see any more */
  gboolean sets_text;  /* the composer's text is being set, not typed */
};

enum { PROP_0, PROP_CONVERSATION, N_PROPS };
enum { SIGNAL_REMEDY, N_SIGNALS };

static GParamSpec *properties[N_PROPS];
static guint signals[N_SIGNALS];

G_DEFINE_FINAL_TYPE(HearthConversationPage, hearth_conversation_page, GTK_TYPE_WIDGET)

/* --- Auxiliary ------------------------------------------------------------------------------------------------------- */

static void show_stack(HearthConversationPage *self) {
  GListModel *messages = hearth_conversation_get_messages(self->conversation);
  gboolean is_empty = g_list_model_get_n_items(messages) == 0 && !hearth_conversation_get_notice(self->conversation);

  gtk_stack_set_visible_child_name(self->stack, is_empty ? "greeting" : "messages");
}

static void show_activity(HearthConversationPage *self) {
  const char *activity = hearth_conversation_get_activity(self->conversation);

  gtk_label_set_text(self->activity_label, activity ? activity : "");
  gtk_widget_set_visible(self->activity_box, activity != NULL);
}

static void show_notice(HearthConversationPage *self) {
  const char *notice = hearth_conversation_get_notice(self->conversation);
  const char *action = hearth_remedy_get_label(hearth_conversation_get_remedy(self->conversation));

  gtk_label_set_text(self->notice_label, notice ? notice : "");
  gtk_widget_set_visible(self->notice_box, notice != NULL);
  gtk_button_set_label(GTK_BUTTON(self->notice_button), action ? action : "");
  gtk_widget_set_visible(self->notice_button, action != NULL);
  show_stack(self);
}

static void show_busy(HearthConversationPage *self) {
  hearth_composer_set_busy(self->composer, hearth_conversation_get_busy(self->conversation));
}

static void show_hint(HearthConversationPage *self) {
  const HearthModelFacts *facts = self->loader ? hearth_model_loader_get_facts(self->loader) : NULL;

  gtk_widget_set_visible(self->hint_label, facts && !facts->has_template);
  gtk_widget_set_visible(self->format_label, facts && *facts->template_fallback);
  if (facts && *facts->template_fallback) {
    /* Translators: %s is the name of a format: ChatML, Llama 2, Alpaca. */
    g_autofree char *text = g_strdup_printf(
        _("This model brings no conversation format of its own; %s is used instead."), facts->template_fallback);

    gtk_label_set_label(GTK_LABEL(self->format_label), text);
  }
}

static void show_device(HearthConversationPage *self) {
  const char *notice = hearth_model_loader_get_device_notice(self->loader);
  gboolean is_shown = notice && g_strcmp0(notice, self->hidden_notice) != 0;

  if (notice)
    adw_banner_set_title(self->device_banner, notice);
  /* A banner that is not revealed would still be read out. */
  gtk_widget_set_visible(GTK_WIDGET(self->device_banner), is_shown);
  adw_banner_set_revealed(self->device_banner, is_shown);
}

/* Makes the views of the newest n messages, or n more than there are. */
static void show_messages(HearthConversationPage *self, guint n) {
  GListModel *messages = hearth_conversation_get_messages(self->conversation);
  guint n_messages = g_list_model_get_n_items(messages);

  for (; n > 0 && self->n_shown < n_messages; n--) {
    g_autoptr(HearthMessageItem) item = g_list_model_get_item(messages, n_messages - self->n_shown - 1);

    gtk_box_prepend(self->messages_box, hearth_message_view_new(item));
    self->n_shown++;
  }
  gtk_widget_set_visible(self->earlier_button, self->n_shown < n_messages);
}

static void clear_messages(HearthConversationPage *self) {
  GtkWidget *child;

  while ((child = gtk_widget_get_first_child(GTK_WIDGET(self->messages_box))))
    gtk_box_remove(self->messages_box, child);
  self->n_shown = 0;
}

static void scroll_to_end(HearthConversationPage *self) {
  GtkAdjustment *adjustment = gtk_scrolled_window_get_vadjustment(self->scroller);

  self->is_at_end = TRUE;
  gtk_adjustment_set_value(adjustment,
                           gtk_adjustment_get_upper(adjustment) - gtk_adjustment_get_page_size(adjustment));
}

static void put_text(HearthConversationPage *self, const char *text) {
  self->sets_text = TRUE;
  hearth_composer_set_text(self->composer, text);
  self->sets_text = FALSE;
}

/* --- Callbacks ------------------------------------------------------------------------------------------------------- */

static void messages_changed_cb(HearthConversationPage *self, guint position, guint removed, guint added) {
  GListModel *messages = hearth_conversation_get_messages(self->conversation);

  /* Messages are only ever added at the end. */
  for (guint i = position; i < position + added; i++) {
    g_autoptr(HearthMessageItem) item = g_list_model_get_item(messages, i);

    gtk_box_append(self->messages_box, hearth_message_view_new(item));
    self->n_shown++;
  }
  show_stack(self);
}

static void scrolled_cb(HearthConversationPage *self) {
  GtkAdjustment *adjustment = gtk_scrolled_window_get_vadjustment(self->scroller);
  double end = gtk_adjustment_get_upper(adjustment) - gtk_adjustment_get_page_size(adjustment);

  self->is_at_end = gtk_adjustment_get_value(adjustment) >= end - NEAR_END_PX;
  gtk_revealer_set_reveal_child(self->end_revealer, !self->is_at_end);
  gtk_widget_set_can_target(GTK_WIDGET(self->end_revealer), !self->is_at_end);
}

/* The content or the window changed its size. This comes from within the layout, where a new position would be taken but not
 * drawn: it waits for the layout's end. */
static void resized_cb(HearthConversationPage *self) {
  self->was_resized = TRUE;
}

/* After a layout, before it is painted: the frame clock lays out once more when something moved. */
static void laid_out_cb(HearthConversationPage *self) {
  GtkAdjustment *adjustment = gtk_scrolled_window_get_vadjustment(self->scroller);

  if (!self->was_resized)
    return;
  self->was_resized = FALSE;
  if (self->from_end >= 0) {
    gtk_adjustment_set_value(adjustment, gtk_adjustment_get_upper(adjustment) - self->from_end);
    self->from_end = -1;
  } else if (self->is_at_end) {
    scroll_to_end(self);
  }
  scrolled_cb(self);
}

static void earlier_clicked_cb(HearthConversationPage *self) {
  GtkAdjustment *adjustment = gtk_scrolled_window_get_vadjustment(self->scroller);

  self->is_at_end = FALSE;
  self->from_end = gtk_adjustment_get_upper(adjustment) - gtk_adjustment_get_value(adjustment);
  show_messages(self, PORTION);
}

static void device_response_cb(HearthConversationPage *self, const char *response) {
  if (!g_str_equal(response, "hide"))
    return;
  g_set_str(&self->hidden_notice, adw_banner_get_title(self->device_banner));
  show_device(self);
}

static void device_details_cb(HearthConversationPage *self) {
  const HearthModelFacts *facts = hearth_model_loader_get_facts(self->loader);
  g_autoptr(GString) body = g_string_new(adw_banner_get_title(self->device_banner));
  AdwDialog *dialog;

  if (facts && *facts->device_reason)
    /* Translators: %s is what the graphics driver said, in English. */
    g_string_append_printf(body, _("\n\nThe reason: %s"), facts->device_reason);
  if (facts)
    /* Translators: %s is the engine's name for the processor. */
    g_string_append_printf(body, _("\n\nIn use: %s"), facts->device);
  dialog = adw_alert_dialog_new(_("Graphics Card Not Used"), body->str);
  adw_alert_dialog_add_responses(ADW_ALERT_DIALOG(dialog), "hide", _("_Hide Notice"), "close", _("_Close"), NULL);
  adw_alert_dialog_set_close_response(ADW_ALERT_DIALOG(dialog), "close");
  g_signal_connect_object(dialog, "response", G_CALLBACK(device_response_cb), self, G_CONNECT_SWAPPED);
  adw_dialog_present(dialog, GTK_WIDGET(self));
}

static void end_clicked_cb(HearthConversationPage *self) {
  scroll_to_end(self);
  gtk_widget_grab_focus(GTK_WIDGET(self->composer));
}

static void notice_clicked_cb(HearthConversationPage *self) {
  HearthRemedy remedy = hearth_conversation_get_remedy(self->conversation);

  gtk_widget_grab_focus(GTK_WIDGET(self->composer));
  if (remedy == HEARTH_REMEDY_TRY_AGAIN)
    hearth_conversation_try_again(self->conversation);
  else if (remedy == HEARTH_REMEDY_SAVE_AGAIN)
    hearth_conversation_save(self->conversation);
  else
    g_signal_emit(self, signals[SIGNAL_REMEDY], 0, (int)remedy);
}

static void send_cb(HearthConversationPage *self) {
  g_autofree char *text = hearth_composer_dup_text(self->composer);
  g_autoptr(GError) error = NULL;

  g_strstrip(text);
  self->is_at_end = TRUE;
  if (hearth_conversation_send(self->conversation, text, &error)) {
    put_text(self, "");
    return;
  }
  /* The text stays in the composer: sending again is the remedy. */
  g_autofree char *sentence = hearth_sentence_for_error(error, NULL);
  AdwDialog *dialog = adw_alert_dialog_new(_("Message Not Sent"), NULL);
  adw_alert_dialog_format_body(ADW_ALERT_DIALOG(dialog), _("%s Your text is still in the composer."), sentence);
  adw_alert_dialog_add_response(ADW_ALERT_DIALOG(dialog), "close", _("_Close"));
  adw_dialog_present(dialog, GTK_WIDGET(self));
}

static void typed_cb(HearthConversationPage *self) {
  g_autofree char *text = NULL;

  if (!self->conversation || self->sets_text)
    return;
  text = hearth_composer_dup_text(self->composer);
  hearth_conversation_set_unsent(self->conversation, text);
  if (*text && self->loader)
    hearth_model_loader_prepare(self->loader);
}

static void answered_cb(HearthConversationPage *self, HearthMessageItem *item) {
  g_autofree char *words = NULL;

  if (hearth_message_item_get_state(item) != HEARTH_MESSAGE_COMPLETE)
    return;
  /* Translators: read aloud by a screen reader; %s is the answer. */
  words = g_strdup_printf(_("Answer: %s"), hearth_document_get_text(hearth_message_item_get_document(item)));
  gtk_accessible_announce(GTK_ACCESSIBLE(self), words, GTK_ACCESSIBLE_ANNOUNCEMENT_PRIORITY_MEDIUM);
}

static void notice_changed_cb(HearthConversationPage *self) {
  const char *notice = hearth_conversation_get_notice(self->conversation);

  show_notice(self);
  if (notice)
    gtk_accessible_announce(GTK_ACCESSIBLE(self), notice, GTK_ACCESSIBLE_ANNOUNCEMENT_PRIORITY_MEDIUM);
}

/* --- GObject overrides ----------------------------------------------------------------------------------------------- */

static void hearth_conversation_page_realize(GtkWidget *widget) {
  GTK_WIDGET_CLASS(hearth_conversation_page_parent_class)->realize(widget);
  g_signal_connect_object(gtk_widget_get_frame_clock(widget), "layout", G_CALLBACK(laid_out_cb), widget,
                          G_CONNECT_SWAPPED | G_CONNECT_AFTER);
}

static void hearth_conversation_page_unrealize(GtkWidget *widget) {
  g_signal_handlers_disconnect_by_func(gtk_widget_get_frame_clock(widget), laid_out_cb, widget);
  GTK_WIDGET_CLASS(hearth_conversation_page_parent_class)->unrealize(widget);
}

static gboolean hearth_conversation_page_grab_focus(GtkWidget *widget) {
  return gtk_widget_grab_focus(GTK_WIDGET(HEARTH_CONVERSATION_PAGE(widget)->composer));
}

static void hearth_conversation_page_get_property(GObject *object, guint id, GValue *value, GParamSpec *pspec) {
  switch (id) {
  case PROP_CONVERSATION:
    g_value_set_object(value, HEARTH_CONVERSATION_PAGE(object)->conversation);
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, pspec);
  }
}

static void hearth_conversation_page_set_property(GObject *object, guint id, const GValue *value, GParamSpec *pspec) {
  switch (id) {
  case PROP_CONVERSATION:
    hearth_conversation_page_set_conversation(HEARTH_CONVERSATION_PAGE(object), g_value_get_object(value));
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, pspec);
  }
}

static void hearth_conversation_page_dispose(GObject *object) {
  HearthConversationPage *self = HEARTH_CONVERSATION_PAGE(object);

  g_clear_object(&self->conversation_signals);
  g_clear_object(&self->messages_signals);
  g_clear_object(&self->conversation);
  g_clear_object(&self->loader);
  g_clear_pointer(&self->hidden_notice, g_free);
  gtk_widget_dispose_template(GTK_WIDGET(self), HEARTH_TYPE_CONVERSATION_PAGE);
  G_OBJECT_CLASS(hearth_conversation_page_parent_class)->dispose(object);
}

static void hearth_conversation_page_class_init(HearthConversationPageClass *klass) {
  GObjectClass *object_class = G_OBJECT_CLASS(klass);
  GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(klass);

  object_class->get_property = hearth_conversation_page_get_property;
  object_class->set_property = hearth_conversation_page_set_property;
  object_class->dispose = hearth_conversation_page_dispose;
  widget_class->grab_focus = hearth_conversation_page_grab_focus;
  widget_class->realize = hearth_conversation_page_realize;
  widget_class->unrealize = hearth_conversation_page_unrealize;
  properties[PROP_CONVERSATION] =
      g_param_spec_object("conversation", NULL, NULL, HEARTH_TYPE_CONVERSATION,
                          G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY);
  g_object_class_install_properties(object_class, N_PROPS, properties);
  signals[SIGNAL_REMEDY] = g_signal_new("remedy", HEARTH_TYPE_CONVERSATION_PAGE, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                                        G_TYPE_NONE, 1, G_TYPE_INT);
  g_type_ensure(HEARTH_TYPE_COMPOSER);
  gtk_widget_class_set_template_from_resource(widget_class, "/dev/hearth/Hearth/hearth-conversation-page.ui");
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, toolbar_view);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, device_banner);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, stack);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, scroller);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, earlier_button);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, messages_box);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, activity_box);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, activity_label);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, notice_box);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, notice_label);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, notice_button);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, end_revealer);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, end_button);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, hint_label);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, format_label);
  gtk_widget_class_bind_template_child(widget_class, HearthConversationPage, composer);
  gtk_widget_class_bind_template_callback(widget_class, earlier_clicked_cb);
  gtk_widget_class_bind_template_callback(widget_class, device_details_cb);
  gtk_widget_class_bind_template_callback(widget_class, end_clicked_cb);
  gtk_widget_class_bind_template_callback(widget_class, notice_clicked_cb);
  gtk_widget_class_bind_template_callback(widget_class, send_cb);
  gtk_widget_class_bind_template_callback(widget_class, typed_cb);
}

static void hearth_conversation_page_init(HearthConversationPage *self) {
  GtkAdjustment *adjustment;

  self->is_at_end = TRUE;
  self->from_end = -1;
  gtk_widget_init_template(GTK_WIDGET(self));
  adjustment = gtk_scrolled_window_get_vadjustment(self->scroller);
  g_signal_connect_object(adjustment, "value-changed", G_CALLBACK(scrolled_cb), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(adjustment, "changed", G_CALLBACK(resized_cb), self, G_CONNECT_SWAPPED);

  self->conversation_signals = g_signal_group_new(HEARTH_TYPE_CONVERSATION);
  g_signal_group_connect_swapped(self->conversation_signals, "notify::activity", G_CALLBACK(show_activity), self);
  g_signal_group_connect_swapped(self->conversation_signals, "notify::notice", G_CALLBACK(notice_changed_cb), self);
  g_signal_group_connect_swapped(self->conversation_signals, "notify::busy", G_CALLBACK(show_busy), self);
  g_signal_group_connect_swapped(self->conversation_signals, "answered", G_CALLBACK(answered_cb), self);
  self->messages_signals = g_signal_group_new(G_TYPE_LIST_MODEL);
  g_signal_group_connect_swapped(self->messages_signals, "items-changed", G_CALLBACK(messages_changed_cb), self);
}

/* --- Public API ------------------------------------------------------------------------------------------------------ */

void hearth_conversation_page_set_loader(HearthConversationPage *self, HearthModelLoader *loader) {
  g_return_if_fail(HEARTH_IS_CONVERSATION_PAGE(self));

  if (!g_set_object(&self->loader, loader))
    return;
  g_signal_connect_object(loader, "notify::state", G_CALLBACK(show_hint), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(loader, "notify::state", G_CALLBACK(show_device), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(loader, "notify::device-notice", G_CALLBACK(show_device), self, G_CONNECT_SWAPPED);
  show_hint(self);
  show_device(self);
}

void hearth_conversation_page_set_conversation(HearthConversationPage *self, HearthConversation *conversation) {
  g_return_if_fail(HEARTH_IS_CONVERSATION_PAGE(self));

  if (!conversation || !g_set_object(&self->conversation, conversation))
    return;
  clear_messages(self);
  self->is_at_end = TRUE;
  self->from_end = -1;
  show_messages(self, PORTION);
  g_signal_group_set_target(self->conversation_signals, conversation);
  g_signal_group_set_target(self->messages_signals, hearth_conversation_get_messages(conversation));
  show_activity(self);
  show_notice(self);
  show_busy(self);
  put_text(self, hearth_conversation_get_unsent(conversation));
  g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_CONVERSATION]);
}
