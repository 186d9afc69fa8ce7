/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "backend/vulkan/vk.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define MAX_DEVICES 16u
#define PAGE_BYTES (64u << 10)

void (*em_vk_hook)(em_vk_functions *functions);

static const char *result_word(VkResult result) {
  switch (result) {
  case VK_ERROR_OUT_OF_HOST_MEMORY:
    return "the computer is out of memory";
  case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    return "the graphics device is out of memory";
  case VK_ERROR_DEVICE_LOST:
    return "the graphics device was lost";
  case VK_TIMEOUT:
    return "the graphics device did not answer in time";
  case VK_ERROR_INITIALIZATION_FAILED:
    return "the graphics driver could not be initialised";
  default:
    return "the graphics driver failed";
  }
}

em_status em_vk_result(em_vk *vk, VkResult result, const char *what, em_error *error) {
  if (result == VK_SUCCESS)
    return EM_OK;
  if (result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY)
    return em_fail(error, EM_ERR_NO_MEMORY, "%s (%s)", result_word(result), what);
  vk->failed = true;
  return em_fail(error, EM_ERR_DEVICE, "%s (%s, result %d)", result_word(result), what, (int)result);
}

/* --- The loader and the instance --- */

static VKAPI_ATTR VkBool32 VKAPI_CALL report(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                             VkDebugUtilsMessageTypeFlagsEXT types,
                                             const VkDebugUtilsMessengerCallbackDataEXT *data, void *user) {
  (void)types;
  (void)user;
  em_log(severity >= VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT ? EM_LOG_ERROR : EM_LOG_WARNING, "vulkan: %s",
         data->pMessage);
  return VK_FALSE;
}

static em_status open_instance(em_vk *vk, em_error *error) {
  vk->loader = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!vk->loader)
    return em_fail(error, EM_ERR_UNSUPPORTED, "this computer has no Vulkan loader (libvulkan.so.1)");
  /* A symbol's address comes as an object pointer; POSIX guarantees that it converts. */
  PFN_vkGetInstanceProcAddr get = NULL;
  void *symbol = dlsym(vk->loader, "vkGetInstanceProcAddr");
  memcpy(&get, &symbol, sizeof get);
  if (!get)
    return em_fail(error, EM_ERR_UNSUPPORTED, "the Vulkan loader is damaged");
