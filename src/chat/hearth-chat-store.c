/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth-chat"

#include "chat/hearth-chat-store.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <sqlite3.h>

/* Each entry brings a database from the version that is its index to the next one. */
static const char *const migrations[] = {
    "CREATE TABLE conversations ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  title TEXT NOT NULL,"
    "  created_us INTEGER NOT NULL,"
    "  updated_us INTEGER NOT NULL,"
    "  deleted INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE messages ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,"
    "  role INTEGER NOT NULL,"
    "  state INTEGER NOT NULL,"
    "  text TEXT NOT NULL,"
    "  model TEXT,"
    "  words_per_second REAL NOT NULL DEFAULT 0,"
    "  created_us INTEGER NOT NULL);"
    "CREATE INDEX messages_of_conversation ON messages (conversation, id);",
};

typedef enum {
  STATEMENT_LIST,
  STATEMENT_NEW_CONVERSATION,
  STATEMENT_RENAME,
  STATEMENT_SET_DELETED,
  STATEMENT_TOUCH,
  STATEMENT_MESSAGES,
  STATEMENT_ADD_MESSAGE,
  STATEMENT_UPDATE_MESSAGE,
  N_STATEMENTS
} Statement;

static const char *const statement_texts[N_STATEMENTS] = {
    [STATEMENT_LIST] = "SELECT id, title, updated_us FROM conversations WHERE deleted = 0 ORDER BY updated_us DESC, id DESC",
    [STATEMENT_NEW_CONVERSATION] = "INSERT INTO conversations (title, created_us, updated_us) VALUES (?1, ?2, ?2)",
    [STATEMENT_RENAME] = "UPDATE conversations SET title = ?2 WHERE id = ?1",
    [STATEMENT_SET_DELETED] = "UPDATE conversations SET deleted = ?2 WHERE id = ?1",
    [STATEMENT_TOUCH] = "UPDATE conversations SET updated_us = ?2 WHERE id = ?1",
    [STATEMENT_MESSAGES] = "SELECT id, role, state, text, model, words_per_second, created_us FROM messages "
                           "WHERE conversation = ?1 ORDER BY id",
    [STATEMENT_ADD_MESSAGE] = "INSERT INTO messages (conversation, role, state, text, model, created_us) "
                              "VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    [STATEMENT_UPDATE_MESSAGE] = "UPDATE messages SET text = ?2, state = ?3, words_per_second = ?4 WHERE id = ?1",
};

struct _HearthChatStore {
  GObject parent_instance;

  sqlite3 *db;
  sqlite3_stmt *statements[N_STATEMENTS];
  gboolean full_sync; /* the value PRAGMA synchronous has now: FULL, else NORMAL */
};

G_DEFINE_QUARK(hearth-chat-store-error-quark, hearth_chat_store_error)
G_DEFINE_FINAL_TYPE(HearthChatStore, hearth_chat_store, G_TYPE_OBJECT)

void hearth_message_free(HearthMessage *message) {
  if (!message)
    return;
  g_free(message->text);
  g_free(message->model);
  g_free(message);
}

void hearth_conversation_row_free(HearthConversationRow *row) {
  if (!row)
    return;
  g_free(row->title);
  g_free(row);
}

/* --- Auxiliary ------------------------------------------------------------------------------------------------------- */

static gboolean is_damage(int code) {
  return (code & 0xff) == SQLITE_NOTADB || (code & 0xff) == SQLITE_CORRUPT;
}

