/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Every vocabulary of the shared folder that has test vectors: the ids must be equal, all of them. Vocabularies come as
 * GGUF, as encoder.json with vocab.bpe, or as a tiktoken file of base64 pieces with ranks. */
#include "base/file.h"
#include "base/json.h"
#include "base/utf8.h"
#include "check.h"
#include "text/dialog.h"

#include <dirent.h>

#define SEPARATOR "\n__ggml_vocab_test__\n"
#define MAX_FILE (64u << 20)

static const char *shared;

/* The vectors that were run. */
static char run_names[64][64];
static size_t n_run;

static char *read_text(const char *path, size_t *bytes) {
  char *text = NULL;
  return em_file_read(path, MAX_FILE, &text, bytes, NULL) == EM_OK ? text : NULL;
}

static void print_ids(const char *what, const int32_t *ids, size_t n) {
  fprintf(stderr, "  %s:", what);
  for (size_t i = 0; i < n; i++)
    fprintf(stderr, " %d", ids[i]);
  fprintf(stderr, "\n");
}

/* Reads the ids of one line; returns the beginning of the next. */
static const char *read_ids(const char *line, em_tokens *out) {
  while (*line && *line != '\n') {
    char *end;
    long id = strtol(line, &end, 10);
    if (end == line)
      break;
    CHECK(em_tokens_append(out, (int32_t)id));
    line = end;
    while (*line == ' ' || *line == '\r')
      line++;
  }
  return *line == '\n' ? line + 1 : line;
}

/* Runs data/vocab/ggml-vocab-NAME.gguf.inp against .out. */
static void run_vectors(const char *name, const em_tokenizer *tokenizer) {
  char path[4096];
  size_t bytes, expected_bytes;
  snprintf(path, sizeof path, "%s/data/vocab/ggml-vocab-%s.gguf.inp", shared, name);
  char *text = read_text(path, &bytes);
  snprintf(path, sizeof path, "%s/data/vocab/ggml-vocab-%s.gguf.out", shared, name);
  char *expected = read_text(path, &expected_bytes);
  CHECK(text && expected);
  if (!text || !expected)
    goto done;
  int n = 0, n_equal = 0;
  const char *line = expected;
  for (size_t at = 0; at < bytes;) {
    const char *end = memmem(text + at, bytes - at, SEPARATOR, strlen(SEPARATOR));
    size_t length = end ? (size_t)(end - text) - at : bytes - at;
    em_tokens wanted = {0}, ids = {0};
    line = read_ids(line, &wanted);
    CHECK(em_tokenize(tokenizer, text + at, length, EM_TOKENIZE_PLAIN, &ids, NULL) == EM_OK);
    bool equal = ids.n == wanted.n && (ids.n == 0 || memcmp(ids.ids, wanted.ids, ids.n * sizeof *ids.ids) == 0);
    CHECK(equal);
    if (!equal) {
      fprintf(stderr, "%s, text %d: \"%.*s\"\n", name, n, (int)length, text + at);
      print_ids("expected", wanted.ids, wanted.n);
      print_ids("     got", ids.ids, ids.n);
    }
    n++;
    n_equal += equal;
    em_tokens_clear(&wanted);
    em_tokens_clear(&ids);
    at += length + (end ? strlen(SEPARATOR) : 0);
  }
  CHECK(*line == '\0');
  CHECK(n > 0);
  printf("%s: %d of %d texts\n", name, n_equal, n);
  if (n_run < sizeof run_names / sizeof run_names[0])
    snprintf(run_names[n_run++], sizeof run_names[0], "%s", name);
done:
  free(text);
  free(expected);
}

/* --- Vocabularies that are not GGUF ----------------------------------------------------------------------------- */

typedef struct vocabulary {
  em_piece *pieces;
  size_t n;
  em_piece *merges;
  size_t n_merges;
} vocabulary;

static em_piece copy_piece(const char *text, size_t bytes) {
  char *copy = calloc(bytes + 1, 1);
  memcpy(copy, text, bytes);
  return (em_piece){copy, bytes};
}

