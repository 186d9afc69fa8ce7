/* The core's log: one callback for the whole process. Without one, messages go nowhere. */
#pragma once

typedef enum em_log_level { EM_LOG_DEBUG, EM_LOG_INFO, EM_LOG_WARNING, EM_LOG_ERROR } em_log_level;

typedef void (*em_log_fn)(void *user, em_log_level level, const char *text);

/* Sets the callback (NULL: none). Call it before other threads exist. The callback may run on any thread. */
void em_log_set(em_log_fn fn, void *user);

/* Formats one message of at most 511 bytes and hands it to the callback. Thread-safe; does not allocate. */
void em_log(em_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
