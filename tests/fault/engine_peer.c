/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Each end of the engine's connection against a peer that does not keep to the rules: an app that asks for nonsense,
 * and an engine that answers with it. The second is this program itself, started by the client with --service. */
#include "harness.h"

#include "check.h"
#include "hearth-engine-dbus.h"
#include "tiny-model.h"

#include <gio/gunixconnection.h>
#include <glib/gstdio.h>
#include <math.h>
#include <sys/socket.h>
#include <unistd.h>

#define OBJECT_PATH "/dev/hearth/Engine"
#define INTERFACE "dev.hearth.Engine"
#define ERROR(word) INTERFACE ".Error." word

static char *small, *endless;

/* --- A bare connection to the engine ----------------------------------------------------------------------------- */

typedef struct {
  GSubprocess *process;
  GSocketConnection *stream;
  GDBusConnection *connection;
  GHashTable *finished; /* request id -> "finish" or "error-name" */
  GString *text;        /* of all answers since it was emptied */
  guint n_pending;
  GHashTable *replies; /* error name, or "" -> how many calls ended so */
} Peer;

static void on_finished(GDBusConnection *connection, const char *sender, const char *path, const char *interface,
                        const char *name, GVariant *parameters, gpointer user_data) {
  Peer *peer = user_data;
  g_autoptr(GVariant) dictionary = NULL;
  guint64 request;
  const char *finish, *error;

  g_variant_get(parameters, "(t&s@a{sv})", &request, &finish, &dictionary);
  if (g_variant_lookup(dictionary, "error-name", "&s", &error))
    finish = error;
  CHECK(!g_hash_table_contains(peer->finished, &request));
  g_hash_table_insert(peer->finished, g_memdup2(&request, sizeof request), g_strdup(finish));
}

static void on_delta(GDBusConnection *connection, const char *sender, const char *path, const char *interface,
                     const char *name, GVariant *parameters, gpointer user_data) {
  Peer *peer = user_data;
  const char *text;

  g_variant_get(parameters, "(t&s)", NULL, &text);
  g_string_append(peer->text, text);
}

static void spawn(Peer *peer) {
  g_autoptr(GSubprocessLauncher) launcher =
      g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE | G_SUBPROCESS_FLAGS_STDERR_SILENCE);
  g_autoptr(GSocket) socket = NULL;
  int ends[2];

  *peer = (Peer){0};
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  g_subprocess_launcher_take_fd(launcher, ends[1], 3);
  socket = g_socket_new_from_fd(ends[0], NULL);
  peer->stream = g_socket_connection_factory_create_connection(socket);
  peer->process = g_subprocess_launcher_spawn(launcher, NULL, g_getenv("HEARTH_ENGINE"), "--service", "3", NULL);
  CHECK(peer->process != NULL);
}

static void peer_start(Peer *peer) {
  spawn(peer);
  peer->finished = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
  peer->replies = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
  peer->text = g_string_new(NULL);
  peer->connection = g_dbus_connection_new_sync(G_IO_STREAM(peer->stream), NULL,
                                                G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL, NULL, NULL);
  CHECK(peer->connection != NULL);
  g_dbus_connection_signal_subscribe(peer->connection, NULL, INTERFACE, "Finished", OBJECT_PATH, NULL,
                                     G_DBUS_SIGNAL_FLAGS_NONE, on_finished, peer, NULL);
  g_dbus_connection_signal_subscribe(peer->connection, NULL, INTERFACE, "Delta", OBJECT_PATH, NULL,
                                     G_DBUS_SIGNAL_FLAGS_NONE, on_delta, peer, NULL);
}

static void on_exit_seen(GObject *source, GAsyncResult *result, gpointer user_data) {
  *(gboolean *)user_data = g_subprocess_wait_finish(G_SUBPROCESS(source), result, NULL);
}

/* Whether the engine ends by itself, and not by a signal. */
static gboolean ends_well(Peer *peer) {
  gboolean ended = FALSE;

  g_subprocess_wait_async(peer->process, NULL, on_exit_seen, &ended);
  return WAIT_FOR(ended, 10) && g_subprocess_get_if_exited(peer->process);
}

