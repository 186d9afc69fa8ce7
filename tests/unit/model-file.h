/* Model files of a few kilobytes in which any key or tensor can be left out, changed or added. */
#pragma once

#include "check.h"

#include "gguf/writer.h"
#include "model/model.h"

typedef enum edit_kind {
  EDIT_NONE,
  EDIT_DROP, /* the key or tensor of this name */
  EDIT_U32,  /* sets or adds a key */
  EDIT_F32,
  EDIT_TEXT,
  EDIT_BOOL,
  EDIT_I32S,   /* array of n */
  EDIT_TOKENS, /* a vocabulary of n tokens */
  EDIT_TENSOR, /* sets or adds a tensor of F32 zeros with these dims (0: unused) */
  EDIT_TYPE    /* gives a tensor the type `number` */
} edit_kind;

typedef struct edit {
  edit_kind kind;
  const char *name;
  uint32_t number;
  float real;
  const char *text;
  int32_t items[4];
  size_t n;
  uint64_t dims[4];
} edit;

#define MAX_EDITS 8

typedef struct model_file {
  em_gguf_writer *writer;
  const char *architecture;
  const edit *edits; /* ends with EDIT_NONE, or MAX_EDITS of them */
} model_file;

static const edit *find_edit(const model_file *file, const char *name) {
  for (int i = 0; i < MAX_EDITS && file->edits && file->edits[i].kind != EDIT_NONE; i++)
    if (strcmp(file->edits[i].name, name) == 0)
      return &file->edits[i];
  return NULL;
}

static void put_edit(const model_file *file, const edit *e) {
  switch (e->kind) {
  case EDIT_U32:
    em_gguf_put_u32(file->writer, e->name, e->number);
    break;
  case EDIT_F32:
    em_gguf_put_f32(file->writer, e->name, e->real);
    break;
  case EDIT_TEXT:
    em_gguf_put_text(file->writer, e->name, e->text);
    break;
  case EDIT_BOOL:
    em_gguf_put_bool(file->writer, e->name, e->number != 0);
    break;
  case EDIT_I32S:
    em_gguf_put_i32s(file->writer, e->name, e->items, e->n);
    break;
  case EDIT_TOKENS: {
    em_text *texts = calloc(e->n, sizeof *texts);
    char(*names)[32] = calloc(e->n, sizeof *names);
    for (size_t i = 0; i < e->n; i++) {
      snprintf(names[i], sizeof names[i], "t%zu", i);
      texts[i] = (em_text){names[i], strlen(names[i])};
    }
    em_gguf_put_texts(file->writer, e->name, texts, e->n);
    free(texts);
    free(names);
    break;
  }
  case EDIT_TENSOR: {
    uint32_t n_dims = 0;
    while (n_dims < 4 && e->dims[n_dims] > 0)
      n_dims++;
    em_gguf_put_tensor(file->writer, e->name, EM_TYPE_F32, n_dims, e->dims, NULL);
    break;
  }
  case EDIT_NONE:
  case EDIT_DROP:
  case EDIT_TYPE:
    break;
  }
}

static void put_u32(const model_file *file, const char *key, uint32_t value) {
  char name[96];
  snprintf(name, sizeof name, "%s.%s", file->architecture, key);
  if (!find_edit(file, name))
    em_gguf_put_u32(file->writer, name, value);
}

static void put_f32(const model_file *file, const char *key, float value) {
  char name[96];
  snprintf(name, sizeof name, "%s.%s", file->architecture, key);
  if (!find_edit(file, name))
    em_gguf_put_f32(file->writer, name, value);
}

/* n_rows 0: a vector. n_matrices 0: no stack. */
static void put_tensor(const model_file *file, const char *name, uint64_t n_in, uint64_t n_rows, uint64_t n_matrices) {
  const edit *e = find_edit(file, name);
  if (e && e->kind != EDIT_TYPE)
    return;
  uint64_t dims[3] = {n_in, n_rows, n_matrices};
  em_gguf_put_tensor(file->writer, name, e ? e->number : EM_TYPE_F32,
                     n_rows == 0       ? 1
                     : n_matrices == 0 ? 2
                                       : 3,
                     dims, NULL);
}

/* Families by what they have; lists of words between spaces. */
#define HYBRIDS " qwen3next qwen35 qwen35moe "
#define LEADING " glm4moe deepseek2 " /* whose first layer is dense and whose second has experts */
#define ALL_EXPERTS " mixtral qwen2moe qwen3moe qwen3next qwen35moe gpt-oss minimax-m2 granitemoe "
#define WINDOWS " gpt-oss gemma2 gemma3 gemma4 cohere2 "
#define GATED_SHARED " qwen2moe qwen3next qwen35moe "
#define FUSED_FFN " glm4 chatglm phi3 "
#define POST_NORMS " gemma2 gemma3 gemma4 glm4 olmo2 "

