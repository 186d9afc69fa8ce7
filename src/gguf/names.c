/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "gguf/header.h"

#include "base/clock.h"

#include <string.h>
#include <sys/random.h>

static inline uint64_t rotate(uint64_t x, int by) {
  return x << by | x >> (64 - by);
}

static inline void sip_round(uint64_t v[4]) {
  v[0] += v[1];
  v[1] = rotate(v[1], 13) ^ v[0];
  v[0] = rotate(v[0], 32);
  v[2] += v[3];
  v[3] = rotate(v[3], 16) ^ v[2];
  v[0] += v[3];
  v[3] = rotate(v[3], 21) ^ v[0];
  v[2] += v[1];
  v[1] = rotate(v[1], 17) ^ v[2];
  v[2] = rotate(v[2], 32);
}

/* SipHash with one round a word and three at the end (Aumasson and Bernstein, 2012). */
static uint64_t hash(const uint64_t key[2], const char *text, size_t bytes) {
  uint64_t v[4] = { key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
                    key[1] ^ 0x7465646279746573u };
  for (size_t i = 0;; i += 8) {
    size_t left = bytes - i;
    uint64_t word = 0;
    memcpy(&word, text + i, left < 8 ? left : 8);
    if (left < 8)
      word |= (uint64_t)bytes << 56;
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
    if (left < 8)
      break;
  }
  v[2] ^= 0xff;
  for (int i = 0; i < 3; i++)
    sip_round(v);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static const em_text *name_of(const em_names *names, size_t i) {
  return (const em_text *)(const void *)((const char *)names->records + i * names->stride);
}

/* The slot that holds the name, or the free one where it belongs. */
static uint32_t *find_slot(const em_names *names, const char *name, size_t bytes) {
  for (size_t i = (size_t)hash(names->key, name, bytes);; i++) {
    uint32_t *slot = &names->slots[i & names->mask];
    if (!*slot)
      return slot;
    const em_text *other = name_of(names, *slot - 1);
    if (other->bytes == bytes && memcmp(other->text, name, bytes) == 0)
      return slot;
  }
}

bool em_names_init(em_names *names, em_arena *arena, const void *records, size_t stride, size_t n) {
  size_t n_slots = 8;
  while (n_slots < n * 2)
    n_slots *= 2;
  names->records = records;
  names->stride = stride;
  names->mask = n_slots - 1;
  names->slots = em_arena_array(arena, n_slots, sizeof *names->slots);
  /* Early at boot there may be no randomness yet; the time is still not the file's to choose. */
  if (getrandom(names->key, sizeof names->key, GRND_NONBLOCK) != (ssize_t)sizeof names->key)
    names->key[0] = names->key[1] = em_now_ns();
  return names->slots;
}

bool em_names_add(em_names *names, size_t i) {
  const em_text *name = name_of(names, i);
  uint32_t *slot = find_slot(names, name->text, name->bytes);
  if (*slot)
    return false;
  *slot = (uint32_t)i + 1;
  return true;
}

const void *em_names_find(const em_names *names, const char *name, size_t bytes) {
  uint32_t i = *find_slot(names, name, bytes);
  return i ? name_of(names, i - 1) : NULL;
}
