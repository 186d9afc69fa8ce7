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
//   Q4_1    32              32: nibbles; 8: 32 words of d and m
//   Q5_0    32              32: nibbles; 8: 32 words of high bits; 4: 32 halves d
//   Q5_1    32              32: nibbles; 8: 32 words of high bits; 8: 32 words of d and m
//   IQ4_NL  32              32: nibbles; 4: 32 halves d
//   MXFP4   32              32: nibbles; 2: 32 bytes e
//   NVFP4   64              2 x 32: nibbles; 8: 32 words of four scales
//   Q5_K    256             32: as Q4_K; 8 x 32: nibbles; 2 x 32: high bits, a word a group
//   IQ4_XS  256             8 x 32: nibbles; 8: words of d and scales_h; 8: words of scales_l
//   Q2_0    64              32: bit pairs; 4: 32 halves d
//   Q2_K    256             4 x 32: bit pairs; 32: 16 bytes of scales; 8: words of d and dmin
//   Q3_K    256             4 x 32: bit pairs; 2 x 32: high bits; 3 x 8: words of scales; 4: halves d
//   TQ2_0   256             4 x 32: bit pairs; 4: halves d
//   Q1_0    128             32: bits, a word a group; 4: halves d
//   others  256             the bytes of the file's arrays: vectors, then words, then halves d
//
// A word of nibbles holds 8 values: byte i's low nibble is value i, its high nibble value i + 4. Two words of bit pairs hold a
// group: bits 2 s .. 2 s + 1 of byte i of word v are value 16 v + 4 s + i. A word of bits holds one: bit k of byte i is value
// 4 k + i.
const uint TILE_ROWS = 32u;
#define FORMAT_F32 0
#define FORMAT_F16 1
#define FORMAT_BF16 2
#define FORMAT_Q8_0 3
#define FORMAT_Q4_0 4
#define FORMAT_Q4_K 5
#define FORMAT_Q6_K 6

// Those behind it: decode.glsl knows them. Numbers of the preprocessor, which leaves out what a module for one format has no
// need of.
#define FORMAT_Q4_1 7
#define FORMAT_Q5_0 8
#define FORMAT_Q5_1 9
#define FORMAT_IQ4_NL 10
#define FORMAT_MXFP4 11
#define FORMAT_NVFP4 12
#define FORMAT_Q5_K 13
#define FORMAT_IQ4_XS 14
#define FORMAT_Q2_0 15
#define FORMAT_Q2_K 16
#define FORMAT_Q3_K 17
#define FORMAT_TQ2_0 18
#define FORMAT_Q1_0 19
#define FORMAT_TQ1_0 20
#define FORMAT_IQ2_XXS 21
#define FORMAT_IQ2_XS 22
#define FORMAT_IQ2_S 23
#define FORMAT_IQ3_XXS 24
#define FORMAT_IQ3_S 25
#define FORMAT_IQ1_S 26
#define FORMAT_IQ1_M 27

const uint N_FORMATS = 28u;
const uint CHUNK_VALUES[N_FORMATS] = uint[](4u, 8u, 8u, 32u, 32u, 256u, 256u, 32u, 32u, 32u, 32u, 32u, 64u, 256u, 256u,
                                            64u, 256u, 256u, 256u, 128u, 256u, 256u, 256u, 256u, 256u, 256u, 256u, 256u);
const uint CHUNK_VECTORS[N_FORMATS] = uint[](32u, 32u, 32u, 68u, 36u, 288u, 420u, 40u, 44u, 48u, 36u, 34u, 72u, 352u,
                                             272u, 36u, 168u, 220u, 132u, 36u, 108u, 132u, 148u, 164u, 196u, 220u, 100u, 112u);

uint chunk_values(uint format) {
  return CHUNK_VALUES[format];
}

uint chunk_vectors(uint format) {
  return CHUNK_VECTORS[format];
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
