// How the formats behind FORMAT_Q6_K become numbers: eight values at a time as fields of a byte each, of at most 127 but for the
// IQ4 formats, and for each half of a group of 32 what turns a field into a weight: field * scale - offset.
// `from` is a matrix, `base` where a chunk of a tile of it begins, r the row in the tile, g the group of 32 in the chunk.

uint word_of(Words4 from, uint plane, uint r) {
  return Words(from).v[plane * 4u + r];
}

// Groups of 32 whose four words, or eight in two, begin at plane `plane`.
uint of_four(Words4 from, uint plane, uint r, uint g) {
  return load16(from, plane + (g >> 2) * 32u + r)[g & 3u];
}

uint of_two(Words4 from, uint plane, uint r, uint g, uint i) {
  return load16(from, plane + (g >> 1) * 32u + r)[(g & 1u) * 2u + i];
}

uint byte_of_eight(Words4 from, uint plane, uint r, uint g) {
  return (word_of(from, plane + (g >> 2) * 8u, r) >> (8u * (g & 3u))) & 255u;
}

// Codes of one, two and three bits as bytes.
uint spread1(uint codes) {
  return (codes * 0x00204081u) & 0x01010101u;
}

uint spread2(uint codes) {
  const uint two = (codes | (codes << 12)) & 0x000f000fu;
  return (two | (two << 6)) & 0x03030303u;
}

uint spread3(uint codes) {
  return (codes & 7u) | ((codes & 0x38u) << 5) | ((codes & 0x1c0u) << 10) | ((codes & 0xe00u) << 15);
}

// zero + value of four bytes, or zero - value where the code's bit is set.
uint with_signs(uint zero, uint values, uint bits) {
  const uint below = spread1(bits) * 255u;
  return zero + (values & ~below) - (values & below);
}

// The doubled values of 4-bit floats, and 12.
uint fp4_fields(uint q) {
  const uint four = (q >> 2) & 0x01010101u, two = (q >> 1) & four;
  const uint value = (q & 0x07070707u) + (four & q) + ((two + (two & q)) << 1);
  const uint below = ((q >> 3) & 0x01010101u) * 255u;
  return 0x0c0c0c0cu + (value & ~below) - (value & below);
}

// The values of IQ4_NL, and 128.
uint iq4_fields(uint q) {
  uint fields = 0u;
  [[unroll]] for (uint i = 0u; i < 4u; i++) {
    const uint n = (q >> (8u * i)) & 15u;
    const uint low = (n & 4u) == 0u ? 0x3f2d1801u : 0x766a5d4fu, high = (n & 4u) == 0u ? 0xa6998d81u : 0xf1d9c5b5u;
    fields |= ((((n & 8u) == 0u ? low : high) >> (8u * (n & 3u))) & 255u) << (8u * i);
  }
  return fields;
}

#if !defined(FORMAT) || FORMAT == FORMAT_TQ1_0
// Trit n of each byte: numbers below 3, the first in the highest place.
uint trits(uint bytes, uint n) {
  const uint power = n == 0u ? 1u : n == 1u ? 3u : n == 2u ? 9u : n == 3u ? 27u : 81u;
  const uint even = (((bytes & 0x00ff00ffu) * power) & 0x00ff00ffu) * 3u;
  const uint odd = ((((bytes >> 8) & 0x00ff00ffu) * power) & 0x00ff00ffu) * 3u;
  return ((even >> 8) & 0x00030003u) | (odd & 0x03000300u);
}

uvec2 tq1_0_fields(Words4 from, uint base, uint r, uint g, uint p) {
  if (g == 7u && p >= 2u) {
    const uint last = word_of(from, base + 96u, r);
    return uvec2(trits(last, 2u * p - 4u), trits(last, 2u * p - 3u));
  }
  const uvec4 q = load16(from, base + (g < 5u ? (p >> 1) * 32u : 64u) + r);
  const uint n = g < 5u ? g : 2u * (g - 5u) + (p >> 1);
  return (p & 1u) == 0u ? uvec2(trits(q.x, n), trits(q.y, n)) : uvec2(trits(q.z, n), trits(q.w, n));
}
#endif

