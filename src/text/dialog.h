/* The one door of the text wing: a model file's tokenizer and chat template together.
 *
 * Messages become tokens (em_dialog_prompt); generated tokens become text deltas (em_reply), whole characters only,
 * with stop strings watched and thinking and tool calls told from content. Special tokens are recognised only where the
 * template itself wrote them, never in a message.
 *
 * An em_dialog is immutable and thread-safe; an em_reply belongs to one request.
 */
#pragma once

#include "gguf/gguf.h"
#include "text/reply/reply.h"
#include "text/tokenizer/tokenizer.h"

typedef struct em_dialog em_dialog;

/* Reads the tokenizer (and template, if any) of an open file, which may be closed afterwards. A template that does not parse is
 * logged and treated as absent, its reason kept. Errors as em_tokenizer_new. */
em_status em_dialog_new(const em_gguf *gguf, em_dialog **out, em_error *error) EM_MUST_USE;
void em_dialog_free(em_dialog *dialog);

const em_tokenizer *em_dialog_tokenizer(const em_dialog *dialog);

/* Whether there is a format for conversations: the file's chat template, or a fallback in its place. Without one,
 * em_dialog_prompt continues the text of the messages. */
bool em_dialog_has_template(const em_dialog *dialog);
/* Why the file's template cannot be used, or NULL (there is none, or it is fine). */
const char *em_dialog_template_problem(const em_dialog *dialog);
/* The name of the fallback that stands in for a template of the file, chosen by its vocabulary: "ChatML", "Llama 2" or
 * "Alpaca". NULL: none does. Static. People are to be told, because the model may have learned another format. */
const char *em_dialog_fallback(const em_dialog *dialog);

/* Whether the model shall think before it answers. AUTO leaves it to the template. ON and OFF are passed to a template
 * that has a switch for it (em_dialog_knows_thinking); with OFF, thinking that the prompt opens nevertheless is closed
 * again. */
typedef enum em_thinking { EM_THINK_AUTO, EM_THINK_ON, EM_THINK_OFF, EM_N_THINKING } em_thinking;

/* Whether the template has a switch for thinking: prompts with and without it differ. */
bool em_dialog_knows_thinking(const em_dialog *dialog);

/* How the model marks thinking and tool calls, found by looking at its template; without a template everything is
 * content. */
const em_reply_style *em_dialog_style(const em_dialog *dialog, em_thinking thinking);

typedef struct em_message {
  const char *role; /* "system", "user", "assistant" */
  const char *text; /* UTF-8 */
  size_t bytes;
} em_message;

typedef struct em_prompt_settings {
  int64_t now_unix_s; /* the time templates may print */
  em_thinking thinking;
} em_prompt_settings;

/* Renders and tokenizes a conversation that the assistant is to answer, appending to *out (with BOS where the file asks
 * for it and the template has not written one itself). Without a template: the texts of all messages are joined as they
 * are, so that the model continues them. Errors: as em_template_render (a template that refuses a conversation, one
 * with a system message say, gives EM_ERR_FORMAT with its own words) and em_tokenize. */
em_status em_dialog_prompt(const em_dialog *dialog, const em_message *messages, size_t n_messages,
                           const em_prompt_settings *settings, em_tokens *out, em_error *error) EM_MUST_USE;

/* The text of the rendered prompt, for `render`: an em_buffer the caller clears. */
em_status em_dialog_render(const em_dialog *dialog, const em_message *messages, size_t n_messages,
                           const em_prompt_settings *settings, em_buffer *out, em_error *error) EM_MUST_USE;

/* --- One answer ------------------------------------------------------------------------------------------------------ */

#define EM_REPLY_MAX_STOPS 16u
#define EM_REPLY_MAX_STOP_BYTES 256u

typedef struct em_reply em_reply;

/* stops: NUL-terminated strings that end the answer and are not part of it (copied; empty ones end nothing). continues:
 * the answer goes on from text without a template (a leading space is kept). The dialog must outlive the reply. Errors:
 * EM_ERR_LIMIT (too many stops, one too long), EM_ERR_ARGUMENT (one is no UTF-8), EM_ERR_NO_MEMORY. */
