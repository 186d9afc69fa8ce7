/* The model that is talked to, as the title of the conversation, with the library behind it.
 *
 * Signal: "missing" (HearthModelEntry) when the person chose a model whose file is gone. */
#pragma once

#include "app/hearth-model-loader.h"

#include <gtk/gtk.h>

G_BEGIN_DECLS

#define HEARTH_TYPE_MODEL_CHOOSER (hearth_model_chooser_get_type())
G_DECLARE_FINAL_TYPE(HearthModelChooser, hearth_model_chooser, HEARTH, MODEL_CHOOSER, GtkWidget)

void hearth_model_chooser_set_models(HearthModelChooser *self, HearthLibrary *library, HearthModelLoader *loader);

G_END_DECLS
