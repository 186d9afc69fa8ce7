/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Functions that a template can call without an object. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "text/template/call.h"

static bool global_range(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  int64_t start = 0, stop = 0, step = 1;
  bool one = args->n < 2;
  if (args->n == 0 || args->n > 3)
    return em_tpl_fail(run, EM_ERR_FORMAT, "range takes one to three numbers");
  if (!(one || em_tpl_arg_int(run, args, 0, "start", &start)) || !em_tpl_arg_int(run, args, one ? 0 : 1, "stop", &stop) ||
      !em_tpl_arg_int(run, args, 2, "step", &step))
    return false;
  if (step == 0)
    return em_tpl_fail(run, EM_ERR_FORMAT, "range cannot have the step 0");
  uint64_t span = step > 0 ? (stop > start ? (uint64_t)stop - (uint64_t)start : 0)
                           : (start > stop ? (uint64_t)start - (uint64_t)stop : 0);
  uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
  uint64_t n = span == 0 ? 0 : (span - 1) / stride + 1;
  if (n > EM_TPL_MAX_RANGE)
    return em_tpl_fail(run, EM_ERR_LIMIT, "a range has more than %d numbers", EM_TPL_MAX_RANGE);
  if (!em_tpl_list_new(run, EM_TPL_LIST, (size_t)n, out))
    return false;
  for (uint64_t i = 0; i < n; i++)
    if (!em_tpl_list_add(run, out->list, em_tpl_int((int64_t)((uint64_t)start + i * (uint64_t)step))))
      return false;
  return true;
}

static bool make_dict(em_tpl_run *run, em_tpl_kind kind, const em_tpl_args *args, em_tpl_value *out) {
  if (!em_tpl_dict_new(run, kind, out))
    return false;
  return em_tpl_find_method(EM_TPL_DICT, "update", strlen("update"))->call(run, *out, args, &(em_tpl_value){0});
}

static bool global_namespace(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return make_dict(run, EM_TPL_NAMESPACE, args, out);
}

static bool global_dict(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  return make_dict(run, EM_TPL_DICT, args, out);
}

/* The template's own refusal: its text stands alone in the error. */
static bool global_raise(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  em_tpl_value text;
  if (!em_tpl_to_string(run, args->n > 0 ? args->items[0] : em_tpl_undefined(NULL), &text))
    return false;
  if (run->status == EM_OK)
    run->status = em_fail_at(run->error, EM_ERR_FORMAT, run->offset, "%.*s",
                             (int)(text.string->bytes < EM_ERROR_TEXT_BYTES ? text.string->bytes : EM_ERROR_TEXT_BYTES),
                             text.string->text);
  return false;
}

/* --- Time ----------------------------------------------------------------------------------------------------------------------- */

static const char *const days[] = {"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"};
static const char *const months[] = {"January", "February", "March",     "April",   "May",      "June",
                                     "July",    "August",   "September", "October", "November", "December"};

/* One conversion, in English whatever the locale is; plain: without the leading zero. false: none of ours. */
static bool format_time(const struct tm *t, char letter, bool plain, char out[64]) {
  int twelve = t->tm_hour % 12 == 0 ? 12 : t->tm_hour % 12, value;
  switch (letter) {
  case 'A':
    return snprintf(out, 64, "%s", days[t->tm_wday]), true;
  case 'a':
    return snprintf(out, 64, "%.3s", days[t->tm_wday]), true;
  case 'B':
    return snprintf(out, 64, "%s", months[t->tm_mon]), true;
  case 'b':
  case 'h':
    return snprintf(out, 64, "%.3s", months[t->tm_mon]), true;
  case 'Y':
    return snprintf(out, 64, "%lld", (long long)t->tm_year + 1900), true;
  case 'F':
    return snprintf(out, 64, "%lld-%02d-%02d", (long long)t->tm_year + 1900, t->tm_mon + 1, t->tm_mday), true;
  case 'T':
    return snprintf(out, 64, "%02d:%02d:%02d", t->tm_hour, t->tm_min, t->tm_sec), true;
  case 'j':
    return snprintf(out, 64, plain ? "%d" : "%03d", t->tm_yday + 1), true;
  case 'e':
    return snprintf(out, 64, "%2d", t->tm_mday), true;
  case 'p':
    return snprintf(out, 64, "%s", t->tm_hour < 12 ? "AM" : "PM"), true;
  case 'Z':
    return snprintf(out, 64, "UTC"), true;
  case 'z':
    return snprintf(out, 64, "+0000"), true;
  case 'w':
    return snprintf(out, 64, "%d", t->tm_wday), true;
  case '%':
    return snprintf(out, 64, "%%"), true;
  case 'd':
    value = t->tm_mday;
    break;
  case 'm':
    value = t->tm_mon + 1;
    break;
  case 'y':
    value = (t->tm_year % 100 + 100) % 100;
    break;
  case 'H':
    value = t->tm_hour;
    break;
  case 'I':
    value = twelve;
    break;
  case 'M':
    value = t->tm_min;
    break;
  case 'S':
    value = t->tm_sec;
    break;
  default:
    return false;
  }
  return snprintf(out, 64, plain ? "%d" : "%02d", value), true;
}

static bool global_strftime_now(em_tpl_run *run, em_tpl_value self, const em_tpl_args *args, em_tpl_value *out) {
  const em_tpl_string *format = NULL;
  struct tm t;
  time_t now = (time_t)run->now_unix_s;
  em_tpl_builder *builder = em_tpl_builder_new(run);
  if (!builder || !em_tpl_arg_string(run, args, 0, "format", &format))
    return false;
  if (!format)
    return em_tpl_fail(run, EM_ERR_FORMAT, "strftime_now needs a format");
  if (!gmtime_r(&now, &t))
    return em_tpl_fail(run, EM_ERR_ARGUMENT, "the time has no year that can be written");
  bool fits = true;
  for (size_t i = 0; i < format->bytes && fits; i++) {
    char text[64];
    bool plain = format->text[i] == '%' && i + 2 < format->bytes && format->text[i + 1] == '-';
    size_t letter = i + 1 + plain;
    if (format->text[i] == '%' && letter < format->bytes && format_time(&t, format->text[letter], plain, text)) {
      fits = em_tpl_put_text(run, builder, text);
      i = letter;
    } else {
      fits = em_tpl_put_slice(run, builder, format, i, 1);
    }
  }
  return fits && em_tpl_built(run, builder, out);
}

const em_tpl_builtin em_tpl_globals[] = {
    {"range", global_range},         {"namespace", global_namespace},     {"dict", global_dict},
    {"raise_exception", global_raise}, {"strftime_now", global_strftime_now}, {NULL, NULL},
};
