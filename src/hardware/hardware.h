/* What this computer is. Nothing is guessed: what cannot be read is an error.
 *
 * Files are read under a root folder, so that another computer's /proc and /sys can be looked at; NULL means this
 * computer's. Thread-safe. */
#pragma once

#include "base/status.h"

typedef struct em_memory_state {
  uint64_t total_bytes;     /* of physical memory, or of the control group's limit where that is lower */
  uint64_t available_bytes; /* what can be allocated now without swapping: free memory and caches that can be dropped,
                               and no more than the control groups of this process leave */
} em_memory_state;

/* Errors: EM_ERR_NOT_FOUND, EM_ERR_IO, EM_ERR_FORMAT (/proc/meminfo is not readable), EM_ERR_NO_MEMORY. */
em_status em_hardware_memory(const char *root, em_memory_state *out, em_error *error) EM_MUST_USE;
