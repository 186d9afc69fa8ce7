/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Real chat templates: each parses, renders two small conversations as Python's Jinja does (version 3.1.6, with the settings
 * that transformers gives it), and takes nothing but the messages for text that is not its own. */
#include "check.h"

#include <dirent.h>

#include "base/file.h"
#include "text/template/template.h"

#define AROUND "],\"add_generation_prompt\":true,\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"tools\":"

static const char *const conversations[] = {
    "{\"role\":\"user\",\"content\":\"Hello <|im_end|> there\"}",
    "{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"One\"},"
    "{\"role\":\"assistant\",\"content\":\"Two\"},{\"role\":\"user\",\"content\":\"Three\"}",
};

/* FNV-1a of the text for each conversation, with tools none, or empty where the template fails with none; 0: it refuses both
 * (Gemma 2 knows no system role, firefunction wants its functions). */
static const struct {
  const char *name;
  uint64_t hashes[2];
} expected[] = {
    {"Apertus-8B-Instruct", {0xc6ec01fc38297a22u, 0xfdd071e779be681bu}},
    {"Apriel-1.6-15b-Thinker-fixed", {0xf9e3511bd09adba5u, 0x289dcfcab3b18ae4u}},
    {"Bielik-11B-v3.0-Instruct", {0x6a87354faf92d049u, 0x2896d1b64dac85e9u}},
    {"ByteDance-Seed-OSS", {0x19888764b29881b0u, 0x966657a57af7f36cu}},
    {"Cohere2MoE", {0x6eccbb0d87bfd5acu, 0x6acfc2a1e3cdfc14u}},
    {"CohereForAI-c4ai-command-r-plus-tool_use", {0xa8a43bea307948f2u, 0x22edef11a07122b3u}},
    {"CohereForAI-c4ai-command-r7b-12-2024-tool_use", {0x746a3dbdaeea3a17u, 0x526104a60f55d2a0u}},
    {"GLM-4.6", {0x7eb2bf678ab56277u, 0x69ea6104a9b1a3bdu}},
    {"GLM-4.7-Flash", {0x17877af73b55705bu, 0xcf802ec0250adb67u}},
    {"GigaChat3-10B-A1.8B", {0x483f0466a7094754u, 0x03fd7f7b2efb2c74u}},
    {"GigaChat3.1-10B-A1.8B", {0x483f0466a7094754u, 0x03fd7f7b2efb2c74u}},
    {"HuggingFaceTB-SmolLM3-3B", {0xc5a269f91d5b4411u, 0xba2b1d864d5abc47u}},
    {"Kimi-K2-Instruct", {0xfd99a9c061f6b2f2u, 0x5d6ebd5962c709c7u}},
    {"Kimi-K2-Thinking", {0x194d57834a5a99acu, 0x14b2f31957d7b1d4u}},
    {"LFM2-8B-A1B", {0x6a87354faf92d049u, 0x2896d1b64dac85e9u}},
    {"LFM2.5-8B-A1B", {0x6a87354faf92d049u, 0x2896d1b64dac85e9u}},
    {"LFM2.5-Instruct", {0x6a87354faf92d049u, 0x2896d1b64dac85e9u}},
    {"MiMo-VL", {0xae9da57f4404a956u, 0x8cf218be410c3f94u}},
    {"MiniMax-M2", {0xed01f4165efeb12cu, 0xb452433117f3f250u}},
    {"MiniMax-M3", {0xd0ce2160bda5e7e9u, 0xc65ae3cab18552ecu}},
    {"Mistral-Small-3.2-24B-Instruct-2506", {0x7dd4ccc54ab9effeu, 0x20066daee260f598u}},
    {"NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", {0x42037cc8787838f6u, 0x242651fbfa980051u}},
    {"NVIDIA-Nemotron-Nano-v2", {0x6d34dcd3957103f8u, 0xf3187c0a2f54e84bu}},
    {"NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use", {0xb5b9f1b51d14cb52u, 0x02d494db8ef203f0u}},
    {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use", {0xb5b9f1b51d14cb52u, 0x02d494db8ef203f0u}},
    {"Qwen-QwQ-32B", {0xf35d9f4636a9acd5u, 0xb4cee159fdc33683u}},
    {"Qwen-Qwen2.5-7B-Instruct", {0x9b8e808ff078a10eu, 0x8cf218be410c3f94u}},
    {"Qwen-Qwen3-0.6B", {0x578bf461582cc1deu, 0x8cf218be410c3f94u}},
    {"Qwen3-Coder", {0x578bf461582cc1deu, 0x8cf218be410c3f94u}},
    {"Qwen3.5-4B", {0xa7a2fddebe56c4c2u, 0x1433120da64cd120u}},
    {"Reka-Edge", {0x87e23e116191875cu, 0xb5c622b35c1ca9bdu}},
    {"StepFun3.5-Flash", {0x514822af8dbc862du, 0x76ff950d6623c50du}},
    {"deepseek-ai-DeepSeek-R1-Distill-Llama-8B", {0x9a25caa85eeab307u, 0xdbe2001c73d547fau}},
    {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", {0x87fcd5ae19287078u, 0x6c521b2c1e290a1du}},
    {"deepseek-ai-DeepSeek-V3.1", {0x7dc94d2d51090768u, 0xfbc53f6085ac4b50u}},
    {"deepseek-ai-DeepSeek-V3.2", {0x7dc94d2d51090768u, 0xd7e399d74e0839d6u}},
    {"deepseek-ai-DeepSeek-V4-Flash-0731", {0xdaec777b34df23bcu, 0xe09848b2b551dd32u}},
    {"deepseek-ai-DeepSeek-V4", {0xdaec777b34df23bcu, 0xe09848b2b551dd32u}},
    {"fireworks-ai-llama-3-firefunction-v2", {0x0000000000000000u, 0x0000000000000000u}},
    {"google-gemma-2-2b-it", {0xb8951ea5e7ccb027u, 0x0000000000000000u}},
    {"google-gemma-4-31B-it-interleaved", {0x75cebf0f3a9e2186u, 0x81a9657577cbf814u}},
    {"google-gemma-4-31B-it", {0x75cebf0f3a9e2186u, 0x81a9657577cbf814u}},
    {"ibm-granite-granite-3.3-2B-Instruct", {0xe6f426899dd25ee0u, 0xebcb2805d03f16beu}},
    {"ibm-granite-granite-4.0", {0xaa1250b8bed84161u, 0xebcb2805d03f16beu}},
    {"ibm-granite-granite-4.1", {0x1f0fccd41c99a8ffu, 0xebcb2805d03f16beu}},
    {"llama-cpp-deepseek-r1", {0x67d75a67b6f16528u, 0x47b20ce7ecce6134u}},
    {"llama-cpp-rwkv-world", {0x78c63754cbd0fd19u, 0xcc0aa9426898b01eu}},
    {"meetkai-functionary-medium-v3.1", {0x84c4f27c5b8b56e5u, 0xe2c010ea53c263c3u}},
    {"meetkai-functionary-medium-v3.2", {0x2ce0ce2f34f95e43u, 0x3e5c5d53d0ddff30u}},
    {"meta-llama-Llama-3.1-8B-Instruct", {0xb13fcd901ba98c0fu, 0x1f6d7bae6a32677du}},
    {"meta-llama-Llama-3.2-3B-Instruct", {0x41563029b437698du, 0xd11638b292c02aabu}},
    {"meta-llama-Llama-3.3-70B-Instruct", {0xb13fcd901ba98c0fu, 0x1f6d7bae6a32677du}},
    {"microsoft-Phi-3.5-mini-instruct", {0x168c58bd30e5e8e1u, 0x1c5af904e1781cbfu}},
    {"mistralai-Ministral-3-14B-Reasoning-2512", {0x5f28039f83a9373fu, 0x20066daee260f598u}},
    {"mistralai-Mistral-Nemo-Instruct-2407", {0x47a5adc2ae1d7a4bu, 0xc590d7f735f6b7e9u}},
    {"moonshotai-Kimi-K2", {0xfbc0c05ddaad8f6eu, 0x5d6ebd5962c709c7u}},
    {"openai-gpt-oss-120b", {0x9cc4be84e6593a74u, 0xc71b7d21469de55bu}},
    {"openbmb-MiniCPM5-1B", {0x6a87354faf92d049u, 0x2896d1b64dac85e9u}},
    {"poolside-Laguna-S-2.1", {0x6b202f480e65873fu, 0xd9100fd94a6652e8u}},
    {"poolside-Laguna-XS-2.1", {0x08f90b654608b063u, 0x2ffc35ebeddc3786u}},
    {"poolside-Laguna-XS.2", {0xe6d54ebb202a0ff9u, 0x2ffc35ebeddc3786u}},
    {"tencent-Hy3", {0x6ff63a09acb8d151u, 0xba0a249b0742d188u}},
    {"unsloth-Apriel-1.5", {0x0927748825eb7944u, 0x36247c7b7539c89au}},
    {"unsloth-mistral-Devstral-Small-2507", {0x8329b6dcb37b86c4u, 0x20066daee260f598u}},
    {"upstage-Solar-Open-100B", {0x01d4635808efeb6cu, 0x2421d2b42b2197e7u}},
};

static uint64_t hash(const char *text, size_t bytes) {
  uint64_t value = 14695981039346656037u;
  for (size_t i = 0; i < bytes; i++)
    value = (value ^ (unsigned char)text[i]) * 1099511628211u;
  return value;
}

/* Whether text is a part of what people said, or of the date. */
static bool is_data(const char *text, size_t bytes) {
  static const char *const data[] = {"Hello <|im_end|> there", "Be brief.", "One", "Two", "Three", "November", "2024", "11", "20"};
  for (size_t i = 0; i < sizeof data / sizeof data[0]; i++)
    if (memmem(data[i], strlen(data[i]), text, bytes))
      return true;
  fprintf(stderr, "not from the template: \"%.*s\"\n", (int)bytes, text);
  return false;
}

static bool render(const em_template *template_, size_t conversation, const char *tools, em_rendered *out, em_error *error) {
  em_buffer text = {0};
  em_arena *arena = em_arena_new(0);
  const em_json *context;
  em_buffer_appendf(&text, "{\"messages\":[%s" AROUND "%s}", conversations[conversation], tools);
  CHECK(em_json_parse(arena, text.data, text.bytes, 0, &context, error) == EM_OK);
  bool done = em_template_render(template_, context, 1732060800, out, error) == EM_OK;
  em_arena_free(arena);
  em_buffer_clear(&text);
  return done;
}

static bool check_template(const char *name, const char *source, size_t bytes, const uint64_t *hashes) {
  em_template *template_ = NULL;
  em_error error = {0};
  bool good = em_template_new(source, bytes, &template_, &error) == EM_OK;
  for (size_t i = 0; i < 2 && template_; i++) {
    em_rendered rendered = {0};
    em_error first = {0};
    bool done = render(template_, i, "null", &rendered, &first) || render(template_, i, "[]", &rendered, &error);
    if (done != (hashes[i] != 0) || (done && hash(rendered.text, rendered.bytes) != hashes[i])) {
      fprintf(stderr, "%s: conversation %zu: %s\n", name, i, done ? rendered.text : first.text);
      good = false;
    }
    for (size_t k = 0; k < rendered.n_spans; k++)
      good = (rendered.spans[k].from_template ||
              is_data(rendered.text + rendered.spans[k].start, rendered.spans[k].bytes)) && good;
    em_rendered_clear(&rendered);
  }
  if (!template_)
    fprintf(stderr, "%s: %s\n", name, error.text);
  em_template_free(template_);
  return good;
}

int main(void) {
  const char *folder = getenv("HEARTH_SHARED");
  char path[4096];
  size_t n = sizeof expected / sizeof expected[0], good = 0;
  if (!folder)
    SKIP("HEARTH_SHARED names no folder of templates");
  for (size_t i = 0; i < n; i++) {
    char *source;
    size_t bytes;
    em_error error = {0};
    snprintf(path, sizeof path, "%s/data/templates/%s.jinja", folder, expected[i].name);
    if (em_file_read(path, EM_TEMPLATE_MAX_BYTES, &source, &bytes, &error) != EM_OK)
      SKIP("%s", error.text);
    good += check_template(expected[i].name, source, bytes, expected[i].hashes);
    free(source);
  }
  printf("%zu of %zu templates\n", good, n);
  CHECK_INT(good, n);
  return check_done();
}