#if !defined(FORMAT) || FORMAT >= FORMAT_IQ2_XXS
// Where the codebooks begin, in half words: 8 codes of two bits or 4 of three each, in the order of vulkan/weights.c.
const uint BOOK_IQ2_XXS = 0u, BOOK_IQ2_XS = 256u, BOOK_IQ2_S = 768u, BOOK_IQ1 = 1792u, BOOK_IQ3_XXS = 3840u, BOOK_IQ3_S = 4096u;

uint entry(Words books, uint i) {
  return (books.v[i >> 1] >> (16u * (i & 1u))) & 0xffffu;
}

// Seven sign bits stand for eight: the last makes their number even.
uint eighth(uint signs) {
  return signs | ((uint(bitCount(signs)) & 1u) << 7);
}

uint iq2_letters(uint codes) {
  return codes * 17u + 0x08080808u + ((codes >> 1) & 0x01010101u);
}

uvec2 iq2_fields(uint format, Words books, Words4 from, uint base, uint r, uint g, uint p) {
  uint at, signs;
  if (format == FORMAT_IQ2_XXS) {
    at = BOOK_IQ2_XXS + ((of_two(from, base, r, g, 0u) >> (8u * p)) & 255u);
    signs = eighth((of_two(from, base, r, g, 1u) >> (7u * p)) & 127u);
  } else if (format == FORMAT_IQ2_XS) {
    const uint q = (of_two(from, base, r, g, p >> 1) >> (16u * (p & 1u))) & 0xffffu;
    at = BOOK_IQ2_XS + (q & 511u);
    signs = eighth(q >> 9);
  } else {
    const uint high = byte_of_eight(from, base + 128u, r, g);
    at = BOOK_IQ2_S + (((of_four(from, base, r, g) >> (8u * p)) & 255u) | ((high << (8u - 2u * p)) & 0x300u));
    signs = of_four(from, base + 64u, r, g) >> (8u * p);
  }
  const uint e = entry(books, at);
  return uvec2(with_signs(0x40404040u, iq2_letters(spread2(e & 255u)), signs & 15u),
               with_signs(0x40404040u, iq2_letters(spread2(e >> 8)), (signs >> 4) & 15u));
}

uvec2 iq3_fields(uint format, Words books, Words4 from, uint base, uint r, uint g, uint p) {
  const uint q = of_two(from, base, r, g, p >> 1) >> (16u * (p & 1u));
  const uint four = of_four(from, base + 128u, r, g);
  uvec2 at = uvec2(q & 255u, (q >> 8) & 255u);
  uint signs;
  if (format == FORMAT_IQ3_XXS) {
    at += BOOK_IQ3_XXS;
    signs = eighth((four >> (7u * p)) & 127u);
  } else {
    const uint high = byte_of_eight(from, base + 192u, r, g);
    at += BOOK_IQ3_S + (uvec2(high << (8u - 2u * p), high << (7u - 2u * p)) & 256u);
    signs = four >> (8u * p);
  }
  uvec2 letters = uvec2(spread3(entry(books, at.x)), spread3(entry(books, at.y)));
  if (format == FORMAT_IQ3_XXS)
    letters = letters * 8u + 0x04040404u + ((letters & (letters >> 1) & (letters >> 2)) & 0x01010101u) * 2u;
  else
    letters = letters * 2u + 0x01010101u;
  return uvec2(with_signs(0x40404040u, letters.x, signs & 15u), with_signs(0x40404040u, letters.y, (signs >> 4) & 15u));
}

// 16 + 8 times a letter of -1, 0 and 1, and one more or less.
uvec2 iq1_fields(uint format, Words books, Words4 from, uint base, uint r, uint g, uint p) {
  const uint high = load16(from, base + 64u + r)[g >> 1] >> (16u * (g & 1u));
  const uint low = (of_four(from, base, r, g) >> (8u * p)) & 255u;
  const uint bits = format == FORMAT_IQ1_S ? (high >> (3u * p)) & 7u : (high >> (4u * p)) & 7u;
  const bool below = format == FORMAT_IQ1_S ? (high & 0x8000u) != 0u : ((high >> (4u * p)) & 8u) != 0u;
  const uint e = entry(books, BOOK_IQ1 + (low | (bits << 8)));
  return uvec2(spread2(e & 255u), spread2(e >> 8)) * 8u + (below ? 0x07070707u : 0x09090909u);
}
#endif

