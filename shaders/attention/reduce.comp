#version 460
// Merges the pages' partial results of attend.comp in rising order.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"

layout(local_size_x = 128) in;

layout(push_constant, scalar) uniform Push {
  Floats partial; // [row][head][page][2 + v_dim]
  Floats y;       // [rows, n_heads * v_dim]
  Words step;
  uint n_heads;
  uint v_dim;
  uint max_pages;
} push;

void main() {
  const uint head = gl_WorkGroupID.x;
  const uint row = gl_WorkGroupID.y;
  if (row >= push.step.v[STEP_N_ROWS])
    return;
  const uint position = push.step.v[push.step.v[STEP_POSITIONS] + row];
  const uint n_pages = position / PAGE_TOKENS + 1u;
  const uint stride = 2u + push.v_dim;
  const uint base = (row * push.n_heads + head) * push.max_pages * stride;
  for (uint d = gl_LocalInvocationID.x; d < push.v_dim; d += 128u) {
    float largest = -3.402823e38, total = 0.0, y = 0.0;
    for (uint i = 0u; i < n_pages; i++) {
      // As in attend.comp: the place must exist even when no invocation is left in the loop.
      const uint at = base + min(i, n_pages - 1u) * stride;
      const float m = push.partial.v[at], sum = push.partial.v[at + 1u];
      const float next = max(largest, m);
      const float a = exp(largest - next), b = exp(m - next);
      total = total * a + sum * b;
      y = y * a + push.partial.v[at + 2u + d] * b;
      largest = next;
    }
    push.y.v[(row * push.n_heads + head) * push.v_dim + d] = y / total;
  }
}
