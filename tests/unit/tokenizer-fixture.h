/* Small vocabularies of our own for the tokenizer's tests. */
#pragma once

#include "check.h"
#include "text/tokenizer/tokenizer.h"

enum { FIXTURE_MAX = 2048 };

/* A vocabulary that grows piece by piece; texts are borrowed. */
typedef struct fixture {
  em_tokenizer_params params;
  em_piece pieces[FIXTURE_MAX], merges[FIXTURE_MAX];
  float scores[FIXTURE_MAX];
  int32_t types[FIXTURE_MAX];
} fixture;

static inline void fixture_init(fixture *f, const char *model, const char *pre) {
  *f = (fixture){0};
  f->params = (em_tokenizer_params){.model = model, .pre = pre, .pieces = f->pieces, .types = f->types,
                                    .scores = f->scores, .merges = f->merges, .bos = EM_NO_TOKEN, .eos = EM_NO_TOKEN,
                                    .unk = EM_NO_TOKEN, .eot = EM_NO_TOKEN, .eom = EM_NO_TOKEN, .add_bos = -1,
                                    .add_eos = -1, .add_space_prefix = -1};
}

static inline int32_t fixture_add(fixture *f, const char *text, em_token_type type, float score) {
  size_t i = f->params.n_tokens++;
  f->pieces[i] = (em_piece){text, strlen(text)};
  f->types[i] = type;
  f->scores[i] = score;
  return (int32_t)i;
}

static inline void fixture_merge(fixture *f, const char *merge) {
  f->merges[f->params.n_merges++] = (em_piece){merge, strlen(merge)};
}

/* The 256 bytes as <0x00> to <0xFF>. */
static inline void fixture_add_bytes(fixture *f) {
  static char texts[256][8];
  for (int i = 0; i < 256; i++) {
    snprintf(texts[i], sizeof texts[i], "<0x%02X>", i);
    fixture_add(f, texts[i], EM_TOKEN_BYTE, 0);
  }
}

/* The 256 characters that spell bytes in byte-level pieces, in the order of the bytes. */
static inline void fixture_add_alphabet(fixture *f) {
  static char texts[256][4];
  unsigned next = 0x100;
  for (unsigned i = 0; i < 256; i++) {
    unsigned c = (i >= 0x21 && i <= 0x7E) || (i >= 0xA1 && i != 0xAD) ? i : next++;
    if (c < 0x80) {
      texts[i][0] = (char)c;
    } else {
      texts[i][0] = (char)(0xC0 | c >> 6);
      texts[i][1] = (char)(0x80 | (c & 0x3F));
    }
    fixture_add(f, texts[i], EM_TOKEN_NORMAL, 0);
  }
}

static inline em_tokenizer *fixture_make(const fixture *f) {
  em_tokenizer *tokenizer = NULL;
  em_error error = {0};
  CHECK_INT(em_tokenizer_new(&f->params, &tokenizer, &error), EM_OK);
  if (!tokenizer) {
    fprintf(stderr, "no tokenizer: %s\n", error.text);
    exit(1);
  }
  return tokenizer;
}

/* The pieces of a text's tokens with "|" between them; valid until the next call. */
static inline const char *pieces_of(const em_tokenizer *tokenizer, const char *text, size_t bytes, unsigned flags) {
  static char joined[8192];
  em_tokens ids = {0};
  size_t n = 0;
  CHECK_INT(em_tokenize(tokenizer, text, bytes, flags, &ids, NULL), EM_OK);
  for (size_t i = 0; i < ids.n; i++) {
    CHECK(ids.ids[i] >= 0 && (size_t)ids.ids[i] < em_tokenizer_n_tokens(tokenizer));
    em_piece piece = em_tokenizer_piece(tokenizer, ids.ids[i]);
    n += (size_t)snprintf(joined + n, sizeof joined - n, "%s%.*s", i ? "|" : "", (int)piece.bytes, piece.text);
  }
  joined[n] = '\0';
  em_tokens_clear(&ids);
  return joined;
}

#define CHECK_PIECES(tokenizer, text, flags, expected) \
  CHECK_TEXT(pieces_of(tokenizer, text, strlen(text), flags), expected)

/* What tokens give back. */
static inline void check_back(const em_tokenizer *tokenizer, const char *text, size_t bytes, unsigned flags,
                              const char *expected, size_t expected_bytes) {
  em_tokens ids = {0};
  em_buffer out = {0};
  CHECK_INT(em_tokenize(tokenizer, text, bytes, flags, &ids, NULL), EM_OK);
  CHECK_INT(em_detokenize(tokenizer, ids.ids, ids.n, true, &out, NULL), EM_OK);
  CHECK_INT(out.bytes, expected_bytes);
  CHECK(out.bytes == expected_bytes && (expected_bytes == 0 || memcmp(out.data, expected, expected_bytes) == 0));
  em_tokens_clear(&ids);
  em_buffer_clear(&out);
}

static inline uint32_t next_random(uint32_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  *state ^= *state << 5;
  return *state;
}

/* A random valid character, often one that pre-tokenizers care about; returns its bytes. */
static inline size_t random_char(uint32_t *state, char out[4]) {
  static const char *const likely[] = {" ",
                                       " ",
                                       "\n",
                                       "\r",
                                       "\t",
                                       "'",
                                       "s",
                                       "L",
                                       "l",
                                       "a",
                                       "B",
                                       "1",
                                       "23",
                                       "/",
                                       "!",
                                       "<",
                                       "|",
                                       ">",
                                       "\xC3\xA9",
                                       "\xCC\x81",
                                       "\xE4\xB8\xAD",
                                       "\xE3\x81\x82",
                                       "\xEA\xB0\x80",
                                       "\xF0\x9F\xA6\x99",
                                       "\xE2\x96\x81",
                                       "\xE3\x80\x80",
                                       "\xEF\xBF\xBD"};
  if (next_random(state) % 4) {
    const char *text = likely[next_random(state) % (sizeof likely / sizeof likely[0])];
    memcpy(out, text, strlen(text));
    return strlen(text);
  }
  uint32_t c;
  do
    c = next_random(state) % 0x110000;
  while (c >= 0xD800 && c < 0xE000);
  if (c < 0x80) {
    out[0] = (char)c;
    return 1;
  }
  size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = n; --i > 0; c >>= 6)
    out[i] = (char)(0x80 | (c & 0x3F));
  out[0] = (char)((0xF00 >> n & 0xF0) | c);
  return n;
}
