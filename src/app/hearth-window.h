/* The window: conversations at the side, one of them beside it, and files dropped anywhere. */
#pragma once

#include "app/hearth-application.h"

G_BEGIN_DECLS

#define HEARTH_TYPE_WINDOW (hearth_window_get_type())
G_DECLARE_FINAL_TYPE(HearthWindow, hearth_window, HEARTH, WINDOW, AdwApplicationWindow)

HearthWindow *hearth_window_new(HearthApplication *application);

/* Shows an empty conversation, the one at hand if it is empty. */
void hearth_window_begin_conversation(HearthWindow *self);

/* Tells something in a dialog that is only closed. */
void hearth_window_tell(HearthWindow *self, const char *heading, const char *body);

G_END_DECLS
