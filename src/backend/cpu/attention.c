/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The attention stage: which query columns meet which pages on which thread.
 *
 * The result of a row is defined page by page: each page gives a maximum, a sum and a weighted sum of V of its own, and pages
 * are merged in rising order. Who computes a page, and beside which other rows, changes nothing in that, so that prefill,
 * decode and any number of threads give the same bits. */
#include <string.h>

#include "backend/cpu/program.h"

/* A unit is one KV head, some rows of one slot and up to EM_ATTEND_COLS columns (row, query head) of them. */
typedef struct shape {
  const em_kv_layer *layer;
  uint32_t ratio;         /* query heads a KV head */
  uint32_t heads_a_unit;  /* query heads a unit: ratio, or a part of it when that is wider than a unit */
  uint32_t splits;        /* units a KV head is split into by that */
  uint32_t rows_a_unit;
  uint32_t o_stride;
  size_t n_tiles;         /* of rows */
  size_t n_units;
} shape;

typedef struct unit {
  uint32_t kv_head, first_head, n_heads; /* query heads */
  uint32_t row, n_rows;
  const em_cpu_span *run; /* that the rows are of */
  uint32_t slot, first_page, n_pages; /* pages first_page .. n_pages - 1 have all that any of the rows sees */
} unit;

/* The positions first .. end - 1 that a row sees. */
typedef struct sight {
  uint32_t first, end;
} sight;

/* run: that the row is of. */
static sight sight_of(const em_cpu_program *program, const em_stage_attention *stage, const em_cpu_span *run, uint32_t row) {
  uint32_t end = program->step->positions[stage->both_ways ? run->first + run->n - 1 : row] + 1;
  return (sight){stage->window != 0 && end > stage->window ? end - stage->window : 0, end};
}

static uint32_t o_stride_of(const em_kv_layer *layer) {
  return (layer->v_dim + 15) / 16 * 16;
}

static shape shape_of(const em_cpu_program *program, const em_stage_attention *stage) {
  shape s = {.layer = &program->common.desc.kv->layers[stage->kv_layer]};
  s.ratio = stage->n_heads / s.layer->n_heads;
  s.heads_a_unit = s.ratio < EM_ATTEND_COLS ? s.ratio : EM_ATTEND_COLS;
  s.splits = (s.ratio + s.heads_a_unit - 1) / s.heads_a_unit;
  s.rows_a_unit = EM_ATTEND_COLS / s.heads_a_unit;
  s.o_stride = o_stride_of(s.layer);
  for (uint32_t i = 0; i < program->n_runs; i++)
    s.n_tiles += (program->runs[i].n + s.rows_a_unit - 1) / s.rows_a_unit;
  s.n_units = s.n_tiles * s.layer->n_heads * s.splits;
  return s;
}

static unit unit_at(const em_cpu_program *program, const em_stage_attention *stage, const shape *s, size_t index) {
  unit u;
  size_t head = index / s->n_tiles, tile = index % s->n_tiles;
  u.kv_head = (uint32_t)(head / s->splits);
  u.first_head = u.kv_head * s->ratio + (uint32_t)(head % s->splits) * s->heads_a_unit;
  u.n_heads = (u.kv_head + 1) * s->ratio - u.first_head;
  u.n_heads = u.n_heads < s->heads_a_unit ? u.n_heads : s->heads_a_unit;
  const em_cpu_span *run = program->runs;
  for (; tile >= (run->n + s->rows_a_unit - 1) / s->rows_a_unit; run++)
    tile -= (run->n + s->rows_a_unit - 1) / s->rows_a_unit;
  u.row = run->first + (uint32_t)tile * s->rows_a_unit;
  u.n_rows = run->first + run->n - u.row;
  u.n_rows = u.n_rows < s->rows_a_unit ? u.n_rows : s->rows_a_unit;
  u.slot = program->step->slots[u.row];
  u.run = run;
  u.first_page = sight_of(program, stage, run, u.row).first / EM_KV_PAGE_TOKENS;
  u.n_pages = (sight_of(program, stage, run, u.row + u.n_rows - 1).end - 1) / EM_KV_PAGE_TOKENS + 1;
  return u;
}

/* Computes one page of a unit; the thread's o_page receives the weighted sums. page_is_next: the thread's last
 * call was for the same unit. */
