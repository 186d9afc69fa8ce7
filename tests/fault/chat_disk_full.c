/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A disk that becomes full at any write of a conversation: the call says G_IO_ERROR_NO_SPACE, what was there before is there
 * afterwards, and once there is space again everything goes on.
 *
 * The full disk is a SQLite VFS around the system's own, whose writes fail from a chosen one on. */
#include "chat/hearth-chat-store.h"
#include "check.h"

#include <glib/gstdio.h>
#include <sqlite3.h>

typedef struct {
  sqlite3_file base;
  sqlite3_file *real; /* behind this struct */
} FullFile;

static sqlite3_vfs *system_vfs;
static sqlite3_io_methods full_methods;
static int writes_left = -1; /* negative: endless */
static int n_refused;

static sqlite3_file *real(sqlite3_file *file) {
  return ((FullFile *)file)->real;
}

static int full_close(sqlite3_file *file) {
  return real(file)->pMethods ? real(file)->pMethods->xClose(real(file)) : SQLITE_OK;
}
static int full_read(sqlite3_file *file, void *data, int bytes, sqlite3_int64 offset) {
  return real(file)->pMethods->xRead(real(file), data, bytes, offset);
}
static int full_write(sqlite3_file *file, const void *data, int bytes, sqlite3_int64 offset) {
  if (writes_left == 0) {
    n_refused++;
    /* Like a real disk: part of it may still have found a place. */
    if (bytes > 1)
      (void)real(file)->pMethods->xWrite(real(file), data, bytes / 2, offset);
    return SQLITE_FULL;
  }
  if (writes_left > 0)
    writes_left--;
  return real(file)->pMethods->xWrite(real(file), data, bytes, offset);
}
static int full_truncate(sqlite3_file *file, sqlite3_int64 size) {
  return real(file)->pMethods->xTruncate(real(file), size);
}
static int full_sync(sqlite3_file *file, int flags) {
  return real(file)->pMethods->xSync(real(file), flags);
}
static int full_size(sqlite3_file *file, sqlite3_int64 *size) {
  return real(file)->pMethods->xFileSize(real(file), size);
}
static int full_lock(sqlite3_file *file, int level) {
  return real(file)->pMethods->xLock(real(file), level);
}
static int full_unlock(sqlite3_file *file, int level) {
  return real(file)->pMethods->xUnlock(real(file), level);
}
static int full_check_lock(sqlite3_file *file, int *out) {
  return real(file)->pMethods->xCheckReservedLock(real(file), out);
}
static int full_control(sqlite3_file *file, int op, void *arg) {
  return real(file)->pMethods->xFileControl(real(file), op, arg);
}
static int full_sector(sqlite3_file *file) {
  return real(file)->pMethods->xSectorSize(real(file));
}
static int full_traits(sqlite3_file *file) {
  return real(file)->pMethods->xDeviceCharacteristics(real(file));
}
static int full_shm_map(sqlite3_file *file, int page, int bytes, int extend, void volatile **out) {
  return real(file)->pMethods->xShmMap(real(file), page, bytes, extend, out);
}
static int full_shm_lock(sqlite3_file *file, int offset, int n, int flags) {
  return real(file)->pMethods->xShmLock(real(file), offset, n, flags);
}
static void full_shm_barrier(sqlite3_file *file) {
  real(file)->pMethods->xShmBarrier(real(file));
}
static int full_shm_unmap(sqlite3_file *file, int remove) {
  return real(file)->pMethods->xShmUnmap(real(file), remove);
}

static int full_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out_flags) {
  FullFile *full = (FullFile *)file;
  int code;

  full->real = (sqlite3_file *)(full + 1);
  code = system_vfs->xOpen(system_vfs, name, full->real, flags, out_flags);
  full->base.pMethods = full->real->pMethods ? &full_methods : NULL;
  return code;
}

static void register_vfs(void) {
  static sqlite3_vfs full_vfs;

  system_vfs = sqlite3_vfs_find(NULL);
  full_vfs = *system_vfs;
  full_vfs.zName = "full-disk";
  full_vfs.szOsFile = (int)sizeof(FullFile) + system_vfs->szOsFile;
  full_vfs.xOpen = full_open;
  full_vfs.pNext = NULL;
  full_methods = (sqlite3_io_methods){
      .iVersion = 2, .xClose = full_close, .xRead = full_read, .xWrite = full_write, .xTruncate = full_truncate,
      .xSync = full_sync, .xFileSize = full_size, .xLock = full_lock, .xUnlock = full_unlock,
      .xCheckReservedLock = full_check_lock, .xFileControl = full_control, .xSectorSize = full_sector,
      .xDeviceCharacteristics = full_traits, .xShmMap = full_shm_map, .xShmLock = full_shm_lock,
      .xShmBarrier = full_shm_barrier, .xShmUnmap = full_shm_unmap,
  };
  CHECK_INT(sqlite3_vfs_register(&full_vfs, 1), SQLITE_OK);
}

