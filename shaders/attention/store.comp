#version 460
// One workgroup a (head, row): the norm and rotation of a query or key head, and the store of keys and values in the cache.
// Query heads come first, then key heads, then value heads, as they lie in a row of qkv; or there are query heads alone, or no
// value heads, or those are the key heads as they stand in the row.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"

layout(constant_id = 0) const uint KV_TYPE = KV_F16;
layout(constant_id = 1) const uint ROPE = 0u; // 0 none, 1 pairs of neighbours, 2 pairs of halves
layout(local_size_x = 64) in;

layout(push_constant, scalar) uniform Push {
  Floats qkv;          // [rows, width]
  Floats q_norm;       // [n_q_norm], for each head's first values, or address 0
  Floats k_norm;       // [n_k_norm]
  Addresses keys;      // segments of k_segment_pages pages (values: v_segment_pages): [page][kv head][token][dim]
  Addresses values;
  Words step;
  uint n_heads;
  uint n_kv_heads;
  uint k_dim;
  uint v_dim;
  uint n_rot;
  uint rotation_table; // words from STEP_ROTATIONS on
  uint max_pages;
  uint k_segment_pages;
  uint v_segment_pages;
  float eps;
  uint width;
  uint offset;         // of the values that rotate
  uint norms;          // n_q_norm, and from bit 15 on n_k_norm; bit 30: value heads are normed without weights
  uint v_at;           // where the value heads begin in a row
  float q_log_scale;   // 0: none
  uint q_log_period;
} push;

shared float head_[1024];
shared float sums[64];

void main() {
  const uint row = gl_WorkGroupID.y;
  if (row >= push.step.v[STEP_N_ROWS])
    return;
  const uint lane = gl_LocalInvocationID.x;
  const uint head = gl_WorkGroupID.x;
  const bool is_query = head < push.n_heads;
  const bool is_value = head >= push.n_heads + push.n_kv_heads;
  const uint dim = is_value ? push.v_dim : push.k_dim;
  const uint at = row * push.width + (is_value ? push.v_at + (head - push.n_heads - push.n_kv_heads) * push.v_dim : head * push.k_dim);
  const uint n_norm = is_value ? push.v_dim : is_query ? push.norms & 0x7fffu : (push.norms >> 15) & 0x7fffu;
  float square = 0.0;
  for (uint d = lane; d < dim; d += 64u) {
    float value = push.qkv.v[at + d];
    head_[d] = value;
    square = d < n_norm ? fma(value, value, square) : square;
  }
  Floats norm = is_query ? push.q_norm : push.k_norm;
  const bool weighted = !is_value && uvec2(norm) != uvec2(0u);
  {
    if (weighted || (is_value && (push.norms >> 30) != 0u)) {
      sums[lane] = square;
      barrier();
      [[unroll]] for (uint half_ = 32u; half_ > 0u; half_ >>= 1) {
        if (lane < half_)
          sums[lane] += sums[lane + half_];
        barrier();
      }
      const float factor = 1.0 / sqrt(sums[0] / float(n_norm) + push.eps);
      for (uint d = lane; d < n_norm; d += 64u)
        head_[d] = weighted ? norm.v[d] * (head_[d] * factor) : head_[d] * factor;
    }
    barrier();
    if (ROPE != 0u && !is_value) {
      const uint pairs = push.n_rot / 2u;
      const uint table = push.step.v[STEP_ROTATIONS] + push.rotation_table + row * push.n_rot;
      for (uint k = lane; k < pairs; k += 64u) {
        const uint a = push.offset + (ROPE == 1u ? 2u * k : k), b = a + (ROPE == 1u ? 1u : pairs);
        const float c = uintBitsToFloat(push.step.v[table + 2u * k]);
        const float s = uintBitsToFloat(push.step.v[table + 2u * k + 1u]);
        const float x = head_[a], y = head_[b];
        head_[a] = x * c - y * s;
        head_[b] = x * s + y * c;
      }
    }
  }
  barrier();
  const uint position = push.step.v[push.step.v[STEP_POSITIONS] + row];
  if (is_query) {
    float scale = 1.0;
    if (push.q_log_scale != 0.0)
      scale += push.q_log_scale * log(1.0 + float(position / push.q_log_period));
    for (uint d = lane; d < dim; d += 64u)
      push.qkv.v[at + d] = head_[d] * scale;
    return;
  }
  const uint slot = push.step.v[push.step.v[STEP_SLOTS] + row];
  const uint page = push.step.v[push.step.v[STEP_PAGES] + slot * push.max_pages + position / PAGE_TOKENS];
  const uint kv_head = is_value ? head - push.n_heads - push.n_kv_heads : head - push.n_heads;
  const uint segment_pages = is_value ? push.v_segment_pages : push.k_segment_pages;
  const uvec2 segment = is_value ? push.values.v[page / segment_pages] : push.keys.v[page / segment_pages];
  WordsOut cache = WordsOut(segment);
  const uint token = ((page % segment_pages) * push.n_kv_heads + kv_head) * PAGE_TOKENS + position % PAGE_TOKENS;
  if (KV_TYPE == KV_F32) {
    for (uint d = lane; d < dim; d += 64u)
      cache.v[token * dim + d] = floatBitsToUint(head_[d]);
  } else if (KV_TYPE == KV_F16) {
    for (uint d = lane; d < dim / 2u; d += 64u)
      cache.v[token * (dim / 2u) + d] = packHalf2x16(vec2(head_[2u * d], head_[2u * d + 1u]));
  } else {
    // One invocation quantises one block of 32.
    for (uint block = lane; block < dim / 32u; block += 64u) {
      float largest = 0.0;
      for (uint d = 0u; d < 32u; d++)
        largest = max(largest, abs(head_[block * 32u + d]));
      // The values are divided by the scale as it is stored. The mask, which changes nothing, keeps compilers from taking the
      // rounding for nothing too.
      const uint stored = packHalf2x16(vec2(min(largest / 127.0, 65504.0), 0.0));
      const float scale = unpackHalf2x16(stored & 0x7fffu).x;
      const float inverse = scale == 0.0 ? 0.0 : 1.0 / scale;
      const uint to = (token * (dim / 32u) + block) * 9u;
      for (uint i = 0u; i < 8u; i++) {
        uint word = 0u;
        for (uint b = 0u; b < 4u; b++)
          word |= (uint(int(clamp(roundEven(head_[block * 32u + i * 4u + b] * inverse), -127.0, 127.0))) & 255u) << (8u * b);
        cache.v[to + i] = word;
      }
      cache.v[to + 8u] = stored;
    }
  }
}
