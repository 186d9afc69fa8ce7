/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Packing and products: every layout on every instruction set against float64, and equal bits for any number of rows. */
#include "common.h"

#include "backend/cpu/cpu.h"

#define MAX_COLS 40

/* Q5_0 stands for the types that are stored as another one. */
static const em_type types[] = {EM_TYPE_F32,  EM_TYPE_F16,  EM_TYPE_BF16, EM_TYPE_Q8_0, EM_TYPE_Q4_0,
                                EM_TYPE_Q4_K, EM_TYPE_Q5_K, EM_TYPE_Q6_K, EM_TYPE_Q5_0};

typedef struct operands {
  em_type type;
  em_layout layout;
  size_t n_in, n_rows, panel_bytes;
  float *w;       /* [16][n_in] decoded, zeros past n_rows */
  uint8_t *panel; /* guarded */
  float *x;       /* [MAX_COLS][n_in] as the kernels see them: quantised and back for the quantised layouts */
  uint8_t *rows;  /* as the kernels take them, guarded */
  size_t x_stride;
} operands;

static void make(operands *o, em_type type, size_t n_in, size_t n_rows, const em_cpu_kernels *kernels) {
  const em_type_info *info = em_type_get(type);
  size_t row_bytes = n_in / info->block_len * info->block_bytes;
  uint8_t *file = malloc(row_bytes * EM_PANEL);
  float *scratch = malloc(n_in * sizeof *scratch);
  const uint8_t *rows[EM_PANEL] = {NULL};
  *o = (operands){.type = type, .n_in = n_in, .n_rows = n_rows};
  CHECK(em_layout_of_type(type, &o->layout));
  o->panel_bytes = em_panel_bytes(o->layout, n_in);
  o->panel = guarded_new(o->panel_bytes, 0xFF);
  o->w = calloc(EM_PANEL * n_in, sizeof *o->w);
  o->x = malloc(MAX_COLS * n_in * sizeof *o->x);
  random_blocks(type, file, n_in * n_rows);
  for (size_t r = 0; r < n_rows; r++) {
    rows[r] = file + r * row_bytes;
    info->decode(rows[r], o->w + r * n_in, n_in / info->block_len);
  }
  em_pack_panel(type, n_in, rows, o->panel, scratch);
  CHECK(guarded_whole(o->panel, o->panel_bytes));
  /* Looked-up rows are the file's values, or near them where the type is stored as another one. */
  for (unsigned r = 0; r < EM_PANEL; r++) {
    double worst = 0, most = 0;
    em_unpack_row(o->layout, o->panel, r, n_in, scratch);
    for (size_t k = 0; k < n_in; k++) {
      worst = fmax(worst, fabs((double)scratch[k] - (double)o->w[r * n_in + k]));
      most = fmax(most, fabs((double)o->w[r * n_in + k]));
    }
    CHECK(worst <= most * (type == EM_TYPE_Q5_0 ? 1.0 / 253 : 1e-7));
    if (type == EM_TYPE_Q5_0)
      memcpy(o->w + r * n_in, scratch, n_in * sizeof *scratch);
  }
  random_floats(o->x, MAX_COLS * n_in);
  bool quantised = em_layout_is_quantised(o->layout);
  o->x_stride = quantised ? em_q8_row_bytes(n_in) : n_in * sizeof(float);
  o->rows = guarded_new(MAX_COLS * o->x_stride, 0xFF);
  for (size_t c = 0; c < MAX_COLS; c++) {
    if (!quantised) {
      memcpy(o->rows + c * o->x_stride, o->x + c * n_in, o->x_stride);
      continue;
    }
    em_q8_block *blocks = (em_q8_block *)(void *)(o->rows + c * o->x_stride);
    kernels->quantise(o->x + c * n_in, n_in, blocks);
    for (size_t k = 0; k < n_in; k++)
      o->x[c * n_in + k] = blocks[k / EM_GROUP].d * (float)blocks[k / EM_GROUP].q[k % EM_GROUP];
  }
  CHECK(guarded_whole(o->rows, MAX_COLS * o->x_stride));
  free(file);
  free(scratch);
}

static void clear(operands *o) {
  guarded_free(o->panel);
  guarded_free(o->rows);
  free(o->w);
  free(o->x);
}

static int near_reference(const operands *o, size_t c, const float *y) {
  for (size_t r = 0; r < EM_PANEL; r++) {
    double sum = 0, size = 0;
    for (size_t k = 0; k < o->n_in; k++) {
      double product = (double)o->w[r * o->n_in + k] * (double)o->x[c * o->n_in + k];
      sum += product;
      size += fabs(product);
    }
    /* Minima are added apart from the rest, so that their size counts too. */
    if (!(fabs(sum - (double)y[r]) <= tolerances.product * (4 * size + 1e-30)))
      return 0;
  }
  return 1;
}

