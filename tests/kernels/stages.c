/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Whole stages through the backend's interface: every shape of a linear stage, and attention over pages, slots and cache types,
 * against float64; equal bits for any company of rows, any chunks and any number of threads. */
#include "common.h"

#define MAX_ROWS 72u
#define N_TOKENS 64u

typedef struct source {
  const uint8_t *data;
  size_t bytes, largest;
  int fail_at; /* read that fails; -1: none */
} source;

static em_status read_source(void *user, uint64_t offset, void *dst, size_t bytes, em_error *error) {
  source *s = user;
  if (s->fail_at-- == 0)
    return em_fail(error, EM_ERR_CHANGED, "the file is gone");
  if (offset + bytes > s->bytes)
    return em_fail(error, EM_ERR_INTERNAL, "read past the tensor");
  s->largest = bytes > s->largest ? bytes : s->largest;
  memcpy(dst, s->data + offset, bytes);
  return EM_OK;
}

/* A tensor in a file's form and as float32. */
typedef struct tensor {
  em_weights_desc desc;
  uint8_t *file;
  size_t bytes;
  float *values;
} tensor;

static tensor make_tensor(em_type type, uint64_t n_in, uint64_t n_rows, unsigned use) {
  const em_type_info *info = em_type_get(type);
  size_t n = (size_t)(n_in * n_rows);
  tensor t = {.desc = {.type = type, .n_in = n_in, .n_rows = n_rows, .use = use, .name = "a test's tensor"},
              .bytes = n / info->block_len * info->block_bytes};
  t.file = malloc(t.bytes);
  t.values = malloc(n * sizeof *t.values);
  random_blocks(type, t.file, n);
  info->decode(t.file, t.values, n / info->block_len);
  return t;
}

static void free_tensor(tensor *t) {
  free(t->file);
  free(t->values);
}

static em_weights *load(em_backend *backend, const tensor *t) {
  em_error error = {0};
  em_weights *weights = NULL;
  source s = {t->file, t->bytes, 0, -1};
  CHECK(em_weights_new(backend, &t->desc, read_source, &s, &weights, &error) == EM_OK);
  if (!weights) {
    fprintf(stderr, "%s\n", error.text);
    exit(1);
  }
  CHECK(s.largest <= 8u << 20);
  return weights;
}

static em_backend *open_cpu(em_cpu_isa isa, uint32_t n_threads) {
  em_error error = {0};
  em_backend *backend = NULL;
  if (em_backend_open(&(em_backend_params){EM_DEVICE_CPU, 0, n_threads, isa}, &backend, &error) != EM_OK) {
    fprintf(stderr, "%s\n", error.text);
    exit(1);
  }
  return backend;
}

static double nmse(const double *expected, const float *actual, size_t n) {
  double error = 0, size = 0;
  for (size_t i = 0; i < n; i++) {
    error += (expected[i] - (double)actual[i]) * (expected[i] - (double)actual[i]);
    size += expected[i] * expected[i];
  }
  return error / (size + 1e-300);
}

/* --- Linear ------------------------------------------------------------------------------------------------------------------ */

typedef struct linear_case {
  em_type type[3];
  unsigned n_in, n_rows[3], n_parts;
  bool norm, bias, residual, in_place, swiglu, outputs_only;
} linear_case;

/* The stage in float64, for one row. */
static void reference_linear(const linear_case *c, const tensor w[3], const tensor bias[3], const float *norm,
                             const float *x, const float *residual, double *y) {
  double sum = 0, scale = 1, *v = malloc(c->n_in * sizeof *v);
  for (unsigned k = 0; k < c->n_in; k++)
    sum += (double)x[k] * (double)x[k];
  if (c->norm)
    scale = 1 / sqrt(sum / c->n_in + 1e-5);
  for (unsigned k = 0; k < c->n_in; k++)
    v[k] = (double)x[k] * scale * (c->norm ? (double)norm[k] : 1);
  size_t at = 0;
  for (unsigned p = 0; p < c->n_parts; p++) {
    for (unsigned r = 0; r < c->n_rows[p]; r++, at++) {
      double dot = c->bias ? (double)bias[p].values[r] : 0;
      for (unsigned k = 0; k < c->n_in; k++)
        dot += v[k] * (double)w[p].values[(size_t)r * c->n_in + k];
      if (c->swiglu && p == 1)
        y[r] = y[r] / (1 + exp(-y[r])) * dot;
      else
        y[at] = dot + (c->residual ? (double)residual[at] : 0);
    }
  }
  free(v);
}

