/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The app's client and the engine process together: what works, what is refused, and what happens when either dies. */
#include "harness.h"

#include "check.h"
#include "gguf/writer.h"
#include "tiny-model.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *folder;
static char *small, *endless, *large;

static char *place(const char *name) {
  return g_build_filename(folder, name, NULL);
}

static void copy(const char *from, const char *to) {
  g_autoptr(GFile) source = g_file_new_for_path(from);
  g_autoptr(GFile) target = g_file_new_for_path(to);

  CHECK(g_file_copy(source, target, G_FILE_COPY_OVERWRITE, NULL, NULL, NULL, NULL));
}

static void make_models(void) {
  folder = g_dir_make_tmp("hearth-engine-XXXXXX", NULL);
  small = place("small.gguf");
  endless = place("endless.gguf");
  large = place("large.gguf");
  tiny_model_save(&(tiny_model){.name = "small", .context_tokens = 2048}, small);
  /* Slow enough that a test can do something while it writes. */
  tiny_model_save(&(tiny_model){.name = "endless", .context_tokens = 8192, .n_embd = 256, .n_layers = 6, .n_ff = 512},
                  endless);
  /* Large enough that a test can do something while it is read. */
  tiny_model_save(&(tiny_model){.name = "large",
                                .n_embd = 1536,
                                .n_heads = 12,
                                .n_kv_heads = 4,
                                .n_layers = 8,
                                .n_ff = 4096,
                                .type = EM_TYPE_F16},
                  large);
}

static void remove_models(void) {
  g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
  const char *name;

  while ((name = g_dir_read_name(dir))) {
    g_autofree char *path = place(name);
    if (g_remove(path) != 0)
      g_rmdir(path);
  }
  g_rmdir(folder);
}

static HearthEngineClient *start(void) {
  HearthEngineClient *client = hearth_engine_client_new(NULL);

  CHECK(WAIT_FOR(hearth_engine_client_get_running(client), 10));
  return client;
}

/* Whether a short answer comes. */
static gboolean answers(HearthEngineClient *client) {
  Asked asked;
  gboolean good;

  asked_start(&asked, client, "the sun", 8, 1);
  good = WAIT_FOR(asked.n_finished == 1, 30) && asked.text->len > 0 &&
         hearth_answer_get_finish(asked.answer) == HEARTH_FINISH_LENGTH;
  asked_clear(&asked);
  return good;
}

static int code_of(const GError *error) {
  return error && error->domain == HEARTH_ENGINE_ERROR ? error->code : -1;
}

/* --- What works -------------------------------------------------------------------------------------------------- */

static void test_load_and_answer(HearthEngineClient *client) {
  Loading loading = {0};
  Asked first, second, third;

  CHECK(hearth_engine_client_get_pid(client) > 0);
  loading_start(&loading, client, small, NULL);
  CHECK(WAIT_FOR(loading.done, 30));
  CHECK(loading.facts != NULL);
  CHECK(loading.n_progress > 0);
  CHECK(loading.total_bytes > 0 && loading.done_bytes <= loading.total_bytes);
  if (!loading.facts)
    return;
  CHECK_TEXT(loading.facts->architecture, "llama");
  CHECK(g_str_has_prefix(loading.facts->device, "cpu"));
  CHECK(loading.facts->layers > 0 && loading.facts->gpu_layers == 0);
  CHECK_INT(loading.facts->context_tokens, 2048);
  CHECK_INT(loading.facts->train_context_tokens, 2048);
  CHECK(loading.facts->parameters > 0 && loading.facts->weights_bytes > 0 && loading.facts->kv_bytes > 0);
  CHECK(loading.facts->weights_bytes_per_token > 0 && loading.facts->kv_bytes_per_token > 0);
  CHECK(loading.facts->available_bytes > 0 && loading.facts->load_us > 0);
  CHECK(!loading.facts->has_template);
  loading_clear(&loading);

  asked_start(&first, client, "the little house", 50, 7);
  CHECK(!hearth_answer_get_finished(first.answer));
  CHECK(WAIT_FOR(first.n_finished > 0, 30));
  CHECK_INT(hearth_answer_get_finish(first.answer), HEARTH_FINISH_LENGTH);
  CHECK(hearth_answer_get_error(first.answer) == NULL);
  CHECK(first.text->len > 50 && g_utf8_validate(first.text->str, -1, NULL));
  CHECK_INT(hearth_answer_get_stats(first.answer)->generated_tokens, 50);
  CHECK(hearth_answer_get_stats(first.answer)->prompt_tokens > 3);
  CHECK(hearth_answer_get_words_per_second(first.answer) > 0);

  /* The same seed gives the same text; another one does not. */
  asked_start(&second, client, "the little house", 50, 7);
  asked_start(&third, client, "the little house", 50, 8);
  CHECK(WAIT_FOR(second.n_finished > 0 && third.n_finished > 0, 30));
  CHECK_TEXT(second.text->str, first.text->str);
  CHECK(!g_str_equal(third.text->str, first.text->str));
  CHECK_INT(first.n_finished, 1);
  asked_clear(&first);
  asked_clear(&second);
  asked_clear(&third);
}

