/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "advisor/advisor.h"
#include "hardware/devices.h"
#include "service/hearth-host-private.h"

#include <stdio.h>
#include <unistd.h>

#define PROGRESS_US 50000
#define MAX_JOBS 256 /* an app that asks for more has lost its way */

typedef enum { JOB_LOAD, JOB_UNLOAD, JOB_ANSWER, JOB_STOP } JobKind;

typedef struct {
  JobKind kind;
  GTask *task;            /* of a load or unload */
  HearthRequest *request; /* of an answer or stop */
} Job;

/* The data of a load's task. */
typedef struct {
  char *path, *device;
  em_engine_params params;
  HearthHostProgress progress;
  gpointer progress_data;
  gint cancelled;       /* atomic */
  gint64 progressed_us; /* engine thread */
  char *device_notice, *device_reason;
} Load;

static void load_free(gpointer data) {
  Load *load = data;

  g_free(load->path);
  g_free(load->device);
  g_free(load->device_notice);
  g_free(load->device_reason);
  g_free(load);
}

void hearth_host_model_free(HearthHostModel *model) {
  g_free(model->template_problem);
  g_free(model->device_notice);
  g_free(model->device_reason);
  g_free(model);
}

static void job_free(Job *job) {
  g_clear_object(&job->task);
  g_clear_pointer(&job->request, hearth_request_unref);
  g_free(job);
}

/* --- Loading, on the engine thread ------------------------------------------------------------------------------- */

typedef struct {
  GTask *task;
  guint64 done_bytes, total_bytes;
} Progress;

static void progress_free(gpointer data) {
  Progress *progress = data;

  g_object_unref(progress->task);
  g_free(progress);
}

static gboolean report_progress(gpointer data) {
  Progress *progress = data;
  Load *load = g_task_get_task_data(progress->task);

  if (!g_task_get_completed(progress->task))
    load->progress(progress->done_bytes, progress->total_bytes, load->progress_data);
  return G_SOURCE_REMOVE;
}

static bool on_progress(void *user, uint64_t done_bytes, uint64_t total_bytes) {
  GTask *task = user;
  Load *load = g_task_get_task_data(task);
  gint64 now = g_get_monotonic_time();
  Progress *progress;

  if (g_atomic_int_get(&load->cancelled))
    return false;
  if (now - load->progressed_us < PROGRESS_US)
    return true;
  load->progressed_us = now;
  progress = g_new(Progress, 1);
  *progress = (Progress){g_object_ref(task), done_bytes, total_bytes};
  g_main_context_invoke_full(g_task_get_context(task), G_PRIORITY_DEFAULT, report_progress, progress, progress_free);
  return true;
}

/* Frees the model. Its requests are ended here, because a closed engine calls nobody back. */
static void unload(HearthHost *host) {
  em_engine *engine = host->engine;
  HearthRequest *request;

  g_mutex_lock(&host->engine_mutex);
  host->engine = NULL;
  g_mutex_unlock(&host->engine_mutex);
  em_engine_close(engine);
  while ((request = g_queue_pop_head(&host->active))) {
    /* The next engine counts its requests from the beginning. */
    request->engine_id = 0;
    hearth_request_end(request, EM_FINISH_CANCELLED, NULL, NULL);
    hearth_request_unref(request);
  }
  em_dialog_free(host->dialog);
  em_gguf_close(host->gguf);
  host->dialog = NULL;
  host->gguf = NULL;
}

static HearthHostModel *describe(HearthHost *host, const Load *load) {
  HearthHostModel *model = g_new0(HearthHostModel, 1);
  const char *problem = em_dialog_template_problem(host->dialog);

  model->facts = *em_engine_get_facts(host->engine);
  model->has_template = em_dialog_has_template(host->dialog);
  model->template_problem = g_utf8_make_valid(problem ? problem : "", -1);
  model->template_fallback = em_dialog_fallback(host->dialog) ? em_dialog_fallback(host->dialog) : "";
  model->knows_thinking = em_dialog_knows_thinking(host->dialog);
  model->device_notice = g_strdup(load->device_notice ? load->device_notice : "");
  model->device_reason = g_utf8_make_valid(load->device_reason ? load->device_reason : "", -1);
  return model;
}

