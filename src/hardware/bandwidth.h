/* How fast this computer and its devices read their memory: the ceiling of decoding, which reads every weight once a
 * token. */
#pragma once

#include "backend/backend.h"

/* Reads a buffer much larger than the caches with n_threads threads (0: one for each physical core), several times, for
 * about a third of a second, and stores the best pass in bytes a second. Errors: EM_ERR_NO_MEMORY. */
em_status em_hardware_read_bandwidth(unsigned n_threads, uint64_t *bytes_per_s, em_error *error) EM_MUST_USE;

/* Measures a device, which is opened for it and closed again; takes about a second. Of the processor only
 * read_bytes_per_s is known and the rest is 0. A software Vulkan device has the processor's memory, so its
 * read_bytes_per_s is what the processor reads where that is more. Errors: those of em_backend_open and
 * em_backend_measure. */
em_status em_hardware_measure(const em_backend_params *params, em_backend_speed *out, em_error *error) EM_MUST_USE;