static void clear_vocabulary(vocabulary *v) {
  for (size_t i = 0; i < v->n; i++)
    free((char *)v->pieces[i].text);
  for (size_t i = 0; i < v->n_merges; i++)
    free((char *)v->merges[i].text);
  free(v->pieces);
  free(v->merges);
}

static em_tokenizer *make_tokenizer(const vocabulary *v, const char *pre) {
  em_tokenizer_params params = {.model = "gpt2", .pre = pre, .pieces = v->pieces, .n_tokens = v->n, .merges = v->merges,
                                .n_merges = v->n_merges, .bos = EM_NO_TOKEN, .eos = EM_NO_TOKEN, .unk = EM_NO_TOKEN,
                                .eot = EM_NO_TOKEN, .eom = EM_NO_TOKEN, .add_bos = -1, .add_eos = -1,
                                .add_space_prefix = -1};
  em_tokenizer *tokenizer = NULL;
  em_error error = {0};
  CHECK(em_tokenizer_new(&params, &tokenizer, &error) == EM_OK);
  if (!tokenizer)
    fprintf(stderr, "%s: %s\n", pre, error.text);
  return tokenizer;
}

/* encoder.json maps pieces to ids; vocab.bpe has one merge a line. */
static bool read_encoder(vocabulary *v) {
  char path[4096];
  size_t bytes;
  snprintf(path, sizeof path, "%s/data/tokenizers/llama3.2/encoder.json", shared);
  char *text = read_text(path, &bytes);
  if (!text)
    return false;
  em_arena *arena = em_arena_new(0);
  const em_json *json = NULL;
  CHECK(em_json_parse(arena, text, bytes, 0, &json, NULL) == EM_OK && json->kind == EM_JSON_OBJECT);
  v->n = json->n_children;
  v->pieces = calloc(v->n, sizeof *v->pieces);
  for (const em_json *entry = json->first; entry; entry = entry->next)
    if (entry->integer >= 0 && (size_t)entry->integer < v->n)
      v->pieces[entry->integer] = copy_piece(entry->key, entry->key_bytes);
  em_arena_free(arena);
  free(text);
  snprintf(path, sizeof path, "%s/data/tokenizers/llama3.2/vocab.bpe", shared);
  text = read_text(path, &bytes);
  CHECK(text != NULL);
  if (!text)
    return false;
  size_t capacity = 0;
  for (const char *line = text, *end; line < text + bytes; line = end + 1) {
    end = memchr(line, '\n', (size_t)(text + bytes - line));
    if (!end)
      end = text + bytes;
    if (end == line || *line == '#')
      continue;
    if (v->n_merges == capacity) {
      capacity = capacity ? capacity * 2 : 1024;
      v->merges = realloc(v->merges, capacity * sizeof *v->merges);
    }
    v->merges[v->n_merges++] = copy_piece(line, (size_t)(end - line));
  }
  free(text);
  return true;
}

static int base64_digit(char c) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *at = c ? strchr(digits, c) : NULL;
  return at ? (int)(at - digits) : -1;
}

/* The piece of a line, each byte spelled by its byte-level character: printable Latin-1 as itself, others from U+0100
 * on. */
static em_piece spell_base64(const char *line, size_t length) {
  char spelled[2048];
  size_t n = 0;
  unsigned bits = 0, n_bits = 0;
  for (size_t i = 0; i < length && base64_digit(line[i]) >= 0; i++) {
    bits = bits << 6 | (unsigned)base64_digit(line[i]);
    n_bits += 6;
    if (n_bits < 8)
      continue;
    n_bits -= 8;
    unsigned byte = bits >> n_bits & 0xFF;
    uint32_t shifted = 0x100;
    for (unsigned other = 0; other < byte; other++)
      shifted += !((other >= 0x21 && other <= 0x7E) || (other >= 0xA1 && other <= 0xAC) || other >= 0xAE);
    bool plain = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    n += em_utf8_encode(plain ? byte : shifted, spelled + n);
  }
  return copy_piece(spelled, n);
}

/* The merge that makes a piece: merging its characters by rank as long as that gives pieces of lower rank leaves two
 * parts. */