static void test_stop_and_pace(HearthEngineClient *client) {
  Asked asked, other;
  gint64 stopped_us, wrote_us;

  CHECK(load_model(client, endless, NULL, NULL));
  asked_start(&asked, client, "one day", 0, 1);
  asked_start(&other, client, "the river", 0, 2);
  CHECK(WAIT_FOR(asked.text->len > 200 && other.text->len > 200, 60));
  hearth_answer_stop(asked.answer);
  stopped_us = g_get_monotonic_time();
  CHECK(WAIT_FOR(asked.n_finished > 0, 10));
  CHECK(g_get_monotonic_time() - stopped_us < G_USEC_PER_SEC);
  CHECK_INT(hearth_answer_get_finish(asked.answer), HEARTH_FINISH_CANCELLED);
  CHECK(hearth_answer_get_stats(asked.answer)->generated_tokens > 0);
  CHECK(!hearth_answer_get_finished(other.answer));
  hearth_answer_stop(other.answer);
  CHECK(WAIT_FOR(other.n_finished > 0, 10));
  /* At most one text every 16 ms; the arrival of each may be late, never early. */
  wrote_us = asked.last_text_us - asked.first_text_us;
  CHECK(asked.n_texts > 1 && (gint64)(asked.n_texts - 1) <= wrote_us / 15000 + 2);
  asked_clear(&asked);
  asked_clear(&other);

  /* Stopped before its id is known. */
  asked_start(&asked, client, "one day", 0, 1);
  hearth_answer_stop(asked.answer);
  CHECK(WAIT_FOR(asked.n_finished > 0, 10));
  CHECK_INT(hearth_answer_get_finish(asked.answer), HEARTH_FINISH_CANCELLED);
  asked_clear(&asked);
}

static void test_many(HearthEngineClient *client) {
  Asked asked[12];
  guint n_done = 0;

  CHECK(load_model(client, small, NULL, NULL));
  for (guint i = 0; i < G_N_ELEMENTS(asked); i++)
    asked_start(&asked[i], client, "under the green tree", 20 + i, i + 1);
  for (guint i = 0; i < G_N_ELEMENTS(asked); i++) {
    CHECK(WAIT_FOR(asked[i].n_finished == 1, 60));
    n_done += hearth_answer_get_stats(asked[i].answer)->generated_tokens == 20 + i;
    asked_clear(&asked[i]);
  }
  CHECK_INT(n_done, G_N_ELEMENTS(asked));
}

static void test_unload(HearthEngineClient *client) {
  Asked asked;

  CHECK(load_model(client, endless, NULL, NULL));
  asked_start(&asked, client, "one day", 0, 1);
  CHECK(WAIT_FOR(asked.text->len > 0, 30));
  hearth_engine_client_unload(client);
  CHECK(WAIT_FOR(asked.n_finished > 0, 10));
  CHECK_INT(hearth_answer_get_finish(asked.answer), HEARTH_FINISH_CANCELLED);
  asked_clear(&asked);

  asked_start(&asked, client, "one day", 0, 1);
  CHECK(WAIT_FOR(asked.n_finished > 0, 10));
  CHECK_INT(hearth_answer_get_finish(asked.answer), HEARTH_FINISH_ERROR);
  CHECK_INT(code_of(hearth_answer_get_error(asked.answer)), HEARTH_ENGINE_ERROR_NO_MODEL);
  asked_clear(&asked);
}

