/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What stages do to single values of a row, against float64: sums of embeddings, norms, gates, and the scales, caps and
 * activations of linear stages. */
#include "stage-fixture.h"

/* --- Embeddings
 * ------------------------------------------------------------------------------------------------------------- */

typedef struct embed_case {
  tensor table, positions, types;
} embed_case;

static void build_embed(fixture *f, void *user) {
  embed_case *c = user;
  em_value out = add_value(f, (uint32_t)c->table.desc.n_in);
  add_stage(f, EM_STAGE_EMBED)->embed = (em_stage_embed){.table = add_weights(f, &c->table),
                                                         .scale = 3.0f,
                                                         .out = out,
                                                         .positions = add_weights(f, &c->positions),
                                                         .types = add_weights(f, &c->types)};
}

static void test_embed(em_type type, unsigned n) {
  embed_case c = {make_tensor(type, n, N_TOKENS, EM_USE_TABLE), make_tensor(EM_TYPE_F16, n, 50, EM_USE_TABLE),
                  make_tensor(EM_TYPE_F32, n, 2, EM_USE_TABLE)};
  double *expected = malloc(MAX_ROWS * n * sizeof *expected);
  for (uint32_t r = 0; r < MAX_ROWS; r++) {
    for (unsigned i = 0; i < n; i++)
      expected[r * n + i] = 3 * (double)c.table.values[token_of(r) * n + i] +
                            (double)c.positions.values[(r < 49 ? r : 49) * n + i] + (double)c.types.values[i];
  }
  check_stage("embed", build_embed, &c, expected, tolerances.stage_float, 0);
  free(expected);
  free_tensor(&c.table);
  free_tensor(&c.positions);
  free_tensor(&c.types);
}

/* --- Norms
 * ------------------------------------------------------------------------------------------------------------------ */

typedef struct norm_case {
  em_norm_kind kind;
  unsigned width, n;
  bool bias, residual, scale_by, in_place; /* in place: out is the residual, or x */
  float scale;
  tensor x, side, norm, norm_bias, by;
} norm_case;

static void build_norm(fixture *f, void *user) {
  norm_case *c = user;
  em_value first = add_operand(f, c->residual && c->in_place ? &c->x : &c->side);
  em_value second = add_operand(f, c->residual && c->in_place ? &c->side : &c->x);
  em_value x = c->residual && c->in_place ? first : second, side = c->residual && c->in_place ? second : first;
  em_value out = c->in_place ? second : add_value(f, c->width);
  add_stage(f, EM_STAGE_NORM)->norm = (em_stage_norm){.x = x,
                                                      .kind = c->kind,
                                                      .norm = add_weights(f, &c->norm),
                                                      .bias = c->bias ? add_weights(f, &c->norm_bias) : NULL,
                                                      .eps = 1e-5f,
                                                      .residual = c->residual ? side : EM_NO_VALUE,
                                                      .scale = c->scale,
                                                      .scale_by = c->scale_by ? add_weights(f, &c->by) : NULL,
                                                      .out = out};
}

static void test_norm(norm_case c) {
  c.x = make_table(c.width);
  c.side = make_table(c.width);
  c.norm = make_vector(c.n);
  c.norm_bias = make_vector(c.n);
  c.by = make_vector(1);
  double *expected = malloc(MAX_ROWS * c.width * sizeof *expected);
  for (uint32_t r = 0; r < MAX_ROWS; r++) {
    uint32_t at = token_of(r) * c.width;
    double *row = expected + r * c.width;
    for (unsigned i = 0; i < c.width; i += c.n)
      norm_row(c.kind, c.x.values + at + i, c.norm.values, c.bias ? c.norm_bias.values : NULL, 1e-5, c.n, row + i);
    for (unsigned i = 0; i < c.width; i++)
      row[i] = (row[i] + (c.residual ? (double)c.side.values[at + i] : 0)) * (c.scale != 0 ? (double)c.scale : 1) *
               (c.scale_by ? (double)c.by.values[0] : 1);
  }
  check_stage("norm", build_norm, &c, expected, tolerances.stage_float, 0);
  free(expected);
  free_tensor(&c.x);
  free_tensor(&c.side);
  free_tensor(&c.norm);
  free_tensor(&c.norm_bias);
  free_tensor(&c.by);
}

/* --- Gates
 * -------------------------------------------------------------------------------------------------------------------
 */

typedef struct gate_case {
  em_activation activation;
  unsigned width, gate_width, offset;
  bool is_scalar, in_place;
  tensor x, gate;
} gate_case;

