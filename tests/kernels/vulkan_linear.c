/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Linear stages on a Vulkan device beside float64: every weight format, odd shapes, one to three parts, norm, bias, residual,
 * SwiGLU, outputs only, 1 to 17 and 33 rows, with each kernel that the device can run, whether it would choose it or not. A
 * row's values must not depend on the number of rows in a single bit. With the validation layer, whose every message fails the
 * test.
 *
 * The device is the one that HEARTH_TEST_DEVICE names ("vulkan:0"), or the software one. */
#include "vulkan-fixture.h"

#include "backend/vulkan/variants.h"

#define MAX_ROWS 33u
#define MAX_PARTS EM_LINEAR_MAX_PARTS

static uint32_t device_index;

typedef struct linear_case {
  em_type types[MAX_PARTS];
  uint32_t n_in, n_rows[MAX_PARTS], n_parts;
  bool norm, bias, residual, swiglu, outputs_only;
} linear_case;

/* What a case works on, and what is expected of it. */
typedef struct subject {
  linear_case c;
  tensor w[MAX_PARTS], bias[MAX_PARTS], norm, side;
  float *x;          /* [MAX_ROWS, n_in] */
  uint32_t width;    /* of the result */
  double *expected;  /* [MAX_ROWS, width] */
} subject;

static void expect_row(const subject *s, uint32_t r, double *out) {
  const linear_case *c = &s->c;
  const float *x = s->x + (size_t)r * c->n_in;
  double square = 0, factor = 1;
  for (uint32_t k = 0; k < c->n_in; k++)
    square += (double)x[k] * (double)x[k];
  if (c->norm)
    factor = 1 / sqrt(square / c->n_in + 1e-5);
  for (uint32_t p = 0, at = 0; p < c->n_parts; p++)
    for (uint32_t o = 0; o < c->n_rows[p]; o++, at++) {
      double sum = c->bias ? (double)s->bias[p].values[o] : 0;
      for (uint32_t k = 0; k < c->n_in; k++)
        sum += (double)s->w[p].values[(size_t)o * c->n_in + k] * (double)x[k] * factor *
               (c->norm ? (double)s->norm.values[k] : 1);
      if (c->swiglu && p == 1)
        out[o] = out[o] / (1 + exp(-out[o])) * sum;
      else
        out[at] = sum + (c->residual ? (double)s->side.values[(size_t)(r % 8) * s->width + at] : 0);
    }
}

static subject make_subject(const linear_case *c) {
  subject s = {.c = *c};
  for (uint32_t p = 0; p < c->n_parts; p++) {
    s.w[p] = make_decoded(c->types[p], c->n_in, c->n_rows[p], EM_USE_MATRIX);
    s.bias[p] = make_decoded(EM_TYPE_F32, c->n_rows[p], 1, EM_USE_VECTOR);
    s.width += c->swiglu && p > 0 ? 0 : c->n_rows[p];
  }
  s.norm = make_decoded(EM_TYPE_F32, c->n_in, 1, EM_USE_VECTOR);
  if (c->residual)
    s.side = make_decoded(EM_TYPE_F32, s.width, 8, EM_USE_TABLE);
  s.x = malloc((size_t)MAX_ROWS * c->n_in * sizeof *s.x);
  s.expected = malloc((size_t)MAX_ROWS * s.width * 2 * sizeof *s.expected); /* a gate needs room for both parts */
  if (!s.x || !s.expected)
    abort();
  random_floats(s.x, (size_t)MAX_ROWS * c->n_in);
  for (uint32_t r = 0; r < MAX_ROWS; r++)
    expect_row(&s, r, s.expected + (size_t)r * s.width);
  return s;
}

static void free_subject(subject *s) {
  for (uint32_t p = 0; p < s->c.n_parts; p++) {
    free_tensor(&s->w[p]);
    free_tensor(&s->bias[p]);
  }
  free_tensor(&s->norm);
  if (s->c.residual)
    free_tensor(&s->side);
  free(s->x);
  free(s->expected);
}

