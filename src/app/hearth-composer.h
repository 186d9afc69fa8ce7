/* Where messages are written. Enter sends, Shift+Enter starts a new line.
 *
 * Signals: "send" () when the person wants to send what is there, "typed" () when the text changed. Property: "busy" (boolean):
 * an answer is under way, and the button stops it (action win.stop). */
#pragma once

#include <gtk/gtk.h>

G_BEGIN_DECLS

#define HEARTH_TYPE_COMPOSER (hearth_composer_get_type())
G_DECLARE_FINAL_TYPE(HearthComposer, hearth_composer, HEARTH, COMPOSER, GtkWidget)

char *hearth_composer_dup_text(HearthComposer *self);
void hearth_composer_set_text(HearthComposer *self, const char *text);
void hearth_composer_set_busy(HearthComposer *self, gboolean busy);

G_END_DECLS
