/* The GGUF reader: the checked header of a model file, typed access to its metadata, and positioned reads of its
 * tensors.
 *
 * A model may be split into several files ("NAME-00001-of-00003.gguf"). Opening any of them, or their folder, opens
 * all: the metadata are those of the first file, the tensors those of every file in their order.
 *
 * A file is hostile until checked, and em_gguf_open checks everything: after EM_OK every key is unique, every string is
 * within its limit, every tensor's name is unique, its shape and type are sane, and its bytes lie inside the file
 * without overlapping another's. Metadata is copied into memory; tensor data is read with pread into the caller's
 * memory, never mapped, so that a file that shrinks while in use gives EM_ERR_CHANGED and not a signal.
 *
 * An em_gguf is immutable after opening: reading it from several threads is safe.
 */
#pragma once

#include "base/buffer.h"
#include "gguf/format.h"
#include "gguf/limits.h"

typedef struct em_gguf em_gguf;

typedef enum em_gguf_type {
  EM_GGUF_U8 = 0,
  EM_GGUF_I8,
  EM_GGUF_U16,
  EM_GGUF_I16,
  EM_GGUF_U32,
  EM_GGUF_I32,
  EM_GGUF_F32,
  EM_GGUF_BOOL,
  EM_GGUF_STRING,
  EM_GGUF_ARRAY,
  EM_GGUF_U64,
  EM_GGUF_I64,
  EM_GGUF_F64,
  EM_GGUF_N_TYPES
} em_gguf_type;

/* Bytes with a length; text is NUL-terminated behind its length, may hold any byte, and lives as long as the em_gguf. */
typedef struct em_text {
  const char *text;
  size_t bytes;
} em_text;

typedef struct em_gguf_tensor {
  em_text name;
  em_type type;
  uint32_t n_dims;
  uint64_t dims[EM_GGUF_MAX_DIMS]; /* dims[0] is the fastest; unused ones are 1 */
  uint64_t n_rows;                 /* product of dims[1..3] */
  uint64_t row_bytes;
  uint64_t bytes;                  /* n_rows * row_bytes */
  uint64_t offset;                 /* from the start of its file */
  uint32_t file;                   /* which file of a split model that is, from 0 */
} em_gguf_tensor;

/* Opens a file and reads its header; of a split model all files, whichever of them the path names. A folder is opened
 * as the model in it (em_gguf_find_in_folder). The descriptors stay open until em_gguf_close. Errors: EM_ERR_NOT_FOUND
 * (the file, or files of a split model, which are named), EM_ERR_IO, EM_ERR_FORMAT (files that do not belong together
 * too), EM_ERR_LIMIT, EM_ERR_UNSUPPORTED (version, byte order, tensor type), EM_ERR_NO_MEMORY. */
em_status em_gguf_open(const char *path, em_gguf **out, em_error *error) EM_MUST_USE;

/* The same for an open descriptor of a regular file; it is duplicated, the caller keeps its own. Of a split model it is
 * one file alone. */
em_status em_gguf_open_fd(int fd, em_gguf **out, em_error *error) EM_MUST_USE;

/* The same for bytes in memory, which must outlive the em_gguf. file_bytes is the size the file is taken to have (>= bytes),
 * so that a header alone can be checked. Tensor reads past `bytes` give EM_ERR_CHANGED. */
em_status em_gguf_open_memory(const void *data, size_t bytes, uint64_t file_bytes, em_gguf **out,
                              em_error *error) EM_MUST_USE;

void em_gguf_close(em_gguf *gguf); /* NULL is legal */

uint32_t em_gguf_version(const em_gguf *gguf);
uint32_t em_gguf_alignment(const em_gguf *gguf);
uint32_t em_gguf_n_files(const em_gguf *gguf);     /* 1, or those of a split model */
uint64_t em_gguf_file_bytes(const em_gguf *gguf);  /* of all files together */
uint64_t em_gguf_data_offset(const em_gguf *gguf); /* of the first file, like version and alignment */

/* Fails with EM_ERR_CHANGED when a file's size or the time of its last writing are no longer those at opening. Renaming
 * or deleting it changes nothing: the descriptor keeps it. A memory never changes. */
em_status em_gguf_check_unchanged(const em_gguf *gguf, em_error *error) EM_MUST_USE;

/* --- Metadata ---------------------------------------------------------------------------------------------------- */

size_t em_gguf_n_keys(const em_gguf *gguf);

