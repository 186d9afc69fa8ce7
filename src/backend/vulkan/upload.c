/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Uploads to memory that the host cannot write: a ring of chunks in host memory, each copied while the next are filled.
 */
#include <string.h>

#include "backend/vulkan/vk.h"

#define STAGING_BYTES (32u << 20)

static const char copying[] = "copying to the graphics device";

static em_status make_chunk(em_vk *vk, uint32_t i, em_error *error) {
  em_status status = EM_OK;
  em_vk_chunk *chunk = &vk->uploads.chunks[i];
  VkCommandPoolCreateInfo pool = {.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
                                  .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT |
                                           VK_COMMAND_POOL_CREATE_TRANSIENT_BIT,
                                  .queueFamilyIndex = vk->upload_family};
  VkResult result = vk->fn.CreateCommandPool(vk->device, &pool, NULL, &chunk->pool);
  if (result != VK_SUCCESS)
    chunk->pool = VK_NULL_HANDLE;
  EM_TRY(em_vk_result(vk, result, "preparing uploads", error));
  em_vk_name(vk, VK_OBJECT_TYPE_COMMAND_POOL, (uint64_t)(uintptr_t)chunk->pool, "upload %u", i);
  VkCommandBufferAllocateInfo info = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
                                      .commandPool = chunk->pool,
                                      .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
                                      .commandBufferCount = 1};
  EM_TRY(
      em_vk_result(vk, vk->fn.AllocateCommandBuffers(vk->device, &info, &chunk->commands), "preparing uploads", error));
  em_vk_name(vk, VK_OBJECT_TYPE_COMMAND_BUFFER, (uint64_t)(uintptr_t)chunk->commands, "upload %u", i);
  chunk->offset = i * vk->uploads.chunk_bytes;
  chunk->mapped = (char *)vk->uploads.staging.mapped + chunk->offset;
fail:
  return status;
}

em_status em_vk_uploads_open(em_vk *vk, em_error *error) {
  em_status status = EM_OK;
  em_vk_uploads *uploads = &vk->uploads;
  if (uploads->is_open)
    return EM_OK;
  pthread_mutex_init(&uploads->lock, NULL);
  pthread_cond_init(&uploads->returned, NULL);
  uploads->is_open = true;
  uint64_t bytes = vk->max_allocation_bytes < STAGING_BYTES ? vk->max_allocation_bytes : STAGING_BYTES;
  uploads->chunk_bytes = bytes / EM_VK_N_CHUNKS & ~15ull;
  VkSemaphoreTypeCreateInfo type = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO,
                                    .semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE};
  VkSemaphoreCreateInfo semaphore = {.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO, .pNext = &type};
  VkResult result = vk->fn.CreateSemaphore(vk->device, &semaphore, NULL, &uploads->timeline);
  if (result != VK_SUCCESS)
    uploads->timeline = VK_NULL_HANDLE;
  EM_TRY(em_vk_result(vk, result, "preparing uploads", error));
  em_vk_name(vk, VK_OBJECT_TYPE_SEMAPHORE, (uint64_t)(uintptr_t)uploads->timeline, "uploads");
  EM_TRY(em_vk_buffer_new(vk, EM_VK_HOST, uploads->chunk_bytes * EM_VK_N_CHUNKS, "staging", &uploads->staging, error));
  for (uint32_t i = 0; i < EM_VK_N_CHUNKS; i++)
    EM_TRY(make_chunk(vk, i, error));
  return EM_OK;
fail:
  em_vk_uploads_close(vk);
  return status;
}

void em_vk_uploads_close(em_vk *vk) {
  em_vk_uploads *uploads = &vk->uploads;
  if (!uploads->is_open)
    return;
  em_vk_finish_uploads(vk);
  em_vk_buffer_free(vk, &uploads->staging);
  if (em_vk_may_free(vk)) {
    for (uint32_t i = 0; i < EM_VK_N_CHUNKS; i++)
      if (uploads->chunks[i].pool)
        vk->fn.DestroyCommandPool(vk->device, uploads->chunks[i].pool, NULL);
    if (uploads->timeline)
      vk->fn.DestroySemaphore(vk->device, uploads->timeline, NULL);
  }
  pthread_mutex_destroy(&uploads->lock);
  pthread_cond_destroy(&uploads->returned);
  *uploads = (em_vk_uploads){0};
}

void em_vk_finish_uploads(em_vk *vk) {
  em_vk_uploads *uploads = &vk->uploads;
  if (vk->failed || uploads->finished == uploads->submitted)
    return;
  if (em_vk_wait_on(vk, uploads->timeline, uploads->submitted, copying, NULL) == EM_OK)
    uploads->finished = uploads->submitted;
}

