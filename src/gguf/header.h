/* The inside of an em_gguf: shared by the reader's own files, included by nothing outside this room. */
#pragma once

#include "base/arena.h"
#include "gguf/gguf.h"

#include <sys/stat.h>

/* A set of unique names over an array of records that begin with an em_text. Open addressing under a keyed hash, so that
 * no file can be made whose names all fall together. */
typedef struct em_names {
  const void *records;
  size_t stride;   /* bytes of one record */
  uint32_t *slots; /* record number + 1; 0: free */
  size_t mask;     /* number of slots - 1, a power of two less one; at most half of them are ever in use */
  uint64_t key[2];
} em_names;

/* Makes an empty set for at most n records; the slots live in the arena. False when memory is out. */
bool em_names_init(em_names *names, em_arena *arena, const void *records, size_t stride, size_t n);

/* Adds record i; false when its name is there already. */
bool em_names_add(em_names *names, size_t i);

/* The record of this name, or NULL. */
const void *em_names_find(const em_names *names, const char *name, size_t bytes);

typedef struct em_gguf_pair {
  em_text key;
  uint8_t type;      /* em_gguf_type */
  uint8_t item_type; /* of an array; else equal to type */
  uint64_t n;        /* elements of an array, bytes of a string; else 1 */
  union {
    uint64_t u;        /* unsigned integers, and bool as 0 or 1 */
    int64_t i;         /* signed integers */
    double real;       /* F32 and F64 */
    const char *text;  /* string */
    const void *items; /* array: em_text for strings, else the elements as they are, aligned to 16 bytes */
  } value;
} em_gguf_pair;

struct em_gguf {
  em_arena *arena;
  int fd; /* -1: bytes in memory */
  const uint8_t *memory;
  size_t memory_bytes;
  uint64_t file_bytes;
  struct timespec modified;
  uint32_t version;
  uint32_t alignment;
  uint64_t data_offset;
  size_t n_pairs;
  em_gguf_pair *pairs;
  em_names pair_names;
  size_t n_tensors;
  em_gguf_tensor *tensors;
  em_names tensor_names;
  em_gguf *
      *others; /* [n_files - 1] the further files of a split model, owned; their tensors are in the first one's table */
  uint32_t n_files;
};

/* Opens one file, whether or not it is a part. Errors as em_gguf_open. */
em_status em_gguf_open_file(const char *path, em_gguf **out, em_error *error) EM_MUST_USE;

/* Whether the file says it is one of several; *n: of how many. */
bool em_gguf_is_part(const em_gguf *gguf, uint64_t *n);

/* Opens the other files of the set that `part` at path is of, and makes one em_gguf of all. Takes part, also when it
 * fails. */
em_status em_gguf_join(const char *path, em_gguf *part, em_gguf **out, em_error *error) EM_MUST_USE;

/* Reads bytes at a position of the file or the memory. EM_ERR_CHANGED when they are not there (any more). */
em_status em_gguf_read_at(const em_gguf *gguf, uint64_t offset, void *dst, size_t bytes, em_error *error) EM_MUST_USE;

/* Reads and checks the whole header into gguf, whose source, file_bytes and arena are set. */
em_status em_gguf_read_header(em_gguf *gguf, em_error *error) EM_MUST_USE;

/* Bytes of one value of a scalar type; 0 for strings and arrays. */
size_t em_gguf_scalar_bytes(em_gguf_type type);
