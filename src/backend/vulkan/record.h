/* Recording stages: what the files that do it share. Private to this room.
 *
 * record.c records programs and the stages of dense layers, record-stacks.c those that read stacks of matrices, and
 * recurrent layers. Without a command buffer nothing is recorded, and only the pipelines' names are taken. */
#pragma once

#include "backend/vulkan/variants.h"

typedef struct em_vk_recorder {
  em_vulkan *vulkan;
  em_vulkan_program *program;
  em_vk_step *step;
  em_vk_recording *recording;
  em_vk_family family;        /* of the stages */
  VkCommandBuffer commands;   /* VK_NULL_HANDLE: nothing is recorded */
  uint32_t columns;           /* of the kernel at hand */
  uint32_t n_used, n_experts; /* of the stage at hand */
  bool sorts;                 /* it begins with grouping its pairs */
  uint32_t n_sorted;          /* so far */
} em_vk_recorder;

/* Where a value's first row stands. */
VkDeviceAddress em_vk_address_of(const em_vulkan_program *program, em_value value);

/* Where a vector stands; 0 without one. */
VkDeviceAddress em_vk_vector_of(const em_weights *weights);

/* A dispatch; its size follows from shape, fixed and r->columns. */
em_status em_vk_add(em_vk_recorder *r, const em_vk_variant *variant, const void *push, uint32_t push_bytes,
                    em_vk_grid shape, uint32_t fixed, em_error *error);

/* What follows sees what dispatches have written. */
void em_vk_barrier(em_vk_recorder *r);

/* A linear stage whose output is at y, rows y_width values apart. */
em_status em_vk_record_linear_to(em_vk_recorder *r, const em_stage_linear *l, VkDeviceAddress y, uint32_t y_width,
                                 em_error *error);

/* Norms all rows of x into the program's memory for that, as float32. */
em_status em_vk_record_normed(em_vk_recorder *r, VkDeviceAddress x, const em_weights *norm, float eps, em_error *error);

em_status em_vk_record_router(em_vk_recorder *r, const em_stage_router *s, em_error *error);
em_status em_vk_record_experts(em_vk_recorder *r, const em_stage_experts *s, em_error *error);
em_status em_vk_record_experts_sum(em_vk_recorder *r, const em_stage_experts_sum *s, em_error *error);
em_status em_vk_record_heads(em_vk_recorder *r, const em_stage_heads *s, em_error *error);
em_status em_vk_record_delta_net(em_vk_recorder *r, const em_stage_delta_net *s, em_error *error);