static void peer_end(Peer *peer) {
  /* It may be closed already. */
  if (peer->connection)
    g_dbus_connection_close_sync(peer->connection, NULL, NULL);
  else
    g_io_stream_close(G_IO_STREAM(peer->stream), NULL, NULL);
  CHECK(ends_well(peer));
  g_clear_object(&peer->connection);
  g_clear_object(&peer->stream);
  g_clear_object(&peer->process);
  g_clear_pointer(&peer->finished, g_hash_table_unref);
  g_clear_pointer(&peer->replies, g_hash_table_unref);
  if (peer->text)
    g_string_free(g_steal_pointer(&peer->text), TRUE);
}

/* The name of the error that the call ends with, or "". */
static char *name_of(GError *error) {
  char *name = error ? g_dbus_error_get_remote_error(error) : NULL;

  return name ? name : g_strdup(error ? error->message : "");
}

static char *call(Peer *peer, const char *method, GVariant *parameters, GVariant **reply) {
  g_autoptr(GError) error = NULL;
  g_autoptr(GVariant) got = g_dbus_connection_call_sync(peer->connection, NULL, OBJECT_PATH, INTERFACE, method,
                                                        parameters, NULL, G_DBUS_CALL_FLAGS_NONE, 60000, NULL, &error);

  if (reply)
    *reply = got ? g_variant_ref(got) : NULL;
  return name_of(error);
}

#define CHECK_CALL(method, parameters, expected)                        \
  do {                                                                  \
    g_autofree char *check_name = call(peer, method, parameters, NULL); \
    CHECK_TEXT(check_name, expected);                                   \
  } while (0)

static void on_reply(GObject *source, GAsyncResult *result, gpointer user_data) {
  Peer *peer = user_data;
  g_autoptr(GError) error = NULL;
  g_autoptr(GVariant) reply = g_dbus_connection_call_finish(G_DBUS_CONNECTION(source), result, &error);
  char *name = name_of(error);

  g_hash_table_insert(peer->replies, name,
                      GUINT_TO_POINTER(GPOINTER_TO_UINT(g_hash_table_lookup(peer->replies, name)) + 1));
  peer->n_pending--;
}

/* Without waiting; on_reply counts the answers. */
static void send_call(Peer *peer, const char *method, GVariant *parameters) {
  peer->n_pending++;
  g_dbus_connection_call(peer->connection, NULL, OBJECT_PATH, INTERFACE, method, parameters, NULL,
                         G_DBUS_CALL_FLAGS_NONE, G_MAXINT, NULL, on_reply, peer);
}

static guint n_replies(Peer *peer, const char *name) {
  return GPOINTER_TO_UINT(g_hash_table_lookup(peer->replies, name));
}

static GVariant *load_of(const char *path, const char *option, GVariant *value) {
  GVariantBuilder options;

  g_variant_builder_init(&options, G_VARIANT_TYPE_VARDICT);
  if (option)
    g_variant_builder_add(&options, "{sv}", option, value);
  return g_variant_new("(^aya{sv})", path, &options);
}

/* A question of one message, at most 20 tokens long unless the option is its length. */
static GVariant *question_of(const char *text, const char *option, GVariant *value) {
  GVariantBuilder messages, options;

  g_variant_builder_init(&messages, G_VARIANT_TYPE("a(ss)"));
  g_variant_builder_add(&messages, "(ss)", "user", text);
  g_variant_builder_init(&options, G_VARIANT_TYPE_VARDICT);
  if (option)
    g_variant_builder_add(&options, "{sv}", option, value);
  if (!option || !g_str_equal(option, "max-tokens"))
    g_variant_builder_add(&options, "{sv}", "max-tokens", g_variant_new_uint32(20));
  return g_variant_new("(a(ss)a{sv})", &messages, &options);
}

/* Asks and waits: how it ended, as finish or error name; or the error name of the call. */
static char *ask(Peer *peer, GVariant *question, guint64 *id) {
  g_autoptr(GVariant) reply = NULL;
  g_autofree char *error = call(peer, "Generate", question, &reply);
  guint64 request;

  if (!reply)
    return g_steal_pointer(&error);
  g_variant_get(reply, "(t)", &request);
  if (id)
    *id = request;
  CHECK(WAIT_FOR(g_hash_table_contains(peer->finished, &request), 60));
  return g_strdup(g_hash_table_lookup(peer->finished, &request));
}

#define CHECK_ASK(question, expected)                        \
  do {                                                       \
    g_autofree char *check_name = ask(peer, question, NULL); \
    CHECK_TEXT(check_name, expected);                        \
  } while (0)

