/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Programs: their memory, a step's way through the stages, and the small stages. */
#include "backend/cpu/program.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

/* --- Memory -------------------------------------------------------------------------------------------------------------- */

/* Where each part of a program's one piece of memory lies. */
typedef struct sizes {
  uint64_t scratch, q8, normed, logits, cos_sin, partials; /* bytes */
  uint64_t thread_row, thread_sums, thread_order, thread_starts;
  uint64_t thread_q8, thread_normed, thread_unpacked, thread_tile, thread_scores, thread_packed, thread_o;
  uint64_t total;
} sizes;

static uint64_t max_u64(uint64_t a, uint64_t b) {
  return a > b ? a : b;
}

/* Adds bytes, rounded up to whole cache lines, to *total. */
static bool add_part(uint64_t *total, uint64_t n, uint64_t bytes, uint64_t *part) {
  return em_mul_u64(n, bytes, part) && em_align_up_u64(*part, 64, part) && em_add_u64(*total, *part, total);
}

static bool same_rope(const em_rope *a, const em_rope *b) {
  return a->n_rot == b->n_rot && a->base == b->base && a->freq_scale == b->freq_scale && a->magnitude == b->magnitude &&
         a->factors == b->factors && a->ext_factor == b->ext_factor && a->ramp_low == b->ramp_low &&
         a->ramp_high == b->ramp_high;
}

/* Whether stage i's rotation is the first of its settings. */
static bool is_new_rope(const em_program_desc *desc, uint32_t i) {
  const em_stage *stage = &desc->stages[i];
  if (stage->kind != EM_STAGE_ROPE_STORE || stage->rope_store.rope.kind == EM_ROPE_NONE)
    return false;
  for (uint32_t j = 0; j < i; j++) {
    const em_stage *other = &desc->stages[j];
    if (other->kind == EM_STAGE_ROPE_STORE && other->rope_store.rope.kind != EM_ROPE_NONE &&
        same_rope(&stage->rope_store.rope, &other->rope_store.rope))
      return false;
  }
  return true;
}

/* The most that any stage needs. */
typedef struct needs {
  uint64_t q8, normed;        /* bytes of a row of the step, prepared */
  uint64_t row;               /* floats of one row or less */
  uint64_t pairs;             /* products of a row: 1, or one for each expert or head */
  uint64_t experts, routes;   /* of experts alone */
  uint64_t logits;
  bool has_sums;
} needs;

/* A row is prepared as n rows of n_in values for these weights. */
static void need_rows(needs *n, uint64_t n_rows, const em_weights *w) {
  n->pairs = max_u64(n->pairs, n_rows);
  n->row = max_u64(n->row, w->n_in);
  n->normed = max_u64(n->normed, n_rows * w->n_in * sizeof(float));
  if (em_layout_is_quantised(((const em_cpu_weights *)w)->layout))
    n->q8 = max_u64(n->q8, n_rows * em_q8_row_bytes(w->n_in));
}

static void need_experts(const em_program_desc *desc, needs *n, em_value routes, const em_weights *w) {
  uint64_t n_used = desc->values[routes].width / 2;
  need_rows(n, n_used, w);
  n->routes = max_u64(n->routes, n_used);
  n->experts = max_u64(n->experts, w->n_matrices);
}

static void need_stage(const em_program_desc *desc, const em_stage *stage, needs *n) {
  switch (stage->kind) {
  case EM_STAGE_EMBED:
    n->row = max_u64(n->row, stage->embed.table->n_in);
    break;
  case EM_STAGE_LINEAR:
    for (uint32_t p = 0; p < stage->linear.n_parts; p++)
      need_rows(n, 1, stage->linear.w[p]);
    break;
  case EM_STAGE_ROPE_STORE: {
    const em_kv_layer *layer = &desc->kv->layers[stage->rope_store.kv_layer];
    n->row = max_u64(n->row, (uint64_t)layer->n_heads * layer->v_dim);
    break;
  }
  case EM_STAGE_NORM:
    n->row = max_u64(n->row, stage->norm.norm->n_in);
    break;
  case EM_STAGE_GATE:
    n->row = max_u64(n->row, desc->values[stage->gate.out].width);
    break;
  case EM_STAGE_HEADS:
    need_rows(n, stage->heads.w->n_matrices, stage->heads.w);
    break;
  case EM_STAGE_ROUTER:
    need_rows(n, 1, stage->router.w);
    n->logits = max_u64(n->logits, stage->router.w->n_rows);
    break;
  case EM_STAGE_EXPERTS:
    for (uint32_t p = 0; p < stage->experts.n_parts; p++)
      need_experts(desc, n, stage->experts.routes, stage->experts.w[p]);
    break;
  case EM_STAGE_EXPERTS_SUM:
    need_experts(desc, n, stage->experts_sum.routes, stage->experts_sum.w);
    n->has_sums = true;
    break;
  case EM_STAGE_DELTA_NET:
    /* The mixed channels of all rows. */
    n->normed = max_u64(n->normed, desc->values[stage->delta_net.in].width * sizeof(float));
    break;
  case EM_STAGE_INPUT:
  case EM_STAGE_ATTENTION:
  case EM_N_STAGE_KINDS:
    break;
  }
}

