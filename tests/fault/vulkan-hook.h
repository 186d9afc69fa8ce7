/* Vulkan as a test wishes it: calls that fail, limits and features that are not the truth. Counts what is made and what
 * is destroyed. */
#pragma once

#include "check.h"

#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>

#include "backend/vulkan/vk.h"
#include "base/log.h"

typedef enum hook_object {
  HOOK_INSTANCE,
  HOOK_MESSENGER,
  HOOK_DEVICE,
  HOOK_MEMORY,
  HOOK_BUFFER,
  HOOK_MODULE,
  HOOK_LAYOUT,
  HOOK_CACHE,
  HOOK_PIPELINE,
  HOOK_POOL,
  HOOK_SEMAPHORE,
  HOOK_N_OBJECTS
} hook_object;

typedef struct hook_wish {
  /* The call with this number fails, counted from 1 among all that return a result, or among waits where the failure is
   * VK_TIMEOUT. 0: none. */
  uint32_t fail_at;
  bool fail_on; /* all later ones as well */
  VkResult failure;
  bool crash;       /* the call does not fail, but ends the process */
  const char *only; /* counts and fails the calls of this function alone, "CreateDevice"; NULL: of all */

  bool hang;                     /* what is submitted is never run; waits end after 100 ms */
  uint64_t max_allocation_bytes; /* 0: the truth */
  uint32_t subgroup_size;        /* 0: the truth */
  bool no_extensions;            /* of devices */
  bool no_debug_utils;
  const char *lacks;           /* a feature that the device seems to lack; see below */
  const char *lacks_extension; /* of devices */
  uint32_t lacks_feature;      /* of those that were asked for, counted from 1; see hook_features. 0: none */
  bool least_limits;           /* what every device must allow, and no more */
  bool discrete;               /* the device seems to be a graphics card with memory of its own */
  bool hides_memory;           /* that the host cannot write */
  bool incoherent;             /* and that it can write, but only with care (hides_memory) */
  bool has_bar;                /* another kind of it, which the host can write (hides_memory) */
  bool other_type;             /* the device does not say what it is */
  bool has_transfers;          /* and a family of queues for transfers alone */
  uint64_t budget_bytes;       /* of the first heap, of which HOOK_USED_BYTES are used. 0: the truth */
  bool other_cache;            /* another version of the driver, as far as pipelines go */
} hook_wish;

#define HOOK_USED_BYTES (1u << 20)

/* What devices were made with while hook_records: features as the number of a VkBool32 in a structure, and extensions.
 */
typedef struct hook_feature {
  VkStructureType structure;
  uint32_t index;
} hook_feature;

static bool hook_records;
static hook_feature hook_features[64];
static char hook_extensions[32][VK_MAX_EXTENSION_NAME_SIZE];
static uint32_t hook_n_features, hook_n_extensions;

static hook_wish hook;

/* Since hook_start. */
static _Atomic uint32_t hook_n_calls, hook_n_waits, hook_n_failed, hook_n_destroyed;
static _Atomic uint32_t hook_n_unsure; /* waits that were made to fail on a device that is not lost */
static _Atomic uint64_t hook_largest_allocation, hook_allocated_bytes;

static _Atomic int32_t hook_live[HOOK_N_OBJECTS]; /* since the program began */

/* Since hook_start: the most pieces of memory at a time, bytes of the host's memory that the device was given at a time
 * while its own is hidden, command pools of the family for transfers, bytes that the last pipeline cache began with. */
static int32_t hook_most_memory;
static uint64_t hook_host_bytes, hook_most_host_bytes;
static uint32_t hook_n_transfer_pools;
static size_t hook_cache_bytes;
static struct {
  VkDeviceMemory memory;
  uint64_t bytes;
} hook_host_memory[64];

static em_vk_functions real;

/* What the call at hand shall return. */
static VkResult fault(const char *name) {
  bool counts = !hook.only || strcmp(hook.only, name) == 0, is_wait = strcmp(name, "WaitSemaphores") == 0;
  if (!counts)
    return VK_SUCCESS;
  uint32_t call = ++hook_n_calls, wait = is_wait ? ++hook_n_waits : 0;
  uint32_t n = hook.failure == VK_TIMEOUT ? wait : call;
  if (hook.fail_at == 0 || n < hook.fail_at || (n > hook.fail_at && !hook.fail_on))
    return VK_SUCCESS;
  hook_n_failed++;
  if (hook.crash)
    raise(SIGKILL);
  return hook.failure;
}

/* After a failure the contents of what a call would have filled are undefined. */
static void spoil(void *out, size_t bytes) {
  memset(out, 0xa5, bytes);
}

