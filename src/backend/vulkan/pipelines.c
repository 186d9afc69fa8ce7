/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Pipelines: those that are known to be needed are made on threads of their own, the others when they are asked for. */
#include "backend/vulkan/vulkan.h"

#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/threads.h"

em_status em_vk_pipelines_open(em_vulkan *vulkan, em_error *error) {
  em_vk *vk = &vulkan->vk;
  pthread_mutex_init(&vulkan->makers.lock, NULL);
  pthread_cond_init(&vulkan->makers.made, NULL);
  vulkan->makers.is_open = true;
  VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .offset = 0, .size = 128};
  VkPipelineLayoutCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
                                     .pushConstantRangeCount = 1,
                                     .pPushConstantRanges = &range};
  VkResult result = vk->fn.CreatePipelineLayout(vk->device, &info, NULL, &vulkan->layout);
  if (result != VK_SUCCESS)
    vulkan->layout = VK_NULL_HANDLE;
  return em_vk_result(vk, result, "making a layout", error);
}

static void join_makers(em_vk_makers *makers) {
  for (unsigned i = 0; i < makers->n; i++)
    pthread_join(makers->threads[i], NULL);
  makers->n = 0;
}

void em_vk_pipelines_close(em_vulkan *vulkan) {
  em_vk *vk = &vulkan->vk;
  em_vk_makers *makers = &vulkan->makers;
  if (!makers->is_open)
    return;
  pthread_mutex_lock(&makers->lock);
  makers->ending = true;
  pthread_mutex_unlock(&makers->lock);
  join_makers(makers);
  pthread_mutex_destroy(&makers->lock);
  pthread_cond_destroy(&makers->made);
  if (!em_vk_may_free(vk))
    return;
  for (uint32_t i = 0; i < vulkan->n_pipelines; i++)
    if (vulkan->pipelines[i].pipeline)
      vk->fn.DestroyPipeline(vk->device, vulkan->pipelines[i].pipeline, NULL);
  if (vulkan->cache)
    vk->fn.DestroyPipelineCache(vk->device, vulkan->cache, NULL);
  for (unsigned i = 0; i < EM_VK_N_MODULES; i++)
    if (vulkan->modules[i])
      vk->fn.DestroyShaderModule(vk->device, vulkan->modules[i], NULL);
  if (vulkan->layout)
    vk->fn.DestroyPipelineLayout(vk->device, vulkan->layout, NULL);
}

/* The module for a variant: that of the format where the matrices of all parts have the same, that of two formats where
 * there is one, else that of all formats. A driver takes three times as long with the last. */
static uint32_t module_of(const em_vk_variant *variant) {
  const uint32_t *c = variant->constants, format = c[2], n_parts = c[5]; /* the numbers of matmul/frame.glsl */
  if (variant->shader >= EM_VK_N_KERNELS || (n_parts >= 2 && c[3] != format))
    return variant->shader;
  const bool is_mixed = n_parts >= 3 && c[4] != format;
  if (is_mixed && (format != EM_VK_FORMAT_Q4_K || c[4] != EM_VK_FORMAT_Q6_K))
    return variant->shader;
  const uint32_t module = EM_VK_MODULE(variant->shader, is_mixed ? EM_VK_FORMAT_Q4_K_Q6_K : format);
  return em_vk_spirvs[module].bytes > 0 ? module : variant->shader;
}

/* Makes one pipeline, on any thread. The entry is the caller's alone while its state is EM_VK_MAKING. */
static void make(em_vulkan *vulkan, em_vk_pipeline_entry *entry) {
  em_vk *vk = &vulkan->vk;
  VkSpecializationMapEntry entries[EM_VK_MAX_CONSTANTS];
  for (uint32_t i = 0; i < entry->variant.n_constants; i++)
    entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = i * 4, .size = 4};
  VkSpecializationInfo constants = {.mapEntryCount = entry->variant.n_constants,
                                    .pMapEntries = entries,
                                    .dataSize = entry->variant.n_constants * 4,
                                    .pData = entry->variant.constants};
  VkComputePipelineCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
      .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                .module = vulkan->modules[module_of(&entry->variant)],
                .pName = "main",
                .pSpecializationInfo = &constants},
      .layout = vulkan->layout,
  };
  entry->pipeline = VK_NULL_HANDLE;
  entry->result = vk->fn.CreateComputePipelines(vk->device, vulkan->cache, 1, &info, NULL, &entry->pipeline);
  if (entry->result != VK_SUCCESS)
    entry->pipeline = VK_NULL_HANDLE;
  else
    em_vk_name(vk, VK_OBJECT_TYPE_PIPELINE, (uint64_t)(uintptr_t)entry->pipeline, "%s",
               em_vk_spirvs[entry->variant.shader].name);
}

/* Under the lock, which it gives away while the pipeline is made. */
static void make_unlocked(em_vulkan *vulkan, em_vk_pipeline_entry *entry) {
  em_vk_makers *makers = &vulkan->makers;
  entry->state = EM_VK_MAKING;
  pthread_mutex_unlock(&makers->lock);
  make(vulkan, entry);
  pthread_mutex_lock(&makers->lock);
  entry->state = EM_VK_MADE;
  makers->ready_ns = em_now_ns();
  pthread_cond_broadcast(&makers->made);
}