/* Runs a case for one backend; out: [MAX_ROWS][width] of the step of all rows. */
static void run_linear(em_backend *backend, const linear_case *c, const tensor *table, const tensor *side, const tensor w[3],
                       const tensor bias[3], const tensor *norm, unsigned width, float *out) {
  em_error error = {0};
  em_weights *loaded[9] = {load(backend, table), load(backend, side), load(backend, norm)};
  for (unsigned p = 0; p < c->n_parts; p++) {
    loaded[3 + p] = load(backend, &w[p]);
    loaded[6 + p] = load(backend, &bias[p]);
  }
  /* Values: x, the residual, the stage's output, and the output rows of it. */
  em_value_desc values[4] = {{c->n_in, false, 0}, {width, false, MAX_ROWS * 2048}, {width, c->outputs_only, MAX_ROWS * 4096},
                             {width, true, MAX_ROWS * 6144}};
  em_value result = c->in_place ? 1 : 2;
  em_stage stages[4] = {
      {.kind = EM_STAGE_EMBED, .layer = -1, .label = "x", .embed = {loaded[0], 1.0f, 0}},
      {.kind = EM_STAGE_EMBED, .layer = -1, .label = "residual", .embed = {loaded[1], 0.5f, 1}},
      {.kind = EM_STAGE_LINEAR,
       .label = "linear",
       .linear = {.x = 0,
                  .norm = c->norm ? loaded[2] : NULL,
                  .norm_eps = 1e-5f,
                  .n_parts = c->n_parts,
                  .activation = c->swiglu ? EM_ACT_SWIGLU : EM_ACT_NONE,
                  .residual = c->residual ? 1 : EM_NO_VALUE,
                  .outputs_only = c->outputs_only,
                  .out = result}}};
  for (unsigned p = 0; p < c->n_parts; p++) {
    stages[2].linear.w[p] = loaded[3 + p];
    stages[2].linear.bias[p] = c->bias ? loaded[6 + p] : NULL;
  }
  /* Where the stage makes all rows, an identity brings them to the output rows: x * 1 and sums of zeros are exact. */
  tensor identity = make_tensor(EM_TYPE_F32, width, width, EM_USE_MATRIX);
  for (unsigned i = 0; i < width * width; i++)
    ((float *)(void *)identity.file)[i] = i / width == i % width;
  em_weights *copy = load(backend, &identity);
  stages[3] = (em_stage){.kind = EM_STAGE_LINEAR,
                         .label = "copy",
                         .linear = {.x = result, .n_parts = 1, .w = {copy}, .residual = EM_NO_VALUE, .outputs_only = true,
                                    .out = 3}};
  em_program_desc desc = {.stages = stages,
                          .n_stages = c->outputs_only ? 3 : 4,
                          .values = values,
                          .n_values = 4,
                          .scratch_floats = MAX_ROWS * 8192,
                          .max_rows = MAX_ROWS,
                          .max_outputs = MAX_ROWS,
                          .max_slots = 2,
                          .result = c->outputs_only ? 2 : 3};
  em_program *program = NULL;
  uint64_t bytes = 0;
  CHECK(em_program_bytes(backend, &desc, &bytes, &error) == EM_OK && bytes > 0);
  CHECK(em_program_new(backend, &desc, &program, &error) == EM_OK);
  if (!program) {
    fprintf(stderr, "%s\n", error.text);
    exit(1);
  }
  int32_t tokens[MAX_ROWS];
  uint32_t positions[MAX_ROWS], slots[MAX_ROWS] = {0}, outputs[MAX_ROWS];
  for (uint32_t r = 0; r < MAX_ROWS; r++) {
    tokens[r] = (int32_t)(r * 7 % N_TOKENS);
    positions[r] = r;
    outputs[r] = r;
  }
  em_step all = {.n_rows = MAX_ROWS, .tokens = tokens, .positions = positions, .slots = slots, .n_slots = 1,
                 .n_outputs = MAX_ROWS, .outputs = outputs};
  CHECK(em_backend_run(program, &all, &error) == EM_OK);
  for (uint32_t r = 0; r < MAX_ROWS; r++)
    memcpy(out + (size_t)r * width, em_program_result(program, r), width * sizeof *out);
  uint64_t in_file = (c->outputs_only ? 0 : 4ull * width * width) + (c->norm ? 4ull * c->n_in : 0);
  for (unsigned p = 0; p < c->n_parts; p++)
    in_file += w[p].bytes + (c->bias ? bias[p].bytes : 0);
  CHECK_INT(em_program_counters(program).weights_bytes, in_file + MAX_ROWS * 4ull * (c->n_in + width));
  CHECK_INT(em_program_counters(program).n_dispatches, desc.n_stages);
  /* Fewer rows, and only some of them as outputs. */
  static const uint32_t counts[] = {1, 2, 3, 4, 5, 7, 8, 9, 10, 15, 16, 17, 33, 64, 65};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    uint32_t n = counts[i], first = random_bits() % (MAX_ROWS - n + 1), some[3] = {0, n / 2, n - 1};
    em_step part = {.n_rows = n, .tokens = tokens + first, .positions = positions + first, .slots = slots, .n_slots = 1,
                    .n_outputs = n > 2 ? 3 : 1, .outputs = some};
    CHECK(em_backend_run(program, &part, &error) == EM_OK);
    for (uint32_t o = 0; o < part.n_outputs; o++)
      CHECK(memcmp(em_program_result(program, o), out + (size_t)(first + some[o]) * width, width * sizeof *out) == 0);
  }
  em_program_free(program);
  for (unsigned i = 0; i < 9; i++)
    em_weights_free(loaded[i]);
  em_weights_free(copy);
  free_tensor(&identity);
}