#define X(name)                                      \
  vk->fn.name = (PFN_vk##name)get(NULL, "vk" #name); \
  if (!vk->fn.name)                                  \
    return em_fail(error, EM_ERR_UNSUPPORTED, "the Vulkan loader is damaged (no vk" #name ")");
  EM_VK_GLOBAL_FUNCTIONS(X)
#undef X
  if (em_vk_hook)
    em_vk_hook(&vk->fn);

  VkExtensionProperties extensions[64];
  uint32_t n = sizeof extensions / sizeof extensions[0];
  VkResult result = vk->fn.EnumerateInstanceExtensionProperties(NULL, &n, extensions);
  if (result == VK_SUCCESS || result == VK_INCOMPLETE)
    for (uint32_t i = 0; i < n; i++)
      vk->has_debug_utils |= strcmp(extensions[i].extensionName, VK_EXT_DEBUG_UTILS_EXTENSION_NAME) == 0;
  const char *names[] = {VK_EXT_DEBUG_UTILS_EXTENSION_NAME};
  VkDebugUtilsMessengerCreateInfoEXT messenger = {
      .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
      .messageSeverity =
          VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT,
      .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
      .pfnUserCallback = report,
  };
  VkInstanceCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
      .pNext = vk->has_debug_utils ? &messenger : NULL,
      .pApplicationInfo = &(VkApplicationInfo){.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
                                               .pApplicationName = "Hearth",
                                               .pEngineName = "Ember",
                                               .apiVersion = VK_API_VERSION_1_2},
      .enabledExtensionCount = vk->has_debug_utils ? 1 : 0,
      .ppEnabledExtensionNames = names,
  };
  result = vk->fn.CreateInstance(&info, NULL, &vk->instance);
  if (result != VK_SUCCESS)
    vk->instance = VK_NULL_HANDLE;
  if (result == VK_ERROR_INCOMPATIBLE_DRIVER)
    return em_fail(error, EM_ERR_UNSUPPORTED, "this computer has no Vulkan driver");
  if (result != VK_SUCCESS)
    return em_vk_result(vk, result, "creating the instance", error);
#define X(name)                                              \
  vk->fn.name = (PFN_vk##name)get(vk->instance, "vk" #name); \
  if (!vk->fn.name)                                          \
    return em_fail(error, EM_ERR_UNSUPPORTED, "the Vulkan loader is too old (no vk" #name ")");
  EM_VK_INSTANCE_FUNCTIONS(X)
#undef X
#define X(name) vk->fn.name = (PFN_vk##name)get(vk->instance, "vk" #name);
  EM_VK_OPTIONAL_FUNCTIONS(X)
#undef X
  if (vk->has_debug_utils) {
#define X(name) vk->fn.name = (PFN_vk##name)get(vk->instance, "vk" #name);
    EM_VK_MESSENGER_FUNCTIONS(X)
#undef X
  }
  if (em_vk_hook)
    em_vk_hook(&vk->fn);
  /* The one in pNext hears nothing but the instance's own making and end. Without this one all works the same. */
  if (vk->fn.CreateDebugUtilsMessengerEXT && vk->fn.DestroyDebugUtilsMessengerEXT &&
      vk->fn.CreateDebugUtilsMessengerEXT(vk->instance, &messenger, NULL, &vk->messenger) != VK_SUCCESS)
    vk->messenger = VK_NULL_HANDLE;
  return EM_OK;
}

/* --- Devices --- */

static int rank(VkPhysicalDeviceType type) {
  switch (type) {
  case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
    return 0;
  case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
    return 1;
  case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
    return 2;
  case VK_PHYSICAL_DEVICE_TYPE_CPU:
    return 4;
  default: /* the driver does not say; it may be anything but a processor */
    return 3;
  }
}

static bool has_extension(em_vk *vk, VkPhysicalDevice device, const char *name) {
  uint32_t n = 0;
  if (vk->fn.EnumerateDeviceExtensionProperties(device, NULL, &n, NULL) != VK_SUCCESS || n == 0)
    return false;
  VkExtensionProperties *list = calloc(n, sizeof *list);
  if (!list)
    return false;
  bool found = false;
  VkResult result = vk->fn.EnumerateDeviceExtensionProperties(device, NULL, &n, list);
  if (result == VK_SUCCESS || result == VK_INCOMPLETE)
    for (uint32_t i = 0; i < n && !found; i++)
      found = strcmp(list[i].extensionName, name) == 0;
  free(list);
  return found;
}

/* The devices in our order: discrete, integrated, virtual, of another kind, software; the driver's order among equals.
 */
static em_status enumerate(em_vk *vk, VkPhysicalDevice out[MAX_DEVICES], uint32_t *n_out, em_error *error) {
  VkPhysicalDevice found[MAX_DEVICES];
  uint32_t n = MAX_DEVICES;
  *n_out = 0;
  VkResult result = vk->fn.EnumeratePhysicalDevices(vk->instance, &n, found);
  if (result != VK_SUCCESS && result != VK_INCOMPLETE)
    return em_vk_result(vk, result, "listing the devices", error);
  for (int wanted = 0; wanted < 5; wanted++)
    for (uint32_t i = 0; i < n; i++) {
      VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
      vk->fn.GetPhysicalDeviceProperties2(found[i], &properties);
      if (rank(properties.properties.deviceType) == wanted)
        out[(*n_out)++] = found[i];
    }
  return EM_OK;
}

static void describe(em_vk *vk, VkPhysicalDevice device, em_vulkan_device *out) {
  VkPhysicalDeviceDriverProperties driver = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES};
  VkPhysicalDevicePCIBusInfoPropertiesEXT pci = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT,
                                                 .pNext = &driver};
  VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &driver};
  bool has_pci = has_extension(vk, device, VK_EXT_PCI_BUS_INFO_EXTENSION_NAME);
  if (has_pci)
    properties.pNext = &pci;
  vk->fn.GetPhysicalDeviceProperties2(device, &properties);
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  bool has_budget = has_extension(vk, device, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  VkPhysicalDeviceMemoryProperties2 memory = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
                                              .pNext = has_budget ? &budget : NULL};
  vk->fn.GetPhysicalDeviceMemoryProperties2(device, &memory);
  snprintf(out->name, sizeof out->name, "%s", properties.properties.deviceName);
  snprintf(out->driver, sizeof out->driver, "%s %s", driver.driverName, driver.driverInfo);
  static const em_vulkan_kind kinds[] = {EM_VULKAN_DISCRETE, EM_VULKAN_INTEGRATED, EM_VULKAN_VIRTUAL, EM_VULKAN_OTHER,
                                         EM_VULKAN_SOFTWARE};
  out->kind = kinds[rank(properties.properties.deviceType)];
  /* An integrated device may split what it can use into several local heaps (its carve-out and the rest); all of them
   * count. A discrete one has one that matters. */
  for (uint32_t i = 0; i < memory.memoryProperties.memoryHeapCount; i++) {
    const VkMemoryHeap *heap = &memory.memoryProperties.memoryHeaps[i];
    if (!(heap->flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT))
      continue;
    if (out->kind == EM_VULKAN_INTEGRATED) {
      out->memory_bytes += heap->size;
      out->budget_bytes += budget.heapBudget[i];
    } else if (heap->size > out->memory_bytes) {
      out->memory_bytes = heap->size;
      out->budget_bytes = budget.heapBudget[i];
    }
  }
  out->vendor_id = properties.properties.vendorID;
  out->device_id = properties.properties.deviceID;
  if (has_pci)
    snprintf(out->pci, sizeof out->pci, "%04x:%02x:%02x.%x", pci.pciDomain, pci.pciBus, pci.pciDevice, pci.pciFunction);
}

