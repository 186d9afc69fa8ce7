/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Devices that allow less than the one here: memory in small pieces, no extensions, other subgroups. The logits are the
 * same, bit for bit; a device that lacks what is needed is refused in words. With the validation layer, whose every
 * message fails the test. "test-vulkan-limits sum" prints a number that stands for the logits of the last model. */
#include "vulkan-hook.h"

#include "engine/engine.h"
#include "tiny-model.h"

#include <unistd.h>

#define N_TOKENS 270 /* two pages */
#define N_VOCAB 512

static uint32_t device_index; /* of the software device */

/* Rows a step. Making kernels takes most of the time, and steps of one row need half as many, which must give the same
 * bits. */
static uint32_t batch_rows = 8;

typedef struct subject {
  tiny_model model;
  em_gguf *gguf;
  char *file;
  float logits[(size_t)N_TOKENS * N_VOCAB];
} subject;

static subject subjects[] = {
    {.model = {.architecture = "llama",
               .n_embd = 128,
               .n_ff = 256,
               .n_vocab = N_VOCAB,
               .type = EM_TYPE_F16,
               .tied = true,
               .seed = 5}},
    {.model =
         {.architecture = "qwen3", .n_embd = 128, .n_ff = 256, .n_vocab = N_VOCAB, .type = EM_TYPE_Q8_0, .seed = 6}},
    {.model =
         {.architecture = "qwen2", .n_embd = 256, .n_ff = 256, .n_vocab = N_VOCAB, .type = EM_TYPE_Q4_K, .seed = 7}},
};
#define N_SUBJECTS (sizeof subjects / sizeof subjects[0])
#define LAST (N_SUBJECTS - 1)

static em_status keep_row(void *user, uint32_t row, const float *logits, em_error *error) {
  memcpy((float *)user + (size_t)row * N_VOCAB, logits, N_VOCAB * sizeof *logits);
  return EM_OK;
}

/* Opens the model on the device as the wish has it and computes its logits; NULL: only opens it. */
static em_status compute(const subject *s, const hook_wish *wish, float *logits, em_error *error) {
  em_status status = EM_OK;
  em_engine *engine = NULL;
  static int32_t tokens[N_TOKENS];
  em_engine_params params = {.backend = {.kind = EM_DEVICE_VULKAN, .device_index = device_index},
                             .n_slots = 1,
                             .context_tokens = 1024,
                             .batch_rows = batch_rows,
                             .kv_type = EM_TYPE_F16};
  *error = (em_error){0};
  for (int32_t i = 0; i < N_TOKENS; i++)
    tokens[i] = (i * 37 + 11) % N_VOCAB;
  hook_start(wish);
  EM_TRY(em_engine_open(s->gguf, &params, NULL, NULL, &engine, error));
  if (logits)
    EM_TRY(em_engine_logits(engine, tokens, N_TOKENS, batch_rows, keep_row, logits, error));
fail:
  em_engine_close(engine);
  return status;
}

static void check_same_one(const char *what, const hook_wish *wish, const subject *s) {
  static float logits[(size_t)N_TOKENS * N_VOCAB];
  em_error error;
  memset(logits, 0, sizeof logits);
  if (compute(s, wish, logits, &error) != EM_OK)
    fprintf(stderr, "%s: %s\n", what, error.text);
  bool same = memcmp(logits, s->logits, sizeof logits) == 0;
  if (!same)
    fprintf(stderr, "%s: %s has other logits\n", what, s->model.architecture);
  CHECK(same);
  CHECK_INT(hook_n_live(), 0);
  if (wish->max_allocation_bytes)
    CHECK(hook_largest_allocation <= wish->max_allocation_bytes);
}

static void check_same(const char *what, const hook_wish *wish, size_t n_subjects) {
  for (size_t i = 0; i < n_subjects; i++)
    check_same_one(what, wish, &subjects[i]);
}

static void test_memory(void) {
  static const uint64_t limits[] = {64 << 10, 100000, 200 << 10, 64 << 20, 4ull << 30};
  for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
    char what[64];
    snprintf(what, sizeof what, "pieces of %llu bytes", (unsigned long long)limits[i]);
    /* All models come in the smallest pieces, with all kernels; one of them in each size of larger ones. */
    batch_rows = i == 0 ? 8 : 1;
    if (i == 0)
      check_same(what, &(hook_wish){.max_allocation_bytes = limits[i]}, N_SUBJECTS);
    else
      check_same_one(what, &(hook_wish){.max_allocation_bytes = limits[i]}, &subjects[i % N_SUBJECTS]);
  }
  em_error error;
  CHECK_INT(compute(&subjects[0], &(hook_wish){.max_allocation_bytes = 4096}, NULL, &error), EM_ERR_UNSUPPORTED);
  CHECK(strstr(error.text, "4096"));
  printf("%s\n", error.text);
}