/* Runs the first n_rows rows. out: [n_rows, width], rows that are no outputs left alone. */
static void run(em_program *program, const subject *s, uint32_t n_rows, float *out) {
  em_error error = {0};
  int32_t tokens[MAX_ROWS];
  uint32_t positions[MAX_ROWS], slots[MAX_ROWS] = {0}, outputs[MAX_ROWS];
  em_step step = {.n_rows = n_rows, .tokens = tokens, .positions = positions, .slots = slots, .n_slots = 1,
                  .outputs = outputs, .input = s->x};
  for (uint32_t r = 0; r < n_rows; r++) {
    tokens[r] = (int32_t)(r % 8);
    positions[r] = r;
    /* Of three rows one is no output. */
    if (!s->c.outputs_only || r % 3 != 1 || n_rows == 1)
      outputs[step.n_outputs++] = r;
  }
  must(em_backend_run(program, &step, &error), &error);
  for (uint32_t i = 0; i < (s->c.outputs_only ? step.n_outputs : n_rows); i++)
    memcpy(out + (size_t)(s->c.outputs_only ? outputs[i] : i) * s->width, em_program_result(program, i),
           s->width * sizeof *out);
}

static void test_subject(em_backend *backend, const char *kernel, subject *s, double allowed) {
  const linear_case *c = &s->c;
  em_error error = {0};
  em_weights *w[MAX_PARTS] = {0}, *bias[MAX_PARTS] = {0}, *norm = c->norm ? load(backend, &s->norm) : NULL;
  em_weights *side = c->residual ? load(backend, &s->side) : NULL;
  for (uint32_t p = 0; p < c->n_parts; p++) {
    w[p] = load(backend, &s->w[p]);
    bias[p] = c->bias ? load(backend, &s->bias[p]) : NULL;
  }
  uint64_t second = ((uint64_t)MAX_ROWS * c->n_in + 15) / 16 * 16, size = ((uint64_t)MAX_ROWS * s->width + 15) / 16 * 16;
  em_value_desc values[3] = {{c->n_in, false, 0}, {s->width, c->outputs_only, second}, {s->width, false, second + size}};
  em_stage stages[3] = {{.kind = EM_STAGE_INPUT, .layer = -1, .label = "input", .input = {0}}};
  uint32_t n = 1;
  if (c->residual)
    stages[n++] = (em_stage){.kind = EM_STAGE_EMBED, .layer = -1, .label = "side", .embed = {side, 1.0f, 2}};
  stages[n] = (em_stage){.kind = EM_STAGE_LINEAR, .label = "linear"};
  em_stage_linear *l = &stages[n++].linear;
  *l = (em_stage_linear){.x = 0, .norm = norm, .norm_eps = 1e-5f, .n_parts = c->n_parts,
                         .activation = c->swiglu ? EM_ACT_SWIGLU : EM_ACT_NONE,
                         .residual = c->residual ? 2 : EM_NO_VALUE, .outputs_only = c->outputs_only, .out = 1};
  for (uint32_t p = 0; p < c->n_parts; p++) {
    l->w[p] = w[p];
    l->bias[p] = bias[p];
  }
  em_program_desc desc = {.stages = stages, .n_stages = n, .values = values, .n_values = c->residual ? 3 : 2,
                          .scratch_floats = second + 2 * size, .max_rows = MAX_ROWS, .max_outputs = MAX_ROWS, .max_slots = 1,
                          .result = 1};
  em_program *program = NULL;
  must(em_program_new(backend, &desc, &program, &error), &error);
  float *all = calloc((size_t)MAX_ROWS * s->width, sizeof *all), *some = calloc((size_t)MAX_ROWS * s->width, sizeof *some);
  run(program, s, MAX_ROWS, all);
  double worst = 0;
  for (uint32_t r = 0; r < MAX_ROWS; r++) {
    double difference = 0, power = 1e-300;
    for (uint32_t o = 0; o < s->width && !(c->outputs_only && r % 3 == 1); o++) {
      const double e = s->expected[(size_t)r * s->width + o], d = e - (double)all[(size_t)r * s->width + o];
      difference += d * d;
      power += e * e;
    }
    worst = difference / power <= worst ? worst : difference / power;
  }
  CHECK(worst <= allowed);
  if (!(worst <= allowed))
    fprintf(stderr, "%s: %s, %u x %u, %u parts: NMSE %g, %g is allowed\n", kernel, em_type_get(c->types[0])->name, c->n_in,
            s->width, c->n_parts, worst, allowed);
  static const uint32_t counts[] = {1, 2, 3, 4, 5, 8, 9, 15, 16, 17};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    run(program, s, counts[i], some);
    for (uint32_t r = 0; r < counts[i]; r++)
      if (!(c->outputs_only && r % 3 == 1))
        CHECK(memcmp(all + (size_t)r * s->width, some + (size_t)r * s->width, s->width * sizeof *some) == 0);
  }
  free(all);
  free(some);
  em_program_free(program);
  for (uint32_t p = 0; p < c->n_parts; p++) {
    em_weights_free(w[p]);
    em_weights_free(bias[p]);
  }
  em_weights_free(norm);
  em_weights_free(side);
}

