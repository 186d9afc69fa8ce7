/* Vulkan: the device, its functions and its memory. Private to this room.
 *
 * The loader is opened at run time, so that a computer without Vulkan still runs Hearth. All functions are called
 * through the table in em_vk, filled for each device; tests replace entries of that table to make calls fail.
 *
 * Any unexpected result latches `failed`: from then on every call of this backend fails with EM_ERR_DEVICE, and the
 * owner closes it and opens it again. Waits are bounded. What a device may still be working on is neither written nor
 * freed: closing one that hangs leaves its objects behind.
 *
 * Threads: one at a time, but for what is said to be for any thread: while one thread of the room's owner is inside a
 * call, that call's own threads may be in those functions together.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

#include "backend/backend.h"

#define EM_VK_GLOBAL_FUNCTIONS(X) \
  X(CreateInstance)               \
  X(EnumerateInstanceExtensionProperties)

#define EM_VK_INSTANCE_FUNCTIONS(X)         \
  X(DestroyInstance)                        \
  X(EnumeratePhysicalDevices)               \
  X(GetPhysicalDeviceProperties2)           \
  X(GetPhysicalDeviceFeatures2)             \
  X(GetPhysicalDeviceMemoryProperties2)     \
  X(GetPhysicalDeviceQueueFamilyProperties) \
  X(EnumerateDeviceExtensionProperties)     \
  X(CreateDevice)                           \
  X(GetDeviceProcAddr)

#define EM_VK_DEVICE_FUNCTIONS(X) \
  X(DestroyDevice)                \
  X(GetDeviceQueue)               \
  X(AllocateMemory)               \
  X(FreeMemory)                   \
  X(MapMemory)                    \
  X(CreateBuffer)                 \
  X(DestroyBuffer)                \
  X(GetBufferMemoryRequirements)  \
  X(BindBufferMemory)             \
  X(GetBufferDeviceAddress)       \
  X(CreateShaderModule)           \
  X(DestroyShaderModule)          \
  X(CreatePipelineLayout)         \
  X(DestroyPipelineLayout)        \
  X(CreatePipelineCache)          \
  X(DestroyPipelineCache)         \
  X(GetPipelineCacheData)         \
  X(CreateComputePipelines)       \
  X(DestroyPipeline)              \
  X(CreateCommandPool)            \
  X(DestroyCommandPool)           \
  X(AllocateCommandBuffers)       \
  X(FreeCommandBuffers)           \
  X(BeginCommandBuffer)           \
  X(EndCommandBuffer)             \
  X(ResetCommandBuffer)           \
  X(CmdBindPipeline)              \
  X(CmdPushConstants)             \
  X(CmdDispatch)                  \
  X(CmdDispatchIndirect)          \
  X(CmdPipelineBarrier)           \
  X(CmdCopyBuffer)                \
  X(CmdFillBuffer)                \
  X(CreateSemaphore)              \
  X(DestroySemaphore)             \
  X(WaitSemaphores)               \
  X(QueueSubmit)                  \
  X(DeviceWaitIdle)

/* Optional: NULL where the loader does not know them. */
#define EM_VK_OPTIONAL_FUNCTIONS(X) X(GetPhysicalDeviceCooperativeMatrixPropertiesKHR)

/* Optional, of the instance: the messages of layers, NULL without VK_EXT_debug_utils. */
#define EM_VK_MESSENGER_FUNCTIONS(X) \
  X(CreateDebugUtilsMessengerEXT)    \
  X(DestroyDebugUtilsMessengerEXT)

/* Optional: names and labels, NULL without VK_EXT_debug_utils. */
#define EM_VK_DEBUG_FUNCTIONS(X) \
  X(SetDebugUtilsObjectNameEXT)  \
  X(CmdBeginDebugUtilsLabelEXT)  \
  X(CmdEndDebugUtilsLabelEXT)