static void test_linear(const linear_case *c) {
  unsigned width = 0;
  for (unsigned p = 0; p < c->n_parts; p++)
    width += c->n_rows[p];
  width = c->swiglu ? c->n_rows[0] : width;
  tensor table = make_tensor(EM_TYPE_F32, c->n_in, N_TOKENS, EM_USE_TABLE), side = make_tensor(EM_TYPE_F32, width, N_TOKENS, EM_USE_TABLE);
  tensor norm = make_tensor(EM_TYPE_F32, c->n_in, 1, EM_USE_VECTOR), w[3] = {0}, bias[3] = {0};
  bool quantised = false;
  for (unsigned p = 0; p < c->n_parts; p++) {
    w[p] = make_tensor(c->type[p], c->n_in, c->n_rows[p], EM_USE_MATRIX);
    bias[p] = make_tensor(EM_TYPE_F32, c->n_rows[p], 1, EM_USE_VECTOR);
    quantised = quantised || em_type_get(c->type[p])->block_len > 1;
  }
  double *expected = malloc(MAX_ROWS * width * sizeof *expected);
  float *out = malloc(MAX_ROWS * width * sizeof *out), *other = malloc(MAX_ROWS * width * sizeof *other);
  float *residual = malloc(width * sizeof *residual);
  double *parts = malloc(3 * width * sizeof *parts);
  for (uint32_t r = 0; r < MAX_ROWS; r++) {
    uint32_t token = r * 7 % N_TOKENS;
    for (unsigned i = 0; i < width; i++)
      residual[i] = side.values[token * width + i] * 0.5f;
    reference_linear(c, w, bias, norm.values, table.values + token * c->n_in, residual, parts);
    memcpy(expected + (size_t)r * width, parts, width * sizeof *parts);
  }
  for (int isa = 0; isa <= (int)em_cpu_best_isa(); isa++) {
    for (uint32_t n_threads = 1; n_threads <= 3; n_threads++) {
      em_backend *backend = open_cpu((em_cpu_isa)isa, n_threads);
      run_linear(backend, c, &table, &side, w, bias, &norm, width, n_threads == 1 ? out : other);
      em_backend_close(backend);
      if (n_threads > 1)
        CHECK(memcmp(out, other, MAX_ROWS * width * sizeof *out) == 0);
    }
    double e = nmse(expected, out, MAX_ROWS * width);
    CHECK(e <= (quantised ? tolerances.stage_quantised : tolerances.stage_float));
    if (!(e <= (quantised ? tolerances.stage_quantised : tolerances.stage_float)))
      fprintf(stderr, "NMSE %g with %s, %s, %u x %u\n", e, em_cpu_isa_name((em_cpu_isa)isa), em_type_get(c->type[0])->name,
              c->n_in, c->n_rows[0]);
  }
  for (unsigned p = 0; p < c->n_parts; p++) {
    free_tensor(&w[p]);
    free_tensor(&bias[p]);
  }
  free_tensor(&table);
  free_tensor(&side);
  free_tensor(&norm);
  free(expected);
  free(out);
  free(other);
  free(residual);
  free(parts);
}

/* --- Attention --------------------------------------------------------------------------------------------------------------- */

typedef struct attention_case {
  em_type kv;
  unsigned n_heads, n_kv_heads, k_dim, v_dim, n_rot;
  em_rope_kind rope;
  bool norms, factors;
  unsigned lengths[3]; /* of three slots */
} attention_case;

#define MAX_PAGES 6u
#define N_SLOTS 3u
#define CHUNK 40u /* rows a step at most */

typedef struct attention_run {
  em_backend *backend;
  em_kv *kv;
  em_program *program;
  em_weights *weights[5]; /* table, q_norm, k_norm, factors, identity */
  unsigned width;
} attention_run;

static float token_scale(const attention_case *c) {
  return 1.0f / sqrtf((float)c->k_dim);
}