/* What grows with the context must fit in one piece: a context that was left open is cut, one that was asked for is
 * refused, before anything is loaded. */
static void test_long_context(void) {
  const tiny_model model = {.n_embd = 64, .n_heads = 4, .context_tokens = 16384, .seed = 3};
  em_engine_params params = {.backend = {.kind = EM_DEVICE_VULKAN, .device_index = device_index},
                             .n_slots = 1,
                             .batch_rows = 8,
                             .kv_type = EM_TYPE_F16};
  em_memory_plan plan = {0};
  em_engine *engine = NULL;
  em_error error = {0};
  em_gguf *gguf = NULL;
  size_t bytes;
  char *file = tiny_model_make(&model, &bytes);
  CHECK_INT(em_gguf_open_memory(file, bytes, bytes, &gguf, &error), EM_OK);
  hook_start(&(hook_wish){.max_allocation_bytes = 64 << 10});
  /* A page takes 8 rows of 4 heads of 16 values and 2 more, of 4 bytes. */
  CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_OK);
  CHECK_INT(plan.context_tokens, (64 << 10) / (8 * 4 * (16 + 2) * 4) * 256);
  CHECK_INT(em_engine_open(gguf, &params, NULL, NULL, &engine, &error), EM_OK);
  em_engine_close(engine);
  params.context_tokens = 8192;
  CHECK_INT(em_engine_plan(gguf, &params, &plan, &error), EM_ERR_TOO_BIG);
  CHECK(strstr(error.text, "context is too long"));
  CHECK_INT(hook_n_live(), 0);
  em_gguf_close(gguf);
  free(file);
}

/* A device that lacks what the backend asks for where it is there is refused in words, or answers as the others do. */
static void test_without(const char *what, const hook_wish *wish) {
  static float logits[(size_t)N_TOKENS * N_VOCAB];
  em_error error;
  em_status status = compute(&subjects[0], wish, logits, &error);
  CHECK_INT(hook_n_live(), 0);
  if (status == EM_OK) {
    CHECK(memcmp(logits, subjects[0].logits, sizeof logits) == 0);
    printf("%s: answers\n", what);
    return;
  }
  CHECK_INT(status, EM_ERR_UNSUPPORTED);
  CHECK(error.text[0] != '\0');
  printf("%s: %s\n", what, error.text);
}

static void test_each_missing(void) {
  char what[300];
  CHECK(hook_n_features > 0);
  for (uint32_t i = 0; i < hook_n_features; i++) {
    snprintf(what, sizeof what, "without feature %u of structure %u", hook_features[i].index,
             (unsigned)hook_features[i].structure);
    test_without(what, &(hook_wish){.lacks_feature = i + 1});
  }
  for (uint32_t i = 0; i < hook_n_extensions; i++) {
    snprintf(what, sizeof what, "without %.255s", hook_extensions[i]);
    test_without(what, &(hook_wish){.lacks_extension = hook_extensions[i]});
  }
  test_without("with the least limits", &(hook_wish){.least_limits = true});
}

static void test_reports(void) {
  check_same("without extensions", &(hook_wish){.no_extensions = true}, 1);
  check_same("without debug utils", &(hook_wish){.no_debug_utils = true}, 1);
  /* Sizes that the shaders make no use of; those they use must be true. */
  static const uint32_t sizes[] = {1, 64};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    char what[64];
    snprintf(what, sizeof what, "subgroups of %u", sizes[i]);
    check_same(what, &(hook_wish){.subgroup_size = sizes[i]}, 1);
  }
}

/* A graphics card has kernels of its own. Their numbers do not depend on how wide its subgroups are, nor on the pieces
 * in which its memory comes. The last test: it puts the card's logits in the place of the software device's. */
