/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The switch for thinking in every chat template of the shared folder: where there is one it is found, and a prompt
 * that asks for no thinking never leaves the model in the middle of it. */
#include "base/file.h"
#include "check.h"
#include "gguf/writer.h"
#include "text/dialog.h"

#include <dirent.h>

#define N_TOKENS 3

static em_dialog *open_dialog(const char *template_) {
  static const em_text pieces[N_TOKENS] = {{"<unk>", 5}, {"<s>", 3}, {"</s>", 4}};
  static const int32_t types[N_TOKENS] = {EM_TOKEN_UNKNOWN, EM_TOKEN_CONTROL, EM_TOKEN_CONTROL};
  static const float scores[N_TOKENS];
  em_gguf_writer *writer = em_gguf_writer_new(3);
  em_gguf *gguf = NULL;
  em_dialog *dialog = NULL;
  char *data = NULL;
  size_t bytes;
  em_gguf_put_text(writer, "tokenizer.ggml.model", "llama");
  em_gguf_put_texts(writer, "tokenizer.ggml.tokens", pieces, N_TOKENS);
  em_gguf_put_i32s(writer, "tokenizer.ggml.token_type", types, N_TOKENS);
  em_gguf_put_f32s(writer, "tokenizer.ggml.scores", scores, N_TOKENS);
  em_gguf_put_u32(writer, "tokenizer.ggml.bos_token_id", 1);
  em_gguf_put_u32(writer, "tokenizer.ggml.eos_token_id", 2);
  em_gguf_put_text(writer, "tokenizer.chat_template", template_);
  CHECK_INT(em_gguf_writer_finish(writer, NULL, &data, &bytes, NULL), EM_OK);
  CHECK_INT(em_gguf_open_memory(data, bytes, bytes, &gguf, NULL), EM_OK);
  CHECK_INT(em_dialog_new(gguf, &dialog, NULL), EM_OK);
  em_gguf_close(gguf);
  em_gguf_writer_free(writer);
  free(data);
  return dialog;
}

static char *prompt(const em_dialog *dialog, em_thinking thinking) {
  const em_message question = {"user", "Why?", 4};
  em_buffer text = {0};
  if (em_dialog_render(dialog, &question, 1, &(em_prompt_settings){.thinking = thinking}, &text, NULL) != EM_OK)
    em_buffer_clear(&text);
  return em_buffer_steal(&text);
}

/* Whether a text ends with this mark, but for white space. */
static bool ends_with(const char *text, const char *mark) {
  size_t bytes = strlen(text), n = strlen(mark);
  while (bytes > 0 && strchr(" \n", text[bytes - 1]))
    bytes--;
  return n > 0 && bytes >= n && memcmp(text + bytes - n, mark, n) == 0;
}

static void check_template(const char *name, const char *source, int *n_known, int *n_opened) {
  em_dialog *dialog = open_dialog(source);
  if (!dialog)
    return;
  const em_reply_style *style = em_dialog_style(dialog, EM_THINK_AUTO);
  char *usual = prompt(dialog, EM_THINK_AUTO), *on = prompt(dialog, EM_THINK_ON), *off = prompt(dialog, EM_THINK_OFF);
  bool knows = em_dialog_knows_thinking(dialog);
  *n_known += knows;
  *n_opened += style->opens_thinking;
  CHECK(!em_dialog_style(dialog, EM_THINK_OFF)->opens_thinking);
  if (off && ends_with(off, style->think_start)) {
    fprintf(stderr, "%s: the prompt without thinking ends with %s\n", name, style->think_start);
    CHECK(!"thinking is closed");
  }
  if (knows)
    CHECK(on && off && strcmp(on, off) != 0);
  if (usual && on && !knows)
    CHECK_TEXT(on, usual);
  printf("%s: %s%s\n", name, knows ? "a switch" : "no switch",
         style->opens_thinking ? ", the prompt opens thinking" : "");
  free(usual);
  free(on);
  free(off);
  em_dialog_free(dialog);
}

int main(void) {
  const char *shared = getenv("HEARTH_SHARED");
  char path[4096];
  DIR *folder = NULL;
  int n = 0, n_known = 0, n_opened = 0, n_named = 0;
  if (shared) {
    snprintf(path, sizeof path, "%s/data/templates", shared);
    folder = opendir(path);
  }
  if (!folder)
    SKIP("the shared templates are not here");
  for (const struct dirent *entry; (entry = readdir(folder));) {
    char *source;
    if (!strstr(entry->d_name, ".jinja"))
      continue;
    snprintf(path, sizeof path, "%s/data/templates/%s", shared, entry->d_name);
    if (em_file_read(path, 1u << 20, &source, NULL, NULL) != EM_OK)
      continue;
    n++;
    n_named += strstr(source, "enable_thinking") != NULL;
    check_template(entry->d_name, source, &n_known, &n_opened);
    free(source);
  }
  closedir(folder);
  printf("%d templates: %d name a switch, %d have one, %d open thinking\n", n, n_named, n_known, n_opened);
  CHECK(n > 0 && n_known > 0 && n_opened > 0);
  return check_done();
}
