/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What stands in a page is known by its tokens and by the page before it. Pages are numbered anew each time they are
 * filled (serial), so that a link to a predecessor can never lead to a page that has been used again for something
 * else. */
#include "engine/kv.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

typedef struct page {
  uint64_t serial;       /* 0: empty and free */
  uint64_t parent;       /* the serial of the page before it; 0: the first */
  uint64_t used;         /* when it was last given up; larger is later */
  uint32_t refs;         /* sequences that use it */
  uint32_t n_tokens;     /* computed */
  uint64_t state_serial; /* the page's states are kept at places[place] as long as that has the same */
  uint32_t place;
  int32_t tokens[EM_KV_PAGE_TOKENS];
} page;

/* Where states are kept. */
typedef struct place {
  uint64_t serial; /* of these states; 0: none are here */
  uint64_t used;   /* as a page's */
} place;

struct em_pages {
  em_kv *caches[EM_PAGES_MAX_CACHES];
  uint32_t n_caches, n_pages;
  uint64_t last_serial, clock;
  place *places; /* [n_states] of as many as there are pages */
  uint32_t first_state, n_states;
  page pages[];
};

#define NO_PAGE UINT32_MAX

uint64_t em_pages_bytes(uint32_t n_pages) {
  return sizeof(em_pages) + (uint64_t)n_pages * (sizeof(page) + sizeof(place));
}

em_status em_pages_new(uint32_t n_pages, em_pages **out, em_error *error) {
  size_t bytes;
  em_pages *pages = em_to_size(em_pages_bytes(n_pages), &bytes) ? em_calloc(1, bytes) : NULL;
  if (!pages)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  pages->places = (place *)(void *)&pages->pages[n_pages];
  pages->n_pages = n_pages;
  *out = pages;
  return EM_OK;
}

void em_pages_free(em_pages *pages) {
  free(pages);
}

/* An empty page, or the one given up longest ago. */
static uint32_t take(em_pages *pages, uint64_t parent) {
  uint32_t best = NO_PAGE;
  for (uint32_t i = 0; i < pages->n_pages; i++) {
    const page *p = &pages->pages[i];
    if (p->refs > 0)
      continue;
    if (p->serial == 0) {
      best = i;
      break;
    }
    if (best == NO_PAGE || p->used < pages->pages[best].used)
      best = i;
  }
  if (best == NO_PAGE)
    return NO_PAGE;
  page *p = &pages->pages[best];
  p->serial = ++pages->last_serial;
  p->parent = parent;
  p->refs = 1;
  p->n_tokens = 0;
  p->state_serial = 0;
  return best;
}

/* Whether the states at the page's end are kept. */
static bool has_state(const em_pages *pages, const page *p) {
  return p->state_serial != 0 && pages->places[p->place].serial == p->state_serial;
}

static void give_up(em_pages *pages, uint32_t id) {
  page *p = &pages->pages[id];
  if (--p->refs > 0)
    return;
  p->used = ++pages->clock;
  if (p->n_tokens == 0)
    p->serial = 0;
}

static em_status copy_page(em_pages *pages, uint32_t from, uint32_t to, uint32_t n_tokens, em_error *error) {
  em_status status = EM_OK;
  for (uint32_t i = 0; i < pages->n_caches && status == EM_OK; i++)
    status = em_kv_copy(pages->caches[i], from, to, n_tokens, error);
  return status;
}

static uint32_t common_prefix(const int32_t *a, const int32_t *b, uint32_t n) {
  uint32_t i = 0;
  while (i < n && a[i] == b[i])
    i++;
  return i;
}

/* The page behind `parent` that shares most of tokens[0..n). Among equals one that nobody uses and that holds nothing
 * more is best: it can be taken over as it is. */
