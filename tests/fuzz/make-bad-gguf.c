/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Writes the corpus of bad GGUF files: each is a small sound file with one thing wrong, which its name tells. A few sound ones
 * (good-*) are there for the fuzzer to start from.
 *
 *   make-bad-gguf FOLDER           writes the files
 *   make-bad-gguf --check FOLDER   fails unless the folder holds just these files
 */
#include "base/file.h"
#include "gguf/writer.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTES(text) text, sizeof text - 1

/* What is done to the sound file: general.architecture = "llama" and the tensors first [32] and other [32, 2], both F32. */
typedef struct bad_file {
  const char *name;
  /* One more pair: its key (unless it is "extra"), type and value. */
  struct {
    const char *value;
    size_t bytes;
    uint32_t type;
    const char *key;
    size_t key_bytes;
  } pair;
  em_gguf_lies lies;
  /* A place: `at` bytes behind the end of the first "find", or of the file's begin. */
  const char *find;
  int at;
  /* Bytes written over what is there. */
  const char *patch;
  size_t patch_bytes;
  bool cut;        /* the file ends at the place */
  bool no_tensors; /* so that a file cut in its metadata is not refused for having no room for them */
} bad_file;

#define PAIR(type, value) .pair = { BYTES(value), type, NULL, 0 }
#define PAIR_KEY(key, type, value) .pair = { BYTES(value), type, BYTES(key) }
#define LIE(...) .lies = { __VA_ARGS__ }
#define PATCH(find_, at_, bytes_) .find = find_, .at = at_, .patch = bytes_, .patch_bytes = sizeof bytes_ - 1
#define CUT(find_, at_) .find = find_, .at = at_, .cut = true

#define U64_MAX "\xff\xff\xff\xff\xff\xff\xff\xff"
#define ZERO_8 "\0\0\0\0\0\0\0\0"
#define X_64 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X_1024 X_64 X_64 X_64 X_64 X_64 X_64 X_64 X_64 X_64 X_64 X_64 X_64 X_64 X_64 X_64 X_64

