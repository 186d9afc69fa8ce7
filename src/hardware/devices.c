/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "hardware/devices.h"

#include "base/file.h"
#include "base/threads.h"
#include "hardware/bandwidth.h"
#include "hardware/hardware.h"

#include <stdio.h>
#include <string.h>

static bool can_open(const em_backend_params *params) {
  em_backend *backend = NULL;
  bool opened = em_backend_open(params, &backend, NULL) == EM_OK;

  em_backend_close(backend);
  return opened;
}

/* The best GPU: em_vulkan_list has the best kind first, and a processor that pretends to be one is last. Among several
 * of the best kind the one decides that reads its memory fastest, because that is what decoding waits for; its size
 * says nothing about it. Where none of them can be used, those of the next kind have their turn; where none of any
 * kind can, opening the first one says why. */
static em_status choose_vulkan(em_backend_params *params, em_error *error) {
  em_vulkan_device found[EM_MAX_DEVICES];
  uint32_t n;
  em_status status = em_vulkan_list(found, EM_MAX_DEVICES, &n, error);

  if (status != EM_OK)
    return status;
  if (n == 0 || found[0].kind == EM_VULKAN_SOFTWARE)
    return em_fail(error, EM_ERR_UNSUPPORTED, "this computer has no graphics card that speaks Vulkan");
  params->kind = EM_DEVICE_VULKAN;
  params->device_index = 0;
  while (n > 1 && found[n - 1].kind == EM_VULKAN_SOFTWARE)
    n--;
  for (uint32_t first = 0, end; n > 1 && first < n; first = end) {
    em_backend_params other = *params;
    em_backend_speed speed;
    uint64_t best = 0;
    bool found_one = false;

    for (end = first + 1; end < n && found[end].kind == found[first].kind;)
      end++;
    for (other.device_index = first; other.device_index < end; other.device_index++) {
      speed = (em_backend_speed){0};
      if (end - first == 1 ? !can_open(&other) : em_hardware_measure(&other, &speed, NULL) != EM_OK)
        continue;
      if (!found_one || speed.read_bytes_per_s > best) {
        best = speed.read_bytes_per_s;
        params->device_index = other.device_index;
      }
      found_one = true;
    }
    if (found_one)
      return EM_OK;
  }
  return EM_OK;
}

em_status em_device_parse(const char *name, em_backend_params *params, em_error *error) {
  if (strcmp(name, "cpu") == 0) {
    params->kind = EM_DEVICE_CPU;
    params->device_index = 0;
    return EM_OK;
  }
  (void)em_file_cache_dir(params->cache_dir, sizeof params->cache_dir);
  if (strcmp(name, "vulkan") == 0)
    return choose_vulkan(params, error);
  unsigned index;
  int end = 0;
  if (sscanf(name, "vulkan:%2u%n", &index, &end) == 1 && name[end] == '\0') {
    params->kind = EM_DEVICE_VULKAN;
    params->device_index = index;
    return EM_OK;
  }
  return em_fail(error, EM_ERR_ARGUMENT, "there is no device named \"%.40s\"", name);
}

/* The first "model name" of /proc/cpuinfo. */
static void read_processor_name(char *out, size_t out_bytes) {
  FILE *file = fopen("/proc/cpuinfo", "re");
  char line[256];

  out[0] = '\0';
  if (!file)
    return;
  while (out[0] == '\0' && fgets(line, sizeof line, file)) {
    const char *value = strchr(line, ':');
    size_t n = 0;

    if (strncmp(line, "model name", 10) != 0 || !value)
      continue;
    value += strspn(value, ": \t");
    for (; *value && *value != '\n' && n + 1 < out_bytes; value++)
      out[n++] = *value >= ' ' && *value <= '~' ? *value : '?';
    out[n] = '\0';
  }
  fclose(file);
}

static size_t list_vulkan(em_device *devices, uint32_t max) {
  static const char *const types[] = {
      [EM_VULKAN_DISCRETE] = "graphics card",   [EM_VULKAN_INTEGRATED] = "integrated graphics",
      [EM_VULKAN_VIRTUAL] = "virtual graphics", [EM_VULKAN_OTHER] = "other graphics",
      [EM_VULKAN_SOFTWARE] = "software Vulkan",
  };
  em_vulkan_device found[EM_MAX_DEVICES];
  uint32_t n;

  if (em_vulkan_list(found, max, &n, NULL) != EM_OK)
    return 0;
  for (uint32_t i = 0; i < n; i++) {
    devices[i] = (em_device){.memory_bytes = found[i].memory_bytes, .budget_bytes = found[i].budget_bytes};
    snprintf(devices[i].name, sizeof devices[i].name, "vulkan:%u", i);
    snprintf(devices[i].type, sizeof devices[i].type, "%s", types[found[i].kind]);
    snprintf(devices[i].description, sizeof devices[i].description, "%s%s%s", found[i].name,
             found[i].pci[0] ? " at " : "", found[i].pci);
    snprintf(devices[i].driver, sizeof devices[i].driver, "%s", found[i].driver);
    snprintf(devices[i].pci_id, sizeof devices[i].pci_id, "%04x:%04x", found[i].vendor_id, found[i].device_id);
  }
  return n;
}

size_t em_device_list(em_device devices[EM_MAX_DEVICES]) {
  em_device *cpu = &devices[0];
  em_memory_state memory;
  unsigned n_cores = em_physical_cores();

  *cpu = (em_device){.name = "cpu", .type = "processor"};
  read_processor_name(cpu->description, sizeof cpu->description);
  snprintf(cpu->driver, sizeof cpu->driver, "%s, %u %s", em_cpu_isa_name(em_cpu_best_isa()), n_cores,
           n_cores == 1 ? "core" : "cores");
  if (em_hardware_memory(NULL, &memory, NULL) == EM_OK)
    cpu->memory_bytes = memory.total_bytes, cpu->budget_bytes = memory.available_bytes;
  return 1 + list_vulkan(devices + 1, EM_MAX_DEVICES - 1);
}
