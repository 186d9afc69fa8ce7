/* Conversations on disk: one SQLite database in WAL mode.
 *
 * A message of the person's is durable (synchronous=FULL) when hearth_chat_store_add_message returns; an answer's checkpoints are
 * written with synchronous=NORMAL. The database is opened by one process; all calls come from one thread.
 */
#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

#define HEARTH_CHAT_STORE_ERROR (hearth_chat_store_error_quark())
typedef enum {
  HEARTH_CHAT_STORE_ERROR_FAILED,    /* anything else */
  HEARTH_CHAT_STORE_ERROR_DAMAGED,   /* the database, or the part of it that was asked for, cannot be read */
  HEARTH_CHAT_STORE_ERROR_TOO_NEW,   /* a newer version of Hearth wrote it; it is left alone */
  HEARTH_CHAT_STORE_ERROR_NOT_FOUND  /* no such conversation or message */
} HearthChatStoreError;
GQuark hearth_chat_store_error_quark(void);

#define HEARTH_TYPE_CHAT_STORE (hearth_chat_store_get_type())
G_DECLARE_FINAL_TYPE(HearthChatStore, hearth_chat_store, HEARTH, CHAT_STORE, GObject)

typedef enum { HEARTH_ROLE_USER, HEARTH_ROLE_ASSISTANT } HearthRole;

typedef enum {
  HEARTH_MESSAGE_COMPLETE,
  HEARTH_MESSAGE_STREAMING,  /* an answer being written; found at opening, it becomes INTERRUPTED */
  HEARTH_MESSAGE_STOPPED,    /* the person stopped it */
  HEARTH_MESSAGE_INTERRUPTED /* the app or the engine ended before it was complete */
} HearthMessageState;

typedef struct {
  gint64 id;
  HearthRole role;
  HearthMessageState state;
  char *text;
  char *model;              /* that answered; NULL for the person's */
  double words_per_second;  /* 0: not known */
  gint64 created_us;        /* since the epoch */
} HearthMessage;
void hearth_message_free(HearthMessage *message);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HearthMessage, hearth_message_free)

typedef struct {
  gint64 id;
  char *title;
  gint64 updated_us;
} HearthConversationRow;
void hearth_conversation_row_free(HearthConversationRow *row);

/* Opens or creates the database. Errors: HEARTH_CHAT_STORE_ERROR or G_IO_ERROR; a full disk is G_IO_ERROR_NO_SPACE. A file
 * that is no database is moved aside (never deleted) and said so in *moved_to. */
HearthChatStore *hearth_chat_store_open(const char *path, char **moved_to, GError **error);

/* Not deleted, newest first. Free with g_ptr_array_unref. */
GPtrArray *hearth_chat_store_list(HearthChatStore *self, GError **error);
gint64 hearth_chat_store_new_conversation(HearthChatStore *self, const char *title, GError **error); /* 0: failed */
/* A conversation together with the person's first message, whose id goes to *message: both are saved or neither. 0: failed. */
gint64 hearth_chat_store_begin(HearthChatStore *self, const char *title, const char *text, gint64 *message, GError **error);
gboolean hearth_chat_store_rename(HearthChatStore *self, gint64 conversation, const char *title, GError **error);

/* Deleting hides a conversation; restoring undoes it; purging removes for good what was hidden before this session. */
gboolean hearth_chat_store_delete(HearthChatStore *self, gint64 conversation, GError **error);
gboolean hearth_chat_store_restore(HearthChatStore *self, gint64 conversation, GError **error);

GPtrArray *hearth_chat_store_messages(HearthChatStore *self, gint64 conversation, GError **error);
gint64 hearth_chat_store_add_message(HearthChatStore *self, gint64 conversation, HearthRole role, HearthMessageState state,
                                     const char *text, const char *model, GError **error); /* 0: failed */
/* A checkpoint, or the end, of an answer. */
gboolean hearth_chat_store_update_message(HearthChatStore *self, gint64 message, const char *text, HearthMessageState state,
                                          double words_per_second, GError **error);

G_END_DECLS
