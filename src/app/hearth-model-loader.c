/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth"

#include "app/hearth-model-loader.h"

#include <glib/gi18n.h>

/* An engine that dies this often in a row while opening one model is not tried again by itself. */
#define MAX_DEATHS 2

/* An engine that dies twice within this time while the graphics card answers is started without it. */
#define STEADY_US (10 * 60 * G_USEC_PER_SEC)

/* Before this much time and progress a forecast would be a guess. */
#define FORECAST_AFTER_US G_USEC_PER_SEC
#define FORECAST_AFTER_FRACTION 0.02

struct _HearthModelLoader {
  GObject parent_instance;

  HearthEngineClient *client;
  HearthModelEntry *entry;
  HearthLoaderState state;
  HearthModelFacts *facts;
  GError *error;
  GCancellable *cancellable; /* of the load that counts; an older one's end is ignored */
  double fraction;
  gint64 started_us;
  guint deaths;
  gboolean by_name;       /* the load was asked for by name */
  gboolean met_engine;    /* the engine has been up since the load began */
  gint64 died_on_card_us;    /* when the engine last died while the graphics card answered; 0: never */
  gboolean avoids_card;
  gboolean was_cancelled; /* by the person */
};

enum { PROP_0, PROP_ENTRY, PROP_STATE, PROP_FRACTION, PROP_DEVICE_NOTICE, N_PROPS };
enum { SIGNAL_FAILED, N_SIGNALS };

static GParamSpec *properties[N_PROPS];
static guint signals[N_SIGNALS];

G_DEFINE_FINAL_TYPE(HearthModelLoader, hearth_model_loader, G_TYPE_OBJECT)

/* --- Auxiliary ------------------------------------------------------------------------------------------------------- */

static void set_state(HearthModelLoader *self, HearthLoaderState state) {
  if (self->state == state)
    return;
  self->state = state;
  g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_STATE]);
}

static void set_fraction(HearthModelLoader *self, double fraction) {
  if (self->fraction == fraction)
    return;
  self->fraction = fraction;
  g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_FRACTION]);
}

static void set_entry(HearthModelLoader *self, HearthModelEntry *entry) {
  if (g_set_object(&self->entry, entry))
    g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_ENTRY]);
}

/* Makes a load that is running end, and its end be ignored. */
static void drop_load(HearthModelLoader *self) {
  g_cancellable_cancel(self->cancellable);
  g_clear_object(&self->cancellable);
}

static void fail(HearthModelLoader *self, const GError *error) {
  g_autoptr(GError) copy = g_error_copy(error);

  g_clear_error(&self->error);
  self->error = g_error_copy(error);
  set_state(self, HEARTH_LOADER_FAILED);
  if (self->by_name)
    g_signal_emit(self, signals[SIGNAL_FAILED], 0, copy);
}

/* A driver that crashes takes the engine with it: what died with the card may live without. */
static void avoid_card(HearthModelLoader *self) {
  self->avoids_card = TRUE;
  hearth_engine_client_set_device(self->client, "cpu");
}

static gboolean has_card(HearthModelLoader *self) {
  return self->died_on_card_us != 0 || g_file_test("/dev/dri/renderD128", G_FILE_TEST_EXISTS) ||
         g_file_test("/dev/nvidia0", G_FILE_TEST_EXISTS);
}

static void take_facts(HearthModelLoader *self, HearthModelFacts *facts) {
  g_clear_pointer(&self->facts, hearth_model_facts_free);
  self->facts = facts;
  if (self->avoids_card && has_card(self))
    g_set_str(&facts->device_notice, _("The graphics card made the engine stop, so the processor answers."));
}

/* --- Callbacks ------------------------------------------------------------------------------------------------------- */

typedef struct {
  HearthModelLoader *self;
  GCancellable *cancellable;
} Load;

static void load_free(Load *load) {
  g_object_unref(load->self);
  g_object_unref(load->cancellable);
  g_free(load);
}

static void start(HearthModelLoader *self);

static void progress_cb(guint64 done, guint64 total, gpointer user_data) {
  Load *load = user_data;

  if (load->self->cancellable == load->cancellable && total > 0)
    set_fraction(load->self, CLAMP((double)done / (double)total, 0, 1));
}

static void loaded_cb(GObject *source, GAsyncResult *result, gpointer user_data) {
  Load *load = user_data;
  HearthModelLoader *self = load->self;
  gboolean starts_again = FALSE;
  g_autoptr(GError) error = NULL;
  g_autoptr(HearthModelFacts) facts = hearth_engine_client_load_finish(HEARTH_ENGINE_CLIENT(source), result, &error);

  if (self->cancellable == load->cancellable) {
    g_clear_object(&self->cancellable);
    if (facts) {
      take_facts(self, g_steal_pointer(&facts));
      self->deaths = 0;
      set_state(self, HEARTH_LOADER_READY);
    } else if (g_error_matches(error, HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_DIED) &&
               (!self->met_engine || ++self->deaths < MAX_DEATHS)) {
      /* The client keeps the load until the engine is up, and says when it is not going to be. */
      starts_again = TRUE;
      if (self->met_engine)
        avoid_card(self);
    } else {
      fail(self, error);
    }
  }
  if (starts_again)
    start(self);
  load_free(load);
}

