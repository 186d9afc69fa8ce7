/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The sampler against a plain one that sorts the whole vocabulary, its statistics, and each setting alone. */
#include "check.h"

#include <stdint.h>

#include "engine/sampler.h"
#include "gguf/writer.h"

#define MAX_VOCAB 5000

static uint64_t random_state = 12345;

static float random_value(void) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (float)(random_state >> 40) * 0x1p-24f;
}

/* --- The plain sampler -------------------------------------------------------------------------------------------- */

typedef struct item {
  int32_t id;
  float logit;
  double weight;
} item;

static int by_logit(const void *a, const void *b) {
  const item *x = a, *y = b;
  if (x->logit != y->logit)
    return x->logit > y->logit ? -1 : 1;
  return x->id < y->id ? -1 : 1;
}

/* The tokens that survive every filter; returns how many. */
static size_t plain_filter(const float *logits, uint32_t n_vocab, const em_sampling *s, item *items) {
  size_t n = 0;
  for (uint32_t i = 0; i < n_vocab; i++)
    if (logits[i] > -INFINITY)
      items[n++] = (item){(int32_t)i, logits[i], 0};
  qsort(items, n, sizeof *items, by_logit);
  for (size_t i = 0; i < n; i++)
    items[i].weight = exp(((double)items[i].logit - (double)items[0].logit) / (double)s->temperature);
  while (n > 0 && items[n - 1].weight < 1e-20)
    n--;
  if (s->top_k > 0 && s->top_k < n)
    n = s->top_k;
  if (s->top_p > 0 && s->top_p < 1) {
    double total = 0, sum = 0;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
      total += items[i].weight;
    while (kept < n && sum < (double)s->top_p * total)
      sum += items[kept++].weight;
    n = kept;
  }
  while (n > 0 && items[n - 1].weight < (double)s->min_p)
    n--;
  return n;
}

static int by_id(const void *a, const void *b) {
  return ((const item *)a)->id - ((const item *)b)->id;
}

static void compare(em_sampler *sampler, const float *logits, uint32_t n_vocab, const em_sampling *s) {
  static item items[MAX_VOCAB];
  em_sampler_input input = {.logits = logits, .sampling = s};
  int32_t token;
  CHECK_INT(em_sampler_pick(sampler, &input, &token, NULL), EM_OK);
  const int32_t *ids;
  const float *weights;
  size_t n = em_sampler_candidates(sampler, &ids, &weights), expected = plain_filter(logits, n_vocab, s, items);
  qsort(items, expected, sizeof *items, by_id);
  bool same = n == expected, found = false;
  for (size_t i = 0; i < n && same; i++) {
    same = ids[i] == items[i].id && fabs((double)weights[i] - items[i].weight) <= 1e-5 * items[i].weight;
    found = found || ids[i] == token;
  }
  if (!same)
    fprintf(stderr, "vocabulary %u, temperature %g, top_k %u, top_p %g, min_p %g: %zu candidates, expected %zu\n",
            n_vocab, (double)s->temperature, s->top_k, (double)s->top_p, (double)s->min_p, n, expected);
  CHECK(same);
  CHECK(found);
}

static void check_filters(void) {
  static float logits[MAX_VOCAB];
  static const uint32_t sizes[] = {1, 2, 15, 16, 17, 300, MAX_VOCAB};
  for (size_t v = 0; v < sizeof sizes / sizeof sizes[0]; v++) {
    em_sampler *sampler;
    uint32_t n = sizes[v];
    CHECK_INT(em_sampler_new(n, &sampler, NULL), EM_OK);
    for (int round = 0; round < 60; round++) {
      for (uint32_t i = 0; i < n; i++) {
        float x = random_value();
        logits[i] = round % 4 == 0   ? 20 * x - 10                     /* flat */
                    : round % 4 == 1 ? (float)(int)(8 * x)             /* many equals */
                    : round % 4 == 2 ? -30 * logf(x + 1e-6f)           /* a long tail */
                                     : 1e4f * (x - 0.5f) * (x - 0.5f); /* far apart */
        if (round % 5 == 4 && i % 3 == 1)
          logits[i] = -INFINITY;
      }
      static const float temperatures[] = {0.8f, 0.1f, 1, 2.5f, 100, 0.001f};
      static const uint32_t top_ks[] = {0, 1, 2, 40, 299, 100000};
      static const float top_ps[] = {0, 0.95f, 0.5f, 0.001f, 0.999f, 1};
      static const float min_ps[] = {0, 0.05f, 0.5f, 1};
      em_sampling s = {
          .temperature = temperatures[round % 6],
          .top_k = top_ks[(round / 2) % 6],
          .top_p = top_ps[(round / 3) % 6],
          .min_p = min_ps[(round / 5) % 4],
          .seed = (uint64_t)round,
      };
      compare(sampler, logits, n, &s);
    }
    em_sampler_free(sampler);
  }
}

