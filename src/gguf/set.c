/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Models that are split into several files: finding the files, checking that they belong together, and making one
 * em_gguf of them. */
#include "gguf/header.h"

#include "base/buffer.h"
#include "base/checked.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAMES_IN_SENTENCE 2u /* of missing files; the others are counted */

bool em_gguf_is_part(const em_gguf *gguf, uint64_t *n) {
  return em_gguf_get_u64(gguf, "split.count", n) && *n > 1;
}

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

/* The place of the file in its set, which its name and its metadata must agree on. */
static em_status find_place(const char *path, const em_gguf *part, em_gguf_split *out, em_error *error) {
  uint64_t count, number;
  if (!em_gguf_is_part(part, &count) || count > EM_GGUF_MAX_FILES)
    return em_fail(error, EM_ERR_LIMIT, "this model is said to be split into more than %u files", EM_GGUF_MAX_FILES);
  if (!em_gguf_get_u64(part, "split.no", &number) || number >= count)
    return em_fail(error, EM_ERR_FORMAT, "this is one of %llu files of a model, but it does not say which",
                   (unsigned long long)count);
  if (!em_gguf_parse_split(path, out))
    return em_fail(
        error, EM_ERR_FORMAT,
        "this is file %llu of the %llu of a model; the others are not found, because its name does not end in "
        "-%05llu-of-%05llu.gguf",
        (unsigned long long)number + 1, (unsigned long long)count, (unsigned long long)number + 1,
        (unsigned long long)count);
  if (out->count != count || out->index != number)
    return em_fail(error, EM_ERR_FORMAT,
                   "%s is by its content file %llu of the %llu of a model; its name says otherwise", base_name(path),
                   (unsigned long long)number + 1, (unsigned long long)count);
  return EM_OK;
}

/* Says in one sentence which files are not there. */
static em_status check_present(const char *path, const em_gguf_split *split, em_error *error) {
  em_status status = EM_OK;
  char other[PATH_MAX];
  em_buffer names = {0};
  uint32_t n_missing = 0;
  for (uint32_t i = 0; i < split->count; i++) {
    if (!em_gguf_format_split(path, split, i, other, sizeof other))
      EM_TRY(em_fail(error, EM_ERR_LIMIT, "the path of the model's files is too long"));
    if (access(other, F_OK) == 0)
      continue;
    if (n_missing++ < NAMES_IN_SENTENCE)
      em_buffer_appendf(&names, "%s%s", n_missing > 1 ? ", " : "", base_name(other));
  }
  if (n_missing == 0)
    goto fail;
  if (n_missing > NAMES_IN_SENTENCE)
    em_buffer_appendf(&names, " and %u more", n_missing - NAMES_IN_SENTENCE);
  if (names.failed)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the model's files"));
  EM_TRY(em_fail(error, EM_ERR_NOT_FOUND, "this model comes in %u files, and beside this one %s missing: %.*s",
                 split->count, n_missing == 1 ? "one is" : "some are", (int)names.bytes, names.data));
fail:
  em_buffer_clear(&names);
  return status;
}

static bool is_equal(const em_gguf_pair *a, const em_gguf_pair *b) {
  if (a->type != b->type || a->item_type != b->item_type || a->n != b->n)
    return false;
  if (a->type == EM_GGUF_STRING)
    return memcmp(a->value.text, b->value.text, (size_t)a->n) == 0;
  return a->type == EM_GGUF_ARRAY || a->value.u == b->value.u;
}

/* What both files say must be the same: how many files and tensors there are, and whatever the later ones repeat of the
 * first. Which file it is and how its data is aligned are each file's own. */
static em_status check_belongs(const em_gguf *first, const em_gguf *other, const char *name, em_error *error) {
  uint64_t count;
  if (!em_gguf_is_part(other, &count))
    return em_fail(error, EM_ERR_FORMAT, "%s does not belong to this model: it is not one of several files", name);
  for (size_t i = 0; i < other->n_pairs; i++) {
    const em_gguf_pair *pair = &other->pairs[i], *same;
    if (strcmp(pair->key.text, "split.no") == 0 || strcmp(pair->key.text, "general.alignment") == 0)
      continue;
    same = em_names_find(&first->pair_names, pair->key.text, pair->key.bytes);
    if (same && !is_equal(same, pair))
      return em_fail(error, EM_ERR_FORMAT, "%s does not belong to this model: its %.100s is another", name,
                     pair->key.text);
  }
  return EM_OK;
}

