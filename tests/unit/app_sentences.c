/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Every error of the engine has a sentence of its own and a remedy, in words for people. */
#include "app/hearth-sentences.h"
#include "check.h"

#include "chat/hearth-chat-store.h"
#include "client/hearth-engine-client.h"

#include <gio/gio.h>

static void test_engine_errors(void) {
  g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

  for (int code = HEARTH_ENGINE_ERROR_FAILED; code <= HEARTH_ENGINE_ERROR_DIED; code++) {
    g_autoptr(GError) error = g_error_new_literal(HEARTH_ENGINE_ERROR, code, "");
    HearthRemedy remedy = HEARTH_REMEDY_NONE;
    char *sentence = hearth_sentence_for_error(error, &remedy);

    CHECK(sentence && g_str_has_suffix(sentence, "."));
    CHECK(remedy != HEARTH_REMEDY_NONE);
    CHECK(hearth_remedy_get_label(remedy) != NULL);
    CHECK(g_hash_table_add(seen, sentence)); /* no two say the same */
  }
}

static void test_reasons(void) {
  g_autoptr(GError) unsupported =
      g_error_new_literal(HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_UNSUPPORTED, "the family \"mamba\" is not known");
  g_autoptr(GError) died = g_error_new_literal(HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_DIED, "signal 11");
  g_autoptr(GError) full = g_error_new_literal(G_IO_ERROR, G_IO_ERROR_NO_SPACE, "database or disk is full");
  g_autofree char *names_it = hearth_sentence_for_error(unsupported, NULL);
  g_autoptr(GError) big =
      g_error_new_literal(HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_TOO_BIG, "This model needs 9 GB of memory and 2 GB are free.");
  g_autofree char *too_big = hearth_sentence_for_error(big, NULL);
  g_autofree char *quiet = hearth_sentence_for_error(died, NULL);
  HearthRemedy remedy;
  g_autofree char *no_space = hearth_sentence_for_error(full, &remedy);

  CHECK(strstr(names_it, "mamba") != NULL);
  CHECK(g_str_has_prefix(too_big, "This model needs 9 GB") && g_str_has_suffix(too_big, "smaller model."));
  CHECK_TEXT(quiet, "The engine stopped unexpectedly; it is starting again. Your conversation is safe.");
  CHECK(strstr(no_space, "disk is full") != NULL);
  CHECK_INT(remedy, HEARTH_REMEDY_SAVE_AGAIN);
}

static void test_numbers(void) {
  g_autofree char *fast = hearth_sentence_for_speed(27.3);
  g_autofree char *slow = hearth_sentence_for_speed(3.14);
  g_autofree char *unknown = hearth_sentence_for_speed(0);
  g_autofree char *wrong = hearth_sentence_for_speed(0.0 / 0.0);
  g_autofree char *soon = hearth_sentence_for_time_left(1);
  g_autofree char *later = hearth_sentence_for_time_left(40);
  g_autofree char *minutes = hearth_sentence_for_time_left(170);

  CHECK_TEXT(fast, "27 words a second");
  CHECK_TEXT(slow, "3.1 words a second");
  CHECK(unknown == NULL);
  CHECK(wrong == NULL);
  CHECK_TEXT(soon, "About 1 second left");
  CHECK_TEXT(later, "About 40 seconds left");
  CHECK_TEXT(minutes, "About 3 minutes left");
}

int main(void) {
  test_engine_errors();
  test_reasons();
  test_numbers();
  return check_done();
}
