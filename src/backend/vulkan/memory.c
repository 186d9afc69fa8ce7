/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Device memory: buffers side by side in blocks, arrays cut into segments, and what may still be allocated. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backend/vulkan/vk.h"
#include "base/checked.h"

#define NO_TYPE UINT32_MAX
/* Buffers share blocks of this size; one that takes more than a thirty-second part of a block has its own memory, so
 * that little of a block stays empty. */
#define BLOCK_BYTES (16ull << 20)
#define HOST_BLOCK_BYTES (2ull << 20)
#define SHARE 32u
/* Of a processor that pretends to be a GPU. Only what is written becomes memory there. */
#define SOFTWARE_BLOCK_BYTES (256ull << 20)
#define HUGE_PAGE_BYTES (2ull << 20)

struct em_vk_block {
  struct em_vk_block *next;
  VkDeviceMemory memory;
  uint32_t type;
  em_vk_place place;
  uint64_t bytes, used;
  uint32_t n_users;
  char *mapped;
  void *mapping; /* the host's own memory that was given to the device, or NULL */
  size_t mapping_bytes;
};

/* Memory that needs features of its own, or is not there before it is used. */
#define NEVER                                                                   \
  (VK_MEMORY_PROPERTY_LAZILY_ALLOCATED_BIT | VK_MEMORY_PROPERTY_PROTECTED_BIT | \
   VK_MEMORY_PROPERTY_DEVICE_COHERENT_BIT_AMD | VK_MEMORY_PROPERTY_DEVICE_UNCACHED_BIT_AMD)

/* The first memory type among those allowed that has all wanted flags, or NO_TYPE. */
static uint32_t find_type(const em_vk *vk, uint32_t allowed, VkMemoryPropertyFlags wanted) {
  for (uint32_t i = 0; i < vk->memory.memoryTypeCount; i++)
    if ((allowed >> i & 1) && (vk->memory.memoryTypes[i].propertyFlags & (wanted | NEVER)) == wanted)
      return i;
  return NO_TYPE;
}

static uint32_t choose_type(const em_vk *vk, em_vk_place place, uint32_t allowed) {
  const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
  const VkMemoryPropertyFlags host = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  const VkMemoryPropertyFlags cached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  VkMemoryPropertyFlags wishes[3] = {0};
  switch (place) {
  case EM_VK_DEVICE:
  case EM_VK_WEIGHTS:
    wishes[0] = vk->unified || vk->writable ? local | host : local;
    wishes[1] = local;
    break;
  case EM_VK_HOST:
    wishes[0] = vk->unified || vk->writable ? local | host : host;
    wishes[1] = wishes[2] = host;
    break;
  case EM_VK_READBACK:
    wishes[0] = host | cached;
    wishes[1] = wishes[2] = host;
    break;
  case EM_VK_N_PLACES:
    return NO_TYPE;
  }
  for (unsigned i = 0; i < 3; i++) {
    uint32_t type = find_type(vk, allowed, wishes[i]);
    if (type != NO_TYPE)
      return type;
  }
  return NO_TYPE;
}

void em_vk_read_memory(em_vk *vk) {
  const VkMemoryPropertyFlags both =
      VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  uint64_t largest = 0;
  for (uint32_t i = 0; i < vk->memory.memoryHeapCount; i++)
    if (vk->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT && vk->memory.memoryHeaps[i].size > largest)
      largest = vk->memory.memoryHeaps[i].size;
  uint32_t type = find_type(vk, UINT32_MAX, both);
  bool shares = vk->software || vk->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
  vk->unified = shares && type != NO_TYPE;
  /* Without a resizable BAR the host sees a window of 256 MiB, which is better left to those who need it. */
  vk->writable = false;
  for (uint32_t i = 0; !shares && i < vk->memory.memoryTypeCount; i++)
    vk->writable |= (vk->memory.memoryTypes[i].propertyFlags & both) == both &&
                    vk->memory.memoryHeaps[vk->memory.memoryTypes[i].heapIndex].size >= largest;
}

