/* SPDX-License-Identifier: GPL-3.0-or-later */
#define G_LOG_DOMAIN "hearth"

#include "app/hearth-conversation.h"

#include <glib/gi18n.h>

/* An answer is saved at least every second; the timer leaves room for a late main loop. */
#define CHECKPOINT_MS 800

#define TITLE_CHARACTERS 48

struct _HearthConversation {
  GObject parent_instance;

  HearthChatStore *store;
  HearthModelLoader *loader;
  HearthEngineClient *client;

  gint64 id, updated_us;
  char *title, *unsent;
  GListStore *messages; /* NULL: not read yet */

  gboolean waits_for_model;
  gboolean is_stopped;         /* the person has stopped the answer */
  HearthAnswer *answer;        /* being written, or NULL */
  HearthMessageItem *item;     /* its message, from the first text on */
  GPtrArray *unsaved;          /* ended answers that could not be saved, oldest first */
  guint checkpoint_source;
  gsize saved_bytes;           /* of item, at the last checkpoint */

  char *activity, *notice;
  HearthRemedy remedy;
};

enum { PROP_0, PROP_TITLE, PROP_BUSY, PROP_ACTIVITY, PROP_NOTICE, N_PROPS };
enum { SIGNAL_SAVED, SIGNAL_ANSWERED, N_SIGNALS };

static GParamSpec *properties[N_PROPS];
static guint signals[N_SIGNALS];

G_DEFINE_FINAL_TYPE(HearthConversation, hearth_conversation, G_TYPE_OBJECT)

/* --- Auxiliary ------------------------------------------------------------------------------------------------------- */

static void set_activity(HearthConversation *self, const char *activity) {
  if (g_set_str(&self->activity, activity))
    g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_ACTIVITY]);
}

static void set_notice(HearthConversation *self, const char *sentence, HearthRemedy remedy) {
  if (g_strcmp0(self->notice, sentence) == 0 && self->remedy == remedy)
    return;
  self->remedy = remedy;
  g_set_str(&self->notice, sentence);
  g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_NOTICE]);
}

static void set_error_notice(HearthConversation *self, const GError *error) {
  HearthRemedy remedy;
  g_autofree char *sentence = hearth_sentence_for_error(error, &remedy);

  set_notice(self, sentence, remedy);
}

static void notify_busy(HearthConversation *self) {
  g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_BUSY]);
}

/* The first words of a message, on one line. */
static char *title_from_text(const char *text) {
  g_autofree char *line = g_strdup(text);
  const char *end;

  g_strdelimit(line, "\t\r\n", ' ');
  g_strstrip(line);
  if (g_utf8_strlen(line, -1) <= TITLE_CHARACTERS)
    return g_steal_pointer(&line);
  end = g_utf8_offset_to_pointer(line, TITLE_CHARACTERS);
  for (const char *p = end; p > line + TITLE_CHARACTERS / 2; p--) {
    if (*p == ' ') {
      end = p;
      break;
    }
  }
  g_autofree char *cut = g_strndup(line, (gsize)(end - line));
  return g_strdup_printf("%s…", g_strchomp(cut));
}

static HearthMessageItem *get_message(HearthConversation *self, guint i) {
  g_autoptr(HearthMessageItem) item = g_list_model_get_item(G_LIST_MODEL(self->messages), i);

  return item; /* the list holds it */
}

/* A conversation that ends without a whole answer offers to get one. */
static void offer_answer(HearthConversation *self) {
  guint n = g_list_model_get_n_items(G_LIST_MODEL(self->messages));
  HearthMessageItem *last = n > 0 ? get_message(self, n - 1) : NULL;

  if (!last)
    return;
  if (hearth_message_item_get_role(last) == HEARTH_ROLE_USER)
    set_notice(self, _("This message has not been answered."), HEARTH_REMEDY_TRY_AGAIN);
  else if (hearth_message_item_get_state(last) == HEARTH_MESSAGE_INTERRUPTED)
    set_notice(self, _("This answer was cut off."), HEARTH_REMEDY_TRY_AGAIN);
}

