/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the device can do at best. Times are the host's, around a submit that is long enough for the submit itself not
 * to count; a graphics device's own clocks need not agree with anybody's. */
#include "backend/vulkan/vulkan.h"

#include "base/clock.h"

#define LARGEST_BYTES (UINT64_C(1) << 30)
#define SMALLEST_BYTES (UINT64_C(1) << 20)
#define BLOCKS 32u                       /* of read.comp */
#define GROUP_BYTES (BLOCKS * 64u * 16u) /* that one of its workgroups reads */
#define MAX_GROUPS 32768u                /* half of what every device allows in one dispatch */
#define N_TRIES 7u
#define LEAST_NS UINT64_C(10000000) /* that one try takes, */
#define MOST_PASSES 64u             /* unless the device is faster than any */
#define MOST_NS UINT64_C(500000000) /* after which no other try begins */
#define CHAIN 256u
#define FILL 0x01234567u

typedef enum job { JOB_READ, JOB_COPY, JOB_CHAIN } job;

typedef struct probe {
  em_vulkan *vulkan;
  VkPipeline read, nothing;
  em_vk_buffer buffer, sink;
} probe;

static void barrier(em_vk *vk, VkCommandBuffer commands) {
  VkMemoryBarrier memory = {.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
                            .srcAccessMask = VK_ACCESS_SHADER_WRITE_BIT | VK_ACCESS_TRANSFER_WRITE_BIT,
                            .dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT};
  const VkPipelineStageFlags stages = VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT;
  vk->fn.CmdPipelineBarrier(commands, stages, VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &memory, 0, NULL, 0, NULL);
}

static void record(const probe *p, VkCommandBuffer commands, job what, uint32_t n) {
  em_vk *vk = &p->vulkan->vk;
  const uint64_t half = p->buffer.bytes / 2;
  VkDeviceAddress push[2] = {p->buffer.address, p->sink.address};
  vk->fn.CmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_COMPUTE, what == JOB_READ ? p->read : p->nothing);
  for (uint32_t i = 0; i < n; i++) {
    if (what == JOB_COPY) {
      vk->fn.CmdCopyBuffer(commands, p->buffer.buffer, p->buffer.buffer, 1, &(VkBufferCopy){0, half, half});
      barrier(vk, commands);
      continue;
    }
    vk->fn.CmdPushConstants(commands, p->vulkan->layout, VK_SHADER_STAGE_COMPUTE_BIT, 0, sizeof push, push);
    vk->fn.CmdDispatch(commands, what == JOB_READ ? (uint32_t)(p->buffer.bytes / GROUP_BYTES) : 1, 1, 1);
    if (what == JOB_CHAIN)
      barrier(vk, commands);
  }
}

/* Nanoseconds of one submit of n passes, at least 1. */
static em_status time_once(const probe *p, job what, uint32_t n, uint64_t *ns, em_error *error) {
  VkCommandBuffer commands;
  em_status status = em_vk_begin(&p->vulkan->vk, &commands, error);
  if (status != EM_OK)
    return status;
  record(p, commands, what, n);
  uint64_t start = em_now_ns();
  status = em_vk_finish(&p->vulkan->vk, commands, "measuring the device", error);
  *ns = em_now_ns() - start;
  if (*ns == 0)
    *ns = 1;
  return status;
}

/* The shortest of up to N_TRIES submits of n passes. */
static em_status time_best(const probe *p, job what, uint32_t n, uint64_t *best_ns, em_error *error) {
  em_status status = EM_OK;
  uint64_t start = em_now_ns(), ns;
  *best_ns = UINT64_MAX;
  for (unsigned i = 0; i < N_TRIES && (i == 0 || em_now_ns() - start < MOST_NS); i++) {
    EM_TRY(time_once(p, what, n, &ns, error));
    if (ns < *best_ns)
      *best_ns = ns;
  }
fail:
  return status;
}

/* Bytes a second, where one pass moves `bytes`. The first passes wake the device and say how many make a try. */
static em_status rate(const probe *p, job what, uint64_t bytes, uint64_t *bytes_per_s, em_error *error) {
  em_status status = EM_OK;
  uint64_t ns;
  uint32_t n = 1;
  EM_TRY(time_once(p, what, 1, &ns, error));
  EM_TRY(time_once(p, what, 1, &ns, error));
  while (ns < LEAST_NS && n < MOST_PASSES) {
    n *= 2;
    EM_TRY(time_once(p, what, n, &ns, error));
  }
  EM_TRY(time_best(p, what, n, &ns, error));
  *bytes_per_s = (uint64_t)((double)bytes * n * 1e9 / (double)ns);
fail:
  return status;
}

/* The buffer: as large as asked for, or as fits. */
static em_status make_buffer(probe *p, uint64_t bytes, em_error *error) {
  em_vk *vk = &p->vulkan->vk;
  em_status status;
  if (bytes > LARGEST_BYTES)
    bytes = LARGEST_BYTES;
  if (bytes > vk->max_allocation_bytes)
    bytes = vk->max_allocation_bytes;
  if (bytes > (uint64_t)MAX_GROUPS * GROUP_BYTES)
    bytes = (uint64_t)MAX_GROUPS * GROUP_BYTES;
  for (;; bytes /= 2) {
    bytes -= bytes % (2 * GROUP_BYTES);
    if (bytes < SMALLEST_BYTES)
      return em_fail(error, EM_ERR_NO_MEMORY, "the device has no memory to measure it with");
    status = em_vk_buffer_new(vk, EM_VK_DEVICE, bytes, "measured", &p->buffer, NULL);
    if (status == EM_OK || vk->failed)
      break;
  }
  return status == EM_OK ? EM_OK : em_fail(error, status, "the device failed while its memory was to be measured");
}

em_status em_vulkan_measure(em_backend *backend, uint64_t bytes, em_backend_speed *out, em_error *error) {
  em_status status = EM_OK;
  probe p = {.vulkan = (em_vulkan *)backend};
  em_vk *vk = &p.vulkan->vk;
  VkCommandBuffer commands;
  uint64_t one_ns, chain_ns;
  *out = (em_backend_speed){0};
  EM_TRY(em_vk_pipeline(p.vulkan, &(em_vk_variant){EM_VK_SHADER_READ, 1, {BLOCKS}}, &p.read, error));
  EM_TRY(em_vk_pipeline(p.vulkan, &(em_vk_variant){EM_VK_SHADER_READ, 1, {0}}, &p.nothing, error));
  EM_TRY(make_buffer(&p, bytes, error));
  EM_TRY(em_vk_buffer_new(vk, EM_VK_DEVICE, 16, "nothing", &p.sink, error));
  EM_TRY(em_vk_begin(vk, &commands, error));
  vk->fn.CmdFillBuffer(commands, p.buffer.buffer, 0, VK_WHOLE_SIZE, FILL);
  EM_TRY(em_vk_finish(vk, commands, "filling memory", error));
  EM_TRY(rate(&p, JOB_READ, p.buffer.bytes, &out->read_bytes_per_s, error));
  EM_TRY(rate(&p, JOB_COPY, p.buffer.bytes, &out->copy_bytes_per_s, error));
  EM_TRY(time_best(&p, JOB_CHAIN, 1, &one_ns, error));
  EM_TRY(time_best(&p, JOB_CHAIN, CHAIN, &chain_ns, error));
  out->submit_ns = one_ns;
  out->barrier_ns = chain_ns > one_ns ? (chain_ns - one_ns) / (CHAIN - 1) : 0;
fail:
  em_vk_buffer_free(vk, &p.buffer);
  em_vk_buffer_free(vk, &p.sink);
  return status;
}
