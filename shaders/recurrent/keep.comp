#version 460
// Leaves each slot's last rows of u for the next step. One invocation a channel, in rising order of rows: they move down in place.
#extension GL_GOOGLE_include_directive : require
#include "delta.glsl"

void main() {
  const uint c = gl_GlobalInvocationID.x, slot = gl_WorkGroupID.y, n_channels = channels(), n_old = push.n_conv - 1u;
  if (slot >= push.step.v[STEP_N_SLOTS] || c >= n_channels)
    return;
  uint n, at;
  const uint first = rows_of(slot, n);
  if (n == 0u)
    return;
  Floats old = state_of(slot, at);
  const bool starts = push.step.v[push.step.v[STEP_POSITIONS] + first] == 0u;
  for (uint i = 0u; i < n_old; i++) {
    float value = 0.0;
    if (i + n >= n_old)
      value = push.u.v[(first + i + n - n_old) * push.width + c];
    else if (!starts)
      value = old.v[at + (i + n) * n_channels + c];
    old.v[at + i * n_channels + c] = value;
  }
}
