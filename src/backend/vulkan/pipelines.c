/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/vulkan/vulkan.h"

#include <string.h>

em_status em_vk_pipelines_open(em_vulkan *vulkan, em_error *error) {
  em_vk *vk = &vulkan->vk;
  VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .offset = 0, .size = 128};
  VkPipelineLayoutCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                     .pushConstantRangeCount = 1,
                                     .pPushConstantRanges = &range};
  VkResult result = vk->fn.CreatePipelineLayout(vk->device, &info, NULL, &vulkan->layout);
  if (result != VK_SUCCESS)
    vulkan->layout = VK_NULL_HANDLE;
  return em_vk_result(vk, result, "making a layout", error);
}

void em_vk_pipelines_close(em_vulkan *vulkan) {
  em_vk *vk = &vulkan->vk;
  if (!em_vk_may_free(vk))
    return;
  for (uint32_t i = 0; i < vulkan->n_pipelines; i++)
    vk->fn.DestroyPipeline(vk->device, vulkan->pipelines[i], NULL);
  for (unsigned i = 0; i < EM_VK_N_SHADERS; i++)
    if (vulkan->modules[i])
      vk->fn.DestroyShaderModule(vk->device, vulkan->modules[i], NULL);
  if (vulkan->layout)
    vk->fn.DestroyPipelineLayout(vk->device, vulkan->layout, NULL);
}

em_status em_vk_pipeline(em_vulkan *vulkan, const em_vk_variant *variant, VkPipeline *out, em_error *error) {
  em_status status = EM_OK;
  em_vk *vk = &vulkan->vk;
  for (uint32_t i = 0; i < vulkan->n_pipelines; i++)
    if (memcmp(&vulkan->variants[i], variant, sizeof *variant) == 0) {
      *out = vulkan->pipelines[i];
      return EM_OK;
    }
  if (vk->failed)
    return em_fail(error, EM_ERR_DEVICE, "the graphics device failed earlier");
  if (vulkan->n_pipelines == EM_VK_MAX_PIPELINES)
    return em_fail(error, EM_ERR_LIMIT, "the model needs more than %u kinds of kernels", EM_VK_MAX_PIPELINES);
  const em_vk_spirv *spirv = &em_vk_spirvs[variant->shader];
  VkShaderModule *module = &vulkan->modules[variant->shader];
  if (!*module) {
    VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = spirv->bytes, .pCode = spirv->words};
    VkResult result = vk->fn.CreateShaderModule(vk->device, &info, NULL, module);
    if (result != VK_SUCCESS)
      *module = VK_NULL_HANDLE;
    EM_TRY(em_vk_result(vk, result, spirv->name, error));
  }
  VkSpecializationMapEntry entries[EM_VK_MAX_CONSTANTS];
  for (uint32_t i = 0; i < variant->n_constants; i++)
    entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = i * 4, .size = 4};
  VkSpecializationInfo constants = {.mapEntryCount = variant->n_constants,
                                    .pMapEntries = entries,
                                    .dataSize = variant->n_constants * 4,
                                    .pData = variant->constants};
  VkComputePipelineCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
      .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = *module,
                .pName = "main",
                .pSpecializationInfo = &constants},
      .layout = vulkan->layout,
  };
  VkPipeline pipeline = VK_NULL_HANDLE;
  vk->n_made++;
  EM_TRY(em_vk_result(vk, vk->fn.CreateComputePipelines(vk->device, VK_NULL_HANDLE, 1, &info, NULL, &pipeline),
                      spirv->name, error));
  em_vk_name(vk, VK_OBJECT_TYPE_PIPELINE, (uint64_t)(uintptr_t)pipeline, "%s", spirv->name);
  vulkan->variants[vulkan->n_pipelines] = *variant;
  vulkan->pipelines[vulkan->n_pipelines++] = pipeline;
  *out = pipeline;
fail:
  return status;
}
