/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Norms and rotations of heads, where keys and values come from, and what of a cache attention sees: windows, caps,
 * sinks, both ways, values in the keys; against float64, and with equal bits for any cut of a prompt into steps. */
#include "stage-fixture.h"

typedef struct heads_case {
  em_type kv;
  unsigned n_heads, n_kv, k_dim, v_dim, n_extra; /* values behind q, k and v in a row */
  bool v_in_k;
  em_kv_source source;
  unsigned q_norm, k_norm; /* values of the norms; 0: none */
  bool norm_v;
  em_rope_kind rope;
  unsigned n_rot, offset;
  float ext_factor, q_log_scale;
  uint32_t q_log_period, window;
  float softcap;
  bool sinks, both_ways, is_filled_by_other; /* the layer was filled by another stage before this one */
  uint32_t lengths[2];
  tensor row, first, q_weights, k_weights, sink_weights;
} heads_case;

#define RAMP_LOW 1.5f
#define RAMP_HIGH 4.0f
#define FREQ_SCALE 0.25f
#define MAGNITUDE 1.1f

static unsigned row_width(const heads_case *c, em_kv_source source) {
  unsigned width = c->n_heads * c->k_dim;
  width += source != EM_KV_FROM_NONE ? c->n_kv * c->k_dim : 0;
  return width + (source == EM_KV_FROM_ROW && !c->v_in_k ? c->n_kv * c->v_dim : 0) + c->n_extra;
}

static em_stage_rope_store rope_store(fixture *f, heads_case *c, em_value qkv, em_kv_source source) {
  bool has_k = source != EM_KV_FROM_NONE;
  return (em_stage_rope_store){.qkv = qkv,
                               .n_heads = c->n_heads,
                               .source = source,
                               .q_norm = c->q_norm ? add_weights(f, &c->q_weights) : NULL,
                               .k_norm = c->k_norm && has_k ? add_weights(f, &c->k_weights) : NULL,
                               .norm_v = c->norm_v && has_k,
                               .norm_eps = 1e-6f,
                               .rope = {.kind = c->rope,
                                        .n_rot = c->n_rot,
                                        .base = 1000.0f,
                                        .freq_scale = FREQ_SCALE,
                                        .magnitude = MAGNITUDE,
                                        .offset = c->offset,
                                        .ext_factor = c->ext_factor,
                                        .ramp_low = RAMP_LOW,
                                        .ramp_high = RAMP_HIGH},
                               .q_log_scale = c->q_log_scale,
                               .q_log_period = c->q_log_period};
}

static void build(fixture *f, heads_case *c) {
  em_value first = add_operand(f, &c->first), row = add_operand(f, &c->row), out = add_value(f, c->n_heads * c->v_dim);
  if (c->is_filled_by_other)
    add_stage(f, EM_STAGE_ROPE_STORE)->rope_store = rope_store(f, c, first, EM_KV_FROM_ROW);
  add_stage(f, EM_STAGE_ROPE_STORE)->rope_store = rope_store(f, c, row, c->source);
  add_stage(f, EM_STAGE_ATTENTION)->attention =
      (em_stage_attention){.qkv = row,
                           .out = out,
                           .n_heads = c->n_heads,
                           .scale = 0.3f,
                           .window = c->window,
                           .softcap = c->softcap,
                           .sinks = c->sinks ? add_weights(f, &c->sink_weights) : NULL,
                           .both_ways = c->both_ways};
  make_program(f, out);
}

static uint32_t token_at(uint32_t slot, uint32_t position) {
  return (slot * 31 + position * 17 + position / 64) % N_TOKENS;
}

