/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Opens any bytes as a GGUF file. What opens must keep every promise of the reader: unique names, tensors inside the file and
 * apart from one another, getters that agree with the entries. */
#include "base/buffer.h"
#include "fuzz.h"
#include "gguf/gguf.h"

#include <string.h>

static void check_metadata(const em_gguf *gguf) {
  for (size_t i = 0; i < em_gguf_n_keys(gguf); i++) {
    em_gguf_entry entry = em_gguf_key_at(gguf, i), found;
    const char *key = entry.key.text;
    REQUIRE(strlen(key) == entry.key.bytes && em_gguf_find_key(gguf, key, &found) && found.key.text == key);
    bool b;
    uint32_t u32;
    int32_t i32;
    uint64_t u64;
    float f32;
    em_text text;
    size_t n;
    const em_text *texts;
    const float *f32s;
    const int32_t *i32s;
    const uint8_t *bools;
    bool array = entry.type == EM_GGUF_ARRAY;
    REQUIRE(em_gguf_get_bool(gguf, key, &b) == (entry.type == EM_GGUF_BOOL));
    REQUIRE(em_gguf_get_f32(gguf, key, &f32) == (entry.type == EM_GGUF_F32 || entry.type == EM_GGUF_F64));
    REQUIRE(em_gguf_get_text(gguf, key, &text) == (entry.type == EM_GGUF_STRING));
    REQUIRE(!em_gguf_get_u32(gguf, key, &u32) || (em_gguf_get_u64(gguf, key, &u64) && u64 == u32));
    REQUIRE(!em_gguf_get_i32(gguf, key, &i32) || i32 < 0 || (em_gguf_get_u32(gguf, key, &u32) && u32 == (uint32_t)i32));
    REQUIRE(em_gguf_get_texts(gguf, key, &texts, &n) == (array && entry.item_type == EM_GGUF_STRING));
    REQUIRE(em_gguf_get_f32s(gguf, key, &f32s, &n) == (array && entry.item_type == EM_GGUF_F32));
    REQUIRE(em_gguf_get_bools(gguf, key, &bools, &n) == (array && entry.item_type == EM_GGUF_BOOL));
    if (em_gguf_get_i32s(gguf, key, &i32s, &n))
      REQUIRE(n == entry.n);
    em_buffer json = { 0 };
    REQUIRE(em_gguf_write_value_json(gguf, i, 100, &json) && json.bytes);
    em_buffer_clear(&json);
  }
}

static void check_tensors(const em_gguf *gguf, uint64_t bytes_there) {
  size_t n = em_gguf_n_tensors(gguf);
  for (size_t i = 0; i < n; i++) {
    const em_gguf_tensor *t = em_gguf_tensor_at(gguf, i);
    REQUIRE(em_gguf_find_tensor(gguf, t->name.text) == t && em_type_get(t->type));
    REQUIRE(t->n_rows == t->dims[1] * t->dims[2] * t->dims[3] && t->bytes == t->n_rows * t->row_bytes && t->bytes > 0);
    REQUIRE(t->offset % em_gguf_alignment(gguf) == 0 && t->offset >= em_gguf_data_offset(gguf));
    REQUIRE(t->bytes <= em_gguf_file_bytes(gguf) && t->offset <= em_gguf_file_bytes(gguf) - t->bytes);
    for (size_t j = i + 1; j < n && j < i + 50; j++) {
      const em_gguf_tensor *other = em_gguf_tensor_at(gguf, j);
      REQUIRE(t->offset < other->offset ? other->offset - t->offset >= t->bytes : t->offset - other->offset >= other->bytes);
    }
    unsigned char data[64];
    size_t part = t->bytes < sizeof data ? (size_t)t->bytes : sizeof data;
    em_status status = em_gguf_read_tensor(gguf, t, t->bytes - part, data, part, NULL);
    REQUIRE(status == (t->offset + t->bytes <= bytes_there ? EM_OK : EM_ERR_CHANGED));
    REQUIRE(em_gguf_read_tensor(gguf, t, t->bytes - part + 1, data, part, NULL) == EM_ERR_ARGUMENT);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
  /* The second time the file is said to go on far behind these bytes, so that large tensors pass as well. */
  for (int pass = 0; pass < 2; pass++) {
    em_gguf *gguf = NULL;
    em_error error = { 0 };
    em_status status = em_gguf_open_memory(data, bytes, pass == 0 ? bytes : UINT64_MAX - 1, &gguf, &error);
    if (status != EM_OK) {
      REQUIRE(!gguf && error.code == status && error.text[0] && !strchr(error.text, '\n'));
      continue;
    }
    check_metadata(gguf);
    check_tensors(gguf, bytes);
    em_gguf_close(gguf);
  }
  return 0;
}
