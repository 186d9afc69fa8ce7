/* How fast this computer reads its memory: the ceiling of decoding, which reads every weight once a token. */
#pragma once

#include "base/status.h"

/* Reads a buffer much larger than the caches with n_threads threads (0: one for each physical core), several times, for
 * about a third of a second, and stores the best pass in bytes a second. Errors: EM_ERR_NO_MEMORY. */
em_status em_hardware_read_bandwidth(unsigned n_threads, uint64_t *bytes_per_s, em_error *error) EM_MUST_USE;