static void read_messages(HearthConversation *self) {
  g_autoptr(GPtrArray) rows = NULL;
  g_autoptr(GPtrArray) items = g_ptr_array_new_with_free_func(g_object_unref);
  g_autoptr(GError) error = NULL;

  self->messages = g_list_store_new(HEARTH_TYPE_MESSAGE_ITEM);
  if (self->id == 0)
    return;
  rows = hearth_chat_store_messages(self->store, self->id, &error);
  if (!rows) {
    set_error_notice(self, error);
    return;
  }
  for (guint i = 0; i < rows->len; i++)
    g_ptr_array_add(items, hearth_message_item_new_from_message(g_ptr_array_index(rows, i)));
  g_list_store_splice(self->messages, 0, 0, items->pdata, items->len);
  offer_answer(self);
}

/* Saves one answer as it is now, adding it to the store when it is not there yet. */
static gboolean save_answer(HearthConversation *self, HearthMessageItem *item, GError **error) {
  const char *text = hearth_document_get_text(hearth_message_item_get_document(item));
  HearthMessageState state = hearth_message_item_get_state(item);

  if (hearth_message_item_get_id(item) == 0) {
    gint64 id = hearth_chat_store_add_message(self->store, self->id, HEARTH_ROLE_ASSISTANT, HEARTH_MESSAGE_STREAMING, text,
                                              hearth_message_item_get_model(item), error);
    if (id == 0)
      return FALSE;
    hearth_message_item_set_id(item, id);
    if (state == HEARTH_MESSAGE_STREAMING)
      return TRUE;
  }
  return hearth_chat_store_update_message(self->store, hearth_message_item_get_id(item), text, state,
                                          hearth_message_item_get_words_per_second(item), error);
}

/* What asked to save again is settled once nothing is unsaved. */
static void clear_save_notice(HearthConversation *self) {
  if (self->unsaved->len == 0 && self->remedy == HEARTH_REMEDY_SAVE_AGAIN)
    set_notice(self, NULL, HEARTH_REMEDY_NONE);
}

/* Saves what could not be saved, in its order. */
static gboolean save_unsaved(HearthConversation *self, GError **error) {
  while (self->unsaved->len > 0) {
    if (!save_answer(self, g_ptr_array_index(self->unsaved, 0), error))
      return FALSE;
    g_ptr_array_remove_index(self->unsaved, 0);
  }
  return TRUE;
}

static gboolean checkpoint_cb(gpointer user_data) {
  HearthConversation *self = user_data;
  gsize bytes = hearth_document_get_bytes(hearth_message_item_get_document(self->item));
  g_autoptr(GError) error = NULL;

  if (bytes == self->saved_bytes)
    return G_SOURCE_CONTINUE;
  if (save_unsaved(self, &error) && save_answer(self, self->item, &error)) {
    self->saved_bytes = bytes;
    clear_save_notice(self);
  } else {
    set_error_notice(self, error);
  }
  return G_SOURCE_CONTINUE;
}

/* The conversation as the engine gets it, up to the last message of the person's. Of several answers to one message only the
 * last counts: the others were cut off. Messages of the person's that no answer parts are one: many models know no other
 * conversation than one in which the two take turns. */
static void build_request(HearthConversation *self, GPtrArray *roles, GPtrArray *texts) {
  guint n = g_list_model_get_n_items(G_LIST_MODEL(self->messages));
  gboolean after_question = FALSE;

  while (n > 0 && hearth_message_item_get_role(get_message(self, n - 1)) == HEARTH_ROLE_ASSISTANT)
    n--;
  for (guint i = 0; i < n; i++) {
    HearthMessageItem *item = get_message(self, i);
    const char *text = hearth_document_get_text(hearth_message_item_get_document(item));
    gboolean is_answer = hearth_message_item_get_role(item) == HEARTH_ROLE_ASSISTANT;

    if (is_answer && hearth_message_item_get_role(get_message(self, i + 1)) == HEARTH_ROLE_ASSISTANT)
      continue;
    if (!is_answer && after_question) {
      char **last = (char **)&texts->pdata[texts->len - 1];
      char *joined = g_strconcat(*last, "\n\n", text, NULL);

      g_free(*last);
      *last = joined;
      continue;
    }
    g_ptr_array_add(roles, (gpointer)(is_answer ? "assistant" : "user"));
    g_ptr_array_add(texts, g_strdup(text));
    after_question = !is_answer;
  }
}

