/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth"

#include "app/hearth-message-view.h"

#include "app/hearth-sentences.h"

#include <glib/gi18n.h>

/* How long the copy button shows that it has copied. */
#define COPIED_MS 1200

#define BLOCK_GAP 10

/* How many blocks a view draws at once when it is made, and how long it may take over the rest within a frame. */
#define FIRST_BLOCKS 8
/* Labels stand in boxes of so many, so that a new one makes only its own box be laid out again. */
#define LABELS_A_BOX 32
#define FRAME_BUDGET_US 10000

/* A label measures how narrow it can be, which for a long text costs more than all the rest. Text longer than LONG is not
 * asked: it is never narrower than this many characters. */
#define LONG_BYTES 64
#define LONG_WIDTH_CHARS 12

struct _HearthMessageView {
  GtkWidget parent_instance;

  GtkBoxLayout *layout;
  GtkWidget *blocks, *footer, *copy_button, *state_label, *speed_label;

  HearthMessageItem *item;
  GPtrArray *labels; /* one a block; their boxes own them */
  guint n_sealed;    /* labels that will not change any more */
  gsize shown_bytes;
  gboolean is_behind; /* not all blocks there were have been drawn */
  guint tick, copied_source;
};

G_DEFINE_FINAL_TYPE(HearthMessageView, hearth_message_view, GTK_TYPE_WIDGET)

/* --- Auxiliary ------------------------------------------------------------------------------------------------------- */

static GtkWidget *add_label(HearthMessageView *self, gboolean is_continued) {
  GtkWidget *label = g_object_new(GTK_TYPE_LABEL, "wrap", TRUE, "wrap-mode", PANGO_WRAP_WORD_CHAR, "selectable", TRUE,
                                  "xalign", 0.0, "natural-wrap-mode", GTK_NATURAL_WRAP_NONE, NULL);

  if (self->labels->len > 0 && !is_continued)
    gtk_widget_set_margin_top(label, BLOCK_GAP);
  if (self->labels->len % LABELS_A_BOX == 0)
    gtk_box_append(GTK_BOX(self->blocks), gtk_box_new(GTK_ORIENTATION_VERTICAL, 0));
  gtk_box_append(GTK_BOX(gtk_widget_get_last_child(self->blocks)), label);
  g_ptr_array_add(self->labels, label);
  return label;
}

/* The direction of the first letter that has one. */
static GtkTextDirection find_direction(const char *text) {
  for (const char *p = text; *p; p = g_utf8_next_char(p)) {
    gunichar c = g_utf8_get_char(p);

    if (!g_unichar_isalpha(c))
      continue;
    switch (g_unichar_get_script(c)) {
    case G_UNICODE_SCRIPT_ARABIC:
    case G_UNICODE_SCRIPT_HEBREW:
    case G_UNICODE_SCRIPT_MANDAIC:
    case G_UNICODE_SCRIPT_NKO:
    case G_UNICODE_SCRIPT_SAMARITAN:
    case G_UNICODE_SCRIPT_SYRIAC:
    case G_UNICODE_SCRIPT_THAANA:
    case G_UNICODE_SCRIPT_ADLAM:
    case G_UNICODE_SCRIPT_HANIFI_ROHINGYA:
      return GTK_TEXT_DIR_RTL;
    default:
      return GTK_TEXT_DIR_LTR;
    }
  }
  return GTK_TEXT_DIR_NONE;
}

/* A paragraph begins where its own script begins, whatever the direction of the window. */
static void set_text(GtkWidget *label, const char *text) {
  gtk_widget_set_direction(label, find_direction(text));
  gtk_label_set_text(GTK_LABEL(label), text);
}

static void draw_block(HearthMessageView *self, guint i, const HearthDocumentBlock *block) {
  g_autofree char *text = g_strndup(block->text, block->bytes);
  GtkWidget *label = i < self->labels->len ? g_ptr_array_index(self->labels, i) : add_label(self, block->is_continued);

  set_text(label, text);
  gtk_label_set_width_chars(GTK_LABEL(label), block->bytes > LONG_BYTES ? LONG_WIDTH_CHARS : -1);
  if (block->sealed)
    self->n_sealed = i + 1;
}