em_status em_vulkan_list(em_vulkan_device *out, uint32_t max, uint32_t *n_out, em_error *error) {
  em_status status = EM_OK;
  em_vk vk = {0};
  VkPhysicalDevice devices[MAX_DEVICES];
  uint32_t n = 0;
  *n_out = 0;
  EM_TRY(open_instance(&vk, error));
  EM_TRY(enumerate(&vk, devices, &n, error));
  for (uint32_t i = 0; i < n && i < max; i++) {
    out[i] = (em_vulkan_device){0};
    describe(&vk, devices[i], &out[i]);
    (*n_out)++;
  }
fail:
  em_vk_close(&vk);
  return status;
}

/* The shaders are compiled with subgroup broadcasts, even where they do not use them. */
#define NEEDED_SUBGROUP_OPERATIONS (VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_BALLOT_BIT)

static em_status check_features(em_vk *vk, em_error *error) {
  VkPhysicalDeviceSubgroupProperties subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES};
  VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                            .pNext = &subgroup};
  VkPhysicalDeviceVulkan12Features twelve = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
  VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &twelve};
  if (vk->properties.apiVersion < VK_API_VERSION_1_2)
    return em_fail(error, EM_ERR_UNSUPPORTED, "%s speaks Vulkan %u.%u; 1.2 is needed", vk->properties.deviceName,
                   VK_API_VERSION_MAJOR(vk->properties.apiVersion), VK_API_VERSION_MINOR(vk->properties.apiVersion));
  vk->fn.GetPhysicalDeviceFeatures2(vk->physical, &features);
  if (!features.features.shaderInt64)
    return em_fail(error, EM_ERR_UNSUPPORTED, "the driver of %s lacks 64-bit integers", vk->properties.deviceName);
  if (!twelve.bufferDeviceAddress || !twelve.timelineSemaphore || !twelve.scalarBlockLayout)
    return em_fail(error, EM_ERR_UNSUPPORTED, "the driver of %s lacks %s", vk->properties.deviceName,
                   !twelve.bufferDeviceAddress ? "buffer device addresses"
                   : !twelve.timelineSemaphore ? "timeline semaphores"
                                               : "scalar block layouts");
  vk->fn.GetPhysicalDeviceProperties2(vk->physical, &properties);
  if ((subgroup.supportedOperations & NEEDED_SUBGROUP_OPERATIONS) != NEEDED_SUBGROUP_OPERATIONS ||
      !(subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT))
    return em_fail(error, EM_ERR_UNSUPPORTED, "the driver of %s lacks subgroup broadcasts", vk->properties.deviceName);
  return EM_OK;
}

