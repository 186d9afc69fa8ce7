/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "advisor/advisor.h"
#include "base/json.h"
#include "model/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS_IN_TEXT 6
#define ITEMS_IN_JSON 64
#define TEXT_COLUMNS 100
#define MAX_GB 1000000u /* of stated memory */

/* What is said of the file as a model; each part may be missing, with the reason. */
typedef struct {
  em_model *model;
  em_error model_error;
  bool has_plan;
  em_memory_plan plan;
  em_error plan_error; /* beside a plan: the stated hardware is too small for it */
  bool is_stated;      /* the hardware */
  em_dialog *dialog;
  em_error dialog_error;
} report;

/* What is asked for beside the file. A plan is for this computer and a device of it, or for hardware that is stated: a
 * computer's memory, and a card with memory of its own or graphics that use the computer's. */
typedef struct {
  const char *device;
  uint32_t context_tokens, gpu_layers;
  bool says_gpu_layers;
  double memory_gb, card_gb;
  bool says_memory, says_card, unified;
} wishes;

/* Of a whole memory, what is left when everything else on a computer has had its share; never 0, which would say
 * nothing. */
static uint64_t usable_bytes(double gb) {
  const uint64_t bytes = (uint64_t)(gb * 1e9);
  const em_memory_state memory = {.total_bytes = bytes, .available_bytes = bytes};

  const uint64_t usable = em_advisor_fit(0, &memory, em_advisor_reserve(&memory)).usable_bytes;

  return usable > 0 ? usable : 1;
}

/* Of a card's memory a sixteenth is left to the desktop. */
static void state_hardware(const wishes *wish, em_engine_params *params) {
  if (wish->says_card || wish->unified)
    params->backend.kind = EM_DEVICE_NULL;
  /* Beside a card alone the computer is taken to have the memory that is needed. */
  if (wish->says_memory)
    params->memory_limit_bytes = usable_bytes(wish->memory_gb);
  if (wish->says_card)
    params->device_memory_limit_bytes = (uint64_t)(wish->card_gb * 1e9 / 16 * 15);
}

static void make_report(const em_gguf *gguf, const wishes *wish, report *out) {
  em_engine_params params;

  if (em_gguf_find_key(gguf, "tokenizer.ggml.tokens", NULL))
    (void)!em_dialog_new(gguf, &out->dialog, &out->dialog_error);
  if (em_model_open(gguf, &out->model, &out->model_error) != EM_OK)
    return;
  if (hearth_cli_engine_params(wish->device, 0, &params, &out->plan_error) != EM_OK)
    return;
  params.n_slots = 1;
  params.context_tokens = wish->context_tokens;
  params.says_gpu_layers = wish->says_gpu_layers;
  params.n_gpu_layers = wish->gpu_layers;
  /* The computer's limit is lifted, so that a model that is too big here is described all the same. */
  params.memory_limit_bytes = UINT64_MAX;
  out->is_stated = wish->says_memory || wish->says_card;
  if (out->is_stated)
    state_hardware(wish, &params);
  em_status status = em_engine_plan(gguf, &params, &out->plan, &out->plan_error);
  out->has_plan = status == EM_OK || (status == EM_ERR_TOO_BIG && out->is_stated);
}

/* What is not here has no name. */
static const char *device_name(const report *r, const em_part_plan *part) {
  if (!r->is_stated)
    return part->device;
  return part->kind == EM_DEVICE_CPU ? "processor" : "graphics";
}

/* --- As JSON ----------------------------------------------------------------------------------------------------- */

static void write_metadata(const em_gguf *gguf, em_buffer *out) {
  em_buffer_append_text(out, ",\"metadata\":{");
  for (size_t i = 0; i < em_gguf_n_keys(gguf); i++) {
    em_gguf_entry entry = em_gguf_key_at(gguf, i);

    em_buffer_append_text(out, i == 0 ? "" : ",");
    em_json_write_string(out, entry.key.text, entry.key.bytes);
    em_buffer_append_text(out, ":");
    em_gguf_write_value_json(gguf, i, ITEMS_IN_JSON, out);
  }
  em_buffer_append_text(out, "}");
}

