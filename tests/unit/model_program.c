/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Weights on a backend and the program of a model: its stages, and that values whose lives meet never share memory. */
#include "model-file.h"

#include <unistd.h>

static em_backend *open_null(void) {
  em_backend *backend = NULL;
  em_backend_params params = {.kind = EM_DEVICE_NULL};
  CHECK_INT(em_backend_open(&params, &backend, NULL), EM_OK);
  return backend;
}

/* --- Loading ------------------------------------------------------------------------------------------------------ */

typedef struct progress {
  uint64_t done, total;
  uint32_t calls;
  bool refuse;
} progress;

static bool on_progress(void *user, uint64_t done, uint64_t total) {
  progress *p = user;
  CHECK(done >= p->done && done <= total);
  p->done = done;
  p->total = total;
  p->calls++;
  return !p->refuse;
}

static void check_load(void) {
  char path[] = "/tmp/hearth-model-XXXXXX";
  int fd = mkstemp(path);
  size_t bytes;
  char *data = make_model_file("qwen2", NULL, &bytes);
  CHECK(fd >= 0 && write(fd, data, bytes) == (ssize_t)bytes);
  em_gguf *gguf = NULL;
  em_model *model = NULL;
  em_model_weights *weights = NULL;
  em_error error = {0};
  em_backend_params params = {.kind = EM_DEVICE_CPU, .n_threads = 1};
  em_backend *backend = NULL;
  CHECK_INT(em_backend_open(&params, &backend, NULL), EM_OK);
  CHECK_INT(em_gguf_open(path, &gguf, &error), EM_OK);
  CHECK_INT(em_model_open(gguf, &model, &error), EM_OK);
  uint64_t needed, step;
  CHECK_INT(em_model_weights_bytes(model, em_model_all_blocks(model), backend, &needed, &step, &error), EM_OK);
  CHECK(needed >= em_model_get_facts(model)->weights_bytes);
  CHECK(step > 0 && step < needed);

  progress p = {0};
  CHECK_INT(em_model_load(model, em_model_all_blocks(model), backend, on_progress, &p, &weights, &error), EM_OK);
  CHECK(p.calls >= 1);
  CHECK_INT(p.done, p.total);
  CHECK_INT(p.total, em_model_get_facts(model)->weights_bytes);
  em_model_weights_free(weights);
  weights = NULL;

  p = (progress){.refuse = true};
  CHECK_INT(em_model_load(model, em_model_all_blocks(model), backend, on_progress, &p, &weights, &error),
            EM_ERR_CANCELLED);
  CHECK(weights == NULL);
  CHECK_INT(p.calls, 1);

  /* A file that changes while it is used is noticed, whether bytes are missing or not. */
  error = (em_error){0};
  CHECK(pwrite(fd, "x", 1, (off_t)bytes - 1) == 1);
  CHECK(ftruncate(fd, (off_t)bytes + 1) == 0);
  CHECK_INT(em_model_load(model, em_model_all_blocks(model), backend, NULL, NULL, &weights, &error), EM_ERR_CHANGED);
  error = (em_error){0};
  CHECK(ftruncate(fd, (off_t)bytes / 2) == 0);
  CHECK_INT(em_model_load(model, em_model_all_blocks(model), backend, NULL, NULL, &weights, &error), EM_ERR_CHANGED);
  CHECK(weights == NULL);

  em_model_close(model);
  em_gguf_close(gguf);
  em_backend_close(backend);
  close(fd);
  unlink(path);
  free(data);
}

/* --- Stages and values -------------------------------------------------------------------------------------------- */

typedef struct life {
  uint32_t birth, death;
  bool used;
} life;

static void touch(life *l, em_value value, uint32_t stage) {
  if (value == EM_NO_VALUE)
    return;
  if (!l[value].used)
    l[value] = (life){stage, stage, true};
  l[value].death = stage;
}

