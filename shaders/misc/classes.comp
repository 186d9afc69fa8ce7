#version 460
// keys[o, c] = the highest key among the logits c, c + n_classes, c + 2 n_classes ... of output o. An invocation a class:
// neighbours read neighbours, and nothing is shared.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"
#include "../common/keys.glsl"

const uint FOLD = 16u; // members of a class

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
  // Loads that depend on nothing are all on their way at once.
  [[unroll]] for (uint j = 0u; j < FOLD; j++) {
    const uint i = c + j * push.n_classes;
    const float value = push.x.v[o * push.width + min(i, push.width - 1u)];
    best = i < push.width ? max(best, key_of(value, i)) : best;
  }
  push.keys.v[o * push.n_classes + c] = best;
}
