/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gguf/gguf.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* The tail "-00001-of-00004.gguf". */
#define TAIL_BYTES 20u

/* Five digits as a number; false when one of them is none. */
static bool read_digits(const char *text, uint32_t *out) {
  uint32_t value = 0;
  for (int i = 0; i < 5; i++) {
    if (text[i] < '0' || text[i] > '9')
      return false;
    value = value * 10 + (uint32_t)(text[i] - '0');
  }
  *out = value;
  return true;
}

bool em_gguf_parse_split(const char *path, em_gguf_split *out) {
  size_t bytes = strlen(path);
  if (bytes <= TAIL_BYTES)
    return false;
  const char *tail = path + bytes - TAIL_BYTES;
  uint32_t number, count;
  if (tail[-1] == '/' || tail[0] != '-' || !read_digits(tail + 1, &number) || memcmp(tail + 6, "-of-", 4) != 0 ||
      !read_digits(tail + 10, &count) || memcmp(tail + 15, ".gguf", 5) != 0 || number < 1 || number > count)
    return false;
  *out = (em_gguf_split){ .index = number - 1, .count = count, .prefix_bytes = bytes - TAIL_BYTES };
  return true;
}

bool em_gguf_format_split(const char *path, const em_gguf_split *split, uint32_t index, char *out, size_t out_bytes) {
  if (index >= split->count || split->count > 99999 || split->prefix_bytes > strlen(path) ||
      out_bytes <= TAIL_BYTES || split->prefix_bytes >= out_bytes - TAIL_BYTES)
    return false;
  memmove(out, path, split->prefix_bytes);
  snprintf(out + split->prefix_bytes, TAIL_BYTES + 1, "-%05u-of-%05u.gguf", (index + 1) % 100000u, split->count % 100000u);
  return true;
}

/* --- Folders ------------------------------------------------------------------------------------------------------ */

/* Whether a name in a folder is a model's. */
static bool is_model_name(const char *name) {
  size_t bytes = strlen(name);
  return name[0] != '.' && bytes > 5 && strcasecmp(name + bytes - 5, ".gguf") == 0 &&
         strncasecmp(name, "mmproj", 6) != 0;
}

/* Whether two different names are files of one split model. */
static bool are_of_one_set(const char *a, const char *b) {
  em_gguf_split first, second;
  return em_gguf_parse_split(a, &first) && em_gguf_parse_split(b, &second) && first.count == second.count &&
         first.prefix_bytes == second.prefix_bytes && memcmp(a, b, first.prefix_bytes) == 0;
}

em_status em_gguf_find_in_folder(const char *folder, char *out, size_t out_bytes, em_error *error) {
  em_status status = EM_OK;
  char name[NAME_MAX + 1] = "";
  DIR *stream = opendir(folder);
  if (!stream)
    return em_fail(error, errno == ENOENT || errno == ENOTDIR ? EM_ERR_NOT_FOUND : EM_ERR_IO, "%s cannot be opened: %s",
                   folder, strerror(errno));
  for (const struct dirent *entry; (entry = readdir(stream));) {
    if (!is_model_name(entry->d_name))
      continue;
    if (name[0] && !are_of_one_set(name, entry->d_name))
      EM_TRY(em_fail(error, EM_ERR_FORMAT, "there is more than one model in the folder %s; name one of its files",
                     folder));
    snprintf(name, sizeof name, "%s", entry->d_name);
  }
  if (!name[0])
    EM_TRY(em_fail(error, EM_ERR_NOT_FOUND, "there is no model file (.gguf) in the folder %s", folder));
  int n = snprintf(out, out_bytes, "%s%s%s", folder, folder[0] && folder[strlen(folder) - 1] == '/' ? "" : "/", name);
  if (n < 0 || (size_t)n >= out_bytes)
    EM_TRY(em_fail(error, EM_ERR_LIMIT, "the path of the model in the folder is too long"));
fail:
  closedir(stream);
  return status;
}