static uint32_t find(const em_pages *pages, uint64_t parent, const int32_t *tokens, uint32_t n, uint32_t *shared) {
  uint32_t best = NO_PAGE;
  *shared = 0;
  for (uint32_t i = 0; i < pages->n_pages; i++) {
    const page *p = &pages->pages[i];
    if (p->serial == 0 || p->parent != parent || p->n_tokens == 0)
      continue;
    uint32_t length = common_prefix(p->tokens, tokens, p->n_tokens < n ? p->n_tokens : n);
    bool as_it_is = p->refs == 0 && p->n_tokens == length;
    if (length > *shared || (length > 0 && length == *shared && as_it_is)) {
      best = i;
      *shared = length;
    }
  }
  return best;
}

em_status em_pages_start(em_pages *pages, const int32_t *tokens, uint32_t n, em_page_list *list, uint32_t *n_reused,
                         em_error *error) {
  uint64_t parent = 0;
  uint32_t done = 0;
  list->n = 0;
  for (;;) {
    uint32_t left = n - done < EM_KV_PAGE_TOKENS ? n - done : EM_KV_PAGE_TOKENS, shared;
    uint32_t id = left > 0 ? find(pages, parent, tokens + done, left, &shared) : NO_PAGE;
    if (id == NO_PAGE)
      break;
    page *p = &pages->pages[id];
    if (shared < EM_KV_PAGE_TOKENS && (p->refs > 0 || p->n_tokens != shared)) {
      /* The rest of this page belongs to another text. The page is held so that it is not chosen for the copy. */
      p->refs++;
      uint32_t copy = take(pages, parent);
      if (copy != NO_PAGE) {
        em_status status = copy_page(pages, id, copy, shared, error);
        give_up(pages, id);
        if (status != EM_OK) {
          give_up(pages, copy);
          em_pages_release(pages, list);
          return status;
        }
        memcpy(pages->pages[copy].tokens, p->tokens, shared * sizeof p->tokens[0]);
        id = copy;
      } else if (p->refs > 1) {
        give_up(pages, id);
        break;
      }
      /* Else there is no other page, and nobody uses this one: its rest is given away. */
      pages->pages[id].n_tokens = shared;
    } else {
      p->refs++;
    }
    list->ids[list->n++] = id;
    done += shared;
    parent = pages->pages[id].serial;
    if (shared < EM_KV_PAGE_TOKENS)
      break;
  }
  *n_reused = done;
  return EM_OK;
}

static em_status copy_state(em_pages *pages, uint32_t from, uint32_t to, em_error *error) {
  em_status status = EM_OK;
  for (uint32_t i = 0; i < pages->n_caches && status == EM_OK; i++)
    status = em_kv_copy_state(pages->caches[i], from, to, error);
  return status;
}

em_status em_pages_resume(em_pages *pages, const int32_t *tokens, uint32_t n, uint32_t state, em_page_list *list,
                          uint32_t *n_reused, em_error *error) {
  uint64_t parent = 0;
  uint32_t n_found = 0, n_kept = 0, shared;
  *n_reused = list->n = 0;
  while (n - n_found * EM_KV_PAGE_TOKENS >= EM_KV_PAGE_TOKENS) {
    uint32_t id = find(pages, parent, tokens + n_found * EM_KV_PAGE_TOKENS, EM_KV_PAGE_TOKENS, &shared);
    if (id == NO_PAGE || shared < EM_KV_PAGE_TOKENS)
      break;
    list->ids[n_found++] = id;
    n_kept = has_state(pages, &pages->pages[id]) ? n_found : n_kept;
    parent = pages->pages[id].serial;
  }
  if (n_kept == 0)
    return EM_OK;
  place *kept = &pages->places[pages->pages[list->ids[n_kept - 1]].place];
  em_status status = copy_state(pages, pages->first_state + (uint32_t)(kept - pages->places), state, error);
  if (status != EM_OK)
    return status;
  kept->used = ++pages->clock;
  for (list->n = 0; list->n < n_kept; list->n++)
    pages->pages[list->ids[list->n]].refs++;
  *n_reused = n_kept * EM_KV_PAGE_TOKENS;
  return EM_OK;
}