static void test_card(void) {
  static float before[(size_t)N_TOKENS * N_VOCAB];
  em_error error;
  batch_rows = 8;
  for (size_t i = 0; i < N_SUBJECTS; i += LAST) {
    double difference = 0, power = 0;
    memcpy(before, subjects[i].logits, sizeof before);
    CHECK_INT(compute(&subjects[i], &(hook_wish){.discrete = true}, subjects[i].logits, &error), EM_OK);
    for (size_t j = 0; j < sizeof before / sizeof before[0]; j++) {
      double d = (double)before[j] - (double)subjects[i].logits[j];
      difference += d * d;
      power += (double)before[j] * (double)before[j];
    }
    printf("a card's %s: NMSE %.2e beside the software device\n", subjects[i].model.architecture, difference / power);
    CHECK(difference <= 1e-6 * power);
  }
  batch_rows = 1;
  check_same_one("a card with subgroups of 64", &(hook_wish){.discrete = true, .subgroup_size = 64}, &subjects[LAST]);
  check_same_one("a card's pieces", &(hook_wish){.discrete = true, .max_allocation_bytes = 100000}, &subjects[0]);
}

static void test_lacks(void) {
  static const struct {
    const char *what, *word;
  } cases[] = {{"Vulkan 1.2", "1.2 is needed"},
               {"64-bit integers", "64-bit integers"},
               {"buffer device addresses", "buffer device addresses"},
               {"timeline semaphores", "timeline semaphores"},
               {"scalar block layouts", "scalar block layouts"},
               {"subgroup broadcasts", "subgroup broadcasts"},
               {"compute", "cannot compute"},
               {"a function", "too old"}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    em_error error;
    CHECK_INT(compute(&subjects[0], &(hook_wish){.lacks = cases[i].what}, NULL, &error), EM_ERR_UNSUPPORTED);
    /* The table of a device whose functions are not all there never comes to be replaced. */
    if (strcmp(cases[i].what, "a function") == 0)
      hook_forget();
    CHECK_INT(hook_n_live(), 0);
    if (!strstr(error.text, cases[i].word))
      fprintf(stderr, "without %s: %s\n", cases[i].what, error.text);
    CHECK(strstr(error.text, cases[i].word));
  }
}

static uint64_t sum(const subject *s) {
  uint64_t h = 14695981039346656037u;
  for (size_t i = 0; i < sizeof s->logits; i++)
    h = (h ^ ((const uint8_t *)s->logits)[i]) * 1099511628211u;
  return h;
}

/* The software device makes its subgroups as wide as it is told to, once a process. */
static void test_widths(void) {
  static const char *const widths[] = {"128", "512"};
  char path[4096], command[4200], line[64];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
  CHECK(n > 0);
  path[n > 0 ? n : 0] = '\0';
  for (size_t i = 0; i < sizeof widths / sizeof widths[0]; i++) {
    snprintf(command, sizeof command, "LP_NATIVE_VECTOR_WIDTH=%s '%s' sum", widths[i], path);
    FILE *child = popen(command, "re");
    bool answered = child && fgets(line, sizeof line, child);
    CHECK(answered);
    CHECK(child && pclose(child) == 0);
    CHECK(answered && strtoull(line, NULL, 16) == sum(&subjects[LAST]));
    printf("vectors of %s bits: %s", widths[i], answered ? line : "\n");
  }
}

int main(int argc, char **argv) {
  em_error error = {0};
  hook_validate();
  device_index = hook_choose_device(NULL, NULL);
  const bool only_sum = argc > 1 && strcmp(argv[1], "sum") == 0;
  hook_records = true;
  for (size_t i = only_sum ? LAST : 0; i < N_SUBJECTS; i++) {
    subject *s = &subjects[i];
    size_t bytes;
    s->file = tiny_model_make(&s->model, &bytes);
    CHECK(em_gguf_open_memory(s->file, bytes, bytes, &s->gguf, &error) == EM_OK);
    CHECK_INT(compute(s, &(hook_wish){0}, s->logits, &error), EM_OK);
    CHECK(isfinite(s->logits[0]) && s->logits[0] != 0);
  }
  hook_records = false;
  if (only_sum) {
    printf("%016llx\n", (unsigned long long)sum(&subjects[LAST]));
  } else {
    test_memory();
    test_long_context();
    test_reports();
    test_lacks();
    test_each_missing();
    test_widths();
    test_card();
  }
  for (size_t i = 0; i < N_SUBJECTS; i++) {
    em_gguf_close(subjects[i].gguf);
    free(subjects[i].file);
  }
  return only_sum ? check_failures > 0 : check_done();
}
