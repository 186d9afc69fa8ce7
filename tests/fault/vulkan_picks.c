/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Picking tokens on a device: for vocabularies of odd and large sizes, with ties, zeros of both signs, infinities and
 * values that are no numbers, the same tokens as the host finds in the whole of the logits; and steps ahead give what
 * steps one by one give. With the validation layer, whose every message fails the test. */
#include "vulkan-hook.h"

#include <math.h>

#include "backend/backend.h"

#define N_IN 4u
#define MAX_ROWS 20u
#define MAX_OUTPUTS 3u

static uint32_t random_bits(void) {
  static uint64_t state = 88172645463325252u;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (uint32_t)(state >> 24);
}

static em_status read_floats(void *user, uint64_t offset, void *dst, size_t bytes, em_error *error) {
  memcpy(dst, (const char *)user + offset, bytes);
  return EM_OK;
}

static em_weights *load(em_backend *backend, float *values, uint32_t n_rows, unsigned use) {
  em_weights_desc desc = {.type = EM_TYPE_F32, .n_in = N_IN, .n_rows = n_rows, .use = use, .name = "a test's tensor"};
  em_weights *weights = NULL;
  em_error error = {0};
  if (em_weights_new(backend, &desc, read_floats, values, &weights, &error) != EM_OK) {
    fprintf(stderr, "%s\n", error.text);
    exit(1);
  }
  return weights;
}

/* A vocabulary whose token t has the logits of column t % N_IN of `columns`. */
typedef struct subject {
  em_weights *table, *head;
  float *columns; /* [width][N_IN] */
  em_program *program;
} subject;

static void open_subject(subject *s, em_backend *backend, uint32_t width, uint32_t kind) {
  em_error error = {0};
  float *table = calloc(width, N_IN * sizeof *table);
  s->columns = malloc(width * N_IN * sizeof *s->columns);
  for (uint32_t i = 0; i < width; i++)
    table[i * N_IN + i % N_IN] = 1;
  for (uint32_t i = 0; i < width * N_IN; i++) {
    /* Many ties; all alike; different ones; some that no greater one may follow. */
    uint32_t bits = random_bits();
    float few = (float)(bits % 7) - 3.0f, many = (float)((int32_t)bits) * 1e-6f;
    s->columns[i] = kind == 0 ? few : kind == 1 ? -2.5f : many;
    if (kind == 3 && i % N_IN == 0)
      s->columns[i] = i % 3 == 0 ? NAN : -INFINITY;
    else if (kind == 3 && bits % 5 == 0)
      s->columns[i] = bits % 3 == 0 ? NAN : bits % 3 == 1 ? -INFINITY : -0.0f;
  }
  s->table = load(backend, table, width, EM_USE_TABLE);
  s->head = load(backend, s->columns, width, EM_USE_MATRIX);
  free(table);
  em_value_desc values[2] = {{N_IN, false, 0}, {width, true, (MAX_ROWS * N_IN + 15) / 16 * 16}};
  em_stage stages[2] = {
      {.kind = EM_STAGE_EMBED, .layer = -1, .label = "x", .embed = {s->table, 1.0f, 0}},
      {.kind = EM_STAGE_LINEAR,
       .layer = -1,
       .label = "head",
       .linear = {.x = 0, .n_parts = 1, .w = {s->head}, .residual = EM_NO_VALUE, .outputs_only = true, .out = 1}}};
  em_program_desc desc = {.stages = stages,
                          .n_stages = 2,
                          .values = values,
                          .n_values = 2,
                          .scratch_floats = values[1].offset + MAX_OUTPUTS * (uint64_t)width,
                          .max_rows = MAX_ROWS,
                          .max_outputs = MAX_OUTPUTS,
                          .max_slots = 2,
                          .result = 1};
  if (em_program_new(backend, &desc, &s->program, &error) != EM_OK) {
    fprintf(stderr, "%s\n", error.text);
    exit(1);
  }
}

static void close_subject(subject *s) {
  em_program_free(s->program);
  em_weights_free(s->table);
  em_weights_free(s->head);
  free(s->columns);
}

/* Whether a comes before b. */
static bool is_before(const float *logits, uint32_t a, uint32_t b) {
  float x = logits[a], y = logits[b];
  if (isnan(x) || isnan(y))
    return isnan(x) == isnan(y) ? a < b : isnan(y);
  return x != y ? x > y : a < b;
}