em_status em_pages_keep(em_pages *pages, const em_page_list *list, uint32_t n_computed, uint32_t state,
                        em_error *error) {
  page *p = &pages->pages[list->ids[n_computed / EM_KV_PAGE_TOKENS - 1]];
  if (pages->n_states == 0 || has_state(pages, p))
    return EM_OK;
  uint32_t best = 0;
  for (uint32_t i = 1; i < pages->n_states; i++)
    if (pages->places[i].used < pages->places[best].used)
      best = i;
  place *kept = &pages->places[best];
  /* Whatever was here is not found any more, even where the copy fails. */
  kept->serial = 0;
  em_status status = copy_state(pages, state, pages->first_state + best, error);
  if (status != EM_OK)
    return status;
  kept->serial = p->state_serial = ++pages->last_serial;
  kept->used = ++pages->clock;
  p->place = best;
  return EM_OK;
}

em_status em_pages_grow(em_pages *pages, em_page_list *list, uint32_t n_positions, em_error *error) {
  uint32_t n_pages = n_positions / EM_KV_PAGE_TOKENS + (n_positions % EM_KV_PAGE_TOKENS != 0);
  while (list->n < n_pages) {
    uint64_t parent = list->n > 0 ? pages->pages[list->ids[list->n - 1]].serial : 0;
    uint32_t id = take(pages, parent);
    if (id == NO_PAGE)
      return em_fail(error, EM_ERR_NO_MEMORY, "every page of the KV cache is in use");
    list->ids[list->n++] = id;
  }
  return EM_OK;
}

/* Exchanges a page that has become full for another one with the same content, so that there is one chain of pages to
 * be found and not two of which each holds half. */
static void unify(em_pages *pages, em_page_list *list, uint32_t index) {
  page *own = &pages->pages[list->ids[index]];
  for (uint32_t i = 0; i < pages->n_pages; i++) {
    page *p = &pages->pages[i];
    if (p == own || p->serial == 0 || p->parent != own->parent || p->n_tokens != EM_KV_PAGE_TOKENS ||
        memcmp(p->tokens, own->tokens, sizeof own->tokens) != 0)
      continue;
    if (index + 1 < list->n)
      pages->pages[list->ids[index + 1]].parent = p->serial;
    p->refs++;
    if (!has_state(pages, p)) {
      p->state_serial = own->state_serial;
      p->place = own->place;
    }
    own->n_tokens = 0; /* so that it becomes empty */
    give_up(pages, list->ids[index]);
    list->ids[index] = i;
    return;
  }
}

void em_pages_commit(em_pages *pages, em_page_list *list, const int32_t *tokens, uint32_t from, uint32_t to) {
  while (from < to) {
    uint32_t index = from / EM_KV_PAGE_TOKENS, first = from % EM_KV_PAGE_TOKENS;
    uint32_t n = EM_KV_PAGE_TOKENS - first < to - from ? EM_KV_PAGE_TOKENS - first : to - from;
    page *p = &pages->pages[list->ids[index]];
    memcpy(p->tokens + first, tokens + from, n * sizeof *tokens);
    p->n_tokens = first + n;
    from += n;
    if (p->n_tokens == EM_KV_PAGE_TOKENS)
      unify(pages, list, index);
  }
}

void em_pages_release(em_pages *pages, em_page_list *list) {
  /* From the end: a page is worth less than the ones before it, without which it is never found. */
  while (list->n > 0)
    give_up(pages, list->ids[--list->n]);
}

void em_pages_forget(em_pages *pages) {
  for (uint32_t i = 0; i < pages->n_pages; i++) {
    if (pages->pages[i].refs == 0)
      pages->pages[i].serial = 0;
  }
}

void em_pages_restart(em_pages *pages, em_kv *const *caches, uint32_t n_caches, uint32_t n_pages, uint32_t first_state,
                      uint32_t n_states) {
  for (uint32_t i = 0; i < pages->n_pages; i++)
    pages->pages[i].serial = pages->pages[i].refs = 0;
  for (uint32_t i = 0; i < n_caches; i++)
    pages->caches[i] = caches[i];
  for (uint32_t i = 0; i < n_states; i++)
    pages->places[i] = (place){0, 0};
  pages->first_state = first_state;
  pages->n_states = n_states;
  pages->n_caches = n_caches;
  pages->n_pages = n_pages;
}
