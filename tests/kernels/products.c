/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Packing and products: every layout on every instruction set against float64, and equal bits for any number of rows. */
#include "common.h"

#include "backend/cpu/cpu.h"

#define MAX_COLS 40

/* Every type a matrix can have. */
static const em_type types[] = {
    EM_TYPE_F32,     EM_TYPE_F16,   EM_TYPE_BF16,  EM_TYPE_Q8_0,  EM_TYPE_Q4_0,  EM_TYPE_Q4_1,   EM_TYPE_Q5_0,
    EM_TYPE_Q5_1,    EM_TYPE_Q2_K,  EM_TYPE_Q3_K,  EM_TYPE_Q4_K,  EM_TYPE_Q5_K,  EM_TYPE_Q6_K,   EM_TYPE_IQ4_NL,
    EM_TYPE_IQ4_XS,  EM_TYPE_MXFP4, EM_TYPE_NVFP4, EM_TYPE_IQ3_S, EM_TYPE_IQ2_S, EM_TYPE_IQ2_XS, EM_TYPE_IQ2_XXS,
    EM_TYPE_IQ3_XXS, EM_TYPE_IQ1_S, EM_TYPE_IQ1_M, EM_TYPE_Q1_0,  EM_TYPE_Q2_0,  EM_TYPE_TQ1_0,  EM_TYPE_TQ2_0};

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
  em_pack_panel(type, n_in, rows, o->panel);
  CHECK(guarded_whole(o->panel, o->panel_bytes));
  /* Looked-up rows are the file's values. */
  for (unsigned r = 0; r < EM_PANEL; r++) {
    double worst = 0, most = 0;
    em_unpack_row(o->layout, o->panel, r, n_in, scratch);
    for (size_t k = 0; k < n_in; k++) {
      worst = fmax(worst, fabs((double)scratch[k] - (double)o->w[r * n_in + k]));
      most = fmax(most, fabs((double)o->w[r * n_in + k]));
    }
    CHECK(worst <= most * 1e-7);
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

/* The largest operands there are: no integer may overflow or saturate. Between them the bytes make every code of every
 * number of bits that a layout's largest and smallest number have. */
static void test_extremes(const em_cpu_kernels *kernels) {
  static const uint8_t bytes[] = {0x00, 0xFF, 0xAA, 0x77};
  for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
    for (size_t run = 0; run < 2 * sizeof bytes; run++) {
      operands o;
      make(&o, types[t], 512, EM_PANEL, kernels);
      bool quantised = em_layout_is_quantised(o.layout);
      size_t block_bytes = quantised ? em_block_bytes(o.layout) : 1;
      for (size_t at = 0; quantised && at < o.panel_bytes; at += block_bytes)
        memset(o.panel + at, bytes[run / 2], em_layout_infos[o.layout].n_groups * em_group_bytes(o.layout));
      for (unsigned r = 0; r < EM_PANEL; r++)
        em_unpack_row(o.layout, o.panel, r, o.n_in, o.w + r * o.n_in);
      for (size_t c = 0; c < MAX_COLS; c++) {
        for (size_t k = 0; k < o.n_in; k++)
          o.x[c * o.n_in + k] = run % 2 ? -1.0f : 1.0f;
        if (quantised)
          kernels->quantise(o.x + c * o.n_in, o.n_in, (em_q8_block *)(void *)(o.rows + c * o.x_stride));
        else
          memcpy(o.rows + c * o.x_stride, o.x + c * o.n_in, o.x_stride);
      }
      test_operands(&o, kernels);
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
      size_t lengths[] = {block, 2 * block, 3 * block, 768, 1280, block <= 64 ? 2880 : 2560};
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
