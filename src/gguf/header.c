/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reading and checking a file's header. Every count, length and offset is believed only after it was compared with the bytes
 * that are left and with its limit; all arithmetic on them is checked. */
#include "gguf/header.h"

#include "base/checked.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

/* The header is read in pieces of this size; what is longer is read straight to where it belongs. */
#define WINDOW_BYTES (64u << 10)
/* Short strings share blocks of this size; those past a quarter of it are allocated alone. */
#define TEXT_BLOCK_BYTES (16u << 10)

/* How much of a name goes into an error's sentence. */
#define SHOWN(name_) (int)((name_).bytes < 100 ? (name_).bytes : 100), (name_).text

typedef struct cursor {
  const em_gguf *gguf;
  em_arena *arena;
  em_error *error;
  uint64_t position; /* of the next byte */
  uint64_t end;      /* no header byte lies at or behind it */
  const uint8_t *window;
  size_t window_bytes, window_used;
  uint8_t *buffer; /* WINDOW_BYTES that a file's window is read into; NULL: the window is the memory itself */
  char *text_block;
  size_t text_left;
} cursor;

/* --- The cursor --------------------------------------------------------------------------------------------------- */

static em_status need(const cursor *c, uint64_t bytes, const char *what) {
  if (bytes > c->end - c->position)
    return em_fail_at(c->error, EM_ERR_FORMAT, c->position, "the file ends within %s", what);
  return EM_OK;
}

/* Points *out at the next `bytes` (at most WINDOW_BYTES), valid until the next call, and steps behind them. */
static em_status take(cursor *c, size_t bytes, const char *what, const uint8_t **out) {
  size_t have = c->window_bytes - c->window_used;
  if (have < bytes) {
    em_status status = need(c, bytes, what);
    if (status != EM_OK)
      return status;
    /* Only a file gets here: a memory's window reaches to the end. */
    uint64_t left = c->end - c->position;
    size_t more = left < WINDOW_BYTES ? (size_t)left : WINDOW_BYTES;
    status = em_gguf_read_at(c->gguf, c->position, c->buffer, more, c->error);
    if (status != EM_OK)
      return status;
    c->window_bytes = more;
    c->window_used = 0;
  }
  *out = c->window + c->window_used;
  c->window_used += bytes;
  c->position += bytes;
  return EM_OK;
}

/* Copies the next bytes to dst. */
static em_status take_into(cursor *c, void *dst, size_t bytes, const char *what) {
  size_t have = c->window_bytes - c->window_used;
  if (bytes <= have || bytes <= WINDOW_BYTES) {
    const uint8_t *from;
    em_status status = take(c, bytes, what, &from);
    if (status == EM_OK && bytes)
      memcpy(dst, from, bytes);
    return status;
  }
  em_status status = need(c, bytes, what);
  if (status == EM_OK)
    status = em_gguf_read_at(c->gguf, c->position, dst, bytes, c->error);
  if (status == EM_OK) {
    c->position += bytes;
    c->window_bytes = c->window_used = 0;
  }
  return status;
}

static em_status take_u32(cursor *c, const char *what, uint32_t *out) {
  const uint8_t *from;
  em_status status = take(c, 4, what, &from);
  if (status == EM_OK)
    memcpy(out, from, 4);
  return status;
}

static em_status take_u64(cursor *c, const char *what, uint64_t *out) {
  const uint8_t *from;
  em_status status = take(c, 8, what, &from);
  if (status == EM_OK)
    memcpy(out, from, 8);
  return status;
}

static em_status no_memory(const cursor *c) {
  return em_fail_at(c->error, EM_ERR_NO_MEMORY, c->position, "no memory for the file's header");
}

/* Room for a string of so many bytes and its NUL. */
static char *text_room(cursor *c, size_t bytes) {
  size_t with_nul = bytes + 1;
  if (with_nul > TEXT_BLOCK_BYTES / 4)
    return em_arena_alloc(c->arena, with_nul);
  if (with_nul > c->text_left) {
    c->text_block = em_arena_alloc(c->arena, TEXT_BLOCK_BYTES);
    c->text_left = c->text_block ? TEXT_BLOCK_BYTES : 0;
    if (!c->text_block)
      return NULL;
  }
  char *room = c->text_block;
  c->text_block += with_nul;
  c->text_left -= with_nul;
  return room;
}