static void open_run(attention_run *run, const attention_case *c, const tensor t[5], em_cpu_isa isa, uint32_t n_threads) {
  em_error error = {0};
  unsigned qkv = c->n_heads * c->k_dim + c->n_kv_heads * (c->k_dim + c->v_dim);
  run->width = c->n_heads * c->v_dim;
  run->backend = open_cpu(isa, n_threads);
  for (unsigned i = 0; i < 5; i++)
    run->weights[i] = load(run->backend, &t[i]);
  em_kv_layer layers[2] = {{1, 32, 32}, {c->n_kv_heads, c->k_dim, c->v_dim}};
  em_kv_desc kv = {c->kv, layers, 2, 2 * N_SLOTS * MAX_PAGES};
  uint64_t bytes = 0;
  CHECK(em_kv_bytes(run->backend, &kv, &bytes, &error) == EM_OK && bytes > 0);
  CHECK(em_kv_new(run->backend, &kv, &run->kv, &error) == EM_OK);
  em_value_desc values[3] = {{qkv, false, 0}, {run->width, false, 65536}, {run->width, true, 131072}};
  em_stage stages[4] = {
      {.kind = EM_STAGE_EMBED, .label = "embed", .embed = {run->weights[0], 1.0f, 0}},
      {.kind = EM_STAGE_ROPE_STORE,
       .label = "rope",
       .rope_store = {.qkv = 0,
                      .kv_layer = 1,
                      .n_heads = c->n_heads,
                      .q_norm = c->norms ? run->weights[1] : NULL,
                      .k_norm = c->norms ? run->weights[2] : NULL,
                      .norm_eps = 1e-6f,
                      .rope = {c->rope, c->n_rot, 10000.0f, 1.0f, 1.0f, c->factors ? run->weights[3] : NULL}}},
      {.kind = EM_STAGE_ATTENTION, .label = "attention", .attention = {0, 1, 1, c->n_heads, token_scale(c)}},
      {.kind = EM_STAGE_LINEAR,
       .label = "copy",
       .linear = {.x = 1, .n_parts = 1, .w = {run->weights[4]}, .residual = EM_NO_VALUE, .outputs_only = true, .out = 2}}};
  em_program_desc desc = {.stages = stages, .n_stages = 4, .values = values, .n_values = 3, .scratch_floats = 196608,
                          .max_rows = CHUNK, .max_outputs = CHUNK, .max_slots = N_SLOTS, .max_pages = MAX_PAGES,
                          .kv = run->kv, .result = 2};
  CHECK(em_program_new(run->backend, &desc, &run->program, &error) == EM_OK);
  if (!run->program) {
    fprintf(stderr, "%s\n", error.text);
    exit(1);
  }
}

static void close_run(attention_run *run) {
  em_program_free(run->program);
  em_kv_free(run->kv);
  for (unsigned i = 0; i < 5; i++)
    em_weights_free(run->weights[i]);
  em_backend_close(run->backend);
}

static int32_t token_at(unsigned slot, unsigned position) {
  return (int32_t)((slot * 31 + position * 17 + position / 64) % N_TOKENS);
}

/* Feeds each slot its tokens in chunks of at most `chunk` rows shared by all slots; out: [slot][position][width]. */
static void feed(attention_run *run, const attention_case *c, unsigned chunk, const uint32_t *page_tables, float *const out[3]) {
  unsigned done[N_SLOTS] = {0};
  em_error error = {0};
  for (;;) {
    int32_t tokens[CHUNK];
    uint32_t positions[CHUNK], slots[CHUNK], outputs[CHUNK], n = 0;
    for (unsigned s = 0; s < N_SLOTS; s++) {
      unsigned share = chunk / N_SLOTS ? chunk / N_SLOTS : 1;
      for (unsigned i = 0; i < share && done[s] < c->lengths[s] && n < chunk; i++, done[s]++, n++) {
        tokens[n] = token_at(s, done[s]);
        positions[n] = done[s];
        slots[n] = s;
        outputs[n] = n;
      }
    }
    if (n == 0)
      return;
    em_step step = {.n_rows = n, .tokens = tokens, .positions = positions, .slots = slots, .n_slots = N_SLOTS,
                    .page_tables = page_tables, .n_outputs = n, .outputs = outputs};
    CHECK(em_backend_run(run->program, &step, &error) == EM_OK);
    for (uint32_t r = 0; r < n; r++)
      memcpy(out[slots[r]] + (size_t)positions[r] * run->width, em_program_result(run->program, r), run->width * sizeof(float));
  }
}

/* What the cache holds of a value. */
static void as_stored(em_type type, double *x, size_t n) {
  for (size_t i = 0; type == EM_TYPE_F16 && i < n; i++)
    x[i] = (double)em_f16_to_f32(em_f32_to_f16((float)x[i]));
  for (size_t i = 0; type == EM_TYPE_Q8_0 && i < n; i += 32) {
    double max = 0;
    for (size_t j = i; j < i + 32; j++)
      max = fmax(max, fabs(x[j]));
    double d = (double)em_f16_to_f32(em_f32_to_f16((float)(max / 127)));
    for (size_t j = i; j < i + 32; j++)
      x[j] = d > 0 ? d * rint(x[j] / d) : 0;
  }
}

static void rotate(const attention_case *c, const tensor t[5], const float *norm, unsigned position, const float *x, double *y) {
  double sum = 0;
  for (unsigned d = 0; d < c->k_dim; d++)
    sum += (double)x[d] * (double)x[d];
  for (unsigned d = 0; d < c->k_dim; d++)
    y[d] = (double)x[d] * (c->norms ? (double)norm[d] / sqrt(sum / c->k_dim + 1e-6) : 1);
  for (unsigned k = 0; c->rope != EM_ROPE_NONE && k < c->n_rot / 2; k++) {
    double theta = position * pow(10000, -2.0 * k / c->n_rot) / (c->factors ? (double)t[3].values[k] : 1);
    unsigned i = c->rope == EM_ROPE_NEOX ? k : 2 * k, j = c->rope == EM_ROPE_NEOX ? k + c->n_rot / 2 : 2 * k + 1;
    double a = y[i], b = y[j];
    y[i] = a * cos(theta) - b * sin(theta);
    y[j] = a * sin(theta) + b * cos(theta);
  }
}

