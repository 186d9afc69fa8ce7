/* Programs for the tests of single stages: operands are looked up in tables by the row's token, stages are put behind
 * them, and the result of many rows is compared with every other company of rows, on every instruction set; or, with
 * TEST_VULKAN, on the graphics device that HEARTH_TEST_DEVICE names ("vulkan:0") or the software one, with the
 * validation layer. */
#pragma once

#ifdef TEST_VULKAN
#include "tests/fault/vulkan-hook.h"

#include "backend/vulkan/variants.h"
#endif

#include "common.h"

#define N_TOKENS 48u
#define MAX_ROWS 80u
#define MAX_PARTS 24u
#define MAX_SLOTS 4u
#define MAX_PAGES 3u

/* A tensor in a file's form and as float32. */
typedef struct tensor {
  em_weights_desc desc;
  uint8_t *file;
  size_t bytes, n;
  float *values;
} tensor;

static inline tensor make_stack(em_type type, uint64_t n_in, uint64_t n_rows, uint32_t n_matrices, unsigned use) {
  const em_type_info *info = em_type_get(type);
  size_t n = (size_t)(n_in * n_rows * (n_matrices ? n_matrices : 1));
  tensor t = {.desc = {.type = type,
                       .n_in = n_in,
                       .n_rows = n_rows,
                       .n_matrices = n_matrices,
                       .use = use,
                       .name = "a test's tensor"},
              .bytes = n / info->block_len * info->block_bytes,
              .n = n};
  t.file = malloc(t.bytes);
  t.values = malloc(n * sizeof *t.values);
  random_blocks(type, t.file, n);
  info->decode(t.file, t.values, n / info->block_len);
  return t;
}

static inline tensor make_tensor(em_type type, uint64_t n_in, uint64_t n_rows, unsigned use) {
  return make_stack(type, n_in, n_rows, 0, use);
}

static inline tensor make_vector(uint64_t n) {
  return make_tensor(EM_TYPE_F32, n, 1, EM_USE_VECTOR);
}

static inline tensor make_table(uint64_t width) {
  return make_tensor(EM_TYPE_F32, width, N_TOKENS, EM_USE_TABLE);
}

/* Writes a value of a float32 tensor. */
static inline void put(tensor *t, size_t i, float value) {
  t->values[i] = value;
  memcpy(t->file + 4 * i, &value, sizeof value);
}

static inline void free_tensor(tensor *t) {
  free(t->file);
  free(t->values);
}

static inline em_status read_tensor(void *user, uint64_t offset, void *dst, size_t bytes, em_error *error) {
  const tensor *t = user;
  if (offset + bytes > t->bytes)
    return em_fail(error, EM_ERR_INTERNAL, "read past the tensor");
  memcpy(dst, t->file + offset, bytes);
  return EM_OK;
}

typedef struct fixture {
  em_backend *backend;
  em_kv *kv;
  em_program *program;
  em_weights *weights[MAX_PARTS];
  em_stage stages[MAX_PARTS];
  em_value_desc values[MAX_PARTS];
  uint32_t n_weights, n_stages, n_values;
  uint64_t floats;
} fixture;

#ifdef TEST_VULKAN
#define N_SETS 1
#define MAX_THREADS 1u
static inline em_backend_params device(em_cpu_isa isa, uint32_t n_threads) {
  static bool is_chosen;
  static uint32_t index;
  (void)isa;
  if (!is_chosen) {
    hook_validate();
    index = hook_choose_device(getenv("HEARTH_TEST_DEVICE"), NULL);
    em_vk_forced_kernel = "float"; /* which sums all numbers of rows alike */
  }
  is_chosen = true;
  return (em_backend_params){.kind = EM_DEVICE_VULKAN, .device_index = index, .n_threads = n_threads};
}
/* A size for a shape: graphics devices have no shaders for heads of other than a multiple of 8 values, nor for matrices
 * (and so for operands) with rows of other than a multiple of 4; the processor takes any number. */
static inline unsigned fits(unsigned n, unsigned multiple) {
  return (n + multiple - 1) / multiple * multiple;
}
#else
#define N_SETS ((int)em_cpu_best_isa() + 1)
#define MAX_THREADS 3u
static inline em_backend_params device(em_cpu_isa isa, uint32_t n_threads) {
  return (em_backend_params){.kind = EM_DEVICE_CPU, .n_threads = n_threads, .max_isa = isa};
}
static inline unsigned fits(unsigned n, unsigned multiple) {
  (void)multiple;
  return n;
}
#endif

