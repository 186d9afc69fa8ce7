/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "service/hearth-service.h"

#include "base/log.h"
#include "service/hearth-host.h"

#include "hearth-engine-dbus.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define OBJECT_PATH "/dev/hearth/Engine"

/* More than the contexts of models hold. Making tokens of as much takes seconds, in which nothing else is computed. */
#define MAX_MESSAGES 65536
#define MAX_CONVERSATION_BYTES (4u << 20)

typedef struct {
  HearthHost *host;
  HearthDbusEngine *engine;
} Service;

static void return_error(GDBusMethodInvocation *invocation, const GError *error) {
  g_dbus_method_invocation_return_dbus_error(invocation, hearth_host_error_dbus_name(error), error->message);
}

/* --- Options ----------------------------------------------------------------------------------------------------- */

typedef enum { OPTION_UINT, OPTION_DOUBLE, OPTION_UINT64, OPTION_TEXT, OPTION_TEXTS, OPTION_BOOL } OptionKind;

typedef struct {
  const char *name;
  OptionKind kind;
  gpointer out;
  gboolean *given; /* or NULL */
} Option;

static const char *const option_types[] = {"u", "d", "t", "s", "as", "b"};

/* Stores what the dictionary gives. Unknown names and other types are errors, so that no setting is ignored in silence.
 * Texts are copies that the caller frees. */
static gboolean read_options(GVariant *dictionary, const Option *options, gsize n_options, GError **error) {
  GVariantIter iter;
  const char *name;
  GVariant *value;

  g_variant_iter_init(&iter, dictionary);
  while (g_variant_iter_loop(&iter, "{&sv}", &name, &value)) {
    const Option *option = NULL;

    for (gsize i = 0; i < n_options && !option; i++) {
      if (g_str_equal(options[i].name, name))
        option = &options[i];
    }
    if (!option || !g_variant_is_of_type(value, G_VARIANT_TYPE(option_types[option->kind]))) {
      g_set_error(error, HEARTH_HOST_ERROR, EM_ERR_ARGUMENT,
                  option ? "The setting %s has the wrong type." : "There is no setting named %s.", name);
      g_variant_unref(value);
      return FALSE;
    }
    switch (option->kind) {
    case OPTION_UINT:
      *(guint *)option->out = g_variant_get_uint32(value);
      break;
    case OPTION_DOUBLE:
      *(float *)option->out = (float)g_variant_get_double(value);
      break;
    case OPTION_UINT64:
      *(guint64 *)option->out = g_variant_get_uint64(value);
      break;
    case OPTION_BOOL:
      *(gboolean *)option->out = g_variant_get_boolean(value);
      break;
    case OPTION_TEXT:
      g_free(*(char **)option->out);
      *(char **)option->out = g_variant_dup_string(value, NULL);
      break;
    case OPTION_TEXTS:
      g_strfreev(*(char ***)option->out);
      *(char ***)option->out = g_variant_dup_strv(value, NULL);
      break;
    }
    if (option->given)
      *option->given = TRUE;
  }
  return TRUE;
}

/* --- Loading ----------------------------------------------------------------------------------------------------- */

typedef struct {
  Service *service;
  GDBusMethodInvocation *invocation;
} Call;

static GVariant *facts_to_variant(const HearthHostModel *model) {
  const em_engine_facts *facts = &model->facts;
  g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);
  g_autofree char *device = g_utf8_make_valid(facts->device, -1); /* a driver's name for itself */

  g_variant_dict_insert(&dict, "architecture", "s", facts->architecture);
  g_variant_dict_insert(&dict, "device", "s", device);
  g_variant_dict_insert(&dict, "layers", "u", facts->n_layers);
  g_variant_dict_insert(&dict, "gpu-layers", "u", facts->n_gpu_layers);
  g_variant_dict_insert(&dict, "context-tokens", "u", facts->context_tokens);
  g_variant_dict_insert(&dict, "train-context-tokens", "u", facts->train_context_tokens);
  g_variant_dict_insert(&dict, "parameters", "t", facts->n_parameters);
  g_variant_dict_insert(&dict, "weights-bytes", "t", facts->memory.weights_bytes);
  g_variant_dict_insert(&dict, "kv-bytes", "t", facts->memory.kv_bytes);
  g_variant_dict_insert(&dict, "working-bytes", "t", facts->memory.working_bytes);
  g_variant_dict_insert(&dict, "available-bytes", "t", facts->memory.available_bytes);
  g_variant_dict_insert(&dict, "weights-bytes-per-token", "t", facts->weights_bytes_per_token);
  g_variant_dict_insert(&dict, "kv-bytes-per-token", "t", facts->kv_bytes_per_token);
  g_variant_dict_insert(&dict, "load-ns", "t", facts->load_ns);
  g_variant_dict_insert(&dict, "has-template", "b", model->has_template);
  g_variant_dict_insert(&dict, "template-problem", "s", model->template_problem);
  g_variant_dict_insert(&dict, "template-fallback", "s", model->template_fallback);
  g_variant_dict_insert(&dict, "thinking-switch", "b", model->knows_thinking);
  g_variant_dict_insert(&dict, "device-notice", "s", model->device_notice);
  g_variant_dict_insert(&dict, "device-reason", "s", model->device_reason);
  return g_variant_dict_end(&dict);
}

