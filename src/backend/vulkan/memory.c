/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "backend/vulkan/vk.h"
#include "base/checked.h"

#define NO_TYPE UINT32_MAX
#define STAGING_BYTES (16u << 20)

/* The first memory type among those allowed that has all wanted flags, or NO_TYPE. */
static uint32_t find_type(const em_vk *vk, uint32_t allowed, VkMemoryPropertyFlags wanted) {
  for (uint32_t i = 0; i < vk->memory.memoryTypeCount; i++)
    if ((allowed >> i & 1) && (vk->memory.memoryTypes[i].propertyFlags & wanted) == wanted)
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
    wishes[0] = vk->unified ? local | host : local;
    wishes[1] = local;
    break;
  case EM_VK_HOST:
    wishes[0] = vk->unified ? local | host : host;
    wishes[1] = wishes[2] = host;
    break;
  case EM_VK_READBACK:
    wishes[0] = host | cached;
    wishes[1] = wishes[2] = host;
    break;
  }
  for (unsigned i = 0; i < 3; i++) {
    uint32_t type = find_type(vk, allowed, wishes[i]);
    if (type != NO_TYPE)
      return type;
  }
  return NO_TYPE;
}

static em_status fill_zero(em_vk *vk, em_vk_buffer *buffer, em_error *error);

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
  VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
                             .size = bytes,
                             .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
                                      VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
                                      VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT,
                             .sharingMode = VK_SHARING_MODE_EXCLUSIVE};
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
  VkMemoryAllocateFlagsInfo flags = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
                                     .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT};
  VkMemoryAllocateInfo allocate = {.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
                                   .pNext = &flags,
                                   .allocationSize = needs.size,
                                   .memoryTypeIndex = type};
  result = vk->fn.AllocateMemory(vk->device, &allocate, NULL, &out->memory);
  if (result != VK_SUCCESS)
    out->memory = VK_NULL_HANDLE;
  EM_TRY(em_vk_result(vk, result, name, error));
  EM_TRY(em_vk_result(vk, vk->fn.BindBufferMemory(vk->device, out->buffer, out->memory, 0), name, error));
  if (vk->memory.memoryTypes[type].propertyFlags & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) {
    result = vk->fn.MapMemory(vk->device, out->memory, 0, VK_WHOLE_SIZE, 0, &out->mapped);
    if (result != VK_SUCCESS)
      out->mapped = NULL;
    EM_TRY(em_vk_result(vk, result, name, error));
  }
  VkBufferDeviceAddressInfo address = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO, .buffer = out->buffer};
  out->address = vk->fn.GetBufferDeviceAddress(vk->device, &address);
  em_vk_name(vk, VK_OBJECT_TYPE_BUFFER, (uint64_t)(uintptr_t)out->buffer, "%s", name);
  em_vk_name(vk, VK_OBJECT_TYPE_DEVICE_MEMORY, (uint64_t)(uintptr_t)out->memory, "%s", name);
  EM_TRY(fill_zero(vk, out, error));
  return EM_OK;
fail:
  em_vk_buffer_free(vk, out);
  return status;
}

void em_vk_buffer_free(em_vk *vk, em_vk_buffer *buffer) {
  bool may_free = em_vk_may_free(vk);
  if (buffer->buffer && may_free)
    vk->fn.DestroyBuffer(vk->device, buffer->buffer, NULL);
  if (buffer->memory && may_free)
    vk->fn.FreeMemory(vk->device, buffer->memory, NULL);
  *buffer = (em_vk_buffer){0};
}

/* --- Copies --- */

em_status em_vk_begin(em_vk *vk, VkCommandBuffer *out, em_error *error) {
  VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                      .commandPool = vk->commands,
                                      .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                      .commandBufferCount = 1};
  *out = VK_NULL_HANDLE;
  if (vk->failed)
    return em_fail(error, EM_ERR_DEVICE, "the graphics device failed earlier");
  vk->n_made++;
  em_status status = em_vk_result(vk, vk->fn.AllocateCommandBuffers(vk->device, &info, out), "preparing a copy", error);
  if (status != EM_OK)
    return status;
  VkCommandBufferBeginInfo start = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                    .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
  status = em_vk_result(vk, vk->fn.BeginCommandBuffer(*out, &start), "preparing a copy", error);
  if (status != EM_OK)
    vk->fn.FreeCommandBuffers(vk->device, vk->commands, 1, out);
  return status;
}

