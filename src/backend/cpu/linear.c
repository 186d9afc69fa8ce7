/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The linear stage: norm, quantising, the product and what is done to its result, in one stage. */
#include <string.h>

#include "backend/cpu/program.h"

/* Up to this many rows the product is made straight from the packed panels; from there on unpacking them first pays. */
#define DOT_ROWS 64u

static const em_cpu_weights *part_of(const em_stage_linear *stage, uint32_t i) {
  return (const em_cpu_weights *)stage->w[i];
}

/* Row i of an output belongs to row outputs[i] of a value that has all rows. */
static const float *row_of(const em_cpu_program *program, const em_stage_linear *stage, em_value value, size_t i) {
  bool mapped = stage->outputs_only && !program->common.desc.values[value].outputs_only;
  return em_cpu_value(program, value, mapped ? program->step->outputs[i] : i);
}

static void prepare(em_cpu_program *program, const em_stage_linear *stage, unsigned thread, em_cpu_rows *in) {
  const em_cpu_kernels *kernels = &program->cpu->kernels;
  bool few = in->n_rows <= EM_FEW_ROWS, floats = false, quantised = false;
  for (uint32_t i = 0; i < stage->n_parts; i++) {
    if (em_layout_is_quantised(part_of(stage, i)->layout))
      quantised = true;
    else
      floats = true;
  }
  float *normed = few ? program->threads[thread].normed : program->normed;
  uint8_t *q8 = few ? program->threads[thread].q8 : program->q8;
  size_t first = 0, end = in->n_rows;
  in->f32 = (const uint8_t *)normed;
  in->q8 = q8;
  in->f32_stride = in->n_in * sizeof(float);
  in->q8_stride = em_q8_row_bytes(in->n_in);
  if (!few)
    first = em_cpu_share(in->n_rows, thread, program->cpu->n_threads, &end);
  const float *norm = em_cpu_vector(stage->norm), *norm_bias = em_cpu_vector(stage->norm_bias);
  for (size_t i = first; i < end; i++) {
    const float *x = row_of(program, stage, stage->x, i);
    float *row = normed + i * in->n_in;
    if (norm) {
      em_cpu_norm_row(kernels, stage->norm_kind, x, norm, norm_bias, stage->norm_eps, in->n_in, row);
      x = row;
    } else if (floats) {
      memcpy(row, x, in->n_in * sizeof *row);
    }
    if (quantised)
      kernels->quantise(x, in->n_in, (em_q8_block *)(void *)(q8 + i * in->q8_stride));
  }
  if (!few)
    em_pool_barrier(program->cpu->pool);
}

/* Panels that are computed together: two neighbours of one part, or a gate's and its value's. */
typedef struct unit {
  uint32_t part[2];
  size_t panel[2];
  unsigned n; /* 1 or 2 */
} unit;

static size_t count_units(const em_stage_linear *stage, uint32_t part) {
  size_t n = (size_t)part_of(stage, part)->n_panels;
  return em_act_is_gated(stage->activation) ? n : (n + 1) / 2;
}

/* Unit i of a part (of the whole stage for a gated activation). */
static unit unit_of(const em_stage_linear *stage, uint32_t part, size_t i) {
  if (em_act_is_gated(stage->activation))
    return (unit){{0, 1}, {i, i}, 2};
  return (unit){{part, part}, {2 * i, 2 * i + 1}, 2 * i + 1 < part_of(stage, part)->n_panels ? 2 : 1};
}

/* Unit i of all parts. */
static unit unit_at(const em_stage_linear *stage, size_t i) {
  uint32_t p = 0;
  for (; i >= count_units(stage, p); p++)
    i -= count_units(stage, p);
  return unit_of(stage, p, i);
}

static size_t column_of(const em_stage_linear *stage, uint32_t part, size_t panel) {
  size_t column = panel * EM_PANEL;
  for (uint32_t p = 0; p < part && !em_act_is_gated(stage->activation); p++)
    column += (size_t)stage->w[p]->n_rows;
  return column;
}