/* Functions that return a result and make nothing. */
#define PLAIN(name, list, args)                            \
  static VKAPI_ATTR VkResult VKAPI_CALL my_##name list {   \
    VkResult result = fault(#name);                        \
    return result != VK_SUCCESS ? result : real.name args; \
  }

#define MAKES(name, object, out, list, args)             \
  static VKAPI_ATTR VkResult VKAPI_CALL my_##name list { \
    VkResult result = fault(#name);                      \
    if (result != VK_SUCCESS) {                          \
      spoil(out, sizeof *out);                           \
      return result;                                     \
    }                                                    \
    result = real.name args;                             \
    if (result == VK_SUCCESS)                            \
      hook_live[object]++;                               \
    return result;                                       \
  }

#define FREES(name, object, handle, list, args)      \
  static VKAPI_ATTR void VKAPI_CALL my_##name list { \
    if (handle) {                                    \
      hook_live[object]--;                           \
      hook_n_destroyed++;                            \
    }                                                \
    real.name args;                                  \
  }

#define CALLBACKS const VkAllocationCallbacks *callbacks

MAKES(CreateInstance, HOOK_INSTANCE, out, (const VkInstanceCreateInfo *info, CALLBACKS, VkInstance *out),
      (info, callbacks, out))
FREES(DestroyInstance, HOOK_INSTANCE, instance, (VkInstance instance, CALLBACKS), (instance, callbacks))
MAKES(CreateDebugUtilsMessengerEXT, HOOK_MESSENGER, out,
      (VkInstance instance, const VkDebugUtilsMessengerCreateInfoEXT *info, CALLBACKS, VkDebugUtilsMessengerEXT *out),
      (instance, info, callbacks, out))
FREES(DestroyDebugUtilsMessengerEXT, HOOK_MESSENGER, messenger,
      (VkInstance instance, VkDebugUtilsMessengerEXT messenger, CALLBACKS), (instance, messenger, callbacks))
PLAIN(EnumeratePhysicalDevices, (VkInstance instance, uint32_t *n, VkPhysicalDevice *out), (instance, n, out))
static void see_features(const VkDeviceCreateInfo *info);

static VKAPI_ATTR VkResult VKAPI_CALL my_CreateDevice(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                      CALLBACKS, VkDevice *out) {
  VkResult result = fault("CreateDevice");
  see_features(info);
  if (result != VK_SUCCESS) {
    spoil(out, sizeof *out);
    return result;
  }
  VkDeviceCreateInfo true_info = *info;
  if (hook.has_transfers) {
    CHECK_INT(info->queueCreateInfoCount, 2);
    true_info.queueCreateInfoCount = 1;
  }
  result = real.CreateDevice(physical, &true_info, callbacks, out);
  if (result == VK_SUCCESS)
    hook_live[HOOK_DEVICE]++;
  return result;
}
FREES(DestroyDevice, HOOK_DEVICE, device, (VkDevice device, CALLBACKS), (device, callbacks))
PLAIN(MapMemory,
      (VkDevice device, VkDeviceMemory memory, VkDeviceSize offset, VkDeviceSize size, VkMemoryMapFlags flags,
       void **out),
      (device, memory, offset, size, flags, out))
FREES(DestroyBuffer, HOOK_BUFFER, buffer, (VkDevice device, VkBuffer buffer, CALLBACKS), (device, buffer, callbacks))
PLAIN(BindBufferMemory, (VkDevice device, VkBuffer buffer, VkDeviceMemory memory, VkDeviceSize offset),
      (device, buffer, memory, offset))
MAKES(CreateShaderModule, HOOK_MODULE, out,
      (VkDevice device, const VkShaderModuleCreateInfo *info, CALLBACKS, VkShaderModule *out),
      (device, info, callbacks, out))
FREES(DestroyShaderModule, HOOK_MODULE, module, (VkDevice device, VkShaderModule module, CALLBACKS),
      (device, module, callbacks))
MAKES(CreatePipelineLayout, HOOK_LAYOUT, out,
      (VkDevice device, const VkPipelineLayoutCreateInfo *info, CALLBACKS, VkPipelineLayout *out),
      (device, info, callbacks, out))
FREES(DestroyPipelineLayout, HOOK_LAYOUT, layout, (VkDevice device, VkPipelineLayout layout, CALLBACKS),
      (device, layout, callbacks))
FREES(DestroyPipelineCache, HOOK_CACHE, cache, (VkDevice device, VkPipelineCache cache, CALLBACKS),
      (device, cache, callbacks))
PLAIN(GetPipelineCacheData, (VkDevice device, VkPipelineCache cache, size_t *bytes, void *out),
      (device, cache, bytes, out))
FREES(DestroyPipeline, HOOK_PIPELINE, pipeline, (VkDevice device, VkPipeline pipeline, CALLBACKS),
      (device, pipeline, callbacks))
