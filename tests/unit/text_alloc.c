/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Every allocation of the text wing fails once: opening a dialog, making a prompt and taking an answer then say that memory is
 * out, leak nothing, and work the next time. */
#include "check.h"

#include "gguf/writer.h"
#include "text/dialog.h"

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
char *__wrap_strdup(const char *text);

static long until_failure = -1; /* allocations that still succeed; -1: all */
static bool for_good;           /* whether those behind the failing one fail as well */

static bool fails(void) {
  if (until_failure < 0)
    return false;
  if (until_failure > 0) {
    until_failure--;
    return false;
  }
  if (!for_good)
    until_failure = -1;
  return true;
}

void *__wrap_malloc(size_t bytes) {
  return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes) {
  return fails() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes) {
  return fails() ? NULL : __real_realloc(old, bytes);
}

char *__wrap_strdup(const char *text) {
  return fails() ? NULL : __real_strdup(text);
}

static em_gguf *make_file(const char *template_, char **data) {
  enum { N = 260 };
  static char names[N][12];
  em_text pieces[N];
  float scores[N];
  int32_t types[N];
  for (int i = 0; i < N; i++) {
    static const char *const first[] = {"<unk>", "<s>", "</s>", "\xE2\x96\x81"};
    if (i < 4)
      snprintf(names[i], sizeof names[i], "%s", first[i]);
    else
      snprintf(names[i], sizeof names[i], "<0x%02X>", (unsigned)i - 4);
    pieces[i] = (em_text){names[i], strlen(names[i])};
    scores[i] = (float)-i;
    types[i] = i == 0 ? EM_TOKEN_UNKNOWN : i < 3 ? EM_TOKEN_CONTROL : i == 3 ? EM_TOKEN_NORMAL : EM_TOKEN_BYTE;
  }
  em_gguf_writer *writer = em_gguf_writer_new(3);
  em_gguf_put_text(writer, "general.architecture", "none");
  em_gguf_put_text(writer, "tokenizer.ggml.model", "llama");
  em_gguf_put_texts(writer, "tokenizer.ggml.tokens", pieces, N);
  em_gguf_put_f32s(writer, "tokenizer.ggml.scores", scores, N);
  em_gguf_put_i32s(writer, "tokenizer.ggml.token_type", types, N);
  em_gguf_put_u32(writer, "tokenizer.ggml.bos_token_id", 1);
  em_gguf_put_u32(writer, "tokenizer.ggml.eos_token_id", 2);
  em_gguf_put_text(writer, "tokenizer.chat_template", template_);
  size_t bytes;
  em_gguf *gguf = NULL;
  CHECK(em_gguf_writer_finish(writer, NULL, data, &bytes, NULL) == EM_OK);
  CHECK(em_gguf_open_memory(*data, bytes, bytes, &gguf, NULL) == EM_OK);
  em_gguf_writer_free(writer);
  return gguf;
}

/* The whole way once. EM_OK, or the one error that may come. */
static em_status go(const em_gguf *gguf, em_error *error) {
  em_dialog *dialog = NULL;
  em_reply *reply = NULL;
  em_tokens tokens = {0};
  em_buffer answer = {0};
  const em_message messages[] = {{"user", "hello there", 11}, {"assistant", "yes?", 4}};
  const char *const stops[] = {"stop"};
  static const char schema[] = "{\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"]}";
  const em_constraint_params constraint = {.text = schema, .bytes = sizeof schema - 1, .n_vocab = 260};
  em_constraint *bound = NULL;
  em_status status = em_dialog_new(gguf, &dialog, error);
  if (status == EM_OK)
    status = em_dialog_prompt(dialog, messages, 2, &(em_prompt_settings){0}, &tokens, error);
  if (status == EM_OK)
    status = em_reply_new(dialog, stops, 1, false, &reply, error);
  for (const char *c = "an sto answer sto"; *c && status == EM_OK; c++)
    if (em_reply_push(reply, 4 + (unsigned char)*c, &answer) == EM_REPLY_FAILED)
      status = em_fail(error, EM_ERR_NO_MEMORY, "no memory for the answer");
  if (status == EM_OK && !em_reply_flush(reply, &answer))
    status = em_fail(error, EM_ERR_NO_MEMORY, "no memory for the answer");
  if (status == EM_OK)
    status = em_constraint_new(dialog, &constraint, &bound, error);
  for (const char *c = "{\"a\":1}"; *c && status == EM_OK; c++) {
    uint64_t allowed[5] = {0};
    if (!em_constraint_mask(bound, allowed) || !em_constraint_push(bound, 4 + (unsigned char)*c))
      status = em_fail(error, em_constraint_error(bound)->code, "%s", em_constraint_error(bound)->text);
  }
  if (status == EM_OK) {
    CHECK(em_constraint_is_complete(bound));
    CHECK_TEXT(answer.data, "an sto answer sto");
    CHECK(tokens.n > 10 && tokens.ids[0] == 1);
  } else {
    CHECK(tokens.n == 0 || reply || dialog);
  }
  em_buffer_clear(&answer);
  em_constraint_free(bound);
  em_reply_free(reply);
  em_tokens_clear(&tokens);
  em_dialog_free(dialog);
  return status;
}

static void fail_each(const char *template_) {
  char *data;
  em_gguf *gguf = make_file(template_, &data);
  CHECK_INT(go(gguf, NULL), EM_OK);
  for (int way = 0; way < 2; way++) {
    for_good = way == 1;
    em_status status = EM_ERR_NO_MEMORY;
    long n = 0;
    for (; status != EM_OK && n < 100000; n++) {
      em_error error = {0};
      until_failure = n;
      status = go(gguf, &error);
      if (status == EM_OK && until_failure < 0 && !for_good)
        status = EM_ERR_NO_MEMORY; /* the failure came and did no harm */
      until_failure = until_failure > 0 ? until_failure : -1;
      if (error.code != EM_OK)
        CHECK_INT(error.code, EM_ERR_NO_MEMORY);
    }
    printf("%ld allocations\n", n - 1);
    CHECK(n > 20 && n < 100000);
    until_failure = -1;
  }
  em_gguf_close(gguf);
  free(data);
}

int main(void) {
  fail_each("{{ bos_token }}{% macro m(a, b=[1]) %}{{ a ~ b }}{% endmacro %}{% set ns = namespace(k={}) %}"
            "{% for m in messages %}{{ m.role | upper }}: {{ (m.content ~ '!') | trim }} {{ m | tojson(indent=1) }}"
            "{{ loop.index }}{{ m.content.split(' ') | map('upper') | sort | join(',') }}{% endfor %}{{ m('x', b=(2,)) }}"
            "{% set t %}{{ '%s' % 1 }}{% endset %}{{ t }}{{ range(3000) | list | length }}{{ strftime_now('%d') }}");
  fail_each("{% broken %}");
  return check_done();
}