static void *maker_main(void *user) {
  em_vulkan *vulkan = user;
  em_vk_makers *makers = &vulkan->makers;
  pthread_mutex_lock(&makers->lock);
  for (uint32_t i = 0; i < vulkan->n_pipelines && !makers->ending; i++)
    if (vulkan->pipelines[i].state == EM_VK_WANTED)
      make_unlocked(vulkan, &vulkan->pipelines[i]);
  bool is_last = --makers->n_running == 0 && !makers->ending;
  pthread_mutex_unlock(&makers->lock);
  if (is_last)
    em_vk_cache_save(vulkan);
  return NULL;
}

void em_vk_pipelines_start(em_vulkan *vulkan) {
  em_vk_makers *makers = &vulkan->makers;
  join_makers(makers);
  uint32_t n_wanted = 0;
  for (uint32_t i = 0; i < vulkan->n_pipelines; i++)
    n_wanted += vulkan->pipelines[i].state == EM_VK_WANTED;
  if (n_wanted == 0)
    return;
  unsigned n = (em_physical_cores() + 1) / 2;
  n = n < EM_VK_MAX_MAKERS ? n : EM_VK_MAX_MAKERS;
  n = n < n_wanted ? n : n_wanted;
  makers->start_ns = em_now_ns();
  makers->ready_ns = makers->waited_ns = 0;
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  /* Where the system gives no thread, they are made when they are asked for. */
  pthread_mutex_lock(&makers->lock);
  while (makers->n < n && pthread_create(&makers->threads[makers->n], NULL, maker_main, vulkan) == 0)
    pthread_setname_np(makers->threads[makers->n++], "ember-pipelines");
  makers->n_running = makers->n;
  pthread_mutex_unlock(&makers->lock);
  pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* The variant's entry, a new one where there is none. Only the calling thread adds entries and modules; the others see
 * them under the lock. */
static em_status find(em_vulkan *vulkan, const em_vk_variant *variant, em_vk_pipeline_entry **out, em_error *error) {
  em_vk *vk = &vulkan->vk;
  for (uint32_t i = 0; i < vulkan->n_pipelines; i++)
    if (memcmp(&vulkan->pipelines[i].variant, variant, sizeof *variant) == 0) {
      *out = &vulkan->pipelines[i];
      return EM_OK;
    }
  if (vk->failed)
    return em_fail(error, EM_ERR_DEVICE, "the graphics device failed earlier");
  if (vulkan->n_pipelines == EM_VK_MAX_PIPELINES)
    return em_fail(error, EM_ERR_LIMIT, "the model needs more than %u kinds of kernels", EM_VK_MAX_PIPELINES);
  const em_vk_spirv *spirv = &em_vk_spirvs[module_of(variant)];
  VkShaderModule *module = &vulkan->modules[module_of(variant)];
  if (!*module) {
    VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO, .codeSize = spirv->bytes, .pCode = spirv->words};
    VkResult result = vk->fn.CreateShaderModule(vk->device, &info, NULL, module);
    if (result != VK_SUCCESS)
      *module = VK_NULL_HANDLE;
    em_status status = em_vk_result(vk, result, spirv->name, error);
    if (status != EM_OK)
      return status;
  }
  pthread_mutex_lock(&vulkan->makers.lock);
  vk->n_made++;
  *out = &vulkan->pipelines[vulkan->n_pipelines++];
  **out = (em_vk_pipeline_entry){.variant = *variant, .state = EM_VK_WANTED};
  pthread_mutex_unlock(&vulkan->makers.lock);
  return EM_OK;
}

em_status em_vk_pipeline_want(em_vulkan *vulkan, const em_vk_variant *variant, em_error *error) {
  em_vk_pipeline_entry *entry;
  return find(vulkan, variant, &entry, error);
}

em_status em_vk_pipeline(em_vulkan *vulkan, const em_vk_variant *variant, VkPipeline *out, em_error *error) {
  em_vk_makers *makers = &vulkan->makers;
  em_vk_pipeline_entry *entry;
  em_status status = find(vulkan, variant, &entry, error);
  if (status != EM_OK)
    return status;
  pthread_mutex_lock(&makers->lock);
  if (entry->state != EM_VK_MADE) {
    uint64_t start_ns = em_now_ns();
    if (entry->state == EM_VK_WANTED)
      make_unlocked(vulkan, entry);
    while (entry->state == EM_VK_MAKING)
      pthread_cond_wait(&makers->made, &makers->lock);
    makers->waited_ns += em_now_ns() - start_ns;
  }
  VkResult result = entry->result;
  *out = entry->pipeline;
  if (result != VK_SUCCESS)
    entry->state = EM_VK_WANTED; /* whoever asks again, tries again */
  pthread_mutex_unlock(&makers->lock);
  return em_vk_result(&vulkan->vk, result, em_vk_spirvs[variant->shader].name, error);
}

em_prepare_times em_vulkan_prepare_times(em_backend *backend) {
  em_vulkan *vulkan = (em_vulkan *)backend;
  em_vk_makers *makers = &vulkan->makers;
  em_prepare_times times = {.n_kernels = vulkan->n_pipelines};
  pthread_mutex_lock(&makers->lock);
  if (makers->ready_ns > makers->start_ns)
    times.ready_ns = makers->ready_ns - makers->start_ns;
  times.waited_ns = makers->waited_ns;
  pthread_mutex_unlock(&makers->lock);
  return times;
}
