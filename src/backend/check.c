/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The checks of a program's description: shapes, what may overlap, whose the weights are, and whether the backend can
 * run it. */
#include "backend/impl.h"

#include <math.h>

#include "base/checked.h"

#define MAX_STAGES 65536u
#define MAX_VALUES 65536u
#define MAX_ROWS 65536u
#define MAX_SLOTS 65536u
#define MAX_HEADS 65536u
#define MAX_EXPERTS 4096u
#define MAX_USED 64u
#define MAX_CONV 64u

/* What the checks of one stage look at. */
typedef struct checked {
  const em_backend *backend;
  const em_program_desc *desc;
  const em_stage *stage;
  em_error *error;
} checked;

static em_status refuse(const checked *c, const char *what) {
  return em_fail(c->error, EM_ERR_ARGUMENT, "stage %s of layer %d: %s", c->stage->label ? c->stage->label : "?",
                 (int)c->stage->layer, what);
}

/* Refuses what the backend does not run. */
static em_status needs(const checked *c, bool wanted, uint64_t what) {
  if (!wanted || (c->backend->fns->runs & what) != 0)
    return EM_OK;
  return em_fail(c->error, EM_ERR_UNSUPPORTED, "%s cannot run the stage %s of layer %d yet", c->backend->name,
                 c->stage->label ? c->stage->label : "?", (int)c->stage->layer);
}

static bool is_value(const checked *c, em_value value) {
  return value >= 0 && (uint32_t)value < c->desc->n_values;
}

static const em_value_desc *value_of(const checked *c, em_value value) {
  return &c->desc->values[value];
}

/* Whether a value is there, has this width, and has all rows of a step. */
static bool has_rows(const checked *c, em_value value, uint64_t width) {
  return is_value(c, value) && value_of(c, value)->width == width && !value_of(c, value)->outputs_only;
}

/* Whether two values' memory meets. */
static bool values_meet(const checked *c, em_value a, em_value b) {
  const em_value_desc *x = value_of(c, a), *y = value_of(c, b);
  uint64_t x_end = x->offset + (uint64_t)em_value_max_rows(c->desc, a) * x->width;
  uint64_t y_end = y->offset + (uint64_t)em_value_max_rows(c->desc, b) * y->width;
  return x->offset < y_end && y->offset < x_end;
}

/* The same for an operand that may be missing or the output itself. */
static bool meets_out(const checked *c, em_value value, em_value out) {
  return value != EM_NO_VALUE && value != out && values_meet(c, value, out);
}

static bool is_vector(const checked *c, const em_weights *weights, uint64_t n) {
  return weights && weights->backend == c->backend && weights->use == EM_USE_VECTOR && weights->n_in == n;
}

static bool is_vector_or_null(const checked *c, const em_weights *weights, uint64_t n) {
  return !weights || is_vector(c, weights, n);
}

/* A stack of n_matrices matrices for rows of n_in values. */
static bool is_stack(const checked *c, const em_weights *weights, uint64_t n_in) {
  return weights && weights->backend == c->backend && weights->use == EM_USE_STACK && weights->n_in == n_in;
}

static bool is_table(const checked *c, const em_weights *weights) {
  return weights && weights->backend == c->backend && (weights->use & EM_USE_TABLE) != 0;
}

static bool is_at_least_zero(float x) {
  return x >= 0 && isfinite(x);
}

static bool is_gated(em_activation activation) {
  return activation == EM_ACT_SWIGLU || activation == EM_ACT_GEGLU || activation == EM_ACT_SWIGLU_OAI;
}

/* Whether the activation takes this number of parts. */
static bool takes_parts(em_activation activation, uint32_t n_parts) {
  return is_gated(activation) ? n_parts == 2 : activation <= EM_ACT_SIGMOID && n_parts == 1;
}

static em_status check_input(const checked *c) {
  if (c->stage != c->desc->stages)
    return refuse(c, "an input is not the first stage");
  if (!is_value(c, c->stage->input.out) || value_of(c, c->stage->input.out)->outputs_only)
    return refuse(c, "no such value");
  return EM_OK;
}

