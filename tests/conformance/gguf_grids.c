/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Every codebook, expanded, against the numbers it was packed from: one entry a line, its values between commas. */
#include "base/file.h"
#include "check.h"
#include "gguf/format.h"
#include "gguf/grids.h"

static void check_grid(const char *folder, const char *name, const uint16_t *grid, int n_entries, int n_values,
                       const int8_t *letters) {
  char path[4096], *text, *at;
  size_t bytes;
  snprintf(path, sizeof path, "%s/data/iq-grids/%s.csv", folder, name);
  if (em_file_read(path, 1u << 20, &text, &bytes, NULL) != EM_OK)
    SKIP("gguf_grids: no data/iq-grids in HEARTH_SHARED");
  at = text;
  int n_wrong = 0;
  for (int i = 0; i < n_entries; i++)
    for (int j = 0; j < n_values; j++) {
      long expected = strtol(at, &at, 10);
      at += at < text + bytes; /* the comma or the line's end */
      n_wrong += expected != letters[n_values == 8 ? grid[i] >> (2 * j) & 3 : grid[i] >> (3 * j) & 7];
    }
  CHECK_INT(n_wrong, 0);
  CHECK(at == text + bytes);
  free(text);
}

int main(void) {
  static const int8_t letters_iq1[4] = {-1, 0, 1};
  const char *folder = getenv("HEARTH_SHARED");
  if (!folder)
    SKIP("gguf_grids: HEARTH_SHARED is not set");
  check_grid(folder, "IQ1_S", em_grid_iq1, 2048, 8, letters_iq1);
  check_grid(folder, "IQ2_XXS", em_grid_iq2_xxs, 256, 8, em_iq2_numbers);
  check_grid(folder, "IQ2_XS", em_grid_iq2_xs, 512, 8, em_iq2_numbers);
  check_grid(folder, "IQ2_S", em_grid_iq2_s, 1024, 8, em_iq2_numbers);
  check_grid(folder, "IQ3_XXS", em_grid_iq3_xxs, 256, 4, em_iq3_xxs_numbers);
  check_grid(folder, "IQ3_S", em_grid_iq3_s, 512, 4, em_iq3_s_numbers);
  return check_done();
}