static void add_tiktoken_merge(vocabulary *v, const em_tokenizer *finder, size_t id) {
  em_piece piece = v->pieces[id];
  size_t ends[1024], n = 0;
  for (size_t i = 1; i <= piece.bytes; i++)
    if (i == piece.bytes || ((unsigned char)piece.text[i] & 0xC0) != 0x80)
      ends[n++] = i;
  while (n > 2) {
    size_t best = 0;
    int32_t best_rank = (int32_t)id;
    for (size_t i = 0; i + 1 < n; i++) {
      size_t start = i ? ends[i - 1] : 0;
      int32_t rank = em_tokenizer_find(finder, piece.text + start, ends[i + 1] - start);
      if (rank != EM_NO_TOKEN && rank < best_rank) {
        best_rank = rank;
        best = i;
      }
    }
    if (best_rank == (int32_t)id)
      return;
    memmove(ends + best, ends + best + 1, (--n - best) * sizeof *ends);
  }
  if (n < 2)
    return;
  char merge[2048];
  size_t left = ends[0];
  memcpy(merge, piece.text, left);
  merge[left] = ' ';
  memcpy(merge + left + 1, piece.text + left, piece.bytes - left);
  v->merges[v->n_merges++] = copy_piece(merge, piece.bytes + 1);
}

static bool read_tiktoken(const char *path, vocabulary *v) {
  size_t bytes;
  char *text = read_text(path, &bytes);
  if (!text)
    return false;
  size_t capacity = 0;
  for (const char *line = text, *end; line < text + bytes; line = end + 1) {
    end = memchr(line, '\n', (size_t)(text + bytes - line));
    if (!end)
      end = text + bytes;
    if (end == line)
      continue;
    if (v->n == capacity) {
      capacity = capacity ? capacity * 2 : 1024;
      v->pieces = realloc(v->pieces, capacity * sizeof *v->pieces);
    }
    const char *rank = memchr(line, ' ', (size_t)(end - line));
    CHECK(rank && strtoul(rank, NULL, 10) == v->n);
    v->pieces[v->n++] = spell_base64(line, (size_t)(end - line));
  }
  free(text);
  v->merges = calloc(v->n, sizeof *v->merges);
  em_tokenizer *finder = make_tokenizer(v, "default");
  for (size_t id = 0; finder && id < v->n; id++)
    add_tiktoken_merge(v, finder, id);
  em_tokenizer_free(finder);
  return true;
}

/* --- The runs --------------------------------------------------------------------------------------------------- */

/* Real vocabularies give back what they were given, whatever it is. */
static void check_round_trip(const char *name, const em_tokenizer *tokenizer) {
  static const char text[] =
      "Hello, \xD0\xBC\xD0\xB8\xD1\x80!\r\n\t  \xF0\x9F\xA6\x99 don't \xE4\xBD\xA0\xE5\xA5\xBD 12345 "
      "\xE0\xA4\xA8\xE0\xA4\xAE\xE0\xA4\xB8\xE0\xA5\x8D\xE0\xA4\xA4\xE0\xA5\x87 <|x|>\n\n";
  em_tokens ids = {0};
  em_buffer back = {0};
  CHECK(em_tokenize(tokenizer, text, strlen(text), EM_TOKENIZE_PLAIN, &ids, NULL) == EM_OK);
  CHECK(em_detokenize(tokenizer, ids.ids, ids.n, false, &back, NULL) == EM_OK);
  CHECK_TEXT(back.data, text);
  printf("%s: text came back from %zu tokens\n", name, ids.n);
  em_tokens_clear(&ids);
  em_buffer_clear(&back);
}

static void run_gguf(const char *name, const char *path) {
  em_gguf *gguf = NULL;
  em_dialog *dialog = NULL;
  em_error error = {0};
  if (em_gguf_open(path, &gguf, &error) != EM_OK || em_dialog_new(gguf, &dialog, &error) != EM_OK) {
    fprintf(stderr, "%s: %s\n", path, error.text);
    CHECK(!"the vocabulary can be read");
  } else {
    char vectors[4096];
    snprintf(vectors, sizeof vectors, "%s/data/vocab/ggml-vocab-%s.gguf.inp", shared, name);
    FILE *file = fopen(vectors, "rb");
    if (file) {
      fclose(file);
      run_vectors(name, em_dialog_tokenizer(dialog));
    }
    if (strcmp(name, "bert-bge") != 0) /* which drops case and spaces */
      check_round_trip(name, em_dialog_tokenizer(dialog));
  }
  em_dialog_free(dialog);
  em_gguf_close(gguf);
}

