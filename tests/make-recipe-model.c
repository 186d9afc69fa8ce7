/* SPDX-License-Identifier: GPL-3.0-or-later */
/* make-recipe-model RECIPE.schema OUT [FTYPE] [FILES]: the header of a real model, with each tensor in the type that a
 * recipe of the shared folder gives it and with holes in place of its data, so that hundreds of gigabytes take no disk.
 * With FILES, OUT is the beginning of the names of so many files.
 *
 * Prints what the model must cost, as JSON, computed here from its shapes alone. Exit code 77: the recipe is of a model
 * that is not described here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "gguf/writer.h"

typedef enum model_family {
  LLAMA,
  QWEN3,
  GEMMA3,
  GLM4MOE,
  GPT_OSS,
  DEEPSEEK2,
  QWEN3NEXT,
  QWEN35,
  QWEN35MOE
} model_family;

static const char *const architectures[] = {"llama",     "qwen3",     "gemma3", "glm4moe",  "gpt-oss",
                                            "deepseek2", "qwen3next", "qwen35", "qwen35moe"};

/* What the recipes do not say. */
typedef struct shape {
  const char *name; /* as the recipe names the model */
  model_family family;
  uint32_t context, head_dim, n_rot, n_ff, n_vocab; /* n_ff and n_vocab: 0 where the recipe says them */
  float rope_base;
  uint32_t n_experts_used, n_ff_expert, n_ff_shared, n_dense; /* n_dense: leading layers without experts */
  uint32_t n_key_heads, n_value_heads;                        /* of gated delta nets, each with 128 values a head */
} shape;

static const shape shapes[] = {
    {"Qwen3-0.6B", QWEN3, 40960, 128, 128, .rope_base = 1e6f},
    {"Qwen3-14B", QWEN3, 40960, 128, 128, .rope_base = 1e6f},
    {"Meta-Llama-3.1-70B-Instruct", LLAMA, 131072, 128, 128, .rope_base = 5e5f},
    {"gemma-3-4b-it", GEMMA3, 131072, 256, 256, .rope_base = 1e6f},
    {"GLM-4.6V", GLM4MOE, 131072, 128, 64, .rope_base = 1e6f, .n_experts_used = 8, .n_ff_expert = 1408,
     .n_ff_shared = 1408, .n_dense = 1},
    {"gpt-oss-120b", GPT_OSS, 131072, 64, 64, .n_vocab = 201088, .rope_base = 150000, .n_experts_used = 4,
     .n_ff_expert = 2880},
    {"DeepSeek-V3.1", DEEPSEEK2, 163840, 576, 64, .rope_base = 1e4f, .n_experts_used = 8, .n_ff_expert = 2048,
     .n_ff_shared = 2048, .n_dense = 3},
    {"Qwen3-Coder-Next", QWEN3NEXT, 262144, 256, 64, .rope_base = 5e6f, .n_experts_used = 10, .n_ff_expert = 512,
     .n_ff_shared = 512, .n_key_heads = 16, .n_value_heads = 32},
    {"Qwen3.5-27B", QWEN35, 262144, 256, 64, .rope_base = 1e7f, .n_key_heads = 16, .n_value_heads = 48},
    {"Qwen3.5-397B-A17B", QWEN35MOE, 262144, 256, 64, .rope_base = 1e7f, .n_experts_used = 10, .n_ff_expert = 1024,
     .n_ff_shared = 1024, .n_key_heads = 16, .n_value_heads = 64},
};

#define DELTA_DIM 128u
#define CONVOLUTION 4u

typedef struct maker {
  em_gguf_writer *writer;
  const char *recipe; /* the lines of the file kind that is made */
  em_type type;       /* of what they do not name */
  shape shape;
  uint32_t n_embd, n_ff, n_vocab, n_layers, n_heads, n_kv_heads, n_experts;
  bool tied;
  uint64_t weights_bytes, bytes_per_token, kv_values;
} maker;

static void die(const char *what, const char *more) {
  fprintf(stderr, "make-recipe-model: %s %s\n", what, more);
  exit(1);
}

/* --- The recipe --------------------------------------------------------------------------------------------------- */