/* --- One answer ------------------------------------------------------------------------------------------------------ */

static void text_cb(HearthConversation *self, const char *delta) {
  if (!self->item) {
    HearthModelEntry *entry = hearth_model_loader_get_entry(self->loader);

    self->item = hearth_message_item_new(HEARTH_ROLE_ASSISTANT, HEARTH_MESSAGE_STREAMING, delta,
                                         entry ? hearth_model_entry_get_name(entry) : NULL);
    self->saved_bytes = 0;
    set_activity(self, NULL);
    g_list_store_append(self->messages, self->item);
    self->checkpoint_source = g_timeout_add(CHECKPOINT_MS, checkpoint_cb, self);
    checkpoint_cb(self);
    return;
  }
  hearth_message_item_append(self->item, delta);
}

static void reading_cb(HearthConversation *self, guint done, guint total) {
  if (self->item)
    return;
  if (done < total && total > 0) {
    /* Translators: the model reads what was written before it answers; %u is a percentage. */
    g_autofree char *activity = g_strdup_printf(_("Reading, %u %%"), (guint)(100 * (guint64)done / total));

    set_activity(self, activity);
  } else {
    set_activity(self, _("Thinking"));
  }
}

static void finish_item(HearthConversation *self, HearthMessageState state, double words_per_second) {
  g_autoptr(HearthMessageItem) item = g_steal_pointer(&self->item);
  g_autoptr(GError) error = NULL;

  g_clear_handle_id(&self->checkpoint_source, g_source_remove);
  hearth_message_item_finish(item, state, words_per_second);
  g_ptr_array_add(self->unsaved, g_object_ref(item));
  if (save_unsaved(self, &error))
    clear_save_notice(self);
  else
    set_error_notice(self, error);
  g_signal_emit(self, signals[SIGNAL_ANSWERED], 0, item);
}

static void finished_cb(HearthConversation *self) {
  g_autoptr(HearthAnswer) answer = g_steal_pointer(&self->answer);
  HearthFinish finish = hearth_answer_get_finish(answer);
  gboolean has_text = self->item != NULL;
  gboolean is_cut_off = finish == HEARTH_FINISH_CANCELLED && !self->is_stopped; /* another model took its place */
  HearthMessageState state = HEARTH_MESSAGE_COMPLETE;

  g_signal_handlers_disconnect_by_data(answer, self);
  set_activity(self, NULL);
  if (finish == HEARTH_FINISH_CANCELLED && self->is_stopped)
    state = HEARTH_MESSAGE_STOPPED;
  else if (finish == HEARTH_FINISH_ERROR || is_cut_off)
    state = HEARTH_MESSAGE_INTERRUPTED;

  /* Before the answer's end is saved: a full disk is the more urgent thing to say. */
  if (finish == HEARTH_FINISH_ERROR) {
    set_error_notice(self, hearth_answer_get_error(answer));
  } else if (finish == HEARTH_FINISH_CONTEXT) {
    g_autoptr(GError) full = g_error_new_literal(HEARTH_ENGINE_ERROR, HEARTH_ENGINE_ERROR_CONTEXT, "");

    set_error_notice(self, full);
  } else if (!has_text && finish != HEARTH_FINISH_CANCELLED) {
    set_notice(self, _("The model had nothing to say."), HEARTH_REMEDY_TRY_AGAIN);
  } else if (is_cut_off && has_text) {
    set_notice(self, _("This answer was cut off."), HEARTH_REMEDY_TRY_AGAIN);
  } else if (!has_text) {
    offer_answer(self);
  }
  if (has_text)
    finish_item(self, state, hearth_answer_get_words_per_second(answer));
  notify_busy(self);
}