static void cancel(gpointer data) {
  g_cancellable_cancel(data);
}

static void test_cancel_load(HearthEngineClient *client) {
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  Loading loading = {.on_progress = cancel, .data = cancellable}, first = {0}, second = {0};

  loading_start(&loading, client, large, cancellable);
  CHECK(WAIT_FOR(loading.done, 60));
  CHECK(loading.n_progress > 0);
  CHECK_INT(code_of(loading.error), HEARTH_ENGINE_ERROR_CANCELLED);
  loading_clear(&loading);

  /* The second one wins. */
  loading_start(&first, client, large, NULL);
  loading_start(&second, client, small, NULL);
  CHECK(WAIT_FOR(first.done && second.done, 60));
  CHECK_INT(code_of(first.error), HEARTH_ENGINE_ERROR_CANCELLED);
  CHECK(second.facts != NULL);
  CHECK(answers(client));
  loading_clear(&first);
  loading_clear(&second);
}

/* The voluntary context switches of all threads of a process: how often it has woken up. */
static guint64 count_wakeups(GPid pid) {
  g_autofree char *tasks = g_strdup_printf("/proc/%d/task", (int)pid);
  g_autoptr(GDir) dir = g_dir_open(tasks, 0, NULL);
  const char *name;
  guint64 n = 0;

  while (dir && (name = g_dir_read_name(dir))) {
    g_autofree char *path = g_build_filename(tasks, name, "status", NULL);
    g_autofree char *text = NULL;
    const char *line;

    if (g_file_get_contents(path, &text, NULL, NULL) && (line = strstr(text, "\nvoluntary_ctxt_switches:")))
      n += g_ascii_strtoull(strchr(line, ':') + 1, NULL, 10);
  }
  return n;
}

static void test_idle(HearthEngineClient *client) {
  guint64 before;

  CHECK(load_model(client, small, NULL, NULL));
  CHECK(answers(client));
  g_usleep(G_USEC_PER_SEC / 2);
  before = count_wakeups(hearth_engine_client_get_pid(client));
  g_usleep(2 * G_USEC_PER_SEC);
  CHECK(before > 0);
  CHECK_INT(count_wakeups(hearth_engine_client_get_pid(client)) - before, 0);
}

/* --- What is refused --------------------------------------------------------------------------------------------- */

static void check_refused(HearthEngineClient *client, const char *path, int expected, const char *word) {
  g_autofree char *message = NULL;
  int code = -1;

  CHECK(!load_model(client, path, &code, &message));
  CHECK_INT(code, expected);
  /* One sentence (it may begin with a path), without the prefix that GDBus gives it. */
  CHECK(!g_ascii_islower(message[0]) && g_str_has_suffix(message, ".") && !strchr(message, '\n'));
  CHECK(!strstr(message, "GDBus"));
  if (word)
    CHECK(strstr(message, word));
  printf("%s\n", message);
}

