/* Grammars that an answer must follow: a JSON schema or GBNF text becomes an em_grammar, an em_matcher follows a text
 * through it byte by byte, and says which tokens of a vocabulary may come next.
 *
 * A grammar and a token trie are immutable and thread-safe; a matcher belongs to one thread at a time. Grammars come
 * from strangers: nothing in one can abort, recurse without bound, or take more memory and work than the limits below.
 * What is not supported is refused with a reason, never ignored, so that a text which was accepted is one that was
 * asked for.
 */
#pragma once

#include "base/status.h"

/* --- Limits ------------------------------------------------------------------------------------------------------- */

#define EM_GRAMMAR_MAX_TEXT_BYTES (256u << 10) /* of a schema or of GBNF */
#define EM_GRAMMAR_MAX_DEPTH 64u               /* groups, values, or schemas inside one another */
#define EM_GRAMMAR_MAX_RULES 10000u
#define EM_GRAMMAR_MAX_STATES (1u << 20)
#define EM_GRAMMAR_MAX_REPEAT 65536u  /* the largest number in {m,n}, minLength, maxItems ... */
#define EM_GRAMMAR_MAX_WORK 20000000u /* steps while a grammar is made */

#define EM_MATCHER_MAX_DEPTH 1024u       /* rules inside one another; deeper text is not accepted */
#define EM_MATCHER_MAX_CONFIGS 4096u     /* ways to read one text at the same time */
#define EM_MATCHER_MAX_BYTES (32u << 20) /* of a matcher's working memory */
#define EM_MATCHER_MAX_WORK 20000000u    /* steps of one call */
#define EM_MATCHER_MAX_ROLLBACK 64u      /* tokens that can be taken back */

/* --- Grammars ----------------------------------------------------------------------------------------------------- */

typedef struct em_grammar em_grammar;

/* GBNF: `name ::= alternatives` a line, the text is what `root` derives. Literals in double quotes, [classes] with
 * ranges and ^, `.` for any character, groups, `|`, and * + ? {m} {m,} {m,n} behind what they repeat; # begins a
 * comment. The escapes are
 * \n \r \t \\ \" \[ \] \- \^ \xHH \uHHHH \UHHHHHHHH. Alternatives go on in the next line inside a group, behind `|` and
 * where the next line begins with `|`. Left recursion is refused. Errors: EM_ERR_FORMAT with the byte offset where
 * there is one, EM_ERR_LIMIT, EM_ERR_NO_MEMORY. */
em_status em_grammar_from_gbnf(const char *text, size_t bytes, em_grammar **out, em_error *error) EM_MUST_USE;

/* A JSON schema (draft-07 or 2020-12) as JSON text. The grammar accepts a subset of the JSON texts that are valid under
 * it, in the form in which models write them:
 *
 * - Members stand in the order of `properties`, then those of additionalProperties. Where `properties` are given and
 *   additionalProperties is not, others are not accepted. The same holds for prefixItems and items.
 * - A schema without a type is of the type that its other keywords speak of. The empty schema is an object at the
 *   root, and any value elsewhere.
 * - Between values stands nothing, one space, or line ends with blanks behind them; around the whole stands nothing.
 * - Numbers without bounds have at most 16 digits before and behind their point.
 * - oneOf is read as anyOf. `pattern` is a subset of ECMA's, without look-around, back-references and inner anchors.
 * - date, time, date-time, duration, uuid, email, ipv4, ipv6, hostname and uri are written out; other formats are
 *   ignored, like every annotation and unknown keyword.
 * - Refused (EM_ERR_UNSUPPORTED, the text names it): not, if, patternProperties, dependencies, contains, uniqueItems,
 *   unevaluatedItems, multipleOf (but for 1), counts of members above 1 beside optional properties, references to other
 *   documents, and combinations that cannot be merged.
 *
 * Other errors: EM_ERR_FORMAT (not JSON, a keyword of the wrong type, a reference to nothing or to itself, a schema
 * that nothing satisfies), EM_ERR_LIMIT, EM_ERR_NO_MEMORY. */
em_status em_grammar_from_schema(const char *text, size_t bytes, em_grammar **out, em_error *error) EM_MUST_USE;

void em_grammar_free(em_grammar *grammar); /* NULL is legal; no matcher may be left */

/* --- Vocabularies ------------------------------------------------------------------------------------------------- */

/* One token: the bytes that it adds to the text. Empty ones are never allowed; one that ends the answer is allowed
 * exactly where the grammar may end, whatever its bytes. */
typedef struct em_grammar_token {
  const char *text;
  size_t bytes; /* at most EM_TOKEN_TRIE_MAX_TOKEN_BYTES */
  bool ends;
} em_grammar_token;

#define EM_TOKEN_TRIE_MAX_TOKEN_BYTES 1024u
#define EM_TOKEN_TRIE_MAX_TOKENS (4u << 20)

/* All tokens as a tree of their bytes: about 20 bytes of memory for each byte in which one differs from its neighbours.
 */
typedef struct em_token_trie em_token_trie;

/* tokens: [n_tokens], the index is the id; copied. Errors: EM_ERR_LIMIT, EM_ERR_NO_MEMORY. */
em_status em_token_trie_new(const em_grammar_token *tokens, size_t n_tokens, em_token_trie **out,
                            em_error *error) EM_MUST_USE;
void em_token_trie_free(em_token_trie *trie); /* NULL is legal */

size_t em_token_trie_n_tokens(const em_token_trie *trie);

/* --- Matching ----------------------------------------------------------------------------------------------------- */

typedef struct em_matcher em_matcher;

/* A matcher before the first byte. grammar and trie (NULL: only bytes are fed) must outlive it. drops_space: a space at
 * the very beginning of the first token is no part of the text, as SentencePiece writes it. Errors: EM_ERR_LIMIT (the
 * grammar can begin in too many ways), EM_ERR_NO_MEMORY. */
em_status em_matcher_new(const em_grammar *grammar, const em_token_trie *trie, bool drops_space, em_matcher **out,
                         em_error *error) EM_MUST_USE;
em_status em_matcher_copy(const em_matcher *matcher, em_matcher **out, em_error *error) EM_MUST_USE;
void em_matcher_free(em_matcher *matcher); /* NULL is legal */

/* Each of these moves on and is one step for em_matcher_rollback. On an error the matcher stays where it was. Errors:
 * EM_ERR_FORMAT (the grammar does not accept it there; for bytes with the offset of the first one that it does not),
 * EM_ERR_LIMIT (too many ways to read the text), EM_ERR_NO_MEMORY; em_matcher_accept also EM_ERR_ARGUMENT. */
em_status em_matcher_feed(em_matcher *matcher, const char *text, size_t bytes, em_error *error) EM_MUST_USE;
em_status em_matcher_accept(em_matcher *matcher, int32_t token, em_error *error) EM_MUST_USE;

/* Takes the last n_steps steps back. false: more than were made, or than EM_MATCHER_MAX_ROLLBACK. */
bool em_matcher_rollback(em_matcher *matcher, size_t n_steps);

/* Whether the text so far is accepted in full. */
bool em_matcher_may_end(const em_matcher *matcher);

/* Sets a bit in allowed[0..(n_bits + 63) / 64) for each token below n_bits that may come next, and clears all others.
 * *any: whether there is one. Nothing is ever allowed behind an accepted token that ends the answer. Errors:
 * EM_ERR_LIMIT, EM_ERR_NO_MEMORY (then all bits are clear). */
em_status em_matcher_mask(em_matcher *matcher, uint64_t *allowed, size_t n_bits, bool *any,
                          em_error *error) EM_MUST_USE;
