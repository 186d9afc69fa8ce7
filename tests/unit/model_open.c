/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What a model file says about itself, and every kind of file that is refused, with the sentence that says why. */
#include "model-file.h"

static void check_facts(void) {
  static const struct {
    const char *name;
    uint64_t n_parameters;
  } families[] = {
      /* embedding and head 64 x 32, norms 64; a layer: q and o 64 x 64, k and v 64 x 32, three matrices 64 x 96, norms
       */
      {"llama", 2 * 2048 + 64 + 2 * (2 * 4096 + 2 * 2048 + 3 * 6144 + 128)},
      {"qwen2", 2 * 2048 + 64 + 2 * (2 * 4096 + 2 * 2048 + 3 * 6144 + 128 + 128)},
      {"qwen3", 2 * 2048 + 64 + 2 * (2 * 4096 + 2 * 2048 + 3 * 6144 + 128 + 32)},
  };
  for (size_t i = 0; i < 3; i++) {
    opened o = open_model(families[i].name, NULL);
    CHECK(o.model != NULL);
    if (!o.model) {
      fprintf(stderr, "%s\n", o.error.text);
      continue;
    }
    const em_model_facts *facts = em_model_get_facts(o.model);
    CHECK_TEXT(facts->architecture, families[i].name);
    CHECK_TEXT(facts->name, "");
    CHECK_INT(facts->n_layers, 2);
    CHECK_INT(facts->n_embd, 64);
    CHECK_INT(facts->n_vocab, 32);
    CHECK_INT(facts->train_context_tokens, 512);
    CHECK_INT(facts->n_parameters, families[i].n_parameters);
    CHECK_INT(facts->weights_bytes, 4 * families[i].n_parameters);
    /* Of the embedding table one row is read. */
    CHECK_INT(facts->weights_bytes_per_token, 4 * (families[i].n_parameters - 31 * 64));
    CHECK_INT(em_model_kv_token_bytes(o.model, EM_TYPE_F32), 2 * 2 * 2 * 16 * 4);
    CHECK_INT(em_model_kv_token_bytes(o.model, EM_TYPE_F16), 2 * 2 * 2 * 16 * 2);
    CHECK_INT(em_model_kv_token_bytes(o.model, EM_TYPE_Q8_0), 0); /* heads of 16 are half a block */
    uint32_t n_layers;
    const em_kv_layer *layers = em_model_kv_layers(o.model, em_model_all_blocks(o.model), &n_layers);
    CHECK_INT(n_layers, 2);
    CHECK(layers[1].n_heads == 2 && layers[1].k_dim == 16 && layers[1].v_dim == 16);
    CHECK_INT(em_model_n_tensors(o.model), em_gguf_n_tensors(o.gguf));
    close_model(&o);
  }

  /* A tied head is read whole and a row of it once more. */
  opened o = open_model(
      "llama", (edit[MAX_EDITS]){{EDIT_DROP, "output.weight"}, {EDIT_TEXT, "general.name", .text = "Tied \xC3\xA9"}});
  const em_model_facts *facts = em_model_get_facts(o.model);
  CHECK_TEXT(facts->name, "Tied \xC3\xA9");
  CHECK_INT(facts->n_parameters, families[0].n_parameters - 2048);
  CHECK_INT(facts->weights_bytes_per_token, 4 * (facts->n_parameters + 64));
  close_model(&o);
}

