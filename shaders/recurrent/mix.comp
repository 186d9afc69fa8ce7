#version 460
// The convolution over a slot's rows, and the norms of q and k. One workgroup a (head, row): heads of q, then of k, then of v.
#extension GL_GOOGLE_include_directive : require
#include "delta.glsl"

void main() {
  const uint head = gl_WorkGroupID.x, row = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
  if (row >= push.step.v[STEP_N_ROWS])
    return;
  const bool is_v = head >= 2u * push.n_k;
  const uint dim = is_v ? push.v_dim : push.k_dim;
  const uint from = is_v ? 2u * push.n_k * push.k_dim + (head - 2u * push.n_k) * push.v_dim : head * push.k_dim;
  const uint slots = push.step.v[STEP_SLOTS], slot = push.step.v[slots + row];
  const uint position = push.step.v[push.step.v[STEP_POSITIONS] + row], n_channels = channels();
  uint old_at, before = 0u; // rows of the slot in this step before this one, as far as they are looked at
  Floats old = state_of(slot, old_at);
  while (before + 1u < push.n_conv && before < row && push.step.v[slots + row - min(row, before + 1u)] == slot)
    before++;
  float square = 0.0;
  for (uint d = lane; d < dim; d += 128u) {
    const uint c = from + d;
    float sum = 0.0;
    for (uint j = 0u; j < push.n_conv; j++) {
      const uint back = push.n_conv - 1u - j;
      if (back > position)
        continue;
      const float u = back <= before ? push.u.v[(row - back) * push.width + c]
                                     : old.v[old_at + (push.n_conv - 1u - (back - before)) * n_channels + c];
      sum = fma(push.conv.v[c * push.n_conv + j], u, sum);
    }
    const float value = sum / (1.0 + exp(-sum));
    push.mixed.v[row * n_channels + c] = value;
    square = fma(value, value, square);
  }
  if (is_v)
    return;
  const float factor = (head < push.n_k ? 1.0 / sqrt(float(push.k_dim)) : 1.0) / max(sqrt(sum_of_all(square, lane)), push.eps);
  for (uint d = lane; d < dim; d += 128u)
    push.mixed.v[row * n_channels + from + d] *= factor;
}