/* One row in float64. */
static void reference_attention(const attention_case *c, const tensor t[5], unsigned slot, unsigned position, double *out) {
  unsigned qkv = c->n_heads * c->k_dim + c->n_kv_heads * (c->k_dim + c->v_dim);
  double *k = malloc(c->k_dim * sizeof *k), *v = malloc(c->v_dim * sizeof *v), *q = malloc(c->k_dim * sizeof *q);
  double *s = malloc((position + 1) * sizeof *s);
  for (unsigned h = 0; h < c->n_heads; h++) {
    unsigned kv_head = h / (c->n_heads / c->n_kv_heads);
    const float *row = t[0].values + (size_t)token_at(slot, position) * qkv;
    double most = -INFINITY, sum = 0;
    rotate(c, t, t[1].values, position, row + h * c->k_dim, q);
    for (unsigned p = 0; p <= position; p++) {
      const float *other = t[0].values + (size_t)token_at(slot, p) * qkv + c->n_heads * c->k_dim;
      rotate(c, t, t[2].values, p, other + kv_head * c->k_dim, k);
      as_stored(c->kv, k, c->k_dim);
      s[p] = 0;
      for (unsigned d = 0; d < c->k_dim; d++)
        s[p] += q[d] * k[d];
      s[p] *= (double)token_scale(c);
      most = fmax(most, s[p]);
    }
    for (unsigned p = 0; p <= position; p++)
      sum += s[p] = exp(s[p] - most);
    for (unsigned d = 0; d < c->v_dim; d++)
      out[h * c->v_dim + d] = 0;
    for (unsigned p = 0; p <= position; p++) {
      const float *other = t[0].values + (size_t)token_at(slot, p) * qkv + c->n_heads * c->k_dim + c->n_kv_heads * c->k_dim;
      for (unsigned d = 0; d < c->v_dim; d++)
        v[d] = (double)other[kv_head * c->v_dim + d];
      as_stored(c->kv, v, c->v_dim);
      for (unsigned d = 0; d < c->v_dim; d++)
        out[h * c->v_dim + d] += s[p] / sum * v[d];
    }
  }
  free(k);
  free(v);
  free(q);
  free(s);
}

static void test_attention(const attention_case *c) {
  unsigned qkv = c->n_heads * c->k_dim + c->n_kv_heads * (c->k_dim + c->v_dim), width = c->n_heads * c->v_dim;
  tensor t[5] = {make_tensor(EM_TYPE_F32, qkv, N_TOKENS, EM_USE_TABLE), make_tensor(EM_TYPE_F32, c->k_dim, 1, EM_USE_VECTOR),
                 make_tensor(EM_TYPE_F32, c->k_dim, 1, EM_USE_VECTOR),
                 make_tensor(EM_TYPE_F32, c->n_rot ? c->n_rot / 2 : 1, 1, EM_USE_VECTOR),
                 make_tensor(EM_TYPE_F32, width, width, EM_USE_MATRIX)};
  for (unsigned k = 0; k < t[3].desc.n_in; k++)
    t[3].values[k] = ((float *)(void *)t[3].file)[k] = 1.0f + (float)(k % 3);
  for (unsigned i = 0; i < width * width; i++)
    ((float *)(void *)t[4].file)[i] = i / width == i % width;
  /* Pages in no order, and those of two runs apart. */
  uint32_t tables[N_SLOTS * MAX_PAGES];
  for (uint32_t i = 0; i < N_SLOTS * MAX_PAGES; i++)
    tables[i] = (i * 7 + 3) % (N_SLOTS * MAX_PAGES);
  float *first[N_SLOTS], *out[N_SLOTS];
  for (unsigned s = 0; s < N_SLOTS; s++) {
    first[s] = malloc((size_t)c->lengths[s] * width * 4);
    out[s] = malloc((size_t)c->lengths[s] * width * 4);
  }
  double *expected = malloc(width * sizeof *expected);
  int kind = c->kv == EM_TYPE_F32 ? 0 : c->kv == EM_TYPE_F16 ? 1 : 2;
  for (int isa = 0; isa <= (int)em_cpu_best_isa(); isa++) {
    attention_run run;
    open_run(&run, c, t, (em_cpu_isa)isa, 1);
    feed(&run, c, CHUNK, tables, first);
    close_run(&run);
    for (unsigned s = 0; s < N_SLOTS; s++) {
      for (unsigned p = 0; p < c->lengths[s]; p += p + 1 == c->lengths[s] ? 1 : (c->lengths[s] - p) / 2) {
        reference_attention(c, t, s, p, expected);
        double e = nmse(expected, first[s] + (size_t)p * width, width);
        CHECK(e <= tolerances.stage_attention[kind]);
        if (!(e <= tolerances.stage_attention[kind]))
          fprintf(stderr, "NMSE %g with %s, slot %u, position %u\n", e, em_cpu_isa_name((em_cpu_isa)isa), s, p);
      }
    }
    /* Scalar code is slow, and how rows are chunked is decided above it. */
    unsigned chunks[] = {7, isa == EM_ISA_SCALAR ? 13 : 3};
    for (unsigned i = 0; i < 2; i++) {
      open_run(&run, c, t, (em_cpu_isa)isa, 2 + i);
      feed(&run, c, chunks[i], tables, out);
      close_run(&run);
      for (unsigned s = 0; s < N_SLOTS; s++)
        CHECK(memcmp(first[s], out[s], (size_t)c->lengths[s] * width * 4) == 0);
    }
  }
  for (unsigned s = 0; s < N_SLOTS; s++) {
    free(first[s]);
    free(out[s]);
  }
  free(expected);
  for (unsigned i = 0; i < 5; i++)
    free_tensor(&t[i]);
}

