/* The limits within which a GGUF file is believed. A file past one of them is refused with EM_ERR_LIMIT or EM_ERR_FORMAT. */
#pragma once

#include <stdint.h>

#define EM_GGUF_MIN_FILE_BYTES 24u
#define EM_GGUF_MIN_VERSION 2u
#define EM_GGUF_MAX_VERSION 3u
#define EM_GGUF_MAX_METADATA 65536u                   /* key/value pairs */
#define EM_GGUF_MIN_METADATA_BYTES 14u                /* the smallest pair: key length 8, key 1, type 4, value 1 */
#define EM_GGUF_MAX_KEY_BYTES 65535u
#define EM_GGUF_MAX_STRING_BYTES (16u << 20)          /* a string value; templates are the longest */
#define EM_GGUF_MAX_ARRAY_LEN (64u << 20)             /* elements */
/* Header and metadata together. The largest known vocabularies take 20 MiB; a file made of as many strings as fit opens in
 * about 0.1 s and four times this memory. */
#define EM_GGUF_MAX_METADATA_BYTES (64u << 20)
#define EM_GGUF_MAX_TENSORS 65536u
#define EM_GGUF_MAX_FILES 512u                        /* of a split model; each takes a descriptor */
#define EM_GGUF_MIN_TENSOR_BYTES 33u                  /* the smallest entry: name 8 + 1, count 4, a dimension 8, type 4, offset 8 */
#define EM_GGUF_MAX_TENSOR_NAME_BYTES 127u
#define EM_GGUF_MAX_DIMS 4u
#define EM_GGUF_MAX_DIM 2147483647u                   /* 2^31 - 1 */
#define EM_GGUF_DEFAULT_ALIGNMENT 32u
#define EM_GGUF_MIN_ALIGNMENT 8u
#define EM_GGUF_MAX_ALIGNMENT 65536u
#define EM_GGUF_MAX_TOKEN_BYTES 1024u                 /* an element of tokenizer.ggml.tokens */
