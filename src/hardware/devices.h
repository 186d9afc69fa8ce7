/* The devices that models can run on, and their names. */
#pragma once

#include "backend/backend.h"

/* Sets kind, device_index and, of a graphics card, cache_dir of params from a name: "cpu", "vulkan" (the best graphics
 * card) or "vulkan:N". Where several cards are of the best kind, "vulkan" measures them, about a second each
 * (em_hardware_measure). Errors: EM_ERR_ARGUMENT for any other name, EM_ERR_UNSUPPORTED for a kind this build does not
 * have. */
em_status em_device_parse(const char *name, em_backend_params *params, em_error *error) EM_MUST_USE;

typedef struct em_device {
  char name[16];                       /* what em_device_parse takes */
  char type[32];                       /* "processor", "graphics card", "integrated graphics", ... */
  char description[288];               /* the maker's name for it, and where it is plugged in */
  char driver[128];                    /* what runs it: the instruction set and the number of cores, or the driver */
  char pci_id[16];                     /* maker and model, "1002:1586"; "" for the processor */
  uint64_t memory_bytes, budget_bytes; /* all, and what this process may have of it now */
} em_device;

#define EM_MAX_DEVICES 16u

/* Stores at most EM_MAX_DEVICES devices and returns how many. What cannot be read stays empty or 0. */
size_t em_device_list(em_device devices[EM_MAX_DEVICES]);
