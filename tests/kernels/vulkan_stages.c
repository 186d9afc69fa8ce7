/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stages on a Vulkan device beside the processor's scalar kernels, through the backend's interface: embedding, norms and the
 * gathering of outputs, rotation and store, attention. Every shape that is legal and odd, several slots and pages, steps of any
 * number of rows, whose values must not depend on that number in a single bit. With the validation layer, whose every message
 * fails the test.
 *
 * The device is the one that HEARTH_TEST_DEVICE names ("vulkan:0"), or the software one. */
#include "vulkan-fixture.h"

#define MAX_ROWS 33u
#define N_SLOTS 3u
#define MAX_PAGES 5u

static uint32_t device_index;
static bool rounds_to_even; /* halves, as the processor does */

/* What steps of a test have as rows, one after the other and again from the start. */
static const uint32_t row_counts[] = {33, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17};

static em_backend *open_side(int side) {
  em_error error = {0};
  em_backend *backend = NULL;
  em_backend_params params = {.kind = side == 0 ? EM_DEVICE_CPU : EM_DEVICE_VULKAN,
                              .device_index = device_index,
                              .n_threads = 2,
                              .max_isa = EM_ISA_SCALAR};
  must(em_backend_open(&params, &backend, &error), &error);
  return backend;
}

/* --- Comparing ---------------------------------------------------------------------------------------------------- */

static double nmse(const float *expected, const float *actual, size_t n) {
  double error = 0, size = 0;
  for (size_t i = 0; i < n; i++) {
    double d = (double)expected[i] - (double)actual[i];
    error += d * d;
    size += (double)expected[i] * (double)expected[i];
  }
  return error / (size + 1e-300);
}

/* Each row must be near its expected one; only the first that is not is described. */
static void compare(const char *what, const float *expected, const float *actual, size_t n_rows, size_t width,
                    size_t n_compared, double tolerance_) {
  double worst = 0;
  size_t worst_row = 0;
  for (size_t r = 0; r < n_rows; r++) {
    double e = nmse(expected + r * width, actual + r * width, n_compared);
    if (!(e <= worst)) {
      worst = e;
      worst_row = r;
    }
  }
  CHECK(worst <= tolerance_);
  if (!(worst <= tolerance_))
    fprintf(stderr, "%s: NMSE %g in row %zu, %g is allowed\n", what, worst, worst_row, tolerance_);
}

/* --- Embedding ---------------------------------------------------------------------------------------------------- */

static void run_embed(em_backend *backend, tensor *table, float scale, uint32_t n_steps, const int32_t *tokens, float *out) {
  em_error error = {0};
  em_weights *weights = load(backend, table);
  uint32_t width = (uint32_t)table->desc.n_in, positions[MAX_ROWS], slots[MAX_ROWS] = {0}, last = 0;
  em_value_desc value = {width, false, 0};
  em_stage stage = {.kind = EM_STAGE_EMBED, .layer = -1, .label = "embed", .embed = {weights, scale, 0}};
  em_program_desc desc = {.stages = &stage, .n_stages = 1, .values = &value, .n_values = 1, .max_rows = MAX_ROWS,
                          .scratch_floats = (uint64_t)MAX_ROWS * width, .max_outputs = 1, .max_slots = 1, .result = 0};
  em_program *program = NULL;
  must(em_program_new(backend, &desc, &program, &error), &error);
  for (uint32_t r = 0; r < MAX_ROWS; r++)
    positions[r] = r;
  for (uint32_t i = 0; i < n_steps; i++) {
    em_step step = {.n_rows = row_counts[i], .tokens = tokens, .positions = positions, .slots = slots, .n_slots = 1,
                    .n_outputs = 1, .outputs = &last};
    must(em_backend_run(program, &step, &error), &error);
    memcpy(out, em_program_result(program, 0), (size_t)step.n_rows * width * sizeof *out);
    out += (size_t)step.n_rows * width;
    tokens += step.n_rows;
  }
  em_program_free(program);
  em_weights_free(weights);
}

