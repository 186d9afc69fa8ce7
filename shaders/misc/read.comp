#version 460
// Reads memory and does nothing with it, to measure how fast that goes: each workgroup reads BLOCKS runs of 64 vectors of 16
// bytes, without a loop, and writes only where the sum of all bits has a value that no memory filled as ours has. With BLOCKS 0
// a dispatch of nothing.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"

layout(constant_id = 0) const uint BLOCKS = 0u; // 0 or 32
layout(local_size_x = 64) in;

layout(push_constant, scalar) uniform Push {
  Words4 from;
  WordsOut sink;
} push;

void main() {
  uvec4 sum = uvec4(0u);
  if (BLOCKS > 0u) {
    const uint at = gl_WorkGroupID.x * 32u * 64u + gl_LocalInvocationIndex;
    [[unroll]] for (uint i = 0u; i < 32u; i++)
      sum ^= push.from.v[at + i * 64u];
  }
  if ((sum.x ^ sum.y ^ sum.z ^ sum.w) == 0xffffffffu)
    push.sink.v[0] = sum.x;
}
