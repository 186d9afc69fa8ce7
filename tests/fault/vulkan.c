/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Failing Vulkan calls while a model is loaded and answers: every one ends in a clear error or in an answer, nothing
 * leaks, and the next run is as if nothing had been. With the validation layer, whose every message fails the test.
 *
 * Here as many calls fail, spread evenly over the scenario, as a few seconds have room for. "test-vulkan-fault all"
 * goes through every one of them, first alone and then with all after it, which takes about a quarter of an hour;
 * "test-vulkan-fault FORM FIRST LAST" through some of one form: 0 and 1 for the host's memory alone and lasting, 2 and
 * 3 for the device's, 4 and 5 for a lost device, 6 and 7 for waits that run out. */
#include "vulkan-hook.h"

#include "base/clock.h"
#include "base/threads.h"
#include "engine/engine.h"
#include "tiny-model.h"

#define N_TOKENS 6
#define N_ANSWERS 3
#define SHORT_NS 2500000000ull    /* for one kind of failure, alone or lasting */
#define LONGEST_NS 60000000000ull /* for one run, however busy the computer is */

static em_gguf *gguf;
static uint32_t device_index; /* of the software device */
static uint32_t n_gpu_layers; /* of the model, where it is shared with the processor; 0: it is not */

/* --- The processor, which may be out of reach --------------------------------------------------------------------- */

static bool has_no_processor, has_no_cache;

em_status __real_em_cpu_open(const em_backend_params *params, em_backend **out, em_error *error);
em_status __wrap_em_cpu_open(const em_backend_params *params, em_backend **out, em_error *error);

em_status __wrap_em_cpu_open(const em_backend_params *params, em_backend **out, em_error *error) {
  return has_no_processor ? em_fail(error, EM_ERR_NO_MEMORY, "memory is out") : __real_em_cpu_open(params, out, error);
}

em_status __real_em_kv_new(em_backend *backend, const em_kv_desc *desc, em_kv **out, em_error *error);
em_status __wrap_em_kv_new(em_backend *backend, const em_kv_desc *desc, em_kv **out, em_error *error);

/* Cancelled as soon as a card makes its cache, which comes before the weights. */
static em_engine *cancelled_engine;
static em_request_id cancelled_ids[2];

/* One without pages is only asked for its size. */
em_status __wrap_em_kv_new(em_backend *backend, const em_kv_desc *desc, em_kv **out, em_error *error) {
  if (has_no_cache && desc->n_pages > 0 && em_backend_kind(backend) == EM_DEVICE_CPU)
    return em_fail(error, EM_ERR_NO_MEMORY, "memory is out");
  for (int i = 0; i < 2 && cancelled_engine && desc->n_pages > 0; i++)
    em_engine_cancel(cancelled_engine, cancelled_ids[i]);
  return __real_em_kv_new(backend, desc, out, error);
}

/* --- The clock ---------------------------------------------------------------------------------------------------- */

static uint64_t skipped_ns;

uint64_t __real_em_now_ns(void);
uint64_t __wrap_em_now_ns(void);

uint64_t __wrap_em_now_ns(void) {
  return __real_em_now_ns() + skipped_ns;
}

/* --- The scenario ------------------------------------------------------------------------------------------------- */

typedef struct answer {
  int32_t tokens[N_TOKENS];
  uint32_t n, n_finished;
  em_finish finish;
  em_error error;
} answer;

static bool on_token(void *user, int32_t token) {
  answer *a = user;
  if (a->n < N_TOKENS)
    a->tokens[a->n++] = token;
  return true;
}

static void on_finish(void *user, em_finish finish, const em_request_stats *stats, const em_error *error) {
  answer *a = user;
  a->n_finished++;
  a->finish = finish;
  a->error = *error;
}

typedef struct outcome {
  em_error open; /* code EM_OK: the model was loaded */
  answer answers[N_ANSWERS];
  uint32_t n_notices, n_gpu_layers;
  char device[64], sentence[256];
  uint64_t ns;
} outcome;

