/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The processor backend: which instruction sets there are, opening and closing. */
#include "backend/cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/checked.h"

em_cpu_isa em_cpu_best_isa(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c"))
    return EM_ISA_SCALAR;
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq") ||
      !__builtin_cpu_supports("avx512vnni"))
    return EM_ISA_AVX2;
  return EM_ISA_AVX512;
#else
  return EM_ISA_SCALAR;
#endif
}

const char *em_cpu_isa_name(em_cpu_isa isa) {
  switch (isa) {
  case EM_ISA_AVX2:
    return "avx2";
  case EM_ISA_AVX512:
    return "avx512";
  case EM_ISA_SCALAR:
  case EM_N_ISAS:
    break;
  }
  return "scalar";
}

void em_kernels_get(em_cpu_isa isa, em_cpu_kernels *out) {
  em_kernels_scalar(out);
#if defined(__x86_64__)
  if (isa >= EM_ISA_AVX2)
    em_kernels_avx2(out);
  if (isa >= EM_ISA_AVX512)
    em_kernels_avx512(out);
#endif
}

static void cpu_close(em_backend *backend) {
  em_cpu *cpu = (em_cpu *)backend;
  em_pool_free(cpu->pool);
  free(cpu);
}

static const em_backend_fns cpu_fns = {
    .runs = EM_RUNS_ALL,
    .close = cpu_close,
    .weights_bytes = em_cpu_weights_bytes,
    .weights_new = em_cpu_weights_new,
    .weights_free = em_cpu_weights_free,
    .kv_bytes = em_cpu_kv_bytes,
    .kv_new = em_cpu_kv_new,
    .kv_free = em_cpu_kv_free,
    .kv_copy = em_cpu_kv_copy,
    .kv_copy_state = em_cpu_kv_copy_state,
    .program_bytes = em_cpu_program_bytes,
    .program_new = em_cpu_program_new,
    .program_free = em_cpu_program_free,
    .run = em_cpu_run,
    .result = em_cpu_result,
};

em_status em_cpu_open(const em_backend_params *params, em_backend **out, em_error *error) {
  em_status status = EM_OK;
  em_cpu *cpu = em_calloc(1, sizeof *cpu);
  if (!cpu)
    EM_TRY(em_fail(error, EM_ERR_NO_MEMORY, "no memory for a backend"));
  EM_TRY(em_pool_new(params->n_threads, &cpu->pool, error));
  cpu->n_threads = em_pool_n_threads(cpu->pool);
  cpu->isa = em_cpu_best_isa() < params->max_isa ? em_cpu_best_isa() : params->max_isa;
  em_kernels_get(cpu->isa, &cpu->kernels);
  cpu->common.fns = &cpu_fns;
  cpu->common.kind = EM_DEVICE_CPU;
  snprintf(cpu->common.name, sizeof cpu->common.name, "cpu (%s, %u thread%s)", em_cpu_isa_name(cpu->isa),
           cpu->n_threads, cpu->n_threads == 1 ? "" : "s");
  *out = &cpu->common;
  return EM_OK;
fail:
  free(cpu);
  return status;
}