static void on_load_progress(guint64 done_bytes, guint64 total_bytes, gpointer user_data) {
  Call *call = user_data;

  hearth_dbus_engine_emit_load_progress(call->service->engine, done_bytes, total_bytes);
}

static void on_loaded(GObject *source, GAsyncResult *result, gpointer user_data) {
  g_autofree Call *call = user_data;
  g_autoptr(GError) error = NULL;
  g_autoptr(HearthHostModel) model = hearth_host_load_finish(call->service->host, result, &error);

  if (model)
    hearth_dbus_engine_complete_load(call->service->engine, call->invocation, facts_to_variant(model));
  else
    return_error(call->invocation, error);
}

static gboolean on_load(HearthDbusEngine *engine, GDBusMethodInvocation *invocation, const char *path,
                        GVariant *dictionary, gpointer user_data) {
  Service *service = user_data;
  HearthHostLoadOptions wanted = {0};
  g_autofree char *device = NULL;
  g_autoptr(GError) error = NULL;
  const Option options[] = {{"context-tokens", OPTION_UINT, &wanted.context_tokens},
                            {"slots", OPTION_UINT, &wanted.n_slots},
                            {"threads", OPTION_UINT, &wanted.n_threads},
                            {"device", OPTION_TEXT, &device}};
  Call *call;

  if (!read_options(dictionary, options, G_N_ELEMENTS(options), &error)) {
    return_error(invocation, error);
    return TRUE;
  }
  wanted.device = device;
  call = g_new(Call, 1);
  *call = (Call){service, invocation};
  hearth_host_load_async(service->host, path, &wanted, on_load_progress, call, on_loaded, call);
  return TRUE;
}

static void on_device_changed(const char *device, const char *sentence, gpointer user_data) {
  Service *service = user_data;

  hearth_dbus_engine_emit_device_changed(service->engine, device, sentence);
}

static gboolean on_cancel_load(HearthDbusEngine *engine, GDBusMethodInvocation *invocation, gpointer user_data) {
  Service *service = user_data;

  hearth_host_cancel_load(service->host);
  hearth_dbus_engine_complete_cancel_load(engine, invocation);
  return TRUE;
}

static void on_unloaded(GObject *source, GAsyncResult *result, gpointer user_data) {
  g_autofree Call *call = user_data;
  g_autoptr(GError) error = NULL;

  if (hearth_host_unload_finish(call->service->host, result, &error))
    hearth_dbus_engine_complete_unload(call->service->engine, call->invocation);
  else
    return_error(call->invocation, error);
}

static gboolean on_unload(HearthDbusEngine *engine, GDBusMethodInvocation *invocation, gpointer user_data) {
  Service *service = user_data;
  Call *call = g_new(Call, 1);

  *call = (Call){service, invocation};
  hearth_host_unload_async(service->host, on_unloaded, call);
  return TRUE;
}

/* --- Answers ----------------------------------------------------------------------------------------------------- */

static void on_reading(gpointer user_data, guint64 request, guint done_tokens, guint total_tokens) {
  Service *service = user_data;

  hearth_dbus_engine_emit_reading(service->engine, request, done_tokens, total_tokens);
}

static void on_text(gpointer user_data, guint64 request, const char *text) {
  Service *service = user_data;

  hearth_dbus_engine_emit_delta(service->engine, request, text);
}

