/* The host of the engine: one loaded model and the one thread that loads it and runs its steps.
 *
 * Everything here is called on the thread that made the host, and every callback comes there, on the main context that
 * was its thread default. Jobs run in the order in which they were given; steps go on between them. An idle host wakes
 * nothing. A host lives as long as its process.
 *
 * Texts of conversations and answers pass through and are never logged.
 */
#pragma once

#include "engine/engine.h"
#include "service/hearth-host-error.h"

#include <gio/gio.h>

G_BEGIN_DECLS

typedef struct HearthHost HearthHost;

HearthHost *hearth_host_new(void);

/* --- The model --------------------------------------------------------------------------------------------------- */

/* Zero and NULL mean the engine's choice. Of devices that is the one $HEARTH_DEVICE names, else the best graphics card;
 * where there is none, or it cannot run the model, the processor. */
typedef struct {
  guint context_tokens, n_slots, n_threads;
  const char *device;
} HearthHostLoadOptions;

typedef struct {
  em_engine_facts facts;
  gboolean has_template;
  char *template_problem; /* "" when there is none */
  const char *template_fallback; /* the format that stands in for a template of the file, or "" */
  gboolean knows_thinking;       /* the model's format has a switch for thinking */
  /* Why the processor answers although there is a graphics card, for people, and what the card's side said; else "". */
  char *device_notice, *device_reason;
} HearthHostModel;
void hearth_host_model_free(HearthHostModel *model);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HearthHostModel, hearth_host_model_free)

/* Loads a file; a load in progress is cancelled first. A file that is refused before its weights are read (no model
 * file, of an unknown family, too big) leaves the model that is loaded in place; otherwise that one is freed first, and
 * its requests end as cancelled. progress may be called every 50 ms. EM_ERR_BUSY: too much is waiting to be done
 * already. */
typedef void (*HearthHostProgress)(guint64 done_bytes, guint64 total_bytes, gpointer user_data);
void hearth_host_load_async(HearthHost *host, const char *path, const HearthHostLoadOptions *options,
                            HearthHostProgress progress, gpointer progress_data, GAsyncReadyCallback callback,
                            gpointer user_data);
HearthHostModel *hearth_host_load_finish(HearthHost *host, GAsyncResult *result, GError **error);

/* Makes every load that has not ended end with EM_ERR_CANCELLED. */
void hearth_host_cancel_load(HearthHost *host);

/* Called when a device has failed and another goes on in its place; sentence says so, for people. */
typedef void (*HearthHostDeviceChanged)(const char *device, const char *sentence, gpointer user_data);
void hearth_host_on_device_changed(HearthHost *host, HearthHostDeviceChanged callback, gpointer user_data);

void hearth_host_unload_async(HearthHost *host, GAsyncReadyCallback callback, gpointer user_data);
gboolean hearth_host_unload_finish(HearthHost *host, GAsyncResult *result, GError **error);

/* --- Answers ----------------------------------------------------------------------------------------------------- */

typedef struct {
  char *role, *text;
} HearthHostMessage;

/* What a request asks for. Settings that were not given are the model file's own (general.sampling.*), else the
 * house's. */
typedef struct {
  HearthHostMessage *messages; /* [n_messages] */
  gsize n_messages;
  char **stop; /* NULL-terminated, or NULL */
  char *schema,
      *grammar; /* at most one: the answer is JSON by a schema, or follows a GBNF grammar, from its first token on */
  em_sampling sampling;
  gboolean has_temperature, has_top_k, has_top_p, has_min_p, has_repetition_penalty, has_seed;
  gboolean has_think, think; /* whether the model thinks before it answers; under a schema or grammar it does not */
  guint max_tokens;
} HearthHostQuestion;
HearthHostQuestion *hearth_host_question_new(gsize n_messages);
void hearth_host_question_free(HearthHostQuestion *question);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HearthHostQuestion, hearth_host_question_free)

/* reading and text come together at most once every 16 ms a request; text is valid UTF-8 without NUL. finished comes
 * once, after the last text; error is set with EM_FINISH_ERROR only. */
typedef struct {
  void (*reading)(gpointer user_data, guint64 request, guint done_tokens, guint total_tokens);
  void (*text)(gpointer user_data, guint64 request, const char *text);
  void (*finished)(gpointer user_data, guint64 request, em_finish finish, const em_request_stats *stats,
                   const GError *error);
} HearthHostListener;

/* Takes the question; listener must live as long as the host. Returns the request's id. A request given while a model
 * loads waits for it. 0 with EM_ERR_BUSY: HEARTH_HOST_MAX_REQUESTS have not finished. */
#define HEARTH_HOST_MAX_REQUESTS 64
guint64 hearth_host_generate(HearthHost *host, HearthHostQuestion *question, const HearthHostListener *listener,
                             gpointer user_data, GError **error);

/* Ends a request within one step. Unknown ids are ignored. */
void hearth_host_stop(HearthHost *host, guint64 request);

G_END_DECLS
