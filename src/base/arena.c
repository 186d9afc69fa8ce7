/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/arena.h"

#include "base/checked.h"

#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_REDZONE 16u
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_REDZONE 16u
#endif
#endif
#ifdef ARENA_REDZONE
#include <sanitizer/asan_interface.h>
#else
#define ARENA_REDZONE 0u
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)0)
#endif

#define ARENA_ALIGNMENT 16u
#define ARENA_FIRST_BLOCK 4096u
#define ARENA_LARGEST_BLOCK (256u << 10)

typedef struct arena_block arena_block;
struct arena_block {
  arena_block *next;
  size_t bytes; /* of data */
  size_t used;
  size_t reserved; /* pads the header to ARENA_ALIGNMENT */
  unsigned char data[];
};

_Static_assert(sizeof(arena_block) % ARENA_ALIGNMENT == 0, "block data must be aligned");

struct em_arena {
  arena_block *blocks; /* the first one is the one being filled */
  size_t next_block_bytes;
  size_t used_bytes;
  size_t max_bytes;
};

em_arena *em_arena_new(size_t max_bytes) {
  em_arena *arena = em_calloc(1, sizeof *arena);
  if (arena) {
    arena->max_bytes = max_bytes;
    arena->next_block_bytes = ARENA_FIRST_BLOCK;
  }
  return arena;
}

void em_arena_free(em_arena *arena) {
  if (!arena)
    return;
  for (arena_block *block = arena->blocks, *next; block; block = next) {
    next = block->next;
    ASAN_UNPOISON_MEMORY_REGION(block->data, block->bytes);
    free(block);
  }
  free(arena);
}

static arena_block *add_block(em_arena *arena, size_t bytes) {
  bool large = bytes > arena->next_block_bytes / 4;
  size_t data_bytes = large ? bytes : arena->next_block_bytes, total;
  if (!em_add_size(sizeof(arena_block), data_bytes, &total))
    return NULL;
  /* calloc hands out large zeroed blocks without touching them. */
  arena_block *block = em_calloc(1, total);
  if (!block)
    return NULL;
  block->bytes = data_bytes;
  ASAN_POISON_MEMORY_REGION(block->data, block->bytes);
  if (large && arena->blocks) {
    /* A block of its own goes behind the current one, whose rest stays in use. */
    block->next = arena->blocks->next;
    arena->blocks->next = block;
  } else {
    block->next = arena->blocks;
    arena->blocks = block;
  }
  if (!large && arena->next_block_bytes < ARENA_LARGEST_BLOCK)
    arena->next_block_bytes *= 2;
  return block;
}

void *em_arena_alloc(em_arena *arena, size_t bytes) {
  size_t need, used, rounded;
  if (!em_add_size(bytes, ARENA_REDZONE + ARENA_ALIGNMENT - 1, &rounded))
    return NULL;
  need = rounded & ~(size_t)(ARENA_ALIGNMENT - 1);
  if (!need)
    need = ARENA_ALIGNMENT;
  if (!em_add_size(arena->used_bytes, bytes, &used) || (arena->max_bytes && used > arena->max_bytes))
    return NULL;
  arena_block *block = arena->blocks;
  if (!block || block->bytes - block->used < need) {
    block = add_block(arena, need);
    if (!block)
      return NULL;
  }
  void *data = block->data + block->used;
  block->used += need;
  arena->used_bytes = used;
  ASAN_UNPOISON_MEMORY_REGION(data, bytes);
  return data;
}

void *em_arena_array(em_arena *arena, size_t n, size_t bytes) {
  size_t total;
  return em_mul_size(n, bytes, &total) ? em_arena_alloc(arena, total) : NULL;
}

char *em_arena_text(em_arena *arena, const char *text, size_t bytes) {
  size_t with_nul;
  if (!em_add_size(bytes, 1, &with_nul))
    return NULL;
  char *copy = em_arena_alloc(arena, with_nul);
  if (copy && bytes)
    memcpy(copy, text, bytes);
  return copy;
}

size_t em_arena_used_bytes(const em_arena *arena) {
  return arena->used_bytes;
}
