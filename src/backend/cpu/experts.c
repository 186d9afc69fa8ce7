/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Stages whose matrices are chosen from stacks: experts by a row's routes, and a matrix for each head.
 *
 * Rows are grouped by their expert, so that an expert that nobody chose is not read, and one that many rows chose is
 * read once. A product is made the same way whatever else stands in its group, and the experts of a row are added in
 * the order of its routes: a row's values do not depend on its company. */
#include <string.h>

#include "backend/cpu/program.h"

/* A pair is the j-th expert of row r: number r * n_used + j. Every thread makes the grouping for itself: it costs less
 * than waiting for another. */
typedef struct grouping {
  uint32_t n_used, n_pairs, n_chosen;
  const uint32_t *order;  /* [n_pairs] pairs by rising expert, then rising number */
  const uint32_t *place;  /* [n_pairs] where a pair stands in order */
  const uint32_t *starts; /* [n_experts + 1] in order */
  const uint32_t *chosen; /* [n_chosen] experts that have pairs */
} grouping;

static grouping group(const em_cpu_program *program, em_value routes, uint32_t n_experts, const em_cpu_thread *own) {
  uint32_t n_used = program->common.desc.values[routes].width / 2, n_pairs = program->step->n_rows * n_used;
  uint32_t *order = own->order, *place = order + n_pairs, *starts = own->starts, *chosen = starts + n_experts + 1;
  grouping g = {n_used, n_pairs, 0, order, place, starts, chosen};
  memset(starts, 0, (n_experts + 1) * sizeof *starts);
  for (uint32_t pair = 0; pair < n_pairs; pair++) {
    float number = em_cpu_value(program, routes, pair / n_used)[pair % n_used];
    /* Routes may come from another program: what is no expert must not be read past the stack's end. */
    place[pair] = number > 0 && number < (float)n_experts ? (uint32_t)number : 0;
    starts[place[pair] + 1]++;
  }
  for (uint32_t e = 0; e < n_experts; e++) {
    if (starts[e + 1] > 0)
      chosen[g.n_chosen++] = e;
    starts[e + 1] += starts[e];
  }
  /* starts[e] moves to its group's end while pairs are placed; it is the next group's start then. */
  for (uint32_t pair = 0; pair < n_pairs; pair++) {
    uint32_t e = place[pair];
    place[pair] = starts[e]++;
    order[place[pair]] = pair;
  }
  memmove(starts + 1, starts, n_experts * sizeof *starts);
  starts[0] = 0;
  return g;
}

/* What a product's rows must be made into. */
typedef struct forms {
  bool floats, quantised;
} forms;

static void add_form(forms *f, const em_weights *w) {
  if (em_layout_is_quantised(((const em_cpu_weights *)w)->layout))
    f->quantised = true;
  else
    f->floats = true;
}

/* Prepared rows with room for n_rows, in the program's memory or, for few rows, in the thread's own. */
static em_cpu_rows room(const em_cpu_program *program, const em_cpu_thread *own, bool few, size_t n_in) {
  return (em_cpu_rows){.n_in = n_in,
                       .f32 = (const uint8_t *)(few ? own->normed : program->normed),
                       .q8 = few ? own->q8 : program->q8,
                       .f32_stride = n_in * sizeof(float),
                       .q8_stride = em_q8_row_bytes(n_in)};
}

/* Makes one row of x. */
static void prepare_row(const em_cpu_kernels *kernels, const em_cpu_rows *in, forms f, size_t row, const float *x) {
  if (f.floats)
    memcpy((uint8_t *)in->f32 + row * in->f32_stride, x, in->f32_stride);
  if (f.quantised)
    kernels->quantise(x, in->n_in, (em_q8_block *)(void *)((uint8_t *)in->q8 + row * in->q8_stride));
}

static void copy_row(const em_cpu_rows *in, forms f, size_t from, size_t to) {
  if (f.floats)
    memcpy((uint8_t *)in->f32 + to * in->f32_stride, in->f32 + from * in->f32_stride, in->f32_stride);
  if (f.quantised)
    memcpy((uint8_t *)in->q8 + to * in->q8_stride, in->q8 + from * in->q8_stride, in->q8_stride);
}

