/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/dialog-private.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/json.h"
#include "base/log.h"
#include "text/fallback.h"
#include "text/style.h"
#include "text/template/template.h"

struct em_dialog {
  em_tokenizer *tokenizer;
  em_template *template_; /* NULL: none that can be used */
  char *template_problem;
  int32_t *guarded; /* [n_guarded] user-defined tokens that mark turns and the like, ascending */
  size_t n_guarded;
  const em_fallback *fallback;           /* what template_ is when it is not the file's; else NULL */
  const char *thinking_key;              /* the template's switch for thinking, or NULL */
  char closing[EM_REPLY_MARK_BYTES + 4]; /* what closes thinking that prompts open though none is wanted, or "" */
  em_reply_style styles[EM_N_THINKING];
  struct lazy_trie *lazy;
};

/* The tree of the vocabulary, which only answers with a grammar need. */
struct lazy_trie {
  pthread_mutex_t lock;
  em_token_trie *trie; /* or NULL */
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
  /* Types that cannot be read would turn every control token into ordinary text. */
  if ((em_gguf_find_key(gguf, "tokenizer.ggml.scores", NULL) &&
       !em_gguf_get_f32s(gguf, "tokenizer.ggml.scores", &params.scores, &n_scores)) ||
      (em_gguf_find_key(gguf, "tokenizer.ggml.token_type", NULL) &&
       !em_gguf_get_i32s(gguf, "tokenizer.ggml.token_type", &params.types, &n_types)))
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the vocabulary's scores or token types are no list of numbers"));
  if (params.scores && n_scores != params.n_tokens)
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the vocabulary has %zu tokens but %zu scores", params.n_tokens, n_scores));
  if (params.types && n_types != params.n_tokens)
    EM_TRY(em_fail(error, EM_ERR_FORMAT, "the vocabulary has %zu tokens but %zu token types", params.n_tokens, n_types));
  params.pieces = pieces;
  params.merges = merges;
  EM_TRY(em_tokenizer_new(&params, out, error));
fail:
  free(pieces);
  free(merges);
  return status;
}

/* --- The template ---------------------------------------------------------------------------------------------------- */

/* Whether a user-defined token belongs to the template: it looks like a mark and the template writes it, or it has the shape
 * of all the marks that templates put together from parts. Others (runs of blanks, tags of HTML) are ordinary text. */
static bool is_mark(em_piece piece, em_text source) {
  if (piece.bytes < 3 || !strchr("<[", piece.text[0]) || !strchr(">]", piece.text[piece.bytes - 1]))
    return false;
  if (piece.text[0] == '<' && piece.text[1] == '|' && piece.text[piece.bytes - 2] == '|')
    return true;
  return memmem(source.text, source.bytes, piece.text, piece.bytes) != NULL;
}

static em_status find_guarded(em_dialog *dialog, em_text source, em_error *error) {
  const em_tokenizer *tokenizer = dialog->tokenizer;
  em_status status = EM_OK;
  em_tokens guarded = {0};
  for (size_t i = 0; i < em_tokenizer_n_tokens(tokenizer); i++) {
    int32_t id = (int32_t)i;
    if (em_tokenizer_type(tokenizer, id) == EM_TOKEN_USER_DEFINED && is_mark(em_tokenizer_piece(tokenizer, id), source) &&
        !em_tokens_append(&guarded, id))
      EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the chat template"));
  }
  dialog->guarded = guarded.ids;
  dialog->n_guarded = guarded.n;
  return EM_OK;
fail:
  em_tokens_clear(&guarded);
  return status;
}

static char *token_text(const em_tokenizer *tokenizer, int32_t id) {
  em_piece piece = id != EM_NO_TOKEN ? em_tokenizer_piece(tokenizer, id) : (em_piece){"", 0};
  char *text = em_calloc(piece.bytes + 1, 1);
  if (text)
    memcpy(text, piece.text, piece.bytes);
  return text;
}

/* Around content a control token has no text: where its name is written, it is what the model has to say. */
static void drop_control_marks(const em_tokenizer *tokenizer, em_reply_style *style) {
  char *marks[] = {style->content_start, style->content_end, style->turn_start, style->turn_end};
  for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
    int32_t id = em_tokenizer_find(tokenizer, marks[i], strlen(marks[i]));
    if (id != EM_NO_TOKEN && em_tokenizer_type(tokenizer, id) == EM_TOKEN_CONTROL)
      marks[i][0] = 0;
  }
}