static void make_huge(const char *path) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  const uint64_t layers = 4, embd = 65536, ff = 262144, vocab = 512;
  static const char *const names[] = {"attn_q", "attn_k", "attn_v", "attn_output"};
  em_text *tokens = g_new(em_text, vocab);
  float *scores = g_new0(float, vocab);
  char name[64];

  for (guint i = 0; i < vocab; i++) {
    char *text = g_strdup_printf("w%u", i);
    tokens[i] = (em_text){text, strlen(text)};
  }
  em_gguf_put_text(writer, "general.architecture", "llama");
  em_gguf_put_u32(writer, "llama.context_length", 2048);
  em_gguf_put_u32(writer, "llama.embedding_length", (uint32_t)embd);
  em_gguf_put_u32(writer, "llama.block_count", (uint32_t)layers);
  em_gguf_put_u32(writer, "llama.feed_forward_length", (uint32_t)ff);
  em_gguf_put_u32(writer, "llama.attention.head_count", 512);
  em_gguf_put_u32(writer, "llama.rope.dimension_count", 128);
  em_gguf_put_f32(writer, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
  em_gguf_put_text(writer, "tokenizer.ggml.model", "llama");
  em_gguf_put_texts(writer, "tokenizer.ggml.tokens", tokens, vocab);
  em_gguf_put_f32s(writer, "tokenizer.ggml.scores", scores, vocab);
  em_gguf_put_tensor(writer, "token_embd.weight", EM_TYPE_F16, 2, (uint64_t[]){embd, vocab}, NULL);
  em_gguf_put_tensor(writer, "output.weight", EM_TYPE_F16, 2, (uint64_t[]){embd, vocab}, NULL);
  em_gguf_put_tensor(writer, "output_norm.weight", EM_TYPE_F32, 1, (uint64_t[]){embd}, NULL);
  for (uint64_t i = 0; i < layers; i++) {
    for (guint j = 0; j < G_N_ELEMENTS(names); j++) {
      g_snprintf(name, sizeof name, "blk.%u.%s.weight", (guint)i, names[j]);
      em_gguf_put_tensor(writer, name, EM_TYPE_F16, 2, (uint64_t[]){embd, embd}, NULL);
    }
    g_snprintf(name, sizeof name, "blk.%u.attn_norm.weight", (guint)i);
    em_gguf_put_tensor(writer, name, EM_TYPE_F32, 1, (uint64_t[]){embd}, NULL);
    g_snprintf(name, sizeof name, "blk.%u.ffn_norm.weight", (guint)i);
    em_gguf_put_tensor(writer, name, EM_TYPE_F32, 1, (uint64_t[]){embd}, NULL);
    g_snprintf(name, sizeof name, "blk.%u.ffn_gate.weight", (guint)i);
    em_gguf_put_tensor(writer, name, EM_TYPE_F16, 2, (uint64_t[]){embd, ff}, NULL);
    g_snprintf(name, sizeof name, "blk.%u.ffn_up.weight", (guint)i);
    em_gguf_put_tensor(writer, name, EM_TYPE_F16, 2, (uint64_t[]){embd, ff}, NULL);
    g_snprintf(name, sizeof name, "blk.%u.ffn_down.weight", (guint)i);
    em_gguf_put_tensor(writer, name, EM_TYPE_F16, 2, (uint64_t[]){ff, embd}, NULL);
  }
  CHECK_INT(em_gguf_writer_save(writer, path, NULL), EM_OK);
  em_gguf_writer_free(writer);
  for (guint i = 0; i < vocab; i++)
    g_free((char *)tokens[i].text);
  g_free(tokens);
  g_free(scores);
}

static void make_hostile(const char *path, bool unknown_family) {
  em_gguf_writer *writer = em_gguf_writer_new(3);
  const em_gguf_lies lies = {.n_tensors = UINT64_C(1) << 60, .tensor = -1};
  char *bytes = NULL;
  size_t n = 0;

  em_gguf_put_text(writer, "general.architecture", unknown_family ? "mamba9" : "llama");
  CHECK_INT(em_gguf_writer_finish(writer, unknown_family ? NULL : &lies, &bytes, &n, NULL), EM_OK);
  CHECK(g_file_set_contents(path, bytes, (gssize)n, NULL));
  free(bytes);
  em_gguf_writer_free(writer);
}

static void test_refusals(HearthEngineClient *client) {
  g_autofree char *text = place("text.gguf"), *short_file = place("short.gguf"), *hostile = place("hostile.gguf");
  g_autofree char *unknown = place("unknown.gguf"), *huge = place("huge.gguf"), *missing = place("missing.gguf");
  g_autofree char *pipe = place("pipe.gguf"), *deep = place("folder.gguf");
  GPid pid = hearth_engine_client_get_pid(client);

  CHECK(load_model(client, small, NULL, NULL));
  CHECK(g_file_set_contents(text, "This is no model, only words in a file.", -1, NULL));
  copy(small, short_file);
  CHECK_INT(truncate(short_file, 20000), 0);
  make_hostile(hostile, false);
  make_hostile(unknown, true);
  make_huge(huge);
  CHECK_INT(mkfifo(pipe, 0600), 0);
  CHECK_INT(g_mkdir(deep, 0700), 0);

  check_refused(client, text, HEARTH_ENGINE_ERROR_FORMAT, NULL);
  check_refused(client, short_file, HEARTH_ENGINE_ERROR_FORMAT, NULL);
  check_refused(client, unknown, HEARTH_ENGINE_ERROR_UNSUPPORTED, "mamba9");
  check_refused(client, huge, HEARTH_ENGINE_ERROR_TOO_BIG, "GB");
  check_refused(client, missing, HEARTH_ENGINE_ERROR_NOT_FOUND, NULL);
  {
    int code = -1;
    CHECK(!load_model(client, hostile, &code, NULL));
    CHECK(code == HEARTH_ENGINE_ERROR_FORMAT || code == HEARTH_ENGINE_ERROR_LIMIT);
    CHECK(!load_model(client, pipe, NULL, NULL));
    CHECK(!load_model(client, deep, NULL, NULL));
  }
  /* Refused before a weight was read: the model that was there still answers. */
  CHECK(answers(client));
  CHECK_INT(hearth_engine_client_get_pid(client), pid);
}