static uint64_t feed(fixture *f, const heads_case *c, uint32_t chunk, float *const out[2]) {
  static const uint32_t tables[2 * MAX_PAGES] = {4, 1, 3, 0, 5, 2};
  uint32_t done[2] = {0, 0};
  size_t width = f->values[f->n_values - 1].width;
  while (done[0] < c->lengths[0] || done[1] < c->lengths[1]) {
    int32_t tokens[MAX_ROWS];
    uint32_t positions[MAX_ROWS], slots[MAX_ROWS], n = 0;
    for (uint32_t s = 0; s < 2; s++) {
      for (uint32_t i = 0; i < chunk / 2 && done[s] < c->lengths[s]; i++, n++, done[s]++) {
        tokens[n] = (int32_t)token_at(s, done[s]);
        positions[n] = done[s];
        slots[n] = s;
      }
    }
    em_step step = {
        .n_rows = n, .tokens = tokens, .positions = positions, .slots = slots, .n_slots = 2, .page_tables = tables};
    em_error error = {0};
    em_status status = em_backend_run(f->program, &step, &error);
    CHECK(status == EM_OK);
    if (status != EM_OK) {
      fprintf(stderr, "%s\n", error.text);
      exit(1);
    }
    for (uint32_t r = 0; r < n; r++)
      memcpy(out[slots[r]] + positions[r] * width, em_program_result(f->program, r), width * sizeof(float));
  }
  return em_program_counters(f->program).kv_bytes;
}

static void norm_and_turn(const heads_case *c, uint32_t position, const float *row, unsigned n_heads, unsigned head,
                          unsigned n_norm, const float *norm, bool is_q, double *y) {
  const float *x = row + head * c->k_dim;
  bool whole = n_norm > c->k_dim;
  const float *from = whole ? row : x;
  double sum = 0;
  for (unsigned i = 0; i < n_norm; i++)
    sum += (double)from[i] * (double)from[i];
  double scale = n_norm ? 1 / sqrt(sum / n_norm + 1e-6) : 1;
  (void)n_heads;
  for (unsigned d = 0; d < c->k_dim; d++) {
    bool is_normed = whole || d < n_norm;
    y[d] = (double)x[d] * (is_normed ? scale * (double)norm[whole ? head * c->k_dim + d : d] : 1);
  }
  for (unsigned k = 0; c->rope != EM_ROPE_NONE && k < c->n_rot / 2; k++) {
    double ramp = fmin(fmax((k - (double)RAMP_LOW) / ((double)RAMP_HIGH - (double)RAMP_LOW), 0), 1);
    double kept = (double)c->ext_factor * (1 - ramp);
    double theta = position * ((double)FREQ_SCALE * (1 - kept) + kept) * pow(1000, -2.0 * k / c->n_rot);
    unsigned i = c->offset + (c->rope == EM_ROPE_NEOX ? k : 2 * k);
    unsigned j = c->offset + (c->rope == EM_ROPE_NEOX ? k + c->n_rot / 2 : 2 * k + 1);
    double a = y[i], b = y[j], m = (double)MAGNITUDE;
    y[i] = m * (a * cos(theta) - b * sin(theta));
    y[j] = m * (a * sin(theta) + b * cos(theta));
  }
  for (unsigned d = 0; is_q && c->q_log_scale != 0 && d < c->k_dim; d++)
    y[d] *= 1 + (double)c->q_log_scale * log(1 + position / c->q_log_period);
}

static void as_stored(em_type type, double *x, size_t n) {
  for (size_t i = 0; type == EM_TYPE_F16 && i < n; i++)
    x[i] = (double)em_f16_to_f32(em_f32_to_f16((float)x[i]));
}