/* A copied page continues as the original does. */
static void test_copy(em_type kv) {
  attention_case c = {kv, 4, 2, 32, 32, 32, EM_ROPE_NEOX, false, false, {100, 1, 1}};
  tensor t[5] = {make_tensor(EM_TYPE_F32, 4 * 32 + 2 * 64, N_TOKENS, EM_USE_TABLE), make_tensor(EM_TYPE_F32, 32, 1, EM_USE_VECTOR),
                 make_tensor(EM_TYPE_F32, 32, 1, EM_USE_VECTOR), make_tensor(EM_TYPE_F32, 16, 1, EM_USE_VECTOR),
                 make_tensor(EM_TYPE_F32, 128, 128, EM_USE_MATRIX)};
  uint32_t tables[N_SLOTS * MAX_PAGES] = {[0] = 5, [MAX_PAGES] = 6, [2 * MAX_PAGES] = 7}, slot = 0, output = 0;
  float *out[N_SLOTS] = {malloc(100 * 128 * 4), malloc(128 * 4), malloc(128 * 4)}, before[128];
  attention_run run;
  em_error error = {0};
  open_run(&run, &c, t, em_cpu_best_isa(), 1);
  feed(&run, &c, CHUNK, tables, out);
  for (unsigned n = 15; n <= 33; n += 3) {
    int32_t token = 3;
    uint32_t other[N_SLOTS * MAX_PAGES] = {9};
    em_step step = {.n_rows = 1, .tokens = &token, .positions = &n, .slots = &slot, .n_slots = N_SLOTS, .page_tables = tables,
                    .n_outputs = 1, .outputs = &output};
    /* The copy is made before the original's position n is written over. */
    CHECK(em_kv_copy(run.kv, 5, 9, n, &error) == EM_OK);
    CHECK(em_backend_run(run.program, &step, &error) == EM_OK);
    memcpy(before, em_program_result(run.program, 0), sizeof before);
    step.page_tables = other;
    CHECK(em_backend_run(run.program, &step, &error) == EM_OK);
    CHECK(memcmp(before, em_program_result(run.program, 0), sizeof before) == 0);
  }
  CHECK(em_kv_copy(run.kv, 5, 1000, 1, NULL) == EM_ERR_ARGUMENT);
  close_run(&run);
  for (unsigned s = 0; s < N_SLOTS; s++)
    free(out[s]);
  for (unsigned i = 0; i < 5; i++)
    free_tensor(&t[i]);
}

/* --- What is refused ----------------------------------------------------------------------------------------------------------- */

