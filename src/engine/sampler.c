/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A vocabulary has up to 250,000 tokens and a step less than a millisecond to spare, so nothing here sorts it, and what
 * can be ruled out is ruled out early, by the highest logit of each block of tokens. Each filter keeps a prefix of the
 * order (logit falling, id rising): candidates are counted into bins by their logit, and the bin in which the prefix
 * ends is the only one looked at closely, with a heap. */
#include "engine/sampler.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

#define N_BINS 1024u
#define LEAST_LOG_WEIGHT 46.0f
#define DEFAULT_PENALTY_WINDOW 64u
#define MAX_BIASES 1024u
#define SUM_BLOCK 256u
#define BLOCK 64u /* tokens whose highest logit is kept */
/* Below it the division by it leaves float32's range; only equals would differ from greedy. */
#define LEAST_TEMPERATURE 1e-5f

struct em_sampler {
  uint32_t n_vocab;
  float *work;    /* [n_vocab] logits after bias, penalties and mask */
  uint32_t *seen; /* [n_vocab] how often a token stands in the penalty window; zero between calls */
  /* The candidates, by rising id. */
  size_t n;
  int32_t *ids;     /* [n_vocab] */
  float *logits;    /* [n_vocab] */
  float *weights;   /* [n_vocab] exp((logit - max) / temperature) */
  uint32_t *heap;   /* [n_vocab] indices of candidates */
  float *block_max; /* [n_vocab / BLOCK, rounded up] */
  uint32_t bin_count[N_BINS];
  double bin_mass[N_BINS];
};

/* Vectors of candidates get room for whole groups of 16. */
static uint64_t padded(uint32_t n_vocab) {
  return ((uint64_t)n_vocab + 15) / 16 * 16;
}

static uint32_t n_blocks(uint32_t n_vocab) {
  return n_vocab / BLOCK + (n_vocab % BLOCK != 0);
}

uint64_t em_sampler_bytes(uint32_t n_vocab) {
  return sizeof(em_sampler) + 6 * 4 * padded(n_vocab) + 4 * n_blocks(n_vocab);
}

em_status em_sampler_new(uint32_t n_vocab, em_sampler **out, em_error *error) {
  em_sampler *sampler = em_calloc(1, sizeof *sampler);
  if (!sampler)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  size_t n = (size_t)padded(n_vocab);
  sampler->n_vocab = n_vocab;
  sampler->work = em_calloc(n, sizeof *sampler->work);
  sampler->seen = em_calloc(n, sizeof *sampler->seen);
  sampler->ids = em_calloc(n, sizeof *sampler->ids);
  sampler->logits = em_calloc(n, sizeof *sampler->logits);
  sampler->weights = em_calloc(n, sizeof *sampler->weights);
  sampler->heap = em_calloc(n, sizeof *sampler->heap);
  sampler->block_max = em_calloc(n_blocks(n_vocab), sizeof *sampler->block_max);
  if (!sampler->work || !sampler->seen || !sampler->ids || !sampler->logits || !sampler->weights || !sampler->heap ||
      !sampler->block_max) {
    em_sampler_free(sampler);
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  }
  *out = sampler;
  return EM_OK;
}

void em_sampler_free(em_sampler *sampler) {
  if (!sampler)
    return;
  free(sampler->work);
  free(sampler->seen);
  free(sampler->ids);
  free(sampler->logits);
  free(sampler->weights);
  free(sampler->heap);
  free(sampler->block_max);
  free(sampler);
}

static em_status check_setting(const char *name, float value, float min, float max, em_error *error) {
  if (!(value >= min && value <= max))
    return em_fail(error, EM_ERR_ARGUMENT, "the setting %s is %g, outside %g to %g", name, (double)value, (double)min,
                   (double)max);
  return EM_OK;
}

em_status em_sampling_check(const em_sampling *sampling, uint32_t n_vocab, em_error *error) {
  em_status status = EM_OK;
  EM_TRY(check_setting("temperature", sampling->temperature, 0, 100, error));
  EM_TRY(check_setting("top_p", sampling->top_p, 0, 1, error));
  EM_TRY(check_setting("min_p", sampling->min_p, 0, 1, error));
  EM_TRY(check_setting("repetition_penalty", sampling->repetition_penalty, 0, 100, error));
  EM_TRY(check_setting("frequency_penalty", sampling->frequency_penalty, -2, 2, error));
  EM_TRY(check_setting("presence_penalty", sampling->presence_penalty, -2, 2, error));
  if (sampling->n_biases > MAX_BIASES || (sampling->n_biases > 0 && !sampling->biases))
    EM_TRY(em_fail(error, EM_ERR_ARGUMENT, "%u logit biases were given, at most %u are allowed", sampling->n_biases,
                   MAX_BIASES));
  for (uint32_t i = 0; i < sampling->n_biases; i++) {
    const em_logit_bias *bias = &sampling->biases[i];
    if (bias->token < 0 || (uint32_t)bias->token >= n_vocab)
      EM_TRY(em_fail(error, EM_ERR_ARGUMENT, "a logit bias names token %d of %u", bias->token, n_vocab));
    if (!(bias->bias <= 1e6f) || (bias->bias < -1e6f && !isinf(bias->bias)))
      EM_TRY(em_fail(error, EM_ERR_ARGUMENT, "the logit bias of token %d is %g", bias->token, (double)bias->bias));
  }
fail:
  return status;
}