static void on_notice(void *user, const char *device, const char *sentence) {
  outcome *o = user;
  o->n_notices++;
  snprintf(o->sentence, sizeof o->sentence, "%s", sentence);
}

static void ask(em_engine *engine, outcome *o, int i, const int32_t *tokens, uint32_t n) {
  em_request_params request = {.tokens = tokens,
                               .n_tokens = n,
                               .max_tokens = N_TOKENS,
                               .on_token = on_token,
                               .on_finish = on_finish,
                               .user = &o->answers[i]};
  em_request_id id;
  CHECK(em_engine_submit(engine, &request, &id, NULL) == EM_OK);
}

static em_engine_params make_params(outcome *o) {
  return (em_engine_params){.backend = {.kind = EM_DEVICE_VULKAN, .device_index = device_index, .n_threads = 1},
                            .n_slots = 2,
                            .context_tokens = 512,
                            .batch_rows = 16,
                            .kv_type = EM_TYPE_F16,
                            .says_gpu_layers = n_gpu_layers > 0,
                            .n_gpu_layers = n_gpu_layers,
                            .notice = on_notice,
                            .notice_user = o};
}

/* Lists the devices, loads the model and asks: one question, then two at once that begin as the first one did, so that
 * a page of the cache is copied. between (or NULL) is called before the second ones. */
static void run(const hook_wish *wish, outcome *o, void (*between)(void)) {
  em_vulkan_device found[4];
  uint32_t n_found = 0;
  em_engine *engine = NULL;
  int32_t prompt[20];
  *o = (outcome){0};
  uint64_t start_ns = __real_em_now_ns();
  hook_start(wish);
  em_error error = {0};
  if (em_vulkan_list(found, 4, &n_found, &error) != EM_OK)
    CHECK(error.code != EM_OK && error.text[0] != '\0');
  em_engine_params params = make_params(o);
  (void)!em_engine_open(gguf, &params, NULL, NULL, &engine, &o->open);
  CHECK((engine != NULL) == (o->open.code == EM_OK));
  for (int i = 0; i < 20; i++)
    prompt[i] = TINY_BOS + 7 * i % 300;
  if (engine) {
    ask(engine, o, 0, prompt, 20);
    while (em_engine_step(engine))
      ;
    if (between)
      between();
    prompt[13] = 301;
    ask(engine, o, 1, prompt, 20);
    prompt[15] = 302;
    ask(engine, o, 2, prompt, 18);
    while (em_engine_step(engine))
      ;
    snprintf(o->device, sizeof o->device, "%s", em_engine_get_facts(engine)->device);
    o->n_gpu_layers = em_engine_get_facts(engine)->n_gpu_layers;
  }
  em_engine_close(engine);
  o->ns = __real_em_now_ns() - start_ns;
}

/* --- What must hold ----------------------------------------------------------------------------------------------- */

static outcome normal;

static bool is_clear(const em_error *error) {
  return (error->code == EM_ERR_NO_MEMORY || error->code == EM_ERR_DEVICE) && error->text[0] != '\0';
}

static bool is_whole(const answer *a) {
  return a->n_finished == 1 && a->finish == EM_FINISH_LENGTH && a->n == N_TOKENS;
}

static bool is_same(const answer *a, const answer *b) {
  return is_whole(a) && a->n == b->n && memcmp(a->tokens, b->tokens, a->n * sizeof a->tokens[0]) == 0;
}

/* Each wait has its limit, which vulkan-hook.h checks; here, that there are not many of them one after the other. What
 * runs on a busy computer takes longer than on an idle one, and little can be said of one that has more to do at once
 * than twice its cores: only that no run takes a minute. */
static uint32_t n_unjudged;

