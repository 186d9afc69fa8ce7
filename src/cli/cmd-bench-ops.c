/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bench --ops: each kernel by itself, in the shapes of a model of 8 billion parameters. A kernel's time is what a
 * program with many copies of its stage takes longer than one with a single copy, so that what both share does not
 * count. */
#include "cli/cli.h"

#include "backend/backend.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/json.h"
#include "hardware/bandwidth.h"
#include "hardware/devices.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 4096u
#define N_HEADS 32u
#define N_KV_HEADS 8u
#define HEAD_DIM 128u
#define QKV_WIDTH ((N_HEADS + 2 * N_KV_HEADS) * HEAD_DIM)
#define N_LAYERS 16u /* of the cache: at the greatest depth more than any processor's or card's cache holds */
#define DEPTH 4096u
#define MAX_ROWS 64u
#define MAX_COPIES 128u
#define RESULT_WIDTH 32u
#define LEAST_BYTES (UINT64_C(256) << 20) /* of a kernel's matrices together, where it is to read from memory */
#define LEAST_NS UINT64_C(100000000)      /* that a program is run for, again and again, */
#define LEAST_RUNS 3u                     /* and at least so often, */
#define MOST_NS UINT64_C(1000000000)      /* unless that takes long */

typedef struct {
  em_backend *backend;
  double bandwidth; /* bytes a second */
  bool json;
  uint32_t n_lines;
  em_buffer output;
} bench;

/* --- Weights ----------------------------------------------------------------------------------------------------- */

/* Every row is this one. */
typedef struct {
  uint8_t bytes[WIDTH * 4 * 2];
  uint64_t n_bytes;
} row;

static em_status read_rows(void *user, uint64_t offset, void *dst, size_t bytes, em_error *error) {
  const row *r = user;
  uint8_t *to = dst;

  for (size_t done = 0, n; done < bytes; done += n) {
    uint64_t at = (offset + done) % r->n_bytes;

    n = r->n_bytes - at < bytes - done ? (size_t)(r->n_bytes - at) : bytes - done;
    memcpy(to + done, r->bytes + at, n);
  }
  return EM_OK;
}

static void fill_floats(float *out, size_t n) {
  uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

  for (size_t i = 0; i < n; i++) {
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    out[i] = (float)(state >> 40) * 0x1p-23f - 1;
  }
}

/* EM_ERR_UNSUPPORTED: the device has no kernel for the type. */
static em_status make_weights(bench *b, em_type type, uint64_t n_in, uint64_t n_rows, unsigned use, em_weights **out,
                              em_error *error) {
  static float values[QKV_WIDTH];
  static row r;
  const em_type_info *info = em_type_get((uint32_t)type);
  em_weights_desc desc = {.type = type, .n_in = n_in, .n_rows = n_rows, .use = use, .name = "measured"};

  fill_floats(values, n_in);
  r.n_bytes = n_in / info->block_len * info->block_bytes;
  info->encode(values, r.bytes, n_in / info->block_len);
  return em_weights_new(b->backend, &desc, read_rows, &r, out, error);
}

/* --- Programs ---------------------------------------------------------------------------------------------------- */

/* An input of width `in`, n copies of a stage, and a small matrix that reads `last`, so that the result is small. Value
 * 0 is the input, 1 the copies' output, 2 the result. */
typedef struct {
  uint32_t in, out; /* widths */
  em_value last;
  em_kv *kv;
} frame;

typedef struct {
  double ns;
  double bytes; /* of weights and cache, as the backend counts them */
} cost;

