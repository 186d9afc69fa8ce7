/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "advisor/advisor.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/json.h"
#include "hardware/bandwidth.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REPEATS 1000u
#define MAX_SLOTS 32u /* what the engine's queue takes at once */

/* The requests of one measurement, which run together. */
typedef struct {
  em_engine *engine;
  uint32_t n_slots, n_started, n_finished;
  uint64_t n_tokens; /* generated while every slot was decoding */
  uint64_t window_start_ns, window_end_ns;
  uint64_t n_prompt; /* prompt tokens that were computed */
  em_error error;
} round;

typedef struct {
  round *of;
  uint32_t n_generated;
} slot;

typedef struct {
  double prefill, decode; /* tokens a second */
  /* While every slot was decoding: */
  uint64_t n_window_tokens, window_ns;
  uint64_t weights_bytes, kv_bytes; /* read */
  uint64_t n_dispatches, n_submits, n_allocations;
} result;

typedef struct {
  const char *path, *device;
  uint32_t n_prefill, n_decode, n_repeats, depth, n_slots, n_threads, gpu_layers;
  bool says_gpu_layers;
  bool json;
} settings;

/* --- One round of requests --------------------------------------------------------------------------------------- */

static bool on_token(void *user, int32_t token) {
  slot *s = user;
  round *r = s->of;

  if (s->n_generated++ == 0 && ++r->n_started == r->n_slots) {
    r->window_start_ns = em_now_ns();
  } else if (r->n_started == r->n_slots && r->n_finished == 0) {
    r->n_tokens++;
    r->window_end_ns = em_now_ns();
  }
  return true;
}

static void on_finish(void *user, em_finish finish, const em_request_stats *stats, const em_error *error) {
  slot *s = user;
  round *r = s->of;

  r->n_finished++;
  r->n_prompt += stats->n_prompt - stats->n_reused;
  if (finish == EM_FINISH_ERROR && r->error.code == EM_OK)
    r->error = *error;
}

/* Submits one request for each row of prompts [n_slots, n_prompt], runs them to their ends, and adds up what steps read
 * in which every slot decoded. */
static em_status run_round(round *r, const int32_t *prompts, uint32_t n_prompt, uint32_t max_tokens, result *out,
                           em_error *error) {
  slot slots[MAX_SLOTS] = {0};
  em_status status = EM_OK;

  for (uint32_t i = 0; i < r->n_slots; i++) {
    em_request_params request = {.tokens = prompts + (size_t)i * n_prompt,
                                 .n_tokens = n_prompt,
                                 .max_tokens = max_tokens,
                                 .on_token = on_token,
                                 .on_finish = on_finish,
                                 .user = &slots[i]};
    em_request_id id;

    slots[i].of = r;
    EM_TRY(em_engine_submit(r->engine, &request, &id, error));
  }
  while (r->n_finished < r->n_slots) {
    bool all_decode = r->n_started == r->n_slots && r->n_finished == 0;
    uint64_t n_allocations = em_n_allocations();
    em_step_counters counters;

    em_engine_step(r->engine);
    counters = em_engine_counters(r->engine);
    if (all_decode) {
      out->weights_bytes += counters.weights_bytes;
      out->kv_bytes += counters.kv_bytes;
      out->n_dispatches += counters.n_dispatches;
      out->n_submits += counters.n_submits;
      out->n_allocations += counters.n_made + em_n_allocations() - n_allocations;
    }
  }
  if (r->error.code != EM_OK) {
    *error = r->error;
    status = r->error.code;
  }
fail:
  return status;
}

/* --- The measurement --------------------------------------------------------------------------------------------- */

static uint64_t random_next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

static void fill_random(int32_t *tokens, size_t n, uint32_t n_vocab, uint64_t *state) {
  for (size_t i = 0; i < n; i++)
    tokens[i] = (int32_t)(random_next(state) % n_vocab);
}

