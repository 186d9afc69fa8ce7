/* Replies: the text a model wrote becomes content, thinking and tool calls while it streams.
 *
 * How a model marks its thinking and its calls is an em_reply_style, a plain description that text/dialog finds by
 * looking at the chat template and at what it renders. A splitter takes the text in pieces of any size and gives
 * deltas; the pieces do not change what the deltas add up to. Each byte is looked at a bounded number of times, nothing
 * recurses on input, and text that is no well-formed call is given as content (or thinking, where it stood in
 * thinking), never dropped. What is dropped are the marks, the white space around them, and members of a call that are
 * not its name, id or arguments.
 *
 * Once the name of a call is complete the call counts, and its arguments stream. If they then turn out to be malformed,
 * the call keeps what it had (no complete JSON) and the rest becomes content. The same holds for a reply that was cut.
 * Inside thinking that was not closed, a call counts only where nothing but calls follows until the end.
 */
#pragma once

#include "base/buffer.h"
#include "base/json.h"

#define EM_REPLY_MARK_BYTES 96u      /* of one mark, with its NUL */
#define EM_REPLY_MAX_CALLS 256u      /* of one reply; further ones are text */
#define EM_REPLY_MAX_NAME_BYTES 256u /* of a function's name, a call's id, a parameter's name */
#define EM_REPLY_MAX_DEPTH 64u       /* of one call's arguments */

/* --- Styles ------------------------------------------------------------------------------------------------------- */

typedef enum em_call_syntax {
  EM_CALLS_NONE,
  EM_CALLS_JSON,    /* an object, or a list of them: {"name": "f", "arguments": {...}} */
  EM_CALLS_NAMED,   /* the name between marks, then the arguments as JSON */
  EM_CALLS_TAGGED,  /* the name, then pairs of parameter and value, all between marks */
  EM_CALLS_NESTED,  /* as TAGGED, but each parameter is a pair of tags of its own name, which may hold others */
  EM_CALLS_KEYED,   /* name{key:value,...} with bare keys and texts between text_mark */
  EM_CALLS_PYTHON,  /* [name(key=value, ...), ...] */
  EM_CALLS_CHANNELS /* messages of the form <|channel|>...<|message|>...<|end|>, which also carry the thinking */
} em_call_syntax;

typedef char em_reply_mark[EM_REPLY_MARK_BYTES]; /* UTF-8, NUL-terminated; empty: there is none */

/* Marks stand without the white space around them, which is optional wherever they are looked for. */
typedef struct em_reply_style {
  /* Thinking. An empty start with an end: the prompt always opens it. */
  em_reply_mark think_start, think_end;
  em_reply_mark stray;  /* a part of think_start that means nothing alone */
  bool thinks_anywhere; /* thinking may begin after content, too */
  /* Content. */
  em_reply_mark content_start, content_end;
  em_reply_mark turn_start, turn_end; /* the prompt's last mark, if the model repeats it; what ends a turn */
  /* Calls: section_start (call_start name name_end arguments call_end)... section_end. JSON and PYTHON have sections only. An
   * empty section_start in JSON means that the content itself is the call; call_start may stand before it then. */
  em_call_syntax syntax;
  em_reply_mark section_start, section_end, section_lead; /* lead: white space that belongs to section_start */
  em_reply_mark call_start, name_end, call_end;
  em_reply_mark id_end; /* NAMED: call_start id id_end name name_end, or with id_follows: name name_end id id_end */
  bool id_follows;
  bool numbered;                               /* NAMED: names end with :0, :1, ..., and are the ids as they stand */
  em_reply_mark key_start, key_end, value_end; /* TAGGED; NESTED: what all tags begin with is key_start */
  em_reply_mark key_end_other; /* TAGGED: the key's end where the value is no text, if the model says so */
  em_reply_mark value_start;   /* TAGGED */
  em_reply_mark value_lead, value_tail; /* TAGGED: white space around a value that is not part of it */
  bool has_cdata;              /* TAGGED: a value may stand in <![CDATA[ ]]> */
  em_reply_mark text_mark;     /* KEYED */
  em_reply_mark name_key, arguments_key, id_key; /* JSON */
  bool name_is_key;                              /* JSON: {"f": {...}} */
  /* What the prompt ends with. */
  bool opens_thinking, opens_call;
  em_reply_mark opened; /* what the prompt wrote of the thinking */
} em_reply_style;

/* Whether text, of a control token say, is part of a mark of thinking or of a call: then it must be fed, too. Marks around content
 * need not be: they are dropped where they are text. */
bool em_reply_style_has(const em_reply_style *style, const char *text, size_t bytes);

/* --- Splitting ---------------------------------------------------------------------------------------------------- */

typedef enum em_delta_kind {
  EM_DELTA_CONTENT,
  EM_DELTA_THINKING,
  EM_DELTA_CALL,      /* a call begins; the text is the whole name of the function */
  EM_DELTA_CALL_ID,   /* the whole id the model gave the call; may come after its arguments, or never */
  EM_DELTA_ARGUMENTS, /* more of the call's arguments: JSON, normalised but for texts that were JSON already */
} em_delta_kind;

typedef struct em_delta {
  em_delta_kind kind;
  size_t call;      /* from 0; 0 for content and thinking */
  const char *text; /* whole characters where the pieces were; not NUL-terminated, valid during the call */
  size_t bytes;
} em_delta;

/* Takes a delta; false: memory is out. */
typedef bool (*em_delta_sink)(void *user, const em_delta *delta);

typedef enum em_reply_start { EM_REPLY_FRESH, EM_REPLY_IN_THINKING, EM_REPLY_IN_CONTENT } em_reply_start;

typedef struct em_splitter_params {
  const em_reply_style *style; /* copied */
  em_delta_sink sink;
  void *user;
  bool finds_calls;     /* false: calls are content */
  bool keeps_thinking;  /* thinking stays in the content, marks and all */
  bool is_json;         /* the content is JSON by a grammar: white space behind it is dropped, bare JSON is no call */
  em_reply_start start; /* whether the prompt ends in the middle of the model's own message */
  /* The functions on offer, or NULL: an array of {"name", "parameters"} or of {"function": {"name", "parameters"}}. The
   * schemas say which values without quotes are texts. Borrowed while the splitter lives. */
  const em_json *tools;
} em_splitter_params;

typedef struct em_splitter em_splitter;

/* Errors: EM_ERR_NO_MEMORY. One splitter belongs to one reply and one thread. */
em_status em_splitter_new(const em_splitter_params *params, em_splitter **out, em_error *error) EM_MUST_USE;
void em_splitter_free(em_splitter *splitter);

/* Gives the deltas that text[0..bytes) makes certain. Errors: EM_ERR_NO_MEMORY, also where the sink says so. */
em_status em_splitter_feed(em_splitter *splitter, const char *text, size_t bytes, em_error *error) EM_MUST_USE;

/* Gives what was still held back; call it once, at the end. */
em_status em_splitter_finish(em_splitter *splitter, em_error *error) EM_MUST_USE;

/* --- Whole messages ----------------------------------------------------------------------------------------------- */

typedef struct em_reply_call {
  em_buffer name, id, arguments;
} em_reply_call;

/* What deltas add up to. Zero is the empty message. */
typedef struct em_reply_message {
  em_buffer content, thinking;
  em_reply_call *calls; /* [n_calls] */
  size_t n_calls;
} em_reply_message;

/* An em_delta_sink whose user is an em_reply_message. */
bool em_reply_message_take(void *message, const em_delta *delta);
void em_reply_message_clear(em_reply_message *message);