static bool is_quick(const outcome *o) {
  double load;
  if (o->ns >= LONGEST_NS)
    return false;
  if (o->ns < 10000000000ull + 10 * normal.ns)
    return true;
  if (getloadavg(&load, 1) != 1 || load < 2 * em_physical_cores())
    return false;
  n_unjudged++;
  return true;
}

/* Every run ends well: no model and a reason, or each answer the right one or ended with a reason. A device may keep
 * its objects where a wait for it has failed, and so does every later one: nobody learns that it is done. */
static bool ends_well(const outcome *o) {
  bool seems_to_hang = hook.fail_on && hook_n_unsure > 0;
  bool good = hook_n_live() == 0 || seems_to_hang;
  if (o->open.code != EM_OK)
    return good && is_clear(&o->open);
  for (int i = 0; i < N_ANSWERS; i++) {
    const answer *a = &o->answers[i];
    if (a->finish == EM_FINISH_ERROR)
      good &= a->n_finished == 1 && is_clear(&a->error);
    else
      good &= o->n_notices > 0 ? is_whole(a) : is_same(a, &normal.answers[i]);
  }
  return good;
}

static bool answers_all(const outcome *o) {
  bool good = o->open.code == EM_OK;
  for (int i = 0; i < N_ANSWERS; i++)
    good &= is_whole(&o->answers[i]);
  return good;
}

static void check_normal_again(void) {
  outcome o;
  run(&(hook_wish){0}, &o, NULL);
  CHECK(answers_all(&o) && ends_well(&o) && o.n_notices == 0);
}

static void describe(const hook_wish *wish, const outcome *o) {
  fprintf(stderr, "%sfailure %d at %u%s: %s%s after %.1f s, %d objects left\n",
          is_quick(o) ? "" : "slow: ", (int)wish->failure, wish->fail_at, wish->fail_on ? " and on" : "", o->device,
          o->open.text, (double)o->ns / 1e9, hook_n_live());
  for (int i = 0; i < N_ANSWERS; i++)
    fprintf(stderr, "  answer %d: finish %d after %u tokens, %s\n", i, (int)o->answers[i].finish, o->answers[i].n,
            o->answers[i].error.text);
}

/* --- The tests ---------------------------------------------------------------------------------------------------- */

static uint32_t n_open_failed, n_ended, n_recovered, n_on_processor, n_missed, n_runs;
static uint64_t worst_ns;

static void run_one(const hook_wish *wish) {
  outcome o;
  run(wish, &o, NULL);
  /* A busy computer may make a run slow, now and then two of them; a hang comes back every time. */
  for (int i = 0; i < 2 && !is_quick(&o); i++) {
    hook_forget();
    run(wish, &o, NULL);
  }
  bool good = is_quick(&o) && ends_well(&o);
  /* A device that fails once while it answers costs time, and no answer. */
  if (!wish->fail_on && o.open.code == EM_OK && (wish->failure == VK_ERROR_DEVICE_LOST || wish->failure == VK_TIMEOUT))
    good &= answers_all(&o) && o.n_notices == 0;
  CHECK(good);
  if (!good)
    describe(wish, &o);
  hook_forget();
  worst_ns = o.ns > worst_ns ? o.ns : worst_ns;
  n_runs++;
  if (hook_n_failed == 0)
    n_missed++;
  else if (o.open.code != EM_OK)
    n_open_failed++;
  else if (!answers_all(&o))
    n_ended++;
  else if (o.n_notices > 0)
    n_on_processor++;
  else
    n_recovered++;
  if (n_runs % 64 == 0)
    check_normal_again();
}

/* Threads that make pipelines may let a run have a call more or less than the last one: all calls have failed when a
 * number past the usual ones meets none. */
static void fail_all(VkResult failure, bool on, uint32_t n_calls, uint32_t first, uint32_t last) {
  for (uint32_t n = first; n <= last; n++) {
    run_one(&(hook_wish){.failure = failure, .fail_at = n, .fail_on = on});
    if (n > n_calls && hook_n_failed == 0)
      break;
  }
}