static void test_embed(em_backend *const sides[2], em_type type, uint32_t n_in, uint32_t n_vocab, unsigned use, float scale) {
  uint32_t n_steps = 5, n_rows = 0;
  for (uint32_t i = 0; i < n_steps; i++)
    n_rows += row_counts[i];
  tensor table = make_tensor(type, n_in, n_vocab, use);
  int32_t *tokens = malloc(n_rows * sizeof *tokens);
  float *expected = malloc((size_t)n_rows * n_in * sizeof *expected), *actual = malloc((size_t)n_rows * n_in * sizeof *actual);
  /* Both ends, both sides of the borders between tiles of 32 rows, and any. */
  for (uint32_t r = 0; r < n_rows; r++)
    tokens[r] = (int32_t)((r < 8 ? r % 2 + 31 * (r / 2) : r < 12 ? n_vocab - 1 - (r - 8) * 31 % n_vocab : random_bits()) % n_vocab);
  run_embed(sides[0], &table, scale, n_steps, tokens, expected);
  run_embed(sides[1], &table, scale, n_steps, tokens, actual);
  char what[64];
  snprintf(what, sizeof what, "embed %s %u x %u, use %u", em_type_get(type)->name, n_in, n_vocab, use);
  compare(what, expected, actual, n_rows, n_in, n_in, tolerances.device_embed);
  free_tensor(&table);
  free(tokens);
  free(expected);
  free(actual);
}

static const em_type types[] = {
  EM_TYPE_F32, EM_TYPE_F16, EM_TYPE_BF16, EM_TYPE_Q8_0, EM_TYPE_Q4_0, EM_TYPE_Q4_K, EM_TYPE_Q6_K,
  EM_TYPE_Q4_1, EM_TYPE_Q5_0, EM_TYPE_Q5_1, EM_TYPE_IQ4_NL, EM_TYPE_MXFP4, EM_TYPE_NVFP4, EM_TYPE_Q5_K, EM_TYPE_IQ4_XS,
  EM_TYPE_Q2_0, EM_TYPE_Q2_K, EM_TYPE_Q3_K, EM_TYPE_TQ2_0, EM_TYPE_Q1_0, EM_TYPE_TQ1_0, EM_TYPE_IQ2_XXS, EM_TYPE_IQ2_XS,
  EM_TYPE_IQ2_S, EM_TYPE_IQ3_XXS, EM_TYPE_IQ3_S, EM_TYPE_IQ1_S, EM_TYPE_IQ1_M,
};
#define N_TYPES (sizeof types / sizeof *types)

static void test_embeds(em_backend *const sides[2]) {
  for (size_t i = 0; i < N_TYPES; i++) {
    uint32_t block = em_type_get(types[i])->block_len, odd = block == 1 ? 44 : 3 * block;
    test_embed(sides, types[i], odd, 97, EM_USE_TABLE, 1.0f);
    test_embed(sides, types[i], block == 1 ? 4 : block, 1, EM_USE_TABLE, 1.0f);
    test_embed(sides, types[i], 1280, 64, EM_USE_TABLE | EM_USE_MATRIX, 0.25f);
  }
}

/* Tables in many segments: pieces of a few tiles each. */
static void test_segments(em_backend *cpu) {
  hook_start(&(hook_wish){.max_allocation_bytes = 64 << 10});
  em_backend *sides[2] = {cpu, open_side(1)};
  for (size_t i = 0; i < N_TYPES; i++)
    test_embed(sides, types[i], 256, 1000, i % 2 ? EM_USE_TABLE : EM_USE_TABLE | EM_USE_MATRIX, 1.0f);
  CHECK(hook_largest_allocation <= 64 << 10);
  em_backend_close(sides[1]);
  CHECK_INT(hook_n_live(), 0);
  hook_start(&(hook_wish){0});
}

/* --- Norms and outputs -------------------------------------------------------------------------------------------- */

