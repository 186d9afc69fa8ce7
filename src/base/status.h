/* Status codes and error details of Ember's core (layers 0-3).
 *
 * Every function that can fail returns an em_status; the caller may pass an em_error (or NULL) that receives the details.
 * The first error wins: a function that fails because one it called failed leaves the text of the inner one.
 * Failing never allocates. No file, request or cache can make the core abort.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum em_status {
  EM_OK = 0,
  EM_ERR_NO_MEMORY,   /* an allocation failed */
  EM_ERR_TOO_BIG,     /* it would not fit this computer's memory; nothing was allocated */
  EM_ERR_IO,          /* reading or writing failed */
  EM_ERR_NOT_FOUND,   /* no such file, key or item */
  EM_ERR_FORMAT,      /* not the format it claims to be, truncated, or against its rules */
  EM_ERR_LIMIT,       /* well formed, but past a limit of ours */
  EM_ERR_UNSUPPORTED, /* well formed, but of a kind this version cannot use; the text names it */
  EM_ERR_CHANGED,     /* the file changed, shrank or vanished while it was in use */
  EM_ERR_ARGUMENT,    /* the caller's argument is out of its range */
  EM_ERR_CANCELLED,   /* the caller asked for it to stop */
  EM_ERR_BUSY,        /* no slot or queue place is free */
  EM_ERR_CONTEXT,     /* the conversation does not fit the context */
  EM_ERR_DEVICE,      /* a GPU failed or was lost */
  EM_ERR_INTERNAL,    /* a defect of ours */
  EM_N_STATUS
} em_status;

#define EM_ERROR_TEXT_BYTES 256

typedef struct em_error {
  em_status code;                 /* EM_OK: no error yet */
  bool has_offset;                /* whether offset is meaningful */
  uint64_t offset;                /* byte position in the file or text at fault */
  char text[EM_ERROR_TEXT_BYTES]; /* one sentence without a full stop, UTF-8, NUL-terminated; names what is wrong */
} em_error;

/* Fills *error (if it is not NULL and holds no error yet) with code and the formatted sentence; returns code.
 * Text that does not fit is cut at a character boundary. Control characters are replaced by '?', so that hostile names
 * can be printed. */
em_status em_fail(em_error *error, em_status code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The same with the byte position at fault. */
em_status em_fail_at(em_error *error, em_status code, uint64_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* A stable lower-case word for a code ("format", "too-big", ...), for logs and JSON. Never NULL. */
const char *em_status_word(em_status code);

/* Runs expr (an em_status) and goes to the function's one `fail:` label when it is not EM_OK. The function declares
 * `em_status status = EM_OK;` and returns status from there. */
#define EM_TRY(expr)         \
  do {                       \
    status = (expr);         \
    if (status != EM_OK)     \
      goto fail;             \
  } while (0)

#define EM_MUST_USE __attribute__((warn_unused_result))