static em_status find_styles(em_dialog *dialog, em_text source, em_error *error) {
  em_status status = EM_OK;
  char *bos = token_text(dialog->tokenizer, em_tokenizer_bos(dialog->tokenizer));
  char *eos = token_text(dialog->tokenizer, em_tokenizer_eos(dialog->tokenizer));
  em_style_params params = {.template_ = dialog->template_,
                            .source = source.text,
                            .source_bytes = source.bytes,
                            .bos = bos,
                            .eos = eos,
                            .thinking_key = dialog->thinking_key};
  if (!bos || !eos)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the chat template"));
  for (int i = 0; i < EM_N_THINKING; i++) {
    em_reply_style *style = &dialog->styles[i];
    if (i != EM_THINK_AUTO && !dialog->thinking_key) {
      *style = dialog->styles[EM_THINK_AUTO];
    } else {
      params.has_thinking = i != EM_THINK_AUTO;
      params.thinking = i == EM_THINK_ON;
      EM_TRY(em_style_find(&params, style, error));
      drop_control_marks(dialog->tokenizer, style);
    }
  }
fail:
  free(bos);
  free(eos);
  return status;
}

/* What prompts end with where no thinking is wanted and the template opens it all the same: its end. A style without a
 * mark for the beginning would take the answer for thinking. Of channels the prompt opens the last one, that of
 * answers.
 */
static void close_thinking(em_dialog *dialog) {
  em_reply_style *style = &dialog->styles[EM_THINK_OFF];
  if (style->syntax == EM_CALLS_CHANNELS)
    snprintf(dialog->closing, sizeof dialog->closing, "<|channel|>final<|message|>");
  if (!style->opens_thinking)
    return;
  size_t bytes = strlen(style->opened);
  bool breaks = bytes > 0 && style->opened[bytes - 1] == '\n';
  if (style->think_end[0])
    snprintf(dialog->closing, sizeof dialog->closing, "%s%s%s", breaks ? "\n" : "", style->think_end,
             breaks ? "\n\n" : "");
  style->opens_thinking = false;
  style->opened[0] = 0;
  if (!style->think_start[0])
    style->think_end[0] = 0;
}

static em_status find_thinking_key(em_dialog *dialog, em_text source, em_error *error);

static em_status use_template(em_dialog *dialog, em_text source, em_error *error) {
  em_status status = find_thinking_key(dialog, source, error);
  if (status == EM_OK)
    status = find_styles(dialog, source, error);
  if (status != EM_OK)
    return status;
  close_thinking(dialog);
  return find_guarded(dialog, source, error);
}

static em_status read_template(em_dialog *dialog, const em_gguf *gguf, em_error *error) {
  em_text source;
  em_error problem = {0};
  em_status status;
  if (em_gguf_get_text(gguf, "tokenizer.chat_template", &source)) {
    status = em_template_new(source.text, source.bytes, &dialog->template_, &problem);
    if (status == EM_OK)
      return use_template(dialog, source, error);
    dialog->template_problem = strdup(problem.text);
    if (status == EM_ERR_NO_MEMORY || !dialog->template_problem)
      return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the chat template");
    em_log(EM_LOG_WARNING, "the chat template cannot be used: %s", problem.text);
  }
  dialog->fallback = em_fallback_find(dialog->tokenizer);
  if (!dialog->fallback)
    return EM_OK;
  source = (em_text){dialog->fallback->template_, strlen(dialog->fallback->template_)};
  status = em_template_new(source.text, source.bytes, &dialog->template_, error);
  return status == EM_OK ? use_template(dialog, source, error) : status;
}

/* --- The dialog ------------------------------------------------------------------------------------------------------ */

em_status em_dialog_new(const em_gguf *gguf, em_dialog **out, em_error *error) {
  em_status status = EM_OK;
  em_dialog *dialog = em_calloc(1, sizeof *dialog);
  if (!dialog)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the tokenizer"));
  dialog->lazy = em_calloc(1, sizeof *dialog->lazy);
  if (!dialog->lazy)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the tokenizer"));
  pthread_mutex_init(&dialog->lazy->lock, NULL);
  EM_TRY(read_tokenizer(gguf, &dialog->tokenizer, error));
  EM_TRY(read_template(dialog, gguf, error));
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
  em_template_free(dialog->template_);
  free(dialog->template_problem);
  free(dialog->guarded);
  if (dialog->lazy) {
    pthread_mutex_destroy(&dialog->lazy->lock);
    em_token_trie_free(dialog->lazy->trie);
  }
  free(dialog->lazy);
  free(dialog);
}

