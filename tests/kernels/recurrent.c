/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The gated delta net against float64: several slots, any cut of a prompt into steps, and states that are copied. */
#include "stage-fixture.h"

#define LENGTH 70u /* positions of each slot */

typedef struct net_case {
  unsigned n_k, n_v, k_dim, v_dim, n_conv;
  bool tiled;
  tensor in, conv, a_log, dt_bias, norm;
} net_case;

static unsigned channels_of(const net_case *c) {
  return 2 * c->n_k * c->k_dim + c->n_v * c->v_dim;
}

static uint32_t token_at(uint32_t slot, uint32_t position) {
  return (slot * 13 + position * 5 + position / 9) % N_TOKENS;
}

/* All positions of one slot: out [LENGTH][n_v * v_dim]. */
static void reference(const net_case *c, uint32_t slot, double *out) {
  unsigned n_channels = channels_of(c), kd = c->n_k * c->k_dim, vd = c->n_v * c->v_dim,
           width = n_channels + vd + 2 * c->n_v;
  double *y = malloc(n_channels * sizeof *y), *s = calloc((size_t)c->n_v * c->k_dim * c->v_dim, sizeof *s);
  for (uint32_t t = 0; t < LENGTH; t++) {
    const float *in = c->in.values + (size_t)token_at(slot, t) * width;
    for (unsigned i = 0; i < n_channels; i++) {
      double sum = 0;
      for (unsigned j = 0; j < c->n_conv; j++) {
        if (t + j + 1 >= c->n_conv)
          sum += (double)c->conv.values[i * c->n_conv + j] *
                 (double)c->in.values[(size_t)token_at(slot, t + j + 1 - c->n_conv) * width + i];
      }
      y[i] = sum * sigmoid(sum);
    }
    for (unsigned h = 0; h < 2 * c->n_k; h++) {
      double sum = 0;
      for (unsigned i = 0; i < c->k_dim; i++)
        sum += y[h * c->k_dim + i] * y[h * c->k_dim + i];
      for (unsigned i = 0; i < c->k_dim; i++)
        y[h * c->k_dim + i] /= fmax(sqrt(sum), 1e-6);
    }
    for (unsigned h = 0; h < c->n_v; h++) {
      unsigned k_head = c->tiled ? h % c->n_k : h / (c->n_v / c->n_k);
      const double *q = y + k_head * c->k_dim, *k = q + kd, *v = y + 2 * kd + h * c->v_dim;
      const float *z = in + n_channels + h * c->v_dim;
      double beta = sigmoid((double)in[n_channels + vd + h]);
      double dt = (double)in[n_channels + vd + c->n_v + h] + (double)c->dt_bias.values[h];
      double decay = exp((double)c->a_log.values[h] * log(1 + exp(dt))), mean = 0;
      double *state = s + (size_t)h * c->k_dim * c->v_dim, *o = out + ((size_t)t * c->n_v + h) * c->v_dim;
      for (unsigned j = 0; j < c->v_dim; j++) {
        double seen = 0;
        for (unsigned i = 0; i < c->k_dim; i++)
          seen += (state[i * c->v_dim + j] *= decay) * k[i];
        double d = beta * (v[j] - seen);
        o[j] = 0;
        for (unsigned i = 0; i < c->k_dim; i++)
          o[j] += (state[i * c->v_dim + j] += k[i] * d) * q[i] / sqrt(c->k_dim);
        mean += o[j] * o[j] / c->v_dim;
      }
      for (unsigned j = 0; j < c->v_dim; j++)
        o[j] = (double)c->norm.values[j] * o[j] / sqrt(mean + 1e-6) * (double)z[j] * sigmoid((double)z[j]);
    }
  }
  free(y);
  free(s);
}

static void build(fixture *f, net_case *c) {
  em_value in = add_operand(f, &c->in), out = add_value(f, c->n_v * c->v_dim);
  add_stage(f, EM_STAGE_DELTA_NET)->delta_net = (em_stage_delta_net){.in = in,
                                                                     .state_layer = 1,
                                                                     .n_k = c->n_k,
                                                                     .n_v = c->n_v,
                                                                     .k_dim = c->k_dim,
                                                                     .v_dim = c->v_dim,
                                                                     .n_conv = c->n_conv,
                                                                     .tiled = c->tiled,
                                                                     .conv = add_weights(f, &c->conv),
                                                                     .a_log = add_weights(f, &c->a_log),
                                                                     .dt_bias = add_weights(f, &c->dt_bias),
                                                                     .norm = add_weights(f, &c->norm),
                                                                     .eps = 1e-6f,
                                                                     .out = out};
  make_program(f, out);
}

