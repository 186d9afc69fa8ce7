/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/hearth-answer-private.h"
#include "client/hearth-engine-process.h"

#include "hearth-engine-dbus.h"

#define MAX_CONVERSATION_BYTES \
  (4u << 20) /* the engine takes no more; a message D-Bus cannot hold costs the connection */

struct _HearthEngineClient {
  GObject parent_instance;
  HearthEngineProcess *process;
  HearthDbusEngine *engine; /* NULL while the engine is not up; owned by the process */

  char *device;         /* of later loads, or NULL */
  GQueue loads;         /* of GTask, oldest first, until they end */
  GHashTable *answers;  /* set of HearthAnswer, until they end */
  GHashTable *requests; /* id -> HearthAnswer of the set above */
  guint n_asking;       /* Generate calls without a reply */
  GQueue early;         /* signals of requests whose Generate call has no reply yet */
};

/* The data of a load's task. */
typedef struct {
  char *path;
  HearthLoadProgress progress;
  gpointer progress_data;
  GSource *on_cancelled;
  gboolean sent;
} Load;

typedef struct {
  char *name;
  GVariant *parameters;
} Signal;

enum { PROP_RUNNING = 1, PROP_LOADING, N_PROPS };
static GParamSpec *props[N_PROPS];
enum { DIED, DEVICE_CHANGED, RESTARTED, N_SIGNALS };
static guint signals[N_SIGNALS];

G_DEFINE_FINAL_TYPE(HearthEngineClient, hearth_engine_client, G_TYPE_OBJECT)

static GError *died_error(void) {
  return g_error_new_literal(HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_DIED,
                             "The engine stopped unexpectedly and is being started again.");
}

/* Whether a call failed because the engine is gone. Then on_down, which follows, ends everything that waits: nobody
 * hears of a death before the client itself knows that there is no engine to ask. */
static gboolean is_gone(const GError *error) {
  return g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CLOSED) ||
         g_error_matches(error, G_IO_ERROR, G_IO_ERROR_BROKEN_PIPE);
}

/* What a failed call means: an error of the engine's own, or a message that could not be sent or read. */
static GError *call_error(const GError *error) {
  GError *ours = error->domain == HEARTH_ENGINE_ERROR
                     ? g_error_copy(error)
                     : g_error_new_literal(HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_FAILED, error->message);

  g_dbus_error_strip_remote_error(ours);
  return ours;
}

/* --- Loading ----------------------------------------------------------------------------------------------------- */

void hearth_model_facts_free(HearthModelFacts *facts) {
  g_free(facts->architecture);
  g_free(facts->device);
  g_free(facts->template_problem);
  g_free(facts->template_fallback);
  g_free(facts->device_notice);
  g_free(facts->device_reason);
  g_free(facts);
}

static HearthModelFacts *facts_from_variant(GVariant *dictionary) {
  HearthModelFacts *facts = g_new0(HearthModelFacts, 1);
  char **texts[] = {&facts->architecture,      &facts->device,        &facts->template_problem,
                    &facts->template_fallback, &facts->device_notice, &facts->device_reason};
  guint64 load_ns = 0;

  g_variant_lookup(dictionary, "architecture", "s", &facts->architecture);
  g_variant_lookup(dictionary, "device", "s", &facts->device);
  g_variant_lookup(dictionary, "template-problem", "s", &facts->template_problem);
  g_variant_lookup(dictionary, "template-fallback", "s", &facts->template_fallback);
  g_variant_lookup(dictionary, "device-notice", "s", &facts->device_notice);
  g_variant_lookup(dictionary, "device-reason", "s", &facts->device_reason);
  g_variant_lookup(dictionary, "layers", "u", &facts->layers);
  g_variant_lookup(dictionary, "gpu-layers", "u", &facts->gpu_layers);
  g_variant_lookup(dictionary, "context-tokens", "u", &facts->context_tokens);
  g_variant_lookup(dictionary, "train-context-tokens", "u", &facts->train_context_tokens);
  g_variant_lookup(dictionary, "parameters", "t", &facts->parameters);
  g_variant_lookup(dictionary, "weights-bytes", "t", &facts->weights_bytes);
  g_variant_lookup(dictionary, "kv-bytes", "t", &facts->kv_bytes);
  g_variant_lookup(dictionary, "working-bytes", "t", &facts->working_bytes);
  g_variant_lookup(dictionary, "available-bytes", "t", &facts->available_bytes);
  g_variant_lookup(dictionary, "weights-bytes-per-token", "t", &facts->weights_bytes_per_token);
  g_variant_lookup(dictionary, "kv-bytes-per-token", "t", &facts->kv_bytes_per_token);
  g_variant_lookup(dictionary, "load-ns", "t", &load_ns);
  g_variant_lookup(dictionary, "has-template", "b", &facts->has_template);
  facts->load_us = (gint64)(load_ns / 1000);
  for (guint i = 0; i < G_N_ELEMENTS(texts); i++) {
    if (!*texts[i])
      *texts[i] = g_strdup("");
  }
  return facts;
}

