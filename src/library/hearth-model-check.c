/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth-library"

#include "library/hearth-model-check.h"

#include "gguf/gguf.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gi18n.h>
#include <glib/gstdio.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_NAME_CHARACTERS 80
#define MAX_NAMES 3 /* of missing files, that a sentence holds */

G_DEFINE_AUTOPTR_CLEANUP_FUNC(em_gguf, em_gguf_close)
G_DEFINE_QUARK(hearth-library-error-quark, hearth_library_error)

static void set_errno_error(GError **error, int number) {
  if (number == ENOENT || number == ENOTDIR)
    g_set_error_literal(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_NOT_FOUND, _("The file is not there any more."));
  else if (number == EACCES || number == EPERM)
    g_set_error_literal(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_READ,
                        _("You do not have the permission to read this file."));
  else
    /* Translators: %s is the system's own words for what went wrong. */
    g_set_error(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_READ, _("The file could not be read: %s."),
                g_strerror(number));
}

/* The core's reasons as sentences; its own words, which name the place, follow in brackets. */
static void set_core_error(GError **error, em_status status, const em_error *reason) {
  switch (status) {
  case EM_ERR_NOT_FOUND:
    set_errno_error(error, ENOENT);
    break;
  case EM_ERR_IO:
    g_set_error(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_READ, _("The file could not be read: %s."),
                reason->text);
    break;
  case EM_ERR_FORMAT:
  case EM_ERR_CHANGED:
    g_set_error(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_DAMAGED,
                _("The file is damaged or was not downloaded completely (%s). Downloading it again usually helps."),
                reason->text);
    break;
  case EM_ERR_LIMIT:
    g_set_error(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_LIMIT,
                _("Hearth does not trust this file, because it claims unreasonable sizes (%s)."), reason->text);
    break;
  case EM_ERR_UNSUPPORTED:
    g_set_error(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_UNSUPPORTED,
                _("This kind of model file is not supported yet (%s)."), reason->text);
    break;
  case EM_ERR_NO_MEMORY:
    g_set_error_literal(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_FAILED,
                        _("There is not enough free memory to look at this file."));
    break;
  default:
    g_set_error(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_FAILED, _("The file could not be checked (%s)."),
                reason->text);
  }
}

/* The path of a folder's model takes the folder's place. */
static gboolean look_into_folder(char **path, GError **error) {
  char found[PATH_MAX];
  em_error reason = {0};
  em_status status;

  if (!g_file_test(*path, G_FILE_TEST_IS_DIR))
    return TRUE;
  status = em_gguf_find_in_folder(*path, found, sizeof found, &reason);
  if (status == EM_OK)
    g_set_str(path, found);
  else if (status == EM_ERR_FORMAT)
    g_set_error_literal(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_NOT_A_MODEL,
                        _("There is more than one model in this folder. Drop a file inside it instead."));
  else if (status == EM_ERR_NOT_FOUND)
    g_set_error_literal(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_NOT_A_MODEL,
                        _("There is no model file in this folder. Their names usually end in “.gguf”."));
  else
    set_core_error(error, status, &reason);
  return status == EM_OK;
}

/* A regular file that begins as GGUF files do. */
static gboolean check_magic(const char *path, GError **error) {
  char magic[4] = "";
  struct stat info;
  ssize_t got;
  /* A pipe or a device with a model's name must not make the open wait. */
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

  if (fd < 0) {
    set_errno_error(error, errno);
    return FALSE;
  }
  if (fstat(fd, &info) != 0) {
    set_errno_error(error, errno);
    close(fd);
    return FALSE;
  }
  got = S_ISREG(info.st_mode) ? pread(fd, magic, sizeof magic, 0) : 0;
  if (got < 0) {
    set_errno_error(error, errno);
    close(fd);
    return FALSE;
  }
  close(fd);
  if (got != (ssize_t)sizeof magic || memcmp(magic, "GGUF", sizeof magic) != 0) {
    g_set_error_literal(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_NOT_A_MODEL,
                        _("This is not a model file. Hearth opens models in the GGUF format; their names usually end in "
                          "“.gguf”."));
    return FALSE;
  }
  return TRUE;
}

/* One line of at most MAX_NAME_CHARACTERS characters without control characters, or NULL when nothing is left. */
static char *tidy_name(const char *text, gsize bytes) {
  g_autofree char *valid = g_utf8_make_valid(text, (gssize)MIN(bytes, 4096));
  g_autoptr(GString) name = g_string_new(NULL);
  guint n = 0;

  for (const char *p = valid; *p && n < MAX_NAME_CHARACTERS; p = g_utf8_next_char(p)) {
    gunichar c = g_utf8_get_char(p);
    GUnicodeType type = g_unichar_type(c);

    /* Format characters could turn the direction of the text around the name. */
    if (type == G_UNICODE_CONTROL || type == G_UNICODE_FORMAT || type == G_UNICODE_LINE_SEPARATOR ||
        type == G_UNICODE_PARAGRAPH_SEPARATOR)
      c = ' ';
    g_string_append_unichar(name, c);
    n++;
  }
  g_strstrip(name->str);
  return *name->str ? g_string_free(g_steal_pointer(&name), FALSE) : NULL;
}