// The fields of values 8 p .. 8 p + 7 of the group, four to a word.
uvec2 fields_of(uint format, Words books, Words4 from, uint base, uint r, uint g, uint p) {
#if !defined(FORMAT) || FORMAT >= FORMAT_IQ2_XXS
  if (format >= FORMAT_IQ1_S)
    return iq1_fields(format, books, from, base, r, g, p);
  if (format >= FORMAT_IQ3_XXS)
    return iq3_fields(format, books, from, base, r, g, p);
  if (format >= FORMAT_IQ2_XXS)
    return iq2_fields(format, books, from, base, r, g, p);
#endif
#if !defined(FORMAT) || FORMAT == FORMAT_TQ1_0
  if (format == FORMAT_TQ1_0)
    return tq1_0_fields(from, base, r, g, p);
#endif
  if (format == FORMAT_Q1_0) {
    const uint bits = load16(from, base + r)[g] >> (2u * p);
    return uvec2(bits, bits >> 1) & 0x01010101u;
  }
  if (format >= FORMAT_Q2_0) {
    const uint pairs_ = of_two(from, base, r, g, p >> 1) >> (4u * (p & 1u));
    uvec2 fields = uvec2(pairs_, pairs_ >> 2) & 0x03030303u;
    if (format == FORMAT_Q3_K) {
      const uint bits = of_four(from, base + 128u, r, g) >> (2u * p);
      fields |= (uvec2(bits, bits >> 1) & 0x01010101u) << 2;
    }
    return fields;
  }
  const uint nibbles = load16(from, base + (format == FORMAT_Q5_K ? 32u : 0u) + g * 32u + r)[p];
  uvec2 fields = uvec2(nibbles, nibbles >> 4) & 0x0f0f0f0fu;
  if (format == FORMAT_Q5_0 || format == FORMAT_Q5_1 || format == FORMAT_Q5_K) {
    const uint bits = (format == FORMAT_Q5_K ? of_four(from, base + 288u, r, g) : word_of(from, base + 32u, r)) >> (2u * p);
    fields |= (uvec2(bits, bits >> 1) & 0x01010101u) << 4;
  } else if (format == FORMAT_IQ4_NL || format == FORMAT_IQ4_XS) {
    fields = uvec2(iq4_fields(fields.x), iq4_fields(fields.y));
  } else if (format == FORMAT_MXFP4 || format == FORMAT_NVFP4) {
    fields = uvec2(fp4_fields(fields.x), fp4_fields(fields.y));
  }
  return fields;
}

// Four exponent bits with bias 7, three of mantissa.
float ue4m3(uint bits) {
  const uint exponent = (bits >> 3) & 15u, mantissa = bits & 7u;
  const float normal = float(8u + mantissa) * uintBitsToFloat((exponent + 117u) << 23);
  const float value = exponent == 0u ? float(mantissa) * 0.001953125 : normal;
  return bits == 0x7fu ? 0.0 : value;
}