static em_type find_type(const char *word, size_t bytes) {
  for (uint32_t i = 0; i < EM_N_TYPES; i++) {
    const em_type_info *info = em_type_get(i);
    if (info && info->name && strlen(info->name) == bytes && strncasecmp(info->name, word, bytes) == 0)
      return (em_type)i;
  }
  die("there is no type", word);
  return EM_TYPE_F32;
}

static em_type line_type(const char *line) {
  const char *word = strchr(line, ' ');
  if (!word)
    die("a line names no type:", line);
  return find_type(word + 1, strcspn(word + 1, "\n"));
}

/* Finds the lines of a file kind. */
static void find_kind(maker *m, const char *text, const char *kind) {
  char head[64];
  snprintf(head, sizeof head, "\n[%s] ", kind);
  const char *line = strstr(text, head);
  if (!line)
    die("the recipe has no file kind", kind);
  m->type = line_type(line + 1);
  m->recipe = strchr(line + 1, '\n');
}

/* The type the recipe gives a tensor by name, in *out. */
static bool find_named(const maker *m, const char *name, em_type *out) {
  size_t bytes = strlen(name);
  for (const char *line = m->recipe; line && line[0] == '\n' && line[1] != '[' && line[1];
       line = strchr(line + 1, '\n')) {
    if (strncmp(line + 1, name, bytes) == 0 && line[1 + bytes] == ' ') {
      *out = line_type(line + 1);
      return true;
    }
  }
  return false;
}

static uint32_t number_of(const char *text, const char *key) {
  const char *at = strstr(text, key);
  return at ? (uint32_t)strtoul(at + strlen(key), NULL, 10) : 0;
}

/* --- Tensors ------------------------------------------------------------------------------------------------------ */

/* n_in values in each of n_rows rows, for each of n_experts (0: none, a tensor of two dimensions). */
static void put(maker *m, const char *name, em_type type, uint64_t n_in, uint64_t n_rows, uint64_t n_experts) {
  const uint64_t dims[3] = {n_in, n_rows, n_experts};
  uint64_t bytes;
  if (!em_type_row_bytes(type, n_in, &bytes))
    die("the type of this tensor does not fit its rows:", name);
  bytes *= n_rows;
  em_gguf_put_tensor(m->writer, name, type, n_experts ? 3 : n_rows == 1 ? 1 : 2, dims, NULL);
  m->weights_bytes += bytes * (n_experts ? n_experts : 1);
  if (strcmp(name, "token_embd.weight") == 0)
    m->bytes_per_token += bytes / n_rows + (m->tied ? bytes : 0);
  else
    m->bytes_per_token += bytes * (n_experts ? m->shape.n_experts_used : 1);
}

static void matrix(maker *m, const char *name, uint64_t n_in, uint64_t n_rows) {
  em_type type = m->type;
  (void)find_named(m, name, &type);
  put(m, name, type, n_in, n_rows, 0);
}

static const char *in_layer(uint32_t layer, const char *name) {
  static char texts[4][96];
  static unsigned n;
  char *text = texts[n++ % 4];
  snprintf(text, sizeof texts[0], "blk.%u.%s", layer, name);
  return text;
}

static void layer_matrix(maker *m, uint32_t layer, const char *name, uint64_t n_in, uint64_t n_rows) {
  matrix(m, in_layer(layer, name), n_in, n_rows);
}

static void vector(maker *m, uint32_t layer, const char *name, uint64_t n) {
  put(m, in_layer(layer, name), EM_TYPE_F32, n, 1, 0);
}

static void f32_matrix(maker *m, uint32_t layer, const char *name, uint64_t n_in, uint64_t n_rows) {
  put(m, in_layer(layer, name), EM_TYPE_F32, n_in, n_rows, 0);
}

static void experts(maker *m, uint32_t layer, const char *name, uint64_t n_in, uint64_t n_rows) {
  em_type type = m->type;
  (void)find_named(m, in_layer(layer, name), &type);
  put(m, in_layer(layer, name), type, n_in, n_rows, m->n_experts);
}

