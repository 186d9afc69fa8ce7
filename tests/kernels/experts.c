/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Router, experts, their sum, and a matrix for each head, against float64. */
#include "stage-fixture.h"

/* --- Router
 * --------------------------------------------------------------------------------------------------------------------
 */

typedef struct router_case {
  em_gating gating;
  unsigned n_in, n_experts, n_used, n_groups, n_groups_used;
  bool norm, bias, select_bias, normalise;
  float logit_scale, scale;
  tensor x, norm_weights, w, bias_weights, select_weights;
} router_case;

static void build_router(fixture *f, void *user) {
  router_case *c = user;
  em_value x = add_operand(f, &c->x), routes = add_value(f, 2 * c->n_used);
  em_stage *s = add_stage(f, EM_STAGE_ROUTER);
  s->router = (em_stage_router){.x = x,
                                .norm = c->norm ? add_weights(f, &c->norm_weights) : NULL,
                                .norm_eps = 1e-5f,
                                .w = add_weights(f, &c->w),
                                .bias = c->bias ? add_weights(f, &c->bias_weights) : NULL,
                                .select_bias = c->select_bias ? add_weights(f, &c->select_weights) : NULL,
                                .logit_scale = c->logit_scale,
                                .gating = c->gating,
                                .n_used = c->n_used,
                                .n_groups = c->n_groups,
                                .n_groups_used = c->n_groups_used,
                                .normalise = c->normalise,
                                .scale = c->scale,
                                .routes = routes};
}

/* Whether expert e is better than f. */
static bool is_better(const double *score, unsigned e, unsigned f) {
  return score[e] > score[f] || (score[e] == score[f] && e < f);
}

static void reference_router(const router_case *c, const float *x, double *routes) {
  double *v = malloc(c->n_in * sizeof *v), *p = malloc(c->n_experts * sizeof *p),
         *score = malloc(c->n_experts * sizeof *score);
  double most = -INFINITY, sum = 0;
  for (unsigned k = 0; k < c->n_in; k++)
    v[k] = (double)x[k];
  if (c->norm)
    norm_row(EM_NORM_RMS, x, c->norm_weights.values, NULL, 1e-5, c->n_in, v);
  for (unsigned e = 0; e < c->n_experts; e++) {
    p[e] = 0;
    for (unsigned k = 0; k < c->n_in; k++)
      p[e] += v[k] * (double)c->w.values[e * c->n_in + k];
    p[e] =
        p[e] * (c->logit_scale != 0 ? (double)c->logit_scale : 1) + (c->bias ? (double)c->bias_weights.values[e] : 0);
    most = fmax(most, p[e]);
  }
  for (unsigned e = 0; e < c->n_experts; e++)
    sum += exp(p[e] - most);
  for (unsigned e = 0; e < c->n_experts; e++) {
    if (c->gating == EM_GATING_SOFTMAX)
      p[e] = exp(p[e] - most) / sum;
    else if (c->gating == EM_GATING_SIGMOID)
      p[e] = sigmoid(p[e]);
    else if (c->gating == EM_GATING_SQRT_SOFTPLUS)
      p[e] = sqrt(log(1 + exp(p[e])));
    score[e] = p[e] + (c->select_bias ? (double)c->select_weights.values[e] : 0);
  }
  unsigned n = c->n_groups > 1 ? c->n_experts / c->n_groups : c->n_experts;
  double best[64];
  for (unsigned g = 0; c->n_groups > 1 && g < c->n_groups; g++) {
    best[g] = -INFINITY;
    for (unsigned e = g * n; e < (g + 1) * n; e++) {
      for (unsigned o = g * n; o < e; o++)
        best[g] = fmax(best[g], score[e] + score[o]);
    }
  }
  for (unsigned g = 0; c->n_groups > 1 && g < c->n_groups; g++) {
    unsigned n_better = 0;
    for (unsigned o = 0; o < c->n_groups; o++)
      n_better += is_better(best, o, g);
    for (unsigned e = g * n; n_better >= c->n_groups_used && e < (g + 1) * n; e++)
      score[e] = -INFINITY;
  }
  double total = 0;
  for (unsigned e = 0; e < c->n_experts; e++) {
    unsigned rank = 0;
    for (unsigned o = 0; o < c->n_experts; o++)
      rank += is_better(score, o, e);
    if (rank < c->n_used) {
      routes[rank] = e;
      routes[c->n_used + rank] = c->gating == EM_GATING_SOFTMAX_SELECTED ? exp(p[e] - most) : p[e];
      total += routes[c->n_used + rank];
    }
  }
  for (unsigned j = 0; j < c->n_used; j++) {
    if (c->gating == EM_GATING_SOFTMAX_SELECTED || c->normalise)
      routes[c->n_used + j] /= total;
    routes[c->n_used + j] *= c->scale != 0 ? (double)c->scale : 1;
  }
  free(v);
  free(p);
  free(score);
}

