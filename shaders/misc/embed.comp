#version 460
// out[r, :] = scale * table[token[r], :]; one invocation decodes 8 values (4 of an F32 table). Otherwise than of tokens the row is added.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"
#include "../common/formats.glsl"
#include "../common/decode.glsl"

layout(constant_id = 0) const uint FORMAT = 0u;
layout(constant_id = 1) const uint SOURCE = 0u; // of the table's row: 0 the token, 1 the position, 2 the first row for all
layout(local_size_x = 64) in;

layout(push_constant, scalar) uniform Push {
  Addresses segments;    // where each run of segment_tiles tiles begins
  Floats y;              // [rows, n_in]
  Words step;
  uint n_in;
  uint segment_tiles;
  float scale;
  uint n_rows; // of the table
  Words books;           // the codebooks, for the formats that have one
} push;

void store4(uint at, vec4 value) {
  value *= push.scale;
  if (SOURCE != 0u)
    value += vec4(push.y.v[at], push.y.v[at + 1u], push.y.v[at + 2u], push.y.v[at + 3u]);
  push.y.v[at] = value.x;
  push.y.v[at + 1u] = value.y;
  push.y.v[at + 2u] = value.z;
  push.y.v[at + 3u] = value.w;
}

void main() {
  const uint row = gl_WorkGroupID.y;
  if (row >= push.step.v[STEP_N_ROWS])
    return;
  const uint k = gl_GlobalInvocationID.x * 8u;
  if (k >= push.n_in)
    return;
  const uint token = SOURCE == 0u   ? push.step.v[push.step.v[STEP_TOKENS] + row]
                     : SOURCE == 1u ? min(push.step.v[push.step.v[STEP_POSITIONS] + row], push.n_rows - 1u)
                                    : 0u;
  const uint r = token % TILE_ROWS;
  const uint tile = token / TILE_ROWS;
  Words4 w = Words4(push.segments.v[tile / push.segment_tiles]);
  const uint values = chunk_values(FORMAT);
  const uint n_chunks = (push.n_in + values - 1u) / values;
  const uint chunk = k / values;
  const uint base = ((tile % push.segment_tiles) * n_chunks + chunk) * chunk_vectors(FORMAT);
  const uint inside = k % values; // of the chunk
  const uint i = (inside % 32u) / 8u, j = inside / 32u;
  vec4 a = vec4(0.0), b = vec4(0.0);
  if (FORMAT == FORMAT_F32) {
    a = uintBitsToFloat(w.v[base + r]);
    if (k + 4u < push.n_in)
      b = uintBitsToFloat(w.v[base + 32u + r]);
  } else if (FORMAT == FORMAT_F16) {
    uvec4 q = w.v[base + r];
    a = vec4(unpackHalf2x16(q.x), unpackHalf2x16(q.y));
    b = vec4(unpackHalf2x16(q.z), unpackHalf2x16(q.w));
  } else if (FORMAT == FORMAT_BF16) {
    uvec4 q = w.v[base + r];
    a = uintBitsToFloat(uvec4(q.x << 16, q.x & 0xffff0000u, q.y << 16, q.y & 0xffff0000u));
    b = uintBitsToFloat(uvec4(q.z << 16, q.z & 0xffff0000u, q.w << 16, q.w & 0xffff0000u));
  } else if (FORMAT == FORMAT_Q8_0) {
    float d = plane_half(w, base + 64u, r);
    uvec4 q = w.v[base + (i >> 1) * 32u + r];
    a = d * unpack_bytes(q[(i & 1u) * 2u]);
    b = d * unpack_bytes(q[(i & 1u) * 2u + 1u]);
  } else if (FORMAT == FORMAT_Q4_0) {
    unpack_nibbles(w.v[base + r][i], a, b);
    float d = plane_half(w, base + 32u, r);
    a = d * (a - 8.0);
    b = d * (b - 8.0);
  } else if (FORMAT == FORMAT_Q4_K) {
    float scale, minimum;
    q4k_scale(w.v[base + r], j, scale, minimum);
    unpack_nibbles(w.v[base + 32u + j * 32u + r][i], a, b);
    a = fma(a, vec4(scale), vec4(-minimum));
    b = fma(b, vec4(scale), vec4(-minimum));
  } else if (FORMAT == FORMAT_Q6_K) {
    uint q = w.v[base + j * 32u + r][i];
    uvec4 pairs = w.v[base + 256u + (j >> 1) * 32u + r];
    uint h = pairs[(j & 1u) * 2u + (i >> 1)] >> (4u * (i & 1u));
    uint word = w.v[base + 384u + r][j >> 1] >> (16u * (j & 1u) + 8u * (i >> 1));
    float s = plane_half(w, base + 416u, r) * float(int(word << 24) >> 24);
    uint low_a = (q & 0x0f0f0f0fu) | ((h & 0x03030303u) << 4);
    uint low_b = ((q >> 4) & 0x0f0f0f0fu) | (((h >> 2) & 0x03030303u) << 4);
    a = s * (bytes_of(low_a) - 32.0);
    b = s * (bytes_of(low_b) - 32.0);
  } else {
    vec2 scales, offsets;
    scales_of(FORMAT, w, base, r, j, scales, offsets);
    const uvec2 fields = fields_of(FORMAT, push.books, w, base, r, j, i);
    a = fma(bytes_of(fields.x), vec4(scales[i >> 1]), vec4(-offsets[i >> 1]));
    b = fma(bytes_of(fields.y), vec4(scales[i >> 1]), vec4(-offsets[i >> 1]));
  }
  const uint at = row * push.n_in + k;
  store4(at, a);
  if (k + 4u < push.n_in)
    store4(at + 4u, b);
}
