/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Feeds every file of the folders on the command line to a fuzz target, then a number of mutations of each. */
#include "base/file.h"
#include "fuzz.h"

#include <dirent.h>
#include <string.h>

enum { N_MUTATIONS = 200, MAX_MUTATED_BYTES = 64 << 10 };

/* Runs the target on a copy of just the right size, so that a sanitizer sees a read past the end. */
static void run(const char *data, size_t bytes) {
  uint8_t *copy = malloc(bytes ? bytes : 1);
  memcpy(copy, data, bytes);
  LLVMFuzzerTestOneInput(copy, bytes);
  free(copy);
}

static uint64_t random_state = 88172645463325252u;

static size_t random_below(size_t n) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return (size_t)(random_state % n);
}

/* A few changed bytes, or a shorter file: always the same ones, so that a failure can be repeated. */
static void run_mutations(char *data, size_t bytes) {
  char *copy = malloc(bytes);
  for (int i = 0; i < N_MUTATIONS; i++) {
    memcpy(copy, data, bytes);
    for (size_t n = 1 + random_below(3); n; n--) {
      static const unsigned char special[] = { 0, 1, 2, 8, 9, 0x7f, 0x80, 0xff };
      size_t at = random_below(bytes);
      copy[at] = (char)(random_below(2) ? special[random_below(sizeof special)] : random_below(256));
    }
    run(copy, i % 4 ? bytes : random_below(bytes));
  }
  free(copy);
}

int main(int argc, char **argv) {
  int n_files = 0;
  for (int i = 1; i < argc; i++) {
    DIR *dir = opendir(argv[i]);
    if (!dir) {
      perror(argv[i]);
      return 1;
    }
    for (struct dirent *entry; (entry = readdir(dir));) {
      char path[4096], *data;
      size_t bytes;
      if (entry->d_name[0] == '.')
        continue;
      snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
      if (em_file_read(path, 64u << 20, &data, &bytes, NULL) != EM_OK) {
        fprintf(stderr, "%s cannot be read\n", path);
        return 1;
      }
      run(data, bytes);
      if (bytes && bytes <= MAX_MUTATED_BYTES)
        run_mutations(data, bytes);
      free(data);
      n_files++;
    }
    closedir(dir);
  }
  printf("%d files\n", n_files);
  return n_files ? 0 : 1;
}
