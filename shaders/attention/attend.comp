#version 460
// out[r, h, :] = softmax(cap(scale * q K^T)) V over the positions that a row sees, a page of 256 tokens at a time.
//
// A workgroup takes COLUMNS query heads that share a KV head: HEADS of each of ROWS rows. What it loads of K and V serves all
// of them, so that a row costs 1 / COLUMNS of reading its context. PARTIAL: a workgroup takes one page of one row and writes
// its maximum, sum and weighted values, and reduce.comp merges the pages; else it walks the pages.
//
// Order of sums: everything is defined page by page, for a column alone. A score adds up in the order of dimensions; the sum of
// a page's weights in 16 partial sums of every 16th token; its values in TEAMS partial sums of every TEAMS-th run of 8 tokens; pages are merged
// in rising order. Masked tokens add zeros. So the values of a row depend neither on PARTIAL nor on the rows beside it.
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_ballot : require
#include "../common/common.glsl"

layout(constant_id = 0) const uint KV_TYPE = KV_F16;
layout(constant_id = 1) const bool PARTIAL = false;
layout(constant_id = 2) const uint K_DIM = 8u; // a multiple of 8
layout(constant_id = 3) const uint V_DIM = 8u; // a multiple of 8, at most 512
layout(constant_id = 4) const uint HEADS = 1u; // divides the query heads of a KV head
layout(constant_id = 5) const uint ROWS = 1u;
// Not 0: what all invocations of a subgroup, of so many, need is loaded in shares and handed around, as in linear.comp.
layout(constant_id = 6) const uint BROADCAST = 0u;
layout(constant_id = 7) const bool V_IN_K = false; // values are the first V_DIM of the keys
layout(constant_id = 8) const bool CAPPED = false;
const uint LANES = 128u;
layout(local_size_x = 128) in;

layout(push_constant, scalar) uniform Push {
  Floats qkv;        // [rows, width]: q first
  Floats y;          // PARTIAL: [row][head][page][2 + v_dim]; else [rows, n_heads * v_dim]
  Addresses keys;
  Addresses values;
  Floats sinks;      // [n_heads] or address 0
  Words step;
  uint n_heads;
  uint n_kv_heads;
  uint width;        // of a row of qkv
  uint max_pages;
  uint k_segment_pages;
  uint v_segment_pages;
  float scale;
  float softcap;
  uint window;       // 0: none
  uint both_ways;    // 1: a row sees all of its slot's rows
} push;

const uint COLUMNS = HEADS * ROWS; // at most 8
const uint SHARE = BROADCAST == 0u ? 32u : BROADCAST; // invocations that score neighbouring tokens
const uint GRAIN = BROADCAST == 0u ? 1u : BROADCAST;
const uint WIDE = (V_DIM / 4u + GRAIN - 1u) / GRAIN * GRAIN; // invocations of a team, four values each
const uint TEAMS = LANES / WIDE;
const float LOWEST = -3.402823e38;

shared float q[COLUMNS * K_DIM];
shared float p[COLUMNS * PAGE_TOKENS];
shared vec4 team_sums[LANES];
shared float parts[COLUMNS * 16u];
shared float page_max[COLUMNS], old_factor[COLUMNS], new_factor[COLUMNS];
shared uint ends[COLUMNS]; // the positions that a column sees end here; 0: it has none

// Eight values of a key.
void key8(Words keys, uint token, uint d, out vec4 a, out vec4 b) {
  if (KV_TYPE == KV_F32) {
    const uint at = (token * K_DIM + d) / 4u;
    a = uintBitsToFloat(load16(Words4(keys), at));
    b = uintBitsToFloat(load16(Words4(keys), at + 1u));
  } else if (KV_TYPE == KV_F16) {
    const uvec4 w = load16(Words4(keys), (token * K_DIM + d) / 8u);
    a = vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
    b = vec4(unpackHalf2x16(w.z), unpackHalf2x16(w.w));
  } else {
    const uint base = (token * (K_DIM / 32u) + d / 32u) * 9u;
    const float scale = unpackHalf2x16(keys.v[base + 8u]).x;
    const int x = int(keys.v[base + d % 32u / 4u]), y = int(keys.v[base + d % 32u / 4u + 1u]);
    a = vec4(x << 24 >> 24, x << 16 >> 24, x << 8 >> 24, x >> 24) * scale;
    b = vec4(y << 24 >> 24, y << 16 >> 24, y << 8 >> 24, y >> 24) * scale;
  }
}

