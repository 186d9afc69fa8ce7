/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth"

#include "app/hearth-sentences.h"

#include "chat/hearth-chat-store.h"
#include "client/hearth-engine-client.h"
#include "library/hearth-library.h"

#include <glib/gi18n.h>

/* The engine sends a sentence of its own, which names the family, the sizes or the place. */
typedef enum {
  REASON_UNSAID,
  REASON_BEHIND, /* in brackets after ours */
  REASON_INSTEAD /* better than ours; our advice follows */
} Reason;

static const struct {
  HearthEngineError code;
  HearthRemedy remedy;
  Reason reason;
  const char *sentence, *advice;
} sentences[] = {
    {HEARTH_ENGINE_ERROR_FAILED, HEARTH_REMEDY_TRY_AGAIN, REASON_BEHIND, N_("Something went wrong in the engine."), NULL},
    {HEARTH_ENGINE_ERROR_NO_MEMORY, HEARTH_REMEDY_TRY_AGAIN, REASON_UNSAID,
     N_("This computer has run out of free memory. Closing other programs may help."), NULL},
    {HEARTH_ENGINE_ERROR_TOO_BIG, HEARTH_REMEDY_TRY_AGAIN, REASON_INSTEAD,
     N_("This model is too big for the memory that is free."), N_("Close other programs, or use a smaller model.")},
    {HEARTH_ENGINE_ERROR_IO, HEARTH_REMEDY_TRY_AGAIN, REASON_BEHIND, N_("The model file could not be read."), NULL},
    {HEARTH_ENGINE_ERROR_NOT_FOUND, HEARTH_REMEDY_ADD_MODEL, REASON_UNSAID,
     N_("The model file is not there any more."), NULL},
    {HEARTH_ENGINE_ERROR_FORMAT, HEARTH_REMEDY_ADD_MODEL, REASON_BEHIND,
     N_("The model file is damaged or was not downloaded completely. Downloading it again usually helps."), NULL},
    {HEARTH_ENGINE_ERROR_LIMIT, HEARTH_REMEDY_ADD_MODEL, REASON_BEHIND,
     N_("Hearth does not trust this model file, because it claims unreasonable sizes."), NULL},
    {HEARTH_ENGINE_ERROR_UNSUPPORTED, HEARTH_REMEDY_ADD_MODEL, REASON_INSTEAD,
     N_("Hearth cannot run this kind of model yet."), NULL},
    {HEARTH_ENGINE_ERROR_CHANGED, HEARTH_REMEDY_TRY_AGAIN, REASON_UNSAID,
     N_("The model file was changed or removed while it was in use. Your conversation is safe."), NULL},
    {HEARTH_ENGINE_ERROR_ARGUMENT, HEARTH_REMEDY_TRY_AGAIN, REASON_BEHIND,
     N_("The engine could not understand the request."), NULL},
    {HEARTH_ENGINE_ERROR_CANCELLED, HEARTH_REMEDY_TRY_AGAIN, REASON_UNSAID, N_("This was cancelled."), NULL},
    {HEARTH_ENGINE_ERROR_BUSY, HEARTH_REMEDY_TRY_AGAIN, REASON_UNSAID,
     N_("The model is busy with other answers. Try again when they are done."), NULL},
    {HEARTH_ENGINE_ERROR_CONTEXT, HEARTH_REMEDY_NEW_CONVERSATION, REASON_UNSAID,
     N_("This conversation has grown longer than the model can remember. A new conversation starts afresh."), NULL},
    {HEARTH_ENGINE_ERROR_DEVICE, HEARTH_REMEDY_TRY_AGAIN, REASON_UNSAID,
     N_("The graphics card stopped responding. Your conversation is safe."), NULL},
    {HEARTH_ENGINE_ERROR_NO_MODEL, HEARTH_REMEDY_TRY_AGAIN, REASON_UNSAID, N_("The model is not ready."), NULL},
    {HEARTH_ENGINE_ERROR_REFUSED, HEARTH_REMEDY_NEW_CONVERSATION, REASON_BEHIND,
     N_("This model's conversation format does not take this conversation. A new conversation starts afresh."), NULL},
    {HEARTH_ENGINE_ERROR_DIED, HEARTH_REMEDY_TRY_AGAIN, REASON_UNSAID,
     N_("The engine stopped unexpectedly; it is starting again. Your conversation is safe."), NULL},
};

