#include "CKernels.h"

#include <stdatomic.h>
#include <string.h>

extern const ck_kernels ck_scalar;
#if defined(__x86_64__)
extern const ck_kernels ck_avx2, ck_avx512, ck_avx512_bf16;
#endif

const ck_kernels *ck_at(int level) {
  if (level == 0) return &ck_scalar;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (level == 1 && avx2) return &ck_avx2;
  const int avx512 = avx2 && __builtin_cpu_supports("avx512f");
  if (level == 2 && avx512) return &ck_avx512;
  if (level == 3 && avx512 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512bf16"))
    return &ck_avx512_bf16;
#endif
  return 0;
}

const ck_kernels *ck_best(void) {
  static _Atomic(const ck_kernels *) chosen;
  const ck_kernels *best = atomic_load_explicit(&chosen, memory_order_relaxed);
  if (best) return best;
  for (int level = 3; level >= 0; level--)
    if ((best = ck_at(level))) break;
  atomic_store_explicit(&chosen, best, memory_order_relaxed);
  return best;
}

void ck_pack(const float *w, ptrdiff_t stride, ptrdiff_t outputs, ptrdiff_t inputs, float *panels) {
  for (ptrdiff_t first = 0; first < outputs; first += CK_PANEL) {
    const ptrdiff_t count = outputs - first < CK_PANEL ? outputs - first : CK_PANEL;
    float *panel = panels + first * inputs;
    for (ptrdiff_t k = 0; k < inputs; k++)
      for (ptrdiff_t lane = 0; lane < CK_PANEL; lane++)
        panel[k * CK_PANEL + lane] = lane < count ? w[(first + lane) * stride + k] : 0;
  }
}

static uint16_t narrowed(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if (value != value) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

void ck_pack_narrow(const float *w, ptrdiff_t stride, ptrdiff_t outputs, ptrdiff_t inputs, uint16_t *panels) {
  for (ptrdiff_t first = 0; first < outputs; first += CK_PANEL) {
    const ptrdiff_t count = outputs - first < CK_PANEL ? outputs - first : CK_PANEL;
    uint16_t *panel = panels + first * inputs;
    for (ptrdiff_t k = 0; k < inputs; k++)
      for (ptrdiff_t lane = 0; lane < CK_PANEL; lane++)
        panel[k * CK_PANEL + lane] = lane < count ? narrowed(w[(first + lane) * stride + k]) : 0;
  }
}
