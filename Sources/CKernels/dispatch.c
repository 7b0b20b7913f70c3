#include "CKernels.h"

#include <stdatomic.h>
#include <string.h>

extern const ck_kernels ck_scalar;
#if defined(__x86_64__)
extern const ck_kernels ck_avx2, ck_avx512, ck_avx512vnni, ck_avx512bf16;
#endif

const ck_kernels *ck_at(int level) {
  if (level == 0) return &ck_scalar;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (level == 1 && avx2) return &ck_avx2;
  const int avx512 = avx2 && __builtin_cpu_supports("avx512f");
  if (level == 2 && avx512) return &ck_avx512;
  const int vnni = avx512 && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
  if (level == 3 && vnni) return &ck_avx512vnni;
  if (level == 4 && vnni && __builtin_cpu_supports("avx512bf16")) return &ck_avx512bf16;
#endif
  return 0;
}

const ck_kernels *ck_best(void) {
  static _Atomic(const ck_kernels *) chosen;
  const ck_kernels *best = atomic_load_explicit(&chosen, memory_order_relaxed);
  if (best) return best;
  for (int level = 4; level >= 0; level--)
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

const float ck_int4_levels[16] = {-127, -103, -81, -64, -49, -36, -24, -12, 0, 12, 24, 37, 50, 65, 81, 102};
const uint8_t ck_int4_bytes[16] __attribute__((aligned(16))) = {1,   25,  47,  64,  79,  92,  104, 116,
                                                                128, 140, 152, 165, 178, 193, 209, 230};

ptrdiff_t ck_padded(ptrdiff_t inputs, int format) {
  return format >= CK_INT8 ? (inputs + CK_GROUP - 1) / CK_GROUP * CK_GROUP : inputs;
}

ptrdiff_t ck_panel_bytes(ptrdiff_t inputs, int format) {
  return ck_padded(inputs, format) * CK_PANEL * 8 >> (format + 1);
}

ptrdiff_t ck_scale_bytes(ptrdiff_t inputs, int format) {
  return format >= CK_INT8 ? ck_padded(inputs, format) / CK_GROUP * CK_PANEL * (ptrdiff_t)sizeof(uint16_t) : 0;
}

static float widened(uint16_t value) {
  const uint32_t bits = (uint32_t)value << 16;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}

void ck_row(const void *panels, const uint16_t *scales, int format, ptrdiff_t inputs, ptrdiff_t output, float *row) {
  const ptrdiff_t lane = output % CK_PANEL, first = output - lane, padded = ck_padded(inputs, format);
  const char *panel = (const char *)panels + first / CK_PANEL * ck_panel_bytes(inputs, format);
  for (ptrdiff_t k = 0; k < inputs; k++) {
    const ptrdiff_t at = k * CK_PANEL + lane;
    const float scale = scales ? widened(scales[first * (padded / CK_GROUP) + k / CK_GROUP * CK_PANEL + lane]) : 1;
    switch (format) {
      case CK_FLOAT32: row[k] = ((const float *)panel)[at]; break;
      case CK_BFLOAT16: row[k] = widened(((const uint16_t *)panel)[at]); break;
      case CK_INT8:
        row[k] = (float)((int)(((const uint32_t *)panel)[k / 4 * CK_PANEL + lane] >> k % 4 * 8 & 255) - 128) * scale;
        break;
      default:
        row[k] = ck_int4_levels[((const uint32_t *)panel)[k / 8 * CK_PANEL + lane] >> (k % 4 * 8 + k / 4 % 2 * 4) & 15]
                 * scale;
    }
  }
}