static void build_gate(fixture *f, void *user) {
  gate_case *c = user;
  em_value gate = add_operand(f, &c->gate), x = add_operand(f, &c->x), out = c->in_place ? x : add_value(f, c->width);
  add_stage(f, EM_STAGE_GATE)->gate = (em_stage_gate){.x = x,
                                                      .gate = gate,
                                                      .gate_offset = c->offset,
                                                      .is_scalar = c->is_scalar,
                                                      .activation = c->activation,
                                                      .out = out};
}

static void test_gate(gate_case c) {
  c.x = make_table(c.width);
  c.gate = make_table(c.gate_width);
  for (unsigned i = 0; i < c.gate.n; i++) {
    static const float far[] = {-1000, -88.5f, -20, 20, 90, 3e4f};
    put(&c.gate, i, i % 11 == 0 ? far[i / 11 % 6] : 4 * c.gate.values[i]);
  }
  double *expected = malloc(MAX_ROWS * c.width * sizeof *expected);
  for (uint32_t r = 0; r < MAX_ROWS; r++) {
    const float *gate = c.gate.values + token_of(r) * c.gate_width + c.offset;
    for (unsigned i = 0; i < c.width; i++)
      expected[r * c.width + i] =
          act(c.activation, (double)gate[c.is_scalar ? 0 : i], 1, 0) * (double)c.x.values[token_of(r) * c.width + i];
  }
  check_stage("gate", build_gate, &c, expected, tolerances.stage_float, 0);
  free(expected);
  free_tensor(&c.x);
  free_tensor(&c.gate);
}

/* --- Linear
 * ------------------------------------------------------------------------------------------------------------------ */

typedef struct linear_case {
  em_type type;
  unsigned n_in, n_rows[EM_LINEAR_MAX_PARTS], n_parts;
  em_activation activation;
  em_norm_kind kind;
  bool norm, norm_bias, bias, w_scale, residual;
  float scale, softcap;
  tensor x, side, norm_weights, norm_bias_weights, w[EM_LINEAR_MAX_PARTS], bias_weights[EM_LINEAR_MAX_PARTS],
      scales[EM_LINEAR_MAX_PARTS];
} linear_case;

static unsigned width_of(const linear_case *c) {
  unsigned width = 0;
  for (unsigned p = 0; p < c->n_parts; p++)
    width += c->n_rows[p];
  return c->activation != EM_ACT_NONE && c->n_parts == 2 ? c->n_rows[0] : width;
}

static void build_linear(fixture *f, void *user) {
  linear_case *c = user;
  em_value x = add_operand(f, &c->x), side = add_operand(f, &c->side), out = add_value(f, width_of(c));
  em_stage_linear s = {.x = x,
                       .norm = c->norm ? add_weights(f, &c->norm_weights) : NULL,
                       .norm_bias = c->norm_bias ? add_weights(f, &c->norm_bias_weights) : NULL,
                       .norm_kind = c->kind,
                       .norm_eps = 1e-5f,
                       .n_parts = c->n_parts,
                       .activation = c->activation,
                       .scale = c->scale,
                       .softcap = c->softcap,
                       .residual = c->residual ? side : EM_NO_VALUE,
                       .out = out};
  for (unsigned p = 0; p < c->n_parts; p++) {
    s.w[p] = add_weights(f, &c->w[p]);
    s.w_scale[p] = c->w_scale ? add_weights(f, &c->scales[p]) : NULL;
    s.bias[p] = c->bias ? add_weights(f, &c->bias_weights[p]) : NULL;
  }
  add_stage(f, EM_STAGE_LINEAR)->linear = s;
}