typedef struct norm_case {
  uint32_t n_in;
  bool norm, outputs_only;
  float magnitude; /* of x; 0: a row in three is all zeros */
} norm_case;

static void run_norm(em_backend *backend, const norm_case *c, tensor w[2], const float *input, const em_step *step, float *out) {
  em_error error = {0};
  em_weights *matrix = load(backend, &w[0]), *norm = load(backend, &w[1]);
  const uint32_t width = (uint32_t)w[0].desc.n_rows;
  uint64_t second = ((uint64_t)MAX_ROWS * c->n_in + 15) / 16 * 16;
  em_value_desc values[2] = {{c->n_in, false, 0}, {width, c->outputs_only, second}};
  em_stage stages[2] = {{.kind = EM_STAGE_INPUT, .layer = -1, .label = "input", .input = {0}},
                        {.kind = EM_STAGE_LINEAR,
                         .label = "norm",
                         .linear = {.x = 0, .norm = c->norm ? norm : NULL, .norm_eps = 1e-5f, .n_parts = 1, .w = {matrix},
                                    .residual = EM_NO_VALUE, .outputs_only = c->outputs_only, .out = 1}}};
  em_program_desc desc = {.stages = stages, .n_stages = 2, .values = values, .n_values = 2, .max_rows = MAX_ROWS,
                          .scratch_floats = second + (uint64_t)MAX_ROWS * width, .max_outputs = MAX_ROWS, .max_slots = 1,
                          .result = 1};
  em_program *program = NULL;
  em_step with_input = *step;
  with_input.input = input;
  must(em_program_new(backend, &desc, &program, &error), &error);
  must(em_backend_run(program, &with_input, &error), &error);
  memcpy(out, em_program_result(program, 0), (size_t)(c->outputs_only ? step->n_outputs : step->n_rows) * width * sizeof *out);
  em_program_free(program);
  em_weights_free(matrix);
  em_weights_free(norm);
}

static void test_norm(em_backend *const sides[2], const norm_case *c) {
  tensor w[2] = {make_tensor(EM_TYPE_F32, c->n_in, 32, EM_USE_MATRIX), make_tensor(EM_TYPE_F32, c->n_in, 1, EM_USE_VECTOR)};
  float *x = malloc((size_t)MAX_ROWS * c->n_in * sizeof *x), expected[MAX_ROWS * 32], actual[MAX_ROWS * 32];
  int32_t tokens[MAX_ROWS] = {0};
  uint32_t positions[MAX_ROWS], slots[MAX_ROWS] = {0}, outputs[MAX_ROWS];
  random_floats(x, (size_t)MAX_ROWS * c->n_in);
  for (uint32_t r = 0; r < MAX_ROWS; r++) {
    positions[r] = r;
    for (uint32_t i = 0; i < c->n_in; i++)
      x[(size_t)r * c->n_in + i] *= c->magnitude == 0 ? (float)(r % 3 > 0) : c->magnitude;
  }
  static const uint32_t counts[] = {1, 5, 16, 33};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    em_step step = {.n_rows = counts[i], .tokens = tokens, .positions = positions, .slots = slots, .n_slots = 1, .outputs = outputs};
    /* Every third row from the second on, and the last. */
    for (uint32_t r = 1; r + 1 < counts[i]; r += 3)
      outputs[step.n_outputs++] = r;
    outputs[step.n_outputs++] = counts[i] - 1;
    run_norm(sides[0], c, w, x, &step, expected);
    run_norm(sides[1], c, w, x, &step, actual);
    char what[80];
    snprintf(what, sizeof what, "norm %u over %u values of %g, outputs only %u, %u rows", c->norm, c->n_in, (double)c->magnitude,
             c->outputs_only, counts[i]);
    compare(what, expected, actual, c->outputs_only ? step.n_outputs : step.n_rows, 32, 32, tolerances.device_norm);
  }
  free(x);
  free_tensor(&w[0]);
  free_tensor(&w[1]);
}

