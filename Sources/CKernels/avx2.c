/* AVX2 and FMA: 16 lanes are two registers, a tile of 6 by 16 takes 12 of the 16. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "CKernels.h"
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define CK_HAS_FMA 1
#define CK_LEVEL 1
#define CK_ROWS 6
#include "elementwise.h"
#include "products.h"
#include "decoder.h"
#include "quantise.h"
#include "table.h"
CK_TABLE(ck_avx2, "avx2");
#pragma clang attribute pop
#endif
