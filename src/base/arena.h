/* A growing arena: many small allocations, freed at once. One arena belongs to one lifetime (a file, a template, a request).
 * Not thread-safe. Under AddressSanitizer each allocation is followed by a poisoned redzone. */
#pragma once

#include "base/status.h"

typedef struct em_arena em_arena;

/* Makes an arena that refuses to grow past max_bytes in total (0: no limit). NULL when memory is out. */
em_arena *em_arena_new(size_t max_bytes);
void em_arena_free(em_arena *arena); /* NULL is legal */

/* Zeroed memory aligned to 16 bytes that lives as long as the arena, or NULL (memory out, or the limit reached).
 * bytes = 0 gives a valid pointer. */
void *em_arena_alloc(em_arena *arena, size_t bytes);

/* n elements of `bytes` each, overflow checked. */
void *em_arena_array(em_arena *arena, size_t n, size_t bytes);

/* A NUL-terminated copy of text[0..bytes). */
char *em_arena_text(em_arena *arena, const char *text, size_t bytes);

/* Bytes handed out so far. */
size_t em_arena_used_bytes(const em_arena *arena);
