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

/* A stack of n matrices (0: one that is no stack) of n_rows rows of n_in values with a variance of gain^2 / n_in. */
static void put_stack(maker *m, const char *name, uint64_t n_in, uint64_t n_rows, uint64_t n, float gain, column how) {
  uint64_t n_matrices = n > 0 ? n : 1;
  float *values = allocate(n_in * n_rows * n_matrices, sizeof *values);
  float scale = gain * sqrtf(3.0f / (float)n_in);
  for (uint64_t i = 0; i < n_in * n_rows * n_matrices; i++)
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
  for (uint64_t i = 0; i < n_matrices && how == ROW_ZERO; i++)
    memset(values + i * n_in * n_rows, 0, n_in * sizeof *values);
  uint64_t dims[3] = {n_in, n_rows, n};
  em_gguf_put_tensor_f32(m->writer, tensor_name(m, name), m->model.type, n > 0 ? 3 : 2, dims, values);
  free(values);
}

static void put_matrix(maker *m, const char *name, uint64_t n_in, uint64_t n_rows, float gain, column how) {
  put_stack(m, name, n_in, n_rows, 0, gain, how);
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

/* --- Layers ------------------------------------------------------------------------------------------------------- */

static bool is_of(const maker *m, const char *architecture) {
  return strcmp(m->model.architecture, architecture) == 0;
}

static bool has_experts(const maker *m) {
  return is_of(m, "qwen3moe") || is_of(m, "deepseek2");
}

static void put_attention(maker *m) {
  const tiny_model *t = &m->model;
  uint64_t embd = t->n_embd, dim = embd / t->n_heads, q = embd, kv = t->n_kv_heads * dim;
  bool has_gates = is_of(m, "qwen35");
  put_matrix(m, "attn_q.weight", embd, has_gates ? 2 * q : q, 1.5f, COLUMN_RANDOM);
  put_matrix(m, "attn_k.weight", embd, kv, 1.5f, COLUMN_RANDOM);
  put_matrix(m, "attn_v.weight", embd, kv, 1.5f, COLUMN_RANDOM);
  if (is_of(m, "qwen2")) {
    put_vector(m, "attn_q.bias", q, 0, 0.5f);
    put_vector(m, "attn_k.bias", kv, 0, 0.5f);
    put_vector(m, "attn_v.bias", kv, 0, 0.5f);
  } else if (!is_of(m, "llama")) {
    put_vector(m, "attn_q_norm.weight", dim, 1, 0.2f);
    put_vector(m, "attn_k_norm.weight", dim, 1, 0.2f);
  }
  put_matrix(m, "attn_output.weight", q, embd, 1, ROW_ZERO);
}

static void put_latent_attention(maker *m) {
  const tiny_model *t = &m->model;
  uint64_t embd = t->n_embd, heads = t->n_heads;
  put_matrix(m, "attn_q_a.weight", embd, TINY_RANK, 1, COLUMN_RANDOM);
  put_vector(m, "attn_q_a_norm.weight", TINY_RANK, 1, 0.2f);
  put_matrix(m, "attn_q_b.weight", TINY_RANK, heads * 2 * TINY_ROT, 1.5f, COLUMN_RANDOM);
  put_matrix(m, "attn_kv_a_mqa.weight", embd, TINY_RANK + TINY_ROT, 1, COLUMN_RANDOM);
  put_vector(m, "attn_kv_a_norm.weight", TINY_RANK, 1, 0.2f);
  em_type type = m->model.type; /* rows of TINY_ROT values are no whole block of most types */
  m->model.type = EM_TYPE_F32;
  put_stack(m, "attn_k_b.weight", TINY_ROT, TINY_RANK, heads, 1, COLUMN_RANDOM);
  m->model.type = type;
  put_stack(m, "attn_v_b.weight", TINY_RANK, TINY_VALUE, heads, 1, COLUMN_RANDOM);
  put_matrix(m, "attn_output.weight", heads * TINY_VALUE, embd, 1, ROW_ZERO);
}

/* As many value heads as the model has heads, and half as many key heads. */
static void put_delta_net(maker *m) {
  const tiny_model *t = &m->model;
  uint64_t embd = t->n_embd, n_v = t->n_heads, dim = embd / n_v, channels = 2 * embd;
  put_matrix(m, "attn_qkv.weight", embd, channels, 1.5f, COLUMN_RANDOM);
  put_matrix(m, "attn_gate.weight", embd, embd, 1.5f, COLUMN_RANDOM);
  put_matrix(m, "ssm_beta.weight", embd, n_v, 1.5f, COLUMN_RANDOM);
  put_matrix(m, "ssm_alpha.weight", embd, n_v, 1.5f, COLUMN_RANDOM);
  em_type type = m->model.type;
  m->model.type = EM_TYPE_F32;
  put_matrix(m, "ssm_conv1d.weight", TINY_CONV, channels, 2, COLUMN_RANDOM);
  m->model.type = type;
  put_vector(m, "ssm_a", n_v, -1, 0.8f);
  put_vector(m, "ssm_dt.bias", n_v, 0, 1);
  put_vector(m, "ssm_norm.weight", dim, 1, 0.2f);
  put_matrix(m, "ssm_out.weight", embd, embd, 1, ROW_ZERO);
}

static void put_feed_forward(maker *m, const char *end, uint64_t n_experts, uint64_t ff) {
  uint64_t embd = m->model.n_embd;
  char name[32];
  snprintf(name, sizeof name, "ffn_gate%s.weight", end);
  put_stack(m, name, embd, ff, n_experts, 1, COLUMN_RANDOM);
  snprintf(name, sizeof name, "ffn_up%s.weight", end);
  put_stack(m, name, embd, ff, n_experts, 1, COLUMN_RANDOM);
  snprintf(name, sizeof name, "ffn_down%s.weight", end);
  put_stack(m, name, ff, embd, n_experts, 1, ROW_ZERO);
}

/* A norm behind a part that adds to the row; its first value is 0, as that of what it norms. */
static void put_post_norm(maker *m, const char *name) {
  put_vector(m, name, m->model.n_embd, 1, 0.2f);
}

static void put_layer(maker *m, uint32_t layer) {
  const tiny_model *t = &m->model;
  uint64_t embd = t->n_embd;
  snprintf(m->prefix, sizeof m->prefix, "blk.%u.", layer);
  put_vector(m, "attn_norm.weight", embd, 1, 0.2f);
  if (is_of(m, "deepseek2"))
    put_latent_attention(m);
  else if (is_of(m, "qwen35") && layer % 2 == 0)
    put_delta_net(m);
  else
    put_attention(m);
  if (is_of(m, "gemma3")) {
    put_post_norm(m, "post_attention_norm.weight");
    put_post_norm(m, "post_ffw_norm.weight");
  }
  put_vector(m, is_of(m, "qwen35") ? "post_attention_norm.weight" : "ffn_norm.weight", embd, 1, 0.2f);
  if (has_experts(m) && !(is_of(m, "deepseek2") && layer == 0)) {
    put_matrix(m, "ffn_gate_inp.weight", embd, TINY_EXPERTS, 2, COLUMN_RANDOM);
    put_feed_forward(m, "_exps", TINY_EXPERTS, t->n_ff);
    if (is_of(m, "deepseek2")) {
      put_vector(m, "exp_probs_b.bias", TINY_EXPERTS, 0, 0.3f);
      put_feed_forward(m, "_shexp", 0, t->n_ff);
    }
  } else {
    put_feed_forward(m, "", 0, t->n_ff);
  }
  m->prefix[0] = 0;
}

/* The keys that only some families have. */
static void put_own_keys(maker *m) {
  const tiny_model *t = &m->model;
  uint32_t dim = t->n_embd / t->n_heads;
  if (has_experts(m)) {
    em_gguf_put_u32(m->writer, key(m, "expert_count"), TINY_EXPERTS);
    em_gguf_put_u32(m->writer, key(m, "expert_used_count"), TINY_EXPERTS_USED);
    em_gguf_put_u32(m->writer, key(m, "expert_feed_forward_length"), t->n_ff);
  }
  if (is_of(m, "deepseek2")) {
    em_gguf_put_u32(m->writer, key(m, "leading_dense_block_count"), 1);
    em_gguf_put_u32(m->writer, key(m, "expert_shared_count"), 1);
    em_gguf_put_u32(m->writer, key(m, "expert_gating_func"), 2);
    em_gguf_put_bool(m->writer, key(m, "expert_weights_norm"), true);
    em_gguf_put_f32(m->writer, key(m, "expert_weights_scale"), 1.5f);
    em_gguf_put_u32(m->writer, key(m, "attention.q_lora_rank"), TINY_RANK);
    em_gguf_put_u32(m->writer, key(m, "attention.kv_lora_rank"), TINY_RANK);
    em_gguf_put_u32(m->writer, key(m, "attention.key_length"), TINY_RANK + TINY_ROT);
    em_gguf_put_u32(m->writer, key(m, "attention.value_length"), TINY_RANK);
    em_gguf_put_u32(m->writer, key(m, "attention.key_length_mla"), 2 * TINY_ROT);
    em_gguf_put_u32(m->writer, key(m, "attention.value_length_mla"), TINY_VALUE);
    em_gguf_put_u32(m->writer, key(m, "rope.dimension_count"), TINY_ROT);
  } else if (is_of(m, "qwen35")) {
    em_gguf_put_u32(m->writer, key(m, "ssm.conv_kernel"), TINY_CONV);
    em_gguf_put_u32(m->writer, key(m, "ssm.state_size"), dim);
    em_gguf_put_u32(m->writer, key(m, "ssm.group_count"), t->n_heads / 2);
    em_gguf_put_u32(m->writer, key(m, "ssm.time_step_rank"), t->n_heads);
    em_gguf_put_u32(m->writer, key(m, "ssm.inner_size"), t->n_embd);
    em_gguf_put_u32(m->writer, key(m, "full_attention_interval"), 2);
    em_gguf_put_u32(m->writer, key(m, "rope.dimension_count"), dim / 2);
  } else if (is_of(m, "gemma3")) {
    em_gguf_put_u32(m->writer, key(m, "attention.sliding_window"), TINY_WINDOW);
    em_gguf_put_u32(m->writer, key(m, "attention.sliding_window_pattern"), 2);
  }
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
  em_gguf_put_u32(m.writer, key(&m, "attention.head_count_kv"), is_of(&m, "deepseek2") ? 1 : t->n_kv_heads);
  em_gguf_put_f32(m.writer, key(&m, "attention.layer_norm_rms_epsilon"), 1e-5f);
  em_gguf_put_f32(m.writer, key(&m, "rope.freq_base"), 10000);
  put_own_keys(&m);
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
