/* Programs on the device: what a step runs is recorded once and replayed. All that changes between steps is in a step
 * buffer: the rows, the page tables, the rotations and the sizes of the dispatches, which the host computes.
 *
 * A step is the stages, in one of five recordings by the number of rows, and behind them, where that is wanted,
 * picking the best tokens, or copying the result to where the host can read it. Many rows are recorded in slices of a
 * layer, so that what is submitted at once stays short. Steps ahead have step buffers of their own, of one row each;
 * the token of a step is written into the next one's by the device.
 *
 * Private to this room: program.c makes and frees, record.c records, step.c runs.
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
  EM_VK_STEP_TOP,
  EM_VK_STEP_N_SLOTS,
  EM_VK_STEP_STATES,
  EM_VK_STEP_HEADER
};

/* The kernels' families by the number of rows: 1, up to 4, up to 8, up to 16 (several slots, drafts), and more. */
typedef enum em_vk_family {
  EM_VK_FAMILY_ONE,
  EM_VK_FAMILY_FOUR,
  EM_VK_FAMILY_EIGHT,
  EM_VK_FAMILY_SIXTEEN,
  EM_VK_FAMILY_MANY,
  EM_VK_N_FAMILIES
} em_vk_family;
#define EM_VK_FEW_ROWS 16u

/* The family for a step of n rows, and the most rows of one. */
em_vk_family em_vk_family_of(uint32_t n_rows);
uint32_t em_vk_family_rows(em_vk_family family);

/* How a dispatch's size follows from the step; what is not said is fixed. */
typedef enum em_vk_grid {
  EM_VK_GRID_ROWS,        /* y: rows */
  EM_VK_GRID_ROW_TILES,   /* y: rows, several to a workgroup */
  EM_VK_GRID_SLOTS,       /* y: slots */
  EM_VK_GRID_PAIRS,       /* x: as many blocks of pairs of a row and an expert as there may be; the fixed size is y */
  EM_VK_GRID_ONE,         /* one workgroup */
  EM_VK_GRID_ROW_COLUMNS, /* x: rows, several to a workgroup; the fixed size is y */
  EM_VK_GRID_OUTPUT_COLUMNS, /* x: outputs, several to a workgroup; the fixed size is y */
  EM_VK_GRID_X_ROWS,         /* x: rows */
  EM_VK_GRID_X_OUTPUTS,      /* x: outputs */
  EM_VK_GRID_OUTPUTS,        /* y: outputs */
  EM_VK_GRID_PAGES           /* y: rows, z: pages of the longest row */
} em_vk_grid;

typedef struct em_vk_dispatch {
  em_vk_grid shape;
  uint32_t fixed;             /* x, where the shape does not say otherwise */
  uint32_t columns;           /* rows or pairs of a workgroup, where it has several */
  uint32_t n_used, n_experts; /* of a row, and of a stack, for pairs */
} em_vk_dispatch;

typedef struct em_vk_rotation {
  em_rope rope;
  double *inverse; /* [n_rot / 2] */
} em_vk_rotation;

/* What is recorded for a step buffer: the stages for each family, then what may follow them. */
enum { EM_VK_PART_TOP = EM_VK_N_FAMILIES, EM_VK_PART_COPY, EM_VK_N_PARTS };

typedef struct em_vk_recording {
  VkCommandBuffer *commands;  /* n_commands, and room for one more */
  uint32_t n_commands;        /* slices */
  em_vk_dispatch *dispatches; /* in the order of recording */
  uint32_t n_dispatches;
  uint64_t first_size; /* where their sizes begin in the step buffer, in words; each has three */
} em_vk_recording;

typedef struct em_vk_step {
  em_vk_buffer words;
  uint32_t max_rows, max_outputs, max_slots; /* there is room for */
  uint64_t n_words;     /* in use, first without and then with the sizes of what has been recorded */
  VkDeviceAddress next; /* where the next step's token stands, or 0 */
  VkDeviceAddress top;  /* where the best tokens go */
  em_vk_recording parts[EM_VK_N_PARTS];
} em_vk_step;

#define EM_VK_MAX_AHEAD 4u

/* The most columns, which are query heads of a row, that a workgroup of attend.comp takes; its invocations fall to 16 a
 * column. */
#define EM_VK_ATTEND_COLUMNS 8u

/* The tokens that top.comp takes together; FOLD and MAX_LIST there. */
#define EM_VK_TOP_FOLD 16u
#define EM_VK_TOP_MAX_LIST 1024u

typedef struct em_vulkan_program {
  em_program base;
  em_vk_buffer scratch, input, result, normed, partial;
  em_vk_buffer work;   /* of a stage alone: logits of experts, the products of pairs, what a delta net mixes */
  em_vk_buffer groups; /* of sort.comp */
  em_vk_buffer chosen; /* [n_steps][n_sorts]: experts that each sort found, for the host */
  uint32_t n_sorts;
  em_vk_buffer readback;  /* the result where the host can read it; without one where it can anyway */
  em_vk_buffer keys, top; /* of picking */
  em_vk_step steps[EM_VK_MAX_AHEAD];
  uint32_t n_steps; /* 1 where it cannot go ahead */
  em_vk_rotation *rotations;
  uint32_t n_rotations;
  bool went_ahead;     /* the last run was of several steps */
  uint64_t ns_per_row; /* that the last step of many rows took; 0: there was none */
} em_vulkan_program;

/* The index of a stage's rotation table among the distinct ones of the stages before it and itself. is_new: no stage
 * before it shares the table. */
uint32_t em_vk_rotation_index(const em_program_desc *desc, uint32_t stage, bool *is_new);

/* Whether a stage of experts begins with grouping its pairs: routes have not been grouped since they were made. */
bool em_vk_sorts(const em_program_desc *desc, uint32_t stage);

/* Segments of a matrix, at least 1. */
uint32_t em_vk_n_segments(const em_weights *weights);

/* Records a part for a step buffer. One without memory yet records nothing and says which pipelines it will ask for. */
em_status em_vk_record(em_vulkan *vulkan, em_vulkan_program *program, em_vk_step *step, uint32_t part, em_error *error);