// Scale and offset of both halves of the group.
void scales_of(uint format, Words4 from, uint base, uint r, uint g, out vec2 scale, out vec2 offset) {
  if (format == FORMAT_Q4_1 || format == FORMAT_Q5_1) {
    const vec2 d = unpackHalf2x16(word_of(from, base + (format == FORMAT_Q4_1 ? 32u : 40u), r));
    scale = vec2(d.x);
    offset = vec2(-d.y);
  } else if (format == FORMAT_MXFP4) {
    const uint e = (Words(from).v[(base + 32u) * 4u + (r >> 2)] >> (8u * (r & 3u))) & 255u;
    scale = vec2(uintBitsToFloat(e < 2u ? 0x00200000u << e : (e - 1u) << 23));
    offset = 12.0 * scale;
  } else if (format == FORMAT_NVFP4) {
    const uint d = word_of(from, base + 64u, r) >> (16u * g);
    scale = 0.5 * vec2(ue4m3(d & 255u), ue4m3((d >> 8) & 255u));
    offset = 12.0 * scale;
  } else if (format == FORMAT_Q2_K) {
    const vec2 d = unpackHalf2x16(word_of(from, base + 160u, r));
    const uint s = load16(from, base + 128u + r)[g >> 1] >> (16u * (g & 1u));
    scale = d.x * vec2(s & 15u, (s >> 8) & 15u);
    offset = d.y * vec2((s >> 4) & 15u, (s >> 12) & 15u);
  } else if (format == FORMAT_Q3_K) {
    const uint low = word_of(from, base + 192u + ((g >> 1) & 1u) * 8u, r) >> (16u * (g & 1u) + 4u * (g >> 2));
    const uint high = word_of(from, base + 208u, r) >> (16u * (g & 1u) + 2u * (g >> 1));
    const float d = plane_half(from, base + 216u, r);
    scale = d * (vec2((low & 15u) | ((high & 3u) << 4), ((low >> 8) & 15u) | (((high >> 8) & 3u) << 4)) - 32.0);
    offset = 4.0 * scale;
  } else if (format == FORMAT_Q5_K) {
    float one, minimum;
    q4k_scale(load16(from, base + r), g, one, minimum);
    scale = vec2(one);
    offset = vec2(minimum);
  } else if (format == FORMAT_IQ4_XS) {
    const uint d = word_of(from, base + 256u, r);
    const uint low = (word_of(from, base + 264u, r) >> (4u * g)) & 15u, high = (d >> (16u + 2u * g)) & 3u;
    scale = vec2(unpackHalf2x16(d).x * (float(low | (high << 4)) - 32.0));
    offset = 128.0 * scale;
  } else if (format == FORMAT_IQ1_M) {
    const uint a = word_of(from, base + 96u, r), b = word_of(from, base + 104u, r);
    const uint d = ((a >> 12) & 15u) | ((a >> 24) & 0xf0u) | ((b >> 4) & 0xf00u) | ((b >> 16) & 0xf000u);
    const uint s = (g < 4u ? a : b) >> (16u * ((g >> 1) & 1u) + 6u * (g & 1u));
    scale = unpackHalf2x16(d).x * 0.125 * vec2(2u * (s & 7u) + 1u, 2u * ((s >> 3) & 7u) + 1u);
    offset = 16.0 * scale;
  } else if (format == FORMAT_IQ1_S) {
    const uint high = load16(from, base + 64u + r)[g >> 1] >> (16u * (g & 1u) + 12u);
    scale = vec2(plane_half(from, base + 96u, r) * 0.125 * float(2u * (high & 7u) + 1u));
    offset = 16.0 * scale;
  } else if (format == FORMAT_IQ2_XXS) {
    scale = vec2(plane_half(from, base + 128u, r) * (0.5 + float(of_two(from, base, r, g, 1u) >> 28)) * 0.25);
    offset = 64.0 * scale;
  } else if (format == FORMAT_IQ2_XS || format == FORMAT_IQ2_S) {
    const bool is_s = format == FORMAT_IQ2_S;
    const uint s = byte_of_eight(from, base + (is_s ? 144u : 128u), r, g);
    scale = plane_half(from, base + (is_s ? 160u : 144u), r) * (0.5 + vec2(s & 15u, s >> 4)) * 0.25;
    offset = 64.0 * scale;
  } else if (format == FORMAT_IQ3_XXS) {
    scale = vec2(plane_half(from, base + 192u, r) * (0.5 + float(of_four(from, base + 128u, r, g) >> 28)) * 0.5);
    offset = 64.0 * scale;
  } else if (format == FORMAT_IQ3_S) {
    const uint s = (word_of(from, base + 208u, r) >> (4u * g)) & 15u;
    scale = vec2(plane_half(from, base + 216u, r) * float(1u + 2u * s));
    offset = 64.0 * scale;
  } else {
    const uint plane = format == FORMAT_Q5_0 ? 40u : format == FORMAT_TQ1_0 ? 104u : format == FORMAT_TQ2_0 ? 128u : 32u;
    const float d = plane_half(from, base + plane, r);
    scale = vec2(format == FORMAT_Q1_0 ? 2.0 * d : d);
    offset = vec2(format == FORMAT_Q5_0 ? 16.0 * d : format == FORMAT_IQ4_NL ? 128.0 * d : d);
  }
}
