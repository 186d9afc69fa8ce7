/* SPDX-License-Identifier: GPL-3.0-or-later */
/* One page of attention on every instruction set and cache type against float64. What lies behind the last position is NaN and
 * must not be seen; a column's bits must not depend on the columns beside it. */
#include "common.h"

#include "backend/cpu/cpu.h"

static const em_type kinds[] = {[EM_KV_F32] = EM_TYPE_F32, [EM_KV_F16] = EM_TYPE_F16, [EM_KV_Q8] = EM_TYPE_Q8_0};

/* What the cache holds of a value. */
static void as_stored(int kind, float *x, size_t n) {
  for (size_t i = 0; kind == EM_KV_F16 && i < n; i++)
    x[i] = em_f16_to_f32(em_f32_to_f16(x[i]));
  for (size_t i = 0; kind == EM_KV_Q8 && i < n; i += 32) {
    float max = 0;
    for (size_t j = i; j < i + 32; j++)
      max = fmaxf(max, fabsf(x[j]));
    float d = em_f16_to_f32(em_f32_to_f16(max / 127)), inverse = d > 0 ? 1 / d : 0;
    for (size_t j = i; j < i + 32; j++)
      x[j] = d * rintf(x[j] * inverse);
  }
}

typedef struct page {
  int kind;
  uint32_t k_dim, v_dim, n; /* n positions are stored */
  bool v_in_k;
  uint8_t *k, *v;           /* guarded */
  float *k_values, *v_values;
} page;

static void make(page *p, const em_cpu_kernels *kernels, int kind, uint32_t k_dim, uint32_t v_dim, uint32_t n) {
  size_t k_bytes = em_cpu_kv_head_bytes_k(kind, k_dim), v_bytes = em_cpu_kv_head_bytes_v(kind, v_dim);
  *p = (page){.kind = kind,
              .k_dim = k_dim,
              .v_dim = v_dim,
              .n = n,
              .k = guarded_new(k_bytes, 0xFF),
              .v = guarded_new(v_bytes, 0xFF)};
  p->k_values = malloc((size_t)n * k_dim * 4);
  p->v_values = malloc((size_t)n * v_dim * 4);
  random_floats(p->k_values, (size_t)n * k_dim);
  random_floats(p->v_values, (size_t)n * v_dim);
  for (uint32_t t = 0; t < n; t++) {
    em_cpu_kv_store_k(kernels, kind, p->k, k_dim, t, p->k_values + (size_t)t * k_dim);
    em_cpu_kv_store_v(kernels, kind, p->v, v_dim, t, p->v_values + (size_t)t * v_dim);
    as_stored(kind, p->k_values + (size_t)t * k_dim, k_dim);
    as_stored(kind, p->v_values + (size_t)t * v_dim, v_dim);
  }
  CHECK(guarded_whole(p->k, k_bytes));
  CHECK(guarded_whole(p->v, v_bytes));
}

static void clear(page *p) {
  guarded_free(p->k);
  guarded_free(p->v);
  free(p->k_values);
  free(p->v_values);
}

/* Column c of a call. */
static void check_column(const page *p, const em_attend *a, uint32_t c) {
  const float *q = a->q[c], *o = a->o + c * ((p->v_dim + 15) / 16 * 16);
  uint32_t first = a->first[c], n = a->n_tokens[c];
  float scale = a->scale, m = a->m[c], l = a->l[c];
  double s[EM_KV_PAGE_TOKENS], most = -INFINITY, sum = 0;
  for (uint32_t t = first; t < n; t++) {
    s[t] = 0;
    for (uint32_t d = 0; d < p->k_dim; d++)
      s[t] += (double)q[d] * (double)p->k_values[(size_t)t * p->k_dim + d];
    s[t] *= (double)scale;
    if (a->softcap != 0)
      s[t] = (double)a->softcap * tanh(s[t] / (double)a->softcap);
    most = fmax(most, s[t]);
  }
  for (uint32_t t = first; t < n; t++)
    sum += s[t] = exp(s[t] - most);
  CHECK(fabs((double)m - most) <= tolerances.attention * (1 + fabs(most)));
  CHECK(fabs((double)l / sum - 1) <= 4 * tolerances.attention);
  for (uint32_t d = 0; d < p->v_dim; d++) {
    double value = 0, size = 0;
    for (uint32_t t = first; t < n; t++) {
      double product = s[t] * (double)(p->v_in_k ? p->k_values[(size_t)t * p->k_dim + d] : p->v_values[(size_t)t * p->v_dim + d]);
      value += product;
      size += fabs(product);
    }
    CHECK(fabs(value - (double)o[d]) <= 4 * tolerances.attention * size);
  }
}

typedef struct extras {
  uint32_t window; /* 0: none */
  float softcap;
  bool v_in_k;
} extras;

