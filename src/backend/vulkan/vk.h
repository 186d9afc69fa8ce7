/* Vulkan: the device, its functions and its memory. Private to this room.
 *
 * The loader is opened at run time, so that a computer without Vulkan still runs Hearth. All functions are called
 * through the table in em_vk, filled for each device; tests replace entries of that table to make calls fail.
 *
 * Any unexpected result latches `failed`: from then on every call of this backend fails with EM_ERR_DEVICE, and the
 * owner closes it and opens it again. Waits are bounded. What a device may still be working on is neither written nor
 * freed: closing one that hangs leaves its objects behind.
 */
#pragma once

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

/* Optional: names and labels, NULL without VK_EXT_debug_utils. */
#define EM_VK_DEBUG_FUNCTIONS(X) \
  X(SetDebugUtilsObjectNameEXT)  \
  X(CmdBeginDebugUtilsLabelEXT)  \
  X(CmdEndDebugUtilsLabelEXT)

typedef struct em_vk_functions {
#define X(name) PFN_vk##name name;
  EM_VK_GLOBAL_FUNCTIONS(X)
  EM_VK_INSTANCE_FUNCTIONS(X)
  EM_VK_DEVICE_FUNCTIONS(X)
  EM_VK_DEBUG_FUNCTIONS(X)
#undef X
} em_vk_functions;

typedef struct em_vk {
  em_vk_functions fn;
  void *loader; /* of dlopen */
  VkInstance instance;
  bool has_debug_utils;
  VkPhysicalDevice physical;
  VkDevice device;
  VkQueue queue;
  uint32_t queue_family;
  VkPhysicalDeviceProperties properties;
  VkPhysicalDeviceDriverProperties driver;
  VkPhysicalDeviceMemoryProperties memory;
  uint64_t max_allocation_bytes; /* of one allocation and one buffer */
  uint32_t subgroup_size;
  bool software;      /* a processor pretending to be a GPU */
  bool unified;       /* all device memory can be written by the host */
  uint32_t split;     /* invocations that share a row's sum in linear.comp */
  uint32_t broadcast; /* BROADCAST of linear.comp */
  bool failed;
  bool settled, hung; /* known once objects are to be freed after a failure; see em_vk_may_free */

  VkCommandPool commands;
  VkSemaphore timeline;
  uint64_t submitted;           /* the timeline's value after the last submit */
  uint64_t n_made;              /* buffers, pipelines and recordings made so far, for em_step_counters */
  struct em_vk_buffer *staging; /* made when first needed */
} em_vk;

/* Called when functions have been loaded: the loader's, then the instance's and then the device's. Tests put failing or
 * lying ones in their place. NULL outside tests. */
extern void (*em_vk_hook)(em_vk_functions *functions);

/* Turns a result that is not VK_SUCCESS into a status with a sentence naming `what`, and latches vk->failed when the
 * device cannot be trusted any more (lost, timed out, unknown). */
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

/* Submits n recorded command buffers, which run one after the other, and returns at once: vk->submitted is the value
 * that the timeline has when they are done. What they read and write must not be touched before em_vk_wait has seen
 * that. */
em_status em_vk_push(em_vk *vk, const VkCommandBuffer *commands, uint32_t n, const char *what, em_error *error);

/* Waits until the timeline has the value, at most EM_VK_WAIT_NS; ten times as long for a processor that pretends to be
 * a GPU, which may be slow and does not hang. */
#define EM_VK_WAIT_NS 9000000000ull
em_status em_vk_wait(em_vk *vk, uint64_t value, const char *what, em_error *error);

/* Submits one recorded command buffer and waits for it. */
em_status em_vk_submit(em_vk *vk, VkCommandBuffer commands, const char *what, em_error *error);

/* A command buffer for a few transfers: begun, then ended, run, waited for and freed. em_vk_finish frees it whatever
 * happens. */
em_status em_vk_begin(em_vk *vk, VkCommandBuffer *out, em_error *error);
em_status em_vk_finish(em_vk *vk, VkCommandBuffer commands, const char *what, em_error *error);

/* --- Memory ----------------------------------------------------------------------------------------------------------
 */

typedef enum em_vk_place {
  EM_VK_DEVICE,  /* device memory; mapped too where the device's memory is the host's */
  EM_VK_HOST,    /* host memory that the device reads: step parameters, staging */
  EM_VK_READBACK /* host memory that the host reads: cached where there is such */
} em_vk_place;

typedef struct em_vk_buffer {
  VkBuffer buffer;
  VkDeviceMemory memory;
  uint64_t bytes;
  VkDeviceAddress address;
  void *mapped; /* NULL where the host cannot see it */
} em_vk_buffer;

/* Allocates a zeroed buffer with a device address; bytes at most vk->max_allocation_bytes. EM_ERR_NO_MEMORY when the
 * device or the host is full. */
em_status em_vk_buffer_new(em_vk *vk, em_vk_place place, uint64_t bytes, const char *name, em_vk_buffer *out,
                           em_error *error);
void em_vk_buffer_free(em_vk *vk, em_vk_buffer *buffer);

/* A large array cut into buffers of equal unit counts, for what may pass the limit of one allocation. */
typedef struct em_vk_segments {
  em_vk_buffer *buffers; /* NULL: sizes only */
  uint32_t n;
  uint64_t unit_bytes;        /* bytes of an indivisible unit (a tile, a page) */
  uint64_t units_per_segment; /* but the last */
  em_vk_buffer addresses;     /* n x VkDeviceAddress, on the device; made when with_table */
} em_vk_segments;

/* Fills in the sizes; allocates nothing. EM_ERR_UNSUPPORTED where a unit is larger than the device allows. */
em_status em_vk_segments_size(const em_vk *vk, uint64_t n_units, uint64_t unit_bytes, const char *name,
                              em_vk_segments *out, em_error *error);
em_status em_vk_segments_new(em_vk *vk, uint64_t n_units, uint64_t unit_bytes, bool with_table, const char *name,
                             em_vk_segments *out, em_error *error);
void em_vk_segments_free(em_vk *vk, em_vk_segments *segments);

/* Writes `bytes` bytes from data to buffer at offset, through a staging buffer where the host cannot see it. Returns
 * when they are there. */
em_status em_vk_write(em_vk *vk, em_vk_buffer *buffer, uint64_t offset, const void *data, uint64_t bytes,
                      em_error *error);
