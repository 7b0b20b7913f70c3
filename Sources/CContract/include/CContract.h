#pragma once
// The contract in the binary. As a Swift literal its bytes take the compiler a minute and a gigabyte.
#include <stddef.h>

/// The bytes of openapi.yaml.
const unsigned char *_Nonnull ccontract_openapi_yaml(size_t *_Nonnull count);