/* --- Bias, penalties, mask ---------------------------------------------------------------------------------------- */

static bool has_penalties(const em_sampling *sampling) {
  return (sampling->repetition_penalty > 0 && sampling->repetition_penalty != 1) || sampling->frequency_penalty != 0 ||
         sampling->presence_penalty != 0;
}

static void apply_penalties(em_sampler *sampler, const em_sampler_input *input) {
  const em_sampling *sampling = input->sampling;
  uint32_t window = sampling->penalty_window > 0 ? sampling->penalty_window : DEFAULT_PENALTY_WINDOW;
  if (window > input->n_history)
    window = input->n_history;
  const int32_t *tokens = input->history + (input->n_history - window);
  for (uint32_t i = 0; i < window; i++)
    sampler->seen[tokens[i]]++;
  float repetition = sampling->repetition_penalty > 0 ? sampling->repetition_penalty : 1;
  for (uint32_t i = 0; i < window; i++) {
    uint32_t count = sampler->seen[tokens[i]];
    if (count == 0)
      continue; /* done where it stood before */
    sampler->seen[tokens[i]] = 0;
    float *logit = &sampler->work[tokens[i]];
    *logit = *logit > 0 ? *logit / repetition : *logit * repetition;
    *logit -= (float)count * sampling->frequency_penalty + sampling->presence_penalty;
  }
}

/* Vectors of the compiler: one instruction each on every processor that has any. */
typedef uint32_t words4 __attribute__((vector_size(16)));

/* Which of 64 tokens are allowed follows no pattern that a branch could be predicted by. */
static void mask_64(float *logits, uint64_t bits) {
  const words4 places = {1, 2, 4, 8}, minus_infinity = {0xff800000, 0xff800000, 0xff800000, 0xff800000};
  for (int i = 0; i < 64; i += 4) {
    const uint32_t four = (uint32_t)(bits >> i) & 15;
    const words4 taken = {four, four, four, four}, keep = (words4)((taken & places) != 0);
    words4 values;
    memcpy(&values, logits + i, sizeof values);
    values = (values & keep) | (minus_infinity & ~keep);
    memcpy(logits + i, &values, sizeof values);
  }
}

static void apply_mask(em_sampler *sampler, const uint64_t *allowed) {
  uint32_t first = 0;
  for (; first + 64 <= sampler->n_vocab; first += 64)
    if (allowed[first / 64] != UINT64_MAX)
      mask_64(sampler->work + first, allowed[first / 64]);
  for (; first < sampler->n_vocab; first++)
    if (!(allowed[first / 64] >> (first % 64) & 1))
      sampler->work[first] = -INFINITY;
}

/* The logits as the filters see them: the model's own where nothing changes them. */
static const float *adjusted_logits(em_sampler *sampler, const em_sampler_input *input) {
  const em_sampling *sampling = input->sampling;
  bool penalties = has_penalties(sampling);
  if (sampling->n_biases == 0 && !penalties && !input->allowed)
    return input->logits;
  memcpy(sampler->work, input->logits, sampler->n_vocab * sizeof(float));
  for (uint32_t i = 0; i < sampling->n_biases; i++)
    sampler->work[sampling->biases[i].token] += sampling->biases[i].bias;
  if (penalties)
    apply_penalties(sampler, input);
  if (input->allowed)
    apply_mask(sampler, input->allowed);
  return sampler->work;
}

/* --- Filters ------------------------------------------------------------------------------------------------------ */

/* The highest value; numbers that are none count as -infinity. */
static float highest(const float *x, uint32_t n) {
  float lanes[16], best = -INFINITY;
  for (int i = 0; i < 16; i++)
    lanes[i] = -INFINITY;
  uint32_t i = 0;
  for (; i + 16 <= n; i += 16)
    for (uint32_t j = 0; j < 16; j++)
      lanes[j] = x[i + j] > lanes[j] ? x[i + j] : lanes[j];
  for (; i < n; i++)
    best = x[i] > best ? x[i] : best;
  for (i = 0; i < 16; i++)
    best = lanes[i] > best ? lanes[i] : best;
  return best;
}