/* A string of min_bytes..max_bytes: a 64-bit length, then the bytes. */
static em_status take_text(cursor *c, const char *what, uint64_t min_bytes, uint64_t max_bytes, em_text *out) {
  uint64_t start = c->position, bytes;
  em_status status = take_u64(c, what, &bytes);
  if (status != EM_OK)
    return status;
  if (bytes > c->end - c->position)
    return em_fail_at(c->error, EM_ERR_FORMAT, start, "%s says it has %llu bytes, but the file has %llu left", what,
                      (unsigned long long)bytes, (unsigned long long)(c->end - c->position));
  if (bytes > max_bytes)
    return em_fail_at(c->error, EM_ERR_LIMIT, start, "%s has %llu bytes; at most %llu are read", what,
                      (unsigned long long)bytes, (unsigned long long)max_bytes);
  if (bytes < min_bytes)
    return em_fail_at(c->error, EM_ERR_FORMAT, start, "%s is empty", what);
  char *text = text_room(c, (size_t)bytes);
  if (!text)
    return no_memory(c);
  status = take_into(c, text, (size_t)bytes, what);
  if (status == EM_OK)
    *out = (em_text){ text, (size_t)bytes };
  return status;
}

/* The common case of take_text, for arrays of millions of strings: a short one that lies in the window whole and finds room in
 * the text block. False: nothing was taken. */
static inline bool take_text_at_hand(cursor *c, size_t max_bytes, em_text *out) {
  size_t have = c->window_bytes - c->window_used;
  const uint8_t *from = c->window + c->window_used;
  uint64_t bytes;
  if (have < 8)
    return false;
  memcpy(&bytes, from, 8);
  if (bytes > have - 8 || bytes > max_bytes || bytes >= c->text_left)
    return false;
  memcpy(c->text_block, from + 8, (size_t)bytes);
  *out = (em_text){ c->text_block, (size_t)bytes };
  c->text_block += bytes + 1;
  c->text_left -= (size_t)bytes + 1;
  c->window_used += 8 + (size_t)bytes;
  c->position += 8 + bytes;
  return true;
}

/* A name that can be looked up and shown: UTF-8 without NUL. */
static em_status take_name(cursor *c, const char *what, uint64_t max_bytes, em_text *out) {
  uint64_t start = c->position;
  em_status status = take_text(c, what, 1, max_bytes, out);
  if (status != EM_OK)
    return status;
  if (!em_utf8_valid(out->text, out->bytes) || memchr(out->text, 0, out->bytes))
    return em_fail_at(c->error, EM_ERR_FORMAT, start, "%s \"%.*s\" is not UTF-8 text", what, SHOWN(*out));
  return EM_OK;
}

/* --- Metadata ----------------------------------------------------------------------------------------------------- */

size_t em_gguf_scalar_bytes(em_gguf_type type) {
  static const uint8_t bytes[EM_GGUF_N_TYPES] = {
    [EM_GGUF_U8] = 1,  [EM_GGUF_I8] = 1,  [EM_GGUF_U16] = 2,  [EM_GGUF_I16] = 2, [EM_GGUF_U32] = 4, [EM_GGUF_I32] = 4,
    [EM_GGUF_F32] = 4, [EM_GGUF_BOOL] = 1, [EM_GGUF_U64] = 8, [EM_GGUF_I64] = 8, [EM_GGUF_F64] = 8,
  };
  return (unsigned)type < EM_GGUF_N_TYPES ? bytes[type] : 0;
}

static em_status take_scalar(cursor *c, em_gguf_pair *pair) {
  union {
    uint8_t u8;
    int8_t i8;
    uint16_t u16;
    int16_t i16;
    uint32_t u32;
    int32_t i32;
    uint64_t u64;
    int64_t i64;
    float f32;
    double f64;
  } raw = { .u64 = 0 };
  em_gguf_type type = (em_gguf_type)pair->type;
  uint64_t start = c->position;
  em_status status = take_into(c, &raw, em_gguf_scalar_bytes(type), "a metadata value");
  if (status != EM_OK)
    return status;
  switch (type) {
  case EM_GGUF_I8:
    pair->value.i = raw.i8;
    break;
  case EM_GGUF_I16:
    pair->value.i = raw.i16;
    break;
  case EM_GGUF_I32:
    pair->value.i = raw.i32;
    break;
  case EM_GGUF_F32:
    pair->value.real = (double)raw.f32;
    break;
  case EM_GGUF_F64:
    pair->value.real = raw.f64;
    break;
  case EM_GGUF_BOOL:
    if (raw.u8 > 1)
      return em_fail_at(c->error, EM_ERR_FORMAT, start, "%.*s is a truth value of %u, neither 0 nor 1", SHOWN(pair->key),
                        raw.u8);
    pair->value.u = raw.u8;
    break;
  default: /* the rest fill the low bytes of the zeroed union */
    pair->value.u = raw.u64;
  }
  return EM_OK;
}