static void check_list(const float *logits, uint32_t width, const em_top *top, uint32_t k) {
  static bool is_in[262144];
  uint32_t wrong = 0, last = 0;
  memset(is_in, 0, sizeof is_in);
  CHECK(top != NULL);
  for (uint32_t i = 0; top && i < k; i++) {
    CHECK(top[i].token >= 0 && (uint32_t)top[i].token < width);
    if (top[i].token < 0 || (uint32_t)top[i].token >= width)
      return;
    wrong += memcmp(&top[i].logit, &logits[top[i].token], sizeof(float)) != 0;
    wrong += i > 0 && !is_before(logits, last, (uint32_t)top[i].token);
    last = (uint32_t)top[i].token;
    is_in[last] = true;
  }
  for (uint32_t t = 0; t < width; t++)
    wrong += !is_in[t] && is_before(logits, t, last);
  CHECK_INT(wrong, 0);
}

static em_step step_of(const int32_t *tokens, uint32_t n_rows, const uint32_t *outputs, uint32_t n_outputs) {
  static uint32_t positions[MAX_ROWS + 1], slots[MAX_ROWS];
  for (uint32_t r = 0; r < n_rows; r++)
    positions[r] = r;
  return (em_step){.n_rows = n_rows,
                   .tokens = tokens,
                   .positions = positions,
                   .slots = slots,
                   .n_slots = 1,
                   .n_outputs = n_outputs,
                   .outputs = outputs};
}

static void check_subject(em_backend *backend, uint32_t width, uint32_t kind) {
  static const uint32_t counts[] = {1, 2, 40, 64}, rows[] = {1, 5, MAX_ROWS};
  subject s;
  em_error error = {0};
  open_subject(&s, backend, width, kind);
  CHECK_INT(em_program_max_top(s.program), width < EM_MAX_TOP ? width : EM_MAX_TOP);
  CHECK(em_program_max_ahead(s.program) > 1);
  float *logits = malloc(MAX_OUTPUTS * (size_t)width * sizeof *logits);
  int32_t tokens[MAX_ROWS];
  for (uint32_t r = 0; r < MAX_ROWS; r++)
    tokens[r] = (int32_t)(random_bits() % width);
  tokens[0] = kind == 3 ? 0 : tokens[0]; /* nothing but -infinity and no number */
  for (int i = 0; i < 3; i++) {
    uint32_t outputs[MAX_OUTPUTS] = {0, rows[i] / 2, rows[i] - 1};
    em_step step = step_of(tokens, rows[i], outputs, rows[i] > 2 ? 3 : 1);
    CHECK(em_backend_run(s.program, &step, &error) == EM_OK);
    CHECK(em_program_top(s.program, 0) == NULL);
    for (uint32_t o = 0; o < step.n_outputs; o++)
      memcpy(logits + (size_t)o * width, em_program_result(s.program, o), width * sizeof *logits);
    CHECK(kind == 3 || memcmp(&logits[width - 1], &s.columns[(width - 1) * N_IN + (uint32_t)tokens[0] % N_IN], 4) == 0);
    for (int c = 0; c < 4; c++) {
      step.n_top = counts[c];
      if (counts[c] > em_program_max_top(s.program))
        continue;
      CHECK(em_backend_run(s.program, &step, &error) == EM_OK);
      for (uint32_t o = 0; o < step.n_outputs; o++)
        check_list(logits + (size_t)o * width, width, em_program_top(s.program, o), counts[c]);
      CHECK(em_program_top(s.program, step.n_outputs) == NULL);
    }
  }
  free(logits);
  close_subject(&s);
}

