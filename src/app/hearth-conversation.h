/* One conversation: its messages in memory, its answers as they come, and their way to the store.
 *
 * A new one is a draft, in memory only, until its first message is sent. It works on while nobody looks at it. Properties:
 * "title" (string), "busy" (boolean: an answer is awaited or being written), "activity" (string or NULL: what is awaited, for
 * people), "notice" (string or NULL: what went wrong, for people). Signals: "saved" () when it got its place in the store or a
 * new message; "answered" (HearthMessageItem) when an answer has ended.
 */
#pragma once

#include "app/hearth-message-item.h"
#include "app/hearth-model-loader.h"
#include "app/hearth-sentences.h"

G_BEGIN_DECLS

#define HEARTH_TYPE_CONVERSATION (hearth_conversation_get_type())
G_DECLARE_FINAL_TYPE(HearthConversation, hearth_conversation, HEARTH, CONVERSATION, GObject)

/* row NULL: a draft. */
HearthConversation *hearth_conversation_new(HearthChatStore *store, HearthModelLoader *loader, HearthEngineClient *client,
                                            const HearthConversationRow *row);

gint64 hearth_conversation_get_id(HearthConversation *self); /* 0: a draft */
const char *hearth_conversation_get_title(HearthConversation *self);
gint64 hearth_conversation_get_updated_us(HearthConversation *self);
gboolean hearth_conversation_get_busy(HearthConversation *self);
const char *hearth_conversation_get_activity(HearthConversation *self);
const char *hearth_conversation_get_notice(HearthConversation *self);
HearthRemedy hearth_conversation_get_remedy(HearthConversation *self); /* of the notice */

/* HearthMessageItem, oldest first; read from the store when first asked for. */
GListModel *hearth_conversation_get_messages(HearthConversation *self);

/* Text in the composer that has not been sent. */
const char *hearth_conversation_get_unsent(HearthConversation *self);
void hearth_conversation_set_unsent(HearthConversation *self, const char *text);

gboolean hearth_conversation_rename(HearthConversation *self, const char *title, GError **error);

/* Saves a message and then asks for its answer. On failure nothing was sent and nothing has changed. */
gboolean hearth_conversation_send(HearthConversation *self, const char *text, GError **error);
void hearth_conversation_stop(HearthConversation *self);
/* Asks again for an answer to the last message; one that was cut off stays. */
void hearth_conversation_try_again(HearthConversation *self);
/* Saves what is in memory of an answer that could not be saved, or is being written. */
void hearth_conversation_save(HearthConversation *self);

G_END_DECLS