FREES(DestroyCommandPool, HOOK_POOL, pool, (VkDevice device, VkCommandPool pool, CALLBACKS), (device, pool, callbacks))
PLAIN(AllocateCommandBuffers, (VkDevice device, const VkCommandBufferAllocateInfo *info, VkCommandBuffer *out),
      (device, info, out))
PLAIN(BeginCommandBuffer, (VkCommandBuffer commands, const VkCommandBufferBeginInfo *info), (commands, info))
PLAIN(EndCommandBuffer, (VkCommandBuffer commands), (commands))
PLAIN(ResetCommandBuffer, (VkCommandBuffer commands, VkCommandBufferResetFlags flags), (commands, flags))
MAKES(CreateSemaphore, HOOK_SEMAPHORE, out,
      (VkDevice device, const VkSemaphoreCreateInfo *info, CALLBACKS, VkSemaphore *out), (device, info, callbacks, out))
FREES(DestroySemaphore, HOOK_SEMAPHORE, semaphore, (VkDevice device, VkSemaphore semaphore, CALLBACKS),
      (device, semaphore, callbacks))
PLAIN(GetMemoryHostPointerPropertiesEXT,
      (VkDevice device, VkExternalMemoryHandleTypeFlagBits type, const void *pointer,
       VkMemoryHostPointerPropertiesEXT *out),
      (device, type, pointer, out))
PLAIN(SetDebugUtilsObjectNameEXT, (VkDevice device, const VkDebugUtilsObjectNameInfoEXT *info), (device, info))

static VKAPI_ATTR VkResult VKAPI_CALL my_AllocateMemory(VkDevice device, const VkMemoryAllocateInfo *info, CALLBACKS,
                                                        VkDeviceMemory *out) {
  VkResult result = fault("AllocateMemory");
  if (info->allocationSize > hook_largest_allocation)
    hook_largest_allocation = info->allocationSize;
  if (result != VK_SUCCESS) {
    spoil(out, sizeof *out);
    return result;
  }
  VkMemoryAllocateInfo true_info = *info;
  hook_allocated_bytes += info->allocationSize;
  if (hook.hides_memory)
    true_info.memoryTypeIndex = 0;
  result = real.AllocateMemory(device, &true_info, callbacks, out);
  if (result != VK_SUCCESS)
    return result;
  hook_live[HOOK_MEMORY]++;
  if (hook_live[HOOK_MEMORY] > hook_most_memory)
    hook_most_memory = hook_live[HOOK_MEMORY];
  for (size_t i = 0; hook.hides_memory && info->memoryTypeIndex == 1 && i < 64; i++)
    if (!hook_host_memory[i].memory) {
      hook_host_memory[i].memory = *out;
      hook_host_memory[i].bytes = info->allocationSize;
      hook_host_bytes += info->allocationSize;
      break;
    }
  if (hook_host_bytes > hook_most_host_bytes)
    hook_most_host_bytes = hook_host_bytes;
  return result;
}

static VKAPI_ATTR void VKAPI_CALL my_FreeMemory(VkDevice device, VkDeviceMemory memory, CALLBACKS) {
  for (size_t i = 0; memory && i < 64; i++)
    if (hook_host_memory[i].memory == memory) {
      hook_host_memory[i].memory = VK_NULL_HANDLE;
      hook_host_bytes -= hook_host_memory[i].bytes;
    }
  if (memory) {
    hook_live[HOOK_MEMORY]--;
    hook_n_destroyed++;
  }
  real.FreeMemory(device, memory, callbacks);
}

