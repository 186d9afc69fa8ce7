/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Models that come in several files: any of them or their folder opens all; what is missing is named, and what does not
 * belong together is refused. */
#include "check.h"
#include "gguf/writer.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define N_TENSORS 7
#define N_VALUES 100

static char folder[] = "/tmp/hearth set \xD0\xB4\xD0\xBE\xD0\xBC-XXXXXX";

static const char *in_folder(const char *name) {
  static char paths[4][512];
  static unsigned n;
  char *path = paths[n++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

static float value_of(int tensor, int i) {
  return (float)(tensor * 1000 + i);
}

/* A writer with N_TENSORS tensors that are known by their values. */
static em_gguf_writer *new_writer(uint32_t alignment, const char *architecture) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  em_gguf_put_text(writer, "general.architecture", architecture);
  em_gguf_put_text(writer, "general.name", "set");
  if (alignment)
    em_gguf_put_u32(writer, "general.alignment", alignment);
  for (int i = 0; i < N_TENSORS; i++) {
    float values[N_VALUES];
    char name[16];
    for (int k = 0; k < N_VALUES; k++)
      values[k] = value_of(i, k);
    snprintf(name, sizeof name, "w%d", i);
    em_gguf_put_tensor_f32(writer, name, EM_TYPE_F32, 1, (const uint64_t[]){N_VALUES}, values);
  }
  return writer;
}

static void save(const char *prefix, uint32_t n_files, uint32_t alignment, const char *architecture) {
  em_gguf_writer *writer = new_writer(alignment, architecture);
  CHECK_INT(em_gguf_writer_save_split(writer, prefix, n_files, NULL), EM_OK);
  em_gguf_writer_free(writer);
}

/* One file of a set, made by hand. */
static void save_part(const char *path, uint32_t number, uint32_t count, uint32_t n_tensors, const char *tensor,
                      const char *architecture) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  if (architecture)
    em_gguf_put_text(writer, "general.architecture", architecture);
  if (count) {
    em_gguf_put_u32(writer, "split.no", number);
    em_gguf_put_u32(writer, "split.count", count);
    em_gguf_put_u32(writer, "split.tensors.count", n_tensors);
  }
  em_gguf_put_tensor(writer, tensor, EM_TYPE_F32, 1, (const uint64_t[]){8}, NULL);
  CHECK_INT(em_gguf_writer_save(writer, path, NULL), EM_OK);
  em_gguf_writer_free(writer);
}

static void check_whole(const char *path, uint32_t n_files, uint32_t alignment) {
  em_gguf *gguf = NULL;
  em_error error = {0};
  em_text text;
  uint32_t last = 0;
  CHECK_INT(em_gguf_open(path, &gguf, &error), EM_OK);
  if (!gguf) {
    fprintf(stderr, "%s: %s\n", path, error.text);
    return;
  }
  CHECK_INT(em_gguf_n_files(gguf), n_files);
  CHECK_INT(em_gguf_alignment(gguf), alignment);
  CHECK_INT(em_gguf_n_tensors(gguf), N_TENSORS);
  CHECK(em_gguf_get_text(gguf, "general.name", &text) && strcmp(text.text, "set") == 0);
  CHECK(em_gguf_file_bytes(gguf) > N_TENSORS * N_VALUES * 4);
  for (int i = 0; i < N_TENSORS; i++) {
    char name[16];
    float values[N_VALUES];
    snprintf(name, sizeof name, "w%d", i);
    const em_gguf_tensor *tensor = em_gguf_find_tensor(gguf, name);
    CHECK(tensor && tensor == em_gguf_tensor_at(gguf, (size_t)i));
    if (!tensor)
      continue;
    CHECK(tensor->file >= last && tensor->file < n_files && tensor->offset % alignment == 0);
    last = tensor->file;
    em_gguf_read_ahead(gguf, tensor, 0, sizeof values);
    CHECK_INT(em_gguf_read_tensor(gguf, tensor, 0, values, sizeof values, NULL), EM_OK);
    for (int k = 0; k < N_VALUES; k++)
      CHECK(values[k] == value_of(i, k));
  }
  CHECK_INT(last, n_files - 1);
  CHECK_INT(em_gguf_check_unchanged(gguf, NULL), EM_OK);
  em_gguf_close(gguf);
}