/* --- Rotation, store and attention ---------------------------------------------------------------------------------- */

typedef struct heads_case {
  em_type kv;
  uint32_t n_heads, n_kv_heads, k_dim, v_dim, n_rot;
  em_rope_kind rope;
  bool norms, factors;
  float sharpness;        /* of the softmax: times 1 / sqrt(k_dim) */
  uint32_t lengths[N_SLOTS];
} heads_case;

typedef struct heads {
  const heads_case *c;
  em_backend *backend;
  em_kv *kv;
  em_program *program;
  em_weights *weights[3]; /* q_norm, k_norm, factors */
  uint32_t qkv, width;    /* of the input and of the result */
} heads;

static uint32_t qkv_width(const heads_case *c) {
  return c->n_heads * c->k_dim + c->n_kv_heads * (c->k_dim + c->v_dim);
}

/* The cache has a layer before and one behind the one that is used. attend: the result is the attention's, else the rotated
 * row. */
static void open_heads(heads *h, em_backend *backend, const heads_case *c, tensor t[3], bool attend, uint32_t max_pages) {
  em_error error = {0};
  *h = (heads){.c = c, .backend = backend, .qkv = qkv_width(c), .width = attend ? c->n_heads * c->v_dim : qkv_width(c)};
  for (unsigned i = 0; i < 3; i++)
    h->weights[i] = load(backend, &t[i]);
  em_kv_layer layers[3] = {{1, 32, 32}, {c->n_kv_heads, c->k_dim, c->v_dim}, {1, 32, 32}};
  em_kv_desc kv = {c->kv, layers, 3, N_SLOTS * MAX_PAGES + 1};
  must(em_kv_new(backend, &kv, &h->kv, &error), &error);
  uint64_t second = ((uint64_t)MAX_ROWS * h->qkv + 15) / 16 * 16;
  em_value_desc values[2] = {{h->qkv, false, 0}, {c->n_heads * c->v_dim, false, second}};
  em_stage stages[3] = {
      {.kind = EM_STAGE_INPUT, .layer = -1, .label = "input", .input = {0}},
      {.kind = EM_STAGE_ROPE_STORE,
       .label = "rope",
       .rope_store = {.qkv = 0,
                      .kv_layer = 1,
                      .n_heads = c->n_heads,
                      .q_norm = c->norms ? h->weights[0] : NULL,
                      .k_norm = c->norms ? h->weights[1] : NULL,
                      .norm_eps = 1e-6f,
                      .rope = {c->rope, c->n_rot, 10000.0f, 1.0f, 1.0f, c->factors ? h->weights[2] : NULL}}},
      {.kind = EM_STAGE_ATTENTION,
       .label = "attention",
       .attention = {0, 1, 1, c->n_heads, c->sharpness / sqrtf((float)c->k_dim)}}};
  em_program_desc desc = {.stages = stages, .n_stages = attend ? 3 : 2, .values = values, .n_values = 2,
                          .scratch_floats = second + (uint64_t)MAX_ROWS * c->n_heads * c->v_dim, .max_rows = MAX_ROWS,
                          .max_outputs = 1, .max_slots = N_SLOTS, .max_pages = max_pages, .kv = h->kv, .result = attend};
  must(em_program_new(backend, &desc, &h->program, &error), &error);
}

static void close_heads(heads *h) {
  em_program_free(h->program);
  em_kv_free(h->kv);
  for (unsigned i = 0; i < 3; i++)
    em_weights_free(h->weights[i]);
}

static void make_head_tensors(const heads_case *c, tensor t[3]) {
  t[0] = make_tensor(EM_TYPE_F32, c->k_dim, 1, EM_USE_VECTOR);
  t[1] = make_tensor(EM_TYPE_F32, c->k_dim, 1, EM_USE_VECTOR);
  t[2] = make_tensor(EM_TYPE_F32, c->n_rot ? c->n_rot / 2 : 1, 1, EM_USE_VECTOR);
  for (uint32_t k = 0; k < t[2].desc.n_in; k++)
    ((float *)(void *)t[2].file)[k] = 1.0f + (float)(k % 3);
}