em_status em_reply_new(const em_dialog *dialog, const char *const *stops, size_t n_stops, bool continues,
                       em_reply **out, em_error *error) EM_MUST_USE;

typedef struct em_reply_params {
  const char *const *stops; /* [n_stops], and continues: as in em_reply_new. They are watched in all the model writes */
  size_t n_stops;
  bool continues;
  em_thinking thinking; /* as in the settings of the prompt */
  /* Takes the deltas of every kind; text buffers then stay empty and may be NULL. NULL, as in em_reply_new: content
   * goes to the text buffers, thinking is dropped. */
  em_delta_sink sink;
  void *user;
  /* The functions on offer (as in em_splitter_params; borrowed). NULL, as in em_reply_new: tool calls are content. */
  const em_json *tools;
  bool keeps_thinking; /* thinking is content, marks and all */
  /* All of it is content, as it comes; so it is with continues. For answers that follow a grammar from their first token on,
   * which leaves no room for thinking even where the prompt opens it. */
  bool plain;
} em_reply_params;

/* The same, with all there is to choose. */
em_status em_reply_open(const em_dialog *dialog, const em_reply_params *params, em_reply **out,
                        em_error *error) EM_MUST_USE;
void em_reply_free(em_reply *reply);

typedef enum em_reply_state {
  EM_REPLY_GOES_ON,
  EM_REPLY_ENDED,   /* an end-of-generation token */
  EM_REPLY_STOPPED, /* a stop string; what follows it is dropped */
  EM_REPLY_FAILED   /* memory */
} em_reply_state;

/* Takes one generated token and appends the content that is now certain (whole characters that cannot be the start of a
 * stop string or of a mark) to *delta. After anything but EM_REPLY_GOES_ON no more tokens are taken. */
em_reply_state em_reply_push(em_reply *reply, int32_t token, em_buffer *delta);

/* Gives the text still kept back; call it once when generation ends for another reason (length, cancel). After an end
 * token or a stop string there is none. false: memory. */
bool em_reply_flush(em_reply *reply, em_buffer *delta);

/* --- Answers that follow a grammar ----------------------------------------------------------------------------------- */

/* What an answer must be, and how far it is: the engine asks it for the tokens that may come next. It belongs to one
 * request and one thread at a time. An end-of-generation token is allowed exactly where the answer may be over; control tokens
 * and the template's own marks never are. It is about all tokens that are pushed: of a model that thinks first, masks and
 * pushes begin with the content. */
typedef struct em_constraint em_constraint;

typedef struct em_constraint_params {
  const char *text; /* [bytes] a JSON schema, or GBNF: text/grammar/grammar.h says what is understood */
  size_t bytes;
  bool is_gbnf;
  bool continues; /* as in em_reply_new */
  size_t n_vocab; /* the engine's: tokens from here on are never allowed */
} em_constraint_params;

/* The dialog must outlive the constraint. The first one of a dialog takes some hundred milliseconds, for its vocabulary. Errors:
 * those of em_grammar_from_schema and em_grammar_from_gbnf (EM_ERR_FORMAT, EM_ERR_UNSUPPORTED, EM_ERR_LIMIT: the text says what
 * is wrong with the schema or grammar), EM_ERR_NO_MEMORY. */
em_status em_constraint_new(const em_dialog *dialog, const em_constraint_params *params, em_constraint **out,
                            em_error *error) EM_MUST_USE;
void em_constraint_free(em_constraint *constraint); /* NULL is legal */

/* An engine's em_mask_fn: allowed holds n_vocab bits. false: no token may come, the answer ends. */
bool em_constraint_mask(em_constraint *constraint, uint64_t *allowed);

/* Takes each token that was generated. false: it was not allowed, or a limit or memory was met; the answer must end. */
bool em_constraint_push(em_constraint *constraint, int32_t token);

/* Whether the text so far is a whole answer. */
bool em_constraint_is_complete(const em_constraint *constraint);

/* What em_constraint_mask or em_constraint_push met first; code EM_OK: nothing. */
const em_error *em_constraint_error(const em_constraint *constraint);