static void empty_file(gpointer data) {
  CHECK_INT(truncate(data, 4096), 0);
}

static void test_vanishing_files(HearthEngineClient *client) {
  g_autofree char *victim = place("victim.gguf");
  Loading loading = {.on_progress = empty_file, .data = victim};
  GPid pid = hearth_engine_client_get_pid(client);
  Asked asked;

  /* While it is read. */
  copy(large, victim);
  loading_start(&loading, client, victim, NULL);
  CHECK(WAIT_FOR(loading.done, 60));
  CHECK_INT(code_of(loading.error), HEARTH_ENGINE_ERROR_CHANGED);
  loading_clear(&loading);

  /* While it is used: it was read into memory. */
  copy(endless, victim);
  CHECK(load_model(client, victim, NULL, NULL));
  asked_start(&asked, client, "one day", 300, 1);
  CHECK(WAIT_FOR(asked.text->len > 0, 30));
  CHECK_INT(truncate(victim, 0), 0);
  CHECK_INT(g_remove(victim), 0);
  CHECK(WAIT_FOR(asked.n_finished > 0, 60));
  CHECK_INT(hearth_answer_get_finish(asked.answer), HEARTH_FINISH_LENGTH);
  CHECK(answers(client));
  CHECK_INT(hearth_engine_client_get_pid(client), pid);
  asked_clear(&asked);
}

/* --- Death ------------------------------------------------------------------------------------------------------- */

static void count(HearthEngineClient *client, guint *n) {
  (*n)++;
}

static void test_kill(HearthEngineClient *client, int signal_number) {
  guint n_died = 0, n_restarted = 0;
  gint64 killed_us;
  gsize kept;
  Asked asked;
  GPid pid;

  g_signal_connect(client, "died", G_CALLBACK(count), &n_died);
  g_signal_connect(client, "restarted", G_CALLBACK(count), &n_restarted);
  CHECK(load_model(client, endless, NULL, NULL));
  asked_start(&asked, client, "one day", 0, 1);
  CHECK(WAIT_FOR(asked.text->len > 100, 60));
  kept = asked.text->len;
  pid = hearth_engine_client_get_pid(client);
  CHECK_INT(kill(pid, signal_number), 0);
  killed_us = g_get_monotonic_time();
  CHECK(WAIT_FOR(asked.n_finished > 0, 2));
  CHECK(g_get_monotonic_time() - killed_us < G_USEC_PER_SEC);
  CHECK_INT(hearth_answer_get_finish(asked.answer), HEARTH_FINISH_ERROR);
  CHECK_INT(code_of(hearth_answer_get_error(asked.answer)), HEARTH_ENGINE_ERROR_DIED);
  CHECK(asked.text->len >= kept);
  CHECK(WAIT_FOR(n_restarted > 0, 2));
  CHECK(g_get_monotonic_time() - killed_us < 2 * G_USEC_PER_SEC);
  printf("signal %d: back after %.0f ms\n", signal_number, (double)(g_get_monotonic_time() - killed_us) / 1000);
  CHECK_INT(n_died, 1);
  CHECK_INT(asked.n_finished, 1);
  CHECK(hearth_engine_client_get_pid(client) != pid);
  CHECK(load_model(client, small, NULL, NULL));
  CHECK(answers(client));
  asked_clear(&asked);
  g_signal_handlers_disconnect_by_data(client, &n_died);
  g_signal_handlers_disconnect_by_data(client, &n_restarted);
}

