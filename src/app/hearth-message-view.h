/* One message as it is seen: a bubble for the person's, plain text for an answer, with what can be done with it below.
 *
 * While the message streams, what is new is drawn once per frame; blocks that are sealed are not touched again. A long message
 * is drawn over several frames, so that the window goes on answering. */
#pragma once

#include "app/hearth-message-item.h"

#include <gtk/gtk.h>

G_BEGIN_DECLS

#define HEARTH_TYPE_MESSAGE_VIEW (hearth_message_view_get_type())
G_DECLARE_FINAL_TYPE(HearthMessageView, hearth_message_view, HEARTH, MESSAGE_VIEW, GtkWidget)

GtkWidget *hearth_message_view_new(HearthMessageItem *item);

G_END_DECLS
