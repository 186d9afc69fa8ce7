/* A strip below the header bar that shows a model being loaded: how far, how long yet, and a way to cancel. */
#pragma once

#include "app/hearth-model-loader.h"

#include <gtk/gtk.h>

G_BEGIN_DECLS

#define HEARTH_TYPE_LOAD_STRIP (hearth_load_strip_get_type())
G_DECLARE_FINAL_TYPE(HearthLoadStrip, hearth_load_strip, HEARTH, LOAD_STRIP, GtkWidget)

void hearth_load_strip_set_loader(HearthLoadStrip *self, HearthModelLoader *loader);

G_END_DECLS
