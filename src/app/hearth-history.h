/* All conversations, newest first: a GListModel of HearthConversation. Drafts are not in it until they are saved. */
#pragma once

#include "app/hearth-conversation.h"

G_BEGIN_DECLS

#define HEARTH_TYPE_HISTORY (hearth_history_get_type())
G_DECLARE_FINAL_TYPE(HearthHistory, hearth_history, HEARTH, HISTORY, GObject)

/* Reads the list; *error is set (and the history is empty) when that fails. */
HearthHistory *hearth_history_new(HearthChatStore *store, HearthModelLoader *loader, HearthEngineClient *client,
                                  GError **error);

/* A new conversation, in memory only; it enters the list with its first message. */
HearthConversation *hearth_history_new_draft(HearthHistory *self);

HearthConversation *hearth_history_find(HearthHistory *self, gint64 id); /* borrowed, or NULL */

/* Takes a conversation off the list, stopping its answer; restoring puts it back. */
gboolean hearth_history_delete(HearthHistory *self, HearthConversation *conversation, GError **error);
gboolean hearth_history_restore(HearthHistory *self, HearthConversation *conversation, GError **error);

/* Saves what is in memory only; for the end of the app. */
void hearth_history_save(HearthHistory *self);

G_END_DECLS
