/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The vocabulary has the layout of SentencePiece models: unknown, begin, end, 256 bytes, characters, words.
 *
 * Random logits would choose bytes and control tokens too, and the text would be no text. So the first value of every
 * row is the same positive number for all tokens (embeddings set it, no layer writes to it), and the head's first
 * column uses it as a bias: words get none, all other tokens a large negative one. A tied head has no such column; its
 * text may hold anything. */
#include "tiny-model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf/writer.h"

#define FIRST_BYTE 3u
#define FIRST_CHARACTER (FIRST_BYTE + 256u)
#define CONSTANT 1.0f /* the first value of every embedding, beside values of variance 1 */

static const char *const words[] = {
    "the",   "a",     "of",   "and",  "to",    "in",    "it",    "is",   "was",   "one",   "day",  "little", "sun",
    "rain",  "house", "fire", "warm", "light", "river", "stone", "bird", "tree",  "wind",  "song", "friend", "bread",
    "table", "night", "star", "moon", "road",  "hill",  "field", "boat", "water", "cloud", "leaf", "garden", "door",
    "went",  "saw",   "said", "made", "found", "under", "over",  "near", "with",  "small", "old",  "green",  "blue",
};
#define N_WORDS (sizeof words / sizeof words[0])

typedef struct maker {
  tiny_model model; /* with its defaults filled in */
  em_gguf_writer *writer;
  uint64_t random;
  char prefix[32];
} maker;

static void die(const char *what) {
  fprintf(stderr, "tiny model: %s\n", what);
  exit(1);
}

static void *allocate(size_t n, size_t bytes) {
  void *memory = calloc(n, bytes);
  if (!memory)
    die("memory is out");
  return memory;
}

/* Uniform in -1..1, from a 64-bit linear congruential generator. */
static float random_value(maker *m) {
  m->random = m->random * 6364136223846793005u + 1442695040888963407u;
  return (float)(m->random >> 40) * 0x1p-23f - 1.0f;
}

static const char *key(maker *m, const char *name) {
  static char text[96];
  snprintf(text, sizeof text, "%s.%s", m->model.architecture, name);
  return text;
}

static const char *tensor_name(maker *m, const char *name) {
  static char text[96];
  snprintf(text, sizeof text, "%s%s", m->prefix, name);
  return text;
}

typedef enum column { COLUMN_RANDOM, COLUMN_CONSTANT, COLUMN_BIAS, ROW_ZERO } column;

/* A matrix of n_rows rows of n_in values with a variance of gain^2 / n_in. */
static void put_matrix(maker *m, const char *name, uint64_t n_in, uint64_t n_rows, float gain, column how) {
  float *values = allocate(n_in * n_rows, sizeof *values);
  float scale = gain * sqrtf(3.0f / (float)n_in);
  for (uint64_t i = 0; i < n_in * n_rows; i++)
    values[i] = scale * random_value(m);
  for (uint64_t row = 0; row < n_rows; row++) {
    float *first = values + row * n_in;
    if (how == COLUMN_CONSTANT)
      *first = CONSTANT;
    else if (how == COLUMN_BIAS)
      *first = row > FIRST_CHARACTER + 127                  ? 0
               : row == TINY_EOS && m->model.end_logit != 0 ? m->model.end_logit
                                                            : -1000;
  }
  if (how == ROW_ZERO)
    memset(values, 0, n_in * sizeof *values);
  uint64_t dims[2] = {n_in, n_rows};
  em_gguf_put_tensor_f32(m->writer, tensor_name(m, name), m->model.type, 2, dims, values);
  free(values);
}

static void put_vector(maker *m, const char *name, uint64_t n, float middle, float spread) {
  float *values = allocate(n, sizeof *values);
  for (uint64_t i = 0; i < n; i++)
    values[i] = middle + spread * random_value(m);
  em_gguf_put_tensor_f32(m->writer, tensor_name(m, name), EM_TYPE_F32, 1, &n, values);
  free(values);
}

