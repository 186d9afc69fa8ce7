// The parameters of every kernel of linear stages, and which tile of which matrix a workgroup computes.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"
#include "../common/formats.glsl"
#include "../common/activations.glsl"
#if !defined(FORMAT) || FORMAT > FORMAT_Q6_K
#include "../common/decode.glsl"
#endif

#ifdef FORMAT // compiled for this one alone, because what is left out here need not be taken apart by a driver
const uint FORMAT_A = FORMAT, FORMAT_B = FORMAT;
#else
layout(constant_id = 2) const uint FORMAT_A = 0u; // of the first part
layout(constant_id = 3) const uint FORMAT_B = 0u; // of the second
layout(constant_id = 4) const uint FORMAT_C = 0u; // of the third
#endif
layout(constant_id = 5) const uint PARTS = 1u;
layout(constant_id = 6) const uint ACTIVATION = 0u;
const bool PAIRED = ACTIVATION == ACT_SWIGLU || ACTIVATION == ACT_GEGLU || ACTIVATION == ACT_SWIGLU_OAI;
const bool GATED = PAIRED && PARTS > 1u; // else the gate, finished, stands in y
layout(constant_id = 10) const bool SCALED = false; // scales and softcap say something

layout(push_constant, scalar) uniform Push {
  Words4 w[3];
  Floats bias[3];      // address 0: none
  Floats4 x;           // [columns, n_in]
  Floats y;            // [columns, y_width]
  Floats residual;     // [columns, y_width] or address 0
  Words step;
  uint n_in;           // a multiple of 4
  uint rows[3];        // rows of each part
  uint y_width;
  uint first_row;      // the first row of part 0's output inside y
  uint outputs_only;   // 1: as many columns as the step has outputs
  float scales[2];     // of the sums; of a pair's. Without an activation the second multiplies what has its bias
  float softcap;       // 0: none
  Words books;         // the codebooks, for the formats that have one
} push;

uint part;  // of the stage's matrices
uint tile;  // of the part's tiles of 32 rows
uint y_row; // where the part begins in a row of y

// Workgroups that read the same weights run side by side: the tiles are y.
void locate() {
  tile = gl_WorkGroupID.y;
  part = 0u;
  y_row = push.first_row;
  if (!GATED && PARTS > 1u) {
    uint tiles = (push.rows[0] + 31u) / 32u;
    if (tile >= tiles) {
      tile -= tiles;
      y_row += push.rows[0];
      part = 1u;
      tiles = (push.rows[1] + 31u) / 32u;
      if (PARTS > 2u && tile >= tiles) {
        tile -= tiles;
        y_row += push.rows[1];
        part = 2u;
      }
    }
  }
}

uint n_columns() {
  return push.step.v[push.outputs_only == 1u ? STEP_N_OUTPUTS : STEP_N_ROWS];
}

float bias_of(uint i, uint row) {
  return uvec2(push.bias[i]) == uvec2(0u) ? 0.0 : push.bias[i].v[row];
}

// Writes the sum of a row of the part, and of a SwiGLU's second part, for a column.
void finish(uint c, uint row, float sum, float up) {
  const uint at = c * push.y_width + y_row + row;
  float value = (SCALED ? sum * push.scales[0] : sum) + bias_of(part, row);
  if (GATED)
    value = activate(ACTIVATION, value, (SCALED ? up * push.scales[1] : up) + bias_of(1u, row));
  else if (PAIRED)
    value = activate(ACTIVATION, push.y.v[at], value);
  else if (ACTIVATION != ACT_NONE)
    value = activate(ACTIVATION, value, 0.0);
  else if (SCALED) {
    value *= push.scales[1];
    if (push.softcap != 0.0)
      value = push.softcap * tanh(value / push.softcap);
  }
  push.y.v[at] = uvec2(push.residual) == uvec2(0u) ? value : value + push.residual.v[at];
}