/* Behind a tensor's name: 4 bytes of count, 8 a dimension, 4 of type, 8 of offset. */
static const bad_file files[] = {
  /* The first 24 bytes. */
  { "empty", CUT(NULL, 0) },
  { "three-bytes", CUT(NULL, 3) },
  { "magic-only", CUT(NULL, 4) },
  { "start-cut", CUT(NULL, 23) },
  { "counts-only", CUT(NULL, 24) },
  { "not-gguf", LIE(.magic = 0x474e5089) },
  { "magic-lower-case", LIE(.magic = 0x66756767) },
  { "big-endian-magic", LIE(.magic = 0x47475546) },
  { "big-endian", LIE(.version = 0x03000000) },
  { "version-0", PATCH(NULL, 4, "\0\0\0\0") },
  { "version-1", LIE(.version = 1) },
  { "version-4", LIE(.version = 4) },
  { "version-max", LIE(.version = UINT32_MAX) },
  { "n-kv-one-more", LIE(.n_keys = 2) },
  { "n-kv-past-end", LIE(.n_keys = 1000) },
  { "n-kv-wraps", LIE(.n_keys = 1ull << 61) },
  { "n-kv-negative", LIE(.n_keys = 1ull << 63) },
  { "n-kv-max", LIE(.n_keys = UINT64_MAX) },
  { "n-kv-none", PATCH(NULL, 16, ZERO_8) },
  { "n-tensors-one-more", LIE(.n_tensors = 3) },
  { "n-tensors-past-end", LIE(.n_tensors = 1000) },
  { "n-tensors-wraps", LIE(.n_tensors = 1ull << 60) },
  { "n-tensors-max", LIE(.n_tensors = UINT64_MAX) },
  { "both-counts-past-end", LIE(.n_tensors = 12, .n_keys = 12) },

  /* Keys and values. */
  { "key-empty", PAIR_KEY("", EM_GGUF_U8, "\1") },
  { "key-not-utf8", PAIR_KEY("\xff\xfe", EM_GGUF_U8, "\1") },
  { "key-surrogate", PAIR_KEY("\xed\xa0\x80", EM_GGUF_U8, "\1") },
  { "key-with-nul", PAIR_KEY("ab\0cd", EM_GGUF_U8, "\1") },
  { "key-past-end", PATCH(NULL, 24, "\xff\xff\0\0\0\0\0\0") },
  { "key-length-wraps", PATCH(NULL, 24, U64_MAX) },
  { "key-length-negative", PATCH(NULL, 24, "\0\0\0\0\0\0\0\x80") },
  { "key-cut", CUT("general.", 0), .no_tensors = true },
  { "duplicate-key", PAIR_KEY("general.architecture", EM_GGUF_STRING, "\5\0\0\0\0\0\0\0qwen3") },
  { "duplicate-key-other-type", PAIR_KEY("general.architecture", EM_GGUF_U8, "\1") },
  { "type-unknown", PAIR(13, "\1\0\0\0\0\0\0\0") },
  { "type-max", PAIR(UINT32_MAX, "\1\0\0\0\0\0\0\0") },
  { "type-cut", CUT("general.architecture", 2), .no_tensors = true },
  { "value-cut", PAIR(EM_GGUF_U64, ZERO_8), CUT("extra", 8), .no_tensors = true },
  { "bool-two", PAIR(EM_GGUF_BOOL, "\2") },
  { "bool-max", PAIR(EM_GGUF_BOOL, "\xff") },
  { "string-past-end", PAIR(EM_GGUF_STRING, "\0\x10\0\0\0\0\0\0x") },
  { "string-length-wraps", PAIR(EM_GGUF_STRING, U64_MAX "x") },
  { "string-length-negative", PAIR(EM_GGUF_STRING, "\0\0\0\0\0\0\0\x80x") },
  { "string-cut", CUT("llam", 0), .no_tensors = true },

  /* Arrays: 4 bytes of type, 8 of length, the elements. */
  { "array-cut-in-type", PAIR(EM_GGUF_ARRAY, "\4\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0"), CUT("extra", 6), .no_tensors = true },
  { "array-cut-in-length", PAIR(EM_GGUF_ARRAY, "\4\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0"), CUT("extra", 12), .no_tensors = true },
  { "array-cut-in-elements", PAIR(EM_GGUF_ARRAY, "\4\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0"), CUT("extra", 18), .no_tensors = true },
  { "array-type-unknown", PAIR(EM_GGUF_ARRAY, "\x0d\0\0\0\1\0\0\0\0\0\0\0\1") },
  { "array-type-max", PAIR(EM_GGUF_ARRAY, "\xff\xff\xff\xff\1\0\0\0\0\0\0\0\1") },
  { "nested-array", PAIR(EM_GGUF_ARRAY, "\x09\0\0\0\1\0\0\0\0\0\0\0\4\0\0\0\1\0\0\0\0\0\0\0\1\0\0\0") },
  { "nested-array-empty", PAIR(EM_GGUF_ARRAY, "\x09\0\0\0\0\0\0\0\0\0\0\0") },
  { "array-past-end", PAIR(EM_GGUF_ARRAY, "\4\0\0\0\0\x10\0\0\0\0\0\0\1\0\0\0") },
  { "array-length-wraps", PAIR(EM_GGUF_ARRAY, "\4\0\0\0\1\0\0\0\0\0\0\x40\1\0\0\0") },
  { "array-length-wraps-to-zero", PAIR(EM_GGUF_ARRAY, "\x0a\0\0\0\0\0\0\0\0\0\0\x20\1\0\0\0") },
  { "array-length-max", PAIR(EM_GGUF_ARRAY, "\0\0\0\0" U64_MAX "\1") },
  { "array-of-strings-past-end", PAIR(EM_GGUF_ARRAY, "\x08\0\0\0\0\x10\0\0\0\0\0\0\1\0\0\0\0\0\0\0x") },
  { "array-string-past-end", PAIR(EM_GGUF_ARRAY, "\x08\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0x\0\x10\0\0\0\0\0\0y") },
  { "array-string-length-wraps", PAIR(EM_GGUF_ARRAY, "\x08\0\0\0\1\0\0\0\0\0\0\0" U64_MAX "x") },
  { "array-bool-two", PAIR(EM_GGUF_ARRAY, "\7\0\0\0\3\0\0\0\0\0\0\0\1\0\2") },
  { "token-too-long",
    PAIR_KEY("tokenizer.ggml.tokens", EM_GGUF_ARRAY, "\x08\0\0\0\1\0\0\0\0\0\0\0\1\4\0\0\0\0\0\0" X_1024 "x") },

  /* The alignment. */
  { "alignment-zero", PAIR_KEY("general.alignment", EM_GGUF_U32, "\0\0\0\0") },
  { "alignment-four", PAIR_KEY("general.alignment", EM_GGUF_U32, "\4\0\0\0") },
  { "alignment-48", PAIR_KEY("general.alignment", EM_GGUF_U32, "\x30\0\0\0") },
  { "alignment-131072", PAIR_KEY("general.alignment", EM_GGUF_U32, "\0\0\2\0") },
  { "alignment-huge", PAIR_KEY("general.alignment", EM_GGUF_U32, "\0\0\0\x80") },
  { "alignment-max", PAIR_KEY("general.alignment", EM_GGUF_U32, "\xff\xff\xff\xff") },
  { "alignment-wide-type", PAIR_KEY("general.alignment", EM_GGUF_U64, "\x20\0\0\0\0\0\0\0") },
  { "alignment-signed", PAIR_KEY("general.alignment", EM_GGUF_I32, "\x20\0\0\0") },
  { "alignment-text", PAIR_KEY("general.alignment", EM_GGUF_STRING, "\2\0\0\0\0\0\0\0" "32") },
  { "alignment-array", PAIR_KEY("general.alignment", EM_GGUF_ARRAY, "\4\0\0\0\1\0\0\0\0\0\0\0\x20\0\0\0") },
  { "alignment-not-kept", PAIR_KEY("general.alignment", EM_GGUF_U32, "\0\1\0\0") },

  /* Tensors. */
  { "tensor-cut-in-name", LIE(.n_tensors = 1), CUT("fir", 0) },
  { "tensor-cut-in-n-dims", LIE(.n_tensors = 1), CUT("first", 3) },
  { "tensor-cut-in-dims", LIE(.n_tensors = 1), CUT("first", 11) },
  { "tensor-cut-in-type", LIE(.n_tensors = 1), CUT("first", 14) },
  { "tensor-cut-in-offset", LIE(.n_tensors = 1), CUT("first", 23) },
  { "tensor-missing", CUT("first", 24) },
  { "tensor-name-past-end", PATCH("first", -13, "\0\x10\0\0\0\0\0\0") },
  { "tensor-name-too-long", PATCH("first", -13, "\x80\0\0\0\0\0\0\0") },
  { "tensor-name-length-wraps", PATCH("first", -13, U64_MAX) },
  { "tensor-name-empty", PATCH("first", -13, ZERO_8) },
  { "tensor-name-not-utf8", PATCH("first", -5, "\xc3\x28") },
  { "tensor-name-with-nul", PATCH("first", -5, "f\0r") },
  { "duplicate-tensor", PATCH("other", -5, "first") },
  { "n-dims-none", PATCH("first", 0, "\0\0\0\0") },
  { "n-dims-five", LIE(.tensor_n_dims = 5) },
  { "n-dims-max", PATCH("first", 0, "\xff\xff\xff\xff") },
  { "dim-zero", PATCH("first", 4, ZERO_8) },
  { "dim-2g", LIE(.tensor_dims = { 1ull << 31 }) },
  { "dim-negative", LIE(.tensor_dims = { 1ull << 63 }) },
  { "dim-max", LIE(.tensor_dims = { UINT64_MAX }) },
  { "dims-product-wraps", LIE(.tensor_n_dims = 2, .tensor_dims = { 1ull << 32, 1ull << 32 }) },
  { "dims-product-wraps-to-zero", LIE(.tensor_n_dims = 4, .tensor_dims = { 1 << 20, 1 << 20, 1 << 20, 1 << 20 }) },
  { "dims-bytes-wrap", LIE(.tensor_n_dims = 3, .tensor_dims = { 1 << 21, 1 << 21, 1 << 20 }) },
  { "dims-exabytes", LIE(.tensor_n_dims = 2, .tensor_dims = { 0x7fffffff, 0x7fffffff }) },
  { "dims-past-end", LIE(.tensor_dims = { 4096 }) },
  { "tensor-type-removed", LIE(.tensor_type = 4) },
  { "tensor-type-q8-1", LIE(.tensor_type = 9) },
  { "tensor-type-q8-k", LIE(.tensor_type = 15) },
  { "tensor-type-unknown", LIE(.tensor_type = 43) },
  { "tensor-type-max", LIE(.tensor_type = UINT32_MAX) },
  { "row-of-half-a-block", LIE(.tensor_type = EM_TYPE_Q4_K) },
  { "offset-unaligned", LIE(.tensor_offset = 1) },
  { "offset-past-end", LIE(.tensor_offset = 1 << 20) },
  { "offset-wraps", LIE(.tensor_offset = UINT64_MAX - 31) },
  { "offset-end-wraps", LIE(.tensor_offset = UINT64_MAX - 511) },
  { "offset-negative", LIE(.tensor_offset = 1ull << 63) },
  { "offset-overlaps", PATCH("other", 24, ZERO_8) },
  { "offset-inside-other", LIE(.tensor_offset = 256) },
  { "offset-overlaps-by-a-block", PATCH("other", 24, "\x60\0\0\0\0\0\0\0") },
  { "data-missing", CUT("other", 32) },
  { "data-cut", CUT("other", 300) },

  /* Sound ones. */
  { "good-plain", LIE(0) },
  { "good-scores-of-bytes", PAIR_KEY("tokenizer.ggml.scores", EM_GGUF_ARRAY, "\0\0\0\0\3\0\0\0\0\0\0\0\1\2\3") },
  { "good-array-empty", PAIR(EM_GGUF_ARRAY, "\x08\0\0\0\0\0\0\0\0\0\0\0") },
  { "good-no-tensors", .no_tensors = true },
  { "good-type-q4-0", LIE(.tensor_type = EM_TYPE_Q4_0) },
};