static void start_answer(HearthConversation *self) {
  g_autoptr(GPtrArray) roles = g_ptr_array_new();
  g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
  HearthGenerateOptions options = {.temperature = -1};

  self->waits_for_model = FALSE;
  self->is_stopped = FALSE;
  build_request(self, roles, texts);
  set_activity(self, _("Thinking"));
  self->answer = hearth_engine_client_generate(self->client, (const char *const *)roles->pdata,
                                               (const char *const *)texts->pdata, roles->len, &options);
  g_signal_connect_object(self->answer, "text", G_CALLBACK(text_cb), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(self->answer, "reading", G_CALLBACK(reading_cb), self, G_CONNECT_SWAPPED);
  g_signal_connect_object(self->answer, "finished", G_CALLBACK(finished_cb), self, G_CONNECT_SWAPPED);
  if (hearth_answer_get_finished(self->answer))
    finished_cb(self);
}

/* Gets the model ready if need be, then asks it. */
static void ask(HearthConversation *self) {
  set_notice(self, NULL, HEARTH_REMEDY_NONE);
  if (hearth_model_loader_get_state(self->loader) == HEARTH_LOADER_READY) {
    start_answer(self);
  } else if (hearth_model_loader_get_entry(self->loader)) {
    self->waits_for_model = TRUE;
    set_activity(self, _("Waiting for the model"));
    hearth_model_loader_ensure(self->loader);
  } else {
    set_notice(self, _("Choose a model to answer this."), HEARTH_REMEDY_ADD_MODEL);
  }
  notify_busy(self);
}

static void loader_state_cb(HearthConversation *self) {
  if (!self->waits_for_model)
    return;
  switch (hearth_model_loader_get_state(self->loader)) {
  case HEARTH_LOADER_READY:
    start_answer(self);
    break;
  case HEARTH_LOADER_FAILED:
    self->waits_for_model = FALSE;
    set_activity(self, NULL);
    set_error_notice(self, hearth_model_loader_get_error(self->loader));
    notify_busy(self);
    break;
  case HEARTH_LOADER_IDLE:
    self->waits_for_model = FALSE;
    set_activity(self, NULL);
    offer_answer(self);
    notify_busy(self);
    break;
  case HEARTH_LOADER_LOADING:
  default:
    break;
  }
}

/* --- GObject overrides ----------------------------------------------------------------------------------------------- */

static void hearth_conversation_get_property(GObject *object, guint id, GValue *value, GParamSpec *pspec) {
  HearthConversation *self = HEARTH_CONVERSATION(object);

  switch (id) {
  case PROP_TITLE:
    g_value_set_string(value, self->title);
    break;
  case PROP_BUSY:
    g_value_set_boolean(value, hearth_conversation_get_busy(self));
    break;
  case PROP_ACTIVITY:
    g_value_set_string(value, self->activity);
    break;
  case PROP_NOTICE:
    g_value_set_string(value, self->notice);
    break;
  default:
    G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, pspec);
  }
}

static void hearth_conversation_dispose(GObject *object) {
  HearthConversation *self = HEARTH_CONVERSATION(object);

  g_clear_handle_id(&self->checkpoint_source, g_source_remove);
  if (self->answer)
    hearth_answer_stop(self->answer);
  g_clear_object(&self->answer);
  g_clear_object(&self->item);
  g_clear_pointer(&self->unsaved, g_ptr_array_unref);
  g_clear_object(&self->messages);
  g_clear_object(&self->store);
  g_clear_object(&self->loader);
  g_clear_object(&self->client);
  G_OBJECT_CLASS(hearth_conversation_parent_class)->dispose(object);
}