static void attend_page(const em_cpu_program *program, const em_stage_attention *stage, const shape *s, const unit *u,
                        uint32_t page, bool page_is_next, const em_cpu_thread *own, em_attend *a) {
  const em_step *step = program->step;
  const em_cpu_kv *kv = (const em_cpu_kv *)program->common.desc.kv;
  uint32_t id = step->page_tables[(size_t)u->slot * program->common.desc.max_pages + page], c = 0;
  a->k = em_cpu_kv_k(kv, stage->kv_layer, id, u->kv_head);
  a->v = em_cpu_kv_v(kv, stage->kv_layer, id, u->kv_head);
  a->v_in_k = s->layer->v_in_k;
  a->softcap = stage->softcap;
  a->k_dim = s->layer->k_dim;
  a->v_dim = s->layer->v_dim;
  a->scale = stage->scale;
  a->o = own->o_page;
  a->scores = own->scores;
  a->packed = own->packed;
  a->is_packed = page_is_next;
  for (uint32_t r = u->row; r < u->row + u->n_rows; r++) {
    uint32_t before = page * EM_KV_PAGE_TOKENS;
    sight seen = sight_of(program, stage, u->run, r);
    uint32_t n = seen.end <= before ? 0 : seen.end - before, first = seen.first <= before ? 0 : seen.first - before;
    for (uint32_t h = u->first_head; h < u->first_head + u->n_heads; h++, c++) {
      a->q[c] = em_cpu_value(program, stage->qkv, r) + (size_t)h * s->layer->k_dim;
      a->first[c] = first;
      a->n_tokens[c] = first >= EM_KV_PAGE_TOKENS ? 0 : n < EM_KV_PAGE_TOKENS ? n : EM_KV_PAGE_TOKENS;
    }
  }
  a->n_cols = c;
  program->cpu->kernels.attend[kv->kind](a);
}

/* The merged pages of one column. */
typedef struct sum {
  float m, l;
  bool is_begun; /* a page has been merged */
} sum;

static void merge_page(const em_cpu_program *program, sum *total, float *o_sum, float m, float l, const float *o, size_t n) {
  if (!total->is_begun) {
    *total = (sum){m, l, true};
    memcpy(o_sum, o, n * sizeof *o);
    return;
  }
  float max = m > total->m ? m : total->m, fa = em_expf(total->m - max), fb = em_expf(m - max);
  total->m = max;
  total->l = total->l * fa + l * fb;
  program->cpu->kernels.merge(o_sum, fa, o, fb, n);
}

static void store(const em_cpu_program *program, const em_stage_attention *stage, const shape *s, const unit *u,
                  uint32_t column, const sum *total, const float *o_sum) {
  uint32_t row = u->row + column / u->n_heads, head = u->first_head + column % u->n_heads;
  float *out = em_cpu_value(program, stage->out, row) + (size_t)head * s->layer->v_dim, inverse = 1.0f / total->l;
  if (stage->sinks) {
    /* One more score, which has no value. */
    float sink = em_cpu_vector(stage->sinks)[head], most = sink > total->m ? sink : total->m;
    float kept = em_expf(total->m - most);
    inverse = kept / (total->l * kept + em_expf(sink - most));
  }
  for (uint32_t d = 0; d < s->layer->v_dim; d++)
    out[d] = o_sum[d] * inverse;
}

static void run_whole_units(em_cpu_program *program, const em_stage_attention *stage, const shape *s, unsigned thread) {
  const em_cpu_thread *own = &program->threads[thread];
  size_t index;
  while ((index = em_pool_next(program->cpu->pool, 1, s->n_units)) < s->n_units) {
    unit u = unit_at(program, stage, s, index);
    sum totals[EM_ATTEND_COLS] = {0};
    em_attend a = {.n_cols = 0};
    for (uint32_t page = u.first_page; page < u.n_pages; page++) {
      attend_page(program, stage, s, &u, page, page > u.first_page, own, &a);
      for (uint32_t c = 0; c < a.n_cols; c++) {
        if (a.n_tokens[c] > 0)
          merge_page(program, &totals[c], own->o_sum + c * s->o_stride, a.m[c], a.l[c], own->o_page + c * s->o_stride,
                     s->o_stride);
      }
    }
    for (uint32_t c = 0; c < a.n_cols; c++)
      store(program, stage, s, &u, c, &totals[c], own->o_sum + c * s->o_stride);
  }
}

