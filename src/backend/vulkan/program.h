/* Programs on the device: each step is one of three command buffers, recorded once and replayed. All that changes
 * between steps is in the step buffer: the rows, the page tables, the rotations and the sizes of the dispatches, which
 * the host computes. Private to this room: program.c makes and frees, record.c records, step.c runs.
 */
#pragma once

#include "backend/vulkan/vulkan.h"

/* Words of the step buffer; the same numbers stand in shaders/common/common.glsl. */
enum {
  EM_VK_STEP_N_ROWS,
  EM_VK_STEP_N_OUTPUTS,
  EM_VK_STEP_TOKENS,
  EM_VK_STEP_POSITIONS,
  EM_VK_STEP_SLOTS,
  EM_VK_STEP_OUTPUTS,
  EM_VK_STEP_PAGES,
  EM_VK_STEP_ROTATIONS,
  EM_VK_STEP_HEADER
};

/* The kernels' families by the number of rows. */
typedef enum em_vk_family { EM_VK_FAMILY_ONE, EM_VK_FAMILY_FEW, EM_VK_FAMILY_MANY, EM_VK_N_FAMILIES } em_vk_family;
#define EM_VK_FEW_ROWS 16u
/* Rows of x that one workgroup of linear.comp computes. */
extern const uint32_t em_vk_family_columns[EM_VK_N_FAMILIES];

/* How a dispatch's size follows from the step; what is not said is fixed. */
typedef enum em_vk_grid {
  EM_VK_GRID_ROWS,           /* y: rows */
  EM_VK_GRID_ROW_COLUMNS,    /* y: rows, several to a workgroup */
  EM_VK_GRID_OUTPUT_COLUMNS, /* y: outputs, several to a workgroup */
  EM_VK_GRID_X_ROWS,         /* x: rows */
  EM_VK_GRID_X_OUTPUTS,      /* x: outputs */
  EM_VK_GRID_PAGES           /* y: rows, z: pages of the longest row */
} em_vk_grid;

typedef struct em_vk_dispatch {
  em_vk_grid shape;
  uint32_t x;
} em_vk_dispatch;

typedef struct em_vk_rotation {
  em_rope rope;
  double *inverse; /* [n_rot / 2] */
} em_vk_rotation;

typedef struct em_vulkan_program {
  em_program base;
  em_vk_buffer scratch, step, input, result, normed, partial;
  VkCommandBuffer commands[EM_VK_N_FAMILIES];
  em_vk_dispatch
      *dispatches[EM_VK_N_FAMILIES]; /* in the order of recording; their sizes stand behind the step's words */
  uint32_t n_dispatches[EM_VK_N_FAMILIES];
  em_vk_rotation *rotations;
  uint32_t n_rotations;
  uint64_t step_words;     /* without the dispatches' sizes */
  uint64_t rotation_words; /* of all tables */
} em_vulkan_program;

/* The index of a stage's rotation table among the distinct ones of the stages before it and itself. is_new: no stage
 * before it shares the table. */
uint32_t em_vk_rotation_index(const em_program_desc *desc, uint32_t stage, bool *is_new);

/* Segments of a matrix, at least 1. */
uint32_t em_vk_n_segments(const em_weights *weights);

/* Records the family's command buffer; first_size: where its dispatches' sizes begin in the step buffer, in bytes.
 * EM_VK_ONLY_WANT: records nothing and says which pipelines it will ask for, of a program that has no buffers yet. */
#define EM_VK_ONLY_WANT UINT64_MAX
em_status em_vk_record(em_vulkan *vulkan, em_vulkan_program *program, em_vk_family family, uint64_t first_size,
                       em_error *error);