/* Multiples of the golden section's share of a whole lie as evenly in it as any numbers of them can. */
static void fail_some(VkResult failure, bool on, uint32_t n_calls) {
  uint64_t start_ns = __real_em_now_ns();
  double at = 0.5 / n_calls;
  for (uint32_t i = 0; i < n_calls && __real_em_now_ns() - start_ns < SHORT_NS;
       i++, at = fmod(at + 0.6180339887498949, 1))
    run_one(&(hook_wish){.failure = failure, .fail_at = 1 + (uint32_t)(at * n_calls), .fail_on = on});
}

/* The calls of a form that shall fail. */
typedef struct range {
  int form; /* 0..7, or -1: all */
  uint32_t first, last;
} range;

static void test_every_call(const range *every) {
  static const VkResult failures[] = {VK_ERROR_OUT_OF_HOST_MEMORY, VK_ERROR_OUT_OF_DEVICE_MEMORY, VK_ERROR_DEVICE_LOST,
                                      VK_TIMEOUT};
  run(&(hook_wish){0}, &normal, NULL);
  CHECK(answers_all(&normal));
  CHECK_INT(normal.n_notices, 0);
  CHECK(hook_n_live() == 0);
  uint32_t n_calls = hook_n_calls, n_waits = hook_n_waits;
  printf("%u calls, %u of them waits, in %.2f s\n", n_calls, n_waits, (double)normal.ns / 1e9);
  CHECK(n_calls > 100 && n_waits > 10);
  for (unsigned f = 0; f < sizeof failures / sizeof failures[0]; f++)
    for (int on = 0; on < 2; on++) {
      const uint32_t n = failures[f] == VK_TIMEOUT ? n_waits : n_calls;
      if (every && every->form >= 0 && every->form != 2 * (int)f + on)
        continue;
      n_open_failed = n_ended = n_recovered = n_on_processor = n_missed = n_runs = 0;
      if (every)
        fail_all(failures[f], on, n, every->first, every->last);
      else
        fail_some(failures[f], on, n);
      printf("result %d%s: %u runs: %u refused to load, %u ended with an error, %u went on, %u on the processor, %u "
             "had no "
             "such call\n",
             (int)failures[f], on ? " and on" : "", n_runs, n_open_failed, n_ended, n_recovered, n_on_processor,
             n_missed);
      fflush(stdout);
      CHECK(n_runs > n_missed);
      check_normal_again();
    }
  printf("the longest run took %.2f s; %u slow ones were not judged, because the computer was busy\n",
         (double)worst_ns / 1e9, n_unjudged);
}

/* A device that fails again at once is left for the processor, with a sentence; one that fails after a long time is
 * not.
 */
static void fail_next_wait(void) {
  hook.fail_at = hook_n_calls + 1;
}

static void fail_much_later(void) {
  skipped_ns += 11ull * 60 * 1000000000;
  fail_next_wait();
}

static uint32_t n_submits_at_first;

static void count_submits(void) {
  n_submits_at_first = hook_n_calls;
}

static void test_twice(void) {
  /* The first of these fails while it reads the first question; how many there are for the answer depends on how long
   * they take. */
  outcome o;
  hook_wish wish = {.failure = VK_ERROR_DEVICE_LOST, .only = "QueueSubmit", .fail_at = 1};
  run(&(hook_wish){.only = "QueueSubmit"}, &o, count_submits);
  CHECK(n_submits_at_first > 1);
  wish.fail_at = n_submits_at_first / 2;
  run(&wish, &o, fail_next_wait);
  CHECK(answers_all(&o));
  CHECK_INT(hook_n_failed, 2);
  CHECK_INT(o.n_notices, 1);
  CHECK(strncmp(o.device, "cpu", 3) == 0);
  CHECK(strstr(o.sentence, "processor") && strstr(o.sentence, "twice"));
  CHECK(is_same(&o.answers[0], &normal.answers[0]));
  CHECK_INT(hook_n_live(), 0);

  run(&wish, &o, fail_much_later);
  CHECK(answers_all(&o));
  CHECK_INT(hook_n_failed, 2);
  CHECK_INT(o.n_notices, 0);
  CHECK(strncmp(o.device, "vulkan", 6) == 0);
  for (int i = 0; i < N_ANSWERS; i++)
    CHECK(is_same(&o.answers[i], &normal.answers[i]));
  CHECK_INT(hook_n_live(), 0);
}

