#version 460
// out[c, o] = sum_k W[o, k] x[c, k] (+ bias) for up to three matrices that share x; or silu of the first times the second; plus
// a residual. LANES invocations compute the 32 rows of a tile of W for COLUMNS rows of x; SPLIT such teams share the rows' k.
//
// Order of sums, the same for every COLUMNS and LANES: groups of 32 values s, s + SPLIT, ... in rising order; the SPLIT sums in
// rising order. A processor sums a group (16 values of Q6_K) before it scales it; hardware scales each weight.
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "../common/common.glsl"
#include "../common/formats.glsl"

layout(constant_id = 0) const uint COLUMNS = 1u;
layout(constant_id = 1) const uint SPLIT = 1u;    // 1, 2, 4 or 8
layout(constant_id = 2) const uint FORMAT_A = 0u; // of the first part
layout(constant_id = 3) const uint FORMAT_B = 0u; // of the second
layout(constant_id = 4) const uint FORMAT_C = 0u; // of the third
layout(constant_id = 5) const uint PARTS = 1u;
layout(constant_id = 6) const bool SWIGLU = false;
// How x is read. 0: every invocation loads all of it (hardware answers equal addresses at once). Else the subgroup's size, 8, 16 or
// 32: each invocation loads its share and the subgroup hands the values around, which is what a processor's vectors do well.
layout(constant_id = 7) const uint BROADCAST = 0u;
layout(constant_id = 8) const uint LANES = 32u; // 8, 16 or 32: invocation l computes the rows l, l + LANES, ... of the tile
layout(local_size_x_id = 8, local_size_y_id = 1) in;

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

const uint ROWS = 32u / LANES; // of an invocation
shared float partial[SPLIT * 32u * COLUMNS];

const bool SOFTWARE = BROADCAST != 0u;
const uint SHARES = SOFTWARE ? 32u / BROADCAST : 1u;

float sums[COLUMNS * ROWS];
float gates[SWIGLU ? COLUMNS * ROWS : 1u];
uint x_base[COLUMNS]; // in vectors of 4
uint x_at;            // the group of 32 values of x at hand begins here

// A processor extracts the fields of a word by masks alone, each with a factor that stands in x instead: field i of a word counts
// 2^shift too much, but the last, which is shifted down because a signed integer must not become negative.
float nibble_factor[SHARES], byte_factor[SHARES]; // of this invocation's share
float shares[COLUMNS * SHARES];                   // this invocation's part of the group
float group_sums[COLUMNS * 2u];                   // of the group's halves, without factors
float dots[COLUMNS * ROWS];                       // what the group has added up to so far

// Of each row: what was loaded, four fields of it as numbers, and how they become weights: field * scale - offset.
uvec4 q[ROWS];
vec4 w[ROWS];
float scale[ROWS], offset[ROWS];

const uint FIELDS_FLOATS = 0u, FIELDS_NIBBLES = 1u, FIELDS_BYTES = 2u;

void prepare_factors() {
  if (SOFTWARE)
    [[unroll]] for (uint s = 0u; s < SHARES; s++) {
      const uint v = gl_SubgroupInvocationID * SHARES + s;
      const uint nibble_shift = (v & 7u) == 7u ? 0u : 8u * (v & 3u) + (v & 4u);
      const uint byte_shift = (v & 3u) == 3u ? 0u : 8u * (v & 3u);
      nibble_factor[s] = uintBitsToFloat((127u - nibble_shift) << 23);
      byte_factor[s] = uintBitsToFloat((127u - byte_shift) << 23);
    }
}

// Turns to the values k .. k + 31 of each column; those behind the end of x are zero.
void begin_group(uint k, uint fields) {
  x_at = k;
  if (!SOFTWARE)
    return;
  const uint mine = k + gl_SubgroupInvocationID * SHARES;
  const uint inside = min(mine, push.n_in - SHARES);
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
    const uint at = x_base[c] * 4u + inside;
    float sum = 0.0;
    [[unroll]] for (uint s = 0u; s < SHARES; s++) {
      float value;
      if (SHARES == 1u)
        value = Floats(push.x).v[at];
      else
        value = uintBitsToFloat(unpack32(Pairs(push.x).v[at / 2u + s / 2u])[s & 1u]);
      if (fields == FIELDS_FLOATS)
        value = mine < push.n_in ? value : 0.0;
      sum += value;
      if (fields == FIELDS_NIBBLES)
        value *= nibble_factor[s];
      else if (fields == FIELDS_BYTES)
        value *= byte_factor[s];
      shares[c * SHARES + s] = value;
    }
    if (fields != FIELDS_FLOATS)
      [[unroll]] for (uint h = 0u; h < 2u; h++) {
        float total = subgroupBroadcast(sum, h * BROADCAST / 2u);
        [[unroll]] for (uint l = 1u; l < BROADCAST / 2u; l++)
          total += subgroupBroadcast(sum, h * BROADCAST / 2u + l);
        group_sums[c * 2u + h] = total;
      }
    [[unroll]] for (uint i = 0u; i < ROWS; i++)
      dots[c * ROWS + i] = 0.0;
  }
}

