/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/fallback.h"

#include <string.h>

#define SPACE "\xE2\x96\x81"  /* U+2581, a space in SentencePiece vocabularies */
#define BYTE_SPACE "\xC4\xA0" /* U+0120, a space in byte-level ones */

static const em_fallback chatml = {
    .name = "ChatML",
    .template_ = "{% for message in messages %}"
                 "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
                 "{% endfor %}"
                 "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
};

/* The system's text stands inside the first user's. */
static const em_fallback llama2 = {
    .name = "Llama 2",
    .template_ = "{% set ns = namespace(system='') %}"
                 "{% for message in messages %}"
                 "{% if message.role == 'system' %}"
                 "{% set ns.system = '<<SYS>>\\n' + message.content + '\\n<</SYS>>\\n\\n' %}"
                 "{% elif message.role == 'assistant' %}"
                 "{{ ' ' + message.content + ' ' + eos_token }}"
                 "{% else %}"
                 "{{ bos_token + '[INST] ' + ns.system + message.content + ' [/INST]' }}"
                 "{% set ns.system = '' %}"
                 "{% endif %}"
                 "{% endfor %}",
    .stop = "[INST]",
};

static const em_fallback alpaca = {
    .name = "Alpaca",
    .template_ =
        "{% if messages and messages[0].role == 'system' %}{{ messages[0].content }}"
        "{% else %}{{ 'Below is an instruction that describes a task. Write a response that appropriately "
        "completes the request.' }}{% endif %}"
        "{% for message in messages %}"
        "{% if message.role == 'assistant' %}{{ '\\n\\n### Response:\\n' + message.content }}"
        "{% elif message.role != 'system' or not loop.first %}{{ '\\n\\n### Instruction:\\n' + message.content }}"
        "{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '\\n\\n### Response:\\n' }}{% endif %}",
    .stop = "### Instruction:",
};

static bool has(const em_tokenizer *tokenizer, const char *piece) {
  return em_tokenizer_find(tokenizer, piece, strlen(piece)) != EM_NO_TOKEN;
}

const em_fallback *em_fallback_find(const em_tokenizer *tokenizer) {
  if (has(tokenizer, "<|im_start|>") && has(tokenizer, "<|im_end|>"))
    return &chatml;
  if ((has(tokenizer, "[INST]") && has(tokenizer, "[/INST]")) || (has(tokenizer, SPACE "[") && has(tokenizer, "INST")))
    return &llama2;
  /* The word of its headings, as far as small vocabularies have it: one piece, of any kind of vocabulary but those of
   * models that write no text. */
  static const char *const words[] = {SPACE "Instruction", BYTE_SPACE "Instruction", "Instruction",
                                      SPACE "Instruct",    BYTE_SPACE "Instruct",    "Instruct",
                                      SPACE "instruct",    BYTE_SPACE "instruct"};
  for (size_t i = 0; i < sizeof words / sizeof *words && !has(tokenizer, "[CLS]"); i++)
    if (has(tokenizer, words[i]))
      return &alpaca;
  return NULL;
}