static void test_refused(void) {
  em_backend *backend = open_cpu(EM_N_ISAS - 1, 1);
  tensor t = make_tensor(EM_TYPE_Q8_0, 64, 20, EM_USE_MATRIX | EM_USE_TABLE);
  em_error error = {0};
  em_weights *weights = NULL;
  uint64_t bytes;
  source s = {t.file, t.bytes, 0, 0};
  CHECK(em_weights_new(backend, &t.desc, read_source, &s, &weights, &error) == EM_ERR_CHANGED && !weights);
  CHECK_TEXT(error.text, "the file is gone");
  em_weights_desc wrong = t.desc;
  wrong.n_in = 65;
  CHECK(em_weights_bytes(backend, &wrong, &bytes, NULL) == EM_ERR_ARGUMENT);
  wrong = t.desc;
  wrong.type = EM_TYPE_I32;
  error = (em_error){0};
  CHECK(em_weights_bytes(backend, &wrong, &bytes, &error) == EM_ERR_UNSUPPORTED && strstr(error.text, "I32"));
  weights = load(backend, &t);
  em_kv_layer layer = {1, 32, 32};
  em_kv *kv = NULL;
  CHECK(em_kv_new(backend, &(em_kv_desc){EM_TYPE_F16, &layer, 1, 2}, &kv, NULL) == EM_OK);
  CHECK(em_kv_bytes(backend, &(em_kv_desc){EM_TYPE_Q4_0, &layer, 1, 2}, &bytes, NULL) == EM_ERR_UNSUPPORTED);
  CHECK(em_kv_bytes(backend, &(em_kv_desc){EM_TYPE_F16, &layer, 1, UINT32_MAX}, &bytes, NULL) == EM_ERR_ARGUMENT);
  layer.k_dim = 40;
  CHECK(em_kv_bytes(backend, &(em_kv_desc){EM_TYPE_Q8_0, &layer, 1, 2}, &bytes, NULL) == EM_ERR_UNSUPPORTED);
  em_value_desc values[2] = {{64, false, 0}, {20, true, 512}};
  em_stage stages[2] = {
      {.kind = EM_STAGE_EMBED, .label = "embed", .embed = {weights, 1.0f, 0}},
      {.kind = EM_STAGE_LINEAR,
       .label = "head",
       .linear = {.x = 0, .n_parts = 1, .w = {weights}, .residual = EM_NO_VALUE, .outputs_only = true, .out = 1}}};
  em_program_desc desc = {.stages = stages, .n_stages = 2, .values = values, .n_values = 2, .scratch_floats = 1024,
                          .max_rows = 4, .max_outputs = 4, .max_slots = 2, .max_pages = 1, .kv = kv, .result = 1};
  em_program *program = NULL;
  values[1].offset = 64; /* the output over the input */
  CHECK(em_program_new(backend, &desc, &program, NULL) == EM_ERR_ARGUMENT);
  values[1].offset = 960; /* past the end */
  CHECK(em_program_new(backend, &desc, &program, NULL) == EM_ERR_ARGUMENT);
  values[1].offset = 512;
  values[1].width = 21;
  CHECK(em_program_new(backend, &desc, &program, NULL) == EM_ERR_ARGUMENT);
  values[1].width = 20;
  desc.result = 2;
  CHECK(em_program_new(backend, &desc, &program, NULL) == EM_ERR_ARGUMENT);
  desc.result = 1;
  /* Weights without data serve sizes only. */
  em_weights *shape = NULL;
  CHECK(em_weights_new(backend, &t.desc, NULL, NULL, &shape, NULL) == EM_OK && shape);
  stages[1].linear.w[0] = shape;
  CHECK(em_program_bytes(backend, &desc, &bytes, NULL) == EM_OK && bytes > 0);
  CHECK(em_program_new(backend, &desc, &program, NULL) == EM_ERR_ARGUMENT);
  stages[1].linear.w[0] = weights;
  em_weights_free(shape);
  CHECK(em_program_new(backend, &desc, &program, NULL) == EM_OK && program);
  int32_t tokens[2] = {19, 3};
  uint32_t positions[2] = {0, 1}, slots[2] = {0, 0}, outputs[2] = {0, 1}, tables[2] = {0, 1};
  em_step good = {.n_rows = 2, .tokens = tokens, .positions = positions, .slots = slots, .n_slots = 2, .page_tables = tables,
                  .n_outputs = 2, .outputs = outputs}, step = good;
  CHECK(em_backend_run(program, &step, NULL) == EM_OK);
  step.n_rows = 5;
  CHECK(em_backend_run(program, &step, NULL) == EM_ERR_ARGUMENT);
  step = good;
  tokens[0] = 20;
  CHECK(em_backend_run(program, &step, NULL) == EM_ERR_ARGUMENT);
  tokens[0] = -1;
  CHECK(em_backend_run(program, &step, NULL) == EM_ERR_ARGUMENT);
  tokens[0] = 19;
  positions[1] = 2;
  CHECK(em_backend_run(program, &step, NULL) == EM_ERR_ARGUMENT);
  positions[0] = 255, positions[1] = 256;
  CHECK(em_backend_run(program, &step, NULL) == EM_ERR_CONTEXT);
  positions[0] = 0, positions[1] = 1;
  tables[0] = 2;
  CHECK(em_backend_run(program, &step, NULL) == EM_ERR_ARGUMENT);
  tables[0] = 0;
  slots[1] = 2;
  CHECK(em_backend_run(program, &step, NULL) == EM_ERR_ARGUMENT);
  slots[1] = 0;
  outputs[1] = 0;
  CHECK(em_backend_run(program, &step, NULL) == EM_ERR_ARGUMENT);
  step.n_outputs = 0;
  CHECK(em_backend_run(program, &step, NULL) == EM_OK);
  CHECK_INT(em_program_counters(program).weights_bytes, 2 * 64 / 32 * 34);
  em_program_free(program);
  em_kv_free(kv);
  em_weights_free(weights);
  em_backend_close(backend);
  free_tensor(&t);
}

