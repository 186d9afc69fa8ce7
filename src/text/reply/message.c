/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdlib.h>

#include "base/checked.h"
#include "text/reply/reply.h"

/* The call with this index, made if it is the next. */
static em_reply_call *find_call(em_reply_message *message, size_t index) {
  em_reply_call *calls;
  if (index < message->n_calls)
    return &message->calls[index];
  calls = em_realloc_array(message->calls, index + 1, sizeof *calls);
  if (!calls)
    return NULL;
  message->calls = calls;
  for (; message->n_calls <= index; message->n_calls++)
    calls[message->n_calls] = (em_reply_call){0};
  return &calls[index];
}

bool em_reply_message_take(void *user, const em_delta *delta) {
  em_reply_message *message = user;
  em_reply_call *call;
  if (delta->kind == EM_DELTA_CONTENT)
    return em_buffer_append(&message->content, delta->text, delta->bytes);
  if (delta->kind == EM_DELTA_THINKING)
    return em_buffer_append(&message->thinking, delta->text, delta->bytes);
  call = find_call(message, delta->call);
  if (!call)
    return false;
  return em_buffer_append(delta->kind == EM_DELTA_CALL      ? &call->name
                          : delta->kind == EM_DELTA_CALL_ID ? &call->id
                                                            : &call->arguments,
                          delta->text, delta->bytes);
}

void em_reply_message_clear(em_reply_message *message) {
  for (size_t i = 0; i < message->n_calls; i++) {
    em_buffer_clear(&message->calls[i].name);
    em_buffer_clear(&message->calls[i].id);
    em_buffer_clear(&message->calls[i].arguments);
  }
  free(message->calls);
  em_buffer_clear(&message->content);
  em_buffer_clear(&message->thinking);
  *message = (em_reply_message){0};
}
