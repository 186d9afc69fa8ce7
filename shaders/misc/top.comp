#version 460
// The k tokens of each output with the highest keys, in their order. One workgroup an output.
//
// A token among the k highest is in a class that is among the k highest by its highest token: were k classes before its
// class, k tokens were before it. So of classes of classes, then of the classes in the best of those, then of the tokens
// in the best of these, only k times FOLD are looked at, and of those only what reaches the k-th best found before.
#extension GL_GOOGLE_include_directive : require
#include "../common/common.glsl"
#include "../common/keys.glsl"

const uint N = 128u;        // invocations
const uint FOLD = 16u;      // members of a class
const uint MAX_TOP = 64u;
const uint MAX_LIST = 1024u; // MAX_TOP * FOLD, and classes of classes

layout(local_size_x = N) in;

layout(buffer_reference, scalar, buffer_reference_align = 8) buffer Top { uvec2 v[]; };

layout(push_constant, scalar) uniform Push {
  Floats x;    // [outputs, width]
  Pairs keys;  // [outputs, n_classes], as classes.comp writes them
  Top top;     // [outputs, MAX_TOP] of (float bits, id)
  WordsOut next; // where the first output's best token is written too, or address 0
  Words step;
  uint width;
  uint n_classes; // ceil(width / FOLD)
} push;

shared uint64_t list[MAX_LIST];
shared uint chosen[MAX_TOP];
shared uint64_t least; // the k-th best key so far, or 0
shared uint count;

// The k highest of list[0..n): their ids to chosen, in order.
uint choose(uint n, uint k) {
  for (uint i = gl_LocalInvocationID.x; i < n; i += N) {
    const uint64_t key = list[i];
    uint rank = 0u;
    for (uint j = 0u; j < n && rank < k; j++)
      rank += list[j] > key ? 1u : 0u;
    if (rank < k)
      chosen[rank] = id_of(key);
    if (rank == k - 1u)
      least = key;
  }
  barrier();
  return min(n, k);
}

void empty_list() {
  if (gl_LocalInvocationID.x == 0u)
    count = 0u;
  barrier();
}

void add(uint64_t key) {
  if (key >= least)
    list[atomicAdd(count, 1u)] = key;
}

void main() {
  const uint o = gl_WorkGroupID.y, lane = gl_LocalInvocationID.x;
  if (o >= push.step.v[STEP_N_OUTPUTS])
    return;
  const uint k = push.step.v[STEP_TOP];
  const uint keys = o * push.n_classes, logits = o * push.width;
  const uint n_folded = (push.n_classes + FOLD - 1u) / FOLD;
  if (lane == 0u)
    least = 0ul;
  for (uint c = lane; c < n_folded; c += N) {
    uint64_t best = 0ul;
    [[unroll]] for (uint j = 0u; j < FOLD; j++) {
      const uint i = c + j * n_folded;
      const uint64_t key = push.keys.v[keys + min(i, push.n_classes - 1u)];
      best = i < push.n_classes ? max(best, key) : best;
    }
    list[c] = best;
  }
  barrier();
  uint m = choose(n_folded, k);
  empty_list();
  for (uint i = lane; i < m * FOLD; i += N) {
    const uint c = chosen[i / FOLD] % push.n_classes % n_folded + i % FOLD * n_folded;
    if (c < push.n_classes)
      add(push.keys.v[keys + c]);
  }
  barrier();
  m = choose(count, k);
  empty_list();
  for (uint i = lane; i < m * FOLD; i += N) {
    const uint id = chosen[i / FOLD] % push.n_classes + i % FOLD * push.n_classes;
    if (id < push.width)
      add(key_of(push.x.v[logits + id], id));
  }
  barrier();
  m = choose(count, k);
  if (lane < m)
    push.top.v[o * MAX_TOP + lane] = uvec2(floatBitsToUint(push.x.v[logits + chosen[lane]]), chosen[lane]);
  if (lane == 0u && o == 0u && uvec2(push.next) != uvec2(0u))
    push.next.v[0] = chosen[0];
}