static em_status make_program(bench *b, const frame *f, const em_stage *copies, uint32_t n, em_weights *small,
                              em_program **out, em_error *error) {
  em_stage stages[MAX_COPIES + 2];
  const uint64_t second = (uint64_t)MAX_ROWS * f->in, third = second + (uint64_t)MAX_ROWS * f->out;
  const em_value_desc values[3] = {{f->in, false, 0}, {f->out, false, second}, {RESULT_WIDTH, false, third}};
  em_program_desc desc = {.stages = stages,
                          .n_stages = n + 2,
                          .values = values,
                          .n_values = 3,
                          .scratch_floats = third + MAX_ROWS * RESULT_WIDTH,
                          .max_rows = MAX_ROWS,
                          .max_outputs = 1,
                          .max_slots = 1,
                          .max_pages = f->kv ? DEPTH / EM_KV_PAGE_TOKENS : 0,
                          .kv = f->kv,
                          .result = 2};

  stages[0] = (em_stage){.kind = EM_STAGE_INPUT, .layer = -1, .label = "input", .input = {0}};
  memcpy(stages + 1, copies, n * sizeof *stages);
  stages[n + 1] = (em_stage){.kind = EM_STAGE_LINEAR,
                             .layer = -1,
                             .label = "result",
                             .linear = {.x = f->last, .n_parts = 1, .w = {small}, .residual = EM_NO_VALUE, .out = 2}};
  return em_program_new(b->backend, &desc, out, error);
}

static em_status run_rows(em_program *program, uint32_t n_rows, uint32_t first_position, em_error *error) {
  static const int32_t tokens[MAX_ROWS];
  static const uint32_t slots[MAX_ROWS];
  static float input[MAX_ROWS * QKV_WIDTH];
  uint32_t positions[MAX_ROWS], pages[DEPTH / EM_KV_PAGE_TOKENS], output = 0;
  em_step step = {.n_rows = n_rows,
                  .tokens = tokens,
                  .positions = positions,
                  .slots = slots,
                  .n_slots = 1,
                  .page_tables = pages,
                  .n_outputs = 1,
                  .outputs = &output,
                  .input = input};

  if (input[0] == 0)
    fill_floats(input, MAX_ROWS * QKV_WIDTH);
  for (uint32_t i = 0; i < DEPTH / EM_KV_PAGE_TOKENS; i++)
    pages[i] = i;
  for (uint32_t i = 0; i < n_rows; i++)
    positions[i] = first_position + i;
  return em_backend_run(program, &step, error);
}

static em_status time_program(em_program *program, uint32_t n_rows, uint32_t position, cost *out, em_error *error) {
  em_status status = EM_OK;
  uint64_t began = em_now_ns(), best_ns = UINT64_MAX;
  em_step_counters counters;

  for (uint32_t i = 0; i == 0 || em_now_ns() - began < (i < LEAST_RUNS ? MOST_NS : LEAST_NS); i++) {
    uint64_t start = em_now_ns(), ns;

    EM_TRY(run_rows(program, n_rows, position, error));
    ns = em_now_ns() - start;
    if (ns < best_ns)
      best_ns = ns;
  }
  counters = em_program_counters(program);
  *out = (cost){(double)best_ns, (double)(counters.weights_bytes + counters.kv_bytes)};
fail:
  return status;
}

/* What one copy costs, from programs of n copies and of one. */
static em_status time_copies(bench *b, const frame *f, const em_stage *copies, uint32_t n, uint32_t n_rows,
                             uint32_t position, cost *out, em_error *error) {
  em_status status = EM_OK;
  em_weights *small = NULL;
  em_program *programs[2] = {NULL, NULL};
  cost costs[2];

  EM_TRY(make_weights(b, EM_TYPE_F32, f->last == 0 ? f->in : f->out, RESULT_WIDTH, EM_USE_MATRIX, &small, error));
  for (int i = 0; i < 2; i++) {
    EM_TRY(make_program(b, f, copies, i == 0 ? 1 : n, small, &programs[i], error));
    EM_TRY(time_program(programs[i], n_rows, position, &costs[i], error));
  }
  *out = (cost){(costs[1].ns - costs[0].ns) / (n - 1), (costs[1].bytes - costs[0].bytes) / (n - 1)};
  /* Other programs may slow the short one down; the long one's share is never less than the copy itself. */
  if (out->ns <= 0)
    out->ns = costs[1].ns / n;
fail:
  for (int i = 0; i < 2; i++)
    em_program_free(programs[i]);
  em_weights_free(small);
  return status;
}

