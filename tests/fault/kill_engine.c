/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Kills the engine again and again at random moments while it writes: the app's process lives on, every message that
 * was committed is still there, and the next answer comes.
 *
 *   kill_engine [KILLS]     25 unless said otherwise
 */
#include "harness.h"

#include "chat/hearth-chat-store.h"
#include "check.h"
#include "tiny-model.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <sqlite3.h>

#define CHECKPOINT_US (G_USEC_PER_SEC / 20) /* more often than the app's second, so that kills fall between many */

typedef struct {
  gint64 id;
  GString *text; /* what must be there: all of a question, the last checkpoint of an answer */
} Committed;

typedef struct {
  HearthEngineClient *client;
  HearthChatStore *store;
  gint64 conversation;
  GArray *committed; /* of Committed */
  GRand *random;
  const char *model;
  guint n_killed;
  gint64 slowest_us;
} Run;

static void remember(Run *run, gint64 id, const char *text) {
  Committed one = {id, g_string_new(text)};

  CHECK(id > 0);
  g_array_append_val(run->committed, one);
}

static void count(HearthEngineClient *client, guint *n) {
  (*n)++;
}

/* One question, its answer until the kill (or its end, when the engine was faster), and the restart. */
static void turn(Run *run, int number) {
  g_autofree char *question = g_strdup_printf("question %d: what does the old stone say?", number);
  Committed *answer;
  Asked asked;
  gint64 id, next_us, kill_us, killed_us = 0;
  g_autofree char *problem = NULL;
  gboolean stored;
  guint n_restarted = 0;
  GPid pid;

  if (!load_model(run->client, run->model, NULL, &problem)) {
    CHECK_TEXT(problem, "nothing");
    return;
  }
  id = hearth_chat_store_add_message(run->store, run->conversation, HEARTH_ROLE_USER, HEARTH_MESSAGE_COMPLETE, question,
                                     NULL, NULL);
  remember(run, id, question);
  id = hearth_chat_store_add_message(run->store, run->conversation, HEARTH_ROLE_ASSISTANT, HEARTH_MESSAGE_STREAMING, "",
                                     "endless", NULL);
  remember(run, id, "");
  answer = &g_array_index(run->committed, Committed, run->committed->len - 1);

  g_signal_connect(run->client, "restarted", G_CALLBACK(count), &n_restarted);
  asked_start(&asked, run->client, question, 0, 0);
  pid = hearth_engine_client_get_pid(run->client);
  kill_us = g_get_monotonic_time() + g_rand_int_range(run->random, 0, 300000);
  next_us = g_get_monotonic_time() + CHECKPOINT_US;
  while (asked.n_finished == 0 && g_get_monotonic_time() < kill_us + 10 * G_USEC_PER_SEC) {
    gint64 now = g_get_monotonic_time();

    WAIT_FOR(asked.n_finished > 0, (double)(MAX(now, MIN(next_us, kill_us)) - now) / G_USEC_PER_SEC + 0.002);
    now = g_get_monotonic_time();
    if (killed_us == 0 && now >= kill_us) {
      CHECK_INT(kill(pid, g_rand_boolean(run->random) ? SIGKILL : SIGSEGV), 0);
      killed_us = now;
    }
    if (now >= next_us && asked.text->len > answer->text->len) {
      stored =
          hearth_chat_store_update_message(run->store, answer->id, asked.text->str, HEARTH_MESSAGE_STREAMING, 0, NULL);
      CHECK(stored);
      g_string_assign(answer->text, asked.text->str);
      next_us = now + CHECKPOINT_US;
    }
  }
  CHECK_INT(asked.n_finished, 1);
  if (hearth_answer_get_finish(asked.answer) == HEARTH_FINISH_ERROR) {
    /* By this hand, not by itself. */
    CHECK(killed_us > 0);
    CHECK(g_error_matches(hearth_answer_get_error(asked.answer), HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_DIED));
    run->n_killed++;
  } else {
    /* It was written to its end before the kill. */
    CHECK_INT(hearth_answer_get_finish(asked.answer), HEARTH_FINISH_CONTEXT);
  }
  stored =
      hearth_chat_store_update_message(run->store, answer->id, asked.text->str, HEARTH_MESSAGE_INTERRUPTED, 0, NULL);
  CHECK(stored);
  g_string_assign(answer->text, asked.text->str);
  asked_clear(&asked);

  if (killed_us > 0) {
    CHECK(WAIT_FOR(n_restarted > 0, 10));
    run->slowest_us = MAX(run->slowest_us, g_get_monotonic_time() - killed_us);
  }
  g_signal_handlers_disconnect_by_data(run->client, &n_restarted);
}