static em_status check_embed(const checked *c) {
  const em_stage_embed *s = &c->stage->embed;
  if (!is_table(c, s->table))
    return refuse(c, "no table");
  if (!has_rows(c, s->out, s->table->n_in))
    return refuse(c, "the output has another shape than the table's rows");
  if ((s->positions && (!is_table(c, s->positions) || s->positions->n_in != s->table->n_in)) ||
      (s->types && (!is_table(c, s->types) || s->types->n_in != s->table->n_in)))
    return refuse(c, "the tables' rows differ in length");
  return needs(c, s->positions || s->types, EM_RUNS_EMBED_SUMS);
}

static em_status check_linear_parts(const checked *c) {
  em_status status = EM_OK;
  const em_stage_linear *s = &c->stage->linear;
  if (s->n_parts == 0 || s->n_parts > EM_LINEAR_MAX_PARTS)
    return refuse(c, "too many or no matrices");
  for (uint32_t i = 0; i < s->n_parts; i++) {
    const em_weights *w = s->w[i];
    if (!w || w->backend != c->backend || !(w->use & EM_USE_MATRIX) || w->n_in != value_of(c, s->x)->width)
      return refuse(c, "a matrix does not fit the input");
    if (!is_vector_or_null(c, s->bias[i], w->n_rows) || !is_vector_or_null(c, s->w_scale[i], 1))
      return refuse(c, "a bias or scale does not fit its matrix");
    EM_TRY(needs(c, s->w_scale[i], EM_RUNS_LINEAR_SCALES));
  }
  EM_TRY(needs(c, s->n_parts > 3, EM_RUNS_LINEAR_PARTS));
fail:
  return status;
}

static em_status check_linear(const checked *c) {
  em_status status = EM_OK;
  const em_stage_linear *s = &c->stage->linear;
  uint64_t width = 0;
  if (!is_value(c, s->x) || !is_value(c, s->out))
    return refuse(c, "no such value");
  EM_TRY(check_linear_parts(c));
  for (uint32_t i = 0; i < s->n_parts; i++)
    width += s->w[i]->n_rows;
  if (s->activation != EM_ACT_NONE) {
    if (!takes_parts(s->activation, s->n_parts) || (s->n_parts == 2 && s->w[0]->n_rows != s->w[1]->n_rows) ||
        s->residual != EM_NO_VALUE || (s->scale != 0 && s->scale != 1.0f) || s->softcap != 0)
      return refuse(c, "the activation does not go with these matrices, a residual, a scale or a cap");
    width = s->w[0]->n_rows;
  }
  if (!isfinite(s->scale) || !is_at_least_zero(s->softcap))
    return refuse(c, "a scale or cap is no number");
  if (width != value_of(c, s->out)->width)
    return refuse(c, "the output has another width than the matrices' rows");
  uint64_t n_in = value_of(c, s->x)->width;
  if (!is_vector_or_null(c, s->norm, n_in) || !is_vector_or_null(c, s->norm_bias, n_in) || (s->norm_bias && !s->norm) ||
      (s->norm_kind != EM_NORM_RMS && s->norm_kind != EM_NORM_LAYER))
    return refuse(c, "the norm does not fit the input");
  if (s->outputs_only != value_of(c, s->out)->outputs_only || (value_of(c, s->x)->outputs_only && !s->outputs_only))
    return refuse(c, "rows for outputs only are mixed with all rows");
  if (values_meet(c, s->x, s->out))
    return refuse(c, "the output overlaps the input");
  if (s->residual != EM_NO_VALUE) {
    if (!is_value(c, s->residual) || value_of(c, s->residual)->width != width ||
        (value_of(c, s->residual)->outputs_only && !s->outputs_only))
      return refuse(c, "the residual has another shape than the output");
    if (meets_out(c, s->residual, s->out))
      return refuse(c, "the output overlaps the residual");
  }
  EM_TRY(needs(c, s->norm_bias || (s->norm && s->norm_kind != EM_NORM_RMS), EM_RUNS_LAYER_NORM));
  EM_TRY(needs(c, (s->scale != 0 && s->scale != 1.0f) || s->softcap != 0, EM_RUNS_LINEAR_SCALES));
  EM_TRY(needs(c, s->activation != EM_ACT_NONE && s->activation != EM_ACT_SWIGLU, EM_RUNS_ACTIVATIONS));
fail:
  return status;
}