/* Every family that can be opened, and llama with experts. */
static const char *const model_architectures[] = {
    "llama",   "mixtral",    "mistral3",  "smollm3", "qwen2",      "qwen2moe", "qwen3",     "qwen3moe", "qwen3next",
    "qwen35",  "qwen35moe",  "gemma2",    "gemma3",  "gemma4",     "glm4",     "glm4moe",   "chatglm",  "phi3",
    "gpt-oss", "minimax-m2", "deepseek2", "granite", "granitemoe", "olmo2",    "command-r", "cohere2",
};

static inline bool is_listed(const char *list, const char *architecture) {
  char word[32];
  snprintf(word, sizeof word, " %s ", architecture);
  return strstr(list, word) != NULL;
}

typedef struct layer_tensor {
  const char *name, *only, *except; /* lists; NULL: all, and none */
  uint64_t dims[3];                 /* 0: unused */
  int layer;                        /* 0: both, 1: the first, 2: the second; of hybrids and leading ones only */
} layer_tensor;

/* In the order of the files. */
static const layer_tensor layer_tensors[] = {
    {"attn_norm.weight", NULL, " olmo2 ", {64}},
    {"attn_q.weight", NULL, HYBRIDS " chatglm phi3 deepseek2 ", {64, 64}},
    {"attn_k.weight", NULL, HYBRIDS " chatglm phi3 deepseek2 ", {64, 32}},
    {"attn_v.weight", NULL, HYBRIDS " chatglm phi3 deepseek2 ", {64, 32}},
    {"attn_q.weight", HYBRIDS, NULL, {64, 128}, 2},
    {"attn_k.weight", HYBRIDS, NULL, {64, 32}, 2},
    {"attn_v.weight", HYBRIDS, NULL, {64, 32}, 2},
    {"attn_qkv.weight", " chatglm phi3 ", NULL, {64, 128}},
    {"attn_qkv.bias", " chatglm ", NULL, {128}},
    {"attn_q.bias", " qwen2 qwen2moe glm4 glm4moe gpt-oss ", NULL, {64}},
    {"attn_k.bias", " qwen2 qwen2moe glm4 glm4moe gpt-oss ", NULL, {32}},
    {"attn_v.bias", " qwen2 qwen2moe glm4 glm4moe gpt-oss ", NULL, {32}},
    {"attn_q_norm.weight", " qwen3 qwen3moe gemma3 gemma4 glm4moe ", NULL, {16}},
    {"attn_k_norm.weight", " qwen3 qwen3moe gemma3 gemma4 glm4moe ", NULL, {16}},
    {"attn_q_norm.weight", HYBRIDS, NULL, {16}, 2},
    {"attn_k_norm.weight", HYBRIDS, NULL, {16}, 2},
    {"attn_q_norm.weight", " minimax-m2 olmo2 ", NULL, {64}},
    {"attn_k_norm.weight", " minimax-m2 olmo2 ", NULL, {32}},
    {"attn_sinks.weight", " gpt-oss ", NULL, {4}},
    {"attn_output.weight", NULL, HYBRIDS, {64, 64}},
    {"attn_output.weight", HYBRIDS, NULL, {64, 64}, 2},
    {"attn_output.bias", " gpt-oss ", NULL, {64}},
    {"attn_q_a.weight", " deepseek2 ", NULL, {64, 32}},
    {"attn_q_a_norm.weight", " deepseek2 ", NULL, {32}},
    {"attn_q_b.weight", " deepseek2 ", NULL, {32, 64}},
    {"attn_kv_a_mqa.weight", " deepseek2 ", NULL, {64, 40}},
    {"attn_kv_a_norm.weight", " deepseek2 ", NULL, {32}},
    {"attn_k_b.weight", " deepseek2 ", NULL, {8, 32, 4}},
    {"attn_v_b.weight", " deepseek2 ", NULL, {32, 16, 4}},
    {"attn_qkv.weight", HYBRIDS, NULL, {64, 128}, 1},
    {"attn_gate.weight", HYBRIDS, NULL, {64, 64}, 1},
    {"ssm_ba.weight", " qwen3next ", NULL, {64, 8}, 1},
    {"ssm_beta.weight", " qwen35 qwen35moe ", NULL, {64, 4}, 1},
    {"ssm_alpha.weight", " qwen35 qwen35moe ", NULL, {64, 4}, 1},
    {"ssm_conv1d.weight", HYBRIDS, NULL, {4, 128}, 1},
    {"ssm_a", HYBRIDS, NULL, {4}, 1},
    {"ssm_dt.bias", HYBRIDS, NULL, {4}, 1},
    {"ssm_norm.weight", HYBRIDS, NULL, {16}, 1},
    {"ssm_out.weight", HYBRIDS, NULL, {64, 64}, 1},
    {"post_attention_norm.weight", POST_NORMS HYBRIDS " glm4moe gpt-oss ", NULL, {64}},
    {"ffn_norm.weight", NULL, HYBRIDS " olmo2 command-r cohere2 glm4moe gpt-oss ", {64}},
    {"ffn_gate.weight", NULL, ALL_EXPERTS FUSED_FFN LEADING, {64, 96}},
    {"ffn_up.weight", NULL, ALL_EXPERTS FUSED_FFN LEADING, {64, 96}},
    {"ffn_gate.weight", LEADING, NULL, {64, 96}, 1},
    {"ffn_up.weight", LEADING, NULL, {64, 96}, 1},
    {"ffn_up.weight", FUSED_FFN, NULL, {64, 192}},
    {"ffn_down.weight", NULL, ALL_EXPERTS LEADING, {96, 64}},
    {"ffn_down.weight", LEADING, NULL, {96, 64}, 1},
    {"post_ffw_norm.weight", POST_NORMS, NULL, {64}},
    {"ffn_gate_inp.weight", ALL_EXPERTS, NULL, {64, 4}},
    {"ffn_gate_exps.weight", ALL_EXPERTS, NULL, {64, 32, 4}},
    {"ffn_up_exps.weight", ALL_EXPERTS, NULL, {64, 32, 4}},
    {"ffn_down_exps.weight", ALL_EXPERTS, NULL, {32, 64, 4}},
    {"ffn_gate_inp.weight", LEADING, NULL, {64, 4}, 2},
    {"ffn_gate_exps.weight", LEADING, NULL, {64, 32, 4}, 2},
    {"ffn_up_exps.weight", LEADING, NULL, {64, 32, 4}, 2},
    {"ffn_down_exps.weight", LEADING, NULL, {32, 64, 4}, 2},
    {"exp_probs_b.bias", LEADING, NULL, {4}, 2},
    {"exp_probs_b.bias", " minimax-m2 ", NULL, {4}},
    {"ffn_gate_inp.bias", " gpt-oss ", NULL, {4}},
    {"ffn_gate_exps.bias", " gpt-oss ", NULL, {32, 4}},
    {"ffn_up_exps.bias", " gpt-oss ", NULL, {32, 4}},
    {"ffn_down_exps.bias", " gpt-oss ", NULL, {64, 4}},
    {"ffn_gate_inp_shexp.weight", GATED_SHARED, NULL, {64}},
    {"ffn_gate_shexp.weight", GATED_SHARED, NULL, {64, 32}},
    {"ffn_up_shexp.weight", GATED_SHARED, NULL, {64, 32}},
    {"ffn_down_shexp.weight", GATED_SHARED, NULL, {32, 64}},
    {"ffn_gate_shexp.weight", LEADING, NULL, {64, 32}, 2},
    {"ffn_up_shexp.weight", LEADING, NULL, {64, 32}, 2},
    {"ffn_down_shexp.weight", LEADING, NULL, {32, 64}, 2},
    {"inp_gate.weight", " gemma4 ", NULL, {64, 16}},
    {"proj.weight", " gemma4 ", NULL, {16, 64}},
    {"post_norm.weight", " gemma4 ", NULL, {64}},
    {"layer_output_scale.weight", " gemma4 ", NULL, {1}},
};

