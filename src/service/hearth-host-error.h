/* What can go wrong in the engine process, as a GError: the code is an em_status or HEARTH_HOST_ERROR_NO_MODEL, the
 * message one plain sentence. Here is the one place that knows the word for each on D-Bus.
 */
#pragma once

#include "engine/engine.h"

#include <gio/gio.h>

G_BEGIN_DECLS

#define HEARTH_HOST_ERROR (hearth_host_error_quark())
#define HEARTH_HOST_ERROR_NO_MODEL EM_N_STATUS
#define HEARTH_HOST_ERROR_REFUSED \
  (EM_N_STATUS + 1) /* the model's conversation format does not take this conversation */
GQuark hearth_host_error_quark(void);

/* A new GError with the core's text made a sentence: a capital first and a full stop last. error may hold no text. */
GError *hearth_host_error_new(em_status status, const em_error *error);

/* "dev.hearth.Engine.Error.TooBig" and so on; errors of other domains are "...Failed". Static. */
const char *hearth_host_error_dbus_name(const GError *error);

G_END_DECLS
