/* Pure arithmetic over what a model needs and what a computer has. No file is read and nothing is measured here.
 * Thread-safe. */
#pragma once

#include "hardware/hardware.h"
#include "model/model.h"

/* Bytes that decoding one token reads when `position` tokens stand before it: the weights of a step and the cached keys
 * and values of every position up to its own. Saturates at UINT64_MAX. */
uint64_t em_advisor_token_bytes(uint64_t weights_bytes_per_token, uint64_t kv_bytes_per_token, uint64_t position);

/* The most tokens a second memory of this bandwidth (bytes a second) allows: bandwidth / bytes a token. 0 when either
 * is 0. */
double em_advisor_ceiling(double bandwidth, uint64_t token_bytes);

/* What decoding one token reads of a memory, and how fast that is read, in bytes a second; 0: not known. */
typedef struct em_advisor_share {
  uint64_t token_bytes, bytes_per_s;
} em_advisor_share;

/* The most tokens a second when shares of the model are read one after the other, each from a memory of its own:
 * 1 / sum(bytes / bandwidth). 0 when a bandwidth is not known or nothing is read. */
double em_advisor_shared_ceiling(const em_advisor_share *shares, uint32_t n_shares);

/* What stays untouched for everything else on the computer: an eighth of what is available, 256 MiB to 2 GiB. */
uint64_t em_advisor_reserve(const em_memory_state *memory);

typedef struct em_fit {
  bool fits;
  uint64_t usable_bytes;  /* available less the reserve */
  uint64_t missing_bytes; /* 0 when it fits */
} em_fit;
em_fit em_advisor_fit(uint64_t needed_bytes, const em_memory_state *memory, uint64_t reserve_bytes);