/* The highest of each block and of all. */
static float find_max(em_sampler *sampler, const float *logits) {
  uint32_t n = sampler->n_vocab, n_max = n_blocks(n);
  for (uint32_t b = 0; b < n_max; b++)
    sampler->block_max[b] = highest(logits + (size_t)b * BLOCK, n - b * BLOCK < BLOCK ? n - b * BLOCK : BLOCK);
  return highest(sampler->block_max, n_max);
}

static int32_t first_equal(const em_sampler *sampler, const float *logits, float value) {
  uint32_t b = 0;
  while (sampler->block_max[b] != value)
    b++;
  uint32_t i = b * BLOCK;
  while (logits[i] != value)
    i++;
  return (int32_t)i;
}

/* e^x for -87 <= x <= 0 within 2 ulp: 2^n e^r with |r| <= ln 2 / 2 and a polynomial for e^r. Written so that compilers
 * make vectors of it, and the same on every computer, which the C library's function is not. */
static inline float exp_small(float x) {
  float t = x * 1.44269504f + 12582912.0f; /* adding 1.5 * 2^23 rounds to a whole number in the low bits */
  uint32_t bits;
  memcpy(&bits, &t, sizeof bits);
  float n = t - 12582912.0f;
  float r = x - n * 0.693145751953125f - n * 1.42860677e-6f;
  float p = 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  uint32_t scale_bits = (bits - 0x4B400000u + 127u) << 23;
  float scale;
  memcpy(&scale, &scale_bits, sizeof scale);
  return p * scale;
}

static void weigh(em_sampler *sampler, float max, float temperature) {
  float inverse = 1.0f / temperature;
  float *restrict weights = sampler->weights;
  const float *restrict kept = sampler->logits;
  for (size_t i = 0; i < sampler->n; i++) {
    float x = (kept[i] - max) * inverse;
    weights[i] = exp_small(x > -80.0f ? x : -80.0f);
  }
}

/* Makes every token whose logit reaches `least` a candidate. */
static void collect(em_sampler *sampler, const float *logits, float least) {
  size_t n = 0;
  for (uint32_t b = 0; b < n_blocks(sampler->n_vocab); b++) {
    if (!(sampler->block_max[b] >= least))
      continue;
    uint32_t first = b * BLOCK, end = sampler->n_vocab - first < BLOCK ? sampler->n_vocab : first + BLOCK;
    for (uint32_t i = first; i < end; i++) {
      sampler->ids[n] = (int32_t)i;
      sampler->logits[n] = logits[i];
      n += logits[i] >= least;
    }
  }
  sampler->n = n;
}

/* The same of the highest, which are few. */
static void collect_top(em_sampler *sampler, const em_top *top, uint32_t n_top, float least) {
  size_t n = 0;
  for (; n < n_top && top[n].logit >= least; n++) {
    size_t at = n;
    for (; at > 0 && sampler->ids[at - 1] > top[n].token; at--) {
      sampler->ids[at] = sampler->ids[at - 1];
      sampler->logits[at] = sampler->logits[at - 1];
    }
    sampler->ids[at] = top[n].token;
    sampler->logits[at] = top[n].logit;
  }
  sampler->n = n;
}

static bool comes_before(const em_sampler *sampler, uint32_t a, uint32_t b) {
  if (sampler->logits[a] != sampler->logits[b])
    return sampler->logits[a] > sampler->logits[b];
  return a < b; /* candidates stand by rising id */
}

static void sift_down(const em_sampler *sampler, uint32_t *heap, size_t n, size_t i) {
  uint32_t item = heap[i];
  for (size_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && comes_before(sampler, heap[child + 1], heap[child]))
      child++;
    if (!comes_before(sampler, heap[child], item))
      break;
    heap[i] = heap[child];
  }
  heap[i] = item;
}

/* A logit that at least k tokens reach: the k-th highest of the blocks' highest. k is at most the number of blocks. */
static float reached_by(em_sampler *sampler, uint32_t k) {
  uint32_t n = n_blocks(sampler->n_vocab);
  memcpy(sampler->logits, sampler->block_max, n * sizeof(float));
  for (uint32_t b = 0; b < n; b++)
    sampler->heap[b] = b;
  for (uint32_t i = n / 2; i-- > 0;)
    sift_down(sampler, sampler->heap, n, i);
  for (uint32_t i = 1; i < k; i++) {
    sampler->heap[0] = sampler->heap[--n];
    sift_down(sampler, sampler->heap, n, 0);
  }
  return sampler->block_max[sampler->heap[0]];
}