static void set_error(GError **error, sqlite3 *db, int code) {
  int system_error = db ? sqlite3_system_errno(db) : 0;

  if ((code & 0xff) == SQLITE_FULL ||
      ((code & 0xff) == SQLITE_IOERR && (system_error == ENOSPC || system_error == EDQUOT || system_error == EFBIG)))
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE, "no space is left for the conversations: %s",
                sqlite3_errstr(code));
  else if (is_damage(code))
    g_set_error(error, HEARTH_CHAT_STORE_ERROR, HEARTH_CHAT_STORE_ERROR_DAMAGED, "the conversations are damaged: %s",
                db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
  else
    g_set_error(error, HEARTH_CHAT_STORE_ERROR, HEARTH_CHAT_STORE_ERROR_FAILED, "%s",
                db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
}

static gboolean exec(sqlite3 *db, const char *sql, GError **error) {
  int code = sqlite3_exec(db, sql, NULL, NULL, NULL);

  if (code == SQLITE_OK)
    return TRUE;
  set_error(error, db, sqlite3_extended_errcode(db));
  return FALSE;
}

static gboolean set_full_sync(HearthChatStore *self, gboolean full, GError **error) {
  if (self->full_sync == full)
    return TRUE;
  if (!exec(self->db, full ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", error))
    return FALSE;
  self->full_sync = full;
  return TRUE;
}

/* The prepared statement, with its parameters unset. NULL with *error when it cannot be prepared. */
static sqlite3_stmt *use_statement(HearthChatStore *self, Statement which, GError **error) {
  sqlite3_stmt **slot = &self->statements[which];

  if (!*slot && sqlite3_prepare_v3(self->db, statement_texts[which], -1, SQLITE_PREPARE_PERSISTENT, slot, NULL) != SQLITE_OK) {
    set_error(error, self->db, sqlite3_extended_errcode(self->db));
    return NULL;
  }
  sqlite3_clear_bindings(*slot);
  return *slot;
}

/* Runs a statement that gives no rows and resets it. */
static gboolean run_statement(HearthChatStore *self, sqlite3_stmt *statement, GError **error) {
  int code = sqlite3_step(statement);

  if (code == SQLITE_DONE) {
    sqlite3_reset(statement);
    return TRUE;
  }
  set_error(error, self->db, sqlite3_extended_errcode(self->db));
  sqlite3_reset(statement);
  return FALSE;
}

/* One change by a statement whose parameters are bound already: it must reach exactly one row. */
static gboolean run_change(HearthChatStore *self, sqlite3_stmt *statement, GError **error) {
  if (!run_statement(self, statement, error))
    return FALSE;
  if (sqlite3_changes(self->db) != 1) {
    g_set_error(error, HEARTH_CHAT_STORE_ERROR, HEARTH_CHAT_STORE_ERROR_NOT_FOUND, "no such conversation or message");
    return FALSE;
  }
  return TRUE;
}

static char *dup_column(sqlite3_stmt *statement, int column) {
  const char *text = (const char *)sqlite3_column_text(statement, column);

  return text ? g_utf8_make_valid(text, -1) : NULL;
}

static gboolean read_int(sqlite3 *db, const char *sql, int *out, GError **error) {
  sqlite3_stmt *statement = NULL;
  gboolean ok = FALSE;

  if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
    *out = sqlite3_column_int(statement, 0);
    ok = TRUE;
  } else {
    set_error(error, db, sqlite3_extended_errcode(db));
  }
  sqlite3_finalize(statement);
  return ok;
}

static gboolean migrate(sqlite3 *db, GError **error) {
  int version = 0;

  if (!read_int(db, "PRAGMA user_version", &version, error))
    return FALSE;
  if (version > (int)G_N_ELEMENTS(migrations)) {
    g_set_error(error, HEARTH_CHAT_STORE_ERROR, HEARTH_CHAT_STORE_ERROR_TOO_NEW,
                "the conversations were written by a newer version of Hearth");
    return FALSE;
  }
  for (; version < (int)G_N_ELEMENTS(migrations); version++) {
    g_autofree char *sql = g_strdup_printf("BEGIN IMMEDIATE; %s PRAGMA user_version = %d; COMMIT;", migrations[version],
                                           version + 1);
    if (!exec(db, sql, error)) {
      sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
      return FALSE;
    }
  }
  return TRUE;
}

/* What the last session left: answers that were being written are interrupted, and what it hid is removed, as are
 * conversations in which nothing was said. A disk that is full now must not keep the conversations from being read, so only
 * damage counts as failure. */
static gboolean tidy(sqlite3 *db, GError **error) {
  static const char *const steps[] = {
      "UPDATE messages SET state = 3 WHERE state = 1",
      "DELETE FROM conversations WHERE deleted <> 0 "
      "OR NOT EXISTS (SELECT 1 FROM messages WHERE conversation = conversations.id)",
  };
  G_STATIC_ASSERT(HEARTH_MESSAGE_STREAMING == 1 && HEARTH_MESSAGE_INTERRUPTED == 3);

  for (guint i = 0; i < G_N_ELEMENTS(steps); i++) {
    g_autoptr(GError) step_error = NULL;

    if (exec(db, steps[i], &step_error))
      continue;
    if (g_error_matches(step_error, HEARTH_CHAT_STORE_ERROR, HEARTH_CHAT_STORE_ERROR_DAMAGED)) {
      g_propagate_error(error, g_steal_pointer(&step_error));
      return FALSE;
    }
    g_warning("Tidying the conversations: %s", step_error->message);
  }
  return TRUE;
}

static sqlite3 *open_database(const char *path, GError **error) {
  sqlite3 *db = NULL;
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;

  if (sqlite3_open_v2(path, &db, flags, NULL) != SQLITE_OK) {
    set_error(error, db, db ? sqlite3_extended_errcode(db) : SQLITE_NOMEM);
    sqlite3_close(db);
    return NULL;
  }
  sqlite3_busy_timeout(db, 2000);
  if (exec(db, "PRAGMA foreign_keys = ON; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", error) &&
      migrate(db, error) && tidy(db, error))
    return db;
  sqlite3_close(db);
  return NULL;
}

/* Renames a damaged database and the files beside it to a name that is free. */
static char *move_aside(const char *path, GError **error) {
  static const char *const suffixes[] = {"", "-wal", "-shm"};
  g_autoptr(GDateTime) now = g_date_time_new_now_local();
  g_autofree char *stamp = g_date_time_format(now, "%Y-%m-%d-%H%M%S");
  g_autofree char *target = g_strdup_printf("%s.damaged-%s", path, stamp);

  for (guint n = 2; g_file_test(target, G_FILE_TEST_EXISTS); n++) {
    g_free(target);
    target = g_strdup_printf("%s.damaged-%s-%u", path, stamp, n);
  }
  for (guint i = 0; i < G_N_ELEMENTS(suffixes); i++) {
    g_autofree char *from = g_strconcat(path, suffixes[i], NULL);
    g_autofree char *to = g_strconcat(target, suffixes[i], NULL);

    if (g_rename(from, to) != 0 && errno != ENOENT) {
      int saved_errno = errno;

      g_set_error(error, G_IO_ERROR, g_io_error_from_errno(saved_errno), "%s", g_strerror(saved_errno));
      return NULL;
    }
  }
  return g_steal_pointer(&target);
}

/* --- GObject overrides ----------------------------------------------------------------------------------------------- */

static void hearth_chat_store_finalize(GObject *object) {
  HearthChatStore *self = HEARTH_CHAT_STORE(object);

  for (guint i = 0; i < N_STATEMENTS; i++)
    sqlite3_finalize(self->statements[i]);
  sqlite3_close(self->db);
  G_OBJECT_CLASS(hearth_chat_store_parent_class)->finalize(object);
}

static void hearth_chat_store_class_init(HearthChatStoreClass *klass) {
  G_OBJECT_CLASS(klass)->finalize = hearth_chat_store_finalize;
}

static void hearth_chat_store_init(HearthChatStore *self) {
}

/* --- Public API ------------------------------------------------------------------------------------------------------ */

HearthChatStore *hearth_chat_store_open(const char *path, char **moved_to, GError **error) {
  g_autoptr(GError) open_error = NULL;
  sqlite3 *db;

  g_return_val_if_fail(path != NULL, NULL);

  if (moved_to)
    *moved_to = NULL;
  db = open_database(path, &open_error);
  if (!db && g_error_matches(open_error, HEARTH_CHAT_STORE_ERROR, HEARTH_CHAT_STORE_ERROR_DAMAGED)) {
    g_autofree char *target = move_aside(path, error);

    if (!target)
      return NULL;
    g_clear_error(&open_error);
    db = open_database(path, &open_error);
    if (moved_to)
      *moved_to = g_steal_pointer(&target);
  }
  if (!db) {
    g_propagate_error(error, g_steal_pointer(&open_error));
    return NULL;
  }

  HearthChatStore *self = g_object_new(HEARTH_TYPE_CHAT_STORE, NULL);
  self->db = db;
  self->full_sync = TRUE;
  return self;
}

GPtrArray *hearth_chat_store_list(HearthChatStore *self, GError **error) {
  g_return_val_if_fail(HEARTH_IS_CHAT_STORE(self), NULL);

  sqlite3_stmt *statement = use_statement(self, STATEMENT_LIST, error);
  if (!statement)
    return NULL;

  g_autoptr(GPtrArray) rows = g_ptr_array_new_with_free_func((GDestroyNotify)hearth_conversation_row_free);
  int code;
  while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
    HearthConversationRow *row = g_new0(HearthConversationRow, 1);

    row->id = sqlite3_column_int64(statement, 0);
    row->title = dup_column(statement, 1);
    row->updated_us = sqlite3_column_int64(statement, 2);
    g_ptr_array_add(rows, row);
  }
  if (code != SQLITE_DONE)
    set_error(error, self->db, sqlite3_extended_errcode(self->db));
  sqlite3_reset(statement);
  return code == SQLITE_DONE ? g_steal_pointer(&rows) : NULL;
}

gint64 hearth_chat_store_new_conversation(HearthChatStore *self, const char *title, GError **error) {
  g_return_val_if_fail(HEARTH_IS_CHAT_STORE(self), 0);
  g_return_val_if_fail(title != NULL, 0);

  sqlite3_stmt *statement = use_statement(self, STATEMENT_NEW_CONVERSATION, error);
  if (!statement || !set_full_sync(self, TRUE, error))
    return 0;
  sqlite3_bind_text(statement, 1, title, -1, SQLITE_STATIC);
  sqlite3_bind_int64(statement, 2, g_get_real_time());
  return run_change(self, statement, error) ? sqlite3_last_insert_rowid(self->db) : 0;
}

gint64 hearth_chat_store_begin(HearthChatStore *self, const char *title, const char *text, gint64 *message, GError **error) {
  sqlite3_stmt *begin, *add;
  gint64 now = g_get_real_time(), id = 0;

  g_return_val_if_fail(HEARTH_IS_CHAT_STORE(self), 0);
  g_return_val_if_fail(title != NULL && text != NULL && message != NULL, 0);

  begin = use_statement(self, STATEMENT_NEW_CONVERSATION, error);
  add = begin ? use_statement(self, STATEMENT_ADD_MESSAGE, error) : NULL;
  if (!add || !set_full_sync(self, TRUE, error) || !exec(self->db, "BEGIN IMMEDIATE", error))
    return 0;

  sqlite3_bind_text(begin, 1, title, -1, SQLITE_STATIC);
  sqlite3_bind_int64(begin, 2, now);
  if (!run_change(self, begin, error))
    goto fail;
  id = sqlite3_last_insert_rowid(self->db);
  sqlite3_bind_int64(add, 1, id);
  sqlite3_bind_int(add, 2, HEARTH_ROLE_USER);
  sqlite3_bind_int(add, 3, HEARTH_MESSAGE_COMPLETE);
  sqlite3_bind_text(add, 4, text, -1, SQLITE_STATIC);
  sqlite3_bind_int64(add, 6, now);
  if (!run_change(self, add, error))
    goto fail;
  *message = sqlite3_last_insert_rowid(self->db);
  if (exec(self->db, "COMMIT", error))
    return id;

fail:
  /* Some failures have rolled back already; then this one says so and changes nothing. */
  sqlite3_exec(self->db, "ROLLBACK", NULL, NULL, NULL);
  return 0;
}

gboolean hearth_chat_store_rename(HearthChatStore *self, gint64 conversation, const char *title, GError **error) {
  g_return_val_if_fail(HEARTH_IS_CHAT_STORE(self), FALSE);
  g_return_val_if_fail(title != NULL, FALSE);

  sqlite3_stmt *statement = use_statement(self, STATEMENT_RENAME, error);
  if (!statement || !set_full_sync(self, TRUE, error))
    return FALSE;
  sqlite3_bind_int64(statement, 1, conversation);
  sqlite3_bind_text(statement, 2, title, -1, SQLITE_STATIC);
  return run_change(self, statement, error);
}

static gboolean set_deleted(HearthChatStore *self, gint64 conversation, gboolean deleted, GError **error) {
  sqlite3_stmt *statement = use_statement(self, STATEMENT_SET_DELETED, error);

  if (!statement || !set_full_sync(self, TRUE, error))
    return FALSE;
  sqlite3_bind_int64(statement, 1, conversation);
  sqlite3_bind_int(statement, 2, deleted);
  return run_change(self, statement, error);
}

gboolean hearth_chat_store_delete(HearthChatStore *self, gint64 conversation, GError **error) {
  g_return_val_if_fail(HEARTH_IS_CHAT_STORE(self), FALSE);

  return set_deleted(self, conversation, TRUE, error);
}

gboolean hearth_chat_store_restore(HearthChatStore *self, gint64 conversation, GError **error) {
  g_return_val_if_fail(HEARTH_IS_CHAT_STORE(self), FALSE);

  return set_deleted(self, conversation, FALSE, error);
}

GPtrArray *hearth_chat_store_messages(HearthChatStore *self, gint64 conversation, GError **error) {
  g_return_val_if_fail(HEARTH_IS_CHAT_STORE(self), NULL);

  sqlite3_stmt *statement = use_statement(self, STATEMENT_MESSAGES, error);
  if (!statement)
    return NULL;

  g_autoptr(GPtrArray) messages = g_ptr_array_new_with_free_func((GDestroyNotify)hearth_message_free);
  int code;
  sqlite3_bind_int64(statement, 1, conversation);
  while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
    HearthMessage *message = g_new0(HearthMessage, 1);

    message->id = sqlite3_column_int64(statement, 0);
    message->role = sqlite3_column_int(statement, 1) == HEARTH_ROLE_USER ? HEARTH_ROLE_USER : HEARTH_ROLE_ASSISTANT;
    message->state = (HearthMessageState)CLAMP(sqlite3_column_int(statement, 2), 0, HEARTH_MESSAGE_INTERRUPTED);
    message->text = dup_column(statement, 3);
    if (!message->text)
      message->text = g_strdup("");
    message->model = dup_column(statement, 4);
    message->words_per_second = sqlite3_column_double(statement, 5);
    message->created_us = sqlite3_column_int64(statement, 6);
    g_ptr_array_add(messages, message);
  }
  if (code != SQLITE_DONE)
    set_error(error, self->db, sqlite3_extended_errcode(self->db));
  sqlite3_reset(statement);
  return code == SQLITE_DONE ? g_steal_pointer(&messages) : NULL;
}

