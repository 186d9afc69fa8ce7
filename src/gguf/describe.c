/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Metadata values as JSON, for people and scripts that look into a file. */
#include "gguf/header.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Appends the decimal number with the fewest digits that is this float32: 1e-05 rather than 9.9999997473787516e-06. */
static void write_f32(em_buffer *out, float value) {
  char text[32];
  double nearest = (double)value;
  for (int digits = 6; digits <= 9; digits++) {
    /* Printed and read under the same locale, whatever its decimal point is. */
    snprintf(text, sizeof text, "%.*g", digits, (double)value);
    nearest = strtod(text, NULL);
    if ((float)nearest == value)
      break;
  }
  em_json_write_real(out, nearest);
}

static void write_unsigned(em_buffer *out, uint64_t value) {
  em_buffer_appendf(out, "%llu", (unsigned long long)value);
}

static void write_signed(em_buffer *out, int64_t value) {
  em_buffer_appendf(out, "%lld", (long long)value);
}

static void write_bool(em_buffer *out, bool value) {
  em_buffer_append_text(out, value ? "true" : "false");
}

/* Element i of an array. */
static void write_item(em_buffer *out, const em_gguf_pair *pair, size_t i) {
  const void *items = pair->value.items;
  switch ((em_gguf_type)pair->item_type) {
  case EM_GGUF_U8:
    write_unsigned(out, ((const uint8_t *)items)[i]);
    break;
  case EM_GGUF_I8:
    write_signed(out, ((const int8_t *)items)[i]);
    break;
  case EM_GGUF_U16:
    write_unsigned(out, ((const uint16_t *)items)[i]);
    break;
  case EM_GGUF_I16:
    write_signed(out, ((const int16_t *)items)[i]);
    break;
  case EM_GGUF_U32:
    write_unsigned(out, ((const uint32_t *)items)[i]);
    break;
  case EM_GGUF_I32:
    write_signed(out, ((const int32_t *)items)[i]);
    break;
  case EM_GGUF_U64:
    write_unsigned(out, ((const uint64_t *)items)[i]);
    break;
  case EM_GGUF_I64:
    write_signed(out, ((const int64_t *)items)[i]);
    break;
  case EM_GGUF_F32:
    write_f32(out, ((const float *)items)[i]);
    break;
  case EM_GGUF_F64:
    em_json_write_real(out, ((const double *)items)[i]);
    break;
  case EM_GGUF_BOOL:
    write_bool(out, ((const uint8_t *)items)[i]);
    break;
  case EM_GGUF_STRING: {
    const em_text *text = (const em_text *)items + i;
    em_json_write_string(out, text->text, text->bytes);
    break;
  }
  case EM_GGUF_ARRAY: /* the reader refuses arrays of arrays */
  case EM_GGUF_N_TYPES:
    break;
  }
}

bool em_gguf_write_value_json(const em_gguf *gguf, size_t i, size_t max_items, em_buffer *out) {
  const em_gguf_pair *pair = &gguf->pairs[i];
  switch ((em_gguf_type)pair->type) {
  case EM_GGUF_U8:
  case EM_GGUF_U16:
  case EM_GGUF_U32:
  case EM_GGUF_U64:
    write_unsigned(out, pair->value.u);
    break;
  case EM_GGUF_I8:
  case EM_GGUF_I16:
  case EM_GGUF_I32:
  case EM_GGUF_I64:
    write_signed(out, pair->value.i);
    break;
  case EM_GGUF_F32:
    write_f32(out, (float)pair->value.real);
    break;
  case EM_GGUF_F64:
    em_json_write_real(out, pair->value.real);
    break;
  case EM_GGUF_BOOL:
    write_bool(out, pair->value.u);
    break;
  case EM_GGUF_STRING:
    em_json_write_string(out, pair->value.text, (size_t)pair->n);
    break;
  case EM_GGUF_ARRAY: {
    size_t shown = pair->n < max_items ? (size_t)pair->n : max_items;
    em_buffer_append(out, "[", 1);
    for (size_t item = 0; item < shown && !out->failed; item++) {
      if (item)
        em_buffer_append(out, ",", 1);
      write_item(out, pair, item);
    }
    if (shown < pair->n)
      em_buffer_appendf(out, "%s\"... %llu more\"", shown ? "," : "", (unsigned long long)(pair->n - shown));
    em_buffer_append(out, "]", 1);
    break;
  }
  case EM_GGUF_N_TYPES:
    break;
  }
  return !out->failed;
}