/* n_rows rows of prepared ones. */
static em_cpu_rows part_of(const em_cpu_rows *in, size_t first, size_t n_rows) {
  em_cpu_rows part = *in;
  part.n_rows = n_rows;
  part.f32 += first * in->f32_stride;
  part.q8 += first * in->q8_stride;
  return part;
}

static em_cpu_panels panels_at(const em_weights *w0, const em_weights *w1, uint32_t matrix, size_t panel0,
                               size_t panel1, unsigned n) {
  const em_cpu_weights *w[2] = {(const em_cpu_weights *)w0, (const em_cpu_weights *)w1};
  const size_t panels[2] = {panel0, panel1};
  em_cpu_panels p = {.n = n};
  for (unsigned i = 0; i < n; i++) {
    p.layout[i] = w[i]->layout;
    p.data[i] = w[i]->data + (matrix * (size_t)w[i]->n_panels + panels[i]) * w[i]->panel_bytes;
  }
  return p;
}

static size_t min_size(size_t a, size_t b) {
  return a < b ? a : b;
}

/* A vector's part that belongs to an expert and a panel, or NULL. */
static const float *part_of_vector(const em_weights *vector, uint32_t expert, size_t n_rows, size_t panel) {
  const float *x = em_cpu_vector(vector);
  return x ? x + expert * n_rows + panel * EM_PANEL : NULL;
}

/* --- Experts
 * ---------------------------------------------------------------------------------------------------------------- */

/* Puts a step's rows where the products want them: by pair for many rows; row by row for few, whose experts are
 * computed one row at a time. */
static void prepare_experts(em_cpu_program *program, const em_stage_experts *stage, const grouping *g, forms f,
                            const em_cpu_rows *in, bool few, unsigned thread) {
  const em_cpu_kernels *kernels = &program->cpu->kernels;
  const em_cpu_thread *own = &program->threads[thread];
  const float *norm = em_cpu_vector(stage->norm);
  size_t r = 0, end = program->step->n_rows;
  if (!few)
    r = em_cpu_share(program->step->n_rows, thread, program->cpu->n_threads, &end);
  for (; r < end; r++) {
    const float *x = em_cpu_value(program, stage->x, r);
    if (norm) {
      kernels->rms_norm(x, norm, stage->norm_eps, in->n_in, own->row);
      x = own->row;
    }
    size_t first = few ? r : g->place[r * g->n_used];
    prepare_row(kernels, in, f, first, x);
    for (size_t j = 1; !few && j < g->n_used; j++)
      copy_row(in, f, first, g->place[r * g->n_used + j]);
  }
  if (!few)
    em_pool_barrier(program->cpu->pool);
}

/* One expert's panel (of both parts, or two of the only one) for its pairs first .. first + n - 1 in order. */
static void finish_experts(em_cpu_program *program, const em_stage_experts *stage, const grouping *g,
                           const em_cpu_panels *panels, const em_cpu_products *products, uint32_t expert, size_t panel,
                           size_t first, size_t n) {
  size_t n_rows = (size_t)stage->w[0]->n_rows;
  for (unsigned p = 0; p < (stage->n_parts == 2 ? 1 : panels->n); p++) {
    for (size_t i = 0; i < n; i++) {
      uint32_t pair = g->order[first + i];
      em_finish f = {
          .y = {products->y[p] + i * products->stride, products->y[1] + i * products->stride},
          .w_scale = {part_of_vector(stage->w_scale[0], expert, 1, 0), part_of_vector(stage->w_scale[1], expert, 1, 0)},
          .bias = {part_of_vector(stage->bias[0], expert, n_rows, panel + p),
                   part_of_vector(stage->bias[1], expert, n_rows, panel)},
          .activation = stage->activation,
          .clamp = stage->clamp,
          .out =
              em_cpu_value(program, stage->out, pair / g->n_used) + pair % g->n_used * n_rows + (panel + p) * EM_PANEL,
          .n_rows = 1,
          .n = min_size(EM_PANEL, n_rows - (panel + p) * EM_PANEL)};
      program->cpu->kernels.finish_act(&f);
    }
  }
}