/* What this process has in memory now. Pages that were set aside and never written are not in it. */
static guint64 resident_bytes(void) {
  g_autofree char *text = NULL;
  guint64 total, resident = 0;

  if (!g_file_get_contents("/proc/self/statm", &text, NULL, NULL) ||
      sscanf(text, "%" G_GUINT64_FORMAT " %" G_GUINT64_FORMAT, &total, &resident) != 2)
    return 0;
  return resident * (guint64)sysconf(_SC_PAGESIZE);
}

/* Whether the model fits once the one that is loaded is gone; nothing is freed for a model that does not. What was
 * measured on the way need not be measured again. */
static em_status check_fit(HearthHost *host, const em_gguf *gguf, em_engine_params *wanted, em_error *error) {
  em_engine_params params = *wanted;
  em_memory_plan plan = {0};
  em_memory_state memory;
  em_status status;

  if (host->engine) {
    em_freed freed = em_engine_freed(&em_engine_get_facts(host->engine)->memory, resident_bytes());

    params.device_freed_bytes = freed.device_bytes;
    if (em_hardware_memory(NULL, &memory, NULL) == EM_OK) {
      memory.available_bytes += freed.computer_bytes;
      params.memory_limit_bytes = em_advisor_fit(0, &memory, em_advisor_reserve(&memory)).usable_bytes;
    }
  }
  status = em_engine_plan(gguf, &params, &plan, error);
  wanted->processor_bytes_per_s = plan.processor_bytes_per_s;
  wanted->device_bytes_per_s = plan.device_bytes_per_s;
  return status;
}

static em_status choose_device(Load *load, em_error *error) {
  const char *wanted = load->device ? load->device : g_getenv("HEARTH_DEVICE");

  if (wanted)
    return em_device_parse(wanted, &load->params.backend, error);
  if (em_device_parse("vulkan", &load->params.backend, NULL) == EM_OK)
    return EM_OK;
  return em_device_parse("cpu", &load->params.backend, error);
}

/* Whether the processor is to be tried after what the graphics card said. A device that was named is not left. */
static gboolean leave_graphics_card(Load *load, em_status status, em_error *error) {
  if (load->device || load->params.backend.kind != EM_DEVICE_VULKAN)
    return FALSE;
  switch (status) {
  case EM_ERR_TOO_BIG:
  case EM_ERR_NO_MEMORY:
    load->device_notice = g_strdup("The model does not fit on the graphics card, so the processor answers.");
    break;
  case EM_ERR_UNSUPPORTED:
  case EM_ERR_LIMIT:
    load->device_notice = g_strdup("The graphics card cannot run this model, so the processor answers.");
    break;
  case EM_ERR_DEVICE:
    load->device_notice = g_strdup("The graphics card does not work, so the processor answers.");
    break;
  default:
    return FALSE;
  }
  load->device_reason = g_strdup(error->text);
  load->params.backend.kind = EM_DEVICE_CPU;
  *error = (em_error){0};
  return TRUE;
}

static em_status check_cancelled(Load *load, em_error *error) {
  return g_atomic_int_get(&load->cancelled) ? em_fail(error, EM_ERR_CANCELLED, "the loading was cancelled") : EM_OK;
}

static void load(HearthHost *host, GTask *task) {
  Load *load = g_task_get_task_data(task);
  em_gguf *gguf = NULL;
  em_dialog *dialog = NULL;
  em_engine *engine = NULL;
  em_error error = {0};
  em_status status = EM_OK;

  EM_TRY(check_cancelled(load, &error));
  EM_TRY(choose_device(load, &error));
  EM_TRY(em_gguf_open(load->path, &gguf, &error));
  status = check_fit(host, gguf, &load->params, &error);
  if (leave_graphics_card(load, status, &error))
    status = check_fit(host, gguf, &load->params, &error);
  EM_TRY(status);
  EM_TRY(em_dialog_new(gguf, &dialog, &error));
  EM_TRY(check_cancelled(load, &error));
  unload(host);
  status = em_engine_open(gguf, &load->params, on_progress, task, &engine, &error);
  if (leave_graphics_card(load, status, &error))
    status = em_engine_open(gguf, &load->params, on_progress, task, &engine, &error);
  EM_TRY(status);
  EM_TRY(check_cancelled(load, &error));
  host->gguf = gguf;
  host->dialog = dialog;
  g_mutex_lock(&host->engine_mutex);
  host->engine = engine;
  g_mutex_unlock(&host->engine_mutex);
  g_task_return_pointer(task, describe(host, load), (GDestroyNotify)hearth_host_model_free);
  return;

fail:
  em_engine_close(engine);
  em_dialog_free(dialog);
  em_gguf_close(gguf);
  g_task_return_error(task, hearth_host_error_new(status, &error));
}