static void on_finished(gpointer user_data, guint64 request, em_finish finish, const em_request_stats *stats,
                        const GError *error) {
  static const char *const words[] = {[EM_FINISH_STOP] = "stop",
                                      [EM_FINISH_LENGTH] = "length",
                                      [EM_FINISH_CONTEXT] = "context",
                                      [EM_FINISH_CANCELLED] = "cancelled",
                                      [EM_FINISH_ERROR] = "error"};
  Service *service = user_data;
  g_auto(GVariantDict) dict = G_VARIANT_DICT_INIT(NULL);

  g_variant_dict_insert(&dict, "prompt-tokens", "u", stats->n_prompt);
  g_variant_dict_insert(&dict, "reused-tokens", "u", stats->n_reused);
  g_variant_dict_insert(&dict, "generated-tokens", "u", stats->n_generated);
  g_variant_dict_insert(&dict, "wait-ns", "t", stats->wait_ns);
  g_variant_dict_insert(&dict, "prefill-ns", "t", stats->prefill_ns);
  g_variant_dict_insert(&dict, "decode-ns", "t", stats->decode_ns);
  if (error) {
    g_variant_dict_insert(&dict, "error-name", "s", hearth_host_error_dbus_name(error));
    g_variant_dict_insert(&dict, "error-message", "s", error->message);
  }
  hearth_dbus_engine_emit_finished(service->engine, request, words[finish], g_variant_dict_end(&dict));
}

static const HearthHostListener listener = {on_reading, on_text, on_finished};

static HearthHostQuestion *read_messages(GVariant *messages, GError **error) {
  gsize n = g_variant_n_children(messages), n_bytes = 0;
  HearthHostQuestion *question;

  /* Before anything is copied. */
  for (gsize i = 0; i < n && n <= MAX_MESSAGES && n_bytes <= MAX_CONVERSATION_BYTES; i++) {
    const char *role, *text;

    g_variant_get_child(messages, i, "(&s&s)", &role, &text);
    n_bytes += strlen(role) + strlen(text);
  }
  if (n > MAX_MESSAGES || n_bytes > MAX_CONVERSATION_BYTES) {
    g_set_error(error, HEARTH_HOST_ERROR, EM_ERR_CONTEXT,
                "The conversation is longer than %u messages or %u MiB, which is more than a model can read.",
                MAX_MESSAGES, MAX_CONVERSATION_BYTES >> 20);
    return NULL;
  }
  question = hearth_host_question_new(n);
  for (gsize i = 0; i < n; i++)
    g_variant_get_child(messages, i, "(ss)", &question->messages[i].role, &question->messages[i].text);
  return question;
}

static gboolean on_generate(HearthDbusEngine *engine, GDBusMethodInvocation *invocation, GVariant *messages,
                            GVariant *dictionary, gpointer user_data) {
  Service *service = user_data;
  g_autoptr(GError) error = NULL;
  g_autoptr(HearthHostQuestion) question = read_messages(messages, &error);
  em_sampling *sampling;
  guint64 request = 0;

  if (!question) {
    return_error(invocation, error);
    return TRUE;
  }
  sampling = &question->sampling;
  const Option options[] = {
      {"max-tokens", OPTION_UINT, &question->max_tokens},
      {"temperature", OPTION_DOUBLE, &sampling->temperature, &question->has_temperature},
      {"top-k", OPTION_UINT, &sampling->top_k, &question->has_top_k},
      {"top-p", OPTION_DOUBLE, &sampling->top_p, &question->has_top_p},
      {"min-p", OPTION_DOUBLE, &sampling->min_p, &question->has_min_p},
      {"repetition-penalty", OPTION_DOUBLE, &sampling->repetition_penalty, &question->has_repetition_penalty},
      {"frequency-penalty", OPTION_DOUBLE, &sampling->frequency_penalty},
      {"presence-penalty", OPTION_DOUBLE, &sampling->presence_penalty},
      {"seed", OPTION_UINT64, &sampling->seed, &question->has_seed},
      {"stop", OPTION_TEXTS, &question->stop},
      {"think", OPTION_BOOL, &question->think, &question->has_think},
      {"json-schema", OPTION_TEXT, &question->schema},
      {"grammar", OPTION_TEXT, &question->grammar},
  };

  if (!read_options(dictionary, options, G_N_ELEMENTS(options), &error))
    ;
  else if (question->schema && question->grammar)
    g_set_error_literal(&error, HEARTH_HOST_ERROR, EM_ERR_ARGUMENT,
                        "An answer follows a schema or a grammar, not both.");
  else
    request = hearth_host_generate(service->host, g_steal_pointer(&question), &listener, service, &error);
  if (request != 0)
    hearth_dbus_engine_complete_generate(engine, invocation, request);
  else
    return_error(invocation, error);
  return TRUE;
}