/* Opens every file that is not open yet. An error names the file. */
static em_status open_others(const char *path, const em_gguf_split *split, em_gguf **files, em_error *error) {
  char other[PATH_MAX];
  for (uint32_t i = 0; i < split->count; i++) {
    em_error reason = {0};
    em_gguf_split place;
    if (files[i])
      continue;
    if (!em_gguf_format_split(path, split, i, other, sizeof other))
      return em_fail(error, EM_ERR_LIMIT, "the path of the model's files is too long");
    em_status status = em_gguf_open_file(other, &files[i], &reason);
    if (status == EM_OK && em_gguf_is_part(files[i], &(uint64_t){0}))
      status = find_place(other, files[i], &place, &reason);
    if (status != EM_OK)
      return em_fail(error, status, "%.100s: %s", base_name(other), reason.text);
  }
  for (uint32_t i = 1; i < split->count; i++) {
    (void)em_gguf_format_split(path, split, i, other, sizeof other); /* it fitted above */
    em_status status = check_belongs(files[0], files[i], base_name(other), error);
    if (status != EM_OK)
      return status;
  }
  return EM_OK;
}

/* One table of the tensors of all files, in the first one's arena. */
static em_status join_tensors(em_gguf **files, uint32_t n_files, em_error *error) {
  em_gguf *first = files[0];
  size_t total = 0, at = 0;
  uint64_t bytes = 0, said;
  for (uint32_t i = 0; i < n_files; i++) {
    total += files[i]->n_tensors;
    /* So that no sum of tensors' bytes can overflow. */
    if (!em_add_u64(bytes, files[i]->file_bytes, &bytes) || bytes > INT64_MAX)
      return em_fail(error, EM_ERR_LIMIT, "the model's files are too large together");
  }
  if (total > EM_GGUF_MAX_TENSORS)
    return em_fail(error, EM_ERR_LIMIT, "the model's files have %zu tensors; at most %u are read", total,
                   EM_GGUF_MAX_TENSORS);
  if (em_gguf_get_u64(first, "split.tensors.count", &said) && said != total)
    return em_fail(error, EM_ERR_FORMAT,
                   "these files do not belong together: they hold %zu tensors, and the model is said to have %llu",
                   total, (unsigned long long)said);
  em_gguf_tensor *tensors = em_arena_array(first->arena, total, sizeof *tensors);
  em_names names;
  if (!tensors || !em_names_init(&names, first->arena, tensors, sizeof *tensors, total))
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the model's tensors");
  for (uint32_t i = 0; i < n_files; i++) {
    for (size_t j = 0; j < files[i]->n_tensors; j++, at++) {
      tensors[at] = files[i]->tensors[j];
      tensors[at].file = i;
      if (!em_names_add(&names, at))
        return em_fail(error, EM_ERR_FORMAT, "these files do not belong together: the tensor %s is in two of them",
                       tensors[at].name.text);
    }
  }
  first->tensors = tensors;
  first->n_tensors = total;
  first->tensor_names = names;
  return EM_OK;
}

em_status em_gguf_join(const char *path, em_gguf *part, em_gguf **out, em_error *error) {
  em_status status = EM_OK;
  em_gguf_split split = {0};
  em_gguf **files = NULL;
  EM_TRY(find_place(path, part, &split, error));
  EM_TRY(check_present(path, &split, error));
  files = em_calloc(split.count, sizeof *files);
  if (!files)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the model's files"));
  files[split.index] = part;
  part = NULL;
  EM_TRY(open_others(path, &split, files, error));
  EM_TRY(join_tensors(files, split.count, error));
  em_gguf *first = files[0];
  memmove(files, files + 1, (split.count - 1) * sizeof *files);
  first->others = files;
  first->n_files = split.count;
  *out = first;
  return EM_OK;
fail:
  for (uint32_t i = 0; files && i < split.count; i++)
    em_gguf_close(files[i]);
  free(files);
  em_gguf_close(part);
  return status;
}