/* The values that a stage reads and writes. */
static void values_of(const em_stage *s, em_value out[5]) {
  const em_value list[EM_N_STAGE_KINDS][5] = {
      [EM_STAGE_INPUT] = {s->input.out, -1, -1, -1, -1},
      [EM_STAGE_EMBED] = {s->embed.out, -1, -1, -1, -1},
      [EM_STAGE_LINEAR] = {s->linear.x, s->linear.residual, s->linear.out, -1, -1},
      [EM_STAGE_ROPE_STORE] = {s->rope_store.qkv, -1, -1, -1, -1},
      [EM_STAGE_ATTENTION] = {s->attention.qkv, s->attention.out, -1, -1, -1},
      [EM_STAGE_NORM] = {s->norm.x, s->norm.residual, s->norm.out, -1, -1},
      [EM_STAGE_GATE] = {s->gate.x, s->gate.gate, s->gate.out, -1, -1},
      [EM_STAGE_HEADS] = {s->heads.x, s->heads.append, s->heads.tail, s->heads.out, -1},
      [EM_STAGE_ROUTER] = {s->router.x, s->router.routes, -1, -1, -1},
      [EM_STAGE_EXPERTS] = {s->experts.x, s->experts.routes, s->experts.out, -1, -1},
      [EM_STAGE_EXPERTS_SUM] = {s->experts_sum.x, s->experts_sum.routes, s->experts_sum.residual, s->experts_sum.out,
                                -1},
      [EM_STAGE_DELTA_NET] = {s->delta_net.in, s->delta_net.out, -1, -1, -1},
  };
  memcpy(out, list[s->kind], sizeof list[s->kind]);
}

static void check_places(const em_model_program *program, uint32_t max_rows, uint32_t max_outputs) {
  life *lives = calloc(program->n_values, sizeof *lives);
  for (uint32_t i = 0; i < program->n_stages; i++) {
    const em_stage *s = &program->stages[i];
    em_value values[5] = {EM_NO_VALUE, EM_NO_VALUE, EM_NO_VALUE, EM_NO_VALUE, EM_NO_VALUE};
    values_of(s, values);
    for (int v = 0; v < 5; v++)
      touch(lives, values[v], i);
  }
  touch(lives, program->result, program->n_stages);
  uint64_t sum = 0, most = 0;
  for (uint32_t a = 0; a < program->n_values; a++) {
    const em_value_desc *x = &program->values[a];
    uint64_t x_floats = (uint64_t)x->width * (x->outputs_only ? max_outputs : max_rows);
    CHECK(lives[a].used);
    CHECK(x->offset % 16 == 0 && x->offset + x_floats <= program->scratch_floats);
    sum += x_floats;
    most = x_floats > most ? x_floats : most;
    for (uint32_t b = 0; b < a; b++) {
      const em_value_desc *y = &program->values[b];
      uint64_t y_floats = (uint64_t)y->width * (y->outputs_only ? max_outputs : max_rows);
      bool meet = lives[a].birth <= lives[b].death && lives[b].birth <= lives[a].death;
      bool overlap = x->offset < y->offset + y_floats && y->offset < x->offset + x_floats;
      CHECK(!(meet && overlap));
    }
  }
  CHECK(program->scratch_floats >= most);
  CHECK(program->scratch_floats < sum || program->n_values <= 2); /* memory is shared at all */
  free(lives);
}