/* The KV layer and the heads that rope_store and attention share; `width` values a row are looked at. */
static em_status check_heads(const checked *c, em_value qkv, uint64_t width, uint32_t kv_layer, uint32_t n_heads) {
  const em_kv_layer *layer = &c->desc->kv->layers[kv_layer];
  uint64_t whole =
      (uint64_t)n_heads * layer->k_dim + (uint64_t)layer->n_heads * (layer->k_dim + (layer->v_in_k ? 0 : layer->v_dim));
  if (n_heads == 0 || n_heads > MAX_HEADS || n_heads % layer->n_heads != 0)
    return refuse(c, "the heads are no multiple of the KV heads");
  if (!is_value(c, qkv) || value_of(c, qkv)->width < width || value_of(c, qkv)->outputs_only)
    return refuse(c, "q, k and v have another width than the heads");
  return needs(c, value_of(c, qkv)->width != whole, EM_RUNS_KV_SOURCES);
}

static bool is_head_norm(const checked *c, const em_weights *norm, uint64_t dim, uint64_t n_heads) {
  return !norm || is_vector(c, norm, dim * n_heads) || (norm->n_in <= dim && is_vector(c, norm, norm->n_in));
}

static em_status check_rope(const checked *c, const em_rope *rope, uint32_t k_dim) {
  if (rope->kind == EM_ROPE_NONE)
    return EM_OK;
  if (rope->kind != EM_ROPE_NORM && rope->kind != EM_ROPE_NEOX)
    return refuse(c, "no such rotation");
  if (rope->n_rot == 0 || rope->n_rot % 2 != 0 || rope->n_rot > k_dim || rope->offset > k_dim - rope->n_rot ||
      !(rope->base > 0))
    return refuse(c, "the rotation does not fit the heads");
  if (!is_vector_or_null(c, rope->factors, rope->n_rot / 2))
    return refuse(c, "the frequency factors do not fit the rotation");
  if (!isfinite(rope->ext_factor) || !isfinite(rope->ramp_low) || !isfinite(rope->ramp_high))
    return refuse(c, "the rotation's ramp is no number");
  return needs(c, rope->offset != 0 || rope->ext_factor != 0, EM_RUNS_ROPE_RAMP);
}

static em_status check_rope_store(const checked *c) {
  em_status status = EM_OK;
  const em_stage_rope_store *s = &c->stage->rope_store;
  if (!c->desc->kv || s->kv_layer >= c->desc->kv->n_layers)
    return refuse(c, "no such layer of the KV cache");
  const em_kv_layer *layer = &c->desc->kv->layers[s->kv_layer];
  uint64_t width = (uint64_t)s->n_heads * layer->k_dim;
  if (s->source != EM_KV_FROM_ROW && s->source != EM_KV_FROM_K && s->source != EM_KV_FROM_NONE)
    return refuse(c, "no such source of keys and values");
  if (s->source == EM_KV_FROM_K && (layer->v_in_k || layer->k_dim != layer->v_dim))
    return refuse(c, "the values cannot be the keys");
  if (s->source != EM_KV_FROM_NONE)
    width += (uint64_t)layer->n_heads * layer->k_dim;
  if (s->source == EM_KV_FROM_ROW && !layer->v_in_k)
    width += (uint64_t)layer->n_heads * layer->v_dim;
  EM_TRY(check_heads(c, s->qkv, width, s->kv_layer, s->n_heads));
  if (!is_head_norm(c, s->q_norm, layer->k_dim, s->n_heads) ||
      !is_head_norm(c, s->k_norm, layer->k_dim, layer->n_heads) ||
      (s->norm_v && (layer->v_in_k || s->source == EM_KV_FROM_NONE)) || (s->k_norm && s->source == EM_KV_FROM_NONE))
    return refuse(c, "a norm does not fit the heads");
  if (!isfinite(s->q_log_scale) || (s->q_log_scale != 0 && s->q_log_period == 0))
    return refuse(c, "the scale of q has no period");
  EM_TRY(check_rope(c, &s->rope, layer->k_dim));
  EM_TRY(needs(c, s->source != EM_KV_FROM_ROW, EM_RUNS_KV_SOURCES));
  EM_TRY(needs(c, s->q_log_scale != 0, EM_RUNS_ROPE_RAMP));
  EM_TRY(needs(
      c, s->norm_v || (s->q_norm && s->q_norm->n_in != layer->k_dim) || (s->k_norm && s->k_norm->n_in != layer->k_dim),
      EM_RUNS_HEAD_NORMS));
fail:
  return status;
}