static guint count_conversations(HearthChatStore *store) {
  g_autoptr(GPtrArray) rows = hearth_chat_store_list(store, NULL);

  return rows ? rows->len : G_MAXUINT;
}

static guint count_messages(HearthChatStore *store, gint64 conversation) {
  g_autoptr(GPtrArray) messages = hearth_chat_store_messages(store, conversation, NULL);

  return messages ? messages->len : G_MAXUINT;
}

/* The disk is full from the n-th write on. Returns whether that was early enough to be noticed. */
static gboolean test_full_at(const char *path, int n) {
  g_autofree char *long_text = g_strnfill(20000, 'a');
  g_autoptr(GError) error = NULL;
  g_autoptr(HearthChatStore) store = hearth_chat_store_open(path, NULL, &error);
  gint64 conversation, question, answer, lost, begun, message;
  gboolean updated;
  guint n_before;

  CHECK(store != NULL);
  conversation = hearth_chat_store_new_conversation(store, "title", NULL);
  question = hearth_chat_store_add_message(store, conversation, HEARTH_ROLE_USER, HEARTH_MESSAGE_COMPLETE, "kept", NULL, NULL);
  answer = hearth_chat_store_add_message(store, conversation, HEARTH_ROLE_ASSISTANT, HEARTH_MESSAGE_STREAMING, "half", "m",
                                         NULL);
  CHECK(conversation > 0 && question > 0 && answer > 0);
  n_before = count_conversations(store);

  writes_left = n;
  n_refused = 0;
  lost = hearth_chat_store_add_message(store, conversation, HEARTH_ROLE_USER, HEARTH_MESSAGE_COMPLETE, long_text, NULL, &error);
  CHECK((lost == 0) == (error != NULL));
  if (error)
    CHECK(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE));
  g_clear_error(&error);
  updated = hearth_chat_store_update_message(store, answer, long_text, HEARTH_MESSAGE_COMPLETE, 1, &error);
  CHECK(updated == (error == NULL));
  if (error)
    CHECK(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE));
  g_clear_error(&error);

  begun = hearth_chat_store_begin(store, "begun", long_text, &message, &error);
  CHECK((begun == 0) == (error != NULL));
  if (error)
    CHECK(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE));
  g_clear_error(&error);

  /* Reading goes on, and shows only what succeeded: a conversation with its first message or neither. */
  CHECK_INT(count_conversations(store), n_before + (begun ? 1 : 0));
  if (begun)
    CHECK_INT(count_messages(store, begun), 1);
  CHECK_INT(count_messages(store, conversation), lost ? 3 : 2);

  /* Space again: the same calls succeed. */
  writes_left = -1;
  if (!lost)
    lost = hearth_chat_store_add_message(store, conversation, HEARTH_ROLE_USER, HEARTH_MESSAGE_COMPLETE, long_text, NULL, &error);
  CHECK(lost > 0);
  if (!updated)
    updated = hearth_chat_store_update_message(store, answer, long_text, HEARTH_MESSAGE_COMPLETE, 1, &error);
  CHECK(updated);
  g_clear_error(&error);
  g_clear_object(&store);

  store = hearth_chat_store_open(path, NULL, NULL);
  CHECK(store != NULL);
  CHECK_INT(count_messages(store, conversation), 3);
  return n_refused > 0;
}

int main(void) {
  g_autofree char *folder = g_dir_make_tmp("hearth-full-XXXXXX", NULL);
  g_autofree char *path = g_build_filename(folder, "full.db", NULL);
  static const char *const suffixes[] = {"", "-wal", "-shm"};
  int n = 0;

  register_vfs();
  while (n < 400 && test_full_at(path, n))
    n++;
  CHECK(n > 10);  /* the loop met a full disk at many places */
  CHECK(n < 400); /* and came past the last write */
  printf("the disk was full at each of the first %d writes\n", n);
  for (guint i = 0; i < G_N_ELEMENTS(suffixes); i++) {
    g_autofree char *name = g_strconcat(path, suffixes[i], NULL);
    g_unlink(name);
  }
  g_rmdir(folder);
  return check_done();
}
