/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Norms of rows, and the stages that work on single values of a row: norm and gate. */
#include <math.h>

#include "backend/cpu/program.h"

void em_cpu_norm_row(const em_cpu_kernels *kernels, em_norm_kind kind, const float *x, const float *norm,
                     const float *bias, float eps, size_t n, float *y) {
  if (kind == EM_NORM_RMS) {
    kernels->rms_norm(x, norm, eps, n, y);
  } else {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++)
      sum += (double)x[i];
    double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++)
      squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    float scale = (float)(1.0 / sqrt(squares / (double)n + (double)eps)), middle = (float)mean;
    for (size_t i = 0; i < n; i++)
      y[i] = (x[i] - middle) * scale * norm[i];
  }
  for (size_t i = 0; bias && i < n; i++)
    y[i] += bias[i];
}

/* The rows that a stage works on. */
static size_t n_rows_of(const em_cpu_program *program, em_value out) {
  return program->common.desc.values[out].outputs_only ? program->step->n_outputs : program->step->n_rows;
}

void em_cpu_norm(em_cpu_program *program, const em_stage_norm *stage, unsigned thread) {
  size_t width = program->common.desc.values[stage->out].width, n = (size_t)stage->norm->n_in, pieces = width / n;
  const float *norm = em_cpu_vector(stage->norm), *bias = em_cpu_vector(stage->bias),
              *by = em_cpu_vector(stage->scale_by);
  float scale = (stage->scale != 0 ? stage->scale : 1.0f) * (by ? by[0] : 1.0f), *own = program->threads[thread].row;
  size_t end, i = em_cpu_share(n_rows_of(program, stage->out) * pieces, thread, program->cpu->n_threads, &end);
  for (; i < end; i++) {
    size_t r = i / pieces, at = i % pieces * n;
    const float *residual = stage->residual == EM_NO_VALUE ? NULL : em_cpu_value(program, stage->residual, r) + at;
    float *out = em_cpu_value(program, stage->out, r) + at;
    em_cpu_norm_row(&program->cpu->kernels, stage->kind, em_cpu_value(program, stage->x, r) + at, norm, bias,
                    stage->eps, n, own);
    for (size_t k = 0; k < n; k++)
      out[k] = (residual ? own[k] + residual[k] : own[k]) * scale;
  }
}

void em_cpu_gate(em_cpu_program *program, const em_stage_gate *stage, unsigned thread) {
  const em_cpu_kernels *kernels = &program->cpu->kernels;
  size_t width = program->common.desc.values[stage->out].width;
  float *act = program->threads[thread].row;
  size_t end, r = em_cpu_share(n_rows_of(program, stage->out), thread, program->cpu->n_threads, &end);
  for (; r < end; r++) {
    const float *gate = em_cpu_value(program, stage->gate, r) + stage->gate_offset,
                *x = em_cpu_value(program, stage->x, r);
    float *out = em_cpu_value(program, stage->out, r);
    kernels->activate(stage->activation, gate, stage->is_scalar ? 1 : width, act);
    for (size_t i = 0; i < width; i++)
      out[i] = x[i] * (stage->is_scalar ? act[0] : act[i]);
  }
}