static em_status measure_once(em_engine *engine, const settings *set, uint64_t *random, result *out, em_error *error) {
  uint32_t n_vocab = em_engine_get_facts(engine)->n_vocab;
  uint32_t n_long = set->depth + set->n_prefill, n_short = set->depth > 0 ? set->depth : 1;
  int32_t *deep = em_calloc((size_t)set->n_slots * n_short, sizeof *deep);
  int32_t *prompts = em_calloc((size_t)set->n_slots * n_long, sizeof *prompts);
  em_status status = EM_OK;

  if (!deep || !prompts)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "there is not enough memory for the prompts"));
  fill_random(deep, (size_t)set->n_slots * n_short, n_vocab, random);
  fill_random(prompts, (size_t)set->n_slots * n_long, n_vocab, random);
  for (uint32_t i = 0; i < set->n_slots && set->depth > 0; i++)
    memcpy(prompts + (size_t)i * n_long, deep + (size_t)i * n_short, (size_t)n_short * sizeof *deep);

  /* What stands before is read in a round of its own: the measured rounds find it in the KV cache. */
  if (set->depth > 0) {
    round before = {.engine = engine, .n_slots = set->n_slots};
    EM_TRY(run_round(&before, deep, n_short, 1, &(result){0}, error));
  }
  if (set->n_decode > 0) {
    round decode = {.engine = engine, .n_slots = set->n_slots};
    EM_TRY(run_round(&decode, deep, n_short, set->n_decode + 1, out, error));
    out->n_window_tokens = decode.n_tokens;
    out->window_ns = decode.n_tokens > 0 ? decode.window_end_ns - decode.window_start_ns : 0;
    out->decode = out->window_ns > 0 ? (double)decode.n_tokens * 1e9 / (double)out->window_ns : 0;
  }
  if (set->n_prefill > 0) {
    round prefill = {.engine = engine, .n_slots = set->n_slots};
    uint64_t start_ns = em_now_ns();

    EM_TRY(run_round(&prefill, prompts, n_long, 1, &(result){0}, error));
    out->prefill = (double)prefill.n_prompt * 1e9 / (double)(em_now_ns() - start_ns);
  }
fail:
  free(prompts);
  free(deep);
  return status;
}

/* --- The report -------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;

  return (x > y) - (x < y);
}

typedef struct {
  double median, min, max;
} spread;

static spread spread_of(double *values, size_t n) {
  qsort(values, n, sizeof *values, compare);
  return (spread){(values[(n - 1) / 2] + values[n / 2]) / 2, values[0], values[n - 1]};
}

typedef struct {
  spread prefill, decode;
  /* A step's are shared by its tokens. */
  double weights_per_token, kv_per_token; /* bytes read */
  double dispatches_per_token, submits_per_token;
  double allocations_per_token; /* of memory here and on the device, objects and command recordings */
  double bandwidth;             /* bytes a second; 0: not measured */
} report;

static void write_spread(em_buffer *out, const char *name, uint32_t n_tokens, spread s) {
  em_buffer_appendf(out, ",\"%s\":{\"tokens\":%u,\"tokens_per_s\":", name, n_tokens);
  em_json_write_real(out, s.median);
  em_buffer_append_text(out, ",\"min\":");
  em_json_write_real(out, s.min);
  em_buffer_append_text(out, ",\"max\":");
  em_json_write_real(out, s.max);
  em_buffer_append_text(out, "}");
}

static void write_real(em_buffer *out, const char *name, double value) {
  em_buffer_appendf(out, ",\"%s\":", name);
  em_json_write_real(out, value);
}