/* --- The report -------------------------------------------------------------------------------------------------- */

static void report(bench *b, const char *op, const char *type, uint32_t n_rows, uint32_t depth, double ns, double bytes,
                   double operations) {
  double bytes_per_s = bytes * 1e9 / ns, operations_per_s = operations * 1e9 / ns, share = bytes_per_s / b->bandwidth;

  if (b->json) {
    em_buffer_appendf(&b->output,
                      "%s{\"op\":\"%s\",\"type\":\"%s\",\"rows\":%u,\"depth\":%u,\"ns\":%.0f,\"bytes_per_s\":%.0f",
                      b->n_lines++ ? "," : "", op, type, n_rows, depth, ns, bytes_per_s);
    em_buffer_appendf(&b->output, ",\"operations_per_s\":%.0f,\"share_of_ceiling\":", operations_per_s);
    em_json_write_real(&b->output, share);
    em_buffer_append_text(&b->output, "}");
    return;
  }
  printf("%-10s %-8s %2u %-4s", op, type, n_rows, n_rows == 1 ? "row" : "rows");
  if (depth > 0)
    printf(" at %4u", depth);
  else
    printf("        ");
  printf(" %10.1f us %8.2f GB/s (%3.0f %%)", ns / 1e3, bytes_per_s / 1e9, share * 100);
  if (operations > 0)
    printf(" %9.1f GOP/s", operations_per_s / 1e9);
  printf("\n");
  fflush(stdout);
}

/* --- The kernels ------------------------------------------------------------------------------------------------- */

static em_status bench_linear(bench *b, em_type type, em_error *error) {
  static const uint32_t row_counts[] = {1, 4, 8, 16, 64};
  em_status status = EM_OK;
  em_weights *weights[MAX_COPIES] = {NULL};
  em_stage stages[MAX_COPIES];
  em_weights_desc desc = {.type = type, .n_in = WIDTH, .n_rows = WIDTH, .use = EM_USE_MATRIX, .name = "measured"};
  const frame f = {.in = WIDTH, .out = WIDTH, .last = 1};
  uint64_t bytes;
  uint32_t n = 4;

  if (em_weights_bytes(b->backend, &desc, &bytes, NULL) != EM_OK)
    return EM_OK; /* the device has no kernel for the type */
  if (bytes * n < LEAST_BYTES)
    n = (uint32_t)(LEAST_BYTES / bytes) + 1;
  if (n > MAX_COPIES)
    n = MAX_COPIES;
  for (uint32_t i = 0; i < n; i++) {
    EM_TRY(make_weights(b, type, WIDTH, WIDTH, EM_USE_MATRIX, &weights[i], error));
    stages[i] = (em_stage){.kind = EM_STAGE_LINEAR,
                           .label = "linear",
                           .linear = {.x = 0, .n_parts = 1, .w = {weights[i]}, .residual = EM_NO_VALUE, .out = 1}};
  }
  for (size_t i = 0; i < sizeof row_counts / sizeof *row_counts; i++) {
    uint32_t rows = row_counts[i];
    cost c;

    /* Many rows keep the device busy whether or not the weights come from memory. */
    EM_TRY(time_copies(b, &f, stages, rows > 4 ? 3 : n, rows, 0, &c, error));
    report(b, "linear", em_type_get((uint32_t)type)->name, rows, 0, c.ns, c.bytes, 2.0 * WIDTH * WIDTH * rows);
  }
fail:
  for (uint32_t i = 0; i < n; i++)
    em_weights_free(weights[i]);
  return status;
}

