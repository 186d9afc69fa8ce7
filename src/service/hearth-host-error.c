/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "service/hearth-host-error.h"

G_DEFINE_QUARK(hearth - host - error - quark, hearth_host_error)

#define NAME(word) "dev.hearth.Engine.Error." word

static const struct {
  const char *name;
  const char *sentence; /* for an error that came without a text */
} table[] = {
    [EM_OK] = {NAME("Failed"), "Something failed without saying why."},
    [EM_ERR_NO_MEMORY] = {NAME("NoMemory"), "There is not enough free memory."},
    [EM_ERR_TOO_BIG] = {NAME("TooBig"), "The model does not fit into the memory of this computer."},
    [EM_ERR_IO] = {NAME("Io"), "The file could not be read."},
    [EM_ERR_NOT_FOUND] = {NAME("NotFound"), "The file does not exist."},
    [EM_ERR_FORMAT] = {NAME("Format"), "The file is not a usable model file."},
    [EM_ERR_LIMIT] = {NAME("Limit"), "The file or the request is larger than what is allowed."},
    [EM_ERR_UNSUPPORTED] = {NAME("Unsupported"), "This kind of model is not supported."},
    [EM_ERR_CHANGED] = {NAME("Changed"), "The file changed while it was in use."},
    [EM_ERR_ARGUMENT] = {NAME("Argument"), "A setting is outside its range."},
    [EM_ERR_CANCELLED] = {NAME("Cancelled"), "It was cancelled."},
    [EM_ERR_BUSY] = {NAME("Busy"), "Too many requests are waiting."},
    [EM_ERR_CONTEXT] = {NAME("Context"), "The conversation is too long for this model."},
    [EM_ERR_DEVICE] = {NAME("Device"), "The graphics card failed."},
    [EM_ERR_INTERNAL] = {NAME("Failed"), "The engine made a mistake."},
    [HEARTH_HOST_ERROR_NO_MODEL] = {NAME("NoModel"), "No model is loaded."},
    [HEARTH_HOST_ERROR_REFUSED] = {NAME("Refused"), "The model's conversation format does not take this conversation."},
};
G_STATIC_ASSERT(G_N_ELEMENTS(table) == HEARTH_HOST_ERROR_REFUSED + 1);

GError *hearth_host_error_new(em_status status, const em_error *error) {
  g_autofree char *sentence = NULL;
  int code = (int)status;
  size_t bytes;

  if (code < 0 || code > HEARTH_HOST_ERROR_REFUSED)
    code = EM_ERR_INTERNAL;
  if (!error || error->text[0] == '\0')
    return g_error_new_literal(HEARTH_HOST_ERROR, code, table[code].sentence);

  /* The text may hold names from a hostile file. */
  sentence = g_utf8_make_valid(error->text, -1);
  bytes = strspn(sentence, "abcdefghijklmnopqrstuvwxyz");
  if (bytes > 0 && sentence[bytes] == ' ')
    sentence[0] = g_ascii_toupper(sentence[0]);
  bytes = strlen(sentence);
  return g_error_new(HEARTH_HOST_ERROR, code, "%s%s", sentence, strchr(".!?", sentence[bytes - 1]) ? "" : ".");
}

const char *hearth_host_error_dbus_name(const GError *error) {
  if (error->domain != HEARTH_HOST_ERROR || error->code < 0 || error->code > HEARTH_HOST_ERROR_REFUSED)
    return NAME("Failed");
  return table[error->code].name;
}