/* A device that cannot be opened again. */
static void lose_for_good(void) {
  hook.only = NULL;
  hook.failure = VK_ERROR_DEVICE_LOST;
  hook.fail_at = hook_n_calls + 1;
  hook.fail_on = true;
}

static void test_lost_for_good(void) {
  outcome o;
  run(&(hook_wish){0}, &o, lose_for_good);
  CHECK(answers_all(&o));
  CHECK_INT(o.n_notices, 1);
  CHECK(strstr(o.sentence, "could not be started again"));
  CHECK(strncmp(o.device, "cpu", 3) == 0);
  CHECK_INT(hook_n_live(), 0);
}

/* A device that never ends what it was given: nothing that it may use is freed, and another one takes its place. */
static int32_t n_destroyed_before, n_live_before;

static void begin_to_hang(void) {
  hook.hang = true;
  n_destroyed_before = (int32_t)hook_n_destroyed;
  n_live_before = hook_n_live();
}

static void test_hang(void) {
  outcome o;
  run(&(hook_wish){0}, &o, begin_to_hang);
  CHECK(answers_all(&o));
  CHECK_INT(o.n_notices, 1);
  CHECK(strncmp(o.device, "cpu", 3) == 0);
  CHECK(is_quick(&o));
  CHECK_INT(hook_n_live() >= n_live_before, true);
  printf("a hanging device kept its %d objects\n", n_live_before);
  hook_forget();
  check_normal_again();
}

/* The processor cannot take over either, because *fault is set: the answers end with a reason, and the next question
 * finds the card again, with the layers that it had. */
static void test_no_way_on(bool *fault) {
  outcome o = {0};
  em_engine *engine = NULL;
  em_engine_params params = make_params(&o);
  int32_t prompt[20];
  for (int i = 0; i < 20; i++)
    prompt[i] = TINY_BOS + 7 * i % 300;
  hook_start(&(hook_wish){0});
  CHECK(em_engine_open(gguf, &params, NULL, NULL, &engine, &o.open) == EM_OK);
  if (!engine)
    return;
  const em_engine_facts facts = *em_engine_get_facts(engine);
  lose_for_good();
  *fault = true;
  ask(engine, &o, 0, prompt, 20);
  ask(engine, &o, 1, prompt, 12);
  while (em_engine_step(engine))
    ;
  for (int i = 0; i < 2; i++) {
    CHECK_INT(o.answers[i].n_finished, 1);
    CHECK_INT(o.answers[i].finish, EM_FINISH_ERROR);
    CHECK_INT(o.answers[i].error.code, EM_ERR_DEVICE);
    CHECK(strstr(o.answers[i].error.text, "cannot take over"));
  }
  printf("%s\n", o.answers[0].error.text);
  CHECK(em_engine_logits(engine, prompt, 20, 1, NULL, NULL, NULL) == EM_ERR_DEVICE);
  CHECK_INT(em_engine_get_facts(engine)->memory.n_parts, facts.memory.n_parts);
  *fault = false;
  hook_start(&(hook_wish){0});
  o.answers[0] = (answer){0};
  ask(engine, &o, 0, prompt, 20);
  while (em_engine_step(engine))
    ;
  CHECK(is_same(&o.answers[0], &normal.answers[0]));
  CHECK_INT(o.n_notices, 0);
  CHECK_INT(em_engine_get_facts(engine)->n_gpu_layers, facts.n_gpu_layers);
  CHECK_INT(em_engine_get_facts(engine)->memory.n_parts, facts.memory.n_parts);
  CHECK(strcmp(em_engine_get_facts(engine)->device, facts.device) == 0);
  em_engine_close(engine);
  CHECK_INT(hook_n_live(), 0);
}

