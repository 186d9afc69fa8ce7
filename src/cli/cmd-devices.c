/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "hardware/devices.h"

#include <stdio.h>

int hearth_cli_devices(const hearth_cli_command *command, int argc, char **argv) {
  em_device devices[EM_MAX_DEVICES];
  size_t n;
  char memory[32];
  int code = 0;

  if (hearth_cli_parse(command, argc, argv, NULL, 0, NULL, 0, &code))
    return code;
  n = em_device_list(devices);
  for (size_t i = 0; i < n; i++)
    printf("%s\t%s\t%s\t%s\t%s\n", devices[i].name, devices[i].type, devices[i].description,
           hearth_cli_format_bytes(devices[i].memory_bytes, memory), devices[i].driver);
  return 0;
}
