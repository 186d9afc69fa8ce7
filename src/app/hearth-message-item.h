/* One message of a conversation in memory.
 *
 * The text grows without a signal while the message streams: who draws it looks at the document once per frame. Properties:
 * "state" (HearthMessageState), notified when streaming ends.
 */
#pragma once

#include "chat/hearth-chat-store.h"
#include "chat/hearth-document.h"

G_BEGIN_DECLS

#define HEARTH_TYPE_MESSAGE_ITEM (hearth_message_item_get_type())
G_DECLARE_FINAL_TYPE(HearthMessageItem, hearth_message_item, HEARTH, MESSAGE_ITEM, GObject)

HearthMessageItem *hearth_message_item_new(HearthRole role, HearthMessageState state, const char *text, const char *model);
HearthMessageItem *hearth_message_item_new_from_message(const HearthMessage *message);

/* Its id in the store, 0 until it is there. */
gint64 hearth_message_item_get_id(HearthMessageItem *self);
void hearth_message_item_set_id(HearthMessageItem *self, gint64 id);

HearthRole hearth_message_item_get_role(HearthMessageItem *self);
HearthMessageState hearth_message_item_get_state(HearthMessageItem *self);
HearthDocument *hearth_message_item_get_document(HearthMessageItem *self);
const char *hearth_message_item_get_model(HearthMessageItem *self); /* NULL: not known */
double hearth_message_item_get_words_per_second(HearthMessageItem *self);

void hearth_message_item_append(HearthMessageItem *self, const char *text);
/* Ends streaming: state is one of the others. */
void hearth_message_item_finish(HearthMessageItem *self, HearthMessageState state, double words_per_second);

G_END_DECLS
