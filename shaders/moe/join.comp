#version 460
// What a heads stage puts between and behind the products: y[r] = [.. | append_0 | .. | append_1 | ... | tail[r, :]].
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"

layout(local_size_x = 128) in;

layout(push_constant, scalar) uniform Push {
  Floats append; // [rows, n_heads * n_append]
  Floats tail;   // [rows, n_tail]
  Floats y;
  Words step;
  uint n_heads;
  uint n_rows;   // values of a product
  uint n_append;
  uint n_tail;
} push;

void main() {
  const uint i = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y, n = push.n_heads * push.n_append;
  if (row >= push.step.v[STEP_N_ROWS] || i >= n + push.n_tail)
    return;
  const uint all = push.n_heads * (push.n_rows + push.n_append), y = row * (all + push.n_tail);
  if (i < n)
    push.y.v[y + i / push.n_append * (push.n_rows + push.n_append) + push.n_rows + i % push.n_append] = push.append.v[row * n + i];
  else
    push.y.v[y + all + i - n] = push.tail.v[row * push.n_tail + i - n];
}
