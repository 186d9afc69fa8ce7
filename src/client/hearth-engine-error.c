/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "client/hearth-engine-client.h"

#define NAME(word) "dev.hearth.Engine.Error." word

static const GDBusErrorEntry entries[] = {
    {HEARTH_ENGINE_ERROR_FAILED, NAME("Failed")},       {HEARTH_ENGINE_ERROR_NO_MEMORY, NAME("NoMemory")},
    {HEARTH_ENGINE_ERROR_TOO_BIG, NAME("TooBig")},      {HEARTH_ENGINE_ERROR_IO, NAME("Io")},
    {HEARTH_ENGINE_ERROR_NOT_FOUND, NAME("NotFound")},  {HEARTH_ENGINE_ERROR_FORMAT, NAME("Format")},
    {HEARTH_ENGINE_ERROR_LIMIT, NAME("Limit")},         {HEARTH_ENGINE_ERROR_UNSUPPORTED, NAME("Unsupported")},
    {HEARTH_ENGINE_ERROR_CHANGED, NAME("Changed")},     {HEARTH_ENGINE_ERROR_ARGUMENT, NAME("Argument")},
    {HEARTH_ENGINE_ERROR_CANCELLED, NAME("Cancelled")}, {HEARTH_ENGINE_ERROR_BUSY, NAME("Busy")},
    {HEARTH_ENGINE_ERROR_CONTEXT, NAME("Context")},     {HEARTH_ENGINE_ERROR_DEVICE, NAME("Device")},
    {HEARTH_ENGINE_ERROR_NO_MODEL, NAME("NoModel")},    {HEARTH_ENGINE_ERROR_REFUSED, NAME("Refused")},
    {HEARTH_ENGINE_ERROR_DIED, NAME("Died")},
};
G_STATIC_ASSERT(G_N_ELEMENTS(entries) == HEARTH_ENGINE_ERROR_DIED + 1);

/* Registering makes GDBus turn the names into these codes by itself. */
GQuark hearth_engine_error_quark(void) {
  static gsize quark;

  g_dbus_error_register_error_domain("hearth-engine-error-quark", &quark, entries, G_N_ELEMENTS(entries));
  return (GQuark)quark;
}