static void hearth_conversation_finalize(GObject *object) {
  HearthConversation *self = HEARTH_CONVERSATION(object);

  g_free(self->title);
  g_free(self->unsent);
  g_free(self->activity);
  g_free(self->notice);
  G_OBJECT_CLASS(hearth_conversation_parent_class)->finalize(object);
}

static void hearth_conversation_class_init(HearthConversationClass *klass) {
  GObjectClass *object_class = G_OBJECT_CLASS(klass);
  GParamFlags flags = G_PARAM_READABLE | G_PARAM_STATIC_STRINGS | G_PARAM_EXPLICIT_NOTIFY;

  object_class->get_property = hearth_conversation_get_property;
  object_class->dispose = hearth_conversation_dispose;
  object_class->finalize = hearth_conversation_finalize;
  properties[PROP_TITLE] = g_param_spec_string("title", NULL, NULL, NULL, flags);
  properties[PROP_BUSY] = g_param_spec_boolean("busy", NULL, NULL, FALSE, flags);
  properties[PROP_ACTIVITY] = g_param_spec_string("activity", NULL, NULL, NULL, flags);
  properties[PROP_NOTICE] = g_param_spec_string("notice", NULL, NULL, NULL, flags);
  g_object_class_install_properties(object_class, N_PROPS, properties);
  signals[SIGNAL_SAVED] = g_signal_new("saved", HEARTH_TYPE_CONVERSATION, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                                       G_TYPE_NONE, 0);
  signals[SIGNAL_ANSWERED] = g_signal_new("answered", HEARTH_TYPE_CONVERSATION, G_SIGNAL_RUN_LAST, 0, NULL, NULL, NULL,
                                          G_TYPE_NONE, 1, HEARTH_TYPE_MESSAGE_ITEM);
}

static void hearth_conversation_init(HearthConversation *self) {
  self->unsaved = g_ptr_array_new_with_free_func(g_object_unref);
}

/* --- Public API ------------------------------------------------------------------------------------------------------ */

HearthConversation *hearth_conversation_new(HearthChatStore *store, HearthModelLoader *loader, HearthEngineClient *client,
                                            const HearthConversationRow *row) {
  g_return_val_if_fail(HEARTH_IS_CHAT_STORE(store), NULL);
  g_return_val_if_fail(HEARTH_IS_MODEL_LOADER(loader), NULL);
  g_return_val_if_fail(HEARTH_IS_ENGINE_CLIENT(client), NULL);

  HearthConversation *self = g_object_new(HEARTH_TYPE_CONVERSATION, NULL);
  self->store = g_object_ref(store);
  self->loader = g_object_ref(loader);
  self->client = g_object_ref(client);
  self->id = row ? row->id : 0;
  self->title = g_strdup(row && row->title ? row->title : _("New Conversation"));
  self->updated_us = row ? row->updated_us : g_get_real_time();
  g_signal_connect_object(loader, "notify::state", G_CALLBACK(loader_state_cb), self, G_CONNECT_SWAPPED);
  return self;
}

gint64 hearth_conversation_get_id(HearthConversation *self) {
  g_return_val_if_fail(HEARTH_IS_CONVERSATION(self), 0);

  return self->id;
}

const char *hearth_conversation_get_title(HearthConversation *self) {
  g_return_val_if_fail(HEARTH_IS_CONVERSATION(self), NULL);

  return self->title;
}

gint64 hearth_conversation_get_updated_us(HearthConversation *self) {
  g_return_val_if_fail(HEARTH_IS_CONVERSATION(self), 0);

  return self->updated_us;
}

gboolean hearth_conversation_get_busy(HearthConversation *self) {
  g_return_val_if_fail(HEARTH_IS_CONVERSATION(self), FALSE);

  return self->waits_for_model || self->answer != NULL;
}

const char *hearth_conversation_get_activity(HearthConversation *self) {
  g_return_val_if_fail(HEARTH_IS_CONVERSATION(self), NULL);

  return self->activity;
}

const char *hearth_conversation_get_notice(HearthConversation *self) {
  g_return_val_if_fail(HEARTH_IS_CONVERSATION(self), NULL);

  return self->notice;
}

