#version 460
// y[i, :] = w * x[r, :] / sqrt(mean(x[r, :]^2) + eps); r = i, or the i-th output's row. One workgroup a row. LAYER: of x less its
// mean, plus bias.
// w at address 0: the row is only copied (gathering the outputs). FORM says what y is:
//   FLOATS  float32
//   BYTES   of each group of 32 values two vectors of int8 = round(value / scale), scale = largest / 127, and one vector: scale,
//           and scale * sum of each half's int8
//   HALVES  of each group of 32 values, zeros behind the last, four vectors of halves = value / scale, scale a power of two that
//           makes the largest 8 to 16, and one vector as above. 8 values stand in the order 0, 2, 1, 3, 4, 6, 5, 7.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"

const uint FLOATS = 0u, BYTES = 1u, HALVES = 2u;
layout(constant_id = 0) const uint FORM = 0u;
layout(constant_id = 1) const bool LAYER = false;
layout(local_size_x = 128) in;
const float LEAST_LARGEST = 127.0 * 1.17549435e-38; // of a group whose scale is a normal number

layout(push_constant, scalar) uniform Push {
  Floats x;
  Floats w;
  Floats y;
  Words step;
  uint n;
  float eps;
  uint outputs_only;
  Floats bias; // or address 0
} push;

shared float sums[128];
float middle = 0.0; // of a row's values, with LAYER

// Value k of a row that is normed.
float normed(float x, uint k, float factor) {
  if (!LAYER)
    return push.w.v[k] * (x * factor);
  return push.w.v[k] * ((x - middle) * factor) + (uvec2(push.bias) == uvec2(0u) ? 0.0 : push.bias.v[k]);
}

// Quantises the row's groups; scaled by factor and, where there are, the weights.
void quantise(uint from, uint to, uint lane, float factor) {
  const bool weighted = uvec2(push.w) != uvec2(0u);
  for (uint group = lane; group < push.n / 32u; group += 128u) {
    float values[32];
    float largest = 0.0;
    [[unroll]] for (uint k = 0u; k < 32u; k++) {
      float value = push.x.v[from + group * 32u + k];
      if (weighted)
        value = normed(value, group * 32u + k, factor);
      values[k] = value;
      largest = max(largest, abs(value));
    }
    // A device may take what is smaller than any normal number for zero, or not: all of it is zero here.
    const float scale = largest < LEAST_LARGEST ? 0.0 : largest / 127.0;
    const float inverse = scale == 0.0 ? 0.0 : 1.0 / scale;
    WordsOut y = WordsOut(push.y);
    const uint at = (to / 32u + group) * 12u;
    int halves[2] = int[2](0, 0);
    [[unroll]] for (uint j = 0u; j < 8u; j++) {
      uint word = 0u;
      [[unroll]] for (uint b = 0u; b < 4u; b++) {
        const int rounded = int(roundEven(values[j * 4u + b] * inverse));
        halves[j >> 2] += rounded;
        word |= (uint(rounded) & 255u) << (8u * b);
      }
      y.v[at + j] = word;
    }
    y.v[at + 8u] = floatBitsToUint(scale);
    y.v[at + 9u] = floatBitsToUint(scale * float(halves[0]));
    y.v[at + 10u] = floatBitsToUint(scale * float(halves[1]));
    y.v[at + 11u] = 0u;
  }
}

void halve(uint from, uint to, uint lane, float factor) {
  const bool weighted = uvec2(push.w) != uvec2(0u);
  const uint n_groups = (push.n + 31u) / 32u;
  WordsOut y = WordsOut(push.y);
  for (uint group = lane; group < n_groups; group += 128u) {
    float values[32];
    float largest = 0.0;
    [[unroll]] for (uint k = 0u; k < 32u; k++) {
      const uint at = min(group * 32u + k, push.n - 1u);
      float value = push.x.v[from + at];
      if (weighted)
        value = normed(value, at, factor);
      values[k] = group * 32u + k < push.n ? value : 0.0;
      largest = max(largest, abs(values[k]));
    }
    // What is too small for that is lost; of what is no number nothing better can be made.
    const int exponent = clamp(int(floatBitsToUint(largest) >> 23), 4, 250);
    const float scale = uintBitsToFloat(uint(exponent - 3) << 23);
    const float inverse = uintBitsToFloat(uint(257 - exponent) << 23);
    const uint at = (to * n_groups + group) * 20u;
    float halves[2] = float[2](0.0, 0.0);
    [[unroll]] for (uint j = 0u; j < 16u; j++) {
      const uint first = j / 4u * 8u + (j & 2u) * 2u + (j & 1u);
      const uint word = packHalf2x16(vec2(values[first], values[first + 2u]) * inverse);
      const vec2 rounded = unpackHalf2x16(word);
      halves[j >> 3] += rounded.x + rounded.y;
      y.v[at + j] = word;
    }
    y.v[at + 16u] = floatBitsToUint(scale);
    y.v[at + 17u] = floatBitsToUint(scale * halves[0]);
    y.v[at + 18u] = floatBitsToUint(scale * halves[1]);
    y.v[at + 19u] = 0u;
  }
}

void main() {
  const uint i = gl_WorkGroupID.x;
  const bool outputs = push.outputs_only == 1u;
  if (i >= push.step.v[outputs ? STEP_N_OUTPUTS : STEP_N_ROWS])
    return;
  const uint row = outputs ? push.step.v[push.step.v[STEP_OUTPUTS] + i] : i;
  const uint lane = gl_LocalInvocationID.x;
  const uint from = row * push.n, to = i * push.n;
  if (uvec2(push.w) == uvec2(0u)) {
    if (FORM == BYTES)
      quantise(from, to, lane, 1.0);
    if (FORM == HALVES)
      halve(from, i, lane, 1.0);
    if (FORM != FLOATS)
      return;
    for (uint k = lane; k < push.n; k += 128u)
      push.y.v[to + k] = push.x.v[from + k];
    return;
  }
  float sum = 0.0;
  if (LAYER) {
    for (uint k = lane; k < push.n; k += 128u)
      sum += push.x.v[from + k];
    sums[lane] = sum;
    barrier();
    [[unroll]] for (uint half_ = 64u; half_ > 0u; half_ >>= 1) {
      if (lane < half_)
        sums[lane] += sums[lane + half_];
      barrier();
    }
    middle = sums[0] / float(push.n);
    sum = 0.0;
    barrier();
  }
  for (uint k = lane; k < push.n; k += 128u) {
    float value = push.x.v[from + k];
    if (LAYER)
      value -= middle;
    sum = fma(value, value, sum);
  }
  sums[lane] = sum;
  barrier();
  [[unroll]] for (uint half_ = 64u; half_ > 0u; half_ >>= 1) {
    if (lane < half_)
      sums[lane] += sums[lane + half_];
    barrier();
  }
  const float factor = 1.0 / sqrt(sums[0] / float(push.n) + push.eps);
  if (FORM == BYTES)
    quantise(from, to, lane, factor);
  if (FORM == HALVES)
    halve(from, i, lane, factor);
  if (FORM != FLOATS)
    return;
  for (uint k = lane; k < push.n; k += 128u)
    push.y.v[to + k] = normed(push.x.v[from + k], k, factor);
}