static const em_type types[] = {
  EM_TYPE_F32, EM_TYPE_F16, EM_TYPE_BF16, EM_TYPE_Q8_0, EM_TYPE_Q4_0, EM_TYPE_Q4_K, EM_TYPE_Q6_K,
  EM_TYPE_Q4_1, EM_TYPE_Q5_0, EM_TYPE_Q5_1, EM_TYPE_IQ4_NL, EM_TYPE_MXFP4, EM_TYPE_NVFP4, EM_TYPE_Q5_K, EM_TYPE_IQ4_XS,
  EM_TYPE_Q2_0, EM_TYPE_Q2_K, EM_TYPE_Q3_K, EM_TYPE_TQ2_0, EM_TYPE_Q1_0, EM_TYPE_TQ1_0, EM_TYPE_IQ2_XXS, EM_TYPE_IQ2_XS,
  EM_TYPE_IQ2_S, EM_TYPE_IQ3_XXS, EM_TYPE_IQ3_S, EM_TYPE_IQ1_S, EM_TYPE_IQ1_M,
};
#define N_TYPES (sizeof types / sizeof *types)
#define N_OFTEN 7u /* of these each shape is tested */

/* The cases of a format, alone and beside another. */
#define MAX_CASES 6
static uint32_t make_cases(size_t i, linear_case out[MAX_CASES]) {
  const em_type t = types[i], other = types[(i + 3) % (i < N_OFTEN ? N_OFTEN : N_TYPES)];
  const uint32_t block = em_type_get(t)->block_len;
  const uint32_t odd = block == 1 ? 100 : block == 256 ? 768 : 1024 + block;
  out[0] = (linear_case){{t}, odd, {44}, 1, .norm = true, .bias = true, .residual = true};
  if (i >= N_OFTEN)
    return 1;
  out[1] = (linear_case){{t, other, t}, 512, {70, 1, 33}, 3, .bias = true};
  out[2] = (linear_case){{t, t}, block == 1 ? 36 : block, {37, 37}, 2, .norm = true, .bias = true, .swiglu = true};
  out[3] = (linear_case){{t, other}, 256, {64, 5}, 2, .outputs_only = true};
  out[4] = (linear_case){{t, other}, 256, {37, 37}, 2, .norm = true, .bias = true, .swiglu = true};
  if (t != EM_TYPE_Q4_K)
    return 5;
  out[5] = (linear_case){{t, t, EM_TYPE_Q6_K}, 512, {70, 1, 33}, 3, .bias = true}; /* this pair has kernels of its own */
  return 6;
}