static void test_router(router_case c) {
  c.x = make_table(c.n_in);
  c.norm_weights = make_vector(c.n_in);
  c.w = make_tensor(EM_TYPE_F32, c.n_in, c.n_experts, EM_USE_MATRIX);
  c.bias_weights = make_vector(c.n_experts);
  c.select_weights = make_vector(c.n_experts);
  double *expected = malloc(MAX_ROWS * 2 * c.n_used * sizeof *expected);
  for (uint32_t r = 0; r < MAX_ROWS; r++)
    reference_router(&c, c.x.values + token_of(r) * c.n_in, expected + r * 2 * c.n_used);
  check_stage("router", build_router, &c, expected, tolerances.stage_float, 0);
  free(expected);
  free_tensor(&c.x);
  free_tensor(&c.norm_weights);
  free_tensor(&c.w);
  free_tensor(&c.bias_weights);
  free_tensor(&c.select_weights);
}

/* Equal experts are chosen by their numbers, and what is no number comes last. */
static void test_router_ties(void) {
  router_case c = {EM_GATING_SIGMOID, 8, 6, 4, 1, 1, .normalise = false};
  c.x = make_table(8);
  c.w = make_tensor(EM_TYPE_F32, 8, 6, EM_USE_MATRIX);
  for (size_t i = 0; i < c.w.n; i++)
    put(&c.w, i, 0);
  put(&c.w, 1 * 8, NAN);
  for (unsigned t = 0; t < N_TOKENS; t++)
    put(&c.x, t * 8, 1);
  double *expected = malloc(MAX_ROWS * 8 * sizeof *expected);
  for (uint32_t r = 0; r < MAX_ROWS; r++)
    memcpy(expected + r * 8, (double[]){0, 2, 3, 4, 0.5, 0.5, 0.5, 0.5}, 8 * sizeof *expected);
  check_stage("equal experts", build_router, &c, expected, 1e-14, 0);
  free(expected);
  free_tensor(&c.x);
  free_tensor(&c.w);
}

/* --- Experts and their sum
 * -------------------------------------------------------------------------------------------------------- */

typedef struct experts_case {
  em_type type[2], down;
  unsigned n_in, n_rows, n_out, n_experts, n_used, n_parts;
  em_activation activation;
  float clamp;
  bool norm, bias, scales, residual, is_skewed; /* skewed: most rows choose the same experts */
  tensor x, routes, side, norm_weights, w[2], w_scale[2], w_bias[2], d, d_scale, d_bias, middle;
} experts_case;

static void build_experts(fixture *f, void *user) {
  experts_case *c = user;
  em_value x = add_operand(f, &c->x), routes = add_operand(f, &c->routes), out = add_value(f, c->n_used * c->n_rows);
  em_stage_experts s = {.x = x,
                        .norm = c->norm ? add_weights(f, &c->norm_weights) : NULL,
                        .norm_eps = 1e-5f,
                        .routes = routes,
                        .n_parts = c->n_parts,
                        .activation = c->activation,
                        .clamp = c->clamp,
                        .out = out};
  for (unsigned p = 0; p < c->n_parts; p++) {
    s.w[p] = add_weights(f, &c->w[p]);
    s.w_scale[p] = c->scales ? add_weights(f, &c->w_scale[p]) : NULL;
    s.bias[p] = c->bias ? add_weights(f, &c->w_bias[p]) : NULL;
  }
  add_stage(f, EM_STAGE_EXPERTS)->experts = s;
}

static void build_sum(fixture *f, void *user) {
  experts_case *c = user;
  em_value x = add_operand(f, &c->middle), routes = add_operand(f, &c->routes);
  em_value out = c->residual ? add_operand(f, &c->side) : add_value(f, c->n_out);
  add_stage(f, EM_STAGE_EXPERTS_SUM)->experts_sum =
      (em_stage_experts_sum){.x = x,
                             .routes = routes,
                             .w = add_weights(f, &c->d),
                             .w_scale = c->scales ? add_weights(f, &c->d_scale) : NULL,
                             .bias = c->bias ? add_weights(f, &c->d_bias) : NULL,
                             .residual = c->residual ? out : EM_NO_VALUE,
                             .out = out};
}