static em_status take_array(cursor *c, em_gguf_pair *pair) {
  uint64_t start = c->position, n, bytes, end;
  uint32_t item_type;
  em_status status = take_u32(c, "an array's type", &item_type);
  if (status == EM_OK)
    status = take_u64(c, "an array's length", &n);
  if (status != EM_OK)
    return status;
  if (item_type == EM_GGUF_ARRAY)
    return em_fail_at(c->error, EM_ERR_FORMAT, start, "%.*s is an array of arrays", SHOWN(pair->key));
  if (item_type >= EM_GGUF_N_TYPES)
    return em_fail_at(c->error, EM_ERR_FORMAT, start, "%.*s is an array of an unknown type, %u", SHOWN(pair->key), item_type);
  pair->item_type = (uint8_t)item_type;
  pair->n = n;
  /* A string takes at least its length. */
  bool texts = item_type == EM_GGUF_STRING;
  size_t item_bytes = texts ? 8 : em_gguf_scalar_bytes((em_gguf_type)item_type);
  if (!em_mul_u64(n, item_bytes, &bytes) || bytes > c->end - c->position)
    return em_fail_at(c->error, EM_ERR_FORMAT, start, "%.*s says it has %llu elements, but the file has %llu bytes left",
                      SHOWN(pair->key), (unsigned long long)n, (unsigned long long)(c->end - c->position));
  if (n > EM_GGUF_MAX_ARRAY_LEN || !em_add_u64(c->position, bytes, &end) || end > EM_GGUF_MAX_METADATA_BYTES)
    return em_fail_at(c->error, EM_ERR_LIMIT, start, "%.*s has too many elements, %llu", SHOWN(pair->key),
                      (unsigned long long)n);
  void *items = em_arena_array(c->arena, (size_t)n, texts ? sizeof(em_text) : item_bytes);
  if (!items)
    return no_memory(c);
  pair->value.items = items;
  if (texts) {
    bool tokens = strcmp(pair->key.text, "tokenizer.ggml.tokens") == 0;
    size_t max_bytes = tokens ? EM_GGUF_MAX_TOKEN_BYTES : EM_GGUF_MAX_STRING_BYTES;
    em_text *text = items;
    for (size_t i = 0; i < (size_t)n; i++) {
      if (take_text_at_hand(c, max_bytes, &text[i]))
        continue;
      status = take_text(c, tokens ? "a token of the vocabulary" : "a string in an array", 0, max_bytes, &text[i]);
      if (status != EM_OK)
        return status;
    }
    return EM_OK;
  }
  uint64_t items_start = c->position;
  status = take_into(c, items, (size_t)bytes, "an array");
  if (status != EM_OK || item_type != EM_GGUF_BOOL)
    return status;
  const uint8_t *bools = items;
  for (size_t i = 0; i < (size_t)n; i++)
    if (bools[i] > 1)
      return em_fail_at(c->error, EM_ERR_FORMAT, items_start + i, "%.*s holds a truth value of %u, neither 0 nor 1",
                        SHOWN(pair->key), bools[i]);
  return EM_OK;
}