static void check_ahead(em_backend *backend) {
  subject s;
  em_error error = {0};
  open_subject(&s, backend, 1031, 2);
  uint32_t n = em_program_max_ahead(s.program), output = 0;
  int32_t token = 17, expected[16];
  em_top found[16];
  for (uint32_t i = 0; i < n; i++) {
    em_step one = step_of(&token, 1, &output, 1);
    one.n_top = 1;
    CHECK(em_backend_run(s.program, &one, &error) == EM_OK);
    CHECK_INT(em_program_counters(s.program).n_submits, 1);
    token = expected[i] = em_program_top(s.program, 0)->token;
  }
  for (uint32_t ahead = 2; ahead <= n; ahead++) {
    token = 17;
    em_step all = step_of(&token, 1, &output, 1);
    all.n_top = 1;
    all.n_ahead = ahead;
    CHECK(em_backend_run(s.program, &all, &error) == EM_OK);
    CHECK_INT(em_program_counters(s.program).n_submits, 1);
    CHECK_INT(em_program_counters(s.program).n_steps, ahead);
    CHECK_INT(em_program_counters(s.program).weights_bytes, ahead * (16 + 1031 * 16));
    for (uint32_t i = 0; i < ahead; i++) {
      found[i] = *em_program_top(s.program, i);
      CHECK_INT(found[i].token, expected[i]);
    }
    CHECK(em_program_top(s.program, ahead) == NULL);
  }
  em_step wrong = step_of(&token, 1, &output, 1);
  wrong.n_ahead = 2;
  CHECK_INT(em_backend_run(s.program, &wrong, NULL), EM_ERR_ARGUMENT);
  wrong.n_top = 1;
  wrong.n_ahead = n + 1;
  CHECK_INT(em_backend_run(s.program, &wrong, NULL), EM_ERR_ARGUMENT);
  wrong.n_ahead = 0;
  wrong.n_top = EM_MAX_TOP + 1;
  CHECK_INT(em_backend_run(s.program, &wrong, NULL), EM_ERR_ARGUMENT);
  close_subject(&s);
}

static void check_most(em_backend *backend, uint32_t width, uint32_t max_top, uint32_t max_ahead) {
  subject s;
  uint32_t output = 0;
  int32_t token = 1;
  open_subject(&s, backend, width, 2);
  CHECK_INT(em_program_max_top(s.program), max_top);
  CHECK_INT(em_program_max_ahead(s.program), max_ahead);
  em_step step = step_of(&token, 1, &output, 1);
  step.n_top = max_top + 1;
  CHECK_INT(em_backend_run(s.program, &step, NULL), EM_ERR_ARGUMENT);
  close_subject(&s);
}

/* More tokens than the device picks from, and more rows of the head than one dispatch takes: the logits are all there,
 * and whoever picks does so from them. */
static void check_many(em_backend *backend, uint32_t width) {
  subject s;
  uint32_t output = 0, n_wrong = 0;
  int32_t token = 3;
  open_subject(&s, backend, width, 0);
  CHECK_INT(em_program_max_top(s.program), 0);
  em_step step = step_of(&token, 1, &output, 1);
  CHECK_INT(em_backend_run(s.program, &step, NULL), EM_OK);
  const float *logits = em_program_result(s.program, 0);
  for (uint32_t i = 0; i < width; i++)
    n_wrong += logits[i] != s.columns[(size_t)i * N_IN + 3];
  CHECK_INT(n_wrong, 0);
  close_subject(&s);
}

int main(void) {
  static const uint32_t widths[] = {5, 64, 1000, 4099, 32000, 151936, 262144};
  em_backend_params device = {.kind = EM_DEVICE_VULKAN};
  em_backend *backend = NULL;
  em_error error = {0};
  hook_validate();
  CHECK(em_backend_open(&(em_backend_params){EM_DEVICE_CPU, 0, 1, EM_N_ISAS - 1}, &backend, &error) == EM_OK);
  check_most(backend, 1000, 0, 1);
  em_backend_close(backend);
  device.device_index = hook_choose_device(NULL, NULL);
  /* A processor that pretends to be a GPU finds more than one token no sooner than the processor itself. */
  hook_start(&(hook_wish){0});
  CHECK(em_backend_open(&device, &backend, &error) == EM_OK);
  check_most(backend, 1000, 1, 4);
  check_most(backend, 262145, 0, 1);
  check_many(backend, 262145);
  check_many(backend, 32 * 65535 + 40);
  check_ahead(backend);
  em_backend_close(backend);
  hook_start(&(hook_wish){.discrete = true});
  CHECK(em_backend_open(&device, &backend, &error) == EM_OK);
  for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++)
    for (uint32_t kind = 0; kind < 4; kind++)
      check_subject(backend, widths[i], kind);
  check_most(backend, 1000, EM_MAX_TOP, 4);
  check_most(backend, 262145, 0, 1);
  check_ahead(backend);
  em_backend_close(backend);
  CHECK_INT(hook_n_live(), 0);
  return check_done();
}