uint64_t em_vk_available(const em_vk *vk) {
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget = {
      .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT};
  VkPhysicalDeviceMemoryProperties2 memory = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2,
                                              .pNext = vk->has_budget ? &budget : NULL};
  vk->fn.GetPhysicalDeviceMemoryProperties2(vk->physical, &memory);
  bool integrated = vk->properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU;
  uint64_t sum = 0, largest = 0;
  for (uint32_t i = 0; i < vk->memory.memoryHeapCount; i++) {
    if (!(vk->memory.memoryHeaps[i].flags & VK_MEMORY_HEAP_DEVICE_LOCAL_BIT))
      continue;
    /* Without a budget a sixteenth is left to what the desktop shows. */
    uint64_t bytes = vk->memory.memoryHeaps[i].size - vk->memory.memoryHeaps[i].size / 16;
    if (vk->has_budget)
      bytes = budget.heapBudget[i] > budget.heapUsage[i] ? budget.heapBudget[i] - budget.heapUsage[i] : 0;
    sum = em_add_u64(sum, bytes, &sum) ? sum : UINT64_MAX;
    largest = bytes > largest ? bytes : largest;
  }
  return integrated ? sum : largest;
}

uint64_t em_vk_reserve(const em_vk *vk) {
  return vk->imports ? 0 : 3 * BLOCK_BYTES + 2 * HOST_BLOCK_BYTES;
}

/* --- Blocks --- */

/* Gives the device memory of the host: huge pages, known to be zero, where the driver's own would be small pages that
 * may have been used before. A failure is no error, the driver is asked next. */
static void import_block(em_vk *vk, em_vk_block *block) {
  size_t bytes = 0, mapping_bytes;
  if (block->bytes % vk->import_alignment != 0 || !em_to_size(block->bytes, &bytes) ||
      !em_add_size(bytes, HUGE_PAGE_BYTES, &mapping_bytes))
    return;
  void *mapping = mmap(NULL, mapping_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED)
    return;
  char *start = (char *)(((uintptr_t)mapping + HUGE_PAGE_BYTES - 1) & ~(uintptr_t)(HUGE_PAGE_BYTES - 1));
  (void)madvise(start, bytes, MADV_HUGEPAGE);
  VkMemoryHostPointerPropertiesEXT host = {.sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
  VkResult known = vk->fn.GetMemoryHostPointerPropertiesEXT(
      vk->device, VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT, start, &host);
  VkImportMemoryHostPointerInfoEXT import = {.sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
                                             .handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
                                             .pHostPointer = start};
  VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                     .pNext = &import,
                                     .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
  VkMemoryAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                   .pNext = &flags,
                                   .allocationSize = block->bytes,
                                   .memoryTypeIndex = block->type};
  if (known != VK_SUCCESS || !(host.memoryTypeBits >> block->type & 1) ||
      vk->fn.AllocateMemory(vk->device, &allocate, NULL, &block->memory) != VK_SUCCESS) {
    block->memory = VK_NULL_HANDLE;
    munmap(mapping, mapping_bytes);
    return;
  }
  block->mapping = mapping;
  block->mapping_bytes = mapping_bytes;
}

static void free_block(em_vk *vk, em_vk_block *block) {
  if (block->memory)
    vk->fn.FreeMemory(vk->device, block->memory, NULL);
  if (block->mapping)
    munmap(block->mapping, block->mapping_bytes);
  free(block);
}

void em_vk_forget_blocks(em_vk *vk) {
  while (vk->blocks) {
    em_vk_block *next = vk->blocks->next;
    free(vk->blocks);
    vk->blocks = next;
  }
}

static em_status new_block(em_vk *vk, em_vk_place place, uint32_t type, uint64_t bytes, const char *name,
                           em_vk_block **out, em_error *error) {
  em_status status = EM_OK;
  em_vk_block *block = em_calloc(1, sizeof *block);
  if (!block)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  block->place = place;
  block->type = type;
  block->bytes = bytes;
  vk->n_made++;
  if (vk->imports)
    import_block(vk, block);
  if (!block->memory) {
    VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                       .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
    VkMemoryAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                     .pNext = &flags,
                                     .allocationSize = bytes,
                                     .memoryTypeIndex = type};
    VkResult result = vk->fn.AllocateMemory(vk->device, &allocate, NULL, &block->memory);
    if (result != VK_SUCCESS)
      block->memory = VK_NULL_HANDLE;
    EM_TRY(em_vk_result(vk, result, name, error));
  }
  /* What is not coherent is left to copies by the device. */
  const VkMemoryPropertyFlags host = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  if ((vk->memory.memoryTypes[type].propertyFlags & host) == host) {
    void *mapped = NULL;
    EM_TRY(em_vk_result(vk, vk->fn.MapMemory(vk->device, block->memory, 0, VK_WHOLE_SIZE, 0, &mapped), name, error));
    block->mapped = mapped;
  }
  em_vk_name(vk, VK_OBJECT_TYPE_DEVICE_MEMORY, (uint64_t)(uintptr_t)block->memory, "%s and on", name);
  block->next = vk->blocks;
  vk->blocks = block;
  *out = block;
  return EM_OK;
