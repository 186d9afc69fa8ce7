/* The inside of a splitter, shared by the files of this room. */
#pragma once

#include "text/reply/reply.h"
#include "text/reply/value.h"

/* What a reading step did. Steps read at splitter->in.data[at..limit) and consume through em_splitter_consume. */
typedef enum em_step {
  EM_STEP_ON,   /* something was read or the mode changed */
  EM_STEP_MORE, /* what is left is too short to tell; never when at_end */
  EM_STEP_FAIL  /* no call can go on so */
} em_step;

typedef enum em_splitter_mode {
  EM_MODE_CONTENT,
  EM_MODE_THINKING,
  EM_MODE_SECTION, /* between calls */
  EM_MODE_NAME,    /* behind call_start */
  EM_MODE_ID,      /* behind name_end, where the id follows */
  EM_MODE_ARGUMENTS,
  EM_MODE_BEHIND,  /* behind the arguments of a call */
  EM_MODE_AFTER,   /* behind a section inside thinking: whether anything but calls follows */
  EM_MODE_MEMBER,  /* JSON: where a member begins or the object ends */
  EM_MODE_KEY,     /* JSON: in a member's name */
  EM_MODE_COLON,   /* JSON: behind it */
  EM_MODE_SKIP,    /* JSON: in the value of a member that does not matter, or of the name or id */
  EM_MODE_TAG_KEY, /* TAGGED: in a parameter's name */
  EM_MODE_TAG_VALUE,
  EM_MODE_HEADER /* CHANNELS: between messages */
} em_splitter_mode;

/* Which types the value of a parameter may have. */
#define EM_TYPE_IS_TEXT 1u
#define EM_TYPE_IS_NULL 2u
#define EM_TYPE_IS_OTHER 4u

/* What a mark in the text means. */
typedef enum em_mark_means {
  EM_MEANS_THINK_START,
  EM_MEANS_THINK_END,
  EM_MEANS_STRAY,
  EM_MEANS_CONTENT_START,
  EM_MEANS_END, /* of the content or the turn, if nothing follows */
  EM_MEANS_SECTION,
  EM_MEANS_CALL,
  EM_MEANS_CALL_REST, /* the end of a call that has ended */
  EM_MEANS_MESSAGE,
  EM_MEANS_MESSAGE_END
} em_mark_means;

#define EM_MAX_MARKS 16u

typedef struct em_marks {
  const char *texts[EM_MAX_MARKS];
  em_mark_means means[EM_MAX_MARKS];
  size_t n;
  bool first[256]; /* whether one begins with this byte */
} em_marks;

struct em_splitter {
  em_reply_style style;
  char led_start[2 * EM_REPLY_MARK_BYTES], switch_start[2 * EM_REPLY_MARK_BYTES], tailed_end[2 * EM_REPLY_MARK_BYTES];
  em_marks content_marks, thinking_marks;
  em_splitter_params params;
  em_buffer in;     /* text not consumed yet is in.data[at..in.bytes) */
  size_t at, limit; /* steps see no further than limit */
  bool at_end;      /* nothing follows limit */
  bool finishing;
  bool failed;      /* memory */
  bool owes_opened; /* what the prompt wrote of the thinking is given before all else */
  em_splitter_mode mode;

  /* Text. */
  em_buffer held;  /* dropped before a mark, given before other text */
  bool held_mark;  /* held has a mark that is dropped at the end, too */
  bool began;      /* content that is more than white space was given */
  bool skip_space; /* white space up to the next other character is dropped */
  bool after_call; /* only white space since a call */
  bool thought;    /* there was thinking */
  bool is_first;   /* nothing was read yet */

  /* Calls. */
  em_buffer raw; /* what was consumed since the mark a call began with */
  bool keeps_raw;
  bool on_trial; /* in thinking: deltas wait in queue until the end shows that this is no thinking */
  em_buffer queue;
  size_t scanned;                                  /* on trial: where the search for the end of thinking goes on */
  bool ends_trial;                                 /* the end of thinking stands at limit */
  size_t n_calls, n_calls_before, n_calls_section; /* in all; before the trial; before the section */
  size_t raw_from;                                 /* on trial: where the latest call begins in raw */
  bool call_open;                                  /* the call was given */
  bool in_list;
  unsigned nesting; /* JSON: objects around the members, one or two */
  em_buffer name, id, key, early, scratch;
  bool has_arguments;
  em_value value;
  enum { EM_MEMBER_OTHER, EM_MEMBER_NAME, EM_MEMBER_ID, EM_MEMBER_ARGUMENTS } member;