/* The panels of unit i; *expert and *panel say whose. */
static em_cpu_panels expert_unit(const em_stage_experts *stage, const grouping *g, size_t i, uint32_t *expert,
                                 size_t *panel) {
  size_t n_panels = (size_t)((const em_cpu_weights *)stage->w[0])->n_panels;
  size_t a_expert = stage->n_parts == 2 ? n_panels : (n_panels + 1) / 2;
  *expert = g->chosen[i / a_expert];
  *panel = i % a_expert;
  if (stage->n_parts == 2)
    return panels_at(stage->w[0], stage->w[1], *expert, *panel, *panel, 2);
  *panel *= 2;
  return panels_at(stage->w[0], stage->w[0], *expert, *panel, *panel + 1, *panel + 1 < n_panels ? 2 : 1);
}

void em_cpu_experts(em_cpu_program *program, const em_stage *base, unsigned thread) {
  const em_stage_experts *stage = &base->experts;
  const em_cpu_thread *own = &program->threads[thread];
  grouping g = group(program, stage->routes, stage->w[0]->n_matrices, own);
  bool few = program->step->n_rows <= EM_FEW_ROWS;
  em_cpu_rows in = room(program, own, few, (size_t)stage->w[0]->n_in);
  forms f = {false, false};
  for (uint32_t p = 0; p < stage->n_parts; p++)
    add_form(&f, stage->w[p]);
  prepare_experts(program, stage, &g, f, &in, few, thread);
  if (thread == 0)
    program->common.counters.expert_bytes += g.n_chosen * em_expert_bytes(base);
  size_t n_panels = (size_t)((const em_cpu_weights *)stage->w[0])->n_panels;
  size_t n_units = g.n_chosen * (stage->n_parts == 2 ? n_panels : (n_panels + 1) / 2);
  /* Neighbouring panels stand one behind the other in memory, so that few rows take several at once. */
  size_t chunk = few ? n_units / (8 * (size_t)program->cpu->n_threads) + 1 : 1;
  size_t i = em_pool_next(program->cpu->pool, chunk, n_units);
  while (i < n_units) {
    size_t then = em_pool_next(program->cpu->pool, chunk, n_units);
    for (size_t end = min_size(i + chunk, n_units); i < end; i++) {
      uint32_t expert, next_expert;
      size_t panel, next_panel, following = i + 1 < end ? i + 1 : then;
      em_cpu_panels now = expert_unit(stage, &g, i, &expert, &panel), next;
      if (following < n_units)
        next = expert_unit(stage, &g, following, &next_expert, &next_panel);
      size_t first = g.starts[expert], n = g.starts[expert + 1] - first;
      for (size_t k = 0; few && k < n; k++) {
        em_cpu_rows row = part_of(&in, g.order[first + k] / g.n_used, 1);
        em_cpu_products products = em_cpu_multiply(program, &row, &now, NULL, own, own->tile);
        finish_experts(program, stage, &g, &now, &products, expert, panel, first + k, 1);
      }
      if (!few) {
        em_cpu_rows rows = part_of(&in, first, n);
        em_cpu_products products =
            em_cpu_multiply(program, &rows, &now, following < n_units ? &next : NULL, own, own->tile);
        finish_experts(program, stage, &g, &now, &products, expert, panel, first, n);
      }
    }
    i = then;
  }
}

/* --- Their weighted sum
 * ------------------------------------------------------------------------------------------------------- */

/* Panels of a unit. A unit is some columns of all experts, so that the sum of a row is made where its parts are. Few
 * pairs take long runs of an expert's memory, and all threads get some. */
static size_t sum_panels(const em_cpu_program *program, size_t n_pairs, size_t n_panels) {
  if (n_pairs > EM_SUM_FEW_PAIRS)
    return 2;
  size_t n = n_panels / (4 * (size_t)program->cpu->n_threads) / 2 * 2;
  return n < 2 ? 2 : n > EM_SUM_MAX_PANELS ? EM_SUM_MAX_PANELS : n;
}