static void reference(const heads_case *c, uint32_t slot, uint32_t position, double *out) {
  const tensor *t = c->is_filled_by_other ? &c->first : &c->row;
  unsigned width = (unsigned)t->desc.n_in;
  const float *own = c->row.values + token_at(slot, position) * c->row.desc.n_in;
  uint32_t end = c->both_ways ? c->lengths[slot] : position + 1,
           begin = c->window && end > c->window ? end - c->window : 0;
  double *q = malloc(c->k_dim * sizeof *q), *k = malloc(c->k_dim * sizeof *k), *s = malloc(end * sizeof *s);
  double *v = malloc(end * c->v_dim * sizeof *v);
  for (unsigned h = 0; h < c->n_heads; h++) {
    unsigned kv_head = h / (c->n_heads / c->n_kv);
    double most = c->sinks ? (double)c->sink_weights.values[h] : -INFINITY, sum = 0;
    norm_and_turn(c, position, own, c->n_heads, h, c->q_norm, c->q_weights.values, true, q);
    for (uint32_t p = begin; p < end; p++) {
      const float *keys = t->values + token_at(slot, p) * width + c->n_heads * c->k_dim;
      const float *values = (c->source == EM_KV_FROM_K ? keys : keys + c->n_kv * c->k_dim) + kv_head * c->v_dim;
      double *value = v + p * c->v_dim, squares = 0;
      norm_and_turn(c, p, keys, c->n_kv, kv_head, c->k_norm, c->k_weights.values, false, k);
      as_stored(c->kv, k, c->k_dim);
      for (unsigned d = 0; d < c->v_dim; d++)
        squares += c->v_in_k ? 0 : (double)values[d] * (double)values[d];
      for (unsigned d = 0; d < c->v_dim; d++)
        value[d] = c->v_in_k ? k[d] : (double)values[d] * (c->norm_v ? 1 / sqrt(squares / c->v_dim + 1e-6) : 1);
      as_stored(c->kv, value, c->v_dim);
      s[p] = 0;
      for (unsigned d = 0; d < c->k_dim; d++)
        s[p] += q[d] * k[d] * (double)0.3f;
      if (c->softcap != 0)
        s[p] = (double)c->softcap * tanh(s[p] / (double)c->softcap);
      most = fmax(most, s[p]);
    }
    sum = c->sinks ? exp((double)c->sink_weights.values[h] - most) : 0;
    for (uint32_t p = begin; p < end; p++)
      sum += s[p] = exp(s[p] - most);
    for (unsigned d = 0; d < c->v_dim; d++) {
      out[h * c->v_dim + d] = 0;
      for (uint32_t p = begin; p < end; p++)
        out[h * c->v_dim + d] += s[p] / sum * v[p * c->v_dim + d];
    }
  }
  free(q);
  free(k);
  free(v);
  free(s);
}

static void test_heads(heads_case c) {
  unsigned width = c.n_heads * c.v_dim;
  c.row = make_table(row_width(&c, c.source));
  c.first = make_table(row_width(&c, EM_KV_FROM_ROW));
  c.q_weights = make_vector(c.q_norm ? c.q_norm : 1);
  c.k_weights = make_vector(c.k_norm ? c.k_norm : 1);
  c.sink_weights = make_vector(c.n_heads);
  em_kv_layer layer = {.n_heads = c.n_kv, .k_dim = c.k_dim, .v_dim = c.v_dim, .v_in_k = c.v_in_k};
  em_kv_desc kv = {.type = c.kv, .layers = &layer, .n_layers = 1, .n_pages = 2 * MAX_PAGES};
  double *expected = malloc(width * sizeof *expected), limit = tolerances.stage_attention[c.kv == EM_TYPE_F16];
  float *first[2], *out[2];
  uint64_t position_bytes = (uint64_t)c.n_kv * (c.k_dim + (c.v_in_k ? 0 : c.v_dim)) * (c.kv == EM_TYPE_F16 ? 2 : 4);
  for (unsigned s = 0; s < 2; s++) {
    first[s] = malloc(c.lengths[s] * width * sizeof **first);
    out[s] = malloc(c.lengths[s] * width * sizeof **out);
  }
  for (int isa = 0; isa < N_SETS; isa++) {
    for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
      static const uint32_t chunks[] = {MAX_ROWS, 2, 34};
      fixture f;
      begin(&f, (em_cpu_isa)isa, n_threads, &kv);
      build(&f, &c);
      /* Both ways, a slot's rows are all in one step. */
      uint64_t bytes = feed(&f, &c, c.both_ways ? MAX_ROWS : chunks[n_threads - 1], n_threads == 1 ? first : out);
      if (c.both_ways || n_threads == 2) {
        uint64_t seen = 0;
        for (unsigned s = 0; s < 2; s++)
          seen += c.lengths[s] < c.lengths[1 - s] && !c.both_ways ? 0
                  : c.window && c.window < c.lengths[s]           ? c.window
                                                                  : c.lengths[s];
        CHECK_INT(bytes, seen * position_bytes);
      }
      end(&f);
      for (unsigned s = 0; s < 2; s++) {
        if (n_threads > 1)
          CHECK(memcmp(first[s], out[s], c.lengths[s] * width * sizeof **out) == 0);
        for (uint32_t p = 0; n_threads == 1 && p < c.lengths[s]; p += p % 3 + 1) {
          reference(&c, s, p, expected);
          double e = nmse(expected, first[s] + (size_t)p * width, width);
          CHECK(e <= limit);
          if (!(e <= limit))
            fprintf(stderr, "NMSE %g at %u with %s\n", e, p, em_cpu_isa_name((em_cpu_isa)isa));
        }
      }
    }
  }
  for (unsigned s = 0; s < 2; s++) {
    free(first[s]);
    free(out[s]);
  }
  free(expected);
  free_tensor(&c.row);
  free_tensor(&c.first);
  free_tensor(&c.q_weights);
  free_tensor(&c.k_weights);
  free_tensor(&c.sink_weights);
}

