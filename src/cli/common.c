/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/cli.h"

#include "hardware/devices.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int hearth_cli_fail(const em_error *error) {
  if (error->has_offset)
    fprintf(stderr, "hearth-engine: %s (at byte %llu)\n", error->text, (unsigned long long)error->offset);
  else
    fprintf(stderr, "hearth-engine: %s\n", error->text);
  return HEARTH_CLI_FAILED;
}

em_status hearth_cli_read_input(size_t max_bytes, em_buffer *out, em_error *error) {
  char chunk[65536];

  for (;;) {
    ssize_t n = read(STDIN_FILENO, chunk, sizeof chunk);

    if (n == 0)
      return EM_OK;
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0)
      return em_fail(error, EM_ERR_IO, "standard input cannot be read: %s", strerror(errno));
    if ((size_t)n > max_bytes - out->bytes)
      return em_fail(error, EM_ERR_LIMIT, "standard input has more than %zu bytes", max_bytes);
    if (!em_buffer_append(out, chunk, (size_t)n))
      return em_fail(error, EM_ERR_NO_MEMORY, "there is not enough memory for the input");
  }
}

em_status hearth_cli_print(em_buffer *buffer, em_error *error) {
  em_status status = EM_OK;

  if (buffer->failed)
    status = em_fail(error, EM_ERR_NO_MEMORY, "there is not enough memory for the output");
  else if (fwrite(buffer->data ? buffer->data : "", 1, buffer->bytes, stdout) != buffer->bytes || fflush(stdout) != 0)
    status = em_fail(error, EM_ERR_IO, "standard output cannot be written: %s", strerror(errno));
  em_buffer_clear(buffer);
  return status;
}

em_status hearth_cli_parse_tokens(const char *text, size_t bytes, em_tokens *out, em_error *error) {
  size_t i = 0;

  while (i < bytes) {
    int64_t id = 0;

    if (strchr(" \t\r\n,[]", text[i]) && text[i] != '\0') {
      i++;
      continue;
    }
    if (text[i] < '0' || text[i] > '9')
      return em_fail_at(error, EM_ERR_FORMAT, i, "the token ids are not numbers separated by commas");
    for (; i < bytes && text[i] >= '0' && text[i] <= '9' && id <= INT32_MAX; i++)
      id = id * 10 + (text[i] - '0');
    if (id > INT32_MAX)
      return em_fail_at(error, EM_ERR_LIMIT, i, "a token id is too large");
    if (!em_tokens_append(out, (int32_t)id))
      return em_fail(error, EM_ERR_NO_MEMORY, "there is not enough memory for the tokens");
  }
  return EM_OK;
}

static void print_notice(void *user, const char *device, const char *sentence) {
  fprintf(stderr, "hearth-engine: %s\n", sentence);
}

em_status hearth_cli_engine_params(const char *device, uint32_t n_threads, em_engine_params *out, em_error *error) {
  *out = (em_engine_params){
      .backend = {.n_threads = n_threads, .max_isa = EM_N_ISAS - 1}, .kv_type = EM_TYPE_F16, .notice = print_notice};
  return em_device_parse(device, &out->backend, error);
}

const char *hearth_cli_format_bytes(uint64_t bytes, char *out) {
  static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB"};
  double value = (double)bytes;
  size_t unit = 0;

  for (; value >= 999.5 && unit < 4; unit++)
    value /= 1000;
  snprintf(out, 32,
           unit == 0 || value >= 99.95 ? "%.0f %s"
           : value >= 9.995            ? "%.1f %s"
                                       : "%.2f %s",
           value, units[unit]);
  return out;
}