/* A family that does nothing but transfers has engines of its own. */
static void choose_upload_queue(em_vk *vk, const VkQueueFamilyProperties *families, uint32_t n) {
  vk->upload_family = vk->queue_family;
  for (uint32_t i = 0; i < n && !vk->unified && !vk->writable; i++)
    if ((families[i].queueFlags & (VK_QUEUE_TRANSFER_BIT | VK_QUEUE_COMPUTE_BIT | VK_QUEUE_GRAPHICS_BIT)) ==
            VK_QUEUE_TRANSFER_BIT &&
        families[i].queueCount > 0) {
      vk->upload_family = i;
      return;
    }
}

/* The size of the square matrices of halves that a subgroup can multiply, 16 rather than 8; 0: it cannot. */
static uint32_t read_matrix_size(em_vk *vk) {
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrices = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR};
  VkPhysicalDeviceVulkan12Features twelve = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                             .pNext = &matrices};
  VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &twelve};
  uint32_t size = 0;
  VkCooperativeMatrixPropertiesKHR kinds[64];
  uint32_t n = sizeof kinds / sizeof kinds[0];
  if (!vk->fn.GetPhysicalDeviceCooperativeMatrixPropertiesKHR ||
      !has_extension(vk, vk->physical, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME) ||
      4 * vk->subgroup_size > vk->properties.limits.maxComputeWorkGroupInvocations)
    return 0;
  /* Mesa 26.2 falls over the kernel where the software device's vectors have 512 bits. */
  if (vk->software && vk->subgroup_size > 8)
    return 0;
  vk->fn.GetPhysicalDeviceFeatures2(vk->physical, &features);
  if (!matrices.cooperativeMatrix || !twelve.shaderFloat16 || !twelve.vulkanMemoryModel)
    return 0;
  for (uint32_t i = 0; i < n; i++)
    kinds[i] = (VkCooperativeMatrixPropertiesKHR){.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR};
  VkResult result = vk->fn.GetPhysicalDeviceCooperativeMatrixPropertiesKHR(vk->physical, &n, kinds);
  for (uint32_t i = 0; i < n && (result == VK_SUCCESS || result == VK_INCOMPLETE); i++)
    if (kinds[i].MSize == kinds[i].NSize && kinds[i].MSize == kinds[i].KSize &&
        (kinds[i].MSize == 16 || kinds[i].MSize == 8) && kinds[i].MSize > size &&
        kinds[i].AType == VK_COMPONENT_TYPE_FLOAT16_KHR && kinds[i].BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
        kinds[i].CType == VK_COMPONENT_TYPE_FLOAT32_KHR && kinds[i].ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
        kinds[i].scope == VK_SCOPE_SUBGROUP_KHR)
      size = kinds[i].MSize;
  return size;
}