static void load_free(gpointer data) {
  Load *load = data;

  if (load->on_cancelled) {
    g_source_destroy(load->on_cancelled);
    g_source_unref(load->on_cancelled);
  }
  g_free(load->path);
  g_free(load);
}

/* Takes the queue's reference, and facts. One of facts and error (copied) is given. A load that has ended stays as it
 * is. */
static void end_load(HearthEngineClient *self, GTask *task, HearthModelFacts *facts, const GError *error) {
  g_autoptr(HearthEngineClient) kept = g_object_ref(self); /* the task's may be the last reference */
  Load *load = g_task_get_task_data(task);

  if (!g_queue_remove(&self->loads, task)) {
    g_clear_pointer(&facts, hearth_model_facts_free);
    return;
  }
  if (load->on_cancelled)
    g_source_destroy(load->on_cancelled);
  if (facts)
    g_task_return_pointer(task, facts, (GDestroyNotify)hearth_model_facts_free);
  else
    g_task_return_error(task, g_error_copy(error));
  g_object_unref(task);
  g_object_notify_by_pspec(G_OBJECT(self), props[PROP_LOADING]);
}

static void on_load_reply(GObject *source, GAsyncResult *result, gpointer user_data) {
  g_autoptr(GTask) task = user_data;
  HearthEngineClient *self = g_task_get_source_object(task);
  g_autoptr(GVariant) dictionary = NULL;
  g_autoptr(GError) error = NULL;
  g_autoptr(GError) ours = NULL;

  hearth_dbus_engine_call_load_finish(HEARTH_DBUS_ENGINE(source), &dictionary, result, &error);
  if (!dictionary && is_gone(error))
    return;
  if (dictionary)
    hearth_engine_process_works(self->process);
  else
    ours = call_error(error);
  end_load(self, task, dictionary ? facts_from_variant(dictionary) : NULL, ours);
}

static void send_load(HearthEngineClient *self, GTask *task) {
  Load *load = g_task_get_task_data(task);

  g_auto(GVariantDict) options = G_VARIANT_DICT_INIT(NULL);

  load->sent = TRUE;
  if (self->device)
    g_variant_dict_insert(&options, "device", "s", self->device);
  hearth_dbus_engine_call_load(self->engine, load->path, g_variant_dict_end(&options), NULL, on_load_reply,
                               g_object_ref(task));
}

static void cancel_load(HearthEngineClient *self, GTask *task) {
  Load *load = g_task_get_task_data(task);

  if (!load->sent) {
    g_autoptr(GError) error =
        g_error_new_literal(HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_CANCELLED, "The loading was cancelled.");
    end_load(self, task, NULL, error);
  } else if (task == g_queue_peek_tail(&self->loads) && self->engine) {
    /* An earlier one was cancelled by the load that came after it. */
    hearth_dbus_engine_call_cancel_load(self->engine, NULL, NULL, NULL);
  }
}

/* The engine itself cancels the loads it has when it gets another one, or an unload. Callbacks may bring new loads. */
static void cancel_unsent_loads(HearthEngineClient *self) {
  g_autoptr(GPtrArray) unsent = g_ptr_array_new_with_free_func(g_object_unref);

  for (GList *link = self->loads.head; link; link = link->next) {
    if (!((Load *)g_task_get_task_data(link->data))->sent)
      g_ptr_array_add(unsent, g_object_ref(link->data));
  }
  for (guint i = 0; i < unsent->len; i++)
    cancel_load(self, unsent->pdata[i]);
}

static gboolean on_cancelled(GCancellable *cancellable, gpointer user_data) {
  GTask *task = user_data;

  cancel_load(g_task_get_source_object(task), task);
  return G_SOURCE_REMOVE;
}