static void put_own_keys(const model_file *file, const char *family) {
  if (is_listed(WINDOWS, family))
    put_u32(file, "attention.sliding_window", 8);
  if (is_listed(" command-r cohere2 ", family)) {
    put_f32(file, "attention.layer_norm_epsilon", 1e-5f);
    put_f32(file, "logit_scale", 0.25f);
  }
  if (is_listed(ALL_EXPERTS LEADING, family)) {
    put_u32(file, "expert_count", 4);
    put_u32(file, "expert_used_count", 2);
    put_u32(file, "expert_feed_forward_length", 32);
  }
  if (is_listed(GATED_SHARED, family))
    put_u32(file, "expert_shared_feed_forward_length", 32);
  if (is_listed(LEADING, family)) {
    put_u32(file, "expert_shared_count", 1);
    put_u32(file, "leading_dense_block_count", 1);
  }
  if (is_listed(HYBRIDS, family)) {
    put_u32(file, "ssm.conv_kernel", 4);
    put_u32(file, "ssm.state_size", 16);
    put_u32(file, "ssm.group_count", 2);
    put_u32(file, "ssm.time_step_rank", 4);
    put_u32(file, "ssm.inner_size", 64);
    put_u32(file, "full_attention_interval", 2);
  }
  if (is_listed(" deepseek2 ", family)) {
    put_u32(file, "attention.q_lora_rank", 32);
    put_u32(file, "attention.kv_lora_rank", 32);
    put_u32(file, "attention.key_length", 40);
    put_u32(file, "attention.value_length", 32);
    put_u32(file, "attention.key_length_mla", 16);
    put_u32(file, "attention.value_length_mla", 16);
    put_u32(file, "rope.dimension_count", 8);
  }
  if (is_listed(" gemma4 ", family)) {
    put_u32(file, "embedding_length_per_layer_input", 16);
    put_u32(file, "attention.shared_kv_layers", 1);
  }
}

