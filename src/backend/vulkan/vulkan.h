/* The Vulkan backend's objects. Private to this room. */
#pragma once

#include <pthread.h>

#include "backend/impl.h"
#include "backend/vulkan/layout.h"
#include "backend/vulkan/vk.h"
#include "base/threads.h"

/* --- Pipelines --- */

/* Made at build time from shaders/. */
typedef enum em_vk_shader {
  /* These also for matrices of one format alone, and of two. */
  EM_VK_SHADER_LINEAR,
  EM_VK_SHADER_INTEGER,
  EM_VK_SHADER_HALF,
  EM_VK_N_KERNELS,
  EM_VK_SHADER_EMBED = EM_VK_N_KERNELS,
  EM_VK_SHADER_NORM,
  EM_VK_SHADER_MATRIX,
  EM_VK_SHADER_STORE,
  EM_VK_SHADER_ATTEND,
  EM_VK_SHADER_REDUCE,
  EM_VK_SHADER_CLASSES,
  EM_VK_SHADER_TOP,
  EM_VK_SHADER_COPY,
  EM_VK_SHADER_POST,
  EM_VK_SHADER_GATE,
  EM_VK_SHADER_CHOOSE,
  EM_VK_SHADER_SORT,
  EM_VK_SHADER_EXPERTS,
  EM_VK_SHADER_COMBINE,
  EM_VK_SHADER_JOIN,
  EM_VK_SHADER_MIX,
  EM_VK_SHADER_RECUR,
  EM_VK_SHADER_KEEP,
  EM_VK_SHADER_READ,
  EM_VK_N_SHADERS
} em_vk_shader;

/* Two formats of one stage, as files of mixed types have them: the last of three parts has another than the others. */
enum {
  EM_VK_FORMAT_Q4_K_Q6_K = EM_VK_N_FORMATS,
  EM_VK_N_MIXES /* with the plain formats */
};

/* The modules: a shader's own has its number, and behind them come those for one format or two, which em_vk_pipeline
 * chooses where they fit. */
#define EM_VK_MODULE(shader, format) (EM_VK_N_SHADERS + (uint32_t)(shader) * EM_VK_N_MIXES + (uint32_t)(format))
#define EM_VK_N_MODULES EM_VK_MODULE(EM_VK_N_KERNELS, 0)

typedef struct em_vk_spirv {
  const char *name;
  const uint32_t *words;
  size_t bytes;
} em_vk_spirv;
/* Of a module that is not there, or that the compiler did not know, all zeros. */
extern const em_vk_spirv em_vk_spirvs[EM_VK_N_MODULES];

#define EM_VK_MAX_CONSTANTS 12u
/* More than any model needs: linear stages have one for each format, form and family of rows, experts for two formats.
 */
#define EM_VK_MAX_PIPELINES 4096u

/* A shader with its specialisation constants: constant i has id i. */
typedef struct em_vk_variant {
  em_vk_shader shader;
  uint32_t n_constants;
  uint32_t constants[EM_VK_MAX_CONSTANTS];
} em_vk_variant;

typedef enum em_vk_pipeline_state { EM_VK_WANTED, EM_VK_MAKING, EM_VK_MADE } em_vk_pipeline_state;

typedef struct em_vk_pipeline_entry {
  em_vk_variant variant;
  em_vk_pipeline_state state;
  VkResult result; /* when made */
  VkPipeline pipeline;
} em_vk_pipeline_entry;

/* The threads that make pipelines. The lock guards the entries' states and results and what is below. */
#define EM_VK_MAX_MAKERS 8u
typedef struct em_vk_makers {
  pthread_mutex_t lock;
  pthread_cond_t made;
  bool is_open; /* the two above are made */
  bool ending;  /* make no more */
  pthread_t threads[EM_VK_MAX_MAKERS];
  unsigned n, n_running;
  uint64_t start_ns, ready_ns, waited_ns; /* when they began, when the last was made, and how long was waited for one */
} em_vk_makers;