/* What the device can do beyond what is needed. */
static void read_abilities(em_vk *vk) {
  if (!vk->software)
    vk->abilities |= EM_VK_HARDWARE;
  vk->matrix_size = read_matrix_size(vk);
  if (vk->matrix_size > 0)
    vk->abilities |= EM_VK_MATRICES;
  VkPhysicalDeviceVulkan12Features twelve = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES};
  VkPhysicalDeviceFeatures2 all = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &twelve};
  vk->fn.GetPhysicalDeviceFeatures2(vk->physical, &all);
  if (twelve.shaderFloat16)
    vk->abilities |= EM_VK_HALVES;
  if (has_extension(vk, vk->physical, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME)) {
    VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dot = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR};
    VkPhysicalDeviceFeatures2 features = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2, .pNext = &dot};
    VkPhysicalDeviceShaderIntegerDotProductPropertiesKHR how = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES_KHR};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &how};
    vk->fn.GetPhysicalDeviceFeatures2(vk->physical, &features);
    vk->fn.GetPhysicalDeviceProperties2(vk->physical, &properties);
    if (dot.shaderIntegerDotProduct)
      vk->abilities |= EM_VK_DOTS | (how.integerDotProduct4x8BitPackedSignedAccelerated ? EM_VK_FAST_DOTS : 0u);
  }
}

static em_status choose_queue(em_vk *vk, em_error *error) {
  VkQueueFamilyProperties families[32];
  uint32_t n = 32;
  vk->fn.GetPhysicalDeviceQueueFamilyProperties(vk->physical, &n, families);
  /* A family that computes and does not draw leaves the desktop's queue alone. */
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t i = 0; i < n; i++)
      if ((families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) && families[i].queueCount > 0 &&
          (pass == 1 || !(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT))) {
        vk->queue_family = i;
        choose_upload_queue(vk, families, n);
        return EM_OK;
      }
  return em_fail(error, EM_ERR_UNSUPPORTED, "%s cannot compute", vk->properties.deviceName);
}

static void read_limits(em_vk *vk) {
  VkPhysicalDeviceMaintenance3Properties three = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES};
  VkPhysicalDeviceSubgroupProperties subgroup = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES,
                                                 .pNext = &three};
  vk->driver = (VkPhysicalDeviceDriverProperties){.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES,
                                                  .pNext = &subgroup};
  VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
                                            .pNext = &vk->driver};
  vk->fn.GetPhysicalDeviceProperties2(vk->physical, &properties);
  vk->driver.pNext = NULL;
  vk->properties = properties.properties;
  VkPhysicalDeviceMemoryProperties2 memory = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2};
  vk->fn.GetPhysicalDeviceMemoryProperties2(vk->physical, &memory);
  vk->memory = memory.memoryProperties;
  vk->subgroup_size = subgroup.subgroupSize;
  vk->software = vk->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU;
  em_vk_read_memory(vk);
  /* A block of a GiB is large enough for any tensor to need few of them, and small enough for every driver. */
  vk->max_allocation_bytes = 1ull << 30;
  if (three.maxMemoryAllocationSize > 0 && three.maxMemoryAllocationSize < vk->max_allocation_bytes)
    vk->max_allocation_bytes = three.maxMemoryAllocationSize;
  /* What a buffer of as many bytes needs may be rounded up to a page. */
  if (vk->max_allocation_bytes > PAGE_BYTES)
    vk->max_allocation_bytes -= vk->max_allocation_bytes % PAGE_BYTES;
  /* A processor runs one row's sum fastest in one go; a GPU hides its memory's latency with more invocations. */
  vk->split = vk->software ? 1 : 8;
  while (vk->split > 1 && 32 * vk->split > vk->properties.limits.maxComputeWorkGroupInvocations)
    vk->split /= 2;
  bool can_share = vk->subgroup_size == 8 || vk->subgroup_size == 16 || vk->subgroup_size == 32;
  vk->broadcast = vk->software && can_share ? vk->subgroup_size : 0;
}

