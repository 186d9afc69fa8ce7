/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Made pipelines, kept on disk between runs.
 *
 * A file is given to the driver only when it is this user's alone, is whole, and was written by the same driver for the
 * same device and the same shaders. Drivers trust such data, so everything that can be checked is checked before. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend/vulkan/vulkan.h"
#include "base/checked.h"
#include "base/file.h"
#include "base/log.h"

#define MAX_CACHE_BYTES (16u << 20)

/* In front of the driver's data. All numbers are this computer's: the file does not travel. */
typedef struct head {
  char magic[8];
  uint32_t vendor_id, device_id, driver_version, driver_id;
  uint8_t uuid[VK_UUID_SIZE];
  uint64_t shaders; /* sum of all SPIR-V in this build */
  uint64_t bytes;   /* of the driver's data behind it */
  uint64_t sum;     /* of these bytes */
} head;

/* Eight bytes at a time, for megabytes. It finds damage; it is no protection against somebody who can write the file.
 */
static uint64_t sum_of(const void *data, size_t bytes, uint64_t sum) {
  const uint8_t *p = data;
  for (size_t i = 0; i < bytes; i += 8) {
    uint64_t word = 0;
    memcpy(&word, p + i, bytes - i < 8 ? bytes - i : 8);
    sum = (sum ^ word) * 0x9e3779b97f4a7c15u;
    sum ^= sum >> 29;
  }
  return sum ^ bytes;
}

static head make_head(const em_vulkan *vulkan) {
  const em_vk *vk = &vulkan->vk;
  head h = {.magic = {'E', 'm', 'b', 'e', 'r', 'P', 'C', '1'},
            .vendor_id = vk->properties.vendorID,
            .device_id = vk->properties.deviceID,
            .driver_version = vk->properties.driverVersion,
            .driver_id = (uint32_t)vk->driver.driverID};
  memcpy(h.uuid, vk->properties.pipelineCacheUUID, sizeof h.uuid);
  for (unsigned i = 0; i < EM_VK_N_SHADERS; i++)
    h.shaders = sum_of(em_vk_spirvs[i].words, em_vk_spirvs[i].bytes, h.shaders);
  return h;
}

/* The driver's own header must say the same. */
static bool is_for(const em_vk *vk, const char *data, size_t bytes) {
  VkPipelineCacheHeaderVersionOne own;
  if (bytes < sizeof own)
    return false;
  memcpy(&own, data, sizeof own);
  return own.headerSize == sizeof own && own.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE &&
         own.vendorID == vk->properties.vendorID && own.deviceID == vk->properties.deviceID &&
         memcmp(own.pipelineCacheUUID, vk->properties.pipelineCacheUUID, VK_UUID_SIZE) == 0;
}