/* Runs positions from[s] .. to[s] - 1 of each of n_slots slots, whose states lie at states[s]; out[s]: [LENGTH][width].
 */
static em_status run(fixture *f, uint32_t n_slots, const uint32_t *slots_of, const uint32_t *from, const uint32_t *to,
                     const uint32_t *states, float *const *out, uint64_t *state_bytes) {
  int32_t tokens[MAX_ROWS];
  uint32_t positions[MAX_ROWS], slots[MAX_ROWS], n = 0;
  size_t width = f->values[f->n_values - 1].width;
  for (uint32_t s = 0; s < n_slots; s++) {
    for (uint32_t p = from[s]; p < to[s] && n < MAX_ROWS; p++, n++) {
      tokens[n] = (int32_t)token_at(slots_of[s], p);
      positions[n] = p;
      slots[n] = s;
    }
  }
  em_step step = {
      .n_rows = n, .tokens = tokens, .positions = positions, .slots = slots, .n_slots = n_slots, .states = states};
  em_status status = em_backend_run(f->program, &step, NULL);
  for (uint32_t r = 0; status == EM_OK && out && r < n; r++)
    memcpy(out[slots[r]] + positions[r] * width, em_program_result(f->program, r), width * sizeof(float));
  if (state_bytes)
    *state_bytes = em_program_counters(f->program).state_bytes;
  return status;
}

static void test_net(net_case c) {
  unsigned n_channels = channels_of(&c), width = c.n_v * c.v_dim;
  c.in = make_table(n_channels + width + 2 * c.n_v);
  c.conv = make_vector((uint64_t)n_channels * c.n_conv);
  c.a_log = make_vector(c.n_v);
  c.dt_bias = make_vector(c.n_v);
  c.norm = make_vector(c.v_dim);
  for (unsigned h = 0; h < c.n_v; h++)
    put(&c.a_log, h, -0.02f - fabsf(c.a_log.values[h]) / 4);
  em_state_layer layers[2] = {{7, 100}, {n_channels * (c.n_conv - 1), c.n_v * c.k_dim * c.v_dim}};
  em_kv_desc kv = {.type = EM_TYPE_F16, .state_layers = layers, .n_state_layers = 2, .n_states = 6};
  uint64_t bytes = 0, of_states = 4ull * (layers[1].n_conv + layers[1].n_inner);
  double *expected[2];
  float *first[2], *out[2];
  for (unsigned s = 0; s < 2; s++) {
    expected[s] = malloc(LENGTH * width * sizeof **expected);
    first[s] = malloc(LENGTH * width * sizeof **first);
    out[s] = malloc(LENGTH * width * sizeof **out);
    reference(&c, s, expected[s]);
  }
  for (int isa = 0; isa < N_SETS; isa++) {
    for (uint32_t n_threads = 1; n_threads <= MAX_THREADS; n_threads++) {
      fixture f;
      begin(&f, (em_cpu_isa)isa, n_threads, &kv);
      build(&f, &c);
      /* Each slot alone, in one step, on a place that another prompt has used. */
      for (uint32_t s = 0; s < 2; s++) {
        uint32_t none = 0, all = LENGTH, place = 3, other = 1 - s;
        CHECK(run(&f, 1, &other, &none, &all, &place, NULL, NULL) == EM_OK);
        CHECK(run(&f, 1, &s, &none, &all, &place, n_threads == 1 ? &first[s] : &out[s], &bytes) == EM_OK);
        CHECK_INT(bytes, 2 * of_states);
        double e = nmse(expected[s], first[s], LENGTH * width);
        CHECK(e <= 1e-10);
        if (!(e <= 1e-10))
          fprintf(stderr, "NMSE %g with %s\n", e, em_cpu_isa_name((em_cpu_isa)isa));
        if (n_threads > 1)
          CHECK(memcmp(first[s], out[s], LENGTH * width * sizeof **out) == 0);
      }
      /* Both together in pieces of many lengths; slot 1 goes on from a copy. */
      uint32_t both[2] = {0, 1}, from[2] = {0, 0}, to[2], places[2] = {5, 1};
      for (uint32_t piece = 1; from[0] < LENGTH || from[1] < LENGTH; piece = piece % 7 + 1) {
        to[0] = from[0] + piece < LENGTH ? from[0] + piece : LENGTH;
        to[1] = from[1] + 9 - piece < LENGTH ? from[1] + 9 - piece : LENGTH;
        CHECK(run(&f, 2, both, from, to, places, out, NULL) == EM_OK);
        memcpy(from, to, sizeof from);
        if (piece == 3) {
          uint32_t next = places[1] == 4 ? 0 : 4;
          CHECK(em_kv_copy_state(f.kv, places[1], next, NULL) == EM_OK);
          places[1] = next;
        }
      }
      for (uint32_t s = 0; s < 2; s++)
        CHECK(memcmp(first[s], out[s], LENGTH * width * sizeof **out) == 0);
      end(&f);
    }
  }
  for (unsigned s = 0; s < 2; s++) {
    free(expected[s]);
    free(first[s]);
    free(out[s]);
  }
  free_tensor(&c.in);
  free_tensor(&c.conv);
  free_tensor(&c.a_log);
  free_tensor(&c.dt_bias);
  free_tensor(&c.norm);
}