void hearth_engine_client_load_async(HearthEngineClient *self, GFile *file, HearthLoadProgress progress,
                                     gpointer progress_data, GCancellable *cancellable, GAsyncReadyCallback callback,
                                     gpointer user_data) {
  g_return_if_fail(HEARTH_IS_ENGINE_CLIENT(self));
  g_return_if_fail(G_IS_FILE(file));

  g_autoptr(GTask) task = g_task_new(self, cancellable, callback, user_data);
  g_autofree char *path = g_file_get_path(file);
  Load *load;

  /* The engine says when a load has ended; a cancelled one may still have succeeded. */
  g_task_set_check_cancellable(task, FALSE);
  g_task_set_source_tag(task, hearth_engine_client_load_async);
  if (!path) {
    g_task_return_new_error_literal(task, HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_NOT_FOUND,
                                    "The file is not on this computer.");
    return;
  }
  load = g_new0(Load, 1);
  load->path = g_steal_pointer(&path);
  load->progress = progress;
  load->progress_data = progress_data;
  g_task_set_task_data(task, load, load_free);

  cancel_unsent_loads(self);
  g_queue_push_tail(&self->loads, g_object_ref(task));
  if (cancellable) {
    load->on_cancelled = g_cancellable_source_new(cancellable);
    g_source_set_callback(load->on_cancelled, G_SOURCE_FUNC(on_cancelled), task, NULL);
    g_source_attach(load->on_cancelled, g_task_get_context(task));
  }
  if (self->engine)
    send_load(self, task);
  g_object_notify_by_pspec(G_OBJECT(self), props[PROP_LOADING]);
}

HearthModelFacts *hearth_engine_client_load_finish(HearthEngineClient *self, GAsyncResult *result, GError **error) {
  g_return_val_if_fail(g_task_is_valid(result, self), NULL);
  return g_task_propagate_pointer(G_TASK(result), error);
}

void hearth_engine_client_unload(HearthEngineClient *self) {
  g_return_if_fail(HEARTH_IS_ENGINE_CLIENT(self));

  cancel_unsent_loads(self);
  if (self->engine)
    hearth_dbus_engine_call_unload(self->engine, NULL, NULL, NULL);
}

/* --- Answers ----------------------------------------------------------------------------------------------------- */

static void end_answer(HearthEngineClient *self, HearthAnswer *answer, HearthFinish finish,
                       const HearthAnswerStats *stats, const GError *error) {
  guint64 request = hearth_answer_get_request(answer);
  g_autoptr(HearthAnswer) kept = g_object_ref(answer);

  /* An engine that was started again counts requests from the beginning: an answer that ended before has no id any
   * more. */
  if (!g_hash_table_contains(self->answers, answer))
    return;
  g_hash_table_remove(self->requests, &request);
  g_hash_table_remove(self->answers, answer);
  hearth_answer_detach(answer);
  hearth_answer_end(answer, finish, stats, error);
}

static void on_answer_stop(HearthAnswer *answer, gpointer user_data) {
  HearthEngineClient *self = user_data;
  guint64 request = hearth_answer_get_request(answer);

  if (request != 0 && self->engine)
    hearth_dbus_engine_call_stop(self->engine, request, NULL, NULL, NULL);
}

static void finish_answer(HearthEngineClient *self, HearthAnswer *answer, const char *word, GVariant *dictionary) {
  static const char *const words[] = {[HEARTH_FINISH_STOP] = "stop",
                                      [HEARTH_FINISH_LENGTH] = "length",
                                      [HEARTH_FINISH_CONTEXT] = "context",
                                      [HEARTH_FINISH_CANCELLED] = "cancelled"};
  HearthFinish finish = HEARTH_FINISH_ERROR;
  HearthAnswerStats stats = {0};
  guint64 prefill_ns = 0, decode_ns = 0;
  const char *name = NULL, *message = NULL;
  g_autoptr(GError) error = NULL;

  for (guint i = 0; i < G_N_ELEMENTS(words); i++) {
    if (g_str_equal(words[i], word))
      finish = (HearthFinish)i;
  }
  g_variant_lookup(dictionary, "prompt-tokens", "u", &stats.prompt_tokens);
  g_variant_lookup(dictionary, "reused-tokens", "u", &stats.reused_tokens);
  g_variant_lookup(dictionary, "generated-tokens", "u", &stats.generated_tokens);
  g_variant_lookup(dictionary, "prefill-ns", "t", &prefill_ns);
  g_variant_lookup(dictionary, "decode-ns", "t", &decode_ns);
  stats.prefill_us = (gint64)(prefill_ns / 1000);
  stats.decode_us = (gint64)(decode_ns / 1000);
  if (finish == HEARTH_FINISH_ERROR) {
    g_autoptr(GError) remote = NULL;

    g_variant_lookup(dictionary, "error-name", "&s", &name);
    g_variant_lookup(dictionary, "error-message", "&s", &message);
    remote = g_dbus_error_new_for_dbus_error(name ? name : "dev.hearth.Engine.Error.Failed", message ? message : "");
    error = call_error(remote);
  }
  end_answer(self, answer, finish, &stats, error);
}

