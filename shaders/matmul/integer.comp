#version 460
// Linear stages of quantised weights by integer dot products; see frame.glsl. x comes as norm.comp quantises it: of each group
// of 32 values two vectors of int8, and one of the scale and the scaled sums of the group's halves.
// A group's products are summed exactly; the sums of groups are float32, in the order of frame.glsl.
#extension GL_EXT_integer_dot_product : require
#extension GL_GOOGLE_include_directive : require
#include "frame.glsl"

uint x_base[COLUMNS]; // in vectors
int words[ROWS * 8u]; // the group's fields of each row, four to a word
float high_scale[ROWS], high_offset[ROWS]; // of the group's second half, where it has its own

void prepare() {
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
    x_base[c] = column[c] * (push.n_in / 32u * 3u);
}

void add_group(uint k, bool halves) {
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
    const uint at = x_base[c] + k / 32u * 3u;
    const ivec4 a = ivec4(load16(Words4(push.x), at)), b = ivec4(load16(Words4(push.x), at + 1u));
    const vec4 s = push.x.v[at + 2u];
    [[unroll]] for (uint i = 0u; i < ROWS; i++) {
      int low = 0, high = 0;
      [[unroll]] for (uint j = 0u; j < 4u; j++) {
        low += dotPacked4x8EXT(words[i * 8u + j], a[j]);
        high += dotPacked4x8EXT(words[i * 8u + 4u + j], b[j]);
      }
      if (halves)
        sums[c * ROWS + i] += s.x * fma(scale[i], float(low), high_scale[i] * float(high)) -
                              fma(offset[i], s.y, high_offset[i] * s.z);
      else
        sums[c * ROWS + i] += fma(scale[i] * s.x, float(low + high), -offset[i] * (s.y + s.z));
    }
  }
}

void take_nibbles() {
  [[unroll]] for (uint i = 0u; i < ROWS; i++)
    [[unroll]] for (uint j = 0u; j < 8u; j++)
      words[i * 8u + j] = int((q[i][j >> 1] >> (4u * (j & 1u))) & 0x0f0f0f0fu);
}

void run(uint format, Words4 from, uint t, uint r, uint split) {
  const uint values = chunk_values(format), vectors = chunk_vectors(format);
  const uint n_chunks = (push.n_in + values - 1u) / values;
  const uint first = t * n_chunks;
#if !defined(FORMAT) || FORMAT <= FORMAT_Q6_K
  if (format == FORMAT_Q8_0 || format == FORMAT_Q4_0) {
    for (uint chunk = split; chunk < n_chunks; chunk += SPLIT) {
      const uint base = (first + chunk) * vectors;
      [[unroll]] for (uint i = 0u; i < ROWS; i++) {
        scale[i] = plane_half(from, base + vectors - 4u, r + i * LANES);
        offset[i] = format == FORMAT_Q8_0 ? 0.0 : 8.0 * scale[i];
      }
      load_rows(from, base + r);
      if (format == FORMAT_Q4_0) {
        take_nibbles();
      } else {
        [[unroll]] for (uint h = 0u; h < 2u; h++) {
          if (h == 1u)
            load_rows(from, base + 32u + r);
          [[unroll]] for (uint i = 0u; i < ROWS; i++)
            [[unroll]] for (uint j = 0u; j < 4u; j++)
              words[i * 8u + h * 4u + j] = int(q[i][j]);
        }
      }
      add_group(chunk * 32u, false);
    }
  } else if (format == FORMAT_Q4_K) {
    for (uint chunk = 0u; chunk < n_chunks; chunk++) {
      const uint base = (first + chunk) * vectors;
      uvec4 header[ROWS];
      vec2 d[ROWS];
      load_rows(from, base + r);
      [[unroll]] for (uint i = 0u; i < ROWS; i++) {
        header[i] = q4k_bytes(q[i]);
        d[i] = unpackHalf2x16(q[i].x);
      }
      for (uint g = split; g < 8u; g += SPLIT) {
        [[unroll]] for (uint i = 0u; i < ROWS; i++) {
          scale[i] = d[i].x * byte_of(g < 4u ? header[i].x : header[i].y, g & 3u);
          offset[i] = d[i].y * byte_of(g < 4u ? header[i].z : header[i].w, g & 3u);
        }
        load_rows(from, base + 32u + g * 32u + r);
        take_nibbles();
        add_group(chunk * 256u + g * 32u, false);
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
        load_rows(from, base + 256u + (g >> 1) * 32u + r);
        [[unroll]] for (uint i = 0u; i < ROWS; i++)
          high[i] = (g & 1u) == 0u ? q[i].xy : q[i].zw;
        load_rows(from, base + g * 32u + r);
        take_nibbles();
        [[unroll]] for (uint i = 0u; i < ROWS; i++) {
          [[unroll]] for (uint j = 0u; j < 8u; j++)
            words[i * 8u + j] |= int(((high[i][j >> 2] >> (2u * (j & 3u))) & 0x03030303u) << 4);
          scale[i] = d[i] * signed_byte_of(scales[i][g >> 1], 2u * (g & 1u));
          high_scale[i] = d[i] * signed_byte_of(scales[i][g >> 1], 2u * (g & 1u) + 1u);
          offset[i] = 32.0 * scale[i];
          high_offset[i] = 32.0 * high_scale[i];
        }
        add_group(chunk * 256u + g * 32u, true);
      }
    }
  }
#endif
#if !defined(FORMAT) || FORMAT > FORMAT_Q6_K
  if (format > FORMAT_Q6_K)
    for (uint k = split * 32u; k < push.n_in; k += SPLIT * 32u) {
      const uint base = (first + k / values) * vectors, g = k % values / 32u;
      [[unroll]] for (uint i = 0u; i < ROWS; i++) {
        vec2 scales, offsets;
        scales_of(format, from, base, r + i * LANES, g, scales, offsets);
        // What does not fit into seven bits is as far above 128 as below.
        const bool is_wide = format == FORMAT_IQ4_NL || format == FORMAT_IQ4_XS;
        scale[i] = scales.x;
        high_scale[i] = scales.y;
        offset[i] = is_wide ? 0.0 : offsets.x;
        high_offset[i] = is_wide ? 0.0 : offsets.y;
        [[unroll]] for (uint p = 0u; p < 4u; p++) {
          const uvec2 fields = fields_of(format, push.books, from, base, r + i * LANES, g, p) ^ (is_wide ? 0x80808080u : 0u);
          words[i * 8u + 2u * p] = int(fields.x);
          words[i * 8u + 2u * p + 1u] = int(fields.y);
        }
      }
      add_group(k, true);
    }
#endif
}