em_status em_vk_open(uint32_t index, em_vk *vk, em_error *error) {
  em_status status = EM_OK;
  VkPhysicalDevice devices[MAX_DEVICES];
  uint32_t n = 0;
  *vk = (em_vk){0};
  EM_TRY(open_instance(vk, error));
  EM_TRY(enumerate(vk, devices, &n, error));
  if (index >= n) {
    status = em_fail(error, EM_ERR_UNSUPPORTED, "there is no device vulkan:%u (this computer has %u)", index, n);
    goto fail;
  }
  vk->physical = devices[index];
  read_limits(vk);
  EM_TRY(check_features(vk, error));
  read_abilities(vk);
  EM_TRY(choose_queue(vk, error));
  VkPhysicalDeviceVulkan12Features twelve = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
                                             .bufferDeviceAddress = VK_TRUE,
                                             .timelineSemaphore = VK_TRUE,
                                             .scalarBlockLayout = VK_TRUE};
  const char *extensions[4];
  uint32_t n_extensions = 0;
  vk->has_budget = has_extension(vk, vk->physical, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  if (vk->has_budget)
    extensions[n_extensions++] = VK_EXT_MEMORY_BUDGET_EXTENSION_NAME;
  /* Only where the device's memory is nothing but memory of this process. */
  vk->imports = vk->software && has_extension(vk, vk->physical, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME);
  if (vk->imports) {
    extensions[n_extensions++] = VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME;
    VkPhysicalDeviceExternalMemoryHostPropertiesEXT host = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT};
    VkPhysicalDeviceProperties2 properties = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2, .pNext = &host};
    vk->fn.GetPhysicalDeviceProperties2(vk->physical, &properties);
    vk->import_alignment = host.minImportedHostPointerAlignment ? host.minImportedHostPointerAlignment : 1;
  }
  const VkDeviceQueueCreateInfo queues[2] = {{.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                              .queueFamilyIndex = vk->queue_family,
                                              .queueCount = 1,
                                              .pQueuePriorities = &(float){1.0f}},
                                             {.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
                                              .queueFamilyIndex = vk->upload_family,
                                              .queueCount = 1,
                                              .pQueuePriorities = &(float){1.0f}}};
  VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dot = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR,
      .shaderIntegerDotProduct = VK_TRUE};
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR matrices = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR, .cooperativeMatrix = VK_TRUE};
  twelve.shaderFloat16 = vk->abilities & EM_VK_HALVES ? VK_TRUE : VK_FALSE;
  if (vk->abilities & EM_VK_MATRICES) {
    twelve.pNext = &matrices;
    twelve.vulkanMemoryModel = VK_TRUE;
    extensions[n_extensions++] = VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME;
  }
  if (vk->abilities & EM_VK_DOTS) {
    dot.pNext = twelve.pNext;
    twelve.pNext = &dot;
    extensions[n_extensions++] = VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME;
  }
  VkDeviceCreateInfo info = {
      .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
      .pNext = &twelve,
      .pEnabledFeatures = &(VkPhysicalDeviceFeatures){.shaderInt64 = VK_TRUE},
      .queueCreateInfoCount = vk->upload_family != vk->queue_family ? 2 : 1,
      .pQueueCreateInfos = queues,
      .enabledExtensionCount = n_extensions,
      .ppEnabledExtensionNames = extensions,
  };
  VkResult result = vk->fn.CreateDevice(vk->physical, &info, NULL, &vk->device);
  if (result != VK_SUCCESS)
    vk->device = VK_NULL_HANDLE;
  EM_TRY(em_vk_result(vk, result, "creating the device", error));
