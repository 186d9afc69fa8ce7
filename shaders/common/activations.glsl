// em_activation of backend.h, with the same numbers.
const uint ACT_NONE = 0u, ACT_SWIGLU = 1u, ACT_GEGLU = 2u, ACT_SWIGLU_OAI = 3u, ACT_GELU = 4u, ACT_SILU = 5u, ACT_SIGMOID = 6u;

float gelu(float x) {
  // The argument is kept where tanh is not 1 or -1 already: some drivers compute it from powers that overflow.
  return 0.5 * x * (1.0 + tanh(clamp(0.7978845608 * (x + 0.044715 * x * x * x), -15.0, 15.0)));
}

float silu(float x) {
  return x / (1.0 + exp(-x));
}

float activate(uint activation, float g, float u) {
  if (activation == ACT_SWIGLU)
    return silu(g) * u;
  if (activation == ACT_GEGLU)
    return gelu(g) * u;
  if (activation == ACT_SWIGLU_OAI) {
    g = min(g, 7.0);
    return g / (1.0 + exp(-1.702 * g)) * (clamp(u, -7.0, 7.0) + 1.0);
  }
  if (activation == ACT_GELU)
    return gelu(g);
  if (activation == ACT_SILU)
    return silu(g);
  return activation == ACT_SIGMOID ? 1.0 / (1.0 + exp(-g)) : g;
}
