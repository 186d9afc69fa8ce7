/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Conversations on disk: what is written is read again, after closing too; damage is set aside; nothing newer is touched. */
#include "chat/hearth-chat-store.h"
#include "check.h"

#include <glib/gstdio.h>
#include <sqlite3.h>

static char *folder;

static char *in_folder(const char *name) {
  return g_build_filename(folder, name, NULL);
}

static HearthChatStore *open_store(const char *path) {
  g_autoptr(GError) error = NULL;
  g_autofree char *moved_to = NULL;
  HearthChatStore *store = hearth_chat_store_open(path, &moved_to, &error);

  CHECK(store != NULL);
  CHECK(error == NULL);
  CHECK(moved_to == NULL);
  if (!store) {
    fprintf(stderr, "%s\n", error->message);
    exit(1);
  }
  return store;
}

static void run_sql(const char *path, const char *sql) {
  sqlite3 *db = NULL;

  CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
  CHECK_INT(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
}

static void test_messages(void) {
  g_autofree char *path = in_folder("messages.db");
  g_autoptr(HearthChatStore) store = open_store(path);
  gint64 conversation = hearth_chat_store_new_conversation(store, "A title", NULL);
  gint64 other = hearth_chat_store_new_conversation(store, "Another", NULL);
  gint64 question, answer;

  CHECK(conversation > 0 && other > conversation);
  question = hearth_chat_store_add_message(store, conversation, HEARTH_ROLE_USER, HEARTH_MESSAGE_COMPLETE,
                                           "What is “fire”?\n\n  ü €", NULL, NULL);
  answer = hearth_chat_store_add_message(store, conversation, HEARTH_ROLE_ASSISTANT, HEARTH_MESSAGE_STREAMING, "It", "Qwen",
                                         NULL);
  CHECK(question > 0 && answer > question);
  CHECK(hearth_chat_store_update_message(store, answer, "It is hot", HEARTH_MESSAGE_STREAMING, 0, NULL));
  CHECK(hearth_chat_store_update_message(store, answer, "It is hot.", HEARTH_MESSAGE_COMPLETE, 27.5, NULL));

  for (int round = 0; round < 2; round++) {
    g_autoptr(GPtrArray) rows = hearth_chat_store_list(store, NULL);
    g_autoptr(GPtrArray) messages = hearth_chat_store_messages(store, conversation, NULL);
    g_autoptr(GPtrArray) none = hearth_chat_store_messages(store, other, NULL);
    const HearthConversationRow *first = g_ptr_array_index(rows, 0);
    const HearthMessage *a, *b;

    CHECK_INT(rows->len, round == 0 ? 2 : 1); /* the other, still empty, has gone with the session */
    /* The one that was written to last comes first. */
    CHECK_INT(first->id, conversation);
    CHECK_TEXT(first->title, "A title");
    CHECK(first->updated_us > 0);
    CHECK_INT(none->len, 0);
    CHECK_INT(messages->len, 2);
    a = g_ptr_array_index(messages, 0);
    b = g_ptr_array_index(messages, 1);
    CHECK_INT(a->id, question);
    CHECK_INT(a->role, HEARTH_ROLE_USER);
    CHECK_INT(a->state, HEARTH_MESSAGE_COMPLETE);
    CHECK_TEXT(a->text, "What is “fire”?\n\n  ü €");
    CHECK(a->model == NULL);
    CHECK_INT(b->role, HEARTH_ROLE_ASSISTANT);
    CHECK_INT(b->state, HEARTH_MESSAGE_COMPLETE);
    CHECK_TEXT(b->text, "It is hot.");
    CHECK_TEXT(b->model, "Qwen");
    CHECK(b->words_per_second == 27.5);
    CHECK(b->created_us >= a->created_us);
    g_clear_object(&store);
    store = open_store(path);
  }
}

/* A conversation begins with its first message, and one without any does not outlive the session. */
static void test_begin(void) {
  g_autofree char *path = in_folder("begin.db");
  g_autoptr(HearthChatStore) store = open_store(path);
  gint64 message = 0;
  gint64 begun = hearth_chat_store_begin(store, "Begun", "Hello", &message, NULL);

  CHECK(begun > 0 && message > 0);
  CHECK(hearth_chat_store_new_conversation(store, "Empty", NULL) > 0);
  g_clear_object(&store);
  store = open_store(path);

  g_autoptr(GPtrArray) rows = hearth_chat_store_list(store, NULL);
  g_autoptr(GPtrArray) messages = hearth_chat_store_messages(store, begun, NULL);
  CHECK_INT(rows->len, 1);
  CHECK_TEXT(((HearthConversationRow *)g_ptr_array_index(rows, 0))->title, "Begun");
  CHECK_INT(messages->len, 1);
  CHECK_TEXT(((HearthMessage *)g_ptr_array_index(messages, 0))->text, "Hello");
  CHECK_INT(((HearthMessage *)g_ptr_array_index(messages, 0))->id, message);
}

static void test_rename_and_delete(void) {
  g_autofree char *path = in_folder("delete.db");
  g_autoptr(HearthChatStore) store = open_store(path);
  gint64 kept = hearth_chat_store_new_conversation(store, "Kept", NULL);
  gint64 hidden = hearth_chat_store_new_conversation(store, "Hidden", NULL);
  g_autoptr(GPtrArray) rows = NULL;

  hearth_chat_store_add_message(store, hidden, HEARTH_ROLE_USER, HEARTH_MESSAGE_COMPLETE, "secret", NULL, NULL);
  CHECK(hearth_chat_store_rename(store, kept, "Renamed", NULL));
  CHECK(hearth_chat_store_delete(store, hidden, NULL));
  rows = hearth_chat_store_list(store, NULL);
  CHECK_INT(rows->len, 1);
  CHECK_TEXT(((HearthConversationRow *)g_ptr_array_index(rows, 0))->title, "Renamed");
  CHECK(hearth_chat_store_restore(store, hidden, NULL));
  g_ptr_array_unref(rows);
  rows = hearth_chat_store_list(store, NULL);
  CHECK_INT(rows->len, 2);
  {
    g_autoptr(GPtrArray) messages = hearth_chat_store_messages(store, hidden, NULL);
    CHECK_INT(messages->len, 1);
  }

  /* Hidden when the app ends: gone for good at the next start, with its messages. */
  CHECK(hearth_chat_store_delete(store, hidden, NULL));
  g_clear_object(&store);
  store = open_store(path);
  {
    g_autoptr(GPtrArray) messages = hearth_chat_store_messages(store, hidden, NULL);
    g_autoptr(GError) error = NULL;

    CHECK_INT(messages->len, 0);
    CHECK(!hearth_chat_store_restore(store, hidden, &error));
    CHECK(g_error_matches(error, HEARTH_CHAT_STORE_ERROR, HEARTH_CHAT_STORE_ERROR_NOT_FOUND));
  }
}

static void test_streaming_becomes_interrupted(void) {
  g_autofree char *path = in_folder("streaming.db");
  g_autoptr(HearthChatStore) store = open_store(path);
  gint64 conversation = hearth_chat_store_new_conversation(store, "t", NULL);
  g_autoptr(GPtrArray) messages = NULL;

  hearth_chat_store_add_message(store, conversation, HEARTH_ROLE_ASSISTANT, HEARTH_MESSAGE_STREAMING, "half", "m", NULL);
  hearth_chat_store_add_message(store, conversation, HEARTH_ROLE_ASSISTANT, HEARTH_MESSAGE_STOPPED, "stopped", "m", NULL);
  g_clear_object(&store);
  store = open_store(path);
  messages = hearth_chat_store_messages(store, conversation, NULL);
  CHECK_INT(((HearthMessage *)g_ptr_array_index(messages, 0))->state, HEARTH_MESSAGE_INTERRUPTED);
  CHECK_TEXT(((HearthMessage *)g_ptr_array_index(messages, 0))->text, "half");
  CHECK_INT(((HearthMessage *)g_ptr_array_index(messages, 1))->state, HEARTH_MESSAGE_STOPPED);
}

static void test_wrong_ids(void) {
  g_autofree char *path = in_folder("ids.db");
  g_autoptr(HearthChatStore) store = open_store(path);
  g_autoptr(GError) error = NULL;

  CHECK_INT(hearth_chat_store_add_message(store, 77, HEARTH_ROLE_USER, HEARTH_MESSAGE_COMPLETE, "x", NULL, &error), 0);
  CHECK(g_error_matches(error, HEARTH_CHAT_STORE_ERROR, HEARTH_CHAT_STORE_ERROR_NOT_FOUND));
  g_clear_error(&error);
  CHECK(!hearth_chat_store_update_message(store, 77, "x", HEARTH_MESSAGE_COMPLETE, 0, &error));
  CHECK(error != NULL);
  g_clear_error(&error);
  CHECK(!hearth_chat_store_rename(store, 77, "x", &error));
  CHECK(error != NULL);
  /* A failure leaves no transaction open behind it. */
  CHECK(hearth_chat_store_new_conversation(store, "t", NULL) > 0);
}

static void test_hostile_rows(void) {
  g_autofree char *path = in_folder("rows.db");
  g_autoptr(HearthChatStore) store = open_store(path);
  gint64 conversation = hearth_chat_store_new_conversation(store, "t", NULL);
  g_autoptr(GPtrArray) messages = NULL;

  g_clear_object(&store);
  run_sql(path, "INSERT INTO messages (conversation, role, state, text, created_us) VALUES"
                " (1, 99, 99, x'ff41fe', 0), (1, -1, -7, '', 0)");
  store = open_store(path);
  messages = hearth_chat_store_messages(store, conversation, NULL);
  CHECK_INT(messages->len, 2);
  for (guint i = 0; i < messages->len; i++) {
    const HearthMessage *message = g_ptr_array_index(messages, i);

    CHECK(message->role == HEARTH_ROLE_USER || message->role == HEARTH_ROLE_ASSISTANT);
    CHECK(message->state <= HEARTH_MESSAGE_INTERRUPTED);
    CHECK(g_utf8_validate(message->text, -1, NULL));
  }
}

static void check_moved_aside(const char *path) {
  g_autofree char *moved_to = NULL;
  g_autoptr(GError) error = NULL;
  g_autoptr(HearthChatStore) store = hearth_chat_store_open(path, &moved_to, &error);
  g_autoptr(GPtrArray) rows = NULL;

  CHECK(store != NULL);
  CHECK(moved_to != NULL && g_file_test(moved_to, G_FILE_TEST_EXISTS));
  if (!store)
    return;
  rows = hearth_chat_store_list(store, NULL);
  CHECK_INT(rows->len, 0);
  CHECK(hearth_chat_store_new_conversation(store, "t", NULL) > 0);
}

static void test_damage(void) {
  g_autofree char *path = in_folder("damaged.db");
  g_autofree char *data = NULL;
  gsize bytes = 0;

  /* A file that never was a database. */
  CHECK(g_file_set_contents(path, "This is a letter to my aunt, longer than the header of a database is, by some words, "
                                  "so that it is not taken for an empty one.", -1, NULL));
  check_moved_aside(path);
  g_unlink(path);

  /* A database of ours with its first pages overwritten. */
  {
    g_autoptr(HearthChatStore) store = open_store(path);

    for (int i = 0; i < 50; i++)
      hearth_chat_store_new_conversation(store, "A title that fills pages", NULL);
  }
  CHECK(g_file_get_contents(path, &data, &bytes, NULL));
  CHECK(bytes > 8192);
  memset(data + 100, 0x5a, 8000);
  CHECK(g_file_set_contents(path, data, (gssize)bytes, NULL));
  check_moved_aside(path);
}

static void test_newer(void) {
  g_autofree char *path = in_folder("newer.db");
  g_autofree char *moved_to = NULL;
  g_autoptr(GError) error = NULL;

  g_object_unref(open_store(path));
  run_sql(path, "PRAGMA user_version = 1000");
  CHECK(hearth_chat_store_open(path, &moved_to, &error) == NULL);
  CHECK(g_error_matches(error, HEARTH_CHAT_STORE_ERROR, HEARTH_CHAT_STORE_ERROR_TOO_NEW));
  CHECK(moved_to == NULL);
  CHECK(g_file_test(path, G_FILE_TEST_EXISTS));
}

static void test_unwritable(void) {
  g_autofree char *path = in_folder("no-such-folder/x.db");
  g_autoptr(GError) error = NULL;

  CHECK(hearth_chat_store_open(path, NULL, &error) == NULL);
  CHECK(error != NULL);
}

static void remove_folder(void) {
  g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
  const char *name;

  while ((name = g_dir_read_name(dir))) {
    g_autofree char *path = in_folder(name);
    g_unlink(path);
  }
  g_rmdir(folder);
}

int main(void) {
  folder = g_dir_make_tmp("hearth-chat-XXXXXX", NULL);
  test_messages();
  test_begin();
  test_rename_and_delete();
  test_streaming_becomes_interrupted();
  test_wrong_ids();
  test_hostile_rows();
  test_damage();
  test_newer();
  test_unwritable();
  remove_folder();
  g_free(folder);
  return check_done();
}