static char *name_from_path(const char *path) {
  g_autofree char *base = g_path_get_basename(path);
  g_autofree char *shown = g_filename_display_name(base);
  em_gguf_split split;

  if (em_gguf_parse_split(base, &split)) {
    g_autofree char *prefix = g_strndup(base, split.prefix_bytes);

    g_free(shown);
    shown = g_filename_display_name(prefix);
  } else if (g_str_has_suffix(shown, ".gguf") || g_str_has_suffix(shown, ".GGUF")) {
    shown[strlen(shown) - strlen(".gguf")] = '\0';
  }
  return tidy_name(shown, strlen(shown));
}

/* Names the parts that are not there; FALSE when all are, or the path has no part's name. */
static gboolean set_missing_parts_error(GError **error, const char *path) {
  g_autoptr(GString) names = g_string_new(NULL);
  char part_path[PATH_MAX];
  em_gguf_split split;
  guint n_missing = 0;

  if (!em_gguf_parse_split(path, &split))
    return FALSE;
  for (guint32 i = 0; i < split.count && em_gguf_format_split(path, &split, i, part_path, sizeof part_path); i++) {
    g_autofree char *name = NULL, *shown = NULL;

    if (g_file_test(part_path, G_FILE_TEST_EXISTS))
      continue;
    if (n_missing++ >= MAX_NAMES)
      continue;
    name = g_path_get_basename(part_path);
    shown = g_filename_display_name(name);
    g_string_append_printf(names, "%s“%s”", n_missing > 1 ? ", " : "", shown);
  }
  if (n_missing == 0)
    return FALSE;
  if (n_missing > MAX_NAMES) {
    guint n_more = n_missing - MAX_NAMES;

    g_string_append_c(names, ' ');
    /* Translators: behind the names of some files. */
    g_string_append_printf(names, ngettext("and %u more", "and %u more", n_more), n_more);
  }
  g_set_error(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_NOT_FOUND,
              /* Translators: %s is a list of names of files. */
              ngettext("This model comes in %u files, and one is missing beside this one: %s.",
                       "This model comes in %u files, and some are missing beside this one: %s.", n_missing),
              split.count, names->str);
  return TRUE;
}

/* Files of the same format that are parts of something else than a conversation. */
static gboolean check_kind(const em_gguf *gguf, const char *architecture, GError **error) {
  em_text type = {0};
  const char *what = NULL;

  (void)em_gguf_get_text(gguf, "general.type", &type);
  if (g_strcmp0(architecture, "clip") == 0 || g_strcmp0(type.text, "mmproj") == 0)
    what = _("This file lets another model see pictures; it is not a model by itself.");
  else if (g_strcmp0(type.text, "adapter") == 0)
    what = _("This file changes another model; it is not a model by itself.");
  else if (em_gguf_n_tensors(gguf) == 0)
    what = _("This file holds a vocabulary only; it is not a model by itself.");
  if (!what)
    return TRUE;
  g_set_error_literal(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_UNSUPPORTED, what);
  return FALSE;
}

static void add_weights(const em_gguf *gguf, double *bits, double *weights) {
  for (size_t i = 0; i < em_gguf_n_tensors(gguf); i++) {
    const em_gguf_tensor *tensor = em_gguf_tensor_at(gguf, i);

    *bits += 8.0 * (double)tensor->bytes;
    *weights += (double)tensor->dims[0] * (double)tensor->n_rows;
  }
}

gboolean hearth_model_check(GFile *file, GFile **first, HearthModelInfo *info, GError **error) {
  g_autoptr(em_gguf) gguf = NULL;
  g_auto(HearthModelInfo) found = {0};
  g_autofree char *path = NULL;
  char first_path[PATH_MAX];
  em_gguf_split split;
  em_error reason = {0};
  em_status status;
  em_text text;
  double bits = 0, weights = 0;

  g_return_val_if_fail(G_IS_FILE(file), FALSE);
  g_return_val_if_fail(first != NULL && info != NULL, FALSE);

  path = g_file_get_path(file);
  if (!path) {
    g_set_error_literal(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_NOT_LOCAL,
                        _("This file is not on a disk of this computer. Copy it here first."));
    return FALSE;
  }
  if (!look_into_folder(&path, error) || !check_magic(path, error))
    return FALSE;
  status = em_gguf_open(path, &gguf, &reason);
  if (status == EM_ERR_NOT_FOUND && set_missing_parts_error(error, path))
    return FALSE;
  if (status != EM_OK) {
    set_core_error(error, status, &reason);
    return FALSE;
  }
  if (em_gguf_get_text(gguf, "general.architecture", &text))
    found.architecture = tidy_name(text.text, text.bytes);
  if (!found.architecture) {
    g_set_error_literal(error, HEARTH_LIBRARY_ERROR, HEARTH_LIBRARY_ERROR_UNSUPPORTED,
                        _("This file does not say what family of models it belongs to."));
    return FALSE;
  }
  if (!check_kind(gguf, found.architecture, error))
    return FALSE;

  add_weights(gguf, &bits, &weights);
  found.size_bytes = em_gguf_file_bytes(gguf);
  if (em_gguf_n_files(gguf) > 1 && em_gguf_parse_split(path, &split) &&
      em_gguf_format_split(path, &split, 0, first_path, sizeof first_path))
    g_set_str(&path, first_path);
  found.bits_per_weight = weights > 0 ? bits / weights : 0;
  if (em_gguf_get_text(gguf, "general.name", &text))
    found.name = tidy_name(text.text, text.bytes);
  if (!found.name)
    found.name = name_from_path(path);
  found.has_template = em_gguf_get_text(gguf, "tokenizer.chat_template", &text) && text.bytes > 0;

  *first = g_file_new_for_path(path);
  *info = found;
  memset(&found, 0, sizeof found);
  return TRUE;
}
