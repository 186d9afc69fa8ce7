/* SPDX-License-Identifier: GPL-3.0-or-later */
/* make-large-model OUT.gguf SHAPE: a model of a real one's shapes with random weights, in the formats that Q4_K_M gives
 * each tensor, for measuring speed where there is no real one. The file is written piece by piece: it may be far larger
 * than memory.
 *
 * SHAPE: qwen3-0.6b, llama-1b, llama-8b, or tiny, which is for trying what uses the others. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gguf/gguf.h"
#include "gguf/writer.h"

#define DEVIATION 0.02f /* of the weights */
#define PIECE_BLOCKS 4096u

typedef struct shape {
  const char *name, *architecture;
  uint32_t n_layers, n_embd, n_ff, n_heads, n_kv_heads, head_dim, n_vocab, n_context;
  float rope_base;
  bool tied, head_norms;
} shape;

static const shape shapes[] = {
    {"qwen3-0.6b", "qwen3", 28, 1024, 3072, 16, 8, 128, 151936, 40960, 1e6f, true, true},
    {"llama-1b", "llama", 16, 2048, 8192, 32, 8, 64, 128256, 131072, 5e5f, true, false},
    {"llama-8b", "llama", 32, 4096, 14336, 32, 8, 128, 128256, 131072, 5e5f, false, false},
    {"tiny", "llama", 2, 256, 512, 4, 2, 64, 1024, 4096, 1e4f, false, false},
};

static void die(const char *what) {
  fprintf(stderr, "make-large-model: %s\n", what);
  exit(1);
}

static void *allocate(size_t n, size_t bytes) {
  void *memory = calloc(n, bytes);
  if (!memory)
    die("memory is out");
  return memory;
}

/* --- The header ----------------------------------------------------------------------------------------------------
 */

static const char *key(const shape *s, const char *name) {
  static char text[96];
  snprintf(text, sizeof text, "%s.%s", s->architecture, name);
  return text;
}

/* In the layout of SentencePiece models: unknown, begin, end, 256 bytes, words. */
static void put_tokenizer(em_gguf_writer *writer, const shape *s) {
  em_text *texts = allocate(s->n_vocab, sizeof *texts);
  float *scores = allocate(s->n_vocab, sizeof *scores);
  int32_t *types = allocate(s->n_vocab, sizeof *types);
  char(*pieces)[24] = allocate(s->n_vocab, sizeof *pieces);
  static const char *const first[] = {"<unk>", "<s>", "</s>"};
  for (uint32_t i = 0; i < s->n_vocab; i++) {
    if (i < 3)
      snprintf(pieces[i], sizeof *pieces, "%s", first[i]);
    else if (i < 259)
      snprintf(pieces[i], sizeof *pieces, "<0x%02X>", i - 3);
    else
      snprintf(pieces[i], sizeof *pieces, "\xE2\x96\x81w%u", i);
    types[i] = i == 0 ? 2 : i < 3 ? 3 : i < 259 ? 6 : 1;
    texts[i] = (em_text){pieces[i], strlen(pieces[i])};
    scores[i] = -(float)i;
  }
  em_gguf_put_text(writer, "tokenizer.ggml.model", "llama");
  em_gguf_put_texts(writer, "tokenizer.ggml.tokens", texts, s->n_vocab);
  em_gguf_put_f32s(writer, "tokenizer.ggml.scores", scores, s->n_vocab);
  em_gguf_put_i32s(writer, "tokenizer.ggml.token_type", types, s->n_vocab);
  em_gguf_put_u32(writer, "tokenizer.ggml.bos_token_id", 1);
  em_gguf_put_u32(writer, "tokenizer.ggml.eos_token_id", 2);
  em_gguf_put_u32(writer, "tokenizer.ggml.unknown_token_id", 0);
  free(texts);
  free(scores);
  free(types);
  free(pieces);
}

