// What the kernels of linear stages share:
// out[c, o] = sum_k W[o, k] x[c, k] (+ bias) for up to three matrices that share x; or silu of the first times the second; plus
// a residual. LANES invocations compute the 32 rows of a tile of W for COLUMNS rows of x; SPLIT such teams share the rows' k.
// A kernel defines prepare() and run(), which adds to `sums`.
//
// Order of sums, the same for every COLUMNS and LANES: groups of 32 values s, s + SPLIT, ... in rising order; the SPLIT sums in
// rising order.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"
#include "../common/formats.glsl"

layout(constant_id = 0) const uint COLUMNS = 1u;
layout(constant_id = 1) const uint SPLIT = 1u;    // 1, 2, 4 or 8
#ifdef FORMAT // compiled for this one alone, because what is left out here need not be taken apart by a driver
const uint FORMAT_A = FORMAT, FORMAT_B = FORMAT, FORMAT_C = FORMAT;
#else
layout(constant_id = 2) const uint FORMAT_A = 0u; // of the first part
layout(constant_id = 3) const uint FORMAT_B = 0u; // of the second
layout(constant_id = 4) const uint FORMAT_C = 0u; // of the third
#endif
layout(constant_id = 5) const uint PARTS = 1u;
layout(constant_id = 6) const bool SWIGLU = false;
// How x is read. 0: every invocation loads all of it (hardware answers equal addresses at once). Else the subgroup's size, 8, 16 or
// 32: each invocation loads its share and the subgroup hands the values around, which is what a processor's vectors do well.
layout(constant_id = 7) const uint BROADCAST = 0u;
layout(constant_id = 8) const uint LANES = 32u; // 8, 16 or 32: invocation l computes the rows l, l + LANES, ... of the tile
layout(constant_id = 9) const bool SOFTWARE = false; // a processor pretends to be the GPU
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

float sums[COLUMNS * ROWS];
float gates[SWIGLU ? COLUMNS * ROWS : 1u];
uint column[COLUMNS]; // rows of x; the last one again where there are fewer

// Of each row: what was loaded, and how its fields become weights: field * scale - offset.
uvec4 q[ROWS];
float scale[ROWS], offset[ROWS];

void prepare();
// Adds what the rows r, r + LANES, ... of the tile at `tile` contribute: groups split, split + SPLIT, ...
void run(uint format, Words4 from, uint tile, uint r, uint split);

// Loads vector `at` and, for the rows behind it, those that follow LANES apart.
void load_rows(Words4 from, uint at) {
  Pairs2 here = Pairs2(uint64_t(from) + uint64_t(at * 16u));
  [[unroll]] for (uint i = 0u; i < ROWS; i++) {
    const u64vec2 two = here.v[i * LANES];
    q[i] = uvec4(unpack32(two.x), unpack32(two.y));
  }
}

// The 8 scales and the 8 minima of a Q4_K header, a byte each.
uvec4 q4k_bytes(uvec4 header) {
  return uvec4(header.y & 0x3f3f3f3fu, (header.w & 0x0f0f0f0fu) | ((header.y >> 2) & 0x30303030u), header.z & 0x3f3f3f3fu,
               ((header.w >> 4) & 0x0f0f0f0fu) | ((header.z >> 2) & 0x30303030u));
}

float byte_of(uint word, uint i) {
  return float(int((word >> (8u * i)) & 255u));
}

float signed_byte_of(uint word, uint i) {
  return float(int(word << (24u - 8u * i)) >> 24);
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
  const uint first = gl_WorkGroupID.x * COLUMNS;
  if (first >= n_columns)
    return;
  const uint r = gl_LocalInvocationID.x;
  const uint split = SPLIT == 1u ? 0u : gl_LocalInvocationID.y;
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
    column[c] = min(first + c, n_columns - 1u);
  prepare();

  uint tile = gl_WorkGroupID.y; // so that those who read the same weights run side by side
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