static void start(HearthModelLoader *self) {
  Load *load = g_new0(Load, 1);

  drop_load(self);
  self->cancellable = g_cancellable_new();
  load->self = g_object_ref(self);
  load->cancellable = g_object_ref(self->cancellable);
  g_clear_pointer(&self->facts, hearth_model_facts_free);
  g_clear_error(&self->error);
  self->was_cancelled = FALSE;
  self->met_engine = hearth_engine_client_get_running(self->client);
  self->started_us = g_get_monotonic_time();
  set_fraction(self, -1);
  set_state(self, HEARTH_LOADER_LOADING);
  hearth_engine_client_load_async(self->client, hearth_model_entry_get_file(self->entry), progress_cb, load,
                                  self->cancellable, loaded_cb, load);
}

static void died_cb(HearthModelLoader *self) {
  /* A load that was running has failed by itself. */
  if (self->state != HEARTH_LOADER_READY)
    return;
  if (g_str_has_prefix(self->facts->device, "vulkan")) {
    gint64 now = g_get_monotonic_time();

    if (self->died_on_card_us != 0 && now - self->died_on_card_us < STEADY_US)
      avoid_card(self);
    self->died_on_card_us = now;
  }
  self->by_name = FALSE;
  start(self);
}

static void device_changed_cb(HearthModelLoader *self, const char *device, const char *sentence) {
  if (!self->facts)
    return;
  g_set_str(&self->facts->device, device);
  g_set_str(&self->facts->device_notice, sentence);
  if (!g_str_has_prefix(device, "vulkan"))
    self->facts->gpu_layers = 0;
  g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_DEVICE_NOTICE]);
}

static void running_cb(HearthModelLoader *self) {
  if (hearth_engine_client_get_running(self->client))
    self->met_engine = TRUE;
}

/* --- GObject overrides ----------------------------------------------------------------------------------------------- */

static void hearth_model_loader_get_property(GObject *object, guint id, GValue *value, GParamSpec *pspec) {
  HearthModelLoader *self = HEARTH_MODEL_LOADER(object);

  switch (id) {
  case PROP_ENTRY:
    g_value_set_object(value, self->entry);
    break;
  case PROP_STATE:
    g_value_set_int(value, (int)self->state);
    break;
  case PROP_FRACTION:
    g_value_set_double(value, self->fraction);
    break;
  case PROP_DEVICE_NOTICE:
    g_value_set_string(value, hearth_model_loader_get_device_notice(self));
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, pspec);
  }
}

static void hearth_model_loader_dispose(GObject *object) {
  HearthModelLoader *self = HEARTH_MODEL_LOADER(object);

  g_clear_object(&self->cancellable);
  g_clear_object(&self->client);
  g_clear_object(&self->entry);
  g_clear_pointer(&self->facts, hearth_model_facts_free);
  g_clear_error(&self->error);
  G_OBJECT_CLASS(hearth_model_loader_parent_class)->dispose(object);
}

static void hearth_model_loader_class_init(HearthModelLoaderClass *klass) {
  GObjectClass *object_class = G_OBJECT_CLASS(klass);
  GParamFlags flags = G_PARAM_READABLE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY;

  object_class->get_property = hearth_model_loader_get_property;
  object_class->dispose = hearth_model_loader_dispose;
  properties[PROP_ENTRY] = g_param_spec_object("entry", NULL, NULL, HEARTH_TYPE_MODEL_ENTRY, flags);
  properties[PROP_STATE] = g_param_spec_int("state", NULL, NULL, 0, HEARTH_LOADER_FAILED, 0, flags);
  properties[PROP_FRACTION] = g_param_spec_double("fraction", NULL, NULL, -1, 1, -1, flags);
  properties[PROP_DEVICE_NOTICE] = g_param_spec_string("device-notice", NULL, NULL, NULL, flags);
  g_object_class_install_properties(object_class, N_PROPS, properties);
  signals[SIGNAL_FAILED] = g_signal_new("failed", HEARTH_TYPE_MODEL_LOADER, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                                        G_TYPE_NONE, 1, G_TYPE_ERROR);
}

static void hearth_model_loader_init(HearthModelLoader *self) {
  self->fraction = -1;
}

/* --- Public API ------------------------------------------------------------------------------------------------------ */