float share(uint c, uint j) {
  return subgroupBroadcast(shares[c * SHARES + j % SHARES], j / SHARES);
}

// Adds the products of each row's w and the values j .. j + 3 of the group.
void add4(uint j) {
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
    vec4 x = SOFTWARE ? vec4(share(c, j), share(c, j + 1u), share(c, j + 2u), share(c, j + 3u))
                      : push.x.v[x_base[c] + ((x_at + j) >> 2)];
    [[unroll]] for (uint i = 0u; i < ROWS; i++) {
      float sum = SOFTWARE ? dots[c * ROWS + i] : sums[c * ROWS + i];
      sum = fma(w[i].w, x.w, fma(w[i].z, x.z, fma(w[i].y, x.y, fma(w[i].x, x.x, sum))));
      if (SOFTWARE)
        dots[c * ROWS + i] = sum;
      else
        sums[c * ROWS + i] = sum;
    }
  }
}

// The same for fields that are not weights yet; a processor leaves that to the group's end.
void add_fields(uint j) {
  if (!SOFTWARE)
    [[unroll]] for (uint i = 0u; i < ROWS; i++)
      w[i] = fma(w[i], vec4(scale[i]), vec4(-offset[i]));
  add4(j);
}

// Ends the group, or half of it: adds what it came to.
void end_floats() {
  if (SOFTWARE)
    [[unroll]] for (uint i = 0u; i < COLUMNS * ROWS; i++)
      sums[i] += dots[i];
}

void end_fields(uint half_, bool whole) {
  if (SOFTWARE)
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
      const float x = whole ? group_sums[c * 2u] + group_sums[c * 2u + 1u] : group_sums[c * 2u + half_];
      [[unroll]] for (uint i = 0u; i < ROWS; i++) {
        sums[c * ROWS + i] += fma(scale[i], dots[c * ROWS + i], -offset[i] * x);
        dots[c * ROWS + i] = 0.0;
      }
    }
}

// The four bytes of a word as numbers (times their factors).
vec4 fields_of_bytes(uint word) {
  return SOFTWARE ? vec4(ivec4(word & 0xffu, word & 0xff00u, word & 0xff0000u, word >> 24)) : bytes_of(word);
}

// Half of the eight nibbles of a word: values 4 half .. 4 half + 3.
vec4 fields_of_nibbles(uint word, uint half_) {
  if (!SOFTWARE)
    return bytes_of((word >> (4u * half_)) & 0x0f0f0f0fu);
  return half_ == 0u ? vec4(ivec4(word & 0xfu, word & 0xf00u, word & 0xf0000u, word & 0xf000000u))
                     : vec4(ivec4(word & 0xf0u, word & 0xf000u, word & 0xf00000u, word >> 28));
}

// Loads vector `at` and, for the rows behind it, those that follow LANES apart.
void load_rows(Words4 from, uint at) {
  Pairs2 here = Pairs2(uint64_t(from) + uint64_t(at * 16u));
  [[unroll]] for (uint i = 0u; i < ROWS; i++) {
    const u64vec2 two = here.v[i * LANES];
    q[i] = uvec4(unpack32(two.x), unpack32(two.y));
  }
}

// Adds 32 nibbles of each row.
void add_nibbles() {
  [[unroll]] for (uint j = 0u; j < 8u; j++) {
    [[unroll]] for (uint i = 0u; i < ROWS; i++)
      w[i] = fields_of_nibbles(q[i][j >> 1], j & 1u);
    add_fields(j * 4u);
  }
  end_fields(0u, true);
}