static void run_vocabulary(const char *name, const char *pre, vocabulary *v) {
  em_tokenizer *tokenizer = make_tokenizer(v, pre);
  if (tokenizer) {
    if (name)
      run_vectors(name, tokenizer);
    check_round_trip(name ? name : pre, tokenizer);
  }
  em_tokenizer_free(tokenizer);
  clear_vocabulary(v);
}

/* --- Pre-tokenizers --------------------------------------------------------------------------------------------- */

/* Many models' vocabularies are not in the folder, but how their text is cut into words shows with any large one. So
 * words.txt, a random mix of scripts, cases, signs and spaces, is tokenized with one vocabulary and each pre-tokenizer,
 * and the ids are compared, by number and hash, with those that another engine (llama.cpp of Debian sid, November 2026)
 * gives for the same file. It has no combining marks, which that engine leaves out of the letters of gpt-4o and tekken.
 */
static const struct {
  const char *pre;
  size_t n;
  uint64_t hash;
} cut[] = {
    {"default", 7905, UINT64_C(0xe6f3d0c86c16b90c)},      {"llama-bpe", 7906, UINT64_C(0x01d5048eb2bcfea8)},
    {"qwen2", 7906, UINT64_C(0x01d5048eb2bcfea8)},        {"qwen35", 7906, UINT64_C(0x01d5048eb2bcfea8)},
    {"gpt-4o", 7918, UINT64_C(0x3fa81f572f343f83)},       {"minimax-m2", 7918, UINT64_C(0x3fa81f572f343f83)},
    {"tekken", 7918, UINT64_C(0x3fa81f572f343f83)},       {"deepseek-v3", 7893, UINT64_C(0x84ddc86a5ff51ee1)},
    {"deepseek-llm", 7869, UINT64_C(0x8476a7b5c8bd78b5)}, {"deepseek-coder", 7916, UINT64_C(0x3a9404ef3d0c39a9)},
    {"gpt-2", 7907, UINT64_C(0x095899b87e5288f5)},        {"starcoder", 7903, UINT64_C(0xebf22a9d957c1729)},
    {"command-r", 7903, UINT64_C(0xebf22a9d957c1729)},    {"falcon", 7904, UINT64_C(0x2228c0c751709a9b)},
    {"smollm", 7903, UINT64_C(0xebf22a9d957c1729)},
};

/* FNV-1a over the bytes of the ids. */
static uint64_t hash_ids(const em_tokens *ids) {
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < ids->n; i++)
    for (unsigned shift = 0; shift < 32; shift += 8)
      hash = (hash ^ ((uint32_t)ids->ids[i] >> shift & 0xFF)) * UINT64_C(0x100000001b3);
  return hash;
}

static em_piece *pieces_of(const em_gguf *gguf, const char *key, size_t *n) {
  const em_text *texts;
  if (!em_gguf_get_texts(gguf, key, &texts, n))
    return NULL;
  em_piece *pieces = calloc(*n, sizeof *pieces);
  for (size_t i = 0; i < *n; i++)
    pieces[i] = (em_piece){texts[i].text, texts[i].bytes};
  return pieces;
}