static void test_page(const em_cpu_kernels *kernels, int kind, uint32_t k_dim, uint32_t v_dim, uint32_t n, uint32_t n_cols,
                      bool stairs, extras x) {
  uint32_t o_stride = (v_dim + 15) / 16 * 16;
  size_t o_bytes = (size_t)n_cols * o_stride * 4, scores_bytes = (size_t)n_cols * EM_KV_PAGE_TOKENS * 4;
  float *q = malloc((size_t)n_cols * k_dim * 4);
  page p;
  make(&p, kernels, kind, k_dim, v_dim, n);
  random_floats(q, (size_t)n_cols * k_dim);
  p.v_in_k = x.v_in_k;
  em_attend a = {.k = p.k, .v = x.v_in_k ? NULL : p.v, .v_in_k = x.v_in_k, .k_dim = k_dim, .v_dim = v_dim, .n_cols = n_cols,
                 .scale = 0.5f, .softcap = x.softcap,
                 .o = guarded_new(o_bytes, 0xFF), .scores = guarded_new(scores_bytes, 0xFF),
                 .packed = guarded_new((size_t)n_cols * k_dim * 4, 0xFF)};
  for (uint32_t c = 0; c < n_cols; c++) {
    a.q[c] = q + (size_t)c * k_dim;
    a.n_tokens[c] = stairs && c < n ? n - c : stairs ? 0 : n;
    a.first[c] = x.window != 0 && a.n_tokens[c] > x.window ? a.n_tokens[c] - x.window : 0;
  }
  kernels->attend[kind](&a);
  CHECK(guarded_whole(a.o, o_bytes));
  CHECK(guarded_whole(a.scores, scores_bytes));
  CHECK(guarded_whole(a.packed, (size_t)n_cols * k_dim * 4));
  for (uint32_t c = 0; c < n_cols; c++) {
    if (a.n_tokens[c] == 0)
      continue;
    check_column(&p, &a, c);
    em_attend alone = {.k = p.k, .v = a.v, .v_in_k = a.v_in_k, .k_dim = k_dim, .v_dim = v_dim, .n_cols = 1, .scale = a.scale,
                       .softcap = a.softcap, .q = {a.q[c]}, .first = {a.first[c]}, .n_tokens = {a.n_tokens[c]}, .o = guarded_new(o_stride * 4, 0xFF),
                       .scores = guarded_new(EM_KV_PAGE_TOKENS * 4, 0xFF), .packed = guarded_new(k_dim * 4, 0xFF)};
    kernels->attend[kind](&alone);
    CHECK(alone.m[0] == a.m[c] && alone.l[0] == a.l[c]);
    CHECK(memcmp(alone.o, a.o + (size_t)c * o_stride, v_dim * 4) == 0);
    guarded_free(alone.o);
    guarded_free(alone.scores);
    guarded_free(alone.packed);
  }
  guarded_free(a.o);
  guarded_free(a.scores);
  guarded_free(a.packed);
  free(q);
  clear(&p);
}

int main(void) {
  static const extras plain = {0, 0, false}, others[] = {{5, 0, false}, {70, 2.0f, false}, {0, 0.5f, false}, {0, 0, true}, {33, 3.0f, true}};
  for (int isa = 0; isa <= (int)em_cpu_best_isa(); isa++) {
    em_cpu_kernels kernels;
    em_kernels_get((em_cpu_isa)isa, &kernels);
    for (int kind = 0; kind < EM_N_KV_TYPES; kind++) {
      uint32_t step = kinds[kind] == EM_TYPE_Q8_0 ? 32 : 8;
      for (uint32_t dim = step; dim <= 192; dim = dim < 64 ? dim + step : 2 * dim) {
        for (uint32_t n = 1; n <= 33; n += 4)
          test_page(&kernels, kind, dim, dim, n, 1 + n % 7, false, plain);
        test_page(&kernels, kind, dim, dim == 64 ? 96 : dim, 256, 5, false, plain);
        test_page(&kernels, kind, dim, dim, 200, 32, true, plain);
        test_page(&kernels, kind, dim, dim, 20, 32, true, plain);
      }
      for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        test_page(&kernels, kind, 96, 64, 200, 32, true, others[i]);
        test_page(&kernels, kind, 64, 64, 20, 5, true, others[i]);
        test_page(&kernels, kind, 160, 128, 256, 7, false, others[i]);
        if (kinds[kind] != EM_TYPE_Q8_0)
          test_page(&kernels, kind, 23, 13, 130, 11, true, others[i]);
      }
      if (kinds[kind] != EM_TYPE_Q8_0) {
        test_page(&kernels, kind, 3, 5, 40, 6, false, plain);
        test_page(&kernels, kind, 20, 1, 17, 3, true, plain);
      }
    }
    if (check_failures)
      fprintf(stderr, "the above with %s\n", em_cpu_isa_name((em_cpu_isa)isa));
  }
  return check_done();
}
