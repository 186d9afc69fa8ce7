#version 460
// Linear stages by cooperative matrices, for many rows: a workgroup of four subgroups computes 32 rows of W for 64 rows of x in
// matrices of SIZE x SIZE. Weights are decoded, and x is rounded, to halves in shared memory, 32 values of k at a time; sums are float32,
// in the order that the device likes, the same for any number of rows of x.
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_GOOGLE_include_directive : require
#include "push.glsl"

layout(constant_id = 0) const uint COLUMNS = 64u;
layout(constant_id = 8) const uint LANES = 128u; // four subgroups
layout(constant_id = 9) const uint SIZE = 16u;   // of a matrix: 8 or 16
layout(local_size_x_id = 8) in;

const uint HIGH = 16u / SIZE, WIDE = 32u / SIZE; // matrices of a subgroup
const uint STRIDE = 40u; // of a row of 32 halves in shared memory; not 32, so that rows begin in different banks
shared float16_t w_tile[32u * STRIDE];
shared float16_t x_tile[64u * STRIDE];
shared float y_tile[64u * 32u]; // [column][row]
float gates[GATED ? 64u * 32u / LANES : 1u];

// Values 8 p .. 8 p + 7 of the group of 32 at k of row r.
void decode(uint format, Words4 from, uint t, uint r, uint k, uint p, out vec4 a, out vec4 b) {
  const uint values = chunk_values(format), n_chunks = (push.n_in + values - 1u) / values;
  const uint chunk = (format <= FORMAT_BF16 ? k + 8u * p : k) / values;
  const uint base = (t * n_chunks + min(chunk, n_chunks - 1u)) * chunk_vectors(format);
  const uint g = k % values / 32u;
  Words words = Words(from);
  if (format <= FORMAT_BF16) {
    const uvec4 q = load16(from, base + r);
    if (format == FORMAT_F16) {
      a = vec4(unpackHalf2x16(q.x), unpackHalf2x16(q.y));
      b = vec4(unpackHalf2x16(q.z), unpackHalf2x16(q.w));
    } else {
      a = uintBitsToFloat(uvec4(q.x << 16, q.x & 0xffff0000u, q.y << 16, q.y & 0xffff0000u));
      b = uintBitsToFloat(uvec4(q.z << 16, q.z & 0xffff0000u, q.w << 16, q.w & 0xffff0000u));
    }
  } else if (format == FORMAT_Q8_0) {
    const float d = plane_half(from, base + 64u, r);
    const uint at = (base + (p >> 1) * 32u + r) * 4u + (p & 1u) * 2u;
    a = d * unpack_bytes(words.v[at]);
    b = d * unpack_bytes(words.v[at + 1u]);
  } else if (format == FORMAT_Q4_0) {
    const float d = plane_half(from, base + 32u, r);
    unpack_nibbles(words.v[(base + r) * 4u + p], a, b);
    a = d * (a - 8.0);
    b = d * (b - 8.0);
  } else if (format == FORMAT_Q4_K) {
    float scale, minimum;
    q4k_scale(load16(from, base + r), g, scale, minimum);
    unpack_nibbles(words.v[(base + 32u + g * 32u + r) * 4u + p], a, b);
    a = fma(a, vec4(scale), vec4(-minimum));
    b = fma(b, vec4(scale), vec4(-minimum));
  } else if (format == FORMAT_Q6_K) {
    const uint q = words.v[(base + g * 32u + r) * 4u + p];
    const uint high = words.v[(base + 256u + (g >> 1) * 32u + r) * 4u + (g & 1u) * 2u + (p >> 1)] >> (4u * (p & 1u));
    const uint scales = words.v[(base + 384u + r) * 4u + (g >> 1)] >> (16u * (g & 1u) + 8u * (p >> 1));
    const float s = plane_half(from, base + 416u, r) * float(int(scales << 24) >> 24);
    a = s * (bytes_of((q & 0x0f0f0f0fu) | ((high & 0x03030303u) << 4)) - 32.0);
    b = s * (bytes_of(((q >> 4) & 0x0f0f0f0fu) | (((high >> 2) & 0x03030303u) << 4)) - 32.0);
  } else {
    vec2 scales, offsets;
    scales_of(format, from, base, r, g, scales, offsets);
    const uvec2 fields = fields_of(format, push.books, from, base, r, g, p);
    a = fma(bytes_of(fields.x), vec4(scales[p >> 1]), vec4(-offsets[p >> 1]));
    b = fma(bytes_of(fields.y), vec4(scales[p >> 1]), vec4(-offsets[p >> 1]));
  }
}