static void check_store(Run *run, const char *path) {
  g_autoptr(HearthChatStore) store = hearth_chat_store_open(path, NULL, NULL);
  g_autoptr(GPtrArray) messages = NULL;
  sqlite3 *db = NULL;
  sqlite3_stmt *statement = NULL;

  CHECK(store != NULL);
  if (!store)
    return;
  messages = hearth_chat_store_messages(store, run->conversation, NULL);
  CHECK(messages != NULL);
  CHECK_INT(messages ? messages->len : 0, run->committed->len);
  for (guint i = 0; messages && i < MIN(messages->len, run->committed->len); i++) {
    const HearthMessage *message = messages->pdata[i];
    const Committed *wanted = &g_array_index(run->committed, Committed, i);

    CHECK_INT(message->id, wanted->id);
    CHECK_TEXT(message->text, wanted->text->str);
  }
  g_clear_object(&store);

  CHECK_INT(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
  CHECK_INT(sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL), SQLITE_OK);
  CHECK_INT(sqlite3_step(statement), SQLITE_ROW);
  CHECK_TEXT((const char *)sqlite3_column_text(statement, 0), "ok");
  sqlite3_finalize(statement);
  sqlite3_close(db);
}

static void remove_folder(const char *folder) {
  g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
  const char *name;

  while ((name = g_dir_read_name(dir))) {
    g_autofree char *path = g_build_filename(folder, name, NULL);
    g_remove(path);
  }
  g_rmdir(folder);
}

int main(int argc, char **argv) {
  int n_kills = argc > 1 ? atoi(argv[1]) : 25;
  guint32 seed = g_random_int();
  g_autofree char *folder = g_dir_make_tmp("hearth-kill-XXXXXX", NULL);
  g_autofree char *model = g_build_filename(folder, "endless.gguf", NULL);
  g_autofree char *path = g_build_filename(folder, "chats.db", NULL);
  Run run = {.model = model};

  printf("seed %u\n", seed);
  tiny_model_save(&(tiny_model){.name = "endless", .context_tokens = 8192, .n_embd = 256, .n_layers = 6, .n_ff = 512},
                  model);
  run.random = g_rand_new_with_seed(seed);
  run.committed = g_array_new(FALSE, FALSE, sizeof(Committed));
  run.store = hearth_chat_store_open(path, NULL, NULL);
  CHECK(run.store != NULL);
  run.conversation = hearth_chat_store_new_conversation(run.store, "kills", NULL);
  CHECK(run.conversation > 0);
  run.client = hearth_engine_client_new(NULL);
  for (int i = 0; run.n_killed < (guint)n_kills && check_failures == 0; i++)
    turn(&run, i);
  printf("%u kills; the slowest restart took %.0f ms; %u messages\n", run.n_killed, (double)run.slowest_us / 1000,
         run.committed->len);
  CHECK(run.slowest_us < 2 * G_USEC_PER_SEC);
  g_object_unref(run.client);
  g_object_unref(run.store);
  check_store(&run, path);

  for (guint i = 0; i < run.committed->len; i++)
    g_string_free(g_array_index(run.committed, Committed, i).text, TRUE);
  g_array_unref(run.committed);
  g_rand_free(run.random);
  remove_folder(folder);
  return check_done();
}