// Adds what the rows r, r + LANES, ... of the tile at `tile` contribute: groups split, split + SPLIT, ...
void run(uint format, Words4 from, uint tile, uint r, uint split) {
  const uint values = chunk_values(format), vectors = chunk_vectors(format);
  const uint n_chunks = (push.n_in + values - 1u) / values;
  const uint first = tile * n_chunks;
  if (format <= FORMAT_BF16) {
    for (uint k = split * 32u; k < push.n_in; k += SPLIT * 32u) {
      begin_group(k, FIELDS_FLOATS);
      [[unroll]] for (uint j = 0u; j < 8u; j++) {
        // Behind the end of a row the last chunk stands in: it meets zeros.
        const uint chunk = first + (SOFTWARE ? min((k + j * 4u) / values, n_chunks - 1u) : (k + j * 4u) / values);
        if (!SOFTWARE && k + j * 4u >= push.n_in)
          break;
        if (format == FORMAT_F32 || (j & 1u) == 0u)
          load_rows(from, chunk * vectors + r);
        [[unroll]] for (uint i = 0u; i < ROWS; i++) {
          uvec2 two = (j & 1u) == 0u ? q[i].xy : q[i].zw;
          w[i] = format == FORMAT_F32   ? uintBitsToFloat(q[i])
                 : format == FORMAT_F16 ? vec4(unpackHalf2x16(two.x), unpackHalf2x16(two.y))
                                        : uintBitsToFloat(uvec4(two.x << 16, two.x & 0xffff0000u, two.y << 16, two.y & 0xffff0000u));
        }
        add4(j * 4u);
      }
      end_floats();
    }
  } else if (format == FORMAT_Q8_0 || format == FORMAT_Q4_0) {
    for (uint k = split * 32u; k < push.n_in; k += SPLIT * 32u) {
      const uint base = (first + k / 32u) * vectors;
      begin_group(k, format == FORMAT_Q8_0 ? FIELDS_BYTES : FIELDS_NIBBLES);
      [[unroll]] for (uint i = 0u; i < ROWS; i++) {
        scale[i] = plane_half(from, base + vectors - 4u, r + i * LANES);
        offset[i] = (format == FORMAT_Q8_0 ? 128.0 : 8.0) * scale[i];
      }
      load_rows(from, base + r);
      if (format == FORMAT_Q4_0) {
        add_nibbles();
      } else {
        [[unroll]] for (uint j = 0u; j < 8u; j++) {
          if (j == 4u)
            load_rows(from, base + 32u + r);
          [[unroll]] for (uint i = 0u; i < ROWS; i++) {
            w[i] = fields_of_bytes(q[i][j & 3u] ^ 0x80808080u);
          }
          add_fields(j * 4u);
        }
        end_fields(0u, true);
      }
    }
  } else if (format == FORMAT_Q4_K) {
    for (uint chunk = 0u; chunk < n_chunks; chunk++) {
      const uint base = (first + chunk) * vectors;
      load_rows(from, base + r);
      uvec4 header[ROWS]; // the 8 scales and the 8 minima
      [[unroll]] for (uint i = 0u; i < ROWS; i++)
        header[i] = uvec4(q[i].y & 0x3f3f3f3fu, (q[i].w & 0x0f0f0f0fu) | ((q[i].y >> 2) & 0x30303030u),
                          q[i].z & 0x3f3f3f3fu, ((q[i].w >> 4) & 0x0f0f0f0fu) | ((q[i].z >> 2) & 0x30303030u));
      vec2 d[ROWS];
      [[unroll]] for (uint i = 0u; i < ROWS; i++)
        d[i] = unpackHalf2x16(q[i].x);
      for (uint g = split; g < 8u; g += SPLIT) {
        begin_group(chunk * 256u + g * 32u, FIELDS_NIBBLES);
        const uint shift = 8u * (g & 3u);
        [[unroll]] for (uint i = 0u; i < ROWS; i++) {
          scale[i] = d[i].x * float(int(((g < 4u ? header[i].x : header[i].y) >> shift) & 255u));
          offset[i] = d[i].y * float(int(((g < 4u ? header[i].z : header[i].w) >> shift) & 255u));
        }
        load_rows(from, base + 32u + g * 32u + r);
        add_nibbles();
      }
    }
  } else {
    for (uint chunk = 0u; chunk < n_chunks; chunk++) {
      const uint base = (first + chunk) * vectors;
      uvec4 scales[ROWS];
      float d[ROWS];
      load_rows(from, base + 384u + r);
      [[unroll]] for (uint i = 0u; i < ROWS; i++) {
        d[i] = plane_half(from, base + 416u, r + i * LANES);
        scales[i] = q[i];
      }
      for (uint g = split; g < 8u; g += SPLIT) {
        uvec2 high[ROWS];
        begin_group(chunk * 256u + g * 32u, FIELDS_BYTES);
        load_rows(from, base + 256u + (g >> 1) * 32u + r);
        [[unroll]] for (uint i = 0u; i < ROWS; i++)
          high[i] = (g & 1u) == 0u ? q[i].xy : q[i].zw;
        load_rows(from, base + g * 32u + r);
        [[unroll]] for (uint h = 0u; h < 2u; h++) {
          [[unroll]] for (uint i = 0u; i < ROWS; i++) {
            const uint word = scales[i][g >> 1] >> (16u * (g & 1u) + 8u * h);
            scale[i] = d[i] * float(int(word << 24) >> 24);
            offset[i] = 32.0 * scale[i];
          }
          [[unroll]] for (uint j = 0u; j < 4u; j++) {
            [[unroll]] for (uint i = 0u; i < ROWS; i++) {
              const uint low = q[i][h * 2u + (j >> 1)] >> (4u * (j & 1u));
              w[i] = fields_of_bytes((low & 0x0f0f0f0fu) | (((high[i][h] >> (2u * j)) & 0x03030303u) << 4));
            }
            add_fields(h * 16u + j * 4u);
          }
          end_fields(h, false);
        }
      }
    }
  }
}

