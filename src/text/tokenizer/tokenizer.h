/* Text to tokens and back.
 *
 * A tokenizer is made from a GGUF file's tokenizer.* metadata, taken as plain arrays so that this room knows nothing of
 * files. Four kinds: SentencePiece-style ("llama": merge by score, U+2581 for a space, byte tokens), byte-level BPE
 * ("gpt2" with the pre-tokenizer named by tokenizer.ggml.pre), BPE on characters ("gemma4": U+2581 and byte tokens as
 * in the first) and WordPiece ("bert": case and accents are lost). Cost is O(n log n) in the text's length.
 *
 * Ordinary text never becomes a control token, not even by merging pieces; only EM_TOKENIZE_SPECIAL and trusted ranges
 * do that (and a file that names a control token as its unknown one).
 *
 * A tokenizer is immutable: using it from several threads is safe. Nothing in a vocabulary or a text can make it read
 * out of bounds, recurse, or return an id outside 0..n_tokens-1.
 */
#pragma once

#include "base/buffer.h"
#include "base/status.h"

typedef struct em_tokenizer em_tokenizer;

/* Token types, as GGUF numbers them. */
typedef enum em_token_type {
  EM_TOKEN_NORMAL = 1,
  EM_TOKEN_UNKNOWN = 2,
  EM_TOKEN_CONTROL = 3,
  EM_TOKEN_USER_DEFINED = 4,
  EM_TOKEN_UNUSED = 5,
  EM_TOKEN_BYTE = 6
} em_token_type;

/* One vocabulary entry's text: any bytes, with a length. */
typedef struct em_piece {
  const char *text;
  size_t bytes;
} em_piece;

#define EM_NO_TOKEN (-1)

typedef struct em_tokenizer_params {
  const char *model;        /* tokenizer.ggml.model: "llama", "gpt2", "gemma4", "bert" */
  const char *pre;          /* tokenizer.ggml.pre; NULL or "default" where absent */
  const em_piece *pieces;   /* [n_tokens] */
  size_t n_tokens;
  const float *scores;      /* [n_tokens] or NULL; "llama" needs it */
  const int32_t *types;     /* [n_tokens] of em_token_type, or NULL: all normal */
  const em_piece *merges;   /* [n_merges] "left right"; "gpt2" and "gemma4" need it */
  size_t n_merges;
  int32_t bos, eos, unk, eot, eom; /* EM_NO_TOKEN where the file names none */
  /* -1: the kind's own default; 0 or 1: what the file says */
  int add_bos, add_eos, add_space_prefix;
} em_tokenizer_params;

/* Everything is copied: params may be freed after the call. Errors: EM_ERR_UNSUPPORTED (names the model or
 * pre-tokenizer), EM_ERR_FORMAT (an id out of range, a piece over EM_TOKENIZER_MAX_PIECE_BYTES, missing scores or
 * merges, a merge without a space), EM_ERR_LIMIT (too many tokens or merges, too long special tokens),
 * EM_ERR_NO_MEMORY. Merges of pieces that are not there are ignored; of equal pieces the first one counts. */
em_status em_tokenizer_new(const em_tokenizer_params *params, em_tokenizer **out, em_error *error) EM_MUST_USE;
void em_tokenizer_free(em_tokenizer *tokenizer);

#define EM_TOKENIZER_MAX_PIECE_BYTES 1024u
#define EM_TOKENIZER_MAX_TOKENS (4u << 20)
#define EM_TOKENIZER_MAX_TEXT_BYTES (64u << 20)

typedef enum em_tokenize_flags {
  EM_TOKENIZE_PLAIN = 0,
  EM_TOKENIZE_SPECIAL = 1,  /* control tokens written in the text are recognised; user-defined ones always are */
  EM_TOKENIZE_ADD_BOS_EOS = 2, /* put the tokens there that the file asks for */
  EM_TOKENIZE_CONTINUE = 4, /* the text goes on after other text: no space is put before it */
} em_tokenize_flags;