/* Draws what came since the last time, so much of it as may be drawn at once. clock NULL: the view has just been made. */
static void draw_new_text(HearthMessageView *self, GdkFrameClock *clock) {
  HearthDocument *document = hearth_message_item_get_document(self->item);
  guint n = hearth_document_get_n_blocks(document), first = self->n_sealed, i;
  int width = gtk_widget_get_width(self->blocks);

  for (i = first; i < n; i++) {
    HearthDocumentBlock block = hearth_document_get_block(document, i);
    GtkWidget *label;
    int unused;

    if (clock ? i > first && g_get_monotonic_time() - gdk_frame_clock_get_frame_time(clock) > FRAME_BUDGET_US
              : i - first >= FIRST_BLOCKS)
      break;
    draw_block(self, i, &block);
    if (!clock)
      continue;
    /* Measured now, which would be done later in this frame, so that its time counts. */
    label = g_ptr_array_index(self->labels, i);
    gtk_widget_measure(label, GTK_ORIENTATION_HORIZONTAL, -1, &unused, &unused, NULL, NULL);
    if (width > 0)
      gtk_widget_measure(label, GTK_ORIENTATION_VERTICAL, width, &unused, &unused, NULL, NULL);
  }
  self->is_behind = i < n;
  if (!self->is_behind)
    self->shown_bytes = hearth_document_get_bytes(document);
}

/* Frames are asked for while there is something to draw, or may be. */
static void stop_unneeded_tick(HearthMessageView *self) {
  if (self->tick == 0 || self->is_behind || hearth_message_item_get_state(self->item) == HEARTH_MESSAGE_STREAMING)
    return;
  gtk_widget_remove_tick_callback(GTK_WIDGET(self), self->tick);
  self->tick = 0;
}

static gboolean tick_cb(GtkWidget *widget, GdkFrameClock *clock, gpointer user_data) {
  HearthMessageView *self = HEARTH_MESSAGE_VIEW(widget);

  if (hearth_document_get_bytes(hearth_message_item_get_document(self->item)) != self->shown_bytes)
    draw_new_text(self, clock);
  stop_unneeded_tick(self);
  return G_SOURCE_CONTINUE;
}

static void show_footer(HearthMessageView *self) {
  HearthMessageState state = hearth_message_item_get_state(self->item);
  g_autofree char *speed = hearth_sentence_for_speed(hearth_message_item_get_words_per_second(self->item));
  const char *model = hearth_message_item_get_model(self->item);
  const char *words = NULL;

  if (state == HEARTH_MESSAGE_STOPPED)
    words = _("Stopped");
  else if (state == HEARTH_MESSAGE_INTERRUPTED)
    words = _("Cut off");
  gtk_label_set_text(GTK_LABEL(self->state_label), words ? words : "");
  gtk_widget_set_visible(self->state_label, words != NULL);
  gtk_label_set_text(GTK_LABEL(self->speed_label), speed ? speed : "");
  gtk_widget_set_visible(self->speed_label, speed != NULL);
  gtk_widget_set_tooltip_text(self->speed_label, model);
  /* Kept in its place while the answer grows, so that its end moves nothing. */
  gtk_widget_set_opacity(self->footer, state == HEARTH_MESSAGE_STREAMING ? 0 : 1);
  gtk_widget_set_sensitive(self->footer, state != HEARTH_MESSAGE_STREAMING);
}

static void follow_state(HearthMessageView *self) {
  draw_new_text(self, NULL);
  show_footer(self);
  if (self->tick == 0)
    self->tick = gtk_widget_add_tick_callback(GTK_WIDGET(self), tick_cb, NULL, NULL);
  stop_unneeded_tick(self);
}

/* --- Callbacks ------------------------------------------------------------------------------------------------------- */

static void copied_end_cb(gpointer user_data) {
  HearthMessageView *self = user_data;

  self->copied_source = 0;
  gtk_button_set_icon_name(GTK_BUTTON(self->copy_button), "edit-copy-symbolic");
}

static void copy_clicked_cb(HearthMessageView *self) {
  GdkClipboard *clipboard = gtk_widget_get_clipboard(GTK_WIDGET(self));

  gdk_clipboard_set_text(clipboard, hearth_document_get_text(hearth_message_item_get_document(self->item)));
  gtk_button_set_icon_name(GTK_BUTTON(self->copy_button), "object-select-symbolic");
  gtk_accessible_announce(GTK_ACCESSIBLE(self), _("Copied"), GTK_ACCESSIBLE_ANNOUNCEMENT_PRIORITY_LOW);
  g_clear_handle_id(&self->copied_source, g_source_remove);
  self->copied_source = g_timeout_add_once(COPIED_MS, copied_end_cb, self);
}

