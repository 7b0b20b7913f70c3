#include "CContract.h"

#pragma clang diagnostic ignored "-Wc23-extensions"

static const unsigned char openapi_yaml[] = {
#embed "../../openapi.yaml"
};

const unsigned char *ccontract_openapi_yaml(size_t *count) {
  *count = sizeof openapi_yaml;
  return openapi_yaml;
}
