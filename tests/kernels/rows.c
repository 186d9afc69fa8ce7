/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The kernels of rows: norm, quantising, the last step of a product, rotation, conversion, merging. */
#include "common.h"

#include "backend/cpu/kernels.h"

static int near(double a, double b, double most) {
  return fabs(a - b) <= most * (fabs(b) + 1e-6);
}

static void test_norm(const em_cpu_kernels *kernels, size_t n) {
  float *x = guarded_new(n * 4, 0), *norm = guarded_new(n * 4, 0), *y = guarded_new(n * 4, 0xFF);
  double sum = 0;
  random_floats(x, n);
  random_floats(norm, n);
  for (size_t i = 0; i < n; i++)
    sum += (double)x[i] * (double)x[i];
  double scale = 1 / sqrt(sum / (double)n + 1e-6);
  kernels->rms_norm(x, norm, 1e-6f, n, y);
  CHECK(guarded_whole(y, n * 4));
  for (size_t i = 0; i < n; i++)
    CHECK(near((double)y[i], (double)x[i] * scale * (double)norm[i], tolerances.row));
  kernels->rms_norm(x, norm, 1e-6f, n, x);
  CHECK(memcmp(x, y, n * 4) == 0);
  guarded_free(x);
  guarded_free(norm);
  guarded_free(y);
}

static void test_quantise(const em_cpu_kernels *kernels, const em_cpu_kernels *scalar, size_t n) {
  float *x = guarded_new(n * 4, 0);
  size_t bytes = em_q8_row_bytes(n);
  em_q8_block *row = guarded_new(bytes, 0), *expected = guarded_new(bytes, 0);
  random_floats(x, n);
  for (size_t i = 0; i < 32 && n > 32; i++)
    x[i] = i % 2 ? -0.0f : 0.0f; /* a group of zeros */
  for (size_t i = 32; i < 64 && n > 64; i++)
    x[i] *= 1e-42f; /* denormals */
  for (size_t i = 64; i < 96 && n > 96; i++)
    x[i] = (float)((int)i - 80) * 0.5f; /* ties */
  kernels->quantise(x, n, row);
  scalar->quantise(x, n, expected);
  CHECK(guarded_whole(row, bytes));
  for (size_t b = 0; b < n / EM_GROUP; b++)
    CHECK(memcmp(&row[b], &expected[b], offsetof(em_q8_block, unused)) == 0);
  for (int i = 0; i < 3; i++) {
    /* What is no number makes its group's scale no number, so that it reaches the result instead of vanishing. */
    random_floats(x, n);
    x[n - 1] = i == 0 ? NAN : i == 1 ? INFINITY : -INFINITY;
    kernels->quantise(x, n, row);
    CHECK(isnan(row[n / EM_GROUP - 1].d));
    CHECK(n == EM_GROUP || isfinite(row[0].d));
  }
  guarded_free(x);
  guarded_free(row);
  guarded_free(expected);
}

static void test_finish(const em_cpu_kernels *kernels, size_t n, size_t n_rows, unsigned parts) {
  size_t stride = 32, out_stride = n + 3, out_floats = (n_rows - 1) * out_stride + n;
  float *y = guarded_new(n_rows * stride * 4, 0), *bias = guarded_new(2 * n * 4, 0);
  float *residual = guarded_new(out_floats * 4, 0), *out = guarded_new(out_floats * 4, 0xFF);
  random_floats(y, n_rows * stride);
  random_floats(bias, 2 * n);
  random_floats(residual, out_floats);
  for (size_t i = 0; i < n_rows; i++)
    y[i * stride] = (float)(i % 7) * 40.0f - 120.0f; /* where exp over- and underflows */
  em_finish f = {.y = {y, y + 16},
                 .y_stride = stride,
                 .bias = {parts & 1 ? bias : NULL, parts & 1 ? bias + n : NULL},
                 .residual = parts & 2 ? residual : NULL,
                 .residual_stride = out_stride,
                 .out = out,
                 .out_stride = out_stride,
                 .n_rows = n_rows,
                 .n = n};
  kernels->finish(&f);
  CHECK(guarded_whole(out, out_floats * 4));
  for (size_t i = 0; i < n_rows; i++) {
    for (size_t r = 0; r < n; r++) {
      float expected = y[i * stride + r];
      expected += parts & 1 ? bias[r] : 0;
      expected += parts & 2 ? residual[i * out_stride + r] : 0;
      CHECK(out[i * out_stride + r] == expected);
    }
    for (size_t r = n; r < out_stride && i + 1 < n_rows; r++)
      CHECK(isnan(out[i * out_stride + r])); /* between the rows nothing is written */
  }
  memset(out, 0xFF, out_floats * 4);
  f.residual = NULL;
  f.activation = EM_ACT_SWIGLU;
  kernels->finish_act(&f);
  CHECK(guarded_whole(out, out_floats * 4));
  for (size_t i = 0; i < n_rows; i++) {
    for (size_t r = 0; r < n; r++) {
      double g = (double)(y[i * stride + r] + (parts & 1 ? bias[r] : 0));
      double u = (double)(y[i * stride + 16 + r] + (parts & 1 ? bias[n + r] : 0));
      double expected = g / (1 + exp(-g)) * u;
      CHECK(near((double)out[i * out_stride + r], expected, g < -80 ? 1.0 : tolerances.exponent));
    }
  }
  guarded_free(y);
  guarded_free(bias);
  guarded_free(residual);
  guarded_free(out);
}

