#version 460
// Linear stages in float32; see frame.glsl. Whatever the device can do more: these are the plain kernels. A processor that
// pretends to be a GPU sums a group (16 values of Q6_K) before it scales it; hardware scales each weight.
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "frame.glsl"

const uint SHARES = BROADCAST == 0u ? 1u : 32u / BROADCAST;

uint x_base[COLUMNS]; // in vectors of 4
uint x_at;            // the group of 32 values of x at hand begins here

// A processor extracts the fields of a word by masks alone, each with a factor that stands in x instead: field i of a word counts
// 2^shift too much, but the last, which is shifted down because a signed integer must not become negative.
float nibble_factor[SHARES], byte_factor[SHARES]; // of this invocation's share
float shares[COLUMNS * SHARES];                   // this invocation's part of the group
float group_sums[COLUMNS * 2u];                   // of the group's halves, without factors
float dots[COLUMNS * ROWS];                       // what the group has added up to so far

vec4 w[ROWS]; // four fields of each row as numbers

const uint FIELDS_FLOATS = 0u, FIELDS_NIBBLES = 1u, FIELDS_BYTES = 2u;
uint fields; // of the group at hand

float nibble_factor_of(uint v) {
  const uint shift = (v & 7u) == 7u ? 0u : 8u * (v & 3u) + (v & 4u);
  return uintBitsToFloat((127u - shift) << 23);
}

float byte_factor_of(uint v) {
  const uint shift = (v & 3u) == 3u ? 0u : 8u * (v & 3u);
  return uintBitsToFloat((127u - shift) << 23);
}

void prepare() {
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
    x_base[c] = column[c] * (push.n_in >> 2);
  if (BROADCAST != 0u)
    [[unroll]] for (uint s = 0u; s < SHARES; s++) {
      nibble_factor[s] = nibble_factor_of(gl_SubgroupInvocationID * SHARES + s);
      byte_factor[s] = byte_factor_of(gl_SubgroupInvocationID * SHARES + s);
    }
}

vec4 load_x(uint c, uint j) {
  return push.x.v[x_base[c] + ((x_at + j) >> 2)];
}

// The sum of four neighbours of the group, of whose shares `sum` is each invocation's own sum.
float quad(uint c, float sum, uint i) {
  if (BROADCAST == 0u) {
    const vec4 x = load_x(c, 4u * i);
    return (x.x + x.y) + (x.z + x.w);
  }
  if (SHARES == 4u)
    return subgroupBroadcast(sum, i);
  if (SHARES == 2u)
    return subgroupBroadcast(sum, 2u * i) + subgroupBroadcast(sum, 2u * i + 1u);
  return (subgroupBroadcast(sum, 4u * i) + subgroupBroadcast(sum, 4u * i + 1u)) +
         (subgroupBroadcast(sum, 4u * i + 2u) + subgroupBroadcast(sum, 4u * i + 3u));
}