static void run_rows(heads *h, uint32_t n, const uint32_t *positions, const uint32_t *slots, const uint32_t *tables,
                     const float *input) {
  static const int32_t tokens[MAX_ROWS];
  em_error error = {0};
  uint32_t last = n - 1;
  em_step step = {.n_rows = n, .tokens = tokens, .positions = positions, .slots = slots, .n_slots = N_SLOTS,
                  .page_tables = tables, .n_outputs = 1, .outputs = &last, .input = input};
  must(em_backend_run(h->program, &step, &error), &error);
}

/* Rotated queries at near and far positions, for rows of three slots. */
static void test_rope(em_backend *const sides[2], const heads_case *c) {
  enum { FAR_PAGES = 400 };
  static uint32_t tables[N_SLOTS * FAR_PAGES];
  static const uint32_t first[] = {0, 250, 1000, FAR_PAGES * EM_KV_PAGE_TOKENS - MAX_ROWS};
  tensor t[3];
  heads h[2];
  make_head_tensors(c, t);
  for (int s = 0; s < 2; s++)
    open_heads(&h[s], sides[s], c, t, false, FAR_PAGES);
  float *input = malloc((size_t)MAX_ROWS * h[0].qkv * sizeof *input);
  for (unsigned i = 0; i < 4; i++) {
    for (size_t n = 0; n < sizeof row_counts / sizeof *row_counts; n++) {
      uint32_t positions[MAX_ROWS], slots[MAX_ROWS], n_rows = row_counts[n], share = (n_rows + N_SLOTS - 1) / N_SLOTS;
      random_floats(input, (size_t)n_rows * h[0].qkv);
      for (uint32_t r = 0; r < n_rows; r++) {
        slots[r] = r / share;
        positions[r] = first[(i + slots[r]) % 4] + r % share;
      }
      for (int s = 0; s < 2; s++)
        run_rows(&h[s], n_rows, positions, slots, tables, input);
      char what[96];
      snprintf(what, sizeof what, "rope %d, %u of %u values, %u heads, norms %d, factors %d, %u rows from %u on", c->rope,
               c->n_rot, c->k_dim, c->n_heads, c->norms, c->factors, n_rows, positions[0]);
      compare(what, em_program_result(h[0].program, 0), em_program_result(h[1].program, 0), n_rows, h[0].qkv,
              (size_t)c->n_heads * c->k_dim, tolerances.device_rope);
    }
  }
  for (int s = 0; s < 2; s++)
    close_heads(&h[s]);
  for (unsigned i = 0; i < 3; i++)
    free_tensor(&t[i]);
  free(input);
}

/* Feeds each slot its rows of input [slot][position][qkv], in steps of as many rows as row_counts says, or of MAX_ROWS;
 * out: [slot][position][width]. */
static void feed(heads *h, bool all_counts, const uint32_t *tables, float *const input[N_SLOTS], float *const out[N_SLOTS]) {
  uint32_t done[N_SLOTS] = {0}, positions[MAX_ROWS], slots[MAX_ROWS], n;
  float *rows = malloc((size_t)MAX_ROWS * h->qkv * sizeof *rows);
  for (unsigned i = 0;; i++) {
    uint32_t wanted = all_counts ? row_counts[i % (sizeof row_counts / sizeof *row_counts)] : MAX_ROWS;
    n = 0;
    /* The slots share a step unevenly, and take turns at its beginning. */
    for (unsigned k = 0; k < N_SLOTS; k++) {
      unsigned s = (k + i) % N_SLOTS;
      uint32_t share = k + 1 < N_SLOTS ? (wanted - n + 1) / 2 : wanted - n;
      for (; share > 0 && done[s] < h->c->lengths[s]; share--, n++) {
        memcpy(rows + (size_t)n * h->qkv, input[s] + (size_t)done[s] * h->qkv, h->qkv * sizeof *rows);
        positions[n] = done[s]++;
        slots[n] = s;
      }
    }
    if (n == 0)
      break;
    run_rows(h, n, positions, slots, tables, rows);
    for (uint32_t r = 0; r < n; r++)
      memcpy(out[slots[r]] + (size_t)positions[r] * h->width, em_program_result(h->program, r), h->width * sizeof *rows);
  }
  free(rows);
}