/* Two layers, rows of 64, 4 heads of 16 with 2 KV heads, 96 hidden, 32 tokens; 4 experts of 32, of which 2 are used.
 * The bytes are the caller's. */
static char *make_model_file(const char *family, const edit *edits, size_t *bytes) {
  const char *architecture = strcmp(family, "mixtral") == 0 ? "llama" : family;
  model_file file = {em_gguf_writer_new(3), architecture, edits};
  if (!find_edit(&file, "general.architecture"))
    em_gguf_put_text(file.writer, "general.architecture", architecture);
  put_u32(&file, "context_length", 512);
  put_u32(&file, "embedding_length", 64);
  put_u32(&file, "block_count", 2);
  put_u32(&file, "feed_forward_length", 96);
  put_u32(&file, "attention.head_count", 4);
  put_u32(&file, "attention.head_count_kv", is_listed(" deepseek2 ", family) ? 1 : 2);
  put_u32(&file, "vocab_size", 32);
  put_f32(&file, "attention.layer_norm_rms_epsilon", 1e-5f);
  put_own_keys(&file, family);
  put_tensor(&file, "token_embd.weight", 64, 32, 0);
  put_tensor(&file, "output_norm.weight", 64, 0, 0);
  put_tensor(&file, "output.weight", 64, 32, 0);
  if (is_listed(" gemma4 ", family)) {
    put_tensor(&file, "rope_freqs.weight", 8, 0, 0);
    put_tensor(&file, "per_layer_token_embd.weight", 32, 32, 0);
    put_tensor(&file, "per_layer_model_proj.weight", 64, 32, 0);
    put_tensor(&file, "per_layer_proj_norm.weight", 16, 0, 0);
  }
  for (int i = 0; i < 2; i++) {
    for (size_t t = 0; t < sizeof layer_tensors / sizeof layer_tensors[0]; t++) {
      const layer_tensor *tensor = &layer_tensors[t];
      char name[64];
      if ((tensor->layer != 0 && tensor->layer != i + 1) || (tensor->only && !is_listed(tensor->only, family)) ||
          (tensor->except && is_listed(tensor->except, family)))
        continue;
      snprintf(name, sizeof name, "blk.%d.%s", i, tensor->name);
      put_tensor(&file, name, tensor->dims[0], tensor->dims[1], tensor->dims[2]);
    }
  }
  for (int i = 0; i < MAX_EDITS && edits && edits[i].kind != EDIT_NONE; i++)
    put_edit(&file, &edits[i]);
  char *data = NULL;
  em_error error = {0};
  if (em_gguf_writer_finish(file.writer, NULL, &data, bytes, &error) != EM_OK) {
    fprintf(stderr, "%s\n", error.text);
    exit(1);
  }
  em_gguf_writer_free(file.writer);
  return data;
}

typedef struct opened {
  char *data;
  em_gguf *gguf;
  em_model *model; /* NULL: refused */
  em_error error;
} opened;

static opened open_model(const char *architecture, const edit *edits) {
  opened o = {0};
  size_t bytes;
  o.data = make_model_file(architecture, edits, &bytes);
  if (em_gguf_open_memory(o.data, bytes, bytes, &o.gguf, &o.error) != EM_OK) {
    fprintf(stderr, "%s\n", o.error.text);
    exit(1);
  }
  em_status status = em_model_open(o.gguf, &o.model, &o.error);
  CHECK((status == EM_OK) == (o.model != NULL));
  CHECK_INT(o.error.code, status);
  return o;
}

static void close_model(opened *o) {
  em_model_close(o->model);
  em_gguf_close(o->gguf);
  free(o->data);
  *o = (opened){0};
}