/* Only with VK_EXT_external_memory_host. */
#define EM_VK_IMPORT_FUNCTIONS(X) X(GetMemoryHostPointerPropertiesEXT)

typedef struct em_vk_functions {
#define X(name) PFN_vk##name name;
  EM_VK_GLOBAL_FUNCTIONS(X)
  EM_VK_INSTANCE_FUNCTIONS(X)
  EM_VK_DEVICE_FUNCTIONS(X)
  EM_VK_OPTIONAL_FUNCTIONS(X)
  EM_VK_MESSENGER_FUNCTIONS(X)
  EM_VK_DEBUG_FUNCTIONS(X)
  EM_VK_IMPORT_FUNCTIONS(X)
#undef X
} em_vk_functions;

typedef struct em_vk_block em_vk_block;

typedef struct em_vk_buffer {
  VkBuffer buffer;
  em_vk_block *block; /* of device memory, which other buffers may share */
  uint64_t bytes;
  VkDeviceAddress address;
  void *mapped; /* NULL where the host cannot see it */
  bool cached;  /* what is mapped is as fast for the host as its other memory, in any order */
} em_vk_buffer;

/* A piece of staging memory and the copy it was last used for. */
typedef struct em_vk_chunk {
  char *mapped; /* [chunk_bytes] */
  uint64_t offset;
  VkCommandPool pool;
  VkCommandBuffer commands;
  uint64_t value; /* of the timeline when its copy is done */
  bool taken;
} em_vk_chunk;

/* Uploads to memory that the host cannot write. The lock guards the chunks' `taken` and `value`, `submitted` and the
 * queue. */
#define EM_VK_N_CHUNKS 8u
typedef struct em_vk_uploads {
  bool is_open;
  pthread_mutex_t lock;
  pthread_cond_t returned; /* a chunk was */
  VkSemaphore timeline;
  em_vk_buffer staging;
  uint64_t chunk_bytes;
  em_vk_chunk chunks[EM_VK_N_CHUNKS];
  uint64_t submitted, finished; /* the timeline's value after the last copy sent, and after the last known to be done */
  uint64_t awaited;             /* its value that the compute queue has waited for */
} em_vk_uploads;

typedef enum em_vk_ability {
  EM_VK_DOTS = 1,      /* products of four int8 */
  EM_VK_FAST_DOTS = 2, /* and they are an instruction */
  EM_VK_HARDWARE = 4,  /* not a processor that pretends to be a GPU */
  EM_VK_MATRICES = 8,  /* a subgroup multiplies square matrices of halves and adds to float32 */
  EM_VK_HALVES = 16    /* arithmetic of halves */
} em_vk_ability;

typedef struct em_vk {
  em_vk_functions fn;
  void *loader; /* of dlopen */
  VkInstance instance;
  bool has_debug_utils;
  VkDebugUtilsMessengerEXT messenger; /* brings what layers say to the log; VK_NULL_HANDLE: there is none */
  VkPhysicalDevice physical;
  VkDevice device;
  VkQueue queue, upload_queue; /* the same one where the device has no queue for transfers alone */
  uint32_t queue_family, upload_family;
  VkPhysicalDeviceProperties properties;
  VkPhysicalDeviceDriverProperties driver;
  VkPhysicalDeviceMemoryProperties memory;
  uint64_t max_allocation_bytes; /* of one allocation and one buffer */
  uint32_t subgroup_size;
  bool software; /* a processor pretending to be a GPU */
  bool unified;  /* the device's memory is the computer's, and the host can write it */
  bool writable; /* the host can write all of the device's own memory (a resizable BAR) */
  bool imports;  /* memory of the host is given to the device, in multiples of: */
  uint64_t import_alignment;
  bool has_budget;      /* VK_EXT_memory_budget */
  unsigned abilities;   /* of em_vk_ability: what this device can do beyond the plain kernels */
  uint32_t matrix_size; /* 16 or 8, with EM_VK_MATRICES */
  uint32_t split;       /* invocations that share a row's sum in kernels of linear stages */
  uint32_t broadcast;   /* BROADCAST of linear.comp */
  _Atomic bool failed;
  bool settled, hung; /* known once objects are to be freed after a failure; see em_vk_may_free */

  VkCommandPool commands;
  VkSemaphore timeline;
  uint64_t submitted; /* the timeline's value after the last submit */
  uint64_t n_made;    /* buffers, pipelines and recordings made so far, for em_step_counters */
  em_vk_block *blocks;
  em_vk_uploads uploads; /* open where they are needed */
} em_vk;