static void check_refused(const char *path, em_status status, const char *word) {
  em_gguf *gguf = NULL;
  em_error error = {0};
  CHECK_INT(em_gguf_open(path, &gguf, &error), status);
  CHECK(!gguf);
  if (!strstr(error.text, word)) {
    fprintf(stderr, "%s: \"%s\" does not hold \"%s\"\n", path, error.text, word);
    CHECK(!"the sentence names what is wrong");
  }
  em_gguf_close(gguf);
}

static void remove_all(void) {
  char command[600];
  snprintf(command, sizeof command, "rm -f \"%s\"/*", folder);
  CHECK_INT(system(command), 0);
}

static void check_joined(void) {
  static const uint32_t alignments[] = {0, 8, 64, 4096};
  for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
    uint32_t alignment = alignments[i] ? alignments[i] : EM_GGUF_DEFAULT_ALIGNMENT;
    save(in_folder("my model \xE5\xAE\xB6"), 3, alignments[i], "llama");
    check_whole(in_folder("my model \xE5\xAE\xB6-00001-of-00003.gguf"), 3, alignment);
    check_whole(in_folder("my model \xE5\xAE\xB6-00002-of-00003.gguf"), 3, alignment);
    check_whole(in_folder("my model \xE5\xAE\xB6-00003-of-00003.gguf"), 3, alignment);
    check_whole(folder, 3, alignment);
  }
  /* A projector and other files beside it change nothing; another model does. */
  save_part(in_folder("mmproj-model.gguf"), 0, 0, 0, "v", "clip");
  CHECK_INT(symlink("nowhere", in_folder("README.md")), 0);
  check_whole(folder, 3, 4096);
  save_part(in_folder("other.gguf"), 0, 0, 0, "v", "llama");
  check_refused(folder, EM_ERR_FORMAT, "more than one model");
  remove_all();
  check_refused(folder, EM_ERR_NOT_FOUND, "no model file");
}

static void check_missing(void) {
  save(in_folder("big"), 5, 0, "llama");
  CHECK_INT(unlink(in_folder("big-00004-of-00005.gguf")), 0);
  check_refused(in_folder("big-00002-of-00005.gguf"), EM_ERR_NOT_FOUND, "big-00004-of-00005.gguf");
  check_refused(folder, EM_ERR_NOT_FOUND, "one is missing: big-00004-of-00005.gguf");
  CHECK_INT(unlink(in_folder("big-00001-of-00005.gguf")), 0);
  CHECK_INT(unlink(in_folder("big-00005-of-00005.gguf")), 0);
  check_refused(in_folder("big-00002-of-00005.gguf"), EM_ERR_NOT_FOUND,
                "some are missing: big-00001-of-00005.gguf, big-00004-of-00005.gguf and 1 more");
  remove_all();
}

static void check_strangers(void) {
  const char *first = in_folder("a-00001-of-00002.gguf");
  char second[512];
  snprintf(second, sizeof second, "%s", in_folder("a-00002-of-00002.gguf"));
  save_part(first, 0, 2, 2, "v", "llama");
  save_part(second, 1, 2, 2, "w", NULL);
  em_gguf *gguf = NULL;
  CHECK_INT(em_gguf_open(first, &gguf, NULL), EM_OK);
  em_gguf_close(gguf);
  save_part(second, 1, 2, 2, "v", NULL);
  check_refused(first, EM_ERR_FORMAT, "the tensor v is in two of them");
  save_part(second, 1, 2, 3, "w", NULL);
  check_refused(first, EM_ERR_FORMAT, "split.tensors.count is another");
  save_part(second, 1, 2, 2, "w", "qwen2");
  check_refused(first, EM_ERR_FORMAT, "general.architecture is another");
  save_part(second, 1, 2, 2, "w", "llama");
  save_part(first, 0, 2, 3, "v", "llama");
  save_part(second, 1, 2, 3, "w", "llama");
  check_refused(second, EM_ERR_FORMAT, "hold 2 tensors, and the model is said to have 3");
  save_part(second, 1, 3, 3, "w", "llama");
  check_refused(first, EM_ERR_FORMAT, "file 2 of the 3");
  save_part(second, 0, 2, 3, "w", "llama");
  check_refused(first, EM_ERR_FORMAT, "its name says otherwise");
  save_part(second, 0, 0, 0, "w", "llama");
  check_refused(first, EM_ERR_FORMAT, "does not belong to this model");
  CHECK_INT(truncate(second, 20), 0);
  check_refused(first, EM_ERR_FORMAT, "a-00002-of-00002.gguf: the file is cut short");
  remove_all();

  save_part(in_folder("renamed.gguf"), 1, 3, 3, "w", "llama");
  check_refused(in_folder("renamed.gguf"), EM_ERR_FORMAT, "does not end in -00002-of-00003.gguf");
  save_part(in_folder("b-00001-of-00009.gguf"), 9, 9, 9, "w", "llama");
  check_refused(in_folder("b-00001-of-00009.gguf"), EM_ERR_FORMAT, "does not say which");
  save_part(in_folder("b-00001-of-60000.gguf"), 0, 60000, 9, "w", "llama");
  check_refused(in_folder("b-00001-of-60000.gguf"), EM_ERR_LIMIT, "512");
  remove_all();
}