/* Computes panels first .. first + n of all pairs: own->sums [n_pairs][n * EM_PANEL], without the weights. */
static void multiply_columns(em_cpu_program *program, const em_stage_experts_sum *stage, const grouping *g,
                             const em_cpu_rows *in, size_t first, size_t n, const em_cpu_thread *own) {
  size_t n_rows = (size_t)stage->w->n_rows;
  for (uint32_t c = 0; c < g->n_chosen; c++) {
    uint32_t e = g->chosen[c];
    size_t start = g->starts[e];
    em_cpu_rows rows = part_of(in, start, g->starts[e + 1] - start);
    for (size_t panel = first; panel < first + n; panel += 2) {
      em_cpu_panels now = panels_at(stage->w, stage->w, e, panel, panel + 1, panel + 1 < first + n ? 2 : 1), next = now;
      bool has_next = c + 1 < g->n_chosen && panel + 2 >= first + n;
      if (has_next)
        next = panels_at(stage->w, stage->w, g->chosen[c + 1], first, first + 1, n > 1 ? 2 : 1);
      em_cpu_products products = em_cpu_multiply(program, &rows, &now, has_next ? &next : NULL, own, own->tile);
      for (unsigned p = 0; p < now.n; p++) {
        for (size_t i = 0; i < rows.n_rows; i++) {
          em_finish f = {.y = {products.y[p] + i * products.stride},
                         .w_scale = {part_of_vector(stage->w_scale, e, 1, 0)},
                         .bias = {part_of_vector(stage->bias, e, n_rows, panel + p)},
                         .out = own->sums + (g->order[start + i] * n + panel + p - first) * EM_PANEL,
                         .n_rows = 1,
                         .n = min_size(EM_PANEL, n_rows - (panel + p) * EM_PANEL)};
          program->cpu->kernels.finish(&f);
        }
      }
    }
  }
}

static void add_columns(em_cpu_program *program, const em_stage_experts_sum *stage, const grouping *g, size_t first,
                        size_t n, const em_cpu_thread *own) {
  const em_cpu_kernels *kernels = &program->cpu->kernels;
  size_t columns = min_size(n * EM_PANEL, (size_t)stage->w->n_rows - first * EM_PANEL);
  for (size_t r = 0; r < program->step->n_rows; r++) {
    const float *weights = em_cpu_value(program, stage->routes, r) + g->n_used;
    float *sum = own->sums + r * g->n_used * n * EM_PANEL,
          *out = em_cpu_value(program, stage->out, r) + first * EM_PANEL;
    for (size_t i = 0; i < columns; i++)
      sum[i] *= weights[0];
    for (size_t j = 1; j < g->n_used; j++)
      kernels->merge(sum, 1.0f, sum + j * n * EM_PANEL, weights[j], columns);
    const float *residual =
        stage->residual == EM_NO_VALUE ? NULL : em_cpu_value(program, stage->residual, r) + first * EM_PANEL;
    for (size_t i = 0; i < columns; i++)
      out[i] = residual ? sum[i] + residual[i] : sum[i];
  }
}

void em_cpu_experts_sum(em_cpu_program *program, const em_stage *base, unsigned thread) {
  const em_stage_experts_sum *stage = &base->experts_sum;
  const em_cpu_thread *own = &program->threads[thread];
  const em_cpu_weights *w = (const em_cpu_weights *)stage->w;
  grouping g = group(program, stage->routes, stage->w->n_matrices, own);
  bool few = program->step->n_rows <= EM_FEW_ROWS;
  em_cpu_rows in = room(program, own, few, (size_t)stage->w->n_in);
  forms f = {false, false};
  add_form(&f, stage->w);
  size_t pair = 0, end = g.n_pairs;
  if (!few)
    pair = em_cpu_share(g.n_pairs, thread, program->cpu->n_threads, &end);
  for (; pair < end; pair++)
    prepare_row(&program->cpu->kernels, &in, f, g.place[pair],
                em_cpu_value(program, stage->x, pair / g.n_used) + pair % g.n_used * in.n_in);
  if (!few)
    em_pool_barrier(program->cpu->pool);
  if (thread == 0)
    program->common.counters.expert_bytes += g.n_chosen * em_expert_bytes(base);
  size_t n = sum_panels(program, g.n_pairs, (size_t)w->n_panels), n_units = ((size_t)w->n_panels + n - 1) / n, i;
  while ((i = em_pool_next(program->cpu->pool, 1, n_units)) < n_units) {
    size_t n_here = min_size(n, (size_t)w->n_panels - i * n);
    multiply_columns(program, stage, &g, &in, i * n, n_here, own);
    add_columns(program, stage, &g, i * n, n_here, own);
  }
}