/* Whoever hears of a death finds a client that knows of it: a load waits for the new engine instead of asking the dead
 * one. */
static void test_kill_at_once(HearthEngineClient *client) {
  for (guint i = 0; i < 10; i++) {
    Asked asked;

    CHECK(load_model(client, small, NULL, NULL));
    asked_start(&asked, client, "one day", 0, 1);
    CHECK_INT(kill(hearth_engine_client_get_pid(client), SIGKILL), 0);
    CHECK(WAIT_FOR(asked.n_finished > 0, 5));
    CHECK_INT(code_of(hearth_answer_get_error(asked.answer)), HEARTH_ENGINE_ERROR_DIED);
    asked_clear(&asked);
  }
  CHECK(load_model(client, small, NULL, NULL));
}

static void kill_engine(gpointer data) {
  CHECK_INT(kill(hearth_engine_client_get_pid(data), SIGKILL), 0);
}

/* Asks while nobody is there. */
static void ask_nobody(HearthEngineClient *client, Asked *asked) {
  CHECK(!hearth_engine_client_get_running(client));
  asked_start(asked, client, "one day", 0, 1);
  CHECK_INT(asked->n_finished, 0);
}

static void test_kill_while_loading(HearthEngineClient *client) {
  Loading loading = {.on_progress = kill_engine, .data = client};
  Asked asked = {0};

  g_signal_connect(client, "died", G_CALLBACK(ask_nobody), &asked);
  loading_start(&loading, client, large, NULL);
  CHECK(WAIT_FOR(loading.done, 10));
  CHECK_INT(code_of(loading.error), HEARTH_ENGINE_ERROR_DIED);
  loading_clear(&loading);
  CHECK(WAIT_FOR(asked.n_finished > 0, 5));
  CHECK_INT(code_of(hearth_answer_get_error(asked.answer)), HEARTH_ENGINE_ERROR_DIED);
  asked_clear(&asked);
  g_signal_handlers_disconnect_by_data(client, &asked);
  /* A load waits for the new one. */
  CHECK(load_model(client, small, NULL, NULL));
  CHECK(answers(client));
}

static void test_bad_programs(void) {
  static const struct {
    const char *program;
    int code;
  } cases[] = {{"/nonexistent/hearth-engine", HEARTH_ENGINE_ERROR_FAILED}, {"/bin/false", HEARTH_ENGINE_ERROR_DIED}};

  for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
    HearthEngineClient *client = hearth_engine_client_new(cases[i].program);
    int code = -1;

    CHECK(!load_model(client, small, &code, NULL));
    CHECK_INT(code, cases[i].code);
    CHECK(!hearth_engine_client_get_running(client));
    g_object_unref(client);
  }
}

/* An engine whose first start fails is up again, and says so; one that never starts ends what waits for it. */
static void test_failing_starts(void) {
  g_autofree char *script = place("starts-late.sh"), *mark = place("started-once");
  g_autofree char *text = g_strdup_printf("#!/bin/sh\n[ -e '%s' ] || { : >'%s'; exit 1; }\nexec '%s' \"$@\"\n", mark,
                                          mark, g_getenv("HEARTH_ENGINE"));
  HearthEngineClient *client;
  guint n_restarted = 0;
  gint64 end_us;
  int code = -1;

  CHECK(g_file_set_contents_full(script, text, -1, G_FILE_SET_CONTENTS_NONE, 0700, NULL));
  client = hearth_engine_client_new(script);
  g_signal_connect(client, "restarted", G_CALLBACK(count), &n_restarted);
  CHECK(WAIT_FOR(n_restarted == 1, 10));
  CHECK(load_model(client, small, NULL, NULL));
  CHECK(answers(client));
  g_object_unref(client);

  client = hearth_engine_client_new("/bin/false");
  end_us = g_get_monotonic_time() + 20 * G_USEC_PER_SEC;
  while (code != HEARTH_ENGINE_ERROR_FAILED && g_get_monotonic_time() < end_us)
    CHECK(!load_model(client, small, &code, NULL));
  CHECK_INT(code, HEARTH_ENGINE_ERROR_FAILED);
  g_object_unref(client);
}