#define X(name)                                                                                     \
  vk->fn.name = (PFN_vk##name)vk->fn.GetDeviceProcAddr(vk->device, "vk" #name);                     \
  if (!vk->fn.name) {                                                                               \
    status = em_fail(error, EM_ERR_UNSUPPORTED, "the graphics driver is too old (no vk" #name ")"); \
    goto fail;                                                                                      \
  }
  EM_VK_DEVICE_FUNCTIONS(X)
#undef X
  /* A layer may know these functions though the instance did not ask for them. */
  if (vk->has_debug_utils) {
#define X(name) vk->fn.name = (PFN_vk##name)vk->fn.GetDeviceProcAddr(vk->device, "vk" #name);
    EM_VK_DEBUG_FUNCTIONS(X)
#undef X
  }
  if (vk->imports) {
#define X(name) vk->fn.name = (PFN_vk##name)vk->fn.GetDeviceProcAddr(vk->device, "vk" #name);
    EM_VK_IMPORT_FUNCTIONS(X)
#undef X
    vk->imports = vk->fn.GetMemoryHostPointerPropertiesEXT != NULL;
  }
  if (em_vk_hook)
    em_vk_hook(&vk->fn);
  vk->fn.GetDeviceQueue(vk->device, vk->queue_family, 0, &vk->queue);
  vk->fn.GetDeviceQueue(vk->device, vk->upload_family, 0, &vk->upload_queue);
  VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                  .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
                                  .queueFamilyIndex = vk->queue_family};
  result = vk->fn.CreateCommandPool(vk->device, &pool, NULL, &vk->commands);
  if (result != VK_SUCCESS)
    vk->commands = VK_NULL_HANDLE;
  EM_TRY(em_vk_result(vk, result, "making a command pool", error));
  VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                    .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
  VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
  result = vk->fn.CreateSemaphore(vk->device, &semaphore, NULL, &vk->timeline);
  if (result != VK_SUCCESS)
    vk->timeline = VK_NULL_HANDLE;
  EM_TRY(em_vk_result(vk, result, "making a semaphore", error));
  em_vk_name(vk, VK_OBJECT_TYPE_SEMAPHORE, (uint64_t)(uintptr_t)vk->timeline, "steps");
  return EM_OK;
fail:
  em_vk_close(vk);
  return status;
}

static VkResult wait_for(em_vk *vk, VkSemaphore timeline, uint64_t value, uint64_t timeout_ns) {
  VkSemaphoreWaitInfo wait = {
      .sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO, .semaphoreCount = 1, .pSemaphores = &timeline, .pValues = &value};
  return vk->fn.WaitSemaphores(vk->device, &wait, timeout_ns);
}

bool em_vk_may_free(em_vk *vk) {
  if (vk->failed && !vk->settled) {
    vk->settled = true;
    /* A device that was lost has stopped: Vulkan counts its work as done. */
    VkResult result = vk->submitted > 0 ? wait_for(vk, vk->timeline, vk->submitted, EM_VK_SETTLE_NS) : VK_SUCCESS;
    if (result == VK_SUCCESS && vk->uploads.submitted > 0)
      result = wait_for(vk, vk->uploads.timeline, vk->uploads.submitted, EM_VK_SETTLE_NS);
    vk->hung = result != VK_SUCCESS && result != VK_ERROR_DEVICE_LOST;
    if (vk->hung)
      em_log(EM_LOG_INFO, "vulkan: %s hangs; what it may still use is not freed", vk->properties.deviceName);
  }
  return !vk->hung;
}

void em_vk_close(em_vk *vk) {
  if (!em_vk_may_free(vk)) {
    em_vk_uploads_close(vk);
    em_vk_forget_blocks(vk);
    *vk = (em_vk){.failed = true};
    return;
  }
  if (vk->device) {
    if (!vk->failed && vk->fn.DeviceWaitIdle)
      vk->fn.DeviceWaitIdle(vk->device);
    em_vk_uploads_close(vk);
    if (vk->timeline)
      vk->fn.DestroySemaphore(vk->device, vk->timeline, NULL);
    if (vk->commands)
      vk->fn.DestroyCommandPool(vk->device, vk->commands, NULL);
    if (vk->fn.DestroyDevice)
      vk->fn.DestroyDevice(vk->device, NULL);
  }
  if (vk->messenger)
    vk->fn.DestroyDebugUtilsMessengerEXT(vk->instance, vk->messenger, NULL);
  if (vk->instance && vk->fn.DestroyInstance)
    vk->fn.DestroyInstance(vk->instance, NULL);
  if (vk->loader)
    dlclose(vk->loader);
  *vk = (em_vk){.failed = vk->failed};
}