/* Keeps the candidates for which the condition holds, in their order. */
#define KEEP_WHERE(sampler, i, condition)                 \
  do {                                                    \
    size_t kept_n = 0;                                    \
    for (size_t i = 0; i < (sampler)->n; i++) {           \
      bool keep = (condition);                            \
      (sampler)->ids[kept_n] = (sampler)->ids[i];         \
      (sampler)->logits[kept_n] = (sampler)->logits[i];   \
      (sampler)->weights[kept_n] = (sampler)->weights[i]; \
      kept_n += keep;                                     \
    }                                                     \
    (sampler)->n = kept_n;                                \
  } while (0)

/* Rounding may carry the lowest logit past the last bin. */
static uint32_t bin_of(float below_max, float scale) {
  float bin = below_max * scale;
  return bin < (float)N_BINS ? (uint32_t)bin : N_BINS - 1;
}

/* Keeps the shortest prefix that has max_count candidates or the mass `wanted`, whichever is reached first. */
static void keep_prefix(em_sampler *sampler, size_t max_count, double wanted, float max) {
  float lowest = max;
  for (size_t i = 0; i < sampler->n; i++)
    lowest = sampler->logits[i] < lowest ? sampler->logits[i] : lowest;
  float scale = max > lowest ? (float)(N_BINS - 1) / (max - lowest) : 0;
  if (!(scale <= FLT_MAX)) /* logits so close that the quotient overflows are as good as equal */
    scale = 0;
  memset(sampler->bin_count, 0, sizeof sampler->bin_count);
  memset(sampler->bin_mass, 0, sizeof sampler->bin_mass);
  for (size_t i = 0; i < sampler->n; i++) {
    uint32_t bin = bin_of(max - sampler->logits[i], scale);
    sampler->bin_count[bin]++;
    sampler->bin_mass[bin] += (double)sampler->weights[i];
  }

  double mass = 0;
  size_t count = 0;
  uint32_t last = 0;
  for (; last < N_BINS - 1; last++) {
    if (count + sampler->bin_count[last] >= max_count || mass + sampler->bin_mass[last] >= wanted)
      break;
    count += sampler->bin_count[last];
    mass += sampler->bin_mass[last];
  }

  /* The prefix ends inside this bin: its best candidates are taken one by one. */
  size_t n_heap = 0;
  for (size_t i = 0; i < sampler->n; i++)
    if (bin_of(max - sampler->logits[i], scale) == last)
      sampler->heap[n_heap++] = (uint32_t)i;
  for (size_t i = n_heap / 2; i-- > 0;)
    sift_down(sampler, sampler->heap, n_heap, i);
  uint32_t end = UINT32_MAX;
  while (n_heap > 0 && (end == UINT32_MAX || (count < max_count && mass < wanted))) {
    end = sampler->heap[0];
    count++;
    mass += (double)sampler->weights[end];
    sampler->heap[0] = sampler->heap[--n_heap];
    if (n_heap > 0)
      sift_down(sampler, sampler->heap, n_heap, 0);
  }
  if (end == UINT32_MAX)
    return;

  float end_logit = sampler->logits[end];
  KEEP_WHERE(sampler, i, sampler->logits[i] > end_logit || (sampler->logits[i] == end_logit && i <= end));
}

static double block_sum(const float *weights, size_t n) {
  double lanes[8] = {0}, sum = 0;
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (size_t j = 0; j < 8; j++)
      lanes[j] += (double)weights[i + j];
  for (; i < n; i++)
    sum += (double)weights[i];
  for (size_t j = 0; j < 8; j++)
    sum += lanes[j];
  return sum;
}

static double sum_weights(const em_sampler *sampler) {
  double total = 0;
  for (size_t i = 0; i < sampler->n; i += SUM_BLOCK)
    total += block_sum(sampler->weights + i, sampler->n - i < SUM_BLOCK ? sampler->n - i : SUM_BLOCK);
  return total;
}

/* Candidates so light that all of them together weigh less than what top_p leaves out cannot be in the prefix; they are
 * dropped first, for they are most. */
static void keep_top_p(em_sampler *sampler, float top_p, float max) {
  double total = sum_weights(sampler);
  float least = (float)((1 - (double)top_p) * total / (double)sampler->n);
  KEEP_WHERE(sampler, i, sampler->weights[i] >= least);
  keep_prefix(sampler, SIZE_MAX, (double)top_p * total, max);
}