/* All columns one by one are the reference for every other way of computing them. */
static void test_operands(operands *o, const em_cpu_kernels *kernels) {
  static float single[MAX_COLS][EM_PANEL];
  for (size_t c = 0; c < MAX_COLS; c++) {
    float *y = guarded_new(EM_PANEL * sizeof *y, 0xFF);
    kernels->dot[o->layout](o->panel, o->n_in, o->rows + c * o->x_stride, o->x_stride, 1, y);
    CHECK(guarded_whole(y, EM_PANEL * sizeof *y));
    CHECK(near_reference(o, c, y));
    memcpy(single[c], y, sizeof single[c]);
    guarded_free(y);
  }
  for (size_t n = 1; n <= MAX_COLS; n += n < 16 ? 1 : 8) {
    size_t bytes = n * EM_PANEL * sizeof(float);
    float *y = guarded_new(bytes, 0xFF);
    kernels->dot[o->layout](o->panel, o->n_in, o->rows, o->x_stride, n, y);
    CHECK(guarded_whole(y, bytes));
    CHECK(memcmp(y, single, bytes) == 0);
    guarded_free(y);
    if (!kernels->mul[o->layout])
      continue;
    /* Twice the same panel, unpacked in one piece and in two. */
    size_t block = em_type_get(o->type)->block_len < EM_GROUP ? EM_GROUP : em_type_get(o->type)->block_len;
    size_t unpacked_bytes = o->n_in / EM_GROUP * EM_UNPACKED_GROUP_BYTES, half = o->n_in / block / 2 * block;
    uint8_t *unpacked = guarded_new(unpacked_bytes, 0xFF);
    float *tile = guarded_new(2 * bytes, 0xFF);
    for (int parts = 1; parts <= 2; parts++) {
      size_t from = 0, to = parts == 1 ? o->n_in : half;
      for (int part = 0; part < parts; part++, from = to, to = o->n_in) {
        if (from == to)
          continue;
        kernels->unpack[o->layout](o->panel, from, to - from, unpacked);
        kernels->mul[o->layout](unpacked, unpacked, to - from, o->rows + em_q8_row_bytes(from), o->x_stride, n, from > 0,
                                tile);
      }
      CHECK(guarded_whole(unpacked, unpacked_bytes));
      CHECK(guarded_whole(tile, 2 * bytes));
      for (size_t c = 0; c < n; c++) {
        CHECK(memcmp(tile + c * 32, single[c], sizeof single[c]) == 0);
        CHECK(memcmp(tile + c * 32 + 16, single[c], sizeof single[c]) == 0);
      }
    }
    guarded_free(unpacked);
    guarded_free(tile);
  }
}

/* The largest operands there are: no integer may overflow or saturate. */
static void test_extremes(const em_cpu_kernels *kernels) {
  for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
    for (int sign = -1; sign <= 1; sign += 2) {
      operands o;
      make(&o, types[t], 512, EM_PANEL, kernels);
      const em_type_info *info = em_type_get(types[t]);
      float *values = malloc(EM_PANEL * o.n_in * sizeof *values), *scratch = malloc(o.n_in * sizeof *scratch);
      uint8_t *file = malloc(EM_PANEL * o.n_in / info->block_len * info->block_bytes);
      const uint8_t *rows[EM_PANEL];
      for (size_t i = 0; i < EM_PANEL * o.n_in; i++)
        values[i] = i / o.n_in % 2 ? -1.0f : 1.0f;
      if (info->encode)
        info->encode(values, file, EM_PANEL * o.n_in / info->block_len);
      else
        random_blocks(types[t], file, EM_PANEL * o.n_in);
      for (size_t r = 0; r < EM_PANEL; r++) {
        rows[r] = file + r * o.n_in / info->block_len * info->block_bytes;
        if (types[t] == EM_TYPE_Q8_0 && r == 2) {
          /* -128 is legal in a file. */
          for (size_t b = 0; b < o.n_in / 32; b++)
            memset(file + r * o.n_in / 32 * 34 + b * 34 + 2, 0x80, 32);
        }
      }
      em_pack_panel(types[t], o.n_in, rows, o.panel, scratch);
      for (unsigned r = 0; r < EM_PANEL; r++)
        em_unpack_row(o.layout, o.panel, r, o.n_in, o.w + r * o.n_in);
      for (size_t c = 0; c < MAX_COLS; c++) {
        for (size_t k = 0; k < o.n_in; k++)
          o.x[c * o.n_in + k] = (float)sign;
        if (em_layout_is_quantised(o.layout))
          kernels->quantise(o.x + c * o.n_in, o.n_in, (em_q8_block *)(void *)(o.rows + c * o.x_stride));
        else
          memcpy(o.rows + c * o.x_stride, o.x + c * o.n_in, o.x_stride);
      }
      test_operands(&o, kernels);
      free(values);
      free(scratch);
      free(file);
      clear(&o);
    }
  }
}

int main(void) {
  for (int isa = 0; isa <= (int)em_cpu_best_isa(); isa++) {
    em_cpu_kernels kernels;
    em_kernels_get((em_cpu_isa)isa, &kernels);
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
      size_t block = em_type_get(types[t])->block_len;
      size_t lengths[] = {block, 2 * block, 3 * block, 768, 1280};
      for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        operands o;
        make(&o, types[t], lengths[l], l == 0 ? EM_PANEL : 1 + random_bits() % EM_PANEL, &kernels);
        test_operands(&o, &kernels);
        clear(&o);
      }
    }
    test_extremes(&kernels);
    if (check_failures)
      fprintf(stderr, "the above with %s\n", em_cpu_isa_name((em_cpu_isa)isa));
  }
  return check_done();
}
