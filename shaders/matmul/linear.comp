#version 460
// out[c, o] = sum_k W[o, k] x[c, k] (+ bias) for up to three matrices that share x; or silu of the first times the second; plus
// a residual. One invocation computes one row of W for COLUMNS rows of x; SPLIT invocations share a row's k.
//
// Order of sums, the same for every COLUMNS: groups s, s + SPLIT, ... in four interleaved partial sums (k mod 4), added as
// (p0 + p1) + (p2 + p3); the SPLIT sums in rising order.
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "../common/common.glsl"
#include "../common/formats.glsl"

layout(constant_id = 0) const uint COLUMNS = 1u;
layout(constant_id = 1) const uint SPLIT = 1u;
layout(constant_id = 2) const uint FORMAT_A = 0u; // of the first part
layout(constant_id = 3) const uint FORMAT_B = 0u; // of the second
layout(constant_id = 4) const uint FORMAT_C = 0u; // of the third
layout(constant_id = 5) const uint PARTS = 1u;
layout(constant_id = 6) const bool SWIGLU = false;
// How x is read. 0: every invocation loads all of it (hardware answers equal addresses at once). Else the subgroup's size, 8, 16 or
// 32: each invocation loads its share and the subgroup hands the values around, which is what a processor's vectors do well.
layout(constant_id = 7) const uint BROADCAST = 0u;
layout(local_size_x = 32, local_size_y_id = 1) in;

layout(push_constant, scalar) uniform Push {
  Words4 w[3];
  Floats bias[3];      // address 0: none
  Floats4 x;           // [columns, n_in]
  Floats y;            // [columns, y_width]
  Floats residual;     // [columns, y_width] or address 0
  Words step;
  uint n_in;           // a multiple of 4
  uint rows[3];        // rows of each part
  uint y_width;
  uint first_row;      // the first row of part 0's output inside y
  uint outputs_only;   // 1: as many columns as the step has outputs
} push;

shared float partial[SPLIT * 32u * COLUMNS];

const uint SHARES = BROADCAST == 0u ? 1u : 32u / BROADCAST;

vec4 sums[COLUMNS];
uint x_base[COLUMNS];          // in vectors of 4
float shares[COLUMNS * SHARES]; // this invocation's part of 32 values of x
uint x_at;                     // where those 32 values begin

// Prepares the values x_at .. x_at + 31 of each column. Behind the end of x stand values that meet weights of zero.
void load_x(uint k) {
  x_at = k;
  if (BROADCAST != 0u) {
    const uint mine = min(k + gl_SubgroupInvocationID * SHARES, push.n_in - SHARES);
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
      const uint at = x_base[c] * 4u + mine;
      if (SHARES == 1u) {
        shares[c] = Floats(push.x).v[at];
      } else {
        [[unroll]] for (uint i = 0u; i < SHARES / 2u; i++) {
          vec2 two = uintBitsToFloat(unpack32(Pairs(push.x).v[at / 2u + i]));
          shares[c * SHARES + 2u * i] = two.x;
          shares[c * SHARES + 2u * i + 1u] = two.y;
        }
      }
    }
  }
}

float share(uint c, uint j) {
  return subgroupBroadcast(shares[c * SHARES + j % SHARES], j / SHARES);
}

// Adds the products of w and the values j .. j + 3 of the prepared 32.
void add4(vec4 w, uint j) {
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
    vec4 x = BROADCAST == 0u ? push.x.v[x_base[c] + ((x_at + j) >> 2)]
                             : vec4(share(c, j), share(c, j + 1u), share(c, j + 2u), share(c, j + 3u));
    sums[c] = fma(w, x, sums[c]);
  }
}