/* --- An app that asks for nonsense ------------------------------------------------------------------------------- */

static void test_loads(Peer *peer) {
  g_autofree char *long_path = g_strnfill(1 << 20, 'a'), *long_device = g_strnfill(1 << 20, 'v');

  CHECK_CALL("CancelLoad", NULL, "");
  CHECK_CALL("Unload", NULL, "");
  CHECK_CALL("Fly", NULL, "org.freedesktop.DBus.Error.UnknownMethod");
  CHECK_CALL("Load", g_variant_new("(s)", small), "org.freedesktop.DBus.Error.InvalidArgs");
  CHECK_CALL("Load", load_of(small, "speed", g_variant_new_uint32(9)), ERROR("Argument"));
  CHECK_CALL("Load", load_of(small, "slots", g_variant_new_string("four")), ERROR("Argument"));
  CHECK_CALL("Load", load_of(small, "slots", g_variant_new_uint32(G_MAXUINT)), ERROR("Argument"));
  CHECK_CALL("Load", load_of(small, "device", g_variant_new_string("the moon\n")), ERROR("Argument"));
  CHECK_CALL("Load", load_of(small, "device", g_variant_new_string(long_device)), ERROR("Argument"));
  CHECK_CALL("Load", load_of("", NULL, NULL), ERROR("NotFound"));
  CHECK_CALL("Load", g_variant_new("(@aya{sv})", g_variant_new_fixed_array(G_VARIANT_TYPE_BYTE, "no end", 6, 1), NULL),
             ERROR("NotFound"));
  {
    g_autofree char *name = call(peer, "Load", load_of(long_path, NULL, NULL), NULL);
    CHECK(g_str_has_prefix(name, ERROR("")));
  }
  CHECK_ASK(question_of("the sun", NULL, NULL), ERROR("NoModel"));
  CHECK_CALL("Load", load_of(small, "context-tokens", g_variant_new_uint32(G_MAXUINT)), "");
  CHECK_CALL("Load", load_of(small, "threads", g_variant_new_uint32(G_MAXUINT)), "");
}

static void test_settings(Peer *peer) {
  static const struct {
    const char *name;
    double value;
  } wrong[] = {{"temperature", -1},
               {"temperature", 101},
               {"temperature", NAN},
               {"temperature", INFINITY},
               {"temperature", 1e308},
               {"temperature", -1e308},
               {"top-p", 2},
               {"top-p", -0.1},
               {"top-p", NAN},
               {"min-p", -1},
               {"min-p", NAN},
               {"repetition-penalty", -1},
               {"repetition-penalty", NAN},
               {"frequency-penalty", 3},
               {"presence-penalty", -INFINITY}};
  g_autofree char *long_stop = g_strnfill(257, 'x');
  const char *const long_stops[] = {long_stop, NULL}, *const no_stops[] = {"", NULL};
  g_auto(GStrv) many_stops = g_new0(char *, 100001);

  for (guint i = 0; i < G_N_ELEMENTS(wrong); i++)
    CHECK_ASK(question_of("the sun", wrong[i].name, g_variant_new_double(wrong[i].value)), ERROR("Argument"));
  CHECK_ASK(question_of("the sun", "temperature", g_variant_new_int32(1)), ERROR("Argument"));
  CHECK_ASK(question_of("the sun", "mood", g_variant_new_string("good")), ERROR("Argument"));
  for (guint i = 0; i < 100000; i++)
    many_stops[i] = g_strdup("stop");
  CHECK_ASK(question_of("the sun", "stop", g_variant_new_strv((const char *const *)many_stops, -1)), ERROR("Limit"));
  CHECK_ASK(question_of("the sun", "stop", g_variant_new_strv(long_stops, -1)), ERROR("Limit"));
  CHECK_ASK(question_of("the sun", "stop", g_variant_new_strv(no_stops, -1)), "length");
  CHECK_ASK(question_of("the sun", "top-k", g_variant_new_uint32(G_MAXUINT)), "length");
  CHECK_ASK(question_of("the sun", "seed", g_variant_new_uint64(G_MAXUINT64)), "length");
  CHECK_ASK(question_of("the sun", "max-tokens", g_variant_new_uint32(G_MAXUINT)), "context");
}