// Turns to the values k .. k + 31 of each column; those behind the end of x are zero.
void begin_group(uint k, uint fields_) {
  x_at = k;
  fields = fields_;
  if (!SOFTWARE)
    return;
  const uint mine = k + gl_SubgroupInvocationID * SHARES;
  const uint inside = min(mine, push.n_in - SHARES);
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
    float own[SHARES];
    if (BROADCAST != 0u)
      [[unroll]] for (uint s = 0u; s < SHARES; s++) {
        const uint at = x_base[c] * 4u + inside;
        if (SHARES == 1u)
          own[s] = Floats(push.x).v[at];
        else
          own[s] = uintBitsToFloat(unpack32(Pairs(push.x).v[at / 2u + s / 2u])[s & 1u]);
        if (fields == FIELDS_FLOATS)
          own[s] = mine < push.n_in ? own[s] : 0.0;
        shares[c * SHARES + s] = fields == FIELDS_FLOATS    ? own[s]
                                 : fields == FIELDS_NIBBLES ? own[s] * nibble_factor[s]
                                                            : own[s] * byte_factor[s];
      }
    if (fields != FIELDS_FLOATS) {
      const float sum = SHARES == 4u   ? (own[0] + own[1 % SHARES]) + (own[2 % SHARES] + own[3 % SHARES])
                        : SHARES == 2u ? own[0] + own[1 % SHARES]
                                       : own[0];
      [[unroll]] for (uint h = 0u; h < 2u; h++)
        group_sums[c * 2u + h] =
            ((quad(c, sum, 4u * h) + quad(c, sum, 4u * h + 1u)) + quad(c, sum, 4u * h + 2u)) + quad(c, sum, 4u * h + 3u);
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
    vec4 x;
    if (BROADCAST != 0u) {
      x = vec4(share(c, j), share(c, j + 1u), share(c, j + 2u), share(c, j + 3u));
    } else {
      x = load_x(c, j);
      if (SOFTWARE && fields != FIELDS_FLOATS)
        [[unroll]] for (uint i = 0u; i < 4u; i++)
          x[i] *= fields == FIELDS_NIBBLES ? nibble_factor_of(j + i) : byte_factor_of(j + i);
    }
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

// Adds 32 nibbles of each row.
void add_nibbles() {
  [[unroll]] for (uint j = 0u; j < 8u; j++) {
    [[unroll]] for (uint i = 0u; i < ROWS; i++)
      w[i] = fields_of_nibbles(q[i][j >> 1], j & 1u);
    add_fields(j * 4u);
  }
  end_fields(0u, true);
}

void run(uint format, Words4 from, uint t, uint r, uint split) {
  const uint values = chunk_values(format), vectors = chunk_vectors(format);
  const uint n_chunks = (push.n_in + values - 1u) / values;
  const uint first = t * n_chunks;
#if !defined(FORMAT) || FORMAT <= FORMAT_Q6_K
  if (format <= FORMAT_BF16) {
    for (uint k = split * 32u; k < push.n_in; k += SPLIT * 32u) {
      begin_group(k, FIELDS_FLOATS);
      [[unroll]] for (uint j = 0u; j < 8u; j++) {
        // Behind the end of a row the last chunk stands in: it meets zeros.
        const uint chunk = first + min((k + j * 4u) / values, n_chunks - 1u);
        if (BROADCAST == 0u && k + j * 4u >= push.n_in)
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
        header[i] = q4k_bytes(q[i]);
      vec2 d[ROWS];
      [[unroll]] for (uint i = 0u; i < ROWS; i++)
        d[i] = unpackHalf2x16(q[i].x);
      for (uint g = split; g < 8u; g += SPLIT) {
        begin_group(chunk * 256u + g * 32u, FIELDS_NIBBLES);
        [[unroll]] for (uint i = 0u; i < ROWS; i++) {
          scale[i] = d[i].x * byte_of(g < 4u ? header[i].x : header[i].y, g & 3u);
          offset[i] = d[i].y * byte_of(g < 4u ? header[i].z : header[i].w, g & 3u);
        }
        load_rows(from, base + 32u + g * 32u + r);
        add_nibbles();
      }
    }
  } else if (format == FORMAT_Q6_K) {
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
            scale[i] = d[i] * signed_byte_of(scales[i][g >> 1], 2u * (g & 1u) + h);
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
#endif
#if !defined(FORMAT) || FORMAT > FORMAT_Q6_K
  if (format > FORMAT_Q6_K)
    for (uint k = split * 32u; k < push.n_in; k += SPLIT * 32u) {
      const uint base = (first + k / values) * vectors, g = k % values / 32u;
      begin_group(k, FIELDS_BYTES);
      vec2 scales[ROWS], offsets[ROWS];
      [[unroll]] for (uint i = 0u; i < ROWS; i++)
        scales_of(format, from, base, r + i * LANES, g, scales[i], offsets[i]);
      [[unroll]] for (uint h = 0u; h < 2u; h++) {
        [[unroll]] for (uint i = 0u; i < ROWS; i++) {
          scale[i] = scales[i][h];
          offset[i] = offsets[i][h];
        }
        [[unroll]] for (uint p = 2u * h; p < 2u * h + 2u; p++) {
          uvec2 words[ROWS];
          [[unroll]] for (uint i = 0u; i < ROWS; i++) {
            words[i] = fields_of(format, push.books, from, base, r + i * LANES, g, p);
            w[i] = fields_of_bytes(words[i].x);
          }
          add_fields(p * 8u);
          [[unroll]] for (uint i = 0u; i < ROWS; i++)
            w[i] = fields_of_bytes(words[i].y);
          add_fields(p * 8u + 4u);
        }
        end_fields(h, false);
      }
    }
#endif
}