static VKAPI_ATTR VkResult VKAPI_CALL my_CreateBuffer(VkDevice device, const VkBufferCreateInfo *info, CALLBACKS,
                                                      VkBuffer *out) {
  VkResult result = fault("CreateBuffer");
  VkBufferCreateInfo true_info = *info;
  if (result != VK_SUCCESS) {
    spoil(out, sizeof *out);
    return result;
  }
  if (hook.has_transfers) {
    CHECK(info->sharingMode == VK_SHARING_MODE_CONCURRENT && info->queueFamilyIndexCount == 2);
    true_info.sharingMode = VK_SHARING_MODE_EXCLUSIVE;
    true_info.queueFamilyIndexCount = 0;
  }
  result = real.CreateBuffer(device, &true_info, callbacks, out);
  if (result == VK_SUCCESS)
    hook_live[HOOK_BUFFER]++;
  return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL my_CreatePipelineCache(VkDevice device, const VkPipelineCacheCreateInfo *info,
                                                             CALLBACKS, VkPipelineCache *out) {
  VkResult result = fault("CreatePipelineCache");
  if (result != VK_SUCCESS) {
    spoil(out, sizeof *out);
    return result;
  }
  hook_cache_bytes = info->initialDataSize;
  result = real.CreatePipelineCache(device, info, callbacks, out);
  if (result == VK_SUCCESS)
    hook_live[HOOK_CACHE]++;
  return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL my_CreateCommandPool(VkDevice device, const VkCommandPoolCreateInfo *info,
                                                           CALLBACKS, VkCommandPool *out) {
  VkResult result = fault("CreateCommandPool");
  VkCommandPoolCreateInfo true_info = *info;
  if (result != VK_SUCCESS) {
    spoil(out, sizeof *out);
    return result;
  }
  if (hook.has_transfers && info->queueFamilyIndex == 1) {
    true_info.queueFamilyIndex = 0;
    hook_n_transfer_pools++;
  }
  result = real.CreateCommandPool(device, &true_info, callbacks, out);
  if (result == VK_SUCCESS)
    hook_live[HOOK_POOL]++;
  return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL my_CreateComputePipelines(VkDevice device, VkPipelineCache cache, uint32_t n,
                                                                const VkComputePipelineCreateInfo *infos, CALLBACKS,
                                                                VkPipeline *out) {
  VkResult result = fault("CreateComputePipelines");
  if (result != VK_SUCCESS) {
    memset(out, 0, n * sizeof *out);
    return result;
  }
  result = real.CreateComputePipelines(device, cache, n, infos, callbacks, out);
  for (uint32_t i = 0; i < n; i++)
    hook_live[HOOK_PIPELINE] += out[i] != VK_NULL_HANDLE;
  return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL my_QueueSubmit(VkQueue queue, uint32_t n, const VkSubmitInfo *infos,
                                                     VkFence fence) {
  VkResult result = fault("QueueSubmit");
  return result != VK_SUCCESS || hook.hang ? result : real.QueueSubmit(queue, n, infos, fence);
}

static VKAPI_ATTR VkResult VKAPI_CALL my_WaitSemaphores(VkDevice device, const VkSemaphoreWaitInfo *info,
                                                        uint64_t timeout) {
  VkResult result = fault("WaitSemaphores");
  CHECK(timeout <= 10 * EM_VK_WAIT_NS);
  if (result == VK_SUCCESS)
    return real.WaitSemaphores(device, info, hook.hang && timeout > 100000000 ? 100000000 : timeout);
  /* A device that was lost has stopped; the one here only plays it. */
  if (result == VK_ERROR_DEVICE_LOST)
    (void)real.WaitSemaphores(device, info, UINT64_MAX);
  else
    hook_n_unsure++;
  return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL my_DeviceWaitIdle(VkDevice device) {
  VkResult result = fault("DeviceWaitIdle");
  CHECK(!hook.hang); /* it would not return */
  return result != VK_SUCCESS ? result : real.DeviceWaitIdle(device);
}

/* --- Lies --------------------------------------------------------------------------------------------------------- */

static VKAPI_ATTR VkResult VKAPI_CALL my_EnumerateInstanceExtensionProperties(const char *layer, uint32_t *n,
                                                                              VkExtensionProperties *out) {
  VkResult result = fault("EnumerateInstanceExtensionProperties");
  if (result != VK_SUCCESS)
    return result;
  result = real.EnumerateInstanceExtensionProperties(layer, n, out);
  if (hook.no_debug_utils && out)
    for (uint32_t i = 0; i < *n; i++)
      if (strcmp(out[i].extensionName, VK_EXT_DEBUG_UTILS_EXTENSION_NAME) == 0)
        out[i] = out[--*n];
  return result;
}

/* The structures of features that the backend may ask for: a header and then nothing but VkBool32. */
static VkBool32 *bools_of(const void *structure, uint32_t *n) {
  static const struct {
    VkStructureType type;
    size_t bytes;
  } known[] = {
      {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES, sizeof(VkPhysicalDeviceVulkan11Features)},
      {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES, sizeof(VkPhysicalDeviceVulkan12Features)},
      {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES, sizeof(VkPhysicalDeviceVulkan13Features)},
      {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_16BIT_STORAGE_FEATURES, sizeof(VkPhysicalDevice16BitStorageFeatures)},
      {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_8BIT_STORAGE_FEATURES, sizeof(VkPhysicalDevice8BitStorageFeatures)},
      {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_FLOAT16_INT8_FEATURES,
       sizeof(VkPhysicalDeviceShaderFloat16Int8Features)},
      {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_MEMORY_MODEL_FEATURES,
       sizeof(VkPhysicalDeviceVulkanMemoryModelFeatures)},
      {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES,
       sizeof(VkPhysicalDeviceSubgroupSizeControlFeatures)},
      {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES,
       sizeof(VkPhysicalDeviceShaderIntegerDotProductFeatures)},
      {VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR,
       sizeof(VkPhysicalDeviceCooperativeMatrixFeaturesKHR)},
  };
  const VkBaseOutStructure *s = structure;
  const size_t begin = s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2
                           ? offsetof(VkPhysicalDeviceFeatures2, features)
                           : sizeof(VkBaseOutStructure);
  *n = s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2 ? sizeof(VkPhysicalDeviceFeatures) / sizeof(VkBool32)
                                                                : 0;
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (s->sType == known[i].type)
      *n = (uint32_t)((known[i].bytes - begin) / sizeof(VkBool32));
  return (VkBool32 *)(uintptr_t)((const char *)structure + begin);
}

static bool is_lacking(const hook_feature *feature) {
  if (hook.lacks_feature == 0)
    return false;
  const hook_feature *f = &hook_features[hook.lacks_feature - 1];
  return f->structure == feature->structure && f->index == feature->index;
}

static void see_feature(hook_feature feature) {
  CHECK(!is_lacking(&feature)); /* the device said that it lacks it */
  bool is_new = hook_records && hook_n_features < sizeof hook_features / sizeof hook_features[0];
  for (uint32_t i = 0; i < hook_n_features; i++)
    is_new &= hook_features[i].structure != feature.structure || hook_features[i].index != feature.index;
  if (is_new)
    hook_features[hook_n_features++] = feature;
}

static void see_features(const VkDeviceCreateInfo *info) {
  VkPhysicalDeviceFeatures2 old = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
                                   .pNext = (void *)(uintptr_t)info->pNext};
  if (info->pEnabledFeatures)
    old.features = *info->pEnabledFeatures;
  for (const VkBaseOutStructure *s = (const VkBaseOutStructure *)&old; s; s = s->pNext) {
    uint32_t n;
    const VkBool32 *bools = bools_of(s, &n);
    CHECK(n > 0); /* a structure that bools_of does not know */
    for (uint32_t i = 0; i < n; i++)
      if (bools[i])
        see_feature((hook_feature){s->sType, i});
  }
  for (uint32_t i = 0; i < info->enabledExtensionCount; i++) {
    const char *name = info->ppEnabledExtensionNames[i];
    CHECK(!hook.no_extensions && !(hook.lacks_extension && strcmp(hook.lacks_extension, name) == 0));
    bool is_new = hook_records && hook_n_extensions < sizeof hook_extensions / sizeof hook_extensions[0];
    for (uint32_t j = 0; j < hook_n_extensions; j++)
      is_new &= strcmp(hook_extensions[j], name) != 0;
    if (is_new)
      snprintf(hook_extensions[hook_n_extensions++], sizeof hook_extensions[0], "%s", name);
  }
}

static VKAPI_ATTR VkResult VKAPI_CALL my_EnumerateDeviceExtensionProperties(VkPhysicalDevice physical,
                                                                            const char *layer, uint32_t *n,
                                                                            VkExtensionProperties *out) {
  VkResult result = fault("EnumerateDeviceExtensionProperties");
  if (result != VK_SUCCESS)
    return result;
  result = real.EnumerateDeviceExtensionProperties(physical, layer, n, out);
  if (hook.no_extensions)
    *n = 0;
  for (uint32_t i = 0; hook.lacks_extension && out && i < *n; i++)
    if (strcmp(out[i].extensionName, hook.lacks_extension) == 0)
      out[i] = out[--*n];
  return result;
}

static bool lacks(const char *what) {
  return hook.lacks && strcmp(hook.lacks, what) == 0;
}

static VKAPI_ATTR void VKAPI_CALL my_GetPhysicalDeviceProperties2(VkPhysicalDevice physical,
                                                                  VkPhysicalDeviceProperties2 *out) {
  real.GetPhysicalDeviceProperties2(physical, out);
  if (lacks("Vulkan 1.2"))
    out->properties.apiVersion = VK_API_VERSION_1_1;
  if (hook.other_cache)
    out->properties.pipelineCacheUUID[3] ^= 1;
  if (hook.discrete)
    out->properties.deviceType = VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU;
  if (hook.other_type)
    out->properties.deviceType = VK_PHYSICAL_DEVICE_TYPE_OTHER;
  if (hook.least_limits) {
    VkPhysicalDeviceLimits *limits = &out->properties.limits;
    limits->maxStorageBufferRange = 1u << 27;
    limits->maxPushConstantsSize = 128;
    limits->maxMemoryAllocationCount = 4096;
    limits->maxComputeSharedMemorySize = 16384;
    limits->maxComputeWorkGroupInvocations = 128;
    limits->maxComputeWorkGroupSize[0] = limits->maxComputeWorkGroupSize[1] = 128;
    limits->maxComputeWorkGroupSize[2] = 64;
    for (int i = 0; i < 3; i++)
      limits->maxComputeWorkGroupCount[i] = 65535;
  }
  for (VkBaseOutStructure *next = out->pNext; next; next = next->pNext) {
    if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES && hook.max_allocation_bytes)
      ((VkPhysicalDeviceMaintenance3Properties *)next)->maxMemoryAllocationSize = hook.max_allocation_bytes;
    if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES) {
      VkPhysicalDeviceSubgroupProperties *subgroup = (VkPhysicalDeviceSubgroupProperties *)next;
      if (hook.subgroup_size)
        subgroup->subgroupSize = hook.subgroup_size;
      if (lacks("subgroup broadcasts"))
        subgroup->supportedOperations = VK_SUBGROUP_FEATURE_BASIC_BIT;
    }
    if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES) {
      VkPhysicalDeviceVulkan11Properties *eleven = (VkPhysicalDeviceVulkan11Properties *)next;
      if (hook.max_allocation_bytes)
        eleven->maxMemoryAllocationSize = hook.max_allocation_bytes;
      if (hook.subgroup_size)
        eleven->subgroupSize = hook.subgroup_size;
      if (lacks("subgroup broadcasts"))
        eleven->subgroupSupportedOperations = VK_SUBGROUP_FEATURE_BASIC_BIT;
    }
  }
}

static VKAPI_ATTR void VKAPI_CALL my_GetPhysicalDeviceFeatures2(VkPhysicalDevice physical,
                                                                VkPhysicalDeviceFeatures2 *out) {
  real.GetPhysicalDeviceFeatures2(physical, out);
  if (lacks("64-bit integers"))
    out->features.shaderInt64 = VK_FALSE;
  for (VkBaseOutStructure *next = out->pNext; next; next = next->pNext)
    if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES) {
      VkPhysicalDeviceVulkan12Features *twelve = (VkPhysicalDeviceVulkan12Features *)next;
      twelve->bufferDeviceAddress &= !lacks("buffer device addresses");
      twelve->timelineSemaphore &= !lacks("timeline semaphores");
      twelve->scalarBlockLayout &= !lacks("scalar block layouts");
    }
  for (VkBaseOutStructure *next = (VkBaseOutStructure *)out; next; next = next->pNext) {
    uint32_t n;
    VkBool32 *bools = bools_of(next, &n);
    for (uint32_t i = 0; i < n; i++)
      if (is_lacking(&(hook_feature){next->sType, i}))
        bools[i] = VK_FALSE;
  }
}