/* What follows on a copied page is the same as on the original. */
static void check_copy(heads *h, uint32_t *tables, const float *input) {
  const uint32_t position = h->c->lengths[0] - 1, slot = 0, own = tables[position / EM_KV_PAGE_TOKENS];
  const uint32_t spare = N_SLOTS * MAX_PAGES;
  em_error error = {0};
  float *before = malloc(h->width * sizeof *before);
  must(em_kv_copy(h->kv, own, spare, position % EM_KV_PAGE_TOKENS, &error), &error);
  run_rows(h, 1, &position, &slot, tables, input);
  memcpy(before, em_program_result(h->program, 0), h->width * sizeof *before);
  tables[position / EM_KV_PAGE_TOKENS] = spare;
  run_rows(h, 1, &position, &slot, tables, input);
  CHECK(memcmp(before, em_program_result(h->program, 0), h->width * sizeof *before) == 0);
  tables[position / EM_KV_PAGE_TOKENS] = own;
  free(before);
}

static void test_attention(em_backend *const sides[2], const heads_case *c) {
  const int kind = c->kv == EM_TYPE_F32 ? 0 : c->kv == EM_TYPE_F16 ? 1 : 2;
  const uint32_t qkv = qkv_width(c), width = c->n_heads * c->v_dim;
  float *input[N_SLOTS], *expected[N_SLOTS], *actual[N_SLOTS], *again[N_SLOTS];
  uint32_t tables[N_SLOTS * MAX_PAGES], other_tables[N_SLOTS * MAX_PAGES];
  tensor t[3];
  heads h;
  char what[96];
  snprintf(what, sizeof what, "attention %s, %u/%u heads of %u and %u, rope %d", em_type_get(c->kv)->name, c->n_heads,
           c->n_kv_heads, c->k_dim, c->v_dim, c->rope);
  make_head_tensors(c, t);
  for (unsigned s = 0; s < N_SLOTS; s++) {
    input[s] = malloc((size_t)c->lengths[s] * qkv * sizeof(float));
    random_floats(input[s], (size_t)c->lengths[s] * qkv);
    expected[s] = malloc((size_t)c->lengths[s] * width * sizeof(float));
    actual[s] = malloc((size_t)c->lengths[s] * width * sizeof(float));
    again[s] = malloc((size_t)c->lengths[s] * width * sizeof(float));
  }
  /* Pages in no order. */
  for (uint32_t i = 0; i < N_SLOTS * MAX_PAGES; i++) {
    tables[i] = (i * 7 + 3) % (N_SLOTS * MAX_PAGES);
    other_tables[i] = N_SLOTS * MAX_PAGES - 1 - i;
  }
  open_heads(&h, sides[0], c, t, true, MAX_PAGES);
  feed(&h, false, tables, input, expected);
  close_heads(&h);
  open_heads(&h, sides[1], c, t, true, MAX_PAGES);
  feed(&h, true, tables, input, actual);
  feed(&h, false, other_tables, input, again);
  check_copy(&h, other_tables, input[0] + (size_t)(c->lengths[0] - 1) * qkv);
  close_heads(&h);
  for (unsigned s = 0; s < N_SLOTS; s++) {
    compare(what, expected[s], actual[s], c->lengths[s], width, width,
            rounds_to_even ? tolerances.device_attention[kind] : tolerances.device_halves[kind]);
    bool same = memcmp(actual[s], again[s], (size_t)c->lengths[s] * width * sizeof(float)) == 0;
    CHECK(same);
    if (!same)
      fprintf(stderr, "%s: other steps give slot %u other bits\n", what, s);
    free(input[s]);
    free(expected[s]);
    free(actual[s]);
    free(again[s]);
  }
  for (unsigned i = 0; i < 3; i++)
    free_tensor(&t[i]);
}

