/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth-chat"

#include "chat/hearth-document.h"

#include <string.h>

typedef struct {
  gsize start, end; /* of the shown text: without the white space after it; end grows while the block is open */
  gboolean sealed, is_continued;
} Block;

struct _HearthDocument {
  GString *text;
  GArray *blocks;
  gsize scanned;          /* bytes already looked at */
  gsize line_start;       /* of the line being scanned */
  gsize word_start;       /* of the word being scanned */
  gboolean line_is_blank; /* so far */
  gboolean next_is_continued;
  gboolean finished;
};

HearthDocument *hearth_document_new(void) {
  HearthDocument *self = g_new0(HearthDocument, 1);

  self->text = g_string_new(NULL);
  self->blocks = g_array_new(FALSE, FALSE, sizeof(Block));
  self->line_is_blank = TRUE;
  return self;
}

void hearth_document_free(HearthDocument *self) {
  if (!self)
    return;
  g_string_free(self->text, TRUE);
  g_array_unref(self->blocks);
  g_free(self);
}

static Block *get_open_block(HearthDocument *self) {
  if (self->blocks->len == 0)
    return NULL;
  Block *last = &g_array_index(self->blocks, Block, self->blocks->len - 1);
  return last->sealed ? NULL : last;
}

static void seal(HearthDocument *self, Block *block, gboolean paragraph_goes_on) {
  block->sealed = TRUE;
  self->next_is_continued = paragraph_goes_on;
}

/* Looks at one byte. Bytes of a character past its first never match anything here and never end a block. */
static void scan(HearthDocument *self, gsize at) {
  char c = self->text->str[at];
  Block *open = get_open_block(self);

  if (c == '\n') {
    if (open && self->line_is_blank)
      seal(self, open, FALSE);
    else if (open && at - open->start >= HEARTH_DOCUMENT_SOFT_BYTES)
      seal(self, open, TRUE);
    else if (!open && self->line_is_blank)
      self->next_is_continued = FALSE;
    self->line_start = self->word_start = at + 1;
    self->line_is_blank = TRUE;
    return;
  }
  if (c == ' ' || c == '\t' || c == '\r') {
    if (open && ((at - open->start >= HEARTH_DOCUMENT_HARD_BYTES && !self->line_is_blank) ||
                 at - open->end >= HEARTH_DOCUMENT_BLANK_BYTES))
      seal(self, open, TRUE);
    self->word_start = at + 1;
    return;
  }
  if ((guchar)c >= 0xe0)
    self->word_start = at;
  if (open && ((guchar)c & 0xc0) != 0x80 &&
      (at - open->start >= 2 * HEARTH_DOCUMENT_HARD_BYTES || at - self->word_start >= HEARTH_DOCUMENT_WORD_BYTES)) {
    seal(self, open, TRUE);
    open = NULL;
    self->word_start = at;
  }
  if (!open) {
    /* A paragraph keeps the indentation of its first line, but neither the space many models begin with nor one that is out
     * of all reason; the rest of a cut line starts with its first word. */
    gboolean keeps_indentation =
        self->line_is_blank && self->blocks->len > 0 && at - self->line_start <= HEARTH_DOCUMENT_BLANK_BYTES;
    Block block = {.start = keeps_indentation ? self->line_start : at, .is_continued = self->next_is_continued};

    g_array_append_val(self->blocks, block);
    self->next_is_continued = FALSE;
    open = get_open_block(self);
  }
  open->end = at + 1;
  self->line_is_blank = FALSE;
}

void hearth_document_append(HearthDocument *self, const char *text, gssize bytes) {
  g_return_if_fail(self != NULL);
  g_return_if_fail(text != NULL || bytes == 0);
  g_return_if_fail(!self->finished);

  g_string_append_len(self->text, text, bytes);
  for (; self->scanned < self->text->len; self->scanned++)
    scan(self, self->scanned);
}

void hearth_document_finish(HearthDocument *self) {
  g_return_if_fail(self != NULL);

  Block *open = get_open_block(self);
  if (open)
    seal(self, open, FALSE);
  self->finished = TRUE;
}

const char *hearth_document_get_text(HearthDocument *self) {
  g_return_val_if_fail(self != NULL, NULL);

  return self->text->str;
}

gsize hearth_document_get_bytes(HearthDocument *self) {
  g_return_val_if_fail(self != NULL, 0);

  return self->text->len;
}

guint hearth_document_get_n_blocks(HearthDocument *self) {
  g_return_val_if_fail(self != NULL, 0);

  return self->blocks->len;
}

HearthDocumentBlock hearth_document_get_block(HearthDocument *self, guint i) {
  g_return_val_if_fail(self != NULL && i < self->blocks->len, (HearthDocumentBlock){0});

  const Block *block = &g_array_index(self->blocks, Block, i);
  return (HearthDocumentBlock){
      .text = self->text->str + block->start,
      .bytes = block->end - block->start,
      .sealed = block->sealed,
      .is_continued = block->is_continued,
  };
}