/* The shared layers' attention: query, key and value, and the output. */
static void put_attention(maker *m, uint32_t layer, bool gated) {
  const uint64_t dim = m->shape.head_dim, q = m->n_heads * dim, kv = m->n_kv_heads * dim;
  layer_matrix(m, layer, "attn_q.weight", m->n_embd, gated ? 2 * q : q);
  layer_matrix(m, layer, "attn_k.weight", m->n_embd, kv);
  layer_matrix(m, layer, "attn_v.weight", m->n_embd, kv);
  layer_matrix(m, layer, "attn_output.weight", q, m->n_embd);
  m->kv_values += 2 * kv;
}

static void put_head_norms(maker *m, uint32_t layer) {
  vector(m, layer, "attn_q_norm.weight", m->shape.head_dim);
  vector(m, layer, "attn_k_norm.weight", m->shape.head_dim);
}

static void put_qkv_biases(maker *m, uint32_t layer) {
  vector(m, layer, "attn_q.bias", m->n_heads * m->shape.head_dim);
  vector(m, layer, "attn_k.bias", m->n_kv_heads * m->shape.head_dim);
  vector(m, layer, "attn_v.bias", m->n_kv_heads * m->shape.head_dim);
}

static void put_dense_ffn(maker *m, uint32_t layer) {
  layer_matrix(m, layer, "ffn_gate.weight", m->n_embd, m->n_ff);
  layer_matrix(m, layer, "ffn_up.weight", m->n_embd, m->n_ff);
  layer_matrix(m, layer, "ffn_down.weight", m->n_ff, m->n_embd);
}

static void put_experts(maker *m, uint32_t layer) {
  const uint32_t n = m->shape.n_ff_expert, shared = m->shape.n_ff_shared;
  f32_matrix(m, layer, "ffn_gate_inp.weight", m->n_embd, m->n_experts);
  experts(m, layer, "ffn_gate_exps.weight", m->n_embd, n);
  experts(m, layer, "ffn_up_exps.weight", m->n_embd, n);
  experts(m, layer, "ffn_down_exps.weight", n, m->n_embd);
  if (!shared)
    return;
  layer_matrix(m, layer, "ffn_gate_shexp.weight", m->n_embd, shared);
  layer_matrix(m, layer, "ffn_up_shexp.weight", m->n_embd, shared);
  layer_matrix(m, layer, "ffn_down_shexp.weight", shared, m->n_embd);
}

static void put_delta_net(maker *m, uint32_t layer) {
  const uint64_t kd = (uint64_t)m->shape.n_key_heads * DELTA_DIM, nv = m->shape.n_value_heads, vd = nv * DELTA_DIM;
  layer_matrix(m, layer, "attn_qkv.weight", m->n_embd, 2 * kd + vd);
  layer_matrix(m, layer, "attn_gate.weight", m->n_embd, vd);
  f32_matrix(m, layer, "ssm_conv1d.weight", CONVOLUTION, 2 * kd + vd);
  vector(m, layer, "ssm_dt.bias", nv);
  vector(m, layer, "ssm_a", nv);
  if (m->shape.family == QWEN3NEXT) {
    layer_matrix(m, layer, "ssm_ba.weight", m->n_embd, 2 * nv);
  } else {
    layer_matrix(m, layer, "ssm_beta.weight", m->n_embd, nv);
    layer_matrix(m, layer, "ssm_alpha.weight", m->n_embd, nv);
  }
  vector(m, layer, "ssm_norm.weight", DELTA_DIM);
  layer_matrix(m, layer, "ssm_out.weight", vd, m->n_embd);
}

static void put_qwen35_layer(maker *m, uint32_t layer) {
  vector(m, layer, "attn_norm.weight", m->n_embd);
  if ((layer + 1) % 4 == 0) {
    put_attention(m, layer, true);
    put_head_norms(m, layer);
  } else {
    put_delta_net(m, layer);
  }
  vector(m, layer, "post_attention_norm.weight", m->n_embd);
  if (m->n_experts) {
    put_experts(m, layer);
    vector(m, layer, "ffn_gate_inp_shexp.weight", m->n_embd);
  } else {
    put_dense_ffn(m, layer);
  }
}

#define MLA_Q_RANK 1536u
#define MLA_KV_RANK 512u
#define MLA_NOPE 128u
#define MLA_VALUE 128u