/* --- Statistics --------------------------------------------------------------------------------------------------- */

static void check_statistics(void) {
  enum { N = 6, DRAWS = 60000 };
  float logits[N] = {0, 1, 2, 0.5f, -1, 1.5f};
  em_sampler *sampler;
  CHECK_INT(em_sampler_new(N, &sampler, NULL), EM_OK);
  for (int by_position = 0; by_position < 2; by_position++) {
    uint32_t counts[N] = {0}, repeats = 0;
    int32_t last = -1;
    for (uint32_t i = 0; i < DRAWS; i++) {
      em_sampling s = {.temperature = 0.7f, .seed = by_position ? 7 : i};
      em_sampler_input input = {.logits = logits, .sampling = &s, .n_history = by_position ? i : 11};
      int32_t token;
      CHECK_INT(em_sampler_pick(sampler, &input, &token, NULL), EM_OK);
      counts[token]++;
      repeats += token == last;
      last = token;
    }
    double p[N], total = 0, chi_square = 0, same = 0;
    for (int i = 0; i < N; i++)
      total += p[i] = exp((double)logits[i] / 0.7);
    for (int i = 0; i < N; i++) {
      double expected = DRAWS * p[i] / total;
      chi_square += (counts[i] - expected) * (counts[i] - expected) / expected;
      same += p[i] / total * p[i] / total;
    }
    CHECK(chi_square < 25); /* five degrees of freedom: passed by chance in all but one of 7,000 */
    CHECK(fabs(repeats - DRAWS * same) < 5 * sqrt(DRAWS * same)); /* neighbouring draws do not depend on each other */
  }
  em_sampler_free(sampler);
}

/* --- Single settings ---------------------------------------------------------------------------------------------- */

static int32_t pick(em_sampler *sampler, const float *logits, const em_sampling *s, const int32_t *history, uint32_t n,
                    const uint64_t *allowed) {
  em_sampler_input input = {logits, s, history, n, allowed};
  int32_t token = -2;
  em_error error = {0};
  return em_sampler_pick(sampler, &input, &token, &error) == EM_OK ? token : -3;
}

