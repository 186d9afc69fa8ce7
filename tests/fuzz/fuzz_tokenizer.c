/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Any bytes as a small vocabulary and a text. What is made of them must keep the tokenizer's promises: ids inside the
 * vocabulary, text that is UTF-8, the same text however it is streamed, and, for byte-level vocabularies, the very
 * bytes that went in.
 *
 * The bytes are: kind, pre-tokenizer, flags, number of pieces, the pieces (length, type, score, text), number of
 * merges, the merges (the numbers of two pieces), and the text. What is missing at the end counts as zeros. */
#include "base/utf8.h"
#include "fuzz.h"
#include "text/tokenizer/tokenizer.h"

#include <string.h>

enum { MAX_PIECES = 256 + 256, MAX_MERGES = 256, MAX_MERGE_BYTES = 80 };

typedef struct input {
  const uint8_t *data;
  size_t bytes;
} input;

static uint8_t take(input *in) {
  if (in->bytes == 0)
    return 0;
  in->bytes--;
  return *in->data++;
}

/* The characters that spell the 256 bytes. */
static size_t spell(unsigned byte, char out[4]) {
  unsigned shifted = 0x100;
  for (unsigned other = 0; other < byte; other++)
    shifted += !((other >= 0x21 && other <= 0x7E) || (other >= 0xA1 && other != 0xAD));
  bool plain = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
  return em_utf8_encode(plain ? byte : shifted, out);
}

static void check_text(const em_tokenizer *tokenizer, const em_tokens *ids, bool with_special) {
  em_buffer whole = {0}, streamed = {0};
  em_detok detok;
  REQUIRE(em_detokenize(tokenizer, ids->ids, ids->n, with_special, &whole, NULL) == EM_OK);
  REQUIRE(em_utf8_valid(whole.data ? whole.data : "", whole.bytes));
  em_detok_init(&detok, tokenizer, with_special, true);
  for (size_t i = 0, seen = 0; i < ids->n; i++) {
    REQUIRE(em_detok_push(&detok, ids->ids[i], &streamed));
    REQUIRE(streamed.bytes == seen || em_utf8_valid(streamed.data + seen, streamed.bytes - seen));
    seen = streamed.bytes;
  }
  REQUIRE(em_detok_flush(&detok, &streamed));
  REQUIRE(whole.bytes == streamed.bytes && (whole.bytes == 0 || memcmp(whole.data, streamed.data, whole.bytes) == 0));
  em_buffer_clear(&whole);
  em_buffer_clear(&streamed);
}

/* The middle of the text may hold special tokens. */
static em_status tokenize_trusted(const em_tokenizer *tokenizer, const char *text, size_t bytes, em_tokens *ids) {
  struct em_trust_range ranges[] = {{bytes / 4, bytes / 4}, {bytes / 2, bytes / 8}};
  int32_t guarded[] = {257, 259};
  em_trust trust = {.ranges = ranges, .n_ranges = 2, .guarded = guarded, .n_guarded = 2};
  return em_tokenize_trusted(tokenizer, text, bytes, &trust, EM_TOKENIZE_PLAIN, ids, NULL);
}