gint64 hearth_chat_store_add_message(HearthChatStore *self, gint64 conversation, HearthRole role, HearthMessageState state,
                                     const char *text, const char *model, GError **error) {
  sqlite3_stmt *add, *touch;
  gint64 now = g_get_real_time(), id = 0;

  g_return_val_if_fail(HEARTH_IS_CHAT_STORE(self), 0);
  g_return_val_if_fail(text != NULL, 0);

  add = use_statement(self, STATEMENT_ADD_MESSAGE, error);
  touch = add ? use_statement(self, STATEMENT_TOUCH, error) : NULL;
  if (!touch || !set_full_sync(self, state != HEARTH_MESSAGE_STREAMING, error) || !exec(self->db, "BEGIN IMMEDIATE", error))
    return 0;

  sqlite3_bind_int64(add, 1, conversation);
  sqlite3_bind_int(add, 2, role);
  sqlite3_bind_int(add, 3, state);
  sqlite3_bind_text(add, 4, text, -1, SQLITE_STATIC);
  sqlite3_bind_text(add, 5, model, -1, SQLITE_STATIC);
  sqlite3_bind_int64(add, 6, now);
  sqlite3_bind_int64(touch, 1, conversation);
  sqlite3_bind_int64(touch, 2, now);
  if (run_change(self, touch, error) && run_change(self, add, error)) {
    id = sqlite3_last_insert_rowid(self->db);
    if (exec(self->db, "COMMIT", error))
      return id;
  }
  /* Some failures have rolled back already; then this one says so and changes nothing. */
  sqlite3_exec(self->db, "ROLLBACK", NULL, NULL, NULL);
  return 0;
}

gboolean hearth_chat_store_update_message(HearthChatStore *self, gint64 message, const char *text, HearthMessageState state,
                                          double words_per_second, GError **error) {
  g_return_val_if_fail(HEARTH_IS_CHAT_STORE(self), FALSE);
  g_return_val_if_fail(text != NULL, FALSE);

  sqlite3_stmt *statement = use_statement(self, STATEMENT_UPDATE_MESSAGE, error);
  if (!statement || !set_full_sync(self, state != HEARTH_MESSAGE_STREAMING, error))
    return FALSE;
  sqlite3_bind_int64(statement, 1, message);
  sqlite3_bind_text(statement, 2, text, -1, SQLITE_STATIC);
  sqlite3_bind_int(statement, 3, state);
  sqlite3_bind_double(statement, 4, words_per_second);
  return run_change(self, statement, error);
}