const em_tokenizer *em_dialog_tokenizer(const em_dialog *dialog) {
  return dialog->tokenizer;
}

bool em_dialog_has_template(const em_dialog *dialog) {
  return dialog->template_ != NULL;
}

const char *em_dialog_template_problem(const em_dialog *dialog) {
  return dialog->template_problem;
}

const char *em_dialog_fallback(const em_dialog *dialog) {
  return dialog->fallback ? dialog->fallback->name : NULL;
}

const char *em_dialog_own_stop(const em_dialog *dialog) {
  return dialog->fallback ? dialog->fallback->stop : NULL;
}

bool em_dialog_knows_thinking(const em_dialog *dialog) {
  return dialog->thinking_key != NULL;
}

const em_reply_style *em_dialog_style(const em_dialog *dialog, em_thinking thinking) {
  return &dialog->styles[thinking];
}

/* Each token's bytes behind one another in *text, and where they are. Marks of the template are not for answers to write. */
static em_status list_tokens(const em_dialog *dialog, em_grammar_token *tokens, em_buffer *text, em_error *error) {
  size_t n = em_tokenizer_n_tokens(dialog->tokenizer), n_guarded = 0;
  for (size_t i = 0; i < n; i++) {
    int32_t id = (int32_t)i;
    size_t before = text->bytes;
    if (n_guarded < dialog->n_guarded && dialog->guarded[n_guarded] == id)
      n_guarded++;
    else if (!em_token_bytes(dialog->tokenizer, id, false, text))
      return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the tree of the vocabulary");
    tokens[i] = (em_grammar_token){.bytes = text->bytes - before, .ends = em_tokenizer_is_end(dialog->tokenizer, id)};
  }
  /* The buffer moves while it grows. */
  for (size_t i = 0, at = 0; i < n; at += tokens[i++].bytes)
    tokens[i].text = text->data ? text->data + at : "";
  return EM_OK;
}

em_status em_dialog_trie(const em_dialog *dialog, const em_token_trie **out, em_error *error) {
  em_status status = EM_OK;
  em_buffer text = {0};
  em_grammar_token *tokens = NULL;
  struct lazy_trie *lazy = dialog->lazy;
  pthread_mutex_lock(&lazy->lock);
  if (!lazy->trie) {
    size_t n = em_tokenizer_n_tokens(dialog->tokenizer);
    tokens = em_calloc(n, sizeof *tokens);
    if (!tokens)
      EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the tree of the vocabulary"));
    EM_TRY(list_tokens(dialog, tokens, &text, error));
    EM_TRY(em_token_trie_new(tokens, n, &lazy->trie, error));
  }
  *out = lazy->trie;
fail:
  pthread_mutex_unlock(&lazy->lock);
  em_buffer_clear(&text);
  free(tokens);
  return status;
}

/* --- Prompts ------------------------------------------------------------------------------------------------------ */

/* Puts a member into an object; members stand in the reverse order of the calls. */
static void put_member(em_json *object, em_json *member, const char *key) {
  member->key = key;
  member->key_bytes = strlen(key);
  member->next = object->first;
  object->first = member;
  object->n_children++;
}

static em_json text_value(const char *text, size_t bytes) {
  return (em_json){.kind = EM_JSON_STRING, .string = {text, bytes}};
}

/* The text of a token for the template: empty where the file names none. */
static em_json token_value(const em_tokenizer *tokenizer, int32_t id) {
  em_piece piece = id != EM_NO_TOKEN ? em_tokenizer_piece(tokenizer, id) : (em_piece){"", 0};
  return text_value(piece.text, piece.bytes);
}

/* Renders with the tools none, as the reference renderer does. A template that was written only for tools goes through
 * them all the same and fails: it gets an empty list. A refusal of its own is the same both times. */
static em_status render_context(const em_dialog *dialog, const em_json *context, em_json *tools, int64_t now_unix_s,
                                em_rendered *out, em_error *error) {
  em_error first = {0};
  em_status status = em_template_render(dialog->template_, context, now_unix_s, out, &first);
  if (status == EM_ERR_FORMAT) {
    tools->kind = EM_JSON_ARRAY;
    if (em_template_render(dialog->template_, context, now_unix_s, out, NULL) == EM_OK)
      return EM_OK;
  }
  return status == EM_OK ? EM_OK : em_fail(error, status, "%s", first.text);
}