void em_vk_name(em_vk *vk, VkObjectType type, uint64_t object, const char *format, ...) {
  if (!vk->fn.SetDebugUtilsObjectNameEXT)
    return;
  char name[96];
  va_list args;
  va_start(args, format);
  vsnprintf(name, sizeof name, format, args);
  va_end(args);
  VkDebugUtilsObjectNameInfoEXT info = {.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_OBJECT_NAME_INFO_EXT,
                                        .objectType = type,
                                        .objectHandle = object,
                                        .pObjectName = name};
  vk->fn.SetDebugUtilsObjectNameEXT(vk->device, &info);
}

em_status em_vk_push(em_vk *vk, const VkCommandBuffer *commands, uint32_t n, const char *what, em_error *error) {
  if (vk->failed)
    return em_fail(error, EM_ERR_DEVICE, "the graphics device failed earlier");
  uint64_t value = vk->submitted + 1;
  const uint64_t uploaded = vk->uploads.submitted;
  const bool waits = uploaded > vk->uploads.awaited;
  VkTimelineSemaphoreSubmitInfo timeline = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                            .waitSemaphoreValueCount = waits ? 1 : 0,
                                            .pWaitSemaphoreValues = &uploaded,
                                            .signalSemaphoreValueCount = 1,
                                            .pSignalSemaphoreValues = &value};
  VkSubmitInfo submit = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                         .pNext = &timeline,
                         .waitSemaphoreCount = waits ? 1 : 0,
                         .pWaitSemaphores = &vk->uploads.timeline,
                         .pWaitDstStageMask = &(VkPipelineStageFlags){VK_PIPELINE_STAGE_ALL_COMMANDS_BIT},
                         .commandBufferCount = n,
                         .pCommandBuffers = commands,
                         .signalSemaphoreCount = 1,
                         .pSignalSemaphores = &vk->timeline};
  em_status status = em_vk_result(vk, vk->fn.QueueSubmit(vk->queue, 1, &submit, VK_NULL_HANDLE), what, error);
  if (status == EM_OK) {
    vk->submitted = value;
    vk->uploads.awaited = uploaded;
  }
  return status;
}

em_status em_vk_wait_on(em_vk *vk, VkSemaphore timeline, uint64_t value, const char *what, em_error *error) {
  /* A layer may give it the type of a card; it is as slow all the same. */
  bool pretends = vk->software || vk->driver.driverID == VK_DRIVER_ID_MESA_LLVMPIPE;
  VkResult result = wait_for(vk, timeline, value, pretends ? 10 * EM_VK_WAIT_NS : EM_VK_WAIT_NS);
  if (result == VK_SUCCESS)
    return EM_OK;
  /* Whatever the reason, work may still be running: nothing of this device may be touched any more. */
  vk->failed = true;
  return em_fail(error, EM_ERR_DEVICE, "%s (%s, result %d)", result_word(result), what, (int)result);
}

em_status em_vk_wait(em_vk *vk, uint64_t value, const char *what, em_error *error) {
  return em_vk_wait_on(vk, vk->timeline, value, what, error);
}

em_status em_vk_submit(em_vk *vk, VkCommandBuffer commands, const char *what, em_error *error) {
  em_status status = em_vk_push(vk, &commands, 1, what, error);
  return status == EM_OK ? em_vk_wait(vk, vk->submitted, what, error) : status;
}
