/* AVX-512 with dot products of bytes: as AVX-512, but for the integer sums. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "CKernels.h"
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vnni,avx2,fma"))), apply_to = function)
#define CK_HAS_FMA 1
#define CK_LEVEL 3
#define CK_ROWS 12
#include "elementwise.h"
#include "products.h"
#include "decoder.h"
#include "quantise.h"
#include "table.h"
CK_TABLE(ck_avx512vnni, "avx512vnni");
#pragma clang attribute pop
#endif
