/* What hearth-host.c (the engine thread and its model) and hearth-request.c (one answer) share.
 *
 * Locks: `mutex` guards the job queue and the shared parts of requests; `engine_mutex` guards only that `engine` is not
 * closed while another thread wakes it, and is never taken inside a callback of the engine.
 */
#pragma once

#include "service/hearth-host.h"
#include "text/dialog.h"

typedef struct HearthRequest HearthRequest;

struct HearthHost {
  GMainContext *context;
  GMutex mutex, engine_mutex;
  GCond cond;
  GQueue jobs;

  /* Engine thread, but for waking the engine. */
  em_engine *engine;
  em_gguf *gguf;
  em_dialog *dialog;
  GQueue active; /* of HearthRequest, one reference each */

  /* Main thread. */
  GHashTable *requests; /* id -> HearthRequest, until it has finished */
  guint64 last_request;
  HearthHostDeviceChanged device_changed;
  gpointer device_changed_data;
};

struct HearthRequest {
  gatomicrefcount refs;
  HearthHost *host;
  guint64 id;
  HearthHostQuestion *question;
  const HearthHostListener *listener;
  gpointer user_data;

  gboolean stop_wanted; /* main thread */

  /* Engine thread. */
  em_request_id engine_id; /* 0 while the engine does not hold it */
  em_reply *reply;
  em_constraint *constraint; /* or NULL */
  em_buffer delta;
  gboolean out_of_memory;

  /* Under the host's mutex. */
  GString *text;
  gboolean has_reading, ended, scheduled;
  guint done_tokens, total_tokens;
  em_finish finish;
  em_request_stats stats;
  GError *error;
  gint64 flushed_us;
};

HearthRequest *hearth_request_new(HearthHost *host, guint64 id, HearthHostQuestion *question,
                                  const HearthHostListener *listener, gpointer user_data);
HearthRequest *hearth_request_ref(HearthRequest *self);
void hearth_request_unref(HearthRequest *self);

/* Engine thread: renders, tokenizes and submits. What goes wrong ends the request. */
void hearth_request_start(HearthRequest *self);

/* Any thread: ends a request that the engine does not hold (any more). Takes error; stats may be NULL. */
void hearth_request_end(HearthRequest *self, em_finish finish, const em_request_stats *stats, GError *error);
