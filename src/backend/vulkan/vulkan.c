/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/vulkan/vulkan.h"

#include <stdio.h>
#include <stdlib.h>

#include "backend/vulkan/variants.h"
#include "base/checked.h"

static void close_backend(em_backend *backend) {
  em_vulkan *vulkan = (em_vulkan *)backend;
  em_pool_free(vulkan->readers);
  free(vulkan->scratch);
  em_vk_pipelines_close(vulkan);
  em_vk_buffer_free(&vulkan->vk, &vulkan->books);
  em_vk_close(&vulkan->vk);
  free(vulkan);
}

static uint64_t available_memory(const em_backend *backend) {
  return em_vk_available(&((const em_vulkan *)backend)->vk);
}

static const em_backend_fns functions = {
    .runs = EM_RUNS_ALL,
    .close = close_backend,
    .available_memory = available_memory,
    .weights_bytes = em_vulkan_weights_bytes,
    .weights_new = em_vulkan_weights_new,
    .weights_free = em_vulkan_weights_free,
    .kv_bytes = em_vulkan_kv_bytes,
    .kv_new = em_vulkan_kv_new,
    .kv_free = em_vulkan_kv_free,
    .kv_copy = em_vulkan_kv_copy,
    .kv_copy_state = em_vulkan_kv_copy_state,
    .program_bytes = em_vulkan_program_bytes,
    .program_prepare = em_vulkan_program_prepare,
    .prepare_times = em_vulkan_prepare_times,
    .program_new = em_vulkan_program_new,
    .program_free = em_vulkan_program_free,
    .run = em_vulkan_run,
    .result = em_vulkan_result,
    .top = em_vulkan_top,
    .measure = em_vulkan_measure,
};

em_status em_vulkan_open(const em_backend_params *params, em_backend **out, em_error *error) {
  em_status status = EM_OK;
  em_vulkan *vulkan = em_calloc(1, sizeof *vulkan);
  if (!vulkan)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  vulkan->n_threads = params->n_threads;
  EM_TRY(em_vk_open(params->device_index, &vulkan->vk, error));
  EM_TRY(em_vk_pipelines_open(vulkan, error));
  em_vk_cache_open(vulkan, params->cache_dir);
  vulkan->base.fns = &functions;
  vulkan->base.kind = EM_DEVICE_VULKAN;
  vulkan->base.reserve_bytes = em_vk_reserve(&vulkan->vk);
  vulkan->base.few_rows = em_vk_few_rows(&vulkan->vk);
  snprintf(vulkan->base.name, sizeof vulkan->base.name, "vulkan:%u (%.40s)", params->device_index,
           vulkan->vk.properties.deviceName);
  for (uint32_t i = 0; i < vulkan->vk.memory.memoryHeapCount && !vulkan->vk.unified; i++)
    if (vulkan->vk.memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT &&
        vulkan->vk.memory.memoryHeaps[i].size > vulkan->base.own_memory_bytes)
      vulkan->base.own_memory_bytes = vulkan->vk.memory.memoryHeaps[i].size;
  *out = &vulkan->base;
  return EM_OK;
fail:
  close_backend(&vulkan->base);
  return status;
}
