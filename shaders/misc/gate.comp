#version 460
// y[r, i] = act(gate[r, i]) * x[r, i], or act(gate[r, 0]) for every i. y may be x.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"
#include "../common/activations.glsl"

layout(constant_id = 0) const uint ACTIVATION = 0u;
layout(local_size_x = 128) in;

layout(push_constant, scalar) uniform Push {
  Floats x;
  Floats gate;     // where the gates of the first row begin
  Floats y;
  Words step;
  uint width;
  uint gate_width; // of a row that gates stand in
  uint is_scalar;
  uint outputs;    // 1: rows are the step's outputs
} push;

void main() {
  const uint i = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y;
  if (row >= push.step.v[push.outputs == 1u ? STEP_N_OUTPUTS : STEP_N_ROWS] || i >= push.width)
    return;
  const float gate = push.gate.v[row * push.gate_width + (push.is_scalar == 1u ? 0u : i)];
  push.y.v[row * push.width + i] = activate(ACTIVATION, gate, 0.0) * push.x.v[row * push.width + i];
}