static void check_settings(void) {
  enum { N = 130 };
  float logits[N];
  em_sampler *sampler;
  CHECK_INT(em_sampler_new(N, &sampler, NULL), EM_OK);
  for (int i = 0; i < N; i++)
    logits[i] = i == 70 ? 5 : i == 20 || i == 100 ? 4 : -1;
  em_sampling s = {0};
  CHECK_INT(pick(sampler, logits, &s, NULL, 0, NULL), 70);
  /* The lowest id among equals, wherever they stand. */
  logits[70] = 4;
  CHECK_INT(pick(sampler, logits, &s, NULL, 0, NULL), 20);
  logits[20] = -1;
  CHECK_INT(pick(sampler, logits, &s, NULL, 0, NULL), 70);
  logits[70] = 5;
  logits[20] = 4;

  em_logit_bias biases[] = {{70, -INFINITY}, {100, 0.5f}, {129, 3}};
  s = (em_sampling){.biases = biases, .n_biases = 2};
  CHECK_INT(pick(sampler, logits, &s, NULL, 0, NULL), 100);
  biases[2].bias = 5.75f;
  s.n_biases = 3;
  CHECK_INT(pick(sampler, logits, &s, NULL, 0, NULL), 129);
  for (int i = 0; i < 20; i++) {
    s.temperature = 5;
    s.seed = (uint64_t)i;
    CHECK(pick(sampler, logits, &s, NULL, 0, NULL) != 70);
  }

  /* Repetition divides positive logits and multiplies negative ones; frequency counts, presence does not. */
  int32_t history[] = {70, 70, 70, 100, 3, 3};
  s = (em_sampling){.repetition_penalty = 1.24f};
  CHECK_INT(pick(sampler, logits, &s, history, 6, NULL), 70); /* 5 / 1.24 = 4.03 is still above 4 */
  s.repetition_penalty = 1.26f;
  CHECK_INT(pick(sampler, logits, &s, history, 6, NULL), 20);
  s.penalty_window = 3; /* does not reach back to 70 */
  CHECK_INT(pick(sampler, logits, &s, history, 6, NULL), 70);
  s = (em_sampling){.presence_penalty = 0.9f};
  CHECK_INT(pick(sampler, logits, &s, history, 6, NULL), 70);
  s.presence_penalty = 1.1f;
  CHECK_INT(pick(sampler, logits, &s, history, 6, NULL), 20);
  s = (em_sampling){.frequency_penalty = 0.34f}; /* three times is more than 1 */
  CHECK_INT(pick(sampler, logits, &s, history, 6, NULL), 20);
  s.frequency_penalty = 0.33f;
  CHECK_INT(pick(sampler, logits, &s, history, 6, NULL), 70);
  float below[4] = {-1, -1.2f, -9, -9};
  em_sampler *small;
  CHECK_INT(em_sampler_new(4, &small, NULL), EM_OK);
  s = (em_sampling){.repetition_penalty = 1.3f};
  int32_t zero = 0;
  CHECK_INT(pick(small, below, &s, &zero, 1, NULL), 1);
  em_sampler_free(small);

  uint64_t allowed[3] = {UINT64_C(1) << 20, 0, 2};
  s = (em_sampling){0};
  CHECK_INT(pick(sampler, logits, &s, NULL, 0, allowed), 20);
  s = (em_sampling){.n_biases = 1, .biases = &(em_logit_bias){129, 100}};
  CHECK_INT(pick(sampler, logits, &s, NULL, 0, allowed), 129);
  s.biases = &(em_logit_bias){20, -INFINITY};
  allowed[2] = 0;
  CHECK_INT(pick(sampler, logits, &s, NULL, 0, allowed), EM_NO_TOKEN);

  /* Numbers that are none never win, and logits without any number are an error. */
  s = (em_sampling){0};
  logits[70] = NAN;
  CHECK_INT(pick(sampler, logits, &s, NULL, 0, NULL), 20);
  s.temperature = 1;
  for (int i = 0; i < 50; i++) {
    s.seed = (uint64_t)i;
    CHECK(pick(sampler, logits, &s, NULL, 0, NULL) != 70);
  }
  logits[3] = INFINITY;
  CHECK_INT(pick(sampler, logits, &s, NULL, 0, NULL), -3);
  for (int i = 0; i < N; i++)
    logits[i] = NAN;
  CHECK_INT(pick(sampler, logits, &s, NULL, 0, NULL), -3);
  s.temperature = 0;
  CHECK_INT(pick(sampler, logits, &s, NULL, 0, NULL), -3);
  em_sampler_free(sampler);
}

/* What a file recommends is taken where it is legal. */
static void check_defaults(void) {
  for (int with = 0; with < 2; with++) {
    em_gguf_writer *writer = em_gguf_writer_new(3);
    if (with) {
      em_gguf_put_f32(writer, "general.sampling.temp", 0.6f);
      em_gguf_put_i32(writer, "general.sampling.top_k", 20);
      em_gguf_put_f32(writer, "general.sampling.top_p", 1.5f);
      em_gguf_put_f32(writer, "general.sampling.min_p", 0);
      em_gguf_put_f32(writer, "general.sampling.penalty_repeat", 1.1f);
    }
    char *file;
    size_t bytes;
    em_gguf *gguf;
    em_sampling s;
    CHECK_INT(em_gguf_writer_finish(writer, NULL, &file, &bytes, NULL), EM_OK);
    CHECK_INT(em_gguf_open_memory(file, bytes, bytes, &gguf, NULL), EM_OK);
    em_default_sampling(gguf, &s);
    CHECK(s.temperature == (with ? 0.6f : 0.7f) && s.top_p == 0.95f && s.min_p == (with ? 0 : 0.05f));
    CHECK_INT(s.top_k, with ? 20 : 40);
    CHECK(s.repetition_penalty == (with ? 1.1f : 0) && s.seed == 0 && s.n_biases == 0);
    CHECK_INT(em_sampling_check(&s, 10, NULL), EM_OK);
    em_gguf_close(gguf);
    em_gguf_writer_free(writer);
    free(file);
  }
}

/* Logits closer together than a quotient can say are as good as equal, and no bin is missed for it. */
static void check_tiny_differences(void) {
  static const float scales[] = {1e-37f, 1e-38f, 1e-44f};
  em_error error = {0};
  em_sampler *sampler = NULL;
  CHECK(em_sampler_new(1000, &sampler, &error) == EM_OK);
  for (unsigned i = 0; sampler && i < 3; i++) {
    float logits[1000];
    for (int j = 0; j < 1000; j++)
      logits[j] = (float)(j % 17) * scales[i];
    em_sampling sampling = {.temperature = 1, .top_k = 40, .top_p = 0.9f, .seed = i};
    em_sampler_input input = {.logits = logits, .sampling = &sampling};
    int32_t token = -1;
    CHECK(em_sampler_pick(sampler, &input, &token, &error) == EM_OK && token >= 0 && token < 1000);
  }
  em_sampler_free(sampler);
}