static VKAPI_ATTR void VKAPI_CALL my_GetPhysicalDeviceQueueFamilyProperties(VkPhysicalDevice physical, uint32_t *n,
                                                                            VkQueueFamilyProperties *out) {
  real.GetPhysicalDeviceQueueFamilyProperties(physical, n, out);
  for (uint32_t i = 0; out && lacks("compute") && i < *n; i++)
    out[i].queueFlags &= ~(VkQueueFlags)VK_QUEUE_COMPUTE_BIT;
  if (hook.has_transfers && out) { /* the caller has room for many */
    CHECK_INT(*n, 1);
    out[(*n)++] = (VkQueueFamilyProperties){.queueFlags = VK_QUEUE_TRANSFER_BIT, .queueCount = 1};
  }
}

static VKAPI_ATTR void VKAPI_CALL my_GetDeviceQueue(VkDevice device, uint32_t family, uint32_t index, VkQueue *out) {
  real.GetDeviceQueue(device, hook.has_transfers ? 0 : family, index, out);
}

static VKAPI_ATTR void VKAPI_CALL my_GetPhysicalDeviceMemoryProperties2(VkPhysicalDevice physical,
                                                                        VkPhysicalDeviceMemoryProperties2 *out) {
  real.GetPhysicalDeviceMemoryProperties2(physical, out);
  VkPhysicalDeviceMemoryProperties *memory = &out->memoryProperties;
  if (hook.hides_memory) {
    CHECK_INT(memory->memoryTypeCount, 1);
    memory->memoryTypeCount = memory->memoryHeapCount = 2;
    memory->memoryTypes[0].propertyFlags = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    memory->memoryTypes[1] =
        (VkMemoryType){VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT, 1};
    memory->memoryHeaps[1] = (VkMemoryHeap){.size = memory->memoryHeaps[0].size};
    if (hook.incoherent)
      memory->memoryTypes[0].propertyFlags |= VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT;
    if (hook.has_bar)
      memory->memoryTypes[memory->memoryTypeCount++] =
          (VkMemoryType){VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT |
                             VK_MEMORY_PROPERTY_HOST_COHERENT_BIT,
                         0};
  }
  for (VkBaseOutStructure *next = out->pNext; next; next = next->pNext)
    if (next->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT && hook.budget_bytes) {
      VkPhysicalDeviceMemoryBudgetPropertiesEXT *budget = (VkPhysicalDeviceMemoryBudgetPropertiesEXT *)next;
      budget->heapBudget[0] = hook.budget_bytes;
      budget->heapUsage[0] = HOOK_USED_BYTES;
    }
}

