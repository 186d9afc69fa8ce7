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

/* n_rows 0: a vector. */
static void put_tensor(const model_file *file, const char *name, uint64_t n_in, uint64_t n_rows) {
  const edit *e = find_edit(file, name);
  if (e && e->kind != EDIT_TYPE)
    return;
  uint64_t dims[2] = {n_in, n_rows};
  em_gguf_put_tensor(file->writer, name, e ? e->number : EM_TYPE_F32, n_rows > 0 ? 2 : 1, dims, NULL);
}

/* Two layers, rows of 64, 4 heads of 16 with 2 KV heads, 96 hidden, 32 tokens. The bytes are the caller's. */
static char *make_model_file(const char *architecture, const edit *edits, size_t *bytes) {
  model_file file = {em_gguf_writer_new(3), architecture, edits};
  if (!find_edit(&file, "general.architecture"))
    em_gguf_put_text(file.writer, "general.architecture", architecture);
  put_u32(&file, "context_length", 512);
  put_u32(&file, "embedding_length", 64);
  put_u32(&file, "block_count", 2);
  put_u32(&file, "feed_forward_length", 96);
  put_u32(&file, "attention.head_count", 4);
  put_u32(&file, "attention.head_count_kv", 2);
  put_u32(&file, "vocab_size", 32);
  put_f32(&file, "attention.layer_norm_rms_epsilon", 1e-5f);
  put_tensor(&file, "token_embd.weight", 64, 32);
  put_tensor(&file, "output_norm.weight", 64, 0);
  put_tensor(&file, "output.weight", 64, 32);
  for (int i = 0; i < 2; i++) {
    static const struct {
      const char *name, *only; /* only: the architecture that has it */
      uint64_t n_in, n_rows;
    } tensors[] = {
        {"attn_norm.weight", NULL, 64, 0},      {"attn_q.weight", NULL, 64, 64},
        {"attn_k.weight", NULL, 64, 32},        {"attn_v.weight", NULL, 64, 32},
        {"attn_q.bias", "qwen2", 64, 0},        {"attn_k.bias", "qwen2", 32, 0},
        {"attn_v.bias", "qwen2", 32, 0},        {"attn_q_norm.weight", "qwen3", 16, 0},
        {"attn_k_norm.weight", "qwen3", 16, 0}, {"attn_output.weight", NULL, 64, 64},
        {"ffn_norm.weight", NULL, 64, 0},       {"ffn_gate.weight", NULL, 64, 96},
        {"ffn_up.weight", NULL, 64, 96},        {"ffn_down.weight", NULL, 96, 64},
    };
    for (size_t t = 0; t < sizeof tensors / sizeof tensors[0]; t++) {
      char name[64];
      snprintf(name, sizeof name, "blk.%d.%s", i, tensors[t].name);
      if (!tensors[t].only || strcmp(tensors[t].only, architecture) == 0)
        put_tensor(&file, name, tensors[t].n_in, tensors[t].n_rows);
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