/* --- Few units: the pages are shared out ------------------------------------------------------------------------------------- */

/* A page's partial result of one unit: m and l of every column, then o. */
static uint64_t partial_floats(uint32_t n_heads, uint32_t o_stride) {
  return (uint64_t)n_heads * (o_stride + 2ull);
}

/* Units that are fewer than this leave threads idle, so their pages are shared out; it is done for single rows only, which is
 * what makes long contexts slow. */
static size_t few_units(unsigned n_threads) {
  return n_threads > 1 ? 2 * (size_t)n_threads : 0;
}

uint64_t em_cpu_partial_floats(const em_program_desc *desc, unsigned n_threads) {
  uint64_t most = 0;
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    const em_stage *stage = &desc->stages[i];
    if (stage->kind != EM_STAGE_ATTENTION)
      continue;
    const em_kv_layer *layer = &desc->kv->layers[stage->attention.kv_layer];
    uint32_t ratio = stage->attention.n_heads / layer->n_heads;
    uint32_t heads = ratio < EM_ATTEND_COLS ? ratio : EM_ATTEND_COLS;
    /* All factors are limited by the front, far below an overflow. */
    uint64_t floats = partial_floats(heads, o_stride_of(layer)) * desc->max_pages * few_units(n_threads);
    most = floats > most && layer->n_heads < few_units(n_threads) ? floats : most;
  }
  return most;
}

uint32_t em_cpu_max_o_stride(const em_program_desc *desc) {
  uint32_t most = 16;
  for (uint32_t i = 0; desc->kv && i < desc->kv->n_layers; i++) {
    uint32_t stride = o_stride_of(&desc->kv->layers[i]);
    most = stride > most ? stride : most;
  }
  return most;
}

static void run_shared_pages(em_cpu_program *program, const em_stage_attention *stage, const shape *s, unsigned thread) {
  const em_cpu_thread *own = &program->threads[thread];
  uint32_t max_pages = program->common.desc.max_pages;
  size_t floats = (size_t)partial_floats(s->heads_a_unit, s->o_stride), item;
  size_t n_items = s->n_units * max_pages;
  while ((item = em_pool_next(program->cpu->pool, 1, n_items)) < n_items) {
    unit u = unit_at(program, stage, s, item / max_pages);
    uint32_t page = (uint32_t)(item % max_pages);
    em_attend a;
    if (page < u.first_page || page >= u.n_pages)
      continue;
    attend_page(program, stage, s, &u, page, false, own, &a);
    float *partial = program->partials + item * floats;
    for (uint32_t c = 0; c < a.n_cols; c++) {
      partial[2 * c] = a.m[c];
      partial[2 * c + 1] = a.l[c];
    }
    memcpy(partial + 2 * s->heads_a_unit, own->o_page, (size_t)a.n_cols * s->o_stride * sizeof(float));
  }
  em_pool_barrier(program->cpu->pool);
  size_t end, i = em_cpu_share(s->n_units * s->heads_a_unit, thread, program->cpu->n_threads, &end);
  for (; i < end; i++) {
    unit u = unit_at(program, stage, s, i / s->heads_a_unit);
    uint32_t c = (uint32_t)(i % s->heads_a_unit);
    sum total = {0};
    if (c >= u.n_heads)
      continue;
    for (uint32_t page = u.first_page; page < u.n_pages; page++) {
      const float *partial = program->partials + (i / s->heads_a_unit * max_pages + page) * floats;
      merge_page(program, &total, own->o_sum, partial[2 * c], partial[2 * c + 1],
                 partial + 2 * s->heads_a_unit + (size_t)c * s->o_stride, s->o_stride);
    }
    store(program, stage, s, &u, c, &total, own->o_sum);
  }
}

void em_cpu_attention(em_cpu_program *program, const em_stage_attention *stage, unsigned thread) {
  shape s = shape_of(program, stage);
  bool single_rows = program->n_runs == program->step->n_rows, long_context = false;
  for (uint32_t i = 0; i < program->n_runs; i++)
    long_context = long_context || program->step->positions[program->runs[i].first] >= EM_KV_PAGE_TOKENS;
  if (single_rows && long_context && s.n_units < few_units(program->cpu->n_threads))
    run_shared_pages(program, stage, &s, thread);
  else
    run_whole_units(program, stage, &s, thread);
}
