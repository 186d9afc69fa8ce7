#version 460
// y[r, :] = x[r, :] for the step's rows or outputs: what the host is to read, where it cannot read the device's memory.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"

layout(local_size_x = 128) in;

layout(push_constant, scalar) uniform Push {
  Floats x;
  Floats y;
  Words step;
  uint width;
  uint outputs_only;
} push;

void main() {
  const uint r = gl_WorkGroupID.y, k = gl_GlobalInvocationID.x;
  if (r < push.step.v[push.outputs_only == 1u ? STEP_N_OUTPUTS : STEP_N_ROWS] && k < push.width)
    push.y.v[r * push.width + k] = push.x.v[r * push.width + k];
}