// Adds what row r of the tile at w contributes, in groups of 32 values of x (256 where a chunk is as long): groups split,
// split + SPLIT, ...
void run(uint format, Words4 w, uint tile, uint r, uint split) {
  const uint values = chunk_values(format), vectors = chunk_vectors(format);
  const uint n_chunks = (push.n_in + values - 1u) / values;
  const uint group = max(values, 32u);
  const uint n_groups = (push.n_in + group - 1u) / group;
  for (uint g = split; g < n_groups; g += SPLIT) {
    const uint k = g * group;
    const uint base = (tile * n_chunks + k / values) * vectors;
    if (format == FORMAT_F32) {
      load_x(k);
      [[unroll]] for (uint i = 0u; i < 8u; i++)
        if (k + i * 4u < push.n_in)
          add4(uintBitsToFloat(load16(w, base + i * 32u + r)), i * 4u);
    } else if (format == FORMAT_F16 || format == FORMAT_BF16) {
      load_x(k);
      [[unroll]] for (uint i = 0u; i < 4u; i++) {
        if (k + i * 8u >= push.n_in)
          break;
        uvec4 q = load16(w, base + i * 32u + r);
        vec4 a, b;
        if (format == FORMAT_F16) {
          a = vec4(unpackHalf2x16(q.x), unpackHalf2x16(q.y));
          b = vec4(unpackHalf2x16(q.z), unpackHalf2x16(q.w));
        } else {
          a = uintBitsToFloat(uvec4(q.x << 16, q.x & 0xffff0000u, q.y << 16, q.y & 0xffff0000u));
          b = uintBitsToFloat(uvec4(q.z << 16, q.z & 0xffff0000u, q.w << 16, q.w & 0xffff0000u));
        }
        add4(a, i * 8u);
        if (k + i * 8u + 4u < push.n_in)
          add4(b, i * 8u + 4u);
      }
    } else if (format == FORMAT_Q8_0) {
      load_x(k);
      float d = plane_half(w, base + 64u, r);
      [[unroll]] for (uint half_ = 0u; half_ < 2u; half_++) {
        uvec4 q = load16(w, base + half_ * 32u + r);
        [[unroll]] for (uint i = 0u; i < 4u; i++)
          add4(d * unpack_bytes(q[i]), half_ * 16u + i * 4u);
      }
    } else if (format == FORMAT_Q4_0) {
      load_x(k);
      float d = plane_half(w, base + 32u, r);
      uvec4 q = load16(w, base + r);
      [[unroll]] for (uint i = 0u; i < 4u; i++) {
        vec4 a, b;
        unpack_nibbles(q[i], a, b);
        add4(fma(a, vec4(d), vec4(-8.0 * d)), i * 8u);
        add4(fma(b, vec4(d), vec4(-8.0 * d)), i * 8u + 4u);
      }
    } else if (format == FORMAT_Q4_K) {
      uvec4 header = load16(w, base + r);
      for (uint j = 0u; j < 8u; j++) {
        load_x(k + j * 32u);
        float scale, minimum;
        q4k_scale(header, j, scale, minimum);
        uvec4 q = load16(w, base + 32u + j * 32u + r);
        [[unroll]] for (uint i = 0u; i < 4u; i++) {
          vec4 a, b;
          unpack_nibbles(q[i], a, b);
          add4(fma(a, vec4(scale), vec4(-minimum)), i * 8u);
          add4(fma(b, vec4(scale), vec4(-minimum)), i * 8u + 4u);
        }
      }
    } else {
      float d = plane_half(w, base + 416u, r);
      uvec4 scales = load16(w, base + 384u + r);
      for (uint j = 0u; j < 8u; j++) {
        load_x(k + j * 32u);
        uvec4 q = load16(w, base + j * 32u + r);
        uvec4 pairs = load16(w, base + 256u + (j >> 1) * 32u + r);
        uvec2 high = (j & 1u) == 0u ? pairs.xy : pairs.zw;
        uint word = scales[j >> 1] >> (16u * (j & 1u));
        float d0 = d * float(int(word << 24) >> 24), d1 = d * float(int(word << 16) >> 24);
        [[unroll]] for (uint i = 0u; i < 4u; i++) {
          uint h = high[i >> 1] >> (4u * (i & 1u));
          uint low_a = (q[i] & 0x0f0f0f0fu) | ((h & 0x03030303u) << 4);
          uint low_b = ((q[i] >> 4) & 0x0f0f0f0fu) | (((h >> 2) & 0x03030303u) << 4);
          float s = i < 2u ? d0 : d1;
          vec4 a = bytes_of(low_a);
          vec4 b = bytes_of(low_b);
          add4(fma(a, vec4(s), vec4(-32.0 * s)), i * 8u);
          add4(fma(b, vec4(s), vec4(-32.0 * s)), i * 8u + 4u);
        }
      }
    }
  }
}