/* Answers that follow a schema or a grammar, and what is no usable one. */
static void test_constraints(Peer *peer) {
  static const char *const schema = "{\"type\":\"object\",\"properties\":{\"good\":{\"type\":\"boolean\"}},"
                                    "\"required\":[\"good\"],\"additionalProperties\":false}";
  static const char *const grammars[] = {"", "root ::= (", "root ::= other", "this is none"};
  static const char *const schemas[] = {"", "{", "[]", "{\"type\":\"what\"}", "{\"$ref\":\"#/$defs/none\"}"};
  g_autofree char *deep = g_strnfill(60000, '(');
  GVariantBuilder messages;

  for (guint i = 0; i < G_N_ELEMENTS(grammars); i++)
    CHECK_ASK(question_of("the sun", "grammar", g_variant_new_string(grammars[i])), ERROR("Argument"));
  for (guint i = 0; i < G_N_ELEMENTS(schemas); i++)
    CHECK_ASK(question_of("the sun", "json-schema", g_variant_new_string(schemas[i])), ERROR("Argument"));
  CHECK_ASK(question_of("the sun", "grammar", g_variant_new_string(deep)), ERROR("Argument"));
  CHECK_ASK(question_of("the sun", "grammar", g_variant_new_uint32(1)), ERROR("Argument"));
  g_variant_builder_init(&messages, G_VARIANT_TYPE("a(ss)"));
  g_variant_builder_add(&messages, "(ss)", "user", "the sun");
  CHECK_ASK(g_variant_new("(a(ss)@a{sv})", &messages,
                          g_variant_new_parsed("{'json-schema': <'{}'>, 'grammar': <'root ::= \"a\"'>}")),
            ERROR("Argument"));
  g_string_truncate(peer->text, 0);
  CHECK_ASK(question_of("the sun", "grammar", g_variant_new_string("root ::= \"yes\" \"!\"")), "stop");
  CHECK_TEXT(peer->text->str, "yes!");
  g_string_truncate(peer->text, 0);
  /* Room for all the white space that the model may choose. */
  g_variant_builder_init(&messages, G_VARIANT_TYPE("a(ss)"));
  g_variant_builder_add(&messages, "(ss)", "user", "the sun");
  CHECK_ASK(g_variant_new("(a(ss)@a{sv})", &messages,
                          g_variant_new_parsed("{'json-schema': <%s>, 'max-tokens': <uint32 300>}", schema)),
            "stop");
  if (!g_regex_match_simple("^\\s*\\{\\s*\"good\"\\s*:\\s*(true|false)\\s*\\}$", peer->text->str, 0, 0)) {
    fprintf(stderr, "the answer is %s\n", peer->text->str);
    CHECK(!"the answer follows the schema");
  }
  CHECK_ASK(question_of("the sun", "think", g_variant_new_boolean(FALSE)), "length");
  CHECK_ASK(question_of("the sun", "think", g_variant_new_string("no")), ERROR("Argument"));
}

static void test_texts(Peer *peer) {
  g_autofree char *huge = g_strnfill(64 << 20, 'a'), *large = g_strnfill(1 << 20, 'a');
  g_autoptr(GVariant) none = NULL;
  GVariantBuilder messages;

  CHECK_ASK(question_of(huge, NULL, NULL), ERROR("Context"));
  CHECK_ASK(question_of(large, NULL, NULL), ERROR("Context"));
  CHECK_ASK(question_of("", NULL, NULL), "length");
  CHECK_CALL("Generate", g_variant_new("(s)", "the sun"), "org.freedesktop.DBus.Error.InvalidArgs");
  g_variant_builder_init(&messages, G_VARIANT_TYPE("a(ss)"));
  for (guint i = 0; i < 100000; i++)
    g_variant_builder_add(&messages, "(ss)", "user", "a");
  CHECK_ASK(g_variant_new("(a(ss)@a{sv})", &messages, g_variant_new("a{sv}", NULL)), ERROR("Context"));
  /* Nothing but the token that begins a text. */
  none = g_variant_ref_sink(g_variant_new("(@a(ss)@a{sv})", g_variant_new("a(ss)", NULL),
                                          g_variant_new_parsed("{'max-tokens': <uint32 3>}")));
  CHECK_ASK(none, "length");
}

static gboolean all_ended(Peer *peer, guint n_asked) {
  return peer->n_pending == 0 && g_hash_table_size(peer->finished) + n_replies(peer, ERROR("Busy")) == n_asked;
}