static em_status bench_embed(bench *b, em_error *error) {
  em_status status = EM_OK;
  em_weights *table = NULL;
  em_stage stages[MAX_COPIES];
  const frame f = {.in = RESULT_WIDTH, .out = WIDTH, .last = 1};
  cost c;

  EM_TRY(make_weights(b, EM_TYPE_Q8_0, WIDTH, 1, EM_USE_TABLE, &table, error));
  for (uint32_t i = 0; i < MAX_COPIES; i++)
    stages[i] = (em_stage){.kind = EM_STAGE_EMBED, .label = "embed", .embed = {table, 1.0f, 1}};
  for (uint32_t rows = 1; rows <= MAX_ROWS; rows *= MAX_ROWS) {
    EM_TRY(time_copies(b, &f, stages, MAX_COPIES, rows, 0, &c, error));
    report(b, "embed", "Q8_0", rows, 0, c.ns, c.bytes + 4.0 * WIDTH * rows, 0);
  }
fail:
  em_weights_free(table);
  return status;
}

/* A norm is a part of the linear stage behind it: the time with it less the time without it. */
static em_status bench_norm(bench *b, em_error *error) {
  em_status status = EM_OK;
  em_weights *norm = NULL, *small = NULL;
  em_stage stages[MAX_COPIES];
  const frame f = {.in = WIDTH, .out = RESULT_WIDTH, .last = 1};
  cost with, without;

  EM_TRY(make_weights(b, EM_TYPE_F32, WIDTH, 1, EM_USE_VECTOR, &norm, error));
  EM_TRY(make_weights(b, EM_TYPE_F32, WIDTH, RESULT_WIDTH, EM_USE_MATRIX, &small, error));
  for (uint32_t rows = 1; rows <= MAX_ROWS; rows *= MAX_ROWS) {
    for (int has_norm = 0; has_norm < 2; has_norm++) {
      for (uint32_t i = 0; i < MAX_COPIES; i++)
        stages[i] = (em_stage){.kind = EM_STAGE_LINEAR,
                               .label = "norm",
                               .linear = {.x = 0,
                                          .norm = has_norm ? norm : NULL,
                                          .norm_eps = 1e-5f,
                                          .n_parts = 1,
                                          .w = {small},
                                          .residual = EM_NO_VALUE,
                                          .out = 1}};
      EM_TRY(time_copies(b, &f, stages, MAX_COPIES, rows, 0, has_norm ? &with : &without, error));
    }
    /* On a busy computer it may not be seen beside the product. */
    if (with.ns > without.ns)
      report(b, "norm", "F32", rows, 0, with.ns - without.ns, 8.0 * WIDTH * rows, 0);
  }
fail:
  em_weights_free(norm);
  em_weights_free(small);
  return status;
}

static em_status bench_heads(bench *b, em_type type, em_error *error) {
  em_status status = EM_OK;
  em_kv_layer layers[N_LAYERS];
  em_kv_desc desc = {type, layers, N_LAYERS, DEPTH / EM_KV_PAGE_TOKENS};
  em_stage stores[N_LAYERS], attends[N_LAYERS];
  frame f = {.in = QKV_WIDTH, .out = N_HEADS * HEAD_DIM, .last = 0};
  em_weights *small = NULL;
  em_program *fill = NULL;
  const char *name = em_type_get((uint32_t)type)->name;
  uint64_t kv_row;
  cost c;

  for (uint32_t i = 0; i < N_LAYERS; i++) {
    layers[i] = (em_kv_layer){N_KV_HEADS, HEAD_DIM, HEAD_DIM};
    stores[i] = (em_stage){
        .kind = EM_STAGE_ROPE_STORE,
        .label = "rope",
        .rope_store = {
            .qkv = 0, .kv_layer = i, .n_heads = N_HEADS, .rope = {EM_ROPE_NEOX, HEAD_DIM, 10000.0f, 1.0f, 1.0f, NULL}}};
    attends[i] = (em_stage){.kind = EM_STAGE_ATTENTION, .label = "attention", .attention = {0, 1, i, N_HEADS, 0.088f}};
  }
  EM_TRY(em_kv_new(b->backend, &desc, &f.kv, error));
  /* The whole cache is written, so that it lies in memory. */
  EM_TRY(make_weights(b, EM_TYPE_F32, QKV_WIDTH, RESULT_WIDTH, EM_USE_MATRIX, &small, error));
  EM_TRY(make_program(b, &f, stores, N_LAYERS, small, &fill, error));
  for (uint32_t position = 0; position < DEPTH; position += MAX_ROWS)
    EM_TRY(run_rows(fill, MAX_ROWS, position, error));

  /* q is read and written, k and v are read and stored. */
  (void)!em_type_row_bytes((uint32_t)type, 2 * N_KV_HEADS * HEAD_DIM, &kv_row);
  for (uint32_t rows = 1; rows <= MAX_ROWS; rows *= MAX_ROWS) {
    EM_TRY(time_copies(b, &f, stores, N_LAYERS, rows, 0, &c, error));
    report(b, "rope+store", name, rows, 0, c.ns, (4.0 * (QKV_WIDTH + N_HEADS * HEAD_DIM) + (double)kv_row) * rows, 0);
  }
  f.last = 1;
  for (uint32_t depth = 512; depth <= DEPTH; depth *= 8) {
    EM_TRY(time_copies(b, &f, attends, N_LAYERS, 1, depth - 1, &c, error));
    report(b, "attention", name, 1, depth, c.ns, c.bytes, 4.0 * N_HEADS * HEAD_DIM * depth);
  }
fail:
  em_program_free(fill);
  em_weights_free(small);
  em_kv_free(f.kv);
  return status;
}

