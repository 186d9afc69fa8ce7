/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/hearth-engine-process.h"

#include "client/hearth-engine-client.h"

#include <errno.h>
#include <gio/gunixconnection.h>
#include <sys/socket.h>
#include <unistd.h>

#define OBJECT_PATH "/dev/hearth/Engine"
#define CHILD_FD 3

/* An engine that works is up again at once; one that cannot start is tried ever less often. */
static const guint delays_ms[] = {0, 250, 500, 1000, 1000, 2000, 2000, 30000};
#define HOPELESS_FAILURES 3 /* starts in a row that failed, after which whoever waits is told */

/* Reference counted (g_rc_box), because a connection attempt holds on to it. */
struct HearthEngineProcess {
  GMainContext *context;
  char *program;
  HearthEngineUp up;
  HearthEngineDown down;
  gpointer user_data;

  GSubprocess *child;
  GCancellable *connecting;    /* while the connection is being made */
  GDBusConnection *connection; /* while the engine is up */
  HearthDbusEngine *engine;
  GSource *restart;
  guint n_failures; /* deaths since the engine last did something useful */
  gboolean has_fallen, freed;
};

static void start(HearthEngineProcess *self);

static void process_clear(gpointer data) {
  HearthEngineProcess *self = data;

  g_free(self->program);
  g_main_context_unref(self->context);
}

static char *find_program(const char *program) {
  const char *from_environment = g_getenv("HEARTH_ENGINE");
  g_autofree char *own = NULL;
  g_autofree char *folder = NULL;
  g_autofree char *beside = NULL;

  if (program)
    return g_strdup(program);
  if (from_environment && *from_environment)
    return g_strdup(from_environment);
  own = g_file_read_link("/proc/self/exe", NULL);
  folder = g_path_get_dirname(own ? own : "");
  beside = g_build_filename(folder, "hearth-engine", NULL);
  if (own && g_file_test(beside, G_FILE_TEST_IS_EXECUTABLE))
    return g_steal_pointer(&beside);
  return g_strdup(HEARTH_BINDIR "/hearth-engine");
}

static gboolean on_restart(gpointer user_data) {
  HearthEngineProcess *self = user_data;

  g_clear_pointer(&self->restart, g_source_unref);
  start(self);
  return G_SOURCE_REMOVE;
}

/* Takes down what there is of the child and plans the next start. */
static void fall(HearthEngineProcess *self, const GError *reason) {
  gboolean was_up = self->engine != NULL;
  g_autoptr(GError) hopeless = NULL;
  guint delay_ms = delays_ms[MIN(self->n_failures, G_N_ELEMENTS(delays_ms) - 1)];

  if (self->connection)
    g_signal_handlers_disconnect_by_data(self->connection, self);
  if (self->child)
    g_subprocess_force_exit(self->child);
  g_clear_object(&self->child);
  g_clear_object(&self->connecting);
  g_clear_object(&self->connection);
  self->n_failures++;
  self->has_fallen = TRUE;
  if (!reason && !was_up && self->n_failures >= HOPELESS_FAILURES) {
    hopeless = g_error_new_literal(HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_FAILED, "The engine cannot be started.");
    reason = hopeless;
  }
  self->restart = g_timeout_source_new(delay_ms);
  g_source_set_callback(self->restart, on_restart, self, NULL);
  g_source_attach(self->restart, self->context);

  /* Last, because the listener may free us. */
  g_autoptr(HearthDbusEngine) engine = g_steal_pointer(&self->engine);
  self->down(self->user_data, was_up, reason);
}

static void on_closed(GDBusConnection *connection, gboolean remote_peer_vanished, GError *error, gpointer user_data) {
  fall(user_data, NULL);
}