/* --- A matrix for each head
 * ----------------------------------------------------------------------------------------------------- */

static void copy_shares(const em_cpu_program *program, const em_stage_heads *stage, size_t r, size_t n_matrix) {
  const em_value_desc *values = program->common.desc.values;
  size_t n_heads = stage->w->n_matrices,
         share = stage->append == EM_NO_VALUE ? 0 : values[stage->append].width / n_heads;
  float *out = em_cpu_value(program, stage->out, r);
  for (size_t h = 0; share > 0 && h < n_heads; h++)
    memcpy(out + h * (n_matrix + share) + n_matrix, em_cpu_value(program, stage->append, r) + h * share,
           share * sizeof *out);
  if (stage->tail != EM_NO_VALUE)
    memcpy(out + n_heads * (n_matrix + share), em_cpu_value(program, stage->tail, r),
           values[stage->tail].width * sizeof *out);
}

void em_cpu_heads(em_cpu_program *program, const em_stage_heads *stage, unsigned thread) {
  const em_value_desc *values = program->common.desc.values;
  const em_cpu_thread *own = &program->threads[thread];
  const em_cpu_weights *w = (const em_cpu_weights *)stage->w;
  size_t n_rows = program->step->n_rows, n_heads = stage->w->n_matrices, n_matrix = (size_t)stage->w->n_rows;
  size_t a_head = n_matrix + (stage->append == EM_NO_VALUE ? 0 : values[stage->append].width / n_heads);
  bool few = n_rows <= EM_FEW_ROWS;
  em_cpu_rows in = room(program, own, few, (size_t)stage->w->n_in);
  forms f = {false, false};
  add_form(&f, stage->w);
  size_t i = 0, end = n_rows * n_heads;
  if (!few)
    i = em_cpu_share(n_rows * n_heads, thread, program->cpu->n_threads, &end);
  for (; i < end; i++)
    prepare_row(&program->cpu->kernels, &in, f, i, em_cpu_value(program, stage->x, i % n_rows) + i / n_rows * in.n_in);
  for (i = em_cpu_share(n_rows, thread, program->cpu->n_threads, &end); i < end; i++)
    copy_shares(program, stage, i, n_matrix);
  if (!few)
    em_pool_barrier(program->cpu->pool);
  size_t units_a_head = ((size_t)w->n_panels + 1) / 2, n_units = units_a_head * n_heads;
  while ((i = em_pool_next(program->cpu->pool, 1, n_units)) < n_units) {
    size_t h = i / units_a_head, panel = i % units_a_head * 2;
    em_cpu_rows rows = part_of(&in, h * n_rows, n_rows);
    em_cpu_panels now = panels_at(stage->w, stage->w, (uint32_t)h, panel, panel + 1, panel + 1 < w->n_panels ? 2 : 1);
    em_cpu_products products = em_cpu_multiply(program, &rows, &now, NULL, own, own->tile);
    for (unsigned p = 0; p < now.n; p++) {
      em_finish finish = {.y = {products.y[p]},
                          .y_stride = products.stride,
                          .out = em_cpu_value(program, stage->out, 0) + h * a_head + (panel + p) * EM_PANEL,
                          .out_stride = values[stage->out].width,
                          .n_rows = n_rows,
                          .n = min_size(EM_PANEL, n_matrix - (panel + p) * EM_PANEL)};
      program->cpu->kernels.finish(&finish);
    }
  }
}