/* Appends text of the template's own. */
static em_status append_own(em_rendered *rendered, const char *text, em_error *error) {
  size_t bytes = strlen(text);
  em_span *last = rendered->n_spans > 0 ? &rendered->spans[rendered->n_spans - 1] : NULL;
  char *grown = em_realloc_array(rendered->text, rendered->bytes + bytes + 1, 1);
  if (!grown)
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the prompt");
  rendered->text = grown;
  memcpy(grown + rendered->bytes, text, bytes + 1);
  if (last && last->from_template) {
    last->bytes += bytes;
  } else {
    em_span *spans = em_realloc_array(rendered->spans, rendered->n_spans + 1, sizeof *spans);
    if (!spans)
      return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the prompt");
    rendered->spans = spans;
    spans[rendered->n_spans++] = (em_span){rendered->bytes, bytes, true};
  }
  rendered->bytes += bytes;
  return EM_OK;
}

/* Whether the prompt ends with what opens thinking, or a message of channels, which thinking would begin. */
static bool ends_opened(const em_dialog *dialog, const em_rendered *rendered) {
  const em_reply_style *style = &dialog->styles[EM_THINK_AUTO];
  const char *opened = style->syntax == EM_CALLS_CHANNELS ? "<|start|>assistant" : style->opened;
  size_t bytes = strlen(opened);
  return bytes > 0 && rendered->bytes >= bytes && memcmp(rendered->text + rendered->bytes - bytes, opened, bytes) == 0;
}

static em_status render(const em_dialog *dialog, const em_message *messages, size_t n_messages,
                        const em_prompt_settings *settings, em_rendered *out, em_error *error) {
  em_status status = EM_OK;
  /* A message is an object and its two members. */
  em_json *nodes = em_calloc(n_messages, 3 * sizeof *nodes);
  em_json context = {.kind = EM_JSON_OBJECT}, list = {.kind = EM_JSON_ARRAY, .n_children = n_messages};
  em_json bos = token_value(dialog->tokenizer, em_tokenizer_bos(dialog->tokenizer));
  em_json eos = token_value(dialog->tokenizer, em_tokenizer_eos(dialog->tokenizer));
  em_json asks = {.kind = EM_JSON_BOOL, .boolean = true}, tools = {.kind = EM_JSON_NULL}, documents = tools;
  em_json thinks = {.kind = EM_JSON_BOOL, .boolean = settings->thinking == EM_THINK_ON};
  if (!nodes && n_messages > 0)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for %zu messages", n_messages));
  for (size_t i = n_messages; i > 0; i--) {
    const em_message *message = &messages[i - 1];
    em_json *node = &nodes[3 * (i - 1)];
    node[0].kind = EM_JSON_OBJECT;
    node[1] = text_value(message->text, message->bytes);
    node[2] = text_value(message->role, strlen(message->role));
    put_member(&node[0], &node[1], "content");
    put_member(&node[0], &node[2], "role");
    node[0].next = list.first;
    list.first = &node[0];
  }
  if (settings->thinking != EM_THINK_AUTO && dialog->thinking_key)
    put_member(&context, &thinks, dialog->thinking_key);
  put_member(&context, &documents, "documents");
  put_member(&context, &tools, "tools");
  put_member(&context, &eos, "eos_token");
  put_member(&context, &bos, "bos_token");
  put_member(&context, &asks, "add_generation_prompt");
  put_member(&context, &list, "messages");
  EM_TRY(render_context(dialog, &context, &tools, settings->now_unix_s, out, error));
  if (settings->thinking == EM_THINK_OFF && dialog->closing[0] && ends_opened(dialog, out))
    EM_TRY(append_own(out, dialog->closing, error));
fail:
  free(nodes);
  return status;
}

/* The switch that most templates know, then the one that some know: it is there where prompts with and without it
 * differ. */
