/* Which model the app talks to, and getting it ready.
 *
 * Properties: "entry" (the chosen HearthModelEntry or NULL), "state" (HearthLoaderState as int), "fraction" (double, 0 to 1;
 * negative while it is not known), "device-notice" (string or NULL: why the processor answers although there is a
 * graphics card, for people). Signal "failed" (GError): a load that the person asked for by name did not succeed.
 * The model is loaded again by itself when the engine has died; without the graphics card when that may be the reason.
 */
#pragma once

#include "client/hearth-engine-client.h"
#include "library/hearth-library.h"

G_BEGIN_DECLS

typedef enum {
  HEARTH_LOADER_IDLE,    /* nothing is loaded; entry may be chosen */
  HEARTH_LOADER_LOADING,
  HEARTH_LOADER_READY,
  HEARTH_LOADER_FAILED   /* see hearth_model_loader_get_error */
} HearthLoaderState;

#define HEARTH_TYPE_MODEL_LOADER (hearth_model_loader_get_type())
G_DECLARE_FINAL_TYPE(HearthModelLoader, hearth_model_loader, HEARTH, MODEL_LOADER, GObject)

HearthModelLoader *hearth_model_loader_new(HearthEngineClient *client);

HearthModelEntry *hearth_model_loader_get_entry(HearthModelLoader *self);
HearthLoaderState hearth_model_loader_get_state(HearthModelLoader *self);
double hearth_model_loader_get_fraction(HearthModelLoader *self);
const GError *hearth_model_loader_get_error(HearthModelLoader *self);
/* Of the loaded model; NULL unless READY. */
const HearthModelFacts *hearth_model_loader_get_facts(HearthModelLoader *self);
const char *hearth_model_loader_get_device_notice(HearthModelLoader *self);
/* Seconds until it is loaded; negative when it is too early to tell. */
gint64 hearth_model_loader_get_seconds_left(HearthModelLoader *self);

/* Chooses a model without loading it. Nothing happens while another is loading or loaded. */
void hearth_model_loader_choose(HearthModelLoader *self, HearthModelEntry *entry);
/* Loads a model the person named, in place of what is loaded or loading. */
void hearth_model_loader_load(HearthModelLoader *self, HearthModelEntry *entry);
/* Loads the chosen model unless it is loading or loaded; false when none is chosen. */
gboolean hearth_model_loader_ensure(HearthModelLoader *self);
/* The same, when the model will probably be wanted soon; not after the person has cancelled it. */
void hearth_model_loader_prepare(HearthModelLoader *self);
void hearth_model_loader_cancel(HearthModelLoader *self);
/* Forgets an entry that left the library. */
void hearth_model_loader_forget(HearthModelLoader *self, HearthModelEntry *entry);

G_END_DECLS