static void test_rope(const em_cpu_kernels *kernels, size_t n, bool neox) {
  float *x = guarded_new(2 * n * 4, 0), *table = guarded_new(2 * n * 4, 0), *old = malloc(2 * n * 4);
  random_floats(x, 2 * n);
  memcpy(old, x, 2 * n * 4);
  for (size_t k = 0; k < n; k++) {
    table[k] = cosf((float)k * 0.7f);
    table[n + k] = sinf((float)k * 0.7f);
  }
  kernels->rope(x, table, n, neox);
  CHECK(guarded_whole(x, 2 * n * 4));
  for (size_t k = 0; k < n; k++) {
    size_t i = neox ? k : 2 * k, j = neox ? k + n : 2 * k + 1;
    double a = (double)old[i], b = (double)old[j], c = (double)table[k], s = (double)table[n + k];
    CHECK(fabs((double)x[i] - (a * c - b * s)) < 2e-7);
    CHECK(fabs((double)x[j] - (a * s + b * c)) < 2e-7);
  }
  guarded_free(x);
  guarded_free(table);
  free(old);
}

static void test_conversion(const em_cpu_kernels *kernels, size_t n) {
  float *x = guarded_new(n * 4, 0), *z = guarded_new(n * 4, 0);
  uint16_t *y = guarded_new(n * 2, 0);
  const float special[] = {0.0f, -0.0f, 65504.0f, 65520.0f, 1e-8f, 6.1e-5f, INFINITY, 2049.0f, 2051.0f};
  random_floats(x, n);
  random_floats(z, n);
  for (size_t i = 0; i < n && i < sizeof special / sizeof *special; i++)
    x[i] = special[i];
  kernels->to_f16(x, n, y);
  CHECK(guarded_whole(y, n * 2));
  for (size_t i = 0; i < n; i++)
    CHECK_INT(y[i], em_f32_to_f16(x[i]));
  random_floats(x, n);
  float *old = malloc(n * 4);
  memcpy(old, x, n * 4);
  kernels->merge(x, 0.75f, z, 0.3f, n);
  CHECK(guarded_whole(x, n * 4));
  for (size_t i = 0; i < n; i++)
    CHECK(fabs((double)x[i] - ((double)old[i] * 0.75 + (double)z[i] * (double)0.3f)) < 2e-7);
  guarded_free(x);
  guarded_free(y);
  guarded_free(z);
  free(old);
}

int main(void) {
  em_cpu_kernels scalar;
  em_kernels_get(EM_ISA_SCALAR, &scalar);
  for (double x = -86.9; x <= 0; x += 0.37)
    CHECK(fabs((double)em_expf((float)x) / exp((double)(float)x) - 1) < 3e-7);
  CHECK(em_expf(0) == 1.0f && em_expf(-INFINITY) == 0.0f && em_expf(-90) == 0.0f && isnan(em_expf(NAN)));
  for (int isa = 0; isa <= (int)em_cpu_best_isa(); isa++) {
    em_cpu_kernels kernels;
    em_kernels_get((em_cpu_isa)isa, &kernels);
    for (size_t n = 1; n <= 70; n++) {
      test_norm(&kernels, n);
      test_rope(&kernels, n, false);
      test_rope(&kernels, n, true);
      test_conversion(&kernels, n);
    }
    test_norm(&kernels, 5120);
    for (size_t n = 32; n <= 1056; n += 32)
      test_quantise(&kernels, &scalar, n);
    for (size_t n = 1; n <= 16; n++) {
      for (unsigned parts = 0; parts < 4; parts++) {
        test_finish(&kernels, n, 1, parts);
        test_finish(&kernels, n, 9, parts);
      }
    }
    if (check_failures)
      fprintf(stderr, "the above with %s\n", em_cpu_isa_name((em_cpu_isa)isa));
  }
  return check_done();
}