// The sum of this invocation's row for column c, the same in every invocation of the row's first split.
void reduce(uint r, uint split, out float totals[COLUMNS]) {
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
    totals[c] = (sums[c].x + sums[c].y) + (sums[c].z + sums[c].w);
  if (SPLIT > 1u) {
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
      partial[(split * COLUMNS + c) * 32u + r] = totals[c];
    barrier();
    if (split == 0u) {
      [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
        for (uint s = 1u; s < SPLIT; s++)
          totals[c] += partial[(s * COLUMNS + c) * 32u + r];
    }
    barrier();
  }
}

void clear() {
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
    sums[c] = vec4(0.0);
}

void main() {
  const uint n_columns = push.step.v[push.outputs_only == 1u ? STEP_N_OUTPUTS : STEP_N_ROWS];
  const uint first = gl_WorkGroupID.y * COLUMNS;
  if (first >= n_columns)
    return;
  const uint r = gl_LocalInvocationID.x;
  const uint split = SPLIT == 1u ? 0u : gl_LocalInvocationID.y;
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
    x_base[c] = min(first + c, n_columns - 1u) * (push.n_in >> 2);

  uint tile = gl_WorkGroupID.x;
  uint part = 0u;
  uint y_row = push.first_row;
  if (!SWIGLU && PARTS > 1u) {
    uint tiles = (push.rows[0] + 31u) / 32u;
    if (tile >= tiles) {
      tile -= tiles;
      y_row += push.rows[0];
      part = 1u;
      tiles = (push.rows[1] + 31u) / 32u;
      if (PARTS > 2u && tile >= tiles) {
        tile -= tiles;
        y_row += push.rows[1];
        part = 2u;
      }
    }
  }

  float y[COLUMNS];
  clear();
  if (part == 0u)
    run(FORMAT_A, push.w[0], tile, r, split);
  else if (PARTS > 1u && part == 1u)
    run(FORMAT_B, push.w[1], tile, r, split);
  else if (PARTS > 2u)
    run(FORMAT_C, push.w[2], tile, r, split);
  reduce(r, split, y);
  const uint row = tile * 32u + r;
  if (SWIGLU) {
    float up[COLUMNS];
    clear();
    run(FORMAT_B, push.w[1], tile, r, split);
    reduce(r, split, up);
    if (row < push.rows[0]) {
      float gate_bias = uvec2(push.bias[0]) == uvec2(0u) ? 0.0 : push.bias[0].v[row];
      float up_bias = uvec2(push.bias[1]) == uvec2(0u) ? 0.0 : push.bias[1].v[row];
      [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
        float g = y[c] + gate_bias;
        y[c] = g / (1.0 + exp(-g)) * (up[c] + up_bias);
      }
    }
  } else if (row < push.rows[part] && uvec2(push.bias[part]) != uvec2(0u)) {
    float bias = push.bias[part].v[row];
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
      y[c] += bias;
  }
  if (split != 0u || row >= push.rows[part])
    return;
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
    if (first + c >= n_columns)
      return;
    uint at = (first + c) * push.y_width + y_row + row;
    push.y.v[at] = uvec2(push.residual) == uvec2(0u) ? y[c] : y[c] + push.residual.v[at];
  }
}