static em_status compute_sizes(const em_cpu *cpu, const em_program_desc *desc, sizes *s, em_error *error) {
  uint64_t max_rows = max_u64(desc->max_rows, desc->max_outputs), n_rot = 0, per_thread = 0, max_k_dim = 0;
  needs n = {.row = 1, .pairs = 1};
  memset(s, 0, sizeof *s);
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    need_stage(desc, &desc->stages[i], &n);
    if (is_new_rope(desc, i))
      n_rot += desc->stages[i].rope_store.rope.n_rot;
  }
  n.normed = max_u64(n.normed, n.row * sizeof(float));
  for (uint32_t i = 0; desc->kv && i < desc->kv->n_layers; i++)
    max_k_dim = max_u64(max_k_dim, desc->kv->layers[i].k_dim);
  /* Rows, heads and experts are limited by the front, so that these products are far below an overflow. */
  uint64_t pairs = max_rows * n.routes, o_stride = em_cpu_max_o_stride(desc);
  uint64_t sums = max_u64(pairs * 2 * EM_PANEL, (uint64_t)EM_SUM_FEW_PAIRS * EM_SUM_MAX_PANELS * EM_PANEL);
  uint64_t tile = EM_CPU_TILE_FLOATS(max_rows * max_u64(n.routes, 1));
  uint64_t partials = em_cpu_partial_floats(desc, cpu->n_threads);
  if (add_part(&s->total, desc->scratch_floats, 4, &s->scratch) && add_part(&s->total, max_rows, n.q8, &s->q8) &&
      add_part(&s->total, max_rows, n.normed, &s->normed) && add_part(&s->total, max_rows, 4 * n.logits, &s->logits) &&
      add_part(&s->total, desc->max_rows, 4 * n_rot, &s->cos_sin) && add_part(&s->total, partials, 4, &s->partials) &&
      add_part(&per_thread, EM_FEW_ROWS, n.q8, &s->thread_q8) &&
      add_part(&per_thread, EM_FEW_ROWS, n.normed, &s->thread_normed) &&
      add_part(&per_thread, n.row, 4, &s->thread_row) && add_part(&per_thread, n.has_sums ? sums : 0, 4, &s->thread_sums) &&
      add_part(&per_thread, 2 * pairs, 4, &s->thread_order) &&
      add_part(&per_thread, n.experts > 0 ? 2 * n.experts + 1 : 0, 4, &s->thread_starts) &&
      add_part(&per_thread, 2 * EM_UNPACK_K / EM_GROUP, EM_UNPACKED_GROUP_BYTES, &s->thread_unpacked) &&
      add_part(&per_thread, tile, 4, &s->thread_tile) &&
      add_part(&per_thread, EM_ATTEND_COLS, EM_KV_PAGE_TOKENS * 4, &s->thread_scores) &&
      add_part(&per_thread, EM_ATTEND_COLS, max_k_dim * 4, &s->thread_packed) &&
      add_part(&per_thread, EM_ATTEND_COLS, o_stride * 4, &s->thread_o) && em_add_u64(per_thread, s->thread_o, &per_thread) &&
      em_mul_u64(per_thread, cpu->n_threads, &per_thread) && em_add_u64(s->total, per_thread, &s->total))
    return EM_OK;
  return em_fail(error, EM_ERR_TOO_BIG, "a program of %u rows is too big", desc->max_rows);
}

em_status em_cpu_program_bytes(const em_backend *backend, const em_program_desc *desc, uint64_t *out, em_error *error) {
  sizes s;
  em_status status = compute_sizes((const em_cpu *)backend, desc, &s, error);
  if (status == EM_OK)
    *out = s.total;
  return status;
}

static void *take(uint8_t **memory, uint64_t bytes) {
  void *part = *memory;
  *memory += bytes;
  return part;
}