/* The file in memory, which the caller frees. */
static char *make_file(const bad_file *bad, size_t *bytes) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  float values[64];
  for (int i = 0; i < 64; i++)
    values[i] = (float)i;
  em_gguf_put_text(writer, "general.architecture", "llama");
  if (bad->pair.value)
    em_gguf_put_raw(writer, bad->pair.key ? bad->pair.key : "extra", bad->pair.key ? bad->pair.key_bytes : 5, bad->pair.type,
                    bad->pair.value, bad->pair.bytes);
  if (!bad->no_tensors) {
    em_gguf_put_tensor(writer, "first", EM_TYPE_F32, 1, (const uint64_t[]){ 32 }, values);
    em_gguf_put_tensor(writer, "other", EM_TYPE_F32, 2, (const uint64_t[]){ 32, 2 }, values);
  }
  char *file = NULL;
  em_error error = { 0 };
  if (em_gguf_writer_finish(writer, &bad->lies, &file, bytes, &error) != EM_OK) {
    fprintf(stderr, "%s: %s\n", bad->name, error.text);
    exit(1);
  }
  em_gguf_writer_free(writer);
  char *place = file;
  if (bad->find) {
    char *found = memmem(file, *bytes, bad->find, strlen(bad->find));
    if (!found) {
      fprintf(stderr, "%s: \"%s\" is nowhere\n", bad->name, bad->find);
      exit(1);
    }
    place = found + strlen(bad->find);
  }
  place += bad->at;
  if (bad->patch)
    memcpy(place, bad->patch, bad->patch_bytes);
  if (bad->cut)
    *bytes = (size_t)(place - file);
  return file;
}