static void write_report(const settings *set, const em_engine_facts *facts, const report *r, em_buffer *out) {
  double per_token = r->weights_per_token + r->kv_per_token;
  double ceiling = em_advisor_ceiling(r->bandwidth, (uint64_t)per_token);
  double share = ceiling > 0 ? r->decode.median / ceiling : 0;

  if (set->json) {
    em_buffer_append_text(out, "{\"model\":");
    em_json_write_string(out, set->path, strlen(set->path));
    em_buffer_append_text(out, ",\"architecture\":");
    em_json_write_string(out, facts->architecture, strlen(facts->architecture));
    em_buffer_append_text(out, ",\"device\":");
    em_json_write_string(out, facts->device, strlen(facts->device));
    em_buffer_appendf(out, ",\"layers\":%u,\"gpu_layers\":%u,\"repeats\":%u,\"depth\":%u,\"slots\":%u,\"load_s\":",
                      facts->n_layers, facts->n_gpu_layers, set->n_repeats, set->depth, set->n_slots);
    em_json_write_real(out, (double)facts->load_ns / 1e9);
    write_real(out, "weights_s", (double)facts->weights_ns / 1e9);
    em_buffer_appendf(out, ",\"kernels\":%u", facts->prepare.n_kernels);
    write_real(out, "kernels_ready_s", (double)facts->prepare.ready_ns / 1e9);
    write_real(out, "kernels_waited_s", (double)facts->prepare.waited_ns / 1e9);
    if (set->n_prefill > 0)
      write_spread(out, "prefill", set->n_prefill, r->prefill);
    if (set->n_decode > 0) {
      write_spread(out, "decode", set->n_decode, r->decode);
      write_real(out, "bytes_per_token", per_token);
      write_real(out, "weights_bytes_per_token", r->weights_per_token);
      write_real(out, "kv_bytes_per_token", r->kv_per_token);
      write_real(out, "dispatches_per_token", r->dispatches_per_token);
      write_real(out, "submits_per_token", r->submits_per_token);
      write_real(out, "allocations_per_token", r->allocations_per_token);
      if (r->bandwidth > 0) {
        write_real(out, "bandwidth_bytes_per_s", r->bandwidth);
        write_real(out, "ceiling_tokens_per_s", ceiling);
        write_real(out, "share_of_ceiling", share);
      }
    }
    em_buffer_append_text(out, "}\n");
    return;
  }
  em_buffer_appendf(out, "%s on %s, loaded in %.2f s\n", facts->architecture, facts->device,
                    (double)facts->load_ns / 1e9);
  if (facts->memory.n_parts > 1)
    em_buffer_appendf(out, "%u of %u layers there, the others on the processor\n", facts->n_gpu_layers,
                      facts->n_layers);
  if (set->n_prefill > 0)
    em_buffer_appendf(out, "prefill  %5u tokens  %9.2f tokens/s  (%.2f to %.2f in %u runs)\n", set->n_prefill,
                      r->prefill.median, r->prefill.min, r->prefill.max, set->n_repeats);
  if (set->n_decode > 0) {
    em_buffer_appendf(out, "decode   %5u tokens  %9.2f tokens/s  (%.2f to %.2f in %u runs)\n", set->n_decode,
                      r->decode.median, r->decode.min, r->decode.max, set->n_repeats);
    em_buffer_appendf(out, "a token reads %.2f MB of weights and %.2f MB of KV cache\n", r->weights_per_token / 1e6,
                      r->kv_per_token / 1e6);
    if (r->bandwidth > 0)
      em_buffer_appendf(out, "the device reads %.1f GB/s: at most %.1f tokens/s, of which this is %.0f %%\n",
                        r->bandwidth / 1e9, ceiling, share * 100);
  }
}

/* What the engine's devices read together where they share the model: each its part, one after the other. */
static em_status shared_bandwidth(const em_engine_facts *facts, const settings *set, double device, double *out,
                                  em_error *error) {
  const em_part_plan *parts = facts->memory.parts;
  em_advisor_share shares[2] = {{parts[0].weights_bytes_per_token, 0},
                                {parts[1].weights_bytes_per_token, (uint64_t)device}};
  em_status status = em_hardware_read_bandwidth(set->n_threads, &shares[0].bytes_per_s, error);

  *out = em_advisor_shared_ceiling(shares, 2) * (double)(shares[0].token_bytes + shares[1].token_bytes);
  return status;
}

static em_status measure(em_engine *engine, const settings *set, report *out, em_error *error) {
  double *prefill = em_calloc(set->n_repeats, sizeof *prefill), *decode = em_calloc(set->n_repeats, sizeof *decode);
  uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
  result all = {0};
  em_status status = EM_OK;

  if (!prefill || !decode)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "there is not enough memory for the measurements"));
  /* The first run, which touches everything for the first time, does not count. */
  EM_TRY(measure_once(engine, set, &random, &(result){0}, error));
  for (uint32_t i = 0; i < set->n_repeats; i++) {
    result one = {0};

    EM_TRY(measure_once(engine, set, &random, &one, error));
    prefill[i] = one.prefill;
    decode[i] = one.decode;
    all.n_window_tokens += one.n_window_tokens;
    all.weights_bytes += one.weights_bytes;
    all.kv_bytes += one.kv_bytes;
    all.n_dispatches += one.n_dispatches;
    all.n_submits += one.n_submits;
    all.n_allocations += one.n_allocations;
  }
  out->prefill = spread_of(prefill, set->n_repeats);
  out->decode = spread_of(decode, set->n_repeats);
  if (all.n_window_tokens > 0) {
    double n = (double)all.n_window_tokens;

    out->weights_per_token = (double)all.weights_bytes / n;
    out->kv_per_token = (double)all.kv_bytes / n;
    out->dispatches_per_token = (double)all.n_dispatches / n;
    out->submits_per_token = (double)all.n_submits / n;
    out->allocations_per_token = (double)all.n_allocations / n;
  }
