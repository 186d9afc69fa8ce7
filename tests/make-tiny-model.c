/* SPDX-License-Identifier: GPL-3.0-or-later */
/* make-tiny-model OUT.gguf [KEY=VALUE...]: a random model for scripts and tests. With split=N, OUT is the beginning of
 * the names of N files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tiny-model.h"

static int usage(void) {
  fprintf(
      stderr,
      "usage: make-tiny-model OUT.gguf [architecture=llama|qwen2|qwen3] [layers=N] [embd=N] [heads=N] [kv-heads=N]\n"
      "       [ff=N] [context=N] [vocab=N] [seed=N] [type=F32|F16|Q8_0|...] [tied=1] [end-logit=X] [name=TEXT]\n"
      "       [template=TEXT] [split=N]\n");
  return 2;
}

static bool find_type(const char *name, em_type *out) {
  for (uint32_t i = 0; i < EM_N_TYPES; i++) {
    const em_type_info *info = em_type_get(i);
    if (info && info->name && info->encode && strcmp(info->name, name) == 0) {
      *out = (em_type)i;
      return true;
    }
  }
  return false;
}

int main(int argc, char **argv) {
  tiny_model model = {0};
  uint32_t n_files = 0;
  struct {
    const char *key;
    uint32_t *value;
  } numbers[] = {
      {"layers", &model.n_layers},     {"embd", &model.n_embd}, {"heads", &model.n_heads},
      {"kv-heads", &model.n_kv_heads}, {"ff", &model.n_ff},     {"context", &model.context_tokens},
      {"vocab", &model.n_vocab},       {"seed", &model.seed},   {"split", &n_files},
  };
  if (argc < 2)
    return usage();
  for (int i = 2; i < argc; i++) {
    char *value = strchr(argv[i], '=');
    if (!value)
      return usage();
    *value++ = 0;
    bool known = false;
    for (size_t j = 0; j < sizeof numbers / sizeof numbers[0]; j++) {
      if (strcmp(argv[i], numbers[j].key) == 0) {
        *numbers[j].value = (uint32_t)strtoul(value, NULL, 10);
        known = true;
      }
    }
    if (strcmp(argv[i], "architecture") == 0)
      model.architecture = value;
    else if (strcmp(argv[i], "type") == 0 && find_type(value, &model.type))
      known = true;
    else if (strcmp(argv[i], "tied") == 0)
      model.tied = strcmp(value, "1") == 0;
    else if (strcmp(argv[i], "end-logit") == 0)
      model.end_logit = strtof(value, NULL);
    else if (strcmp(argv[i], "name") == 0)
      model.name = value;
    else if (strcmp(argv[i], "template") == 0)
      model.chat_template = value;
    else if (!known)
      return usage();
  }
  if (n_files > 0)
    tiny_model_save_split(&model, argv[1], n_files);
  else
    tiny_model_save(&model, argv[1]);
  return 0;
}
