// What the kernels of a gated delta net share; em_stage_delta_net in backend.h is the formula.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"

layout(local_size_x = 128) in;

layout(push_constant, scalar) uniform Push {
  Floats u;            // [rows, width]: u | z | b | a
  Floats mixed;        // [rows, channels]: q and k normed, and v
  Floats y;            // [rows, n_v * v_dim]
  Addresses states;    // of segments of places: [n_conv - 1][channels], then [n_v][k_dim][v_dim]
  Floats conv;         // [channels][n_conv]
  Floats a_log;
  Floats dt_bias;
  Floats norm;
  Words step;
  uint width;
  uint n_k, n_v, k_dim, v_dim, n_conv;
  uint tiled;
  uint segment_states;
  uint state_floats;   // of a place
  float eps;
} push;

uint channels() {
  return 2u * push.n_k * push.k_dim + push.n_v * push.v_dim;
}

// The slot's state, and where in it its floats begin.
Floats state_of(uint slot, out uint at) {
  const uint place = push.step.v[push.step.v[STEP_STATES] + slot];
  at = place % push.segment_states * push.state_floats;
  return Floats(push.states.v[place / push.segment_states]);
}

// The slot's first row, or the number of rows, and how many follow it.
uint rows_of(uint slot, out uint n) {
  const uint slots = push.step.v[STEP_SLOTS], n_rows = push.step.v[STEP_N_ROWS];
  uint first = 0u;
  while (first < n_rows && push.step.v[slots + min(first, n_rows - 1u)] != slot)
    first++;
  n = 0u;
  while (first + n < n_rows && push.step.v[slots + min(first + n, n_rows - 1u)] == slot)
    n++;
  return first;
}

shared float sums[128];

float sum_of_all(float own, uint lane) {
  sums[lane] = own;
  barrier();
  [[unroll]] for (uint half_ = 64u; half_ > 0u; half_ >>= 1) {
    if (lane < half_)
      sums[lane] += sums[lane + half_];
    barrier();
  }
  const float sum = sums[0];
  barrier();
  return sum;
}
