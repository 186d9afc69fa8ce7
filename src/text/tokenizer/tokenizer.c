/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/tokenizer/tokenizer-private.h"

#include "base/checked.h"
#include "text/tokenizer/wordpiece.h"

#include <stdlib.h>
#include <string.h>

/* --- A growing array of ids ------------------------------------------------------------------------------------- */

bool em_tokens_append(em_tokens *tokens, int32_t id) {
  if (tokens->n == tokens->capacity) {
    size_t capacity = tokens->capacity ? tokens->capacity * 2 : 64;
    int32_t *ids = em_realloc_array(tokens->ids, capacity, sizeof *ids);
    if (!ids)
      return false;
    tokens->ids = ids;
    tokens->capacity = capacity;
  }
  tokens->ids[tokens->n++] = id;
  return true;
}

void em_tokens_clear(em_tokens *tokens) {
  free(tokens->ids);
  *tokens = (em_tokens){0};
}

/* --- The end of an answer --------------------------------------------------------------------------------------- */

/* Pieces that end an answer by their name. Some of these names are also ordinary text (Qwen's vocabulary has HTML's
 * </s> as a common piece), so they count only where the file marks them as special. */
static const struct {
  const char *name;
  bool needs_type;
} end_names[] = {
    {"<|eot_id|>", false},    {"<|im_end|>", false},     {"<|end|>", false},          {"<|return|>", false},
    {"<|call|>", false},      {"<|calls|>", false},      {"<|flush|>", false},        {"<end_of_turn>", false},
    {"<|endoftext|>", false}, {"<|end_of_text|>", false}, {"<|eom_id|>", false},      {"<turn|>", false},
    {"<|tool_response>", false}, {"<end_of_utterance>", false}, {"[e~[", false},
    {"<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>", false},
    {"<EOT>", true},          {"[EOT]", true},           {"[EOS]", true},             {"<eos>", true},
    {"</s>", true},
};

_Static_assert(sizeof end_names / sizeof end_names[0] + 3 <= EM_TOKENIZER_MAX_ENDS, "room for every end");

static int32_t find_name(const em_tokenizer *tokenizer, const char *name) {
  return em_vocab_find(&tokenizer->vocab, name, strlen(name));
}

static void add_end(em_tokenizer *tokenizer, int32_t id) {
  if (id != EM_NO_TOKEN && !em_tokenizer_is_end(tokenizer, id))
    tokenizer->ends[tokenizer->n_ends++] = id;
}

static void find_ends(em_tokenizer *tokenizer, const em_tokenizer_params *params) {
  bool has_call = find_name(tokenizer, "<|call|>") != EM_NO_TOKEN || find_name(tokenizer, "<|calls|>") != EM_NO_TOKEN;
  bool has_final =
      find_name(tokenizer, "<|return|>") != EM_NO_TOKEN || find_name(tokenizer, "<|flush|>") != EM_NO_TOKEN;
  bool is_gemma4 = tokenizer->kind == EM_TOKENIZER_CHAR_BPE || find_name(tokenizer, "<|tool_response>") != EM_NO_TOKEN;
  for (size_t i = 0; i < sizeof end_names / sizeof end_names[0]; i++) {
    const char *name = end_names[i].name;
    int32_t id = find_name(tokenizer, name);
    if (id == EM_NO_TOKEN)
      continue;
    uint8_t *type = &tokenizer->vocab.types[id];
    if (end_names[i].needs_type && *type != EM_TOKEN_CONTROL && *type != EM_TOKEN_USER_DEFINED)
      continue;
    /* In these formats <|end|> closes one message of several (thinking, say), and the answer goes on. */
    if (has_call && has_final && strcmp(name, "<|end|>") == 0)
      continue;
    if (is_gemma4 && strcmp(name, "</s>") == 0)
      continue;
    /* Files exist that mark these as ordinary; a message could then write them. */
    *type = EM_TOKEN_CONTROL;
    add_end(tokenizer, id);
  }
  add_end(tokenizer, params->eos);
  add_end(tokenizer, params->eot);
  add_end(tokenizer, params->eom);
}

/* --- Construction ----------------------------------------------------------------------------------------------- */

static em_status check_id(const em_tokenizer_params *params, int32_t id, const char *what, em_error *error) {
  if (id == EM_NO_TOKEN || (id >= 0 && (size_t)id < params->n_tokens))
    return EM_OK;
  return em_fail(error, EM_ERR_FORMAT, "the %s token's id %d is not in the vocabulary", what, id);
}

static em_status find_kind(const char *model, em_tokenizer_kind *kind, em_error *error) {
  static const struct {
    const char *model;
    em_tokenizer_kind kind;
  } kinds[] = {
      {"llama", EM_TOKENIZER_SPM},
      {"gpt2", EM_TOKENIZER_BYTE_BPE},
      {"gemma4", EM_TOKENIZER_CHAR_BPE},
      {"bert", EM_TOKENIZER_WORDPIECE},
  };
  if (!model)
    return em_fail(error, EM_ERR_FORMAT, "the file names no tokenizer model");
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    if (strcmp(kinds[i].model, model) == 0) {
      *kind = kinds[i].kind;
      return EM_OK;
    }
  }
  return em_fail(error, EM_ERR_UNSUPPORTED, "tokenizer model \"%.64s\" is not supported", model);
}