static void write_tensors(const em_gguf *gguf, em_buffer *out) {
  em_buffer_append_text(out, ",\"tensors\":[");
  for (size_t i = 0; i < em_gguf_n_tensors(gguf); i++) {
    const em_gguf_tensor *tensor = em_gguf_tensor_at(gguf, i);

    em_buffer_append_text(out, i == 0 ? "{\"name\":" : ",{\"name\":");
    em_json_write_string(out, tensor->name.text, tensor->name.bytes);
    em_buffer_appendf(out, ",\"type\":\"%s\",\"shape\":[", em_type_get(tensor->type)->name);
    for (uint32_t d = 0; d < tensor->n_dims; d++)
      em_buffer_appendf(out, d == 0 ? "%" PRIu64 : ",%" PRIu64, tensor->dims[d]);
    em_buffer_appendf(out, "],\"file\":%u,\"offset\":%" PRIu64 ",\"bytes\":%" PRIu64 "}", tensor->file + 1,
                      tensor->offset, tensor->bytes);
  }
  em_buffer_append_text(out, "]");
}

static void write_problem(em_buffer *out, const char *key, const em_error *error) {
  em_buffer_appendf(out, ",\"%s\":null,\"%s_problem\":{\"code\":\"%s\",\"text\":", key, key,
                    em_status_word(error->code));
  em_json_write_string(out, error->text, strlen(error->text));
  em_buffer_append_text(out, "}");
}

static void write_placement(const report *r, em_buffer *out) {
  const em_memory_plan *plan = &r->plan;

  em_buffer_append_text(out, ",\"placement\":{\"sentence\":");
  em_json_write_string(out, plan->placement, strlen(plan->placement));
  if (plan->shared_tokens_per_s > 0)
    em_buffer_appendf(out,
                      ",\"processor_bytes_per_s\":%" PRIu64 ",\"device_bytes_per_s\":%" PRIu64
                      ",\"shared_tokens_per_s\":%.3f,\"processor_tokens_per_s\":%.3f",
                      plan->processor_bytes_per_s, plan->device_bytes_per_s, plan->shared_tokens_per_s,
                      plan->processor_tokens_per_s);
  em_buffer_append_text(out, ",\"parts\":[");
  for (uint32_t i = 0; i < plan->n_parts; i++) {
    const em_part_plan *part = &plan->parts[i];

    em_buffer_append_text(out, i == 0 ? "{\"device\":" : ",{\"device\":");
    em_json_write_string(out, device_name(r, part), strlen(device_name(r, part)));
    em_buffer_appendf(out,
                      ",\"first_layer\":%u,\"layers\":%u,\"embedding\":%s,\"head\":%s,\"weights_bytes\":%" PRIu64
                      ",\"kv_bytes\":%" PRIu64 ",\"working_bytes\":%" PRIu64 ",\"total_bytes\":%" PRIu64 "}",
                      part->first_layer, part->n_layers, part->has_embedding ? "true" : "false",
                      part->has_head ? "true" : "false", part->weights_bytes, part->kv_bytes, part->working_bytes,
                      part->total_bytes);
  }
  em_buffer_append_text(out, "]}");
}

static void write_report(const report *r, em_buffer *out) {
  if (!r->model) {
    write_problem(out, "model", &r->model_error);
    return;
  }
  const em_model_facts *facts = em_model_get_facts(r->model);

  em_buffer_append_text(out, ",\"model\":{\"architecture\":");
  em_json_write_string(out, facts->architecture, strlen(facts->architecture));
  em_buffer_append_text(out, ",\"name\":");
  em_json_write_string(out, facts->name, strlen(facts->name));
  em_buffer_appendf(
      out,
      ",\"layers\":%u,\"embedding\":%u,\"vocabulary\":%u,\"train_context_tokens\":%u,\"parameters\":%" PRIu64
      ",\"weights_bytes\":%" PRIu64 ",\"weights_bytes_per_token\":%" PRIu64 ",\"kv_bytes_per_token\":{\"f32\":%" PRIu64
      ",\"f16\":%" PRIu64 ",\"q8_0\":%" PRIu64 "}",
      facts->n_layers, facts->n_embd, facts->n_vocab, facts->train_context_tokens, facts->n_parameters,
      facts->weights_bytes, facts->weights_bytes_per_token, em_model_kv_token_bytes(r->model, EM_TYPE_F32),
      em_model_kv_token_bytes(r->model, EM_TYPE_F16), em_model_kv_token_bytes(r->model, EM_TYPE_Q8_0));
  em_buffer_appendf(out,
                    ",\"active_parameters\":%" PRIu64
                    ",\"experts\":%u,\"experts_used\":%u,\"kv_layers\":%u,\"recurrent_layers\":%u,"
                    "\"state_bytes\":%" PRIu64 ",\"nextn_blocks\":%u,\"nextn_bytes\":%" PRIu64 "}",
                    facts->n_parameters_active, facts->n_experts, facts->n_experts_used, facts->n_kv_layers,
                    facts->n_state_layers, facts->state_bytes, facts->n_nextn, facts->nextn_bytes);
  if (!r->has_plan) {
    write_problem(out, "memory", &r->plan_error);
    return;
  }
  em_buffer_appendf(out,
                    ",\"memory\":{\"context_tokens\":%u,\"kv_read_bytes\":%" PRIu64 ",\"weights_bytes\":%" PRIu64
                    ",\"kv_bytes\":%" PRIu64 ",\"working_bytes\":%" PRIu64 ",\"total_bytes\":%" PRIu64 "}",
                    r->plan.context_tokens, em_model_kv_read_bytes(r->model, EM_TYPE_F16, r->plan.context_tokens),
                    r->plan.weights_bytes, r->plan.kv_bytes, r->plan.working_bytes, r->plan.total_bytes);
  if (r->plan_error.code != EM_OK)
    write_problem(out, "placement", &r->plan_error);
  else
    write_placement(r, out);
}

