/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Strings that know where their bytes come from, and how they are built. */
#include <string.h>

#include "text/template/value.h"

static bool wrap(em_tpl_run *run, em_tpl_string string, em_tpl_value *out) {
  em_tpl_string *copy = em_tpl_alloc(run, 1, sizeof *copy);
  if (!copy)
    return false;
  *copy = string;
  *out = (em_tpl_value){.kind = EM_TPL_STRING, .string = copy};
  return true;
}

bool em_tpl_string_view(em_tpl_run *run, const char *text, size_t bytes, bool from_template, em_tpl_value *out) {
  return wrap(run, (em_tpl_string){.text = text, .bytes = bytes, .from_template = from_template}, out);
}

bool em_tpl_string_copy(em_tpl_run *run, const char *text, size_t bytes, em_tpl_value *out) {
  char *copy = em_tpl_spend(run, bytes) ? em_tpl_alloc(run, bytes, 1) : NULL;
  if (!copy)
    return false;
  if (bytes > 0)
    memcpy(copy, text, bytes);
  return em_tpl_string_view(run, copy, bytes, false, out);
}

/* The first part that reaches past `place`. */
static size_t find_part(const em_tpl_string *string, size_t place) {
  size_t low = 0, high = string->n_parts - 1;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (string->parts[middle].end > place)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

bool em_tpl_origin_at(const em_tpl_string *string, size_t place) {
  return string->parts ? string->parts[find_part(string, place)].from_template : string->from_template;
}

bool em_tpl_string_slice(em_tpl_run *run, const em_tpl_string *string, size_t start, size_t bytes, em_tpl_value *out) {
  em_tpl_string slice = {.text = string->text + start, .bytes = bytes, .from_template = string->from_template};
  if (start == 0 && bytes == string->bytes)
    return *out = (em_tpl_value){.kind = EM_TPL_STRING, .string = string}, true;
  if (string->parts && bytes > 0) {
    size_t first = find_part(string, start), n = find_part(string, start + bytes - 1) - first + 1;
    slice.from_template = string->parts[first].from_template;
    if (n > 1) {
      em_tpl_part *parts = em_tpl_spend(run, n) ? em_tpl_alloc(run, n, sizeof *parts) : NULL;
      if (!parts)
        return false;
      for (size_t i = 0; i < n; i++)
        parts[i] = (em_tpl_part){string->parts[first + i].end - start, string->parts[first + i].from_template};
      slice.parts = parts;
      slice.n_parts = n;
    }
  }
  return wrap(run, slice, out);
}

bool em_tpl_string_concat(em_tpl_run *run, const em_tpl_string *a, const em_tpl_string *b, em_tpl_value *out) {
  if (a->bytes == 0)
    return *out = (em_tpl_value){.kind = EM_TPL_STRING, .string = b}, true;
  em_tpl_builder *builder = a->builder;
  if (!builder || builder->text != a->text || builder->bytes != a->bytes) {
    builder = em_tpl_builder_new(run);
    if (!builder || !em_tpl_put_string(run, builder, a))
      return false;
  }
  return em_tpl_put_string(run, builder, b) && em_tpl_built(run, builder, out);
}

/* --- Building ------------------------------------------------------------------------------------------------------------ */

em_tpl_builder *em_tpl_builder_new(em_tpl_run *run) {
  return em_tpl_alloc(run, 1, sizeof(em_tpl_builder));
}

/* Makes room for more bytes and one more part. Older strings keep the memory they have. */
static bool reserve(em_tpl_run *run, em_tpl_builder *builder, size_t bytes) {
  if (builder->capacity - builder->bytes < bytes) {
    size_t capacity = builder->capacity * 2;
    if (capacity - builder->bytes < bytes)
      capacity = builder->bytes + bytes + 32;
    char *text = em_tpl_alloc(run, capacity, 1);
    if (!text)
      return false;
    if (builder->bytes > 0)
      memcpy(text, builder->text, builder->bytes);
    builder->text = text;
    builder->capacity = capacity;
  }
  if (builder->n_parts == builder->parts_capacity) {
    size_t capacity = builder->parts_capacity ? builder->parts_capacity * 2 : 2;
    em_tpl_part *parts = em_tpl_alloc(run, capacity, sizeof *parts);
    if (!parts)
      return false;
    if (builder->n_parts > 0)
      memcpy(parts, builder->parts, builder->n_parts * sizeof *parts);
    builder->parts = parts;
    builder->parts_capacity = capacity;
  }
  return true;
}

bool em_tpl_put(em_tpl_run *run, em_tpl_builder *builder, const char *text, size_t bytes, bool from_template) {
  if (bytes == 0)
    return true;
  if (bytes > run->max_output_bytes || builder->bytes > run->max_output_bytes - bytes)
    return em_tpl_fail(run, EM_ERR_LIMIT, "the template makes more than %zu bytes of text", run->max_output_bytes);
  if (!em_tpl_spend(run, bytes) || !reserve(run, builder, bytes))
    return false;
  memcpy(builder->text + builder->bytes, text, bytes);
  builder->bytes += bytes;
  em_tpl_part *last = builder->n_parts > 0 ? &builder->parts[builder->n_parts - 1] : NULL;
  if (last && last->from_template == from_template)
    last->end = builder->bytes;
  else
    builder->parts[builder->n_parts++] = (em_tpl_part){builder->bytes, from_template};
  return true;
}

bool em_tpl_put_text(em_tpl_run *run, em_tpl_builder *builder, const char *text) {
  return em_tpl_put(run, builder, text, strlen(text), false);
}

bool em_tpl_put_slice(em_tpl_run *run, em_tpl_builder *builder, const em_tpl_string *string, size_t start,
                      size_t bytes) {
  if (bytes == 0)
    return true;
  if (!string->parts)
    return em_tpl_put(run, builder, string->text + start, bytes, string->from_template);
  size_t place = start, end = start + bytes;
  for (size_t i = find_part(string, start); place < end; i++) {
    size_t stop = i + 1 < string->n_parts && string->parts[i].end < end ? string->parts[i].end : end;
    if (!em_tpl_put(run, builder, string->text + place, stop - place, string->parts[i].from_template))
      return false;
    place = stop;
  }
  return true;
}

bool em_tpl_put_string(em_tpl_run *run, em_tpl_builder *builder, const em_tpl_string *string) {
  return em_tpl_put_slice(run, builder, string, 0, string->bytes);
}

bool em_tpl_built(em_tpl_run *run, em_tpl_builder *builder, em_tpl_value *out) {
  em_tpl_string string = {.text = builder->text ? builder->text : "", .bytes = builder->bytes, .builder = builder};
  if (builder->n_parts == 1) {
    string.from_template = builder->parts[0].from_template;
  } else if (builder->n_parts > 1) {
    string.parts = builder->parts;
    string.n_parts = builder->n_parts;
  }
  return wrap(run, string, out);
}
