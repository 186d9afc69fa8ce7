/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "base/json.h"
#include "hardware/bandwidth.h"
#include "hardware/devices.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What is not known is all 0. */
static void write_json(em_buffer *out, const em_device *device, const em_backend_speed *speed) {
  const struct {
    const char *name, *text;
  } texts[] = {{"name", device->name},
               {"type", device->type},
               {"description", device->description},
               {"driver", device->driver},
               {"pci_id", device->pci_id}};
  const struct {
    const char *name;
    uint64_t value;
  } numbers[] = {{"memory_bytes", device->memory_bytes},
                 {"budget_bytes", device->budget_bytes},
                 {"read_bytes_per_s", speed->read_bytes_per_s},
                 {"copy_bytes_per_s", speed->copy_bytes_per_s},
                 {"barrier_ns", speed->barrier_ns},
                 {"submit_ns", speed->submit_ns}};

  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    em_buffer_appendf(out, "%s\"%s\":", i ? "," : "{", texts[i].name);
    em_json_write_string(out, texts[i].text, strlen(texts[i].text));
  }
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    if (numbers[i].value > 0)
      em_buffer_appendf(out, ",\"%s\":%" PRIu64, numbers[i].name, numbers[i].value);
  }
  em_buffer_append_text(out, "}");
}

static void write_line(em_buffer *out, const em_device *device, const em_backend_speed *speed) {
  char memory[32], budget[32];

  em_buffer_appendf(out, "%s\t%s\t%s\t%s\t%s\t%s\t%s", device->name, device->type, device->description,
                    hearth_cli_format_bytes(device->memory_bytes, memory), device->driver, device->pci_id,
                    device->budget_bytes ? hearth_cli_format_bytes(device->budget_bytes, budget) : "");
  if (speed->read_bytes_per_s)
    em_buffer_appendf(out, "\treads %.1f GB/s", (double)speed->read_bytes_per_s / 1e9);
  if (speed->copy_bytes_per_s)
    em_buffer_appendf(out, ", copies %.1f GB/s, a barrier takes %.2f us and a submit %.1f us",
                      (double)speed->copy_bytes_per_s / 1e9, (double)speed->barrier_ns / 1e3,
                      (double)speed->submit_ns / 1e3);
  em_buffer_append_text(out, "\n");
}

int hearth_cli_devices(const hearth_cli_command *command, int argc, char **argv) {
  bool measure = false, json = false;
  const hearth_cli_option options[] = {{"--measure", HEARTH_CLI_FLAG, &measure, NULL},
                                       {"--json", HEARTH_CLI_FLAG, &json, NULL}};
  em_device devices[EM_MAX_DEVICES];
  em_buffer output = {0};
  em_error error = {0};
  size_t n;
  int code = 0;

  if (hearth_cli_parse(command, argc, argv, options, sizeof options / sizeof *options, NULL, 0, &code))
    return code;
  n = em_device_list(devices);
  em_buffer_append_text(&output, json ? "[" : "");
  for (size_t i = 0; i < n; i++) {
    em_backend_speed speed = {0};
    em_backend_params params = {.max_isa = EM_N_ISAS - 1};
    em_error why = {0};

    /* A device that cannot be measured is listed all the same. */
    if (measure && (em_device_parse(devices[i].name, &params, &why) != EM_OK ||
                    em_hardware_measure(&params, &speed, &why) != EM_OK))
      fprintf(stderr, "hearth-engine: %s: %s\n", devices[i].name, why.text);
    em_buffer_append_text(&output, json && i > 0 ? "," : "");
    if (json)
      write_json(&output, &devices[i], &speed);
    else
      write_line(&output, &devices[i], &speed);
  }
  em_buffer_append_text(&output, json ? "]\n" : "");
  return hearth_cli_print(&output, &error) == EM_OK ? 0 : hearth_cli_fail(&error);
}
