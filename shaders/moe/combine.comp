#version 460
// y[r, i] = sum over j of weight_j * x[r, j, i] (+ residual[r, i]), j rising. y may be residual.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"

layout(local_size_x = 128) in;

layout(push_constant, scalar) uniform Push {
  Floats x;        // [rows, n_used, width]
  Floats routes;   // [rows, 2 n_used]
  Floats residual; // or address 0
  Floats y;
  Words step;
  uint n_used;
  uint width;
} push;

void main() {
  const uint i = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y;
  if (row >= push.step.v[STEP_N_ROWS] || i >= push.width)
    return;
  float sum = 0.0;
  for (uint j = 0u; j < push.n_used; j++)
    sum = fma(push.routes.v[row * 2u * push.n_used + push.n_used + j], push.x.v[(row * push.n_used + j) * push.width + i], sum);
  push.y.v[row * push.width + i] = uvec2(push.residual) == uvec2(0u) ? sum : sum + push.residual.v[row * push.width + i];
}