/* A program that ends with the rows of its embedding, and one that goes on with them: together as one. */
static void test_handover(void) {
  em_backend *backend = open_cpu(em_cpu_best_isa(), 2);
  tensor t = make_tensor(EM_TYPE_F16, 64, 20, EM_USE_TABLE | EM_USE_MATRIX);
  em_weights *weights = load(backend, &t);
  em_value_desc values[2] = {{64, false, 0}, {20, true, 512}};
  em_stage stages[2] = {
      {.kind = EM_STAGE_EMBED, .label = "embed", .embed = {weights, 1.0f, 0}},
      {.kind = EM_STAGE_LINEAR,
       .label = "head",
       .linear = {.x = 0, .n_parts = 1, .w = {weights}, .residual = EM_NO_VALUE, .outputs_only = true, .out = 1}}};
  em_program_desc desc = {.stages = stages, .n_stages = 2, .values = values, .n_values = 2, .scratch_floats = 1024,
                          .max_rows = 4, .max_outputs = 4, .max_slots = 1, .result = 1};
  em_program *whole = NULL, *begin = NULL, *end = NULL;
  CHECK(em_program_new(backend, &desc, &whole, NULL) == EM_OK && whole);
  desc.n_stages = 1;
  desc.result = 0;
  CHECK(em_program_new(backend, &desc, &begin, NULL) == EM_OK && begin);
  em_stage input = {.kind = EM_STAGE_INPUT, .label = "input", .input = {2}};
  desc.n_stages = 2;
  desc.result = 1;
  stages[0] = input;
  CHECK(em_program_new(backend, &desc, &end, NULL) == EM_ERR_ARGUMENT); /* no such value */
  input.input.out = 1;
  stages[0] = input;
  CHECK(em_program_new(backend, &desc, &end, NULL) == EM_ERR_ARGUMENT); /* a value of outputs only */
  stages[0].input.out = 0;
  CHECK(em_program_new(backend, &desc, &end, NULL) == EM_OK && end);
  int32_t tokens[4] = {19, 3, 0, 7};
  uint32_t positions[4] = {0, 1, 2, 3}, slots[4] = {0}, outputs[2] = {1, 3};
  em_step step = {.n_rows = 4, .tokens = tokens, .positions = positions, .slots = slots, .n_slots = 1, .n_outputs = 2,
                  .outputs = outputs};
  CHECK(em_backend_run(end, &step, NULL) == EM_ERR_ARGUMENT); /* no input */
  CHECK(em_backend_run(whole, &step, NULL) == EM_OK);
  CHECK(em_backend_run(begin, &step, NULL) == EM_OK);
  step.input = em_program_result(begin, 0);
  for (uint32_t r = 0; r < 4; r++)
    CHECK(memcmp(em_program_result(begin, r), t.values + (size_t)tokens[r] * 64, 64 * sizeof(float)) == 0);
  CHECK(em_program_result(begin, 4) == NULL);
  CHECK(em_backend_run(end, &step, NULL) == EM_OK);
  CHECK(memcmp(em_program_result(end, 0), em_program_result(whole, 0), 2 * 20 * sizeof(float)) == 0);
  stages[0].kind = EM_STAGE_LINEAR;
  stages[0].linear = stages[1].linear;
  stages[1] = input;
  CHECK(em_program_new(backend, &desc, &(em_program *){NULL}, NULL) == EM_ERR_ARGUMENT); /* not the first stage */
  em_program_free(whole);
  em_program_free(begin);
  em_program_free(end);
  em_weights_free(weights);
  em_backend_close(backend);
  free_tensor(&t);
}

int main(void) {
  static const em_type types[] = {EM_TYPE_F32, EM_TYPE_F16, EM_TYPE_BF16, EM_TYPE_Q8_0, EM_TYPE_Q4_0, EM_TYPE_Q4_K, EM_TYPE_Q5_K, EM_TYPE_Q6_K};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    em_type a = types[i], b = types[(i + 3) % 8];
    unsigned n_in = em_type_get(a)->block_len == 1 && em_type_get(b)->block_len == 1 ? 40 : 256;
    linear_case cases[] = {
        {{a}, n_in, {1}, 1, false, false, false, false, false, true},
        {{a}, n_in, {35}, 1, true, true, true, true, false, false},
        {{a}, n_in * 3, {16}, 1, false, false, true, false, false, true},
        {{a, b, a}, n_in, {33, 16, 50}, 3, true, true, false, false, false, false},
        {{a, a}, n_in, {43, 43}, 2, true, true, false, false, true, false},
        {{a, b}, 512, {64, 64}, 2, true, false, false, false, true, true},
    };
    for (size_t j = 0; j < sizeof cases / sizeof *cases; j++)
      test_linear(&cases[j]);
  }
  static const attention_case attention[] = {
      {EM_TYPE_F32, 4, 2, 16, 16, 16, EM_ROPE_NORM, false, true, {1, 17, 300}},
      {EM_TYPE_F32, 3, 3, 8, 24, 4, EM_ROPE_NEOX, true, false, {256, 257, 40}},
      {EM_TYPE_F32, 8, 2, 20, 12, 0, EM_ROPE_NONE, false, false, {33, 600, 5}},
      {EM_TYPE_F16, 4, 2, 64, 64, 64, EM_ROPE_NEOX, true, false, {1025, 3, 255}},
      {EM_TYPE_F16, 40, 1, 32, 16, 32, EM_ROPE_NORM, false, false, {20, 2, 270}},
      {EM_TYPE_F16, 2, 1, 128, 128, 64, EM_ROPE_NEOX, false, true, {513, 90, 1}},
      {EM_TYPE_Q8_0, 4, 2, 64, 32, 64, EM_ROPE_NORM, true, false, {513, 30, 257}},
      {EM_TYPE_Q8_0, 3, 1, 96, 96, 96, EM_ROPE_NEOX, false, false, {40, 258, 1}},
  };
  for (size_t i = 0; i < sizeof attention / sizeof *attention; i++)
    test_attention(&attention[i]);
  test_copy(EM_TYPE_F32);
  test_copy(EM_TYPE_F16);
  test_copy(EM_TYPE_Q8_0);
  test_refused();
  test_handover();
  return check_done();
}
