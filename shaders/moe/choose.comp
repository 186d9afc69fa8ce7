#version 460
// A row's experts and their weights from its logits; em_stage_router in backend.h is the formula. One workgroup a row.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"

layout(constant_id = 0) const uint GATING = 0u; // em_gating
const uint SOFTMAX = 0u, SIGMOID = 1u, SOFTMAX_SELECTED = 2u, SQRT_SOFTPLUS = 3u;
const uint LANES = 64u;
layout(local_size_x = 64) in;

layout(push_constant, scalar) uniform Push {
  Floats logits;      // [rows, n_experts]
  Floats bias;        // [n_experts] or address 0
  Floats select_bias; // the same
  Floats routes;
  Words step;
  uint n_experts;     // at most 1024
  uint n_used;        // at most 64
  uint n_groups;      // at most 64
  uint n_groups_used;
  uint normalise;
  float logit_scale;
  float scale;
} push;

#define LOWEST uintBitsToFloat(0xff800000u)
shared float p[1024];
shared float order_[1024]; // what the choice goes by; what is no number comes last
shared uint taken[1024];
shared float best[LANES];
shared uint best_at[LANES];
shared float weights[64];
shared float group_sums[64];
shared uint looked_at[64];

float reduced(bool is_max, float own, uint lane) {
  best[lane] = own;
  barrier();
  [[unroll]] for (uint half_ = LANES / 2u; half_ > 0u; half_ >>= 1) {
    if (lane < half_)
      best[lane] = is_max ? max(best[lane], best[lane + half_]) : best[lane] + best[lane + half_];
    barrier();
  }
  own = best[0];
  barrier();
  return own;
}

void main() {
  const uint row = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
  if (row >= push.step.v[STEP_N_ROWS])
    return;
  float most = LOWEST;
  for (uint e = lane; e < push.n_experts; e += LANES) {
    float x = push.logits.v[row * push.n_experts + e] * push.logit_scale;
    if (uvec2(push.bias) != uvec2(0u))
      x += push.bias.v[e];
    if (GATING == SIGMOID)
      x = 1.0 / (1.0 + exp(-x));
    if (GATING == SQRT_SOFTPLUS)
      x = sqrt(x > 20.0 ? x : log(1.0 + exp(x)));
    p[e] = x;
    most = max(most, x);
  }
  if (GATING == SOFTMAX) {
    most = reduced(true, most, lane);
    float sum = 0.0;
    for (uint e = lane; e < push.n_experts; e += LANES)
      sum += p[e] = exp(p[e] - most);
    sum = reduced(false, sum, lane);
    for (uint e = lane; e < push.n_experts; e += LANES)
      p[e] /= sum;
  }
  for (uint e = lane; e < push.n_experts; e += LANES) {
    const float x = uvec2(push.select_bias) == uvec2(0u) ? p[e] : p[e] + push.select_bias.v[e];
    order_[e] = isnan(x) ? LOWEST : x;
    taken[e] = 0u;
  }
  barrier();
  if (push.n_groups > 1u) {
    const uint n = push.n_experts / push.n_groups;
    for (uint g = lane; g < push.n_groups; g += LANES) {
      float first = LOWEST, second = LOWEST;
      for (uint e = g * n; e < (g + 1u) * n; e++) {
        const float x = order_[e];
        second = x > first ? first : max(second, x);
        first = max(first, x);
      }
      group_sums[g] = n > 1u ? first + second : first;
      looked_at[g] = 0u;
    }
    barrier();
    if (lane == 0u)
      for (uint used = 0u; used < push.n_groups_used; used++) {
        uint found = push.n_groups;
        for (uint g = 0u; g < push.n_groups; g++)
          if (looked_at[g] == 0u && (found == push.n_groups || group_sums[g] > group_sums[min(found, 63u)]))
            found = g;
        looked_at[min(found, 63u)] = 1u;
      }
    barrier();
  }
  for (uint j = 0u; j < push.n_used; j++) {
    float own = LOWEST;
    uint at = 0xffffffffu;
    for (uint e = lane; e < push.n_experts; e += LANES) {
      const bool may = taken[e] == 0u && (push.n_groups <= 1u || looked_at[e / (push.n_experts / push.n_groups)] != 0u);
      if (may && (at == 0xffffffffu || order_[e] > own)) {
        own = order_[e];
        at = e;
      }
    }
    best[lane] = own;
    best_at[lane] = at;
    barrier();
    [[unroll]] for (uint half_ = LANES / 2u; half_ > 0u; half_ >>= 1) {
      if (lane < half_) {
        const float other = best[lane + half_];
        const uint other_at = best_at[lane + half_];
        if (other_at != 0xffffffffu &&
            (best_at[lane] == 0xffffffffu || other > best[lane] || (other == best[lane] && other_at < best_at[lane]))) {
          best[lane] = other;
          best_at[lane] = other_at;
        }
      }
      barrier();
    }
    if (lane == 0u) {
      const uint e = min(best_at[0], push.n_experts - 1u);
      push.routes.v[row * 2u * push.n_used + j] = float(e);
      weights[j] = p[e];
      taken[e] = 1u;
    }
    barrier();
  }
  if (lane != 0u)
    return;
  float sum = 0.0;
  if (GATING == SOFTMAX_SELECTED) {
    most = LOWEST;
    for (uint j = 0u; j < push.n_used; j++)
      most = max(most, weights[j]);
    for (uint j = 0u; j < push.n_used; j++)
      sum += weights[j] = exp(weights[j] - most);
    for (uint j = 0u; j < push.n_used; j++)
      weights[j] /= sum;
    sum = 0.0;
  }
  for (uint j = 0u; j < push.n_used; j++)
    sum += weights[j];
  for (uint j = 0u; j < push.n_used; j++)
    push.routes.v[row * 2u * push.n_used + push.n_used + j] =
        weights[j] / (push.normalise == 1u ? max(sum, 6.103515625e-5) : 1.0) * push.scale;
}