/* --- GObject overrides ----------------------------------------------------------------------------------------------- */

static void hearth_message_view_dispose(GObject *object) {
  HearthMessageView *self = HEARTH_MESSAGE_VIEW(object);

  g_clear_handle_id(&self->copied_source, g_source_remove);
  if (self->tick != 0) {
    gtk_widget_remove_tick_callback(GTK_WIDGET(self), self->tick);
    self->tick = 0;
  }
  g_clear_object(&self->item);
  gtk_widget_dispose_template(GTK_WIDGET(self), HEARTH_TYPE_MESSAGE_VIEW);
  G_OBJECT_CLASS(hearth_message_view_parent_class)->dispose(object);
}

static void hearth_message_view_finalize(GObject *object) {
  g_ptr_array_unref(HEARTH_MESSAGE_VIEW(object)->labels);
  G_OBJECT_CLASS(hearth_message_view_parent_class)->finalize(object);
}

static void hearth_message_view_class_init(HearthMessageViewClass *klass) {
  GObjectClass *object_class = G_OBJECT_CLASS(klass);
  GtkWidgetClass *widget_class = GTK_WIDGET_CLASS(klass);

  object_class->dispose = hearth_message_view_dispose;
  object_class->finalize = hearth_message_view_finalize;
  gtk_widget_class_set_css_name(widget_class, "message");
  gtk_widget_class_set_accessible_role(widget_class, GTK_ACCESSIBLE_ROLE_GROUP);
  gtk_widget_class_set_template_from_resource(widget_class, "/dev/hearth/Hearth/hearth-message-view.ui");
  gtk_widget_class_bind_template_child(widget_class, HearthMessageView, layout);
  gtk_widget_class_bind_template_child(widget_class, HearthMessageView, blocks);
  gtk_widget_class_bind_template_child(widget_class, HearthMessageView, footer);
  gtk_widget_class_bind_template_child(widget_class, HearthMessageView, copy_button);
  gtk_widget_class_bind_template_child(widget_class, HearthMessageView, state_label);
  gtk_widget_class_bind_template_child(widget_class, HearthMessageView, speed_label);
  gtk_widget_class_bind_template_callback(widget_class, copy_clicked_cb);
}

static void hearth_message_view_init(HearthMessageView *self) {
  self->labels = g_ptr_array_new();
  gtk_widget_init_template(GTK_WIDGET(self));
}

/* --- Public API ------------------------------------------------------------------------------------------------------ */

GtkWidget *hearth_message_view_new(HearthMessageItem *item) {
  gboolean is_answer;

  g_return_val_if_fail(HEARTH_IS_MESSAGE_ITEM(item), NULL);

  HearthMessageView *self = g_object_new(HEARTH_TYPE_MESSAGE_VIEW, NULL);
  self->item = g_object_ref(item);
  is_answer = hearth_message_item_get_role(item) == HEARTH_ROLE_ASSISTANT;
  gtk_widget_add_css_class(GTK_WIDGET(self), is_answer ? "answer" : "question");
  if (!is_answer) {
    /* A bubble at the end, with its button beside it in the room that is left at the start. */
    gtk_orientable_set_orientation(GTK_ORIENTABLE(self->layout), GTK_ORIENTATION_HORIZONTAL);
    gtk_widget_insert_before(self->footer, GTK_WIDGET(self), self->blocks);
    gtk_widget_set_halign(GTK_WIDGET(self), GTK_ALIGN_END);
    gtk_widget_set_valign(self->footer, GTK_ALIGN_CENTER);
  }
  gtk_accessible_update_property(GTK_ACCESSIBLE(self), GTK_ACCESSIBLE_PROPERTY_LABEL,
                                 is_answer ? _("Answer") : _("Your message"), -1);
  g_signal_connect_object(item, "notify::state", G_CALLBACK(follow_state), self, G_CONNECT_SWAPPED);
  follow_state(self);
  return GTK_WIDGET(self);
}
