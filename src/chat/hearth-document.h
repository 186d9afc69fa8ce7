/* The text of one message as it grows, split into blocks that are drawn one by one.
 *
 * A block is a paragraph: it ends at a blank line. A paragraph that grows past a limit ends at a line or a word, so that the
 * open block stays short however the text looks. Only the last block changes; a sealed one never does again. The text is
 * kept whole beside the blocks: what is saved and copied is exactly what came.
 *
 * Plain data without GTK and without signals; used from one thread.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* An open block is sealed at the next line end past SOFT bytes, at the next space past HARD, and anywhere past twice HARD; in
 * a word past WORD bytes, and where more than BLANK bytes of white space follow its text. Laying out words and spaces that
 * long takes time that grows with their square. Characters of three bytes and more end no block early: most scripts that need
 * them break lines between any two. */
#define HEARTH_DOCUMENT_SOFT_BYTES 512
#define HEARTH_DOCUMENT_HARD_BYTES 2048
#define HEARTH_DOCUMENT_WORD_BYTES 512
#define HEARTH_DOCUMENT_BLANK_BYTES 256

typedef struct _HearthDocument HearthDocument;

typedef struct {
  const char *text;      /* not NUL-terminated; valid until the document changes */
  gsize bytes;
  gboolean sealed;
  gboolean is_continued; /* the paragraph goes on from the block before: no gap between them */
} HearthDocumentBlock;

HearthDocument *hearth_document_new(void);
void hearth_document_free(HearthDocument *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(HearthDocument, hearth_document_free)

/* Appends text: valid UTF-8, whole characters. bytes -1: up to its NUL. */
void hearth_document_append(HearthDocument *self, const char *text, gssize bytes);

/* Seals the last block; nothing may be appended afterwards. */
void hearth_document_finish(HearthDocument *self);

/* All of it, NUL-terminated, as it came; valid until the document changes. */
const char *hearth_document_get_text(HearthDocument *self);
gsize hearth_document_get_bytes(HearthDocument *self);

/* Blocks hold at least one character that is not white space, and end with one. */
guint hearth_document_get_n_blocks(HearthDocument *self);
HearthDocumentBlock hearth_document_get_block(HearthDocument *self, guint i);

G_END_DECLS
