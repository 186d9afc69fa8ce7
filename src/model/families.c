/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <string.h>

#include "model/family.h"

static const em_family *const families[] = {
    &em_family_chatglm, &em_family_cohere2,    &em_family_command_r, &em_family_deepseek2,  &em_family_gemma2,
    &em_family_gemma3,  &em_family_gemma4,     &em_family_glm4,      &em_family_glm4moe,    &em_family_gpt_oss,
    &em_family_granite, &em_family_granitemoe, &em_family_llama,     &em_family_minimax_m2, &em_family_mistral3,
    &em_family_olmo2,   &em_family_phi3,       &em_family_qwen2,     &em_family_qwen2moe,   &em_family_qwen3,
    &em_family_qwen35,  &em_family_qwen35moe,  &em_family_qwen3moe,  &em_family_qwen3next,  &em_family_smollm3,
};

const em_family *em_family_find(em_text name) {
  for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
    if (strlen(families[i]->name) == name.bytes && memcmp(families[i]->name, name.text, name.bytes) == 0)
      return families[i];
  return NULL;
}
