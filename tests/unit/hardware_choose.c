/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Which graphics card "vulkan" means, on computers that are made up here: the best kind first, of several the one that
 * reads its memory fastest, and none that cannot be used where another can. */
#include "check.h"

#include "hardware/bandwidth.h"
#include "hardware/devices.h"

static em_vulkan_device devices[4];
static uint64_t speeds[4]; /* 0: cannot be used */
static uint32_t n_devices, n_opened;

em_status __wrap_em_vulkan_list(em_vulkan_device *out, uint32_t max, uint32_t *n_out, em_error *error);
em_status __wrap_em_backend_open(const em_backend_params *params, em_backend **out, em_error *error);
void __wrap_em_backend_close(em_backend *backend);
em_status __wrap_em_hardware_measure(const em_backend_params *params, em_backend_speed *out, em_error *error);

em_status __wrap_em_vulkan_list(em_vulkan_device *out, uint32_t max, uint32_t *n_out, em_error *error) {
  *n_out = n_devices < max ? n_devices : max;
  memcpy(out, devices, *n_out * sizeof *out);
  return EM_OK;
}

em_status __wrap_em_backend_open(const em_backend_params *params, em_backend **out, em_error *error) {
  n_opened++;
  *out = NULL;
  return speeds[params->device_index] ? EM_OK : em_fail(error, EM_ERR_UNSUPPORTED, "it cannot be used");
}

void __wrap_em_backend_close(em_backend *backend) {
  CHECK(!backend);
}

em_status __wrap_em_hardware_measure(const em_backend_params *params, em_backend_speed *out, em_error *error) {
  out->read_bytes_per_s = speeds[params->device_index];
  return out->read_bytes_per_s ? EM_OK : em_fail(error, EM_ERR_UNSUPPORTED, "it cannot be used");
}

/* kinds and speeds end with the first speed below 0. Returns the device's number, or -1. */
static int choose(const em_vulkan_kind *kinds, const int *of) {
  em_backend_params params = {0};
  em_error error = {0};
  for (n_devices = n_opened = 0; n_devices < 4 && of[n_devices] >= 0; n_devices++) {
    devices[n_devices] = (em_vulkan_device){.kind = kinds[n_devices]};
    speeds[n_devices] = (uint64_t)of[n_devices];
  }
  if (em_device_parse("vulkan", &params, &error) != EM_OK) {
    CHECK_INT(error.code, EM_ERR_UNSUPPORTED);
    return -1;
  }
  CHECK_INT(params.kind, EM_DEVICE_VULKAN);
  return (int)params.device_index;
}

int main(void) {
  const em_vulkan_kind D = EM_VULKAN_DISCRETE, I = EM_VULKAN_INTEGRATED, O = EM_VULKAN_OTHER, S = EM_VULKAN_SOFTWARE;
  const struct {
    em_vulkan_kind kinds[4];
    int speeds[4], chosen;
  } cases[] = {
      {{D, I, S}, {9, 9, 9, -1}, 0},   {{D, I, S}, {0, 9, 9, -1}, 1},
      {{D, D, I, S}, {3, 5, 9, 9}, 1}, {{D, D, I, S}, {0, 5, 9, 9}, 1},
      {{D, D, I, S}, {0, 0, 9, 9}, 2}, {{D, I, I, O}, {0, 4, 7, 9}, 2},
      {{D, I, O, S}, {0, 0, 1, 9}, 2}, {{D, I, S}, {0, 0, 9, -1}, 0},
      {{S, S}, {9, 9, -1}, -1},        {{D}, {-1}, -1},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    int chosen = choose(cases[i].kinds, cases[i].speeds);
    if (chosen != cases[i].chosen)
      fprintf(stderr, "case %zu\n", i);
    CHECK_INT(chosen, cases[i].chosen);
  }
  /* The only one is not opened to see whether it can be. */
  CHECK_INT(choose((em_vulkan_kind[]){D, S}, (int[]){0, 9, -1}), 0);
  CHECK_INT(n_opened, 0);
  return check_done();
}