static void check_program(const char *architecture, const edit *edits) {
  opened o = open_model(architecture, edits);
  em_backend *backend = open_null();
  em_model_weights *weights = NULL;
  em_model_program program = {0};
  em_error error = {0};
  CHECK(o.model != NULL);
  CHECK_INT(em_model_describe(o.model, em_model_all_blocks(o.model), backend, &weights, &error), EM_OK);
  static const uint32_t sizes[][2] = {{1, 1}, {7, 3}, {256, 4}};
  for (int i = 0; i < 3; i++) {
    uint32_t max_rows = sizes[i][0], max_outputs = sizes[i][1];
    CHECK_INT(em_model_build(o.model, weights, 0, max_rows, max_outputs, &program, &error), EM_OK);
    CHECK_INT(program.n_stages, 2 + 6 * em_model_get_facts(o.model)->n_layers);
    check_places(&program, max_rows, max_outputs);

    /* What is described can be sized, and only what is loaded can run. */
    em_kv_desc kv_desc = {.type = EM_TYPE_F32, .n_pages = 0};
    kv_desc.layers = em_model_kv_layers(o.model, em_model_all_blocks(o.model), &kv_desc.n_layers);
    em_kv *kv = NULL;
    CHECK_INT(em_kv_new(backend, &kv_desc, &kv, &error), EM_OK);
    em_program_desc desc = {
        .stages = program.stages,
        .n_stages = program.n_stages,
        .values = program.values,
        .n_values = program.n_values,
        .scratch_floats = program.scratch_floats,
        .max_rows = max_rows,
        .max_outputs = max_outputs,
        .max_slots = 1,
        .max_pages = 2,
        .kv = kv,
        .result = program.result,
    };
    uint64_t bytes = 0;
    CHECK_INT(em_program_bytes(backend, &desc, &bytes, &error), EM_OK);
    if (error.code)
      fprintf(stderr, "%s\n", error.text);
    CHECK(bytes > 0);
    em_program *made = NULL;
    CHECK_INT(em_program_new(backend, &desc, &made, NULL), EM_ERR_ARGUMENT);
    em_kv_free(kv);
    em_model_program_clear(&program);
  }
  CHECK_INT(em_model_build(o.model, weights, 0, 4, 5, &program, NULL), EM_ERR_ARGUMENT);
  CHECK_INT(em_model_build(o.model, weights, 0, 4, 0, &program, NULL), EM_ERR_ARGUMENT);
  em_model_weights_free(weights);
  em_backend_close(backend);
  close_model(&o);
}

/* Wherever a model is cut in two, its halves have all of its stages and tensors; doubled (or NULL) names the
 * tensor that both need. */
static void check_blocks(const char *architecture, const edit *edits, const char *doubled) {
  opened o = open_model(architecture, edits);
  em_backend *backend = open_null();
  em_error error = {0};
  uint32_t n_layers = em_model_get_facts(o.model)->n_layers;
  em_model_blocks all = em_model_all_blocks(o.model);
  CHECK_INT(all.end, n_layers + 2);
  CHECK_INT(em_model_file_bytes(o.model, all), em_model_get_facts(o.model)->weights_bytes);
  uint64_t whole, whole_step;
  CHECK_INT(em_model_weights_bytes(o.model, all, backend, &whole, &whole_step, &error), EM_OK);
  for (uint32_t cut = 1; cut <= n_layers + 1; cut++) {
    em_model_blocks halves[2] = {{0, cut}, {cut, n_layers + 2}};
    uint64_t sum = 0, step_sum = 0, bytes, step;
    uint32_t n_stages = 0, next_layer = 0;
    for (int i = 0; i < 2; i++) {
      em_model_weights *weights = NULL;
      em_model_program program = {0};
      em_kv *kv = NULL;
      uint32_t first, n;
      CHECK_INT(em_model_weights_bytes(o.model, halves[i], backend, &bytes, &step, &error), EM_OK);
      sum += bytes;
      step_sum += step;
      em_model_layers_of(o.model, halves[i], &first, &n);
      CHECK_INT(first, next_layer);
      next_layer = first + n;
      CHECK_INT(em_model_describe(o.model, halves[i], backend, &weights, &error), EM_OK);
      CHECK_INT(em_model_build(o.model, weights, 0, 8, 2, &program, &error), EM_OK);
      n_stages += program.n_stages;
      CHECK_INT(program.stages[0].kind, i == 0 ? EM_STAGE_EMBED : EM_STAGE_INPUT);
      CHECK(program.values[program.result].outputs_only == (i == 1));
      em_kv_desc kv_desc = {.type = EM_TYPE_F32, .n_pages = 0};
      kv_desc.layers = em_model_kv_layers(o.model, halves[i], &kv_desc.n_layers);
      CHECK_INT(kv_desc.n_layers, n);
      CHECK_INT(em_kv_new(backend, &kv_desc, &kv, &error), EM_OK);
      em_program_desc desc = {
          .stages = program.stages,
          .n_stages = program.n_stages,
          .values = program.values,
          .n_values = program.n_values,
          .scratch_floats = program.scratch_floats,
          .max_rows = 8,
          .max_outputs = 2,
          .max_slots = 1,
          .max_pages = 2,
          .kv = kv,
          .result = program.result,
      };
      CHECK_INT(em_program_bytes(backend, &desc, &bytes, &error), EM_OK);
      if (error.code)
        fprintf(stderr, "%s\n", error.text);
      em_kv_free(kv);
      em_model_program_clear(&program);
      em_model_weights_free(weights);
    }
    CHECK_INT(next_layer, n_layers);
    CHECK_INT(n_stages, 2 + 6 * n_layers + 1);
    /* The frequency factors are doubled only where both halves have layers. */
    const em_gguf_tensor *tensor = doubled ? em_gguf_find_tensor(o.gguf, doubled) : NULL;
    bool twice = tensor && (strcmp(doubled, "rope_freqs.weight") != 0 || (cut > 1 && cut <= n_layers));
    CHECK_INT(sum, whole + (twice ? tensor->bytes : 0));
    CHECK(step_sum >= whole_step);
  }
  em_backend_close(backend);
  close_model(&o);
}

