/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "text/template/template.h"

#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "text/template/eval.h"

/* A copy with Unix line ends and, as Jinja has it, without the last one. */
static const char *copy_source(em_arena *arena, const char *source, size_t bytes, size_t *out_bytes) {
  char *copy = em_arena_alloc(arena, bytes + 1);
  size_t n = 0;
  for (size_t i = 0; copy && i < bytes; i++) {
    if (source[i] == '\r' && i + 1 < bytes && source[i + 1] == '\n')
      continue;
    copy[n++] = source[i] == '\r' ? '\n' : source[i];
  }
  if (copy && n > 0 && copy[n - 1] == '\n')
    copy[--n] = 0;
  *out_bytes = n;
  return copy;
}

em_status em_template_new(const char *source, size_t bytes, em_template **out, em_error *error) {
  em_status status = EM_OK;
  em_template *template_ = NULL;
  if (bytes > EM_TEMPLATE_MAX_BYTES)
    return em_fail(error, EM_ERR_LIMIT, "a template of %zu bytes is larger than %u", bytes, EM_TEMPLATE_MAX_BYTES);
  em_arena *arena = em_arena_new(EM_TPL_MAX_TREE_BYTES);
  if (arena)
    template_ = em_arena_alloc(arena, sizeof *template_);
  if (template_)
    template_->source = copy_source(arena, source, bytes, &template_->bytes);
  if (!template_ || !template_->source)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the template"));
  template_->arena = arena;
  EM_TRY(em_tpl_parse(template_, error));
  *out = template_;
  return EM_OK;
fail:
  em_arena_free(arena);
  return status;
}

void em_template_free(em_template *template_) {
  if (template_)
    em_arena_free(template_->arena);
}

void em_rendered_clear(em_rendered *rendered) {
  free(rendered->text);
  free(rendered->spans);
  *rendered = (em_rendered){0};
}

/* Bytes of all texts in a context. */
static size_t count_bytes(const em_json *json, unsigned depth) {
  size_t bytes = json->kind == EM_JSON_STRING ? json->string.bytes : 8;
  if (depth < EM_JSON_MAX_DEPTH)
    for (const em_json *child = json->first; child; child = child->next)
      bytes += child->key_bytes + count_bytes(child, depth + 1);
  return bytes;
}

/* The texts of the file's own tokens are as good as the template's. */
static bool trust_tokens(em_tpl_run *run) {
  static const char *const names[] = {"bos_token", "eos_token"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    em_tpl_value *value = em_tpl_dict_get(run, run->context, names[i], strlen(names[i]));
    if (value && value->kind == EM_TPL_STRING &&
        !em_tpl_string_view(run, value->string->text, value->string->bytes, true, value))
      return false;
  }
  return run->status == EM_OK;
}

static em_status copy_out(const em_tpl_builder *from, em_rendered *out, em_error *error) {
  em_rendered rendered = {.bytes = from->bytes, .n_spans = from->n_parts};
  rendered.text = em_calloc(from->bytes + 1, 1);
  rendered.spans = em_calloc(from->n_parts + 1, sizeof *rendered.spans);
  if (!rendered.text || !rendered.spans) {
    em_rendered_clear(&rendered);
    return em_fail(error, EM_ERR_NO_MEMORY, "no memory for the prompt");
  }
  if (from->bytes > 0)
    memcpy(rendered.text, from->text, from->bytes);
  size_t start = 0;
  for (size_t i = 0; i < from->n_parts; i++) {
    rendered.spans[i] = (em_span){start, from->parts[i].end - start, from->parts[i].from_template};
    start = from->parts[i].end;
  }
  *out = rendered;
  return EM_OK;
}

em_status em_template_render(const em_template *template_, const em_json *context, int64_t now_unix_s, em_rendered *out,
                             em_error *error) {
  em_status status = EM_OK;
  em_tpl_value root;
  em_tpl_run run = {.template_ = template_, .error = error, .fuel = EM_TEMPLATE_FUEL, .next_look = EM_TEMPLATE_FUEL,
                    .now_unix_s = now_unix_s};
  if (context->kind != EM_JSON_OBJECT)
    return em_fail(error, EM_ERR_ARGUMENT, "a template's context must be an object");
  run.max_output_bytes = 4 * (template_->bytes + count_bytes(context, 0)) + (1u << 20);
  run.arena = em_arena_new(EM_TPL_MAX_ARENA_BYTES);
  if (!run.arena)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for the prompt"));
  bool fits = em_tpl_from_json(&run, context, &root);
  run.context = fits ? root.dict : NULL;
  run.out = fits ? em_tpl_builder_new(&run) : NULL;
  if (run.out && trust_tokens(&run) && em_tpl_scope_push(&run, NULL) && em_tpl_exec(&run, template_->body))
    status = copy_out(run.out, out, error);
  else
    status = run.status;
fail:
  em_arena_free(run.arena);
  return status;
}
