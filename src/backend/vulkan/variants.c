/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/vulkan/variants.h"

#include <string.h>

const char *em_vk_forced_kernel;

#define FORMAT(name) (1u << EM_VK_FORMAT_##name)

/* In order of preference. */
static const em_vk_kernel kernels[] = {
    {.name = "matrix",
     .shader = EM_VK_SHADER_MATRIX,
     .needs = EM_VK_MATRICES,
     .wants = EM_VK_HARDWARE,
     .from = EM_VK_FAMILY_MANY,
     .to = EM_VK_FAMILY_MANY,
     .formats = ~FORMAT(F32),
     .subgroups = 4,
     .columns = {64, 64, 64, 64, 64}},
    {.name = "integer",
     .shader = EM_VK_SHADER_INTEGER,
     .needs = EM_VK_DOTS,
     .wants = EM_VK_FAST_DOTS | EM_VK_HARDWARE,
     .from = EM_VK_FAMILY_MANY,
     .to = EM_VK_FAMILY_MANY,
     .formats = ~(FORMAT(F32) | FORMAT(F16) | FORMAT(BF16)),
     .x = EM_VK_X_BYTES,
     .rows_shared = 2,
     .columns = {8, 8, 8, 8, 8}},
    {.name = "half",
     .shader = EM_VK_SHADER_HALF,
     .needs = EM_VK_HALVES,
     .wants = EM_VK_HARDWARE,
     .from = EM_VK_FAMILY_MANY,
     .to = EM_VK_FAMILY_MANY,
     .formats = ~FORMAT(F32),
     .x = EM_VK_X_HALVES,
     .rows_shared = 2,
     .columns = {8, 8, 8, 8, 8}},
    {.name = "wide",
     .shader = EM_VK_SHADER_LINEAR,
     .wants = EM_VK_HARDWARE,
     .from = EM_VK_FAMILY_SIXTEEN,
     .to = EM_VK_FAMILY_SIXTEEN,
     .formats = ~0u,
     .rows_shared = 1,
     .columns = {16, 16, 16, 16, 16}},
    {.name = "float",
     .shader = EM_VK_SHADER_LINEAR,
     .from = EM_VK_FAMILY_ONE,
     .to = EM_VK_FAMILY_MANY,
     .formats = ~0u,
     .rows_shared = 1,
     .columns = {1, 4, 8, 8, 8}},
};
#define N_KERNELS (sizeof kernels / sizeof kernels[0])

static bool is_forced(const em_vk_kernel *kernel) {
  return em_vk_forced_kernel && strcmp(em_vk_forced_kernel, kernel->name) == 0;
}

static bool can_run(const em_vk *vk, const em_vk_kernel *kernel) {
  return (vk->abilities & kernel->needs) == kernel->needs && em_vk_spirvs[kernel->shader].bytes > 0;
}

static bool may_run(const em_vk *vk, const em_vk_kernel *kernel) {
  return can_run(vk, kernel) && (is_forced(kernel) || (vk->abilities & kernel->wants) == kernel->wants);
}

const em_vk_kernel *em_vk_choose(const em_vk *vk, em_vk_family family, const em_stage_linear *linear) {
  unsigned formats = 0;
  for (uint32_t p = 0; p < linear->n_parts; p++)
    formats |= 1u << ((const em_vulkan_weights *)linear->w[p])->layout->format;
  for (size_t i = 0; i < N_KERNELS - 1; i++) {
    const em_vk_kernel *kernel = &kernels[i];
    if (may_run(vk, kernel) &&
        (is_forced(kernel) || (!em_vk_forced_kernel && family >= kernel->from && family <= kernel->to)) &&
        (formats & ~kernel->formats) == 0)
      return kernel;
  }
  return &kernels[N_KERNELS - 1];
}

const char *em_vk_kernel_name(size_t i) {
  return i < N_KERNELS ? kernels[i].name : NULL;
}

bool em_vk_can_run(const em_vk *vk, const char *name) {
  for (size_t i = 0; i < N_KERNELS; i++)
    if (strcmp(kernels[i].name, name) == 0)
      return can_run(vk, &kernels[i]);
  return false;
}

uint32_t em_vk_few_rows(const em_vk *vk) {
  for (size_t i = 0; i < N_KERNELS - 1; i++)
    if (!em_vk_forced_kernel && kernels[i].from == EM_VK_FAMILY_MANY && may_run(vk, &kernels[i]))
      return EM_VK_FEW_ROWS;
  return 0;
}

bool em_vk_may_convert(const em_vk *vk) {
  for (size_t i = 0; i < N_KERNELS; i++)
    if (kernels[i].x != EM_VK_X_FLOATS && may_run(vk, &kernels[i]))
      return true;
  return false;
}