fail:
  free(prefill);
  free(decode);
  return status;
}

int hearth_cli_bench(const hearth_cli_command *command, int argc, char **argv) {
  settings set = {.device = "cpu", .n_prefill = 512, .n_decode = 128, .n_repeats = 5, .n_slots = 1};
  const hearth_cli_option options[] = {
      {"-p", HEARTH_CLI_COUNT, &set.n_prefill, NULL},
      {"-n", HEARTH_CLI_COUNT, &set.n_decode, NULL},
      {"-r", HEARTH_CLI_COUNT, &set.n_repeats, NULL},
      {"--depth", HEARTH_CLI_COUNT, &set.depth, NULL},
      {"--slots", HEARTH_CLI_COUNT, &set.n_slots, NULL},
      {"--device", HEARTH_CLI_TEXT, &set.device, NULL},
      {"--threads", HEARTH_CLI_COUNT, &set.n_threads, NULL},
      {"--json", HEARTH_CLI_FLAG, &set.json, NULL},
      {"--gpu-layers", HEARTH_CLI_COUNT, &set.gpu_layers, &set.says_gpu_layers},
  };
  em_engine_params params;
  em_gguf *gguf = NULL;
  em_engine *engine = NULL;
  em_buffer output = {0};
  em_error error = {0};
  em_status status = EM_OK;
  report r = {0};
  em_backend_speed speed[2];
  uint64_t longest;
  int code = 0;

  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], "--ops") == 0)
      return hearth_cli_bench_ops(command, argc, argv);
  if (hearth_cli_parse(command, argc, argv, options, sizeof options / sizeof *options, &set.path, 1, &code))
    return code;
  if (set.n_prefill == 0 && set.n_decode == 0)
    return hearth_cli_wrong(command, "-p 0 and -n 0 leave nothing to measure");
  if (set.n_repeats == 0 || set.n_repeats > MAX_REPEATS)
    return hearth_cli_wrong(command, "-r must be from 1 to %u", MAX_REPEATS);
  if (set.n_slots == 0 || set.n_slots > MAX_SLOTS)
    return hearth_cli_wrong(command, "--slots must be from 1 to %u", MAX_SLOTS);

  /* A prompt and what is generated after it, or what is generated after one token. */
  longest = (uint64_t)set.depth + (set.n_prefill > set.n_decode ? set.n_prefill : set.n_decode) + 2;
  EM_TRY(hearth_cli_engine_params(set.device, set.n_threads, &params, &error));
  params.n_slots = set.n_slots;
  params.says_gpu_layers = set.says_gpu_layers;
  params.n_gpu_layers = set.gpu_layers;
  params.context_tokens = (uint32_t)(longest <= UINT32_MAX ? longest : UINT32_MAX);
  EM_TRY(em_gguf_open(set.path, &gguf, &error));
  EM_TRY(em_engine_open(gguf, &params, NULL, NULL, &engine, &error));
  if (em_engine_get_facts(engine)->context_tokens < longest)
    EM_TRY(em_fail(&error, EM_ERR_CONTEXT, "%" PRIu64 " tokens do not fit into the model's context of %u", longest,
                   em_engine_get_facts(engine)->context_tokens));

  /* Before and after: other programs may have taken their share of one. */
  if (em_engine_get_facts(engine)->n_gpu_layers == 0)
    params.backend.kind = EM_DEVICE_CPU;
  EM_TRY(em_hardware_measure(&params.backend, &speed[0], &error));
  EM_TRY(measure(engine, &set, &r, &error));
  EM_TRY(em_hardware_measure(&params.backend, &speed[1], &error));
  r.bandwidth = (double)(speed[speed[1].read_bytes_per_s > speed[0].read_bytes_per_s].read_bytes_per_s);
  if (em_engine_get_facts(engine)->memory.n_parts > 1)
    EM_TRY(shared_bandwidth(em_engine_get_facts(engine), &set, r.bandwidth, &r.bandwidth, &error));
  write_report(&set, em_engine_get_facts(engine), &r, &output);
  EM_TRY(hearth_cli_print(&output, &error));

fail:
  em_buffer_clear(&output);
  em_engine_close(engine);
  em_gguf_close(gguf);
  return status == EM_OK ? 0 : hearth_cli_fail(&error);
}
