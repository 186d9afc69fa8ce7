// Weights as they lie on the device: tiles of 32 rows; inside a tile, chunks of consecutive values of all 32 rows; inside a
// chunk, planes of 16-byte vectors, one a row, so that 32 neighbouring invocations read 512 bytes in a row. Bits a weight are
// the file's own. vulkan/layout.c writes these layouts; the numbers must agree.
//
//   format  values a chunk  vectors a chunk and tile
//   F32     4               32: the values
//   F16     8               32: the values as halves (BF16 the same)
//   Q8_0    32              64: two planes of int8; 4: 32 half scales
//   Q4_0    32              32: nibbles; 4: 32 half scales
//   Q4_K    256             32: d, dmin and the 12 scale bytes; 8 x 32: nibbles of each group of 32
//   Q6_K    256             8 x 32: low nibbles; 4 x 32: high bit pairs; 32: 16 int8 scales; 4: 32 halves d
//
// A word of nibbles holds 8 values: byte i's low nibble is value i, its high nibble value i + 4.
const uint TILE_ROWS = 32u;
const uint FORMAT_F32 = 0u;
const uint FORMAT_F16 = 1u;
const uint FORMAT_BF16 = 2u;
const uint FORMAT_Q8_0 = 3u;
const uint FORMAT_Q4_0 = 4u;
const uint FORMAT_Q4_K = 5u;
const uint FORMAT_Q6_K = 6u;

uint chunk_values(uint format) {
  return format == FORMAT_F32 ? 4u : format <= FORMAT_BF16 ? 8u : format <= FORMAT_Q4_0 ? 32u : 256u;
}

uint chunk_vectors(uint format) {
  return format <= FORMAT_BF16 ? 32u : format == FORMAT_Q8_0 ? 68u : format == FORMAT_Q4_0 ? 36u : format == FORMAT_Q4_K ? 288u : 420u;
}

// The four bytes of a word. Signed integers, because every processor converts those to float in one step.
vec4 bytes_of(uint word) {
  return vec4(ivec4(word & 255u, (word >> 8) & 255u, (word >> 16) & 255u, word >> 24));
}

// Values 8 w .. 8 w + 7 of a group from a word of nibbles.
void unpack_nibbles(uint word, out vec4 a, out vec4 b) {
  a = bytes_of(word & 0x0f0f0f0fu);
  b = bytes_of((word >> 4) & 0x0f0f0f0fu);
}

vec4 unpack_bytes(uint word) {
  return vec4(int(word << 24) >> 24, int(word << 16) >> 24, int(word << 8) >> 24, int(word) >> 24);
}

// The half of row r in a plane of 32 halves that begins at vector `base`.
float plane_half(Words4 w, uint base, uint r) {
  uint word = Words(w).v[base * 4u + (r >> 1)];
  return unpackHalf2x16(word)[r & 1u];
}

// Group j's scale and minimum (6 bits each) of a Q4_K header.
void q4k_scale(uvec4 header, uint j, out float scale, out float minimum) {
  vec2 d = unpackHalf2x16(header.x);
  uint s, m;
  if (j < 4u) {
    s = (header.y >> (8u * j)) & 63u;
    m = (header.z >> (8u * j)) & 63u;
  } else {
    uint shift = 8u * (j - 4u);
    uint low = header.w >> shift;
    s = (low & 15u) | (((header.y >> shift) >> 6 & 3u) << 4);
    m = ((low >> 4) & 15u) | (((header.z >> shift) >> 6 & 3u) << 4);
  }
  scale = d.x * float(s);
  minimum = d.y * float(m);
}
