#version 460
// out[r, h, :] = softmax(scale * q K^T) V over positions 0..pos of the row's slot, a page of 256 tokens at a time.
//
// PARTIAL: one workgroup a (head, row, page) writes the page's maximum, sum and weighted values, and reduce.comp merges them;
// else one workgroup a (head, row) walks the pages. Both merge pages in rising order with the same arithmetic, so that an
// answer does not depend on which of the two ran.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"

layout(constant_id = 0) const uint KV_TYPE = KV_F16;
layout(constant_id = 1) const bool PARTIAL = false;
const uint LANES = 128u;
layout(local_size_x = 128) in;

layout(push_constant, scalar) uniform Push {
  Floats qkv;        // [rows, width]: q first
  Floats y;          // PARTIAL: [row][head][page][2 + v_dim]; else [rows, n_heads * v_dim]
  Addresses keys;
  Addresses values;
  Words step;
  uint n_heads;
  uint n_kv_heads;
  uint k_dim;
  uint v_dim;
  uint width;        // of a row of qkv
  uint max_pages;
  uint k_segment_pages;
  uint v_segment_pages;
  float scale;
} push;

shared float q[256];
shared float p[PAGE_TOKENS];
shared float sums[LANES];

float dot_key(Words keys, uint token) {
  float sum = 0.0;
  if (KV_TYPE == KV_F32) {
    for (uint d = 0u; d < push.k_dim; d++)
      sum = fma(q[d], uintBitsToFloat(keys.v[token * push.k_dim + d]), sum);
  } else if (KV_TYPE == KV_F16) {
    Words4 wide = Words4(keys);
    const uint n = push.k_dim / 8u;
    for (uint i = 0u; i < n; i++) {
      const uvec4 w = wide.v[token * n + i];
      [[unroll]] for (uint j = 0u; j < 4u; j++) {
        const vec2 k = unpackHalf2x16(w[j]);
        sum = fma(q[i * 8u + 2u * j], k.x, sum);
        sum = fma(q[i * 8u + 2u * j + 1u], k.y, sum);
      }
    }
  } else {
    const uint n = push.k_dim / 32u;
    for (uint i = 0u; i < n; i++) {
      const uint base = (token * n + i) * 9u;
      float part = 0.0;
      for (uint j = 0u; j < 8u; j++) {
        const int w = int(keys.v[base + j]);
        part = fma(q[i * 32u + 4u * j], float(w << 24 >> 24), part);
        part = fma(q[i * 32u + 4u * j + 1u], float(w << 16 >> 24), part);
        part = fma(q[i * 32u + 4u * j + 2u], float(w << 8 >> 24), part);
        part = fma(q[i * 32u + 4u * j + 3u], float(w >> 24), part);
      }
      sum = fma(part, unpackHalf2x16(keys.v[base + 8u]).x, sum);
    }
  }
  return sum;
}

float value_at(Words values, uint token, uint d) {
  if (KV_TYPE == KV_F32)
    return uintBitsToFloat(values.v[token * push.v_dim + d]);
  if (KV_TYPE == KV_F16)
    return unpackHalf2x16(values.v[(token * push.v_dim + d) >> 1])[d & 1u];
  const uint base = (token * (push.v_dim / 32u) + d / 32u) * 9u;
  const uint word = values.v[base + (d % 32u) / 4u];
  return float(int(word << (24u - 8u * (d & 3u))) >> 24) * unpackHalf2x16(values.v[base + 8u]).x;
}

void main() {
  const uint head = gl_WorkGroupID.x;
  const uint row = gl_WorkGroupID.y;
  if (row >= push.step.v[STEP_N_ROWS])
    return;
  const uint lane = gl_LocalInvocationID.x;
  const uint position = push.step.v[push.step.v[STEP_POSITIONS] + row];
  const uint slot = push.step.v[push.step.v[STEP_SLOTS] + row];
  const uint pages = push.step.v[STEP_PAGES] + slot * push.max_pages;
  const uint n_pages = position / PAGE_TOKENS + 1u;
  const uint first = PARTIAL ? gl_WorkGroupID.z : 0u;
  if (first >= n_pages)
    return;
  const uint kv_head = head / (push.n_heads / push.n_kv_heads);
  for (uint d = lane; d < push.k_dim; d += LANES)
    q[d] = push.qkv.v[row * push.width + head * push.k_dim + d];
  barrier();

  float largest = -3.402823e38, total = 0.0;
  float y[2] = float[2](0.0, 0.0);
  const uint last = PARTIAL ? first + 1u : n_pages;
  for (uint i = first; i < last; i++) {
    // A driver may load what is the same for all invocations even when none is left in the loop: the place must exist.
    const uint page = push.step.v[pages + min(i, n_pages - 1u)];
    Words keys = Words(push.keys.v[page / push.k_segment_pages]);
    Words values = Words(push.values.v[page / push.v_segment_pages]);
    const uint key = ((page % push.k_segment_pages) * push.n_kv_heads + kv_head) * PAGE_TOKENS;
    const uint value = ((page % push.v_segment_pages) * push.n_kv_heads + kv_head) * PAGE_TOKENS;
    const uint n = min(PAGE_TOKENS, position + 1u - i * PAGE_TOKENS);
    float m = -3.402823e38;
    for (uint t = lane; t < n; t += LANES) {
      const float s = push.scale * dot_key(keys, key + t);
      p[t] = s;
      m = max(m, s);
    }
    sums[lane] = m;
    barrier();
    [[unroll]] for (uint half_ = LANES / 2u; half_ > 0u; half_ >>= 1) {
      if (lane < half_)
        sums[lane] = max(sums[lane], sums[lane + half_]);
      barrier();
    }
    m = sums[0];
    barrier();
    float sum = 0.0;
    for (uint t = lane; t < n; t += LANES) {
      const float e = exp(p[t] - m);
      p[t] = e;
      sum += e;
    }
    sums[lane] = sum;
    barrier();
    [[unroll]] for (uint half_ = LANES / 2u; half_ > 0u; half_ >>= 1) {
      if (lane < half_)
        sums[lane] += sums[lane + half_];
      barrier();
    }
    sum = sums[0];
    float o[2] = float[2](0.0, 0.0);
    [[unroll]] for (uint j = 0u; j < 2u; j++) {
      const uint d = lane + j * LANES;
      if (d < push.v_dim)
        for (uint t = 0u; t < n; t++)
          o[j] = fma(p[t], value_at(values, value + t, d), o[j]);
    }
    barrier();
    if (PARTIAL) {
      const uint at = ((row * push.n_heads + head) * push.max_pages + i) * (2u + push.v_dim);
      if (lane == 0u) {
        push.y.v[at] = m;
        push.y.v[at + 1u] = sum;
      }
      [[unroll]] for (uint j = 0u; j < 2u; j++)
        if (lane + j * LANES < push.v_dim)
          push.y.v[at + 2u + lane + j * LANES] = o[j];
    } else {
      const float next = max(largest, m);
      const float a = exp(largest - next), b = exp(m - next);
      total = total * a + sum * b;
      [[unroll]] for (uint j = 0u; j < 2u; j++)
        y[j] = y[j] * a + o[j] * b;
      largest = next;
    }
  }
  if (!PARTIAL)
    [[unroll]] for (uint j = 0u; j < 2u; j++)
      if (lane + j * LANES < push.v_dim)
        push.y.v[(row * push.n_heads + head) * push.v_dim + lane + j * LANES] = y[j] / total;
}
