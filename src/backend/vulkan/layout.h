/* Weights as they lie on the device: the tiles that shaders/common/formats.glsl describes, with the same numbers. */
#pragma once

#include "backend/backend.h"

#define EM_VK_TILE_ROWS 32u

/* FORMAT_* of formats.glsl. */
typedef enum em_vk_format {
  EM_VK_FORMAT_F32,
  EM_VK_FORMAT_F16,
  EM_VK_FORMAT_BF16,
  EM_VK_FORMAT_Q8_0,
  EM_VK_FORMAT_Q4_0,
  EM_VK_FORMAT_Q4_K,
  EM_VK_FORMAT_Q6_K,
  EM_VK_FORMAT_Q4_1,
  EM_VK_FORMAT_Q5_0,
  EM_VK_FORMAT_Q5_1,
  EM_VK_FORMAT_IQ4_NL,
  EM_VK_FORMAT_MXFP4,
  EM_VK_FORMAT_NVFP4,
  EM_VK_FORMAT_Q5_K,
  EM_VK_FORMAT_IQ4_XS,
  EM_VK_FORMAT_Q2_0,
  EM_VK_FORMAT_Q2_K,
  EM_VK_FORMAT_Q3_K,
  EM_VK_FORMAT_TQ2_0,
  EM_VK_FORMAT_Q1_0,
  EM_VK_FORMAT_TQ1_0,
  EM_VK_FORMAT_IQ2_XXS,
  EM_VK_FORMAT_IQ2_XS,
  EM_VK_FORMAT_IQ2_S,
  EM_VK_FORMAT_IQ3_XXS,
  EM_VK_FORMAT_IQ3_S,
  EM_VK_FORMAT_IQ1_S,
  EM_VK_FORMAT_IQ1_M,
  EM_VK_N_FORMATS
} em_vk_format;

typedef struct em_vk_layout {
  em_vk_format format;
  uint32_t chunk_values;
  uint32_t chunk_vectors; /* 16-byte vectors of a chunk of a tile */
} em_vk_layout;

/* The layout of a type, or NULL when there are no shaders for it. */
const em_vk_layout *em_vk_layout_get(em_type type);

/* Whether values are looked up in a codebook. */
bool em_vk_has_book(const em_vk_layout *layout);

/* Bytes of a tile of rows of n_in values. */
uint64_t em_vk_tile_bytes(const em_vk_layout *layout, uint64_t n_in);

/* Repacks n_rows (1..32) file rows of n_in values, row_bytes apart, to one tile. Missing rows and values become zeros.
 */
void em_vk_pack_tile(const em_vk_layout *layout, uint64_t n_in, const uint8_t *rows, uint64_t row_bytes,
                     uint32_t n_rows, uint8_t *tile);
