#version 460
// Merges the pages' partial results of attend.comp in rising order, and the sink behind them.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"

layout(local_size_x = 128) in;

layout(push_constant, scalar) uniform Push {
  Floats partial; // [row][head][page][2 + v_dim]
  Floats y;       // [rows, n_heads * v_dim]
  Floats sinks;   // [n_heads] or address 0
  Words step;
  uint n_heads;
  uint v_dim;
  uint max_pages;
  uint window;    // as in attend.comp
  uint both_ways;
} push;

void main() {
  const uint head = gl_WorkGroupID.x;
  const uint row = gl_WorkGroupID.y;
  const uint n_rows = push.step.v[STEP_N_ROWS];
  if (row >= n_rows)
    return;
  const uint positions = push.step.v[STEP_POSITIONS], slots = push.step.v[STEP_SLOTS];
  uint last = push.step.v[positions + row];
  if (push.both_ways == 1u) // a few rows at most
    for (uint r = row; r < n_rows; r++)
      if (push.step.v[slots + min(r, n_rows - 1u)] == push.step.v[slots + row])
        last = push.step.v[positions + min(r, n_rows - 1u)];
  const uint n_pages = last / PAGE_TOKENS + 1u;
  const uint first = push.window != 0u && last + 1u > push.window ? (last + 1u - push.window) / PAGE_TOKENS : 0u;
  const uint stride = 2u + push.v_dim;
  const uint base = (row * push.n_heads + head) * push.max_pages * stride;
  for (uint d = gl_LocalInvocationID.x; d < push.v_dim; d += 128u) {
    float largest = -3.402823e38, total = 0.0, y = 0.0;
    for (uint i = first; i < n_pages; i++) {
      // As in attend.comp: the place must exist even when no invocation is left in the loop.
      const uint at = base + min(i, n_pages - 1u) * stride;
      const float m = push.partial.v[at], sum = push.partial.v[at + 1u];
      const float next = max(largest, m);
      const float a = exp(largest - next), b = exp(m - next);
      total = fma(total, a, sum * b);
      y = fma(y, a, push.partial.v[at + 2u + d] * b);
      largest = next;
    }
    float factor = 1.0;
    if (uvec2(push.sinks) != uvec2(0u)) {
      const float sink = push.sinks.v[head], next = max(largest, sink);
      factor = exp(largest - next);
      total = fma(total, factor, exp(sink - next));
    }
    push.y.v[(row * push.n_heads + head) * push.v_dim + d] = y * factor / total;
  }
}
