// Values 8 p .. 8 p + 7 of group g (of 32) of row r, in a tile's chunk that begins at vector `base`; see formats.glsl. In chunks shorter than a
// group, `base` is that of the values wanted and g and p say nothing.
void eight(uint format, Words books, Words4 from, uint base, uint r, uint g, uint p, out vec4 a, out vec4 b) {
  Words words = Words(from);
  if (format == FORMAT_F32) {
    a = uintBitsToFloat(load16(from, base + r));
    b = uintBitsToFloat(load16(from, base + 32u + r));
  } else if (format == FORMAT_F16) {
    const uvec4 q = load16(from, base + r);
    a = vec4(unpackHalf2x16(q.x), unpackHalf2x16(q.y));
    b = vec4(unpackHalf2x16(q.z), unpackHalf2x16(q.w));
  } else if (format == FORMAT_BF16) {
    const uvec4 q = load16(from, base + r);
    a = uintBitsToFloat(uvec4(q.x << 16, q.x & 0xffff0000u, q.y << 16, q.y & 0xffff0000u));
    b = uintBitsToFloat(uvec4(q.z << 16, q.z & 0xffff0000u, q.w << 16, q.w & 0xffff0000u));
  } else if (format == FORMAT_Q8_0) {
    const float d = plane_half(from, base + 64u, r);
    const uint at = (base + (p >> 1) * 32u + r) * 4u + (p & 1u) * 2u;
    a = d * unpack_bytes(words.v[at]);
    b = d * unpack_bytes(words.v[at + 1u]);
  } else if (format == FORMAT_Q4_0) {
    const float d = plane_half(from, base + 32u, r);
    unpack_nibbles(words.v[(base + r) * 4u + p], a, b);
    a = d * (a - 8.0);
    b = d * (b - 8.0);
  } else if (format == FORMAT_Q4_K) {
    float scale, minimum;
    q4k_scale(load16(from, base + r), g, scale, minimum);
    unpack_nibbles(words.v[(base + 32u + g * 32u + r) * 4u + p], a, b);
    a = fma(a, vec4(scale), vec4(-minimum));
    b = fma(b, vec4(scale), vec4(-minimum));
  } else if (format == FORMAT_Q6_K) {
    const uint q = words.v[(base + g * 32u + r) * 4u + p];
    const uint high = words.v[(base + 256u + (g >> 1) * 32u + r) * 4u + (g & 1u) * 2u + (p >> 1)] >> (4u * (p & 1u));
    const uint scales = words.v[(base + 384u + r) * 4u + (g >> 1)] >> (16u * (g & 1u) + 8u * (p >> 1));
    const float s = plane_half(from, base + 416u, r) * float(int(scales << 24) >> 24);
    a = s * (bytes_of((q & 0x0f0f0f0fu) | ((high & 0x03030303u) << 4)) - 32.0);
    b = s * (bytes_of(((q >> 4) & 0x0f0f0f0fu) | (((high >> 2) & 0x03030303u) << 4)) - 32.0);
  } else {
    vec2 scales, offsets;
    scales_of(format, from, base, r, g, scales, offsets);
    const uvec2 fields = fields_of(format, books, from, base, r, g, p);
    a = fma(bytes_of(fields.x), vec4(scales[p >> 1]), vec4(-offsets[p >> 1]));
    b = fma(bytes_of(fields.y), vec4(scales[p >> 1]), vec4(-offsets[p >> 1]));
  }
}