static const float *bias_of(const em_stage_linear *stage, uint32_t part, size_t first) {
  const float *bias = em_cpu_vector(stage->bias[part]);
  return bias ? bias + first : NULL;
}

/* Finishes a panel. Where only output rows are computed, the residual's rows lie apart unevenly. */
static void add_residual_and_store(const em_cpu_program *program, const em_stage_linear *stage, size_t column,
                                   em_finish *f) {
  const em_cpu_kernels *kernels = &program->cpu->kernels;
  size_t n = f->n_rows;
  if (stage->residual == EM_NO_VALUE || !stage->outputs_only) {
    f->residual = stage->residual == EM_NO_VALUE ? NULL : em_cpu_value(program, stage->residual, 0) + column;
    f->residual_stride = f->out_stride;
    kernels->finish(f);
    return;
  }
  f->n_rows = 1;
  for (size_t i = 0; i < n; i++, f->y[0] += f->y_stride, f->out += f->out_stride) {
    f->residual = row_of(program, stage, stage->residual, i) + column;
    kernels->finish(f);
  }
}

/* Asks for a part of a panel that will be unpacked next: it comes from memory while the present one is multiplied. */
static void ask_for(em_layout layout, const uint8_t *panel, size_t k, size_t n_k) {
  const uint8_t *data = panel + em_panel_bytes(layout, k);
  size_t bytes = em_panel_bytes(layout, n_k);
  for (size_t i = 0; i < bytes; i += 64)
    __builtin_prefetch(data + i, 0, 3);
}

em_cpu_products em_cpu_multiply(const em_cpu_program *program, const em_cpu_rows *in, const em_cpu_panels *now,
                                const em_cpu_panels *next, const em_cpu_thread *own, float *tile) {
  const em_cpu_kernels *kernels = &program->cpu->kernels;
  em_layout layout = now->layout[0];
  if (in->n_rows <= DOT_ROWS || now->n != 2 || now->layout[1] != layout || !kernels->mul[layout]) {
    em_cpu_products products = {{tile, tile + in->n_rows * EM_PANEL}, EM_PANEL};
    for (unsigned p = 0; p < now->n; p++) {
      bool q8 = em_layout_is_quantised(now->layout[p]);
      kernels->dot[now->layout[p]](now->data[p], in->n_in, q8 ? in->q8 : in->f32, q8 ? in->q8_stride : in->f32_stride,
                                   in->n_rows, tile + p * in->n_rows * EM_PANEL);
    }
    return products;
  }
  uint8_t *unpacked[2] = {own->unpacked, own->unpacked + EM_UNPACK_K / EM_GROUP * EM_UNPACKED_GROUP_BYTES};
  for (size_t k = 0; k < in->n_in; k += EM_UNPACK_K) {
    size_t n_k = in->n_in - k < EM_UNPACK_K ? in->n_in - k : EM_UNPACK_K;
    kernels->unpack[layout](now->data[0], k, n_k, unpacked[0]);
    kernels->unpack[layout](now->data[1], k, n_k, unpacked[1]);
    const em_cpu_panels *then = k + n_k < in->n_in ? now : next;
    for (unsigned p = 0; then && p < then->n; p++) {
      size_t from = then == next ? 0 : k + n_k, left = in->n_in - from;
      ask_for(then->layout[p], then->data[p], from, left < EM_UNPACK_K ? left : EM_UNPACK_K);
    }
    kernels->mul[layout](unpacked[0], unpacked[1], n_k, in->q8 + em_q8_row_bytes(k), in->q8_stride, in->n_rows, k > 0,
                         tile);
  }
  return (em_cpu_products){{tile, tile + EM_PANEL}, 2 * EM_PANEL};
}

static em_cpu_panels panels_of(const em_stage_linear *stage, const unit *u) {
  em_cpu_panels panels = {.n = u->n};
  for (unsigned p = 0; p < u->n; p++) {
    const em_cpu_weights *w = part_of(stage, u->part[p]);
    panels.layout[p] = w->layout;
    panels.data[p] = w->data + u->panel[p] * w->panel_bytes;
  }
  return panels;
}