static void test_floods(Peer *peer) {
  guint64 first, next;
  guint n = 300;

  /* More questions than are taken, on a model, and while one is loaded. */
  for (guint round = 0; round < 2; round++) {
    g_autofree char *name = ask(peer, question_of("the sun", NULL, NULL), &first);

    CHECK_TEXT(name, "length");
    g_hash_table_remove_all(peer->finished);
    g_hash_table_remove_all(peer->replies);
    if (round == 1)
      send_call(peer, "Load", load_of(endless, NULL, NULL));
    for (guint i = 0; i < n; i++)
      send_call(peer, "Generate", question_of("the river", "max-tokens", g_variant_new_uint32(0)));
    for (guint i = 0; i < 10 * n; i++)
      send_call(peer, "Stop", g_variant_new("(t)", (guint64)i % n + first + 1));
    CHECK(WAIT_FOR(all_ended(peer, n), 60));
    CHECK(n_replies(peer, ERROR("Busy")) > 0 && n_replies(peer, ERROR("Busy")) < n);
    CHECK_INT(n_replies(peer, "") + n_replies(peer, ERROR("Busy")), 11 * n + round);
  }
  CHECK_CALL("Stop", g_variant_new("(t)", (guint64)0), "");
  CHECK_CALL("Stop", g_variant_new("(t)", G_MAXUINT64), "");

  /* Loads and unloads: each call ends, the last load wins. */
  g_hash_table_remove_all(peer->replies);
  for (guint i = 0; i < 2000; i++)
    send_call(peer, i % 3 == 0 ? "Unload" : "Load", i % 3 == 0 ? NULL : load_of(i % 2 ? small : endless, NULL, NULL));
  CHECK(WAIT_FOR(peer->n_pending == 0, 60));
  CHECK_INT(n_replies(peer, "") + n_replies(peer, ERROR("Busy")) + n_replies(peer, ERROR("Cancelled")), 2000);
  CHECK(n_replies(peer, ERROR("Cancelled")) > 0);

  /* A stop that comes late, for a request of the model that is gone, leaves the next model's first request alone. */
  CHECK_CALL("Load", load_of(endless, NULL, NULL), "");
  {
    g_autoptr(GVariant) reply = NULL;
    g_autofree char *name =
        call(peer, "Generate", question_of("the river", "max-tokens", g_variant_new_uint32(0)), &reply);

    CHECK_TEXT(name, "");
    g_variant_get(reply, "(t)", &first);
    next = first + 1;
  }
  send_call(peer, "Load", load_of(endless, NULL, NULL));
  send_call(peer, "Generate", question_of("the river", NULL, NULL));
  send_call(peer, "Stop", g_variant_new("(t)", first));
  CHECK(WAIT_FOR(g_hash_table_contains(peer->finished, &first) && g_hash_table_contains(peer->finished, &next), 60));
  CHECK_TEXT(g_hash_table_lookup(peer->finished, &first), "cancelled");
  CHECK_TEXT(g_hash_table_lookup(peer->finished, &next), "length");
}

/* No core file, and the first to go where memory runs out. */
static void test_process(Peer *peer) {
  const char *id = g_subprocess_get_identifier(peer->process);
  g_autofree char *path = g_strdup_printf("/proc/%s/limits", id),
                  *score_path = g_strdup_printf("/proc/%s/oom_score_adj", id);
  g_autofree char *limits = NULL, *score = NULL;
  char soft[32] = "", hard[32] = "";
  const char *line;

  CHECK(g_file_get_contents(path, &limits, NULL, NULL));
  line = limits ? strstr(limits, "Max core file size") : NULL;
  CHECK(line && sscanf(line, "Max core file size %31s %31s", soft, hard) == 2);
  CHECK_TEXT(soft, "0");
  CHECK_TEXT(hard, "0");
  CHECK(g_file_get_contents(score_path, &score, NULL, NULL));
  CHECK_TEXT(score, "500\n");
}

static void say(Peer *peer, const void *bytes, gsize n) {
  CHECK(
      g_output_stream_write_all(g_io_stream_get_output_stream(G_IO_STREAM(peer->stream)), bytes, n, NULL, NULL, NULL));
}

