/* The Vulkan devices of this computer, as lists for people and the choice of one need them. */
#pragma once

#include "base/status.h"

typedef enum em_vulkan_kind {
  EM_VULKAN_DISCRETE,
  EM_VULKAN_INTEGRATED,
  EM_VULKAN_VIRTUAL,
  EM_VULKAN_SOFTWARE /* a processor pretending to be a GPU: used only when named */
} em_vulkan_kind;

typedef struct em_vulkan_device {
  char name[256];
  char driver[512];
  char pci[16];          /* "0000:c1:00.0", or "" */
  uint32_t vendor_id, device_id;
  em_vulkan_kind kind;
  uint64_t memory_bytes; /* all device-local heaps of an integrated device, the largest of another */
} em_vulkan_device;

/* Lists at most max devices in the order of their numbers (vulkan:0, vulkan:1, ...): discrete, integrated, virtual, software. Without
 * a loader or a driver *n_out is 0 and the status says why. */
em_status em_vulkan_list(em_vulkan_device *out, uint32_t max, uint32_t *n_out, em_error *error) EM_MUST_USE;
