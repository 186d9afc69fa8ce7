/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opens every file of the corpus of bad GGUF files: all but the sound ones (good-*) are refused with a one-line reason. */
#include "base/file.h"
#include "check.h"
#include "gguf/gguf.h"

#include <dirent.h>

/* A sound file that ends early anywhere is refused, unless only the padding behind the last tensor is gone. */
static void check_beginnings(const char *path) {
  char *data;
  size_t bytes;
  CHECK_INT(em_file_read(path, 1 << 20, &data, &bytes, NULL), EM_OK);
  em_gguf *gguf = NULL;
  CHECK_INT(em_gguf_open_memory(data, bytes, bytes, &gguf, NULL), EM_OK);
  uint64_t end = 0;
  for (size_t i = 0; gguf && i < em_gguf_n_tensors(gguf); i++) {
    const em_gguf_tensor *tensor = em_gguf_tensor_at(gguf, i);
    end = tensor->offset + tensor->bytes > end ? tensor->offset + tensor->bytes : end;
  }
  if (gguf && em_gguf_n_tensors(gguf) == 0)
    end = bytes;
  em_gguf_close(gguf);
  CHECK(end > 0);
  for (size_t n = 0; n < end; n++) {
    gguf = NULL;
    CHECK(em_gguf_open_memory(data, n, n, &gguf, NULL) != EM_OK);
    em_gguf_close(gguf);
  }
  free(data);
}

int main(int argc, char **argv) {
  DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
  if (!dir) {
    fprintf(stderr, "usage: bad_gguf FOLDER\n");
    return 2;
  }
  int n_bad = 0;
  for (struct dirent *entry; (entry = readdir(dir));) {
    if (entry->d_name[0] == '.')
      continue;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
    em_gguf *gguf = NULL;
    em_error error = { 0 };
    em_status status = em_gguf_open(path, &gguf, &error);
    if (strncmp(entry->d_name, "good-", 5) == 0) {
      CHECK_INT(status, EM_OK);
      check_beginnings(path);
    } else {
      printf("%-36s %-12s %s\n", entry->d_name, em_status_word(status), error.text);
      CHECK(status == EM_ERR_FORMAT || status == EM_ERR_LIMIT || status == EM_ERR_UNSUPPORTED);
      CHECK(!gguf && error.code == status && strlen(error.text) > 10 && !strchr(error.text, '\n'));
      n_bad++;
    }
    em_gguf_close(gguf);
  }
  closedir(dir);
  CHECK(n_bad >= 40);
  return check_done();
}
