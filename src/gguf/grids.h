/* The codebooks of the IQ1, IQ2 and IQ3 types: entries of 8 or 4 values, packed. Nothing outside this room includes it.
 *
 * An entry of 8 values has 2 bits a value, one of 4 values 3 bits, value 0 lowest: the number of a letter.
 */
#pragma once

#include <stdint.h>

extern const uint16_t em_grid_iq2_xxs[256], em_grid_iq2_xs[512], em_grid_iq2_s[1024]; /* letters 8, 25, 43 */
extern const uint16_t em_grid_iq1[2048];                                              /* letters -1, 0, 1 */
extern const uint16_t em_grid_iq3_xxs[256]; /* letters 4, 12, 20, 28, 36, 44, 52, 62 */
extern const uint16_t em_grid_iq3_s[512];   /* letters 1, 3, 5 ... 15 */