static int32_t first_of_type(const em_vocab *vocab, em_token_type type) {
  for (size_t i = 0; i < vocab->n; i++)
    if (vocab->types[i] == type)
      return (int32_t)i;
  return EM_NO_TOKEN;
}

em_status em_tokenizer_new(const em_tokenizer_params *params, em_tokenizer **out, em_error *error) {
  em_status status = EM_OK;
  *out = NULL;
  em_tokenizer *tokenizer = em_calloc(1, sizeof *tokenizer);
  if (!tokenizer)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for a tokenizer");
  EM_TRY(find_kind(params->model, &tokenizer->kind, error));
  em_tokenizer_kind kind = tokenizer->kind;
  EM_TRY(check_id(params, params->bos, "beginning", error));
  EM_TRY(check_id(params, params->eos, "end", error));
  EM_TRY(check_id(params, params->unk, "unknown", error));
  EM_TRY(check_id(params, params->eot, "end of turn", error));
  EM_TRY(check_id(params, params->eom, "end of message", error));
  bool marks_bytes = kind == EM_TOKENIZER_SPM || kind == EM_TOKENIZER_CHAR_BPE;
  EM_TRY(em_vocab_init(&tokenizer->vocab, params, marks_bytes, error));
  find_ends(tokenizer, params);
  tokenizer->bos = params->bos;
  tokenizer->eos = params->eos;
  tokenizer->unknown = params->unk != EM_NO_TOKEN ? params->unk : first_of_type(&tokenizer->vocab, EM_TOKEN_UNKNOWN);
  tokenizer->add_space_prefix = kind == EM_TOKENIZER_SPM && params->add_space_prefix != 0;
  bool add_bos = true, add_eos = false;
  switch (kind) {
  case EM_TOKENIZER_SPM:
    EM_TRY(em_spm_init(&tokenizer->spm, &tokenizer->vocab, params->scores, tokenizer->unknown, error));
    break;
  case EM_TOKENIZER_BYTE_BPE: {
    const char *pre = params->pre ? params->pre : "default";
    const em_pretokenizer *pretokenizer = em_pretokenizer_find(pre);
    if (!pretokenizer)
      EM_TRY(em_fail(error, EM_ERR_UNSUPPORTED, "pre-tokenizer \"%.64s\" is not supported", pre));
    add_bos = pretokenizer->add_bos;
    EM_TRY(em_bpe_init(&tokenizer->bpe, &tokenizer->vocab, params, pretokenizer, EM_NO_TOKEN, true, error));
    break;
  }
  case EM_TOKENIZER_CHAR_BPE:
    EM_TRY(em_bpe_init(&tokenizer->bpe, &tokenizer->vocab, params, em_pretokenizer_newlines(), tokenizer->unknown,
                       false, error));
    break;
  case EM_TOKENIZER_WORDPIECE:
    add_eos = true;
    break;
  }
  if (params->add_bos >= 0 && kind != EM_TOKENIZER_CHAR_BPE) /* gemma4 files are wrong about it */
    add_bos = params->add_bos != 0;
  if (params->add_eos >= 0)
    add_eos = params->add_eos != 0;
  tokenizer->add_bos = add_bos && tokenizer->bos != EM_NO_TOKEN;
  tokenizer->add_eos = add_eos && tokenizer->eos != EM_NO_TOKEN;
  EM_TRY(em_specials_init(&tokenizer->specials, &tokenizer->vocab, error));
  *out = tokenizer;
  return EM_OK;
fail:
  em_tokenizer_free(tokenizer);
  return status;
}

void em_tokenizer_free(em_tokenizer *tokenizer) {
  if (!tokenizer)
    return;
  em_specials_clear(&tokenizer->specials);
  em_spm_clear(&tokenizer->spm);
  em_bpe_clear(&tokenizer->bpe);
  em_vocab_clear(&tokenizer->vocab);
  free(tokenizer);
}

/* --- What is known of it ---------------------------------------------------------------------------------------- */

size_t em_tokenizer_n_tokens(const em_tokenizer *tokenizer) {
  return tokenizer->vocab.n;
}

int32_t em_tokenizer_bos(const em_tokenizer *tokenizer) {
  return tokenizer->bos;
}

int32_t em_tokenizer_eos(const em_tokenizer *tokenizer) {
  return tokenizer->eos;
}

bool em_tokenizer_adds_bos(const em_tokenizer *tokenizer) {
  return tokenizer->add_bos;
}

em_token_type em_tokenizer_type(const em_tokenizer *tokenizer, int32_t id) {
  return id >= 0 && (size_t)id < tokenizer->vocab.n ? (em_token_type)tokenizer->vocab.types[id] : EM_TOKEN_UNUSED;
}

bool em_tokenizer_is_end(const em_tokenizer *tokenizer, int32_t id) {
  for (size_t i = 0; i < tokenizer->n_ends; i++)
    if (tokenizer->ends[i] == id)
      return true;
  return false;
}