static void put_norm(em_gguf_writer *writer, const char *name, uint64_t n) {
  float *ones = allocate(n, sizeof *ones);
  for (uint64_t i = 0; i < n; i++)
    ones[i] = 1;
  em_gguf_put_tensor_f32(writer, name, EM_TYPE_F32, 1, &n, ones);
  free(ones);
}

/* A hole, which is filled later. */
static void put_matrix(em_gguf_writer *writer, const char *name, em_type type, uint64_t n_in, uint64_t n_rows) {
  em_gguf_put_tensor(writer, name, (uint32_t)type, 2, (const uint64_t[]){n_in, n_rows}, NULL);
}

/* The layers whose value and down projections Q4_K_M keeps in Q6_K: the first and the last eighth, and every third
 * between. */
static bool has_more_bits(uint32_t layer, uint32_t n_layers) {
  return layer < n_layers / 8 || layer >= 7 * n_layers / 8 || (layer - n_layers / 8) % 3 == 2;
}

static void put_layer(em_gguf_writer *writer, const shape *s, uint32_t layer) {
  const uint64_t q = (uint64_t)s->n_heads * s->head_dim, kv = (uint64_t)s->n_kv_heads * s->head_dim;
  const em_type more = has_more_bits(layer, s->n_layers) ? EM_TYPE_Q6_K : EM_TYPE_Q4_K;
  const struct {
    const char *name;
    em_type type;
    uint64_t n_in, n_rows;
  } matrices[] = {
      {"attn_q", EM_TYPE_Q4_K, s->n_embd, q},
      {"attn_k", EM_TYPE_Q4_K, s->n_embd, kv},
      {"attn_v", more, s->n_embd, kv},
      {"attn_output", EM_TYPE_Q4_K, q, s->n_embd},
      {"ffn_gate", EM_TYPE_Q4_K, s->n_embd, s->n_ff},
      {"ffn_up", EM_TYPE_Q4_K, s->n_embd, s->n_ff},
      {"ffn_down", more, s->n_ff, s->n_embd},
  };
  const struct {
    const char *name;
    uint64_t n;
  } norms[] = {
      {"attn_norm", s->n_embd}, {"ffn_norm", s->n_embd}, {"attn_q_norm", s->head_dim}, {"attn_k_norm", s->head_dim}};
  char name[64];
  for (size_t i = 0; i < (s->head_norms ? 4 : 2); i++) {
    snprintf(name, sizeof name, "blk.%u.%s.weight", layer, norms[i].name);
    put_norm(writer, name, norms[i].n);
  }
  for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
    snprintf(name, sizeof name, "blk.%u.%s.weight", layer, matrices[i].name);
    put_matrix(writer, name, matrices[i].type, matrices[i].n_in, matrices[i].n_rows);
  }
}

static void save_header(const shape *s, const char *path) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  em_error error = {0};
  if (!writer)
    die("memory is out");
  em_gguf_put_text(writer, "general.architecture", s->architecture);
  em_gguf_put_text(writer, "general.name", s->name);
  em_gguf_put_u32(writer, "general.file_type", 15);
  em_gguf_put_u32(writer, key(s, "context_length"), s->n_context);
  em_gguf_put_u32(writer, key(s, "embedding_length"), s->n_embd);
  em_gguf_put_u32(writer, key(s, "block_count"), s->n_layers);
  em_gguf_put_u32(writer, key(s, "feed_forward_length"), s->n_ff);
  em_gguf_put_u32(writer, key(s, "attention.head_count"), s->n_heads);
  em_gguf_put_u32(writer, key(s, "attention.head_count_kv"), s->n_kv_heads);
  em_gguf_put_u32(writer, key(s, "attention.key_length"), s->head_dim);
  em_gguf_put_u32(writer, key(s, "attention.value_length"), s->head_dim);
  em_gguf_put_u32(writer, key(s, "rope.dimension_count"), s->head_dim);
  em_gguf_put_u32(writer, key(s, "vocab_size"), s->n_vocab);
  em_gguf_put_f32(writer, key(s, "attention.layer_norm_rms_epsilon"), 1e-5f);
  em_gguf_put_f32(writer, key(s, "rope.freq_base"), s->rope_base);
  put_tokenizer(writer, s);
  put_matrix(writer, "token_embd.weight", s->tied ? EM_TYPE_Q6_K : EM_TYPE_Q4_K, s->n_embd, s->n_vocab);
  put_norm(writer, "output_norm.weight", s->n_embd);
  if (!s->tied)
    put_matrix(writer, "output.weight", EM_TYPE_Q6_K, s->n_embd, s->n_vocab);
  for (uint32_t i = 0; i < s->n_layers; i++)
    put_layer(writer, s, i);
  if (em_gguf_writer_save(writer, path, &error) != EM_OK)
    die(error.text);
  em_gguf_writer_free(writer);
}