/* A format that refuses a conversation is no damaged file. */
static void test_refused_conversation(HearthEngineClient *client) {
  g_autofree char *path = place("strict.gguf");
  Asked asked;

  tiny_model_save(&(tiny_model){.name = "strict", .chat_template = "{{ raise_exception('roles must alternate') }}"},
                  path);
  CHECK(load_model(client, path, NULL, NULL));
  asked_start(&asked, client, "one day", 0, 1);
  CHECK(WAIT_FOR(asked.n_finished > 0, 10));
  CHECK_INT(code_of(hearth_answer_get_error(asked.answer)), HEARTH_ENGINE_ERROR_REFUSED);
  CHECK(strstr(hearth_answer_get_error(asked.answer)->message, "alternate") != NULL);
  asked_clear(&asked);
}

static gboolean is_gone(GPid pid) {
  g_autofree char *path = g_strdup_printf("/proc/%d/stat", (int)pid);
  g_autofree char *text = NULL;
  const char *state;

  /* A process that nobody waits for stays as a zombie. */
  return !g_file_get_contents(path, &text, NULL, NULL) || !(state = strrchr(text, ')')) || state[2] == 'Z';
}

static void test_client_goes(void) {
  HearthEngineClient *client = start();
  GPid pid = hearth_engine_client_get_pid(client);
  Asked asked;

  CHECK(load_model(client, endless, NULL, NULL));
  asked_start(&asked, client, "one day", 0, 1);
  CHECK(WAIT_FOR(asked.text->len > 0, 30));
  g_object_unref(client);
  CHECK_INT(asked.n_finished, 1);
  CHECK_INT(hearth_answer_get_finish(asked.answer), HEARTH_FINISH_CANCELLED);
  CHECK(WAIT_FOR(is_gone(pid), 5));
  asked_clear(&asked);
}

/* The app is this program with other arguments: it starts an engine, has it write, says its id, and waits to be killed.
 */
static int be_app(const char *model) {
  HearthEngineClient *client = start();
  Asked asked;

  if (!load_model(client, model, NULL, NULL))
    return 1;
  asked_start(&asked, client, "one day", 0, 1);
  WAIT_FOR(asked.text->len > 0, 30);
  printf("%d\n", (int)hearth_engine_client_get_pid(client));
  fflush(stdout);
  WAIT_FOR(FALSE, 60);
  return 1;
}

static void test_app_is_killed(const char *self) {
  g_autoptr(GError) error = NULL;
  g_autoptr(GSubprocess) app = g_subprocess_new(G_SUBPROCESS_FLAGS_STDOUT_PIPE, &error, self, "--app", endless, NULL);
  g_autoptr(GDataInputStream) lines = NULL;
  g_autofree char *line = NULL;
  GPid pid;

  CHECK(app != NULL);
  lines = g_data_input_stream_new(g_subprocess_get_stdout_pipe(app));
  line = g_data_input_stream_read_line(lines, NULL, NULL, NULL);
  CHECK(line != NULL);
  pid = line ? atoi(line) : 0;
  CHECK(pid > 0 && !is_gone(pid));
  g_subprocess_force_exit(app);
  CHECK(g_subprocess_wait(app, NULL, NULL));
  CHECK(WAIT_FOR(is_gone(pid), 5));
}

int main(int argc, char **argv) {
  HearthEngineClient *client;

  if (argc == 3 && g_str_equal(argv[1], "--app"))
    return be_app(argv[2]);
  make_models();
  client = start();
  test_load_and_answer(client);
  test_stop_and_pace(client);
  test_many(client);
  test_unload(client);
  test_cancel_load(client);
  test_idle(client);
  test_refusals(client);
  test_vanishing_files(client);
  test_refused_conversation(client);
  test_failing_starts();
  test_kill(client, SIGSEGV);
  test_kill(client, SIGKILL);
  test_kill_at_once(client);
  test_kill_while_loading(client);
  g_object_unref(client);
  test_bad_programs();
  test_client_goes();
  test_app_is_killed(argv[0]);
  remove_models();
  return check_done();
}