static void write_text_or_null(em_buffer *out, const char *key, const char *text) {
  em_buffer_appendf(out, ",\"%s\":", key);
  if (text)
    em_json_write_string(out, text, strlen(text));
  else
    em_buffer_append_text(out, "null");
}

/* How conversations are written for the model. */
static void write_chat(const report *r, em_buffer *out) {
  if (!r->dialog) {
    em_buffer_append_text(out, ",\"chat\":null");
    return;
  }
  const char *fallback = em_dialog_fallback(r->dialog);

  em_buffer_appendf(out, ",\"chat\":{\"template\":%s",
                    em_dialog_has_template(r->dialog) && !fallback ? "true" : "false");
  write_text_or_null(out, "fallback", fallback);
  write_text_or_null(out, "problem", em_dialog_template_problem(r->dialog));
  em_buffer_appendf(out, ",\"thinking_switch\":%s}", em_dialog_knows_thinking(r->dialog) ? "true" : "false");
}

static void write_json(const em_gguf *gguf, const report *r, em_buffer *out) {
  em_buffer_appendf(out,
                    "{\"version\":%u,\"alignment\":%u,\"files\":%u,\"file_bytes\":%" PRIu64 ",\"data_offset\":%" PRIu64,
                    em_gguf_version(gguf), em_gguf_alignment(gguf), em_gguf_n_files(gguf), em_gguf_file_bytes(gguf),
                    em_gguf_data_offset(gguf));
  write_report(r, out);
  write_chat(r, out);
  write_metadata(gguf, out);
  write_tensors(gguf, out);
  em_buffer_append_text(out, "}\n");
}

/* --- For people -------------------------------------------------------------------------------------------------- */

/* Text of the file as JSON without its quotes, padded to `columns`, so that nothing in it reaches the terminal's
 * controls. */
static void print_plain(em_buffer *out, const char *text, size_t bytes, int columns) {
  em_buffer quoted = {0};

  em_json_write_string(&quoted, text, bytes);
  if (quoted.bytes > 2)
    em_buffer_appendf(out, "%-*.*s", columns, (int)(quoted.bytes - 2), quoted.data + 1);
  out->failed = out->failed || quoted.failed;
  em_buffer_clear(&quoted);
}

static void print_placement(const report *r, em_buffer *out) {
  const em_memory_plan *plan = &r->plan;
  char a[32], b[32], c[32], d[32], layers[64];

  em_buffer_appendf(out, "placement     %s\n", plan->placement);
  for (uint32_t i = 0; i < plan->n_parts && plan->n_parts > 1; i++) {
    const em_part_plan *part = &plan->parts[i];

    if (part->n_layers == 0)
      snprintf(layers, sizeof layers, "no layer");
    else if (part->n_layers == 1)
      snprintf(layers, sizeof layers, "layer %u", part->first_layer);
    else
      snprintf(layers, sizeof layers, "layers %u to %u", part->first_layer, part->first_layer + part->n_layers - 1);
    em_buffer_appendf(out, "              %s: %s%s%s, %s: weights %s, KV cache %s, working %s\n", device_name(r, part),
                      part->has_embedding ? "the embedding, " : "", layers, part->has_head ? ", the head" : "",
                      hearth_cli_format_bytes(part->total_bytes, a), hearth_cli_format_bytes(part->weights_bytes, b),
                      hearth_cli_format_bytes(part->kv_bytes, c), hearth_cli_format_bytes(part->working_bytes, d));
  }
}

