/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The document that grows while an answer streams: what becomes a block, what is sealed, and that cutting the text into
 * deltas differently changes nothing. */
#include "chat/hearth-document.h"
#include "check.h"

static char *block_text(HearthDocument *document, guint i) {
  HearthDocumentBlock block = hearth_document_get_block(document, i);

  return g_strndup(block.text, block.bytes);
}

static void check_block(HearthDocument *document, guint i, const char *text, gboolean sealed, gboolean is_continued) {
  HearthDocumentBlock block = hearth_document_get_block(document, i);
  g_autofree char *got = block_text(document, i);

  CHECK_TEXT(got, text);
  CHECK_INT(block.sealed, sealed);
  CHECK_INT(block.is_continued, is_continued);
}

static void test_paragraphs(void) {
  g_autoptr(HearthDocument) document = hearth_document_new();

  CHECK_INT(hearth_document_get_n_blocks(document), 0);
  CHECK_TEXT(hearth_document_get_text(document), "");
  hearth_document_append(document, "\n  \n", -1);
  CHECK_INT(hearth_document_get_n_blocks(document), 0);
  hearth_document_append(document, "One", -1);
  check_block(document, 0, "One", FALSE, FALSE);
  hearth_document_append(document, " line\n", -1);
  check_block(document, 0, "One line", FALSE, FALSE);
  hearth_document_append(document, "and another \n", -1);
  check_block(document, 0, "One line\nand another", FALSE, FALSE);
  hearth_document_append(document, " \t\n", -1);
  check_block(document, 0, "One line\nand another", TRUE, FALSE);
  CHECK_INT(hearth_document_get_n_blocks(document), 1);
  hearth_document_append(document, "\n\n    indented\r\n", -1);
  CHECK_INT(hearth_document_get_n_blocks(document), 2);
  check_block(document, 1, "    indented", FALSE, FALSE);
  hearth_document_finish(document);
  check_block(document, 1, "    indented", TRUE, FALSE);
  CHECK_TEXT(hearth_document_get_text(document), "\n  \nOne line\nand another \n \t\n\n\n    indented\r\n");
  CHECK_INT(hearth_document_get_bytes(document), strlen(hearth_document_get_text(document)));
}

static void test_first_space(void) {
  g_autoptr(HearthDocument) document = hearth_document_new();

  hearth_document_append(document, " Once", -1);
  check_block(document, 0, "Once", FALSE, FALSE);
  CHECK_TEXT(hearth_document_get_text(document), " Once");
}

static void test_empty(void) {
  g_autoptr(HearthDocument) document = hearth_document_new();

  hearth_document_append(document, "", -1);
  hearth_document_append(document, NULL, 0);
  hearth_document_finish(document);
  CHECK_INT(hearth_document_get_n_blocks(document), 0);
}

/* Text without blank lines is cut at a line, without line ends at a word, without spaces between characters. */
static void test_long_paragraphs(void) {
  static const char *const units[] = {"A line of a list without blank lines\n", "word ", "ä", "x", "字"};

  for (guint u = 0; u < G_N_ELEMENTS(units); u++) {
    g_autoptr(HearthDocument) document = hearth_document_new();
    g_autoptr(GString) joined = g_string_new(NULL);
    g_autoptr(GString) words = g_string_new(NULL);
    gsize longest = 0;

    for (guint i = 0; i < 20000; i++)
      hearth_document_append(document, units[u], -1);
    hearth_document_finish(document);
    CHECK(hearth_document_get_n_blocks(document) > 2);
    for (guint i = 0; i < hearth_document_get_n_blocks(document); i++) {
      HearthDocumentBlock block = hearth_document_get_block(document, i);

      longest = MAX(longest, block.bytes);
      CHECK(g_utf8_validate(block.text, (gssize)block.bytes, NULL));
      CHECK_INT(block.is_continued, i > 0);
      CHECK(block.sealed);
      g_string_append_len(joined, block.text, (gssize)block.bytes);
    }
    CHECK(longest < 2 * HEARTH_DOCUMENT_HARD_BYTES + strlen(units[u]));
    if (strcmp(units[u], "ä") == 0 || strcmp(units[u], "x") == 0)
      CHECK_INT(longest, HEARTH_DOCUMENT_WORD_BYTES);
    /* Nothing but white space between blocks is left out. */
    for (const char *p = joined->str; *p; p++) {
      if (!strchr(" \n", *p))
        g_string_append_c(words, *p);
    }
    gsize unit_bytes = 0;
    for (const char *p = units[u]; *p; p++)
      unit_bytes += !strchr(" \n", *p);
    CHECK_INT(words->len, 20000 * unit_bytes);
  }
}