/* Finds the distinct rotations and makes their tables of inverse frequencies; the cos and sin tables lie at `cos_sin`. */
static bool make_ropes(em_cpu_program *program, float *cos_sin) {
  const em_program_desc *desc = &program->common.desc;
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    const em_rope *rope = &desc->stages[i].rope_store.rope;
    program->stage_ropes[i] = UINT32_MAX;
    if (desc->stages[i].kind != EM_STAGE_ROPE_STORE || rope->kind == EM_ROPE_NONE)
      continue;
    uint32_t j = 0;
    while (j < program->n_ropes && !same_rope(rope, &program->ropes[j].rope))
      j++;
    program->stage_ropes[i] = j;
    if (j < program->n_ropes)
      continue;
    uint32_t half = rope->n_rot / 2;
    const float *factors = em_cpu_vector(rope->factors);
    em_cpu_rope *made = &program->ropes[j];
    made->inverse = em_calloc(half, sizeof *made->inverse);
    if (!made->inverse)
      return false;
    program->n_ropes++;
    made->rope = *rope;
    made->cos_sin = cos_sin;
    cos_sin += (size_t)desc->max_rows * rope->n_rot;
    for (uint32_t k = 0; k < half; k++) {
      double range = fmax(0.001, (double)rope->ramp_high - (double)rope->ramp_low);
      double ramp = fmin(fmax((k - (double)rope->ramp_low) / range, 0.0), 1.0);
      double kept = (double)rope->ext_factor * (1.0 - ramp);
      made->inverse[k] = ((double)rope->freq_scale * (1.0 - kept) + kept) *
                         pow((double)rope->base, -2.0 * k / rope->n_rot) / (factors ? (double)factors[k] : 1.0);
    }
  }
  return true;
}

static void free_parts(em_cpu_program *program) {
  for (uint32_t i = 0; i < program->n_ropes; i++)
    free(program->ropes[i].inverse);
  free(program->ropes);
  free(program->stage_ropes);
  free(program->threads);
  free(program->runs);
  free(program->memory);
  free(program);
}

em_status em_cpu_program_new(em_backend *backend, const em_program *common, em_program **out, em_error *error) {
  em_status status = EM_OK;
  em_cpu *cpu = (em_cpu *)backend;
  const em_program_desc *desc = &common->desc;
  sizes s;
  em_cpu_program *program = em_calloc(1, sizeof *program);
  if (!program)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for a program");
  EM_TRY(compute_sizes(cpu, desc, &s, error));
  program->common = *common;
  program->cpu = cpu;
  program->threads = em_calloc(cpu->n_threads, sizeof *program->threads);
  program->ropes = em_calloc(desc->n_stages, sizeof *program->ropes);
  program->stage_ropes = em_calloc(desc->n_stages, sizeof *program->stage_ropes);
  program->runs = em_calloc(desc->max_slots, sizeof *program->runs);
  program->memory = em_cpu_alloc(s.total);
  if (!program->threads || !program->ropes || !program->stage_ropes || !program->runs || !program->memory)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for a program of %llu MiB",
                   (unsigned long long)(s.total >> 20)));
  uint8_t *memory = program->memory;
  program->scratch = take(&memory, s.scratch);
  program->q8 = take(&memory, s.q8);
  program->normed = take(&memory, s.normed);
  program->logits = take(&memory, s.logits);
  float *cos_sin = take(&memory, s.cos_sin);
  program->partials = take(&memory, s.partials);
  for (unsigned i = 0; i < cpu->n_threads; i++) {
    em_cpu_thread *thread = &program->threads[i];
    thread->q8 = take(&memory, s.thread_q8);
    thread->normed = take(&memory, s.thread_normed);
    thread->row = take(&memory, s.thread_row);
    thread->sums = take(&memory, s.thread_sums);
    thread->order = take(&memory, s.thread_order);
    thread->starts = take(&memory, s.thread_starts);
    thread->unpacked = take(&memory, s.thread_unpacked);
    thread->tile = take(&memory, s.thread_tile);
    thread->scores = take(&memory, s.thread_scores);
    thread->packed = take(&memory, s.thread_packed);
    thread->o_page = take(&memory, s.thread_o);
    thread->o_sum = take(&memory, s.thread_o);
  }
  if (!make_ropes(program, cos_sin))
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for a program's rotations"));
  *out = &program->common;
  return EM_OK;
fail:
  free_parts(program);
  return status;
}

void em_cpu_program_free(em_program *program) {
  free_parts((em_cpu_program *)program);
}

const float *em_cpu_result(const em_program *base, uint32_t row) {
  return em_cpu_value((const em_cpu_program *)base, base->desc.result, row);
}

/* --- Small stages ---------------------------------------------------------------------------------------------------------- */