static void take_signal(HearthEngineClient *self, const char *name, GVariant *parameters) {
  HearthAnswer *answer;
  guint64 request;

  if (g_str_equal(name, "LoadProgress")) {
    GTask *task = g_queue_peek_head(&self->loads);
    Load *load = task ? g_task_get_task_data(task) : NULL;
    guint64 done_bytes, total_bytes;

    g_variant_get(parameters, "(tt)", &done_bytes, &total_bytes);
    if (load && load->sent && load->progress)
      load->progress(done_bytes, total_bytes, load->progress_data);
    return;
  }

  if (g_str_equal(name, "DeviceChanged")) {
    const char *device, *sentence;

    g_variant_get(parameters, "(&s&s)", &device, &sentence);
    g_signal_emit(self, signals[DEVICE_CHANGED], 0, device, sentence);
    return;
  }

  g_variant_get_child(parameters, 0, "t", &request);
  answer = g_hash_table_lookup(self->requests, &request);
  if (!answer) {
    if (self->n_asking > 0) {
      Signal *early = g_new(Signal, 1);
      *early = (Signal){g_strdup(name), g_variant_ref(parameters)};
      g_queue_push_tail(&self->early, early);
    }
    return;
  }
  if (g_str_equal(name, "Delta")) {
    const char *text;
    g_variant_get_child(parameters, 1, "&s", &text);
    hearth_answer_add_text(answer, text);
  } else if (g_str_equal(name, "Reading")) {
    guint done_tokens, total_tokens;
    g_variant_get(parameters, "(tuu)", NULL, &done_tokens, &total_tokens);
    hearth_answer_add_reading(answer, done_tokens, total_tokens);
  } else if (g_str_equal(name, "Finished")) {
    const char *word;
    g_autoptr(GVariant) dictionary = NULL;
    g_variant_get(parameters, "(t&s@a{sv})", NULL, &word, &dictionary);
    finish_answer(self, answer, word, dictionary);
  }
}

/* The engine reads hostile files, so what it says is checked like anything else from outside. The proxy drops signals
 * that have not the type of the interface, and lets those through that the interface does not know. */
static void on_signal(GDBusProxy *proxy, const char *sender, const char *name, GVariant *parameters,
                      gpointer user_data) {
  static const char *const known[] = {"LoadProgress", "DeviceChanged", "Delta", "Reading", "Finished", NULL};

  if (g_strv_contains(known, name))
    take_signal(user_data, name, parameters);
}

static void signal_free(Signal *early) {
  g_free(early->name);
  g_variant_unref(early->parameters);
  g_free(early);
}

/* Signals of a request whose id was not known yet find their answer now. */
static void take_early_signals(HearthEngineClient *self) {
  GQueue early = self->early;
  Signal *signal;

  g_queue_init(&self->early);
  while ((signal = g_queue_pop_head(&early))) {
    take_signal(self, signal->name, signal->parameters);
    signal_free(signal);
  }
}

typedef struct {
  HearthEngineClient *client;
  HearthAnswer *answer;
  GError *error; /* why it is not even sent */
} Asking;

static void on_generate_reply(GObject *source, GAsyncResult *result, gpointer user_data) {
  g_autofree Asking *asking = user_data;
  g_autoptr(HearthEngineClient) self = asking->client;
  g_autoptr(HearthAnswer) answer = asking->answer;
  g_autoptr(GError) error = NULL;
  guint64 request = 0;

  self->n_asking--;
  if (!hearth_dbus_engine_call_generate_finish(HEARTH_DBUS_ENGINE(source), &request, result, &error)) {
    g_autoptr(GError) ours = call_error(error);
    if (!is_gone(error))
      end_answer(self, answer, HEARTH_FINISH_ERROR, NULL, ours);
  } else if (g_hash_table_contains(self->answers, answer)) {
    hearth_answer_set_request(answer, request);
    g_hash_table_insert(self->requests, g_memdup2(&request, sizeof request), answer);
    hearth_engine_process_works(self->process);
    if (hearth_answer_get_stop_wanted(answer))
      on_answer_stop(answer, self);
  }
  take_early_signals(self);
}