/* --- A device that was left -------------------------------------------------------------------------------------- */

typedef struct {
  HearthHost *host;
  char *device, *sentence;
} DeviceChange;

static void device_change_free(gpointer data) {
  DeviceChange *change = data;

  g_free(change->device);
  g_free(change->sentence);
  g_free(change);
}

static gboolean report_device_change(gpointer data) {
  DeviceChange *change = data;
  HearthHost *host = change->host;

  if (host->device_changed)
    host->device_changed(change->device, change->sentence, host->device_changed_data);
  return G_SOURCE_REMOVE;
}

static void on_notice(void *user, const char *device, const char *sentence) {
  HearthHost *host = user;
  DeviceChange *change = g_new(DeviceChange, 1);

  *change = (DeviceChange){host, g_utf8_make_valid(device, -1), g_strdup(sentence)};
  g_main_context_invoke_full(host->context, G_PRIORITY_DEFAULT, report_device_change, change, device_change_free);
}

void hearth_host_on_device_changed(HearthHost *host, HearthHostDeviceChanged callback, gpointer user_data) {
  host->device_changed = callback;
  host->device_changed_data = user_data;
}

/* --- The engine thread ------------------------------------------------------------------------------------------- */

static void run_job(HearthHost *host, Job *job) {
  switch (job->kind) {
  case JOB_LOAD:
    load(host, job->task);
    break;
  case JOB_UNLOAD:
    unload(host);
    g_task_return_boolean(job->task, TRUE);
    break;
  case JOB_ANSWER:
    hearth_request_start(job->request);
    break;
  case JOB_STOP:
    if (job->request->engine_id != 0)
      em_engine_cancel(host->engine, job->request->engine_id);
    break;
  }
}

static gpointer engine_thread(gpointer data) {
  HearthHost *host = data;

  for (;;) {
    Job *job;

    g_mutex_lock(&host->mutex);
    while (!(job = g_queue_peek_head(&host->jobs)) && !host->engine)
      g_cond_wait(&host->cond, &host->mutex);
    g_mutex_unlock(&host->mutex);

    if (job) {
      run_job(host, job);
      g_mutex_lock(&host->mutex);
      g_queue_remove(&host->jobs, job);
      g_mutex_unlock(&host->mutex);
      job_free(job);
    } else if (!em_engine_step(host->engine)) {
      em_engine_wait(host->engine);
    }
  }
  return NULL;
}

/* --- From the main thread ---------------------------------------------------------------------------------------- */

HearthHost *hearth_host_new(void) {
  HearthHost *host = g_new0(HearthHost, 1);

  host->context = g_main_context_ref_thread_default();
  host->requests = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, (GDestroyNotify)hearth_request_unref);
  g_mutex_init(&host->mutex);
  g_mutex_init(&host->engine_mutex);
  g_cond_init(&host->cond);
  g_queue_init(&host->jobs);
  g_queue_init(&host->active);
  g_thread_unref(g_thread_new("engine", engine_thread, host));
  return host;
}

/* Loads and unloads are refused where jobs have piled up; requests have their own limit, and each is stopped once at
 * most. */
static gboolean refuse_task(HearthHost *host, GTask *task) {
  guint n_jobs;

  g_mutex_lock(&host->mutex);
  n_jobs = g_queue_get_length(&host->jobs);
  g_mutex_unlock(&host->mutex);
  if (n_jobs < MAX_JOBS)
    return FALSE;
  g_task_return_error(task, hearth_host_error_new(EM_ERR_BUSY, NULL));
  g_object_unref(task);
  return TRUE;
}