static void test_linear(linear_case c) {
  unsigned width = width_of(&c), at;
  c.x = make_table(c.n_in);
  c.side = make_table(width);
  c.norm_weights = make_vector(c.n_in);
  c.norm_bias_weights = make_vector(c.n_in);
  for (unsigned p = 0; p < c.n_parts; p++) {
    c.w[p] = make_tensor(c.type, c.n_in, c.n_rows[p], EM_USE_MATRIX);
    c.bias_weights[p] = make_vector(c.n_rows[p]);
    c.scales[p] = make_vector(1);
  }
  double *expected = malloc(MAX_ROWS * width * sizeof *expected), *v = malloc(c.n_in * sizeof *v);
  double *y = malloc(4 * 128 * sizeof *y);
  for (uint32_t r = 0; r < MAX_ROWS; r++) {
    const float *x = c.x.values + token_of(r) * c.n_in;
    for (unsigned k = 0; k < c.n_in; k++)
      v[k] = (double)x[k];
    if (c.norm)
      norm_row(c.kind, x, c.norm_weights.values, c.norm_bias ? c.norm_bias_weights.values : NULL, 1e-5, c.n_in, v);
    at = 0;
    for (unsigned p = 0; p < c.n_parts; p++) {
      for (unsigned i = 0; i < c.n_rows[p]; i++, at++) {
        y[at] = 0;
        for (unsigned k = 0; k < c.n_in; k++)
          y[at] += v[k] * (double)c.w[p].values[i * c.n_in + k];
        y[at] = y[at] * (c.w_scale ? (double)c.scales[p].values[0] : 1) +
                (c.bias ? (double)c.bias_weights[p].values[i] : 0);
      }
    }
    for (unsigned i = 0; i < width; i++) {
      double z = y[i] * (c.scale != 0 ? (double)c.scale : 1);
      if (c.activation != EM_ACT_NONE)
        z = act(c.activation, y[i], c.n_parts == 2 ? y[width + i] : 1, 0);
      if (c.softcap != 0)
        z = (double)c.softcap * tanh(z / (double)c.softcap);
      expected[r * width + i] = z + (c.residual ? (double)c.side.values[token_of(r) * width + i] : 0);
    }
  }
  bool quantised = em_type_get(c.type)->block_len > 1;
  check_stage("linear", build_linear, &c, expected, quantised ? tolerances.stage_quantised : tolerances.stage_float, 0);
  free(expected);
  free(v);
  free(y);
  free_tensor(&c.x);
  free_tensor(&c.side);
  free_tensor(&c.norm_weights);
  free_tensor(&c.norm_bias_weights);
  for (unsigned p = 0; p < c.n_parts; p++) {
    free_tensor(&c.w[p]);
    free_tensor(&c.bias_weights[p]);
    free_tensor(&c.scales[p]);
  }
}

int main(void) {
  test_embed(EM_TYPE_F32, fits(37, 4));
  test_embed(EM_TYPE_Q8_0, 64);
  test_norm((norm_case){EM_NORM_RMS, 40, 40, .residual = true, .in_place = true});
  test_norm((norm_case){EM_NORM_RMS, 60, 20, .scale = 0.7f, .scale_by = true});
  test_norm((norm_case){EM_NORM_LAYER, fits(33, 4), fits(33, 4), .bias = true, .residual = true, .scale_by = true});
  test_norm((norm_case){EM_NORM_LAYER, 64, 16, .in_place = true});
  test_gate((gate_case){EM_ACT_NONE, fits(37, 4), fits(43, 4), 3, false, true, .x = {.n = 0}});
  for (em_activation a = EM_ACT_GELU; a <= EM_ACT_SIGMOID; a++) {
    test_gate((gate_case){a, fits(37, 4), fits(81, 4), 41, false, false, .x = {.n = 0}});
    test_gate((gate_case){a, 32, fits(5, 4), 4, true, true, .x = {.n = 0}});
    test_linear((linear_case){EM_TYPE_F32, 20, {fits(35, 4)}, 1, a, .norm = true, .bias = true, .w_scale = true});
    test_linear((linear_case){EM_TYPE_Q8_0, 64, {32}, 1, a, EM_NORM_LAYER, .norm = true, .norm_bias = true});
  }
  test_linear(
      (linear_case){EM_TYPE_F16, 24, {fits(19, 4), fits(19, 4)}, 2, EM_ACT_GEGLU, .bias = true, .w_scale = true});
  test_linear((linear_case){EM_TYPE_Q4_0, 96, {48, 48}, 2, EM_ACT_GEGLU, .norm = true});
  test_linear((linear_case){EM_TYPE_F32, 24, {40, 40}, 2, EM_ACT_SWIGLU_OAI, .bias = true});
  test_linear((linear_case){EM_TYPE_F32,
                            40,
                            {5, 16, 33, fits(1, 2)},
                            4,
                            EM_ACT_NONE,
                            EM_NORM_LAYER,
                            .norm = true,
                            .bias = true,
                            .w_scale = true,
                            .residual = true,
                            .scale = 0.3f,
                            .softcap = 1.5f});
  test_linear((linear_case){EM_TYPE_Q8_0,
                            64,
                            {40, fits(7, 4)},
                            2,
                            EM_ACT_NONE,
                            .norm = true,
                            .w_scale = true,
                            .scale = 4.0f,
                            .softcap = 30.0f});
  return check_done();
}