static em_status check_attention(const checked *c) {
  em_status status = EM_OK;
  const em_stage_attention *s = &c->stage->attention;
  if (!c->desc->kv || s->kv_layer >= c->desc->kv->n_layers)
    return refuse(c, "no such layer of the KV cache");
  const em_kv_layer *layer = &c->desc->kv->layers[s->kv_layer];
  EM_TRY(check_heads(c, s->qkv, (uint64_t)s->n_heads * layer->k_dim, s->kv_layer, s->n_heads));
  if (!has_rows(c, s->out, (uint64_t)s->n_heads * layer->v_dim))
    return refuse(c, "the output has another width than the heads");
  if (values_meet(c, s->qkv, s->out))
    return refuse(c, "the output overlaps q");
  if (!is_at_least_zero(s->softcap) || !is_vector_or_null(c, s->sinks, s->n_heads))
    return refuse(c, "the cap or the sinks do not fit the heads");
  if (s->both_ways && s->window != 0)
    return refuse(c, "attention both ways has no window");
  EM_TRY(needs(c, s->window != 0, EM_RUNS_WINDOW));
  EM_TRY(needs(c, s->softcap != 0, EM_RUNS_SOFTCAP));
  EM_TRY(needs(c, s->sinks, EM_RUNS_SINKS));
  EM_TRY(needs(c, s->both_ways, EM_RUNS_BOTH_WAYS));
fail:
  return status;
}

static em_status check_norm(const checked *c) {
  const em_stage_norm *s = &c->stage->norm;
  if (!is_value(c, s->x) || !is_value(c, s->out) || value_of(c, s->x)->width != value_of(c, s->out)->width ||
      value_of(c, s->x)->outputs_only != value_of(c, s->out)->outputs_only)
    return refuse(c, "the output has another shape than the input");
  if (!s->norm || !is_vector(c, s->norm, s->norm->n_in) || value_of(c, s->x)->width % s->norm->n_in != 0 ||
      !is_vector_or_null(c, s->bias, s->norm->n_in) || (s->kind != EM_NORM_RMS && s->kind != EM_NORM_LAYER))
    return refuse(c, "the norm does not fit the input");
  if (!is_vector_or_null(c, s->scale_by, 1) || !isfinite(s->scale))
    return refuse(c, "a scale is no number");
  if (s->residual != EM_NO_VALUE &&
      (!is_value(c, s->residual) || value_of(c, s->residual)->width != value_of(c, s->out)->width ||
       value_of(c, s->residual)->outputs_only != value_of(c, s->out)->outputs_only))
    return refuse(c, "the residual has another shape than the output");
  if (meets_out(c, s->x, s->out) || meets_out(c, s->residual, s->out))
    return refuse(c, "the output overlaps the input or the residual");
  return EM_OK;
}