HearthModelLoader *hearth_model_loader_new(HearthEngineClient *client) {
  g_return_val_if_fail(HEARTH_IS_ENGINE_CLIENT(client), NULL);

  HearthModelLoader *self = g_object_new(HEARTH_TYPE_MODEL_LOADER, NULL);
  self->client = g_object_ref(client);
  g_signal_connect_object(client, "died", G_CALLBACK(died_cb), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(client, "device-changed", G_CALLBACK(device_changed_cb), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(client, "notify::running", G_CALLBACK(running_cb), self, G_CONNECT_SWAPPED);
  return self;
}

HearthModelEntry *hearth_model_loader_get_entry(HearthModelLoader *self) {
  g_return_val_if_fail(HEARTH_IS_MODEL_LOADER(self), NULL);

  return self->entry;
}

HearthLoaderState hearth_model_loader_get_state(HearthModelLoader *self) {
  g_return_val_if_fail(HEARTH_IS_MODEL_LOADER(self), HEARTH_LOADER_IDLE);

  return self->state;
}

double hearth_model_loader_get_fraction(HearthModelLoader *self) {
  g_return_val_if_fail(HEARTH_IS_MODEL_LOADER(self), -1);

  return self->fraction;
}

const GError *hearth_model_loader_get_error(HearthModelLoader *self) {
  g_return_val_if_fail(HEARTH_IS_MODEL_LOADER(self), NULL);

  return self->error;
}

const HearthModelFacts *hearth_model_loader_get_facts(HearthModelLoader *self) {
  g_return_val_if_fail(HEARTH_IS_MODEL_LOADER(self), NULL);

  return self->facts;
}

const char *hearth_model_loader_get_device_notice(HearthModelLoader *self) {
  g_return_val_if_fail(HEARTH_IS_MODEL_LOADER(self), NULL);

  return self->facts && *self->facts->device_notice ? self->facts->device_notice : NULL;
}

gint64 hearth_model_loader_get_seconds_left(HearthModelLoader *self) {
  gint64 elapsed;

  g_return_val_if_fail(HEARTH_IS_MODEL_LOADER(self), -1);

  elapsed = g_get_monotonic_time() - self->started_us;
  if (self->state != HEARTH_LOADER_LOADING || elapsed < FORECAST_AFTER_US || self->fraction < FORECAST_AFTER_FRACTION)
    return -1;
  return (gint64)((double)elapsed / G_USEC_PER_SEC * (1 - self->fraction) / self->fraction + 0.5);
}

void hearth_model_loader_choose(HearthModelLoader *self, HearthModelEntry *entry) {
  g_return_if_fail(HEARTH_IS_MODEL_LOADER(self));
  g_return_if_fail(HEARTH_IS_MODEL_ENTRY(entry));

  if (self->state != HEARTH_LOADER_LOADING && self->state != HEARTH_LOADER_READY)
    set_entry(self, entry);
}

void hearth_model_loader_load(HearthModelLoader *self, HearthModelEntry *entry) {
  g_return_if_fail(HEARTH_IS_MODEL_LOADER(self));
  g_return_if_fail(HEARTH_IS_MODEL_ENTRY(entry));

  self->deaths = 0;
  self->died_on_card_us = 0;
  self->avoids_card = FALSE;
  hearth_engine_client_set_device(self->client, NULL);
  self->by_name = TRUE;
  set_entry(self, entry);
  start(self);
}

gboolean hearth_model_loader_ensure(HearthModelLoader *self) {
  g_return_val_if_fail(HEARTH_IS_MODEL_LOADER(self), FALSE);

  if (!self->entry)
    return FALSE;
  if (self->state == HEARTH_LOADER_LOADING || self->state == HEARTH_LOADER_READY)
    return TRUE;
  self->deaths = 0;
  self->by_name = FALSE;
  start(self);
  return TRUE;
}

void hearth_model_loader_prepare(HearthModelLoader *self) {
  g_return_if_fail(HEARTH_IS_MODEL_LOADER(self));

  if (self->state == HEARTH_LOADER_IDLE && !self->was_cancelled)
    hearth_model_loader_ensure(self);
}

void hearth_model_loader_cancel(HearthModelLoader *self) {
  g_return_if_fail(HEARTH_IS_MODEL_LOADER(self));

  if (self->state != HEARTH_LOADER_LOADING)
    return;
  drop_load(self);
  self->was_cancelled = TRUE;
  set_state(self, HEARTH_LOADER_IDLE);
}

void hearth_model_loader_forget(HearthModelLoader *self, HearthModelEntry *entry) {
  g_return_if_fail(HEARTH_IS_MODEL_LOADER(self));

  if (self->entry != entry)
    return;
  drop_load(self);
  if (self->state == HEARTH_LOADER_READY)
    hearth_engine_client_unload(self->client);
  g_clear_pointer(&self->facts, hearth_model_facts_free);
  set_entry(self, NULL);
  set_state(self, HEARTH_LOADER_IDLE);
}