vec4 value4(Words values, uint token, uint d) {
  const uint stride = V_IN_K ? K_DIM : V_DIM;
  if (KV_TYPE == KV_F32)
    return uintBitsToFloat(load16(Words4(values), (token * stride + d) / 4u));
  if (KV_TYPE == KV_F16) {
    const uvec2 w = unpack32(Pairs(values).v[(token * stride + d) / 4u]);
    return vec4(unpackHalf2x16(w.x), unpackHalf2x16(w.y));
  }
  const uint base = (token * (stride / 32u) + d / 32u) * 9u;
  const int x = int(values.v[base + d % 32u / 4u]);
  return vec4(x << 24 >> 24, x << 16 >> 24, x << 8 >> 24, x >> 24) * unpackHalf2x16(values.v[base + 8u]).x;
}

// Of eight neighbours in shared memory, of which each invocation has loaded `own`, the one at `at`, which is number j.
float shared_q(float own, uint at, uint j) {
  return BROADCAST == 0u ? q[at] : subgroupBroadcast(own, j);
}

float shared_p(float own, uint at, uint j) {
  return BROADCAST == 0u ? p[at] : subgroupBroadcast(own, j);
}

// The tokens of page i that column c sees: from x to before y.
uvec2 span(uint c, uint i) {
  const uint end = ends[c], start = i * PAGE_TOKENS;
  const uint first = push.window != 0u && end > push.window ? end - push.window : 0u;
  return uvec2(first > start ? min(first - start, PAGE_TOKENS) : 0u, end > start ? min(end - start, PAGE_TOKENS) : 0u);
}

// The scores of the page's first n tokens.
void score(Words keys, uint key, uint n, uint lane) {
  const uint mine = BROADCAST == 0u ? 0u : gl_SubgroupInvocationID & 7u;
  // One turn at most; a loop, because a processor leaves those out that it would take for nobody.
  for (uint unit = lane / SHARE * 2u * SHARE; unit < n; unit += 2u * LANES) {
    const uint t = unit + lane % SHARE;
    float low[COLUMNS], high[COLUMNS];
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
      low[c] = high[c] = 0.0;
    for (uint d = 0u; d < K_DIM; d += 8u) {
      vec4 a, b, e, f;
      key8(keys, key + t, d, a, b);
      key8(keys, key + t + SHARE, d, e, f);
      [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
        const uint at = c * K_DIM + d;
        const float own = q[at + mine];
        [[unroll]] for (uint j = 0u; j < 4u; j++) {
          const float x = shared_q(own, at + j, j);
          low[c] = fma(x, a[j], low[c]);
          high[c] = fma(x, e[j], high[c]);
        }
        [[unroll]] for (uint j = 0u; j < 4u; j++) {
          const float x = shared_q(own, at + 4u + j, 4u + j);
          low[c] = fma(x, b[j], low[c]);
          high[c] = fma(x, f[j], high[c]);
        }
      }
    }
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
      low[c] *= push.scale;
      high[c] *= push.scale;
      if (CAPPED) {
        low[c] = push.softcap * tanh(low[c] / push.softcap);
        high[c] = push.softcap * tanh(high[c] / push.softcap);
      }
      p[c * PAGE_TOKENS + t] = low[c];
      p[c * PAGE_TOKENS + t + SHARE] = high[c];
    }
  }
}

