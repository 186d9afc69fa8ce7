/* The monotonic clock. */
#pragma once

#include <stdint.h>

/* Nanoseconds since an arbitrary moment; never goes back. Thread-safe, no system call on Linux. */
uint64_t em_now_ns(void);