static void put_latent_attention(maker *m, uint32_t layer) {
  const uint64_t n_rot = m->shape.n_rot, n_heads = m->n_heads;
  em_type type = m->type;
  layer_matrix(m, layer, "attn_q_a.weight", m->n_embd, MLA_Q_RANK);
  vector(m, layer, "attn_q_a_norm.weight", MLA_Q_RANK);
  layer_matrix(m, layer, "attn_q_b.weight", MLA_Q_RANK, n_heads * (MLA_NOPE + n_rot));
  layer_matrix(m, layer, "attn_kv_a_mqa.weight", m->n_embd, MLA_KV_RANK + n_rot);
  vector(m, layer, "attn_kv_a_norm.weight", MLA_KV_RANK);
  /* A matrix for each head, of which every one is read. */
  const uint32_t used = m->shape.n_experts_used;
  m->shape.n_experts_used = m->n_heads;
  (void)find_named(m, in_layer(layer, "attn_k_b.weight"), &type);
  put(m, in_layer(layer, "attn_k_b.weight"), type, MLA_NOPE, MLA_KV_RANK, n_heads);
  type = m->type;
  (void)find_named(m, in_layer(layer, "attn_v_b.weight"), &type);
  put(m, in_layer(layer, "attn_v_b.weight"), type, MLA_KV_RANK, MLA_VALUE, n_heads);
  m->shape.n_experts_used = used;
  layer_matrix(m, layer, "attn_output.weight", n_heads * MLA_VALUE, m->n_embd);
  m->kv_values += MLA_KV_RANK + n_rot;
}

static void put_layer(maker *m, uint32_t layer) {
  const uint64_t embd = m->n_embd;
  const model_family family = m->shape.family;
  if (family == QWEN3NEXT || family == QWEN35 || family == QWEN35MOE) {
    put_qwen35_layer(m, layer);
    return;
  }
  vector(m, layer, "attn_norm.weight", embd);
  if (family == DEEPSEEK2)
    put_latent_attention(m, layer);
  else
    put_attention(m, layer, false);
  if (family == QWEN3 || family == GEMMA3)
    put_head_norms(m, layer);
  if (family == GLM4MOE || family == GPT_OSS)
    put_qkv_biases(m, layer);
  if (family == GEMMA3 || family == GLM4MOE || family == GPT_OSS)
    vector(m, layer, "post_attention_norm.weight", embd);
  if (family != GLM4MOE && family != GPT_OSS)
    vector(m, layer, "ffn_norm.weight", embd);
  if (family == GEMMA3)
    vector(m, layer, "post_ffw_norm.weight", embd);
  if (family == GPT_OSS) {
    vector(m, layer, "attn_output.bias", embd);
    vector(m, layer, "attn_sinks.weight", m->n_heads);
    vector(m, layer, "ffn_gate_inp.bias", m->n_experts);
    put(m, in_layer(layer, "ffn_gate_exps.bias"), EM_TYPE_F32, m->shape.n_ff_expert, m->n_experts, 0);
    put(m, in_layer(layer, "ffn_up_exps.bias"), EM_TYPE_F32, m->shape.n_ff_expert, m->n_experts, 0);
    put(m, in_layer(layer, "ffn_down_exps.bias"), EM_TYPE_F32, embd, m->n_experts, 0);
    /* Of these the rows of the experts that are used are read. */
    m->bytes_per_token -= (uint64_t)(m->n_experts - m->shape.n_experts_used) * 4 * (2 * m->shape.n_ff_expert + embd);
  }
  if (m->n_experts == 0 || layer < m->shape.n_dense) {
    put_dense_ffn(m, layer);
    return;
  }
  put_experts(m, layer);
  if (family == GLM4MOE || family == DEEPSEEK2)
    vector(m, layer, "exp_probs_b.bias", m->n_experts);
}

/* --- Metadata ----------------------------------------------------------------------------------------------------- */

static const char *key(const maker *m, const char *name) {
  static char text[96];
  snprintf(text, sizeof text, "%s.%s", architectures[m->shape.family], name);
  return text;
}

static void number(maker *m, const char *name, uint32_t value) {
  em_gguf_put_u32(m->writer, key(m, name), value);
}

static void real(maker *m, const char *name, float value) {
  em_gguf_put_f32(m->writer, key(m, name), value);
}

