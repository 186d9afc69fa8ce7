#version 460
// Groups pairs of a row and one of its experts by expert, in blocks of at most `columns` pairs. groups: the number of blocks; where the pairs
// begin; from GROUPS_HEADER on three words a block: expert, first pair and number of pairs. In what order the pairs of an expert stand changes no
// value. One workgroup.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"

layout(local_size_x = 256) in;

layout(push_constant, scalar) uniform Push {
  Floats routes;   // [rows, 2 n_used]
  WordsOut groups;
  WordsOut chosen; // receives the number of experts that some row chose
  Words step;
  uint n_used;
  uint n_experts;  // at most 1024
  uint columns;
} push;

shared uint starts[1025];
shared uint blocks[1025];

uint expert_of(uint pair) {
  const float number = push.routes.v[pair / push.n_used * 2u * push.n_used + pair % push.n_used];
  // Routes may come from elsewhere: what is no expert must not be read past the stack's end.
  return number > 0.0 && number < float(push.n_experts) ? uint(number) : 0u;
}

void main() {
  const uint lane = gl_LocalInvocationID.x, n_pairs = push.step.v[STEP_N_ROWS] * push.n_used;
  for (uint e = lane; e <= push.n_experts; e += 256u)
    starts[e] = 0u;
  barrier();
  for (uint pair = lane; pair < n_pairs; pair += 256u)
    atomicAdd(starts[expert_of(pair) + 1u], 1u);
  barrier();
  if (lane == 0u) {
    uint n_chosen = 0u;
    blocks[0] = 0u;
    for (uint e = 0u; e < push.n_experts; e++) {
      const uint n = starts[e + 1u];
      n_chosen += n > 0u ? 1u : 0u;
      blocks[e + 1u] = blocks[e] + (n + push.columns - 1u) / push.columns;
      starts[e + 1u] = starts[e] + n;
    }
    push.groups.v[0] = blocks[push.n_experts];
    push.groups.v[1] = GROUPS_HEADER + 3u * blocks[push.n_experts];
    push.chosen.v[0] = n_chosen;
  }
  barrier();
  const uint order = GROUPS_HEADER + 3u * blocks[push.n_experts];
  for (uint e = lane; e < push.n_experts; e += 256u)
    for (uint b = blocks[e]; b < blocks[e + 1u]; b++) {
      const uint first = starts[e] + (b - blocks[e]) * push.columns, at = GROUPS_HEADER + 3u * b;
      push.groups.v[at] = e;
      push.groups.v[at + 1u] = first;
      push.groups.v[at + 2u] = min(push.columns, starts[e + 1u] - first);
    }
  barrier();
  for (uint pair = lane; pair < n_pairs; pair += 256u)
    push.groups.v[order + atomicAdd(starts[expert_of(pair)], 1u)] = pair;
}