static inline void begin(fixture *f, em_cpu_isa isa, uint32_t n_threads, const em_kv_desc *kv) {
  em_error error = {0};
  *f = (fixture){.backend = NULL};
  const em_backend_params params = device(isa, n_threads);
  em_status status = em_backend_open(&params, &f->backend, &error);
  if (status == EM_OK && kv)
    status = em_kv_new(f->backend, kv, &f->kv, &error);
  if (status != EM_OK) {
    fprintf(stderr, "%s\n", error.text);
    exit(1);
  }
}

static inline em_value add_value(fixture *f, uint32_t width) {
  f->values[f->n_values] = (em_value_desc){.width = width, .offset = f->floats};
  f->floats += (uint64_t)MAX_ROWS * ((width + 15u) / 16 * 16);
  return (em_value)f->n_values++;
}

/* Loads a tensor; NULL stays NULL. */
static inline em_weights *add_weights(fixture *f, tensor *t) {
  em_error error = {0};
  if (!t || !t->file)
    return NULL;
  if (em_weights_new(f->backend, &t->desc, read_tensor, t, &f->weights[f->n_weights], &error) != EM_OK) {
    fprintf(stderr, "%s\n", error.text);
    exit(1);
  }
  return f->weights[f->n_weights++];
}

/* A value whose rows are those of a table, by token. */
static inline em_value add_operand(fixture *f, tensor *table) {
  em_value out = add_value(f, (uint32_t)table->desc.n_in);
  f->stages[f->n_stages++] = (em_stage){
      .kind = EM_STAGE_EMBED, .label = "operand", .embed = {.table = add_weights(f, table), .scale = 1.0f, .out = out}};
  return out;
}

static inline em_stage *add_stage(fixture *f, em_stage_kind kind) {
  f->stages[f->n_stages] = (em_stage){.kind = kind, .layer = 3, .label = "tested"};
  return &f->stages[f->n_stages++];
}

static inline em_program_desc describe(const fixture *f, em_value result) {
  return (em_program_desc){.stages = f->stages,
                           .n_stages = f->n_stages,
                           .values = f->values,
                           .n_values = f->n_values,
                           .scratch_floats = f->floats,
                           .max_rows = MAX_ROWS,
                           .max_outputs = MAX_ROWS,
                           .max_slots = MAX_SLOTS,
                           .max_pages = f->kv ? MAX_PAGES : 0,
                           .kv = f->kv,
                           .result = result};
}

static inline void make_program(fixture *f, em_value result) {
  em_error error = {0};
  em_program_desc desc = describe(f, result);
  if (em_program_new(f->backend, &desc, &f->program, &error) != EM_OK) {
    fprintf(stderr, "%s\n", error.text);
    exit(1);
  }
}

static inline void end(fixture *f) {
  em_program_free(f->program);
  em_kv_free(f->kv);
  for (uint32_t i = 0; i < f->n_weights; i++)
    em_weights_free(f->weights[i]);
  em_backend_close(f->backend);
}

static inline uint32_t token_of(uint32_t row) {
  return row * 7 % N_TOKENS;
}

/* Runs rows first .. first + n - 1 of one slot; out (or NULL): [n][width] of the result. */
static inline void run_rows(fixture *f, uint32_t first, uint32_t n, float *out) {
  em_error error = {0};
  int32_t tokens[MAX_ROWS];
  uint32_t positions[MAX_ROWS], slots[MAX_ROWS] = {0}, tables[MAX_SLOTS * MAX_PAGES] = {0};
  uint32_t width = f->values[f->n_values - 1].width;
  for (uint32_t r = 0; r < n; r++) {
    tokens[r] = (int32_t)token_of(first + r);
    positions[r] = first + r;
  }
  em_step step = {
      .n_rows = n, .tokens = tokens, .positions = positions, .slots = slots, .n_slots = 1, .page_tables = tables};
  em_status status = em_backend_run(f->program, &step, &error);
  CHECK(status == EM_OK);
  if (status != EM_OK)
    fprintf(stderr, "%s\n", error.text);
  for (uint32_t r = 0; out && r < n; r++)
    memcpy(out + (size_t)r * width, em_program_result(f->program, r), width * sizeof *out);
}