em_status em_vk_chunk_take(em_vk *vk, em_vk_chunk **out, em_error *error) {
  em_vk_uploads *uploads = &vk->uploads;
  em_vk_chunk *chunk = NULL;
  pthread_mutex_lock(&uploads->lock);
  while (!chunk) {
    /* The one whose copy was sent first is the first to be done. */
    for (uint32_t i = 0; i < EM_VK_N_CHUNKS; i++)
      if (!uploads->chunks[i].taken && (!chunk || uploads->chunks[i].value < chunk->value))
        chunk = &uploads->chunks[i];
    if (!chunk)
      pthread_cond_wait(&uploads->returned, &uploads->lock);
  }
  chunk->taken = true;
  pthread_mutex_unlock(&uploads->lock);
  em_status status = EM_OK;
  if (vk->failed)
    status = em_fail(error, EM_ERR_DEVICE, "the graphics device failed earlier");
  else if (chunk->value > 0)
    status = em_vk_wait_on(vk, uploads->timeline, chunk->value, copying, error);
  if (status != EM_OK)
    em_vk_chunk_return(vk, chunk);
  else
    *out = chunk;
  return status;
}

void em_vk_chunk_return(em_vk *vk, em_vk_chunk *chunk) {
  pthread_mutex_lock(&vk->uploads.lock);
  chunk->taken = false;
  pthread_cond_signal(&vk->uploads.returned);
  pthread_mutex_unlock(&vk->uploads.lock);
}

static em_status submit(em_vk *vk, em_vk_chunk *chunk, const char *what, em_error *error) {
  em_vk_uploads *uploads = &vk->uploads;
  pthread_mutex_lock(&uploads->lock);
  uint64_t value = uploads->submitted + 1;
  VkTimelineSemaphoreSubmitInfo timeline = {.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO,
                                            .signalSemaphoreValueCount = 1,
                                            .pSignalSemaphoreValues = &value};
  VkSubmitInfo info = {.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
                       .pNext = &timeline,
                       .commandBufferCount = 1,
                       .pCommandBuffers = &chunk->commands,
                       .signalSemaphoreCount = 1,
                       .pSignalSemaphores = &uploads->timeline};
  em_status status = em_vk_result(vk, vk->fn.QueueSubmit(vk->upload_queue, 1, &info, VK_NULL_HANDLE), what, error);
  if (status == EM_OK)
    uploads->submitted = chunk->value = value;
  pthread_mutex_unlock(&uploads->lock);
  return status;
}

em_status em_vk_chunk_send(em_vk *vk, em_vk_chunk *chunk, em_vk_buffer *to, uint64_t offset, uint64_t bytes,
                           em_error *error) {
  em_status status = EM_OK;
  VkCommandBufferBeginInfo begin = {.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
                                    .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT};
  VkBufferCopy region = {.srcOffset = chunk->offset, .dstOffset = offset, .size = bytes};
  /* An earlier copy may have failed with its commands begun and not ended; those must not be begun again. */
  EM_TRY(em_vk_result(vk, vk->fn.ResetCommandBuffer(chunk->commands, 0), copying, error));
  EM_TRY(em_vk_result(vk, vk->fn.BeginCommandBuffer(chunk->commands, &begin), copying, error));
  vk->fn.CmdCopyBuffer(chunk->commands, vk->uploads.staging.buffer, to->buffer, 1, &region);
  EM_TRY(em_vk_result(vk, vk->fn.EndCommandBuffer(chunk->commands), copying, error));
  EM_TRY(submit(vk, chunk, copying, error));
fail:
  em_vk_chunk_return(vk, chunk);
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
  EM_TRY(em_vk_uploads_open(vk, error));
  for (uint64_t done = 0; done < bytes;) {
    uint64_t part = bytes - done < vk->uploads.chunk_bytes ? bytes - done : vk->uploads.chunk_bytes;
    em_vk_chunk *chunk;
    EM_TRY(em_vk_chunk_take(vk, &chunk, error));
    memcpy(chunk->mapped, (const char *)data + done, part);
    EM_TRY(em_vk_chunk_send(vk, chunk, buffer, offset + done, part, error));
    done += part;
  }
fail:
  return status;
}

/* --- Copies that are waited for --- */

/* Between these copies and the shaders before and behind them: either sees what the other has written. */
static void separate(em_vk *vk, VkCommandBuffer commands) {
  VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                            .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
                            .dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT};
  vk->fn.CmdPipelineBarrier(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                            VK_PIPELINE_STAGE_ALL_COMMANDS_BIT | VK_PIPELINE_STAGE_HOST_BIT, 0, 1, &memory, 0, NULL, 0,
                            NULL);
}

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
  else
    separate(vk, *out);
  return status;
}

em_status em_vk_finish(em_vk *vk, VkCommandBuffer commands, const char *what, em_error *error) {
  separate(vk, commands);
  em_status status = em_vk_result(vk, vk->fn.EndCommandBuffer(commands), what, error);
  if (status == EM_OK)
    status = em_vk_submit(vk, commands, what, error);
  /* After a failed wait the device may still run it; it goes with the pool. */
  if (!vk->failed)
    vk->fn.FreeCommandBuffers(vk->device, vk->commands, 1, &commands);
  return status;
}

em_status em_vk_clear(em_vk *vk, em_vk_buffer *buffer, em_error *error) {
  VkCommandBuffer commands;
  em_status status = em_vk_begin(vk, &commands, error);
  if (status != EM_OK)
    return status;
  vk->fn.CmdFillBuffer(commands, buffer->buffer, 0, VK_WHOLE_SIZE, 0);
  return em_vk_finish(vk, commands, "clearing memory", error);
}