/* --- The highest alone -------------------------------------------------------------------------------------------- */

static int by_key(const void *a, const void *b) {
  const em_top *x = a, *y = b;
  if (isnan(x->logit) || isnan(y->logit))
    return isnan(x->logit) != isnan(y->logit) ? (isnan(x->logit) ? 1 : -1) : x->token - y->token;
  return x->logit != y->logit ? (x->logit > y->logit ? -1 : 1) : x->token - y->token;
}

/* From the highest logits the same token is picked as from all of them, among the same candidates. */
static void check_top(void) {
  enum { N = 5000 };
  static float logits[N];
  static em_top top[N];
  static int32_t ids[N];
  static float weights[N];
  em_sampler *sampler;
  CHECK_INT(em_sampler_new(N, &sampler, NULL), EM_OK);
  uint32_t n_wrong = 0, state = 1;
  for (uint32_t round = 0; round < 700; round++) {
    for (int32_t i = 0; i < N; i++) {
      state = state * 1664525 + 1013904223;
      float value = (float)(state >> 8) * 0x1p-21f;
      logits[i] = round % 3 == 0 ? floorf(value) : round % 3 == 1 ? value : value * value * 3;
      if (round % 7 == 0 && state >> 28 == 3)
        logits[i] = (state >> 27 & 1) ? NAN : -INFINITY;
      if (round % 11 == 0 && i > 20)
        logits[i] = -1e30f; /* less than top_k of any weight */
      top[i] = (em_top){logits[i], i};
    }
    qsort(top, N, sizeof top[0], by_key);
    em_sampling s = {.temperature = (float)(round % 5) * 0.6f,
                     .top_k = 1 + round % 64,
                     .top_p = round % 4 == 0 ? 0 : (float)(round % 4) * 0.3f,
                     .min_p = round % 2 == 0 ? 0.05f : 0,
                     .seed = round};
    em_sampler_input input = {.logits = logits, .sampling = &s, .n_history = round};
    em_sampler_input few = {.top = top, .sampling = &s, .n_history = round};
    const int32_t *found;
    const float *light;
    int32_t expected = -2, token = -3;
    CHECK_INT(em_sampler_top(&s), s.temperature == 0 ? 1 : s.top_k);
    CHECK_INT(em_sampler_pick(sampler, &input, &expected, NULL), EM_OK);
    size_t n = em_sampler_candidates(sampler, &found, &light);
    memcpy(ids, found, n * sizeof ids[0]);
    memcpy(weights, light, n * sizeof weights[0]);
    for (int more = 0; more < 2; more++) {
      few.n_top = more ? 64 : em_sampler_top(&s);
      CHECK_INT(em_sampler_pick(sampler, &few, &token, NULL), EM_OK);
      n_wrong += token != expected || em_sampler_candidates(sampler, &found, &light) != n ||
                 memcmp(ids, found, n * sizeof ids[0]) != 0 || memcmp(weights, light, n * sizeof weights[0]) != 0;
    }
  }
  CHECK_INT(n_wrong, 0);
  int32_t token;
  em_sampling s = {0};
  em_sampler_input none = {.sampling = &s, .top = &(em_top){NAN, 0}, .n_top = 1};
  CHECK_INT(em_sampler_pick(sampler, &none, &token, NULL), EM_ERR_INTERNAL);
  none.top = &(em_top){INFINITY, 3};
  CHECK_INT(em_sampler_pick(sampler, &none, &token, NULL), EM_ERR_INTERNAL);
  s = (em_sampling){.temperature = 1, .top_k = 0};
  CHECK_INT(em_sampler_top(&s), 0);
  s = (em_sampling){.presence_penalty = 1};
  CHECK_INT(em_sampler_top(&s), 0);
  s = (em_sampling){.biases = &(em_logit_bias){1, 1}, .n_biases = 1};
  CHECK_INT(em_sampler_top(&s), 0);
  em_sampler_free(sampler);
}

int main(void) {
  check_top();
  check_tiny_differences();
  check_filters();
  check_statistics();
  check_settings();
  check_defaults();
  return check_done();
}
