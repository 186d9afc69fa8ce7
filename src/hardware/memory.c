/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Memory: /proc/meminfo, cut by the limits of the control groups (version 1 and 2) this process is in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/file.h"
#include "hardware/hardware.h"

#define MAX_FILE_BYTES (64u << 10)
#define MAX_PATH_BYTES 1024u

/* Parses decimal digits; false when there are none or the number does not fit. */
static bool parse_u64(const char *text, uint64_t *out) {
  uint64_t value = 0;
  if (*text < '0' || *text > '9')
    return false;
  for (; *text >= '0' && *text <= '9'; text++)
    if (!em_mul_u64(value, 10, &value) || !em_add_u64(value, (uint64_t)(*text - '0'), &value))
      return false;
  *out = value;
  return true;
}

/* The number behind a line's first word: "MemTotal:   123 kB" or "inactive_file 123". */
static bool find_number(const char *text, const char *word, uint64_t *out) {
  size_t n = strlen(word);
  for (const char *line = text; line; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (strncmp(line, word, n) == 0)
      return parse_u64(line + n + strspn(line + n, " \t"), out);
  }
  return false;
}

/* Reads a file whose whole text is one number; "max" and unreadable files are false. */
static bool read_number(const char *path, uint64_t *out) {
  char *text = NULL;
  if (em_file_read(path, MAX_FILE_BYTES, &text, NULL, NULL) != EM_OK)
    return false;
  bool ok = parse_u64(text, out);
  free(text);
  return ok;
}

typedef struct group_files {
  const char *mount; /* under the root */
  const char *limit, *usage;
  const char *droppable; /* in memory.stat: pages of files that can be dropped */
} group_files;

static const group_files group_v2 = {"/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file "};
static const group_files group_v1 = {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                                     "total_inactive_file "};

/* Lowers *state to what one group leaves. */
static void apply_group(const char *root, const group_files *files, const char *group, em_memory_state *state) {
  char path[2 * MAX_PATH_BYTES];
  uint64_t limit, usage, droppable = 0;
  snprintf(path, sizeof path, "%s%s%s/%s", root, files->mount, group, files->limit);
  if (!read_number(path, &limit))
    return;
  snprintf(path, sizeof path, "%s%s%s/%s", root, files->mount, group, files->usage);
  if (!read_number(path, &usage))
    return;
  snprintf(path, sizeof path, "%s%s%s/memory.stat", root, files->mount, group);
  char *text = NULL;
  if (em_file_read(path, MAX_FILE_BYTES, &text, NULL, NULL) == EM_OK)
    find_number(text, files->droppable, &droppable);
  free(text);
  uint64_t used = usage > droppable ? usage - droppable : 0;
  uint64_t left = limit > used ? limit - used : 0;
  if (limit < state->total_bytes)
    state->total_bytes = limit;
  if (left < state->available_bytes)
    state->available_bytes = left;
}

/* A group's limit binds everything below it, so every group up to the mount counts. In a container the path may be one
 * of the outer system's; then only the mount itself is there. */
static void apply_groups(const char *root, const group_files *files, const char *group, size_t bytes,
                         em_memory_state *state) {
  char path[MAX_PATH_BYTES];
  if (bytes >= sizeof path)
    return;
  memcpy(path, group, bytes);
  path[bytes] = 0;
  for (char *slash; (slash = strrchr(path, '/')) != NULL; *slash = 0)
    if (slash[1])
      apply_group(root, files, path, state);
  apply_group(root, files, "", state);
}

/* The lines of /proc/self/cgroup are "id:controllers:path"; version 2 has the id 0 and no controllers. */
static void apply_cgroups(const char *root, const char *text, em_memory_state *state) {
  for (const char *line = text; line && *line; line = strchr(line, '\n')) {
    line += *line == '\n';
    const char *controllers = strchr(line, ':'), *end = strchrnul(line, '\n');
    const char *path = controllers && controllers < end ? strchr(controllers + 1, ':') : NULL;
    if (!path || path >= end)
      continue;
    controllers++;
    size_t n = (size_t)(path - controllers);
    path++;
    if (n == 0)
      apply_groups(root, &group_v2, path, (size_t)(end - path), state);
    else if (memmem(controllers, n, "memory", 6))
      apply_groups(root, &group_v1, path, (size_t)(end - path), state);
  }
}

em_status em_hardware_memory(const char *root, em_memory_state *out, em_error *error) {
  em_status status = EM_OK;
  char path[MAX_PATH_BYTES], *text = NULL;
  if (!root)
    root = "";
  snprintf(path, sizeof path, "%s/proc/meminfo", root);
  EM_TRY(em_file_read(path, MAX_FILE_BYTES, &text, NULL, error));
  em_memory_state state;
  if (!find_number(text, "MemTotal:", &state.total_bytes) ||
      !find_number(text, "MemAvailable:", &state.available_bytes) ||
      !em_mul_u64(state.total_bytes, 1024, &state.total_bytes) ||
      !em_mul_u64(state.available_bytes, 1024, &state.available_bytes))
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "%s does not say how much memory there is", path));
  free(text);
  text = NULL;
  snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
  if (em_file_read(path, MAX_FILE_BYTES, &text, NULL, NULL) == EM_OK)
    apply_cgroups(root, text, &state);
  *out = state;
fail:
  free(text);
  return status;
}