typedef struct em_gguf_entry {
  em_text key;
  em_gguf_type type;      /* EM_GGUF_ARRAY for an array */
  em_gguf_type item_type; /* of an array; else equal to type */
  uint64_t n;             /* elements of an array; else 1 */
} em_gguf_entry;

/* The i-th pair's description (i < em_gguf_n_keys). */
em_gguf_entry em_gguf_key_at(const em_gguf *gguf, size_t i);
bool em_gguf_find_key(const em_gguf *gguf, const char *key, em_gguf_entry *out);

/* Typed getters. Each returns true and stores the value when the key is there with a fitting type; false (leaving *out alone)
 * when it is absent or of another type. Integer getters take any integer type whose value is in range; em_gguf_get_f32 takes F32
 * and F64, and gives what is there: NaN and infinities too. */
bool em_gguf_get_bool(const em_gguf *gguf, const char *key, bool *out);
bool em_gguf_get_u32(const em_gguf *gguf, const char *key, uint32_t *out);
bool em_gguf_get_i32(const em_gguf *gguf, const char *key, int32_t *out);
bool em_gguf_get_u64(const em_gguf *gguf, const char *key, uint64_t *out);
bool em_gguf_get_f32(const em_gguf *gguf, const char *key, float *out);
bool em_gguf_get_text(const em_gguf *gguf, const char *key, em_text *out);

/* Arrays: a getter fails unless the key is an array of just that element type. The i-th element must be asked for with
 * i < n. The arrays of numbers are aligned copies that live as long as the em_gguf. */
bool em_gguf_get_texts(const em_gguf *gguf, const char *key, const em_text **out, size_t *n);
bool em_gguf_get_f32s(const em_gguf *gguf, const char *key, const float **out, size_t *n);
bool em_gguf_get_i32s(const em_gguf *gguf, const char *key, const int32_t **out, size_t *n); /* I32, or U32 all below 2^31 */
bool em_gguf_get_bools(const em_gguf *gguf, const char *key, const uint8_t **out, size_t *n);

/* Appends the i-th pair's value as JSON; arrays longer than max_items are cut and end with the string "... N more". */
bool em_gguf_write_value_json(const em_gguf *gguf, size_t i, size_t max_items, em_buffer *out);

/* --- Tensors ------------------------------------------------------------------------------------------------------ */

size_t em_gguf_n_tensors(const em_gguf *gguf);
const em_gguf_tensor *em_gguf_tensor_at(const em_gguf *gguf, size_t i);
const em_gguf_tensor *em_gguf_find_tensor(const em_gguf *gguf, const char *name); /* NULL: absent */

/* Reads bytes of a tensor's data from its byte `offset` on into dst. EM_ERR_ARGUMENT when the range is outside the tensor,
 * EM_ERR_CHANGED when the file has shrunk, EM_ERR_IO. Thread-safe. */
em_status em_gguf_read_tensor(const em_gguf *gguf, const em_gguf_tensor *tensor, uint64_t offset, void *dst, size_t bytes,
                              em_error *error) EM_MUST_USE;

/* Says that bytes of the file, counted from the start of a tensor's data and perhaps past its end, will be wanted soon, so
 * that the system reads them meanwhile. Never fails. Thread-safe. */
void em_gguf_read_ahead(const em_gguf *gguf, const em_gguf_tensor *tensor, uint64_t offset, size_t bytes);

/* --- Names of split files ("NAME-00001-of-00004.gguf") -------------------------------------------------------------- */

typedef struct em_gguf_split {
  uint32_t index; /* from 0 */
  uint32_t count;
  size_t prefix_bytes; /* of the path, without "-00001-of-00004.gguf" */
} em_gguf_split;

/* Whether path has the form of a split file's name. */
bool em_gguf_parse_split(const char *path, em_gguf_split *out);

/* Writes the name of part `index` to out (a NUL-terminated path); false when it does not fit. */
bool em_gguf_format_split(const char *path, const em_gguf_split *split, uint32_t index, char *out, size_t out_bytes);

/* Writes the path of a folder's model to out: its only GGUF file, or one of its only split model. Projectors beside a
 * model
 * ("mmproj...") do not count. Errors: EM_ERR_NOT_FOUND (no GGUF file), EM_ERR_FORMAT (more than one model), EM_ERR_IO,
 * EM_ERR_LIMIT (too long a path). */
em_status em_gguf_find_in_folder(const char *folder, char *out, size_t out_bytes, em_error *error) EM_MUST_USE;