static double product(const float *w, const double *x, unsigned n) {
  double sum = 0;
  for (unsigned k = 0; k < n; k++)
    sum += (double)w[k] * x[k];
  return sum;
}

static void reference_experts(const experts_case *c, uint32_t token, double *out) {
  double *v = malloc(c->n_in * sizeof *v), z[2] = {0, 0};
  norm_row(EM_NORM_RMS, c->x.values + token * c->n_in, c->norm_weights.values, NULL, 1e-5, c->n_in, v);
  for (unsigned k = 0; !c->norm && k < c->n_in; k++)
    v[k] = (double)c->x.values[token * c->n_in + k];
  for (unsigned j = 0; j < c->n_used; j++) {
    unsigned e = (unsigned)c->routes.values[token * 2 * c->n_used + j];
    for (unsigned r = 0; r < c->n_rows; r++) {
      for (unsigned p = 0; p < c->n_parts; p++)
        z[p] = product(c->w[p].values + ((size_t)e * c->n_rows + r) * c->n_in, v, c->n_in) *
                   (c->scales ? (double)c->w_scale[p].values[e] : 1) +
               (c->bias ? (double)c->w_bias[p].values[e * c->n_rows + r] : 0);
      out[j * c->n_rows + r] = act(c->activation, z[0], z[1], (double)c->clamp);
    }
  }
  free(v);
}

static void reference_sum(const experts_case *c, uint32_t token, double *out) {
  double *v = malloc(c->n_rows * sizeof *v);
  for (unsigned i = 0; i < c->n_out; i++)
    out[i] = c->residual ? (double)c->side.values[token * c->n_out + i] : 0;
  for (unsigned j = 0; j < c->n_used; j++) {
    const float *route = c->routes.values + token * 2 * c->n_used;
    unsigned e = (unsigned)route[j];
    for (unsigned k = 0; k < c->n_rows; k++)
      v[k] = (double)c->middle.values[(token * c->n_used + j) * c->n_rows + k];
    for (unsigned i = 0; i < c->n_out; i++)
      out[i] +=
          (double)route[c->n_used + j] * (product(c->d.values + ((size_t)e * c->n_out + i) * c->n_rows, v, c->n_rows) *
                                              (c->scales ? (double)c->d_scale.values[e] : 1) +
                                          (c->bias ? (double)c->d_bias.values[e * c->n_out + i] : 0));
  }
  free(v);
}

static void test_experts(experts_case c) {
  bool quantised = em_type_get(c.type[0])->block_len > 1 || em_type_get(c.down)->block_len > 1;
  c.x = make_table(c.n_in);
  c.routes = make_table(2 * c.n_used);
  c.side = make_table(c.n_out);
  c.middle = make_table((uint64_t)c.n_used * c.n_rows);
  c.norm_weights = make_vector(c.n_in);
  for (unsigned p = 0; p < 2; p++) {
    c.w[p] = make_stack(c.type[p], c.n_in, c.n_rows, c.n_experts, EM_USE_STACK);
    c.w_scale[p] = make_vector(c.n_experts);
    c.w_bias[p] = make_vector((uint64_t)c.n_experts * c.n_rows);
  }
  c.d = make_stack(c.down, c.n_rows, c.n_out, c.n_experts, EM_USE_STACK);
  c.d_scale = make_vector(c.n_experts);
  c.d_bias = make_vector((uint64_t)c.n_experts * c.n_out);
  bool chosen[256] = {false};
  uint64_t n_chosen = 0;
  for (unsigned t = 0; t < N_TOKENS; t++) {
    for (unsigned j = 0; j < c.n_used; j++) {
      unsigned e = c.is_skewed && t % 8 != 0 ? j : (t * 5 + j * 3) % c.n_experts;
      for (unsigned i = 0; i < j; i++)
        if (c.routes.values[t * 2 * c.n_used + i] == (float)e)
          e = (e + 1) % c.n_experts, i = (unsigned)-1;
      put(&c.routes, t * 2 * c.n_used + j, (float)e);
      n_chosen += !chosen[e];
      chosen[e] = true;
    }
  }
  double *expected = malloc((size_t)MAX_ROWS * (c.n_used * c.n_rows + c.n_out) * sizeof *expected);
  for (uint32_t r = 0; r < MAX_ROWS; r++)
    reference_experts(&c, token_of(r), expected + (size_t)r * c.n_used * c.n_rows);
  uint64_t bytes = 0;
  for (unsigned p = 0; p < c.n_parts; p++)
    bytes += c.w[p].bytes + (c.bias ? c.w_bias[p].bytes : 0) + (c.scales ? c.w_scale[p].bytes : 0);
  double limit = quantised ? tolerances.stage_quantised : tolerances.stage_float;
  check_stage("experts", build_experts, &c, expected, limit, bytes / c.n_experts * n_chosen);
  for (uint32_t r = 0; r < MAX_ROWS; r++)
    reference_sum(&c, token_of(r), expected + (size_t)r * c.n_out);
  bytes = c.d.bytes + (c.bias ? c.d_bias.bytes : 0) + (c.scales ? c.d_scale.bytes : 0);
  check_stage("their sum", build_sum, &c, expected, limit, bytes / c.n_experts * n_chosen);
  free(expected);
  tensor *all[] = {&c.x,         &c.routes, &c.side,       &c.middle,     &c.norm_weights,
                   &c.w[0],      &c.w[1],   &c.w_scale[0], &c.w_scale[1], &c.w_bias[0],
                   &c.w_bias[1], &c.d,      &c.d_scale,    &c.d_bias};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    free_tensor(all[i]);
}