static void test_garbage(void) {
  g_autofree char *garbage = g_malloc(4096);
  Peer peer;

  for (guint i = 0; i < 4096; i++)
    garbage[i] = (char)(i * 7919 >> 3);
  spawn(&peer);
  say(&peer, garbage, 4096);
  peer_end(&peer);

  spawn(&peer);
  say(&peer, "\0AUTH EXTERNAL 3", 16);
  peer_end(&peer);

  /* Behind a good beginning. */
  peer_start(&peer);
  say(&peer, garbage, 4096);
  CHECK(ends_well(&peer));
  peer_end(&peer);
}

/* --- An engine that answers with nonsense ------------------------------------------------------------------------ */

static void emit(GDBusConnection *connection, const char *name, GVariant *parameters) {
  g_dbus_connection_emit_signal(connection, NULL, OBJECT_PATH, INTERFACE, name, parameters, NULL);
}

/* Past GDBus, which would not send it. */
static void reply_wrongly(GDBusConnection *connection, GDBusMethodInvocation *invocation) {
  g_autoptr(GDBusMessage) reply = g_dbus_message_new_method_reply(g_dbus_method_invocation_get_message(invocation));

  g_dbus_message_set_body(reply, g_variant_new("(s)", "loaded"));
  g_dbus_connection_send_message(connection, reply, G_DBUS_SEND_MESSAGE_FLAGS_NONE, NULL, NULL);
  g_object_unref(invocation);
}

static gboolean on_load(HearthDbusEngine *engine, GDBusMethodInvocation *invocation, const char *path,
                        GVariant *options, gpointer user_data) {
  GDBusConnection *connection = g_dbus_method_invocation_get_connection(invocation);

  emit(connection, "LoadProgress", g_variant_new("(ss)", "half", "all"));
  emit(connection, "LoadProgress", g_variant_new("(tt)", G_MAXUINT64, (guint64)0));
  emit(connection, "Delta", g_variant_new("(ts)", (guint64)1, "nobody asked"));
  if (g_str_has_suffix(path, "wrong"))
    reply_wrongly(connection, invocation);
  else if (g_str_has_suffix(path, "odd"))
    g_dbus_method_invocation_return_dbus_error(invocation, "some.Other.Error", "odd");
  else
    hearth_dbus_engine_complete_load(
        engine, invocation, g_variant_new_parsed("{'architecture': <3>, 'device': <'x'>, 'parameters': <'many'>}"));
  return TRUE;
}

/* The first two questions get the same id. */
static gboolean on_generate(HearthDbusEngine *engine, GDBusMethodInvocation *invocation, GVariant *messages,
                            GVariant *options, gpointer user_data) {
  static guint n_asked;
  GDBusConnection *connection = g_dbus_method_invocation_get_connection(invocation);
  guint64 id = n_asked++ < 2 ? 0 : n_asked;

  emit(connection, "Delta", g_variant_new("(ts)", id, "early "));
  hearth_dbus_engine_complete_generate(engine, invocation, id);
  emit(connection, "Dance", g_variant_new("(t)", id));
  emit(connection, "Reading", g_variant_new("(tuu)", id, G_MAXUINT, 0));
  emit(connection, "Delta", g_variant_new("(ts)", id, "late"));
  for (guint i = 0; i < 2; i++)
    emit(connection, "Finished",
         g_variant_new("(ts@a{sv})", id, n_asked == 4 ? "error" : "tired",
                       g_variant_new_parsed(
                           "{'prompt-tokens': <'x'>, 'error-name': <7>, 'decode-ns': <@t 18446744073709551615>}")));
  emit(connection, "Delta", g_variant_new("(ts)", id, "too late"));
  return TRUE;
}

static int be_engine(int fd) {
  g_autoptr(GMainLoop) loop = g_main_loop_new(NULL, FALSE);
  g_autoptr(GSocket) socket = g_socket_new_from_fd(fd, NULL);
  g_autoptr(GSocketConnection) stream = g_socket_connection_factory_create_connection(socket);
  g_autoptr(HearthDbusEngine) engine = hearth_dbus_engine_skeleton_new();
  g_autofree char *guid = g_dbus_generate_guid();
  g_autoptr(GDBusConnection) connection = g_dbus_connection_new_sync(
      G_IO_STREAM(stream), guid,
      G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_SERVER | G_DBUS_CONNECTION_FLAGS_DELAY_MESSAGE_PROCESSING, NULL, NULL,
      NULL);

  if (!connection)
    return 1;
  g_signal_connect(engine, "handle-load", G_CALLBACK(on_load), NULL);
  g_signal_connect(engine, "handle-generate", G_CALLBACK(on_generate), NULL);
  g_signal_connect_swapped(connection, "closed", G_CALLBACK(g_main_loop_quit), loop);
  if (!g_dbus_interface_skeleton_export(G_DBUS_INTERFACE_SKELETON(engine), connection, OBJECT_PATH, NULL))
    return 1;
  g_dbus_connection_start_message_processing(connection);
  g_main_loop_run(loop);
  return 0;
}

