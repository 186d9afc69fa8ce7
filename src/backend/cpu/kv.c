/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The KV cache in memory: sizes, storing a position, copying pages. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/checked.h"

#define BLOCK 16u /* positions of a K block */

static int kind_of(em_type type) {
  return type == EM_TYPE_F32 ? EM_KV_F32 : type == EM_TYPE_F16 ? EM_KV_F16 : EM_KV_Q8;
}

uint64_t em_cpu_kv_head_bytes_k(int kind, uint32_t k_dim) {
  uint64_t position = kind == EM_KV_F32 ? 4ull * k_dim : kind == EM_KV_F16 ? 2ull * k_dim : k_dim / 32ull * 34;
  return position * EM_KV_PAGE_TOKENS;
}

/* Bytes of one position's V of one head. */
static uint64_t v_bytes(int kind, uint32_t v_dim) {
  uint64_t padded = (v_dim + 15ull) / 16 * 16;
  return kind == EM_KV_F32 ? 4 * padded : kind == EM_KV_F16 ? 2 * padded : v_dim / 32ull * 34;
}

uint64_t em_cpu_kv_head_bytes_v(int kind, uint32_t v_dim) {
  return v_bytes(kind, v_dim) * EM_KV_PAGE_TOKENS;
}

/* Bytes of K or V of one layer; checked, because pages and heads are the caller's wish. */
static bool layer_bytes(uint64_t head_bytes, uint32_t n_heads, uint32_t n_pages, uint64_t *out) {
  return em_mul_u64(head_bytes, n_heads, out) && em_mul_u64(*out, n_pages, out);
}

/* Floats of one place for states, in whole cache lines; at (or NULL): where each layer's part begins. Layers' parts are below
 * 2^31, so that no sum of theirs overflows. */
static uint64_t state_floats(const em_kv_desc *desc, uint64_t *at) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < desc->n_state_layers; i++) {
    const em_state_layer *layer = &desc->state_layers[i];
    if (at)
      at[i] = sum;
    sum += em_cpu_state_conv_floats(layer) + (layer->n_inner + 15ull) / 16 * 16;
  }
  return sum;
}

em_status em_cpu_kv_bytes(const em_backend *backend, const em_kv_desc *desc, uint64_t *out, em_error *error) {
  uint64_t sum = 0, states;
  int kind = kind_of(desc->type);
  for (uint32_t i = 0; i < desc->n_layers; i++) {
    const em_kv_layer *layer = &desc->layers[i];
    uint64_t k, v;
    if (!layer_bytes(em_cpu_kv_head_bytes_k(kind, layer->k_dim), layer->n_heads, desc->n_pages, &k) ||
        !layer_bytes(layer->v_in_k ? 0 : em_cpu_kv_head_bytes_v(kind, layer->v_dim), layer->n_heads, desc->n_pages, &v) ||
        !em_add_u64(sum, k, &sum) || !em_add_u64(sum, v, &sum))
      return em_fail(error, EM_ERR_TOO_BIG, "the KV cache is too big");
  }
  if (!em_mul_u64(state_floats(desc, NULL) * sizeof(float), desc->n_states, &states) || !em_add_u64(sum, states, &sum))
    return em_fail(error, EM_ERR_TOO_BIG, "the states of the recurrent layers are too big");
  *out = sum;
  return EM_OK;
}

em_status em_cpu_kv_new(em_backend *backend, const em_kv_desc *desc, em_kv **out, em_error *error) {
  uint64_t bytes;
  em_status status = em_cpu_kv_bytes(backend, desc, &bytes, error);
  if (status != EM_OK)
    return status;
  em_cpu_kv *kv = em_calloc(1, sizeof *kv);
  em_cpu_kv_layer *layers = em_calloc(desc->n_layers + 1, sizeof *layers);
  uint64_t *state_at = em_calloc(desc->n_state_layers + 1ull, sizeof *state_at);
  uint8_t *data = em_cpu_alloc(bytes);
  if (!kv || !layers || !state_at || !data) {
    free(kv);
    free(layers);
    free(state_at);
    free(data);
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for a KV cache of %llu MiB", (unsigned long long)bytes >> 20);
  }
  kv->kind = kind_of(desc->type);
  kv->data = data;
  kv->layers = layers;
  kv->state_at = state_at;
  kv->state_floats = state_floats(desc, state_at);
  kv->states = (float *)(void *)data;
  data += kv->state_floats * sizeof(float) * desc->n_states;
  for (uint32_t i = 0; i < desc->n_layers; i++) {
    const em_kv_layer *layer = &desc->layers[i];
    layers[i].k_head_bytes = em_cpu_kv_head_bytes_k(kv->kind, layer->k_dim);
    layers[i].v_head_bytes = em_cpu_kv_head_bytes_v(kv->kind, layer->v_dim);
    layers[i].k = data;
    data += layers[i].k_head_bytes * layer->n_heads * desc->n_pages;
    if (layer->v_in_k) {
      layers[i].v = layers[i].k;
      layers[i].v_head_bytes = layers[i].k_head_bytes;
      continue;
    }
    layers[i].v = data;
    data += layers[i].v_head_bytes * layer->n_heads * desc->n_pages;
  }
  *out = &kv->common;
  return EM_OK;
}

void em_cpu_kv_free(em_kv *base) {
  em_cpu_kv *kv = (em_cpu_kv *)base;
  free(kv->data);
  free(kv->layers);
  free(kv->state_at);
  free(kv);
}

