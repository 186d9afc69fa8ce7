/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Every decoder against random blocks and their values as another implementation gives them, bit for bit. */
#include "base/file.h"
#include "check.h"
#include "gguf/format.h"

static char *read_case(const char *folder, const char *type, const char *ending, size_t *bytes) {
  char path[4096], *data;
  snprintf(path, sizeof path, "%s/data/quants/%s.%s", folder, type, ending);
  return em_file_read(path, 64u << 20, &data, bytes, NULL) == EM_OK ? data : NULL;
}

int main(void) {
  const char *folder = getenv("HEARTH_SHARED");
  size_t bytes, expected_bytes;
  char *first = folder ? read_case(folder, "Q4_0", "blocks", &bytes) : NULL;
  if (!first)
    SKIP("gguf_quants: no data/quants in HEARTH_SHARED");
  free(first);
  for (uint32_t type = 0; type < EM_N_TYPES; type++) {
    const em_type_info *info = em_type_get(type);
    if (!info)
      continue;
    char *blocks = read_case(folder, info->name, "blocks", &bytes);
    char *expected = read_case(folder, info->name, "f32", &expected_bytes);
    if (blocks && expected) {
      size_t n_blocks = bytes / info->block_bytes, n = n_blocks * info->block_len;
      CHECK_INT(bytes % info->block_bytes, 0);
      CHECK_INT(expected_bytes, n * sizeof(float));
      float *values = malloc(n * sizeof *values + 1);
      info->decode(blocks, values, n_blocks);
      size_t n_wrong = 0;
      for (size_t i = 0; i < n; i++)
        n_wrong += memcmp(&values[i], expected + i * sizeof *values, sizeof *values) != 0;
      if (n_wrong)
        printf("%s: %zu of %zu values differ\n", info->name, n_wrong, n);
      CHECK_INT(n_wrong, 0);
      free(values);
    }
    free(blocks);
    free(expected);
  }
  return check_done();
}