/* Routes that name no expert must not be followed out of the stack. */
static void test_foreign_routes(void) {
  experts_case c = {{EM_TYPE_F32, EM_TYPE_F32}, EM_TYPE_F32, 8, 5, 7, 3, 2, 2, EM_ACT_SWIGLU, 0, .norm = false};
  c.x = make_table(8);
  c.routes = make_table(4);
  for (unsigned p = 0; p < 2; p++)
    c.w[p] = make_stack(EM_TYPE_F32, 8, 5, 3, EM_USE_STACK);
  static const float wrong[] = {NAN, INFINITY, -INFINITY, -1, 3, 1e30f, 4294967296.0f, 2.5f};
  for (unsigned i = 0; i < c.routes.n; i++)
    put(&c.routes, i, wrong[i % 8]);
  fixture f;
  begin(&f, em_cpu_best_isa(), 2, NULL);
  build_experts(&f, &c);
  make_program(&f, (em_value)f.n_values - 1);
  run_rows(&f, 0, MAX_ROWS, NULL);
  end(&f);
  free_tensor(&c.x);
  free_tensor(&c.routes);
  free_tensor(&c.w[0]);
  free_tensor(&c.w[1]);
}

/* --- Heads
 * -----------------------------------------------------------------------------------------------------------------------
 */

typedef struct heads_case {
  em_type type;
  unsigned n_in, n_rows, n_heads, n_append, n_tail;
  tensor x, w, append, tail;
} heads_case;

static void build_heads(fixture *f, void *user) {
  heads_case *c = user;
  em_value x = add_operand(f, &c->x), append = EM_NO_VALUE, tail = EM_NO_VALUE;
  if (c->n_append)
    append = add_operand(f, &c->append);
  if (c->n_tail)
    tail = add_operand(f, &c->tail);
  em_value out = add_value(f, c->n_heads * (c->n_rows + c->n_append) + c->n_tail);
  add_stage(f, EM_STAGE_HEADS)->heads =
      (em_stage_heads){.x = x, .w = add_weights(f, &c->w), .append = append, .tail = tail, .out = out};
}

