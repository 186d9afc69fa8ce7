/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How the rotation is scaled beyond the context that a model was first trained on.
 *
 * YaRN (Peng and others, 2023): fast pairs rotate as they were trained, slow ones by freq_scale as fast, and between
 * two pairs the share of the one falls evenly. The pair that makes n turns within the original context is corr(n) =
 * n_rot ln(n_original / (2 pi n)) / (2 ln base) and cos and sin are multiplied with 0.1 ln(factor) + 1, or with the
 * quotient of two such terms. */
#include <math.h>
#include <string.h>

#include "model/hparams.h"

typedef struct scaling {
  float factor, old_factor, attn_factor;
  float ext_factor, beta_fast, beta_slow;
} scaling;

static em_status read_real(em_keys *keys, const char *key, double min, double max, float *out, em_error *error) {
  float value;
  if (!em_keys_has(keys, key))
    return EM_OK;
  if (!em_gguf_get_f32(keys->gguf, keys->name, &value))
    return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no real number", keys->name);
  if (!((double)value >= min && (double)value <= max))
    return em_fail(error, EM_ERR_FORMAT, "the model's '%s' is %.10g, outside %.10g to %.10g", keys->name, (double)value,
                   min, max);
  *out = value;
  return EM_OK;
}

static bool is_word(em_text text, const char *word) {
  return text.bytes == strlen(word) && memcmp(text.text, word, text.bytes) == 0;
}

static double correction(const em_hparams *hparams, uint32_t n_rot, float base, double turns) {
  return n_rot * log(hparams->rope_n_original / (turns * 2 * 3.14159265358979323846)) / (2 * log((double)base));
}

em_rope em_hparams_rope(const em_hparams *hparams, uint32_t n_rot, float base, bool is_scaled) {
  em_rope rope = hparams->rope;
  rope.n_rot = n_rot;
  rope.base = base;
  if (!is_scaled) {
    rope.freq_scale = rope.magnitude = 1;
    rope.ext_factor = 0;
  }
  if (rope.ext_factor != 0) {
    /* The limits hold the turns until here, as they do not depend on the base. */
    double low = floor(correction(hparams, n_rot, base, (double)hparams->rope.ramp_high));
    double high = ceil(correction(hparams, n_rot, base, (double)hparams->rope.ramp_low));
    rope.ramp_low = (float)(low > 0 ? low : 0);
    rope.ramp_high = (float)(high < n_rot - 1 ? high : n_rot - 1);
  } else {
    rope.ramp_low = rope.ramp_high = 0;
  }
  return rope;
}

em_status em_hparams_read_scaling(em_keys *keys, bool longrope, em_hparams *out, em_error *error) {
  em_status status = EM_OK;
  em_text type = {"linear", 6};
  scaling s = {.attn_factor = 1, .beta_fast = 32, .beta_slow = 1};
  if (em_keys_has(keys, "rope.scaling.type") && !em_gguf_get_text(keys->gguf, keys->name, &type))
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no text", keys->name));
  bool none = is_word(type, "none"), yarn = is_word(type, "yarn");
  out->has_longrope = is_word(type, "longrope");
  if (!none && !yarn && !is_word(type, "linear") && !(out->has_longrope && longrope))
    EM_TRY(em_fail(error, EM_ERR_UNSUPPORTED, "this model scales its context by '%.32s', which Hearth cannot run yet",
                   type.text));

  /* A factor of 0 means that there is no scaling, as if the key were absent. */
  EM_TRY(read_real(keys, "rope.scaling.factor", 0, 1e4, &s.factor, error));
  EM_TRY(read_real(keys, "rope.scale_linear", 0, 1e4, &s.old_factor, error));
  s.factor = s.factor > 0 ? s.factor : s.old_factor;
  if (s.factor > 0 && s.factor < 1e-3f)
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the model's '%s' is %.10g, outside 0.001 to 10000",
                   em_keys_name(keys, "rope.scaling.factor"), (double)s.factor));
  if (none || s.factor == 0)
    s.factor = 1;
  EM_TRY(read_real(keys, "rope.scaling.attn_factor", 1e-3, 1e3, &s.attn_factor, error));
  s.ext_factor = yarn ? 1 : 0;
  EM_TRY(read_real(keys, "rope.scaling.yarn_ext_factor", -1, 1, &s.ext_factor, error));
  if (s.ext_factor < 0) /* an old way to say that nothing is said */
    s.ext_factor = yarn ? 1 : 0;
  EM_TRY(read_real(keys, "rope.scaling.yarn_beta_fast", 1e-3, 1e6, &s.beta_fast, error));
  EM_TRY(read_real(keys, "rope.scaling.yarn_beta_slow", 1e-3, 1e6, &s.beta_slow, error));
  EM_TRY(read_real(keys, "rope.scaling.yarn_log_multiplier", 0, 100, &out->rope_log_multiplier, error));
  out->rope_n_original = out->n_context;
  if (em_keys_has(keys, "rope.scaling.original_context_length") &&
      (!em_gguf_get_u32(keys->gguf, keys->name, &out->rope_n_original) || out->rope_n_original < 1 ||
       out->rope_n_original > EM_MODEL_MAX_CONTEXT))
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the model's '%s' is no whole number from 1 to %u", keys->name,
                   EM_MODEL_MAX_CONTEXT));

  out->rope_factor = s.factor;
  out->rope = (em_rope){
      .freq_scale = 1.0f / s.factor,
      .magnitude = s.attn_factor,
      .ext_factor = s.ext_factor,
      .ramp_low = s.beta_slow,
      .ramp_high = s.beta_fast,
  };
  if (s.ext_factor != 0) {
    float term = 0.1f * logf(s.factor);
    out->rope.magnitude *= (term + 1) / (out->rope_log_multiplier * term + 1);
  }
fail:
  return status;
}