static em_status check_gate(const checked *c) {
  const em_stage_gate *s = &c->stage->gate;
  if (!is_value(c, s->x) || !is_value(c, s->out) || !is_value(c, s->gate) ||
      value_of(c, s->x)->width != value_of(c, s->out)->width ||
      value_of(c, s->x)->outputs_only != value_of(c, s->out)->outputs_only ||
      value_of(c, s->gate)->outputs_only != value_of(c, s->out)->outputs_only)
    return refuse(c, "the output has another shape than the input");
  uint64_t n = s->is_scalar ? 1 : value_of(c, s->x)->width;
  if (s->gate_offset + n > value_of(c, s->gate)->width)
    return refuse(c, "the gate is shorter than the input");
  if (!takes_parts(s->activation, 1))
    return refuse(c, "a gate's activation takes one part");
  if (meets_out(c, s->x, s->out) || values_meet(c, s->gate, s->out))
    return refuse(c, "the output overlaps the input or the gate");
  return EM_OK;
}

static em_status check_matrices_of_heads(const checked *c) {
  const em_stage_heads *s = &c->stage->heads;
  if (!is_value(c, s->x) || value_of(c, s->x)->outputs_only)
    return refuse(c, "no such value");
  if (!s->w || !is_stack(c, s->w, s->w->n_in) || value_of(c, s->x)->width != s->w->n_in * s->w->n_matrices)
    return refuse(c, "the matrices do not fit the input");
  uint64_t width = s->w->n_rows * s->w->n_matrices;
  if (s->append != EM_NO_VALUE) {
    if (!is_value(c, s->append) || value_of(c, s->append)->outputs_only ||
        value_of(c, s->append)->width % s->w->n_matrices != 0)
      return refuse(c, "what is appended is no equal share for each head");
    width += value_of(c, s->append)->width;
  }
  if (s->tail != EM_NO_VALUE) {
    if (!is_value(c, s->tail) || value_of(c, s->tail)->outputs_only)
      return refuse(c, "no such tail");
    width += value_of(c, s->tail)->width;
  }
  if (!has_rows(c, s->out, width))
    return refuse(c, "the output has another width than its parts");
  if (values_meet(c, s->x, s->out) || (s->append != EM_NO_VALUE && values_meet(c, s->append, s->out)) ||
      (s->tail != EM_NO_VALUE && values_meet(c, s->tail, s->out)))
    return refuse(c, "the output overlaps an input");
  return EM_OK;
}

static em_status check_router(const checked *c) {
  const em_stage_router *s = &c->stage->router;
  if (!is_value(c, s->x) || value_of(c, s->x)->outputs_only)
    return refuse(c, "no such value");
  if (!s->w || s->w->backend != c->backend || !(s->w->use & EM_USE_MATRIX) || s->w->n_in != value_of(c, s->x)->width ||
      s->w->n_rows > MAX_EXPERTS)
    return refuse(c, "the matrix does not fit the input");
  uint64_t n_experts = s->w->n_rows;
  if (!is_vector_or_null(c, s->norm, s->w->n_in) || !is_vector_or_null(c, s->bias, n_experts) ||
      !is_vector_or_null(c, s->select_bias, n_experts))
    return refuse(c, "a norm or bias does not fit the matrix");
  if (s->gating != EM_GATING_SOFTMAX && s->gating != EM_GATING_SIGMOID && s->gating != EM_GATING_SOFTMAX_SELECTED &&
      s->gating != EM_GATING_SQRT_SOFTPLUS)
    return refuse(c, "no such gating");
  if (s->n_used == 0 || s->n_used > MAX_USED || s->n_used > n_experts)
    return refuse(c, "so many experts cannot be chosen");
  if (s->n_groups > 1 && (n_experts % s->n_groups != 0 || s->n_groups_used == 0 || s->n_groups_used > s->n_groups ||
                          n_experts / s->n_groups * s->n_groups_used < s->n_used))
    return refuse(c, "the groups do not fit the experts");
  if (!isfinite(s->logit_scale) || !isfinite(s->scale))
    return refuse(c, "a scale is no number");
  if (!has_rows(c, s->routes, 2ull * s->n_used))
    return refuse(c, "the routes have another shape than the chosen experts");
  if (values_meet(c, s->x, s->routes))
    return refuse(c, "the routes overlap the input");
  return EM_OK;
}

/* The number of experts that a value of routes chooses; 0: it is none. */
static uint32_t used_of(const checked *c, em_value routes) {
  if (!is_value(c, routes) || value_of(c, routes)->outputs_only || value_of(c, routes)->width % 2 != 0 ||
      value_of(c, routes)->width / 2 > MAX_USED)
    return 0;
  return value_of(c, routes)->width / 2;
}

