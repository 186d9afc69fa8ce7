// What the kernels of linear stages share:
// out[c, o] = sum_k W[o, k] x[c, k] (+ bias) for up to three matrices that share x; or silu of the first times the second; plus
// a residual. LANES invocations compute the 32 rows of a tile of W for COLUMNS rows of x; SPLIT such teams share the rows' k.
// A kernel defines prepare() and run(), which adds to `sums`.
//
// Order of sums, the same for every COLUMNS and LANES: groups of 32 values s, s + SPLIT, ... in rising order; the SPLIT sums in
// rising order.
#extension GL_GOOGLE_include_directive : require
#include "push.glsl"

layout(constant_id = 0) const uint COLUMNS = 1u;
layout(constant_id = 1) const uint SPLIT = 1u;    // 1, 2, 4 or 8
// How x is read. 0: every invocation loads all of it (hardware answers equal addresses at once). Else the subgroup's size, 8, 16 or
// 32: each invocation loads its share and the subgroup hands the values around, which is what a processor's vectors do well.
layout(constant_id = 7) const uint BROADCAST = 0u;
layout(constant_id = 8) const uint LANES = 32u; // 8, 16 or 32: invocation l computes the rows l, l + LANES, ... of the tile
layout(constant_id = 9) const bool SOFTWARE = false; // a processor pretends to be the GPU
layout(local_size_x_id = 8, local_size_y_id = 1) in;


const uint ROWS = 32u / LANES; // of an invocation
shared float partial[SPLIT * 32u * COLUMNS];

float sums[COLUMNS * ROWS];
float gates[GATED ? COLUMNS * ROWS : 1u];
uint column[COLUMNS]; // rows of x; the last one again where there are fewer

// Of each row: what was loaded, and how its fields become weights: field * scale - offset.
uvec4 q[ROWS];
float scale[ROWS], offset[ROWS];

void prepare();
// Adds what the rows r, r + LANES, ... of tile t contribute: groups split, split + SPLIT, ...
void run(uint format, Words4 from, uint t, uint r, uint split);

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

void run_part(uint r, uint split) {
#ifdef FORMAT // one copy of run() serves all parts of the format, because each is work for the driver
  Words4 from = Words4(PARTS < 2u || part == 0u ? uint64_t(push.w[0]) : PARTS < 3u || part == 1u ? uint64_t(push.w[1])
                                                                                               : uint64_t(push.w[2]));
#ifdef LAST_FORMAT
  if (part == 2u)
    run(LAST_FORMAT, from, tile, r, split);
  else
#endif
    run(FORMAT, from, tile, r, split);
#else
  if (part == 0u)
    run(FORMAT_A, push.w[0], tile, r, split);
  else if (PARTS > 1u && part == 1u)
    run(FORMAT_B, push.w[1], tile, r, split);
  else if (PARTS > 2u)
    run(FORMAT_C, push.w[2], tile, r, split);
#endif
}

void main() {
  const uint n = n_columns();
  const uint first = gl_WorkGroupID.x * COLUMNS;
  if (first >= n)
    return;
  const uint r = gl_LocalInvocationID.x;
  const uint split = SPLIT == 1u ? 0u : gl_LocalInvocationID.y;
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
    column[c] = min(first + c, n - 1u);
  prepare();
  locate();
  clear();
  run_part(r, split);
  reduce(r, split);
  if (GATED) {
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
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
      if (first + c >= n)
        break;
      finish(first + c, row, GATED ? gates[c * ROWS + i] : sums[c * ROWS + i], sums[c * ROWS + i]);
    }
  }
}