static void give_job(HearthHost *host, JobKind kind, GTask *task, HearthRequest *request) {
  Job *job = g_new(Job, 1);

  *job = (Job){kind, task, request};
  g_mutex_lock(&host->mutex);
  g_queue_push_tail(&host->jobs, job);
  g_cond_signal(&host->cond);
  g_mutex_unlock(&host->mutex);

  g_mutex_lock(&host->engine_mutex);
  if (host->engine)
    em_engine_wake(host->engine);
  g_mutex_unlock(&host->engine_mutex);
}

void hearth_host_load_async(HearthHost *host, const char *path, const HearthHostLoadOptions *options,
                            HearthHostProgress progress, gpointer progress_data, GAsyncReadyCallback callback,
                            gpointer user_data) {
  GTask *task = g_task_new(NULL, NULL, callback, user_data);
  Load *load = g_new0(Load, 1);

  load->path = g_strdup(path);
  load->device = g_strdup(options->device);
  load->params.backend.n_threads = options->n_threads;
  load->params.backend.max_isa = EM_N_ISAS - 1;
  load->params.n_slots = options->n_slots;
  load->params.context_tokens = options->context_tokens;
  load->params.kv_type = EM_TYPE_F16;
  load->params.notice = on_notice;
  load->params.notice_user = host;
  load->progress = progress;
  load->progress_data = progress_data;
  g_task_set_task_data(task, load, load_free);
  hearth_host_cancel_load(host);
  if (!refuse_task(host, task))
    give_job(host, JOB_LOAD, task, NULL);
}

HearthHostModel *hearth_host_load_finish(HearthHost *host, GAsyncResult *result, GError **error) {
  return g_task_propagate_pointer(G_TASK(result), error);
}

/* The job that runs stays in the queue until it is done, so that it is found here. */
void hearth_host_cancel_load(HearthHost *host) {
  g_mutex_lock(&host->mutex);
  for (GList *link = host->jobs.head; link; link = link->next) {
    Job *job = link->data;
    if (job->kind == JOB_LOAD)
      g_atomic_int_set(&((Load *)g_task_get_task_data(job->task))->cancelled, TRUE);
  }
  g_mutex_unlock(&host->mutex);
}

void hearth_host_unload_async(HearthHost *host, GAsyncReadyCallback callback, gpointer user_data) {
  GTask *task = g_task_new(NULL, NULL, callback, user_data);

  hearth_host_cancel_load(host);
  if (!refuse_task(host, task))
    give_job(host, JOB_UNLOAD, task, NULL);
}

gboolean hearth_host_unload_finish(HearthHost *host, GAsyncResult *result, GError **error) {
  return g_task_propagate_boolean(G_TASK(result), error);
}

guint64 hearth_host_generate(HearthHost *host, HearthHostQuestion *question, const HearthHostListener *listener,
                             gpointer user_data, GError **error) {
  HearthRequest *request;

  if (g_hash_table_size(host->requests) >= HEARTH_HOST_MAX_REQUESTS) {
    hearth_host_question_free(question);
    g_propagate_error(error, hearth_host_error_new(EM_ERR_BUSY, NULL));
    return 0;
  }
  request = hearth_request_new(host, ++host->last_request, question, listener, user_data);
  g_hash_table_insert(host->requests, &request->id, request);
  give_job(host, JOB_ANSWER, NULL, hearth_request_ref(request));
  return request->id;
}

void hearth_host_stop(HearthHost *host, guint64 id) {
  HearthRequest *request = g_hash_table_lookup(host->requests, &id);
  Job *waiting = NULL;

  if (!request || request->stop_wanted)
    return;
  request->stop_wanted = TRUE;
  /* A request that waits behind a load ends at once. The first job is the one that runs. */
  g_mutex_lock(&host->mutex);
  for (GList *link = host->jobs.head ? host->jobs.head->next : NULL; link; link = link->next) {
    Job *job = link->data;
    if (job->kind == JOB_ANSWER && job->request == request) {
      waiting = job;
      g_queue_delete_link(&host->jobs, link);
      break;
    }
  }
  g_mutex_unlock(&host->mutex);
  if (waiting) {
    hearth_request_end(request, EM_FINISH_CANCELLED, NULL, NULL);
    job_free(waiting);
  } else {
    give_job(host, JOB_STOP, NULL, hearth_request_ref(request));
  }
}