/* --- The weights ---------------------------------------------------------------------------------------------------
 */

static uint64_t random_state = 88172645463325252u;

static void fill_random(uint8_t *out, size_t bytes) {
  for (size_t i = 0; i + 8 <= bytes; i += 8) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    memcpy(out + i, &random_state, 8);
  }
}

/* Random quants under scales that are all the same: the middle of the quants is the weight 0, and the scales are what
 * makes the quants' deviation (16 / sqrt(12), 64 / sqrt(12)) that of the weights. */
static void set_scales(em_type type, uint8_t *block) {
  if (type == EM_TYPE_Q4_K) {
    /* All scales and minima of the groups are 32, six bits each. */
    const float d = DEVIATION / (32 * 4.62f);
    const uint16_t halves[2] = {em_f32_to_f16(d), em_f32_to_f16(7.5f * d)};
    memcpy(block, halves, 4);
    memset(block + 4, 0xa0, 8);
    memset(block + 12, 0, 4);
  } else {
    const uint16_t d = em_f32_to_f16(DEVIATION / (16 * 18.5f));
    memset(block + 192, 16, 16);
    memcpy(block + 208, &d, 2);
  }
}

static void fill_matrix(int fd, const em_gguf_tensor *tensor) {
  const em_type_info *info = em_type_get(tensor->type);
  const size_t piece = (size_t)PIECE_BLOCKS * info->block_bytes;
  static uint8_t blocks[PIECE_BLOCKS * 256];
  for (uint64_t done = 0; done < tensor->bytes; done += piece) {
    size_t n = tensor->bytes - done < piece ? (size_t)(tensor->bytes - done) : piece;
    fill_random(blocks, (n + 7) / 8 * 8);
    for (size_t i = 0; i < n; i += info->block_bytes)
      set_scales((em_type)tensor->type, blocks + i);
    for (size_t i = 0; i < n;) {
      ssize_t wrote = pwrite(fd, blocks + i, n - i, (off_t)(tensor->offset + done + i));
      if (wrote <= 0)
        die("the file cannot be written");
      i += (size_t)wrote;
    }
  }
}

int main(int argc, char **argv) {
  const shape *s = NULL;
  em_gguf *gguf = NULL;
  em_error error = {0};
  for (size_t i = 0; argc == 3 && i < sizeof shapes / sizeof *shapes; i++)
    if (strcmp(argv[2], shapes[i].name) == 0)
      s = &shapes[i];
  if (!s) {
    fprintf(stderr, "usage: make-large-model OUT.gguf qwen3-0.6b|llama-1b|llama-8b|tiny\n");
    return 2;
  }
  save_header(s, argv[1]);
  if (em_gguf_open(argv[1], &gguf, &error) != EM_OK)
    die(error.text);
  int fd = open(argv[1], O_WRONLY | O_CLOEXEC);
  if (fd < 0)
    die("the file cannot be written");
  for (size_t i = 0; i < em_gguf_n_tensors(gguf); i++) {
    const em_gguf_tensor *tensor = em_gguf_tensor_at(gguf, i);
    if (tensor->type != EM_TYPE_F32)
      fill_matrix(fd, tensor);
  }
  em_gguf_close(gguf);
  if (close(fd) != 0)
    die("the file cannot be written");
  return 0;
}
