/* A conversation in the sidebar's list. */
#pragma once

#include "app/hearth-conversation.h"

#include <gtk/gtk.h>

G_BEGIN_DECLS

#define HEARTH_TYPE_SIDEBAR_ROW (hearth_sidebar_row_get_type())
G_DECLARE_FINAL_TYPE(HearthSidebarRow, hearth_sidebar_row, HEARTH, SIDEBAR_ROW, GtkListBoxRow)

GtkWidget *hearth_sidebar_row_new(HearthConversation *conversation);
HearthConversation *hearth_sidebar_row_get_conversation(HearthSidebarRow *self);

G_END_DECLS
