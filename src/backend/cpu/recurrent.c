/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The gated delta net: convolution, then the recurrence of each head over a slot's rows.
 *
 * A row's values depend on its slot's state and rows alone, and on neither the threads nor how a prompt was cut into
 * steps: rows are taken one by one in turn, and a head belongs to one thread. */
#include <math.h>
#include <string.h>

#include "backend/cpu/program.h"

/* What all threads know of a stage. */
typedef struct net {
  const em_stage_delta_net *stage;
  size_t k_width, v_width, n_channels; /* of all heads */
  size_t n_old;                        /* rows of u that the convolution looks back */
  float *mixed;                        /* [rows][n_channels]: q and k normed, and v */
} net;

/* The state of a run's slot. */
static float *state_of(const em_cpu_program *program, const net *n, const em_cpu_span *run) {
  const em_cpu_kv *kv = (const em_cpu_kv *)program->common.desc.kv;
  return kv->states + program->step->states[program->step->slots[run->first]] * kv->state_floats +
         kv->state_at[n->stage->state_layer];
}

static bool starts(const em_cpu_program *program, const em_cpu_span *run) {
  return program->step->positions[run->first] == 0;
}

/* y of channels from .. to of the run's row t. */
static void convolve(em_cpu_program *program, const net *n, const em_cpu_span *run, const float *old, size_t t,
                     size_t from, size_t to) {
  const float *taps = em_cpu_vector(n->stage->conv);
  size_t n_conv = n->stage->n_conv;
  float *y = n->mixed + (run->first + t) * n->n_channels;
  memset(y + from, 0, (to - from) * sizeof *y);
  for (size_t j = 0; j < n_conv; j++) {
    /* Row t - n_old + j of the run, or of those before it. */
    const float *u = t + j >= n->n_old ? em_cpu_value(program, n->stage->in, run->first + t + j - n->n_old)
                                       : old + (t + j) * n->n_channels;
    if (t + j < n->n_old && starts(program, run))
      continue;
    for (size_t c = from; c < to; c++)
      y[c] += taps[c * n_conv + j] * u[c];
  }
  program->cpu->kernels.activate(EM_ACT_SILU, y + from, to - from, y + from);
}

/* x / max(sqrt(sum x^2), eps) * scale */
static void norm_l2(float *x, size_t n, float eps, float scale) {
  double sum = 0;
  for (size_t i = 0; i < n; i++)
    sum += (double)x[i] * (double)x[i];
  float factor = (float)((double)scale / fmax(sqrt(sum), (double)eps));
  for (size_t i = 0; i < n; i++)
    x[i] *= factor;
}

/* Mixes one head's channels of one row: heads of q, then of k, then of v. */
static void mix(em_cpu_program *program, const net *n, const em_cpu_span *run, size_t t, size_t head) {
  const em_stage_delta_net *stage = n->stage;
  bool is_v = head >= 2 * (size_t)stage->n_k;
  size_t from = is_v ? 2 * n->k_width + (head - 2 * (size_t)stage->n_k) * stage->v_dim : head * stage->k_dim;
  size_t width = is_v ? stage->v_dim : stage->k_dim;
  convolve(program, n, run, state_of(program, n, run), t, from, from + width);
  if (!is_v)
    norm_l2(n->mixed + (run->first + t) * n->n_channels + from, width, stage->eps,
            head < stage->n_k ? 1.0f / sqrtf((float)stage->k_dim) : 1.0f);
}

/* Columns of a head's matrix that are worked on for all rows before the next: they stay in the L1 cache. */
#define COLUMNS 64u

