/* The tree of a vocabulary's tokens, laid out for one walk from front to back. */
#pragma once

#include "text/grammar/grammar.h"

/* Nodes stand in depth-first order: what is below node i are the nodes i + 1 .. end - 1, and their tokens follow its
 * own. Node 0 is the root. Behind the last node stands one more, whose `first` ends the tokens. */
typedef struct em_trie_node {
  uint32_t end;
  uint32_t first; /* of its own tokens, in `sorted` */
  uint16_t depth; /* bytes from the root */
  uint8_t byte;   /* that leads here from its parent */
} em_trie_node;

struct em_token_trie {
  size_t n_tokens;
  char *text;          /* all tokens' bytes, in the order of ids */
  uint32_t *offsets;   /* [n_tokens + 1] into text */
  uint32_t *sorted;    /* [n_sorted] ids of the tokens that have bytes and do not end the answer, by their bytes */
  uint32_t *ends;      /* [n_ends] ids */
  em_trie_node *nodes; /* [n_nodes + 1] */
  uint64_t *below;     /* [n_nodes] the kinds (em_byte_kind) of all bytes below a node, one bit each */
  uint32_t n_sorted, n_ends, n_nodes;
};

/* Bytes in 64 kinds, so that 64 bits tell what a part of the tree is made of. */
unsigned em_byte_kind(unsigned byte);
