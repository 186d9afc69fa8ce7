/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/tokenizer/merge.h"

#include "base/checked.h"

#include <stdlib.h>

void em_merger_clear(em_merger *merger) {
  free(merger->symbols);
  free(merger->heap);
  *merger = (em_merger){0};
}

void em_merger_start(em_merger *merger) {
  merger->n = 0;
  merger->n_heap = 0;
}

bool em_merger_add(em_merger *merger, size_t start, size_t bytes, int32_t id) {
  if (merger->n == merger->capacity) {
    size_t capacity = merger->capacity ? merger->capacity * 2 : 64;
    em_symbol *symbols = em_realloc_array(merger->symbols, capacity, sizeof *symbols);
    if (!symbols)
      return false;
    merger->symbols = symbols;
    merger->capacity = capacity;
  }
  merger->symbols[merger->n++] = (em_symbol){.start = start, .bytes = (uint32_t)bytes, .id = id};
  return true;
}

static bool push(em_merger *merger, uint64_t key) {
  if (merger->n_heap == merger->heap_capacity) {
    size_t capacity = merger->heap_capacity ? merger->heap_capacity * 2 : 64;
    uint64_t *heap = em_realloc_array(merger->heap, capacity, sizeof *heap);
    if (!heap)
      return false;
    merger->heap = heap;
    merger->heap_capacity = capacity;
  }
  uint64_t *heap = merger->heap;
  size_t i = merger->n_heap++;
  while (i > 0 && heap[(i - 1) / 2] > key) {
    heap[i] = heap[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  heap[i] = key;
  return true;
}

static uint64_t pop(em_merger *merger) {
  uint64_t *heap = merger->heap, top = heap[0], last = heap[--merger->n_heap];
  size_t n = merger->n_heap, i = 0;
  for (size_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && heap[child + 1] < heap[child])
      child++;
    if (heap[child] >= last)
      break;
    heap[i] = heap[child];
  }
  heap[i] = last;
  return top;
}

/* Looks at symbol i and its next, and makes them a candidate where they merge. */
static bool consider(em_merger *merger, size_t i, em_pair_fn pair, const void *user) {
  em_symbol *left = &merger->symbols[i];
  left->pair_rank = EM_NO_RANK;
  if (left->next == merger->n)
    return true;
  left->pair_rank = pair(user, left, &merger->symbols[left->next], &left->pair_id);
  return left->pair_rank == EM_NO_RANK || push(merger, (uint64_t)left->pair_rank << 32 | i);
}

bool em_merger_run(em_merger *merger, em_pair_fn pair, const void *user) {
  em_symbol *symbols = merger->symbols;
  for (size_t i = 0; i < merger->n; i++) {
    symbols[i].next = (uint32_t)(i + 1);
    symbols[i].previous = (uint32_t)(i - 1);
    if (!consider(merger, i, pair, user))
      return false;
  }
  while (merger->n_heap > 0) {
    uint64_t key = pop(merger);
    merger->n_steps++;
    size_t i = (uint32_t)key;
    em_symbol *left = &symbols[i];
    /* A candidate is out of date when its left symbol is gone or pairs differently by now. */
    if (left->bytes == 0 || left->pair_rank != (uint32_t)(key >> 32))
      continue;
    em_symbol *right = &symbols[left->next];
    left->bytes += right->bytes;
    left->id = left->pair_id;
    right->bytes = 0;
    left->next = right->next;
    if (left->next < merger->n)
      symbols[left->next].previous = (uint32_t)i;
    if (i > 0 && !consider(merger, left->previous, pair, user))
      return false;
    if (!consider(merger, i, pair, user))
      return false;
  }
  return true;
}