// Brings the splits' sums together in the rows' first split.
void reduce(uint r, uint split) {
  if (SPLIT > 1u) {
    [[unroll]] for (uint c = 0u; c < COLUMNS * ROWS; c++)
      partial[(split * COLUMNS * ROWS + c) * LANES + r] = sums[c];
    barrier();
    if (split == 0u) {
      [[unroll]] for (uint c = 0u; c < COLUMNS * ROWS; c++)
        for (uint s = 1u; s < SPLIT; s++)
          sums[c] += partial[(s * COLUMNS * ROWS + c) * LANES + r];
    }
    barrier();
  }
}

void clear() {
  [[unroll]] for (uint i = 0u; i < COLUMNS * ROWS; i++)
    sums[i] = 0.0;
}

void main() {
  const uint n_columns = push.step.v[push.outputs_only == 1u ? STEP_N_OUTPUTS : STEP_N_ROWS];
  const uint first = gl_WorkGroupID.y * COLUMNS;
  if (first >= n_columns)
    return;
  const uint r = gl_LocalInvocationID.x;
  const uint split = SPLIT == 1u ? 0u : gl_LocalInvocationID.y;
  prepare_factors();
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

  clear();
  if (part == 0u)
    run(FORMAT_A, push.w[0], tile, r, split);
  else if (PARTS > 1u && part == 1u)
    run(FORMAT_B, push.w[1], tile, r, split);
  else if (PARTS > 2u)
    run(FORMAT_C, push.w[2], tile, r, split);
  reduce(r, split);
  if (SWIGLU) {
    [[unroll]] for (uint i = 0u; i < COLUMNS * ROWS; i++)
      gates[i] = sums[i];
    clear();
    run(FORMAT_B, push.w[1], tile, r, split);
    reduce(r, split);
  }
  if (split != 0u)
    return;
  [[unroll]] for (uint i = 0u; i < ROWS; i++) {
    const uint row = tile * 32u + r + i * LANES;
    if (row >= push.rows[part])
      return;
    const float bias = uvec2(push.bias[part]) == uvec2(0u) ? 0.0 : push.bias[part].v[row];
    const float up_bias = !SWIGLU || uvec2(push.bias[1]) == uvec2(0u) ? 0.0 : push.bias[1].v[row];
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
      if (first + c >= n_columns)
        break;
      const uint at = (first + c) * push.y_width + y_row + row;
      float value = (SWIGLU ? gates[c * ROWS + i] : sums[c * ROWS + i]) + bias;
      if (SWIGLU)
        value = value / (1.0 + exp(-value)) * (sums[c * ROWS + i] + up_bias);
      push.y.v[at] = uvec2(push.residual) == uvec2(0u) ? value : value + push.residual.v[at];
    }
  }
}
