/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The settings a model's makers recommend, which newer files carry. */
#include "engine/engine.h"

static void take(const em_gguf *gguf, const char *key, float min, float max, float *out) {
  float value;
  if (em_gguf_get_f32(gguf, key, &value) && value >= min && value <= max)
    *out = value;
}

void em_default_sampling(const em_gguf *gguf, em_sampling *out) {
  *out = (em_sampling){.temperature = 0.7f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f};
  take(gguf, "general.sampling.temp", 0, 100, &out->temperature);
  take(gguf, "general.sampling.top_p", 0, 1, &out->top_p);
  take(gguf, "general.sampling.min_p", 0, 1, &out->min_p);
  take(gguf, "general.sampling.penalty_repeat", 0, 100, &out->repetition_penalty);
  uint32_t count;
  if (em_gguf_get_u32(gguf, "general.sampling.top_k", &count))
    out->top_k = count;
  if (em_gguf_get_u32(gguf, "general.sampling.penalty_last_n", &count))
    out->penalty_window = count;
}