/* What only some models have: experts, recurrent layers, windows, blocks that predict further tokens. */
static void print_parts(const report *r, em_buffer *out) {
  const em_model_facts *facts = em_model_get_facts(r->model);
  uint32_t context = r->has_plan ? r->plan.context_tokens : facts->train_context_tokens;
  uint64_t read = em_model_kv_read_bytes(r->model, EM_TYPE_F16, context);
  uint64_t stored = context * em_model_kv_token_bytes(r->model, EM_TYPE_F16);
  char size[32], whole[32];

  if (facts->n_experts > 0)
    em_buffer_appendf(out, "experts       %u of %u for each token, with %.4g billion parameters active\n",
                      facts->n_experts_used, facts->n_experts, (double)facts->n_parameters_active / 1e9);
  if (facts->n_state_layers > 0)
    em_buffer_appendf(out, "recurrent     %u layers, which keep %s of state for each conversation\n",
                      facts->n_state_layers, hearth_cli_format_bytes(facts->state_bytes, size));
  if (read < stored)
    em_buffer_appendf(out, "window        at %u tokens %s of the %s of KV cache are read\n", context,
                      hearth_cli_format_bytes(read, size), hearth_cli_format_bytes(stored, whole));
  if (facts->n_nextn > 0)
    em_buffer_appendf(out, "not used      %u block%s predicting further tokens, %s\n", facts->n_nextn,
                      facts->n_nextn == 1 ? "" : "s", hearth_cli_format_bytes(facts->nextn_bytes, size));
}

static void print_report(const report *r, em_buffer *out) {
  char a[32], b[32], c[32], d[32];

  if (!r->model) {
    em_buffer_appendf(out, "as a model    cannot be run: %s\n", r->model_error.text);
    return;
  }
  const em_model_facts *facts = em_model_get_facts(r->model);

  em_buffer_appendf(out, "architecture  %s%s", facts->architecture, facts->name[0] ? ", " : "");
  print_plain(out, facts->name, strlen(facts->name), 0);
  em_buffer_append_text(out, "\n");
  em_buffer_appendf(
      out, "size          %.4g billion parameters, %u layers, %u wide, vocabulary %u, trained on %u tokens\n",
      (double)facts->n_parameters / 1e9, facts->n_layers, facts->n_embd, facts->n_vocab, facts->train_context_tokens);
  em_buffer_appendf(out, "per token     reads %s of weights; takes %s of KV cache (f16)\n",
                    hearth_cli_format_bytes(facts->weights_bytes_per_token, a),
                    hearth_cli_format_bytes(em_model_kv_token_bytes(r->model, EM_TYPE_F16), b));
  print_parts(r, out);
  if (r->has_plan) {
    em_buffer_appendf(out, "memory        %s at a context of %u tokens: weights %s, KV cache %s, working %s\n",
                      hearth_cli_format_bytes(r->plan.total_bytes, a), r->plan.context_tokens,
                      hearth_cli_format_bytes(r->plan.weights_bytes, b), hearth_cli_format_bytes(r->plan.kv_bytes, c),
                      hearth_cli_format_bytes(r->plan.working_bytes, d));
    if (r->plan_error.code != EM_OK)
      em_buffer_appendf(out, "placement     %s\n", r->plan_error.text);
    else
      print_placement(r, out);
  } else {
    em_buffer_appendf(out, "memory        %s\n", r->plan_error.text);
  }
}

static void print_chat(const report *r, em_buffer *out) {
  if (!r->dialog) {
    if (r->dialog_error.code != EM_OK)
      em_buffer_appendf(out, "conversation  cannot be held: %s\n", r->dialog_error.text);
    return;
  }
  const char *fallback = em_dialog_fallback(r->dialog), *problem = em_dialog_template_problem(r->dialog);

  em_buffer_append_text(out, "conversation  ");
  if (em_dialog_has_template(r->dialog) && !fallback)
    em_buffer_appendf(out, "in the file's own format%s\n",
                      em_dialog_knows_thinking(r->dialog) ? ", which lets one choose whether the model thinks" : "");
  else
    em_buffer_appendf(out, "%s%s; %s%s\n",
                      problem ? "the file's template cannot be used: " : "the file has no template",
                      problem ? problem : "", fallback ? "its vocabulary suggests the format of " : "text is continued",
                      fallback ? fallback : "");
}