static void check_tokens(const em_tokenizer *tokenizer, const char *text, size_t bytes, unsigned flags, int32_t unknown,
                         bool round_trip, bool trusted) {
  em_tokens ids = {0};
  em_buffer back = {0};
  REQUIRE((trusted ? tokenize_trusted(tokenizer, text, bytes, &ids)
                   : em_tokenize(tokenizer, text, bytes, flags, &ids, NULL)) == EM_OK);
  for (size_t i = 0; i < ids.n; i++) {
    REQUIRE(ids.ids[i] >= 0 && (size_t)ids.ids[i] < em_tokenizer_n_tokens(tokenizer));
    REQUIRE(em_token_bytes(tokenizer, ids.ids[i], true, &back));
    em_tokenizer_is_end(tokenizer, ids.ids[i]);
  }
  if (round_trip && !(flags & EM_TOKENIZE_ADD_BOS_EOS))
    REQUIRE(back.bytes == bytes && (bytes == 0 || memcmp(back.data, text, bytes) == 0));
  /* Ordinary text never becomes a control token, whatever the vocabulary, unless the file calls one its unknown token.
   */
  if (!trusted && !(flags & (EM_TOKENIZE_SPECIAL | EM_TOKENIZE_ADD_BOS_EOS)))
    for (size_t i = 0; i < ids.n; i++)
      REQUIRE(em_tokenizer_type(tokenizer, ids.ids[i]) != EM_TOKEN_CONTROL || ids.ids[i] == unknown);
  check_text(tokenizer, &ids, false);
  check_text(tokenizer, &ids, true);
  em_buffer_clear(&back);
  em_tokens_clear(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  static const char *const models[] = {"llama", "gpt2", "gemma4", "bert"};
  static const char *const pres[] = {"default", "llama-bpe",   "qwen2",        "qwen35",         "gpt-4o", "tekken",
                                     "kimi-k2", "deepseek-v3", "deepseek-llm", "deepseek-coder", "gpt-2",  "starcoder",
                                     "falcon",  "seed-coder",  "viking",       "no such"};
  static char spelled[256][8], numbered[256][8], merge_texts[MAX_MERGES][MAX_MERGE_BYTES];
  static em_piece pieces[MAX_PIECES], merges[MAX_MERGES];
  static int32_t types[MAX_PIECES];
  static float scores[MAX_PIECES];
  input in = {data, bytes};
  unsigned kind = take(&in), pre = take(&in), flags = take(&in);
  em_tokenizer_params params = {.model = models[kind % 4],
                                .pre = pres[pre % 16],
                                .pieces = pieces,
                                .types = types,
                                .scores = scores,
                                .merges = merges,
                                .bos = EM_NO_TOKEN,
                                .eos = EM_NO_TOKEN,
                                .unk = EM_NO_TOKEN,
                                .eot = EM_NO_TOKEN,
                                .eom = EM_NO_TOKEN,
                                .add_bos = -1,
                                .add_eos = -1,
                                .add_space_prefix = (int)(flags >> 6) - 1};
  /* Half of all vocabularies have every byte, first of all, so that nothing can stand in its way. */
  bool has_bytes = kind & 4;
  bool byte_level = kind % 4 == 1;
  for (unsigned i = 0; !numbered[255][0] && i < 256; i++) {
    spell(i, spelled[i]);
    snprintf(numbered[i], sizeof numbered[i], "<0x%02X>", i);
  }
  for (unsigned i = 0; has_bytes && i < 256; i++) {
    const char *text = byte_level ? spelled[i] : numbered[i];
    pieces[i] = (em_piece){text, strlen(text)};
    types[i] = byte_level ? EM_TOKEN_NORMAL : EM_TOKEN_BYTE;
    scores[i] = 0;
    params.n_tokens++;
  }
  for (unsigned n = take(&in); n > 0; n--) {
    size_t i = params.n_tokens++, length = take(&in) % 32;
    types[i] = take(&in) % 9;
    scores[i] = (float)(int8_t)take(&in);
    if (length > in.bytes)
      length = in.bytes;
    pieces[i] = (em_piece){length ? (const char *)in.data : "", length};
    in.data += length;
    in.bytes -= length;
  }
  for (unsigned n = take(&in); n > 0 && params.n_tokens > 0; n--) {
    em_piece left = pieces[take(&in) % params.n_tokens], right = pieces[take(&in) % params.n_tokens];
    char *text = merge_texts[params.n_merges];
    memcpy(text, left.text, left.bytes);
    text[left.bytes] = ' ';
    memcpy(text + left.bytes + 1, right.text, right.bytes);
    merges[params.n_merges++] = (em_piece){text, left.bytes + 1 + right.bytes};
  }
  if (flags & 8)
    params.types = NULL;
  if (flags & 16 && params.n_tokens > 0) {
    params.bos = (int32_t)params.n_tokens - 1;
    params.eos = (int32_t)params.n_tokens / 2;
    params.unk = (int32_t)params.n_tokens / 3;
    params.add_bos = params.add_eos = 1;
  }
  em_tokenizer *tokenizer = NULL;
  em_error error = {0};
  em_status status = em_tokenizer_new(&params, &tokenizer, &error);
  if (status != EM_OK) {
    REQUIRE(!tokenizer && error.code == status && error.text[0] && !strchr(error.text, '\n'));
    return 0;
  }
  /* The text in a block of its own size, so that a sanitizer sees a read past its end. */
  char *text = malloc(in.bytes ? in.bytes : 1);
  memcpy(text, in.data, in.bytes);
  bool round_trip = has_bytes && byte_level;
  check_tokens(tokenizer, text, in.bytes, flags & 7, params.unk, round_trip, false);
  check_tokens(tokenizer, text, in.bytes, EM_TOKENIZE_PLAIN, params.unk, round_trip, false);
  check_tokens(tokenizer, text, in.bytes, EM_TOKENIZE_PLAIN, params.unk, round_trip, true);
  free(text);
  em_tokenizer_free(tokenizer);
  return 0;
}
