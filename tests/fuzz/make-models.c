/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Writes the corpus of fuzz_model: headers of small models of every family and make, whose weights are zeros.
 *
 *   make-models FOLDER           writes the files
 *   make-models --check FOLDER   fails unless these files are there as they should be
 */
#include "base/file.h"
#include "unit/model-file.h"

static const struct {
  const char *name, *architecture;
  edit edits[MAX_EDITS];
} models[] = {
    {"llama", "llama", {{EDIT_TENSOR, "rope_freqs.weight", .dims = {8}}, {EDIT_DROP, "output.weight"}}},
    {"llama-linear",
     "llama",
     {{EDIT_TEXT, "llama.rope.scaling.type", .text = "linear"},
      {EDIT_F32, "llama.rope.scaling.factor", .real = 4},
      {EDIT_F32, "llama.attention.scale", .real = 0.25f},
      {EDIT_TENSOR, "blk.1.attn_output.bias", .dims = {64}},
      {EDIT_U32, "llama.expert_count", .number = 0},
      {EDIT_TEXT, "general.name", .text = "a model"}}},
    {"llama-arrays",
     "llama",
     {{EDIT_I32S, "llama.attention.head_count_kv", .items = {2, 2}, .n = 2},
      {EDIT_I32S, "llama.attention.head_count", .items = {4, 4}, .n = 2},
      {EDIT_I32S, "llama.feed_forward_length", .items = {96, 96}, .n = 2},
      {EDIT_TOKENS, "tokenizer.ggml.tokens", .n = 32}}},
    {"llama-types",
     "llama",
     {{EDIT_TYPE, "blk.0.attn_q.weight", .number = EM_TYPE_Q8_0},
      {EDIT_TYPE, "blk.0.ffn_up.weight", .number = EM_TYPE_Q4_0},
      {EDIT_TYPE, "blk.0.ffn_gate.weight", .number = EM_TYPE_F16},
      {EDIT_TYPE, "blk.1.ffn_up.weight", .number = EM_TYPE_BF16},
      {EDIT_TYPE, "token_embd.weight", .number = EM_TYPE_Q8_0},
      {EDIT_TYPE, "output.weight", .number = EM_TYPE_Q5_0}}},
    {"qwen2", "qwen2", {{EDIT_U32, "qwen2.rope.dimension_count", .number = 8}}},
    {"qwen2-fused",
     "qwen2",
     {{EDIT_TENSOR, "blk.1.attn_qkv.weight", .dims = {64, 128}},
      {EDIT_DROP, "blk.1.attn_q.weight"},
      {EDIT_DROP, "blk.1.attn_k.weight"},
      {EDIT_DROP, "blk.1.attn_v.weight"},
      {EDIT_TENSOR, "blk.1.attn_qkv.bias", .dims = {128}},
      {EDIT_DROP, "blk.1.attn_q.bias"},
      {EDIT_DROP, "blk.1.attn_k.bias"},
      {EDIT_DROP, "blk.1.attn_v.bias"}}},
    {"qwen3",
     "qwen3",
     {{EDIT_U32, "qwen3.attention.key_length", .number = 16},
      {EDIT_U32, "qwen3.attention.value_length", .number = 16},
      {EDIT_F32, "qwen3.rope.freq_base", .real = 1e6f},
      {EDIT_U32, "qwen3.rope.dimension_count", .number = 16}}},
};

static void write_or_check(const char *folder, const char *name, opened *o, bool check) {
  size_t bytes = (size_t)em_gguf_data_offset(o->gguf), there = 0;
  char path[4096], *old = NULL;
  snprintf(path, sizeof path, "%s/%s.gguf", folder, name);
  if (!o->model)
    fprintf(stderr, "%s: %s\n", name, o->error.text);
  CHECK(o->model != NULL);
  if (check) {
    CHECK(em_file_read(path, 1 << 20, &old, &there, NULL) == EM_OK && there == bytes &&
          memcmp(old, o->data, bytes) == 0);
    free(old);
  } else {
    FILE *out = fopen(path, "wb");
    CHECK(out && fwrite(o->data, 1, bytes, out) == bytes && fclose(out) == 0);
  }
  close_model(o);
}

int main(int argc, char **argv) {
  bool check = argc == 3 && strcmp(argv[1], "--check") == 0;
  if (argc != 2 && !check) {
    fprintf(stderr, "usage: make-models [--check] FOLDER\n");
    return 2;
  }
  for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
    opened o = open_model(models[i].architecture, models[i].edits);
    write_or_check(argv[argc - 1], models[i].name, &o, check);
  }
  for (size_t i = 0; i < sizeof model_architectures / sizeof model_architectures[0]; i++) {
    char name[64];
    snprintf(name, sizeof name, "family-%s", model_architectures[i]);
    opened o = open_model(model_architectures[i], NULL);
    write_or_check(argv[argc - 1], name, &o, check);
  }
  return check_done();
}
