/* The app's side of the engine process.
 *
 * A HearthEngineClient starts hearth-engine as a child on one end of a socketpair, watches it, and starts it again
 * within 2 s when it dies. The child dies with the app. Loading and generating are asynchronous; all signals and
 * callbacks come on the main context of the thread that made the client. The client never blocks.
 */
#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* Stable error codes, one for each error word of the D-Bus interface. */
#define HEARTH_ENGINE_ERROR (hearth_engine_error_quark())
typedef enum {
  HEARTH_ENGINE_ERROR_FAILED, /* anything else */
  HEARTH_ENGINE_ERROR_NO_MEMORY,
  HEARTH_ENGINE_ERROR_TOO_BIG,
  HEARTH_ENGINE_ERROR_IO,
  HEARTH_ENGINE_ERROR_NOT_FOUND,
  HEARTH_ENGINE_ERROR_FORMAT,
  HEARTH_ENGINE_ERROR_LIMIT,
  HEARTH_ENGINE_ERROR_UNSUPPORTED,
  HEARTH_ENGINE_ERROR_CHANGED,
  HEARTH_ENGINE_ERROR_ARGUMENT,
  HEARTH_ENGINE_ERROR_CANCELLED,
  HEARTH_ENGINE_ERROR_BUSY,
  HEARTH_ENGINE_ERROR_CONTEXT,
  HEARTH_ENGINE_ERROR_DEVICE,
  HEARTH_ENGINE_ERROR_NO_MODEL, /* Generate without a loaded model */
  HEARTH_ENGINE_ERROR_REFUSED,  /* the conversation format of the model does not take this conversation */
  HEARTH_ENGINE_ERROR_DIED      /* the engine process ended; it is being started again */
} HearthEngineError;
GQuark hearth_engine_error_quark(void);

#define HEARTH_TYPE_ENGINE_CLIENT (hearth_engine_client_get_type())
G_DECLARE_FINAL_TYPE(HearthEngineClient, hearth_engine_client, HEARTH, ENGINE_CLIENT, GObject)

/* program: path of hearth-engine, or NULL: $HEARTH_ENGINE, else beside the running program, else the installed one. The
 * child is started at once.
 *
 * Properties: "running" (boolean, the child is up and answers), "loading" (boolean).
 *
 * Signals: "died" (), the child ended by itself, requests and a load in progress have failed with DIED; "restarted" (),
 * it is up again, with no model loaded; "device-changed" (const char *device, const char *sentence), the device failed
 * and another one goes on in its place, sentence says so, for people. */
HearthEngineClient *hearth_engine_client_new(const char *program);
gboolean hearth_engine_client_get_running(HearthEngineClient *self);
/* The device of later loads as the engine names it, "cpu"; NULL: the engine's choice, which is the best there is. */
void hearth_engine_client_set_device(HearthEngineClient *self, const char *device);
/* The child's process id, 0 when it is not running (tests kill it). */
GPid hearth_engine_client_get_pid(HearthEngineClient *self);

/* What is known of a loaded model. Plain values; free with hearth_model_facts_free. */
typedef struct {
  char *architecture, *device, *template_problem;
  char *template_fallback;             /* the format that stands in where the file has no usable template; else "" */
  char *device_notice, *device_reason; /* why the processor answers though there is a graphics card: for people, and the
                                          details; else "" */
  guint layers, gpu_layers;            /* of the layers, those on the graphics card; the others are on the processor */
  guint context_tokens, train_context_tokens;
  guint64 parameters, weights_bytes, kv_bytes, working_bytes, available_bytes, weights_bytes_per_token,
      kv_bytes_per_token;
  gint64 load_us;
  gboolean has_template;
} HearthModelFacts;
void hearth_model_facts_free(HearthModelFacts *facts);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HearthModelFacts, hearth_model_facts_free)

/* Loads a file (waiting for the engine to be up); one load at a time, a second one cancels the first. progress is
 * called with bytes done and in all. Cancelling the cancellable stops the load in the engine. */
typedef void (*HearthLoadProgress)(guint64 done_bytes, guint64 total_bytes, gpointer user_data);
void hearth_engine_client_load_async(HearthEngineClient *self, GFile *file, HearthLoadProgress progress,
                                     gpointer progress_data, GCancellable *cancellable, GAsyncReadyCallback callback,
                                     gpointer user_data);
HearthModelFacts *hearth_engine_client_load_finish(HearthEngineClient *self, GAsyncResult *result, GError **error);

void hearth_engine_client_unload(HearthEngineClient *self);

/* --- One answer -------------------------------------------------------------------------------------------------- */

/* A HearthAnswer is one request. It is made by hearth_engine_client_generate and ends with exactly one "finished".
 * Signals:
 *   "text" (const char *delta)    more text
 *   "reading" (uint done, uint total)   prompt tokens read
 *   "finished" ()                 see the getters */
#define HEARTH_TYPE_ANSWER (hearth_answer_get_type())
G_DECLARE_FINAL_TYPE(HearthAnswer, hearth_answer, HEARTH, ANSWER, GObject)

typedef enum {
  HEARTH_FINISH_STOP,
  HEARTH_FINISH_LENGTH,
  HEARTH_FINISH_CONTEXT,
  HEARTH_FINISH_CANCELLED,
  HEARTH_FINISH_ERROR
} HearthFinish;

typedef struct {
  guint prompt_tokens, reused_tokens, generated_tokens;
  gint64 prefill_us, decode_us;
} HearthAnswerStats;

typedef struct {
  double temperature; /* negative: the engine's default */
  guint max_tokens;   /* 0: until the context is full */
  guint64 seed;       /* 0: a new one each time */
} HearthGenerateOptions;

/* roles and texts: n_messages strings each, valid UTF-8. The request is sent at once; failing to send ends the answer
 * with an error: DIED while the engine is not up, CONTEXT for more than 4 MiB of text. */
HearthAnswer *hearth_engine_client_generate(HearthEngineClient *self, const char *const *roles,
                                            const char *const *texts, guint n_messages,
                                            const HearthGenerateOptions *options);
void hearth_answer_stop(HearthAnswer *self);
gboolean hearth_answer_get_finished(HearthAnswer *self);
HearthFinish hearth_answer_get_finish(HearthAnswer *self);
const HearthAnswerStats *hearth_answer_get_stats(HearthAnswer *self);
const GError *hearth_answer_get_error(HearthAnswer *self); /* with HEARTH_FINISH_ERROR */
/* Words a second of the decode phase: 0.75 words a token, the usual rule for English; 0 when too short to tell. */
double hearth_answer_get_words_per_second(HearthAnswer *self);

G_END_DECLS