/* A card that failed is not waited for by those who have cancelled: nothing is loaded for them, and the next question
 * finds it again. */
static void test_cancelled(void) {
  outcome o = {0};
  em_engine *engine = NULL;
  em_engine_params params = make_params(&o);
  int32_t prompt[20];
  for (int i = 0; i < 20; i++)
    prompt[i] = TINY_BOS + 7 * i % 300;
  hook_start(&(hook_wish){.failure = VK_ERROR_DEVICE_LOST, .only = "QueueSubmit"});
  CHECK(em_engine_open(gguf, &params, NULL, NULL, &engine, &o.open) == EM_OK);
  if (!engine)
    return;
  for (int i = 0; i < 2; i++) {
    em_request_params request = {.tokens = prompt,
                                 .n_tokens = 20 - (uint32_t)i,
                                 .max_tokens = N_TOKENS,
                                 .on_token = on_token,
                                 .on_finish = on_finish,
                                 .user = &o.answers[i]};
    CHECK(em_engine_submit(engine, &request, &cancelled_ids[i], NULL) == EM_OK);
  }
  fail_next_wait();
  cancelled_engine = engine;
  CHECK(em_engine_step(engine));
  cancelled_engine = NULL;
  CHECK_INT(hook_n_failed, 1);
  CHECK_INT(hook_n_live(), 0); /* nothing was loaded */
  while (em_engine_step(engine))
    ;
  for (int i = 0; i < 2; i++)
    CHECK(o.answers[i].n_finished == 1 && o.answers[i].finish == EM_FINISH_CANCELLED);
  o.answers[0] = (answer){0};
  ask(engine, &o, 0, prompt, 20);
  while (em_engine_step(engine))
    ;
  CHECK(is_same(&o.answers[0], &normal.answers[0]));
  CHECK_INT(o.n_notices, 0);
  CHECK(strncmp(em_engine_get_facts(engine)->device, "vulkan", 6) == 0);
  em_engine_close(engine);
  CHECK_INT(hook_n_live(), 0);
}

/* The processor takes more memory than the card did, and has room for one long answer but not for two. */
static void test_less_memory(void) {
  outcome o = {0};
  em_engine *engine = NULL;
  em_engine_params params = make_params(&o), on_processor = params;
  em_memory_plan card = {0}, processor = {0};
  em_request_params request = {.max_tokens = 300, .on_token = on_token, .on_finish = on_finish};
  em_request_id id;
  int32_t prompt[12] = {TINY_BOS, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120};
  hook_start(&(hook_wish){0});
  on_processor.backend.kind = EM_DEVICE_CPU;
  CHECK(em_engine_plan(gguf, &params, &card, NULL) == EM_OK);
  CHECK(em_engine_plan(gguf, &on_processor, &processor, NULL) == EM_OK);
  if (processor.total_bytes <= card.total_bytes) {
    printf("the processor takes no more memory than the card\n");
    return;
  }
  params.memory_limit_bytes = card.total_bytes + (processor.total_bytes - card.total_bytes) / 2;
  CHECK(em_engine_open(gguf, &params, NULL, NULL, &engine, &o.open) == EM_OK);
  if (!engine)
    return;
  for (uint32_t i = 0; i < 2; i++) {
    request.tokens = prompt;
    request.n_tokens = 12 - i;
    request.user = &o.answers[i];
    CHECK(em_engine_submit(engine, &request, &id, NULL) == EM_OK);
  }
  for (int i = 0; i < 5; i++)
    em_engine_step(engine);
  lose_for_good();
  while (em_engine_step(engine))
    ;
  CHECK_INT(o.n_notices, 1);
  CHECK_INT(o.answers[0].n_finished + o.answers[1].n_finished, 2);
  const answer *ended = &o.answers[o.answers[0].finish == EM_FINISH_ERROR ? 0 : 1];
  CHECK_INT(ended->finish, EM_FINISH_ERROR);
  CHECK_INT(ended->error.code, EM_ERR_NO_MEMORY);
  CHECK_INT(o.answers[ended == &o.answers[0]].finish, EM_FINISH_LENGTH);
  em_engine_close(engine);
  CHECK_INT(hook_n_live(), 0);
}

