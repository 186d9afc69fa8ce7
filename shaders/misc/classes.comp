#version 460
// keys[o, c] = the highest key among the logits c, c + n_classes, c + 2 n_classes ... of output o. An invocation a class:
// neighbours read neighbours, and nothing is shared.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"
#include "../common/keys.glsl"

layout(local_size_x = 64) in;

layout(buffer_reference, scalar, buffer_reference_align = 8) buffer KeysOut { uint64_t v[]; };

layout(push_constant, scalar) uniform Push {
  Floats x;     // [outputs, width]
  KeysOut keys; // [outputs, n_classes]
  Words step;
  uint width;
  uint n_classes;
} push;

void main() {
  const uint o = gl_WorkGroupID.y, c = gl_GlobalInvocationID.x;
  if (o >= push.step.v[STEP_N_OUTPUTS] || c >= push.n_classes)
    return;
  uint64_t best = 0ul;
  for (uint i = c; i < push.width; i += push.n_classes)
    best = max(best, key_of(push.x.v[o * push.width + i], i));
  push.keys.v[o * push.n_classes + c] = best;
}