/* A state that was kept brings a slot back, and what is no place is refused. */
static void test_places(void) {
  net_case c = {1, 2, 4, 3, 3, false, .norm = {.n = 0}};
  unsigned n_channels = channels_of(&c);
  c.in = make_table(n_channels + 6 + 4);
  c.conv = make_vector((uint64_t)n_channels * 3);
  c.a_log = make_vector(2);
  c.dt_bias = make_vector(2);
  c.norm = make_vector(3);
  em_state_layer layers[2] = {{1, 1}, {n_channels * 2, 24}};
  em_kv_desc kv = {.type = EM_TYPE_F16, .state_layers = layers, .n_state_layers = 2, .n_states = 3};
  float *first = malloc(LENGTH * 6 * sizeof *first), *again = malloc(LENGTH * 6 * sizeof *again);
  fixture f;
  begin(&f, em_cpu_best_isa(), 1, &kv);
  build(&f, &c);
  uint32_t slot = 0, none = 0, half = 20, all = LENGTH, place = 0, kept = 2;
  CHECK(run(&f, 1, &slot, &none, &half, &place, &first, NULL) == EM_OK);
  CHECK(em_kv_copy_state(f.kv, place, kept, NULL) == EM_OK);
  CHECK(run(&f, 1, &slot, &half, &all, &place, &first, NULL) == EM_OK);
  CHECK(em_kv_copy_state(f.kv, kept, 1, NULL) == EM_OK);
  place = 1;
  CHECK(run(&f, 1, &slot, &half, &all, &place, &again, NULL) == EM_OK);
  CHECK(memcmp(first + half * 6, again + half * 6, (LENGTH - half) * 6 * sizeof *first) == 0);
  CHECK(em_kv_copy_state(f.kv, 0, 3, NULL) == EM_ERR_ARGUMENT);
  uint32_t both[2] = {0, 1}, from[2] = {0, 0}, to[2] = {2, 2}, same[2] = {1, 1}, outside[2] = {1, 3};
  CHECK(run(&f, 2, both, from, to, same, NULL, NULL) == EM_ERR_ARGUMENT);
  CHECK(run(&f, 2, both, from, to, outside, NULL, NULL) == EM_ERR_ARGUMENT);
  CHECK(run(&f, 2, both, from, to, NULL, NULL, NULL) == EM_ERR_ARGUMENT);
  end(&f);
  free(first);
  free(again);
  free_tensor(&c.in);
  free_tensor(&c.conv);
  free_tensor(&c.a_log);
  free_tensor(&c.dt_bias);
  free_tensor(&c.norm);
}

int main(void) {
  test_net((net_case){2, 4, 16, 16, 4, false, .norm = {.n = 0}});
  test_net((net_case){2, 6, 12, 20, 4, true, .norm = {.n = 0}});
  test_net((net_case){1, 3, 33, 70, 2, false, .norm = {.n = 0}});
  test_net((net_case){3, 3, 8, 5, 1, true, .norm = {.n = 0}});
  test_net((net_case){1, 2, 128, 128, 4, true, .norm = {.n = 0}});
  test_places();
  return check_done();
}