em_status em_vk_finish(em_vk *vk, VkCommandBuffer commands, const char *what, em_error *error) {
  em_status status = em_vk_result(vk, vk->fn.EndCommandBuffer(commands), what, error);
  if (status == EM_OK)
    status = em_vk_submit(vk, commands, what, error);
  /* After a failed wait the device may still run it; it goes with the pool. */
  if (!vk->failed)
    vk->fn.FreeCommandBuffers(vk->device, vk->commands, 1, &commands);
  return status;
}

static em_status fill_zero(em_vk *vk, em_vk_buffer *buffer, em_error *error) {
  if (buffer->mapped) {
    /* Software devices hand out fresh zero pages; touching them all would take them. */
    if (!vk->software || buffer->bytes < (1u << 20))
      memset(buffer->mapped, 0, buffer->bytes);
    return EM_OK;
  }
  VkCommandBuffer commands;
  em_status status = em_vk_begin(vk, &commands, error);
  if (status != EM_OK)
    return status;
  vk->fn.CmdFillBuffer(commands, buffer->buffer, 0, VK_WHOLE_SIZE, 0);
  return em_vk_finish(vk, commands, "clearing memory", error);
}

static em_status make_staging(em_vk *vk, em_error *error) {
  em_vk_buffer *staging = em_calloc(1, sizeof *staging);
  if (!staging)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  em_status status = em_vk_buffer_new(vk, EM_VK_HOST, STAGING_BYTES, "staging", staging, error);
  if (status == EM_OK)
    vk->staging = staging;
  else
    free(staging);
  return status;
}

em_status em_vk_write(em_vk *vk, em_vk_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes,
                      em_error *error) {
  em_status status = EM_OK;
  if (vk->failed)
    return em_fail(error, EM_ERR_DEVICE, "the graphics device failed earlier");
  if (buffer->mapped) {
    memcpy((char *)buffer->mapped + offset, data, bytes);
    return EM_OK;
  }
  if (!vk->staging)
    EM_TRY(make_staging(vk, error));
  for (uint64_t done = 0; done < bytes;) {
    uint64_t part = bytes - done < STAGING_BYTES ? bytes - done : STAGING_BYTES;
    memcpy(vk->staging->mapped, (const char *)data + done, part);
    VkCommandBuffer commands;
    EM_TRY(em_vk_begin(vk, &commands, error));
    VkBufferCopy region = {.srcOffset = 0, .dstOffset = offset + done, .size = part};
    vk->fn.CmdCopyBuffer(commands, vk->staging->buffer, buffer->buffer, 1, &region);
    EM_TRY(em_vk_finish(vk, commands, "copying to the graphics device", error));
    done += part;
  }
fail:
  return status;
}

/* --- Segments --- */

em_status em_vk_segments_size(const em_vk *vk, uint64_t n_units, uint64_t unit_bytes, const char *name,
                              em_vk_segments *out, em_error *error) {
  *out = (em_vk_segments){.unit_bytes = unit_bytes};
  if (unit_bytes > vk->max_allocation_bytes)
    return em_fail(error, EM_ERR_UNSUPPORTED, "%s needs pieces of %llu bytes; the graphics device allows %llu", name,
                   (unsigned long long)unit_bytes, (unsigned long long)vk->max_allocation_bytes);
  out->units_per_segment = vk->max_allocation_bytes / unit_bytes;
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

em_status em_vk_segments_new(em_vk *vk, uint64_t n_units, uint64_t unit_bytes, bool with_table, const char *name,
                             em_vk_segments *out, em_error *error) {
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
    EM_TRY(em_vk_buffer_new(vk, EM_VK_DEVICE, units * unit_bytes, name, &out->buffers[i], error));
    out->n = (uint32_t)i + 1;
    addresses[i] = out->buffers[i].address;
  }
  if (with_table) {
    EM_TRY(em_vk_buffer_new(vk, EM_VK_DEVICE, n * sizeof *addresses, name, &out->addresses, error));
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
