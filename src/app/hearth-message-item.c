/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth"

#include "app/hearth-message-item.h"

struct _HearthMessageItem {
  GObject parent_instance;

  gint64 id;
  HearthRole role;
  HearthMessageState state;
  HearthDocument *document;
  char *model;
  double words_per_second;
};

enum { PROP_0, PROP_STATE, N_PROPS };

static GParamSpec *properties[N_PROPS];

G_DEFINE_FINAL_TYPE(HearthMessageItem, hearth_message_item, G_TYPE_OBJECT)

static void hearth_message_item_get_property(GObject *object, guint id, GValue *value, GParamSpec *pspec) {
  HearthMessageItem *self = HEARTH_MESSAGE_ITEM(object);

  switch (id) {
  case PROP_STATE:
    g_value_set_int(value, (int)self->state);
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, pspec);
  }
}

static void hearth_message_item_finalize(GObject *object) {
  HearthMessageItem *self = HEARTH_MESSAGE_ITEM(object);

  hearth_document_free(self->document);
  g_free(self->model);
  G_OBJECT_CLASS(hearth_message_item_parent_class)->finalize(object);
}

static void hearth_message_item_class_init(HearthMessageItemClass *klass) {
  GObjectClass *object_class = G_OBJECT_CLASS(klass);

  object_class->get_property = hearth_message_item_get_property;
  object_class->finalize = hearth_message_item_finalize;
  properties[PROP_STATE] = g_param_spec_int("state", NULL, NULL, 0, HEARTH_MESSAGE_INTERRUPTED, 0,
                                            G_PARAM_READABLE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY);
  g_object_class_install_properties(object_class, N_PROPS, properties);
}

static void hearth_message_item_init(HearthMessageItem *self) {
  self->document = hearth_document_new();
}

HearthMessageItem *hearth_message_item_new(HearthRole role, HearthMessageState state, const char *text, const char *model) {
  HearthMessageItem *self = g_object_new(HEARTH_TYPE_MESSAGE_ITEM, NULL);

  self->role = role;
  self->state = state;
  self->model = g_strdup(model);
  hearth_document_append(self->document, text, -1);
  if (state != HEARTH_MESSAGE_STREAMING)
    hearth_document_finish(self->document);
  return self;
}

HearthMessageItem *hearth_message_item_new_from_message(const HearthMessage *message) {
  g_return_val_if_fail(message != NULL, NULL);

  HearthMessageItem *self = hearth_message_item_new(message->role, message->state, message->text, message->model);
  self->id = message->id;
  self->words_per_second = message->words_per_second;
  return self;
}

gint64 hearth_message_item_get_id(HearthMessageItem *self) {
  g_return_val_if_fail(HEARTH_IS_MESSAGE_ITEM(self), 0);

  return self->id;
}

void hearth_message_item_set_id(HearthMessageItem *self, gint64 id) {
  g_return_if_fail(HEARTH_IS_MESSAGE_ITEM(self));

  self->id = id;
}

HearthRole hearth_message_item_get_role(HearthMessageItem *self) {
  g_return_val_if_fail(HEARTH_IS_MESSAGE_ITEM(self), HEARTH_ROLE_USER);

  return self->role;
}

HearthMessageState hearth_message_item_get_state(HearthMessageItem *self) {
  g_return_val_if_fail(HEARTH_IS_MESSAGE_ITEM(self), HEARTH_MESSAGE_COMPLETE);

  return self->state;
}

HearthDocument *hearth_message_item_get_document(HearthMessageItem *self) {
  g_return_val_if_fail(HEARTH_IS_MESSAGE_ITEM(self), NULL);

  return self->document;
}

const char *hearth_message_item_get_model(HearthMessageItem *self) {
  g_return_val_if_fail(HEARTH_IS_MESSAGE_ITEM(self), NULL);

  return self->model;
}

double hearth_message_item_get_words_per_second(HearthMessageItem *self) {
  g_return_val_if_fail(HEARTH_IS_MESSAGE_ITEM(self), 0);

  return self->words_per_second;
}

void hearth_message_item_append(HearthMessageItem *self, const char *text) {
  g_return_if_fail(HEARTH_IS_MESSAGE_ITEM(self));
  g_return_if_fail(self->state == HEARTH_MESSAGE_STREAMING);

  hearth_document_append(self->document, text, -1);
}

void hearth_message_item_finish(HearthMessageItem *self, HearthMessageState state, double words_per_second) {
  g_return_if_fail(HEARTH_IS_MESSAGE_ITEM(self));
  g_return_if_fail(self->state == HEARTH_MESSAGE_STREAMING && state != HEARTH_MESSAGE_STREAMING);

  hearth_document_finish(self->document);
  self->state = state;
  self->words_per_second = words_per_second;
  g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_STATE]);
}