static char *with_reason(const char *sentence, const char *reason) {
  if (!reason || !*reason)
    return g_strdup(sentence);
  /* Translators: a sentence, then the technical reason in brackets. */
  return g_strdup_printf(_("%s (%s)"), sentence, reason);
}

char *hearth_sentence_for_error(const GError *error, HearthRemedy *remedy) {
  HearthRemedy unused;

  g_return_val_if_fail(error != NULL, NULL);

  if (!remedy)
    remedy = &unused;
  *remedy = HEARTH_REMEDY_NONE;
  if (error->domain == HEARTH_ENGINE_ERROR) {
    for (guint i = 0; i < G_N_ELEMENTS(sentences); i++) {
      if ((int)sentences[i].code != error->code)
        continue;
      *remedy = sentences[i].remedy;
      if (sentences[i].reason == REASON_INSTEAD) {
        const char *said = *error->message ? error->message : _(sentences[i].sentence);

        return sentences[i].advice ? g_strdup_printf("%s %s", said, _(sentences[i].advice)) : g_strdup(said);
      }
      return with_reason(_(sentences[i].sentence), sentences[i].reason == REASON_BEHIND ? error->message : NULL);
    }
  }
  if (error->domain == HEARTH_LIBRARY_ERROR)
    return g_strdup(error->message);
  if (g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE)) {
    *remedy = HEARTH_REMEDY_SAVE_AGAIN;
    return g_strdup(_("The disk is full, so this could not be saved. Free some space and try again."));
  }
  if (g_error_matches(error, HEARTH_CHAT_STORE_ERROR, HEARTH_CHAT_STORE_ERROR_DAMAGED))
    return g_strdup(_("This conversation is damaged on the disk and could not be read."));
  if (g_error_matches(error, HEARTH_CHAT_STORE_ERROR, HEARTH_CHAT_STORE_ERROR_TOO_NEW))
    return g_strdup(_("Your conversations were written by a newer version of Hearth, which can open them."));
  if (error->domain == HEARTH_CHAT_STORE_ERROR) {
    *remedy = HEARTH_REMEDY_SAVE_AGAIN;
    return with_reason(_("This could not be saved."), error->message);
  }
  *remedy = HEARTH_REMEDY_TRY_AGAIN;
  return with_reason(_("Something went wrong."), error->message);
}

const char *hearth_remedy_get_label(HearthRemedy remedy) {
  switch (remedy) {
  case HEARTH_REMEDY_TRY_AGAIN:
    return _("Try Again");
  case HEARTH_REMEDY_ADD_MODEL:
    return _("Add a Model…");
  case HEARTH_REMEDY_NEW_CONVERSATION:
    return _("New Conversation");
  case HEARTH_REMEDY_SAVE_AGAIN:
    return _("Save Again");
  case HEARTH_REMEDY_NONE:
  default:
    return NULL;
  }
}

char *hearth_sentence_for_speed(double words_per_second) {
  guint whole;

  if (!(words_per_second > 0))
    return NULL;
  if (words_per_second < 9.95)
    return g_strdup_printf(_("%.1f words a second"), words_per_second);
  whole = (guint)MIN(words_per_second + 0.5, 1e6);
  return g_strdup_printf(ngettext("%u word a second", "%u words a second", whole), whole);
}

char *hearth_sentence_for_time_left(gint64 seconds) {
  guint n;

  if (seconds < 1)
    return g_strdup(_("Almost done"));
  if (seconds < 90) {
    n = (guint)seconds;
    return g_strdup_printf(ngettext("About %u second left", "About %u seconds left", n), n);
  }
  n = (guint)MIN((seconds + 30) / 60, 6000);
  return g_strdup_printf(ngettext("About %u minute left", "About %u minutes left", n), n);
}