/* The program of blocks of a model can be sized. Returns how many stages it has. */
static uint32_t size_program(const em_model *model, em_model_blocks blocks, em_backend *backend) {
  em_error error = {0};
  em_model_weights *weights = NULL;
  em_model_program program = {0};
  em_kv *kv = NULL;
  em_kv_desc kv_desc = {.type = EM_TYPE_F32};
  kv_desc.layers = em_model_kv_layers(model, blocks, &kv_desc.n_layers);
  kv_desc.state_layers = em_model_state_layers(model, blocks, &kv_desc.n_state_layers);
  uint64_t bytes = 0;
  CHECK_INT(em_model_describe(model, blocks, backend, &weights, &error), EM_OK);
  CHECK_INT(em_model_build(model, weights, 512, 8, 2, &program, &error), EM_OK);
  CHECK_INT(em_kv_new(backend, &kv_desc, &kv, &error), EM_OK);
  em_program_desc desc = {
      .stages = program.stages,
      .n_stages = program.n_stages,
      .values = program.values,
      .n_values = program.n_values,
      .scratch_floats = program.scratch_floats,
      .max_rows = 8,
      .max_outputs = 2,
      .max_slots = 1,
      .max_pages = 2,
      .kv = kv,
      .result = program.result,
  };
  CHECK_INT(em_program_bytes(backend, &desc, &bytes, &error), EM_OK);
  if (error.code != EM_OK)
    fprintf(stderr, "%s: %s\n", em_model_get_facts(model)->architecture, error.text);
  check_places(&program, 8, 2);
  uint32_t n_stages = program.n_stages;
  em_kv_free(kv);
  em_model_program_clear(&program);
  em_model_weights_free(weights);
  return n_stages;
}

/* Every family's program passes the checks of a backend, whole and, where the layers can be shared, cut anywhere. */
static void check_families(void) {
  em_backend *backend = open_null();
  for (size_t i = 0; i < sizeof model_architectures / sizeof model_architectures[0]; i++) {
    opened o = open_model(model_architectures[i], NULL);
    if (!o.model)
      fprintf(stderr, "%s: %s\n", model_architectures[i], o.error.text);
    CHECK(o.model != NULL);
    if (o.model) {
      const em_model_facts *facts = em_model_get_facts(o.model);
      uint32_t whole = size_program(o.model, em_model_all_blocks(o.model), backend);
      for (uint32_t cut = 1; cut <= 3 && facts->is_divisible; cut++)
        CHECK_INT(size_program(o.model, (em_model_blocks){0, cut}, backend) +
                      size_program(o.model, (em_model_blocks){cut, 4}, backend),
                  whole + 1);
      CHECK(facts->is_divisible == (strcmp(model_architectures[i], "gemma4") != 0));
      CHECK_INT(facts->weights_bytes, 4 * facts->n_parameters);
    }
    close_model(&o);
  }
  em_backend_close(backend);
}