/* A growing array of token ids. */
typedef struct em_tokens {
  int32_t *ids;
  size_t n, capacity;
} em_tokens;
bool em_tokens_append(em_tokens *tokens, int32_t id);
void em_tokens_clear(em_tokens *tokens); /* frees */

/* Appends the tokens of text to *out. Text need not be valid UTF-8: each malformed byte is handled as the kind handles
 * a byte. Errors: EM_ERR_LIMIT (text too long), EM_ERR_NO_MEMORY. */
em_status em_tokenize(const em_tokenizer *tokenizer, const char *text, size_t bytes, unsigned flags, em_tokens *out,
                      em_error *error) EM_MUST_USE;

/* Which parts of a text may hold special tokens: those that a chat template wrote, between those that people wrote. */
typedef struct em_trust {
  const struct em_trust_range {
    size_t start, bytes;
  } *ranges; /* [n_ranges] ascending, not overlapping */
  size_t n_ranges;
  /* [n_guarded] ascending: user-defined tokens that outside the ranges are text like control tokens */
  const int32_t *guarded;
  size_t n_guarded;
} em_trust;

/* The same with special tokens recognised only where they lie within one trusted range. All other text is cut at
 * nothing but them, so that a word across the border of a range becomes the tokens it always becomes. flags:
 * EM_TOKENIZE_SPECIAL has no meaning here. */
em_status em_tokenize_trusted(const em_tokenizer *tokenizer, const char *text, size_t bytes, const em_trust *trust,
                              unsigned flags, em_tokens *out, em_error *error) EM_MUST_USE;

size_t em_tokenizer_n_tokens(const em_tokenizer *tokenizer);
int32_t em_tokenizer_bos(const em_tokenizer *tokenizer);
int32_t em_tokenizer_eos(const em_tokenizer *tokenizer);
bool em_tokenizer_adds_bos(const em_tokenizer *tokenizer);
em_token_type em_tokenizer_type(const em_tokenizer *tokenizer, int32_t id);

/* Whether a token ends an answer: eos, eot, eom and the known names (<|im_end|>, <|eot_id|>, ...). Those become control
 * tokens whatever type the file gives them; names that are also common text (</s>, <eos>) count only if it marks them.
 */
bool em_tokenizer_is_end(const em_tokenizer *tokenizer, int32_t id);

/* The id of a piece by its exact vocabulary text, or EM_NO_TOKEN. */
int32_t em_tokenizer_find(const em_tokenizer *tokenizer, const char *text, size_t bytes);

/* The vocabulary text of a token as the file has it (not decoded). */
em_piece em_tokenizer_piece(const em_tokenizer *tokenizer, int32_t id);

/* --- Back to text ----------------------------------------------------------------------------------------------- */

/* Appends the bytes one token stands for: byte tokens as their byte, U+2581 as a space, byte-level pieces decoded.
 * Control tokens give nothing unless with_special. Ids out of range give nothing. */
bool em_token_bytes(const em_tokenizer *tokenizer, int32_t id, bool with_special, em_buffer *out);

/* The whole of tokens[0..n): what streaming them through em_detok gives, flushed. */
em_status em_detokenize(const em_tokenizer *tokenizer, const int32_t *tokens, size_t n, bool with_special,
                        em_buffer *out, em_error *error) EM_MUST_USE;

/* The streaming detokenizer: gives whole characters only; an incomplete one waits for its other bytes. Malformed bytes
 * become U+FFFD. A fixed-size value: no allocation but the caller's buffer. */
typedef struct em_detok {
  const em_tokenizer *tokenizer;
  bool with_special;
  bool at_start;         /* SentencePiece, WordPiece: the space put before the first word is taken off again */
  unsigned n_pending;
  char pending[4];
} em_detok;

/* at_start false: the tokens continue other text. */
void em_detok_init(em_detok *detok, const em_tokenizer *tokenizer, bool with_special, bool at_start);
bool em_detok_push(em_detok *detok, int32_t id, em_buffer *out);
bool em_detok_flush(em_detok *detok, em_buffer *out); /* what is still pending becomes U+FFFD */