/* A change of any of the files is seen. */
static void check_changes(void) {
  em_gguf *gguf = NULL;
  float value;
  save(in_folder("c"), 3, 0, "llama");
  CHECK_INT(em_gguf_open(folder, &gguf, NULL), EM_OK);
  CHECK_INT(em_gguf_check_unchanged(gguf, NULL), EM_OK);
  CHECK(utimensat(AT_FDCWD, in_folder("c-00002-of-00003.gguf"), (const struct timespec[]){{.tv_sec = 1}, {.tv_sec = 1}},
                  0) == 0);
  CHECK_INT(em_gguf_check_unchanged(gguf, NULL), EM_ERR_CHANGED);
  em_gguf_close(gguf);
  CHECK_INT(em_gguf_open(folder, &gguf, NULL), EM_OK);
  CHECK(truncate(in_folder("c-00003-of-00003.gguf"), 100) == 0);
  CHECK_INT(em_gguf_check_unchanged(gguf, NULL), EM_ERR_CHANGED);
  CHECK_INT(em_gguf_read_tensor(gguf, em_gguf_tensor_at(gguf, N_TENSORS - 1), 0, &value, sizeof value, NULL),
            EM_ERR_CHANGED);
  CHECK_INT(em_gguf_read_tensor(gguf, em_gguf_tensor_at(gguf, 0), 0, &value, sizeof value, NULL), EM_OK);
  em_gguf_close(gguf);
  remove_all();
}

/* Files of more than 4 GiB each, whose data is holes but for a mark at the end of each. */
static void check_large(void) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  em_gguf_put_text(writer, "general.architecture", "llama");
  for (int i = 0; i < 6; i++) {
    char name[16];
    snprintf(name, sizeof name, "w%d", i);
    em_gguf_put_tensor(writer, name, EM_TYPE_F16, 2, (const uint64_t[]){65536, 24576}, NULL);
  }
  em_status saved = em_gguf_writer_save_split(writer, in_folder("large"), 2, NULL);
  em_gguf_writer_free(writer);
  if (saved == EM_ERR_IO) {
    printf("SKIP: large files: the file system holds none\n");
    remove_all();
    return;
  }
  for (int i = 1; i <= 2; i++) {
    char name[32];
    struct stat info;
    snprintf(name, sizeof name, "large-%05d-of-00002.gguf", i);
    int fd = open(in_folder(name), O_WRONLY);
    CHECK(fd >= 0 && fstat(fd, &info) == 0 && info.st_size > (off_t)UINT32_MAX);
    CHECK(pwrite(fd, &i, 1, info.st_size - 1) == 1);
    close(fd);
  }
  em_gguf *gguf = NULL;
  CHECK_INT(em_gguf_open(folder, &gguf, NULL), EM_OK);
  for (int i = 2; gguf && i < 6; i += 3) {
    const em_gguf_tensor *tensor = em_gguf_tensor_at(gguf, (size_t)i);
    uint8_t last = 0;
    CHECK_INT(em_gguf_read_tensor(gguf, tensor, tensor->bytes - 1, &last, 1, NULL), EM_OK);
    CHECK_INT(last, i / 3 + 1);
  }
  em_gguf_close(gguf);
  remove_all();
}

static int n_open_files(void) {
  DIR *stream = opendir("/proc/self/fd");
  int n = 0;
  while (stream && readdir(stream))
    n++;
  if (stream)
    closedir(stream);
  return n;
}

int main(void) {
  int n_open = n_open_files();
  CHECK(mkdtemp(folder) != NULL);
  check_joined();
  check_missing();
  check_strangers();
  check_changes();
  check_large();
  rmdir(folder);
  CHECK_INT(n_open_files(), n_open);
  return check_done();
}
