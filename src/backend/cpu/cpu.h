/* The processor backend's own structures. Included only inside this folder and by its tests. */
#pragma once

#include "backend/cpu/kernels.h"
#include "backend/impl.h"
#include "base/threads.h"

typedef struct em_cpu_slab em_cpu_slab;

typedef struct em_cpu {
  em_backend common;
  em_pool *pool;
  unsigned n_threads;
  em_cpu_isa isa;
  em_cpu_kernels kernels;
  em_cpu_slab *slab; /* where the next weights go; NULL: none yet */
} em_cpu;

typedef struct em_cpu_weights {
  em_weights common;
  em_layout layout;      /* of a matrix or table */
  uint64_t panel_bytes;
  uint64_t n_panels;     /* of one matrix */
  uint8_t *data;         /* panels, those of a stack's matrices one behind the other, or float32 [n_in] of a vector; 64-byte aligned */
  em_cpu_slab *slab;     /* that holds data */
} em_cpu_weights;

typedef struct em_cpu_kv_layer {
  uint8_t *k, *v;                   /* [page][head] */
  uint64_t k_head_bytes, v_head_bytes; /* one head of one page */
} em_cpu_kv_layer;

typedef struct em_cpu_kv {
  em_kv common;
  int kind; /* EM_KV_... */
  uint8_t *data;
  em_cpu_kv_layer *layers;
  float *states;         /* [n_states][state_floats]: of each recurrent layer its convolution's part, then its matrices */
  uint64_t state_floats; /* of a place */
  uint64_t *state_at;    /* [n_state_layers]: where a layer's part begins in a place */
} em_cpu_kv;

/* Memory aligned to 64 bytes (huge pages where the system gives them and it is worth it), contents undefined; free(). NULL
 * when memory is out or the size does not fit the address space. */
void *em_cpu_alloc(uint64_t bytes);

/* The same for weights: they stand side by side on shared huge pages, because most matrices are smaller than such a page and a
 * step reads them all. *out is the slab to give back; it goes when nothing in it is used any more. */
void *em_cpu_slab_take(em_cpu *cpu, uint64_t bytes, em_cpu_slab **out);
void em_cpu_slab_release(em_cpu *cpu, em_cpu_slab *slab); /* NULL is legal */

em_status em_cpu_weights_bytes(const em_backend *backend, const em_weights_desc *desc, uint64_t *out, em_error *error);
em_status em_cpu_weights_new(em_backend *backend, const em_weights_desc *desc, em_read_fn read, void *user,
                             em_weights **out, em_error *error);
void em_cpu_weights_free(em_weights *weights);

em_status em_cpu_kv_bytes(const em_backend *backend, const em_kv_desc *desc, uint64_t *out, em_error *error);
em_status em_cpu_kv_new(em_backend *backend, const em_kv_desc *desc, em_kv **out, em_error *error);
void em_cpu_kv_free(em_kv *kv);
em_status em_cpu_kv_copy(em_kv *kv, uint32_t from, uint32_t to, uint32_t n_tokens, em_error *error);

em_status em_cpu_kv_copy_state(em_kv *kv, uint32_t from, uint32_t to, em_error *error);

/* Bytes of one head of one page, and of one position in all heads. */
uint64_t em_cpu_kv_head_bytes_k(int kind, uint32_t k_dim);
uint64_t em_cpu_kv_head_bytes_v(int kind, uint32_t v_dim);

/* Stores one position (of its page) of one head. */
void em_cpu_kv_store_k(const em_cpu_kernels *kernels, int kind, uint8_t *head, uint32_t k_dim, uint32_t position,
                       const float *k);
void em_cpu_kv_store_v(const em_cpu_kernels *kernels, int kind, uint8_t *head, uint32_t v_dim, uint32_t position,
                       const float *v);

static inline uint8_t *em_cpu_kv_k(const em_cpu_kv *kv, uint32_t layer, uint32_t page, uint32_t head) {
  const em_cpu_kv_layer *l = &kv->layers[layer];
  return l->k + ((uint64_t)page * kv->common.layers[layer].n_heads + head) * l->k_head_bytes;
}

static inline uint8_t *em_cpu_kv_v(const em_cpu_kv *kv, uint32_t layer, uint32_t page, uint32_t head) {
  const em_cpu_kv_layer *l = &kv->layers[layer];
  return l->v + ((uint64_t)page * kv->common.layers[layer].n_heads + head) * l->v_head_bytes;
}

/* Floats of a layer's convolution in a place for states, in whole cache lines; its matrices stand behind them. */
static inline uint64_t em_cpu_state_conv_floats(const em_state_layer *layer) {
  return (layer->n_conv + 15ull) / 16 * 16;
}

em_status em_cpu_program_bytes(const em_backend *backend, const em_program_desc *desc, uint64_t *out, em_error *error);
em_status em_cpu_program_new(em_backend *backend, const em_program *common, em_program **out, em_error *error);
void em_cpu_program_free(em_program *program);
em_status em_cpu_run(em_program *program, const em_step *step, em_error *error);
const float *em_cpu_result(const em_program *program, uint32_t row);