static void put_tokenizer(maker *m) {
  uint32_t n = m->model.n_vocab;
  em_text *texts = allocate(n, sizeof *texts);
  float *scores = allocate(n, sizeof *scores);
  int32_t *types = allocate(n, sizeof *types);
  char(*pieces)[24] = allocate(n, sizeof *pieces);
  for (uint32_t i = 0; i < n; i++) {
    char *piece = pieces[i];
    size_t size = sizeof *pieces;
    types[i] = 1;
    if (i < FIRST_BYTE) {
      static const char *const names[] = {"<unk>", "<s>", "</s>"};
      snprintf(piece, size, "%s", names[i]);
      types[i] = i == 0 ? 2 : 3;
    } else if (i < FIRST_CHARACTER) {
      snprintf(piece, size, "<0x%02X>", i - FIRST_BYTE);
      types[i] = 6;
    } else if (i == FIRST_CHARACTER + ' ') {
      snprintf(piece, size, "\xE2\x96\x81"); /* how SentencePiece writes a space */
    } else if (i < FIRST_CHARACTER + 128) {
      char c = (char)(i - FIRST_CHARACTER);
      if (c > ' ' && c < 127) {
        snprintf(piece, size, "%c", c);
      } else {
        snprintf(piece, size, "<unused%u>", i); /* the place of a control character, which its byte token stands for */
        types[i] = 5;
      }
    } else {
      uint32_t word = i - FIRST_CHARACTER - 128, round = word / (uint32_t)N_WORDS;
      if (round == 0)
        snprintf(piece, size, "\xE2\x96\x81%s", words[word]);
      else
        snprintf(piece, size, "\xE2\x96\x81%s%u", words[word % N_WORDS], round);
    }
    texts[i] = (em_text){piece, strlen(piece)};
    scores[i] = -(float)i;
  }
  em_gguf_put_text(m->writer, "tokenizer.ggml.model", "llama");
  em_gguf_put_text(m->writer, "tokenizer.ggml.pre", "default");
  em_gguf_put_texts(m->writer, "tokenizer.ggml.tokens", texts, n);
  em_gguf_put_f32s(m->writer, "tokenizer.ggml.scores", scores, n);
  em_gguf_put_i32s(m->writer, "tokenizer.ggml.token_type", types, n);
  em_gguf_put_u32(m->writer, "tokenizer.ggml.bos_token_id", TINY_BOS);
  em_gguf_put_u32(m->writer, "tokenizer.ggml.eos_token_id", TINY_EOS);
  em_gguf_put_u32(m->writer, "tokenizer.ggml.unknown_token_id", 0);
  em_gguf_put_bool(m->writer, "tokenizer.ggml.add_bos_token", true);
  em_gguf_put_bool(m->writer, "tokenizer.ggml.add_eos_token", false);
  if (m->model.chat_template)
    em_gguf_put_text(m->writer, "tokenizer.chat_template", m->model.chat_template);
  free(texts);
  free(scores);
  free(types);
  free(pieces);
}

static void put_layer(maker *m, uint32_t layer) {
  const tiny_model *t = &m->model;
  uint64_t embd = t->n_embd, dim = embd / t->n_heads, q = embd, kv = t->n_kv_heads * dim, ff = t->n_ff;
  snprintf(m->prefix, sizeof m->prefix, "blk.%u.", layer);
  put_vector(m, "attn_norm.weight", embd, 1, 0.2f);
  put_matrix(m, "attn_q.weight", embd, q, 1.5f, COLUMN_RANDOM);
  put_matrix(m, "attn_k.weight", embd, kv, 1.5f, COLUMN_RANDOM);
  put_matrix(m, "attn_v.weight", embd, kv, 1.5f, COLUMN_RANDOM);
  if (strcmp(t->architecture, "qwen2") == 0) {
    put_vector(m, "attn_q.bias", q, 0, 0.5f);
    put_vector(m, "attn_k.bias", kv, 0, 0.5f);
    put_vector(m, "attn_v.bias", kv, 0, 0.5f);
  } else if (strcmp(t->architecture, "qwen3") == 0) {
    put_vector(m, "attn_q_norm.weight", dim, 1, 0.2f);
    put_vector(m, "attn_k_norm.weight", dim, 1, 0.2f);
  }
  put_matrix(m, "attn_output.weight", q, embd, 1, ROW_ZERO);
  put_vector(m, "ffn_norm.weight", embd, 1, 0.2f);
  put_matrix(m, "ffn_gate.weight", embd, ff, 1, COLUMN_RANDOM);
  put_matrix(m, "ffn_up.weight", embd, ff, 1, COLUMN_RANDOM);
  put_matrix(m, "ffn_down.weight", ff, embd, 1, ROW_ZERO);
  m->prefix[0] = 0;
}

