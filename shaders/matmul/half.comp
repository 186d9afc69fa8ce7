#version 460
// Linear stages by products of halves; see frame.glsl. x comes as norm.comp writes it for this kernel: of each group of 32 values
// four vectors of halves, and one of the scale and the scaled sums of the group's halves. Both operands are far from the ends of
// what a half can hold: x is below 16, and fields of weights are whole numbers of at most 8 bits, so that no sum overflows.
// Eight products follow one another in a half; what a group of 32 comes to is added up in float32, in the order of frame.glsl.
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_GOOGLE_include_directive : require
#include "frame.glsl"

uint x_base[COLUMNS]; // in vectors
// The group's fields of each row, 16 pairs. Those of 8 values stand as (0, 2), (1, 3), (4, 6), (5, 7), as masks find them.
f16vec2 pairs[ROWS * 16u];
float high_scale[ROWS], high_offset[ROWS]; // of the group's second half, where it has its own

void prepare() {
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
    x_base[c] = column[c] * ((push.n_in + 31u) / 32u * 5u);
}

void add_group(uint k, bool halves) {
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
    const uint at = x_base[c] + k / 32u * 5u;
    const vec4 s = push.x.v[at + 4u];
    f16vec2 x[16];
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
      const uvec4 words = load16(Words4(push.x), at + j);
      [[unroll]] for (uint m = 0u; m < 4u; m++)
        x[j * 4u + m] = unpackFloat2x16(words[m]);
    }
    [[unroll]] for (uint i = 0u; i < ROWS; i++) {
      f16vec2 low = f16vec2(0.0), high = f16vec2(0.0);
      [[unroll]] for (uint j = 0u; j < 8u; j++) {
        low = fma(pairs[i * 16u + j], x[j], low);
        high = fma(pairs[i * 16u + 8u + j], x[8u + j], high);
      }
      if (halves) {
        sums[c * ROWS + i] += s.x * fma(scale[i], float(low.x + low.y), high_scale[i] * float(high.x + high.y)) -
                              fma(offset[i], s.y, high_offset[i] * s.z);
      } else {
        const f16vec2 both = low + high;
        sums[c * ROWS + i] += fma(scale[i] * s.x, float(both.x + both.y), -offset[i] * (s.y + s.z));
      }
    }
  }
}

// The four bytes of a word less `zero`: added to the last bits of 1024 they are halves without any conversion.
void take_bytes(uint i, uint at, uint word, float zero) {
  const f16vec2 base = f16vec2(1024.0 + zero);
  pairs[i * 16u + at] = unpackFloat2x16((word & 0x00ff00ffu) | 0x64006400u) - base;
  pairs[i * 16u + at + 1u] = unpackFloat2x16(((word >> 8) & 0x00ff00ffu) | 0x64006400u) - base;
}

void take_nibbles() {
  [[unroll]] for (uint i = 0u; i < ROWS; i++)
    [[unroll]] for (uint j = 0u; j < 4u; j++) {
      take_bytes(i, j * 4u, q[i][j] & 0x0f0f0f0fu, 0.0);
      take_bytes(i, j * 4u + 2u, (q[i][j] >> 4) & 0x0f0f0f0fu, 0.0);
    }
}

f16vec2 brains(uint word) {
  return f16vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xffff0000u));
}

void run(uint format, Words4 from, uint t, uint r, uint split) {
  const uint values = chunk_values(format), vectors = chunk_vectors(format);
  const uint n_chunks = (push.n_in + values - 1u) / values;
  const uint first = t * n_chunks;
#if !defined(FORMAT) || FORMAT <= FORMAT_Q6_K
  if (format <= FORMAT_BF16) {
    [[unroll]] for (uint i = 0u; i < ROWS; i++) {
      scale[i] = 1.0;
      offset[i] = 0.0;
    }
    for (uint k = split * 32u; k < push.n_in; k += SPLIT * 32u) {
      [[unroll]] for (uint j = 0u; j < 4u; j++) {
        // Behind the end of a row the last chunk stands in: it meets zeros.
        load_rows(from, (first + min(k / 8u + j, n_chunks - 1u)) * vectors + r);
        [[unroll]] for (uint i = 0u; i < ROWS; i++)
          [[unroll]] for (uint m = 0u; m < 4u; m += 2u) {
            const f16vec2 a = format == FORMAT_F16 ? unpackFloat2x16(q[i][m]) : brains(q[i][m]);
            const f16vec2 b = format == FORMAT_F16 ? unpackFloat2x16(q[i][m + 1u]) : brains(q[i][m + 1u]);
            pairs[i * 16u + j * 4u + m] = f16vec2(a.x, b.x);
            pairs[i * 16u + j * 4u + m + 1u] = f16vec2(a.y, b.y);
          }
      }
      add_group(k, false);
    }
  } else if (format == FORMAT_Q8_0 || format == FORMAT_Q4_0) {
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
              take_bytes(i, h * 8u + j * 2u, q[i][j] ^ 0x80808080u, 128.0);
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
        offset[i] = high_offset[i] = 0.0;
      }
      for (uint g = split; g < 8u; g += SPLIT) {
        uvec2 high[ROWS];
        load_rows(from, base + 256u + (g >> 1) * 32u + r);
        [[unroll]] for (uint i = 0u; i < ROWS; i++)
          high[i] = (g & 1u) == 0u ? q[i].xy : q[i].zw;
        load_rows(from, base + g * 32u + r);
        [[unroll]] for (uint i = 0u; i < ROWS; i++) {
          [[unroll]] for (uint j = 0u; j < 8u; j++) {
            const uint low = (q[i][j >> 1] >> (4u * (j & 1u))) & 0x0f0f0f0fu;
            take_bytes(i, j * 2u, low | (((high[i][j >> 2] >> (2u * (j & 3u))) & 0x03030303u) << 4), 32.0);
          }
          scale[i] = d[i] * signed_byte_of(scales[i][g >> 1], 2u * (g & 1u));
          high_scale[i] = d[i] * signed_byte_of(scales[i][g >> 1], 2u * (g & 1u) + 1u);
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
        scale[i] = scales.x;
        high_scale[i] = scales.y;
        offset[i] = offsets.x;
        high_offset[i] = offsets.y;
        [[unroll]] for (uint p = 0u; p < 4u; p++) {
          const uvec2 fields = fields_of(format, push.books, from, base, r + i * LANES, g, p);
          take_bytes(i, p * 4u, fields.x, 0.0);
          take_bytes(i, p * 4u + 2u, fields.y, 0.0);
        }
      }
      add_group(k, true);
    }
#endif
}
