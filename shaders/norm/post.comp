#version 460
// y[r, p, :] = (w * n(x[r, p, :]) + bias (+ residual[r, p, :])) * scale * by; n divides by the root of the mean square, or with LAYER
// takes the mean away first. One workgroup a (piece, row): a piece of n values is normed by itself. y may be x or residual.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"

layout(constant_id = 0) const bool LAYER = false;
layout(local_size_x = 128) in;

layout(push_constant, scalar) uniform Push {
  Floats x;
  Floats w;        // [n]
  Floats bias;     // [n] or address 0
  Floats residual; // or address 0
  Floats by;       // [1] or address 0
  Floats y;
  Words step;
  uint n;
  uint width;      // of a row of x, residual and y
  uint outputs;    // 1: rows are the step's outputs; 2: so they are of y, and x and residual have all of the step's rows
  float eps;
  float scale;
} push;

shared float sums[128];

float sum_of_all(float own, uint lane) {
  sums[lane] = own;
  barrier();
  [[unroll]] for (uint half_ = 64u; half_ > 0u; half_ >>= 1) {
    if (lane < half_)
      sums[lane] += sums[lane + half_];
    barrier();
  }
  const float sum = sums[0];
  barrier();
  return sum;
}

void main() {
  const uint i = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
  if (i >= push.step.v[push.outputs != 0u ? STEP_N_OUTPUTS : STEP_N_ROWS])
    return;
  const uint row = push.outputs == 2u ? push.step.v[push.step.v[STEP_OUTPUTS] + i] : i;
  const uint from = row * push.width + gl_WorkGroupID.x * push.n, to = i * push.width + gl_WorkGroupID.x * push.n;
  float middle = 0.0;
  if (LAYER) {
    float sum = 0.0;
    for (uint k = lane; k < push.n; k += 128u)
      sum += push.x.v[from + k];
    middle = sum_of_all(sum, lane) / float(push.n);
  }
  float square = 0.0;
  for (uint k = lane; k < push.n; k += 128u) {
    const float value = push.x.v[from + k] - middle;
    square = fma(value, value, square);
  }
  const float factor = 1.0 / sqrt(sum_of_all(square, lane) / float(push.n) + push.eps);
  const float scale = push.scale * (uvec2(push.by) == uvec2(0u) ? 1.0 : push.by.v[0]);
  for (uint k = lane; k < push.n; k += 128u) {
    float value = (push.x.v[from + k] - middle) * factor * push.w.v[k];
    if (uvec2(push.bias) != uvec2(0u))
      value += push.bias.v[k];
    if (uvec2(push.residual) != uvec2(0u))
      value += push.residual.v[from + k];
    push.y.v[to + k] = value * scale;
  }
}
