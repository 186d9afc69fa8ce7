/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What stands for this room in a build without Vulkan. */
#include "backend/impl.h"

em_status em_vulkan_open(const em_backend_params *params, em_backend **out, em_error *error) {
  (void)params;
  (void)out;
  return em_fail(error, EM_ERR_UNSUPPORTED, "this build cannot use graphics cards");
}

em_status em_vulkan_list(em_vulkan_device *out, uint32_t max, uint32_t *n_out, em_error *error) {
  (void)out;
  (void)max;
  *n_out = 0;
  return em_fail(error, EM_ERR_UNSUPPORTED, "this build cannot use graphics cards");
}