static const heads_case cases[] = {
    {EM_TYPE_F32, 4, 2, 64, 64, 64, EM_ROPE_NORM, false, true, 1, {1025, 17, 256}},
    {EM_TYPE_F32, 3, 3, 8, 24, 4, EM_ROPE_NEOX, true, false, 1, {256, 257, 40}},
    {EM_TYPE_F32, 1, 1, 200, 256, 2, EM_ROPE_NORM, true, true, 8, {40, 1, 260}},
    {EM_TYPE_F16, 14, 2, 64, 64, 64, EM_ROPE_NEOX, false, false, 4, {270, 20, 33}},
    {EM_TYPE_F16, 4, 1, 128, 128, 128, EM_ROPE_NORM, true, false, 1, {513, 1, 40}},
    {EM_TYPE_F16, 2, 2, 256, 256, 64, EM_ROPE_NEOX, true, true, 1, {70, 258, 2}},
    {EM_TYPE_F16, 5, 5, 80, 72, 80, EM_ROPE_NEOX, false, false, 1, {100, 5, 260}},
    {EM_TYPE_F16, 7, 1, 16, 16, 0, EM_ROPE_NONE, false, false, 16, {30, 600, 3}},
    {EM_TYPE_Q8_0, 8, 2, 128, 128, 128, EM_ROPE_NEOX, true, false, 1, {260, 20, 100}},
    {EM_TYPE_Q8_0, 6, 3, 32, 64, 32, EM_ROPE_NORM, false, false, 4, {30, 280, 7}},
    {EM_TYPE_Q8_0, 1, 1, 96, 96, 32, EM_ROPE_NEOX, false, true, 1, {1025, 2, 1}},
    {EM_TYPE_F16, 2, 2, 128, 64, 128, EM_ROPE_NEOX, false, false, 1, {1025, 17, 256}},
};

/* The cache in pieces of a few pages: as many of keys as of values, fewer of values, and fewer of keys. */
static void test_small_pieces(em_backend *cpu) {
  hook_start(&(hook_wish){.max_allocation_bytes = 640 << 10});
  em_backend *sides[2] = {cpu, open_side(1)};
  static const size_t chosen[] = {3, 2, 11};
  for (size_t i = 0; i < sizeof chosen / sizeof *chosen; i++)
    test_attention(sides, &cases[chosen[i]]);
  CHECK(hook_largest_allocation <= 640 << 10);
  em_backend_close(sides[1]);
  CHECK_INT(hook_n_live(), 0);
  hook_start(&(hook_wish){0});
}

int main(void) {
  hook_validate();
  em_vulkan_device device;
  device_index = choose_device(&device);
  rounds_to_even = device.kind == EM_VULKAN_SOFTWARE;
  hook_start(&(hook_wish){0});
  em_backend *sides[2] = {open_side(0), open_side(1)};
  test_embeds(sides);
  static const norm_case norms[] = {{4, true, false, 1},       {40, true, true, 1000},  {64, true, true, 0},
                                    {1000, true, false, 1e-3f}, {1000, false, true, 1}, {4096, true, true, 1}};
  for (size_t i = 0; i < sizeof norms / sizeof *norms; i++)
    test_norm(sides, &norms[i]);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    test_rope(sides, &cases[i]);
    test_attention(sides, &cases[i]);
  }
  em_backend_close(sides[1]);
  CHECK_INT(hook_n_live(), 0);
  test_segments(sides[0]);
  test_small_pieces(sides[0]);
  em_backend_close(sides[0]);
  return check_done();
}