static void fill_defaults(tiny_model *t) {
  if (!t->architecture)
    t->architecture = "llama";
  if (!t->n_layers)
    t->n_layers = 2;
  if (!t->n_embd)
    t->n_embd = 64;
  if (!t->n_heads)
    t->n_heads = 4;
  if (!t->n_kv_heads)
    t->n_kv_heads = 2;
  if (!t->n_ff)
    t->n_ff = 128;
  if (!t->context_tokens)
    t->context_tokens = 2048;
  if (!t->n_vocab)
    t->n_vocab = 512;
  if (!t->name)
    t->name = "tiny";
  if (t->n_vocab < 384 || t->n_embd % t->n_heads != 0 || t->n_heads % t->n_kv_heads != 0)
    die("these sizes make no model");
}

static em_gguf_writer *write_model(const tiny_model *model) {
  maker m = {.model = *model, .random = 88172645463325252u + model->seed};
  fill_defaults(&m.model);
  const tiny_model *t = &m.model;
  m.writer = em_gguf_writer_new(3);
  if (!m.writer)
    die("memory is out");
  em_gguf_put_text(m.writer, "general.architecture", t->architecture);
  em_gguf_put_text(m.writer, "general.name", t->name);
  em_gguf_put_u32(m.writer, key(&m, "context_length"), t->context_tokens);
  em_gguf_put_u32(m.writer, key(&m, "embedding_length"), t->n_embd);
  em_gguf_put_u32(m.writer, key(&m, "block_count"), t->n_layers);
  em_gguf_put_u32(m.writer, key(&m, "feed_forward_length"), t->n_ff);
  em_gguf_put_u32(m.writer, key(&m, "attention.head_count"), t->n_heads);
  em_gguf_put_u32(m.writer, key(&m, "attention.head_count_kv"), t->n_kv_heads);
  em_gguf_put_f32(m.writer, key(&m, "attention.layer_norm_rms_epsilon"), 1e-5f);
  em_gguf_put_f32(m.writer, key(&m, "rope.freq_base"), 10000);
  put_tokenizer(&m);
  put_matrix(&m, "token_embd.weight", t->n_embd, t->n_vocab, sqrtf((float)t->n_embd), COLUMN_CONSTANT);
  put_vector(&m, "output_norm.weight", t->n_embd, 1, 0);
  if (!t->tied)
    put_matrix(&m, "output.weight", t->n_embd, t->n_vocab, 1.5f, COLUMN_BIAS);
  for (uint32_t i = 0; i < t->n_layers; i++)
    put_layer(&m, i);
  return m.writer;
}

char *tiny_model_make(const tiny_model *model, size_t *bytes) {
  em_gguf_writer *writer = write_model(model);
  char *data = NULL;
  em_error error = {0};
  if (em_gguf_writer_finish(writer, NULL, &data, bytes, &error) != EM_OK)
    die(error.text);
  em_gguf_writer_free(writer);
  return data;
}

void tiny_model_save(const tiny_model *model, const char *path) {
  em_gguf_writer *writer = write_model(model);
  em_error error = {0};
  if (em_gguf_writer_save(writer, path, &error) != EM_OK)
    die(error.text);
  em_gguf_writer_free(writer);
}

void tiny_model_save_split(const tiny_model *model, const char *prefix, uint32_t n_files) {
  em_gguf_writer *writer = write_model(model);
  em_error error = {0};
  if (em_gguf_writer_save_split(writer, prefix, n_files, &error) != EM_OK)
    die(error.text);
  em_gguf_writer_free(writer);
}