/* Biases and scales of a stack of experts. */
static bool fit_experts(const checked *c, const em_weights *w, const em_weights *scale, const em_weights *bias) {
  return w->n_matrices <= MAX_EXPERTS && is_vector_or_null(c, scale, w->n_matrices) &&
         is_vector_or_null(c, bias, w->n_matrices * w->n_rows);
}

static em_status check_experts(const checked *c) {
  const em_stage_experts *s = &c->stage->experts;
  uint32_t n_used = used_of(c, s->routes);
  if (!is_value(c, s->x) || value_of(c, s->x)->outputs_only || n_used == 0)
    return refuse(c, "no such value");
  if (s->n_parts == 0 || s->n_parts > 2 || s->activation == EM_ACT_NONE || !takes_parts(s->activation, s->n_parts))
    return refuse(c, "the activation does not go with these matrices");
  for (uint32_t i = 0; i < s->n_parts; i++) {
    if (!is_stack(c, s->w[i], value_of(c, s->x)->width) || s->w[i]->n_matrices != s->w[0]->n_matrices ||
        s->w[i]->n_rows != s->w[0]->n_rows || s->w[i]->n_matrices < n_used)
      return refuse(c, "the experts do not fit the input");
    if (!fit_experts(c, s->w[i], s->w_scale[i], s->bias[i]))
      return refuse(c, "a bias or scale does not fit the experts");
  }
  if (!is_vector_or_null(c, s->norm, value_of(c, s->x)->width))
    return refuse(c, "the norm does not fit the input");
  if (!is_at_least_zero(s->clamp) || (s->clamp > 0 && s->activation != EM_ACT_SWIGLU))
    return refuse(c, "this activation has no clamp");
  if (!has_rows(c, s->out, s->w[0]->n_rows * n_used))
    return refuse(c, "the output has another shape than the experts' rows");
  if (values_meet(c, s->x, s->out) || values_meet(c, s->routes, s->out))
    return refuse(c, "the output overlaps the input or the routes");
  return EM_OK;
}

static em_status check_experts_sum(const checked *c) {
  const em_stage_experts_sum *s = &c->stage->experts_sum;
  uint32_t n_used = used_of(c, s->routes);
  if (!is_value(c, s->x) || value_of(c, s->x)->outputs_only || n_used == 0 || value_of(c, s->x)->width % n_used != 0)
    return refuse(c, "no such value");
  if (!is_stack(c, s->w, value_of(c, s->x)->width / n_used) || s->w->n_matrices < n_used)
    return refuse(c, "the experts do not fit the input");
  if (!fit_experts(c, s->w, s->w_scale, s->bias))
    return refuse(c, "a bias or scale does not fit the experts");
  if (!has_rows(c, s->out, s->w->n_rows))
    return refuse(c, "the output has another shape than the experts' rows");
  if (s->residual != EM_NO_VALUE && !has_rows(c, s->residual, s->w->n_rows))
    return refuse(c, "the residual has another shape than the output");
  if (values_meet(c, s->x, s->out) || values_meet(c, s->routes, s->out) || meets_out(c, s->residual, s->out))
    return refuse(c, "the output overlaps an input");
  return EM_OK;
}