static void test_odd_engine(const char *self) {
  HearthEngineClient *client = hearth_engine_client_new(self);
  g_autofree char *huge = g_strnfill(200 << 20, 'a');
  Loading loading = {0};
  Asked first, second, third, fourth, late;
  int code = 0;

  CHECK(WAIT_FOR(hearth_engine_client_get_running(client), 10));
  CHECK(!load_model(client, "/wrong", &code, NULL));
  CHECK_INT(code, HEARTH_ENGINE_ERROR_FAILED);
  CHECK(!load_model(client, "/odd", &code, NULL));
  CHECK_INT(code, HEARTH_ENGINE_ERROR_FAILED);
  loading_start(&loading, client, "/good", NULL);
  CHECK(WAIT_FOR(loading.done, 10));
  CHECK(loading.facts && g_str_equal(loading.facts->architecture, "") && g_str_equal(loading.facts->device, "x") &&
        loading.facts->parameters == 0);
  CHECK_INT(loading.n_progress, 1);
  loading_clear(&loading);

  asked_start(&first, client, "one", 0, 0);
  asked_start(&second, client, "two", 0, 0);
  asked_start(&third, client, "three", 0, 0);
  asked_start(&fourth, client, "four", 0, 0);
  CHECK(WAIT_FOR(third.n_finished > 0 && fourth.n_finished > 0, 10));
  CHECK_TEXT(third.text->str, "early late");
  CHECK_INT(third.n_finished, 1);
  CHECK_INT(hearth_answer_get_finish(third.answer), HEARTH_FINISH_ERROR);
  CHECK_INT(hearth_answer_get_error(third.answer)->code, HEARTH_ENGINE_ERROR_FAILED);
  CHECK_INT(hearth_answer_get_error(fourth.answer)->code, HEARTH_ENGINE_ERROR_FAILED);

  /* More than a message of D-Bus holds would cost the connection: it is never sent. */
  asked_start(&late, client, huge, 0, 0);
  CHECK_INT(late.n_finished, 0);
  CHECK(WAIT_FOR(late.n_finished > 0, 10));
  CHECK_INT(hearth_answer_get_error(late.answer)->code, HEARTH_ENGINE_ERROR_CONTEXT);
  CHECK(hearth_engine_client_get_running(client));

  /* What the odd engine never ended ends with the client. */
  g_object_unref(client);
  CHECK_INT(first.n_finished, 1);
  CHECK_INT(second.n_finished, 1);
  asked_clear(&first);
  asked_clear(&second);
  asked_clear(&third);
  asked_clear(&fourth);
  asked_clear(&late);
}

int main(int argc, char **argv) {
  g_autofree char *folder = NULL;
  Peer peer;

  if (argc == 3 && g_str_equal(argv[1], "--service"))
    return be_engine(atoi(argv[2]));
  folder = g_dir_make_tmp("hearth-peer-XXXXXX", NULL);
  small = g_build_filename(folder, "small.gguf", NULL);
  endless = g_build_filename(folder, "endless.gguf", NULL);
  tiny_model_save(&(tiny_model){.name = "small", .context_tokens = 2048}, small);
  tiny_model_save(&(tiny_model){.name = "endless", .context_tokens = 8192, .n_embd = 256, .n_layers = 6, .n_ff = 512},
                  endless);

  peer_start(&peer);
  test_process(&peer);
  test_loads(&peer);
  test_settings(&peer);
  test_constraints(&peer);
  test_texts(&peer);
  test_floods(&peer);
  peer_end(&peer);
  test_garbage();
  test_odd_engine(argv[0]);

  g_remove(small);
  g_remove(endless);
  g_rmdir(folder);
  g_free(small);
  g_free(endless);
  return check_done();
}