/* The same where the card has the last of three layers and the processor the others: a card that fails once is opened
 * again with its share, one that fails again or for good leaves all of it to the processor. */
static void test_shared(void) {
  const outcome before = normal;
  em_gguf *single = gguf;
  em_error error = {0};
  size_t bytes;
  tiny_model model = {.n_layers = 3, .context_tokens = 512, .type = EM_TYPE_F16, .seed = 4};
  char *file = tiny_model_make(&model, &bytes);
  CHECK(em_gguf_open_memory(file, bytes, bytes, &gguf, &error) == EM_OK);
  n_gpu_layers = 1;
  outcome o;
  run(&(hook_wish){.only = "QueueSubmit"}, &normal, count_submits);
  uint32_t n_submits = hook_n_calls;
  CHECK(answers_all(&normal) && normal.n_notices == 0 && normal.n_gpu_layers == 1 && hook_n_live() == 0);
  hook_wish wish = {.failure = VK_ERROR_DEVICE_LOST, .only = "QueueSubmit"};
  wish.fail_at = n_submits - 1;
  run(&wish, &o, NULL);
  CHECK(answers_all(&o) && ends_well(&o) && o.n_notices == 0 && o.n_gpu_layers == 1);
  wish.fail_at = n_submits_at_first;
  for (int lost = 0; lost < 2; lost++) {
    run(lost ? &(hook_wish){0} : &wish, &o, lost ? lose_for_good : fail_next_wait);
    CHECK(answers_all(&o));
    CHECK_INT(o.n_notices, 1);
    CHECK(strstr(o.sentence, lost ? "could not be started again" : "twice") != NULL);
    CHECK_INT(o.n_gpu_layers, 0);
    CHECK(strncmp(o.device, "cpu", 3) == 0);
    CHECK_INT(hook_n_live(), 0);
  }
  test_no_way_on(&has_no_processor);
  test_no_way_on(&has_no_cache);
  has_no_processor = true;
  run(&(hook_wish){0}, &o, NULL);
  CHECK(o.open.code == EM_ERR_NO_MEMORY && hook_n_live() == 0);
  has_no_processor = false;
  em_gguf_close(gguf);
  free(file);
  gguf = single;
  n_gpu_layers = 0;
  normal = before;
}

int main(int argc, char **argv) {
  size_t bytes;
  em_error error = {0};
  hook_validate();
  device_index = hook_choose_device(NULL, NULL);
  tiny_model model = {.n_layers = 1, .context_tokens = 512, .type = EM_TYPE_F16, .seed = 3};
  char *file = tiny_model_make(&model, &bytes);
  CHECK(em_gguf_open_memory(file, bytes, bytes, &gguf, &error) == EM_OK);
  range every = {.form = -1, .first = 1, .last = UINT32_MAX};
  const bool is_part = argc == 4;
  if (is_part)
    every = (range){atoi(argv[1]), (uint32_t)atoi(argv[2]), (uint32_t)atoi(argv[3])};
  test_every_call(is_part || (argc > 1 && strcmp(argv[1], "all") == 0) ? &every : NULL);
  if (is_part)
    goto done;
  test_twice();
  test_lost_for_good();
  test_no_way_on(&has_no_processor);
  test_no_way_on(&has_no_cache);
  test_cancelled();
  test_less_memory();
  test_shared();
  test_hang();
done:
  em_gguf_close(gguf);
  free(file);
  return check_done();
}
