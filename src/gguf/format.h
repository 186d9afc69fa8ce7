/* Tensor types and their block formats: sizes, scalar decoding (the specification of every kernel) and encoding.
 *
 * Source of the layouts: the GGUF type table (values little endian, blocks packed without padding). A row is a whole
 * number of blocks.
 */
#pragma once

#include "base/status.h"

/* The numbers are those of GGUF files. */
typedef enum em_type {
  EM_TYPE_F32 = 0,
  EM_TYPE_F16 = 1,
  EM_TYPE_Q4_0 = 2,
  EM_TYPE_Q4_1 = 3,
  EM_TYPE_Q5_0 = 6,
  EM_TYPE_Q5_1 = 7,
  EM_TYPE_Q8_0 = 8,
  EM_TYPE_Q2_K = 10,
  EM_TYPE_Q3_K = 11,
  EM_TYPE_Q4_K = 12,
  EM_TYPE_Q5_K = 13,
  EM_TYPE_Q6_K = 14,
  EM_TYPE_IQ2_XXS = 16,
  EM_TYPE_IQ2_XS = 17,
  EM_TYPE_IQ3_XXS = 18,
  EM_TYPE_IQ1_S = 19,
  EM_TYPE_IQ4_NL = 20,
  EM_TYPE_IQ3_S = 21,
  EM_TYPE_IQ2_S = 22,
  EM_TYPE_IQ4_XS = 23,
  EM_TYPE_I8 = 24,
  EM_TYPE_I16 = 25,
  EM_TYPE_I32 = 26,
  EM_TYPE_I64 = 27,
  EM_TYPE_F64 = 28,
  EM_TYPE_IQ1_M = 29,
  EM_TYPE_BF16 = 30,
  EM_TYPE_TQ1_0 = 34,
  EM_TYPE_TQ2_0 = 35,
  EM_TYPE_MXFP4 = 39,
  EM_TYPE_NVFP4 = 40,
  EM_TYPE_Q1_0 = 41,
  EM_TYPE_Q2_0 = 42,
  EM_N_TYPES = 43
} em_type;

typedef struct em_type_info {
  const char *name;   /* "Q4_K"; NULL where the number is not in use */
  uint32_t block_len; /* values a block */
  uint32_t block_bytes;
  /* Decodes n_blocks blocks at src to n_blocks * block_len float32. Rounding: none beyond float32. src needs no
   * alignment. NULL for the integer types, which no weights have. */
  void (*decode)(const void *src, float *dst, size_t n_blocks);
  /* Encodes; for tests and tools (the writer). NULL where not written. */
  void (*encode)(const float *src, void *dst, size_t n_blocks);
} em_type_info;

/* The entry of a type number, or NULL when no such type exists. Never fails for the em_type names above. */
const em_type_info *em_type_get(uint32_t type);

/* Bytes of a row of n values; false when the type is unknown, n is no multiple of its block length, or the product
 * overflows. */
bool em_type_row_bytes(uint32_t type, uint64_t n, uint64_t *out);

/* What 4-bit codes stand for: the whole numbers of 4-bit floats (doubled), and of IQ4_NL and IQ4_XS. */
extern const int8_t em_fp4_numbers[16], em_iq4_numbers[16];

/* What the codes of codebook types stand for: a letter of the alphabet and, above its 2 or 3 bits, a sign. Of IQ1 the sign is
 * that of the shift, and letters and shift are counted in eighths. */
extern const int8_t em_iq1_numbers[16], em_iq2_numbers[16], em_iq3_xxs_numbers[16], em_iq3_s_numbers[16];

/* A block of a codebook type (IQ1, IQ2, IQ3) written out: value i = d * factor * scale[i / 16] * numbers[codes[i]],
 * exactly. */
typedef struct em_iq_block {
  const int8_t *numbers; /* one of the tables above */
  float factor;          /* a power of two of the type's own */
  uint16_t d;            /* the bits of a half */
  uint8_t scale[16];     /* odd, at most 31 */
  uint8_t codes[256];
} em_iq_block;

/* Takes a block at src apart, which needs no alignment. False for other types. */
bool em_iq_split(em_type type, const void *src, em_iq_block *out);

/* The codebooks of those types, one behind the other: IQ2_XXS, IQ2_XS, IQ2_S, IQ1 (eight codes of two bits an entry,
 * the first lowest), IQ3_XXS, IQ3_S (four codes of three bits). */
#define EM_CODEBOOK_ENTRIES (256 + 512 + 1024 + 2048 + 256 + 512)
void em_codebooks(uint16_t out[EM_CODEBOOK_ENTRIES]);

/* IEEE half and bfloat16, round to nearest even; exact in the other direction. */
float em_f16_to_f32(uint16_t half);
uint16_t em_f32_to_f16(float value);
float em_bf16_to_f32(uint16_t value);
uint16_t em_f32_to_bf16(float value);
