/* The messages of one conversation with the composer below.
 *
 * Property: "conversation". Signal: "remedy" (HearthRemedy as int) when the person wants a notice's remedy that is not the
 * conversation's own to give. */
#pragma once

#include "app/hearth-conversation.h"

#include <gtk/gtk.h>

G_BEGIN_DECLS

#define HEARTH_TYPE_CONVERSATION_PAGE (hearth_conversation_page_get_type())
G_DECLARE_FINAL_TYPE(HearthConversationPage, hearth_conversation_page, HEARTH, CONVERSATION_PAGE, GtkWidget)

/* loader is told when the person begins to write, so that the model is ready sooner. */
void hearth_conversation_page_set_loader(HearthConversationPage *self, HearthModelLoader *loader);
void hearth_conversation_page_set_conversation(HearthConversationPage *self, HearthConversation *conversation);

G_END_DECLS