int hearth_cli_bench_ops(const hearth_cli_command *command, int argc, char **argv) {
  const char *device = "cpu";
  em_backend_params params = {.max_isa = EM_N_ISAS - 1};
  em_backend_speed speed;
  bench b = {0};
  bool ops;
  const hearth_cli_option options[] = {{"--ops", HEARTH_CLI_FLAG, &ops, NULL},
                                       {"--device", HEARTH_CLI_TEXT, &device, NULL},
                                       {"--threads", HEARTH_CLI_COUNT, &params.n_threads, NULL},
                                       {"--json", HEARTH_CLI_FLAG, &b.json, NULL}};
  em_error error = {0};
  em_status status = EM_OK;
  int code = 0;

  if (hearth_cli_parse(command, argc, argv, options, sizeof options / sizeof *options, NULL, 0, &code))
    return code;
  EM_TRY(em_device_parse(device, &params, &error));
  EM_TRY(em_hardware_measure(&params, &speed, &error));
  EM_TRY(em_backend_open(&params, &b.backend, &error));
  b.bandwidth = (double)speed.read_bytes_per_s;
  if (b.json) {
    em_buffer_append_text(&b.output, "{\"device\":");
    em_json_write_string(&b.output, em_backend_name(b.backend), strlen(em_backend_name(b.backend)));
    em_buffer_appendf(&b.output, ",\"read_bytes_per_s\":%" PRIu64 ",\"copy_bytes_per_s\":%" PRIu64,
                      speed.read_bytes_per_s, speed.copy_bytes_per_s);
    em_buffer_appendf(&b.output, ",\"barrier_ns\":%" PRIu64 ",\"submit_ns\":%" PRIu64 ",\"ops\":[", speed.barrier_ns,
                      speed.submit_ns);
  } else {
    printf("%s reads %.1f GB/s\n", em_backend_name(b.backend), b.bandwidth / 1e9);
  }
  for (uint32_t type = 0; type < EM_N_TYPES; type++)
    if (em_type_get(type) && em_type_get(type)->encode)
      EM_TRY(bench_linear(&b, (em_type)type, &error));
  EM_TRY(bench_embed(&b, &error));
  EM_TRY(bench_norm(&b, &error));
  EM_TRY(bench_heads(&b, EM_TYPE_F16, &error));
  EM_TRY(bench_heads(&b, EM_TYPE_Q8_0, &error));
  if (b.json) {
    em_buffer_append_text(&b.output, "]}\n");
    EM_TRY(hearth_cli_print(&b.output, &error));
  }
fail:
  em_buffer_clear(&b.output);
  em_backend_close(b.backend);
  return status == EM_OK ? 0 : hearth_cli_fail(&error);
}