static inline double nmse(const double *expected, const float *actual, size_t n) {
  double error = 0, size = 0;
  for (size_t i = 0; i < n; i++) {
    error += (expected[i] - (double)actual[i]) * (expected[i] - (double)actual[i]);
    size += expected[i] * expected[i];
  }
  return error / (size + 1e-300);
}

/* Adds the stages of a test behind nothing; the last value added is the result. */
typedef void (*build_fn)(fixture *f, void *user);

/* Builds the program for every instruction set and 1 to 3 threads; its rows must be near `expected` [MAX_ROWS][width],
 * and any company of rows must give the same bits. expert_bytes: of the step of all rows. */
static inline void check_stage(const char *what, build_fn build, void *user, const double *expected, double limit,
                               uint64_t expert_bytes) {
  static const uint32_t counts[] = {1, 2, 4, 5, 9, 33, 65};
  for (int isa = 0; isa < N_SETS; isa++) {
    float *all = NULL;
    for (uint32_t n_threads = 1; n_threads <= MAX_THREADS; n_threads++) {
      fixture f;
      begin(&f, (em_cpu_isa)isa, n_threads, NULL);
      build(&f, user);
      make_program(&f, (em_value)f.n_values - 1);
      size_t width = f.values[f.n_values - 1].width;
      float *out = malloc(MAX_ROWS * width * sizeof *out), *part = malloc(MAX_ROWS * width * sizeof *part);
      run_rows(&f, 0, MAX_ROWS, out);
      CHECK_INT(em_program_counters(f.program).expert_bytes, expert_bytes);
      for (size_t i = 0; i < sizeof counts / sizeof *counts && n_threads < 3; i++) {
        uint32_t first = random_bits() % (MAX_ROWS - counts[i] + 1);
        run_rows(&f, first, counts[i], part);
        CHECK(memcmp(part, out + first * width, counts[i] * width * sizeof *out) == 0);
      }
      end(&f);
      free(part);
      if (all) {
        CHECK(memcmp(all, out, MAX_ROWS * width * sizeof *out) == 0);
        free(out);
        continue;
      }
      all = out;
      double e = nmse(expected, out, MAX_ROWS * width);
      CHECK(e <= limit);
      if (!(e <= limit))
        fprintf(stderr, "%s: NMSE %g with %s\n", what, e, em_cpu_isa_name((em_cpu_isa)isa));
    }
    free(all);
  }
}

/* --- Formulas of the interface in float64
 * ----------------------------------------------------------------------------------- */

static inline double sigmoid(double x) {
  return 1 / (1 + exp(-x));
}

static inline double act(em_activation activation, double g, double u, double clamp) {
  double cubic = 0.7978845608 * (g + 0.044715 * g * g * g);
  switch (activation) {
  case EM_ACT_SWIGLU:
    return clamp > 0 ? fmin(g * sigmoid(g), clamp) * fmax(fmin(u, clamp), -clamp) : g * sigmoid(g) * u;
  case EM_ACT_GEGLU:
    return g / 2 * (1 + tanh(cubic)) * u;
  case EM_ACT_SWIGLU_OAI:
    g = fmin(g, 7);
    return g * sigmoid(1.702 * g) * (fmax(fmin(u, 7), -7) + 1);
  case EM_ACT_GELU:
    return g / 2 * (1 + tanh(cubic));
  case EM_ACT_SILU:
    return g * sigmoid(g);
  case EM_ACT_SIGMOID:
    return sigmoid(g);
  case EM_ACT_NONE:
    break;
  }
  return g;
}

/* y = norm * n(x) + bias; norm and bias may be NULL. */
static inline void norm_row(em_norm_kind kind, const float *x, const float *norm, const float *bias, double eps,
                            size_t n, double *y) {
  double mean = 0, sum = 0;
  for (size_t i = 0; kind == EM_NORM_LAYER && i < n; i++)
    mean += (double)x[i] / (double)n;
  for (size_t i = 0; i < n; i++)
    sum += ((double)x[i] - mean) * ((double)x[i] - mean);
  for (size_t i = 0; i < n; i++)
    y[i] = ((double)x[i] - mean) / sqrt(sum / (double)n + eps) * (norm ? (double)norm[i] : 1) +
           (bias ? (double)bias[i] : 0);
}
