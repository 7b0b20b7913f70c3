/* AVX-512: 16 lanes are one register, a tile of 12 by 16 takes 12 of the 32. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "CKernels.h"
#pragma clang attribute push(__attribute__((target("avx512f,avx2,fma"))), apply_to = function)
#define CK_HAS_FMA 1
#define CK_LEVEL 2
#define CK_ROWS 12
#include "elementwise.h"
#include "products.h"
#include "decoder.h"
#include "quantise.h"
#include "table.h"
CK_TABLE(ck_avx512, "avx512");
#pragma clang attribute pop
#endif