// Turns scores into weights, with page_max; returns their sum in invocation c for column c.
float weigh(uint i, uint n, uint lane) {
  const uint c = lane / 16u;
  const bool works = c < COLUMNS;
  const uvec2 seen = works ? span(c, i) : uvec2(0u);
  float m = LOWEST;
  for (uint t = lane % 16u; t < n; t += 16u)
    if (t >= seen.x && t < seen.y)
      m = max(m, p[c * PAGE_TOKENS + t]);
  if (works)
    parts[lane] = m;
  barrier();
  if (lane < COLUMNS) {
    [[unroll]] for (uint j = 0u; j < 16u; j++)
      m = max(j == 0u ? LOWEST : m, parts[lane * 16u + j]);
    page_max[lane] = m;
  }
  barrier();
  const uint whole = (n + 7u) / 8u * 8u;
  [[unroll]] for (uint k = 0u; k < COLUMNS; k++) {
    const uvec2 of = span(k, i);
    for (uint t = lane; t < whole; t += LANES)
      p[k * PAGE_TOKENS + t] = t >= of.x && t < of.y ? exp(p[k * PAGE_TOKENS + t] - page_max[k]) : 0.0;
  }
  barrier();
  float sum = 0.0;
  if (works) {
    for (uint t = lane % 16u; t < whole; t += 16u)
      sum += p[c * PAGE_TOKENS + t];
    parts[lane] = sum;
  }
  barrier();
  sum = 0.0;
  if (lane < COLUMNS)
    [[unroll]] for (uint j = 0u; j < 16u; j++)
      sum += parts[lane * 16u + j];
  return sum;
}

