// What every shader shares: pointer types, the step's parameters, and how values are laid out.
// All memory is reached through buffer device addresses in push constants; there are no descriptor sets.
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference2 : require
#extension GL_EXT_scalar_block_layout : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_EXT_buffer_reference_uvec2 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer Words4 { uvec4 v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer Pairs2 { u64vec2 v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer Pairs { uint64_t v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) readonly buffer Words { uint v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer WordsOut { uint v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Floats { float v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer Floats4 { vec4 v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 8) readonly buffer Addresses { uvec2 v[]; };

// Sixteen bytes as two halves: a device that loads value by value needs half as many loads, others merge them again.
uvec4 load16(Words4 from, uint i) {
  u64vec2 q = Pairs2(from).v[i];
  return uvec4(unpack32(q.x), unpack32(q.y));
}

// The step's parameters, written by the host before each submit. Indices into Words.v; the same numbers stand in
// src/backend/vulkan/program.h.
const uint STEP_N_ROWS = 0u;
const uint STEP_N_OUTPUTS = 1u;
const uint STEP_TOKENS = 2u;      // where the arrays begin
const uint STEP_POSITIONS = 3u;
const uint STEP_SLOTS = 4u;
const uint STEP_OUTPUTS = 5u;
const uint STEP_PAGES = 6u;       // [slot][max_pages]
const uint STEP_ROTATIONS = 7u;   // [table][row][n_rot / 2] of (cos, sin) as float bits
const uint STEP_TOP = 8u;         // how many tokens of each output are picked

const uint STEP_N_SLOTS = 9u;
const uint STEP_STATES = 10u;     // [slot]

const uint PAGE_TOKENS = 256u;

// Words of moe/sort.comp's groups before the blocks.
const uint GROUPS_HEADER = 2u;

// Types of the KV cache.
const uint KV_F32 = 0u;
const uint KV_F16 = 1u;
const uint KV_Q8_0 = 2u; // 32 int8 and behind them a float16 scale: 9 words a block of 32
