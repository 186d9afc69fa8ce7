/* What the x86 files share. Included only by them: each is compiled for one instruction set, and nothing they define may be
 * used outside the kernel table. */
#pragma once

#include "backend/cpu/kernels.h"

/* A kernel's inner part: always part of its caller, so that constant arguments unroll its loops. */
#define INLINE static inline __attribute__((always_inline))

/* Not where sanitizers watch every access: the compiler would take minutes for what is no faster then. */
#if defined(__has_feature)
#define HAS_FEATURE(name) __has_feature(name)
#else
#define HAS_FEATURE(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HAS_FEATURE(address_sanitizer)
#define UNROLL
#elif defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

/* How many bytes ahead of its reading a panel is asked for: what a core reads during a few hundred nanoseconds. */
#define AHEAD 6144

/* Parts of a table. */
void em_kernels_avx2_matmul(em_cpu_kernels *kernels);
void em_kernels_avx512_matmul(em_cpu_kernels *kernels);