/* Compares the folder with the files; says what differs. */
static int check_folder(const char *folder) {
  int n_wrong = 0, n_there = 0, n_files = (int)(sizeof files / sizeof *files);
  for (int i = 0; i < n_files; i++) {
    char path[4096], *there = NULL;
    size_t bytes, there_bytes = 0;
    char *file = make_file(&files[i], &bytes);
    snprintf(path, sizeof path, "%s/%s.gguf", folder, files[i].name);
    if (em_file_read(path, 1 << 20, &there, &there_bytes, NULL) != EM_OK || there_bytes != bytes ||
        memcmp(there, file, bytes) != 0) {
      fprintf(stderr, "%s is not what is made now\n", path);
      n_wrong++;
    }
    free(there);
    free(file);
  }
  DIR *dir = opendir(folder);
  for (struct dirent *entry; dir && (entry = readdir(dir));)
    n_there += entry->d_name[0] != '.' && strncmp(entry->d_name, "found-", 6) != 0;
  if (dir)
    closedir(dir);
  if (n_there != n_files) {
    fprintf(stderr, "%s holds %d files, not %d\n", folder, n_there, n_files);
    n_wrong++;
  }
  printf("%d files, %d differences\n", n_files, n_wrong);
  return n_wrong ? 1 : 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "--check") == 0)
    return check_folder(argv[2]);
  if (argc != 2) {
    fprintf(stderr, "usage: make-bad-gguf [--check] FOLDER\n");
    return 2;
  }
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    char path[4096];
    size_t bytes;
    char *file = make_file(&files[i], &bytes);
    snprintf(path, sizeof path, "%s/%s.gguf", argv[1], files[i].name);
    FILE *out = fopen(path, "wb");
    if (!out || fwrite(file, 1, bytes, out) != bytes || fclose(out) != 0) {
      perror(path);
      return 1;
    }
    free(file);
  }
  return 0;
}