static em_status take_pair(cursor *c, em_gguf_pair *pair) {
  em_status status = take_name(c, "a metadata key", EM_GGUF_MAX_KEY_BYTES, &pair->key);
  uint64_t start = c->position;
  uint32_t type;
  if (status == EM_OK)
    status = take_u32(c, "a metadata type", &type);
  if (status != EM_OK)
    return status;
  if (type >= EM_GGUF_N_TYPES)
    return em_fail_at(c->error, EM_ERR_FORMAT, start, "%.*s has an unknown type, %u", SHOWN(pair->key), type);
  pair->type = pair->item_type = (uint8_t)type;
  pair->n = 1;
  if (type == EM_GGUF_ARRAY) {
    status = take_array(c, pair);
  } else if (type == EM_GGUF_STRING) {
    em_text text;
    status = take_text(c, "a metadata string", 0, EM_GGUF_MAX_STRING_BYTES, &text);
    if (status == EM_OK) {
      pair->value.text = text.text;
      pair->n = text.bytes;
    }
  } else {
    status = take_scalar(c, pair);
  }
  if (status == EM_OK && c->position > EM_GGUF_MAX_METADATA_BYTES)
    status = em_fail_at(c->error, EM_ERR_LIMIT, c->position, "the metadata is larger than %u MiB",
                        EM_GGUF_MAX_METADATA_BYTES >> 20);
  return status;
}

static em_status take_metadata(cursor *c, em_gguf *gguf) {
  for (size_t i = 0; i < gguf->n_pairs; i++) {
    uint64_t start = c->position;
    em_gguf_pair *pair = &gguf->pairs[i];
    em_status status = take_pair(c, pair);
    if (status != EM_OK)
      return status;
    if (!em_names_add(&gguf->pair_names, i))
      return em_fail_at(c->error, EM_ERR_FORMAT, start, "the key %.*s is there twice", SHOWN(pair->key));
  }
  gguf->alignment = EM_GGUF_DEFAULT_ALIGNMENT;
  const em_gguf_pair *pair = em_names_find(&gguf->pair_names, "general.alignment", strlen("general.alignment"));
  if (!pair)
    return EM_OK;
  uint64_t alignment = pair->value.u;
  if (pair->type != EM_GGUF_U32)
    return em_fail(c->error, EM_ERR_FORMAT, "general.alignment is not a 32-bit number without sign");
  if (alignment < EM_GGUF_MIN_ALIGNMENT || alignment > EM_GGUF_MAX_ALIGNMENT || (alignment & (alignment - 1)))
    return em_fail(c->error, EM_ERR_FORMAT, "the alignment %llu is no power of two from %u to %u",
                   (unsigned long long)alignment, EM_GGUF_MIN_ALIGNMENT, EM_GGUF_MAX_ALIGNMENT);
  gguf->alignment = (uint32_t)alignment;
  return EM_OK;
}

/* --- Tensors ------------------------------------------------------------------------------------------------------ */

static em_status take_tensor(cursor *c, const em_gguf *gguf, em_gguf_tensor *tensor) {
  em_status status = take_name(c, "a tensor's name", EM_GGUF_MAX_TENSOR_NAME_BYTES, &tensor->name);
  uint64_t start = c->position;
  uint32_t type;
  if (status == EM_OK)
    status = take_u32(c, "a tensor's number of dimensions", &tensor->n_dims);
  if (status != EM_OK)
    return status;
  if (tensor->n_dims < 1 || tensor->n_dims > EM_GGUF_MAX_DIMS)
    return em_fail_at(c->error, EM_ERR_FORMAT, start, "tensor %.*s has %u dimensions, not 1 to %u", SHOWN(tensor->name),
                      tensor->n_dims, EM_GGUF_MAX_DIMS);
  for (uint32_t i = 0; i < EM_GGUF_MAX_DIMS; i++) {
    tensor->dims[i] = 1;
    if (i >= tensor->n_dims)
      continue;
    status = take_u64(c, "a tensor's dimensions", &tensor->dims[i]);
    if (status != EM_OK)
      return status;
    if (tensor->dims[i] < 1 || tensor->dims[i] > EM_GGUF_MAX_DIM)
      return em_fail_at(c->error, EM_ERR_FORMAT, start, "tensor %.*s has a dimension of %llu", SHOWN(tensor->name),
                        (unsigned long long)tensor->dims[i]);
  }
  status = take_u32(c, "a tensor's type", &type);
  if (status == EM_OK)
    status = take_u64(c, "a tensor's offset", &tensor->offset);
  if (status != EM_OK)
    return status;
  const em_type_info *info = em_type_get(type);
  if (!info)
    return em_fail_at(c->error, EM_ERR_UNSUPPORTED, start, "tensor %.*s has the type number %u, which is not known",
                      SHOWN(tensor->name), type);
  tensor->type = (em_type)type;
  if (tensor->dims[0] % info->block_len)
    return em_fail_at(c->error, EM_ERR_FORMAT, start, "the rows of tensor %.*s have %llu values, no multiple of %s's %u",
                      SHOWN(tensor->name), (unsigned long long)tensor->dims[0], info->name, info->block_len);
  if (!em_type_row_bytes(type, tensor->dims[0], &tensor->row_bytes) ||
      !em_mul_u64(tensor->dims[1], tensor->dims[2], &tensor->n_rows) ||
      !em_mul_u64(tensor->n_rows, tensor->dims[3], &tensor->n_rows) ||
      !em_mul_u64(tensor->n_rows, tensor->row_bytes, &tensor->bytes))
    return em_fail_at(c->error, EM_ERR_FORMAT, start, "the size of tensor %.*s is past all bounds", SHOWN(tensor->name));
  if (tensor->offset % gguf->alignment)
    return em_fail_at(c->error, EM_ERR_FORMAT, start, "the data of tensor %.*s is not aligned to %u bytes",
                      SHOWN(tensor->name), gguf->alignment);
  return EM_OK;
}