static void print_metadata(const em_gguf *gguf, em_buffer *out) {
  em_buffer value = {0};

  em_buffer_append_text(out, "\nmetadata\n");
  for (size_t i = 0; i < em_gguf_n_keys(gguf); i++) {
    em_gguf_entry entry = em_gguf_key_at(gguf, i);
    size_t bytes;

    em_gguf_write_value_json(gguf, i, ITEMS_IN_TEXT, &value);
    bytes = value.bytes;
    if (bytes > TEXT_COLUMNS)
      for (bytes = TEXT_COLUMNS; bytes > 0 && (value.data[bytes] & 0xc0) == 0x80;)
        bytes--;
    em_buffer_append_text(out, "  ");
    print_plain(out, entry.key.text, entry.key.bytes, 0);
    em_buffer_append_text(out, " = ");
    em_buffer_append(out, value.data ? value.data : "", bytes);
    em_buffer_append_text(out, bytes < value.bytes ? "...\n" : "\n");
    out->failed = out->failed || value.failed;
    em_buffer_clear(&value);
  }
}

static void print_tensors(const em_gguf *gguf, em_buffer *out) {
  char size[32];

  em_buffer_append_text(out, "\ntensors\n");
  for (size_t i = 0; i < em_gguf_n_tensors(gguf); i++) {
    const em_gguf_tensor *tensor = em_gguf_tensor_at(gguf, i);

    em_buffer_append_text(out, "  ");
    print_plain(out, tensor->name.text, tensor->name.bytes, 40);
    em_buffer_appendf(out, " %-7s ", em_type_get(tensor->type)->name);
    for (uint32_t d = 0; d < tensor->n_dims; d++)
      em_buffer_appendf(out, d == 0 ? "%" PRIu64 : " x %" PRIu64, tensor->dims[d]);
    em_buffer_appendf(out, "  (%s)\n", hearth_cli_format_bytes(tensor->bytes, size));
  }
}

static void print_text(const em_gguf *gguf, const report *r, em_buffer *out) {
  char size[32], files[32] = "";

  if (em_gguf_n_files(gguf) > 1)
    snprintf(files, sizeof files, " in %u files", em_gguf_n_files(gguf));
  em_buffer_appendf(out, "file          GGUF version %u, %s%s, %zu metadata entries, %zu tensors\n",
                    em_gguf_version(gguf), hearth_cli_format_bytes(em_gguf_file_bytes(gguf), size), files,
                    em_gguf_n_keys(gguf), em_gguf_n_tensors(gguf));
  print_report(r, out);
  print_chat(r, out);
  print_metadata(gguf, out);
  print_tensors(gguf, out);
}

int hearth_cli_inspect(const hearth_cli_command *command, int argc, char **argv) {
  const char *path;
  bool json = false;
  wishes wish = {.device = "cpu"};
  const hearth_cli_option options[] = {{"--json", HEARTH_CLI_FLAG, &json, NULL},
                                       {"--context", HEARTH_CLI_COUNT, &wish.context_tokens, NULL},
                                       {"--device", HEARTH_CLI_TEXT, &wish.device, NULL},
                                       {"--gpu-layers", HEARTH_CLI_COUNT, &wish.gpu_layers, &wish.says_gpu_layers},
                                       {"--memory", HEARTH_CLI_NUMBER, &wish.memory_gb, &wish.says_memory},
                                       {"--card", HEARTH_CLI_NUMBER, &wish.card_gb, &wish.says_card},
                                       {"--unified", HEARTH_CLI_FLAG, &wish.unified, NULL}};
  em_gguf *gguf = NULL;
  report r = {0};
  em_buffer output = {0};
  em_error error = {0};
  em_status status = EM_OK;
  int code = 0;

  if (hearth_cli_parse(command, argc, argv, options, sizeof options / sizeof *options, &path, 1, &code))
    return code;
  if ((wish.says_memory && !(wish.memory_gb > 0 && wish.memory_gb <= MAX_GB)) ||
      (wish.says_card && !(wish.card_gb > 0 && wish.card_gb <= MAX_GB)))
    return hearth_cli_wrong(command, "memory is stated in gigabytes, more than 0 and at most %u", MAX_GB);
  if (wish.unified && (!wish.says_memory || wish.says_card))
    return hearth_cli_wrong(command, "--unified says that graphics use the memory stated by --memory");
  EM_TRY(em_gguf_open(path, &gguf, &error));
  make_report(gguf, &wish, &r);
  if (json)
    write_json(gguf, &r, &output);
  else
    print_text(gguf, &r, &output);
  EM_TRY(hearth_cli_print(&output, &error));

fail:
  em_dialog_free(r.dialog);
  em_model_close(r.model);
  em_buffer_clear(&output);
  em_gguf_close(gguf);
  return status == EM_OK ? 0 : hearth_cli_fail(&error);
}
