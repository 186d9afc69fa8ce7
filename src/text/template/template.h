/* Chat templates: the subset of Jinja that model files use, parsed once and rendered with fuel.
 *
 * A template is hostile: it can reach nothing but its arguments, and rendering ends within its limits with EM_ERR_LIMIT.
 * The output says which of its bytes come from the template's own text and which from the messages, so that special tokens
 * are recognised only where the template wrote them.
 */
#pragma once

#include "base/buffer.h"
#include "base/json.h"

typedef struct em_template em_template;

#define EM_TEMPLATE_MAX_BYTES (256u << 10)
#define EM_TEMPLATE_MAX_DEPTH 128u       /* nesting of blocks, expressions, calls */
#define EM_TEMPLATE_FUEL 5000000u        /* one per evaluation step, loop turn and byte copied */
#define EM_TEMPLATE_MAX_MS 50u           /* processor time of one render: a busy computer must not fail a good template */
/* Output is at most 4 * (bytes of template and context) + 1 MiB. */

/* Errors: EM_ERR_FORMAT with the byte offset and the line, EM_ERR_LIMIT, EM_ERR_UNSUPPORTED (a tag or filter by name),
 * EM_ERR_NO_MEMORY. */
em_status em_template_new(const char *source, size_t bytes, em_template **out, em_error *error) EM_MUST_USE;
void em_template_free(em_template *template_);

/* A run of output of one provenance. */
typedef struct em_span {
  size_t start, bytes;
  bool from_template; /* false: (part of) a value from the context */
} em_span;

typedef struct em_rendered {
  char *text; /* UTF-8, NUL-terminated */
  size_t bytes;
  em_span *spans; /* in order, without gaps */
  size_t n_spans;
} em_rendered;
void em_rendered_clear(em_rendered *rendered);

/* Renders with `context` (a JSON object: messages, tools, add_generation_prompt, bos_token, eos_token, ...). bos_token, eos_token
 * and the known names of roles count as the template's own text. now_unix_s is what strftime_now reads, as UTC. Errors:
 * EM_ERR_FORMAT (an evaluation error, or raise_exception: its text), EM_ERR_UNSUPPORTED (a filter or test by name, where a
 * condition stood before it), EM_ERR_LIMIT, EM_ERR_NO_MEMORY. Thread-safe: a template is immutable. */
em_status em_template_render(const em_template *template_, const em_json *context, int64_t now_unix_s, em_rendered *out,
                             em_error *error) EM_MUST_USE;