  /* Parameters. */
  const em_json *schema; /* of the function's parameters, or NULL */
  unsigned types;
  bool in_cdata;
  em_buffer parameter; /* a value whose type is not known before its end */
  struct em_level {
    const em_json *schema;
    bool list, first;
  } levels[EM_REPLY_MAX_DEPTH];
  unsigned n_levels;
  int stage; /* how far a step is within its mode */
};

/* --- Reading ------------------------------------------------------------------------------------------------------ */

static inline const char *em_splitter_text(const em_splitter *splitter) {
  return splitter->in.data + splitter->at;
}
static inline size_t em_splitter_left(const em_splitter *splitter) {
  return splitter->limit - splitter->at;
}

void em_splitter_consume(em_splitter *splitter, size_t bytes);
void em_splitter_skip_space(em_splitter *splitter);
bool em_is_space(char c);

/* em_mark_at at the reading position. */
size_t em_splitter_match(const em_splitter *splitter, const char *mark);

/* Appends what stands before the first of marks[0..n) to *out and consumes it; FAIL when it would be more than
 * max_bytes or holds a character of stops. ON: *which stands at the reading position, and has *mark_bytes bytes. */
em_step em_splitter_until(em_splitter *splitter, const char *const *marks, size_t n, const char *stops,
                          size_t max_bytes, em_buffer *out, size_t *which, size_t *mark_bytes);

/* --- Giving ------------------------------------------------------------------------------------------------------- */

void em_splitter_give(em_splitter *splitter, em_delta_kind kind, const char *text, size_t bytes);

/* Gives text as content or thinking, with what was held before it. */
void em_splitter_give_text(em_splitter *splitter, const char *text, size_t bytes);

/* A call begins: its raw text is kept from here on. */
void em_splitter_begin_call(em_splitter *splitter);
/* The call's name is known: it counts. Gives its id, if there is one, and the arguments that came early. */
void em_splitter_open_call(em_splitter *splitter);
void em_splitter_give_arguments(em_splitter *splitter, const char *text, size_t bytes);
/* Opens a call whose arguments are one object, and gives them as they come; ON when they are done. */
em_step em_splitter_read_arguments(em_splitter *splitter);
/* Text follows the calls. */
void em_splitter_end_calls(em_splitter *splitter);

/* Reads a value; ON when it is done, FAIL when *out would have more than max_bytes (SIZE_MAX: no limit). */
em_step em_splitter_read_value(em_splitter *splitter, em_buffer *out, size_t max_bytes);

/* --- The syntaxes ------------------------------------------------------------------------------------------------- */

em_step em_splitter_json_step(em_splitter *splitter);   /* SECTION, MEMBER, KEY, COLON, SKIP, ARGUMENTS, BEHIND */
em_step em_splitter_named_step(em_splitter *splitter);  /* NAMED, KEYED, PYTHON */
em_step em_splitter_tagged_step(em_splitter *splitter); /* TAGGED, NESTED */
em_step em_splitter_channel_step(em_splitter *splitter);
bool em_splitter_is_tool(const em_splitter *splitter, const char *name);

/* --- Schemas ------------------------------------------------------------------------------------------------------ */

/* The parameters' schema of a function on offer, or NULL. */
const em_json *em_schema_of_function(const em_json *tools, const char *name);
/* The schema of an object's member, or with key NULL of a list's elements; NULL: unknown. */
const em_json *em_schema_child(const em_json *schema, const char *key);
/* EM_TYPE_IS_* of a schema; all of them where it does not say. */
unsigned em_schema_types(const em_json *schema);

/* Appends the JSON of a value that stands without quotes: a text where the types allow nothing else, or it is nothing
 * else. */
void em_schema_convert(unsigned types, const char *text, size_t bytes, em_buffer *out);