static em_status find_thinking_key(em_dialog *dialog, em_text source, em_error *error) {
  static const char *const keys[] = {"enable_thinking", "thinking"};
  const em_message question = {"user", "x", 1};
  em_status status = EM_OK;
  for (size_t i = 0; i < sizeof keys / sizeof keys[0] && status == EM_OK; i++) {
    em_rendered with = {0}, without = {0};
    if (!memmem(source.text, source.bytes, keys[i], strlen(keys[i])))
      continue;
    dialog->thinking_key = keys[i];
    status = render(dialog, &question, 1, &(em_prompt_settings){.thinking = EM_THINK_ON}, &with, NULL);
    if (status == EM_OK)
      status = render(dialog, &question, 1, &(em_prompt_settings){.thinking = EM_THINK_OFF}, &without, NULL);
    bool differ = status == EM_OK && (with.bytes != without.bytes || memcmp(with.text, without.text, with.bytes) != 0);
    em_rendered_clear(&with);
    em_rendered_clear(&without);
    if (differ)
      return EM_OK;
    dialog->thinking_key = NULL;
  }
  /* A template that refuses a question of one message, or takes too long for it, is none that shows its switch. */
  return status == EM_ERR_NO_MEMORY ? em_fail(error, status, "no memory for the chat template") : EM_OK;
}

em_status em_dialog_render(const em_dialog *dialog, const em_message *messages, size_t n_messages,
                           const em_prompt_settings *settings, em_buffer *out, em_error *error) {
  em_status status = EM_OK;
  em_rendered rendered = {0};
  if (dialog->template_) {
    EM_TRY(render(dialog, messages, n_messages, settings, &rendered, error));
    em_buffer_append(out, rendered.text, rendered.bytes);
  } else {
    for (size_t i = 0; i < n_messages; i++)
      em_buffer_append(out, messages[i].text, messages[i].bytes);
  }
  if (out->failed)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the prompt"));
fail:
  em_rendered_clear(&rendered);
  return status;
}

/* Where the file asks for it. */
static em_status add_bos(const em_dialog *dialog, em_tokens *out, em_error *error) {
  if (!em_tokenizer_adds_bos(dialog->tokenizer) || em_tokens_append(out, em_tokenizer_bos(dialog->tokenizer)))
    return EM_OK;
  return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the prompt's tokens");
}

static em_status tokenize_rendered(const em_dialog *dialog, const em_rendered *rendered, em_tokens *out, em_error *error) {
  em_status status = EM_OK;
  const em_tokenizer *tokenizer = dialog->tokenizer;
  em_trust trust = {.guarded = dialog->guarded, .n_guarded = dialog->n_guarded};
  struct em_trust_range *ranges = em_calloc(rendered->n_spans + 1, sizeof *ranges);
  if (!ranges)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the prompt's tokens"));
  for (size_t i = 0; i < rendered->n_spans; i++)
    if (rendered->spans[i].from_template)
      ranges[trust.n_ranges++] = (struct em_trust_range){rendered->spans[i].start, rendered->spans[i].bytes};
  trust.ranges = ranges;
  em_piece bos = em_tokenizer_adds_bos(tokenizer) ? em_tokenizer_piece(tokenizer, em_tokenizer_bos(tokenizer)) : (em_piece){0};
  bool written = bos.bytes > 0 && rendered->n_spans > 0 && rendered->spans[0].from_template &&
                 bos.bytes <= rendered->spans[0].bytes && memcmp(rendered->text, bos.text, bos.bytes) == 0;
  if (!written)
    EM_TRY(add_bos(dialog, out, error));
  EM_TRY(em_tokenize_trusted(tokenizer, rendered->text, rendered->bytes, &trust, EM_TOKENIZE_PLAIN, out, error));
fail:
  free(ranges);
  return status;
}

em_status em_dialog_prompt(const em_dialog *dialog, const em_message *messages, size_t n_messages,
                           const em_prompt_settings *settings, em_tokens *out, em_error *error) {
  em_status status = EM_OK;
  em_buffer text = {0};
  em_rendered rendered = {0};
  size_t n_before = out->n;
  if (dialog->template_) {
    EM_TRY(render(dialog, messages, n_messages, settings, &rendered, error));
    EM_TRY(tokenize_rendered(dialog, &rendered, out, error));
  } else {
    EM_TRY(em_dialog_render(dialog, messages, n_messages, settings, &text, error));
    EM_TRY(add_bos(dialog, out, error));
    EM_TRY(em_tokenize(dialog->tokenizer, text.data ? text.data : "", text.bytes, EM_TOKENIZE_PLAIN, out, error));
  }
fail:
  if (status != EM_OK)
    out->n = n_before;
  em_rendered_clear(&rendered);
  em_buffer_clear(&text);
  return status;
}