static int compare_offsets(const void *a, const void *b) {
  const em_gguf_tensor *first = *(const em_gguf_tensor *const *)a, *second = *(const em_gguf_tensor *const *)b;
  return (first->offset > second->offset) - (first->offset < second->offset);
}

/* Every tensor lies inside the file; sorted by offset, none reaches into the next. */
static em_status check_ranges(const cursor *c, const em_gguf *gguf) {
  em_status status = EM_OK;
  const em_gguf_tensor **order = em_calloc(gguf->n_tensors, sizeof *order);
  if (!order)
    return no_memory(c);
  for (size_t i = 0; i < gguf->n_tensors; i++) {
    em_gguf_tensor *tensor = &gguf->tensors[i];
    uint64_t end;
    if (!em_add_u64(gguf->data_offset, tensor->offset, &tensor->offset) ||
        !em_add_u64(tensor->offset, tensor->bytes, &end) || end > gguf->file_bytes) {
      status = em_fail(c->error, EM_ERR_FORMAT, "tensor %.*s reaches past the end of the file, which may be cut short",
                       SHOWN(tensor->name));
      goto fail;
    }
    order[i] = tensor;
  }
  qsort(order, gguf->n_tensors, sizeof *order, compare_offsets);
  for (size_t i = 1; i < gguf->n_tensors; i++) {
    if (order[i]->offset - order[i - 1]->offset < order[i - 1]->bytes) {
      status = em_fail(c->error, EM_ERR_FORMAT, "the tensors %.*s and %.*s overlap", SHOWN(order[i - 1]->name),
                       SHOWN(order[i]->name));
      goto fail;
    }
  }
fail:
  free(order);
  return status;
}

static em_status take_tensors(cursor *c, em_gguf *gguf) {
  for (size_t i = 0; i < gguf->n_tensors; i++) {
    uint64_t start = c->position;
    em_gguf_tensor *tensor = &gguf->tensors[i];
    em_status status = take_tensor(c, gguf, tensor);
    if (status != EM_OK)
      return status;
    if (!em_names_add(&gguf->tensor_names, i))
      return em_fail_at(c->error, EM_ERR_FORMAT, start, "the tensor %.*s is there twice", SHOWN(tensor->name));
  }
  if (!em_align_up_u64(c->position, gguf->alignment, &gguf->data_offset))
    return em_fail(c->error, EM_ERR_FORMAT, "the header reaches past all bounds");
  /* A vocabulary alone has no data, and nothing need follow its header. */
  if (gguf->n_tensors == 0 && gguf->data_offset > gguf->file_bytes)
    gguf->data_offset = gguf->file_bytes;
  return check_ranges(c, gguf);
}

/* --- The whole ---------------------------------------------------------------------------------------------------- */