/* Called when functions have been loaded: the loader's, then the instance's and then the device's. Tests put failing or
 * lying ones in their place. NULL outside tests. */
extern void (*em_vk_hook)(em_vk_functions *functions);

/* Turns a result that is not VK_SUCCESS into a status with a sentence naming `what`, and latches vk->failed when the
 * device cannot be trusted any more (lost, timed out, unknown). For any thread. */
em_status em_vk_result(em_vk *vk, VkResult result, const char *what, em_error *error);

/* Opens device `index` of the order in which em_vk_list gives them. */
em_status em_vk_open(uint32_t index, em_vk *vk, em_error *error);
void em_vk_close(em_vk *vk);

/* Whether the device's objects may be destroyed. After a failure it is asked once more, for at most EM_VK_SETTLE_NS,
 * whether it has done all that was submitted; one that has not keeps its objects until the process ends. */
#define EM_VK_SETTLE_NS 1000000000ull
bool em_vk_may_free(em_vk *vk);

/* Names an object for debuggers and validation messages. */
void em_vk_name(em_vk *vk, VkObjectType type, uint64_t object, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Submits n recorded command buffers, which run one after the other and see all that was uploaded before, and returns
 * at once: vk->submitted is the value that the timeline has when they are done. What they read and write must not be
 * touched before em_vk_wait has seen that. */
em_status em_vk_push(em_vk *vk, const VkCommandBuffer *commands, uint32_t n, const char *what, em_error *error);

/* Waits until the timeline has the value, at most EM_VK_WAIT_NS; ten times as long for a processor that pretends to be
 * a GPU, which may be slow and does not hang. */
#define EM_VK_WAIT_NS 9000000000ull
em_status em_vk_wait(em_vk *vk, uint64_t value, const char *what, em_error *error);

/* The same of another timeline of the device. For any thread. */
em_status em_vk_wait_on(em_vk *vk, VkSemaphore timeline, uint64_t value, const char *what, em_error *error);

/* Submits one recorded command buffer and waits for it. */
em_status em_vk_submit(em_vk *vk, VkCommandBuffer commands, const char *what, em_error *error);

/* A command buffer for a few transfers: begun, then ended, run, waited for and freed. They see what was submitted
 * before has written, and what is submitted later and the host see what they write. em_vk_finish frees it whatever
 * happens. */
em_status em_vk_begin(em_vk *vk, VkCommandBuffer *out, em_error *error);
em_status em_vk_finish(em_vk *vk, VkCommandBuffer commands, const char *what, em_error *error);

/* --- Memory ----------------------------------------------------------------------------------------------------------
 */

/* Buffers lie side by side in blocks of memory, because drivers allow only so many allocations. */
typedef enum em_vk_place {
  EM_VK_DEVICE,   /* device memory, zeroed; mapped too where the host can write the device's memory */
  EM_VK_WEIGHTS,  /* the same, but not zeroed: all of it will be written. Apart from other memory, whose life is shorter
                   */
  EM_VK_HOST,     /* mapped memory that the device reads, zeroed: step parameters, staging. The device's own where the
                     host can write all of that, else the host's */
  EM_VK_READBACK, /* host memory that the host reads, zeroed: cached where there is such */
  EM_VK_N_PLACES
} em_vk_place;

/* Finds out who can write the device's memory; fills unified and writable. */
void em_vk_read_memory(em_vk *vk);

/* Bytes of the device's memory that this process may allocate now: what the driver says (VK_EXT_memory_budget), else
 * its size less a sixteenth. Of an integrated device all heaps count, of another the largest. */
uint64_t em_vk_available(const em_vk *vk);

/* What blocks of memory may take beyond the buffers in them: the ends of the last ones, and a thirty-second part of
 * what shares the others, of which there are a GiB before it passes this. Of a software device, whose blocks become
 * memory as they are written, 0. */
uint64_t em_vk_reserve(const em_vk *vk);

/* Allocates a buffer with a device address; bytes at most vk->max_allocation_bytes. EM_ERR_NO_MEMORY when the device or
 * the host is full. */
em_status em_vk_buffer_new(em_vk *vk, em_vk_place place, uint64_t bytes, const char *name, em_vk_buffer *out,
                           em_error *error);
void em_vk_buffer_free(em_vk *vk, em_vk_buffer *buffer);

/* Workgroups that every device takes along a dimension. */
#define EM_VK_MAX_GROUPS 65535u

/* A large array cut into buffers of equal unit counts, for what may pass the limit of one allocation or, with a
 * workgroup a unit, of one dispatch. */
typedef struct em_vk_segments {
  em_vk_buffer *buffers; /* NULL: sizes only */
  uint32_t n;
  uint64_t unit_bytes;        /* bytes of an indivisible unit (a tile, a page) */
  uint64_t units_per_segment; /* but the last */
  em_vk_buffer addresses;     /* n x VkDeviceAddress, on the device; made when with_table */
} em_vk_segments;

/* Lets go of the host's notes about memory that is left behind with a device that hangs. */
void em_vk_forget_blocks(em_vk *vk);

/* Fills in the sizes; allocates nothing. EM_ERR_UNSUPPORTED where a unit is larger than the device allows. */
em_status em_vk_segments_size(const em_vk *vk, uint64_t n_units, uint64_t unit_bytes, const char *name,
                              em_vk_segments *out, em_error *error);
/* place: EM_VK_DEVICE or EM_VK_WEIGHTS. */
em_status em_vk_segments_new(em_vk *vk, em_vk_place place, uint64_t n_units, uint64_t unit_bytes, bool with_table,
                             const char *name, em_vk_segments *out, em_error *error);
void em_vk_segments_free(em_vk *vk, em_vk_segments *segments);

/* --- Uploads ---------------------------------------------------------------------------------------------------------
 *
 * What the host cannot write goes through a ring of chunks in staging memory, several of which are on their way at
 * once, on the queue for transfers where the device has one. What is submitted later sees it (em_vk_submit).
 */

/* Makes the ring, once. At most 32 MiB of host memory. */
em_status em_vk_uploads_open(em_vk *vk, em_error *error);
void em_vk_uploads_close(em_vk *vk);

/* A chunk to fill, waited for where all are on their way; to be sent or returned. When both fail nothing is left
 * taken. For any thread. */
em_status em_vk_chunk_take(em_vk *vk, em_vk_chunk **out, em_error *error);
void em_vk_chunk_return(em_vk *vk, em_vk_chunk *chunk);

/* Copies the chunk's first `bytes` bytes to buffer at offset and returns it, at once and whatever happens. For any
 * thread. */
em_status em_vk_chunk_send(em_vk *vk, em_vk_chunk *chunk, em_vk_buffer *to, uint64_t offset, uint64_t bytes,
                           em_error *error);

/* Waits until all that was sent has arrived; when it does not, vk->failed tells. */
void em_vk_finish_uploads(em_vk *vk);

/* Writes zeros to all of a buffer and waits for that. */
em_status em_vk_clear(em_vk *vk, em_vk_buffer *buffer, em_error *error);

/* Writes `bytes` bytes from data, which is not needed afterwards, to buffer at offset. For any thread once uploads are
 * open, or where the host can write the buffer. */
em_status em_vk_write(em_vk *vk, em_vk_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes,
                      em_error *error);