/* --- The draw ----------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

/* A number in [0, 1) for a seed and a position: a counter-based generator, so that no draw depends on another. */
static double draw_number(uint64_t seed, uint64_t position) {
  uint64_t x = mix(mix(seed + 0x9E3779B97F4A7C15u) ^ (position + 1) * 0xD1342543DE82EF95u);
  return (double)(x >> 11) * 0x1p-53;
}

static int32_t draw(const em_sampler *sampler, uint64_t seed, uint64_t position) {
  double target = draw_number(seed, position) * sum_weights(sampler);
  double sum = 0;
  size_t first = 0, last = 0;
  for (; first < sampler->n; first += SUM_BLOCK) {
    double block = block_sum(sampler->weights + first, sampler->n - first < SUM_BLOCK ? sampler->n - first : SUM_BLOCK);
    if (sum + block > target)
      break;
    sum += block;
  }
  for (size_t i = first; i < sampler->n; i++) {
    last = i;
    sum += (double)sampler->weights[i];
    if (sum > target)
      break;
  }
  return sampler->ids[first < sampler->n ? last : sampler->n - 1];
}

static bool is_greedy(const em_sampling *sampling) {
  return sampling->temperature < LEAST_TEMPERATURE;
}

uint32_t em_sampler_top(const em_sampling *sampling) {
  if (sampling->n_biases > 0 || has_penalties(sampling))
    return 0;
  return is_greedy(sampling) ? 1 : sampling->top_k;
}

static em_status no_number(em_error *error) {
  return em_fail(error, EM_ERR_INTERNAL, "the model computed no usable number");
}

/* Finds the candidates among all tokens, and the highest logit. A greedy choice and no choice are made at once: *out.
 */
static em_status consider_all(em_sampler *sampler, const em_sampler_input *input, float *max_out, int32_t *out,
                              em_error *error) {
  const em_sampling *sampling = input->sampling;
  const float *logits = adjusted_logits(sampler, input);
  float max = *max_out = find_max(sampler, logits);
  sampler->n = 0;
  if (isinf(max)) {
    if (max < 0 && isfinite(highest(input->logits, sampler->n_vocab))) {
      *out = EM_NO_TOKEN;
      return EM_OK;
    }
    return no_number(error);
  }
  if (is_greedy(sampling)) {
    *out = first_equal(sampler, logits, max);
    return EM_OK;
  }
  float temperature = sampling->temperature, least = max - LEAST_LOG_WEIGHT * temperature;
  bool top_p = sampling->top_p > 0 && sampling->top_p < 1;
  if (sampling->top_k > 0 && sampling->top_k <= n_blocks(sampler->n_vocab)) {
    float reached = reached_by(sampler, sampling->top_k);
    least = reached > least ? reached : least;
  }
  if (!top_p && sampling->min_p > 0) {
    /* A little too low, for the weights decide in the end. */
    float light = max + (logf(sampling->min_p) - 0.01f) * temperature;
    least = light > least ? light : least;
  }
  collect(sampler, logits, least);
  return EM_OK;
}

static em_status consider_top(em_sampler *sampler, const em_sampler_input *input, float *max, int32_t *out,
                              em_error *error) {
  *max = input->top[0].logit;
  sampler->n = 0;
  if (!isfinite(*max))
    return no_number(error);
  if (is_greedy(input->sampling))
    *out = input->top[0].token;
  else
    collect_top(sampler, input->top, input->n_top, *max - LEAST_LOG_WEIGHT * input->sampling->temperature);
  return EM_OK;
}

em_status em_sampler_pick(em_sampler *sampler, const em_sampler_input *input, int32_t *out, em_error *error) {
  const em_sampling *sampling = input->sampling;
  float max;
  em_status status =
      input->top ? consider_top(sampler, input, &max, out, error) : consider_all(sampler, input, &max, out, error);
  if (status != EM_OK || sampler->n == 0)
    return status;
  weigh(sampler, max, sampling->temperature);
  if (sampling->top_k > 0 && sampling->top_k < sampler->n)
    keep_prefix(sampler, sampling->top_k, INFINITY, max);
  if (sampling->top_p > 0 && sampling->top_p < 1)
    keep_top_p(sampler, sampling->top_p, max);
  if (sampling->min_p > 0)
    KEEP_WHERE(sampler, i, sampler->weights[i] >= sampling->min_p);
  *out = draw(sampler, sampling->seed, input->n_history);
  return EM_OK;
}

size_t em_sampler_candidates(const em_sampler *sampler, const int32_t **ids, const float **weights) {
  *ids = sampler->ids;
  *weights = sampler->weights;
  return sampler->n;
}