/* The fixed part: magic, version and the two counts. */
static em_status take_start(cursor *c, em_gguf *gguf) {
  uint64_t n_tensors, n_pairs;
  const uint8_t *magic;
  em_status status;
  if (c->end < 4)
    return em_fail(c->error, EM_ERR_FORMAT, "this is not a GGUF file: it has only %llu bytes", (unsigned long long)c->end);
  EM_TRY(take(c, 4, "the magic number", &magic));
  bool swapped = memcmp(magic, "FUGG", 4) == 0;
  if (!swapped && memcmp(magic, "GGUF", 4) != 0)
    return em_fail_at(c->error, EM_ERR_FORMAT, 0, "this is not a GGUF file");
  if (c->end < EM_GGUF_MIN_FILE_BYTES)
    return em_fail(c->error, EM_ERR_FORMAT, "the file is cut short: it has only %llu bytes", (unsigned long long)c->end);
  EM_TRY(take_u32(c, "the version", &gguf->version));
  /* A big-endian file writes its small version number into the other end of the word. */
  if (swapped || ((gguf->version & 0xffff) == 0 && gguf->version != 0))
    return em_fail_at(c->error, EM_ERR_UNSUPPORTED, 4, "this GGUF file is big-endian; only little-endian files can be used");
  if (gguf->version < EM_GGUF_MIN_VERSION || gguf->version > EM_GGUF_MAX_VERSION)
    return em_fail_at(c->error, EM_ERR_UNSUPPORTED, 4, "this is version %u of GGUF; versions %u to %u can be used",
                      gguf->version, EM_GGUF_MIN_VERSION, EM_GGUF_MAX_VERSION);
  EM_TRY(take_u64(c, "the number of tensors", &n_tensors));
  EM_TRY(take_u64(c, "the number of metadata keys", &n_pairs));
  uint64_t left = c->end - c->position;
  if (n_pairs > left / EM_GGUF_MIN_METADATA_BYTES)
    return em_fail_at(c->error, EM_ERR_FORMAT, 16, "the file says it has %llu metadata keys, but is too short for them",
                      (unsigned long long)n_pairs);
  if (n_pairs > EM_GGUF_MAX_METADATA)
    return em_fail_at(c->error, EM_ERR_LIMIT, 16, "the file has %llu metadata keys; at most %u are read",
                      (unsigned long long)n_pairs, EM_GGUF_MAX_METADATA);
  if (n_tensors > (left - n_pairs * EM_GGUF_MIN_METADATA_BYTES) / EM_GGUF_MIN_TENSOR_BYTES)
    return em_fail_at(c->error, EM_ERR_FORMAT, 8, "the file says it has %llu tensors, but is too short for them",
                      (unsigned long long)n_tensors);
  if (n_tensors > EM_GGUF_MAX_TENSORS)
    return em_fail_at(c->error, EM_ERR_LIMIT, 8, "the file has %llu tensors; at most %u are read",
                      (unsigned long long)n_tensors, EM_GGUF_MAX_TENSORS);
  gguf->n_pairs = (size_t)n_pairs;
  gguf->n_tensors = (size_t)n_tensors;
fail:
  return status;
}

em_status em_gguf_read_header(em_gguf *gguf, em_error *error) {
  em_status status = EM_OK;
  cursor c = { .gguf = gguf, .arena = gguf->arena, .error = error };
  if (gguf->memory) {
    c.window = gguf->memory;
    c.window_bytes = gguf->memory_bytes;
    c.end = gguf->memory_bytes;
  } else {
    c.end = gguf->file_bytes;
    c.buffer = em_calloc(1, WINDOW_BYTES);
    if (!c.buffer)
      return no_memory(&c);
    c.window = c.buffer;
  }
  EM_TRY(take_start(&c, gguf));
  gguf->pairs = em_arena_array(gguf->arena, gguf->n_pairs, sizeof *gguf->pairs);
  if (!gguf->pairs ||
      !em_names_init(&gguf->pair_names, gguf->arena, gguf->pairs, sizeof *gguf->pairs, gguf->n_pairs)) {
    status = no_memory(&c);
    goto fail;
  }
  EM_TRY(take_metadata(&c, gguf));
  /* The tensors are allocated only now that the metadata before them has proved sound. */
  gguf->tensors = em_arena_array(gguf->arena, gguf->n_tensors, sizeof *gguf->tensors);
  if (!gguf->tensors ||
      !em_names_init(&gguf->tensor_names, gguf->arena, gguf->tensors, sizeof *gguf->tensors, gguf->n_tensors)) {
    status = no_memory(&c);
    goto fail;
  }
  EM_TRY(take_tensors(&c, gguf));
fail:
  free(c.buffer);
  return status;
}