/* A model stuck in white space never makes a block that is long to lay out, and loses nothing of the text. */
static void test_long_blanks(void) {
  static const char *const blanks[] = {" ", "\t", "\r", "\n ", "\r\n"};

  for (guint u = 0; u < G_N_ELEMENTS(blanks); u++) {
    g_autoptr(HearthDocument) document = hearth_document_new();
    g_autoptr(GString) whole = g_string_new("Before");

    hearth_document_append(document, "Before", -1);
    for (guint i = 0; i < 100000; i++) {
      hearth_document_append(document, blanks[u], -1);
      g_string_append(whole, blanks[u]);
    }
    CHECK_INT(hearth_document_get_n_blocks(document), 1);
    check_block(document, 0, "Before", TRUE, FALSE);
    hearth_document_append(document, "after", -1);
    g_string_append(whole, "after");
    CHECK_INT(hearth_document_get_n_blocks(document), 2);
    CHECK(hearth_document_get_block(document, 1).bytes <= strlen("after") + HEARTH_DOCUMENT_BLANK_BYTES);
    CHECK_INT(hearth_document_get_block(document, 1).is_continued, strchr(blanks[u], '\n') == NULL);
    CHECK_TEXT(hearth_document_get_text(document), whole->str);
  }
}

/* The blocks and what they were at every sealing depend on the text alone, not on how it was cut into deltas. */
static void test_any_cut(void) {
  static const char text[] = "First\nstill first\n\n\n  second ü€𝄞\n \nthird\r\n\r\n```\ncode\n\n  more\n```\nend";
  g_autoptr(HearthDocument) whole = hearth_document_new();

  hearth_document_append(whole, text, -1);
  hearth_document_finish(whole);
  for (guint step = 1; step < sizeof text; step++) {
    g_autoptr(HearthDocument) document = hearth_document_new();
    guint n_sealed = 0;

    for (const char *p = text; *p;) {
      const char *end = p;

      for (guint n = 0; n < step && *end; n++)
        end = g_utf8_next_char(end);
      hearth_document_append(document, p, end - p);
      p = end;
      /* A sealed block never changes again: it is what the whole text gives. */
      while (n_sealed < hearth_document_get_n_blocks(document) && hearth_document_get_block(document, n_sealed).sealed) {
        g_autofree char *a = block_text(document, n_sealed);
        g_autofree char *b = block_text(whole, n_sealed);

        CHECK_TEXT(a, b);
        n_sealed++;
      }
      CHECK(n_sealed + 1 >= hearth_document_get_n_blocks(document));
    }
    hearth_document_finish(document);
    CHECK_INT(hearth_document_get_n_blocks(document), hearth_document_get_n_blocks(whole));
    for (guint i = 0; i < hearth_document_get_n_blocks(whole); i++) {
      g_autofree char *a = block_text(document, i);
      g_autofree char *b = block_text(whole, i);

      CHECK_TEXT(a, b);
      CHECK_INT(hearth_document_get_block(document, i).is_continued, hearth_document_get_block(whole, i).is_continued);
    }
  }
}

int main(void) {
  test_paragraphs();
  test_first_space();
  test_empty();
  test_long_paragraphs();
  test_long_blanks();
  test_any_cut();
  return check_done();
}