static VKAPI_ATTR void VKAPI_CALL my_GetBufferMemoryRequirements(VkDevice device, VkBuffer buffer,
                                                                 VkMemoryRequirements *out) {
  real.GetBufferMemoryRequirements(device, buffer, out);
  if (hook.hides_memory)
    out->memoryTypeBits = hook.has_bar ? 7 : 3;
}

static VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL my_GetDeviceProcAddr(VkDevice device, const char *name) {
  return lacks("a function") && strcmp(name, "vkGetBufferDeviceAddress") == 0 ? NULL
                                                                              : real.GetDeviceProcAddr(device, name);
}

/* --- The table ---------------------------------------------------------------------------------------------------- */

#define REPLACED(X)                         \
  X(CreateInstance)                         \
  X(EnumerateInstanceExtensionProperties)   \
  X(DestroyInstance)                        \
  X(CreateDebugUtilsMessengerEXT)           \
  X(DestroyDebugUtilsMessengerEXT)          \
  X(EnumeratePhysicalDevices)               \
  X(GetPhysicalDeviceProperties2)           \
  X(GetPhysicalDeviceFeatures2)             \
  X(GetPhysicalDeviceMemoryProperties2)     \
  X(GetPhysicalDeviceQueueFamilyProperties) \
  X(EnumerateDeviceExtensionProperties)     \
  X(CreateDevice)                           \
  X(GetDeviceProcAddr)                      \
  X(GetDeviceQueue)                         \
  X(GetBufferMemoryRequirements)            \
  X(DestroyDevice)                          \
  X(AllocateMemory)                         \
  X(FreeMemory)                             \
  X(MapMemory)                              \
  X(CreateBuffer)                           \
  X(DestroyBuffer)                          \
  X(BindBufferMemory)                       \
  X(CreateShaderModule)                     \
  X(DestroyShaderModule)                    \
  X(CreatePipelineLayout)                   \
  X(DestroyPipelineLayout)                  \
  X(CreatePipelineCache)                    \
  X(DestroyPipelineCache)                   \
  X(GetPipelineCacheData)                   \
  X(CreateComputePipelines)                 \
  X(DestroyPipeline)                        \
  X(CreateCommandPool)                      \
  X(DestroyCommandPool)                     \
  X(AllocateCommandBuffers)                 \
  X(BeginCommandBuffer)                     \
  X(EndCommandBuffer)                       \
  X(ResetCommandBuffer)                     \
  X(CreateSemaphore)                        \
  X(DestroySemaphore)                       \
  X(WaitSemaphores)                         \
  X(QueueSubmit)                            \
  X(DeviceWaitIdle)                         \
  X(GetMemoryHostPointerPropertiesEXT)      \
  X(SetDebugUtilsObjectNameEXT)