/* Files of unusual but legal make. */
static void check_accepted(void) {
  static const struct {
    const char *architecture;
    edit edits[MAX_EDITS];
  } cases[] = {
      {"llama", {{EDIT_TENSOR, "rope_freqs.weight", .dims = {8}}}},
      {"llama", {{EDIT_TENSOR, "blk.1.attn_output.bias", .dims = {64}}}},
      {"llama",
       {{EDIT_TENSOR, "blk.0.attn_qkv.weight", .dims = {64, 128}},
        {EDIT_DROP, "blk.0.attn_q.weight"},
        {EDIT_DROP, "blk.0.attn_k.weight"},
        {EDIT_DROP, "blk.0.attn_v.weight"}}},
      {"qwen2",
       {{EDIT_TENSOR, "blk.1.attn_qkv.weight", .dims = {64, 128}},
        {EDIT_DROP, "blk.1.attn_q.weight"},
        {EDIT_DROP, "blk.1.attn_k.weight"},
        {EDIT_DROP, "blk.1.attn_v.weight"},
        {EDIT_TENSOR, "blk.1.attn_qkv.bias", .dims = {128}},
        {EDIT_DROP, "blk.1.attn_q.bias"},
        {EDIT_DROP, "blk.1.attn_k.bias"},
        {EDIT_DROP, "blk.1.attn_v.bias"}}},
      {"llama",
       {{EDIT_TEXT, "llama.rope.scaling.type", .text = "linear"}, {EDIT_F32, "llama.rope.scaling.factor", .real = 4}}},
      {"llama", {{EDIT_TEXT, "llama.rope.scaling.type", .text = "none"}}},
      {"llama", {{EDIT_F32, "llama.rope.scaling.factor", .real = 0}}},
      {"llama", {{EDIT_F32, "llama.attention.scale", .real = 0.25f}}},
      {"llama", {{EDIT_TOKENS, "tokenizer.ggml.tokens", .n = 32}, {EDIT_U32, "llama.vocab_size", .number = 77}}},
      {"llama", {{EDIT_TOKENS, "tokenizer.ggml.tokens", .n = 32}, {EDIT_DROP, "llama.vocab_size"}}},
      {"llama", {{EDIT_I32S, "llama.attention.head_count_kv", .items = {2, 2}, .n = 2}}},
      {"llama",
       {{EDIT_I32S, "llama.feed_forward_length", .items = {96, 32}, .n = 2},
        {EDIT_TENSOR, "blk.1.ffn_gate.weight", .dims = {64, 32}},
        {EDIT_TENSOR, "blk.1.ffn_up.weight", .dims = {64, 32}},
        {EDIT_TENSOR, "blk.1.ffn_down.weight", .dims = {32, 64}}}},
      {"qwen3", {{EDIT_U32, "qwen3.attention.key_length", .number = 16}}},
      {"qwen2", {{EDIT_U32, "qwen2.rope.dimension_count", .number = 8}}},
      {"llama", {{EDIT_TENSOR, "blk.0.attn_q.input_scale", .dims = {1}}}},
      {"llama", {{EDIT_U32, "llama.expert_count", .number = 0}, {EDIT_U32, "split.count", .number = 1}}},
      {"llama",
       {{EDIT_TYPE, "blk.0.ffn_up.weight", .number = EM_TYPE_Q8_0},
        {EDIT_TYPE, "output.weight", .number = EM_TYPE_F16}}},
      /* Other makes of the families. */
      {"llama",
       {{EDIT_TEXT, "llama.rope.scaling.type", .text = "yarn"}, {EDIT_F32, "llama.rope.scaling.factor", .real = 4}}},
      {"llama", {{EDIT_TENSOR, "blk.0.attn_q.scale", .dims = {1}}, {EDIT_TENSOR, "blk.1.ffn_down.scale", .dims = {1}}}},
      {"mixtral", {{EDIT_TENSOR, "blk.0.ffn_up_exps.scale", .dims = {4}}}},
      {"phi3",
       {{EDIT_TENSOR, "blk.0.ffn_up.scale", .dims = {1}},
        {EDIT_TEXT, "phi3.rope.scaling.type", .text = "longrope"},
        {EDIT_TENSOR, "rope_factors_long.weight", .dims = {8}},
        {EDIT_TENSOR, "rope_factors_short.weight", .dims = {8}}}},
      {"qwen3next",
       {{EDIT_DROP, "blk.0.attn_qkv.weight"},
        {EDIT_DROP, "blk.0.attn_gate.weight"},
        {EDIT_TENSOR, "blk.0.ssm_in.weight", .dims = {64, 192}}}},
      {"qwen35moe",
       {{EDIT_DROP, "blk.0.ffn_gate_exps.weight"},
        {EDIT_DROP, "blk.0.ffn_up_exps.weight"},
        {EDIT_TENSOR, "blk.0.ffn_gate_up_exps.weight", .dims = {64, 64, 4}}}},
      {"deepseek2",
       {{EDIT_DROP, "blk.1.attn_k_b.weight"},
        {EDIT_DROP, "blk.1.attn_v_b.weight"},
        {EDIT_TENSOR, "blk.1.attn_kv_b.weight", .dims = {32, 96}}}},
      {"glm4moe",
       {{EDIT_U32, "glm4moe.block_count", .number = 3},
        {EDIT_U32, "glm4moe.nextn_predict_layers", .number = 1},
        {EDIT_TENSOR, "blk.2.nextn.eh_proj.weight", .dims = {128, 64}}}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    opened o = open_model(cases[i].architecture, cases[i].edits);
    if (!o.model)
      fprintf(stderr, "case %zu: %s\n", i, o.error.text);
    CHECK(o.model != NULL);
    close_model(&o);
  }
}

static void check_refused(void) {
  static const struct {
    const char *architecture;
    edit edits[MAX_EDITS];
    em_status status;
    const char *text; /* what the sentence holds */
  } cases[] = {
      {"llama", {{EDIT_DROP, "general.architecture"}}, EM_ERR_FORMAT, "general.architecture"},
      {"llama",
       {{EDIT_TEXT, "general.architecture", .text = "mamba"}},
       EM_ERR_UNSUPPORTED,
       "this model is of the family 'mamba', which Hearth cannot run yet"},
      {"llama", {{EDIT_TEXT, "general.architecture", .text = "llam"}}, EM_ERR_UNSUPPORTED, "'llam'"},
      {"llama",
       {{EDIT_U32, "split.count", .number = 3}},
       EM_ERR_UNSUPPORTED,
       "one file alone of a model that is split into 3 files"},
      {"qwen2", {{EDIT_U32, "qwen2.expert_count", .number = 8}}, EM_ERR_UNSUPPORTED, "mixture of 8 experts"},
      {"llama", {{EDIT_U32, "llama.expert_count", .number = 8}}, EM_ERR_FORMAT, "expert_used_count' is 0"},
      {"llama", {{EDIT_U32, "llama.nextn_predict_layers", .number = 1}}, EM_ERR_UNSUPPORTED, "nextn_predict_layers"},
      {"llama", {{EDIT_BOOL, "llama.attention.causal", .number = 0}}, EM_ERR_UNSUPPORTED, "embeddings"},
      {"llama", {{EDIT_TEXT, "llama.rope.scaling.type", .text = "dynamic"}}, EM_ERR_UNSUPPORTED, "'dynamic'"},
      {"llama", {{EDIT_TEXT, "llama.rope.scaling.type", .text = "longrope"}}, EM_ERR_UNSUPPORTED, "'longrope'"},
      {"llama", {{EDIT_U32, "llama.rope.scaling.type", .number = 1}}, EM_ERR_FORMAT, "'llama.rope.scaling.type'"},
      /* Keys that are missing, of another type, or outside their range. */
      {"llama", {{EDIT_DROP, "llama.context_length"}}, EM_ERR_FORMAT, "the model has no 'llama.context_length'"},
      {"llama", {{EDIT_DROP, "llama.embedding_length"}}, EM_ERR_FORMAT, "'llama.embedding_length'"},
      {"llama", {{EDIT_DROP, "llama.block_count"}}, EM_ERR_FORMAT, "'llama.block_count'"},
      {"llama", {{EDIT_DROP, "llama.feed_forward_length"}}, EM_ERR_FORMAT, "'llama.feed_forward_length'"},
      {"llama", {{EDIT_DROP, "llama.attention.head_count"}}, EM_ERR_FORMAT, "'llama.attention.head_count'"},
      {"llama", {{EDIT_DROP, "llama.vocab_size"}}, EM_ERR_FORMAT, "'llama.vocab_size'"},
      {"llama", {{EDIT_DROP, "llama.attention.layer_norm_rms_epsilon"}}, EM_ERR_FORMAT, "layer_norm_rms_epsilon'"},
      {"llama", {{EDIT_U32, "llama.context_length", .number = 0}}, EM_ERR_FORMAT, "'llama.context_length' is 0"},
      {"llama", {{EDIT_U32, "llama.block_count", .number = 0}}, EM_ERR_FORMAT, "'llama.block_count' is 0"},
      {"llama", {{EDIT_U32, "llama.block_count", .number = 0xFFFFFFFF}}, EM_ERR_FORMAT, "4294967295"},
      {"llama", {{EDIT_U32, "llama.block_count", .number = 3}}, EM_ERR_FORMAT, "no tensor 'blk.2."},
      {"llama", {{EDIT_U32, "llama.block_count", .number = 1}}, EM_ERR_UNSUPPORTED, "the tensor 'blk.1."},
      {"llama", {{EDIT_F32, "llama.block_count", .real = 2}}, EM_ERR_FORMAT, "no whole number"},
      {"llama",
       {{EDIT_U32, "llama.embedding_length", .number = 1u << 30}},
       EM_ERR_FORMAT,
       "'llama.embedding_length' is 1073741824"},
      {"llama",
       {{EDIT_U32, "llama.attention.head_count", .number = 0}},
       EM_ERR_FORMAT,
       "'llama.attention.head_count' is 0"},
      {"llama", {{EDIT_U32, "llama.attention.head_count_kv", .number = 0}}, EM_ERR_FORMAT, "head_count_kv' is 0"},
      {"llama",
       {{EDIT_U32, "llama.attention.head_count_kv", .number = 3}},
       EM_ERR_FORMAT,
       "no multiple of 'llama.attention.head_count_kv' (3)"},
      {"llama", {{EDIT_U32, "llama.attention.head_count_kv", .number = 8}}, EM_ERR_FORMAT, "no multiple"},
      {"llama",
       {{EDIT_I32S, "llama.attention.head_count_kv", .items = {2, 2, 2}, .n = 3}},
       EM_ERR_FORMAT,
       "3 items for 2 layers"},
      {"llama", {{EDIT_I32S, "llama.attention.head_count_kv", .items = {2, -2}, .n = 2}}, EM_ERR_FORMAT, "is -2"},
      {"llama",
       {{EDIT_I32S, "llama.attention.head_count_kv", .items = {2, 1}, .n = 2}},
       EM_ERR_FORMAT,
       "'blk.1.attn_k.weight'"},
      {"llama",
       {{EDIT_I32S, "llama.attention.head_count", .items = {4, 2}, .n = 2}},
       EM_ERR_FORMAT,
       "'llama.attention.key_length' is 0"},
      {"llama",
       {{EDIT_U32, "llama.attention.head_count", .number = 3},
        {EDIT_U32, "llama.attention.head_count_kv", .number = 3}},
       EM_ERR_FORMAT,
       "'llama.attention.key_length' is 0"},
      {"llama",
       {{EDIT_U32, "llama.attention.key_length", .number = 0}},
       EM_ERR_FORMAT,
       "'llama.attention.key_length' is 0"},
      {"llama", {{EDIT_U32, "llama.attention.value_length", .number = 5000}}, EM_ERR_FORMAT, "value_length' is 5000"},
      {"llama",
       {{EDIT_U32, "llama.rope.dimension_count", .number = 8}},
       EM_ERR_FORMAT,
       "'llama.rope.dimension_count' is 8"},
      {"qwen2", {{EDIT_U32, "qwen2.rope.dimension_count", .number = 18}}, EM_ERR_FORMAT, "dimension_count' is 18"},
      {"qwen2", {{EDIT_U32, "qwen2.rope.dimension_count", .number = 7}}, EM_ERR_FORMAT, "must be even"},
      {"llama", {{EDIT_F32, "llama.attention.layer_norm_rms_epsilon", .real = 0}}, EM_ERR_FORMAT, "rms_epsilon' is 0"},
      {"llama", {{EDIT_F32, "llama.attention.layer_norm_rms_epsilon", .real = NAN}}, EM_ERR_FORMAT, "rms_epsilon' is "},
      {"llama", {{EDIT_F32, "llama.rope.freq_base", .real = 0}}, EM_ERR_FORMAT, "freq_base' is 0"},
      {"llama", {{EDIT_F32, "llama.rope.freq_base", .real = INFINITY}}, EM_ERR_FORMAT, "freq_base' is inf"},
      {"llama", {{EDIT_F32, "llama.rope.scaling.factor", .real = -2}}, EM_ERR_FORMAT, "factor' is -2"},
      {"llama", {{EDIT_F32, "llama.attention.scale", .real = NAN}}, EM_ERR_FORMAT, "attention.scale"},
      {"llama", {{EDIT_TOKENS, "tokenizer.ggml.tokens", .n = 31}}, EM_ERR_FORMAT, "[64, 31, 1, 1] is expected"},
      {"llama", {{EDIT_U32, "tokenizer.ggml.tokens", .number = 32}}, EM_ERR_FORMAT, "vocabulary"},
      /* Tensors that are missing, of the wrong shape or type, or not asked for. */
      {"llama", {{EDIT_DROP, "token_embd.weight"}}, EM_ERR_FORMAT, "the model has no tensor 'token_embd.weight'"},
      {"llama", {{EDIT_DROP, "output_norm.weight"}}, EM_ERR_FORMAT, "'output_norm.weight'"},
      {"llama", {{EDIT_DROP, "blk.1.attn_k.weight"}}, EM_ERR_FORMAT, "'blk.1.attn_k.weight'"},
      {"llama", {{EDIT_DROP, "blk.0.ffn_down.weight"}}, EM_ERR_FORMAT, "'blk.0.ffn_down.weight'"},
      {"qwen3", {{EDIT_DROP, "blk.1.attn_q_norm.weight"}}, EM_ERR_FORMAT, "'blk.1.attn_q_norm.weight'"},
      {"qwen2", {{EDIT_DROP, "blk.1.attn_v.bias"}}, EM_ERR_FORMAT, "'blk.1.attn_v.bias'"},
      {"llama",
       {{EDIT_TENSOR, "blk.0.attn_qkv.weight", .dims = {64, 128}}},
       EM_ERR_FORMAT,
       "both as one tensor and as three"},
      {"llama",
       {{EDIT_TENSOR, "blk.0.attn_qkv.bias", .dims = {128}}},
       EM_ERR_FORMAT,
       "both as one tensor and as three"},
      {"llama",
       {{EDIT_TENSOR, "blk.1.ffn_up.weight", .dims = {64, 95}}},
       EM_ERR_FORMAT,
       "the tensor 'blk.1.ffn_up.weight' has the shape [64, 95, 1, 1] where [64, 96, 1, 1] is expected"},
      {"llama", {{EDIT_TENSOR, "blk.1.ffn_up.weight", .dims = {96, 64}}}, EM_ERR_FORMAT, "'blk.1.ffn_up.weight'"},
      {"llama", {{EDIT_TENSOR, "blk.1.ffn_up.weight", .dims = {64, 96, 2}}}, EM_ERR_FORMAT, "[64, 96, 2, 1]"},
      {"llama", {{EDIT_TENSOR, "output_norm.weight", .dims = {64, 2}}}, EM_ERR_FORMAT, "'output_norm.weight'"},
      {"llama", {{EDIT_TENSOR, "rope_freqs.weight", .dims = {9}}}, EM_ERR_FORMAT, "'rope_freqs.weight'"},
      {"qwen3",
       {{EDIT_TENSOR, "rope_freqs.weight", .dims = {8}}},
       EM_ERR_UNSUPPORTED,
       "'rope_freqs.weight' does not belong"},
      {"llama",
       {{EDIT_TENSOR, "blk.0.attn_q_norm.weight", .dims = {16}}},
       EM_ERR_UNSUPPORTED,
       "'blk.0.attn_q_norm.weight'"},
      {"llama", {{EDIT_TENSOR, "blk.7.attn_q.weight", .dims = {64, 64}}}, EM_ERR_UNSUPPORTED, "'blk.7.attn_q.weight'"},
      {"llama",
       {{EDIT_TYPE, "blk.0.attn_norm.weight", .number = EM_TYPE_F16}},
       EM_ERR_UNSUPPORTED,
       "the type F16 where F32 is needed"},
      {"llama", {{EDIT_TYPE, "blk.0.attn_q.weight", .number = EM_TYPE_I32}}, EM_ERR_UNSUPPORTED, "has the type I32"},
      {"llama", {{EDIT_TYPE, "blk.0.attn_q.weight", .number = EM_TYPE_F64}}, EM_ERR_UNSUPPORTED, "has the type F64"},
      /* Relations inside of families. */
      {"mixtral", {{EDIT_U32, "llama.expert_used_count", .number = 5}}, EM_ERR_FORMAT, "is 5, outside 1 to 4"},
      {"mixtral", {{EDIT_U32, "llama.expert_count", .number = 1u << 20}}, EM_ERR_FORMAT, "expert_count' is 1048576"},
      {"mixtral", {{EDIT_TENSOR, "blk.0.ffn_up_exps.scale", .dims = {3}}}, EM_ERR_FORMAT, "where [4, 1, 1, 1]"},
      {"mixtral", {{EDIT_TENSOR, "blk.0.ffn_gate_inp.scale", .dims = {1}}}, EM_ERR_UNSUPPORTED, "does not belong"},
      {"mixtral", {{EDIT_DROP, "blk.1.ffn_up_exps.weight"}}, EM_ERR_FORMAT, "no tensor 'blk.1.ffn_up_exps.weight'"},
      {"mixtral",
       {{EDIT_TENSOR, "blk.1.ffn_gate_up_exps.weight", .dims = {64, 64, 4}}},
       EM_ERR_FORMAT,
       "both 'blk.1.ffn_gate_exps.weight' and 'blk.1.ffn_gate_up_exps.weight'"},
      {"minimax-m2", {{EDIT_U32, "minimax-m2.expert_gating_func", .number = 9}}, EM_ERR_FORMAT, "gating_func' is 9"},
      {"minimax-m2", {{EDIT_DROP, "output.weight"}}, EM_ERR_FORMAT, "'output.weight'"},
      {"deepseek2",
       {{EDIT_U32, "deepseek2.expert_group_count", .number = 3},
        {EDIT_U32, "deepseek2.expert_group_used_count", .number = 1}},
       EM_ERR_FORMAT,
       "4 experts cannot be routed in 3 groups"},
      {"deepseek2", {{EDIT_U32, "deepseek2.attention.head_count_kv", .number = 2}}, EM_ERR_FORMAT, "where 1 is needed"},
      {"deepseek2", {{EDIT_DROP, "deepseek2.attention.key_length_mla"}}, EM_ERR_FORMAT, "do not fit"},
      {"deepseek2", {{EDIT_U32, "deepseek2.attention.key_length_mla", .number = 8}}, EM_ERR_FORMAT, "do not fit"},
      {"deepseek2", {{EDIT_DROP, "deepseek2.attention.kv_lora_rank"}}, EM_ERR_FORMAT, "kv_lora_rank'"},
      {"qwen3next", {{EDIT_U32, "qwen3next.expert_count", .number = 0}}, EM_ERR_FORMAT, "expert_count' 0"},
      {"gpt-oss",
       {{EDIT_U32, "gpt-oss.leading_dense_block_count", .number = 1}},
       EM_ERR_FORMAT,
       "dense_block_count' 1"},
      {"gpt-oss", {{EDIT_DROP, "gpt-oss.attention.sliding_window"}}, EM_ERR_FORMAT, "sliding_window'"},
      {"qwen35", {{EDIT_U32, "qwen35.ssm.group_count", .number = 3}}, EM_ERR_FORMAT, "3 key heads and 4 value heads"},
      {"qwen35", {{EDIT_U32, "qwen35.ssm.conv_kernel", .number = 1}}, EM_ERR_FORMAT, "conv_kernel' is 1"},
      {"qwen35", {{EDIT_U32, "qwen35.nextn_predict_layers", .number = 2}}, EM_ERR_FORMAT, "none of its 2 blocks"},
      {"qwen3next",
       {{EDIT_TENSOR, "blk.0.ssm_in.weight", .dims = {64, 192}}},
       EM_ERR_FORMAT,
       "both 'blk.0.attn_qkv.weight' and 'blk.0.ssm_in.weight'"},
      {"phi3", {{EDIT_TENSOR, "rope_factors_long.weight", .dims = {8}}}, EM_ERR_FORMAT, "'rope_factors_short.weight'"},
      {"phi3",
       {{EDIT_TEXT, "phi3.rope.scaling.type", .text = "longrope"}},
       EM_ERR_FORMAT,
       "'rope_factors_long.weight'"},
      {"gemma4", {{EDIT_U32, "gemma4.attention.shared_kv_layers", .number = 2}}, EM_ERR_FORMAT, "2 of 2 layers"},
      {"gemma4",
       {{EDIT_U32, "gemma4.rope.dimension_count_swa", .number = 7}},
       EM_ERR_FORMAT,
       "dimension_count_swa' is 7"},
      {"gemma4",
       {{EDIT_U32, "gemma4.attention.sliding_window_pattern", .number = 2}},
       EM_ERR_FORMAT,
       "has no keys and values"},
      {"gemma3",
       {{EDIT_I32S, "gemma3.attention.sliding_window_pattern", .items = {1, 0}, .n = 2}},
       EM_ERR_FORMAT,
       "truths"},
      {"command-r", {{EDIT_DROP, "command-r.logit_scale"}}, EM_ERR_FORMAT, "logit_scale'"},
      {"command-r", {{EDIT_TENSOR, "blk.0.attn_q_norm.weight", .dims = {16, 4}}}, EM_ERR_UNSUPPORTED, "attn_q_norm"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    opened o = open_model(cases[i].architecture, cases[i].edits);
    if (o.error.code != cases[i].status || !strstr(o.error.text, cases[i].text))
      fprintf(stderr, "case %zu (%s): %s: %s\n", i, cases[i].edits[0].name, em_status_word(o.error.code), o.error.text);
    CHECK_INT(o.error.code, cases[i].status);
    CHECK(strstr(o.error.text, cases[i].text) != NULL);
    close_model(&o);
  }
}

/* What files hold beside the layers that are computed, and what experts and recurrent layers cost. */
static void check_parts(void) {
  opened o = open_model("glm4moe", (edit[MAX_EDITS]){{EDIT_U32, "glm4moe.block_count", .number = 3},
                                                     {EDIT_U32, "glm4moe.nextn_predict_layers", .number = 1},
                                                     {EDIT_TENSOR, "blk.2.nextn.eh_proj.weight", .dims = {128, 64}}});
  const em_model_facts *facts = em_model_get_facts(o.model);
  CHECK_INT(facts->n_layers, 2);
  CHECK_INT(facts->n_nextn, 1);
  CHECK_INT(facts->nextn_bytes, 4 * 128 * 64);
  CHECK(facts->n_experts == 4 && facts->n_experts_used == 2);
  CHECK_INT(facts->n_parameters - facts->n_parameters_active, 2 * 3 * 64 * 32);
  CHECK_INT(facts->weights_bytes_per_token, 4 * (facts->n_parameters_active - 31 * 64));
  close_model(&o);

  o = open_model("qwen35", NULL);
  facts = em_model_get_facts(o.model);
  CHECK(facts->n_kv_layers == 1 && facts->n_state_layers == 1);
  CHECK_INT(facts->state_bytes, 4 * (3 * 128 + 4 * 16 * 16));
  CHECK_INT(em_model_kv_token_bytes(o.model, EM_TYPE_F32), 2 * 2 * 16 * 4);
  close_model(&o);

  /* Both layers of gemma4's file attend to the first one's cache; a window shortens what is read. */
  o = open_model("gemma4", NULL);
  CHECK_INT(em_model_kv_token_bytes(o.model, EM_TYPE_F32), 2 * 2 * 16 * 4);
  CHECK_INT(em_model_kv_read_bytes(o.model, EM_TYPE_F32, 10), 10 * 2 * 2 * 2 * 16 * 4);
  close_model(&o);
  o = open_model("gemma2", NULL);
  CHECK_INT(em_model_kv_read_bytes(o.model, EM_TYPE_F32, 10), (8 + 10) * 2 * 2 * 16 * 4);
  close_model(&o);
  o = open_model("deepseek2", NULL);
  CHECK_INT(em_model_kv_token_bytes(o.model, EM_TYPE_F32), 2 * 40 * 4);
  close_model(&o);
}

int main(void) {
  check_facts();
  check_parts();
  check_accepted();
  check_refused();
  return check_done();
}
