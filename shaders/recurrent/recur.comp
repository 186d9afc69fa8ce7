#version 460
// The recurrence of a value head over a slot's rows, one after the other. One workgroup a (value head, slot); an invocation keeps whole
// columns of the head's matrix, so that nobody else writes what it reads.
#extension GL_GOOGLE_include_directive : require
#include "delta.glsl"

shared float q[256], k[256];

void main() {
  const uint head = gl_WorkGroupID.x, slot = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
  if (slot >= push.step.v[STEP_N_SLOTS])
    return;
  uint n, at;
  const uint first = rows_of(slot, n);
  if (n == 0u)
    return;
  Floats s = state_of(slot, at);
  const uint n_channels = channels(), k_head = push.tiled == 1u ? head % push.n_k : head / (push.n_v / push.n_k);
  at += (push.n_conv - 1u) * n_channels + head * push.k_dim * push.v_dim;
  const bool starts = push.step.v[push.step.v[STEP_POSITIONS] + first] == 0u;
  for (uint i = 0u; i < n; i++) {
    const uint row = first + i, tail = row * push.width + n_channels + push.n_v * push.v_dim + head;
    for (uint d = lane; d < push.k_dim; d += 128u) {
      q[d] = push.mixed.v[row * n_channels + k_head * push.k_dim + d];
      k[d] = push.mixed.v[row * n_channels + (push.n_k + k_head) * push.k_dim + d];
    }
    barrier();
    const float beta = 1.0 / (1.0 + exp(-push.u.v[tail]));
    const float dt = push.u.v[tail + push.n_v] + push.dt_bias.v[head];
    const float decay = starts && i == 0u ? 0.0 : exp(push.a_log.v[head] * (dt > 20.0 ? dt : log(1.0 + exp(dt))));
    float square = 0.0;
    for (uint j = lane; j < push.v_dim; j += 128u) {
      float seen = 0.0, o = 0.0;
      if (decay != 0.0)
        for (uint d = 0u; d < push.k_dim; d++)
          seen = fma(decay * s.v[at + d * push.v_dim + j], k[d], seen);
      const float delta = beta * (push.mixed.v[row * n_channels + 2u * push.n_k * push.k_dim + head * push.v_dim + j] - seen);
      for (uint d = 0u; d < push.k_dim; d++) {
        // What stood in the place before is not looked at where a sequence begins: it may be no number.
        const float old = decay == 0.0 ? 0.0 : decay * s.v[at + d * push.v_dim + j];
        const float value = fma(k[d], delta, old);
        s.v[at + d * push.v_dim + j] = value;
        o = fma(value, q[d], o);
      }
      push.y.v[(row * push.n_v + head) * push.v_dim + j] = o;
      square = fma(o, o, square);
    }
    const float factor = 1.0 / sqrt(sum_of_all(square, lane) / float(push.v_dim) + push.eps);
    for (uint j = lane; j < push.v_dim; j += 128u) {
      const uint to = (row * push.n_v + head) * push.v_dim + j;
      const float z = push.u.v[row * push.width + n_channels + head * push.v_dim + j];
      push.y.v[to] = push.norm.v[j] * (push.y.v[to] * factor) * (z / (1.0 + exp(-z)));
    }
  }
}