int main(void) {
  /* Windows within a page, over pages, and of a page's size; caps and sinks. */
  test_heads(
      (heads_case){EM_TYPE_F32, 4, 2, 16, 16, .rope = EM_ROPE_NEOX, .n_rot = 16, .window = 7, .lengths = {40, 9}});
  test_heads((heads_case){EM_TYPE_F16, 6, 2, 24, 16, .window = 256, .softcap = 1.5f, .lengths = {530, 300}});
  test_heads((heads_case){EM_TYPE_F32, 2, 1, 8, 8, .window = 300, .sinks = true, .lengths = {620, 20}});
  test_heads((heads_case){EM_TYPE_F16, 34, 1, 16, 8, .sinks = true, .softcap = 4, .lengths = {270, 33}});
  /* Rows with gates behind q, k and v; YaRN; the scale of q that grows with the position. */
  test_heads((heads_case){EM_TYPE_F32, 4, 4, 16, fits(12, 8), 24, .rope = EM_ROPE_NORM, .n_rot = 12, .offset = 4,
                          .ext_factor = 1, .q_log_scale = 0.1f, .q_log_period = 8, .lengths = {50, 20}});
  test_heads((heads_case){EM_TYPE_F32, 3, 1, fits(20, 8), fits(20, 8), .rope = EM_ROPE_NEOX, .n_rot = 10, .offset = 2,
                          .ext_factor = 0.7f, .lengths = {30, 31}});
  /* Norms of all heads as one row, of a head's first values, of v; values that are the keys; layers that others fill.
   */
  test_heads((heads_case){EM_TYPE_F32, 4, 2, 16, 16, .q_norm = 64, .k_norm = 32, .rope = EM_ROPE_NEOX, .n_rot = 8,
                          .lengths = {20, 5}});
  test_heads((heads_case){EM_TYPE_F32, 4, 2, 16, 8, .q_norm = 10, .k_norm = 12, .norm_v = true, .lengths = {20, 5}});
  test_heads((heads_case){EM_TYPE_F32, 4, 2, 16, 16, .source = EM_KV_FROM_K, .q_norm = 16, .k_norm = 16, .norm_v = true,
                          .rope = EM_ROPE_NEOX, .n_rot = 16, .lengths = {20, 5}});
  test_heads((heads_case){EM_TYPE_F32, 2, 2, fits(12, 8), fits(12, 8), .source = EM_KV_FROM_K, .rope = EM_ROPE_NORM,
                          .n_rot = 12, .lengths = {9, 9}});
  test_heads((heads_case){EM_TYPE_F32, 4, 2, 16, 8, fits(3, 4), .source = EM_KV_FROM_NONE, .q_norm = 16, .k_norm = 16,
                          .rope = EM_ROPE_NEOX, .n_rot = 16, .is_filled_by_other = true, .lengths = {20, 5}});
  /* Values in the keys. */
  test_heads((heads_case){EM_TYPE_F32, 8, 1, 40, 32, .v_in_k = true, .k_norm = 32, .rope = EM_ROPE_NORM, .n_rot = 8,
                          .offset = 32, .lengths = {300, 40}});
  test_heads((heads_case){EM_TYPE_F16, 34, 1, fits(21, 8), fits(13, 8), .v_in_k = true, .lengths = {60, 270}});
  /* Both ways. */
  test_heads((heads_case){EM_TYPE_F32, 4, 4, 8, 8, .both_ways = true, .lengths = {37, 40}});
  return check_done();
}