static gboolean on_stop(HearthDbusEngine *engine, GDBusMethodInvocation *invocation, guint64 request,
                        gpointer user_data) {
  Service *service = user_data;

  hearth_host_stop(service->host, request);
  hearth_dbus_engine_complete_stop(engine, invocation);
  return TRUE;
}

/* --- The process ------------------------------------------------------------------------------------------------- */

static void on_log(void *user, em_log_level level, const char *text) {
  static const GLogLevelFlags levels[] = {[EM_LOG_DEBUG] = G_LOG_LEVEL_DEBUG,
                                          [EM_LOG_INFO] = G_LOG_LEVEL_INFO,
                                          [EM_LOG_WARNING] = G_LOG_LEVEL_MESSAGE,
                                          [EM_LOG_ERROR] = G_LOG_LEVEL_MESSAGE};

  g_log("hearth-engine", levels[level], "%s", text);
}

/* Nothing is left to save, and a step or a load may still be running on the engine thread: the process just ends. */
static void on_closed(GDBusConnection *connection, gboolean remote_peer_vanished, GError *error, gpointer user_data) {
  _exit(0);
}

static GDBusConnection *connect_fd(int fd, GError **error) {
  g_autoptr(GSocket) socket = g_socket_new_from_fd(fd, error);
  g_autoptr(GSocketConnection) stream = NULL;
  g_autofree char *guid = g_dbus_generate_guid();

  if (!socket)
    return NULL;
  stream = g_socket_connection_factory_create_connection(socket);
  return g_dbus_connection_new_sync(G_IO_STREAM(stream), guid,
                                    G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_SERVER |
                                        G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_REQUIRE_SAME_USER |
                                        G_DBUS_CONNECTION_FLAGS_DELAY_MESSAGE_PROCESSING,
                                    NULL, NULL, error);
}

int hearth_service_run(int fd) {
  static const struct {
    const char *signal;
    GCallback callback;
  } handlers[] = {{"handle-load", G_CALLBACK(on_load)},
                  {"handle-cancel-load", G_CALLBACK(on_cancel_load)},
                  {"handle-unload", G_CALLBACK(on_unload)},
                  {"handle-generate", G_CALLBACK(on_generate)},
                  {"handle-stop", G_CALLBACK(on_stop)}};
  g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
  g_autoptr(GDBusConnection) connection = NULL;
  g_autoptr(GError) error = NULL;
  Service service = {0};

  /* Where memory runs out, the model is what has to go. Written first: a process without dumps may not write there. */
  g_file_set_contents_full("/proc/self/oom_score_adj", "500", -1, G_FILE_SET_CONTENTS_NONE, 0600, NULL);
  /* A core file would hold conversations. The limit alone does not keep a dump from a program that the system hands it
   * to. */
  setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
  prctl(PR_SET_DUMPABLE, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  em_log_set(on_log, NULL);

  connection = connect_fd(fd, &error);
  if (!connection) {
    g_printerr("hearth-engine: no connection to the app: %s\n", error->message);
    return 1;
  }
  service.host = hearth_host_new();
  service.engine = hearth_dbus_engine_skeleton_new();
  hearth_host_on_device_changed(service.host, on_device_changed, &service);
  for (gsize i = 0; i < G_N_ELEMENTS(handlers); i++)
    g_signal_connect(service.engine, handlers[i].signal, handlers[i].callback, &service);
  g_signal_connect(connection, "closed", G_CALLBACK(on_closed), NULL);
  if (!g_dbus_interface_skeleton_export(G_DBUS_INTERFACE_SKELETON(service.engine), connection, OBJECT_PATH, &error)) {
    g_printerr("hearth-engine: %s\n", error->message);
    return 1;
  }
  g_dbus_connection_start_message_processing(connection);
  g_main_loop_run(loop);
  return 0;
}
