/* The GGUF writer, for tests and tools. It writes what it is told, wrong files included: the bad corpus is made with it. */
#pragma once

#include "gguf/gguf.h"

typedef struct em_gguf_writer em_gguf_writer;

em_gguf_writer *em_gguf_writer_new(uint32_t version); /* NULL: memory out */
void em_gguf_writer_free(em_gguf_writer *writer);

/* Metadata, in the order of the calls. Each latches a failure that em_gguf_writer_finish reports. */
void em_gguf_put_bool(em_gguf_writer *writer, const char *key, bool value);
void em_gguf_put_u32(em_gguf_writer *writer, const char *key, uint32_t value);
void em_gguf_put_u64(em_gguf_writer *writer, const char *key, uint64_t value);
void em_gguf_put_i32(em_gguf_writer *writer, const char *key, int32_t value);
void em_gguf_put_f32(em_gguf_writer *writer, const char *key, float value);
void em_gguf_put_text(em_gguf_writer *writer, const char *key, const char *text);
void em_gguf_put_texts(em_gguf_writer *writer, const char *key, const em_text *texts, size_t n);
void em_gguf_put_f32s(em_gguf_writer *writer, const char *key, const float *values, size_t n);
void em_gguf_put_i32s(em_gguf_writer *writer, const char *key, const int32_t *values, size_t n);
/* Any bytes as one pair: type number and the value's bytes as they are. */
void em_gguf_put_raw(em_gguf_writer *writer, const char *key, size_t key_bytes, uint32_t type, const void *value, size_t bytes);

/* A tensor whose data is copied (data of exactly the bytes its type and shape ask for; NULL: zeros, not stored until
 * written). n_dims 1-4. */
void em_gguf_put_tensor(em_gguf_writer *writer, const char *name, uint32_t type, uint32_t n_dims, const uint64_t *dims,
                        const void *data);
/* The same from float32 values, encoded to type. */
void em_gguf_put_tensor_f32(em_gguf_writer *writer, const char *name, em_type type, uint32_t n_dims, const uint64_t *dims,
                            const float *values);

/* Overrides for wrong files: 0 keeps the right value. */
typedef struct em_gguf_lies {
  uint32_t magic, version;
  uint64_t n_tensors, n_keys;
  int tensor;                 /* which tensor the following lie about; -1: none */
  uint32_t tensor_type, tensor_n_dims;
  uint64_t tensor_dims[4], tensor_offset;
  uint32_t alignment;         /* alignment used for offsets and padding */
} em_gguf_lies;

/* Makes the whole file in memory (the caller frees it). lies may be NULL. */
em_status em_gguf_writer_finish(em_gguf_writer *writer, const em_gguf_lies *lies, char **out, size_t *out_bytes,
                                em_error *error) EM_MUST_USE;

/* Writes it to path; zero tensors become holes, so that huge headers-only files cost no disk. */
em_status em_gguf_writer_save(em_gguf_writer *writer, const char *path, em_error *error) EM_MUST_USE;

/* The same split into n_files of about equal size, whose names begin with prefix ("big" -> "big-00001-of-00003.gguf").
 * The first has the metadata. */
em_status em_gguf_writer_save_split(em_gguf_writer *writer, const char *prefix, uint32_t n_files,
                                    em_error *error) EM_MUST_USE;