int32_t em_tokenizer_find(const em_tokenizer *tokenizer, const char *text, size_t bytes) {
  return em_vocab_find(&tokenizer->vocab, text, bytes);
}

em_piece em_tokenizer_piece(const em_tokenizer *tokenizer, int32_t id) {
  return em_vocab_piece(&tokenizer->vocab, id);
}

/* --- Text to tokens --------------------------------------------------------------------------------------------- */

/* The memory of one call. */
typedef struct call_memory {
  em_merger merger;
  em_buffer marked;
} call_memory;

/* Text with a mark for every space, and one before it where a prefix is wanted. */
static bool mark_spaces(em_buffer *marked, const char *text, size_t bytes, bool prefix) {
  marked->bytes = 0;
  if (prefix)
    em_buffer_append(marked, EM_SPACE_MARK, EM_SPACE_MARK_BYTES);
  for (size_t at = 0; at < bytes;) {
    const char *space = memchr(text + at, ' ', bytes - at);
    size_t n = space ? (size_t)(space - text) - at : bytes - at;
    em_buffer_append(marked, text + at, n);
    if (space)
      em_buffer_append(marked, EM_SPACE_MARK, EM_SPACE_MARK_BYTES);
    at += n + (space != NULL);
  }
  return !marked->failed;
}

/* A stretch of text without special tokens (bytes >= 1). */
static bool tokenize_stretch(const em_tokenizer *tokenizer, call_memory *memory, const char *text, size_t bytes,
                             bool prefix, em_tokens *out) {
  switch (tokenizer->kind) {
  case EM_TOKENIZER_SPM:
    return mark_spaces(&memory->marked, text, bytes, prefix) &&
           em_spm_tokenize(&tokenizer->spm, &tokenizer->vocab, &memory->merger, memory->marked.data,
                           memory->marked.bytes, out);
  case EM_TOKENIZER_BYTE_BPE:
    return em_bpe_tokenize(&tokenizer->bpe, &tokenizer->vocab, &memory->merger, text, bytes, out);
  case EM_TOKENIZER_CHAR_BPE:
    return mark_spaces(&memory->marked, text, bytes, false) &&
           em_bpe_tokenize(&tokenizer->bpe, &tokenizer->vocab, &memory->merger, memory->marked.data,
                           memory->marked.bytes, out);
  case EM_TOKENIZER_WORDPIECE:
    return em_wordpiece_tokenize(&tokenizer->vocab, tokenizer->unknown, text, bytes, out);
  }
  return false;
}

static em_status tokenize(const em_tokenizer *tokenizer, const char *text, size_t bytes, const em_trust *trust,
                          unsigned flags, em_tokens *out, em_error *error) {
  em_status status = EM_OK;
  call_memory memory = {0};
  em_special_match *matches = NULL;
  size_t n_matches, n_before = out->n, at = 0;
  bool prefix = tokenizer->add_space_prefix && !(flags & EM_TOKENIZE_CONTINUE), done = true;
  if (bytes > EM_TOKENIZER_MAX_TEXT_BYTES)
    return em_fail(error, EM_ERR_LIMIT, "the text has %zu bytes; at most %u can be tokenized", bytes,
                   EM_TOKENIZER_MAX_TEXT_BYTES);
  EM_TRY(em_specials_find(&tokenizer->specials, &tokenizer->vocab, text, bytes, (flags & EM_TOKENIZE_SPECIAL) != 0,
                          trust, &matches, &n_matches, error));
  if ((flags & EM_TOKENIZE_ADD_BOS_EOS) && tokenizer->add_bos)
    done = em_tokens_append(out, tokenizer->bos);
  for (size_t i = 0; done && i <= n_matches; i++) {
    size_t end = i < n_matches ? matches[i].start : bytes;
    if (end > at)
      done = tokenize_stretch(tokenizer, &memory, text + at, end - at, prefix, out);
    if (done && i < n_matches) {
      done = em_tokens_append(out, matches[i].id);
      at = end + em_vocab_piece(&tokenizer->vocab, matches[i].id).bytes;
      prefix = tokenizer->add_space_prefix;
    }
  }
  if (done && (flags & EM_TOKENIZE_ADD_BOS_EOS) && tokenizer->add_eos)
    done = em_tokens_append(out, tokenizer->eos);
  if (!done)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory to tokenize %zu bytes of text", bytes));
fail:
  if (status != EM_OK)
    out->n = n_before;
  free(matches);
  em_merger_clear(&memory.merger);
  em_buffer_clear(&memory.marked);
  return status;
}

em_status em_tokenize(const em_tokenizer *tokenizer, const char *text, size_t bytes, unsigned flags, em_tokens *out,
                      em_error *error) {
  return tokenize(tokenizer, text, bytes, NULL, flags, out, error);
}

em_status em_tokenize_trusted(const em_tokenizer *tokenizer, const char *text, size_t bytes, const em_trust *trust,
                              unsigned flags, em_tokens *out, em_error *error) {
  return tokenize(tokenizer, text, bytes, trust, flags, out, error);
}
