#version 460
// Products with matrices of a stack. A workgroup computes the 32 rows of a tile of one matrix for up to COLUMNS rows of x:
// BY_HEAD: matrix h takes the h-th share of each row and writes behind one another, `gap` values apart. Else matrices are experts, and the columns
// are those of a block of sort.comp: pairs of a row and one of its experts. An expert that no row chose is not read.
//
// Order of sums: four teams take groups of 32 values in turn, each adding in rising order, and are added in rising order; the same for
// every COLUMNS.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"
#include "../common/formats.glsl"
#include "../common/decode.glsl"
#include "../common/eight.glsl"
#include "../common/activations.glsl"

layout(constant_id = 0) const uint FORMAT_A = 0u;
layout(constant_id = 1) const uint FORMAT_B = 0u;
layout(constant_id = 2) const uint ACTIVATION = 0u;
layout(constant_id = 3) const uint COLUMNS = 1u;
layout(constant_id = 4) const bool BY_HEAD = false;
const bool GATED = ACTIVATION == ACT_SWIGLU || ACTIVATION == ACT_GEGLU || ACTIVATION == ACT_SWIGLU_OAI;
const uint TEAMS = 4u;
layout(local_size_x = 32, local_size_y = 4) in;

layout(push_constant, scalar) uniform Push {
  Addresses w[2];      // segments of tiles
  Floats scales[2];    // [n_experts] or address 0
  Floats bias[2];      // [n_experts][n_rows] or address 0
  Floats x;
  Floats y;
  Words groups;        // of sort.comp
  Words step;
  uint n_in;           // a multiple of 4
  uint n_rows;         // of a matrix
  uint segment_tiles[2];
  uint n_used;         // experts of a row
  float clamp_;        // of a pair's halves; 0: none
  uint x_width;        // BY_HEAD: of a row of x; else 1 where x has a row for each pair, and 0 where for each row
  uint gap;            // BY_HEAD: from one matrix's values to the next one's in y
  uint y_width;        // BY_HEAD
  Words books;         // the codebooks, for the formats that have one
} push;

shared float sums[TEAMS * 2u * COLUMNS * 32u];

void add(uint format, uint which, uint tile, uint r, uint team, const uint x_at[COLUMNS], inout float out_[COLUMNS]) {
  const uint values = chunk_values(format), vectors = chunk_vectors(format), n_chunks = (push.n_in + values - 1u) / values;
  Words4 from = Words4(push.w[which].v[tile / push.segment_tiles[which]]);
  const uint first = tile % push.segment_tiles[which] * n_chunks;
  for (uint k = team * 32u; k < push.n_in; k += TEAMS * 32u)
    [[unroll]] for (uint p = 0u; p < 4u; p++) {
      const uint at = k + 8u * p;
      if (at >= push.n_in)
        break;
      // Of F32, whose chunks hold four values, the next chunk may be missing.
      const uint chunk = values < 32u ? at / values : k / values;
      const bool half_ = at + 4u >= push.n_in;
      const uint base = (first + chunk) * vectors;
      vec4 a, b;
      if (format == FORMAT_F32) {
        a = uintBitsToFloat(load16(from, base + r));
        b = half_ ? vec4(0.0) : uintBitsToFloat(load16(from, base + vectors + r));
      } else {
        eight(format, push.books, from, base, r, k % values / 32u, p, a, b);
      }
      [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
        const vec4 u = vec4(push.x.v[x_at[c] + at], push.x.v[x_at[c] + at + 1u], push.x.v[x_at[c] + at + 2u], push.x.v[x_at[c] + at + 3u]);
        out_[c] = fma(a.w, u.w, fma(a.z, u.z, fma(a.y, u.y, fma(a.x, u.x, out_[c]))));
        if (!half_) {
          const uint i = x_at[c] + at + 4u;
          const vec4 v = vec4(push.x.v[i], push.x.v[i + 1u], push.x.v[i + 2u], push.x.v[i + 3u]);
          out_[c] = fma(b.w, v.w, fma(b.z, v.z, fma(b.y, v.y, fma(b.x, v.x, out_[c]))));
        }
      }
    }
}

float scaled(uint which, uint matrix, uint row, float sum) {
  if (uvec2(push.scales[which]) != uvec2(0u))
    sum *= push.scales[which].v[matrix];
  return uvec2(push.bias[which]) == uvec2(0u) ? sum : sum + push.bias[which].v[matrix * push.n_rows + row];
}

void main() {
  const uint r = gl_LocalInvocationID.x, team = gl_LocalInvocationID.y, n_tiles = (push.n_rows + 31u) / 32u;
  uint matrix, first, n, tile = gl_WorkGroupID.y;
  if (BY_HEAD) {
    matrix = tile / n_tiles;
    tile %= n_tiles;
    first = gl_WorkGroupID.x * COLUMNS;
    n = push.step.v[STEP_N_ROWS];
    if (first >= n)
      return;
    n = min(n - first, COLUMNS);
  } else {
    if (gl_WorkGroupID.x >= push.groups.v[0])
      return;
    const uint at = GROUPS_HEADER + 3u * gl_WorkGroupID.x;
    matrix = push.groups.v[at];
    first = push.groups.v[at + 1u];
    n = push.groups.v[at + 2u];
  }
  uint column[COLUMNS], x_at[COLUMNS];
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
    const uint i = first + min(c, n - 1u);
    column[c] = BY_HEAD ? i : push.groups.v[push.groups.v[1] + i];
    x_at[c] = BY_HEAD ? i * push.x_width + matrix * push.n_in : (push.x_width == 1u ? column[c] : column[c] / push.n_used) * push.n_in;
  }
  float gates[COLUMNS], ups[COLUMNS];
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
    gates[c] = ups[c] = 0.0;
  add(FORMAT_A, 0u, matrix * n_tiles + tile, r, team, x_at, gates);
  if (GATED)
    add(FORMAT_B, 1u, matrix * n_tiles + tile, r, team, x_at, ups);
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
    sums[((team * 2u) * COLUMNS + c) * 32u + r] = gates[c];
    if (GATED)
      sums[((team * 2u + 1u) * COLUMNS + c) * 32u + r] = ups[c];
  }
  barrier();
  const uint row = tile * 32u + r;
  if (team != 0u || row >= push.n_rows)
    return;
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
    if (c >= n)
      break;
    float gate = gates[c], up = ups[c];
    [[unroll]] for (uint t = 1u; t < TEAMS; t++) {
      gate += sums[((t * 2u) * COLUMNS + c) * 32u + r];
      if (GATED)
        up += sums[((t * 2u + 1u) * COLUMNS + c) * 32u + r];
    }
    if (BY_HEAD) {
      push.y.v[column[c] * push.y_width + matrix * push.gap + row] = gate;
      continue;
    }
    gate = scaled(0u, matrix, row, gate);
    if (GATED)
      up = scaled(1u, matrix, row, up);
    if (ACTIVATION == ACT_SWIGLU && push.clamp_ > 0.0)
      gate = min(silu(gate), push.clamp_) * clamp(up, -push.clamp_, push.clamp_);
    else if (ACTIVATION != ACT_NONE)
      gate = activate(ACTIVATION, gate, up);
    push.y.v[column[c] * push.n_rows + row] = gate;
  }
}