/* The recurrence of one value head over a run's rows. */
static void recur(em_cpu_program *program, const net *n, const em_cpu_span *run, uint32_t head) {
  const em_stage_delta_net *stage = n->stage;
  const em_cpu_kernels *kernels = &program->cpu->kernels;
  const em_state_layer *layer = &program->common.desc.kv->state_layers[stage->state_layer];
  size_t k_dim = stage->k_dim, v_dim = stage->v_dim;
  uint32_t k_head = stage->tiled ? head % stage->n_k : head / (stage->n_v / stage->n_k);
  float *s = state_of(program, n, run) + em_cpu_state_conv_floats(layer) + head * k_dim * v_dim;
  float a_log = em_cpu_vector(stage->a_log)[head], dt_bias = em_cpu_vector(stage->dt_bias)[head];
  if (starts(program, run))
    memset(s, 0, k_dim * v_dim * sizeof *s);
  for (size_t column = 0; column < v_dim; column += COLUMNS) {
    for (size_t r = run->first; r < run->first + run->n; r++) {
      const float *in = em_cpu_value(program, stage->in, r) + n->n_channels + n->v_width;
      const float *q = n->mixed + r * n->n_channels + k_head * k_dim, *k = q + n->k_width;
      const float *v = n->mixed + r * n->n_channels + 2 * n->k_width + head * v_dim;
      float dt = in[stage->n_v + head] + dt_bias;
      em_delta delta = {.s = s + column,
                        .stride = v_dim,
                        .k = k,
                        .q = q,
                        .v = v + column,
                        .k_dim = k_dim,
                        .n = v_dim - column < COLUMNS ? v_dim - column : COLUMNS,
                        .beta = 1.0f / (1.0f + expf(-in[head])),
                        .decay = expf(a_log * (dt > 20.0f ? dt : log1pf(expf(dt)))),
                        .o = em_cpu_value(program, stage->out, r) + head * v_dim + column};
      kernels->delta(&delta);
    }
  }
  for (size_t r = run->first; r < run->first + run->n; r++) {
    const float *z = em_cpu_value(program, stage->in, r) + n->n_channels + head * v_dim;
    float *out = em_cpu_value(program, stage->out, r) + head * v_dim,
          *gate = n->mixed + r * n->n_channels + 2 * n->k_width + head * v_dim;
    kernels->rms_norm(out, em_cpu_vector(stage->norm), stage->eps, v_dim, out);
    kernels->activate(EM_ACT_SILU, z, v_dim, gate); /* over v, which is not needed any more */
    for (size_t i = 0; i < v_dim; i++)
      out[i] *= gate[i];
  }
}

/* Leaves the run's last rows of u for the next step, channels from .. to. */
static void keep_rows(em_cpu_program *program, const net *n, const em_cpu_span *run, size_t from, size_t to) {
  float *old = state_of(program, n, run);
  for (size_t i = 0; i < n->n_old; i++) {
    float *dst = old + i * n->n_channels + from;
    if (i + run->n >= n->n_old)
      memcpy(dst, em_cpu_value(program, n->stage->in, run->first + i + run->n - n->n_old) + from,
             (to - from) * sizeof *dst);
    else if (starts(program, run))
      memset(dst, 0, (to - from) * sizeof *dst);
    else
      memcpy(dst, dst + run->n * n->n_channels, (to - from) * sizeof *dst);
  }
}

void em_cpu_delta_net(em_cpu_program *program, const em_stage_delta_net *stage, unsigned thread) {
  size_t k_width = (size_t)stage->n_k * stage->k_dim, v_width = (size_t)stage->n_v * stage->v_dim, end, i;
  net n = {stage, k_width, v_width, 2 * k_width + v_width, stage->n_conv - 1, program->normed};
  unsigned n_threads = program->cpu->n_threads;
  size_t n_heads = 2 * (size_t)stage->n_k + stage->n_v;
  for (uint32_t run = 0; run < program->n_runs; run++) {
    const em_cpu_span *span = &program->runs[run];
    for (i = em_cpu_share(span->n * n_heads, thread, n_threads, &end); i < end; i++)
      mix(program, &n, span, i / n_heads, i % n_heads);
  }
  em_pool_barrier(program->cpu->pool);
  size_t n_units = (size_t)program->n_runs * stage->n_v;
  while ((i = em_pool_next(program->cpu->pool, 1, n_units)) < n_units)
    recur(program, &n, &program->runs[i / stage->n_v], (uint32_t)(i % stage->n_v));
  for (uint32_t run = 0; run < program->n_runs; run++) {
    size_t from = em_cpu_share(n.n_channels, thread, n_threads, &end);
    keep_rows(program, &n, &program->runs[run], from, end);
  }
}