// The rows from .. to - 1 of the slot.
void walk(uint row0, uint from, uint to, uint slot, uint head0, uint lane) {
  const uint positions = push.step.v[STEP_POSITIONS];
  const uint kv_head = head0 / (push.n_heads / push.n_kv_heads);
  const uint pages = push.step.v[STEP_PAGES] + slot * push.max_pages;
  uint last = push.step.v[positions + to - 1u];
  if (push.both_ways == 1u) {
    // The last row of the slot: its rows stand together.
    uint low = to - 1u, high = push.step.v[STEP_N_ROWS];
    while (low + 1u < high) {
      const uint middle = (low + high) / 2u;
      if (push.step.v[push.step.v[STEP_SLOTS] + middle] == slot)
        low = middle;
      else
        high = middle;
    }
    last = push.step.v[positions + low];
  }
  const uint first_end = push.step.v[positions + from] + 1u;
  const uint lowest = push.window != 0u && first_end > push.window ? first_end - push.window : 0u;
  const uint first_page = PARTIAL ? gl_WorkGroupID.z : lowest / PAGE_TOKENS, n_pages = last / PAGE_TOKENS + 1u;
  if (PARTIAL && (first_page >= n_pages || first_page < lowest / PAGE_TOKENS))
    return;
  if (lane < COLUMNS) {
    const uint row = row0 + lane / HEADS;
    ends[lane] = row < from || row >= to ? 0u : push.both_ways == 1u ? last + 1u : push.step.v[positions + row] + 1u;
  }
  barrier();
  const uint team = lane / WIDE, d = min(lane % WIDE * 4u, V_DIM - 4u);
  const uint mine = BROADCAST == 0u ? 0u : gl_SubgroupInvocationID & 7u;
  float largest = LOWEST, total = 0.0; // of the column that has this invocation's number
  vec4 y[COLUMNS];
  [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
    y[c] = vec4(0.0);
  const uint end_page = PARTIAL ? first_page + 1u : n_pages;
  for (uint i = first_page; i < end_page; i++) {
    // A driver may load what is the same for all invocations even when none is left in the loop: the place must exist.
    const uint page = push.step.v[pages + min(i, n_pages - 1u)];
    Words keys = Words(push.keys.v[page / push.k_segment_pages]);
    Words values = Words(push.values.v[page / push.v_segment_pages]);
    const uint key = ((page % push.k_segment_pages) * push.n_kv_heads + kv_head) * PAGE_TOKENS;
    const uint value = ((page % push.v_segment_pages) * push.n_kv_heads + kv_head) * PAGE_TOKENS;
    const uint n = min(PAGE_TOKENS, last + 1u - i * PAGE_TOKENS);
    score(keys, key, n, lane);
    barrier();
    const float sum = weigh(i, n, lane);
    if (!PARTIAL && lane < COLUMNS) {
      const float m = page_max[lane], next = max(largest, m);
      old_factor[lane] = exp(largest - next);
      new_factor[lane] = exp(m - next);
      total = fma(total, old_factor[lane], sum * new_factor[lane]);
      largest = next;
    }
    vec4 o[COLUMNS];
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
      o[c] = vec4(0.0);
    for (uint t = team < TEAMS ? team * 8u : PAGE_TOKENS; t < n; t += TEAMS * 8u) {
      float own[COLUMNS];
      [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
        own[c] = p[c * PAGE_TOKENS + t + mine];
      [[unroll]] for (uint j = 0u; j < 8u; j++) {
        vec4 v = value4(values, value + t + j, d);
        v = t + j < n ? v : vec4(0.0); // what nobody has stored there may be no number
        [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
          o[c] = fma(vec4(shared_p(own[c], c * PAGE_TOKENS + t + j, j)), v, o[c]);
      }
    }
    barrier();
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
      if (TEAMS > 1u) {
        team_sums[lane] = o[c];
        barrier();
        if (team == 0u)
          [[unroll]] for (uint k = 1u; k < TEAMS; k++)
            o[c] += team_sums[k * WIDE + lane];
        barrier();
      }
      if (!PARTIAL)
        y[c] = fma(y[c], vec4(old_factor[c]), o[c] * new_factor[c]);
    }
    if (PARTIAL) {
      const uint at = ((from * push.n_heads + head0) * push.max_pages + i) * (2u + V_DIM), next = push.max_pages * (2u + V_DIM);
      if (lane < COLUMNS) {
        push.y.v[at + lane * next] = page_max[lane];
        push.y.v[at + lane * next + 1u] = sum;
      }
      if (lane < V_DIM / 4u)
        [[unroll]] for (uint c = 0u; c < COLUMNS; c++)
          [[unroll]] for (uint j = 0u; j < 4u; j++)
            push.y.v[at + c * next + 2u + 4u * lane + j] = o[c][j];
    }
    barrier();
  }
  if (PARTIAL)
    return;
  // The sink joins as a score without a value.
  if (lane < COLUMNS) {
    float factor = 1.0;
    if (uvec2(push.sinks) != uvec2(0u)) {
      const float sink = push.sinks.v[head0 + lane % HEADS], next = max(largest, sink);
      factor = exp(largest - next);
      total = fma(total, factor, exp(sink - next));
    }
    old_factor[lane] = factor;
    new_factor[lane] = total;
  }
  barrier();
  if (lane < V_DIM / 4u)
    [[unroll]] for (uint c = 0u; c < COLUMNS; c++) {
      const uint row = row0 + c / HEADS;
      if (row >= from && row < to)
        [[unroll]] for (uint j = 0u; j < 4u; j++)
          push.y.v[(row * push.n_heads + head0 + c % HEADS) * V_DIM + 4u * lane + j] = y[c][j] * old_factor[c] / new_factor[c];
    }
  barrier();
}

void main() {
  const uint n_rows = push.step.v[STEP_N_ROWS], row0 = gl_WorkGroupID.y * ROWS;
  if (row0 >= n_rows)
    return;
  const uint lane = gl_LocalInvocationID.x, head0 = gl_WorkGroupID.x * HEADS;
  for (uint at = lane; at < COLUMNS * K_DIM; at += LANES) {
    const uint c = at / K_DIM, row = min(row0 + c / HEADS, n_rows - 1u);
    q[at] = push.qkv.v[row * push.width + (head0 + c % HEADS) * K_DIM + at % K_DIM];
  }
  barrier();
  const uint slots = push.step.v[STEP_SLOTS], end = min(row0 + ROWS, n_rows);
  if (ROWS == 1u) {
    walk(row0, row0, row0 + 1u, push.step.v[slots + row0], head0, lane);
    return;
  }
  for (uint from = row0; from < end;) {
    const uint slot = push.step.v[slots + from];
    uint to = from + 1u;
    while (to < end && push.step.v[slots + min(to, n_rows - 1u)] == slot)
      to++;
    walk(row0, from, to, slot, head0, lane);
    from = to;
  }
}
