/* The pages of the KV cache: who uses which page, and which tokens stand in it.
 *
 * A page that is full never changes again and may be shared by any number of sequences. When a sequence ends its pages
 * stay, until room is needed: the one not used for longest goes first. A new sequence takes over every page whose
 * tokens, and whose predecessors' tokens, are the start of its own; of a page that fits only in part, the fitting part
 * is copied.
 *
 * Recurrent layers have states, which are those behind one token and cannot be taken back. A sequence of such a model goes on
 * only from the end of a page where its states were kept; the kept states that were not used for longest make room for others.
 *
 * Not thread-safe: it belongs to the stepping thread. After em_pages_new nothing allocates. */
#pragma once

#include "backend/backend.h"

typedef struct em_pages em_pages;

/* A sequence's pages in the order of their positions. */
typedef struct em_page_list {
  uint32_t *ids; /* room for the longest sequence, owned by the caller */
  uint32_t n;
} em_page_list;

uint64_t em_pages_bytes(uint32_t n_pages); /* that em_pages_new allocates */
/* Without caches; em_pages_restart names them. */
em_status em_pages_new(uint32_t n_pages, em_pages **out, em_error *error) EM_MUST_USE;
void em_pages_free(em_pages *pages); /* NULL is legal */

/* Fills an empty list with pages that hold a prefix of tokens[0..n) and stores how many tokens that is. Errors: those
 * of em_kv_copy; the list is empty then. */
em_status em_pages_start(em_pages *pages, const int32_t *tokens, uint32_t n, em_page_list *list, uint32_t *n_reused,
                         em_error *error) EM_MUST_USE;

/* The same for a model with recurrent layers: the list is filled with whole pages as far as the last one at whose end the
 * states were kept, and those are copied to the place `state`. */
em_status em_pages_resume(em_pages *pages, const int32_t *tokens, uint32_t n, uint32_t state, em_page_list *list,
                          uint32_t *n_reused, em_error *error) EM_MUST_USE;

/* Keeps the states at the place `state` of a sequence whose first n_computed tokens, whole pages, are committed. Does
 * nothing where they are kept already or no place is. Errors: those of em_kv_copy_state. */
em_status em_pages_keep(em_pages *pages, const em_page_list *list, uint32_t n_computed, uint32_t state,
                        em_error *error) EM_MUST_USE;

/* Adds pages until the list has room for n_positions. EM_ERR_NO_MEMORY when every page is in use. */
em_status em_pages_grow(em_pages *pages, em_page_list *list, uint32_t n_positions, em_error *error) EM_MUST_USE;

/* Notes that the sequence's positions from..to-1 have been computed from tokens[from..to). A page that is full now and
 * equals another one is exchanged for it. */
void em_pages_commit(em_pages *pages, em_page_list *list, const int32_t *tokens, uint32_t from, uint32_t to);

/* Gives up a sequence's pages; what was computed may be found again. Empties the list. */
void em_pages_release(em_pages *pages, em_page_list *list);

/* Forgets what is kept for later. Pages in use are left alone. */
void em_pages_forget(em_pages *pages);

/* Forgets everything and goes on with n_pages pages, at most as many as em_pages_new was given, of at most
 * EM_PAGES_MAX_CACHES caches, each of which has its share of the layers; page i is page i of all of them. The
 * places first_state .. first_state + n_states - 1 (at most n_pages) are for states that are kept. The caller has emptied
 * every list. */
#define EM_PAGES_MAX_CACHES 2u
void em_pages_restart(em_pages *pages, em_kv *const *caches, uint32_t n_caches, uint32_t n_pages, uint32_t first_state,
                      uint32_t n_states);
