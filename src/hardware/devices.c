/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "hardware/devices.h"

#include "base/threads.h"
#include "hardware/hardware.h"

#include <stdio.h>
#include <string.h>

em_status em_device_parse(const char *name, em_backend_params *params, em_error *error) {
  if (strcmp(name, "cpu") == 0) {
    params->kind = EM_DEVICE_CPU;
    params->device_index = 0;
    return EM_OK;
  }
  if (strcmp(name, "vulkan") == 0 || strncmp(name, "vulkan:", 7) == 0)
    return em_fail(error, EM_ERR_UNSUPPORTED, "this build cannot use graphics cards; the device is cpu");
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

size_t em_device_list(em_device devices[EM_MAX_DEVICES]) {
  em_device *cpu = &devices[0];
  em_memory_state memory;
  unsigned n_cores = em_physical_cores();

  *cpu = (em_device){.name = "cpu", .type = "processor"};
  read_processor_name(cpu->description, sizeof cpu->description);
  snprintf(cpu->driver, sizeof cpu->driver, "%s, %u %s", em_cpu_isa_name(em_cpu_best_isa()), n_cores,
           n_cores == 1 ? "core" : "cores");
  if (em_hardware_memory(NULL, &memory, NULL) == EM_OK)
    cpu->memory_bytes = memory.total_bytes;
  return 1;
}