/* Ends an answer that was not sent, after the caller had time to connect to it. */
static gboolean end_unsent(gpointer user_data) {
  Asking *asking = user_data;

  end_answer(asking->client, asking->answer, HEARTH_FINISH_ERROR, NULL, asking->error);
  return G_SOURCE_REMOVE;
}

static void asking_free(gpointer data) {
  Asking *asking = data;

  g_object_unref(asking->client);
  g_object_unref(asking->answer);
  g_clear_error(&asking->error);
  g_free(asking);
}

static GVariant *options_to_variant(const HearthGenerateOptions *options) {
  g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);

  if (options && options->temperature >= 0)
    g_variant_dict_insert(&dict, "temperature", "d", options->temperature);
  if (options && options->max_tokens > 0)
    g_variant_dict_insert(&dict, "max-tokens", "u", options->max_tokens);
  if (options && options->seed != 0)
    g_variant_dict_insert(&dict, "seed", "t", options->seed);
  return g_variant_dict_end(&dict);
}

HearthAnswer *hearth_engine_client_generate(HearthEngineClient *self, const char *const *roles,
                                            const char *const *texts, guint n_messages,
                                            const HearthGenerateOptions *options) {
  g_return_val_if_fail(HEARTH_IS_ENGINE_CLIENT(self), NULL);

  HearthAnswer *answer = hearth_answer_new(on_answer_stop, self);
  Asking *asking = g_new(Asking, 1);
  GVariantBuilder messages;
  gsize n_bytes = 0;

  *asking = (Asking){g_object_ref(self), g_object_ref(answer)};
  g_hash_table_add(self->answers, g_object_ref(answer));
  for (guint i = 0; i < n_messages && n_bytes <= MAX_CONVERSATION_BYTES; i++)
    n_bytes += strlen(roles[i]) + strlen(texts[i]);
  if (n_bytes > MAX_CONVERSATION_BYTES)
    asking->error = g_error_new_literal(HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_CONTEXT,
                                        "The conversation is longer than a model can read.");
  else if (!self->engine)
    asking->error = died_error();
  if (asking->error) {
    g_autoptr(GSource) source = g_idle_source_new();
    g_source_set_priority(source, G_PRIORITY_DEFAULT);
    g_source_set_callback(source, end_unsent, asking, asking_free);
    g_source_attach(source, hearth_engine_process_get_context(self->process));
    return answer;
  }
  g_variant_builder_init(&messages, G_VARIANT_TYPE("a(ss)"));
  for (guint i = 0; i < n_messages; i++)
    g_variant_builder_add(&messages, "(ss)", roles[i], texts[i]);
  self->n_asking++;
  hearth_dbus_engine_call_generate(self->engine, g_variant_builder_end(&messages), options_to_variant(options), NULL,
                                   on_generate_reply, asking);
  return answer;
}

/* --- The process ------------------------------------------------------------------------------------------------- */

static void on_up(gpointer user_data, HearthDbusEngine *engine, gboolean again) {
  HearthEngineClient *self = user_data;

  self->engine = engine;
  g_signal_connect(engine, "g-signal", G_CALLBACK(on_signal), self);
  g_object_notify_by_pspec(G_OBJECT(self), props[PROP_RUNNING]);
  for (GList *link = self->loads.head; link; link = link->next)
    send_load(self, link->data);
  if (again)
    g_signal_emit(self, signals[RESTARTED], 0);
}

/* Ends everything that waited for the engine. */
static void fail_all(HearthEngineClient *self, const GError *error) {
  g_autoptr(GPtrArray) answers = g_hash_table_get_keys_as_ptr_array(self->answers);
  g_autoptr(GPtrArray) loads = g_ptr_array_new_with_free_func(g_object_unref);

  g_ptr_array_foreach(answers, (GFunc)(void (*)(void))g_object_ref, NULL);
  g_ptr_array_set_free_func(answers, g_object_unref);
  for (GList *link = self->loads.head; link; link = link->next)
    g_ptr_array_add(loads, g_object_ref(link->data));
  g_queue_clear_full(&self->early, (GDestroyNotify)signal_free);
  for (guint i = 0; i < answers->len; i++)
    end_answer(self, answers->pdata[i], HEARTH_FINISH_ERROR, NULL, error);
  for (guint i = 0; i < loads->len; i++)
    end_load(self, loads->pdata[i], NULL, error);
}

