/* The baseline's kernels: what the plain target of the architecture has, and the twin of the others. */
#if defined(__FMA__) || defined(__aarch64__)
#define CK_HAS_FMA 1
#else
#define CK_HAS_FMA 0
#endif
#define CK_LEVEL 0
#define CK_ROWS 6
#include "elementwise.h"
#include "products.h"
#include "decoder.h"
#include "quantise.h"
#include "table.h"
CK_TABLE(ck_scalar, "scalar");
