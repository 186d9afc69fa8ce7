#version 460
// y[i, :] = w * x[r, :] / sqrt(mean(x[r, :]^2) + eps); r = i, or the i-th output's row. One workgroup a row.
// w at address 0: the row is only copied (gathering the outputs).
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"

layout(local_size_x = 128) in;

layout(push_constant, scalar) uniform Push {
  Floats x;
  Floats w;
  Floats y;
  Words step;
  uint n;
  float eps;
  uint outputs_only;
} push;

shared float sums[128];

void main() {
  const uint i = gl_WorkGroupID.x;
  const bool outputs = push.outputs_only == 1u;
  if (i >= push.step.v[outputs ? STEP_N_OUTPUTS : STEP_N_ROWS])
    return;
  const uint row = outputs ? push.step.v[push.step.v[STEP_OUTPUTS] + i] : i;
  const uint lane = gl_LocalInvocationID.x;
  const uint from = row * push.n, to = i * push.n;
  if (uvec2(push.w) == uvec2(0u)) {
    for (uint k = lane; k < push.n; k += 128u)
      push.y.v[to + k] = push.x.v[from + k];
    return;
  }
  float sum = 0.0;
  for (uint k = lane; k < push.n; k += 128u) {
    float value = push.x.v[from + k];
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
  for (uint k = lane; k < push.n; k += 128u)
    push.y.v[to + k] = push.w.v[k] * (push.x.v[from + k] * factor);
}