static void on_connected(GObject *source, GAsyncResult *result, gpointer user_data) {
  HearthEngineProcess *self = user_data;
  g_autoptr(GError) error = NULL;
  g_autoptr(GDBusConnection) connection = g_dbus_connection_new_finish(result, &error);
  gboolean again = self->has_fallen;

  if (self->freed) {
    g_rc_box_release_full(self, process_clear);
    return;
  }
  g_rc_box_release(self);
  if (!connection || g_dbus_connection_is_closed(connection)) {
    fall(self, NULL);
    return;
  }
  g_clear_object(&self->connecting);
  /* Nothing is asked over the connection here: a proxy without a bus name and without properties is made locally. */
  self->engine = hearth_dbus_engine_proxy_new_sync(connection, G_DBUS_PROXY_FLAGS_DO_NOT_LOAD_PROPERTIES, NULL,
                                                   OBJECT_PATH, NULL, &error);
  if (!self->engine) {
    fall(self, error);
    return;
  }
  g_dbus_proxy_set_default_timeout(G_DBUS_PROXY(self->engine), G_MAXINT);
  self->connection = g_steal_pointer(&connection);
  g_signal_connect(self->connection, "closed", G_CALLBACK(on_closed), self);
  self->has_fallen = FALSE;
  self->up(self->user_data, self->engine, again);
}

static GSocketConnection *spawn(HearthEngineProcess *self, GError **error) {
  g_autoptr(GSubprocessLauncher) launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_STDOUT_SILENCE);
  g_autoptr(GSocket) socket = NULL;
  int ends[2];

  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "%s", g_strerror(errno));
    return NULL;
  }
  g_subprocess_launcher_take_fd(launcher, ends[1], CHILD_FD);
  socket = g_socket_new_from_fd(ends[0], error);
  if (!socket) {
    close(ends[0]);
    return NULL;
  }
  self->child = g_subprocess_launcher_spawn(launcher, error, self->program, "--service", G_STRINGIFY(CHILD_FD), NULL);
  return self->child ? g_socket_connection_factory_create_connection(socket) : NULL;
}

static void start(HearthEngineProcess *self) {
  g_autoptr(GError) error = NULL;
  g_autoptr(GSocketConnection) stream = spawn(self, &error);

  if (!stream) {
    g_autoptr(GError) reason = g_error_new(HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_FAILED,
                                           "The engine cannot be started: %s.", error->message);
    fall(self, reason);
    return;
  }
  self->connecting = g_cancellable_new();
  g_dbus_connection_new(G_IO_STREAM(stream), NULL, G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT, NULL,
                        self->connecting, on_connected, g_rc_box_acquire(self));
}

HearthEngineProcess *hearth_engine_process_new(const char *program, HearthEngineUp up, HearthEngineDown down,
                                               gpointer user_data) {
  HearthEngineProcess *self = g_rc_box_new0(HearthEngineProcess);

  self->context = g_main_context_ref_thread_default();
  self->program = find_program(program);
  self->up = up;
  self->down = down;
  self->user_data = user_data;
  start(self);
  return self;
}

void hearth_engine_process_free(HearthEngineProcess *self) {
  self->freed = TRUE;
  if (self->restart) {
    g_source_destroy(self->restart);
    g_clear_pointer(&self->restart, g_source_unref);
  }
  if (self->connecting)
    g_cancellable_cancel(self->connecting);
  if (self->connection)
    g_signal_handlers_disconnect_by_data(self->connection, self);
  if (self->child)
    g_subprocess_force_exit(self->child);
  g_clear_object(&self->child);
  g_clear_object(&self->connecting);
  g_clear_object(&self->connection);
  g_clear_object(&self->engine);
  g_rc_box_release_full(self, process_clear);
}

GMainContext *hearth_engine_process_get_context(HearthEngineProcess *self) {
  return self->context;
}

GPid hearth_engine_process_get_pid(HearthEngineProcess *self) {
  const char *id = self->child ? g_subprocess_get_identifier(self->child) : NULL;

  return id ? (GPid)g_ascii_strtoll(id, NULL, 10) : 0;
}

void hearth_engine_process_works(HearthEngineProcess *self) {
  self->n_failures = 0;
}
