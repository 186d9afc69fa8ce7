/* What the tests of Vulkan's kernels share: the device that is tested, and tensors with random values. */
#pragma once

#include "tests/fault/vulkan-hook.h"

#include "common.h"

/* The number of the device that is tested: the one that HEARTH_TEST_DEVICE names, or a software one. out (or NULL) is
 * what it is. The test is skipped where there is none. */
static inline uint32_t choose_device(em_vulkan_device *out) {
  em_vulkan_device device;
  uint32_t index = hook_choose_device(getenv("HEARTH_TEST_DEVICE"), &device);
  printf("on vulkan:%u, %s\n", index, device.name);
  if (out)
    *out = device;
  return index;
}

/* Ends the test where something failed without which it cannot go on. */
static inline void must(em_status status, const em_error *error) {
  CHECK(status == EM_OK);
  if (status != EM_OK) {
    fprintf(stderr, "%s\n", error->text);
    exit(1);
  }
}

/* A tensor as a file has it. */
typedef struct tensor {
  em_weights_desc desc;
  uint8_t *file; /* NULL: there is no such tensor */
  size_t bytes;
  float *values; /* as float32, of make_decoded; else NULL */
} tensor;

static inline tensor make_tensor(em_type type, uint64_t n_in, uint64_t n_rows, unsigned use) {
  const em_type_info *info = em_type_get(type);
  size_t n = (size_t)(n_in * n_rows);
  tensor t = {.desc = {.type = type, .n_in = n_in, .n_rows = n_rows, .use = use, .name = "a test's tensor"},
              .bytes = n / info->block_len * info->block_bytes};
  t.file = malloc(t.bytes);
  if (!t.file)
    abort();
  random_blocks(type, t.file, n);
  return t;
}

static inline tensor make_decoded(em_type type, uint64_t n_in, uint64_t n_rows, unsigned use) {
  tensor t = make_tensor(type, n_in, n_rows, use);
  size_t n = (size_t)(n_in * n_rows);
  t.values = malloc(n * sizeof *t.values);
  if (!t.values)
    abort();
  em_type_get(type)->decode(t.file, t.values, n / em_type_get(type)->block_len);
  return t;
}

static inline void free_tensor(tensor *t) {
  free(t->file);
  free(t->values);
}

static inline em_status read_tensor(void *user, uint64_t offset, void *dst, size_t bytes, em_error *error) {
  const tensor *t = user;
  CHECK(offset + bytes <= t->bytes);
  memcpy(dst, t->file + offset, bytes);
  return EM_OK;
}

/* NULL for a tensor that is not there. */
static inline em_weights *load(em_backend *backend, tensor *t) {
  em_error error = {0};
  em_weights *weights = NULL;
  if (t->file)
    must(em_weights_new(backend, &t->desc, read_tensor, t, &weights, &error), &error);
  return weights;
}
