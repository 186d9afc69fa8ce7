/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/dialog.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"

struct em_dialog {
  em_tokenizer *tokenizer;
  char *template_problem;
};

/* --- The tokenizer's metadata ---------------------------------------------------------------------------------------- */

static int32_t read_id(const em_gguf *gguf, const char *key) {
  int32_t id = EM_NO_TOKEN;
  return em_gguf_get_i32(gguf, key, &id) && id >= 0 ? id : EM_NO_TOKEN;
}

static int read_switch(const em_gguf *gguf, const char *key) {
  bool value = false;
  return em_gguf_get_bool(gguf, key, &value) ? value : -1;
}

/* The array of texts under key as pieces that point into the file's memory; *out stays NULL where the key is absent. */
static em_status read_pieces(const em_gguf *gguf, const char *key, em_piece **out, size_t *n, em_error *error) {
  const em_text *texts;
  if (!em_gguf_get_texts(gguf, key, &texts, n) || *n == 0)
    return EM_OK;
  em_piece *pieces = em_calloc(*n, sizeof *pieces);
  if (!pieces)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for %zu pieces of vocabulary", *n);
  for (size_t i = 0; i < *n; i++)
    pieces[i] = (em_piece){.text = texts[i].text, .bytes = texts[i].bytes};
  *out = pieces;
  return EM_OK;
}

static em_status read_tokenizer(const em_gguf *gguf, em_tokenizer **out, em_error *error) {
  em_status status = EM_OK;
  em_piece *pieces = NULL, *merges = NULL;
  em_text model, pre;
  size_t n_scores, n_types;
  em_tokenizer_params params = {
      .bos = read_id(gguf, "tokenizer.ggml.bos_token_id"),
      .eos = read_id(gguf, "tokenizer.ggml.eos_token_id"),
      .unk = read_id(gguf, "tokenizer.ggml.unknown_token_id"),
      .eot = read_id(gguf, "tokenizer.ggml.eot_token_id"),
      .eom = read_id(gguf, "tokenizer.ggml.eom_token_id"),
      .add_bos = read_switch(gguf, "tokenizer.ggml.add_bos_token"),
      .add_eos = read_switch(gguf, "tokenizer.ggml.add_eos_token"),
      .add_space_prefix = read_switch(gguf, "tokenizer.ggml.add_space_prefix"),
  };
  if (!em_gguf_get_text(gguf, "tokenizer.ggml.model", &model))
    EM_TRY(em_fail(error, EM_ERR_UNSUPPORTED, "the file has no tokenizer (tokenizer.ggml.model is missing)"));
  params.model = model.text;
  if (em_gguf_get_text(gguf, "tokenizer.ggml.pre", &pre))
    params.pre = pre.text;
  EM_TRY(read_pieces(gguf, "tokenizer.ggml.tokens", &pieces, &params.n_tokens, error));
  if (!pieces)
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the file has no vocabulary (tokenizer.ggml.tokens is missing)"));
  EM_TRY(read_pieces(gguf, "tokenizer.ggml.merges", &merges, &params.n_merges, error));
  if (em_gguf_get_f32s(gguf, "tokenizer.ggml.scores", &params.scores, &n_scores) && n_scores != params.n_tokens)
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the vocabulary has %zu tokens but %zu scores", params.n_tokens, n_scores));
  if (em_gguf_get_i32s(gguf, "tokenizer.ggml.token_type", &params.types, &n_types) && n_types != params.n_tokens)
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the vocabulary has %zu tokens but %zu token types", params.n_tokens, n_types));
  params.pieces = pieces;
  params.merges = merges;
  EM_TRY(em_tokenizer_new(&params, out, error));
fail:
  free(pieces);
  free(merges);
  return status;
}

/* --- The dialog ------------------------------------------------------------------------------------------------------ */

em_status em_dialog_new(const em_gguf *gguf, em_dialog **out, em_error *error) {
  em_status status = EM_OK;
  em_dialog *dialog = em_calloc(1, sizeof *dialog);
  if (!dialog)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the tokenizer"));
  EM_TRY(read_tokenizer(gguf, &dialog->tokenizer, error));
  *out = dialog;
  return EM_OK;
fail:
  em_dialog_free(dialog);
  return status;
}

void em_dialog_free(em_dialog *dialog) {
  if (!dialog)
    return;
  em_tokenizer_free(dialog->tokenizer);
  free(dialog->template_problem);
  free(dialog);
}

const em_tokenizer *em_dialog_tokenizer(const em_dialog *dialog) {
  return dialog->tokenizer;
}

bool em_dialog_has_template(const em_dialog *dialog) {
  return false;
}

const char *em_dialog_template_problem(const em_dialog *dialog) {
  return dialog->template_problem;
}

/* --- Prompts --------------------------------------------------------------------------------------------------------- */

em_status em_dialog_render(const em_dialog *dialog, const em_message *messages, size_t n_messages, int64_t now_unix_s,
                           em_buffer *out, em_error *error) {
  for (size_t i = 0; i < n_messages; i++)
    em_buffer_append(out, messages[i].text, messages[i].bytes);
  return out->failed ? em_fail(error, EM_ERR_NO_MEMORY, "no memory for the prompt") : EM_OK;
}

em_status em_dialog_prompt(const em_dialog *dialog, const em_message *messages, size_t n_messages, int64_t now_unix_s,
                           em_tokens *out, em_error *error) {
  em_status status = EM_OK;
  em_buffer text = {0};
  EM_TRY(em_dialog_render(dialog, messages, n_messages, now_unix_s, &text, error));
  if (em_tokenizer_adds_bos(dialog->tokenizer) && !em_tokens_append(out, em_tokenizer_bos(dialog->tokenizer)))
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the prompt's tokens"));
  EM_TRY(em_tokenize(dialog->tokenizer, text.data ? text.data : "", text.bytes, EM_TOKENIZE_PLAIN, out, error));
fail:
  em_buffer_clear(&text);
  return status;
}