static em_status check_delta_net(const checked *c) {
  const em_stage_delta_net *s = &c->stage->delta_net;
  if (!c->desc->kv || s->state_layer >= c->desc->kv->n_state_layers)
    return refuse(c, "no such state");
  if (s->n_k == 0 || s->n_k > MAX_HEADS || s->n_v == 0 || s->n_v > MAX_HEADS || s->n_v % s->n_k != 0 || s->k_dim == 0 ||
      s->k_dim > MAX_HEADS || s->v_dim == 0 || s->v_dim > MAX_HEADS || s->n_conv == 0 || s->n_conv > MAX_CONV)
    return refuse(c, "no legal heads");
  /* All are below 2^17, so that no product of two passes 2^34. */
  uint64_t k = (uint64_t)s->n_k * s->k_dim, v = (uint64_t)s->n_v * s->v_dim, channels = 2 * k + v, inner;
  const em_state_layer *state = &c->desc->kv->state_layers[s->state_layer];
  if (!em_mul_u64(v, s->k_dim, &inner) || state->n_inner != inner || state->n_conv != channels * (s->n_conv - 1))
    return refuse(c, "the state has another shape than the heads");
  if (!has_rows(c, s->in, channels + v + 2ull * s->n_v) || !has_rows(c, s->out, v))
    return refuse(c, "a value has another width than the heads");
  if (!is_vector(c, s->conv, channels * s->n_conv) || !is_vector(c, s->a_log, s->n_v) ||
      !is_vector(c, s->dt_bias, s->n_v) || !is_vector(c, s->norm, s->v_dim))
    return refuse(c, "the weights do not fit the heads");
  if (values_meet(c, s->in, s->out))
    return refuse(c, "the output overlaps the input");
  return EM_OK;
}

static em_status check_stage(const checked *c) {
  const em_stage *stage = c->stage;
  em_status status = EM_OK;
  if ((unsigned)stage->kind >= EM_N_STAGE_KINDS)
    return refuse(c, "no such kind of stage");
  EM_TRY(needs(c, true, EM_RUNS_KIND(stage->kind)));
  switch (stage->kind) {
  case EM_STAGE_INPUT:
    return check_input(c);
  case EM_STAGE_EMBED:
    return check_embed(c);
  case EM_STAGE_LINEAR:
    return check_linear(c);
  case EM_STAGE_ROPE_STORE:
    return check_rope_store(c);
  case EM_STAGE_ATTENTION:
    return check_attention(c);
  case EM_STAGE_NORM:
    return check_norm(c);
  case EM_STAGE_GATE:
    return check_gate(c);
  case EM_STAGE_HEADS:
    return check_matrices_of_heads(c);
  case EM_STAGE_ROUTER:
    return check_router(c);
  case EM_STAGE_EXPERTS:
    return check_experts(c);
  case EM_STAGE_EXPERTS_SUM:
    return check_experts_sum(c);
  case EM_STAGE_DELTA_NET:
    return check_delta_net(c);
  case EM_N_STAGE_KINDS:
    break;
  }
fail:
  return status;
}

em_status em_check_program(const em_backend *backend, const em_program_desc *desc, em_error *error) {
  checked c = {.backend = backend, .desc = desc, .error = error};
  if (desc->n_stages == 0 || desc->n_stages > MAX_STAGES || desc->n_values == 0 || desc->n_values > MAX_VALUES ||
      desc->max_rows == 0 || desc->max_rows > MAX_ROWS || desc->max_outputs == 0 || desc->max_outputs > MAX_ROWS ||
      desc->max_slots == 0 || desc->max_slots > MAX_SLOTS || desc->max_pages > EM_KV_MAX_PAGES)
    return em_fail(error, EM_ERR_ARGUMENT, "a program's counts are out of their range");
  if (desc->kv && desc->kv->backend != backend)
    return em_fail(error, EM_ERR_ARGUMENT, "the KV cache belongs to another backend");
  for (uint32_t i = 0; i < desc->n_values; i++) {
    const em_value_desc *value = &desc->values[i];
    uint64_t floats, end;
    if (value->width == 0 || value->offset % 16 != 0 ||
        !em_mul_u64(em_value_max_rows(desc, (em_value)i), value->width, &floats) ||
        !em_add_u64(value->offset, floats, &end) || end > desc->scratch_floats)
      return em_fail(error, EM_ERR_ARGUMENT, "value %u does not lie in the program's scratch", i);
  }
  for (uint32_t i = 0; i < desc->n_stages; i++) {
    c.stage = &desc->stages[i];
    em_status status = check_stage(&c);
    if (status != EM_OK)
      return status;
  }
  if (!is_value(&c, desc->result))
    return em_fail(error, EM_ERR_ARGUMENT, "the program has no value for its result");
  return EM_OK;
}
