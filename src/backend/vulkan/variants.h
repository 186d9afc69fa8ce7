/* Which kernel computes a linear stage: one table, from what the device can do. Private to this room.
 *
 * Order of sums: the float kernel, and the wide one, which is the same for 9 to 16 rows at once (a software device
 * takes longer to compile it than it gains), sum a row in one order whatever the number of rows, so that an answer does
 * not depend on its company. Where another kernel takes the steps of many rows, those round differently (integer:
 * activations to 8 bits; matrix and half: activations, and weights of float types, to halves; half also the sums of
 * eight products) from steps of up to EM_VK_FEW_ROWS rows; inside each of the two groups the order is one. The
 * scheduler keeps the two apart, so that which of them a row of a prompt or of an answer is in does not change from run
 * to run (engine/scheduler.h). */
#pragma once

#include "backend/vulkan/program.h"

/* FORM of norm.comp. */
typedef enum em_vk_x { EM_VK_X_FLOATS, EM_VK_X_BYTES, EM_VK_X_HALVES } em_vk_x;

typedef struct em_vk_kernel {
  const char *name;
  em_vk_shader shader;
  unsigned needs;                     /* abilities without which it cannot run */
  unsigned wants;                     /* abilities without which it is not chosen by itself */
  em_vk_family from, to;              /* the first and the last family that it is chosen for by itself */
  unsigned formats;                   /* a bit for each em_vk_format that it reads */
  em_vk_x x;                          /* how x comes */
  uint32_t subgroups;                 /* of a workgroup; 0: it is made of teams of LANES invocations */
  uint32_t rows_shared;               /* of a tile's 32 rows, those of one invocation on hardware: 32 / LANES */
  uint32_t columns[EM_VK_N_FAMILIES]; /* rows of x that one workgroup computes */
} em_vk_kernel;

/* Never NULL: the float kernel can do everything. */
const em_vk_kernel *em_vk_choose(const em_vk *vk, em_vk_family family, const em_stage_linear *linear);

/* As em_backend_few_rows says: EM_VK_FEW_ROWS where the device takes another kernel than the float one for more. */
uint32_t em_vk_few_rows(const em_vk *vk);

/* Whether some kernel of this device may want x in another form than float32. */
bool em_vk_may_convert(const em_vk *vk);

/* The names of all kernels, in order of preference: i counts from 0, NULL behind the last one. */
const char *em_vk_kernel_name(size_t i);

/* Whether the device can run the kernel of that name, and this build has it; false where no kernel has that name. */
bool em_vk_can_run(const em_vk *vk, const char *name);

/* The name of the kernel to take wherever the device can run it and the stage's formats allow it. NULL outside tests.
 */
extern const char *em_vk_forced_kernel;
