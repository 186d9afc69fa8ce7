/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth"

#include "app/hearth-composer.h"

struct _HearthComposer {
  GtkWidget parent_instance;

  GtkTextView *text_view;
  GtkTextBuffer *buffer;
  GtkWidget *overlay, *placeholder, *send_button, *stop_button;
  gboolean busy;
};

enum { PROP_0, PROP_BUSY, N_PROPS };
enum { SIGNAL_SEND, SIGNAL_TYPED, N_SIGNALS };

static GParamSpec *properties[N_PROPS];
static guint signals[N_SIGNALS];

G_DEFINE_FINAL_TYPE(HearthComposer, hearth_composer, GTK_TYPE_WIDGET)

static gboolean has_words(HearthComposer *self) {
  g_autofree char *text = hearth_composer_dup_text(self);

  return *g_strstrip(text) != '\0';
}

static void send_cb(HearthComposer *self) {
  if (!self->busy && has_words(self))
    g_signal_emit(self, signals[SIGNAL_SEND], 0);
}

static void changed_cb(HearthComposer *self) {
  gtk_widget_set_visible(self->placeholder, gtk_text_buffer_get_char_count(self->buffer) == 0);
  gtk_widget_set_sensitive(self->send_button, has_words(self));
  g_signal_emit(self, signals[SIGNAL_TYPED], 0);
}

static gboolean key_pressed_cb(HearthComposer *self, guint keyval, guint keycode, GdkModifierType state,
                               GtkEventControllerKey *controller) {
  if (keyval != GDK_KEY_Return && keyval != GDK_KEY_KP_Enter && keyval != GDK_KEY_ISO_Enter)
    return GDK_EVENT_PROPAGATE;
  if (state & (GDK_SHIFT_MASK | GDK_CONTROL_MASK | GDK_ALT_MASK))
    return GDK_EVENT_PROPAGATE;
  /* An input method that is composing a word takes Enter for itself. */
  if (gtk_text_view_im_context_filter_keypress(
          self->text_view, gtk_event_controller_get_current_event(GTK_EVENT_CONTROLLER(controller))))
    return GDK_EVENT_STOP;
  send_cb(self);
  return GDK_EVENT_STOP;
}

static gboolean hearth_composer_grab_focus(GtkWidget *widget) {
  return gtk_widget_grab_focus(GTK_WIDGET(HEARTH_COMPOSER(widget)->text_view));
}

static void hearth_composer_get_property(GObject *object, guint id, GValue *value, GParamSpec *pspec) {
  HearthComposer *self = HEARTH_COMPOSER(object);

  switch (id) {
  case PROP_BUSY:
    g_value_set_boolean(value, self->busy);
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, pspec);
  }
}

static void hearth_composer_set_property(GObject *object, guint id, const GValue *value, GParamSpec *pspec) {
  switch (id) {
  case PROP_BUSY:
    hearth_composer_set_busy(HEARTH_COMPOSER(object), g_value_get_boolean(value));
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, pspec);
  }
}

static void hearth_composer_dispose(GObject *object) {
  gtk_widget_dispose_template(GTK_WIDGET(object), HEARTH_TYPE_COMPOSER);
  G_OBJECT_CLASS(hearth_composer_parent_class)->dispose(object);
}

static void hearth_composer_class_init(HearthComposerClass *klass) {
  GObjectClass *object_class = G_OBJECT_CLASS(klass);
  GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(klass);

  object_class->get_property = hearth_composer_get_property;
  object_class->set_property = hearth_composer_set_property;
  object_class->dispose = hearth_composer_dispose;
  widget_class->grab_focus = hearth_composer_grab_focus;
  properties[PROP_BUSY] = g_param_spec_boolean("busy", NULL, NULL, FALSE,
                                               G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY);
  g_object_class_install_properties(object_class, N_PROPS, properties);
  signals[SIGNAL_SEND] = g_signal_new("send", HEARTH_TYPE_COMPOSER, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 0);
  signals[SIGNAL_TYPED] = g_signal_new("typed", HEARTH_TYPE_COMPOSER, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 0);
  gtk_widget_class_set_css_name(widget_class, "composer");
  gtk_widget_class_set_template_from_resource(widget_class, "/dev/hearth/Hearth/hearth-composer.ui");
  gtk_widget_class_bind_template_child(widget_class, HearthComposer, overlay);
  gtk_widget_class_bind_template_child(widget_class, HearthComposer, text_view);
  gtk_widget_class_bind_template_child(widget_class, HearthComposer, buffer);
  gtk_widget_class_bind_template_child(widget_class, HearthComposer, placeholder);
  gtk_widget_class_bind_template_child(widget_class, HearthComposer, send_button);
  gtk_widget_class_bind_template_child(widget_class, HearthComposer, stop_button);
  gtk_widget_class_bind_template_callback(widget_class, changed_cb);
  gtk_widget_class_bind_template_callback(widget_class, key_pressed_cb);
  gtk_widget_class_bind_template_callback(widget_class, send_cb);
}

static void hearth_composer_init(HearthComposer *self) {
  gtk_widget_init_template(GTK_WIDGET(self));
  gtk_widget_set_sensitive(self->send_button, FALSE);
  gtk_accessible_update_property(GTK_ACCESSIBLE(self->text_view), GTK_ACCESSIBLE_PROPERTY_PLACEHOLDER,
                                 gtk_label_get_text(GTK_LABEL(self->placeholder)), -1);
}

char *hearth_composer_dup_text(HearthComposer *self) {
  GtkTextIter start, end;

  g_return_val_if_fail(HEARTH_IS_COMPOSER(self), NULL);

  gtk_text_buffer_get_bounds(self->buffer, &start, &end);
  return gtk_text_buffer_get_text(self->buffer, &start, &end, FALSE);
}

void hearth_composer_set_text(HearthComposer *self, const char *text) {
  g_return_if_fail(HEARTH_IS_COMPOSER(self));

  gtk_text_buffer_set_text(self->buffer, text, -1);
}

void hearth_composer_set_busy(HearthComposer *self, gboolean busy) {
  g_return_if_fail(HEARTH_IS_COMPOSER(self));

  busy = !!busy;
  if (self->busy == busy)
    return;
  self->busy = busy;
  /* The button that is pressed goes away under the person's finger: the text keeps the keyboard. */
  if (gtk_widget_has_focus(self->send_button) || gtk_widget_has_focus(self->stop_button))
    gtk_widget_grab_focus(GTK_WIDGET(self->text_view));
  gtk_widget_set_visible(self->send_button, !busy);
  gtk_widget_set_visible(self->stop_button, busy);
  g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_BUSY]);
}
