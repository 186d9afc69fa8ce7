/* What format.c, encode.c and iq.c share: nothing outside this room includes it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The encoders of the type table; each has the signature of em_type_info.encode. NaN and infinities give undefined values,
 * never undefined behaviour. */
void em_encode_f32(const float *src, void *dst, size_t n_blocks);
void em_encode_f16(const float *src, void *dst, size_t n_blocks);
void em_encode_bf16(const float *src, void *dst, size_t n_blocks);
void em_encode_q4_0(const float *src, void *dst, size_t n_blocks);
void em_encode_q8_0(const float *src, void *dst, size_t n_blocks);
void em_encode_q4_k(const float *src, void *dst, size_t n_blocks);
void em_encode_q6_k(const float *src, void *dst, size_t n_blocks);

/* The 6-bit scale and minimum of one of the 8 groups of a Q4_K or Q5_K block. */
void em_q4_k_scale(const uint8_t scales[12], int group, int *scale, int *minimum);

/* The decoders of the codebook types; each has the signature of em_type_info.decode. */
void em_decode_iq1_s(const void *src, float *dst, size_t n_blocks);
void em_decode_iq1_m(const void *src, float *dst, size_t n_blocks);
void em_decode_iq2_xxs(const void *src, float *dst, size_t n_blocks);
void em_decode_iq2_xs(const void *src, float *dst, size_t n_blocks);
void em_decode_iq2_s(const void *src, float *dst, size_t n_blocks);
void em_decode_iq3_xxs(const void *src, float *dst, size_t n_blocks);
void em_decode_iq3_s(const void *src, float *dst, size_t n_blocks);
