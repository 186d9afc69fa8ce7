/* Makes small models with random weights and a vocabulary, so that tests need no model from elsewhere.
 *
 * The text such a model writes is made of English words in random order. The same parameters give the same file on
 * every computer. */
#pragma once

#include "gguf/gguf.h"

typedef struct tiny_model {
  const char *architecture; /* dense: "llama", "qwen2", "qwen3"; with experts "qwen3moe"; with recurrent layers "qwen35";
                               with latent attention and experts "deepseek2"; with sliding windows "gemma3".
                               NULL: "llama" */
  uint32_t n_layers, n_embd, n_heads, n_kv_heads, n_ff; /* 0: 2, 64, 4, 2, 128; n_embd is a multiple of n_heads */
  uint32_t context_tokens;                              /* 0: 2048 */
  uint32_t n_vocab;                                     /* 0: 512; at least 384 */
  em_type type;                                         /* of the matrices; EM_TYPE_F32 is 0 */
  uint32_t seed;
  bool tied;                 /* no output.weight */
  float end_logit;           /* about the logit of the end token beside words at -2..2; 0: it is never chosen */
  const char *name;          /* NULL: "tiny" */
  const char *chat_template; /* NULL: none */
} tiny_model;

#define TINY_BOS 1
#define TINY_EOS 2

/* Of the models that have such. */
#define TINY_EXPERTS 8
#define TINY_EXPERTS_USED 2
#define TINY_RANK 256 /* of queries and of what is cached */
#define TINY_ROT 16   /* rotated values of a head, which are half of it */
#define TINY_VALUE 64 /* values of a head that it gives */
#define TINY_CONV 4
#define TINY_WINDOW 24

/* The file's bytes, which the caller frees. Exits the program when it fails. */
char *tiny_model_make(const tiny_model *model, size_t *bytes);

/* Writes the file. Exits the program when it fails. */
void tiny_model_save(const tiny_model *model, const char *path);

/* The same split into n_files, as em_gguf_writer_save_split does. */
void tiny_model_save_split(const tiny_model *model, const char *prefix, uint32_t n_files);