static void run_pretokenizers(const char *words_path) {
  char path[4096];
  em_gguf *gguf = NULL;
  size_t bytes, n_types;
  char *text = read_text(words_path, &bytes);
  snprintf(path, sizeof path, "%s/data/vocab/ggml-vocab-deepseek-llm.gguf", shared);
  if (em_gguf_open(path, &gguf, NULL) != EM_OK) {
    printf("SKIP: pre-tokenizers: deepseek-llm's vocabulary is not here\n");
    free(text);
    return;
  }
  em_tokenizer_params params = {.model = "gpt2",
                                .bos = EM_NO_TOKEN,
                                .eos = EM_NO_TOKEN,
                                .unk = EM_NO_TOKEN,
                                .eot = EM_NO_TOKEN,
                                .eom = EM_NO_TOKEN,
                                .add_bos = 0,
                                .add_eos = 0,
                                .add_space_prefix = -1};
  em_piece *pieces = pieces_of(gguf, "tokenizer.ggml.tokens", &params.n_tokens);
  em_piece *merges = pieces_of(gguf, "tokenizer.ggml.merges", &params.n_merges);
  params.pieces = pieces;
  params.merges = merges;
  CHECK(text && pieces && merges && em_gguf_get_i32s(gguf, "tokenizer.ggml.token_type", &params.types, &n_types));
  for (size_t i = 0; text && i < sizeof cut / sizeof *cut; i++) {
    em_tokenizer *tokenizer = NULL;
    em_tokens ids = {0};
    params.pre = cut[i].pre;
    CHECK_INT(em_tokenizer_new(&params, &tokenizer, NULL), EM_OK);
    CHECK_INT(em_tokenize(tokenizer, text, bytes, EM_TOKENIZE_PLAIN, &ids, NULL), EM_OK);
    if (ids.n != cut[i].n || hash_ids(&ids) != cut[i].hash)
      fprintf(stderr, "%s: %zu tokens where %zu are expected, or other ones\n", cut[i].pre, ids.n, cut[i].n);
    CHECK_INT(ids.n, cut[i].n);
    CHECK(hash_ids(&ids) == cut[i].hash);
    em_tokens_clear(&ids);
    em_tokenizer_free(tokenizer);
  }
  printf("%zu pre-tokenizers cut words.txt as expected\n", sizeof cut / sizeof *cut);
  free(pieces);
  free(merges);
  free(text);
  em_gguf_close(gguf);
}

/* Names the vectors whose vocabulary is not in the folder. */
static void tell_skipped(const char *file) {
  char name[64];
  size_t length = strlen(file);
  if (length < 9 || strcmp(file + length - 9, ".gguf.inp") != 0 || sscanf(file, "ggml-vocab-%63[^/]", name) != 1)
    return;
  name[strlen(name) - 9] = '\0';
  for (size_t i = 0; i < n_run; i++)
    if (strcmp(run_names[i], name) == 0)
      return;
  printf("SKIP: %s: its vocabulary is not here\n", name);
}

int main(int argc, char **argv) {
  shared = getenv("HEARTH_SHARED");
  char path[4096];
  DIR *folder = NULL;
  if (shared) {
    snprintf(path, sizeof path, "%s/data/vocab", shared);
    folder = opendir(path);
  }
  if (!folder)
    SKIP("the shared test vectors are not here");
  for (struct dirent *entry; (entry = readdir(folder));) {
    char name[256];
    if (sscanf(entry->d_name, "ggml-vocab-%250[^/]", name) != 1)
      continue;
    size_t length = strlen(name);
    if (length < 5 || strcmp(name + length - 5, ".gguf") != 0)
      continue;
    name[length - 5] = '\0';
    snprintf(path, sizeof path, "%s/data/vocab/%s", shared, entry->d_name);
    run_gguf(name, path);
  }

  vocabulary llama3 = {0}, qwen = {0}, o200k = {0};
  if (read_encoder(&llama3))
    run_vocabulary("llama-bpe", "llama-bpe", &llama3);
  snprintf(path, sizeof path, "%s/data/tokenizers/qwen/qwen.tiktoken", shared);
  if (read_tiktoken(path, &qwen))
    run_vocabulary("qwen2", "qwen2", &qwen);
  snprintf(path, sizeof path, "%s/data/tokenizers/o200k/o200k_base.tiktoken", shared);
  if (read_tiktoken(path, &o200k))
    run_vocabulary(NULL, "gpt-4o", &o200k);
  CHECK_INT(argc, 2);
  if (argc == 2)
    run_pretokenizers(argv[1]);
  rewinddir(folder);
  for (struct dirent *entry; (entry = readdir(folder));)
    tell_skipped(entry->d_name);
  closedir(folder);
  CHECK(n_run > 0);
  return check_done();
}
