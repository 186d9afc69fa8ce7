/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth"

#include "app/hearth-history.h"

struct _HearthHistory {
  GObject parent_instance;

  HearthChatStore *store;
  HearthModelLoader *loader;
  HearthEngineClient *client;
  GPtrArray *conversations;
};

static void list_model_init(GListModelInterface *interface);

G_DEFINE_FINAL_TYPE_WITH_CODE(HearthHistory, hearth_history, G_TYPE_OBJECT,
                              G_IMPLEMENT_INTERFACE(G_TYPE_LIST_MODEL, list_model_init))

/* --- Auxiliary ------------------------------------------------------------------------------------------------------- */

/* Where a conversation belongs by its time. */
static guint find_place(HearthHistory *self, HearthConversation *conversation) {
  gint64 updated_us = hearth_conversation_get_updated_us(conversation);
  guint i = 0;

  while (i < self->conversations->len &&
         hearth_conversation_get_updated_us(g_ptr_array_index(self->conversations, i)) > updated_us)
    i++;
  return i;
}

static void insert(HearthHistory *self, HearthConversation *conversation) {
  guint place = find_place(self, conversation);

  g_ptr_array_insert(self->conversations, (int)place, g_object_ref(conversation));
  g_list_model_items_changed(G_LIST_MODEL(self), place, 0, 1);
}

static void saved_cb(HearthHistory *self, HearthConversation *conversation) {
  guint old;

  if (!g_ptr_array_find(self->conversations, conversation, &old)) {
    insert(self, conversation);
    return;
  }
  if (old == 0)
    return;
  g_ptr_array_insert(self->conversations, 0, g_ptr_array_steal_index(self->conversations, old));
  g_list_model_items_changed(G_LIST_MODEL(self), 0, old + 1, old + 1);
}

static HearthConversation *make_conversation(HearthHistory *self, const HearthConversationRow *row) {
  HearthConversation *conversation = hearth_conversation_new(self->store, self->loader, self->client, row);

  g_signal_connect_object(conversation, "saved", G_CALLBACK(saved_cb), self, G_CONNECT_SWAPPED);
  return conversation;
}

/* --- GListModel ------------------------------------------------------------------------------------------------------ */

static GType get_item_type(GListModel *model) {
  return HEARTH_TYPE_CONVERSATION;
}

static guint get_n_items(GListModel *model) {
  return HEARTH_HISTORY(model)->conversations->len;
}

static gpointer get_item(GListModel *model, guint position) {
  GPtrArray *conversations = HEARTH_HISTORY(model)->conversations;

  return position < conversations->len ? g_object_ref(g_ptr_array_index(conversations, position)) : NULL;
}

static void list_model_init(GListModelInterface *interface) {
  interface->get_item_type = get_item_type;
  interface->get_n_items = get_n_items;
  interface->get_item = get_item;
}

/* --- GObject overrides ----------------------------------------------------------------------------------------------- */

static void hearth_history_dispose(GObject *object) {
  HearthHistory *self = HEARTH_HISTORY(object);

  g_clear_pointer(&self->conversations, g_ptr_array_unref);
  g_clear_object(&self->store);
  g_clear_object(&self->loader);
  g_clear_object(&self->client);
  G_OBJECT_CLASS(hearth_history_parent_class)->dispose(object);
}

static void hearth_history_class_init(HearthHistoryClass *klass) {
  G_OBJECT_CLASS(klass)->dispose = hearth_history_dispose;
}

static void hearth_history_init(HearthHistory *self) {
  self->conversations = g_ptr_array_new_with_free_func(g_object_unref);
}

/* --- Public API ------------------------------------------------------------------------------------------------------ */

HearthHistory *hearth_history_new(HearthChatStore *store, HearthModelLoader *loader, HearthEngineClient *client,
                                  GError **error) {
  g_autoptr(GPtrArray) rows = NULL;

  g_return_val_if_fail(HEARTH_IS_CHAT_STORE(store), NULL);

  HearthHistory *self = g_object_new(HEARTH_TYPE_HISTORY, NULL);
  self->store = g_object_ref(store);
  self->loader = g_object_ref(loader);
  self->client = g_object_ref(client);
  rows = hearth_chat_store_list(store, error);
  for (guint i = 0; rows && i < rows->len; i++)
    g_ptr_array_add(self->conversations, make_conversation(self, g_ptr_array_index(rows, i)));
  return self;
}

HearthConversation *hearth_history_new_draft(HearthHistory *self) {
  g_return_val_if_fail(HEARTH_IS_HISTORY(self), NULL);

  return make_conversation(self, NULL);
}

HearthConversation *hearth_history_find(HearthHistory *self, gint64 id) {
  g_return_val_if_fail(HEARTH_IS_HISTORY(self), NULL);

  for (guint i = 0; i < self->conversations->len; i++) {
    HearthConversation *conversation = g_ptr_array_index(self->conversations, i);

    if (hearth_conversation_get_id(conversation) == id)
      return conversation;
  }
  return NULL;
}

gboolean hearth_history_delete(HearthHistory *self, HearthConversation *conversation, GError **error) {
  guint position;

  g_return_val_if_fail(HEARTH_IS_HISTORY(self), FALSE);
  g_return_val_if_fail(HEARTH_IS_CONVERSATION(conversation), FALSE);

  if (!hearth_chat_store_delete(self->store, hearth_conversation_get_id(conversation), error))
    return FALSE;
  hearth_conversation_stop(conversation);
  if (g_ptr_array_find(self->conversations, conversation, &position)) {
    g_ptr_array_remove_index(self->conversations, position);
    g_list_model_items_changed(G_LIST_MODEL(self), position, 1, 0);
  }
  return TRUE;
}

gboolean hearth_history_restore(HearthHistory *self, HearthConversation *conversation, GError **error) {
  g_return_val_if_fail(HEARTH_IS_HISTORY(self), FALSE);
  g_return_val_if_fail(HEARTH_IS_CONVERSATION(conversation), FALSE);

  if (!hearth_chat_store_restore(self->store, hearth_conversation_get_id(conversation), error))
    return FALSE;
  if (!g_ptr_array_find(self->conversations, conversation, NULL))
    insert(self, conversation);
  return TRUE;
}

void hearth_history_save(HearthHistory *self) {
  g_return_if_fail(HEARTH_IS_HISTORY(self));

  for (guint i = 0; i < self->conversations->len; i++)
    hearth_conversation_save(g_ptr_array_index(self->conversations, i));
}