// Computes the workgroup's rows of W times its rows of x into y_tile.
void multiply(uint format, Words4 from, uint t, uint first, uint n) {
  const uint lane = gl_LocalInvocationID.x;
  const uint w_at = (gl_SubgroupID & 1u) * 16u, x_at = (gl_SubgroupID >> 1) * 32u;
  coopmat<float, gl_ScopeSubgroup, SIZE, SIZE, gl_MatrixUseAccumulator> sums[HIGH * WIDE];
  [[dont_unroll]] for (uint i = 0u; i < HIGH * WIDE; i++)
    sums[i] = coopmat<float, gl_ScopeSubgroup, SIZE, SIZE, gl_MatrixUseAccumulator>(0.0);
  for (uint k = 0u; k < push.n_in; k += 32u) {
    for (uint piece = lane; piece < 128u; piece += LANES) {
      const uint r = piece & 31u, p = piece >> 5;
      vec4 a, b;
      decode(format, from, t, r, k, p, a, b);
      [[unroll]] for (uint i = 0u; i < 4u; i++) {
        w_tile[r * STRIDE + 8u * p + i] = float16_t(a[i]);
        w_tile[r * STRIDE + 8u * p + 4u + i] = float16_t(b[i]);
      }
    }
    for (uint piece = lane; piece < 512u; piece += LANES) {
      const uint c = piece >> 3, p = piece & 7u;
      // Behind the end of x stand zeros.
      const uint at = min(k + 4u * p, push.n_in - 4u);
      const vec4 x = push.x.v[(min(first + c, n - 1u) * push.n_in + at) >> 2];
      [[unroll]] for (uint i = 0u; i < 4u; i++)
        x_tile[c * STRIDE + 4u * p + i] = float16_t(k + 4u * p < push.n_in ? clamp(x[i], -65504.0, 65504.0) : 0.0);
    }
    barrier();
    [[dont_unroll]] for (uint j = 0u; j < 32u; j += SIZE)
      [[dont_unroll]] for (uint h = 0u; h < HIGH; h++) {
        coopmat<float16_t, gl_ScopeSubgroup, SIZE, SIZE, gl_MatrixUseA> a;
        coopMatLoad(a, w_tile, (w_at + SIZE * h) * STRIDE + j, STRIDE, gl_CooperativeMatrixLayoutRowMajor);
        [[dont_unroll]] for (uint i = 0u; i < WIDE; i++) {
          coopmat<float16_t, gl_ScopeSubgroup, SIZE, SIZE, gl_MatrixUseB> b;
          coopMatLoad(b, x_tile, (x_at + SIZE * i) * STRIDE + j, STRIDE, gl_CooperativeMatrixLayoutColumnMajor);
          sums[h * WIDE + i] = coopMatMulAdd(a, b, sums[h * WIDE + i]);
        }
      }
    barrier();
  }
  [[dont_unroll]] for (uint h = 0u; h < HIGH; h++)
    [[dont_unroll]] for (uint i = 0u; i < WIDE; i++)
      coopMatStore(sums[h * WIDE + i], y_tile, (x_at + SIZE * i) * 32u + w_at + SIZE * h, 32u,
                   gl_CooperativeMatrixLayoutColumnMajor);
  barrier();
}

void main() {
  const uint n = n_columns();
  const uint first = gl_WorkGroupID.x * COLUMNS;
  if (first >= n)
    return;
  const uint lane = gl_LocalInvocationID.x;
  locate();
  if (part == 0u)
    multiply(FORMAT_A, push.w[0], tile, first, n);
  else if (PARTS > 1u && part == 1u)
    multiply(FORMAT_B, push.w[1], tile, first, n);
  else if (PARTS > 2u)
    multiply(FORMAT_C, push.w[2], tile, first, n);
  if (GATED) {
    [[unroll]] for (uint i = 0u; i < 64u * 32u / LANES; i++)
      gates[i] = y_tile[i * LANES + lane];
    barrier();
    multiply(FORMAT_B, push.w[1], tile, first, n);
  }
  [[dont_unroll]] for (uint i = 0u; i < 64u * 32u / LANES; i++) {
    const uint at = i * LANES + lane, c = first + at / 32u, row = tile * 32u + at % 32u;
    if (c < n && row < push.rows[part])
      finish(c, row, GATED ? gates[i] : y_tile[at], y_tile[at]);
  }
}