static void test_heads(heads_case c) {
  c.x = make_table((uint64_t)c.n_in * c.n_heads);
  c.w = make_stack(c.type, c.n_in, c.n_rows, c.n_heads, EM_USE_STACK);
  c.append = make_table((uint64_t)(c.n_append ? c.n_append : 1) * c.n_heads);
  c.tail = make_table(c.n_tail ? c.n_tail : 1);
  size_t a_head = c.n_rows + c.n_append, width = c.n_heads * a_head + c.n_tail;
  double *expected = malloc(MAX_ROWS * width * sizeof *expected), *v = malloc(c.n_in * sizeof *v);
  for (uint32_t r = 0; r < MAX_ROWS; r++) {
    uint32_t token = token_of(r);
    for (unsigned h = 0; h < c.n_heads; h++) {
      for (unsigned k = 0; k < c.n_in; k++)
        v[k] = (double)c.x.values[(token * c.n_heads + h) * c.n_in + k];
      for (unsigned i = 0; i < c.n_rows; i++)
        expected[r * width + h * a_head + i] = product(c.w.values + ((size_t)h * c.n_rows + i) * c.n_in, v, c.n_in);
      for (unsigned i = 0; i < c.n_append; i++)
        expected[r * width + h * a_head + c.n_rows + i] =
            (double)c.append.values[(token * c.n_heads + h) * c.n_append + i];
    }
    for (unsigned i = 0; i < c.n_tail; i++)
      expected[r * width + c.n_heads * a_head + i] = (double)c.tail.values[token * c.n_tail + i];
  }
  bool quantised = em_type_get(c.type)->block_len > 1;
  check_stage("heads", build_heads, &c, expected, quantised ? tolerances.stage_quantised : tolerances.stage_float, 0);
  free(expected);
  free(v);
  free_tensor(&c.x);
  free_tensor(&c.w);
  free_tensor(&c.append);
  free_tensor(&c.tail);
}

/* --- What is refused
 * ------------------------------------------------------------------------------------------------------------ */

/* The last stage of a program with one thing changed. */
#define REFUSED(change)                                                                     \
  do {                                                                                      \
    em_stage kept = *s;                                                                     \
    change;                                                                                 \
    CHECK(em_program_new(f.backend, &desc, &program, NULL) == EM_ERR_ARGUMENT && !program); \
    *s = kept;                                                                              \
  } while (0)

static void test_refused(void) {
  router_case r = {EM_GATING_SOFTMAX, 16, 12, 4, 3, 2, .norm = true, .bias = true};
  r.x = make_table(16);
  r.norm_weights = make_vector(16);
  r.w = make_tensor(EM_TYPE_F32, 16, 12, EM_USE_MATRIX);
  r.bias_weights = make_vector(12);
  fixture f;
  begin(&f, EM_ISA_SCALAR, 1, NULL);
  build_router(&f, &r);
  em_program *program = NULL;
  em_program_desc desc = describe(&f, (em_value)f.n_values - 1);
  em_stage *s = &f.stages[f.n_stages - 1];
  REFUSED(s->router.n_used = 0);
  REFUSED(s->router.n_used = 5);
  REFUSED(s->router.n_groups = 5);
  REFUSED(s->router.n_groups_used = 0);
  REFUSED(s->router.n_groups_used = 4);
  REFUSED(s->router.gating = (em_gating)9);
  REFUSED(s->router.w = s->router.bias);
  REFUSED(s->router.bias = s->router.norm);
  REFUSED(s->router.norm = s->router.bias);
  REFUSED(s->router.routes = s->router.x);
  REFUSED(s->router.routes = 77);
  REFUSED(s->router.scale = NAN);
  CHECK(em_program_new(f.backend, &desc, &f.program, NULL) == EM_OK);
  end(&f);

  experts_case c = {
      {EM_TYPE_F32, EM_TYPE_F32}, EM_TYPE_F32, 8, 5, 7, 3, 2, 2, EM_ACT_SWIGLU, 0, .bias = true, .scales = true};
  c.x = make_table(8);
  c.routes = make_table(4);
  for (unsigned p = 0; p < 2; p++) {
    c.w[p] = make_stack(EM_TYPE_F32, 8, 5, 3, EM_USE_STACK);
    c.w_scale[p] = make_vector(3);
    c.w_bias[p] = make_vector(15);
  }
  begin(&f, EM_ISA_SCALAR, 1, NULL);
  build_experts(&f, &c);
  desc = describe(&f, (em_value)f.n_values - 1);
  s = &f.stages[f.n_stages - 1];
  REFUSED(s->experts.n_parts = 1);
  REFUSED(s->experts.n_parts = 3);
  REFUSED(s->experts.activation = EM_ACT_SILU);
  REFUSED(s->experts.clamp = -1);
  REFUSED(s->experts.activation = EM_ACT_GEGLU; s->experts.clamp = 1);
  REFUSED(s->experts.w[1] = s->experts.bias[0]);
  REFUSED(s->experts.bias[1] = s->experts.w_scale[0]);
  REFUSED(s->experts.w_scale[1] = s->experts.bias[0]);
  REFUSED(s->experts.x = s->experts.out);
  REFUSED(s->experts.out = s->experts.routes);
  CHECK(em_program_new(f.backend, &desc, &f.program, NULL) == EM_OK);
  end(&f);

  /* A stack has matrices, and nothing else has. */
  uint64_t bytes;
  em_backend *backend = NULL;
  CHECK(em_backend_open(&(em_backend_params){.kind = EM_DEVICE_CPU, .n_threads = 1}, &backend, NULL) == EM_OK);
  em_weights_desc wrong = c.w[0].desc;
  CHECK(em_weights_bytes(backend, &wrong, &bytes, NULL) == EM_OK);
  wrong.n_matrices = 0;
  CHECK(em_weights_bytes(backend, &wrong, &bytes, NULL) == EM_ERR_ARGUMENT);
  wrong.n_matrices = UINT32_MAX;
  CHECK(em_weights_bytes(backend, &wrong, &bytes, NULL) == EM_ERR_ARGUMENT);
  wrong = c.x.desc;
  wrong.n_matrices = 2;
  CHECK(em_weights_bytes(backend, &wrong, &bytes, NULL) == EM_ERR_ARGUMENT);
  em_backend_close(backend);
  tensor *all[] = {&r.x,    &r.norm_weights, &r.w,          &r.bias_weights, &c.x,         &c.routes,
                   &c.w[0], &c.w[1],         &c.w_scale[0], &c.w_scale[1],   &c.w_bias[0], &c.w_bias[1]};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++)
    free_tensor(all[i]);
}