/* Where the rows of a stage go. */
typedef struct target {
  float *out;
  size_t stride;
} target;

/* Multiplies a unit's panels with all rows and finishes the result. next: the unit that this thread computes after it. */
static void run_unit(em_cpu_program *program, const em_stage_linear *stage, const em_cpu_rows *in, const target *to,
                     const unit *u, const unit *next, unsigned thread) {
  const em_cpu_kernels *kernels = &program->cpu->kernels;
  const em_cpu_thread *own = &program->threads[thread];
  em_cpu_panels now = panels_of(stage, u), then = panels_of(stage, next ? next : u);
  em_cpu_products products = em_cpu_multiply(program, in, &now, next ? &then : NULL, own, own->tile);
  bool gated = em_act_is_gated(stage->activation);
  for (unsigned p = 0; p < u->n; p++) {
    size_t first = u->panel[p] * EM_PANEL, left = (size_t)stage->w[u->part[p]]->n_rows - first;
    size_t column = column_of(stage, u->part[p], u->panel[p]);
    em_finish f = {.y = {products.y[p], products.y[1]},
                   .y_stride = products.stride,
                   .w_scale = {em_cpu_vector(stage->w_scale[u->part[p]]), em_cpu_vector(stage->w_scale[u->part[1]])},
                   .bias = {bias_of(stage, u->part[p], first), bias_of(stage, u->part[1], first)},
                   .scale = stage->scale,
                   .softcap = stage->softcap,
                   .activation = stage->activation,
                   .out = to->out + column,
                   .out_stride = to->stride,
                   .n_rows = in->n_rows,
                   .n = left < EM_PANEL ? left : EM_PANEL};
    if (stage->activation == EM_ACT_NONE)
      add_residual_and_store(program, stage, column, &f);
    else
      kernels->finish_act(&f);
    if (gated)
      break;
  }
}

void em_cpu_linear(em_cpu_program *program, const em_stage_linear *stage, unsigned thread) {
  em_cpu_linear_to(program, stage, em_cpu_value(program, stage->out, 0), program->common.desc.values[stage->out].width,
                   thread);
}

void em_cpu_linear_to(em_cpu_program *program, const em_stage_linear *stage, float *out, size_t out_stride,
                      unsigned thread) {
  target to = {out, out_stride};
  unsigned n_threads = program->cpu->n_threads;
  em_cpu_rows in = {.n_rows = stage->outputs_only ? program->step->n_outputs : program->step->n_rows,
               .n_in = (size_t)stage->w[0]->n_in};
  uint32_t n_parts = em_act_is_gated(stage->activation) ? 1 : stage->n_parts;
  if (in.n_rows == 0)
    return;
  prepare(program, stage, thread, &in);
  size_t total = 0, own = 0, i;
  for (uint32_t p = 0; p < n_parts; p++)
    total += count_units(stage, p);
  if (in.n_rows <= DOT_ROWS) {
    /* Half of the units are shared out beforehand, without a word between the threads; the rest goes to whoever is done, because
     * cores differ in speed and in what else they have to do. */
    size_t end, fixed = total / 2, chunk = (total - fixed) / (8 * n_threads) + 1;
    for (i = em_cpu_share(fixed, thread, n_threads, &end); i < end; i++) {
      unit u = unit_at(stage, i);
      run_unit(program, stage, &in, &to, &u, NULL, thread);
    }
    while ((own = em_pool_next(program->cpu->pool, chunk, total - fixed)) < total - fixed) {
      for (i = fixed + own; i < fixed + own + chunk && i < total; i++) {
        unit u = unit_at(stage, i);
        run_unit(program, stage, &in, &to, &u, NULL, thread);
      }
    }
    return;
  }
  i = em_pool_next(program->cpu->pool, 1, total);
  while (i < total) {
    size_t then = em_pool_next(program->cpu->pool, 1, total);
    unit u = unit_at(stage, i), next = unit_at(stage, then < total ? then : i);
    run_unit(program, stage, &in, &to, &u, then < total ? &next : NULL, thread);
    i = then;
  }
}