typedef struct em_vulkan {
  em_backend base;
  em_vk vk;
  VkPipelineLayout layout;
  VkShaderModule modules[EM_VK_N_MODULES];
  em_vk_pipeline_entry pipelines[EM_VK_MAX_PIPELINES];
  uint32_t n_pipelines;
  VkPipelineCache cache; /* or VK_NULL_HANDLE */
  char cache_path[320];  /* of its file */
  uint64_t cache_sum;    /* of what is in the file */
  em_vk_makers makers;
  em_vk_buffer books; /* the codebooks, made with the first weights that need one */
  /* That load weights; made with the first of them. */
  uint32_t n_threads; /* wanted; 0: all cores */
  em_pool *readers;
  uint8_t *scratch; /* of the readers */
  uint64_t scratch_bytes;
} em_vulkan;

em_status em_vk_pipelines_open(em_vulkan *vulkan, em_error *error);
void em_vk_pipelines_close(em_vulkan *vulkan);

/* Begins with what is in the folder's file for this device (dir NULL or "": without a file). A file that is damaged, of
 * another device, driver or build, larger than 16 MiB, or writable by others is not used. Never fails: without a cache
 * pipelines only take longer to make. em_vk_cache_save writes the file if there is something new, on the thread that
 * has made the last pipeline. */
void em_vk_cache_open(em_vulkan *vulkan, const char *dir);
void em_vk_cache_save(em_vulkan *vulkan);

/* Says that a variant will be asked for; em_vk_pipelines_start then makes all such on threads, and returns at once. */
em_status em_vk_pipeline_want(em_vulkan *vulkan, const em_vk_variant *variant, em_error *error);
void em_vk_pipelines_start(em_vulkan *vulkan);

/* The pipeline of a variant, waited for or made here if it is not there yet. */
em_status em_vk_pipeline(em_vulkan *vulkan, const em_vk_variant *variant, VkPipeline *out, em_error *error);

/* --- Weights and the cache --- */

typedef struct em_vulkan_weights {
  em_weights base;
  bool has_data;
  const em_vk_layout *layout; /* NULL for a vector */
  em_vk_segments tiles;       /* of a matrix or table: a unit is a tile of 32 rows */
  em_vk_buffer vector;        /* float32 */
  float *host;                /* a vector's values, for tables that the host computes */
} em_vulkan_weights;

em_status em_vulkan_weights_bytes(const em_backend *backend, const em_weights_desc *desc, uint64_t *out,
                                  em_error *error);
em_status em_vulkan_weights_new(em_backend *backend, const em_weights_desc *desc, em_read_fn read, void *user,
                                em_weights **out, em_error *error);
void em_vulkan_weights_free(em_weights *weights);

typedef struct em_vulkan_kv {
  em_kv base;
  em_vk_segments *keys, *values; /* one a layer; a unit is a page: [kv head][token][dim] */
  em_vk_segments *states;        /* one a recurrent layer; a unit is a place */
} em_vulkan_kv;

em_status em_vulkan_kv_bytes(const em_backend *backend, const em_kv_desc *desc, uint64_t *out, em_error *error);
em_status em_vulkan_kv_new(em_backend *backend, const em_kv_desc *desc, em_kv **out, em_error *error);
void em_vulkan_kv_free(em_kv *kv);
em_status em_vulkan_kv_copy(em_kv *kv, uint32_t from, uint32_t to, uint32_t n_tokens, em_error *error);

em_status em_vulkan_kv_copy_state(em_kv *kv, uint32_t from, uint32_t to, em_error *error);

/* Bytes of one head's values at one position. */
uint64_t em_vulkan_kv_head_bytes(em_type type, uint32_t dim);

/* --- Programs --- */

em_status em_vulkan_program_bytes(const em_backend *backend, const em_program_desc *desc, uint64_t *out,
                                  em_error *error);
em_status em_vulkan_program_prepare(em_backend *backend, const em_program_desc *desc, em_error *error);
em_prepare_times em_vulkan_prepare_times(em_backend *backend);
em_status em_vulkan_program_new(em_backend *backend, const em_program *common, em_program **out, em_error *error);
void em_vulkan_program_free(em_program *program);
em_status em_vulkan_run(em_program *program, const em_step *step, em_error *error);
const float *em_vulkan_result(const em_program *program, uint32_t row);
const em_top *em_vulkan_top(const em_program *program, uint32_t output);

/* --- Measuring --- */

em_status em_vulkan_measure(em_backend *backend, uint64_t bytes, em_backend_speed *out, em_error *error);