/* A vocabulary of the real size, whose pieces mean nothing. */
static void put_tokenizer(maker *m) {
  em_text *tokens = calloc(m->n_vocab, sizeof *tokens), *merges = calloc(m->n_vocab, sizeof *merges);
  int32_t *types = calloc(m->n_vocab, sizeof *types);
  char(*texts)[2][40] = calloc(m->n_vocab, sizeof *texts);
  if (!tokens || !merges || !types || !texts)
    die("memory is out", "");
  for (uint32_t i = 0; i < m->n_vocab; i++) {
    snprintf(texts[i][0], sizeof texts[i][0], "token%u", i);
    snprintf(texts[i][1], sizeof texts[i][1], "token%u token%u", i, (i * 7) % m->n_vocab);
    tokens[i] = (em_text){texts[i][0], strlen(texts[i][0])};
    merges[i] = (em_text){texts[i][1], strlen(texts[i][1])};
    types[i] = 1;
  }
  em_gguf_put_text(m->writer, "tokenizer.ggml.model", "gpt2");
  em_gguf_put_text(m->writer, "tokenizer.ggml.pre", "qwen2");
  em_gguf_put_texts(m->writer, "tokenizer.ggml.tokens", tokens, m->n_vocab);
  em_gguf_put_i32s(m->writer, "tokenizer.ggml.token_type", types, m->n_vocab);
  em_gguf_put_texts(m->writer, "tokenizer.ggml.merges", merges, m->n_vocab);
  free(tokens);
  free(merges);
  free(types);
  free(texts);
}

static void put_yarn(maker *m, float factor, uint32_t original) {
  em_gguf_put_text(m->writer, key(m, "rope.scaling.type"), "yarn");
  real(m, "rope.scaling.factor", factor);
  number(m, "rope.scaling.original_context_length", original);
}

static void put_expert_keys(maker *m) {
  number(m, "expert_count", m->n_experts);
  number(m, "expert_used_count", m->shape.n_experts_used);
  number(m, "expert_feed_forward_length", m->shape.n_ff_expert);
  if (m->shape.family == GLM4MOE || m->shape.family == DEEPSEEK2) {
    number(m, "expert_shared_count", 1);
    number(m, "leading_dense_block_count", m->shape.n_dense);
    number(m, "expert_gating_func", 2);
    real(m, "expert_weights_scale", m->shape.family == DEEPSEEK2 ? 2.5f : 1.0f);
    em_gguf_put_bool(m->writer, key(m, "expert_weights_norm"), true);
  } else if (m->shape.n_ff_shared) {
    number(m, "expert_shared_feed_forward_length", m->shape.n_ff_shared);
  }
}

static void put_family_keys(maker *m) {
  static const int32_t sections[] = {11, 11, 10, 0};
  const shape *s = &m->shape;
  switch (s->family) {
  case LLAMA:
  case QWEN3:
  case GLM4MOE:
    break;
  case GEMMA3:
    number(m, "attention.sliding_window", 1024);
    em_gguf_put_text(m->writer, key(m, "rope.scaling.type"), "linear");
    real(m, "rope.scaling.factor", 8);
    break;
  case GPT_OSS:
    number(m, "attention.sliding_window", 128);
    put_yarn(m, 32, 4096);
    break;
  case DEEPSEEK2:
    number(m, "attention.q_lora_rank", MLA_Q_RANK);
    number(m, "attention.kv_lora_rank", MLA_KV_RANK);
    number(m, "attention.key_length_mla", MLA_NOPE + s->n_rot);
    number(m, "attention.value_length_mla", MLA_VALUE);
    number(m, "expert_group_count", 8);
    number(m, "expert_group_used_count", 4);
    put_yarn(m, 40, 4096);
    real(m, "rope.scaling.yarn_log_multiplier", 0.1f);
    break;
  case QWEN35:
  case QWEN35MOE:
    em_gguf_put_i32s(m->writer, key(m, "rope.dimension_sections"), sections, 4);
    /* fall through */
  case QWEN3NEXT:
    number(m, "full_attention_interval", 4);
    number(m, "ssm.conv_kernel", CONVOLUTION);
    number(m, "ssm.state_size", DELTA_DIM);
    number(m, "ssm.group_count", s->n_key_heads);
    number(m, "ssm.time_step_rank", s->n_value_heads);
    number(m, "ssm.inner_size", s->n_value_heads * DELTA_DIM);
    break;
  }
}