/* Copies the positions of one K block of one head that are below n. */
static void copy_k_part(int kind, const uint8_t *from, uint8_t *to, uint32_t k_dim, uint32_t n) {
  size_t size = kind == EM_KV_F32 ? 4 : 2;
  if (kind != EM_KV_Q8) {
    for (uint32_t d = 0; d < k_dim; d++)
      memcpy(to + d * BLOCK * size, from + d * BLOCK * size, n * size);
    return;
  }
  for (uint32_t g = 0; g < k_dim / 32; g++, from += 544, to += 544) {
    for (uint32_t d = 0; d < 32; d++)
      memcpy(to + d * BLOCK, from + d * BLOCK, n);
    memcpy(to + 512, from + 512, n * 2);
  }
}

em_status em_cpu_kv_copy(em_kv *base, uint32_t from, uint32_t to, uint32_t n_tokens, em_error *error) {
  em_cpu_kv *kv = (em_cpu_kv *)base;
  for (uint32_t i = 0; i < base->n_layers; i++) {
    const em_kv_layer *layer = &base->layers[i];
    size_t block_bytes = kv->layers[i].k_head_bytes / (EM_KV_PAGE_TOKENS / BLOCK);
    for (uint32_t h = 0; h < layer->n_heads; h++) {
      const uint8_t *k_from = em_cpu_kv_k(kv, i, from, h), *v_from = em_cpu_kv_v(kv, i, from, h);
      uint8_t *k_to = em_cpu_kv_k(kv, i, to, h), *v_to = em_cpu_kv_v(kv, i, to, h);
      size_t whole = n_tokens / BLOCK * block_bytes;
      memcpy(k_to, k_from, whole);
      if (n_tokens % BLOCK)
        copy_k_part(kv->kind, k_from + whole, k_to + whole, layer->k_dim, n_tokens % BLOCK);
      if (!layer->v_in_k)
        memcpy(v_to, v_from, v_bytes(kv->kind, layer->v_dim) * n_tokens);
    }
  }
  return EM_OK;
}

em_status em_cpu_kv_copy_state(em_kv *base, uint32_t from, uint32_t to, em_error *error) {
  em_cpu_kv *kv = (em_cpu_kv *)base;
  memcpy(kv->states + to * kv->state_floats, kv->states + from * kv->state_floats, kv->state_floats * sizeof(float));
  return EM_OK;
}

/* Quantises 32 values; the scale is rounded to f16 first and the values are divided by what is stored. */
static uint16_t quantise(const float *x, int8_t q[32]) {
  float max = 0;
  for (unsigned i = 0; i < 32; i++)
    max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
  uint16_t d = em_f32_to_f16(fminf(max / 127.0f, 65504.0f));
  float scale = em_f16_to_f32(d), inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for (unsigned i = 0; i < 32; i++)
    q[i] = (int8_t)fmaxf(fminf(rintf(x[i] * inverse), 127.0f), -127.0f);
  return d;
}

static void store_u16(uint8_t *p, uint16_t value) {
  memcpy(p, &value, sizeof value);
}

void em_cpu_kv_store_k(const em_cpu_kernels *kernels, int kind, uint8_t *head, uint32_t k_dim, uint32_t position,
                       const float *k) {
  uint8_t *block = head + position / BLOCK * (em_cpu_kv_head_bytes_k(kind, k_dim) / (EM_KV_PAGE_TOKENS / BLOCK));
  uint32_t lane = position % BLOCK;
  if (kind == EM_KV_F32) {
    for (uint32_t d = 0; d < k_dim; d++)
      memcpy(block + (d * BLOCK + lane) * 4, &k[d], 4);
  } else if (kind == EM_KV_F16) {
    uint16_t part[64];
    for (uint32_t from = 0; from < k_dim; from += 64) {
      uint32_t n = k_dim - from < 64 ? k_dim - from : 64;
      kernels->to_f16(k + from, n, part);
      for (uint32_t d = 0; d < n; d++)
        store_u16(block + ((from + d) * BLOCK + lane) * 2, part[d]);
    }
  } else {
    for (uint32_t g = 0; g < k_dim / 32; g++, block += 544) {
      int8_t q[32];
      store_u16(block + 512 + 2 * lane, quantise(k + 32 * g, q));
      for (uint32_t d = 0; d < 32; d++)
        block[d * BLOCK + lane] = (uint8_t)q[d];
    }
  }
}

void em_cpu_kv_store_v(const em_cpu_kernels *kernels, int kind, uint8_t *head, uint32_t v_dim, uint32_t position,
                       const float *v) {
  size_t bytes = v_bytes(kind, v_dim);
  uint8_t *at = head + position * bytes;
  if (kind == EM_KV_F32) {
    memcpy(at, v, v_dim * 4ull);
    memset(at + v_dim * 4ull, 0, bytes - v_dim * 4ull);
  } else if (kind == EM_KV_F16) {
    kernels->to_f16(v, v_dim, (uint16_t *)(void *)at);
    memset(at + v_dim * 2ull, 0, bytes - v_dim * 2ull);
  } else {
    for (uint32_t g = 0; g < v_dim / 32; g++) {
      int8_t q[32];
      store_u16(at + v_dim + 2 * g, quantise(v + 32 * g, q));
      memcpy(at + 32 * g, q, 32);
    }
  }
}
