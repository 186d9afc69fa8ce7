/* The child process hearth-engine: started, connected, watched, and started again when it dies. Everything happens on
 * the thread that made it, in its thread-default main context.
 *
 * A start that follows a healthy engine's death is immediate; starts that fail one after the other wait longer and longer, at
 * most 30 s. From the third on whoever waits is told that the engine cannot be started.
 */
#pragma once

#include <gio/gio.h>

#include "hearth-engine-dbus.h"

G_BEGIN_DECLS

typedef struct HearthEngineProcess HearthEngineProcess;

/* up: the engine answers; engine is borrowed until down. again: something went down before it, a first start
 * that failed included.
 * down: it died (was_up) or could not be started; reason is why it could not, or NULL. Another start is under way. */
typedef void (*HearthEngineUp)(gpointer user_data, HearthDbusEngine *engine, gboolean again);
typedef void (*HearthEngineDown)(gpointer user_data, gboolean was_up, const GError *reason);

/* program as hearth_engine_client_new has it. The child is started at once; up comes from the main loop. */
HearthEngineProcess *hearth_engine_process_new(const char *program, HearthEngineUp up, HearthEngineDown down,
                                               gpointer user_data);
/* Ends the child; no callback comes any more. */
void hearth_engine_process_free(HearthEngineProcess *self);

GMainContext *hearth_engine_process_get_context(HearthEngineProcess *self);
GPid hearth_engine_process_get_pid(HearthEngineProcess *self); /* 0: not running */

/* Says that the engine did something useful, so that its death is not counted as a failed start. */
void hearth_engine_process_works(HearthEngineProcess *self);

G_END_DECLS