/* Big steps round otherwise only where another kernel takes them by itself: on hardware that is quick in it. */
static void test_few_rows(void) {
  em_error error = {0};
  em_backend *backend = NULL;
  must(em_backend_open(&(em_backend_params){.kind = EM_DEVICE_VULKAN, .device_index = device_index}, &backend, &error), &error);
  em_vk *vk = &((em_vulkan *)backend)->vk;
  const unsigned abilities = vk->abilities;
  CHECK_INT(em_backend_few_rows(backend), em_vk_few_rows(vk));
  if (vk->software)
    CHECK_INT(em_backend_few_rows(backend), 0);
  vk->abilities = EM_VK_HARDWARE | EM_VK_DOTS;
  CHECK_INT(em_vk_few_rows(vk), 0);
  vk->abilities |= EM_VK_FAST_DOTS;
  CHECK_INT(em_vk_few_rows(vk), em_vk_can_run(vk, "integer") ? EM_VK_FEW_ROWS : 0);
  vk->abilities = abilities;
  em_backend_close(backend);
}

static double product(const tensor *t, uint32_t row, const double *x, uint32_t n_in) {
  double sum = 0;
  for (uint32_t k = 0; k < n_in; k++)
    sum += (double)t->values[(size_t)row * n_in + k] * x[k];
  return sum;
}

/* A file may have another mix of formats in each of its layers: each of many stages gates a pair, and multiplies by three
 * matrices what comes of it; all that is added up. Their kernels are as many as there are formats, not mixes. */
static void test_mixes(void) {
  enum { N_IN = 256, PART = 32, WIDTH = 3 * PART, N_MIXES = N_OFTEN * N_OFTEN };
  static em_value_desc values[1 + 2 * N_MIXES];
  static em_stage stages[1 + 2 * N_MIXES];
  tensor pairs[N_OFTEN], parts[N_OFTEN];
  em_weights *pair_w[N_OFTEN], *part_w[N_OFTEN];
  double x[N_IN], gated[N_IN], expected[WIDTH] = {0};
  float input[N_IN];
  em_error error = {0};
  em_backend *backend = NULL;
  em_program *program = NULL;
  must(em_backend_open(&(em_backend_params){.kind = EM_DEVICE_VULKAN, .device_index = device_index}, &backend, &error), &error);
  random_floats(input, N_IN);
  for (uint32_t k = 0; k < N_IN; k++)
    x[k] = (double)input[k];
  for (size_t t = 0; t < N_OFTEN; t++) {
    pairs[t] = make_decoded(types[t], N_IN, N_IN, EM_USE_MATRIX);
    parts[t] = make_decoded(types[t], N_IN, PART, EM_USE_MATRIX);
    pair_w[t] = load(backend, &pairs[t]);
    part_w[t] = load(backend, &parts[t]);
  }
  values[0] = (em_value_desc){N_IN, false, 0};
  stages[0] = (em_stage){.kind = EM_STAGE_INPUT, .layer = -1, .label = "input", .input = {0}};
  uint64_t end = N_IN;
  for (uint32_t i = 0; i < N_MIXES; i++) {
    const size_t mix[3] = {i / N_OFTEN, i % N_OFTEN, (i / N_OFTEN + i) % N_OFTEN};
    const em_value pair = (em_value)(1 + 2 * i), sum = pair + 1;
    values[pair] = (em_value_desc){N_IN, false, end};
    values[sum] = (em_value_desc){WIDTH, false, end + N_IN};
    end += N_IN + WIDTH;
    stages[pair] = (em_stage){.kind = EM_STAGE_LINEAR, .label = "pair"};
    stages[pair].linear = (em_stage_linear){.x = 0, .n_parts = 2, .w = {pair_w[mix[0]], pair_w[mix[1]]},
                                            .activation = EM_ACT_SWIGLU, .residual = EM_NO_VALUE, .out = pair};
    stages[sum] = (em_stage){.kind = EM_STAGE_LINEAR, .label = "three"};
    stages[sum].linear = (em_stage_linear){.x = pair, .n_parts = 3,
                                           .w = {part_w[mix[0]], part_w[mix[1]], part_w[mix[2]]},
                                           .residual = i > 0 ? sum - 2 : EM_NO_VALUE, .out = sum};
    for (uint32_t o = 0; o < N_IN; o++) {
      const double gate = product(&pairs[mix[0]], o, x, N_IN);
      gated[o] = gate / (1 + exp(-gate)) * product(&pairs[mix[1]], o, x, N_IN);
    }
    for (uint32_t o = 0; o < WIDTH; o++)
      expected[o] += product(&parts[mix[o / PART]], o % PART, gated, N_IN);
  }
  em_program_desc desc = {.stages = stages, .n_stages = 1 + 2 * N_MIXES, .values = values, .n_values = 1 + 2 * N_MIXES,
                          .scratch_floats = end, .max_rows = 1, .max_outputs = 1, .max_slots = 1, .result = 2 * N_MIXES};
  must(em_program_new(backend, &desc, &program, &error), &error);
  CHECK(em_backend_prepare_times(backend).n_kernels < 5 * N_OFTEN);
  int32_t token = 0;
  uint32_t zero = 0;
  em_step step = {.n_rows = 1, .tokens = &token, .positions = &zero, .slots = &zero, .n_slots = 1, .outputs = &zero,
                  .n_outputs = 1, .input = input};
  must(em_backend_run(program, &step, &error), &error);
  double difference = 0, power = 0;
  for (uint32_t o = 0; o < WIDTH; o++) {
    const double d = expected[o] - (double)em_program_result(program, 0)[o];
    difference += d * d;
    power += expected[o] * expected[o];
  }
  printf("%u mixes: NMSE %g, %u kernels\n", (unsigned)N_MIXES, difference / power,
         em_backend_prepare_times(backend).n_kernels);
  CHECK(difference <= tolerances.device_linear * power);
  em_program_free(program);
  for (size_t t = 0; t < N_OFTEN; t++) {
    em_weights_free(pair_w[t]);
    em_weights_free(part_w[t]);
    free_tensor(&pairs[t]);
    free_tensor(&parts[t]);
  }
  em_backend_close(backend);
}

