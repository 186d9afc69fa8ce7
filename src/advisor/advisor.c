/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "advisor/advisor.h"

#include "base/checked.h"

#define MIB (UINT64_C(1) << 20)

uint64_t em_advisor_token_bytes(uint64_t weights_bytes_per_token, uint64_t kv_bytes_per_token, uint64_t position) {
  uint64_t n, kv, total;
  if (!em_add_u64(position, 1, &n) || !em_mul_u64(kv_bytes_per_token, n, &kv) ||
      !em_add_u64(weights_bytes_per_token, kv, &total))
    return UINT64_MAX;
  return total;
}

double em_advisor_ceiling(double bandwidth, uint64_t token_bytes) {
  return bandwidth > 0 && token_bytes > 0 ? bandwidth / (double)token_bytes : 0;
}

double em_advisor_shared_ceiling(const em_advisor_share *shares, uint32_t n_shares) {
  double seconds = 0;
  for (uint32_t i = 0; i < n_shares; i++) {
    if (shares[i].bytes_per_s == 0)
      return 0;
    seconds += (double)shares[i].token_bytes / (double)shares[i].bytes_per_s;
  }
  return seconds > 0 ? 1 / seconds : 0;
}

uint64_t em_advisor_reserve(const em_memory_state *memory) {
  uint64_t reserve = memory->available_bytes / 8;
  if (reserve < 256 * MIB)
    return 256 * MIB;
  return reserve < 2048 * MIB ? reserve : 2048 * MIB;
}

em_fit em_advisor_fit(uint64_t needed_bytes, const em_memory_state *memory, uint64_t reserve_bytes) {
  em_fit fit = {0};
  if (memory->available_bytes > reserve_bytes)
    fit.usable_bytes = memory->available_bytes - reserve_bytes;
  fit.fits = needed_bytes <= fit.usable_bytes;
  fit.missing_bytes = fit.fits ? 0 : needed_bytes - fit.usable_bytes;
  return fit;
}