static void put_metadata(maker *m) {
  const shape *s = &m->shape;
  em_gguf_put_text(m->writer, "general.architecture", architectures[s->family]);
  em_gguf_put_text(m->writer, "general.name", s->name);
  number(m, "context_length", s->context);
  number(m, "embedding_length", m->n_embd);
  number(m, "block_count", m->n_layers);
  if (m->n_ff)
    number(m, "feed_forward_length", m->n_ff);
  number(m, "attention.head_count", m->n_heads);
  number(m, "attention.head_count_kv", m->n_kv_heads);
  number(m, "attention.key_length", s->head_dim);
  number(m, "attention.value_length", s->family == DEEPSEEK2 ? MLA_KV_RANK : s->head_dim);
  real(m, "attention.layer_norm_rms_epsilon", 1e-6f);
  number(m, "rope.dimension_count", s->n_rot);
  real(m, "rope.freq_base", s->rope_base);
  if (m->n_experts)
    put_expert_keys(m);
  put_family_keys(m);
  put_tokenizer(m);
}

/* --- The whole ---------------------------------------------------------------------------------------------------- */

static bool find_shape(const char *text, shape *out) {
  static const char word[] = "# Model: ";
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    size_t bytes = strlen(shapes[i].name);
    if (strncmp(text, word, strlen(word)) == 0 && strncmp(text + strlen(word), shapes[i].name, bytes) == 0 &&
        text[strlen(word) + bytes] == '\n') {
      *out = shapes[i];
      return true;
    }
  }
  return false;
}

int main(int argc, char **argv) {
  maker m = {0};
  char *text;
  em_error error = {0};
  if (argc < 3) {
    fprintf(stderr, "usage: make-recipe-model RECIPE.schema OUT [FTYPE] [FILES]\n");
    return 2;
  }
  if (em_file_read(argv[1], 16u << 20, &text, NULL, &error) != EM_OK)
    die(error.text, "");
  if (!find_shape(text, &m.shape)) {
    free(text);
    return 77;
  }
  find_kind(&m, text, argc > 3 ? argv[3] : "Q4_K_M");
  m.n_embd = number_of(text, "n_embd=");
  m.n_ff = number_of(text, "n_ff=");
  m.n_vocab = m.shape.n_vocab ? m.shape.n_vocab : number_of(text, "n_vocab=");
  m.n_layers = number_of(text, "n_layer=");
  m.n_heads = number_of(text, "n_head=");
  m.n_kv_heads = number_of(text, "n_head_kv=");
  m.n_experts = number_of(text, "n_expert=");
  m.tied = !strstr(text, "\noutput.weight "); /* of no file kind is there one */
  m.writer = em_gguf_writer_new(3);
  if (!m.writer)
    die("memory is out", "");
  put_metadata(&m);
  matrix(&m, "token_embd.weight", m.n_embd, m.n_vocab);
  put(&m, "output_norm.weight", EM_TYPE_F32, m.n_embd, 1, 0);
  if (!m.tied)
    matrix(&m, "output.weight", m.n_embd, m.n_vocab);
  if (m.shape.family == LLAMA)
    put(&m, "rope_freqs.weight", EM_TYPE_F32, m.shape.n_rot / 2, 1, 0);
  for (uint32_t i = 0; i < m.n_layers; i++)
    put_layer(&m, i);
  em_status status = argc > 4
                         ? em_gguf_writer_save_split(m.writer, argv[2], (uint32_t)strtoul(argv[4], NULL, 10), &error)
                         : em_gguf_writer_save(m.writer, argv[2], &error);
  if (status != EM_OK)
    die(error.text, "");
  printf(
      "{\"name\":\"%s\",\"architecture\":\"%s\",\"layers\":%u,\"weights_bytes\":%llu,\"weights_bytes_per_token\":%llu,"
      "\"kv_bytes_per_token_f16\":%llu}\n",
      m.shape.name, architectures[m.shape.family], m.n_layers, (unsigned long long)m.weights_bytes,
      (unsigned long long)m.bytes_per_token, (unsigned long long)m.kv_values * 2);
  em_gguf_writer_free(m.writer);
  free(text);
  return 0;
}