/* Those that cannot fail and whose answers are left as they are. */
static const char *const left_alone[] = {"GetBufferDeviceAddress",
                                         "FreeCommandBuffers",
                                         "CmdBindPipeline",
                                         "CmdPushConstants",
                                         "CmdDispatch",
                                         "CmdDispatchIndirect",
                                         "CmdPipelineBarrier",
                                         "CmdCopyBuffer",
                                         "CmdFillBuffer",
                                         "CmdBeginDebugUtilsLabelEXT",
                                         "CmdEndDebugUtilsLabelEXT"};

/* A function that the backend has come to use must be replaced here, or be named above. */
static void check_table(void) {
  static const char *const names[] = {
#define X(name) #name,
      EM_VK_GLOBAL_FUNCTIONS(X) EM_VK_INSTANCE_FUNCTIONS(X) EM_VK_MESSENGER_FUNCTIONS(X) EM_VK_DEVICE_FUNCTIONS(X)
          EM_VK_DEBUG_FUNCTIONS(X) EM_VK_IMPORT_FUNCTIONS(X)};
  static const char *const replaced[] = {REPLACED(X)};
#undef X
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    bool known = false;
    for (size_t j = 0; j < sizeof replaced / sizeof replaced[0]; j++)
      known |= strcmp(names[i], replaced[j]) == 0;
    for (size_t j = 0; j < sizeof left_alone / sizeof left_alone[0]; j++)
      known |= strcmp(names[i], left_alone[j]) == 0;
    if (!known)
      fprintf(stderr, "vulkan-hook.h does not know vk%s\n", names[i]);
    CHECK(known);
  }
}

static void replace(em_vk_functions *functions) {
#define X(name)                                          \
  if (functions->name && functions->name != my_##name) { \
    real.name = functions->name;                         \
    functions->name = my_##name;                         \
  }
  REPLACED(X)
#undef X
}