HearthRemedy hearth_conversation_get_remedy(HearthConversation *self) {
  g_return_val_if_fail(HEARTH_IS_CONVERSATION(self), HEARTH_REMEDY_NONE);

  return self->remedy;
}

GListModel *hearth_conversation_get_messages(HearthConversation *self) {
  g_return_val_if_fail(HEARTH_IS_CONVERSATION(self), NULL);

  if (!self->messages)
    read_messages(self);
  return G_LIST_MODEL(self->messages);
}

const char *hearth_conversation_get_unsent(HearthConversation *self) {
  g_return_val_if_fail(HEARTH_IS_CONVERSATION(self), NULL);

  return self->unsent ? self->unsent : "";
}

void hearth_conversation_set_unsent(HearthConversation *self, const char *text) {
  g_return_if_fail(HEARTH_IS_CONVERSATION(self));

  g_set_str(&self->unsent, text);
}

gboolean hearth_conversation_rename(HearthConversation *self, const char *title, GError **error) {
  g_return_val_if_fail(HEARTH_IS_CONVERSATION(self), FALSE);
  g_return_val_if_fail(title != NULL, FALSE);

  if (self->id != 0 && !hearth_chat_store_rename(self->store, self->id, title, error))
    return FALSE;
  if (g_set_str(&self->title, title))
    g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_TITLE]);
  return TRUE;
}

gboolean hearth_conversation_send(HearthConversation *self, const char *text, GError **error) {
  g_autoptr(HearthMessageItem) item = NULL;
  g_autofree char *title = NULL;
  gint64 id, message = 0;

  g_return_val_if_fail(HEARTH_IS_CONVERSATION(self), FALSE);
  g_return_val_if_fail(text != NULL, FALSE);
  g_return_val_if_fail(!hearth_conversation_get_busy(self), FALSE);

  hearth_conversation_get_messages(self);
  if (self->id == 0) {
    title = title_from_text(text);
    id = hearth_chat_store_begin(self->store, title, text, &message, error);
    if (id == 0)
      return FALSE;
    self->id = id;
    g_set_str(&self->title, title);
    g_object_notify_by_pspec(G_OBJECT(self), properties[PROP_TITLE]);
  } else {
    message =
        hearth_chat_store_add_message(self->store, self->id, HEARTH_ROLE_USER, HEARTH_MESSAGE_COMPLETE, text, NULL, error);
    if (message == 0)
      return FALSE;
  }
  self->updated_us = g_get_real_time();

  item = hearth_message_item_new(HEARTH_ROLE_USER, HEARTH_MESSAGE_COMPLETE, text, NULL);
  hearth_message_item_set_id(item, message);
  g_list_store_append(self->messages, item);
  g_signal_emit(self, signals[SIGNAL_SAVED], 0);
  hearth_conversation_save(self);
  ask(self);
  return TRUE;
}

void hearth_conversation_stop(HearthConversation *self) {
  g_return_if_fail(HEARTH_IS_CONVERSATION(self));

  if (self->answer) {
    self->is_stopped = TRUE;
    hearth_answer_stop(self->answer);
  } else if (self->waits_for_model) {
    self->waits_for_model = FALSE;
    set_activity(self, NULL);
    offer_answer(self);
    notify_busy(self);
  }
}

void hearth_conversation_try_again(HearthConversation *self) {
  g_return_if_fail(HEARTH_IS_CONVERSATION(self));

  if (hearth_conversation_get_busy(self) || g_list_model_get_n_items(hearth_conversation_get_messages(self)) == 0)
    return;
  ask(self);
}

void hearth_conversation_save(HearthConversation *self) {
  g_autoptr(GError) error = NULL;

  g_return_if_fail(HEARTH_IS_CONVERSATION(self));

  if (save_unsaved(self, &error) && (!self->item || save_answer(self, self->item, &error)))
    clear_save_notice(self);
  else
    set_error_notice(self, error);
}