/* The argument is the kernel's name, or --list for the names that there are, one a line. */
int main(int argc, char **argv) {
  bool lists = argc == 2 && strcmp(argv[1], "--list") == 0, is_known = false;
  for (size_t i = 0; em_vk_kernel_name(i); i++) {
    is_known |= argc == 2 && strcmp(em_vk_kernel_name(i), argv[1]) == 0;
    if (lists)
      printf("%s\n", em_vk_kernel_name(i));
  }
  if (lists)
    return 0;
  if (!is_known) {
    fprintf(stderr, "which kernel? There is none named \"%s\"; --list tells the names\n", argc > 1 ? argv[1] : "");
    return 2;
  }
  hook_validate();
  device_index = choose_device(NULL);
  hook_start(&(hook_wish){0});
  test_few_rows();
  em_vk_forced_kernel = argv[1];
  if (strcmp(argv[1], "float") == 0)
    test_mixes();
  const bool is_exact = strcmp(argv[1], "float") == 0 || strcmp(argv[1], "wide") == 0;
  /* The wide kernel is the float one with other numbers. */
  const size_t n_types = strcmp(argv[1], "wide") == 0 ? N_OFTEN : N_TYPES;
  for (size_t i = 0; i < n_types; i++) {
    /* One backend a format: so many kernels of so many shapes no model has. */
    em_error error = {0};
    em_backend *backend = NULL;
    must(em_backend_open(&(em_backend_params){.kind = EM_DEVICE_VULKAN, .device_index = device_index}, &backend, &error), &error);
    if (!em_vk_can_run(&((em_vulkan *)backend)->vk, argv[1])) {
      em_backend_close(backend);
      SKIP("the device cannot run the %s kernel", argv[1]);
    }
    linear_case cases[MAX_CASES];
    uint32_t n = make_cases(i, cases);
    for (uint32_t k = 0; k < n; k++) {
      subject s = make_subject(&cases[k]);
      test_subject(backend, argv[1], &s, is_exact ? tolerances.device_linear : tolerances.device_rounded);
      free_subject(&s);
    }
    em_backend_close(backend);
    CHECK_INT(hook_n_live(), 0);
  }
  return check_done();
}