/* The stages say what the hyper-parameters say. */
static void check_settings(void) {
  opened o = open_model("llama", (edit[MAX_EDITS]){
                                     {EDIT_F32, "llama.rope.freq_base", .real = 5e5f},
                                     {EDIT_F32, "llama.rope.scaling.factor", .real = 4},
                                     {EDIT_F32, "llama.attention.scale", .real = 0.3f},
                                     {EDIT_TENSOR, "rope_freqs.weight", .dims = {8}},
                                     {EDIT_F32, "llama.rope.scaling.attn_factor", .real = 1.5f},
                                     {EDIT_DROP, "output.weight"},
                                 });
  em_backend *backend = open_null();
  em_model_weights *weights = NULL;
  em_model_program program = {0};
  CHECK_INT(em_model_describe(o.model, em_model_all_blocks(o.model), backend, &weights, NULL), EM_OK);
  CHECK_INT(em_model_build(o.model, weights, 0, 8, 2, &program, NULL), EM_OK);
  const em_stage *stages = program.stages;
  const em_rope *rope = &stages[2].rope_store.rope;
  CHECK(stages[2].kind == EM_STAGE_ROPE_STORE && rope->kind == EM_ROPE_NORM && rope->n_rot == 16);
  CHECK(rope->base == 5e5f && rope->freq_scale == 0.25f && rope->magnitude == 1.5f && rope->factors);
  CHECK(stages[3].kind == EM_STAGE_ATTENTION && stages[3].attention.scale == 0.3f && stages[3].attention.n_heads == 4);
  CHECK(stages[1].linear.n_parts == 3 && stages[1].linear.norm && stages[1].linear.norm_eps == 1e-5f);
  const em_stage_linear *head = &stages[program.n_stages - 1].linear;
  CHECK(head->outputs_only && head->w[0] == stages[0].embed.table && head->norm);
  CHECK_INT(program.values[program.result].width, 32);
  CHECK(program.values[program.result].outputs_only);
  em_model_program_clear(&program);
  em_model_weights_free(weights);
  close_model(&o);

  o = open_model("qwen3", NULL);
  CHECK_INT(em_model_describe(o.model, em_model_all_blocks(o.model), backend, &weights, NULL), EM_OK);
  CHECK_INT(em_model_build(o.model, weights, 0, 8, 2, &program, NULL), EM_OK);
  rope = &program.stages[2].rope_store.rope;
  CHECK(rope->kind == EM_ROPE_NEOX && rope->base == 10000 && rope->freq_scale == 1 && rope->magnitude == 1 &&
        !rope->factors);
  CHECK(program.stages[2].rope_store.q_norm && program.stages[2].rope_store.k_norm);
  CHECK(program.stages[3].attention.scale == 0.25f);
  em_model_program_clear(&program);
  em_model_weights_free(weights);
  em_backend_close(backend);
  close_model(&o);
}

int main(void) {
  check_load();
  check_program("llama", NULL);
  check_program("qwen2", NULL);
  check_program("qwen3", (edit[MAX_EDITS]){{EDIT_DROP, "output.weight"}});
  check_program("llama", (edit[MAX_EDITS]){{EDIT_TENSOR, "blk.0.attn_qkv.weight", .dims = {64, 128}},
                                           {EDIT_DROP, "blk.0.attn_q.weight"},
                                           {EDIT_DROP, "blk.0.attn_k.weight"},
                                           {EDIT_DROP, "blk.0.attn_v.weight"}});
  check_blocks("llama", NULL, NULL);
  check_blocks("llama", (edit[MAX_EDITS]){{EDIT_TENSOR, "rope_freqs.weight", .dims = {8}}}, "rope_freqs.weight");
  check_blocks("qwen3", (edit[MAX_EDITS]){{EDIT_DROP, "output.weight"}}, "token_embd.weight");
  check_settings();
  check_families();
  return check_done();
}
