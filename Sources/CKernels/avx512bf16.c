/* AVX-512 with dot products of bytes and of bfloat16 pairs. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#include "CKernels.h"
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vnni,avx512bf16,avx2,fma"))), apply_to = function)
#define CK_HAS_FMA 1
#define CK_LEVEL 4
#define CK_ROWS 12
#include "elementwise.h"
#include "products.h"
#include "decoder.h"
#include "quantise.h"
#include "table.h"
CK_TABLE(ck_avx512bf16, "avx512bf16");
#pragma clang attribute pop
#endif
