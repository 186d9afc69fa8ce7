/* Finding special and user-defined tokens in text: leftmost first, the longest of those that start at a place.
 *
 * The matcher reads the text backwards through an Aho-Corasick automaton of the reversed pieces, which tells in O(n),
 * for every place, the longest piece that starts there, however the pieces overlap. Immutable once made.
 */
#pragma once

#include "text/tokenizer/vocab.h"

/* One node of the trie of reversed pieces. */
typedef struct em_special_node {
  uint32_t parent, fail;
  int32_t any;     /* the longest piece that starts where this node is reached, or EM_NO_TOKEN */
  int32_t defined; /* the same among user-defined pieces */
  uint8_t byte;
} em_special_node;

typedef struct em_specials {
  em_special_node *nodes; /* [n]; the first is the root */
  size_t n, capacity;
  uint32_t *slots;        /* [n_slots] node numbers by (parent, byte); 0: empty */
  size_t n_slots;         /* a power of two */
  uint32_t roots[256];    /* the children of the root; 0: none */
} em_specials;

/* All special pieces together may need this many nodes (reversed prefixes). */
#define EM_SPECIALS_MAX_NODES (8u << 20)

/* Makes the automaton of a vocabulary's control, unknown and user-defined pieces. Errors: EM_ERR_LIMIT,
 * EM_ERR_NO_MEMORY; after one, em_specials_clear is still to be called. */
em_status em_specials_init(em_specials *specials, const em_vocab *vocab, em_error *error) EM_MUST_USE;
void em_specials_clear(em_specials *specials);

typedef struct em_special_match {
  size_t start;
  int32_t id;
} em_special_match;

/* The matches in text in order of their start, not overlapping. with_control: control pieces too, else user-defined
 * ones only. trust (or NULL) narrows with_control to its ranges, as em_tokenize_trusted says. *out (NULL when there are
 * none) is freed by the caller. EM_ERR_NO_MEMORY. */
em_status em_specials_find(const em_specials *specials, const em_vocab *vocab, const char *text, size_t bytes,
                           bool with_control, const em_trust *trust, em_special_match **out, size_t *n_out,
                           em_error *error) EM_MUST_USE;
