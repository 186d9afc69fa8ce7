/* Finding out how a model marks its thinking and its tool calls: its chat template is rendered for small conversations
 * with words that stand nowhere else, and what stands around these words tells. Where the template renders none, its
 * text is searched for marks that are in common use. No model is known by its name.
 */
#pragma once

#include "text/reply/reply.h"
#include "text/template/template.h"

typedef struct em_style_params {
  const em_template *template_;
  const char *source; /* of the template */
  size_t source_bytes;
  const char *bos, *eos; /* texts of these tokens, NUL-terminated */
  /* Whether the prompts to come ask for thinking: the variable enable_thinking that most templates know, which is not
   * set where has_thinking is false. */
  bool has_thinking, thinking;
  const char *thinking_key; /* another name of that variable, which is set too; or NULL */
  int64_t now_unix_s;
} em_style_params;

/* A template that renders nothing of use gives the empty style: all of a reply is content. Errors: EM_ERR_NO_MEMORY. */
em_status em_style_find(const em_style_params *params, em_reply_style *out, em_error *error) EM_MUST_USE;
