/* SPDX-License-Identifier: GPL-3.0-or-later */
/* kill -9 of a process that writes conversations, at random moments: every message whose call had returned is there
 * afterwards, in order, and the database is sound. */
#include "chat/hearth-chat-store.h"
#include "check.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#define N_KILLS 60

/* Writes messages until it is killed; tells the number of each once its call has returned. */
static void write_until_killed(const char *path, gint64 conversation, int out, gint64 next) {
  HearthChatStore *store = hearth_chat_store_open(path, NULL, NULL);

  if (!store)
    _exit(3);
  for (;; next++) {
    g_autofree char *text = g_strdup_printf("%" G_GINT64_FORMAT " %0*d", next, (int)(next % 3000), 0);
    gint64 answer;

    if (hearth_chat_store_add_message(store, conversation, HEARTH_ROLE_USER, HEARTH_MESSAGE_COMPLETE, text, NULL, NULL) == 0)
      _exit(4);
    if (write(out, &next, sizeof next) != (ssize_t)sizeof next)
      _exit(5);
    answer = hearth_chat_store_add_message(store, conversation, HEARTH_ROLE_ASSISTANT, HEARTH_MESSAGE_STREAMING, "a", "m", NULL);
    for (int i = 0; i < 5; i++) {
      if (!hearth_chat_store_update_message(store, answer, text, HEARTH_MESSAGE_STREAMING, 0, NULL))
        _exit(6);
    }
  }
}

static void check_sound(const char *path) {
  sqlite3 *db = NULL;
  sqlite3_stmt *statement = NULL;

  CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
  CHECK_INT(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL), SQLITE_OK);
  CHECK_INT(sqlite3_step(statement), SQLITE_ROW);
  CHECK_TEXT((const char *)sqlite3_column_text(statement, 0), "ok");
  sqlite3_finalize(statement);
  sqlite3_close(db);
}

int main(void) {
  g_autofree char *folder = g_dir_make_tmp("hearth-kill-XXXXXX", NULL);
  g_autofree char *path = g_build_filename(folder, "kill.db", NULL);
  g_autoptr(GRand) random = g_rand_new_with_seed(20);
  static const char *const suffixes[] = {"", "-wal", "-shm"};
  gint64 conversation, first, committed = 1;

  {
    g_autoptr(HearthChatStore) store = hearth_chat_store_open(path, NULL, NULL);

    CHECK(store != NULL);
    conversation = hearth_chat_store_begin(store, "t", "1", &first, NULL);
    CHECK(conversation > 0);
  }
  for (int kill_no = 0; kill_no < N_KILLS; kill_no++) {
    g_autoptr(HearthChatStore) store = NULL;
    g_autoptr(GPtrArray) messages = NULL;
    gint64 told, expected = 1;
    int ends[2], status = 0;
    pid_t child;

    CHECK_INT(pipe(ends), 0);
    child = fork();
    if (child == 0) {
      close(ends[0]);
      write_until_killed(path, conversation, ends[1], committed + 1);
    }
    close(ends[1]);
    g_usleep((gulong)g_rand_int_range(random, 2000, 40000));
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    while (read(ends[0], &told, sizeof told) == (ssize_t)sizeof told)
      committed = told;
    close(ends[0]);

    store = hearth_chat_store_open(path, NULL, NULL);
    CHECK(store != NULL);
    messages = hearth_chat_store_messages(store, conversation, NULL);
    CHECK(messages != NULL);
    for (guint i = 0; messages && i < messages->len; i++) {
      const HearthMessage *message = g_ptr_array_index(messages, i);

      if (message->role == HEARTH_ROLE_USER) {
        CHECK_INT(g_ascii_strtoll(message->text, NULL, 10), expected);
        expected++;
      } else {
        CHECK_INT(message->state, HEARTH_MESSAGE_INTERRUPTED);
      }
    }
    /* What was told is there; one more may be, whose telling was cut off. */
    CHECK(expected - 1 == committed || expected - 1 == committed + 1);
    committed = expected - 1;
  }
  check_sound(path);
  CHECK(committed > N_KILLS); /* it did write between the kills */
  printf("%d kills, %" G_GINT64_FORMAT " messages, none lost\n", N_KILLS, committed);
  for (guint i = 0; i < G_N_ELEMENTS(suffixes); i++) {
    g_autofree char *name = g_strconcat(path, suffixes[i], NULL);
    g_unlink(name);
  }
  g_rmdir(folder);
  return check_done();
}