/* cos and sin of a thread's rows, for all rotations, once a step. */
static void prepare_ropes(em_cpu_program *program, unsigned thread) {
  size_t end, first = em_cpu_share(program->step->n_rows, thread, program->cpu->n_threads, &end);
  for (uint32_t i = 0; i < program->n_ropes; i++) {
    const em_cpu_rope *rope = &program->ropes[i];
    size_t half = rope->rope.n_rot / 2;
    double magnitude = (double)rope->rope.magnitude;
    for (size_t r = first; r < end; r++) {
      float *table = rope->cos_sin + r * 2 * half;
      for (size_t k = 0; k < half; k++) {
        double theta = (double)program->step->positions[r] * rope->inverse[k];
        table[k] = (float)(cos(theta) * magnitude);
        table[half + k] = (float)(sin(theta) * magnitude);
      }
    }
  }
}

static void run_input(em_cpu_program *program, const em_stage_input *stage, unsigned thread) {
  size_t width = program->common.desc.values[stage->out].width;
  size_t end, first = em_cpu_share(program->step->n_rows, thread, program->cpu->n_threads, &end);
  memcpy(em_cpu_value(program, stage->out, first), program->step->input + first * width,
         (end - first) * width * sizeof(float));
}

static void look_up(const em_weights *table, uint64_t row, float *out) {
  const em_cpu_weights *w = (const em_cpu_weights *)table;
  em_unpack_row(w->layout, w->data + row / EM_PANEL * w->panel_bytes, row % EM_PANEL, (size_t)table->n_in, out);
}

static void run_embed(em_cpu_program *program, const em_stage_embed *stage, unsigned thread) {
  size_t n = (size_t)stage->table->n_in;
  float *own = program->threads[thread].row;
  size_t end, first = em_cpu_share(program->step->n_rows, thread, program->cpu->n_threads, &end);
  for (size_t r = first; r < end; r++) {
    float *out = em_cpu_value(program, stage->out, r);
    look_up(stage->table, (uint32_t)program->step->tokens[r], out);
    for (size_t i = 0; stage->scale != 1.0f && i < n; i++)
      out[i] *= stage->scale;
    if (stage->positions) {
      uint64_t last = stage->positions->n_rows - 1, position = program->step->positions[r];
      look_up(stage->positions, position < last ? position : last, own);
      for (size_t i = 0; i < n; i++)
        out[i] += own[i];
    }
    if (stage->types) {
      look_up(stage->types, 0, own);
      for (size_t i = 0; i < n; i++)
        out[i] += own[i];
    }
  }
}

/* --- A step ------------------------------------------------------------------------------------------------------------------ */

static void run_thread(void *user, unsigned thread, unsigned n_threads) {
  em_cpu_program *program = user;
  const em_program_desc *desc = &program->common.desc;
  if (program->n_ropes > 0) {
    prepare_ropes(program, thread);
    em_pool_barrier(program->cpu->pool);
  }
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    const em_stage *stage = &desc->stages[i];
    switch (stage->kind) {
    case EM_STAGE_INPUT:
      run_input(program, &stage->input, thread);
      break;
    case EM_STAGE_EMBED:
      run_embed(program, &stage->embed, thread);
      break;
    case EM_STAGE_LINEAR:
      em_cpu_linear(program, &stage->linear, thread);
      break;
    case EM_STAGE_ROPE_STORE:
      em_cpu_rope_store(program, &stage->rope_store, program->stage_ropes[i], thread);
      break;
    case EM_STAGE_ATTENTION:
      em_cpu_attention(program, &stage->attention, thread);
      break;
    case EM_STAGE_NORM:
      em_cpu_norm(program, &stage->norm, thread);
      break;
    case EM_STAGE_GATE:
      em_cpu_gate(program, &stage->gate, thread);
      break;
    case EM_STAGE_HEADS:
      em_cpu_heads(program, &stage->heads, thread);
      break;
    case EM_STAGE_ROUTER:
      em_cpu_router(program, &stage->router, thread);
      break;
    case EM_STAGE_EXPERTS:
      em_cpu_experts(program, stage, thread);
      break;
    case EM_STAGE_EXPERTS_SUM:
      em_cpu_experts_sum(program, stage, thread);
      break;
    case EM_STAGE_DELTA_NET:
      em_cpu_delta_net(program, &stage->delta_net, thread);
      break;
    case EM_N_STAGE_KINDS:
      break;
    }
    if (i + 1 < desc->n_stages)
      em_pool_barrier(program->cpu->pool);
  }
}

em_status em_cpu_run(em_program *base, const em_step *step, em_error *error) {
  em_cpu_program *program = (em_cpu_program *)base;
  program->step = step;
  program->n_runs = 0;
  for (uint32_t r = 0; r < step->n_rows; r++) {
    if (r == 0 || step->slots[r] != step->slots[r - 1])
      program->runs[program->n_runs++] = (em_cpu_span){r, 0};
    program->runs[program->n_runs - 1].n++;
  }
  em_pool_run(program->cpu->pool, run_thread, program);
  base->counters.n_dispatches = base->desc.n_stages;
  program->step = NULL;
  return EM_OK;
}