fail:
  free_block(vk, block);
  return status;
}

/* A place for a buffer: in a block that has room, in a new one, or in memory of its own. */
static em_status take(em_vk *vk, const VkMemoryRequirements *needs, em_vk_place place, uint32_t type, const char *name,
                      em_vk_block **out, uint64_t *offset, em_error *error) {
  bool on_host = place == EM_VK_HOST || place == EM_VK_READBACK;
  uint64_t block_bytes = on_host ? HOST_BLOCK_BYTES : vk->imports ? SOFTWARE_BLOCK_BYTES : BLOCK_BYTES;
  block_bytes = block_bytes < vk->max_allocation_bytes ? block_bytes : vk->max_allocation_bytes;
  bool shares = needs->size <= (vk->imports && !on_host ? block_bytes : block_bytes / SHARE);
  for (em_vk_block *block = shares ? vk->blocks : NULL; block; block = block->next) {
    uint64_t start;
    if (block->place == place && block->type == type && em_align_up_u64(block->used, needs->alignment, &start) &&
        start <= block->bytes && needs->size <= block->bytes - start) {
      *out = block;
      *offset = start;
      return EM_OK;
    }
  }
  *offset = 0;
  if (shares) {
    em_error whole = {0};
    em_status status = new_block(vk, place, type, block_bytes, name, out, &whole);
    /* What is left of a small device's memory may hold the buffer and no whole block. */
    if (status != EM_ERR_NO_MEMORY || vk->failed) {
      if (status != EM_OK && error && error->code == EM_OK)
        *error = whole;
      return status;
    }
  }
  return new_block(vk, place, type, needs->size, name, out, error);
}

static void give_back(em_vk *vk, em_vk_block *block) {
  if (--block->n_users > 0)
    return;
  em_vk_block **link = &vk->blocks;
  while (*link != block)
    link = &(*link)->next;
  *link = block->next;
  free_block(vk, block);
}

/* --- Buffers --- */

static em_status fill_zero(em_vk *vk, em_vk_buffer *buffer, em_error *error) {
  if (buffer->block->mapping && buffer->bytes >= HUGE_PAGE_BYTES)
    return EM_OK; /* fresh from the system, and touching all of it would take it */
  if (buffer->mapped) {
    memset(buffer->mapped, 0, buffer->bytes);
    return EM_OK;
  }
  return em_vk_clear(vk, buffer, error);
}

em_status em_vk_buffer_new(em_vk *vk, em_vk_place place, uint64_t bytes, const char *name, em_vk_buffer *out,
                           em_error *error) {
  em_status status = EM_OK;
  *out = (em_vk_buffer){0};
  if (vk->failed)
    return em_fail(error, EM_ERR_DEVICE, "the graphics device failed earlier");
  bytes = bytes < 16 ? 16 : (bytes + 15) & ~15ull;
  if (bytes > vk->max_allocation_bytes)
    return em_fail(error, EM_ERR_UNSUPPORTED, "%s needs %llu bytes in one piece; the graphics device allows %llu", name,
                   (unsigned long long)bytes, (unsigned long long)vk->max_allocation_bytes);
  const uint32_t families[] = {vk->queue_family, vk->upload_family};
  bool two = vk->queue_family != vk->upload_family;
  VkExternalMemoryBufferCreateInfo external = {.sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO,
                                               .handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT};
  VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                             .pNext = vk->imports ? &external : NULL,
                             .size = bytes,
                             .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
                                      VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                                      VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT,
                             .sharingMode = two ? VK_SHARING_MODE_CONCURRENT : VK_SHARING_MODE_EXCLUSIVE,
                             .queueFamilyIndexCount = two ? 2 : 0,
                             .pQueueFamilyIndices = two ? families : NULL};
  vk->n_made++;
  VkResult result = vk->fn.CreateBuffer(vk->device, &info, NULL, &out->buffer);
  if (result != VK_SUCCESS)
    out->buffer = VK_NULL_HANDLE;
  EM_TRY(em_vk_result(vk, result, name, error));
  out->bytes = bytes;
  VkMemoryRequirements needs;
  vk->fn.GetBufferMemoryRequirements(vk->device, out->buffer, &needs);
  uint32_t type = choose_type(vk, place, needs.memoryTypeBits);
  if (type == NO_TYPE) {
    status = em_fail(error, EM_ERR_UNSUPPORTED, "the graphics device has no memory that %s could use", name);
    goto fail;
  }
  em_vk_block *block;
  uint64_t offset;
  EM_TRY(take(vk, &needs, place, type, name, &block, &offset, error));
  block->n_users++;
  block->used = offset + needs.size;
  out->block = block;
  EM_TRY(em_vk_result(vk, vk->fn.BindBufferMemory(vk->device, out->buffer, block->memory, offset), name, error));
  out->mapped = block->mapped ? block->mapped + offset : NULL;
  out->cached = (vk->memory.memoryTypes[type].propertyFlags & VK_MEMORY_PROPERTY_HOST_CACHED_BIT) != 0;
  VkBufferDeviceAddressInfo address = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = out->buffer};
  out->address = vk->fn.GetBufferDeviceAddress(vk->device, &address);
  em_vk_name(vk, VK_OBJECT_TYPE_BUFFER, (uint64_t)(uintptr_t)out->buffer, "%s", name);
  if (place != EM_VK_WEIGHTS)
    EM_TRY(fill_zero(vk, out, error));
  return EM_OK;