int main(void) {
  test_router((router_case){EM_GATING_SOFTMAX, 40, 64, 8, 1, 1, .norm = true, .normalise = true});
  test_router((router_case){EM_GATING_SOFTMAX, fits(33, 4), 7, 7, 0, 0, .bias = true, .logit_scale = 0.25f});
  test_router((router_case){EM_GATING_SIGMOID, 64, 60, 4, 6, 2, .select_bias = true, .normalise = true, .scale = 2.5f});
  test_router((router_case){EM_GATING_SIGMOID, 64, 16, 5, 8, 3, .select_bias = true});
  test_router((router_case){EM_GATING_SOFTMAX_SELECTED, 48, 32, 4, 1, 1, .bias = true});
  test_router((router_case){EM_GATING_SQRT_SOFTPLUS, 16, 3, 1, 1, 1, .norm = true, .select_bias = true});
  test_router_ties();
  test_experts((experts_case){{EM_TYPE_F32, EM_TYPE_F32},
                              EM_TYPE_F32,
                              24,
                              fits(19, 4),
                              fits(37, 4),
                              9,
                              fits(3, 2),
                              2,
                              EM_ACT_SWIGLU,
                              0.4f,
                              .norm = true,
                              .residual = true});
  test_experts((experts_case){{EM_TYPE_Q8_0, EM_TYPE_Q4_0},
                              EM_TYPE_Q8_0,
                              128,
                              64,
                              fits(50, 4),
                              64,
                              8,
                              2,
                              EM_ACT_GEGLU,
                              0,
                              .norm = true,
                              .scales = true,
                              .residual = true});
  test_experts((experts_case){
      {EM_TYPE_Q4_K, EM_TYPE_Q4_K}, EM_TYPE_Q6_K, 256, 256, 48, 4, 2, 2, EM_ACT_SWIGLU, 0, .is_skewed = true});
  test_experts((experts_case){{EM_TYPE_Q8_0, EM_TYPE_Q8_0},
                              EM_TYPE_F16,
                              96,
                              32,
                              300,
                              5,
                              2,
                              2,
                              EM_ACT_SWIGLU_OAI,
                              0,
                              .bias = true,
                              .residual = true,
                              .is_skewed = true});
  test_experts((experts_case){{EM_TYPE_F16, EM_TYPE_F16},
                              EM_TYPE_BF16,
                              40,
                              fits(50, 4),
                              16,
                              6,
                              fits(1, 2),
                              1,
                              EM_ACT_SILU,
                              0,
                              .bias = true,
                              .scales = true,
                              .is_skewed = true});
  test_foreign_routes();
  test_refused();
  test_heads((heads_case){EM_TYPE_F32, 12, 20, 3, fits(5, 4), fits(7, 4), .x = {.n = 0}});
  test_heads((heads_case){EM_TYPE_Q8_0, 64, 33, 8, 0, 0, .x = {.n = 0}});
  test_heads((heads_case){EM_TYPE_F16, 16, 8, 1, 0, fits(3, 4), .x = {.n = 0}});
  return check_done();
}