/* Sets what Vulkan does from now on. */
static inline void hook_start(const hook_wish *wish) {
  hook = *wish;
  hook_n_calls = hook_n_waits = hook_n_failed = hook_n_destroyed = hook_n_unsure = 0;
  hook_largest_allocation = hook_allocated_bytes = 0;
  hook_most_memory = hook_live[HOOK_MEMORY];
  hook_most_host_bytes = hook_host_bytes;
  hook_n_transfer_pools = 0;
  hook_cache_bytes = 0;
  em_vk_hook = replace;
}

/* Forgets objects that are left behind on purpose. */
static inline void hook_forget(void) {
  for (unsigned i = 0; i < HOOK_N_OBJECTS; i++)
    hook_live[i] = 0;
}

/* Objects that have not been destroyed. */
static inline int32_t hook_n_live(void) {
  int32_t n = 0;
  for (unsigned i = 0; i < HOOK_N_OBJECTS; i++)
    n += hook_live[i];
  return n;
}

static void on_log(void *user, em_log_level level, const char *text) {
  if (level >= EM_LOG_WARNING)
    fprintf(stderr, "%s\n", text);
  CHECK(level < EM_LOG_WARNING);
}

static bool has_validation_layer(void) {
  VkLayerProperties layers[64];
  uint32_t n = sizeof layers / sizeof layers[0];
  bool found = false;
  void *loader = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!loader)
    return false;
  PFN_vkEnumerateInstanceLayerProperties enumerate = NULL;
  void *symbol = dlsym(loader, "vkEnumerateInstanceLayerProperties");
  memcpy(&enumerate, &symbol, sizeof enumerate);
  VkResult result = enumerate ? enumerate(&n, layers) : VK_ERROR_UNKNOWN;
  for (uint32_t i = 0; (result == VK_SUCCESS || result == VK_INCOMPLETE) && i < n; i++)
    found |= strcmp(layers[i].layerName, "VK_LAYER_KHRONOS_validation") == 0;
  dlclose(loader);
  return found;
}

static void on_provoked(void *user, em_log_level level, const char *text) {
  *(bool *)user |= level >= EM_LOG_WARNING && strstr(text, "VUID-VkBufferCreateInfo-size") != NULL;
}

/* Does something wrong on purpose: a layer that is loaded and says nothing would let every test pass. */
static void check_messages_arrive(void) {
  em_vk vk;
  VkBuffer buffer;
  bool heard = false;
  if (em_vk_open(0, &vk, NULL) != EM_OK)
    return; /* there is no device to test either */
  VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                             .size = 0,
                             .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT,
                             .sharingMode = VK_SHARING_MODE_EXCLUSIVE};
  em_log_set(on_provoked, &heard);
  if (vk.fn.CreateBuffer(vk.device, &info, NULL, &buffer) == VK_SUCCESS)
    vk.fn.DestroyBuffer(vk.device, buffer, NULL);
  em_log_set(on_log, NULL);
  CHECK(heard);
  em_vk_close(&vk);
}

/* The number of the device with that name ("vulkan:0"), or of a software one where wanted is NULL; out (or NULL) is
 * what it is. The test is skipped where there is none. After hook_validate. */
static inline uint32_t hook_choose_device(const char *wanted, em_vulkan_device *out) {
  em_vulkan_device found[16];
  uint32_t n_found = 0;
  em_error error = {0};
  if (em_vulkan_list(found, 16, &n_found, &error) != EM_OK)
    SKIP("%s", error.text);
  for (uint32_t i = 0; i < n_found; i++) {
    char name[24];
    snprintf(name, sizeof name, "vulkan:%u", i);
    if (wanted ? strcmp(wanted, name) != 0 : found[i].kind != EM_VULKAN_SOFTWARE)
      continue;
    if (out)
      *out = found[i];
    return i;
  }
  SKIP("there is no Vulkan device %s", wanted ? wanted : "that is a software one");
}

/* Turns validation on, sees that its messages arrive, and makes every message of the core's log from warnings upwards
 * fail a check. Before anything else. A computer without the layer goes on without it, but not where HEARTH_VALIDATION
 * says that it must be there. */
static inline void hook_validate(void) {
  setenv("VK_LOADER_LAYERS_ENABLE", "*validation*", 0);
  setenv("VK_LAYER_CHECK_SHADERS", "false", 0); /* the conformance tests do; it takes most of the time */
  setenv("VK_LOADER_DISABLE_DYNAMIC_LIBRARY_UNLOADING", "1", 0);
  em_log_set(on_log, NULL);
  check_table();
  if (has_validation_layer()) {
    check_messages_arrive();
  } else {
    printf("SKIP of validation: VK_LAYER_KHRONOS_validation is not installed\n");
    CHECK(!getenv("HEARTH_VALIDATION"));
  }
}