static void on_down(gpointer user_data, gboolean was_up, const GError *reason) {
  HearthEngineClient *self = user_data;
  g_autoptr(HearthEngineClient) kept = g_object_ref(self);
  g_autoptr(GError) error = reason ? g_error_copy(reason) : died_error();

  if (self->engine)
    g_signal_handlers_disconnect_by_data(self->engine, self);
  self->engine = NULL;
  fail_all(self, error);
  if (was_up) {
    g_object_notify_by_pspec(G_OBJECT(self), props[PROP_RUNNING]);
    g_signal_emit(self, signals[DIED], 0);
  }
}

gboolean hearth_engine_client_get_running(HearthEngineClient *self) {
  g_return_val_if_fail(HEARTH_IS_ENGINE_CLIENT(self), FALSE);
  return self->engine != NULL;
}

void hearth_engine_client_set_device(HearthEngineClient *self, const char *device) {
  g_return_if_fail(HEARTH_IS_ENGINE_CLIENT(self));
  g_set_str(&self->device, device);
}

GPid hearth_engine_client_get_pid(HearthEngineClient *self) {
  g_return_val_if_fail(HEARTH_IS_ENGINE_CLIENT(self), 0);
  return hearth_engine_process_get_pid(self->process);
}

HearthEngineClient *hearth_engine_client_new(const char *program) {
  HearthEngineClient *self = g_object_new(HEARTH_TYPE_ENGINE_CLIENT, NULL);

  self->process = hearth_engine_process_new(program, on_up, on_down, self);
  return self;
}

/* --- The class --------------------------------------------------------------------------------------------------- */

static void hearth_engine_client_get_property(GObject *object, guint id, GValue *value, GParamSpec *pspec) {
  HearthEngineClient *self = HEARTH_ENGINE_CLIENT(object);

  switch (id) {
  case PROP_RUNNING:
    g_value_set_boolean(value, hearth_engine_client_get_running(self));
    break;
  case PROP_LOADING:
    g_value_set_boolean(value, !g_queue_is_empty(&self->loads));
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, pspec);
  }
}

/* Loads hold a reference to the client, so none is left; answers may be. */
static void hearth_engine_client_dispose(GObject *object) {
  HearthEngineClient *self = HEARTH_ENGINE_CLIENT(object);

  if (self->engine)
    g_signal_handlers_disconnect_by_data(self->engine, self);
  self->engine = NULL;
  g_clear_pointer(&self->process, hearth_engine_process_free);
  if (self->answers) {
    g_autoptr(GPtrArray) answers = g_hash_table_steal_all_keys(self->answers);
    for (guint i = 0; i < answers->len; i++) {
      hearth_answer_detach(answers->pdata[i]);
      hearth_answer_end(answers->pdata[i], HEARTH_FINISH_CANCELLED, NULL, NULL);
    }
  }
  g_clear_pointer(&self->device, g_free);
  g_clear_pointer(&self->requests, g_hash_table_unref);
  g_clear_pointer(&self->answers, g_hash_table_unref);
  g_queue_clear_full(&self->early, (GDestroyNotify)signal_free);
  G_OBJECT_CLASS(hearth_engine_client_parent_class)->dispose(object);
}

static void hearth_engine_client_class_init(HearthEngineClientClass *klass) {
  GObjectClass *object_class = G_OBJECT_CLASS(klass);
  GType type = G_TYPE_FROM_CLASS(klass);

  /* GDBus turns error names into codes from the moment the domain is known. */
  (void)HEARTH_ENGINE_ERROR;
  object_class->get_property = hearth_engine_client_get_property;
  object_class->dispose = hearth_engine_client_dispose;
  props[PROP_RUNNING] = g_param_spec_boolean("running", NULL, NULL, FALSE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
  props[PROP_LOADING] = g_param_spec_boolean("loading", NULL, NULL, FALSE, G_PARAM_READABLE | G_PARAM_STATIC_STRINGS);
  g_object_class_install_properties(object_class, N_PROPS, props);
  signals[DIED] = g_signal_new("died", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 0);
  signals[DEVICE_CHANGED] = g_signal_new("device-changed", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 2,
                                         G_TYPE_STRING, G_TYPE_STRING);
  signals[RESTARTED] = g_signal_new("restarted", type, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL, G_TYPE_NONE, 0);
}

static void hearth_engine_client_init(HearthEngineClient *self) {
  self->answers = g_hash_table_new_full(NULL, NULL, g_object_unref, NULL);
  self->requests = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
  g_queue_init(&self->loads);
  g_queue_init(&self->early);
}