/* NULL: there is no file, or it must not be used, which the log tells. */
static char *read_cache(em_vulkan *vulkan, size_t *bytes) {
  struct stat info;
  char *file = NULL;
  size_t file_bytes;
  head h, expected = make_head(vulkan);
  /* What is looked at is what is read: another file may take its place in between. A FIFO must not be waited for. */
  int fd = open(vulkan->cache_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (fd < 0 && errno == ENOENT)
    return NULL;
  if (fd < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_uid != geteuid() ||
      (info.st_mode & (S_IWGRP | S_IWOTH)) != 0 || info.st_size < (off_t)sizeof h || info.st_size > MAX_CACHE_BYTES)
    goto fail;
  file_bytes = (size_t)info.st_size;
  file = em_calloc(1, file_bytes);
  if (!file || em_file_read_at(fd, 0, file, file_bytes, NULL) != EM_OK)
    goto fail;
  memcpy(&h, file, sizeof h);
  expected.bytes = file_bytes - sizeof h;
  expected.sum = sum_of(file + sizeof h, file_bytes - sizeof h, 0);
  if (memcmp(&h, &expected, sizeof h) != 0 || !is_for(&vulkan->vk, file + sizeof h, file_bytes - sizeof h))
    goto fail;
  *bytes = file_bytes;
  vulkan->cache_sum = h.sum;
  (void)close(fd);
  return file;
fail:
  if (fd >= 0)
    (void)close(fd);
  em_log(EM_LOG_INFO, "vulkan: %s is not of this device and version, or damaged, and is not used", vulkan->cache_path);
  free(file);
  return NULL;
}

void em_vk_cache_open(em_vulkan *vulkan, const char *dir) {
  em_vk *vk = &vulkan->vk;
  size_t bytes = 0;
  if (!dir || dir[0] == '\0')
    return;
  int n = snprintf(vulkan->cache_path, sizeof vulkan->cache_path, "%s/pipelines-%04x-%04x-%u.bin", dir,
                   vk->properties.vendorID, vk->properties.deviceID, (unsigned)vk->driver.driverID);
  if (n < 0 || (size_t)n >= sizeof vulkan->cache_path) {
    vulkan->cache_path[0] = '\0';
    return;
  }
  char *file = read_cache(vulkan, &bytes);
  VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO,
                                    .initialDataSize = file ? bytes - sizeof(head) : 0,
                                    .pInitialData = file ? file + sizeof(head) : NULL};
  VkResult result = vk->fn.CreatePipelineCache(vk->device, &info, NULL, &vulkan->cache);
  if (result != VK_SUCCESS) {
    /* Pipelines are made without one as well. */
    vulkan->cache = VK_NULL_HANDLE;
    vulkan->cache_path[0] = '\0';
  } else {
    em_vk_name(vk, VK_OBJECT_TYPE_PIPELINE_CACHE, (uint64_t)(uintptr_t)vulkan->cache, "pipelines");
  }
  free(file);
}

static bool write_all(int fd, const void *data, size_t bytes) {
  for (const char *p = data; bytes > 0;) {
    ssize_t n = write(fd, p, bytes);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    p += n;
    bytes -= (size_t)n;
  }
  return true;
}

/* Makes the folders above the file that are missing. */
static void make_folders(const char *path) {
  char part[sizeof((em_vulkan *)0)->cache_path];
  for (size_t i = 1; path[i]; i++)
    if (path[i] == '/') {
      memcpy(part, path, i);
      part[i] = '\0';
      (void)mkdir(part, 0700);
    }
}

/* The new file takes the old one's place at once or not at all. */
static bool replace_file(const char *path, const head *h, const void *data) {
  char temporary[sizeof((em_vulkan *)0)->cache_path + 8];
  snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
  make_folders(path);
  int fd = mkostemp(temporary, O_CLOEXEC);
  if (fd < 0)
    return false;
  bool written = write_all(fd, h, sizeof *h) && write_all(fd, data, (size_t)h->bytes);
  written &= close(fd) == 0;
  if (written && rename(temporary, path) == 0)
    return true;
  (void)unlink(temporary);
  return false;
}

void em_vk_cache_save(em_vulkan *vulkan) {
  em_vk *vk = &vulkan->vk;
  size_t bytes = 0;
  head h = make_head(vulkan);
  if (!vulkan->cache || vk->fn.GetPipelineCacheData(vk->device, vulkan->cache, &bytes, NULL) != VK_SUCCESS ||
      bytes > MAX_CACHE_BYTES - sizeof h)
    return;
  char *data = em_calloc(1, bytes);
  if (!data)
    return;
  if (vk->fn.GetPipelineCacheData(vk->device, vulkan->cache, &bytes, data) == VK_SUCCESS && is_for(vk, data, bytes)) {
    h.bytes = bytes;
    h.sum = sum_of(data, bytes, 0);
    if (h.sum != vulkan->cache_sum && replace_file(vulkan->cache_path, &h, data))
      vulkan->cache_sum = h.sum;
  }
  free(data);
}