fail:
  em_vk_buffer_free(vk, out);
  return status;
}

void em_vk_buffer_free(em_vk *vk, em_vk_buffer *buffer) {
  if (buffer->buffer)
    em_vk_finish_uploads(vk);
  bool may_free = em_vk_may_free(vk);
  if (buffer->buffer && may_free)
    vk->fn.DestroyBuffer(vk->device, buffer->buffer, NULL);
  if (buffer->block && may_free)
    give_back(vk, buffer->block);
  *buffer = (em_vk_buffer){0};
}

/* --- Segments --- */

em_status em_vk_segments_size(const em_vk *vk, uint64_t n_units, uint64_t unit_bytes, const char *name,
                              em_vk_segments *out, em_error *error) {
  *out = (em_vk_segments){.unit_bytes = unit_bytes};
  if (unit_bytes > vk->max_allocation_bytes)
    return em_fail(error, EM_ERR_UNSUPPORTED, "%s needs pieces of %llu bytes; the graphics device allows %llu", name,
                   (unsigned long long)unit_bytes, (unsigned long long)vk->max_allocation_bytes);
  out->units_per_segment = vk->max_allocation_bytes / unit_bytes;
  if (out->units_per_segment > EM_VK_MAX_GROUPS)
    out->units_per_segment = EM_VK_MAX_GROUPS;
  if (n_units < out->units_per_segment)
    out->units_per_segment = n_units == 0 ? 1 : n_units;
  uint64_t n = (n_units + out->units_per_segment - 1) / out->units_per_segment;
  if (n == 0)
    n = 1;
  if (n > UINT32_MAX)
    return em_fail(error, EM_ERR_TOO_BIG, "%s is too large for the graphics device", name);
  out->n = (uint32_t)n;
  return EM_OK;
}

em_status em_vk_segments_new(em_vk *vk, em_vk_place place, uint64_t n_units, uint64_t unit_bytes, bool with_table,
                             const char *name, em_vk_segments *out, em_error *error) {
  em_status status = em_vk_segments_size(vk, n_units, unit_bytes, name, out, error);
  if (status != EM_OK)
    return status;
  uint64_t *addresses = NULL, n = out->n;
  out->n = 0;
  out->buffers = em_calloc((size_t)n, sizeof *out->buffers);
  addresses = em_calloc((size_t)n, sizeof *addresses);
  if (!out->buffers || !addresses) {
    status = em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
    goto fail;
  }
  for (uint64_t i = 0; i < n; i++) {
    uint64_t first = i * out->units_per_segment;
    uint64_t units = n_units - first < out->units_per_segment ? n_units - first : out->units_per_segment;
    EM_TRY(em_vk_buffer_new(vk, place, units * unit_bytes, name, &out->buffers[i], error));
    out->n = (uint32_t)i + 1;
    addresses[i] = out->buffers[i].address;
  }
  if (with_table) {
    EM_TRY(em_vk_buffer_new(vk, place, n * sizeof *addresses, name, &out->addresses, error));
    EM_TRY(em_vk_write(vk, &out->addresses, 0, addresses, n * sizeof *addresses, error));
  }
  free(addresses);
  return EM_OK;
fail:
  free(addresses);
  em_vk_segments_free(vk, out);
  return status;
}

void em_vk_segments_free(em_vk *vk, em_vk_segments *segments) {
  for (uint32_t i = 0; segments->buffers && i < segments->n; i++)
    em_vk_buffer_free(vk, &segments->buffers[i]);
  em_vk_buffer_free(vk, &segments->addresses);
  free(segments->buffers);
  *segments = (em_vk_segments){0};
}
